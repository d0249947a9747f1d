/* archive_sink.h - internal: writers that let many threads write one tensor. */
#ifndef CARAT_FORMAT_ARCHIVE_SINK_H
#define CARAT_FORMAT_ARCHIVE_SINK_H

#include "carat/format.h"
#include "carat/gguf.h"

/* Where the next tensor in order of declaration lies. It counts as written: the caller writes all of its
 * bytes with ct_writer_pwrite_task before commit. */
ct_status ct_safetensors_place(ct_safetensors_writer *writer, ct_writer **file, uint64_t *offset);
ct_status ct_gguf_place(ct_gguf_writer *writer, ct_writer **file, uint64_t *offset);

#endif
