/* safetensors_read.c - safetensors: opening, looking up and reading tensors of one file or of many shards. */
#include "base/ending.h"
#include "format/safetensors_parts.h"
#include <string.h>

ct_status ct_safetensors_add_shard(ct_safetensors *file, const char *path) {
    ct_shard *larger =
        ct_realloc(file->context, file->shards, (file->shard_count + 1) * sizeof *larger, CT_MEMORY_OTHER);
    if (!larger) return ct_context_status(file->context);
    file->shards = larger;
    ct_shard *shard = &file->shards[file->shard_count++];
    memset(shard, 0, sizeof *shard);
    shard->path = ct_strdup(file->context, path);
    shard->file = shard->path ? ct_file_open(file->context, path) : NULL;
    return shard->file ? ct_safetensors_read_header(file, file->shard_count - 1)
                       : ct_context_status(file->context);
}

/* The only .safetensors file of a folder; NULL with an error if there is none or more than one. */
static char *only_file(ct_context *context, const char *folder) {
    const char *found = NULL;
    size_t count = 0;
    ct_value *names = ct_folder_list(context, folder);
    if (!names) return NULL;
    for (size_t i = 0; i < ct_value_count(names); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        if (!ct_ends_with(name, ".safetensors")) continue;
        found = name;
        count++;
    }
    char *path = NULL;
    if (count == 1)
        path = ct_path_join(context, folder, found);
    else
        ct_fail(context, CT_ERROR_NOT_FOUND,
                "%s: has neither %s nor %s (and %zu other .safetensors files, expected one)", folder,
                CT_SAFETENSORS_SINGLE, CT_SAFETENSORS_INDEX, count);
    ct_value_free(names);
    return path;
}

/* The file to open for what the caller named, a new string. */
static char *locate(ct_context *context, const char *path) {
    if (!ct_folder_exists(path)) return ct_strdup(context, path);
    static const char *const names[] = {CT_SAFETENSORS_SINGLE, CT_SAFETENSORS_INDEX};
    for (int i = 0; i < 2; i++) {
        char *candidate = ct_path_join(context, path, names[i]);
        if (!candidate || ct_file_exists(candidate)) return candidate;
        ct_free(context, candidate);
    }
    return only_file(context, path);
}

ct_safetensors *ct_safetensors_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_safetensors *file = ct_alloc_zero(context, sizeof *file, CT_MEMORY_OTHER);
    if (!file) return NULL;
    file->context = context;
    file->metadata = ct_value_map(context);
    char *found = file->metadata ? locate(context, path) : NULL;
    if (found) {
        if (ct_ends_with(found, ".index.json"))
            ct_safetensors_open_index(file, found);
        else
            ct_safetensors_add_shard(file, found);
    }
    ct_free(context, found);
    if (!ct_failed(context)) return file;
    ct_safetensors_close(file);
    return NULL;
}

void ct_safetensors_close(ct_safetensors *file) {
    if (!file) return;
    ct_context *context = file->context;
    for (size_t i = 0; i < file->shard_count; i++) {
        if (file->shards[i].file) ct_file_close(file->shards[i].file);
        ct_free(context, file->shards[i].path);
    }
    for (size_t i = 0; i < file->count; i++)
        ct_free(context, (void *)(uintptr_t)file->tensors[i].name); /* with the shape */
    ct_free(context, file->shards);
    ct_free(context, file->tensors);
    ct_names_free(context, &file->names);
    ct_value_free(file->metadata);
    ct_free(context, file);
}

size_t ct_safetensors_count(const ct_safetensors *file) {
    return file->count;
}
size_t ct_safetensors_files(const ct_safetensors *file) {
    return file->shard_count;
}
const ct_value *ct_safetensors_metadata(const ct_safetensors *file) {
    return file->metadata;
}

const char *ct_safetensors_file_path(const ct_safetensors *file, size_t shard) {
    return shard < file->shard_count ? file->shards[shard].path : NULL;
}

const ct_safetensors_tensor *ct_safetensors_at(const ct_safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const ct_safetensors_tensor *ct_safetensors_find(const ct_safetensors *file, const char *name) {
    int32_t index = ct_names_get(&file->names, name, strlen(name));
    return index < 0 ? NULL : &file->tensors[index];
}

const ct_safetensors_tensor *ct_safetensors_need(ct_safetensors *file, const char *name) {
    const ct_safetensors_tensor *tensor = ct_safetensors_find(file, name);
    if (tensor) return tensor;
    const char **names = ct_alloc(file->context, file->count * sizeof *names, CT_MEMORY_OTHER);
    if (!names) return NULL;
    for (size_t i = 0; i < file->count; i++)
        names[i] = file->tensors[i].name;
    const char *nearest = ct_nearest_name(name, names, file->count);
    ct_fail(file->context, CT_ERROR_NOT_FOUND, "%s%s: has no tensor \"%s\"%s%s%s", file->shards[0].path,
            file->shard_count > 1 ? " and the other shards" : "", name, nearest ? "; the nearest is \"" : "",
            nearest ? nearest : "", nearest ? "\"" : "");
    ct_free(file->context, names);
    return NULL;
}

ct_status ct_safetensors_read(ct_safetensors *file, const ct_safetensors_tensor *tensor, void *buffer,
                              uint64_t offset, size_t size) {
    if (offset > tensor->size || size > tensor->size - offset)
        return ct_fail(file->context, CT_ERROR_ARGUMENT,
                       "%s: bytes %llu to %llu of tensor \"%s\" are asked for, which has %llu",
                       file->shards[tensor->shard].path, (unsigned long long)offset,
                       (unsigned long long)offset + size, tensor->name, (unsigned long long)tensor->size);
    return ct_file_pread(file->shards[tensor->shard].file, buffer, size, tensor->offset + offset);
}

const void *ct_safetensors_map(ct_safetensors *file, const ct_safetensors_tensor *tensor) {
    ct_shard *shard = &file->shards[tensor->shard];
    if (!shard->map) shard->map = ct_file_map(shard->file);
    return shard->map ? (const char *)shard->map + tensor->offset : NULL;
}

ct_status ct_safetensors_loadable(ct_safetensors *file, const ct_safetensors_tensor *tensor,
                                  ct_dtype *dtype) {
    const char *path = file->shards[tensor->shard].path;
    if (!ct_file_dtype_engine(tensor->dtype, dtype))
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" is of type %s, which can be copied but not loaded", path,
                       tensor->name, ct_file_dtype_name(tensor->dtype));
    if (tensor->rank > 8)
        return ct_fail(file->context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" has %d dimensions, at most 8 can be loaded", path, tensor->name,
                       tensor->rank);
    return CT_OK;
}
