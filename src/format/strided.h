/* strided.h - elements in C order from bytes that lie otherwise: Fortran order, transposed or sliced views.
 */
#ifndef CARAT_FORMAT_STRIDED_H
#define CARAT_FORMAT_STRIDED_H

#include "carat/base.h"

enum { CT_STRIDED_RANK = 64 };

typedef struct ct_strided {
    ct_context *context;
    ct_status (*read)(void *user, void *buffer, uint64_t offset, size_t size); /* bytes of the whole */
    void *user;
    unsigned item; /* bytes of an element, at most 16 */
    bool swapped;  /* big-endian: turned */
    bool halves;   /* complex numbers: each half is turned by itself */
    int rank;
    const int64_t *shape;
    int64_t stride[CT_STRIDED_RANK]; /* in elements, none negative */
    uint64_t first;                  /* the element at index 0, 0, ... */
} ct_strided;

void ct_strided_c_order(ct_strided *view);
void ct_strided_fortran_order(ct_strided *view);
/* Whether the elements lie one after the other as asked for. */
bool ct_strided_is_plain(const ct_strided *view);
/* Elements of the source from the first to behind the last; 0 for none. False if that is beyond 2^63. */
bool ct_strided_extent(const ct_strided *view, uint64_t *extent);
/* Bytes [offset, offset + size) of the elements in C order. All dimensions and the extent were checked by the
 * caller. The source is asked for each run of bytes once in a call, in increasing order where the view allows
 * it; beside the buffer at most 1 MiB is used. */
ct_status ct_strided_read(const ct_strided *view, void *buffer, uint64_t offset, size_t size);
#endif
