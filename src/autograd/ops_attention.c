/* ops_attention.c - scaled dot-product attention (memory linear in the length: Dao et al., arXiv:2205.14135),
 * its form for a fused projection, rotary positions (Su et al., arXiv:2104.09864) and ALiBi slopes (Press et
 * al., arXiv:2108.12409). */
#include "autograd/rules.h"
#include <math.h>

/* ----------------------------------------------------------------------------- composed attention */

/* What a rule keeps: the options, with the tensors they name saved apart. */
typedef struct attention_attributes {
    ct_attention_options options;
    int64_t heads, kv_heads; /* packed form */
} attention_attributes;

static double scale_of(const ct_attention_options *options, int64_t channels) {
    return options->scale != 0 ? options->scale : 1.0 / sqrt((double)channels);
}

/* [queries, keys] in `dtype`: the distance of each key from its query. Query i stands at i + keys - queries.
 */
static ct_tensor *distances(const ct_tensor *like, ct_dtype dtype, int64_t queries, int64_t keys) {
    const int64_t shape[2] = {queries, keys};
    ct_tensor *d = ct_empty_on(like->context, ct_device_of(like), CT_F64, 2, shape);
    double *data = ct_pointer(d);
    for (int64_t i = 0; data && i < queries; i++)
        for (int64_t j = 0; j < keys; j++)
            data[i * keys + j] = (double)(i + keys - queries - j);
    return dtype == CT_F64 ? d : ct_raw_cast(d, dtype);
}

/* u8, 1 where a query sees a key; NULL if every query sees all. */
static ct_tensor *visible(const ct_attention_options *o, ct_tensor *distance, ct_tensor *bias) {
    ct_dtype dtype = ct_dtype_of(distance);
    ct_tensor *seen = o->mask ? ct_raw_binary(CT_NOT_EQUAL, o->mask, ct_constant(o->mask, CT_U8, 0)) : NULL;
    ct_tensor *parts[3] = {NULL, NULL, NULL};
    if (o->causal) parts[0] = ct_raw_binary(CT_GREATER_EQUAL, distance, ct_constant(distance, dtype, 0));
    if (o->window > 0)
        parts[1] = ct_raw_binary(CT_LESS, ct_raw_unary(CT_ABS, distance, 0, 0),
                                 ct_constant(distance, dtype, (double)o->window));
    if (bias) parts[2] = ct_raw_binary(CT_GREATER, bias, ct_constant(bias, ct_dtype_of(bias), -INFINITY));
    for (int i = 0; i < 3; i++)
        if (parts[i]) seen = seen ? ct_raw_binary(CT_MUL, seen, parts[i]) : parts[i];
    return seen;
}

/* A score operand [batch, heads, queries, keys] (or what broadcasts to it) with the heads in groups:
 * [batch, kv_heads, group, queries, keys]. */
static ct_tensor *grouped(ct_tensor *t, int64_t kv_heads, int64_t group) {
    if (t->ndim < 3) return t;
    int64_t shape[5];
    int n = 0;
    if (t->ndim == 4) shape[n++] = t->shape[0];
    bool single = t->shape[t->ndim - 3] == 1;
    shape[n++] = single ? 1 : kv_heads;
    shape[n++] = single ? 1 : group;
    shape[n++] = t->shape[t->ndim - 2];
    shape[n++] = t->shape[t->ndim - 1];
    return ct_reshape(t, n, shape);
}

typedef struct composed {
    ct_tensor *q, *k, *v; /* [batch, kv_heads, group, queries, channels] and with group 1; at least f32 */
    ct_tensor *weights;   /* softmax of the scores, 0 where nothing is seen */
    ct_tensor *slope;     /* derivative of the soft cap at each score; NULL: there is none */
    double scale;
} composed;

/* Everything that attention is, in differentiable operations. Masked scores are a large finite number, so
 * that rows that see nothing have no NaN on the way to their zeros. */
static void compose(composed *c, ct_tensor *q, ct_tensor *k, ct_tensor *v, const ct_attention_options *o) {
    ct_dtype dtype = ct_accumulation_dtype(ct_dtype_of(q));
    const int64_t batch = q->shape[0], kv_heads = k->shape[1], group = q->shape[1] / kv_heads;
    const int64_t queries = q->shape[2], keys = k->shape[2];
    c->scale = scale_of(o, q->shape[3]);
    c->q = ct_reshape(ct_cast(q, dtype), CT_DIMS(batch, kv_heads, group, queries, q->shape[3]));
    c->k = ct_unsqueeze(ct_cast(k, dtype), 2);
    c->v = ct_unsqueeze(ct_cast(v, dtype), 2);
    ct_tensor *scores = ct_mul_scalar(ct_matmul(c->q, ct_transposed(c->k)), c->scale);
    c->slope = NULL;
    if (o->softcap > 0) {
        ct_tensor *t = ct_tanh(ct_mul_scalar(scores, 1 / o->softcap));
        c->slope = ct_add_scalar(ct_neg(ct_square(t)), 1);
        scores = ct_mul_scalar(t, o->softcap);
    }
    ct_tensor *distance = distances(q, dtype, queries, keys), *bias = NULL;
    if (o->alibi_slopes) {
        ct_tensor *slopes = ct_reshape(ct_cast(o->alibi_slopes, dtype), CT_DIMS(kv_heads, group, 1, 1));
        scores = ct_sub(scores, ct_mul(slopes, ct_raw_unary(CT_ABS, distance, 0, 0)));
    }
    if (o->bias) {
        bias = grouped(ct_cast(o->bias, dtype), kv_heads, group);
        scores = ct_add(scores, bias);
    }
    ct_attention_options regrouped = *o;
    if (o->mask) regrouped.mask = grouped(o->mask, kv_heads, group);
    ct_tensor *seen = visible(&regrouped, distance, bias);
    if (!seen) {
        c->weights = ct_softmax(scores, -1);
        return;
    }
    ct_tensor *hidden = ct_raw_binary(CT_EQUAL, seen, ct_constant(seen, CT_U8, 0));
    c->weights = ct_masked_fill(ct_softmax(ct_masked_fill(scores, hidden, -1e30), -1), hidden, 0.0);
}

/* dv = W^T g; with P = g v^T: dS = W (P - rowsum(P W)), times the soft cap's slope; dq = scale dS k, dk = scale
 * dS^T q, summed over each group. */
static void composed_gradients(const composed *c, ct_tensor *const operands[3], ct_tensor *g,
                               const bool *wanted, ct_tensor **dx) {
    const ct_tensor *v = operands[2];
    const int last = -1;
    g = ct_cast(g, ct_dtype_of(c->q));
    g = ct_reshape(g, CT_DIMS(c->q->shape[0], c->q->shape[1], c->q->shape[2], c->q->shape[3], v->shape[3]));
    if (wanted[2])
        dx[2] = ct_reshape(ct_sum_to(ct_matmul(ct_transposed(c->weights), g), 5, c->v->shape), 4, v->shape);
    if (!wanted[0] && !wanted[1]) return;
    ct_tensor *product = ct_mul(c->weights, ct_matmul(g, ct_transposed(c->v)));
    ct_tensor *ds = ct_sub(product, ct_mul(c->weights, ct_sum(product, 1, &last, true)));
    ds = ct_mul_scalar(c->slope ? ct_mul(ds, c->slope) : ds, c->scale);
    if (wanted[0]) dx[0] = ct_reshape(ct_matmul(ds, c->k), 4, operands[0]->shape);
    if (wanted[1])
        dx[1] =
            ct_reshape(ct_sum_to(ct_matmul(ct_transposed(ds), c->q), 5, c->k->shape), 4, operands[1]->shape);
}

/* --------------------------------------------------------------------------------------- attention */

/* Saved: q, k, v, the result, the log-sum-exp of each row, bias, mask, slopes (the last three possibly NULL).
 */
static void attention_save(ct_node *node, ct_tensor *const *operands, int count, ct_tensor *y,
                           ct_tensor *logsumexp, const ct_attention_options *options) {
    for (int i = 0; i < count; i++)
        ct_save_operand(node, i, operands[i]);
    ct_save_output(node, 0, y);
    ct_save_value(node, logsumexp);
    ct_save_value(node, options->bias);
    ct_save_value(node, options->mask);
    ct_save_value(node, options->alibi_slopes);
}

static ct_attention_options saved_options(const ct_vjp *call, int first) {
    ct_attention_options options = ((const attention_attributes *)call->attributes)->options;
    options.bias = ct_saved(call, first);
    options.mask = ct_saved(call, first + 1);
    options.alibi_slopes = ct_saved(call, first + 2);
    return options;
}

static void attention_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0];
    ct_tensor *const operands[3] = {ct_saved(call, 0), ct_saved(call, 1), ct_saved(call, 2)};
    const ct_attention_options options = saved_options(call, 5);
    if (ct_failed(call->context)) return;
    if (call->recording) {
        composed c;
        compose(&c, operands[0], operands[1], operands[2], &options);
        composed_gradients(&c, operands, g, call->wanted, dx);
        return;
    }
    ct_raw_attention_backward(operands[0], operands[1], operands[2], ct_saved(call, 3), ct_saved(call, 4), g,
                              &options, &dx[0], &dx[1], &dx[2]);
}
static const ct_rule attention_rule = {"attention", attention_vjp, sizeof(attention_attributes), NULL};

static bool attention_fits(const ct_tensor *q, const ct_tensor *k, const ct_tensor *v) {
    bool fits = q->ndim == 4 && k->ndim == 4 && v->ndim == 4 && k->shape[0] == q->shape[0] &&
                v->shape[0] == q->shape[0] && k->shape[1] == v->shape[1] && k->shape[2] == v->shape[2] &&
                q->shape[3] == k->shape[3] && k->shape[1] > 0 && q->shape[1] % k->shape[1] == 0;
    if (fits) return true;
    char a[160], b[160], c[160];
    ct_fail(
        q->context, CT_ERROR_SHAPE,
        "attention: q %s, k %s and v %s do not fit: expected [batch, heads, queries, channels] and [batch, "
        "kv_heads, keys, channels], heads a multiple of kv_heads",
        ct_describe(q, a, sizeof(a)), ct_describe(k, b, sizeof(b)), ct_describe(v, c, sizeof(c)));
    return false;
}

static ct_tensor *attention_inert(const ct_tensor *q, const ct_tensor *v) {
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, q->shape, sizeof(shape));
    if (q->ndim > 0 && v->ndim > 0) shape[q->ndim - 1] = v->shape[v->ndim - 1];
    return ct_inert(q->context, ct_dtype_of(q), q->ndim, shape);
}

static const ct_attention_options no_options;

/* A learned bias or slope has a gradient as large as the scores: then the scores are made. (So they are for
 * slopes in f64, which the kernel would round to f32.) */
static bool learns_scores(const ct_attention_options *options) {
    const ct_tensor *slopes = options->alibi_slopes;
    return ct_differentiates(options->bias) || ct_differentiates(slopes) ||
           (slopes && ct_dtype_of(slopes) == CT_F64);
}

ct_tensor *ct_attention(ct_tensor *q, ct_tensor *k, ct_tensor *v, const ct_attention_options *options) {
    ct_context *context = q->context;
    if (!options) options = &no_options;
    if (ct_stop_op(context) || !attention_fits(q, k, v)) return attention_inert(q, v);
    ct_dtype dtype = ct_promote(ct_promote(ct_dtype_of(q), ct_dtype_of(k)), ct_dtype_of(v));
    q = ct_cast(q, dtype), k = ct_cast(k, dtype), v = ct_cast(v, dtype);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *y, *logsumexp = NULL, *const operands[3] = {q, k, v};
    if (learns_scores(options)) {
        composed c;
        compose(&c, q, k, v, options);
        y = ct_reshape(ct_matmul(c.weights, c.v),
                       CT_DIMS(q->shape[0], q->shape[1], q->shape[2], v->shape[3]));
        return ct_scope_return(context, scope, ct_cast(y, dtype));
    }
    bool records = ct_differentiates(q) || ct_differentiates(k) || ct_differentiates(v);
    y = ct_raw_attention(q, k, v, options, records ? &logsumexp : NULL);
    const attention_attributes attributes = {*options, 0, 0};
    ct_node *node = records ? ct_record(context, &attention_rule, operands, 3, &y, 1, &attributes) : NULL;
    if (node) attention_save(node, operands, 3, y, logsumexp, options);
    return ct_scope_return(context, scope, y);
}

/* ------------------------------------------------------------------------------------ packed attention */

/* Queries, keys and values as views of the packed tensor, without a graph: [batch, heads, time, channels]. */
static void unpack(ct_tensor *qkv, int64_t heads, int64_t kv_heads, ct_tensor *parts[3]) {
    int64_t channels = qkv->shape[2] / (heads + 2 * kv_heads), first = 0;
    for (int i = 0; i < 3; i++) {
        int64_t n = i == 0 ? heads : kv_heads;
        const int64_t shape[4] = {qkv->shape[0], n, qkv->shape[1], channels};
        const int64_t stride[4] = {qkv->stride[0], channels * qkv->stride[2], qkv->stride[1], qkv->stride[2]};
        parts[i] = ct_view_strided(qkv, 4, shape, stride, first * qkv->stride[2]);
        first += n * channels;
    }
}

/* The same as differentiable views. */
static void unpack_recorded(ct_tensor *qkv, int64_t heads, int64_t kv_heads, ct_tensor *parts[3]) {
    int64_t channels = qkv->shape[2] / (heads + 2 * kv_heads);
    const int64_t sizes[3] = {heads * channels, kv_heads * channels, kv_heads * channels};
    ct_split(qkv, 2, 3, sizes, parts);
    for (int i = 0; i < 3; i++) {
        int64_t n = i == 0 ? heads : kv_heads;
        parts[i] =
            ct_transpose(ct_reshape(parts[i], CT_DIMS(qkv->shape[0], qkv->shape[1], n, channels)), 1, 2);
    }
}

/* [batch, heads, time, channels] as [batch, time, heads * channels]. */
static ct_tensor *heads_joined(ct_tensor *y) {
    return ct_reshape(ct_transpose(y, 1, 2), CT_DIMS(y->shape[0], y->shape[2], y->shape[1] * y->shape[3]));
}

static ct_tensor *heads_parted(ct_tensor *y, int64_t heads) {
    return ct_transpose(ct_reshape(y, CT_DIMS(y->shape[0], y->shape[1], heads, y->shape[2] / heads)), 1, 2);
}

/* Saved: qkv, the result [batch, time, width], log-sum-exp, bias, mask, slopes. */
static void packed_vjp(const ct_vjp *call, ct_tensor **dx) {
    const attention_attributes *a = call->attributes;
    ct_tensor *qkv = ct_saved(call, 0), *parts[3], *gradients[3] = {NULL, NULL, NULL};
    const ct_attention_options options = saved_options(call, 3);
    if (ct_failed(call->context)) return;
    ct_tensor *g = heads_parted(call->output_gradients[0], a->heads);
    if (call->recording) {
        const bool all[3] = {true, true, true};
        composed c;
        unpack_recorded(qkv, a->heads, a->kv_heads, parts);
        compose(&c, parts[0], parts[1], parts[2], &options);
        composed_gradients(&c, parts, g, all, gradients);
        for (int i = 0; i < 3; i++)
            gradients[i] = heads_joined(gradients[i]);
        dx[0] = ct_concat(gradients, 3, 2);
        return;
    }
    ct_tensor *whole = ct_empty_on(call->context, ct_device_of(qkv), ct_dtype_of(qkv), 3, qkv->shape);
    if (ct_failed(call->context)) return;
    unpack(qkv, a->heads, a->kv_heads, parts);
    unpack(whole, a->heads, a->kv_heads, gradients);
    ct_raw_attention_backward(parts[0], parts[1], parts[2], heads_parted(ct_saved(call, 1), a->heads),
                              ct_saved(call, 2), g, &options, &gradients[0], &gradients[1], &gradients[2]);
    dx[0] = whole;
}
static const ct_rule packed_rule = {"attention_packed", packed_vjp, sizeof(attention_attributes), NULL};

static bool packed_fits(const ct_tensor *qkv, int64_t heads, int64_t kv_heads) {
    bool fits = qkv->ndim == 3 && heads > 0 && kv_heads > 0 && heads % kv_heads == 0;
    fits = fits && qkv->shape[2] % (heads + 2 * kv_heads) == 0;
    if (fits) return true;
    char text[160];
    ct_fail(
        qkv->context, CT_ERROR_SHAPE,
        "attention_packed: %s does not fit %lld heads and %lld kv_heads: expected [batch, time, (heads + 2 "
        "kv_heads) * channels], heads a multiple of kv_heads",
        ct_describe(qkv, text, sizeof(text)), (long long)heads, (long long)kv_heads);
    return false;
}

ct_tensor *ct_attention_packed(ct_tensor *qkv, int64_t heads, int64_t kv_heads,
                               const ct_attention_options *options) {
    ct_context *context = qkv->context;
    if (!options) options = &no_options;
    if (!packed_fits(qkv, heads, kv_heads)) return ct_inert(context, ct_dtype_of(qkv), 0, NULL);
    int64_t shape[3] = {qkv->shape[0], qkv->shape[1], qkv->shape[2] / (heads + 2 * kv_heads) * heads};
    if (ct_stop_op(context)) return ct_inert(context, ct_dtype_of(qkv), 3, shape);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *parts[3], *logsumexp = NULL, *y;
    if (learns_scores(options)) {
        unpack_recorded(qkv, heads, kv_heads, parts);
        return ct_scope_return(context, scope,
                               heads_joined(ct_attention(parts[0], parts[1], parts[2], options)));
    }
    unpack(qkv, heads, kv_heads, parts);
    y = ct_raw_attention(parts[0], parts[1], parts[2], options, ct_differentiates(qkv) ? &logsumexp : NULL);
    if (!ct_failed(context)) y = heads_joined(y); /* a view: the result lies in the order of the queries */
    const attention_attributes attributes = {*options, heads, kv_heads};
    ct_node *node = ct_record(context, &packed_rule, &qkv, 1, &y, 1, &attributes);
    if (node) attention_save(node, &qkv, 1, y, logsumexp, options);
    return ct_scope_return(context, scope, y);
}
