/* test_kernels_attention.c - the attention kernels against the definition in double precision, their
 * gradients against central differences of it, and the promise that a row's bits depend on nothing but the
 * row and its visible keys. */
#include "tensor/cpu/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const ct_kernels *k;

static uint64_t state = 88172645463325252u;
static double normal(void) {
    double sum = -3;
    for (int i = 0; i < 6; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum += (double)(state >> 11) * 0x1p-53;
    }
    return sum;
}
static float *floats(int64_t n) {
    float *x = test_malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; ++i)
        x[i] = (float)normal();
    return x;
}

static bool visible(const ct_attention_head *a, int64_t i, int64_t j) {
    int64_t position = a->query_offset + i;
    return (!a->causal || j <= position) &&
           (a->window == 0 || (position - j < a->window && j - position < a->window));
}

/* The definition: output of row i in double, returns the logarithm of the sum. */
static double reference_row(const ct_attention_head *a, int64_t i, double *out) {
    double *s = test_malloc((size_t)(a->keys + 1) * sizeof(double)), highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->keys; ++j) {
        s[j] = -INFINITY;
        if (!visible(a, i, j)) continue;
        double dot = 0;
        for (int64_t c = 0; c < a->head_dim; ++c)
            dot += (double)a->q[i * a->q_stride + c] * (double)a->k[j * a->k_stride + c];
        dot *= (double)a->scale;
        if (a->softcap != 0) dot = (double)a->softcap * tanh(dot / (double)a->softcap);
        dot -= (double)a->alibi_slope * fabs((double)(a->query_offset + i - j));
        if (a->bias) dot += (double)a->bias[i * a->bias_row + j * a->bias_column];
        s[j] = dot;
        highest = fmax(highest, dot);
    }
    for (int64_t c = 0; c < a->value_dim; ++c)
        out[c] = 0;
    for (int64_t j = 0; j < a->keys && highest > -INFINITY; ++j)
        sum += exp(s[j] - highest);
    for (int64_t j = 0; j < a->keys && highest > -INFINITY; ++j)
        for (int64_t c = 0; c < a->value_dim; ++c)
            out[c] += exp(s[j] - highest) / sum * (double)a->v[j * a->v_stride + c];
    test_free(s);
    return highest + log(sum);
}

/* Inputs of one case: q, k, v are slices of rows of one array, as a fused projection leaves them. */
typedef struct fixture {
    ct_attention_head head;
    float *rows, *bias;
} fixture;
typedef struct shape {
    int64_t queries, keys, head_dim, value_dim, offset, window;
    bool causal;
    float alibi, softcap;
    int bias; /* 0 none, 1 full, 2 one row for all queries with -inf in it, 3 by columns */
} shape;

static fixture make(shape s) {
    fixture f;
    int64_t width = 2 * s.head_dim + s.value_dim, rows = s.queries > s.keys ? s.queries : s.keys;
    f.rows = floats(rows * width);
    f.bias = s.bias ? floats(s.queries * s.keys) : NULL;
    if (s.bias == 2)
        for (int64_t j = 0; j < s.keys; j += 3)
            f.bias[j] = -INFINITY;
    f.head = (ct_attention_head){
        .queries = s.queries,
        .keys = s.keys,
        .head_dim = s.head_dim,
        .value_dim = s.value_dim,
        .q = f.rows,
        .k = f.rows + s.head_dim,
        .v = f.rows + 2 * s.head_dim,
        .q_stride = width,
        .k_stride = width,
        .v_stride = width,
        .out = floats(s.queries * s.value_dim),
        .out_stride = s.value_dim,
        .lse = floats(s.queries),
        .scale = 1 / sqrtf((float)s.head_dim),
        .causal = s.causal,
        .query_offset = s.offset,
        .window = s.window,
        .alibi_slope = s.alibi,
        .softcap = s.softcap,
        .bias = f.bias,
        .bias_row = s.bias == 2   ? 0
                    : s.bias == 3 ? 1
                                  : s.keys,
        .bias_column = s.bias == 3 ? s.queries : 1,
        .scratch = aligned_alloc(64, (ct_attention_scratch(s.head_dim, s.value_dim) + 63) / 64 * 64)};
    assert_non_null(f.head.scratch);
    return f;
}
static void drop(fixture *f) {
    test_free(f->rows);
    if (f->bias) test_free(f->bias);
    test_free(f->head.out);
    test_free(f->head.lse);
    free(f->head.scratch);
}

static const shape shapes[] = {
    {100, 130, 64, 64, 0, 0, false, 0, 0, 0},   {150, 150, 64, 64, 0, 0, true, 0, 0, 0},
    {70, 70, 32, 32, 0, 0, true, 0, 0, 0},      {65, 65, 128, 128, 0, 0, true, 0, 0, 0},
    {50, 100, 80, 40, 0, 0, false, 0, 0, 0},    {20, 33, 7, 5, 13, 0, true, 0, 0, 0},
    {1, 200, 64, 64, 199, 0, true, 0, 0, 0},    {120, 200, 16, 16, 80, 50, true, 0, 0, 0},
    {120, 120, 16, 16, 0, 20, false, 0, 0, 0},  {100, 100, 24, 24, 0, 0, true, 0.25f, 0, 0},
    {60, 60, 16, 16, 0, 0, true, 0, 2, 0},      {60, 75, 16, 16, 0, 0, false, 0, 0, 1},
    {60, 75, 16, 16, 0, 0, false, 0, 0, 2},     {60, 75, 16, 16, 0, 0, false, 0, 0, 3},
    {30, 90, 16, 16, -5, 33, true, 0.1f, 3, 1}, /* the first five queries see nothing */
};
enum { shape_count = sizeof shapes / sizeof shapes[0] };

static void forward(void **unused) {
    (void)unused;
    for (int s = 0; s < shape_count; ++s) {
        fixture f = make(shapes[s]);
        k->attention(&f.head);
        double out[256];
        for (int64_t i = 0; i < f.head.queries; ++i) {
            double lse = reference_row(&f.head, i, out);
            if (!(fabs((double)f.head.lse[i] - lse) < 2e-6 * (1 + fabs(lse))) &&
                !(lse == -INFINITY && f.head.lse[i] == lse))
                fail_msg("case %d, row %d: lse %g, expected %g", s, (int)i, (double)f.head.lse[i], lse);
            for (int64_t c = 0; c < f.head.value_dim; ++c)
                if (!(fabs((double)f.head.out[i * f.head.value_dim + c] - out[c]) < 3e-6))
                    fail_msg("case %d, row %d, column %d: %g, expected %g", s, (int)i, (int)c,
                             (double)f.head.out[i * f.head.value_dim + c], out[c]);
        }
        drop(&f);
    }
}

/* The value sum(out dout), in double, of the definition. */
static double value_of(const ct_attention_head *a, const float *dout) {
    double total = 0, out[256];
    for (int64_t i = 0; i < a->queries; ++i) {
        reference_row(a, i, out);
        for (int64_t c = 0; c < a->value_dim; ++c)
            total += out[c] * (double)dout[i * a->value_dim + c];
    }
    return total;
}

static void check_slope(fixture *f, const float *dout, float *element, double gradient, int s, char which) {
    float keep = *element, h = 0x1p-8f;
    *element = keep + h;
    double above = value_of(&f->head, dout);
    *element = keep - h;
    double below = value_of(&f->head, dout);
    double want = (above - below) / ((double)(keep + h) - (double)(keep - h));
    *element = keep;
    if (!(fabs(gradient - want) < 2e-4 * (1 + fabs(want))))
        fail_msg("case %d, d%c: %g, expected %g", s, which, gradient, want);
}

static void backward(void **unused) {
    (void)unused;
    for (int s = 0; s < shape_count; ++s) {
        fixture f = make(shapes[s]);
        ct_attention_head *a = &f.head;
        k->attention(a);
        float *dout = floats(a->queries * a->value_dim), *dq = floats(a->queries * a->head_dim);
        float *dk = floats(a->keys * a->head_dim), *dv = floats(a->keys * a->value_dim);
        size_t size = ct_attention_backward_scratch(a->queries, a->head_dim, a->value_dim);
        ct_attention_gradient g = {.dout = dout,
                                   .dout_stride = a->value_dim,
                                   .dq = dq,
                                   .dk = dk,
                                   .dv = dv,
                                   .dq_stride = a->head_dim,
                                   .dk_stride = a->head_dim,
                                   .dv_stride = a->value_dim,
                                   .scratch = aligned_alloc(64, (size + 63) / 64 * 64)};
        assert_non_null(g.scratch);
        k->attention_backward(a, &g);
        for (int trial = 0; trial < 12; ++trial) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            int64_t i = (int64_t)((state >> 20) % (uint64_t)a->queries),
                    j = (int64_t)((state >> 30) % (uint64_t)a->keys);
            int64_t c = (int64_t)((state >> 40) % (uint64_t)a->head_dim),
                    e = (int64_t)((state >> 44) % (uint64_t)a->value_dim);
            check_slope(&f, dout, (float *)a->q + i * a->q_stride + c, (double)dq[i * a->head_dim + c], s,
                        'q');
            check_slope(&f, dout, (float *)a->k + j * a->k_stride + c, (double)dk[j * a->head_dim + c], s,
                        'k');
            check_slope(&f, dout, (float *)a->v + j * a->v_stride + e, (double)dv[j * a->value_dim + e], s,
                        'v');
        }
        float *twice = floats(a->keys * a->head_dim); /* accumulation doubles */
        memcpy(twice, dk, (size_t)(a->keys * a->head_dim) * sizeof(float));
        g.accumulate_kv = true;
        k->attention_backward(a, &g);
        for (int64_t i = 0; i < a->keys * a->head_dim; ++i)
            assert_true(dk[i] == 2 * twice[i]);
        test_free(twice);
        test_free(dout);
        test_free(dq);
        test_free(dk);
        test_free(dv);
        free(g.scratch);
        drop(&f);
    }
}

/* Each row by itself, with the keys that exist when it is decoded, gives the bits of the whole. */
static void decoding_equals_full(void **unused) {
    (void)unused;
    const shape causal[] = {{200, 200, 64, 64, 0, 0, true, 0, 0, 0},
                            {150, 150, 20, 12, 0, 37, true, 0.3f, 4, 0},
                            {131, 131, 128, 128, 0, 0, true, 0, 0, 0}};
    for (int s = 0; s < 3; ++s) {
        fixture f = make(causal[s]);
        k->attention(&f.head);
        float *out = floats(f.head.value_dim * 5), lse[5];
        for (int64_t i = 0; i < f.head.queries;) {
            int64_t rows = 1 + i % 5 < f.head.queries - i ? 1 + i % 5 : f.head.queries - i;
            ct_attention_head part = f.head;
            part.queries = rows;
            part.keys = i + rows;
            part.query_offset = i;
            part.q = f.head.q + i * f.head.q_stride;
            part.out = out;
            part.lse = lse;
            k->attention(&part);
            assert_memory_equal(out, f.head.out + i * f.head.value_dim,
                                (size_t)(rows * f.head.value_dim) * sizeof(float));
            assert_memory_equal(lse, f.head.lse + i, (size_t)rows * sizeof(float));
            i += rows;
        }
        test_free(out);
        drop(&f);
    }
}

int main(void) {
    k = ct_cpu_kernels();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward),
        cmocka_unit_test(backward),
        cmocka_unit_test(decoding_equals_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
