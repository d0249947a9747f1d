/* kernels_attention_backward.inc.h - gradients of attention of one head (Dao et al. 2022, algorithm 4).
 * Included by kernels_all.inc.h.
 *
 *   P = exp(S - lse), dV = P' dO, dP = dO V', D = rowsum(dO O), dS = P (dP - D), dQ = scale dS K, dK = scale
 * dS' Q */

typedef struct gradient_state {
    float *kt, *k, *vt;      /* the key block: transposed, times scale, values transposed */
    float *dk, *dv;          /* its gradients [KEYS, padded] */
    float *q, *dout, *dq;    /* a query block: scaled, gradient of the output, gradient of the query */
    float *scores, *dscores; /* [ROWS, KEYS] */
    float *delta;            /* [queries] D */
    int64_t head_padded, value_padded;
} gradient_state;

static void gradient_state_place(gradient_state *t, const ct_attention_head *a,
                                 const ct_attention_gradient *g) {
    t->head_padded = attention_padded(a->head_dim);
    t->value_padded = attention_padded(a->value_dim);
    t->kt = g->scratch;
    t->k = t->kt + t->head_padded * KEYS;
    t->vt = t->k + t->head_padded * KEYS;
    t->dk = t->vt + t->value_padded * KEYS;
    t->dv = t->dk + t->head_padded * KEYS;
    t->q = t->dv + t->value_padded * KEYS;
    t->dout = t->q + t->head_padded * ROWS;
    t->dq = t->dout + t->value_padded * ROWS;
    t->scores = t->dq + t->head_padded * ROWS;
    t->dscores = t->scores + KEYS * ROWS;
    t->delta = t->dscores + KEYS * ROWS;
}

/* Scores to probabilities P, and dP to dS, of one row, for the first `columns` keys of the block. */
static void gradient_row(const ct_attention_head *a, const gradient_state *t, int64_t i, int64_t first,
                         int64_t count, int64_t columns, float *s, float *ds) {
    int64_t low, high;
    attention_range(a, i, first, count, &low, &high);
    const bool plain = attention_is_plain(a);
    const vf lse = vf_set(a->lse[i]), delta = vf_set(t->delta[i]), zero = vf_zero();
    for (int64_t j = 0; j < columns; j += VF_LANES) {
        vf score = vf_load(s + j), slope = zero;
        if (!plain) score = attention_adjust(a, i, first, count, j, score, &slope);
        vf p = attention_mask(vf_exp(vf_sub(score, lse)), low, high, j, zero);
        if (a->bias) p = vf_select(vf_eq(score, vf_set(-INFINITY)), zero, p);
        vf d = vf_mul(p, vf_sub(vf_load(ds + j), delta));
        if (!plain) d = vf_mul(d, slope);
        vf_store(s + j, p);
        vf_store(ds + j, d);
    }
}

/* One block of queries against one block of keys; keys that no query sees are left out. */
static void gradient_block(const ct_attention_head *a, const ct_attention_gradient *g, gradient_state *t,
                           int64_t i, int64_t rows, int64_t first, int64_t count) {
    int64_t hp = t->head_padded, vp = t->value_padded, seen = attention_seen(a, i, rows, first, count);
    attention_pack(rows, a->head_dim, a->q + i * a->q_stride, a->q_stride, a->scale, t->q, hp);
    attention_pack(rows, a->value_dim, g->dout + i * g->dout_stride, g->dout_stride, 1, t->dout, vp);
    attention_pack(rows, a->head_dim, g->dq + i * g->dq_stride, g->dq_stride, 1, t->dq, hp);
    product scores = {.m = rows,
                      .n = attention_padded(seen),
                      .k = a->head_dim,
                      .a = t->q,
                      .a_row = hp,
                      .a_column = 1,
                      .b = t->kt,
                      .b_row = KEYS,
                      .c = t->scores,
                      .c_row = KEYS};
    product_set(&scores);
    product dscores = {.m = rows,
                       .n = attention_padded(seen),
                       .k = a->value_dim,
                       .a = t->dout,
                       .a_row = vp,
                       .a_column = 1,
                       .b = t->vt,
                       .b_row = KEYS,
                       .c = t->dscores,
                       .c_row = KEYS};
    product_set(&dscores);
    for (int64_t r = 0; r < rows; ++r)
        gradient_row(a, t, i + r, first, count, attention_padded(seen), t->scores + r * KEYS,
                     t->dscores + r * KEYS);
    product dv = {.m = seen,
                  .n = vp,
                  .k = rows,
                  .a = t->scores,
                  .a_row = 1,
                  .a_column = KEYS,
                  .b = t->dout,
                  .b_row = vp,
                  .c = t->dv,
                  .c_row = vp};
    product_add(&dv);
    product dk = {.m = seen,
                  .n = hp,
                  .k = rows,
                  .a = t->dscores,
                  .a_row = 1,
                  .a_column = KEYS,
                  .b = t->q,
                  .b_row = hp,
                  .c = t->dk,
                  .c_row = hp};
    product_add(&dk);
    product dq = {.m = rows,
                  .n = hp,
                  .k = seen,
                  .a = t->dscores,
                  .a_row = KEYS,
                  .a_column = 1,
                  .b = t->k,
                  .b_row = hp,
                  .c = t->dq,
                  .c_row = hp};
    product_add(&dq);
    for (int64_t r = 0; r < rows; ++r)
        memcpy(g->dq + (i + r) * g->dq_stride, t->dq + r * hp, (size_t)a->head_dim * sizeof(float));
}

/* Writes or adds the finished gradient of a key block. */
static void gradient_output(int64_t rows, int64_t columns, const float *x, int64_t padded, float *y,
                            int64_t stride, bool accumulate) {
    for (int64_t r = 0; r < rows; ++r, x += padded, y += stride) {
        if (accumulate)
            axpy_f32(columns, 1, x, y);
        else
            memcpy(y, x, (size_t)columns * sizeof(float));
    }
}

static void attention_backward(const ct_attention_head *a, const ct_attention_gradient *g) {
    gradient_state t;
    gradient_state_place(&t, a, g);
    for (int64_t i = 0; i < a->queries; ++i) {
        t.delta[i] =
            (float)row_dot_f32(a->value_dim, g->dout + i * g->dout_stride, a->out + i * a->out_stride);
        memset(g->dq + i * g->dq_stride, 0, (size_t)a->head_dim * sizeof(float));
    }
    for (int64_t first = 0; first < a->keys; first += KEYS) {
        int64_t count = a->keys - first < KEYS ? a->keys - first : KEYS;
        const float *k = a->k + first * a->k_stride, *v = a->v + first * a->v_stride;
        attention_pack_transposed(count, a->head_dim, k, a->k_stride, t.kt);
        attention_pack_transposed(count, a->value_dim, v, a->v_stride, t.vt);
        attention_pack(count, a->head_dim, k, a->k_stride, a->scale, t.k, t.head_padded);
        memset(t.dk, 0, (size_t)(t.head_padded * KEYS) * sizeof(float));
        memset(t.dv, 0, (size_t)(t.value_padded * KEYS) * sizeof(float));
        for (int64_t i = 0, rows; i < a->queries; i += rows) {
            int64_t begin, end;
            rows = attention_together(a, i, a->queries - i, first, count);
            attention_blocks(a, i, rows, &begin, &end);
            if (first < begin || first >= end) continue;
            gradient_block(a, g, &t, i, rows, first, count);
        }
        gradient_output(count, a->head_dim, t.dk, t.head_padded, g->dk + first * g->dk_stride, g->dk_stride,
                        g->accumulate_kv);
        gradient_output(count, a->value_dim, t.dv, t.value_padded, g->dv + first * g->dv_stride, g->dv_stride,
                        g->accumulate_kv);
    }
}
#undef KEYS
#undef ROWS
#undef GROUP
#undef DIAGONAL_ROWS
#undef KEY_VECTORS
