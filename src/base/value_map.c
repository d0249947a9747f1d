/* value_map.c - the map of a value: entries in order of insertion, found by scanning while there are few and
 * through a hash index when there are many. */
#include "base/value.h"
#include <string.h>

/* FNV-1a from a start that differs from run to run, then mixed so that the low bits depend on all. */
static uint64_t hash_of(const ct_context *context, const char *key, size_t *length) {
    uint64_t hash = 0xcbf29ce484222325u ^ context->hash_seed;
    const unsigned char *c = (const unsigned char *)key;
    for (; *c; c++)
        hash = (hash ^ *c) * 0x100000001b3u;
    *length = (size_t)(c - (const unsigned char *)key);
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

ct_map *ct_map_create(ct_context *context) {
    return ct_alloc_zero(context, sizeof(ct_map), CT_MEMORY_OTHER);
}

void ct_map_destroy(ct_context *context, ct_map *map) {
    while (map->chunks) {
        ct_key_chunk *next = map->chunks->next;
        ct_free(context, map->chunks);
        map->chunks = next;
    }
    ct_free(context, map->index);
    ct_free(context, map->entries);
    ct_free(context, map);
}

ptrdiff_t ct_map_find(const ct_context *context, const ct_map *map, const char *key) {
    if (!map->index) {
        for (size_t i = 0; i < map->count; i++)
            if (strcmp(map->entries[i].key, key) == 0) return (ptrdiff_t)i;
        return -1;
    }
    size_t length;
    uint64_t hash = hash_of(context, key, &length);
    for (size_t slot = hash & (map->index_size - 1);; slot = (slot + 1) & (map->index_size - 1)) {
        uint32_t number = map->index[slot];
        if (!number) return -1;
        const ct_map_entry *entry = &map->entries[number - 1];
        if (entry->hash == hash && strcmp(entry->key, key) == 0) return (ptrdiff_t)number - 1;
    }
}

static void index_entry(ct_map *map, size_t number) {
    size_t slot = map->entries[number].hash & (map->index_size - 1);
    while (map->index[slot])
        slot = (slot + 1) & (map->index_size - 1);
    map->index[slot] = (uint32_t)number + 1;
}

static bool rebuild_index(ct_context *context, ct_map *map, size_t size) {
    if (size != map->index_size) {
        uint32_t *index = ct_alloc(context, size * sizeof *index, CT_MEMORY_OTHER);
        if (!index) return false;
        ct_free(context, map->index);
        map->index = index;
        map->index_size = size;
    }
    memset(map->index, 0, size * sizeof *map->index);
    for (size_t i = 0; i < map->count; i++)
        index_entry(map, i);
    return true;
}

static const char *keep_key(ct_context *context, ct_map *map, const char *key, size_t length) {
    ct_key_chunk *chunk = map->chunks;
    if (!chunk || chunk->size - chunk->used < length + 1) {
        size_t size = chunk ? chunk->size * 2 : 128 - sizeof(ct_key_chunk);
        if (size > (size_t)1 << 16) size = (size_t)1 << 16;
        if (size < length + 1) size = length + 1;
        ct_key_chunk *fresh = ct_alloc(context, sizeof *fresh + size, CT_MEMORY_OTHER);
        if (!fresh) return NULL;
        *fresh = (ct_key_chunk){chunk, 0, size};
        map->chunks = chunk = fresh;
    }
    char *kept = chunk->bytes + chunk->used;
    memcpy(kept, key, length + 1);
    chunk->used += length + 1;
    return kept;
}

bool ct_map_add(ct_context *context, ct_map *map, const char *key, ct_value *item) {
    if (map->count >= UINT32_MAX / 4) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "a map of more than %u keys", UINT32_MAX / 4);
        return false;
    }
    if (map->count == map->capacity) {
        size_t capacity = map->capacity ? map->capacity * 2 : 5;
        ct_map_entry *entries =
            ct_realloc(context, map->entries, capacity * sizeof *entries, CT_MEMORY_OTHER);
        if (!entries) return false;
        map->entries = entries;
        map->capacity = capacity;
    }
    size_t needed = map->count + 1;
    if (needed >= CT_VALUE_INDEX_FROM && needed * 2 > map->index_size &&
        !rebuild_index(context, map, map->index ? map->index_size * 2 : 64))
        return false;
    size_t length;
    uint64_t hash = hash_of(context, key, &length);
    const char *kept = keep_key(context, map, key, length);
    if (!kept) return false;
    map->entries[map->count] = (ct_map_entry){kept, item, hash};
    if (map->index) index_entry(map, map->count);
    map->count++;
    return true;
}

ct_value *ct_map_take(ct_context *context, ct_map *map, size_t number) {
    ct_value *item = map->entries[number].item;
    map->count--;
    memmove(map->entries + number, map->entries + number + 1, (map->count - number) * sizeof *map->entries);
    if (map->index) rebuild_index(context, map, map->index_size); /* same size: cannot fail */
    return item;
}
