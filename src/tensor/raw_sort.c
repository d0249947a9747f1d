/* raw_sort.c - sorting and the k greatest or least along an axis.
 *
 * Every value becomes an unsigned key of the same order (descending: of the opposite order; NaN always last;
 * -0 is 0), and with its position below the key one word: one sort of words serves all types, and equal
 * values stay in order of position. Keys have 32 bits where the type allows, else 64. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include <math.h>

__extension__ typedef unsigned __int128 word128;

typedef struct sort_work {
    ct_context *context;
    ct_operand x_lines, x_line, y_lines, y_line, index_lines, index_line; /* without the axis; along it */
    bool narrow;                                                          /* keys of 32 bits */
    int64_t length, wanted; /* of an input line; of a result line */
    bool descending;
} sort_work;

/* Whether a few of many are wanted. */
static bool by_heap(const sort_work *work) {
    return work->wanted <= work->length / 8;
}

/* Keys of reals keep the order of the bits: negative numbers complemented, others above them. x + 0 makes -0
 * 0. */
static void keys_of_f32(int64_t n, const float *x, uint32_t flip, uint32_t *keys) {
    for (int64_t i = 0; i < n; i++) {
        float value = x[i] + 0.0f;
        uint32_t bits, key;
        memcpy(&bits, &value, sizeof bits);
        key = (bits ^ ((uint32_t) - (int32_t)(bits >> 31) | 0x80000000u)) ^ flip;
        keys[i] = value != value ? UINT32_MAX : key;
    }
}
static void keys_of_f64(int64_t n, const double *x, uint64_t flip, uint64_t *keys) {
    for (int64_t i = 0; i < n; i++) {
        double value = x[i] + 0.0;
        uint64_t bits, key;
        memcpy(&bits, &value, sizeof bits);
        key = (bits ^ ((uint64_t) - (int64_t)(bits >> 63) | (uint64_t)1 << 63)) ^ flip;
        keys[i] = value != value ? UINT64_MAX : key;
    }
}

/* Keys of the next n elements of a line; n <= CT_TILE. */
static void narrow_keys(const sort_work *work, ct_cursor *cursor, int64_t n, uint32_t *keys) {
    uint32_t tile[CT_TILE], raw[CT_TILE], flip = work->descending ? UINT32_MAX : 0;
    ct_dtype from = work->x_line.dtype, type = ct_dtype_is_float(from) ? CT_F32 : CT_I32;
    ct_cursor_read(cursor, n, from == type ? tile : raw);
    if (from != type) ct_cpu_kernels()->convert(n, from, raw, type, tile);
    if (type == CT_F32) {
        keys_of_f32(n, (const float *)(const void *)tile, flip, keys);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        keys[i] = tile[i] ^ 0x80000000u ^ flip;
}
static void wide_keys(const sort_work *work, ct_cursor *cursor, int64_t n, uint64_t *keys) {
    double tile[CT_TILE], raw[CT_TILE];
    uint64_t flip = work->descending ? UINT64_MAX : 0;
    ct_dtype from = work->x_line.dtype, type = ct_compute_type(from) == CT_I64 ? CT_I64 : CT_F64;
    ct_cursor_read(cursor, n, from == type ? tile : raw);
    if (from != type) ct_cpu_kernels()->convert(n, from, raw, type, tile);
    if (type == CT_F64) {
        keys_of_f64(n, tile, flip, keys);
        return;
    }
    memcpy(keys, tile, (size_t)n * sizeof *keys);
    for (int64_t i = 0; i < n; i++)
        keys[i] ^= (uint64_t)1 << 63 ^ flip;
}

#define SORT(name) narrow_##name
#define SORT_WORD uint64_t
#define SORT_KEY uint32_t
#define SORT_BITS 32
#include "tensor/sort_lines.inc.h"
#define SORT(name) wide_##name
#define SORT_WORD word128
#define SORT_KEY uint64_t
#define SORT_BITS 64
#include "tensor/sort_lines.inc.h"

static void sort_line(void *user, int64_t line, int worker) {
    const sort_work *work = user;
    void *scratch = ct_scratch(work->context, worker);
    if (work->narrow)
        narrow_line(work, line, scratch);
    else
        wide_line(work, line, scratch);
}

/* A tensor without one axis, and that axis alone. */
static void split_lines(const ct_tensor *t, int axis, ct_operand *lines, ct_operand *line) {
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    int others = 0;
    for (int i = 0; i < t->ndim; i++) {
        if (i == axis) continue;
        shape[others] = t->shape[i];
        stride[others++] = t->stride[i];
    }
    ct_operand_make(lines, ct_pointer(t), (ct_dtype)t->dtype, others, shape, stride);
    ct_operand_make(line, NULL, (ct_dtype)t->dtype, 1, &t->shape[axis], &t->stride[axis]);
}

static ct_tensor *sort_along(ct_tensor *x, int64_t wanted, int axis, bool descending, ct_tensor **indices) {
    ct_context *context = x->context;
    int64_t shape[CT_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++)
        shape[i] = i == axis ? wanted : x->shape[i];
    ct_device device = ct_is_meta(x) ? CT_META : CT_CPU;
    ct_tensor *y = ct_empty_on(context, device, (ct_dtype)x->dtype, x->ndim, shape);
    *indices = ct_empty_on(context, device, CT_I64, x->ndim, shape);
    if (ct_is_meta(y) || ct_is_meta(*indices) || y->count == 0) return y;
    sort_work work = {
        .context = context, .length = x->shape[axis], .wanted = wanted, .descending = descending};
    work.narrow = x->dtype != CT_F64 && x->dtype != CT_I64 && work.length <= UINT32_MAX;
    split_lines(x, axis, &work.x_lines, &work.x_line);
    split_lines(y, axis, &work.y_lines, &work.y_line);
    split_lines(*indices, axis, &work.index_lines, &work.index_line);
    size_t words = by_heap(&work) ? (size_t)wanted : 2 * (size_t)work.length;
    if (ct_scratch_reserve(context, words * (work.narrow ? sizeof(uint64_t) : sizeof(word128))) != CT_OK)
        return y;
    int64_t lines = y->count / wanted;
    if (work.length * lines <= CT_CHUNK / 8) {
        for (int64_t line = 0; line < lines; line++)
            sort_line(&work, line, 0);
    } else {
        ct_parallel_for(context, lines, sort_line, &work);
    }
    return y;
}

static ct_tensor *refused(ct_tensor *x, ct_tensor **indices) {
    *indices = ct_inert(x->context, CT_I64, x->ndim, x->shape);
    return ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
}

ct_tensor *ct_raw_sort(ct_tensor *x, int axis, bool descending, ct_tensor **indices) {
    if (!ct_operands_ready("sort", 1, (const ct_tensor *const[]){x}) || (axis = ct_axis(x, axis, "sort")) < 0)
        return refused(x, indices);
    return sort_along(x, x->shape[axis], axis, descending, indices);
}

ct_tensor *ct_raw_topk(ct_tensor *x, int64_t k, int axis, bool largest, ct_tensor **indices) {
    if (!ct_operands_ready("topk", 1, (const ct_tensor *const[]){x}) || (axis = ct_axis(x, axis, "topk")) < 0)
        return refused(x, indices);
    if (k < 0 || k > x->shape[axis]) {
        ct_fail(x->context, CT_ERROR_ARGUMENT, "topk: k is %lld, but axis %d has %lld elements", (long long)k,
                axis, (long long)x->shape[axis]);
        return refused(x, indices);
    }
    return sort_along(x, k, axis, largest, indices);
}
