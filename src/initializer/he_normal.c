/* he_normal.c - normal with the variance gain^2 / fan_in of He et al., equation 10. */
#include <carat/initializer.h>
#include <math.h>

typedef struct he_normal_options {
    double gain;
} he_normal_options;

static const ct_option options[] = {CT_OPTION_REAL("gain", he_normal_options, gain, 1.4142135623730951, 0,
                                                   1e3, "sqrt(2) for ReLU, 1 for linear layers"),
                                    CT_OPTION_END};

static ct_status he_normal_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                                ct_random *random) {
    double deviation = ((const he_normal_options *)given)->gain / sqrt((double)layer->in);
    return ct_fill_normal(weight, 0, deviation, random);
}

const ct_initializer_method ct_initializer_he_normal = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "he_normal",
               .title = "He (Kaiming) normal",
               .paper = {"arXiv:1502.01852", "He et al., ICCV 2015"},
               .summary = "Normal weights of variance 2 / fan_in, which keeps the variance of activations "
                          "through layers with ReLU. For deep networks with ReLU.",
               .options = options,
               .options_size = sizeof(he_normal_options)},
    .fill = he_normal_fill};
