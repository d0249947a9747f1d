/* sgd.c - stochastic gradient descent with momentum (Polyak, 1964) and Nesterov's variant (Sutskever et al.,
 * ICML 2013), in the form torch.optim.SGD has. */
#include "optimizer/momentum.h"
#include <string.h>

typedef struct sgd_options {
    double momentum, dampening;
    bool nesterov;
} sgd_options;

static const ct_option options[] = {
    CT_OPTION_REAL("momentum", sgd_options, momentum, 0, 0, 0.999999,
                   "share of the last update that is kept"),
    CT_OPTION_REAL("dampening", sgd_options, dampening, 0, 0, 1,
                   "how much less of the gradient enters momentum"),
    CT_OPTION_BOOL("nesterov", sgd_options, nesterov, false, "look ahead by one momentum step"),
    CT_OPTION_END};

static const ct_state_decl state[] = {{"momentum_buffer", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static ct_status sgd_check(ct_context *context, const void *given) {
    const sgd_options *o = given;
    if (!o->nesterov || (o->momentum > 0 && o->dampening == 0)) return CT_OK;
    return ct_fail(
        context, CT_ERROR_ARGUMENT,
        "optimizer.nesterov: it needs momentum above 0 and no dampening (momentum is %g, dampening %g)",
        o->momentum, o->dampening);
}

static bool sgd_keeps(const void *given, const ct_optimizer_tensor *tensor, int index) {
    (void)tensor, (void)index;
    return ((const sgd_options *)given)->momentum > 0;
}

/* b = momentum b + (1 - dampening) g, in the first step b = g;  update = b, or g + momentum b (Nesterov).
 * Without momentum the update is g: dampening is momentum's. */
static void sgd_direction(const ct_optimizer_range *r) {
    const sgd_options *o = r->options;
    if (o->momentum == 0)
        memcpy(r->update, r->gradient, (size_t)r->count * sizeof(float));
    else
        ct_momentum_direction(r, o->momentum, r->step == 1 ? 1 : 1 - o->dampening, o->nesterov, true);
}

const ct_optimizer_method ct_optimizer_sgd = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "sgd",
         .title = "SGD with momentum",
         .paper = {"doi:10.1016/0041-5553(64)90137-5", "Polyak, 1964; Sutskever et al., ICML 2013"},
         .summary =
             "Gradient descent with momentum, plain or Nesterov's. Weight decay is added to the gradient.",
         .options = options,
         .options_size = sizeof(sgd_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_COUPLED,
    .check = sgd_check,
    .keeps = sgd_keeps,
    .direction = sgd_direction};
