/* trie.h - the tokens of a vocabulary by their bytes, for finding all that a text begins with. */
#ifndef CARAT_FORMAT_TRIE_H
#define CARAT_FORMAT_TRIE_H

#include "carat/base.h"

typedef struct ct_trie_node {
    uint32_t children; /* the first of them; they stand together, by byte */
    int32_t id;        /* of the token that ends here, -1 for none */
    uint16_t count;
    unsigned char byte;
} ct_trie_node;

typedef struct ct_trie {
    ct_trie_node *nodes; /* the root is 0 */
    size_t count, capacity;
    uint32_t roots[256]; /* the root's children by byte; 0: none */
} ct_trie;

typedef struct ct_trie_entry {
    const char *text;
    uint32_t length;
    int32_t id;
} ct_trie_entry;

/* Sorts the entries, whose texts differ from each other. Empty texts are passed over. */
ct_status ct_trie_build(ct_context *context, ct_trie *trie, ct_trie_entry *entries, size_t count);
void ct_trie_free(ct_context *context, ct_trie *trie);

/* The node below `node` for a byte; 0 if there is none. */
static inline uint32_t ct_trie_step(const ct_trie *trie, uint32_t node, unsigned char byte) {
    if (node == 0) return trie->roots[byte];
    const ct_trie_node *parent = &trie->nodes[node];
    const ct_trie_node *child = &trie->nodes[parent->children];
    for (unsigned i = 0; i < parent->count && child[i].byte <= byte; i++)
        if (child[i].byte == byte) return parent->children + i;
    return 0;
}
#endif
