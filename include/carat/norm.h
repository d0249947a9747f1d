/* norm.h - the kind "norm": how a layer's activations are normalised, chosen by name (layernorm, rmsnorm, ...).
 *
 * A method declares its tensors (gain, bias, running statistics) and computes. It holds nothing: the module kind
 * "norm" (nn.h) makes a slot of every declared tensor, resolves it in each run and calls `forward`. So gains can be
 * overlaid, buffers are saved in model folders and checkpoints, and the memory plan sees both, without a line in the
 * method. A method that reads the batch says so, and training keeps that many rows together. */
#ifndef CARAT_NORM_H
#define CARAT_NORM_H

#include <carat/method.h>
#include <carat/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CT_NORM_TENSORS = 6 };

typedef enum ct_norm_shape {
    CT_NORM_PER_CHANNEL, /* [width] */
    CT_NORM_ONE          /* [] */
} ct_norm_shape;

typedef struct ct_norm_tensor {
    const char *name; /* as files have it: "weight", "bias", "running_mean" */
    ct_norm_shape shape;
    ct_fill_kind fill; /* CT_FILL_ZEROS or CT_FILL_ONES */
    bool buffer;       /* not trained: forward changes it in place */
    ct_dtype dtype;
} ct_norm_tensor;

/* One forward pass of one module. */
typedef struct ct_norm_call {
    ct_context *context;
    const void *options;
    const char *where;         /* the module's path, for messages */
    int64_t width;             /* channels: the last axis of x */
    ct_tensor *const *tensors; /* in the order of declaration; NULL where `present` said that there is none */
    ct_tensor *mask;           /* u8, the shape of x without its last axis, 0: padding that counts for nothing. Or NULL */
    bool training;             /* batch statistics are used */
    bool update;               /* running statistics are brought up to date: training, and not a second pass over a
                                  checkpointed segment */
    bool *told;                /* for warnings that are given once a module */
} ct_norm_call;

/* How many rows (first axis) a training forward pass must see together. */
enum {
    CT_ROWS_ANY = 0,   /* each row, or each position, by itself */
    CT_ROWS_WHOLE = -1, /* all that the user asked to be one batch; n > 0: any multiple of n */
    CT_ROWS_STEP = -2   /* all rows of an optimizer step, whatever its micro-batches are */
};

typedef struct ct_norm_method {
    ct_method method;
    const ct_norm_tensor *tensors; /* ends with {NULL}; at most CT_NORM_TENSORS */
    /* Whether tensor `index` exists under these options; NULL: all do. */
    bool (*present)(const void *options, int index);
    /* Refuses options that do not fit `width` channels. May be NULL. */
    ct_status (*check)(ct_context *context, const void *options, int64_t width);
    /* Whether it subtracts a mean; false where it only scales. */
    bool centres;
    /* CT_ROWS_*; NULL: CT_ROWS_ANY. */
    int64_t (*rows_together)(const void *options);
    /* A training forward pass reads buffers that it changes, so that a second one gives something else: segments with
     * it are not recomputed. */
    bool reads_what_it_changes;
    /* x [..., width] -> the same shape and type. bf16 and f16 are computed in f32. */
    ct_tensor *(*forward)(const ct_norm_call *call, ct_tensor *x);
    /* In evaluation y = scale x + shift with two vectors [width]: what a linear layer behind it can take in. NULL where
     * y is no such function. */
    ct_status (*affine)(const ct_norm_call *call, ct_tensor **scale, ct_tensor **shift);
} ct_norm_method;

extern const ct_norm_method *const ct_norm_methods[]; /* NULL-terminated, by name */

/* ------------------------------------------------------------------------------- norms in a module tree ----- */

/* From `build`: adds a child of kind "norm" named `name` over `width` channels. `options` is the method's map or NULL
 * (copied). Modules of the kinds "layer_norm" and "rms_norm" are the same with a fixed method. */
ct_module *ct_norm_add(ct_module *parent, const char *name, const char *method, int64_t width,
                       const ct_value *options);
bool ct_is_norm(const ct_module *module);
const ct_norm_method *ct_norm_method_of(const ct_module *module); /* NULL if it is no norm */
const void *ct_norm_options_of(const ct_module *module);
int64_t ct_norm_width(const ct_module *module);

/* What the norms (and recurrent layers: whole batches, as their gradients are sums over steps) below `module` ask of training: `rows` as CT_ROWS_*, the smallest number that suits them all;
 * `recompute` false if no segment may be run twice; `who` the path of the norm that decided (NULL: none). */
typedef struct ct_norm_needs {
    int64_t rows;
    bool recompute;
    const char *who;
} ct_norm_needs;
ct_norm_needs ct_norm_needs_of(ct_module *module);

/* What `norm` does in evaluation, y = scale x + shift, [width] each. Refuses methods that are no such function. */
ct_status ct_norm_affine_of(ct_module *norm, ct_tensor **scale, ct_tensor **shift);
/* Folds what `norm` does in evaluation into the linear or conv1d module behind it: W' = W diag(scale), b' = b + W shift;
 * parameters are changed in place and the norm becomes "none". Refuses where the method has no such form, where the
 * widths differ, where a shift meets a layer without a bias, and tied weights. Call ct_model_sync afterwards. */
ct_status ct_norm_fold(ct_module *norm, ct_module *linear);

/* The epsilon of a configuration under whichever of its usual names it stands (layer_norm_epsilon, layer_norm_eps,
 * norm_eps, norm_epsilon, rms_norm_eps), or `otherwise`. */
double ct_norm_epsilon(const ct_value *config, double otherwise);

#ifdef __cplusplus
}
#endif
#endif
