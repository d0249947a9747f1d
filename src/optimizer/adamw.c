/* adamw.c - AdamW: Adam with weight decay applied to the weights (Loshchilov & Hutter, algorithm 2). */
#include "tensor/cpu/kernels.h"
#include <carat/optimizer.h>
#include <math.h>

typedef struct adamw_options {
    double beta1, beta2, epsilon;
} adamw_options;

static const ct_option options[] = {
    CT_OPTION_REAL("beta1", adamw_options, beta1, 0.9, 0, 0.999999, "decay of the first moment"),
    CT_OPTION_REAL("beta2", adamw_options, beta2, 0.999, 0, 0.9999999, "decay of the second moment"),
    CT_OPTION_REAL("epsilon", adamw_options, epsilon, 1e-8, 0, 1, "added to the root of the second moment"),
    CT_OPTION_END};

static const ct_state_decl state[] = {
    {"exp_avg", CT_LIKE_PARAMETER, CT_F32}, {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32}, {NULL, CT_LIKE_PARAMETER, CT_F32}};

/* m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  update = m^ / (sqrt(v^) + epsilon). */
static void adamw_direction(const ct_optimizer_range *r) {
    const adamw_options *o = r->options;
    float rest1 = (float)(1 - o->beta1), beta2 = (float)o->beta2, rest2 = (float)(1 - o->beta2);
    float epsilon = (float)o->epsilon;
    float first = (float)(1 / (1 - pow(o->beta1, (double)r->step)));
    float second = (float)(1 / sqrt(1 - pow(o->beta2, (double)r->step)));
    for (int64_t i = 0; i < r->count; i++) {
        float g = r->gradient[i];
        float m = r->state[0][i] + rest1 * (g - r->state[0][i]);
        float v = beta2 * r->state[1][i] + rest2 * g * g;
        r->state[0][i] = m;
        r->state[1][i] = v;
        r->update[i] = first * m / (sqrtf(v) * second + epsilon);
    }
}

static void adamw_fused(const ct_optimizer_range *r) {
    const adamw_options *o = r->options;
    ct_adamw step = {.learning_rate = r->learning_rate, .beta1 = o->beta1, .beta2 = o->beta2, .epsilon = o->epsilon,
                     .weight_decay = r->weight_decay, .bias_correction1 = 1 - pow(o->beta1, (double)r->step),
                     .bias_correction2 = 1 - pow(o->beta2, (double)r->step), .gradient_scale = r->gradient_scale};
    ct_cpu_kernels()->f32.adamw(r->count, r->weight_out, r->gradient, r->state[0], r->state[1], &step, NULL);
}

const ct_optimizer_method ct_optimizer_adamw = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_optimizer_method), .name = "adamw", .title = "AdamW",
               .paper = {"arXiv:1711.05101", "Loshchilov & Hutter, ICLR 2019"},
               .summary = "Adam whose weight decay acts on the weights and not through the moments. The usual choice "
                          "for transformers.",
               .options = options, .options_size = sizeof(adamw_options)},
    .state = state, .scope = CT_ELEMENTWISE, .direction = adamw_direction, .fused = adamw_fused};
