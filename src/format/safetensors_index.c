/* safetensors_index.c - model.safetensors.index.json: which shard holds which tensor. */
#include "format/safetensors_parts.h"
#include <stdlib.h>
#include <string.h>

#define INDEX_LIMIT ((size_t)256 << 20)

typedef struct mapping {
    const char *tensor, *shard; /* in the index's values */
} mapping;

static int by_shard(const void *left, const void *right) {
    return strcmp(((const mapping *)left)->shard, ((const mapping *)right)->shard);
}

/* Shards lie beside the index: a name that leads elsewhere is hostile. */
static bool is_plain_name(const char *name) {
    return *name && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* The weight map as a list sorted by shard; NULL on error. */
static mapping *read_mappings(ct_context *context, const char *path, const ct_value *weight_map) {
    size_t count = ct_value_count(weight_map);
    mapping *mappings = ct_alloc(context, count * sizeof *mappings, CT_MEMORY_OTHER);
    if (!mappings) return NULL;
    for (size_t i = 0; i < count; i++) {
        const ct_value *shard = ct_value_at(weight_map, i);
        mappings[i].tensor = ct_value_key(weight_map, i);
        mappings[i].shard = ct_value_as_string(shard, "");
        if (is_plain_name(mappings[i].shard) && strlen(mappings[i].shard) == ct_value_string_length(shard))
            continue;
        ct_fail(
            context, CT_ERROR_FORMAT,
            "%s: tensor \"%.120s\" is said to be in \"%.120s\", expected the name of a file beside the index",
            path, mappings[i].tensor, mappings[i].shard);
        ct_free(context, mappings);
        return NULL;
    }
    if (count) qsort(mappings, count, sizeof *mappings, by_shard);
    return mappings;
}

static ct_status open_shard(ct_safetensors *file, const char *index_path, const char *name) {
    const char *slash = strrchr(index_path, '/');
    char *path = slash ? ct_format(file->context, "%.*s/%s", (int)(slash - index_path), index_path, name)
                       : ct_strdup(file->context, name);
    if (!path) return ct_context_status(file->context);
    ct_status status;
    if (ct_file_exists(path))
        status = ct_safetensors_add_shard(file, path);
    else
        status = ct_fail(file->context, CT_ERROR_NOT_FOUND, "%s: names the shard %s, which does not exist",
                         index_path, path);
    ct_free(file->context, path);
    return status;
}

/* Every tensor of the index must be in the shard it says, which is the last one opened. */
static ct_status check_mappings(ct_safetensors *file, const char *index_path, const mapping *mappings,
                                size_t count) {
    for (size_t i = 0; i < count; i++) {
        const ct_safetensors_tensor *tensor = ct_safetensors_find(file, mappings[i].tensor);
        if (tensor && tensor->shard == (int)file->shard_count - 1) continue;
        return ct_fail(file->context, CT_ERROR_FORMAT,
                       "%s: tensor \"%.120s\" is said to be in %s, which lacks it", index_path,
                       mappings[i].tensor, mappings[i].shard);
    }
    return CT_OK;
}

/* Every tensor of the shards must be in the index. */
static ct_status check_tensors(ct_safetensors *file, const char *index_path, const ct_value *weight_map) {
    for (size_t i = 0; i < file->count; i++)
        if (!ct_value_get(weight_map, file->tensors[i].name))
            return ct_fail(file->context, CT_ERROR_FORMAT,
                           "%s: tensor \"%.120s\" of %s is missing from the index", index_path,
                           file->tensors[i].name, file->shards[file->tensors[i].shard].path);
    return CT_OK;
}

static ct_status open_all(ct_safetensors *file, const char *path, const ct_value *weight_map) {
    size_t count = ct_value_count(weight_map);
    mapping *mappings = read_mappings(file->context, path, weight_map);
    if (!mappings) return ct_context_status(file->context);
    ct_status status = CT_OK;
    for (size_t i = 0, next; i < count && status == CT_OK; i = next) {
        for (next = i + 1; next < count && strcmp(mappings[next].shard, mappings[i].shard) == 0;)
            next++;
        status = open_shard(file, path, mappings[i].shard);
        if (status == CT_OK) status = check_mappings(file, path, mappings + i, next - i);
    }
    ct_free(file->context, mappings);
    return status == CT_OK ? check_tensors(file, path, weight_map) : status;
}

ct_status ct_safetensors_open_index(ct_safetensors *file, const char *path) {
    size_t length = 0;
    char *text = ct_file_read(file->context, path, INDEX_LIMIT, &length);
    ct_value *index = text ? ct_json_parse(file->context, text, length, path) : NULL;
    ct_free(file->context, text);
    if (!index) return ct_context_status(file->context);
    const ct_value *weight_map = ct_value_get(index, "weight_map");
    ct_status status;
    if (ct_value_kind_of(weight_map) != CT_VALUE_MAP || ct_value_count(weight_map) == 0)
        status = ct_fail(file->context, CT_ERROR_FORMAT, "%s: has no \"weight_map\" with tensors", path);
    else
        status = open_all(file, path, weight_map);
    ct_value_free(index);
    return status;
}
