/* torch_zip.h - what the files of the reader of PyTorch's checkpoints share. */
#ifndef CARAT_FORMAT_TORCH_ZIP_H
#define CARAT_FORMAT_TORCH_ZIP_H

#include "carat/tokenizer.h" /* ct_bytes */
#include "format/archive_format.h"
#include "format/pickle.h"
#include "format/zip.h"

typedef struct ct_torch_shard {
    ct_zip *zip;
    char *prefix; /* of its entries: "archive/" */
    bool swapped; /* written on a big-endian machine */
    int file;     /* its number in the archive */
} ct_torch_shard;

/* Where a tensor lies; in the order of the archive's tensors. */
typedef struct ct_torch_view {
    int shard;
    const ct_zip_entry *entry;
    uint64_t first;  /* element of the entry */
    int64_t *stride; /* in elements; NULL: one after the other */
} ct_torch_view;

typedef struct ct_torch {
    ct_torch_shard *shards;
    size_t shard_count;
    ct_torch_view *views;
    size_t capacity;
    ct_value *metadata;  /* what stands beside the tensors */
    ct_name_table known; /* places of tensors, by a text that describes them: finds tied ones */
    ct_arena texts;
} ct_torch;

/* Adds a tensor of the present shard under a name. */
ct_status ct_torch_add(ct_archive *archive, const char *name, size_t length, const ct_pickle_tensor *tensor);
/* All tensors below the root, named by their path with dots; what is no tensor goes into the metadata. */
ct_status ct_torch_flatten(ct_archive *archive, const ct_pickle *pickle);
#endif
