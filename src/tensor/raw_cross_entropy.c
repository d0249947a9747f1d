/* raw_cross_entropy.c - cross entropy of logits with class ids or soft targets; the gradient in the same
 * pass.
 *
 * With t' = (1 - epsilon) t + epsilon / n (t one-hot or soft), row by row:
 *     loss = scale (lse(x) sum(t') - sum(t' x)),   gradient = scale (softmax(x) sum(t') - t').
 * Rows are cut into tasks by shape. */
#include "tensor/raw_rows.h"

typedef struct entropy_work {
    ct_context *context;
    int64_t rows, classes, rows_per_task, ignore;
    ct_dtype dtype, compute; /* of the logits; f32 or f64 */
    double smoothing;
    const void *logits, *scale; /* scale: [rows] of `compute`, or NULL */
    const void *soft;           /* [rows, classes] of `compute`, or NULL */
    const void *ids;            /* i64 or i32 */
    ct_dtype id_dtype;
    void *losses, *gradient; /* gradient of `dtype` or NULL */
} entropy_work;

/* A worker's scratch: ids and scales of a task's rows, then two rows of logits in f64 at most. */
static size_t scratch_bytes(const entropy_work *w) {
    size_t rows = (size_t)w->rows_per_task, classes = (size_t)w->classes;
    bool whole = w->dtype == CT_F16; /* the kernel reads f32, f64 and bf16 itself */
    return rows * 8 + 64 + rows * 8 + 64 + 2 * classes * 8 + (whole ? rows * classes * 4 : 0);
}

static void report(const entropy_work *w, int64_t row, int64_t id) {
    ct_parallel_error(
        w->context, row, CT_ERROR_ARGUMENT,
        "cross_entropy: target %lld at position %lld is not a class: expected 0 to %lld, or %lld to "
        "ignore the position",
        (long long)id, (long long)row, (long long)w->classes - 1, (long long)w->ignore);
}

/* The task's ids as i64. */
static const int64_t *ids_of(const entropy_work *w, int64_t first, int64_t rows, int64_t *buffer) {
    if (w->id_dtype == CT_I64) return (const int64_t *)w->ids + first;
    for (int64_t r = 0; r < rows; r++)
        buffer[r] = ((const int32_t *)w->ids)[first + r];
    return buffer;
}

/* The rows' scales, ones if there are none. */
static const void *scales_of(const entropy_work *w, int64_t first, void *ones) {
    if (w->scale) return ct_at(w->scale, w->compute, first);
    if (w->compute == CT_F64)
        *(double *)ones = 1;
    else
        *(float *)ones = 1;
    return ones;
}

static void scale_losses(const entropy_work *w, int64_t first, int64_t rows) {
    const ct_kernels *kernels = ct_cpu_kernels();
    if (!w->scale) return;
    void *losses = ct_at(w->losses, w->compute, first);
    const void *scale = ct_at(w->scale, w->compute, first);
    if (w->compute == CT_F64)
        kernels->f64.binary(CT_BINARY_MUL, rows, losses, 1, scale, 1, losses);
    else
        kernels->f32.binary(CT_BINARY_MUL, rows, losses, 1, scale, 1, losses);
}

static void id_task(void *user, int64_t index, int worker) {
    const entropy_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index * w->rows_per_task, rows = ct_least(w->rows_per_task, w->rows - first),
            n = w->classes;
    int64_t start = first * n, count = rows * n;
    char *scratch = ct_scratch(w->context, worker);
    int64_t id_bytes = (w->rows_per_task * 8 + 63) / 64 * 64;
    const int64_t *ids = ids_of(w, first, rows, (int64_t *)(void *)scratch);
    const void *scale = scales_of(w, first, scratch + id_bytes);
    int step = w->scale ? 1 : 0;
    const void *logits = ct_at(w->logits, w->dtype, start);
    void *gradient = w->gradient ? ct_at(w->gradient, w->dtype, start) : NULL;
    void *losses = ct_at(w->losses, w->compute, first);
    int64_t bad;
    if (w->compute == CT_F64) {
        bad = kernels->f64.cross_entropy(rows, n, CT_F64, logits, n, ids, w->ignore, w->smoothing, losses,
                                         NULL, false, scale, step, gradient, n);
    } else {
        ct_dtype dtype = w->dtype;
        void *out = gradient;
        if (dtype == CT_F16) {
            float *wide = (float *)(void *)(scratch + 2 * id_bytes);
            kernels->convert(count, CT_F16, logits, CT_F32, wide);
            logits = wide;
            out = gradient ? wide : NULL;
            dtype = CT_F32;
        }
        bad = kernels->f32.cross_entropy(rows, n, dtype, logits, n, ids, w->ignore, (float)w->smoothing,
                                         losses, NULL, false, scale, step, out, n);
        if (w->dtype == CT_F16 && gradient) kernels->convert(count, CT_F32, out, CT_F16, gradient);
    }
    if (bad >= 0)
        report(w, first + bad, ids[bad]);
    else
        scale_losses(w, first, rows);
}

/* ------------------------------------------------------------------------------------------- soft targets */

static void soft_row_f32(const entropy_work *w, const float *x, const float *t, float scale, float *loss,
                         float *gradient) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->classes;
    double keep = 1 - w->smoothing, spread = w->smoothing / (double)n;
    double sum = keep * kernels->f32.reduce(CT_REDUCE_SUM, n, t, 0) + w->smoothing;
    double dot = keep * kernels->f32.dot(n, t, x);
    if (w->smoothing != 0) dot += spread * kernels->f32.reduce(CT_REDUCE_SUM, n, x, 0);
    float lse;
    kernels->f32.logsumexp(1, n, x, n, &lse);
    *loss = (float)(scale * (lse * sum - dot));
    if (!gradient) return;
    kernels->f32.softmax(1, n, x, n, gradient, n);
    kernels->f32.axpby(n, (float)(-keep * scale), t, (float)(sum * scale), gradient);
    if (spread != 0) kernels->f32.unary(CT_UNARY_SCALE, n, gradient, gradient, 1, (float)(-spread * scale));
}

static void soft_row_f64(const entropy_work *w, const double *x, const double *t, double scale, double *loss,
                         double *gradient) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->classes;
    double keep = 1 - w->smoothing, spread = w->smoothing / (double)n, lse;
    double sum = keep * kernels->f64.reduce(CT_REDUCE_SUM, n, t, 0) + w->smoothing;
    double dot = keep * kernels->f64.dot(n, t, x);
    if (w->smoothing != 0) dot += spread * kernels->f64.reduce(CT_REDUCE_SUM, n, x, 0);
    kernels->f64.logsumexp(1, n, x, n, &lse);
    *loss = scale * (lse * sum - dot);
    if (!gradient) return;
    kernels->f64.softmax(1, n, x, n, gradient, n);
    kernels->f64.axpby(n, -keep * scale, t, sum * scale, gradient);
    if (spread != 0) kernels->f64.unary(CT_UNARY_SCALE, n, gradient, gradient, 1, -spread * scale);
}

static void soft_task(void *user, int64_t index, int worker) {
    const entropy_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index * w->rows_per_task, rows = ct_least(w->rows_per_task, w->rows - first),
            n = w->classes;
    bool narrow = w->dtype == CT_BF16 || w->dtype == CT_F16;
    float *wide = ct_scratch(w->context, worker), *result = wide + n;
    for (int64_t r = first; r < first + rows; r++) {
        const void *x = ct_at(w->logits, w->dtype, r * n), *t = ct_at(w->soft, w->compute, r * n);
        void *gradient = w->gradient ? ct_at(w->gradient, w->dtype, r * n) : NULL;
        if (w->compute == CT_F64) {
            double scale = w->scale ? ((const double *)w->scale)[r] : 1;
            soft_row_f64(w, x, t, scale, (double *)w->losses + r, gradient);
            continue;
        }
        float scale = w->scale ? ((const float *)w->scale)[r] : 1;
        if (narrow) {
            kernels->convert(n, w->dtype, x, CT_F32, wide);
            x = wide;
        }
        soft_row_f32(w, x, t, scale, (float *)w->losses + r, narrow && gradient ? result : gradient);
        if (narrow && gradient) kernels->convert(n, CT_F32, result, w->dtype, gradient);
    }
}

/* ------------------------------------------------------------------------------------------------------ */

static bool entropy_check(const ct_tensor *logits, const ct_tensor *targets, const ct_tensor *row_scale,
                          double smoothing) {
    char tl[160], tt[160];
    ct_context *context = logits->context;
    ct_describe(logits, tl, sizeof(tl));
    ct_describe(targets, tt, sizeof(tt));
    if (!ct_require_float(logits, "cross_entropy", "logits")) return false;
    bool soft = ct_dtype_is_float((ct_dtype)targets->dtype);
    if (!soft && targets->dtype != CT_I64 && targets->dtype != CT_I32)
        return ct_fail(context, CT_ERROR_TYPE,
                       "cross_entropy: targets are %s, expected class ids (i64 or i32) or float soft targets",
                       tt),
               false;
    if (logits->ndim != 2 || targets->ndim != (soft ? 2 : 1) || targets->shape[0] != logits->shape[0] ||
        (soft && targets->shape[1] != logits->shape[1]))
        return ct_fail(context, CT_ERROR_SHAPE,
                       "cross_entropy: logits %s and targets %s do not fit: expected [rows, classes] with "
                       "[rows] ids "
                       "or [rows, classes] soft targets",
                       tl, tt),
               false;
    if (logits->shape[1] == 0 && logits->shape[0] > 0)
        return ct_fail(context, CT_ERROR_SHAPE, "cross_entropy: logits %s have no classes", tl), false;
    if (row_scale && (row_scale->ndim != 1 || row_scale->shape[0] != logits->shape[0]))
        return ct_fail(context, CT_ERROR_SHAPE,
                       "cross_entropy: weights %s do not fit logits %s: expected [rows]",
                       ct_describe(row_scale, tt, sizeof(tt)), tl),
               false;
    if (!(smoothing >= 0 && smoothing <= 1))
        return ct_fail(context, CT_ERROR_ARGUMENT, "cross_entropy: label smoothing is %g, expected 0 to 1",
                       smoothing),
               false;
    return true;
}

static void entropy_run(entropy_work *w, ct_tensor *logits, ct_tensor *targets, ct_tensor *row_scale,
                        ct_tensor *losses, ct_tensor *gradient) {
    ct_context *context = w->context;
    bool soft = ct_dtype_is_float((ct_dtype)targets->dtype);
    logits = ct_raw_contiguous(logits);
    targets = soft ? ct_in_dtype(targets, w->compute) : ct_raw_contiguous(targets);
    if (row_scale) row_scale = ct_in_dtype(row_scale, w->compute);
    ct_scratch_reserve(context, scratch_bytes(w));
    if (ct_failed(context) || ct_is_meta(logits) || w->rows == 0) return;
    w->logits = ct_pointer(logits);
    w->scale = row_scale ? ct_pointer(row_scale) : NULL;
    w->losses = ct_pointer(losses);
    w->gradient = gradient ? ct_pointer(gradient) : NULL;
    w->soft = soft ? ct_pointer(targets) : NULL;
    w->ids = soft ? NULL : ct_pointer(targets);
    w->id_dtype = (ct_dtype)targets->dtype;
    ct_parallel_for(context, ct_ceil_div(w->rows, w->rows_per_task), soft ? soft_task : id_task, w);
}

ct_tensor *ct_raw_cross_entropy(ct_tensor *logits, ct_tensor *targets, ct_tensor *row_scale,
                                double label_smoothing, int64_t ignore_index, ct_tensor **gradient) {
    ct_context *context = logits->context;
    ct_dtype compute = ct_compute_dtype((ct_dtype)logits->dtype);
    if (gradient) *gradient = NULL;
    if (ct_stop_op(context) || !entropy_check(logits, targets, row_scale, label_smoothing)) {
        if (gradient) *gradient = ct_inert(context, (ct_dtype)logits->dtype, logits->ndim, logits->shape);
        return ct_inert(context, compute, logits->ndim > 0 ? 1 : 0, logits->shape);
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *results[2] = {ct_empty_on(context, ct_device_of(logits), compute, 1, logits->shape), NULL};
    if (gradient)
        results[1] = ct_empty_on(context, ct_device_of(logits), (ct_dtype)logits->dtype, 2, logits->shape);
    entropy_work w = {.context = context, .rows = logits->shape[0], .classes = logits->shape[1]};
    w.dtype = (ct_dtype)logits->dtype;
    w.compute = compute;
    w.smoothing = label_smoothing;
    w.ignore = ignore_index;
    w.rows_per_task = ct_rows_per_task(w.classes);
    entropy_run(&w, logits, targets, row_scale, results[0], results[1]);
    ct_scope_return_many(context, scope, results, 2);
    if (gradient) *gradient = results[1];
    return results[0];
}
