/* tensor.h - inside the tensor room: the layout of storage and tensors, for this room and autograd only. */
#ifndef CARAT_SRC_TENSOR_TENSOR_H
#define CARAT_SRC_TENSOR_TENSOR_H

#include <carat/tensor.h>

typedef struct ct_storage {
    int64_t references;
    uint64_t version;
    ct_context *context;
    void *data;   /* NULL on meta and for generated weights */
    size_t bytes; /* counted size: rounded, 0 if the memory is the caller's */
    ct_memory_class memory_class;
    ct_device device;
    void (*release)(void *user); /* the caller's memory or tile function */
    void *user;
    ct_tile_function tile; /* a generated weight; its row pitch is columns */
    int64_t tile_columns;
    const struct ct_gemm_packed *packed; /* a weight in blocks: the transpose, in panels; NULL: none */
    struct ct_shadow *shadow; /* derived copies that live as long as the storage (packed, bf16); may be NULL */
} ct_storage;

struct ct_tensor {
    int64_t references;
    ct_context *context;
    ct_storage *storage; /* NULL: inert */
    struct ct_node *node; /* producer, or the leaf's accumulation node; owned reference */
    int32_t output;       /* which output of node */
    bool requires_grad;   /* leaf that asks for gradients */
    uint8_t dtype, ndim;
    int64_t offset; /* in elements */
    int64_t count;
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
};

/* State of the tensor room in a context. */
typedef struct ct_tensor_room {
    ct_tensor **pool; /* handles owned by scopes, innermost last */
    size_t pool_count, pool_capacity;
    ct_device device;
    ct_memory_class memory_class;
    uint64_t flops;
    ct_tensor inert; /* returned when not even a handle can be had */
    void (*node_release)(struct ct_node *node); /* set by autograd */
} ct_tensor_room;
ct_tensor_room *ct_tensor_room_of(ct_context *context); /* made at first use; NULL with an error if it cannot be */

/* New handle in the innermost scope. Storage reference is taken over (even on failure). */
ct_tensor *ct_tensor_wrap(ct_context *context, ct_storage *storage, ct_dtype dtype, int ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset);
ct_storage *ct_storage_create(ct_context *context, size_t bytes, ct_device device, ct_memory_class which);
void ct_storage_release(ct_storage *storage);
/* An inert tensor of that type and shape (shape may be NULL: a scalar); never NULL. */
ct_tensor *ct_inert(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape);
/* Uninitialised result on the device of `like`. */
ct_tensor *ct_empty_on(ct_context *context, ct_device device, ct_dtype dtype, int ndim, const int64_t *shape);

static inline bool ct_is_meta(const ct_tensor *t) { return !t->storage || t->storage->device == CT_META; }
static inline void *ct_pointer(const ct_tensor *t) {
    if (!t->storage || !t->storage->data) return NULL;
    return (char *)t->storage->data + t->offset * (int64_t)ct_dtype_size((ct_dtype)t->dtype);
}
static inline void ct_touch(ct_tensor *t) {
    if (t->storage) t->storage->version++;
}
/* axis in [0, ndim) from a possibly negative one; -1 and an error naming `operation` if out of range. */
int ct_axis(const ct_tensor *t, int axis, const char *operation);
/* Broadcast shape of two; false and an error naming `operation` if they do not fit. */
bool ct_broadcast_shape(const ct_tensor *a, const ct_tensor *b, const char *operation, int *ndim, int64_t *shape);
ct_dtype ct_promote(ct_dtype a, ct_dtype b);
void ct_contiguous_strides(int ndim, const int64_t *shape, int64_t *stride);
int64_t ct_shape_count(int ndim, const int64_t *shape); /* -1 on overflow or a negative size */
/* Adds to the context's count of floating-point operations. */
void ct_count_flops(ct_context *context, uint64_t flops);
/* True (and nothing to do) if the context has failed. */
bool ct_stop_op(ct_context *context);

#endif
