/* kernels_internal.h - what the kernel variants share and the tensor room does not need. */
#ifndef CARAT_TENSOR_CPU_KERNELS_INTERNAL_H
#define CARAT_TENSOR_CPU_KERNELS_INTERNAL_H

#include "tensor/cpu/kernels.h"

/* Combines block results as they come, like a binary counter: level l holds the result of 2^l blocks. Only `count` is set to 0 at
 * the start: clearing 63 levels costs more than a short row. */
typedef struct ct_reduce_counter {
    int64_t count;
    double level[63];
} ct_reduce_counter;
void ct_reduce_counter_add(ct_reduce_counter *counter, ct_reduce op, double value);
double ct_reduce_counter_total(const ct_reduce_counter *counter, ct_reduce op);

/* Rows of queries that the attention kernels take through a key block together, and those for which a key
 * block is packed once (neither influences the bits). */
#define CT_ATTENTION_ROWS 48
#define CT_ATTENTION_GROUP CT_ATTENTION_QUERIES

#endif
