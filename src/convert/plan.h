/* plan.h - internal: which tensor of the output is made how from which of the input. */
#ifndef CARAT_CONVERT_PLAN_H
#define CARAT_CONVERT_PLAN_H

#include "carat/convert.h"
#include "carat/gguf.h"
#include "format/arena.h"

/* How the elements of the output lie in the source. Rows are the first dimension. */
typedef enum ct_order {
    CT_ORDER_SAME,
    CT_ORDER_TO_PAIRS,   /* rows of each head from two halves (Hugging Face's rope) to pairs (GGML's) */
    CT_ORDER_TO_HALVES,  /* the reverse */
    CT_ORDER_TRANSPOSED, /* a matrix */
} ct_order;

typedef struct ct_plan_tensor {
    const char *name;
    ct_element type;
    int rank;
    const int64_t *shape;
    int64_t count;
    const ct_archive_tensor *source; /* NULL: the values themselves are given, type F32 */
    const float *values;
    ct_order order;
    int64_t heads; /* of the orders of rope */
    float add;     /* to every element */
} ct_plan_tensor;

typedef struct ct_plan {
    ct_context *context;
    ct_archive *archive;
    ct_plan_tensor *tensors;
    size_t count, capacity;
    ct_arena texts;    /* names, shapes, values */
    ct_value *dropped; /* list of names */
} ct_plan;

ct_status ct_plan_begin(ct_plan *plan, ct_archive *archive);
void ct_plan_end(ct_plan *plan);
/* A tensor like `source`, to be changed by the caller; NULL on error. `name` is copied. */
ct_plan_tensor *ct_plan_add(ct_plan *plan, const char *name, const ct_archive_tensor *source);
/* `count` values as a vector of F32, copied. */
ct_status ct_plan_add_values(ct_plan *plan, const char *name, const float *values, int64_t count);
/* Swaps the dimensions of a matrix. */
ct_status ct_plan_transpose(ct_plan *plan, ct_plan_tensor *tensor);
ct_status ct_plan_drop(ct_plan *plan, const char *name);
/* The type that `wanted` (CT_ELEMENTS: none) asks for: only real numbers change; blocks become F32 where the
 * target has none. */
ct_element ct_plan_type(ct_element type, ct_element wanted, bool blocks_allowed);
/* What fails before the first byte is written: types that cannot be read or written. */
ct_status ct_plan_check(const ct_plan *plan);
/* {"F16": 12, "F32": 3} */
ct_value *ct_plan_types(const ct_plan *plan);
uint64_t ct_plan_bytes(const ct_plan *plan);

#endif
