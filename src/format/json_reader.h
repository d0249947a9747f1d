/* json_reader.h - a pull parser for JSON. Vocabularies and safetensors headers hold hundreds of thousands of
 * entries, so they are read through this and not through trees of values. */
#ifndef CARAT_FORMAT_JSON_READER_H
#define CARAT_FORMAT_JSON_READER_H

#include "carat/format.h"

typedef enum ct_json_event {
    CT_JSON_ERROR, /* recorded in the context */
    CT_JSON_END,   /* the document is complete and nothing follows it */
    CT_JSON_NULL,
    CT_JSON_BOOL,
    CT_JSON_INT,
    CT_JSON_REAL,
    CT_JSON_STRING,
    CT_JSON_KEY,
    CT_JSON_LIST_BEGIN,
    CT_JSON_LIST_END,
    CT_JSON_MAP_BEGIN,
    CT_JSON_MAP_END
} ct_json_event;

typedef struct ct_json_reader {
    ct_context *context;
    const char *name; /* for messages */
    const char *text; /* borrowed; unescaped strings point into it */
    size_t length, position;
    int line;
    int depth;
    unsigned char in_map[CT_DEPTH_MAX + 1]; /* for each open container: whether it is a map */
    enum {
        CT_JSON_WANT_VALUE,
        CT_JSON_WANT_FIRST,
        CT_JSON_WANT_NEXT,
        CT_JSON_WANT_MAP_VALUE,
        CT_JSON_DONE
    } state;
    bool failed;
    /* of the last event */
    bool boolean;
    int64_t integer;
    double real;
    const char *string; /* STRING and KEY; not NUL-terminated; valid until the next event */
    size_t string_length;
    char *buffer; /* unescaped text */
    size_t capacity;
} ct_json_reader;

/* Nothing is allocated until a string with escapes is met. `name` may be NULL. */
void ct_json_begin(ct_json_reader *reader, ct_context *context, const char *text, size_t length,
                   const char *name);
void ct_json_release(ct_json_reader *reader);
ct_json_event ct_json_next(ct_json_reader *reader);
/* Records an error at the reader's place ("name:line: ..."); always CT_JSON_ERROR. */
ct_json_event ct_json_fail(ct_json_reader *reader, const char *format, ...) CT_PRINTF(2, 3);
/* The tree that begins with `event`, the reader's last; NULL on error. */
ct_value *ct_json_tree(ct_json_reader *reader, ct_json_event event);
/* Passes over the value that begins with `event`. */
ct_status ct_json_skip(ct_json_reader *reader, ct_json_event event);
/* Whether the last STRING or KEY is this text. */
bool ct_json_is(const ct_json_reader *reader, const char *text);
#endif
