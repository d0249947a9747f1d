/* test_watch.c - watch: growth.csv holds what carat evaluate growth finds, does not change the run, goes on
 * after a resume, ends a run that grows too large, and is refused where it cannot look. */
#include "runs.h"
#include <carat/evaluate.h>

static int lines_of(ct_context *context, const char *path, char *last, size_t size) {
    int count = 0;
    ct_lines *lines = ct_lines_open(context, path, 1 << 16);
    for (const char *line; lines && (line = ct_lines_next(lines, NULL)); count++)
        snprintf(last, size, "%s", line);
    ct_lines_close(lines);
    return count;
}

static void changes_nothing(void **state) {
    const place *p = *state;
    outcome a = run_recipe(p, "watched", "max_steps: 6\nsave_steps: 3\nwatch: growth:2\n", false, 2);
    outcome b = run_recipe(p, "plain", "max_steps: 6\nsave_steps: 3\n", false, 2);
    assert_done(&a);
    assert_done(&b);
    assert_same_run(&a, &b);
    ct_context *context = ct_context_create(1);
    char last[512];
    assert_int_equal(lines_of(context, at(p, "watched/growth.csv"), last, sizeof(last)),
                     1 + 4 * 3); /* steps 0 2 4 6 */
    /* The last row is that of the finished model on the first rows of training. */
    ct_model *model = ct_model_load(context, at(p, "watched"), CT_F32);
    size_t length;
    char *text = ct_file_read(context, at(p, "text.txt"), 1 << 24, &length);
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_value *recipe = read_document(context, at(p, "watched/recipe.yaml"));
    uint64_t seed = (uint64_t)ct_value_as_int(ct_value_get(recipe, "seed"), 0);
    double fraction = ct_value_as_real(ct_value_get_path(recipe, "data.validation_fraction"), 0);
    assert_true(length > 1000 && fraction > 0);
    size_t train = (size_t)((double)length * (1 - fraction));
    while (train < length && text[train] != '\n')
        train++;
    ct_dataset *data = ct_dataset_from_text(context, bytes, text, train + 1);
    int32_t ids[4 * 33], targets[32];
    for (int64_t i = 0; i < 4; i++) {
        ct_dataset_row(context, data, 32, seed, i, ids + 33 * i, targets);
        ids[33 * i + 32] = targets[31];
    }
    ct_layer_report r[3];
    double loss, variance, largest;
    long long step, layer;
    assert_int_equal(ct_evaluate_layers(model, ids, 4, 32, false, r, &loss), CT_OK);
    assert_int_equal(sscanf(last, "%lld,%lld,%lf,%lf", &step, &layer, &variance, &largest), 4);
    assert_true(step == 6 && layer == 1);
    assert_true(fabs(variance / r[2].variance - 1) < 1e-4 && fabs(largest / r[2].largest - 1) < 1e-4);
    ct_dataset_destroy(data);
    ct_tokenizer_destroy(bytes);
    ct_model_destroy(model);
    ct_value_free(recipe);
    ct_free(context, text);
    ct_context_destroy(context);
}

static void resumed(void **state) {
    const place *p = *state;
    outcome a = run_until(p, "parts", "max_steps: 6\nsave_steps: 100\nwatch: growth:1\n", false, 3);
    assert_int_equal(a.status, CT_OK);
    append_text(at(p, "parts/growth.csv"), "4,0,1,1,1,1,0,1,0\n"); /* of a step that was lost */
    outcome b = run_recipe(p, "parts", "max_steps: 6\nsave_steps: 100\nwatch: growth:1\n", true, 2);
    outcome c = run_recipe(p, "whole", "max_steps: 6\nsave_steps: 100\nwatch: growth:1\n", false, 2);
    assert_done(&b);
    assert_done(&c);
    ct_context *context = ct_context_create(1);
    size_t first, second;
    char *x = ct_file_read(context, at(p, "parts/growth.csv"), 1 << 20, &first);
    char *y = ct_file_read(context, at(p, "whole/growth.csv"), 1 << 20, &second);
    assert_int_equal(first, second);
    assert_memory_equal(x, y, first);
    ct_free(context, x);
    ct_free(context, y);
    ct_context_destroy(context);
}

static void limited(void **state) {
    const place *p = *state;
    outcome o = run_recipe(p, "limit", "max_steps: 50\nwatch: growth:5\ngrowth: {limit: 1.0e-6}\n", false, 2);
    assert_done(&o);
    assert_true(o.report.stopped_early && o.report.steps == 0);
    o = run_recipe(p, "limit2",
                   "max_steps: 60\nlearning_rate: 0.1\noptim: adam\nwatch: growth:5\ngrowth: {limit: 0.5}\n",
                   false, 2);
    assert_done(&o);
    assert_true(o.report.stopped_early && o.report.steps > 0 && o.report.steps < 60 &&
                o.report.steps % 5 == 0);
}

static void refused(void **state) {
    const place *p = *state;
    static const char *const cases[][2] = {{"watch: growth", "watch: expected growth:50"},
                                           {"watch: growth:0", "watch: expected growth:50"},
                                           {"watch: shrink:5", "watch: expected growth:50"},
                                           {"growth: {limit: 3}", "growth.limit: it needs watch"},
                                           {"growth: {limt: 3}", "did you mean \"growth.limit\"?"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        outcome o = run_recipe(p, "refused", cases[i][0], false, 1);
        assert_refused(&o, CT_ERROR_ARGUMENT, cases[i][1]);
    }
    outcome o = run_recipe(p, "refused2", "watch: growth:5\nregularizers: [weight_norm]\n", false, 1);
    assert_refused(&o, CT_ERROR_UNSUPPORTED, "watch: it looks at weights as they are");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(changes_nothing), cmocka_unit_test(resumed),
                                       cmocka_unit_test(limited), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
