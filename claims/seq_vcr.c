/* seq_vcr.c - Seq-VCR (Arefin et al.): a small GPT learns to multiply two-digit numbers, digits reversed,
 * with and without pause tokens and the regularizer.
 *
 * Tokens of a row: a0 a1 * b0 b1 = [begin pause pause end] r0 r1 r2 r3; the loss is on r. A tenth of the
 * 10000 products is never trained on; exact match is of those, all four digits by greedy decoding (which
 * teacher forcing decides: the first wrong digit ends either). */
#include <carat/claim.h>
#include <carat/evaluate.h>
#include <carat/objective.h>
#include <carat/regularizer.h>
#include <math.h>

enum { PRODUCTS = 10000, HELD_OUT = 1000, BATCH = 64, STEPS = 300, ANSWER = 4, LONGEST = 14, LAYERS = 4 };
enum { TIMES = 10, EQUALS, PAUSE_BEGIN, PAUSE, PAUSE_END, VOCABULARY };
enum { ARMS = 4 };
static const char *const arms[ARMS] = {"plain", "pause", "Seq-VCR", "Seq-VCR and pause"};
static const double learning_rate = 1e-3;

typedef struct trial {
    ct_claim_run *claim;
    ct_context *context;
    bool pauses;
    uint64_t seed;
    ct_model *model;
    ct_optimizer *optimizer;
    ct_objective *objective;
    ct_regularizers *regularizers;
    ct_run *run;
    ct_tensor *hidden; /* held: what the last block gave */
} trial;

typedef struct measures {
    double exact, entropy, hinge;
} measures;

/* ------------------------------------------------------------------------------------------------ rows */

/* Product number 0 ... 9999 as tokens; their number. */
static int tokens_of(int64_t product, bool pauses, int32_t *out) {
    int a = (int)(product / 100), b = (int)(product % 100), r = a * b, n = 0;
    const int32_t question[] = {a % 10, a / 10, TIMES, b % 10, b / 10, EQUALS};
    static const int32_t between[] = {PAUSE_BEGIN, PAUSE, PAUSE, PAUSE_END};
    for (int i = 0; i < 6; i++)
        out[n++] = question[i];
    for (int i = 0; pauses && i < 4; i++)
        out[n++] = between[i];
    for (int i = 0; i < ANSWER; i++, r /= 10)
        out[n++] = r % 10;
    return n;
}

/* Rows first ... of the shuffled products: the held-out ones are the first. ids [rows, length]; targets
 * likewise. */
static ct_tensor *rows_of(const trial *t, const int64_t *products, int64_t rows, ct_tensor **targets) {
    int32_t tokens[LONGEST];
    int64_t length = tokens_of(0, t->pauses, tokens) - 1;
    ct_tensor *ids = ct_empty(t->context, CT_I32, CT_DIMS(rows, length));
    *targets = ct_empty(t->context, CT_I32, CT_DIMS(rows, length));
    int32_t *in = ct_data_mutable(ids), *out = ct_data_mutable(*targets);
    for (int64_t r = 0; in && out && r < rows; r++) {
        tokens_of(products[r], t->pauses, tokens);
        for (int64_t i = 0; i < length; i++) {
            in[r * length + i] = tokens[i];
            out[r * length + i] = i < length - ANSWER ? -1 : tokens[i + 1];
        }
    }
    return ids;
}

static int64_t product_at(int64_t index) {
    return ct_random_permuted(20241104, ct_random_stream("seq_vcr.split"), PRODUCTS, index);
}

/* -------------------------------------------------------------------------------------------- training */

static ct_status one_step(trial *t, int64_t step) {
    ct_context *context = t->context;
    ct_scope scope = ct_scope_open(context);
    ct_random random = ct_random_make(t->seed, ct_random_stream("seq_vcr.rows") + (uint64_t)step);
    int64_t products[BATCH];
    for (int i = 0; i < BATCH; i++)
        products[i] = product_at(ct_random_integer(&random, HELD_OUT, PRODUCTS));
    ct_tensor *targets, *ids = rows_of(t, products, BATCH, &targets);
    ct_run_reset(t->run);
    ct_run_set_rows(t->run, (uint64_t)step, 0);
    ct_regularizers_begin(t->regularizers, t->run);
    ct_tensor *losses =
        ct_objective_losses(t->objective, ct_model_forward(t->model, t->run, ids), targets, NULL, -1);
    ct_tensor *loss = ct_mul_scalar(ct_sum_all(losses), 1.0 / (BATCH * ANSWER));
    ct_tensor *term = ct_failed(context)
                          ? NULL
                          : ct_regularizers_batch_term(t->regularizers, t->run, t->seed + (uint64_t)step, 1);
    ct_regularizers_end(t->regularizers);
    if (!ct_failed(context)) ct_backward(term ? ct_add(loss, term) : loss, NULL, CT_GRAD_DEFAULT);
    ct_optimizer_step(t->optimizer, learning_rate, 1);
    for (int64_t i = 0; i < ct_model_parameter_count(t->model); i++)
        ct_gradient_set(ct_model_parameter(t->model, i)->tensor, NULL);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status prepare(trial *t, bool regularized) {
    ct_context *context = t->context;
    const ct_value *model = ct_claim_yaml(t->claim,
                                          "{model_type: gpt2, vocab_size: %d, n_positions: %d, n_embd: 128, "
                                          "n_layer: %d, n_head: 4, resid_pdrop: 0.0,"
                                          " embd_pdrop: 0.0, attn_pdrop: 0.0}",
                                          VOCABULARY, LONGEST, LAYERS);
    const ct_value *list = ct_claim_yaml(t->claim, regularized ? "[{name: seq_vcr}]" : "[]");
    t->model = ct_model_create(context, model);
    t->objective = ct_objective_create(context, NULL, 0, "objective");
    t->regularizers = ct_regularizers_create(context, list, "regularizers");
    t->optimizer = ct_optimizer_create(context, "adam", NULL);
    t->run = ct_run_create(context, &(ct_run_options){.training = true});
    if (ct_failed(context) || ct_regularizers_attach(t->regularizers, t->model) != CT_OK)
        return ct_context_status(context);
    ct_model_initialize(t->model, t->seed);
    ct_regularizers_initialize(t->regularizers, t->seed);
    ct_regularizers_install(t->regularizers, t->run, true, NULL, NULL);
    for (int64_t i = 0; i < ct_model_parameter_count(t->model) && !ct_failed(context); i++) {
        ct_parameter *parameter = ct_model_parameter(t->model, i);
        ct_require_grad(parameter->tensor, true);
        ct_optimizer_add(t->optimizer, parameter, &(ct_parameter_group){1, 0});
    }
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------- measuring */

static ct_tensor *keep(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    trial *t = user;
    ct_drop(t->hidden);
    t->hidden = ct_hold(ct_detach(value));
    return value;
}

static double exact_match(const trial *t, ct_tensor *logits, ct_tensor *targets) {
    ct_tensor *best = ct_contiguous(ct_argmax(logits, -1, false));
    const int64_t *found = ct_data(best);
    const int32_t *right = ct_data(targets);
    int64_t length = ct_dim(targets, 1), good = 0;
    for (int64_t r = 0; found && right && r < HELD_OUT; r++) {
        bool all = true;
        for (int64_t i = length - ANSWER; i < length; i++)
            all = all && found[r * length + i] == right[r * length + i];
        good += all;
    }
    return ct_failed(t->context) ? NAN : 100.0 * (double)good / HELD_OUT;
}

/* On the held-out products as one batch: exact match, entropy of the covariances at answer positions, and the
 * mean over positions and channels of max(0, 1 - sqrt(variance + .001)). */
static ct_status measure(trial *t, measures *m) {
    ct_context *context = t->context;
    static const int rows = 0;
    int64_t products[HELD_OUT];
    for (int i = 0; i < HELD_OUT; i++)
        products[i] = product_at(i);
    ct_scope scope = ct_scope_open(context);
    bool mode = ct_grad_mode_set(context, false);
    ct_tensor *targets, *ids = rows_of(t, products, HELD_OUT, &targets);
    ct_run *run = ct_run_create(context, NULL);
    char point[32];
    snprintf(point, sizeof(point), "h.%d.output", LAYERS - 1);
    if (run) ct_run_add_tap(run, point, keep, t);
    if (run && !ct_failed(context)) m->exact = exact_match(t, ct_model_forward(t->model, run, ids), targets);
    if (t->hidden && !ct_failed(context)) {
        ct_tensor *z = ct_sub(t->hidden, ct_mean(t->hidden, 1, &rows, true));
        ct_tensor *deviation = ct_sqrt(ct_add_scalar(ct_variance(t->hidden, 1, &rows, false, 1), .001));
        ct_item(ct_mean_all(ct_relu(ct_add_scalar(ct_neg(deviation), 1))), &m->hinge);
        int64_t time = ct_dim(z, 1);
        ct_matrix_entropy(ct_transpose(ct_slice(z, 1, time - ANSWER, time, 1), 0, 1), 1, &m->entropy);
    }
    ct_drop(t->hidden);
    t->hidden = NULL;
    ct_run_destroy(run);
    ct_grad_mode_set(context, mode);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status train(ct_claim_run *claim, int arm, uint64_t seed, measures *m) {
    trial t = {.claim = claim, .context = ct_claim_context(claim), .pauses = arm & 1, .seed = seed};
    ct_status status = prepare(&t, arm >= 2);
    for (int64_t step = 0; step < STEPS && status == CT_OK; step++) {
        status = ct_claim_continue(claim);
        if (status == CT_OK) status = one_step(&t, step);
    }
    if (status == CT_OK) status = measure(&t, m);
    ct_run_destroy(t.run);
    ct_optimizer_destroy(t.optimizer);
    ct_regularizers_destroy(t.regularizers);
    ct_objective_destroy(t.objective);
    ct_model_destroy(t.model);
    return status;
}

/* --------------------------------------------------------------------------------------------- verdict */

static double mean_of(const double *values, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i] / count;
    return sum;
}

static ct_status report(ct_claim_run *claim, double *const exact[], double *const entropy[],
                        double *const hinge[], int seeds) {
    static const ct_claim_column columns[] = {
        {"exact match", "%", 1}, {"matrix entropy", "nats", 2}, {"hinge term", NULL, 3}};
    int table = ct_claim_table(claim, "2 x 2 digits, held-out products, mean over seeds", columns, 3);
    for (int a = 0; a < ARMS; a++)
        ct_claim_row(
            claim, table, arms[a],
            (const double[]){mean_of(exact[a], seeds), mean_of(entropy[a], seeds), mean_of(hinge[a], seeds)},
            NULL);
    ct_claim_note(
        claim,
        "Scaled: %d steps of %d rows (the card: as many as fit 4 minutes), Adam %g, a GPT of %d layers "
        "and width 128 from scratch, where the paper fine-tunes GPT-2 on 5 x 5 digits.",
        STEPS, BATCH, learning_rate, LAYERS);
    ct_claim_note(claim,
                  "After so few steps hardly any held-out product is right in any arm: that exact match does "
                  "not suffer says little, and nothing about the paper's 99.5 %%.");
    ct_claim_check_paired(claim, "matrix entropy at answer positions, last layer, Seq-VCR - plain, nats",
                          entropy[2], entropy[0], seeds, CT_BY_MEAN, CT_AT_LEAST, .3);
    ct_claim_check_mean(claim, "hinge term with Seq-VCR, mean over positions", hinge[2], seeds, CT_BY_MEAN,
                        CT_LESS, .1);
    ct_claim_check_mean(claim, "hinge term of plain, mean over positions", hinge[0], seeds, CT_BY_MEAN,
                        CT_AT_LEAST, .1);
    return ct_claim_check_paired(claim, "exact match, Seq-VCR and pause - plain, points", exact[3], exact[0],
                                 seeds, CT_BY_MEAN, CT_AT_LEAST, -1);
}

static ct_status seq_vcr_run(ct_claim_run *claim) {
    int seeds = ct_claim_seeds(claim);
    double *exact[ARMS], *entropy[ARMS], *hinge[ARMS];
    for (int a = 0; a < ARMS; a++) {
        exact[a] = ct_claim_memory(claim, 3 * (size_t)seeds * sizeof(double));
        if (!exact[a]) return CT_ERROR_MEMORY;
        entropy[a] = exact[a] + seeds;
        hinge[a] = entropy[a] + seeds;
    }
    for (int s = 0; s < seeds; s++)
        for (int a = 0; a < ARMS; a++) {
            measures m = {NAN, NAN, NAN};
            ct_claim_say(claim, "%s, seed %d", arms[a], s + 1);
            ct_status status = train(claim, a, ct_claim_seed(claim, s), &m);
            if (status != CT_OK) return status;
            exact[a][s] = m.exact;
            entropy[a][s] = m.entropy;
            hinge[a][s] = m.hinge;
        }
    return report(claim, exact, entropy, hinge, seeds);
}

static const char *const methods[] = {"regularizer/seq_vcr", NULL};

const ct_claim ct_claim_seq_vcr = {
    .abi = CT_CLAIM_ABI,
    .name = "seq_vcr",
    .methods = methods,
    .card = "training/242-seq-vcr",
    .paper = "Arefin et al., ICLR 2025, arXiv:2411.02344",
    .sentence = "Seq-VCR keeps the last layer's representations from collapsing, without a loss of accuracy "
                "with pause "
                "tokens.",
    .reported =
        "5 x 5-digit multiplication with GPT-2 Small: exact match 99.5 % with Seq-VCR and pause tokens, 0 % "
        "without (abstract)",
    .minutes = 5,
    .seeds = 3,
    .run = seq_vcr_run};
