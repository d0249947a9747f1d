/* fuzz_stream.h - a text token by token is the text at once. */
#ifndef CARAT_TESTS_FUZZ_STREAM_H
#define CARAT_TESTS_FUZZ_STREAM_H

#include "fuzz.h"
#include "carat/tokenizer.h"
#include <string.h>

static inline void check_stream(ct_context *context, ct_tokenizer *tokenizer, const ct_ids *ids,
                                const ct_bytes *whole) {
    ct_text_stream *stream = ct_text_stream_create(tokenizer, 0);
    const char *piece;
    size_t length, total = 0;
    FUZZ_CHECK(stream);
    for (size_t i = 0; i <= ids->count; i++) {
        ct_status status = i < ids->count ? ct_text_stream_push(stream, ids->ids[i], &piece, &length)
                                          : ct_text_stream_finish(stream, &piece, &length);
        FUZZ_CHECK(status == CT_OK && total + length <= whole->length &&
                   memcmp(whole->data + total, piece, length) == 0);
        total += length;
    }
    FUZZ_CHECK(total == whole->length && !ct_failed(context));
    ct_text_stream_destroy(stream);
}

#endif
