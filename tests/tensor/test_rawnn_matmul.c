/* test_rawnn_matmul.c - matmul and linear against plain loops in f64; bits; generated weights; errors. */
#include "rawnn.h"
#include "tensor/shadow.h"

/* [batch, m, k] x [batch, k, n], row-major. */
static double *product(const double *a, const double *b, int64_t batch, int64_t m, int64_t n, int64_t k) {
    double *c = calloc((size_t)(batch * m * n + 1), sizeof(double));
    for (int64_t e = 0; e < batch; e++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t p = 0; p < k; p++)
                for (int64_t j = 0; j < n; j++)
                    c[(e * m + i) * n + j] += a[(e * m + i) * k + p] * b[(e * k + p) * n + j];
    return c;
}

static const double tolerances[] = {[CT_F32] = 2e-5, [CT_F64] = 1e-13, [CT_BF16] = 1e-2, [CT_F16] = 2e-3};

static void matmul_shapes(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},   {1, 7, 5},     {3, 1, 9}, {5, 17, 33}, {64, 48, 100},
                                       {2, 300, 4}, {97, 31, 400}, {4, 0, 3}, {3, 4, 0},   {1, 130, 770}};
    ct_context *context = ct_context_create(2);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++) {
            ct_scope scope = ct_scope_open(context);
            int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
            ct_tensor *a = make(context, dtype, SHAPE(m, k), 1, 1),
                      *b = make(context, dtype, SHAPE(k, n), 2, 1);
            ct_tensor *c = ct_raw_matmul(a, b, dtype);
            assert_fine(context);
            double *va = values(a), *vb = values(b), *expected = product(va, vb, 1, m, n, k);
            assert_values(c, expected, tolerances[dtype], "product");
            ct_tensor *turned = ct_raw_matmul(swapped(b, 0, 1), swapped(a, 0, 1), dtype);
            assert_same_bits(swapped(turned, 0, 1), c, "transposed product");
            free(va), free(vb), free(expected);
            ct_scope_close(context, scope);
        }
    ct_context_destroy(context);
}

static void matmul_broadcast(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *a = make(context, CT_F32, SHAPE(2, 1, 5, 6), 1, 1),
              *b = make(context, CT_F32, SHAPE(3, 6, 7), 2, 1);
    ct_tensor *c = ct_raw_matmul(a, b, CT_F32);
    assert_int_equal(c->ndim, 4);
    assert_int_equal(c->shape[0], 2);
    assert_int_equal(c->shape[1], 3);
    double *va = values(a), *vb = values(b), *found = values(c);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) {
            double *expected = product(va + i * 30, vb + j * 42, 1, 5, 7, 6);
            for (int e = 0; e < 35; e++)
                assert_near(found[(i * 3 + j) * 35 + e], expected[e], 1e-5, "entry", e);
            free(expected);
        }
    free(va), free(vb), free(found);
    /* Mixed types and a chosen result type. */
    ct_tensor *mixed = ct_raw_matmul(ct_raw_cast(a, CT_F64), b, CT_F64);
    found = values(mixed);
    assert_int_equal(mixed->dtype, CT_F64);
    double *single = values(c);
    for (int64_t i = 0; i < c->count; i++)
        assert_near(single[i], found[i], 1e-5, "mixed", i);
    free(found), free(single);
    ct_context_destroy(context);
}

/* Leading axes that fold into rows, and those that do not, give the bits of entry by entry. */
static void matmul_folding(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *base = make(context, CT_F32, SHAPE(3, 4, 5, 8), 1, 1),
              *b = make(context, CT_F32, SHAPE(8, 9), 2, 1);
    ct_tensor *operands[] = {base,
                             swapped(base, 0, 1),
                             swapped(base, 1, 2),
                             rows_of(base, 1, 1, 2),
                             rows_of(base, 2, 0, 1),
                             swapped(rows_of(base, 2, 3, 1), 0, 1)};
    for (size_t o = 0; o < sizeof operands / sizeof *operands; o++) {
        ct_tensor *a = operands[o], *c = ct_raw_matmul(a, b, CT_F32);
        assert_fine(context);
        for (int64_t i = 0; i < a->shape[0]; i++)
            for (int64_t j = 0; j < a->shape[1]; j++) {
                int64_t offset = i * a->stride[0] + j * a->stride[1];
                ct_tensor *one = ct_view_strided(a, 2, a->shape + 2, a->stride + 2, offset);
                ct_tensor *part =
                    ct_view_strided(c, 2, c->shape + 2, c->stride + 2, i * c->stride[0] + j * c->stride[1]);
                assert_same_bits(ct_raw_matmul(one, b, CT_F32), part, "entry");
            }
    }
    ct_context_destroy(context);
}

static void bits_do_not_depend_on_threads_or_rows(void **state) {
    (void)state;
    ct_context *contexts[3];
    ct_tensor *results[3], *linears[3];
    for (int t = 0; t < 3; t++) {
        ct_context *context = contexts[t] = ct_context_create(1 << t);
        ct_tensor *a = make(context, CT_F32, SHAPE(64, 777), 1, 1),
                  *b = make(context, CT_F32, SHAPE(300, 777), 2, 1);
        ct_tensor *bias = make(context, CT_F32, SHAPE(300), 3, 1);
        results[t] = ct_raw_matmul(a, swapped(b, 0, 1), CT_F32);
        linears[t] = ct_raw_linear(a, b, bias, false, CT_ACT_GELU_TANH, NULL);
        for (int64_t r = 0; r < 64; r += 21) {
            ct_tensor *row = rows_of(a, 0, r, 1);
            assert_same_bits(ct_raw_matmul(row, swapped(b, 0, 1), CT_F32), rows_of(results[t], 0, r, 1),
                             "row");
            assert_same_bits(ct_raw_linear(row, b, bias, false, CT_ACT_GELU_TANH, NULL),
                             rows_of(linears[t], 0, r, 1), "row of linear");
        }
    }
    for (int t = 1; t < 3; t++) {
        assert_same_bits(results[0], results[t], "threads");
        assert_same_bits(linears[0], linears[t], "threads");
    }
    for (int t = 0; t < 3; t++)
        ct_context_destroy(contexts[t]);
}

/* -------------------------------------------------------------------------------------- generated weights */

static void hilbert(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, float *out,
                    int64_t pitch) {
    int64_t *most = (int64_t *)(uintptr_t)user;
    if (rows * columns > *most) *most = rows * columns;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[i * pitch + j] = (float)sample(9, (row + i) * 1000 + column + j);
}

static void generated_weights(void **state) {
    (void)state;
    int64_t most = 0;
    enum { ROWS = 500, COLUMNS = 600 };
    ct_context *context = ct_context_create(1);
    ct_tensor *weight = ct_from_tiles(context, ROWS, COLUMNS, hilbert, &most, NULL);
    float *stored = malloc(ROWS * COLUMNS * sizeof *stored);
    int64_t ignored = 0;
    hilbert(&ignored, 0, 0, ROWS, COLUMNS, stored, COLUMNS);
    ct_tensor *plain = ct_from_data(context, CT_F32, SHAPE(ROWS, COLUMNS), stored);
    free(stored);
    ct_tensor *x = make(context, CT_F32, SHAPE(40, COLUMNS), 1, 1),
              *y = make(context, CT_F32, SHAPE(40, ROWS), 2, 1);
    assert_same_bits(ct_raw_linear(x, weight, NULL, false, CT_ACT_NONE, NULL),
                     ct_raw_linear(x, plain, NULL, false, CT_ACT_NONE, NULL), "linear");
    assert_same_bits(ct_raw_matmul(y, weight, CT_F32), ct_raw_matmul(y, plain, CT_F32), "right factor");
    assert_same_bits(ct_raw_matmul(weight, swapped(x, 0, 1), CT_F32),
                     ct_raw_matmul(plain, swapped(x, 0, 1), CT_F32), "left factor");
    ct_tensor *part = rows_of(rows_of(weight, 0, 100, 50), 1, 30, 200),
              *wide = make(context, CT_F64, SHAPE(7, 50), 3, 1);
    ct_tensor *same = rows_of(rows_of(plain, 0, 100, 50), 1, 30, 200);
    assert_same_bits(ct_raw_matmul(wide, part, CT_F64), ct_raw_matmul(wide, same, CT_F64), "part in f64");
    ct_tensor *turned = swapped(part, 0, 1), *single = rows_of(y, 0, 3, 1);
    ct_tensor *z = make(context, CT_F32, SHAPE(3, 9, 200), 4, 1);
    assert_same_bits(ct_raw_matmul(z, turned, CT_F32), ct_raw_matmul(z, swapped(same, 0, 1), CT_F32),
                     "batch");
    assert_same_bits(ct_raw_matmul(single, weight, CT_F32), ct_raw_matmul(single, plain, CT_F32), "one row");
    assert_fine(context);
    assert_true(most < ROWS * COLUMNS);
    const int64_t shape[] = {10, 10}, stride[] = {2 * COLUMNS, 2};
    ct_raw_matmul(make(context, CT_F32, SHAPE(2, 10), 1, 1), ct_view_strided(weight, 2, shape, stride, 0),
                  CT_F32);
    assert_error(context, CT_ERROR_UNSUPPORTED, "neither a part of it nor the transpose");
    ct_context_destroy(context);
}

static void packed_weights(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *weight = make(context, CT_F32, SHAPE(150, 500), 2, 1), *turned = swapped(weight, 0, 1);
    static const int64_t rows[] = {1, 3, 40};
    for (int change = 0; change < 2; change++) {
        ct_tensor *before[3], *product[3];
        for (int i = 0; i < 3; i++) {
            ct_tensor *x = make(context, CT_F32, SHAPE(rows[i], 500), 1, 1);
            before[i] = ct_raw_linear(x, ct_raw_cast(weight, CT_F32), NULL, false, CT_ACT_SILU, NULL);
            product[i] = ct_raw_matmul(x, ct_raw_cast(turned, CT_F32), CT_F32);
        }
        ct_memory_counts counts, packed;
        ct_memory_read(context, &counts);
        assert_int_equal(ct_shadow_pack(turned), CT_OK);
        ct_memory_read(context, &packed);
        assert_true(change ||
                    packed.current[CT_MEMORY_WEIGHTS] >= counts.current[CT_MEMORY_WEIGHTS] + 150 * 500 * 4);
        assert_non_null(ct_shadow_packed(turned));
        assert_null(ct_shadow_packed(weight));
        for (int i = 0; i < 3; i++) {
            ct_tensor *x = make(context, CT_F32, SHAPE(rows[i], 500), 1, 1);
            assert_same_bits(ct_raw_linear(x, weight, NULL, false, CT_ACT_SILU, NULL), before[i], "linear");
            assert_same_bits(ct_raw_matmul(x, turned, CT_F32), product[i], "product");
        }
        assert_int_equal(ct_scale_into(weight, 3), CT_OK);
    }
    assert_fine(context);
    ct_tensor *narrow = ct_raw_cast(turned, CT_BF16); /* two blocks of k, the last of an odd number of steps */
    for (int i = 0; i < 3; i++) {
        ct_tensor *x = make(context, CT_BF16, SHAPE(rows[i], 500), 1, 1);
        ct_tensor *before = ct_raw_matmul(ct_slice(x, 1, 0, 499, 1), ct_slice(narrow, 0, 0, 499, 1), CT_F32);
        ct_tensor *part = ct_slice(narrow, 0, 0, 499, 1);
        assert_int_equal(ct_shadow_pack(part), CT_OK);
        assert_non_null(ct_shadow_packed(part));
        assert_same_bits(ct_raw_matmul(ct_slice(x, 1, 0, 499, 1), part, CT_F32), before, "bf16 panels");
    }
    assert_fine(context);
    ct_shadow_pack(ct_zeros(context, CT_F16, SHAPE(3, 3)));
    assert_error(context, CT_ERROR_TYPE, "f16[3, 3], expected a stored f32 or bf16 matrix");
    ct_context_destroy(context);
    context = ct_context_create(1);
    size_t bytes[2];
    for (int meta = 0; meta < 2; meta++) {
        ct_context_set_device(context, meta ? CT_META : CT_CPU);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *w = ct_zeros(context, CT_F32, SHAPE(77, 101));
        ct_memory_counts counts;
        assert_int_equal(ct_shadow_pack(w), CT_OK);
        ct_memory_read(context, &counts);
        bytes[meta] = counts.current[CT_MEMORY_WEIGHTS];
        ct_scope_close(context, scope);
        ct_memory_read(context, &counts);
        assert_int_equal(counts.current[CT_MEMORY_WEIGHTS], 0);
    }
    assert_int_equal(bytes[0], bytes[1]);
    ct_context_destroy(context);
}

/* ------------------------------------------------------------------------------------------------- linear */

static double activate(ct_activation activation, double x) {
    switch (activation) {
    case CT_ACT_RELU:
        return x > 0 ? x : 0;
    case CT_ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case CT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case CT_ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static void linear_against_loops(ct_context *context, ct_dtype dtype, ct_activation activation,
                                 bool transposed, bool with_bias) {
    enum { BATCH = 2, TIME = 3, IN = 37, OUT = 21 };
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = make(context, dtype, SHAPE(BATCH, TIME, IN), 1, 1);
    ct_tensor *weight =
        transposed ? make(context, dtype, SHAPE(IN, OUT), 2, 1) : make(context, dtype, SHAPE(OUT, IN), 2, 1);
    ct_tensor *bias = with_bias ? make(context, dtype, SHAPE(OUT), 3, 1) : NULL, *before = NULL;
    ct_tensor *y = ct_raw_linear(x, weight, bias, transposed, activation, &before);
    assert_fine(context);
    assert_int_equal(y->ndim, 3);
    assert_int_equal(y->dtype, dtype);
    double *vx = values(x), *vw = values(weight), *vb = bias ? values(bias) : NULL;
    double expected[BATCH * TIME * OUT], sums[BATCH * TIME * OUT];
    for (int r = 0; r < BATCH * TIME; r++)
        for (int o = 0; o < OUT; o++) {
            double sum = vb ? vb[o] : 0;
            for (int i = 0; i < IN; i++)
                sum += vx[r * IN + i] * (transposed ? vw[i * OUT + o] : vw[o * IN + i]);
            sums[r * OUT + o] = sum;
            expected[r * OUT + o] = activate(activation, sum);
        }
    assert_values(y, expected, tolerances[dtype], "linear");
    if (activation == CT_ACT_NONE)
        assert_null(before);
    else
        assert_values(before, sums, tolerances[dtype], "preactivation");
    /* The same rows, strided or permuted in memory. */
    ct_tensor *middle = ct_raw_linear(rows_of(x, 1, 1, 1), weight, bias, transposed, activation, NULL);
    assert_same_bits(middle, rows_of(y, 1, 1, 1), "strided rows");
    ct_tensor *across = ct_raw_linear(swapped(x, 0, 1), weight, bias, transposed, activation, NULL);
    assert_same_bits(across, swapped(y, 0, 1), "rows that do not fold");
    free(vx), free(vw), free(vb);
    ct_scope_close(context, scope);
}

static void linear_layers(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
        for (ct_activation activation = CT_ACT_NONE; activation <= CT_ACT_SILU; activation++)
            for (int mode = 0; mode < 4; mode++)
                linear_against_loops(context, dtype, activation, mode & 1, mode & 2);
    ct_context_destroy(context);
}

static void bad_operands(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tensor *a = make(context, CT_F32, SHAPE(2, 3), 1, 1), *b = make(context, CT_F32, SHAPE(4, 5), 2, 1);
    ct_tensor *ids = ct_zeros(context, CT_I32, SHAPE(3, 2)), *vector = make(context, CT_F32, SHAPE(3), 1, 1);
    ct_raw_matmul(a, b, CT_F32);
    assert_error(context, CT_ERROR_SHAPE, "matmul: f32[2, 3] and f32[4, 5]");
    ct_raw_matmul(a, vector, CT_F32);
    assert_error(context, CT_ERROR_SHAPE, "matmul");
    ct_raw_matmul(a, ids, CT_F32);
    assert_error(context, CT_ERROR_TYPE, "i32[3, 2]: products of integers");
    ct_raw_matmul(a, swapped(a, 0, 1), CT_I64);
    assert_error(context, CT_ERROR_TYPE, "i64");
    ct_raw_matmul(make(context, CT_F32, SHAPE(2, 1, 3), 1, 1), make(context, CT_F32, SHAPE(3, 3, 4), 1, 1),
                  CT_F32);
    assert_error(context, CT_ERROR_SHAPE, "do not broadcast (2 against 3)");
    ct_raw_linear(a, b, NULL, false, CT_ACT_NONE, NULL);
    assert_error(context, CT_ERROR_SHAPE, "expected [..., in] and [out, in]");
    ct_raw_linear(a, make(context, CT_F32, SHAPE(5, 3), 1, 1), vector, false, CT_ACT_NONE, NULL);
    assert_error(context, CT_ERROR_SHAPE, "bias f32[3]");
    ct_raw_linear(a, make(context, CT_F32, SHAPE(3, 5), 1, 1), NULL, true, (ct_activation)77, NULL);
    assert_error(context, CT_ERROR_ARGUMENT, "activation 77");
    ct_context_destroy(context);
}

static void work_of_a_layer(ct_context *context) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_empty(context, CT_F32, SHAPE(2, 33, 40)),
              *weight = ct_empty(context, CT_F32, SHAPE(50, 40));
    ct_tensor *bias = ct_empty(context, CT_F32, SHAPE(50)), *before = NULL;
    if (!ct_failed(context) && ct_context_device(context) == CT_CPU) {
        ct_fill(x, 1), ct_fill(weight, 2), ct_fill(bias, 3);
    }
    ct_shadow_pack(weight);
    ct_tensor *y = ct_raw_linear(swapped(x, 0, 1), weight, bias, false, CT_ACT_GELU, &before);
    ct_raw_matmul(y, weight, CT_F32);
    ct_hold(y);
    ct_scope_close(context, scope);
    ct_drop(y);
}

static void counts_and_failures(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_raw_matmul(make(context, CT_F32, SHAPE(4, 3, 5), 1, 1), make(context, CT_F32, SHAPE(5, 7), 1, 1),
                  CT_F32);
    assert_int_equal(ct_context_flops(context), 2 * 4 * 3 * 5 * 7);
    ct_context_destroy(context);
    assert_meta_counts(work_of_a_layer);
    assert_survives_allocation_failure(work_of_a_layer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_shapes),       cmocka_unit_test(matmul_broadcast),
        cmocka_unit_test(matmul_folding),      cmocka_unit_test(bits_do_not_depend_on_threads_or_rows),
        cmocka_unit_test(generated_weights),   cmocka_unit_test(packed_weights),
        cmocka_unit_test(linear_layers),       cmocka_unit_test(bad_operands),
        cmocka_unit_test(counts_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
