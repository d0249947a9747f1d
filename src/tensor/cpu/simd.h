/* simd.h - the thin vector layer under every CPU kernel.
 *
 * `vf` is 16 lanes of f32 and `vd` 8 lanes of f64 for every instruction set: one register in AVX-512, two in
 * AVX2, an array in plain C. A kernel written over them therefore does the same arithmetic, in the same
 * order, on every CPU, and its bits are equal by construction (apart from the payload and sign of a NaN). The
 * variant is chosen by the compiler's flags: each kernels_<isa>.c is compiled with its own.
 *
 *   vf, vd     values          vi, vl     their integer twins: 16 lanes of 32 bits, 8 lanes of 64 bits
 *   vm, vk     masks of vf, vd
 *
 * min and max are those of x86: the second operand if either is NaN or both are equal. `fma(a, b, c)` is a b
 * + c, `fnma` c - a b, both rounded once. `_part` loads and stores touch the first n lanes only (0 <= n <=
 * lanes); loads fill the rest with 0. `sum` adds lane i to lane i + lanes/2, and so on halving. */
#ifndef CARAT_TENSOR_CPU_SIMD_H
#define CARAT_TENSOR_CPU_SIMD_H

#include <carat/dtype.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 16
#define VD_LANES 8

/* In plain C the operations stay functions: inlined loops over 16 lanes would take the compiler minutes. */
#if defined(__AVX2__)
#define SIMD static inline __attribute__((always_inline, unused))
#else
#define SIMD static __attribute__((noinline, unused))
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define CT_SIMD_NAME "avx512"
#define CT_SIMD_AVX512 1
#include <immintrin.h>
#include "tensor/cpu/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define CT_SIMD_NAME "avx2"
#define CT_SIMD_AVX2 1
#include <immintrin.h>
#include "tensor/cpu/simd_avx2.h"
#else
#define CT_SIMD_NAME "plain"
#define CT_SIMD_PLAIN 1
#include "tensor/cpu/simd_plain.h"
#endif

/* What follows is the same for all. */
SIMD vf vf_neg(vf a) {
    return vi_vf(vi_xor(vf_vi(a), vi_set(INT32_MIN)));
}
SIMD vf vf_abs(vf a) {
    return vi_vf(vi_and(vf_vi(a), vi_set(INT32_MAX)));
}
SIMD vd vd_neg(vd a) {
    return vl_vd(vl_xor(vd_vl(a), vl_set(INT64_MIN)));
}
SIMD vd vd_abs(vd a) {
    return vl_vd(vl_and(vd_vl(a), vl_set(INT64_MAX)));
}
/* The magnitude of `a` (which must not be negative) with the sign of `b`. */
SIMD vf vf_sign_of(vf a, vf b) {
    return vi_vf(vi_or(vf_vi(a), vi_and(vf_vi(b), vi_set(INT32_MIN))));
}
SIMD vd vd_sign_of(vd a, vd b) {
    return vl_vd(vl_or(vd_vl(a), vl_and(vd_vl(b), vl_set(INT64_MIN))));
}
SIMD vm vf_nan(vf a) {
    return vf_ne(a, a);
}
SIMD vk vd_nan(vd a) {
    return vd_ne(a, a);
}
/* NaN if either is; the second if equal. */
SIMD vf vf_max_nan(vf a, vf b) {
    return vf_select(vf_nan(a), a, vf_max(a, b));
}
SIMD vf vf_min_nan(vf a, vf b) {
    return vf_select(vf_nan(a), a, vf_min(a, b));
}
SIMD vd vd_max_nan(vd a, vd b) {
    return vd_select(vd_nan(a), a, vd_max(a, b));
}
SIMD vd vd_min_nan(vd a, vd b) {
    return vd_select(vd_nan(a), a, vd_min(a, b));
}

/* bf16 with rounding to nearest even; NaN stays NaN. The 16-bit results are in the low halves of the lanes.
 */
SIMD vi vf_bf16_bits(vf a) {
    vi bits = vf_vi(a);
    vi rounded = vi_add(bits, vi_add(vi_set(0x7fff), vi_and(vi_shr(bits, 16), vi_set(1))));
    vi quiet = vi_or(bits, vi_set(0x400000));
    return vi_shr(vf_vi(vf_select(vf_nan(a), vi_vf(quiet), vi_vf(rounded))), 16);
}
SIMD vf vf_load_bf16(const uint16_t *p) {
    return vi_vf(vi_shl(vi_load_u16(p), 16));
}
SIMD void vf_store_bf16(uint16_t *p, vf a) {
    vi_store_u16(p, vf_bf16_bits(a));
}

#endif
