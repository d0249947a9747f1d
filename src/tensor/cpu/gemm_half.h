/* gemm_half.h - f16 and narrow rounding in plain C, for where the processor does not do it. */
#ifndef CARAT_TENSOR_CPU_GEMM_HALF_H
#define CARAT_TENSOR_CPU_GEMM_HALF_H

#include <stdint.h>
#include <string.h>

/* IEEE 754 binary16 to binary32, exact; a signalling NaN becomes quiet. */
static inline float ct_gemm_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 0x1fu, fraction = half & 0x3ffu;
    uint32_t bits;
    float value;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 is exact */
        value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    } else if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0);
    } else {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&value, &bits, 4);
    return value;
}

/* To nearest even; overflow gives infinity; NaN stays NaN (quiet). */
static inline uint16_t ct_gemm_f32_to_f16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (bits >> 13 & 0x3ffu));
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above */
    if (bits < 0x38800000u) {                                   /* below 2^-14: a multiple of 2^-24 */
        uint32_t exponent = bits >> 23;
        if (exponent < 102) return sign; /* below 2^-25 */
        uint32_t fraction = (bits & 0x7fffffu) | 0x800000u, shift = 126 - exponent;
        uint32_t rest = fraction & ((1u << shift) - 1), half = 1u << (shift - 1), result = fraction >> shift;
        if (rest > half || (rest == half && (result & 1))) result++;
        return (uint16_t)(sign | result);
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

/* To f32 by rounding to odd, so that rounding the result again to bf16 or f16 rounds as if once (S. Boldo,
 * G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd",
 * IEEE Transactions on Computers 57(4), 2008). */
static inline float ct_gemm_f64_to_odd(double value) {
    float result = (float)value;
    double back = (double)result;
    if (back == value || value != value) return result;
    uint32_t bits;
    memcpy(&bits, &result, 4);
    if ((value > 0 && back > value) || (value < 0 && back < value)) bits--; /* towards zero */
    bits |= 1u;
    memcpy(&result, &bits, 4);
    return result;
}

#endif
