/* name_table.c - a hash table from texts to numbers, open addressing with linear probing, at most half full.
 */
#include "format/name_table.h"

static void insert(ct_name_table *table, ct_name_entry entry) {
    size_t slot = entry.hash & (table->capacity - 1);
    while (table->entries[slot].text)
        slot = (slot + 1) & (table->capacity - 1);
    table->entries[slot] = entry;
}

ct_status ct_names_reserve(ct_context *context, ct_name_table *table, size_t count) {
    if (count <= table->capacity / 2 && table->capacity) return CT_OK;
    ct_name_table larger = {.count = table->count, .capacity = table->capacity ? table->capacity : 32};
    while (larger.capacity / 2 < count) {
        if (larger.capacity > SIZE_MAX / sizeof(ct_name_entry) / 4)
            return ct_fail(context, CT_ERROR_MEMORY, "a table of %zu names does not fit into memory", count);
        larger.capacity *= 2;
    }
    larger.entries = ct_alloc_zero(context, larger.capacity * sizeof *larger.entries, CT_MEMORY_OTHER);
    if (!larger.entries) return ct_context_status(context);
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].text) insert(&larger, table->entries[i]);
    ct_free(context, table->entries);
    *table = larger;
    return CT_OK;
}

ct_status ct_names_put(ct_context *context, ct_name_table *table, const char *text, size_t length,
                       int32_t value) {
    if (table->count + 1 > table->capacity / 2) {
        ct_status status = ct_names_reserve(context, table, (table->count + 1) * 2);
        if (status != CT_OK) return status;
    }
    insert(table, (ct_name_entry){text, (uint32_t)length, (uint32_t)ct_hash_bytes(text, length), value});
    table->count++;
    return CT_OK;
}

void ct_names_free(ct_context *context, ct_name_table *table) {
    ct_free(context, table->entries);
    memset(table, 0, sizeof *table);
}
