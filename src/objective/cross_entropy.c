/* cross_entropy.c - minus the logarithm of the probability that softmax gives to the class. */
#include <carat/objective.h>

typedef struct cross_entropy_options {
    double label_smoothing;
} cross_entropy_options;

static const ct_option options[] = {
    CT_OPTION_REAL("label_smoothing", cross_entropy_options, label_smoothing, 0, 0, 0.999,
                   "share of each target that all classes get (Szegedy et al., arXiv:1512.00567)"),
    CT_OPTION_END};

static ct_tensor *cross_entropy_losses(const ct_objective_call *call) {
    const cross_entropy_options *o = call->options;
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    how.label_smoothing = o->label_smoothing;
    how.ignore_index = call->ignore;
    how.weights = call->weights;
    return ct_cross_entropy(call->outputs, call->targets, &how);
}

const ct_objective_method ct_objective_cross_entropy = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_objective_method),
               .name = "cross_entropy",
               .title = "Cross-entropy",
               .summary =
                   "Minus the log-probability of the right class, with label smoothing. The standard for "
                   "classification and language models.",
               .options = options,
               .options_size = sizeof(cross_entropy_options)},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = cross_entropy_losses,
    .weighs = true};
