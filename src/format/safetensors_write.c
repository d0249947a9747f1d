/* safetensors_write.c - writes safetensors files, one or sharded, while the tensors' bytes stream by. */
#include "carat/tokenizer.h"
#include "format/archive_sink.h"
#include "format/json_write.h"
#include "format/safetensors_parts.h"
#include "format/safetensors_shards.h"
#include "format/utf8.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static ct_safetensors_writer *create(ct_context *context, const char *path, bool folder, uint64_t limit) {
    if (ct_failed(context)) return NULL;
    ct_safetensors_writer *writer = ct_alloc_zero(context, sizeof *writer, CT_MEMORY_OTHER);
    if (!writer) return NULL;
    writer->context = context;
    writer->is_folder = folder;
    writer->max_shard_size = limit;
    writer->path = ct_strdup(context, path);
    writer->metadata = ct_value_map(context);
    if (writer->path && writer->metadata &&
        ct_value_set(writer->metadata, "format", ct_value_string(context, "pt")) == CT_OK)
        return writer;
    ct_safetensors_abandon(writer);
    return NULL;
}

ct_safetensors_writer *ct_safetensors_create(ct_context *context, const char *path) {
    return create(context, path, false, 0);
}

ct_safetensors_writer *ct_safetensors_create_folder(ct_context *context, const char *folder,
                                                    uint64_t max_shard_size) {
    return create(context, folder, true, max_shard_size);
}

static ct_status refuse(ct_safetensors_writer *writer, ct_status status, const char *name, const char *why) {
    return ct_fail(writer->context, status, "%s: tensor \"%.120s\" %s", writer->path, name, why);
}

static ct_status check_declaration(ct_safetensors_writer *writer, const char *name, ct_file_dtype dtype,
                                   int rank, const int64_t *shape, uint64_t *size) {
    size_t length = strlen(name);
    if (writer->laid_out)
        return refuse(writer, CT_ERROR_STATE, name, "is declared after the first bytes were written");
    if (ct_utf8_check(name, length) != length)
        return refuse(writer, CT_ERROR_ARGUMENT, name, "has a name that is not UTF-8");
    if (strcmp(name, "__metadata__") == 0)
        return refuse(writer, CT_ERROR_ARGUMENT, name, "has the name that the format keeps for its metadata");
    if (ct_names_get(&writer->names, name, length) >= 0)
        return refuse(writer, CT_ERROR_ARGUMENT, name, "is declared twice");
    if (rank < 0 || rank > 64 || (unsigned)dtype >= CT_FILE_DTYPES ||
        !ct_file_tensor_size(dtype, rank, shape, size))
        return refuse(writer, CT_ERROR_ARGUMENT, name, "has a shape that no file can hold");
    if (writer->total + *size < writer->total || writer->total + *size > INT64_MAX / 2)
        return refuse(writer, CT_ERROR_ARGUMENT, name, "makes the model larger than 2^62 bytes");
    return CT_OK;
}

ct_status ct_safetensors_declare(ct_safetensors_writer *writer, const char *name, ct_file_dtype dtype,
                                 int rank, const int64_t *shape) {
    uint64_t size = 0;
    ct_context *context = writer->context;
    ct_status status = check_declaration(writer, name, dtype, rank, shape, &size);
    if (status != CT_OK) return status;
    if (writer->count == writer->capacity) {
        size_t capacity = writer->capacity * 2 + 64;
        ct_written_tensor *larger =
            ct_realloc(context, writer->tensors, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        writer->tensors = larger;
        writer->capacity = capacity;
    }
    ct_written_tensor *tensor = &writer->tensors[writer->count];
    *tensor = (ct_written_tensor){.dtype = dtype, .rank = rank, .size = size};
    tensor->name = ct_strdup(context, name);
    tensor->shape = ct_alloc(context, (size_t)rank * sizeof *shape, CT_MEMORY_OTHER);
    if (tensor->name && tensor->shape) {
        if (rank) memcpy(tensor->shape, shape, (size_t)rank * sizeof *shape);
        status = ct_names_put(context, &writer->names, tensor->name, strlen(name), (int32_t)writer->count);
        writer->count++; /* what was allocated is freed with the rest also if the table had no room */
        writer->total += size;
        return status;
    }
    ct_free(context, tensor->name);
    ct_free(context, tensor->shape);
    return ct_context_status(context);
}

ct_status ct_safetensors_set_metadata(ct_safetensors_writer *writer, const char *key, const char *value) {
    if (writer->laid_out)
        return ct_fail(writer->context, CT_ERROR_STATE,
                       "%s: metadata \"%s\" is set after the first bytes were written", writer->path, key);
    if (!value) {
        ct_value_remove(writer->metadata, key);
        return CT_OK;
    }
    return ct_value_set(writer->metadata, key, ct_value_string(writer->context, value));
}

/* Writes what fits of `data` into the present tensor. */
static ct_status write_piece(ct_safetensors_writer *writer, const char **data, size_t *size) {
    ct_written_tensor *tensor = &writer->tensors[writer->current];
    uint64_t left = tensor->size - writer->position;
    size_t piece = *size < left ? *size : (size_t)left;
    if (piece) {
        ct_status status = ct_writer_pwrite(writer->shards[tensor->shard].file, *data, piece,
                                            tensor->offset + writer->position);
        if (status != CT_OK) return status;
    }
    *data += piece;
    *size -= piece;
    writer->position += piece;
    if (writer->position == tensor->size) {
        writer->current++;
        writer->position = 0;
    }
    return CT_OK;
}

ct_status ct_safetensors_write(ct_safetensors_writer *writer, const void *data, size_t size) {
    const char *from = data;
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    ct_status status = writer->laid_out ? CT_OK : ct_safetensors_lay_out(writer);
    while (status == CT_OK && size > 0) {
        if (writer->current == writer->count)
            return ct_fail(writer->context, CT_ERROR_STATE,
                           "%s: %zu bytes are written beyond the last declared tensor", writer->path, size);
        status = write_piece(writer, &from, &size);
    }
    return status;
}

ct_status ct_safetensors_place(ct_safetensors_writer *writer, ct_writer **file, uint64_t *offset) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    ct_status status = writer->laid_out ? CT_OK : ct_safetensors_lay_out(writer);
    if (status != CT_OK) return status;
    if (writer->current == writer->count || writer->position)
        return ct_fail(writer->context, CT_ERROR_STATE, "%s: no tensor begins here", writer->path);
    const ct_written_tensor *tensor = &writer->tensors[writer->current++];
    *file = writer->shards[tensor->shard].file;
    *offset = tensor->offset;
    return ct_writer_flush(*file);
}

/* Passes over empty tensors; what is left then lacks bytes. */
static ct_status check_complete(ct_safetensors_writer *writer) {
    while (writer->current < writer->count && writer->tensors[writer->current].size == writer->position) {
        writer->current++;
        writer->position = 0;
    }
    if (writer->current == writer->count) return CT_OK;
    const ct_written_tensor *tensor = &writer->tensors[writer->current];
    return ct_fail(writer->context, CT_ERROR_STATE,
                   "%s: only %llu of %llu bytes of tensor \"%.120s\" were written", writer->path,
                   (unsigned long long)writer->position, (unsigned long long)tensor->size, tensor->name);
}

ct_status ct_safetensors_commit(ct_safetensors_writer *writer) {
    ct_context *context = writer->context;
    ct_status status = ct_context_status(context);
    if (status == CT_OK && !writer->laid_out) status = ct_safetensors_lay_out(writer);
    if (status == CT_OK) status = check_complete(writer);
    for (size_t i = 0; i < writer->shard_count && status == CT_OK; i++) {
        status = ct_writer_commit(writer->shards[i].file);
        writer->shards[i].file = NULL;
    }
    if (status == CT_OK && writer->is_folder) status = ct_safetensors_finish_folder(writer);
    ct_safetensors_abandon(writer);
    return status;
}

void ct_safetensors_abandon(ct_safetensors_writer *writer) {
    if (!writer) return;
    ct_context *context = writer->context;
    for (size_t i = 0; i < writer->shard_count; i++) {
        if (writer->shards[i].file) ct_writer_abandon(writer->shards[i].file);
        ct_free(context, writer->shards[i].name);
    }
    for (size_t i = 0; i < writer->count; i++) {
        ct_free(context, writer->tensors[i].name);
        ct_free(context, writer->tensors[i].shape);
    }
    ct_free(context, writer->shards);
    ct_free(context, writer->tensors);
    ct_names_free(context, &writer->names);
    ct_value_free(writer->metadata);
    ct_free(context, writer->path);
    ct_free(context, writer);
}
