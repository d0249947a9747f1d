/* ops.h - the differentiable operations. Each has first- and second-order gradients.
 *
 * Operands broadcast as in NumPy (shapes aligned at the last axis, 1 stretches). Types: f64 with anything is f64; f32
 * with bf16 or f16 is f32; bf16 with f16 is f32; integers with floats take the float type; comparison gives u8. bf16
 * and f16 are computed in f32 and rounded once, to nearest even. Axes may be negative. Results are new tensors in the
 * innermost scope, except that views (marked) share storage. After a failure in the context every operation returns
 * an inert tensor of the expected shape where it is known. */
#ifndef CARAT_OPS_H
#define CARAT_OPS_H

#include <carat/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------- elementwise ----- */

ct_tensor *ct_add(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_sub(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_mul(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_div(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_pow(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_minimum(ct_tensor *a, ct_tensor *b); /* gradient to the smaller; half to each when equal */
ct_tensor *ct_maximum(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_add_scalar(ct_tensor *x, double value);
ct_tensor *ct_mul_scalar(ct_tensor *x, double value);
ct_tensor *ct_pow_scalar(ct_tensor *x, double exponent);
ct_tensor *ct_neg(ct_tensor *x);
ct_tensor *ct_exp(ct_tensor *x);
ct_tensor *ct_log(ct_tensor *x);
ct_tensor *ct_log1p(ct_tensor *x);
ct_tensor *ct_expm1(ct_tensor *x);
ct_tensor *ct_tanh(ct_tensor *x);
ct_tensor *ct_sigmoid(ct_tensor *x);
ct_tensor *ct_relu(ct_tensor *x);
ct_tensor *ct_leaky_relu(ct_tensor *x, double negative_slope);
ct_tensor *ct_gelu(ct_tensor *x);      /* x Phi(x), with erf (Hendrycks & Gimpel, arXiv:1606.08415) */
ct_tensor *ct_gelu_tanh(ct_tensor *x); /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), "gelu_new" */
ct_tensor *ct_silu(ct_tensor *x);      /* x sigmoid(x) */
ct_tensor *ct_softplus(ct_tensor *x);  /* log(1 + e^x) */
ct_tensor *ct_sin(ct_tensor *x);
ct_tensor *ct_cos(ct_tensor *x);
ct_tensor *ct_erf(ct_tensor *x);
ct_tensor *ct_sqrt(ct_tensor *x);
ct_tensor *ct_rsqrt(ct_tensor *x);
ct_tensor *ct_reciprocal(ct_tensor *x);
ct_tensor *ct_square(ct_tensor *x);
ct_tensor *ct_abs(ct_tensor *x);                             /* gradient 0 at 0 */
ct_tensor *ct_sign(ct_tensor *x);                            /* gradient 0 */
ct_tensor *ct_floor(ct_tensor *x);                           /* gradient 0 */
ct_tensor *ct_round(ct_tensor *x);                           /* half to even; gradient 0 */
ct_tensor *ct_clamp(ct_tensor *x, double low, double high);  /* gradient 1 inside and on the ends, 0 outside */
/* mask is u8, broadcast; a where it is not 0, else b. */
ct_tensor *ct_where(ct_tensor *mask, ct_tensor *a, ct_tensor *b);
ct_tensor *ct_masked_fill(ct_tensor *x, ct_tensor *mask, double value); /* value where mask */
/* u8 results, no gradient. */
ct_tensor *ct_equal(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_not_equal(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_less(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_less_equal(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_greater(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_greater_equal(ct_tensor *a, ct_tensor *b);
/* Conversion; the gradient is converted back. */
ct_tensor *ct_cast(ct_tensor *x, ct_dtype dtype);
ct_tensor *ct_detach(ct_tensor *x);                                /* same storage, no gradient */
ct_tensor *ct_straight_through(ct_tensor *value, ct_tensor *x);    /* value forward, identity gradient to x */
ct_tensor *ct_clone(ct_tensor *x);                                 /* contiguous copy */
ct_tensor *ct_contiguous(ct_tensor *x);                            /* x itself if it is */

/* ---------------------------------------------------------------------------------------- reductions ----- */

/* Over the `count` axes in `axes` (count 0: all axes). keep leaves them as 1. */
ct_tensor *ct_sum(ct_tensor *x, int count, const int *axes, bool keep);
ct_tensor *ct_mean(ct_tensor *x, int count, const int *axes, bool keep);
/* Divisor is n - correction. */
ct_tensor *ct_variance(ct_tensor *x, int count, const int *axes, bool keep, double correction);
/* (sum |x|^order)^(1/order); order may be INFINITY, 1, 2, ...; gradient 0 where the norm is 0. */
ct_tensor *ct_norm(ct_tensor *x, double order, int count, const int *axes, bool keep);
/* Gradient shared equally among ties. */
ct_tensor *ct_max(ct_tensor *x, int count, const int *axes, bool keep);
ct_tensor *ct_min(ct_tensor *x, int count, const int *axes, bool keep);
ct_tensor *ct_logsumexp(ct_tensor *x, int count, const int *axes, bool keep);
ct_tensor *ct_argmax(ct_tensor *x, int axis, bool keep); /* i64, the first of ties */
ct_tensor *ct_argmin(ct_tensor *x, int axis, bool keep);
ct_tensor *ct_cumsum(ct_tensor *x, int axis);
/* All axes to a scalar. */
ct_tensor *ct_sum_all(ct_tensor *x);
ct_tensor *ct_mean_all(ct_tensor *x);
/* Sorted along an axis (stable); *indices (i64, may be NULL) are the positions before. */
ct_tensor *ct_sort(ct_tensor *x, int axis, bool descending, ct_tensor **indices);
/* The k largest (or smallest) along an axis, in order. */
ct_tensor *ct_topk(ct_tensor *x, int64_t k, int axis, bool largest, ct_tensor **indices);

/* --------------------------------------------------------------------------- shape, views, indexing ----- */

ct_tensor *ct_reshape(ct_tensor *x, int ndim, const int64_t *shape); /* one -1 allowed; a view if it can be */
ct_tensor *ct_permute(ct_tensor *x, int count, const int *order);   /* view */
ct_tensor *ct_transpose(ct_tensor *x, int axis_a, int axis_b);       /* view */
ct_tensor *ct_expand(ct_tensor *x, int ndim, const int64_t *shape); /* view with stride 0 */
ct_tensor *ct_squeeze(ct_tensor *x, int axis);                       /* view */
ct_tensor *ct_unsqueeze(ct_tensor *x, int axis);                     /* view */
ct_tensor *ct_slice(ct_tensor *x, int axis, int64_t start, int64_t stop, int64_t step); /* view; step >= 1 */
ct_tensor *ct_select(ct_tensor *x, int axis, int64_t index);         /* view, without that axis */
ct_tensor *ct_diagonal(ct_tensor *x, int64_t offset, int axis_a, int axis_b); /* view; the diagonal is last */
ct_tensor *ct_concat(ct_tensor *const *parts, int count, int axis);
ct_tensor *ct_stack(ct_tensor *const *parts, int count, int axis);
/* Cuts an axis into `count` parts of the given sizes; parts are views. One gradient pass joins them again. */
ct_status ct_split(ct_tensor *x, int axis, int count, const int64_t *sizes, ct_tensor **parts);
/* before/after: elements added per axis (negative cuts). */
ct_tensor *ct_pad(ct_tensor *x, const int64_t *before, const int64_t *after, double value);
ct_tensor *ct_flip(ct_tensor *x, int count, const int *axes);
ct_tensor *ct_roll(ct_tensor *x, int64_t shift, int axis);
/* out[i][j] = x[index[i][j]][j] for axis 0, and so on; index is i64 (or i32) of x's rank. */
ct_tensor *ct_gather(ct_tensor *x, int axis, ct_tensor *index);
/* x with values[i][j] added at index[i][j] (repeats add, in index order). */
ct_tensor *ct_scatter_add(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values);
/* x with values put at index; of repeats the last stays. */
ct_tensor *ct_scatter(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values);
ct_tensor *ct_index_select(ct_tensor *x, int axis, ct_tensor *index); /* index i64 or i32 [n] */
ct_tensor *ct_index_add(ct_tensor *x, int axis, ct_tensor *index, ct_tensor *values);
ct_tensor *ct_tril(ct_tensor *x, int64_t diagonal); /* last two axes; 0 elsewhere */
ct_tensor *ct_triu(ct_tensor *x, int64_t diagonal);

/* ------------------------------------------------------------------------------------ linear algebra ----- */

/* [..., m, k] x [..., k, n] -> [..., m, n], leading axes broadcast; 1-D operands as in NumPy. */
ct_tensor *ct_matmul(ct_tensor *a, ct_tensor *b);
typedef enum ct_activation {
    CT_ACT_NONE,
    CT_ACT_RELU,
    CT_ACT_GELU,
    CT_ACT_GELU_TANH,
    CT_ACT_SILU
} ct_activation;
/* activation(x [..., in] . weight^T + bias): weight [out, in] (bias [out] or NULL). With `transposed` the weight is
 * [in, out], as GPT-2's Conv1D stores it. One fused kernel, accumulated in f32 (f64 if either operand is). The result
 * has x's type; a bf16 x takes the bf16 shadow of an f32 weight, whose gradient is f32. Gradients of weight and bias
 * are formed sequence by sequence (first axis of an x with three axes or more) and added in that order, so that they
 * do not depend on how a batch is cut into micro-batches. */
ct_tensor *ct_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, bool transposed, ct_activation activation);
/* Says that a stored f32 or bf16 weight is constant: packed panels are made, as much memory as the weight again, with
 * which ct_linear for few rows (decoding) runs near the speed of memory. The same bits; packed again if it changes. */
ct_status ct_linear_pack(ct_tensor *weight, bool transposed);
/* "bij,bjk->bik", "i,j->ij", "ii->i" is not among them: each letter at most once per operand. */
ct_tensor *ct_einsum(const char *equation, ct_tensor *a, ct_tensor *b);
/* f32 and f64, batched over leading axes. Reduced QR; lower Cholesky of a symmetric positive matrix; thin SVD
 * x = U diag(S) Vh; symmetric eigenvalues ascending, vectors in columns; solve A X = B; least squares min |A X - B|
 * for full column rank. Gradients as in Seeger et al., arXiv:1710.08717, and Walter & Lehmann, arXiv:1009.6112
 * (SVD and eigen: for distinct values). */
ct_status ct_qr(ct_tensor *x, ct_tensor **q, ct_tensor **r);
ct_tensor *ct_cholesky(ct_tensor *x);
ct_status ct_svd(ct_tensor *x, ct_tensor **u, ct_tensor **s, ct_tensor **vh);
ct_status ct_eigh(ct_tensor *x, ct_tensor **values, ct_tensor **vectors);
ct_tensor *ct_solve(ct_tensor *a, ct_tensor *b);
ct_tensor *ct_solve_triangular(ct_tensor *a, ct_tensor *b, bool upper, bool unit_diagonal);
ct_tensor *ct_least_squares(ct_tensor *a, ct_tensor *b);

/* --------------------------------------------------------------------------------- network operations ----- */

ct_tensor *ct_softmax(ct_tensor *x, int axis);
ct_tensor *ct_log_softmax(ct_tensor *x, int axis);

typedef struct ct_cross_entropy_options {
    double label_smoothing; /* epsilon: target = (1 - epsilon) one-hot + epsilon / classes */
    int64_t ignore_index;   /* targets of this id count for nothing; default -100 */
    ct_tensor *weights;     /* per sample [rows] or NULL; a weighted mean divides by the sum of weights */
    enum { CT_LOSS_MEAN, CT_LOSS_SUM, CT_LOSS_NONE } reduction; /* NONE: per-sample losses [rows], f32/f64 */
} ct_cross_entropy_options;
#define CT_CROSS_ENTROPY_DEFAULT {0.0, -100, NULL, CT_LOSS_MEAN}
/* logits [..., classes]; targets: ids (i64 or i32) [...], or soft targets (float) [..., classes]. options may be NULL.
 * Forward and backward read the logits once. The mean over no targets is 0. Loss is f32 (f64 for f64 logits). */
ct_tensor *ct_cross_entropy(ct_tensor *logits, ct_tensor *targets, const ct_cross_entropy_options *options);

/* weight [rows, width], ids (i64 or i32) [...] -> [..., width]. Gradient rows are added in order of position. */
ct_tensor *ct_embedding(ct_tensor *weight, ct_tensor *ids);
/* Inverted dropout: zero with `probability`, else divided by 1 - probability. The mask is a function of the
 * generator's counter and is made again in the backward pass, not stored. */
ct_tensor *ct_dropout(ct_tensor *x, double probability, ct_random *random);
/* Over the last axis (size of weight). weight and bias may be NULL. (Ba et al., arXiv:1607.06450) */
ct_tensor *ct_layer_norm(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, double epsilon);
/* x / sqrt(mean(x^2) + epsilon) * weight (Zhang & Sennrich, arXiv:1910.07467). */
ct_tensor *ct_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon);

typedef struct ct_attention_options {
    bool causal;            /* query i sees keys j <= i + (keys - queries) */
    int64_t window;         /* > 0: only keys with position distance < window (sliding window) */
    double scale;           /* 0: 1 / sqrt(head channels) */
    ct_tensor *bias;        /* added to the scores, broadcast to [batch, heads, queries, keys]; float. Or NULL */
    ct_tensor *mask;        /* u8, broadcast likewise; 0 hides. Or NULL. A row that sees nothing gives 0 */
    ct_tensor *alibi_slopes; /* f32 [heads] or NULL: score -= slope * |distance| (Press et al., arXiv:2108.12409) */
    double softcap; /* > 0: score = softcap tanh(score / softcap), before slopes and bias (Gemma 2, arXiv:2408.00118) */
} ct_attention_options;
/* Scaled dot-product attention: q [batch, heads, queries, channels], k and v [batch, kv_heads, keys, channels] (v may
 * have other channels), heads a multiple of kv_heads. Any strides with contiguous channels are taken as they are.
 * Memory is linear in the length (Dao et al., arXiv:2205.14135). */
ct_tensor *ct_attention(ct_tensor *q, ct_tensor *k, ct_tensor *v, const ct_attention_options *options);
/* The same on one packed projection, as GPT-2's c_attn gives it: qkv [batch, time, (heads + 2 kv_heads) * channels],
 * q then k then v -> [batch, time, heads * channels]. Its gradient is written in one pass. */
ct_tensor *ct_attention_packed(ct_tensor *qkv, int64_t heads, int64_t kv_heads, const ct_attention_options *options);
/* ALiBi slopes for `heads` heads, as the paper's reference gives them: f32 [heads]. */
ct_tensor *ct_alibi_slopes(ct_context *context, int64_t heads);
/* Rotary positions (Su et al., arXiv:2104.09864): x [..., time, channels] turned by cos and sin [time, channels/2].
 * `interleaved`: pairs (2i, 2i+1); else (i, i + channels/2), as Llama's files have it. For x [batch, heads, time,
 * channels] the tables may be [batch, time, channels/2]: each row has positions of its own. */
ct_tensor *ct_rotary(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, bool interleaved);
/* cos/sin tables for positions first .. first+time-1: *cos, *sin f32 [time, channels/2]. */
ct_status ct_rotary_tables(ct_context *context, int64_t first, int64_t time, int64_t channels, double base,
                           ct_tensor **cos, ct_tensor **sin);

#ifdef __cplusplus
}
#endif
#endif
