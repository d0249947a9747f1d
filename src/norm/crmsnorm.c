/* crmsnorm.c - compressed root-mean-square normalisation (Jiang et al., section 3.2). A vector of d numbers
 * whose mean is 0 is kept as its first d - 1; the last is minus their sum. With c of length d - 1 y = c /
 * sqrt((sum c_i^2 + (sum c_i)^2) / d + eps) is what RMSNorm makes of the first d - 1 numbers of the whole
 * vector. */
#include "norm/affine.h"

typedef struct crmsnorm_options {
    ct_norm_affine affine;
    bool pad;
} crmsnorm_options;

static const ct_option options[] = {
    CT_NORM_EPS(1e-5), CT_NORM_AFFINE(false), CT_NORM_BIAS(false, "add a bias, where there is a gain"),
    CT_OPTION_BOOL("pad", crmsnorm_options, pad, false,
                   "the width stays d, a round number; the last channel is ignored and gives 0"),
    CT_OPTION_END};

static ct_status check(ct_context *context, const void *given, int64_t width) {
    const crmsnorm_options *o = given;
    if (width >= (o->pad ? 2 : 1)) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT,
                   "crmsnorm: a width of %lld leaves no channel, expected at least 2", (long long)width);
}

static const int last = -1;

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    const crmsnorm_options *o = call->options;
    int64_t kept = o->pad ? call->width - 1 : call->width;
    ct_dtype dtype = ct_dtype_of(x);
    ct_tensor *c = o->pad ? ct_slice(x, -1, 0, kept, 1) : x;
    if (dtype == CT_BF16 || dtype == CT_F16) c = ct_cast(c, CT_F32);
    ct_tensor *square = ct_add(ct_sum(ct_square(c), 1, &last, true), ct_square(ct_sum(c, 1, &last, true)));
    ct_tensor *scale =
        ct_rsqrt(ct_add_scalar(ct_mul_scalar(square, 1.0 / (double)(kept + 1)), o->affine.eps));
    ct_tensor *y = ct_mul(c, scale);
    if (o->pad) {
        int64_t before[CT_MAX_DIMS] = {0}, after[CT_MAX_DIMS] = {0};
        after[ct_ndim(x) - 1] = 1;
        y = ct_pad(y, before, after, 0);
    }
    return ct_norm_apply_affine(y, call->tensors[0], call->tensors[1], dtype);
}

const ct_norm_method ct_norm_crmsnorm = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "crmsnorm",
         .title = "CRMSNorm",
         .paper = {"arXiv:2305.14858", "Jiang, Gu, Zhu & Pan, NeurIPS 2023"},
         .summary =
             "RMSNorm of a vector whose mean is 0, of which only the first d-1 numbers are kept. What a "
             "pre-norm model with LayerNorm becomes when its stream is compressed.",
         .options = options,
         .options_size = sizeof(crmsnorm_options)},
    .tensors = ct_norm_gain_and_bias,
    .present = ct_norm_affine_present,
    .check = check,
    .forward = forward};
