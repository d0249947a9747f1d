/* batch.c - statistics over the tokens of a batch, and normalising with them. */
#include "norm/batch.h"

static const int tokens_axis = 0;

/* [tokens, 1] of `dtype` from a mask, and its sum. On the device meta every token counts. */
static ct_tensor *counts_of(const ct_norm_call *call, ct_dtype dtype, int64_t tokens, double *count) {
    ct_tensor *counts = ct_cast(ct_reshape(call->mask, CT_DIMS(tokens, 1)), dtype);
    *count = (double)tokens;
    if (ct_device_of(counts) == CT_CPU) ct_item(ct_sum_all(counts), count);
    return counts;
}

ct_norm_tokens ct_norm_tokens_of(const ct_norm_call *call, ct_tensor *x) {
    ct_dtype dtype = ct_dtype_of(x);
    if (dtype == CT_BF16 || dtype == CT_F16) {
        dtype = CT_F32;
        x = ct_cast(x, dtype);
    }
    int64_t tokens = ct_count(x) / call->width;
    ct_norm_tokens all = {.x = ct_reshape(x, CT_DIMS(tokens, call->width)), .count = (double)tokens};
    if (call->mask) all.counts = counts_of(call, dtype, tokens, &all.count);
    return all;
}

ct_norm_tokens ct_norm_tokens_slice(const ct_norm_call *call, const ct_norm_tokens *all, int64_t first,
                                    int64_t count) {
    (void)call;
    if (first == 0 && count == ct_dim(all->x, 0)) return *all;
    ct_norm_tokens part = {.x = ct_slice(all->x, 0, first, first + count, 1), .count = (double)count};
    if (!all->counts) return part;
    part.counts = ct_slice(all->counts, 0, first, first + count, 1);
    if (ct_device_of(part.counts) == CT_CPU) ct_item(ct_sum_all(part.counts), &part.count);
    return part;
}

ct_tensor *ct_norm_token_mean(const ct_norm_tokens *tokens, ct_tensor *v) {
    if (!tokens->counts) return ct_mean(v, 1, &tokens_axis, true);
    double share = tokens->count > 0 ? 1 / tokens->count : 0;
    return ct_mul_scalar(ct_sum(ct_mul(v, tokens->counts), 1, &tokens_axis, true), share);
}

ct_tensor *ct_norm_standardise(const ct_norm_tokens *tokens, double eps, ct_tensor **mean,
                               ct_tensor **variance) {
    *mean = ct_norm_token_mean(tokens, tokens->x);
    ct_tensor *centred = ct_sub(tokens->x, *mean);
    *variance = ct_norm_token_mean(tokens, ct_square(centred));
    return ct_mul(centred, ct_rsqrt(ct_add_scalar(*variance, eps)));
}

void ct_norm_run_towards(ct_tensor *running, ct_tensor *value, double rate) {
    ct_scale_into(running, 1 - rate);
    ct_add_into(running, ct_reshape(ct_detach(value), 1, ct_shape(running)), rate);
}

int64_t ct_norm_advance(ct_tensor *counter) {
    int64_t *value = ct_data_mutable(counter);
    return value ? ++*value : 0;
}

ct_status ct_norm_running_affine(const ct_norm_call *call, ct_tensor *mean, ct_tensor *variance, double eps,
                                 ct_tensor *weight, ct_tensor *bias, ct_tensor **scale, ct_tensor **shift) {
    *scale = ct_rsqrt(ct_add_scalar(variance, eps));
    if (weight) *scale = ct_mul(*scale, weight);
    *shift = mean ? ct_neg(ct_mul(mean, *scale)) : ct_zeros_like(variance);
    if (bias) *shift = ct_add(*shift, bias);
    return ct_context_status(call->context);
}
