/* adagrad.c - Adagrad (Duchi et al., JMLR 2011, figure 1, diagonal form), in the form torch.optim.Adagrad
 * has. */
#include <carat/optimizer.h>
#include <math.h>

typedef struct adagrad_options {
    double lr_decay, initial_accumulator_value, epsilon;
} adagrad_options;

static const ct_option options[] = {
    CT_OPTION_REAL("lr_decay", adagrad_options, lr_decay, 0, 0, 1e6,
                   "the rate is divided by 1 + (step - 1) * lr_decay"),
    CT_OPTION_REAL("initial_accumulator_value", adagrad_options, initial_accumulator_value, 0, 0, 1e6,
                   "what the sum of squares begins with"),
    CT_OPTION_REAL("epsilon", adagrad_options, epsilon, 1e-10, 0, 1, "added to the root of the sum"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"sum", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

/* s = s + g^2;  update = g / (sqrt(s) + epsilon) / (1 + (t - 1) lr_decay). */
CT_ELEMENT_LOOPS static void adagrad_direction(const ct_optimizer_range *r) {
    const adagrad_options *o = r->options;
    float start = r->step == 1 ? (float)o->initial_accumulator_value : 0, epsilon = (float)o->epsilon;
    float factor = (float)(1 / (1 + (double)(r->step - 1) * o->lr_decay));
    float *restrict sum = r->state[0], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        sum[i] = sum[i] + start + g[i] * g[i];
        update[i] = factor * g[i] / (sqrtf(sum[i]) + epsilon);
    }
}

const ct_optimizer_method ct_optimizer_adagrad = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "adagrad",
               .title = "Adagrad",
               .paper = {"https://jmlr.org/papers/v12/duchi11a.html", "Duchi, Hazan & Singer, JMLR 2011"},
               .summary = "Each element's rate falls with the root of the sum of its squared gradients. For "
                          "sparse features, "
                          "whose rare gradients keep a high rate.",
               .options = options,
               .options_size = sizeof(adagrad_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_COUPLED,
    .direction = adagrad_direction};
