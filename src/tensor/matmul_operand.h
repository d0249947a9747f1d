/* matmul_operand.h - internal: a tensor as a factor of ct_gemm, and running a batch of products. */
#ifndef CARAT_SRC_TENSOR_MATMUL_OPERAND_H
#define CARAT_SRC_TENSOR_MATMUL_OPERAND_H

#include "tensor/cpu/gemm.h"
#include "tensor/tensor.h"

/* The last two axes of a tensor as a factor. It must stay where it is while it is used: a generated weight's
 * operand points into it. */
typedef struct ct_matmul_factor {
    ct_gemm_operand operand;
    /* of a generated weight: which part of it, read which way, in which type */
    const ct_storage *generated;
    int64_t row, column;
    bool turned, wide;
} ct_matmul_factor;

/* Fills *factor; false with an error naming `operation` if the tensor cannot be one. `compute` is CT_F32 or
 * CT_F64. */
bool ct_matmul_factor_make(ct_matmul_factor *factor, const ct_tensor *t, ct_dtype compute,
                           const char *operation);

/* Lets a right factor be read from panels packed earlier, where there are some (shadow.h); with m rows or more of bf16
 * for which oneDNN is there, it stays as it is. */
void ct_matmul_use_packed(ct_matmul_factor *factor, const ct_tensor *b, int64_t m, ct_dtype compute);

/* All products of a batch, alpha 1 and beta 0, through oneDNN for bf16 where it can be used, else through
 * ct_gemm. batch may be NULL. `meta`: only counts the workspace. */
ct_status ct_matmul_run(ct_context *context, bool meta, ct_dtype compute, const ct_gemm_batch *batch,
                        int64_t m, int64_t n, int64_t k, const ct_gemm_operand *a, const ct_gemm_operand *b,
                        const ct_gemm_output *c, const ct_gemm_epilogue *epilogue);

#endif
