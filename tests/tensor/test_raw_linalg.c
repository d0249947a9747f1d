/* test_raw_linalg.c - factorisations and linear systems: worked numbers, and the defining equations by plain
 * loops. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

/* c [m, n] = a [m, k] b [k, n]; transposed operands are given as they are in memory. */
static void multiply(int m, int k, int n, const double *a, bool a_turned, const double *b, bool b_turned,
                     double *c) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += (a_turned ? a[l * m + i] : a[i * k + l]) * (b_turned ? b[j * k + l] : b[l * n + j]);
            c[i * n + j] = sum;
        }
}
static void expect_near(int count, const double *a, const double *b, double tolerance) {
    for (int i = 0; i < count; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance))
            fail_msg("%s: element %d is %g, expected %g", checking, i, a[i], b[i]);
}
static void expect_identity(int n, const double *a, double tolerance) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (!(fabs(a[i * n + j] - (i == j)) <= tolerance)) fail_msg("%s: not orthogonal", checking);
}

static ct_tensor *normal(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape) {
    ct_random random = ct_random_make(3, (uint64_t)ndim);
    return ct_random_normal_tensor(context, dtype, ndim, shape, 0, 1, &random);
}

static const int64_t sizes[][3] = {{3, 5, 5}, {2, 7, 4}, {2, 4, 9}, {1, 1, 1}, {1, 40, 33}};
#define EACH_TYPE_AND_STRIDES                                                                                \
    for (int type = CT_F32; type <= CT_F64; type++)                                                          \
        for (int kind = 0; kind < RESTRIDE_KINDS; kind++)
#define TOLERANCE (type == CT_F32 ? 2e-5 : 1e-12)

static void test_qr(void **state) {
    ct_context *context = *state;
    for (int s = 0; s < COUNT(sizes); s++)
        EACH_TYPE_AND_STRIDES {
            ct_scope scope = ct_scope_open(context);
            CHECKING("size %d, %s, strides %d", s, ct_dtype_name((ct_dtype)type), kind);
            int m = (int)sizes[s][1], n = (int)sizes[s][2], k = m < n ? m : n;
            ct_tensor *x = normal(context, (ct_dtype)type, 3, sizes[s]), *q, *r;
            assert_int_equal(ct_raw_qr(restride(x, kind), &q, &r), CT_OK);
            assert_true(q->shape[1] == m && q->shape[2] == k && r->shape[1] == k && r->shape[2] == n);
            double *a = elements(x), *left = elements(q), *right = elements(r), product[40 * 40];
            for (int b = 0; b < sizes[s][0]; b++) {
                multiply(m, k, n, left + b * m * k, false, right + b * k * n, false, product);
                expect_near(m * n, product, a + b * m * n, TOLERANCE);
                multiply(k, m, k, left + b * m * k, true, left + b * m * k, false, product);
                expect_identity(k, product, TOLERANCE);
                for (int i = 0; i < k; i++)
                    for (int j = 0; j < i && j < n; j++)
                        assert_true(right[b * k * n + i * n + j] == 0);
            }
            free(a), free(left), free(right);
            ct_scope_close(context, scope);
        }
}

static void test_svd(void **state) {
    ct_context *context = *state;
    ct_tensor *u, *s, *vh;
    ct_raw_svd(ct_from_data(context, CT_F64, CT_DIMS(2, 2), (const double[]){3, 0, 4, 5}), &u, &s, &vh);
    EXPECT_VALUES(s, 1e-14, {2}, {6.7082039324993694, 2.2360679774997898}); /* sqrt(45), sqrt(5) */
    for (int size = 0; size < COUNT(sizes); size++)
        EACH_TYPE_AND_STRIDES {
            ct_scope scope = ct_scope_open(context);
            CHECKING("size %d, %s, strides %d", size, ct_dtype_name((ct_dtype)type), kind);
            int m = (int)sizes[size][1], n = (int)sizes[size][2], k = m < n ? m : n;
            ct_tensor *x = normal(context, (ct_dtype)type, 3, sizes[size]);
            assert_int_equal(ct_raw_svd(restride(x, kind), &u, &s, &vh), CT_OK);
            assert_true(u->shape[1] == m && u->shape[2] == k && s->ndim == 2 && s->shape[1] == k);
            assert_true(vh->shape[1] == k && vh->shape[2] == n);
            double *a = elements(x), *left = elements(u), *values = elements(s), *right = elements(vh),
                   product[1600];
            for (int b = 0; b < sizes[size][0]; b++) {
                multiply(k, m, k, left + b * m * k, true, left + b * m * k, false, product);
                expect_identity(k, product, TOLERANCE);
                multiply(k, n, k, right + b * k * n, false, right + b * k * n, true, product);
                expect_identity(k, product, TOLERANCE);
                for (int i = 0; i < m; i++)
                    for (int j = 0; j < k; j++)
                        left[b * m * k + i * k + j] *= values[b * k + j];
                multiply(m, k, n, left + b * m * k, false, right + b * k * n, false, product);
                expect_near(m * n, product, a + b * m * n, TOLERANCE);
                for (int i = 1; i < k; i++)
                    assert_true(values[b * k + i] <= values[b * k + i - 1]);
            }
            free(a), free(left), free(values), free(right);
            ct_scope_close(context, scope);
        }
}

/* g g' + n, symmetric and positive. */
static ct_tensor *positive(ct_context *context, ct_dtype dtype, int64_t batch, int n) {
    ct_tensor *g = normal(context, CT_F64, 3, (const int64_t[]){batch, n, n});
    double *values = elements(g), *product = malloc((size_t)(batch * n * n) * sizeof(double));
    assert_non_null(product);
    for (int b = 0; b < batch; b++) {
        multiply(n, n, n, values + b * n * n, false, values + b * n * n, true, product + b * n * n);
        for (int i = 0; i < n; i++)
            product[b * n * n + i * n + i] += n;
    }
    ct_tensor *t = ct_raw_cast(ct_from_data(context, CT_F64, CT_DIMS(batch, n, n), product), dtype);
    free(values), free(product);
    return t;
}

static void test_cholesky(void **state) {
    ct_context *context = *state;
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(2, 2), (const float[]){4, 2, 2, 10});
    EXPECT_VALUES(ct_raw_cholesky(x), 1e-7, {2 COMMA 2}, {2, 0, 1, 3});
    EACH_TYPE_AND_STRIDES {
        int n = 24;
        ct_tensor *a = positive(context, (ct_dtype)type, 3, n), *l = ct_raw_cholesky(restride(a, kind));
        expect_fine(context);
        double *whole = elements(a), *lower = elements(l), product[24 * 24];
        for (int b = 0; b < 3; b++) {
            multiply(n, n, n, lower + b * n * n, false, lower + b * n * n, true, product);
            expect_near(n * n, product, whole + b * n * n, TOLERANCE * 20);
            for (int i = 0; i < n; i++)
                for (int j = i + 1; j < n; j++)
                    assert_true(lower[b * n * n + i * n + j] == 0);
        }
        free(whole), free(lower);
    }
    ct_tensor *many = positive(context, CT_F64, 5, 3);
    double *data = ct_data_mutable(many);
    data[3 * 9 + 4] = -1; /* matrix 3, second diagonal element */
    ct_raw_cholesky(many);
    expect_error(context, CT_ERROR_NUMERIC, "cholesky: matrix 3 is not positive definite (leading minor 2)");
    data[1 * 9 + 5] = NAN;
    ct_raw_cholesky(many);
    expect_error(context, CT_ERROR_NUMERIC, "cholesky: matrix 1 holds NaN or infinity at [1, 2]");
}

static void test_eigh(void **state) {
    ct_context *context = *state;
    ct_tensor *values, *vectors;
    ct_raw_eigh(ct_from_data(context, CT_F64, CT_DIMS(2, 2), (const double[]){2, 1, 1, 2}), &values,
                &vectors);
    EXPECT_VALUES(values, 1e-15, {2}, {1, 3});
    EACH_TYPE_AND_STRIDES {
        int n = 17;
        ct_tensor *x = positive(context, (ct_dtype)type, 2, n);
        assert_int_equal(ct_raw_eigh(restride(x, kind), &values, &vectors), CT_OK);
        double *a = elements(x), *w = elements(values), *v = elements(vectors), left[17 * 17],
               product[17 * 17];
        for (int b = 0; b < 2; b++) {
            double *columns = v + b * n * n;
            multiply(n, n, n, columns, true, columns, false, product);
            expect_identity(n, product, TOLERANCE);
            multiply(n, n, n, a + b * n * n, false, columns, false, left); /* A V = V diag(w) */
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++)
                    product[i * n + j] = columns[i * n + j] * w[b * n + j];
            expect_near(n * n, left, product, TOLERANCE * 50);
            for (int i = 1; i < n; i++)
                assert_true(w[b * n + i] >= w[b * n + i - 1]);
        }
        free(a), free(w), free(v);
    }
}

static void test_solve(void **state) {
    ct_context *context = *state;
    ct_tensor *a = ct_from_data(context, CT_F64, CT_DIMS(2, 2), (const double[]){2, 1, 1, 3});
    ct_tensor *b = ct_from_data(context, CT_F64, CT_DIMS(2, 1), (const double[]){3, 5});
    EXPECT_VALUES(ct_raw_solve(a, b), 1e-15, {2 COMMA 1}, {0.8, 1.4});
    EACH_TYPE_AND_STRIDES {
        int n = 12, k = 5;
        ct_tensor *m = normal(context, (ct_dtype)type, 3, (const int64_t[]){1, n, n});
        ct_add_into(m, ct_eye(context, (ct_dtype)type, n), 8);
        ct_tensor *right = normal(context, (ct_dtype)type, 4, (const int64_t[]){2, 3, n, k});
        ct_tensor *x = ct_raw_solve(restride(m, kind), restride(right, kind)); /* one matrix for all */
        expect_fine(context);
        assert_true(x->ndim == 4 && x->shape[0] == 2 && x->shape[1] == 3);
        double *matrix = elements(m), *expected = elements(right), *solution = elements(x), product[60];
        for (int i = 0; i < 6; i++) {
            multiply(n, n, k, matrix, false, solution + i * n * k, false, product);
            expect_near(n * k, product, expected + i * n * k, TOLERANCE);
        }
        free(matrix), free(expected), free(solution);
    }
    ct_raw_solve(ct_from_data(context, CT_F64, CT_DIMS(2, 2), (const double[]){1, 2, 2, 4}), b);
    expect_error(context, CT_ERROR_NUMERIC, "solve: matrix 0 is singular (pivot 2 is zero)");
    ct_raw_solve(a, ct_full(context, CT_F64, CT_DIMS(2, 1), INFINITY));
    expect_error(context, CT_ERROR_NUMERIC, "solve: right-hand side 0 holds NaN or infinity at [0, 0]");
    ct_raw_solve(a, ct_zeros(context, CT_F64, CT_DIMS(3, 1)));
    expect_error(context, CT_ERROR_SHAPE, "solve: f64[2, 2] and f64[3, 1] do not fit");
    ct_raw_solve(a, ct_zeros(context, CT_F32, CT_DIMS(2, 1)));
    expect_error(context, CT_ERROR_TYPE, "solve: f64[2, 2] and f32[2, 1] do not fit");
    assert_int_equal(ct_raw_solve(a, ct_zeros(context, CT_F64, CT_DIMS(2, 0)))->count, 0);
}

static void test_solve_triangular(void **state) {
    ct_context *context = *state;
    for (int flags = 0; flags < 8; flags++)
        EACH_TYPE_AND_STRIDES {
            ct_scope scope = ct_scope_open(context);
            bool upper = flags & 1, transposed = flags & 2, unit = flags & 4;
            CHECKING("flags %d, %s, strides %d", flags, ct_dtype_name((ct_dtype)type), kind);
            int n = 9, k = 3;
            ct_tensor *m = normal(context, (ct_dtype)type, 3, (const int64_t[]){2, n, n});
            ct_scale_into(m, 0.25);
            ct_add_into(m, ct_eye(context, (ct_dtype)type, n), 3);
            ct_tensor *right = normal(context, (ct_dtype)type, 2, (const int64_t[]){n, k});
            ct_tensor *x = ct_raw_solve_triangular(restride(m, kind), right, upper, transposed, unit);
            expect_fine(context);
            double *matrix = elements(m), *expected = elements(right), *solution = elements(x), product[27];
            for (int b = 0; b < 2; b++) {
                double *a = matrix + b * n * n; /* only the triangle counts */
                for (int i = 0; i < n; i++)
                    for (int j = 0; j < n; j++) {
                        if (i == j && unit) a[i * n + j] = 1;
                        if (upper ? j < i : j > i) a[i * n + j] = 0;
                    }
                multiply(n, n, k, a, transposed, solution + b * n * k, false, product);
                expect_near(n * k, product, expected, TOLERANCE);
            }
            free(matrix), free(expected), free(solution);
            ct_scope_close(context, scope);
        }
    ct_raw_solve_triangular(ct_zeros(context, CT_F32, CT_DIMS(2, 2)),
                            ct_zeros(context, CT_F32, CT_DIMS(2, 2)), true, false, false);
    expect_error(context, CT_ERROR_NUMERIC, "solve_triangular: matrix 0 is singular (pivot 1 is zero)");
}

static void test_bad_input(void **state) {
    ct_context *context = *state;
    ct_tensor *a, *b, *c;
    ct_raw_cholesky(ct_zeros(context, CT_BF16, CT_DIMS(2, 2)));
    expect_error(context, CT_ERROR_TYPE, "cholesky: f32 or f64 is expected, found bf16");
    ct_raw_eigh(ct_zeros(context, CT_F32, CT_DIMS(2, 3)), &a, &b);
    expect_error(context, CT_ERROR_SHAPE, "eigh: square matrices are expected, found f32[2, 3]");
    ct_raw_svd(ct_zeros(context, CT_F32, CT_DIMS(2)), &a, &b, &c);
    expect_error(context, CT_ERROR_SHAPE, "svd: matrices are expected, found f32[2]");
    ct_raw_qr(ct_full(context, CT_F32, CT_DIMS(2, 2), NAN), &a, &b);
    expect_error(context, CT_ERROR_NUMERIC, "qr: matrix 0 holds NaN or infinity at [0, 0]");
    assert_int_equal(ct_raw_qr(ct_zeros(context, CT_F32, CT_DIMS(0, 3)), &a, &b), CT_OK);
    assert_true(a->count == 0 && b->count == 0 && b->shape[1] == 3);
    assert_int_equal(ct_raw_svd(ct_zeros(context, CT_F64, CT_DIMS(2, 4, 0)), &a, &b, &c), CT_OK);
    assert_int_equal(ct_raw_cholesky(ct_zeros(context, CT_F64, CT_DIMS(0, 0)))->count, 0);
    expect_fine(context);
}

static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *x = ct_empty(context, CT_F32, CT_DIMS(3, 60, 40)), *a, *b, *c;
    ct_context_reset_flops(context);
    ct_raw_qr(x, &a, &b);
    assert_true(a->shape[2] == 40 && b->shape[1] == 40 && ct_device_of(a) == CT_META);
    assert_int_equal(ct_context_flops(context), 896000); /* 3 (4 m n k - 4/3 k^3) */
    ct_raw_svd(x, &a, &b, &c);
    assert_true(a->shape[1] == 60 && b->ndim == 2 && c->shape[2] == 40);
    ct_raw_eigh(ct_empty(context, CT_F32, CT_DIMS(8, 8)), &a, &b);
    assert_true(a->ndim == 1 && b->count == 64);
    assert_true(
        ct_raw_solve(ct_empty(context, CT_F32, CT_DIMS(8, 8)), ct_empty(context, CT_F32, CT_DIMS(2, 8, 3)))
            ->count == 48);
    assert_true(ct_raw_cholesky(b)->count == 64);
    expect_fine(context);
}

static ct_tensor *make_factors(ct_context *context) {
    ct_tensor *x = positive(context, CT_F32, 6, 50), *q, *r, *u, *s, *vh, *w, *v;
    ct_raw_qr(x, &q, &r);
    ct_raw_svd(x, &u, &s, &vh);
    ct_raw_eigh(x, &w, &v);
    return ct_raw_concat((ct_tensor *const[]){q, r, u, vh, v, ct_raw_cholesky(x), ct_raw_solve(x, q)}, 7, 0);
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_factors);
}
static ct_tensor *make_few(ct_context *context) {
    ct_tensor *x = ct_eye(context, CT_F64, 3), *q, *r, *u, *s, *vh, *w, *v;
    ct_raw_qr(x, &q, &r);
    ct_raw_svd(x, &u, &s, &vh);
    ct_raw_eigh(x, &w, &v);
    return ct_raw_solve_triangular(ct_raw_cholesky(x), ct_raw_solve(x, v), true, false, false);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_qr, setup, teardown),
        cmocka_unit_test_setup_teardown(test_svd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cholesky, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eigh, setup, teardown),
        cmocka_unit_test_setup_teardown(test_solve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_solve_triangular, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
