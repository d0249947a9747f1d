/* raw_index.c - reading and writing at indices along one axis.
 *
 * Index tensors are made contiguous i64 and checked as a whole before anything is written. What lands on the
 * same element is added (or put) in the order of the index, by one task: work is cut across positions that
 * cannot meet, so the bits do not depend on threads. bf16 and f16 sums are made in f32 and rounded once. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"

/* ------------------------------------------------------------------------------------------------- checks */

typedef struct check_work {
    ct_context *context;
    const char *operation;
    const int64_t *index;
    int64_t count, size;
} check_work;

static void check_piece(void *user, int64_t piece, int worker) {
    (void)worker;
    const check_work *work = user;
    int64_t first = piece * CT_CHUNK, last = first + CT_CHUNK;
    if (last > work->count) last = work->count;
    for (int64_t i = first; i < last; i++) {
        if ((uint64_t)work->index[i] < (uint64_t)work->size) continue;
        ct_parallel_error(work->context, piece, CT_ERROR_ARGUMENT,
                          "%s: index %lld at position %lld is outside [0, %lld)", work->operation,
                          (long long)work->index[i], (long long)i, (long long)work->size);
        return;
    }
}

/* The index as contiguous i64 (perhaps itself) with every value in [0, size); NULL with an error. The same
 * handle or one in the present scope. */
static ct_tensor *index_ready(const char *operation, ct_tensor *index, int64_t size) {
    ct_context *context = index->context;
    if (index->dtype != CT_I64 && index->dtype != CT_I32) {
        ct_fail(context, CT_ERROR_TYPE, "%s: the index is %s, expected i64 or i32", operation,
                ct_dtype_name((ct_dtype)index->dtype));
        return NULL;
    }
    ct_tensor *plain = index->dtype == CT_I64 ? ct_raw_contiguous(index) : ct_raw_cast(index, CT_I64);
    if (ct_failed(context)) return NULL;
    if (ct_is_meta(plain)) return plain;
    check_work work = {context, operation, ct_pointer(plain), plain->count, size};
    ct_parallel_for(context, (plain->count + CT_CHUNK - 1) / CT_CHUNK, check_piece, &work);
    return ct_failed(context) ? NULL : plain;
}

static bool shapes_match(const char *operation, const ct_tensor *t, const ct_tensor *index, int axis,
                         bool equal) {
    bool fits = t->ndim == index->ndim;
    for (int i = 0; fits && i < t->ndim; i++)
        fits = equal ? t->shape[i] == index->shape[i] : i == axis || index->shape[i] <= t->shape[i];
    if (fits) return true;
    char a[160], b[160];
    ct_fail(t->context, CT_ERROR_SHAPE, "%s: an index %s does not fit %s along axis %d", operation,
            ct_describe(index, a, sizeof a), ct_describe(t, b, sizeof b), axis);
    return false;
}

/* ------------------------------------------------------------------------------------------------- gather */

typedef struct gather_work {
    ct_operand x; /* over the index's shape, with step 0 along the axis */
    const int64_t *index;
    char *y;
    int64_t axis_stride;
} gather_work;

#define GATHER_RUN(type)                                                                                     \
    do {                                                                                                     \
        const type *from = (const type *)ct_cursor_address(&cursor);                                         \
        type *to = (type *)work->y + first;                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                      \
            to[i] = from[i * step + index[i] * work->axis_stride];                                           \
    } while (0)

static void gather_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const gather_work *work = user;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->x, first);
    int64_t step = ct_cursor_step(&cursor);
    while (first < last) {
        int64_t n = ct_cursor_run(&cursor);
        if (n > last - first) n = last - first;
        const int64_t *index = work->index + first;
        if (work->x.size == 4)
            GATHER_RUN(uint32_t);
        else if (work->x.size == 8)
            GATHER_RUN(uint64_t);
        else if (work->x.size == 2)
            GATHER_RUN(uint16_t);
        else
            GATHER_RUN(uint8_t);
        ct_cursor_skip(&cursor, n);
        first += n;
    }
}

ct_tensor *ct_raw_gather(ct_tensor *x, int axis, ct_tensor *index) {
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    if (!ct_operands_ready("gather", 2, (const ct_tensor *const[]){x, index}) ||
        (axis = ct_axis(x, axis, "gather")) < 0 || !shapes_match("gather", x, index, axis, false))
        return ct_inert(context, dtype, index->ndim, index->shape);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *plain = index_ready("gather", index, x->shape[axis]);
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, index->ndim, index->shape);
    if (plain && !ct_is_meta(y)) {
        int64_t stride[CT_MAX_DIMS];
        for (int i = 0; i < x->ndim; i++)
            stride[i] = i == axis ? 0 : x->stride[i];
        gather_work work = {.index = ct_pointer(plain), .y = ct_pointer(y), .axis_stride = x->stride[axis]};
        ct_operand_make(&work.x, ct_pointer(x), dtype, x->ndim, index->shape, stride);
        ct_parallel_ranges(context, y->count, CT_CHUNK / 2, gather_range, &work);
    }
    return ct_scope_return(context, scope, y);
}

/* ------------------------------------------------------------------------------------------------ scatter */

#define LINES 256

typedef struct scatter_work {
    ct_operand lines; /* the target without the axis */
    ct_dtype dtype;
    const int64_t *index; /* [outer, length, inner] */
    const char *values;
    int64_t length, inner, axis_stride;
    bool add;
} scatter_work;

/* For the elements of some lines, in index order within each line. */
#define SCATTER_LOOP(type, operation)                                                                        \
    do {                                                                                                     \
        const type *values = (const type *)work->values;                                                     \
        type *target = (type *)work->lines.data;                                                             \
        for (int64_t a = 0; a < (across ? work->length : n); a++)                                            \
            for (int64_t b = 0; b < (across ? n : work->length); b++) {                                      \
                int64_t line = across ? b : a, i = across ? a : b;                                           \
                int64_t place = begin[line] + i * work->inner;                                               \
                target[offset[line] + work->index[place] * work->axis_stride] operation values[place];       \
            }                                                                                                \
    } while (0)

static void scatter_add(const scatter_work *work, int64_t n, bool across, const int64_t *begin,
                        const int64_t *offset) {
    switch (work->dtype) {
    case CT_F32:
        SCATTER_LOOP(float, +=);
        break;
    case CT_F64:
        SCATTER_LOOP(double, +=);
        break;
    case CT_I32:
        SCATTER_LOOP(uint32_t, +=);
        break;
    case CT_I64:
        SCATTER_LOOP(uint64_t, +=);
        break;
    default: /* i8, u8 */
        SCATTER_LOOP(uint8_t, +=);
    }
}

static void scatter_lines(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const scatter_work *work = user;
    int64_t begin[LINES], offset[LINES], n = last - first;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->lines, first);
    for (int64_t i = 0; i < n; i++) {
        int64_t outer = (first + i) / work->inner, column = (first + i) % work->inner;
        begin[i] = outer * work->length * work->inner + column;
        offset[i] = cursor.offset;
        ct_cursor_skip(&cursor, 1);
    }
    bool across = work->inner >= 8; /* neighbours in memory are of neighbouring lines */
    if (work->add)
        scatter_add(work, n, across, begin, offset);
    else if (work->lines.size == 4)
        SCATTER_LOOP(uint32_t, =);
    else if (work->lines.size == 8)
        SCATTER_LOOP(uint64_t, =);
    else if (work->lines.size == 2)
        SCATTER_LOOP(uint16_t, =);
    else
        SCATTER_LOOP(uint8_t, =);
}

/* Runs `into` on an f32 copy of a target of bf16 or f16 (or a copy of `dtype`), which is then copied back. */
typedef ct_status (*indexed_function)(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values);
static ct_status through_copy(ct_tensor *target, ct_dtype dtype, int axis, ct_tensor *index,
                              ct_tensor *values, indexed_function into) {
    ct_tensor *wide = ct_raw_cast(target, dtype);
    ct_status status = ct_context_status(target->context);
    if (status == CT_OK) status = into(wide, axis, index, values);
    if (status == CT_OK) status = ct_raw_copy(target, wide);
    return status;
}

static bool is_half(const ct_tensor *t) {
    return t->dtype == CT_BF16 || t->dtype == CT_F16;
}

/* Values of the target's type, contiguous, apart from the target. */
static ct_tensor *values_ready(ct_tensor *target, ct_tensor *values) {
    if (values->dtype != target->dtype || ct_regions_clash(target, values))
        return ct_raw_cast(values, (ct_dtype)target->dtype);
    return ct_raw_contiguous(values);
}

/* Checked operands; index contiguous i64. */
static ct_status scatter_run(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values, bool add) {
    ct_context *context = target->context;
    values = values_ready(target, values);
    if (ct_failed(context)) return ct_context_status(context);
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    int others = 0;
    for (int i = 0; i < target->ndim; i++) {
        if (i == axis) continue;
        shape[others] = index->shape[i];
        stride[others++] = target->stride[i];
    }
    scatter_work work = {.dtype = (ct_dtype)target->dtype,
                         .index = ct_pointer(index),
                         .values = ct_pointer(values),
                         .length = index->shape[axis],
                         .inner = ct_shape_count(target->ndim - axis - 1, index->shape + axis + 1),
                         .axis_stride = target->stride[axis],
                         .add = add};
    ct_operand_make(&work.lines, ct_pointer(target), work.dtype, others, shape, stride);
    int64_t piece = CT_CHUNK / work.length;
    piece = piece < 1 ? 1 : piece > LINES ? LINES : piece;
    ct_parallel_ranges(context, index->count / work.length, piece, scatter_lines, &work);
    return ct_context_status(context);
}
static ct_status scatter_add_run(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values) {
    return scatter_run(target, axis, index, values, true);
}

ct_status ct_raw_scatter(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values, bool add) {
    const char *name = add ? "scatter_add" : "scatter";
    ct_context *context = target->context;
    if (!ct_operands_ready(name, 3, (const ct_tensor *const[]){target, index, values}) ||
        !ct_target_ready(name, target) || (axis = ct_axis(target, axis, name)) < 0 ||
        !shapes_match(name, target, index, axis, false) || !shapes_match(name, values, index, axis, true))
        return ct_context_status(context);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *plain = index_ready(name, index, target->shape[axis]);
    ct_status status = ct_context_status(context);
    if (plain && !ct_is_meta(target) && index->count > 0) {
        if (add && is_half(target))
            status = through_copy(target, CT_F32, axis, plain, values, scatter_add_run);
        else
            status = scatter_run(target, axis, plain, values, add);
    }
    ct_scope_close(context, scope);
    return status;
}

/* ------------------------------------------------------------------------------------------- index_select */

typedef struct select_work {
    ct_operand outer, inner;
    const int64_t *index;
    char *y;
    int64_t length, width, axis_stride; /* indices; elements of `inner` */
    bool plain;
} select_work;

/* Rows of [outer, length]. */
static void select_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const select_work *work = user;
    int64_t size = work->inner.size, bytes = work->width * size;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, first / work->length);
    int64_t at = first % work->length;
    for (int64_t row = first; row < last; row++) {
        char *from = ct_cursor_address(&cursor) + work->index[at] * work->axis_stride * size;
        char *to = work->y + row * bytes;
        if (work->plain && bytes == 4) {
            memcpy(to, from, 4);
        } else if (work->plain) {
            memcpy(to, from, (size_t)bytes);
        } else {
            ct_operand line = work->inner;
            ct_cursor along;
            line.data = from;
            ct_cursor_seek(&along, &line, 0);
            ct_cursor_read(&along, work->width, to);
        }
        if (++at == work->length) {
            at = 0;
            ct_cursor_skip(&cursor, 1);
        }
    }
}

static bool index_is_vector(const char *operation, const ct_tensor *index) {
    if (index->ndim == 1) return true;
    char text[160];
    ct_fail(index->context, CT_ERROR_SHAPE, "%s: an index of one dimension is expected, found %s", operation,
            ct_describe(index, text, sizeof text));
    return false;
}

ct_tensor *ct_raw_index_select(ct_tensor *x, int axis, ct_tensor *index) {
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    if (!ct_operands_ready("index_select", 2, (const ct_tensor *const[]){x, index}) ||
        (axis = ct_axis(x, axis, "index_select")) < 0 || !index_is_vector("index_select", index))
        return ct_inert(context, dtype, 0, NULL);
    int64_t shape[CT_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++)
        shape[i] = i == axis ? index->count : x->shape[i];
    ct_scope scope = ct_scope_open(context);
    ct_tensor *plain = index_ready("index_select", index, x->shape[axis]);
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, x->ndim, shape);
    if (plain && !ct_is_meta(y) && y->count > 0) {
        select_work work = {.index = ct_pointer(plain), .y = ct_pointer(y), .length = index->count};
        int inner = x->ndim - axis - 1;
        work.axis_stride = x->stride[axis];
        work.width = ct_shape_count(inner, x->shape + axis + 1);
        ct_operand_make(&work.outer, ct_pointer(x), dtype, axis, x->shape, x->stride);
        ct_operand_make(&work.inner, NULL, dtype, inner, x->shape + axis + 1, x->stride + axis + 1);
        work.plain = work.inner.ndim == 1 && work.inner.stride[0] == 1;
        int64_t piece = CT_CHUNK / work.width > 0 ? CT_CHUNK / work.width : 1;
        ct_parallel_ranges(context, y->count / work.width, piece, select_rows, &work);
    }
    return ct_scope_return(context, scope, y);
}

/* ---------------------------------------------------------------------------------------------- index_add */

#define ADD_COLUMNS 64
#define ADD_BANDS 4 /* of rows of the target, where there are few columns */

typedef struct add_work {
    ct_operand outer;
    ct_dtype dtype;
    const int64_t *index;
    const char *values; /* [outer, length, width] */
    int64_t length, width, size, axis_stride, blocks, bands;
} add_work;

static void add_integers(const add_work *work, int64_t columns, const int64_t *x, int64_t *table,
                         int64_t first, int64_t last) {
    for (int64_t i = 0; i < work->length; i++) {
        if (work->index[i] < first || work->index[i] >= last) continue;
        uint64_t *row = (uint64_t *)table + work->index[i] * work->axis_stride;
        for (int64_t c = 0; c < columns; c++)
            row[c] += (uint64_t)x[i * work->width + c];
    }
}

/* Index: [outer, block of columns, band of rows]. */
static void add_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const add_work *work = user;
    int64_t band = index % work->bands, column = index / work->bands % work->blocks * ADD_COLUMNS;
    int64_t outer = index / work->bands / work->blocks, size = work->outer.size;
    int64_t columns = work->width - column < ADD_COLUMNS ? work->width - column : ADD_COLUMNS;
    int64_t first = work->size * band / work->bands, last = work->size * (band + 1) / work->bands;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, outer);
    void *table = ct_cursor_address(&cursor) + column * size;
    const void *x = work->values + (outer * work->length * work->width + column) * size;
    if (work->dtype == CT_F32)
        ct_cpu_kernels()->f32.scatter_add_rows(work->length, columns, x, work->width, work->index, table,
                                               work->axis_stride, first, last);
    else if (work->dtype == CT_F64)
        ct_cpu_kernels()->f64.scatter_add_rows(work->length, columns, x, work->width, work->index, table,
                                               work->axis_stride, first, last);
    else
        add_integers(work, columns, x, table, first, last);
}

/* f32, f64 or i64, with the axes after `axis` contiguous; index contiguous i64. */
static ct_status add_run(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values) {
    ct_context *context = target->context;
    values = values_ready(target, values);
    if (ct_failed(context)) return ct_context_status(context);
    add_work work = {
        .dtype = (ct_dtype)target->dtype, .index = ct_pointer(index), .values = ct_pointer(values)};
    work.length = index->count;
    work.width = ct_shape_count(target->ndim - axis - 1, target->shape + axis + 1);
    work.size = target->shape[axis];
    work.axis_stride = target->stride[axis];
    ct_operand_make(&work.outer, ct_pointer(target), work.dtype, axis, target->shape, target->stride);
    work.blocks = (work.width + ADD_COLUMNS - 1) / ADD_COLUMNS;
    int64_t outer = ct_shape_count(axis, target->shape);
    work.bands =
        outer * work.blocks < 8 && work.size >= ADD_BANDS && values->count > CT_CHUNK ? ADD_BANDS : 1;
    int64_t pieces = outer * work.blocks * work.bands;
    if (values->count <= CT_CHUNK) {
        for (int64_t i = 0; i < pieces; i++)
            add_piece(&work, i, 0);
    } else {
        ct_parallel_for(context, pieces, add_piece, &work);
    }
    return ct_context_status(context);
}

static bool rows_plain(const ct_tensor *t, int axis) {
    int64_t expected = 1;
    for (int i = t->ndim - 1; i > axis; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

ct_status ct_raw_index_add(ct_tensor *target, int axis, ct_tensor *index, ct_tensor *values) {
    ct_context *context = target->context;
    if (!ct_operands_ready("index_add", 3, (const ct_tensor *const[]){target, index, values}) ||
        !ct_target_ready("index_add", target) || (axis = ct_axis(target, axis, "index_add")) < 0 ||
        !index_is_vector("index_add", index))
        return ct_context_status(context);
    bool fits = values->ndim == target->ndim;
    for (int i = 0; fits && i < target->ndim; i++)
        fits = values->shape[i] == (i == axis ? index->count : target->shape[i]);
    if (!fits) {
        char a[160], b[160];
        return ct_fail(context, CT_ERROR_SHAPE,
                       "index_add: values %s do not fit %lld indices along axis %d of %s",
                       ct_describe(values, a, sizeof a), (long long)index->count, axis,
                       ct_describe(target, b, sizeof b));
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *plain = index_ready("index_add", index, target->shape[axis]);
    ct_status status = ct_context_status(context);
    if (plain && !ct_is_meta(target) && values->count > 0) {
        ct_dtype compute = ct_compute_type((ct_dtype)target->dtype);
        if ((ct_dtype)target->dtype != compute || !rows_plain(target, axis))
            status = through_copy(target, compute, axis, plain, values, add_run);
        else
            status = add_run(target, axis, plain, values);
    }
    ct_scope_close(context, scope);
    return status;
}
