/* family.c - the families of models that GGUF and Hugging Face folders share, one table each. GGUF's names
 * are those of ggml-org/llama.cpp (gguf-py/gguf/constants.py), the others transformers'. */
#include "convert/family.h"
#include <string.h>

#define DECODER_RULES(rope_query, rope_key, norm)                                                            \
    {"token_embd", "model.embed_tokens", 0}, {"output_norm", "model.norm", norm}, {"output", "lm_head", 0},  \
        {"blk.#.attn_norm", "model.layers.#.input_layernorm", norm},                                         \
        {"blk.#.attn_q", "model.layers.#.self_attn.q_proj", rope_query},                                     \
        {"blk.#.attn_k", "model.layers.#.self_attn.k_proj", rope_key},                                       \
        {"blk.#.attn_v", "model.layers.#.self_attn.v_proj", 0},                                              \
        {"blk.#.attn_output", "model.layers.#.self_attn.o_proj", 0},                                         \
        {"blk.#.ffn_gate", "model.layers.#.mlp.gate_proj", 0},                                               \
        {"blk.#.ffn_up", "model.layers.#.mlp.up_proj", 0}, {                                                 \
        "blk.#.ffn_down", "model.layers.#.mlp.down_proj", 0                                                  \
    }

static const ct_name_rule llama_rules[] = {DECODER_RULES(CT_RULE_QUERY, CT_RULE_KEY, 0),
                                           {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm", 0},
                                           {NULL, NULL, 0}};
static const ct_name_rule qwen_rules[] = {DECODER_RULES(0, 0, 0),
                                          {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm", 0},
                                          {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm", 0},
                                          {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm", 0},
                                          {NULL, NULL, 0}};
static const ct_name_rule gemma2_rules[] = {
    DECODER_RULES(0, 0, CT_RULE_PLUS_ONE),
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", CT_RULE_PLUS_ONE},
    {"blk.#.ffn_norm", "model.layers.#.pre_feedforward_layernorm", CT_RULE_PLUS_ONE},
    {"blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm", CT_RULE_PLUS_ONE},
    {NULL, NULL, 0}};
static const ct_name_rule gpt2_rules[] = {
    {"token_embd", "transformer.wte", 0},
    {"position_embd", "transformer.wpe", 0},
    {"output_norm", "transformer.ln_f", 0},
    {"output", "lm_head", 0},
    {"blk.#.attn_norm", "transformer.h.#.ln_1", 0},
    {"blk.#.attn_qkv", "transformer.h.#.attn.c_attn", CT_RULE_TRANSPOSED},
    {"blk.#.attn_output", "transformer.h.#.attn.c_proj", CT_RULE_TRANSPOSED},
    {"blk.#.ffn_norm", "transformer.h.#.ln_2", 0},
    {"blk.#.ffn_up", "transformer.h.#.mlp.c_fc", CT_RULE_TRANSPOSED},
    {"blk.#.ffn_down", "transformer.h.#.mlp.c_proj", CT_RULE_TRANSPOSED},
    {NULL, NULL, 0}};
static const ct_name_rule bert_rules[] = {
    {"token_embd", "embeddings.word_embeddings", 0},
    {"position_embd", "embeddings.position_embeddings", 0},
    {"token_types", "embeddings.token_type_embeddings", 0},
    {"token_embd_norm", "embeddings.LayerNorm", 0},
    {"blk.#.attn_q", "encoder.layer.#.attention.self.query", 0},
    {"blk.#.attn_k", "encoder.layer.#.attention.self.key", 0},
    {"blk.#.attn_v", "encoder.layer.#.attention.self.value", 0},
    {"blk.#.attn_output", "encoder.layer.#.attention.output.dense", 0},
    {"blk.#.attn_output_norm", "encoder.layer.#.attention.output.LayerNorm", 0},
    {"blk.#.ffn_up", "encoder.layer.#.intermediate.dense", 0},
    {"blk.#.ffn_down", "encoder.layer.#.output.dense", 0},
    {"blk.#.layer_output_norm", "encoder.layer.#.output.LayerNorm", 0},
    {NULL, NULL, 0}};

#define DECODER_SETTINGS                                                                                     \
    {"context_length", "max_position_embeddings", CT_SETTING_COUNT, true, 0},                                \
        {"embedding_length", "hidden_size", CT_SETTING_COUNT, true, 0},                                      \
        {"block_count", "num_hidden_layers", CT_SETTING_COUNT, true, 0},                                     \
        {"feed_forward_length", "intermediate_size", CT_SETTING_COUNT, true, 0},                             \
        {"attention.head_count", "num_attention_heads", CT_SETTING_COUNT, true, 0},                          \
        {"attention.head_count_kv", "num_key_value_heads", CT_SETTING_COUNT, false, 0},                      \
        {"attention.key_length", "head_dim", CT_SETTING_COUNT, false, 0},                                    \
        {"attention.value_length", "head_dim", CT_SETTING_COUNT, false, 0}, {                                \
        "attention.layer_norm_rms_epsilon", "rms_norm_eps", CT_SETTING_REAL, true, 1e-6                      \
    }

static const ct_setting decoder_settings[] = {
    DECODER_SETTINGS, {"vocab_size", "vocab_size", CT_SETTING_COUNT, false, 0}, {NULL, NULL, 0, false, 0}};
static const ct_setting gemma2_settings[] = {
    DECODER_SETTINGS,
    {"attn_logit_softcapping", "attn_logit_softcapping", CT_SETTING_REAL, false, 0},
    {"final_logit_softcapping", "final_logit_softcapping", CT_SETTING_REAL, false, 0},
    {"attention.sliding_window", "sliding_window", CT_SETTING_COUNT, false, 0},
    {"vocab_size", "vocab_size", CT_SETTING_COUNT, false, 0},
    {NULL, NULL, 0, false, 0}};
static const ct_setting gpt2_settings[] = {
    {"context_length", "n_positions", CT_SETTING_COUNT, true, 0},
    {"embedding_length", "n_embd", CT_SETTING_COUNT, true, 0},
    {"block_count", "n_layer", CT_SETTING_COUNT, true, 0},
    {"feed_forward_length", "n_inner", CT_SETTING_COUNT, false, 0},
    {"attention.head_count", "n_head", CT_SETTING_COUNT, true, 0},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", CT_SETTING_REAL, true, 1e-5},
    {"vocab_size", "vocab_size", CT_SETTING_COUNT, false, 0},
    {NULL, NULL, 0, false, 0}};
static const ct_setting bert_settings[] = {
    {"context_length", "max_position_embeddings", CT_SETTING_COUNT, true, 0},
    {"embedding_length", "hidden_size", CT_SETTING_COUNT, true, 0},
    {"block_count", "num_hidden_layers", CT_SETTING_COUNT, true, 0},
    {"feed_forward_length", "intermediate_size", CT_SETTING_COUNT, true, 0},
    {"attention.head_count", "num_attention_heads", CT_SETTING_COUNT, true, 0},
    {"attention.layer_norm_epsilon", "layer_norm_eps", CT_SETTING_REAL, true, 1e-12},
    {"vocab_size", "vocab_size", CT_SETTING_COUNT, false, 0},
    {NULL, NULL, 0, false, 0}};

/* Tensors that are tables of constants, or that llama.cpp computes without. */
static const char *const decoder_dropped[] = {"*rotary_emb.inv_freq", NULL};
static const char *const gemma2_dropped[] = {"*rotary_emb.inv_freq", "lm_head.weight", NULL};
static const char *const gpt2_dropped[] = {"*.attn.bias", "*.attn.masked_bias", NULL};
static const char *const bert_dropped[] = {
    "*embeddings.position_ids", "pooler.", "cls.", "classifier.", "qa_outputs.", NULL};

static const ct_family families[] = {
    {"llama", "LlamaForCausalLM", "llama", "", llama_rules, decoder_settings, "silu", decoder_dropped, true,
     false},
    {"mistral", "MistralForCausalLM", "llama", "", llama_rules, decoder_settings, "silu", decoder_dropped,
     true, false},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", "", qwen_rules, decoder_settings, "silu", decoder_dropped, true,
     false},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", "", qwen_rules, decoder_settings, "silu", decoder_dropped, true,
     false},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", "", gemma2_rules, gemma2_settings, "gelu_pytorch_tanh",
     gemma2_dropped, true, true},
    {"gpt2", "GPT2LMHeadModel", "gpt2", "transformer.", gpt2_rules, gpt2_settings, "gelu_new", gpt2_dropped,
     false, false},
    {"bert", "BertModel", "bert", "bert.", bert_rules, bert_settings, "gelu", bert_dropped, false, false},
};
enum { FAMILIES = sizeof families / sizeof *families };

static const ct_family *unknown(ct_context *context, const char *path, const char *what, const char *name) {
    char known[160] = "";
    for (size_t i = 0, used = 0; i < FAMILIES; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 families[i].model_type);
    ct_fail(context, CT_ERROR_UNSUPPORTED,
            "%s: %s \"%.80s\" has no translation to or from GGUF (known are: %s)", path, what, name, known);
    return NULL;
}

const ct_family *ct_family_of_config(ct_context *context, const char *path, const ct_value *config) {
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].model_type, type) == 0) return &families[i];
    return unknown(context, path, "model_type", type);
}

const ct_family *ct_family_of_gguf(ct_context *context, const char *path, const ct_gguf *gguf) {
    size_t length = 0, own_length = 0;
    const char *name = ct_gguf_string(gguf, "general.architecture", &length);
    const char *own = ct_gguf_string(gguf, "carat.model_type", &own_length); /* tells mistral from llama */
    for (size_t i = 0; name && i < FAMILIES; i++) {
        const ct_family *family = &families[i];
        if (strlen(family->architecture) != length || memcmp(family->architecture, name, length) != 0)
            continue;
        if (own &&
            (strlen(family->model_type) != own_length || memcmp(family->model_type, own, own_length) != 0))
            continue;
        return family;
    }
    char text[81];
    snprintf(text, sizeof text, "%.*s", (int)(length < 80 ? length : 80), name ? name : "");
    return unknown(context, path, "general.architecture", text);
}
