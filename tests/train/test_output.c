/* test_output.c - what a run writes, and that nothing that existed is lost when it cannot. */
#include "runs.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static double field(const ct_value *map, const char *path) {
    return ct_value_as_real(ct_value_get_path(map, path), NAN);
}

static void what_is_written(void **state) {
    const place *p = *state;
    outcome o = run_recipe(
        p, "all", "{max_steps: 8, eval_steps: 4, save_steps: 2, save_total_limit: 2, ema_decay: 0.5}", false,
        2);
    assert_done(&o);
    static const char *const files[] = {"config.json",
                                        "generation_config.json",
                                        "model.safetensors",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "recipe.yaml",
                                        "report.json",
                                        "train.jsonl",
                                        "loss.svg",
                                        "checkpoint-8/config.json",
                                        "checkpoint-8/model.safetensors",
                                        "checkpoint-8/optimizer.safetensors",
                                        "checkpoint-8/ema.safetensors",
                                        "checkpoint-8/trainer_state.json",
                                        "checkpoint-6/trainer_state.json",
                                        "checkpoint-8/recipe.yaml",
                                        "checkpoint-8/tokenizer.json"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "all/%s", files[i]);
        if (!ct_file_exists(at(p, path))) fail_msg("%s is missing", files[i]);
    }
    assert_false(ct_folder_exists(at(p, "all/checkpoint-4")) || ct_folder_exists(at(p, "all/checkpoint-2")));
    ct_context *context = ct_context_create(1);
    ct_value *report = read_document(context, at(p, "all/report.json"));
    assert_true(field(report, "bits_per_byte_after") == o.report.bits_per_byte_after);
    assert_true(field(report, "plan.peak") == (double)o.report.plan.peak);
    assert_true(field(report, "recipe.max_steps") == 8 && field(report, "threads") == 2);
    assert_string_equal(ct_value_as_string(ct_value_get(report, "saved_weights"), ""), "moving average");
    assert_non_null(ct_value_get(report, "isa"));
    char hash[32];
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)o.report.weights_hash);
    assert_string_equal(ct_value_as_string(ct_value_get(report, "weights_hash"), ""), hash);
    ct_value_free(report);
    /* The recipe that was kept is one, and gives the same run. */
    ct_value *kept = read_document(context, at(p, "all/recipe.yaml"));
    ct_train_report again;
    ct_value_set(kept, "output_dir", ct_value_string(context, at(p, "again")));
    if (ct_train(context, kept, false, &again) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_true(again.weights_hash == o.report.weights_hash);
    ct_value_free(kept);
    ct_context_destroy(context);
}

/* With a moving average the model folder has the average, the checkpoint the weights themselves. */
static void saved_weights(void **state) {
    const place *p = *state;
    ct_context *context = ct_context_create(1);
    ct_safetensors *model = ct_safetensors_open(context, at(p, "all/model.safetensors"));
    ct_safetensors *average = ct_safetensors_open(context, at(p, "all/checkpoint-8/ema.safetensors"));
    ct_safetensors *weights = ct_safetensors_open(context, at(p, "all/checkpoint-8/model.safetensors"));
    assert_true(model && average && weights);
    size_t differ = 0;
    for (size_t i = 0; i < ct_safetensors_count(model); i++) {
        const ct_safetensors_tensor *a = ct_safetensors_at(model, i);
        const ct_safetensors_tensor *b = ct_safetensors_need(average, a->name),
                                    *c = ct_safetensors_need(weights, a->name);
        assert_true(a->size == b->size && a->size == c->size);
        assert_memory_equal(ct_safetensors_map(model, a), ct_safetensors_map(average, b), a->size);
        differ += memcmp(ct_safetensors_map(model, a), ct_safetensors_map(weights, c), a->size) != 0;
    }
    assert_true(differ > 0);
    ct_safetensors_close(model);
    ct_safetensors_close(average);
    ct_safetensors_close(weights);
    ct_model *loaded = ct_model_load(context, at(p, "all"), CT_DTYPES);
    assert_non_null(loaded);
    ct_model_destroy(loaded);
    ct_context_destroy(context);
}

static void log_lines(void **state) {
    const place *p = *state;
    ct_context *context = ct_context_create(1);
    ct_jsonl *log = ct_jsonl_open(context, at(p, "all/train.jsonl"), 1 << 16);
    int steps = 0, evaluations = 0;
    for (ct_value *line; (line = ct_jsonl_next(log)); ct_value_free(line)) {
        int64_t step = ct_value_as_int(ct_value_get(line, "step"), -1);
        if (ct_value_get(line, "eval_loss")) {
            assert_int_equal(step, 4 * evaluations++);
            double loss = field(line, "eval_loss");
            assert_true(fabs(field(line, "perplexity") - exp(loss)) < 1e-9 * exp(loss));
            assert_true(fabs(field(line, "bits_per_byte") - loss / log1p(1)) < 1e-12); /* a byte is a token */
        } else {
            assert_int_equal(step, ++steps);
            assert_true(field(line, "loss") > 0 && field(line, "grad_norm") > 0 &&
                        field(line, "seconds") > 0);
            assert_int_equal(ct_value_as_int(ct_value_get(line, "tokens"), 0), step * 4 * 32);
        }
    }
    assert_true(steps == 8 && evaluations == 3);
    ct_jsonl_close(log);
    ct_context_destroy(context);
}

/* ---------------------------------------------------------------------------------------- what goes wrong */

typedef struct sink {
    ct_context *context;
    int64_t at;
    int64_t calls;
    char kind;
} sink;

/* From the end of step `at` on, the n-th write fails. */
static void fail_later(void *user, const char *title, double done, double total, const char *unit,
                       const char *note, bool finished) {
    (void)total, (void)unit, (void)note;
    sink *s = user;
    if (!finished && strcmp(title, "train") == 0 && (int64_t)done == s->at)
        ct_file_fail_at(s->context, s->calls, s->kind);
}

static ct_status run_failing(const place *p, const char *output, const char *more, sink *s, char *message) {
    s->context = ct_context_create(1);
    ct_context_set_progress(s->context, fail_later, s);
    ct_value *recipe = recipe_of(s->context, p, output, more);
    ct_train_report report;
    ct_status status = ct_train(s->context, recipe, false, &report);
    snprintf(message, 1024, "%s", ct_context_message(s->context));
    ct_value_free(recipe);
    ct_context_destroy(s->context);
    return status;
}

/* The disk is full at every write in turn, from step 4 on: the checkpoint of step 3 is there and is gone on
 * from. */
static void full_disk(void **state) {
    const place *p = *state;
    static const char recipe[] = "{max_steps: 6, save_steps: 3, eval_batches: 1}";
    char message[1024];
    outcome whole = run_recipe(p, "full-whole", recipe, false, 1);
    int failures = 0;
    for (int64_t calls = 1; calls < 200; calls += calls < 8 ? 1 : 5) {
        char output[32], partial[80];
        sink s = {NULL, 4, calls, 'f'};
        snprintf(output, sizeof(output), "full-%lld", (long long)calls);
        ct_status status = run_failing(p, output, recipe, &s, message);
        if (status == CT_OK) break;
        failures++;
        assert_int_equal(status, CT_ERROR_IO);
        if (!strstr(message, "No space left")) fail_msg("%s", message);
        snprintf(partial, sizeof(partial), "%s/.checkpoint-6.partial", output);
        assert_false(ct_folder_exists(at(p, partial)));
        outcome rest = run_recipe(p, output, recipe, true, 1);
        assert_same_run(&rest, &whole);
        assert_true(rest.report.resumed);
    }
    assert_true(failures > 10);
}

static void read_only_folder(void **state) {
    const place *p = *state;
    if (geteuid() ==
        0) { /* root may write anywhere but where the system has no files: /proc, a file's place */
        append_text(at(p, "file"), "x");
        outcome o = run_recipe(p, "file", NULL, false, 1);
        assert_true(o.status != CT_OK && strstr(o.message, "/file: cannot make the folder"));
        o = run_recipe(p, "unused", "output_dir: /proc/carat-test", false, 1);
        assert_true(o.status != CT_OK && strstr(o.message, "/proc/carat-test: cannot make the folder"));
        return;
    }
    assert_int_equal(mkdir(at(p, "read-only"), 0555), 0);
    outcome o = run_recipe(p, "read-only", NULL, false, 1);
    assert_refused(&o, CT_ERROR_IO, "read-only");
    o = run_recipe(p, "read-only/below", NULL, false, 1);
    assert_refused(&o, CT_ERROR_IO, "read-only/below");
}

/* What a killed run leaves goes at the next start; files of the user's stay. */
static void left_overs(void **state) {
    const place *p = *state;
    assert_int_equal(mkdir(at(p, "left"), 0777), 0);
    assert_int_equal(mkdir(at(p, "left/.checkpoint-4.partial"), 0777), 0);
    append_text(at(p, "left/.checkpoint-4.partial/model.safetensors"), "half");
    append_text(at(p, "left/.report.json.tmp-123-4"), "half");
    append_text(at(p, "left/notes.txt"), "mine");
    append_text(at(p, "left/train.jsonl"), "{\"step\":1,\"lo");
    outcome o = run_recipe(p, "left", "max_steps: 2", false, 1);
    assert_done(&o);
    assert_false(ct_folder_exists(at(p, "left/.checkpoint-4.partial")));
    assert_false(ct_file_exists(at(p, "left/.report.json.tmp-123-4")));
    assert_true(ct_file_exists(at(p, "left/notes.txt")));
}

static void two_runs_in_one_folder(void **state) {
    const place *p = *state;
    assert_int_equal(mkdir(at(p, "busy"), 0777), 0);
    int file = open(at(p, "busy/train.jsonl"), O_RDWR | O_CREAT, 0666);
    assert_int_equal(flock(file, LOCK_EX), 0);
    outcome o = run_recipe(p, "busy", NULL, false, 1);
    assert_refused(&o, CT_ERROR_STATE, "another run is writing");
    close(file);
    o = run_recipe(p, "busy", "max_steps: 1", false, 1);
    assert_done(&o);
}

static void no_checkpoints(void **state) {
    const place *p = *state;
    outcome o =
        run_recipe(p, "none", "{max_steps: 2, save_steps: -1, data.validation_fraction: 0}", false, 1);
    assert_done(&o);
    assert_false(ct_folder_exists(at(p, "none/checkpoint-2")));
    assert_true(isnan(o.report.bits_per_byte_after) && isnan(o.report.best_loss));
    assert_true(ct_file_exists(at(p, "none/model.safetensors")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(saved_weights),
        cmocka_unit_test(log_lines),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(read_only_folder),
        cmocka_unit_test(left_overs),
        cmocka_unit_test(two_runs_in_one_folder),
        cmocka_unit_test(no_checkpoints),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
