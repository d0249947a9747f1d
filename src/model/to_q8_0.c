/* to_q8_0.c - the large weights of a model to blocks of bytes with a scale (GGML's Q8_0), for inference in a quarter of
 * the memory of f32. */
#include "model/model.h"
#include <carat/archive.h>
#include <string.h>

enum { ROW_BLOCK = 32, CHUNK = 1 << 18 }; /* elements of a block, and those converted at a time */

static bool is_large(const ct_parameter *parameter) {
    if (!parameter->slot || parameter->buffer || strcmp(parameter->slot->name, "weight") != 0) return false;
    const char *kind = ct_module_kind_of(parameter->slot->module)->name;
    const ct_tensor *t = parameter->tensor;
    return (strcmp(kind, "linear") == 0 || strcmp(kind, "embedding") == 0) && ct_dtype_is_float(ct_dtype_of(t)) &&
           ct_ndim(t) == 2 && ct_dim(t, 1) % ROW_BLOCK == 0;
}

/* Some rows at a time through f32. */
static ct_status encode(ct_parameter *parameter, unsigned char *blocks, float *values, int64_t rows_at_once) {
    ct_tensor *weight = parameter->tensor;
    ct_context *context = ct_context_of(weight);
    int64_t rows = ct_dim(weight, 0), columns = ct_dim(weight, 1);
    size_t row_bytes = (size_t)columns / ROW_BLOCK * (size_t)ct_element_describe(CT_ELEMENT_Q8_0)->bytes;
    for (int64_t at = 0; at < rows && !ct_failed(context); at += rows_at_once) {
        int64_t count = rows - at < rows_at_once ? rows - at : rows_at_once;
        ct_scope scope = ct_scope_open(context);
        ct_tensor *piece = ct_view_strided(weight, 2, (const int64_t[]){count, columns}, ct_strides(weight),
                                           at * ct_strides(weight)[0]);
        if (ct_read(piece, CT_F32, values) == CT_OK &&
            !ct_element_encode(CT_ELEMENT_Q8_0, values, blocks + (size_t)at * row_bytes, count * columns))
            ct_fail(context, CT_ERROR_NUMERIC, "%s: it holds values that are NaN or infinite, which Q8_0 does not have",
                    parameter->name);
        ct_scope_close(context, scope);
    }
    return ct_context_status(context);
}

static ct_status convert(ct_parameter *parameter) {
    ct_tensor *weight = parameter->tensor;
    ct_context *context = ct_context_of(weight);
    int64_t rows = ct_dim(weight, 0), columns = ct_dim(weight, 1);
    int64_t rows_at_once = CHUNK / (columns ? columns : 1) + 1;
    ct_scope scope = ct_scope_open(context);
    unsigned char *blocks = NULL;
    float *values = NULL;
    if (ct_device_of(weight) == CT_CPU) {
        const ct_element_info *info = ct_element_describe(CT_ELEMENT_Q8_0);
        blocks = ct_alloc(context, (size_t)(rows * (columns / ROW_BLOCK)) * (size_t)info->bytes + 1, CT_MEMORY_WORKSPACE);
        values = ct_alloc(context, (size_t)(rows_at_once * columns) * sizeof(*values) + 1, CT_MEMORY_WORKSPACE);
        if (blocks && values) encode(parameter, blocks, values, rows_at_once);
    }
    ct_tensor *narrow = ct_from_q8_0(context, rows, columns, blocks);
    if (!ct_failed(context)) {
        ct_drop(parameter->tensor);
        parameter->tensor = ct_hold(narrow);
        parameter->trainable = false;
    }
    ct_free(context, blocks);
    ct_free(context, values);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_model_to_q8_0(ct_model *model) {
    ct_context *context = model->context;
    for (int64_t i = 0; i < model->count && !ct_failed(context); i++)
        if (is_large(model->parameters[i])) convert(model->parameters[i]);
    return ct_context_status(context);
}
