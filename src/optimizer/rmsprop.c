/* rmsprop.c - RMSProp (Tieleman & Hinton, 2012), plain or centered (Graves, arXiv:1308.0850, section 4.1), in
 * the form torch.optim.RMSprop has. */
#include <carat/optimizer.h>
#include <math.h>

typedef struct rmsprop_options {
    double alpha, epsilon, momentum;
    bool centered;
} rmsprop_options;

static const ct_option options[] = {
    CT_OPTION_REAL("alpha", rmsprop_options, alpha, 0.99, 0, 0.9999999, "decay of the mean square"),
    CT_OPTION_REAL("epsilon", rmsprop_options, epsilon, 1e-8, 0, 1, "added to the root of the mean square"),
    CT_OPTION_REAL("momentum", rmsprop_options, momentum, 0, 0, 0.999999,
                   "share of the last update that is kept"),
    CT_OPTION_BOOL("centered", rmsprop_options, centered, false,
                   "divide by the variance instead of the mean square"),
    CT_OPTION_END};

enum { SQUARE, BUFFER, MEAN };
static const ct_state_decl state[] = {{"square_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"momentum_buffer", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"grad_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static bool rmsprop_keeps(const void *given, const ct_optimizer_tensor *tensor, int index) {
    const rmsprop_options *o = given;
    (void)tensor;
    return index == SQUARE || (index == BUFFER ? o->momentum > 0 : o->centered);
}

/* s = alpha s + (1 - alpha) g^2;  update = g / (sqrt(s) + epsilon). */
CT_ELEMENT_LOOPS static void plain(const ct_optimizer_range *r, const rmsprop_options *o) {
    float alpha = (float)o->alpha, rest = (float)(1 - o->alpha), epsilon = (float)o->epsilon;
    float *restrict square = r->state[SQUARE], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        square[i] = alpha * square[i] + rest * g[i] * g[i];
        update[i] = g[i] / (sqrtf(square[i]) + epsilon);
    }
}

/* a = alpha a + (1 - alpha) g;  update = g / (sqrt(s - a^2) + epsilon). Rounding must not make the variance
 * negative. */
CT_ELEMENT_LOOPS static void centered(const ct_optimizer_range *r, const rmsprop_options *o) {
    float alpha = (float)o->alpha, rest = (float)(1 - o->alpha), epsilon = (float)o->epsilon;
    float *restrict square = r->state[SQUARE], *restrict mean = r->state[MEAN], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        square[i] = alpha * square[i] + rest * g[i] * g[i];
        mean[i] = mean[i] + rest * (g[i] - mean[i]);
        float variance = square[i] - mean[i] * mean[i];
        update[i] = g[i] / (sqrtf(variance > 0 ? variance : 0) + epsilon);
    }
}

/* b = momentum b + update;  update = b. */
CT_ELEMENT_LOOPS static void heavy_ball(const ct_optimizer_range *r, float momentum) {
    float *restrict buffer = r->state[BUFFER], *restrict update = r->update;
    for (int64_t i = 0; i < r->count; i++)
        update[i] = buffer[i] = momentum * buffer[i] + update[i];
}

static void rmsprop_direction(const ct_optimizer_range *r) {
    const rmsprop_options *o = r->options;
    if (o->centered)
        centered(r, o);
    else
        plain(r, o);
    if (o->momentum > 0) heavy_ball(r, (float)o->momentum);
}

const ct_optimizer_method ct_optimizer_rmsprop = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "rmsprop",
         .title = "RMSProp",
         .paper = {"https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
                   "Tieleman & Hinton, lecture 6.5, 2012"},
         .summary =
             "Gradients over the root of a running mean of their squares. Used in reinforcement learning and "
             "for recurrent networks.",
         .options = options,
         .options_size = sizeof(rmsprop_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_COUPLED,
    .keeps = rmsprop_keeps,
    .direction = rmsprop_direction};
