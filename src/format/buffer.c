/* buffer.c - the growing arrays of ids and bytes. */
#include "carat/tokenizer.h"
#include <string.h>

void ct_ids_free(ct_context *context, ct_ids *ids) {
    ct_free(context, ids->ids);
    memset(ids, 0, sizeof *ids);
}

/* The capacity to grow to for `needed` units of `unit` bytes; 0 if that is beyond the address space. */
static size_t grown(size_t capacity, size_t needed, size_t unit) {
    size_t most = SIZE_MAX / 2 / unit;
    if (needed > most) return 0;
    size_t larger = capacity < most / 2 ? capacity + capacity / 2 : most;
    if (larger < 64) larger = 64;
    return larger > needed ? larger : needed;
}

ct_status ct_ids_reserve(ct_context *context, ct_ids *ids, size_t extra) {
    if (ids->capacity - ids->count >= extra) return CT_OK;
    size_t capacity =
        extra > SIZE_MAX - ids->count ? 0 : grown(ids->capacity, ids->count + extra, sizeof *ids->ids);
    if (!capacity)
        return ct_fail(context, CT_ERROR_MEMORY, "%zu more token ids do not fit into memory", extra);
    int32_t *data = ct_realloc(context, ids->ids, capacity * sizeof *data, CT_MEMORY_OTHER);
    if (!data) return ct_context_status(context);
    ids->ids = data;
    ids->capacity = capacity;
    return CT_OK;
}

ct_status ct_ids_push(ct_context *context, ct_ids *ids, int32_t id) {
    if (ids->count == ids->capacity) {
        ct_status status = ct_ids_reserve(context, ids, 1);
        if (status != CT_OK) return status;
    }
    ids->ids[ids->count++] = id;
    return CT_OK;
}

void ct_bytes_free(ct_context *context, ct_bytes *bytes) {
    ct_free(context, bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

ct_status ct_bytes_append(ct_context *context, ct_bytes *bytes, const void *data, size_t length) {
    if (bytes->capacity <= bytes->length || bytes->capacity - bytes->length - 1 < length) {
        size_t capacity =
            length > SIZE_MAX - bytes->length - 1 ? 0 : grown(bytes->capacity, bytes->length + length + 1, 1);
        if (!capacity)
            return ct_fail(context, CT_ERROR_MEMORY, "%zu more bytes of text do not fit into memory", length);
        char *larger = ct_realloc(context, bytes->data, capacity, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        bytes->data = larger;
        bytes->capacity = capacity;
    }
    if (length) memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = '\0';
    return CT_OK;
}
