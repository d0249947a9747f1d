/* gemm_avx2.c - matrix multiply kernels for AVX2 with FMA and F16C; compiled with -mavx2 -mfma -mf16c. */
#include "tensor/cpu/gemm_half.h"
#include "tensor/cpu/gemm_kernels.h"
#include "tensor/cpu/gemm_transpose.h"

#include <immintrin.h>
#include <string.h>

#define CT_ISA CT_ISA_AVX2

/* 6 x 16 floats: 12 sums, 2 vectors of B and a broadcast of A in 16 registers. */
#define CT_T float
#define CT_BITS uint32_t
#define CT_N(name) name##_f32
#define CT_VL 8
#define CT_MR 6
#define CT_NV 2
#define CT_IS_F32 1
#define CT_TABLE ct_gemm_avx2_f32
#define CT_SCALAR_FMA(a, b, c) __builtin_fmaf(a, b, c)
#define CT_FMA(a, b, c) ((vec_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define CT_SET1(x) ((vec_f32)_mm256_set1_ps(x))
#define CT_TRANSPOSE CT_TRANSPOSE_F8
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#include "tensor/cpu/gemm_vector.inc.h"
#define CT_WIDEN(from) _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(from)))
/* Byte s to the top of each unit; a negative index makes zero. */
#define CT_BYTE(units, s)                                                                                    \
    _mm256_shuffle_epi8((__m256i)(units), _mm256_set_epi8(12 + (s), -1, -1, -1, 8 + (s), -1, -1, -1, 4 + (s), -1, -1,   \
                                                          -1, (s), -1, -1, -1, 12 + (s), -1, -1, -1, 8 + (s), -1, -1,   \
                                                          -1, 4 + (s), -1, -1, -1, (s), -1, -1, -1))
#include "tensor/cpu/gemm_bf16.inc.h"
#define CT_HALF_LOAD(from) ((vec_f32)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from))))
#define CT_HALF_STORE(to, value)                                                                             \
    _mm_storeu_si128((__m128i *)(void *)(to),                                                                \
                     _mm256_cvtps_ph((__m256)(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#include "tensor/cpu/gemm_type.inc.h"

/* 6 x 8 doubles. */
#define CT_T double
#define CT_BITS uint64_t
#define CT_N(name) name##_f64
#define CT_VL 4
#define CT_MR 6
#define CT_NV 2
#define CT_IS_F32 0
#define CT_TABLE ct_gemm_avx2_f64
#define CT_SCALAR_FMA(a, b, c) __builtin_fma(a, b, c)
#define CT_FMA(a, b, c) ((vec_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define CT_SET1(x) ((vec_f64)_mm256_set1_pd(x))
#define CT_TRANSPOSE CT_TRANSPOSE_D4
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#include "tensor/cpu/gemm_vector.inc.h"
#include "tensor/cpu/gemm_type.inc.h"
