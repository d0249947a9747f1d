/* tokenizer_kinds.c - the simple kinds: bytes are their own ids, characters are looked up. */
#include "format/tokenizer_parts.h"
#include "format/utf8.h"
#include <string.h>

/* -------------------------------------------------------------------------------------------- bytes ----- */

static size_t encode_bytes(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                           int32_t *out, ct_encode_problem *problem) {
    (void)tokenizer, (void)scratch, (void)problem;
    for (size_t i = 0; i < length; i++)
        out[i] = (unsigned char)word[i];
    return length;
}

static size_t no_scratch(const ct_tokenizer *tokenizer, size_t length) {
    (void)tokenizer, (void)length;
    return 0;
}

const ct_tokenizer_method ct_tokenizer_method_bytes = {"bytes", encode_bytes, no_scratch, false};

/* --------------------------------------------------------------------------------------- characters ----- */

static size_t encode_characters(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                                int32_t *out, ct_encode_problem *problem) {
    size_t count = 0;
    (void)scratch;
    for (size_t i = 0; i < length;) {
        uint32_t code = (unsigned char)word[i];
        size_t size = ct_utf8_decode(word + i, length - i, &code);
        int32_t id = size ? ct_names_get(&tokenizer->symbols, word + i, size) : -1;
        if (id < 0) id = tokenizer->unknown;
        if (id < 0) {
            *problem = (ct_encode_problem){true, i, code, size == 0};
            return count;
        }
        out[count++] = id;
        i += size ? size : 1;
    }
    return count;
}

const ct_tokenizer_method ct_tokenizer_method_characters = {"characters", encode_characters, no_scratch,
                                                            false};

/* -------------------------------------------------------------------------------------- whole words ----- */

static size_t encode_whole(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                           int32_t *out, ct_encode_problem *problem) {
    int32_t id = ct_names_get(&tokenizer->symbols, word, length);
    (void)scratch;
    if (id < 0 || !tokenizer->tokens[id].in_model) id = tokenizer->unknown;
    if (id < 0) {
        uint32_t code = (unsigned char)word[0];
        size_t size = ct_utf8_decode(word, length, &code);
        *problem = (ct_encode_problem){true, 0, code, size == 0};
        return 0;
    }
    *out = id;
    return 1;
}

const ct_tokenizer_method ct_tokenizer_method_wordlevel = {"wordlevel", encode_whole, no_scratch, false};

/* Marks the code points of the text; false with the error recorded if it is not UTF-8. */
static bool mark(ct_context *context, const char *text, size_t length, uint8_t *seen) {
    for (size_t i = 0; i < length;) {
        uint32_t code;
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        if (size == 0) {
            ct_fail(context, CT_ERROR_FORMAT,
                    "the text for a character tokenizer is not UTF-8 (byte 0x%02x at %zu)",
                    (unsigned char)text[i], i);
            return false;
        }
        seen[code >> 3] |= (uint8_t)(1u << (code & 7));
        i += size;
    }
    return true;
}

/* As Hugging Face tokenizers see it: each character a word of a WordLevel model. */
static ct_status set_parts(ct_tokenizer *tokenizer) {
    ct_status status = ct_tokenizer_set_part(tokenizer, "pre_tokenizer",
                                             "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\\\s\\\\S]\"},"
                                             "\"behavior\":\"Isolated\",\"invert\":false}");
    if (status == CT_OK) status = ct_tokenizer_set_part(tokenizer, "decoder", "{\"type\":\"Fuse\"}");
    tokenizer->scanner = &ct_scanner_characters;
    tokenizer->plain_decoder = true;
    return status == CT_OK
               ? ct_tokenizer_set_part(tokenizer, "model", "{\"type\":\"WordLevel\",\"unk_token\":\"<unk>\"}")
               : status;
}

ct_tokenizer *ct_tokenizer_train_characters(ct_context *context, const char *text, size_t length) {
    enum { CODES = 0x110000 };
    if (ct_failed(context)) return NULL;
    uint8_t *seen = ct_alloc_zero(context, CODES / 8, CT_MEMORY_WORKSPACE);
    if (!seen) return NULL;
    ct_tokenizer *tokenizer = mark(context, text, length, seen)
                                  ? ct_tokenizer_make(context, &ct_tokenizer_method_characters)
                                  : NULL;
    ct_status status = tokenizer ? set_parts(tokenizer) : ct_context_status(context);
    int32_t id = 0;
    for (uint32_t code = 0; code < CODES && status == CT_OK; code++) {
        if (!(seen[code >> 3] >> (code & 7) & 1)) continue;
        char symbol[4];
        status = ct_tokenizer_put(tokenizer, id++, symbol, ct_utf8_encode(code, symbol), NULL, 0, true);
    }
    ct_free(context, seen);
    if (status == CT_OK && id == 0)
        status = ct_fail(context, CT_ERROR_ARGUMENT, "the text for a character tokenizer is empty");
    if (status == CT_OK) status = ct_tokenizer_finish_added(tokenizer);
    if (status == CT_OK) return tokenizer;
    ct_tokenizer_destroy(tokenizer);
    return NULL;
}
