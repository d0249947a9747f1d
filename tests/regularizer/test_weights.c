/* test_weights.c - penalties on weights and weight normalisation: worked numbers, gradients, patterns,
 * refusals, failing allocations. */
#include "reach/reach.h"
#include <carat/norm.h>
#include <carat/optimizer.h>
#include <carat/regularizer.h>

static const char network[] = "{\"model_type\":\"mlp\",\"sizes\":[2,3,1],\"activation\":\"gelu\"}";

/* The first matrix [3, 2], its bias, the second matrix [1, 3], its bias. */
static ct_model *model_of(void) {
    ct_model *model = model_from(network, 1);
    static const double first[] = {3, 4, 0, -2, 1, 0}, bias[] = {1, 1, 1}, second[] = {2, -1, 2},
                        last[] = {5};
    static const double *const all[] = {first, bias, second, last};
    assert_int_equal(ct_model_parameter_count(model), 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ct_write(ct_model_parameter(model, i)->tensor, CT_F64, all[i]), CT_OK);
    make_leaves(model);
    return model;
}

static ct_regularizers *list_of(const char *json) {
    ct_value *value = ct_json_parse(context, json, strlen(json), "test");
    ct_regularizers *all = ct_regularizers_create(context, value, "regularizers");
    ct_value_free(value);
    return all;
}

static void assert_refused(const char *words) {
    assert_true(ct_failed(context));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
}

/* The term, and the gradient of the first matrix. */
static double term_of(const char *json, double *gradient) {
    ct_model *model = model_of();
    ct_regularizers *all = list_of(json);
    assert_ok();
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_int_equal(ct_regularizers_install(all, run, true, NULL, NULL), CT_OK);
    ct_tensor *term = ct_regularizers_weight_term(all, run, 1);
    double value = item(term);
    assert_int_equal(ct_backward(term, NULL, CT_GRAD_DEFAULT), CT_OK);
    ct_tensor *g = ct_gradient(ct_model_parameter(model, 0)->tensor);
    for (int i = 0; i < 6; i++)
        gradient[i] = 0;
    if (g) ct_read(g, CT_F64, gradient);
    ct_run_destroy(run);
    ct_regularizers_destroy(all);
    ct_model_destroy(model);
    return value;
}

static void check(const char *json, double expected, const double *gradient) {
    double found[6];
    assert_near(term_of(json, found), expected, 1e-6);
    for (int i = 0; i < 6; i++)
        assert_near(found[i], gradient[i], 1e-6);
}

static void test_penalties(void **state) {
    (void)state;
    check("[{\"name\":\"l2\"}]", (30 + 9) / 2., (const double[]){3, 4, 0, -2, 1, 0});
    check("[{\"name\":\"l2\",\"all\":true,\"weight\":0.1}]", .1 * (39 + 3 + 25) / 2.,
          (const double[]){.3, .4, 0, -.2, .1, 0});
    check("[{\"name\":\"l1\",\"pattern\":\"0*\"},{\"name\":\"l2\",\"pattern\":\"0*\",\"weight\":2}]", 10 + 30,
          (const double[]){7, 9, 0, -5, 3, 0});
    /* W^T W = [[10, 12], [12, 20]]; the second matrix W W^T = 9. Gradient 4 W (W^T W - I). */
    check("[\"orthogonal\"]", 81 + 2 * 144 + 361 + 64,
          (const double[]){4 * (27 + 48), 4 * (36 + 76), 4 * -24, 4 * -38, 4 * 9, 4 * 12});
    /* W W^T = [[25,-8,3],[-8,4,0],[3,0,1]]. */
    double unused[6];
    assert_near(term_of("[{\"name\":\"orthogonal\",\"side\":\"outputs\",\"pattern\":\"0*\"}]", unused),
                24 * 24 + 9 + 2 * (64 + 9), 1e-6);
}

/* w = g v / ||v||: the model begins as it was; a doubled g doubles a row; v's own length does not matter and
 * its gradient is orthogonal to it; a row of zeros stays 0. */
static void test_weight_norm(void **state) {
    (void)state;
    ct_model *model = model_of();
    static const double zeros[] = {3, 4, 0, 0, 1, 0};
    ct_tensor *v = ct_model_parameter(model, 0)->tensor;
    ct_write(v, CT_F64, zeros);
    ct_regularizers *all = list_of("[{\"name\":\"weight_norm\",\"pattern\":\"0*\"}]");
    assert_int_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_int_equal(ct_regularizers_initialize(all, 1), CT_OK);
    assert_true(ct_regularizers_adds_parameters(all) && ct_regularizers_rows(all, NULL) == CT_ROWS_WHOLE);
    assert_int_equal(ct_model_parameter_count(model), 5);
    ct_parameter *gain = ct_model_parameter(model, 4);
    ct_require_grad(gain->tensor, true);
    double *g = values(gain->tensor);
    assert_near(g[0], 5, 1e-7);
    assert_near(g[1], 0, 0);
    assert_near(g[2], 1, 1e-7);
    free(g);
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_regularizers_install(all, run, true, NULL, NULL), CT_OK);
    const ct_slot *slot = ct_model_parameter(model, 0)->slot;
    assert_true(worst_difference(ct_run_weight(run, slot), v) < 1e-6);
    ct_write(gain->tensor, CT_F64, (const double[]){10, 0, 1});
    ct_scale_into(v, 7);
    ct_run_reset(run);
    ct_tensor *w = ct_run_weight(run, slot);
    double *x = values(w);
    const double expected[] = {6, 8, 0, 0, 1, 0};
    for (int i = 0; i < 6; i++)
        assert_near(x[i], expected[i], 1e-6);
    free(x);
    ct_tensor *coefficients =
        ct_cast(ct_from_data(context, CT_F64, CT_DIMS(3, 2), (const double[]){1, 5, 2, 2, -3, 4}), CT_F32);
    ct_backward(ct_sum_all(ct_mul(w, coefficients)), NULL, CT_GRAD_DEFAULT);
    double *dv = values(ct_gradient(v)), *dg = values(ct_gradient(gain->tensor));
    assert_near(dg[0], (1 * 3 + 5 * 4) / 5., 1e-6); /* along the direction (eq. 3) */
    assert_near(dv[0] * 3 + dv[1] * 4, 0, 1e-6);
    assert_near(dv[0], 10 / 35. * (1 - 4.6 * .6), 1e-5);
    free(dv);
    free(dg);
    ct_run_destroy(run);
    ct_regularizers_destroy(all);
    ct_model_destroy(model);
}

/* One number times the output weight: 1 at first, its gradient <dL/dw', w>, the others' multiplied by it. */
static void test_logit_scale(void **state) {
    (void)state;
    ct_model *model = model_of();
    ct_regularizers *all = list_of("[\"logit_scale\"]");
    assert_int_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_int_equal(ct_regularizers_initialize(all, 1), CT_OK);
    assert_int_equal(ct_model_parameter_count(model), 5);
    ct_parameter *scale = ct_model_parameter(model, 4);
    assert_string_equal(scale->name, "carat.logit_scale.2.weight");
    assert_true(ct_ndim(scale->tensor) == 0 && item(scale->tensor) == 1 && scale->no_decay);
    ct_require_grad(scale->tensor, true);
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_regularizers_install(all, run, true, NULL, NULL), CT_OK);
    ct_tensor *x = ct_cast(ct_from_data(context, CT_F64, CT_DIMS(1, 2), (const double[]){1, -1}), CT_F32);
    ct_tensor *bias = ct_model_parameter(model, 3)->tensor, *plain = ct_model_forward(model, run, x);
    ct_tensor *without = ct_sub(plain, bias);
    ct_fill(scale->tensor, 3);
    ct_run_reset(run);
    ct_tensor *y = ct_model_forward(model, run, x);
    assert_near(item(ct_sub(y, bias)), 3 * item(without), 1e-5);
    ct_backward(ct_sum_all(y), NULL, CT_GRAD_DEFAULT);
    assert_near(item(ct_gradient(scale->tensor)), item(without), 1e-5);
    /* The hidden layers' weights are as they were. */
    const ct_slot *first = ct_model_parameter(model, 0)->slot;
    assert_true(ct_run_weight(run, first) == ct_model_parameter(model, 0)->tensor);
    ct_run_destroy(run);
    ct_regularizers_destroy(all);
    ct_model_destroy(model);
    model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":8,\"n_positions\":4,\"n_embd\":4,\"n_layer\":1,"
                   "\"n_head\":1}",
                   1);
    all = list_of("[\"logit_scale\"]");
    assert_int_not_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_refused("\"lm_head\" is also that of \"wte\"");
    ct_regularizers_destroy(all);
    ct_model_destroy(model);
}

static void test_refusals(void **state) {
    (void)state;
    assert_null(list_of("[\"l3\"]"));
    assert_refused("did you mean");
    assert_null(list_of("[{\"name\":\"l2\",\"patern\":\"*\"}]"));
    assert_refused("pattern");
    assert_null(list_of("[{\"name\":\"weight_norm\",\"weight\":0.5}]"));
    assert_refused("has no weight");
    ct_model *model = model_of();
    ct_regularizers *all = list_of("[{\"name\":\"weight_norm\",\"pattern\":\"none*\"}]");
    assert_int_not_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_refused("no weight that it applies to");
    ct_regularizers_destroy(all);
    all = list_of("[\"weight_norm\",\"weight_norm\"]");
    assert_int_not_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_refused("is made by regularizers.0 (weight_norm) already");
    ct_regularizers_destroy(all);
    all = list_of("[\"seq_vcr\"]");
    assert_int_not_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_refused("a mlp has no list of transformer blocks");
    assert_int_not_equal(ct_regularizers_check_rows(all, 1), CT_OK);
    assert_refused("(seq_vcr) needs at least 2 sequences per batch, found 1");
    ct_regularizers_destroy(all);
    all = list_of("[{\"name\":\"l1\",\"pattern\":\"nothing\"}]");
    ct_run *run = ct_run_create(context, NULL);
    assert_int_equal(ct_regularizers_attach(all, model), CT_OK);
    assert_null(ct_regularizers_weight_term(all, run, 1));
    assert_refused("matches no weight");
    ct_run_destroy(run);
    ct_regularizers_destroy(all);
    ct_model_destroy(model);
}

static void test_allocations(void **state) {
    (void)state;
    bool failed = true;
    for (int n = 1; failed && n < 400; n++) {
        ct_scope scope = ct_scope_open(context);
        ct_model *model = model_of();
        ct_run *run = ct_run_create(context, NULL);
        ct_memory_fail_at(context, n);
        ct_regularizers *all = list_of("[\"l2\",{\"name\":\"weight_norm\"},\"orthogonal\"]");
        if (all && ct_regularizers_attach(all, model) == CT_OK &&
            ct_regularizers_initialize(all, 1) == CT_OK &&
            ct_regularizers_install(all, run, true, NULL, NULL) == CT_OK)
            ct_regularizers_weight_term(all, run, 1);
        ct_memory_fail_at(context, 0);
        failed = ct_failed(context);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_run_destroy(run);
        ct_regularizers_destroy(all);
        ct_model_destroy(model);
        ct_scope_close(context, scope);
    }
    assert_false(failed);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_penalties), reach_test(test_weight_norm),
                                       reach_test(test_logit_scale), reach_test(test_refusals),
                                       reach_test(test_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
