/* test_learning.c - what training computes, against the mathematics: losses, clipping, decay, groups,
 * averages, schedules; and that it learns. */
#include "runs.h"
#include "train/learner.h"
#include "train/recipe.h"

/* ----------------------------------------------------------------- a learner by hand, on a few tokens */

typedef struct bench {
    ct_context *context;
    ct_value *recipe, *config;
    ct_train_options options;
    ct_tokenizer *tokenizer;
    ct_dataset *data;
    ct_learner *learner;
} bench;

static bench *bench_start(const place *p, const char *more) {
    bench *b = calloc(1, sizeof(*b));
    b->context = ct_context_create(2);
    b->recipe = recipe_of(b->context, p, "unused", more);
    int32_t ids[600];
    for (int i = 0; i < 600; i++)
        ids[i] = (i * i / 3 + 7 * i) % 251;
    if (ct_recipe_read(b->context, b->recipe, &b->options) != CT_OK)
        fail_msg("%s", ct_context_message(b->context));
    b->tokenizer = ct_tokenizer_from_kind(b->context, "bytes");
    b->data = ct_dataset_from_ids(b->context, ids, 600);
    b->config = ct_learner_config(b->context, &b->options, b->tokenizer);
    b->learner = ct_learner_create(b->context, &b->options, b->config);
    if (!b->learner || ct_learner_initialize(b->learner, NULL) != CT_OK)
        fail_msg("%s", ct_context_message(b->context));
    return b;
}

static void bench_end(bench *b) {
    ct_learner_destroy(b->learner);
    ct_value_free(b->config);
    ct_dataset_destroy(b->data);
    ct_tokenizer_destroy(b->tokenizer);
    ct_value_free(b->recipe);
    ct_memory_counts counts;
    ct_memory_read(b->context, &counts);
    size_t scratch = counts.current[CT_MEMORY_WORKSPACE]; /* the workers' own stays with the context */
    assert_true(counts.current[CT_MEMORY_WEIGHTS] + counts.current[CT_MEMORY_STATES] == 0);
    assert_true(counts.current[CT_MEMORY_ACTIVATIONS] + counts.current[CT_MEMORY_GRADIENTS] == 0);
    (void)scratch;
    ct_context_destroy(b->context);
    free(b);
}

static double bench_step(bench *b, int64_t step, double rate, double *norm) {
    ct_step_result result;
    if (ct_learner_step(b->learner, b->data, step, rate, &result) != CT_OK)
        fail_msg("%s", ct_context_message(b->context));
    if (norm) *norm = result.gradient_norm;
    return result.loss;
}

/* All weights one after the other; freed by the caller. */
static float *weights_of(bench *b, int64_t *count) {
    *count = ct_model_elements(b->learner->model, false);
    float *all = malloc((size_t)*count * sizeof(float)), *out = all;
    for (int64_t i = 0; i < ct_model_parameter_count(b->learner->model); i++) {
        ct_tensor *tensor = ct_model_parameter(b->learner->model, i)->tensor;
        assert_int_equal(ct_read(tensor, CT_F32, out), CT_OK);
        out += ct_count(tensor);
    }
    return all;
}

/* log-probabilities of the rows of step 0 by the public operations: [rows * length * classes] in f64. */
static double *log_probabilities(bench *b, int32_t *targets, int64_t *count, int64_t *classes) {
    ct_context *context = b->context;
    int64_t rows = b->learner->rows, length = b->learner->row_length;
    int32_t *ids = malloc((size_t)(rows * length) * sizeof(int32_t));
    for (int64_t r = 0; r < rows; r++)
        ct_dataset_row(context, b->data, length, (uint64_t)b->options.seed, r, ids + r * length,
                       targets + r * length);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *logits =
        ct_model_forward(b->learner->model, run, ct_from_data(context, CT_I32, CT_DIMS(rows, length), ids));
    *classes = ct_dim(logits, 2);
    *count = rows * length;
    double *values = malloc((size_t)(*count * *classes) * sizeof(double));
    assert_int_equal(ct_read(logits, CT_F64, values), CT_OK);
    for (int64_t i = 0; i < *count; i++) {
        double most = -INFINITY, sum = 0, *row = values + i * *classes;
        for (int64_t c = 0; c < *classes; c++)
            most = fmax(most, row[c]);
        for (int64_t c = 0; c < *classes; c++)
            sum += exp(row[c] - most);
        for (int64_t c = 0; c < *classes; c++)
            row[c] -= most + log(sum);
    }
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    free(ids);
    return values;
}

/* loss = -sum over targets of (1 - e) log p[target] + e mean(log p), over the number of targets. */
static void loss_of_a_step(void **state) {
    static const double smoothing[] = {0, 0.3};
    for (int k = 0; k < 2; k++) {
        char more[128];
        snprintf(more, sizeof(more), "{label_smoothing_factor: %g, gradient_accumulation_steps: 3}",
                 smoothing[k]);
        bench *b = bench_start(*state, more);
        int32_t targets[12 * 32];
        int64_t count, classes;
        double *logp = log_probabilities(b, targets, &count, &classes), expected = 0;
        assert_int_equal(count, 12 * 32);
        for (int64_t i = 0; i < count; i++) {
            double mean = 0;
            for (int64_t c = 0; c < classes; c++)
                mean += logp[i * classes + c] / (double)classes;
            expected -= (1 - smoothing[k]) * logp[i * classes + targets[i]] + smoothing[k] * mean;
        }
        expected /= (double)count;
        assert_int_equal(ct_learner_arrange(b->learner, 4, 0), CT_OK);
        double found = bench_step(b, 0, 0, NULL);
        assert_true(fabs(found - expected) < 2e-6 * expected);
        free(logp);
        bench_end(b);
    }
}

/* Mean loss of a text in rows of its own: of all of it, of its last, shorter row, and of a part. */
static void loss_of_a_text(void **state) {
    bench *b = bench_start(*state, "{per_device_train_batch_size: 2, ema_decay: 0.5}");
    double all, first, rest;
    int64_t length = b->learner->row_length, tokens = 3 * length + 11;
    ct_dataset *text = ct_dataset_part(b->data, 0, tokens),
               *head = ct_dataset_part(b->data, 0, 3 * length + 1);
    ct_dataset *tail = ct_dataset_part(b->data, 3 * length, tokens);
    assert_int_equal(ct_learner_evaluate(b->learner, text, 0, &all), CT_OK);
    assert_int_equal(ct_learner_evaluate(b->learner, head, 0, &first), CT_OK);
    assert_int_equal(ct_learner_evaluate(b->learner, tail, 0, &rest), CT_OK);
    double n = (double)(3 * length), m = 10;
    assert_true(fabs(all - (first * n + rest * m) / (n + m)) < 1e-12 * all);
    double limited, again;
    assert_int_equal(ct_learner_evaluate(b->learner, text, 3, &limited), CT_OK);
    assert_int_equal(ct_learner_arrange(b->learner, 1, 0), CT_OK);
    assert_int_equal(ct_learner_evaluate(b->learner, head, 0, &again), CT_OK);
    assert_true(again == first); /* however it is batched */
    assert_true(limited == all || fabs(limited - all) > 0);
    ct_dataset_destroy(text);
    ct_dataset_destroy(head);
    ct_dataset_destroy(tail);
    bench_end(b);
}

/* SGD at rate 1 moves the weights by the clipped gradient: a step of length max_grad_norm. */
static void clipping(void **state) {
    double norm;
    int64_t count;
    bench *b = bench_start(*state, "{optim: sgd, optimizer: {momentum: 0}, max_grad_norm: 0.25}");
    float *before = weights_of(b, &count);
    bench_step(b, 0, 1, &norm);
    assert_true(norm > 0.3);
    float *after = weights_of(b, &count);
    double moved = 0;
    for (int64_t i = 0; i < count; i++)
        moved += ((double)after[i] - before[i]) * ((double)after[i] - before[i]);
    assert_true(fabs(sqrt(moved) - 0.25) < 1e-4);
    free(before);
    free(after);
    bench_end(b);
    b = bench_start(*state, "{optim: sgd, optimizer: {momentum: 0}, max_grad_norm: 0}");
    before = weights_of(b, &count);
    bench_step(b, 0, 1, &norm);
    after = weights_of(b, &count);
    moved = 0;
    for (int64_t i = 0; i < count; i++)
        moved += ((double)after[i] - before[i]) * ((double)after[i] - before[i]);
    assert_true(fabs(sqrt(moved) - norm) < 1e-4 * norm); /* unclipped */
    free(before);
    free(after);
    bench_end(b);
}

static double largest_change(const float *a, const float *b, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - b[i]));
    return most;
}

/* Positions that no row reaches have no gradient: under decay alone they shrink by 1 - rate * decay. Biases
 * and norms do not decay unless a group says so. A group of rate 0 stands still. The first group that matches
 * counts. */
static void groups_and_decay(void **state) {
    bench *b = bench_start(
        *state, "{model.n_positions: 40, weight_decay: 0.5, parameter_groups: [{pattern: \"*.h.0.*\", "
                "learning_rate_scale: 0}, {pattern: \"*.h.*\"}, {pattern: \"*.wpe.*\", "
                "learning_rate_scale: 0.5, weight_decay: 0.25}, {pattern: \"*\", weight_decay: 0.5}]}");
    ct_model *model = b->learner->model;
    float wpe[40 * 32], wpe_after[40 * 32], frozen[32 * 96], frozen_after[32 * 96], moving[32 * 96];
    ct_tensor *positions = ct_model_find(model, "transformer.wpe.weight")->tensor;
    ct_tensor *still = ct_model_find(model, "transformer.h.0.attn.c_attn.weight")->tensor;
    ct_tensor *moves = ct_model_find(model, "transformer.h.1.attn.c_attn.weight")->tensor;
    assert_int_equal(ct_read(positions, CT_F32, wpe), CT_OK);
    assert_int_equal(ct_read(still, CT_F32, frozen), CT_OK);
    bench_step(b, 0, 0.1, NULL);
    ct_read(positions, CT_F32, wpe_after);
    ct_read(still, CT_F32, frozen_after);
    ct_read(moves, CT_F32, moving);
    for (int64_t i = 32 * 32; i < 40 * 32; i++)
        assert_true(fabs(wpe_after[i] - wpe[i] * (1 - 0.05 * 0.25)) <= 2e-7 * fabs(wpe[i]));
    assert_true(largest_change(wpe, wpe_after, 32 * 32) > 0.01);
    assert_true(memcmp(frozen, frozen_after, sizeof(frozen)) == 0);
    assert_true(largest_change(frozen, moving, 32 * 96) > 0);
    bench_end(b);
}

/* What never gets a gradient shows the decay alone: with AdamW and no decay of biases the norm's bias moves
 * by the rate, and the weight matrix by rate and decay. Here: a decay of 1 / rate wipes weights out, not
 * gains. */
static void gains_do_not_decay(void **state) {
    bench *b = bench_start(*state, "{weight_decay: 10}");
    float gain[32], matrix[32 * 128];
    bench_step(b, 0, 0.1, NULL); /* 1 - rate * decay = 0: the update of size 0.1 is all that stays */
    ct_read(ct_model_find(b->learner->model, "transformer.ln_f.weight")->tensor, CT_F32, gain);
    ct_read(ct_model_find(b->learner->model, "transformer.h.0.mlp.c_fc.weight")->tensor, CT_F32, matrix);
    for (int i = 0; i < 32; i++)
        assert_true(fabsf(gain[i] - 1) < 0.11f);
    double mean = 0;
    for (int i = 0; i < 32 * 128; i++)
        mean += fabsf(matrix[i]) / (32 * 128);
    assert_true(fabs(mean - 0.1) < 0.005); /* Adam's first step is the rate times the sign of the gradient */
    bench_end(b);
}

/* average_t = d average_(t-1) + (1 - d) w_t with d = min(decay, (1 + t) / (10 + t)), and it is what is
 * evaluated. */
static void moving_average(void **state) {
    bench *b = bench_start(*state, "{ema_decay: 0.2}");
    int64_t count;
    float *now = weights_of(b, &count);
    double *average = malloc((size_t)count * sizeof(double));
    for (int64_t i = 0; i < count; i++)
        average[i] = now[i];
    free(now);
    for (int64_t step = 0; step < 4; step++) {
        double decay = fmin(0.2, (1 + (double)step) / (10 + (double)step));
        bench_step(b, step, 1e-2, NULL);
        now = weights_of(b, &count);
        for (int64_t i = 0; i < count; i++)
            average[i] = decay * average[i] + (1 - decay) * now[i];
        free(now);
    }
    float *found = malloc((size_t)count * sizeof(float)), *out = found;
    for (int64_t i = 0; i < ct_model_parameter_count(b->learner->model); i++) {
        assert_int_equal(ct_read(b->learner->average[i], CT_F32, out), CT_OK);
        out += ct_count(b->learner->average[i]);
    }
    for (int64_t i = 0; i < count; i++)
        assert_true(fabs(found[i] - average[i]) <= 1e-6 + 1e-6 * fabs(average[i]));
    double averaged, plain;
    assert_int_equal(ct_learner_evaluate(b->learner, b->data, 0, &averaged), CT_OK);
    for (int64_t i = 0; i < ct_model_parameter_count(b->learner->model); i++)
        ct_copy_into(ct_model_parameter(b->learner->model, i)->tensor, b->learner->average[i]);
    ct_run_pop_overlay(b->learner->evaluation);
    assert_int_equal(ct_learner_evaluate(b->learner, b->data, 0, &plain), CT_OK);
    assert_true(averaged == plain);
    free(found);
    free(average);
    bench_end(b);
}

/* --------------------------------------------------------------------------------------------- whole runs */

/* What PyTorch 2 reaches from the same weights on the same row, with its AdamW, clipping, cosine schedule
 * after a warmup, label smoothing and decay of matrices only. */
static void as_pytorch(void **state) {
    const place *p = *state;
    static const double losses[][2] = {
        {1, 5.514732837677002},   {4, 4.822622776031494},   {7, 4.14434814453125},
        {10, 3.5650672912597656}, {13, 3.0743730068206787}, {16, 2.6796789169311523},
        {19, 2.3998451232910156}, {22, 2.2169089317321777}, {25, 2.113513231277466},
        {28, 2.070216178894043},  {30, 2.0625357627868652}};
    static const double norms[] = {3.1047251224517822, 2.0215721130371094, 3.3491885662078857,
                                   2.196528196334839,  2.004687786102295,  1.670583963394165,
                                   1.5293099880218506, 1.383312463760376,  1.3322439193725586,
                                   1.2761459350585938, 1.2713136672973633};
    append_text(at(p, "row.txt"), "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll");
    char more[900];
    snprintf(more, sizeof(more),
             "{data: {train: %s, validation_fraction: 0}, context: 64, model.n_embd: 64, "
             "per_device_train_batch_size: 1, "
             "lr_scheduler_type: cosine, warmup_steps: 5, optimizer: {beta2: 0.95}, weight_decay: 0.1, "
             "max_steps: 30, "
             "label_smoothing_factor: 0.1, seed: 42}",
             at(p, "row.txt"));
    outcome o = run_recipe(p, "row", more, false, 2);
    assert_done(&o);
    ct_context *context = ct_context_create(1);
    ct_jsonl *log = ct_jsonl_open(context, at(p, "row/train.jsonl"), 1 << 16);
    size_t next = 0;
    for (ct_value *line; (line = ct_jsonl_next(log)); ct_value_free(line)) {
        if (next == 11 || ct_value_as_real(ct_value_get(line, "step"), 0) != losses[next][0]) continue;
        double loss = ct_value_as_real(ct_value_get(line, "loss"), 0);
        double norm = ct_value_as_real(ct_value_get(line, "grad_norm"), 0);
        assert_true(fabs(loss - losses[next][1]) < 2e-6 * loss);
        assert_true(fabs(norm - norms[next]) < 5e-6 * norm);
        next++;
    }
    assert_int_equal(next, 11);
    ct_jsonl_close(log);
    ct_context_destroy(context);
}

/* Untrained, a byte model is near log 256; knowing how often each byte occurs in this text gives 4.4 bits, so
 * what it learnt from context must bring it well below. */
static void assert_learns(const outcome *o) {
    assert_done(o);
    assert_true(fabs(o->report.first_loss - log(256)) < 0.1);
    assert_true(fabs(o->report.bits_per_byte_before - 8) < 0.2);
    assert_true(fabs(o->report.perplexity_after - exp(o->report.bits_per_byte_after * log(2))) < 1e-6);
    if (!(o->report.bits_per_byte_after < 4)) fail_msg("%f bits per byte", o->report.bits_per_byte_after);
}

static const char learning[] =
    "{max_steps: 250, model.n_embd: 64, per_device_train_batch_size: 8, warmup_steps: 10, "
    "optimizer: {beta2: 0.98}, weight_decay: 0.01, save_steps: -1, eval_batches: 0";

static void real_text_is_learnt(void **state) {
    char more[512];
    snprintf(more, sizeof(more), "%s}", learning);
    outcome f32 = run_recipe(*state, "f32", more, false, 2);
    assert_learns(&f32);
    snprintf(more, sizeof(more), "%s, bf16: true}", learning);
    outcome bf16 = run_recipe(*state, "bf16", more, false, 2);
    assert_learns(&bf16);
    assert_true(fabs(bf16.report.bits_per_byte_after - f32.report.bits_per_byte_after) < 0.1);
    assert_true(bf16.report.weights_hash != f32.report.weights_hash);
}

/* The average does not steer the training, it is what is evaluated and saved. */
static void average_and_weights(void **state) {
    outcome plain = run_recipe(*state, "plain", "{max_steps: 20, save_steps: -1}", false, 2);
    outcome averaged =
        run_recipe(*state, "averaged", "{max_steps: 20, save_steps: -1, ema_decay: 0.9}", false, 2);
    assert_same_run(&averaged, &plain);
    assert_true(averaged.report.bits_per_byte_before == plain.report.bits_per_byte_before);
    assert_true(averaged.report.bits_per_byte_after != plain.report.bits_per_byte_after);
    assert_true(averaged.report.bits_per_byte_after < averaged.report.bits_per_byte_before - 0.5);
}

/* Every tokenizer, and going on from a model folder with its own. */
static void tokenizers_and_going_on(void **state) {
    const place *p = *state;
    static const char *const kinds[] = {"{tokenizer.kind: characters, max_steps: 30}",
                                        "{tokenizer: {kind: bpe, vocab_size: 400}, max_steps: 30}"};
    for (int i = 0; i < 2; i++) {
        outcome o = run_recipe(p, i ? "bpe" : "characters", kinds[i], false, 2);
        assert_done(&o);
        assert_true(o.report.bits_per_byte_after < o.report.bits_per_byte_before - 0.5);
    }
    ct_context *context = ct_context_create(1);
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, at(p, "bpe"));
    assert_non_null(tokenizer);
    assert_true(ct_tokenizer_size(tokenizer) == 400 && ct_tokenizer_role(tokenizer, "eos") >= 0);
    ct_value *config = read_document(context, at(p, "bpe/config.json"));
    assert_int_equal(ct_value_as_int(ct_value_get(config, "vocab_size"), 0), 400);
    assert_int_equal(ct_value_as_int(ct_value_get(config, "eos_token_id"), -1),
                     ct_tokenizer_role(tokenizer, "eos"));
    ct_value_free(config);
    ct_tokenizer_destroy(tokenizer);
    ct_context_destroy(context);
    char more[700];
    snprintf(more, sizeof(more), "{model: {path: %s}, tokenizer: {}, max_steps: 5, learning_rate: 1e-3}",
             at(p, "bpe"));
    outcome first = run_recipe(p, "bpe", "{tokenizer: {kind: bpe, vocab_size: 400}, max_steps: 30}", true, 2);
    outcome on = run_recipe(p, "on", more, false, 2);
    assert_done(&on);
    assert_true(fabs(on.report.bits_per_byte_before - first.report.bits_per_byte_after) < 1e-9);
    assert_true(on.report.bits_per_byte_after < on.report.bits_per_byte_before);
}

static void epochs(void **state) {
    const place *p = *state;
    /* A tenth of the licence is held out; of the rest, rows of 32 tokens, 4 a step. */
    outcome o = run_recipe(p, "epochs", "{max_steps: 0, num_train_epochs: 0.5, save_steps: -1}", false, 2);
    assert_done(&o);
    ct_context *context = ct_context_create(1);
    ct_value *report = read_document(context, at(p, "epochs/report.json"));
    int64_t tokens = ct_value_as_int(ct_value_get(report, "training_tokens"), 0),
            rows = (tokens - 1) / 32 - 1;
    assert_true(tokens > 9000);
    assert_int_equal(o.report.steps, (int64_t)ceil(0.5 * (double)rows / 4));
    assert_int_equal(o.report.tokens, o.report.steps * 128);
    ct_value_free(report);
    ct_context_destroy(context);
}

/* The rate rises over four steps to its highest, then falls in a line towards zero. */
static void schedule_in_the_log(void **state) {
    const place *p = *state;
    outcome o = run_recipe(p, "schedule", "{warmup_steps: 4, max_steps: 9, learning_rate: 0.02}", false, 1);
    assert_done(&o);
    ct_context *context = ct_context_create(1);
    ct_jsonl *log = ct_jsonl_open(context, at(p, "schedule/train.jsonl"), 1 << 16);
    int64_t next = 1;
    for (ct_value *line; (line = ct_jsonl_next(log)); ct_value_free(line)) {
        if (!ct_value_get(line, "loss")) continue;
        double factor = next <= 4 ? (double)next / 4 : 1 - (double)(next - 5) / 5;
        assert_int_equal(ct_value_as_int(ct_value_get(line, "step"), 0), next++);
        assert_true(fabs(ct_value_as_real(ct_value_get(line, "learning_rate"), 0) - 0.02 * factor) < 1e-12);
    }
    assert_int_equal(next, 10);
    ct_jsonl_close(log);
    ct_context_destroy(context);
}

/* Nothing counts as an improvement by 100 nats: the first evaluation stays the best, and two more end the
 * run. */
static void early_stopping(void **state) {
    outcome o = run_recipe(
        *state, "early",
        "{max_steps: 50, eval_steps: 3, early_stopping_patience: 2, early_stopping_threshold: 100}", false,
        2);
    assert_done(&o);
    assert_true(o.report.stopped_early);
    assert_int_equal(o.report.steps, 6);
    assert_int_equal(o.report.best_step, 0);
    assert_true(ct_file_exists(at(*state, "early/model.safetensors")));
    outcome again =
        run_recipe(*state, "early",
                   "{max_steps: 50, eval_steps: 3, early_stopping_patience: 2, early_stopping_threshold: "
                   "100}",
                   true, 2);
    assert_done(&again);
    assert_true(again.report.stopped_early && again.report.weights_hash == o.report.weights_hash);
    outcome never =
        run_recipe(*state, "late", "{max_steps: 7, eval_steps: 3, early_stopping_patience: 2}", false, 2);
    assert_done(&never);
    assert_false(never.report.stopped_early);
}

/* A rate beyond reason ends in infinities: the run says at which step, and the checkpoint before it stays
 * good. */
static void not_a_number(void **state) {
    const place *p = *state;
    static const char wild[] =
        "{optim: sgd, optimizer: {momentum: 0}, learning_rate: 1000, max_grad_norm: 0, save_steps: 1, "
        "max_steps: 200, lr_scheduler_type: constant}";
    outcome o = run_recipe(p, "wild", wild, false, 2);
    assert_int_equal(o.status, CT_ERROR_NUMERIC);
    if (strncmp(o.message, "step ", 5) != 0) fail_msg("%s", o.message);
    long long step = atoll(o.message + 5);
    assert_true(step > 1);
    char path[64];
    snprintf(path, sizeof(path), "wild/checkpoint-%lld/trainer_state.json", step - 1);
    assert_true(ct_file_exists(at(p, path)));
    assert_false(ct_file_exists(at(p, "wild/model.safetensors")));
    outcome again = run_recipe(p, "wild", wild, true, 2);
    assert_int_equal(again.status, CT_ERROR_NUMERIC);
    assert_string_equal(again.message, o.message);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_of_a_step),
        cmocka_unit_test(loss_of_a_text),
        cmocka_unit_test(clipping),
        cmocka_unit_test(groups_and_decay),
        cmocka_unit_test(gains_do_not_decay),
        cmocka_unit_test(moving_average),
        cmocka_unit_test(as_pytorch),
        cmocka_unit_test(real_text_is_learnt),
        cmocka_unit_test(average_and_weights),
        cmocka_unit_test(tokenizers_and_going_on),
        cmocka_unit_test(epochs),
        cmocka_unit_test(schedule_in_the_log),
        cmocka_unit_test(early_stopping),
        cmocka_unit_test(not_a_number),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
