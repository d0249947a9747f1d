/* npy_header.c - numpy's header (NEP 1): a magic word, a length, and a Python dictionary with three known
 * keys. Only what can stand there is understood: no expressions, no escapes, each key once. */
#include "format/npy_header.h"
#include "format/utf8.h"
#include "format/zip_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *code;
    ct_file_dtype dtype;
} types[] = {{"b1", CT_FILE_BOOL}, {"i1", CT_FILE_I8},  {"u1", CT_FILE_U8},  {"i2", CT_FILE_I16},
             {"u2", CT_FILE_U16},  {"f2", CT_FILE_F16}, {"i4", CT_FILE_I32}, {"u4", CT_FILE_U32},
             {"f4", CT_FILE_F32},  {"i8", CT_FILE_I64}, {"u8", CT_FILE_U64}, {"f8", CT_FILE_F64},
             {"c8", CT_FILE_C64}};
enum { TYPES = sizeof types / sizeof types[0] };

bool ct_npy_prefix(ct_context *context, const unsigned char *bytes, size_t size, const char *where,
                   size_t *text_at, size_t *text_size) {
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: does not begin like a .npy file (\\x93NUMPY)", where);
        return false;
    }
    unsigned major = bytes[6];
    if (major < 1 || major > 3 || bytes[7] != 0 || (major > 1 && size < CT_NPY_PREFIX)) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: .npy version %u.%u, expected 1.0, 2.0 or 3.0", where, major,
                bytes[7]);
        return false;
    }
    *text_at = major == 1 ? 10 : 12;
    *text_size = major == 1 ? ct_le16(bytes + 8) : ct_le32(bytes + 8);
    if (*text_size <= CT_NPY_HEADER_LIMIT) return true;
    ct_fail(context, CT_ERROR_FORMAT, "%s: the header has %zu bytes, at most %d are read", where, *text_size,
            CT_NPY_HEADER_LIMIT);
    return false;
}

/* --------------------------------------------------------------------------------------- the dictionary */

typedef struct literal {
    ct_context *context;
    const char *text, *where;
    size_t length, at;
} literal;

static bool refuse(literal *l, const char *expected) {
    ct_fail(l->context, CT_ERROR_FORMAT, "%s: the header has something else than %s at byte %zu", l->where,
            expected, l->at);
    return false;
}

static void skip_blanks(literal *l) {
    while (l->at < l->length && strchr(" \t\r\n\f", l->text[l->at]) && l->text[l->at])
        l->at++;
}

/* Whether the next character that is no blank is this one; then it is passed. */
static bool next_is(literal *l, char c) {
    skip_blanks(l);
    if (l->at == l->length || l->text[l->at] != c) return false;
    l->at++;
    return true;
}

static bool next_word(literal *l, const char *word) {
    size_t size = strlen(word);
    if (l->length - l->at < size || memcmp(l->text + l->at, word, size) != 0) return false;
    l->at += size;
    return true;
}

/* A string in single or double quotes; what is beyond `capacity` is cut. */
static bool read_text(literal *l, char *out, size_t capacity) {
    skip_blanks(l);
    char quote = l->at < l->length ? l->text[l->at] : 0;
    if (quote != '\'' && quote != '"') return refuse(l, "a string");
    size_t used = 0;
    for (l->at++; l->at < l->length && l->text[l->at] != quote; l->at++) {
        if (l->text[l->at] == '\\' || (unsigned char)l->text[l->at] < 32) return refuse(l, "a plain string");
        if (used + 1 < capacity) out[used++] = l->text[l->at];
    }
    out[used] = '\0';
    if (l->at == l->length) return refuse(l, "the end of a string");
    l->at++;
    return true;
}

/* A list such as [('a', '<f4'), ('b', '<i4')]: a record type. Copied as it is, and passed. */
static bool pass_record(literal *l, char *out, size_t capacity) {
    size_t start = l->at, used = 0;
    int depth = 0;
    char quote = 0;
    for (; l->at < l->length; l->at++) {
        char c = l->text[l->at];
        if (used + 1 < capacity) out[used++] = (char)((unsigned char)c < 32 ? ' ' : c);
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (strchr("[({", c) && c) {
            depth++;
        } else if (strchr("])}", c) && c && --depth == 0) {
            out[ct_utf8_check(out, used)] = '\0';
            l->at++;
            return true;
        }
    }
    l->at = start;
    return refuse(l, "a list that ends");
}

static bool read_bool(literal *l, bool *value) {
    skip_blanks(l);
    *value = next_word(l, "True");
    return *value || next_word(l, "False") || refuse(l, "True or False");
}

static bool read_shape(literal *l, ct_npy_header *header) {
    if (!next_is(l, '(')) return refuse(l, "a tuple of integers");
    bool comma = true;
    while (!next_is(l, ')')) {
        int64_t value = 0;
        size_t start = l->at;
        if (!comma) return refuse(l, "a comma");
        if (header->rank == CT_NPY_RANK) return refuse(l, "at most 64 dimensions");
        for (; l->at < l->length && l->text[l->at] >= '0' && l->text[l->at] <= '9'; l->at++)
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, l->text[l->at] - '0', &value))
                return refuse(l, "a dimension below 2^63");
        if (l->at == start) return refuse(l, "a dimension");
        if (l->at < l->length && l->text[l->at] == 'L') l->at++; /* as Python 2 wrote it */
        header->shape[header->rank++] = value;
        comma = next_is(l, ',');
    }
    return true;
}

/* What the type's text says of byte order, size and kind. */
static void read_type(ct_npy_header *header) {
    const char *text = header->descr, *code = text;
    char order = '|';
    if (*text && strchr("<>=|", *text)) order = *code++;
    for (int i = 0; i < TYPES; i++) {
        if (strcmp(types[i].code, code) != 0) continue;
        header->dtype = types[i].dtype;
        header->item = ct_file_dtype_bits(types[i].dtype) / 8;
        header->readable = header->item == 1 || order != '|';
        header->swapped = order == '>' && header->item > 1;
        return;
    }
}

bool ct_npy_parse(ct_context *context, const char *text, size_t length, const char *where,
                  ct_npy_header *header) {
    literal l = {context, text, where, length, 0};
    unsigned seen = 0;
    *header = (ct_npy_header){.dtype = CT_FILE_U8};
    if (!next_is(&l, '{')) return refuse(&l, "a dictionary");
    bool comma = true;
    while (!next_is(&l, '}')) {
        char key[16];
        if (!comma) return refuse(&l, "a comma");
        if (!read_text(&l, key, sizeof key)) return false;
        unsigned bit = strcmp(key, "descr") == 0           ? 1
                       : strcmp(key, "fortran_order") == 0 ? 2
                       : strcmp(key, "shape") == 0         ? 4
                                                           : 0;
        if (!bit || seen & bit) return refuse(&l, "each of the keys descr, fortran_order and shape once");
        seen |= bit;
        if (!next_is(&l, ':')) return refuse(&l, "a colon");
        skip_blanks(&l);
        bool record = bit == 1 && l.at < length && text[l.at] == '[';
        if (bit == 1   ? !(record ? pass_record(&l, header->descr, sizeof header->descr)
                                  : read_text(&l, header->descr, sizeof header->descr))
            : bit == 2 ? !read_bool(&l, &header->fortran)
                       : !read_shape(&l, header))
            return false;
        comma = next_is(&l, ',');
    }
    skip_blanks(&l);
    if (l.at != length) return refuse(&l, "blanks after the dictionary");
    if (seen != 7) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: the header lacks %s", where,
                !(seen & 1)   ? "descr"
                : !(seen & 2) ? "fortran_order"
                              : "shape");
        return false;
    }
    size_t used = strlen(header->descr);
    header->descr[ct_utf8_check(header->descr, used)] = '\0';
    read_type(header);
    return true;
}

bool ct_npy_make(ct_file_dtype dtype, int rank, const int64_t *shape, char *text, size_t capacity,
                 size_t *length) {
    const char *code = NULL;
    for (int i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype) code = types[i].code;
    if (!code || rank < 0 || rank > CT_NPY_RANK || capacity < 256 + 24 * CT_NPY_RANK) return false;
    size_t used = 10;
    used +=
        (size_t)snprintf(text + used, capacity - used, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                         ct_file_dtype_bits(dtype) == 8 ? '|' : '<', code);
    for (int i = 0; i < rank; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    used += (size_t)snprintf(text + used, capacity - used, "%s), }", rank == 1 ? "," : "");
    while ((used + 1) % 64)
        text[used++] = ' ';
    text[used++] = '\n';
    memcpy(text, "\x93NUMPY\1", 8); /* with the NUL that ends the literal: version 1.0 */
    text[8] = (char)((used - 10) & 255);
    text[9] = (char)((used - 10) >> 8);
    *length = used;
    return true;
}
