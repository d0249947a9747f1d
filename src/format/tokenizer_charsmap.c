/* tokenizer_charsmap.c - SentencePiece's precompiled normalization rules: a size, a double-array trie of that
 * many bytes (darts-clone's units of 32 bits), and the replacements, each ended by NUL. A grapheme cluster of
 * up to five bytes is looked up as a whole, else each of its characters; the shortest rule that begins it
 * applies. */
#include "format/tokenizer_steps.h"
#include "format/utf8.h"
#include <string.h>
#include <utf8proc.h>

struct ct_charsmap {
    uint32_t *units;
    size_t unit_count;
    char *texts;
    size_t text_length; /* the last byte is NUL */
};

void ct_charsmap_free(ct_context *context, ct_charsmap *map) {
    if (!map) return;
    ct_free(context, map->units);
    ct_free(context, map->texts);
    ct_free(context, map);
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 with padding. False if it is something else. */
static bool read_base64(const char *text, size_t length, unsigned char *out, size_t *count) {
    *count = 0;
    if (length % 4) return false;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t bits = 0;
        size_t pad = 0;
        for (size_t j = 0; j < 4; j++) {
            bool padding = text[i + j] == '=' && i + 4 == length && j >= 2;
            int value = padding ? 0 : base64_value(text[i + j]);
            if (value < 0 || (pad && !padding)) return false;
            pad += padding;
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t j = 0; j < 3 - pad; j++)
            out[(*count)++] = (unsigned char)(bits >> (16 - 8 * j));
    }
    return true;
}

static uint32_t little(const unsigned char *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static ct_status fill(ct_context *context, ct_charsmap *map, const unsigned char *bytes, size_t count,
                      const char *where) {
    size_t size = count >= 4 ? little(bytes) : 0;
    if (count < 4 || size % 4 || size == 0 || size > count - 4)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: a trie of %zu bytes in a character map of %zu", where,
                       size, count);
    map->unit_count = size / 4;
    map->text_length = count - 4 - size + 1;
    map->units = ct_alloc(context, size, CT_MEMORY_OTHER);
    map->texts = ct_alloc(context, map->text_length, CT_MEMORY_OTHER);
    if (!map->units || !map->texts) return ct_context_status(context);
    for (size_t i = 0; i < map->unit_count; i++)
        map->units[i] = little(bytes + 4 + 4 * i);
    memcpy(map->texts, bytes + 4 + size, map->text_length - 1);
    map->texts[map->text_length - 1] = '\0';
    if (ct_utf8_check(map->texts, map->text_length) != map->text_length)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: the character map's replacements are not UTF-8", where);
    return CT_OK;
}

ct_charsmap *ct_charsmap_read(ct_context *context, const char *base64, size_t length, const char *where) {
    size_t count;
    ct_charsmap *map = ct_alloc_zero(context, sizeof *map, CT_MEMORY_OTHER);
    unsigned char *bytes = map ? ct_alloc(context, length / 4 * 3 + 3, CT_MEMORY_WORKSPACE) : NULL;
    ct_status status = bytes ? CT_OK : ct_context_status(context);
    if (status == CT_OK && !read_base64(base64, length, bytes, &count))
        status = ct_fail(context, CT_ERROR_FORMAT, "%s: the character map is not base64", where);
    if (status == CT_OK) status = fill(context, map, bytes, count, where);
    ct_free(context, bytes);
    if (status == CT_OK) return map;
    ct_charsmap_free(context, map);
    return NULL;
}

static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The replacement of the shortest rule that `text` begins with; NULL if there is none. Rules point into the
 * replacements; one that points elsewhere is none. */
static const char *find(const ct_charsmap *map, const char *text, size_t length) {
    size_t place = offset_of(map->units[0]);
    for (size_t i = 0; i < length && text[i]; i++) {
        unsigned char byte = (unsigned char)text[i];
        place ^= byte;
        if (place >= map->unit_count) return NULL;
        uint32_t unit = map->units[place];
        if ((unit & (1u << 31 | 0xff)) != byte) return NULL;
        place ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (place >= map->unit_count) return NULL;
        size_t at = map->units[place] & 0x7fffffff;
        return at < map->text_length ? map->texts + at : NULL;
    }
    return NULL;
}

static ct_status put(ct_normal *text, const char *replacement, const char *otherwise, size_t length) {
    if (!replacement) return ct_bytes_append(text->context, &text->out, otherwise, length);
    return ct_bytes_append(text->context, &text->out, replacement, strlen(replacement));
}

/* Where the grapheme cluster that begins at `at` ends; a stray byte is one of its own. */
static size_t grapheme_end(ct_text in, size_t at) {
    utf8proc_int32_t state = 0;
    uint32_t code, next;
    size_t size = ct_utf8_decode(in.data + at, in.length - at, &code);
    for (at += size ? size : 1; size && at < in.length; at += size, code = next) {
        size = ct_utf8_decode(in.data + at, in.length - at, &next);
        if (!size || utf8proc_grapheme_break_stateful((utf8proc_int32_t)code, (utf8proc_int32_t)next, &state))
            break;
    }
    return at;
}

ct_status ct_charsmap_apply(const ct_charsmap *map, ct_normal *text) {
    ct_text in = text->in;
    ct_status status = CT_OK;
    for (size_t at = 0, end; at < in.length && status == CT_OK; at = end) {
        end = grapheme_end(in, at);
        const char *whole = end - at < 6 ? find(map, in.data + at, end - at) : NULL;
        if (whole) status = put(text, whole, "", 0);
        for (size_t i = at, size; !whole && i < end && status == CT_OK; i += size) {
            uint32_t code;
            size = ct_utf8_decode(in.data + i, end - i, &code);
            const char *replacement = size ? find(map, in.data + i, size) : NULL;
            if (!size) size = 1;
            status = put(text, replacement, in.data + i, size);
        }
        if (at == 0) text->moved = text->out.length == 0;
    }
    return status;
}
