/* yaml_read.c - YAML through libyaml's events into a tree of values that know their lines. */
#include "carat/format.h"
#include "format/yaml_scalar.h"
#include <string.h>
#include <yaml.h>

#define FILE_LIMIT ((size_t)16 << 20)
#define ALIAS_LIMIT 100000 /* values that all aliases of a document may expand to ("billion laughs") */

typedef struct anchor {
    char *name;
    const ct_value *value; /* NULL until its end is read: an alias before that would contain itself */
} anchor;

typedef struct yaml_reader {
    ct_context *context;
    const char *name;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    anchor *anchors;
    size_t anchor_count, anchor_capacity;
    size_t expanded;
    int depth;
} yaml_reader;

static int line_of(const yaml_reader *reader) {
    return (int)reader->event.start_mark.line + 1;
}

static void *refuse(yaml_reader *reader, const char *format, ...) CT_PRINTF(2, 3);
static void *refuse(yaml_reader *reader, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ct_fail(reader->context, CT_ERROR_FORMAT, "%s:%d: %s", reader->name, line_of(reader), message);
    return NULL;
}

static bool next(yaml_reader *reader) {
    if (reader->has_event) yaml_event_delete(&reader->event);
    reader->has_event = false;
    if (yaml_parser_parse(&reader->parser, &reader->event)) {
        reader->has_event = true;
        return true;
    }
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        ct_fail(reader->context, CT_ERROR_MEMORY, "%s: no memory to read YAML", reader->name);
    else if (parser->error == YAML_READER_ERROR)
        ct_fail(reader->context, CT_ERROR_FORMAT, "%s: %s (at byte %zu)", reader->name, parser->problem,
                parser->problem_offset);
    else
        ct_fail(reader->context, CT_ERROR_FORMAT, "%s:%d: %s%s%s", reader->name,
                (int)parser->problem_mark.line + 1, parser->problem ? parser->problem : "not YAML",
                parser->context ? ", " : "", parser->context ? parser->context : "");
    return false;
}

/* ------------------------------------------------------------------------------------------ anchors ----- */

/* Notes an anchor that begins here; *index is its place or SIZE_MAX without one. */
static bool begin_anchor(yaml_reader *reader, const yaml_char_t *name, size_t *index) {
    *index = SIZE_MAX;
    if (!name) return true;
    if (reader->anchor_count == reader->anchor_capacity) {
        size_t capacity = reader->anchor_capacity * 2 + 8;
        anchor *larger =
            ct_realloc(reader->context, reader->anchors, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return false;
        reader->anchors = larger;
        reader->anchor_capacity = capacity;
    }
    anchor *entry = &reader->anchors[reader->anchor_count];
    entry->value = NULL;
    entry->name = ct_strdup(reader->context, (const char *)name);
    if (!entry->name) return false;
    *index = reader->anchor_count++;
    return true;
}

static void end_anchor(yaml_reader *reader, size_t index, const ct_value *value) {
    if (index != SIZE_MAX) reader->anchors[index].value = value;
}

/* Values in a tree, no further than a limit. */
static size_t tree_size(const ct_value *value, size_t limit) {
    size_t size = 1;
    for (size_t i = 0; i < ct_value_count(value) && size <= limit; i++)
        size += tree_size(ct_value_at(value, i), limit - size);
    return size;
}

static ct_value *alias(yaml_reader *reader) {
    const char *name = (const char *)reader->event.data.alias.anchor;
    for (size_t i = reader->anchor_count; i-- > 0;) {
        if (strcmp(reader->anchors[i].name, name) != 0) continue;
        if (!reader->anchors[i].value)
            return refuse(reader, "the alias *%.80s stands within its own anchor", name);
        reader->expanded += tree_size(reader->anchors[i].value, ALIAS_LIMIT);
        if (reader->expanded > ALIAS_LIMIT)
            return refuse(reader, "aliases expand to more than %d values", ALIAS_LIMIT);
        return ct_value_copy(reader->anchors[i].value);
    }
    return refuse(reader, "the alias *%.80s has no anchor before it", name);
}

/* ------------------------------------------------------------------------------------------- values ----- */

static ct_value *node(yaml_reader *reader);

static bool tag_is(const yaml_char_t *tag, const char *name) {
    static const char prefix[] = "tag:yaml.org,2002:";
    return tag && strncmp((const char *)tag, prefix, sizeof prefix - 1) == 0 &&
           strcmp((const char *)tag + sizeof prefix - 1, name) == 0;
}

/* Which kind a tag asks for; false if it is unknown. */
static bool tag_kind(const yaml_char_t *tag, ct_value_kind *kind) {
    static const struct {
        const char *name;
        ct_value_kind kind;
    } tags[] = {{"null", CT_VALUE_NULL},
                {"bool", CT_VALUE_BOOL},
                {"int", CT_VALUE_INT},
                {"float", CT_VALUE_REAL},
                {"str", CT_VALUE_STRING}};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        if (!tag_is(tag, tags[i].name)) continue;
        *kind = tags[i].kind;
        return true;
    }
    return false;
}

static ct_value *scalar(yaml_reader *reader) {
    const char *text = (const char *)reader->event.data.scalar.value;
    size_t length = reader->event.data.scalar.length;
    const yaml_char_t *tag = reader->event.data.scalar.tag;
    ct_yaml_scalar meaning = {.kind = CT_VALUE_STRING};
    bool plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (tag && strcmp((const char *)tag, "!") != 0) {
        ct_value_kind wanted;
        if (!tag_kind(tag, &wanted)) return refuse(reader, "the tag %.100s is not known", (const char *)tag);
        if (wanted != CT_VALUE_STRING) meaning = ct_yaml_resolve(text, length);
        if (wanted == CT_VALUE_REAL && meaning.kind == CT_VALUE_INT)
            meaning = (ct_yaml_scalar){.kind = CT_VALUE_REAL, .real = (double)meaning.integer};
        if (meaning.kind != wanted)
            return refuse(reader, "\"%.60s\" is tagged %s but is none", text, ct_value_kind_name(wanted));
    } else if (plain && !tag) {
        meaning = ct_yaml_resolve(text, length);
    }
    switch (meaning.kind) {
    case CT_VALUE_NULL:
        return ct_value_null(reader->context);
    case CT_VALUE_BOOL:
        return ct_value_bool(reader->context, meaning.boolean);
    case CT_VALUE_INT:
        return ct_value_int(reader->context, meaning.integer);
    case CT_VALUE_REAL:
        return ct_value_real(reader->context, meaning.real);
    default:
        return ct_value_string_n(reader->context, text, length);
    }
}

static ct_value *list(yaml_reader *reader) {
    ct_value *result = ct_value_list(reader->context);
    while (result && next(reader)) {
        if (reader->event.type == YAML_SEQUENCE_END_EVENT) return result;
        ct_value *item = node(reader);
        if (!item || ct_value_append(result, item) != CT_OK) break;
    }
    ct_value_free(result);
    return NULL;
}

/* The present event as a key, a new string. */
static char *read_key(yaml_reader *reader, const ct_value *map) {
    if (reader->event.type == YAML_ALIAS_EVENT) return refuse(reader, "a key may not be an alias");
    if (reader->event.type != YAML_SCALAR_EVENT)
        return refuse(reader, "a key must be a scalar, not a list or a map");
    const char *key = (const char *)reader->event.data.scalar.value;
    if (strlen(key) != reader->event.data.scalar.length)
        return refuse(reader, "a key holds the character NUL");
    if (reader->event.data.scalar.anchor)
        return refuse(reader, "the key \"%.100s\" has an anchor, which is not supported", key);
    if (strcmp(key, "<<") == 0 && reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return refuse(reader, "merge keys (<<) are not supported: YAML 1.2 has none; write the keys out");
    ct_value *earlier = ct_value_get(map, key);
    if (earlier) {
        char origin[256];
        return refuse(reader, "the key \"%.100s\" stands twice in one map (first at %s)", key,
                      ct_value_origin(earlier, origin, sizeof origin));
    }
    return ct_strdup(reader->context, key);
}

static ct_value *map(yaml_reader *reader) {
    ct_value *result = ct_value_map(reader->context);
    while (result && next(reader)) {
        if (reader->event.type == YAML_MAPPING_END_EVENT) return result;
        char *key = read_key(reader, result);
        if (!key) break;
        ct_value *item = next(reader) ? node(reader) : NULL;
        bool good = item && ct_value_set(result, key, item) == CT_OK;
        ct_free(reader->context, key);
        if (!good) break;
    }
    ct_value_free(result);
    return NULL;
}

static ct_value *container(yaml_reader *reader) {
    bool is_map = reader->event.type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag =
        is_map ? reader->event.data.mapping_start.tag : reader->event.data.sequence_start.tag;
    if (tag && strcmp((const char *)tag, "!") != 0 && !tag_is(tag, is_map ? "map" : "seq"))
        return refuse(reader, "the tag %.100s is not known", (const char *)tag);
    if (reader->depth >= CT_DEPTH_MAX) return refuse(reader, "nested deeper than %d levels", CT_DEPTH_MAX);
    reader->depth++;
    ct_value *result = is_map ? map(reader) : list(reader);
    reader->depth--;
    return result;
}

/* The node that begins with the present event. */
static ct_value *node(yaml_reader *reader) {
    int line = line_of(reader);
    size_t anchor_index;
    const yaml_char_t *name;
    ct_value *value;
    switch (reader->event.type) {
    case YAML_ALIAS_EVENT:
        return alias(reader);
    case YAML_SCALAR_EVENT:
        name = reader->event.data.scalar.anchor;
        break;
    case YAML_MAPPING_START_EVENT:
        name = reader->event.data.mapping_start.anchor;
        break;
    case YAML_SEQUENCE_START_EVENT:
        name = reader->event.data.sequence_start.anchor;
        break;
    default:
        return refuse(reader, "expected a value");
    }
    if (!begin_anchor(reader, name, &anchor_index)) return NULL;
    value = reader->event.type == YAML_SCALAR_EVENT ? scalar(reader) : container(reader);
    if (!value) return NULL;
    ct_value_set_origin(value, reader->name, line);
    end_anchor(reader, anchor_index, value);
    return value;
}

/* A stream of no document (null) or one. */
static ct_value *document(yaml_reader *reader) {
    if (!next(reader) || !next(reader)) return NULL; /* stream start, document start */
    if (reader->event.type == YAML_STREAM_END_EVENT) {
        ct_value *nothing = ct_value_null(reader->context);
        if (nothing) ct_value_set_origin(nothing, reader->name, 1);
        return nothing;
    }
    ct_value *value = next(reader) ? node(reader) : NULL;
    if (!value) return NULL;
    if (next(reader) && next(reader)) { /* document end, stream end */
        if (reader->event.type == YAML_STREAM_END_EVENT) return value;
        refuse(reader, "a second document begins; one is expected");
    }
    ct_value_free(value);
    return NULL;
}

ct_value *ct_yaml_parse(ct_context *context, const char *text, size_t length, const char *name) {
    yaml_reader reader = {.context = context, .name = name ? name : "YAML text"};
    if (ct_failed(context)) return NULL;
    if (!yaml_parser_initialize(&reader.parser)) {
        ct_fail(context, CT_ERROR_MEMORY, "%s: no memory to read YAML", reader.name);
        return NULL;
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
    ct_value *value = document(&reader);
    if (reader.has_event) yaml_event_delete(&reader.event);
    for (size_t i = 0; i < reader.anchor_count; i++)
        ct_free(context, reader.anchors[i].name);
    ct_free(context, reader.anchors);
    yaml_parser_delete(&reader.parser);
    return value;
}

ct_value *ct_yaml_read(ct_context *context, const char *path) {
    size_t length = 0;
    char *text = ct_file_read(context, path, FILE_LIMIT, &length);
    if (!text) return NULL;
    ct_value *value = ct_yaml_parse(context, text, length, path);
    ct_free(context, text);
    return value;
}

ct_value *ct_document_read(ct_context *context, const char *path) {
    size_t length = strlen(path);
    bool json = length >= 5 && strcmp(path + length - 5, ".json") == 0;
    return json ? ct_json_read(context, path) : ct_yaml_read(context, path);
}
