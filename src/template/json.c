/* json.c - values as JSON, byte for byte what Python's json.dumps writes. */
#include "template/value.h"
#include <math.h>
#include <string.h>

static bool put(jinja_render *r, const char *text) {
    return ct_jinja_put(r, text, strlen(text), 0);
}

static bool put_escape(jinja_render *r, uint32_t c) {
    char text[16];
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *simple = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (simple)
        snprintf(text, sizeof(text), "\\%c", to[simple - from]);
    else if (c < 0x10000)
        snprintf(text, sizeof(text), "\\u%04x", (unsigned)c);
    else
        snprintf(text, sizeof(text), "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                 (unsigned)(0xdc00 + (c & 0x3ff)));
    return put(r, text);
}

static bool put_quoted(jinja_render *r, const char *text, size_t length, bool ascii) {
    size_t done = 0;
    if (!put(r, "\"")) return false;
    for (size_t i = 0; i < length;) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\' && (byte != 0x7f || !ascii)) ||
            (byte >= 0x80 && !ascii)) {
            i++;
            continue;
        }
        uint32_t c;
        size_t n = jinja_decode(text + i, length - i, &c);
        if (c == 0x7f) { /* ASCII, and left as it is */
            i += n;
            continue;
        }
        if (!ct_jinja_put(r, text + done, i - done, 0) || !put_escape(r, c)) return false;
        done = i += n;
    }
    return ct_jinja_put(r, text + done, length - done, 0) && put(r, "\"");
}

static bool put_value(jinja_render *r, const jinja_value *v, const jinja_json *s, int level);

static bool new_line(jinja_render *r, const jinja_json *s, int level) {
    if (!s->lines) return true;
    if (!put(r, "\n")) return false;
    for (int i = 0; i < level; i++)
        if (!ct_jinja_put(r, s->indent, s->indent_length, 0)) return false;
    return true;
}

static bool put_number(jinja_render *r, const jinja_value *v) {
    char text[JINJA_NUMBER];
    if (v->kind != JINJA_REAL) {
        snprintf(text, sizeof(text), "%lld", (long long)v->integer);
        return put(r, text);
    }
    if (isnan(v->real)) return put(r, "NaN");
    if (isinf(v->real)) return put(r, v->real < 0 ? "-Infinity" : "Infinity");
    return ct_jinja_put(r, text, ct_jinja_real_text(v->real, text), 0);
}

static bool put_key(jinja_render *r, const jinja_value *key, const jinja_json *s) {
    switch (key->kind) {
    case JINJA_STRING:
        return put_quoted(r, key->text, key->length, s->ascii);
    case JINJA_NONE:
        return put(r, "\"null\"");
    case JINJA_BOOL:
        return put(r, key->truth ? "\"true\"" : "\"false\"");
    case JINJA_INT:
    case JINJA_REAL:
        return put(r, "\"") && put_number(r, key) && put(r, "\"");
    default:
        return ct_jinja_fail(r, "keys must be str, int, float, bool or None, not %s", ct_jinja_type(key));
    }
}

static bool sorted_entries(jinja_render *r, const jinja_dict *dict, jinja_list **order) {
    jinja_list *keys = ct_jinja_list(r, dict->count);
    *order = ct_jinja_list(r, dict->count);
    if (!keys || !*order) return false;
    for (uint32_t i = 0; i < dict->count; i++) {
        keys->items[i] = dict->entries[i].key;
        (*order)->items[i] = jinja_int(i);
    }
    return ct_jinja_sort(r, (*order)->items, keys->items, dict->count, false);
}

static bool put_dict(jinja_render *r, const jinja_dict *dict, const jinja_json *s, int level) {
    jinja_list *order = NULL;
    if (!put(r, "{") || (s->sort && !sorted_entries(r, dict, &order))) return false;
    for (uint32_t i = 0; i < dict->count; i++) {
        const jinja_entry *entry = &dict->entries[order ? (uint32_t)order->items[i].integer : i];
        if ((i && !ct_jinja_put(r, s->comma, s->comma_length, 0)) || !new_line(r, s, level + 1) ||
            !put_key(r, &entry->key, s) || !ct_jinja_put(r, s->colon, s->colon_length, 0) ||
            !put_value(r, &entry->value, s, level + 1))
            return false;
    }
    return (!dict->count || new_line(r, s, level)) && put(r, "}");
}

static bool put_list(jinja_render *r, const jinja_list *list, const jinja_json *s, int level) {
    if (list->type || list->shown)
        return ct_jinja_fail(r, "Object of type %s is not JSON serializable", list->type);
    if (!put(r, "[")) return false;
    for (uint32_t i = 0; i < list->count; i++)
        if ((i && !ct_jinja_put(r, s->comma, s->comma_length, 0)) || !new_line(r, s, level + 1) ||
            !put_value(r, &list->items[i], s, level + 1))
            return false;
    return (!list->count || new_line(r, s, level)) && put(r, "]");
}

static bool put_value(jinja_render *r, const jinja_value *v, const jinja_json *s, int level) {
    bool fine;
    if (!jinja_work(r, 1)) return false;
    switch (v->kind) {
    case JINJA_NONE:
        return put(r, "null");
    case JINJA_BOOL:
        return put(r, v->truth ? "true" : "false");
    case JINJA_INT:
    case JINJA_REAL:
        return put_number(r, v);
    case JINJA_STRING:
        return put_quoted(r, v->text, v->length, s->ascii);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        if (!jinja_enter(r)) return false;
        fine = v->kind == JINJA_DICT ? put_dict(r, v->dict, s, level) : put_list(r, v->list, s, level);
        r->depth--;
        return fine;
    default:
        return ct_jinja_fail(r, "Object of type %s is not JSON serializable", ct_jinja_type(v));
    }
}

/* Whether anything in it is content. */
static unsigned marks_within(jinja_render *r, const jinja_value *v) {
    unsigned marks = 0;
    if (v->kind == JINJA_STRING) return ct_jinja_marks(v);
    if (r->depth >= JINJA_DEPTH) return CT_TEMPLATE_CONTENT;
    r->depth++;
    if (jinja_is_sequence(v))
        for (uint32_t i = 0; i < v->list->count && !(marks & CT_TEMPLATE_CONTENT); i++)
            marks |= marks_within(r, &v->list->items[i]);
    else if (v->kind == JINJA_DICT)
        for (uint32_t i = 0; i < v->dict->count && !(marks & CT_TEMPLATE_CONTENT); i++)
            marks |= marks_within(r, &v->dict->entries[i].key) | marks_within(r, &v->dict->entries[i].value);
    r->depth--;
    return marks;
}

bool ct_jinja_json(jinja_render *r, const jinja_value *v, const jinja_json *style, jinja_value *out) {
    unsigned marks = marks_within(r, v);
    jinja_capture capture = ct_jinja_begin(r);
    if (!put_value(r, v, style, 0) || (marks && !ct_jinja_mark(r, capture, marks))) return false;
    return ct_jinja_end(r, capture, out);
}
