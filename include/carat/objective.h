/* objective.h - the kind "objective": what the loss of a step is (cross_entropy, focal, mse, ...).
 *
 * A method turns the model's outputs and the targets of a batch into one loss for each sample; the trainer
 * adds them up. So losses of rows can be told apart, and a batch may be cut into micro-batches. A run may
 * have several: the loss is the sum of each one times its weight. */
#ifndef CARAT_OBJECTIVE_H
#define CARAT_OBJECTIVE_H

#include <carat/method.h>
#include <carat/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What targets a method takes. */
enum {
    CT_TARGETS_IDS = 1,   /* i32 or i64 [samples]: the class of each sample */
    CT_TARGETS_VALUES = 2 /* float [samples, outputs]: a value for each output */
};

/* One batch. */
typedef struct ct_objective_call {
    ct_context *context;
    const void *options;
    const char *where;  /* for messages */
    ct_tensor *outputs; /* [samples, outputs], in the type that the model computes in */
    ct_tensor *targets; /* ids [samples], or values [samples, outputs] */
    bool ids;           /* which of them */
    ct_tensor *weights; /* f32 [samples] that losses are multiplied by, or NULL */
    int64_t ignore;     /* samples with this id have the loss 0 */
    ct_tensor *teacher; /* for methods with `teacher`: what a teacher gives for the same samples, of the shape of
                           `outputs`, f32 (f64 for f64 outputs), without a gradient; of classes softmax makes its
                           probabilities. Else NULL or not to be looked at */
} ct_objective_call;

typedef struct ct_objective_method {
    ct_method method;
    unsigned targets; /* set of CT_TARGETS_* */
    /* Refuses options that contradict each other. May be NULL. */
    ct_status (*check)(ct_context *context, const void *options);
    /* Losses [samples], f32 (f64 for f64 outputs), by differentiable operations. They are not yet multiplied
     * by weights and those of ignored samples do not matter, unless `weighs`. */
    ct_tensor *(*losses)(const ct_objective_call *call);
    /* `losses` multiplies by call->weights and makes ignored samples 0 itself. */
    bool weighs;
    /* It learns from a teacher's outputs and is refused without them. */
    bool teacher;
} ct_objective_method;

extern const ct_objective_method *const ct_objective_methods[]; /* NULL-terminated, by name */

/* For methods: outputs as f32 (f64 stays), and targets of the same type [samples, outputs]: values as they
 * are, ids as 1 at the class and 0 elsewhere. */
ct_tensor *ct_objective_outputs(const ct_objective_call *call);
ct_tensor *ct_objective_one_hot(const ct_objective_call *call);
/* x [samples, outputs] at the class of each sample: [samples]. Ids only. */
ct_tensor *ct_objective_at_class(const ct_objective_call *call, ct_tensor *x);

/* ------------------------------------------------------------------------------------------ use ----- */

/* The objective of a run. `value`: a name, {name: ..., weight: ..., options}, or a list of these; NULL:
 * cross_entropy. `label_smoothing` is that of methods that have the option and were not given it; above 0
 * with none of these it is refused. `path` is the key, for messages. NULL on error. */
typedef struct ct_objective ct_objective;
ct_objective *ct_objective_create(ct_context *context, const ct_value *value, double label_smoothing,
                                  const char *path);
void ct_objective_destroy(ct_objective *objective);
size_t ct_objective_count(const ct_objective *objective);
const ct_method *ct_objective_method_at(const ct_objective *objective, size_t index);
/* The first method that learns from a teacher; NULL: none does. */
const ct_method *ct_objective_taught(const ct_objective *objective);
/* outputs [..., classes]; targets: ids [...] (i32 or i64), or values (float) [..., classes]. Losses
 * [samples], each times weights[sample] if weights are not NULL; 0 where the target is the id `ignore`. */
ct_tensor *ct_objective_losses(const ct_objective *objective, ct_tensor *outputs, ct_tensor *targets,
                               ct_tensor *weights, int64_t ignore);
/* The same with what a teacher gives: float [..., classes]; NULL: there is none. */
ct_tensor *ct_objective_losses_taught(const ct_objective *objective, ct_tensor *outputs, ct_tensor *targets,
                                      ct_tensor *teacher, ct_tensor *weights, int64_t ignore);

#ifdef __cplusplus
}
#endif
#endif
