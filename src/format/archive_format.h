/* archive_format.h - internal: what a file format provides so that its tensors are seen through archive.h.
 *
 * A new format is one file with one `const ct_archive_format`, listed in archive_formats.c. Its open() reads
 * the header, checks it and calls ct_archive_add for each tensor; ct_archive_add checks rank, size, names and
 * extents once more for all formats. Where the bytes of a tensor lie row-major and uncompressed in a file,
 * open() hands that file over (ct_archive_add_file) and gives file and offset: reading is then done here, and
 * by converters with many threads. Only tensors added with file -1 need read(). */
#ifndef CARAT_FORMAT_ARCHIVE_FORMAT_H
#define CARAT_FORMAT_ARCHIVE_FORMAT_H

#include "carat/archive.h"
#include "format/arena.h"
#include "format/name_table.h"

#define CT_ARCHIVE_HEAD 4096     /* bytes of a file that recognise() sees */
#define CT_ARCHIVE_RANK_LIMIT 64 /* dimensions */

struct ct_archive_format {
    const char *name;    /* "npz" */
    const char *summary; /* one line for docs and --help */
    /* Whether a regular file is of this format, by its first bytes (fewer than CT_ARCHIVE_HEAD only if the
     * file is shorter). May look further into `file`, for instance at a zip's directory; must not leave an
     * error. */
    bool (*recognise)(ct_file *file, const unsigned char *head, size_t size);
    /* The file to open when the user names a folder, a new string; NULL without an error if the folder holds
     * none of this format. NULL function: never. A path that recognise() need not see. */
    char *(*locate)(ct_context *context, const char *folder);
    /* Fills the archive: ct_archive_add_file, ct_archive_add, archive->state. On failure close() is called.
     */
    ct_status (*open)(ct_archive *archive, const char *path);
    /* Only for tensors with file -1; the range has been checked. */
    ct_status (*read)(ct_archive *archive, const ct_archive_tensor *tensor, void *buffer, uint64_t offset,
                      size_t size);
    /* A new map; NULL function: an empty one. `most` as in archive.h (ct_archive_cut_lists helps). */
    ct_value *(*metadata)(ct_archive *archive, size_t most);
    /* Frees archive->state, which may be NULL or half made. NULL function: nothing to free. */
    void (*close)(ct_archive *archive);
};

typedef struct ct_archive_file {
    ct_file *file;
    bool owned; /* closed with the archive */
} ct_archive_file;

struct ct_archive {
    ct_context *context;
    const ct_archive_format *format;
    char *path;  /* as the user named it */
    void *state; /* the format's own */
    ct_archive_tensor *tensors;
    int32_t *aliases; /* of each tensor: the index of the tensor whose bytes it shares, or -1 */
    size_t count, capacity;
    ct_name_table names;
    ct_arena texts;
    ct_archive_file *files;
    size_t file_count;
};

/* Adds a file; its number, or -1 after an error. An owned file is closed also then. */
int ct_archive_add_file(ct_archive *archive, ct_file *file, bool owned);
/* Adds a tensor: name and shape are copied. Fails with the name if it stands there already, if the shape is
 * negative or overflows, or if [offset, offset + size) leaves its file. `alias`: index of the tensor whose
 * bytes it shares, or -1. */
ct_status ct_archive_add(ct_archive *archive, const char *name, size_t name_length, ct_element type, int rank,
                         const int64_t *shape, int file, uint64_t offset, int32_t alias);
/* Replaces lists of more than `most` items, at any depth below `map`, by {"count": n, "first": [...]}. */
ct_status ct_archive_cut_lists(ct_context *context, ct_value *map, size_t most);
/* For locate(): FOLDER/NAME if such a file exists; the only file of the folder whose name ends so (none or
 * several: NULL without an error). New strings. */
char *ct_archive_named_file(ct_context *context, const char *folder, const char *name);
char *ct_archive_only_file(ct_context *context, const char *folder, const char *ending);

extern const ct_archive_format ct_archive_safetensors, ct_archive_gguf, ct_archive_torch, ct_archive_npz;

#endif
