/* model_unigram.c - the unigram language model (Kudo, arXiv:1804.10959): of all ways to put a word together
 * from tokens the one with the largest sum of scores, by Viterbi's algorithm from left to right. Characters
 * without a token of their own may be the unknown token, whose score is 10 below the lowest; unknown ones in
 * a row are one. */
#include "format/tokenizer_parts.h"
#include "format/utf8.h"
#include <string.h>

typedef struct best_end { /* of the ways that end at a byte */
    double score;
    int32_t start; /* of its last token; -1: no way ends here */
    int32_t id;
    int32_t next; /* where the token after it ends */
} best_end;

static size_t unigram_scratch(const ct_tokenizer *tokenizer, size_t length) {
    (void)tokenizer;
    return (length + 1) * sizeof(best_end);
}

static void offer(best_end *end, double score, size_t start, int32_t id) {
    if (end->start < 0 || score > end->score) *end = (best_end){score, (int32_t)start, id, -1};
}

/* The size of the character, 1 for a stray byte. */
static size_t character(const char *text, size_t length) {
    uint32_t code;
    size_t size = ct_utf8_decode(text, length, &code);
    return size ? size : 1;
}

/* Fills the table; false if a character is unknown and there is no token for that. */
static bool find_ends(const ct_tokenizer *tokenizer, const char *word, size_t length, best_end *ends,
                      ct_encode_problem *problem) {
    const ct_trie *trie = &tokenizer->trie;
    for (size_t i = 0; i <= length; i++)
        ends[i] = (best_end){0, -1, -1, -1};
    for (size_t start = 0, size; start < length; start += size) {
        double so_far = ends[start].score;
        bool single = false;
        uint32_t node = 0;
        size = character(word + start, length - start);
        for (size_t at = start; at < length && (node = ct_trie_step(trie, node, (unsigned char)word[at]));
             at++) {
            int32_t id = trie->nodes[node].id;
            if (id < 0) continue;
            offer(&ends[at + 1], so_far + tokenizer->scores[id], start, id);
            single |= at + 1 - start == size;
        }
        if (single) continue;
        if (tokenizer->unknown < 0) {
            *problem = (ct_encode_problem){true, start, (unsigned char)word[start], true};
            return false;
        }
        offer(&ends[start + size], so_far + tokenizer->unknown_score, start, tokenizer->unknown);
    }
    return true;
}

/* What unknown characters in a row become. */
static size_t put_unknown(const ct_tokenizer *tokenizer, const char *text, size_t length, int32_t *out) {
    int32_t id = ct_names_get(&tokenizer->symbols, text, length);
    if (id >= 0 && tokenizer->tokens[id].special) id = -1;
    bool bytes = id < 0 && tokenizer->byte_fallback;
    for (size_t i = 0; i < length && bytes; i++)
        bytes = (out[i] = tokenizer->byte_tokens[(unsigned char)text[i]]) >= 0;
    if (bytes) return length;
    *out = id >= 0 && tokenizer->tokens[id].in_model ? id : tokenizer->unknown;
    return 1;
}

static size_t encode_unigram(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                             int32_t *out, ct_encode_problem *problem) {
    best_end *ends = scratch;
    size_t made = 0, unknown = 0; /* bytes of unknown characters just before `begin` */
    if (!find_ends(tokenizer, word, length, ends, problem)) return 0;
    for (int32_t end = (int32_t)length; end > 0; end = ends[end].start)
        ends[ends[end].start].next = end;
    for (size_t begin = 0, end; begin < length; begin = end) {
        end = (size_t)ends[begin].next;
        if (ends[end].id == tokenizer->unknown) {
            unknown += end - begin;
            continue;
        }
        if (unknown) made += put_unknown(tokenizer, word + begin - unknown, unknown, out + made);
        unknown = 0;
        out[made++] = ends[end].id;
    }
    if (unknown) made += put_unknown(tokenizer, word + length - unknown, unknown, out + made);
    return made;
}

const ct_tokenizer_method ct_tokenizer_method_unigram = {"unigram", encode_unigram, unigram_scratch, true};

ct_status ct_unigram_finish(ct_tokenizer *tokenizer, const char *path) {
    ct_context *context = tokenizer->context;
    const ct_value *unknown = ct_value_get(tokenizer->model, "unk_id");
    int64_t id = ct_value_as_int(unknown, -1);
    if (ct_value_kind_of(unknown) != CT_VALUE_NULL &&
        (id < 0 || id >= tokenizer->size || !tokenizer->tokens[id].symbol))
        return ct_fail(context, CT_ERROR_FORMAT, "%s: unk_id is %lld, expected an id of the vocabulary", path,
                       (long long)id);
    tokenizer->unknown = (int32_t)id;
    double lowest = 0;
    for (int32_t i = 0; i < tokenizer->size; i++)
        if (i == 0 || tokenizer->scores[i] < lowest) lowest = tokenizer->scores[i];
    tokenizer->unknown_score = lowest - 10.0;
    tokenizer->byte_fallback = ct_value_as_bool(ct_value_get(tokenizer->model, "byte_fallback"), false);
    ct_tokenizer_find_bytes(tokenizer);
    return CT_OK;
}

/* "</s>" in a text is text like any other, or was found as an added token before. */
static bool is_hidden(const ct_tokenizer *tokenizer, int32_t id) {
    return tokenizer->tokens[id].special ||
           (tokenizer->hides_bytes && ct_tokenizer_is_byte_token(tokenizer, id));
}

ct_status ct_unigram_make_trie(ct_tokenizer *tokenizer) {
    ct_trie_free(tokenizer->context, &tokenizer->trie);
    return ct_tokenizer_make_trie(tokenizer, is_hidden);
}
