/* npz.c - reading .npz archives and .npy files: all headers when the file is opened, elements when they are
 * asked for. */
#include "carat/npz.h"
#include "format/arena.h"
#include "format/name_table.h"
#include "format/npy_header.h"
#include "format/npz_parts.h"
#include "format/strided.h"
#include "format/zip_parts.h"
#include <string.h>

typedef struct stored {
    const ct_zip_entry *entry; /* NULL: the file itself */
    uint64_t data;             /* where the elements begin in it */
} stored;

struct ct_npz {
    ct_context *context;
    ct_zip *zip;
    ct_file *file; /* a lone .npy */
    ct_npz_array *arrays;
    stored *places;
    size_t count;
    ct_name_table names;
    ct_arena texts;
};

const char *ct_npz_path(const ct_npz *file) {
    return file->zip ? ct_zip_path(file->zip) : ct_file_path(file->file);
}

static ct_status read_source(ct_npz *file, const ct_zip_entry *entry, void *buffer, uint64_t offset,
                             size_t size) {
    return entry ? ct_zip_read(file->zip, entry, buffer, offset, size)
                 : ct_file_pread(file->file, buffer, size, offset);
}

/* The header's dictionary, from `size` bytes of content; *data becomes the place of the elements. */
static bool read_header(ct_npz *file, const ct_zip_entry *entry, uint64_t size, const char *where,
                        ct_npy_header *header, uint64_t *data) {
    unsigned char prefix[CT_NPY_PREFIX] = {0};
    size_t have = size < 10 ? (size_t)size : 10, at = 0, length = 0;
    if (read_source(file, entry, prefix, 0, have) != CT_OK) return false;
    if (have == 10 && prefix[6] > 1 && size >= sizeof prefix) { /* later versions have a longer length */
        if (read_source(file, entry, prefix + 10, 10, 2) != CT_OK) return false;
        have = sizeof prefix;
    }
    if (!ct_npy_prefix(file->context, prefix, have, where, &at, &length)) return false;
    if (length > size - at) {
        ct_fail(file->context, CT_ERROR_FORMAT, "%s: the header has %zu bytes, but only %llu follow", where,
                length, (unsigned long long)(size - at));
        return false;
    }
    char *text = ct_alloc(file->context, length + 1, CT_MEMORY_WORKSPACE);
    bool good = text && read_source(file, entry, text, at, length) == CT_OK &&
                ct_npy_parse(file->context, text, length, where, header);
    ct_free(file->context, text);
    *data = at + length;
    return good;
}

/* Shape times type must give the bytes that are there. Of types that are only listed (item 0) just the count.
 */
static bool check_size(ct_npz *file, const ct_npy_header *header, uint64_t present, const char *where,
                       ct_npz_array *array) {
    uint64_t size = 0;
    ct_file_dtype dtype = header->readable ? header->dtype : CT_FILE_U8;
    if (!ct_file_tensor_size(dtype, header->rank, header->shape, &size)) {
        ct_fail(file->context, CT_ERROR_FORMAT, "%s: the shape has more than 2^63 - 1 bytes", where);
        return false;
    }
    array->count = (int64_t)(size / (ct_file_dtype_bits(dtype) / 8));
    array->size = header->readable ? size : present;
    if (!header->readable || size == present) return true;
    ct_fail(file->context, CT_ERROR_FORMAT, "%s: shape and type %s need %llu bytes, found %llu", where,
            header->descr, (unsigned long long)size, (unsigned long long)present);
    return false;
}

static ct_status add_array(ct_npz *file, const ct_zip_entry *entry, uint64_t size, const char *name,
                           size_t length, const char *where) {
    ct_context *context = file->context;
    ct_npy_header *header = ct_alloc(context, sizeof *header, CT_MEMORY_WORKSPACE);
    uint64_t data = 0;
    ct_npz_array array = {0};
    if (header && read_header(file, entry, size, where, header, &data) &&
        check_size(file, header, size - data, where, &array)) {
        array.name = ct_arena_copy(context, &file->texts, name, length);
        array.descr = ct_arena_copy(context, &file->texts, header->descr, strlen(header->descr));
        int64_t *shape = ct_alloc(context, (size_t)header->rank * sizeof *shape, CT_MEMORY_OTHER);
        if (shape) memcpy(shape, header->shape, (size_t)header->rank * sizeof *shape);
        array.shape = shape;
        array.rank = header->rank;
        array.dtype = header->dtype;
        array.readable = header->readable;
        array.fortran = header->fortran;
        array.swapped = header->swapped;
        array.compressed = entry && entry->deflated;
        file->places[file->count] = (stored){entry, data};
        file->arrays[file->count++] = array;
        if (array.name && array.descr && shape) {
            if (ct_names_get(&file->names, array.name, length) >= 0)
                ct_fail(context, CT_ERROR_FORMAT, "%s: the array stands twice", where);
            else
                ct_names_put(context, &file->names, array.name, length, (int32_t)file->count - 1);
        }
    }
    ct_free(context, header);
    return ct_context_status(context);
}

static ct_status make_room(ct_npz *file, size_t count) {
    file->arrays = ct_alloc(file->context, count * sizeof *file->arrays, CT_MEMORY_OTHER);
    file->places = ct_alloc(file->context, count * sizeof *file->places, CT_MEMORY_OTHER);
    return ct_context_status(file->context);
}

static ct_status open_archive(ct_npz *file, const char *path) {
    file->zip = ct_zip_open(file->context, path);
    size_t count = file->zip ? ct_zip_count(file->zip) : 0;
    if (!file->zip || make_room(file, count) != CT_OK) return ct_context_status(file->context);
    for (size_t i = 0; i < count && !ct_failed(file->context); i++) {
        const ct_zip_entry *entry = ct_zip_at(file->zip, i);
        size_t length = strlen(entry->name);
        char *where = ct_format(file->context, "%s: entry \"%.120s\"", path, entry->name);
        if (!where) break;
        if (length < 5 || strcmp(entry->name + length - 4, ".npy") != 0)
            ct_fail(file->context, CT_ERROR_FORMAT, "%s is no array: its name does not end in .npy%s", where,
                    strstr(entry->name, "data.pkl") ? " (a PyTorch checkpoint?)" : "");
        else
            add_array(file, entry, entry->size, entry->name, length - 4, where);
        ct_free(file->context, where);
    }
    return ct_context_status(file->context);
}

/* A lone array is named as its file. */
static ct_status open_lone(ct_npz *file, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".npy") == 0) length -= 4;
    if (make_room(file, 1) != CT_OK) return ct_context_status(file->context);
    return add_array(file, NULL, ct_file_size(file->file), name, length, path);
}

ct_npz *ct_npz_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_npz *file = ct_alloc_zero(context, sizeof *file, CT_MEMORY_OTHER);
    if (!file) return NULL;
    unsigned char first[4] = {0};
    file->context = context;
    file->file = ct_file_open(context, path);
    if (file->file && ct_file_size(file->file) >= sizeof first)
        ct_file_pread(file->file, first, sizeof first, 0);
    if (file->file && !ct_failed(context) && ct_zip_is(first, sizeof first)) {
        ct_file_close(file->file);
        file->file = NULL;
        open_archive(file, path);
    } else if (file->file && !ct_failed(context)) {
        open_lone(file, path);
    }
    if (!ct_failed(context)) return file;
    ct_npz_close(file);
    return NULL;
}

void ct_npz_close(ct_npz *file) {
    if (!file) return;
    ct_context *context = file->context;
    for (size_t i = 0; i < file->count; i++)
        ct_free(context, (void *)(uintptr_t)file->arrays[i].shape);
    ct_free(context, file->arrays);
    ct_free(context, file->places);
    ct_names_free(context, &file->names);
    ct_arena_free(context, &file->texts);
    ct_zip_close(file->zip);
    ct_file_close(file->file);
    ct_free(context, file);
}

ct_file *ct_npz_file(const ct_npz *file) {
    return file->zip ? file->zip->file : file->file;
}

/* Whether the elements lie as they are read, one after the other. */
static bool is_plain(const ct_npz_array *array) {
    return !array->swapped && (!array->fortran || array->rank < 2);
}

bool ct_npz_place(const ct_npz *file, const ct_npz_array *array, uint64_t *offset) {
    const stored *place = &file->places[array - file->arrays];
    *offset = place->data + (place->entry ? place->entry->offset : 0);
    return array->readable && is_plain(array) && !array->compressed;
}

size_t ct_npz_count(const ct_npz *file) {
    return file->count;
}
const ct_npz_array *ct_npz_at(const ct_npz *file, size_t index) {
    return index < file->count ? &file->arrays[index] : NULL;
}
const ct_npz_array *ct_npz_find(const ct_npz *file, const char *name) {
    int32_t index = ct_names_get(&file->names, name, strlen(name));
    return index < 0 ? NULL : &file->arrays[index];
}

const ct_npz_array *ct_npz_need(ct_npz *file, const char *name) {
    const ct_npz_array *array = ct_npz_find(file, name);
    if (array || ct_failed(file->context)) return array;
    const char **names = ct_alloc(file->context, file->count * sizeof *names, CT_MEMORY_OTHER);
    if (!names) return NULL;
    for (size_t i = 0; i < file->count; i++)
        names[i] = file->arrays[i].name;
    const char *nearest = ct_nearest_name(name, names, file->count);
    ct_fail(file->context, CT_ERROR_NOT_FOUND, "%s: has no array \"%s\"%s%s%s", ct_npz_path(file), name,
            nearest ? "; the nearest is \"" : "", nearest ? nearest : "", nearest ? "\"" : "");
    ct_free(file->context, names);
    return NULL;
}

/* ---------------------------------------------------------------------------------------------- elements */

typedef struct source {
    ct_npz *file;
    const stored *place;
} source;

static ct_status read_place(void *user, void *buffer, uint64_t offset, size_t size) {
    const source *from = user;
    return read_source(from->file, from->place->entry, buffer, from->place->data + offset, size);
}

static ct_status refuse_type(ct_npz *file, const ct_npz_array *array) {
    const char *code = array->descr[0] && strchr("<>=|", array->descr[0]) ? array->descr + 1 : array->descr;
    const char *what = code[0] == 'O' ? "Python objects, which are pickles and are not run"
                       : code[0] == 'U' || code[0] == 'S' ? "texts"
                       : code[0] == '['                   ? "records"
                       : code[0] == 'V' ? "bytes of no known type (numpy writes bfloat16 so)"
                                        : "a type that is not known";
    return ct_fail(file->context, CT_ERROR_UNSUPPORTED, "%s: array \"%.120s\" is of type \"%s\": %s",
                   ct_npz_path(file), array->name, array->descr, what);
}

ct_status ct_npz_read(ct_npz *file, const ct_npz_array *array, void *buffer, uint64_t offset, size_t size) {
    if (ct_failed(file->context)) return ct_context_status(file->context);
    if (!array->readable) return refuse_type(file, array);
    if (offset > array->size || size > array->size - offset)
        return ct_fail(file->context, CT_ERROR_ARGUMENT,
                       "%s: bytes %llu to %llu of array \"%.120s\" are asked for, which has %llu",
                       ct_npz_path(file), (unsigned long long)offset, (unsigned long long)offset + size,
                       array->name, (unsigned long long)array->size);
    if (!size) return CT_OK;
    const stored *place = &file->places[array - file->arrays];
    if (is_plain(array)) return read_source(file, place->entry, buffer, place->data + offset, size);
    source from = {file, place};
    ct_strided *view = ct_alloc_zero(file->context, sizeof *view, CT_MEMORY_WORKSPACE);
    if (!view) return ct_context_status(file->context);
    view->context = file->context;
    view->read = read_place;
    view->user = &from;
    view->item = ct_file_dtype_bits(array->dtype) / 8;
    view->swapped = array->swapped;
    view->halves = array->dtype == CT_FILE_C64;
    view->rank = array->rank;
    view->shape = array->shape;
    if (array->fortran)
        ct_strided_fortran_order(view);
    else
        ct_strided_c_order(view);
    ct_status status = ct_strided_read(view, buffer, offset, size);
    ct_free(file->context, view);
    return status;
}
