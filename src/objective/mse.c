/* mse.c - mean squared error over the outputs of a sample. Class ids are targets 1 at the class and 0
 * elsewhere, or, with the rescaling for many classes of Hui & Belkin (section 2): 1/C (scale (x_y - peak)^2 +
 * sum over other classes of x_c^2) */
#include <carat/objective.h>

typedef struct mse_options {
    double scale, peak;
} mse_options;

static const ct_option options[] = {
    CT_OPTION_REAL("scale", mse_options, scale, 1, 1e-9, 1e9, "class ids: weight of the right class's error"),
    CT_OPTION_REAL("peak", mse_options, peak, 1, 1e-9, 1e9,
                   "class ids: the value that the right class shall have"),
    CT_OPTION_END};

static ct_tensor *mse_losses(const ct_objective_call *call) {
    const mse_options *o = call->options;
    static const int last = 1;
    ct_tensor *x = ct_objective_outputs(call), *t = ct_objective_one_hot(call);
    ct_tensor *aim = call->ids && o->peak != 1 ? ct_mul_scalar(t, o->peak) : t;
    ct_tensor *error = ct_square(ct_sub(x, aim));
    if (call->ids && o->scale != 1) error = ct_mul(error, ct_add_scalar(ct_mul_scalar(t, o->scale - 1), 1));
    return ct_mean(error, 1, &last, false);
}

const ct_objective_method ct_objective_mse = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_objective_method),
               .name = "mse",
               .title = "Mean squared error",
               .paper = {"arXiv:2006.07322", "Hui & Belkin, ICLR 2021"},
               .summary =
                   "The square of the distance to the target, for regression. For classes it does as well as "
                   "cross-entropy in many tasks, with few classes unscaled.",
               .options = options,
               .options_size = sizeof(mse_options)},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = mse_losses};
