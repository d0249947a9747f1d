/* text.c - the text of files, of JSONL records, and of folders of text files. */
#include "base/ending.h"
#include <carat/data.h>
#include <carat/format.h>
#include <string.h>

enum { PIECE = 1 << 20, LINE_LIMIT = 64 << 20 };

static ct_status read_plain(ct_context *context, const char *path, ct_bytes *text) {
    ct_file *file = ct_file_open(context, path);
    char *buffer = file ? ct_alloc(context, PIECE, CT_MEMORY_WORKSPACE) : NULL;
    uint64_t size = file ? ct_file_size(file) : 0;
    for (uint64_t at = 0; buffer && at < size && !ct_failed(context); at += PIECE) {
        size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        if (ct_file_pread(file, buffer, n, at) == CT_OK) ct_bytes_append(context, text, buffer, n);
    }
    ct_free(context, buffer);
    ct_file_close(file);
    return ct_context_status(context);
}

static ct_status read_records(ct_context *context, const char *path, const char *field, ct_bytes *text) {
    ct_jsonl *reader = ct_jsonl_open(context, path, LINE_LIMIT);
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        const ct_value *value = ct_value_get(record, field);
        if (ct_value_kind_of(value) != CT_VALUE_STRING)
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: the record has no text in field \"%s\"", path,
                    (long long)ct_jsonl_number(reader), field);
        else
            ct_bytes_append(context, text, ct_value_as_string(value, ""), ct_value_string_length(value));
        ct_bytes_append(context, text, "\n", 1);
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    return ct_context_status(context);
}

static ct_status read_folder(ct_context *context, const char *path, const char *field, ct_bytes *text) {
    ct_value *names = ct_folder_list(context, path);
    int found = 0;
    for (size_t i = 0; i < ct_value_count(names) && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        if (!ct_ends_with(name, ".txt") && !ct_ends_with(name, ".md") && !ct_ends_with(name, ".jsonl")) continue;
        char *file = ct_path_join(context, path, name);
        if (file) ct_text_read(context, file, field, text);
        ct_free(context, file);
        found++;
    }
    ct_value_free(names);
    if (!found && !ct_failed(context))
        ct_fail(context, CT_ERROR_NOT_FOUND, "%s: the folder holds no .txt, .md or .jsonl file", path);
    return ct_context_status(context);
}

ct_status ct_text_read(ct_context *context, const char *path, const char *field, ct_bytes *text) {
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_folder_exists(path)) return read_folder(context, path, field, text);
    if (ct_ends_with(path, ".jsonl")) return read_records(context, path, field ? field : "text", text);
    return read_plain(context, path, text);
}
