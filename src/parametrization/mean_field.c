/* mean_field.c - the mean-field parametrization of networks with one hidden layer: an average over units,
 * rate times width. */
#include <carat/parametrization.h>

const ct_parametrization_method ct_parametrization_mean_field = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_parametrization_method),
               .name = "mean_field",
               .title = "Mean-field parametrization",
               .paper = {"arXiv:1804.06561", "Mei, Montanari & Nguyen, PNAS 2018"},
               .summary = "The network is an average over hidden units, which keep moving at any width. For "
                          "networks with one hidden layer and SGD only.",
               .example = "carat plan abc a=0/1 b=0/0 c=-1"},
    .exponents = {{0, 0, 1}, {0, 0, 0}, -1},
    .multiplier = {0, 0, 1},
    .sgd = {-1, -1, -1},
    .shallow = true};
