/* raw_reduce.c - sums, maxima, minima, sums of squares and log-sum-exp over any axes; gradients of
 * broadcasting.
 *
 * A reduction runs in stages, each of which removes the innermost group of reduced axes: rows (the group is
 * last; see reduce_rows.h) or columns (a kept group is last). Columns are added in the order of the rows
 * within chunks of CT_COLUMN_ROWS, the chunks' results by a further stage. Which stages there are, and their
 * order of additions, follows from the shape without its axes of size 1, never from strides, threads, or kept
 * axes. */
#include "tensor/reduce_rows.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"
#include <math.h>

#define COLUMN_BLOCK 512

/* --------------------------------------------------------------------------------------- the column stage */

typedef struct column_work {
    ct_reduce kernel;
    ct_dtype compute;
    ct_operand outer, rows, columns;
    bool plain; /* columns are an array of the compute type, rows one stride apart */
    int64_t row_count, column_count, chunks, blocks;
    char *out; /* [outer, chunks, column_count] of the compute type */
} column_work;

static void column_kernel(const column_work *work, int64_t rows, int64_t columns, const void *x,
                          int64_t stride, void *y, bool accumulate) {
    const ct_kernels *kernels = ct_cpu_kernels();
    if (work->compute == CT_F32)
        kernels->f32.column_reduce(work->kernel, rows, columns, x, stride, y, accumulate);
    else
        kernels->f64.column_reduce(work->kernel, rows, columns, x, stride, y, accumulate);
}

/* Index: [outer, chunk of rows, block of columns]. */
static void column_piece(void *user, int64_t index, int worker) {
    (void)worker;
    const column_work *work = user;
    int64_t size = (int64_t)ct_dtype_size(work->compute);
    int64_t column = index % work->blocks * COLUMN_BLOCK, rest = index / work->blocks;
    int64_t row = rest % work->chunks * CT_COLUMN_ROWS;
    int64_t columns = work->column_count - column, rows = work->row_count - row;
    if (columns > COLUMN_BLOCK) columns = COLUMN_BLOCK;
    if (rows > CT_COLUMN_ROWS) rows = CT_COLUMN_ROWS;
    char *out = work->out + (rest * work->column_count + column) * size;
    ct_cursor outer, along;
    ct_cursor_seek(&outer, &work->outer, rest / work->chunks);
    ct_cursor_seek(&along, &work->rows, row);
    char *base = ct_cursor_address(&outer);
    if (work->plain) {
        base += (along.offset + column) * size;
        column_kernel(work, rows, columns, base, work->rows.stride[0], out, false);
        return;
    }
    double tile[COLUMN_BLOCK], raw[COLUMN_BLOCK];
    for (int64_t r = 0; r < rows; r++) {
        ct_operand line = work->columns;
        ct_cursor across;
        line.data = base + along.offset * line.size;
        ct_cursor_seek(&across, &line, column);
        bool same = line.dtype == work->compute;
        ct_cursor_read(&across, columns, same ? tile : raw);
        if (!same) ct_cpu_kernels()->convert(columns, line.dtype, raw, work->compute, tile);
        column_kernel(work, 1, columns, tile, columns, out, r > 0);
        ct_cursor_skip(&along, 1);
    }
}

/* The last `kept` axes stay, the `inner` reduced ones before them go. */
static ct_status reduce_columns(ct_context *context, ct_reduce kernel, const ct_reduction *x, int kept,
                                int inner, int64_t chunks, void *out) {
    int outer = x->ndim - kept - inner;
    column_work work = {.kernel = kernel, .compute = ct_compute_type(x->dtype), .chunks = chunks, .out = out};
    ct_operand_make(&work.outer, x->data, x->dtype, outer, x->shape, x->stride);
    ct_operand_make(&work.rows, x->data, x->dtype, inner, x->shape + outer, x->stride + outer);
    ct_operand_make(&work.columns, x->data, x->dtype, kept, x->shape + outer + inner,
                    x->stride + outer + inner);
    work.row_count = ct_shape_count(inner, x->shape + outer);
    work.column_count = ct_shape_count(kept, x->shape + outer + inner);
    work.blocks = (work.column_count + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
    work.plain = x->dtype == work.compute && work.rows.ndim == 1 && work.rows.stride[0] >= 0 &&
                 work.columns.ndim == 1 && work.columns.stride[0] == 1;
    int64_t pieces = ct_shape_count(outer, x->shape) * chunks * work.blocks;
    if (ct_shape_count(x->ndim, x->shape) <= CT_CHUNK) {
        for (int64_t i = 0; i < pieces; i++)
            column_piece(&work, i, 0);
    } else {
        ct_parallel_for(context, pieces, column_piece, &work);
    }
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------------- stages */

/* One stage of a reduction of reals: what it removes and leaves. */
typedef struct stage {
    int kept, inner; /* axes of the trailing kept group and of the reduced group before it; kept 0: rows */
    int64_t chunks;
    bool last;
    ct_reduction result; /* contiguous; data not set */
} stage;

static void stage_plan(stage *plan, const ct_reduction *x) {
    int at = x->ndim;
    while (at > 0 && !x->reduced[at - 1])
        at--;
    plan->kept = x->ndim - at;
    int end = at;
    while (at > 0 && x->reduced[at - 1])
        at--;
    plan->inner = end - at;
    int64_t rows = ct_shape_count(plan->inner, x->shape + at);
    plan->chunks = plan->kept == 0 ? 1 : (rows + CT_COLUMN_ROWS - 1) / CT_COLUMN_ROWS;
    plan->last = plan->chunks == 1;
    ct_reduction *result = &plan->result;
    result->dtype = ct_compute_type(x->dtype);
    result->ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (i >= at && i < end) {
            if (i > at || plan->chunks == 1) continue;
            result->shape[result->ndim] = plan->chunks;
        } else {
            result->shape[result->ndim] = x->shape[i];
            if (x->reduced[i]) plan->last = false;
        }
        result->reduced[result->ndim++] = x->reduced[i];
    }
    ct_contiguous_strides(result->ndim, result->shape, result->stride);
}

/* Reduces reals in stages; `out` is of the compute type. */
static ct_status reduce_in_stages(ct_context *context, ct_reduce_op op, ct_reduction *x, void *out) {
    void *owned = NULL; /* the result of the stage before */
    ct_status status = CT_OK;
    for (bool done = false; status == CT_OK && !done;) {
        static const ct_reduce kernels[] = {[CT_REDUCE_SUM_OP] = CT_KERNEL_REDUCE_SUM,
                                            [CT_REDUCE_MAX_OP] = CT_REDUCE_MAX,
                                            [CT_REDUCE_MIN_OP] = CT_REDUCE_MIN,
                                            [CT_REDUCE_SQUARES_OP] = CT_REDUCE_SUM_SQUARES};
        stage plan;
        stage_plan(&plan, x);
        ct_reduction *result = &plan.result;
        done = plan.last;
        size_t bytes = (size_t)ct_shape_count(result->ndim, result->shape) * ct_dtype_size(result->dtype);
        result->data = done ? out : ct_alloc(context, bytes, CT_MEMORY_WORKSPACE);
        if (!result->data)
            status = CT_ERROR_MEMORY;
        else if (plan.kept == 0)
            status = ct_reduce_rows(context, op, x, plan.inner, result->data);
        else
            status =
                reduce_columns(context, kernels[op], x, plan.kept, plan.inner, plan.chunks, result->data);
        ct_free(context, owned);
        owned = done ? NULL : result->data;
        *x = *result;
        if (op == CT_REDUCE_SQUARES_OP) op = CT_REDUCE_SUM_OP;
    }
    ct_free(context, owned);
    return status;
}

/* Reduced axes to the end, so that there is one stage of rows. */
static int kept_first(ct_reduction *x) {
    ct_reduction sorted = *x;
    int at = 0, inner = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < x->ndim; i++) {
            if (x->reduced[i] != (pass == 1)) continue;
            sorted.shape[at] = x->shape[i];
            sorted.stride[at] = x->stride[i];
            sorted.reduced[at++] = pass == 1;
            inner += pass;
        }
    *x = sorted;
    return inner;
}

/* ------------------------------------------------------------------------------------------ the operation */

static const char *const reduce_names[] = {[CT_REDUCE_SUM_OP] = "sum",
                                           [CT_REDUCE_MAX_OP] = "max",
                                           [CT_REDUCE_MIN_OP] = "min",
                                           [CT_REDUCE_SQUARES_OP] = "sum of squares",
                                           [CT_REDUCE_LOGSUMEXP_OP] = "logsumexp"};

static ct_dtype reduced_type(ct_reduce_op op, ct_dtype dtype) {
    if (ct_dtype_is_float(dtype) || op == CT_REDUCE_MAX_OP || op == CT_REDUCE_MIN_OP) return dtype;
    return CT_I64;
}

static void reduction_make(ct_reduction *r, const ct_tensor *x, unsigned axes) {
    r->data = ct_pointer(x);
    r->dtype = (ct_dtype)x->dtype;
    r->ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (x->shape[i] == 1) continue;
        r->shape[r->ndim] = x->shape[i];
        r->stride[r->ndim] = x->stride[i];
        r->reduced[r->ndim++] = axes >> i & 1;
    }
}

/* Fills `y`, which is on the CPU, from an x with elements. */
static ct_status reduce_into(ct_reduce_op op, ct_tensor *x, unsigned axes, ct_tensor *y) {
    ct_context *context = x->context;
    ct_reduction r;
    reduction_make(&r, x, axes);
    ct_dtype compute = ct_compute_type(r.dtype);
    if (r.ndim == 0) { /* one element */
        r.ndim = 1;
        r.shape[0] = r.stride[0] = 1;
        r.reduced[0] = true;
    }
    void *out = ct_pointer(y), *buffer = NULL;
    if ((ct_dtype)y->dtype != compute) {
        out = buffer = ct_alloc(context, (size_t)y->count * ct_dtype_size(compute), CT_MEMORY_WORKSPACE);
        if (!buffer) return CT_ERROR_MEMORY;
    }
    bool none = true;
    for (int i = 0; i < r.ndim; i++)
        none = none && !r.reduced[i];
    ct_status status;
    if (compute == CT_I64 || op == CT_REDUCE_LOGSUMEXP_OP || none) {
        int inner = none ? 0 : kept_first(&r);
        status = ct_reduce_rows(context, op, &r, inner, out);
    } else {
        status = reduce_in_stages(context, op, &r, out);
    }
    if (buffer && status == CT_OK)
        ct_cpu_kernels()->convert(y->count, compute, buffer, (ct_dtype)y->dtype, ct_pointer(y));
    ct_free(context, buffer);
    return status;
}

/* The reduction with the result in any shape of as many elements. */
static ct_tensor *reduce_shaped(ct_reduce_op op, ct_tensor *x, unsigned axes, ct_dtype dtype, int ndim,
                                const int64_t *shape) {
    ct_context *context = x->context;
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, ndim, shape);
    if (y->count == 0) return y;
    if (x->count == 0 && (op == CT_REDUCE_MAX_OP || op == CT_REDUCE_MIN_OP)) {
        char text[160];
        ct_fail(context, CT_ERROR_SHAPE, "%s: %s has no elements along the reduced axes", reduce_names[op],
                ct_describe(x, text, sizeof text));
        return ct_inert(context, dtype, ndim, shape);
    }
    ct_scope scope = ct_scope_open(context);
    if (ct_strides_across(x)) x = ct_raw_contiguous(x);
    ct_status status = ct_context_status(context);
    if (status == CT_OK && !ct_is_meta(y))
        status =
            x->count ? reduce_into(op, x, axes, y) : ct_fill(y, op == CT_REDUCE_LOGSUMEXP_OP ? -INFINITY : 0);
    ct_scope_close(context, scope);
    return status == CT_OK ? y : ct_inert(context, dtype, ndim, shape);
}

ct_tensor *ct_raw_reduce(ct_reduce_op op, ct_tensor *x, unsigned axes, bool keep) {
    int64_t shape[CT_MAX_DIMS];
    int ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (!(axes >> i & 1))
            shape[ndim++] = x->shape[i];
        else if (keep)
            shape[ndim++] = 1;
    }
    ct_dtype dtype = reduced_type(op, (ct_dtype)x->dtype);
    if (!ct_operands_ready(reduce_names[op], 1, (const ct_tensor *const[]){x}))
        return ct_inert(x->context, dtype, ndim, shape);
    if (axes >> x->ndim) {
        ct_fail(x->context, CT_ERROR_SHAPE,
                "%s: the axes (bits %#x) are not all axes of a tensor of %d dimensions", reduce_names[op],
                axes, x->ndim);
        return ct_inert(x->context, dtype, ndim, shape);
    }
    if (op == CT_REDUCE_LOGSUMEXP_OP && !ct_dtype_is_float((ct_dtype)x->dtype)) {
        ct_fail(x->context, CT_ERROR_TYPE, "logsumexp: a floating-point tensor is expected, found %s",
                ct_dtype_name((ct_dtype)x->dtype));
        return ct_inert(x->context, dtype, ndim, shape);
    }
    return reduce_shaped(op, x, axes, dtype, ndim, shape);
}

ct_tensor *ct_raw_sum_to(ct_tensor *x, int ndim, const int64_t *shape) {
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    int missing = x->ndim - ndim;
    unsigned axes = (1u << (missing > 0 ? missing : 0)) - 1;
    bool fits = missing >= 0;
    for (int i = 0; fits && i < ndim; i++) {
        if (shape[i] == x->shape[i + missing]) continue;
        fits = shape[i] == 1;
        axes |= 1u << (i + missing);
    }
    if (fits && missing == 0 && axes == 0) return x;
    if (!ct_operands_ready("sum_to", 1, (const ct_tensor *const[]){x}))
        return ct_inert(context, dtype, ndim, shape);
    if (!fits) {
        char from[160];
        ct_tensor to = {.context = context, .dtype = x->dtype, .ndim = (uint8_t)ndim};
        char text[160];
        for (int i = 0; i < ndim; i++)
            to.shape[i] = shape[i];
        ct_fail(context, CT_ERROR_SHAPE, "sum_to: %s does not broadcast to %s",
                ct_describe(&to, text, sizeof text), ct_describe(x, from, sizeof from));
        return ct_inert(context, dtype, ndim, shape);
    }
    ct_tensor *sum =
        reduce_shaped(CT_REDUCE_SUM_OP, x, axes, reduced_type(CT_REDUCE_SUM_OP, dtype), ndim, shape);
    return sum->dtype == x->dtype ? sum : ct_raw_cast(sum, dtype);
}
