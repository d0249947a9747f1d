/* weight_norm.c - direction and length of weights apart: w = g v / ||v||, for each output or the whole matrix
 * (Salimans & Kingma, eq. 2). v is the model's parameter, g begins as ||v||, so that the model begins as it
 * was. */
#include <carat/regularizer.h>

typedef struct weight_norm_options {
    ct_regularizer_names names;
    bool whole;
} weight_norm_options;

static const ct_option options[] = {CT_REGULARIZER_PATTERN,
                                    CT_OPTION_BOOL("whole", weight_norm_options, whole, false,
                                                   "one length for the matrix, not one for each output"),
                                    CT_OPTION_END};

static bool derives(const void *given, const ct_parameter *parameter) {
    return parameter->trainable && ct_regularizer_is_matrix(parameter) &&
           ct_regularizer_names_it(given, parameter);
}

static int gain_shape(const void *given, const ct_parameter *parameter, int64_t shape[CT_MAX_DIMS]) {
    const weight_norm_options *o = given;
    shape[0] = o->whole ? 1 : ct_dim(parameter->tensor, ct_regularizer_is_transposed(parameter) ? 1 : 0);
    return 1;
}

/* [out, 1], transposed [1, out], or [1, 1]. */
static ct_tensor *length(const void *given, const ct_parameter *parameter, ct_tensor *weight) {
    const weight_norm_options *o = given;
    int summed = ct_regularizer_is_transposed(parameter) ? 0 : 1;
    return o->whole ? ct_norm(weight, 2, 2, (const int[]){0, 1}, true) : ct_norm(weight, 2, 1, &summed, true);
}

static ct_tensor *first_gain(const void *given, const ct_parameter *parameter, ct_tensor *weight) {
    return ct_reshape(length(given, parameter, weight), 1, (const int64_t[]){-1});
}

static ct_tensor *derive(const void *given, const ct_parameter *parameter, ct_tensor *present,
                         ct_tensor *gain) {
    ct_tensor *norm = length(given, parameter, present);
    /* A vector of zeros has no direction: it stays 0. */
    ct_tensor *empty = ct_equal(norm, ct_zeros_like(norm));
    ct_tensor *scale = ct_div(ct_reshape(gain, 2, ct_shape(norm)), ct_masked_fill(norm, empty, 1));
    return ct_mul(present, scale);
}

const ct_regularizer_method ct_regularizer_weight_norm = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_regularizer_method),
               .name = "weight_norm",
               .title = "Weight normalisation",
               .paper = {"arXiv:1602.07868", "Salimans & Kingma, NeurIPS 2016"},
               .summary =
                   "Each row of a matrix is a length times a direction, both trained. Gradients are better "
                   "conditioned, without statistics of the batch.",
               .options = options,
               .options_size = sizeof(weight_norm_options),
               .task = "train, stabilise",
               .uses = CT_HOOK_DERIVED_WEIGHT},
    .derives = derives,
    .gain_shape = gain_shape,
    .first_gain = first_gain,
    .derive = derive};
