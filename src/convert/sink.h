/* sink.h - internal: one way to write the formats that conversions make. */
#ifndef CARAT_CONVERT_SINK_H
#define CARAT_CONVERT_SINK_H

#include "carat/npz.h"
#include "convert/plan.h"

typedef struct ct_sink { /* one of these is not NULL */
    ct_safetensors_writer *safetensors;
    ct_gguf_writer *gguf;
    ct_npz_writer *npz;
} ct_sink;

/* Declares all tensors of the plan. */
ct_status ct_sink_declare(ct_sink *sink, const ct_plan *plan);
/* Begins the next tensor. *file: where many threads may write it from *offset on; NULL: only ct_sink_write
 * can. */
ct_status ct_sink_begin(ct_sink *sink, const ct_plan_tensor *tensor, ct_writer **file, uint64_t *offset);
ct_status ct_sink_write(ct_sink *sink, const void *data, size_t size);
ct_status ct_sink_commit(ct_sink *sink);
void ct_sink_abandon(ct_sink *sink);

/* Writes all tensors of the plan, in order. */
ct_status ct_stream(const ct_plan *plan, ct_sink *sink, uint64_t memory);

#endif
