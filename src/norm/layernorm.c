/* layernorm.c - layer normalisation (Ba, Kiros & Hinton, equations 3 and 4): each token by itself,
 *     mu = mean(x), s2 = mean((x - mu)^2), y = g (x - mu) / sqrt(s2 + eps) + b,
 * over its d channels (divided by d), the same in training and in evaluation. */
#include "norm/affine.h"

static const ct_option options[] = {CT_NORM_EPS(1e-5), CT_NORM_AFFINE(true), CT_NORM_BIAS(true, "add a bias"),
                                    CT_OPTION_END};

/* One fused kernel forward and one backward (src/tensor/raw_norm.c), which keep the mean and 1/sqrt(s2 + eps)
 * of each row and no more; a recorded backward pass is written with differentiable operations. */
static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    const ct_norm_affine *o = call->options;
    return ct_layer_norm(x, call->tensors[0], call->tensors[1], o->eps);
}

const ct_norm_method ct_norm_layernorm = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_norm_method),
         .name = "layernorm",
         .title = "LayerNorm",
         .paper = {"arXiv:1607.06450", "Ba, Kiros & Hinton, 2016"},
         .summary =
             "Brings the channels of every token to mean 0 and variance 1, in training as in evaluation. "
             "What GPT-2, BERT and ViT use.",
         .options = options,
         .options_size = sizeof(ct_norm_affine)},
    .tensors = ct_norm_gain_and_bias,
    .present = ct_norm_affine_present,
    .centres = true,
    .forward = forward};
