/* name_table.h - a hash table from texts to numbers: tensor names, tokens, words. The texts are borrowed. */
#ifndef CARAT_FORMAT_NAME_TABLE_H
#define CARAT_FORMAT_NAME_TABLE_H

#include "carat/base.h"
#include <string.h>

typedef struct ct_name_entry {
    const char *text; /* NULL: free */
    uint32_t length, hash;
    int32_t value;
} ct_name_entry;

typedef struct ct_name_table { /* start with {0} */
    ct_name_entry *entries;
    size_t count, capacity; /* capacity is 0 or a power of two */
} ct_name_table;

static inline uint64_t ct_hash_bytes(const char *text, size_t length) {
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length * 0xff51afd7ed558ccdu, word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0x9fb21c651e98df25u;
        hash ^= hash >> 32;
    }
    word = 0;
    if (length) memcpy(&word, text, length);
    hash = (hash ^ word) * 0x9fb21c651e98df25u;
    hash ^= hash >> 29;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

/* The value of a text, -1 if it is not there. */
static inline int32_t ct_names_get(const ct_name_table *table, const char *text, size_t length) {
    if (!table->capacity) return -1;
    uint32_t hash = (uint32_t)ct_hash_bytes(text, length);
    for (size_t slot = hash;; slot++) {
        const ct_name_entry *entry = &table->entries[slot & (table->capacity - 1)];
        if (!entry->text) return -1;
        if (entry->hash == hash && entry->length == length && memcmp(entry->text, text, length) == 0)
            return entry->value;
    }
}

/* Begins to bring a text's place into the cache: tables of vocabularies do not fit there, and waiting for one
 * place after the other is most of the time of loading a tokenizer. */
static inline void ct_names_prefetch(const ct_name_table *table, const char *text, size_t length) {
    if (table->capacity)
        __builtin_prefetch(&table->entries[ct_hash_bytes(text, length) & (table->capacity - 1)]);
}

/* Makes room for `count` texts in all. */
ct_status ct_names_reserve(ct_context *context, ct_name_table *table, size_t count);
/* Adds a text that is not there yet; `value` >= 0. */
ct_status ct_names_put(ct_context *context, ct_name_table *table, const char *text, size_t length,
                       int32_t value);
void ct_names_free(ct_context *context, ct_name_table *table);
#endif
