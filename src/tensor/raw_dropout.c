/* raw_dropout.c - inverted dropout. Whether element i is kept is a function of (seed, stream, offset + i)
 * alone: the gradient is the same call on the gradient, and no mask is stored. */
#include "tensor/raw_rows.h"
#include <string.h>

#define ELEMENTS 16384 /* of a task */

typedef struct dropout_work {
    ct_context *context;
    ct_dtype dtype;
    int64_t count;
    double probability;
    ct_random_range random;
    const void *x;
    void *y;
} dropout_work;

static void dropout_task(void *user, int64_t index, int worker) {
    const dropout_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index * ELEMENTS, count = ct_least(ELEMENTS, w->count - first);
    const void *x = ct_at(w->x, w->dtype, first);
    void *y = ct_at(w->y, w->dtype, first);
    ct_random_range random = w->random;
    random.offset += (uint64_t)first;
    if (w->probability >= 1) {
        memset(y, 0, (size_t)count * ct_dtype_size(w->dtype));
    } else if (w->dtype == CT_F64) {
        kernels->f64.dropout(count, x, y, w->probability, random);
    } else if (w->dtype == CT_F32) {
        kernels->f32.dropout(count, x, y, w->probability, random);
    } else {
        float *wide = ct_scratch(w->context, worker);
        kernels->convert(count, w->dtype, x, CT_F32, wide);
        kernels->f32.dropout(count, wide, wide, w->probability, random);
        kernels->convert(count, CT_F32, wide, w->dtype, y);
    }
}

ct_tensor *ct_raw_dropout(ct_tensor *x, double probability, uint64_t seed, uint64_t stream, uint64_t offset) {
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    if (ct_stop_op(context) || !ct_require_float(x, "dropout", "x"))
        return ct_inert(context, dtype, x->ndim, x->shape);
    if (!(probability >= 0 && probability <= 1)) {
        ct_fail(context, CT_ERROR_ARGUMENT, "dropout: probability is %g, expected 0 to 1", probability);
        return ct_inert(context, dtype, x->ndim, x->shape);
    }
    ct_scope scope = ct_scope_open(context);
    ct_tensor *y = ct_empty_on(context, ct_device_of(x), dtype, x->ndim, x->shape);
    x = ct_raw_contiguous(x);
    if (dtype == CT_BF16 || dtype == CT_F16)
        ct_scratch_reserve(context, (size_t)ct_least(ELEMENTS, x->count) * sizeof(float));
    if (!ct_failed(context) && !ct_is_meta(y)) {
        dropout_work w = {.context = context, .dtype = dtype, .count = x->count, .probability = probability};
        w.random = (ct_random_range){seed, stream, offset};
        w.x = ct_pointer(x);
        w.y = ct_pointer(y);
        ct_parallel_for(context, ct_ceil_div(w.count, ELEMENTS), dropout_task, &w);
    }
    return ct_scope_return(context, scope, y);
}
