/* gemm_plain.c - matrix multiply kernels for any processor: short generic vectors, the C library's fma. */
#include "tensor/cpu/gemm_half.h"
#include "tensor/cpu/gemm_kernels.h"
#include "tensor/cpu/gemm_transpose.h"

#include <math.h>
#include <string.h>

#define CT_ISA CT_ISA_PLAIN

#define CT_T float
#define CT_BITS uint32_t
#define CT_N(name) name##_f32
#define CT_VL 4
#define CT_MR 4
#define CT_NV 2
#define CT_IS_F32 1
#define CT_TABLE ct_gemm_plain_f32
#define CT_SCALAR_FMA(a, b, c) fmaf(a, b, c)
#define CT_FMA(a, b, c) fma_f32(a, b, c)
#define CT_SET1(x) set1_f32(x)
#define CT_TRANSPOSE CT_TRANSPOSE_F4
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4)
#include "tensor/cpu/gemm_vector.inc.h"
#define CT_WIDEN(from) __builtin_convertvector(*(const halves_f32 *)(from), bits_f32)
#include "tensor/cpu/gemm_bf16.inc.h"
static inline vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) {
    for (int i = 0; i < CT_VL; i++)
        c[i] = fmaf(a[i], b[i], c[i]);
    return c;
}
static inline vec_f32 set1_f32(float x) {
    return (vec_f32){x, x, x, x};
}
static inline vec_f32 half_load(const uint16_t *from) {
    vec_f32 value = {0};
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
#include "tensor/cpu/gemm_type.inc.h"

#define CT_T double
#define CT_BITS uint64_t
#define CT_N(name) name##_f64
#define CT_VL 2
#define CT_MR 4
#define CT_NV 2
#define CT_IS_F32 0
#define CT_TABLE ct_gemm_plain_f64
#define CT_SCALAR_FMA(a, b, c) fma(a, b, c)
#define CT_FMA(a, b, c) fma_f64(a, b, c)
#define CT_SET1(x) set1_f64(x)
#define CT_TRANSPOSE CT_TRANSPOSE_D2
#define CT_EACH_ROWS(X) X(1) X(2) X(3) X(4)
#include "tensor/cpu/gemm_vector.inc.h"
static inline vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) {
    for (int i = 0; i < CT_VL; i++)
        c[i] = fma(a[i], b[i], c[i]);
    return c;
}
static inline vec_f64 set1_f64(double x) {
    return (vec_f64){x, x};
}
#include "tensor/cpu/gemm_type.inc.h"
