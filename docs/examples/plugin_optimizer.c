/* plugin_optimizer.c - an optimizer of one's own, outside Carat: Signum (Bernstein et al., arXiv:1802.04434, algorithm 2),
 * the sign of a moving average of gradients. Compile it into a shared object and give that to the command:
 *
 *     cc -O2 -shared -fPIC $(pkg-config --cflags carat) plugin_optimizer.c -o signum.so $(pkg-config --libs carat)
 *     carat train recipe.yaml --plugin signum.so optim=signum optimizer.beta=0.95 */
#include <carat.h>

typedef struct signum_options {
    double beta;
} signum_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta", signum_options, beta, 0.9, 0, 0.999999, "decay of the average of gradients"),
    CT_OPTION_END};

/* Declared, not allocated: checkpoints, resume and the memory plan know it from here. */
static const ct_state_decl state[] = {{.name = "exp_avg", .shape = CT_LIKE_PARAMETER, .dtype = CT_F32}, {.name = NULL}};

/* m = beta m + (1 - beta) g;  the direction is sign(m). The learning rate and weight decay are applied by Carat. */
static void signum_direction(const ct_optimizer_range *r) {
    const signum_options *o = r->options;
    float rest = (float)(1 - o->beta);
    for (int64_t i = 0; i < r->count; i++) {
        float m = r->state[0][i] + rest * (r->gradient[i] - r->state[0][i]);
        r->state[0][i] = m;
        r->update[i] = (float)((m > 0) - (m < 0));
    }
}

static const ct_optimizer_method signum = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "signum",
               .title = "Signum",
               .paper = {"arXiv:1802.04434", "Bernstein et al., ICML 2018"},
               .summary = "Steps of one size along the sign of a moving average of gradients. It keeps one state where "
                          "Adam keeps two.",
               .options = options,
               .options_size = sizeof(signum_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .direction = signum_direction};

/* The one function that a plug-in exports. */
ct_status carat_plugin(ct_context *context) { return ct_method_register(context, "optimizer", &signum.method); }
