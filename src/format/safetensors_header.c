/* safetensors_header.c - the header of a safetensors file: 8 bytes of length, JSON of that length, then the
 * data. All that it claims is checked here, so that readers need not. */
#include "format/json_reader.h"
#include "format/safetensors_parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_NAME 120 /* bytes of a name in messages */
#define RANK_LIMIT 64

typedef struct header_parser {
    ct_safetensors *file;
    ct_json_reader reader;
    const char *path;
    int shard;
    uint64_t data_start, data_size;
    const char *name;
    uint64_t begin, end;
} header_parser;

static int shown(const char *text) {
    size_t length = strlen(text);
    return (int)(length < SHOWN_NAME ? length : SHOWN_NAME);
}

static bool refuse(header_parser *parser, const char *format, ...) CT_PRINTF(2, 3);
static bool refuse(header_parser *parser, const char *format, ...) {
    char message[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    ct_fail(parser->file->context, CT_ERROR_FORMAT, "%s: tensor \"%.*s\" %s", parser->path,
            shown(parser->name), parser->name, message);
    return false;
}

/* An integer from 0 to 2^63 - 1, which `event` is or is not. */
static bool read_integer(header_parser *parser, ct_json_event event, const char *what, int64_t *value) {
    if (event == CT_JSON_ERROR) return false;
    if (event == CT_JSON_REAL)
        return refuse(parser, "has %.17g in its %s, expected an integer from 0 to 2^63 - 1",
                      parser->reader.real, what);
    if (event != CT_JSON_INT) return refuse(parser, "has something else than integers in its %s", what);
    *value = parser->reader.integer;
    if (*value < 0)
        return refuse(parser, "has %lld in its %s, expected an integer from 0 to 2^63 - 1", (long long)*value,
                      what);
    return true;
}

static bool read_dtype(header_parser *parser, ct_file_dtype *dtype) {
    char name[32];
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_STRING) return refuse(parser, "has a dtype that is no string");
    snprintf(name, sizeof name, "%.*s",
             (int)(parser->reader.string_length < 31 ? parser->reader.string_length : 31),
             parser->reader.string);
    return ct_file_dtype_parse(name, dtype) || refuse(parser, "is of the unknown type \"%s\"", name);
}

static bool read_shape(header_parser *parser, int64_t shape[RANK_LIMIT], int *rank) {
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_LIST_BEGIN) return refuse(parser, "has a shape that is no list");
    *rank = 0;
    while ((event = ct_json_next(&parser->reader)) != CT_JSON_LIST_END) {
        if (*rank == RANK_LIMIT) return refuse(parser, "has more than %d dimensions", RANK_LIMIT);
        if (!read_integer(parser, event, "shape", &shape[(*rank)++])) return false;
    }
    return true;
}

static bool read_offsets(header_parser *parser) {
    int64_t begin = 0, end = 0;
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_LIST_BEGIN) return refuse(parser, "has data_offsets that are no list");
    if (!read_integer(parser, ct_json_next(&parser->reader), "data_offsets", &begin)) return false;
    if (!read_integer(parser, ct_json_next(&parser->reader), "data_offsets", &end)) return false;
    event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_LIST_END) return refuse(parser, "has more than two data_offsets");
    parser->begin = (uint64_t)begin;
    parser->end = (uint64_t)end;
    return true;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}; each key once. */
static bool read_entry(header_parser *parser, ct_file_dtype *dtype, int64_t shape[RANK_LIMIT], int *rank) {
    unsigned seen = 0;
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_MAP_BEGIN) return refuse(parser, "is not described by a map");
    while ((event = ct_json_next(&parser->reader)) == CT_JSON_KEY) {
        unsigned bit = ct_json_is(&parser->reader, "dtype")          ? 1
                       : ct_json_is(&parser->reader, "shape")        ? 2
                       : ct_json_is(&parser->reader, "data_offsets") ? 4
                                                                     : 0;
        if (!bit)
            return refuse(parser, "has the unknown key \"%.*s\"",
                          (int)(parser->reader.string_length < 40 ? parser->reader.string_length : 40),
                          parser->reader.string);
        if (seen & bit)
            return refuse(parser, "has a key twice (%s)",
                          bit == 1   ? "dtype"
                          : bit == 2 ? "shape"
                                     : "data_offsets");
        seen |= bit;
        if (bit == 1   ? !read_dtype(parser, dtype)
            : bit == 2 ? !read_shape(parser, shape, rank)
                       : !read_offsets(parser))
            return false;
    }
    if (event == CT_JSON_ERROR) return false;
    return seen == 7 || refuse(parser, "lacks %s",
                               !(seen & 1)   ? "dtype"
                               : !(seen & 2) ? "shape"
                                             : "data_offsets");
}

static bool check_entry(header_parser *parser, ct_file_dtype dtype, const int64_t *shape, int rank,
                        uint64_t *size) {
    if (parser->begin > parser->end)
        return refuse(parser, "ends at offset %llu, before its begin at %llu",
                      (unsigned long long)parser->end, (unsigned long long)parser->begin);
    if (parser->end > parser->data_size)
        return refuse(parser, "ends at offset %llu, but the file has only %llu bytes of data",
                      (unsigned long long)parser->end, (unsigned long long)parser->data_size);
    if (!ct_file_tensor_size(dtype, rank, shape, size))
        return refuse(parser, "has a shape whose size in %s is no whole number of bytes below 2^63",
                      ct_file_dtype_name(dtype));
    if (*size != parser->end - parser->begin)
        return refuse(parser, "needs %llu bytes by its shape and type %s, but its data_offsets span %llu",
                      (unsigned long long)*size, ct_file_dtype_name(dtype),
                      (unsigned long long)(parser->end - parser->begin));
    return true;
}

/* Appends a tensor; its name, already in the shape's block, goes into the table of names. */
static bool add_tensor(header_parser *parser, ct_safetensors_tensor tensor) {
    ct_safetensors *file = parser->file;
    if (file->count == file->capacity) {
        size_t capacity = file->capacity * 2 + 64;
        ct_safetensors_tensor *larger =
            ct_realloc(file->context, file->tensors, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return false;
        file->tensors = larger;
        file->capacity = capacity;
    }
    file->tensors[file->count++] = tensor;
    return true;
}

/* The present key names a tensor: copies the name, reads and checks what is said of it. */
static bool read_tensor(header_parser *parser) {
    ct_safetensors *file = parser->file;
    size_t length = parser->reader.string_length;
    int64_t shape[RANK_LIMIT], count = 1;
    int rank = 0;
    ct_file_dtype dtype = CT_FILE_F32;
    uint64_t size = 0;
    if (memchr(parser->reader.string, 0, length)) {
        ct_fail(file->context, CT_ERROR_FORMAT, "%s: a tensor's name holds the character NUL", parser->path);
        return false;
    }
    /* one block: the name, a NUL, and from the next multiple of 8 the shape */
    size_t shape_at = (length + 8) / 8 * 8;
    char *block = ct_alloc(file->context, shape_at + sizeof shape, CT_MEMORY_OTHER);
    if (!block) return false;
    memcpy(block, parser->reader.string, length);
    block[length] = '\0';
    parser->name = block;
    int32_t earlier = ct_names_get(&file->names, block, length);
    bool good = earlier < 0;
    if (!good) {
        const ct_safetensors_tensor *other = &file->tensors[earlier];
        refuse(parser, "stands twice%s%s", other->shard == parser->shard ? "" : ", also in ",
               other->shard == parser->shard ? "" : file->shards[other->shard].path);
    }
    good = good && read_entry(parser, &dtype, shape, &rank) && check_entry(parser, dtype, shape, rank, &size);
    for (int i = 0; good && i < rank; i++)
        count *= shape[i]; /* check_entry saw that it does not overflow */
    if (good) {
        char *exact =
            ct_realloc(file->context, block, shape_at + (size_t)rank * sizeof *shape, CT_MEMORY_OTHER);
        if (exact) {
            block = exact;
            memcpy(block + shape_at, shape, (size_t)rank * sizeof *shape);
            ct_safetensors_tensor tensor = {block,
                                            (const int64_t *)(const void *)(block + shape_at),
                                            rank,
                                            dtype,
                                            count,
                                            size,
                                            parser->data_start + parser->begin,
                                            parser->shard};
            /* from here on the list of tensors owns the block */
            if (add_tensor(parser, tensor))
                return ct_names_put(file->context, &file->names, block, length, (int32_t)file->count - 1) ==
                       CT_OK;
        }
    }
    ct_free(file->context, block);
    return false;
}

static bool read_metadata(header_parser *parser) {
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    ct_value *map = event == CT_JSON_MAP_BEGIN ? ct_json_tree(&parser->reader, event) : NULL;
    if (!map && !ct_failed(parser->file->context))
        ct_fail(parser->file->context, CT_ERROR_FORMAT, "%s: __metadata__ is no map", parser->path);
    bool good = map != NULL;
    for (size_t i = 0; good && i < ct_value_count(map); i++) {
        const ct_value *value = ct_value_at(map, i);
        const char *key = ct_value_key(map, i);
        if (ct_value_kind_of(value) != CT_VALUE_STRING) {
            ct_fail(parser->file->context, CT_ERROR_FORMAT,
                    "%s: __metadata__ key \"%.*s\" is %s, expected a string", parser->path, shown(key), key,
                    ct_value_kind_name(ct_value_kind_of(value)));
            good = false;
        } else if (!ct_value_get(parser->file->metadata, key)) {
            good = ct_value_set(parser->file->metadata, key, ct_value_copy(value)) == CT_OK;
        }
    }
    ct_value_free(map);
    return good;
}

static bool read_entries(header_parser *parser) {
    bool metadata_seen = false;
    ct_json_event event = ct_json_next(&parser->reader);
    if (event == CT_JSON_ERROR) return false;
    if (event != CT_JSON_MAP_BEGIN) {
        ct_fail(parser->file->context, CT_ERROR_FORMAT, "%s: the header is not a JSON map", parser->path);
        return false;
    }
    while ((event = ct_json_next(&parser->reader)) == CT_JSON_KEY) {
        bool metadata = ct_json_is(&parser->reader, "__metadata__");
        if (metadata && metadata_seen) {
            ct_fail(parser->file->context, CT_ERROR_FORMAT, "%s: __metadata__ stands twice", parser->path);
            return false;
        }
        metadata_seen |= metadata;
        if (metadata ? !read_metadata(parser) : !read_tensor(parser)) return false;
    }
    return event == CT_JSON_MAP_END && ct_json_next(&parser->reader) == CT_JSON_END;
}

static int by_offset(const void *left, const void *right) {
    const ct_safetensors_tensor *a = left, *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* The shard's tensors, from `first` on in order of offset, must cover its data without overlap or hole. */
static bool check_cover(header_parser *parser, size_t first) {
    ct_safetensors *file = parser->file;
    uint64_t place = parser->data_start, end = parser->data_start + parser->data_size;
    for (size_t i = first; i < file->count; i++) {
        const ct_safetensors_tensor *tensor = &file->tensors[i];
        parser->name = tensor->name;
        if (tensor->offset < place)
            return refuse(parser, "overlaps tensor \"%.*s\"", shown(file->tensors[i - 1].name),
                          file->tensors[i - 1].name);
        if (tensor->offset > place)
            return refuse(parser, "is preceded by %llu bytes that belong to no tensor",
                          (unsigned long long)(tensor->offset - place));
        place = tensor->offset + tensor->size;
    }
    if (place == end) return true;
    ct_fail(file->context, CT_ERROR_FORMAT, "%s: %llu bytes after the last tensor belong to none",
            parser->path, (unsigned long long)(end - place));
    return false;
}

/* Sorting moved the tensors: the table of names is made again. */
static ct_status renumber(ct_safetensors *file) {
    ct_names_free(file->context, &file->names);
    ct_status status = ct_names_reserve(file->context, &file->names, file->count);
    for (size_t i = 0; i < file->count && status == CT_OK; i++)
        status = ct_names_put(file->context, &file->names, file->tensors[i].name,
                              strlen(file->tensors[i].name), (int32_t)i);
    return status;
}

ct_status ct_safetensors_parse_header(ct_safetensors *file, size_t shard, const char *text, size_t length,
                                      uint64_t data_start, uint64_t data_size) {
    size_t first = file->count;
    header_parser parser = {.file = file,
                            .path = file->shards[shard].path,
                            .shard = (int)shard,
                            .data_start = data_start,
                            .data_size = data_size,
                            .name = ""};
    if (length == 0 || text[0] != '{')
        return ct_fail(file->context, CT_ERROR_FORMAT, "%s: the header does not begin with '{'", parser.path);
    ct_json_begin(&parser.reader, file->context, text, length, parser.path);
    bool good = read_entries(&parser);
    ct_json_release(&parser.reader);
    if (!good) return ct_context_status(file->context);
    if (file->count > first)
        qsort(file->tensors + first, file->count - first, sizeof *file->tensors, by_offset);
    return check_cover(&parser, first) ? renumber(file) : ct_context_status(file->context);
}

ct_status ct_safetensors_read_header(ct_safetensors *file, size_t shard) {
    ct_shard *part = &file->shards[shard];
    unsigned char prefix[8];
    uint64_t length = 0, size = ct_file_size(part->file);
    if (size < 8)
        return ct_fail(file->context, CT_ERROR_FORMAT, "%s: %llu bytes are too few for a safetensors file",
                       part->path, (unsigned long long)size);
    if (ct_file_pread(part->file, prefix, 8, 0) != CT_OK) return ct_context_status(file->context);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length > CT_SAFETENSORS_HEADER_LIMIT)
        return ct_fail(file->context, CT_ERROR_FORMAT,
                       "%s: the header claims %llu bytes, expected at most %u (not a safetensors file?)",
                       part->path, (unsigned long long)length, CT_SAFETENSORS_HEADER_LIMIT);
    if (length > size - 8)
        return ct_fail(file->context, CT_ERROR_FORMAT,
                       "%s: the header claims %llu bytes, but the file has only %llu after it begins",
                       part->path, (unsigned long long)length, (unsigned long long)(size - 8));
    char *text = ct_alloc(file->context, (size_t)length, CT_MEMORY_WORKSPACE);
    if (!text) return ct_context_status(file->context);
    ct_status status = ct_file_pread(part->file, text, (size_t)length, 8);
    if (status == CT_OK)
        status =
            ct_safetensors_parse_header(file, shard, text, (size_t)length, 8 + length, size - 8 - length);
    ct_free(file->context, text);
    return status;
}
