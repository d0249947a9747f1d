/* model_wordpiece.c - WordPiece (Wu et al., arXiv:1609.08144) as BERT uses it: from left to right the longest
 * token of the vocabulary, those that do not begin a word marked by a prefix ("##"); a word that cannot be
 * put together, or is too long, is unknown as a whole. */
#include "format/tokenizer_parts.h"
#include <string.h>

static size_t count_characters(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static size_t unknown_word(const ct_tokenizer *tokenizer, const char *word, int32_t *out,
                           ct_encode_problem *problem) {
    if (tokenizer->unknown < 0) {
        *problem = (ct_encode_problem){true, 0, (unsigned char)word[0], true};
        return 0;
    }
    *out = tokenizer->unknown;
    return 1;
}

static size_t encode_wordpiece(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                               int32_t *out, ct_encode_problem *problem) {
    const ct_trie *trie = &tokenizer->trie;
    size_t count = 0;
    (void)scratch;
    if (length > tokenizer->longest_word && count_characters(word, length) > tokenizer->longest_word)
        return unknown_word(tokenizer, word, out, problem);
    for (size_t start = 0; start < length;) {
        uint32_t node = start ? tokenizer->word_root : 0;
        size_t end = start;
        if (start && node == UINT32_MAX) return unknown_word(tokenizer, word, out, problem);
        for (size_t at = start; at < length && (node = ct_trie_step(trie, node, (unsigned char)word[at]));
             at++)
            if (trie->nodes[node].id >= 0) {
                end = at + 1;
                out[count] = trie->nodes[node].id;
            }
        if (end == start) return unknown_word(tokenizer, word, out, problem);
        count++;
        start = end;
    }
    return count;
}

static size_t no_scratch(const ct_tokenizer *tokenizer, size_t length) {
    (void)tokenizer, (void)length;
    return 0;
}

const ct_tokenizer_method ct_tokenizer_method_wordpiece = {"wordpiece", encode_wordpiece, no_scratch, true};

ct_status ct_wordpiece_finish(ct_tokenizer *tokenizer, const char *path) {
    ct_context *context = tokenizer->context;
    const ct_value *prefix = ct_value_get(tokenizer->model, "continuing_subword_prefix"),
                   *longest = ct_value_get(tokenizer->model, "max_input_chars_per_word");
    int64_t most = ct_value_as_int(longest, 100);
    if ((prefix && ct_value_kind_of(prefix) != CT_VALUE_STRING) ||
        (longest && ct_value_kind_of(longest) != CT_VALUE_INT) || most < 0)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: a WordPiece model has a string continuing_subword_prefix and a count "
                       "max_input_chars_per_word",
                       path);
    tokenizer->longest_word = (size_t)most;
    ct_status status = ct_tokenizer_make_trie(tokenizer, NULL);
    if (status != CT_OK) return status;
    const char *text = ct_value_as_string(prefix, "##");
    tokenizer->word_root = 0;
    for (size_t i = 0; i < strlen(text); i++) {
        tokenizer->word_root = ct_trie_step(&tokenizer->trie, tokenizer->word_root, (unsigned char)text[i]);
        if (!tokenizer->word_root) { /* no token has the prefix: words are one token or unknown */
            tokenizer->word_root = UINT32_MAX;
            break;
        }
    }
    return CT_OK;
}
