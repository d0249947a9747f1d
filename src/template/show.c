/* show.c - values as text: what Python's str and repr give. */
#include "template/node.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits that read back as the same number, laid out as Python does. */
size_t ct_jinja_real_text(double real, char text[JINJA_NUMBER]) {
    char digits[JINJA_NUMBER];
    if (isnan(real)) return (size_t)snprintf(text, JINJA_NUMBER, "nan");
    if (isinf(real)) return (size_t)snprintf(text, JINJA_NUMBER, real < 0 ? "-inf" : "inf");
    int precision = 0;
    do
        snprintf(digits, sizeof(digits), "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    char *mark = strchr(digits, 'e');
    int exponent = atoi(mark + 1), count = 0;
    *mark = '\0';
    char plain[JINJA_NUMBER];
    for (const char *s = digits; *s; s++)
        if (*s >= '0' && *s <= '9') plain[count++] = *s;
    size_t n = 0;
    if (signbit(real)) text[n++] = '-';
    if (exponent < -4 || exponent >= 16) {
        text[n++] = plain[0];
        if (count > 1) text[n++] = '.';
        memcpy(text + n, plain + 1, (size_t)count - 1);
        n += (size_t)count - 1;
        return n + (size_t)snprintf(text + n, JINJA_NUMBER - n, "e%c%02d", exponent < 0 ? '-' : '+',
                                    abs(exponent));
    }
    if (exponent < 0) {
        memcpy(text + n, "0.0000", (size_t)(1 - exponent));
        n += (size_t)(1 - exponent);
        memcpy(text + n, plain, (size_t)count);
        n += (size_t)count;
    } else {
        for (int i = 0; i < count || i < exponent + 2; i++) {
            if (i == exponent + 1) text[n++] = '.';
            text[n++] = i < count ? plain[i] : '0';
        }
    }
    text[n] = '\0';
    return n;
}

/* ---------------------------------------------------------------------------------------------- repr */

static bool put(jinja_render *r, const char *text) {
    return ct_jinja_put(r, text, strlen(text), 0);
}

/* str.isprintable for what is not ASCII: repr shows the others as escapes. */
static bool printable(uint32_t c) {
    if (c < 0x80) return c >= 0x20 && c < 0x7f;
    if (c < 0xa1 || c == 0xad || ct_jinja_space(c)) return false;
    if ((c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f))
        return false;
    return !(c == 0xfeff || (c >= 0xe000 && c <= 0xf8ff) || (c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000 ||
             (c & 0xfffe) == 0xfffe);
}

static bool put_quoted(jinja_render *r, const jinja_value *text) {
    const char quote =
        memchr(text->text, '\'', text->length) && !memchr(text->text, '"', text->length) ? '"' : '\'';
    unsigned marks = ct_jinja_marks(text);
    size_t done = 0;
    if (text->safe && !put(r, "Markup(")) return false;
    if (!ct_jinja_put(r, &quote, 1, 0)) return false;
    for (size_t i = 0; i < text->length;) {
        uint32_t c;
        char written[12];
        size_t n = jinja_decode(text->text + i, text->length - i, &c);
        static const char from[] = "\\\n\r\t", to[] = "\\nrt";
        const char *simple = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        if (simple)
            snprintf(written, sizeof(written), "\\%c", to[simple - from]);
        else if (c == (uint32_t)quote)
            snprintf(written, sizeof(written), "\\%c", quote);
        else if (!printable(c))
            snprintf(written, sizeof(written),
                     c < 0x100     ? "\\x%02x"
                     : c < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                     (unsigned)c);
        else {
            i += n;
            continue;
        }
        if (!jinja_put_part(r, text, done, i) || !ct_jinja_put(r, written, strlen(written), marks))
            return false;
        done = i += n;
    }
    return jinja_put_part(r, text, done, text->length) && ct_jinja_put(r, &quote, 1, 0) &&
           (!text->safe || put(r, ")"));
}

static bool put_list(jinja_render *r, const jinja_value *v) {
    const jinja_list *list = v->list;
    bool tuple = v->kind == JINJA_TUPLE;
    if (list->shown) return put(r, list->shown);
    if (list->type && (!put(r, list->type) || !put(r, "("))) return false;
    if (!put(r, tuple ? "(" : "[")) return false;
    for (uint32_t i = 0; i < list->count; i++)
        if ((i && !put(r, ", ")) || !ct_jinja_put_repr(r, &list->items[i])) return false;
    if (tuple && list->count == 1 && !put(r, ",")) return false;
    return put(r, tuple ? ")" : "]") && (!list->type || put(r, ")"));
}

static bool put_dict(jinja_render *r, const jinja_value *v) {
    bool space = v->kind == JINJA_NAMESPACE;
    if (!put(r, space ? "<Namespace {" : "{")) return false;
    for (uint32_t i = 0; i < v->dict->count; i++) {
        const jinja_entry *entry = &v->dict->entries[i];
        if ((i && !put(r, ", ")) || !ct_jinja_put_repr(r, &entry->key) || !put(r, ": ") ||
            !ct_jinja_put_repr(r, &entry->value))
            return false;
    }
    return put(r, space ? "}>" : "}");
}

static bool put_integer(jinja_render *r, int64_t integer) {
    char text[24];
    return ct_jinja_put(r, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)integer), 0);
}

static bool put_object(jinja_render *r, const jinja_value *v) {
    char text[160];
    if (v->kind == JINJA_MACRO)
        snprintf(text, sizeof(text), "<Macro '%.100s'>", v->macro->function->name->text);
    else if (v->kind == JINJA_LOOP)
        snprintf(text, sizeof(text), "<LoopContext %u/%u>", v->loop->index + 1, v->loop->items->count);
    else
        return ct_jinja_fail(r, "a %s has no text (is a call with \"()\" missing?)", ct_jinja_type(v));
    return put(r, text);
}

bool ct_jinja_put_repr(jinja_render *r, const jinja_value *v) {
    char text[JINJA_NUMBER];
    bool fine;
    if (!jinja_work(r, 1)) return false;
    switch (v->kind) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
        return put(r, "Undefined");
    case JINJA_NONE:
        return put(r, "None");
    case JINJA_BOOL:
        return put(r, v->truth ? "True" : "False");
    case JINJA_INT:
        return put_integer(r, v->integer);
    case JINJA_REAL:
        return ct_jinja_put(r, text, ct_jinja_real_text(v->real, text), 0);
    case JINJA_STRING:
        return put_quoted(r, v);
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_NAMESPACE:
        if (!jinja_enter(r)) return false;
        fine = jinja_is_sequence(v) ? put_list(r, v) : put_dict(r, v);
        r->depth--;
        return fine;
    default:
        return put_object(r, v);
    }
}

bool ct_jinja_put_string(jinja_render *r, const jinja_value *v) {
    if (v->kind == JINJA_STRING) return jinja_put_text(r, v);
    if (v->kind == JINJA_UNDEFINED || v->kind == JINJA_MISSING) return true;
    return ct_jinja_put_repr(r, v);
}

bool ct_jinja_string(jinja_render *r, const jinja_value *v, jinja_value *out) {
    if (v->kind == JINJA_STRING) {
        *out = *v;
        return true;
    }
    jinja_capture capture = ct_jinja_begin(r);
    return ct_jinja_put_string(r, v) && ct_jinja_end(r, capture, out);
}
