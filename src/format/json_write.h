/* json_write.h - pieces of JSON for writers that build no tree. */
#ifndef CARAT_FORMAT_JSON_WRITE_H
#define CARAT_FORMAT_JSON_WRITE_H

#include "carat/tokenizer.h"

/* Appends the text in quotes, with what must be escaped escaped. */
ct_status ct_json_put_string(ct_context *context, ct_bytes *out, const char *text, size_t length);
#endif
