/* vocabulary_read.c - tokenizer.json as far as GGUF needs it: tokens, merges, what kind it is. The vocabulary
 * is read as a stream, all else as trees. */
#include "convert/vocabulary.h"
#include "format/json_reader.h"
#include <string.h>

#define FILE_LIMIT ((size_t)1 << 29)
#define TOKEN_LIMIT (1 << 24)

const char *const ct_vocabulary_special_names[CT_SPECIALS] = {"bos", "eos", "unk", "sep",
                                                              "pad", "cls", "mask"};

ct_status ct_vocabulary_set(ct_vocabulary *vocabulary, const char *text, size_t length, int64_t number,
                            int type) {
    ct_context *context = vocabulary->context;
    if (number < 0 || number >= TOKEN_LIMIT)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: token \"%.*s\" has the number %lld, expected 0 to %d",
                       vocabulary->path, (int)(length < 60 ? length : 60), text, (long long)number,
                       TOKEN_LIMIT - 1);
    size_t place = (size_t)number;
    if (place >= vocabulary->capacity) {
        size_t capacity = place * 2 + 1024;
        ct_vocabulary_token *larger =
            ct_realloc(context, vocabulary->tokens, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        memset(larger + vocabulary->capacity, 0, (capacity - vocabulary->capacity) * sizeof *larger);
        vocabulary->tokens = larger;
        vocabulary->capacity = capacity;
    }
    ct_vocabulary_token *token = &vocabulary->tokens[place];
    if (token->text && (token->length != length || memcmp(token->text, text, length) != 0))
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: tokens \"%.60s\" and \"%.*s\" have both the number %lld", vocabulary->path,
                       token->text, (int)(length < 60 ? length : 60), text, (long long)number);
    token->type = type;
    if (place >= vocabulary->count) vocabulary->count = place + 1;
    if (token->text) return CT_OK;
    token->text = ct_arena_copy(context, &vocabulary->texts, text, length);
    token->length = (uint32_t)length;
    if (!token->text) return ct_context_status(context);
    if (ct_names_get(&vocabulary->names, token->text, length) >= 0)
        return CT_OK; /* the first of two equal texts */
    return ct_names_put(context, &vocabulary->names, token->text, length, (int32_t)number);
}

static ct_status read_vocab(ct_vocabulary *vocabulary, ct_json_reader *reader) {
    ct_json_event event = ct_json_next(reader);
    if (event == CT_JSON_ERROR) return ct_context_status(reader->context);
    if (event != CT_JSON_MAP_BEGIN)
        return ct_fail(reader->context, CT_ERROR_UNSUPPORTED,
                       "%s: the vocabulary is no map; a Unigram tokenizer has no translation to GGUF here",
                       vocabulary->path);
    ct_status status = CT_OK;
    while (!status && (event = ct_json_next(reader)) == CT_JSON_KEY) {
        char *text =
            ct_arena_copy(reader->context, &vocabulary->texts, reader->string, reader->string_length);
        size_t length = reader->string_length;
        if (!text) return ct_context_status(reader->context);
        event = ct_json_next(reader);
        if (event != CT_JSON_INT) {
            if (event != CT_JSON_ERROR) ct_json_fail(reader, "expected a token's number");
            return ct_context_status(reader->context);
        }
        status = ct_vocabulary_set(vocabulary, text, length, reader->integer, CT_TOKEN_NORMAL);
    }
    return event == CT_JSON_ERROR ? ct_context_status(reader->context) : status;
}

static ct_status add_merge(ct_vocabulary *vocabulary, const char *left, const char *right) {
    ct_context *context = vocabulary->context;
    if (vocabulary->merge_count == vocabulary->merge_capacity) {
        size_t capacity = vocabulary->merge_capacity * 2 + 1024;
        ct_vocabulary_merge *larger =
            ct_realloc(context, vocabulary->merges, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        vocabulary->merges = larger;
        vocabulary->merge_capacity = capacity;
    }
    vocabulary->merges[vocabulary->merge_count++] = (ct_vocabulary_merge){left, right};
    return CT_OK;
}

/* "a b" or ["a", "b"]. */
static ct_status read_merge(ct_vocabulary *vocabulary, ct_json_reader *reader, ct_json_event event) {
    const char *parts[2] = {NULL, NULL};
    if (event == CT_JSON_STRING) {
        char *text =
            ct_arena_copy(reader->context, &vocabulary->texts, reader->string, reader->string_length);
        if (!text) return ct_context_status(reader->context);
        char *blank = *text ? strchr(text + 1, ' ') : NULL;
        if (!blank) {
            ct_json_fail(reader, "expected two pieces with a blank between them");
            return ct_context_status(reader->context);
        }
        *blank = '\0';
        return add_merge(vocabulary, text, blank + 1);
    }
    for (int i = 0; i < 2; i++) {
        event = ct_json_next(reader);
        if (event == CT_JSON_STRING)
            parts[i] =
                ct_arena_copy(reader->context, &vocabulary->texts, reader->string, reader->string_length);
        else if (event != CT_JSON_ERROR)
            ct_json_fail(reader, "expected two pieces");
        if (!parts[i]) return ct_context_status(reader->context);
    }
    if (ct_json_next(reader) != CT_JSON_LIST_END) {
        if (!reader->failed) ct_json_fail(reader, "expected two pieces");
        return ct_context_status(reader->context);
    }
    return add_merge(vocabulary, parts[0], parts[1]);
}

static ct_status read_merges(ct_vocabulary *vocabulary, ct_json_reader *reader) {
    ct_json_event event = ct_json_next(reader);
    if (event == CT_JSON_NULL) return CT_OK;
    if (event != CT_JSON_LIST_BEGIN) {
        if (event != CT_JSON_ERROR) ct_json_fail(reader, "expected a list of merges");
        return ct_context_status(reader->context);
    }
    while ((event = ct_json_next(reader)) != CT_JSON_LIST_END) {
        if (event != CT_JSON_STRING && event != CT_JSON_LIST_BEGIN) {
            if (event != CT_JSON_ERROR) ct_json_fail(reader, "expected a merge");
            return ct_context_status(reader->context);
        }
        if (read_merge(vocabulary, reader, event)) return ct_context_status(reader->context);
    }
    return CT_OK;
}

static ct_status read_model(ct_vocabulary *vocabulary, ct_json_reader *reader) {
    ct_json_event event = ct_json_next(reader);
    if (event != CT_JSON_MAP_BEGIN) {
        if (event != CT_JSON_ERROR) ct_json_fail(reader, "expected a map");
        return ct_context_status(reader->context);
    }
    ct_status status = CT_OK;
    while (!status && (event = ct_json_next(reader)) == CT_JSON_KEY) {
        if (ct_json_is(reader, "vocab")) {
            status = read_vocab(vocabulary, reader);
        } else if (ct_json_is(reader, "merges")) {
            status = read_merges(vocabulary, reader);
        } else {
            bool type = ct_json_is(reader, "type"), ignore = ct_json_is(reader, "ignore_merges");
            bool fallback = ct_json_is(reader, "byte_fallback");
            event = ct_json_next(reader);
            if (type && event == CT_JSON_STRING)
                snprintf(vocabulary->model_type, sizeof vocabulary->model_type, "%.*s",
                         (int)(reader->string_length < 23 ? reader->string_length : 23), reader->string);
            else if (ignore && event == CT_JSON_BOOL)
                vocabulary->ignore_merges = reader->boolean;
            else if (fallback && event == CT_JSON_BOOL)
                vocabulary->byte_fallback = reader->boolean;
            else
                status = ct_json_skip(reader, event);
        }
    }
    return event == CT_JSON_ERROR ? ct_context_status(reader->context) : status;
}

static ct_status read_parts(ct_vocabulary *vocabulary, ct_json_reader *reader) {
    ct_json_event event = ct_json_next(reader);
    if (event != CT_JSON_MAP_BEGIN) {
        if (event != CT_JSON_ERROR) ct_json_fail(reader, "expected a map");
        return ct_context_status(reader->context);
    }
    while ((event = ct_json_next(reader)) == CT_JSON_KEY) {
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(reader->string_length < 63 ? reader->string_length : 63),
                 reader->string);
        if (strcmp(key, "model") == 0) {
            if (read_model(vocabulary, reader)) return ct_context_status(reader->context);
            continue;
        }
        event = ct_json_next(reader);
        ct_value *tree = event == CT_JSON_ERROR ? NULL : ct_json_tree(reader, event);
        if (!tree || ct_value_set(vocabulary->rest, key, tree)) return ct_context_status(reader->context);
    }
    if (event == CT_JSON_MAP_END) ct_json_next(reader);
    return ct_context_status(reader->context);
}

/* Added tokens get their types; those beyond the vocabulary extend it. */
static ct_status take_added(ct_vocabulary *vocabulary) {
    const ct_value *added = ct_value_get(vocabulary->rest, "added_tokens");
    ct_status status = CT_OK;
    for (size_t i = 0; !status && i < ct_value_count(added); i++) {
        const ct_value *token = ct_value_at(added, i), *content = ct_value_get(token, "content");
        const char *text = ct_value_as_string(content, "");
        bool special = ct_value_as_bool(ct_value_get(token, "special"), false);
        bool looks = (strncmp(text, "<|", 2) == 0 && strstr(text, "|>")) || strcmp(text, "<pad>") == 0 ||
                     strcmp(text, "<mask>") == 0 || strncmp(text, "<unused", 7) == 0;
        status = ct_vocabulary_set(vocabulary, text, ct_value_string_length(content),
                                   ct_value_as_int(ct_value_get(token, "id"), -1),
                                   special || looks ? CT_TOKEN_CONTROL : CT_TOKEN_USER_DEFINED);
    }
    return status;
}

/* Whether a part of the pipeline is or holds one of this type. */
static bool has_part(const ct_value *part, const char *type) {
    if (strcmp(ct_value_as_string(ct_value_get(part, "type"), ""), type) == 0) return true;
    static const char *const lists[] = {"pretokenizers", "normalizers", "decoders", "processors"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const ct_value *list = ct_value_get(part, lists[i]);
        for (size_t j = 0; j < ct_value_count(list); j++)
            if (has_part(ct_value_at(list, j), type)) return true;
    }
    return false;
}

static ct_status tell_kind(ct_vocabulary *vocabulary) {
    const ct_value *rest = vocabulary->rest;
    const char *type = vocabulary->model_type;
    bool bpe = strcmp(type, "BPE") == 0 || (!*type && vocabulary->merge_count);
    if (bpe && (has_part(ct_value_get(rest, "pre_tokenizer"), "ByteLevel") ||
                has_part(ct_value_get(rest, "decoder"), "ByteLevel"))) {
        vocabulary->kind = CT_VOCABULARY_BYTES;
    } else if (bpe && vocabulary->byte_fallback) {
        vocabulary->kind = CT_VOCABULARY_PIECES;
    } else if (strcmp(type, "WordPiece") == 0) {
        vocabulary->kind = CT_VOCABULARY_WORDS;
    } else {
        return ct_fail(
            vocabulary->context, CT_ERROR_UNSUPPORTED,
            "%s: a %s tokenizer%s has no translation to GGUF (byte-level BPE, BPE with byte fallback and "
            "WordPiece have)",
            vocabulary->path, *type ? type : "nameless", bpe ? " of neither bytes nor byte fallback" : "");
    }
    return CT_OK;
}

/* Room for all texts at once: growing the table while it fills would take most of the time. */
static ct_status read_text(ct_vocabulary *vocabulary) {
    size_t length;
    char *text = ct_file_read(vocabulary->context, vocabulary->path, FILE_LIMIT, &length);
    if (!text) return ct_context_status(vocabulary->context);
    ct_json_reader reader;
    ct_json_begin(&reader, vocabulary->context, text, length, vocabulary->path);
    ct_status status = read_parts(vocabulary, &reader);
    ct_json_release(&reader);
    ct_free(vocabulary->context, text);
    return status;
}

ct_status ct_vocabulary_read(ct_context *context, const char *folder, ct_vocabulary *vocabulary) {
    *vocabulary = (ct_vocabulary){.context = context, .rest = ct_value_map(context)};
    vocabulary->path = vocabulary->rest ? ct_path_join(context, folder, "tokenizer.json") : NULL;
    if (!vocabulary->path || read_text(vocabulary) || take_added(vocabulary) || tell_kind(vocabulary))
        return ct_context_status(context);
    char *config = ct_path_join(context, folder, "tokenizer_config.json");
    if (config && ct_file_exists(config)) vocabulary->config = ct_json_read(context, config);
    ct_free(context, config);
    return ct_context_status(context);
}

void ct_vocabulary_free(ct_vocabulary *vocabulary) {
    ct_context *context = vocabulary->context;
    if (!context) return;
    ct_free(context, vocabulary->tokens);
    ct_free(context, vocabulary->merges);
    ct_names_free(context, &vocabulary->names);
    ct_arena_free(context, &vocabulary->texts);
    ct_value_free(vocabulary->rest);
    ct_value_free(vocabulary->config);
    ct_free(context, (void *)(uintptr_t)vocabulary->path);
    *vocabulary = (ct_vocabulary){0};
}
