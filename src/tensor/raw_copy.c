/* raw_copy.c - copies between tensors of any strides and types, and target += alpha source.
 *
 * A copy within one type sorts the axes by the target's strides and merges what it can; what is left is a
 * plain run of memory, a batch of transpositions, or rows. A copy between types passes through the tiles of
 * iterate.h. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"
#include <math.h>

#define BLOCK_COLUMNS 64 /* of a transposition: one piece of work is 64 x 512 elements */
#define BLOCK_ROWS 512

/* ---------------------------------------------------------------------------------------- same type ----- */

typedef struct copy_plan {
    int ndim, size;
    int64_t shape[CT_MAX_DIMS], to[CT_MAX_DIMS], from[CT_MAX_DIMS]; /* strides, elements */
    char *target;
    const char *source;
    ct_operand target_rows, source_rows;
    int across; /* transposition: the axis along which the source is contiguous */
    int64_t row_blocks, column_blocks;
} copy_plan;

static void copy_plan_make(copy_plan *plan, const ct_tensor *target, const ct_tensor *source) {
    int used = 0, missing = target->ndim - source->ndim;
    int64_t shape[CT_MAX_DIMS], to[CT_MAX_DIMS], from[CT_MAX_DIMS];
    for (int i = 0; i < target->ndim; i++) {
        if (target->shape[i] == 1) continue;
        bool broadcast = i < missing || source->shape[i - missing] == 1;
        int64_t step = target->stride[i], magnitude = step < 0 ? -step : step;
        int at = used++;
        for (; at > 0 && (to[at - 1] < 0 ? -to[at - 1] : to[at - 1]) < magnitude; at--) {
            shape[at] = shape[at - 1];
            to[at] = to[at - 1];
            from[at] = from[at - 1];
        }
        shape[at] = target->shape[i];
        to[at] = step;
        from[at] = broadcast ? 0 : source->stride[i - missing];
    }
    plan->ndim = 0;
    for (int i = 0; i < used; i++) {
        int last = plan->ndim - 1;
        if (last >= 0 && plan->to[last] == to[i] * shape[i] && plan->from[last] == from[i] * shape[i]) {
            plan->shape[last] *= shape[i];
        } else {
            last = plan->ndim++;
            plan->shape[last] = shape[i];
        }
        plan->to[last] = to[i];
        plan->from[last] = from[i];
    }
    if (plan->ndim == 0) {
        plan->ndim = 1;
        plan->shape[0] = plan->to[0] = plan->from[0] = 1;
    }
    plan->size = (int)ct_dtype_size((ct_dtype)target->dtype);
    plan->target = ct_pointer(target);
    plan->source = ct_pointer(source);
}

static void copy_line(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const copy_plan *plan = user;
    char *to = plan->target + first * plan->to[0] * plan->size;
    const char *from = plan->source + first * plan->from[0] * plan->size;
    if (plan->to[0] == 1 && plan->from[0] == 1)
        memcpy(to, from, (size_t)(last - first) * (size_t)plan->size);
    else
        ct_cpu_kernels()->copy_strided(plan->size, last - first, from, plan->from[0], to, plan->to[0]);
}

static void copy_rows(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const copy_plan *plan = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    ct_cursor to, from;
    ct_cursor_seek(&to, &plan->target_rows, first);
    ct_cursor_seek(&from, &plan->source_rows, first);
    int64_t to_step = ct_cursor_step(&to), from_step = ct_cursor_step(&from);
    while (first < last) {
        int64_t n = ct_cursor_run(&to);
        if (n > last - first) n = last - first;
        if (to_step == 1 && from_step == 1)
            memcpy(ct_cursor_address(&to), ct_cursor_address(&from), (size_t)n * (size_t)plan->size);
        else
            kernels->copy_strided(plan->size, n, ct_cursor_address(&from), from_step, ct_cursor_address(&to),
                                  to_step);
        ct_cursor_skip(&to, n);
        ct_cursor_skip(&from, n);
        first += n;
    }
}

/* Index: [other axes..., block of rows, block of columns]; rows lie along the last axis, columns along
 * `across`. In this order the blocks read whole rows of the source one after the other. */
static void copy_transposed(void *user, int64_t index, int worker) {
    (void)worker;
    const copy_plan *plan = user;
    int last = plan->ndim - 1, across = plan->across;
    int64_t column = index % plan->column_blocks * BLOCK_COLUMNS;
    index /= plan->column_blocks;
    int64_t row = index % plan->row_blocks * BLOCK_ROWS;
    index /= plan->row_blocks;
    int64_t to = column * plan->to[across] + row * plan->to[last];
    int64_t from = column * plan->from[across] + row * plan->from[last];
    for (int i = last - 1; i >= 0; i--) {
        if (i == across) continue;
        int64_t at = index % plan->shape[i];
        index /= plan->shape[i];
        to += at * plan->to[i];
        from += at * plan->from[i];
    }
    int64_t rows = plan->shape[last] - row, columns = plan->shape[across] - column;
    ct_cpu_kernels()->transpose(
        plan->size, rows < BLOCK_ROWS ? rows : BLOCK_ROWS, columns < BLOCK_COLUMNS ? columns : BLOCK_COLUMNS,
        plan->source + from * plan->size, plan->from[last], plan->target + to * plan->size, plan->to[across]);
}

static int transposed_axis(const copy_plan *plan) {
    int last = plan->ndim - 1;
    if (plan->to[last] != 1 || plan->from[last] <= 1 || plan->shape[last] < 4) return -1;
    for (int i = 0; i < last; i++)
        if (plan->from[i] == 1 && plan->shape[i] >= 4 && plan->to[i] > 0) return i;
    return -1;
}

static void copy_same(ct_context *context, const ct_tensor *target, const ct_tensor *source) {
    copy_plan plan;
    copy_plan_make(&plan, target, source);
    if (plan.ndim == 1) {
        int64_t piece = CT_CHUNK * 8 / plan.size;
        ct_parallel_ranges(context, target->count, piece, copy_line, &plan);
        return;
    }
    plan.across = transposed_axis(&plan);
    if (plan.across >= 0) {
        int64_t rows = plan.shape[plan.ndim - 1], columns = plan.shape[plan.across];
        plan.row_blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
        plan.column_blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
        int64_t pieces = target->count / (rows * columns) * plan.row_blocks * plan.column_blocks;
        if (target->count > CT_CHUNK) {
            ct_parallel_for(context, pieces, copy_transposed, &plan);
        } else {
            for (int64_t i = 0; i < pieces; i++)
                copy_transposed(&plan, i, 0);
        }
        return;
    }
    plan.target_rows = (ct_operand){.data = plan.target, .size = plan.size, .ndim = plan.ndim};
    plan.source_rows = (ct_operand){.data = (char *)plan.source, .size = plan.size, .ndim = plan.ndim};
    for (int i = 0; i < plan.ndim; i++) {
        plan.target_rows.shape[i] = plan.source_rows.shape[i] = plan.shape[i];
        plan.target_rows.stride[i] = plan.to[i];
        plan.source_rows.stride[i] = plan.from[i];
    }
    ct_parallel_ranges(context, target->count, CT_CHUNK, copy_rows, &plan);
}

/* ------------------------------------------------------------------------------------ between types ----- */

typedef struct convert_work {
    const char *source;
    char *target;
    ct_dtype from, to;
} convert_work;

static void convert_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const convert_work *work = user;
    ct_cpu_kernels()->convert(last - first, work->from,
                              work->source + first * (int64_t)ct_dtype_size(work->from), work->to,
                              work->target + first * (int64_t)ct_dtype_size(work->to));
}

/* The tiles of the loop have converted already. */
static void pass_body(const void *user, int64_t n, const void *const *inputs, const int *steps, void *out) {
    (void)steps;
    memcpy(out, inputs[0], (size_t)n * *(const size_t *)user);
}

static void copy_converted(ct_context *context, const ct_tensor *target, const ct_tensor *source) {
    ct_dtype from = (ct_dtype)source->dtype, to = (ct_dtype)target->dtype;
    if (source->count == target->count && ct_dense(source) && ct_dense(target)) {
        convert_work work = {ct_pointer(source), ct_pointer(target), from, to};
        ct_parallel_ranges(context, target->count, CT_CHUNK, convert_range, &work);
        return;
    }
    size_t size = ct_dtype_size(to);
    ct_loop loop;
    loop.body = pass_body;
    loop.user = &size;
    loop.count = target->count;
    loop.inputs = 1;
    loop.load[0] = loop.store = to;
    loop.expand[0] = true;
    ct_operand_broadcast(&loop.input[0], source, target->ndim, target->shape);
    ct_operand_broadcast(&loop.output, target, target->ndim, target->shape);
    ct_loop_run(context, &loop);
}

/* ------------------------------------------------------------------------------------------ checks ----- */

bool ct_target_ready(const char *operation, const ct_tensor *target) {
    for (int i = 0; i < target->ndim; i++)
        if (target->stride[i] == 0 && target->shape[i] > 1) {
            ct_fail(target->context, CT_ERROR_ARGUMENT,
                    "%s: the target repeats the same elements along axis %d and cannot be written", operation,
                    i);
            return false;
        }
    return true;
}

bool ct_broadcasts_to(const char *operation, const ct_tensor *source, const ct_tensor *target) {
    int missing = target->ndim - source->ndim;
    bool fits = missing >= 0;
    for (int i = 0; fits && i < source->ndim; i++)
        fits = source->shape[i] == 1 || source->shape[i] == target->shape[i + missing];
    if (fits) return true;
    char from[128], to[128];
    ct_fail(target->context, CT_ERROR_SHAPE, "%s: %s does not broadcast to the target, %s", operation,
            ct_describe(source, from, sizeof from), ct_describe(target, to, sizeof to));
    return false;
}

/* First and one-past-last element that a non-empty tensor reaches, in bytes. */
static void extent(const ct_tensor *t, const char **first, const char **last) {
    int64_t low = 0, high = 1, size = (int64_t)ct_dtype_size((ct_dtype)t->dtype);
    for (int i = 0; i < t->ndim; i++) {
        int64_t reach = (t->shape[i] - 1) * t->stride[i];
        if (reach < 0)
            low += reach;
        else
            high += reach;
    }
    *first = (const char *)ct_pointer(t) + low * size;
    *last = (const char *)ct_pointer(t) + high * size;
}

static bool same_region(const ct_tensor *a, const ct_tensor *b) {
    if (a->dtype != b->dtype || ct_pointer(a) != ct_pointer(b) || !ct_shape_equal(a, b)) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != 1 && a->stride[i] != b->stride[i]) return false;
    return true;
}

bool ct_strides_across(const ct_tensor *t) {
    if (t->count < CT_CHUNK / 2) return false;
    int last = -1;
    bool along = false; /* another axis lies along memory */
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 1) continue;
        along = along || (last >= 0 && t->stride[last] == 1 && t->shape[last] >= 4);
        last = i;
    }
    return along && t->stride[last] != 1 && t->stride[last] != 0;
}

bool ct_regions_clash(const ct_tensor *target, const ct_tensor *source) {
    if (target->storage != source->storage || target->count == 0 || source->count == 0) return false;
    if (same_region(target, source)) return false;
    const char *target_first, *target_last, *source_first, *source_last;
    extent(target, &target_first, &target_last);
    extent(source, &source_first, &source_last);
    return target_first < source_last && source_first < target_last;
}

/* ------------------------------------------------------------------------------------------- copy ----- */

static ct_status copy_checked(ct_tensor *target, const ct_tensor *source) {
    if (ct_is_meta(target) || target->count == 0) return CT_OK;
    if (target->dtype == source->dtype)
        copy_same(target->context, target, source);
    else
        copy_converted(target->context, target, source);
    return ct_context_status(target->context);
}

/* A source that overlaps the target, or strides across memory, is copied first. */
typedef ct_status (*into_function)(ct_tensor *target, const ct_tensor *source, double alpha);
static ct_status with_separate_source(ct_tensor *target, const ct_tensor *source, double alpha,
                                      into_function into) {
    ct_context *context = target->context;
    ct_scope scope = ct_scope_open(context);
    ct_device device = ct_is_meta(target) ? CT_META : CT_CPU;
    ct_tensor *separate = ct_empty_on(context, device, (ct_dtype)source->dtype, source->ndim, source->shape);
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = copy_checked(separate, source);
    if (status == CT_OK) status = into(target, separate, alpha);
    ct_scope_close(context, scope);
    return status;
}

static ct_status copy_into(ct_tensor *target, const ct_tensor *source, double alpha) {
    (void)alpha;
    return copy_checked(target, source);
}

ct_status ct_raw_copy(ct_tensor *target, const ct_tensor *source) {
    if (!ct_operands_ready("copy", 2, (const ct_tensor *const[]){target, source}) ||
        !ct_target_ready("copy", target) || !ct_broadcasts_to("copy", source, target))
        return ct_context_status(target->context);
    bool across = target->dtype != source->dtype && ct_strides_across(source);
    if (across || (!ct_is_meta(target) && ct_regions_clash(target, source)))
        return with_separate_source(target, source, 0, copy_into);
    return copy_checked(target, source);
}

ct_tensor *ct_raw_cast(ct_tensor *x, ct_dtype dtype) {
    if (!ct_operands_ready("cast", 1, (const ct_tensor *const[]){x}))
        return ct_inert(x->context, dtype, x->ndim, x->shape);
    ct_tensor *y = ct_empty_on(x->context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, x->ndim, x->shape);
    if (dtype != (ct_dtype)x->dtype && ct_strides_across(x))
        with_separate_source(y, x, 0, copy_into);
    else
        copy_checked(y, x);
    return y;
}

ct_tensor *ct_raw_contiguous(ct_tensor *x) {
    if (x->storage && !x->storage->tile && ct_dense(x)) return x;
    if (!ct_operands_ready("contiguous", 1, (const ct_tensor *const[]){x}))
        return ct_inert(x->context, (ct_dtype)x->dtype, x->ndim, x->shape);
    return ct_raw_cast(x, (ct_dtype)x->dtype);
}

/* ------------------------------------------------------------------------------------------- axpy ----- */

typedef struct axpy_work {
    double alpha;
    int64_t whole; /* alpha for integers */
    char *target;
    const char *source;
    bool single; /* f32 */
} axpy_work;

static void axpy_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const axpy_work *work = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    if (work->single)
        kernels->f32.axpy(last - first, (float)work->alpha, (const float *)work->source + first,
                          (float *)work->target + first);
    else
        kernels->f64.axpy(last - first, work->alpha, (const double *)work->source + first,
                          (double *)work->target + first);
}

static void axpy_f32_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                          void *out) {
    (void)steps;
    if (out != inputs[0]) memcpy(out, inputs[0], (size_t)n * sizeof(float));
    ct_cpu_kernels()->f32.axpy(n, (float)((const axpy_work *)user)->alpha, inputs[1], out);
}
static void axpy_f64_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                          void *out) {
    (void)steps;
    if (out != inputs[0]) memcpy(out, inputs[0], (size_t)n * sizeof(double));
    ct_cpu_kernels()->f64.axpy(n, ((const axpy_work *)user)->alpha, inputs[1], out);
}
static void axpy_integer_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                              void *out) {
    (void)steps;
    uint64_t alpha = (uint64_t)((const axpy_work *)user)->whole;
    const int64_t *y = inputs[0], *x = inputs[1];
    int64_t *sum = out;
    for (int64_t i = 0; i < n; i++)
        sum[i] = (int64_t)((uint64_t)y[i] + alpha * (uint64_t)x[i]);
}

static ct_status axpy_checked(ct_tensor *target, const ct_tensor *source, double alpha) {
    ct_context *context = target->context;
    if (ct_is_meta(target) || target->count == 0) return CT_OK;
    axpy_work work = {alpha, 0, ct_pointer(target), ct_pointer(source), target->dtype == CT_F32};
    if (target->dtype == source->dtype && (work.single || target->dtype == CT_F64) &&
        target->count == source->count && ct_dense(target) && ct_dense(source)) {
        ct_parallel_ranges(context, target->count, CT_CHUNK, axpy_range, &work);
        return ct_context_status(context);
    }
    ct_dtype compute = ct_compute_type(ct_promote((ct_dtype)target->dtype, (ct_dtype)source->dtype));
    if (compute == CT_I64) work.whole = (int64_t)alpha;
    ct_loop loop;
    loop.body = compute == CT_F64 ? axpy_f64_body : compute == CT_F32 ? axpy_f32_body : axpy_integer_body;
    loop.user = &work;
    loop.count = target->count;
    loop.inputs = 2;
    loop.load[0] = loop.load[1] = loop.store = compute;
    loop.expand[0] = loop.expand[1] = true;
    ct_operand_broadcast(&loop.input[0], target, target->ndim, target->shape);
    ct_operand_broadcast(&loop.input[1], source, target->ndim, target->shape);
    loop.output = loop.input[0];
    ct_loop_run(context, &loop);
    return ct_context_status(context);
}

ct_status ct_raw_axpy(ct_tensor *target, const ct_tensor *source, double alpha) {
    ct_context *context = target->context;
    if (!ct_operands_ready("add_into", 2, (const ct_tensor *const[]){target, source}) ||
        !ct_target_ready("add_into", target) || !ct_broadcasts_to("add_into", source, target))
        return ct_context_status(context);
    bool integer = !ct_dtype_is_float((ct_dtype)target->dtype);
    if (integer && ct_dtype_is_float((ct_dtype)source->dtype))
        return ct_fail(context, CT_ERROR_TYPE, "add_into: the target is %s, which cannot take a sum with %s",
                       ct_dtype_name((ct_dtype)target->dtype), ct_dtype_name((ct_dtype)source->dtype));
    if (integer && !(alpha == floor(alpha) && fabs(alpha) < 0x1p63))
        return ct_fail(context, CT_ERROR_TYPE, "add_into: %g is not a factor for an integer tensor", alpha);
    if (ct_strides_across(source) || (!ct_is_meta(target) && ct_regions_clash(target, source)))
        return with_separate_source(target, source, alpha, axpy_checked);
    return axpy_checked(target, source, alpha);
}
