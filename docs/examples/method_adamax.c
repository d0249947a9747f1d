/* adamax.c - Adamax (Kingma & Ba, algorithm 2): Adam with the infinity norm of past gradients in place of the
 * root of their mean square. */
#include <carat/optimizer.h>
#include <math.h>

typedef struct adamax_options {
    double beta1, beta2, epsilon;
} adamax_options;

static const ct_option adamax_table[] = {
    CT_OPTION_REAL("beta1", adamax_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", adamax_options, beta2, 0.999, 0, 0.9999999, "decay of the greatest gradient"),
    CT_OPTION_REAL("epsilon", adamax_options, epsilon, 1e-8, 0, 1, "added to each gradient's magnitude"),
    CT_OPTION_END};

/* Declared, not allocated. The second is never negative, which matters when states are stored in 8 bits. */
static const ct_state_decl adamax_state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                             {"exp_inf", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                             {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

/* m = beta1 m + (1 - beta1) g;  u = max(beta2 u, |g| + epsilon);  the direction is m / ((1 - beta1^t) u). The
 * learning rate and the weight decay are applied by the shared part. */
CT_ELEMENT_LOOPS static void adamax_direction(const ct_optimizer_range *r) {
    const adamax_options *o = r->options;
    float rest1 = (float)(1 - o->beta1), beta2 = (float)o->beta2, epsilon = (float)o->epsilon;
    float correction = (float)(1 / (1 - pow(o->beta1, (double)r->step)));
    float *restrict m = r->state[0], *restrict u = r->state[1], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        float magnitude = fabsf(g[i]) + epsilon, decayed = beta2 * u[i];
        m[i] = m[i] + rest1 * (g[i] - m[i]);
        u[i] = decayed > magnitude ? decayed : magnitude;
        update[i] = correction * m[i] / u[i];
    }
}

const ct_optimizer_method ct_optimizer_adamax = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "adamax",
         .title = "Adamax",
         .paper = {"arXiv:1412.6980", "Kingma & Ba, ICLR 2015"},
         .summary =
             "Adam with the greatest of the past gradients in place of the root of their mean square. Its "
             "steps are never much longer than the learning rate.",
         .options = adamax_table,
         .options_size = sizeof(adamax_options)},
    .state = adamax_state,
    .scope = CT_ELEMENTWISE,
    .direction = adamax_direction};
