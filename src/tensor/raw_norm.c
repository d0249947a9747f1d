/* raw_norm.c - layer norm and root-mean-square norm over the last axis, forward and backward.
 *
 * The rows of each sequence (first axis of three or more) are cut into chunks of CT_COLUMN_ROWS; in the
 * backward pass each chunk sums its share of the gradients of gain and bias into a row of its own, those rows
 * are added for each sequence, and the sequences in order. bf16 and f16 rows are widened in a worker's
 * scratch; gain, bias, mean and rstd are f32 then. */
#include "tensor/raw_rows.h"

#define PIECE_ROWS 16 /* rows widened at a time in the forward pass */

typedef struct norm_work {
    ct_context *context;
    bool centred; /* layer norm; else root mean square */
    bool narrow;  /* bf16 or f16 */
    int64_t rows, columns;
    int64_t sequence; /* rows of one sequence */
    ct_dtype dtype, compute;
    double epsilon;
    const void *x, *gain, *bias, *gradient; /* gain and bias of `compute`; gradient of `dtype` */
    const void *other;             /* of `dtype`: what reaches x by other ways, added to dx; or NULL */
    void *y, *dx;                  /* of `dtype` */
    void *mean, *rstd;             /* [rows] of `compute` */
    void *gain_parts, *bias_parts; /* [chunks, columns] of `compute`, NULL: not wanted */
} norm_work;

static int64_t chunks_each(const norm_work *w) {
    return ct_ceil_div(w->sequence, CT_COLUMN_ROWS);
}

static int64_t chunks_of(const norm_work *w) {
    return w->sequence ? w->rows / w->sequence * chunks_each(w) : 0;
}

static int64_t chunk_start(const norm_work *w, int64_t chunk, int64_t *rows) {
    int64_t within = chunk % chunks_each(w) * CT_COLUMN_ROWS;
    *rows = ct_least(CT_COLUMN_ROWS, w->sequence - within);
    return chunk / chunks_each(w) * w->sequence + within;
}

/* ------------------------------------------------------------------------------------------------ forward */

static void forward_rows(const norm_work *w, int64_t first, int64_t rows, const void *x, void *y) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->columns;
    void *mean = w->mean ? ct_at(w->mean, w->compute, first) : NULL,
         *rstd = ct_at(w->rstd, w->compute, first);
    if (w->compute == CT_F64) {
        if (w->centred)
            kernels->f64.layer_norm(rows, n, x, NULL, NULL, w->gain, w->bias, w->epsilon, y, mean, rstd);
        else
            kernels->f64.rms_norm(rows, n, x, NULL, NULL, w->gain, 0, w->epsilon, y, rstd);
    } else {
        if (w->centred)
            kernels->f32.layer_norm(rows, n, x, NULL, NULL, w->gain, w->bias, w->epsilon, y, mean, rstd);
        else
            kernels->f32.rms_norm(rows, n, x, NULL, NULL, w->gain, 0, w->epsilon, y, rstd);
    }
}

static void forward_task(void *user, int64_t index, int worker) {
    const norm_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index * PIECE_ROWS, rows = ct_least(PIECE_ROWS, w->rows - first);
    const void *x = ct_at(w->x, w->dtype, first * w->columns);
    void *y = ct_at(w->y, w->dtype, first * w->columns);
    if (!w->narrow) {
        forward_rows(w, first, rows, x, y);
        return;
    }
    float *wide = ct_scratch(w->context, worker);
    kernels->convert(rows * w->columns, w->dtype, x, CT_F32, wide);
    forward_rows(w, first, rows, wide, wide);
    kernels->convert(rows * w->columns, CT_F32, wide, w->dtype, y);
}

/* ----------------------------------------------------------------------------------------------- backward */

static void backward_rows(const norm_work *w, int64_t chunk, int64_t rows, const void *x,
                          const void *gradient, const void *other, void *dx) {
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t n = w->columns, unused, first = chunk_start(w, chunk, &unused);
    const void *mean = w->mean ? ct_at(w->mean, w->compute, first) : NULL;
    const void *rstd = ct_at(w->rstd, w->compute, first);
    void *gain_part = w->gain_parts ? ct_at(w->gain_parts, w->compute, chunk * n) : NULL;
    void *bias_part = w->bias_parts ? ct_at(w->bias_parts, w->compute, chunk * n) : NULL;
    if (w->compute == CT_F64) {
        if (w->centred)
            kernels->f64.layer_norm_backward(rows, n, x, w->gain, mean, rstd, gradient, other, dx, gain_part,
                                             bias_part);
        else
            kernels->f64.rms_norm_backward(rows, n, x, w->gain, 0, rstd, gradient, other, dx, gain_part);
    } else {
        if (w->centred)
            kernels->f32.layer_norm_backward(rows, n, x, w->gain, mean, rstd, gradient, other, dx, gain_part,
                                             bias_part);
        else
            kernels->f32.rms_norm_backward(rows, n, x, w->gain, 0, rstd, gradient, other, dx, gain_part);
    }
}

static void backward_task(void *user, int64_t chunk, int worker) {
    const norm_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t rows, first = chunk_start(w, chunk, &rows);
    int64_t start = first * w->columns, count = rows * w->columns;
    const void *x = ct_at(w->x, w->dtype, start), *gradient = ct_at(w->gradient, w->dtype, start);
    void *dx = w->dx ? ct_at(w->dx, w->dtype, start) : NULL;
    if (!w->narrow) {
        backward_rows(w, chunk, rows, x, gradient, w->other ? ct_at(w->other, w->dtype, start) : NULL, dx);
        return;
    }
    float *wide = ct_scratch(w->context, worker);
    kernels->convert(count, w->dtype, x, CT_F32, wide);
    kernels->convert(count, w->dtype, gradient, CT_F32, wide + count);
    backward_rows(w, chunk, rows, wide, wide + count, NULL, dx ? wide + count : NULL);
    if (dx) kernels->convert(count, CT_F32, wide + count, w->dtype, dx);
}

/* What is wanted of the gradients of gain and bias: results[0..1] begin in `into`, or anew with the type of
 * `like`. */
typedef struct parameter_sums {
    const bool *wanted;
    ct_tensor *const *into;
    ct_tensor *like;
    bool may_wait;
} parameter_sums;

static bool is_onto(const norm_work *w, const ct_tensor *into) {
    return into && (ct_dtype)into->dtype == w->compute && ct_is_contiguous(into);
}

/* Adds the chunks' rows in `parts`, which it frees. */
static void sum_parts(const norm_work *w, const parameter_sums *p, void *parts, ct_tensor **results) {
    ct_context *context = w->context;
    ct_column_folds folds = {.context = context,
                             .compute = w->compute,
                             .rows = chunks_each(w),
                             .sequences = w->sequence ? w->rows / w->sequence : 0,
                             .columns = w->columns,
                             .owned = parts};
    bool meta = ct_is_meta(p->like), may_wait = p->may_wait;
    for (int i = 0; i < 2; i++) {
        if (!p->wanted[i]) continue;
        bool onto = is_onto(w, p->into[i]);
        results[i] =
            onto ? p->into[i] : ct_empty_on(context, ct_device_of(p->like), w->compute, 1, &w->columns);
        may_wait = may_wait && (onto || (!p->into[i] && (ct_dtype)p->like->dtype == w->compute));
        folds.data[folds.count] =
            meta ? NULL : ct_at(parts, w->compute, folds.count * chunks_of(w) * w->columns);
        folds.sum[folds.count] = ct_pointer(results[i]);
        folds.onto[folds.count++] = onto;
    }
    if (ct_failed(context))
        ct_free(context, parts);
    else
        ct_column_folds_run(&folds, may_wait);
    for (int i = 0; i < 2; i++) {
        if (!p->wanted[i] || is_onto(w, p->into[i])) continue;
        if (p->into[i]) ct_raw_axpy(p->into[i], results[i], 1);
        results[i] = p->into[i] ? p->into[i] : ct_in_dtype(results[i], (ct_dtype)p->like->dtype);
    }
}

/* ------------------------------------------------------------------------------------------------------ */

static bool vector_fits(const ct_tensor *x, const ct_tensor *v, const char *operation, const char *operand) {
    if (!v) return true;
    if (v->ndim == 1 && v->shape[0] == ct_last(x)) return ct_require_float(v, operation, operand);
    char tx[160], tv[160];
    ct_fail(x->context, CT_ERROR_SHAPE, "%s: %s %s does not fit x %s: expected [%lld]", operation, operand,
            ct_describe(v, tv, sizeof(tv)), ct_describe(x, tx, sizeof(tx)), (long long)ct_last(x));
    return false;
}

static bool norm_check(const ct_tensor *x, const ct_tensor *gain, const ct_tensor *bias,
                       const char *operation) {
    char text[160];
    if (x->ndim < 1 || ct_last(x) == 0) {
        ct_fail(x->context, CT_ERROR_SHAPE, "%s: %s has no elements along its last axis", operation,
                ct_describe(x, text, sizeof(text)));
        return false;
    }
    return ct_require_float(x, operation, "x") && vector_fits(x, gain, operation, "weight") &&
           vector_fits(x, bias, operation, "bias");
}

static norm_work work_make(const ct_tensor *x, bool centred, double epsilon) {
    norm_work w = {.context = x->context, .centred = centred, .rows = ct_row_count(x), .columns = ct_last(x)};
    w.sequence = x->ndim > 2 && x->shape[0] ? w.rows / x->shape[0] : w.rows;
    w.dtype = (ct_dtype)x->dtype;
    w.compute = ct_compute_dtype(w.dtype);
    w.narrow = w.dtype == CT_BF16 || w.dtype == CT_F16;
    w.epsilon = epsilon;
    return w;
}

/* results: y, mean (layer norm only), rstd. */
static void norm_forward(ct_tensor *x, ct_tensor *gain, ct_tensor *bias, double epsilon, bool centred,
                         ct_tensor *results[3]) {
    ct_context *context = x->context;
    norm_work w = work_make(x, centred, epsilon);
    ct_device device = ct_device_of(x);
    ct_scope scope = ct_scope_open(context);
    results[0] = ct_empty_on(context, device, w.dtype, x->ndim, x->shape);
    results[1] = centred ? ct_empty_on(context, device, w.compute, x->ndim - 1, x->shape) : NULL;
    results[2] = ct_empty_on(context, device, w.compute, x->ndim - 1, x->shape);
    x = ct_raw_contiguous(x);
    if (gain) gain = ct_in_dtype(gain, w.compute);
    if (bias) bias = ct_in_dtype(bias, w.compute);
    if (w.narrow) ct_scratch_reserve(context, (size_t)(PIECE_ROWS * w.columns) * sizeof(float));
    if (!ct_failed(context) && device != CT_META && w.rows > 0) {
        w.x = ct_pointer(x);
        w.gain = gain ? ct_pointer(gain) : NULL;
        w.bias = bias ? ct_pointer(bias) : NULL;
        w.y = ct_pointer(results[0]);
        w.mean = centred ? ct_pointer(results[1]) : NULL;
        w.rstd = ct_pointer(results[2]);
        ct_parallel_for(context, ct_ceil_div(w.rows, PIECE_ROWS), forward_task, &w);
    }
    ct_scope_return_many(context, scope, results, 3);
}

ct_tensor *ct_raw_layer_norm(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, double epsilon,
                             ct_tensor **mean, ct_tensor **rstd) {
    ct_tensor *results[3] = {NULL, NULL, NULL};
    if (ct_stop_op(x->context) || !norm_check(x, weight, bias, "layer_norm")) {
        ct_dtype compute = ct_compute_dtype((ct_dtype)x->dtype);
        int leading = x->ndim > 0 ? x->ndim - 1 : 0;
        results[0] = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        results[1] = results[2] = ct_inert(x->context, compute, leading, x->shape);
    } else {
        norm_forward(x, weight, bias, epsilon, true, results);
    }
    if (mean) *mean = results[1];
    if (rstd) *rstd = results[2];
    return results[0];
}

ct_tensor *ct_raw_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon, ct_tensor **rstd) {
    ct_tensor *results[3] = {NULL, NULL, NULL};
    if (ct_stop_op(x->context) || !norm_check(x, weight, NULL, "rms_norm")) {
        int leading = x->ndim > 0 ? x->ndim - 1 : 0;
        results[0] = ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
        results[2] = ct_inert(x->context, ct_compute_dtype((ct_dtype)x->dtype), leading, x->shape);
    } else {
        norm_forward(x, weight, NULL, epsilon, false, results);
    }
    if (rstd) *rstd = results[2];
    return results[0];
}

/* Room for the chunks' rows: of the gain's gradient, then of the bias'. On meta it is only counted. */
static void *parts_alloc(const norm_work *w, int wanted, bool meta) {
    size_t bytes = (size_t)(wanted * chunks_of(w) * w->columns) * ct_dtype_size(w->compute);
    if (!meta) return ct_alloc(w->context, bytes, CT_MEMORY_WORKSPACE);
    ct_memory_count(w->context, ct_memory_rounded(bytes), CT_MEMORY_WORKSPACE);
    return NULL;
}

static void parts_uncount(const norm_work *w, int wanted) {
    size_t bytes = (size_t)(wanted * chunks_of(w) * w->columns) * ct_dtype_size(w->compute);
    ct_memory_uncount(w->context, ct_memory_rounded(bytes), CT_MEMORY_WORKSPACE);
}

typedef struct norm_operands {
    ct_tensor *x, *gain, *mean, *rstd, *gradient, *other;
} norm_operands;

/* wanted[0..2] and results[0..2]: dx, dweight, dbias. */
static void backward_run(norm_work *w, const norm_operands *o, const bool wanted[3], ct_tensor *const into[3],
                         bool may_wait, ct_tensor *results[3]) {
    ct_context *context = w->context;
    bool meta = ct_is_meta(o->x);
    ct_tensor *like = o->gain ? o->gain : o->x;
    if (wanted[0]) results[0] = ct_empty_on(context, ct_device_of(o->x), w->dtype, o->x->ndim, o->x->shape);
    ct_tensor *x = ct_raw_contiguous(o->x), *gradient = ct_in_dtype(o->gradient, w->dtype);
    ct_tensor *gain = o->gain ? ct_in_dtype(o->gain, w->compute) : NULL;
    ct_tensor *mean = o->mean ? ct_in_dtype(o->mean, w->compute) : NULL,
              *rstd = ct_in_dtype(o->rstd, w->compute);
    if (w->narrow)
        ct_scratch_reserve(context,
                           (size_t)(2 * ct_least(CT_COLUMN_ROWS, w->rows) * w->columns) * sizeof(float));
    int parts_wanted = (wanted[1] ? 1 : 0) + (wanted[2] ? 1 : 0);
    void *parts = !ct_failed(context) && parts_wanted ? parts_alloc(w, parts_wanted, meta) : NULL;
    if (ct_failed(context)) return;
    void *bias_parts = parts ? ct_at(parts, w->compute, wanted[1] ? chunks_of(w) * w->columns : 0) : NULL;
    if (!meta && w->rows > 0) {
        w->x = ct_pointer(x);
        w->gradient = ct_pointer(gradient);
        w->gain = gain ? ct_pointer(gain) : NULL;
        w->mean = mean ? ct_pointer(mean) : NULL;
        w->rstd = ct_pointer(rstd);
        w->dx = wanted[0] ? ct_pointer(results[0]) : NULL;
        w->other = o->other ? ct_pointer(o->other) : NULL;
        w->gain_parts = wanted[1] ? parts : NULL;
        w->bias_parts = wanted[2] ? bias_parts : NULL;
        ct_parallel_for(context, chunks_of(w), backward_task, w);
    }
    const parameter_sums sums = {wanted + 1, into + 1, like, may_wait};
    if (parts_wanted) sum_parts(w, &sums, parts, results + 1);
    if (parts_wanted && meta) parts_uncount(w, parts_wanted);
}

bool ct_raw_norm_adds(const ct_tensor *x, const ct_tensor *other) {
    ct_dtype dtype = (ct_dtype)x->dtype;
    return (dtype == CT_F32 || dtype == CT_F64) && other->dtype == x->dtype && ct_is_contiguous(other);
}

static ct_status norm_backward(const norm_operands *o, bool centred, bool may_wait, ct_tensor **dx,
                               ct_tensor **dweight, ct_tensor **dbias) {
    ct_context *context = o->x->context;
    const char *operation = centred ? "layer_norm backward" : "rms_norm backward";
    ct_tensor *results[3] = {NULL, NULL, NULL};
    const bool wanted[3] = {dx != NULL, dweight != NULL, dbias != NULL};
    ct_tensor *const into[3] = {NULL, dweight ? *dweight : NULL, dbias ? *dbias : NULL};
    if (!ct_stop_op(context) && norm_check(o->x, o->gain, NULL, operation)) {
        if (!ct_same_shape(o->x, o->gradient)) {
            char tx[160], tg[160];
            ct_fail(context, CT_ERROR_SHAPE, "%s: gradient %s does not have the shape of x %s", operation,
                    ct_describe(o->gradient, tg, sizeof(tg)), ct_describe(o->x, tx, sizeof(tx)));
        } else {
            norm_work w = work_make(o->x, centred, 0);
            ct_scope scope = ct_scope_open(context);
            backward_run(&w, o, wanted, into, may_wait, results);
            ct_scope_return_many(context, scope, results, 3);
        }
    }
    for (int i = 0; i < 3; i++)
        if (wanted[i] && !results[i]) {
            int ndim = i == 0 ? o->x->ndim : 1;
            const int64_t *shape = i == 0 ? o->x->shape : o->x->ndim ? &o->x->shape[o->x->ndim - 1] : NULL;
            results[i] = ct_inert(context, (ct_dtype)o->x->dtype, ndim, shape);
        }
    if (dx) *dx = results[0];
    if (dweight) *dweight = results[1];
    if (dbias) *dbias = results[2];
    return ct_context_status(context);
}

ct_status ct_raw_layer_norm_backward(ct_tensor *x, ct_tensor *weight, ct_tensor *mean, ct_tensor *rstd,
                                     ct_tensor *gradient, ct_tensor *other, bool may_wait, ct_tensor **dx,
                                     ct_tensor **dweight, ct_tensor **dbias) {
    norm_operands o = {x, weight, mean, rstd, gradient, other};
    return norm_backward(&o, true, may_wait, dx, dweight, dbias);
}

ct_status ct_raw_rms_norm_backward(ct_tensor *x, ct_tensor *weight, ct_tensor *rstd, ct_tensor *gradient,
                                   ct_tensor *other, bool may_wait, ct_tensor **dx, ct_tensor **dweight) {
    norm_operands o = {x, weight, NULL, rstd, gradient, other};
    return norm_backward(&o, false, may_wait, dx, dweight, NULL);
}
