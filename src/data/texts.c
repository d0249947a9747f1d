/* texts.c - texts one by one: the lines of a file, a column of a .tsv, a field of a .jsonl. */
#include "base/ending.h"
#include <carat/data.h>
#include <carat/format.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_LIMIT = 64 << 20 };

ct_status ct_texts_append(ct_context *context, ct_texts *texts, const char *text, size_t length) {
    if (ct_failed(context)) return ct_context_status(context);
    if (texts->count == texts->capacity) {
        int64_t capacity = texts->capacity ? 2 * texts->capacity : 256;
        size_t *ends = ct_realloc(context, texts->ends, (size_t)capacity * sizeof(*ends), CT_MEMORY_OTHER);
        if (!ends) return CT_ERROR_MEMORY;
        texts->ends = ends;
        texts->capacity = capacity;
    }
    if (ct_bytes_append(context, &texts->bytes, text, length) != CT_OK) return ct_context_status(context);
    texts->ends[texts->count++] = texts->bytes.length;
    return CT_OK;
}

ct_text ct_texts_at(const ct_texts *texts, int64_t index) {
    size_t begin = index ? texts->ends[index - 1] : 0;
    return (ct_text){texts->bytes.data ? texts->bytes.data + begin : "", texts->ends[index] - begin};
}

void ct_texts_free(ct_context *context, ct_texts *texts) {
    ct_bytes_free(context, &texts->bytes);
    ct_free(context, texts->ends);
    *texts = (ct_texts){0};
}

static ct_status read_records(ct_context *context, const char *path, const char *field, ct_texts *texts) {
    ct_jsonl *reader = ct_jsonl_open(context, path, LINE_LIMIT);
    for (ct_value *record; reader && !ct_failed(context) && (record = ct_jsonl_next(reader));) {
        const ct_value *value = ct_value_get(record, field);
        if (ct_value_kind_of(value) != CT_VALUE_STRING)
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: the record has no text in field \"%s\"", path,
                    (long long)ct_jsonl_number(reader), field);
        else
            ct_texts_append(context, texts, ct_value_as_string(value, ""), ct_value_string_length(value));
        ct_value_free(record);
    }
    ct_jsonl_close(reader);
    return ct_context_status(context);
}

/* Column `column` (from 0) of a line; NULL if it has fewer. */
static const char *column_of(const char *line, size_t length, int64_t column, size_t *size) {
    const char *end = line + length;
    for (; column > 0; column--) {
        const char *tab = memchr(line, '\t', (size_t)(end - line));
        if (!tab) return NULL;
        line = tab + 1;
    }
    const char *tab = memchr(line, '\t', (size_t)(end - line));
    *size = (size_t)((tab ? tab : end) - line);
    return line;
}

/* Which column of a first line has that name; -1 and an error if none. */
static int64_t named_column(ct_context *context, const char *path, const char *line, size_t length,
                            const char *name) {
    const char *text;
    size_t size;
    for (int64_t i = 0; (text = column_of(line, length, i, &size)); i++)
        if (size == strlen(name) && memcmp(text, name, size) == 0) return i;
    ct_fail(context, CT_ERROR_NOT_FOUND,
            "%s:1: no column is named \"%s\" (a file without names takes a column's number)", path, name);
    return -1;
}

/* `field` NULL with `table` false: whole lines. */
static ct_status read_lines(ct_context *context, const char *path, const char *field, bool table,
                            ct_texts *texts) {
    char *after = NULL;
    long number = table && field ? strtol(field, &after, 10) : 1;
    bool named = table && field && (*after || after == field || number < 1);
    int64_t column = named ? -1 : number - 1;
    ct_lines *lines = ct_lines_open(context, path, LINE_LIMIT);
    size_t length;
    for (char *line; lines && !ct_failed(context) && (line = ct_lines_next(lines, &length));) {
        if (length && line[length - 1] == '\r') length--;
        const char *text = line;
        if (column < 0) {
            column = named_column(context, path, line, length, field);
            continue;
        }
        if (table && !(text = column_of(line, length, column, &length)))
            ct_fail(context, CT_ERROR_FORMAT, "%s:%lld: the line has no column %lld", path,
                    (long long)ct_lines_number(lines), (long long)column + 1);
        else
            ct_texts_append(context, texts, text, length);
    }
    ct_lines_close(lines);
    return ct_context_status(context);
}

ct_status ct_texts_read(ct_context *context, const char *path, const char *field, ct_texts *texts) {
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_ends_with(path, ".jsonl")) return read_records(context, path, field ? field : "text", texts);
    return read_lines(context, path, field, ct_ends_with(path, ".tsv"), texts);
}
