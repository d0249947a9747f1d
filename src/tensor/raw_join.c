/* raw_join.c - concatenation, reversal and triangles: copies to and from views. */
#include "tensor/raw.h"
#include "tensor/iterate.h"

/* A view on the stack; it holds no reference and must not outlive `t`. */
static ct_tensor view_of(const ct_tensor *t) {
    ct_tensor view = *t;
    view.node = NULL;
    return view;
}

static bool parts_fit(ct_tensor *const *parts, int count, int axis) {
    for (int p = 1; p < count; p++) {
        bool fits = parts[p]->ndim == parts[0]->ndim;
        for (int i = 0; fits && i < parts[0]->ndim; i++)
            fits = i == axis || parts[p]->shape[i] == parts[0]->shape[i];
        if (fits) continue;
        char a[160], b[160];
        ct_fail(parts[0]->context, CT_ERROR_SHAPE,
                "concat: part %d, %s, does not fit part 0, %s, along axis %d", p,
                ct_describe(parts[p], a, sizeof a), ct_describe(parts[0], b, sizeof b), axis);
        return false;
    }
    return true;
}

ct_tensor *ct_raw_concat(ct_tensor *const *parts, int count, int axis) {
    ct_context *context = parts[0]->context;
    ct_dtype dtype = (ct_dtype)parts[0]->dtype;
    if (!ct_operands_ready("concat", count, (const ct_tensor *const *)parts) ||
        (axis = ct_axis(parts[0], axis, "concat")) < 0 || !parts_fit(parts, count, axis))
        return ct_inert(context, dtype, 0, NULL);
    int64_t shape[CT_MAX_DIMS];
    for (int i = 0; i < parts[0]->ndim; i++)
        shape[i] = parts[0]->shape[i];
    for (int p = 1; p < count; p++) {
        dtype = ct_promote(dtype, (ct_dtype)parts[p]->dtype);
        if (__builtin_add_overflow(shape[axis], parts[p]->shape[axis], &shape[axis])) {
            ct_fail(context, CT_ERROR_SHAPE, "concat: the sizes along axis %d add up to too much", axis);
            return ct_inert(context, dtype, 0, NULL);
        }
    }
    ct_tensor *y =
        ct_empty_on(context, ct_is_meta(parts[0]) ? CT_META : CT_CPU, dtype, parts[0]->ndim, shape);
    if (ct_is_meta(y)) return y;
    ct_tensor view = view_of(y);
    for (int p = 0; p < count; p++) {
        view.shape[axis] = parts[p]->shape[axis];
        view.count = parts[p]->count;
        if (view.count == 0) continue;
        ct_raw_copy(&view, parts[p]);
        view.offset += view.shape[axis] * view.stride[axis];
    }
    return y;
}

ct_tensor *ct_raw_flip(ct_tensor *x, unsigned axes) {
    ct_context *context = x->context;
    if (!ct_operands_ready("flip", 1, (const ct_tensor *const[]){x}))
        return ct_inert(context, (ct_dtype)x->dtype, x->ndim, x->shape);
    if (axes >> x->ndim) {
        ct_fail(context, CT_ERROR_SHAPE,
                "flip: the axes (bits %#x) are not all axes of a tensor of %d dimensions", axes, x->ndim);
        return ct_inert(context, (ct_dtype)x->dtype, x->ndim, x->shape);
    }
    ct_device device = ct_is_meta(x) ? CT_META : CT_CPU;
    ct_tensor *y = ct_empty_on(context, device, (ct_dtype)x->dtype, x->ndim, x->shape);
    if (ct_is_meta(y) || y->count == 0) return y;
    ct_tensor view = view_of(x);
    for (int i = 0; i < x->ndim; i++) {
        if (!(axes >> i & 1)) continue;
        view.offset += (view.shape[i] - 1) * view.stride[i];
        view.stride[i] = -view.stride[i];
    }
    ct_raw_copy(y, &view);
    return y;
}

typedef struct triangle_work {
    char *data;
    int64_t rows, columns, diagonal;
    size_t size;
    bool upper;
} triangle_work;

/* Rows of [matrices, rows]. */
static void triangle_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const triangle_work *work = user;
    for (int64_t row = first; row < last; row++) {
        /* Column c of row r stays where c - r <= diagonal (lower) or >= diagonal (upper). */
        int64_t edge = row % work->rows + work->diagonal + (work->upper ? 0 : 1);
        edge = edge < 0 ? 0 : edge > work->columns ? work->columns : edge;
        int64_t from = work->upper ? 0 : edge, to = work->upper ? edge : work->columns;
        char *begin = work->data + (size_t)(row * work->columns + from) * work->size;
        memset(begin, 0, (size_t)(to - from) * work->size);
    }
}

ct_tensor *ct_raw_triangle(ct_tensor *x, int64_t diagonal, bool upper) {
    const char *name = upper ? "triu" : "tril";
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    if (!ct_operands_ready(name, 1, (const ct_tensor *const[]){x}))
        return ct_inert(context, dtype, x->ndim, x->shape);
    if (x->ndim < 2) {
        char text[160];
        ct_fail(context, CT_ERROR_SHAPE, "%s: matrices are expected, found %s", name,
                ct_describe(x, text, sizeof text));
        return ct_inert(context, dtype, x->ndim, x->shape);
    }
    ct_tensor *y = ct_raw_cast(x, dtype);
    if (ct_is_meta(y) || y->count == 0) return y;
    triangle_work work = {.data = ct_pointer(y), .size = ct_dtype_size(dtype), .upper = upper};
    work.rows = x->shape[x->ndim - 2];
    work.columns = x->shape[x->ndim - 1];
    work.diagonal = diagonal < -work.rows ? -work.rows : diagonal > work.columns ? work.columns : diagonal;
    int64_t piece = CT_CHUNK / work.columns > 0 ? CT_CHUNK / work.columns : 1;
    ct_parallel_ranges(context, y->count / work.columns, piece, triangle_rows, &work);
    return y;
}
