/* gguf_parts.h - what the files of the GGUF reader share. */
#ifndef CARAT_FORMAT_GGUF_PARTS_H
#define CARAT_FORMAT_GGUF_PARTS_H

#include "carat/gguf.h"
#include "format/arena.h"
#include "format/name_table.h"

#define CT_GGUF_HEADER_LIMIT ((size_t)1 << 30) /* bytes before the tensors' data */
#define CT_GGUF_DEPTH_LIMIT 8                  /* arrays within arrays */
#define CT_GGUF_NAME_LIMIT 65535 /* bytes of a key, as the specification has it, and of a name */
#define CT_GGUF_RANK_LIMIT 4     /* GGML_MAX_DIMS */

struct ct_gguf {
    ct_context *context;
    ct_file *file;
    unsigned char *bytes; /* the file's beginning, as far as it was needed */
    size_t have, position;
    uint64_t tensor_count;
    uint32_t version;
    ct_gguf_entry *entries;
    size_t count, capacity;
    ct_name_table names;
    ct_arena texts;
};

/* Reads the header's fixed part and all keys of an open file; gguf->position is then at the first tensor's
 * info. */
ct_status ct_gguf_read_keys(ct_gguf *gguf);
/* After the last ct_gguf_take: the values' bytes are in their place for good. */
void ct_gguf_settle(ct_gguf *gguf);
/* The next `size` bytes of the header, and passes over them; NULL with an error if the file ends before. They
 * move with the next call. `what` is for the message. */
const unsigned char *ct_gguf_take(ct_gguf *gguf, uint64_t size, const char *what);
ct_status ct_gguf_refuse(ct_gguf *gguf, const char *format, ...) CT_PRINTF(2, 3);
void ct_gguf_free(ct_gguf *gguf);
/* Bytes of a type's value; 0 for strings and arrays. */
size_t ct_gguf_type_size(ct_gguf_type type);

static inline uint32_t ct_gguf_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}
static inline uint64_t ct_gguf_u64(const unsigned char *bytes) {
    return ct_gguf_u32(bytes) | (uint64_t)ct_gguf_u32(bytes + 4) << 32;
}
#endif
