/* adamp.c - AdamP (Heo et al., algorithm 2): Adam whose update loses its radial part on weights whose scale
 * does not matter. Which weights those are is seen from the angle between gradient and weight (radial.c). */
#include "optimizer/moments.h"
#include "optimizer/radial.h"
#include "tensor/cpu/kernels.h"

typedef struct adamp_options {
    double beta1, beta2, epsilon, delta, wd_ratio;
    bool nesterov;
} adamp_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", adamp_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", adamp_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", adamp_options, epsilon, 1e-8, 1e-30, 1,
                   "added to the root of the second moment"),
    CT_RADIAL_OPTIONS(adamp_options),
    CT_OPTION_BOOL("nesterov", adamp_options, nesterov, false, "look ahead by one step of the first moment"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static ct_moments moments(const adamp_options *o) {
    return (ct_moments){o->beta1, o->beta2, o->epsilon, o->nesterov, false};
}

static bool adamp_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const adamp_options *o = whole->options;
    bool more = ct_radial_decide(whole, pass, o->delta, o->wd_ratio, o->epsilon, measured);
    measured->fused = !o->nesterov && measured->value[CT_RADIAL_MODE] != CT_RADIAL_WHOLE;
    return more;
}

/* Pass 1, only where the whole is projected: the moments, and <w, q>. */
static void adamp_measure(const ct_optimizer_range *r) {
    const adamp_options *o = r->options;
    if (r->pass == 0) {
        ct_radial_measure(r, o->epsilon);
        return;
    }
    ct_moments with = moments(o);
    ct_moments_direction(r, &with);
    r->measure->sum[0] += ct_cpu_kernels()->f32.dot(r->count, r->weight, r->update);
}

/* q = m^ / (sqrt(v^) + epsilon);  q = q - w <w, q> / |w|^2. The bias correction of m, a factor of the rate in
 * the paper, is part of q here: the projection is linear. */
static void adamp_direction(const ct_optimizer_range *r) {
    const adamp_options *o = r->options;
    ct_moments with = moments(o);
    if (r->measured->value[CT_RADIAL_MODE] == CT_RADIAL_WHOLE)
        ct_moments_quotient(r, &with);
    else
        ct_moments_direction(r, &with);
    ct_radial_remove(r, o->epsilon);
}

/* Where nothing is projected it is AdamW. */
static void adamp_fused(const ct_optimizer_range *r) {
    const adamp_options *o = r->options;
    ct_moments with = moments(o);
    if (r->measured->value[CT_RADIAL_MODE] == CT_RADIAL_NONE) {
        ct_moments_fused(r, &with, false);
        return;
    }
    with.unscaled = true;
    ct_moments_direction(r, &with);
    ct_radial_apply(r, o->epsilon);
}

const ct_optimizer_method ct_optimizer_adamp = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "adamp",
               .title = "AdamP",
               .paper = {"arXiv:2006.08217", "Heo et al., ICLR 2021"},
               .summary =
                   "Adam without the radial part of the update on scale-invariant weights, those that a norm "
                   "follows. Their norms no longer grow, so their effective rate no longer falls.",
               .options = options,
               .options_size = sizeof(adamp_options)},
    .state = state,
    .scope = CT_ROW_RANGES,
    .decide = adamp_decide,
    .measure = adamp_measure,
    .direction = adamp_direction,
    .fused = adamp_fused,
    .statistics = ct_radial_statistics,
    .report = ct_radial_report};
