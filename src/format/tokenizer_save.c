/* tokenizer_save.c - writes a tokenizer as a folder that Hugging Face tokenizers and transformers load. */
#include "carat/format.h"
#include "format/json_write.h"
#include "format/number.h"
#include "format/tokenizer_parts.h"
#include <string.h>

typedef struct saver {
    const ct_tokenizer *tokenizer;
    ct_context *context;
    ct_bytes out, line;
} saver;

static bool put(saver *state, const char *text) {
    return ct_bytes_append(state->context, &state->out, text, strlen(text)) == CT_OK;
}

static bool put_string(saver *state, const char *text, size_t length) {
    return ct_json_put_string(state->context, &state->out, text, length) == CT_OK;
}

static bool put_flag(saver *state, const char *name, bool value) {
    return put(state, ", \"") && put(state, name) && put(state, value ? "\": true" : "\": false");
}

/* A part of tokenizer.json as it was read, else null. */
static bool put_part(saver *state, const char *name) {
    char *text =
        ct_json_text(state->context, ct_value_get(state->tokenizer->parts, name), CT_JSON_COMPACT, NULL);
    bool good = text && put(state, "  \"") && put(state, name) && put(state, "\": ") && put(state, text) &&
                put(state, ",\n");
    ct_free(state->context, text);
    return good;
}

static bool put_added(saver *state) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    char text[32];
    if (!put(state, "  \"added_tokens\": [")) return false;
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        const ct_added_token *added = &tokenizer->added[i];
        const ct_token *token = &tokenizer->tokens[added->id];
        snprintf(text, sizeof text, "%s\n    {\"id\": %d", i ? "," : "", added->id);
        bool good = put(state, text) && put(state, ", \"content\": ") &&
                    put_string(state, token->symbol, token->symbol_length) &&
                    put_flag(state, "single_word", added->single_word) &&
                    put_flag(state, "lstrip", added->lstrip) && put_flag(state, "rstrip", added->rstrip) &&
                    put_flag(state, "normalized", added->normalized) &&
                    put_flag(state, "special", added->special) && put(state, "}");
        if (!good) return false;
    }
    return put(state, tokenizer->added_count ? "\n  ],\n" : "],\n");
}

/* {"symbol": id, ...} in order of ids, `indent` before each line. */
static bool put_vocabulary(saver *state, const char *indent) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    char text[32];
    bool first = true;
    if (!put(state, "{")) return false;
    for (int32_t id = 0; id < tokenizer->size; id++) {
        const ct_token *token = &tokenizer->tokens[id];
        if (!token->symbol || !token->in_model) continue;
        snprintf(text, sizeof text, ": %d", id);
        if (!put(state, first ? "\n" : ",\n") || !put(state, indent) ||
            !put_string(state, token->symbol, token->symbol_length) || !put(state, text))
            return false;
        first = false;
    }
    return put(state, "\n") && put(state, indent + 2) && put(state, "}");
}

static bool put_side(saver *state, int32_t id) {
    const ct_token *token = &state->tokenizer->tokens[id];
    return ct_bytes_append(state->context, &state->out, token->symbol, token->symbol_length) == CT_OK;
}

/* One merge in the notation of the file that it came from. */
static bool put_merge(saver *state, const ct_token *left, const ct_token *right) {
    if (!state->tokenizer->bpe.merges_as_text)
        return put(state, "[") && put_string(state, left->symbol, left->symbol_length) && put(state, ", ") &&
               put_string(state, right->symbol, right->symbol_length) && put(state, "]");
    state->line.length = 0;
    if (ct_bytes_append(state->context, &state->line, left->symbol, left->symbol_length) != CT_OK ||
        ct_bytes_append(state->context, &state->line, " ", 1) != CT_OK ||
        ct_bytes_append(state->context, &state->line, right->symbol, right->symbol_length) != CT_OK)
        return false;
    return put_string(state, state->line.data, state->line.length);
}

static bool put_merges_json(saver *state) {
    const ct_bpe *bpe = &state->tokenizer->bpe;
    if (!put(state, "[")) return false;
    for (size_t i = 0; i < bpe->merge_count; i++) {
        const ct_token *left = &state->tokenizer->tokens[bpe->merges[i].left],
                       *right = &state->tokenizer->tokens[bpe->merges[i].right];
        if (!put(state, i ? ",\n      " : "\n      ") || !put_merge(state, left, right)) return false;
    }
    return put(state, bpe->merge_count ? "\n    ]" : "]");
}

/* [["symbol", score], ...] of a Unigram model. */
static bool put_pieces(saver *state) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    char number[CT_NUMBER_TEXT];
    bool first = true;
    if (!put(state, "[")) return false;
    for (int32_t id = 0; id < tokenizer->size; id++) {
        const ct_token *token = &tokenizer->tokens[id];
        if (!token->symbol || !token->in_model) continue;
        ct_number_text(tokenizer->scores[id], number);
        if (!put(state, first ? "\n      [" : ",\n      [") ||
            !put_string(state, token->symbol, token->symbol_length) || !put(state, ", ") ||
            !put(state, number) || !put(state, "]"))
            return false;
        first = false;
    }
    return put(state, "\n    ]");
}

/* The model's keys as they are, its vocabulary, and for BPE its merges. */
static bool put_model(saver *state) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    const ct_value *model = tokenizer->model;
    bool good = put(state, "  \"model\": {\n");
    for (size_t i = 0; good && i < ct_value_count(model); i++) {
        const char *key = ct_value_key(model, i);
        char *text = ct_json_text(state->context, ct_value_at(model, i), CT_JSON_COMPACT, NULL);
        good = text && put(state, "    ") && put_string(state, key, strlen(key)) && put(state, ": ") &&
               put(state, text) && put(state, ",\n");
        ct_free(state->context, text);
    }
    good = good && put(state, "    \"vocab\": ") &&
           (tokenizer->kind == &ct_tokenizer_method_unigram ? put_pieces(state)
                                                            : put_vocabulary(state, "      "));
    bool merges =
        tokenizer->kind == &ct_tokenizer_method_bpe || tokenizer->kind == &ct_tokenizer_method_bytes;
    if (good && merges) good = put(state, ",\n    \"merges\": ") && put_merges_json(state);
    return good && put(state, "\n  }\n}\n");
}

static bool put_version(saver *state) {
    const char *version = ct_value_as_string(ct_value_get(state->tokenizer->parts, "version"), "1.0");
    return put(state, "{\n  \"version\": ") && put_string(state, version, strlen(version)) &&
           put(state, ",\n");
}

static bool put_tokenizer(saver *state) {
    return put_version(state) && put_part(state, "truncation") && put_part(state, "padding") &&
           put_added(state) && put_part(state, "normalizer") && put_part(state, "pre_tokenizer") &&
           put_part(state, "post_processor") && put_part(state, "decoder") && put_model(state);
}

static bool put_merges_text(saver *state) {
    const ct_bpe *bpe = &state->tokenizer->bpe;
    if (!put(state, "#version: 0.2\n")) return false;
    for (size_t i = 0; i < bpe->merge_count; i++)
        if (!put_side(state, bpe->merges[i].left) || !put(state, " ") ||
            !put_side(state, bpe->merges[i].right) || !put(state, "\n"))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------ folders */

static ct_status write_out(saver *state, bool good, const char *folder, const char *name) {
    char *path = good ? ct_path_join(state->context, folder, name) : NULL;
    if (path) ct_file_write(state->context, path, state->out.data, state->out.length);
    ct_free(state->context, path);
    state->out.length = 0;
    return ct_context_status(state->context);
}

static ct_status write_value(ct_context *context, const char *folder, const char *name,
                             const ct_value *value) {
    char *path = ct_path_join(context, folder, name);
    if (path) ct_json_write(context, path, value, CT_JSON_PRETTY);
    ct_free(context, path);
    return ct_context_status(context);
}

/* tokenizer_config.json for a tokenizer that was made here. */
static ct_value *make_config(const ct_tokenizer *tokenizer) {
    ct_context *context = tokenizer->context;
    ct_value *config = ct_value_map(context);
    char key[16];
    ct_value_set(config, "tokenizer_class", ct_value_string(context, "PreTrainedTokenizerFast"));
    ct_value_set(config, "clean_up_tokenization_spaces", ct_value_bool(context, false));
    for (int i = 0; i < CT_ROLES; i++) {
        int32_t id = tokenizer->roles[i];
        snprintf(key, sizeof key, "%s_token", ct_role_names[i]);
        if (id >= 0) ct_value_set(config, key, ct_value_string(context, tokenizer->tokens[id].symbol));
    }
    if (!ct_failed(context)) return config;
    ct_value_free(config);
    return NULL;
}

static ct_status save_configs(const ct_tokenizer *tokenizer, const char *folder) {
    ct_context *context = tokenizer->context;
    ct_value *made = tokenizer->config ? NULL : make_config(tokenizer);
    const ct_value *config = tokenizer->config ? tokenizer->config : made;
    ct_status status =
        config ? write_value(context, folder, "tokenizer_config.json", config) : ct_context_status(context);
    ct_value_free(made);
    if (status != CT_OK) return status;
    if (tokenizer->special_map)
        return write_value(context, folder, "special_tokens_map.json", tokenizer->special_map);
    ct_value *none = ct_value_map(context);
    status =
        none ? write_value(context, folder, "special_tokens_map.json", none) : ct_context_status(context);
    ct_value_free(none);
    return status;
}

ct_status ct_tokenizer_save(const ct_tokenizer *tokenizer, const char *folder) {
    ct_context *context = tokenizer->context;
    saver state = {.tokenizer = tokenizer, .context = context};
    ct_status status = ct_failed(context) ? ct_context_status(context) : ct_folder_make(context, folder);
    if (status == CT_OK) status = write_out(&state, put_tokenizer(&state), folder, "tokenizer.json");
    if (status == CT_OK && tokenizer->kind == &ct_tokenizer_method_bpe && tokenizer->bpe.by_bytes) {
        status = write_out(&state, put_vocabulary(&state, "  ") && put(&state, "\n"), folder, "vocab.json");
        if (status == CT_OK) status = write_out(&state, put_merges_text(&state), folder, "merges.txt");
    }
    ct_bytes_free(context, &state.out);
    ct_bytes_free(context, &state.line);
    return status == CT_OK ? save_configs(tokenizer, folder) : status;
}
