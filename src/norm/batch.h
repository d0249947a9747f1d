/* batch.h - inside norm: statistics over the tokens of a batch, and normalising with them. */
#ifndef CARAT_SRC_NORM_BATCH_H
#define CARAT_SRC_NORM_BATCH_H

#include "norm/affine.h"

/* Tokens of a batch as rows of channels, and which of them count. */
typedef struct ct_norm_tokens {
    ct_tensor *x;      /* [tokens, width], f32 or f64 */
    ct_tensor *counts; /* [tokens, 1] of x's type: 1, or 0 for padding; NULL: all count */
    double count;      /* how many count */
} ct_norm_tokens;

/* x [..., width] with the call's mask. */
ct_norm_tokens ct_norm_tokens_of(const ct_norm_call *call, ct_tensor *x);
/* Tokens first ... first + count - 1. */
ct_norm_tokens ct_norm_tokens_slice(const ct_norm_call *call, const ct_norm_tokens *all, int64_t first,
                                    int64_t count);
/* Mean of v [tokens, width] over the tokens that count: [1, width]. */
ct_tensor *ct_norm_token_mean(const ct_norm_tokens *tokens, ct_tensor *v);

/* (x - mean) / sqrt(variance + eps) with the tokens' own mean and biased variance, which are given as well
 * ([1, width]). */
ct_tensor *ct_norm_standardise(const ct_norm_tokens *tokens, double eps, ct_tensor **mean,
                               ct_tensor **variance);
/* running = (1 - rate) running + rate value, in place and without a graph. */
void ct_norm_run_towards(ct_tensor *running, ct_tensor *value, double rate);
/* A counter [] of i64 plus one; the new value (0 on the device meta). */
int64_t ct_norm_advance(ct_tensor *counter);

/* Evaluation with running statistics: scale = weight / sqrt(variance + eps), shift = bias - mean scale;
 * weight, bias and mean may be NULL. */
ct_status ct_norm_running_affine(const ct_norm_call *call, ct_tensor *mean, ct_tensor *variance, double eps,
                                 ct_tensor *weight, ct_tensor *bias, ct_tensor **scale, ct_tensor **shift);

#endif
