/* rules.h - inside autograd: what the differentiable operations share: reduction of gradients to operands,
 * constants, shapes, axes, and operations that only rules use. */
#ifndef CARAT_SRC_AUTOGRAD_RULES_H
#define CARAT_SRC_AUTOGRAD_RULES_H

#include "tensor/raw.h"
#include "tensor/tensor.h"
#include <carat/autograd.h>
#include <carat/ops.h>
#include <string.h>

/* Whether a result of x will get a rule: what only the backward pass needs is not made otherwise. NULL: no.
 */
static inline bool ct_differentiates(const ct_tensor *x) {
    return x && ct_requires_grad(x) && ct_grad_mode(x->context);
}
static inline ct_tensor *ct_inert_like(const ct_tensor *x) {
    return ct_inert(x->context, ct_dtype_of(x), x->ndim, x->shape);
}
/* An inert tensor of the shape that the operands broadcast to (a's, if they do not fit). */
ct_tensor *ct_inert_broadcast(const ct_tensor *a, const ct_tensor *b);

/* ------------------------------------------------------------------------------------------- constants */

ct_tensor *ct_full_on(ct_context *context, ct_device device, ct_dtype dtype, int ndim, const int64_t *shape,
                      double value);
/* A scalar on the device of `like`. */
ct_tensor *ct_constant(const ct_tensor *like, ct_dtype dtype, double value);
/* Zeros with the shape and type of a rule's operand, on the device of `like`. */
ct_tensor *ct_zeros_of_operand(const ct_vjp *call, int operand, const ct_tensor *like);
/* dtype, or f32 for bf16 and f16. */
static inline ct_dtype ct_accumulation_dtype(ct_dtype dtype) {
    return dtype == CT_BF16 || dtype == CT_F16 ? CT_F32 : dtype;
}

/* ---------------------------------------------------------------------------------------- differentiable */

/* Sum to a shape that broadcasts to x's. */
ct_tensor *ct_sum_to(ct_tensor *x, int ndim, const int64_t *shape);
/* The gradient summed to the shape of a rule's operand. */
ct_tensor *ct_sum_to_operand(const ct_vjp *call, int operand, ct_tensor *gradient);
/* The same as the last thing a rule does: for a vector along the channels of [sequences, ..., channels], such as the gain
 * of a norm, folded sequence by sequence onto what earlier passes left, so that the bits do not depend on the cut. */
ct_tensor *ct_fold_to_operand(const ct_vjp *call, int operand, ct_tensor *gradient);
/* Whether the gradient of that operand may be finished later in the pass: it goes into a leaf's sum of its own. */
bool ct_may_wait(const ct_vjp *call, int operand);
/* What the gradient of operand 0 will be added to, or NULL. A rule that takes it adds it itself to the gradient that it
 * gives; it must not change it, others may read it. */
ct_tensor *ct_pending_gradient(const ct_vjp *call);
ct_tensor *ct_take_pending(const ct_vjp *call);
/* g where the (constant) u8 mask is not 0, else 0; and the reverse. */
ct_tensor *ct_keep_where(ct_tensor *mask, ct_tensor *g);
ct_tensor *ct_drop_where(ct_tensor *mask, ct_tensor *g);
/* Reshape to the shape of a rule's operand. */
ct_tensor *ct_reshape_to_operand(const ct_vjp *call, int operand, ct_tensor *x);
/* The last two axes exchanged. */
ct_tensor *ct_transposed(ct_tensor *x);
/* All axes but the last as one: [rows, last]. */
ct_tensor *ct_rows(ct_tensor *x);
/* d activation(p) * g, from p (for relu from the result as well). */
ct_tensor *ct_activation_backward(ct_activation activation, ct_tensor *g, ct_tensor *p);

/* ------------------------------------------------------------------------------------------------ shapes */

/* Bit mask of the normalised axes (count 0: all); false with an error naming `operation`. */
bool ct_axes_mask(const ct_tensor *x, int count, const int *axes, const char *operation, unsigned *mask);
/* Shape after a reduction over `axes`; returns its rank. */
int ct_reduced_shape(const ct_tensor *x, unsigned axes, bool keep, int64_t *shape);
/* Strides for seeing x (shape, stride) as `target` without a copy; false if there are none. */
bool ct_view_strides(int ndim, const int64_t *shape, const int64_t *stride, int target_ndim,
                     const int64_t *target_shape, int64_t *target_stride);
/* Gives a result that was just made (contiguous, not yet seen by anybody) another shape of the same count. */
static inline ct_tensor *ct_fresh_shape(ct_tensor *fresh, int ndim, const int64_t *shape) {
    fresh->ndim = (uint8_t)ndim;
    for (int i = 0; i < ndim; i++)
        fresh->shape[i] = shape[i];
    ct_contiguous_strides(ndim, shape, fresh->stride);
    return fresh;
}

/* ----------------------------------------------------------------------------------------- attention */

/* Attention straight from a fused projection: qkv [batch, time, (heads + 2 kv_heads) * channels], queries
 * then keys then values, as GPT-2's c_attn and Llama's concatenated projections give it -> [batch, time,
 * heads * channels]. The backward pass writes one gradient buffer. */
ct_tensor *ct_attention_packed(ct_tensor *qkv, int64_t heads, int64_t kv_heads,
                               const ct_attention_options *options);

#endif
