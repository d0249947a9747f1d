/* json_value.c - JSON and JSON lines into trees of values. */
#include "format/json_reader.h"
#include <string.h>

#define FILE_LIMIT ((size_t)1 << 30)

static ct_value *list_tree(ct_json_reader *reader) {
    int line = reader->line;
    ct_value *list = ct_value_list(reader->context);
    if (!list) return NULL;
    ct_value_set_origin(list, reader->name, line);
    for (;;) {
        ct_json_event event = ct_json_next(reader);
        if (event == CT_JSON_LIST_END) return list;
        ct_value *item = ct_json_tree(reader, event);
        if (!item || ct_value_append(list, item) != CT_OK) break;
    }
    ct_value_free(list);
    return NULL;
}

/* One key and its value into `map`. */
static bool map_entry(ct_json_reader *reader, ct_value *map) {
    if (memchr(reader->string, 0, reader->string_length)) {
        ct_json_fail(reader, "a key holds the character NUL");
        return false;
    }
    char small[128];
    char *key = reader->string_length < sizeof small
                    ? small
                    : ct_alloc(reader->context, reader->string_length + 1, CT_MEMORY_OTHER);
    if (!key) return false;
    memcpy(key, reader->string, reader->string_length);
    key[reader->string_length] = '\0';
    bool good = true;
    ct_value *earlier = ct_value_get(map, key);
    if (earlier) {
        char origin[256];
        ct_json_fail(reader, "the key \"%.100s\" stands twice in one map (first at %s)", key,
                     ct_value_origin(earlier, origin, sizeof origin));
        good = false;
    } else {
        ct_value *item = ct_json_tree(reader, ct_json_next(reader));
        good = item && ct_value_set(map, key, item) == CT_OK;
    }
    if (key != small) ct_free(reader->context, key);
    return good;
}

static ct_value *map_tree(ct_json_reader *reader) {
    int line = reader->line;
    ct_value *map = ct_value_map(reader->context);
    if (!map) return NULL;
    ct_value_set_origin(map, reader->name, line);
    for (;;) {
        ct_json_event event = ct_json_next(reader);
        if (event == CT_JSON_MAP_END) return map;
        if (event != CT_JSON_KEY || !map_entry(reader, map)) break;
    }
    ct_value_free(map);
    return NULL;
}

ct_value *ct_json_tree(ct_json_reader *reader, ct_json_event event) {
    ct_context *context = reader->context;
    ct_value *value = NULL;
    switch (event) {
    case CT_JSON_LIST_BEGIN:
        return list_tree(reader);
    case CT_JSON_MAP_BEGIN:
        return map_tree(reader);
    case CT_JSON_NULL:
        value = ct_value_null(context);
        break;
    case CT_JSON_BOOL:
        value = ct_value_bool(context, reader->boolean);
        break;
    case CT_JSON_INT:
        value = ct_value_int(context, reader->integer);
        break;
    case CT_JSON_REAL:
        value = ct_value_real(context, reader->real);
        break;
    case CT_JSON_STRING:
        value = ct_value_string_n(context, reader->string, reader->string_length);
        break;
    default:
        return NULL;
    }
    if (value) ct_value_set_origin(value, reader->name, reader->line);
    return value;
}

/* A document of one value whose first line is `line` of `name`. */
static ct_value *parse(ct_context *context, const char *text, size_t length, const char *name, int line) {
    ct_json_reader reader;
    if (ct_failed(context)) return NULL;
    ct_json_begin(&reader, context, text, length, name);
    reader.line = line;
    ct_value *value = ct_json_tree(&reader, ct_json_next(&reader));
    if (value && ct_json_next(&reader) != CT_JSON_END) {
        ct_value_free(value);
        value = NULL;
    }
    ct_json_release(&reader);
    return value;
}

ct_value *ct_json_parse(ct_context *context, const char *text, size_t length, const char *name) {
    return parse(context, text, length, name, 1);
}

ct_value *ct_json_read(ct_context *context, const char *path) {
    size_t length = 0;
    char *text = ct_file_read(context, path, FILE_LIMIT, &length);
    if (!text) return NULL;
    ct_value *value = parse(context, text, length, path, 1);
    ct_free(context, text);
    return value;
}

/* -------------------------------------------------------------------------------------- JSON lines ----- */

struct ct_jsonl {
    ct_context *context;
    ct_lines *lines;
    char *path;
};

ct_jsonl *ct_jsonl_open(ct_context *context, const char *path, size_t limit) {
    ct_jsonl *reader = ct_alloc_zero(context, sizeof *reader, CT_MEMORY_OTHER);
    if (!reader) return NULL;
    reader->context = context;
    reader->path = ct_strdup(context, path);
    reader->lines = reader->path ? ct_lines_open(context, path, limit) : NULL;
    if (reader->lines) return reader;
    ct_jsonl_close(reader);
    return NULL;
}

ct_value *ct_jsonl_next(ct_jsonl *reader) {
    size_t length;
    char *line;
    while ((line = ct_lines_next(reader->lines, &length))) {
        if (strspn(line, " \t\r") == length) continue;
        int64_t number = ct_lines_number(reader->lines);
        return parse(reader->context, line, length, reader->path,
                     number < INT32_MAX ? (int)number : INT32_MAX);
    }
    return NULL;
}

int64_t ct_jsonl_number(const ct_jsonl *reader) {
    return ct_lines_number(reader->lines);
}

void ct_jsonl_close(ct_jsonl *reader) {
    if (!reader) return;
    ct_lines_close(reader->lines);
    ct_free(reader->context, reader->path);
    ct_free(reader->context, reader);
}
