/* reduce_rows.h - one number for each row of a tensor: the stage of a reduction whose reduced axes are last.
 */
#ifndef CARAT_SRC_TENSOR_REDUCE_ROWS_H
#define CARAT_SRC_TENSOR_REDUCE_ROWS_H

#include "tensor/raw.h"

/* A region without axes of size 1, some axes marked as reduced. */
typedef struct ct_reduction {
    void *data;
    ct_dtype dtype;
    int ndim;
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    bool reduced[CT_MAX_DIMS];
} ct_reduction;

/* Reduces the last `inner` axes. `out` is one element for each index of the axes before, row-major, of the
 * compute type (f32, f64, i64). A row is cut into blocks of CT_REDUCE_BLOCK elements whose results are
 * combined in a fixed tree, so that its result depends neither on the other rows nor on the strides. */
ct_status ct_reduce_rows(ct_context *context, ct_reduce_op op, const ct_reduction *x, int inner, void *out);

#endif
