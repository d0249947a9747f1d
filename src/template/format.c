/* format.c - formatting of strings: "%s of %d" % (a, b) and "{} of {name:>8}".format(a, name=b). */
#include "template/value.h"
#include <math.h>
#include <string.h>

enum { MOST_WIDTH = 10000, MOST_PRECISION = 100 };

/* What stands behind % or a colon. */
typedef struct spec {
    uint32_t fill, fill_length;
    const char *fill_text;
    char align, sign, type; /* 0: not given */
    bool alternate, zero, comma;
    int64_t width, precision; /* precision -1: not given */
} spec;

static bool put_fill(jinja_render *r, const spec *s, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!ct_jinja_put(r, s->fill_text, s->fill_length, 0)) return false;
    return true;
}

/* The text within its width; `otherwise` is the side it stands on if the specification says none. */
static bool put_padded(jinja_render *r, const spec *s, const jinja_value *text, char otherwise) {
    int64_t gap = s->width - (int64_t)ct_jinja_characters(text->text, text->length);
    char align = s->align ? s->align : otherwise;
    int64_t left = gap <= 0 ? 0 : align == '>' ? gap : align == '^' ? gap / 2 : 0;
    return put_fill(r, s, left) && jinja_put_text(r, text) && put_fill(r, s, gap > left ? gap - left : 0);
}

/* ----------------------------------------------------------------------------------------- numbers */

/* Zeros or padding go between the sign and the digits. */
static bool put_number(jinja_render *r, const spec *s, const char *sign, const char *digits) {
    int64_t gap = s->width - (int64_t)(strlen(sign) + strlen(digits));
    bool inner = s->align == '=' || (s->zero && !s->align);
    if (inner) {
        spec zeros = *s;
        if (s->zero && !s->align) {
            zeros.fill_text = "0";
            zeros.fill_length = 1;
        }
        return ct_jinja_put(r, sign, strlen(sign), 0) && put_fill(r, &zeros, gap > 0 ? gap : 0) &&
               ct_jinja_put(r, digits, strlen(digits), 0);
    }
    char whole[520];
    snprintf(whole, sizeof(whole), "%s%s", sign, digits);
    const jinja_value text = jinja_text(whole, strlen(whole));
    return put_padded(r, s, &text, '>');
}

static void group(char *digits, size_t size) {
    size_t whole = strspn(digits, "0123456789"), length = strlen(digits);
    for (size_t at = whole; at > 3 && length + 2 < size; length++) {
        at -= 3;
        memmove(digits + at + 1, digits + at, length - at + 1);
        digits[at] = ',';
    }
}

static const char *sign_of(const spec *s, bool negative) {
    return negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
}

static bool put_integer(jinja_render *r, const spec *s, int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[200], sign[8];
    size_t n = 0;
    char type = s->type ? s->type : 'd';
    if (type == 'b') {
        int bit = 63;
        while (bit > 0 && !(magnitude >> bit & 1))
            bit--;
        for (; bit >= 0; bit--)
            digits[n++] = (char)('0' + (magnitude >> bit & 1));
        digits[n] = '\0';
    } else if (type == 'x') {
        snprintf(digits, sizeof(digits), "%llx", (unsigned long long)magnitude);
    } else if (type == 'X') {
        snprintf(digits, sizeof(digits), "%llX", (unsigned long long)magnitude);
    } else if (type == 'o') {
        snprintf(digits, sizeof(digits), "%llo", (unsigned long long)magnitude);
    } else {
        int precision = s->precision > 0 ? (int)s->precision : 1; /* %.3d */
        snprintf(digits, sizeof(digits), "%.*llu", precision, (unsigned long long)magnitude);
    }
    if (s->comma) group(digits, sizeof(digits));
    snprintf(sign, sizeof(sign), "%s%s", sign_of(s, value < 0),
             s->alternate && strchr("bxXo", type) ? (const char[]){'0', type, '\0'} : "");
    return put_number(r, s, sign, digits);
}

static bool put_real(jinja_render *r, const spec *s, double value) {
    char digits[480], form[8] = "%.*f";
    char type = s->type ? s->type : 'r';
    bool percent = type == '%', negative = signbit(value) && !isnan(value);
    double magnitude = fabs(percent ? value * 100 : value);
    if (!isfinite(value)) {
        snprintf(digits, sizeof(digits), "%s", isnan(value) ? "nan" : "inf");
    } else if (type == 'r' && s->precision < 0) {
        ct_jinja_real_text(magnitude, digits);
    } else {
        form[3] = percent ? 'f' : type == 'r' ? 'g' : type;
        snprintf(digits, sizeof(digits), s->alternate ? (form[3] == 'g' ? "%#.*g" : "%#.*f") : form,
                 s->precision < 0 ? 6 : (int)s->precision, magnitude);
    }
    if (percent) strcat(digits, "%");
    if (s->comma) group(digits, sizeof(digits));
    return put_number(r, s, sign_of(s, negative), digits);
}

static bool put_text(jinja_render *r, const spec *s, const jinja_value *v) {
    jinja_value text = *v;
    if (s->precision >= 0) {
        size_t end = ct_jinja_offset(v->text, v->length, (size_t)s->precision);
        if (!ct_jinja_part(r, v, 0, end, &text)) return false;
    }
    return put_padded(r, s, &text, '<');
}

/* --------------------------------------------------------------------------------------- % operator */

typedef struct percent {
    const jinja_value *with; /* the right side */
    uint32_t at;             /* of a tuple: the next item */
    bool mapping;            /* a key was used */
} percent;

static bool next_argument(jinja_render *r, percent *p, jinja_value *out) {
    if (p->with->kind == JINJA_TUPLE ? p->at >= p->with->list->count : p->at > 0)
        return ct_jinja_fail(r, "not enough arguments for format string");
    *out = p->with->kind == JINJA_TUPLE ? p->with->list->items[p->at] : *p->with;
    p->at++;
    return true;
}

static bool percent_number(jinja_render *r, percent *p, const jinja_value *text, size_t *at, int64_t most,
                           int64_t *out) {
    jinja_value star;
    if (*at < text->length && text->text[*at] == '*') {
        ++*at;
        if (!next_argument(r, p, &star)) return false;
        if (star.kind != JINJA_INT) return ct_jinja_fail(r, "* wants int");
        *out = star.integer;
    } else {
        for (; *at < text->length && text->text[*at] >= '0' && text->text[*at] <= '9'; ++*at)
            if (*out <= most) *out = *out * 10 + (text->text[*at] - '0');
    }
    if (*out > most || *out < -most)
        return ct_jinja_fail(r, "a width or precision beyond %lld in a format", (long long)most);
    return true;
}

static bool percent_key(jinja_render *r, percent *p, const jinja_value *text, size_t *at,
                        jinja_value *value) {
    const char *end = memchr(text->text + *at, ')', text->length - *at);
    if (!end) return ct_jinja_fail(r, "incomplete format key");
    if (p->with->kind != JINJA_DICT) return ct_jinja_fail(r, "format requires a mapping");
    size_t length = (size_t)(end - text->text) - *at - 1;
    const jinja_value *item = ct_jinja_dict_find(r, p->with->dict, text->text + *at + 1, length);
    if (!item)
        return ct_jinja_fail(r, "KeyError: '%.*s'", (int)(length < 80 ? length : 80), text->text + *at + 1);
    *value = *item;
    p->mapping = true;
    *at += length + 2;
    return true;
}

static bool put_percent(jinja_render *r, spec *s, const jinja_value *value) {
    char type = s->type;
    if (type == 's' || type == 'r' || type == 'a') {
        jinja_value text;
        jinja_capture capture = ct_jinja_begin(r);
        bool fine = type == 's' ? ct_jinja_put_string(r, value) : ct_jinja_put_repr(r, value);
        if (!fine || !ct_jinja_end(r, capture, &text)) return false;
        if (!s->align) s->align = '>';
        return put_text(r, s, &text);
    }
    if (type == 'c' && value->kind == JINJA_STRING && ct_jinja_characters(value->text, value->length) == 1)
        return put_padded(r, s, value, '>');
    if (!jinja_is_number(value))
        return ct_jinja_fail(r, "%%%c format: a real number is required, not %s", type, ct_jinja_type(value));
    if (strchr("eEfFgG", type)) {
        if (s->precision < 0) s->precision = 6;
        return put_real(r, s, jinja_number(value));
    }
    s->type = type == 'i' || type == 'u' ? 'd' : type;
    if (value->kind != JINJA_REAL) return put_integer(r, s, jinja_integer(value));
    if (!(fabs(value->real) < 9e18)) return ct_jinja_fail(r, "an integer beyond 64 bits");
    return put_integer(r, s, (int64_t)value->real);
}

static bool percent_one(jinja_render *r, percent *p, const jinja_value *text, size_t *at) {
    spec s = {.fill_text = " ", .fill_length = 1, .precision = -1};
    jinja_value value = {.kind = JINJA_MISSING};
    if (*at < text->length && text->text[*at] == '(' && !percent_key(r, p, text, at, &value)) return false;
    for (; *at < text->length && strchr("-+ #0", text->text[*at]) && text->text[*at]; ++*at) {
        char flag = text->text[*at];
        if (flag == '-')
            s.align = '<';
        else if (flag == '+')
            s.sign = '+';
        else if (flag == ' ' && !s.sign)
            s.sign = ' ';
        else if (flag == '#')
            s.alternate = true;
        else if (flag == '0')
            s.zero = true;
    }
    if (!percent_number(r, p, text, at, MOST_WIDTH, &s.width)) return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    if (*at < text->length && text->text[*at] == '.') {
        ++*at;
        s.precision = 0;
        if (!percent_number(r, p, text, at, MOST_PRECISION, &s.precision)) return false;
        if (s.precision < 0) s.precision = 0;
    }
    if (*at >= text->length) return ct_jinja_fail(r, "incomplete format");
    s.type = text->text[(*at)++];
    if (s.type == '%') return ct_jinja_put(r, "%", 1, 0);
    if (!s.type || !strchr("diouxXeEfFgGcrsa", s.type))
        return ct_jinja_fail(r, "unsupported format character '%c'", s.type);
    if (value.kind == JINJA_MISSING && !next_argument(r, p, &value)) return false;
    return put_percent(r, &s, &value);
}

bool ct_jinja_format_percent(jinja_render *r, const jinja_value *format, const jinja_value *arguments,
                             jinja_value *out) {
    const jinja_value text = *format, with = *arguments;
    percent p = {.with = &with};
    size_t done = 0;
    jinja_capture capture = ct_jinja_begin(r);
    for (const char *s; (s = memchr(text.text + done, '%', text.length - done));) {
        size_t at = (size_t)(s - text.text);
        if (!jinja_work(r, 1) || !jinja_put_part(r, &text, done, at)) return false;
        done = at + 1;
        if (!percent_one(r, &p, &text, &done)) return false;
    }
    bool all = p.mapping || with.kind == JINJA_DICT ||
               (with.kind == JINJA_TUPLE ? p.at == with.list->count : p.at > 0);
    if (!all) return ct_jinja_fail(r, "not all arguments converted during string formatting");
    return jinja_put_part(r, &text, done, text.length) && ct_jinja_end(r, capture, out);
}

/* ------------------------------------------------------------------------------------- str.format */

typedef struct braces {
    const jinja_list *positional;
    const jinja_dict *named;
    uint32_t at;
    bool counted, numbered;
} braces;

static bool parse_spec(jinja_render *r, const char *text, size_t length, spec *s) {
    size_t at = 0, first = length ? ct_jinja_offset(text, length, 1) : 0;
    *s = (spec){.fill_text = " ", .fill_length = 1, .precision = -1};
    if (length > first && strchr("<>=^", text[first])) {
        s->fill_text = text;
        s->fill_length = (uint32_t)first;
        s->align = text[first];
        at = first + 1;
    } else if (length && strchr("<>=^", text[0])) {
        s->align = text[at++];
    }
    if (at < length && strchr("+- ", text[at])) s->sign = text[at++];
    if (at < length && text[at] == '#') s->alternate = at++ < length;
    if (at < length && text[at] == '0') s->zero = at++ < length;
    for (; at < length && text[at] >= '0' && text[at] <= '9'; at++)
        if (s->width <= MOST_WIDTH) s->width = s->width * 10 + (text[at] - '0');
    if (at < length && text[at] == ',') s->comma = at++ < length;
    if (at < length && text[at] == '.') {
        s->precision = 0;
        for (at++; at < length && text[at] >= '0' && text[at] <= '9'; at++)
            if (s->precision <= MOST_PRECISION) s->precision = s->precision * 10 + (text[at] - '0');
    }
    if (at < length) s->type = text[at++];
    if (at != length || s->width > MOST_WIDTH || s->precision > MOST_PRECISION ||
        (s->type && !strchr("bdoxXeEfFgGs%", s->type)))
        return ct_jinja_fail(r, "Invalid format specifier '%.*s'", (int)(length < 60 ? length : 60), text);
    return true;
}

static bool put_formatted(jinja_render *r, const jinja_value *v, const char *text, size_t length) {
    spec s;
    jinja_value string;
    if (!length) return ct_jinja_put_string(r, v);
    if (!parse_spec(r, text, length, &s)) return false;
    bool integral = v->kind == JINJA_INT || v->kind == JINJA_BOOL;
    if (integral && (!s.type || strchr("bdoxX", s.type)) && (v->kind == JINJA_INT || s.type))
        return put_integer(r, &s, jinja_integer(v));
    if (jinja_is_number(v) && (v->kind == JINJA_REAL || (s.type && strchr("eEfFgG%", s.type))) &&
        s.type != 's')
        return put_real(r, &s, jinja_number(v));
    if (v->kind != JINJA_STRING || (s.type && s.type != 's'))
        return ct_jinja_fail(r, "Unknown format code '%c' for object of type '%s'", s.type ? s.type : 's',
                             ct_jinja_type(v));
    return ct_jinja_string(r, v, &string) && put_text(r, &s, &string);
}

/* The first part of a field: a number, a name, or nothing. */
static bool field_base(jinja_render *r, braces *b, const char *text, size_t length, jinja_value *out) {
    uint32_t index = 0;
    bool number = length > 0 && strspn(text, "0123456789") >= length;
    if (length == 0) {
        index = b->at++;
        b->counted = true;
    }
    for (size_t i = 0; number && i < length && index < 1000000; i++)
        index = index * 10 + (uint32_t)(text[i] - '0');
    b->numbered = b->numbered || number;
    if (b->counted && b->numbered)
        return ct_jinja_fail(
            r, "cannot switch between automatic field numbering and manual field specification");
    if (length == 0 || number) {
        if (index >= b->positional->count)
            return ct_jinja_fail(r, "Replacement index %u out of range for positional args tuple",
                                 (unsigned)index);
        *out = b->positional->items[index];
        return true;
    }
    const jinja_value *item = b->named ? ct_jinja_dict_find(r, b->named, text, length) : NULL;
    if (!item) return ct_jinja_fail(r, "KeyError: '%.*s'", (int)(length < 80 ? length : 80), text);
    *out = *item;
    return true;
}

/* name.attribute[item]... */
static bool field_value(jinja_render *r, braces *b, const char *text, size_t length, jinja_value *out) {
    size_t at = 0;
    while (at < length && text[at] != '.' && text[at] != '[')
        at++;
    if (!field_base(r, b, text, at, out)) return false;
    while (at < length) {
        bool item = text[at++] == '[';
        size_t start = at;
        while (at < length && (item ? text[at] != ']' : text[at] != '.' && text[at] != '['))
            at++;
        jinja_value key = jinja_text(text + start, at - start), base = *out;
        if (item && at >= length) return ct_jinja_fail(r, "Missing ']' in format string");
        if (item && at > start && strspn(text + start, "0123456789") >= at - start && at - start < 10) {
            key = jinja_int(0);
            for (size_t i = start; i < at; i++)
                key.integer = key.integer * 10 + (text[i] - '0');
        }
        at += item;
        bool fine = item ? ct_jinja_subscript(r, &base, &key, out)
                         : ct_jinja_attribute(r, &base, key.text, key.length, out);
        if (!fine) return false;
    }
    return true;
}

static bool put_field(jinja_render *r, braces *b, const char *text, size_t length) {
    size_t name = 0;
    char conversion = 0;
    jinja_value value, shown;
    while (name < length && text[name] != ':' && text[name] != '!')
        name++;
    size_t rest = name;
    if (rest < length && text[rest] == '!') {
        if (rest + 1 >= length || !strchr("rsa", text[rest + 1]) ||
            (rest + 2 < length && text[rest + 2] != ':'))
            return ct_jinja_fail(r, "an unknown conversion in a format string");
        conversion = text[rest + 1];
        rest += 2;
    }
    rest += rest < length;
    if (memchr(text + rest, '{', length - rest))
        return ct_jinja_fail(r, "fields within format specifications are not supported");
    if (!field_value(r, b, text, name, &value)) return false;
    if (!conversion) return put_formatted(r, &value, text + rest, length - rest);
    jinja_capture capture = ct_jinja_begin(r);
    bool fine = conversion == 's' ? ct_jinja_put_string(r, &value) : ct_jinja_put_repr(r, &value);
    return fine && ct_jinja_end(r, capture, &shown) && put_formatted(r, &shown, text + rest, length - rest);
}

bool ct_jinja_format_braces(jinja_render *r, const jinja_value *format, const jinja_list *positional,
                            const jinja_dict *named, jinja_value *out) {
    const jinja_value text = *format;
    braces b = {.positional = positional, .named = named};
    size_t done = 0, at = 0;
    jinja_capture capture = ct_jinja_begin(r);
    while (at < text.length) {
        char c = text.text[at];
        if (c != '{' && c != '}') {
            at++;
            continue;
        }
        if (!jinja_work(r, 1) || !jinja_put_part(r, &text, done, at)) return false;
        if (at + 1 < text.length && text.text[at + 1] == c) { /* {{ is { */
            if (!ct_jinja_put(r, &c, 1, text.marks & JINJA_MIXED ? ct_jinja_marks(&text) : text.marks))
                return false;
            done = at += 2;
            continue;
        }
        if (c == '}') return ct_jinja_fail(r, "Single '}' encountered in format string");
        size_t end = ++at;
        for (int open = 1; end < text.length; end++) {
            open += text.text[end] == '{' ? 1 : text.text[end] == '}' ? -1 : 0;
            if (open == 0) break;
        }
        if (end >= text.length) return ct_jinja_fail(r, "expected '}' before end of string");
        if (!put_field(r, &b, text.text + at, end - at)) return false;
        done = at = end + 1;
    }
    return jinja_put_part(r, &text, done, text.length) && ct_jinja_end(r, capture, out);
}
