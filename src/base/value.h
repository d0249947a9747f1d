/* value.h - internal: the representation of values. Only value*.c look inside. */
#ifndef CARAT_BASE_VALUE_H
#define CARAT_BASE_VALUE_H

#include "base/context.h"

enum {
    CT_VALUE_INLINE = 31, /* strings up to this long live in the value itself */
    CT_VALUE_OUTSIDE = 255,
    CT_VALUE_DEEPEST = 4096,  /* copies and comparisons stop here; parsers stop at 512 */
    CT_VALUE_INDEX_FROM = 17, /* maps of so many keys have a hash index */
};

/* The name of a file that values came from, shared by them. */
typedef struct ct_origin {
    struct ct_origin *previous, *next;
    size_t users;
    char name[];
} ct_origin;

typedef struct ct_map_entry {
    const char *key; /* in the map's key chunks */
    ct_value *item;
    uint64_t hash;
} ct_map_entry;

/* Keys are kept together in chunks that never move; a removed key's bytes stay until the map goes. */
typedef struct ct_key_chunk {
    struct ct_key_chunk *next;
    size_t used, size;
    char bytes[];
} ct_key_chunk;

typedef struct ct_map {
    ct_map_entry *entries;
    size_t count, capacity;
    ct_key_chunk *chunks;
    uint32_t *index;   /* open addressing, entry number + 1, 0 empty; NULL while the map is small */
    size_t index_size; /* a power of two, at least twice the count */
} ct_map;

typedef struct ct_items {
    ct_value **data;
    size_t count, capacity;
} ct_items;

struct ct_value {
    uint8_t kind;
    bool owned;            /* within a list or map */
    uint8_t inline_length; /* of a string kept in `text`, else CT_VALUE_OUTSIDE */
    uint8_t cell;          /* which cell of its slab this is */
    int32_t line;
    union {
        ct_origin *origin;
        ct_value *next_to_free; /* while a tree is being freed */
    };
    union {
        bool boolean;
        int64_t integer;
        double real;
        char text[CT_VALUE_INLINE + 1];
        struct {
            char *bytes;
            size_t length;
        } string;
        ct_items list;
        ct_map *map;
    };
};

/* The context that a value belongs to. */
ct_context *ct_value_context(const ct_value *value);

ct_map *ct_map_create(ct_context *context);
/* Frees the map's own tables; the items must have been taken out. */
void ct_map_destroy(ct_context *context, ct_map *map);
/* The entry's number, or -1. */
ptrdiff_t ct_map_find(const ct_context *context, const ct_map *map, const char *key);
/* Adds a key that is not yet there; false with the error recorded. */
bool ct_map_add(ct_context *context, ct_map *map, const char *key, ct_value *item);
/* Takes an entry out; the order of the others stays. */
ct_value *ct_map_take(ct_context *context, ct_map *map, size_t number);

#endif
