/* zip.h - zip archives as numpy and PyTorch write them: entries that are stored or deflated, zip64, any order
 * of reading. */
#ifndef CARAT_FORMAT_ZIP_H
#define CARAT_FORMAT_ZIP_H

#include "carat/base.h"

typedef struct ct_zip ct_zip;
typedef struct ct_zip_entry {
    const char *name; /* UTF-8; lives as long as the archive */
    uint64_t size;    /* of its content */
    uint64_t packed;  /* of its bytes in the file */
    uint64_t header;  /* where its local header begins */
    uint64_t offset;  /* where its bytes begin */
    uint32_t crc;     /* of its content */
    bool deflated;
} ct_zip_entry;

/* Whether the file begins like a zip archive with entries. */
bool ct_zip_is(const unsigned char *bytes, size_t size);

/* Reads and checks the central directory and every local header: entries within the file and without overlap,
 * names unlike each other, both headers of an entry alike, no more content than deflate can hold in its
 * bytes. What is encrypted, spread over several files or packed in other ways is refused. NULL on error. */
ct_zip *ct_zip_open(ct_context *context, const char *path);
void ct_zip_close(ct_zip *zip);
/* Entries in the order of their bytes in the file; folders are left out. */
size_t ct_zip_count(const ct_zip *zip);
const ct_zip_entry *ct_zip_at(const ct_zip *zip, size_t index);
const ct_zip_entry *ct_zip_find(const ct_zip *zip, const char *name); /* NULL if absent, without an error */
const char *ct_zip_path(const ct_zip *zip);
ct_context *ct_zip_context(const ct_zip *zip);
/* PyTorch can be told to write no checksums: its files are read without. On by default. */
void ct_zip_set_check(ct_zip *zip, bool check);
/* Reads bytes [offset, offset + size) of the content. Stored entries have random access. Deflated ones are
 * unpacked from where the last read of them ended, from the start again for what lies before. Who reads an
 * entry from its first byte to its last, in order, has it checked against its checksum. */
ct_status ct_zip_read(ct_zip *zip, const ct_zip_entry *entry, void *buffer, uint64_t offset, size_t size);
/* All of an entry, which is refused if it has more than `limit` bytes, and a NUL after it. */
char *ct_zip_read_all(ct_zip *zip, const ct_zip_entry *entry, uint64_t limit, size_t *length);

/* Writes stored entries one after the other; the path is taken over by commit. `size` bytes follow each
 * begin, in pieces of any size; they start at a multiple of `alignment` (a power of two up to 4096) in the
 * file. */
typedef struct ct_zip_writer ct_zip_writer;
ct_zip_writer *ct_zip_create(ct_context *context, const char *path);
ct_status ct_zip_begin(ct_zip_writer *writer, const char *name, uint64_t size, unsigned alignment);
ct_status ct_zip_write(ct_zip_writer *writer, const void *data, size_t size);
ct_status ct_zip_commit(ct_zip_writer *writer);
void ct_zip_abandon(ct_zip_writer *writer);
#endif
