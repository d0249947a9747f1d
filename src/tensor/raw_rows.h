/* raw_rows.h - internal: what the network operations share: types, temporary copies, cutting rows into tasks.
 */
#ifndef CARAT_SRC_TENSOR_RAW_ROWS_H
#define CARAT_SRC_TENSOR_RAW_ROWS_H

#include "tensor/cpu/kernels.h"
#include "tensor/raw.h"

/* What a type is computed in. */
static inline ct_dtype ct_compute_dtype(ct_dtype dtype) {
    return dtype == CT_F64 ? CT_F64 : CT_F32;
}

static inline int64_t ct_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static inline int64_t ct_least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* An address `elements` elements of `dtype` after `base`. */
static inline void *ct_at(const void *base, ct_dtype dtype, int64_t elements) {
    return (char *)(uintptr_t)base + elements * (int64_t)ct_dtype_size(dtype);
}

/* Rows that one task takes: some 16 Ki elements, at most CT_COLUMN_ROWS rows. A function of the shape alone.
 */
static inline int64_t ct_rows_per_task(int64_t columns) {
    int64_t rows = columns > 0 ? 16384 / columns : CT_COLUMN_ROWS;
    return rows < 1 ? 1 : ct_least(rows, CT_COLUMN_ROWS);
}

/* Sums over rows, of columns: for each sequence its `rows` rows in order (at most CT_COLUMN_ROWS), then the
 * sequences in order, added to what stands in `sum` if `onto`. Once or twice, of data [sequences, rows, columns]. */
typedef struct ct_column_folds {
    ct_context *context;
    ct_dtype compute; /* f32 or f64: of data and sums */
    int64_t sequences, rows, columns;
    int count;
    const void *data[2]; /* NULL on meta */
    void *sum[2];
    bool onto[2];
    void *owned;     /* freed when the sums are complete, if not NULL */
    ct_tensor *held; /* dropped then */
} ct_column_folds;
/* `may_wait`: the sums may be complete only after ct_parallel_finish. */
void ct_column_folds_run(const ct_column_folds *folds, bool may_wait);

/* An error naming operation and operand, and false, unless the tensor is f32, f64, bf16 or f16. */
bool ct_require_float(const ct_tensor *t, const char *operation, const char *operand);
/* The same unless `t` has the type `dtype`. */
bool ct_require_dtype(const ct_tensor *t, ct_dtype dtype, const char *operation, const char *operand);
/* `t` contiguous and of `dtype`: itself where it is so, else a copy. */
ct_tensor *ct_in_dtype(ct_tensor *t, ct_dtype dtype);
/* Size of the last axis; rows are what is before it. The tensor must have a last axis. */
static inline int64_t ct_last(const ct_tensor *t) {
    return t->shape[t->ndim - 1];
}
int64_t ct_row_count(const ct_tensor *t);

/* An uninitialised tensor whose axes lie in memory in the order in which those of `like` do (its own last
 * axis stays innermost): a result that is permuted back is then contiguous again. Contiguous for a contiguous
 * `like`. */
ct_tensor *ct_empty_in_order_of(const ct_tensor *like, ct_dtype dtype, const int64_t *shape);

#endif
