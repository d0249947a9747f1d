/* test_batch.c - norms over the batch: batchnorm and ghostbn; worked numbers, running statistics, padding,
 * gradients, what they ask of training, folding, saving. */
#include "common.h"

static ct_tensor *normal(uint64_t seed, int ndim, const int64_t *shape) {
    ct_random random = ct_random_make(seed, 1);
    return ct_random_normal_tensor(context, CT_F32, ndim, shape, 0.5, 2, &random);
}

/* x = [1, 3, 5, 7]: mean 4, variance 5 (unbiased 20/3); momentum 0.1. */
static void test_batchnorm_worked(void **state) {
    (void)state;
    ct_model *norm = norm_model("batchnorm", 1, "{\"eps\":0}");
    ct_tensor *x = F32(CT_DIMS(4, 1), 1, 3, 5, 7);
    const double r = 1 / sqrt(5.0);
    assert_values(pass(norm, true, x), 4, NUMBERS(-3 * r, -r, r, 3 * r), 1e-6);
    assert_values(tensor_of(norm, "running_mean"), 1, NUMBERS(0.4), 1e-7);
    assert_values(tensor_of(norm, "running_var"), 1, NUMBERS(0.9 + 2.0 / 3), 1e-6);
    assert_values(tensor_of(norm, "num_batches_tracked"), 1, NUMBERS(1), 0);
    /* Evaluation uses the running statistics and leaves them alone. */
    const double s = 1 / sqrt(0.9 + 2.0 / 3);
    assert_values(pass(norm, false, x), 4, NUMBERS(.6 * s, 2.6 * s, 4.6 * s, 6.6 * s), 1e-5);
    assert_values(tensor_of(norm, "num_batches_tracked"), 1, NUMBERS(1), 0);
    /* Buffers are no parameters: not trained, not counted. */
    assert_int_equal(ct_model_elements(norm, false), 2);
    assert_false(ct_model_find(norm, "0.running_mean")->trainable);
    ct_model_destroy(norm);
}

/* Three axes are the same tokens in one line. */
static void test_time_axis(void **state) {
    (void)state;
    ct_model *a = norm_model("batchnorm", 6, "{}"), *b = norm_model("batchnorm", 6, "{}");
    ct_tensor *x = normal(1, CT_DIMS(3, 5, 6));
    ct_tensor *flat = pass(b, true, ct_reshape(x, CT_DIMS(15, 6)));
    assert_same_bits(ct_reshape(pass(a, true, x), CT_DIMS(15, 6)), flat);
    assert_same_bits(tensor_of(a, "running_var"), tensor_of(b, "running_var"));
    /* One token has no variance. */
    pass(a, true, ct_slice(ct_slice(x, 0, 0, 1, 1), 1, 0, 1, 1));
    assert_failed_with("batchnorm in training sees 1 tokens, expected at least 2");
    ct_model_destroy(a);
    ct_model_destroy(b);
}

/* Card 027: [1, 3, 10, 20] in ghosts of 2, eta 0.1, from mean 0 and variance 1. One update with the averages
 * of the ghosts would give a mean of 0.85. */
static void test_ghostbn_worked(void **state) {
    (void)state;
    ct_tensor *x = F32(CT_DIMS(4, 1), 1, 3, 10, 20);
    const struct {
        const char *options, *buffer;
        double spread;
    } cases[] = {{"{\"size\":2,\"eps\":0}", "running_var", 5.99},
                 {"{\"size\":2,\"eps\":0,\"run\":\"biased_var\"}", "running_var", 3.4},
                 {"{\"size\":2,\"eps\":0,\"run\":\"std\"}", "running_std", 0.9 * (0.9 + 0.1) + 0.5}};
    for (int i = 0; i < 3; i++) {
        ct_model *norm = norm_model("ghostbn", 1, cases[i].options);
        assert_values(pass(norm, true, x), 4, NUMBERS(-1, 1, -1, 1), 1e-6);
        assert_values(tensor_of(norm, "running_mean"), 1, NUMBERS(1.68), 1e-6);
        assert_values(tensor_of(norm, cases[i].buffer), 1, &cases[i].spread, 1e-5);
        ct_model_destroy(norm);
    }
}

/* One ghost, or a ghost larger than the batch, is batch normalisation: output, gradients, statistics. */
static void test_one_ghost_is_batchnorm(void **state) {
    (void)state;
    const char *const sizes[] = {"{\"size\":8}", "{\"size\":100}"};
    for (int i = 0; i < 2; i++) {
        ct_model *ghost = norm_model("ghostbn", 3, sizes[i]), *batch = norm_model("batchnorm", 3, "{}");
        ct_model *both[] = {ghost, batch};
        ct_tensor *y[2], *dx[2], *dy = normal(3, CT_DIMS(8, 3));
        for (int m = 0; m < 2; m++) {
            ct_tensor *x = normal(2, CT_DIMS(8, 3));
            ct_require_grad(x, true);
            y[m] = pass(both[m], true, x);
            assert_int_equal(ct_grad(&y[m], 1, &dy, &x, 1, &dx[m], CT_GRAD_DEFAULT), CT_OK);
        }
        assert_same_bits(y[0], y[1]);
        assert_same_bits(dx[0], dx[1]);
        assert_same_bits(tensor_of(ghost, "running_mean"), tensor_of(batch, "running_mean"));
        assert_same_bits(tensor_of(ghost, "running_var"), tensor_of(batch, "running_var"));
        ct_model_destroy(ghost);
        ct_model_destroy(batch);
    }
}

/* Ghost 1 does not see ghost 2; two micro-batches of a ghost each are the whole batch. */
static void test_ghosts_are_independent(void **state) {
    (void)state;
    ct_model *whole = norm_model("ghostbn", 3, "{\"size\":2}"),
             *cut = norm_model("ghostbn", 3, "{\"size\":2}");
    ct_tensor *x = normal(4, CT_DIMS(4, 2, 3));
    ct_tensor *first = ct_slice(x, 0, 0, 2, 1), *second = ct_slice(x, 0, 2, 4, 1);
    ct_tensor *y = pass(whole, true, x);
    assert_same_bits(pass(cut, true, first), ct_slice(y, 0, 0, 2, 1));
    assert_same_bits(pass(cut, true, second), ct_slice(y, 0, 2, 4, 1));
    assert_same_bits(tensor_of(whole, "running_mean"), tensor_of(cut, "running_mean"));
    assert_same_bits(tensor_of(whole, "running_var"), tensor_of(cut, "running_var"));
    ct_tensor *other = ct_concat((ct_tensor *[]){first, ct_mul_scalar(second, 5)}, 2, 0);
    assert_same_bits(ct_slice(pass(whole, true, other), 0, 0, 2, 1), ct_slice(y, 0, 0, 2, 1));
    ct_norm_needs needs = ct_norm_needs_of(ct_model_root(whole));
    assert_int_equal(needs.rows, 2);
    assert_true(needs.recompute);
    assert_string_equal(needs.who, "0");
    ct_model_destroy(whole);
    ct_model_destroy(cut);
}

static int warnings;
static void count_warning(void *user, ct_log_level level, const char *message) {
    (void)user, (void)level;
    warnings += strstr(message, "ghost batch of one token") != NULL;
}

/* 5 rows of one position in ghosts of 2: the last is taken into the one before, and said once. */
static void test_remainder(void **state) {
    (void)state;
    ct_context_set_log(context, count_warning, NULL, CT_LOG_WARNING);
    warnings = 0;
    ct_model *norm = norm_model("ghostbn", 1, "{\"size\":2,\"eps\":0}");
    ct_tensor *x = F32(CT_DIMS(5, 1), 1, 3, 10, 20, 30);
    const double r = sqrt(200.0 / 3);
    for (int i = 0; i < 2; i++)
        assert_values(pass(norm, true, x), 5, NUMBERS(-1, 1, -10 / r, 0, 10 / r), 1e-5);
    assert_int_equal(warnings, 1);
    /* Three rows in ghosts of two with two positions each: the last ghost has two tokens and stays. */
    ct_tensor *wide = ct_reshape(F32(CT_DIMS(6), 1, 3, 5, 7, 0, 2), CT_DIMS(3, 2, 1));
    const double q = sqrt(5.0);
    assert_values(pass(norm, true, wide), 6, NUMBERS(-3 / q, -1 / q, 1 / q, 3 / q, -1, 1), 1e-5);
    pass(norm, true, F32(CT_DIMS(1, 1), 1));
    assert_failed_with("ghostbn in training sees 1 tokens");
    ct_model_destroy(norm);
}

/* Padded tokens change neither statistics nor the other tokens. */
static void test_padding(void **state) {
    (void)state;
    const char *const names[] = {"batchnorm", "ghostbn"};
    for (int n = 0; n < 2; n++) {
        ct_model *plain = norm_model(names[n], 2, "{}"), *padded = norm_model(names[n], 2, "{}");
        ct_tensor *x = normal(5, CT_DIMS(2, 3, 2)), *junk = ct_full(context, CT_F32, CT_DIMS(2, 2, 2), 77);
        ct_tensor *longer = ct_concat((ct_tensor *[]){x, junk}, 2, 1);
        const uint8_t mask[] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 0};
        ct_run *run = run_of(true);
        ct_run_set_padding(run, ct_from_data(context, CT_U8, CT_DIMS(2, 5), mask));
        ct_tensor *y = ct_slice(ct_model_forward(padded, run, longer), 1, 0, 3, 1);
        assert_true(worst_difference(y, pass(plain, true, x)) < 1e-5);
        assert_true(worst_difference(tensor_of(plain, "running_mean"), tensor_of(padded, "running_mean")) <
                    1e-6);
        assert_true(worst_difference(tensor_of(plain, "running_var"), tensor_of(padded, "running_var")) <
                    1e-6);
        ct_model_forward(padded, run, x);
        assert_failed_with("the padding mask is u8[2, 5]");
        ct_run_destroy(run);
        ct_model_destroy(plain);
        ct_model_destroy(padded);
    }
}

static void test_gradients(void **state) {
    (void)state;
    const struct {
        const char *name, *options;
        bool training;
    } cases[] = {{"batchnorm", "{}", true},
                 {"ghostbn", "{\"size\":3}", true},
                 {"batchnorm", "{}", false},
                 {"ghostbn", "{\"run\":\"std\"}", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        direct d = direct_of(cases[i].name, cases[i].options);
        d.inputs = 2;
        d.training = cases[i].training;
        for (int t = 2; t < CT_NORM_TENSORS; t++)
            d.tensors[t] = ct_full(context, CT_F64, CT_DIMS(3), 0.5);
        assert_true(gradient_error(&d, 6, 3, false) < 2e-5);
        assert_true(gradient_error(&d, 6, 3, true) < 2e-4);
        direct_free(&d);
    }
}

/* What a norm does in evaluation moves into the linear layer behind it. */
static void test_fold(void **state) {
    (void)state;
    const char text[] = "{\"model_type\":\"mlp\",\"sizes\":[5,7,7,3],\"norm\":\"batchnorm\"}";
    ct_model *model = model_from(text, 3);
    ct_tensor *x = normal(6, CT_DIMS(9, 5));
    for (int i = 0; i < 3; i++)
        pass(model, true, x);
    ct_tensor *before = pass(model, false, x);
    /* linear 0, norm 1, relu 2, ...: the relu between keeps norm 1 from linear 3; norms are put before
     * linears here. */
    ct_module *root = ct_model_root(model);
    assert_true(ct_is_norm(ct_module_child(root, 1)));
    assert_int_equal(ct_norm_fold(ct_module_child(root, 0), ct_module_child(root, 3)), CT_ERROR_UNSUPPORTED);
    assert_failed_with("it is not a norm");
    assert_int_equal(ct_norm_fold(ct_module_child(root, 1), ct_module_child(root, 6)), CT_OK);
    assert_string_equal(ct_norm_method_of(ct_module_child(root, 1))->method.name, "none");
    ct_model_sync(model, 1);
    assert_ok();
    assert_true(worst_difference(pass(model, false, x), before) > 1e-3); /* another place: another function */
    ct_model_destroy(model);
    static const char tree[] =
        "{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\","
        "\"name\":\"\",\"children\":[{\"kind\":\"norm\",\"name\":\"0\",\"options\":{\"norm\":"
        "\"batchnorm\",\"width\":5}},{\"kind\":\"%s\",\"name\":\"1\",\"options\":{\"in\":5,"
        "\"out\":4}}]}}}";
    for (int conv = 0; conv < 2; conv++) {
        char whole[500];
        snprintf(whole, sizeof(whole), tree, conv ? "conv1d" : "linear");
        ct_model *small = model_from(whole, 4);
        for (int i = 0; i < 5; i++)
            pass(small, true, x);
        ct_tensor *expected = pass(small, false, x);
        root = ct_model_root(small);
        assert_int_equal(ct_norm_fold(ct_module_child(root, 0), ct_module_child(root, 1)), CT_OK);
        ct_model_sync(small, 1);
        assert_int_equal(ct_model_parameter_count(small), 2);
        assert_true(worst_difference(pass(small, false, x), expected) < 1e-5);
        ct_model_destroy(small);
    }
}

static void test_saved(void **state) {
    (void)state;
    char folder[] = "/tmp/carat-norm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    ct_model *model = model_from(
        "{\"model_type\":\"mlp\",\"sizes\":[5,7,3],\"norm\":{\"name\":\"ghostbn\",\"size\":4}}", 3);
    ct_tensor *x = normal(6, CT_DIMS(9, 5));
    for (int i = 0; i < 3; i++)
        pass(model, true, x);
    assert_int_equal(ct_model_save(model, folder, CT_DTYPES), CT_OK);
    ct_model *again = ct_model_load(context, folder, CT_F32);
    assert_ok();
    assert_same_bits(pass(again, false, x), pass(model, false, x));
    assert_same_bits(tensor_of(again, "weight"), tensor_of(model, "weight"));
    ct_parameter *count = ct_model_find(again, "1.num_batches_tracked");
    assert_non_null(count);
    assert_int_equal(ct_dtype_of(count->tensor), CT_I64);
    assert_near(item(count->tensor), 6,
                0); /* 3 passes of the ghosts 4 and 5: a ninth row alone has no variance */
    ct_model_destroy(model);
    ct_model_destroy(again);
    ct_folder_remove(context, folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_batchnorm_worked),
                                       reach_test(test_time_axis),
                                       reach_test(test_ghostbn_worked),
                                       reach_test(test_one_ghost_is_batchnorm),
                                       reach_test(test_ghosts_are_independent),
                                       reach_test(test_remainder),
                                       reach_test(test_padding),
                                       reach_test(test_gradients),
                                       reach_test(test_fold),
                                       reach_test(test_saved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
