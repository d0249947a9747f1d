/* sgdp.c - SGDP (Heo et al., algorithm 1): SGD with momentum whose update loses its radial part on weights
 * whose scale does not matter. See radial.c. */
#include "optimizer/momentum.h"
#include "optimizer/radial.h"

typedef struct sgdp_options {
    ct_radial_options radial;
    double momentum, dampening;
} sgdp_options;

static const ct_option options[] = {
    CT_OPTION_REAL("momentum", sgdp_options, momentum, 0, 0, 0.999999,
                   "share of the last update that is kept"),
    CT_OPTION_REAL("dampening", sgdp_options, dampening, 0, 0, 1,
                   "how much less of the gradient enters momentum"),
    CT_RADIAL_OPTIONS("keeps norms from being 0", "look ahead by one momentum step"), CT_OPTION_END};

static const ct_state_decl state[] = {{"momentum_buffer", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static void direction(const ct_optimizer_range *r, bool advance) {
    const sgdp_options *o = r->options;
    ct_momentum_direction(r, o->momentum, 1 - o->dampening, o->radial.nesterov, advance);
}

static ct_status sgdp_check(ct_context *context, const void *given) {
    const sgdp_options *o = given;
    if (!o->radial.nesterov || o->momentum > 0) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT,
                   "optimizer.nesterov: it needs momentum above 0 (momentum is %g)", o->momentum);
}

/* Decay is divided by 1 - momentum, so that it means what L2 means in SGD, where it goes through the
 * momentum. */
static bool sgdp_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const sgdp_options *o = whole->options;
    if (pass == 0) measured->decay_scale = 1 / (1 - o->momentum);
    return ct_radial_decide(whole, pass, measured);
}

static void propose(const ct_optimizer_range *r) {
    direction(r, true);
}

static void sgdp_measure(const ct_optimizer_range *r) {
    ct_radial_measure(r, propose);
}

/* b = momentum b + (1 - dampening) g;  q = b, or g + momentum b;  q = q - w <w, q> / |w|^2. */
static void sgdp_direction(const ct_optimizer_range *r) {
    direction(r, r->measured->value[CT_RADIAL_MODE] != CT_RADIAL_WHOLE);
    ct_radial_remove(r);
}

const ct_optimizer_method ct_optimizer_sgdp = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "sgdp",
               .title = "SGDP",
               .paper = {"arXiv:2006.08217", "Heo et al., ICLR 2021"},
               .summary = "SGD with momentum, without the radial part of the update on scale-invariant "
                          "weights. Weight decay "
                          "acts on the weights, with the strength that L2 has in SGD.",
               .options = options,
               .options_size = sizeof(sgdp_options)},
    .state = state,
    .scope = CT_ROW_RANGES,
    .check = sgdp_check,
    .decide = sgdp_decide,
    .measure = sgdp_measure,
    .direction = sgdp_direction,
    .statistics = ct_radial_statistics,
    .statistic_words = ct_radial_words,
    .report = ct_radial_report};
