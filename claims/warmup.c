/* warmup.c - linear warmup lets AdamW train a small pre-LN GPT at a high learning rate. */
#include <carat/claim.h>
#include <math.h>

enum { STEPS = 300, WARMUP = 60, ROWS = 200, POINTS = 5, HIGHEST = POINTS - 1 };

static const double rates[POINTS] = {1e-3, 2e-3, 4e-3, 8e-3, 16e-3};

/* Held-out loss of the GPT after a run; arm 1 warms up. Without a grid the rate is the highest. */
static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    double rate = isnan(t->setting) ? rates[HIGHEST] : t->setting;
    const ct_value *recipe = ct_claim_yaml(
        t->run,
        "{model: {n_embd: 48, n_layer: 4, n_head: 4, n_positions: 48}, context: 48, max_steps: %d,"
        " per_device_train_batch_size: 12, learning_rate: %g, warmup_steps: %d, max_grad_norm: 0}",
        STEPS, rate, t->arm == 1 ? WARMUP : 0);
    ct_claim_language *language = ct_claim_language_create(t->run, recipe, t->seed);
    if (!language) return ct_context_status(ct_claim_context(t->run));
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, NULL);
    if (status == CT_OK) status = ct_claim_language_validate(language, ROWS, value);
    *score = *value;
    ct_claim_language_free(language);
    return status;
}

static void plot(ct_claim_run *run, const ct_claim_outcome *tuned) {
    int number = ct_claim_plot(run, "Held-out loss of the tuning runs", "learning rate", true,
                               "nats a character", false);
    ct_claim_series(run, number, "no warmup", rates, tuned->score[0], POINTS);
    ct_claim_series(run, number, "warmup", rates, tuned->score[1], POINTS);
}

static ct_status run(ct_claim_run *run) {
    ct_claim_comparison how = {.measure = "held-out loss, highest rate",
                               .unit = "nats a character",
                               .digits = 3,
                               .lower_is_better = true,
                               .arms = {"no warmup", "warmup of 20 %"},
                               .trial = trial};
    ct_claim_outcome high, tuned;
    ct_status status = ct_claim_compare(run, &how, &high);
    how.measure = "held-out loss, best rate";
    how.setting = "learning_rate";
    how.grid = rates;
    how.grid_count = POINTS;
    how.tuning_table = true;
    if (status == CT_OK) status = ct_claim_compare(run, &how, &tuned);
    if (status != CT_OK) return status;
    plot(run, &tuned);
    ct_claim_note(
        run,
        "With the best rate for each, warmup changes the held-out loss by %+.3f nats on average: at this "
        "size it makes high rates usable more than it makes the best result better.",
        tuned.mean[1] - tuned.mean[0]);
    return ct_claim_check_paired(run, "held-out loss at rate 0.016, warmup - none, nats", high.value[1],
                                 high.value[0], high.seeds, CT_BY_INTERVAL, CT_LESS, 0);
}

static const char *const methods[] = {"optimizer/adamw", NULL};
static const char *const data[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_warmup = {
    .abi = CT_CLAIM_ABI,
    .name = "warmup",
    .methods = methods,
    .paper = "Wortsman et al., 2023, arXiv:2309.14322",
    .sentence = "Linear warmup lets AdamW train a pre-LN GPT at a high learning rate: at eight times the "
                "best rate without "
                "warmup, the held-out loss is lower with it.",
    .reported =
        "longer warmup makes the loss depend less on the learning rate (figures, no number to compare with)",
    .minutes = 3,
    .seeds = 4,
    .data = data,
    .run = run};
