/* test_resume.c - a run that stops anywhere and goes on ends with the bits of one that never stopped. */
#include "runs.h"
#include <carat/objective.h>
#include <sys/stat.h>
#include <unistd.h>

static const char recipe[] =
    "{max_steps: 9, eval_steps: 4, save_steps: 3, model.resid_pdrop: 0.1, ema_decay: 0.95, "
    "warmup_steps: 2, lr_scheduler_type: cosine}";

static void assert_log_is(const place *p, const char *a, const char *b) {
    ct_context *context = ct_context_create(1);
    char path[64];
    snprintf(path, sizeof(path), "%s/train.jsonl", a);
    ct_jsonl *one = ct_jsonl_open(context, at(p, path), 1 << 16);
    snprintf(path, sizeof(path), "%s/train.jsonl", b);
    ct_jsonl *two = ct_jsonl_open(context, at(p, path), 1 << 16);
    static const char *const keys[] = {"step", "loss", "grad_norm", "learning_rate", "eval_loss", "tokens"};
    for (;;) {
        ct_value *x = ct_jsonl_next(one), *y = ct_jsonl_next(two);
        assert_true((x == NULL) == (y == NULL));
        if (!x) break;
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
            assert_true(ct_value_equal(ct_value_get(x, keys[k]), ct_value_get(y, keys[k])));
        ct_value_free(x);
        ct_value_free(y);
    }
    ct_jsonl_close(one);
    ct_jsonl_close(two);
    ct_context_destroy(context);
}

/* A stop at every step, between steps and before the first. */
static void stops_anywhere(void **state) {
    const place *p = *state;
    outcome whole = run_recipe(p, "whole", recipe, false, 2);
    assert_done(&whole);
    assert_false(whole.report.resumed);
    for (int64_t stop = 0; stop < 9; stop += stop ? 2 : 1) {
        char output[32], model[64];
        snprintf(output, sizeof(output), "stop-%lld", (long long)stop);
        snprintf(model, sizeof(model), "%s/model.safetensors", output);
        outcome part = run_until(p, output, recipe, false, stop);
        assert_done(&part);
        assert_true(part.report.interrupted);
        assert_int_equal(part.report.steps, stop);
        assert_false(ct_file_exists(at(p, model)));
        outcome rest = run_recipe(p, output, recipe, true, 1);
        assert_same_run(&rest, &whole);
        assert_true(rest.report.resumed);
        assert_true(rest.report.first_loss == whole.report.first_loss);
        assert_true(rest.report.bits_per_byte_before == whole.report.bits_per_byte_before);
        assert_true(rest.report.bits_per_byte_after == whole.report.bits_per_byte_after);
        assert_int_equal(rest.report.best_step, whole.report.best_step);
        assert_log_is(p, output, "whole");
    }
}

/* Three stops in one run, another number of threads each time, micro-batches cut differently. */
static void stops_again_and_again(void **state) {
    const place *p = *state;
    outcome whole = run_recipe(p, "whole", recipe, true, 1); /* finished: nothing is left to do */
    assert_done(&whole);
    run_until(p, "often", recipe, false, 2);
    run_until(p, "often", recipe, true, 5);
    char more[512];
    snprintf(more, sizeof(more),
             "%.*s, per_device_train_batch_size: 1, gradient_accumulation_steps: 4, "
             "gradient_checkpointing: 1}",
             (int)strlen(recipe) - 1, recipe);
    run_until(p, "often", more, true, 6);
    outcome rest = run_recipe(p, "often", recipe, true, 4);
    assert_same_run(&rest, &whole);
}

/* SGD without momentum has no states, so there is no optimizer.safetensors. */
static void without_states(void **state) {
    const place *p = *state;
    static const char sgd[] = "{optim: sgd, optimizer: {momentum: 0}, max_steps: 4, learning_rate: 0.1}";
    outcome whole = run_recipe(p, "sgd", sgd, false, 1);
    run_until(p, "sgd-2", sgd, false, 2);
    outcome rest = run_recipe(p, "sgd-2", sgd, true, 1);
    assert_same_run(&rest, &whole);
}

/* A longer run goes on from the end of a shorter one; with a constant rate it is the same run. */
static void more_steps(void **state) {
    const place *p = *state;
    outcome longer = run_recipe(p, "long", "{max_steps: 7, lr_scheduler_type: constant}", false, 1);
    outcome shorter = run_recipe(p, "short", "{max_steps: 4, lr_scheduler_type: constant}", false, 1);
    assert_true(shorter.report.weights_hash != longer.report.weights_hash);
    outcome rest =
        run_recipe(p, "short", "{max_steps: 7, lr_scheduler_type: constant, logging_steps: 3}", true, 2);
    assert_same_run(&rest, &longer);
}

/* ------------------------------------------------------------------------- a stop within a step */

static int64_t calls, stop_at_call;

/* Cross entropy, and a stop is requested while the losses of some micro-batch are made. */
static ct_tensor *stopping_losses(const ct_objective_call *call) {
    if (ct_context_device(call->context) == CT_CPU && ++calls == stop_at_call) ct_request_stop(call->context);
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    return ct_cross_entropy(call->outputs, call->targets, &how);
}

static const ct_objective_method stopping = {.method = {.abi = CT_METHOD_ABI,
                                                        .size = sizeof(ct_objective_method),
                                                        .name = "stopping",
                                                        .title = "Cross entropy that stops",
                                                        .summary = "For this test."},
                                             .targets = CT_TARGETS_IDS,
                                             .losses = stopping_losses};

static outcome run_stopping(const place *p, const char *output, const char *more, bool resume, int64_t call) {
    outcome o = {0};
    ct_context *context = ct_context_create(2);
    calls = 0;
    stop_at_call = call;
    assert_int_equal(ct_method_register(context, "objective", &stopping.method), CT_OK);
    ct_value *text = recipe_of(context, p, output, more);
    o.status = ct_train(context, text, resume, &o.report);
    snprintf(o.message, sizeof(o.message), "%s", ct_context_message(context));
    ct_value_free(text);
    ct_context_destroy(context);
    return o;
}

/* A step has three micro-batches; norms change running statistics in each. */
static void stops_within_a_step(void **state) {
    const place *p = *state;
    static const char *const norms[] = {"layernorm", "batchnorm"};
    for (int n = 0; n < 2; n++) {
        char more[256], output[32];
        snprintf(more, sizeof(more),
                 "{max_steps: 4, gradient_accumulation_steps: 3, objective: [stopping], model.norm: {name: %s}}", norms[n]);
        snprintf(output, sizeof(output), "whole-%s", norms[n]);
        outcome whole = run_stopping(p, output, more, false, 0);
        assert_done(&whole);
        for (int64_t call = 4; call <= 6; call++) { /* of the second step */
            snprintf(output, sizeof(output), "within-%s-%d", norms[n], (int)call);
            outcome part = run_stopping(p, output, more, false, call);
            assert_done(&part);
            assert_true(part.report.interrupted);
            outcome rest = run_stopping(p, output, more, true, 0);
            assert_same_run(&rest, &whole);
        }
    }
}

static void other_recipes_are_refused(void **state) {
    const place *p = *state;
    outcome first = run_until(p, "kept", recipe, false, 4);
    assert_done(&first);
    static const char *const changes[][2] = {
        {"learning_rate: 1e-3", "another learning_rate: it was 0.003, the recipe now says 0.001"},
        {"seed: 8", "another seed: it was 7, the recipe now says 8"},
        {"model.n_layer: 3", "another model.n_layer: it was 2, the recipe now says 3"},
        {"weight_decay: 0.1", "another weight_decay"},
        {"bf16: true", "another bf16: it was false, the recipe now says true"},
        {"optimizer: {beta1: 0.8}", "another optimizer"},
        {"tokenizer.kind: characters", "another tokenizer.kind: it was \"bytes\""},
        {"per_device_train_batch_size: 3", "another number of rows a step"},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        char more[512];
        snprintf(more, sizeof(more), "%.*s, %s}", (int)strlen(recipe) - 1, recipe, changes[i][0]);
        outcome o = run_recipe(p, "kept", more, true, 1);
        assert_refused(&o, CT_ERROR_ARGUMENT, changes[i][1]);
    }
    append_text(at(p, "text.txt"), "More text.\n");
    outcome o = run_recipe(p, "kept", recipe, true, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "another text");
    assert_int_equal(truncate(at(p, "text.txt"), 0), 0); /* and back */
    ct_context *context = ct_context_create(1);
    char source[512];
    snprintf(source, sizeof(source), "%s/LICENSE", getenv("CARAT_SOURCE") ? getenv("CARAT_SOURCE") : ".");
    assert_int_equal(ct_file_copy(context, source, at(p, "text.txt")), CT_OK);
    ct_context_destroy(context);
    outcome rest = run_recipe(p, "kept", recipe, true, 1), whole = run_recipe(p, "whole", recipe, true, 1);
    assert_same_run(&rest, &whole);
}

static void flip_byte(const char *path, long from_end) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    fputc(byte ^ 1, file);
    assert_int_equal(fclose(file), 0);
}

static void damaged_checkpoints(void **state) {
    const place *p = *state;
    run_until(p, "damaged", recipe, false, 2);
    flip_byte(at(p, "damaged/checkpoint-2/model.safetensors"), 100);
    outcome o = run_recipe(p, "damaged", recipe, true, 1);
    assert_refused(&o, CT_ERROR_FORMAT, "the weights are not those");
    flip_byte(at(p, "damaged/checkpoint-2/model.safetensors"), 100);
    struct stat info;
    assert_int_equal(stat(at(p, "damaged/checkpoint-2/optimizer.safetensors"), &info), 0);
    assert_int_equal(rename(at(p, "damaged/checkpoint-2/optimizer.safetensors"), at(p, "aside")), 0);
    o = run_recipe(p, "damaged", recipe, true, 1);
    assert_refused(&o, CT_ERROR_NOT_FOUND, "optimizer.safetensors");
    assert_int_equal(rename(at(p, "aside"), at(p, "damaged/checkpoint-2/optimizer.safetensors")), 0);
    assert_int_equal(truncate(at(p, "damaged/checkpoint-2/optimizer.safetensors"), info.st_size - 8), 0);
    o = run_recipe(p, "damaged", recipe, true, 1);
    assert_int_equal(o.status, CT_ERROR_FORMAT);
    assert_int_equal(truncate(at(p, "damaged/checkpoint-2/trainer_state.json"), 40), 0);
    o = run_recipe(p, "damaged", recipe, true, 1);
    assert_refused(&o, CT_ERROR_FORMAT, "trainer_state.json");
}

/* Nothing to go on from: the run begins. A folder with results is not written over unasked. */
static void fresh_and_occupied_folders(void **state) {
    const place *p = *state;
    outcome fresh = run_recipe(p, "fresh", "max_steps: 2", true, 1);
    assert_done(&fresh);
    assert_false(fresh.report.resumed);
    outcome again = run_recipe(p, "fresh", "{max_steps: 2, seed: 9}", false, 1);
    assert_refused(&again, CT_ERROR_ARGUMENT, "holds another run (config.json)");
    again = run_recipe(p, "fresh", "{max_steps: 1, seed: 9, overwrite_output_dir: true}", false, 1);
    assert_done(&again);
    assert_false(ct_folder_exists(at(p, "fresh/checkpoint-2")));
    assert_true(ct_folder_exists(at(p, "fresh/checkpoint-1")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_anywhere),
        cmocka_unit_test(stops_again_and_again),
        cmocka_unit_test(without_states),
        cmocka_unit_test(more_steps),
        cmocka_unit_test(stops_within_a_step),
        cmocka_unit_test(other_recipes_are_refused),
        cmocka_unit_test(damaged_checkpoints),
        cmocka_unit_test(fresh_and_occupied_folders),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
