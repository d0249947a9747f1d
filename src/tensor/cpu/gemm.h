/* gemm.h - matrix multiplication with one fixed order of arithmetic.
 *
 * C[m, n] = epilogue(alpha * A[m, k] B[k, n] + beta * C), computed in f32 or f64.
 *
 * The order, for every element c of C by itself:
 *     c = beta * C                      one rounding; beta = 0: C is not read, c is unset
 *     for each block of CT_GEMM_BLOCK_F32 (or _F64) steps of k, in order:
 *         s = 0; for each k of the block, in order: s = fma(a[k], b[k], s)
 *         c = fma(alpha, s, c)          or alpha * s for the first block when c is unset
 *     no k at all and beta = 0: c = 0
 *     c = c + bias_n[j]                 where given
 *     c = c + bias_m[i]                 where given
 *     preactivation[i, j] = c           where given
 *     c = activation(c)                 where given
 *     c = c + residual[i, j]            where given
 *     C = c rounded to the output type, to nearest even
 * Nothing else takes part: the bits do not depend on threads, on m and n, on strides, on how operands are
 * stored, packed or generated, or on the instruction set. (Which NaN comes out of several is not fixed.) */
#ifndef CARAT_TENSOR_CPU_GEMM_H
#define CARAT_TENSOR_CPU_GEMM_H

#include "carat/base.h"
#include "carat/dtype.h"

#define CT_GEMM_BLOCK_F32 384
#define CT_GEMM_BLOCK_F64 192
#define CT_GEMM_BATCH_RANK 6

/* A constant B packed once (ct_gemm_prepack). */
typedef struct ct_gemm_packed ct_gemm_packed;

/* One factor. Exactly one of `data`, `tile` and `packed` is set.
 * data: elements of `dtype` (f32, f64, bf16, f16, i8, u8), converted to the compute type while they are read
 *   (f64 into f32 rounds); strides in elements, of any sign or zero.
 * tile: writes elements [row, row + rows) x [col, col + cols) of the factor, in the compute type, to
 *   out[r * ld + c]. It is asked for pieces, never for the whole matrix at once, perhaps more than once for
 * the same piece, and from several threads at a time; the same element must always have the same value.
 * packed: B only, k and n as when it was packed. */
typedef struct ct_gemm_operand {
    const void *data;
    ct_dtype dtype;
    int64_t row_stride, col_stride;
    void (*tile)(const void *user, int64_t row, int64_t col, int64_t rows, int64_t cols, void *out,
                 int64_t ld);
    const void *user;
    const ct_gemm_packed *packed;
} ct_gemm_operand;

/* The result: f32, f64, bf16 or f16, strides in elements. Must not overlap the factors, nor itself. */
typedef struct ct_gemm_output {
    void *data;
    ct_dtype dtype;
    int64_t row_stride, col_stride;
} ct_gemm_output;

/* `count` consecutive elements of the compute type (float or double), in place. Must treat each element alike
 * and by itself: how rows or columns are cut into calls is not fixed. Called from several threads at a time.
 */
typedef void (*ct_gemm_activation)(const void *user, void *values, int64_t count);

typedef struct ct_gemm_epilogue {
    const void *bias_n; /* n values of the compute type, or NULL */
    const void *bias_m; /* m values of the compute type, or NULL */
    ct_gemm_activation activation;
    const void *activation_user;
    ct_gemm_output preactivation; /* data NULL: not wanted. Any output type */
    ct_gemm_operand residual; /* data NULL: none. Only data, dtype and strides are used; may be C itself */
} ct_gemm_epilogue;

/* `compute` is CT_F32 or CT_F64. `epilogue` may be NULL. Uses the context's workers and their ct_scratch. */
ct_status ct_gemm(ct_context *context, ct_dtype compute, int64_t m, int64_t n, int64_t k, double alpha,
                  const ct_gemm_operand *a, const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                  const ct_gemm_epilogue *epilogue);

/* Many products of one shape. Entry (i0, i1, ...) of `shape` uses each pointer advanced by the sum of i *
 * stride (in elements; 0: shared by all). tile and packed operands and the biases are shared by all entries.
 */
typedef struct ct_gemm_batch {
    int rank;
    int64_t shape[CT_GEMM_BATCH_RANK];
    int64_t a_stride[CT_GEMM_BATCH_RANK], b_stride[CT_GEMM_BATCH_RANK], c_stride[CT_GEMM_BATCH_RANK];
    int64_t preactivation_stride[CT_GEMM_BATCH_RANK], residual_stride[CT_GEMM_BATCH_RANK];
} ct_gemm_batch;
ct_status ct_gemm_batched(ct_context *context, ct_dtype compute, const ct_gemm_batch *batch, int64_t m,
                          int64_t n, int64_t k, double alpha, const ct_gemm_operand *a,
                          const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                          const ct_gemm_epilogue *epilogue);

/* On the calling thread alone, without a context: for use inside a ct_parallel_for task. The same bits as
 * ct_gemm. `scratch` is 64-byte aligned and holds ct_gemm_scratch_bytes(compute, m, n, k) or more. The
 * arguments must be valid: they are not checked. */
size_t ct_gemm_scratch_bytes(ct_dtype compute, int64_t m, int64_t n, int64_t k);
void ct_gemm_serial(void *scratch, ct_dtype compute, int64_t m, int64_t n, int64_t k, double alpha,
                    const ct_gemm_operand *a, const ct_gemm_operand *b, double beta, const ct_gemm_output *c,
                    const ct_gemm_epilogue *epilogue);

/* Packs B[k, n] for the compute type and the present instruction set, in memory of class weights. NULL on
 * failure. A bf16 B is packed as bf16. Worth it where B is used often and m is below some hundred: panels are read
 * in one run of memory. */
ct_gemm_packed *ct_gemm_prepack(ct_context *context, ct_dtype compute, int64_t k, int64_t n,
                                const ct_gemm_operand *b);
/* The transpose B[k, n] of a weight [n, k] in GGML's Q8_0 blocks: row by row, for each 32 elements a scale d (f16) and
 * 32 signed bytes q, an element being d q. k must be a multiple of 32. f32 only. */
ct_gemm_packed *ct_gemm_pack_q8_0(ct_context *context, int64_t k, int64_t n, const void *blocks);
/* Elements [step, step + steps) x [col, col + cols) of such a B, as f32. */
void ct_gemm_q8_0_read(const ct_gemm_packed *packed, int64_t step, int64_t col, int64_t steps, int64_t cols, float *out,
                       int64_t step_stride, int64_t col_stride);
/* The blocks of `cols` rows of the weight again, from row `col` on. */
void ct_gemm_q8_0_blocks(const ct_gemm_packed *packed, int64_t col, int64_t cols, void *blocks);
void ct_gemm_packed_free(ct_gemm_packed *packed); /* NULL is allowed */

#endif
