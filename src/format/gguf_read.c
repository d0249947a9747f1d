/* gguf_read.c - the header of a GGUF file: magic, version, counts, keys. Nothing it claims is believed before
 * the file has shown as many bytes. */
#include "format/gguf_parts.h"
#include "format/utf8.h"
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[CT_GGUF_TYPES] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                          {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                          {"u64", 8}, {"i64", 8}, {"f64", 8}};

const char *ct_gguf_type_name(ct_gguf_type type) {
    return (unsigned)type < CT_GGUF_TYPES ? types[type].name : "unknown";
}
size_t ct_gguf_type_size(ct_gguf_type type) {
    return types[type].size;
}

ct_status ct_gguf_refuse(ct_gguf *gguf, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return ct_fail(gguf->context, CT_ERROR_FORMAT, "%s: %s", ct_file_path(gguf->file), message);
}

void ct_gguf_free(ct_gguf *gguf) {
    if (!gguf) return;
    ct_free(gguf->context, gguf->bytes);
    ct_free(gguf->context, gguf->entries);
    ct_names_free(gguf->context, &gguf->names);
    ct_arena_free(gguf->context, &gguf->texts);
    ct_free(gguf->context, gguf);
}

/* Brings the file's bytes up to `end` into memory, in steps that double. */
static ct_status bring(ct_gguf *gguf, size_t end) {
    uint64_t size = ct_file_size(gguf->file);
    size_t wanted = gguf->have < 32768 ? 65536 : gguf->have * 2;
    if (wanted < end) wanted = end;
    if (wanted > size) wanted = (size_t)size;
    unsigned char *larger = ct_realloc(gguf->context, gguf->bytes, wanted, CT_MEMORY_OTHER);
    if (!larger) return ct_context_status(gguf->context);
    gguf->bytes = larger;
    ct_status status = ct_file_pread(gguf->file, larger + gguf->have, wanted - gguf->have, gguf->have);
    if (!status) gguf->have = wanted;
    return status;
}

const unsigned char *ct_gguf_take(ct_gguf *gguf, uint64_t size, const char *what) {
    uint64_t left = ct_file_size(gguf->file) - gguf->position;
    if (size > left) {
        ct_gguf_refuse(gguf, "%s at offset %zu needs %llu bytes, but the file has %llu more", what,
                       gguf->position, (unsigned long long)size, (unsigned long long)left);
        return NULL;
    }
    if (gguf->position + size > CT_GGUF_HEADER_LIMIT) {
        ct_gguf_refuse(gguf, "the header has more than %zu bytes", CT_GGUF_HEADER_LIMIT);
        return NULL;
    }
    size_t end = gguf->position + (size_t)size;
    if (end > gguf->have && bring(gguf, end)) return NULL;
    const unsigned char *bytes = gguf->bytes + gguf->position;
    gguf->position = end;
    return bytes;
}

static bool take_type(ct_gguf *gguf, const char *key, ct_gguf_type *type) {
    const unsigned char *bytes = ct_gguf_take(gguf, 4, "a value's type");
    if (!bytes) return false;
    uint32_t number = ct_gguf_u32(bytes);
    if (number >= CT_GGUF_TYPES) {
        ct_gguf_refuse(gguf, "key \"%.120s\" is of the unknown type %u, expected 0 to %d", key, number,
                       CT_GGUF_TYPES - 1);
        return false;
    }
    *type = (ct_gguf_type)number;
    return true;
}

static bool pass_value(ct_gguf *gguf, const char *key, ct_gguf_type type, int depth);

/* Passes over an array from its items' type on; the count is checked against the bytes that the items need at
 * least. */
static bool pass_array(ct_gguf *gguf, const char *key, int depth, ct_gguf_type *item, uint64_t *count,
                       size_t *first) {
    if (depth > CT_GGUF_DEPTH_LIMIT) {
        ct_gguf_refuse(gguf, "key \"%.120s\" nests arrays deeper than %d", key, CT_GGUF_DEPTH_LIMIT);
        return false;
    }
    if (!take_type(gguf, key, item)) return false;
    const unsigned char *bytes = ct_gguf_take(gguf, 8, "an array's length");
    if (!bytes) return false;
    *count = ct_gguf_u64(bytes);
    *first = gguf->position;
    size_t least = *item == CT_GGUF_STRING ? 8 : *item == CT_GGUF_ARRAY ? 12 : types[*item].size;
    uint64_t left = ct_file_size(gguf->file) - gguf->position;
    if (*count > left / least) {
        ct_gguf_refuse(gguf,
                       "key \"%.120s\" is an array of %llu %s items, but the file has only %llu more bytes",
                       key, (unsigned long long)*count, types[*item].name, (unsigned long long)left);
        return false;
    }
    if (*item != CT_GGUF_STRING && *item != CT_GGUF_ARRAY && *item != CT_GGUF_BOOL)
        return ct_gguf_take(gguf, *count * least, "an array") != NULL;
    for (uint64_t i = 0; i < *count; i++)
        if (!pass_value(gguf, key, *item, depth + 1)) return false;
    return true;
}

static bool pass_value(ct_gguf *gguf, const char *key, ct_gguf_type type, int depth) {
    ct_gguf_type item;
    uint64_t count;
    size_t first;
    if (type == CT_GGUF_ARRAY) return pass_array(gguf, key, depth, &item, &count, &first);
    const unsigned char *bytes = ct_gguf_take(gguf, type == CT_GGUF_STRING ? 8 : types[type].size, "a value");
    if (bytes && type == CT_GGUF_STRING) return ct_gguf_take(gguf, ct_gguf_u64(bytes), "a string") != NULL;
    if (bytes && type == CT_GGUF_BOOL && *bytes > 1) {
        ct_gguf_refuse(gguf, "key \"%.120s\" has the truth value %d, expected 0 or 1", key, *bytes);
        return false;
    }
    return bytes != NULL;
}

/* The name of a key or tensor, copied. */
static char *take_name(ct_gguf *gguf) {
    const unsigned char *bytes = ct_gguf_take(gguf, 8, "a key");
    if (!bytes) return NULL;
    uint64_t length = ct_gguf_u64(bytes);
    if (length == 0 || length > CT_GGUF_NAME_LIMIT) {
        ct_gguf_refuse(gguf, "a key at offset %zu has %llu bytes, expected 1 to %d", gguf->position - 8,
                       (unsigned long long)length, CT_GGUF_NAME_LIMIT);
        return NULL;
    }
    bytes = ct_gguf_take(gguf, length, "a key");
    if (!bytes) return NULL;
    if (memchr(bytes, 0, (size_t)length)) {
        ct_gguf_refuse(gguf, "a key at offset %zu holds the character NUL", gguf->position - (size_t)length);
        return NULL;
    }
    if (ct_utf8_check((const char *)bytes, (size_t)length) != length) {
        ct_gguf_refuse(gguf, "a key at offset %zu is no text in UTF-8", gguf->position - (size_t)length);
        return NULL;
    }
    return ct_arena_copy(gguf->context, &gguf->texts, (const char *)bytes, (size_t)length);
}

static ct_gguf_entry *new_entry(ct_gguf *gguf) {
    if (gguf->count == gguf->capacity) {
        size_t capacity = gguf->capacity * 2 + 32;
        ct_gguf_entry *larger =
            ct_realloc(gguf->context, gguf->entries, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return NULL;
        gguf->entries = larger;
        gguf->capacity = capacity;
    }
    return &gguf->entries[gguf->count];
}

/* One key with its value. Until all is read, `bytes` holds the value's offset: the bytes still move. */
static bool read_entry(ct_gguf *gguf) {
    ct_gguf_entry *entry = new_entry(gguf);
    char *key = entry ? take_name(gguf) : NULL;
    if (!key) return false;
    if (ct_names_get(&gguf->names, key, strlen(key)) >= 0) {
        ct_gguf_refuse(gguf, "key \"%.120s\" stands twice", key);
        return false;
    }
    ct_gguf_type type;
    if (!take_type(gguf, key, &type)) return false;
    *entry = (ct_gguf_entry){.key = key, .type = type, .item = type, .count = 1};
    size_t first = gguf->position;
    bool good = type == CT_GGUF_ARRAY ? pass_array(gguf, key, 1, &entry->item, &entry->count, &first)
                                      : pass_value(gguf, key, type, 0);
    entry->bytes = (const unsigned char *)(uintptr_t)first;
    entry->size = gguf->position - first;
    return good &&
           ct_names_put(gguf->context, &gguf->names, key, strlen(key), (int32_t)gguf->count++) == CT_OK;
}

static ct_status read_counts(ct_gguf *gguf, uint64_t *key_count) {
    const unsigned char *bytes = ct_gguf_take(gguf, 24, "the header");
    if (!bytes) return ct_context_status(gguf->context);
    gguf->version = ct_gguf_u32(bytes + 4);
    if (gguf->version == 1) return ct_gguf_refuse(gguf, "is GGUF of version 1, expected 2 or 3");
    if ((gguf->version & 0xffff) == 0 && gguf->version)
        return ct_gguf_refuse(gguf, "is a big-endian GGUF file, which is not read");
    if (gguf->version < 2 || gguf->version > 3)
        return ct_gguf_refuse(gguf, "is GGUF of version %u, expected 2 or 3", gguf->version);
    gguf->tensor_count = ct_gguf_u64(bytes + 8);
    *key_count = ct_gguf_u64(bytes + 16);
    uint64_t left = ct_file_size(gguf->file) - gguf->position;
    if (*key_count > left / 14 || gguf->tensor_count > left / 25) /* the least bytes of each */
        return ct_gguf_refuse(gguf, "claims %llu keys and %llu tensors, but has only %llu more bytes",
                              (unsigned long long)*key_count, (unsigned long long)gguf->tensor_count,
                              (unsigned long long)left);
    return CT_OK;
}

ct_status ct_gguf_read_keys(ct_gguf *gguf) {
    uint64_t key_count = 0;
    if (read_counts(gguf, &key_count)) return ct_context_status(gguf->context);
    for (uint64_t i = 0; i < key_count; i++)
        if (!read_entry(gguf)) return ct_context_status(gguf->context);
    return CT_OK;
}

void ct_gguf_settle(ct_gguf *gguf) {
    for (size_t i = 0; i < gguf->count; i++)
        gguf->entries[i].bytes = gguf->bytes + (uintptr_t)gguf->entries[i].bytes;
}

/* ------------------------------------------------------------------------------------------------ looking */

size_t ct_gguf_count(const ct_gguf *gguf) {
    return gguf->count;
}
const ct_gguf_entry *ct_gguf_at(const ct_gguf *gguf, size_t index) {
    return index < gguf->count ? &gguf->entries[index] : NULL;
}
const ct_gguf_entry *ct_gguf_find(const ct_gguf *gguf, const char *key) {
    int32_t index = ct_names_get(&gguf->names, key, strlen(key));
    return index < 0 ? NULL : &gguf->entries[index];
}

static bool as_int(ct_gguf_type type, const unsigned char *bytes, int64_t *value) {
    uint64_t raw = 0;
    for (size_t i = 0; i < types[type].size; i++)
        raw |= (uint64_t)bytes[i] << 8 * i;
    switch (type) {
    case CT_GGUF_I8:
        *value = (int8_t)raw;
        return true;
    case CT_GGUF_I16:
        *value = (int16_t)raw;
        return true;
    case CT_GGUF_I32:
        *value = (int32_t)raw;
        return true;
    case CT_GGUF_U8:
    case CT_GGUF_U16:
    case CT_GGUF_U32:
    case CT_GGUF_BOOL:
    case CT_GGUF_I64:
        *value = (int64_t)raw;
        return true;
    case CT_GGUF_U64:
        *value = (int64_t)raw;
        return raw <= INT64_MAX;
    default:
        return false;
    }
}

static bool as_real(ct_gguf_type type, const unsigned char *bytes, double *value) {
    float single;
    int64_t integer;
    if (type == CT_GGUF_F32) {
        memcpy(&single, bytes, 4);
        *value = (double)single;
        return true;
    }
    if (type == CT_GGUF_F64) {
        memcpy(value, bytes, 8);
        return true;
    }
    if (!as_int(type, bytes, &integer)) return false;
    *value = (double)integer;
    return true;
}

int64_t ct_gguf_int(const ct_gguf *gguf, const char *key, int64_t otherwise) {
    const ct_gguf_entry *entry = ct_gguf_find(gguf, key);
    int64_t value;
    return entry && as_int(entry->type, entry->bytes, &value) ? value : otherwise;
}
double ct_gguf_real(const ct_gguf *gguf, const char *key, double otherwise) {
    const ct_gguf_entry *entry = ct_gguf_find(gguf, key);
    double value;
    return entry && as_real(entry->type, entry->bytes, &value) ? value : otherwise;
}
bool ct_gguf_bool(const ct_gguf *gguf, const char *key, bool otherwise) {
    const ct_gguf_entry *entry = ct_gguf_find(gguf, key);
    return entry && entry->type == CT_GGUF_BOOL ? *entry->bytes != 0 : otherwise;
}
const char *ct_gguf_string(const ct_gguf *gguf, const char *key, size_t *length) {
    const ct_gguf_entry *entry = ct_gguf_find(gguf, key);
    if (!entry || entry->type != CT_GGUF_STRING) return NULL;
    *length = (size_t)ct_gguf_u64(entry->bytes);
    return (const char *)entry->bytes + 8;
}

ct_gguf_cursor ct_gguf_items(const ct_gguf_entry *entry) {
    if (!entry || entry->type != CT_GGUF_ARRAY) return (ct_gguf_cursor){0};
    return (ct_gguf_cursor){entry->item, entry->count, entry->bytes};
}
bool ct_gguf_next_string(ct_gguf_cursor *cursor, const char **text, size_t *length) {
    if (!cursor->left || cursor->item != CT_GGUF_STRING) return false;
    *length = (size_t)ct_gguf_u64(cursor->place);
    *text = (const char *)cursor->place + 8;
    cursor->place += 8 + *length;
    cursor->left--;
    return true;
}
bool ct_gguf_next_int(ct_gguf_cursor *cursor, int64_t *value) {
    if (!cursor->left || !as_int(cursor->item, cursor->place, value)) return false;
    cursor->place += types[cursor->item].size;
    cursor->left--;
    return true;
}
bool ct_gguf_next_real(ct_gguf_cursor *cursor, double *value) {
    if (!cursor->left || !as_real(cursor->item, cursor->place, value)) return false;
    cursor->place += types[cursor->item].size;
    cursor->left--;
    return true;
}
