/* adamw8bit.c - AdamW whose moments are stored in 8 bits (Dettmers et al., "8-bit Optimizers via Block-wise
 * Quantization"): the same as adamw with state_bits 8. How states are stored is in stored.c. */
#include "optimizer/adamw.h"

const ct_optimizer_method ct_optimizer_adamw8bit = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "adamw8bit",
         .title = "8-bit AdamW",
         .paper = {"arXiv:2110.02861", "Dettmers et al., ICLR 2022"},
         .summary =
             "AdamW with both moments in 8 bits, in blocks of 256 elements with a scale each. A quarter of "
             "the memory for states at nearly the same results.",
         .options = ct_adamw_options_table,
         .options_size = sizeof(ct_adamw_options)},
    .state = ct_adamw_state,
    .scope = CT_ELEMENTWISE,
    .state_bits = 8,
    .direction = ct_adamw_direction,
    .fused = ct_adamw_fused};
