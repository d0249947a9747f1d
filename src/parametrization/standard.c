/* standard.c - the parametrization everyone uses: variance 1 / fan_in, one learning rate. With rate_exponent:
 * 1 it is the one that stays stable under SGD (Yang & Hu, table 1). */
#include <carat/parametrization.h>

const ct_parametrization_method ct_parametrization_standard = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_parametrization_method),
               .name = "standard",
               .title = "Standard parametrization",
               .paper = {"arXiv:2011.14522", "Yang & Hu, ICML 2021, table 1"},
               .summary = "Deviations of weights fall with the root of the width, the learning rate stays. "
                          "Its best rate falls as models become wider."},
    .exponents = {{0, 0, 0}, {0, 0.5, 0.5}, 1},
    .deviation = {0, 0.5, 0.5},
    .knows_adam = true};
