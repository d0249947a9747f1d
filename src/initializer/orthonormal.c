/* orthonormal.c - orthonormal rows or columns by the SVD of a normal matrix (Saxe et al.). */
#include <carat/initializer.h>

typedef struct orthonormal_options {
    double gain;
} orthonormal_options;

static const ct_option options[] = {
    CT_OPTION_REAL("gain", orthonormal_options, gain, 1, 0, 1e3, "singular value of all weights"),
    CT_OPTION_END};

static ct_status orthonormal_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                                  ct_random *random) {
    (void)layer;
    if (ct_fill_orthonormal(weight, random) != CT_OK) return ct_context_status(ct_context_of(weight));
    return ct_scale_into(weight, ((const orthonormal_options *)given)->gain);
}

const ct_initializer_method ct_initializer_orthonormal = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_initializer_method),
               .name = "orthonormal",
               .title = "Orthonormal",
               .paper = {"arXiv:1312.6120", "Saxe, McClelland & Ganguli, ICLR 2014"},
               .summary = "Weights whose singular values are all equal, so that signals of linear layers "
                          "keep their length in every direction. For deep linear and tanh networks.",
               .options = options,
               .options_size = sizeof(orthonormal_options)},
    .fill = orthonormal_fill};
