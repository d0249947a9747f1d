/* tokenizer_decode.c - ids to text, all at once or token by token. */
#include "format/tokenizer_parts.h"
#include "format/utf8.h"
#include <string.h>

/* The token to show for an id: NULL with *status if it is none, or NULL if it is to be passed over. */
static const ct_token *shown_token(const ct_tokenizer *tokenizer, int32_t id, unsigned flags,
                                   ct_status *status) {
    *status = CT_OK;
    if (id < 0 || id >= tokenizer->size || !tokenizer->tokens[id].symbol) {
        *status = ct_fail(tokenizer->context, CT_ERROR_ARGUMENT,
                          "id %d is no token of the tokenizer's vocabulary of %d", id, tokenizer->size);
        return NULL;
    }
    const ct_token *token = &tokenizer->tokens[id];
    return token->special && flags & CT_DECODE_SKIP_SPECIAL ? NULL : token;
}

/* Where no decoder needs to run, the tokens' bytes stand behind each other. */
static ct_status decode_plainly(const ct_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                unsigned flags, ct_bytes *text) {
    ct_status status = CT_OK;
    for (size_t i = 0; i < count && status == CT_OK; i++) {
        const ct_token *token = shown_token(tokenizer, ids[i], flags, &status);
        if (token) status = ct_bytes_append(tokenizer->context, text, token->bytes, token->length);
    }
    return status;
}

static const ct_steps no_steps;

static ct_status begin_decoding(const ct_tokenizer *tokenizer, ct_decoding *decoding, ct_bytes *out) {
    return ct_decoding_begin(decoding, tokenizer->context,
                             tokenizer->decoder ? tokenizer->decoder : &no_steps, out);
}

/* What decoders see of a token. */
static ct_status push_token(const ct_tokenizer *tokenizer, ct_decoding *decoding, const ct_token *token) {
    if (!token->added) return ct_decoding_push(decoding, token->symbol, token->symbol_length);
    const ct_added_token *added = &tokenizer->added[token->added - 1];
    return ct_decoding_push(decoding, added->spelling, added->spelling_length);
}

static ct_status decode_in_steps(const ct_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                 unsigned flags, ct_bytes *text) {
    ct_decoding decoding;
    ct_status status = begin_decoding(tokenizer, &decoding, text);
    for (size_t i = 0; i < count && status == CT_OK; i++) {
        const ct_token *token = shown_token(tokenizer, ids[i], flags, &status);
        if (token) status = push_token(tokenizer, &decoding, token);
    }
    if (status == CT_OK) status = ct_decoding_finish(&decoding);
    ct_decoding_free(&decoding);
    return status;
}

ct_status ct_tokenizer_decode(const ct_tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                              ct_bytes *text) {
    ct_status status = ct_context_status(tokenizer->context);
    size_t before = text->length;
    if (status == CT_OK) status = ct_bytes_append(tokenizer->context, text, "", 0);
    if (status == CT_OK)
        status =
            (tokenizer->plain_decoder ? decode_plainly : decode_in_steps)(tokenizer, ids, count, flags, text);
    if (status != CT_OK && text->data) text->data[text->length = before] = '\0';
    return status;
}

/* A token's text behind another token. */
ct_status ct_tokenizer_spell_out(ct_tokenizer *tokenizer) {
    ct_context *context = tokenizer->context;
    ct_bytes text = {0};
    ct_status status = CT_OK;
    for (int32_t id = 0; id < tokenizer->size && status == CT_OK; id++) {
        ct_token *token = &tokenizer->tokens[id];
        ct_decoding decoding;
        if (!token->symbol || token->added) continue;
        text.length = 0;
        status = begin_decoding(tokenizer, &decoding, &text);
        if (status == CT_OK) status = ct_decoding_push(&decoding, "x", 1);
        if (status == CT_OK) status = push_token(tokenizer, &decoding, token);
        if (status == CT_OK) status = ct_decoding_finish(&decoding);
        ct_decoding_free(&decoding);
        if (status != CT_OK || text.length == 0) continue;
        size_t skip = text.data[0] == 'x';
        bool same = text.length - skip == token->symbol_length &&
                    memcmp(text.data + skip, token->symbol, token->symbol_length) == 0;
        if (same || text.length > INT32_MAX) continue;
        const char *bytes = ct_arena_copy(context, &tokenizer->arena, text.data + skip, text.length - skip);
        if (!bytes) break;
        token->bytes = bytes;
        token->length = (uint32_t)(text.length - skip);
    }
    ct_bytes_free(context, &text);
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------------- token by token */

struct ct_text_stream {
    const ct_tokenizer *tokenizer;
    unsigned flags;
    size_t given; /* bytes at the front of `pending` that the last call returned */
    ct_bytes pending;
    ct_decoding decoding; /* writes to `pending` */
};

ct_text_stream *ct_text_stream_create(const ct_tokenizer *tokenizer, unsigned flags) {
    ct_text_stream *stream = ct_alloc_zero(tokenizer->context, sizeof *stream, CT_MEMORY_OTHER);
    if (!stream) return NULL;
    stream->tokenizer = tokenizer;
    stream->flags = flags;
    begin_decoding(tokenizer, &stream->decoding, &stream->pending);
    return stream;
}

void ct_text_stream_destroy(ct_text_stream *stream) {
    if (!stream) return;
    ct_decoding_free(&stream->decoding);
    ct_bytes_free(stream->tokenizer->context, &stream->pending);
    ct_free(stream->tokenizer->context, stream);
}

static void drop_given(ct_text_stream *stream) {
    ct_bytes *pending = &stream->pending;
    if (!stream->given) return;
    pending->length -= stream->given;
    memmove(pending->data, pending->data + stream->given, pending->length);
    stream->given = 0;
}

/* Bytes at the end that may begin a character. */
static size_t unfinished(const ct_bytes *pending) {
    for (size_t size = 3; size >= 1; size--)
        if (size <= pending->length && ct_utf8_incomplete(pending->data + pending->length - size, size))
            return size;
    return 0;
}

ct_status ct_text_stream_push(ct_text_stream *stream, int32_t id, const char **text, size_t *length) {
    ct_status status;
    ct_bytes *pending = &stream->pending;
    *text = "";
    *length = 0;
    const ct_token *token = shown_token(stream->tokenizer, id, stream->flags, &status);
    if (status != CT_OK) return status;
    drop_given(stream);
    if (token && stream->tokenizer->plain_decoder)
        status = ct_bytes_append(stream->tokenizer->context, pending, token->bytes, token->length);
    else if (token)
        status = push_token(stream->tokenizer, &stream->decoding, token);
    if (status != CT_OK || !pending->data) return status;
    stream->given = pending->length - unfinished(pending);
    *text = pending->data;
    *length = stream->given;
    return CT_OK;
}

ct_status ct_text_stream_finish(ct_text_stream *stream, const char **text, size_t *length) {
    drop_given(stream);
    ct_status status = CT_OK;
    if (!stream->tokenizer->plain_decoder) { /* what comes after is a new text */
        status = ct_decoding_finish(&stream->decoding);
        ct_decoding_free(&stream->decoding);
        begin_decoding(stream->tokenizer, &stream->decoding, &stream->pending);
    }
    *text = stream->pending.data ? stream->pending.data : "";
    *length = stream->given = stream->pending.length;
    return status;
}
