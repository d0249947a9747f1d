/* initializer.h - initializers: the weights of linear layers before training.
 *
 * A model fills its parameters as its layers say (ct_model_initialize). An initializer then replaces the
 * weights of its linear layers, from their shapes alone or from what the layers make of a batch of data.
 * Biases of layers whose weights it replaces become 0. Embeddings, and weights tied to them, keep their
 * values when weights are filled; gains and offsets of norms always do. A method is one file of
 * src/initializer/. */
#ifndef CARAT_INITIALIZER_H
#define CARAT_INITIALIZER_H

#include <carat/method.h>
#include <carat/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A linear layer. */
typedef struct ct_initializer_layer {
    ct_module *module;
    ct_tensor *weight; /* [out, in], or [in, out] if transposed (GPT-2's conv1d) */
    ct_tensor *bias;   /* [out]; NULL: none */
    const char *name;  /* the parameter's */
    int64_t in, out;
    bool transposed;
    bool tied;   /* the weight is also another slot's */
    bool normed; /* a norm stands directly behind it in a sequence of layers */
    bool last;   /* of the layers in the order of execution (data passes only) */
} ct_initializer_layer;

/* What a data pass found; a row for each layer in the order of execution. */
typedef struct ct_initializer_row {
    const char *name; /* of the weight; lives as long as the model */
    int64_t in, out;
    double before;    /* deviation of the layer's outputs when it was reached; NAN: not measured */
    int attempts;     /* corrections of the weight */
    double factor;    /* their product */
    double after;     /* deviation of the outputs when all layers were done */
    const char *note; /* "tied", "dead input", "skipped", ...; NULL: none */
} ct_initializer_row;
typedef struct ct_initializer_report {
    ct_initializer_row *rows;
    int64_t count;
} ct_initializer_report;
void ct_initializer_report_free(ct_context *context, ct_initializer_report *report);
/* The report as a table for people (free with ct_free), and as a list of maps with the names of the fields. */
char *ct_initializer_report_text(ct_context *context, const ct_initializer_report *report);
ct_value *ct_initializer_report_to_value(ct_context *context, const ct_initializer_report *report);

/* The moment at which a data pass reaches a layer for the first time; layers that run before it are done. */
typedef struct ct_initializer_visit {
    ct_context *context;
    const ct_initializer_layer *layer;
    double mean,
        deviation; /* of all entries of the outputs, before the activation; deviation with divisor n */
    ct_initializer_row *row;   /* attempts, factor and note are the method's to fill in */
    ct_tensor *input, *output; /* of the shared part */
} ct_initializer_visit;
/* After a change of weight or bias: the layer runs again, mean and deviation are those of its new outputs,
 * which later layers get. CT_ERROR_NUMERIC, naming the layer, if an output is not finite. */
ct_status ct_initializer_again(ct_initializer_visit *visit);

typedef struct ct_initializer_method {
    ct_method method;
    /* Options that contradict each other: an error that says so. */
    ct_status (*check)(ct_context *context, const void *options);
    /* Whether weights are replaced at all; NULL: always. */
    bool (*fills)(const void *options);
    /* Fills `weight`, f32 [out, in], contiguous, uninitialised. Draws are the layer's own. */
    ct_status (*fill)(const void *options, const ct_initializer_layer *layer, ct_tensor *weight,
                      ct_random *random);
    /* How many rows of data a pass should have; 0: as many as a training step. NULL: the method needs no
     * data. */
    int64_t (*rows)(const void *options);
    /* Called for each layer at its first use, layers being in the order of execution. */
    ct_status (*visit)(const void *options, ct_initializer_visit *visit);
} ct_initializer_method;

extern const ct_initializer_method *const ct_initializer_methods[]; /* NULL-terminated, by name */

/* Replaces the weights of a model. `choice` is the method's name, or {name: lsuv, its options}. `inputs` is a
 * batch as ct_model_forward takes it (NULL if the method needs none); the model runs as in evaluation. Draws
 * depend on (seed, parameter name) alone. `report` may be NULL. Errors: no linear layer, fewer than 2 rows, a
 * layer whose output is not finite. */
ct_status ct_initialize(ct_model *model, const ct_value *choice, ct_tensor *inputs, uint64_t seed,
                        ct_initializer_report *report);
/* Whether a choice is right; `path` is what messages call it. rows (may be NULL): how many rows of data it
 * wants to see, 0: as many as a step has, -1: none. */
ct_status ct_initializer_check(ct_context *context, const ct_value *choice, const char *path, int64_t *rows);

/* For methods: an orthonormal matrix, with orthonormal rows if out <= in, else columns, by the thin SVD of
 * normal entries (Saxe, McClelland & Ganguli, arXiv:1312.6120). `weight` f32 [out, in]. */
ct_status ct_fill_orthonormal(ct_tensor *weight, ct_random *random);

#ifdef __cplusplus
}
#endif
#endif
