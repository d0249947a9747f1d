/* iterate.h - walking over tensors of any strides, element type and broadcast, in row-major order of a common
 * shape.
 *
 * An operand is one tensor seen over that shape, its own axes merged where its strides allow. A loop is some
 * operands and a body: the body gets pieces of the common order, each input as an array of the type it asked
 * for (step 1, or step 0 where the input is one value), and fills an array of the type it declared. Pieces
 * that are not in memory like this pass through tiles of CT_TILE elements. Elements do not depend on how the
 * order is cut, so the work is cut into chunks of CT_CHUNK elements for ct_parallel_for. */
#ifndef CARAT_SRC_TENSOR_ITERATE_H
#define CARAT_SRC_TENSOR_ITERATE_H

#include "tensor/tensor.h"

/* The kernel table and carat/ops.h both have a CT_REDUCE_SUM: here, as in raw_rows.h, the kernels' is
 * renamed. */
#define CT_REDUCE_SUM CT_KERNEL_REDUCE_SUM
#include "tensor/cpu/kernels.h"
#undef CT_REDUCE_SUM

#define CT_TILE 1024
#define CT_CHUNK 8192
#define CT_LOOP_INPUTS 3

typedef struct ct_operand {
    char *data; /* of the element at the origin */
    ct_dtype dtype;
    int size; /* of an element, bytes */
    int ndim; /* at least 1 */
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
} ct_operand;

typedef struct ct_cursor {
    const ct_operand *operand;
    int64_t offset; /* in elements */
    int64_t at[CT_MAX_DIMS];
} ct_cursor;

/* Row-major and without gaps. */
static inline bool ct_dense(const ct_tensor *t) {
    int64_t expected = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}
static inline bool ct_shape_equal(const ct_tensor *a, const ct_tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

/* The tensor seen over `shape`, to which it must broadcast. */
void ct_operand_broadcast(ct_operand *operand, const ct_tensor *t, int ndim, const int64_t *shape);
/* Any region: `data` is the address of its origin. */
void ct_operand_make(ct_operand *operand, void *data, ct_dtype dtype, int ndim, const int64_t *shape,
                     const int64_t *stride);

void ct_cursor_seek(ct_cursor *cursor, const ct_operand *operand, int64_t position);
/* Elements from here to the end of the innermost row. */
static inline int64_t ct_cursor_run(const ct_cursor *cursor) {
    int last = cursor->operand->ndim - 1;
    return cursor->operand->shape[last] - cursor->at[last];
}
static inline char *ct_cursor_address(const ct_cursor *cursor) {
    return cursor->operand->data + cursor->offset * cursor->operand->size;
}
static inline int64_t ct_cursor_step(const ct_cursor *cursor) {
    return cursor->operand->stride[cursor->operand->ndim - 1];
}
/* n at most the run. */
void ct_cursor_skip(ct_cursor *cursor, int64_t n);
/* The next n elements, bytes as they are, to or from a plain array. */
void ct_cursor_read(ct_cursor *cursor, int64_t n, void *out);
void ct_cursor_write(ct_cursor *cursor, int64_t n, const void *in);

/* n elements; inputs[i] has steps[i] 0 or 1. */
typedef void (*ct_loop_body)(const void *user, int64_t n, const void *const *inputs, const int *steps,
                             void *out);

typedef struct ct_loop {
    ct_loop_body body;
    const void *user;
    int64_t count;
    int inputs;
    ct_operand input[CT_LOOP_INPUTS], output;
    ct_dtype load[CT_LOOP_INPUTS]; /* what the body reads */
    ct_dtype store;                /* what the body writes */
    bool expand[CT_LOOP_INPUTS];   /* the body wants step 1 only */
} ct_loop;
void ct_loop_run(ct_context *context, const ct_loop *loop);

/* The three types that are computed in: f64, f32 (also for bf16 and f16) and i64 (for all integers). */
static inline ct_dtype ct_compute_type(ct_dtype dtype) {
    if (dtype == CT_F64) return CT_F64;
    return ct_dtype_is_float(dtype) ? CT_F32 : CT_I64;
}

/* Whether an operation may start: false (with the error in the context) if the context has failed or an
 * operand is inert, a generated weight, or on another device than the first. */
bool ct_operands_ready(const char *operation, int count, const ct_tensor *const *operands);

/* Calls task(user, first, last, worker) on [0, count) in pieces of `piece`; one piece without the parallel
 * loop. */
typedef void (*ct_range_task)(void *user, int64_t first, int64_t last, int worker);
void ct_parallel_ranges(ct_context *context, int64_t count, int64_t piece, ct_range_task task, void *user);

#endif
