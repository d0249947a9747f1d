/* raw_attention.h - internal: one attention, described for the tasks that compute it: raw_attention.c (what
 * is common, checks), raw_attention_head.c (f32 kernels; bf16 and f16 widened), raw_attention_wide.c (f64,
 * plain loops). */
#ifndef CARAT_SRC_TENSOR_RAW_ATTENTION_H
#define CARAT_SRC_TENSOR_RAW_ATTENTION_H

#include "tensor/raw_rows.h"

/* [batch, heads, tokens, channels] with contiguous channels; data NULL: absent. */
typedef struct ct_heads {
    void *data;
    int64_t batch_stride, head_stride, token_stride;
} ct_heads;

/* Broadcast over [batch, heads, queries, keys]. */
typedef struct ct_scores_operand {
    bool present;
    const void *data; /* NULL on meta */
    ct_dtype dtype;
    int64_t stride[4];
} ct_scores_operand;

typedef struct ct_attention_work {
    ct_context *context;
    int64_t batch, heads, kv_heads, queries, keys, channels, value_channels;
    ct_dtype dtype;
    ct_heads q, k, v, out, gradient, dq, dk, dv; /* elements of `dtype`; dk, dv have kv_heads */
    void *lse;                                   /* [batch, heads, queries] f32 or f64, or NULL */
    double scale, softcap; /* softcap 0: none */
    bool causal;
    int64_t window;
    const float *slopes; /* ALiBi, [heads], or NULL */
    ct_scores_operand bias, mask;
} ct_attention_work;

/* Position of query i among the keys is i + this. */
static inline int64_t ct_attention_offset(const ct_attention_work *w) {
    return w->keys - w->queries;
}

static inline void *ct_heads_at(const ct_heads *t, ct_dtype dtype, int64_t batch, int64_t head,
                                int64_t token) {
    return ct_at(t->data, dtype, batch * t->batch_stride + head * t->head_stride + token * t->token_stride);
}

/* The workspace is reserved also on meta, where `run` is false. */
void ct_attention_forward_narrow(ct_attention_work *w, bool run);
void ct_attention_backward_narrow(ct_attention_work *w, bool run);
void ct_attention_forward_wide(ct_attention_work *w, bool run);
void ct_attention_backward_wide(ct_attention_work *w, bool run);

#endif
