/* zip_write.c - writing zip archives of stored entries whose bytes are aligned in the file; zip64 where
 * numbers need it. */
#include "format/zip_parts.h"
#include <string.h>

typedef struct written {
    const char *name;
    uint64_t header, size;
    uint32_t crc;
} written;

struct ct_zip_writer {
    ct_context *context;
    ct_writer *file;
    char *path;
    uint64_t position; /* bytes written */
    uint64_t left;     /* of the entry that was begun */
    bool open;         /* an entry was begun */
    written *entries;
    size_t count, capacity;
    ct_name_table names;
    ct_arena texts;
};

static unsigned char *put16(unsigned char *at, uint32_t value) {
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
    return at + 2;
}
static unsigned char *put32(unsigned char *at, uint32_t value) {
    return put16(put16(at, value & 0xffff), value >> 16);
}
static unsigned char *put64(unsigned char *at, uint64_t value) {
    return put32(put32(at, (uint32_t)value), (uint32_t)(value >> 32));
}
static uint32_t narrow(uint64_t value) {
    return value < 0xffffffffu ? (uint32_t)value : 0xffffffffu;
}

static void free_writer(ct_zip_writer *writer) {
    ct_context *context = writer->context;
    ct_free(context, writer->path);
    ct_free(context, writer->entries);
    ct_names_free(context, &writer->names);
    ct_arena_free(context, &writer->texts);
    ct_free(context, writer);
}

ct_zip_writer *ct_zip_create(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_zip_writer *writer = ct_alloc_zero(context, sizeof *writer, CT_MEMORY_OTHER);
    if (!writer) return NULL;
    writer->context = context;
    writer->path = ct_strdup(context, path);
    writer->file = writer->path ? ct_writer_open(context, path) : NULL;
    if (writer->file) return writer;
    free_writer(writer);
    return NULL;
}

static ct_status put_bytes(ct_zip_writer *writer, const void *bytes, size_t size) {
    ct_status status = ct_writer_write(writer->file, bytes, size);
    if (status == CT_OK) writer->position += size;
    return status;
}

/* The checksum is known after the bytes and goes back into the header. */
static ct_status end_entry(ct_zip_writer *writer) {
    if (!writer->open) return CT_OK;
    const written *entry = &writer->entries[writer->count - 1];
    if (writer->left)
        return ct_fail(writer->context, CT_ERROR_STATE, "%s: entry \"%.120s\" lacks %llu of its %llu bytes",
                       writer->path, entry->name, (unsigned long long)writer->left,
                       (unsigned long long)entry->size);
    unsigned char bytes[4];
    put32(bytes, entry->crc);
    writer->open = false;
    return ct_writer_pwrite(writer->file, bytes, 4, entry->header + 14);
}

static ct_status add_entry(ct_zip_writer *writer, const char *name, uint64_t size) {
    ct_context *context = writer->context;
    size_t length = strlen(name);
    if (!length || length > 60000)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: an entry's name has %zu bytes, expected 1 to 60000",
                       writer->path, length);
    if (ct_names_get(&writer->names, name, length) >= 0)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: entry \"%.120s\" is written twice", writer->path,
                       name);
    if (writer->count == writer->capacity) {
        size_t capacity = writer->capacity * 2 + 16;
        written *larger = ct_realloc(context, writer->entries, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        writer->entries = larger;
        writer->capacity = capacity;
    }
    const char *copy = ct_arena_copy(context, &writer->texts, name, length);
    if (!copy || ct_names_put(context, &writer->names, copy, length, (int32_t)writer->count) != CT_OK)
        return ct_context_status(context);
    writer->entries[writer->count++] = (written){copy, writer->position, size, (uint32_t)crc32(0, NULL, 0)};
    return CT_OK;
}

/* Extra fields: sizes beyond 32 bits, then padding that puts the entry's bytes at a multiple of `alignment`.
 */
static size_t write_extra(const ct_zip_writer *writer, const written *entry, unsigned alignment,
                          unsigned char extra[4200]) {
    unsigned char *at = extra;
    if (entry->size >= 0xffffffffu)
        at = put64(put64(put16(put16(at, CT_ZIP_EXTRA64), 16), entry->size), entry->size);
    uint64_t data = writer->position + CT_ZIP_LOCAL_SIZE + strlen(entry->name) + (uint64_t)(at - extra);
    if (data % alignment == 0) return (size_t)(at - extra);
    size_t padding = (alignment - (data + 6) % alignment) % alignment;
    at = put16(put16(put16(at, CT_ZIP_EXTRA_ALIGNMENT), (uint32_t)padding + 2), alignment);
    memset(at, 0, padding);
    return (size_t)(at + padding - extra);
}

ct_status ct_zip_begin(ct_zip_writer *writer, const char *name, uint64_t size, unsigned alignment) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    if (!alignment || alignment > 4096 || (alignment & (alignment - 1)))
        return ct_fail(writer->context, CT_ERROR_ARGUMENT,
                       "%s: alignment %u, expected a power of two up to 4096", writer->path, alignment);
    if (end_entry(writer) != CT_OK || add_entry(writer, name, size) != CT_OK)
        return ct_context_status(writer->context);
    const written *entry = &writer->entries[writer->count - 1];
    unsigned char header[CT_ZIP_LOCAL_SIZE], extra[4200], *at = header;
    size_t extra_size = write_extra(writer, entry, alignment, extra);
    at = put16(put32(at, CT_ZIP_LOCAL), size >= 0xffffffffu ? 45 : 20);
    at = put16(put16(at, 1u << 11), 0); /* names are UTF-8; stored */
    at = put32(at, 0x21u << 16);        /* 1980-01-01 00:00, the same for every run */
    at = put32(put32(put32(at, 0), narrow(size)), narrow(size));
    put16(put16(at, (uint32_t)strlen(name)), (uint32_t)extra_size);
    put_bytes(writer, header, sizeof header);
    put_bytes(writer, name, strlen(name));
    put_bytes(writer, extra, extra_size);
    writer->left = size;
    writer->open = true;
    return ct_context_status(writer->context);
}

ct_status ct_zip_write(ct_zip_writer *writer, const void *data, size_t size) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    if (!writer->open || size > writer->left)
        return ct_fail(writer->context, CT_ERROR_STATE, "%s: %zu bytes are written, %llu were left to write",
                       writer->path, size, (unsigned long long)(writer->open ? writer->left : 0));
    written *entry = &writer->entries[writer->count - 1];
    for (size_t done = 0; done < size;) {
        size_t piece = size - done < (1u << 30) ? size - done : 1u << 30;
        entry->crc = (uint32_t)crc32(entry->crc, (const unsigned char *)data + done, (uInt)piece);
        done += piece;
    }
    writer->left -= size;
    return put_bytes(writer, data, size);
}

static ct_status write_central(ct_zip_writer *writer, const written *entry) {
    unsigned char header[CT_ZIP_CENTRAL_SIZE], extra[32], *at = header, *more = extra;
    bool large = entry->size >= 0xffffffffu || entry->header >= 0xffffffffu;
    if (large) {
        more = put16(put16(more, CT_ZIP_EXTRA64), 0);
        if (entry->size >= 0xffffffffu) more = put64(put64(more, entry->size), entry->size);
        if (entry->header >= 0xffffffffu) more = put64(more, entry->header);
        put16(extra + 2, (uint32_t)(more - extra - 4));
    }
    at = put16(put16(put32(at, CT_ZIP_CENTRAL), 3u << 8 | 45), large ? 45 : 20); /* made on Unix */
    at = put16(put16(at, 1u << 11), 0);
    at = put32(at, 0x21u << 16);
    at = put32(put32(put32(at, entry->crc), narrow(entry->size)), narrow(entry->size));
    at = put16(put16(at, (uint32_t)strlen(entry->name)), (uint32_t)(more - extra));
    at = put16(put16(put16(at, 0), 0), 0);
    put32(put32(at, 0x81a40000u), narrow(entry->header)); /* a regular file, rw-r--r-- */
    put_bytes(writer, header, sizeof header);
    put_bytes(writer, entry->name, strlen(entry->name));
    return put_bytes(writer, extra, (size_t)(more - extra));
}

static ct_status write_directory(ct_zip_writer *writer) {
    uint64_t start = writer->position;
    for (size_t i = 0; i < writer->count; i++)
        write_central(writer, &writer->entries[i]);
    uint64_t end = writer->position, count = writer->count;
    unsigned char bytes[CT_ZIP_END64_SIZE + CT_ZIP_LOCATOR_SIZE + CT_ZIP_END_SIZE], *at = bytes;
    if (count >= 0xffff || start >= 0xffffffffu || end - start >= 0xffffffffu) {
        at = put64(put32(at, CT_ZIP_END64), CT_ZIP_END64_SIZE - 12);
        at = put32(put32(put16(put16(at, 3u << 8 | 45), 45), 0), 0);
        at = put64(put64(put64(put64(at, count), count), end - start), start);
        at = put32(put64(put32(put32(at, CT_ZIP_LOCATOR), 0), end), 1);
    }
    uint32_t shown = count < 0xffff ? (uint32_t)count : 0xffff;
    at = put16(put16(put32(at, CT_ZIP_END), 0), 0);
    at = put16(put32(put32(put16(put16(at, shown), shown), narrow(end - start)), narrow(start)), 0);
    return put_bytes(writer, bytes, (size_t)(at - bytes));
}

ct_status ct_zip_commit(ct_zip_writer *writer) {
    if (!writer) return CT_ERROR_MEMORY; /* creating failed and has recorded why */
    ct_context *context = writer->context;
    if (end_entry(writer) == CT_OK && !ct_failed(context)) write_directory(writer);
    ct_status status = ct_writer_commit(writer->file); /* fails where the context has */
    free_writer(writer);
    return status;
}

void ct_zip_abandon(ct_zip_writer *writer) {
    if (!writer) return;
    ct_writer_abandon(writer->file);
    free_writer(writer);
}
