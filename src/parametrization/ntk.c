/* ntk.c - the parametrization of the neural tangent kernel: unit weights, multiplied by 1 / sqrt(width) in
 * the forward pass. */
#include <carat/parametrization.h>

const ct_parametrization_method ct_parametrization_ntk = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_parametrization_method),
         .name = "ntk",
         .title = "Neural tangent parametrization",
         .paper = {"arXiv:1806.07572", "Jacot, Gabriel & Hongler, NeurIPS 2018"},
         .summary = "Unit weights with multipliers 1/sqrt(width), under which wide networks become kernel "
                    "machines: features stop moving. For comparison with theory; SGD only.",
         .example =
             "carat train recipes/gpt-tiny.yaml data.train=README.md param.name=ntk param.base_width=32 "
             "optim=sgd max_steps=20 out=out/ntk --overwrite_output_dir"},
    .exponents = {{0, 0.5, 0.5}, {0, 0, 0}, 0},
    .multiplier = {0, 0.5, 0.5}};
