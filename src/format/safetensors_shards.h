/* safetensors_shards.h - the writer's parts: which tensor goes where. */
#ifndef CARAT_FORMAT_SAFETENSORS_SHARDS_H
#define CARAT_FORMAT_SAFETENSORS_SHARDS_H

#include "carat/format.h"
#include "format/name_table.h"

typedef struct ct_written_tensor {
    char *name;
    int64_t *shape;
    int rank;
    ct_file_dtype dtype;
    uint64_t size, offset; /* offset in its file, once laid out */
    size_t shard;
} ct_written_tensor;

typedef struct ct_written_shard {
    char *name; /* within the folder */
    ct_writer *file;
} ct_written_shard;

struct ct_safetensors_writer {
    ct_context *context;
    char *path; /* the file or the folder */
    bool is_folder, laid_out;
    uint64_t max_shard_size, total;
    ct_value *metadata;
    ct_written_tensor *tensors; /* in order of declaration */
    size_t count, capacity;
    ct_name_table names;
    ct_written_shard *shards;
    size_t shard_count;
    size_t current; /* the tensor that bytes go to, and how many it has */
    uint64_t position;
};

/* Ends the declarations: deals the tensors out to shards, opens these and writes their headers. */
ct_status ct_safetensors_lay_out(ct_safetensors_writer *writer);
/* After all shards are in place: the index, if there is more than one; and removes an earlier model's weight
 * files. */
ct_status ct_safetensors_finish_folder(ct_safetensors_writer *writer);
#endif
