/* powernorm.c - in a small GPT powernorm, whose statistics are running means, beats batch normalisation. */
#include <carat/claim.h>
#include <math.h>
#include <stdio.h>

enum { STEPS = 300, WARMUP = 60, ROWS = 200, CHANNELS = 48, NORMS = 9, ARMS = 3 };

static const char *const arms[] = {"batchnorm", "layernorm", "powernorm"};

/* How far the statistic of a batch is from its running mean, which is what the paper blames: from two
 * successive running means r and r', batch = (r' - keep r) / (1 - keep). */
typedef struct fluctuation {
    int arm;
    double before[NORMS][CHANNELS], sum;
    int64_t count;
    bool known;
} fluctuation;

static ct_tensor *buffer(ct_model *model, int norm, const char *which) {
    char name[64];
    if (norm == NORMS - 1)
        snprintf(name, sizeof(name), "ln_f.%s", which);
    else
        snprintf(name, sizeof(name), "h.%d.ln_%d.%s", norm / 2, norm % 2 + 1, which);
    ct_parameter *found = ct_model_find(model, name);
    return found ? found->tensor : NULL;
}

static ct_status watch(void *user, const ct_claim_step *step) {
    fluctuation *f = user;
    if (f->arm == 1) return CT_OK;
    for (int n = 0; n < NORMS; n++) {
        double now[CHANNELS], variance[CHANNELS];
        ct_read(buffer(step->model, n, f->arm == 0 ? "running_mean" : "running_phi"), CT_F64, now);
        if (f->arm == 0) ct_read(buffer(step->model, n, "running_var"), CT_F64, variance);
        for (int c = 0; c < CHANNELS; c++) {
            double batch = (now[c] - 0.9 * f->before[n][c]) / 0.1, apart;
            apart =
                f->arm == 0 ? fabs(batch - now[c]) / sqrt(variance[c]) : fabs(log(batch / f->before[n][c]));
            if (f->known && step->step > WARMUP && isfinite(apart)) {
                f->sum += apart;
                f->count++;
            }
            f->before[n][c] = now[c];
        }
    }
    f->known = true;
    return CT_OK;
}

typedef struct results {
    double sum[ARMS];
    int count[ARMS];
} results;

static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    const char *options = t->arm == 2 ? "name: powernorm, warmup: 60" : "name";
    const ct_value *recipe =
        ct_claim_yaml(t->run,
                      "{model: {n_embd: 48, n_layer: 4, n_head: 4, n_positions: 48, resid_pdrop: 0, "
                      "embd_pdrop: 0, attn_pdrop: 0, tie_word_embeddings: false, norm: "
                      "{%s%s%s}}, context: 48, max_steps: %d, per_device_train_batch_size: 12, optim: adam, "
                      "learning_rate: 1e-3, "
                      "weight_decay: 0, max_grad_norm: 1}",
                      options, t->arm == 2 ? "" : ": ", t->arm == 2 ? "" : arms[t->arm], STEPS);
    results *all = t->user;
    fluctuation *f = ct_claim_memory(t->run, sizeof(*f));
    ct_claim_language *language = f ? ct_claim_language_create(t->run, recipe, t->seed) : NULL;
    if (!language) return ct_context_status(ct_claim_context(t->run));
    f->arm = t->arm;
    ct_status status = ct_claim_language_learn(language, 0, watch, f, NULL);
    if (status == CT_OK) status = ct_claim_language_validate(language, ROWS, value);
    *score = *value;
    if (f->count) {
        all->sum[t->arm] += f->sum / (double)f->count;
        all->count[t->arm]++;
    }
    ct_claim_language_free(language);
    return status;
}

static ct_status run(ct_claim_run *run) {
    results all = {{0}, {0}};
    ct_claim_comparison how = {.measure = "held-out loss",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"batch norm", "layer norm", "powernorm"},
                               .paper = {2.4995, 2.468, 2.446},
                               .trial = trial,
                               .user = &all};
    ct_claim_outcome outcome;
    ct_status status = ct_claim_compare(run, &how, &outcome);
    if (status != CT_OK) return status;
    ct_claim_note(run,
                  "The values beside ours are those of the card's prototype (two seeds), not the paper's.");
    ct_claim_note(
        run,
        "Powernorm against layer norm, without a criterion: %+.3f nats. Fluctuation of the batch after the "
        "warm-up: powernorm mean |log(b2 / psi2)| %.3f (the card's prototype: 0.088), batch norm mean "
        "|mean of the batch - running mean| / deviation %.3f.",
        outcome.mean[2] - outcome.mean[1], all.sum[2] / all.count[2], all.sum[0] / all.count[0]);
    return ct_claim_check_paired(run, "held-out loss, powernorm - batch norm, nats", outcome.value[2],
                                 outcome.value[0], outcome.seeds, CT_BY_MEAN, CT_AT_MOST, -0.02);
}

static const char *const methods[] = {"norm/powernorm", "norm/batchnorm", "norm/layernorm", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_powernorm = {.abi = CT_CLAIM_ABI,
                                     .name = "powernorm",
                                     .methods = methods,
                                     .card = "training/159-powernorm",
                                     .paper = "Shen et al., ICML 2020, arXiv:2003.07845",
                                     .sentence = "Powernorm makes a batch-style norm train transformers: its "
                                                 "held-out loss is lower than batch norm's.",
                                     .reported = "0.4 and 0.6 BLEU (IWSLT14, WMT14) and 5.6 and 3.0 of "
                                                 "perplexity (PTB, WikiText-103) better than layer norm; "
                                                 "batch norm far behind",
                                     .minutes = 2,
                                     .seeds = 3,
                                     .data = files,
                                     .run = run};
