/* nn.h - modules: the tree a model is made of, the parameter slots in it, and how a run resolves them.
 *
 * A module has a kind (its code), a name, options, slots and children. It holds no tensors: a slot is a place for a
 * parameter of the model, and a run (ct_run) says which tensor stands there now: the parameter itself, or what the
 * run's overlays make of it (derived, masked, perturbed, low-rank, quantized, a slice of a larger one). Points inside
 * a forward pass have names (path of the module + "." + point, "h.3.attn.probs"); taps read and replace them. */
#ifndef CARAT_NN_H
#define CARAT_NN_H

#include <carat/autograd.h>
#include <carat/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_module ct_module;
typedef struct ct_run ct_run;
typedef struct ct_parameter ct_parameter;

/* How a slot is filled when a model is initialised (and what an initializer method may replace). */
typedef enum ct_fill_kind { CT_FILL_ZEROS, CT_FILL_ONES, CT_FILL_NORMAL, CT_FILL_UNIFORM } ct_fill_kind;
typedef struct ct_slot_options {
    ct_fill_kind fill;
    double scale;     /* deviation of NORMAL, half-width of UNIFORM */
    bool no_decay;    /* a bias or gain: excluded from weight decay by default */
    const char *tied_to;     /* path of the slot whose parameter this one shares ("wte.weight"); NULL: its own */
    int64_t fan_in, fan_out; /* for initializers and parametrizations; 0: last and first axis */
    /* The last `tail` entries along `tail_axis` start as the others times `tail_scale` (the values of a fused q, k, v).
     * 0: none */
    int64_t tail;
    double tail_scale;
    int tail_axis;
    bool buffer;    /* running statistics: never trained, changed by the forward pass, saved like a parameter */
    ct_dtype dtype; /* of a buffer; parameters begin as CT_F32 */
    const char *const *aliases; /* names that some files give it ("gamma"), ends with NULL; NULL: none */
} ct_slot_options;

typedef struct ct_slot {
    const char *name;   /* "weight" */
    ct_module *module;
    int ndim;
    int64_t shape[CT_MAX_DIMS];
    ct_slot_options options;
    ct_parameter *parameter; /* where the model keeps it; several slots of one parameter are tied. NULL: absent */
} ct_slot;

/* The code of a module. One `const` value per kind; they are listed in src/nn/layers.c and src/model/. */
typedef struct ct_module_kind {
    const char *name;        /* "linear", "layer_norm", "gpt2.block" */
    const char *summary;
    const ct_option *options;
    size_t options_size;
    /* Declares slots and children from the options (ct_module_options). Children that a saved tree already gives are
     * not declared again: `build` is then not called for them but for their own contents. */
    ct_status (*build)(ct_module *module);
    /* inputs and result as the kind's comment says. Runs in a scope of its own (opened by ct_forward). */
    ct_tensor *(*forward)(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count);
} ct_module_kind;

/* All kinds known to this build and registered from outside. */
const ct_module_kind *ct_module_kind_find(ct_context *context, const char *name); /* NULL and an error with nearest */
ct_status ct_module_kind_register(ct_context *context, const ct_module_kind *kind);

/* A new module (no parent). `options` is a map or NULL; it is copied. */
ct_module *ct_module_create(ct_context *context, const ct_module_kind *kind, const char *name,
                            const ct_value *options);
void ct_module_destroy(ct_module *module); /* with its children; parameters belong to the model */
/* From `build`: adds a child (taken over) or a slot; returns it, NULL on failure. */
ct_module *ct_module_add(ct_module *parent, ct_module *child);
ct_module *ct_module_child_of_kind(ct_module *parent, const char *name, const char *kind, ct_value *options);
ct_slot *ct_module_slot(ct_module *module, const char *name, int ndim, const int64_t *shape, ct_slot_options options);

const char *ct_module_name(const ct_module *module);
const ct_module_kind *ct_module_kind_of(const ct_module *module);
const void *ct_module_options(const ct_module *module);
const ct_value *ct_module_options_value(const ct_module *module);
ct_module *ct_module_parent(const ct_module *module);
ct_context *ct_module_context(const ct_module *module);
int ct_module_child_count(const ct_module *module);
ct_module *ct_module_child(const ct_module *module, int index);
ct_module *ct_module_find(ct_module *module, const char *path); /* "h.3.attn"; "" is itself; NULL if absent */
int ct_module_slot_count(const ct_module *module);
ct_slot *ct_module_slot_at(ct_module *module, int index);
ct_slot *ct_module_slot_named(ct_module *module, const char *name);
/* "h.3.attn" (without the root's name); the string lives as long as the module stays where it is. */
const char *ct_module_path(const ct_module *module);
/* Surgery: puts `replacement` (taken over) in the place and under the name of `module` and destroys that; or takes a
 * child out and destroys it (those behind it move up; numbered names are renumbered). Parameters of removed slots go
 * with the next ct_model_sync. */
ct_status ct_module_replace(ct_module *module, ct_module *replacement);
ct_status ct_module_remove(ct_module *module);
/* Calls visit for the module and all below, parents first. */
typedef ct_status (*ct_module_visitor)(void *user, ct_module *module);
ct_status ct_module_visit(ct_module *module, ct_module_visitor visit, void *user);
/* {"kind":..., "name":..., "options":{...}, "children":[...]} and back. */
ct_value *ct_module_to_value(const ct_module *module);
ct_module *ct_module_from_value(ct_context *context, const ct_value *tree);

/* ----------------------------------------------------------------------------------------------- runs ----- */

/* A parameter: a tensor with a name, in a model (model.h). */
struct ct_parameter {
    char *name;        /* the file's name: "transformer.h.0.attn.c_attn.weight" */
    ct_tensor *tensor; /* held; a leaf while training */
    ct_slot *slot;     /* the first slot it fills; NULL for a parameter that only overlays use */
    bool trainable;
    bool no_decay;
    bool buffer; /* its slot's: no parameter of the model that counts as one */
    void *user; /* for the owner of a run: optimizer state and the like */
};

/* An overlay may replace what a slot resolves to. `present` is what the layers below resolved; the result may be any
 * tensor of the slot's shape, made by differentiable operations. Called once a run and slot, then cached until
 * ct_run_reset. Return `present` to leave it. */
typedef struct ct_overlay {
    ct_tensor *(*resolve)(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present);
    void *user;
} ct_overlay;

/* A tap sees a named point and returns it or what shall stand in its place (same shape). */
typedef ct_tensor *(*ct_tap)(void *user, ct_run *run, const char *point, ct_tensor *value);

/* Keys and values of past positions, for generation. Rows of a batch have lengths of their own. */
typedef struct ct_kv_cache ct_kv_cache;

typedef struct ct_run_options {
    bool training;           /* dropout acts */
    ct_dtype compute;        /* CT_F32, or CT_BF16: weights and activations in bf16, accumulation and norms in f32 */
    int64_t checkpoint_every; /* > 0: blocks of this many layers are recomputed in the backward pass */
    ct_random *random;       /* for dropout; NULL: ct_default_random */
    bool constant_weights;   /* many products of few rows follow: linear layers pack their weights (ct_linear_pack) */
} ct_run_options;

/* `options` NULL: evaluation in f32. NULL on error; free with ct_run_destroy. */
ct_run *ct_run_create(ct_context *context, const ct_run_options *options);
void ct_run_destroy(ct_run *run);
ct_context *ct_run_context(const ct_run *run);
const ct_run_options *ct_run_options_of(const ct_run *run);
/* Overlays act in the order of pushing; pop takes the last. Cached resolutions are forgotten. */
ct_status ct_run_push_overlay(ct_run *run, const ct_overlay *overlay);
void ct_run_pop_overlay(ct_run *run);
/* Forgets resolved weights: after every optimizer step, and after in-place changes. */
void ct_run_reset(ct_run *run);
/* Taps on points whose name matches `pattern` ("h.*.attn.probs"; * is any run of characters). */
ct_status ct_run_add_tap(ct_run *run, const char *pattern, ct_tap tap, void *user);
void ct_run_clear_taps(ct_run *run);
/* Takes the taps off again that were added last. */
void ct_run_drop_taps(ct_run *run, int count);
void ct_run_set_cache(ct_run *run, ct_kv_cache *cache); /* borrowed; NULL: none */
ct_kv_cache *ct_run_cache(const ct_run *run);

/* Before each forward pass of training: which optimizer step it belongs to and which row of the whole batch is its
 * first. Dropout masks are a function of these, so that they do not depend on the micro-batch. */
void ct_run_set_rows(ct_run *run, uint64_t step, int64_t first_row);

/* Which positions of the next forward passes are text: u8 [batch, time] (or [batch]), 0 for padding, which then counts
 * for nothing in statistics over the batch. Borrowed; NULL: all count. */
void ct_run_set_padding(ct_run *run, ct_tensor *mask);
ct_tensor *ct_run_padding(const ct_run *run);

/* Several samples in one row of the next forward passes: i32 [batch, time], the number of the sample that each place
 * belongs to, equal only within one stretch. Attention stays within a sample and positions begin anew with each. The tensor
 * is borrowed, a mask u8 [batch, 1, time, time] made from it is the run's; NULL: rows are whole. Not together with a
 * key-value cache. */
ct_status ct_run_set_segments(ct_run *run, ct_tensor *segments);
ct_tensor *ct_run_segments(const ct_run *run);
ct_tensor *ct_run_segment_mask(const ct_run *run);

/* From a module's forward: the weight that stands in a slot now (NULL for an absent slot). In bf16 runs weights stay
 * as they are: activations are bf16, and ct_linear multiplies with the bf16 shadow of an f32 weight. */
ct_tensor *ct_run_weight(ct_run *run, const ct_slot *slot);
/* Passes a point through the taps; `value` itself if none matches. */
ct_tensor *ct_run_point(ct_run *run, ct_module *module, const char *point, ct_tensor *value);
/* True if a tap matches: code that would not make the value otherwise makes it then. */
bool ct_run_tapped(ct_run *run, ct_module *module, const char *point);
/* Runs a module in a scope of its own: what the graph did not save is gone when it returns. */
ct_tensor *ct_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count);
ct_tensor *ct_forward1(ct_run *run, ct_module *module, ct_tensor *input);
/* Dropout of the run: nothing unless training and probability > 0. */
ct_tensor *ct_run_dropout(ct_run *run, ct_tensor *x, double probability);

/* ---------------------------------------------------------------------------------------- key-value cache ----- */

/* For `layers` attention modules and `rows` sequences of at most `capacity` positions. */
ct_kv_cache *ct_kv_cache_create(ct_context *context, int64_t layers, int64_t rows, int64_t capacity);
void ct_kv_cache_destroy(ct_kv_cache *cache);
/* Positions already stored for `row`; the same for every layer between forward calls. */
int64_t ct_kv_cache_length(const ct_kv_cache *cache, int64_t row);
int64_t ct_kv_cache_capacity(const ct_kv_cache *cache);
/* Goes back to `length` positions (0: empty); exchanges two rows (to close a gap when a sequence ends). */
ct_status ct_kv_cache_truncate(ct_kv_cache *cache, int64_t row, int64_t length);
ct_status ct_kv_cache_swap_rows(ct_kv_cache *cache, int64_t a, int64_t b);
/* Which rows the next forward call's batch entries are: rows[i] for entry i; NULL: 0, 1, ... */
void ct_kv_cache_select(ct_kv_cache *cache, const int64_t *rows, int64_t count);
/* Which row of the cache entry `entry` of the present batch is. */
int64_t ct_kv_cache_row(const ct_kv_cache *cache, int64_t entry);
/* From attention: appends k and v [batch, kv_heads, time, channels] for layer `layer` and attends q
 * [batch, heads, time, channels] over everything stored, causally. The last layer's append advances the lengths. */
ct_tensor *ct_kv_cache_attend(ct_kv_cache *cache, int64_t layer, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                              const ct_attention_options *options);

#ifdef __cplusplus
}
#endif
#endif
