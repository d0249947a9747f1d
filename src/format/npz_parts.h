/* npz_parts.h - internal: where the arrays of a .npz file lie. */
#ifndef CARAT_FORMAT_NPZ_PARTS_H
#define CARAT_FORMAT_NPZ_PARTS_H

#include "carat/npz.h"

ct_file *ct_npz_file(const ct_npz *file);
/* Whether the elements lie in the file as ct_npz_read gives them, and from where on. */
bool ct_npz_place(const ct_npz *file, const ct_npz_array *array, uint64_t *offset);
#endif
