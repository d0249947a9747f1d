/* regularizer.h - the kind "regularizer": terms that are added to the loss (of weights, or of what layers
 * compute), and weights made from other parameters.
 *
 * A method says in ct_method.uses what it does: CT_HOOK_LOSS_TERM (`term`), with CT_HOOK_ACTIVATIONS where
 * the term reads what layers compute, and CT_HOOK_DERIVED_WEIGHT (`derive`). It holds nothing: watched
 * points, parameters of its own and options are the shared part's. Gradients flow through everything that a
 * term is given. */
#ifndef CARAT_REGULARIZER_H
#define CARAT_REGULARIZER_H

#include <carat/method.h>
#include <carat/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_regularizers ct_regularizers;

/* While a method is being attached to a model. */
typedef struct ct_regularizer_setup {
    ct_context *context;
    const void *options;
    const char *where; /* for messages */
    ct_model *model;
    void *shared; /* of the functions below */
} ct_regularizer_setup;

/* The output of a block of a transformer is handed to `term`: 0 is the first block, -1 the last; an index
 * that the model does not have is refused with the range. Or any named point; * is not allowed. In the order
 * of calls. */
ct_status ct_regularizer_watch_layer(ct_regularizer_setup *setup, int64_t layer);
ct_status ct_regularizer_watch(ct_regularizer_setup *setup, const char *point);
/* A parameter of the method's own, trained with the model, drawn from a normal distribution of this
 * deviation, without weight decay. It is saved in checkpoints and is no part of the finished model. */
ct_status ct_regularizer_parameter(ct_regularizer_setup *setup, const char *name, int ndim,
                                   const int64_t *shape, double deviation);

typedef struct ct_regularizer_call {
    ct_context *context;
    const void *options;
    const char *where;
    ct_model *model;
    ct_run *run;                   /* resolves weights: ct_run_weight(run, parameter->slot) */
    ct_tensor *const *activations; /* [batch, ...] as watched, in that order */
    int activation_count;
    ct_tensor *const *own; /* parameters of the method's own, in the order of setup */
    ct_tensor *padding;    /* u8 [batch, time], 0: padding; or NULL */
    uint64_t seed;         /* a function of the run's seed and the step, for what is drawn */
} ct_regularizer_call;

typedef struct ct_regularizer_method {
    ct_method method;
    /* Refuses options that contradict each other. May be NULL. */
    ct_status (*check)(ct_context *context, const void *options);
    /* CT_ROWS_* (norm.h): how many rows of a batch a term must see together. NULL: each row by itself.
     * Derived weights always ask for whole batches. */
    int64_t (*rows_together)(const void *options);
    int64_t least_rows; /* of a batch; fewer are refused */
    /* Names what is watched and makes parameters. May be NULL. */
    ct_status (*setup)(ct_regularizer_setup *setup);
    /* The term, a scalar of the type f32 or f64, for one batch; NULL (without an error): nothing is to be
     * added. With CT_HOOK_ACTIVATIONS it is the mean over batches, else it is added once a step. */
    ct_tensor *(*term)(const ct_regularizer_call *call);
    /* A derived weight: whether one is made of this parameter, the shape of the other parameter it is made
     * with, that one's first value, and the weight (of the shape of `present`), by differentiable operations.
     */
    bool (*derives)(const void *options, const ct_parameter *parameter);
    int (*gain_shape)(const void *options, const ct_parameter *parameter, int64_t shape[CT_MAX_DIMS]);
    ct_tensor *(*first_gain)(const void *options, const ct_parameter *parameter, ct_tensor *weight);
    ct_tensor *(*derive)(const void *options, const ct_parameter *parameter, ct_tensor *present,
                         ct_tensor *gain);
} ct_regularizer_method;

extern const ct_regularizer_method *const ct_regularizer_methods[]; /* NULL-terminated, by name */

/* For methods: whether `parameter` is a matrix of a linear layer, and whether it is stored as [in, out]. */
bool ct_regularizer_is_matrix(const ct_parameter *parameter);
bool ct_regularizer_is_transposed(const ct_parameter *parameter);
/* The first member of the options of a method that goes over weights by their names, and the option. */
typedef struct ct_regularizer_names {
    const char *pattern;
} ct_regularizer_names;
#define CT_REGULARIZER_PATTERN                                                                                       \
    CT_OPTION_STRING("pattern", ct_regularizer_names, pattern, "*", "of names of parameters; * is any run of characters")
/* Whether the options' pattern matches the parameter's name. */
bool ct_regularizer_names_it(const void *options, const ct_parameter *parameter);
/* Of every trainable weight whose name matches the options' pattern and that `takes` accepts, `part` of its present value, added up.
 * An error that names the pattern and `what` if there is none. */
ct_tensor *ct_regularizer_sum(const ct_regularizer_call *call,
                              bool (*takes)(const void *options, const ct_parameter *parameter),
                              ct_tensor *(*part)(const void *options, const ct_parameter *parameter, ct_tensor *weight),
                              const char *what);
/* Penalties of single weights: their options, and `takes` for them. */
typedef struct ct_penalty_options {
    ct_regularizer_names names;
    bool all;
} ct_penalty_options;
extern const ct_option ct_penalty_table[];
bool ct_penalty_takes(const void *options, const ct_parameter *parameter);
/* Whether a name matches a pattern (* is any run of characters). */
bool ct_regularizer_matches(const char *pattern, const char *name);

/* ---------------------------------------------------------------------------------------------------- use */

/* From a list of names and {name: ..., weight: ..., options}, or one of these. NULL or an empty list: none, which
 * costs nothing. A method with weight 0 and no derived weights is checked and then left out. NULL on error.
 */
ct_regularizers *ct_regularizers_create(ct_context *context, const ct_value *value, const char *path);
void ct_regularizers_destroy(ct_regularizers *all);
size_t ct_regularizers_count(const ct_regularizers *all); /* also those with weight 0 */
const ct_method *ct_regularizers_method_at(const ct_regularizers *all, size_t index);
/* Rows that must be together, CT_ROWS_*, and which one asks (NULL: none). Refuses batches of fewer rows than
 * a method needs. */
int64_t ct_regularizers_rows(const ct_regularizers *all, const char **who);
ct_status ct_regularizers_check_rows(const ct_regularizers *all, int64_t batch);

/* Finds points, makes parameters (ct_model_add_parameter): before the optimizer takes parameters in. */
ct_status ct_regularizers_attach(ct_regularizers *all, ct_model *model);
/* First values of own parameters, when the model has its own. */
ct_status ct_regularizers_initialize(ct_regularizers *all, uint64_t seed);
/* Whether the model has parameters that are no part of the finished one, so that it is saved resolved. */
bool ct_regularizers_adds_parameters(const ct_regularizers *all);
/* Taps (of a training run) and overlays; at most once a run. `gain_of` may give another tensor for an added
 * parameter (a moving average); NULL: its own. The run must not outlive `all`. */
typedef ct_tensor *(*ct_regularizer_gain)(void *user, const ct_parameter *parameter);
ct_status ct_regularizers_install(ct_regularizers *all, ct_run *run, bool training,
                                  ct_regularizer_gain gain_of, void *user);
/* Around each forward pass of training: what was watched is kept from begin to end. Derived weights are made here and not
 * where they are used first, which may be in a segment that is computed again. */
void ct_regularizers_begin(ct_regularizers *all, ct_run *run);
/* Weighted sum of the terms that read activations, each times `share`, or NULL: nothing to add. */
ct_tensor *ct_regularizers_batch_term(ct_regularizers *all, ct_run *run, uint64_t seed, double share);
void ct_regularizers_end(ct_regularizers *all);
/* Weighted sum of the terms of weights alone, or NULL. */
ct_tensor *ct_regularizers_weight_term(ct_regularizers *all, ct_run *run, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
