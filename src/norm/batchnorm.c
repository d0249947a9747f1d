/* batchnorm.c - batch normalisation (Ioffe & Szegedy, algorithm 1) over [batch, features] and [batch, time,
 * features]: each channel by its mean and variance over the tokens of the batch, in evaluation by their
 * running means. */
#include "norm/batch.h"

typedef struct batchnorm_options {
    ct_norm_affine affine;
    double momentum;
    bool sync;
} batchnorm_options;

static const ct_option options[] = {
    CT_NORM_EPS(1e-5),
    CT_NORM_AFFINE(true),
    CT_NORM_BIAS(true, "add a bias"),
    CT_OPTION_REAL("momentum", batchnorm_options, momentum, 0.1, 0, 1,
                   "share of a batch in the running statistics, as torch counts it"),
    CT_NORM_SYNC(batchnorm_options),
    CT_OPTION_END};

enum { WEIGHT, BIAS, MEAN, VARIANCE, BATCHES };

static const ct_norm_tensor tensors[] = {{"weight", CT_NORM_PER_CHANNEL, CT_FILL_ONES, false, CT_F32},
                                         {"bias", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                         {"running_mean", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, true, CT_F32},
                                         {"running_var", CT_NORM_PER_CHANNEL, CT_FILL_ONES, true, CT_F32},
                                         {"num_batches_tracked", CT_NORM_ONE, CT_FILL_ZEROS, true, CT_I64},
                                         {NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

static int64_t whole(const void *given) {
    return ((const batchnorm_options *)given)->sync ? CT_ROWS_STEP : CT_ROWS_WHOLE;
}

static ct_status affine(const ct_norm_call *call, ct_tensor **scale, ct_tensor **shift) {
    const batchnorm_options *o = call->options;
    return ct_norm_running_affine(call, call->tensors[MEAN], call->tensors[VARIANCE], o->affine.eps,
                                  call->tensors[WEIGHT], call->tensors[BIAS], scale, shift);
}

static ct_tensor *evaluate(const ct_norm_call *call, ct_tensor *x) {
    ct_tensor *scale, *shift;
    affine(call, &scale, &shift);
    return ct_norm_apply_affine(x, scale, shift, ct_dtype_of(x));
}

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    const batchnorm_options *o = call->options;
    if (!call->training) return evaluate(call, x);
    ct_norm_tokens tokens = ct_norm_tokens_of(call, x);
    if (tokens.count < 2) {
        ct_fail(call->context, CT_ERROR_SHAPE,
                "%s: batchnorm in training sees %.0f tokens, expected at least 2: one has no variance",
                call->where, tokens.count);
        return x;
    }
    ct_tensor *mean, *variance, *y = ct_norm_standardise(&tokens, o->affine.eps, &mean, &variance);
    if (call->update) {
        ct_norm_run_towards(call->tensors[MEAN], mean, o->momentum);
        variance = ct_mul_scalar(ct_detach(variance), tokens.count / (tokens.count - 1));
        ct_norm_run_towards(call->tensors[VARIANCE], variance, o->momentum);
        ct_norm_advance(call->tensors[BATCHES]);
    }
    y = ct_reshape(y, ct_ndim(x),
                   ct_shape(x)); /* first: the gradients of gain and bias go sequence by sequence */
    return ct_norm_apply_affine(y, call->tensors[WEIGHT], call->tensors[BIAS], ct_dtype_of(x));
}

const ct_norm_method ct_norm_batchnorm = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "batchnorm",
         .title = "Batch normalisation",
         .paper = {"arXiv:1502.03167", "Ioffe & Szegedy, ICML 2015"},
         .summary =
             "Brings every channel to mean 0 and variance 1 over the tokens of the batch; evaluation uses "
             "running means. It needs batches of many rows, which training then keeps whole.",
         .options = options,
         .options_size = sizeof(batchnorm_options)},
    .tensors = tensors,
    .present = ct_norm_affine_present,
    .centres = true,
    .rows_together = whole,
    .forward = forward,
    .affine = affine};
