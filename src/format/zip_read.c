/* zip_read.c - the content of zip entries: in place where it is stored, through zlib where it is deflated,
 * with the checksum of what is read in order. */
#include "format/zip_parts.h"
#include <string.h>

#define MOST_A_CALL ((size_t)1 << 30) /* zlib counts in 32 bits */
#define NEAR 4096 /* reading that begins so near to the start takes in what lies before, for the checksum */

static ct_status broken(ct_zip *zip, const ct_zip_entry *entry, const char *why) {
    return ct_fail(zip->context, CT_ERROR_FORMAT, "%s: entry \"%.120s\" %s", ct_file_path(zip->file),
                   entry->name, why);
}

/* zlib's memory comes from the context, so that it is counted. */
static void *stream_alloc(void *user, unsigned items, unsigned size) {
    return ct_alloc(user, (size_t)items * size, CT_MEMORY_WORKSPACE);
}
static void stream_free(void *user, void *pointer) {
    ct_free(user, pointer);
}

void ct_zip_cursor_end(ct_zip *zip) {
    if (zip->cursor.inflating) inflateEnd(&zip->cursor.stream);
    ct_free(zip->context, zip->cursor.buffer);
    memset(&zip->cursor, 0, sizeof zip->cursor);
}

static ct_status cursor_begin(ct_zip *zip, const ct_zip_entry *entry) {
    ct_zip_cursor *cursor = &zip->cursor;
    ct_zip_cursor_end(zip);
    if (entry->deflated) {
        cursor->buffer = ct_alloc(zip->context, CT_ZIP_BUFFER, CT_MEMORY_WORKSPACE);
        if (!cursor->buffer) return ct_context_status(zip->context);
        cursor->stream = (z_stream){
            .zalloc = stream_alloc, .zfree = stream_free, .opaque = zip->context, .next_in = cursor->buffer};
        if (inflateInit2(&cursor->stream, -MAX_WBITS) != Z_OK) {
            ct_status status = ct_failed(zip->context) ? ct_context_status(zip->context)
                                                       : ct_fail(zip->context, CT_ERROR_MEMORY,
                                                                 "zlib has no memory to unpack with");
            ct_zip_cursor_end(zip);
            return status;
        }
        cursor->inflating = true;
    }
    cursor->entry = entry;
    cursor->crc = (uint32_t)crc32(0, NULL, 0);
    return CT_OK;
}

static ct_status refill(ct_zip *zip) {
    ct_zip_cursor *cursor = &zip->cursor;
    uint64_t left = cursor->entry->packed - cursor->packed;
    size_t size = left < CT_ZIP_BUFFER ? (size_t)left : CT_ZIP_BUFFER;
    if (ct_file_pread(zip->file, cursor->buffer, size, cursor->entry->offset + cursor->packed) != CT_OK)
        return ct_context_status(zip->context);
    cursor->packed += size;
    cursor->stream.next_in = cursor->buffer;
    cursor->stream.avail_in = (uInt)size;
    return CT_OK;
}

/* Unpacks the next `size` bytes. */
static ct_status unpack(ct_zip *zip, unsigned char *target, size_t size) {
    ct_zip_cursor *cursor = &zip->cursor;
    const ct_zip_entry *entry = cursor->entry;
    z_stream *stream = &cursor->stream;
    stream->next_out = target;
    stream->avail_out = (uInt)size;
    while (stream->avail_out) {
        if (!stream->avail_in && cursor->packed < entry->packed && refill(zip) != CT_OK)
            return ct_context_status(zip->context);
        uInt before = stream->avail_out, input = stream->avail_in;
        int code = inflate(stream, Z_NO_FLUSH);
        if (code == Z_MEM_ERROR)
            return ct_failed(zip->context)
                       ? ct_context_status(zip->context)
                       : ct_fail(zip->context, CT_ERROR_MEMORY, "zlib has no memory left");
        if (code == Z_STREAM_END && stream->avail_out)
            return broken(zip, entry, "unpacks to fewer bytes than it claims");
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return broken(zip, entry, "holds bytes that deflate cannot have written");
        if (stream->avail_out == before && stream->avail_in == input && cursor->packed == entry->packed)
            return broken(zip, entry, "ends in the middle of its packed bytes");
    }
    return CT_OK;
}

/* After the last byte: the stream must end there, and the checksum be the one promised. */
static ct_status finish(ct_zip *zip) {
    ct_zip_cursor *cursor = &zip->cursor;
    const ct_zip_entry *entry = cursor->entry;
    ct_status status = CT_OK;
    unsigned char beyond;
    if (cursor->inflating) {
        cursor->stream.next_out = &beyond;
        cursor->stream.avail_out = 1;
        int code = Z_OK;
        while (code == Z_OK && cursor->stream.avail_out) {
            if (!cursor->stream.avail_in && cursor->packed < entry->packed && refill(zip) != CT_OK)
                return ct_context_status(zip->context);
            code = inflate(&cursor->stream, Z_NO_FLUSH);
        }
        if (!cursor->stream.avail_out)
            status = broken(zip, entry, "unpacks to more bytes than it claims");
        else if (code != Z_STREAM_END)
            status = broken(zip, entry, "ends in the middle of its packed bytes");
    }
    if (status == CT_OK && zip->check && cursor->crc != entry->crc)
        status = ct_fail(zip->context, CT_ERROR_FORMAT,
                         "%s: entry \"%.120s\" has the checksum %08x, expected %08x: its bytes were damaged",
                         ct_file_path(zip->file), entry->name, cursor->crc, entry->crc);
    ct_zip_cursor_end(zip);
    return status;
}

/* Takes the next bytes of the cursor's entry into `target`. */
static ct_status advance(ct_zip *zip, unsigned char *target, size_t size) {
    ct_zip_cursor *cursor = &zip->cursor;
    ct_status status;
    if (cursor->inflating)
        status = unpack(zip, target, size);
    else
        status = ct_file_pread(zip->file, target, size, cursor->entry->offset + cursor->position);
    if (status != CT_OK) return status;
    if (zip->check) cursor->crc = (uint32_t)crc32(cursor->crc, target, (uInt)size);
    cursor->position += size;
    return CT_OK;
}

/* Passes over what lies before `offset`. */
static ct_status skip_to(ct_zip *zip, uint64_t offset) {
    unsigned char *waste = ct_alloc(zip->context, CT_ZIP_BUFFER, CT_MEMORY_WORKSPACE);
    ct_status status = waste ? CT_OK : ct_context_status(zip->context);
    while (status == CT_OK && zip->cursor.position < offset) {
        uint64_t left = offset - zip->cursor.position;
        status = advance(zip, waste, left < CT_ZIP_BUFFER ? (size_t)left : CT_ZIP_BUFFER);
    }
    ct_free(zip->context, waste);
    return status;
}

static ct_status read_in_order(ct_zip *zip, const ct_zip_entry *entry, unsigned char *target, uint64_t offset,
                               size_t size) {
    ct_status status = CT_OK;
    if (zip->cursor.entry != entry || zip->cursor.position > offset) status = cursor_begin(zip, entry);
    if (status == CT_OK && zip->cursor.position < offset) status = skip_to(zip, offset);
    for (size_t done = 0; status == CT_OK && done < size;) {
        size_t piece = size - done < MOST_A_CALL ? size - done : MOST_A_CALL;
        status = advance(zip, target + done, piece);
        done += piece;
    }
    if (status == CT_OK && zip->cursor.position == entry->size) status = finish(zip);
    if (status != CT_OK) ct_zip_cursor_end(zip);
    return status;
}

ct_status ct_zip_read(ct_zip *zip, const ct_zip_entry *entry, void *buffer, uint64_t offset, size_t size) {
    if (ct_failed(zip->context)) return ct_context_status(zip->context);
    if (offset > entry->size || size > entry->size - offset)
        return ct_fail(zip->context, CT_ERROR_ARGUMENT,
                       "%s: bytes %llu to %llu of entry \"%.120s\" are asked for, which has %llu",
                       ct_file_path(zip->file), (unsigned long long)offset,
                       (unsigned long long)(offset + size), entry->name, (unsigned long long)entry->size);
    if (!size && entry->size) return CT_OK;
    bool follows = zip->cursor.entry == entry && zip->cursor.position == offset;
    bool in_order = entry->deflated || (zip->check && (offset <= NEAR || follows));
    if (in_order) return read_in_order(zip, entry, buffer, offset, size);
    return ct_file_pread(zip->file, buffer, size, entry->offset + offset);
}

char *ct_zip_read_all(ct_zip *zip, const ct_zip_entry *entry, uint64_t limit, size_t *length) {
    if (ct_failed(zip->context)) return NULL;
    if (entry->size > limit) {
        ct_fail(zip->context, CT_ERROR_FORMAT, "%s: entry \"%.120s\" has %llu bytes, at most %llu are read",
                ct_file_path(zip->file), entry->name, (unsigned long long)entry->size,
                (unsigned long long)limit);
        return NULL;
    }
    size_t size = (size_t)entry->size;
    char *bytes = ct_alloc(zip->context, size + 1, CT_MEMORY_WORKSPACE);
    if (!bytes) return NULL;
    if (ct_zip_read(zip, entry, bytes, 0, size) != CT_OK) {
        ct_free(zip->context, bytes);
        return NULL;
    }
    bytes[size] = '\0';
    if (length) *length = size;
    return bytes;
}
