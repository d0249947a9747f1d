/* inspect.c - everything that can be told of a file or folder of weights, as one tree of values. */
#include "format/inspect_parts.h"
#include <fnmatch.h>
#include <string.h>

enum { LIST_SHOWN = 8 };
#define MEMORY ((int64_t)256 << 20)

static void put_int(ct_context *context, ct_value *map, const char *key, int64_t value) {
    ct_value_set(map, key, ct_value_int(context, value));
}
static void put_text(ct_context *context, ct_value *map, const char *key, const char *text) {
    ct_value_set(map, key, ct_value_string(context, text));
}
static void put_real(ct_context *context, ct_value *map, const char *key, double value) {
    ct_value_set(map, key, ct_value_real(context, value));
}

/* What may be absent: NULL is no error then. */
static void put_found(ct_context *context, ct_value *map, const char *key, ct_value *value) {
    if (value && ct_failed(context))
        ct_value_free(value);
    else if (value)
        ct_value_set(map, key, value);
}

/* ------------------------------------------------------------------------------------------ the tensors */

static bool matches(const char *name, const char *filter) {
    if (!filter || !*filter) return true;
    return strpbrk(filter, "*?[") ? fnmatch(filter, name, 0) == 0 : strstr(name, filter) != NULL;
}

static ct_value *statistics_value(ct_archive *archive, const ct_archive_tensor *tensor,
                                  const ct_inspect_options *options) {
    ct_context *context = ct_archive_context(archive);
    ct_tensor_statistics s;
    if (!ct_element_describe(tensor->type)->decodes) return ct_value_null(context);
    int64_t memory = options->memory > 0 ? options->memory : MEMORY;
    /* half of it: headers and tables take their part */
    if (ct_archive_statistics(archive, tensor, (size_t)(memory / 2 < (64 << 20) ? memory / 2 : 64 << 20),
                              &s) != CT_OK)
        return NULL;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    put_real(context, map, "min", s.min);
    put_real(context, map, "max", s.max);
    put_real(context, map, "mean", s.mean);
    put_real(context, map, "std", s.deviation);
    put_real(context, map, "norm", s.norm);
    put_int(context, map, "zeros", s.zeros);
    put_int(context, map, "nan", s.nans);
    put_int(context, map, "inf", s.infinities);
    return map;
}

static ct_value *tensor_value(ct_archive *archive, const ct_archive_tensor *tensor,
                              const ct_inspect_options *options) {
    ct_context *context = ct_archive_context(archive);
    ct_value *map = ct_value_map(context), *shape = ct_value_list(context);
    for (int i = 0; shape && i < tensor->rank; i++)
        ct_value_append(shape, ct_value_int(context, tensor->shape[i]));
    if (!map || ct_failed(context)) {
        ct_value_free(map);
        ct_value_free(shape);
        return NULL;
    }
    const ct_archive_tensor *alias = ct_archive_alias(archive, tensor);
    put_text(context, map, "name", tensor->name);
    put_text(context, map, "dtype", ct_element_name(tensor->type));
    ct_value_set(map, "shape", shape);
    put_int(context, map, "bytes", (int64_t)tensor->size);
    if (alias) put_text(context, map, "alias", alias->name);
    if (options->statistics) ct_value_set(map, "statistics", statistics_value(archive, tensor, options));
    return map;
}

/* No name matches: the nearest one may be what was meant. */
static void refuse_filter(ct_archive *archive, const char *filter) {
    ct_context *context = ct_archive_context(archive);
    size_t count = ct_archive_count(archive);
    const char **names = ct_alloc(context, count * sizeof *names, CT_MEMORY_OTHER);
    if (!names) return;
    for (size_t i = 0; i < count; i++)
        names[i] = ct_archive_at(archive, i)->name;
    const char *nearest = ct_nearest_name(filter, names, count);
    ct_fail(context, CT_ERROR_NOT_FOUND, "%s: none of %zu tensors matches \"%.120s\"%s%s%s",
            ct_archive_path(archive), count, filter, nearest ? "; the nearest name is \"" : "",
            nearest ? nearest : "", nearest ? "\"" : "");
    ct_free(context, names);
}

static void put_tensors(ct_archive *archive, const ct_inspect_options *options, ct_value *report) {
    ct_context *context = ct_archive_context(archive);
    ct_value *list = ct_value_list(context);
    int64_t elements = 0, bytes = 0, shown = 0;
    size_t count = ct_archive_count(archive);
    for (size_t i = 0; list && i < count && !ct_failed(context); i++) {
        const ct_archive_tensor *tensor = ct_archive_at(archive, i);
        if (!ct_archive_alias(archive, tensor)) {
            elements += tensor->count;
            bytes += (int64_t)tensor->size;
        }
        if (!matches(tensor->name, options->filter)) continue;
        shown++;
        ct_value_append(list, tensor_value(archive, tensor, options));
        if (options->statistics)
            ct_progress(context, "statistics", (double)i + 1, (double)count, "tensors", tensor->name);
    }
    if (options->statistics) ct_progress_finish(context, "statistics", (double)count, "tensors", "");
    if (count && !shown && !ct_failed(context)) refuse_filter(archive, options->filter);
    put_int(context, report, "tensors", (int64_t)count);
    put_int(context, report, "elements", elements);
    put_int(context, report, "bytes", bytes);
    put_int(context, report, "shown", shown);
    put_found(context, report, "list", list);
}

/* ---------------------------------------------------------------------------------------------- the whole */

static ct_value *files_value(ct_archive *archive) {
    ct_context *context = ct_archive_context(archive);
    ct_value *list = ct_value_list(context);
    for (size_t i = 0; list && i < ct_archive_files(archive); i++) {
        const char *path = ct_archive_file_path(archive, i);
        ct_file *file = ct_file_open(context, path);
        ct_value *map = file ? ct_value_map(context) : NULL;
        if (map) {
            put_text(context, map, "path", path);
            put_int(context, map, "bytes", (int64_t)ct_file_size(file));
            ct_value_append(list, map);
        }
        ct_file_close(file);
    }
    return list;
}

static void put_archive(ct_archive *archive, const ct_inspect_options *options, const ct_value *config,
                        ct_value *report) {
    ct_context *context = ct_archive_context(archive);
    ct_value *metadata = ct_archive_metadata(archive, LIST_SHOWN);
    put_text(context, report, "format", ct_archive_format_name(archive));
    put_found(context, report, "files", files_value(archive));
    put_found(context, report, "model", metadata ? ct_inspect_model(archive, config, metadata) : NULL);
    if (!ct_value_get(report, "tokenizer"))
        put_found(context, report, "tokenizer", ct_inspect_gguf_tokenizer(context, metadata));
    put_found(context, report, "metadata", metadata);
    put_tensors(archive, options, report);
}

static ct_value *read_config(ct_context *context, const char *folder) {
    char *path = ct_path_join(context, folder, "config.json");
    ct_value *config = path && ct_file_exists(path) ? ct_json_read(context, path) : NULL;
    if (config && ct_value_kind_of(config) != CT_VALUE_MAP)
        ct_fail(context, CT_ERROR_FORMAT, "%s: expected a map, found %s", path,
                ct_value_kind_name(ct_value_kind_of(config)));
    ct_free(context, path);
    return config;
}

static void put_folder(ct_context *context, const char *path, ct_value *report) {
    put_found(context, report, "config", read_config(context, path));
    if (!ct_failed(context)) put_found(context, report, "adapter", ct_inspect_adapter(context, path));
    if (!ct_failed(context)) put_found(context, report, "tokenizer", ct_inspect_tokenizer(context, path));
    if (!ct_failed(context)) put_found(context, report, "weights", ct_inspect_weights(context, path));
    if (!ct_failed(context)) ct_inspect_shards(context, path);
}

/* The archive; NULL without an error for a folder whose files of weights stand side by side. */
static ct_archive *open_archive(ct_context *context, const char *path, const ct_value *report) {
    ct_try trial;
    char message[512];
    ct_try_begin(context, &trial);
    ct_archive *archive = ct_archive_open(context, path);
    ct_status status = ct_try_end(context, &trial, message, sizeof message);
    bool listed = status == CT_ERROR_NOT_FOUND && ct_value_count(ct_value_get(report, "weights")) > 1;
    if (status != CT_OK && !listed) ct_fail(context, status, "%s", message);
    return archive;
}

ct_value *ct_inspect(ct_context *context, const char *path, const ct_inspect_options *options) {
    static const ct_inspect_options plain;
    char *found = ct_model_resolve(context, path);
    ct_value *report = found ? ct_value_map(context) : NULL;
    if (report) {
        put_text(context, report, "path", found);
        if (ct_folder_exists(found)) put_folder(context, found, report);
        ct_archive *archive = ct_failed(context) ? NULL : open_archive(context, found, report);
        if (archive) put_archive(archive, options ? options : &plain, ct_value_get(report, "config"), report);
        ct_archive_close(archive);
    }
    ct_free(context, found);
    if (!ct_failed(context)) return report;
    ct_value_free(report);
    return NULL;
}
