/* value_read.c - looking at values, comparing them, and reading one from command-line text. */
#include "base/text.h"
#include "base/value.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

ct_value_kind ct_value_kind_of(const ct_value *value) {
    return value ? (ct_value_kind)value->kind : CT_VALUE_NULL;
}

const char *ct_value_kind_name(ct_value_kind kind) {
    static const char *const names[] = {"null",     "a truth value", "an integer", "a number",
                                        "a string", "a list",        "a map"};
    return (unsigned)kind <= CT_VALUE_MAP ? names[kind] : "unknown";
}

size_t ct_value_count(const ct_value *value) {
    if (!value) return 0;
    if (value->kind == CT_VALUE_LIST) return value->list.count;
    return value->kind == CT_VALUE_MAP ? value->map->count : 0;
}

ct_value *ct_value_at(const ct_value *value, size_t index) {
    if (index >= ct_value_count(value)) return NULL;
    return value->kind == CT_VALUE_MAP ? value->map->entries[index].item : value->list.data[index];
}

const char *ct_value_key(const ct_value *map, size_t index) {
    if (!map || map->kind != CT_VALUE_MAP || index >= map->map->count) return NULL;
    return map->map->entries[index].key;
}

ct_value *ct_value_get(const ct_value *map, const char *key) {
    if (!map || map->kind != CT_VALUE_MAP) return NULL;
    ptrdiff_t number = ct_map_find(ct_value_context(map), map->map, key);
    return number < 0 ? NULL : map->map->entries[number].item;
}

bool ct_value_as_bool(const ct_value *value, bool otherwise) {
    return value && value->kind == CT_VALUE_BOOL ? value->boolean : otherwise;
}

int64_t ct_value_as_int(const ct_value *value, int64_t otherwise) {
    return value && value->kind == CT_VALUE_INT ? value->integer : otherwise;
}

double ct_value_as_real(const ct_value *value, double otherwise) {
    if (value && value->kind == CT_VALUE_REAL) return value->real;
    return value && value->kind == CT_VALUE_INT ? (double)value->integer : otherwise;
}

const char *ct_value_as_string(const ct_value *value, const char *otherwise) {
    if (!value || value->kind != CT_VALUE_STRING) return otherwise;
    return value->inline_length == CT_VALUE_OUTSIDE ? value->string.bytes : value->text;
}

size_t ct_value_string_length(const ct_value *value) {
    if (!value || value->kind != CT_VALUE_STRING) return 0;
    return value->inline_length == CT_VALUE_OUTSIDE ? value->string.length : value->inline_length;
}

const char *ct_value_origin(const ct_value *value, char *buffer, size_t size) {
    if (!size) return "";
    buffer[0] = 0;
    if (value && value->origin) {
        if (value->line > 0)
            snprintf(buffer, size, "%s:%d", value->origin->name, (int)value->line);
        else
            snprintf(buffer, size, "%s", value->origin->name);
    }
    return buffer;
}

/* --------------------------------------------------------------------------------------- comparison ----- */

static bool equal_trees(const ct_value *a, const ct_value *b, int depth) {
    if (a == b) return true;
    if (!a || !b || a->kind != b->kind || depth > CT_VALUE_DEEPEST) return false;
    size_t count = ct_value_count(a);
    switch ((ct_value_kind)a->kind) {
    case CT_VALUE_NULL:
        return true;
    case CT_VALUE_BOOL:
        return a->boolean == b->boolean;
    case CT_VALUE_INT:
        return a->integer == b->integer;
    case CT_VALUE_REAL:
        return a->real == b->real || (a->real != a->real && b->real != b->real);
    case CT_VALUE_STRING:
        return ct_value_string_length(a) == ct_value_string_length(b) &&
               memcmp(ct_value_as_string(a, ""), ct_value_as_string(b, ""), ct_value_string_length(a)) == 0;
    case CT_VALUE_LIST:
        if (count != ct_value_count(b)) return false;
        for (size_t i = 0; i < count; i++)
            if (!equal_trees(a->list.data[i], b->list.data[i], depth + 1)) return false;
        return true;
    case CT_VALUE_MAP: /* the order of the keys does not matter */
        if (count != ct_value_count(b)) return false;
        for (size_t i = 0; i < count; i++) {
            const ct_value *other = ct_value_get(b, a->map->entries[i].key);
            if (!other || !equal_trees(a->map->entries[i].item, other, depth + 1)) return false;
        }
        return true;
    }
    return false;
}

bool ct_value_equal(const ct_value *a, const ct_value *b) {
    return equal_trees(a, b, 0);
}

/* ------------------------------------------------------------------------------------ from a word ------- */

static bool parse_integer(const char *text, int64_t *integer) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    *integer = strtoll(text, NULL, 10);
    return errno == 0;
}

static ct_value *parse_word(ct_context *context, const char *text, size_t length) {
    char word[64];
    if (length >= 2 && (text[0] == '"' || text[0] == '\'') && text[length - 1] == text[0])
        return ct_value_string_n(context, text + 1, length - 2);
    if (length < sizeof word) {
        int64_t integer;
        double real;
        memcpy(word, text, length);
        word[length] = 0;
        if (strcmp(word, "true") == 0) return ct_value_bool(context, true);
        if (strcmp(word, "false") == 0) return ct_value_bool(context, false);
        if (strcmp(word, "null") == 0 || strcmp(word, "~") == 0) return ct_value_null(context);
        if (parse_integer(word, &integer)) return ct_value_int(context, integer);
        if (ct_text_to_real(word, &real)) return ct_value_real(context, real);
    }
    return ct_value_string_n(context, text, length);
}

/* The length of the list item at `text`: up to a comma or bracket outside quotes; trailing blanks not
 * counted. */
static size_t item_length(const char *text, const char *end, const char **next) {
    const char *c = text;
    if (*c == '"' || *c == '\'') {
        const char *close = memchr(c + 1, *c, (size_t)(end - c - 1));
        if (close) c = close + 1;
    }
    while (c < end && *c != ',')
        c++;
    *next = c;
    while (c > text && (c[-1] == ' ' || c[-1] == '\t'))
        c--;
    return (size_t)(c - text);
}

static ct_value *parse_list(ct_context *context, const char *text, size_t length) {
    ct_value *list = ct_value_list(context);
    const char *end = text + length - 1, *at = text + 1;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (list && at < end) {
        const char *next;
        size_t item = item_length(at, end, &next);
        ct_status status = CT_OK;
        if (!item)
            status = ct_fail(context, CT_ERROR_ARGUMENT, "\"%s\": an empty item in a list", text);
        else if (*at == '[')
            status =
                ct_fail(context, CT_ERROR_ARGUMENT, "\"%s\": a list within a list, expected scalars", text);
        else
            status = ct_value_append(list, parse_word(context, at, item));
        if (!status && next < end && next + 1 >= end)
            status = ct_fail(context, CT_ERROR_ARGUMENT, "\"%s\": an empty item in a list", text);
        if (status) {
            ct_value_free(list);
            return NULL;
        }
        at = next + 1;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
    }
    return list;
}

ct_value *ct_value_parse_scalar(ct_context *context, const char *text) {
    size_t length = strlen(text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') return parse_list(context, text, length);
    return parse_word(context, text, length);
}
