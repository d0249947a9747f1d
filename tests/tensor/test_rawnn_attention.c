/* test_rawnn_attention.c - attention against loops with whole score matrices in f64: grouped heads, windows,
 * biases, masks, ALiBi, hidden rows, packed projections, decoding; bits; errors. */
#include "rawnn.h"

typedef struct problem {
    int64_t batch, heads, kv_heads, queries, keys, channels, value_channels;
    bool causal, bias, mask, alibi, hide_row;
    int64_t window;
    double scale;
} problem;

typedef struct operands {
    ct_tensor *q, *k, *v, *gradient;
    ct_attention_options options;
} operands;

static operands operands_make(ct_context *context, const problem *p, ct_dtype dtype) {
    operands o = {.options = {.causal = p->causal, .window = p->window, .scale = p->scale}};
    o.q = make(context, dtype, SHAPE(p->batch, p->heads, p->queries, p->channels), 1, 2);
    o.k = make(context, dtype, SHAPE(p->batch, p->kv_heads, p->keys, p->channels), 2, 2);
    o.v = make(context, dtype, SHAPE(p->batch, p->kv_heads, p->keys, p->value_channels), 3, 1);
    o.gradient = make(context, dtype, SHAPE(p->batch, p->heads, p->queries, p->value_channels), 4, 1);
    if (p->bias) o.options.bias = make(context, dtype, SHAPE(p->heads, 1, p->keys), 5, 2);
    if (p->mask) {
        ct_tensor *mask = make(context, CT_F32, SHAPE(p->batch, 1, p->queries, p->keys), 6, 1);
        double *m = values(mask);
        for (int64_t i = 0; i < mask->count; i++)
            m[i] = m[i] > -0.4;
        for (int64_t j = 0; p->hide_row && j < p->keys; j++)
            m[p->queries / 2 * p->keys + j] = 0;
        o.options.mask = ct_empty(context, CT_U8, mask->ndim, mask->shape);
        assert_int_equal(ct_write(o.options.mask, CT_F64, m), CT_OK);
        free(m);
    }
    if (p->alibi) o.options.alibi_slopes = make(context, CT_F32, SHAPE(p->heads), 7, 0.3);
    return o;
}

typedef struct expected {
    double *out, *lse, *dq, *dk, *dv;
} expected;

/* The score, -inf where it is hidden. */
static double score(const problem *p, const double *bias, const double *mask, const double *slopes, int64_t b,
                    int64_t h, int64_t i, int64_t j, double product) {
    int64_t position = i + p->keys - p->queries, distance = llabs(position - j);
    if (p->causal && j > position) return -INFINITY;
    if (p->window && distance >= p->window) return -INFINITY;
    if (mask && mask[(b * p->queries + i) * p->keys + j] == 0) return -INFINITY;
    double s = product * (p->scale != 0 ? p->scale : 1 / sqrt((double)p->channels));
    return s + (bias ? bias[h * p->keys + j] : 0) - (slopes ? slopes[h] * (double)distance : 0);
}

static expected expected_make(const problem *p, const operands *o) {
    int64_t T = p->queries, S = p->keys, C = p->channels, V = p->value_channels,
            group = p->heads / p->kv_heads;
    double *q = values(o->q), *k = values(o->k), *v = values(o->v), *g = values(o->gradient);
    double *bias = o->options.bias ? values(o->options.bias) : NULL,
           *mask = o->options.mask ? values(o->options.mask) : NULL;
    double *slopes = o->options.alibi_slopes ? values(o->options.alibi_slopes) : NULL;
    expected e = {calloc((size_t)o->gradient->count + 1, 8), calloc((size_t)(p->batch * p->heads * T) + 1, 8),
                  calloc((size_t)o->q->count + 1, 8), calloc((size_t)o->k->count + 1, 8),
                  calloc((size_t)o->v->count + 1, 8)};
    double *s = calloc((size_t)S + 1, 8), scale = p->scale != 0 ? p->scale : 1 / sqrt((double)C);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->heads; h++)
            for (int64_t i = 0; i < T; i++) {
                int64_t row = (b * p->heads + h) * T + i, kv = b * p->kv_heads + h / group;
                double sum = 0, along = 0;
                for (int64_t j = 0; j < S; j++) {
                    double product = 0;
                    for (int64_t c = 0; c < C; c++)
                        product += q[row * C + c] * k[(kv * S + j) * C + c];
                    s[j] = score(p, bias, mask, slopes, b, h, i, j, product);
                    sum += exp(s[j]);
                }
                e.lse[row] = log(sum);
                for (int64_t j = 0; j < S; j++) {
                    s[j] = sum > 0 ? exp(s[j]) / sum : 0;
                    for (int64_t c = 0; c < V; c++)
                        e.out[row * V + c] += s[j] * v[(kv * S + j) * V + c];
                }
                for (int64_t c = 0; c < V; c++)
                    along += g[row * V + c] * e.out[row * V + c];
                for (int64_t j = 0; j < S; j++) {
                    double dp = 0;
                    for (int64_t c = 0; c < V; c++) {
                        dp += g[row * V + c] * v[(kv * S + j) * V + c];
                        e.dv[(kv * S + j) * V + c] += s[j] * g[row * V + c];
                    }
                    double ds = scale * s[j] * (dp - along);
                    for (int64_t c = 0; c < C; c++) {
                        e.dq[row * C + c] += ds * k[(kv * S + j) * C + c];
                        e.dk[(kv * S + j) * C + c] += ds * q[row * C + c];
                    }
                }
            }
    free(q), free(k), free(v), free(g), free(bias), free(mask), free(slopes), free(s);
    return e;
}

static void expected_free(expected *e) {
    free(e->out), free(e->lse), free(e->dq), free(e->dk), free(e->dv);
}

static const double tolerances[] = {[CT_F32] = 5e-6, [CT_F64] = 1e-12, [CT_BF16] = 1.5e-2, [CT_F16] = 2e-3};

static void compare(ct_context *context, const problem *p, ct_dtype dtype) {
    ct_scope scope = ct_scope_open(context);
    operands o = operands_make(context, p, dtype);
    expected e = expected_make(p, &o);
    ct_tensor *lse, *dq = NULL, *dk = NULL, *dv = NULL,
                    *out = ct_raw_attention(o.q, o.k, o.v, &o.options, &lse);
    ct_raw_attention_backward(o.q, o.k, o.v, out, lse, o.gradient, &o.options, &dq, &dk, &dv);
    assert_fine(context);
    double exact = dtype == CT_F64 ? 1e-12 : 1e-5, tolerance = tolerances[dtype];
    assert_values(out, e.out, tolerance, "out");
    assert_values(lse, e.lse, exact, "lse");
    assert_values(dq, e.dq, 4 * tolerance, "dq");
    assert_values(dk, e.dk, 4 * tolerance, "dk");
    assert_values(dv, e.dv, 4 * tolerance, "dv");
    assert_same_bits(ct_raw_attention(o.q, o.k, o.v, &o.options, NULL), out, "without logsumexp");
    expected_free(&e);
    ct_scope_close(context, scope);
}

static void attention_against_loops(void **state) {
    (void)state;
    static const problem problems[] = {
        {1, 1, 1, 1, 1, 1, 1, .causal = false},
        {2, 3, 3, 17, 17, 16, 16, .causal = true},
        {1, 2, 2, 130, 130, 64, 64, .causal = true},
        {1, 4, 2, 70, 200, 24, 40, .causal = true},
        {1, 6, 1, 9, 65, 8, 8, .causal = false},
        {2, 2, 2, 100, 100, 32, 32, .causal = true, .window = 33},
        {1, 2, 1, 64, 128, 32, 32, .window = 10},
        {2, 2, 2, 33, 77, 20, 20, .bias = true},
        {2, 4, 2, 40, 40, 16, 16, .mask = true, .hide_row = true},
        {2, 2, 2, 300, 150, 16, 16, .mask = true, .bias = true, .causal = true},
        {1, 3, 3, 50, 90, 16, 16, .alibi = true, .causal = true, .scale = 0.11},
        {1, 2, 2, 20, 12, 16, 16, .causal = true}, /* the first 8 queries see nothing */
        {1, 2, 2, 0, 12, 16, 16, .causal = true},
        {1, 2, 2, 3, 0, 16, 16, .causal = false},
    };
    ct_context *context = ct_context_create(2);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
            compare(context, &problems[i], dtype);
    ct_context_destroy(context);
}

static void hidden_rows_give_zero(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tensor *q = make(context, CT_F32, SHAPE(1, 1, 5, 8), 1, 1),
              *k = make(context, CT_F32, SHAPE(1, 1, 6, 8), 2, 1);
    ct_attention_options options = {.bias = ct_full(context, CT_F32, SHAPE(5, 6), -INFINITY)};
    ct_tensor *lse, *dq = NULL, *dk = NULL, *dv = NULL, *out = ct_raw_attention(q, k, k, &options, &lse);
    ct_raw_attention_backward(q, k, k, out, lse, q, &options, &dq, &dk, &dv);
    const double zeros[48] = {0};
    const double none[5] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    assert_values(out, zeros, 0, "out");
    assert_values(lse, none, 0, "lse");
    assert_values(dq, zeros, 0, "dq");
    assert_values(dk, zeros, 0, "dk");
    assert_values(dv, zeros, 0, "dv");
    ct_context_destroy(context);
}

/* q, k, v as slices of one [batch, time, 3, heads, channels] projection; gradients into a buffer of that
 * shape. */
static void packed_projection(void **state) {
    (void)state;
    enum { BATCH = 2, HEADS = 3, TIME = 70, CHANNELS = 16 };
    ct_context *context = ct_context_create(2);
    for (ct_dtype dtype = CT_F32; dtype <= CT_BF16; dtype++) {
        ct_tensor *packed = make(context, dtype, SHAPE(BATCH, TIME, 3, HEADS, CHANNELS), 1, 2);
        ct_tensor *gradients = ct_zeros(context, dtype, SHAPE(BATCH, TIME, 3, HEADS, CHANNELS));
        ct_tensor *part[3], *target[3], *copy[3], *made[3] = {NULL, NULL, NULL};
        const int64_t shape[] = {BATCH, HEADS, TIME, CHANNELS};
        const int64_t stride[] = {TIME * 3 * HEADS * CHANNELS, CHANNELS, 3 * HEADS * CHANNELS, 1};
        for (int i = 0; i < 3; i++) {
            part[i] = ct_view_strided(packed, 4, shape, stride, i * HEADS * CHANNELS);
            target[i] = ct_view_strided(gradients, 4, shape, stride, i * HEADS * CHANNELS);
            copy[i] = ct_raw_contiguous(part[i]);
        }
        ct_attention_options options = {.causal = true};
        ct_tensor *lse, *same_lse, *out = ct_raw_attention(part[0], part[1], part[2], &options, &lse);
        ct_tensor *same = ct_raw_attention(copy[0], copy[1], copy[2], &options, &same_lse);
        assert_same_bits(out, same, "out");
        assert_true(ct_is_contiguous(swapped(out, 1, 2)));
        assert_true(ct_is_contiguous(same));
        ct_tensor *g = make(context, dtype, SHAPE(BATCH, TIME, HEADS, CHANNELS), 9, 1);
        uint64_t version = ct_version(gradients);
        ct_raw_attention_backward(part[0], part[1], part[2], out, lse, swapped(g, 1, 2), &options, &target[0],
                                  &target[1], &target[2]);
        ct_raw_attention_backward(copy[0], copy[1], copy[2], same, same_lse, swapped(g, 1, 2), &options,
                                  &made[0], &made[1], &made[2]);
        assert_fine(context);
        for (int i = 0; i < 3; i++) {
            assert_ptr_equal(target[i]->storage, gradients->storage);
            assert_same_bits(target[i], made[i], "gradient");
        }
        assert_true(ct_version(gradients) > version);
    }
    ct_context_destroy(context);
}

static void bits_and_decoding(void **state) {
    (void)state;
    static const problem p = {4, 4, 2, 150, 150, 32, 32, .causal = true, .alibi = true};
    for (ct_dtype dtype = CT_F32; dtype <= CT_BF16; dtype++) {
        ct_context *contexts[3];
        ct_tensor *out[3], *lse[3], *d[3][3] = {{NULL}};
        for (int t = 0; t < 3; t++) {
            contexts[t] = ct_context_create(1 << t);
            operands o = operands_make(contexts[t], &p, dtype);
            out[t] = ct_raw_attention(o.q, o.k, o.v, &o.options, &lse[t]);
            ct_raw_attention_backward(o.q, o.k, o.v, out[t], lse[t], o.gradient, &o.options, &d[t][0],
                                      &d[t][1], &d[t][2]);
            assert_same_bits(out[0], out[t], "threads");
            for (int i = 0; i < 3; i++)
                assert_same_bits(d[0][i], d[t][i], "threads, backward");
            for (int64_t n = 1; n <= 150; n += 29) { /* one query over the first n keys of sequence 2 alone */
                ct_tensor *q = rows_of(rows_of(o.q, 0, 2, 1), 2, n - 1, 1);
                ct_tensor *k = rows_of(rows_of(o.k, 0, 2, 1), 2, 0, n),
                          *v = rows_of(rows_of(o.v, 0, 2, 1), 2, 0, n);
                assert_same_bits(ct_raw_attention(q, k, v, &o.options, NULL),
                                 rows_of(rows_of(out[t], 0, 2, 1), 2, n - 1, 1), "decoding");
                ct_tensor *several = ct_raw_attention(rows_of(o.q, 2, 0, n), rows_of(o.k, 2, 0, n),
                                                      rows_of(o.v, 2, 0, n), &o.options, NULL);
                assert_same_bits(several, rows_of(out[t], 2, 0, n), "shorter sequence");
            }
        }
        for (int t = 0; t < 3; t++)
            ct_context_destroy(contexts[t]);
    }
}

static void attention_errors(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tensor *q = make(context, CT_F32, SHAPE(1, 4, 5, 8), 1, 1),
              *k = make(context, CT_F32, SHAPE(1, 3, 6, 8), 2, 1);
    ct_tensor *lse, *d[3] = {NULL, NULL, NULL};
    ct_raw_attention(q, k, k, NULL, NULL);
    assert_error(context, CT_ERROR_SHAPE, "q f32[1, 4, 5, 8], k f32[1, 3, 6, 8]");
    k = make(context, CT_F32, SHAPE(1, 2, 6, 8), 2, 1);
    ct_raw_attention(q, ct_raw_cast(k, CT_F64), k, NULL, NULL);
    assert_error(context, CT_ERROR_TYPE, "k is f64[1, 2, 6, 8], expected f32");
    ct_attention_options options = {.bias = ct_zeros(context, CT_F32, SHAPE(4, 6))};
    ct_raw_attention(q, k, k, &options, NULL);
    assert_error(context, CT_ERROR_SHAPE, "bias f32[4, 6] does not broadcast to [1, 4, 5, 6]");
    options = (ct_attention_options){.mask = ct_zeros(context, CT_F32, SHAPE(5, 6))};
    ct_raw_attention(q, k, k, &options, NULL);
    assert_error(context, CT_ERROR_TYPE, "mask is f32[5, 6], expected u8");
    options = (ct_attention_options){.alibi_slopes = ct_zeros(context, CT_F32, SHAPE(3))};
    ct_raw_attention(q, k, k, &options, NULL);
    assert_error(context, CT_ERROR_SHAPE, "slopes f32[3], expected [4]");
    options = (ct_attention_options){.window = -1};
    ct_raw_attention(q, k, k, &options, NULL);
    assert_error(context, CT_ERROR_ARGUMENT, "window is -1");
    ct_tensor *out = ct_raw_attention(q, k, k, NULL, &lse);
    assert_fine(context);
    ct_raw_attention_backward(q, k, k, out, lse, k, NULL, &d[0], &d[1], &d[2]);
    assert_error(context, CT_ERROR_SHAPE, "gradient f32[1, 2, 6, 8] do not belong");
    d[0] = k, d[1] = d[2] = NULL;
    ct_raw_attention_backward(q, k, k, out, lse, q, NULL, &d[0], &d[1], &d[2]);
    assert_error(context, CT_ERROR_SHAPE, "the gradient of q is to be written to f32[1, 2, 6, 8]");
    ct_context_destroy(context);
}

static void some_work(ct_context *context) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_empty(context, CT_BF16, SHAPE(2, 30, 3, 4, 8)),
              *mask = ct_empty(context, CT_U8, SHAPE(30, 30));
    if (ct_context_device(context) == CT_CPU && !ct_failed(context)) ct_fill(x, 0.5), ct_fill(mask, 1);
    const int64_t shape[] = {2, 4, 30, 8}, stride[] = {2880, 8, 96, 1};
    ct_tensor *q = ct_view_strided(x, 4, shape, stride, 0), *k = ct_view_strided(x, 4, shape, stride, 32);
    ct_attention_options options = {.causal = true, .mask = mask};
    ct_tensor *lse = NULL, *d[3] = {NULL, NULL, NULL}, *out = ct_raw_attention(q, k, k, &options, &lse);
    ct_raw_attention_backward(q, k, k, out, lse, out, &options, &d[0], &d[1], &d[2]);
    ct_hold(d[0]), ct_hold(lse);
    ct_scope_close(context, scope);
    ct_drop(d[0]), ct_drop(lse);
}

static void counts_and_failures(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tensor *q = make(context, CT_F32, SHAPE(2, 3, 5, 8), 1, 1);
    ct_raw_attention(q, q, q, NULL, NULL);
    assert_int_equal(ct_context_flops(context), 4 * 2 * 3 * 5 * 5 * 8);
    ct_context_destroy(context);
    assert_meta_counts(some_work);
    assert_survives_allocation_failure(some_work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_against_loops), cmocka_unit_test(hidden_rows_give_zero),
        cmocka_unit_test(packed_projection),       cmocka_unit_test(bits_and_decoding),
        cmocka_unit_test(attention_errors),        cmocka_unit_test(counts_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
