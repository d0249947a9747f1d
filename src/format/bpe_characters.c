/* bpe_characters.c - byte-pair encoding whose words are cut into characters and not into bytes
 * (SentencePiece's, as in Llama 2 and Gemma; the first BPE files with "</w>"): the ids before any merge, with
 * byte fallback and unknown characters. */
#define _GNU_SOURCE /* memmem */
#include "format/tokenizer_parts.h"
#include "format/utf8.h"
#include <string.h>

bool ct_tokenizer_find_bytes(ct_tokenizer *tokenizer) {
    bool all = true;
    for (int i = 0; i < 256; i++) {
        char symbol[8];
        snprintf(symbol, sizeof symbol, "<0x%02X>", (unsigned)i);
        int32_t id = ct_names_get(&tokenizer->symbols, symbol, 6);
        if (id >= 0 && !tokenizer->tokens[id].in_model) id = -1;
        tokenizer->byte_tokens[i] = id;
        all &= id >= 0;
    }
    return all;
}

static int32_t model_id(const ct_tokenizer *tokenizer, const char *symbol, size_t length) {
    int32_t id = ct_names_get(&tokenizer->symbols, symbol, length);
    return id >= 0 && tokenizer->tokens[id].in_model ? id : -1;
}

ct_status ct_bpe_make_codes(ct_tokenizer *tokenizer) {
    ct_bpe *bpe = &tokenizer->bpe;
    if (bpe->prefix.length || bpe->suffix.length) return CT_OK;
    bpe->code_ids = ct_alloc(tokenizer->context, CT_CODE_IDS * sizeof *bpe->code_ids, CT_MEMORY_OTHER);
    if (!bpe->code_ids) return ct_context_status(tokenizer->context);
    memset(bpe->code_ids, 0xff, CT_CODE_IDS * sizeof *bpe->code_ids);
    for (int32_t id = 0; id < tokenizer->size; id++) {
        const ct_token *token = &tokenizer->tokens[id];
        uint32_t code;
        if (!token->symbol || !token->in_model || !token->symbol_length || token->symbol_length > 3) continue;
        if (ct_utf8_decode(token->symbol, token->symbol_length, &code) == token->symbol_length &&
            code < CT_CODE_IDS)
            bpe->code_ids[code] = id;
    }
    return CT_OK;
}

/* The id of a character, marked by prefix and suffix where it stands. */
static int32_t marked_id(const ct_tokenizer *tokenizer, const char *text, size_t size, bool first,
                         bool last) {
    const ct_bpe *bpe = &tokenizer->bpe;
    char symbol[256];
    size_t length = 0;
    if (!first && bpe->prefix.length) {
        memcpy(symbol, bpe->prefix.data, bpe->prefix.length);
        length = bpe->prefix.length;
    }
    memcpy(symbol + length, text, size);
    length += size;
    if (last && bpe->suffix.length) {
        memcpy(symbol + length, bpe->suffix.data, bpe->suffix.length);
        length += bpe->suffix.length;
    }
    return model_id(tokenizer, symbol, length);
}

/* The bytes of a character as tokens; false if one of them has none. */
static bool put_bytes(const ct_tokenizer *tokenizer, const char *text, size_t size, int32_t *out) {
    for (size_t i = 0; i < size; i++)
        if ((out[i] = tokenizer->byte_tokens[(unsigned char)text[i]]) < 0) return false;
    return true;
}

/* An unknown token waits until a known character comes: bytes that are spelled out do not end it, as in
 * Hugging Face tokenizers. */
size_t ct_bpe_spell_characters(const ct_tokenizer *tokenizer, const char *word, size_t length, int32_t *out,
                               ct_encode_problem *problem) {
    const ct_bpe *bpe = &tokenizer->bpe;
    size_t count = 0, size;
    bool unknown = false;
    for (size_t at = 0; at < length; at += size) {
        uint32_t code = (unsigned char)word[at];
        size = ct_utf8_decode(word + at, length - at, &code);
        bool stray = size == 0;
        if (stray) size = 1;
        int32_t id = -1;
        if (!stray && bpe->code_ids && code < CT_CODE_IDS)
            id = bpe->code_ids[code];
        else if (!stray)
            id = marked_id(tokenizer, word + at, size, at == 0, at + size == length);
        if (id >= 0) {
            if (unknown) out[count++] = tokenizer->unknown;
            unknown = false;
            out[count++] = id;
            continue;
        }
        /* room for the waiting unknown token stays, as its characters gave none yet */
        if (tokenizer->byte_fallback && put_bytes(tokenizer, word + at, size, out + count)) {
            count += size;
            continue;
        }
        if (tokenizer->unknown < 0) {
            *problem = (ct_encode_problem){true, at, code, stray};
            return 0;
        }
        if (unknown && !bpe->fuse_unknown) out[count++] = tokenizer->unknown;
        unknown = true;
    }
    if (unknown) out[count++] = tokenizer->unknown;
    return count;
}

/* The first place from `from` on where U+2581 follows something else; `length` if there is none. */
static size_t mark_after(const char *text, size_t length, size_t from) {
    static const char mark[] = "\xe2\x96\x81";
    for (size_t at = from; at + 3 <= length; at++) {
        const char *found = memmem(text + at, length - at, mark, 3);
        if (!found) break;
        at = (size_t)(found - text);
        if (at >= 3 && memcmp(found - 3, mark, 3) == 0) continue;
        if (at > 0) return at;
    }
    return length;
}

static size_t marked_word(const char *text, size_t length, size_t start) {
    return mark_after(text, length, start + 1);
}

const ct_scanner ct_scanner_metaspace = {"metaspace", "", marked_word, mark_after};

bool ct_bpe_splits_at_marks(const ct_tokenizer *tokenizer) {
    const ct_bpe *bpe = &tokenizer->bpe;
    if (bpe->ignore_merges || bpe->prefix.length || bpe->suffix.length) return false;
    for (size_t i = 0; i < bpe->merge_count; i++) {
        const ct_token *result = &tokenizer->tokens[bpe->merges[i].result];
        if (mark_after(result->symbol, result->symbol_length, 1) != result->symbol_length) return false;
    }
    /* unknown characters before a mark may not wait for what stands after it: the mark must be known */
    return tokenizer->unknown < 0 || model_id(tokenizer, "\xe2\x96\x81", 3) >= 0;
}
