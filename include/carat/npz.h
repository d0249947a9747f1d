/* npz.h - numpy's files: .npy (one array) and .npz (a zip archive of them), read and written.
 *
 * Headers of versions 1, 2 and 3 are read by a strict parser of the one dictionary they hold. Arrays of
 * Python objects (which are pickles), texts and records are refused by name when they are read; they can be
 * listed. Reading gives elements in C order and the machine's byte order, whatever the file has. */
#ifndef CARAT_NPZ_H
#define CARAT_NPZ_H

#include <carat/format.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_npz ct_npz;
typedef struct ct_npz_array {
    const char
        *name; /* of the entry without ".npy"; of a lone .npy file its name. Lives as long as the reader */
    const int64_t *shape;
    int rank; /* 0 is a scalar */
    ct_file_dtype dtype;
    int64_t count;     /* elements */
    uint64_t size;     /* bytes */
    const char *descr; /* the type as the header has it: "<f4" */
    bool readable;     /* false: of a type that `dtype` cannot name, such as texts */
    bool fortran;      /* lies in Fortran order */
    bool swapped;      /* lies in big-endian order */
    bool compressed;   /* deflated: reading backwards unpacks again */
} ct_npz_array;

/* `path` is a .npz or .npy file; which of the two its first bytes tell. NULL on error. */
ct_npz *ct_npz_open(ct_context *context, const char *path);
void ct_npz_close(ct_npz *file);
size_t ct_npz_count(const ct_npz *file);
/* Arrays in file order. */
const ct_npz_array *ct_npz_at(const ct_npz *file, size_t index);
/* NULL if absent, without an error; _need records CT_ERROR_NOT_FOUND and the nearest name. */
const ct_npz_array *ct_npz_find(const ct_npz *file, const char *name);
const ct_npz_array *ct_npz_need(ct_npz *file, const char *name);
/* Reads bytes [offset, offset + size) of the array's elements in C order into caller memory. */
ct_status ct_npz_read(ct_npz *file, const ct_npz_array *array, void *buffer, uint64_t offset, size_t size);
const char *ct_npz_path(const ct_npz *file);

/* Writes a .npz: for each array its name, type and shape, then its bytes in pieces of any size (C order).
 * Nothing is compressed; the bytes of every array begin at a multiple of 64 in the file, so that they can be
 * mapped. numpy has no BF16, F4, F6 or F8: they are refused. Commit frees the writer and fails if bytes are
 * missing; until then, what existed is untouched. */
typedef struct ct_npz_writer ct_npz_writer;
ct_npz_writer *ct_npz_create(ct_context *context, const char *path);
ct_status ct_npz_begin(ct_npz_writer *writer, const char *name, ct_file_dtype dtype, int rank,
                       const int64_t *shape);
ct_status ct_npz_write(ct_npz_writer *writer, const void *data, size_t size);
ct_status ct_npz_commit(ct_npz_writer *writer);
void ct_npz_abandon(ct_npz_writer *writer);
/* One array as a .npy file. */
ct_status ct_npy_write(ct_context *context, const char *path, ct_file_dtype dtype, int rank,
                       const int64_t *shape, const void *data);

#ifdef __cplusplus
}
#endif
#endif
