/* test_kernels.c - the CPU kernels against straightforward mathematics in double precision, and the promises
 * of kernels.h: what may be cut where, what may be in place, which rows equal which. */
#include "base/random_internal.h"
#include "tensor/cpu/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const ct_kernels *k;

static uint64_t state = 88172645463325252u;
static double uniform(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}
static double normal(void) {
    return uniform() + uniform() + uniform() + uniform() + uniform() + uniform() - 3;
}
static float *floats(int64_t n) {
    float *x = test_malloc((size_t)(n + 1) * sizeof(float));
    for (int64_t i = 0; i < n; ++i)
        x[i] = (float)(2 * normal());
    return x;
}
static double *doubles(int64_t n) {
    double *x = test_malloc((size_t)(n + 1) * sizeof(double));
    for (int64_t i = 0; i < n; ++i)
        x[i] = 2 * normal();
    return x;
}
#define NEAR(got, want, tolerance)                                                                           \
    do {                                                                                                     \
        double got_ = (got), want_ = (want);                                                                 \
        if (!(fabs(got_ - want_) <= (tolerance) * (1 + fabs(want_))))                                        \
            fail_msg("line %d: got %.17g, expected %.17g", __LINE__, got_, want_);                           \
    } while (0)

/* ----------------------------------------------------------------------------------------------- elementwise
 * --- */

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

/* ------------------------------------------------------------------------------------------------ reductions
 * --- */

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

/* ---------------------------------------------------------------------------- soft maximum, cross entropy
 * --- */

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

/* ----------------------------------------------------------------------------------------------------- norms
 * --- */

static void layer_norm_rows(void **unused) {
    (void)unused;
    enum { rows = 3, n = 777 };
    float *x = floats(rows * n), *residual = floats(rows * n), *sum = floats(rows * n), *y = floats(rows * n);
    float *gamma = floats(n), *beta = floats(n), mean[rows], rstd[rows];
    k->f32.layer_norm(rows, n, x, residual, sum, gamma, beta, 1e-5, y, mean, rstd);
    for (int r = 0; r < rows; ++r) {
        double m = 0, v = 0, square = 0;
        for (int i = 0; i < n; ++i) {
            double z = (double)(x[r * n + i] + residual[r * n + i]);
            assert_true(sum[r * n + i] == (float)z);
            m += z / n;
            square += z * z / n;
        }
        for (int i = 0; i < n; ++i)
            v += ((double)sum[r * n + i] - m) * ((double)sum[r * n + i] - m) / n;
        NEAR(mean[r], m, 1e-6);
        NEAR(rstd[r], 1 / sqrt(v + 1e-5), 1e-6);
        for (int i = 0; i < n; ++i)
            NEAR(y[r * n + i],
                 ((double)sum[r * n + i] - m) / sqrt(v + 1e-5) * (double)gamma[i] + (double)beta[i], 2e-6);
    }
    k->f32.rms_norm(rows, n, sum, NULL, NULL, gamma, 1, 1e-6, y, rstd);
    for (int r = 0; r < rows; ++r) {
        double square = 0;
        for (int i = 0; i < n; ++i)
            square += (double)sum[r * n + i] * (double)sum[r * n + i] / n;
        for (int i = 0; i < n; ++i)
            NEAR(y[r * n + i], (double)sum[r * n + i] / sqrt(square + 1e-6) * (1 + (double)gamma[i]), 2e-6);
    }
    test_free(x);
    test_free(residual);
    test_free(sum);
    test_free(y);
    test_free(gamma);
    test_free(beta);
}

/* Central differences of sum(y dy), both norms, all inputs. */
static double norm_value(bool rms, int rows, int n, const double *x, const double *gamma, const double *beta,
                         const double *dy, double *mean, double *rstd) {
    double y[64];
    if (rms)
        k->f64.rms_norm(rows, n, x, NULL, NULL, gamma, 0.5, 1e-3, y, rstd);
    else
        k->f64.layer_norm(rows, n, x, NULL, NULL, gamma, beta, 1e-3, y, mean, rstd);
    return k->f64.dot(rows * n, y, dy);
}
static void norm_gradients(void **unused) {
    (void)unused;
    enum { rows = 3, n = 19, all = rows * n };
    double *x = doubles(all), *dy = doubles(all), *dsum = doubles(all), *gamma = doubles(n),
           *beta = doubles(n);
    double mean[rows], rstd[rows], dx[all], dgamma[n], dbeta[n], h = 1e-5;
    for (int rms = 0; rms < 2; ++rms) {
        norm_value(rms, rows, n, x, gamma, beta, dy, mean, rstd);
        if (rms)
            k->f64.rms_norm_backward(rows, n, x, gamma, 0.5, rstd, dy, dsum, dx, dgamma);
        else
            k->f64.layer_norm_backward(rows, n, x, gamma, mean, rstd, dy, dsum, dx, dgamma, dbeta);
        double *inputs[3] = {x, gamma, beta}, *gradients[3] = {dx, dgamma, dbeta};
        const int sizes[3] = {all, n, rms ? 0 : n};
        for (int which = 0; which < 3; ++which)
            for (int i = 0; i < sizes[which]; ++i) {
                double keep = inputs[which][i];
                inputs[which][i] = keep + h;
                double above = norm_value(rms, rows, n, x, gamma, beta, dy, mean, rstd);
                inputs[which][i] = keep - h;
                double below = norm_value(rms, rows, n, x, gamma, beta, dy, mean, rstd);
                inputs[which][i] = keep;
                NEAR(gradients[which][i], (above - below) / (2 * h) + (which == 0 ? dsum[i] : 0), 2e-8);
            }
    }
    test_free(x);
    test_free(dy);
    test_free(dsum);
    test_free(gamma);
    test_free(beta);
}

/* ------------------------------------------------------------------------------------------------ optimizers
 * --- */

static void optimizer_steps(void **unused) {
    (void)unused;
    enum { n = 21 };
    double *w = doubles(n), *g = doubles(n), m[n], v[n], w0[n], m0[n], v0[n];
    uint16_t shadow[n];
    for (int i = 0; i < n; ++i) {
        m[i] = m0[i] = normal();
        v[i] = v0[i] = uniform();
        w0[i] = w[i];
    }
    ct_adamw adamw = {.learning_rate = 0.01,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .epsilon = 1e-8,
                      .weight_decay = 0.1,
                      .bias_correction1 = 1 - 0.81,
                      .bias_correction2 = 1 - 0.9801,
                      .gradient_scale = 0.5};
    k->f64.adamw(n, w, g, m, v, &adamw, shadow);
    for (int i = 0; i < n; ++i) {
        double d = 0.5 * g[i], mi = 0.9 * m0[i] + 0.1 * d, vi = 0.99 * v0[i] + 0.01 * d * d;
        double want = w0[i] * (1 - 0.001) - 0.01 / 0.19 * mi / (sqrt(vi / 0.0199) + 1e-8);
        NEAR(m[i], mi, 1e-14);
        NEAR(v[i], vi, 1e-14);
        NEAR(w[i], want, 1e-12);
        assert_int_equal(shadow[i], ct_f32_to_bf16((float)w[i]));
    }
    memcpy(w0, w, sizeof w0);
    memcpy(m0, m, sizeof m0);
    ct_sgd sgd = {.learning_rate = 0.1,
                  .momentum = 0.9,
                  .dampening = 0,
                  .weight_decay = 0.01,
                  .gradient_scale = 1,
                  .nesterov = true};
    k->f64.sgd(n, w, g, m, &sgd, NULL);
    for (int i = 0; i < n; ++i) {
        double d = g[i] + 0.01 * w0[i], mi = 0.9 * m0[i] + d;
        NEAR(m[i], mi, 1e-14);
        NEAR(w[i], w0[i] - 0.1 * (d + 0.9 * mi), 1e-14);
    }
    memcpy(w0, w, sizeof w0);
    sgd = (ct_sgd){.learning_rate = 0.1, .gradient_scale = 1};
    k->f64.sgd(n, w, g, NULL, &sgd, NULL);
    for (int i = 0; i < n; ++i)
        NEAR(w[i], w0[i] - 0.1 * g[i], 1e-14);
    test_free(w);
    test_free(g);
}

/* ---------------------------------------------------------------------------------------------------- random
 * --- */

static void random_fills(void **unused) {
    (void)unused;
    enum { n = 200000 };
    float *x = floats(n), *y = floats(n);
    uint32_t words[40], block[4];
    /* Known answer of Philox 4x32-10 (Random123): counter and key all zero. */
    ct_random_range range = {0, 0, 0};
    ct_random_block(0, 0, 0, block);
    assert_true(block[0] == 0x6627e8d5u && block[1] == 0xe169c58du && block[2] == 0xbc57ac4cu &&
                block[3] == 0x9b00dbd8u);
    range = (ct_random_range){123456789012345u, 98765432109876u, 1000003};
    k->random_words(40, words, range);
    for (int i = 0; i < 40; ++i)
        assert_int_equal(words[i], ct_random_u32_at(range.seed, range.stream, range.offset + (uint64_t)i));
    k->f32.random_uniform(40, x, 0, 1, range);
    for (int i = 0; i < 40; ++i)
        assert_true(x[i] == (float)(words[i] >> 8) * 0x1p-24f);
    double wide[9];
    k->f64.random_uniform(9, wide, 0, 1, range);
    for (int i = 0; i < 9; ++i)
        assert_true(wide[i] == ct_random_uniform_at(range.seed, range.stream, range.offset + (uint64_t)i));
    k->f64.random_normal(9, wide, 0, 1, range);
    for (int i = 0; i < 9; ++i)
        NEAR(wide[i], ct_random_normal_at(range.seed, range.stream, range.offset + (uint64_t)i), 1e-14);
    k->f32.random_normal(n, x, 0, 1, range);
    for (int64_t i = 0, step = 1; i < n; i += step, step = step % 97 + 1) { /* cut anywhere */
        ct_random_range part = {range.seed, range.stream, range.offset + (uint64_t)i};
        k->f32.random_normal(i + step < n ? step : n - i, y + i, 0, 1, part);
    }
    assert_memory_equal(x, y, n * sizeof(float));
    double moments[5] = {0};
    int64_t beyond = 0;
    for (int i = 0; i < n; ++i) {
        double power = 1;
        for (int p = 1; p < 5; ++p)
            moments[p] += (power *= (double)x[i]) / n;
        beyond += fabsf(x[i]) > 1.959964f;
    }
    assert_true(fabs(moments[1]) < 0.01 && fabs(moments[2] - 1) < 0.02 && fabs(moments[3]) < 0.04);
    assert_true(fabs(moments[4] - 3) < 0.15 && fabs((double)beyond / n - 0.05) < 0.003);
    k->f32.fill(n, 1, y);
    k->f32.random_perturb(n, y, 0.5, range);
    for (int i = 0; i < n; ++i)
        NEAR(y[i], 1 + 0.5 * (double)x[i], 1e-6);
    uint8_t *mask = test_malloc(n);
    k->random_bernoulli(n, mask, 0.75, range);
    k->f32.dropout(n, x, y, 0.25, range);
    int64_t kept = 0, ones = 0;
    for (int i = 0; i < n; ++i) {
        kept += y[i] != 0;
        ones += mask[i];
        assert_true(y[i] == 0 || y[i] == x[i] * (float)(1 / 0.75));
    }
    assert_true(fabs((double)kept / n - 0.75) < 0.005 && fabs((double)ones / n - 0.75) < 0.005);
    test_free(mask);
    test_free(x);
    test_free(y);
}

/* ------------------------------------------------------------------------------------- conversions, layout
 * --- */

static void conversions(void **unused) {
    (void)unused;
    const float reals[8] = {1.9f, -1.9f, 300, -300, NAN, 1e20f, -1e20f, 127.5f};
    int8_t i8[8];
    uint8_t u8[8];
    int32_t i32[8];
    int64_t i64[8];
    k->convert(8, CT_F32, reals, CT_I8, i8);
    k->convert(8, CT_F32, reals, CT_U8, u8);
    k->convert(8, CT_F32, reals, CT_I32, i32);
    k->convert(8, CT_F32, reals, CT_I64, i64);
    assert_memory_equal(i8, ((int8_t[8]){1, -1, 127, -128, 0, 127, -128, 127}), 8);
    assert_memory_equal(u8, ((uint8_t[8]){1, 0, 255, 0, 0, 255, 0, 127}), 8);
    assert_memory_equal(i32, ((int32_t[8]){1, -1, 300, -300, 0, INT32_MAX, INT32_MIN, 127}), 32);
    assert_memory_equal(i64, ((int64_t[8]){1, -1, 300, -300, 0, INT64_MAX, INT64_MIN, 127}), 64);
    const int64_t wide[3] = {-1, 257, INT64_C(1) << 40};
    k->convert(3, CT_I64, wide, CT_U8, u8);
    assert_memory_equal(u8, ((uint8_t[3]){255, 1, 0}), 3);
    /* Every f16 and bf16 value goes to f32 and back; f32 halfway cases go to even. */
    static uint16_t all[65536], back[65536];
    static float values[65536];
    for (int i = 0; i < 65536; ++i)
        all[i] = (uint16_t)i;
    for (int type = CT_BF16; type <= CT_F16; ++type) {
        k->convert(65536, (ct_dtype)type, all, CT_F32, values);
        k->convert(65536, CT_F32, values, (ct_dtype)type, back);
        for (int i = 0; i < 65536; ++i)
            assert_true(all[i] == back[i] || isnan(values[i]));
    }
    const float halfway[6] = {1 + 0x1p-11f, 1 + 0x3p-11f, 65519, 65520, 0x1p-25f, 0x1.8p-24f};
    uint16_t h[6];
    k->convert(6, CT_F32, halfway, CT_F16, h);
    assert_memory_equal(h, ((uint16_t[6]){0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 2}), 12);
    const double close[2] = {1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8}; /* just above halfway, and halfway, of bf16 */
    k->convert(2, CT_F64, close, CT_BF16, h);
    assert_true(h[0] == 0x3f81 && h[1] == 0x3f80);
}

static void layout(void **unused) {
    (void)unused;
    enum { rows = 83, columns = 75 };
    uint64_t *x = test_malloc(rows * columns * 8), *y = test_malloc(rows * columns * 8);
    for (int size = 1; size <= 8; size *= 2) {
        for (int i = 0; i < rows * columns; ++i) {
            uint64_t value = (uint64_t)i * 0x9e3779b97f4a7c15u;
            memcpy((char *)x + i * size, &value, (size_t)size);
        }
        k->transpose(size, rows, columns, x, columns, y, rows);
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; ++c)
                assert_memory_equal((char *)x + (r * columns + c) * size, (char *)y + (c * rows + r) * size,
                                    (size_t)size);
        k->copy_strided(size, 100, (char *)x + 300 * size, -3, y, 2);
        for (int i = 0; i < 100; ++i)
            assert_memory_equal((char *)y + 2 * i * size, (char *)x + (300 - 3 * i) * size, (size_t)size);
    }
    int32_t table[4][3] = {{0, 1, 2}, {10, 11, 12}, {20, 21, 22}, {30, 31, 32}}, out[3][3];
    const int64_t good[3] = {3, 0, 3}, bad[3] = {1, 2, 4};
    assert_int_equal(k->gather_rows(3, 12, table, 4, good, out), -1);
    assert_true(out[0][2] == 32 && out[1][1] == 1 && out[2][0] == 30);
    assert_int_equal(k->gather_rows(3, 12, table, 4, bad, out), 2);
    double sums[4][2] = {{0}};
    const double rows_in[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    k->f64.scatter_add_rows(3, 2, &rows_in[0][0], 2, good, &sums[0][0], 2, 1, 4);
    assert_true(sums[3][0] == 6 && sums[3][1] == 8 && sums[0][0] == 0);
    test_free(x);
    test_free(y);
}

static void rotary_embedding(void **unused) {
    (void)unused;
    double x[2][7], y[2][7], back[2][7], cosine[2], sine[2];
    for (int i = 0; i < 14; ++i)
        (&x[0][0])[i] = normal();
    for (int i = 0; i < 2; ++i) {
        cosine[i] = cos(0.7 + i);
        sine[i] = sin(0.7 + i);
    }
    for (int interleaved = 0; interleaved < 2; ++interleaved) {
        k->f64.rotary(2, 7, 4, cosine, sine, &x[0][0], 7, &y[0][0], 7, interleaved, false);
        for (int h = 0; h < 2; ++h) {
            for (int i = 0; i < 2; ++i) {
                int a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + 2;
                NEAR(y[h][a], x[h][a] * cosine[i] - x[h][b] * sine[i], 1e-15);
                NEAR(y[h][b], x[h][b] * cosine[i] + x[h][a] * sine[i], 1e-15);
            }
            assert_true(y[h][4] == x[h][4] && y[h][6] == x[h][6]);
        }
        k->f64.rotary(2, 7, 4, cosine, sine, &y[0][0], 7, &back[0][0], 7, interleaved, true);
        for (int i = 0; i < 14; ++i)
            NEAR((&back[0][0])[i], (&x[0][0])[i], 1e-15);
    }
}

int main(void) {
    k = ct_cpu_kernels();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_values),       cmocka_unit_test(unary_gradients),
        cmocka_unit_test(binary_and_compare), cmocka_unit_test(position_does_not_matter),
        cmocka_unit_test(gated_units),        cmocka_unit_test(reductions),
        cmocka_unit_test(column_reductions),  cmocka_unit_test(softmax_rows),
        cmocka_unit_test(softmax_gradients),  cmocka_unit_test(cross_entropy_rows),
        cmocka_unit_test(layer_norm_rows),    cmocka_unit_test(norm_gradients),
        cmocka_unit_test(optimizer_steps),    cmocka_unit_test(random_fills),
        cmocka_unit_test(conversions),        cmocka_unit_test(layout),
        cmocka_unit_test(rotary_embedding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
