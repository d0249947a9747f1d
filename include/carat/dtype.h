/* dtype.h - element types of tensors and of files. */
#ifndef CARAT_DTYPE_H
#define CARAT_DTYPE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum ct_dtype {
    CT_F32,
    CT_F64,
    CT_BF16,
    CT_F16,
    CT_I8,
    CT_I32,
    CT_I64,
    CT_U8, /* also the type of comparison results and masks: 0 or 1 */
    CT_DTYPES
} ct_dtype;

static inline size_t ct_dtype_size(ct_dtype dtype) {
    static const unsigned char sizes[CT_DTYPES] = {4, 8, 2, 2, 1, 4, 8, 1};
    return sizes[dtype];
}
const char *ct_dtype_name(ct_dtype dtype); /* "f32", "bf16", ... */

static inline int ct_dtype_is_float(ct_dtype dtype) { return dtype <= CT_F16; }

/* bf16 is the upper half of an f32; rounding is to nearest even, NaN stays NaN (quiet). */
static inline float ct_bf16_to_f32(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline uint16_t ct_f32_to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
#endif
