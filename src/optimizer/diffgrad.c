/* diffgrad.c - diffGrad (Dubey et al.): Adam with friction where the gradient has stopped changing. */
#include <carat/optimizer.h>
#include <math.h>

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

/* 1 + e^-d for d >= 0, one over the friction: the argument of the exponential is not positive, so nothing overflows.
 * e^-d is 2^-n e^r with |r| <= ln(2) / 2 and Taylor's polynomial; from 87 on the friction is 1 in f32 anyway. */
#define INLINE static inline __attribute__((always_inline))
INLINE float one_by_friction(float d) {
    union {
        int32_t bits;
        float value;
    } power, least = {.value = 87}, given = {.value = d};
    given.bits = given.bits < least.bits ? given.bits : least.bits; /* the order of floats that are not negative */
    float z = -given.value;
    int32_t n = (int32_t)(z * 1.44269504f - 0.5f);
    float r = z - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    float p =
        1 + r * (1 + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720))))));
    power.bits = (n + 127) << 23;
    return 1 + p * power.value;
}

/* What one step needs; xi is 1/2 everywhere where the fault of the published runs is repeated. */
typedef struct coefficients {
    float rest1, beta2, rest2, epsilon, factor, second, change;
} coefficients;

static coefficients of_step(const ct_optimizer_range *r) {
    const diffgrad_options *o = r->options;
    double first = 1 / (1 - pow(o->beta1, (double)r->step)),
           second = sqrt(1 - pow(o->beta2, (double)r->step));
    bool raw = o->eps_mode == RAW;
    return (coefficients){.rest1 = (float)(1 - o->beta1),
                          .beta2 = (float)o->beta2,
                          .rest2 = (float)(1 - o->beta2),
                          .epsilon = (float)o->epsilon,
                          .factor = (float)(raw ? first * second : first),
                          .second = raw ? 1 : (float)(1 / second),
                          .change = o->alias && r->step > 1 ? 0 : 1};
}

/* m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  xi of |g_prev - g|;  g_prev = g;
 * the direction factor xi m / (second sqrt(v) + epsilon). m is kept without xi. */
INLINE float element(const coefficients *c, float g, float *m, float *v, float *previous) {
    float one_by_xi = one_by_friction(c->change * fabsf(*previous - g));
    *previous = g;
    *m = *m + c->rest1 * (g - *m);
    *v = c->beta2 * *v + c->rest2 * g * g;
    return c->factor * *m / (one_by_xi * (sqrtf(*v) * c->second + c->epsilon)); /* one division is enough */
}

CT_ELEMENT_LOOPS static void elements(const ct_optimizer_range *r) {
    const coefficients c = of_step(r);
    float *restrict m = r->state[FIRST], *restrict v = r->state[SECOND],
                    *restrict previous = r->state[PREVIOUS];
    float *restrict update = r->update;
    const float *restrict g = r->gradient;
    for (int64_t i = 0; i < r->count; i++)
        update[i] = element(&c, g[i], m + i, v + i, previous + i);
}

CT_ELEMENT_LOOPS static void elements_fused(const ct_optimizer_range *r) {
    const coefficients c = of_step(r);
    float *restrict m = r->state[FIRST], *restrict v = r->state[SECOND],
                    *restrict previous = r->state[PREVIOUS];
    float *restrict w = r->weight_out, decay = (float)r->weight_decay, rate = (float)r->learning_rate;
    const float *restrict gradient = r->gradient;
    float scale = r->gradient_scale;
    for (int64_t i = 0; i < r->count; i++) {
        float g = scale * gradient[i] + decay * w[i];
        w[i] = w[i] - rate * element(&c, g, m + i, v + i, previous + i);
    }
}

/* For statistics: the sum of xi, before the step. */
static void add_friction(const ct_optimizer_range *r, float scale, float decay) {
    const coefficients c = of_step(r);
    for (int64_t i = 0; i < r->count; i++) {
        float g = scale * r->gradient[i] + decay * r->weight[i];
        r->measure->sum[0] += 1 / (double)one_by_friction(c.change * fabsf(r->state[PREVIOUS][i] - g));
    }
}

static void diffgrad_direction(const ct_optimizer_range *r) {
    if (r->measure) add_friction(r, 1, 0);
    elements(r);
}

static void diffgrad_fused(const ct_optimizer_range *r) {
    if (r->measure) add_friction(r, r->gradient_scale, (float)r->weight_decay);
    elements_fused(r);
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
    .fused = diffgrad_fused,
    .statistics = statistics,
    .report = diffgrad_report};
