/* kernels_all.inc.h - all kernels of one variant: included once by each kernels_<isa>.c, which is compiled
 * with the flags of its instruction set and names its table CT_KERNELS_VARIANT. */

#include "base/random_internal.h"
#include "tensor/cpu/kernels_internal.h"
#include "tensor/cpu/simd_transpose.h"
#include "tensor/cpu/vmath.h"

/* The bodies for f32, then for f64. V, M: prefixes of vector and mask operations; N: suffix of function
 * names; WIDE_FMA: adds the products of two vectors, as f64, to a pair of f64 vectors. */
#define REAL float
#define LANES VF_LANES
#define VT vf
#define MT vm
#define V(operation) vf_##operation
#define M(operation) vm_##operation
#define N(name) name##_f32
#define SCALAR_FMA fmaf
#define WIDE_FMA(sums, u, v)                                                                                 \
    do {                                                                                                     \
        vd u_low, u_high, v_low, v_high;                                                                     \
        vf_to_vd(u, &u_low, &u_high);                                                                        \
        vf_to_vd(v, &v_low, &v_high);                                                                        \
        (sums).a = vd_fma(u_low, v_low, (sums).a);                                                           \
        (sums).b = vd_fma(u_high, v_high, (sums).b);                                                         \
    } while (0)
#define STORE_SHADOW(pointer, w, count)                                                                      \
    do {                                                                                                     \
        if ((count) >= LANES)                                                                                \
            vf_store_bf16(pointer, w);                                                                       \
        else                                                                                                 \
            N(store_shadow)(pointer, w, count);                                                              \
    } while (0)
#include "tensor/cpu/kernels_typed.inc.h"
#undef REAL
#undef LANES
#undef VT
#undef MT
#undef V
#undef M
#undef N
#undef WIDE_FMA
#undef STORE_SHADOW
#undef SCALAR_FMA

#define REAL double
#define LANES VD_LANES
#define VT vd
#define MT vk
#define V(operation) vd_##operation
#define M(operation) vk_##operation
#define N(name) name##_f64
#define SCALAR_FMA fma
#define WIDE_FMA(sums, u, v) ((sums).a = vd_fma(u, v, (sums).a))
#define STORE_SHADOW(pointer, w, count) N(store_shadow)(pointer, w, count)
#include "tensor/cpu/kernels_typed.inc.h"
#undef REAL
#undef LANES
#undef VT
#undef MT
#undef V
#undef M
#undef N
#undef WIDE_FMA
#undef STORE_SHADOW
#undef SCALAR_FMA

#include "tensor/cpu/kernels_random.inc.h"
#include "tensor/cpu/kernels_convert.inc.h"
#include "tensor/cpu/kernels_layout.inc.h"
#include "tensor/cpu/kernels_matmul.inc.h"
#include "tensor/cpu/kernels_attention.inc.h"
#include "tensor/cpu/kernels_attention_backward.inc.h"

#define TABLE_REAL(type)                                                                                     \
    {                                                                                                        \
        .unary = unary_##type, .unary_backward = unary_backward_##type, .binary = binary_##type,             \
        .compare = compare_##type, .where = where_##type, .fill = fill_##type, .axpy = axpy_##type,          \
        .axpby = axpby_##type, .addcmul = addcmul_##type, .lerp = lerp_##type, .gated = gated_##type,        \
        .gated_backward = gated_backward_##type, .reduce_block = reduce_block_##type,                        \
        .reduce = reduce_##type, .dot_block = dot_block_##type, .dot = dot_##type, .argmax = argmax_##type,  \
        .argmin = argmin_##type, .column_reduce = column_reduce_##type, .softmax = softmax_##type,           \
        .log_softmax = log_softmax_##type, .logsumexp = logsumexp_##type,                                    \
        .softmax_part = softmax_part_##type, .softmax_combine = softmax_combine_##type,                      \
        .softmax_write = softmax_write_##type, .log_softmax_write = log_softmax_write_##type,                \
        .softmax_backward = softmax_backward_##type, .log_softmax_backward = log_softmax_backward_##type,    \
        .cross_entropy = cross_entropy_##type, .layer_norm = layer_norm_##type,                              \
        .layer_norm_backward = layer_norm_backward_##type, .rms_norm = rms_norm_##type,                      \
        .rms_norm_backward = rms_norm_backward_##type, .adamw = adamw_##type, .sgd = sgd_##type,             \
        .random_uniform = random_uniform_##type, .random_normal = random_normal_##type,                      \
        .random_perturb = random_perturb_##type, .dropout = dropout_##type, .rotary = rotary_##type,         \
        .scatter_add_rows = scatter_add_rows_##type                                                          \
    }

static const ct_kernels CT_KERNELS_VARIANT = {
    .name = CT_SIMD_NAME,
    .f32 = TABLE_REAL(f32),
    .f64 = TABLE_REAL(f64),
    .convert = convert,
    .attention = attention,
    .attention_backward = attention_backward,
    .random_words = random_words,
    .random_bernoulli = random_bernoulli,
    .gather_rows = gather_rows,
    .transpose = transpose,
    .copy_strided = copy_strided,
};
