/* test_powernorm.c - powernorm: the card's worked step, warm-up, that its gradient is the approximation (and
 * the exact one in the mode v), padding, layer scale, folding, refusals. */
#include "common.h"

static ct_tensor *normal(uint64_t seed, int ndim, const int64_t *shape) {
    ct_random random = ct_random_make(seed, 1);
    return ct_random_normal_tensor(context, CT_F32, ndim, shape, 0.5, 2, &random);
}

static ct_tensor *gradient_of(ct_tensor *y, ct_tensor *x, ct_tensor *dy) {
    ct_tensor *dx = NULL;
    assert_int_equal(ct_grad(&y, 1, &dy, &x, 1, &dx, CT_GRAD_DEFAULT), CT_OK);
    return dx;
}

/* x = [[1, 2], [3, -1]], psi2 = 1, acc = [.5, -.2], after the warm-up, gradient the identity matrix. */
static void test_worked(void **state) {
    (void)state;
    ct_model *norm = norm_model("powernorm", 2, "{\"groups\":0,\"warmup\":0}");
    set(norm, "ema_gz", NUMBERS(.5, -.2));
    ct_tensor *x = F32(CT_DIMS(2, 2), 1, 2, 3, -1), *dy = F32(CT_DIMS(2, 2), 1, 0, 0, 1);
    ct_require_grad(x, true);
    ct_tensor *y = pass(norm, true, x);
    assert_values(y, 4, NUMBERS(.999995, 1.99999, 2.999985, -.999995), 1e-6);
    assert_values(tensor_of(norm, "running_phi"), 2, NUMBERS(1.4, 1.15), 1e-6);
    assert_values(gradient_of(y, x, dy), 4, NUMBERS(.95, .04, -.15, .98), 2e-5);
    assert_values(tensor_of(norm, "ema_gz"), 2, NUMBERS(.75, -.65), 2e-5);
    assert_values(tensor_of(norm, "iters"), 1, NUMBERS(1), 0);
    ct_model_destroy(norm);
    /* alpha_bwd 1: the straight-through gradient g / psi. */
    ct_model *straight = norm_model("powernorm", 2, "{\"groups\":0,\"warmup\":0,\"alpha_bwd\":1,\"eps\":0}");
    set(straight, "ema_gz", NUMBERS(.5, -.2));
    set(straight, "running_phi", NUMBERS(4, .25));
    set(straight, "weight", NUMBERS(3, 5));
    assert_values(gradient_of(pass(straight, true, x), x, dy), 4, NUMBERS(1.5, 0, 0, 10), 1e-6);
    /* The authors' code divides by the batch's root mean square, here sqrt(5) and sqrt(2.5). */
    ct_model *batch =
        norm_model("powernorm", 2, "{\"groups\":0,\"warmup\":0,\"alpha_bwd\":1,\"eps\":0,\"bwd\":\"batch\"}");
    assert_values(gradient_of(pass(batch, true, x), x, dy), 4, NUMBERS(1 / sqrt(5.0), 0, 0, 1 / sqrt(2.5)),
                  1e-6);
    ct_model_destroy(straight);
    ct_model_destroy(batch);
}

/* During the warm-up: the batch's mean square divides; psi2 = psi2 (k-1)/k + b2/k, then the moving average.
 */
static void test_warmup(void **state) {
    (void)state;
    ct_model *norm = norm_model("powernorm", 1, "{\"groups\":0,\"warmup\":3,\"eps\":0}");
    const double squares[] = {4, 16, 1, 9}, expected[] = {1, 1, 1};
    double psi = 1;
    for (int k = 1; k <= 4; k++) {
        double b2 = squares[k - 1], root = sqrt(k <= 3 ? b2 : psi);
        ct_tensor *y = pass(norm, true, F32(CT_DIMS(2, 1), sqrt(b2), -sqrt(b2)));
        assert_values(y, 2, NUMBERS(sqrt(b2) / root, -sqrt(b2) / root), 1e-5);
        if (k <= 3) assert_near(fabs(item(ct_select(ct_select(y, 0, 0), 0, 0))), expected[k - 1], 1e-5);
        if (k < 3) psi = psi * (k - 1) / k + b2 / k;
        psi = .9 * psi + .1 * b2;
        assert_values(tensor_of(norm, "running_phi"), 1, &psi, 1e-5);
    }
    ct_tensor *y = pass(norm, false, F32(CT_DIMS(1, 1), 2)); /* one token, whatever else there is */
    assert_values(y, 1, NUMBERS(2 / sqrt(psi)), 1e-5);
    assert_values(tensor_of(norm, "iters"), 1, NUMBERS(4), 0);
    ct_model_destroy(norm);
}

/* Mode v has the gradient of its forward pass, first and second order; mode pn has not, and no second. */
static void test_gradients(void **state) {
    (void)state;
    const char *const options[] = {"{\"mode\":\"v\",\"groups\":0}", "{\"mode\":\"v\",\"groups\":3}",
                                   "{\"groups\":0,\"warmup\":1000000}", "{\"groups\":0,\"warmup\":0}"};
    for (int i = 0; i < 4; i++) {
        direct d = direct_of("powernorm", options[i]);
        d.inputs = 2;
        d.training = true;
        for (int t = 2; t < 4; t++)
            d.tensors[t] = ct_full(context, CT_F64, CT_DIMS(6), t == 2 ? 1 : 0.3);
        d.tensors[4] = ct_full(context, CT_I64, 0, NULL, 0);
        double error = gradient_error(&d, 5, 6, false);
        if (i < 2) {
            assert_true(error < 2e-5);
            assert_true(gradient_error(&d, 5, 6, true) < 2e-4);
        } else {
            assert_true(error > 1e-2);
        }
        direct_free(&d);
    }
    ct_model *norm = norm_model("powernorm", 2, "{}");
    ct_tensor *x = normal(1, CT_DIMS(4, 2)), *y, *dx = NULL;
    ct_require_grad(x, true);
    y = ct_sum_all(pass(norm, true, x));
    ct_grad(&y, 1, NULL, &x, 1, &dx, CT_GRAD_RECORD);
    assert_failed_with("powernorm uses an approximate backward; second derivatives are undefined");
    ct_model_destroy(norm);
}

static void count_warnings(void *user, ct_log_level level, const char *message) {
    if (level == CT_LOG_WARNING && strstr(message, "powernorm: a batch of padding alone")) ++*(int *)user;
}

static void test_padding(void **state) {
    (void)state;
    int warnings = 0;
    ct_model *plain = norm_model("powernorm", 2, "{\"warmup\":0}"),
             *padded = norm_model("powernorm", 2, "{\"warmup\":0}");
    ct_tensor *x = normal(5, CT_DIMS(2, 3, 2)), *junk = ct_full(context, CT_F32, CT_DIMS(2, 2, 2), 77);
    ct_tensor *longer = ct_concat((ct_tensor *[]){x, junk}, 2, 1);
    ct_require_grad(x, true);
    ct_require_grad(longer, true);
    set(plain, "ema_gz", NUMBERS(.5, -.2));
    set(padded, "ema_gz", NUMBERS(.5, -.2));
    const uint8_t mask[] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 0};
    ct_run *run = run_of(true);
    ct_run_set_padding(run, ct_from_data(context, CT_U8, CT_DIMS(2, 5), mask));
    ct_tensor *whole = ct_model_forward(padded, run, longer), *y = pass(plain, true, x);
    assert_true(worst_difference(ct_slice(whole, 1, 0, 3, 1), y) < 1e-6);
    ct_tensor *dy = normal(6, CT_DIMS(2, 3, 2)), *zeros = ct_zeros(context, CT_F32, CT_DIMS(2, 2, 2));
    ct_tensor *dx = gradient_of(whole, longer, ct_concat((ct_tensor *[]){dy, zeros}, 2, 1));
    assert_true(worst_difference(ct_slice(dx, 1, 0, 3, 1), gradient_of(y, x, dy)) < 1e-6);
    assert_true(worst_difference(tensor_of(plain, "running_phi"), tensor_of(padded, "running_phi")) < 1e-6);
    assert_true(worst_difference(tensor_of(plain, "ema_gz"), tensor_of(padded, "ema_gz")) < 1e-6);
    /* Padding alone: the statistics stay. */
    ct_tensor *before = ct_clone(tensor_of(padded, "running_phi"));
    ct_run_set_padding(run, ct_zeros(context, CT_U8, CT_DIMS(2, 5)));
    ct_context_set_log(context, count_warnings, &warnings, CT_LOG_WARNING);
    ct_model_forward(padded, run, longer);
    ct_model_forward(padded, run, longer);
    ct_context_set_log(context, NULL, NULL, CT_LOG_WARNING);
    assert_ok();
    assert_int_equal(warnings, 1); /* once, however many batches */
    assert_same_bits(before, tensor_of(padded, "running_phi"));
    assert_values(tensor_of(padded, "iters"), 1, NUMBERS(1), 0);
    ct_run_destroy(run);
    ct_model_destroy(plain);
    ct_model_destroy(padded);
}

/* With layer scale the scale of x does not matter; without it evaluation is linear in x. */
static void test_scale(void **state) {
    (void)state;
    ct_model *scaled = norm_model("powernorm", 4, "{\"groups\":2,\"warmup\":0}");
    ct_model *plain = norm_model("powernorm", 4, "{\"groups\":0,\"warmup\":0}");
    ct_tensor *x = normal(5, CT_DIMS(6, 4)), *five = ct_mul_scalar(x, 5);
    assert_true(worst_difference(pass(scaled, false, x), pass(scaled, false, five)) < 1e-4);
    assert_true(worst_difference(ct_mul_scalar(pass(plain, false, x), 5), pass(plain, false, five)) < 1e-5);
    /* Evaluation of a token does not depend on the rest of the batch. */
    assert_same_bits(pass(plain, false, ct_slice(x, 0, 2, 3, 1)),
                     ct_slice(pass(plain, false, x), 0, 2, 3, 1));
    ct_model_destroy(scaled);
    ct_model_destroy(plain);
}

static void test_fold(void **state) {
    (void)state;
    static const char tree[] =
        "{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\","
        "\"name\":\"\",\"children\":[{\"kind\":\"norm\",\"name\":\"0\",\"options\":{\"norm\":"
        "\"powernorm\",\"width\":5,\"options\":{\"groups\":%d}}},{\"kind\":\"linear\",\"name\":"
        "\"1\",\"options\":{\"in\":5,\"out\":4}}]}}}";
    for (int groups = 0; groups < 2; groups++) {
        char text[500];
        snprintf(text, sizeof(text), tree, groups);
        ct_model *model = model_from(text, 4);
        ct_module *root = ct_model_root(model);
        ct_tensor *x = normal(6, CT_DIMS(9, 5));
        for (int i = 0; i < 5; i++)
            pass(model, true, x);
        set(model, "weight", NUMBERS(1, 2, 3, 4, 5));
        set(model, "bias", NUMBERS(1, -1, 1, -1, 1));
        ct_tensor *expected = pass(model, false, x);
        ct_status status = ct_norm_fold(ct_module_child(root, 0), ct_module_child(root, 1));
        if (groups) {
            assert_int_equal(status, CT_ERROR_UNSUPPORTED);
            assert_failed_with("cannot be folded; train with groups 0");
        } else {
            ct_model_sync(model, 1);
            assert_true(worst_difference(pass(model, false, x), expected) < 2e-5);
        }
        ct_model_destroy(model);
    }
}

static void test_bad_input(void **state) {
    (void)state;
    const char text[] = "{\"norm\":\"powernorm\",\"width\":10,\"options\":{\"groups\":4}}";
    ct_value *map = ct_json_parse(context, text, strlen(text), "options");
    assert_null(ct_module_create(context, ct_module_kind_find(context, "norm"), "", map));
    assert_failed_with("powernorm: 10 channels cannot be split in 4 groups");
    ct_value_free(map);
    ct_model *norm = norm_model("powernorm", 2, "{}");
    ct_norm_needs needs = ct_norm_needs_of(ct_model_root(norm));
    assert_int_equal(needs.rows, CT_ROWS_WHOLE);
    assert_false(needs.recompute);
    ct_model_destroy(norm);
    norm = norm_model("powernorm", 2, "{\"sync\":true}");
    assert_int_equal(ct_norm_needs_of(ct_model_root(norm)).rows, CT_ROWS_STEP);
    ct_model_destroy(norm);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_worked),    reach_test(test_warmup),
                                       reach_test(test_gradients), reach_test(test_padding),
                                       reach_test(test_scale),     reach_test(test_fold),
                                       reach_test(test_bad_input)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
