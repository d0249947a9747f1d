/* archive_safetensors.c - safetensors files and folders as archives. */
#include "format/archive_format.h"
#include "format/safetensors_parts.h"
#include <string.h>

/* 8 bytes of length, then JSON: the length is within the limit and the file, and '{' follows. An index file
 * of shards is JSON with a "weight_map". */
static bool recognise(ct_file *file, const unsigned char *head, size_t size) {
    uint64_t length = 0;
    if (size < 9) return false;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)head[i] << 8 * i;
    if (length <= CT_SAFETENSORS_HEADER_LIMIT && length <= ct_file_size(file) - 8 && head[8] == '{')
        return true;
    static const char ending[] = ".safetensors.index.json";
    const char *path = ct_file_path(file);
    size_t path_length = strlen(path), end_length = strlen(ending);
    return head[0] == '{' && path_length >= end_length &&
           strcmp(path + path_length - end_length, ending) == 0;
}

static char *locate(ct_context *context, const char *folder) {
    char *path = ct_archive_named_file(context, folder, CT_SAFETENSORS_SINGLE);
    if (!path && !ct_failed(context)) path = ct_archive_named_file(context, folder, CT_SAFETENSORS_INDEX);
    if (!path && !ct_failed(context)) path = ct_archive_only_file(context, folder, ".safetensors");
    return path;
}

static ct_status open(ct_archive *archive, const char *path) {
    ct_safetensors *file = ct_safetensors_open(archive->context, path);
    archive->state = file;
    for (size_t i = 0; file && i < file->shard_count; i++)
        if (ct_archive_add_file(archive, file->shards[i].file, false) < 0) break;
    for (size_t i = 0; !ct_failed(archive->context) && i < file->count; i++) {
        const ct_safetensors_tensor *tensor = &file->tensors[i];
        ct_archive_add(archive, tensor->name, strlen(tensor->name), (ct_element)tensor->dtype, tensor->rank,
                       tensor->shape, tensor->shard, tensor->offset, -1);
    }
    return ct_context_status(archive->context);
}

static ct_value *metadata(ct_archive *archive, size_t most) {
    (void)most; /* strings only */
    return ct_value_copy(ct_safetensors_metadata(archive->state));
}

static void close(ct_archive *archive) {
    ct_safetensors_close(archive->state);
}

const ct_archive_format ct_archive_safetensors = {
    .name = "safetensors",
    .summary = "safetensors: one file, an index with its shards, or a model folder",
    .recognise = recognise,
    .locate = locate,
    .open = open,
    .metadata = metadata,
    .close = close};
