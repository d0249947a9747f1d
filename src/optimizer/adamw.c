/* adamw.c - AdamW: Adam with weight decay applied to the weights (Loshchilov & Hutter, algorithm 2). */
#include "optimizer/adamw.h"
#include "optimizer/moments.h"

const ct_option ct_adamw_options_table[] = {
    CT_OPTION_REAL("beta1", ct_adamw_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", ct_adamw_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", ct_adamw_options, epsilon, 1e-8, 0, 1,
                   "added to the root of the second moment"),
    CT_OPTION_END};

const ct_state_decl ct_adamw_state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                        {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                        {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

void ct_adamw_direction(const ct_optimizer_range *r) {
    const ct_adamw_options *o = r->options;
    ct_moments_direction(r, &(ct_moments){o->beta1, o->beta2, o->epsilon, false, false});
}

void ct_adamw_fused(const ct_optimizer_range *r) {
    const ct_adamw_options *o = r->options;
    ct_moments_fused(r, &(ct_moments){o->beta1, o->beta2, o->epsilon, false, false}, false);
}

const ct_optimizer_method ct_optimizer_adamw = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "adamw",
         .title = "AdamW",
         .paper = {"arXiv:1711.05101", "Loshchilov & Hutter, ICLR 2019"},
         .summary =
             "Adam whose weight decay acts on the weights and not through the moments. The usual choice "
             "for transformers.",
         .options = ct_adamw_options_table,
         .options_size = sizeof(ct_adamw_options)},
    .state = ct_adamw_state,
    .scope = CT_ELEMENTWISE,
    .direction = ct_adamw_direction,
    .fused = ct_adamw_fused};
