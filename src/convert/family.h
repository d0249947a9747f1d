/* family.h - internal: what a family of models is called in Hugging Face folders and in GGUF. */
#ifndef CARAT_CONVERT_FAMILY_H
#define CARAT_CONVERT_FAMILY_H

#include "convert/plan.h"

enum {
    CT_RULE_TRANSPOSED = 1, /* Conv1D of GPT-2: [in, out] there, [out, in] in GGUF */
    CT_RULE_QUERY = 2,      /* rows reordered for GGML's rope, by query heads */
    CT_RULE_KEY = 4,        /* the same by key-value heads */
    CT_RULE_PLUS_ONE = 8,   /* Gemma's norms: GGUF holds 1 + weight */
};

/* '#' stands for a block's number. Both names go on with ".weight" or ".bias", unless the rule has the
 * ending. */
typedef struct ct_name_rule {
    const char *gguf, *hf;
    unsigned flags;
} ct_name_rule;

typedef enum ct_setting_kind { CT_SETTING_COUNT, CT_SETTING_REAL } ct_setting_kind;
/* One hyperparameter: "ARCHITECTURE.gguf" in GGUF. */
typedef struct ct_setting {
    const char *gguf, *hf;
    ct_setting_kind kind;
    bool needed;
    double otherwise; /* transformers' default where config.json may leave it out; 0: it may not */
} ct_setting;

typedef struct ct_family {
    const char *model_type, *class_name; /* "llama", "LlamaForCausalLM" */
    const char *architecture;            /* GGUF's; mistral is llama there */
    const char *prefix;                  /* that names in Hugging Face files may have, as they are written */
    const ct_name_rule *rules;           /* ends with NULL names */
    const ct_setting *settings;          /* ends with NULL names */
    const char *activation;              /* the only one that llama.cpp computes for it */
    const char *const *dropped; /* beginnings and ends (with '*' in front) of names without a place in GGUF */
    bool rope, tied;            /* tied: the head always is the token embedding */
} ct_family;

/* By config.json's model_type, or by general.architecture; an unknown one is an error with the list. */
const ct_family *ct_family_of_config(ct_context *context, const char *path, const ct_value *config);
const ct_family *ct_family_of_gguf(ct_context *context, const char *path, const ct_gguf *gguf);

/* The tensors of a Hugging Face model for GGUF, and the reverse. `wanted` is the type of matrices,
 * CT_ELEMENTS: their own. */
ct_status ct_plan_to_gguf(ct_plan *plan, const ct_family *family, const ct_value *config, ct_element wanted);
ct_status ct_plan_from_gguf(ct_plan *plan, const ct_family *family, const ct_gguf *gguf, ct_element wanted);
/* What GGUF files hold a tensor as when matrices are `wanted`. */
ct_element ct_gguf_tensor_type(const char *name, const ct_archive_tensor *source, const int64_t *shape,
                               ct_element wanted);

/* config.json to keys and tensors (rope_freqs), and back. `type` is that of most matrices, for
 * general.file_type and torch_dtype. */
ct_status ct_settings_to_gguf(ct_plan *plan, const ct_family *family, const ct_value *config,
                              ct_gguf_writer *writer, const char *name, ct_element type);
ct_value *ct_settings_from_gguf(ct_context *context, const ct_archive *archive, const ct_family *family,
                                ct_element type);
/* The factors by which Llama 3 divides rope's frequencies (dim / 2 of them); false if the config asks for
 * none. */
bool ct_llama3_factors(const ct_value *config, float *factors, int64_t count);
/* A setting of rope, wherever the version of transformers keeps it: rope_parameters, rope_scaling, or the
 * top. */
const ct_value *ct_rope_setting(const ct_value *config, const char *key);
ct_status ct_rope_factors(ct_plan *plan, const ct_family *family, const ct_value *config);
int64_t ct_config_heads(const ct_value *config, bool keys);

#endif
