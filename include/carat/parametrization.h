/* parametrization.h - how a model's initial weights, learning rates and forward multipliers depend on its
 * width, so that what is found on a narrow model holds for a wide one.
 *
 * The rules are those of Yang & Hu (arXiv:2011.14522): W = n^-a w, w ~ N(0, n^-2b), learning rate eta n^-c,
 * with the width n measured against a base model: m is the ratio of the widths, every factor is 1 at the base
 * width, and shapes that do not change with the width get no factor. Which tensor changes how is read off the
 * shapes of the two models. A method is one file of src/parametrization/. */
#ifndef CARAT_PARAMETRIZATION_H
#define CARAT_PARAMETRIZATION_H

#include <carat/method.h>
#include <carat/model.h>
#include <carat/optimizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------------------------------- the calculator */

/* Exponents of an abc-parametrization: of the first matrix, the hidden ones, the last one; c for SGD. */
typedef struct ct_abc {
    double a[3], b[3], c;
} ct_abc;

/* r, and what follows from it in the limit of infinite width (theorems 3.2 to 3.4). `hidden` is false for
 * networks with one hidden layer, which have no matrix from width to width. */
typedef struct ct_abc_verdict {
    double r;
    bool stable, nontrivial, feature_learning, kernel_regime; /* the last two imply the first two */
    char
        violated[200]; /* the first inequality that makes it unstable, with its numbers; "" if it is stable */
} ct_abc_verdict;
ct_abc_verdict ct_abc_judge(const ct_abc *exponents, bool hidden);

/* ---------------------------------------------------------------------------------------- the kind ----- */

/* Which dimensions of a tensor grow with the width. */
typedef enum ct_width_class {
    CT_WIDTH_INPUT,  /* only the outputs: first matrices, embeddings, biases, gains */
    CT_WIDTH_HIDDEN, /* inputs and outputs */
    CT_WIDTH_OUTPUT, /* only the inputs */
    CT_WIDTH_FIXED   /* none */
} ct_width_class;
const char *ct_width_class_name(ct_width_class class); /* "input" */

/* Powers of m for input, hidden and output tensors: forward multiplier m^-multiplier, deviation m^-deviation
 * times the base model's, rate m^-sgd or m^-adam. */
typedef struct ct_parametrization_method {
    ct_method method;
    ct_abc exponents; /* the paper's, for the calculator */
    double multiplier[3], deviation[3], sgd[3], adam[3];
    bool knows_adam;   /* else it is defined for SGD alone */
    bool shallow;      /* defined for one hidden layer alone */
    bool by_exponents; /* exponents, and all that follows from them, are options: a, b, c */
    bool attention;    /* attention logits by 1/channels (times the root of the base's) instead of
                          1/sqrt(channels) */
} ct_parametrization_method;

extern const ct_parametrization_method *const ct_parametrization_methods[]; /* NULL-terminated, by name */

/* Options that all have, beside `name`: base_width, base (keys over the model's configuration, where a width
 * alone does not say it), optimizer (auto, sgd, adam), decay (independent: rate times decay stays; scaled),
 * zero_out, zero_query, attention, rate_exponent; and a, b, c for a method that goes by exponents. */
extern const ct_option ct_parametrization_options[];

typedef struct ct_parametrization_scale {
    ct_width_class class;
    double m;             /* ratio of the widths */
    double deviation;     /* of the initial weights, times the base model's */
    double initial;       /* what this model's own initial weights are multiplied by to get there */
    double learning_rate; /* times */
    double weight_decay;  /* times */
    double multiplier;    /* of the tensor in the forward pass. For a last layer that shares the embedding's
                             weight the    norm before it has the multiplier, on gain and bias, which is the same */
    double offset;        /* added to that: for a gain that is stored less 1 */
} ct_parametrization_scale;

typedef struct ct_parametrization ct_parametrization;
/* `choice` is {name: mup, base_width: 64, ...}; `optimizer` the name of the method that will train. Errors: a
 * base of another depth, a method that is not defined for the optimizer or the network. NULL on error. */
ct_parametrization *ct_parametrization_create(ct_model *model, const ct_value *choice, const char *optimizer);
void ct_parametrization_destroy(ct_parametrization *parametrization);
ct_status ct_parametrization_check(ct_context *context, const ct_value *choice, const char *path);

/* Of the model's parameter `index`. */
const ct_parametrization_scale *ct_parametrization_scale_of(const ct_parametrization *parametrization,
                                                            int64_t index);
/* Multiplies weights that ct_model_initialize has just filled. */
ct_status ct_parametrization_fill(ct_parametrization *parametrization);
/* After the parameters were added. */
ct_status ct_parametrization_rates(ct_parametrization *parametrization, ct_optimizer *optimizer);
/* From now on `run` multiplies weights (overlays that are already there act first). */
ct_status ct_parametrization_attach(ct_parametrization *parametrization, ct_run *run);
/* Whether any multiplier is not 1: the model must then be saved by ct_model_save_resolved. */
bool ct_parametrization_multiplies(const ct_parametrization *parametrization);
/* Whether a last layer that shares the embedding's weight is multiplied by itself, since no norm with a gain
 * stands before it: such a model cannot be saved for others. */
bool ct_parametrization_unties(const ct_parametrization *parametrization);
/* A configuration at another width: `width` under its key (n_embd, hidden_size, the first hidden entry of an
 * mlp's sizes), and what grows with it (n_inner, intermediate_size, head_dim, the other hidden sizes) in
 * proportion. The number of heads stays. Errors: a proportion that is no integer, a family whose width is not
 * known. */
ct_status ct_width_set(ct_context *context, ct_value *config, int64_t width);
/* The class and factors of every tensor, for people (free with ct_free). */
char *ct_parametrization_text(const ct_parametrization *parametrization);

#ifdef __cplusplus
}
#endif
#endif
