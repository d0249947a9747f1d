/* pretokenize.h - cuts text into the words that BPE works on. */
#ifndef CARAT_FORMAT_PRETOKENIZE_H
#define CARAT_FORMAT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The pattern of GPT-2 as files spell it. */
#define CT_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Where the word that begins at `start` < length ends, by GPT-2's pattern. Bytes that are not UTF-8 count as
 * punctuation; categories are those of utf8proc's Unicode (15.0 in Debian 12): letters that later versions
 * add are punctuation. */
size_t ct_gpt2_word(const char *text, size_t length, size_t start);
/* The first place at or after `from` where the text can be cut without changing the words; `length` if none.
 */
size_t ct_gpt2_cut(const char *text, size_t length, size_t from);

/* A pattern that is matched by hand. Its words follow each other without gaps. */
typedef struct ct_scanner {
    const char *name, *pattern;
    size_t (*word)(const char *text, size_t length, size_t start);
    size_t (*cut)(const char *text, size_t length, size_t from);
} ct_scanner;
extern const ct_scanner ct_scanner_gpt2;
/* The scanner for a pattern: those of GPT-2, Llama 3 and Qwen 2 as their files spell them; NULL for others.
 */
const ct_scanner *ct_scanner_of(const char *pattern, size_t length);

/* Unicode's White_Space; \w (Alphabetic, marks, decimal digits, connectors, joiners); numbers of all kinds;
 * punctuation and ASCII's symbols; marks of all kinds. */
bool ct_is_white_space(uint32_t code);
bool ct_is_word_character(uint32_t code);
bool ct_is_numeric(uint32_t code);
bool ct_is_punctuation(uint32_t code);
bool ct_is_mark(uint32_t code);
#endif
