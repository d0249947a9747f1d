/* test_raw_reduce.c - reductions over any axes, argmax, cumulative sums, gradients of broadcasting. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static double start(ct_reduce_op op) {
    return op == CT_REDUCE_MAX_OP ? -INFINITY : op == CT_REDUCE_MIN_OP ? INFINITY : 0;
}
static double take(ct_reduce_op op, double held, double x) {
    switch (op) {
    case CT_REDUCE_SUM_OP:
        return held + x;
    case CT_REDUCE_MAX_OP:
        return x > held ? x : held;
    case CT_REDUCE_MIN_OP:
        return x < held ? x : held;
    case CT_REDUCE_SQUARES_OP:
        return held + x * x;
    default:
        return held + exp(x);
    }
}

/* The reduction by a loop over all elements; keeps the axes as 1. */
static double *reduce_loop(ct_reduce_op op, const ct_tensor *x, unsigned axes, int64_t *shape) {
    double *values = elements(x);
    int64_t count = 1;
    for (int i = 0; i < x->ndim; i++)
        count *= shape[i] = axes >> i & 1 ? 1 : x->shape[i];
    double *out = malloc((size_t)(count + 1) * sizeof(double));
    assert_non_null(out);
    for (int64_t i = 0; i < count; i++)
        out[i] = start(op);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int d = x->ndim - 1; d >= 0; d--) {
            if (!(axes >> d & 1)) at += rest % x->shape[d] * step;
            step *= shape[d];
            rest /= x->shape[d];
        }
        out[at] = take(op, out[at], values[i]);
    }
    if (op == CT_REDUCE_LOGSUMEXP_OP)
        for (int64_t i = 0; i < count; i++)
            out[i] = log(out[i]);
    free(values);
    return out;
}

static const struct {
    int ndim;
    int64_t shape[4];
} shapes[] = {{0, {0}},         {1, {1}},          {1, {9000}},         {2, {5, 7}},
              {2, {300, 70}},   {2, {3, 600}},     {3, {2, 3, 4}},      {3, {4, 1, 30}},
              {3, {7, 150, 5}}, {4, {2, 3, 4, 5}}, {4, {3, 140, 2, 6}}, {3, {1, 5, 1}}};

static double tolerance_of(ct_dtype dtype) {
    return dtype == CT_F64    ? 1e-13
           : dtype == CT_F32  ? 3e-6
           : dtype == CT_F16  ? 1e-3
           : dtype == CT_BF16 ? 8e-3
                              : 0;
}

static void test_against_loops(void **state) {
    ct_context *context = *state;
    for (int s = 0; s < COUNT(shapes); s++)
        for (unsigned axes = 0; axes < 1u << shapes[s].ndim; axes++)
            for (int op = 0; op <= CT_REDUCE_LOGSUMEXP_OP; op++)
                for (int type = 0; type < CT_DTYPES; type++) {
                    bool real = ct_dtype_is_float((ct_dtype)type);
                    if (op == CT_REDUCE_LOGSUMEXP_OP && !real) continue;
                    ct_scope scope = ct_scope_open(context);
                    int kind = (int)(axes + (unsigned)op + (unsigned)type) % RESTRIDE_KINDS;
                    CHECKING("op %d, shape %d, axes %x, %s, strides %d", op, s, axes,
                             ct_dtype_name((ct_dtype)type), kind);
                    ct_tensor *x = sample(context, (ct_dtype)type, shapes[s].ndim, shapes[s].shape, 5);
                    if (type == CT_F16 && op == CT_REDUCE_SQUARES_OP) ct_scale_into(x, 0.25);
                    int64_t shape[CT_MAX_DIMS];
                    double *expected = reduce_loop((ct_reduce_op)op, x, axes, shape);
                    ct_tensor *y = ct_raw_reduce((ct_reduce_op)op, restride(x, kind), axes, true);
                    bool wide = !real && op != CT_REDUCE_MAX_OP && op != CT_REDUCE_MIN_OP;
                    assert_int_equal(y->dtype, wide ? CT_I64 : type);
                    expect_values(y, x->ndim, shape, expected, tolerance_of((ct_dtype)type));
                    ct_tensor *z = ct_raw_reduce((ct_reduce_op)op, x, axes, false);
                    int kept = x->ndim - __builtin_popcount(axes);
                    assert_int_equal(z->ndim, kept);
                    expect_values(z, kept, z->shape, expected, tolerance_of((ct_dtype)type));
                    free(expected);
                    ct_scope_close(context, scope);
                }
}

static void expect_same_bits(const ct_tensor *a, const ct_tensor *b) {
    expect_fine(a->context);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(ct_data(a), ct_data(b), (size_t)a->count * ct_dtype_size((ct_dtype)a->dtype));
}

/* A row's result depends neither on the other rows nor on the strides. */
static void test_rows_stand_alone(void **state) {
    ct_context *context = *state;
    static const int64_t lengths[] = {3, 64, 1000, 4096, 5000, 70000};
    ct_random random = ct_random_make(2, 3);
    for (int l = 0; l < COUNT(lengths); l++)
        for (int op = 0; op <= CT_REDUCE_LOGSUMEXP_OP; op++)
            for (int dtype = CT_F32; dtype <= CT_BF16; dtype++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("op %d, length %lld", op, (long long)lengths[l]);
                ct_tensor *x =
                    ct_random_normal_tensor(context, (ct_dtype)dtype, CT_DIMS(5, lengths[l]), 0, 1, &random);
                ct_tensor *all = ct_raw_reduce((ct_reduce_op)op, x, 2, false);
                ct_tensor *row =
                    ct_view_strided(x, 2, (const int64_t[]){1, lengths[l]}, x->stride, 3 * lengths[l]);
                ct_tensor *one = ct_raw_reduce((ct_reduce_op)op, row, 2, false);
                ct_tensor *third = ct_view_strided(all, 1, (const int64_t[]){1}, all->stride, 3);
                expect_same_bits(third, one);
                expect_same_bits(all, ct_raw_reduce((ct_reduce_op)op, restride(x, 1), 2, false));
                expect_same_bits(all, ct_raw_reduce((ct_reduce_op)op, restride(x, 2), 2, false));
                ct_scope_close(context, scope);
            }
    /* The middle axis: columns within each batch entry. */
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(4, 700, 40), 0, 1, &random);
    ct_tensor *all = ct_raw_reduce(CT_REDUCE_SUM_OP, x, 2, false);
    ct_tensor *entry = ct_view_strided(x, 3, (const int64_t[]){1, 700, 40}, x->stride, 2 * 700 * 40);
    ct_tensor *one = ct_raw_reduce(CT_REDUCE_SUM_OP, entry, 2, false);
    expect_same_bits(ct_view_strided(all, 1, (const int64_t[]){40}, (const int64_t[]){1}, 80), one);
    expect_same_bits(all, ct_raw_reduce(CT_REDUCE_SUM_OP, restride(x, 1), 2, false));
}

static void test_special_values(void **state) {
    ct_context *context = *state;
    ct_tensor *x = ct_from_data(
        context, CT_F32, CT_DIMS(4, 3),
        (const float[]){1, NAN, 2, -INFINITY, -INFINITY, -INFINITY, 1, INFINITY, 3, NAN, INFINITY, 0});
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_MAX_OP, x, 2, false), 0, {4}, {NAN, -INFINITY, INFINITY, NAN});
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_MIN_OP, x, 2, false), 0, {4}, {NAN, -INFINITY, 1, NAN});
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, x, 2, false), 0, {4},
                  {NAN, -INFINITY, INFINITY, NAN});
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_MAX_OP, x, 1, false), 0, {3}, {NAN, NAN, 3});
    /* logsumexp does not overflow: log(2 e^1000) = 1000 + log 2 */
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, ct_full(context, CT_F64, CT_DIMS(2), 1000), 1, true),
                  1e-15, {1}, {1000.6931471805599});
    ct_tensor *none = ct_zeros(context, CT_F32, CT_DIMS(2, 0));
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_SUM_OP, none, 2, false), 0, {2}, {0, 0});
    EXPECT_VALUES(ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, none, 2, false), 0, {2}, {-INFINITY, -INFINITY});
    assert_int_equal(ct_raw_reduce(CT_REDUCE_MAX_OP, none, 1, false)->count, 0);
    ct_raw_reduce(CT_REDUCE_MAX_OP, none, 2, false);
    expect_error(context, CT_ERROR_SHAPE, "max: f32[2, 0] has no elements along the reduced axes");
    ct_raw_reduce(CT_REDUCE_SUM_OP, none, 4, false);
    expect_error(context, CT_ERROR_SHAPE, "sum: the axes (bits 0x4)");
    ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, ct_zeros(context, CT_I32, CT_DIMS(2)), 1, false);
    expect_error(context, CT_ERROR_TYPE, "logsumexp: a floating-point tensor is expected, found i32");
    ct_tensor *large = ct_full(context, CT_U8, CT_DIMS(100000), 255);
    assert_true(element(ct_raw_reduce(CT_REDUCE_SUM_OP, large, 1, false), 0) == 25500000);
    /* 2^24 ones in f32: a plain running sum would stop at 2^24 */
    ct_tensor *ones = ct_full(context, CT_F32, CT_DIMS(((int64_t)1 << 24) + 8), 1);
    assert_true(element(ct_raw_reduce(CT_REDUCE_SUM_OP, ones, 1, false), 0) == 16777224);
}

static void test_sum_to(void **state) {
    ct_context *context = *state;
    ct_tensor *x = ct_arange(context, CT_F32, 24, 0, 1);
    x = ct_view_strided(x, 3, (const int64_t[]){2, 3, 4}, (const int64_t[]){12, 4, 1}, 0);
    assert_ptr_equal(ct_raw_sum_to(x, 3, x->shape), x);
    EXPECT_VALUES(ct_raw_sum_to(x, 1, (const int64_t[]){4}), 0, {4}, {60, 66, 72, 78});
    EXPECT_VALUES(ct_raw_sum_to(x, 2, (const int64_t[]){3, 1}), 0, {3 COMMA 1}, {60, 92, 124});
    EXPECT_VALUES(ct_raw_sum_to(x, 3, (const int64_t[]){2, 1, 1}), 0, {2 COMMA 1 COMMA 1}, {66, 210});
    expect_values(ct_raw_sum_to(x, 0, NULL), 0, NULL, (const double[]){276}, 0);
    ct_tensor *whole = ct_raw_sum_to(ct_full(context, CT_I32, CT_DIMS(3, 2), 4), 1, (const int64_t[]){2});
    assert_int_equal(whole->dtype, CT_I32);
    EXPECT_VALUES(whole, 0, {2}, {12, 12});
    ct_raw_sum_to(x, 2, (const int64_t[]){2, 4});
    expect_error(context, CT_ERROR_SHAPE, "sum_to: f32[2, 4] does not broadcast to f32[2, 3, 4]");
}

/* ----------------------------------------------------------------------------------------- argmax, cumsum */

static void test_argmax(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++)
        for (int axis = -3; axis < 3; axis++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++)
                for (int minimum = 0; minimum < 2; minimum++) {
                    ct_scope scope = ct_scope_open(context);
                    int64_t shape[3] = {3, 1100, 5};
                    ct_tensor *x = sample(context, (ct_dtype)type, 3, shape, 6);
                    int along = axis < 0 ? axis + 3 : axis;
                    int64_t inner = 1, length = shape[along];
                    for (int i = along + 1; i < 3; i++)
                        inner *= shape[i];
                    double *values = elements(x), *expected = malloc((size_t)(x->count) * sizeof(double));
                    for (int64_t row = 0; row < x->count / length; row++) {
                        int64_t first = row / inner * length * inner + row % inner, best = 0;
                        for (int64_t i = 1; i < length; i++) {
                            double a = values[first + i * inner], b = values[first + best * inner];
                            if (minimum ? a < b : a > b) best = i;
                        }
                        expected[row] = (double)best;
                    }
                    shape[along] = 1;
                    ct_tensor *y = ct_raw_argmax(restride(x, kind), axis, true, minimum);
                    assert_int_equal(y->dtype, CT_I64);
                    expect_values(y, 3, shape, expected, 0);
                    assert_int_equal(ct_raw_argmax(x, axis, false, minimum)->ndim, 2);
                    free(values);
                    free(expected);
                    ct_scope_close(context, scope);
                }
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(5), (const float[]){1, NAN, 7, NAN, 0});
    assert_true(element(ct_raw_argmax(x, 0, false, false), 0) == 1);
    assert_true(element(ct_raw_argmax(x, 0, false, true), 0) == 1);
    ct_raw_argmax(ct_zeros(context, CT_F32, CT_DIMS(2, 0)), 1, false, false);
    expect_error(context, CT_ERROR_SHAPE, "argmax: axis 1 has no elements");
    ct_raw_argmax(x, 1, false, true);
    expect_error(context, CT_ERROR_SHAPE, "argmin: axis 1 does not exist in f32[5]");
}

static void test_cumsum(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++)
        for (int axis = 0; axis < 3; axis++)
            for (int reverse = 0; reverse < 2; reverse++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s, axis %d, reverse %d", ct_dtype_name((ct_dtype)type), axis, reverse);
                const int64_t shape[3] = {3, 1300, 2};
                ct_tensor *x = sample(context, (ct_dtype)type, 3, shape, 6);
                double *expected = elements(x);
                int64_t inner = axis == 0 ? 2600 : axis == 1 ? 2 : 1, length = shape[axis];
                for (int64_t i = 0; i < x->count; i++) {
                    int64_t at = reverse ? x->count - 1 - i : i, place = at / inner % length;
                    if (place != (reverse ? length - 1 : 0))
                        expected[at] += expected[reverse ? at + inner : at - inner];
                }
                ct_tensor *y = ct_raw_cumsum(restride(x, axis + 1), axis, reverse);
                bool real = ct_dtype_is_float((ct_dtype)type);
                assert_int_equal(y->dtype, real ? type : CT_I64);
                expect_values(y, 3, shape, expected, tolerance_of((ct_dtype)type) / 2);
                free(expected);
                ct_scope_close(context, scope);
            }
    ct_raw_cumsum(ct_scalar(context, CT_F32, 1), 0, false);
    expect_error(context, CT_ERROR_SHAPE, "cumsum: axis 0 does not exist");
}

/* ----------------------------------------------------------------------------------------- common demands */

static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *x = ct_empty(context, CT_U8, CT_DIMS(100000, 3, 100000));
    ct_tensor *y = ct_raw_reduce(CT_REDUCE_SUM_OP, x, 5, true);
    assert_true(y->dtype == CT_I64 && y->ndim == 3 && y->count == 3 && ct_device_of(y) == CT_META);
    assert_true(ct_raw_argmax(x, 0, false, false)->count == 300000);
    assert_true(ct_raw_cumsum(x, 0, false)->count == x->count);
    assert_true(ct_raw_sum_to(x, 1, (const int64_t[]){1})->count == 1);
    expect_fine(context);
}

static ct_tensor *make_reductions(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(37, 400, 60), 0, 1, &random);
    ct_tensor *total = ct_zeros(context, CT_F32, CT_DIMS(1));
    for (int op = 0; op <= CT_REDUCE_LOGSUMEXP_OP; op++)
        for (unsigned axes = 1; axes < 8; axes++) {
            ct_tensor *y = ct_raw_reduce((ct_reduce_op)op, x, axes, true);
            total = ct_raw_binary(CT_ADD, total, ct_raw_unary(CT_SIN, y, 0, 0));
            total = ct_raw_binary(CT_ADD, total,
                                  ct_raw_reduce((ct_reduce_op)op, ct_raw_cast(x, CT_BF16), axes, true));
        }
    return ct_raw_cumsum(total, 1, false);
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_reductions);
}
static ct_tensor *make_few(ct_context *context) {
    ct_tensor *x = ct_full(context, CT_BF16, CT_DIMS(300, 2, 3), 0.5);
    ct_tensor *y = ct_raw_reduce(CT_REDUCE_SUM_OP, x, 5, true);
    ct_raw_argmax(x, 1, false, false);
    ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, ct_raw_cumsum(x, 0, true), 1, true);
    ct_raw_reduce(CT_REDUCE_SUM_OP, ct_zeros(context, CT_F32, CT_DIMS(70000)), 1, false);
    return ct_raw_sum_to(y, 1, (const int64_t[]){1});
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows_stand_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_special_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sum_to, setup, teardown),
        cmocka_unit_test_setup_teardown(test_argmax, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cumsum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
