/* gguf.h - GGUF, the files of llama.cpp: the metadata of one that is open as an archive, and writing. The format is
 * specified in ggml-org/ggml, docs/gguf.md; versions 2 and 3, little-endian.
 *
 * A value stays where it stood in the file's header until it is asked for: a vocabulary of 256,000 tokens is read
 * through a cursor and never becomes a tree. */
#ifndef CARAT_GGUF_H
#define CARAT_GGUF_H

#include "archive.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ct_gguf_type { /* GGUF's own numbers */
    CT_GGUF_U8,
    CT_GGUF_I8,
    CT_GGUF_U16,
    CT_GGUF_I16,
    CT_GGUF_U32,
    CT_GGUF_I32,
    CT_GGUF_F32,
    CT_GGUF_BOOL,
    CT_GGUF_STRING,
    CT_GGUF_ARRAY,
    CT_GGUF_U64,
    CT_GGUF_I64,
    CT_GGUF_F64,
    CT_GGUF_TYPES
} ct_gguf_type;
const char *ct_gguf_type_name(ct_gguf_type type); /* "u32", "string" */

typedef struct ct_gguf_entry {
    const char *key; /* lives as long as the archive */
    ct_gguf_type type;
    ct_gguf_type item;          /* of an array: the type of its items */
    uint64_t count;             /* of an array: how many */
    const unsigned char *bytes; /* the value, of an array its first item */
    size_t size;
} ct_gguf_entry;

typedef struct ct_gguf ct_gguf;
/* The metadata of an archive that is GGUF; NULL for other formats. */
const ct_gguf *ct_gguf_of(const ct_archive *archive);
size_t ct_gguf_count(const ct_gguf *gguf);
const ct_gguf_entry *ct_gguf_at(const ct_gguf *gguf, size_t index); /* in the file's order; NULL beyond */
const ct_gguf_entry *ct_gguf_find(const ct_gguf *gguf, const char *key);
/* Scalars, with a default where the key is absent or of another kind. Integers convert to reals. */
int64_t ct_gguf_int(const ct_gguf *gguf, const char *key, int64_t otherwise);
double ct_gguf_real(const ct_gguf *gguf, const char *key, double otherwise);
bool ct_gguf_bool(const ct_gguf *gguf, const char *key, bool otherwise);
/* The text, which is not NUL-terminated, and its length; NULL if absent or no string. */
const char *ct_gguf_string(const ct_gguf *gguf, const char *key, size_t *length);

/* The items of an array one after the other: start with ct_gguf_items. A NULL entry or one that is no array has none. */
typedef struct ct_gguf_cursor {
    ct_gguf_type item;
    uint64_t left;
    const unsigned char *place;
} ct_gguf_cursor;
ct_gguf_cursor ct_gguf_items(const ct_gguf_entry *entry);
/* The next item; false at the end or if the items are of another kind. */
bool ct_gguf_next_string(ct_gguf_cursor *cursor, const char **text, size_t *length);
bool ct_gguf_next_int(ct_gguf_cursor *cursor, int64_t *value);
bool ct_gguf_next_real(ct_gguf_cursor *cursor, double *value);

/* -------------------------------------------------------------------------------------------- writing ----- */

/* Keys and tensors are declared first, in any order, then the tensors' bytes are written in the order of declaration,
 * in pieces of any size. Version 3, alignment 32. The file appears when ct_gguf_commit, which frees the writer,
 * has seen all bytes. Keys must not stand twice; names of tensors have at most 63 bytes (GGML's limit). */
typedef struct ct_gguf_writer ct_gguf_writer;
ct_gguf_writer *ct_gguf_create(ct_context *context, const char *path);
ct_status ct_gguf_set_u32(ct_gguf_writer *writer, const char *key, uint32_t value);
ct_status ct_gguf_set_i32(ct_gguf_writer *writer, const char *key, int32_t value);
ct_status ct_gguf_set_u64(ct_gguf_writer *writer, const char *key, uint64_t value);
ct_status ct_gguf_set_f32(ct_gguf_writer *writer, const char *key, float value);
ct_status ct_gguf_set_bool(ct_gguf_writer *writer, const char *key, bool value);
ct_status ct_gguf_set_string(ct_gguf_writer *writer, const char *key, const char *text, size_t length);
/* An array: announced with its length, then filled item by item; the next key or tensor fails unless it is full. */
ct_status ct_gguf_array(ct_gguf_writer *writer, const char *key, ct_gguf_type item, uint64_t count);
ct_status ct_gguf_add_string(ct_gguf_writer *writer, const char *text, size_t length);
ct_status ct_gguf_add_f32(ct_gguf_writer *writer, float value);
ct_status ct_gguf_add_i32(ct_gguf_writer *writer, int32_t value);
/* A key as it stands in another file. */
ct_status ct_gguf_copy_entry(ct_gguf_writer *writer, const ct_gguf_entry *entry);
/* `shape` outermost first, 1 to 4 dimensions (a scalar is written as one element). */
ct_status ct_gguf_declare(ct_gguf_writer *writer, const char *name, ct_element type, int rank, const int64_t *shape);
ct_status ct_gguf_write(ct_gguf_writer *writer, const void *data, size_t size);
ct_status ct_gguf_commit(ct_gguf_writer *writer);
void ct_gguf_abandon(ct_gguf_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
