/* gemm_fetch.c - operands of any kind (strided, of another type, generated) brought to the packing kernels.
 */
#include "tensor/cpu/gemm_kernels.h"

/* Elements of `buffer`: what is converted or generated at once. */
#define FETCH_WIDTH 64

size_t ct_gemm_fetch_bytes(const ct_gemm_kernels *kernels) {
    return (size_t)(FETCH_WIDTH * kernels->depth) * ct_dtype_size(kernels->dtype);
}

static bool as_it_is(const ct_gemm_kernels *kernels, const ct_gemm_operand *operand) {
    return !operand->tile && operand->dtype == kernels->dtype;
}

static const char *element(const ct_gemm_operand *operand, int64_t row, int64_t col) {
    return (const char *)operand->data +
           (row * operand->row_stride + col * operand->col_stride) * (int64_t)ct_dtype_size(operand->dtype);
}

ct_gemm_view ct_gemm_fetch(const ct_gemm_kernels *kernels, const ct_gemm_operand *operand, bool exchanged,
                           int64_t row, int64_t col, int64_t rows, int64_t cols, void *buffer) {
    if (as_it_is(kernels, operand))
        return (ct_gemm_view){element(operand, row, col), operand->row_stride, operand->col_stride};
    if (operand->tile && exchanged) {
        operand->tile(operand->user, col, row, cols, rows, buffer, rows);
        return (ct_gemm_view){buffer, 1, rows};
    }
    if (operand->tile) {
        operand->tile(operand->user, row, col, rows, cols, buffer, cols);
        return (ct_gemm_view){buffer, cols, 1};
    }
    int64_t size = (int64_t)ct_dtype_size(kernels->dtype);
    if (operand->row_stride == 1) {
        for (int64_t j = 0; j < cols; j++)
            kernels->read(operand->dtype, element(operand, row, col + j), 1, rows,
                          (char *)buffer + j * rows * size);
        return (ct_gemm_view){buffer, 1, rows};
    }
    for (int64_t i = 0; i < rows; i++)
        kernels->read(operand->dtype, element(operand, row + i, col), operand->col_stride, cols,
                      (char *)buffer + i * cols * size);
    return (ct_gemm_view){buffer, cols, 1};
}

void ct_gemm_pack_a(const ct_gemm_problem *problem, int64_t row, int64_t rows, int64_t step, int64_t steps,
                    void *out, void *buffer) {
    const ct_gemm_kernels *kernels = problem->kernels;
    int64_t size = (int64_t)ct_dtype_size(kernels->dtype);
    int64_t most = as_it_is(kernels, &problem->a) ? rows : FETCH_WIDTH / kernels->mr * kernels->mr;
    for (int64_t i = 0; i < rows; i += most) {
        int64_t part = rows - i < most ? rows - i : most;
        ct_gemm_view view =
            ct_gemm_fetch(kernels, &problem->a, problem->exchanged, row + i, step, part, steps, buffer);
        kernels->pack_a(&view, part, steps, (char *)out + i * steps * size);
    }
}

void ct_gemm_pack_b(const ct_gemm_kernels *kernels, const ct_gemm_operand *b, bool exchanged, int64_t step,
                    int64_t steps, int64_t col, int64_t cols, void *out, void *buffer) {
    int64_t size = (int64_t)ct_dtype_size(kernels->dtype);
    int64_t most = as_it_is(kernels, b) ? cols : FETCH_WIDTH / kernels->nr * kernels->nr;
    for (int64_t j = 0; j < cols; j += most) {
        int64_t part = cols - j < most ? cols - j : most;
        ct_gemm_view view = ct_gemm_fetch(kernels, b, exchanged, step, col + j, steps, part, buffer);
        kernels->pack_b(&view, part, steps, (char *)out + j * steps * size);
    }
}
