/* simd_avx512.h - the vector layer on AVX-512 F, BW, DQ and VL: one register is one vector. See simd.h. */
#ifndef CARAT_TENSOR_CPU_SIMD_AVX512_H
#define CARAT_TENSOR_CPU_SIMD_AVX512_H

typedef struct vf {
    __m512 a;
} vf;
typedef struct vd {
    __m512d a;
} vd;
typedef struct vi {
    __m512i a;
} vi;
typedef struct vl {
    __m512i a;
} vl;
typedef struct vm {
    __mmask16 a;
} vm;
typedef struct vk {
    __mmask8 a;
} vk;

#define SIMD_ONE(type, name, from, intrinsic)                                                                \
    SIMD type name(from x) {                                                                                 \
        return (type){intrinsic(x.a)};                                                                       \
    }
#define SIMD_TWO(type, name, from, intrinsic)                                                                \
    SIMD type name(from x, from y) {                                                                         \
        return (type){intrinsic(x.a, y.a)};                                                                  \
    }
#define SIMD_THREE(type, name, from, intrinsic)                                                              \
    SIMD type name(from x, from y, from z) {                                                                 \
        return (type){intrinsic(x.a, y.a, z.a)};                                                             \
    }
#define SIMD_COMPARE(type, name, from, intrinsic, code)                                                      \
    SIMD type name(from x, from y) {                                                                         \
        return (type){intrinsic(x.a, y.a, code)};                                                            \
    }
#define SIMD_ROUND(type, name, intrinsic, code)                                                              \
    SIMD type name(type x) {                                                                                 \
        return (type){intrinsic(x.a, code | _MM_FROUND_NO_EXC)};                                             \
    }
#define SIMD_SHIFT(type, name, intrinsic)                                                                    \
    SIMD type name(type x, int count) {                                                                      \
        return (type){intrinsic(x.a, (unsigned)count)};                                                      \
    }

/* ---------------------------------------------------------------------------------------------------- f32 */

SIMD vf vf_zero(void) {
    return (vf){_mm512_setzero_ps()};
}
SIMD vf vf_set(float x) {
    return (vf){_mm512_set1_ps(x)};
}
SIMD vf vf_load(const float *p) {
    return (vf){_mm512_loadu_ps(p)};
}
SIMD void vf_store(float *p, vf x) {
    _mm512_storeu_ps(p, x.a);
}
SIMD void vf_stream(float *p, vf x) {
    _mm512_stream_ps(p, x.a);
}
#define VF_STREAM_ALIGNMENT 64

SIMD __mmask16 simd_below32(int64_t n) {
    return (__mmask16)((1u << n) - 1u);
}
SIMD vf vf_load_part(const float *p, int64_t n) {
    return (vf){_mm512_maskz_loadu_ps(simd_below32(n), p)};
}
SIMD void vf_store_part(float *p, vf x, int64_t n) {
    _mm512_mask_storeu_ps(p, simd_below32(n), x.a);
}

SIMD_TWO(vf, vf_add, vf, _mm512_add_ps)
SIMD_TWO(vf, vf_sub, vf, _mm512_sub_ps)
SIMD_TWO(vf, vf_mul, vf, _mm512_mul_ps)
SIMD_TWO(vf, vf_div, vf, _mm512_div_ps)
SIMD_TWO(vf, vf_min, vf, _mm512_min_ps)
SIMD_TWO(vf, vf_max, vf, _mm512_max_ps)
SIMD_ONE(vf, vf_sqrt, vf, _mm512_sqrt_ps)
SIMD_THREE(vf, vf_fma, vf, _mm512_fmadd_ps)
SIMD_THREE(vf, vf_fnma, vf, _mm512_fnmadd_ps)
SIMD_ROUND(vf, vf_floor, _mm512_roundscale_ps, _MM_FROUND_TO_NEG_INF)
SIMD_ROUND(vf, vf_ceil, _mm512_roundscale_ps, _MM_FROUND_TO_POS_INF)
SIMD_ROUND(vf, vf_round, _mm512_roundscale_ps, _MM_FROUND_TO_NEAREST_INT)
SIMD_ROUND(vf, vf_trunc, _mm512_roundscale_ps, _MM_FROUND_TO_ZERO)
SIMD_COMPARE(vm, vf_lt, vf, _mm512_cmp_ps_mask, _CMP_LT_OQ)
SIMD_COMPARE(vm, vf_le, vf, _mm512_cmp_ps_mask, _CMP_LE_OQ)
SIMD_COMPARE(vm, vf_gt, vf, _mm512_cmp_ps_mask, _CMP_GT_OQ)
SIMD_COMPARE(vm, vf_ge, vf, _mm512_cmp_ps_mask, _CMP_GE_OQ)
SIMD_COMPARE(vm, vf_eq, vf, _mm512_cmp_ps_mask, _CMP_EQ_OQ)
SIMD_COMPARE(vm, vf_ne, vf, _mm512_cmp_ps_mask, _CMP_NEQ_UQ)
SIMD_COMPARE(vm, vf_not_lt, vf, _mm512_cmp_ps_mask, _CMP_NLT_UQ) /* true for NaN */

SIMD vm vm_and(vm x, vm y) {
    return (vm){(__mmask16)(x.a & y.a)};
}
SIMD vm vm_or(vm x, vm y) {
    return (vm){(__mmask16)(x.a | y.a)};
}
SIMD vm vm_not(vm x) {
    return (vm){(__mmask16)~x.a};
}
SIMD vm vm_first(int64_t n) {
    return (vm){simd_below32(n)};
}
SIMD unsigned vm_bits(vm x) {
    return x.a;
}
SIMD vf vf_select(vm m, vf x, vf y) {
    return (vf){_mm512_mask_blend_ps(m.a, y.a, x.a)};
}
SIMD vf vf_keep(vm m, vf x) {
    return (vf){_mm512_maskz_mov_ps(m.a, x.a)};
}
SIMD void vm_store_bytes(uint8_t *p, vm m) {
    _mm_storeu_si128((__m128i *)p, _mm_maskz_set1_epi8(m.a, 1));
}
SIMD vm vm_load_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return (vm){_mm_test_epi8_mask(bytes, bytes)};
}

SIMD float simd_tree_sum(__m256 x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_shuffle_ps(y, y, 1)));
}
SIMD float simd_tree_max(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}
SIMD float vf_sum(vf x) {
    return simd_tree_sum(_mm256_add_ps(_mm512_castps512_ps256(x.a), _mm512_extractf32x8_ps(x.a, 1)));
}
SIMD float vf_highest(vf x) {
    return simd_tree_max(_mm256_max_ps(_mm512_castps512_ps256(x.a), _mm512_extractf32x8_ps(x.a, 1)));
}

/* ---------------------------------------------------------------------------------------- 32-bit integers */

SIMD vi vi_set(int32_t x) {
    return (vi){_mm512_set1_epi32(x)};
}
SIMD vi vi_load(const void *p) {
    return (vi){_mm512_loadu_si512(p)};
}
SIMD void vi_store(void *p, vi x) {
    _mm512_storeu_si512(p, x.a);
}
SIMD vi vi_lanes(void) {
    return (vi){_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
SIMD_TWO(vi, vi_add, vi, _mm512_add_epi32)
SIMD_TWO(vi, vi_sub, vi, _mm512_sub_epi32)
SIMD_TWO(vi, vi_and, vi, _mm512_and_si512)
SIMD_TWO(vi, vi_or, vi, _mm512_or_si512)
SIMD_TWO(vi, vi_xor, vi, _mm512_xor_si512)
SIMD_SHIFT(vi, vi_shl, _mm512_slli_epi32)
SIMD_SHIFT(vi, vi_shr, _mm512_srli_epi32)
SIMD_SHIFT(vi, vi_sar, _mm512_srai_epi32)
/* Lanes in which all of `bits` are set. */
SIMD vm vi_test(vi x, int32_t bits) {
    __m512i want = _mm512_set1_epi32(bits);
    return (vm){_mm512_cmpeq_epi32_mask(_mm512_and_si512(x.a, want), want)};
}
SIMD vi vf_vi(vf x) {
    return (vi){_mm512_castps_si512(x.a)};
}
SIMD vf vi_vf(vi x) {
    return (vf){_mm512_castsi512_ps(x.a)};
}
SIMD_ONE(vf, vi_to_vf, vi, _mm512_cvtepi32_ps)
SIMD_ONE(vi, vf_to_vi, vf, _mm512_cvttps_epi32) /* truncates; the value must fit */

/* The 64-bit products x * y, unsigned, as high and low words. */
SIMD void vi_multiply(vi x, uint32_t y, vi *high, vi *low) {
    __m512i factor = _mm512_set1_epi32((int)y);
    __m512i even = _mm512_mul_epu32(x.a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(x.a, 32), factor);
    low->a = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    high->a = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}
/* From four vectors x[word] (lane = block) to 64 words in the order block * 4 + word. */
SIMD void vi_interleave4(vi x[4]) {
    __m512i ab0 = _mm512_unpacklo_epi32(x[0].a, x[1].a), ab1 = _mm512_unpackhi_epi32(x[0].a, x[1].a);
    __m512i cd0 = _mm512_unpacklo_epi32(x[2].a, x[3].a), cd1 = _mm512_unpackhi_epi32(x[2].a, x[3].a);
    /* 128-bit part p of r_j holds block 4 p + j. */
    __m512i r0 = _mm512_unpacklo_epi64(ab0, cd0), r1 = _mm512_unpackhi_epi64(ab0, cd0);
    __m512i r2 = _mm512_unpacklo_epi64(ab1, cd1), r3 = _mm512_unpackhi_epi64(ab1, cd1);
    __m512i s0 = _mm512_shuffle_i32x4(r0, r1, 0x44), s1 = _mm512_shuffle_i32x4(r2, r3, 0x44);
    __m512i s2 = _mm512_shuffle_i32x4(r0, r1, 0xee), s3 = _mm512_shuffle_i32x4(r2, r3, 0xee);
    /* s0 = [b0 b4 b1 b5], s1 = [b2 b6 b3 b7], s2 = [b8 b12 b9 b13], s3 = [b10 b14 b11 b15]. */
    x[0].a = _mm512_shuffle_i32x4(s0, s1, 0x88);
    x[1].a = _mm512_shuffle_i32x4(s0, s1, 0xdd);
    x[2].a = _mm512_shuffle_i32x4(s2, s3, 0x88);
    x[3].a = _mm512_shuffle_i32x4(s2, s3, 0xdd);
}

/* ------------------------------------------------------------------------------------------- 16-bit types */

SIMD vi vi_load_u16(const uint16_t *p) {
    return (vi){_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p))};
}
SIMD void vi_store_u16(uint16_t *p, vi x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(x.a));
}
SIMD vf vf_load_f16(const uint16_t *p) {
    return (vf){_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p))};
}
SIMD void vf_store_f16(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
}

/* ---------------------------------------------------------------------------------------------------- f64 */

SIMD vd vd_zero(void) {
    return (vd){_mm512_setzero_pd()};
}
SIMD vd vd_set(double x) {
    return (vd){_mm512_set1_pd(x)};
}
SIMD vd vd_load(const double *p) {
    return (vd){_mm512_loadu_pd(p)};
}
SIMD void vd_store(double *p, vd x) {
    _mm512_storeu_pd(p, x.a);
}
SIMD void vd_stream(double *p, vd x) {
    _mm512_stream_pd(p, x.a);
}
SIMD __mmask8 simd_below64(int64_t n) {
    return (__mmask8)((1u << n) - 1u);
}
SIMD vd vd_load_part(const double *p, int64_t n) {
    return (vd){_mm512_maskz_loadu_pd(simd_below64(n), p)};
}
SIMD void vd_store_part(double *p, vd x, int64_t n) {
    _mm512_mask_storeu_pd(p, simd_below64(n), x.a);
}
SIMD_TWO(vd, vd_add, vd, _mm512_add_pd)
SIMD_TWO(vd, vd_sub, vd, _mm512_sub_pd)
SIMD_TWO(vd, vd_mul, vd, _mm512_mul_pd)
SIMD_TWO(vd, vd_div, vd, _mm512_div_pd)
SIMD_TWO(vd, vd_min, vd, _mm512_min_pd)
SIMD_TWO(vd, vd_max, vd, _mm512_max_pd)
SIMD_ONE(vd, vd_sqrt, vd, _mm512_sqrt_pd)
SIMD_THREE(vd, vd_fma, vd, _mm512_fmadd_pd)
SIMD_THREE(vd, vd_fnma, vd, _mm512_fnmadd_pd)
SIMD_ROUND(vd, vd_floor, _mm512_roundscale_pd, _MM_FROUND_TO_NEG_INF)
SIMD_ROUND(vd, vd_ceil, _mm512_roundscale_pd, _MM_FROUND_TO_POS_INF)
SIMD_ROUND(vd, vd_round, _mm512_roundscale_pd, _MM_FROUND_TO_NEAREST_INT)
SIMD_ROUND(vd, vd_trunc, _mm512_roundscale_pd, _MM_FROUND_TO_ZERO)
SIMD_COMPARE(vk, vd_lt, vd, _mm512_cmp_pd_mask, _CMP_LT_OQ)
SIMD_COMPARE(vk, vd_le, vd, _mm512_cmp_pd_mask, _CMP_LE_OQ)
SIMD_COMPARE(vk, vd_gt, vd, _mm512_cmp_pd_mask, _CMP_GT_OQ)
SIMD_COMPARE(vk, vd_ge, vd, _mm512_cmp_pd_mask, _CMP_GE_OQ)
SIMD_COMPARE(vk, vd_eq, vd, _mm512_cmp_pd_mask, _CMP_EQ_OQ)
SIMD_COMPARE(vk, vd_ne, vd, _mm512_cmp_pd_mask, _CMP_NEQ_UQ)
SIMD_COMPARE(vk, vd_not_lt, vd, _mm512_cmp_pd_mask, _CMP_NLT_UQ)
SIMD vk vk_and(vk x, vk y) {
    return (vk){(__mmask8)(x.a & y.a)};
}
SIMD vk vk_or(vk x, vk y) {
    return (vk){(__mmask8)(x.a | y.a)};
}
SIMD vk vk_not(vk x) {
    return (vk){(__mmask8)~x.a};
}
SIMD vk vk_first(int64_t n) {
    return (vk){simd_below64(n)};
}
SIMD unsigned vk_bits(vk x) {
    return x.a;
}
SIMD vd vd_select(vk m, vd x, vd y) {
    return (vd){_mm512_mask_blend_pd(m.a, y.a, x.a)};
}
SIMD vd vd_keep(vk m, vd x) {
    return (vd){_mm512_maskz_mov_pd(m.a, x.a)};
}
SIMD void vk_store_bytes(uint8_t *p, vk m) {
    _mm_storel_epi64((__m128i *)p, _mm_maskz_set1_epi8(m.a, 1));
}
SIMD vk vk_load_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    return (vk){(__mmask8)_mm_test_epi8_mask(bytes, bytes)};
}
SIMD double vd_sum(vd x) {
    __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(x.a), _mm512_extractf64x4_pd(x.a, 1));
    __m128d z = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
}
SIMD double vd_highest(vd x) {
    __m256d y = _mm256_max_pd(_mm512_castpd512_pd256(x.a), _mm512_extractf64x4_pd(x.a, 1));
    __m128d z = _mm_max_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_max_sd(z, _mm_unpackhi_pd(z, z)));
}
SIMD void vf_to_vd(vf x, vd *low, vd *high) {
    low->a = _mm512_cvtps_pd(_mm512_castps512_ps256(x.a));
    high->a = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.a, 1));
}
SIMD vf vf_from_vd(vd low, vd high) {
    __m512 result = _mm512_castps256_ps512(_mm512_cvtpd_ps(low.a));
    return (vf){_mm512_insertf32x8(result, _mm512_cvtpd_ps(high.a), 1)};
}

/* ---------------------------------------------------------------------------------------- 64-bit integers */

SIMD vl vl_set(int64_t x) {
    return (vl){_mm512_set1_epi64(x)};
}
SIMD vl vl_load(const void *p) {
    return (vl){_mm512_loadu_si512(p)};
}
SIMD_TWO(vl, vl_add, vl, _mm512_add_epi64)
SIMD_TWO(vl, vl_sub, vl, _mm512_sub_epi64)
SIMD_TWO(vl, vl_and, vl, _mm512_and_si512)
SIMD_TWO(vl, vl_or, vl, _mm512_or_si512)
SIMD_TWO(vl, vl_xor, vl, _mm512_xor_si512)
SIMD_SHIFT(vl, vl_shl, _mm512_slli_epi64)
SIMD_SHIFT(vl, vl_shr, _mm512_srli_epi64)
SIMD vk vl_test(vl x, int64_t bits) {
    __m512i want = _mm512_set1_epi64(bits);
    return (vk){_mm512_cmpeq_epi64_mask(_mm512_and_si512(x.a, want), want)};
}
SIMD vl vd_vl(vd x) {
    return (vl){_mm512_castpd_si512(x.a)};
}
SIMD vd vl_vd(vl x) {
    return (vd){_mm512_castsi512_pd(x.a)};
}

SIMD void simd_fence(void) {
    _mm_sfence();
} /* after non-temporal stores */

#endif
