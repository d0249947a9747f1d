/* test_rawnn_norm.c - layer norm and root-mean-square norm against plain loops in f64; bits; errors. */
#include "base/context.h"
#include "rawnn.h"

static const double tolerances[] = {[CT_F32] = 1e-5, [CT_F64] = 1e-12, [CT_BF16] = 1.2e-2, [CT_F16] = 2e-3};
#define EPSILON 1e-5

typedef struct norm_result {
    double *y, *mean, *rstd, *dx, *dweight, *dbias;
} norm_result;

static norm_result norm_loops(const double *x, const double *weight, const double *bias,
                              const double *gradient, int64_t rows, int64_t n, bool centred) {
    size_t all = (size_t)(rows * n);
    norm_result e = {calloc(all, 8), calloc((size_t)rows, 8), calloc((size_t)rows, 8),
                     calloc(all, 8), calloc((size_t)n, 8),    calloc((size_t)n, 8)};
    for (int64_t r = 0; r < rows; r++) {
        const double *row = x + r * n, *g = gradient + r * n;
        double mean = 0, square = 0, sum = 0, along = 0;
        for (int64_t i = 0; i < n && centred; i++)
            mean += row[i] / (double)n;
        for (int64_t i = 0; i < n; i++)
            square += (row[i] - mean) * (row[i] - mean) / (double)n;
        double rstd = 1 / sqrt(square + EPSILON);
        e.mean[r] = mean, e.rstd[r] = rstd;
        for (int64_t i = 0; i < n; i++) {
            double h = (row[i] - mean) * rstd, w = g[i] * (weight ? weight[i] : 1);
            e.y[r * n + i] = h * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
            e.dweight[i] += g[i] * h;
            e.dbias[i] += g[i];
            sum += centred ? w / (double)n : 0;
            along += w * h / (double)n;
        }
        for (int64_t i = 0; i < n; i++)
            e.dx[r * n + i] = rstd * (g[i] * (weight ? weight[i] : 1) - sum - (row[i] - mean) * rstd * along);
    }
    return e;
}

static void free_result(norm_result *e) {
    free(e->y), free(e->mean), free(e->rstd), free(e->dx), free(e->dweight), free(e->dbias);
}

static void compare_norm(ct_context *context, ct_dtype dtype, int64_t rows, int64_t n, bool centred,
                         bool affine) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = make(context, dtype, SHAPE(rows, 1, n), 1, 2),
              *g = make(context, dtype, SHAPE(rows, 1, n), 2, 1);
    ct_tensor *weight = affine ? make(context, dtype, SHAPE(n), 3, 1) : NULL;
    ct_tensor *bias = affine && centred ? make(context, dtype, SHAPE(n), 4, 1) : NULL;
    double *vx = values(x), *vg = values(g), *vw = affine ? values(weight) : NULL,
           *vb = bias ? values(bias) : NULL;
    norm_result e = norm_loops(vx, vw, vb, vg, rows, n, centred);
    ct_tensor *mean = NULL, *rstd, *dx = NULL, *dweight = NULL, *dbias = NULL, *y;
    if (centred) {
        y = ct_raw_layer_norm(x, weight, bias, EPSILON, &mean, &rstd);
        ct_raw_layer_norm_backward(x, weight, mean, rstd, g, NULL, false, &dx, &dweight, &dbias);
    } else {
        y = ct_raw_rms_norm(x, weight, EPSILON, &rstd);
        ct_raw_rms_norm_backward(x, weight, rstd, g, NULL, false, &dx, &dweight);
    }
    assert_fine(context);
    double tolerance = tolerances[dtype], exact = dtype == CT_F64 ? 1e-12 : 1e-5;
    assert_int_equal(rstd->dtype, dtype == CT_F64 ? CT_F64 : CT_F32);
    assert_int_equal(rstd->ndim, 2);
    assert_values(y, e.y, tolerance, "y");
    if (centred) assert_values(mean, e.mean, exact, "mean");
    assert_values(rstd, e.rstd, exact, "rstd");
    assert_values(dx, e.dx, 3 * tolerance, "dx");
    assert_values(dweight, e.dweight, 3 * tolerance, "dweight");
    if (centred) assert_values(dbias, e.dbias, 3 * tolerance, "dbias");
    free(vx), free(vg), free(vw), free(vb);
    free_result(&e);
    ct_scope_close(context, scope);
}

static void norms_against_loops(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{1, 5}, {17, 64}, {300, 33}, {129, 384}, {2, 3000}};
    ct_context *context = ct_context_create(2);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
            for (int mode = 0; mode < 4; mode++)
                compare_norm(context, dtype, sizes[s][0], sizes[s][1], mode & 1, mode & 2);
    ct_context_destroy(context);
}

/* The gradient that comes by other ways is added to dx; parameter sums that wait are those that do not. */
static void norm_other_ways(void **state) {
    (void)state;
    for (ct_dtype dtype = CT_F32; dtype <= CT_F64; dtype++) {
        ct_context *context = ct_context_create(3);
        ct_tensor *x = make(context, dtype, SHAPE(4, 30, 20), 1, 2),
                  *g = make(context, dtype, SHAPE(4, 30, 20), 2, 1),
                  *other = make(context, dtype, SHAPE(4, 30, 20), 5, 1),
                  *weight = make(context, dtype, SHAPE(20), 3, 1);
        ct_tensor *mean, *rstd, *dx, *with, *now[2] = {NULL, NULL}, *late[2] = {NULL, NULL};
        ct_raw_layer_norm(x, weight, weight, EPSILON, &mean, &rstd);
        ct_raw_layer_norm_backward(x, weight, mean, rstd, g, NULL, false, &dx, &now[0], &now[1]);
        assert_true(ct_raw_norm_adds(x, other));
        for (int pass = 0; pass < 3; pass++) {
            ct_raw_layer_norm_backward(x, weight, mean, rstd, g, other, true, &with, &late[0], &late[1]);
            if (pass == 0) continue;
            ct_parallel_finish(context);
            ct_raw_layer_norm_backward(x, weight, mean, rstd, g, NULL, false, &dx, &now[0], &now[1]);
        }
        assert_fine(context);
        assert_same_bits(now[0], late[0], "dweight");
        assert_same_bits(now[1], late[1], "dbias");
        double *sum = values(dx), *more = values(other);
        for (int64_t i = 0; i < x->count; i++)
            sum[i] += more[i];
        assert_values(with, sum, dtype == CT_F32 ? 1e-6 : 1e-14, "dx by all ways");
        free(sum);
        free(more);
        ct_context_destroy(context);
    }
}

/* No rows: nothing to normalise, gradients of the parameters are 0. */
static void norm_without_rows(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *x = ct_zeros(context, CT_F32, SHAPE(0, 4)), *weight = make(context, CT_F32, SHAPE(4), 3, 1);
    ct_tensor *mean, *rstd, *dx, *sums[2] = {NULL, NULL};
    ct_raw_layer_norm(x, weight, weight, EPSILON, &mean, &rstd);
    ct_raw_layer_norm_backward(x, weight, mean, rstd, x, NULL, false, &dx, &sums[0], &sums[1]);
    assert_fine(context);
    for (int i = 0; i < 2; i++)
        assert_values(sums[i], (const double[4]){0}, 0, "sum over no rows");
    ct_context_destroy(context);
}

static void norm_bits(void **state) {
    (void)state;
    ct_context *contexts[3];
    ct_tensor *y[3], *dx[3], *dweight[3] = {NULL}, *dbias[3] = {NULL};
    for (int t = 0; t < 3; t++) {
        ct_context *context = contexts[t] = ct_context_create(1 << t);
        ct_tensor *x = make(context, CT_F32, SHAPE(640, 100), 1, 2),
                  *g = make(context, CT_F32, SHAPE(640, 100), 2, 1);
        ct_tensor *weight = make(context, CT_F32, SHAPE(100), 3, 1), *mean, *rstd, *one_mean, *one_rstd,
                  *one_dx;
        y[t] = ct_raw_layer_norm(x, weight, NULL, EPSILON, &mean, &rstd);
        ct_raw_layer_norm_backward(x, weight, mean, rstd, g, NULL, false, &dx[t], &dweight[t], &dbias[t]);
        ct_tensor *row = rows_of(x, 0, 531, 1);
        ct_tensor *one = ct_raw_layer_norm(row, weight, NULL, EPSILON, &one_mean, &one_rstd);
        ct_raw_layer_norm_backward(row, weight, one_mean, one_rstd, rows_of(g, 0, 531, 1), NULL, false,
                                   &one_dx, NULL, NULL);
        assert_same_bits(one, rows_of(y[t], 0, 531, 1), "row alone");
        assert_same_bits(one_dx, rows_of(dx[t], 0, 531, 1), "row alone, backward");
        if (t == 0) continue;
        assert_same_bits(y[0], y[t], "y");
        assert_same_bits(dx[0], dx[t], "dx");
        assert_same_bits(dweight[0], dweight[t], "dweight");
        assert_same_bits(dbias[0], dbias[t], "dbias");
    }
    for (int t = 0; t < 3; t++)
        ct_context_destroy(contexts[t]);
}

/* The first of three axes counts sequences: one after the other, onto what there was, gives the bits of all
 * at once. */
static void gradients_are_folds_over_sequences(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    for (ct_dtype dtype = CT_F32; dtype <= CT_BF16; dtype++) {
        ct_tensor *x = make(context, dtype, SHAPE(3, 150, 40), 1, 2),
                  *g = make(context, dtype, SHAPE(3, 150, 40), 2, 1);
        ct_dtype wide = dtype == CT_F64 ? CT_F64 : CT_F32;
        ct_tensor *weight = make(context, wide, SHAPE(40), 3, 1), *mean, *rstd, *dx;
        ct_tensor *all[2] = {NULL, NULL}, *folded[2] = {NULL, NULL};
        ct_raw_layer_norm(x, weight, weight, EPSILON, &mean, &rstd);
        ct_raw_layer_norm_backward(x, weight, mean, rstd, g, NULL, false, &dx, &all[0], &all[1]);
        for (int i = 0; i < 3; i++) {
            ct_tensor *one = rows_of(x, 0, i, 1), *kept = folded[0];
            ct_raw_layer_norm_backward(one, weight, rows_of(mean, 0, i, 1), rows_of(rstd, 0, i, 1),
                                       rows_of(g, 0, i, 1), NULL, false, &dx, &folded[0], &folded[1]);
            assert_true(i == 0 || folded[0] == kept);
        }
        assert_fine(context);
        assert_same_bits(all[0], folded[0], "dweight");
        assert_same_bits(all[1], folded[1], "dbias");
    }
    ct_context_destroy(context);
}

static void norm_errors(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tensor *x = make(context, CT_F32, SHAPE(4, 6), 1, 2), *weight = make(context, CT_F32, SHAPE(5), 1, 2);
    ct_tensor *mean, *rstd, *dx = NULL;
    ct_raw_layer_norm(x, weight, NULL, EPSILON, &mean, &rstd);
    assert_error(context, CT_ERROR_SHAPE, "layer_norm: weight f32[5] does not fit x f32[4, 6]: expected [6]");
    ct_raw_layer_norm(x, NULL, weight, EPSILON, &mean, &rstd);
    assert_error(context, CT_ERROR_SHAPE, "bias f32[5]");
    ct_raw_rms_norm(ct_zeros(context, CT_I64, SHAPE(2, 2)), NULL, EPSILON, &rstd);
    assert_error(context, CT_ERROR_TYPE, "rms_norm: x is i64[2, 2]");
    ct_raw_rms_norm(ct_zeros(context, CT_F32, SHAPE(2, 0)), NULL, EPSILON, &rstd);
    assert_error(context, CT_ERROR_SHAPE, "no elements");
    ct_raw_rms_norm(x, NULL, EPSILON, &rstd);
    ct_raw_rms_norm_backward(x, NULL, rstd, weight, NULL, false, &dx, NULL);
    assert_error(context, CT_ERROR_SHAPE, "gradient f32[5]");
    ct_context_destroy(context);
}

static void some_work(ct_context *context) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_empty(context, CT_BF16, SHAPE(300, 24)), *weight = ct_empty(context, CT_F32, SHAPE(24));
    ct_tensor *mean = NULL, *rstd = NULL, *dx = NULL, *dweight = NULL, *dbias = NULL;
    if (ct_context_device(context) == CT_CPU && !ct_failed(context)) ct_fill(x, 1), ct_fill(weight, 1);
    ct_tensor *y = ct_raw_layer_norm(x, weight, weight, EPSILON, &mean, &rstd);
    ct_raw_layer_norm_backward(x, weight, mean, rstd, y, NULL, false, &dx, &dweight, &dbias);
    ct_hold(dx), ct_hold(dweight), ct_hold(mean);
    ct_scope_close(context, scope);
    ct_drop(dx), ct_drop(dweight), ct_drop(mean);
}

static void counts_and_failures(void **state) {
    (void)state;
    assert_meta_counts(some_work);
    assert_survives_allocation_failure(some_work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_against_loops), cmocka_unit_test(norm_other_ways),
        cmocka_unit_test(norm_without_rows),
        cmocka_unit_test(norm_bits),           cmocka_unit_test(gradients_are_folds_over_sequences),
        cmocka_unit_test(norm_errors),         cmocka_unit_test(counts_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
