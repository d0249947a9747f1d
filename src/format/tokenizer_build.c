/* tokenizer_build.c - makes a tokenizer of what tokenizer.json says. Whatever would change ids and is not
 * known here is refused by its name. */
#include "carat/format.h"
#include "format/pretokenize.h"
#include "format/tokenizer_file.h"
#include "format/utf8.h"
#include <string.h>

enum { AHEAD = 8 }; /* entries to prefetch */

static const char *type_of(const ct_value *part) {
    return ct_value_as_string(ct_value_get(part, "type"), "");
}

static bool is_null(const ct_value *value) {
    return ct_value_kind_of(value) == CT_VALUE_NULL;
}

static ct_status refuse(const ct_tokenizer_file *file, const char *what, const char *name) {
    return ct_fail(file->context, CT_ERROR_UNSUPPORTED, "%s: the %s \"%.160s\" is not supported", file->path,
                   what, name);
}

/* --------------------------------------------------------------------------------- vocabulary, merges -----
 */

static ct_status put_vocabulary(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, bool byte_level) {
    /* ids may have gaps, but not so many that a small file takes much memory */
    int64_t most = (int64_t)file->vocabulary_count * 4 + 65536;
    ct_status status = ct_names_reserve(file->context, &tokenizer->symbols, file->vocabulary_count + 64);
    for (size_t i = 0; i < file->vocabulary_count && status == CT_OK; i++) {
        const ct_vocabulary_entry *entry = &file->vocabulary[i];
        if (i + AHEAD < file->vocabulary_count)
            ct_names_prefetch(&tokenizer->symbols, entry[AHEAD].symbol, entry[AHEAD].length);
        if (entry->id < 0 || entry->id >= most)
            return ct_fail(file->context, CT_ERROR_FORMAT,
                           "%s: token \"%.60s\" has the id %lld, expected 0 to %lld for a vocabulary of %zu",
                           file->path, entry->symbol, (long long)entry->id, (long long)most - 1,
                           file->vocabulary_count);
        if (byte_level)
            status = ct_tokenizer_put_byte_level(tokenizer, (int32_t)entry->id, entry->symbol, entry->length);
        else
            status =
                ct_tokenizer_put(tokenizer, (int32_t)entry->id, entry->symbol, entry->length, NULL, 0, true);
    }
    return status;
}

/* The id of left and right written together. Vocabularies list what merges make in the order of the merges,
 * so the `guess`, the id after that of the merge before, is nearly always right. */
static int32_t joined(const ct_tokenizer *tokenizer, const ct_merge_entry *merge, int32_t guess,
                      ct_bytes *buffer) {
    const ct_token *token = guess >= 0 && guess < tokenizer->size ? &tokenizer->tokens[guess] : NULL;
    if (token && token->symbol && token->symbol_length == merge->left_length + merge->right_length &&
        memcmp(token->symbol, merge->left, merge->left_length) == 0 &&
        memcmp(token->symbol + merge->left_length, merge->right, merge->right_length) == 0)
        return guess;
    buffer->length = 0;
    if (ct_bytes_append(tokenizer->context, buffer, merge->left, merge->left_length) != CT_OK ||
        ct_bytes_append(tokenizer->context, buffer, merge->right, merge->right_length) != CT_OK)
        return -1;
    return ct_names_get(&tokenizer->symbols, buffer->data, buffer->length);
}

static ct_status put_merges(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_bytes buffer = {0};
    ct_status status = CT_OK;
    int32_t result = -1;
    for (size_t i = 0; i < file->merge_count && status == CT_OK; i++) {
        const ct_merge_entry *merge = &file->merges[i];
        if (i + AHEAD < file->merge_count) {
            ct_names_prefetch(&tokenizer->symbols, merge[AHEAD].left, merge[AHEAD].left_length);
            ct_names_prefetch(&tokenizer->symbols, merge[AHEAD].right, merge[AHEAD].right_length);
        }
        int32_t left = ct_names_get(&tokenizer->symbols, merge->left, merge->left_length);
        int32_t right = ct_names_get(&tokenizer->symbols, merge->right, merge->right_length);
        result = joined(tokenizer, merge, result + 1, &buffer);
        if (left >= 0 && right >= 0 && result >= 0)
            status = ct_bpe_add_merge(tokenizer, left, right, result);
        else
            status = ct_fail(file->context, CT_ERROR_FORMAT,
                             "%s: merge %zu (\"%.*s\" and \"%.*s\"): the vocabulary lacks %s", file->path, i,
                             merge->left_length < 60 ? (int)merge->left_length : 60, merge->left,
                             merge->right_length < 60 ? (int)merge->right_length : 60, merge->right,
                             left < 0    ? "the first"
                             : right < 0 ? "the second"
                                         : "what they make");
    }
    ct_bytes_free(file->context, &buffer);
    return status;
}

ct_status ct_tokenizer_build_added(ct_tokenizer *tokenizer, const char *path, const ct_value *list) {
    ct_status status = CT_OK;
    int64_t most = ((int64_t)tokenizer->size + (int64_t)ct_value_count(list)) * 4 + 65536;
    if (is_null(list)) return CT_OK;
    for (size_t i = 0; i < ct_value_count(list) && status == CT_OK; i++) {
        const ct_value *item = ct_value_at(list, i), *content = ct_value_get(item, "content");
        int64_t id = ct_value_as_int(ct_value_get(item, "id"), -1);
        bool special = ct_value_as_bool(ct_value_get(item, "special"), false);
        if (ct_value_kind_of(content) != CT_VALUE_STRING ||
            memchr(ct_value_as_string(content, ""), 0, ct_value_string_length(content)) || id < 0 ||
            id > most)
            return ct_fail(tokenizer->context, CT_ERROR_FORMAT,
                           "%s: added token %zu needs a content and an id near the vocabulary's %d", path, i,
                           tokenizer->size);
        ct_added_token added = {.id = (int32_t)id,
                                .single_word = ct_value_as_bool(ct_value_get(item, "single_word"), false),
                                .lstrip = ct_value_as_bool(ct_value_get(item, "lstrip"), false),
                                .rstrip = ct_value_as_bool(ct_value_get(item, "rstrip"), false),
                                .normalized = ct_value_as_bool(ct_value_get(item, "normalized"), !special),
                                .special = special};
        status = ct_tokenizer_add(tokenizer, ct_value_as_string(content, ""), ct_value_string_length(content),
                                  added);
    }
    return status;
}

/* ------------------------------------------------------------------------------------- pre-tokenizers -----
 */

static ct_status byte_level_part(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, const ct_value *part,
                                 bool split_before) {
    tokenizer->bpe.add_prefix_space = ct_value_as_bool(ct_value_get(part, "add_prefix_space"), true);
    bool pattern = ct_value_as_bool(ct_value_get(part, "use_regex"), true);
    if (pattern && split_before) return refuse(file, "pre-tokenizer", "ByteLevel with use_regex after Split");
    if (tokenizer->bpe.add_prefix_space && split_before)
        return refuse(file, "pre-tokenizer", "ByteLevel with add_prefix_space after Split");
    tokenizer->bpe.whole_pieces = !pattern && !split_before;
    return CT_OK;
}

/* Split by GPT-2's own pattern, the only one known here. */
static ct_status split_part(const ct_tokenizer_file *file, const ct_value *part) {
    const char *pattern = ct_value_as_string(ct_value_get_path(part, "pattern.Regex"), NULL);
    const char *behavior = ct_value_as_string(ct_value_get(part, "behavior"), "");
    if (!pattern) return refuse(file, "pre-tokenizer", "Split by a text");
    if (strcmp(pattern, CT_GPT2_PATTERN) != 0)
        return refuse(file, "pre-tokenizer Split with the pattern", pattern);
    if (strcmp(behavior, "Isolated") != 0 || ct_value_as_bool(ct_value_get(part, "invert"), false))
        return refuse(file, "pre-tokenizer Split with the behavior", behavior);
    return CT_OK;
}

static ct_status bpe_pre_tokenizer(const ct_tokenizer_file *file, ct_tokenizer *tokenizer,
                                   const ct_value *part) {
    if (strcmp(type_of(part), "ByteLevel") == 0) return byte_level_part(file, tokenizer, part, false);
    if (strcmp(type_of(part), "Sequence") != 0)
        return refuse(file, "pre-tokenizer", is_null(part) ? "null" : type_of(part));
    const ct_value *list = ct_value_get(part, "pretokenizers");
    bool split = false, byte_level = false;
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *item = ct_value_at(list, i);
        ct_status status;
        if (strcmp(type_of(item), "Split") == 0 && !split && !byte_level)
            status = split_part(file, item), split = true;
        else if (strcmp(type_of(item), "ByteLevel") == 0 && !byte_level)
            status = byte_level_part(file, tokenizer, item, split), byte_level = true;
        else
            status = refuse(file, "pre-tokenizer in a sequence", type_of(item));
        if (status != CT_OK) return status;
    }
    return byte_level ? CT_OK : refuse(file, "pre-tokenizer", "Sequence without ByteLevel");
}

/* ------------------------------------------------------------------------------------- post-processor -----
 */

static ct_status add_template_id(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, ct_ids *ids,
                                 int64_t id) {
    if (id < 0 || id >= tokenizer->size || !tokenizer->tokens[id].symbol)
        return ct_fail(file->context, CT_ERROR_FORMAT,
                       "%s: the post-processor has the id %lld, which is no token", file->path,
                       (long long)id);
    return ct_ids_push(file->context, ids, (int32_t)id);
}

/* "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}], with the ids in "special_tokens".
 */
static ct_status template_part(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, const ct_value *part) {
    const ct_value *single = ct_value_get(part, "single"), *table = ct_value_get(part, "special_tokens");
    ct_ids *side = &tokenizer->prefix;
    for (size_t i = 0; i < ct_value_count(single); i++) {
        const ct_value *piece = ct_value_at(single, i);
        if (ct_value_get(piece, "Sequence")) {
            if (side == &tokenizer->suffix)
                return refuse(file, "post-processor", "TemplateProcessing with the text twice");
            side = &tokenizer->suffix;
            continue;
        }
        const ct_value *special = ct_value_get(piece, "SpecialToken");
        const ct_value *ids =
            ct_value_get(ct_value_get(table, ct_value_as_string(ct_value_get(special, "id"), "")), "ids");
        if (ct_value_kind_of(ids) != CT_VALUE_LIST)
            return ct_fail(file->context, CT_ERROR_FORMAT,
                           "%s: the post-processor's template names a token without ids", file->path);
        for (size_t j = 0; j < ct_value_count(ids); j++) {
            ct_status status =
                add_template_id(file, tokenizer, side, ct_value_as_int(ct_value_at(ids, j), -1));
            if (status != CT_OK) return status;
        }
    }
    return side == &tokenizer->suffix ? CT_OK
                                      : refuse(file, "post-processor", "TemplateProcessing without the text");
}

static ct_status post_processor(const ct_tokenizer_file *file, ct_tokenizer *tokenizer,
                                const ct_value *part) {
    const char *type = type_of(part);
    if (is_null(part) || strcmp(type, "ByteLevel") == 0) return CT_OK; /* ByteLevel only trims offsets */
    if (strcmp(type, "TemplateProcessing") == 0) return template_part(file, tokenizer, part);
    if (strcmp(type, "RobertaProcessing") == 0) {
        ct_status status = add_template_id(file, tokenizer, &tokenizer->prefix,
                                           ct_value_as_int(ct_value_at(ct_value_get(part, "cls"), 1), -1));
        return status == CT_OK
                   ? add_template_id(file, tokenizer, &tokenizer->suffix,
                                     ct_value_as_int(ct_value_at(ct_value_get(part, "sep"), 1), -1))
                   : status;
    }
    if (strcmp(type, "Sequence") != 0) return refuse(file, "post-processor", type);
    const ct_value *list = ct_value_get(part, "processors");
    int templates = 0;
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *item = ct_value_at(list, i);
        bool plain = strcmp(type_of(item), "ByteLevel") == 0;
        if (strcmp(type_of(item), "Sequence") == 0 || (!plain && templates++))
            return refuse(file, "post-processor in a sequence", type_of(item));
        ct_status status = post_processor(file, tokenizer, item);
        if (status != CT_OK) return status;
    }
    return CT_OK;
}

/* --------------------------------------------------------------------------------------------- models -----
 */

/* Model keys that change ids must have the value that means "off". */
static ct_status check_model_keys(const ct_tokenizer_file *file, const char *const *known) {
    for (size_t i = 0; i < ct_value_count(file->model); i++) {
        const char *key = ct_value_key(file->model, i);
        const ct_value *value = ct_value_at(file->model, i);
        bool is_known = false;
        for (size_t j = 0; known[j]; j++)
            is_known |= strcmp(key, known[j]) == 0;
        if (is_known) continue;
        bool off_by_default = strcmp(key, "dropout") == 0 || strcmp(key, "continuing_subword_prefix") == 0 ||
                              strcmp(key, "end_of_word_suffix") == 0 || strcmp(key, "byte_fallback") == 0;
        bool off = is_null(value) ||
                   (ct_value_kind_of(value) == CT_VALUE_BOOL && !ct_value_as_bool(value, true)) ||
                   (ct_value_kind_of(value) == CT_VALUE_STRING && ct_value_string_length(value) == 0) ||
                   ((ct_value_kind_of(value) == CT_VALUE_REAL || ct_value_kind_of(value) == CT_VALUE_INT) &&
                    ct_value_as_real(value, 1) == 0);
        if (!off_by_default || !off) return refuse(file, "model's key", key);
    }
    return CT_OK;
}

/* The id of the model's unknown token, -1 without one. */
static ct_status unknown_token(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, bool required) {
    const ct_value *token = ct_value_get(file->model, "unk_token");
    if (is_null(token)) return CT_OK;
    tokenizer->bpe.unknown =
        ct_names_get(&tokenizer->symbols, ct_value_as_string(token, ""), ct_value_string_length(token));
    if (tokenizer->bpe.unknown >= 0 || !required) return CT_OK;
    return ct_fail(file->context, CT_ERROR_FORMAT, "%s: the unknown token \"%.60s\" is not in the vocabulary",
                   file->path, ct_value_as_string(token, ""));
}

static bool is_byte_table(const ct_tokenizer *tokenizer) {
    if (tokenizer->bpe.merge_count || tokenizer->bpe.ignore_merges || tokenizer->bpe.add_prefix_space)
        return false;
    for (int i = 0; i < 256; i++)
        if (tokenizer->bpe.byte_ids[i] != i) return false;
    for (int32_t id = 256; id < tokenizer->size; id++)
        if (tokenizer->tokens[id].in_model) return false;
    return true;
}

static ct_status build_bpe(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    static const char *const known[] = {"type", "unk_token", "fuse_unk", "ignore_merges", NULL};
    const ct_value *decoder = ct_value_get(file->parts, "decoder");
    ct_status status = check_model_keys(file, known);
    if (status == CT_OK)
        status = bpe_pre_tokenizer(file, tokenizer, ct_value_get(file->parts, "pre_tokenizer"));
    if (status == CT_OK && strcmp(type_of(decoder), "ByteLevel") != 0)
        status = refuse(file, "decoder", is_null(decoder) ? "null" : type_of(decoder));
    tokenizer->bpe.ignore_merges = ct_value_as_bool(ct_value_get(file->model, "ignore_merges"), false);
    tokenizer->bpe.fuse_unknown = ct_value_as_bool(ct_value_get(file->model, "fuse_unk"), false);
    if (status == CT_OK) status = put_vocabulary(file, tokenizer, true);
    if (status == CT_OK) status = put_merges(file, tokenizer);
    if (status == CT_OK) status = ct_bpe_finish(tokenizer);
    if (status == CT_OK && is_byte_table(tokenizer)) tokenizer->kind = &ct_tokenizer_method_bytes;
    return status;
}

/* The form that ct_tokenizer_save gives a character tokenizer. */
static ct_status build_characters(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    static const char *const known[] = {"type", "unk_token", NULL};
    const ct_value *splitter = ct_value_get(file->parts, "pre_tokenizer"),
                   *decoder = ct_value_get(file->parts, "decoder");
    const char *pattern = ct_value_as_string(ct_value_get_path(splitter, "pattern.Regex"), "");
    ct_status status = check_model_keys(file, known);
    if (status != CT_OK) return status;
    if (strcmp(type_of(splitter), "Split") != 0 || strcmp(pattern, "[\\s\\S]") != 0 ||
        strcmp(ct_value_as_string(ct_value_get(splitter, "behavior"), ""), "Isolated") != 0)
        return refuse(file, "pre-tokenizer of a WordLevel model",
                      is_null(splitter) ? "null"
                      : *pattern        ? pattern
                                        : type_of(splitter));
    if (strcmp(type_of(decoder), "Fuse") != 0)
        return refuse(file, "decoder", is_null(decoder) ? "null" : type_of(decoder));
    return put_vocabulary(file, tokenizer, false);
}

static ct_status build_rest(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    static const char *const kept[] = {"truncation", "padding", "pre_tokenizer", "post_processor", "decoder"};
    ct_status status =
        ct_tokenizer_build_added(tokenizer, file->path, ct_value_get(file->parts, "added_tokens"));
    if (status == CT_OK)
        status = unknown_token(file, tokenizer, tokenizer->kind != &ct_tokenizer_method_characters);
    if (status == CT_OK)
        status = post_processor(file, tokenizer, ct_value_get(file->parts, "post_processor"));
    if (status == CT_OK) status = ct_tokenizer_finish_added(tokenizer);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0] && status == CT_OK; i++) {
        const ct_value *part = ct_value_get(file->parts, kept[i]);
        if (part) status = ct_value_set(tokenizer->parts, kept[i], ct_value_copy(part));
    }
    return status;
}

ct_tokenizer *ct_tokenizer_build(ct_tokenizer_file *file) {
    const char *type = ct_value_as_string(ct_value_get(file->model, "type"), file->merge_count ? "BPE" : "");
    const ct_value *normalizer = ct_value_get(file->parts, "normalizer");
    bool bpe = strcmp(type, "BPE") == 0;
    if (!bpe && strcmp(type, "WordLevel") != 0) {
        refuse(file, "model", type);
        return NULL;
    }
    if (!is_null(normalizer)) {
        refuse(file, "normalizer", type_of(normalizer));
        return NULL;
    }
    ct_tokenizer *tokenizer =
        ct_tokenizer_make(file->context, bpe ? &ct_tokenizer_method_bpe : &ct_tokenizer_method_characters);
    ct_status status = tokenizer ? CT_OK : ct_context_status(file->context);
    if (status == CT_OK) status = bpe ? build_bpe(file, tokenizer) : build_characters(file, tokenizer);
    if (status == CT_OK) status = build_rest(file, tokenizer);
    if (status == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}
