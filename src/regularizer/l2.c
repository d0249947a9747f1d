/* l2.c - half the sum of the squares of weights in the loss, so that its gradient is the weight. With an
 * adaptive optimizer it is not the same as decoupled weight decay (weight_decay of adamw). */
#include <carat/regularizer.h>

static ct_tensor *squares(const void *options, const ct_parameter *parameter, ct_tensor *weight) {
    (void)options, (void)parameter;
    return ct_sum_all(ct_square(weight));
}

static ct_tensor *l2_term(const ct_regularizer_call *call) {
    ct_tensor *sum = ct_regularizer_sum(call, ct_penalty_takes, squares, "weight");
    return sum ? ct_mul_scalar(sum, 0.5) : NULL;
}

const ct_regularizer_method ct_regularizer_l2 = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_regularizer_method),
               .name = "l2",
               .title = "L2 penalty",
               .summary = "Half the sum of the squares of the weights is added to the loss. Its weight is "
                          "the coefficient; the "
                          "gradient goes through the optimizer, unlike decoupled weight decay.",
               .options = ct_penalty_table,
               .options_size = sizeof(ct_penalty_options),
               .uses = CT_HOOK_LOSS_TERM},
    .term = l2_term};
