/* matmul_operand.c - tensors as factors of ct_gemm: stored with any strides, or generated tile by tile. */
#include "tensor/matmul_operand.h"
#include "tensor/cpu/gemm_kernels.h"
#include "tensor/onednn.h"
#include "tensor/shadow.h"

#define PIECE 64 /* side of the squares in which a transposed or widened tile is made */

/* A piece of a generated weight where the tile function's own order or type does not serve. */
static void tile_by_pieces(const ct_matmul_factor *factor, int64_t row, int64_t column, int64_t rows,
                           int64_t columns, void *out, int64_t pitch) {
    float piece[PIECE * PIECE];
    const ct_storage *storage = factor->generated;
    for (int64_t r = 0; r < rows; r += PIECE)
        for (int64_t c = 0; c < columns; c += PIECE) {
            int64_t nr = rows - r < PIECE ? rows - r : PIECE, nc = columns - c < PIECE ? columns - c : PIECE;
            if (factor->turned)
                storage->tile(storage->user, factor->row + column + c, factor->column + row + r, nc, nr,
                              piece, PIECE);
            else
                storage->tile(storage->user, factor->row + row + r, factor->column + column + c, nr, nc,
                              piece, PIECE);
            for (int64_t i = 0; i < nr; i++)
                for (int64_t j = 0; j < nc; j++) {
                    float value = factor->turned ? piece[j * PIECE + i] : piece[i * PIECE + j];
                    int64_t at = (r + i) * pitch + c + j;
                    if (factor->wide)
                        ((double *)out)[at] = value;
                    else
                        ((float *)out)[at] = value;
                }
        }
}

static void tile(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, void *out,
                 int64_t pitch) {
    const ct_matmul_factor *factor = user;
    const ct_storage *storage = factor->generated;
    if (factor->turned || factor->wide)
        tile_by_pieces(factor, row, column, rows, columns, out, pitch);
    else
        storage->tile(storage->user, factor->row + row, factor->column + column, rows, columns, out, pitch);
}

/* Views of a generated weight are parts of it with unit steps, perhaps transposed. */
static bool generated_factor(ct_matmul_factor *factor, const ct_tensor *t, const char *operation) {
    int64_t pitch = t->storage->tile_columns;
    int64_t rows = t->shape[t->ndim - 2], columns = t->shape[t->ndim - 1];
    int64_t row_stride = t->stride[t->ndim - 2], column_stride = t->stride[t->ndim - 1];
    bool straight = (row_stride == pitch || rows == 1) && (column_stride == 1 || columns == 1);
    bool turned = (row_stride == 1 || rows == 1) && (column_stride == pitch || columns == 1);
    int64_t row = pitch ? t->offset / pitch : 0, column = pitch ? t->offset % pitch : 0;
    straight = straight && column + columns <= pitch;
    turned = turned && column + rows <= pitch;
    bool single = true;
    for (int i = 0; i < t->ndim - 2; i++)
        single = single && (t->shape[i] == 1 || t->stride[i] == 0);
    if (!single || (!straight && !turned)) {
        char text[160];
        ct_fail(
            t->context, CT_ERROR_UNSUPPORTED,
            "%s: %s is a view of a generated weight that is neither a part of it nor the transpose of one",
            operation, ct_describe(t, text, sizeof(text)));
        return false;
    }
    factor->generated = t->storage;
    factor->row = row;
    factor->column = column;
    factor->turned = !straight;
    factor->operand.tile = tile;
    factor->operand.user = factor;
    return true;
}

bool ct_matmul_factor_make(ct_matmul_factor *factor, const ct_tensor *t, ct_dtype compute,
                           const char *operation) {
    *factor = (ct_matmul_factor){.operand = {.dtype = (ct_dtype)t->dtype}, .wide = compute == CT_F64};
    if (!ct_dtype_is_float((ct_dtype)t->dtype)) {
        char text[160];
        ct_fail(t->context, CT_ERROR_TYPE,
                "%s: %s: products of integers are not available, cast to a float type", operation,
                ct_describe(t, text, sizeof(text)));
        return false;
    }
    if (t->storage && t->storage->tile) return generated_factor(factor, t, operation);
    factor->operand.data = ct_pointer(t);
    factor->operand.row_stride = t->stride[t->ndim - 2];
    factor->operand.col_stride = t->stride[t->ndim - 1];
    return true;
}

void ct_matmul_use_packed(ct_matmul_factor *factor, const ct_tensor *b, int64_t m, ct_dtype compute) {
    if (compute != CT_F32 || b->ndim != 2) return;
    const ct_storage *storage = b->storage;
    if (storage && storage->packed) { /* of the whole weight, turned */
        if (b->offset == 0 && b->shape[0] == storage->packed->k && b->shape[1] == storage->packed->n &&
            b->stride[0] == 1 && b->stride[1] == storage->tile_columns)
            factor->operand = (ct_gemm_operand){.packed = storage->packed};
        return;
    }
    if (b->dtype == CT_BF16 && m >= CT_ONEDNN_ROWS && ct_onednn_has_bf16(b->context)) return;
    const ct_gemm_packed *packed = ct_shadow_packed(b);
    if (packed) factor->operand = (ct_gemm_operand){.packed = packed};
}

ct_status ct_matmul_run(ct_context *context, bool meta, ct_dtype compute, const ct_gemm_batch *batch,
                        int64_t m, int64_t n, int64_t k, const ct_gemm_operand *a, const ct_gemm_operand *b,
                        const ct_gemm_output *c, const ct_gemm_epilogue *epilogue) {
    bool many = batch && batch->rank > 0;
    if (meta) {
        size_t bytes = ct_memory_rounded(ct_gemm_scratch_bytes(compute, m, n, k));
        ct_memory_count(context, bytes, CT_MEMORY_WORKSPACE);
        ct_memory_uncount(context, bytes, CT_MEMORY_WORKSPACE);
        return CT_OK;
    }
    if (compute == CT_F32 && ct_onednn_takes(context, m, n, k, a, b, epilogue))
        return ct_onednn_matmul(context, batch, m, n, k, a, b, c, epilogue);
    if (many) return ct_gemm_batched(context, compute, batch, m, n, k, 1.0, a, b, 0.0, c, epilogue);
    return ct_gemm(context, compute, m, n, k, 1.0, a, b, 0.0, c, epilogue);
}
