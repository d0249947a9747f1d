/* raw_rows.c - what the network operations share. */
#include "tensor/raw_rows.h"

bool ct_require_float(const ct_tensor *t, const char *operation, const char *operand) {
    if (ct_dtype_is_float((ct_dtype)t->dtype)) return true;
    char text[160];
    ct_fail(t->context, CT_ERROR_TYPE, "%s: %s is %s, expected f32, f64, bf16 or f16", operation, operand,
            ct_describe(t, text, sizeof(text)));
    return false;
}

bool ct_require_dtype(const ct_tensor *t, ct_dtype dtype, const char *operation, const char *operand) {
    if (t->dtype == dtype) return true;
    char text[160];
    ct_fail(t->context, CT_ERROR_TYPE, "%s: %s is %s, expected %s", operation, operand,
            ct_describe(t, text, sizeof(text)), ct_dtype_name(dtype));
    return false;
}

ct_tensor *ct_in_dtype(ct_tensor *t, ct_dtype dtype) {
    return t->dtype == dtype ? ct_raw_contiguous(t) : ct_raw_cast(t, dtype);
}

int64_t ct_row_count(const ct_tensor *t) {
    return ct_shape_count(t->ndim - 1, t->shape);
}

ct_tensor *ct_empty_in_order_of(const ct_tensor *like, ct_dtype dtype, const int64_t *shape) {
    ct_tensor *dense = ct_empty_on(like->context, ct_device_of(like), dtype, like->ndim, shape);
    if (!dense->storage || ct_is_contiguous(like)) return dense;
    int order[CT_MAX_DIMS]; /* axes from the outermost in memory; equal strides keep their order */
    int count = like->ndim - 1;
    for (int i = 0; i < count; i++) {
        int j = i;
        for (; j > 0 && like->stride[order[j - 1]] < like->stride[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    int64_t step = shape[count] > 0 ? shape[count] : 1;
    for (int j = count - 1; j >= 0; j--) {
        dense->stride[order[j]] = step;
        step *= shape[order[j]] > 0 ? shape[order[j]] : 1;
    }
    return dense;
}
