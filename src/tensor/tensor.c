/* tensor.c - handles and scopes, shapes, and what can be asked of a tensor. */
#include "tensor/tensor.h"
#include "base/context.h"
#include <string.h>

/* ------------------------------------------------------------------------------------- handles, scopes */

static bool pool_push(ct_context *context, ct_tensor_room *room, ct_tensor *tensor) {
    if (room->pool_count == room->pool_capacity) {
        size_t capacity = room->pool_capacity ? 2 * room->pool_capacity : 256;
        ct_tensor **pool = ct_realloc(context, room->pool, capacity * sizeof(*pool), CT_MEMORY_OTHER);
        if (!pool) return false;
        room->pool = pool;
        room->pool_capacity = capacity;
    }
    room->pool[room->pool_count++] = tensor;
    return true;
}

ct_scope ct_scope_open(ct_context *context) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    return room ? room->pool_count : 0;
}

void ct_scope_close(ct_context *context, ct_scope scope) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (!room) return;
    while (room->pool_count > scope) ct_drop(room->pool[--room->pool_count]);
}

void ct_scope_return_many(ct_context *context, ct_scope scope, ct_tensor *const *results, int count) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (!room) return;
    for (int i = 0; i < count; i++) ct_hold(results[i]);
    /* Closing leaves at least as many free places in the pool as results were made inside; results from outside
     * the scope get a place too, which can fail only on exhaustion: then the handle just lives on. */
    ct_scope_close(context, scope);
    for (int i = 0; i < count; i++)
        if (results[i]) pool_push(context, room, results[i]);
}

ct_tensor *ct_scope_return(ct_context *context, ct_scope scope, ct_tensor *result) {
    ct_scope_return_many(context, scope, &result, 1);
    return result;
}

ct_tensor *ct_hold(ct_tensor *tensor) {
    if (tensor) tensor->references++;
    return tensor;
}

void ct_drop(ct_tensor *tensor) {
    if (!tensor || --tensor->references > 0) return;
    ct_context *context = tensor->context;
    if (tensor->node) {
        ct_tensor_room *room = context->room[CT_ROOM_TENSOR];
        room->node_release(tensor->node);
    }
    ct_storage_release(tensor->storage);
    ct_free(context, tensor);
}

ct_tensor *ct_inert(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    ct_tensor *t = room ? ct_alloc(context, sizeof(*t), CT_MEMORY_OTHER) : NULL;
    if (!t || !pool_push(context, room, t)) {
        ct_free(context, t);
        static ct_tensor last_resort = {.references = INT64_MAX / 2, .count = 1};
        return room ? &room->inert : &last_resort;
    }
    memset(t, 0, sizeof(*t));
    t->references = 1;
    t->context = context;
    t->dtype = (uint8_t)dtype;
    t->count = 1;
    if (shape && ct_shape_count(ndim, shape) >= 0) {
        t->ndim = (uint8_t)ndim;
        t->count = ct_shape_count(ndim, shape);
        for (int i = 0; i < ndim; i++) t->shape[i] = shape[i];
        ct_contiguous_strides(ndim, shape, t->stride);
    }
    return t;
}

ct_tensor *ct_tensor_wrap(ct_context *context, ct_storage *storage, ct_dtype dtype, int ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    ct_tensor *t = room ? ct_alloc(context, sizeof(*t), CT_MEMORY_OTHER) : NULL;
    if (!t || !pool_push(context, room, t)) {
        ct_free(context, t);
        ct_storage_release(storage);
        return ct_inert(context, dtype, ndim, shape);
    }
    t->references = 1;
    t->context = context;
    t->storage = storage;
    t->node = NULL;
    t->output = 0;
    t->requires_grad = false;
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    t->offset = offset;
    t->count = 1;
    for (int i = 0; i < ndim; i++) {
        t->shape[i] = shape[i];
        t->count *= shape[i];
    }
    if (stride)
        for (int i = 0; i < ndim; i++) t->stride[i] = stride[i];
    else
        ct_contiguous_strides(ndim, shape, t->stride);
    return t;
}

/* ---------------------------------------------------------------------------------------- empty, views */

ct_tensor *ct_empty_on(ct_context *context, ct_device device, ct_dtype dtype, int ndim, const int64_t *shape) {
    if (ct_failed(context)) return ct_inert(context, dtype, ndim, shape);
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (ndim < 0 || ndim > CT_MAX_DIMS) {
        ct_fail(context, CT_ERROR_SHAPE, "a tensor of %d dimensions was asked for, at most %d are possible", ndim,
                CT_MAX_DIMS);
        return ct_inert(context, dtype, 0, NULL);
    }
    int64_t count = ct_shape_count(ndim, shape);
    size_t size = ct_dtype_size(dtype);
    if (count < 0 || (uint64_t)count > (uint64_t)(SIZE_MAX / 4) / size) {
        ct_fail(context, CT_ERROR_SHAPE, "a tensor of a negative or too large size was asked for");
        return ct_inert(context, dtype, 0, NULL);
    }
    ct_storage *storage =
        room ? ct_storage_create(context, (size_t)count * size, device, room->memory_class) : NULL;
    if (!storage) return ct_inert(context, dtype, ndim, shape);
    return ct_tensor_wrap(context, storage, dtype, ndim, shape, NULL, 0);
}

ct_tensor *ct_empty(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape) {
    return ct_empty_on(context, ct_context_device(context), dtype, ndim, shape);
}

ct_tensor *ct_empty_like(ct_tensor *like) {
    return ct_empty_on(like->context, ct_device_of(like), ct_dtype_of(like), like->ndim, like->shape);
}

ct_tensor *ct_view_strided(ct_tensor *tensor, int ndim, const int64_t *shape, const int64_t *strides,
                           int64_t offset) {
    ct_context *context = tensor->context;
    if (ct_failed(context) || !tensor->storage) return ct_inert(context, ct_dtype_of(tensor), ndim, shape);
    if (ndim < 0 || ndim > CT_MAX_DIMS || ct_shape_count(ndim, shape) < 0) {
        ct_fail(context, CT_ERROR_SHAPE, "view: a shape of %d dimensions with a negative or too large size", ndim);
        return ct_inert(context, ct_dtype_of(tensor), 0, NULL);
    }
    int64_t low = tensor->offset + offset, high = low;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] == 0) empty = true;
        int64_t reach = (shape[i] - 1) * strides[i];
        if (reach < 0) low += reach;
        else high += reach;
    }
    ct_storage *storage = tensor->storage;
    int64_t room = (int64_t)(storage->bytes / ct_dtype_size(ct_dtype_of(tensor)));
    if (!empty && (low < 0 || (storage->bytes && high >= room))) {
        ct_fail(context, CT_ERROR_SHAPE, "view: elements %lld to %lld lie outside the storage of %lld",
                (long long)low, (long long)high, (long long)room);
        return ct_inert(context, ct_dtype_of(tensor), ndim, shape);
    }
    storage->references++;
    return ct_tensor_wrap(context, storage, ct_dtype_of(tensor), ndim, shape, strides, tensor->offset + offset);
}

ct_tensor *ct_alias(ct_tensor *tensor) {
    if (!tensor->storage) return ct_inert(tensor->context, ct_dtype_of(tensor), tensor->ndim, tensor->shape);
    tensor->storage->references++;
    return ct_tensor_wrap(tensor->context, tensor->storage, ct_dtype_of(tensor), tensor->ndim, tensor->shape,
                          tensor->stride, tensor->offset);
}

/* ---------------------------------------------------------------------------------------------- asking */

ct_context *ct_context_of(const ct_tensor *tensor) { return tensor->context; }
ct_dtype ct_dtype_of(const ct_tensor *tensor) { return (ct_dtype)tensor->dtype; }
ct_device ct_device_of(const ct_tensor *tensor) { return tensor->storage ? tensor->storage->device : CT_META; }
int ct_ndim(const ct_tensor *tensor) { return tensor->ndim; }
const int64_t *ct_shape(const ct_tensor *tensor) { return tensor->shape; }
const int64_t *ct_strides(const ct_tensor *tensor) { return tensor->stride; }
int64_t ct_count(const ct_tensor *tensor) { return tensor->count; }
uint64_t ct_version(const ct_tensor *tensor) { return tensor->storage ? tensor->storage->version : 0; }
const void *ct_data(const ct_tensor *tensor) { return ct_pointer(tensor); }

int64_t ct_dim(const ct_tensor *tensor, int axis) {
    int normalised = ct_axis(tensor, axis, "dim");
    return normalised < 0 ? 0 : tensor->shape[normalised];
}

void *ct_data_mutable(ct_tensor *tensor) {
    ct_touch(tensor);
    return ct_pointer(tensor);
}

bool ct_is_contiguous(const ct_tensor *tensor) {
    int64_t expected = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != expected) return tensor->count == 0;
        expected *= tensor->shape[i];
    }
    return true;
}

bool ct_same_shape(const ct_tensor *a, const ct_tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

const char *ct_describe(const ct_tensor *tensor, char *buffer, size_t size) {
    if (!size) return buffer;
    int used = snprintf(buffer, size, "%s[", ct_dtype_name(ct_dtype_of(tensor)));
    for (int i = 0; i < tensor->ndim && used > 0 && (size_t)used < size; i++)
        used += snprintf(buffer + used, size - (size_t)used, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    if (used > 0 && (size_t)used < size) snprintf(buffer + used, size - (size_t)used, "]");
    return buffer;
}

/* ---------------------------------------------------------------------------------------------- shapes */

int ct_axis(const ct_tensor *t, int axis, const char *operation) {
    int normalised = axis < 0 ? axis + t->ndim : axis;
    if (normalised >= 0 && normalised < t->ndim) return normalised;
    char text[160];
    ct_fail(t->context, CT_ERROR_SHAPE, "%s: axis %d does not exist in %s", operation, axis,
            ct_describe(t, text, sizeof(text)));
    return -1;
}

bool ct_broadcast_shape(const ct_tensor *a, const ct_tensor *b, const char *operation, int *ndim, int64_t *shape) {
    int n = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < n; i++) {
        int ia = a->ndim - n + i, ib = b->ndim - n + i;
        int64_t da = ia >= 0 ? a->shape[ia] : 1, db = ib >= 0 ? b->shape[ib] : 1;
        if (da != db && da != 1 && db != 1) {
            char ta[160], tb[160];
            ct_fail(a->context, CT_ERROR_SHAPE, "%s: %s and %s do not fit (%lld against %lld)", operation,
                    ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)), (long long)da, (long long)db);
            return false;
        }
        shape[i] = da == 1 ? db : da;
    }
    *ndim = n;
    return true;
}

ct_dtype ct_promote(ct_dtype a, ct_dtype b) {
    if (a == b) return a;
    if (a == CT_F64 || b == CT_F64) return CT_F64;
    bool fa = ct_dtype_is_float(a), fb = ct_dtype_is_float(b);
    if (fa && fb) return CT_F32;
    if (fa) return a;
    if (fb) return b;
    if (a == CT_I64 || b == CT_I64) return CT_I64;
    return CT_I32;
}

void ct_contiguous_strides(int ndim, const int64_t *shape, int64_t *stride) {
    int64_t step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1;
    }
}

int64_t ct_shape_count(int ndim, const int64_t *shape) {
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) return -1;
        if (__builtin_mul_overflow(count, shape[i], &count)) return -1;
    }
    return count;
}

bool ct_stop_op(ct_context *context) { return ct_failed(context); }
