/* test_kernels_training.c - norms, optimizer steps, random fills, conversions and layout kernels against
 * straightforward mathematics in double precision. */
#include "base/random_internal.h"
#include "kernel_check.h"

/* -------------------------------------------------------------------------------------------------- norms */

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

/* --------------------------------------------------------------------------------------------- optimizers */

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

/* ------------------------------------------------------------------------------------------------- random */

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

/* ------------------------------------------------------------------------------------ conversions, layout */

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
        cmocka_unit_test(layer_norm_rows),  cmocka_unit_test(norm_gradients),
        cmocka_unit_test(optimizer_steps),  cmocka_unit_test(random_fills),
        cmocka_unit_test(conversions),      cmocka_unit_test(layout),
        cmocka_unit_test(rotary_embedding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
