/* vmath.h - elementary functions on vectors: exp, log, trigonometry, error function and what is made of them,
 * for vf (f32) and vd (f64). Errors measured by tests/tensor/test_vmath.c: exp, log, sin, cos, erf, log1p,
 * expm1, sigmoid, softplus below 2 ulp, tanh and silu below 2.3, pow below 0.51 (f32) and 1.2 (f64), gelu
 * below 12 (of its own small tails). The polynomials are in vmath_constants.h. Results smaller than the least
 * normal number are 0 in exp, exp2 and what uses them (not in pow); NaN stays NaN; infinities and zeros
 * behave as in C99, annex F.
 *
 * This file has the parts that differ between the types: splitting arguments and the polynomials. The
 * functions themselves are in vmath_real.inc.h, once for both. */
#ifndef CARAT_TENSOR_CPU_VMATH_H
#define CARAT_TENSOR_CPU_VMATH_H

#include "tensor/cpu/simd.h"
#include "tensor/cpu/vmath_constants.h"

#define VMATH_HORNER(vector, result, x, coefficients)                                                        \
    vector result;                                                                                           \
    do {                                                                                                     \
        enum { last = sizeof(coefficients) / sizeof((coefficients)[0]) - 1 };                                \
        result = vector##_set((coefficients)[last]);                                                         \
        _Pragma("GCC unroll 32") for (int power = last - 1; power >= 0; --power) result =                    \
            vector##_fma(result, x, vector##_set((coefficients)[power]));                                    \
    } while (0)

/* ---------------------------------------------------------------------------------------------------- f32 */

#define VF_EXP_HIGHEST 0x1.62e42ep6f   /* e^x is finite up to here */
#define VF_EXP_LOWEST (-0x1.5d589ep6f) /* and normal down to here */

/* x = n ln 2 + r, |r| <= ln(2)/2 (n = 0 mod 512 in the low bits of *bits, plus `bias`). */
SIMD vf vf_exp_split(vf x, int bias, vi *bits) {
    const float magic = 0x1.8p23f + (float)bias;
    vf shifted = vf_fma(x, vf_set(0x1.715476p0f), vf_set(magic));
    vf n = vf_sub(shifted, vf_set(magic));
    *bits = vf_vi(shifted);
    return vf_fnma(n, vf_set(-0x1.05c61p-29f), vf_fnma(n, vf_set(0x1.62e43p-1f), x));
}
/* The power of two 2^n of a split with bias 127. */
SIMD vf vf_exp_power(vi bits) {
    return vi_vf(vi_shl(bits, 23));
}
/* x 2^n for normal results, from a split with bias 0. */
SIMD vf vf_exp_scale(vf x, vi bits) {
    return vi_vf(vi_add(vf_vi(x), vi_shl(bits, 23)));
}
#define VF_EXP_BIAS 127
/* e^r - 1. */
SIMD vf vf_exp_small(vf r) {
    VMATH_HORNER(vf, q, r, exp_f32);
    return vf_fma(vf_mul(r, r), q, r);
}
/* n = round(x), *bits as above, the result (x - n) ln 2. */
SIMD vf vf_exp2_split(vf x, vi *bits) {
    vf shifted = vf_add(x, vf_set(0x1.8p23f));
    *bits = vf_vi(shifted);
    return vf_mul(vf_sub(x, vf_sub(shifted, vf_set(0x1.8p23f))), vf_set(0x1.62e43p-1f));
}
/* n = round(x), x - n and 2^n; x below -127 gives 0. */
SIMD vf vf_exp2_parts(vf x, vf *power) {
    const vf magic = vf_set(0x1.8p23f + 127);
    x = vf_max(vf_set(-127.0f), x); /* x if NaN */
    vf shifted = vf_add(x, magic);
    *power = vi_vf(vi_shl(vf_vi(shifted), 23));
    return vf_sub(x, vf_sub(shifted, magic));
}
#define VF_EXP2_TABLE exp2_f32
#define VF_EXP2_INFINITE 128.0f /* 2^x is infinite from here */
#define VF_LOG2_E 0x1.715476p0f
#define VF_EXP2_HIGHEST 0x1.fffffep6f
#define VF_EXP2_LOWEST (-126.0f)

/* x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for x > 0. */
SIMD vf vf_log_split(vf x, vf *k) {
    vm denormal = vf_lt(x, vf_set(0x1p-126f));
    vi bits = vf_vi(vf_select(denormal, vf_mul(x, vf_set(0x1p23f)), x));
    bits = vi_add(bits, vi_set(0x3f800000 - 0x3f3504f3));
    *k = vf_sub(vi_to_vf(vi_shr(bits, 23)), vf_select(denormal, vf_set(150.0f), vf_set(127.0f)));
    vi mantissa = vi_add(vi_and(bits, vi_set(0x7fffff)), vi_set(0x3f3504f3));
    return vf_sub(vi_vf(mantissa), vf_set(1.0f));
}
/* k ln 2 + log(1 + f). */
SIMD vf vf_log_join(vf f, vf k) {
    VMATH_HORNER(vf, p, f, log_f32);
    vf square = vf_mul(f, f);
    vf tail = vf_fma(square, vf_set(-0.5f), vf_mul(vf_mul(f, square), p));
    tail = vf_fma(k, vf_set(-0x1.05c61p-29f), tail);
    return vf_fma(k, vf_set(0x1.62e43p-1f), vf_add(f, tail));
}

/* The sine and cosine of r in [-pi/4, pi/4] (`low` is not used in f32: the reduced argument is good to its
 * last bit). */
SIMD void vf_sincos_small(vf r, vf low, vf *sine, vf *cosine) {
    (void)low;
    vf z = vf_mul(r, r);
    VMATH_HORNER(vf, s, z, sin_f32);
    VMATH_HORNER(vf, c, z, cos_f32);
    *sine = vf_fma(vf_mul(r, z), s, r);
    *cosine = vf_fma(vf_mul(z, z), c, vf_fma(z, vf_set(-0.5f), vf_set(1.0f)));
}
/* x = quadrant pi/2 + r for |x| <= VF_TURN_LIMIT (Cody and Waite; each step is exact or rounds the last bit).
 */
SIMD vf vf_turn_split(vf x, vf *low, vi *quadrant) {
    vf shifted = vf_fma(x, vf_set(0x1.45f306p-1f), vf_set(0x1.8p23f));
    vf n = vf_sub(shifted, vf_set(0x1.8p23f));
    *quadrant = vf_vi(shifted);
    *low = vf_zero();
    vf r = vf_fnma(n, vf_set(0x1.921fb6p0f), x);
    r = vf_fnma(n, vf_set(-0x1.777a5cp-25f), r);
    return vf_fnma(n, vf_set(-0x1.ee59dap-50f), r);
}
#define VF_TURN_LIMIT 1e5f

SIMD vf vf_erf_small(vf x) {
    VMATH_HORNER(vf, p, vf_mul(x, x), erf_f32);
    return vf_fma(x, p, x);
}
/* erfc(t) e^(t^2) for 0 <= t. */
SIMD vf vf_erfc_scaled(vf t) {
    vf u = vf_div(vf_set(1.0f), vf_add(t, vf_set(3.0f)));
    vf s = vf_fma(u, vf_set(-6.0f), vf_set(1.0f));
    VMATH_HORNER(vf, p, s, erfc_f32);
    return vf_mul(p, u);
}
#define VF_TANH_CAP 10.0f     /* tanh is 1 from here on */
#define VF_EXPM1_FLOOR -30.0f /* e^x - 1 is -1 below */

/* ---------------------------------------------------------------------------------------------------- f64 */

#define VD_EXP_HIGHEST 0x1.62e42fefa39efp9
#define VD_EXP_LOWEST (-0x1.6232bdd7abcd2p9)

SIMD vd vd_exp_split(vd x, int bias, vl *bits) {
    const double magic = 0x1.8p52 + (double)bias;
    vd shifted = vd_fma(x, vd_set(0x1.71547652b82fep0), vd_set(magic));
    vd n = vd_sub(shifted, vd_set(magic));
    *bits = vd_vl(shifted);
    return vd_fnma(n, vd_set(0x1.abc9e3b39803fp-56), vd_fnma(n, vd_set(0x1.62e42fefa39efp-1), x));
}
SIMD vd vd_exp_power(vl bits) {
    return vl_vd(vl_shl(bits, 52));
}
SIMD vd vd_exp_scale(vd x, vl bits) {
    return vl_vd(vl_add(vd_vl(x), vl_shl(bits, 52)));
}
#define VD_EXP_BIAS 1023
SIMD vd vd_exp_small(vd r) {
    VMATH_HORNER(vd, q, r, exp_f64);
    return vd_fma(vd_mul(r, r), q, r);
}
SIMD vd vd_exp2_split(vd x, vl *bits) {
    vd shifted = vd_add(x, vd_set(0x1.8p52));
    *bits = vd_vl(shifted);
    return vd_mul(vd_sub(x, vd_sub(shifted, vd_set(0x1.8p52))), vd_set(0x1.62e42fefa39efp-1));
}
SIMD vd vd_exp2_parts(vd x, vd *power) {
    const vd magic = vd_set(0x1.8p52 + 1023);
    x = vd_max(vd_set(-1023.0), x);
    vd shifted = vd_add(x, magic);
    *power = vl_vd(vl_shl(vd_vl(shifted), 52));
    return vd_sub(x, vd_sub(shifted, magic));
}
#define VD_EXP2_TABLE exp2_f64
#define VD_EXP2_INFINITE 1024.0
#define VD_LOG2_E 0x1.71547652b82fep0
#define VD_EXP2_HIGHEST 0x1.fffffffffffffp9
#define VD_EXP2_LOWEST (-1022.0)

SIMD vd vd_log_split(vd x, vd *k) {
    vk denormal = vd_lt(x, vd_set(0x1p-1022));
    vl bits = vd_vl(vd_select(denormal, vd_mul(x, vd_set(0x1p52)), x));
    bits = vl_add(bits, vl_set(0x3ff0000000000000 - 0x3fe6a09e667f3bcd));
    vd exponent = vl_vd(vl_or(vl_shr(bits, 52), vl_set(0x4330000000000000))); /* 2^52 + k + 1023 */
    *k = vd_sub(exponent, vd_select(denormal, vd_set(0x1p52 + 1075), vd_set(0x1p52 + 1023)));
    vl mantissa = vl_add(vl_and(bits, vl_set(0xfffffffffffff)), vl_set(0x3fe6a09e667f3bcd));
    return vd_sub(vl_vd(mantissa), vd_set(1.0));
}
SIMD vd vd_log_join(vd f, vd k) {
    vd s = vd_div(f, vd_add(f, vd_set(2.0)));
    vd z = vd_mul(s, s), half = vd_mul(vd_mul(f, f), vd_set(0.5));
    VMATH_HORNER(vd, p, z, log_f64);
    /* log(1 + f) = f - f^2/2 + s (f^2/2 + s^2 p) */
    vd tail = vd_fma(s, vd_fma(z, p, half), vd_mul(k, vd_set(0x1.ef35793c76730p-45)));
    return vd_fma(k, vd_set(0x1.62e42fefa3800p-1), vd_sub(f, vd_sub(half, tail)));
}

SIMD void vd_sincos_small(vd r, vd low, vd *sine, vd *cosine) {
    vd z = vd_mul(r, r);
    VMATH_HORNER(vd, s, z, sin_f64);
    VMATH_HORNER(vd, c, z, cos_f64);
    vd w = vd_fma(z, vd_set(-0.5), vd_set(1.0));
    *sine = vd_add(r, vd_fma(vd_mul(r, z), s, vd_mul(low, w)));
    vd rest = vd_fma(z, vd_set(-0.5), vd_sub(vd_set(1.0), w)); /* what w lost */
    *cosine = vd_add(w, vd_add(rest, vd_fnma(r, low, vd_mul(vd_mul(z, z), c))));
}
SIMD vd vd_turn_split(vd x, vd *low, vl *quadrant) {
    vd shifted = vd_fma(x, vd_set(0x1.45f306dc9c883p-1), vd_set(0x1.8p52));
    vd n = vd_sub(shifted, vd_set(0x1.8p52));
    *quadrant = vd_vl(shifted);
    vd first = vd_fnma(n, vd_set(0x1.921fb54442d18p0), x); /* exact */
    vd w = vd_mul(n, vd_set(0x1.1a62633145c07p-54));
    vd w_low = vd_fma(n, vd_set(0x1.1a62633145c07p-54), vd_neg(w));
    vd r = vd_sub(first, w);
    vd back = vd_sub(r, first);
    vd lost = vd_sub(vd_sub(first, vd_sub(r, back)), vd_add(w, back)); /* first - w = r + lost */
    lost = vd_sub(lost, w_low);
    *low = vd_fnma(n, vd_set(-0x1.f1976b7ed8fbcp-110), lost);
    return r;
}
#define VD_TURN_LIMIT 1e6

SIMD vd vd_erf_small(vd x) {
    VMATH_HORNER(vd, p, vd_mul(x, x), erf_f64);
    return vd_fma(x, p, x);
}
SIMD vd vd_erfc_scaled(vd t) {
    vd u = vd_div(vd_set(1.0), vd_add(t, vd_set(3.75)));
    vd s = vd_mul(vd_sub(t, vd_set(3.75)), u);
    VMATH_HORNER(vd, p, s, erfc_f64);
    return vd_mul(p, u);
}
#define VD_TANH_CAP 22.0
#define VD_EXPM1_FLOOR -60.0

/* ------------------------------------------------------------------- large angles: one lane at a time --- */

/* x = quadrant pi/2 + r + low for any finite x, |x| >= 1 (Payne and Hanek 1983): the bits of 2/pi that matter
 * are multiplied by the 53-bit mantissa of x modulo 2^192, whose top two bits are the quadrant. */
__attribute__((unused)) static void vmath_turn_large(double x, double *r, double *low, unsigned *quadrant) {
    int exponent;
    double mantissa = frexp(fabs(x), &exponent); /* |x| = m 2^(exponent - 53) */
    uint64_t m = (uint64_t)ldexp(mantissa, 53);
    int first =
        exponent - 53 - 1 + 128 - 1; /* bit of the table, from 0, that has weight 2 with respect to m */
    uint64_t window[3];
    for (int i = 0; i < 3; ++i) {
        int word = first / 64 + i, shift = first % 64;
        window[i] = two_over_pi[word] << shift;
        if (shift) window[i] |= two_over_pi[word + 1] >> (64 - shift);
    }
    unsigned __int128 low_product = (unsigned __int128)window[2] * m;
    unsigned __int128 middle = (unsigned __int128)window[1] * m + (uint64_t)(low_product >> 64);
    uint64_t high = window[0] * m + (uint64_t)(middle >> 64);
    unsigned __int128 fraction =
        (unsigned __int128)high << 64 | (uint64_t)middle; /* x 2/pi mod 4, times 2^126 */
    unsigned turn = (unsigned)(high >> 62);
    fraction <<= 2; /* the part after the point, times 2^128 */
    bool negative = fraction >> 127;
    if (negative) {
        fraction = -fraction;
        turn += 1;
    }
    /* fraction 2^-128 as a sum of two doubles, times pi/2. */
    double a = (double)(uint64_t)(fraction >> 75) * 0x1p-53;
    double b = (double)(uint64_t)(fraction >> 22 & 0x1fffffffffffffu) * 0x1p-106;
    double sum = a + b, rest = b - (sum - a);
    double product = sum * 0x1.921fb54442d18p0;
    double error =
        fma(sum, 0x1.921fb54442d18p0, -product) + fma(sum, 0x1.1a62633145c07p-54, rest * 0x1.921fb54442d18p0);
    bool flip = negative != (x < 0);
    *r = flip ? -product : product;
    *low = flip ? -error : error;
    *quadrant = x < 0 ? 0u - turn : turn;
}

SIMD void vf_turn_lanes(vf x, unsigned lanes, vf *r, vf *low, vi *quadrant) {
    float xs[16], rs[16], lows[16];
    int32_t quadrants[16];
    vf_store(xs, x);
    vf_store(rs, *r);
    vf_store(lows, *low);
    vi_store(quadrants, *quadrant);
    for (int i = 0; i < 16; ++i) {
        if (!(lanes >> i & 1)) continue;
        if (!(fabsf(xs[i]) < INFINITY)) {
            rs[i] = NAN;
            continue;
        }
        double reduced, rest;
        unsigned turn;
        vmath_turn_large(xs[i], &reduced, &rest, &turn);
        rs[i] = (float)reduced;
        quadrants[i] = (int32_t)turn;
    }
    *r = vf_load(rs);
    *low = vf_load(lows);
    *quadrant = vi_load(quadrants);
}
SIMD void vd_turn_lanes(vd x, unsigned lanes, vd *r, vd *low, vl *quadrant) {
    double xs[8], rs[8], lows[8];
    int64_t quadrants[8];
    vd_store(xs, x);
    vd_store(rs, *r);
    vd_store(lows, *low);
    memcpy(quadrants, quadrant, sizeof quadrants);
    for (int i = 0; i < 8; ++i) {
        if (!(lanes >> i & 1)) continue;
        if (!(fabs(xs[i]) < INFINITY)) {
            rs[i] = NAN;
            continue;
        }
        unsigned turn;
        vmath_turn_large(xs[i], &rs[i], &lows[i], &turn);
        quadrants[i] = turn;
    }
    *r = vd_load(rs);
    *low = vd_load(lows);
    *quadrant = vl_load(quadrants);
}

#define VMATH_V(operation) vf_##operation
#define VMATH_I(operation) vi_##operation
#define VMATH_M(operation) vm_##operation
#define VMATH_K(name) VF_##name
#define VMATH_VECTOR vf
#define VMATH_INTEGER vi
#define VMATH_MASK vm
#define VMATH_REAL float
#include "tensor/cpu/vmath_real.inc.h"
#define VMATH_V(operation) vd_##operation
#define VMATH_I(operation) vl_##operation
#define VMATH_M(operation) vk_##operation
#define VMATH_K(name) VD_##name
#define VMATH_VECTOR vd
#define VMATH_INTEGER vl
#define VMATH_MASK vk
#define VMATH_REAL double
#include "tensor/cpu/vmath_real.inc.h"

/* ------------------------------------------------------------------------------------------------- powers */

/* log|x| as an unevaluated sum, to about 2^-64 of itself: 2 atanh(s), s = f/(2 + f), the first two terms of
 * the series and s in double-double arithmetic. For finite x > 0. */
SIMD vd vd_log_pair(vd x, vd *low) {
    vd k, f = vd_log_split(x, &k);
    vd two = vd_set(2.0), denominator = vd_add(f, two);
    vd denominator_low = vd_sub(f, vd_sub(denominator, two));
    vd s = vd_div(f, denominator);
    vd s_low = vd_div(vd_fnma(s, denominator_low, vd_fnma(s, denominator, f)), denominator);
    vd z = vd_mul(s, s);
    vd z_low = vd_fma(vd_add(s, s), s_low, vd_fma(s, s, vd_neg(z)));
    VMATH_HORNER(vd, tail, z, log_tail_f64);
    vd c = vd_set(0x1.5555555555555p-1), more = vd_mul(z, tail);
    vd t = vd_add(c, more);
    vd t_low = vd_add(vd_sub(more, vd_sub(t, c)), vd_set(0x1.5555555555555p-55));
    vd cube = vd_mul(s, z);
    vd cube_low = vd_fma(s, z_low, vd_fma(s_low, z, vd_fma(s, z, vd_neg(cube))));
    vd g = vd_mul(cube, t);
    vd g_low = vd_fma(cube, t_low, vd_fma(cube_low, t, vd_fma(cube, t, vd_neg(g))));
    vd s2 = vd_add(s, s), m = vd_add(s2, g);
    vd m_low = vd_add(vd_sub(g, vd_sub(m, s2)), vd_fma(s_low, two, g_low));
    vd scaled = vd_mul(k, vd_set(0x1.62e42fefa3800p-1)); /* exact */
    vd sum = vd_add(scaled, m), back = vd_sub(sum, scaled);
    vd lost = vd_add(vd_sub(scaled, vd_sub(sum, back)), vd_sub(m, back));
    *low = vd_add(lost, vd_fma(k, vd_set(0x1.ef35793c76730p-45), m_low));
    return sum;
}

SIMD vd vd_pow_finite(vd magnitude, vd y) {
    vd low, high = vd_log_pair(magnitude, &low);
    vd product = vd_mul(y, high);
    vd rest = vd_fma(y, low, vd_fma(y, high, vd_neg(product)));
    vd limit = vd_set(1000.0);
    rest = vd_keep(vd_lt(vd_abs(product), limit), rest);
    product = vd_max(vd_neg(limit), vd_min(limit, product));
    vl bits;
    vd r = vd_exp_split(product, 0, &bits);
    vd value = vd_add(vd_exp_small(vd_add(r, rest)), vd_set(1.0));
    /* 2^n in two steps, so that results below the normal numbers are rounded and not lost. */
    vd n = vd_sub(vl_vd(bits), vd_set(0x1.8p52));
    vd half = vd_floor(vd_mul(n, vd_set(0.5)));
    vl first = vd_vl(vd_add(half, vd_set(0x1.8p52 + 1023)));
    vl second = vd_vl(vd_add(vd_sub(n, half), vd_set(0x1.8p52 + 1023)));
    return vd_mul(vd_mul(value, vd_exp_power(first)), vd_exp_power(second));
}

/* pow with the special cases of C99, F.9.4.4. */
SIMD vd vd_pow(vd x, vd y) {
    vd zero = vd_zero(), one = vd_set(1.0), infinity = vd_set((double)INFINITY), magnitude = vd_abs(x);
    vd half = vd_mul(y, vd_set(0.5));
    vk integer = vd_eq(vd_trunc(y), y);
    vk odd = vk_and(integer, vk_not(vd_eq(vd_trunc(half), half)));
    vd result = vd_pow_finite(magnitude, y);
    vk y_positive = vd_gt(y, zero);
    vk is_zero = vd_eq(x, zero), is_infinite = vd_eq(magnitude, infinity);
    vd at_zero = vd_select(y_positive, zero, infinity);
    result = vd_select(is_zero, at_zero, result);
    result = vd_select(is_infinite, vd_sub(infinity, at_zero), result);
    result = vd_select(vk_and(is_infinite, vk_not(y_positive)), zero, result);
    vk y_infinite = vd_eq(vd_abs(y), infinity);
    vd above = vd_select(y_positive, infinity, zero), below = vd_select(y_positive, zero, infinity);
    vd limit = vd_select(vd_gt(magnitude, one), above, vd_select(vd_eq(magnitude, one), one, below));
    result = vd_select(y_infinite, limit, result);
    vl sign = vl_and(vd_vl(x), vl_set(INT64_MIN));
    vd negated = vl_vd(vl_xor(vd_vl(result), sign));
    result = vd_select(odd, negated, result);
    vk root = vk_and(vk_and(vd_lt(x, zero), vk_not(is_infinite)), vk_not(vk_or(integer, y_infinite)));
    result = vd_select(root, vd_set((double)NAN), result);
    result = vd_select(vk_or(vd_nan(x), vd_nan(y)), vd_add(x, y), result);
    return vd_select(vk_or(vd_eq(x, one), vd_eq(y, zero)), one, result);
}
SIMD vf vf_pow(vf x, vf y) {
    vd x_low, x_high, y_low, y_high;
    vf_to_vd(x, &x_low, &x_high);
    vf_to_vd(y, &y_low, &y_high);
    return vf_from_vd(vd_pow(x_low, y_low), vd_pow(x_high, y_high));
}

#endif
