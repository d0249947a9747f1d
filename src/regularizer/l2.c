/* l2.c - half the sum of the squares of weights in the loss, so that its gradient is the weight. With an
 * adaptive optimizer it is not the same as decoupled weight decay (weight_decay of adamw). */
#include <carat/regularizer.h>

typedef struct l2_options {
    const char *pattern;
    bool all;
} l2_options;

static const ct_option options[] = {
    CT_OPTION_STRING("pattern", l2_options, pattern, "*",
                     "of names of parameters; * is any run of characters"),
    CT_OPTION_BOOL("all", l2_options, all, false, "biases and gains of norms too"), CT_OPTION_END};

static ct_tensor *l2_term(const ct_regularizer_call *call) {
    const l2_options *o = call->options;
    ct_tensor *sum = NULL;
    for (int64_t i = 0; i < ct_model_parameter_count(call->model); i++) {
        const ct_parameter *p = ct_model_parameter(call->model, i);
        if (p->buffer || !p->trainable || !p->slot || (p->no_decay && !o->all) ||
            !ct_regularizer_matches(o->pattern, p->name))
            continue;
        ct_tensor *part = ct_sum_all(ct_square(ct_run_weight(call->run, p->slot)));
        sum = sum ? ct_add(sum, part) : part;
    }
    if (sum) return ct_mul_scalar(sum, 0.5);
    ct_fail(call->context, CT_ERROR_ARGUMENT, "%s.pattern: \"%s\" matches no weight", call->where,
            o->pattern);
    return NULL;
}

const ct_regularizer_method ct_regularizer_l2 = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_regularizer_method),
               .name = "l2",
               .title = "L2 penalty",
               .summary = "Half the sum of the squares of the weights is added to the loss. Its weight is "
                          "the coefficient; the "
                          "gradient goes through the optimizer, unlike decoupled weight decay.",
               .options = options,
               .options_size = sizeof(l2_options),
               .uses = CT_HOOK_LOSS_TERM},
    .term = l2_term};
