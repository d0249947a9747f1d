/* tokenizer.c - the tokenizer's vocabulary: making, filling, asking. */
#include "carat/format.h"
#include "format/byte_level.h"
#include "format/tokenizer_parts.h"
#include <string.h>

const char *const ct_role_names[CT_ROLES] = {"bos", "eos", "pad", "unk"};

ct_tokenizer *ct_tokenizer_make(ct_context *context, const ct_tokenizer_method *kind) {
    if (ct_failed(context)) return NULL;
    ct_tokenizer *tokenizer = ct_alloc_zero(context, sizeof *tokenizer, CT_MEMORY_OTHER);
    if (!tokenizer) return NULL;
    tokenizer->context = context;
    tokenizer->kind = kind;
    tokenizer->unknown = -1;
    for (int i = 0; i < CT_ROLES; i++)
        tokenizer->roles[i] = -1;
    tokenizer->parts = ct_value_map(context);
    if (tokenizer->parts) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

static void free_set(ct_context *context, ct_added_set *set) {
    ct_names_free(context, &set->names);
    ct_free(context, set->lengths);
}

static void free_steps(ct_context *context, ct_steps *steps) {
    if (steps) ct_steps_free(context, steps);
    ct_free(context, steps);
}

void ct_tokenizer_destroy(ct_tokenizer *tokenizer) {
    if (!tokenizer) return;
    ct_context *context = tokenizer->context;
    ct_free(context, tokenizer->tokens);
    ct_names_free(context, &tokenizer->symbols);
    ct_arena_free(context, &tokenizer->arena);
    ct_free(context, tokenizer->added);
    free_set(context, &tokenizer->plain_set);
    free_set(context, &tokenizer->normalized_set);
    ct_ids_free(context, &tokenizer->prefix);
    ct_ids_free(context, &tokenizer->suffix);
    free_steps(context, tokenizer->normalizer);
    free_steps(context, tokenizer->splitter);
    free_steps(context, tokenizer->decoder);
    ct_free(context, tokenizer->bpe.merges);
    ct_free(context, tokenizer->bpe.pairs);
    ct_free(context, tokenizer->bpe.code_ids);
    ct_trie_free(context, &tokenizer->trie);
    ct_free(context, tokenizer->scores);
    ct_free(context, tokenizer->cache);
    for (int i = 0; i < 2; i++) {
        ct_bytes_free(context, &tokenizer->normal[i]);
        ct_words_free(context, &tokenizer->words[i]);
    }
    ct_free(context, tokenizer->codes);
    ct_value_free(tokenizer->model);
    ct_value_free(tokenizer->parts);
    ct_value_free(tokenizer->config);
    ct_value_free(tokenizer->special_map);
    ct_free(context, tokenizer);
}

/* Room for an id; new places hold no token. */
static ct_status grow(ct_tokenizer *tokenizer, int32_t id) {
    if (id >= tokenizer->capacity) {
        size_t capacity = (size_t)tokenizer->capacity + (size_t)tokenizer->capacity / 2 + 256;
        if (capacity <= (size_t)id) capacity = (size_t)id + 1;
        if (capacity > INT32_MAX) capacity = INT32_MAX;
        ct_token *larger =
            ct_realloc(tokenizer->context, tokenizer->tokens, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(tokenizer->context);
        tokenizer->tokens = larger;
        tokenizer->capacity = (int32_t)capacity;
    }
    for (; tokenizer->size <= id; tokenizer->size++)
        memset(&tokenizer->tokens[tokenizer->size], 0, sizeof *tokenizer->tokens);
    return CT_OK;
}

ct_status ct_tokenizer_put(ct_tokenizer *tokenizer, int32_t id, const char *symbol, size_t symbol_length,
                           const char *bytes, size_t length, bool in_model) {
    ct_context *context = tokenizer->context;
    int shown = symbol_length < 60 ? (int)symbol_length : 60;
    if (symbol_length > INT32_MAX || length > INT32_MAX)
        return ct_fail(context, CT_ERROR_FORMAT, "a token is longer than 2 GB");
    if (id < 0 || id == INT32_MAX)
        return ct_fail(context, CT_ERROR_FORMAT, "token \"%.*s\" has the id %d", shown, symbol, id);
    if (ct_names_get(&tokenizer->symbols, symbol, symbol_length) >= 0)
        return ct_fail(context, CT_ERROR_FORMAT, "token \"%.*s\" stands twice in the vocabulary", shown,
                       symbol);
    if (id < tokenizer->size && tokenizer->tokens[id].symbol)
        return ct_fail(context, CT_ERROR_FORMAT, "id %d belongs to two tokens, \"%.60s\" and \"%.*s\"", id,
                       tokenizer->tokens[id].symbol, shown, symbol);
    const char *symbol_copy = ct_arena_copy(context, &tokenizer->arena, symbol, symbol_length),
               *bytes_copy = symbol_copy;
    if (bytes && symbol_copy) bytes_copy = ct_arena_copy(context, &tokenizer->arena, bytes, length);
    if (!bytes_copy || grow(tokenizer, id) != CT_OK) return ct_context_status(context);
    tokenizer->tokens[id] = (ct_token){symbol_copy,
                                       bytes_copy,
                                       (uint32_t)symbol_length,
                                       (uint32_t)(bytes ? length : symbol_length),
                                       in_model,
                                       false,
                                       0};
    return ct_names_put(context, &tokenizer->symbols, symbol_copy, symbol_length, id);
}

ct_status ct_tokenizer_put_byte_level(ct_tokenizer *tokenizer, int32_t id, const char *symbol,
                                      size_t length) {
    char small[256];
    size_t bytes_length = 0;
    char *bytes = length <= sizeof small ? small : ct_alloc(tokenizer->context, length, CT_MEMORY_WORKSPACE);
    if (!bytes) return ct_context_status(tokenizer->context);
    bool spelled = ct_bytes_unspell(symbol, length, bytes, &bytes_length);
    ct_status status =
        ct_tokenizer_put(tokenizer, id, symbol, length, spelled ? bytes : NULL, bytes_length, true);
    if (bytes != small) ct_free(tokenizer->context, bytes);
    return status;
}

ct_status ct_tokenizer_set_part(ct_tokenizer *tokenizer, const char *name, const char *json) {
    ct_value *part = ct_json_parse(tokenizer->context, json, strlen(json), name);
    if (strcmp(name, "model") == 0) {
        ct_value_free(tokenizer->model);
        tokenizer->model = part;
        return ct_context_status(tokenizer->context);
    }
    return part ? ct_value_set(tokenizer->parts, name, part) : ct_context_status(tokenizer->context);
}

/* Bytes and BPE speak GPT-2's alphabet; bytes are not cut into words. */
static ct_tokenizer *make_bytes(ct_context *context) {
    ct_tokenizer *tokenizer = ct_tokenizer_make(context, &ct_tokenizer_method_bytes);
    ct_status status = tokenizer ? CT_OK : ct_context_status(context);
    for (int i = 0; i < 256 && status == CT_OK; i++) {
        char symbol[4], byte = (char)i;
        status = ct_tokenizer_put(tokenizer, i, symbol, ct_bytes_spell(&byte, 1, symbol), &byte, 1, true);
    }
    if (status == CT_OK)
        status = ct_tokenizer_set_part(
            tokenizer, "pre_tokenizer",
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}");
    if (status == CT_OK)
        status = ct_tokenizer_set_part(
            tokenizer, "decoder",
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}");
    if (status == CT_OK) status = ct_tokenizer_set_part(tokenizer, "model", CT_BPE_MODEL);
    if (status == CT_OK) status = ct_tokenizer_finish_added(tokenizer);
    if (status == CT_OK) {
        tokenizer->scanner = &ct_scanner_bytes;
        tokenizer->plain_decoder = true;
        return tokenizer;
    }
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

ct_tokenizer *ct_tokenizer_from_kind(ct_context *context, const char *kind) {
    if (strcmp(kind, "bytes") == 0) return make_bytes(context);
    ct_fail(context, CT_ERROR_ARGUMENT,
            "tokenizer \"%s\": expected \"bytes\" (characters and bpe are trained on text or loaded from a "
            "folder)",
            kind);
    return NULL;
}

const char *ct_tokenizer_kind(const ct_tokenizer *tokenizer) {
    return tokenizer->kind->name;
}
int32_t ct_tokenizer_size(const ct_tokenizer *tokenizer) {
    return tokenizer->size;
}

const char *ct_tokenizer_token(const ct_tokenizer *tokenizer, int32_t id, size_t *length) {
    bool known = id >= 0 && id < tokenizer->size && tokenizer->tokens[id].symbol;
    if (length) *length = known ? tokenizer->tokens[id].length : 0;
    return known ? tokenizer->tokens[id].bytes : "";
}

const char *ct_tokenizer_symbol(const ct_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->size ? tokenizer->tokens[id].symbol : NULL;
}

int32_t ct_tokenizer_find(const ct_tokenizer *tokenizer, const char *symbol) {
    return ct_names_get(&tokenizer->symbols, symbol, strlen(symbol));
}

bool ct_tokenizer_is_special(const ct_tokenizer *tokenizer, int32_t id) {
    return id >= 0 && id < tokenizer->size && tokenizer->tokens[id].special;
}

int32_t ct_tokenizer_role(const ct_tokenizer *tokenizer, const char *role) {
    for (int i = 0; i < CT_ROLES; i++)
        if (strcmp(role, ct_role_names[i]) == 0) return tokenizer->roles[i];
    return -1;
}

uint64_t ct_tokenizer_fingerprint(const ct_tokenizer *tokenizer) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int32_t id = 0; id < tokenizer->size; id++) {
        const ct_token *token = &tokenizer->tokens[id];
        uint64_t own = token->symbol ? ct_hash_bytes(token->symbol, token->symbol_length) : 0;
        hash = (hash ^ own ^ (uint64_t)id) * 0x100000001b3u;
        hash ^= hash >> 32;
    }
    return hash;
}

ct_status ct_tokenizer_make_trie(ct_tokenizer *tokenizer,
                                 bool (*hidden)(const ct_tokenizer *tokenizer, int32_t id)) {
    ct_context *context = tokenizer->context;
    ct_trie_entry *entries =
        ct_alloc(context, ((size_t)tokenizer->size + 1) * sizeof *entries, CT_MEMORY_WORKSPACE);
    size_t count = 0;
    if (!entries) return ct_context_status(context);
    for (int32_t id = 0; id < tokenizer->size; id++) {
        const ct_token *token = &tokenizer->tokens[id];
        if (token->symbol && token->in_model && !(hidden && hidden(tokenizer, id)))
            entries[count++] = (ct_trie_entry){token->symbol, token->symbol_length, id};
    }
    ct_status status = ct_trie_build(context, &tokenizer->trie, entries, count);
    ct_free(context, entries);
    return status;
}
