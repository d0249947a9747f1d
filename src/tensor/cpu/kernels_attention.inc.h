/* kernels_attention.inc.h - attention of one head, forward (Dao et al. 2022, arXiv:2205.14135; online soft
 * maximum of Milakov and Gimelshein 2018). Included by kernels_all.inc.h.
 *
 * Scores, running maximum m, sum l and output are per query row, all products are chains in the order of the
 * index that is summed over; a key block in which a row sees nothing leaves the row as it is. Hence the
 * independence of a row's bits from its neighbours. */

#define KEYS CT_ATTENTION_KEYS
#define ROWS CT_ATTENTION_ROWS
#define GROUP CT_ATTENTION_GROUP
#define DIAGONAL_ROWS 24 /* whole tiles of a product */
#define KEY_VECTORS (KEYS / VF_LANES)

static int64_t attention_padded(int64_t n) {
    return (n + VF_LANES - 1) / VF_LANES * VF_LANES;
}

/* The keys that query row i sees, within the block of `count` keys from `first`: [*low, *high) relative to
 * the block. */
static void attention_range(const ct_attention_head *a, int64_t i, int64_t first, int64_t count, int64_t *low,
                            int64_t *high) {
    int64_t position = a->query_offset + i, from = 0, to = a->keys;
    if (a->causal && position + 1 < to) to = position + 1;
    if (a->window > 0) {
        if (position - a->window + 1 > from) from = position - a->window + 1;
        if (position + a->window < to) to = position + a->window;
    }
    from -= first;
    to -= first;
    *low = from < 0 ? 0 : from > count ? count : from;
    *high = to < *low ? *low : to > count ? count : to;
}

/* The key blocks [*begin, *end) that rows [i, i + rows) may see: multiples of KEYS. */
static void attention_blocks(const ct_attention_head *a, int64_t i, int64_t rows, int64_t *begin,
                             int64_t *end) {
    int64_t from = 0, to = a->keys;
    if (a->causal && a->query_offset + i + rows < to) to = a->query_offset + i + rows;
    if (a->window > 0) {
        int64_t lowest = a->query_offset + i - a->window + 1,
                highest = a->query_offset + i + rows - 1 + a->window;
        if (lowest > from) from = lowest;
        if (highest < to) to = highest;
    }
    *begin = from / KEYS * KEYS;
    *end = to > from ? to : *begin;
}

/* rows x columns, contiguous rows of `padded` elements, times `factor`, zeros beyond. */
static void attention_pack(int64_t rows, int64_t columns, const float *x, int64_t stride, float factor,
                           float *y, int64_t padded) {
    const vf scale = vf_set(factor);
    for (int64_t r = 0; r < rows; ++r, x += stride, y += padded)
        for (int64_t i = 0; i < padded; i += VF_LANES) {
            vf v = i < columns ? load_count_f32(x + i, columns - i) : vf_zero();
            vf_store(y + i, vf_mul(v, scale));
        }
}

/* The transpose of `count` rows, as columns rows of KEYS elements, zeros beyond count. */
static void attention_pack_transposed(int64_t count, int64_t columns, const float *x, int64_t stride,
                                      float *y) {
    simd_transpose(count, columns, x, stride, y, KEYS);
    if (count == KEYS) return;
    for (int64_t c = 0; c < columns; ++c)
        memset(y + c * KEYS + count, 0, (size_t)(KEYS - count) * sizeof(float));
}

/* Whether scores need more than the scale and a range of visible keys. */
static bool attention_is_plain(const ct_attention_head *a) {
    return a->softcap == 0 && a->alibi_slope == 0 && !a->bias;
}

/* The score of 16 keys from block element j after softcap, alibi, bias. *slope: derivative of the softcap. */
SIMD vf attention_adjust(const ct_attention_head *a, int64_t i, int64_t first, int64_t count, int64_t j, vf s,
                         vf *slope) {
    *slope = vf_set(1);
    if (a->softcap != 0) {
        vf t = vf_tanh(vf_div(s, vf_set(a->softcap)));
        *slope = vf_fnma(t, t, vf_set(1));
        s = vf_mul(t, vf_set(a->softcap));
    }
    if (a->alibi_slope != 0) {
        vf key = vi_to_vf(vi_add(vi_lanes(), vi_set((int32_t)(first + j))));
        vf distance = vf_abs(vf_sub(vf_set((float)(a->query_offset + i)), key));
        s = vf_fnma(vf_set(a->alibi_slope), distance, s);
    }
    if (a->bias && j < count) {
        const float *row = a->bias + i * a->bias_row;
        float buffer[VF_LANES] = {0};
        int64_t length = count - j < VF_LANES ? count - j : VF_LANES;
        if (a->bias_column == 1) {
            s = vf_add(s, vf_load_part(row + first + j, length));
        } else {
            for (int64_t lane = 0; lane < length; ++lane)
                buffer[lane] = row[(first + j + lane) * a->bias_column];
            s = vf_add(s, vf_load(buffer));
        }
    }
    return s;
}

/* Keeps lanes [low, high) of the vector at block element j, `other` elsewhere. */
SIMD vf attention_mask(vf s, int64_t low, int64_t high, int64_t j, vf other) {
    if (low <= j && j + VF_LANES <= high) return s;
    int64_t from = low - j < 0 ? 0 : low - j > VF_LANES ? VF_LANES : low - j;
    int64_t to = high - j < 0 ? 0 : high - j > VF_LANES ? VF_LANES : high - j;
    vm inside = vm_and(vm_first(to), vm_not(vm_first(from)));
    return vf_select(inside, s, other);
}

/* Masks and adjusts the scores of one row, of the first `columns` keys of the block; returns their maximum.
 */
static float attention_row_scores(const ct_attention_head *a, bool plain, int64_t i, int64_t first,
                                  int64_t count, int64_t columns, float *s) {
    int64_t low, high;
    attention_range(a, i, first, count, &low, &high);
    const vf none = vf_set(-INFINITY);
    if (low == high) {
        for (int64_t j = 0; j < columns; j += VF_LANES)
            vf_store(s + j, none);
        return -INFINITY;
    }
    vf highest = none;
    if (plain && low == 0 && high == KEYS) {
        for (int v = 0; v < KEY_VECTORS; ++v)
            highest = vf_max(vf_load(s + v * VF_LANES), highest);
        return vf_highest(highest);
    }
    for (int64_t j = 0; j < columns; j += VF_LANES) {
        vf score = vf_load(s + j), slope;
        if (!plain) score = attention_adjust(a, i, first, count, j, score, &slope);
        score = attention_mask(score, low, high, j, none);
        vf_store(s + j, score);
        highest = vf_max(score, highest);
    }
    return vf_highest(highest);
}

/* The state of a group of queries. The packed key block: kt [head_dim, KEYS], v [KEYS, padded], or v is in
 * place. */
typedef struct attention_state {
    float *kt, *v_pack, *q, *scores,
        *sums; /* q [GROUP, padded] scaled, scores [ROWS, KEYS], sums [GROUP, padded] */
    const float *v;
    int64_t head_padded, value_padded, v_row;
    float highest[GROUP], total[GROUP], factor[ROWS], shift[ROWS];
} attention_state;

/* Scores to exponentials, of `rows` rows from row r0 of the group, which is query i: new maxima, factors for
 * what was summed before, new sums. */
static void attention_exponentials(const ct_attention_head *a, attention_state *t, int64_t r0, int64_t i,
                                   int64_t rows, int64_t first, int64_t count, int64_t columns) {
    const bool plain = attention_is_plain(a);
    float *highest = t->highest + r0, *total = t->total + r0;
    for (int64_t r = 0; r < rows; ++r) {
        float here = attention_row_scores(a, plain, i + r, first, count, columns, t->scores + r * KEYS);
        float before = highest[r], now = here > before ? here : before;
        highest[r] = now;
        t->shift[r] = now == -INFINITY ? 0 : now;
        t->factor[r] = before - t->shift[r];
    }
    for (int64_t r = 0; r < rows; r += VF_LANES)
        vf_store(t->factor + r, vf_exp_negative(vf_load(t->factor + r)));
    for (int64_t r = 0; r < rows; ++r) {
        float *s = t->scores + r * KEYS;
        const vf shift = vf_set(t->shift[r]);
        vf sums[KEY_VECTORS];
        _Pragma("GCC unroll 4") for (int v = 0; v < KEY_VECTORS; ++v) {
            sums[v] = vf_zero();
            if (v * VF_LANES >= columns) continue;
            sums[v] = vf_exp_negative(vf_sub(vf_load(s + v * VF_LANES), shift));
            vf_store(s + v * VF_LANES, sums[v]);
        }
        float sum = vf_sum(vf_add(vf_add(sums[0], sums[1]), vf_add(sums[2], sums[3])));
        total[r] = fmaf(total[r], t->factor[r], sum);
    }
}

/* The keys of a block that some of the queries i .. i + rows - 1 may see are the first so many. */
static int64_t attention_seen(const ct_attention_head *a, int64_t i, int64_t rows, int64_t first,
                              int64_t count) {
    int64_t low, high;
    if (!a->causal || a->window > 0) return count;
    attention_range(a, i + rows - 1, first, count, &low, &high);
    return high;
}

/* Queries from i, at most `left`, that go through a key block together: fewer where they do not all see the
 * same keys, so that less is worked out in vain. */
static int64_t attention_together(const ct_attention_head *a, int64_t i, int64_t left, int64_t first,
                                  int64_t count) {
    bool diagonal = a->causal && a->window == 0 && a->query_offset + i + 1 < first + count;
    int64_t most = diagonal ? DIAGONAL_ROWS : ROWS;
    return left < most ? left : most;
}

/* Rows r0 .. of the group, queries i .., against the packed key block. Keys that none of them sees are left
 * out. */
static void attention_rows(const ct_attention_head *a, attention_state *t, int64_t r0, int64_t i,
                           int64_t rows, int64_t first, int64_t count) {
    int64_t seen = attention_seen(a, i, rows, first, count);
    float *sums = t->sums + r0 * t->value_padded;
    product scores = {.m = rows,
                      .n = attention_padded(seen),
                      .k = a->head_dim,
                      .a = t->q + r0 * t->head_padded,
                      .a_row = t->head_padded,
                      .a_column = 1,
                      .b = t->kt,
                      .b_row = KEYS,
                      .c = t->scores,
                      .c_row = KEYS};
    product_set(&scores);
    attention_exponentials(a, t, r0, i, rows, first, count, scores.n);
    product output = {.m = rows,
                      .n = t->value_padded,
                      .k = seen,
                      .a = t->scores,
                      .a_row = KEYS,
                      .a_column = 1,
                      .b = t->v,
                      .b_row = t->v_row,
                      .c = sums,
                      .c_row = t->value_padded,
                      .factor = t->factor};
    product_rescale(&output);
}

/* Asks for the rows of the next block while this one is worked on. */
static void attention_prefetch(const float *x, int64_t stride, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r, x += stride)
        for (int64_t c = 0; c < columns; c += 16)
            __builtin_prefetch(x + c, 0, 2);
}

/* Packs a key block and takes all rows of the group through it. */
static void attention_block(const ct_attention_head *a, attention_state *t, int64_t i, int64_t group,
                            int64_t first, int64_t count) {
    const float *k = a->k + first * a->k_stride, *v = a->v + first * a->v_stride;
    attention_pack_transposed(count, a->head_dim, k, a->k_stride, t->kt);
    bool direct = a->value_dim == t->value_padded && group < 4;
    if (!direct) attention_pack(count, a->value_dim, v, a->v_stride, 1, t->v_pack, t->value_padded);
    t->v = direct ? v : t->v_pack;
    t->v_row = direct ? a->v_stride : t->value_padded;
    int64_t following = a->keys - first - count < KEYS ? a->keys - first - count : KEYS;
    attention_prefetch(k + KEYS * a->k_stride, a->k_stride, following, a->head_dim);
    attention_prefetch(v + KEYS * a->v_stride, a->v_stride, following, a->value_dim);
    for (int64_t r = 0, rows; r < group; r += rows) {
        int64_t begin, end;
        rows = attention_together(a, i + r, group - r, first, count);
        attention_blocks(a, i + r, rows, &begin, &end);
        if (first >= begin && first < end) attention_rows(a, t, r, i + r, rows, first, count);
    }
}

/* out = sums / total, lse = highest + log(total). */
static void attention_finish(const ct_attention_head *a, attention_state *t, int64_t i, int64_t group) {
    float logarithm[GROUP];
    for (int64_t r = 0; r < group; r += VF_LANES)
        vf_store(logarithm + r, vf_log(vf_load(t->total + r)));
    for (int64_t r = 0; r < group; ++r) {
        const vf factor = vf_set(t->total[r] == 0 ? 0 : 1 / t->total[r]);
        float *out = a->out + (i + r) * a->out_stride;
        for (int64_t c = 0; c < a->value_dim; c += VF_LANES)
            store_count_f32(out + c, vf_mul(vf_load(t->sums + r * t->value_padded + c), factor),
                            a->value_dim - c);
        if (a->lse) a->lse[i + r] = t->highest[r] + logarithm[r];
    }
}

static void attention(const ct_attention_head *a) {
    attention_state t;
    t.head_padded = attention_padded(a->head_dim);
    t.value_padded = attention_padded(a->value_dim);
    t.kt = a->scratch;
    t.v_pack = t.kt + t.head_padded * KEYS;
    t.q = t.v_pack + t.value_padded * KEYS;
    t.sums = t.q + t.head_padded * GROUP;
    t.scores = t.sums + t.value_padded * GROUP;
    for (int r = 0; r < ROWS; ++r)
        t.factor[r] = 0;
    for (int64_t i = 0; i < a->queries; i += GROUP) {
        int64_t group = a->queries - i < GROUP ? a->queries - i : GROUP, begin, end;
        attention_pack(group, a->head_dim, a->q + i * a->q_stride, a->q_stride, a->scale, t.q, t.head_padded);
        for (int r = 0; r < GROUP; ++r) {
            t.highest[r] = -INFINITY;
            t.total[r] = 0;
        }
        memset(t.sums, 0, (size_t)(group * t.value_padded) * sizeof(float));
        attention_blocks(a, i, group, &begin, &end);
        for (int64_t first = begin; first < end; first += KEYS)
            attention_block(a, &t, i, group, first, a->keys - first < KEYS ? a->keys - first : KEYS);
        attention_finish(a, &t, i, group);
    }
}
