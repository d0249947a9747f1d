/* npz_write.c - .npz archives and .npy files as numpy.load reads them. */
#include "carat/npz.h"
#include "format/npy_header.h"
#include "format/zip.h"
#include <string.h>

enum { HEADER_MOST = 4096, ALIGNMENT = 64 };

struct ct_npz_writer {
    ct_context *context;
    ct_zip_writer *zip;
    char *path;
    char *name;    /* of the array that was begun; NULL before the first */
    uint64_t left; /* its bytes that are still to come */
};

static ct_status make_header(ct_context *context, const char *path, const char *name, ct_file_dtype dtype,
                             int rank, const int64_t *shape, char text[HEADER_MOST], size_t *length,
                             uint64_t *size) {
    if (rank < 0 || rank > CT_NPY_RANK || !ct_file_tensor_size(dtype, rank, shape, size))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: array \"%.120s\" has no shape of at most %d dimensions and "
                       "2^63 - 1 bytes",
                       path, name, CT_NPY_RANK);
    if (!ct_npy_make(dtype, rank, shape, text, HEADER_MOST, length))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: array \"%.120s\" is of type %s, which numpy lacks; F32 "
                       "holds its values",
                       path, name, ct_file_dtype_name(dtype));
    return CT_OK;
}

ct_npz_writer *ct_npz_create(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_npz_writer *writer = ct_alloc_zero(context, sizeof *writer, CT_MEMORY_OTHER);
    if (!writer) return NULL;
    writer->context = context;
    writer->path = ct_strdup(context, path);
    writer->zip = writer->path ? ct_zip_create(context, path) : NULL;
    if (writer->zip) return writer;
    ct_free(context, writer->path);
    ct_free(context, writer);
    return NULL;
}

/* What was begun before must be whole. */
static ct_status check_whole(const ct_npz_writer *writer) {
    if (!writer->left) return CT_OK;
    return ct_fail(writer->context, CT_ERROR_STATE, "%s: array \"%.120s\" lacks %llu bytes", writer->path,
                   writer->name, (unsigned long long)writer->left);
}

ct_status ct_npz_begin(ct_npz_writer *writer, const char *name, ct_file_dtype dtype, int rank,
                       const int64_t *shape) {
    ct_context *context = writer->context;
    char header[HEADER_MOST];
    size_t length = 0;
    uint64_t size = 0;
    if (ct_failed(context) || check_whole(writer) != CT_OK ||
        make_header(context, writer->path, name, dtype, rank, shape, header, &length, &size) != CT_OK)
        return ct_context_status(context);
    ct_free(context, writer->name);
    writer->name = ct_strdup(context, name);
    char *entry = writer->name ? ct_format(context, "%s.npy", name) : NULL;
    if (entry && ct_zip_begin(writer->zip, entry, length + size, ALIGNMENT) == CT_OK &&
        ct_zip_write(writer->zip, header, length) == CT_OK)
        writer->left = size;
    ct_free(context, entry);
    return ct_context_status(context);
}

ct_status ct_npz_write(ct_npz_writer *writer, const void *data, size_t size) {
    if (ct_failed(writer->context)) return ct_context_status(writer->context);
    if (size > writer->left)
        return ct_fail(writer->context, CT_ERROR_STATE,
                       "%s: %zu bytes are written to array \"%.120s\", %llu were left to write", writer->path,
                       size, writer->name ? writer->name : "", (unsigned long long)writer->left);
    writer->left -= size;
    return ct_zip_write(writer->zip, data, size);
}

static void free_writer(ct_npz_writer *writer) {
    ct_context *context = writer->context;
    ct_free(context, writer->path);
    ct_free(context, writer->name);
    ct_free(context, writer);
}

ct_status ct_npz_commit(ct_npz_writer *writer) {
    if (!writer) return CT_ERROR_MEMORY; /* creating failed and has recorded why */
    if (!ct_failed(writer->context)) check_whole(writer);
    ct_status status = ct_zip_commit(writer->zip);
    free_writer(writer);
    return status;
}

void ct_npz_abandon(ct_npz_writer *writer) {
    if (!writer) return;
    ct_zip_abandon(writer->zip);
    free_writer(writer);
}

ct_status ct_npy_write(ct_context *context, const char *path, ct_file_dtype dtype, int rank,
                       const int64_t *shape, const void *data) {
    char header[HEADER_MOST];
    size_t length = 0;
    uint64_t size = 0;
    if (ct_failed(context) ||
        make_header(context, path, path, dtype, rank, shape, header, &length, &size) != CT_OK)
        return ct_context_status(context);
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    ct_writer_write(writer, header, length);
    ct_writer_write(writer, data, (size_t)size);
    return ct_writer_commit(writer);
}
