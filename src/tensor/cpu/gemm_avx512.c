/* gemm_avx512.c - matrix multiply kernels for AVX-512; compiled with -mavx512f -mavx512bw -mavx512vl
 * -mavx512dq -mfma -mf16c. Compiled with -mavx2 -mfma -mf16c -DCT_GEMM_HALVES instead, its 512-bit vectors
 * become pairs of 256-bit ones: the same source can be tested on processors without AVX-512. */
#include "tensor/cpu/gemm_half.h"
#include "tensor/cpu/gemm_kernels.h"
#include "tensor/cpu/gemm_transpose.h"

#include <immintrin.h>
#include <string.h>

#define CT_ISA CT_ISA_AVX512

/* 14 x 32 floats: 28 sums, 2 vectors of B and a broadcast of A in 32 registers. */
#define CT_T float
#define CT_BITS uint32_t
#define CT_N(name) name##_f32
#define CT_VL 16
#define CT_MR 14
#define CT_NV 2
#define CT_IS_F32 1
#define CT_TABLE ct_gemm_avx512_f32
#define CT_SCALAR_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define CT_FMA(a, b, c) fma_f32(a, b, c)
#define CT_SET1(x) set1_f32(x)
#define CT_TRANSPOSE CT_TRANSPOSE_F16
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#include "tensor/cpu/gemm_vector.inc.h"
#ifndef CT_GEMM_HALVES
#define CT_WIDEN(from) _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(from)))
#else
#define CT_WIDEN(from) __builtin_convertvector(*(const halves_f32 *)(from), bits_f32)
#endif
#include "tensor/cpu/gemm_bf16.inc.h"
#ifndef CT_GEMM_HALVES
#define CT_HALF_LOAD(from)                                                                                   \
    ((vec_f32)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(from))))
#define CT_HALF_STORE(to, value)                                                                             \
    _mm256_storeu_si256((__m256i *)(void *)(to),                                                             \
                        _mm512_cvtps_ph((__m512)(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
static inline __attribute__((always_inline)) vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) {
    return (vec_f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline __attribute__((always_inline)) vec_f32 set1_f32(float x) {
    return (vec_f32)_mm512_set1_ps(x);
}
#else
static inline __attribute__((always_inline)) vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) {
    for (int i = 0; i < CT_VL; i++)
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
static inline __attribute__((always_inline)) vec_f32 set1_f32(float x) {
    return (vec_f32){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
static inline vec_f32 half_load(const uint16_t *from) {
    vec_f32 value;
    for (int i = 0; i < CT_VL; i++)
        value[i] = ct_gemm_f16_to_f32(from[i]);
    return value;
}
static inline void half_store(uint16_t *to, vec_f32 value) {
    for (int i = 0; i < CT_VL; i++)
        to[i] = ct_gemm_f32_to_f16(value[i]);
}
#define CT_HALF_LOAD(from) half_load(from)
#define CT_HALF_STORE(to, value) half_store(to, value)
#endif
#include "tensor/cpu/gemm_type.inc.h"

/* 14 x 16 doubles. */
#define CT_T double
#define CT_BITS uint64_t
#define CT_N(name) name##_f64
#define CT_VL 8
#define CT_MR 14
#define CT_NV 2
#define CT_IS_F32 0
#define CT_TABLE ct_gemm_avx512_f64
#define CT_SCALAR_FMA(a, b, c) __builtin_fma(a, b, c)
#define CT_FMA(a, b, c) fma_f64(a, b, c)
#define CT_SET1(x) set1_f64(x)
#define CT_TRANSPOSE CT_TRANSPOSE_D8
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#include "tensor/cpu/gemm_vector.inc.h"
#ifndef CT_GEMM_HALVES
static inline __attribute__((always_inline)) vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) {
    return (vec_f64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
static inline __attribute__((always_inline)) vec_f64 set1_f64(double x) {
    return (vec_f64)_mm512_set1_pd(x);
}
#else
static inline __attribute__((always_inline)) vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) {
    for (int i = 0; i < CT_VL; i++)
        c[i] = __builtin_fma(a[i], b[i], c[i]);
    return c;
}
static inline __attribute__((always_inline)) vec_f64 set1_f64(double x) {
    return (vec_f64){x, x, x, x, x, x, x, x};
}
#endif
#include "tensor/cpu/gemm_type.inc.h"
