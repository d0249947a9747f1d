/* tokenizer_config.c - the files beside a tokenizer, and the roles that they give: tokenizer_config.json,
 * special_tokens_map.json, generation_config.json, config.json, in this order. */
#include "carat/format.h"
#include "format/tokenizer_parts.h"
#include <string.h>

ct_status ct_tokenizer_read_beside(ct_context *context, const char *folder, const char *name,
                                   ct_value **value) {
    *value = NULL;
    char *path = ct_path_join(context, folder, name);
    if (path && ct_file_exists(path)) *value = ct_json_read(context, path);
    ct_free(context, path);
    return ct_context_status(context);
}

/* "bos_token": "<s>" or {"content": "<s>", ...}; NULL if there is none. */
static const char *role_token(const ct_value *map, const char *role) {
    char key[16];
    snprintf(key, sizeof key, "%s_token", role);
    const ct_value *value = ct_value_get(map, key);
    if (ct_value_kind_of(value) == CT_VALUE_MAP) value = ct_value_get(value, "content");
    return ct_value_as_string(value, NULL);
}

/* "bos_token_id": 1 or [1, 2], of which the first counts; -1 if there is none. */
static int32_t role_id(const ct_tokenizer *tokenizer, const ct_value *map, const char *role) {
    char key[16];
    snprintf(key, sizeof key, "%s_token_id", role);
    const ct_value *value = ct_value_get(map, key);
    if (ct_value_kind_of(value) == CT_VALUE_LIST) value = ct_value_at(value, 0);
    int64_t id = ct_value_as_int(value, -1);
    return id >= 0 && id < tokenizer->size && tokenizer->tokens[id].symbol ? (int32_t)id : -1;
}

static ct_status make_special(ct_tokenizer *tokenizer, int32_t id) {
    ct_token *token = &tokenizer->tokens[id];
    if (!token->added)
        return ct_tokenizer_add(tokenizer, token->symbol, token->symbol_length,
                                (ct_added_token){.id = id, .special = true});
    token->special = true;
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].id == id) tokenizer->added[i].special = true;
    return CT_OK;
}

static void take_tokens(ct_tokenizer *tokenizer, const ct_value *map, const char *file) {
    for (int i = 0; i < CT_ROLES; i++) {
        const char *symbol = role_token(map, ct_role_names[i]);
        if (tokenizer->roles[i] >= 0 || !symbol) continue;
        tokenizer->roles[i] = ct_tokenizer_find(tokenizer, symbol);
        if (tokenizer->roles[i] < 0)
            ct_log_message(tokenizer->context, CT_LOG_WARNING,
                           "%s: the %s token \"%s\" is not in the tokenizer's vocabulary", file,
                           ct_role_names[i], symbol);
    }
}

static ct_status take_ids(ct_tokenizer *tokenizer, const char *folder, const char *name) {
    ct_value *map;
    ct_status status = ct_tokenizer_read_beside(tokenizer->context, folder, name, &map);
    if (status != CT_OK) return status;
    for (int i = 0; i < CT_ROLES; i++)
        if (tokenizer->roles[i] < 0) tokenizer->roles[i] = role_id(tokenizer, map, ct_role_names[i]);
    ct_value_free(map);
    return CT_OK;
}

ct_status ct_tokenizer_read_roles(ct_tokenizer *tokenizer, const char *folder, bool add) {
    ct_context *context = tokenizer->context;
    if (ct_tokenizer_read_beside(context, folder, "tokenizer_config.json", &tokenizer->config) != CT_OK ||
        ct_tokenizer_read_beside(context, folder, "special_tokens_map.json", &tokenizer->special_map) !=
            CT_OK)
        return ct_context_status(context);
    take_tokens(tokenizer, tokenizer->config, "tokenizer_config.json");
    take_tokens(tokenizer, tokenizer->special_map, "special_tokens_map.json");
    ct_status status = take_ids(tokenizer, folder, "generation_config.json");
    if (status == CT_OK) status = take_ids(tokenizer, folder, "config.json");
    for (int i = 0; i < CT_ROLES && add && status == CT_OK; i++)
        if (tokenizer->roles[i] >= 0) status = make_special(tokenizer, tokenizer->roles[i]);
    if (status == CT_OK && add && tokenizer->scores) status = ct_unigram_make_trie(tokenizer);
    return status == CT_OK ? ct_tokenizer_finish_added(tokenizer) : status;
}

static ct_status name_role(ct_context *context, ct_value **map, const char *role, const char *symbol) {
    char key[16];
    snprintf(key, sizeof key, "%s_token", role);
    if (!*map) *map = ct_value_map(context);
    return *map ? ct_value_set(*map, key, ct_value_string(context, symbol)) : ct_context_status(context);
}

ct_status ct_tokenizer_set_role(ct_tokenizer *tokenizer, const char *role, const char *symbol) {
    ct_context *context = tokenizer->context;
    int which = 0;
    while (which < CT_ROLES && strcmp(role, ct_role_names[which]) != 0)
        which++;
    if (which == CT_ROLES)
        return ct_fail(context, CT_ERROR_ARGUMENT, "tokenizer role \"%s\": expected bos, eos, pad or unk",
                       role);
    int32_t id = ct_tokenizer_find(tokenizer, symbol);
    if (id < 0)
        return ct_fail(context, CT_ERROR_NOT_FOUND,
                       "the tokenizer's vocabulary has no token \"%s\" for the role %s", symbol, role);
    ct_status status = make_special(tokenizer, id);
    if (status == CT_OK) status = name_role(context, &tokenizer->special_map, role, symbol);
    if (status == CT_OK && tokenizer->config) status = name_role(context, &tokenizer->config, role, symbol);
    if (status != CT_OK) return status;
    tokenizer->roles[which] = id;
    if (tokenizer->scores && ct_unigram_make_trie(tokenizer) != CT_OK) return ct_context_status(context);
    return ct_tokenizer_finish_added(tokenizer);
}
