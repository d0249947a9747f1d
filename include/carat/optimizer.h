/* optimizer.h - optimizers: how gradients change parameters.
 *
 * What is applied to a gradient is a chain: scaling (clipping, loss normalisation) -> the method's direction -> decay
 * and apply. A method is given ranges of elements of one parameter and writes a direction; it declares its state, so
 * that one piece of code checkpoints, resumes and plans the memory of every method. Work is done in tiles that stay in
 * the first-level cache: each element of weight, gradient and state is read and written once. */
#ifndef CARAT_OPTIMIZER_H
#define CARAT_OPTIMIZER_H

#include <carat/method.h>
#include <carat/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CT_MAX_STATES 4
typedef enum ct_state_shape { CT_LIKE_PARAMETER, CT_ONE_PER_PARAMETER } ct_state_shape;
typedef struct ct_state_decl {
    const char *name; /* torch's name where it has one: "exp_avg" */
    ct_state_shape shape;
    ct_dtype dtype; /* CT_F32 */
} ct_state_decl;

/* A range of elements of one parameter, f32, contiguous. `update` comes uninitialised and is to hold the direction:
 * apply does weight = weight - learning_rate * (update + decoupled decay * weight) with weight decayed first, as
 * torch's decoupled optimizers do. */
typedef struct ct_optimizer_range {
    const void *options;
    int64_t step; /* from 1 */
    double learning_rate, weight_decay;
    int64_t count, offset; /* elements here; first element within the parameter */
    const float *weight;
    const float *gradient; /* for direction: scaled and clipped already; for fused: as it came */
    float gradient_scale;  /* for fused */
    float *weight_out;     /* for fused: the same memory as weight */
    float *state[CT_MAX_STATES]; /* this range of each declared state */
    float *update;
} ct_optimizer_range;

typedef enum ct_optimizer_scope { CT_ELEMENTWISE, CT_WHOLE_TENSOR } ct_optimizer_scope;

typedef struct ct_optimizer_method {
    ct_method method;
    const ct_state_decl *state; /* ends with {NULL} */
    ct_optimizer_scope scope;   /* CT_ELEMENTWISE: any ranges; CT_WHOLE_TENSOR: one range per parameter */
    bool coupled_decay;         /* weight decay is added to the gradient (L2) instead of applied to the weight */
    void (*direction)(const ct_optimizer_range *range);
    /* Optional: scaling, direction, decay and apply in one pass over the range, used when nothing else stands in the
     * chain. Equal to the separate links to rounding. */
    void (*fused)(const ct_optimizer_range *range);
} ct_optimizer_method;

extern const ct_optimizer_method *const ct_optimizer_methods[]; /* NULL-terminated, by name */

/* Parameters that share settings. */
typedef struct ct_parameter_group {
    double learning_rate_scale; /* times the schedule's rate */
    double weight_decay;
} ct_parameter_group;

typedef struct ct_optimizer ct_optimizer;
/* `options` is the method's map or NULL. */
ct_optimizer *ct_optimizer_create(ct_context *context, const char *method, const ct_value *options);
void ct_optimizer_destroy(ct_optimizer *optimizer);
const ct_optimizer_method *ct_optimizer_method_of(const ct_optimizer *optimizer);
/* Adds a parameter (a leaf; borrowed) to be stepped; its state is made, zero, class CT_MEMORY_STATES. */
ct_status ct_optimizer_add(ct_optimizer *optimizer, ct_parameter *parameter, const ct_parameter_group *group);
/* Square root of the sum of squares of all gradients (f64 partial sums in a fixed order). */
ct_status ct_optimizer_gradient_norm(ct_optimizer *optimizer, double *norm);
/* One step: every gradient times gradient_scale, direction, decay, apply. Gradients that are absent count as none:
 * the parameter is left alone. Raises the versions of weights. */
ct_status ct_optimizer_step(ct_optimizer *optimizer, double learning_rate, double gradient_scale);
ct_status ct_optimizer_clear_gradients(ct_optimizer *optimizer); /* drops them */
int64_t ct_optimizer_steps(const ct_optimizer *optimizer);
/* For checkpoints: every state as a named tensor ("exp_avg.transformer.wte.weight"), borrowed. */
int64_t ct_optimizer_state_count(const ct_optimizer *optimizer);
ct_tensor *ct_optimizer_state_at(const ct_optimizer *optimizer, int64_t index, char *name, size_t name_size);
void ct_optimizer_set_steps(ct_optimizer *optimizer, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif
