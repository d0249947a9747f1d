/* archive.c - one view of the formats that hold named tensors: recognising, the list of tensors, reading. */
#include "base/ending.h"
#include "format/archive_format.h"
#include <string.h>

/* -------------------------------------------------------------------------------- for the formats ----- */

int ct_archive_add_file(ct_archive *archive, ct_file *file, bool owned) {
    if (!file) return -1; /* opening failed and has recorded why */
    ct_archive_file *larger = ct_realloc(archive->context, archive->files,
                                         (archive->file_count + 1) * sizeof *larger, CT_MEMORY_OTHER);
    if (!larger) {
        if (owned) ct_file_close(file);
        return -1;
    }
    archive->files = larger;
    archive->files[archive->file_count] = (ct_archive_file){file, owned};
    return (int)archive->file_count++;
}

static ct_status refuse(const ct_archive *archive, const char *name, size_t length, const char *format, ...)
    CT_PRINTF(4, 5);
static ct_status refuse(const ct_archive *archive, const char *name, size_t length, const char *format, ...) {
    char message[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return ct_fail(archive->context, CT_ERROR_FORMAT, "%s: tensor \"%.*s\" %s", archive->path,
                   (int)(length < 120 ? length : 120), name, message);
}

static ct_status make_room(ct_archive *archive) {
    if (archive->count < archive->capacity) return CT_OK;
    if (archive->count > INT32_MAX / 4)
        return ct_fail(archive->context, CT_ERROR_FORMAT, "%s: has more than %zu tensors", archive->path,
                       archive->count);
    size_t capacity = archive->capacity * 2 + 64;
    ct_archive_tensor *tensors =
        ct_realloc(archive->context, archive->tensors, capacity * sizeof *tensors, CT_MEMORY_OTHER);
    if (!tensors) return ct_context_status(archive->context);
    archive->tensors = tensors;
    int32_t *aliases =
        ct_realloc(archive->context, archive->aliases, capacity * sizeof *aliases, CT_MEMORY_OTHER);
    if (!aliases) return ct_context_status(archive->context);
    archive->aliases = aliases;
    archive->capacity = capacity;
    return CT_OK;
}

/* Whether the tensor's claims hold; its size and count. */
static ct_status check(const ct_archive *archive, const char *name, size_t length,
                       ct_archive_tensor *tensor) {
    if (!length || memchr(name, 0, length))
        return ct_fail(archive->context, CT_ERROR_FORMAT, "%s: a tensor's name %s", archive->path,
                       length ? "holds the character NUL" : "is empty");
    if (ct_names_get(&archive->names, name, length) >= 0)
        return refuse(archive, name, length, "stands twice");
    if (tensor->rank < 0 || tensor->rank > CT_ARCHIVE_RANK_LIMIT)
        return refuse(archive, name, length, "has %d dimensions, expected 0 to %d", tensor->rank,
                      CT_ARCHIVE_RANK_LIMIT);
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 0)
            return refuse(archive, name, length, "has the extent %lld", (long long)tensor->shape[i]);
    if (!ct_element_is_plain(tensor->type) &&
        (tensor->rank < 1 || tensor->shape[tensor->rank - 1] % ct_element_describe(tensor->type)->block))
        return refuse(archive, name, length, "has rows of %lld elements; %s stores blocks of %d",
                      tensor->rank ? (long long)tensor->shape[tensor->rank - 1] : 1,
                      ct_element_name(tensor->type), ct_element_describe(tensor->type)->block);
    if (!ct_element_tensor_size(tensor->type, tensor->rank, tensor->shape, &tensor->size))
        return refuse(archive, name, length,
                      "has a shape whose size in %s is no whole number of bytes below 2^63",
                      ct_element_name(tensor->type));
    tensor->count = 1;
    for (int i = 0; i < tensor->rank;
         i++) /* the size was seen not to overflow, so zeros aside this does not */
        if (__builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count)) tensor->count = 0;
    if (tensor->file < 0) return CT_OK;
    uint64_t size = ct_file_size(archive->files[tensor->file].file);
    if (tensor->offset > size || tensor->size > size - tensor->offset)
        return refuse(archive, name, length, "needs %llu bytes from offset %llu on, but the file has %llu",
                      (unsigned long long)tensor->size, (unsigned long long)tensor->offset,
                      (unsigned long long)size);
    return CT_OK;
}

ct_status ct_archive_add(ct_archive *archive, const char *name, size_t name_length, ct_element type, int rank,
                         const int64_t *shape, int file, uint64_t offset, int32_t alias) {
    ct_archive_tensor tensor = {
        .shape = shape, .rank = rank, .type = type, .file = file, .offset = offset, .index = archive->count};
    ct_status status = check(archive, name, name_length, &tensor);
    if (!status) status = make_room(archive);
    if (status) return status;
    size_t bytes = (size_t)rank * sizeof *shape;
    tensor.name = ct_arena_copy(archive->context, &archive->texts, name, name_length);
    if (!tensor.name) return ct_context_status(archive->context);
    int64_t *kept = ct_alloc(archive->context, bytes, CT_MEMORY_OTHER);
    if (!kept) return ct_context_status(archive->context);
    if (bytes) memcpy(kept, shape, bytes);
    tensor.shape = kept;
    archive->aliases[archive->count] = alias;
    archive->tensors[archive->count++] = tensor;
    return ct_names_put(archive->context, &archive->names, tensor.name, name_length,
                        (int32_t)archive->count - 1);
}

static ct_value *cut(ct_context *context, ct_value *value, size_t most);

static ct_status cut_items(ct_context *context, ct_value *container, size_t most) {
    bool map = ct_value_kind_of(container) == CT_VALUE_MAP;
    for (size_t i = 0; i < ct_value_count(container) && !ct_failed(context); i++) {
        ct_value *item = ct_value_at(container, i);
        if (map && ct_value_kind_of(item) == CT_VALUE_LIST && ct_value_count(item) > most)
            ct_value_set(container, ct_value_key(container, i), cut(context, item, most));
        else
            cut_items(context, item, most);
    }
    return ct_context_status(context);
}

/* {"count": n, "first": [...]} of a list. */
static ct_value *cut(ct_context *context, ct_value *value, size_t most) {
    ct_value *map = ct_value_map(context), *first = ct_value_list(context);
    for (size_t i = 0; first && i < most; i++)
        if (ct_value_append(first, ct_value_copy(ct_value_at(value, i)))) break;
    if (map) ct_value_set(map, "count", ct_value_int(context, (int64_t)ct_value_count(value)));
    if (map)
        ct_value_set(map, "first", first);
    else
        ct_value_free(first);
    return map;
}

ct_status ct_archive_cut_lists(ct_context *context, ct_value *map, size_t most) {
    return most ? cut_items(context, map, most) : CT_OK;
}

char *ct_archive_named_file(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    if (path && ct_file_exists(path)) return path;
    ct_free(context, path);
    return NULL;
}

char *ct_archive_only_file(ct_context *context, const char *folder, const char *ending) {
    ct_value *names = ct_folder_list(context, folder);
    const char *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < ct_value_count(names); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        if (!ct_ends_with(name, ending)) continue;
        found = name;
        count++;
    }
    char *path = count == 1 ? ct_archive_named_file(context, folder, found) : NULL;
    ct_value_free(names);
    return path;
}

/* ------------------------------------------------------------------------------------------------ opening */

static ct_status unknown(ct_context *context, ct_status status, const char *path, const char *what) {
    char known[256] = "";
    for (size_t i = 0, used = 0; ct_archive_formats[i] && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 ct_archive_formats[i]->name);
    return ct_fail(context, status, "%s: %s (known are: %s)", path, what, known);
}

/* The format of a file, from its first bytes. */
static const ct_archive_format *recognise(ct_context *context, const char *path) {
    unsigned char head[CT_ARCHIVE_HEAD];
    ct_file *file = ct_file_open(context, path);
    if (!file) return NULL;
    size_t size = ct_file_size(file) < sizeof head ? (size_t)ct_file_size(file) : sizeof head;
    const ct_archive_format *found = NULL;
    if (ct_file_pread(file, head, size, 0) == CT_OK) {
        for (size_t i = 0; !found && ct_archive_formats[i]; i++)
            if (ct_archive_formats[i]->recognise(file, head, size)) found = ct_archive_formats[i];
        if (!found && !ct_failed(context))
            unknown(context, CT_ERROR_FORMAT, path, size ? "is of no known format for tensors" : "is empty");
    }
    ct_file_close(file);
    return ct_failed(context) ? NULL : found;
}

/* The format of what lies in a folder and the file to open. */
static const ct_archive_format *locate(ct_context *context, const char *folder, char **path) {
    for (size_t i = 0; ct_archive_formats[i]; i++) {
        if (!ct_archive_formats[i]->locate) continue;
        *path = ct_archive_formats[i]->locate(context, folder);
        if (ct_failed(context)) break;
        if (*path) return ct_archive_formats[i];
    }
    unknown(context, CT_ERROR_NOT_FOUND, folder,
            "the folder holds no file of tensors that could be told from others");
    return NULL;
}

ct_archive *ct_archive_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    char *found = NULL;
    const ct_archive_format *format =
        ct_folder_exists(path) ? locate(context, path, &found) : recognise(context, path);
    ct_archive *archive = format ? ct_alloc_zero(context, sizeof *archive, CT_MEMORY_OTHER) : NULL;
    if (archive) {
        archive->context = context;
        archive->format = format;
        archive->path = ct_strdup(context, path);
        if (archive->path) format->open(archive, found ? found : path);
    }
    ct_free(context, found);
    if (!ct_failed(context)) return archive;
    ct_archive_close(archive);
    return NULL;
}

void ct_archive_close(ct_archive *archive) {
    if (!archive) return;
    ct_context *context = archive->context;
    if (archive->format->close) archive->format->close(archive);
    for (size_t i = 0; i < archive->file_count; i++)
        if (archive->files[i].owned) ct_file_close(archive->files[i].file);
    for (size_t i = 0; i < archive->count; i++)
        ct_free(context, (void *)(uintptr_t)archive->tensors[i].shape);
    ct_free(context, archive->files);
    ct_free(context, archive->tensors);
    ct_free(context, archive->aliases);
    ct_names_free(context, &archive->names);
    ct_arena_free(context, &archive->texts);
    ct_free(context, archive->path);
    ct_free(context, archive);
}

/* ------------------------------------------------------------------------------------------------ looking */

const char *ct_archive_format_name(const ct_archive *archive) {
    return archive->format->name;
}
const char *ct_archive_path(const ct_archive *archive) {
    return archive->path;
}
ct_context *ct_archive_context(const ct_archive *archive) {
    return archive->context;
}
size_t ct_archive_count(const ct_archive *archive) {
    return archive->count;
}
size_t ct_archive_files(const ct_archive *archive) {
    return archive->file_count;
}
const char *ct_archive_format_title(const ct_archive_format *format) {
    return format->name;
}
const char *ct_archive_format_summary(const ct_archive_format *format) {
    return format->summary;
}

const char *ct_archive_file_path(const ct_archive *archive, size_t file) {
    return file < archive->file_count ? ct_file_path(archive->files[file].file) : NULL;
}

const ct_archive_tensor *ct_archive_at(const ct_archive *archive, size_t index) {
    return index < archive->count ? &archive->tensors[index] : NULL;
}

const ct_archive_tensor *ct_archive_find(const ct_archive *archive, const char *name) {
    int32_t index = ct_names_get(&archive->names, name, strlen(name));
    return index < 0 ? NULL : &archive->tensors[index];
}

const ct_archive_tensor *ct_archive_need(ct_archive *archive, const char *name) {
    const ct_archive_tensor *tensor = ct_archive_find(archive, name);
    if (tensor) return tensor;
    const char **names = ct_alloc(archive->context, archive->count * sizeof *names, CT_MEMORY_OTHER);
    if (!names) return NULL;
    for (size_t i = 0; i < archive->count; i++)
        names[i] = archive->tensors[i].name;
    const char *nearest = ct_nearest_name(name, names, archive->count);
    ct_fail(archive->context, CT_ERROR_NOT_FOUND, "%s: has no tensor \"%s\"%s%s%s", archive->path, name,
            nearest ? "; the nearest is \"" : "", nearest ? nearest : "", nearest ? "\"" : "");
    ct_free(archive->context, names);
    return NULL;
}

const ct_archive_tensor *ct_archive_alias(const ct_archive *archive, const ct_archive_tensor *tensor) {
    int32_t alias = archive->aliases[tensor->index];
    return alias < 0 ? NULL : &archive->tensors[alias];
}

ct_value *ct_archive_metadata(ct_archive *archive, size_t most) {
    if (ct_failed(archive->context)) return NULL;
    return archive->format->metadata ? archive->format->metadata(archive, most)
                                     : ct_value_map(archive->context);
}

/* ------------------------------------------------------------------------------------------------ reading */

ct_status ct_archive_read(ct_archive *archive, const ct_archive_tensor *tensor, void *buffer, uint64_t offset,
                          size_t size) {
    if (offset > tensor->size || size > tensor->size - offset)
        return ct_fail(archive->context, CT_ERROR_ARGUMENT,
                       "%s: bytes %llu to %llu of tensor \"%s\" are asked for, which has %llu", archive->path,
                       (unsigned long long)offset, (unsigned long long)offset + size, tensor->name,
                       (unsigned long long)tensor->size);
    if (tensor->file < 0) return archive->format->read(archive, tensor, buffer, offset, size);
    return ct_file_pread(archive->files[tensor->file].file, buffer, size, tensor->offset + offset);
}

#define PIECE_BYTES 65536

ct_status ct_archive_read_f32(ct_archive *archive, const ct_archive_tensor *tensor, float *values,
                              int64_t first, int64_t count) {
    const ct_element_info *type = ct_element_describe(tensor->type);
    if (!type->decodes)
        return ct_fail(archive->context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" is of type %s, which is not decoded", archive->path, tensor->name,
                       type->name);
    if (first < 0 || count < 0 || first > tensor->count || count > tensor->count - first ||
        first % type->block || count % type->block)
        return ct_fail(
            archive->context, CT_ERROR_ARGUMENT,
            "%s: elements %lld to %lld of tensor \"%s\" are asked for, which has %lld in blocks of %d",
            archive->path, (long long)first, (long long)(first + count), tensor->name,
            (long long)tensor->count, type->block);
    unsigned char piece[PIECE_BYTES];
    int64_t step = PIECE_BYTES / type->bytes; /* blocks */
    for (int64_t block = first / type->block, end = (first + count) / type->block; block < end;
         block += step) {
        int64_t blocks = end - block < step ? end - block : step;
        ct_status status = ct_archive_read(archive, tensor, piece, (uint64_t)block * (uint64_t)type->bytes,
                                           (size_t)(blocks * type->bytes));
        if (status) return status;
        ct_element_decode(tensor->type, piece, values + (block * type->block - first), blocks * type->block);
    }
    return CT_OK;
}
