/* diffgrad.c - diffGrad (Dubey et al.): Adam with friction where the gradient has stopped changing. */
#include <carat/optimizer.h>
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

typedef struct diffgrad_options {
    double beta1, beta2, epsilon;
    int eps_mode;
    bool alias;
} diffgrad_options;

enum { RAW, CORRECTED };
static const char *const modes[] = {"raw", "corrected", NULL};
static const ct_option options[] = {
    CT_OPTION_REAL("beta1", diffgrad_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", diffgrad_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", diffgrad_options, epsilon, 1e-8, 1e-30, 1,
                   "added to the root of the second moment"),
    CT_OPTION_CHOICE("eps_mode", diffgrad_options, eps_mode, "raw", modes,
                     "raw: epsilon is added before the bias correction, as the authors' code does; "
                     "corrected: after it, as "
                     "their paper says"),
    CT_OPTION_BOOL(
        "alias", diffgrad_options, alias, false,
        "repeat a fault of the published runs, in which the last gradient was the present one: Adam at half "
        "the rate"),
    CT_OPTION_END};

enum { FIRST, SECOND, PREVIOUS };
static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"previous_grad", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

/* |g_prev - g| into update; g_prev = g. */
CT_ELEMENT_LOOPS static void change(const ct_optimizer_range *r) {
    float *restrict previous = r->state[PREVIOUS], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        update[i] = fabsf(previous[i] - g[i]);
        previous[i] = g[i];
    }
}

/* m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  update = factor xi m / (second sqrt(v) +
 * epsilon), with xi standing in update. m is kept without xi. */
CT_ELEMENT_LOOPS static void brake(const ct_optimizer_range *r, float factor, float second) {
    const diffgrad_options *o = r->options;
    float rest1 = (float)(1 - o->beta1), beta2 = (float)o->beta2, rest2 = (float)(1 - o->beta2);
    float epsilon = (float)o->epsilon;
    float *restrict m = r->state[FIRST], *restrict v = r->state[SECOND], *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        m[i] = m[i] + rest1 * (g[i] - m[i]);
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
        update[i] = factor * (update[i] * m[i]) / (sqrtf(v[i]) * second + epsilon);
    }
}

/* xi = 1 / (1 + exp(-|g_prev - g|)), in [0.5, 1]; its exponential is of an argument that is not positive. */
static void diffgrad_direction(const ct_optimizer_range *r) {
    const diffgrad_options *o = r->options;
    const ct_kernels_f32 *k = &ct_cpu_kernels()->f32;
    double first = 1 / (1 - pow(o->beta1, (double)r->step)),
           second = sqrt(1 - pow(o->beta2, (double)r->step));
    change(r);
    if (o->alias && r->step > 1) memset(r->update, 0, (size_t)r->count * sizeof(float));
    k->unary(CT_UNARY_SIGMOID, r->count, r->update, r->update, 0, 0);
    if (r->measure) r->measure->sum[0] += k->reduce(CT_REDUCE_SUM, r->count, r->update, 0);
    if (o->eps_mode == RAW)
        brake(r, (float)(first * second), 1);
    else
        brake(r, (float)first, (float)(1 / second));
}

static const char *const statistics[] = {"xi_mean", NULL};
static void diffgrad_report(const ct_optimizer_range *whole, double *values) {
    values[0] = whole->measured->sum[0] / (double)whole->count;
}

const ct_optimizer_method ct_optimizer_diffgrad = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_optimizer_method),
         .name = "diffgrad",
         .title = "diffGrad",
         .paper = {"arXiv:1909.11015", "Dubey et al., IEEE TNNLS 2020"},
         .summary =
             "Adam whose step is braked, down to a half, where the gradient has stopped changing. Overshoots "
             "narrow minima less.",
         .options = options,
         .options_size = sizeof(diffgrad_options)},
    .state = state,
    .scope = CT_ELEMENTWISE,
    .decay = CT_DECAY_COUPLED,
    .direction = diffgrad_direction,
    .statistics = statistics,
    .report = diffgrad_report};
