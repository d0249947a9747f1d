/* xavier_normal.c - normal with deviation gain sqrt(2 / (fan_in + fan_out)), Glorot & Bengio's variance. */
#include <carat/initializer.h>
#include <math.h>

typedef struct xavier_normal_options {
    double gain;
} xavier_normal_options;

static const ct_option options[] = {CT_OPTION_REAL("gain", xavier_normal_options, gain, 1, 0, 1e3,
                                                   "factor of the deviation: 1 for tanh and linear layers"),
                                    CT_OPTION_END};

static ct_status xavier_normal_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                                    ct_random *random) {
    double deviation =
        ((const xavier_normal_options *)given)->gain * sqrt(2.0 / (double)(layer->in + layer->out));
    return ct_fill_normal(weight, 0, deviation, random);
}

const ct_initializer_method ct_initializer_xavier_normal = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "xavier_normal",
               .title = "Xavier (Glorot) normal",
               .paper = {"https://proceedings.mlr.press/v9/glorot10a.html", "Glorot & Bengio, AISTATS 2010"},
               .summary = "Normal weights of variance 2 / (fan_in + fan_out): a compromise that keeps the "
                          "variance of activations and of gradients. For tanh and linear layers.",
               .options = options,
               .options_size = sizeof(xavier_normal_options)},
    .fill = xavier_normal_fill};
