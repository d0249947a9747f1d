/* npy_header.h - the header before the elements of a .npy file. */
#ifndef CARAT_FORMAT_NPY_HEADER_H
#define CARAT_FORMAT_NPY_HEADER_H

#include "carat/format.h"

enum {
    CT_NPY_RANK = 64,   /* numpy's own limit */
    CT_NPY_PREFIX = 12, /* bytes that tell how long the header is */
    CT_NPY_HEADER_LIMIT = 1 << 20
};

typedef struct ct_npy_header {
    char descr[64]; /* cut where it is longer: such types are never readable */
    ct_file_dtype dtype;
    bool readable, fortran, swapped;
    unsigned item; /* bytes of an element as `descr` says; 0 if it cannot be told */
    int rank;
    int64_t shape[CT_NPY_RANK];
} ct_npy_header;

/* From the first bytes of a file (at least 10): where the elements begin. False with an error, which `where`
 * opens, if it is no .npy file or its header is too long. */
bool ct_npy_prefix(ct_context *context, const unsigned char *bytes, size_t size, const char *where,
                   size_t *text_at, size_t *text_size);
/* The dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }. */
bool ct_npy_parse(ct_context *context, const char *text, size_t length, const char *where,
                  ct_npy_header *header);
/* Prefix and dictionary for a new file, padded so that the elements begin at a multiple of 64. False, without
 * an error, for a type that numpy lacks. */
bool ct_npy_make(ct_file_dtype dtype, int rank, const int64_t *shape, char *text, size_t capacity,
                 size_t *length);
#endif
