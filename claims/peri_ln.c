/* peri_ln.c - norms on both sides of every sublayer let the stream's variance grow linearly with depth, and
 * train as well as pre-norm and no less stably. */
#include <carat/claim.h>
#include <carat/evaluate.h>
#include <math.h>
#include <string.h>

enum { LAYERS = 8, STEPS = 250, ROWS = 200, BATCH = 12, LENGTH = 48, SEEDS = 64 };

static const char *const norms[] = {"{place: pre}", "{place: peri}"};

typedef struct work {
    double variance[2][SEEDS][LAYERS + 1]; /* of the stream at the start */
    double end[2][LAYERS + 1];             /* after training, first seed */
    double largest_gradient[2];            /* of the stressed runs */
    int broken[2];                         /* of them: loss beyond 4, or not finite */
    bool stress;
} work;

static ct_claim_language *create(const ct_claim_trial *t, const work *w) {
    const ct_value *recipe =
        ct_claim_yaml(t->run,
                      "{model: {n_embd: 48, n_layer: 8, n_head: 4, n_positions: 48, resid_pdrop: 0, "
                      "embd_pdrop: 0, attn_pdrop: 0, tie_word_embeddings: false, norm: "
                      "%s}, context: 48, max_steps: %d, per_device_train_batch_size: 12, optim: adam, "
                      "optimizer: {beta2: 0.95}, "
                      "learning_rate: %g, warmup_steps: 50, weight_decay: 0, max_grad_norm: %d}",
                      norms[t->arm], STEPS, w->stress ? 1e-2 : 2e-3, w->stress ? 0 : 1);
    ct_claim_language *language = ct_claim_language_create(t->run, recipe, t->seed);
    ct_model *model = language ? ct_claim_language_model(language) : NULL;
    for (int64_t i = 0; model && i < ct_model_parameter_count(model); i++) { /* N(0, 0.02) everywhere */
        ct_parameter *p = ct_model_parameter(model, i);
        if (strstr(p->name, "c_proj.weight")) ct_scale_into(p->tensor, sqrt(2.0 * LAYERS));
    }
    return language;
}

static ct_status stream(ct_claim_language *language, double *variance) {
    const ct_dataset *text = ct_claim_language_text(language, true);
    ct_layer_report reports[LAYERS + 1];
    int32_t ids[BATCH * (LENGTH + 1)];
    double loss;
    for (int64_t i = 0; i < BATCH * (LENGTH + 1); i++)
        ids[i] = ct_dataset_token(text, i);
    ct_status status =
        ct_evaluate_layers(ct_claim_language_model(language), ids, BATCH, LENGTH, false, reports, &loss);
    for (int l = 0; l <= LAYERS && status == CT_OK; l++)
        variance[l] = reports[l].variance;
    return status;
}

typedef struct strain {
    double loss, gradient;
} strain;

static ct_status watch(void *user, const ct_claim_step *step) {
    strain *s = user;
    /* Before the first steps the loss is that of chance, log 65 = 4.17. */
    if (step->step > 50) s->loss = fmax(s->loss, step->loss);
    s->gradient = fmax(s->gradient, step->gradient_norm);
    return CT_OK;
}

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    work *w = t->user;
    ct_claim_language *language = create(t, w);
    ct_claim_progress progress;
    strain s = {0, 0};
    if (!language) return ct_context_status(ct_claim_context(t->run));
    int seed = t->seed_index < 0 || t->seed_index >= SEEDS ? 0 : t->seed_index;
    ct_status status = w->stress ? CT_OK : stream(language, w->variance[t->arm][seed]);
    if (status == CT_OK) status = ct_claim_language_learn(language, 0, watch, &s, &progress);
    if (status == CT_OK) status = ct_claim_language_validate(language, ROWS, value);
    *score = *value;
    if (status == CT_OK && w->stress) {
        w->broken[t->arm] += progress.diverged || s.loss > 4;
        w->largest_gradient[t->arm] = fmax(w->largest_gradient[t->arm], s.gradient);
    } else if (status == CT_OK && seed == 0 && !progress.diverged) {
        status = stream(language, w->end[t->arm]);
    }
    ct_claim_language_free(language);
    return status;
}

static void report(ct_claim_run *run, const work *w) {
    double layer[LAYERS + 1];
    int number = ct_claim_plot(run, "Variance of the stream", "layer", false, "variance", true);
    for (int l = 0; l <= LAYERS; l++)
        layer[l] = l;
    ct_claim_series(run, number, "pre, at the start", layer, w->variance[0][0], LAYERS + 1);
    ct_claim_series(run, number, "peri, at the start", layer, w->variance[1][0], LAYERS + 1);
    ct_claim_series(run, number, "pre, after training", layer, w->end[0], LAYERS + 1);
    ct_claim_series(run, number, "peri, after training", layer, w->end[1], LAYERS + 1);
    ct_claim_note(run,
                  "The values beside ours are those of the card's prototype (two seeds), not the paper's.");
    ct_claim_note(run,
                  "Variance of the stream, first seed, layer 1 and 8: at the start pre %.2g %.2g, peri %.2g "
                  "%.2g; after "
                  "training pre %.2g %.2g, peri %.2g %.2g.",
                  w->variance[0][0][1], w->variance[0][0][LAYERS], w->variance[1][0][1],
                  w->variance[1][0][LAYERS], w->end[0][1], w->end[0][LAYERS], w->end[1][1],
                  w->end[1][LAYERS]);
    ct_claim_note(run,
                  "At rate 1e-2 without clipping, largest gradient norm of a run: pre %.3g, peri %.3g; runs "
                  "whose loss passed "
                  "4 after the warm-up: pre %d, peri %d.",
                  w->largest_gradient[0], w->largest_gradient[1], w->broken[0], w->broken[1]);
}

static ct_status run(ct_claim_run *run) {
    work *w = ct_claim_memory(run, sizeof(*w));
    if (!w) return ct_context_status(ct_claim_context(run));
    ct_claim_comparison how = {.measure = "held-out loss",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"pre", "peri"},
                               .paper = {2.4925, 2.4715},
                               .trial = trial,
                               .user = w};
    ct_claim_outcome outcome, stressed;
    ct_status status = ct_claim_compare(run, &how, &outcome);
    ct_claim_comparison hard = how;
    hard.measure = "held-out loss, rate 1e-2 without clipping";
    hard.paper[0] = hard.paper[1] = NAN;
    w->stress = true;
    if (status == CT_OK) status = ct_claim_compare(run, &hard, &stressed);
    if (status != CT_OK) return status;
    double slope[SEEDS], r2[SEEDS], off[SEEDS];
    int seeds = outcome.seeds < SEEDS ? outcome.seeds : SEEDS;
    for (int s = 0; s < seeds; s++) {
        ct_variance_growth(w->variance[1][s] + 1, LAYERS, &slope[s], &r2[s]);
        off[s] = slope[s] - 2;
    }
    report(run, w);
    ct_claim_check_each(run, "R^2 of variance against layer at the start, peri", r2, seeds, CT_GREATER, 0.97);
    ct_claim_check_each(run, "growth of variance a layer at the start, peri, less 2", off, seeds, CT_WITHIN,
                        0.5);
    ct_claim_check_paired(run, "held-out loss, peri - pre, nats", outcome.value[1], outcome.value[0],
                          outcome.seeds, CT_BY_MEAN, CT_AT_MOST, 0.02);
    return ct_claim_check(run, "broken runs at rate 1e-2 without clipping, peri - pre",
                          w->broken[1] - w->broken[0], CT_AT_MOST, 0);
}

static const char *const methods[] = {"norm/layernorm", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_peri_ln = {
    .abi = CT_CLAIM_ABI,
    .name = "peri_ln",
    .methods = methods,
    .card = "training/211-peri-ln",
    .paper = "J. Kim et al., ICML 2025, arXiv:2502.02732",
    .sentence = "With norms on both sides of every sublayer the variance of the stream grows linearly with "
                "depth at the "
                "start, the loss is that of pre-norm or lower, and high rates break no more runs.",
    .reported = "up to 3.2B parameters: steadier gradients, fewer divergences, better mean scores than pre- "
                "and post-norm",
    .minutes = 3,
    .seeds = 3,
    .data = files,
    .run = run};
