/* raw_softmax.c - softmax and log softmax over the last axis, and their gradients. Rows are cut into tasks by
 * shape; bf16 and f16 rows are widened in a worker's scratch. */
#include "tensor/raw_rows.h"

typedef struct softmax_work {
    ct_context *context;
    int64_t rows, columns, rows_per_task;
    ct_dtype dtype;
    bool logarithm;
    const void *x, *gradient; /* backward: x is the result of the forward pass */
    void *y;
} softmax_work;

static void forward_rows(const softmax_work *w, int64_t rows, const void *x, void *y) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->columns;
    if (w->dtype == CT_F64)
        (w->logarithm ? kernels->f64.log_softmax : kernels->f64.softmax)(rows, n, x, n, y, n);
    else
        (w->logarithm ? kernels->f32.log_softmax : kernels->f32.softmax)(rows, n, x, n, y, n);
}

static void backward_rows(const softmax_work *w, int64_t rows, const void *y, const void *gradient,
                          void *dx) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->columns;
    if (w->dtype == CT_F64)
        (w->logarithm ? kernels->f64.log_softmax_backward
                      : kernels->f64.softmax_backward)(rows, n, y, n, gradient, n, dx, n);
    else
        (w->logarithm ? kernels->f32.log_softmax_backward
                      : kernels->f32.softmax_backward)(rows, n, y, n, gradient, n, dx, n);
}

static void softmax_task(void *user, int64_t index, int worker) {
    const softmax_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index * w->rows_per_task, rows = ct_least(w->rows_per_task, w->rows - first);
    int64_t start = first * w->columns, count = rows * w->columns;
    const void *x = ct_at(w->x, w->dtype, start);
    const void *gradient = w->gradient ? ct_at(w->gradient, w->dtype, start) : NULL;
    void *y = ct_at(w->y, w->dtype, start);
    bool wide = w->dtype == CT_F32 || w->dtype == CT_F64;
    float *scratch = wide ? NULL : ct_scratch(w->context, worker);
    if (!wide) {
        kernels->convert(count, w->dtype, x, CT_F32, scratch);
        x = scratch;
        if (gradient) kernels->convert(count, w->dtype, gradient, CT_F32, scratch + count);
        gradient = gradient ? scratch + count : NULL;
    }
    void *out = wide ? y : scratch;
    if (gradient)
        backward_rows(w, rows, x, gradient, out);
    else
        forward_rows(w, rows, x, out);
    if (!wide) kernels->convert(count, CT_F32, scratch, w->dtype, y);
}

/* Runs over the contiguous `x` (and `gradient`) into a new tensor. */
static ct_tensor *softmax_run(ct_tensor *x, ct_tensor *gradient, bool logarithm) {
    ct_context *context = x->context;
    ct_tensor *y = ct_empty_on(context, ct_device_of(x), (ct_dtype)x->dtype, x->ndim, x->shape);
    softmax_work w = {
        .context = context, .rows = ct_row_count(x), .columns = ct_last(x), .logarithm = logarithm};
    w.dtype = (ct_dtype)x->dtype;
    w.rows_per_task = ct_rows_per_task(w.columns);
    if (w.dtype == CT_BF16 || w.dtype == CT_F16) {
        size_t elements = (size_t)(ct_least(w.rows_per_task, w.rows) * w.columns);
        ct_scratch_reserve(context, elements * sizeof(float) * (gradient ? 2 : 1));
    }
    if (ct_failed(context) || ct_is_meta(y) || y->count == 0) return y;
    w.x = ct_pointer(x);
    w.gradient = gradient ? ct_pointer(gradient) : NULL;
    w.y = ct_pointer(y);
    ct_parallel_for(context, ct_ceil_div(w.rows, w.rows_per_task), softmax_task, &w);
    return y;
}

static bool has_axis(const ct_tensor *x, const char *operation) {
    if (x->ndim > 0) return true;
    ct_fail(x->context, CT_ERROR_SHAPE, "%s: a scalar has no axis to work along", operation);
    return false;
}

ct_tensor *ct_raw_softmax(ct_tensor *x, bool logarithm) {
    ct_context *context = x->context;
    const char *operation = logarithm ? "log_softmax" : "softmax";
    if (ct_stop_op(context) || !has_axis(x, operation) || !ct_require_float(x, operation, "x"))
        return ct_inert(context, (ct_dtype)x->dtype, x->ndim, x->shape);
    ct_scope scope = ct_scope_open(context);
    return ct_scope_return(context, scope, softmax_run(ct_raw_contiguous(x), NULL, logarithm));
}

ct_tensor *ct_raw_softmax_backward(ct_tensor *y, ct_tensor *gradient, bool logarithm) {
    ct_context *context = y->context;
    const char *operation = logarithm ? "log_softmax backward" : "softmax backward";
    if (ct_stop_op(context) || !has_axis(y, operation) || !ct_require_float(y, operation, "y"))
        return ct_inert(context, (ct_dtype)y->dtype, y->ndim, y->shape);
    if (!ct_same_shape(y, gradient)) {
        char ty[160], tg[160];
        ct_fail(context, CT_ERROR_SHAPE, "%s: gradient %s does not have the shape of %s", operation,
                ct_describe(gradient, tg, sizeof(tg)), ct_describe(y, ty, sizeof(ty)));
        return ct_inert(context, (ct_dtype)y->dtype, y->ndim, y->shape);
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *same = ct_in_dtype(gradient, (ct_dtype)y->dtype);
    return ct_scope_return(context, scope, softmax_run(ct_raw_contiguous(y), same, logarithm));
}
