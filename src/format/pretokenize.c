/* pretokenize.c - GPT-2's pattern, matched by hand over utf8proc's categories:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
#include "format/pretokenize.h"
#include "format/utf8.h"
#include <utf8proc.h>

typedef enum character_class { OTHER, SPACE, LETTER, NUMBER } character_class;

/* clang-format off */
static const unsigned char ascii_classes[128] = {
    0,0,0,0,0,0,0,0,0,1,1,1,1,1,0,0, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
    1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0, 3,3,3,3,3,3,3,3,3,3,0,0,0,0,0,0,
    0,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2, 2,2,2,2,2,2,2,2,2,2,2,0,0,0,0,0,
    0,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2, 2,2,2,2,2,2,2,2,2,2,2,0,0,0,0,0};
/* clang-format on */

bool ct_is_white_space(uint32_t code) {
    if (code < 128) return ascii_classes[code] == SPACE;
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static character_class class_of(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return ct_is_white_space(code) ? SPACE : OTHER;
    }
}

bool ct_is_word_character(uint32_t code) {
    if (code == '_') return true;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_ND:
        return true;
    default:
        return class_of(code) == LETTER;
    }
}

/* The class of the character at `at` and its size. */
static inline character_class class_at(const char *text, size_t length, size_t at, size_t *size) {
    unsigned char byte = (unsigned char)text[at];
    uint32_t code = 0;
    *size = 1;
    if (byte < 128) return (character_class)ascii_classes[byte];
    size_t decoded = ct_utf8_decode(text + at, length - at, &code);
    if (decoded == 0) return OTHER;
    *size = decoded;
    return class_of(code);
}

static size_t run_end(const char *text, size_t length, size_t at, character_class class) {
    size_t size;
    while (at < length && class_at(text, length, at, &size) == class)
        at += size;
    return at;
}

/* Bytes of 's 't 're 've 'm 'll 'd at `start`, where an apostrophe is; 0 if it is none of them. */
static size_t contraction(const char *text, size_t length, size_t start) {
    size_t left = length - start;
    if (left < 2) return 0;
    char a = text[start + 1], b = left > 2 ? text[start + 2] : '\0';
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* White space from `start` on. Before a word the last character of the run is left to it: \s+(?!\S). */
static size_t space_end(const char *text, size_t length, size_t start) {
    size_t at = start, last = start, size;
    while (at < length && class_at(text, length, at, &size) == SPACE) {
        last = at;
        at += size;
    }
    return at == length || last == start ? at : last;
}

size_t ct_gpt2_word(const char *text, size_t length, size_t start) {
    size_t size;
    if (text[start] == '\'') {
        size_t end = contraction(text, length, start);
        if (end) return start + end;
    }
    size_t first = text[start] == ' ' && start + 1 < length ? start + 1 : start;
    character_class class = class_at(text, length, first, &size);
    if (class != SPACE) return run_end(text, length, first + size, class);
    return space_end(text, length, start);
}

/* No word of the pattern has white space after something else, and the only look-ahead is at the end of white
 * space: between a character that is none and white space the text can be cut. */
size_t ct_gpt2_cut(const char *text, size_t length, size_t from) {
    for (size_t at = from ? from : 1; at < length; at++) {
        if ((unsigned char)text[at] >= 128 || ascii_classes[(unsigned char)text[at]] != SPACE) continue;
        size_t before = at - 1, size;
        while (before > 0 && at - before < 4 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        character_class class = class_at(text, length, before, &size);
        /* a character that does not reach up to here leaves a stray byte, which is no white space */
        if (before + size != at || class != SPACE) return at;
    }
    return length;
}
