/* tensor.h - tensors: shapes, storage, views, creation, reading and writing elements.
 *
 * A ct_tensor is a handle on a region of reference-counted storage: type, shape, strides (in elements), offset.
 * Shapes are written `[batch, heads, time, channels]` in comments. At most CT_MAX_DIMS dimensions; a scalar has
 * none. Handles that functions return belong to the innermost open scope of the context and are released when it
 * closes; ct_hold keeps one longer. Nothing else has to be freed. */
#ifndef CARAT_TENSOR_H
#define CARAT_TENSOR_H

#include <carat/base.h>
#include <carat/dtype.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CT_MAX_DIMS 8
/* A shape written in place: ct_empty(context, CT_F32, CT_DIMS(2, 3)); a scalar: ct_empty(context, CT_F32, 0, NULL). */
#define CT_DIMS(...)                                                                                              \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}

typedef struct ct_tensor ct_tensor;

/* `cpu` computes; `meta` carries shapes and types, counts bytes and multiply-adds, and holds no data. */
typedef enum ct_device { CT_CPU, CT_META } ct_device;

/* The device on which creation functions make tensors. Operations run where their operands are. */
ct_status ct_context_set_device(ct_context *context, ct_device device);
ct_device ct_context_device(const ct_context *context);
/* Floating-point operations (a multiply-add counts 2) of matmul-like work since the last reset, on either device. */
uint64_t ct_context_flops(const ct_context *context);
void ct_context_reset_flops(ct_context *context);
/* The accounting class that new storage gets (CT_MEMORY_ACTIVATIONS at the start). Returns the one before. */
ct_memory_class ct_context_set_memory_class(ct_context *context, ct_memory_class which);

/* ------------------------------------------------------------------------------------------- scopes ----- */

typedef size_t ct_scope;
ct_scope ct_scope_open(ct_context *context);
/* Releases every handle made since the scope was opened. */
void ct_scope_close(ct_context *context, ct_scope scope);
/* The same, but `result` (made inside) passes to the scope around it. Returns `result`. */
ct_tensor *ct_scope_return(ct_context *context, ct_scope scope, ct_tensor *result);
void ct_scope_return_many(ct_context *context, ct_scope scope, ct_tensor *const *results, int count);
/* Own a handle beyond its scope; each ct_hold needs a ct_drop. NULL is allowed. */
ct_tensor *ct_hold(ct_tensor *tensor);
void ct_drop(ct_tensor *tensor);

/* ----------------------------------------------------------------------------------------- creation ----- */

/* Uninitialised, contiguous, row-major. */
ct_tensor *ct_empty(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape);
ct_tensor *ct_zeros(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape);
ct_tensor *ct_full(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, double value);
ct_tensor *ct_empty_like(ct_tensor *like); /* same type, shape and device, contiguous */
ct_tensor *ct_zeros_like(ct_tensor *like);
ct_tensor *ct_ones_like(ct_tensor *like);
ct_tensor *ct_scalar(ct_context *context, ct_dtype dtype, double value); /* shape [] */
/* Copies `data` (row-major, of `dtype`). */
ct_tensor *ct_from_data(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, const void *data);
/* Wraps memory of the caller without a copy; `release(user)` is called when the storage goes (may be NULL). */
ct_tensor *ct_from_memory(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, void *data,
                          void (*release)(void *user), void *user);
/* A weight [rows, columns] that is never whole in memory: `tile` writes the asked part, row-major with row pitch
 * `pitch`, whenever matmul (ct_matmul, ct_linear, either operand, forward and backward) packs it, on any worker and
 * possibly several times. Only matmul, ct_linear, transposing views of it and ct_read accept such a tensor. f32. */
typedef void (*ct_tile_function)(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns,
                                 float *out, int64_t pitch);
ct_tensor *ct_from_tiles(ct_context *context, int64_t rows, int64_t columns, ct_tile_function tile, void *user,
                         void (*release)(void *user));
/* A weight [rows, columns] that stays in GGML's Q8_0 blocks: row by row, for each 32 elements a scale d (f16) and 32
 * signed bytes q, 34 bytes for elements d q; `columns` is a multiple of 32. The blocks are copied (into another order,
 * memory of class weights). To ct_linear, ct_matmul, ct_embedding and ct_read it is the f32 tensor of these values, of
 * about a quarter of the memory; products have the bits that the f32 tensor would give. It cannot be trained or written.
 * On meta only the memory is counted, and blocks may be NULL. */
ct_tensor *ct_from_q8_0(ct_context *context, int64_t rows, int64_t columns, const void *blocks);
/* The blocks of rows [first, first + count) of such a weight; false if the tensor is none. */
bool ct_read_q8_0(const ct_tensor *tensor, int64_t first, int64_t count, void *blocks);
/* start, start + step, ... ; `count` elements. */
ct_tensor *ct_arange(ct_context *context, ct_dtype dtype, int64_t count, double start, double step);
ct_tensor *ct_eye(ct_context *context, ct_dtype dtype, int64_t size);
/* Draws advance random->offset by the number of elements. f32, f64, bf16 and f16; the f32 draw of element i is a
 * function of (seed, stream, offset + i) and other types are its conversions (f64 has its own 53-bit draw). */
ct_tensor *ct_random_uniform_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, double low,
                                    double high, ct_random *random);
ct_tensor *ct_random_normal_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, double mean,
                                   double deviation, ct_random *random);
ct_tensor *ct_random_integer_tensor(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, int64_t low,
                                    int64_t high, ct_random *random);
ct_tensor *ct_random_bernoulli_tensor(ct_context *context, int ndim, const int64_t *shape, double probability,
                                      ct_random *random); /* u8: 1 with `probability` */
ct_tensor *ct_random_permutation_tensor(ct_context *context, int64_t count, ct_random *random); /* i64 */

/* ------------------------------------------------------------------------------------------- asking ----- */

ct_context *ct_context_of(const ct_tensor *tensor);
ct_dtype ct_dtype_of(const ct_tensor *tensor);
ct_device ct_device_of(const ct_tensor *tensor);
int ct_ndim(const ct_tensor *tensor);
int64_t ct_dim(const ct_tensor *tensor, int axis); /* axis may be negative; 0 and an error if out of range */
const int64_t *ct_shape(const ct_tensor *tensor);
const int64_t *ct_strides(const ct_tensor *tensor); /* in elements; 0 along broadcast axes */
int64_t ct_count(const ct_tensor *tensor);          /* elements */
bool ct_is_contiguous(const ct_tensor *tensor);
bool ct_same_shape(const ct_tensor *a, const ct_tensor *b);
/* "f32[2, 3]" for messages. */
const char *ct_describe(const ct_tensor *tensor, char *buffer, size_t size);
uint64_t ct_version(const ct_tensor *tensor); /* of the storage; in-place changes add one */

/* --------------------------------------------------------------------------------------- element access ----- */

/* Address of the first element; NULL on meta or for an inert tensor. Contiguous tensors are [0, ct_count). Who
 * writes through ct_data_mutable changes the version. */
const void *ct_data(const ct_tensor *tensor);
void *ct_data_mutable(ct_tensor *tensor);
/* The only element of a tensor with one element, as double. */
ct_status ct_item(const ct_tensor *tensor, double *value);
/* Copies all elements, in row-major order, converted to `dtype`, to or from `buffer` of ct_count elements. */
ct_status ct_read(const ct_tensor *tensor, ct_dtype dtype, void *buffer);
ct_status ct_write(ct_tensor *tensor, ct_dtype dtype, const void *buffer);

/* In place and without a graph; they raise the version. `source` is broadcast and converted. */
ct_status ct_copy_into(ct_tensor *target, const ct_tensor *source);
ct_status ct_fill(ct_tensor *target, double value);
ct_status ct_fill_uniform(ct_tensor *target, double low, double high, ct_random *random);
ct_status ct_fill_normal(ct_tensor *target, double mean, double deviation, ct_random *random);
ct_status ct_add_into(ct_tensor *target, const ct_tensor *source, double alpha); /* target += alpha * source */
ct_status ct_scale_into(ct_tensor *target, double factor);
/* target += alpha * normal(random, element index): the seeded perturbation of zeroth-order methods, without ever
 * holding the noise. Same draws as ct_fill_normal with mean 0, deviation 1. Advances random->offset by the count. */
ct_status ct_perturb(ct_tensor *target, double alpha, ct_random *random);

/* Moves a storage's bytes to another class in the accounts (a parameter becomes a weight). */
void ct_tensor_reclass(ct_tensor *tensor, ct_memory_class which);

/* Views without a graph (the differentiable ones are in ops.h). They share storage; strides may be any. */
ct_tensor *ct_view_strided(ct_tensor *tensor, int ndim, const int64_t *shape, const int64_t *strides,
                           int64_t offset); /* offset relative to the tensor's first element */
ct_tensor *ct_alias(ct_tensor *tensor);     /* the same region, no graph, no gradient: ct_detach without a node */

#ifdef __cplusplus
}
#endif
#endif
