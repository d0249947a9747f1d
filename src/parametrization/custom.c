/* custom.c - any abc-parametrization (Yang & Hu, definition 3.1), by its exponents: W = m^-a w, w of
 * deviation m^-b times the base model's, SGD's rate times m^-c, with m the ratio of the widths. Biases and
 * gains have no multiplier; their size and rate are what a multiplier of the first matrix' exponent would
 * make of them, m^-(a_1 + b_1) and m^-(c + 2 a_1), so that exponents that the paper's symmetry (a + t, b - t,
 * c - 2 t) calls the same train the same. */
#include <carat/parametrization.h>

const ct_parametrization_method ct_parametrization_custom = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_parametrization_method),
         .name = "custom",
         .title = "Any abc-parametrization",
         .paper = {"arXiv:2011.14522", "Yang & Hu, ICML 2021, definition 3.1"},
         .summary =
             "The width exponents of your choice: a of forward multipliers, b of initial deviations, each "
             "for "
             "the first, the hidden and the last matrices, and c of SGD's rate. A choice that is unstable in "
             "the limit is said to be so (carat plan abc tells before).",
         .example =
             "carat train recipes/gpt-tiny.yaml data.train=README.md param.name=custom param.base_width=32 "
             "param.a=[0,0.5,0.5] param.b=[0,0,0] optim=sgd max_steps=20 out=out/custom "
             "--overwrite_output_dir"},
    .by_exponents = true};
