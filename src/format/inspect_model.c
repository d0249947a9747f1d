/* inspect_model.c - what config.json or GGUF's metadata say of a model, how many parameters it has and where.
 */
#include "format/inspect_parts.h"
#include <string.h>

/* The same fact under the names of the families of configurations, and below "ARCHITECTURE." in GGUF. */
static const struct {
    const char *name, *config[3], *gguf;
} facts[] = {{"layers", {"num_hidden_layers", "n_layer", "num_layers"}, "block_count"},
             {"heads", {"num_attention_heads", "n_head", NULL}, "attention.head_count"},
             {"key_value_heads", {"num_key_value_heads", NULL, NULL}, "attention.head_count_kv"},
             {"head_width", {"head_dim", NULL, NULL}, "attention.key_length"},
             {"width", {"hidden_size", "n_embd", "d_model"}, "embedding_length"},
             {"intermediate_width", {"intermediate_size", "n_inner", NULL}, "feed_forward_length"},
             {"context", {"max_position_embeddings", "n_positions", "n_ctx"}, "context_length"},
             {"sliding_window", {"sliding_window", NULL, NULL}, "attention.sliding_window"},
             {"vocabulary", {"vocab_size", NULL, NULL}, "vocab_size"}};
enum { FACTS = sizeof facts / sizeof facts[0] };

static void put_int(ct_context *context, ct_value *map, const char *key, int64_t value) {
    ct_value_set(map, key, ct_value_int(context, value));
}

static void put_text(ct_value *map, const char *key, const ct_value *text) {
    if (ct_value_kind_of(text) == CT_VALUE_STRING) ct_value_set(map, key, ct_value_copy(text));
}

/* Configurations of several towers have the language model's below text_config. */
static const ct_value *config_value(const ct_value *config, const char *key) {
    const ct_value *value = ct_value_get(config, key);
    return value ? value : ct_value_get(ct_value_get(config, "text_config"), key);
}

static void read_config(const ct_value *config, ct_value *map) {
    put_text(map, "architecture", ct_value_get(config, "model_type"));
    put_text(map, "class", ct_value_at(ct_value_get(config, "architectures"), 0));
    for (int i = 0; i < FACTS; i++) {
        const ct_value *value = NULL;
        for (int k = 0; k < 3 && facts[i].config[k] && ct_value_kind_of(value) != CT_VALUE_INT; k++)
            value = config_value(config, facts[i].config[k]);
        if (ct_value_kind_of(value) == CT_VALUE_INT) ct_value_set(map, facts[i].name, ct_value_copy(value));
    }
    const ct_value *dtype = config_value(config, "dtype");
    put_text(map, "dtype", dtype ? dtype : config_value(config, "torch_dtype"));
    put_text(map, "quantization", ct_value_get(ct_value_get(config, "quantization_config"), "quant_method"));
}

/* Items of a list, also of one that was cut to {"count": n, "first": [...]}. */
static int64_t list_count(const ct_value *list) {
    return ct_value_kind_of(list) == CT_VALUE_MAP ? ct_value_as_int(ct_value_get(list, "count"), 0)
                                                  : (int64_t)ct_value_count(list);
}

static void read_gguf(ct_context *context, const ct_value *metadata, const char *architecture,
                      ct_value *map) {
    char key[160];
    put_text(map, "architecture", ct_value_get(metadata, "general.architecture"));
    put_text(map, "name", ct_value_get(metadata, "general.name"));
    for (int i = 0; i < FACTS; i++) {
        snprintf(key, sizeof key, "%.100s.%s", architecture, facts[i].gguf);
        const ct_value *value = ct_value_get(metadata, key);
        if (ct_value_kind_of(value) == CT_VALUE_INT) ct_value_set(map, facts[i].name, ct_value_copy(value));
    }
    int64_t tokens = list_count(ct_value_get(metadata, "tokenizer.ggml.tokens"));
    if (tokens && !ct_value_get(map, "vocabulary")) put_int(context, map, "vocabulary", tokens);
}

/* ------------------------------------------------------------------------------------------ parameters */

static bool contains_any(const char *name, const char *const *parts) {
    for (; *parts; parts++)
        if (strstr(name, *parts)) return true;
    return false;
}

/* Numbers that are learnt: floating-point and block types, less what older files store of masks and
 * rotations. */
static bool is_parameter(const ct_archive_tensor *tensor) {
    static const char *const computed[] = {".attn.masked_bias", "rotary_emb.inv_freq", "rope_freqs", NULL};
    size_t length = strlen(tensor->name);
    if (contains_any(tensor->name, computed)) return false;
    if (tensor->rank == 4 && length > 10 && strcmp(tensor->name + length - 10, ".attn.bias") == 0)
        return false;
    if (!ct_element_is_plain(tensor->type)) return true;
    switch ((int)tensor->type) {
    case CT_FILE_BOOL:
    case CT_FILE_U8:
    case CT_FILE_I8:
    case CT_FILE_I16:
    case CT_FILE_U16:
    case CT_FILE_I32:
    case CT_FILE_U32:
    case CT_FILE_I64:
    case CT_FILE_U64:
        return false;
    default:
        return true;
    }
}

static void count_parameters(ct_archive *archive, ct_context *context, ct_value *map) {
    static const char *const tables[] = {"wte.",
                                         "wpe.",
                                         "embed_tokens.",
                                         "word_embeddings.",
                                         "token_embd",
                                         "position_embd",
                                         "position_embeddings.",
                                         "token_types",
                                         "tok_embeddings.",
                                         "embed_positions.",
                                         "token_type_embeddings.",
                                         NULL};
    static const char *const heads[] = {"lm_head.weight", "predictions.decoder.weight", NULL};
    int64_t total = 0, embedding = 0, head = 0;
    for (size_t i = 0; i < ct_archive_count(archive); i++) {
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        if (!is_parameter(tensor) || ct_archive_alias(archive, tensor)) continue;
        total += tensor->count;
        if (contains_any(tensor->name, heads) || strcmp(tensor->name, "output.weight") == 0)
            head += tensor->count;
        else if (contains_any(tensor->name, tables))
            embedding += tensor->count;
    }
    put_int(context, map, "parameters", total);
    put_int(context, map, "embedding", embedding);
    put_int(context, map, "head", head);
    put_int(context, map, "non_embedding", total - embedding - head);
}

ct_value *ct_inspect_model(ct_archive *archive, const ct_value *config, const ct_value *metadata) {
    ct_context *context = ct_archive_context(archive);
    const char *architecture = ct_value_as_string(ct_value_get(metadata, "general.architecture"), NULL);
    bool gguf = architecture && strcmp(ct_archive_format_name(archive), "gguf") == 0;
    if (!config && !gguf) return NULL;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    if (gguf)
        read_gguf(context, metadata, architecture, map);
    else
        read_config(config, map);
    count_parameters(archive, context, map);
    return map;
}
