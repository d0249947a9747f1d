/* test_kernels.c - elementwise kernels, reductions, soft maximum and cross entropy against straightforward
 * mathematics in double precision, and the promises of kernels.h: what may be cut where, what may be in
 * place. */
#include "kernel_check.h"

/* -------------------------------------------------------------------------------------------- elementwise */

static void unary_values(void **unused) {
    (void)unused;
    const float x[5] = {-2.5f, -0.0f, 0.5f, 1.5f, 300};
    const struct {
        ct_unary op;
        float p, q, want[5];
    } cases[] = {
        {CT_UNARY_NEG, 0, 0, {2.5f, 0, -0.5f, -1.5f, -300}},
        {CT_UNARY_RELU, 0, 0, {0, 0, 0.5f, 1.5f, 300}},
        {CT_UNARY_LEAKY_RELU, 0.5f, 0, {-1.25f, 0, 0.5f, 1.5f, 300}},
        {CT_UNARY_ROUND, 0, 0, {-2, 0, 0, 2, 300}},
        {CT_UNARY_SIGN, 0, 0, {-1, 0, 1, 1, 1}},
        {CT_UNARY_SQUARE, 0, 0, {6.25f, 0, 0.25f, 2.25f, 90000}},
        {CT_UNARY_SCALE, 2, 1, {-4, 1, 2, 4, 601}},
        {CT_UNARY_CLAMP, -1, 1, {-1, 0, 0.5f, 1, 1}},
        {CT_UNARY_POW, 2, 0, {6.25f, 0, 0.25f, 2.25f, 90000}},
        {CT_UNARY_RECIPROCAL, 0, 0, {-0.4f, -INFINITY, 2, 1 / 1.5f, 1 / 300.0f}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; ++c) {
        float y[5];
        k->f32.unary(cases[c].op, 5, x, y, cases[c].p, cases[c].q);
        for (int i = 0; i < 5; ++i)
            if (y[i] != cases[c].want[i])
                fail_msg("op %d of %g: %g, expected %g", (int)cases[c].op, (double)x[i], (double)y[i],
                         (double)cases[c].want[i]);
    }
    float nan = NAN, y;
    k->f32.unary(CT_UNARY_RELU, 1, &nan, &y, 0, 0);
    assert_true(isnan(y));
    k->f32.unary(CT_UNARY_CLAMP, 1, &nan, &y, 0, 1);
    assert_true(isnan(y));
}

/* Gradients against central differences of the forward kernel, in f64. */
static void unary_gradients(void **unused) {
    (void)unused;
    const struct {
        ct_unary_gradient gradient;
        ct_unary op;
        bool from_result;
    } pairs[] = {{CT_GRADIENT_RELU, CT_UNARY_RELU, false},
                 {CT_GRADIENT_LEAKY_RELU, CT_UNARY_LEAKY_RELU, false},
                 {CT_GRADIENT_ELU, CT_UNARY_ELU, false},
                 {CT_GRADIENT_GELU_ERF, CT_UNARY_GELU_ERF, false},
                 {CT_GRADIENT_GELU_TANH, CT_UNARY_GELU_TANH, false},
                 {CT_GRADIENT_SILU, CT_UNARY_SILU, false},
                 {CT_GRADIENT_SOFTPLUS, CT_UNARY_SOFTPLUS, false},
                 {CT_GRADIENT_TANH, CT_UNARY_TANH, true},
                 {CT_GRADIENT_SIGMOID, CT_UNARY_SIGMOID, true}};
    enum { n = 101 };
    for (size_t c = 0; c < sizeof pairs / sizeof pairs[0]; ++c) {
        double x[n], y[n], above[n], below[n], dy[n], dx[n], h = 1e-5;
        float x32[n], dy32[n], dx32[n];
        for (int i = 0; i < n; ++i) {
            x[i] = (i - 50) * 0.11 + 0.013;
            dy[i] = normal();
            above[i] = x[i] + h;
            below[i] = x[i] - h;
        }
        k->f64.unary(pairs[c].op, n, x, y, 0.3, 0);
        k->f64.unary(pairs[c].op, n, above, above, 0.3, 0);
        k->f64.unary(pairs[c].op, n, below, below, 0.3, 0);
        const double *saved = pairs[c].from_result ? y : x;
        k->f64.unary_backward(pairs[c].gradient, n, saved, dy, dx, 0.3, 0);
        for (int i = 0; i < n; ++i) {
            NEAR(dx[i], dy[i] * (above[i] - below[i]) / (2 * h), 1e-8);
            x32[i] = (float)saved[i];
            dy32[i] = (float)dy[i];
        }
        k->f32.unary_backward(pairs[c].gradient, n, x32, dy32, dx32, 0.3f, 0);
        for (int i = 0; i < n; ++i)
            NEAR(dx32[i], dx[i], 2e-6);
    }
}

static void binary_and_compare(void **unused) {
    (void)unused;
    enum { n = 37 };
    float *a = floats(n), *b = floats(n), y[n];
    uint8_t mask[n];
    a[3] = NAN;
    b[4] = NAN;
    a[5] = b[5];
    k->f32.binary(CT_BINARY_MAX, n, a, 1, b, 1, y);
    for (int i = 0; i < n; ++i)
        assert_true(i == 3 || i == 4 ? isnan(y[i]) : y[i] == fmaxf(a[i], b[i]));
    k->f32.binary(CT_BINARY_MIN, n, a, 1, b, 1, y);
    for (int i = 0; i < n; ++i)
        assert_true(i == 3 || i == 4 ? isnan(y[i]) : y[i] == fminf(a[i], b[i]));
    k->f32.binary(CT_BINARY_SUB, n, a, 0, b, 1, y);
    for (int i = 0; i < n; ++i)
        assert_true(i == 4 || y[i] == a[0] - b[i]);
    k->f32.binary(CT_BINARY_DIV, n, a, 1, b, 0, y);
    for (int i = 0; i < n; ++i)
        assert_true(i == 3 || y[i] == a[i] / b[0]);
    k->f32.compare(CT_COMPARE_GE, n, a, 1, b, 1, mask);
    for (int i = 0; i < n; ++i)
        assert_int_equal(mask[i], a[i] >= b[i]);
    k->f32.compare(CT_COMPARE_NE, n, a, 1, b, 1, mask);
    for (int i = 0; i < n; ++i)
        assert_int_equal(mask[i], a[i] != b[i]);
    for (int i = 0; i < n; ++i)
        mask[i] = i % 3 == 0 ? 7 : 0;
    k->f32.where(n, mask, a, 1, b, 0, y);
    for (int i = 0; i < n; ++i)
        assert_true(i == 3 || y[i] == (mask[i] ? a[i] : b[0]));
    double p[3] = {1, 2, 3}, q[3] = {10, 20, 30}, r[3];
    k->f64.lerp(3, 0.25, p, q, r);
    assert_true(r[0] == 3.25 && r[1] == 6.5 && r[2] == 9.75);
    k->f64.axpy(3, 2, p, q);
    assert_true(q[0] == 12 && q[2] == 36);
    k->f64.axpby(3, 1, p, -1, q);
    assert_true(q[0] == -11 && q[2] == -33);
    k->f64.addcmul(3, 2, p, p, q, r);
    assert_true(r[0] == -9 && r[1] == 2 * 4 + q[1]);
    test_free(a);
    test_free(b);
}

/* An element's bits do not depend on where it stands in the range or on streaming. */
static void position_does_not_matter(void **unused) {
    (void)unused;
    enum { n = 3000 };
    float *x = floats(n), *whole = floats(n), *parts = floats(n);
    for (int op = 0; op < CT_UNARY_COUNT; ++op) {
        k->f32.unary(op, n, x, whole, 0.5f, 0.7f);
        for (int64_t i = 0, step = 1; i < n; i += step, step = step % 61 + 1)
            k->f32.unary(op, i + step < n ? step : n - i, x + i, parts + i, 0.5f, 0.7f);
        assert_memory_equal(whole, parts, n * sizeof(float));
        k->f32.unary(op | CT_KERNEL_STREAM, n, x, parts, 0.5f, 0.7f);
        assert_memory_equal(whole, parts, n * sizeof(float));
        memcpy(parts, x, n * sizeof(float));
        k->f32.unary(op | CT_KERNEL_STREAM, n - 1, parts + 1, parts + 1, 0.5f, 0.7f);
        assert_memory_equal(whole + 1, parts + 1, (n - 1) * sizeof(float));
    }
    test_free(x);
    test_free(whole);
    test_free(parts);
}

static void gated_units(void **unused) {
    (void)unused;
    enum { n = 50 };
    double *g = doubles(n), *u = doubles(n), *dy = doubles(n), y[n], above[n], below[n], moved[n], dg[n],
           du[n];
    for (int op = 0; op < CT_GATE_COUNT; ++op) {
        k->f64.gated((ct_gate)op, n, g, u, y);
        k->f64.gated_backward((ct_gate)op, n, g, u, dy, dg, du);
        for (int i = 0; i < n; ++i)
            moved[i] = g[i] + 1e-5;
        k->f64.gated((ct_gate)op, n, moved, u, above);
        for (int i = 0; i < n; ++i)
            moved[i] = g[i] - 1e-5;
        k->f64.gated((ct_gate)op, n, moved, u, below);
        for (int i = 0; i < n; ++i) {
            NEAR(dg[i], dy[i] * (above[i] - below[i]) / 2e-5, 1e-8);
            NEAR(du[i], dy[i] * y[i] / u[i], 1e-12);
        }
    }
    k->f64.gated(CT_GATE_SILU, n, g, u, y);
    for (int i = 0; i < n; ++i)
        NEAR(y[i], g[i] / (1 + exp(-g[i])) * u[i], 1e-14);
    test_free(g);
    test_free(u);
    test_free(dy);
}

/* --------------------------------------------------------------------------------------------- reductions */

static void reductions(void **unused) {
    (void)unused;
    static const int64_t lengths[] = {0, 1, 15, 16, 63, 64, 100, 4096, 4097, 20000, 100003};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; ++l) {
        int64_t n = lengths[l];
        float *x = floats(n), *y = floats(n);
        double sum = 0, absolute = 0, squares = 0, dot = 0, highest = -INFINITY, lowest = INFINITY;
        int64_t where = -1;
        for (int64_t i = 0; i < n; ++i) {
            sum += x[i];
            absolute += fabs((double)x[i] - 0.5);
            squares += ((double)x[i] - 0.5) * ((double)x[i] - 0.5);
            dot += (double)x[i] * (double)y[i];
            if (x[i] > highest) highest = x[i], where = i;
            if (x[i] < lowest) lowest = x[i];
        }
        NEAR(k->f32.reduce(CT_REDUCE_SUM, n, x, 0), sum, 2e-4);
        NEAR(k->f32.reduce(CT_REDUCE_SUM_ABS, n, x, 0.5f), absolute, 1e-6);
        NEAR(k->f32.reduce(CT_REDUCE_SUM_SQUARES, n, x, 0.5f), squares, 1e-6);
        NEAR(k->f32.dot(n, x, y), dot, 1e-10);
        assert_true(k->f32.reduce(CT_REDUCE_MAX, n, x, 0) == highest);
        assert_true(k->f32.reduce(CT_REDUCE_MIN, n, x, 0) == lowest);
        assert_int_equal(k->f32.argmax(n, x), where);
        double partials[32];
        int64_t count = 0;
        for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK, ++count)
            partials[count] = k->f32.reduce_block(
                CT_REDUCE_SUM, n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK, x + i, 0);
        assert_true(ct_reduce_combine(CT_REDUCE_SUM, count, partials) ==
                    k->f32.reduce(CT_REDUCE_SUM, n, x, 0));
        test_free(x);
        test_free(y);
    }
    float values[6] = {1, 5, NAN, 5, NAN, 7}, same[4] = {2, 9, 9, -1};
    assert_true(isnan(k->f32.reduce(CT_REDUCE_MAX, 6, values, 0)));
    assert_true(isnan(k->f32.reduce(CT_REDUCE_MIN, 6, values, 0)));
    assert_int_equal(k->f32.argmax(6, values), 2);
    assert_int_equal(k->f32.argmax(4, same), 1);
    assert_int_equal(k->f32.argmin(4, same), 3);
    double three[3] = {1, 2, 4};
    assert_true(k->f64.reduce(CT_REDUCE_SUM, 3, three, 1) == 4);
}

static void column_reductions(void **unused) {
    (void)unused;
    int64_t rows = 11, columns = 2100, stride = 2105;
    float *x = floats(rows * stride), *y = floats(columns), *before = floats(columns);
    memcpy(y, before, (size_t)columns * sizeof(float));
    k->f32.column_reduce(CT_REDUCE_SUM, rows, columns, x, stride, y, true);
    for (int64_t c = 0; c < columns; ++c) {
        float sum = before[c]; /* in this very order */
        for (int64_t r = 0; r < rows; ++r)
            sum += x[r * stride + c];
        assert_true(sum == y[c]);
    }
    k->f32.column_reduce(CT_REDUCE_MAX, rows, columns, x, stride, y, false);
    for (int64_t c = 0; c < columns; ++c) {
        float highest = -INFINITY;
        for (int64_t r = 0; r < rows; ++r)
            highest = fmaxf(highest, x[r * stride + c]);
        assert_true(highest == y[c]);
    }
    test_free(x);
    test_free(y);
    test_free(before);
}

/* ---------------------------------------------------------------------------- soft maximum, cross entropy */

static double row_lse(int64_t n, const float *x) {
    double highest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; ++i)
        highest = fmax(highest, x[i]);
    for (int64_t i = 0; i < n; ++i)
        sum += exp((double)x[i] - highest);
    return highest + log(sum);
}

static void softmax_rows(void **unused) {
    (void)unused;
    static const int64_t lengths[] = {1, 5, 16, 100, 4096, 5000, 70000, 600001};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; ++l) {
        int64_t n = lengths[l];
        float *x = floats(n), *y = floats(n), *z = floats(n), lse;
        double want = row_lse(n, x), total = 0;
        k->f32.softmax(1, n, x, n, y, n);
        k->f32.log_softmax(1, n, x, n, z, n);
        k->f32.logsumexp(1, n, x, n, &lse);
        NEAR(lse, want, 1e-6);
        for (int64_t i = 0; i < n; ++i) {
            assert_true(fabs((double)y[i] / exp((double)x[i] - want) - 1) < 3e-6);
            NEAR(z[i], (double)x[i] - want, 1e-6);
            total += (double)y[i];
        }
        NEAR(total, 1, 2e-6);
        if (n > CT_SOFTMAX_LONG) { /* in parts, and each part anywhere */
            ct_softmax_part parts[200], sum;
            int64_t count = 0;
            for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK, ++count)
                k->f32.softmax_part(n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK, x + i, &parts[count]);
            k->f32.softmax_combine(count, parts, &sum);
            for (int64_t i = 0; i < n; i += 999)
                k->f32.softmax_write(n - i < 999 ? n - i : 999, x + i, &sum, z + i, i & 1);
            assert_memory_equal(y, z, (size_t)n * sizeof(float));
        }
        k->f32.softmax(1, n, x, n, x, n); /* in place */
        assert_memory_equal(x, y, (size_t)n * sizeof(float));
        test_free(x);
        test_free(y);
        test_free(z);
    }
    float none[3] = {-INFINITY, -INFINITY, -INFINITY}, some[3] = {-INFINITY, 1, 1}, y[3], lse;
    k->f32.softmax(1, 3, some, 3, y, 3);
    assert_true(y[0] == 0 && y[1] == 0.5f && y[2] == 0.5f);
    k->f32.softmax(1, 3, none, 3, y, 3);
    assert_true(isnan(y[0]));
    k->f32.logsumexp(1, 3, none, 3, &lse);
    assert_true(lse == -INFINITY);
    some[0] = NAN;
    k->f32.softmax(1, 3, some, 3, y, 3);
    assert_true(isnan(y[0]) && isnan(y[2]));
}

/* Long rows far from 0, on both sides of where the exponent is worked out with the offset in it. */
static void softmax_far_rows(void **unused) {
    (void)unused;
    static const float shifts[] = {-900, 900, 5000};
    enum { FAR = 70000 };
    for (int s = 0; s < 3; ++s) {
        float *x = floats(FAR), *y = floats(FAR);
        for (int64_t i = 0; i < FAR; ++i)
            x[i] += shifts[s];
        double want = row_lse(FAR, x);
        k->f32.softmax(1, FAR, x, FAR, y, FAR);
        for (int64_t i = 0; i < FAR; ++i)
            assert_true(fabs((double)y[i] / exp((double)x[i] - want) - 1) < 3e-6);
        test_free(x);
        test_free(y);
    }
}

static void softmax_gradients(void **unused) {
    (void)unused;
    enum { n = 21 };
    double *x = doubles(n), *dy = doubles(n), y[n], z[n], dx[n], dz[n], h = 1e-5;
    k->f64.softmax(1, n, x, n, y, n);
    k->f64.log_softmax(1, n, x, n, z, n);
    k->f64.softmax_backward(1, n, y, n, dy, n, dx, n);
    k->f64.log_softmax_backward(1, n, z, n, dy, n, dz, n);
    for (int i = 0; i < n; ++i) {
        double moved[n], value[2][2];
        for (int side = 0; side < 2; ++side) {
            memcpy(moved, x, sizeof moved);
            moved[i] += side ? h : -h;
            k->f64.softmax(1, n, moved, n, y, n);
            k->f64.log_softmax(1, n, moved, n, z, n);
            value[side][0] = k->f64.dot(n, y, dy);
            value[side][1] = k->f64.dot(n, z, dy);
        }
        NEAR(dx[i], (value[1][0] - value[0][0]) / (2 * h), 1e-9);
        NEAR(dz[i], (value[1][1] - value[0][1]) / (2 * h), 1e-9);
    }
    test_free(x);
    test_free(dy);
}

static void cross_entropy_rows(void **unused) {
    (void)unused;
    enum { rows = 4, n = 5003 };
    float *x = floats(rows * n), *d = floats(rows * n), *again = floats(rows * n), loss[rows], lse[rows];
    const int64_t targets[rows] = {0, 5002, -100, 17};
    const float scale[rows] = {1, 0.25f, 3, -2};
    const double eps = 0.1;
    assert_int_equal(
        k->f32.cross_entropy(rows, n, CT_F32, x, n, targets, -100, 0.1f, loss, lse, false, scale, 1, d, n),
        -1);
    for (int r = 0; r < rows; ++r) {
        const float *row = x + r * n;
        double total = row_lse(n, row), mean = 0;
        for (int i = 0; i < n; ++i)
            mean += (double)row[i] / n;
        NEAR(lse[r], total, 1e-6);
        bool ignored = targets[r] == -100;
        NEAR(loss[r], ignored ? 0 : total - (1 - eps) * (double)row[targets[r]] - eps * mean, 1e-6);
        for (int i = 0; i < n; ++i) {
            double want = exp((double)row[i] - total) - eps / n - (i == targets[r] ? 1 - eps : 0);
            NEAR(d[r * n + i], ignored ? 0 : (double)scale[r] * want, 2e-7);
        }
    }
    k->f32.cross_entropy(rows, n, CT_F32, x, n, targets, -100, 0.1f, NULL, lse, true, scale, 1, again, n);
    assert_memory_equal(d, again, sizeof(float) * rows * n);
    uint16_t *half = test_malloc(2 * rows * n);
    k->convert(rows * n, CT_F32, x, CT_BF16, half);
    k->f32.cross_entropy(rows, n, CT_BF16, half, n, targets, -100, 0, loss, NULL, false, scale, 0, half, n);
    for (int r = 0; r < rows; ++r)
        if (r != 2) NEAR(loss[r], (double)lse[r] - (double)x[r * n + targets[r]], 0.02);
    NEAR(ct_bf16_to_f32(half[0]), exp((double)x[0] - (double)lse[0]) - 1, 0.005);
    const int64_t wrong[rows] = {1, 2, n, 3};
    loss[2] = 77;
    assert_int_equal(
        k->f32.cross_entropy(rows, n, CT_F32, x, n, wrong, -100, 0, loss, NULL, false, scale, 1, NULL, n), 2);
    assert_true(loss[2] == 77);
    test_free(half);
    test_free(x);
    test_free(d);
    test_free(again);
}

int main(void) {
    k = ct_cpu_kernels();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_values),       cmocka_unit_test(unary_gradients),
        cmocka_unit_test(binary_and_compare), cmocka_unit_test(position_does_not_matter),
        cmocka_unit_test(gated_units),        cmocka_unit_test(reductions),
        cmocka_unit_test(column_reductions),  cmocka_unit_test(softmax_rows),
        cmocka_unit_test(softmax_far_rows),   cmocka_unit_test(softmax_gradients),
        cmocka_unit_test(cross_entropy_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
