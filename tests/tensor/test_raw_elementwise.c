/* test_raw_elementwise.c - unary and binary functions and selection: worked numbers, plain loops in f64, odd
 * strides, all types, threads, meta, bad input, failing allocations. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

/* -------------------------------------------------------------------------------------------------- unary */

static double gelu(double x) {
    return 0.5 * x * erfc(-x * M_SQRT1_2);
}
static double reference(ct_unary_op op, double x, double p, double q) {
    switch (op) {
    case CT_NEG:
        return -x;
    case CT_ABS:
        return fabs(x);
    case CT_EXP:
        return exp(x);
    case CT_LOG:
        return log(x);
    case CT_LOG1P:
        return log1p(x);
    case CT_EXPM1:
        return expm1(x);
    case CT_TANH:
        return tanh(x);
    case CT_SIGMOID:
        return 1 / (1 + exp(-x));
    case CT_RELU:
        return x > 0 ? x : 0;
    case CT_LEAKY_RELU:
        return x > 0 ? x : p * x;
    case CT_GELU_ERF:
        return gelu(x);
    case CT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case CT_SILU:
        return x / (1 + exp(-x));
    case CT_SOFTPLUS:
        return log1p(exp(x));
    case CT_SIN:
        return sin(x);
    case CT_COS:
        return cos(x);
    case CT_ERF:
        return erf(x);
    case CT_SQRT:
        return sqrt(x);
    case CT_RSQRT:
        return 1 / sqrt(x);
    case CT_RECIPROCAL:
        return 1 / x;
    case CT_SQUARE:
        return x * x;
    case CT_SIGN:
        return (x > 0) - (x < 0);
    case CT_FLOOR:
        return floor(x);
    case CT_CEIL:
        return ceil(x);
    case CT_ROUND:
        return nearbyint(x);
    case CT_CLAMP:
        return fmin(fmax(x, p), q);
    case CT_ADD_SCALAR:
        return x + p;
    case CT_MUL_SCALAR:
        return x * p;
    case CT_POW_SCALAR:
        return pow(x, p);
    default:
        fail_msg("no reference");
        return 0;
    }
}

static double tolerance_of(ct_dtype dtype) {
    return dtype == CT_F64    ? 1e-13
           : dtype == CT_F32  ? 1e-6
           : dtype == CT_F16  ? 1e-3
           : dtype == CT_BF16 ? 8e-3
                              : 0;
}

static void test_unary_against_loops(void **state) {
    ct_context *context = *state;
    static const ct_dtype types[] = {CT_F32, CT_F64, CT_BF16, CT_F16};
    for (int op = 0; op < CT_UNARY_OPS; op++)
        for (int type = 0; type < COUNT(types); type++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                ct_scope scope = ct_scope_open(context);
                ct_tensor *x = restride(sample(context, types[type], CT_DIMS(5, 7, 3), 7), kind);
                CHECKING("unary %d of %s, strides %d", op, ct_dtype_name(types[type]), kind);
                double p = op == CT_POW_SCALAR ? 3 : 0.25, q = 2.5;
                ct_tensor *y = ct_raw_unary((ct_unary_op)op, x, p, q);
                double *in = elements(x), *expected = elements(x);
                for (int64_t i = 0; i < x->count; i++)
                    expected[i] = reference((ct_unary_op)op, in[i], p, q);
                assert_int_equal(y->dtype, types[type]);
                expect_values(y, 3, x->shape, expected, tolerance_of(types[type]));
                free(in);
                free(expected);
                ct_scope_close(context, scope);
            }
}

static void test_unary_worked(void **state) {
    ct_context *context = *state;
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(4), (const float[]){-1, 0, 0.5f, 2});
    EXPECT_VALUES(ct_raw_unary(CT_GELU_ERF, x, 0, 0), 1e-6, {4},
                  {-0.15865525393, 0, 0.34573123064, 1.95449973610}); /* x Phi(x), tables of Phi */
    EXPECT_VALUES(ct_raw_unary(CT_ROUND, ct_raw_unary(CT_MUL_SCALAR, x, 5, 0), 0, 0), 0, {4}, {-5, 0, 2, 10});
    float zero = -0.0f;
    ct_tensor *negative_zero = ct_from_data(context, CT_F32, 0, NULL, &zero);
    assert_true(signbit(element(ct_raw_unary(CT_MUL_SCALAR, negative_zero, 3, 0), 0)));
    EXPECT_VALUES(ct_raw_unary(CT_POW_SCALAR, x, -1, 0), 0, {4}, {-1, INFINITY, 2, 0.5});
    EXPECT_VALUES(ct_raw_unary(CT_RELU, ct_full(context, CT_F32, CT_DIMS(1), NAN), 0, 0), 0, {1}, {NAN});
}

static void test_unary_integers(void **state) {
    ct_context *context = *state;
    const int8_t small[] = {-128, -3, 0, 5, 127};
    ct_tensor *x = ct_from_data(context, CT_I8, CT_DIMS(5), small);
    EXPECT_VALUES(ct_raw_unary(CT_NEG, x, 0, 0), 0, {5}, {-128, 3, 0, -5, -127}); /* wraps */
    EXPECT_VALUES(ct_raw_unary(CT_ABS, x, 0, 0), 0, {5}, {-128, 3, 0, 5, 127});
    EXPECT_VALUES(ct_raw_unary(CT_SQUARE, x, 0, 0), 0, {5}, {0, 9, 0, 25, 1});
    EXPECT_VALUES(ct_raw_unary(CT_SIGN, x, 0, 0), 0, {5}, {-1, -1, 0, 1, 1});
    EXPECT_VALUES(ct_raw_unary(CT_RELU, x, 0, 0), 0, {5}, {0, 0, 0, 5, 127});
    EXPECT_VALUES(ct_raw_unary(CT_FLOOR, x, 0, 0), 0, {5}, {-128, -3, 0, 5, 127});
    EXPECT_VALUES(ct_raw_unary(CT_CLAMP, x, -2.5, 100.5), 0, {5}, {-2, -2, 0, 5, 100});
    EXPECT_VALUES(ct_raw_unary(CT_CLAMP, x, -INFINITY, 3), 0, {5}, {-128, -3, 0, 3, 3});
    EXPECT_VALUES(ct_raw_unary(CT_ADD_SCALAR, x, 1, 0), 0, {5}, {-127, -2, 1, 6, -128});
    const int64_t large[] = {INT64_MAX, INT64_MIN};
    ct_tensor *wide = ct_raw_unary(CT_ADD_SCALAR, ct_from_data(context, CT_I64, CT_DIMS(2), large), 1, 0);
    expect_fine(context);
    assert_true(((const int64_t *)ct_data(wide))[0] == INT64_MIN);
    assert_true(((const int64_t *)ct_data(wide))[1] == INT64_MIN + 1);
    ct_raw_unary(CT_EXP, x, 0, 0);
    expect_error(context, CT_ERROR_TYPE, "exp: a floating-point tensor is expected, found i8");
    ct_raw_unary(CT_MUL_SCALAR, x, 0.5, 0);
    expect_error(context, CT_ERROR_TYPE, "mul_scalar: 0.5 is not a value for an integer tensor");
}

/* ------------------------------------------------------------------------------------------------- binary */

static double binary_reference(ct_binary_op op, double a, double b) {
    switch (op) {
    case CT_ADD:
        return a + b;
    case CT_SUB:
        return a - b;
    case CT_MUL:
        return a * b;
    case CT_DIV:
        return a / b;
    case CT_POW:
        return pow(a, b);
    case CT_MINIMUM:
        return a < b ? a : b;
    case CT_MAXIMUM:
        return a > b ? a : b;
    case CT_EQUAL:
        return a == b;
    case CT_NOT_EQUAL:
        return a != b;
    case CT_LESS:
        return a < b;
    case CT_LESS_EQUAL:
        return a <= b;
    case CT_GREATER:
        return a > b;
    case CT_GREATER_EQUAL:
        return a >= b;
    case CT_RELU_BACKWARD:
        return b > 0 ? a : 0;
    case CT_GELU_ERF_BACKWARD:
        return a * (0.5 * erfc(-b * M_SQRT1_2) + b * exp(-b * b / 2) / sqrt(2 * M_PI));
    case CT_GELU_TANH_BACKWARD: {
        double c = sqrt(2 / M_PI), t = tanh(c * (b + 0.044715 * b * b * b));
        return a * (0.5 * (1 + t) + 0.5 * b * (1 - t * t) * c * (1 + 3 * 0.044715 * b * b));
    }
    case CT_SILU_BACKWARD: {
        double s = 1 / (1 + exp(-b));
        return a * s * (1 + b * (1 - s));
    }
    case CT_TANH_BACKWARD:
        return a * (1 - b * b);
    case CT_SIGMOID_BACKWARD:
        return a * b * (1 - b);
    default:
        fail_msg("no reference");
        return 0;
    }
}

/* Value of `t`, of which `values` are the elements, at a position of a result of the given shape. */
static double broadcast_value(const ct_tensor *t, const double *values, int ndim, const int64_t *shape,
                              int64_t position) {
    int64_t at = 0, step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        int own = i - (ndim - t->ndim);
        int64_t coordinate = position % shape[i];
        position /= shape[i];
        if (own < 0) continue;
        if (t->shape[own] != 1) at += coordinate * step;
        step *= t->shape[own];
    }
    return values[at];
}

static void check_binary(ct_binary_op op, ct_tensor *a, ct_tensor *b, double tolerance) {
    ct_tensor *y = ct_raw_binary(op, a, b);
    expect_fine(a->context);
    double *left = elements(a), *right = elements(b),
           *expected = malloc((size_t)(y->count + 1) * sizeof(double));
    for (int64_t i = 0; i < y->count; i++)
        expected[i] = binary_reference(op, broadcast_value(a, left, y->ndim, y->shape, i),
                                       broadcast_value(b, right, y->ndim, y->shape, i));
    expect_values(y, y->ndim, y->shape, expected, tolerance);
    free(left);
    free(right);
    free(expected);
}

static const struct {
    int a_ndim, b_ndim;
    int64_t a[4], b[4];
} broadcasts[] = {
    {3, 3, {4, 5, 6}, {4, 5, 6}}, {2, 1, {70, 130}, {130}},        {2, 2, {9, 130}, {9, 1}},
    {2, 2, {3, 5}, {1, 5}},       {3, 0, {2, 3, 4}, {0}},          {0, 2, {0}, {3, 3}},
    {1, 2, {7}, {5, 1}},          {4, 3, {2, 3, 4, 5}, {3, 1, 5}}, {2, 2, {1, 1}, {1, 1}},
    {2, 2, {0, 3}, {1, 3}},       {2, 2, {1, 200}, {30, 1}},
};

static void test_binary_against_loops(void **state) {
    ct_context *context = *state;
    static const ct_dtype types[] = {CT_F32, CT_F64, CT_BF16, CT_F16};
    for (int op = 0; op < CT_BINARY_OPS; op++)
        for (int shape = 0; shape < COUNT(broadcasts); shape++)
            for (int type = 0; type < COUNT(types); type++)
                for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                    ct_scope scope = ct_scope_open(context);
                    ct_tensor *a =
                        sample(context, types[type], broadcasts[shape].a_ndim, broadcasts[shape].a, 3);
                    ct_tensor *b =
                        sample(context, types[type], broadcasts[shape].b_ndim, broadcasts[shape].b, 4);
                    CHECKING("binary %d of %s, shapes %d, strides %d", op, ct_dtype_name(types[type]), shape,
                             kind);
                    if (op == CT_POW) a = ct_raw_unary(CT_ABS, a, 0, 0);
                    check_binary((ct_binary_op)op, restride(a, kind),
                                 restride(b, (kind + shape) % RESTRIDE_KINDS), tolerance_of(types[type]));
                    ct_scope_close(context, scope);
                }
}

static void test_binary_integers(void **state) {
    ct_context *context = *state;
    static const ct_dtype types[] = {CT_I64, CT_I32, CT_U8, CT_I8};
    static const ct_binary_op ops[] = {CT_MINIMUM, CT_MAXIMUM,    CT_EQUAL,   CT_NOT_EQUAL,
                                       CT_LESS,    CT_LESS_EQUAL, CT_GREATER, CT_GREATER_EQUAL};
    for (int op = 0; op < COUNT(ops); op++)
        for (int type = 0; type < COUNT(types); type++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                ct_tensor *a = sample(context, types[type], CT_DIMS(6, 90), 5);
                ct_tensor *b = sample(context, types[(type + op) % 4], CT_DIMS(6, 90), 6);
                check_binary(ops[op], restride(a, kind), restride(b, (kind + 1) % 4), 0);
            }
    ct_tensor *a = ct_from_data(context, CT_U8, CT_DIMS(3), (const uint8_t[]){200, 3, 0});
    ct_tensor *b = ct_from_data(context, CT_U8, CT_DIMS(3), (const uint8_t[]){100, 5, 1});
    EXPECT_VALUES(ct_raw_binary(CT_ADD, a, b), 0, {3}, {44, 8, 1}); /* modulo 256 */
    EXPECT_VALUES(ct_raw_binary(CT_SUB, a, b), 0, {3}, {100, 254, 255});
    EXPECT_VALUES(ct_raw_binary(CT_MUL, a, b), 0, {3}, {32, 15, 0}); /* 20000 = 78 * 256 + 32 */
    ct_tensor *sum = ct_raw_binary(CT_ADD, a, ct_full(context, CT_I32, CT_DIMS(1), 100000));
    assert_int_equal(sum->dtype, CT_I32);
    EXPECT_VALUES(sum, 0, {3}, {100200, 100003, 100000});
    ct_raw_binary(CT_DIV, a, b);
    expect_error(context, CT_ERROR_TYPE, "div: floating-point tensors are expected, found u8 and u8");
}

static void test_binary_types(void **state) {
    ct_context *context = *state;
    ct_tensor *whole = ct_from_data(context, CT_I32, CT_DIMS(2), (const int32_t[]){3, -4});
    ct_tensor *half = ct_full(context, CT_BF16, 0, NULL, 0.5);
    ct_tensor *single = ct_full(context, CT_F32, CT_DIMS(2), 1.25);
    ct_tensor *wide = ct_full(context, CT_F64, CT_DIMS(2, 1), 1e-9);
    ct_tensor *y = ct_raw_binary(CT_MUL, whole, half);
    assert_int_equal(y->dtype, CT_BF16);
    EXPECT_VALUES(y, 0, {2}, {1.5, -2});
    y = ct_raw_binary(CT_ADD, single, half);
    assert_int_equal(y->dtype, CT_F32);
    EXPECT_VALUES(y, 0, {2}, {1.75, 1.75});
    y = ct_raw_binary(CT_ADD, single, wide);
    assert_int_equal(y->dtype, CT_F64);
    EXPECT_VALUES(y, 1e-16, {2 COMMA 2}, {1.250000001, 1.250000001, 1.250000001, 1.250000001});
    y = ct_raw_binary(CT_ADD, half, ct_full(context, CT_F16, 0, NULL, 0.25));
    assert_int_equal(y->dtype, CT_F32);
    /* bf16: 256 + 1 in f32 is 257, a tie between 256 and 258: to even. */
    y = ct_raw_binary(CT_ADD, ct_full(context, CT_BF16, 0, NULL, 256), ct_full(context, CT_BF16, 0, NULL, 1));
    assert_true(element(y, 0) == 256);
}

static void test_where(void **state) {
    ct_context *context = *state;
    ct_tensor *mask = ct_from_data(context, CT_U8, CT_DIMS(2, 1), (const uint8_t[]){0, 7});
    ct_tensor *a = ct_arange(context, CT_F32, 3, 1, 1), *b = ct_full(context, CT_F64, 0, NULL, -1);
    ct_tensor *y = ct_raw_where(mask, a, b);
    assert_int_equal(y->dtype, CT_F64);
    EXPECT_VALUES(y, 0, {2 COMMA 3}, {-1, -1, -1, 1, 2, 3});
    for (int type = 0; type < CT_DTYPES; type++)
        for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
            ct_tensor *p = sample(context, (ct_dtype)type, CT_DIMS(9, 150), 1);
            ct_tensor *q = sample(context, (ct_dtype)type, CT_DIMS(150), 2);
            ct_tensor *m = ct_raw_binary(CT_LESS, p, q);
            ct_tensor *z = ct_raw_where(restride(m, kind), restride(p, (kind + 2) % 4), q);
            ct_tensor *least = ct_raw_binary(CT_MINIMUM, p, q);
            double *expected = elements(least);
            assert_int_equal(z->dtype, type);
            expect_values(z, 2, p->shape, expected, 0);
            free(expected);
        }
    ct_raw_where(a, a, b);
    expect_error(context, CT_ERROR_TYPE, "where: the mask is f32, expected u8");
}

/* ----------------------------------------------------------------------------------------- common demands */

static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *a = ct_empty(context, CT_F32, CT_DIMS(1000, 1, 4)),
              *b = ct_empty(context, CT_BF16, CT_DIMS(5, 1));
    ct_tensor *y = ct_raw_binary(CT_LESS, a, b);
    assert_int_equal(ct_device_of(y), CT_META);
    assert_int_equal(y->dtype, CT_U8);
    assert_true(y->ndim == 3 && y->shape[0] == 1000 && y->shape[1] == 5 && y->shape[2] == 4);
    assert_null(ct_data(ct_raw_unary(CT_EXP, a, 0, 0)));
    assert_int_equal(ct_raw_where(y, a, b)->dtype, CT_F32);
    expect_fine(context);
    ct_context_set_device(context, CT_CPU);
    ct_raw_binary(CT_ADD, a, ct_zeros(context, CT_F32, CT_DIMS(4)));
    expect_error(context, CT_ERROR_ARGUMENT, "add: operand 1 is on another device");
}

static void nothing(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, float *out,
                    int64_t pitch) {
    (void)user, (void)row, (void)column, (void)rows, (void)columns, (void)out, (void)pitch;
}

static void test_bad_input(void **state) {
    ct_context *context = *state;
    ct_tensor *a = ct_zeros(context, CT_F32, CT_DIMS(2, 3)), *b = ct_zeros(context, CT_F32, CT_DIMS(2));
    ct_tensor *bad = ct_raw_binary(CT_ADD, a, b);
    expect_error(context, CT_ERROR_SHAPE, "add: f32[2, 3] and f32[2] do not fit");
    ct_raw_unary(CT_EXP, bad, 0, 0); /* an inert tensor after the error is cleared */
    expect_error(context, CT_ERROR_STATE, "exp: operand 0 holds no data");
    ct_raw_unary(CT_EXP, ct_from_tiles(context, 4, 4, nothing, NULL, NULL), 0, 0);
    expect_error(context, CT_ERROR_UNSUPPORTED, "exp: operand 0 is a generated weight");
    ct_fail(context, CT_ERROR_IO, "earlier");
    ct_tensor *after = ct_raw_binary(CT_EQUAL, a, a);
    assert_true(after->storage == NULL && after->dtype == CT_U8);
    expect_error(context, CT_ERROR_IO, "earlier");
}

static ct_tensor *make_many(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(300, 517), 0, 1, &random);
    ct_tensor *bias = ct_random_normal_tensor(context, CT_BF16, CT_DIMS(517), 0, 1, &random);
    ct_tensor *y = ct_raw_unary(CT_GELU_ERF, ct_raw_binary(CT_ADD, x, bias), 0, 0);
    ct_tensor *turned = ct_view_strided(y, 2, (const int64_t[]){517, 300}, (const int64_t[]){1, 517}, 0);
    ct_tensor *z = ct_raw_binary(CT_SILU_BACKWARD, turned, ct_raw_unary(CT_SIN, turned, 0, 0));
    return ct_raw_where(ct_raw_binary(CT_LESS, z, turned), z, ct_raw_unary(CT_MUL_SCALAR, turned, 3, 0));
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_many);
}

static ct_tensor *make_few(ct_context *context) {
    ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(3, 4), 0.5);
    ct_tensor *y =
        ct_raw_binary(CT_ADD, ct_raw_unary(CT_EXP, x, 0, 0), ct_full(context, CT_F64, CT_DIMS(4), 1));
    return ct_raw_where(ct_raw_binary(CT_LESS, x, y), x, y);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}

/* Large operands that stride across memory are transposed first; on meta the copies are counted alike. */
static ct_tensor *across(ct_context *context) {
    ct_random random = ct_random_make(4, 4);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(210, 130), 0, 1, &random);
    return ct_view_strided(x, 2, (const int64_t[]){130, 210}, (const int64_t[]){1, 130}, 0);
}
static size_t peak_of(ct_context *context) {
    ct_tensor *x = across(context);
    ct_memory_counts counts;
    ct_memory_reset_peak(context);
    ct_raw_binary(CT_ADD, ct_raw_unary(CT_SQUARE, x, 0, 0), x);
    ct_memory_read(context, &counts);
    expect_fine(context);
    return counts.peak_total;
}
static void test_across(void **state) {
    ct_context *context = *state;
    ct_tensor *x = across(context), *y = ct_raw_binary(CT_ADD, ct_raw_unary(CT_SQUARE, x, 0, 0), x);
    double *in = elements(x);
    for (int64_t i = 0; i < x->count; i++)
        in[i] += (double)((float)in[i] * (float)in[i]);
    expect_values(y, 2, x->shape, in, 1e-6);
    free(in);
    ct_context *real = ct_context_create(1), *planned = ct_context_create(1);
    ct_context_set_device(planned, CT_META);
    assert_int_equal(peak_of(real), peak_of(planned));
    ct_context_destroy(real);
    ct_context_destroy(planned);
}

/* One operand repeated for every row, in several pieces of work. */
static void test_many_rows(void **state) {
    ct_context *context = *state;
    static const int64_t widths[] = {1, 2, 63, 64, 100, 256, 257, 1024, 40000};
    for (int w = 0; w < COUNT(widths); w++)
        for (int type = CT_F32; type <= CT_F64; type++) {
            ct_scope scope = ct_scope_open(context);
            int64_t rows = 100000 / widths[w] + 3;
            CHECKING("width %lld", (long long)widths[w]);
            ct_tensor *x = sample(context, (ct_dtype)type, CT_DIMS(rows, widths[w]), 1);
            ct_tensor *row = sample(context, (ct_dtype)type, CT_DIMS(widths[w]), 2);
            ct_tensor *column = sample(context, (ct_dtype)type, CT_DIMS(rows, 1), 3);
            check_binary(CT_SUB, x, row, 0);
            check_binary(CT_SUB, row, x, 0);
            check_binary(CT_SUB, x, column, 0);
            check_binary(CT_LESS, column, x, 0);
            check_binary(CT_LESS, x, row, 0);
            ct_scope_close(context, scope);
        }
}

/* Results larger than the caches take another way of storing. */
static void test_large(void **state) {
    ct_context *context = *state;
    int64_t n = ((int64_t)9 << 20) + 5;
    ct_tensor *x = ct_arange(context, CT_F32, n, 0, 1);
    ct_tensor *y =
        ct_raw_binary(CT_SUB, ct_raw_unary(CT_MUL_SCALAR, x, 0.5, 0), ct_scalar(context, CT_F32, 3));
    expect_fine(context);
    const float *values = ct_data(y);
    for (int64_t i = 0; i < n; i++)
        if (values[i] != (float)i * 0.5f - 3) fail_msg("element %lld is %g", (long long)i, (double)values[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unary_against_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unary_worked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unary_integers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binary_against_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binary_integers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binary_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_input, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
        cmocka_unit_test_setup_teardown(test_across, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
