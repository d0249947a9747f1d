/* utf8.h - decoding, checking and encoding of UTF-8 (RFC 3629: no surrogates, no overlong forms, up to
 * U+10FFFF). */
#ifndef CARAT_FORMAT_UTF8_H
#define CARAT_FORMAT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at `text`, of which `length` >= 1 bytes are there, and its code point; 0
 * if there is none. */
static inline size_t ct_utf8_decode(const char *text, size_t length, uint32_t *code) {
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *code = byte[0];
        return 1;
    }
    size_t size = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || size > length) return 0;
    uint32_t value = byte[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((byte[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (byte[i] & 0x3fu);
    }
    if (value < smallest[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
    *code = value;
    return size;
}

static inline size_t ct_utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[size] | code);
    return size;
}

/* The first byte that is not part of a well-formed character; `length` if there is none. */
static inline size_t ct_utf8_check(const char *text, size_t length) {
    size_t i = 0;
    uint32_t code;
    while (i < length) {
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        if (size == 0) break;
        i += size;
    }
    return i;
}

/* Whether `length` bytes (1 to 3) could be the beginning of a longer well-formed character. */
static inline bool ct_utf8_incomplete(const char *text, size_t length) {
    const unsigned char *byte = (const unsigned char *)text;
    if (length == 0 || byte[0] < 0xc2 || byte[0] > 0xf4) return false;
    size_t size = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (length >= size) return false;
    for (size_t i = 1; i < length; i++)
        if ((byte[i] & 0xc0) != 0x80) return false;
    if (length < 2) return true;
    switch (byte[0]) { /* second bytes that would make overlong forms, surrogates or too large code points */
    case 0xe0:
        return byte[1] >= 0xa0;
    case 0xed:
        return byte[1] < 0xa0;
    case 0xf0:
        return byte[1] >= 0x90;
    case 0xf4:
        return byte[1] < 0x90;
    default:
        return true;
    }
}
#endif
