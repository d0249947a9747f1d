/* simd_avx2.h - the vector layer on AVX2, FMA and F16C: two 256-bit registers are one vector. See simd.h. */
#ifndef CARAT_TENSOR_CPU_SIMD_AVX2_H
#define CARAT_TENSOR_CPU_SIMD_AVX2_H

typedef struct vf {
    __m256 a, b;
} vf;
typedef struct vd {
    __m256d a, b;
} vd;
typedef struct vi {
    __m256i a, b;
} vi;
typedef struct vl {
    __m256i a, b;
} vl;
typedef struct vm {
    __m256 a, b;
} vm;
typedef struct vk {
    __m256d a, b;
} vk;

#define SIMD_ONE(type, name, from, intrinsic)                                                                \
    SIMD type name(from x) {                                                                                 \
        return (type){intrinsic(x.a), intrinsic(x.b)};                                                       \
    }
#define SIMD_TWO(type, name, from, intrinsic)                                                                \
    SIMD type name(from x, from y) {                                                                         \
        return (type){intrinsic(x.a, y.a), intrinsic(x.b, y.b)};                                             \
    }
#define SIMD_THREE(type, name, from, intrinsic)                                                              \
    SIMD type name(from x, from y, from z) {                                                                 \
        return (type){intrinsic(x.a, y.a, z.a), intrinsic(x.b, y.b, z.b)};                                   \
    }
#define SIMD_COMPARE(type, name, from, intrinsic, code)                                                      \
    SIMD type name(from x, from y) {                                                                         \
        return (type){intrinsic(x.a, y.a, code), intrinsic(x.b, y.b, code)};                                 \
    }
#define SIMD_ROUND(type, name, intrinsic, code)                                                              \
    SIMD type name(type x) {                                                                                 \
        return (type){intrinsic(x.a, code | _MM_FROUND_NO_EXC), intrinsic(x.b, code | _MM_FROUND_NO_EXC)};   \
    }
#define SIMD_SHIFT(type, name, intrinsic)                                                                    \
    SIMD type name(type x, int count) {                                                                      \
        return (type){intrinsic(x.a, count), intrinsic(x.b, count)};                                         \
    }

/* ---------------------------------------------------------------------------------------------------- f32 */

SIMD vf vf_zero(void) {
    return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
SIMD vf vf_set(float x) {
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
SIMD vf vf_load(const float *p) {
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
SIMD void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
SIMD void vf_stream(float *p, vf x) {
    _mm256_stream_ps(p, x.a);
    _mm256_stream_ps(p + 8, x.b);
}
#define VF_STREAM_ALIGNMENT 32

SIMD vi simd_lanes32(void) {
    return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
SIMD vi simd_below32(int64_t n) {
    __m256i count = _mm256_set1_epi32((int)n);
    vi lanes = simd_lanes32();
    return (vi){_mm256_cmpgt_epi32(count, lanes.a), _mm256_cmpgt_epi32(count, lanes.b)};
}
SIMD vf vf_load_part(const float *p, int64_t n) {
    vi mask = simd_below32(n);
    return (vf){_mm256_maskload_ps(p, mask.a), _mm256_maskload_ps(p + 8, mask.b)};
}
SIMD void vf_store_part(float *p, vf x, int64_t n) {
    vi mask = simd_below32(n);
    _mm256_maskstore_ps(p, mask.a, x.a);
    _mm256_maskstore_ps(p + 8, mask.b, x.b);
}

SIMD_TWO(vf, vf_add, vf, _mm256_add_ps)
SIMD_TWO(vf, vf_sub, vf, _mm256_sub_ps)
SIMD_TWO(vf, vf_mul, vf, _mm256_mul_ps)
SIMD_TWO(vf, vf_div, vf, _mm256_div_ps)
SIMD_TWO(vf, vf_min, vf, _mm256_min_ps)
SIMD_TWO(vf, vf_max, vf, _mm256_max_ps)
SIMD_ONE(vf, vf_sqrt, vf, _mm256_sqrt_ps)
SIMD_THREE(vf, vf_fma, vf, _mm256_fmadd_ps)
SIMD_THREE(vf, vf_fnma, vf, _mm256_fnmadd_ps)
SIMD_ROUND(vf, vf_floor, _mm256_round_ps, _MM_FROUND_TO_NEG_INF)
SIMD_ROUND(vf, vf_ceil, _mm256_round_ps, _MM_FROUND_TO_POS_INF)
SIMD_ROUND(vf, vf_round, _mm256_round_ps, _MM_FROUND_TO_NEAREST_INT)
SIMD_ROUND(vf, vf_trunc, _mm256_round_ps, _MM_FROUND_TO_ZERO)
SIMD_COMPARE(vm, vf_lt, vf, _mm256_cmp_ps, _CMP_LT_OQ)
SIMD_COMPARE(vm, vf_le, vf, _mm256_cmp_ps, _CMP_LE_OQ)
SIMD_COMPARE(vm, vf_gt, vf, _mm256_cmp_ps, _CMP_GT_OQ)
SIMD_COMPARE(vm, vf_ge, vf, _mm256_cmp_ps, _CMP_GE_OQ)
SIMD_COMPARE(vm, vf_eq, vf, _mm256_cmp_ps, _CMP_EQ_OQ)
SIMD_COMPARE(vm, vf_ne, vf, _mm256_cmp_ps, _CMP_NEQ_UQ)
SIMD_COMPARE(vm, vf_not_lt, vf, _mm256_cmp_ps, _CMP_NLT_UQ) /* true for NaN */

SIMD_TWO(vm, vm_and, vm, _mm256_and_ps)
SIMD_TWO(vm, vm_or, vm, _mm256_or_ps)
SIMD vm vm_not(vm x) {
    __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return (vm){_mm256_xor_ps(x.a, ones), _mm256_xor_ps(x.b, ones)};
}
SIMD vm vm_first(int64_t n) {
    vi mask = simd_below32(n);
    return (vm){_mm256_castsi256_ps(mask.a), _mm256_castsi256_ps(mask.b)};
}
SIMD unsigned vm_bits(vm x) {
    return (unsigned)_mm256_movemask_ps(x.a) | (unsigned)_mm256_movemask_ps(x.b) << 8;
}
SIMD vf vf_select(vm m, vf x, vf y) {
    return (vf){_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
SIMD vf vf_keep(vm m, vf x) {
    return (vf){_mm256_and_ps(m.a, x.a), _mm256_and_ps(m.b, x.b)};
}
SIMD void vm_store_bytes(uint8_t *p, vm m) {
    __m256i both = _mm256_packs_epi32(_mm256_castps_si256(m.a), _mm256_castps_si256(m.b));
    both = _mm256_permute4x64_epi64(both, 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128((__m128i *)p, _mm_and_si128(bytes, _mm_set1_epi8(1)));
}
SIMD vm vm_load_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    __m256i low = _mm256_cvtepu8_epi32(bytes), high = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
    __m256i zero = _mm256_setzero_si256();
    return (vm){_mm256_castsi256_ps(_mm256_cmpgt_epi32(low, zero)),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(high, zero))};
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
    return simd_tree_sum(_mm256_add_ps(x.a, x.b));
}
SIMD float vf_highest(vf x) {
    return simd_tree_max(_mm256_max_ps(x.a, x.b));
}

/* ---------------------------------------------------------------------------------------- 32-bit integers */

SIMD vi vi_set(int32_t x) {
    return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
SIMD vi vi_load(const void *p) {
    return (vi){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
SIMD void vi_store(void *p, vi x) {
    _mm256_storeu_si256((__m256i *)p, x.a);
    _mm256_storeu_si256((__m256i *)p + 1, x.b);
}
SIMD vi vi_lanes(void) {
    return simd_lanes32();
}
SIMD_TWO(vi, vi_add, vi, _mm256_add_epi32)
SIMD_TWO(vi, vi_sub, vi, _mm256_sub_epi32)
SIMD_TWO(vi, vi_and, vi, _mm256_and_si256)
SIMD_TWO(vi, vi_or, vi, _mm256_or_si256)
SIMD_TWO(vi, vi_xor, vi, _mm256_xor_si256)
SIMD_SHIFT(vi, vi_shl, _mm256_slli_epi32)
SIMD_SHIFT(vi, vi_shr, _mm256_srli_epi32)
SIMD_SHIFT(vi, vi_sar, _mm256_srai_epi32)
/* Lanes in which all of `bits` are set. */
SIMD vm vi_test(vi x, int32_t bits) {
    __m256i want = _mm256_set1_epi32(bits);
    return (vm){_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(x.a, want), want)),
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(x.b, want), want))};
}
SIMD vi vf_vi(vf x) {
    return (vi){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
SIMD vf vi_vf(vi x) {
    return (vf){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
SIMD_ONE(vf, vi_to_vf, vi, _mm256_cvtepi32_ps)
SIMD_ONE(vi, vf_to_vi, vf, _mm256_cvttps_epi32) /* truncates; the value must fit */

SIMD void simd_mul32(__m256i x, __m256i y, __m256i *high, __m256i *low) {
    __m256i even = _mm256_mul_epu32(x, y), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), y);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
/* The 64-bit products x * y, unsigned, as high and low words. */
SIMD void vi_multiply(vi x, uint32_t y, vi *high, vi *low) {
    __m256i factor = _mm256_set1_epi32((int)y);
    simd_mul32(x.a, factor, &high->a, &low->a);
    simd_mul32(x.b, factor, &high->b, &low->b);
}
SIMD void simd_interleave8(__m256i a, __m256i b, __m256i c, __m256i d, __m256i out[4]) {
    __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    __m256i r0 = _mm256_unpacklo_epi64(ab0, cd0), r1 = _mm256_unpackhi_epi64(ab0, cd0);
    __m256i r2 = _mm256_unpacklo_epi64(ab1, cd1), r3 = _mm256_unpackhi_epi64(ab1, cd1);
    out[0] = _mm256_permute2x128_si256(r0, r1, 0x20);
    out[1] = _mm256_permute2x128_si256(r2, r3, 0x20);
    out[2] = _mm256_permute2x128_si256(r0, r1, 0x31);
    out[3] = _mm256_permute2x128_si256(r2, r3, 0x31);
}
/* From four vectors x[word] (lane = block) to 64 words in the order block * 4 + word. */
SIMD void vi_interleave4(vi x[4]) {
    __m256i low[4], high[4];
    simd_interleave8(x[0].a, x[1].a, x[2].a, x[3].a, low);
    simd_interleave8(x[0].b, x[1].b, x[2].b, x[3].b, high);
    x[0] = (vi){low[0], low[1]};
    x[1] = (vi){low[2], low[3]};
    x[2] = (vi){high[0], high[1]};
    x[3] = (vi){high[2], high[3]};
}

/* ------------------------------------------------------------------------------------------- 16-bit types */

SIMD vi vi_load_u16(const uint16_t *p) {
    return (vi){_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
SIMD void vi_store_u16(uint16_t *p, vi x) {
    __m256i packed = _mm256_packus_epi32(x.a, x.b);
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
SIMD vf vf_load_f16(const uint16_t *p) {
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
SIMD void vf_store_f16(uint16_t *p, vf x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

/* ---------------------------------------------------------------------------------------------------- f64 */

SIMD vd vd_zero(void) {
    return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
SIMD vd vd_set(double x) {
    return (vd){_mm256_set1_pd(x), _mm256_set1_pd(x)};
}
SIMD vd vd_load(const double *p) {
    return (vd){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
SIMD void vd_store(double *p, vd x) {
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
}
SIMD void vd_stream(double *p, vd x) {
    _mm256_stream_pd(p, x.a);
    _mm256_stream_pd(p + 4, x.b);
}
SIMD vl simd_below64(int64_t n) {
    __m256i count = _mm256_set1_epi64x(n);
    return (vl){_mm256_cmpgt_epi64(count, _mm256_setr_epi64x(0, 1, 2, 3)),
                _mm256_cmpgt_epi64(count, _mm256_setr_epi64x(4, 5, 6, 7))};
}
SIMD vd vd_load_part(const double *p, int64_t n) {
    vl mask = simd_below64(n);
    return (vd){_mm256_maskload_pd(p, mask.a), _mm256_maskload_pd(p + 4, mask.b)};
}
SIMD void vd_store_part(double *p, vd x, int64_t n) {
    vl mask = simd_below64(n);
    _mm256_maskstore_pd(p, mask.a, x.a);
    _mm256_maskstore_pd(p + 4, mask.b, x.b);
}
SIMD_TWO(vd, vd_add, vd, _mm256_add_pd)
SIMD_TWO(vd, vd_sub, vd, _mm256_sub_pd)
SIMD_TWO(vd, vd_mul, vd, _mm256_mul_pd)
SIMD_TWO(vd, vd_div, vd, _mm256_div_pd)
SIMD_TWO(vd, vd_min, vd, _mm256_min_pd)
SIMD_TWO(vd, vd_max, vd, _mm256_max_pd)
SIMD_ONE(vd, vd_sqrt, vd, _mm256_sqrt_pd)
SIMD_THREE(vd, vd_fma, vd, _mm256_fmadd_pd)
SIMD_THREE(vd, vd_fnma, vd, _mm256_fnmadd_pd)
SIMD_ROUND(vd, vd_floor, _mm256_round_pd, _MM_FROUND_TO_NEG_INF)
SIMD_ROUND(vd, vd_ceil, _mm256_round_pd, _MM_FROUND_TO_POS_INF)
SIMD_ROUND(vd, vd_round, _mm256_round_pd, _MM_FROUND_TO_NEAREST_INT)
SIMD_ROUND(vd, vd_trunc, _mm256_round_pd, _MM_FROUND_TO_ZERO)
SIMD_COMPARE(vk, vd_lt, vd, _mm256_cmp_pd, _CMP_LT_OQ)
SIMD_COMPARE(vk, vd_le, vd, _mm256_cmp_pd, _CMP_LE_OQ)
SIMD_COMPARE(vk, vd_gt, vd, _mm256_cmp_pd, _CMP_GT_OQ)
SIMD_COMPARE(vk, vd_ge, vd, _mm256_cmp_pd, _CMP_GE_OQ)
SIMD_COMPARE(vk, vd_eq, vd, _mm256_cmp_pd, _CMP_EQ_OQ)
SIMD_COMPARE(vk, vd_ne, vd, _mm256_cmp_pd, _CMP_NEQ_UQ)
SIMD_COMPARE(vk, vd_not_lt, vd, _mm256_cmp_pd, _CMP_NLT_UQ)
SIMD_TWO(vk, vk_and, vk, _mm256_and_pd)
SIMD_TWO(vk, vk_or, vk, _mm256_or_pd)
SIMD vk vk_not(vk x) {
    __m256d ones = _mm256_castsi256_pd(_mm256_set1_epi32(-1));
    return (vk){_mm256_xor_pd(x.a, ones), _mm256_xor_pd(x.b, ones)};
}
SIMD vk vk_first(int64_t n) {
    vl mask = simd_below64(n);
    return (vk){_mm256_castsi256_pd(mask.a), _mm256_castsi256_pd(mask.b)};
}
SIMD unsigned vk_bits(vk x) {
    return (unsigned)_mm256_movemask_pd(x.a) | (unsigned)_mm256_movemask_pd(x.b) << 4;
}
SIMD vd vd_select(vk m, vd x, vd y) {
    return (vd){_mm256_blendv_pd(y.a, x.a, m.a), _mm256_blendv_pd(y.b, x.b, m.b)};
}
SIMD vd vd_keep(vk m, vd x) {
    return (vd){_mm256_and_pd(m.a, x.a), _mm256_and_pd(m.b, x.b)};
}
SIMD void vk_store_bytes(uint8_t *p, vk m) {
    unsigned bits = vk_bits(m);
    for (int i = 0; i < 8; ++i)
        p[i] = bits >> i & 1;
}
SIMD vk vk_load_bytes(const uint8_t *p) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    __m256i zero = _mm256_setzero_si256();
    return (vk){
        _mm256_castsi256_pd(_mm256_cmpgt_epi64(_mm256_cvtepu8_epi64(bytes), zero)),
        _mm256_castsi256_pd(_mm256_cmpgt_epi64(_mm256_cvtepu8_epi64(_mm_srli_si128(bytes, 4)), zero))};
}
SIMD double vd_sum(vd x) {
    __m256d y = _mm256_add_pd(x.a, x.b);
    __m128d z = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(z, _mm_unpackhi_pd(z, z)));
}
SIMD double vd_highest(vd x) {
    __m256d y = _mm256_max_pd(x.a, x.b);
    __m128d z = _mm_max_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_max_sd(z, _mm_unpackhi_pd(z, z)));
}
SIMD void vf_to_vd(vf x, vd *low, vd *high) {
    *low = (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1))};
    *high =
        (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
}
SIMD vf vf_from_vd(vd low, vd high) {
    return (vf){_mm256_set_m128(_mm256_cvtpd_ps(low.b), _mm256_cvtpd_ps(low.a)),
                _mm256_set_m128(_mm256_cvtpd_ps(high.b), _mm256_cvtpd_ps(high.a))};
}

/* ---------------------------------------------------------------------------------------- 64-bit integers */

SIMD vl vl_set(int64_t x) {
    return (vl){_mm256_set1_epi64x(x), _mm256_set1_epi64x(x)};
}
SIMD vl vl_load(const void *p) {
    return (vl){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
SIMD_TWO(vl, vl_add, vl, _mm256_add_epi64)
SIMD_TWO(vl, vl_sub, vl, _mm256_sub_epi64)
SIMD_TWO(vl, vl_and, vl, _mm256_and_si256)
SIMD_TWO(vl, vl_or, vl, _mm256_or_si256)
SIMD_TWO(vl, vl_xor, vl, _mm256_xor_si256)
SIMD_SHIFT(vl, vl_shl, _mm256_slli_epi64)
SIMD_SHIFT(vl, vl_shr, _mm256_srli_epi64)
SIMD vk vl_test(vl x, int64_t bits) {
    __m256i want = _mm256_set1_epi64x(bits);
    return (vk){_mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_and_si256(x.a, want), want)),
                _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_and_si256(x.b, want), want))};
}
SIMD vl vd_vl(vd x) {
    return (vl){_mm256_castpd_si256(x.a), _mm256_castpd_si256(x.b)};
}
SIMD vd vl_vd(vl x) {
    return (vd){_mm256_castsi256_pd(x.a), _mm256_castsi256_pd(x.b)};
}

SIMD void simd_fence(void) {
    _mm_sfence();
} /* after non-temporal stores */

#endif
