/* functions.c - the functions that every template finds: range, namespace, dict, raise_exception,
 * strftime_now, cycler, joiner. */
#include "template/node.h"
#include <string.h>
#include <time.h>

enum { MOST_RANGE = 100000 }; /* MAX_RANGE of Jinja's sandbox */

/* range(stop), range(start, stop[, step]) */
static bool range(jinja_render *r, const jinja_arguments *arguments, jinja_value *out) {
    int64_t part[3] = {0, 0, 1}, count = 0;
    char shown[80];
    if (arguments->named) return ct_jinja_fail(r, "range() takes no keyword arguments");
    if (arguments->count < 1 || arguments->count > 3)
        return ct_jinja_fail(r, "range expected 1 to 3 arguments, got %u", arguments->count);
    for (uint32_t i = 0; i < arguments->count; i++)
        if (!ct_jinja_integer_of(r, "range", &arguments->values[i], 0, &part[arguments->count == 1 ? 1 : i]))
            return false;
    if (part[2] == 0) return ct_jinja_fail(r, "range() arg 3 must not be zero");
    uint64_t width =
        part[2] > 0 ? (uint64_t)part[1] - (uint64_t)part[0] : (uint64_t)part[0] - (uint64_t)part[1];
    uint64_t step = part[2] > 0 ? (uint64_t)part[2] : 0 - (uint64_t)part[2];
    bool empty = part[2] > 0 ? part[0] >= part[1] : part[0] <= part[1];
    if (!empty && (width - 1) / step >= MOST_RANGE)
        return ct_jinja_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                             MOST_RANGE);
    if (!empty) count = (int64_t)((width - 1) / step) + 1;
    jinja_list *list = ct_jinja_list(r, (size_t)count);
    if (!list) return false;
    for (int64_t i = 0; i < count; i++)
        list->items[i] = jinja_int(part[0] + i * part[2]);
    if (part[2] == 1)
        snprintf(shown, sizeof(shown), "range(%lld, %lld)", (long long)part[0], (long long)part[1]);
    else
        snprintf(shown, sizeof(shown), "range(%lld, %lld, %lld)", (long long)part[0], (long long)part[1],
                 (long long)part[2]);
    list->type = "range";
    list->shown = ct_jinja_copy(&r->arena, shown, strlen(shown));
    *out = (jinja_value){.kind = JINJA_LIST, .list = list};
    return list->shown || !(r->failed = true);
}

/* What dict(...) and namespace(...) take: a mapping or pairs, then keywords. */
static bool make_dict(jinja_render *r, const jinja_arguments *arguments, jinja_value *out, bool space) {
    jinja_dict *dict = ct_jinja_dict(r, arguments->named + 4);
    if (!dict) return false;
    if (arguments->count > 1)
        return ct_jinja_fail(r, "dict expected at most 1 argument, got %u", arguments->count);
    const jinja_value *from = arguments->count ? &arguments->values[0] : NULL;
    if (from && from->kind == JINJA_DICT) {
        for (uint32_t i = 0; i < from->dict->count; i++)
            if (!ct_jinja_dict_set(r, dict, &from->dict->entries[i].key, &from->dict->entries[i].value))
                return false;
    } else if (from) {
        jinja_list *pairs, *pair;
        if (!ct_jinja_items(r, from, &pairs)) return false;
        for (uint32_t i = 0; i < pairs->count; i++) {
            if (!ct_jinja_items(r, &pairs->items[i], &pair)) return false;
            if (pair->count != 2)
                return ct_jinja_fail(r, "dictionary update sequence element #%u has length %u; 2 is required",
                                     i, pair->count);
            if (!ct_jinja_dict_set(r, dict, &pair->items[0], &pair->items[1])) return false;
        }
    }
    for (uint32_t k = 0; k < arguments->named; k++)
        if (!ct_jinja_dict_set(r, dict, &arguments->names[k], &arguments->values[arguments->count + k]))
            return false;
    for (uint32_t i = 0; space && i < dict->count; i++)
        if (dict->entries[i].key.kind == JINJA_STRING && dict->entries[i].key.length &&
            dict->entries[i].key.text[0] == '_')
            return ct_jinja_fail(r,
                                 "Chat templates cannot store underscore-prefixed attributes on a namespace");
    *out = (jinja_value){.kind = space ? JINJA_NAMESPACE : JINJA_DICT, .dict = dict};
    return true;
}

static bool raise_exception(jinja_render *r, const jinja_arguments *arguments, jinja_value *out) {
    jinja_value message, text;
    (void)out;
    if (!ct_jinja_bind(r, "raise_exception", "message", 1, arguments, &message) ||
        !ct_jinja_string(r, &message, &text))
        return false;
    return ct_jinja_fail(r, "%.*s", (int)(text.length < 1500 ? text.length : 1500), text.text);
}

/* datetime.now().strftime(format); %f has microseconds, which the C library does not know, and %z and %Z are
 * empty for times without a zone. */
static bool strftime_now(jinja_render *r, const jinja_arguments *arguments, jinja_value *out) {
    jinja_value format;
    char wanted[512], text[1024];
    struct timespec now = {.tv_sec = (time_t)r->options->now};
    struct tm parts;
    size_t n = 0;
    if (!ct_jinja_bind(r, "strftime_now", "format", 1, arguments, &format)) return false;
    if (format.kind != JINJA_STRING)
        return ct_jinja_fail(r, "strftime() argument 1 must be str, not %s", ct_jinja_type(&format));
    if (!r->options->now) clock_gettime(CLOCK_REALTIME, &now);
    if (!localtime_r(&now.tv_sec, &parts)) return ct_jinja_fail(r, "strftime_now: the time has no date");
    for (uint32_t i = 0; i < format.length; i++) {
        if (n + 8 > sizeof(wanted) - 1)
            return ct_jinja_fail(r, "strftime_now: a format of more than 500 characters");
        char c = format.text[i], next = i + 1 < format.length ? format.text[i + 1] : 0;
        if (c == '\0') return ct_jinja_fail(r, "embedded null character");
        if (c == '%' && (next == 'z' || next == 'Z')) {
            i++;
        } else if (c == '%' && next == 'f') {
            n += (size_t)snprintf(wanted + n, sizeof(wanted) - n, "%06ld", now.tv_nsec / 1000);
            i++;
        } else {
            wanted[n++] = c;
            if (c == '%' && next) {
                wanted[n++] = next;
                i++;
            }
        }
    }
    wanted[n] = '\0';
    size_t length = n ? strftime(text, sizeof(text), wanted, &parts) : 0;
    const char *copy = ct_jinja_copy(&r->arena, text, length);
    *out = jinja_text(copy, length);
    return copy || !(r->failed = true);
}

static bool cycler(jinja_render *r, const jinja_arguments *arguments, jinja_value *out) {
    jinja_cycler *made = ct_jinja_take(&r->arena, sizeof(*made));
    jinja_list *list = made ? ct_jinja_list(r, arguments->count) : NULL;
    if (!list) return !(r->failed = true);
    if (!arguments->count || arguments->named)
        return ct_jinja_fail(r, "at least one item has to be provided");
    memcpy(list->items, arguments->values, arguments->count * sizeof(*list->items));
    *made = (jinja_cycler){.items = list};
    *out = (jinja_value){.kind = JINJA_CYCLER, .cycler = made};
    return true;
}

static bool joiner(jinja_render *r, const jinja_arguments *arguments, jinja_value *out) {
    jinja_value separator;
    if (!ct_jinja_bind(r, "joiner", "sep", 0, arguments, &separator)) return false;
    if (separator.kind == JINJA_MISSING) separator = jinja_text(", ", 2);
    const jinja_arguments one = {.values = &separator, .count = 1};
    if (!cycler(r, &one, out)) return false;
    out->kind = JINJA_JOINER;
    return true;
}

static const char *const names[] = {"range",        "namespace", "dict",   "raise_exception",
                                    "strftime_now", "cycler",    "joiner", NULL};

int ct_jinja_function_find(const char *name, size_t length) {
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) return i;
    return -1;
}

bool ct_jinja_call_function(jinja_render *r, int function, const jinja_arguments *arguments,
                            jinja_value *out) {
    switch (function) {
    case 0:
        return range(r, arguments, out);
    case 1:
        return make_dict(r, arguments, out, true);
    case 2:
        return make_dict(r, arguments, out, false);
    case 3:
        return raise_exception(r, arguments, out);
    case 4:
        return strftime_now(r, arguments, out);
    case 5:
        return cycler(r, arguments, out);
    default:
        return joiner(r, arguments, out);
    }
}
