/* format.h - the files people already have: JSON, JSONL, YAML, safetensors (single files and sharded folders)
 * and Hugging Face model folders. Tokenizers are in tokenizer.h.
 *
 * Every reader treats its input as hostile: lengths, offsets, counts and nesting are checked before they are
 * used, text must be UTF-8, and each refusal is one message that names the file and the line, key or tensor.
 * Every writer replaces files atomically (ct_writer). */
#ifndef CARAT_FORMAT_H
#define CARAT_FORMAT_H

#include "base.h"
#include "dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --------------------------------------------------------------------------------------------------- JSON */

/* RFC 8259, UTF-8, with duplicate keys refused and nesting limited to CT_DEPTH_MAX. Each value carries
 * "name:line" as its origin. Integers that fit int64 are CT_VALUE_INT, other numbers CT_VALUE_REAL (also
 * integers beyond 64 bits: tokenizer_config.json files hold 1000000000000000019884624838656). NaN, Infinity
 * and -Infinity are understood because Python writes them. `name` is for messages and may be NULL. NULL on
 * error. */
#define CT_DEPTH_MAX 200
ct_value *ct_json_parse(ct_context *context, const char *text, size_t length, const char *name);
ct_value *ct_json_read(ct_context *context, const char *path);

typedef enum ct_json_style {
    CT_JSON_COMPACT = 0, /* one line, no blanks: {"ids":[1,2]} */
    CT_JSON_PRETTY = 1,  /* two blanks a level, as Hugging Face files have it */
    CT_JSON_ASCII = 2,   /* \uXXXX for everything beyond ASCII */
    CT_JSON_STRICT = 4   /* NaN and infinities, which JSON lacks, become null instead of Python's words */
} ct_json_style;
/* Numbers read back to the same bits (the shortest of %.15g to %.17g; reals always have a point or exponent).
 * `style` is a sum of ct_json_style. Strings must be UTF-8. A new NUL-terminated string; *length may be NULL.
 */
char *ct_json_text(ct_context *context, const ct_value *value, unsigned style, size_t *length);
/* The same and a newline into a file. */
ct_status ct_json_write(ct_context *context, const char *path, const ct_value *value, unsigned style);

/* One JSON value a line; empty lines are passed over. ct_jsonl_next gives the next value (the caller frees
 * it), NULL at the end or on error (ct_failed tells). A line longer than `limit` bytes is an error. */
typedef struct ct_jsonl ct_jsonl;
ct_jsonl *ct_jsonl_open(ct_context *context, const char *path, size_t limit);
ct_value *ct_jsonl_next(ct_jsonl *reader);
int64_t ct_jsonl_number(const ct_jsonl *reader); /* line of the last value, from 1 */
void ct_jsonl_close(ct_jsonl *reader);

/* --------------------------------------------------------------------------------------------------- YAML */

/* One document in the YAML 1.2 core schema: plain true/false/null, integers (also 0x and 0o), reals (1e-3 is
 * one), everything else a string. Anchors and aliases work within a bound on what they expand to; merge keys
 * ("<<"), duplicate keys, unknown tags and keys that are not scalars are refused. Each value carries
 * "name:line". */
ct_value *ct_yaml_parse(ct_context *context, const char *text, size_t length, const char *name);
ct_value *ct_yaml_read(ct_context *context, const char *path);
/* Block style, lists of scalars in flow style; strings that would read as something else are quoted. */
char *ct_yaml_text(ct_context *context, const ct_value *value, size_t *length);
ct_status ct_yaml_write(ct_context *context, const char *path, const ct_value *value);
/* By the name: *.json as JSON, everything else as YAML. */
ct_value *ct_document_read(ct_context *context, const char *path);

/* -------------------------------------------------------------------------------------------- safetensors */

/* Element types a safetensors file may name, in the reference implementation's order (by size). */
typedef enum ct_file_dtype {
    CT_FILE_BOOL,
    CT_FILE_F4,
    CT_FILE_F6_E2M3,
    CT_FILE_F6_E3M2,
    CT_FILE_U8,
    CT_FILE_I8,
    CT_FILE_F8_E5M2,
    CT_FILE_F8_E4M3,
    CT_FILE_F8_E8M0,
    CT_FILE_I16,
    CT_FILE_U16,
    CT_FILE_F16,
    CT_FILE_BF16,
    CT_FILE_I32,
    CT_FILE_U32,
    CT_FILE_F32,
    CT_FILE_C64,
    CT_FILE_F64,
    CT_FILE_I64,
    CT_FILE_U64,
    CT_FILE_DTYPES
} ct_file_dtype;
const char *ct_file_dtype_name(ct_file_dtype dtype); /* "BF16" */
unsigned ct_file_dtype_bits(ct_file_dtype dtype);    /* of one element */
bool ct_file_dtype_parse(const char *name, ct_file_dtype *dtype);
/* The engine's type of the same bytes (BOOL is CT_U8); false if the engine has none: such tensors can be
 * listed and copied as bytes but not loaded. */
bool ct_file_dtype_engine(ct_file_dtype dtype, ct_dtype *engine);
ct_file_dtype ct_file_dtype_of(ct_dtype engine);

/* Bytes of a tensor, or false if dtype, rank and shape give more than 2^63 - 1 or no whole number of bytes.
 */
bool ct_file_tensor_size(ct_file_dtype dtype, int rank, const int64_t *shape, uint64_t *size);

typedef struct ct_safetensors ct_safetensors;
typedef struct ct_safetensors_tensor {
    const char *name; /* this and shape live as long as the reader */
    const int64_t *shape;
    int rank; /* may be beyond the engine's 8; 0 is a scalar */
    ct_file_dtype dtype;
    int64_t count;   /* elements */
    uint64_t size;   /* bytes */
    uint64_t offset; /* of its first byte from the start of its file */
    int shard;       /* which file: ct_safetensors_file_path */
} ct_safetensors_tensor;

/* `path` is a .safetensors file, a .safetensors.index.json file, or a folder with model.safetensors or
 * model.safetensors.index.json (the first wins, as in transformers; then a folder with exactly one
 * .safetensors file is taken for it). All shards are opened and checked: header within the file and at most
 * 100 MB, offsets in range, in order without overlap or hole, dtype times shape equal to the length, no name
 * twice in a file or in two shards, index and shards naming the same tensors. NULL on error. */
ct_safetensors *ct_safetensors_open(ct_context *context, const char *path);
void ct_safetensors_close(ct_safetensors *file);
size_t ct_safetensors_count(const ct_safetensors *file);
/* Tensors in file order (by offset), shard after shard. */
const ct_safetensors_tensor *ct_safetensors_at(const ct_safetensors *file, size_t index);
/* NULL if absent, without an error; _need records CT_ERROR_NOT_FOUND and the nearest name. */
const ct_safetensors_tensor *ct_safetensors_find(const ct_safetensors *file, const char *name);
const ct_safetensors_tensor *ct_safetensors_need(ct_safetensors *file, const char *name);
/* Reads bytes [offset, offset + size) of the tensor into caller memory. */
ct_status ct_safetensors_read(ct_safetensors *file, const ct_safetensors_tensor *tensor, void *buffer,
                              uint64_t offset, size_t size);
/* The tensor's bytes in a read-only mapping that lives as long as the reader. May be less aligned than its
 * elements: the format promises nothing. NULL on error. */
const void *ct_safetensors_map(ct_safetensors *file, const ct_safetensors_tensor *tensor);
/* Records CT_ERROR_UNSUPPORTED, naming file and tensor, unless the engine can hold the tensor; *dtype is its
 * type. */
ct_status ct_safetensors_loadable(ct_safetensors *file, const ct_safetensors_tensor *tensor, ct_dtype *dtype);
size_t ct_safetensors_files(const ct_safetensors *file);
const char *ct_safetensors_file_path(const ct_safetensors *file, size_t shard);
/* __metadata__ of the shards put together, a map of strings (never NULL; of equal keys the first shard's). */
const ct_value *ct_safetensors_metadata(const ct_safetensors *file);

/* Writes one file, or shards. Tensors are declared first, then their bytes are written in the order of
 * declaration in pieces of any size. In the file they lie as the reference implementation puts them (larger
 * element types first, then by name), so what was read from such a file is written to the same bytes.
 * ct_safetensors_commit frees the writer and fails if bytes are missing; until then, what existed is
 * untouched. Each file is replaced atomically, several shards one after the other: to replace a sharded model
 * as a whole, write it into a new folder and call ct_path_replace. */
typedef struct ct_safetensors_writer ct_safetensors_writer;
ct_safetensors_writer *ct_safetensors_create(ct_context *context, const char *path);
/* Files of a model folder: FOLDER/model.safetensors if all fits into max_shard_size bytes (0: no limit), else
 * FOLDER/model-00001-of-0000N.safetensors and so on with model.safetensors.index.json. Commit removes weight
 * files of those names that an earlier model left in the folder. */
ct_safetensors_writer *ct_safetensors_create_folder(ct_context *context, const char *folder,
                                                    uint64_t max_shard_size);
ct_status ct_safetensors_declare(ct_safetensors_writer *writer, const char *name, ct_file_dtype dtype,
                                 int rank, const int64_t *shape);
/* Adds to __metadata__, which starts as {"format": "pt"}; a key set again is replaced, a NULL value removes
 * it. */
ct_status ct_safetensors_set_metadata(ct_safetensors_writer *writer, const char *key, const char *value);
ct_status ct_safetensors_write(ct_safetensors_writer *writer, const void *data, size_t size);
ct_status ct_safetensors_commit(ct_safetensors_writer *writer);
void ct_safetensors_abandon(ct_safetensors_writer *writer);

/* ------------------------------------------------------------------------------------------ model folders */

/* A path for what the user named: an existing file or folder is itself; "ORG/NAME" is looked up in the local
 * Hugging Face cache (HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub; refs/main, else the newest
 * snapshot). Else CT_ERROR_NOT_FOUND with the download command. A new string. */
char *ct_model_resolve(ct_context *context, const char *name);

typedef struct ct_model_folder {
    char *path;
    ct_value *config;            /* config.json; NULL if there is none */
    ct_value *generation_config; /* generation_config.json; NULL if there is none */
    ct_value *weight_files; /* the safetensors files and their index, a list of names within the folder */
    ct_value
        *other_weights;   /* weights in other formats (.bin, .pt, .gguf, ...): never copied, to be reported */
    ct_value *side_files; /* everything else, also below subfolders ("onnx/config.json") */
} ct_model_folder;
/* Resolves the name (ct_model_resolve) and reads the folder. NULL on error. */
ct_model_folder *ct_model_folder_open(ct_context *context, const char *name);
void ct_model_folder_close(ct_context *context, ct_model_folder *folder);
/* Copies the side files to another folder, byte by byte, but for names in `skip` (NULL-terminated, may be
 * NULL) and for those that `destination` already has. `copied` (may be NULL) receives the names, as a list to
 * append to. */
ct_status ct_model_folder_copy(ct_context *context, const ct_model_folder *folder, const char *destination,
                               const char *const *skip, ct_value *copied);
/* One file, streamed, replaced atomically. */
ct_status ct_file_copy(ct_context *context, const char *from, const char *to);

#ifdef __cplusplus
}
#endif
#endif
