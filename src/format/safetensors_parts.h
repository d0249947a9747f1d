/* safetensors_parts.h - what the files of the safetensors reader share. */
#ifndef CARAT_FORMAT_SAFETENSORS_PARTS_H
#define CARAT_FORMAT_SAFETENSORS_PARTS_H

#include "carat/format.h"
#include "format/name_table.h"

#define CT_SAFETENSORS_HEADER_LIMIT 100000000u /* bytes, as the reference implementation has it */
#define CT_SAFETENSORS_INDEX "model.safetensors.index.json"
#define CT_SAFETENSORS_SINGLE "model.safetensors"

typedef struct ct_shard {
    char *path;
    ct_file *file;
    const void *map; /* NULL until asked for */
} ct_shard;

struct ct_safetensors {
    ct_context *context;
    ct_shard *shards;
    size_t shard_count;
    ct_safetensors_tensor *tensors;
    size_t count, capacity;
    ct_name_table names;
    ct_value *metadata;
};

/* Reads the header of a shard that is open and adds its tensors, in order of offset. */
ct_status ct_safetensors_read_header(ct_safetensors *file, size_t shard);
/* The same for a header that lies in memory, of a file with `data_size` bytes after it, the first at
 * data_start. */
ct_status ct_safetensors_parse_header(ct_safetensors *file, size_t shard, const char *text, size_t length,
                                      uint64_t data_start, uint64_t data_size);
/* Opens the index at `path` and the shards it names. */
ct_status ct_safetensors_open_index(ct_safetensors *file, const char *path);
/* Opens one more shard and reads its header. */
ct_status ct_safetensors_add_shard(ct_safetensors *file, const char *path);
#endif
