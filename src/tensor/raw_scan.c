/* raw_scan.c - the position of the greatest or least element, and cumulative sums, along one axis. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include <math.h>

/* The shape without (or with 1 for) an axis. */
static int shape_without(const ct_tensor *x, int axis, bool keep, int64_t *shape) {
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (i != axis)
            shape[ndim++] = x->shape[i];
        else if (keep)
            shape[ndim++] = 1;
    }
    return ndim;
}

/* ------------------------------------------------------------------------------------------------- argmax */

typedef struct argmax_work {
    ct_operand outer, inner;
    ct_dtype compute;
    int64_t length;
    bool plain, minimum;
    int64_t *out;
} argmax_work;

static int64_t argmax_array(const argmax_work *work, int64_t n, const void *x) {
    const ct_kernels *kernels = ct_cpu_kernels();
    if (work->compute == CT_F32) return work->minimum ? kernels->f32.argmin(n, x) : kernels->f32.argmax(n, x);
    if (work->compute == CT_F64) return work->minimum ? kernels->f64.argmin(n, x) : kernels->f64.argmax(n, x);
    const int64_t *values = x;
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (work->minimum ? values[i] < values[best] : values[i] > values[best]) best = i;
    return best;
}

/* Whether value i of `x` goes before the best so far. */
static bool better(const argmax_work *work, const void *x, int64_t i, const void *best) {
    if (work->compute == CT_I64) {
        int64_t value = ((const int64_t *)x)[i], held = *(const int64_t *)best;
        return work->minimum ? value < held : value > held;
    }
    double value, held;
    if (work->compute == CT_F32) {
        value = ((const float *)x)[i];
        held = *(const float *)best;
    } else {
        value = ((const double *)x)[i];
        held = *(const double *)best;
    }
    if (isnan(held)) return false;
    return isnan(value) || (work->minimum ? value < held : value > held);
}

static int64_t argmax_row(const argmax_work *work, char *address) {
    if (work->plain) return argmax_array(work, work->length, address);
    double tile[CT_TILE], raw[CT_TILE], best = 0;
    int64_t place = -1, size = (int64_t)ct_dtype_size(work->compute);
    ct_operand row = work->inner;
    row.data = address;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &row, 0);
    for (int64_t first = 0; first < work->length; first += CT_TILE) {
        int64_t n = work->length - first < CT_TILE ? work->length - first : CT_TILE;
        bool same = row.dtype == work->compute;
        ct_cursor_read(&cursor, n, same ? tile : raw);
        if (!same) ct_cpu_kernels()->convert(n, row.dtype, raw, work->compute, tile);
        int64_t here = argmax_array(work, n, tile);
        if (place >= 0 && !better(work, tile, here, &best)) continue;
        memcpy(&best, (const char *)tile + here * size, (size_t)size);
        place = first + here;
    }
    return place;
}

static void argmax_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const argmax_work *work = user;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->outer, first);
    for (int64_t row = first; row < last; row++) {
        work->out[row] = argmax_row(work, ct_cursor_address(&cursor));
        ct_cursor_skip(&cursor, 1);
    }
}

ct_tensor *ct_raw_argmax(ct_tensor *x, int axis, bool keep, bool minimum) {
    const char *name = minimum ? "argmin" : "argmax";
    ct_context *context = x->context;
    if (!ct_operands_ready(name, 1, (const ct_tensor *const[]){x})) return ct_inert(context, CT_I64, 0, NULL);
    axis = ct_axis(x, axis, name);
    if (axis < 0) return ct_inert(context, CT_I64, 0, NULL);
    int64_t shape[CT_MAX_DIMS], rest[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    int ndim = shape_without(x, axis, keep, shape), others = shape_without(x, axis, false, rest);
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, CT_I64, ndim, shape);
    if (y->count == 0) return y;
    if (x->shape[axis] == 0) {
        ct_fail(context, CT_ERROR_SHAPE, "%s: axis %d has no elements", name, axis);
        return ct_inert(context, CT_I64, ndim, shape);
    }
    if (ct_is_meta(y)) return y;
    for (int i = 0; i < others; i++)
        stride[i] = x->stride[i < axis ? i : i + 1];
    argmax_work work = {.compute = ct_compute_type((ct_dtype)x->dtype),
                        .length = x->shape[axis],
                        .minimum = minimum,
                        .out = ct_pointer(y)};
    ct_operand_make(&work.outer, ct_pointer(x), (ct_dtype)x->dtype, others, rest, stride);
    ct_operand_make(&work.inner, NULL, (ct_dtype)x->dtype, 1, &x->shape[axis], &x->stride[axis]);
    work.plain = (ct_dtype)x->dtype == work.compute && work.inner.stride[0] == 1;
    int64_t piece = CT_CHUNK / work.length > 0 ? CT_CHUNK / work.length : 1;
    ct_parallel_ranges(context, y->count, piece, argmax_rows, &work);
    return y;
}

/* ------------------------------------------------------------------------------------------------- cumsum */

#define SCAN_COLUMNS 256

typedef struct scan_work {
    const char *x; /* [outer, length, inner], row-major */
    char *y;
    ct_dtype from, to;
    int64_t length, inner, blocks;
    bool reverse;
} scan_work;

/* Index: [outer, block of columns]. Reals are added in f64, integers in i64. */
static void scan_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const scan_work *work = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t column = index % work->blocks * SCAN_COLUMNS, outer = index / work->blocks;
    int64_t n = work->inner - column < SCAN_COLUMNS ? work->inner - column : SCAN_COLUMNS;
    bool integer = work->to == CT_I64;
    int64_t from_size = (int64_t)ct_dtype_size(work->from), to_size = (int64_t)ct_dtype_size(work->to);
    union {
        double real[SCAN_COLUMNS];
        int64_t integer[SCAN_COLUMNS];
    } sum, next;
    memset(&sum, 0, sizeof sum);
    for (int64_t i = 0; i < work->length; i++) {
        int64_t at =
            (outer * work->length + (work->reverse ? work->length - 1 - i : i)) * work->inner + column;
        kernels->convert(n, work->from, work->x + at * from_size, integer ? CT_I64 : CT_F64, &next);
        for (int64_t c = 0; c < n; c++) {
            if (integer)
                sum.integer[c] = (int64_t)((uint64_t)sum.integer[c] + (uint64_t)next.integer[c]);
            else
                sum.real[c] += next.real[c];
        }
        kernels->convert(n, integer ? CT_I64 : CT_F64, &sum, work->to, work->y + at * to_size);
    }
}

/* Rows: the conversions run along them in tiles. */
static void scan_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const scan_work *work = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    bool integer = work->to == CT_I64;
    int64_t from_size = (int64_t)ct_dtype_size(work->from), to_size = (int64_t)ct_dtype_size(work->to);
    union {
        double real[CT_TILE];
        int64_t integer[CT_TILE];
    } tile;
    for (int64_t row = first; row < last; row++) {
        double real = 0;
        uint64_t whole = 0;
        for (int64_t done = 0; done < work->length; done += CT_TILE) {
            int64_t n = work->length - done < CT_TILE ? work->length - done : CT_TILE;
            int64_t at = row * work->length + (work->reverse ? work->length - done - n : done);
            kernels->convert(n, work->from, work->x + at * from_size, integer ? CT_I64 : CT_F64, &tile);
            for (int64_t i = 0; i < n; i++) {
                int64_t place = work->reverse ? n - 1 - i : i;
                if (integer)
                    tile.integer[place] = (int64_t)(whole += (uint64_t)tile.integer[place]);
                else
                    tile.real[place] = real += tile.real[place];
            }
            kernels->convert(n, integer ? CT_I64 : CT_F64, &tile, work->to, work->y + at * to_size);
        }
    }
}

ct_tensor *ct_raw_cumsum(ct_tensor *x, int axis, bool reverse) {
    ct_context *context = x->context;
    ct_dtype dtype = ct_dtype_is_float((ct_dtype)x->dtype) ? (ct_dtype)x->dtype : CT_I64;
    if (!ct_operands_ready("cumsum", 1, (const ct_tensor *const[]){x}))
        return ct_inert(context, dtype, x->ndim, x->shape);
    axis = ct_axis(x, axis, "cumsum");
    if (axis < 0) return ct_inert(context, dtype, x->ndim, x->shape);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *source = ct_raw_contiguous(x);
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, x->ndim, x->shape);
    if (!ct_is_meta(y) && !ct_is_meta(source) && y->count > 0) {
        scan_work work = {
            .x = ct_pointer(source), .y = ct_pointer(y), .from = (ct_dtype)x->dtype, .to = dtype};
        work.length = x->shape[axis];
        work.inner = ct_shape_count(x->ndim - axis - 1, x->shape + axis + 1);
        work.blocks = (work.inner + SCAN_COLUMNS - 1) / SCAN_COLUMNS;
        work.reverse = reverse;
        int64_t outer = y->count / work.length / work.inner;
        int64_t piece = CT_CHUNK / work.length > 0 ? CT_CHUNK / work.length : 1;
        if (work.inner == 1)
            ct_parallel_ranges(context, outer, piece, scan_rows, &work);
        else
            ct_parallel_for(context, outer * work.blocks, scan_piece, &work);
    }
    return ct_scope_return(context, scope, y);
}
