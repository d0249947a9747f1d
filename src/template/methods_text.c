/* methods_text.c - methods of strings. */
#define _GNU_SOURCE /* memmem, memrchr */
#include "template/value.h"
#include <string.h>

enum text_method {
    STRIP,
    LSTRIP,
    RSTRIP,
    SPLIT,
    RSPLIT,
    SPLITLINES,
    STARTSWITH,
    ENDSWITH,
    UPPER,
    LOWER,
    TITLE,
    CAPITALIZE,
    SWAPCASE,
    CASEFOLD,
    REPLACE,
    FIND,
    RFIND,
    INDEX,
    RINDEX,
    COUNT,
    JOIN,
    FORMAT,
    REMOVEPREFIX,
    REMOVESUFFIX,
    PARTITION,
    RPARTITION,
    ISDIGIT,
    ISALPHA,
    ISALNUM,
    ISSPACE,
    ISUPPER,
    ISLOWER,
    ISNUMERIC,
    ISDECIMAL,
    ZFILL,
    LJUST,
    RJUST,
    CENTER
};
static const char *const names[] = {
    "strip",    "lstrip",       "rstrip",       "split",     "rsplit",     "splitlines", "startswith",
    "endswith", "upper",        "lower",        "title",     "capitalize", "swapcase",   "casefold",
    "replace",  "find",         "rfind",        "index",     "rindex",     "count",      "join",
    "format",   "removeprefix", "removesuffix", "partition", "rpartition", "isdigit",    "isalpha",
    "isalnum",  "isspace",      "isupper",      "islower",   "isnumeric",  "isdecimal",  "zfill",
    "ljust",    "rjust",        "center",       NULL};
static const char *const refusals[] = {"encode",      "expandtabs", "format_map", "isascii",   "isidentifier",
                                       "isprintable", "istitle",    "maketrans",  "translate", NULL};

int ct_jinja_text_method(const char *name, size_t length, bool *refused) {
    *refused = false;
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) return i;
    for (int i = 0; refusals[i]; i++)
        *refused = *refused || (strlen(refusals[i]) == length && memcmp(refusals[i], name, length) == 0);
    return -1;
}

static bool want_text(jinja_render *r, int id, const jinja_value *v) {
    if (v->kind == JINJA_STRING) return true;
    return ct_jinja_fail(r, "%s: expected str, not %s", names[id], ct_jinja_type(v));
}

/* ----------------------------------------------------------------------------------- strip and split */

static bool is_one_of(const char *c, size_t n, const jinja_value *set) {
    uint32_t code;
    if (set->kind == JINJA_STRING) return ct_jinja_find(set->text, set->length, c, n, 0) != SIZE_MAX;
    jinja_decode(c, n, &code);
    return ct_jinja_space(code);
}

/* `set` is a string of characters, or not a string: white space. */
static bool strip(jinja_render *r, const jinja_value *v, const jinja_value *set, bool left, bool right,
                  jinja_value *out) {
    size_t start = 0, end = v->length;
    uint32_t code;
    if (!jinja_work(r, v->length / 64)) return false;
    while (left && start < end) {
        size_t n = jinja_decode(v->text + start, end - start, &code);
        if (!is_one_of(v->text + start, n, set)) break;
        start += n;
    }
    while (right && end > start) {
        size_t at = end - 1;
        while (at > start && ((unsigned char)v->text[at] & 0xc0) == 0x80)
            at--;
        if (!is_one_of(v->text + at, end - at, set)) break;
        end = at;
    }
    return ct_jinja_part(r, v, start, end, out);
}

typedef struct pieces {
    jinja_list *list;
    uint32_t capacity;
} pieces;

static bool add_piece(jinja_render *r, pieces *p, const jinja_value *text, size_t start, size_t end) {
    jinja_value piece;
    return ct_jinja_part(r, text, start, end, &piece) && ct_jinja_list_push(r, p->list, &p->capacity, &piece);
}

static bool split_space(jinja_render *r, const jinja_value *v, int64_t most, pieces *p) {
    static const jinja_value space = {.kind = JINJA_NONE};
    size_t at = 0;
    for (;;) {
        jinja_value rest;
        size_t end;
        if (!ct_jinja_part(r, v, at, v->length, &rest) || !strip(r, &rest, &space, true, false, &rest))
            return false;
        at = v->length - rest.length;
        if (at >= v->length) return true;
        if (most == 0) return add_piece(r, p, v, at, v->length);
        for (end = at; end < v->length;) {
            uint32_t code;
            size_t n = jinja_decode(v->text + end, v->length - end, &code);
            if (ct_jinja_space(code)) break;
            end += n;
        }
        if (!add_piece(r, p, v, at, end)) return false;
        at = end;
        most -= most > 0;
    }
}

/* Counted as work, because the part is compared anew at every place where its first byte stands. */
static size_t find_last(jinja_render *r, const char *text, size_t length, const jinja_value *part) {
    if (part->length > length) return SIZE_MAX;
    if (!part->length) return length;
    for (size_t end = length - part->length + 1;;) {
        const char *at = memrchr(text, part->text[0], end);
        if (!at || !jinja_work(r, 1 + part->length / 32)) return SIZE_MAX;
        if (memcmp(at, part->text, part->length) == 0) return (size_t)(at - text);
        end = (size_t)(at - text);
    }
}

static void turn(jinja_list *list) {
    for (uint32_t i = 0; i + 1 < list->count - i; i++) {
        jinja_value item = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = item;
    }
}

static bool rsplit_space(jinja_render *r, const jinja_value *v, int64_t most, pieces *p) {
    static const jinja_value space = {.kind = JINJA_NONE};
    jinja_value rest = *v;
    while (strip(r, &rest, &space, false, true, &rest) && rest.length) {
        size_t start = rest.length;
        while (start > 0) {
            size_t at = start - 1;
            uint32_t code;
            while (at > 0 && ((unsigned char)rest.text[at] & 0xc0) == 0x80)
                at--;
            jinja_decode(rest.text + at, start - at, &code);
            if (ct_jinja_space(code)) break;
            start = at;
        }
        if (most == 0) {
            if (!add_piece(r, p, &rest, 0, rest.length)) return false;
            break;
        }
        if (!add_piece(r, p, &rest, start, rest.length) || !ct_jinja_part(r, &rest, 0, start, &rest))
            return false;
        most -= most > 0;
    }
    if (p->list->count) turn(p->list);
    return !r->failed;
}

static bool split(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                  jinja_value *out) {
    jinja_value given[2];
    pieces p = {0};
    int64_t most;
    size_t at = 0, end = v->length, found;
    if (!ct_jinja_bind(r, names[id], "sep maxsplit", 0, arguments, given) ||
        !ct_jinja_integer_of(r, names[id], &given[1], -1, &most) || !(p.list = ct_jinja_list(r, 0)))
        return false;
    *out = (jinja_value){.kind = JINJA_LIST, .list = p.list};
    if (given[0].kind == JINJA_MISSING || given[0].kind == JINJA_NONE)
        return id == SPLIT ? split_space(r, v, most, &p) : rsplit_space(r, v, most, &p);
    if (!want_text(r, id, &given[0])) return false;
    if (!given[0].length) return ct_jinja_fail(r, "empty separator");
    for (; most != 0; most -= most > 0) {
        if (!jinja_work(r, 1)) return false;
        found = id == SPLIT ? ct_jinja_find(v->text, v->length, given[0].text, given[0].length, at)
                            : find_last(r, v->text, end, &given[0]);
        if (found == SIZE_MAX) break;
        if (id == SPLIT ? !add_piece(r, &p, v, at, found)
                        : !add_piece(r, &p, v, found + given[0].length, end))
            return false;
        if (id == SPLIT)
            at = found + given[0].length;
        else
            end = found;
    }
    if (!add_piece(r, &p, v, at, end)) return false;
    if (id == RSPLIT) turn(p.list);
    return true;
}

/* \r\n, \n, \r and the other line ends of str.splitlines. */
static bool split_lines(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_value keep;
    pieces p = {0};
    size_t at = 0, start = 0;
    if (!ct_jinja_bind(r, "splitlines", "keepends", 0, arguments, &keep) || !(p.list = ct_jinja_list(r, 0)))
        return false;
    bool ends = ct_jinja_truth(&keep);
    while (at < v->length) {
        uint32_t c;
        size_t n = jinja_decode(v->text + at, v->length - at, &c);
        bool line =
            (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
        size_t next = at + n;
        if (c == '\r' && next < v->length && v->text[next] == '\n') next++;
        if (line && !add_piece(r, &p, v, start, ends ? next : at)) return false;
        if (line) start = next;
        at = next;
    }
    if (start < v->length && !add_piece(r, &p, v, start, v->length)) return false;
    *out = (jinja_value){.kind = JINJA_LIST, .list = p.list};
    return jinja_work(r, v->length / 16);
}

/* --------------------------------------------------------------------------------------------- search */

/* Bytes of the range that start and end, in characters, name. False: start lies beyond the text. */
static bool range_of(jinja_render *r, int id, const jinja_value *v, const jinja_value *given, size_t *from,
                     size_t *to, bool *within) {
    int64_t count = (int64_t)ct_jinja_characters(v->text, v->length), start, stop;
    jinja_value bounds[2] = {given[0], given[1]};
    for (int i = 0; i < 2; i++)
        if (bounds[i].kind == JINJA_NONE) bounds[i].kind = JINJA_MISSING;
    if (!ct_jinja_integer_of(r, names[id], &bounds[0], 0, &start) ||
        !ct_jinja_integer_of(r, names[id], &bounds[1], count, &stop))
        return false;
    if (start < 0) start = start + count < 0 ? 0 : start + count;
    if (stop < 0) stop = stop + count < 0 ? 0 : stop + count;
    if (stop > count) stop = count;
    *within = start <= count && start <= stop;
    if (!*within) return true;
    *from = ct_jinja_offset(v->text, v->length, (size_t)start);
    *to = ct_jinja_offset(v->text, v->length, (size_t)stop);
    return jinja_work(r, v->length / 16);
}

static bool find(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                 jinja_value *out) {
    jinja_value given[3];
    size_t from = 0, to = 0, at = SIZE_MAX;
    int64_t count = 0;
    bool within;
    if (!ct_jinja_bind(r, names[id], "sub start end", 1, arguments, given) || !want_text(r, id, &given[0]) ||
        !range_of(r, id, v, given + 1, &from, &to, &within))
        return false;
    if (within && id == COUNT) {
        if (!given[0].length) count = (int64_t)ct_jinja_characters(v->text + from, to - from) + 1;
        for (size_t p = from; given[0].length &&
                              (p = ct_jinja_find(v->text, to, given[0].text, given[0].length, p)) != SIZE_MAX;
             p += given[0].length)
            count++;
    } else if (within && (id == RFIND || id == RINDEX)) {
        at = find_last(r, v->text + from, to - from, &given[0]);
        if (at != SIZE_MAX) at += from;
    } else if (within) {
        at = ct_jinja_find(v->text, to, given[0].text, given[0].length, from);
    }
    if (at == SIZE_MAX && (id == INDEX || id == RINDEX)) return ct_jinja_fail(r, "substring not found");
    *out = jinja_int(id == COUNT ? count : at == SIZE_MAX ? -1 : (int64_t)ct_jinja_characters(v->text, at));
    return true;
}

/* The argument is a string or a tuple of them. */
static bool has_edge(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                     jinja_value *out) {
    jinja_value given[3];
    size_t from = 0, to = 0;
    bool within, holds = false;
    if (!ct_jinja_bind(r, names[id], "prefix start end", 1, arguments, given) ||
        !range_of(r, id, v, given + 1, &from, &to, &within))
        return false;
    const jinja_list *several = given[0].kind == JINJA_TUPLE ? given[0].list : NULL;
    for (uint32_t i = 0; i < (several ? several->count : 1); i++) {
        const jinja_value *part = several ? &several->items[i] : &given[0];
        if (part->kind != JINJA_STRING)
            return ct_jinja_fail(r, "%s first arg must be str or a tuple of str, not %s", names[id],
                                 ct_jinja_type(part));
        if (!within || part->length > to - from) continue;
        size_t at = id == STARTSWITH ? from : to - part->length;
        holds = holds || memcmp(v->text + at, part->text, part->length) == 0;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool partition(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                      jinja_value *out) {
    jinja_value separator;
    if (!ct_jinja_bind(r, names[id], "sep", 1, arguments, &separator) || !want_text(r, id, &separator))
        return false;
    if (!separator.length) return ct_jinja_fail(r, "empty separator");
    size_t at = id == PARTITION ? ct_jinja_find(v->text, v->length, separator.text, separator.length, 0)
                                : find_last(r, v->text, v->length, &separator);
    jinja_list *list = ct_jinja_list(r, 3);
    if (!list) return false;
    for (int i = 0; i < 3; i++)
        list->items[i] = jinja_text("", 0);
    *out = (jinja_value){.kind = JINJA_TUPLE, .list = list};
    if (at == SIZE_MAX) {
        list->items[id == PARTITION ? 0 : 2] = *v;
        return true;
    }
    list->items[1] = separator;
    return ct_jinja_part(r, v, 0, at, &list->items[0]) &&
           ct_jinja_part(r, v, at + separator.length, v->length, &list->items[2]);
}

/* ------------------------------------------------------------------------------------------ the others */

static bool join(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments, jinja_value *out) {
    jinja_value given;
    jinja_list *items;
    if (!ct_jinja_bind(r, "join", "iterable", 1, arguments, &given) || !ct_jinja_items(r, &given, &items))
        return false;
    jinja_capture capture = ct_jinja_begin(r);
    for (uint32_t i = 0; i < items->count; i++) {
        if (items->items[i].kind != JINJA_STRING)
            return ct_jinja_fail(r, "sequence item %u: expected str instance, %s found", i,
                                 ct_jinja_type(&items->items[i]));
        if ((i && !jinja_put_text(r, v)) || !jinja_put_text(r, &items->items[i])) return false;
    }
    return ct_jinja_end(r, capture, out);
}

static bool format(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments,
                   jinja_value *out) {
    jinja_list *positional = ct_jinja_list(r, arguments->count);
    jinja_dict *named = positional ? ct_jinja_dict(r, arguments->named) : NULL;
    if (!named) return false;
    if (arguments->count)
        memcpy(positional->items, arguments->values, arguments->count * sizeof(*positional->items));
    for (uint32_t k = 0; k < arguments->named; k++)
        if (!ct_jinja_dict_set(r, named, &arguments->names[k], &arguments->values[arguments->count + k]))
            return false;
    return ct_jinja_format_braces(r, v, positional, named, out);
}

static bool replace(jinja_render *r, const jinja_value *v, const jinja_arguments *arguments,
                    jinja_value *out) {
    jinja_value given[3];
    int64_t most;
    return ct_jinja_bind(r, "replace", "old new count", 2, arguments, given) &&
           want_text(r, REPLACE, &given[0]) && want_text(r, REPLACE, &given[1]) &&
           ct_jinja_integer_of(r, "replace", &given[2], -1, &most) &&
           ct_jinja_replace(r, v, &given[0], &given[1], most, out);
}

static bool remove_edge(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_value part;
    if (!ct_jinja_bind(r, names[id], "part", 1, arguments, &part) || !want_text(r, id, &part)) return false;
    size_t rest = v->length - (part.length <= v->length ? part.length : 0),
           at = id == REMOVEPREFIX ? 0 : rest;
    if (part.length > v->length || memcmp(v->text + at, part.text, part.length) != 0) {
        *out = *v;
        return true;
    }
    return id == REMOVEPREFIX ? ct_jinja_part(r, v, part.length, v->length, out)
                              : ct_jinja_part(r, v, 0, rest, out);
}

static bool pad(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                jinja_value *out) {
    jinja_value given[2];
    int64_t width, count = (int64_t)ct_jinja_characters(v->text, v->length);
    if (!ct_jinja_bind(r, names[id], id == ZFILL ? "width" : "width fillchar", 1, arguments, given) ||
        !ct_jinja_integer_of(r, names[id], &given[0], 0, &width))
        return false;
    jinja_value fill =
        id != ZFILL && given[1].kind != JINJA_MISSING ? given[1] : jinja_text(id == ZFILL ? "0" : " ", 1);
    if (!want_text(r, id, &fill)) return false;
    if (ct_jinja_characters(fill.text, fill.length) != 1)
        return ct_jinja_fail(r, "The fill character must be exactly one character long");
    if (width <= count) {
        *out = *v;
        return true;
    }
    int64_t gap = width - count, left = id == LJUST ? 0 : gap;
    if (id == CENTER) left = gap / 2 + (gap & width & 1);
    size_t sign = id == ZFILL && v->length && (v->text[0] == '-' || v->text[0] == '+');
    jinja_capture capture = ct_jinja_begin(r);
    if (!jinja_put_part(r, v, 0, sign)) return false;
    for (int64_t i = 0; i < gap; i++) {
        if (i == left && !jinja_put_part(r, v, sign, v->length)) return false;
        if (!jinja_work(r, 1) || !jinja_put_text(r, &fill)) return false;
    }
    if (left == gap && !jinja_put_part(r, v, sign, v->length)) return false;
    return ct_jinja_end(r, capture, out);
}

static bool by_case(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                    jinja_value *out) {
    static const jinja_case how[] = {JINJA_UPPER,   JINJA_LOWER, JINJA_TITLE,
                                     JINJA_CAPITAL, JINJA_SWAP,  JINJA_LOWER};
    jinja_value none;
    return ct_jinja_bind(r, names[id], "", 0, arguments, &none) && ct_jinja_case(r, v, how[id - UPPER], out);
}

static bool by_class(jinja_render *r, const jinja_value *v, int id, const jinja_arguments *arguments,
                     jinja_value *out) {
    static const jinja_class which[] = {JINJA_DIGIT,    JINJA_ALPHA,    JINJA_ALNUM, JINJA_SPACES,
                                        JINJA_IS_UPPER, JINJA_IS_LOWER, JINJA_DIGIT, JINJA_DIGIT};
    jinja_value none;
    if (!ct_jinja_bind(r, names[id], "", 0, arguments, &none)) return false;
    *out = jinja_bool(ct_jinja_class_of(v, which[id - ISDIGIT]));
    return jinja_work(r, v->length / 8);
}

bool ct_jinja_call_text(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_value set;
    if (id <= RSTRIP) {
        if (!ct_jinja_bind(r, names[id], "chars", 0, arguments, &set)) return false;
        if (set.kind != JINJA_MISSING && set.kind != JINJA_NONE && !want_text(r, id, &set)) return false;
        return strip(r, self, &set, id != RSTRIP, id != LSTRIP, out);
    }
    if (id <= RSPLIT) return split(r, self, id, arguments, out);
    if (id == SPLITLINES) return split_lines(r, self, arguments, out);
    if (id <= ENDSWITH) return has_edge(r, self, id, arguments, out);
    if (id <= CASEFOLD) return by_case(r, self, id, arguments, out);
    if (id == REPLACE) return replace(r, self, arguments, out);
    if (id <= COUNT) return find(r, self, id, arguments, out);
    if (id == JOIN) return join(r, self, arguments, out);
    if (id == FORMAT) return format(r, self, arguments, out);
    if (id <= REMOVESUFFIX) return remove_edge(r, self, id, arguments, out);
    if (id <= RPARTITION) return partition(r, self, id, arguments, out);
    if (id <= ISDECIMAL) return by_class(r, self, id, arguments, out);
    return pad(r, self, id, arguments, out);
}
