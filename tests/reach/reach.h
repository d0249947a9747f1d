/* reach.h - what the programs of tests/reach share: cmocka, the public headers, a context with a clean-up
 * check, reading tensors as doubles. They use public headers only: what they do needs no change to the
 * engine. */
#ifndef CARAT_TESTS_REACH_H
#define CARAT_TESTS_REACH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <carat/model.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ct_context *context;
static ct_scope whole_test;

static int start(void **state) {
    (void)state;
    context = ct_context_create(2);
    if (!context) return -1;
    whole_test = ct_scope_open(context);
    return 0;
}

/* Nothing that holds numbers may be left when a test has dropped what it made. */
static int finish(void **state) {
    (void)state;
    ct_scope_close(context, whole_test);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    size_t left = 0;
    for (int i = CT_MEMORY_WEIGHTS; i <= CT_MEMORY_ACTIVATIONS; i++)
        left += counts.current[i];
    ct_context_destroy(context);
    context = NULL;
    if (left) print_error("%zu bytes of tensors were left\n", left);
    return left ? -1 : 0;
}

#define reach_test(name) cmocka_unit_test_setup_teardown(name, start, finish)

#define assert_ok()                                                                                          \
    do {                                                                                                     \
        if (ct_failed(context)) fail_msg("%s", ct_context_message(context));                                 \
    } while (0)

/* |found - expected| <= tolerance * max(1, |expected|) */
#define assert_near(found, expected, tolerance)                                                              \
    do {                                                                                                     \
        double found_ = (found), expected_ = (expected);                                                     \
        if (!(fabs(found_ - expected_) <= (tolerance)*fmax(1, fabs(expected_))))                             \
            fail_msg("found %.12g, expected %.12g", found_, expected_);                                      \
    } while (0)

static inline double item(ct_tensor *tensor) {
    double value = NAN;
    ct_item(tensor, &value);
    assert_ok();
    return value;
}

/* All elements as doubles; free() it. */
static inline double *values(ct_tensor *tensor) {
    assert_non_null(tensor);
    double *buffer = malloc((size_t)ct_count(tensor) * sizeof(double) + 1);
    assert_non_null(buffer);
    ct_read(tensor, CT_F64, buffer);
    assert_ok();
    return buffer;
}

static inline void assert_same_bits(ct_tensor *a, ct_tensor *b) {
    assert_non_null(a);
    assert_non_null(b);
    assert_true(ct_same_shape(a, b) && ct_dtype_of(a) == ct_dtype_of(b));
    a = ct_contiguous(a);
    b = ct_contiguous(b);
    assert_ok();
    assert_memory_equal(ct_data(a), ct_data(b), (size_t)ct_count(a) * ct_dtype_size(ct_dtype_of(a)));
}

static inline double worst_difference(ct_tensor *a, ct_tensor *b) {
    double *x = values(a), *y = values(b), worst = 0;
    assert_true(ct_count(a) == ct_count(b));
    for (int64_t i = 0; i < ct_count(a); i++)
        worst = fmax(worst, fabs(x[i] - y[i]));
    free(x);
    free(y);
    return worst;
}

/* A leaf that outlives scopes, filled with normal draws. */
static inline ct_tensor *normal_leaf(ct_dtype dtype, int ndim, const int64_t *shape, double deviation,
                                     ct_random *random) {
    ct_tensor *leaf = ct_hold(ct_random_normal_tensor(context, dtype, ndim, shape, 0, deviation, random));
    ct_require_grad(leaf, true);
    assert_ok();
    return leaf;
}

/* A model from config.json's text. */
static inline ct_model *model_from(const char *json, uint64_t seed) {
    ct_value *config = ct_json_parse(context, json, strlen(json), "config");
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    assert_ok();
    ct_model_initialize(model, seed);
    assert_ok();
    return model;
}

static inline void make_leaves(ct_model *model) {
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        ct_require_grad(ct_model_parameter(model, i)->tensor, true);
    assert_ok();
}

#endif
