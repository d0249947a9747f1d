/* archive.h - one view of every file that holds named tensors: safetensors files and folders, GGUF, npz,
 * PyTorch's zip files. What a file is follows from its content, never from its name's ending.
 *
 * Opening reads headers only, as hostile input: counts, offsets and sizes are checked before they are used,
 * so that what this header hands out can be relied on. Names are unique within an archive. */
#ifndef CARAT_ARCHIVE_H
#define CARAT_ARCHIVE_H

#include "base.h"
#include "dtype.h"
#include "format.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------ element types */

/* Every element type that a file of tensors may hold: the values below CT_FILE_DTYPES are ct_file_dtype's own
 * (a ct_file_dtype may be assigned to a ct_element), those above are GGML's, which store blocks of elements
 * together and which safetensors does not have. */
typedef enum ct_element {
    CT_ELEMENT_Q4_0 = CT_FILE_DTYPES,
    CT_ELEMENT_Q4_1,
    CT_ELEMENT_Q5_0,
    CT_ELEMENT_Q5_1,
    CT_ELEMENT_Q8_0,
    CT_ELEMENT_Q8_1,
    CT_ELEMENT_Q2_K,
    CT_ELEMENT_Q3_K,
    CT_ELEMENT_Q4_K,
    CT_ELEMENT_Q5_K,
    CT_ELEMENT_Q6_K,
    CT_ELEMENT_Q8_K,
    CT_ELEMENT_IQ2_XXS,
    CT_ELEMENT_IQ2_XS,
    CT_ELEMENT_IQ3_XXS,
    CT_ELEMENT_IQ1_S,
    CT_ELEMENT_IQ4_NL,
    CT_ELEMENT_IQ3_S,
    CT_ELEMENT_IQ2_S,
    CT_ELEMENT_IQ4_XS,
    CT_ELEMENT_IQ1_M,
    CT_ELEMENT_TQ1_0,
    CT_ELEMENT_TQ2_0,
    CT_ELEMENT_MXFP4,
    CT_ELEMENTS
} ct_element;

typedef struct ct_element_info {
    const char *name;      /* "BF16", "Q4_K" */
    int block;             /* elements that are stored together: 1, or 2 and 4 (F4, F6), 32, 256 */
    int bytes;             /* of one block */
    int ggml;              /* GGML's number of the type, -1 if it has none */
    bool decodes, encodes; /* ct_element_decode and ct_element_encode know it */
} ct_element_info;
const ct_element_info *ct_element_describe(ct_element type);
const char *ct_element_name(ct_element type);
/* By name, in any case ("q8_0", "BF16"); by GGML's number. */
bool ct_element_parse(const char *name, ct_element *type);
bool ct_element_of_ggml(int64_t number, ct_element *type);
/* Whether safetensors has the type; then it is the ct_file_dtype of the same number. */
static inline bool ct_element_is_plain(ct_element type) {
    return (int)type < (int)CT_FILE_DTYPES;
}
/* Bytes of a tensor; false if they are more than 2^63 - 1 or no whole number of bytes, or if rows (the
 * innermost dimension) of a GGML block type are no whole number of blocks. */
bool ct_element_tensor_size(ct_element type, int rank, const int64_t *shape, uint64_t *size);

/* `count` elements, a whole number of blocks, to f32: exact for what f32 can hold, else rounded to nearest
 * (F64, I32, I64, U32, U64). Any alignment of `from`. False if the type does not decode. Thread-safe; one
 * thread. */
bool ct_element_decode(ct_element type, const void *from, float *to, int64_t count);
/* The reverse for F32, F16, BF16, F64, Q8_0 and Q4_0, to the bits that GGML gives. False if the type does not
 * encode, or if it is a block type and a value is NaN or infinite, which blocks cannot hold. */
bool ct_element_encode(ct_element type, const float *from, void *to, int64_t count);

/* -------------------------------------------------------------------------------------------- the archive */

typedef struct ct_archive ct_archive;

typedef struct ct_archive_tensor {
    const char *name;     /* this and shape live as long as the archive */
    const int64_t *shape; /* outermost dimension first, in all formats */
    int rank;             /* 0 is a scalar; may be beyond the engine's 8 */
    ct_element type;
    int64_t count; /* elements */
    uint64_t size; /* bytes of the row-major elements or blocks, which ct_archive_read gives */
    int file; /* the archive's file in which these bytes lie as they are, from `offset` on; -1: they do not
                 (compressed, strided), and only ct_archive_read can give them */
    uint64_t offset;
    size_t index; /* ct_archive_at(archive, index) is this tensor */
} ct_archive_tensor;

/* `path`: a file; or a folder with such files (what each format takes: docs/files.md). NULL on error: a file
 * of no known format is refused with the list of those that are known. */
ct_archive *ct_archive_open(ct_context *context, const char *path);
void ct_archive_close(ct_archive *archive);
/* "safetensors", "gguf", "npz", "pytorch". */
const char *ct_archive_format_name(const ct_archive *archive);
const char *ct_archive_path(const ct_archive *archive);
ct_context *ct_archive_context(const ct_archive *archive);
size_t ct_archive_count(const ct_archive *archive);
/* In the order of the file; NULL beyond the last. */
const ct_archive_tensor *ct_archive_at(const ct_archive *archive, size_t index);
/* NULL if absent, without an error; _need records CT_ERROR_NOT_FOUND and the nearest name. */
const ct_archive_tensor *ct_archive_find(const ct_archive *archive, const char *name);
const ct_archive_tensor *ct_archive_need(ct_archive *archive, const char *name);
/* Names that are the same bytes as an earlier tensor (tied weights of PyTorch files): NULL if it is not one.
 */
const ct_archive_tensor *ct_archive_alias(const ct_archive *archive, const ct_archive_tensor *tensor);
/* What the file says beside its tensors, a new map (the caller frees it): __metadata__ of safetensors, the
 * keys of GGUF, what stood beside the tensors in a PyTorch file. Of lists with more than `most` items (0: no
 * limit) only the first `most` stand there, as {"count": n, "first": [...]}. */
ct_value *ct_archive_metadata(ct_archive *archive, size_t most);
/* Bytes [offset, offset + size) of the tensor's row-major bytes. Any order works; reading onwards from where
 * the last call for the tensor ended is fast also in compressed files. */
ct_status ct_archive_read(ct_archive *archive, const ct_archive_tensor *tensor, void *buffer, uint64_t offset,
                          size_t size);
/* Elements [first, first + count) as f32; both are whole numbers of blocks. CT_ERROR_UNSUPPORTED names the
 * tensor if its type does not decode. */
ct_status ct_archive_read_f32(ct_archive *archive, const ct_archive_tensor *tensor, float *values,
                              int64_t first, int64_t count);
/* The files that the archive consists of, for reports and for direct reading. */
size_t ct_archive_files(const ct_archive *archive);
const char *ct_archive_file_path(const ct_archive *archive, size_t file);

/* The table of formats. */
typedef struct ct_archive_format ct_archive_format;
extern const ct_archive_format *const ct_archive_formats[]; /* NULL-terminated */
const char *ct_archive_format_title(const ct_archive_format *format);
const char *ct_archive_format_summary(const ct_archive_format *format);

#ifdef __cplusplus
}
#endif
#endif
