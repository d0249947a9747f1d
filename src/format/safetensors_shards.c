/* safetensors_shards.c - lays tensors out in one file or in shards, as the reference implementation and
 * transformers do, and writes headers and the index. */
#include "format/safetensors_shards.h"
#include "carat/tokenizer.h"
#include "format/json_write.h"
#include "format/safetensors_parts.h"
#include <stdlib.h>
#include <string.h>

/* Tensors fill a shard while they fit; one that is larger than the limit has a shard of its own. */
static size_t deal_out(ct_safetensors_writer *writer) {
    uint64_t filled = 0, limit = writer->max_shard_size;
    size_t shard = 0;
    bool any = false;
    for (size_t i = 0; i < writer->count; i++) {
        ct_written_tensor *tensor = &writer->tensors[i];
        if (limit && any && filled + tensor->size > limit) {
            shard++;
            filled = 0;
        }
        tensor->shard = shard;
        filled += tensor->size;
        any = true;
    }
    return shard + 1;
}

/* The reference implementation's order in a file: larger types first, so that all is aligned, then names. */
static int by_layout(const void *left, const void *right) {
    const ct_written_tensor *a = *(ct_written_tensor *const *)left, *b = *(ct_written_tensor *const *)right;
    if (a->shard != b->shard) return a->shard < b->shard ? -1 : 1;
    if (a->dtype != b->dtype) return a->dtype > b->dtype ? -1 : 1;
    return strcmp(a->name, b->name);
}

static ct_status put_text(ct_context *context, ct_bytes *out, const char *text) {
    return ct_bytes_append(context, out, text, strlen(text));
}

/* "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} */
static ct_status put_tensor(ct_context *context, ct_bytes *out, const ct_written_tensor *tensor) {
    char text[96];
    ct_status status = ct_json_put_string(context, out, tensor->name, strlen(tensor->name));
    snprintf(text, sizeof text, ":{\"dtype\":\"%s\",\"shape\":[", ct_file_dtype_name(tensor->dtype));
    if (status == CT_OK) status = put_text(context, out, text);
    for (int i = 0; i < tensor->rank && status == CT_OK; i++) {
        snprintf(text, sizeof text, "%s%lld", i ? "," : "", (long long)tensor->shape[i]);
        status = put_text(context, out, text);
    }
    snprintf(text, sizeof text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)tensor->offset,
             (unsigned long long)(tensor->offset + tensor->size));
    return status == CT_OK ? put_text(context, out, text) : status;
}

/* The header of a shard's tensors, whose offsets count from the first data byte; padded with blanks to 8. */
static ct_status make_header(ct_safetensors_writer *writer, ct_written_tensor *const *tensors, size_t count,
                             ct_bytes *out) {
    ct_context *context = writer->context;
    ct_status status = ct_bytes_append(context, out, "\0\0\0\0\0\0\0\0{", 9);
    if (status == CT_OK && ct_value_count(writer->metadata)) {
        size_t length;
        char *metadata = ct_json_text(context, writer->metadata, CT_JSON_COMPACT, &length);
        if (!metadata) return ct_context_status(context);
        status = put_text(context, out, "\"__metadata__\":");
        if (status == CT_OK) status = ct_bytes_append(context, out, metadata, length);
        if (status == CT_OK && count) status = put_text(context, out, ",");
        ct_free(context, metadata);
    }
    for (size_t i = 0; i < count && status == CT_OK; i++) {
        if (i) status = put_text(context, out, ",");
        if (status == CT_OK) status = put_tensor(context, out, tensors[i]);
    }
    if (status == CT_OK) status = put_text(context, out, "}");
    while (status == CT_OK && out->length % 8)
        status = put_text(context, out, " ");
    if (status != CT_OK) return status;
    uint64_t length = out->length - 8;
    if (length > CT_SAFETENSORS_HEADER_LIMIT)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: %zu tensors need a header of %llu bytes, the format allows %u", writer->path,
                       count, (unsigned long long)length, CT_SAFETENSORS_HEADER_LIMIT);
    for (int i = 0; i < 8; i++)
        out->data[i] = (char)(length >> (8 * i));
    return CT_OK;
}

/* Opens shard `number` and writes its header; the tensors' offsets become places in the file. */
static ct_status begin_shard(ct_safetensors_writer *writer, size_t number, ct_written_tensor **tensors,
                             size_t count) {
    ct_context *context = writer->context;
    ct_written_shard *shard = &writer->shards[number];
    shard->name = !writer->is_folder         ? ct_strdup(context, "")
                  : writer->shard_count == 1 ? ct_strdup(context, CT_SAFETENSORS_SINGLE)
                                             : ct_format(context, "model-%05zu-of-%05zu.safetensors",
                                                         number + 1, writer->shard_count);
    if (!shard->name) return ct_context_status(context);
    uint64_t offset = 0;
    for (size_t i = 0; i < count; offset += tensors[i++]->size)
        tensors[i]->offset = offset;
    ct_bytes header = {0};
    ct_status status = make_header(writer, tensors, count, &header);
    for (size_t i = 0; i < count; i++)
        tensors[i]->offset += header.length;
    char *path = status == CT_OK ? writer->is_folder ? ct_path_join(context, writer->path, shard->name)
                                                     : ct_strdup(context, writer->path)
                                 : NULL;
    if (path) shard->file = ct_writer_open(context, path);
    if (shard->file) status = ct_writer_pwrite(shard->file, header.data, header.length, 0);
    ct_free(context, path);
    ct_bytes_free(context, &header);
    return status == CT_OK ? ct_context_status(context) : status;
}

ct_status ct_safetensors_lay_out(ct_safetensors_writer *writer) {
    ct_context *context = writer->context;
    writer->laid_out = true;
    size_t shard_count = deal_out(writer);
    writer->shards = ct_alloc_zero(context, shard_count * sizeof *writer->shards, CT_MEMORY_OTHER);
    ct_written_tensor **order =
        writer->shards ? ct_alloc(context, writer->count * sizeof *order, CT_MEMORY_OTHER) : NULL;
    if (!order) return ct_context_status(context);
    writer->shard_count = shard_count;
    for (size_t i = 0; i < writer->count; i++)
        order[i] = &writer->tensors[i];
    if (writer->count) qsort(order, writer->count, sizeof *order, by_layout);
    ct_status status = writer->is_folder ? ct_folder_make(context, writer->path) : CT_OK;
    for (size_t shard = 0, first = 0, end; shard < shard_count && status == CT_OK; shard++, first = end) {
        for (end = first; end < writer->count && order[end]->shard == shard;)
            end++;
        status = begin_shard(writer, shard, order + first, end - first);
    }
    ct_free(context, order);
    return status;
}

static int by_name(const void *left, const void *right) {
    return strcmp((*(ct_written_tensor *const *)left)->name, (*(ct_written_tensor *const *)right)->name);
}

/* {"metadata": {"total_size": N}, "weight_map": {name: shard, ...}}, names in order, as transformers writes
 * it. */
static ct_value *make_index(ct_safetensors_writer *writer) {
    ct_context *context = writer->context;
    ct_written_tensor **order = ct_alloc(context, writer->count * sizeof *order, CT_MEMORY_OTHER);
    if (!order) return NULL;
    for (size_t i = 0; i < writer->count; i++)
        order[i] = &writer->tensors[i];
    qsort(order, writer->count, sizeof *order, by_name);
    ct_value *weight_map = ct_value_map(context), *index = ct_value_map(context),
             *metadata = ct_value_map(context);
    ct_status status = ct_value_set(metadata, "total_size", ct_value_int(context, (int64_t)writer->total));
    for (size_t i = 0; i < writer->count && status == CT_OK; i++)
        status = ct_value_set(weight_map, order[i]->name,
                              ct_value_string(context, writer->shards[order[i]->shard].name));
    ct_free(context, order);
    ct_value_set(index, "metadata", metadata);
    ct_value_set(index, "weight_map", weight_map);
    if (!ct_failed(context)) return index;
    ct_value_free(index);
    return NULL;
}

/* model.safetensors, model-00001-of-00002.safetensors and the index. */
static bool is_weight_file(const char *name) {
    if (strcmp(name, CT_SAFETENSORS_SINGLE) == 0 || strcmp(name, CT_SAFETENSORS_INDEX) == 0) return true;
    static const char pattern[] = "model-00000-of-00000.safetensors";
    if (strlen(name) != sizeof pattern - 1) return false;
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        if (pattern[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != pattern[i]) return false;
    return true;
}

static bool is_ours(const ct_safetensors_writer *writer, const char *name) {
    if (strcmp(name, CT_SAFETENSORS_INDEX) == 0) return writer->shard_count > 1;
    for (size_t i = 0; i < writer->shard_count; i++)
        if (strcmp(writer->shards[i].name, name) == 0) return true;
    return false;
}

static ct_status remove_earlier(ct_safetensors_writer *writer) {
    ct_context *context = writer->context;
    ct_value *names = ct_folder_list(context, writer->path);
    for (size_t i = 0; names && i < ct_value_count(names); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        if (!is_weight_file(name) || is_ours(writer, name)) continue;
        char *path = ct_path_join(context, writer->path, name);
        if (path) ct_file_remove(context, path);
        ct_free(context, path);
    }
    ct_value_free(names);
    return ct_context_status(context);
}

ct_status ct_safetensors_finish_folder(ct_safetensors_writer *writer) {
    ct_context *context = writer->context;
    if (writer->shard_count > 1) {
        ct_value *index = make_index(writer);
        char *path = index ? ct_path_join(context, writer->path, CT_SAFETENSORS_INDEX) : NULL;
        if (path) ct_json_write(context, path, index, CT_JSON_PRETTY);
        ct_free(context, path);
        ct_value_free(index);
    }
    return ct_failed(context) ? ct_context_status(context) : remove_earlier(writer);
}
