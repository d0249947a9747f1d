/* he_uniform.c - uniform with the variance gain^2 / fan_in of He et al., equation 10. */
#include <carat/initializer.h>
#include <math.h>

typedef struct he_uniform_options {
    double gain;
} he_uniform_options;

static const ct_option options[] = {CT_OPTION_REAL("gain", he_uniform_options, gain, 1.4142135623730951, 0,
                                                   1e3, "sqrt(2) for ReLU, 1 for linear layers"),
                                    CT_OPTION_END};

static ct_status he_uniform_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                                 ct_random *random) {
    double bound = ((const he_uniform_options *)given)->gain * sqrt(3.0 / (double)layer->in);
    return ct_fill_uniform(weight, -bound, bound, random);
}

const ct_initializer_method ct_initializer_he_uniform = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "he_uniform",
               .title = "He (Kaiming) uniform",
               .paper = {"arXiv:1502.01852", "He et al., ICCV 2015"},
               .summary = "Uniform weights of variance 2 / fan_in, which keeps the variance of activations "
                          "through layers with ReLU. For deep networks with ReLU.",
               .options = options,
               .options_size = sizeof(he_uniform_options)},
    .fill = he_uniform_fill};
