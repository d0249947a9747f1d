/* test_sft.c - fine-tuning: packed samples see themselves alone, the loss of a step is the mean over all its
 * targets however it is cut, packed and padded rows give the same loss, resuming, limits of the batch. */
#include "runs.h"
#include <carat/nn.h>

/* Eight samples; sample i has i + 1 letters and no eos, so i + 1 targets. */
static void write_samples(const place *p) {
    FILE *file = fopen(at(p, "samples.jsonl"), "wb");
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        fprintf(file, "{\"prompt\":\"say %d:\",\"completion\":\"%.*s\"}\n", i, i + 1, "abcdefgh");
    assert_int_equal(fclose(file), 0);
}

static const char sft[] = "task: sft, context: 32, data.validation_fraction: 0, save_steps: -1";

static outcome tune(const place *p, const char *output, const char *more) {
    char text[768];
    snprintf(text, sizeof(text), "{%s, data.train: %s%s%s}", sft, at(p, "samples.jsonl"), *more ? ", " : "",
             more);
    return run_recipe(p, output, text, false, 2);
}

/* ------------------------------------------------------------------------------------------- the model */

static ct_model *small(ct_context *context) {
    static const char text[] =
        "{model_type: gpt2, n_embd: 32, n_layer: 2, n_head: 2, n_positions: 16, vocab_size: 20, "
        "resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0}";
    ct_value *config = ct_yaml_parse(context, text, sizeof(text) - 1, "model");
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    assert_non_null(model);
    assert_int_equal(ct_model_initialize(model, 3), CT_OK);
    return model;
}

typedef struct probe {
    int calls;
    double across; /* largest probability from one sample to another */
} probe;

static const int32_t numbers[12] = {0, 0, 0, 0, 0, 1, 1, 1, 2, 2, -1, -1};
static const int lengths[3] = {5, 3, 2};

static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    probe *seen = user;
    seen->calls++;
    const float *data = ct_data(value); /* [1, heads, 12, 12] */
    for (int64_t h = 0; h < ct_dim(value, 1); h++)
        for (int i = 0; i < 12; i++)
            for (int j = 0; j < 12; j++)
                if (numbers[i] != numbers[j]) seen->across = fmax(seen->across, data[(h * 12 + i) * 12 + j]);
    return value;
}

/* Logits of each packed sample are those of the sample alone, by the fused kernel and with the probabilities
 * in sight. */
static void packed_logits(void **state) {
    (void)state;
    for (int explicit = 0; explicit < 2; explicit ++) {
        ct_context *context = ct_context_create(1);
        ct_model *model = small(context);
        ct_run *run = ct_run_create(context, NULL);
        ct_scope scope = ct_scope_open(context);
        probe seen = {0, 0};
        if (explicit) assert_int_equal(ct_run_add_tap(run, "h.*.attn.probs", look, &seen), CT_OK);
        ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(1, 12));
        ct_tensor *segments = ct_empty(context, CT_I32, CT_DIMS(1, 12));
        for (int t = 0; t < 12; t++)
            ((int32_t *)ct_data_mutable(ids))[t] = (t * 7 + 3) % 20;
        memcpy(ct_data_mutable(segments), numbers, sizeof(numbers));
        assert_int_equal(ct_run_set_segments(run, segments), CT_OK);
        const float *packed = ct_data(ct_model_forward(model, run, ids));
        assert_non_null(packed);
        assert_int_equal(ct_run_set_segments(run, NULL), CT_OK);
        if (explicit) assert_int_equal(seen.calls, 2);
        assert_true(seen.across == 0);
        ct_run_clear_taps(run);
        double worst = 0;
        for (int s = 0, first = 0; s < 3; first += lengths[s++]) {
            ct_tensor *alone = ct_slice(ids, 1, first, first + lengths[s], 1);
            const float *logits = ct_data(ct_model_forward(model, run, ct_contiguous(alone)));
            for (int i = 0; i < lengths[s] * 20; i++)
                worst = fmax(worst, fabs((double)logits[i] - (double)packed[first * 20 + i]));
        }
        assert_true(worst < 1e-5);
        const float *whole =
            ct_data(ct_model_forward(model, run, ids)); /* without segments it is another row */
        assert_true(fabsf(whole[11 * 20] - packed[11 * 20]) > 1e-5f);
        assert_int_equal(ct_run_set_segments(run, ct_full(context, CT_F32, 1, (int64_t[]){12}, 0)),
                         CT_ERROR_SHAPE);
        ct_context_clear(context);
        ct_scope_close(context, scope);
        ct_run_destroy(run);
        ct_model_destroy(model);
        ct_context_destroy(context);
    }
}

static void uniform_logits(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_scope scope = ct_scope_open(context);
    for (int mask = 1; mask < 64; mask++) {
        ct_tensor *logits = ct_full(context, CT_F32, 3, (int64_t[]){1, 6, 37}, 0.5);
        ct_tensor *targets = ct_empty(context, CT_I32, CT_DIMS(1, 6));
        for (int t = 0; t < 6; t++)
            ((int32_t *)ct_data_mutable(targets))[t] = mask >> t & 1 ? t : CT_LABEL_NONE;
        const float *loss = ct_data(ct_cross_entropy(logits, targets, NULL));
        assert_true(fabs((double)loss[0] - log(37)) < 1e-6);
    }
    ct_scope_close(context, scope);
    ct_context_destroy(context);
}

/* ---------------------------------------------------------------------------------------- the trainer */

static void micro_batches(void **state) {
    const place *p = *state;
    write_samples(p);
    static const char *const kinds[] = {
        "packing: false", "packing: true", "loss_normalization: sample",
        "group_by_length: false, label_smoothing_factor: 0.1, model.attn_pdrop: 0.1, "
        "packing: true"};
    double first[4];
    for (int k = 0; k < 4; k++) {
        outcome runs[3];
        for (int i = 0; i < 3; i++) {
            char more[256], output[32];
            int rows = k == 1 || k == 3 ? 4 : 8, size = i == 0 ? 1 : i == 1 ? 2 : rows;
            snprintf(output, sizeof(output), "micro-%d-%d", k, i);
            snprintf(more, sizeof(more),
                     "%s, max_steps: 5, per_device_train_batch_size: %d, gradient_accumulation_steps: %d",
                     kinds[k], size, rows / size);
            runs[i] = tune(p, output, more);
            assert_done(&runs[i]);
            assert_int_equal(runs[i].report.plan.micro_batch, size);
        }
        assert_same_run(&runs[0], &runs[1]);
        assert_same_run(&runs[0], &runs[2]);
        first[k] = runs[0].report.first_loss;
    }
    assert_true(fabs(first[0] - first[2]) > 1e-4); /* the mean of samples' means is another */
}

/* Loss and targets of sample `i` by itself, of the model in a folder. */
static double loss_alone(ct_model *model, int i, int *targets) {
    ct_context *context = ct_model_context(model);
    ct_run *run = ct_run_create(context, NULL);
    ct_scope scope = ct_scope_open(context);
    char text[64];
    int length = snprintf(text, sizeof(text), "say %d:%.*s", i, i + 1, "abcdefgh"), prompt = 6;
    ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(1, length - 1));
    ct_tensor *wanted = ct_empty(context, CT_I32, CT_DIMS(1, length - 1));
    for (int t = 0; t + 1 < length; t++) {
        ((int32_t *)ct_data_mutable(ids))[t] = text[t];
        ((int32_t *)ct_data_mutable(wanted))[t] = t + 1 >= prompt ? text[t + 1] : CT_LABEL_NONE;
    }
    *targets = length - prompt;
    const float *loss = ct_data(ct_cross_entropy(ct_model_forward(model, run, ids), wanted, NULL));
    double value = loss ? (double)*loss : NAN;
    ct_scope_close(context, scope);
    ct_run_destroy(run);
    return value;
}

/* Against samples one by one: the loss of a step is the sum over all targets by their number. */
static void token_mean(void **state) {
    const place *p = *state;
    write_samples(p);
    static const char still[] = "max_steps: 1, learning_rate: 0, per_device_train_batch_size: 8";
    char more[256];
    outcome by_token = tune(p, "still", still);
    snprintf(more, sizeof(more), "%s, loss_normalization: sample", still);
    outcome by_sample = tune(p, "still-sample", more);
    snprintf(more, sizeof(more),
             "max_steps: 1, learning_rate: 0, packing: true, per_device_train_batch_size: 3");
    outcome packed = tune(p, "still-packed", more);
    assert_done(&by_token);
    assert_done(&by_sample);
    assert_done(&packed);
    ct_context *context = ct_context_create(1);
    ct_model *model = ct_model_load(context, at(p, "still"), CT_F32);
    assert_non_null(model);
    double sum = 0, means = 0;
    int targets = 0;
    for (int i = 0; i < 8; i++) {
        int here;
        double loss = loss_alone(model, i, &here);
        assert_int_equal(here, i + 1);
        sum += loss * here;
        means += loss / 8;
        targets += here;
    }
    assert_true(fabs(by_token.report.first_loss - sum / targets) < 1e-6);
    assert_true(fabs(packed.report.first_loss - sum / targets) < 1e-5);
    assert_true(fabs(by_sample.report.first_loss - means) < 1e-6);
    assert_true(fabs(sum / targets - means) > 1e-4);
    ct_model_destroy(model);
    ct_context_destroy(context);
}

/* All samples in every step, so that only the rows differ. */
static void packed_and_padded(void **state) {
    const place *p = *state;
    write_samples(p);
    outcome padded = tune(p, "padded", "max_steps: 30, per_device_train_batch_size: 8");
    outcome packed = tune(p, "packed", "max_steps: 30, per_device_train_batch_size: 3, packing: true");
    assert_done(&padded);
    assert_done(&packed);
    assert_true(fabs(padded.report.last_loss - packed.report.last_loss) < 1e-3);
    assert_true(padded.report.last_loss < padded.report.first_loss - 1);
    assert_int_equal(padded.report.tokens, packed.report.tokens);
    assert_int_equal(padded.report.tokens, 30 * (8 * 5 + 36)); /* places of a sample: tokens less one */
}

static void resumed(void **state) {
    const place *p = *state;
    write_samples(p);
    static const char recipe[] =
        "per_device_train_batch_size: 8, max_batch_share: 0.4, save_steps: 3, packing: %s, "
        "max_steps: 7, model.resid_pdrop: 0.1";
    for (int packing = 0; packing < 2; packing++) {
        char more[512], text[768];
        snprintf(more, sizeof(more), recipe, packing ? "true" : "false");
        snprintf(text, sizeof(text),
                 "{task: sft, context: 32, data.validation_fraction: 0, data.train: %s, %s}",
                 at(p, "samples.jsonl"), more);
        outcome whole = run_recipe(p, packing ? "whole-1" : "whole-0", text, false, 2);
        assert_done(&whole);
        const char *output = packing ? "parts-1" : "parts-0";
        outcome part = run_until(p, output, text, false, 4);
        assert_true(part.report.interrupted);
        outcome rest = run_until(p, output, text, true, -1);
        assert_same_run(&whole, &rest);
        assert_true(rest.report.resumed);
        assert_int_equal(rest.report.tokens, whole.report.tokens);
    }
    ct_context *context = ct_context_create(1);
    ct_value *report = read_document(context, at(p, "whole-0/report.json"));
    assert_int_equal(ct_value_as_int(ct_value_get_path(report, "recipe.per_device_train_batch_size"), 0), 3);
    assert_int_equal(ct_value_as_int(ct_value_get_path(report, "samples.learnt_from"), 0), 21);
    ct_value_free(report);
    ct_context_destroy(context);
}

static void warn(void *user, ct_log_level level, const char *message) {
    char *seen = user;
    if (level == CT_LOG_WARNING) snprintf(seen, 512, "%s", message);
}

static void few_updates(void **state) {
    const place *p = *state;
    write_samples(p);
    for (int steps = 29; steps <= 30; steps++) {
        char seen[512] = "", more[512];
        ct_context *context = ct_context_create(2);
        ct_train_report report;
        ct_context_set_log(context, warn, seen, CT_LOG_WARNING);
        snprintf(more, sizeof(more), "{%s, data.train: %s, max_steps: %d}", sft, at(p, "samples.jsonl"),
                 steps);
        ct_value *recipe = recipe_of(context, p, steps == 29 ? "few" : "enough", more);
        assert_int_equal(ct_train(context, recipe, false, &report), CT_OK);
        assert_true((strstr(seen, "29 updates of 4 rows") != NULL) == (steps == 29));
        ct_value_free(recipe);
        ct_context_destroy(context);
    }
}

static void refused(void **state) {
    const place *p = *state;
    write_samples(p);
    outcome o = tune(p, "r", "chat_template: lama2");
    assert_refused(&o, CT_ERROR_NOT_FOUND, "did you mean \"llama2\"?");
    o = tune(p, "r", "max_length: 64");
    assert_refused(&o, CT_ERROR_ARGUMENT, "samples may be longer than a row (context)");
    o = tune(p, "r", "max_length: 6");
    assert_refused(&o, CT_ERROR_FORMAT, "none has an answer to learn within max_length 6");
    o = run_recipe(p, "r", "{packing: true}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "packing: it is an option of task: sft");
    o = run_recipe(p, "r", "{task: sft}", false, 1); /* text.txt is no .jsonl */
    assert_int_not_equal(o.status, CT_OK);
    o = run_recipe(p, "r", "{task: stf}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "sft");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed_logits),     cmocka_unit_test(uniform_logits),
                                       cmocka_unit_test(micro_batches),     cmocka_unit_test(token_mean),
                                       cmocka_unit_test(packed_and_padded), cmocka_unit_test(resumed),
                                       cmocka_unit_test(few_updates),       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
