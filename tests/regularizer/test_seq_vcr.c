/* test_seq_vcr.c - Seq-VCR: the card's worked numbers, what it must not depend on, the two forms, padding,
 * gradients, refusals. */
#include "reach/reach.h"
#include <carat/regularizer.h>

#define F64(dims, ...) ct_from_data(context, CT_F64, dims, (const double[]){__VA_ARGS__})

typedef struct given {
    const ct_regularizer_method *method;
    ct_value *value;
    void *options;
    ct_tensor *padding, *own;
} given;

static given given_of(const char *json) {
    given g = {
        (const ct_regularizer_method *)(const void *)ct_method_find(context, "regularizer", "seq_vcr")};
    g.value = ct_json_parse(context, json, strlen(json), "test");
    g.options = calloc(1, g.method->method.options_size + 1);
    ct_options_default(g.method->method.options, g.options);
    ct_options_apply(context, g.method->method.options, g.options, g.value, "", NULL);
    assert_ok();
    return g;
}

static void given_free(given *g) {
    ct_value_free(g->value);
    free(g->options);
}

static ct_tensor *term_seeded(void *user, ct_tensor *const *inputs, uint64_t seed) {
    given *g = user;
    ct_regularizer_call call = {.context = context,
                                .options = g->options,
                                .where = "test",
                                .activations = inputs,
                                .activation_count = 1,
                                .own = &g->own,
                                .padding = g->padding,
                                .seed = seed};
    return g->method->term(&call);
}

static ct_tensor *term(void *user, ct_tensor *const *inputs) {
    return term_seeded(user, inputs, 7);
}

static double loss_of(const char *json, ct_tensor *hidden) {
    given g = given_of(json);
    double value = item(term(&g, &hidden));
    given_free(&g);
    return value;
}

static ct_tensor *normal(int64_t rows, int64_t time, int64_t width, double deviation, uint64_t seed) {
    ct_random random = ct_random_make(seed, 9);
    return ct_random_normal_tensor(context, CT_F64, CT_DIMS(rows, time, width), 0.2, deviation, &random);
}

/* Rows (1,0), (0,1), (-1,-1): C = [[1,.5],[.5,1]]; halved: variances .25, covariance .125. */
static void test_worked(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(3, 1, 2), 1, 0, 0, 1, -1, -1);
    double half = .998002, both = 2 * (1 - sqrt(.251));
    assert_near(both, half, 1e-6);
    assert_near(loss_of("{}", x), .001, 1e-12);
    assert_near(loss_of("{}", ct_mul_scalar(x, .5)), .49906350, 1e-8);
    assert_near(loss_of("{}", ct_mul_scalar(x, .5)), (both + .004 * .03125) / 2, 1e-12);
    assert_near(loss_of("{\"form\":\"gram\"}", ct_mul_scalar(x, .5)), .49906350, 1e-8);
    assert_near(loss_of("{\"cov\":0}", x), 0, 1e-15);
}

static void test_invariances(void **state) {
    (void)state;
    ct_tensor *x = normal(6, 5, 4, .6, 1);
    double before = loss_of("{\"cov\":0.5}", x);
    ct_tensor *shift = F64(CT_DIMS(1, 5, 4), 1, 2, 3, 4, 0, 0, 0, 0, -9, 0, 0, 1, 0, 0, 0, 0, 5, 5, 5, 5);
    assert_near(loss_of("{\"cov\":0.5}", ct_add(x, shift)), before, 1e-12);
    assert_near(loss_of("{\"cov\":0.5}", ct_flip(x, 1, (const int[]){1})), before, 1e-12);
    assert_near(loss_of("{\"cov\":0.5}", ct_flip(x, 1, (const int[]){0})), before, 1e-12);
    /* Pooled over positions, their different means count. */
    double pooled = loss_of("{\"cov\":0.5,\"pool\":\"batch+pos\"}", ct_add(x, shift));
    assert_true(fabs(pooled - loss_of("{\"cov\":0.5,\"pool\":\"batch+pos\"}", x)) > .1);
    ct_tensor *same = F64(CT_DIMS(2, 2, 2), 1, 0, 0, 1, 1, 0, 0, 1); /* both rows alike at each position */
    assert_near(loss_of("{}", same), 1 - sqrt(.001), 1e-12);
    /* Over both: variances 1/3, covariance -1/3. */
    assert_near(loss_of("{\"pool\":\"batch+pos\"}", same), 1 - sqrt(1. / 3 + .001) + .004 / 9, 1e-12);
}

static void test_forms(void **state) {
    (void)state;
    ct_tensor *x = normal(8, 3, 64, 1.3, 2);
    double direct = loss_of("{\"form\":\"direct\"}", x), gram = loss_of("{\"form\":\"gram\"}", x);
    assert_true(fabs(direct - gram) < 1e-12 && direct > 0);
    ct_tensor *narrow = ct_cast(x, CT_F32);
    assert_near(loss_of("{\"form\":\"gram\"}", narrow), loss_of("{\"form\":\"direct\"}", narrow), 1e-5);
    assert_near(loss_of("{}", x), gram, 0);
}

/* Padding is as if the rows were not there; a position with one row left is passed over and not counted. */
static void test_padding(void **state) {
    (void)state;
    ct_tensor *x = normal(4, 2, 3, .5, 3);
    given g = given_of("{\"cov\":0.3}");
    g.padding = ct_from_data(context, CT_U8, CT_DIMS(4, 2), (const uint8_t[]){1, 1, 1, 0, 1, 0, 0, 0});
    double masked = item(term(&g, &x));
    ct_tensor *three = ct_slice(ct_slice(x, 0, 0, 3, 1), 1, 0, 1, 1);
    assert_near(masked, loss_of("{\"cov\":0.3}", three), 1e-12);
    g.padding = ct_from_data(context, CT_U8, CT_DIMS(4, 2), (const uint8_t[]){1, 0, 0, 0, 0, 0, 0, 1});
    assert_null(term(&g, &x)); /* nothing is left to count */
    assert_ok();
    given_free(&g);
}

static void test_positions(void **state) {
    (void)state;
    ct_tensor *x = normal(5, 12, 4, .4, 4);
    given g = given_of("{\"positions\":3}");
    double sum = 0, first = item(term_seeded(&g, &x, 1)), all = loss_of("{}", x);
    assert_near(item(term_seeded(&g, &x, 1)), first, 0);
    int different = 0;
    for (int i = 0; i < 400; i++) {
        double value = item(term_seeded(&g, &x, (uint64_t)i));
        different += value != first;
        sum += value / 400;
    }
    assert_true(different > 300);
    assert_near(sum, all, .02); /* every position alike often */
    given_free(&g);
}

static void test_gradients(void **state) {
    (void)state;
    static const char *const all[] = {"{\"cov\":0.5}", "{\"cov\":0.5,\"form\":\"gram\"}",
                                      "{\"cov\":0.5,\"pool\":\"batch+pos\"}",
                                      "{\"var\":0,\"cov\":1,\"positions\":2}"};
    for (int i = 0; i < 4; i++) {
        ct_tensor *inputs[] = {normal(4, 3, 5, .3, 5)}; /* deviations well below 1 */
        given g = given_of(all[i]);
        double worst = NAN;
        ct_gradient_check(context, term, &g, inputs, 1, 1e-6, false, &worst);
        assert_ok();
        if (!(worst < 1e-6)) fail_msg("%s: %g", all[i], worst);
        given_free(&g);
    }
    /* Above 1 the hinge is flat, at and beyond it: subgradient 0. */
    ct_tensor *wide = normal(6, 2, 3, 9, 6), *gradient = NULL;
    given g = given_of("{\"cov\":0}");
    ct_require_grad(wide, true);
    ct_tensor *value = term(&g, &wide);
    ct_grad(&value, 1, NULL, &wide, 1, &gradient, CT_GRAD_DEFAULT);
    assert_near(item(ct_sum_all(ct_abs(gradient))), 0, 0);
    given_free(&g);
}

/* A projection to the first two of four channels leaves their statistics. */
static void test_projection(void **state) {
    (void)state;
    ct_tensor *x = normal(5, 3, 4, .4, 8);
    given g = given_of("{\"proj\":2}");
    g.own = F64(CT_DIMS(2, 4), 1, 0, 0, 0, 0, 1, 0, 0);
    assert_near(item(term(&g, &x)), loss_of("{}", ct_slice(x, 2, 0, 2, 1)), 1e-9);
    given_free(&g);
}

static void test_refusals(void **state) {
    (void)state;
    given g = given_of("{}");
    ct_tensor *x = normal(1, 3, 2, 1, 1);
    assert_null(term(&g, &x));
    assert_true(strstr(ct_context_message(context), "seq-vcr needs at least 2 sequences per batch") != NULL);
    ct_context_clear(context);
    given_free(&g);
    g = given_of("{\"var\":0,\"cov\":0}");
    assert_null(term(&g, &x));
    assert_ok();
    assert_int_equal(g.method->rows_together(g.options), 0);
    given_free(&g);
    g = given_of("{\"positions\":2,\"pool\":\"batch+pos\"}");
    assert_int_equal(g.method->check(context, g.options), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    given_free(&g);
    g = given_of("{\"layers\":[0,\"x\"]}");
    assert_int_equal(g.method->check(context, g.options), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    given_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_worked),     reach_test(test_invariances),
                                       reach_test(test_forms),      reach_test(test_padding),
                                       reach_test(test_positions),  reach_test(test_gradients),
                                       reach_test(test_projection), reach_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
