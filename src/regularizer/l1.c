/* l1.c - the sum of the magnitudes of weights in the loss; its gradient is their sign, 0 at 0. */
#include <carat/regularizer.h>

typedef struct l1_options {
    const char *pattern;
    bool all;
} l1_options;

static const ct_option options[] = {
    CT_OPTION_STRING("pattern", l1_options, pattern, "*",
                     "of names of parameters; * is any run of characters"),
    CT_OPTION_BOOL("all", l1_options, all, false, "biases and gains of norms too"), CT_OPTION_END};

static ct_tensor *l1_term(const ct_regularizer_call *call) {
    const l1_options *o = call->options;
    ct_tensor *sum = NULL;
    for (int64_t i = 0; i < ct_model_parameter_count(call->model); i++) {
        const ct_parameter *p = ct_model_parameter(call->model, i);
        if (p->buffer || !p->trainable || !p->slot || (p->no_decay && !o->all) ||
            !ct_regularizer_matches(o->pattern, p->name))
            continue;
        ct_tensor *part = ct_sum_all(ct_abs(ct_run_weight(call->run, p->slot)));
        sum = sum ? ct_add(sum, part) : part;
    }
    if (sum) return sum;
    ct_fail(call->context, CT_ERROR_ARGUMENT, "%s.pattern: \"%s\" matches no weight", call->where,
            o->pattern);
    return NULL;
}

const ct_regularizer_method ct_regularizer_l1 = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_regularizer_method),
               .name = "l1",
               .title = "L1 penalty",
               .summary = "The sum of the magnitudes of the weights is added to the loss, which drives many "
                          "of them towards 0. "
                          "For sparse weights.",
               .options = options,
               .options_size = sizeof(l1_options),
               .uses = CT_HOOK_LOSS_TERM},
    .term = l1_term};
