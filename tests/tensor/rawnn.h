/* rawnn.h - what the tests of the network operations share: made-up operands, reading back, comparing. */
#ifndef TESTS_TENSOR_RAWNN_H
#define TESTS_TENSOR_RAWNN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/raw.h"

#define SHAPE(...) CT_DIMS(__VA_ARGS__)

/* A number in [-1, 1) for element i of operand `seed`, exact in bf16 if `coarse`. */
static inline double sample(uint64_t seed, int64_t i) {
    uint64_t x = (uint64_t)i * 0x9e3779b97f4a7c15u + seed * 0xd1342543de82ef95u + 12345;
    x ^= x >> 29, x *= 0xbf58476d1ce4e5b9u, x ^= x >> 32, x *= 0x94d049bb133111ebu, x ^= x >> 29;
    return (double)(x >> 11) * 0x1p-52 - 1;
}

/* A contiguous tensor of samples times `scale`, rounded to `dtype`. */
static inline ct_tensor *make(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                              uint64_t seed, double scale) {
    ct_tensor *t = ct_empty(context, dtype, ndim, shape);
    double *buffer = malloc((size_t)(t->count + 1) * sizeof(double));
    assert_non_null(buffer);
    for (int64_t i = 0; i < t->count; i++)
        buffer[i] = scale * sample(seed, i);
    assert_int_equal(ct_write(t, CT_F64, buffer), CT_OK);
    free(buffer);
    return t;
}

/* All elements in row-major order; free it. */
static inline double *values(ct_tensor *t) {
    double *buffer = malloc((size_t)(t->count + 1) * sizeof(double));
    assert_non_null(buffer);
    if (ct_read(t, CT_F64, buffer) != CT_OK) fail_msg("%s", ct_context_message(t->context));
    return buffer;
}

static inline void assert_fine(ct_context *context) {
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
}

static inline void assert_near(double found, double expected, double tolerance, const char *what, int64_t i) {
    if (found == expected || fabs(found - expected) <= tolerance * (1 + fabs(expected))) return;
    if (isnan(found) && isnan(expected)) return;
    fail_msg("%s[%lld]: %.9g, expected %.9g", what, (long long)i, found, expected);
}

/* Elements of `t` against `expected`, relative to 1 + |expected|. */
static inline void assert_values(ct_tensor *t, const double *expected, double tolerance, const char *what) {
    double *found = values(t);
    for (int64_t i = 0; i < t->count; i++)
        assert_near(found[i], expected[i], tolerance, what, i);
    free(found);
}

/* Tensors of two contexts, of one type and shape, have the same bits. */
static inline void assert_same_bits(ct_tensor *a, ct_tensor *b, const char *what) {
    assert_true(ct_same_shape(a, b) && a->dtype == b->dtype);
    size_t bytes = (size_t)a->count * ct_dtype_size((ct_dtype)a->dtype);
    char *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    assert_int_equal(ct_read(a, (ct_dtype)a->dtype, x), CT_OK);
    assert_int_equal(ct_read(b, (ct_dtype)b->dtype, y), CT_OK);
    if (memcmp(x, y, bytes) != 0) {
        size_t i = 0;
        while (x[i] == y[i])
            i++;
        fail_msg("%s: bits differ at element %lld", what, (long long)(i / ct_dtype_size((ct_dtype)a->dtype)));
    }
    free(x);
    free(y);
}

/* Rows [first, first + count) of axis `axis`, a view. */
static inline ct_tensor *rows_of(ct_tensor *t, int axis, int64_t first, int64_t count) {
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, t->shape, sizeof shape);
    shape[axis] = count;
    return ct_view_strided(t, t->ndim, shape, t->stride, first * t->stride[axis]);
}

static inline ct_tensor *swapped(ct_tensor *t, int a, int b) {
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    memcpy(shape, t->shape, sizeof shape);
    memcpy(stride, t->stride, sizeof stride);
    shape[a] = t->shape[b], shape[b] = t->shape[a];
    stride[a] = t->stride[b], stride[b] = t->stride[a];
    return ct_view_strided(t, t->ndim, shape, stride, 0);
}

/* An error is held, of this kind, and its message has this text; it is cleared. */
static inline void assert_error(ct_context *context, ct_status status, const char *text) {
    assert_int_equal(ct_context_status(context), status);
    if (!strstr(ct_context_message(context), text))
        fail_msg("message \"%s\" lacks \"%s\"", ct_context_message(context), text);
    ct_context_clear(context);
}

/* Runs `operation` in fresh contexts with the 1st, 2nd, ... allocation failing, until it succeeds: every
 * failure is reported as such, and nothing is lost (destroying the context checks nothing by itself; valgrind
 * and asan do). */
static inline void assert_survives_allocation_failure(void (*operation)(ct_context *context)) {
    for (int64_t n = 1; n < 500; n++) {
        ct_context *context = ct_context_create(1);
        assert_non_null(context);
        ct_memory_fail_at(context, n);
        operation(context);
        bool failed = ct_failed(context);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_memory_fail_at(context, 0);
        ct_context_clear(context);
        if (failed) operation(context);
        assert_fine(context);
        ct_context_destroy(context);
        if (!failed) {
            assert_true(n > 2);
            return;
        }
    }
    fail_msg("the operation fails for ever");
}

/* Memory and operations that `operation` (with operands made inside) counts on meta are those of the CPU. */
static inline void assert_meta_counts(void (*operation)(ct_context *context)) {
    uint64_t flops[2];
    size_t left[2];
    for (int meta = 0; meta < 2; meta++) {
        ct_context *context = ct_context_create(1);
        assert_int_equal(ct_context_set_device(context, meta ? CT_META : CT_CPU), CT_OK);
        operation(context);
        assert_fine(context);
        ct_memory_counts counts;
        ct_memory_read(context, &counts);
        flops[meta] = ct_context_flops(context);
        left[meta] = counts.current[CT_MEMORY_ACTIVATIONS];
        ct_context_destroy(context);
    }
    assert_int_equal(flops[0], flops[1]);
    assert_int_equal(left[0], left[1]);
}

#endif
