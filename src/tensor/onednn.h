/* onednn.h - internal: bf16 matrix products through oneDNN, where it was built in and the CPU multiplies
 * bf16. */
#ifndef CARAT_SRC_TENSOR_ONEDNN_H
#define CARAT_SRC_TENSOR_ONEDNN_H

#include "tensor/cpu/gemm.h"

/* Products of fewer rows go to ct_gemm: a primitive for every small number of rows would cost more than it
 * gives. */
#define CT_ONEDNN_ROWS 16

/* True if ct_onednn_matmul takes this product: bf16 factors with a unit stride each, enough rows, no bias
 * along m and no residual, a CPU with AVX-512 BF16 (or AMX) that the cap of isa.h allows, and a oneDNN that
 * passed its check (made at the first such product; a failure is logged once, and ct_gemm is used from then
 * on). */
bool ct_onednn_takes(ct_context *context, int64_t m, int64_t n, int64_t k, const ct_gemm_operand *a,
                     const ct_gemm_operand *b, const ct_gemm_epilogue *epilogue);
/* What of that does not depend on the product. */
bool ct_onednn_has_bf16(ct_context *context);
/* C = epilogue(A B) as ct_gemm_batched with alpha 1 and beta 0 computes it in f32, but for the order within a
 * sum: that is oneDNN's, the same for any number of threads and, where A is stored by rows, for any m of at
 * least CT_ONEDNN_ROWS (stored by columns, a last tile may be summed in another order than a whole one).
 * batch may be NULL. */
ct_status ct_onednn_matmul(ct_context *context, const ct_gemm_batch *batch, int64_t m, int64_t n, int64_t k,
                           const ct_gemm_operand *a, const ct_gemm_operand *b, const ct_gemm_output *c,
                           const ct_gemm_epilogue *epilogue);
/* Frees the primitives that were kept and not in use; they are made again when needed. */
void ct_onednn_release(void);

#endif
