/* mix_ln.c - post-norm in the first quarter of the layers and pre-norm in the others evens out the gradients
 * of a deep transformer and lowers its loss. */
#include <carat/claim.h>
#include <carat/evaluate.h>
#include <math.h>
#include <string.h>

enum { STEPS = 250, ROWS = 200, BATCH = 12, LENGTH = 48, MOST_LAYERS = 32, SEEDS = 64, ARMS = 3 };

static const char *const places[] = {"pre", "post", "mix"};

typedef struct work {
    int layers;
    double rate;
    double ratio[ARMS][SEEDS];       /* least over most gradient norm */
    double norms[ARMS][MOST_LAYERS]; /* of the first seed */
} work;

/* Projections to the stream start as the other weights do, not smaller as GPT-2's: the card's N(0, 0.02). */
static void even_init(ct_model *model, int layers) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_parameter *p = ct_model_parameter(model, i);
        if (strstr(p->name, "c_proj.weight")) ct_scale_into(p->tensor, sqrt(2.0 * layers));
    }
}

static ct_status gradients(const ct_claim_trial *t, ct_claim_language *language, work *w) {
    ct_context *context = ct_claim_context(t->run);
    const ct_dataset *text = ct_claim_language_text(language, true);
    ct_layer_report reports[MOST_LAYERS + 1];
    int32_t ids[BATCH * (LENGTH + 1)];
    double loss, least = INFINITY, most = 0;
    for (int64_t i = 0; i < BATCH * (LENGTH + 1); i++)
        ids[i] = ct_dataset_token(text, i);
    ct_status status =
        ct_evaluate_layers(ct_claim_language_model(language), ids, BATCH, LENGTH, false, reports, &loss);
    for (int l = 0; l < w->layers && status == CT_OK; l++) {
        double norm = reports[l + 1].gradient_norm;
        least = fmin(least, norm);
        most = fmax(most, norm);
        if (t->seed_index == 0) w->norms[t->arm][l] = norm;
    }
    if (t->seed_index >= 0 && t->seed_index < SEEDS) w->ratio[t->arm][t->seed_index] = least / most;
    return status == CT_OK ? ct_context_status(context) : status;
}

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    work *w = t->user;
    const ct_value *recipe =
        ct_claim_yaml(t->run,
                      "{model: {n_embd: 48, n_layer: %d, n_head: 4, n_positions: 48, resid_pdrop: 0, "
                      "embd_pdrop: 0, attn_pdrop: 0, norm: "
                      "{place: %s}}, context: 48, max_steps: %d, per_device_train_batch_size: 12, optim: "
                      "adam, optimizer: {beta2: 0.95}, "
                      "learning_rate: %g, warmup_steps: 50, weight_decay: 0, max_grad_norm: 1}",
                      w->layers, places[t->arm], STEPS, w->rate);
    ct_claim_progress progress;
    ct_claim_language *language = ct_claim_language_create(t->run, recipe, t->seed);
    if (!language) return ct_context_status(ct_claim_context(t->run));
    even_init(ct_claim_language_model(language), w->layers);
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, &progress);
    if (status == CT_OK) status = ct_claim_language_validate(language, ROWS, value);
    *score = *value;
    if (status == CT_OK && !progress.diverged) status = gradients(t, language, w);
    ct_claim_language_free(language);
    return status;
}

/* 24 layers at twice the rate, one seed, reported without a criterion. */
static ct_status deep(ct_claim_run *run, const ct_claim_comparison *how, work *w) {
    const ct_claim_column columns[] = {{"held-out loss", "nats a character", 3},
                                       {"gradients, least over most", NULL, 4}};
    int table = ct_claim_table(run, "24 layers, rate 4e-3, one seed", columns, 2);
    ct_status status = CT_OK;
    w->layers = 24;
    w->rate = 4e-3;
    for (int arm = 0; arm < ARMS && status == CT_OK; arm++) {
        ct_claim_trial t = {run, w, arm, 0, NAN, ct_claim_seed(run, 0), 0};
        double score, values[2] = {NAN, NAN};
        w->ratio[arm][0] = NAN;
        ct_claim_say(run, "24 layers, %s", places[arm]);
        status = how->trial(&t, &score, &values[0]);
        values[1] = w->ratio[arm][0];
        if (status == CT_OK) ct_claim_row(run, table, places[arm], values, NULL);
    }
    return status;
}

static ct_status run(ct_claim_run *run) {
    work *w = ct_claim_memory(run, sizeof(*w));
    if (!w) return ct_context_status(ct_claim_context(run));
    w->layers = 8;
    w->rate = 2e-3;
    ct_claim_comparison how = {.measure = "held-out loss, 8 layers",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"pre", "post", "mix 0.25"},
                               .paper = {2.4925, 2.409, 2.422},
                               .trial = trial,
                               .user = w};
    ct_claim_outcome outcome;
    ct_status status = ct_claim_compare(run, &how, &outcome);
    if (status != CT_OK) return status;
    double layer[8], pre[SEEDS], mix[SEEDS];
    int seeds = outcome.seeds < SEEDS ? outcome.seeds : SEEDS;
    int number =
        ct_claim_plot(run, "Gradient norm of each layer after training", "layer", false, "norm", true);
    for (int l = 0; l < 8; l++)
        layer[l] = l + 1;
    for (int arm = 0; arm < ARMS; arm++)
        ct_claim_series(run, number, how.arms[arm], layer, w->norms[arm], 8);
    for (int s = 0; s < seeds; s++) {
        pre[s] = w->ratio[0][s];
        mix[s] = w->ratio[2][s] - 2 * pre[s];
    }
    status = deep(run, &how, w);
    if (status != CT_OK) return status;
    ct_claim_note(run, "The values beside ours are those of the card's prototype (two seeds), not the "
                       "paper's. At this depth "
                       "post-norm is best, as in the prototype; the paper's order needs depth and size.");
    ct_claim_check_paired(run, "held-out loss, mix - pre, nats", outcome.value[2], outcome.value[0],
                          outcome.seeds, CT_BY_MEAN, CT_AT_MOST, -0.03);
    return ct_claim_check_mean(run, "least over most gradient norm, mix - 2 pre", mix, seeds, CT_BY_MEAN,
                               CT_AT_LEAST, 0);
}

static const char *const methods[] = {"norm/layernorm", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_mix_ln = {.abi = CT_CLAIM_ABI,
                                  .name = "mix_ln",
                                  .methods = methods,
                                  .card = "training/202-mix-ln",
                                  .paper = "P. Li, Yin & Liu, ICLR 2025, arXiv:2412.13795",
                                  .sentence = "Post-norm in the first quarter of the layers and pre-norm in "
                                              "the rest give a lower loss than pre-norm "
                                              "everywhere, and gradients that differ less between layers.",
                                  .reported = "LLaMA 250M on C4: perplexity 23.39 with pre-norm, 22.33 with "
                                              "Mix-LN (recalled by the card, not checked)",
                                  .minutes = 4,
                                  .seeds = 3,
                                  .data = files,
                                  .run = run};
