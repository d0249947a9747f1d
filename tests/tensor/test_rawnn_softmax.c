/* test_rawnn_softmax.c - softmax, log softmax and cross entropy against plain loops in f64; bits; errors. */
#include "rawnn.h"

static const double tolerances[] = {[CT_F32] = 2e-6, [CT_F64] = 1e-13, [CT_BF16] = 1e-2, [CT_F16] = 2e-3};

static double log_sum(const double *x, int64_t n) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

static void softmax_and_gradient(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {3, 7}, {5, 1000}, {2, 20000}, {130, 33}};
    ct_context *context = ct_context_create(2);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
            for (int logarithm = 0; logarithm < 2; logarithm++) {
                ct_scope scope = ct_scope_open(context);
                int64_t rows = sizes[s][0], n = sizes[s][1];
                ct_tensor *x = make(context, dtype, SHAPE(rows, n), 1, 5),
                          *g = make(context, dtype, SHAPE(rows, n), 2, 1);
                ct_tensor *y = ct_raw_softmax(x, logarithm), *dx = ct_raw_softmax_backward(y, g, logarithm);
                assert_fine(context);
                double *vx = values(x), *vg = values(g), *vy = values(y);
                double *expected = malloc((size_t)(rows * n) * sizeof(double));
                for (int64_t r = 0; r < rows; r++) {
                    double lse = log_sum(vx + r * n, n);
                    for (int64_t i = 0; i < n; i++)
                        expected[r * n + i] = logarithm ? vx[r * n + i] - lse : exp(vx[r * n + i] - lse);
                }
                assert_values(y, expected, tolerances[dtype], "softmax");
                for (int64_t r = 0; r < rows; r++) {
                    double sum = 0;
                    for (int64_t i = r * n; i < (r + 1) * n; i++)
                        sum += logarithm ? vg[i] : vy[i] * vg[i];
                    for (int64_t i = r * n; i < (r + 1) * n; i++)
                        expected[i] = logarithm ? vg[i] - exp(vy[i]) * sum : vy[i] * (vg[i] - sum);
                }
                assert_values(dx, expected, 10 * tolerances[dtype], "gradient");
                free(vx), free(vg), free(vy), free(expected);
                ct_scope_close(context, scope);
            }
    ct_context_destroy(context);
}

static void softmax_strided_and_masked(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *x = make(context, CT_F32, SHAPE(9, 4, 17), 1, 3);
    ct_tensor *turned = swapped(x, 0, 2);
    assert_same_bits(ct_raw_softmax(turned, false), ct_raw_softmax(ct_raw_contiguous(turned), false),
                     "strided");
    const float row[4] = {-INFINITY, 1, -INFINITY, 1};
    const double half[4] = {0, 0.5, 0, 0.5};
    assert_values(ct_raw_softmax(ct_from_data(context, CT_F32, SHAPE(1, 4), row), false), half, 1e-7,
                  "masked");
    assert_int_equal(ct_raw_softmax(ct_zeros(context, CT_F32, SHAPE(0, 4)), false)->count, 0);
    ct_raw_softmax(ct_scalar(context, CT_F32, 1), false);
    assert_error(context, CT_ERROR_SHAPE, "scalar");
    ct_raw_softmax(ct_zeros(context, CT_I32, SHAPE(2)), true);
    assert_error(context, CT_ERROR_TYPE, "log_softmax: x is i32[2]");
    ct_context_destroy(context);
}

/* ------------------------------------------------------------------------------------------ cross entropy */

/* targets: [rows, n] probabilities. */
static void expected_entropy(const double *x, const double *targets, const double *scale, int64_t rows,
                             int64_t n, double smoothing, double *losses, double *gradient) {
    for (int64_t r = 0; r < rows; r++) {
        double lse = log_sum(x + r * n, n), total = 0;
        losses[r] = 0;
        for (int64_t i = 0; i < n; i++) {
            double t = (1 - smoothing) * targets[r * n + i] + smoothing / (double)n;
            total += t;
            losses[r] += scale[r] * t * (lse - x[r * n + i]);
        }
        for (int64_t i = 0; i < n; i++) {
            double t = (1 - smoothing) * targets[r * n + i] + smoothing / (double)n;
            gradient[r * n + i] = scale[r] * (exp(x[r * n + i] - lse) * total - t);
        }
    }
}

enum { ROWS = 37, CLASSES = 501 };

static void entropy_against_loops(ct_context *context, ct_dtype dtype, ct_dtype id_dtype, double smoothing,
                                  bool scaled) {
    static double one_hot[ROWS * CLASSES], losses[ROWS], gradient[ROWS * CLASSES], scale[ROWS];
    ct_scope scope = ct_scope_open(context);
    ct_dtype wide = dtype == CT_F64 ? CT_F64 : CT_F32;
    ct_tensor *x = make(context, dtype, SHAPE(ROWS, CLASSES), 1, 4),
              *weights = make(context, wide, SHAPE(ROWS), 2, 2);
    double *vx = values(x), *vw = values(weights), ids[ROWS];
    memset(one_hot, 0, sizeof one_hot);
    for (int r = 0; r < ROWS; r++) {
        ids[r] = (r * 97) % CLASSES;
        one_hot[r * CLASSES + (int)ids[r]] = 1;
        scale[r] = scaled ? vw[r] : 1;
    }
    expected_entropy(vx, one_hot, scale, ROWS, CLASSES, smoothing, losses, gradient);
    for (int c = 0; c < CLASSES; c++)
        gradient[5 * CLASSES + c] = 0;
    losses[5] = 0;
    ids[5] = -100;
    ct_tensor *targets = ct_empty(context, id_dtype, SHAPE(ROWS)), *found = NULL;
    assert_int_equal(ct_write(targets, CT_F64, ids), CT_OK);
    ct_tensor *loss = ct_raw_cross_entropy(x, targets, scaled ? weights : NULL, smoothing, -100, &found);
    assert_fine(context);
    assert_int_equal(loss->dtype, wide);
    assert_int_equal(found->dtype, dtype);
    assert_values(loss, losses, wide == CT_F64 ? 1e-12 : 5e-6, "loss");
    assert_values(found, gradient, tolerances[dtype], "gradient");
    assert_same_bits(ct_raw_cross_entropy(x, targets, scaled ? weights : NULL, smoothing, -100, NULL), loss,
                     "alone");
    free(vx), free(vw);
    ct_scope_close(context, scope);
}

static void cross_entropy_of_ids(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
        for (int mode = 0; mode < 8; mode++)
            entropy_against_loops(context, dtype, mode & 1 ? CT_I32 : CT_I64, mode & 2 ? 0.1 : 0, mode & 4);
    ct_context_destroy(context);
}

static void cross_entropy_of_soft_targets(void **state) {
    (void)state;
    static double losses[ROWS], gradient[ROWS * CLASSES];
    ct_context *context = ct_context_create(2);
    for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
        for (int mode = 0; mode < 4; mode++) {
            ct_scope scope = ct_scope_open(context);
            double smoothing = mode & 1 ? 0.2 : 0;
            ct_dtype wide = dtype == CT_F64 ? CT_F64 : CT_F32;
            ct_tensor *x = make(context, dtype, SHAPE(ROWS, CLASSES), 1, 4);
            ct_tensor *targets = ct_raw_softmax(make(context, wide, SHAPE(ROWS, CLASSES), 3, 2), false);
            ct_tensor *weights = make(context, wide, SHAPE(ROWS), 2, 2), *found = NULL;
            double *vx = values(x), *vt = values(targets), *vw = values(weights);
            if (!(mode & 2))
                for (int r = 0; r < ROWS; r++)
                    vw[r] = 1;
            expected_entropy(vx, vt, vw, ROWS, CLASSES, smoothing, losses, gradient);
            ct_tensor *loss =
                ct_raw_cross_entropy(x, targets, mode & 2 ? weights : NULL, smoothing, -100, &found);
            assert_fine(context);
            assert_values(loss, losses, wide == CT_F64 ? 1e-12 : 5e-6, "loss");
            assert_values(found, gradient, tolerances[dtype], "gradient");
            free(vx), free(vt), free(vw);
            ct_scope_close(context, scope);
        }
    ct_context_destroy(context);
}

static void cross_entropy_bits(void **state) {
    (void)state;
    ct_context *contexts[3];
    ct_tensor *losses[3], *gradients[3];
    for (int t = 0; t < 3; t++) {
        ct_context *context = contexts[t] = ct_context_create(1 << t);
        ct_tensor *x = make(context, CT_F32, SHAPE(64, 5003), 1, 4);
        int64_t ids[64];
        for (int r = 0; r < 64; r++)
            ids[r] = r * 7;
        ct_tensor *targets = ct_from_data(context, CT_I64, SHAPE(64), ids);
        losses[t] = ct_raw_cross_entropy(x, targets, NULL, 0.1, -100, &gradients[t]);
        for (int r = 0; r < 64; r += 13) {
            ct_tensor *gradient, *loss = ct_raw_cross_entropy(rows_of(x, 0, r, 1), rows_of(targets, 0, r, 1),
                                                              NULL, 0.1, -100, &gradient);
            assert_same_bits(loss, rows_of(losses[t], 0, r, 1), "row alone");
            assert_same_bits(gradient, rows_of(gradients[t], 0, r, 1), "row alone");
        }
        if (t == 0) continue;
        assert_same_bits(losses[0], losses[t], "threads");
        assert_same_bits(gradients[0], gradients[t], "threads");
    }
    for (int t = 0; t < 3; t++)
        ct_context_destroy(contexts[t]);
}

static void cross_entropy_errors(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_tensor *x = make(context, CT_F32, SHAPE(300, 11), 1, 1);
    int64_t ids[300];
    for (int i = 0; i < 300; i++)
        ids[i] = i % 11;
    ids[7] = 11, ids[250] = -3;
    ct_raw_cross_entropy(x, ct_from_data(context, CT_I64, SHAPE(300), ids), NULL, 0, -100, NULL);
    assert_error(context, CT_ERROR_ARGUMENT,
                 "target 11 at position 7 is not a class: expected 0 to 10, or -100");
    ids[7] = 0;
    ct_raw_cross_entropy(x, ct_from_data(context, CT_I64, SHAPE(300), ids), NULL, 0, -100, NULL);
    assert_error(context, CT_ERROR_ARGUMENT, "target -3 at position 250");
    ct_raw_cross_entropy(x, ct_zeros(context, CT_I64, SHAPE(299)), NULL, 0, -100, NULL);
    assert_error(context, CT_ERROR_SHAPE, "f32[300, 11] and targets i64[299]");
    ct_raw_cross_entropy(x, ct_zeros(context, CT_U8, SHAPE(300)), NULL, 0, -100, NULL);
    assert_error(context, CT_ERROR_TYPE, "u8[300]");
    ct_raw_cross_entropy(x, ct_zeros(context, CT_I64, SHAPE(300)), ct_zeros(context, CT_F32, SHAPE(3)), 0,
                         -100, NULL);
    assert_error(context, CT_ERROR_SHAPE, "weights f32[3]");
    ct_raw_cross_entropy(x, ct_zeros(context, CT_I64, SHAPE(300)), NULL, 1.5, -100, NULL);
    assert_error(context, CT_ERROR_ARGUMENT, "label smoothing is 1.5");
    ct_context_destroy(context);
}

static void some_work(ct_context *context) {
    ct_scope scope = ct_scope_open(context);
    bool fill = ct_context_device(context) == CT_CPU;
    ct_tensor *x = ct_empty(context, CT_BF16, SHAPE(20, 30)), *g = ct_empty(context, CT_F32, SHAPE(30, 20));
    ct_tensor *ids = ct_empty(context, CT_I32, SHAPE(20)), *gradient = NULL;
    if (fill && !ct_failed(context)) ct_fill(x, 1), ct_fill(g, 1), ct_fill(ids, 3);
    ct_tensor *y = ct_raw_softmax(x, true);
    ct_raw_softmax_backward(y, swapped(g, 0, 1), true);
    ct_raw_cross_entropy(x, ids, NULL, 0.1, -100, &gradient);
    ct_raw_cross_entropy(x, y, NULL, 0.1, -100, &gradient);
    ct_hold(gradient);
    ct_scope_close(context, scope);
    ct_drop(gradient);
}

static void counts_and_failures(void **state) {
    (void)state;
    assert_meta_counts(some_work);
    assert_survives_allocation_failure(some_work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_and_gradient), cmocka_unit_test(softmax_strided_and_masked),
        cmocka_unit_test(cross_entropy_of_ids), cmocka_unit_test(cross_entropy_of_soft_targets),
        cmocka_unit_test(cross_entropy_bits),   cmocka_unit_test(cross_entropy_errors),
        cmocka_unit_test(counts_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
