/* mup.c - muP in the form with a multiplier of the logits (arXiv:2203.03466, table 8), which also tied
 * embeddings can have: output weights of a deviation that does not depend on the width, times 1/m; SGD rates
 * of input and output tensors times m; Adam rates of hidden matrices by 1/m. */
#include <carat/parametrization.h>

const ct_parametrization_method ct_parametrization_mup = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_parametrization_method),
               .name = "mup",
               .title = "Maximal update parametrization",
               .paper = {"arXiv:2011.14522", "Yang & Hu, ICML 2021; Yang et al., arXiv:2203.03466"},
               .summary = "Every layer learns features at the same speed at any width, so that the best "
                          "learning rate of a narrow model is that of a wide one. Tune small, train large."},
    .exponents = {{-0.5, 0, 0.5}, {0.5, 0.5, 0.5}, 0},
    .multiplier = {0, 0, 1},
    .deviation = {0, 0.5, 0},
    .sgd = {-1, 0, -1},
    .adam = {0, 1, 0},
    .knows_adam = true,
    .attention = true};
