/* test_objectives.c - every objective against numbers worked by hand, its gradients against central
 * differences, sums of several, weights, ignored targets, refusals, failing allocations. */
#include "reach/reach.h"
#include <carat/objective.h>

#define F64(dims, ...) ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__})

static ct_objective *objective_of(const char *json, double smoothing) {
    ct_value *value = json ? ct_json_parse(context, json, strlen(json), "test") : NULL;
    ct_objective *objective = ct_objective_create(context, value, smoothing, "objective");
    ct_value_free(value);
    return objective;
}

static ct_tensor *ids_of(int count, const int32_t *ids) {
    int64_t shape = count;
    return ct_from_data(context, CT_I32, 1, &shape, ids);
}

static void check_losses(const char *json, ct_tensor *outputs, ct_tensor *targets, ct_tensor *weights,
                         int count, const double *expected) {
    ct_objective *objective = objective_of(json, 0);
    assert_ok();
    double *found = values(ct_objective_losses(objective, outputs, targets, weights, -1));
    for (int i = 0; i < count; i++)
        if (!(fabs(found[i] - expected[i]) <= 1e-9 * fmax(1, fabs(expected[i]))))
            fail_msg("%s [%d]: %.12g, expected %.12g", json, i, found[i], expected[i]);
    free(found);
    ct_objective_destroy(objective);
}

static void assert_refused(const char *words) {
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

/* Logits log 1, log 2, log 5: softmax 1/8, 1/4, 5/8. */
static void test_classes(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(3, 3), 0, log(2), log(5), 0, log(2), log(5), 0, log(2), log(5));
    ct_tensor *y = ids_of(3, (const int32_t[]){2, 0, -1});
    double p = 5. / 8, q = 1. / 8, z = log(8);
    check_losses(NULL, x, y, NULL, 3, (const double[]){-log(p), -log(q), 0});
    check_losses("{\"name\":\"cross_entropy\",\"label_smoothing\":0.3}", x, y, NULL, 3,
                 (const double[]){-.7 * log(p) - .1 * (log(p) + log(q) + log(.25)),
                                  -.7 * log(q) - .1 * (log(p) + log(q) + log(.25)), 0});
    check_losses("{\"name\":\"focal\",\"gamma\":2}", x, y, NULL, 3,
                 (const double[]){-9. / 64 * log(p), -49. / 64 * log(q), 0});
    check_losses("{\"name\":\"focal\",\"gamma\":0}", x, y, NULL, 3, (const double[]){-log(p), -log(q), 0});
    check_losses("{\"name\":\"z_loss\",\"coefficient\":0.5}", x, y, NULL, 3,
                 (const double[]){-log(p) + .5 * z * z, -log(q) + .5 * z * z, 0});
    ct_tensor *w = ct_from_data(context, CT_F32, CT_DIMS(3), (const float[]){2, .5f, 7});
    check_losses("[\"focal\"]", x, y, w, 3,
                 (const double[]){-2 * 9. / 64 * log(p), -.5 * 49. / 64 * log(q), 0});
    /* A weighted sum. */
    check_losses(
        "[{\"name\":\"cross_entropy\",\"weight\":0.25},{\"name\":\"focal\",\"gamma\":1,\"weight\":2}]", x, y,
        w, 3,
        (const double[]){2 * (-.25 * log(p) - 2 * 3. / 8 * log(p)),
                         .5 * (-.25 * log(q) - 2 * 7. / 8 * log(q)), 0});
}

static void test_margins_and_squares(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 2, 1.5, -1, 0, 3, 0.5), *y = ids_of(2, (const int32_t[]){0, 2});
    check_losses("\"hinge\"", x, y, NULL, 2, (const double[]){.5, 3.5});
    check_losses("{\"name\":\"hinge\",\"form\":\"weston_watkins\"}", x, y, NULL, 2, (const double[]){.5, 4});
    check_losses("{\"name\":\"hinge\",\"squared\":true,\"form\":\"weston_watkins\",\"margin\":2}", x, y, NULL,
                 2, (const double[]){2.25, 4.5 * 4.5 + 1.5 * 1.5});
    check_losses("{\"name\":\"hinge\"}", x, F64(CT_DIMS(2, 3), 1, -1, -1, 1, 1, -1), NULL, 2,
                 (const double[]){2.5 / 3, 2.5 / 3});
    check_losses("\"mse\"", x, y, NULL, 2, (const double[]){(1 + 2.25 + 1) / 3, (9 + .25) / 3});
    check_losses("{\"name\":\"mse\",\"scale\":3,\"peak\":2}", x, y, NULL, 2,
                 (const double[]){(2.25 + 1) / 3, (9 + 3 * 2.25) / 3});
    check_losses("\"mse\"", x, F64(CT_DIMS(2, 3), 1, 1, 1, 0, 0, 0), NULL, 2,
                 (const double[]){(1 + .25 + 4) / 3, 9.25 / 3});
}

static double soft(double x) {
    return log1p(exp(x));
}

static void test_binary(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(1, 2), 2, -1), *t = F64(CT_DIMS(1, 2), 1, 0);
    ct_tensor *y = ids_of(1, (const int32_t[]){0});
    double a = soft(-2), b = soft(-1), p = 1 / (1 + exp(-2)), q = 1 / (1 + exp(-1));
    check_losses("\"bce_with_logits\"", x, t, NULL, 1, (const double[]){(a + b) / 2});
    check_losses("\"bce_with_logits\"", x, y, NULL, 1, (const double[]){(a + b) / 2});
    check_losses("{\"name\":\"bce_with_logits\",\"sum\":true,\"positive_weight\":3}", x, t, NULL, 1,
                 (const double[]){3 * a + b});
    check_losses("{\"name\":\"focal\",\"alpha\":0.25}", x, t, NULL, 1,
                 (const double[]){(.25 * (1 - p) * (1 - p) * a + .75 * (1 - q) * (1 - q) * b) / 2});
    /* Far away: no overflow, and the gradient is that of the line. */
    check_losses("\"bce_with_logits\"", F64(CT_DIMS(1, 2), -800, 800), F64(CT_DIMS(1, 2), 1, 1), NULL, 1,
                 (const double[]){400});
    /* Targets between 0 and 1 are allowed there, and not for focal. */
    ct_objective *focal = objective_of("\"focal\"", 0);
    ct_objective_losses(focal, x, F64(CT_DIMS(1, 2), .5, 0), NULL, -1);
    assert_refused("target 0.5 of sample 0, expected 0 or 1");
    ct_objective_destroy(focal);
}

/* Student 1/8, 1/4, 5/8; teacher 1/2, 1/4, 1/4. */
static void test_teacher(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 0, log(2), log(5), 1, 2, 3), *y = ids_of(2, (const int32_t[]){0, 1});
    ct_tensor *teacher = F64(CT_DIMS(2, 3), log(2), 0, 0, 1, 2, 3), *weights = NULL;
    ct_tensor *narrow = ct_from_data(context, CT_F32, CT_DIMS(2, 1, 3), (const float[]){1, 0, 0, 1, 2, 3});
    double kl = .5 * log(4) + .25 * log(.4);
    ct_objective *plain = objective_of("{\"name\":\"distill_kl\"}", 0);
    double *found = values(ct_objective_losses_taught(plain, x, y, teacher, weights, -1));
    assert_true(fabs(found[0] - kl) < 1e-12);
    assert_true(found[1] == 0); /* to the bit */
    free(found);
    /* At temperature 2 probabilities are as their roots; whatever the targets are, and a constant more on all logits. */
    ct_objective *warm = objective_of("{\"name\":\"distill_kl\",\"temperature\":2,\"weight\":0.5}", 0);
    double s = sqrt(1) + sqrt(2) + sqrt(5), t = sqrt(2) + 2;
    double expected = 2 * (sqrt(2) / t * log(sqrt(2) / t * s) + 1 / t * log(s / t / sqrt(2)) + 1 / t * log(s / t / sqrt(5)));
    found = values(ct_objective_losses_taught(warm, ct_add_scalar(x, 3), F64(CT_DIMS(2, 3), 0, 0, 1, 1, 0, 0), teacher,
                                              NULL, -1));
    if (!(fabs(found[0] - expected) < 1e-12)) fail_msg("%.12g, expected %.12g", found[0], expected);
    free(found);
    /* As the temperature grows, T^2 KL tends to half the mean of squared differences of centred logits. */
    ct_objective *hot = objective_of("{\"name\":\"distill_kl\",\"temperature\":5000}", 0);
    double d[3] = {log(2), -log(2), -log(5)}, mean = (d[0] + d[1] + d[2]) / 3, half = 0;
    for (int i = 0; i < 3; i++)
        half += (d[i] - mean) * (d[i] - mean) / 6;
    found = values(ct_objective_losses_taught(hot, x, y, teacher, NULL, -1));
    if (!(fabs(found[0] - half) < 1e-3)) fail_msg("%.12g, expected %.12g", found[0], half);
    free(found);
    ct_objective_losses_taught(plain, x, y, narrow, NULL, -1); /* another type and shape of the same rows */
    assert_ok();
    ct_objective_losses(plain, x, y, NULL, -1);
    assert_refused("objective (distill_kl): it learns from a teacher's outputs, and there is no teacher");
    ct_objective_losses_taught(plain, x, y, F64(CT_DIMS(3, 2), 1, 2, 3, 4, 5, 6), NULL, -1);
    assert_refused("the teacher gives");
    assert_null(objective_of("{\"name\":\"distill_kl\",\"temperature\":0}", 0));
    assert_refused("temperature");
    assert_string_equal(ct_objective_taught(plain)->name, "distill_kl");
    ct_objective *focal = objective_of("\"focal\"", 0);
    assert_null(ct_objective_taught(focal));
    ct_objective_destroy(focal);
    ct_objective_destroy(hot);
    ct_objective_destroy(warm);
    ct_objective_destroy(plain);
}

/* -------------------------------------------------------------------------------------------- gradients */

typedef struct probe {
    ct_objective *objective;
    ct_tensor *targets, *teacher;
} probe;

static ct_tensor *probe_losses(void *user, ct_tensor *const *inputs) {
    probe *p = user;
    return ct_objective_losses_taught(p->objective, inputs[0], p->targets, p->teacher, NULL, -1);
}

static const char *const smooth[] = {
    "{\"name\":\"cross_entropy\"}",
    "{\"name\":\"cross_entropy\",\"label_smoothing\":0.1}",
    "{\"name\":\"focal\",\"gamma\":1.5}",
    "{\"name\":\"z_loss\",\"coefficient\":0.1,\"label_smoothing\":0.2}",
    "{\"name\":\"mse\",\"scale\":2,\"peak\":3}",
    "{\"name\":\"bce_with_logits\",\"positive_weight\":2}",
    "{\"name\":\"hinge\"}",
    "{\"name\":\"distill_kl\"}",
    "{\"name\":\"distill_kl\",\"temperature\":2.5}",
    "[{\"name\":\"cross_entropy\",\"weight\":0.3},{\"name\":\"distill_kl\",\"weight\":0.7}]",
    "{\"name\":\"hinge\",\"form\":\"weston_watkins\",\"squared\":true}",
    "[{\"name\":\"mse\",\"weight\":0.3},{\"name\":\"focal\",\"gamma\":2,\"weight\":0.7}]"};

static void check_order(const char *json, ct_tensor *targets, ct_tensor *x, bool second) {
    ct_random random = ct_random_make(13, 2);
    ct_tensor *teacher = ct_random_normal_tensor(context, CT_F64, 2, ct_shape(x), 0, 1.5, &random);
    probe p = {objective_of(json, 0), targets, teacher};
    double worst = NAN;
    ct_gradient_check(context, probe_losses, &p, &x, 1, second ? 1e-5 : 1e-6, second, &worst);
    assert_ok();
    if (!(worst < 1e-6))
        fail_msg("%s: %s differ by %g", json, second ? "second derivatives" : "gradients", worst);
    ct_objective_destroy(p.objective);
}

/* One target is ignored: its row has neither slope nor curvature. */
static void test_gradients(void **state) {
    (void)state;
    ct_random random = ct_random_make(11, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F64, CT_DIMS(5, 4), 0, 1.5, &random);
    ct_tensor *ids = ids_of(5, (const int32_t[]){0, 3, 1, -1, 2});
    for (size_t i = 0; i < sizeof(smooth) / sizeof(smooth[0]); i++)
        for (int second = 0; second < 2; second++)
            check_order(smooth[i], ids, x, second);
}

/* Every objective is in the list above, so that a new one is checked too. */
static void test_gradients_of_all(void **state) {
    (void)state;
    for (size_t m = 0; ct_objective_methods[m]; m++) {
        bool listed = false;
        for (size_t i = 0; i < sizeof(smooth) / sizeof(smooth[0]); i++) {
            char quoted[64];
            snprintf(quoted, sizeof(quoted), "\"%s\"", ct_objective_methods[m]->method.name);
            listed = listed || strstr(smooth[i], quoted);
        }
        if (!listed) fail_msg("%s: its derivatives are not checked", ct_objective_methods[m]->method.name);
    }
}

/* The same for values: soft classes, labels 0 and 1, labels of both signs. */
static void test_gradients_of_values(void **state) {
    (void)state;
    ct_random random = ct_random_make(12, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F64, CT_DIMS(2, 3), 0, 1.5, &random);
    ct_tensor *soft = F64(CT_DIMS(2, 3), .5, .3, .2, 0, .9, .1);
    ct_tensor *binary = F64(CT_DIMS(2, 3), 1, 0, 1, 0, 0, 1), *sign = F64(CT_DIMS(2, 3), 1, -1, 1, -1, -1, 1);
    for (int second = 0; second < 2; second++) {
        check_order("{\"name\":\"cross_entropy\",\"label_smoothing\":0.1}", soft, x, second);
        check_order("{\"name\":\"z_loss\",\"coefficient\":0.1}", soft, x, second);
        check_order("\"mse\"", soft, x, second);
        check_order("\"bce_with_logits\"", soft, x, second);
        check_order("{\"name\":\"focal\",\"alpha\":0.25}", binary, x, second);
        check_order("{\"name\":\"hinge\",\"squared\":true}", sign, x, second);
    }
}

/* The default is the engine's cross-entropy to the bit, weights and label smoothing included. */
static void test_default_same_bits(void **state) {
    (void)state;
    ct_random random = ct_random_make(3, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(2, 6, 37), 0, 2, &random);
    int32_t ids[12];
    for (int i = 0; i < 12; i++)
        ids[i] = i == 4 ? -1 : (int32_t)ct_random_integer(&random, 0, 37);
    ct_tensor *y = ct_from_data(context, CT_I32, CT_DIMS(2, 6), ids);
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    how.ignore_index = -1;
    how.label_smoothing = 0.1;
    how.weights = ct_full(context, CT_F32, CT_DIMS(12), 0.37);
    ct_objective *objective = objective_of(NULL, 0.1);
    ct_require_grad(x, true);
    ct_tensor *a = ct_cross_entropy(x, y, &how), *b = ct_objective_losses(objective, x, y, how.weights, -1);
    ct_tensor *da = NULL, *db = NULL, *ones = ct_ones_like(a);
    assert_same_bits(a, b);
    ct_grad(&a, 1, &ones, &x, 1, &da, CT_GRAD_DEFAULT);
    ct_grad(&b, 1, &ones, &x, 1, &db, CT_GRAD_DEFAULT);
    assert_ok();
    assert_same_bits(da, db);
    ct_objective_destroy(objective);
}

static void test_refusals(void **state) {
    (void)state;
    assert_null(objective_of("\"focall\"", 0));
    assert_refused("focal");
    assert_null(objective_of("{\"name\":\"focal\",\"gama\":2}", 0));
    assert_refused("gamma");
    assert_null(objective_of("[\"focal\",3]", 0));
    assert_refused("objective.1: expected the name");
    assert_null(objective_of("{\"name\":\"mse\",\"weight\":-1}", 0));
    assert_refused("weight");
    assert_null(objective_of("\"mse\"", 0.1));
    assert_refused("label_smoothing_factor: objective \"mse\" has no label smoothing");
    ct_objective *focal = objective_of("{\"name\":\"focal\",\"alpha\":0.5}", 0);
    ct_tensor *x = F64(CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6);
    ct_objective_losses(focal, x, ids_of(2, (const int32_t[]){0, 3}), NULL, -1);
    assert_refused("target 3 of sample 1 is no class, expected 0 to 2");
    ct_objective_losses(focal, x, ids_of(2, (const int32_t[]){0, 2}), NULL, -1);
    assert_refused("alpha weighs");
    ct_objective_losses(focal, x, ids_of(3, (const int32_t[]){0, 1, 2}), NULL, -1);
    assert_refused("targets");
    ct_objective *hinge = objective_of("\"hinge\"", 0);
    ct_objective_losses(hinge, x, F64(CT_DIMS(2, 3), 1, 0, 1, 1, 1, 1), NULL, -1);
    assert_refused("target 0 of sample 0, expected 1 or -1");
    ct_objective_destroy(hinge);
    ct_objective_destroy(focal);
}

/* Whatever allocation fails: an error, and nothing is left. */
static void test_allocations(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6), *y = ids_of(2, (const int32_t[]){0, 2});
    bool failed = true;
    for (int n = 1; failed && n < 400; n++) {
        ct_scope scope = ct_scope_open(context);
        ct_memory_fail_at(context, n);
        ct_objective *objective = objective_of("[{\"name\":\"focal\",\"gamma\":1},\"hinge\",\"mse\"]", 0);
        if (objective) ct_objective_losses(objective, x, y, NULL, -1);
        ct_memory_fail_at(context, 0);
        failed = ct_failed(context);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_objective_destroy(objective);
        ct_scope_close(context, scope);
    }
    assert_false(failed);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_classes),
                                       reach_test(test_margins_and_squares),
                                       reach_test(test_binary),
                                       reach_test(test_teacher),
                                       reach_test(test_gradients),
                                       reach_test(test_gradients_of_all),
                                       reach_test(test_gradients_of_values),
                                       reach_test(test_default_same_bits),
                                       reach_test(test_refusals),
                                       reach_test(test_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
