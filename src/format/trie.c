/* trie.c - builds a trie level by level from sorted texts, so that the children of a node stand together. */
#include "format/trie.h"
#include <stdlib.h>
#include <string.h>

void ct_trie_free(ct_context *context, ct_trie *trie) {
    ct_free(context, trie->nodes);
    memset(trie, 0, sizeof *trie);
}

static int by_text(const void *left, const void *right) {
    const ct_trie_entry *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order ? order : a->length < b->length ? -1 : a->length > b->length;
}

/* The entries that go through a node, while it is built. */
typedef struct range {
    uint32_t begin, end, depth;
} range;

static ct_status add_node(ct_context *context, ct_trie *trie, range **ranges, range covered,
                          unsigned char byte) {
    if (trie->count == trie->capacity) {
        size_t capacity = trie->capacity * 2 + 1024;
        if (capacity > UINT32_MAX / 2)
            return ct_fail(context, CT_ERROR_UNSUPPORTED, "the vocabulary is too large");
        ct_trie_node *nodes = ct_realloc(context, trie->nodes, capacity * sizeof *nodes, CT_MEMORY_OTHER);
        if (!nodes) return ct_context_status(context);
        trie->nodes = nodes;
        range *larger = ct_realloc(context, *ranges, capacity * sizeof *larger, CT_MEMORY_WORKSPACE);
        if (!larger) return ct_context_status(context);
        *ranges = larger;
        trie->capacity = capacity;
    }
    (*ranges)[trie->count] = covered;
    trie->nodes[trie->count++] = (ct_trie_node){.id = -1, .byte = byte};
    return CT_OK;
}

/* Gives a node its children: one for each byte that follows. */
static ct_status expand(ct_context *context, ct_trie *trie, range **ranges, const ct_trie_entry *entries,
                        size_t node) {
    range covered = (*ranges)[node];
    uint32_t at = covered.begin;
    while (at < covered.end && entries[at].length == covered.depth) { /* the texts that end here come first */
        trie->nodes[node].id = covered.depth ? entries[at].id : -1;
        at++;
    }
    trie->nodes[node].children = (uint32_t)trie->count;
    while (at < covered.end) {
        unsigned char byte = (unsigned char)entries[at].text[covered.depth];
        uint32_t begin = at;
        while (at < covered.end && (unsigned char)entries[at].text[covered.depth] == byte)
            at++;
        if (node == 0) trie->roots[byte] = (uint32_t)trie->count;
        ct_status status = add_node(context, trie, ranges, (range){begin, at, covered.depth + 1}, byte);
        if (status != CT_OK) return status;
        trie->nodes[node].count++;
    }
    return CT_OK;
}

ct_status ct_trie_build(ct_context *context, ct_trie *trie, ct_trie_entry *entries, size_t count) {
    range *ranges = NULL;
    memset(trie, 0, sizeof *trie);
    qsort(entries, count, sizeof *entries, by_text);
    ct_status status = add_node(context, trie, &ranges, (range){0, (uint32_t)count, 0}, 0);
    for (size_t node = 0; status == CT_OK && node < trie->count; node++)
        status = expand(context, trie, &ranges, entries, node);
    ct_free(context, ranges);
    return status;
}
