/* lion.c - Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", program 1). */
#include <carat/optimizer.h>

typedef struct lion_options {
    double beta1, beta2;
} lion_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", lion_options, beta1, 0.9, 0, 0.999999,
                   "share of momentum in the sign that is taken"),
    CT_OPTION_REAL("beta2", lion_options, beta2, 0.99, 0, 0.9999999, "decay of the momentum"), CT_OPTION_END};

static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

/* update = sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g. */
CT_ELEMENT_LOOPS static void lion_direction(const ct_optimizer_range *r) {
    const lion_options *o = r->options;
    float beta1 = (float)o->beta1, rest1 = (float)(1 - o->beta1);
    float beta2 = (float)o->beta2, rest2 = (float)(1 - o->beta2);
    float *restrict m = r->state[0], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        float mixed = beta1 * m[i] + rest1 * g[i];
        update[i] = (mixed > 0 ? 1.0f : 0.0f) - (mixed < 0 ? 1.0f : 0.0f);
        m[i] = beta2 * m[i] + rest2 * g[i];
    }
}

const ct_optimizer_method ct_optimizer_lion = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "lion",
         .title = "Lion",
         .paper = {"arXiv:2302.06675", "Chen et al., NeurIPS 2023"},
         .summary =
             "Steps of one size, the sign of an interpolation between momentum and gradient. Half of Adam's "
             "state; takes rates 3 to 10 times smaller than AdamW and as much more decay.",
         .options = options,
         .options_size = sizeof(lion_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .direction = lion_direction};
