/* xavier_uniform.c - uniform in +-gain sqrt(6 / (fan_in + fan_out)), equation 16 of Glorot & Bengio. */
#include <carat/initializer.h>
#include <math.h>

typedef struct xavier_uniform_options {
    double gain;
} xavier_uniform_options;

static const ct_option options[] = {CT_OPTION_REAL("gain", xavier_uniform_options, gain, 1, 0, 1e3,
                                                   "factor of the deviation: 1 for tanh and linear layers"),
                                    CT_OPTION_END};

static ct_status xavier_uniform_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                                     ct_random *random) {
    double bound =
        ((const xavier_uniform_options *)given)->gain * sqrt(6.0 / (double)(layer->in + layer->out));
    return ct_fill_uniform(weight, -bound, bound, random);
}

const ct_initializer_method ct_initializer_xavier_uniform = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "xavier_uniform",
               .title = "Xavier (Glorot) uniform",
               .paper = {"https://proceedings.mlr.press/v9/glorot10a.html", "Glorot & Bengio, AISTATS 2010"},
               .summary = "Uniform weights of variance 2 / (fan_in + fan_out): a compromise that keeps the "
                          "variance of activations and of gradients. For tanh and linear layers.",
               .options = options,
               .options_size = sizeof(xavier_uniform_options)},
    .fill = xavier_uniform_fill};
