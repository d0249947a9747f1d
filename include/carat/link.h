/* link.h - links of the chain between gradients and weights that are not optimizers: they change gradients
 * before a direction is made from them, change the direction before it is applied, or put weights back after
 * the step.
 *
 * A link composes with every optimizer (optimizer.h) and with other links; its state is declared, saved and
 * resumed like an optimizer's. It fills in the functions of the places where it stands; ct_method.uses says
 * the same (CT_HOOK_GRADIENT, CT_HOOK_UPDATE, CT_HOOK_PROJECTION), for composition. */
#ifndef CARAT_LINK_H
#define CARAT_LINK_H

#include <carat/optimizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A parameter as a link sees it between steps. */
typedef struct ct_link_parameter {
    ct_optimizer_tensor tensor;
    bool stepped;                       /* it took part in this step */
    int64_t step;                       /* steps it took part in, this one included */
    double learning_rate, weight_decay; /* of this step */
    float *weight;                      /* all of it */
    const uint8_t *mask;                /* 0: frozen; NULL: nothing is */
    float *state[CT_MAX_STATES];        /* whole; NULL: not kept */
    double *statistics;                 /* to be filled, NAN at first; NULL unless recorded */
} ct_link_parameter;

typedef struct ct_link_method {
    ct_method method;
    const ct_state_decl *state; /* ends with {NULL}; NULL: none */
    ct_optimizer_scope scope;   /* of gradient and update */
    ct_status (*check)(ct_context *context, const void *options);
    bool (*keeps)(const void *options, const ct_optimizer_tensor *tensor, int index);
    /* Called when the optimizer takes a parameter in: refuses one that it cannot apply to, saying why. */
    ct_status (*accept)(ct_context *context, const void *options, const ct_optimizer_tensor *tensor);
    /* Changes range->update, which holds the gradient (scaled), in place. */
    void (*gradient)(const ct_optimizer_range *range);
    /* Changes range->update, the direction, in place. (In both, states of the range are those of the link.)
     */
    void (*update)(const ct_optimizer_range *range);
    /* Before the optimizer's first step, with all parameters: the weights are the initial ones. After a
     * resume it is not called again. */
    ct_status (*begin)(ct_context *context, const void *options, ct_link_parameter *parameters,
                       int64_t count);
    /* After all parameters were stepped: changes weights in place. `step` counts the optimizer's steps. */
    ct_status (*after)(ct_context *context, const void *options, int64_t step, ct_link_parameter *parameters,
                       int64_t count);
    const char *const *statistics; /* names of what `after` fills in */
} ct_link_method;

extern const ct_link_method *const ct_link_methods[]; /* NULL-terminated, by name */

#ifdef __cplusplus
}
#endif
#endif
