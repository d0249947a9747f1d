/* zip_bytes.h - zip archives made byte by byte, so that they can lie. */
#ifndef CARAT_TESTS_FORMAT_ZIP_BYTES_H
#define CARAT_TESTS_FORMAT_ZIP_BYTES_H

#include "check.h"
#include <zlib.h>

typedef struct zip_bytes {
    unsigned char *data;
    size_t size;
    unsigned char directory[4096];
    size_t directory_size;
    int count;
} zip_bytes;

static inline void zip_put(zip_bytes *zip, const void *bytes, size_t size) {
    zip->data = realloc(zip->data, zip->size + size + 1);
    assert_non_null(zip->data);
    if (size) memcpy(zip->data + zip->size, bytes, size);
    zip->size += size;
}

static inline size_t zip_number(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
    return (size_t)bytes;
}

/* What an entry's headers say. */
typedef struct zip_entry {
    const char *name;
    unsigned method, flags;
    uint32_t crc;
    uint64_t packed, size, header;
    const char *local_name; /* NULL: as `name` */
} zip_entry;

static inline void zip_local(zip_bytes *zip, const zip_entry *e) {
    unsigned char bytes[30];
    const char *name = e->local_name ? e->local_name : e->name;
    size_t at = zip_number(bytes, 0x04034b50, 4);
    at += zip_number(bytes + at, 20, 2);
    at += zip_number(bytes + at, e->flags, 2);
    at += zip_number(bytes + at, e->method, 2);
    at += zip_number(bytes + at, 0, 4);
    at += zip_number(bytes + at, e->crc, 4);
    at += zip_number(bytes + at, e->packed, 4);
    at += zip_number(bytes + at, e->size, 4);
    at += zip_number(bytes + at, strlen(name), 2);
    at += zip_number(bytes + at, 0, 2);
    zip_put(zip, bytes, at);
    zip_put(zip, name, strlen(name));
}

static inline void zip_central(zip_bytes *zip, const zip_entry *e) {
    unsigned char *d = zip->directory;
    size_t at = zip->directory_size;
    assert_true(at + 46 + strlen(e->name) < sizeof zip->directory);
    at += zip_number(d + at, 0x02014b50, 4);
    at += zip_number(d + at, 20, 2);
    at += zip_number(d + at, 20, 2);
    at += zip_number(d + at, e->flags, 2);
    at += zip_number(d + at, e->method, 2);
    at += zip_number(d + at, 0, 4);
    at += zip_number(d + at, e->crc, 4);
    at += zip_number(d + at, e->packed, 4);
    at += zip_number(d + at, e->size, 4);
    at += zip_number(d + at, strlen(e->name), 2);
    at += zip_number(d + at, 0, 2);
    memset(d + at, 0, 10);
    at += 10;
    at += zip_number(d + at, e->header, 4);
    memcpy(d + at, e->name, strlen(e->name));
    zip->directory_size = at + strlen(e->name);
    zip->count++;
}

/* An honest entry; *said (may be NULL) becomes what its headers say. */
static inline void zip_add(zip_bytes *zip, const char *name, const void *data, size_t size, bool deflated,
                           zip_entry *said) {
    zip_entry e = {name, deflated ? 8 : 0, 0,   (uint32_t)crc32(0, data, (uInt)size), size,
                   size, zip->size,        NULL};
    unsigned char *packed = malloc(size + 100);
    assert_non_null(packed);
    if (size) memcpy(packed, data, size);
    if (deflated) {
        z_stream stream = {.next_in = (unsigned char *)(uintptr_t)data,
                           .avail_in = (uInt)size,
                           .next_out = packed,
                           .avail_out = (uInt)size + 100};
        assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
        e.packed = stream.total_out;
        deflateEnd(&stream);
    }
    zip_local(zip, &e);
    zip_put(zip, packed, (size_t)e.packed);
    zip_central(zip, &e);
    free(packed);
    if (said) *said = e;
}

/* The directory and the record at the end, which say what is given. */
static inline void zip_end(zip_bytes *zip, int count, uint64_t size, uint64_t offset, const char *comment) {
    unsigned char bytes[22] = {0};
    zip_put(zip, zip->directory, zip->directory_size);
    zip_number(bytes, 0x06054b50, 4);
    zip_number(bytes + 8, (uint64_t)count, 2);
    zip_number(bytes + 10, (uint64_t)count, 2);
    zip_number(bytes + 12, size, 4);
    zip_number(bytes + 16, offset, 4);
    zip_number(bytes + 20, strlen(comment), 2);
    zip_put(zip, bytes, sizeof bytes);
    zip_put(zip, comment, strlen(comment));
}
static inline void zip_finish(zip_bytes *zip) {
    zip_end(zip, zip->count, zip->directory_size, zip->size, "");
}
#endif
