/* model.h - inside the model room: the layout of models. */
#ifndef CARAT_SRC_MODEL_MODEL_H
#define CARAT_SRC_MODEL_MODEL_H

#include <carat/model.h>

struct ct_model {
    ct_context *context;
    const ct_architecture *architecture;
    ct_value *config;
    void *options;
    ct_value
        *known; /* the part of config that options are read from; strings in options are borrowed from it */
    ct_module *root;
    ct_parameter **parameters; /* in the order of the tree, then extra ones */
    int64_t count, capacity;
    char *folder;    /* it was loaded from; NULL if not */
    bool bare_names; /* the file leaves the architecture's prefix out */
    ct_value
        *kept; /* names of tensors in the folder that are no parameters, and are copied when it is saved */
    ct_value *metadata; /* of the weight file */
};

extern const ct_architecture ct_architecture_gpt2, ct_architecture_mlp, ct_architecture_bert,
    ct_architecture_rnn, ct_architecture_vit;
extern const ct_architecture ct_architecture_llama, ct_architecture_mistral, ct_architecture_qwen2, ct_architecture_qwen3,
    ct_architecture_gemma2;
/* Registers the module kinds of the architectures with a context. */
ct_status ct_model_register_kinds(ct_context *context);
ct_status ct_gpt2_register(ct_context *context);
ct_status ct_decoder_register(ct_context *context);
ct_status ct_bert_register(ct_context *context);
ct_status ct_rnn_register(ct_context *context);
ct_status ct_vit_register(ct_context *context);

/* The name a slot's parameter has in files. A new string. */
char *ct_model_file_name(const ct_model *model, const ct_slot *slot, bool bare);
/* Makes or drops parameters so that there is one for every slot; tied slots share. New ones are not filled.
 */
ct_status ct_model_collect(ct_model *model);
/* Where the configuration places norms, against what `recorded` (NULL: what the configuration itself recorded) says; a
 * difference is refused. Records it in the configuration where it has the key "norm". */
ct_status ct_model_check_place(ct_model *model, const char *recorded, const char *where);
/* Where a family's norms stand when its configuration does not say: so do those of weights that record nothing. */
const char *ct_model_own_place(const ct_model *model);
bool ct_model_is_tied(const ct_model *model); /* whether two slots share a parameter */
/* to_rms.c: tensors of the source's file that are no weights, and its side files, are copied when `model` is saved. */
void ct_model_keep(ct_model *source, ct_model *model);
/* The axis of a writer's or table's slot that is the stream's channels, and a weight less its mean along an axis. */
int ct_stream_axis(ct_stream_role role, const ct_slot *slot);
ct_tensor *ct_stream_project(ct_tensor *weight, int axis);
/* The metadata and configuration key. */
#define CT_NORM_PLACE_KEY "carat_norm_place"
ct_status ct_parameter_fill(ct_parameter *parameter, uint64_t seed);

/* The weights of a model folder: safetensors or PyTorch's. Other formats are refused with advice. */
ct_archive *ct_model_open_weights(ct_context *context, const char *folder);

#endif
