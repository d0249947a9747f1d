/* test_norms.c - norms of single tokens: layernorm, rmsnorm, crmsnorm, none; worked numbers, invariances,
 * gradients of first and second order, names that other files give the tensors, refusals. */
#include "common.h"

/* Card 157: x = [1, 2, 4, 5]: mean 3, variance 2.5. */
static void test_layernorm_worked(void **state) {
    (void)state;
    ct_model *norm = norm_model("layernorm", 4, "{\"eps\":1e-5}");
    ct_tensor *x = F32(CT_DIMS(1, 4), 1, 2, 4, 5);
    ct_require_grad(x, true);
    ct_tensor *y = pass(norm, true, x);
    assert_values(y, 4, NUMBERS(-1.264909, -.632454, .632454, 1.264909), 2e-6);
    ct_tensor *dx = NULL, *dy = F32(CT_DIMS(1, 4), 1, 0, 0, 0);
    assert_int_equal(ct_grad(&y, 1, &dy, &x, 1, &dx, CT_GRAD_DEFAULT), CT_OK);
    assert_values(dx, 4, NUMBERS(.22136, -.284604, -.031623, .094867), 1e-6);
    assert_near(item(ct_sum_all(dx)), 0, 1e-6);
    /* What eps leaves of the orthogonality: -0.8 eps / 2.5 (the card rounds it to 3e-6). */
    assert_near(item(ct_sum_all(ct_mul(dx, ct_detach(y)))), -3.2e-6, 2e-7);
    ct_model_destroy(norm);
}

/* Mean and variance in two passes: 10000 + {0, 1} is still -1 and 1. */
static void test_large_offset(void **state) {
    (void)state;
    const int64_t widths[] = {2, 64, 8192};
    for (int w = 0; w < 3; w++) {
        ct_tensor *x = ct_empty(context, CT_F32, CT_DIMS(1, widths[w]));
        float *data = ct_data_mutable(x);
        for (int64_t i = 0; i < widths[w]; i++)
            data[i] = 10000.0f + (float)(i % 2);
        ct_tensor *y = ct_layer_norm(x, NULL, NULL, 0);
        assert_near(item(ct_select(ct_select(y, 0, 0), 0, 0)), -1, 1e-3);
        assert_near(item(ct_select(ct_select(y, 0, 0), 0, 1)), 1, 1e-3);
    }
}

static ct_tensor *normal(uint64_t seed, int64_t rows, int64_t columns) {
    ct_random random = ct_random_make(seed, 1);
    return ct_random_normal_tensor(context, CT_F32, CT_DIMS(rows, columns), 0, 1, &random);
}

static void test_layernorm_invariances(void **state) {
    (void)state;
    ct_tensor *x = normal(1, 5, 48), *y = ct_layer_norm(x, NULL, NULL, 1e-5);
    ct_tensor *moved = ct_add_scalar(ct_mul_scalar(x, 7), 3);
    assert_true(worst_difference(ct_layer_norm(moved, NULL, NULL, 1e-5), y) < 2e-5);
    /* LN(W x): a factor of all of W, or one vector added to every row of W, changes nothing; a factor of one
     * row does. */
    ct_tensor *w = normal(2, 32, 48), *common = normal(3, 1, 48), *row = ct_ones_like(w);
    ct_fill(ct_slice(row, 0, 3, 4, 1), 4);
    ct_tensor *plain = ct_layer_norm(ct_linear(x, w, NULL, false, CT_ACT_NONE), NULL, NULL, 1e-5);
    ct_tensor *scaled = ct_linear(x, ct_mul_scalar(w, 3), NULL, false, CT_ACT_NONE);
    ct_tensor *shifted = ct_linear(x, ct_add(w, common), NULL, false, CT_ACT_NONE);
    ct_tensor *one = ct_linear(x, ct_mul(w, row), NULL, false, CT_ACT_NONE);
    assert_true(worst_difference(ct_layer_norm(scaled, NULL, NULL, 1e-5), plain) < 2e-5);
    assert_true(worst_difference(ct_layer_norm(shifted, NULL, NULL, 1e-5), plain) < 2e-5);
    assert_true(worst_difference(ct_layer_norm(one, NULL, NULL, 1e-5), plain) > 0.1);
    /* A row has the bits alone that it has in a batch. */
    for (int r = 0; r < 5; r++)
        assert_same_bits(ct_layer_norm(ct_slice(x, 0, r, r + 1, 1), NULL, NULL, 1e-5),
                         ct_slice(y, 0, r, r + 1, 1));
}

/* One channel, and a constant row: the bias, and gradients that are finite (0). */
static void test_degenerate_rows(void **state) {
    (void)state;
    const int widths[] = {1, 4};
    for (int i = 0; i < 2; i++) {
        ct_model *norm = norm_model("layernorm", widths[i], "{}");
        set(norm, "bias", NUMBERS(0.5, 0.5, 0.5, 0.5));
        ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(2, widths[i]), 3), *dx = NULL;
        ct_require_grad(x, true);
        ct_tensor *y = pass(norm, true, x), *dy = normal(4, 2, widths[i]);
        assert_values(y, 2 * widths[i], NUMBERS(.5, .5, .5, .5, .5, .5, .5, .5), 0);
        assert_int_equal(ct_grad(&y, 1, &dy, &x, 1, &dx, CT_GRAD_DEFAULT), CT_OK);
        assert_true(isfinite(item(ct_sum_all(ct_abs(dx)))));
        if (widths[i] == 1) assert_near(item(ct_sum_all(ct_abs(dx))), 0, 1e-6);
        ct_model_destroy(norm);
    }
}

/* x = [3, -1, -2] has mean 0: rmsnorm, layernorm and, on its first two numbers, crmsnorm agree. */
static void test_rms_and_crms_worked(void **state) {
    (void)state;
    ct_model *rms = norm_model("rmsnorm", 3, "{\"eps\":0}"),
             *layer = norm_model("layernorm", 3, "{\"eps\":0}");
    ct_model *compressed = norm_model("crmsnorm", 2, "{\"eps\":0}");
    ct_model *padded = norm_model("crmsnorm", 3, "{\"eps\":0,\"pad\":true}");
    ct_tensor *x = F32(CT_DIMS(1, 3), 3, -1, -2);
    assert_values(pass(rms, true, x), 3, NUMBERS(1.38873, -.46291, -.92582), 1e-5);
    assert_values(pass(layer, true, x), 3, NUMBERS(1.38873, -.46291, -.92582), 1e-5);
    assert_values(pass(compressed, false, F32(CT_DIMS(1, 2), 3, -1)), 2, NUMBERS(1.38873, -.46291), 1e-5);
    assert_values(pass(padded, false, F32(CT_DIMS(1, 3), 3, -1, 99)), 3, NUMBERS(1.38873, -.46291, 0), 1e-5);
    /* For any x: LN(x) = RMS(P x), and crms of its first d - 1 is the same less the last. */
    ct_tensor *any = normal(7, 6, 33);
    int last = -1;
    ct_tensor *centred = ct_sub(any, ct_mean(any, 1, &last, true));
    ct_tensor *expected = ct_layer_norm(any, NULL, NULL, 1e-5);
    assert_true(worst_difference(ct_rms_norm(centred, NULL, 1e-5), expected) < 2e-6);
    ct_model *c = norm_model("crmsnorm", 32, "{\"eps\":1e-5}");
    ct_tensor *y = pass(c, false, ct_slice(centred, 1, 0, 32, 1));
    ct_tensor *whole = ct_concat((ct_tensor *[]){y, ct_neg(ct_sum(y, 1, &last, true))}, 2, 1);
    assert_true(worst_difference(whole, expected) < 2e-5);
    ct_model *all[] = {rms, layer, compressed, padded, c};
    for (int i = 0; i < 5; i++)
        ct_model_destroy(all[i]);
}

static void test_options(void **state) {
    (void)state;
    ct_tensor *x = F32(CT_DIMS(1, 4), 1, 2, 4, 5);
    ct_model *plain = norm_model("layernorm", 4, "{\"affine\":false}");
    assert_int_equal(ct_model_parameter_count(plain), 0);
    ct_model *gain = norm_model("layernorm", 4, "{\"bias\":false}");
    assert_int_equal(ct_model_parameter_count(gain), 1);
    ct_model *biased = norm_model("rmsnorm", 4, "{\"bias\":true}");
    assert_int_equal(ct_model_parameter_count(biased), 2);
    set(biased, "bias", NUMBERS(1, 2, 3, 4));
    ct_model *gemma = norm_model("rmsnorm", 4, "{\"unit_offset\":true}");
    assert_values(tensor_of(gemma, "weight"), 4, NUMBERS(0, 0, 0, 0), 0);
    ct_tensor *y = pass(gemma, false, x);
    assert_same_bits(y, ct_rms_norm(x, ct_ones_like(ct_select(x, 0, 0)), 1e-5));
    assert_true(worst_difference(pass(biased, false, x), ct_add(y, F32(CT_DIMS(4), 1, 2, 3, 4))) < 1e-6);
    ct_model *none = norm_model("none", 4, "{}");
    assert_same_bits(pass(none, true, x), x);
    /* bf16 is computed in f32 and rounded once. */
    ct_tensor *half = ct_cast(normal(9, 3, 4), CT_BF16);
    assert_same_bits(pass(gain, false, half), ct_cast(pass(gain, false, ct_cast(half, CT_F32)), CT_BF16));
    ct_model *all[] = {plain, gain, biased, gemma, none};
    for (int i = 0; i < 5; i++)
        ct_model_destroy(all[i]);
}

/* Over two last axes together, as [channels, height, width] are. */
static void test_several_axes(void **state) {
    (void)state;
    const char options[] = "{\"norm\":\"layernorm\",\"width\":6,\"axes\":2}";
    ct_value *map = ct_json_parse(context, options, strlen(options), "options");
    ct_module *norm = ct_module_create(context, ct_module_kind_find(context, "norm"), "", map);
    ct_value_free(map);
    ct_run *run = run_of(false);
    ct_tensor *x = ct_reshape(normal(3, 4, 6), CT_DIMS(4, 2, 3));
    ct_tensor *y = ct_forward1(run, norm, x), *flat = ct_reshape(x, CT_DIMS(4, 6));
    assert_same_bits(ct_reshape(y, CT_DIMS(4, 6)), ct_layer_norm(flat, NULL, NULL, 1e-5));
    assert_int_equal(ct_ndim(y), 3);
    ct_forward1(run, norm, flat);
    assert_failed_with("layernorm: expected last dim 6, got 24");
    ct_run_destroy(run);
    ct_module_destroy(norm);
}

static void test_gradients(void **state) {
    (void)state;
    const struct {
        const char *name, *options;
        int inputs;
    } cases[] = {{"layernorm", "{}", 2},
                 {"layernorm", "{\"affine\":false}", 0},
                 {"rmsnorm", "{}", 1},
                 {"crmsnorm", "{\"affine\":true,\"bias\":true}", 2},
                 {"crmsnorm", "{\"pad\":true}", 0}};
    const int64_t widths[] = {1, 3, 64};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        direct d = direct_of(cases[i].name, cases[i].options);
        d.inputs = cases[i].inputs;
        for (int w = 0; w < 3; w++) {
            if (widths[w] < 2 && strstr(cases[i].options, "pad")) continue;
            assert_true(gradient_error(&d, 2, widths[w], false) < 2e-5);
            assert_true(gradient_error(&d, 2, widths[w], true) < 2e-4);
        }
        direct_free(&d);
    }
    direct wide = direct_of("layernorm", "{}");
    wide.inputs = 2;
    assert_true(gradient_error(&wide, 1, 1000, false) < 1e-4);
    assert_true(gradient_error(&wide, 1, 1000, true) < 1e-3);
    direct_free(&wide);
}

static void test_bad_input(void **state) {
    (void)state;
    ct_model *norm = norm_model("layernorm", 4, "{}");
    pass(norm, false, normal(1, 2, 5));
    assert_failed_with("layernorm: expected last dim 4, got 5");
    ct_model_destroy(norm);
    static const char *const bad[][3] = {{"layernorm", "{\"eps\":-1}", "eps: -1"},
                                         {"layernrm", "{}", "did you mean \"layernorm\""},
                                         {"rmsnorm", "{\"biass\":1}", "bias"},
                                         {"none", "{\"eps\":1}", "has no options"},
                                         {"crmsnorm", "{\"pad\":true}", "leaves no channel"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[300];
        snprintf(text, sizeof(text), "{\"norm\":\"%s\",\"width\":1,\"options\":%s}", bad[i][0], bad[i][1]);
        ct_value *map = ct_json_parse(context, text, strlen(text), "options");
        assert_null(ct_module_create(context, ct_module_kind_find(context, "norm"), "", map));
        assert_failed_with(bad[i][2]);
        ct_value_free(map);
    }
}

/* Any allocation may fail: an error, and nothing is left. */
static void test_allocation_failure(void **state) {
    (void)state;
    int64_t n = 1;
    for (bool failed = true; failed && n < 400; n++) {
        ct_context *other = ct_context_create(1);
        const char text[] =
            "{\"model_type\":\"mlp\",\"sizes\":[3,4,2],\"norm\":{\"name\":\"ghostbn\",\"size\":2}}";
        ct_value *config = ct_json_parse(other, text, strlen(text), "config");
        ct_memory_fail_at(other, n);
        ct_model *model = ct_model_create(other, config);
        ct_memory_fail_at(other, 0);
        failed = model == NULL;
        assert_true(!failed || ct_context_status(other) == CT_ERROR_MEMORY);
        ct_model_destroy(model);
        ct_value_free(config);
        ct_context_destroy(other);
    }
    assert_true(n > 20 && n < 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_layernorm_worked),
                                       reach_test(test_large_offset),
                                       reach_test(test_layernorm_invariances),
                                       reach_test(test_degenerate_rows),
                                       reach_test(test_rms_and_crms_worked),
                                       reach_test(test_options),
                                       reach_test(test_several_axes),
                                       reach_test(test_gradients),
                                       reach_test(test_bad_input),
                                       reach_test(test_allocation_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
