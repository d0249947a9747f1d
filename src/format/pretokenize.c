/* pretokenize.c - the patterns of GPT-2, Llama 3 and Qwen 2, matched by hand over utf8proc's categories:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
 *     \s+(?!\S)|\s+                                            (Llama 3; Qwen 2 has \p{N} for \p{N}{1,3}) */
#include "format/pretokenize.h"
#include "format/utf8.h"
#include <string.h>
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

bool ct_is_numeric(uint32_t code) {
    return class_of(code) == NUMBER;
}

/* ASCII's symbols count as well: $ + < = > ^ ` | ~ */
bool ct_is_punctuation(uint32_t code) {
    if (code < 128) return (code >= 33 && code < 127) && ascii_classes[code] == OTHER;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool ct_is_mark(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

/* Unicode's Other_Alphabetic beyond letters, marks and numbers: circled and squared letters. */
static bool is_circled_letter(uint32_t code) {
    return (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
           (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189);
}

bool ct_is_word_character(uint32_t code) {
    if (code == '_' || code == 0x200c || code == 0x200d || is_circled_letter(code)) return true;
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

/* ------------------------------------------------------------------------------- Llama 3 and Qwen 2 ----- */

/* As `contraction` in any case; the long s is an s in the other case. */
static size_t folded_contraction(const char *text, size_t length, size_t start) {
    char folded[3] = {'\'', 0, 0};
    size_t left = length - start;
    if (left >= 3 && memcmp(text + start + 1, "\xc5\xbf", 2) == 0) return 3;
    for (size_t i = 1; i < 3 && i < left; i++) {
        char c = text[start + i];
        folded[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return contraction(folded, left < 3 ? left : 3, 0);
}

static bool is_line_end(char byte) {
    return byte == '\n' || byte == '\r';
}

/* White space from `start` on: up to its last line end, else as GPT-2 has it. */
static size_t line_space_end(const char *text, size_t length, size_t start) {
    size_t at = start, last = start, line = 0, size;
    while (at < length && class_at(text, length, at, &size) == SPACE) {
        last = at;
        if (is_line_end(text[at])) line = at + 1;
        at += size;
    }
    if (line) return line;
    return at == length || last == start ? at : last;
}

static inline size_t line_word(const char *text, size_t length, size_t start, int digits) {
    size_t size, after;
    if (text[start] == '\'') {
        size_t end = folded_contraction(text, length, start);
        if (end) return start + end;
    }
    character_class class = class_at(text, length, start, &size), next = OTHER;
    size_t at = start + size;
    if (class == LETTER) return run_end(text, length, at, LETTER);
    if (class == NUMBER) {
        for (int i = 1; i < digits && at < length && class_at(text, length, at, &size) == NUMBER; i++)
            at += size;
        return at;
    }
    if (at < length) next = class_at(text, length, at, &after);
    if (at < length && next == LETTER && !is_line_end(text[start]))
        return run_end(text, length, at + after, LETTER);
    if (class == OTHER || (text[start] == ' ' && at < length && next == OTHER)) {
        at = run_end(text, length, at, OTHER);
        while (at < length && is_line_end(text[at]))
            at++;
        return at;
    }
    return line_space_end(text, length, start);
}

static size_t llama3_word(const char *text, size_t length, size_t start) {
    return line_word(text, length, start, 3);
}

static size_t qwen2_word(const char *text, size_t length, size_t start) {
    return line_word(text, length, start, 1);
}

/* The next ASCII white space from `from` on (not the first byte of the text), and the class of the character
 * that ends before it; OTHER where none does: a stray byte, which is no white space. False at the end. */
static bool next_space(const char *text, size_t length, size_t from, size_t *place, character_class *class) {
    for (size_t at = from ? from : 1; at < length; at++) {
        if ((unsigned char)text[at] >= 128 || ascii_classes[(unsigned char)text[at]] != SPACE) continue;
        size_t before = at - 1, size;
        while (before > 0 && at - before < 4 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        *class = class_at(text, length, before, &size);
        if (before + size != at) *class = OTHER;
        *place = at;
        return true;
    }
    return false;
}

/* Between a letter or number and white space no word goes on, and nothing looks back. */
static size_t line_cut(const char *text, size_t length, size_t from) {
    character_class class;
    for (size_t at; next_space(text, length, from, &at, &class); from = at + 1)
        if (class == LETTER || class == NUMBER) return at;
    return length;
}

/* No word of the pattern has white space after something else, and the only look-ahead is at the end of white
 * space: between a character that is none and white space the text can be cut. */
size_t ct_gpt2_cut(const char *text, size_t length, size_t from) {
    character_class class;
    for (size_t at; next_space(text, length, from, &at, &class); from = at + 1)
        if (class != SPACE) return at;
    return length;
}

#define LINE_PATTERN(digits)                                                                                 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                               \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const ct_scanner ct_scanner_gpt2 = {"gpt2", CT_GPT2_PATTERN, ct_gpt2_word, ct_gpt2_cut};
static const ct_scanner scanner_llama3 = {"llama3", LINE_PATTERN("{1,3}"), llama3_word, line_cut},
                        scanner_qwen2 = {"qwen2", LINE_PATTERN(""), qwen2_word, line_cut};

const ct_scanner *ct_scanner_of(const char *pattern, size_t length) {
    static const ct_scanner *const all[] = {&ct_scanner_gpt2, &scanner_llama3, &scanner_qwen2};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strlen(all[i]->pattern) == length && memcmp(all[i]->pattern, pattern, length) == 0) return all[i];
    return NULL;
}
