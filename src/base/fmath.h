/* fmath.h - internal: log and sin/cos made of + - * / and sqrt only, so that every machine gives the same
 * bits (the C library's may differ between versions and CPUs). Errors are a few units in the last place. */
#ifndef CARAT_BASE_FMATH_H
#define CARAT_BASE_FMATH_H

#include <stdint.h>
#include <string.h>

/* log(x) for a normal x > 0. x = 2^e m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with
 * s = (m - 1) / (m + 1), |s| < 0.1716, by its Taylor series: the first term left out is below 2^-60. */
static inline double ct_fmath_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent += 1;
    }
    double s = (m - 1) / (m + 1), z = s * s, sum = 1.0 / 23;
    for (int k = 21; k >= 3; k -= 2)
        sum = sum * z + 1.0 / k;
    /* log 2 in two parts, the upper one short enough for exact products with the exponent. */
    const double upper = 0x1.62e42fefap-1, lower = 0x1.cf79abc9e3b3ap-40;
    double e = (double)exponent;
    return e * upper + (e * lower + (2 * s + 2 * s * z * sum));
}

/* sin and cos of 2 pi u, u in [0, 1). u = q/4 + r with |r| <= 1/8 exactly; Taylor series on |a| <= pi/4. */
static inline void ct_fmath_sincos_turn(double u, double *sine, double *cosine) {
    int q = (int)(4 * u + 0.5);
    double a = (u - 0.25 * q) * 6.283185307179586, z = a * a;
    double s = 1, c = 1;
    for (int k = 18; k >= 2; k -= 2) {
        s = 1 - z / (k * (k + 1)) * s;
        c = 1 - z / (k * (k - 1)) * c;
    }
    s *= a;
    switch (q & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
        break;
    }
}

#endif
