/* tokenizer_build.c - makes a tokenizer of what tokenizer.json says. Whatever would change ids and is not
 * known here is refused by its name. */
#include "carat/format.h"
#include "format/tokenizer_file.h"
#include <string.h>

enum { AHEAD = 8 }; /* entries to prefetch */

static bool is_null(const ct_value *value) {
    return ct_value_kind_of(value) == CT_VALUE_NULL;
}

static ct_status refuse(const ct_tokenizer_file *file, const char *what, const char *name) {
    return ct_fail(file->context, CT_ERROR_UNSUPPORTED, "%s: the %s \"%.160s\" is not supported", file->path,
                   what, name);
}

/* ------------------------------------------------------------------------------------- vocabulary, merges */

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

/* The id of left and right written together, the right one without the prefix of characters within a word.
 * Vocabularies list what merges make in the order of the merges,
 * so the `guess`, the id after that of the merge before, is nearly always right. */
static int32_t joined(const ct_tokenizer *tokenizer, const ct_merge_entry *entry, int32_t guess,
                      ct_bytes *buffer) {
    ct_merge_entry without = *entry, *merge = &without;
    size_t prefix = tokenizer->bpe.prefix.length;
    if (prefix > merge->right_length) return -1;
    merge->right += prefix;
    merge->right_length -= prefix;
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

/* ------------------------------------------------------------------------------------------------- models */

/* Words of a text with blanks between them. */
static bool is_listed(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; length && (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == '\0' || at[length] == ' ')) return true;
    return false;
}

/* Unknown keys of the model are refused by name, unless they say null. */
static ct_status check_model_keys(const ct_tokenizer_file *file, const char *known) {
    for (size_t i = 0; i < ct_value_count(file->model); i++) {
        const char *key = ct_value_key(file->model, i);
        if (!is_listed(known, key) && !is_null(ct_value_at(file->model, i)))
            return refuse(file, "model's key", key);
    }
    return CT_OK;
}

static ct_status model_flag(const ct_tokenizer_file *file, const char *key, bool *flag) {
    return ct_step_bool(file->context, file->model, file->path, key, false, flag);
}

/* A string or null; "" is null. It must not be so long that a marked character does not fit into a buffer. */
static ct_status model_text(const ct_tokenizer_file *file, const ct_tokenizer *tokenizer, const char *key,
                            ct_text *text) {
    *text = (ct_text){"", 0};
    if (is_null(ct_value_get(file->model, key))) return CT_OK;
    ct_status status = ct_step_text(file->context, tokenizer->model, file->path, key, text);
    if (status == CT_OK && text->length > 100)
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED,
                       "%s: \"%s\" has %zu bytes, at most 100 are supported", file->path, key, text->length);
    return status;
}

/* The id of the model's unknown token, -1 without one: then what is unknown is an error. */
static ct_status unknown_token(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_text text;
    if (is_null(ct_value_get(file->model, "unk_token"))) return CT_OK;
    ct_status status = ct_step_text(file->context, file->model, file->path, "unk_token", &text);
    if (status == CT_OK) tokenizer->unknown = ct_names_get(&tokenizer->symbols, text.data, text.length);
    return status;
}

/* A table of 256 bytes without merges needs no BPE. */
static bool is_byte_table(const ct_tokenizer *tokenizer) {
    if (tokenizer->bpe.merge_count || tokenizer->bpe.ignore_merges || tokenizer->bpe.add_prefix_space ||
        tokenizer->normalizer || !tokenizer->scanner || !tokenizer->plain_decoder)
        return false;
    for (int i = 0; i < 256; i++)
        if (tokenizer->bpe.byte_ids[i] != i) return false;
    for (int32_t id = 256; id < tokenizer->size; id++)
        if (tokenizer->tokens[id].in_model) return false;
    return true;
}

static ct_status read_bpe_keys(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_bpe *bpe = &tokenizer->bpe;
    const ct_value *dropout = ct_value_get(file->model, "dropout");
    ct_status status = check_model_keys(file, "type unk_token fuse_unk ignore_merges byte_fallback dropout "
                                              "continuing_subword_prefix end_of_word_suffix");
    if (status == CT_OK && !is_null(dropout) && ct_value_as_real(dropout, 1) != 0)
        status = refuse(file, "model's key", "dropout"); /* ids would be random */
    if (status == CT_OK) status = model_flag(file, "ignore_merges", &bpe->ignore_merges);
    if (status == CT_OK) status = model_flag(file, "fuse_unk", &bpe->fuse_unknown);
    if (status == CT_OK) status = model_flag(file, "byte_fallback", &tokenizer->byte_fallback);
    if (status == CT_OK) status = model_text(file, tokenizer, "continuing_subword_prefix", &bpe->prefix);
    if (status == CT_OK) status = model_text(file, tokenizer, "end_of_word_suffix", &bpe->suffix);
    if (status == CT_OK && tokenizer->byte_fallback && (bpe->prefix.length || bpe->suffix.length))
        status = refuse(file, "model's key", "byte_fallback with a prefix or suffix of characters");
    bpe->merges_as_text = file->merges_as_text;
    bpe->by_bytes = status == CT_OK && ct_tokenizer_is_byte_level(tokenizer);
    return status;
}

static ct_status build_bpe(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_status status = read_bpe_keys(file, tokenizer);
    if (status == CT_OK) status = put_vocabulary(file, tokenizer, tokenizer->bpe.by_bytes);
    if (status == CT_OK) status = put_merges(file, tokenizer);
    if (status == CT_OK) status = ct_bpe_finish(tokenizer);
    if (status != CT_OK || tokenizer->bpe.by_bytes) return status;
    ct_tokenizer_find_bytes(tokenizer);
    return ct_bpe_make_codes(tokenizer);
}

static ct_status build_wordpiece(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_status status =
        check_model_keys(file, "type unk_token continuing_subword_prefix max_input_chars_per_word");
    if (status == CT_OK) status = put_vocabulary(file, tokenizer, false);
    return status == CT_OK ? ct_wordpiece_finish(tokenizer, file->path) : status;
}

static ct_status build_wordlevel(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    ct_status status = check_model_keys(file, "type unk_token");
    return status == CT_OK ? put_vocabulary(file, tokenizer, false) : status;
}

static ct_status build_unigram(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    bool fallback;
    ct_status status = check_model_keys(file, "type unk_id byte_fallback");
    if (status == CT_OK) status = model_flag(file, "byte_fallback", &fallback);
    if (status == CT_OK) status = put_vocabulary(file, tokenizer, false);
    if (status != CT_OK) return status;
    tokenizer->scores =
        ct_alloc(file->context, (file->vocabulary_count + 1) * sizeof *tokenizer->scores, CT_MEMORY_OTHER);
    if (!tokenizer->scores) return ct_context_status(file->context);
    for (size_t i = 0; i < file->vocabulary_count; i++)
        tokenizer->scores[i] = file->vocabulary[i].score;
    tokenizer->hides_bytes = file->hides_bytes;
    return ct_unigram_finish(tokenizer, file->path);
}

typedef struct model_kind {
    const char *name;
    const ct_tokenizer_method *method;
    ct_status (*build)(const ct_tokenizer_file *file, ct_tokenizer *tokenizer);
} model_kind;

static const model_kind model_kinds[] = {{"BPE", &ct_tokenizer_method_bpe, build_bpe},
                                         {"WordPiece", &ct_tokenizer_method_wordpiece, build_wordpiece},
                                         {"WordLevel", &ct_tokenizer_method_wordlevel, build_wordlevel},
                                         {"Unigram", &ct_tokenizer_method_unigram, build_unigram}};

/* Files of old versions name no type. */
static const char *model_type(const ct_tokenizer_file *file) {
    const char *otherwise = "";
    if (file->merge_count)
        otherwise = "BPE";
    else if (file->scored)
        otherwise = "Unigram";
    else if (ct_value_get(file->model, "max_input_chars_per_word"))
        otherwise = "WordPiece";
    return ct_value_as_string(ct_value_get(file->model, "type"), otherwise);
}

static ct_status keep_parts(const ct_tokenizer_file *file, ct_tokenizer *tokenizer) {
    static const char *const kept[] = {"version",       "truncation",     "padding", "normalizer",
                                       "pre_tokenizer", "post_processor", "decoder"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const ct_value *part = ct_value_get(file->parts, kept[i]);
        if (part && ct_value_set(tokenizer->parts, kept[i], ct_value_copy(part)) != CT_OK) break;
    }
    tokenizer->model = ct_value_copy(file->model);
    return ct_context_status(file->context);
}

static ct_status build_all(const ct_tokenizer_file *file, ct_tokenizer *tokenizer, const model_kind *model) {
    ct_status status = keep_parts(file, tokenizer);
    if (status == CT_OK && !ct_value_get(tokenizer->model, "type"))
        status = ct_value_set(tokenizer->model, "type", ct_value_string(file->context, model->name));
    if (status == CT_OK) status = ct_tokenizer_read_steps(tokenizer, file->path);
    if (status == CT_OK) status = model->build(file, tokenizer);
    if (status == CT_OK) status = ct_tokenizer_choose_way(tokenizer, file->path);
    if (status == CT_OK && tokenizer->kind == &ct_tokenizer_method_bpe && is_byte_table(tokenizer)) {
        tokenizer->kind = &ct_tokenizer_method_bytes;
        tokenizer->scanner = &ct_scanner_bytes;
    }
    if (status == CT_OK)
        status = ct_tokenizer_build_added(tokenizer, file->path, ct_value_get(file->parts, "added_tokens"));
    if (status == CT_OK) status = unknown_token(file, tokenizer);
    if (status == CT_OK) status = ct_tokenizer_read_template(tokenizer, file->path);
    if (status == CT_OK && tokenizer->scores) status = ct_unigram_make_trie(tokenizer);
    if (status == CT_OK) status = ct_tokenizer_finish_added(tokenizer);
    return status == CT_OK && !tokenizer->plain_decoder ? ct_tokenizer_spell_out(tokenizer) : status;
}

ct_tokenizer *ct_tokenizer_build(ct_tokenizer_file *file) {
    const char *type = model_type(file);
    const model_kind *model = NULL;
    for (size_t i = 0; i < sizeof model_kinds / sizeof model_kinds[0]; i++)
        if (strcmp(type, model_kinds[i].name) == 0) model = &model_kinds[i];
    if (!model) {
        refuse(file, "model", type);
        return NULL;
    }
    if (file->scored != (model->method == &ct_tokenizer_method_unigram)) {
        ct_fail(file->context, CT_ERROR_FORMAT, "%s: the vocabulary of a %s model is a %s", file->path, type,
                file->scored ? "map from tokens to ids" : "list of tokens with scores");
        return NULL;
    }
    ct_tokenizer *tokenizer = ct_tokenizer_make(file->context, model->method);
    ct_status status = tokenizer ? build_all(file, tokenizer, model) : ct_context_status(file->context);
    if (status == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}
