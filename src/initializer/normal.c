/* normal.c - normal with one deviation for all layers, as GPT-2 and BERT are initialised. */
#include <carat/initializer.h>

typedef struct normal_options {
    double mean, std;
} normal_options;

static const ct_option options[] = {
    CT_OPTION_REAL("mean", normal_options, mean, 0, -1e3, 1e3, "mean of the weights"),
    CT_OPTION_REAL("std", normal_options, std, 0.02, 0, 1e3, "deviation of the weights"), CT_OPTION_END};

static ct_status normal_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                             ct_random *random) {
    (void)layer;
    return ct_fill_normal(weight, ((const normal_options *)given)->mean, ((const normal_options *)given)->std,
                          random);
}

const ct_initializer_method ct_initializer_normal = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "normal",
               .title = "Normal",
               .summary = "Normal weights of one deviation for all layers, whatever their shape. The "
                          "baseline that other initializers are compared with.",
               .options = options,
               .options_size = sizeof(normal_options)},
    .fill = normal_fill};
