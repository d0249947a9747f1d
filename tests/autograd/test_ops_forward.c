/* test_ops_forward.c - results of the operations against numbers worked out by hand (or by the definition, in
 * a plain loop). */
#include "operands.h"

#define U8(dims, ...) ct_from_data(context, CT_U8, dims, (const uint8_t[]){__VA_ARGS__})

static void expect_(ct_tensor *t, int ndim, const int64_t *shape, const double *values, int line) {
    double found[128];
    if (ct_failed(context)) fail_msg("line %d: %s", line, ct_context_message(context));
    if (ct_ndim(t) != ndim) fail_msg("line %d: %d axes, expected %d", line, ct_ndim(t), ndim);
    for (int i = 0; i < ndim; i++)
        if (ct_shape(t)[i] != shape[i]) fail_msg("line %d: axis %d is %ld", line, i, (long)ct_shape(t)[i]);
    assert_int_equal(ct_read(t, CT_F64, found), CT_OK);
    for (int64_t i = 0; i < ct_count(t); i++) {
        bool same = found[i] == values[i] || (isnan(found[i]) && isnan(values[i]));
        if (!same && !(fabs(found[i] - values[i]) <= 1e-12 * fmax(1, fabs(values[i]))))
            fail_msg("line %d: element %ld is %.17g, expected %.17g", line, (long)i, found[i], values[i]);
    }
}
#define EXPECT(t, dims, ...) expect_(t, dims, (const double[]){__VA_ARGS__}, __LINE__)
#define SCALAR 0, NULL

static void test_binary(void **state) {
    (void)state;
    ct_tensor *a = F64(CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6), *row = F64(CT_DIMS(3), 2, 4, 3);
    ct_tensor *column = F64(CT_DIMS(2, 1), 10, 20);
    EXPECT(ct_add(a, row), CT_DIMS(2, 3), 3, 6, 6, 6, 9, 9);
    EXPECT(ct_sub(row, a), CT_DIMS(2, 3), 1, 2, 0, -2, -1, -3);
    EXPECT(ct_mul(column, row), CT_DIMS(2, 3), 20, 40, 30, 40, 80, 60);
    EXPECT(ct_div(a, row), CT_DIMS(2, 3), 0.5, 0.5, 1, 2, 1.25, 2);
    EXPECT(ct_pow(a, row), CT_DIMS(2, 3), 1, 16, 27, 16, 625, 216);
    EXPECT(ct_minimum(a, row), CT_DIMS(2, 3), 1, 2, 3, 2, 4, 3);
    EXPECT(ct_maximum(a, row), CT_DIMS(2, 3), 2, 4, 3, 4, 5, 6);
    EXPECT(ct_equal(a, row), CT_DIMS(2, 3), 0, 0, 1, 0, 0, 0);
    EXPECT(ct_not_equal(a, row), CT_DIMS(2, 3), 1, 1, 0, 1, 1, 1);
    EXPECT(ct_less(a, row), CT_DIMS(2, 3), 1, 1, 0, 0, 0, 0);
    EXPECT(ct_less_equal(a, row), CT_DIMS(2, 3), 1, 1, 1, 0, 0, 0);
    EXPECT(ct_greater(a, row), CT_DIMS(2, 3), 0, 0, 0, 1, 1, 1);
    EXPECT(ct_greater_equal(a, row), CT_DIMS(2, 3), 0, 0, 1, 1, 1, 1);
    assert_int_equal(ct_dtype_of(ct_less(a, row)), CT_U8);
    ct_tensor *mask = U8(CT_DIMS(2, 1), 0, 7);
    EXPECT(ct_where(mask, a, row), CT_DIMS(2, 3), 2, 4, 3, 4, 5, 6);
    EXPECT(ct_masked_fill(a, mask, -1), CT_DIMS(2, 3), 1, 2, 3, -1, -1, -1);
    ct_tensor *no = F64(CT_DIMS(0, 3), 0);
    assert_int_equal(ct_count(ct_add(no, row)), 0);
}

static void test_unary(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(4), -2, -0.5, 0, 1.5);
    EXPECT(ct_add_scalar(x, 1), CT_DIMS(4), -1, 0.5, 1, 2.5);
    EXPECT(ct_mul_scalar(x, -2), CT_DIMS(4), 4, 1, 0, -3);
    EXPECT(ct_pow_scalar(x, 2), CT_DIMS(4), 4, 0.25, 0, 2.25);
    EXPECT(ct_neg(x), CT_DIMS(4), 2, 0.5, 0, -1.5);
    EXPECT(ct_exp(x), CT_DIMS(4), exp(-2), exp(-0.5), 1, exp(1.5));
    EXPECT(ct_expm1(x), CT_DIMS(4), expm1(-2), expm1(-0.5), 0, expm1(1.5));
    EXPECT(ct_tanh(x), CT_DIMS(4), tanh(-2), tanh(-0.5), 0, tanh(1.5));
    EXPECT(ct_sigmoid(x), CT_DIMS(4), 1 / (1 + exp(2)), 1 / (1 + exp(0.5)), 0.5, 1 / (1 + exp(-1.5)));
    EXPECT(ct_relu(x), CT_DIMS(4), 0, 0, 0, 1.5);
    EXPECT(ct_leaky_relu(x, 0.1), CT_DIMS(4), -0.2, -0.05, 0, 1.5);
    EXPECT(ct_gelu(x), CT_DIMS(4), -1 * erfc(M_SQRT2), -0.25 * erfc(0.5 / M_SQRT2), 0,
           0.75 * erfc(-1.5 / M_SQRT2));
    double c = sqrt(2 / M_PI), g = 1.5;
    EXPECT(ct_gelu_tanh(F64(CT_DIMS(1), g)), CT_DIMS(1),
           0.5 * g * (1 + tanh(c * (g + 0.044715 * g * g * g))));
    EXPECT(ct_silu(x), CT_DIMS(4), -2 / (1 + exp(2)), -0.5 / (1 + exp(0.5)), 0, 1.5 / (1 + exp(-1.5)));
    EXPECT(ct_softplus(x), CT_DIMS(4), log1p(exp(-2)), log1p(exp(-0.5)), log(2), log1p(exp(1.5)));
    EXPECT(ct_softplus(F64(CT_DIMS(2), 800, -800)), CT_DIMS(2), 800, 0);
    EXPECT(ct_sin(x), CT_DIMS(4), sin(-2), sin(-0.5), 0, sin(1.5));
    EXPECT(ct_cos(x), CT_DIMS(4), cos(-2), cos(-0.5), 1, cos(1.5));
    EXPECT(ct_erf(x), CT_DIMS(4), erf(-2), erf(-0.5), 0, erf(1.5));
    EXPECT(ct_square(x), CT_DIMS(4), 4, 0.25, 0, 2.25);
    EXPECT(ct_abs(x), CT_DIMS(4), 2, 0.5, 0, 1.5);
    EXPECT(ct_sign(x), CT_DIMS(4), -1, -1, 0, 1);
    EXPECT(ct_floor(x), CT_DIMS(4), -2, -1, 0, 1);
    EXPECT(ct_round(F64(CT_DIMS(4), -1.5, 0.5, 2.5, 2.6)), CT_DIMS(4), -2, 0, 2, 3);
    EXPECT(ct_clamp(x, -1, 1), CT_DIMS(4), -1, -0.5, 0, 1);
    ct_tensor *p = F64(CT_DIMS(3), 0.25, 1, 4);
    EXPECT(ct_log(p), CT_DIMS(3), log(0.25), 0, log(4));
    EXPECT(ct_log1p(p), CT_DIMS(3), log1p(0.25), log(2), log(5));
    EXPECT(ct_sqrt(p), CT_DIMS(3), 0.5, 1, 2);
    EXPECT(ct_rsqrt(p), CT_DIMS(3), 2, 1, 0.5);
    EXPECT(ct_reciprocal(p), CT_DIMS(3), 4, 1, 0.25);
    EXPECT(ct_cast(x, CT_I32), CT_DIMS(4), -2, 0, 0, 1);
    assert_ptr_equal(ct_cast(x, CT_F64), x);
    assert_ptr_equal(ct_contiguous(x), x);
    assert_ptr_not_equal(ct_data(ct_clone(x)), ct_data(x));
    assert_ptr_equal(ct_data(ct_detach(x)), ct_data(x));
    EXPECT(ct_straight_through(ct_round(x), x), CT_DIMS(4), -2, 0, 0, 2);
}

static void test_reductions(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 1, -2, 3, 4, 5, -6);
    EXPECT(ct_sum(x, AXES(0), false), CT_DIMS(3), 5, 3, -3);
    EXPECT(ct_sum(x, AXES(-1), true), CT_DIMS(2, 1), 2, 3);
    EXPECT(ct_sum_all(x), SCALAR, 5);
    EXPECT(ct_mean(x, AXES(1), false), CT_DIMS(2), 2 / 3.0, 1);
    EXPECT(ct_mean_all(x), SCALAR, 5 / 6.0);
    EXPECT(ct_variance(x, AXES(0), false, 1), CT_DIMS(3), 4.5, 24.5, 40.5);
    EXPECT(ct_variance(x, AXES(0), true, 0), CT_DIMS(1, 3), 2.25, 12.25, 20.25);
    EXPECT(ct_norm(x, 1, AXES(1), false), CT_DIMS(2), 6, 15);
    EXPECT(ct_norm(x, 2, 0, NULL, false), SCALAR, sqrt(91));
    EXPECT(ct_norm(x, 3, AXES(0), false), CT_DIMS(3), cbrt(65), cbrt(133), cbrt(243));
    EXPECT(ct_norm(x, INFINITY, AXES(1), true), CT_DIMS(2, 1), 3, 6);
    EXPECT(ct_max(x, AXES(1), false), CT_DIMS(2), 3, 5);
    EXPECT(ct_min(x, 0, NULL, true), CT_DIMS(1, 1), -6);
    EXPECT(ct_logsumexp(F64(CT_DIMS(2, 2), 1000, 1000, 0, log(3)), AXES(1), false), CT_DIMS(2), 1000 + log(2),
           log(4));
    EXPECT(ct_argmax(x, 1, false), CT_DIMS(2), 2, 1);
    EXPECT(ct_argmin(F64(CT_DIMS(2, 3), 1, 0, 0, 2, 2, 2), -1, true), CT_DIMS(2, 1), 1, 0);
    EXPECT(ct_cumsum(x, 0), CT_DIMS(2, 3), 1, -2, 3, 5, 3, -3);
    EXPECT(ct_cumsum(x, -1), CT_DIMS(2, 3), 1, -1, 2, 4, 9, 3);
    ct_tensor *indices;
    EXPECT(ct_sort(x, 1, true, &indices), CT_DIMS(2, 3), 3, 1, -2, 5, 4, -6);
    EXPECT(indices, CT_DIMS(2, 3), 2, 0, 1, 1, 0, 2);
    EXPECT(ct_sort(x, 0, false, NULL), CT_DIMS(2, 3), 1, -2, -6, 4, 5, 3);
    EXPECT(ct_topk(x, 2, -1, true, &indices), CT_DIMS(2, 2), 3, 1, 5, 4);
    EXPECT(indices, CT_DIMS(2, 2), 2, 0, 1, 0);
    EXPECT(ct_topk(x, 1, 0, false, NULL), CT_DIMS(1, 3), 1, -2, -6);
    /* 70000 of 1 overflow f16's 65504 as a sum, not as a mean. */
    EXPECT(ct_mean_all(ct_full_on(context, CT_CPU, CT_F16, CT_DIMS(70000), 1)), SCALAR, 1);
}

static void test_views(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6), *t = ct_transpose(x, 0, 1);
    EXPECT(t, CT_DIMS(3, 2), 1, 4, 2, 5, 3, 6);
    EXPECT(ct_reshape(x, CT_DIMS(3, -1)), CT_DIMS(3, 2), 1, 2, 3, 4, 5, 6);
    EXPECT(ct_reshape(t, CT_DIMS(-1)), CT_DIMS(6), 1, 4, 2, 5, 3, 6);
    EXPECT(ct_reshape(t, CT_DIMS(3, 1, 2, 1)), CT_DIMS(3, 1, 2, 1), 1, 4, 2, 5, 3, 6);
    assert_ptr_equal(ct_data(ct_reshape(t, CT_DIMS(3, 1, 2, 1))), ct_data(x));
    assert_ptr_equal(ct_data(ct_reshape(x, CT_DIMS(6))), ct_data(x));
    assert_ptr_not_equal(ct_data(ct_reshape(t, CT_DIMS(6))), ct_data(x));
    ct_tensor *cube = ct_reshape(ct_arange(context, CT_F64, 12, 0, 1), CT_DIMS(2, 3, 2));
    EXPECT(ct_permute(cube, AXES(2, 0, -2)), CT_DIMS(2, 2, 3), 0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11);
    EXPECT(ct_expand(ct_slice(x, 0, 0, 1, 1), CT_DIMS(2, 1, 3)), CT_DIMS(2, 1, 3), 1, 2, 3, 1, 2, 3);
    EXPECT(ct_squeeze(ct_unsqueeze(x, -1), 2), CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6);
    EXPECT(ct_slice(x, 1, 0, 3, 2), CT_DIMS(2, 2), 1, 3, 4, 6);
    EXPECT(ct_slice(x, -1, -2, INT64_MAX, 1), CT_DIMS(2, 2), 2, 3, 5, 6);
    assert_int_equal(ct_count(ct_slice(x, 0, 2, 2, 1)), 0);
    EXPECT(ct_select(x, 0, -1), CT_DIMS(3), 4, 5, 6);
    EXPECT(ct_diagonal(x, 0, 0, 1), CT_DIMS(2), 1, 5);
    EXPECT(ct_diagonal(x, 1, 0, 1), CT_DIMS(2), 2, 6);
    EXPECT(ct_diagonal(x, -1, 0, 1), CT_DIMS(1), 4);
    assert_int_equal(ct_count(ct_diagonal(x, 5, 0, 1)), 0);
    EXPECT(ct_diagonal(cube, 0, 2, 0), CT_DIMS(3, 2), 0, 7, 2, 9, 4, 11);
    ct_tensor *parts[3];
    assert_int_equal(ct_split(x, 1, 3, (int64_t[]){1, 0, 2}, parts), CT_OK);
    EXPECT(parts[0], CT_DIMS(2, 1), 1, 4);
    EXPECT(parts[2], CT_DIMS(2, 2), 2, 3, 5, 6);
    assert_int_equal(ct_count(parts[1]), 0);
    assert_ptr_equal(ct_data(parts[0]), ct_data(x));
}

static void test_joining(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 2), 1, 2, 3, 4), *y = F64(CT_DIMS(2, 1), 5, 6);
    EXPECT(ct_concat((ct_tensor *const[]){x, y, x}, 3, -1), CT_DIMS(2, 5), 1, 2, 5, 1, 2, 3, 4, 6, 3, 4);
    ct_tensor *mixed = ct_concat((ct_tensor *const[]){ct_cast(x, CT_F32), y}, 2, 1);
    EXPECT(mixed, CT_DIMS(2, 3), 1, 2, 5, 3, 4, 6);
    assert_int_equal(ct_dtype_of(mixed), CT_F64);
    EXPECT(ct_stack((ct_tensor *const[]){x, ct_neg(x)}, 2, -1), CT_DIMS(2, 2, 2), 1, -1, 2, -2, 3, -3, 4, -4);
    EXPECT(ct_stack((ct_tensor *const[]){y, y}, 2, 0), CT_DIMS(2, 2, 1), 5, 6, 5, 6);
    EXPECT(ct_pad(x, (int64_t[]){0, 1}, (int64_t[]){1, -1}, 9), CT_DIMS(3, 2), 9, 1, 9, 3, 9, 9);
    EXPECT(ct_pad(x, (int64_t[]){-1, 0}, (int64_t[]){0, 0}, 9), CT_DIMS(1, 2), 3, 4);
    EXPECT(ct_flip(x, AXES(0)), CT_DIMS(2, 2), 3, 4, 1, 2);
    EXPECT(ct_flip(x, AXES(0, 1)), CT_DIMS(2, 2), 4, 3, 2, 1);
    ct_tensor *line = F64(CT_DIMS(4), 0, 1, 2, 3);
    EXPECT(ct_roll(line, 1, 0), CT_DIMS(4), 3, 0, 1, 2);
    EXPECT(ct_roll(line, -5, 0), CT_DIMS(4), 1, 2, 3, 0);
    EXPECT(ct_roll(line, 8, 0), CT_DIMS(4), 0, 1, 2, 3);
    ct_tensor *square = F64(CT_DIMS(3, 3), 1, 2, 3, 4, 5, 6, 7, 8, 9);
    EXPECT(ct_tril(square, -1), CT_DIMS(3, 3), 0, 0, 0, 4, 0, 0, 7, 8, 0);
    EXPECT(ct_triu(square, 1), CT_DIMS(3, 3), 0, 2, 3, 0, 0, 6, 0, 0, 0);
}

static void test_indexing(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(3, 2), 1, 2, 3, 4, 5, 6);
    ct_tensor *index = I64(CT_DIMS(2, 2), 2, 0, 1, 1), *values = F64(CT_DIMS(2, 2), 10, 20, 30, 40);
    EXPECT(ct_gather(x, 0, index), CT_DIMS(2, 2), 5, 2, 3, 4);
    EXPECT(ct_gather(x, 1, I64(CT_DIMS(3, 1), 1, 0, 1)), CT_DIMS(3, 1), 2, 3, 6);
    EXPECT(ct_scatter_add(x, 0, index, values), CT_DIMS(3, 2), 1, 22, 33, 44, 15, 6);
    ct_tensor *twice = I64(CT_DIMS(2, 2), 0, 2, 0, 2);
    EXPECT(ct_scatter(x, 0, twice, values), CT_DIMS(3, 2), 30, 2, 3, 4, 5, 40);
    EXPECT(ct_scatter_add(x, 0, twice, values), CT_DIMS(3, 2), 41, 2, 3, 4, 5, 66);
    ct_tensor *rows = ct_cast(I64(CT_DIMS(3), 2, 2, 0), CT_I32);
    EXPECT(ct_index_select(x, 0, rows), CT_DIMS(3, 2), 5, 6, 5, 6, 1, 2);
    EXPECT(ct_index_select(x, -1, I64(CT_DIMS(1), 1)), CT_DIMS(3, 1), 2, 4, 6);
    EXPECT(ct_index_add(x, 0, rows, x), CT_DIMS(3, 2), 6, 8, 3, 4, 9, 12);
    EXPECT(ct_embedding(x, I64(CT_DIMS(1, 2), 2, 1)), CT_DIMS(1, 2, 2), 5, 6, 3, 4);
}

static void test_products(void **state) {
    (void)state;
    ct_tensor *a = F64(CT_DIMS(2, 3), 1, 2, 3, 4, 5, 6), *b = F64(CT_DIMS(3, 2), 1, 0, -1, 2, 0.5, 1);
    EXPECT(ct_matmul(a, b), CT_DIMS(2, 2), 0.5, 7, 2, 16);
    ct_tensor *v = F64(CT_DIMS(3), 1, 1, 2), *w = F64(CT_DIMS(2), 1, -1);
    EXPECT(ct_matmul(a, v), CT_DIMS(2), 9, 21);
    EXPECT(ct_matmul(w, a), CT_DIMS(3), -3, -3, -3);
    EXPECT(ct_matmul(v, v), SCALAR, 6);
    ct_tensor *batch = ct_stack((ct_tensor *const[]){a, ct_neg(a)}, 2, 0);
    EXPECT(ct_matmul(batch, b), CT_DIMS(2, 2, 2), 0.5, 7, 2, 16, -0.5, -7, -2, -16);
    ct_tensor *bias = F64(CT_DIMS(2), 1, -10);
    EXPECT(ct_linear(a, ct_transpose(b, 0, 1), bias, false, CT_ACT_NONE), CT_DIMS(2, 2), 1.5, -3, 3, 6);
    EXPECT(ct_linear(batch, b, bias, true, CT_ACT_RELU), CT_DIMS(2, 2, 2), 1.5, 0, 3, 6, 0.5, 0, 0, 0);
    EXPECT(ct_linear(v, b, NULL, true, CT_ACT_SILU), CT_DIMS(2), 1 / (1 + exp(-1)) * 1, 4 / (1 + exp(-4)));
    EXPECT(ct_einsum("ij,jk->ki", a, b), CT_DIMS(2, 2), 0.5, 2, 7, 16);
    EXPECT(ct_einsum("i, j -> ij", w, bias), CT_DIMS(2, 2), 1, -10, -1, 10);
    EXPECT(ct_einsum("ij,ij->i", a, a), CT_DIMS(2), 14, 77);
    EXPECT(ct_einsum("ij,kl->", a, b), SCALAR, 21 * 3.5);
}

static void test_linear_algebra(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(3, 2), 3, 1, 4, 2, 0, 5), *q, *r;
    assert_int_equal(ct_qr(x, &q, &r), CT_OK);
    EXPECT(ct_matmul(q, r), CT_DIMS(3, 2), 3, 1, 4, 2, 0, 5);
    EXPECT(ct_matmul(ct_transpose(q, 0, 1), q), CT_DIMS(2, 2), 1, 0, 0, 1);
    EXPECT(ct_square(r), CT_DIMS(2, 2), 25, 4.84, 0, 25.16);
    EXPECT(ct_cholesky(F64(CT_DIMS(2, 2), 4, 2, 2, 10)), CT_DIMS(2, 2), 2, 0, 1, 3);
    ct_tensor *u, *s, *vh, *values, *vectors;
    assert_int_equal(ct_svd(F64(CT_DIMS(2, 2), 3, 0, 4, 5), &u, &s, &vh), CT_OK);
    EXPECT(s, CT_DIMS(2), sqrt(45), sqrt(5));
    EXPECT(ct_matmul(ct_mul(u, s), vh), CT_DIMS(2, 2), 3, 0, 4, 5);
    assert_int_equal(ct_eigh(F64(CT_DIMS(2, 2), 2, 1, 1, 2), &values, &vectors), CT_OK);
    EXPECT(values, CT_DIMS(2), 1, 3);
    EXPECT(ct_square(vectors), CT_DIMS(2, 2), 0.5, 0.5, 0.5, 0.5);
    ct_tensor *a = F64(CT_DIMS(2, 2), 2, 1, 0, 4), *b = F64(CT_DIMS(2, 1), 4, 8);
    EXPECT(ct_solve(a, b), CT_DIMS(2, 1), 1, 2);
    EXPECT(ct_solve(a, F64(CT_DIMS(2), 4, 8)), CT_DIMS(2), 1, 2);
    EXPECT(ct_solve_triangular(a, b, true, false), CT_DIMS(2, 1), 1, 2);
    EXPECT(ct_solve_triangular(a, b, true, true), CT_DIMS(2, 1), -4, 8);
    EXPECT(ct_solve_triangular(a, b, false, false), CT_DIMS(2, 1), 2, 2);
    /* the line through (0, 1), (1, 3), (2, 5), (3, 4): slope 1.1, intercept 1.6 */
    EXPECT(ct_least_squares(F64(CT_DIMS(4, 2), 1, 0, 1, 1, 1, 2, 1, 3), F64(CT_DIMS(4), 1, 3, 5, 4)),
           CT_DIMS(2), 1.6, 1.1);
}

static void test_losses(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(2, 3), 0, log(2), log(5), 1, 1, 1);
    EXPECT(ct_softmax(x, -1), CT_DIMS(2, 3), 0.125, 0.25, 0.625, 1 / 3.0, 1 / 3.0, 1 / 3.0);
    EXPECT(ct_softmax(ct_transpose(x, 0, 1), 0), CT_DIMS(3, 2), 0.125, 1 / 3.0, 0.25, 1 / 3.0, 0.625,
           1 / 3.0);
    EXPECT(ct_log_softmax(x, 1), CT_DIMS(2, 3), -log(8), -log(4), log(0.625), -log(3), -log(3), -log(3));
    ct_tensor *ids = I64(CT_DIMS(2), 1, 2);
    EXPECT(ct_cross_entropy(x, ids, NULL), SCALAR, (log(4) + log(3)) / 2);
    ct_cross_entropy_options o = CT_CROSS_ENTROPY_DEFAULT;
    o.reduction = CT_LOSS_NONE;
    EXPECT(ct_cross_entropy(x, ids, &o), CT_DIMS(2), log(4), log(3));
    o.reduction = CT_LOSS_SUM;
    o.label_smoothing = 0.3;
    EXPECT(ct_cross_entropy(x, ids, &o), SCALAR, 0.1 * log(8) + 0.8 * log(4) - 0.1 * log(0.625) + log(3));
    ct_cross_entropy_options w = CT_CROSS_ENTROPY_DEFAULT;
    w.weights = F64(CT_DIMS(2), 3, 1);
    EXPECT(ct_cross_entropy(x, ids, &w), SCALAR, (3 * log(4) + log(3)) / 4);
    w.ignore_index = 1;
    EXPECT(ct_cross_entropy(x, ids, &w), SCALAR, log(3));
    EXPECT(ct_cross_entropy(x, I64(CT_DIMS(2), -100, -100), NULL), SCALAR, 0);
    ct_tensor *soft = F64(CT_DIMS(2, 3), 0.5, 0.5, 0, 0, 0, 1);
    EXPECT(ct_cross_entropy(x, soft, NULL), SCALAR, ((log(8) + log(4)) / 2 + log(3)) / 2);
}

static void test_norms_and_dropout(void **state) {
    (void)state;
    ct_tensor *x = F64(CT_DIMS(1, 4), 1, 3, 5, 7), *w = F64(CT_DIMS(4), 1, 2, 1, 0.5),
              *b = F64(CT_DIMS(4), 0, 0, 1, 0);
    double s = 1 / sqrt(5 + 0.5), m = 1 / sqrt(21 + 0.5);
    EXPECT(ct_layer_norm(x, w, b, 0.5), CT_DIMS(1, 4), -3 * s, -2 * s, s + 1, 1.5 * s);
    EXPECT(ct_layer_norm(x, NULL, NULL, 0.5), CT_DIMS(1, 4), -3 * s, -s, s, 3 * s);
    EXPECT(ct_rms_norm(x, w, 0.5), CT_DIMS(1, 4), m, 6 * m, 5 * m, 3.5 * m);
    ct_random random = ct_random_make(1, 2);
    ct_tensor *ones = ct_full_on(context, CT_CPU, CT_F64, CT_DIMS(100, 100), 1);
    ct_tensor *y = ct_dropout(ones, 0.25, &random);
    assert_int_equal(random.offset, 10000);
    double sum;
    assert_int_equal(ct_item(ct_sum_all(y), &sum), CT_OK);
    assert_true(fabs(sum / 10000 - 1) < 0.03); /* deviation of the mean: 0.0058 */
    EXPECT(ct_max(y, 0, NULL, false), SCALAR, 1 / 0.75);
    EXPECT(ct_sum_all(ct_dropout(ones, 1.0, &random)), SCALAR, 0);
    assert_ptr_equal(ct_dropout(ones, 0.0, &random), ones);
}

/* Attention as its definition says, for one batch and head. */
static void test_attention(void **state) {
    (void)state;
    ct_tensor *q = F64(CT_DIMS(1, 1, 2, 1), 0, 1), *k = F64(CT_DIMS(1, 1, 3, 1), 0, log(2), log(4));
    ct_tensor *v = F64(CT_DIMS(1, 1, 3, 2), 1, 0, 0, 1, 7, 7);
    EXPECT(ct_attention(q, k, v, NULL), CT_DIMS(1, 1, 2, 2), 8 / 3.0, 8 / 3.0, 29 / 7.0, 30 / 7.0);
    ct_attention_options causal = {.causal = true};
    EXPECT(ct_attention(q, k, v, &causal), CT_DIMS(1, 1, 2, 2), 0.5, 0.5, 29 / 7.0, 30 / 7.0);
    ct_attention_options window = {.causal = true, .window = 1};
    EXPECT(ct_attention(q, k, v, &window), CT_DIMS(1, 1, 2, 2), 0, 1, 7, 7);
    ct_attention_options mask = {.mask = U8(CT_DIMS(2, 3), 0, 0, 0, 1, 1, 0)};
    EXPECT(ct_attention(q, k, v, &mask), CT_DIMS(1, 1, 2, 2), 0, 0, 1 / 3.0, 2 / 3.0);
    ct_attention_options bias = {.bias = F64(CT_DIMS(3), 0, 0, -log(4)), .scale = 1};
    EXPECT(ct_attention(q, k, v, &bias), CT_DIMS(1, 1, 2, 2), 2.75 / 2.25, 2.75 / 2.25, 2, 9 / 4.0);
    /* query 0 stands at position 1: weights 1/e, 1, 1/e; query 1 at 2: 1/e^2, 2/e, 4 */
    double e = exp(1), s = 1 / (e * e) + 2 / e + 4;
    ct_attention_options alibi = {.alibi_slopes = ct_cast(F64(CT_DIMS(1), 1), CT_F32)};
    EXPECT(ct_attention(q, k, v, &alibi), CT_DIMS(1, 1, 2, 2), 8 / (e + 2), (e + 7) / (e + 2),
           (1 / (e * e) + 28) / s, (2 / e + 28) / s);
    /* query 1: scores 0, tanh(log 2) = 3/5, tanh(log 4) = 15/17 */
    ct_attention_options capped = {.softcap = 1, .scale = 1};
    double w1 = exp(0.6), w2 = exp(15 / 17.0), all = 1 + w1 + w2;
    EXPECT(ct_attention(q, k, v, &capped), CT_DIMS(1, 1, 2, 2), 8 / 3.0, 8 / 3.0, (1 + 7 * w2) / all,
           (w1 + 7 * w2) / all);
}

static void test_packed_attention(void **state) {
    (void)state;
    ct_random random = ct_random_make(3, 4);
    ct_tensor *qkv =
        ct_random_normal_tensor(context, CT_F64, CT_DIMS(2, 3, 12), 0, 1, &random); /* 4 + 2 heads of 2 */
    ct_tensor *parts[3], *y = ct_attention_packed(qkv, 4, 1, NULL), *four[3];
    double a[48], b[48];
    assert_int_equal(ct_split(qkv, 2, 3, (int64_t[]){8, 2, 2}, parts), CT_OK);
    for (int i = 0; i < 3; i++)
        four[i] = ct_transpose(ct_reshape(parts[i], CT_DIMS(2, 3, i ? 1 : 4, 2)), 1, 2);
    ct_tensor *z =
        ct_reshape(ct_transpose(ct_attention(four[0], four[1], four[2], NULL), 1, 2), CT_DIMS(2, 3, 8));
    assert_int_equal(ct_read(y, CT_F64, a), CT_OK);
    assert_int_equal(ct_read(z, CT_F64, b), CT_OK);
    for (int i = 0; i < 48; i++)
        assert_true(fabs(a[i] - b[i]) < 1e-14);
}

static void test_positions(void **state) {
    (void)state;
    ct_tensor *c, *s;
    assert_int_equal(ct_rotary_tables(context, 2, 1, 4, 100, &c, &s), CT_OK);
    EXPECT(c, CT_DIMS(1, 2), (float)cos(2), (float)cos(0.2));
    EXPECT(s, CT_DIMS(1, 2), (float)sin(2), (float)sin(0.2));
    ct_tensor *x = F64(CT_DIMS(1, 4), 1, 2, 3, 4), *half = F64(CT_DIMS(1, 2), 0.6, 0.8),
              *other = F64(CT_DIMS(1, 2), 0.8, 0.6);
    EXPECT(ct_rotary(x, half, other, false), CT_DIMS(1, 4), 0.6 - 2.4, 1.6 - 2.4, 0.8 + 1.8, 1.2 + 3.2);
    EXPECT(ct_rotary(x, half, other, true), CT_DIMS(1, 4), 0.6 - 1.6, 0.8 + 1.2, 2.4 - 2.4, 1.8 + 3.2);
    /* [batch 2, head 1, time 1, 2]: the second row is turned by other angles */
    ct_tensor *rows = F64(CT_DIMS(2, 1, 1, 2), 1, 2, 1, 2), *cosines = F64(CT_DIMS(2, 1, 1), 0.6, 0),
              *sines = F64(CT_DIMS(2, 1, 1), 0.8, 1);
    EXPECT(ct_rotary(rows, cosines, sines, false), CT_DIMS(2, 1, 1, 2), 0.6 - 1.6, 0.8 + 1.2, -2, 1);
    EXPECT(ct_alibi_slopes(context, 8), CT_DIMS(8), 0.5, 0.25, 0.125, 1 / 16.0, 1 / 32.0, 1 / 64.0, 1 / 128.0,
           1 / 256.0);
    EXPECT(ct_alibi_slopes(context, 3), CT_DIMS(3), 1 / 16.0, 1 / 256.0, 0.25);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_binary),     TEST(test_unary),
        TEST(test_reductions), TEST(test_views),
        TEST(test_joining),    TEST(test_indexing),
        TEST(test_products),   TEST(test_linear_algebra),
        TEST(test_losses),     TEST(test_norms_and_dropout),
        TEST(test_attention),  TEST(test_packed_attention),
        TEST(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
