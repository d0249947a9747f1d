/* moments.c - first and second moments of gradients, and Adam's quotient of them. */
#include "optimizer/moments.h"
#include "tensor/cpu/kernels.h"
#include <math.h>

CT_ELEMENT_LOOPS void ct_moments_advance(const ct_optimizer_range *r, const ct_moments *with) {
    float rest1 = (float)(1 - with->beta1), beta2 = (float)with->beta2, rest2 = (float)(1 - with->beta2);
    float *restrict m = r->state[0], *restrict v = r->state[1];
    const float *restrict gradient = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        float g = gradient[i];
        m[i] = m[i] + rest1 * (g - m[i]);
        v[i] = beta2 * v[i] + rest2 * g * g;
    }
}

static float first_correction(const ct_optimizer_range *r, const ct_moments *with) {
    return (float)(1 / (1 - pow(with->beta1, (double)r->step)));
}
static float second_correction(const ct_optimizer_range *r, const ct_moments *with) {
    return (float)(1 / sqrt(1 - pow(with->beta2, (double)r->step)));
}

CT_ELEMENT_LOOPS void ct_moments_quotient(const ct_optimizer_range *r, const ct_moments *with) {
    float first = first_correction(r, with), second = second_correction(r, with),
          epsilon = (float)with->epsilon;
    float ahead = with->nesterov ? first * (float)with->beta1 : first;
    float now = with->nesterov ? first * (float)(1 - with->beta1) : 0;
    const float *restrict m = r->state[0], *restrict v = r->state[1], *restrict gradient = r->gradient;
    float *restrict update = r->update;
    if (with->nesterov)
        for (int64_t i = 0; i < r->count; i++)
            update[i] = (ahead * m[i] + now * gradient[i]) / (sqrtf(v[i]) * second + epsilon);
    else
        for (int64_t i = 0; i < r->count; i++)
            update[i] = first * m[i] / (sqrtf(v[i]) * second + epsilon);
}

CT_ELEMENT_LOOPS void ct_moments_direction(const ct_optimizer_range *r, const ct_moments *with) {
    if (with->nesterov) {
        ct_moments_advance(r, with);
        ct_moments_quotient(r, with);
        return;
    }
    float rest1 = (float)(1 - with->beta1), beta2 = (float)with->beta2, rest2 = (float)(1 - with->beta2);
    float first = first_correction(r, with), second = second_correction(r, with),
          epsilon = (float)with->epsilon;
    float scale = with->unscaled ? r->gradient_scale : 1;
    float *restrict m = r->state[0], *restrict v = r->state[1], *restrict update = r->update;
    const float *restrict gradient = r->gradient;
    for (int64_t i = 0; i < r->count; i++) {
        float g = scale * gradient[i];
        m[i] = m[i] + rest1 * (g - m[i]);
        v[i] = beta2 * v[i] + rest2 * g * g;
        update[i] = first * m[i] / (sqrtf(v[i]) * second + epsilon);
    }
}

void ct_moments_fused(const ct_optimizer_range *r, const ct_moments *with, bool coupled) {
    ct_adamw step = {.learning_rate = r->learning_rate,
                     .beta1 = with->beta1,
                     .beta2 = with->beta2,
                     .epsilon = with->epsilon,
                     .weight_decay = r->weight_decay * r->measured->decay_scale,
                     .bias_correction1 = 1 - pow(with->beta1, (double)r->step),
                     .bias_correction2 = 1 - pow(with->beta2, (double)r->step),
                     .gradient_scale = r->gradient_scale,
                     .coupled = coupled};
    ct_cpu_kernels()->f32.adamw(r->count, r->weight_out, r->gradient, r->state[0], r->state[1], &step, NULL);
}
