/* bce_with_logits.c - cross-entropy of each output by itself with the sigmoid of it, from logits:
 *     w t softplus(-x) + (1 - t) softplus(x),   w = positive_weight
 * mean (or sum) over the outputs of a sample. Class ids are one class against all others. */
#include <carat/objective.h>

typedef struct bce_options {
    double positive_weight;
    bool sum;
} bce_options;

static const ct_option options[] = {
    CT_OPTION_REAL("positive_weight", bce_options, positive_weight, 1, 0, 1e9, "of targets 1"),
    CT_OPTION_BOOL("sum", bce_options, sum, false, "over the outputs of a sample, in place of the mean"),
    CT_OPTION_END};

static ct_tensor *bce_losses(const ct_objective_call *call) {
    const bce_options *o = call->options;
    static const int last = 1;
    ct_tensor *x = ct_objective_outputs(call), *t = ct_objective_one_hot(call);
    ct_tensor *ones = ct_mul(t, ct_softplus(ct_neg(x)));
    if (o->positive_weight != 1) ones = ct_mul_scalar(ones, o->positive_weight);
    ct_tensor *losses = ct_add(ones, ct_mul(ct_add_scalar(ct_neg(t), 1), ct_softplus(x)));
    return o->sum ? ct_sum(losses, 1, &last, false) : ct_mean(losses, 1, &last, false);
}

const ct_objective_method ct_objective_bce_with_logits = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_objective_method),
         .name = "bce_with_logits",
         .title = "Binary cross-entropy from logits",
         .paper = {"arXiv:2110.00476", "Wightman et al., 2021 (for single-label classes)"},
         .summary =
             "Each output is a yes or no of its own. For several labels a sample, and for single labels "
             "as one class against all others.",
         .options = options,
         .options_size = sizeof(bce_options)},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = bce_losses};
