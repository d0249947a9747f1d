/* tokenizer_describe.c - what a tokenizer is made of, for those that write it in another form. */
#include "format/tokenizer_parts.h"
#include <string.h>

bool ct_tokenizer_is_byte_token(const ct_tokenizer *tokenizer, int32_t id) {
    const ct_token *token = &tokenizer->tokens[id];
    if (!tokenizer->byte_fallback || token->symbol_length != 6 || token->symbol[0] != '<') return false;
    for (int i = 0; i < 256; i++)
        if (tokenizer->byte_tokens[i] == id) return true;
    return false;
}

ct_token_type ct_tokenizer_token_type(const ct_tokenizer *tokenizer, int32_t id) {
    if (id < 0 || id >= tokenizer->size || !tokenizer->tokens[id].symbol) return CT_TOKEN_IS_NONE;
    const ct_token *token = &tokenizer->tokens[id];
    if (id == tokenizer->unknown) return CT_TOKEN_IS_UNKNOWN;
    if (token->special) return CT_TOKEN_IS_CONTROL;
    if (token->added) return CT_TOKEN_IS_USER_DEFINED;
    return ct_tokenizer_is_byte_token(tokenizer, id) ? CT_TOKEN_IS_BYTE : CT_TOKEN_IS_NORMAL;
}

size_t ct_tokenizer_merges(const ct_tokenizer *tokenizer) {
    return tokenizer->bpe.merge_count;
}

bool ct_tokenizer_merge(const ct_tokenizer *tokenizer, size_t index, int32_t *left, int32_t *right,
                        int32_t *result) {
    if (index >= tokenizer->bpe.merge_count) return false;
    const ct_merge *merge = &tokenizer->bpe.merges[index];
    *left = merge->left;
    *right = merge->right;
    *result = merge->result;
    return true;
}

/* From the merges, if there are no scores: each token that merges make gets the number of the first of them.
 */
void ct_tokenizer_scores(const ct_tokenizer *tokenizer, float *scores) {
    for (int32_t id = 0; id < tokenizer->size; id++)
        scores[id] = tokenizer->scores ? (float)tokenizer->scores[id] : 0;
    if (tokenizer->scores) return;
    for (size_t i = tokenizer->bpe.merge_count; i-- > 0;)
        scores[tokenizer->bpe.merges[i].result] = -(float)(i + 1);
}

const ct_value *ct_tokenizer_part(const ct_tokenizer *tokenizer, const char *name) {
    if (strcmp(name, "model") == 0) return tokenizer->model;
    return ct_value_get(tokenizer->parts, name);
}

const char *ct_tokenizer_pattern(const ct_tokenizer *tokenizer) {
    const ct_steps *steps = tokenizer->splitter;
    if (!steps) return tokenizer->scanner == &ct_scanner_gpt2 ? CT_GPT2_PATTERN : NULL;
    for (size_t i = 0; i < steps->count; i++) {
        const ct_step *step = &steps->items[i];
        if (strcmp(step->kind->name, "Split") == 0) return step->pattern.data;
        if (strcmp(step->kind->name, "ByteLevel") == 0 && step->split) return CT_GPT2_PATTERN;
    }
    return NULL;
}

bool ct_tokenizer_has_byte_fallback(const ct_tokenizer *tokenizer) {
    return tokenizer->byte_fallback;
}

bool ct_tokenizer_is_byte_spelled(const ct_tokenizer *tokenizer) {
    return tokenizer->kind == &ct_tokenizer_method_bytes || tokenizer->bpe.by_bytes;
}

const int32_t *ct_tokenizer_template(const ct_tokenizer *tokenizer, bool after, size_t *count) {
    const ct_ids *ids = after ? &tokenizer->suffix : &tokenizer->prefix;
    *count = ids->count;
    return ids->ids;
}
