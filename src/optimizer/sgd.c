/* sgd.c - stochastic gradient descent with momentum (Polyak, 1964) and Nesterov's variant (Sutskever et al., ICML
 * 2013), in the form torch.optim.SGD has. */
#include <carat/optimizer.h>

typedef struct sgd_options {
    double momentum, dampening;
    bool nesterov;
} sgd_options;

static const ct_option options[] = {
    CT_OPTION_REAL("momentum", sgd_options, momentum, 0, 0, 0.999999, "share of the last update that is kept"),
    CT_OPTION_REAL("dampening", sgd_options, dampening, 0, 0, 1, "how much less of the gradient enters momentum"),
    CT_OPTION_BOOL("nesterov", sgd_options, nesterov, false, "look ahead by one momentum step"), CT_OPTION_END};

static const ct_state_decl state[] = {{"momentum_buffer", CT_LIKE_PARAMETER, CT_F32}, {NULL, CT_LIKE_PARAMETER, CT_F32}};

/* m = momentum m + (1 - dampening) g, in the first step m = g;  update = m, or g + momentum m (Nesterov). Without
 * momentum the update is g: dampening is momentum's. */
static void sgd_direction(const ct_optimizer_range *r) {
    const sgd_options *o = r->options;
    float momentum = (float)o->momentum, share = r->step == 1 || momentum == 0 ? 1.0f : (float)(1 - o->dampening);
    float *m = r->state[0];
    for (int64_t i = 0; i < r->count; i++) {
        float g = r->gradient[i];
        m[i] = momentum * m[i] + share * g;
        r->update[i] = o->nesterov ? g + momentum * m[i] : m[i];
    }
}

const ct_optimizer_method ct_optimizer_sgd = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_optimizer_method), .name = "sgd", .title = "SGD with momentum",
               .paper = {"doi:10.1016/0041-5553(64)90137-5", "Polyak, 1964; Sutskever et al., ICML 2013"},
               .summary = "Gradient descent with momentum, plain or Nesterov's. Weight decay is added to the gradient.",
               .options = options, .options_size = sizeof(sgd_options)},
    .state = state, .scope = CT_ELEMENTWISE, .coupled_decay = true, .direction = sgd_direction};
