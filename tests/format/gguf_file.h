/* gguf_file.h - GGUF files made byte by byte, with every lie that one wants. */
#ifndef CARAT_TESTS_FORMAT_GGUF_FILE_H
#define CARAT_TESTS_FORMAT_GGUF_FILE_H

#include "check.h"
#include "carat/gguf.h"

typedef struct gguf_bytes {
    unsigned char data[4096];
    size_t size;
} gguf_bytes;

static inline void put_int(gguf_bytes *bytes, uint64_t value, int size) {
    for (int i = 0; i < size; i++)
        bytes->data[bytes->size++] = (unsigned char)(value >> 8 * i);
}
static inline void put_string(gguf_bytes *bytes, const char *text) {
    put_int(bytes, strlen(text), 8);
    memcpy(bytes->data + bytes->size, text, strlen(text));
    bytes->size += strlen(text);
}
static inline void put_head(gguf_bytes *bytes, uint32_t version, uint64_t tensors, uint64_t keys) {
    bytes->size = 0;
    memcpy(bytes->data, "GGUF", 4);
    bytes->size = 4;
    put_int(bytes, version, 4);
    put_int(bytes, tensors, 8);
    put_int(bytes, keys, 8);
}
/* A tensor of two dimensions, `inner` the innermost. */
static inline void put_tensor(gguf_bytes *bytes, const char *name, uint64_t inner, uint64_t outer,
                              uint32_t type, uint64_t offset) {
    put_string(bytes, name);
    put_int(bytes, 2, 4);
    put_int(bytes, inner, 8);
    put_int(bytes, outer, 8);
    put_int(bytes, type, 4);
    put_int(bytes, offset, 8);
}
static inline void put_data(gguf_bytes *bytes, size_t alignment, size_t size) {
    while (bytes->size % alignment)
        bytes->data[bytes->size++] = 0;
    for (size_t i = 0; i < size; i++)
        bytes->data[bytes->size++] = (unsigned char)i;
}
#endif
