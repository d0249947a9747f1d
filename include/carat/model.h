/* model.h - a model: a tree of modules, its parameters by name, its configuration, and the folder it came from. */
#ifndef CARAT_MODEL_H
#define CARAT_MODEL_H

#include <carat/archive.h>
#include <carat/format.h>
#include <carat/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_model ct_model;

/* What touches the residual stream of a transformer: paths of modules ("*" is the number of a block). */
typedef enum ct_stream_role {
    CT_STREAM_TABLE,  /* an embedding whose rows are added to the stream */
    CT_STREAM_WRITER, /* linear or conv1d: its output is added */
    CT_STREAM_READER, /* linear or conv1d: its input is the stream behind `norm` */
    CT_STREAM_OUTPUT  /* a norm whose result leaves the model where there is no module `norm` */
} ct_stream_role;
typedef struct ct_stream_part {
    const char *module;
    ct_stream_role role;
    const char *norm; /* of readers and outputs */
    bool optional;    /* some heads do not have it */
} ct_stream_part;

/* How a family is described by config.json and named in files. One `const` value per architecture. */
typedef struct ct_architecture {
    const char *model_type;  /* "gpt2", "mlp": config.json's model_type */
    const char *class_name;  /* "GPT2LMHeadModel": config.json's architectures[0] */
    const char *summary;
    const ct_option *options; /* config.json's keys, with the defaults of the family */
    size_t options_size;
    ct_module *(*build)(ct_context *context, const void *options, const ct_value *config);
    const char *prefix; /* of tensor names in files, that some files leave out: "transformer." */
    /* Maps a slot's path ("h.0.attn.c_attn.weight") to its file name; NULL: prefix + path. */
    char *(*file_name)(ct_context *context, const char *path);
    /* Tensor names in files that are not weights (masks some writers add) and are kept but not loaded. */
    bool (*is_buffer)(const char *file_name);
    /* Sets keys of the configuration that only the weight file tells (a pooler that is not there), before it is built;
     * may be NULL. */
    ct_status (*adapt)(ct_context *context, ct_value *config, const ct_archive *file);
    int64_t (*context_length)(const void *options); /* the most positions; 0: no limit */
    int64_t (*vocabulary)(const void *options);     /* token ids are below it; 0: the input is not ids */
    int64_t (*layers)(const void *options);         /* attention modules, for caches */
    /* Channels, height and width of the images that are its input; NULL: its input is no image. */
    void (*image_shape)(const void *options, const ct_value *config, int64_t shape[3]);
    bool bidirectional;           /* an encoder: each position sees all others, so none predicts the next token */
    /* Makes the stream that a configuration asks for one channel narrower and leaves the rest as it is, also where it was
     * derived from the width; NULL: cannot be. */
    ct_status (*narrow)(ct_context *context, const void *options, ct_value *config);
    const ct_stream_part *stream; /* all that touches the stream in an unchanged pre-norm model, ends with {NULL}; or NULL */
} ct_architecture;
const ct_architecture *ct_architecture_find(ct_context *context, const char *model_type);
size_t ct_architecture_count(void);
const ct_architecture *ct_architecture_at(size_t index);

/* A copy of a configuration in which a name where a map is expected has become {name: ...}: norm: rmsnorm. */
ct_value *ct_architecture_spell_out(ct_context *context, const ct_architecture *architecture, const ct_value *config);

/* Builds from a configuration (HF's config.json keys; unknown keys are kept and written again). Parameters are not
 * filled: ct_model_initialize or ct_model_load does. On the context's device. */
ct_model *ct_model_create(ct_context *context, const ct_value *config);
/* Fills every parameter as its slot says. Draws depend on (seed, parameter name) alone. */
ct_status ct_model_initialize(ct_model *model, uint64_t seed);
/* A Hugging Face folder, or a name in the local Hub cache. dtype: CT_DTYPES keeps the file's, else converts. Missing,
 * extra and misshapen tensors are errors that list them. */
ct_model *ct_model_load(ct_context *context, const char *path, ct_dtype dtype);
/* Writes a folder (a new one, or into an existing one file by file, each atomically): config.json,
 * model.safetensors, side files of the folder it was loaded from. Tied weights are stored once. Lossless: what was
 * loaded and not changed is written with the same bytes. dtype CT_DTYPES keeps each parameter's. */
ct_status ct_model_save(ct_model *model, const char *folder, ct_dtype dtype);
/* The same with each weight as overlays of `run` resolve it, multiplied out (derived weights as plain ones). */
ct_status ct_model_save_resolved(ct_model *model, ct_run *run, const char *folder);
void ct_model_destroy(ct_model *model);

ct_context *ct_model_context(const ct_model *model);
const ct_architecture *ct_model_architecture(const ct_model *model);
const void *ct_model_options(const ct_model *model); /* the architecture's options struct */
/* What ct_model_save writes as config.json; the model's. Changes through the second do not change the tree. */
const ct_value *ct_model_config(const ct_model *model);
ct_value *ct_model_config_edit(ct_model *model);
ct_module *ct_model_root(const ct_model *model);
int64_t ct_model_context_length(const ct_model *model);
int64_t ct_model_vocabulary(const ct_model *model);
int64_t ct_model_layers(const ct_model *model);
/* False where its input is no image; else channels, height and width. */
bool ct_model_image_shape(const ct_model *model, int64_t shape[3]);
/* Numbers that a row of the input of a model of linear layers has; 0 where its input is ids or images. */
int64_t ct_model_features(const ct_model *model);
/* Outputs of the last linear layer that stands directly in the model: its classes. 0 if there is none. */
int64_t ct_model_classes(const ct_model *model);
/* Refuses, naming `who` asks ("evaluate"), what predicts no next token: encoders, and models whose input is not ids. */
ct_status ct_model_need_causal(const ct_model *model, const char *who);

int64_t ct_model_parameter_count(const ct_model *model);
ct_parameter *ct_model_parameter(ct_model *model, int64_t index); /* in the order of the tree */
ct_parameter *ct_model_find(ct_model *model, const char *name);   /* the file's name, or a slot's path */
int64_t ct_model_elements(const ct_model *model, bool trainable_only); /* tied weights once, buffers never */
/* An extra parameter that overlays use (kept, trained and saved under its name; "carat." names stay out of model
 * files written by ct_model_save_resolved). The tensor is held. */
ct_parameter *ct_model_add_parameter(ct_model *model, const char *name, ct_tensor *tensor);
/* After surgery: parameters of slots that are gone are dropped, those of new slots made and filled. */
ct_status ct_model_sync(ct_model *model, uint64_t seed);
/* Converts parameters in place (not while a graph uses them). */
ct_status ct_model_cast(ct_model *model, ct_dtype dtype);
/* Weights of linear layers and embeddings whose rows are a multiple of 32 become Q8_0 blocks (ct_from_q8_0), rounded as
 * GGML rounds: for inference, they cannot be trained. Layers that keep their weight [in, out] (GPT-2's) stay as they are. */
ct_status ct_model_to_q8_0(ct_model *model);

/* Adds to a configuration without norms what puts one ("ln" or "rms") before every nonlinearity; *changed false: the model
 * normalises already and keeps its own. Refuses families that have no place for them. */
ct_status ct_model_insert_norms(ct_context *context, ct_value *config, const char *norm, bool *changed);

/* ids [batch, time] (i32 or i64) -> logits [batch, time, vocabulary]; of an encoder its hidden states [batch, time, width],
 * or what its head gives (bert.c). */
ct_tensor *ct_model_forward(ct_model *model, ct_run *run, ct_tensor *input);
/* The outputs of one pass by name: outputs[i] is the value at the point points[i] ("hidden", "pooled", "logits", or any
 * other that the model has, "h.3.attn.probs"), as it is behind the taps of the run. inputs[0] is as above; which others there
 * are the architecture says (bert: token types). A point that the pass does not reach is an error. */
ct_status ct_model_outputs(ct_model *model, ct_run *run, ct_tensor *const *inputs, int count, const char *const *points,
                           int wanted, ct_tensor **outputs);
/* The same, logits only for the last position of each row: [batch, 1, vocabulary]. */
ct_tensor *ct_model_forward_last(ct_model *model, ct_run *run, ct_tensor *ids);

/* --------------------------------------------------------------------------------- the residual stream ----- */

/* Calls visit for every part of the stream, `norm` being NULL but for readers. Refuses, with CT_ERROR_UNSUPPORTED, models
 * without a description, with norms behind the residual sum, and those where another module could touch the stream. */
typedef ct_status (*ct_stream_visitor)(void *user, ct_stream_role role, ct_module *module, ct_module *norm);
ct_status ct_stream_visit(ct_model *model, ct_stream_visitor visit, void *user);

/* A pre-norm model with LayerNorm, rewritten to RMSNorm or CRMSNorm, which computes the same (Jiang et al.,
 * arXiv:2305.14858): what writes to the stream is projected so that the stream has mean 0, on which LayerNorm is RMSNorm.
 * Returns a new model; `source` stays. */
typedef struct ct_rms_options {
    bool compress; /* to crmsnorm; folds */
    bool fold;     /* gains and biases of norms go into the layers behind them */
    bool untie;    /* allows a tied head to become a matrix of its own, without which it cannot be done */
    bool unpadded; /* crmsnorm: d - 1 channels are stored; else the width stays d and the last channel is ignored */
} ct_rms_options;
ct_model *ct_model_to_rms(ct_model *source, const ct_rms_options *options);
/* A new model without norms that computes what `source` does in evaluation: norms with running statistics (batchnorm,
 * ghostbn, powernorm) are taken in by the layers that read them, of an mlp by those before them. Refuses other norms, norms
 * that no layer reads, layers without a bias where a norm adds something, and tied heads unless `untie`. `source` stays. */
ct_model *ct_model_fold_norms(ct_model *source, bool untie);
/* Training an RMSNorm model as the LayerNorm model would be trained: the stream has to stay centred, in one of two ways.
 * ct_stream_centre (activations): from now on every writer and table of `model` resolves, in `run`, to itself less the
 * mean over its outputs, which takes the mean from what it writes; gradients are then those of the LayerNorm model. Until
 * ct_run_pop_overlay. ct_stream_centre_weights (weights): the weights themselves lose that mean, in place; after each step
 * of an optimizer that is linear in the gradients (sgd, momentum) the weights are those of the LayerNorm model, centred.
 * Both refuse models whose norms are no rmsnorm. */
ct_status ct_stream_centre(ct_model *model, ct_run *run);
ct_status ct_stream_centre_weights(ct_model *model);

#ifdef __cplusplus
}
#endif
#endif
