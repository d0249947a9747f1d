/* penalty.c - sums over the weights of a model, as terms of the loss have them. */
#include <carat/regularizer.h>

const ct_option ct_penalty_table[] = {
    CT_REGULARIZER_PATTERN,
    CT_OPTION_BOOL("all", ct_penalty_options, all, false, "biases and gains of norms too"), CT_OPTION_END};

bool ct_penalty_takes(const void *options, const ct_parameter *parameter) {
    const ct_penalty_options *o = options;
    return !parameter->buffer && parameter->slot && (!parameter->no_decay || o->all);
}

bool ct_regularizer_names_it(const void *options, const ct_parameter *parameter) {
    return ct_regularizer_matches(((const ct_regularizer_names *)options)->pattern, parameter->name);
}

ct_tensor *ct_regularizer_sum(const ct_regularizer_call *call,
                              bool (*takes)(const void *options, const ct_parameter *parameter),
                              ct_tensor *(*part)(const void *options, const ct_parameter *parameter,
                                                 ct_tensor *weight),
                              const char *what) {
    ct_tensor *sum = NULL;
    for (int64_t i = 0; i < ct_model_parameter_count(call->model); i++) {
        const ct_parameter *p = ct_model_parameter(call->model, i);
        if (!p->trainable || !takes(call->options, p) || !ct_regularizer_names_it(call->options, p)) continue;
        ct_tensor *one = part(call->options, p, ct_run_weight(call->run, p->slot));
        sum = sum ? ct_add(sum, one) : one;
    }
    if (!sum)
        ct_fail(call->context, CT_ERROR_ARGUMENT, "%s.pattern: \"%s\" matches no %s", call->where,
                ((const ct_regularizer_names *)call->options)->pattern, what);
    return sum;
}
