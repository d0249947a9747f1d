/* raw_attention_head.c - attention in f32 by the kernels, forward by (batch, head, block of queries),
 * backward by (batch, key head), whose query heads add to its gradients in order. bf16 and f16 heads are
 * widened in a worker's scratch. A mask, and a bias that is not f32, become a block of f32 biases there. */
#include "tensor/raw_attention.h"
#include <math.h>
#include <string.h>

#define QUERY_BLOCK CT_ATTENTION_QUERIES   /* queries of a forward task */
#define MASKED_QUERIES 256 /* queries of a backward call where a block of biases is made */

/* Where things lie in a worker's scratch, bytes from its start: the forward kernel's at 0, the backward
 * kernel's at `gradients`. */
typedef struct head_layout {
    size_t gradients, q, k, v, out, gradient, dq, dk, dv, bias, total;
} head_layout;

/* Whose bias the kernels cannot read as it is. */
static bool bias_made(const ct_attention_work *w) {
    return w->mask.present || (w->bias.present && w->bias.dtype != CT_F32);
}
static bool widened(const ct_attention_work *w) {
    return w->dtype != CT_F32;
}

static size_t place(head_layout *l, int64_t elements) {
    size_t at = l->total;
    l->total += ((size_t)elements * sizeof(float) + 63) / 64 * 64;
    return at;
}

static head_layout layout_make(const ct_attention_work *w, int64_t queries, int64_t biased, bool backward) {
    head_layout l = {0};
    l.total = (ct_attention_scratch(w->channels, w->value_channels) + 63) / 64 * 64;
    l.gradients = l.total;
    if (backward)
        l.total += (ct_attention_backward_scratch(queries, w->channels, w->value_channels) + 63) / 64 * 64;
    if (widened(w)) {
        l.q = place(&l, queries * w->channels);
        l.k = place(&l, w->keys * w->channels);
        l.v = place(&l, w->keys * w->value_channels);
        l.out = place(&l, queries * w->value_channels);
    }
    if (widened(w) && backward) {
        l.gradient = place(&l, queries * w->value_channels);
        l.dq = place(&l, queries * w->channels);
        l.dk = place(&l, w->keys * w->channels);
        l.dv = place(&l, w->keys * w->value_channels);
    }
    if (bias_made(w)) l.bias = place(&l, biased * w->keys);
    return l;
}

static void convert_tokens(ct_dtype from, const void *x, int64_t x_stride, ct_dtype to, void *y,
                           int64_t y_stride, int64_t tokens, int64_t channels) {
    const ct_kernels *kernels = ct_cpu_kernels();
    if (x_stride == channels && y_stride == channels) { /* as in a cache of keys */
        channels *= tokens;
        tokens = channels > 0;
    }
    for (int64_t i = 0; i < tokens; i++)
        kernels->convert(channels, from, ct_at(x, from, i * x_stride), to, ct_at(y, to, i * y_stride));
}

static float bias_element(const ct_scores_operand *bias, int64_t at) {
    float value;
    if (bias->dtype == CT_F32) return ((const float *)bias->data)[at];
    if (bias->dtype == CT_F64) return (float)((const double *)bias->data)[at];
    ct_cpu_kernels()->convert(1, bias->dtype, ct_at(bias->data, bias->dtype, at), CT_F32, &value);
    return value;
}

/* Keys that some query up to `last` sees. */
static int64_t keys_seen(const ct_attention_work *w, int64_t last) {
    int64_t seen = w->causal ? ct_attention_offset(w) + last + 1 : w->keys;
    return seen < 0 ? 0 : ct_least(seen, w->keys);
}

static void bias_row(const ct_attention_work *w, int64_t at, int64_t keys, float *row) {
    int64_t step = w->bias.stride[3];
    if (!w->bias.present)
        memset(row, 0, (size_t)keys * sizeof(*row));
    else if (step == 1)
        ct_cpu_kernels()->convert(keys, w->bias.dtype, ct_at(w->bias.data, w->bias.dtype, at), CT_F32, row);
    else
        for (int64_t j = 0; j < keys; j++)
            row[j] = bias_element(&w->bias, at + j * step);
}

static void hide(const uint8_t *mask, int64_t step, int64_t keys, float *row) {
    const float hidden = -INFINITY;
    if (step == 1)
        ct_cpu_kernels()->f32.where(keys, mask, row, 1, &hidden, 0, row);
    else
        for (int64_t j = 0; j < keys; j++)
            row[j] = mask[j * step] ? row[j] : hidden;
}

/* block[i][j] = bias of query first + i and key j, -inf where the mask hides it; keys that no query sees are
 * left out. */
static void make_bias(const ct_attention_work *w, int64_t batch, int64_t head, int64_t first, int64_t count,
                      float *block) {
    const int64_t *bs = w->bias.stride, *ms = w->mask.stride;
    int64_t keys = keys_seen(w, first + count - 1);
    for (int64_t i = 0; i < count; i++) {
        float *row = block + i * w->keys;
        bias_row(w, batch * bs[0] + head * bs[1] + (first + i) * bs[2], keys, row);
        if (!w->mask.present) continue;
        const uint8_t *mask = w->mask.data;
        hide(mask + batch * ms[0] + head * ms[1] + (first + i) * ms[2], ms[3], keys, row);
    }
}

/* Everything of the head but the operands q, k, v and out. */
static ct_attention_head head_make(const ct_attention_work *w, const head_layout *l, int64_t batch,
                                   int64_t head, int64_t first, int64_t count, char *scratch) {
    ct_attention_head a = {
        .queries = count, .keys = w->keys, .head_dim = w->channels, .value_dim = w->value_channels};
    a.scale = (float)w->scale;
    a.softcap = (float)w->softcap;
    a.causal = w->causal;
    a.query_offset = ct_attention_offset(w) + first;
    a.window = w->window;
    a.alibi_slope = w->slopes ? w->slopes[head] : 0;
    a.scratch = scratch;
    if (w->lse) a.lse = (float *)w->lse + (batch * w->heads + head) * w->queries + first;
    if (bias_made(w)) {
        float *block = (float *)(void *)(scratch + l->bias);
        make_bias(w, batch, head, first, count, block);
        a.bias = block;
        a.bias_row = w->keys;
        a.bias_column = 1;
    } else if (w->bias.present) {
        const int64_t *s = w->bias.stride;
        a.bias = (const float *)w->bias.data + batch * s[0] + head * s[1] + first * s[2];
        a.bias_row = s[2];
        a.bias_column = s[3];
    }
    return a;
}

/* ------------------------------------------------------------------------------------------------ forward */

typedef struct forward_work {
    const ct_attention_work *w;
    head_layout layout;
    int64_t blocks;
} forward_work;

static void forward_widened(const forward_work *f, ct_attention_head *a, int64_t batch, int64_t head,
                            int64_t first) {
    const ct_attention_work *w = f->w;
    char *scratch = a->scratch;
    int64_t key_head = head / (w->heads / w->kv_heads), keys = keys_seen(w, first + a->queries - 1);
    float *q = (float *)(void *)(scratch + f->layout.q), *k = (float *)(void *)(scratch + f->layout.k);
    float *v = (float *)(void *)(scratch + f->layout.v), *out = (float *)(void *)(scratch + f->layout.out);
    convert_tokens(w->dtype, ct_heads_at(&w->q, w->dtype, batch, head, first), w->q.token_stride, CT_F32, q,
                   w->channels, a->queries, w->channels);
    convert_tokens(w->dtype, ct_heads_at(&w->k, w->dtype, batch, key_head, 0), w->k.token_stride, CT_F32, k,
                   w->channels, keys, w->channels);
    convert_tokens(w->dtype, ct_heads_at(&w->v, w->dtype, batch, key_head, 0), w->v.token_stride, CT_F32, v,
                   w->value_channels, keys, w->value_channels);
    a->keys = keys;
    a->q = q, a->k = k, a->v = v, a->out = out;
    a->q_stride = a->k_stride = w->channels;
    a->v_stride = a->out_stride = w->value_channels;
    ct_cpu_kernels()->attention(a);
    convert_tokens(CT_F32, out, w->value_channels, w->dtype,
                   ct_heads_at(&w->out, w->dtype, batch, head, first), w->out.token_stride, a->queries,
                   w->value_channels);
}

static void forward_task(void *user, int64_t index, int worker) {
    const forward_work *f = user;
    const ct_attention_work *w = f->w;
    int64_t first = index % f->blocks * QUERY_BLOCK, head = index / f->blocks % w->heads;
    int64_t batch = index / f->blocks / w->heads, key_head = head / (w->heads / w->kv_heads);
    int64_t count = ct_least(QUERY_BLOCK, w->queries - first);
    ct_attention_head a = head_make(w, &f->layout, batch, head, first, count, ct_scratch(w->context, worker));
    if (widened(w)) {
        forward_widened(f, &a, batch, head, first);
        return;
    }
    a.q = ct_heads_at(&w->q, CT_F32, batch, head, first);
    a.k = ct_heads_at(&w->k, CT_F32, batch, key_head, 0);
    a.v = ct_heads_at(&w->v, CT_F32, batch, key_head, 0);
    a.out = ct_heads_at(&w->out, CT_F32, batch, head, first);
    a.q_stride = w->q.token_stride, a.k_stride = w->k.token_stride;
    a.v_stride = w->v.token_stride, a.out_stride = w->out.token_stride;
    ct_cpu_kernels()->attention(&a);
}

void ct_attention_forward_narrow(ct_attention_work *w, bool run) {
    forward_work f = {.w = w, .blocks = ct_ceil_div(w->queries, QUERY_BLOCK)};
    int64_t queries = ct_least(w->queries, QUERY_BLOCK);
    f.layout = layout_make(w, queries, queries, false);
    if (ct_scratch_reserve(w->context, f.layout.total) != CT_OK || !run) return;
    ct_parallel_for(w->context, w->batch * w->heads * f.blocks, forward_task, &f);
}

/* ----------------------------------------------------------------------------------------------- backward */

typedef struct backward_work {
    const ct_attention_work *w;
    head_layout layout;
    int64_t step; /* queries of one call */
} backward_work;

/* One head's arrays in f32 with the strides between tokens. */
typedef struct head_arrays {
    float *q, *k, *v, *out, *gradient, *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride, out_stride, gradient_stride, dq_stride, dk_stride, dv_stride;
} head_arrays;

static head_arrays arrays_in_place(const ct_attention_work *w, int64_t batch, int64_t head,
                                   int64_t key_head) {
    head_arrays h = {
        .q = ct_heads_at(&w->q, CT_F32, batch, head, 0),
        .k = ct_heads_at(&w->k, CT_F32, batch, key_head, 0),
        .v = ct_heads_at(&w->v, CT_F32, batch, key_head, 0),
        .out = ct_heads_at(&w->out, CT_F32, batch, head, 0),
        .gradient = ct_heads_at(&w->gradient, CT_F32, batch, head, 0),
        .dq = ct_heads_at(&w->dq, CT_F32, batch, head, 0),
        .dk = ct_heads_at(&w->dk, CT_F32, batch, key_head, 0),
        .dv = ct_heads_at(&w->dv, CT_F32, batch, key_head, 0),
        .q_stride = w->q.token_stride,
        .k_stride = w->k.token_stride,
        .v_stride = w->v.token_stride,
        .out_stride = w->out.token_stride,
        .gradient_stride = w->gradient.token_stride,
        .dq_stride = w->dq.token_stride,
        .dk_stride = w->dk.token_stride,
        .dv_stride = w->dv.token_stride,
    };
    return h;
}

/* Copies in scratch; those of the key head are made with its first query head. */
static head_arrays arrays_widened(const backward_work *b, int64_t batch, int64_t head, int64_t key_head,
                                  bool first, char *scratch) {
    const ct_attention_work *w = b->w;
    const head_layout *l = &b->layout;
    int64_t c = w->channels, vc = w->value_channels;
    head_arrays h = {
        .q = (float *)(void *)(scratch + l->q),
        .k = (float *)(void *)(scratch + l->k),
        .v = (float *)(void *)(scratch + l->v),
        .out = (float *)(void *)(scratch + l->out),
        .gradient = (float *)(void *)(scratch + l->gradient),
        .dq = (float *)(void *)(scratch + l->dq),
        .dk = (float *)(void *)(scratch + l->dk),
        .dv = (float *)(void *)(scratch + l->dv),
        .q_stride = c,
        .k_stride = c,
        .v_stride = vc,
        .out_stride = vc,
        .gradient_stride = vc,
        .dq_stride = c,
        .dk_stride = c,
        .dv_stride = vc,
    };
    ct_dtype t = w->dtype;
    convert_tokens(t, ct_heads_at(&w->q, t, batch, head, 0), w->q.token_stride, CT_F32, h.q, c, w->queries,
                   c);
    convert_tokens(t, ct_heads_at(&w->out, t, batch, head, 0), w->out.token_stride, CT_F32, h.out, vc,
                   w->queries, vc);
    convert_tokens(t, ct_heads_at(&w->gradient, t, batch, head, 0), w->gradient.token_stride, CT_F32,
                   h.gradient, vc, w->queries, vc);
    if (!first) return h;
    convert_tokens(t, ct_heads_at(&w->k, t, batch, key_head, 0), w->k.token_stride, CT_F32, h.k, c, w->keys,
                   c);
    convert_tokens(t, ct_heads_at(&w->v, t, batch, key_head, 0), w->v.token_stride, CT_F32, h.v, vc, w->keys,
                   vc);
    return h;
}

/* One query head, its queries in blocks where a block of biases is made for each. */
static void backward_head(const backward_work *b, const head_arrays *h, int64_t batch, int64_t head,
                          bool accumulate, char *scratch) {
    const ct_attention_work *w = b->w;
    /* No queries at all: one call, which makes the gradients of keys and values zero. */
    for (int64_t first = 0; first == 0 || first < w->queries; first += b->step) {
        int64_t count = ct_least(b->step, w->queries - first);
        ct_attention_head a = head_make(w, &b->layout, batch, head, first, count, scratch);
        a.q = h->q + first * h->q_stride, a.q_stride = h->q_stride;
        a.k = h->k, a.k_stride = h->k_stride;
        a.v = h->v, a.v_stride = h->v_stride;
        a.out = h->out + first * h->out_stride, a.out_stride = h->out_stride;
        ct_attention_gradient g = {.dout = h->gradient + first * h->gradient_stride,
                                   .dout_stride = h->gradient_stride};
        g.dq = h->dq + first * h->dq_stride, g.dq_stride = h->dq_stride;
        g.dk = h->dk, g.dk_stride = h->dk_stride;
        g.dv = h->dv, g.dv_stride = h->dv_stride;
        g.accumulate_kv = accumulate || first > 0;
        g.scratch = scratch + b->layout.gradients;
        ct_cpu_kernels()->attention_backward(&a, &g);
    }
}

static void backward_task(void *user, int64_t index, int worker) {
    const backward_work *b = user;
    const ct_attention_work *w = b->w;
    int64_t key_head = index % w->kv_heads, batch = index / w->kv_heads, group = w->heads / w->kv_heads;
    char *scratch = ct_scratch(w->context, worker);
    ct_dtype t = w->dtype;
    head_arrays h = {0};
    for (int64_t i = 0; i < group; i++) {
        int64_t head = key_head * group + i;
        h = widened(w) ? arrays_widened(b, batch, head, key_head, i == 0, scratch)
                       : arrays_in_place(w, batch, head, key_head);
        backward_head(b, &h, batch, head, i > 0, scratch);
        if (widened(w))
            convert_tokens(CT_F32, h.dq, h.dq_stride, t, ct_heads_at(&w->dq, t, batch, head, 0),
                           w->dq.token_stride, w->queries, w->channels);
    }
    if (!widened(w)) return;
    convert_tokens(CT_F32, h.dk, h.dk_stride, t, ct_heads_at(&w->dk, t, batch, key_head, 0),
                   w->dk.token_stride, w->keys, w->channels);
    convert_tokens(CT_F32, h.dv, h.dv_stride, t, ct_heads_at(&w->dv, t, batch, key_head, 0),
                   w->dv.token_stride, w->keys, w->value_channels);
}

void ct_attention_backward_narrow(ct_attention_work *w, bool run) {
    backward_work b = {.w = w, .step = bias_made(w) ? MASKED_QUERIES : w->queries > 0 ? w->queries : 1};
    b.layout = layout_make(w, w->queries, ct_least(b.step, w->queries), true);
    if (ct_scratch_reserve(w->context, b.layout.total) != CT_OK || !run) return;
    ct_parallel_for(w->context, w->batch * w->kv_heads, backward_task, &b);
}
