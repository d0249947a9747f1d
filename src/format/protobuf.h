/* protobuf.h - reads messages of Protocol Buffers field by field, without a schema. Lengths are checked
 * before they are used; groups and malformed numbers end the reading. */
#ifndef CARAT_FORMAT_PROTOBUF_H
#define CARAT_FORMAT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct ct_protobuf {
    const unsigned char *at, *end;
    bool broken;
    /* of the last field */
    uint32_t field, wire;
    uint64_t number;   /* wire types 0, 1 and 5 */
    const char *bytes; /* wire type 2 */
    size_t length;
} ct_protobuf;

enum { CT_WIRE_NUMBER = 0, CT_WIRE_64 = 1, CT_WIRE_BYTES = 2, CT_WIRE_32 = 5 };

static inline ct_protobuf ct_protobuf_begin(const void *data, size_t size) {
    return (ct_protobuf){.at = data, .end = (const unsigned char *)data + size};
}

static inline bool ct_protobuf_number(ct_protobuf *reader, uint64_t *number) {
    *number = 0;
    for (unsigned shift = 0; reader->at < reader->end && shift < 70; shift += 7) {
        uint64_t byte = *reader->at++;
        if (shift == 63 && byte > 1) break;
        *number |= (byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    reader->broken = true;
    return false;
}

static inline bool ct_protobuf_fixed(ct_protobuf *reader, size_t size) {
    reader->number = 0;
    if ((size_t)(reader->end - reader->at) < size) return !(reader->broken = true);
    for (size_t i = 0; i < size; i++)
        reader->number |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += size;
    return true;
}

/* The next field; false at the end or when `broken`. */
static inline bool ct_protobuf_next(ct_protobuf *reader) {
    uint64_t tag, length;
    if (reader->at == reader->end || reader->broken || !ct_protobuf_number(reader, &tag)) return false;
    reader->field = (uint32_t)(tag >> 3);
    reader->wire = (uint32_t)(tag & 7);
    if (tag >> 32 || !reader->field) return !(reader->broken = true);
    switch (reader->wire) {
    case CT_WIRE_NUMBER:
        return ct_protobuf_number(reader, &reader->number);
    case CT_WIRE_64:
        return ct_protobuf_fixed(reader, 8);
    case CT_WIRE_32:
        return ct_protobuf_fixed(reader, 4);
    case CT_WIRE_BYTES:
        if (!ct_protobuf_number(reader, &length)) return false;
        if (length > (uint64_t)(reader->end - reader->at)) return !(reader->broken = true);
        reader->bytes = (const char *)reader->at;
        reader->length = (size_t)length;
        reader->at += length;
        return true;
    default:
        return !(reader->broken = true);
    }
}

static inline float ct_protobuf_float(const ct_protobuf *reader) {
    uint32_t bits = (uint32_t)reader->number;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
#endif
