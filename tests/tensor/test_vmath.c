/* test_vmath.c - the elementary functions against the C library in long double: greatest error in ulp over
 * dense samples, and special values. Run with an argument it prints what it measured. */
#include "draws.h"
#include "tensor/cpu/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool verbose;
typedef long double reference(long double);

static long double sigmoid_l(long double x) {
    return 1 / (1 + expl(-x));
}
static long double softplus_l(long double x) {
    return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
}
static long double gelu_l(long double x) {
    return x * 0.5L * erfcl(-x * 0.70710678118654752440084L);
}
static long double gelu_tanh_l(long double x) {
    long double u = 0.797884560802865355879892L * (x + 0.044715L * x * x * x);
    return x * sigmoid_l(2 * u);
}
static long double silu_l(long double x) {
    return x * sigmoid_l(x);
}
static long double rsqrt_l(long double x) {
    return 1 / sqrtl(x);
}
static long double elu_l(long double x) {
    return x > 0 ? x : expm1l(x);
}

/* Samples of [low, high]: even indices uniform, odd ones log-uniform towards 0, both signs where the range
 * has them. */
static double sample(int i, double low, double high) {
    if (i % 2 == 0) return low + (high - low) * uniform();
    double end = uniform() < 0.5 ? low : high;
    return end * exp2(-30 * uniform());
}

enum { count = 200000 };

/* Distance in units of the last place of a value of `bits` bits with least normal exponent `lowest`. */
static double ulps(double got, long double want, int bits, int lowest) {
    int exponent;
    frexpl(want, &exponent);
    if (exponent < lowest) exponent = lowest;
    return (double)(fabsl((long double)got - want) / ldexpl(1, exponent - bits));
}

typedef struct range_case {
    const char *name;
    ct_unary op;
    reference *f;
    double low, high, limit_f32, limit_f64; /* greatest error allowed, ulp */
    double low_f64, high_f64;               /* 0, 0: the same range */
} range_case;

/* The limits are what was measured, rounded up a little. */
static const range_case cases[] = {
    {"exp", CT_UNARY_EXP, expl, -87.3, 88.7, 1.1, 1.1, -708.3, 709.7},
    {"exp2", CT_UNARY_EXP2, exp2l, -126, 127.9, 1.1, 1.1, -1022, 1023.9},
    {"expm1", CT_UNARY_EXPM1, expm1l, -40, 88, 1.7, 1.9, -40, 709},
    {"expm1 small", CT_UNARY_EXPM1, expm1l, -1, 1, 1.7, 1.9, 0, 0},
    {"log", CT_UNARY_LOG, logl, 0, 3e38, 1, 1, 0, 1e308},
    {"log near 1", CT_UNARY_LOG, logl, 0.5, 2, 1, 1, 0, 0},
    {"log denormal", CT_UNARY_LOG, logl, 0, 1e-38, 1, 1, 0, 2e-308},
    {"log2", CT_UNARY_LOG2, log2l, 0, 4, 2, 1.8, 0, 0},
    {"log1p", CT_UNARY_LOG1P, log1pl, -0.999, 4, 1.7, 1.5, 0, 0},
    {"log1p large", CT_UNARY_LOG1P, log1pl, 0, 1e30, 1.7, 1.5, 0, 0},
    {"tanh", CT_UNARY_TANH, tanhl, -12, 12, 2.2, 2.4, -24, 24},
    {"tanh small", CT_UNARY_TANH, tanhl, -0.6, 0.6, 2.2, 2.4, 0, 0},
    {"sigmoid", CT_UNARY_SIGMOID, sigmoid_l, -87, 40, 2, 2, -708, 40},
    {"softplus", CT_UNARY_SOFTPLUS, softplus_l, -87, 100, 2, 2, -708, 100},
    {"silu", CT_UNARY_SILU, silu_l, -80, 80, 2.6, 2.6, -700, 700},
    {"elu", CT_UNARY_ELU, elu_l, -20, 20, 1.8, 1.9, 0, 0},
    {"gelu_erf", CT_UNARY_GELU_ERF, gelu_l, -13, 13, 8, 9, -36, 36},
    {"gelu_tanh", CT_UNARY_GELU_TANH, gelu_tanh_l, -3, 20, 12, 12, 0, 0},
    {"erf", CT_UNARY_ERF, erfl, -5, 5, 2, 2, -7, 7},
    {"sin", CT_UNARY_SIN, sinl, -10, 10, 2, 1.5, 0, 0},
    {"cos", CT_UNARY_COS, cosl, -10, 10, 2, 1.5, 0, 0},
    {"sin 1e5", CT_UNARY_SIN, sinl, -1e5, 1e5, 2, 1.5, -1e6, 1e6},
    {"cos 1e5", CT_UNARY_COS, cosl, -1e5, 1e5, 2, 1.5, -1e6, 1e6},
    {"sin huge", CT_UNARY_SIN, sinl, -9e18, 9e18, 2, 1.5, 0, 0},
    {"cos huge", CT_UNARY_COS, cosl, -9e18, 9e18, 2, 1.5, 0, 0},
    {"sqrt", CT_UNARY_SQRT, sqrtl, 0, 1e30, 0.5, 0.5, 0, 0},
    {"rsqrt", CT_UNARY_RSQRT, rsqrt_l, 1e-30, 1e30, 1.5, 1.5, 0, 0},
};

static void errors_of_functions(void **unused) {
    (void)unused;
    const ct_kernels *kernels = ct_cpu_kernels();
    static float x32[count], y32[count];
    static double x64[count], y64[count];
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; ++c) {
        const range_case *r = &cases[c];
        bool other = r->low_f64 != 0 || r->high_f64 != 0;
        for (int i = 0; i < count; ++i) {
            x32[i] = (float)sample(i, r->low, r->high);
            x64[i] = sample(i, other ? r->low_f64 : r->low, other ? r->high_f64 : r->high);
        }
        kernels->f32.unary(r->op, count, x32, y32, 1, 0);
        kernels->f64.unary(r->op, count, x64, y64, 1, 0);
        double worst32 = 0, worst64 = 0, at32 = 0, at64 = 0;
        for (int i = 0; i < count; ++i) {
            long double want = r->f(x32[i]);
            double error = fabsl(want) < 0x1p-126L && x32[i] != 0 && r->op != CT_UNARY_LOG
                               ? 0
                               : ulps(y32[i], want, 24, -125);
            if (error > worst32) worst32 = error, at32 = x32[i];
            want = r->f(x64[i]);
            error = fabsl(want) < 0x1p-1022L && r->op != CT_UNARY_LOG ? 0 : ulps(y64[i], want, 53, -1021);
            if (error > worst64) worst64 = error, at64 = x64[i];
        }
        if (verbose)
            printf("%-14s f32 %6.3f ulp at %-14g f64 %6.3f ulp at %g\n", r->name, worst32, at32, worst64,
                   at64);
        if (!(worst32 <= r->limit_f32) || !(worst64 <= r->limit_f64))
            fail_msg("%s: %g ulp at %.9g (f32, limit %g), %g ulp at %.17g (f64, limit %g)", r->name, worst32,
                     at32, r->limit_f32, worst64, at64, r->limit_f64);
    }
}

static void errors_of_pow(void **unused) {
    (void)unused;
    const ct_kernels *kernels = ct_cpu_kernels();
    static double x[count], y[count], z[count];
    static float x32[count], y32[count], z32[count];
    for (int i = 0; i < count; ++i) {
        x[i] = exp((uniform() - 0.5) * (i % 2 ? 3 : 200));
        y[i] = (uniform() - 0.5) * 1400 / log(x[i]);
        if (!(fabs(y[i]) < 1e200)) y[i] = 2;
        x32[i] = (float)exp((uniform() - 0.5) * (i % 2 ? 3 : 80));
        y32[i] = (float)((uniform() - 0.5) * 170 / log((double)x32[i]));
        if (!(fabsf(y32[i]) < 1e30f)) y32[i] = 2;
    }
    kernels->f64.binary(CT_BINARY_POW, count, x, 1, y, 1, z);
    kernels->f32.binary(CT_BINARY_POW, count, x32, 1, y32, 1, z32);
    double worst = 0, worst32 = 0;
    for (int i = 0; i < count; ++i) {
        worst = fmax(worst, ulps(z[i], powl(x[i], y[i]), 53, -1021));
        worst32 = fmax(worst32, ulps(z32[i], powl(x32[i], y32[i]), 24, -125));
    }
    if (verbose) printf("pow            f32 %6.3f ulp                   f64 %6.3f ulp\n", worst32, worst);
    assert_true(worst < 1.3);
    assert_true(worst32 < 0.51);
}

static const double specials[] = {0.0,    -0.0,    1,        -1,         0.5,
                                  -0.5,   2,       -2,       3,          -3,
                                  2.5,    -2.5,    1e17,     -1e17,      9007199254740993.0,
                                  1e308,  -1e308,  INFINITY, -INFINITY,  NAN,
                                  5e-324, -5e-324, 1e-310,   0.99999999, 1.0000001};
enum { special_count = sizeof specials / sizeof specials[0] };

/* The same value, or both NaN; zeros with the same sign; otherwise close. */
static bool same(double got, double want, double relative) {
    if (isnan(want)) return isnan(got);
    if (isinf(want) || want == 0) return got == want && !signbit(got) == !signbit(want);
    return fabs(got - want) <= relative * fabs(want);
}

static void special_values_of_pow(void **unused) {
    (void)unused;
    const ct_kernels *kernels = ct_cpu_kernels();
    for (int i = 0; i < special_count; ++i)
        for (int j = 0; j < special_count; ++j) {
            double got;
            kernels->f64.binary(CT_BINARY_POW, 1, &specials[i], 1, &specials[j], 1, &got);
            if (!same(got, pow(specials[i], specials[j]), 1e-15))
                fail_msg("pow(%g, %g) = %g, expected %g", specials[i], specials[j], got,
                         pow(specials[i], specials[j]));
            float x = (float)specials[i], y = (float)specials[j], got32;
            kernels->f32.binary(CT_BINARY_POW, 1, &x, 1, &y, 1, &got32);
            if (!same(got32, (float)pow(x, y), 1e-7))
                fail_msg("powf(%g, %g) = %g, expected %g", x, y, got32, (float)pow(x, y));
        }
}

static void special_values_of_functions(void **unused) {
    (void)unused;
    static const struct {
        const char *name;
        ct_unary op;
        double (*f)(double);
    } functions[] = {
        {"exp", CT_UNARY_EXP, exp},    {"exp2", CT_UNARY_EXP2, exp2},    {"expm1", CT_UNARY_EXPM1, expm1},
        {"log", CT_UNARY_LOG, log},    {"log2", CT_UNARY_LOG2, log2},    {"log1p", CT_UNARY_LOG1P, log1p},
        {"tanh", CT_UNARY_TANH, tanh}, {"sin", CT_UNARY_SIN, sin},       {"cos", CT_UNARY_COS, cos},
        {"erf", CT_UNARY_ERF, erf},    {"sqrt", CT_UNARY_SQRT, sqrt},    {"floor", CT_UNARY_FLOOR, floor},
        {"ceil", CT_UNARY_CEIL, ceil}, {"trunc", CT_UNARY_TRUNC, trunc}, {"round", CT_UNARY_ROUND, nearbyint},
        {"abs", CT_UNARY_ABS, fabs}};
    const ct_kernels *kernels = ct_cpu_kernels();
    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; ++f)
        for (int i = 0; i < special_count; ++i) {
            double got;
            kernels->f64.unary(functions[f].op, 1, &specials[i], &got, 0, 0);
            if (!same(got, functions[f].f(specials[i]), 1e-15))
                fail_msg("%s(%g) = %g, expected %g", functions[f].name, specials[i], got,
                         functions[f].f(specials[i]));
            float x = (float)specials[i], got32;
            double want = functions[f].f((double)x);
            kernels->f32.unary(functions[f].op, 1, &x, &got32, 0, 0);
            if (!same((double)got32, fabs(want) < 0x1p-126 ? (double)(float)want : want, 3e-7) &&
                fabs(want) < 3e38)
                fail_msg("%sf(%g) = %g, expected %g", functions[f].name, (double)x, (double)got32, want);
        }
}

/* The sine of 2^120 and of the f64 that is nearest to a multiple of pi/2 (Muller's worst case), to 20 digits.
 */
static void largest_angles(void **unused) {
    (void)unused;
    const ct_kernels *kernels = ct_cpu_kernels();
    double x[2] = {0x1p120, 6381956970095103.0 * 0x1p797}, y[2];
    kernels->f64.unary(CT_UNARY_SIN, 2, x, y, 0, 0);
    assert_true(fabs(y[0] - 0.37782010936075202464) < 1e-16);
    assert_true(fabs(y[1] - 1) < 1e-16);
    kernels->f64.unary(CT_UNARY_COS, 2, x, y, 0, 0);
    assert_true(fabs(y[1] / -4.6871659242546276e-19 - 1) < 1e-12);
    float z = 0x1p120f, w;
    kernels->f32.unary(CT_UNARY_SIN, 1, &z, &w, 0, 0);
    assert_true(fabsf(w - 0.37782010936f) < 1e-7f);
}

int main(int argc, char **argv) {
    (void)argv;
    verbose = argc > 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_functions),   cmocka_unit_test(errors_of_pow),
        cmocka_unit_test(special_values_of_pow), cmocka_unit_test(special_values_of_functions),
        cmocka_unit_test(largest_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
