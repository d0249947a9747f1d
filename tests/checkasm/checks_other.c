/* checks_other.c - the checks of conversions, random words, layout and attention. */
#include "checkasm.h"

#include <math.h>
#include <string.h>

static void run_convert(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    ct_dtype from = (ct_dtype)(way / CT_DTYPES), to = (ct_dtype)(way % CT_DTYPES);
    const void *sources[CT_DTYPES] = {
        [CT_F32] = in->f32[0], [CT_F64] = in->f64[0], [CT_BF16] = in->halves, [CT_F16] = in->halves,
        [CT_I8] = in->bytes,   [CT_I32] = in->f32[0], [CT_I64] = in->f64[0],  [CT_U8] = in->bytes};
    kernels->convert(in->n, from, sources[from], to, in->scratch);
    if (to == CT_F32)
        record_f32(out, in->scratch, in->n);
    else if (to == CT_F64)
        record_f64(out, in->scratch, in->n);
    else
        record_bytes(out, in->scratch, in->n * (int64_t)ct_dtype_size(to));
}

static void run_random_words(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    ct_random_range range = {42, 0x9e3779b97f4a7c15u, (uint64_t)in->n * 0xfffffffu + (uint64_t)way};
    if (way == 0)
        kernels->random_words(in->n, in->scratch, range);
    else
        kernels->random_bernoulli(in->n, in->scratch, 0.37, range);
    record_bytes(out, in->scratch, way == 0 ? in->n * 4 : in->n);
}

static void run_transpose(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int size = 1 << way;
    int64_t rows = 0;
    while ((rows + 1) * (rows + 1) <= in->n)
        ++rows;
    int64_t columns = rows ? in->n / rows : 0;
    kernels->transpose(size, rows, columns, in->f64[0], columns, in->scratch, rows);
    record_bytes(out, in->scratch, rows * columns * size);
}

static void run_copy_strided(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    static const int64_t steps[][2] = {{1, 1}, {0, 1}, {3, 1}, {2, 2}};
    int size = 1 << (way & 3);
    memset(in->scratch, 0, (size_t)in->n * 8);
    kernels->copy_strided(size, in->n / 4, in->f64[0], steps[way >> 2][0], in->scratch, steps[way >> 2][1]);
    record_bytes(out, in->scratch, in->n * size);
}

static void run_gather_rows(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int64_t row = in->n / 20 * 4, rows = way ? 16 : 10;
    memset(in->scratch, 0, (size_t)(row * 20));
    int64_t bad = kernels->gather_rows(20, row, in->f32[0], rows, in->indices, in->scratch);
    record_bytes(out, &bad, sizeof bad);
    record_bytes(out, in->scratch, row * 20);
}

/* A head of [queries, keys] with q, k, v as slices of one array of rows; the ways are the variants of the
 * scores. */
typedef struct attention_case {
    int64_t queries, keys, head_dim, value_dim, offset, window;
    bool causal;
    float alibi, softcap;
    bool bias;
} attention_case;
static const attention_case attention_cases[] = {
    {100, 130, 64, 64, 0, 0, false, 0, 0, false},   {150, 150, 64, 64, 0, 0, true, 0, 0, false},
    {70, 70, 32, 32, 0, 0, true, 0, 0, false},      {65, 65, 128, 128, 0, 0, true, 0, 0, false},
    {50, 100, 80, 40, 0, 0, false, 0, 0, false},    {20, 33, 7, 5, 13, 0, true, 0, 0, false},
    {1, 200, 64, 64, 199, 0, true, 0, 0, false},    {120, 200, 64, 64, 80, 50, true, 0, 0, false},
    {120, 120, 64, 64, 0, 20, false, 0, 0, false},  {100, 100, 64, 64, 0, 0, true, 0.25f, 0, false},
    {100, 100, 64, 64, 0, 0, true, 0, 5, false},    {100, 100, 64, 64, 0, 0, false, 0, 0, true},
    {60, 90, 64, 64, 30, 33, true, 0.1f, 20, true},
};
enum { attention_ways = sizeof attention_cases / sizeof attention_cases[0] };
static const char *const attention_names[attention_ways] = {
    "full 64",         "causal 64", "causal 32", "causal 128",        "head 80, value 40",
    "head 7, value 5", "decode",    "window",    "window both sides", "alibi",
    "softcap",         "bias",      "all"};

static void run_attention(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    const attention_case *c = &attention_cases[way];
    int64_t queries = c->queries, keys = c->keys, width = 2 * c->head_dim + c->value_dim;
    if (!out->data) queries = keys = 512;
    if (in->n < 10000 || keys * width > in->capacity || queries * (keys + 128) > in->capacity) return;
    float *y = in->scratch, *lse = y + queries * c->value_dim, *dq = lse + queries;
    float *dk = dq + queries * c->head_dim, *dv = dk + keys * c->head_dim;
    char *rest = (char *)(dv + keys * c->value_dim);
    rest += 64 - (uintptr_t)rest % 64;
    const float *base = in->f32[3];
    ct_attention_head head = {.queries = queries,
                              .keys = keys,
                              .head_dim = c->head_dim,
                              .value_dim = c->value_dim,
                              .q = base,
                              .k = base + c->head_dim,
                              .v = base + 2 * c->head_dim,
                              .q_stride = width,
                              .k_stride = width,
                              .v_stride = width,
                              .out = y,
                              .out_stride = c->value_dim,
                              .lse = lse,
                              .scale = 2.0f,
                              .causal = c->causal,
                              .query_offset = c->offset,
                              .window = c->window,
                              .alibi_slope = c->alibi,
                              .softcap = c->softcap,
                              .bias = c->bias ? in->f32[2] : NULL,
                              .bias_row = keys,
                              .bias_column = 1,
                              .scratch = rest};
    kernels->attention(&head);
    record_f32(out, y, queries * c->value_dim);
    record_f32(out, lse, queries);
    if (!out->data) return;
    ct_attention_gradient gradient = {.dout = in->f32[3] + 11,
                                      .dout_stride = c->value_dim,
                                      .dq = dq,
                                      .dk = dk,
                                      .dv = dv,
                                      .dq_stride = c->head_dim,
                                      .dk_stride = c->head_dim,
                                      .dv_stride = c->value_dim,
                                      .accumulate_kv = false,
                                      .scratch = rest};
    kernels->attention_backward(&head, &gradient);
    gradient.accumulate_kv = true;
    kernels->attention_backward(&head, &gradient);
    record_f32(out, dq, queries * c->head_dim + keys * (c->head_dim + c->value_dim));
}

const check checks_other[] = {
    {"convert", CT_DTYPES *CT_DTYPES, run_convert, NULL, 1},
    {"random_words", 2, run_random_words, NULL, 1},
    {"transpose", 4, run_transpose, NULL, 2},
    {"copy_strided", 16, run_copy_strided, NULL, 2},
    {"gather_rows", 2, run_gather_rows, NULL, 2},
    {"attention", attention_ways, run_attention, attention_names, 0},
    {0},
};
