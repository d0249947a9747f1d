/* lamb.c - LAMB (You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
 * algorithm 2). */
#include "optimizer/moments.h"
#include "tensor/cpu/kernels.h"
#include <math.h>

typedef struct lamb_options {
    double beta1, beta2, epsilon, trust_clip;
    bool always_adapt;
} lamb_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", lamb_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", lamb_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", lamb_options, epsilon, 1e-6, 0, 1, "added to the root of the second moment"),
    CT_OPTION_REAL("trust_clip", lamb_options, trust_clip, 0, 0, 1e6,
                   "the most that the trust ratio may be; 0: no limit"),
    CT_OPTION_BOOL("always_adapt", lamb_options, always_adapt, false,
                   "use the trust ratio also for parameters without weight decay (biases, norms)"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static ct_moments moments(const lamb_options *o) {
    return (ct_moments){o->beta1, o->beta2, o->epsilon, false, false};
}

/* r = m^ / (sqrt(v^) + epsilon) + decay w, into update. */
static void ratio(const ct_optimizer_range *r) {
    ct_moments with = moments(r->options);
    ct_moments_quotient(r, &with);
    if (r->weight_decay != 0)
        ct_cpu_kernels()->f32.axpy(r->count, (float)r->weight_decay, r->weight, r->update);
}

static void lamb_measure(const ct_optimizer_range *r) {
    ct_moments with = moments(r->options);
    ct_moments_advance(r, &with);
    ratio(r);
    r->measure->sum[0] += ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, r->count, r->weight, 0);
    r->measure->sum[1] += ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, r->count, r->update, 0);
}

/* The trust ratio |w| / |r|; 1 where either is 0. */
static bool lamb_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const lamb_options *o = whole->options;
    if (pass == 0) return true;
    double weight = sqrt(measured->sum[0]), update = sqrt(measured->sum[1]), trust = 1;
    bool adapts = o->always_adapt || whole->weight_decay != 0;
    if (adapts && weight > 0 && update > 0) trust = weight / update;
    if (o->trust_clip > 0 && trust > o->trust_clip) trust = o->trust_clip;
    measured->value[0] = trust;
    return false;
}

static void lamb_direction(const ct_optimizer_range *r) {
    ratio(r);
    ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, r->count, r->update, r->update, (float)r->measured->value[0],
                                0);
}

static const char *const statistics[] = {"trust_ratio", NULL};
static void lamb_report(const ct_optimizer_range *whole, double *values) {
    values[0] = whole->measured->value[0];
}

const ct_optimizer_method ct_optimizer_lamb = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "lamb",
               .title = "LAMB",
               .paper = {"arXiv:1904.00962", "You et al., ICLR 2020"},
               .summary = "AdamW's direction rescaled, tensor by tensor, to the norm of the weight. For very "
                          "large batches.",
               .options = options,
               .options_size = sizeof(lamb_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_BY_METHOD,
    .decide = lamb_decide,
    .measure = lamb_measure,
    .direction = lamb_direction,
    .statistics = statistics,
    .report = lamb_report};
