/* archive_formats.c - the table of file formats that hold named tensors, in the order in which they are
 * tried. */
#include "format/archive_format.h"

const ct_archive_format *const ct_archive_formats[] = {&ct_archive_safetensors, &ct_archive_gguf,
                                                        &ct_archive_torch, &ct_archive_npz, NULL};
