/* archive_gguf.c - GGUF files as archives: the tensors' descriptions, checked, and the metadata as values. */
#include "format/archive_format.h"
#include "format/gguf_parts.h"
#include "format/utf8.h"
#include <stdlib.h>
#include <string.h>

static bool recognise(ct_file *file, const unsigned char *head, size_t size) {
    (void)file;
    return size >= 4 && memcmp(head, "GGUF", 4) == 0;
}

static char *locate(ct_context *context, const char *folder) {
    return ct_archive_only_file(context, folder, ".gguf");
}

const ct_gguf *ct_gguf_of(const ct_archive *archive) {
    return archive->format == &ct_archive_gguf ? archive->state : NULL;
}

/* ------------------------------------------------------------------------------------------------ tensors */

typedef struct tensor_info {
    const char *name;
    int rank;
    int64_t shape[CT_GGUF_RANK_LIMIT]; /* outermost first */
    ct_element type;
    uint64_t offset; /* from the beginning of the data */
} tensor_info;

/* A name stays in the header's bytes, which may move: it is copied. */
static bool read_name(ct_gguf *gguf, tensor_info *info) {
    const unsigned char *bytes = ct_gguf_take(gguf, 8, "a tensor's name");
    if (!bytes) return false;
    uint64_t length = ct_gguf_u64(bytes);
    if (length == 0 || length > CT_GGUF_NAME_LIMIT) {
        ct_gguf_refuse(gguf, "a tensor's name at offset %zu has %llu bytes, expected 1 to %d",
                       gguf->position - 8, (unsigned long long)length, CT_GGUF_NAME_LIMIT);
        return false;
    }
    bytes = ct_gguf_take(gguf, length, "a tensor's name");
    if (!bytes) return false;
    if (memchr(bytes, 0, (size_t)length) || ct_utf8_check((const char *)bytes, (size_t)length) != length) {
        ct_gguf_refuse(gguf, "a tensor's name at offset %zu is no text in UTF-8",
                       gguf->position - (size_t)length);
        return false;
    }
    info->name = ct_arena_copy(gguf->context, &gguf->texts, (const char *)bytes, (size_t)length);
    return info->name != NULL;
}

/* Name, rank, extents innermost first, type, offset. */
static bool read_info(ct_gguf *gguf, tensor_info *info) {
    if (!read_name(gguf, info)) return false;
    const unsigned char *bytes = ct_gguf_take(gguf, 4, "a tensor's rank");
    if (!bytes) return false;
    uint32_t rank = ct_gguf_u32(bytes);
    if (rank > CT_GGUF_RANK_LIMIT) {
        ct_gguf_refuse(gguf, "tensor \"%.120s\" has %u dimensions, expected at most %d", info->name, rank,
                       CT_GGUF_RANK_LIMIT);
        return false;
    }
    info->rank = (int)rank;
    bytes = ct_gguf_take(gguf, 8 * (uint64_t)rank + 12, "a tensor's shape");
    if (!bytes) return false;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t extent = ct_gguf_u64(bytes + 8 * i);
        if (extent > INT64_MAX) {
            ct_gguf_refuse(gguf, "tensor \"%.120s\" has the extent %llu, expected less than 2^63", info->name,
                           (unsigned long long)extent);
            return false;
        }
        info->shape[rank - 1 - i] = (int64_t)extent;
    }
    uint32_t type = ct_gguf_u32(bytes + 8 * rank);
    info->offset = ct_gguf_u64(bytes + 8 * rank + 4);
    if (ct_element_of_ggml(type, &info->type)) return true;
    ct_gguf_refuse(gguf, "tensor \"%.120s\" is of GGML type %u, which is not known", info->name, type);
    return false;
}

static bool read_alignment(ct_gguf *gguf, uint64_t *alignment) {
    const ct_gguf_entry *entry = ct_gguf_find(gguf, "general.alignment");
    *alignment = 32;
    if (!entry) return true;
    /* the entries' bytes are still offsets */
    if (entry->type == CT_GGUF_U32) *alignment = ct_gguf_u32(gguf->bytes + (uintptr_t)entry->bytes);
    if (entry->type == CT_GGUF_U32 && *alignment && *alignment <= (1u << 20) &&
        !(*alignment & (*alignment - 1)))
        return true;
    ct_gguf_refuse(gguf, "general.alignment is %llu (%s), expected a power of two as u32",
                   (unsigned long long)*alignment, ct_gguf_type_name(entry->type));
    return false;
}

static int by_offset(const void *left, const void *right) {
    const ct_archive_tensor *a = *(const ct_archive_tensor *const *)left;
    const ct_archive_tensor *b = *(const ct_archive_tensor *const *)right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return a->size < b->size ? -1 : a->size > b->size;
}

static ct_status check_overlap(ct_archive *archive, ct_gguf *gguf) {
    const ct_archive_tensor **sorted =
        ct_alloc(archive->context, archive->count * sizeof *sorted, CT_MEMORY_OTHER);
    if (!sorted) return ct_context_status(archive->context);
    for (size_t i = 0; i < archive->count; i++)
        sorted[i] = &archive->tensors[i];
    if (archive->count) qsort(sorted, archive->count, sizeof *sorted, by_offset);
    ct_status status = CT_OK;
    for (size_t i = 1; !status && i < archive->count; i++)
        if (sorted[i]->offset < sorted[i - 1]->offset + sorted[i - 1]->size)
            status = ct_gguf_refuse(gguf, "tensor \"%.120s\" overlaps tensor \"%.120s\"", sorted[i]->name,
                                    sorted[i - 1]->name);
    ct_free(archive->context, sorted);
    return status;
}

static ct_status add_tensors(ct_archive *archive, ct_gguf *gguf, const tensor_info *infos) {
    uint64_t alignment, size = ct_file_size(gguf->file);
    if (!read_alignment(gguf, &alignment)) return ct_context_status(archive->context);
    uint64_t start = (gguf->position + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < gguf->tensor_count; i++) {
        const tensor_info *info = &infos[i];
        if (info->offset % alignment)
            return ct_gguf_refuse(
                gguf, "tensor \"%.120s\" begins at offset %llu, which is no multiple of %llu", info->name,
                (unsigned long long)info->offset, (unsigned long long)alignment);
        if (start > size || info->offset > size - start)
            return ct_gguf_refuse(gguf, "tensor \"%.120s\" begins at offset %llu of the data, behind its end",
                                  info->name, (unsigned long long)info->offset);
        if (ct_archive_add(archive, info->name, strlen(info->name), info->type, info->rank, info->shape, 0,
                           start + info->offset, -1))
            return ct_context_status(archive->context);
    }
    return check_overlap(archive, gguf);
}

static ct_status open(ct_archive *archive, const char *path) {
    ct_gguf *gguf = ct_alloc_zero(archive->context, sizeof *gguf, CT_MEMORY_OTHER);
    if (!gguf) return ct_context_status(archive->context);
    archive->state = gguf;
    gguf->context = archive->context;
    gguf->file = ct_file_open(archive->context, path);
    if (ct_archive_add_file(archive, gguf->file, true) < 0 || ct_gguf_read_keys(gguf))
        return ct_context_status(archive->context);
    /* a count of 25 bytes each was seen to fit into the file */
    tensor_info *infos =
        ct_alloc(archive->context, (size_t)gguf->tensor_count * sizeof *infos, CT_MEMORY_OTHER);
    bool good = infos != NULL;
    for (uint64_t i = 0; good && i < gguf->tensor_count; i++)
        good = read_info(gguf, &infos[i]);
    if (good) add_tensors(archive, gguf, infos);
    ct_free(archive->context, infos);
    ct_gguf_settle(gguf);
    return ct_context_status(archive->context);
}

static void close(ct_archive *archive) {
    ct_gguf_free(archive->state);
}

/* ----------------------------------------------------------------------------------------------- metadata */

/* A string as a value; bytes that are no UTF-8 become U+FFFD. */
static ct_value *text_value(ct_context *context, const char *text, size_t length) {
    if (ct_utf8_check(text, length) == length) return ct_value_string_n(context, text, length);
    char *mended = ct_alloc(context, length * 3, CT_MEMORY_OTHER);
    if (!mended) return NULL;
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        uint32_t code;
        size_t size = ct_utf8_decode(text + i, length - i, &code);
        memcpy(mended + used, size ? text + i : "\xef\xbf\xbd", size ? size : 3);
        used += size ? size : 3;
        i += size ? size : 1;
    }
    ct_value *value = ct_value_string_n(context, mended, used);
    ct_free(context, mended);
    return value;
}

static ct_value *value_at(ct_context *context, ct_gguf_type type, const unsigned char **place, size_t most);

static ct_value *array_value(ct_context *context, ct_gguf_type item, uint64_t count,
                             const unsigned char **place, size_t most) {
    ct_value *list = ct_value_list(context);
    bool cut = most && count > most;
    for (uint64_t i = 0; list && i < count && !ct_failed(context); i++) {
        if (cut && i >= most && item != CT_GGUF_STRING && item != CT_GGUF_ARRAY) {
            *place += (count - i) * ct_gguf_type_size(item);
            break;
        }
        if (cut && i >= most && item == CT_GGUF_STRING) {
            *place += 8 + ct_gguf_u64(*place);
            continue;
        }
        ct_value *value = value_at(context, item, place, most);
        if (cut && i >= most)
            ct_value_free(value);
        else
            ct_value_append(list, value);
    }
    if (!cut || !list) return list;
    ct_value *map = ct_value_map(context);
    if (!map) {
        ct_value_free(list);
        return NULL;
    }
    ct_value_set(map, "count", ct_value_int(context, (int64_t)count));
    ct_value_set(map, "first", list);
    return map;
}

/* The value at *place, which is moved behind it. */
static ct_value *value_at(ct_context *context, ct_gguf_type type, const unsigned char **place, size_t most) {
    if (type == CT_GGUF_ARRAY) {
        ct_gguf_type item = (ct_gguf_type)ct_gguf_u32(*place);
        uint64_t count = ct_gguf_u64(*place + 4);
        *place += 12;
        return array_value(context, item, count, place, most);
    }
    const unsigned char *bytes = *place;
    if (type == CT_GGUF_STRING) {
        size_t length = (size_t)ct_gguf_u64(bytes);
        *place += 8 + length;
        return text_value(context, (const char *)bytes + 8, length);
    }
    *place += ct_gguf_type_size(type);
    if (type == CT_GGUF_BOOL) return ct_value_bool(context, *bytes != 0);
    int64_t integer;
    double real;
    ct_gguf_cursor cursor = {type, 1, bytes}, again = cursor;
    if (ct_gguf_next_int(&cursor, &integer)) return ct_value_int(context, integer);
    if (ct_gguf_next_real(&again, &real)) return ct_value_real(context, real);
    return ct_value_real(context, (double)ct_gguf_u64(bytes)); /* u64 beyond 2^63 */
}

static ct_value *metadata(ct_archive *archive, size_t most) {
    const ct_gguf *gguf = archive->state;
    ct_value *map = ct_value_map(archive->context);
    for (size_t i = 0; map && i < gguf->count && !ct_failed(archive->context); i++) {
        const ct_gguf_entry *entry = &gguf->entries[i];
        const unsigned char *place = entry->bytes;
        ct_value *value = entry->type == CT_GGUF_ARRAY
                              ? array_value(archive->context, entry->item, entry->count, &place, most)
                              : value_at(archive->context, entry->type, &place, most);
        ct_value_set(map, entry->key, value);
    }
    if (map && !ct_failed(archive->context)) return map;
    ct_value_free(map);
    return NULL;
}

const ct_archive_format ct_archive_gguf = {.name = "gguf",
                                           .summary = "GGUF of llama.cpp, versions 2 and 3",
                                           .recognise = recognise,
                                           .locate = locate,
                                           .open = open,
                                           .metadata = metadata,
                                           .close = close};
