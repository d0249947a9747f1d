/* inspect.h - what a file or folder of weights holds: tensors, metadata, architecture, parameter counts,
 * adapter, tokenizer, shards; from headers alone, with statistics of the values where they are asked for. */
#ifndef CARAT_INSPECT_H
#define CARAT_INSPECT_H

#include <carat/archive.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_tensor_statistics {
    int64_t count, zeros, nans, infinities;
    double min, max, mean, deviation, norm; /* of the finite values (deviation: of all of them, not of a
                                               sample); NaN if there are none */
} ct_tensor_statistics;
/* Streams the tensor through at most `memory` bytes (at least 1 MiB is used). The same bits for any `memory`
 * and any number of threads. Block types are decoded; CT_ERROR_UNSUPPORTED for types that do not decode. */
ct_status ct_archive_statistics(ct_archive *archive, const ct_archive_tensor *tensor, size_t memory,
                                ct_tensor_statistics *statistics);

typedef struct ct_inspect_options {
    bool statistics;
    const char *filter; /* names to list: a pattern with * and ?, or a part of the name; NULL: all */
    int64_t memory;     /* bytes for statistics; 0: 256 MiB */
} ct_inspect_options;

/* A new map (the caller frees it):
 *   path, format, files [{path, bytes}], tensors, elements, bytes (of all; tied tensors once), metadata, shown,
 *   list [{name, dtype, shape, bytes, alias?, statistics?}];
 * of folders also, where they are there:
 *   config (config.json as it is),
 *   model {architecture, class, layers, heads, key_value_heads, width, ..., parameters, embedding, head,
 *          non_embedding, tied},
 *   adapter {type, rank, alpha, target_modules, base_model, ...},
 *   tokenizer {model, tokens, merges, added, special, chat_template},
 *   weights [{file, bytes, read}].
 * `path` may be a name in the Hugging Face cache. A folder with several files of weights that no format
 * claims as its own has those in `weights` and no tensors. NULL on error: shards that are missing are all
 * named. */
ct_value *ct_inspect(ct_context *context, const char *path, const ct_inspect_options *options);

#ifdef __cplusplus
}
#endif
#endif
