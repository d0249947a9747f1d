/* tokenizer_json.c - reads tokenizer.json, vocab.json and merges.txt into entries. Nothing is judged here but
 * the syntax; tokenizer_build.c says what is supported. */
#include "format/json_reader.h"
#include "format/tokenizer_file.h"
#include "format/utf8.h"
#include <string.h>

/* ct_json_fail for functions that return whether all went well. */
#define REFUSE(...) (ct_json_fail(__VA_ARGS__), false)

void ct_tokenizer_file_free(ct_tokenizer_file *file) {
    ct_value_free(file->parts);
    ct_value_free(file->model);
    ct_arena_free(file->context, &file->arena);
    ct_free(file->context, file->vocabulary);
    ct_free(file->context, file->merges);
}

bool ct_tokenizer_file_add(ct_tokenizer_file *file, const char *symbol, size_t length, int64_t id,
                           double score) {
    if (file->vocabulary_count == file->vocabulary_capacity) {
        size_t capacity = file->vocabulary_capacity * 2 + 1024;
        ct_vocabulary_entry *larger =
            ct_realloc(file->context, file->vocabulary, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return false;
        file->vocabulary = larger;
        file->vocabulary_capacity = capacity;
    }
    file->vocabulary[file->vocabulary_count++] = (ct_vocabulary_entry){symbol, length, id, score};
    return true;
}

bool ct_tokenizer_file_add_merge(ct_tokenizer_file *file, ct_merge_entry entry) {
    if (file->merge_count == file->merge_capacity) {
        size_t capacity = file->merge_capacity * 2 + 1024;
        ct_merge_entry *larger =
            ct_realloc(file->context, file->merges, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return false;
        file->merges = larger;
        file->merge_capacity = capacity;
    }
    file->merges[file->merge_count++] = entry;
    return true;
}

/* {"symbol": id, ...}, of which the brace is read. */
static bool read_vocabulary(ct_tokenizer_file *file, ct_json_reader *reader) {
    ct_json_event event;
    while ((event = ct_json_next(reader)) == CT_JSON_KEY) {
        size_t length = reader->string_length;
        char *symbol = ct_arena_copy(file->context, &file->arena, reader->string, length);
        if (!symbol) return false;
        if (memchr(symbol, 0, length)) return REFUSE(reader, "a token holds the character NUL");
        event = ct_json_next(reader);
        if (event == CT_JSON_ERROR) return false;
        if (event != CT_JSON_INT)
            return REFUSE(reader, "token \"%.60s\" has an id that is no integer", symbol);
        if (!ct_tokenizer_file_add(file, symbol, length, reader->integer, 0)) return false;
    }
    return event == CT_JSON_MAP_END;
}

/* "symbol", score], of which the bracket before is read. */
static bool read_piece(ct_tokenizer_file *file, ct_json_reader *reader) {
    if (ct_json_next(reader) != CT_JSON_STRING) return false;
    size_t length = reader->string_length;
    char *symbol = ct_arena_copy(file->context, &file->arena, reader->string, length);
    if (!symbol) return false;
    if (memchr(symbol, 0, length)) return REFUSE(reader, "a token holds the character NUL");
    ct_json_event event = ct_json_next(reader);
    if (event != CT_JSON_INT && event != CT_JSON_REAL) return false;
    double score = event == CT_JSON_INT ? (double)reader->integer : reader->real;
    if (!(score - score == 0))
        return REFUSE(reader, "token \"%.60s\" has a score that is not finite", symbol);
    return ct_json_next(reader) == CT_JSON_LIST_END &&
           ct_tokenizer_file_add(file, symbol, length, (int64_t)file->vocabulary_count, score);
}

/* [["symbol", score], ...], of which the first bracket is read: a Unigram model's. */
static bool read_pieces(ct_tokenizer_file *file, ct_json_reader *reader) {
    ct_json_event event;
    file->scored = true;
    while ((event = ct_json_next(reader)) == CT_JSON_LIST_BEGIN && read_piece(file, reader))
        ;
    if (event == CT_JSON_LIST_END) return true;
    if (!ct_failed(file->context))
        ct_json_fail(reader, "a piece of the vocabulary is not [\"token\", score]");
    return false;
}

/* "left right" with one blank between them. */
static bool split_merge(ct_tokenizer_file *file, const char *text, size_t length) {
    const char *blank = memchr(text, ' ', length);
    if (!blank || blank == text || blank + 1 == text + length ||
        memchr(blank + 1, ' ', length - (size_t)(blank + 1 - text)))
        return false;
    return ct_tokenizer_file_add_merge(
        file, (ct_merge_entry){text, blank + 1, (size_t)(blank - text), length - (size_t)(blank + 1 - text)});
}

/* "left right" or ["left", "right"]. */
static bool read_merge(ct_tokenizer_file *file, ct_json_reader *reader, ct_json_event event) {
    const char *sides[2];
    size_t lengths[2];
    if (event == CT_JSON_STRING) {
        size_t length = reader->string_length;
        char *text = ct_arena_copy(file->context, &file->arena, reader->string, length);
        if (!text) return false;
        file->merges_as_text = true;
        if (split_merge(file, text, length)) return true;
        if (!ct_failed(file->context))
            ct_json_fail(reader, "the merge \"%.60s\" is not two symbols with a blank between them", text);
        return false;
    }
    if (event == CT_JSON_LIST_BEGIN) {
        int i = 0;
        for (; i < 2 && ct_json_next(reader) == CT_JSON_STRING; i++) {
            lengths[i] = reader->string_length;
            sides[i] = ct_arena_copy(file->context, &file->arena, reader->string, lengths[i]);
            if (!sides[i]) return false;
        }
        if (i == 2 && ct_json_next(reader) == CT_JSON_LIST_END)
            return ct_tokenizer_file_add_merge(file,
                                               (ct_merge_entry){sides[0], sides[1], lengths[0], lengths[1]});
    }
    if (!reader->failed) ct_json_fail(reader, "a merge is neither \"left right\" nor [\"left\", \"right\"]");
    return false;
}

static bool read_merges(ct_tokenizer_file *file, ct_json_reader *reader) {
    ct_json_event event;
    while ((event = ct_json_next(reader)) != CT_JSON_LIST_END)
        if (event == CT_JSON_ERROR || !read_merge(file, reader, event)) return false;
    return true;
}

/* One key and its value into a map of values; twice is an error. */
static bool read_small(ct_json_reader *reader, ct_value *map, const char *key) {
    if (ct_value_get(map, key)) return REFUSE(reader, "the key \"%.60s\" stands twice", key);
    ct_value *value = ct_json_tree(reader, ct_json_next(reader));
    return value && ct_value_set(map, key, value) == CT_OK;
}

static bool copy_key(ct_json_reader *reader, char key[64]) {
    if (reader->string_length >= 64 || memchr(reader->string, 0, reader->string_length))
        return REFUSE(reader, "the key \"%.60s\" is not known", reader->string);
    memcpy(key, reader->string, reader->string_length);
    key[reader->string_length] = '\0';
    return true;
}

static bool read_model(ct_tokenizer_file *file, ct_json_reader *reader) {
    char key[64];
    ct_json_event event = ct_json_next(reader);
    if (event != CT_JSON_MAP_BEGIN || file->has_model)
        return REFUSE(reader, "\"model\" is no map, or stands twice");
    file->has_model = true;
    while ((event = ct_json_next(reader)) == CT_JSON_KEY) {
        bool good;
        if (!copy_key(reader, key)) return false;
        bool vocabulary = strcmp(key, "vocab") == 0, merges = strcmp(key, "merges") == 0;
        if (!vocabulary && !merges) {
            good = read_small(reader, file->model, key);
        } else if (vocabulary ? file->vocabulary_count : file->merge_count) {
            good = REFUSE(reader, "the key \"%s\" stands twice", key);
        } else {
            event = ct_json_next(reader);
            if (event == CT_JSON_MAP_BEGIN && vocabulary)
                good = read_vocabulary(file, reader);
            else if (event == CT_JSON_LIST_BEGIN && merges)
                good = read_merges(file, reader);
            else if (event == CT_JSON_LIST_BEGIN && vocabulary)
                good = read_pieces(file, reader);
            else
                good = REFUSE(reader, "\"%s\" is not of the kind it should be", key);
        }
        if (!good) return false;
    }
    return event == CT_JSON_MAP_END;
}

static bool read_top(ct_tokenizer_file *file, ct_json_reader *reader) {
    static const char *const known[] = {"version",    "truncation",    "padding",        "added_tokens",
                                        "normalizer", "pre_tokenizer", "post_processor", "decoder"};
    char key[64];
    ct_json_event event = ct_json_next(reader);
    if (event != CT_JSON_MAP_BEGIN) return REFUSE(reader, "the document is no map");
    while ((event = ct_json_next(reader)) == CT_JSON_KEY) {
        if (!copy_key(reader, key)) return false;
        bool is_model = strcmp(key, "model") == 0, is_known = is_model;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            is_known |= strcmp(key, known[i]) == 0;
        if (!is_known) return REFUSE(reader, "the key \"%s\" is not known", key);
        if (is_model ? !read_model(file, reader) : !read_small(reader, file->parts, key)) return false;
    }
    return event == CT_JSON_MAP_END && ct_json_next(reader) == CT_JSON_END;
}

ct_status ct_tokenizer_file_parse(ct_tokenizer_file *file, const char *text, size_t length) {
    ct_json_reader reader;
    ct_json_begin(&reader, file->context, text, length, file->path);
    bool good = read_top(file, &reader);
    if (good && !file->has_model) good = REFUSE(&reader, "there is no \"model\"");
    ct_json_release(&reader);
    return good ? CT_OK : ct_context_status(file->context);
}

ct_status ct_tokenizer_file_parse_vocabulary(ct_tokenizer_file *file, const char *text, size_t length) {
    ct_json_reader reader;
    ct_json_begin(&reader, file->context, text, length, file->path);
    bool good = ct_json_next(&reader) == CT_JSON_MAP_BEGIN;
    if (!good) ct_json_fail(&reader, "a vocabulary is a map from tokens to ids");
    good = good && read_vocabulary(file, &reader) && ct_json_next(&reader) == CT_JSON_END;
    ct_json_release(&reader);
    file->has_model = true;
    return good ? CT_OK : ct_context_status(file->context);
}

/* Lines "left right", the first may say "#version: 0.2". */
ct_status ct_tokenizer_file_parse_merges(ct_tokenizer_file *file, const char *text, size_t length) {
    int line = 0;
    for (size_t start = 0, end; start < length; start = end + 1) {
        const char *newline = memchr(text + start, '\n', length - start);
        end = newline ? (size_t)(newline - text) : length;
        size_t size = end - start;
        if (size && text[end - 1] == '\r') size--;
        line++;
        if (size == 0 || (line == 1 && size >= 8 && memcmp(text + start, "#version", 8) == 0)) continue;
        char *copy = ct_arena_copy(file->context, &file->arena, text + start, size);
        if (!copy) return ct_context_status(file->context);
        if (ct_utf8_check(copy, size) == size && split_merge(file, copy, size)) continue;
        return ct_fail(file->context, CT_ERROR_FORMAT,
                       "%s:%d: expected two symbols with a blank between them", file->path, line);
    }
    return CT_OK;
}
