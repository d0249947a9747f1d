/* hinge.c - margins. Class ids y, with m the margin:
 *     crammer_singer  max(0, m + max over c != y of x_c - x_y)
 *     weston_watkins  sum over c != y of max(0, m + x_c - x_y)
 * (Crammer & Singer, JMLR 2001; Weston & Watkins, ESANN 1999)
 * and values t of +1 or -1: mean over outputs of max(0, m - t x). `squared`: each hinge is squared. */
#include <carat/objective.h>

typedef struct hinge_options {
    double margin;
    int form;
    bool squared;
} hinge_options;

enum { CRAMMER_SINGER, WESTON_WATKINS };
static const char *const forms[] = {"crammer_singer", "weston_watkins", NULL};
static const ct_option options[] = {
    CT_OPTION_REAL("margin", hinge_options, margin, 1, 0, 1e9, "by which the right class must lead"),
    CT_OPTION_CHOICE("form", hinge_options, form, "crammer_singer", forms,
                     "class ids: against the strongest other class, or against each"),
    CT_OPTION_BOOL("squared", hinge_options, squared, false, "the square of each hinge"), CT_OPTION_END};

static const int last = 1;

static ct_tensor *bend(ct_tensor *x, const hinge_options *o) {
    ct_tensor *hinge = ct_relu(x);
    return o->squared ? ct_square(hinge) : hinge;
}

static ct_tensor *of_values(const ct_objective_call *call, ct_tensor *x, const hinge_options *o) {
    ct_tensor *t = ct_objective_one_hot(call), *flat = ct_contiguous(ct_cast(t, CT_F64));
    const double *value = ct_data(flat);
    for (int64_t i = 0; value && i < ct_count(flat); i++)
        if (value[i] != 1 && value[i] != -1) {
            ct_fail(call->context, CT_ERROR_ARGUMENT, "%s: target %g of sample %lld, expected 1 or -1",
                    call->where, value[i], (long long)(i / ct_dim(flat, 1)));
            break;
        }
    return ct_mean(bend(ct_add_scalar(ct_neg(ct_mul(t, x)), o->margin), o), 1, &last, false);
}

static ct_tensor *hinge_losses(const ct_objective_call *call) {
    const hinge_options *o = call->options;
    ct_tensor *x = ct_objective_outputs(call);
    if (!call->ids) return of_values(call, x, o);
    ct_tensor *here = ct_objective_one_hot(call), *none = ct_zeros_like(here);
    ct_tensor *right = ct_unsqueeze(ct_objective_at_class(call, x), 1);
    ct_tensor *lead = ct_add_scalar(ct_sub(x, right), o->margin);
    ct_tensor *is_right = ct_greater(here, none);
    if (o->form == WESTON_WATKINS) return ct_sum(bend(ct_masked_fill(lead, is_right, 0), o), 1, &last, false);
    return bend(ct_max(ct_masked_fill(lead, is_right, -1e30), 1, &last, false), o);
}

const ct_objective_method ct_objective_hinge = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_objective_method),
               .name = "hinge",
               .title = "Hinge loss",
               .summary =
                   "Zero once the right class leads by a margin, else what is missing. For support-vector "
                   "machines and for values +1 and -1.",
               .options = options,
               .options_size = sizeof(hinge_options)},
    .targets = CT_TARGETS_IDS | CT_TARGETS_VALUES,
    .losses = hinge_losses};
