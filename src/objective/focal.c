/* focal.c - the focal loss -(1 - p)^gamma log p (Lin et al., eq. 4 and 5): samples that are right already
 * count less.
 *
 * Class ids: p is softmax's probability of the class. Values 0 or 1: p is that of the sigmoid of each output,
 * and the loss of a sample the mean over its outputs; alpha weighs ones against zeros. */
#include <carat/objective.h>

typedef struct focal_options {
    double gamma, alpha;
} focal_options;

static const ct_option options[] = {
    CT_OPTION_REAL("gamma", focal_options, gamma, 2, 0, 100, "exponent of 1 - p; 0: plain cross-entropy"),
    CT_OPTION_REAL("alpha", focal_options, alpha, -1, -1, 1,
                   "targets 0 or 1: weight of ones, 1 - alpha of zeros; -1: none"),
    CT_OPTION_END};

/* Below it (1 - p)^gamma is as good as 0 and its slope for gamma < 1 has no bound. */
static const double least = 1e-12;

/* `log_p` is the logarithm of the probability. */
static ct_tensor *focal(ct_tensor *log_p, double gamma) {
    if (gamma == 0) return ct_neg(log_p);
    ct_tensor *rest = ct_clamp(ct_neg(ct_expm1(log_p)), least, 1);
    return ct_neg(ct_mul(ct_pow_scalar(rest, gamma), log_p));
}

static ct_tensor *of_values(const ct_objective_call *call, const focal_options *o) {
    static const int last = 1;
    ct_tensor *x = ct_objective_outputs(call), *t = ct_objective_one_hot(call);
    ct_tensor *sign = ct_add_scalar(ct_mul_scalar(t, 2), -1);
    ct_tensor *losses = focal(ct_neg(ct_softplus(ct_neg(ct_mul(sign, x)))), o->gamma);
    if (o->alpha >= 0) /* alpha t + (1 - alpha) (1 - t) */
        losses = ct_mul(losses, ct_add_scalar(ct_mul_scalar(t, 2 * o->alpha - 1), 1 - o->alpha));
    return ct_mean(losses, 1, &last, false);
}

/* The exponent belongs to one of two classes: other targets have no focal loss. */
static bool are_binary(const ct_objective_call *call) {
    ct_tensor *t = ct_contiguous(ct_cast(call->targets, CT_F64));
    const double *value = ct_data(t);
    for (int64_t i = 0; value && i < ct_count(t); i++)
        if (value[i] != 0 && value[i] != 1) {
            ct_fail(call->context, CT_ERROR_ARGUMENT, "%s: target %g of sample %lld, expected 0 or 1",
                    call->where, value[i], (long long)(i / ct_dim(t, 1)));
            return false;
        }
    return true;
}

static ct_tensor *focal_losses(const ct_objective_call *call) {
    const focal_options *o = call->options;
    if (!call->ids && are_binary(call)) return of_values(call, o);
    if (call->ids && o->alpha >= 0)
        ct_fail(call->context, CT_ERROR_ARGUMENT,
                "%s: alpha weighs targets 1 against 0, and the targets are class ids", call->where);
    ct_tensor *log_p = ct_log_softmax(ct_objective_outputs(call), 1);
    return focal(ct_objective_at_class(call, log_p), o->gamma);
}

const ct_objective_method ct_objective_focal = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_objective_method),
               .name = "focal",
               .title = "Focal loss",
               .paper = {"arXiv:1708.02002", "Lin et al., ICCV 2017"},
               .summary =
                   "Cross-entropy in which samples that are classified well count less. For data with many "
                   "easy samples and few hard ones.",
               .options = options,
               .options_size = sizeof(focal_options),
               .task = "train, imbalance"},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = focal_losses};
