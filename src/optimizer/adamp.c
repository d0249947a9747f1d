/* adamp.c - AdamP (Heo et al., algorithm 2): Adam whose update loses its radial part on weights whose scale
 * does not matter. Which weights those are is seen from the angle between gradient and weight (radial.c). */
#include "optimizer/moments.h"
#include "optimizer/radial.h"

typedef struct adamp_options {
    ct_radial_options radial;
    double beta1, beta2;
} adamp_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", adamp_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", adamp_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_RADIAL_OPTIONS("added to the root of the second moment", "look ahead by one step of the first moment"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static ct_moments moments(const ct_optimizer_range *r) {
    const adamp_options *o = r->options;
    return (ct_moments){o->beta1, o->beta2, o->radial.epsilon, o->radial.nesterov, false};
}

static bool adamp_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const adamp_options *o = whole->options;
    bool more = ct_radial_decide(whole, pass, measured);
    measured->fused = !o->radial.nesterov && measured->value[CT_RADIAL_MODE] != CT_RADIAL_WHOLE;
    return more;
}

static void propose(const ct_optimizer_range *r) {
    ct_moments with = moments(r);
    ct_moments_direction(r, &with);
}

static void adamp_measure(const ct_optimizer_range *r) {
    ct_radial_measure(r, propose);
}

/* q = m^ / (sqrt(v^) + epsilon);  q = q - w <w, q> / |w|^2. The bias correction of m, a factor of the rate in
 * the paper, is part of q here: the projection is linear. */
static void adamp_direction(const ct_optimizer_range *r) {
    ct_moments with = moments(r);
    if (r->measured->value[CT_RADIAL_MODE] == CT_RADIAL_WHOLE)
        ct_moments_quotient(r, &with);
    else
        ct_moments_direction(r, &with);
    ct_radial_remove(r);
}

/* Where nothing is projected it is AdamW. */
static void adamp_fused(const ct_optimizer_range *r) {
    ct_moments with = moments(r);
    if (r->measured->value[CT_RADIAL_MODE] == CT_RADIAL_NONE) {
        ct_moments_fused(r, &with, false);
        return;
    }
    with.unscaled = true;
    ct_moments_direction(r, &with);
    ct_radial_apply(r);
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
    .statistic_words = ct_radial_words,
    .report = ct_radial_report};
