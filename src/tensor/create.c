/* create.c - tensors from values, memory and functions; reading and writing elements; changes in place.
 * Random tensors are in create_random.c. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"
#include <math.h>

/* A tensor on the stack over plain memory, for use as an operand of a copy. */
typedef struct plain_tensor {
    ct_storage storage;
    ct_tensor tensor;
} plain_tensor;

static ct_tensor *plain_tensor_make(plain_tensor *plain, ct_context *context, ct_dtype dtype, int ndim,
                                    const int64_t *shape, void *data) {
    plain->storage = (ct_storage){.references = 1, .context = context, .data = data, .device = CT_CPU};
    plain->tensor = (ct_tensor){.references = 1, .context = context, .storage = &plain->storage};
    plain->tensor.dtype = (uint8_t)dtype;
    plain->tensor.ndim = (uint8_t)ndim;
    plain->tensor.count = 1;
    for (int i = 0; i < ndim; i++) {
        plain->tensor.shape[i] = shape[i];
        plain->tensor.count *= shape[i];
    }
    ct_contiguous_strides(ndim, shape, plain->tensor.stride);
    return &plain->tensor;
}

/* ------------------------------------------------------------------------------------------------ filling */

typedef struct fill_work {
    char *data;
    double value;
    ct_dtype dtype;
    size_t size;
} fill_work;

static void fill_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const fill_work *work = user;
    char *to = work->data + first * (int64_t)work->size;
    if (work->value == 0 && !signbit(work->value))
        memset(to, 0, (size_t)(last - first) * work->size);
    else if (work->dtype == CT_F32)
        ct_cpu_kernels()->f32.fill(last - first, (float)work->value, (float *)to);
    else
        ct_cpu_kernels()->f64.fill(last - first, work->value, (double *)to);
}

/* No checks, no version. */
static ct_status fill(ct_tensor *target, double value) {
    ct_context *context = target->context;
    if (ct_is_meta(target) || target->count == 0) return ct_context_status(context);
    ct_dtype dtype = (ct_dtype)target->dtype;
    bool zero = value == 0 && !signbit(value);
    if ((zero || dtype == CT_F32 || dtype == CT_F64) && ct_dense(target)) {
        fill_work work = {ct_pointer(target), value, dtype, ct_dtype_size(dtype)};
        ct_parallel_ranges(context, target->count, CT_CHUNK, fill_range, &work);
        return ct_context_status(context);
    }
    uint64_t element = 0;
    ct_cpu_kernels()->convert(1, CT_F64, &value, dtype, &element);
    plain_tensor source;
    return ct_raw_copy(target, plain_tensor_make(&source, context, dtype, 0, NULL, &element));
}

ct_status ct_fill(ct_tensor *target, double value) {
    if (!ct_operands_ready("fill", 1, (const ct_tensor *const[]){target}) || !ct_target_ready("fill", target))
        return ct_context_status(target->context);
    ct_touch(target);
    return fill(target, value);
}

ct_tensor *ct_full(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, double value) {
    ct_tensor *t = ct_empty(context, dtype, ndim, shape);
    fill(t, value);
    return t;
}

ct_tensor *ct_zeros(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape) {
    return ct_full(context, dtype, ndim, shape, 0);
}
ct_tensor *ct_scalar(ct_context *context, ct_dtype dtype, double value) {
    return ct_full(context, dtype, 0, NULL, value);
}

static ct_tensor *full_like(ct_tensor *like, double value) {
    ct_tensor *t = ct_empty_like(like);
    fill(t, value);
    return t;
}
ct_tensor *ct_zeros_like(ct_tensor *like) {
    return full_like(like, 0);
}
ct_tensor *ct_ones_like(ct_tensor *like) {
    return full_like(like, 1);
}

/* --------------------------------------------------------------------------------- given elements ----- */

ct_tensor *ct_from_data(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape,
                        const void *data) {
    ct_tensor *t = ct_empty(context, dtype, ndim, shape);
    if (ct_is_meta(t) || t->count == 0) return t;
    if (!data) {
        ct_fail(context, CT_ERROR_ARGUMENT, "from_data: no data was given for %lld elements",
                (long long)t->count);
        return ct_inert(context, dtype, ndim, shape);
    }
    plain_tensor source;
    ct_raw_copy(t, plain_tensor_make(&source, context, dtype, ndim, shape, (void *)data));
    return t;
}

/* Storage that owns no counted bytes. `release` is called also on failure: the memory has changed hands. */
static ct_storage *foreign_storage(ct_context *context, void *data, void (*release)(void *user), void *user) {
    ct_storage *storage =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(ct_storage), CT_MEMORY_OTHER);
    if (!storage) {
        if (release) release(user);
        return NULL;
    }
    storage->references = 1;
    storage->context = context;
    storage->device = ct_context_device(context);
    storage->data = storage->device == CT_META ? NULL : data;
    storage->memory_class = CT_MEMORY_OTHER;
    storage->release = release;
    storage->user = user;
    return storage;
}

ct_tensor *ct_from_memory(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, void *data,
                          void (*release)(void *user), void *user) {
    int64_t count = ndim < 0 || ndim > CT_MAX_DIMS ? -1 : ct_shape_count(ndim, shape);
    if (count < 0 || (!data && count > 0)) {
        if (count < 0)
            ct_fail(context, CT_ERROR_SHAPE, "from_memory: a shape of %d dimensions that no tensor can have",
                    ndim);
        else
            ct_fail(context, CT_ERROR_ARGUMENT, "from_memory: no memory was given for %lld elements",
                    (long long)count);
        if (release) release(user);
        return ct_inert(context, dtype, 0, NULL);
    }
    ct_storage *storage = foreign_storage(context, data, release, user);
    if (!storage) return ct_inert(context, dtype, ndim, shape);
    return ct_tensor_wrap(context, storage, dtype, ndim, shape, NULL, 0);
}

ct_tensor *ct_from_tiles(ct_context *context, int64_t rows, int64_t columns, ct_tile_function tile,
                         void *user, void (*release)(void *user)) {
    const int64_t shape[2] = {rows, columns};
    if (!tile || ct_shape_count(2, shape) < 0) {
        ct_fail(context, CT_ERROR_ARGUMENT, "from_tiles: %s for a weight [%lld, %lld]",
                tile ? "a negative or too large size" : "no tile function", (long long)rows,
                (long long)columns);
        if (release) release(user);
        return ct_inert(context, CT_F32, 0, NULL);
    }
    ct_storage *storage = foreign_storage(context, NULL, release, user);
    if (!storage) return ct_inert(context, CT_F32, 2, shape);
    storage->tile = tile;
    storage->tile_columns = columns;
    return ct_tensor_wrap(context, storage, CT_F32, 2, shape, NULL, 0);
}

/* ----------------------------------------------------------------------------------------- regular series */

typedef struct series_work {
    double start, step;
    char *data;
    ct_dtype dtype;
} series_work;

static void series_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const series_work *work = user;
    double tile[CT_TILE];
    for (; first < last; first += CT_TILE) {
        int64_t n = last - first < CT_TILE ? last - first : CT_TILE;
        for (int64_t i = 0; i < n; i++)
            tile[i] = fma((double)(first + i), work->step, work->start);
        ct_cpu_kernels()->convert(n, CT_F64, tile, work->dtype,
                                  work->data + first * (int64_t)ct_dtype_size(work->dtype));
    }
}

ct_tensor *ct_arange(ct_context *context, ct_dtype dtype, int64_t count, double start, double step) {
    ct_tensor *t = ct_empty(context, dtype, 1, &count);
    if (ct_is_meta(t)) return t;
    series_work work = {start, step, ct_pointer(t), dtype};
    ct_parallel_ranges(context, count, CT_CHUNK, series_range, &work);
    return t;
}

ct_tensor *ct_eye(ct_context *context, ct_dtype dtype, int64_t size) {
    ct_tensor *t = ct_zeros(context, dtype, 2, (const int64_t[]){size, size});
    if (ct_is_meta(t) || size == 0) return t;
    double one = 1;
    uint64_t element = 0;
    ct_cpu_kernels()->convert(1, CT_F64, &one, dtype, &element);
    ct_cpu_kernels()->copy_strided((int)ct_dtype_size(dtype), size, &element, 0, ct_pointer(t), size + 1);
    return t;
}

/* --------------------------------------------------------------------------------------- reading, writing */

/* A generated weight is read along the runs of the view, which lie along its rows or its columns. */
static void read_generated(const ct_tensor *t, ct_dtype dtype, char *buffer) {
    const ct_storage *storage = t->storage;
    int64_t columns = storage->tile_columns;
    ct_operand operand;
    ct_cursor cursor;
    ct_operand_make(&operand, NULL, CT_F32, t->ndim, t->shape, t->stride);
    ct_cursor_seek(&cursor, &operand, 0);
    int64_t step = ct_cursor_step(&cursor), size = (int64_t)ct_dtype_size(dtype);
    float tile[CT_TILE];
    for (int64_t done = 0; done < t->count;) {
        int64_t at = t->offset + cursor.offset, row = at / columns, column = at % columns;
        int64_t n = ct_cursor_run(&cursor) < CT_TILE ? ct_cursor_run(&cursor) : CT_TILE;
        if (step == 1) {
            if (n > columns - column) n = columns - column;
            storage->tile(storage->user, row, column, 1, n, tile, n);
        } else if (step == columns) {
            storage->tile(storage->user, row, column, n, 1, tile, 1);
        } else {
            n = 1;
            storage->tile(storage->user, row, column, 1, 1, tile, 1);
        }
        ct_cpu_kernels()->convert(n, CT_F32, tile, dtype, buffer + done * size);
        ct_cursor_skip(&cursor, n);
        done += n;
    }
}

/* What reading and writing have in common: false with the status to return. */
static bool elements_reachable(const ct_tensor *t, const char *operation, const void *buffer,
                               ct_status *status) {
    *status = ct_context_status(t->context);
    if (*status != CT_OK) return false;
    if (!t->storage || t->storage->device == CT_META)
        *status = ct_fail(t->context, CT_ERROR_STATE, "%s: the tensor %s", operation,
                          t->storage ? "is on the meta device and holds no data"
                                     : "holds no data: the operation that made it failed");
    else if (!buffer && t->count > 0)
        *status = ct_fail(t->context, CT_ERROR_ARGUMENT, "%s: no buffer was given", operation);
    return *status == CT_OK && t->count > 0;
}

ct_status ct_read(const ct_tensor *tensor, ct_dtype dtype, void *buffer) {
    ct_status status;
    if (!elements_reachable(tensor, "read", buffer, &status)) return status;
    if (tensor->storage->tile) {
        read_generated(tensor, dtype, buffer);
        return CT_OK;
    }
    plain_tensor target;
    return ct_raw_copy(
        plain_tensor_make(&target, tensor->context, dtype, tensor->ndim, tensor->shape, buffer), tensor);
}

ct_status ct_write(ct_tensor *tensor, ct_dtype dtype, const void *buffer) {
    ct_status status;
    if (!elements_reachable(tensor, "write", buffer, &status)) return status;
    if (!ct_operands_ready("write", 1, (const ct_tensor *const[]){tensor}))
        return ct_context_status(tensor->context);
    ct_touch(tensor);
    plain_tensor source;
    return ct_raw_copy(tensor, plain_tensor_make(&source, tensor->context, dtype, tensor->ndim, tensor->shape,
                                                 (void *)buffer));
}

ct_status ct_item(const ct_tensor *tensor, double *value) {
    ct_status status = ct_context_status(tensor->context);
    if (status != CT_OK) return status;
    if (tensor->count != 1) {
        char text[160];
        return ct_fail(tensor->context, CT_ERROR_SHAPE, "item: one element is expected, found %s",
                       ct_describe(tensor, text, sizeof text));
    }
    return ct_read(tensor, CT_F64, value);
}

/* ----------------------------------------------------------------------------------------------- in place */

ct_status ct_copy_into(ct_tensor *target, const ct_tensor *source) {
    ct_status status = ct_raw_copy(target, source);
    ct_touch(target);
    return status;
}

ct_status ct_add_into(ct_tensor *target, const ct_tensor *source, double alpha) {
    ct_status status = ct_raw_axpy(target, source, alpha);
    ct_touch(target);
    return status;
}

typedef struct scale_work {
    double factor;
    int64_t whole; /* the factor for integers */
    char *data;
    bool single;
} scale_work;

static void scale_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const scale_work *work = user;
    int64_t n = last - first;
    if (work->single) {
        float *data = (float *)work->data + first;
        ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, n, data, data, (float)work->factor, -0.0f);
    } else {
        double *data = (double *)work->data + first;
        ct_cpu_kernels()->f64.unary(CT_UNARY_SCALE, n, data, data, work->factor, -0.0);
    }
}
static void scale_f32_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)steps;
    float factor = (float)((const scale_work *)user)->factor;
    ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, n, inputs[0], out, factor, -0.0f);
}
static void scale_f64_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)steps;
    double factor = ((const scale_work *)user)->factor;
    ct_cpu_kernels()->f64.unary(CT_UNARY_SCALE, n, inputs[0], out, factor, -0.0);
}
static void scale_integer_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                               void *out) {
    (void)steps;
    uint64_t factor = (uint64_t)((const scale_work *)user)->whole;
    const uint64_t *x = inputs[0];
    uint64_t *y = out;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * factor;
}

ct_status ct_scale_into(ct_tensor *target, double factor) {
    ct_context *context = target->context;
    if (!ct_operands_ready("scale_into", 1, (const ct_tensor *const[]){target}) ||
        !ct_target_ready("scale_into", target))
        return ct_context_status(context);
    ct_dtype dtype = (ct_dtype)target->dtype, compute = ct_compute_type(dtype);
    if (compute == CT_I64 && !(factor == floor(factor) && fabs(factor) < 0x1p63))
        return ct_fail(context, CT_ERROR_TYPE, "scale_into: %g is not a factor for an integer tensor",
                       factor);
    ct_touch(target);
    if (ct_is_meta(target) || target->count == 0) return CT_OK;
    scale_work work = {factor, compute == CT_I64 ? (int64_t)factor : 0, ct_pointer(target), dtype == CT_F32};
    if ((dtype == CT_F32 || dtype == CT_F64) && ct_dense(target)) {
        ct_parallel_ranges(context, target->count, CT_CHUNK, scale_range, &work);
        return ct_context_status(context);
    }
    ct_loop loop;
    loop.body = compute == CT_F64 ? scale_f64_body : compute == CT_F32 ? scale_f32_body : scale_integer_body;
    loop.user = &work;
    loop.count = target->count;
    loop.inputs = 1;
    loop.load[0] = loop.store = compute;
    loop.expand[0] = true;
    ct_operand_broadcast(&loop.output, target, target->ndim, target->shape);
    loop.input[0] = loop.output;
    ct_loop_run(context, &loop);
    return ct_context_status(context);
}
