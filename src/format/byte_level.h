/* byte_level.h - GPT-2's alphabet: a printable character for each of the 256 bytes. */
#ifndef CARAT_FORMAT_BYTE_LEVEL_H
#define CARAT_FORMAT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point that stands for a byte: the byte itself if Latin-1 prints it, else 256 and up in order. */
uint32_t ct_byte_symbol(unsigned char byte);
/* The byte that a code point stands for, -1 if none. */
int ct_symbol_byte(uint32_t code);
/* Spells bytes in the alphabet; `out` has room for twice `length`. The length of the spelling. */
size_t ct_bytes_spell(const char *bytes, size_t length, char *out);
/* The bytes that a spelling stands for; `out` has room for `length`. False if a character is not of the
 * alphabet. */
bool ct_bytes_unspell(const char *symbol, size_t length, char *out, size_t *out_length);
#endif
