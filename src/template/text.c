/* text.c - strings: what is put becomes output or, between begin and end of a capture, a new string. Each
 * byte keeps its marks (whether somebody said it, whether a `generation` block wrote it) through all of this.
 */
#define _GNU_SOURCE /* memmem, memrchr */
#include "template/value.h"
#include <string.h>

static const jinja_spans *spans_of(const jinja_value *text) {
    const jinja_spans *spans;
    memcpy(&spans, text->text - sizeof(spans), sizeof(spans));
    return spans;
}

/* ------------------------------------------------------------------------------------------- output */

static bool push_span(jinja_render *r, size_t start, size_t end, unsigned marks) {
    ct_template_output *o = r->out;
    ct_template_span *last = o->span_count > r->span_floor ? &o->spans[o->span_count - 1] : NULL;
    if (last && last->end == start && last->marks == marks) {
        last->end = end;
        return true;
    }
    if (o->span_count == o->span_capacity) {
        size_t capacity = o->span_capacity ? o->span_capacity * 2 : 64;
        void *grown = ct_realloc(r->context, o->spans, capacity * sizeof(*o->spans), CT_MEMORY_OTHER);
        if (!grown) return !(r->failed = true);
        o->spans = grown;
        o->span_capacity = capacity;
    }
    o->spans[o->span_count++] = (ct_template_span){start, end, marks};
    return true;
}

static bool put_bytes(jinja_render *r, const char *text, size_t length) {
    ct_bytes *out = &r->out->text;
    if (length > r->most_output - out->length || out->length > r->most_output)
        return ct_jinja_fail(r, "the output is longer than %zu bytes", r->most_output);
    if (!jinja_work(r, length / 64)) return false;
    if (out->length + length < out->capacity) {
        memcpy(out->data + out->length, text, length);
        out->length += length;
        return true;
    }
    return ct_bytes_append(r->context, out, text, length) == CT_OK || !(r->failed = true);
}

bool ct_jinja_put(jinja_render *r, const char *text, size_t length, unsigned marks) {
    size_t start = r->out->text.length;
    if (!length) return true;
    return put_bytes(r, text, length) && (!marks || push_span(r, start, start + length, marks));
}

bool ct_jinja_put_mixed(jinja_render *r, const jinja_value *text, size_t start, size_t end) {
    const jinja_spans *spans = spans_of(text);
    size_t base = r->out->text.length - start;
    if (start >= end) return true;
    if (!jinja_work(r, spans->count) || !put_bytes(r, text->text + start, end - start)) return false;
    for (uint32_t i = 0; i < spans->count; i++) {
        size_t from = spans->items[i].start > start ? spans->items[i].start : start;
        size_t to = spans->items[i].end < end ? spans->items[i].end : end;
        if (from < to && !push_span(r, base + from, base + to, spans->items[i].marks)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------ captures */

jinja_capture ct_jinja_begin(jinja_render *r) {
    jinja_capture capture = {r->out->text.length, r->out->span_count, r->span_floor};
    r->span_floor = r->out->span_count;
    return capture;
}

/* A copy of text and spans; the spans are shifted to the text's start. */
static bool keep(jinja_render *r, const char *text, size_t length, const ct_template_span *spans,
                 size_t count, size_t base, jinja_value *out) {
    bool whole = count == 1 && spans[0].start == base && spans[0].end == base + length;
    *out = jinja_text("", 0);
    if (!length) return true;
    if (!count || whole) {
        char *copy = ct_jinja_copy(&r->arena, text, length);
        if (!copy) return !(r->failed = true);
        *out = jinja_text(copy, length);
        out->marks = whole ? (uint8_t)spans[0].marks : 0;
        return true;
    }
    jinja_spans *held = ct_jinja_take(&r->arena, sizeof(*held) + count * sizeof(*held->items));
    char *copy = held ? ct_jinja_take(&r->arena, sizeof(held) + length + 1) : NULL;
    if (!copy) return !(r->failed = true);
    held->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        held->items[i] =
            (jinja_span){(uint32_t)(spans[i].start - base), (uint32_t)(spans[i].end - base), spans[i].marks};
    memcpy(copy, &held, sizeof(held));
    memcpy(copy + sizeof(held), text, length);
    copy[sizeof(held) + length] = '\0';
    *out = jinja_text(copy + sizeof(held), length);
    out->marks = JINJA_MIXED;
    return true;
}

bool ct_jinja_end(jinja_render *r, jinja_capture capture, jinja_value *text) {
    ct_template_output *o = r->out;
    if (r->failed) return false;
    bool kept = keep(r, o->text.data + capture.start, o->text.length - capture.start,
                     o->spans + capture.spans, o->span_count - capture.spans, capture.start, text);
    o->text.length = capture.start;
    o->span_count = capture.spans;
    r->span_floor = capture.floor;
    return kept;
}

bool ct_jinja_mark(jinja_render *r, jinja_capture from, unsigned marks) {
    ct_template_output *o = r->out;
    size_t end = o->text.length, at = from.start, count = o->span_count - from.spans;
    if (r->failed) return false;
    r->span_floor = from.spans;
    jinja_span *old = ct_jinja_take(&r->arena, (count + 1) * sizeof(*old));
    if (!old) return !(r->failed = true);
    for (size_t i = 0; i < count; i++) {
        const ct_template_span *s = &o->spans[from.spans + i];
        old[i] = (jinja_span){(uint32_t)s->start, (uint32_t)s->end, s->marks};
    }
    o->span_count = from.spans;
    for (size_t i = 0; i < count; i++) {
        if (old[i].start > at && !push_span(r, at, old[i].start, marks)) return false;
        if (!push_span(r, old[i].start, old[i].end, old[i].marks | marks)) return false;
        at = old[i].end;
    }
    if (at < end && !push_span(r, at, end, marks)) return false;
    r->span_floor = from.floor;
    return true;
}

/* ----------------------------------------------------------------------------------------- operations */

bool ct_jinja_part(jinja_render *r, const jinja_value *text, size_t start, size_t end, jinja_value *out) {
    if (!(text->marks & JINJA_MIXED)) {
        jinja_value part = jinja_text(text->text + start, end - start);
        part.marks = text->marks;
        part.safe = text->safe;
        *out = part;
        return true;
    }
    bool safe = text->safe;
    jinja_capture capture = ct_jinja_begin(r);
    bool fine = ct_jinja_put_mixed(r, text, start, end) && ct_jinja_end(r, capture, out);
    if (fine) out->safe = safe;
    return fine;
}

unsigned ct_jinja_marks(const jinja_value *text) {
    if (text->kind != JINJA_STRING) return 0;
    if (!(text->marks & JINJA_MIXED)) return text->marks;
    unsigned marks = 0;
    const jinja_spans *spans = spans_of(text);
    for (uint32_t i = 0; i < spans->count; i++)
        marks |= spans->items[i].marks;
    return marks;
}

bool ct_jinja_concat(jinja_render *r, const jinja_value *a, const jinja_value *b, jinja_value *out) {
    jinja_capture capture = ct_jinja_begin(r);
    return jinja_put_text(r, a) && jinja_put_text(r, b) && ct_jinja_end(r, capture, out);
}

size_t ct_jinja_characters(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

size_t ct_jinja_offset(const char *text, size_t length, size_t index) {
    size_t i = 0;
    for (; i < length; i++) {
        if (((unsigned char)text[i] & 0xc0) == 0x80) continue;
        if (index-- == 0) return i;
    }
    return length;
}

bool ct_jinja_same(const jinja_value *a, const jinja_value *b) {
    return a->length == b->length && (a->text == b->text || memcmp(a->text, b->text, a->length) == 0);
}

bool ct_jinja_is(const jinja_value *text, const char *literal) {
    return text->kind == JINJA_STRING && text->length == strlen(literal) &&
           memcmp(text->text, literal, text->length) == 0;
}

size_t ct_jinja_find(const char *text, size_t length, const char *part, size_t part_length, size_t from) {
    if (part_length == 0) return from <= length ? from : SIZE_MAX;
    while (from < length && part_length <= length - from) {
        const char *at = memmem(text + from, length - from, part, part_length);
        return at ? (size_t)(at - text) : SIZE_MAX;
    }
    return SIZE_MAX;
}

/* An empty `from` stands before every character and at the end. */
static bool replace_empty(jinja_render *r, const jinja_value *text, const jinja_value *to, int64_t most) {
    size_t at = 0;
    while (most != 0) {
        uint32_t code;
        if (!jinja_work(r, 1) || !jinja_put_text(r, to)) return false;
        most -= most > 0;
        if (at >= text->length) return true;
        size_t n = jinja_decode(text->text + at, text->length - at, &code);
        if (!jinja_put_part(r, text, at, at + n)) return false;
        at += n;
    }
    return jinja_put_part(r, text, at, text->length);
}

bool ct_jinja_replace(jinja_render *r, const jinja_value *text, const jinja_value *from,
                      const jinja_value *to, int64_t most, jinja_value *out) {
    if (!jinja_work(r, text->length / 16)) return false;
    size_t at = ct_jinja_find(text->text, text->length, from->text, from->length, 0), done = 0;
    if (at == SIZE_MAX || most == 0) {
        *out = *text;
        return true;
    }
    const jinja_value whole = *text, with = *to, part = *from; /* `out` may be one of them */
    jinja_capture capture = ct_jinja_begin(r);
    if (!part.length) return replace_empty(r, &whole, &with, most) && ct_jinja_end(r, capture, out);
    for (; at != SIZE_MAX && most != 0; most -= most > 0) {
        if (!jinja_work(r, 1) || !jinja_put_part(r, &whole, done, at) || !jinja_put_text(r, &with))
            return false;
        done = at + part.length;
        at = ct_jinja_find(whole.text, whole.length, part.text, part.length, done);
    }
    return jinja_put_part(r, &whole, done, whole.length) && ct_jinja_end(r, capture, out);
}

/* markupsafe.escape. */
bool ct_jinja_escape(jinja_render *r, const jinja_value *text, jinja_value *out) {
    static const char special[] = "&<>'\"";
    static const char *const written[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const jinja_value v = *text;
    size_t done = 0;
    if (v.safe) {
        *out = v;
        return true;
    }
    jinja_capture capture = ct_jinja_begin(r);
    unsigned marks = ct_jinja_marks(&v);
    for (size_t i = 0; i < v.length; i++) {
        const char *at = v.text[i] ? strchr(special, v.text[i]) : NULL;
        if (!at) continue;
        if (!jinja_put_part(r, &v, done, i) ||
            !ct_jinja_put(r, written[at - special], strlen(written[at - special]), marks))
            return false;
        done = i + 1;
    }
    if (!jinja_put_part(r, &v, done, v.length) || !ct_jinja_end(r, capture, out)) return false;
    out->safe = true;
    return true;
}
