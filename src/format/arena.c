/* arena.c - many small texts in large blocks. */
#include "format/arena.h"
#include <string.h>

#define BLOCK 65536

struct ct_arena_block {
    ct_arena_block *next;
    size_t used, size;
    char bytes[];
};

char *ct_arena_copy(ct_context *context, ct_arena *arena, const char *text, size_t length) {
    ct_arena_block *block = arena->blocks;
    if (!block || block->size - block->used <= length) {
        size_t size = length + 1 > BLOCK - sizeof *block ? length + 1 : BLOCK - sizeof *block;
        block = ct_alloc(context, sizeof *block + size, CT_MEMORY_OTHER);
        if (!block) return NULL;
        *block = (ct_arena_block){.next = arena->blocks, .size = size};
        arena->blocks = block;
    }
    char *copy = block->bytes + block->used;
    memcpy(copy, text, length);
    copy[length] = '\0';
    block->used += length + 1;
    return copy;
}

void ct_arena_free(ct_context *context, ct_arena *arena) {
    while (arena->blocks) {
        ct_arena_block *next = arena->blocks->next;
        ct_free(context, arena->blocks);
        arena->blocks = next;
    }
}
