/* idx.c - IDX files, the format of MNIST: two zero bytes, a type, the number of axes, the size of each axis
 * as a big-endian u32, then the elements in row-major order, big-endian. Plain or compressed by gzip (RFC
 * 1952). */
#include <carat/data.h>
#include <string.h>
#include <zlib.h>

enum { INPUT = 1 << 16, PIECE = 1 << 18, DEFLATE_RATIO = 1032 };

/* Bytes one after the other, decompressed where needed. */
typedef struct source {
    ct_context *context;
    ct_file *file;
    const char *path;
    uint64_t at, size; /* of the file */
    bool compressed, inflating, ended;
    z_stream stream;
    unsigned char *input; /* [INPUT] */
} source;

static ct_status cut_short(source *s, const char *what) {
    return ct_fail(s->context, CT_ERROR_FORMAT, "%s: the file ends within %s", s->path, what);
}

static ct_status refill(source *s) {
    uint64_t left = s->size - s->at;
    size_t count = left < INPUT ? (size_t)left : INPUT;
    if (ct_file_pread(s->file, s->input, count, s->at) != CT_OK) return ct_context_status(s->context);
    s->at += count;
    s->stream.next_in = s->input;
    s->stream.avail_in = (uInt)count;
    return CT_OK;
}

/* Up to `size` bytes; *got is less only at the end of the data. */
static ct_status inflate_some(source *s, unsigned char *out, size_t size, size_t *got) {
    s->stream.next_out = out;
    s->stream.avail_out = (uInt)size;
    while (s->stream.avail_out > 0 && !s->ended) {
        if (s->stream.avail_in == 0 && s->at < s->size && refill(s) != CT_OK)
            return ct_context_status(s->context);
        int code = inflate(&s->stream, Z_NO_FLUSH);
        s->ended = code == Z_STREAM_END;
        if (code == Z_BUF_ERROR && s->stream.avail_in == 0 && s->at == s->size)
            return cut_short(s, "its compressed data");
        if (code == Z_MEM_ERROR)
            return ct_fail(s->context, CT_ERROR_MEMORY, "%s: no memory to decompress it", s->path);
        if (code != Z_OK && code != Z_STREAM_END)
            return ct_fail(s->context, CT_ERROR_FORMAT, "%s: damaged gzip data near byte %llu (%s)", s->path,
                           (unsigned long long)(s->at - s->stream.avail_in),
                           s->stream.msg ? s->stream.msg : "unknown");
    }
    *got = size - s->stream.avail_out;
    return CT_OK;
}

static ct_status read_some(source *s, void *out, size_t size, size_t *got) {
    if (s->compressed) return inflate_some(s, out, size, got);
    uint64_t left = s->size - s->at;
    *got = left < size ? (size_t)left : size;
    ct_status status = ct_file_pread(s->file, out, *got, s->at);
    s->at += *got;
    return status;
}

static ct_status read_all(source *s, void *out, uint64_t size, const char *what) {
    unsigned char *bytes = out;
    for (uint64_t done = 0; done < size;) {
        size_t piece = size - done < PIECE ? (size_t)(size - done) : PIECE, got = 0;
        if (read_some(s, bytes + done, piece, &got) != CT_OK) return ct_context_status(s->context);
        if (got < piece) return cut_short(s, what);
        done += got;
    }
    return CT_OK;
}

static ct_status source_open(source *s, ct_context *context, const char *path) {
    unsigned char magic[2] = {0, 0};
    *s = (source){.context = context, .path = path};
    s->file = ct_failed(context) ? NULL : ct_file_open(context, path);
    if (!s->file) return ct_context_status(context);
    s->size = ct_file_size(s->file);
    if (s->size >= 2 && ct_file_pread(s->file, magic, 2, 0) != CT_OK) return ct_context_status(context);
    s->compressed = magic[0] == 0x1f && magic[1] == 0x8b;
    if (!s->compressed) return CT_OK;
    s->input = ct_alloc(context, INPUT, CT_MEMORY_WORKSPACE);
    if (!s->input) return CT_ERROR_MEMORY;
    s->inflating = inflateInit2(&s->stream, 16 + MAX_WBITS) == Z_OK; /* 16: gzip and nothing else */
    return s->inflating ? CT_OK : ct_fail(context, CT_ERROR_MEMORY, "%s: no memory to decompress it", path);
}

static void source_close(source *s) {
    if (s->inflating) inflateEnd(&s->stream);
    ct_free(s->context, s->input);
    ct_file_close(s->file);
}

/* ------------------------------------------------------------------------------------------------ header */

typedef struct idx_type {
    unsigned char code;
    size_t size; /* of an element in the file */
    ct_dtype dtype;
} idx_type;

static const idx_type types[] = {{0x08, 1, CT_U8},  {0x09, 1, CT_I8},  {0x0b, 2, CT_I32},
                                 {0x0c, 4, CT_I32}, {0x0d, 4, CT_F32}, {0x0e, 8, CT_F64}};

typedef struct idx_header {
    const idx_type *type;
    int ndim;
    int64_t shape[CT_MAX_DIMS];
    uint64_t count; /* elements */
} idx_header;

static uint64_t big_endian(const unsigned char *bytes, size_t size) {
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++)
        word = word << 8 | bytes[i];
    return word;
}

static ct_status read_magic(source *s, idx_header *header) {
    unsigned char magic[4];
    if (read_all(s, magic, 4, "its header") != CT_OK) return ct_context_status(s->context);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].code == magic[2]) header->type = &types[i];
    header->ndim = magic[3];
    if (magic[0] == 0 && magic[1] == 0 && header->type && header->ndim >= 1 && header->ndim <= CT_MAX_DIMS)
        return CT_OK;
    return ct_fail(s->context, CT_ERROR_FORMAT,
                   "%s: not an IDX file: it begins with %02x %02x %02x %02x, expected 00 00, a type (08, 09, "
                   "0b, 0c, 0d, "
                   "0e) and 01 to %02x axes",
                   s->path, magic[0], magic[1], magic[2], magic[3], CT_MAX_DIMS);
}

/* More elements than the file can hold are refused before memory is asked for. */
static ct_status read_header(source *s, idx_header *header) {
    if (read_magic(s, header) != CT_OK) return ct_context_status(s->context);
    uint64_t most = (s->compressed ? s->size * DEFLATE_RATIO : s->size) / header->type->size;
    uint64_t span = 1; /* the axes' product without those of 0, which also must fit */
    bool beyond = false, empty = false;
    for (int i = 0; i < header->ndim; i++) {
        unsigned char size[4];
        if (read_all(s, size, 4, "its header") != CT_OK) return ct_context_status(s->context);
        uint64_t n = big_endian(size, 4), factor = n > 0 ? n : 1;
        header->shape[i] = (int64_t)n;
        empty = empty || n == 0;
        beyond = beyond || span > INT64_MAX / 8 / factor;
        span = beyond ? span : span * factor;
    }
    header->count = empty ? 0 : span;
    beyond = beyond || header->count > most;
    if (!beyond) return CT_OK;
    char shape[CT_MAX_DIMS * 13] = "";
    for (int i = 0; i < header->ndim; i++) {
        size_t length = strlen(shape);
        snprintf(shape + length, sizeof(shape) - length, "%s%lld", i ? ", " : "",
                 (long long)header->shape[i]);
    }
    return ct_fail(s->context, CT_ERROR_FORMAT,
                   "%s: the header says [%s], which a file of %llu bytes cannot hold", s->path, shape,
                   (unsigned long long)s->size);
}

/* ---------------------------------------------------------------------------------------------- elements */

static void convert(const idx_header *header, const unsigned char *bytes, size_t count, unsigned char *out) {
    size_t size = header->type->size;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = big_endian(bytes + i * size, size);
        if (size == 8) {
            memcpy(out + i * 8, &word, 8);
        } else {
            int32_t wide = (int16_t)(uint16_t)word; /* 16-bit integers become i32 */
            uint32_t bits = (uint32_t)word;
            memcpy(out + i * 4, size == 2 ? (const void *)&wide : (const void *)&bits, 4);
        }
    }
}

static ct_status read_elements(source *s, const idx_header *header, ct_tensor *tensor) {
    unsigned char *out = ct_data_mutable(tensor);
    size_t size = header->type->size, wide = ct_dtype_size(header->type->dtype);
    if (size == 1) return read_all(s, out, header->count, "its elements");
    unsigned char *piece = ct_alloc(s->context, PIECE, CT_MEMORY_WORKSPACE);
    for (uint64_t done = 0; piece && done < header->count && !ct_failed(s->context);) {
        uint64_t left = header->count - done;
        size_t count = left < PIECE / size ? (size_t)left : PIECE / size;
        if (read_all(s, piece, count * size, "its elements") == CT_OK)
            convert(header, piece, count, out + done * wide);
        done += count;
    }
    ct_free(s->context, piece);
    return ct_context_status(s->context);
}

static ct_status expect_end(source *s) {
    unsigned char byte;
    size_t got = 0;
    if (read_some(s, &byte, 1, &got) != CT_OK) return ct_context_status(s->context);
    bool more = got > 0 || s->at < s->size || s->stream.avail_in > 0;
    if (!more) return CT_OK;
    return ct_fail(s->context, CT_ERROR_FORMAT, "%s: there are bytes after the last element", s->path);
}

ct_tensor *ct_idx_read(ct_context *context, const char *path) {
    source s;
    idx_header header = {0};
    ct_tensor *tensor = NULL;
    if (source_open(&s, context, path) == CT_OK && read_header(&s, &header) == CT_OK)
        tensor = ct_empty(context, header.type->dtype, header.ndim, header.shape);
    if (!ct_failed(context) && tensor && read_elements(&s, &header, tensor) == CT_OK) expect_end(&s);
    source_close(&s);
    return ct_failed(context) ? NULL : tensor;
}
