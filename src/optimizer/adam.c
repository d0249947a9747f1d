/* adam.c - Adam (Kingma & Ba, algorithm 1) with L2 decay through the gradient, and its AMSGrad variant (Reddi
 * et al., arXiv:1904.09237), in the form torch.optim.Adam has. */
#include "optimizer/moments.h"
#include <math.h>

typedef struct adam_options {
    double beta1, beta2, epsilon;
    bool amsgrad;
} adam_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", adam_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", adam_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", adam_options, epsilon, 1e-8, 0, 1, "added to the root of the second moment"),
    CT_OPTION_BOOL("amsgrad", adam_options, amsgrad, false, "divide by the greatest second moment so far"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"max_exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static bool adam_keeps(const void *given, const ct_optimizer_tensor *tensor, int index) {
    (void)tensor;
    return index < 2 || ((const adam_options *)given)->amsgrad;
}

static ct_moments moments(const adam_options *o) {
    return (ct_moments){o->beta1, o->beta2, o->epsilon, false, false};
}

/* update = m^ / (sqrt(max v) / sqrt(1 - beta2^t) + epsilon). */
CT_ELEMENT_LOOPS static void amsgrad(const ct_optimizer_range *r, const adam_options *o) {
    float first = (float)(1 / (1 - pow(o->beta1, (double)r->step)));
    float second = (float)(1 / sqrt(1 - pow(o->beta2, (double)r->step))), epsilon = (float)o->epsilon;
    const float *restrict m = r->state[0], *restrict v = r->state[1];
    float *restrict most = r->state[2], *restrict update = r->update;
    for (int64_t i = 0; i < r->count; i++) {
        most[i] = v[i] > most[i] ? v[i] : most[i];
        update[i] = first * m[i] / (sqrtf(most[i]) * second + epsilon);
    }
}

static void adam_direction(const ct_optimizer_range *r) {
    const adam_options *o = r->options;
    ct_moments with = moments(o);
    if (!o->amsgrad) {
        ct_moments_direction(r, &with);
        return;
    }
    ct_moments_advance(r, &with);
    amsgrad(r, o);
}

static bool adam_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    (void)pass;
    measured->fused = !((const adam_options *)whole->options)->amsgrad;
    return false;
}

static void adam_fused(const ct_optimizer_range *r) {
    ct_moments with = moments(r->options);
    ct_moments_fused(r, &with, true);
}

const ct_optimizer_method ct_optimizer_adam = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "adam",
               .title = "Adam",
               .paper = {"arXiv:1412.6980", "Kingma & Ba, ICLR 2015"},
               .summary = "Steps of the first moment of the gradient over the root of the second. Weight "
                          "decay is added to "
                          "the gradient; use adamw for decay of the weights.",
               .options = options,
               .options_size = sizeof(adam_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_COUPLED,
    .keeps = adam_keeps,
    .decide = adam_decide,
    .direction = adam_direction,
    .fused = adam_fused};
