/* tokenizer_load.c - finds and reads the files of a tokenizer. */
#include "base/ending.h"
#include "carat/format.h"
#include "format/sentencepiece.h"
#include "format/tokenizer_file.h"
#include <string.h>

#define FILE_LIMIT ((size_t)512 << 20)

typedef ct_status (*parser)(ct_tokenizer_file *file, const char *text, size_t length);

static ct_status read_with(ct_tokenizer_file *file, const char *path, parser parse) {
    size_t length = 0;
    char *text = ct_file_read(file->context, path, FILE_LIMIT, &length);
    if (!text) return ct_context_status(file->context);
    file->path = path;
    ct_status status = parse(file, text, length);
    ct_free(file->context, text);
    return status;
}

static ct_tokenizer_file begin_file(ct_context *context) {
    return (ct_tokenizer_file){
        .context = context, .path = "", .parts = ct_value_map(context), .model = ct_value_map(context)};
}

static ct_tokenizer *load_json(ct_context *context, const char *path, const char *folder) {
    ct_tokenizer_file file = begin_file(context);
    ct_tokenizer *tokenizer = NULL;
    if (!ct_failed(context) && read_with(&file, path, ct_tokenizer_file_parse) == CT_OK)
        tokenizer = ct_tokenizer_build(&file);
    ct_tokenizer_file_free(&file);
    if (!tokenizer || ct_tokenizer_read_roles(tokenizer, folder, false) == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

ct_tokenizer *ct_tokenizer_parse(ct_context *context, const char *json, size_t length, const char *name) {
    if (ct_failed(context)) return NULL;
    ct_tokenizer_file file = begin_file(context);
    ct_tokenizer *tokenizer = NULL;
    file.path = name;
    if (!ct_failed(context) && ct_tokenizer_file_parse(&file, json, length) == CT_OK)
        tokenizer = ct_tokenizer_build(&file);
    ct_tokenizer_file_free(&file);
    return tokenizer;
}

/* ------------------------------------------------------------------------------ vocab.json and merges.txt */

/* What tokenizer.json would say of a GPT-2 tokenizer. */
static ct_status set_gpt2_parts(ct_tokenizer_file *file, const ct_value *config) {
    ct_context *context = file->context;
    bool prefix = ct_value_as_bool(ct_value_get(config, "add_prefix_space"), false);
    static const char format[] =
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"trim_offsets\":true,\"use_regex\":true}";
    char text[128];
    snprintf(text, sizeof text, format, prefix ? "true" : "false");
    ct_value_free(file->model);
    file->model = ct_json_parse(context, CT_BPE_MODEL, strlen(CT_BPE_MODEL), "BPE");
    ct_value_set(file->parts, "pre_tokenizer", ct_json_parse(context, text, strlen(text), "ByteLevel"));
    snprintf(text, sizeof text, format, "true");
    ct_value_set(file->parts, "decoder", ct_json_parse(context, text, strlen(text), "ByteLevel"));
    return ct_context_status(context);
}

/* added_tokens.json, {"<pad>": 50257}, in the form of tokenizer.json's list. */
static ct_status add_plain_list(ct_tokenizer *tokenizer, const char *folder) {
    ct_context *context = tokenizer->context;
    ct_value *map, *list;
    ct_status status = ct_tokenizer_read_beside(context, folder, "added_tokens.json", &map);
    if (status != CT_OK || !map) return status;
    list = ct_value_list(context);
    for (size_t i = 0; list && i < ct_value_count(map); i++) {
        ct_value *item = ct_value_map(context);
        ct_value_set(item, "content", ct_value_string(context, ct_value_key(map, i)));
        ct_value_set(item, "id", ct_value_copy(ct_value_at(map, i)));
        if (ct_value_append(list, item) != CT_OK) break;
    }
    status = ct_context_status(context);
    if (status == CT_OK) status = ct_tokenizer_build_added(tokenizer, "added_tokens.json", list);
    ct_value_free(map);
    ct_value_free(list);
    return status;
}

/* tokenizer_config.json's "added_tokens_decoder", {"50257": {"content": "<pad>", ...}}; it wins over the
 * plain list. */
static ct_status add_decoder_list(ct_tokenizer *tokenizer, const ct_value *map) {
    ct_context *context = tokenizer->context;
    ct_value *list = ct_value_list(context);
    for (size_t i = 0; list && i < ct_value_count(map); i++) {
        ct_value *item = ct_value_copy(ct_value_at(map, i));
        ct_value *id = ct_value_parse_scalar(context, ct_value_key(map, i));
        if (ct_value_kind_of(item) != CT_VALUE_MAP || ct_value_kind_of(id) != CT_VALUE_INT) {
            ct_fail(context, CT_ERROR_FORMAT,
                    "tokenizer_config.json: added_tokens_decoder is no map from ids to tokens");
            ct_value_free(item);
            ct_value_free(id);
            break;
        }
        ct_value_set(item, "id", id);
        ct_value_append(list, item);
    }
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = ct_tokenizer_build_added(tokenizer, "tokenizer_config.json", list);
    ct_value_free(list);
    return status;
}

static ct_status add_listed(ct_tokenizer *tokenizer, const char *folder, const ct_value *config) {
    const ct_value *decoder = ct_value_get(config, "added_tokens_decoder");
    ct_status status = decoder ? add_decoder_list(tokenizer, decoder) : add_plain_list(tokenizer, folder);
    if (status == CT_OK) status = ct_tokenizer_read_roles(tokenizer, folder, true);
    int32_t end = ct_tokenizer_find(tokenizer, "<|endoftext|>");
    bool any = tokenizer->roles[CT_ROLE_BOS] >= 0 || tokenizer->roles[CT_ROLE_EOS] >= 0;
    if (status == CT_OK && end >= 0 && !any) { /* GPT-2's own defaults */
        status = ct_tokenizer_set_role(tokenizer, "bos", "<|endoftext|>");
        if (status == CT_OK) status = ct_tokenizer_set_role(tokenizer, "eos", "<|endoftext|>");
    }
    return status;
}

static ct_tokenizer *load_pair(ct_context *context, const char *folder, const char *vocabulary,
                               const char *merges) {
    ct_tokenizer_file file = begin_file(context);
    ct_value *config = NULL;
    ct_tokenizer *tokenizer = NULL;
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = ct_tokenizer_read_beside(context, folder, "tokenizer_config.json", &config);
    if (status == CT_OK) status = set_gpt2_parts(&file, config);
    if (status == CT_OK) status = read_with(&file, vocabulary, ct_tokenizer_file_parse_vocabulary);
    if (status == CT_OK) status = read_with(&file, merges, ct_tokenizer_file_parse_merges);
    if (status == CT_OK) tokenizer = ct_tokenizer_build(&file);
    if (tokenizer) status = add_listed(tokenizer, folder, config);
    ct_tokenizer_file_free(&file);
    ct_value_free(config);
    if (status == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

/* BERT's vocab.txt; its special tokens are those of the roles. */
static ct_tokenizer *load_lines(ct_context *context, const char *path, const char *folder) {
    ct_tokenizer_file file = begin_file(context);
    ct_tokenizer *tokenizer = NULL;
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = read_with(&file, path, ct_tokenizer_file_parse_lines);
    if (status == CT_OK) status = ct_tokenizer_file_set_bert_parts(&file, folder);
    if (status == CT_OK) tokenizer = ct_tokenizer_build(&file);
    ct_tokenizer_file_free(&file);
    if (!tokenizer || ct_tokenizer_read_roles(tokenizer, folder, true) == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

/* The roles that the files beside it leave open. */
static void take_roles(ct_tokenizer *tokenizer, const ct_sentencepiece *model) {
    const int64_t ids[CT_ROLES] = {[CT_ROLE_BOS] = model->bos,
                                   [CT_ROLE_EOS] = model->eos,
                                   [CT_ROLE_PAD] = -1,
                                   [CT_ROLE_UNK] = model->unk};
    for (int i = 0; i < CT_ROLES; i++)
        if (tokenizer->roles[i] < 0 && ids[i] >= 0 && ids[i] < tokenizer->size)
            tokenizer->roles[i] = (int32_t)ids[i];
}

/* SentencePiece's tokenizer.model. */
static ct_tokenizer *load_sentencepiece(ct_context *context, const char *path, const char *folder) {
    ct_tokenizer_file file = begin_file(context);
    ct_sentencepiece model = {0};
    ct_value *config = NULL;
    ct_tokenizer *tokenizer = NULL;
    size_t size = 0;
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = ct_tokenizer_read_beside(context, folder, "tokenizer_config.json", &config);
    char *data = status == CT_OK ? ct_file_read(context, path, FILE_LIMIT, &size) : NULL;
    file.path = path;
    if (data) status = ct_sentencepiece_read(&file, &model, data, size);
    if (data && status == CT_OK) status = ct_sentencepiece_set_parts(&file, &model, config);
    if (data && status == CT_OK) tokenizer = ct_tokenizer_build(&file);
    if (tokenizer) status = ct_tokenizer_read_roles(tokenizer, folder, true);
    if (tokenizer && status == CT_OK) take_roles(tokenizer, &model);
    ct_tokenizer_file_free(&file);
    ct_value_free(config);
    ct_free(context, model.types);
    ct_free(context, data);
    if (status == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ folders */

static ct_tokenizer *load_folder(ct_context *context, const char *folder) {
    char *json = ct_path_join(context, folder, "tokenizer.json"),
         *vocabulary = ct_path_join(context, folder, "vocab.json"),
         *merges = ct_path_join(context, folder, "merges.txt"),
         *lines = ct_path_join(context, folder, "vocab.txt"),
         *pieces = ct_path_join(context, folder, "tokenizer.model");
    ct_tokenizer *tokenizer = NULL;
    if (!ct_failed(context)) {
        if (ct_file_exists(json))
            tokenizer = load_json(context, json, folder);
        else if (ct_file_exists(vocabulary) && ct_file_exists(merges))
            tokenizer = load_pair(context, folder, vocabulary, merges);
        else if (ct_file_exists(pieces))
            tokenizer = load_sentencepiece(context, pieces, folder);
        else if (ct_file_exists(lines))
            tokenizer = load_lines(context, lines, folder);
        else
            ct_fail(
                context, CT_ERROR_NOT_FOUND,
                "%s: has neither tokenizer.json nor vocab.json and merges.txt, tokenizer.model or vocab.txt",
                folder);
    }
    ct_free(context, json);
    ct_free(context, vocabulary);
    ct_free(context, merges);
    ct_free(context, lines);
    ct_free(context, pieces);
    return tokenizer;
}

ct_tokenizer *ct_tokenizer_load(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    if (ct_folder_exists(path)) return load_folder(context, path);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? ct_format(context, "%.*s", slash == path ? 1 : (int)(slash - path), path)
                         : ct_strdup(context, ".");
    ct_tokenizer *tokenizer = NULL;
    if (folder && ct_ends_with(path, ".model"))
        tokenizer = load_sentencepiece(context, path, folder);
    else if (folder)
        tokenizer = (ct_ends_with(path, ".txt") ? load_lines : load_json)(context, path, folder);
    ct_free(context, folder);
    return tokenizer;
}
