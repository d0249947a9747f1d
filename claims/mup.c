/* mup.c - the coordinate check: how far features move in a few steps, for networks of growing width. And
 * transfer: the best learning rate of character GPTs of growing width. */
#include <carat/claim.h>
#include <carat/ops.h>
#include <carat/parametrization.h>
#include <math.h>

enum { ROWS = 16, INPUTS = 32, STEPS = 5, WIDTHS = 6, ARMS = 4, CHANGE = 0, OUTPUT = 1 };

static const int widths[WIDTHS] = {64, 128, 256, 512, 1024, 2048};
static const char *const names[ARMS] = {"SP, c = 1", "NTK", "muP", "SP, c = 0"};
static const char *const choices[ARMS] = {"{name: standard, base_width: 1, rate_exponent: 1}",
                                          "{name: ntk, base_width: 1}", "{name: mup, base_width: 1}",
                                          "{name: standard, base_width: 1}"};

typedef struct seen {
    ct_tensor *value; /* held */
} seen;

static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    seen *s = user;
    ct_drop(s->value);
    s->value = ct_hold(value);
    return value;
}

/* Normal weights with the deviations of the paper's table: at the base width 1 these are 1 / sqrt(inputs). */
static void fill(ct_parametrization *p, ct_model *model, uint64_t seed) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
        ct_random random = ct_random_make(seed, ct_random_stream("mup") + (uint64_t)i);
        double base = i == 0 ? 1 / sqrt((double)INPUTS) : 1;
        ct_fill_normal(ct_model_parameter(model, i)->tensor, 0,
                       base * ct_parametrization_scale_of(p, i)->deviation, &random);
    }
}

static double mean_size(ct_tensor *x) {
    double value = NAN;
    ct_item(ct_mean_all(ct_abs(x)), &value);
    return value;
}

typedef struct points {
    ct_tensor *x, *y;
} points;

/* Mean |preactivation of the second layer| of the run's evaluation, or of its change since `before`. */
static double features(ct_claim_learner *learner, const points *data, seen *s, ct_tensor *before,
                       double *output) {
    ct_run *run = ct_claim_learner_run(learner, false);
    ct_run_reset(run);
    ct_tensor *f = ct_model_forward(ct_claim_learner_model(learner), run, data->x);
    if (output) *output = mean_size(f);
    return s->value ? mean_size(before ? ct_sub(s->value, before) : s->value) : NAN;
}

static ct_status trained(ct_claim_run *run, ct_claim_learner *learner, ct_parametrization *p,
                         const points *data, uint64_t seed, double found[2]) {
    ct_context *context = ct_claim_context(run);
    seen s = {0};
    ct_claim_progress progress = {0};
    fill(p, ct_claim_learner_model(learner), seed);
    ct_optimizer *optimizer = ct_claim_learner_optimizer(learner);
    if (!optimizer || ct_parametrization_rates(p, optimizer) != CT_OK ||
        ct_parametrization_attach(p, ct_claim_learner_run(learner, true)) != CT_OK ||
        ct_parametrization_attach(p, ct_claim_learner_run(learner, false)) != CT_OK ||
        ct_run_add_tap(ct_claim_learner_run(learner, false), "2.preactivation", look, &s) != CT_OK)
        return ct_context_status(context);
    bool mode = ct_grad_mode_set(context, false);
    features(learner, data, &s, NULL, &found[OUTPUT]);
    ct_grad_mode_set(context, mode);
    ct_tensor *before = s.value;
    s.value = NULL;
    ct_status status = ct_claim_learn(learner, data->x, data->y, 0, &progress);
    ct_grad_mode_set(context, false);
    if (status == CT_OK) found[CHANGE] = progress.diverged ? NAN : features(learner, data, &s, before, NULL);
    ct_grad_mode_set(context, mode);
    ct_drop(before);
    ct_drop(s.value);
    return status == CT_OK ? ct_context_status(context) : status;
}

static ct_status one(ct_claim_run *run, int arm, int width, uint64_t seed, double found[2]) {
    ct_context *context = ct_claim_context(run);
    ct_claim_network how = {
        .model =
            ct_claim_yaml(run, "{model_type: mlp, sizes: [%d, %d, %d, 1], activation: tanh, bias: false}",
                          INPUTS, width, width),
        .optimizer = "sgd",
        .learning_rate = 0.3,
        .steps = STEPS,
        .batch = ROWS,
        .seed = seed};
    ct_scope scope = ct_scope_open(context);
    ct_random random = ct_random_make(seed, ct_random_stream("points"));
    points data = {ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, INPUTS), 0, 1, &random), NULL};
    data.y = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, 1), 0, 1, &random);
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    ct_parametrization *p = learner ? ct_parametrization_create(ct_claim_learner_model(learner),
                                                                ct_claim_yaml(run, "%s", choices[arm]), "sgd")
                                    : NULL;
    ct_status status = p ? trained(run, learner, p, &data, seed, found) : ct_context_status(context);
    ct_claim_learner_free(learner);
    ct_parametrization_destroy(p);
    ct_scope_close(context, scope);
    return status;
}

/* Least squares through (log width, log value). */
static double slope(const double *values) {
    double x = 0, y = 0, xx = 0, xy = 0;
    for (int w = 0; w < WIDTHS; w++) {
        double a = log((double)widths[w]), b = log(values[w]);
        x += a;
        y += b;
        xx += a * a;
        xy += a * b;
    }
    return (WIDTHS * xy - x * y) / (WIDTHS * xx - x * x);
}

static ct_status measure(ct_claim_run *run, int arm, double mean[2][WIDTHS]) {
    int seeds = ct_claim_seeds(run);
    for (int w = 0; w < WIDTHS; w++) {
        mean[CHANGE][w] = mean[OUTPUT][w] = 0;
        for (int s = 0; s < seeds; s++) {
            double found[2] = {NAN, NAN};
            ct_claim_say(run, "%s, width %d, seed %d", names[arm], widths[w], s + 1);
            ct_status status = ct_claim_continue(run);
            if (status == CT_OK) status = one(run, arm, widths[w], ct_claim_seed(run, s), found);
            if (status != CT_OK) return status;
            mean[CHANGE][w] += found[CHANGE] / seeds;
            mean[OUTPUT][w] += found[OUTPUT] / seeds;
        }
    }
    return CT_OK;
}

static ct_status coordinates(ct_claim_run *run) {
    static const double card[ARMS] = {-0.71, -0.51, 0.01, NAN}, card_output[ARMS] = {NAN, 0, -0.52, NAN};
    double mean[2][WIDTHS], slopes[2][ARMS], x[WIDTHS];
    ct_claim_column columns[WIDTHS + 2] = {
        {"n = 64", NULL, 3}, {"128", NULL, 3},  {"256", NULL, 3},   {"512", NULL, 3},
        {"1024", NULL, 3},   {"2048", NULL, 3}, {"slope", NULL, 3}, {"slope of |f| at the start", NULL, 3}};
    int table = ct_claim_table(run, "mean |change of layer 2| after 5 steps", columns, WIDTHS + 2);
    int plot = ct_claim_plot(run, "Coordinate check", "width", true, "mean |change of layer 2|", true);
    for (int arm = 0; arm < ARMS; arm++) {
        double row[WIDTHS + 2], paper[WIDTHS + 2];
        ct_status status = measure(run, arm, mean);
        if (status != CT_OK) return status;
        for (int w = 0; w < WIDTHS; w++) {
            row[w] = mean[CHANGE][w];
            paper[w] = NAN;
            x[w] = widths[w];
        }
        for (int m = 0; m < 2; m++)
            row[WIDTHS + m] = slopes[m][arm] = slope(mean[m]);
        paper[WIDTHS] = card[arm];
        paper[WIDTHS + 1] = card_output[arm];
        ct_claim_row(run, table, names[arm], row, paper);
        ct_claim_series(run, plot, names[arm], x, mean[CHANGE], WIDTHS);
    }
    ct_claim_check(run, "slope of layer 2's change, muP", slopes[CHANGE][2], CT_WITHIN, 0.08);
    ct_claim_check(run, "slope of layer 2's change, NTK", slopes[CHANGE][1], CT_AT_LEAST, -0.6);
    ct_claim_check(run, "slope of layer 2's change, NTK", slopes[CHANGE][1], CT_AT_MOST, -0.4);
    return ct_claim_check(run, "slope of layer 2's change, SP with c = 1", slopes[CHANGE][0], CT_LESS, -0.3);
}

/* ------------------------------------------------------------------------------------------ transfer */

enum { SIZES = 3, RATES = 7, GPT_STEPS = 200, TEXT_ROWS = 100, GPT_SEEDS = 2, STANDARD = 0, MUP = 1 };

static const int sizes[SIZES] = {32, 64, 128};

/* The rate's best index, least first; ties go to the lower rate. */
static int least(const double *losses) {
    int best = 0;
    for (int i = 1; i < RATES; i++)
        if (losses[i] < losses[best] || isnan(losses[best])) best = i;
    return best;
}

/* Held-out loss of a GPT at one rate; that of chance where it diverged. */
static ct_status gpt(ct_claim_run *run, int method, int width, double rate, uint64_t seed, double *loss) {
    const ct_value *recipe =
        ct_claim_yaml(run,
                      "{model: {n_embd: %d, n_layer: 4, n_head: 4, tie_word_embeddings: false, resid_pdrop: "
                      "0, embd_pdrop: 0, "
                      "attn_pdrop: 0}, param: {name: %s, base_width: %d}, context: 64, "
                      "per_device_train_batch_size: 8, optim: adam, "
                      "learning_rate: %.9g, max_steps: %d, warmup_steps: 20, max_grad_norm: 1}",
                      width, method == MUP ? "mup" : "standard", sizes[0], rate, GPT_STEPS);
    ct_claim_progress progress = {0};
    ct_claim_language *language = ct_claim_language_create(run, recipe, seed);
    if (!language) return ct_context_status(ct_claim_context(run));
    ct_status status = ct_claim_language_learn(language, 0, NULL, NULL, &progress);
    if (status == CT_OK) status = ct_claim_language_validate(language, TEXT_ROWS, loss);
    if (status == CT_OK && !isfinite(*loss)) *loss = log(65);
    ct_claim_language_free(language);
    return status;
}

static ct_status sweep(ct_claim_run *run, int method, int width, const double *rates, double *losses) {
    int seeds = ct_claim_seeds(run) < GPT_SEEDS ? ct_claim_seeds(run) : GPT_SEEDS;
    for (int i = 0; i < RATES; i++) {
        losses[i] = 0;
        for (int s = 0; s < seeds; s++) {
            double loss = NAN;
            ct_claim_say(run, "transfer, %s, width %d, rate %g, seed %d", method == MUP ? "muP" : "SP", width,
                         rates[i], s + 1);
            ct_status status = gpt(run, method, width, rates[i], ct_claim_seed(run, s), &loss);
            if (status != CT_OK) return status;
            losses[i] += loss / seeds;
        }
    }
    return CT_OK;
}

static ct_status transfer(ct_claim_run *run) {
    double rates[RATES], losses[2][SIZES][RATES];
    int best[2][SIZES], shift[2];
    ct_claim_column columns[RATES + 1] = {{"best rate, index", NULL, 0}};
    static const char *const labels[RATES] = {"0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064"};
    for (int i = 0; i < RATES; i++) {
        rates[i] = 0.001 * (1 << i);
        columns[i + 1] = (ct_claim_column){labels[i], NULL, 3};
    }
    int table =
        ct_claim_table(run, "Held-out loss of GPTs after 200 steps, by learning rate", columns, RATES + 1);
    int plot =
        ct_claim_plot(run, "Transfer", "learning rate", true, "held-out loss, nats a character", false);
    for (int m = 0; m < 2; m++) {
        for (int w = 0; w < SIZES; w++) {
            char name[32];
            double row[RATES + 1];
            ct_status status = CT_OK; /* at the base width both are the same network, to the bit */
            if (m == MUP && w == 0)
                for (int i = 0; i < RATES; i++)
                    losses[m][w][i] = losses[STANDARD][w][i];
            else
                status = sweep(run, m, sizes[w], rates, losses[m][w]);
            if (status != CT_OK) return status;
            row[0] = best[m][w] = least(losses[m][w]);
            for (int i = 0; i < RATES; i++)
                row[i + 1] = losses[m][w][i];
            snprintf(name, sizeof(name), "%s, width %d", m == MUP ? "muP" : "SP", sizes[w]);
            ct_claim_row(run, table, name, row, NULL);
            ct_claim_series(run, plot, name, rates, losses[m][w], RATES);
        }
        int low = best[m][0], high = best[m][0];
        for (int w = 1; w < SIZES; w++) {
            low = best[m][w] < low ? best[m][w] : low;
            high = best[m][w] > high ? best[m][w] : high;
        }
        shift[m] = high - low;
    }
    ct_claim_note(
        run,
        "Transfer: under SP (Adam, deviations by 1/sqrt(width), one rate for all tensors) the best rate's "
        "index goes %d, %d, %d as the width doubles twice, under muP %d, %d, %d. The card judges muP "
        "alone.",
        best[0][0], best[0][1], best[0][2], best[1][0], best[1][1], best[1][2]);
    return ct_claim_check(run, "muP: by how many of the grid's points (factors of 2) the best rate moves",
                          shift[MUP], CT_AT_MOST, 1);
}

static ct_status run(ct_claim_run *run) {
    ct_status status = coordinates(run);
    if (status == CT_OK) status = transfer(run);
    ct_claim_note(
        run,
        "The values beside ours are those of the card's prototype. The paper's Word2Vec and Omniglot limits "
        "are out of reach. Transfer is measured with two seeds, whose losses are averaged.");
    return status;
}

static const char *const methods[] = {"parametrization/mup", "parametrization/ntk",
                                      "parametrization/standard", NULL};
static const char *const files[] = {CT_CLAIM_SHAKESPEARE, NULL};

const ct_claim ct_claim_mup = {.abi = CT_CLAIM_ABI,
                               .name = "mup",
                               .methods = methods,
                               .card = "training/151-mup",
                               .paper = "Yang & Hu, ICML 2021, arXiv:2011.14522",
                               .sentence =
                                   "Under muP the features of a network move by the same amount at "
                                   "every width; under the standard and the "
                                   "NTK parametrization they stand still as the width grows. The best "
                                   "learning rate of a narrow GPT is that of a wide one under muP.",
                               .reported = "standard and NTK parametrizations do not learn features in the "
                                           "limit, muP does (theorems; figures without "
                                           "a number for this network)",
                               .minutes = 5,
                               .seeds = 3,
                               .data = files,
                               .run = run};
