/* test_large_batch.c - recipes carried over to large steps: rates and lengths by the numbers of the card,
 * what they resolve to, noise on rows, what is refused; and the distance of checkpoints from the first
 * weights. */
#include "runs.h"
#include "train/recipe.h"
#include <carat/evaluate.h>

static ct_train_options options_of(ct_context *context, const place *p, const char *more) {
    ct_train_options o;
    ct_value *recipe = recipe_of(context, p, "unused", more);
    ct_recipe_read(context, recipe, &o);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    o.model = NULL; /* it goes with the recipe */
    ct_value_free(recipe);
    return o;
}

/* 64 -> 1024 rows: 0.1 becomes 0.4 or 1.6; 100 epochs become 1600 with as many updates. */
static void carried_over(void **state) {
    const place *p = *state;
    ct_context *context = ct_context_create(1);
    static const char small[] =
        "per_device_train_batch_size: 32\ngradient_accumulation_steps: 2\nlearning_rate: 0.1\n"
        "max_steps: 0\nnum_train_epochs: 100\nwarmup_steps: 100\nlarge_batch: \"64:1024\"\n";
    char more[512];
    ct_train_options o = options_of(context, p, small);
    assert_true(fabs(o.learning_rate - 0.4) < 1e-12 && o.num_train_epochs == 100 && o.warmup_steps == 7);
    assert_int_equal(ct_recipe_rows(&o), 1024);
    assert_int_equal(o.per_device_train_batch_size, 32); /* what norms over the batch see */
    assert_true(!o.large_batch && !o.regime_adaptation);
    snprintf(more, sizeof(more), "%slr_rule: linear\nregime_adaptation: true\n", small);
    o = options_of(context, p, more);
    assert_true(fabs(o.learning_rate - 1.6) < 1e-12 && o.num_train_epochs == 1600 && o.warmup_steps == 100);
    snprintf(more, sizeof(more), "%slr_rule: none\n", small);
    assert_true(options_of(context, p, more).learning_rate == 0.1);
    static const char steps[] = "max_steps: 33\nlarge_batch: \"4:8\"\n";
    assert_int_equal(options_of(context, p, steps).max_steps, 17);
    snprintf(more, sizeof(more), "%sregime_adaptation: true\n", steps);
    assert_int_equal(options_of(context, p, more).max_steps, 33);
    ct_context_destroy(context);
}

/* The run is that of the recipe with the numbers written out, and can be resumed by either. */
static void same_run(void **state) {
    const place *p = *state;
    outcome a = run_recipe(p, "carried",
                           "learning_rate: 0.002\nmax_steps: 6\nsave_steps: 0\nlarge_batch: \"4:16\"\n"
                           "regime_adaptation: true\n",
                           false, 2);
    outcome b = run_recipe(p, "written",
                           "learning_rate: 0.004\nmax_steps: 6\nsave_steps: 0\n"
                           "gradient_accumulation_steps: 4\n",
                           false, 2);
    assert_done(&a);
    assert_done(&b);
    assert_same_run(&a, &b);
    outcome c = run_recipe(p, "carried",
                           "learning_rate: 0.002\nmax_steps: 8\nlr_scheduler_type: linear\nsave_steps: 0\n"
                           "large_batch: \"4:16\"\nregime_adaptation: true\n",
                           true, 2);
    outcome d = run_recipe(p, "written",
                           "learning_rate: 0.004\nmax_steps: 8\nlr_scheduler_type: linear\nsave_steps: 0\n"
                           "gradient_accumulation_steps: 4\n",
                           true, 2);
    assert_int_equal(c.status, d.status);
    if (c.status == CT_OK) assert_same_run(&c, &d);
    ct_context *context = ct_context_create(1);
    ct_value *written = read_document(context, at(p, "carried/recipe.yaml"));
    assert_int_equal(ct_value_as_int(ct_value_get(written, "gradient_accumulation_steps"), 0), 4);
    assert_true(ct_value_kind_of(ct_value_get(written, "large_batch")) == CT_VALUE_NULL);
    ct_value_free(written);
    ct_context_destroy(context);
}

/* Factors of rows have mean 1 and the deviation asked for, are a function of seed and row, and so the run's
 * bits do not depend on how a step is cut. */
static void noise(void **state) {
    const place *p = *state;
    ct_train_options o = {.seed = 3, .gradient_noise = 0.5};
    double sum = 0, squares = 0;
    for (int i = 0; i < 10000; i++) {
        double z = ct_gradient_noise(&o, i);
        sum += z;
        squares += (z - 1) * (z - 1);
    }
    assert_true(fabs(sum / 10000 - 1) < 0.02 && fabs(sqrt(squares / 10000) - 0.5) < 0.02);
    assert_true(ct_gradient_noise(&o, 7) == ct_gradient_noise(&o, 7));
    outcome a = run_recipe(p, "noisy", "gradient_noise: 0.5\nmax_steps: 4\nsave_steps: -1\n", false, 2);
    outcome b = run_recipe(p, "noisy2",
                           "gradient_noise: 0.5\nmax_steps: 4\nsave_steps: -1\n"
                           "per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\n",
                           false, 1);
    outcome c = run_recipe(p, "quiet", "max_steps: 4\nsave_steps: -1\n", false, 2);
    assert_done(&a);
    assert_done(&b);
    assert_same_run(&a, &b);
    assert_true(a.report.weights_hash != c.report.weights_hash);
}

static void refused(void **state) {
    const place *p = *state;
    static const char *const cases[][2] = {
        {"large_batch: \"64\"", "large_batch: \"64\", expected"},
        {"large_batch: \"4:2\"", "the second not less"},
        {"large_batch: \"4:16x\"", "expected rows a step now and then"},
        {"large_batch: \"8:16\"", "recipe of 8 rows a step over, this one has 4"},
        {"large_batch: \"4:10\"", "10 rows are no multiple of per_device_train_batch_size 4"},
        {"large_batch: \"4:16\"\nregime_adaptation: true\nmax_steps: 5\nnum_train_epochs: 2",
         "both max_steps and num_train_epochs"},
        {"regime_adaptation: true", "regime_adaptation: it needs large_batch"},
        {"lr_rule: none", "lr_rule: it needs large_batch"},
        {"lr_rule: root", "sqrt"},
        {"gradient_noise: -1", "gradient_noise: -1 is out of range"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        outcome o = run_recipe(p, "refused", cases[i][0], false, 1);
        assert_refused(&o, CT_ERROR_ARGUMENT, cases[i][1]);
    }
}

/* ------------------------------------------------------------------------------------------ distance */

/* Plain SGD without clipping: the distance after a step is rate times the norm of the gradient. */
static void distance(void **state) {
    const place *p = *state;
    outcome o = run_recipe(p, "far",
                           "optim: sgd\nmax_grad_norm: 0\nlearning_rate: 0.5\nmax_steps: 6\nsave_steps: 1\n"
                           "logging_steps: 1\nlr_scheduler_type: step\nlr_scheduler_kwargs: {drop_at: 0.7}\n"
                           "weight_decay: 0\nwarmup_steps: 0\n",
                           false, 2);
    assert_done(&o);
    ct_context *context = ct_context_create(1);
    ct_distance d;
    ct_evaluate_distance(context, at(p, "far"), &d);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    assert_int_equal(d.count, 6);
    ct_value *log = NULL;
    ct_lines *lines = ct_lines_open(context, at(p, "far/train.jsonl"), 1 << 16);
    char *line = ct_lines_next(lines, NULL);
    while (line && strstr(line, "eval_loss"))
        line = ct_lines_next(lines, NULL);
    log = ct_json_parse(context, line, strlen(line), "log");
    double norm = ct_value_as_real(ct_value_get(log, "grad_norm"), 0);
    assert_true(norm > 0 && fabs(d.whole[0] / (0.5 * norm) - 1) < 1e-4);
    ct_value_free(log);
    ct_lines_close(lines);
    double square = 0;
    for (int64_t t = 0; t < d.tensors; t++)
        square += d.of_tensor[t * 6 + 5] * d.of_tensor[t * 6 + 5];
    assert_true(fabs(sqrt(square) / d.whole[5] - 1) < 1e-12 && d.whole[5] > d.whole[0]);
    /* 0.7 of 6 steps: the sixth has the low rate. The line through the first five by hand. */
    assert_int_equal(d.drop_count, 1);
    assert_int_equal(d.drops[0], 6);
    assert_int_equal(d.fit_first, 1);
    assert_int_equal(d.fit_last, 5);
    double x = 0, y = 0, xx = 0, xy = 0;
    for (int i = 0; i < 5; i++) {
        double u = log1p(i);
        x += u;
        y += d.whole[i];
        xx += u * u;
        xy += u * d.whole[i];
    }
    assert_true(fabs(d.b - (5 * xy - x * y) / (5 * xx - x * x)) < 1e-9 && d.r2 > 0 && d.r2 <= 1);
    assert_int_equal(ct_distance_plot(context, &d, at(p, "distance.svg")), CT_OK);
    ct_distance_free(context, &d);
    /* A run that does not move, from an initializer that reads data: exactly 0. */
    o = run_recipe(p, "still",
                   "learning_rate: 0\nmax_steps: 1\nsave_steps: 1\ninit: {name: lsuv, batch: 4}\n", false, 2);
    assert_done(&o);
    assert_int_equal(ct_evaluate_distance(context, at(p, "still"), &d), CT_OK);
    assert_true(d.count == 1 && d.whole[0] == 0 && isnan(d.b) && d.fit_count <= 1);
    ct_distance_free(context, &d);
    assert_int_equal(ct_evaluate_distance(context, at(p, "quiet"), &d),
                     CT_ERROR_NOT_FOUND); /* save_steps: -1 */
    assert_non_null(strstr(ct_context_message(context), "there are no checkpoints"));
    ct_context_clear(context);
    assert_int_not_equal(ct_evaluate_distance(context, at(p, "nowhere"), &d), CT_OK);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(carried_over), cmocka_unit_test(same_run),
                                       cmocka_unit_test(noise), cmocka_unit_test(refused),
                                       cmocka_unit_test(distance)};
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
