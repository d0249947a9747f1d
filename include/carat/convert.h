/* convert.h - files of weights rewritten: another format, another element type, other shards; the same
 * numbers.
 *
 * safetensors, PyTorch zip, npz and GGUF are read (archive.h); safetensors, GGUF and npz are written. Between
 * Hugging Face folders and GGUF the names, shapes, hyperparameters, tokenizer and chat template are
 * translated as llama.cpp has them, for gpt2, llama, mistral, qwen2, qwen3, gemma2 and bert.
 *
 * Everything streams in pieces of bounded size, whatever the size of a tensor; results do not depend on the
 * number of threads. The output takes its name when it is whole: a conversion that fails or is stopped leaves
 * what was there. */
#ifndef CARAT_CONVERT_H
#define CARAT_CONVERT_H

#include "archive.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_convert_options {
    const char
        *to; /* "safetensors", "gguf", "npz"; NULL: as the output's name ends, else a safetensors folder */
    const char *dtype; /* "f32", "f16", "bf16", "f64", "q8_0", "q4_0": for tensors of real numbers; NULL: as
                        * they are (from GGUF's blocks to other formats: f32) */
    uint64_t max_shard_size; /* bytes of tensors in a file of a safetensors folder; 0: no limit */
    uint64_t memory;         /* what the conversion may allocate at a time; 0: no limit */
} ct_convert_options;

/* `input`: a file, a folder, or a name in the Hugging Face cache. `output`: a file *.gguf, *.npz or
 * *.safetensors, which holds the tensors under their own names, or else a folder, which becomes a model
 * folder with everything that the input has beside its weights. GGUF needs a model folder or GGUF as input.
 *
 * In GGUF, vectors, norms, position and token type embeddings are F32, as in llama.cpp's files; with q8_0 and
 * q4_0, matrices whose rows are no whole number of blocks are F16, and with q4_0 the token embedding and the
 * head are Q8_0.
 *
 * `report` (may be NULL) receives a new map: "from", "to", "architecture" (if translated), "tensors",
 * "bytes", "types" (how many tensors of each), "dropped" (tensors that the target has no place for), "copied"
 * (side files). */
ct_status ct_convert(ct_context *context, const char *input, const char *output,
                     const ct_convert_options *options, ct_value **report);

#ifdef __cplusplus
}
#endif
#endif
