/* l1.c - the sum of the magnitudes of weights in the loss; its gradient is their sign, 0 at 0. */
#include <carat/regularizer.h>

static ct_tensor *magnitudes(const void *options, const ct_parameter *parameter, ct_tensor *weight) {
    (void)options, (void)parameter;
    return ct_sum_all(ct_abs(weight));
}

static ct_tensor *l1_term(const ct_regularizer_call *call) {
    return ct_regularizer_sum(call, ct_penalty_takes, magnitudes, "weight");
}

const ct_regularizer_method ct_regularizer_l1 = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_regularizer_method),
               .name = "l1",
               .title = "L1 penalty",
               .summary = "The sum of the magnitudes of the weights is added to the loss, which drives many "
                          "of them towards 0. "
                          "For sparse weights.",
               .options = ct_penalty_table,
               .options_size = sizeof(ct_penalty_options),
               .uses = CT_HOOK_LOSS_TERM},
    .term = l1_term};
