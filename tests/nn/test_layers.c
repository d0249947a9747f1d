/* test_layers.c - the basic module kinds against worked numbers, their initial weights, attention in sight
 * against the fused kernel, bf16 runs. */
#include "nn/layers.h"
#include "reach/reach.h"

/* A model that is one module of `kind`, as a saved tree inside an mlp's configuration. */
static ct_model *one(const char *kind, const char *options) {
    char text[512];
    snprintf(text, sizeof(text),
             "{\"model_type\":\"mlp\",\"sizes\":[1,1],\"carat\":{\"tree\":{\"kind\":\"sequential\","
             "\"name\":\"\",\"children\":[{\"kind\":\"%s\",\"name\":\"0\",\"options\":%s}]}}}",
             kind, options);
    return model_from(text, 77);
}

static void set(ct_model *model, const char *name, const double *numbers) {
    ct_parameter *parameter = ct_model_find(model, name);
    assert_non_null(parameter);
    assert_int_equal(ct_write(parameter->tensor, CT_F64, numbers), CT_OK);
}

static void runs_to(ct_model *model, const ct_run_options *options, ct_tensor *x, int count,
                    const double *expected, double tolerance) {
    ct_run *run = ct_run_create(context, options);
    double *found = values(ct_model_forward(model, run, x));
    for (int i = 0; i < count; i++)
        assert_near(found[i], expected[i], tolerance);
    free(found);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

#define F32(dims, ...) ct_cast(ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__}), CT_F32)
#define NUMBERS(...) ((const double[]){__VA_ARGS__})

static void test_linear_and_conv1d(void **state) {
    (void)state;
    ct_tensor *x = F32(CT_DIMS(2, 3), 1, 2, 3, -1, 0, 1);
    ct_model *linear = one("linear", "{\"in\":3,\"out\":2}");
    set(linear, "0.weight", NUMBERS(1, 2, 3, 4, 5, 6)); /* [out, in] */
    set(linear, "0.bias", NUMBERS(0.5, -1));
    runs_to(linear, NULL, x, 4, NUMBERS(14.5, 31, 2.5, 1), 1e-6);
    ct_model *conv = one("conv1d", "{\"in\":3,\"out\":2,\"bias\":false}");
    set(conv, "0.weight", NUMBERS(1, 2, 3, 4, 5, 6)); /* [in, out] */
    runs_to(conv, NULL, x, 4, NUMBERS(22, 28, 4, 4), 1e-6);
}

static void test_embedding(void **state) {
    (void)state;
    ct_model *table = one("embedding", "{\"rows\":3,\"width\":2}");
    set(table, "0.weight", NUMBERS(1, 2, 3, 4, 5, 6));
    ct_tensor *ids = ct_from_data(context, CT_I32, CT_DIMS(2, 2), (const int32_t[]){2, 0, 1, 1});
    runs_to(table, NULL, ids, 8, NUMBERS(5, 6, 1, 2, 3, 4, 3, 4), 0);
    ct_model *other = one("embedding", "{\"rows\":3,\"width\":2}");
    ct_run *run = ct_run_create(context, NULL);
    ct_model_forward(other, run, ct_from_data(context, CT_I32, CT_DIMS(1), (const int32_t[]){3}));
    assert_true(ct_failed(context) && strstr(ct_context_message(context), "3"));
    ct_context_clear(context);
    ct_run_destroy(run);
    ct_model_destroy(other);
}

/* x = (1, 2, 3, 6): mean 3, variance 3.5. For rms_norm x = (1, 3, 5, 5): mean square 15. */
static void test_norms(void **state) {
    (void)state;
    ct_tensor *x = F32(CT_DIMS(1, 4), 1, 2, 3, 6);
    ct_model *norm = one("layer_norm", "{\"width\":4,\"epsilon\":0.5}"); /* 1/sqrt(4) */
    set(norm, "0.weight", NUMBERS(1, 2, 3, 4));
    set(norm, "0.bias", NUMBERS(0, 0, 10, 0));
    runs_to(norm, NULL, x, 4, NUMBERS(-1, -1, 10, 6), 1e-6);
    ct_model *rms = one("rms_norm", "{\"width\":4,\"epsilon\":1}"); /* 1/sqrt(16) */
    assert_int_equal(ct_model_parameter_count(rms), 1);
    set(rms, "0.weight", NUMBERS(1, 2, 4, 8));
    runs_to(rms, NULL, F32(CT_DIMS(1, 4), 1, 3, 5, 5), 4, NUMBERS(0.25, 1.5, 5, 10), 1e-6);
    ct_model *plain = one("layer_norm", "{\"width\":4,\"bias\":false}");
    assert_int_equal(ct_model_parameter_count(plain), 1);
    runs_to(plain, NULL, x, 4, NUMBERS(-2 / sqrt(3.5), -1 / sqrt(3.5), 0, 3 / sqrt(3.5)), 1e-5);
}

static void test_activations(void **state) {
    (void)state;
    ct_tensor *x = F32(CT_DIMS(3), -1, 0, 2);
    const double g = 0.044715, s = sqrt(2 / M_PI);
    runs_to(one("activation", "{\"function\":\"none\"}"), NULL, x, 3, NUMBERS(-1, 0, 2), 0);
    runs_to(one("activation", "{\"function\":\"relu\"}"), NULL, x, 3, NUMBERS(0, 0, 2), 0);
    runs_to(one("activation", "{\"function\":\"gelu\"}"), NULL, x, 3,
            NUMBERS(-0.5 * (1 - erf(1 / sqrt(2))), 0, 1 + erf(2 / sqrt(2))), 1e-6);
    runs_to(one("activation", "{\"function\":\"gelu_tanh\"}"), NULL, x, 3,
            NUMBERS(-0.5 * (1 - tanh(s * (1 + g))), 0, 1 + tanh(s * (2 + 8 * g))), 1e-6);
    runs_to(one("activation", "{\"function\":\"silu\"}"), NULL, x, 3,
            NUMBERS(-1 / (1 + exp(1)), 0, 2 / (1 + exp(-2))), 1e-6);
}

static void test_dropout_module(void **state) {
    (void)state;
    ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(4, 100), 1);
    ct_model *dropout = one("dropout", "{\"probability\":0.5}");
    ct_run *run = ct_run_create(context, &(ct_run_options){.training = true});
    double *y = values(ct_model_forward(dropout, run, x)), zeros = 0;
    for (int i = 0; i < 400; i++)
        zeros += y[i] == 0;
    for (int i = 0; i < 400; i++)
        assert_true(y[i] == 0 || y[i] == 2);
    assert_true(zeros > 150 && zeros < 250); /* 200 expected, deviation 10 */
    free(y);
    ct_run_destroy(run);
    runs_to(dropout, NULL, x, 3, NUMBERS(1, 1, 1), 0);
}

/* linear: uniform in +-1/sqrt(in); with init_scale: normal weights and zero biases; norms: ones and zeros. */
static void test_initial_weights(void **state) {
    (void)state;
    ct_model *uniform = one("linear", "{\"in\":64,\"out\":200}");
    double *w = values(ct_model_find(uniform, "0.weight")->tensor), square = 0, most = 0;
    for (int i = 0; i < 12800; i++) {
        square += w[i] * w[i] / 12800;
        most = fmax(most, fabs(w[i]));
    }
    assert_true(most <= 0.125 && most > 0.124);
    assert_near(square / (0.125 * 0.125 / 3), 1, 0.05);
    ct_model *normal = one("linear", "{\"in\":64,\"out\":200,\"init_scale\":0.02}");
    double *n = values(ct_model_find(normal, "0.weight")->tensor),
           *b = values(ct_model_find(normal, "0.bias")->tensor);
    for (square = 0, most = 0; most < 12800; most++)
        square += n[(int)most] * n[(int)most] / 12800;
    assert_near(sqrt(square) / 0.02, 1, 0.03);
    for (int i = 0; i < 200; i++)
        assert_true(b[i] == 0);
    ct_model *norm = one("layer_norm", "{\"width\":8}");
    double *gain = values(ct_model_find(norm, "0.weight")->tensor),
           *bias = values(ct_model_find(norm, "0.bias")->tensor);
    for (int i = 0; i < 8; i++)
        assert_true(gain[i] == 1 && bias[i] == 0);
    /* Draws are a function of the seed and the name alone. */
    ct_model *again = one("linear", "{\"in\":64,\"out\":200}");
    assert_same_bits(ct_model_find(uniform, "0.weight")->tensor, ct_model_find(again, "0.weight")->tensor);
    ct_model_initialize(again, 78);
    assert_true(worst_difference(ct_model_find(uniform, "0.weight")->tensor,
                                 ct_model_find(again, "0.weight")->tensor) > 0);
    double *all[] = {w, n, b, gain, bias};
    for (int i = 0; i < 5; i++)
        free(all[i]);
    ct_model_destroy(uniform);
    ct_model_destroy(normal);
    ct_model_destroy(norm);
    ct_model_destroy(again);
}

/* Grouped key heads, a bias, a scale: the same numbers as the fused kernel and the same gradients. */
static void test_attention_in_sight(void **state) {
    (void)state;
    ct_model *holder = one("dropout", "{}");
    ct_run *run = ct_run_create(context, NULL);
    ct_random random = ct_random_make(5, 5);
    ct_tensor *q = normal_leaf(CT_F64, CT_DIMS(2, 4, 5, 8), 1, &random);
    ct_tensor *k = normal_leaf(CT_F64, CT_DIMS(2, 2, 7, 8), 1, &random);
    ct_tensor *v = normal_leaf(CT_F64, CT_DIMS(2, 2, 7, 6), 1, &random);
    ct_tensor *bias = ct_random_normal_tensor(context, CT_F64, CT_DIMS(4, 5, 7), 0, 1, &random);
    ct_tensor *back = ct_random_normal_tensor(context, CT_F64, CT_DIMS(2, 4, 5, 6), 0, 1, &random);
    for (int which = 0; which < 4; which++) {
        ct_attention_options o = {
            .causal = which & 1, .scale = which & 1 ? 0 : 0.7, .bias = which & 2 ? bias : NULL};
        ct_tensor *seen = ct_attention_explicit(run, ct_model_root(holder), q, k, v, &o, 0);
        ct_tensor *fused = ct_attention(q, k, v, &o), *inputs[3] = {q, k, v}, *a[3], *b[3];
        assert_true(worst_difference(seen, fused) < 1e-12);
        ct_grad(&seen, 1, &back, inputs, 3, a, CT_GRAD_DEFAULT);
        ct_grad(&fused, 1, &back, inputs, 3, b, CT_GRAD_DEFAULT);
        assert_ok();
        for (int i = 0; i < 3; i++)
            assert_true(worst_difference(a[i], b[i]) < 1e-12);
    }
    ct_drop(q);
    ct_drop(k);
    ct_drop(v);
    ct_run_destroy(run);
    ct_model_destroy(holder);
}

/* bf16 runs: what an embedding gives is bf16, weights stay f32, and sums are accumulated in f32. */
static void test_bf16(void **state) {
    (void)state;
    const ct_run_options bf16 = {.compute = CT_BF16};
    ct_model *table = one("embedding", "{\"rows\":3,\"width\":2}");
    set(table, "0.weight", NUMBERS(1, 2, 3, 4, 1.001, 6)); /* 1.001 is rounded to 1 */
    ct_tensor *ids = ct_from_data(context, CT_I32, CT_DIMS(1), (const int32_t[]){2});
    ct_run *run = ct_run_create(context, &bf16);
    assert_int_equal(ct_dtype_of(ct_model_forward(table, run, ids)), CT_BF16);
    ct_run_destroy(run);
    runs_to(table, &bf16, ids, 2, NUMBERS(1, 6), 0);
    ct_model *linear = one("linear", "{\"in\":512,\"out\":1,\"bias\":false}");
    ct_fill(ct_model_find(linear, "0.weight")->tensor, 1);
    ct_tensor *x = ct_cast(ct_full(context, CT_F32, CT_DIMS(1, 512), 1), CT_BF16);
    runs_to(linear, &bf16, x, 1, NUMBERS(512), 0); /* sums in bf16 would stop at 256 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_linear_and_conv1d),
        reach_test(test_embedding),
        reach_test(test_norms),
        reach_test(test_activations),
        reach_test(test_dropout_module),
        reach_test(test_initial_weights),
        reach_test(test_attention_in_sight),
        reach_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
