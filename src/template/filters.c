/* filters.c - the table of filters, and those of single values. Arguments have the names that Jinja gives
 * them. */
#include "template/filters.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool upper(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text;
    return ct_jinja_bind(r, "upper", "", 0, a, NULL) && ct_jinja_string(r, v, &text) &&
           ct_jinja_case(r, &text, JINJA_UPPER, out);
}
static bool lower(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text;
    return ct_jinja_bind(r, "lower", "", 0, a, NULL) && ct_jinja_string(r, v, &text) &&
           ct_jinja_case(r, &text, JINJA_LOWER, out);
}
static bool title(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text;
    return ct_jinja_bind(r, "title", "", 0, a, NULL) && ct_jinja_string(r, v, &text) &&
           ct_jinja_case(r, &text, JINJA_WORDS, out);
}
static bool capitalize(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text;
    return ct_jinja_bind(r, "capitalize", "", 0, a, NULL) && ct_jinja_string(r, v, &text) &&
           ct_jinja_case(r, &text, JINJA_CAPITAL, out);
}

static bool trim(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given, text;
    bool refused;
    if (!ct_jinja_bind(r, "trim", "chars", 0, a, &given) || !ct_jinja_string(r, v, &text)) return false;
    const jinja_arguments chars = {.values = &given, .count = given.kind != JINJA_MISSING};
    return ct_jinja_call_text(r, &text, ct_jinja_text_method("strip", 5, &refused), &chars, out);
}

static bool string(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    return ct_jinja_bind(r, "string", "", 0, a, NULL) && ct_jinja_string(r, v, out);
}
static bool safe(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    if (!ct_jinja_bind(r, "safe", "", 0, a, NULL) || !ct_jinja_string(r, v, out)) return false;
    out->safe = true;
    return true;
}
static bool escape(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text;
    return ct_jinja_bind(r, "escape", "", 0, a, NULL) && ct_jinja_string(r, v, &text) &&
           ct_jinja_escape(r, &text, out);
}

static bool otherwise(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[2];
    if (!ct_jinja_bind(r, "default", "default_value boolean", 0, a, given)) return false;
    bool missing = v->kind == JINJA_UNDEFINED || (ct_jinja_truth(&given[1]) && !ct_jinja_truth(v));
    *out = !missing ? *v : given[0].kind == JINJA_MISSING ? jinja_text("", 0) : given[0];
    return true;
}

static bool replace(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[3], text, from, to;
    int64_t most = -1;
    if (!ct_jinja_bind(r, "replace", "old new count", 2, a, given)) return false;
    if (given[2].kind != JINJA_NONE && !ct_jinja_integer_of(r, "replace", &given[2], -1, &most)) return false;
    return ct_jinja_string(r, v, &text) && ct_jinja_string(r, &given[0], &from) &&
           ct_jinja_string(r, &given[1], &to) && ct_jinja_replace(r, &text, &from, &to, most, out);
}

static bool format(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value text, with;
    if (a->count && a->named)
        return ct_jinja_fail(r, "can't handle positional and keyword arguments at the same time");
    if (!ct_jinja_string(r, v, &text)) return false;
    if (a->named) {
        jinja_dict *dict = ct_jinja_dict(r, a->named);
        for (uint32_t k = 0; dict && k < a->named; k++)
            if (!ct_jinja_dict_set(r, dict, &a->names[k], &a->values[k])) return false;
        if (!dict) return false;
        with = (jinja_value){.kind = JINJA_DICT, .dict = dict};
    } else {
        jinja_list *list = ct_jinja_list(r, a->count);
        if (!list) return false;
        if (a->count) memcpy(list->items, a->values, a->count * sizeof(*list->items));
        with = (jinja_value){.kind = JINJA_TUPLE, .list = list};
    }
    return ct_jinja_format_percent(r, &text, &with, out);
}

/* Every line but the first, if it is not empty, behind `width` blanks. */
static bool indent(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[3], text, margin;
    int64_t width = 4;
    bool refused;
    if (!ct_jinja_bind(r, "indent", "width first blank", 0, a, given) || !ct_jinja_string(r, v, &text))
        return false;
    if (given[0].kind == JINJA_STRING) {
        margin = given[0];
    } else {
        if (!ct_jinja_integer_of(r, "indent", &given[0], 4, &width)) return false;
        const jinja_value blank = jinja_text(" ", 1), times = jinja_int(width);
        if (!ct_jinja_binary(r, JINJA_MULTIPLY, &blank, &times, &margin)) return false;
    }
    const jinja_value newline = jinja_text("\n", 1);
    jinja_value whole, lines;
    const jinja_arguments none = {0};
    if (!ct_jinja_concat(r, &text, &newline, &whole) ||
        !ct_jinja_call_text(r, &whole, ct_jinja_text_method("splitlines", 10, &refused), &none, &lines))
        return false;
    jinja_capture capture = ct_jinja_begin(r);
    for (uint32_t i = 0; i < lines.list->count; i++) {
        const jinja_value *line = &lines.list->items[i];
        bool put = i ? line->length || ct_jinja_truth(&given[2]) : ct_jinja_truth(&given[1]);
        if ((i && !ct_jinja_put(r, "\n", 1, 0)) || (put && !jinja_put_text(r, &margin)) ||
            !jinja_put_text(r, line))
            return false;
    }
    return ct_jinja_end(r, capture, out);
}

/* ------------------------------------------------------------------------------------------ numbers */

static bool blank(char c) {
    return (unsigned char)c < 0x80 && ct_jinja_space((unsigned char)c);
}

/* A number as text, with blanks around and underscores between digits; false if it is none. */
static bool clean_number(const jinja_value *text, char *buffer, size_t size) {
    size_t n = 0, start = 0, end = text->length;
    while (start < end && blank(text->text[start]))
        start++;
    while (end > start && blank(text->text[end - 1]))
        end--;
    if (end == start || end - start >= size) return false;
    for (size_t i = start; i < end; i++) {
        char c = text->text[i];
        if (c == '_' && i > start && i + 1 < end && text->text[i - 1] != '_') continue;
        if (c == '_' || c == '\0' || (unsigned char)c >= 0x80) return false;
        buffer[n++] = c;
    }
    buffer[n] = '\0';
    return true;
}

static bool parse_real(const jinja_value *text, double *real) {
    char buffer[400], *end;
    if (!clean_number(text, buffer, sizeof(buffer)) || strpbrk(buffer, "xXpP(")) return false;
    *real = strtod(buffer, &end);
    return *end == '\0';
}

static bool parse_integer(jinja_render *r, const jinja_value *text, int64_t base, int64_t *integer,
                          bool *large) {
    char buffer[128], *s = buffer;
    *large = false;
    if (!clean_number(text, buffer, sizeof(buffer))) return false;
    bool negative = *s == '-';
    s += *s == '-' || *s == '+';
    char mark = *s == '0' ? (char)(s[1] | 0x20) : 0;
    int prefix = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (prefix && (base == 0 || base == prefix)) {
        base = prefix;
        s += 2;
    }
    if (base == 0) base = 10;
    if (!*s) return false;
    uint64_t value = 0;
    for (; *s; s++) {
        int digit = *s >= '0' && *s <= '9'                     ? *s - '0'
                    : (*s | 0x20) >= 'a' && (*s | 0x20) <= 'z' ? (*s | 0x20) - 'a' + 10
                                                               : 99;
        if (digit >= base) return false;
        *large = *large || value > ((uint64_t)INT64_MAX - (uint64_t)digit) / (uint64_t)base;
        value = value * (uint64_t)base + (uint64_t)digit;
    }
    (void)r;
    *integer = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool integer(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[2];
    int64_t base, result = 0;
    double real = 0;
    bool large = false;
    if (!ct_jinja_bind(r, "int", "default base", 0, a, given) ||
        !ct_jinja_integer_of(r, "int", &given[1], 10, &base))
        return false;
    *out = given[0].kind == JINJA_MISSING ? jinja_int(0) : given[0];
    if (v->kind == JINJA_INT || v->kind == JINJA_BOOL) {
        *out = jinja_int(jinja_integer(v));
        return true;
    }
    if (v->kind == JINJA_STRING && base != 0 && (base < 2 || base > 36)) return true;
    if (v->kind == JINJA_STRING && parse_integer(r, v, base, &result, &large)) {
        if (large) return ct_jinja_fail(r, "an integer beyond 64 bits");
        *out = jinja_int(result);
        return true;
    }
    if (v->kind == JINJA_REAL)
        real = v->real;
    else if (v->kind != JINJA_STRING || !parse_real(v, &real))
        return true;
    if (!isfinite(real)) return true;
    if (!(fabs(real) < 9.2e18)) return ct_jinja_fail(r, "an integer beyond 64 bits");
    *out = jinja_int((int64_t)real);
    return true;
}

static bool real(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given;
    double value;
    if (!ct_jinja_bind(r, "float", "default", 0, a, &given)) return false;
    *out = given.kind == JINJA_MISSING ? jinja_real(0) : given;
    if (jinja_is_number(v))
        *out = jinja_real(jinja_number(v));
    else if (v->kind == JINJA_STRING && parse_real(v, &value))
        *out = jinja_real(value);
    return true;
}

static bool absolute(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    if (!ct_jinja_bind(r, "abs", "", 0, a, NULL)) return false;
    if (!jinja_is_number(v))
        return v->kind == JINJA_UNDEFINED
                   ? ct_jinja_fail(r, "%s", v->text)
                   : ct_jinja_fail(r, "bad operand type for abs(): '%s'", ct_jinja_type(v));
    if (v->kind == JINJA_REAL)
        *out = jinja_real(fabs(v->real));
    else if (jinja_integer(v) < 0)
        return ct_jinja_unary(r, JINJA_NEGATIVE, v, out);
    else
        *out = jinja_int(jinja_integer(v));
    return true;
}

/* round() of Python: to the nearest decimal of the exact value, ties to even. */
static double rounded(double value, int64_t digits) {
    char text[400];
    if (digits > 300 || !isfinite(value)) return value;
    if (digits >= 0) {
        snprintf(text, sizeof(text), "%.*f", (int)digits, value);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)(digits < -308 ? 308 : -digits));
    return nearbyint(value / scale) * scale;
}

static bool round_to(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[2];
    int64_t digits;
    if (!ct_jinja_bind(r, "round", "precision method", 0, a, given) ||
        !ct_jinja_integer_of(r, "round", &given[0], 0, &digits))
        return false;
    bool common = given[1].kind == JINJA_MISSING || ct_jinja_is(&given[1], "common");
    bool up = ct_jinja_is(&given[1], "ceil");
    if (!common && !up && !ct_jinja_is(&given[1], "floor"))
        return ct_jinja_fail(r, "method must be common, ceil or floor");
    if (!jinja_is_number(v))
        return ct_jinja_fail(r, "type %s doesn't define __round__ method", ct_jinja_type(v));
    if (common && v->kind != JINJA_REAL && digits >= 0) {
        *out = jinja_int(jinja_integer(v));
        return true;
    }
    double value = jinja_number(v), scale = pow(10, (double)digits);
    if (common)
        value = rounded(value, digits);
    else
        value = (up ? ceil(value * scale) : floor(value * scale)) / scale;
    *out = common && v->kind != JINJA_REAL ? jinja_int((int64_t)value) : jinja_real(value);
    return true;
}

/* ------------------------------------------------------------------------------------------- tojson */

/* What json.dumps calls separators: a pair of texts. */
static bool separators(jinja_render *r, const jinja_value *v, jinja_json *style) {
    if (!jinja_is_sequence(v) || v->list->count != 2 || v->list->items[0].kind != JINJA_STRING ||
        v->list->items[1].kind != JINJA_STRING)
        return ct_jinja_fail(r, "tojson: separators are two texts");
    style->comma = v->list->items[0].text;
    style->comma_length = v->list->items[0].length;
    style->colon = v->list->items[1].text;
    style->colon_length = v->list->items[1].length;
    return true;
}

static bool tojson(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out) {
    jinja_value given[4], margin;
    jinja_json style = {.comma = ", ", .comma_length = 2, .colon = ": ", .colon_length = 2};
    if (!ct_jinja_bind(r, "tojson", "ensure_ascii indent separators sort_keys", 0, a, given)) return false;
    style.ascii = ct_jinja_truth(&given[0]);
    style.sort = ct_jinja_truth(&given[3]);
    if (given[1].kind != JINJA_MISSING && given[1].kind != JINJA_NONE) {
        const jinja_value blank = jinja_text(" ", 1);
        margin = given[1];
        if (margin.kind != JINJA_STRING && !ct_jinja_binary(r, JINJA_MULTIPLY, &blank, &given[1], &margin))
            return false;
        style.lines = true;
        style.indent = margin.text;
        style.indent_length = margin.length;
        style.comma_length = 1;
    }
    if (given[2].kind != JINJA_MISSING && given[2].kind != JINJA_NONE && !separators(r, &given[2], &style))
        return false;
    return ct_jinja_json(r, v, &style, out);
}

/* -------------------------------------------------------------------------------------------- table */

static const jinja_filter filters[] = {{"abs", absolute},
                                       {"attr", ct_filter_attr},
                                       {"batch", ct_filter_batch},
                                       {"capitalize", capitalize},
                                       {"count", ct_filter_length},
                                       {"d", otherwise},
                                       {"default", otherwise},
                                       {"dictsort", ct_filter_dictsort},
                                       {"e", escape},
                                       {"escape", escape},
                                       {"first", ct_filter_first},
                                       {"float", real},
                                       {"format", format},
                                       {"groupby", ct_filter_groupby},
                                       {"indent", indent},
                                       {"int", integer},
                                       {"items", ct_filter_items},
                                       {"join", ct_filter_join},
                                       {"last", ct_filter_last},
                                       {"length", ct_filter_length},
                                       {"list", ct_filter_list},
                                       {"lower", lower},
                                       {"map", ct_filter_map},
                                       {"max", ct_filter_max},
                                       {"min", ct_filter_min},
                                       {"reject", ct_filter_reject},
                                       {"rejectattr", ct_filter_rejectattr},
                                       {"replace", replace},
                                       {"reverse", ct_filter_reverse},
                                       {"round", round_to},
                                       {"safe", safe},
                                       {"select", ct_filter_select},
                                       {"selectattr", ct_filter_selectattr},
                                       {"slice", ct_filter_slice},
                                       {"sort", ct_filter_sort},
                                       {"string", string},
                                       {"sum", ct_filter_sum},
                                       {"title", title},
                                       {"tojson", tojson},
                                       {"trim", trim},
                                       {"unique", ct_filter_unique},
                                       {"upper", upper}};
enum { FILTERS = sizeof(filters) / sizeof(filters[0]) };

const jinja_filter *ct_jinja_filter_find(const char *name, size_t length) {
    for (int i = 0; i < FILTERS; i++)
        if (strlen(filters[i].name) == length && memcmp(filters[i].name, name, length) == 0)
            return &filters[i];
    return NULL;
}

const char *ct_jinja_filter_nearest(const char *name) {
    const char *names[FILTERS];
    for (int i = 0; i < FILTERS; i++)
        names[i] = filters[i].name;
    return ct_nearest_name(name, names, FILTERS);
}
