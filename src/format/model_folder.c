/* model_folder.c - Hugging Face model folders: where a name leads, what lies there, and copies of what is not
 * weights. */
#include "base/ending.h"
#include "carat/format.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 8, COPY_BUFFER = 1 << 20 };

/* ---------------------------------------------------------------------------------------- the Hub's cache */

/* The cache's folder by the variables that huggingface_hub honours. */
static char *cache_folder(ct_context *context) {
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME"),
               *user = getenv("HOME");
    if (cache && *cache) return ct_strdup(context, cache);
    if (home && *home) return ct_path_join(context, home, "hub");
    if (xdg && *xdg) return ct_path_join(context, xdg, "huggingface/hub");
    return ct_path_join(context, user && *user ? user : ".", ".cache/huggingface/hub");
}

/* NAME or ORG/NAME of letters, digits, '-', '_' and '.'. */
static bool is_hub_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t first = strspn(name, allowed);
    if (first == 0 || name[0] == '.' || strlen(name) > 200) return false;
    if (name[first] == '\0') return true;
    const char *rest = name + first + 1;
    return name[first] == '/' && *rest && *rest != '.' && strspn(rest, allowed) == strlen(rest);
}

/* The snapshot that refs/main names, or NULL without an error. */
static char *main_snapshot(ct_context *context, const char *model) {
    char *path = ct_path_join(context, model, "refs/main"), *snapshot = NULL;
    if (path && ct_file_exists(path)) {
        size_t length = 0;
        char *revision = ct_file_read(context, path, 256, &length);
        if (revision) {
            revision[strcspn(revision, "\r\n")] = '\0';
            if (*revision && *revision != '.' && !strchr(revision, '/'))
                snapshot = ct_format(context, "%s/snapshots/%s", model, revision);
        }
        ct_free(context, revision);
    }
    ct_free(context, path);
    if (snapshot && ct_folder_exists(snapshot)) return snapshot;
    ct_free(context, snapshot);
    return NULL;
}

/* The folder below snapshots/ that changed last, of equal ones the first by name; NULL without an error. */
static char *newest_snapshot(ct_context *context, const char *model) {
    char *folder = ct_path_join(context, model, "snapshots"), *newest = NULL;
    struct timespec latest = {0, 0};
    if (!folder || !ct_folder_exists(folder)) {
        ct_free(context, folder);
        return NULL;
    }
    ct_value *names = ct_folder_list(context, folder);
    for (size_t i = 0; names && i < ct_value_count(names); i++) {
        struct stat status;
        char *path = ct_path_join(context, folder, ct_value_as_string(ct_value_at(names, i), ""));
        bool later = path && stat(path, &status) == 0 && S_ISDIR(status.st_mode) &&
                     (!newest || status.st_mtim.tv_sec > latest.tv_sec ||
                      (status.st_mtim.tv_sec == latest.tv_sec && status.st_mtim.tv_nsec > latest.tv_nsec));
        if (later) latest = status.st_mtim;
        ct_free(context, later ? newest : path);
        if (later) newest = path;
    }
    ct_value_free(names);
    ct_free(context, folder);
    return newest;
}

static char *cached_snapshot(ct_context *context, const char *name) {
    char *cache = cache_folder(context), *model = NULL, *snapshot = NULL;
    const char *slash = strchr(name, '/');
    if (cache)
        model = slash ? ct_format(context, "%s/models--%.*s--%s", cache, (int)(slash - name), name, slash + 1)
                      : ct_format(context, "%s/models--%s", cache, name);
    if (model) snapshot = main_snapshot(context, model);
    if (model && !snapshot && !ct_failed(context)) snapshot = newest_snapshot(context, model);
    if (!snapshot && !ct_failed(context))
        ct_fail(context, CT_ERROR_NOT_FOUND,
                "%s: no such file or folder, nor a model in the Hugging Face cache (%s); to get it: hf "
                "download %s",
                name, cache, name);
    ct_free(context, cache);
    ct_free(context, model);
    return snapshot;
}

char *ct_model_resolve(ct_context *context, const char *name) {
    if (ct_failed(context)) return NULL;
    if (ct_folder_exists(name) || ct_file_exists(name)) return ct_strdup(context, name);
    if (is_hub_name(name)) return cached_snapshot(context, name);
    ct_fail(context, CT_ERROR_NOT_FOUND, "%s: no such file or folder", name);
    return NULL;
}

/* ---------------------------------------------------------------------------------------- what lies there */

static bool ends_with_any(const char *name, const char *const *ends) {
    for (; *ends; ends++)
        if (ct_ends_with(name, *ends)) return true;
    return false;
}

static ct_value *list_for(ct_model_folder *folder, const char *name) {
    static const char *const weights[] = {".safetensors", ".safetensors.index.json", NULL};
    static const char *const others[] = {
        ".bin",     ".bin.index.json", ".pt",        ".pth",    ".ckpt", ".gguf", ".ggml",    ".h5",
        ".msgpack", ".onnx",           ".onnx_data", ".tflite", ".ot",   ".npz",  ".mlmodel", NULL};
    if (!strchr(name, '/') && ends_with_any(name, weights)) return folder->weight_files;
    return ends_with_any(name, others) || ends_with_any(name, weights) ? folder->other_weights
                                                                       : folder->side_files;
}

/* Sorts the files of a folder, and of those below it, into the lists. */
static ct_status sort_files(ct_context *context, ct_model_folder *folder, const char *below, int depth) {
    if (depth > DEEPEST)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s/%s: folders are nested deeper than %d levels",
                       folder->path, below, DEEPEST);
    char *here = *below ? ct_path_join(context, folder->path, below) : ct_strdup(context, folder->path);
    ct_value *names = here ? ct_folder_list(context, here) : NULL;
    ct_status status = ct_context_status(context);
    for (size_t i = 0; i < ct_value_count(names) && status == CT_OK; i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        char *inner = *below ? ct_path_join(context, below, name) : ct_strdup(context, name);
        char *path = inner ? ct_path_join(context, here, name) : NULL;
        bool read_above = strcmp(inner ? inner : "", "config.json") == 0 ||
                          strcmp(inner ? inner : "", "generation_config.json") == 0;
        if (!path)
            status = ct_context_status(context);
        else if (ct_folder_exists(path) && strcmp(name, ".git") != 0 && strcmp(name, ".cache") != 0)
            status = sort_files(context, folder, inner, depth + 1);
        else if (ct_file_exists(path) && !read_above)
            status = ct_value_append(list_for(folder, inner), ct_value_string(context, inner));
        ct_free(context, path);
        ct_free(context, inner);
    }
    ct_value_free(names);
    ct_free(context, here);
    return status;
}

static ct_status read_config(ct_context *context, const ct_model_folder *folder, const char *name,
                             ct_value **config) {
    char *path = ct_path_join(context, folder->path, name);
    if (path && ct_file_exists(path)) *config = ct_json_read(context, path);
    if (*config && ct_value_kind_of(*config) != CT_VALUE_MAP)
        ct_fail(context, CT_ERROR_FORMAT, "%s: expected a map", path);
    ct_free(context, path);
    return ct_context_status(context);
}

ct_model_folder *ct_model_folder_open(ct_context *context, const char *name) {
    if (ct_failed(context)) return NULL;
    ct_model_folder *folder = ct_alloc_zero(context, sizeof *folder, CT_MEMORY_OTHER);
    if (!folder) return NULL;
    folder->path = ct_model_resolve(context, name);
    folder->weight_files = ct_value_list(context);
    folder->other_weights = ct_value_list(context);
    folder->side_files = ct_value_list(context);
    if (!ct_failed(context) && !ct_folder_exists(folder->path))
        ct_fail(context, CT_ERROR_ARGUMENT, "%s: is a file, expected a model folder", folder->path);
    ct_status status = ct_context_status(context);
    if (status == CT_OK) status = read_config(context, folder, "config.json", &folder->config);
    if (status == CT_OK)
        status = read_config(context, folder, "generation_config.json", &folder->generation_config);
    if (status == CT_OK) status = sort_files(context, folder, "", 0);
    if (status == CT_OK) return folder;
    ct_model_folder_close(context, folder);
    return NULL;
}

void ct_model_folder_close(ct_context *context, ct_model_folder *folder) {
    if (!folder) return;
    ct_free(context, folder->path);
    ct_value_free(folder->config);
    ct_value_free(folder->generation_config);
    ct_value_free(folder->weight_files);
    ct_value_free(folder->other_weights);
    ct_value_free(folder->side_files);
    ct_free(context, folder);
}

/* ------------------------------------------------------------------------------------------------ copying */

ct_status ct_file_copy(ct_context *context, const char *from, const char *to) {
    ct_file *file = ct_file_open(context, from);
    if (!file) return ct_context_status(context);
    uint64_t size = ct_file_size(file);
    char *buffer = ct_alloc(context, COPY_BUFFER, CT_MEMORY_WORKSPACE);
    ct_writer *writer = buffer ? ct_writer_open(context, to) : NULL;
    ct_status status = writer ? CT_OK : ct_context_status(context);
    for (uint64_t at = 0; at < size && status == CT_OK; at += COPY_BUFFER) {
        size_t piece = size - at < COPY_BUFFER ? (size_t)(size - at) : COPY_BUFFER;
        status = ct_file_pread(file, buffer, piece, at);
        if (status == CT_OK) status = ct_writer_write(writer, buffer, piece);
    }
    if (status == CT_OK)
        status = ct_writer_commit(writer);
    else if (writer)
        ct_writer_abandon(writer);
    ct_free(context, buffer);
    ct_file_close(file);
    return status;
}

/* FOLDER/a/b.json needs FOLDER/a. */
static ct_status make_parent(ct_context *context, const char *path) {
    const char *slash = strrchr(path, '/');
    char *parent = slash && slash != path ? ct_format(context, "%.*s", (int)(slash - path), path) : NULL;
    ct_status status = parent ? ct_folder_make(context, parent) : ct_context_status(context);
    ct_free(context, parent);
    return status;
}

ct_status ct_model_folder_copy(ct_context *context, const ct_model_folder *folder, const char *destination,
                               const char *const *skip, ct_value *copied) {
    ct_status status = ct_context_status(context);
    for (size_t i = 0; i < ct_value_count(folder->side_files) && status == CT_OK; i++) {
        const char *name = ct_value_as_string(ct_value_at(folder->side_files, i), "");
        bool passed_over = false;
        for (const char *const *other = skip; other && *other; other++)
            passed_over |= strcmp(*other, name) == 0;
        if (passed_over) continue;
        char *from = ct_path_join(context, folder->path, name),
             *to = ct_path_join(context, destination, name);
        if (!from || !to)
            status = ct_context_status(context);
        else if (!ct_file_exists(to)) {
            status = make_parent(context, to);
            if (status == CT_OK) status = ct_file_copy(context, from, to);
            if (status == CT_OK && copied) status = ct_value_append(copied, ct_value_string(context, name));
        }
        ct_free(context, from);
        ct_free(context, to);
    }
    return status;
}
