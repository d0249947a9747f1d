/* chat_encode.c - rendered conversations as tokens: special tokens come from the template, never from what
 * somebody says. */
#define _GNU_SOURCE /* memmem */
#include "template/chat.h"
#include <string.h>

/* A special token that stands in the text. */
typedef struct place {
    size_t start, end;
    int32_t id;
} place;

typedef struct encoder {
    ct_context *context;
    ct_tokenizer *tokenizer;
    const ct_template_output *rendered;
    ct_ids *ids, found; /* found: a work space */
    place *places;
    size_t count, capacity;
} encoder;

static bool add_place(encoder *e, size_t start, size_t end, int32_t id) {
    if (e->count == e->capacity) {
        size_t capacity = e->capacity * 2 + 32;
        void *grown = ct_realloc(e->context, e->places, capacity * sizeof(*e->places), CT_MEMORY_OTHER);
        if (!grown) return false;
        e->places = grown;
        e->capacity = capacity;
    }
    e->places[e->count++] = (place){start, end, id};
    return true;
}

/* Encodes bytes [start, end) with special tokens into e->found and notes where those stand. */
static ct_status locate(encoder *e, size_t start, size_t end) {
    const char *text = e->rendered->text.data;
    size_t at = start;
    e->found.count = 0;
    if (ct_tokenizer_encode(e->tokenizer, text + start, end - start, CT_ENCODE_SPECIAL, &e->found) != CT_OK)
        return ct_context_status(e->context);
    for (size_t i = 0; i < e->found.count; i++) {
        int32_t id = e->found.ids[i];
        const char *symbol =
            ct_tokenizer_is_special(e->tokenizer, id) ? ct_tokenizer_symbol(e->tokenizer, id) : NULL;
        size_t length = symbol ? strlen(symbol) : 0;
        const char *found = length ? memmem(text + at, end - at, symbol, length) : NULL;
        if (!found) continue; /* not written as such: the unknown token */
        size_t where = (size_t)(found - text);
        if (!add_place(e, where, where + length, id)) return ct_context_status(e->context);
        at = where + length;
    }
    return CT_OK;
}

/* Whether any byte of the range is content. */
static bool is_content(const ct_template_output *r, size_t start, size_t end) {
    size_t low = 0, high = r->span_count;
    while (low < high) { /* the first span that ends behind `start` */
        size_t middle = (low + high) / 2;
        if (r->spans[middle].end > start)
            high = middle;
        else
            low = middle + 1;
    }
    for (; low < r->span_count && r->spans[low].start < end; low++)
        if (r->spans[low].marks & CT_TEMPLATE_CONTENT) return true;
    return false;
}

/* How many blanks the token takes away on that side, as the tokenizer's strip flags have it. */
static size_t stripped(encoder *e, const place *p, size_t start, size_t end, bool behind) {
    const char *text = e->rendered->text.data;
    size_t blanks = 0, limit = behind ? end - p->end : p->start - start;
    while (blanks < limit) {
        char c = behind ? text[p->end + blanks] : text[p->start - 1 - blanks];
        if (c != ' ' && (c < '\t' || c > '\r')) break;
        blanks++;
    }
    if (!blanks) return 0;
    e->found.count = 0;
    size_t from = behind ? p->start : p->start - blanks, to = behind ? p->end + blanks : p->end;
    ct_tokenizer_encode(e->tokenizer, text + from, to - from, CT_ENCODE_SPECIAL, &e->found);
    return e->found.count == 1 ? blanks : 0;
}

/* Somebody wrote a special token's text: only those of the template count. */
static ct_status encode_apart(encoder *e, size_t start, size_t end) {
    const ct_template_output *r = e->rendered;
    size_t at = start, run = start, span = 0;
    e->count = 0;
    while (run < end && !ct_failed(e->context)) { /* runs without content */
        while (span < r->span_count &&
               (r->spans[span].end <= run || !(r->spans[span].marks & CT_TEMPLATE_CONTENT)))
            span++;
        size_t stop = span < r->span_count && r->spans[span].start < end ? r->spans[span].start : end;
        if (stop > run) locate(e, run, stop);
        run = span < r->span_count && r->spans[span].end > stop ? r->spans[span].end : stop;
        if (stop == end) break;
    }
    for (size_t i = 0; i <= e->count && !ct_failed(e->context); i++) {
        const place p = i < e->count ? e->places[i] : (place){end, end, -1};
        size_t to = p.start - (p.id >= 0 ? stripped(e, &p, at, end, false) : 0);
        if (to > at) ct_tokenizer_encode(e->tokenizer, r->text.data + at, to - at, CT_ENCODE_PLAIN, e->ids);
        if (p.id < 0) break;
        ct_ids_push(e->context, e->ids, p.id);
        at = p.end + stripped(e, &p, at, end, true);
    }
    return ct_context_status(e->context);
}

/* As the tokenizer does it, unless that finds special tokens in content. */
static ct_status encode_part(encoder *e, size_t start, size_t end) {
    e->count = 0;
    if (start == end || locate(e, start, end) != CT_OK) return ct_context_status(e->context);
    for (size_t i = 0; i < e->count; i++)
        if (is_content(e->rendered, e->places[i].start, e->places[i].end)) return encode_apart(e, start, end);
    for (size_t i = 0; i < e->found.count; i++)
        if (ct_ids_push(e->context, e->ids, e->found.ids[i]) != CT_OK) break;
    return ct_context_status(e->context);
}

/* Where the part that begins at `at` ends: all of it is learnt, or nothing. */
static size_t part_end(const ct_template_output *r, size_t at, bool *learnt) {
    size_t span = 0, end = at;
    while (span < r->span_count && r->spans[span].end <= at)
        span++;
    *learnt =
        span < r->span_count && r->spans[span].start <= at && r->spans[span].marks & CT_TEMPLATE_GENERATED;
    if (*learnt) {
        for (; span < r->span_count && r->spans[span].start <= end &&
               r->spans[span].marks & CT_TEMPLATE_GENERATED;
             span++)
            end = r->spans[span].end;
        return end;
    }
    while (span < r->span_count && !(r->spans[span].marks & CT_TEMPLATE_GENERATED))
        span++;
    return span < r->span_count ? r->spans[span].start : r->text.length;
}

ct_status ct_chat_encode(ct_context *context, ct_tokenizer *tokenizer, const ct_template_output *rendered,
                         ct_ids *ids, ct_ids *labels, int32_t ignored) {
    encoder e = {.context = context, .tokenizer = tokenizer, .rendered = rendered, .ids = ids};
    if (ct_failed(context)) return ct_context_status(context);
    for (size_t at = 0; at < rendered->text.length && !ct_failed(context);) {
        bool learnt;
        size_t first = ids->count, end = part_end(rendered, at, &learnt);
        encode_part(&e, at, end);
        for (size_t i = first; labels && i < ids->count && !ct_failed(context); i++)
            ct_ids_push(context, labels, learnt ? ids->ids[i] : ignored);
        at = end;
    }
    ct_ids_free(context, &e.found);
    ct_free(context, e.places);
    return ct_context_status(context);
}
