/* simd_plain.h - the vector layer in plain C: arrays and loops, the reference for the others. See simd.h. */
#ifndef CARAT_TENSOR_CPU_SIMD_PLAIN_H
#define CARAT_TENSOR_CPU_SIMD_PLAIN_H

typedef struct vf {
    float v[16];
} vf;
typedef struct vd {
    double v[8];
} vd;
typedef struct vi {
    uint32_t v[16];
} vi;
typedef struct vl {
    uint64_t v[8];
} vl;
typedef struct vm {
    uint32_t v[16]; /* 0 or all ones */
} vm;
typedef struct vk {
    uint64_t v[8];
} vk;

#define SIMD_EACH(type, lanes, expression)                                                                   \
    type r;                                                                                                  \
    for (int i = 0; i < lanes; ++i)                                                                          \
        r.v[i] = (expression);                                                                               \
    return r;
#define SIMD_ONE(type, name, from, lanes, expression)                                                        \
    SIMD type name(from x) {                                                                                 \
        SIMD_EACH(type, lanes, expression)                                                                   \
    }
#define SIMD_TWO(type, name, from, lanes, expression)                                                        \
    SIMD type name(from x, from y) {                                                                         \
        SIMD_EACH(type, lanes, expression)                                                                   \
    }
#define SIMD_THREE(type, name, from, lanes, expression)                                                      \
    SIMD type name(from x, from y, from z) {                                                                 \
        SIMD_EACH(type, lanes, expression)                                                                   \
    }
#define SIMD_SHIFT(type, name, lanes, expression)                                                            \
    SIMD type name(type x, int count) {                                                                      \
        SIMD_EACH(type, lanes, expression)                                                                   \
    }

/* ---------------------------------------------------------------------------------------------------- f32 */

SIMD vf vf_set(float x){SIMD_EACH(vf, 16, x)} SIMD vf vf_zero(void) {
    return vf_set(0);
}
SIMD vf vf_load(const float *p) {
    vf r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
SIMD void vf_store(float *p, vf x) {
    memcpy(p, x.v, sizeof x.v);
}
SIMD void vf_stream(float *p, vf x) {
    memcpy(p, x.v, sizeof x.v);
}
#define VF_STREAM_ALIGNMENT 4
SIMD vf vf_load_part(const float *p, int64_t n) {
    vf r = vf_zero();
    for (int64_t i = 0; i < n; ++i)
        r.v[i] = p[i];
    return r;
}
SIMD void vf_store_part(float *p, vf x, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        p[i] = x.v[i];
}
SIMD_TWO(vf, vf_add, vf, 16, x.v[i] + y.v[i])
SIMD_TWO(vf, vf_sub, vf, 16, x.v[i] - y.v[i])
SIMD_TWO(vf, vf_mul, vf, 16, x.v[i] * y.v[i])
SIMD_TWO(vf, vf_div, vf, 16, x.v[i] / y.v[i])
SIMD_TWO(vf, vf_min, vf, 16, x.v[i] < y.v[i] ? x.v[i] : y.v[i])
SIMD_TWO(vf, vf_max, vf, 16, x.v[i] > y.v[i] ? x.v[i] : y.v[i])
SIMD_ONE(vf, vf_sqrt, vf, 16, sqrtf(x.v[i]))
SIMD_THREE(vf, vf_fma, vf, 16, fmaf(x.v[i], y.v[i], z.v[i]))
SIMD_THREE(vf, vf_fnma, vf, 16, fmaf(-x.v[i], y.v[i], z.v[i]))
SIMD_ONE(vf, vf_floor, vf, 16, floorf(x.v[i]))
SIMD_ONE(vf, vf_ceil, vf, 16, ceilf(x.v[i]))
SIMD_ONE(vf, vf_round, vf, 16, nearbyintf(x.v[i]))
SIMD_ONE(vf, vf_trunc, vf, 16, truncf(x.v[i]))
SIMD_TWO(vm, vf_lt, vf, 16, -(uint32_t)(x.v[i] < y.v[i]))
SIMD_TWO(vm, vf_le, vf, 16, -(uint32_t)(x.v[i] <= y.v[i]))
SIMD_TWO(vm, vf_gt, vf, 16, -(uint32_t)(x.v[i] > y.v[i]))
SIMD_TWO(vm, vf_ge, vf, 16, -(uint32_t)(x.v[i] >= y.v[i]))
SIMD_TWO(vm, vf_eq, vf, 16, -(uint32_t)(x.v[i] == y.v[i]))
SIMD_TWO(vm, vf_ne, vf, 16, -(uint32_t)(x.v[i] != y.v[i]))
SIMD_TWO(vm, vf_not_lt, vf, 16, -(uint32_t)(!(x.v[i] < y.v[i]))) /* true for NaN */
SIMD_TWO(vm, vm_and, vm, 16, x.v[i] & y.v[i])
SIMD_TWO(vm, vm_or, vm, 16, x.v[i] | y.v[i])
SIMD_ONE(vm, vm_not, vm, 16, ~x.v[i])
SIMD vm vm_first(int64_t n){SIMD_EACH(vm, 16, -(uint32_t)(i < n))} SIMD unsigned vm_bits(vm x) {
    unsigned bits = 0;
    for (int i = 0; i < 16; ++i)
        bits |= (x.v[i] & 1u) << i;
    return bits;
}
SIMD vf vf_select(vm m, vf x, vf y){SIMD_EACH(vf, 16, m.v[i] ? x.v[i] : y.v[i])} SIMD vf
    vf_keep(vm m, vf x){SIMD_EACH(vf, 16, m.v[i] ? x.v[i] : 0.0f)} SIMD
    void vm_store_bytes(uint8_t *p, vm m) {
    for (int i = 0; i < 16; ++i)
        p[i] = m.v[i] & 1;
}
SIMD vm vm_load_bytes(const uint8_t *p){SIMD_EACH(vm, 16, -(uint32_t)(p[i] != 0))} SIMD float vf_sum(vf x) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i)
            x.v[i] = x.v[i] + x.v[i + half];
    return x.v[0];
}
SIMD float vf_highest(vf x) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i)
            x.v[i] = x.v[i] > x.v[i + half] ? x.v[i] : x.v[i + half];
    return x.v[0];
}

/* ---------------------------------------------------------------------------------------- 32-bit integers */

SIMD vi vi_set(int32_t x){SIMD_EACH(vi, 16, (uint32_t)x)} SIMD vi vi_load(const void *p) {
    vi r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
SIMD void vi_store(void *p, vi x) {
    memcpy(p, x.v, sizeof x.v);
}
SIMD vi vi_lanes(void){SIMD_EACH(vi, 16, (uint32_t)i)} SIMD_TWO(vi, vi_add, vi, 16, x.v[i] + y.v[i])
    SIMD_TWO(vi, vi_sub, vi, 16, x.v[i] - y.v[i]) SIMD_TWO(vi, vi_and, vi, 16, x.v[i] & y.v[i])
        SIMD_TWO(vi, vi_or, vi, 16, x.v[i] | y.v[i]) SIMD_TWO(vi, vi_xor, vi, 16, x.v[i] ^ y.v[i])
            SIMD_SHIFT(vi, vi_shl, 16, x.v[i] << count) SIMD_SHIFT(vi, vi_shr, 16, x.v[i] >> count)
                SIMD_SHIFT(vi, vi_sar, 16, (uint32_t)((int32_t)x.v[i] >> count))
    /* Lanes in which all of `bits` are set. */
    SIMD vm vi_test(vi x, int32_t bits){
        SIMD_EACH(vm, 16, -(uint32_t)((x.v[i] & (uint32_t)bits) == (uint32_t)bits))} SIMD vi vf_vi(vf x) {
    vi r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}
SIMD vf vi_vf(vi x) {
    vf r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}
SIMD_ONE(vf, vi_to_vf, vi, 16, (float)(int32_t)x.v[i])
/* Truncates; a value that does not fit, and NaN, gives INT32_MIN as the instruction does. */
SIMD_ONE(vi, vf_to_vi, vf, 16,
         x.v[i] >= -2147483648.0f && x.v[i] < 2147483648.0f ? (uint32_t)(int32_t)x.v[i] : 0x80000000u)

/* The 64-bit products x * y, unsigned, as high and low words. */
SIMD void vi_multiply(vi x, uint32_t y, vi *high, vi *low) {
    for (int i = 0; i < 16; ++i) {
        uint64_t product = (uint64_t)x.v[i] * y;
        low->v[i] = (uint32_t)product;
        high->v[i] = (uint32_t)(product >> 32);
    }
}
/* From four vectors x[word] (lane = block) to 64 words in the order block * 4 + word. */
SIMD void vi_interleave4(vi x[4]) {
    uint32_t words[64];
    for (int i = 0; i < 64; ++i)
        words[i] = x[i & 3].v[i >> 2];
    for (int i = 0; i < 64; ++i)
        x[i >> 4].v[i & 15] = words[i];
}

/* ------------------------------------------------------------------------------------------- 16-bit types */

SIMD vi vi_load_u16(const uint16_t *p){SIMD_EACH(vi, 16, p[i])} SIMD void vi_store_u16(uint16_t *p, vi x) {
    for (int i = 0; i < 16; ++i)
        p[i] = (uint16_t)x.v[i];
}
SIMD float simd_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu, bits;
    if (exponent == 0) { /* zero or denormal: fraction * 2^-24, exact */
        float value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, 4);
    } else if (exponent == 31) {
        bits = 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0u);
    } else {
        bits = (exponent + 112u) << 23 | fraction << 13;
    }
    bits |= sign;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
SIMD uint16_t simd_f32_to_f16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more: infinity */
    if (magnitude < 0x38800000u) { /* below 2^-14: a multiple of 2^-24; adding 1/2 rounds to it */
        float value;
        memcpy(&value, &magnitude, 4);
        value += 0.5f;
        memcpy(&magnitude, &value, 4);
        return (uint16_t)(sign | (magnitude - 0x3f000000u));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13);
}
SIMD vf vf_load_f16(const uint16_t *p){SIMD_EACH(vf, 16, simd_f16_to_f32(p[i]))} SIMD
    void vf_store_f16(uint16_t *p, vf x) {
    for (int i = 0; i < 16; ++i)
        p[i] = simd_f32_to_f16(x.v[i]);
}

/* ---------------------------------------------------------------------------------------------------- f64 */

SIMD vd vd_set(double x){SIMD_EACH(vd, 8, x)} SIMD vd vd_zero(void) {
    return vd_set(0);
}
SIMD vd vd_load(const double *p) {
    vd r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
SIMD void vd_store(double *p, vd x) {
    memcpy(p, x.v, sizeof x.v);
}
SIMD void vd_stream(double *p, vd x) {
    memcpy(p, x.v, sizeof x.v);
}
SIMD vd vd_load_part(const double *p, int64_t n) {
    vd r = vd_zero();
    for (int64_t i = 0; i < n; ++i)
        r.v[i] = p[i];
    return r;
}
SIMD void vd_store_part(double *p, vd x, int64_t n) {
    for (int64_t i = 0; i < n; ++i)
        p[i] = x.v[i];
}
SIMD_TWO(vd, vd_add, vd, 8, x.v[i] + y.v[i])
SIMD_TWO(vd, vd_sub, vd, 8, x.v[i] - y.v[i])
SIMD_TWO(vd, vd_mul, vd, 8, x.v[i] * y.v[i])
SIMD_TWO(vd, vd_div, vd, 8, x.v[i] / y.v[i])
SIMD_TWO(vd, vd_min, vd, 8, x.v[i] < y.v[i] ? x.v[i] : y.v[i])
SIMD_TWO(vd, vd_max, vd, 8, x.v[i] > y.v[i] ? x.v[i] : y.v[i])
SIMD_ONE(vd, vd_sqrt, vd, 8, sqrt(x.v[i]))
SIMD_THREE(vd, vd_fma, vd, 8, fma(x.v[i], y.v[i], z.v[i]))
SIMD_THREE(vd, vd_fnma, vd, 8, fma(-x.v[i], y.v[i], z.v[i]))
SIMD_ONE(vd, vd_floor, vd, 8, floor(x.v[i]))
SIMD_ONE(vd, vd_ceil, vd, 8, ceil(x.v[i]))
SIMD_ONE(vd, vd_round, vd, 8, nearbyint(x.v[i]))
SIMD_ONE(vd, vd_trunc, vd, 8, trunc(x.v[i]))
SIMD_TWO(vk, vd_lt, vd, 8, -(uint64_t)(x.v[i] < y.v[i]))
SIMD_TWO(vk, vd_le, vd, 8, -(uint64_t)(x.v[i] <= y.v[i]))
SIMD_TWO(vk, vd_gt, vd, 8, -(uint64_t)(x.v[i] > y.v[i]))
SIMD_TWO(vk, vd_ge, vd, 8, -(uint64_t)(x.v[i] >= y.v[i]))
SIMD_TWO(vk, vd_eq, vd, 8, -(uint64_t)(x.v[i] == y.v[i]))
SIMD_TWO(vk, vd_ne, vd, 8, -(uint64_t)(x.v[i] != y.v[i]))
SIMD_TWO(vk, vd_not_lt, vd, 8, -(uint64_t)(!(x.v[i] < y.v[i])))
SIMD_TWO(vk, vk_and, vk, 8, x.v[i] & y.v[i])
SIMD_TWO(vk, vk_or, vk, 8, x.v[i] | y.v[i])
SIMD_ONE(vk, vk_not, vk, 8, ~x.v[i])
SIMD vk vk_first(int64_t n){SIMD_EACH(vk, 8, -(uint64_t)(i < n))} SIMD unsigned vk_bits(vk x) {
    unsigned bits = 0;
    for (int i = 0; i < 8; ++i)
        bits |= (unsigned)(x.v[i] & 1u) << i;
    return bits;
}
SIMD vd vd_select(vk m, vd x, vd y){SIMD_EACH(vd, 8, m.v[i] ? x.v[i] : y.v[i])} SIMD vd
    vd_keep(vk m, vd x){SIMD_EACH(vd, 8, m.v[i] ? x.v[i] : 0.0)} SIMD void vk_store_bytes(uint8_t *p, vk m) {
    for (int i = 0; i < 8; ++i)
        p[i] = m.v[i] & 1;
}
SIMD vk vk_load_bytes(const uint8_t *p){SIMD_EACH(vk, 8, -(uint64_t)(p[i] != 0))} SIMD double vd_sum(vd x) {
    for (int half = 4; half > 0; half /= 2)
        for (int i = 0; i < half; ++i)
            x.v[i] = x.v[i] + x.v[i + half];
    return x.v[0];
}
SIMD double vd_highest(vd x) {
    for (int half = 4; half > 0; half /= 2)
        for (int i = 0; i < half; ++i)
            x.v[i] = x.v[i] > x.v[i + half] ? x.v[i] : x.v[i + half];
    return x.v[0];
}
SIMD void vf_to_vd(vf x, vd *low, vd *high) {
    for (int i = 0; i < 8; ++i) {
        low->v[i] = x.v[i];
        high->v[i] = x.v[i + 8];
    }
}
SIMD vf vf_from_vd(vd low, vd high) {
    vf r;
    for (int i = 0; i < 8; ++i) {
        r.v[i] = (float)low.v[i];
        r.v[i + 8] = (float)high.v[i];
    }
    return r;
}

/* ---------------------------------------------------------------------------------------- 64-bit integers */

SIMD vl vl_set(int64_t x){SIMD_EACH(vl, 8, (uint64_t)x)} SIMD vl vl_load(const void *p) {
    vl r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
SIMD_TWO(vl, vl_add, vl, 8, x.v[i] + y.v[i])
SIMD_TWO(vl, vl_sub, vl, 8, x.v[i] - y.v[i])
SIMD_TWO(vl, vl_and, vl, 8, x.v[i] & y.v[i])
SIMD_TWO(vl, vl_or, vl, 8, x.v[i] | y.v[i])
SIMD_TWO(vl, vl_xor, vl, 8, x.v[i] ^ y.v[i])
SIMD_SHIFT(vl, vl_shl, 8, x.v[i] << count)
SIMD_SHIFT(vl, vl_shr, 8, x.v[i] >> count)
SIMD vk vl_test(vl x, int64_t bits){
    SIMD_EACH(vk, 8, -(uint64_t)((x.v[i] & (uint64_t)bits) == (uint64_t)bits))} SIMD vl vd_vl(vd x) {
    vl r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}
SIMD vd vl_vd(vl x) {
    vd r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}

SIMD void simd_fence(void) {} /* after non-temporal stores */

#endif
