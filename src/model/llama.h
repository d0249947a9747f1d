/* llama.h - inside the model room: the decoders of the Llama family, as config.json describes them and as
 * their differences from one another. */
#ifndef CARAT_SRC_MODEL_LLAMA_H
#define CARAT_SRC_MODEL_LLAMA_H

#include "model/model.h"
#include "nn/block.h"

/* config.json's keys; those that a family does not have stay at the value given here. */
typedef struct ct_decoder_options {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int64_t num_key_value_heads; /* 0: num_attention_heads */
    int64_t head_dim;            /* 0: hidden_size / num_attention_heads */
    int64_t max_position_embeddings, sliding_window /* 0: none */, max_window_layers, bos_token_id,
        eos_token_id;
    int hidden_act;
    double rms_norm_eps, rope_theta, attention_dropout, initializer_range;
    double query_pre_attn_scalar;         /* scores by its 1/sqrt; 0: head_dim's */
    double attn_soft_cap, final_soft_cap; /* 0: none */
    bool tie_word_embeddings, attention_bias, mlp_bias, use_sliding_window;
    const ct_value *rope_scaling, *rope_parameters, *layer_types, *norm;
} ct_decoder_options;

/* Which layers have the sliding window, where layer_types does not say. */
typedef enum ct_window_rule {
    CT_WINDOW_NEVER,
    CT_WINDOW_ALL,
    CT_WINDOW_UPPER,    /* from max_window_layers on, if use_sliding_window */
    CT_WINDOW_ALTERNATE /* layers 0, 2, 4, ... */
} ct_window_rule;

typedef struct ct_decoder_family {
    const ct_architecture *architecture;
    ct_window_rule window;
    bool layer_types;     /* the key is looked at */
    bool qkv_bias;        /* always; else as attention_bias says, then o_proj too */
    bool qk_norm;         /* of each head */
    bool unit_offset;     /* gains of norms are stored less 1 */
    bool peri;            /* norms behind the sublayers too */
    bool scale_embedding; /* by sqrt(hidden_size) */
} ct_decoder_family;

/* What a model is built from: the options with every default and every null resolved. */
typedef struct ct_decoder_plan {
    const ct_decoder_family *family;
    const ct_decoder_options *options;
    int64_t kv_heads, head_dim, window;
    double attention_cap, final_cap;
    const char *activation; /* of the kind gated_mlp */
    ct_value *rope;         /* owned: settings of ct_rotation_create */
    ct_norm_choice norm;    /* owned */
} ct_decoder_plan;
/* Refuses, by key and value, what is not built. `config` is the whole configuration. */
ct_status ct_decoder_plan_read(ct_context *context, const ct_decoder_options *options, const ct_value *config,
                               ct_decoder_plan *plan);
void ct_decoder_plan_free(ct_decoder_plan *plan);
/* The window of a layer; 0: it sees all. */
int64_t ct_decoder_window(const ct_decoder_plan *plan, int64_t layer);

const ct_decoder_family *ct_decoder_family_of(const ct_value *config); /* by model_type; NULL if it is none */

/* llama.c */
ct_module *ct_decoder_build(ct_context *context, const void *options, const ct_value *config);

#endif
