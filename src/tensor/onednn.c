/* onednn.c - bf16 products as single-threaded oneDNN primitives over fixed tiles that our own workers take.
 *
 * What was learnt the hard way (docs/architecture.md): primitives get a scratchpad of the worker's, never
 * oneDNN's own, which gives wrong values when one thread makes a primitive and another runs it; making one
 * costs hundreds of microseconds, so they are kept, by shape and strides of the tile, and the last rows of a
 * product are padded to one of four heights; oneDNN is built on OpenMP, so every thread that calls it is told
 * to be alone.
 *
 * A tile's sums are written in f32 to scratch; bias, activation and rounding follow there with our own
 * kernels. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "tensor/onednn.h"

#if !CARAT_HAVE_ONEDNN

bool ct_onednn_takes(ct_context *context, int64_t m, int64_t n, int64_t k, const ct_gemm_operand *a,
                     const ct_gemm_operand *b, const ct_gemm_epilogue *epilogue) {
    (void)context, (void)m, (void)n, (void)k, (void)a, (void)b, (void)epilogue;
    return false;
}

bool ct_onednn_has_bf16(ct_context *context) {
    (void)context;
    return false;
}

ct_status ct_onednn_matmul(ct_context *context, const ct_gemm_batch *batch, int64_t m, int64_t n, int64_t k,
                           const ct_gemm_operand *a, const ct_gemm_operand *b, const ct_gemm_output *c,
                           const ct_gemm_epilogue *epilogue) {
    (void)batch, (void)m, (void)n, (void)k, (void)a, (void)b, (void)c, (void)epilogue;
    return ct_fail(context, CT_ERROR_UNSUPPORTED, "bf16 products through oneDNN: built without oneDNN");
}

void ct_onednn_release(void) {}

#else

#include "tensor/cpu/isa.h"
#include "tensor/cpu/kernels.h"
#include <dlfcn.h>
#include <dnnl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TILE_ROWS 256
#define TILE_COLS 256
#define KEPT_MOST 512 /* primitives */
#define CHAINS 256

/* --------------------------------------------------------------------------------------------- primitives */

/* What a primitive is made for: dst [rows, cols] f32 = src [rows, k] weights [k, cols], bf16. */
typedef struct tile_key {
    int64_t rows, cols, k;
    int64_t a_row, a_col, b_row, b_col;
} tile_key;

typedef struct tile_primitive {
    tile_key key;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t src, weights, dst, scratchpad;
    size_t scratchpad_bytes;
    int users;
    uint64_t last_use;
    struct tile_primitive *next;
} tile_primitive;

/* For the whole process: primitives belong to no context. */
static struct {
    pthread_mutex_t lock;
    dnnl_engine_t engine;
    tile_primitive *chain[CHAINS];
    int count;
    uint64_t uses;
    int check; /* 0 not made, 1 passed, 2 failed */
    /* Of the OpenMP runtime that oneDNN brought along; NULL where it was built without. */
    int (*omp_get_max_threads)(void);
    void (*omp_set_num_threads)(int);
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The calling thread is alone from here on; returns what it had before. */
static int alone_begin(void) {
    int before = kept.omp_get_max_threads && kept.omp_set_num_threads ? kept.omp_get_max_threads() : 1;
    if (before != 1) kept.omp_set_num_threads(1);
    return before;
}
static void alone_end(int before) {
    if (before != 1) kept.omp_set_num_threads(before);
}

static unsigned chain_of(const tile_key *key) {
    const int64_t parts[] = {key->rows, key->cols, key->k, key->a_row, key->a_col, key->b_row, key->b_col};
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        hash = (hash ^ (uint64_t)parts[i]) * 1099511628211u;
    return (unsigned)(hash >> 32) % CHAINS;
}

static bool same_key(const tile_key *a, const tile_key *b) {
    return a->rows == b->rows && a->cols == b->cols && a->k == b->k && a->a_row == b->a_row &&
           a->a_col == b->a_col && a->b_row == b->b_row && a->b_col == b->b_col;
}

static void primitive_free(tile_primitive *p) {
    if (p && p->primitive) dnnl_primitive_destroy(p->primitive);
    free(p);
}

static bool describe(dnnl_memory_desc_t *memory, dnnl_data_type_t type, int64_t rows, int64_t cols,
                     int64_t row_stride, int64_t col_stride) {
    const dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};
    return dnnl_memory_desc_init_by_strides(memory, 2, dims, type, strides) == dnnl_success;
}

/* NULL where oneDNN has no such primitive, or no memory. The calling thread is alone in OpenMP. */
static tile_primitive *primitive_make(const tile_key *key) {
    tile_primitive *p = calloc(1, sizeof *p);
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    bool good = p && describe(&p->src, dnnl_bf16, key->rows, key->k, key->a_row, key->a_col) &&
                describe(&p->weights, dnnl_bf16, key->k, key->cols, key->b_row, key->b_col) &&
                describe(&p->dst, dnnl_f32, key->rows, key->cols, key->cols, 1);
    good = good && dnnl_matmul_desc_init(&matmul, &p->src, &p->weights, NULL, &p->dst) == dnnl_success;
    good = good && dnnl_primitive_attr_create(&attributes) == dnnl_success;
    good = good &&
           dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) == dnnl_success;
    good = good &&
           dnnl_primitive_desc_create(&description, &matmul, attributes, kept.engine, NULL) == dnnl_success;
    good = good && dnnl_primitive_create(&p->primitive, description) == dnnl_success;
    if (good) {
        p->key = *key;
        p->scratchpad = *dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
        p->scratchpad_bytes = dnnl_memory_desc_get_size(&p->scratchpad);
    }
    if (description) dnnl_primitive_desc_destroy(description);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    if (good) return p;
    primitive_free(p);
    return NULL;
}

/* Removes the primitive unused for longest. */
static void evict(void) {
    tile_primitive **oldest = NULL;
    for (int i = 0; i < CHAINS; i++)
        for (tile_primitive **at = &kept.chain[i]; *at; at = &(*at)->next)
            if ((*at)->users == 0 && (!oldest || (*at)->last_use < (*oldest)->last_use)) oldest = at;
    if (!oldest) return;
    tile_primitive *gone = *oldest;
    *oldest = gone->next;
    kept.count--;
    primitive_free(gone);
}

static tile_primitive *primitive_acquire(const tile_key *key) {
    pthread_mutex_lock(&kept.lock);
    tile_primitive **chain = &kept.chain[chain_of(key)], *p = *chain;
    while (p && !same_key(&p->key, key))
        p = p->next;
    if (!p && (p = primitive_make(key))) {
        if (kept.count >= KEPT_MOST) evict();
        p->next = *chain;
        *chain = p;
        kept.count++;
    }
    if (p) {
        p->users++;
        p->last_use = ++kept.uses;
    }
    pthread_mutex_unlock(&kept.lock);
    return p;
}

static void primitive_release(tile_primitive *p) {
    if (!p) return;
    pthread_mutex_lock(&kept.lock);
    p->users--;
    pthread_mutex_unlock(&kept.lock);
}

void ct_onednn_release(void) {
    pthread_mutex_lock(&kept.lock);
    for (int before = -1; before != kept.count;) {
        before = kept.count;
        evict();
    }
    pthread_mutex_unlock(&kept.lock);
}

/* -------------------------------------------------------------------------------------------------- tiles */

enum { WHOLE, LAST }; /* tiles of full size, and those that end the rows or the columns */

typedef struct tile_work {
    ct_context *context;
    ct_gemm_batch batch;
    int64_t m, n, k;
    const ct_gemm_operand *a, *b;
    const ct_gemm_output *c;
    const ct_gemm_epilogue *epilogue;
    int64_t row_tiles, col_tiles;
    bool copies_all;                 /* rows of A go to scratch from whole tiles too */
    int64_t copied_stride;           /* of the rows of A in scratch */
    tile_primitive *primitive[2][2]; /* by WHOLE or LAST rows, columns */
    size_t copied_bytes, sums_bytes; /* parts of a worker's scratch: rows of A, sums, then the scratchpad */
    atomic_int failed;               /* a dnnl_status_t */
} tile_work;

static int64_t smaller(int64_t x, int64_t y) {
    return x < y ? x : y;
}

/* Height of the last tile: a power of two from 32. */
static int64_t padded_rows(int64_t rows) {
    int64_t height = 32;
    while (height < rows)
        height *= 2;
    return height;
}

static int64_t batch_entries(const ct_gemm_batch *batch) {
    int64_t entries = 1;
    for (int i = 0; i < batch->rank; i++)
        entries *= batch->shape[i];
    return entries;
}

static int64_t batch_offset(const ct_gemm_batch *batch, int64_t entry, const int64_t *stride) {
    int64_t offset = 0;
    for (int i = batch->rank - 1; i >= 0; i--) {
        offset += entry % batch->shape[i] * stride[i];
        entry /= batch->shape[i];
    }
    return offset;
}

static dnnl_status_t execute(const tile_primitive *p, const void *a, const void *b, float *sums,
                             void *scratchpad) {
    dnnl_memory_t memory[4] = {NULL, NULL, NULL, NULL};
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_stream_create(&stream, kept.engine, dnnl_stream_default_flags);
    const dnnl_memory_desc_t *descriptions[4] = {&p->src, &p->weights, &p->dst, &p->scratchpad};
    void *data[4] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, sums, scratchpad};
    static const int names[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t arguments[4];
    for (int i = 0; i < 4 && status == dnnl_success; i++) {
        status = dnnl_memory_create(&memory[i], descriptions[i], kept.engine, data[i]);
        arguments[i] = (dnnl_exec_arg_t){names[i], memory[i]};
    }
    if (status == dnnl_success) status = dnnl_primitive_execute(p->primitive, stream, 4, arguments);
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    for (int i = 0; i < 4; i++)
        if (memory[i]) dnnl_memory_destroy(memory[i]);
    if (stream) dnnl_stream_destroy(stream);
    return status;
}

/* Rounds `count` values, at most TILE_COLS, to their place in `to`. */
static void store(const ct_gemm_output *to, int64_t offset, int64_t row, int64_t col, int64_t count,
                  float *values) {
    const ct_kernels *kernels = ct_cpu_kernels();
    size_t size = ct_dtype_size(to->dtype);
    char *out = (char *)to->data + (offset + row * to->row_stride + col * to->col_stride) * (int64_t)size;
    if (to->col_stride == 1) {
        kernels->convert(count, CT_F32, values, to->dtype, out);
        return;
    }
    double rounded[TILE_COLS];
    kernels->convert(count, CT_F32, values, to->dtype, rounded);
    kernels->copy_strided((int)size, count, rounded, 1, out, to->col_stride);
}

static void finish(const tile_work *w, int64_t entry, int64_t row, int64_t col, int64_t rows, int64_t cols,
                   float *sums) {
    const ct_kernels *kernels = ct_cpu_kernels();
    const ct_gemm_epilogue *e = w->epilogue;
    int64_t offset = batch_offset(&w->batch, entry, w->batch.c_stride);
    for (int64_t i = 0; i < rows; i++) {
        float *values = sums + i * cols;
        if (e && e->bias_n)
            kernels->f32.binary(CT_BINARY_ADD, cols, values, 1, (const float *)e->bias_n + col, 1, values);
        if (e && e->preactivation.data)
            store(&e->preactivation, batch_offset(&w->batch, entry, w->batch.preactivation_stride), row + i,
                  col, cols, values);
        if (e && e->activation) e->activation(e->activation_user, values, cols);
        store(w->c, offset, row + i, col, cols, values);
    }
}

/* How rows of A lie in scratch. oneDNN cuts k in blocks that depend on the stride of A's rows, and a row
 * shall have the same bits in a last tile and in a whole one: the stride is kept, or, where it would take
 * much memory, all tiles are copied. */
static void choose_copies(tile_work *w) {
    bool by_rows = w->a->col_stride == 1;
    w->copies_all = by_rows && w->a->row_stride > 4 * w->k;
    w->copied_stride = by_rows && !w->copies_all ? w->a->row_stride : w->k;
}

/* Rows of A, with zeros between them and rows of zeros up to the primitive's height. */
static const void *copy_rows(const tile_work *w, const uint16_t *a, int64_t rows, int64_t height,
                             uint16_t *out) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t stride = w->copied_stride;
    for (int64_t i = 0; i < rows; i++) {
        kernels->copy_strided(2, w->k, a + i * w->a->row_stride, w->a->col_stride, out + i * stride, 1);
        memset(out + i * stride + w->k, 0, (size_t)(stride - w->k) * sizeof *out);
    }
    memset(out + rows * stride, 0, (size_t)((height - rows) * stride) * sizeof *out);
    return out;
}

static void tile_task(void *user, int64_t index, int worker) {
    tile_work *w = user;
    int64_t col_tile = index % w->col_tiles, row_tile = index / w->col_tiles % w->row_tiles;
    int64_t entry = index / w->col_tiles / w->row_tiles;
    int64_t row = row_tile * TILE_ROWS, col = col_tile * TILE_COLS;
    int64_t rows = smaller(TILE_ROWS, w->m - row), cols = smaller(TILE_COLS, w->n - col);
    const tile_primitive *p = w->primitive[rows < TILE_ROWS ? LAST : WHOLE][cols < TILE_COLS ? LAST : WHOLE];
    char *scratch = ct_scratch(w->context, worker);
    const uint16_t *a = w->a->data, *b = w->b->data;
    a += batch_offset(&w->batch, entry, w->batch.a_stride) + row * w->a->row_stride;
    b += batch_offset(&w->batch, entry, w->batch.b_stride) + col * w->b->col_stride;
    float *sums = (float *)(void *)(scratch + w->copied_bytes);
    if (rows < TILE_ROWS || w->copies_all)
        a = copy_rows(w, a, rows, p->key.rows, (uint16_t *)(void *)scratch);
    int before = alone_begin();
    dnnl_status_t status = execute(p, a, b, sums, scratch + w->copied_bytes + w->sums_bytes);
    alone_end(before);
    if (status != dnnl_success)
        atomic_store(&w->failed, (int)status);
    else
        finish(w, entry, row, col, rows, cols, sums);
}

/* The primitives of a product: up to four. False where oneDNN refuses one. */
static bool primitives_acquire(tile_work *w, size_t *scratchpad) {
    int64_t last_rows = w->m % TILE_ROWS, last_cols = w->n % TILE_COLS;
    int before = alone_begin();
    bool good = true;
    for (int r = 0; r < 2; r++)
        for (int c = 0; c < 2; c++) {
            if ((r == WHOLE ? w->m < TILE_ROWS : last_rows == 0) ||
                (c == WHOLE ? w->n < TILE_COLS : last_cols == 0))
                continue;
            tile_key key = {.rows = r == WHOLE ? TILE_ROWS : padded_rows(last_rows), .k = w->k};
            key.cols = c == WHOLE ? TILE_COLS : last_cols;
            bool copied = r == LAST || w->copies_all;
            key.a_row = copied ? w->copied_stride : w->a->row_stride;
            key.a_col = copied ? 1 : w->a->col_stride;
            key.b_row = w->b->row_stride;
            key.b_col = w->b->col_stride;
            tile_primitive *p = good ? primitive_acquire(&key) : NULL;
            if (!p) good = false;
            if (p && p->scratchpad_bytes > *scratchpad) *scratchpad = p->scratchpad_bytes;
            w->primitive[r][c] = p;
        }
    alone_end(before);
    return good;
}

/* dnnl_success, what oneDNN said, or dnnl_out_of_memory with the context's error. */
static dnnl_status_t run(ct_context *context, const ct_gemm_batch *batch, int64_t m, int64_t n, int64_t k,
                         const ct_gemm_operand *a, const ct_gemm_operand *b, const ct_gemm_output *c,
                         const ct_gemm_epilogue *epilogue) {
    tile_work w = {.context = context, .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .epilogue = epilogue};
    if (batch) w.batch = *batch;
    w.row_tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    w.col_tiles = (n + TILE_COLS - 1) / TILE_COLS;
    int64_t last_rows = m % TILE_ROWS;
    size_t scratchpad = 0;
    choose_copies(&w);
    int64_t most_copied = w.copies_all && m >= TILE_ROWS ? TILE_ROWS : last_rows ? padded_rows(last_rows) : 0;
    w.copied_bytes = ((size_t)(most_copied * w.copied_stride) * 2 + 63) / 64 * 64;
    w.sums_bytes = (size_t)TILE_ROWS * TILE_COLS * sizeof(float);
    dnnl_status_t status = primitives_acquire(&w, &scratchpad) ? dnnl_success : dnnl_unimplemented;
    if (status == dnnl_success &&
        ct_scratch_reserve(context, w.copied_bytes + w.sums_bytes + scratchpad) != CT_OK)
        status = dnnl_out_of_memory;
    if (status == dnnl_success) {
        ct_parallel_for(context, batch_entries(&w.batch) * w.row_tiles * w.col_tiles, tile_task, &w);
        status = (dnnl_status_t)atomic_load(&w.failed);
    }
    for (int i = 0; i < 4; i++)
        primitive_release(w.primitive[i / 2][i % 2]);
    return status;
}

/* -------------------------------------------------------------------------------------------------- check */

enum { CHECK_ROWS = TILE_ROWS + 44, CHECK_COLS = TILE_COLS + 16, CHECK_K = 336, CHECK_PERIOD = 4 };

typedef struct check_arrays {
    uint16_t a[CHECK_ROWS * CHECK_K], b[CHECK_K * CHECK_COLS];
    float c[CHECK_ROWS * CHECK_COLS];
} check_arrays;

/* Small numbers that bf16 holds exactly. */
static uint16_t check_value(uint32_t i) {
    return ct_f32_to_bf16((float)((int32_t)((i * 2654435761u) >> 24) - 128) / 128.0f);
}

/* Against sums in f64; and rows of equal content must have equal bits in a whole and in a padded tile. */
static bool check_values(const check_arrays *x) {
    for (int i = 0; i < CHECK_PERIOD; i++)
        for (int j = 0; j < CHECK_COLS; j++) {
            double sum = 0, size = 0;
            for (int p = 0; p < CHECK_K; p++) {
                double term =
                    (double)ct_bf16_to_f32(x->a[i * CHECK_K + p]) * ct_bf16_to_f32(x->b[p * CHECK_COLS + j]);
                sum += term;
                size += fabs(term);
            }
            if (!(fabs(x->c[i * CHECK_COLS + j] - sum) <= 1e-5 * size)) return false;
        }
    for (int i = CHECK_PERIOD; i < CHECK_ROWS; i++)
        if (memcmp(x->c + i * CHECK_COLS, x->c + i % CHECK_PERIOD * CHECK_COLS, CHECK_COLS * sizeof(float)) !=
            0)
            return false;
    return true;
}

static void find_openmp(void) {
    void *found = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    memcpy(&kept.omp_get_max_threads, &found, sizeof found);
    found = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&kept.omp_set_num_threads, &found, sizeof found);
}

/* 1 passed, 2 failed, 0 could not be made for want of memory. */
static int check_make(ct_context *context) {
    find_openmp();
    if (!kept.engine && dnnl_engine_create(&kept.engine, dnnl_cpu, 0) != dnnl_success) {
        ct_log_message(context, CT_LOG_WARNING, "oneDNN has no CPU engine: bf16 products run in f32");
        return 2;
    }
    check_arrays *x = malloc(sizeof *x);
    if (!x) return 0;
    for (int i = 0; i < CHECK_ROWS; i++)
        for (int p = 0; p < CHECK_K; p++)
            x->a[i * CHECK_K + p] = check_value((uint32_t)(i % CHECK_PERIOD * CHECK_K + p));
    for (int i = 0; i < CHECK_K * CHECK_COLS; i++)
        x->b[i] = check_value((uint32_t)(i + 7919));
    ct_gemm_operand a = {.data = x->a, .dtype = CT_BF16, .row_stride = CHECK_K, .col_stride = 1};
    ct_gemm_operand b = {.data = x->b, .dtype = CT_BF16, .row_stride = CHECK_COLS, .col_stride = 1};
    ct_gemm_output c = {x->c, CT_F32, CHECK_COLS, 1};
    dnnl_status_t status = run(context, NULL, CHECK_ROWS, CHECK_COLS, CHECK_K, &a, &b, &c, NULL);
    bool good = status == dnnl_success && check_values(x);
    free(x);
    if (good) return 1;
    if (ct_failed(context)) return 0;
    ct_log_message(context, CT_LOG_WARNING, "oneDNN's bf16 product %s: bf16 products run in f32",
                   status == dnnl_success ? "gave wrong values" : "is not available");
    return 2;
}

/* ------------------------------------------------------------------------------------------------------ */

/* A stored bf16 matrix whose rows or columns are contiguous and do not overlap. */
static bool fits(const ct_gemm_operand *t, int64_t rows, int64_t cols) {
    if (!t->data || t->dtype != CT_BF16) return false;
    return (t->col_stride == 1 && t->row_stride >= cols) || (t->row_stride == 1 && t->col_stride >= rows);
}

bool ct_onednn_takes(ct_context *context, int64_t m, int64_t n, int64_t k, const ct_gemm_operand *a,
                     const ct_gemm_operand *b, const ct_gemm_epilogue *epilogue) {
    if (m < CT_ONEDNN_ROWS || n < 16 || k < 16 || !fits(a, m, k) || !fits(b, k, n)) return false;
    if (epilogue && (epilogue->bias_m || epilogue->residual.data)) return false;
    return ct_onednn_has_bf16(context);
}

bool ct_onednn_has_bf16(ct_context *context) {
    if (ct_cpu_isa() < CT_ISA_AVX512 || !__builtin_cpu_supports("avx512bf16")) return false;
    static pthread_mutex_t checking = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&checking);
    if (kept.check == 0) kept.check = check_make(context);
    bool passed = kept.check == 1;
    pthread_mutex_unlock(&checking);
    return passed;
}

ct_status ct_onednn_matmul(ct_context *context, const ct_gemm_batch *batch, int64_t m, int64_t n, int64_t k,
                           const ct_gemm_operand *a, const ct_gemm_operand *b, const ct_gemm_output *c,
                           const ct_gemm_epilogue *epilogue) {
    dnnl_status_t status = run(context, batch, m, n, k, a, b, c, epilogue);
    if (status == dnnl_success || ct_failed(context)) return ct_context_status(context);
    /* The check passed, this shape did not: rare, and ct_gemm can do it. */
    ct_log_message(context, CT_LOG_DEBUG, "oneDNN refused a bf16 product of %lld x %lld x %lld (status %d)",
                   (long long)m, (long long)n, (long long)k, (int)status);
    if (batch && batch->rank > 0)
        return ct_gemm_batched(context, CT_F32, batch, m, n, k, 1.0, a, b, 0.0, c, epilogue);
    return ct_gemm(context, CT_F32, m, n, k, 1.0, a, b, 0.0, c, epilogue);
}

#endif
