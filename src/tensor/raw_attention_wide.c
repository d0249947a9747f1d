/* raw_attention_wide.c - attention in f64: plain loops over (batch, key head), for gradient checks and for
 * those who need the digits. The order of every sum is that of its index.
 *
 *     s = cap(scale q.k) + bias - slope |position - j|,  p = exp(s - lse),  out = sum p v
 *     ds = cap' p (dout.v - dout.out),  dq = scale sum ds k,  dk += scale ds q,  dv += p dout
 * where cap(x) = c tanh(x / c) with a soft cap c, else x. */
#include "tensor/raw_attention.h"
#include <math.h>
#include <string.h>

static double operand_element(const ct_scores_operand *t, int64_t at) {
    float value;
    if (t->dtype == CT_F64) return ((const double *)t->data)[at];
    ct_cpu_kernels()->convert(1, t->dtype, ct_at(t->data, t->dtype, at), CT_F32, &value);
    return value;
}

/* Score of query i and key j, -inf if it is hidden. *slope: the derivative of the soft cap. */
static double score(const ct_attention_work *w, int64_t batch, int64_t head, int64_t i, int64_t j,
                    const double *q, const double *k, double *slope) {
    int64_t position = i + ct_attention_offset(w), distance = position > j ? position - j : j - position;
    *slope = 1;
    if (w->causal && j > position) return -INFINITY;
    if (w->window > 0 && distance >= w->window) return -INFINITY;
    if (w->mask.present) {
        const int64_t *s = w->mask.stride;
        if (!((const uint8_t *)w->mask.data)[batch * s[0] + head * s[1] + i * s[2] + j * s[3]])
            return -INFINITY;
    }
    double sum = 0;
    for (int64_t c = 0; c < w->channels; c++)
        sum = fma(q[c], k[c], sum);
    sum *= w->scale;
    if (w->softcap > 0) {
        double t = tanh(sum / w->softcap);
        *slope = 1 - t * t;
        sum = t * w->softcap;
    }
    if (w->slopes) sum -= (double)w->slopes[head] * (double)distance;
    if (w->bias.present) {
        const int64_t *s = w->bias.stride;
        sum += operand_element(&w->bias, batch * s[0] + head * s[1] + i * s[2] + j * s[3]);
    }
    return sum;
}

/* Scores of a query with all keys, and behind them as many slopes; returns the greatest score. */
static double scores(const ct_attention_work *w, int64_t batch, int64_t head, int64_t i, double *s) {
    const double *q = ct_heads_at(&w->q, CT_F64, batch, head, i);
    int64_t key_head = head / (w->heads / w->kv_heads);
    double most = -INFINITY;
    for (int64_t j = 0; j < w->keys; j++) {
        s[j] = score(w, batch, head, i, j, q, ct_heads_at(&w->k, CT_F64, batch, key_head, j), &s[w->keys + j]);
        if (s[j] > most || isnan(s[j])) most = s[j];
    }
    return most;
}

static void forward_row(const ct_attention_work *w, int64_t batch, int64_t head, int64_t i, double *s) {
    int64_t key_head = head / (w->heads / w->kv_heads);
    double *out = ct_heads_at(&w->out, CT_F64, batch, head, i);
    double most = scores(w, batch, head, i, s), sum = 0;
    memset(out, 0, (size_t)w->value_channels * sizeof(*out));
    if (w->lse) ((double *)w->lse)[(batch * w->heads + head) * w->queries + i] = -INFINITY;
    if (most == -INFINITY) return;
    for (int64_t j = 0; j < w->keys; j++)
        sum += s[j] = exp(s[j] - most);
    for (int64_t j = 0; j < w->keys; j++) {
        const double *v = ct_heads_at(&w->v, CT_F64, batch, key_head, j);
        if (s[j] != 0)
            for (int64_t c = 0; c < w->value_channels; c++)
                out[c] = fma(s[j], v[c], out[c]);
    }
    for (int64_t c = 0; c < w->value_channels; c++)
        out[c] /= sum;
    if (w->lse) ((double *)w->lse)[(batch * w->heads + head) * w->queries + i] = most + log(sum);
}

static void forward_task(void *user, int64_t index, int worker) {
    const ct_attention_work *w = user;
    double *s = ct_scratch(w->context, worker);
    for (int64_t i = 0; i < w->queries; i++)
        forward_row(w, index / w->heads, index % w->heads, i, s);
}

void ct_attention_forward_wide(ct_attention_work *w, bool run) {
    if (ct_scratch_reserve(w->context, 2 * (size_t)w->keys * sizeof(double)) != CT_OK || !run) return;
    ct_parallel_for(w->context, w->batch * w->heads, forward_task, w);
}

static void backward_row(const ct_attention_work *w, int64_t batch, int64_t head, int64_t i, double *s) {
    int64_t key_head = head / (w->heads / w->kv_heads), nc = w->channels, nv = w->value_channels;
    const double *q = ct_heads_at(&w->q, CT_F64, batch, head, i),
                 *out = ct_heads_at(&w->out, CT_F64, batch, head, i);
    const double *gradient = ct_heads_at(&w->gradient, CT_F64, batch, head, i);
    double *dq = ct_heads_at(&w->dq, CT_F64, batch, head, i), along = 0;
    double lse = ((const double *)w->lse)[(batch * w->heads + head) * w->queries + i];
    memset(dq, 0, (size_t)nc * sizeof(*dq));
    if (lse == -INFINITY) return;
    scores(w, batch, head, i, s);
    for (int64_t c = 0; c < nv; c++)
        along = fma(gradient[c], out[c], along);
    for (int64_t j = 0; j < w->keys; j++) {
        double p = exp(s[j] - lse), dp = 0;
        if (p == 0) continue;
        const double *k = ct_heads_at(&w->k, CT_F64, batch, key_head, j);
        const double *v = ct_heads_at(&w->v, CT_F64, batch, key_head, j);
        double *dk = ct_heads_at(&w->dk, CT_F64, batch, key_head, j);
        double *dv = ct_heads_at(&w->dv, CT_F64, batch, key_head, j);
        for (int64_t c = 0; c < nv; c++) {
            dp = fma(gradient[c], v[c], dp);
            dv[c] = fma(p, gradient[c], dv[c]);
        }
        double ds = w->scale * (p * (dp - along)) * s[w->keys + j];
        for (int64_t c = 0; c < nc; c++) {
            dq[c] = fma(ds, k[c], dq[c]);
            dk[c] = fma(ds, q[c], dk[c]);
        }
    }
}

static void backward_task(void *user, int64_t index, int worker) {
    const ct_attention_work *w = user;
    int64_t key_head = index % w->kv_heads, batch = index / w->kv_heads, group = w->heads / w->kv_heads;
    double *s = ct_scratch(w->context, worker);
    for (int64_t j = 0; j < w->keys; j++) {
        memset(ct_heads_at(&w->dk, CT_F64, batch, key_head, j), 0, (size_t)w->channels * sizeof(double));
        memset(ct_heads_at(&w->dv, CT_F64, batch, key_head, j), 0,
               (size_t)w->value_channels * sizeof(double));
    }
    for (int64_t head = key_head * group; head < (key_head + 1) * group; head++)
        for (int64_t i = 0; i < w->queries; i++)
            backward_row(w, batch, head, i, s);
}

void ct_attention_backward_wide(ct_attention_work *w, bool run) {
    if (ct_scratch_reserve(w->context, 2 * (size_t)w->keys * sizeof(double)) != CT_OK || !run) return;
    ct_parallel_for(w->context, w->batch * w->kv_heads, backward_task, w);
}
