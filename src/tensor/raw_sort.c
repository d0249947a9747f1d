/* raw_sort.c - sorting and the k greatest or least along an axis.
 *
 * Every value becomes an unsigned key of the same order (descending: of the opposite order; NaN always last; -0 is 0),
 * so that one stable radix sort of (key, position) serves all types, and equal values stay in order of position. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include <math.h>

typedef struct item {
    uint64_t key;
    int64_t place;
} item;

/* Keys of reals keep the order of the bits: negative numbers complemented, others above them. */
static inline uint64_t f32_key(float value) {
    uint32_t bits;
    value += 0.0f; /* -0 */
    memcpy(&bits, &value, 4);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
static inline uint64_t f64_key(double value) {
    uint64_t bits;
    value += 0.0;
    memcpy(&bits, &value, 8);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* Keys of n values of a compute type. f32 keys have 32 bits, so that half of the passes are saved. */
static void make_items(ct_dtype compute, int64_t n, const void *x, bool descending, int64_t first, item *items) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t key;
        if (compute == CT_F32) {
            float value = ((const float *)x)[i];
            key = f32_key(value) ^ (descending ? 0xffffffffu : 0);
            if (isnan(value)) key = 0xffffffffu;
        } else if (compute == CT_F64) {
            double value = ((const double *)x)[i];
            key = f64_key(value) ^ (descending ? UINT64_MAX : 0);
            if (isnan(value)) key = UINT64_MAX;
        } else {
            key = ((uint64_t)((const int64_t *)x)[i] ^ (uint64_t)1 << 63) ^ (descending ? UINT64_MAX : 0);
        }
        items[i] = (item){key, first + i};
    }
}

static void insertion_sort(int64_t n, item *items) {
    for (int64_t i = 1; i < n; i++) {
        item held = items[i];
        int64_t at = i;
        for (; at > 0 && items[at - 1].key > held.key; at--) items[at] = items[at - 1];
        items[at] = held;
    }
}

/* Least significant byte first; bytes that all keys share are passed over. Returns where the result is. */
static item *radix_sort(int64_t n, item *items, item *other) {
    if (n <= 32) {
        insertion_sort(n, items);
        return items;
    }
    uint64_t all = UINT64_MAX, any = 0;
    for (int64_t i = 0; i < n; i++) {
        all &= items[i].key;
        any |= items[i].key;
    }
    for (int shift = 0; shift < 64; shift += 8) {
        if (((all ^ any) >> shift & 0xff) == 0) continue;
        int64_t start[256] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++) start[items[i].key >> shift & 0xff]++;
        for (int i = 0; i < 256; i++) {
            int64_t count = start[i];
            start[i] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) other[start[items[i].key >> shift & 0xff]++] = items[i];
        item *swap = items;
        items = other;
        other = swap;
    }
    return items;
}

/* ------------------------------------------------------------------------------------------ both operations ----- */

typedef struct sort_work {
    ct_context *context;
    ct_operand x_lines, x_line, y_lines, y_line, index_lines, index_line; /* without the axis; along it */
    ct_dtype compute;
    int64_t length, wanted; /* of an input line; of a result line */
    bool descending;
} sort_work;

/* The elements of the line at `address` in tiles of the compute type. */
static void line_items(const sort_work *work, ct_cursor *cursor, int64_t first, int64_t n, item *items) {
    double tile[CT_TILE], raw[CT_TILE];
    bool same = work->x_line.dtype == work->compute;
    ct_cursor_read(cursor, n, same ? tile : raw);
    if (!same) ct_cpu_kernels()->convert(n, work->x_line.dtype, raw, work->compute, tile);
    make_items(work->compute, n, tile, work->descending, first, items);
}

/* The k least keys of the line, in order: a heap with the worst on top; of equal keys the later place is worse. */
static inline bool worse(const item *a, const item *b) {
    return a->key > b->key || (a->key == b->key && a->place > b->place);
}
static void sift_down(int64_t n, item *heap, int64_t at) {
    item held = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && worse(&heap[child + 1], &heap[child])) child++;
        if (!worse(&heap[child], &held)) break;
        heap[at] = heap[child];
    }
    heap[at] = held;
}
static item *select_least(const sort_work *work, ct_cursor *cursor, item *heap) {
    item items[CT_TILE];
    int64_t held = 0, k = work->wanted;
    for (int64_t first = 0; first < work->length; first += CT_TILE) {
        int64_t n = work->length - first < CT_TILE ? work->length - first : CT_TILE, i = 0;
        line_items(work, cursor, first, n, items);
        for (; i < n && held < k; i++) {
            heap[held++] = items[i];
            if (held == k)
                for (int64_t at = k / 2 - 1; at >= 0; at--) sift_down(k, heap, at);
        }
        for (; i < n; i++) {
            if (items[i].key >= heap[0].key) continue; /* later places are worse */
            heap[0] = items[i];
            sift_down(k, heap, 0);
        }
    }
    for (int64_t n = k - 1; n > 0; n--) { /* heap sort: the worst to the end */
        item worst = heap[0];
        heap[0] = heap[n];
        heap[n] = worst;
        sift_down(n, heap, 0);
    }
    return heap;
}

static item *sort_all(const sort_work *work, ct_cursor *cursor, item *items, item *other) {
    for (int64_t first = 0; first < work->length; first += CT_TILE) {
        int64_t n = work->length - first < CT_TILE ? work->length - first : CT_TILE;
        line_items(work, cursor, first, n, items + first);
    }
    return radix_sort(work->length, items, other);
}

static bool by_heap(const sort_work *work) { return work->wanted <= work->length / 8; }

static void sort_lines(void *user, int64_t first, int64_t last, int worker) {
    const sort_work *work = user;
    item *scratch = ct_scratch(work->context, worker);
    for (int64_t line = first; line < last; line++) {
        ct_operand x = work->x_line;
        ct_cursor cursor;
        ct_cursor_seek(&cursor, &work->x_lines, line);
        x.data = ct_cursor_address(&cursor);
        ct_cursor_seek(&cursor, &x, 0);
        const item *sorted = by_heap(work) ? select_least(work, &cursor, scratch)
                                           : sort_all(work, &cursor, scratch, scratch + work->length);
        ct_cursor_seek(&cursor, &work->y_lines, line);
        char *y = ct_cursor_address(&cursor);
        ct_cursor_seek(&cursor, &work->index_lines, line);
        int64_t *index = (int64_t *)ct_cursor_address(&cursor);
        int size = x.size;
        for (int64_t i = 0; i < work->wanted; i++) {
            memcpy(y + i * work->y_line.stride[0] * size, x.data + sorted[i].place * x.stride[0] * size, (size_t)size);
            index[i * work->index_line.stride[0]] = sorted[i].place;
        }
    }
}
static void sort_line(void *user, int64_t line, int worker) { sort_lines(user, line, line + 1, worker); }

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

static ct_tensor *sort_along(ct_tensor *x, int64_t wanted, int axis, bool descending,
                             ct_tensor **indices) {
    ct_context *context = x->context;
    int64_t shape[CT_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) shape[i] = i == axis ? wanted : x->shape[i];
    ct_device device = ct_is_meta(x) ? CT_META : CT_CPU;
    ct_tensor *y = ct_empty_on(context, device, (ct_dtype)x->dtype, x->ndim, shape);
    *indices = ct_empty_on(context, device, CT_I64, x->ndim, shape);
    if (ct_is_meta(y) || ct_is_meta(*indices) || y->count == 0) return y;
    sort_work work = {.context = context, .compute = ct_compute_type((ct_dtype)x->dtype), .length = x->shape[axis],
                      .wanted = wanted, .descending = descending};
    split_lines(x, axis, &work.x_lines, &work.x_line);
    split_lines(y, axis, &work.y_lines, &work.y_line);
    split_lines(*indices, axis, &work.index_lines, &work.index_line);
    size_t items = by_heap(&work) ? (size_t)wanted : 2 * (size_t)work.length;
    if (ct_scratch_reserve(context, items * sizeof(item)) != CT_OK) return y;
    int64_t lines = y->count / wanted;
    if (work.length * lines <= CT_CHUNK / 8)
        sort_lines(&work, 0, lines, 0);
    else
        ct_parallel_for(context, lines, sort_line, &work);
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
        ct_fail(x->context, CT_ERROR_ARGUMENT, "topk: k is %lld, but axis %d has %lld elements", (long long)k, axis,
                (long long)x->shape[axis]);
        return refused(x, indices);
    }
    return sort_along(x, k, axis, largest, indices);
}
