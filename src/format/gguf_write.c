/* gguf_write.c - writes GGUF files, version 3, while the tensors' bytes stream by. */
#include "carat/gguf.h"
#include "carat/tokenizer.h"
#include "format/archive_sink.h"
#include "format/gguf_parts.h"
#include "format/utf8.h"
#include <string.h>

#define ALIGNMENT 32
#define NAME_LIMIT 63 /* GGML_MAX_NAME less its NUL */

typedef struct written_tensor {
    const char *name;
    uint64_t size, offset; /* offset from the beginning of the data */
} written_tensor;

struct ct_gguf_writer {
    ct_context *context;
    ct_writer *file;
    char *path;
    ct_bytes keys, infos; /* the two parts of the header after its counts */
    uint64_t key_count;
    ct_gguf_type item; /* of the array that is being filled */
    uint64_t missing;  /* items that it still lacks */
    written_tensor *tensors;
    size_t count, capacity;
    uint64_t total; /* bytes of data declared, aligned */
    ct_name_table names;
    ct_arena texts;
    bool laid_out;
    uint64_t data_start;
    size_t current; /* the tensor that bytes go to, and how many it has */
    uint64_t position;
};

ct_gguf_writer *ct_gguf_create(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_gguf_writer *writer = ct_alloc_zero(context, sizeof *writer, CT_MEMORY_OTHER);
    if (!writer) return NULL;
    writer->context = context;
    writer->path = ct_strdup(context, path);
    writer->file = writer->path ? ct_writer_open(context, path) : NULL;
    if (writer->file) return writer;
    ct_gguf_abandon(writer);
    return NULL;
}

void ct_gguf_abandon(ct_gguf_writer *writer) {
    if (!writer) return;
    ct_context *context = writer->context;
    if (writer->file) ct_writer_abandon(writer->file);
    ct_bytes_free(context, &writer->keys);
    ct_bytes_free(context, &writer->infos);
    ct_names_free(context, &writer->names);
    ct_arena_free(context, &writer->texts);
    ct_free(context, writer->tensors);
    ct_free(context, writer->path);
    ct_free(context, writer);
}

/* --------------------------------------------------------------------------------------------------- keys */

static ct_status put(ct_gguf_writer *writer, ct_bytes *part, const void *data, size_t size) {
    return ct_bytes_append(writer->context, part, data, size);
}
static ct_status put_integer(ct_gguf_writer *writer, ct_bytes *part, uint64_t value, size_t size) {
    unsigned char bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    return put(writer, part, bytes, size);
}
static ct_status put_text(ct_gguf_writer *writer, ct_bytes *part, const char *text, size_t length) {
    ct_status status = put_integer(writer, part, length, 8);
    return status ? status : put(writer, part, text, length);
}

static ct_status check_state(ct_gguf_writer *writer, const char *what, const char *name) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    if (writer->laid_out)
        return ct_fail(writer->context, CT_ERROR_STATE,
                       "%s: %s \"%.120s\" comes after the first bytes of tensors", writer->path, what, name);
    if (writer->missing)
        return ct_fail(writer->context, CT_ERROR_STATE,
                       "%s: %s \"%.120s\" comes while an array still lacks %llu items", writer->path, what,
                       name, (unsigned long long)writer->missing);
    return CT_OK;
}

/* Keys and tensors share a table of names: a key's begins with '=', a tensor's with '#'. */
static ct_status claim(ct_gguf_writer *writer, char kind, const char *name, const char **kept) {
    size_t length = strlen(name);
    char *marked = ct_format(writer->context, "%c%s", kind, name);
    char *copy = marked ? ct_arena_copy(writer->context, &writer->texts, marked, 1 + length) : NULL;
    ct_free(writer->context, marked);
    if (!copy) return ct_context_status(writer->context);
    if (kept) *kept = copy + 1;
    if (ct_names_get(&writer->names, copy, length + 1) >= 0)
        return ct_fail(writer->context, CT_ERROR_ARGUMENT, "%s: %s \"%.120s\" is given twice", writer->path,
                       kind == '=' ? "key" : "tensor", name);
    return ct_names_put(writer->context, &writer->names, copy, length + 1, 0);
}

static ct_status begin_key(ct_gguf_writer *writer, const char *key, ct_gguf_type type) {
    ct_status status = check_state(writer, "key", key);
    size_t length = strlen(key);
    if (!status && (length == 0 || length > CT_GGUF_NAME_LIMIT))
        status = ct_fail(writer->context, CT_ERROR_ARGUMENT, "%s: a key has %zu bytes, expected 1 to %d",
                         writer->path, length, CT_GGUF_NAME_LIMIT);
    if (!status) status = claim(writer, '=', key, NULL);
    if (!status) status = put_text(writer, &writer->keys, key, length);
    if (!status) status = put_integer(writer, &writer->keys, (uint64_t)type, 4);
    if (!status) writer->key_count++;
    return status;
}

static ct_status set_integer(ct_gguf_writer *writer, const char *key, ct_gguf_type type, uint64_t value) {
    ct_status status = begin_key(writer, key, type);
    return status ? status : put_integer(writer, &writer->keys, value, ct_gguf_type_size(type));
}

ct_status ct_gguf_set_u32(ct_gguf_writer *writer, const char *key, uint32_t value) {
    return set_integer(writer, key, CT_GGUF_U32, value);
}
ct_status ct_gguf_set_i32(ct_gguf_writer *writer, const char *key, int32_t value) {
    return set_integer(writer, key, CT_GGUF_I32, (uint32_t)value);
}
ct_status ct_gguf_set_u64(ct_gguf_writer *writer, const char *key, uint64_t value) {
    return set_integer(writer, key, CT_GGUF_U64, value);
}
ct_status ct_gguf_set_bool(ct_gguf_writer *writer, const char *key, bool value) {
    return set_integer(writer, key, CT_GGUF_BOOL, value);
}
ct_status ct_gguf_set_f32(ct_gguf_writer *writer, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return set_integer(writer, key, CT_GGUF_F32, bits);
}
ct_status ct_gguf_set_string(ct_gguf_writer *writer, const char *key, const char *text, size_t length) {
    ct_status status = begin_key(writer, key, CT_GGUF_STRING);
    return status ? status : put_text(writer, &writer->keys, text, length);
}

ct_status ct_gguf_array(ct_gguf_writer *writer, const char *key, ct_gguf_type item, uint64_t count) {
    ct_status status = begin_key(writer, key, CT_GGUF_ARRAY);
    if (!status) status = put_integer(writer, &writer->keys, (uint64_t)item, 4);
    if (!status) status = put_integer(writer, &writer->keys, count, 8);
    writer->item = item;
    writer->missing = status ? 0 : count;
    return status;
}

static ct_status take_item(ct_gguf_writer *writer, ct_gguf_type item) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    if (!writer->missing || writer->item != item)
        return ct_fail(writer->context, CT_ERROR_STATE,
                       "%s: an array gets a %s item, but %llu of %s are open", writer->path,
                       ct_gguf_type_name(item), (unsigned long long)writer->missing,
                       ct_gguf_type_name(writer->item));
    writer->missing--;
    return CT_OK;
}
ct_status ct_gguf_add_string(ct_gguf_writer *writer, const char *text, size_t length) {
    ct_status status = take_item(writer, CT_GGUF_STRING);
    return status ? status : put_text(writer, &writer->keys, text, length);
}
ct_status ct_gguf_add_f32(ct_gguf_writer *writer, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    ct_status status = take_item(writer, CT_GGUF_F32);
    return status ? status : put_integer(writer, &writer->keys, bits, 4);
}
ct_status ct_gguf_add_i32(ct_gguf_writer *writer, int32_t value) {
    ct_status status = take_item(writer, CT_GGUF_I32);
    return status ? status : put_integer(writer, &writer->keys, (uint32_t)value, 4);
}

ct_status ct_gguf_copy_entry(ct_gguf_writer *writer, const ct_gguf_entry *entry) {
    ct_status status = begin_key(writer, entry->key, entry->type);
    if (!status && entry->type == CT_GGUF_ARRAY) {
        status = put_integer(writer, &writer->keys, (uint64_t)entry->item, 4);
        if (!status) status = put_integer(writer, &writer->keys, entry->count, 8);
    }
    return status ? status : put(writer, &writer->keys, entry->bytes, entry->size);
}

/* ------------------------------------------------------------------------------------------------ tensors */

static ct_status check_tensor(ct_gguf_writer *writer, const char *name, ct_element type, int rank,
                              const int64_t *shape, uint64_t *size) {
    ct_status status = check_state(writer, "tensor", name);
    size_t length = strlen(name);
    if (status) return status;
    if (length == 0 || length > NAME_LIMIT || ct_utf8_check(name, length) != length)
        return ct_fail(writer->context, CT_ERROR_ARGUMENT,
                       "%s: tensor \"%.120s\" has a name of %zu bytes; GGUF takes 1 to %d, as UTF-8",
                       writer->path, name, length, NAME_LIMIT);
    if (ct_element_describe(type)->ggml < 0)
        return ct_fail(writer->context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" is of type %s, which GGUF lacks", writer->path, name,
                       ct_element_name(type));
    if (rank < 0 || rank > CT_GGUF_RANK_LIMIT)
        return ct_fail(writer->context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" has %d dimensions, GGUF has at most %d", writer->path, name, rank,
                       CT_GGUF_RANK_LIMIT);
    if (!ct_element_tensor_size(type, rank, shape, size) || *size > INT64_MAX / 4 - writer->total)
        return ct_fail(writer->context, CT_ERROR_ARGUMENT,
                       "%s: tensor \"%s\" has a shape that no file can hold", writer->path, name);
    return CT_OK;
}

ct_status ct_gguf_declare(ct_gguf_writer *writer, const char *name, ct_element type, int rank,
                          const int64_t *shape) {
    uint64_t size = 0;
    const char *kept = NULL;
    ct_status status = check_tensor(writer, name, type, rank, shape, &size);
    if (!status) status = claim(writer, '#', name, &kept);
    if (!status && writer->count == writer->capacity) {
        size_t capacity = writer->capacity * 2 + 64;
        written_tensor *larger =
            ct_realloc(writer->context, writer->tensors, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(writer->context);
        writer->tensors = larger;
        writer->capacity = capacity;
    }
    ct_bytes *infos = &writer->infos;
    if (!status) status = put_text(writer, infos, name, strlen(name));
    if (!status) status = put_integer(writer, infos, rank ? (uint64_t)rank : 1, 4);
    if (!status && !rank) status = put_integer(writer, infos, 1, 8);
    for (int i = rank - 1; !status && i >= 0; i--)
        status = put_integer(writer, infos, (uint64_t)shape[i], 8);
    if (!status) status = put_integer(writer, infos, (uint64_t)ct_element_describe(type)->ggml, 4);
    if (!status) status = put_integer(writer, infos, writer->total, 8);
    if (status) return status;
    writer->tensors[writer->count++] = (written_tensor){kept, size, writer->total};
    writer->total += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return CT_OK;
}

/* The header goes to the file; from here on bytes of tensors follow. */
static ct_status lay_out(ct_gguf_writer *writer) {
    if (writer->laid_out) return CT_OK;
    ct_status status = check_state(writer, "the data of", writer->path);
    ct_bytes head = {0};
    if (!status) status = put(writer, &head, "GGUF\3\0\0\0", 8);
    if (!status) status = put_integer(writer, &head, writer->count, 8);
    if (!status) status = put_integer(writer, &head, writer->key_count, 8);
    if (!status) status = ct_writer_write(writer->file, head.data, head.length);
    ct_bytes_free(writer->context, &head);
    if (!status) status = ct_writer_write(writer->file, writer->keys.data, writer->keys.length);
    if (!status) status = ct_writer_write(writer->file, writer->infos.data, writer->infos.length);
    uint64_t end = 24 + writer->keys.length + writer->infos.length;
    writer->data_start = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    static const char zeros[ALIGNMENT];
    if (!status) status = ct_writer_write(writer->file, zeros, (size_t)(writer->data_start - end));
    writer->laid_out = !status;
    ct_bytes_free(writer->context, &writer->keys);
    ct_bytes_free(writer->context, &writer->infos);
    return status;
}

/* Behind a tensor that is whole: the zeros up to the next; the last tensor has them too. */
static ct_status pad(ct_gguf_writer *writer, const written_tensor *tensor) {
    static const char zeros[ALIGNMENT];
    size_t rest = (size_t)((ALIGNMENT - tensor->size % ALIGNMENT) % ALIGNMENT);
    return rest ? ct_writer_pwrite(writer->file, zeros, rest,
                                   writer->data_start + tensor->offset + tensor->size)
                : CT_OK;
}

/* Passes over tensors that have all their bytes. */
static ct_status pass_whole(ct_gguf_writer *writer) {
    ct_status status = CT_OK;
    while (!status && writer->current < writer->count &&
           writer->tensors[writer->current].size == writer->position) {
        status = pad(writer, &writer->tensors[writer->current++]);
        writer->position = 0;
    }
    return status;
}

ct_status ct_gguf_write(ct_gguf_writer *writer, const void *data, size_t size) {
    const char *from = data;
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    ct_status status = lay_out(writer);
    if (!status) status = pass_whole(writer);
    while (!status && size > 0) {
        if (writer->current == writer->count)
            return ct_fail(writer->context, CT_ERROR_STATE,
                           "%s: %zu bytes are written beyond the last declared tensor", writer->path, size);
        const written_tensor *tensor = &writer->tensors[writer->current];
        uint64_t left = tensor->size - writer->position;
        size_t piece = size < left ? size : (size_t)left;
        status = ct_writer_pwrite(writer->file, from, piece,
                                  writer->data_start + tensor->offset + writer->position);
        from += piece;
        size -= piece;
        writer->position += piece;
        if (!status) status = pass_whole(writer);
    }
    return status;
}

ct_status ct_gguf_place(ct_gguf_writer *writer, ct_writer **file, uint64_t *offset) {
    ct_status status = lay_out(writer);
    if (!status) status = pass_whole(writer);
    if (status) return status;
    if (writer->current == writer->count || writer->position)
        return ct_fail(writer->context, CT_ERROR_STATE, "%s: no tensor begins here", writer->path);
    const written_tensor *tensor = &writer->tensors[writer->current];
    *file = writer->file;
    *offset = writer->data_start + tensor->offset;
    writer->position = tensor->size;
    status = pass_whole(writer);
    return status ? status : ct_writer_flush(*file);
}

ct_status ct_gguf_commit(ct_gguf_writer *writer) {
    ct_context *context = writer->context;
    ct_status status = ct_context_status(context);
    if (!status) status = lay_out(writer);
    if (!status) status = pass_whole(writer);
    if (!status && writer->current < writer->count)
        status = ct_fail(context, CT_ERROR_STATE, "%s: only %llu of %llu bytes of tensor \"%s\" were written",
                         writer->path, (unsigned long long)writer->position,
                         (unsigned long long)writer->tensors[writer->current].size,
                         writer->tensors[writer->current].name);
    if (!status) {
        status = ct_writer_commit(writer->file);
        writer->file = NULL;
    }
    ct_gguf_abandon(writer);
    return status;
}
