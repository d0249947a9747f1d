/* tokenizer_added.c - added tokens: texts such as <|endoftext|> that are found before the model sees the
 * text, the leftmost first and of those at one place the longest. */
#include "format/pretokenize.h"
#include "format/tokenizer_parts.h"
#include "format/utf8.h"
#include <stdlib.h>
#include <string.h>

ct_status ct_tokenizer_add(ct_tokenizer *tokenizer, const char *content, size_t length,
                           ct_added_token added) {
    ct_context *context = tokenizer->context;
    int shown = length < 60 ? (int)length : 60;
    if (length == 0)
        return ct_fail(context, CT_ERROR_FORMAT, "the added token with the id %d is empty", added.id);
    int32_t id = ct_names_get(&tokenizer->symbols, content, length);
    if (id >= 0 && id != added.id)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "added token \"%.*s\" has the id %d, but %d in the vocabulary", shown, content,
                       added.id, id);
    if (id < 0 && ct_tokenizer_put(tokenizer, added.id, content, length, NULL, 0, false) != CT_OK)
        return ct_context_status(context);
    if (tokenizer->tokens[added.id].added)
        return ct_fail(context, CT_ERROR_FORMAT, "added token \"%.*s\" stands twice", shown, content);
    if (tokenizer->added_count == tokenizer->added_capacity) {
        size_t capacity = tokenizer->added_capacity * 2 + 8;
        ct_added_token *larger =
            ct_realloc(context, tokenizer->added, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        tokenizer->added = larger;
        tokenizer->added_capacity = capacity;
    }
    tokenizer->added[tokenizer->added_count++] = added;
    /* the text of an added token is itself, also where its spelling would mean other bytes */
    ct_token *token = &tokenizer->tokens[added.id];
    token->added = (uint32_t)tokenizer->added_count;
    token->special = added.special;
    token->bytes = token->symbol;
    token->length = token->symbol_length;
    return CT_OK;
}

static int larger_first(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a > b ? -1 : a < b;
}

/* What is looked for: the text, or what the normalizers make of it. */
static ct_status spell(ct_tokenizer *tokenizer, ct_added_token *added) {
    ct_token *token = &tokenizer->tokens[added->id];
    ct_text text = {token->symbol, token->symbol_length};
    added->spelling = token->symbol;
    added->spelling_length = token->symbol_length;
    if (!added->normalized || !tokenizer->normalizer) return CT_OK;
    ct_status status = ct_tokenizer_normalize(tokenizer, text, &text, NULL);
    if (status != CT_OK || text.data == token->symbol) return status;
    if (text.length > INT32_MAX)
        return ct_fail(tokenizer->context, CT_ERROR_FORMAT, "the added token with the id %d is too long",
                       added->id);
    added->spelling = ct_arena_copy(tokenizer->context, &tokenizer->arena, text.data, text.length);
    added->spelling_length = (uint32_t)text.length;
    if (!added->spelling) return ct_context_status(tokenizer->context);
    token->bytes = added->spelling;
    token->length = added->spelling_length;
    return CT_OK;
}

static ct_status build_set(ct_tokenizer *tokenizer, ct_added_set *set, bool normalized) {
    ct_context *context = tokenizer->context;
    ct_names_free(context, &set->names);
    ct_free(context, set->lengths);
    memset(set, 0, sizeof *set);
    set->lengths = ct_alloc(context, tokenizer->added_count * sizeof *set->lengths, CT_MEMORY_OTHER);
    if (!set->lengths) return ct_context_status(context);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        ct_added_token *added = &tokenizer->added[i];
        if (added->normalized != normalized) continue;
        if (spell(tokenizer, added) != CT_OK) return ct_context_status(context);
        if (!added->spelling_length ||
            ct_names_get(&set->names, added->spelling, added->spelling_length) >= 0)
            continue; /* normalized away, or to what another one is: it cannot be found */
        if (ct_names_put(context, &set->names, added->spelling, added->spelling_length, (int32_t)i) != CT_OK)
            return ct_context_status(context);
        set->first[(unsigned char)added->spelling[0]] = true;
        set->lengths[set->length_count++] = added->spelling_length;
    }
    qsort(set->lengths, set->length_count, sizeof *set->lengths, larger_first);
    size_t distinct = 0;
    for (size_t i = 0; i < set->length_count; i++)
        if (i == 0 || set->lengths[i] != set->lengths[distinct - 1])
            set->lengths[distinct++] = set->lengths[i];
    set->length_count = distinct;
    return CT_OK;
}

ct_status ct_tokenizer_finish_added(ct_tokenizer *tokenizer) {
    ct_status status = build_set(tokenizer, &tokenizer->plain_set, false);
    return status == CT_OK ? build_set(tokenizer, &tokenizer->normalized_set, true) : status;
}

/* The character that ends at `end` > from begins where? Stray bytes are characters of their own. */
static size_t step_back(const char *text, size_t from, size_t end) {
    uint32_t code;
    for (size_t size = 1; size <= 4 && size <= end - from; size++)
        if (ct_utf8_decode(text + end - size, size, &code) == size) return end - size;
    return end - 1;
}

static bool word_at(const char *text, size_t length) {
    uint32_t code = 0;
    return length > 0 && ct_utf8_decode(text, length, &code) && ct_is_word_character(code);
}

static bool word_before(const char *text, size_t end) {
    return end > 0 && word_at(text + step_back(text, 0, end), end - step_back(text, 0, end));
}

static size_t skip_space_back(const char *text, size_t from, size_t at) {
    uint32_t code = 0;
    while (at > from) {
        size_t before = step_back(text, from, at);
        if (!ct_utf8_decode(text + before, at - before, &code) || !ct_is_white_space(code)) break;
        at = before;
    }
    return at;
}

static size_t skip_space(const char *text, size_t length, size_t at) {
    uint32_t code = 0;
    while (at < length) {
        size_t size = ct_utf8_decode(text + at, length - at, &code);
        if (!size || !ct_is_white_space(code)) break;
        at += size;
    }
    return at;
}

/* The longest token at this place, NULL if none. */
static const ct_added_token *match(const ct_tokenizer *tokenizer, const ct_added_set *set, const char *text,
                                   size_t length, size_t at) {
    for (size_t i = 0; i < set->length_count; i++) {
        size_t size = set->lengths[i];
        if (size > length - at) continue;
        int32_t index = ct_names_get(&set->names, text + at, size);
        if (index >= 0) return &tokenizer->added[index];
    }
    return NULL;
}

static bool may_be_seen(const ct_added_token *token, const char *text, size_t length, size_t at,
                        unsigned flags) {
    size_t end = at + token->spelling_length;
    if (token->special && !(flags & CT_ENCODE_SPECIAL)) return false;
    return !token->single_word || !(word_before(text, at) || word_at(text + end, length - end));
}

/* One that may not be seen hides what it covers, as in Hugging Face tokenizers. */
bool ct_added_next(const ct_tokenizer *tokenizer, const ct_added_set *set, const char *text, size_t length,
                   size_t from, unsigned flags, const ct_added_token **token, size_t *begin, size_t *end) {
    if (!set->length_count) return false;
    for (size_t at = from; at < length; at++) {
        if (!set->first[(unsigned char)text[at]]) continue;
        const ct_added_token *found = match(tokenizer, set, text, length, at);
        if (!found) continue;
        if (!may_be_seen(found, text, length, at, flags)) {
            at += found->spelling_length - 1;
            continue;
        }
        *token = found;
        *end = at + found->spelling_length;
        *begin = found->lstrip ? skip_space_back(text, from, at) : at;
        if (found->rstrip) *end = skip_space(text, length, *end);
        return true;
    }
    return false;
}
