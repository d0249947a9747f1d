/* shadow.h - internal: what is derived from a weight and lives as long as its storage: the bf16 copy that
 * mixed precision multiplies with. It is made again when the storage's version has changed. */
#ifndef CARAT_SRC_TENSOR_SHADOW_H
#define CARAT_SRC_TENSOR_SHADOW_H

#include "tensor/cpu/gemm.h"
#include "tensor/tensor.h"

/* The bf16 copy of an f32 weight, with the weight's shape and strides, as a handle in the innermost scope. A
 * copy that somebody still holds (a graph) is never written over: a fresh one takes its place. A bf16 weight
 * is returned as an alias. Not for generated weights. */
ct_tensor *ct_shadow_bf16(ct_tensor *weight);

/* For an optimizer that writes the bf16 copy in the pass that writes the weight: the copy of the weight's
 * first element (same strides), or NULL if there is none or somebody holds it. After the update and after the
 * version of the weight was raised, ct_shadow_bf16_written says that the copy is right again. */
uint16_t *ct_shadow_bf16_target(ct_tensor *weight);
void ct_shadow_bf16_written(ct_tensor *weight);

/* Says that an f32 or bf16 weight, the factor [k, n] of x [m, k] in products to come (a transposing view where it is
 * stored [n, k]), is constant: panels are packed now, as much memory as the weight again (class weights).
 * ct_raw_matmul and ct_raw_linear then multiply with them, with the same bits: measured 1.2 to 2.5 times as
 * fast up to 64 rows, no difference from 256 rows on. bf16 panels are used with f32 compute. If the weight changes all the same, the next product
 * packs it again. */
ct_status ct_shadow_pack(ct_tensor *weight);
/* The panels of this very view, or NULL if none were asked for (or, with an error, if they cannot be made
 * again). */
const ct_gemm_packed *ct_shadow_packed(const ct_tensor *weight);

/* Frees what the storage's shadow holds; storage release calls it. NULL is allowed. */
void ct_shadow_release(ct_storage *storage);

#endif
