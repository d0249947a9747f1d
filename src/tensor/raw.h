/* raw.h - eager operations without a graph: what the differentiable operations of ops.h compute with.
 *
 * Every function takes tensors on one device with any strides, allocates its result contiguous (views excepted) on
 * that device, and on `meta` only makes the shape, counts bytes (workspace too) and flops. Types must already agree
 * (ct_raw_promote makes them). Errors go to the context; then an inert tensor is returned. */
#ifndef CARAT_SRC_TENSOR_RAW_H
#define CARAT_SRC_TENSOR_RAW_H

#include "tensor/tensor.h"
#include <carat/ops.h>

typedef enum ct_unary_op {
    CT_NEG, CT_ABS, CT_EXP, CT_LOG, CT_LOG1P, CT_EXPM1, CT_TANH, CT_SIGMOID, CT_RELU, CT_LEAKY_RELU /* p0 slope */,
    CT_GELU_ERF, CT_GELU_TANH, CT_SILU, CT_SOFTPLUS, CT_SIN, CT_COS, CT_ERF, CT_SQRT, CT_RSQRT, CT_RECIPROCAL,
    CT_SQUARE, CT_SIGN, CT_FLOOR, CT_CEIL, CT_ROUND, CT_CLAMP /* p0 low, p1 high */, CT_ADD_SCALAR, CT_MUL_SCALAR,
    CT_POW_SCALAR, CT_UNARY_OPS
} ct_unary_op;
typedef enum ct_binary_op {
    CT_ADD, CT_SUB, CT_MUL, CT_DIV, CT_POW, CT_MINIMUM, CT_MAXIMUM,
    CT_EQUAL, CT_NOT_EQUAL, CT_LESS, CT_LESS_EQUAL, CT_GREATER, CT_GREATER_EQUAL, /* u8 results from here */
    /* fused backward forms: (gradient, x) or (gradient, y) -> gradient of x */
    CT_RELU_BACKWARD, CT_GELU_ERF_BACKWARD, CT_GELU_TANH_BACKWARD, CT_SILU_BACKWARD, CT_TANH_BACKWARD /* y */,
    CT_SIGMOID_BACKWARD /* y */, CT_BINARY_OPS
} ct_binary_op;
typedef enum ct_reduce_op {
    CT_REDUCE_SUM_OP, CT_REDUCE_MAX_OP, CT_REDUCE_MIN_OP, CT_REDUCE_SQUARES_OP, CT_REDUCE_LOGSUMEXP_OP
} ct_reduce_op;

ct_tensor *ct_raw_unary(ct_unary_op op, ct_tensor *x, double p0, double p1);
ct_tensor *ct_raw_binary(ct_binary_op op, ct_tensor *a, ct_tensor *b); /* promotes and broadcasts */
ct_tensor *ct_raw_where(ct_tensor *mask, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_raw_cast(ct_tensor *x, ct_dtype dtype);      /* always a copy */
ct_tensor *ct_raw_contiguous(ct_tensor *x);                /* x itself (same handle) if it is */
/* target [any view] = source, broadcast and converted; both may be strided. Does not raise the version. */
ct_status ct_raw_copy(ct_tensor *target, const ct_tensor *source);
ct_status ct_raw_axpy(ct_tensor *target, const ct_tensor *source, double alpha); /* target += alpha source */

/* axes as a bit mask of normalised axes. */
ct_tensor *ct_raw_reduce(ct_reduce_op op, ct_tensor *x, unsigned axes, bool keep);
ct_tensor *ct_raw_argmax(ct_tensor *x, int axis, bool keep, bool minimum);
ct_tensor *ct_raw_cumsum(ct_tensor *x, int axis, bool reverse);
ct_tensor *ct_raw_sort(ct_tensor *x, int axis, bool descending, ct_tensor **indices); /* indices required */
ct_tensor *ct_raw_topk(ct_tensor *x, int64_t k, int axis, bool largest, ct_tensor **indices);
/* Sum to a shape that broadcasts to x's (the gradient of broadcasting). x itself if the shape is the same. */
ct_tensor *ct_raw_sum_to(ct_tensor *x, int ndim, const int64_t *shape);

ct_tensor *ct_raw_gather(ct_tensor *x, int axis, ct_tensor *index);
ct_status ct_raw_scatter(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values, bool add); /* in place */
ct_tensor *ct_raw_index_select(ct_tensor *x, int axis, ct_tensor *index);
ct_status ct_raw_index_add(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values); /* in place */
ct_tensor *ct_raw_concat(ct_tensor *const *parts, int count, int axis);
ct_tensor *ct_raw_flip(ct_tensor *x, unsigned axes);
ct_tensor *ct_raw_triangle(ct_tensor *x, int64_t diagonal, bool upper);

/* [..., m, k] x [..., k, n], ranks >= 2, leading axes broadcast. Result type `out` (accumulated in f32 or f64). */
ct_tensor *ct_raw_matmul(ct_tensor *a, ct_tensor *b, ct_dtype out);
/* x [rows, in] (strided rows allowed) times weight, plus bias, activation; *preactivation receives the value before
 * the activation if it is not NULL and there is one. */
ct_tensor *ct_raw_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, bool transposed, ct_activation activation,
                         ct_tensor **preactivation);
/* Gradients of the parameters of layers. x and gradient have the same leading axes; with three axes or more the first
 * one counts sequences, and the gradient is a left fold: each sequence's part by itself, added in order to `into`
 * ([the parameter's shape], returned; NULL: a new tensor of type `out` that begins with the first sequence's part).
 * So the bits do not depend on how sequences are cut into calls. bf16 products through oneDNN are not folded.
 * `may_wait`: small ones may be complete only after ct_parallel_finish. */
ct_tensor *ct_raw_weight_gradient(ct_tensor *x, ct_tensor *gradient, bool transposed, ct_dtype out, ct_tensor *into,
                                  bool may_wait);
ct_tensor *ct_raw_bias_gradient(ct_tensor *gradient, ct_dtype out, ct_tensor *into, bool may_wait);
ct_status ct_raw_qr(ct_tensor *x, ct_tensor **q, ct_tensor **r);
ct_tensor *ct_raw_cholesky(ct_tensor *x);
ct_status ct_raw_svd(ct_tensor *x, ct_tensor **u, ct_tensor **s, ct_tensor **vh);
ct_status ct_raw_eigh(ct_tensor *x, ct_tensor **values, ct_tensor **vectors);
ct_tensor *ct_raw_solve(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_raw_solve_triangular(ct_tensor *a, ct_tensor *b, bool upper, bool transposed, bool unit);

ct_tensor *ct_raw_softmax(ct_tensor *x, bool logarithm); /* last axis */
ct_tensor *ct_raw_softmax_backward(ct_tensor *y, ct_tensor *gradient, bool logarithm);
/* logits [rows, classes], targets ids [rows] or soft [rows, classes]; row_scale [rows] f32/f64 or NULL multiplies each
 * row. losses [rows]; *gradient (if not NULL) d(sum of losses)/d(logits), of the logits' type. */
ct_tensor *ct_raw_cross_entropy(ct_tensor *logits, ct_tensor *targets, ct_tensor *row_scale, double label_smoothing,
                                int64_t ignore_index, ct_tensor **gradient);
ct_tensor *ct_raw_layer_norm(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, double epsilon, ct_tensor **mean,
                             ct_tensor **rstd);
/* Any of the three results may be unwanted (NULL pointer). *dweight and *dbias that are not NULL on entry are added to,
 * and may wait, as ct_raw_weight_gradient does. `other`, if not NULL and if ct_raw_norm_adds says that it can be, is
 * added to dx: the gradient that reaches x by other ways. */
bool ct_raw_norm_adds(const ct_tensor *x, const ct_tensor *other);
ct_status ct_raw_layer_norm_backward(ct_tensor *x, ct_tensor *weight, ct_tensor *mean, ct_tensor *rstd,
                                     ct_tensor *gradient, ct_tensor *other, bool may_wait, ct_tensor **dx,
                                     ct_tensor **dweight, ct_tensor **dbias);
ct_tensor *ct_raw_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon, ct_tensor **rstd);
ct_status ct_raw_rms_norm_backward(ct_tensor *x, ct_tensor *weight, ct_tensor *rstd, ct_tensor *gradient,
                                   ct_tensor *other, bool may_wait, ct_tensor **dx, ct_tensor **dweight);
ct_tensor *ct_raw_attention(ct_tensor *q, ct_tensor *k, ct_tensor *v, const ct_attention_options *options,
                            ct_tensor **logsumexp);
ct_status ct_raw_attention_backward(ct_tensor *q, ct_tensor *k, ct_tensor *v, ct_tensor *out, ct_tensor *logsumexp,
                                    ct_tensor *gradient, const ct_attention_options *options, ct_tensor **dq,
                                    ct_tensor **dk, ct_tensor **dv);
ct_tensor *ct_raw_rotary(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, bool interleaved, bool inverse);
ct_tensor *ct_raw_dropout(ct_tensor *x, double probability, uint64_t seed, uint64_t stream, uint64_t offset);

#endif
