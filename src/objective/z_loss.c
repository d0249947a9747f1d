/* z_loss.c - cross-entropy with a pull of the logarithm of softmax's denominator towards 0:
 *     -log p + c (log Z)^2,  log Z = logsumexp of the logits            (Chowdhery et al., section 5) */
#include <carat/objective.h>

typedef struct z_loss_options {
    double coefficient, label_smoothing;
} z_loss_options;

static const ct_option options[] = {
    CT_OPTION_REAL("coefficient", z_loss_options, coefficient, 1e-4, 0, 1e3, "c of the square of log Z"),
    CT_OPTION_REAL("label_smoothing", z_loss_options, label_smoothing, 0, 0, 0.999,
                   "share of each target that all classes get"),
    CT_OPTION_END};

static ct_tensor *z_loss_losses(const ct_objective_call *call) {
    const z_loss_options *o = call->options;
    static const int last = 1;
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    how.label_smoothing = o->label_smoothing;
    how.ignore_index = call->ignore;
    ct_tensor *log_z = ct_logsumexp(ct_objective_outputs(call), 1, &last, false);
    return ct_add(ct_cross_entropy(call->outputs, call->targets, &how),
                  ct_mul_scalar(ct_square(log_z), o->coefficient));
}

const ct_objective_method ct_objective_z_loss = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_objective_method),
               .name = "z_loss",
               .title = "Cross-entropy with z-loss",
               .paper = {"arXiv:2204.02311", "Chowdhery et al., 2022"},
               .summary = "Cross-entropy plus a small multiple of the square of log Z. It keeps logits from "
                          "drifting, for long runs of language models in bf16.",
               .options = options,
               .options_size = sizeof(z_loss_options),
               .task = "train, stabilise"},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = z_loss_losses};
