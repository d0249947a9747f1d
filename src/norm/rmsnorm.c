/* rmsnorm.c - root-mean-square normalisation (Zhang & Sennrich, equation 4): y = g x / sqrt(mean(x^2) + eps).
 * On rows of mean 0 it is layer normalisation. */
#include "norm/affine.h"

typedef struct rmsnorm_options {
    ct_norm_affine affine;
    bool unit_offset;
} rmsnorm_options;

static const ct_option options[] = {CT_NORM_EPS(1e-5), CT_NORM_AFFINE(true),
                                    CT_NORM_BIAS(false, "add a bias (a converted LayerNorm keeps its own)"),
                                    CT_OPTION_BOOL("unit_offset", rmsnorm_options, unit_offset, false,
                                                   "the gain is stored less 1, as Gemma's files have it"),
                                    CT_OPTION_END};

enum { GAIN, GAIN_LESS_ONE, BIAS };

/* Both gains are called "weight"; one of them is there. */
static const ct_norm_tensor tensors[] = {{"weight", CT_NORM_PER_CHANNEL, CT_FILL_ONES, false, CT_F32},
                                         {"weight", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                         {"bias", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                         {NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

static bool present(const void *given, int index) {
    const rmsnorm_options *o = given;
    if (!o->affine.affine) return false;
    return index == BIAS ? o->affine.bias : (index == GAIN_LESS_ONE) == o->unit_offset;
}

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    const rmsnorm_options *o = call->options;
    ct_tensor *gain = call->tensors[GAIN], *bias = call->tensors[BIAS];
    if (o->unit_offset && o->affine.affine) { /* 1 + w has more digits than a 16-bit w */
        gain = call->tensors[GAIN_LESS_ONE];
        bool narrow = ct_dtype_of(gain) == CT_BF16 || ct_dtype_of(gain) == CT_F16;
        gain = ct_add_scalar(narrow ? ct_cast(gain, CT_F32) : gain, 1);
    }
    ct_tensor *y = ct_rms_norm(x, gain, o->affine.eps);
    return bias ? ct_norm_apply_affine(y, NULL, bias, ct_dtype_of(x)) : y;
}

const ct_norm_method ct_norm_rmsnorm = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "rmsnorm",
         .title = "RMSNorm",
         .paper = {"arXiv:1910.07467", "Zhang & Sennrich, NeurIPS 2019"},
         .summary =
             "Divides every token by the root mean square of its channels: LayerNorm without the mean and "
             "the bias, and cheaper. What Llama, Mistral and Gemma use.",
         .options = options,
         .options_size = sizeof(rmsnorm_options)},
    .tensors = tensors,
    .present = present,
    .forward = forward};
