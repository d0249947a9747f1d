/* blocks.c - weights that stay in blocks of quantized elements: a generated weight (tiles) whose values lie
 * in packed panels. */
#include "tensor/cpu/gemm_kernels.h"
#include "tensor/tensor.h"

/* The panels hold the transpose: a row of the weight is a column of B. */
static void tile(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, float *out,
                 int64_t pitch) {
    ct_gemm_q8_0_read(user, column, row, columns, rows, out, 1, pitch);
}

static void release(void *user) {
    ct_gemm_packed_free(user);
}

ct_tensor *ct_from_q8_0(ct_context *context, int64_t rows, int64_t columns, const void *blocks) {
    const int64_t shape[2] = {rows, columns};
    if (ct_failed(context) || ct_shape_count(2, shape) < 0) {
        if (!ct_failed(context))
            ct_fail(context, CT_ERROR_ARGUMENT, "Q8_0: a weight of a negative or too large size");
        return ct_inert(context, CT_F32, 0, NULL);
    }
    if (ct_context_device(context) == CT_META) {
        size_t bytes = (size_t)(rows * (columns / CT_GEMM_Q8_STEPS) * CT_GEMM_Q8_BYTES);
        ct_storage *storage = ct_storage_create(context, bytes, CT_META, CT_MEMORY_WEIGHTS);
        return storage ? ct_tensor_wrap(context, storage, CT_F32, 2, shape, NULL, 0)
                       : ct_inert(context, CT_F32, 2, shape);
    }
    ct_gemm_packed *packed = ct_gemm_pack_q8_0(context, columns, rows, blocks);
    if (!packed) return ct_inert(context, CT_F32, 2, shape);
    ct_tensor *weight = ct_from_tiles(context, rows, columns, tile, packed, release);
    if (weight->storage) weight->storage->packed = packed;
    return weight;
}

bool ct_read_q8_0(const ct_tensor *tensor, int64_t first, int64_t count, void *blocks) {
    if (!tensor->storage || !tensor->storage->packed || first < 0 || count < 0 || tensor->count == 0 ||
        first > tensor->shape[0] - count)
        return false;
    ct_gemm_q8_0_blocks(tensor->storage->packed, first, count, blocks);
    return true;
}
