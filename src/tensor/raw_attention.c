/* raw_attention.c - scaled dot-product attention: shapes, options and results; the arithmetic is in
 * raw_attention_head.c and raw_attention_wide.c.
 *
 * q, k, v, their gradients and the result have any strides with contiguous channels, so that heads may be
 * slices of one [tokens, 3 width] projection. New results lie in memory in the order of their operand
 * (ct_empty_in_order_of): where q is such a slice, the result put back to [batch, time, heads, channels] is
 * contiguous. */
#include "tensor/raw_attention.h"
#include <math.h>

static bool attention_shapes(const ct_tensor *q, const ct_tensor *k, const ct_tensor *v) {
    bool fits = q->ndim == 4 && k->ndim == 4 && v->ndim == 4;
    fits = fits && q->shape[0] == k->shape[0] && q->shape[0] == v->shape[0];
    fits = fits && k->shape[1] == v->shape[1] && k->shape[2] == v->shape[2] && q->shape[3] == k->shape[3];
    fits = fits && k->shape[1] > 0 && q->shape[1] % k->shape[1] == 0;
    if (!fits) {
        char tq[160], tk[160], tv[160];
        ct_fail(q->context, CT_ERROR_SHAPE,
                "attention: q %s, k %s, v %s do not fit: expected [batch, heads, queries, channels], [batch, "
                "kv_heads, "
                "keys, channels] and [batch, kv_heads, keys, any], heads a multiple of kv_heads",
                ct_describe(q, tq, sizeof(tq)), ct_describe(k, tk, sizeof(tk)),
                ct_describe(v, tv, sizeof(tv)));
        return false;
    }
    return ct_require_float(q, "attention", "q") &&
           ct_require_dtype(k, (ct_dtype)q->dtype, "attention", "k") &&
           ct_require_dtype(v, (ct_dtype)q->dtype, "attention", "v");
}

/* Strides of `t` broadcast to [batch, heads, queries, keys]; false with an error if it does not. */
static bool scores_operand(const ct_attention_work *w, const ct_tensor *t, const char *name,
                           ct_scores_operand *out) {
    const int64_t full[4] = {w->batch, w->heads, w->queries, w->keys};
    bool fits = t->ndim <= 4;
    for (int i = 0; fits && i < t->ndim; i++) {
        int axis = 4 - t->ndim + i;
        if (t->shape[i] != 1 && t->shape[i] != full[axis]) fits = false;
        out->stride[axis] = t->shape[i] == 1 ? 0 : t->stride[i];
    }
    if (!fits) {
        char text[160];
        ct_fail(t->context, CT_ERROR_SHAPE, "attention: %s %s does not broadcast to [%lld, %lld, %lld, %lld]",
                name, ct_describe(t, text, sizeof(text)), (long long)full[0], (long long)full[1],
                (long long)full[2], (long long)full[3]);
        return false;
    }
    out->present = true;
    out->data = ct_pointer(t);
    out->dtype = (ct_dtype)t->dtype;
    return true;
}

/* The slopes must stay alive: a temporary copy lives in the present scope. */
static bool attention_slopes(ct_attention_work *w, ct_tensor *slopes) {
    if (slopes->ndim != 1 || slopes->shape[0] != w->heads) {
        char text[160];
        ct_fail(w->context, CT_ERROR_SHAPE, "attention: ALiBi slopes %s, expected [%lld], one a head",
                ct_describe(slopes, text, sizeof(text)), (long long)w->heads);
        return false;
    }
    if (!ct_require_float(slopes, "attention", "ALiBi slopes")) return false;
    w->slopes = ct_pointer(ct_in_dtype(slopes, CT_F32));
    return true;
}

static bool work_make(ct_attention_work *w, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                      const ct_attention_options *options) {
    static const ct_attention_options none;
    if (!options) options = &none;
    if (!attention_shapes(q, k, v)) return false;
    *w = (ct_attention_work){.context = q->context, .dtype = (ct_dtype)q->dtype};
    w->batch = q->shape[0], w->heads = q->shape[1], w->queries = q->shape[2], w->channels = q->shape[3];
    w->kv_heads = k->shape[1], w->keys = k->shape[2], w->value_channels = v->shape[3];
    w->scale = options->scale != 0 ? options->scale : 1 / sqrt((double)(w->channels > 0 ? w->channels : 1));
    w->softcap = options->softcap;
    w->causal = options->causal;
    w->window = options->window;
    if (w->window < 0) {
        ct_fail(w->context, CT_ERROR_ARGUMENT, "attention: window is %lld, expected 0 (none) or more",
                (long long)w->window);
        return false;
    }
    if (!(w->softcap >= 0 && w->softcap < INFINITY)) {
        ct_fail(w->context, CT_ERROR_ARGUMENT, "attention: softcap is %g, expected 0 (none) or more", w->softcap);
        return false;
    }
    if (options->alibi_slopes && !attention_slopes(w, options->alibi_slopes)) return false;
    if (options->bias && (!ct_require_float(options->bias, "attention", "bias") ||
                          !scores_operand(w, options->bias, "bias", &w->bias)))
        return false;
    return !options->mask || (ct_require_dtype(options->mask, CT_U8, "attention", "mask") &&
                              scores_operand(w, options->mask, "mask", &w->mask));
}

/* `t` with contiguous channels. */
static ct_tensor *with_channels(ct_tensor *t) {
    return t->stride[3] == 1 || t->shape[3] <= 1 ? t : ct_raw_contiguous(t);
}

static ct_heads heads_of(const ct_tensor *t) {
    return (ct_heads){ct_pointer(t), t->stride[0], t->stride[1], t->stride[2]};
}

/* 2 multiply-adds a score and channel; half the scores with a causal mask. */
static void count_flops(const ct_attention_work *w, double factor) {
    double flops = 2.0 * (double)w->batch * (double)w->heads * (double)w->queries * (double)w->keys *
                   (double)(w->channels + w->value_channels);
    ct_count_flops(w->context, (uint64_t)(flops * factor * (w->causal ? 0.5 : 1)));
}

ct_tensor *ct_raw_attention(ct_tensor *q, ct_tensor *k, ct_tensor *v, const ct_attention_options *options,
                            ct_tensor **logsumexp) {
    ct_context *context = q->context;
    ct_attention_work w;
    ct_dtype compute = ct_compute_dtype((ct_dtype)q->dtype);
    ct_scope scope = ct_scope_open(context);
    if (ct_stop_op(context) || !work_make(&w, q, k, v, options)) {
        if (logsumexp) *logsumexp = ct_inert(context, compute, q->ndim > 0 ? q->ndim - 1 : 0, q->shape);
        return ct_inert(context, (ct_dtype)q->dtype, q->ndim, q->shape);
    }
    const int64_t shape[4] = {w.batch, w.heads, w.queries, w.value_channels};
    ct_tensor *results[2] = {ct_empty_in_order_of(q, w.dtype, shape), NULL};
    if (logsumexp) results[1] = ct_empty_on(context, ct_device_of(q), compute, 3, shape);
    q = with_channels(q), k = with_channels(k), v = with_channels(v);
    if (!ct_failed(context)) {
        count_flops(&w, 1);
        bool run = !ct_is_meta(q) && w.batch * w.heads * w.queries > 0;
        w.q = heads_of(q), w.k = heads_of(k), w.v = heads_of(v), w.out = heads_of(results[0]);
        w.lse = results[1] ? ct_pointer(results[1]) : NULL;
        if (w.dtype == CT_F64)
            ct_attention_forward_wide(&w, run);
        else
            ct_attention_forward_narrow(&w, run);
    }
    ct_scope_return_many(context, scope, results, 2);
    if (logsumexp) *logsumexp = results[1];
    return results[0];
}

/* Where a gradient goes: the caller's view, or a new tensor in the order of `like`. */
static ct_tensor *gradient_target(ct_tensor *like, ct_tensor *given, const char *name) {
    if (!given) return ct_empty_in_order_of(like, (ct_dtype)like->dtype, like->shape);
    if (ct_same_shape(like, given) && given->dtype == like->dtype &&
        (given->stride[3] == 1 || given->shape[3] <= 1))
        return given;
    char tg[160], tl[160];
    ct_fail(like->context, CT_ERROR_SHAPE, "attention backward: %s is to be written to %s%s, expected %s",
            name, ct_describe(given, tg, sizeof(tg)),
            ct_same_shape(like, given) ? " with strided channels" : "", ct_describe(like, tl, sizeof(tl)));
    return given;
}

static void backward_run(ct_attention_work *w, ct_tensor *const operands[6], ct_tensor *const targets[3]) {
    ct_tensor *q = with_channels(operands[0]), *k = with_channels(operands[1]),
              *v = with_channels(operands[2]);
    ct_tensor *out = with_channels(operands[3]), *gradient = operands[5];
    ct_tensor *lse = ct_in_dtype(operands[4], ct_compute_dtype(w->dtype));
    gradient = with_channels(gradient->dtype == w->dtype ? gradient : ct_raw_cast(gradient, w->dtype));
    if (ct_failed(w->context)) return;
    count_flops(w, 2.5);
    w->q = heads_of(q), w->k = heads_of(k), w->v = heads_of(v);
    w->out = heads_of(out), w->gradient = heads_of(gradient);
    w->dq = heads_of(targets[0]), w->dk = heads_of(targets[1]), w->dv = heads_of(targets[2]);
    w->lse = ct_pointer(lse);
    bool run = !ct_is_meta(q) && w->batch * w->heads > 0;
    if (w->dtype == CT_F64)
        ct_attention_backward_wide(w, run);
    else
        ct_attention_backward_narrow(w, run);
}

static bool backward_shapes(const ct_attention_work *w, const ct_tensor *out, const ct_tensor *lse,
                            const ct_tensor *gradient) {
    bool fits = out->ndim == 4 && out->shape[0] == w->batch && out->shape[1] == w->heads &&
                out->shape[2] == w->queries && out->shape[3] == w->value_channels &&
                ct_same_shape(out, gradient);
    fits = fits && lse->ndim == 3 && lse->count == w->batch * w->heads * w->queries;
    if (fits) return ct_require_dtype(out, w->dtype, "attention backward", "the result");
    char to[160], tl[160], tg[160];
    ct_fail(w->context, CT_ERROR_SHAPE,
            "attention backward: result %s, logsumexp %s and gradient %s do not belong to q, k and v",
            ct_describe(out, to, sizeof(to)), ct_describe(lse, tl, sizeof(tl)),
            ct_describe(gradient, tg, sizeof(tg)));
    return false;
}

/* *dq, *dk, *dv that are not NULL on entry are views the gradients are written into (all strides but the
 * channels' are free), so that a fused projection gets its three gradients in one [tokens, 3 width] buffer;
 * they stay the caller's handles and the version of their storage is raised. Those that are NULL become new
 * tensors. */
ct_status ct_raw_attention_backward(ct_tensor *q, ct_tensor *k, ct_tensor *v, ct_tensor *out,
                                    ct_tensor *logsumexp, ct_tensor *gradient,
                                    const ct_attention_options *options, ct_tensor **dq, ct_tensor **dk,
                                    ct_tensor **dv) {
    ct_context *context = q->context;
    ct_tensor *const operands[6] = {q, k, v, out, logsumexp, gradient}, **slots[3] = {dq, dk, dv};
    static const char *const names[3] = {"the gradient of q", "the gradient of k", "the gradient of v"};
    ct_tensor *targets[3] = {NULL, NULL, NULL}, *made[3] = {NULL, NULL, NULL};
    ct_attention_work w;
    ct_scope scope = ct_scope_open(context);
    if (!ct_stop_op(context) && work_make(&w, q, k, v, options) &&
        backward_shapes(&w, out, logsumexp, gradient)) {
        for (int i = 0; i < 3; i++) {
            targets[i] = gradient_target(operands[i], *slots[i], names[i]);
            if (!*slots[i]) made[i] = targets[i];
        }
        if (!ct_failed(context)) backward_run(&w, operands, targets);
        for (int i = 0; i < 3; i++)
            if (!made[i]) ct_touch(targets[i]);
    }
    ct_scope_return_many(context, scope, made, 3);
    for (int i = 0; i < 3; i++)
        if (!*slots[i])
            *slots[i] = made[i] ? made[i]
                                : ct_inert(context, (ct_dtype)operands[i]->dtype, operands[i]->ndim,
                                           operands[i]->shape);
    return ct_context_status(context);
}
