/* memory.c - arenas: memory that is given out piece by piece and freed at once. */
#include "template/memory.h"
#include <string.h>

enum { FIRST_BLOCK = 16384, LARGEST_BLOCK = 1 << 20, HEADER = 64 };

struct jinja_block {
    jinja_block *next;
    size_t size;
};

void *ct_jinja_grow(jinja_arena *arena, size_t size) {
    size_t block = arena->blocks ? arena->blocks->size * 2 : FIRST_BLOCK;
    if (block > LARGEST_BLOCK) block = LARGEST_BLOCK;
    if (size > SIZE_MAX / 2 || arena->held > arena->most || size + HEADER > arena->most - arena->held) {
        ct_fail(arena->context, CT_ERROR_MEMORY, "template: needs more than %zu bytes of memory",
                arena->most);
        return NULL;
    }
    if (block < size + HEADER) block = size + HEADER;
    jinja_block *made = ct_alloc(arena->context, block, CT_MEMORY_OTHER);
    if (!made) return NULL;
    *made = (jinja_block){arena->blocks, block};
    arena->blocks = made;
    arena->held += block;
    char *start = (char *)made + HEADER;
    arena->next = start + size;
    arena->end = (char *)made + block;
    return start;
}

char *ct_jinja_copy(jinja_arena *arena, const char *text, size_t length) {
    char *copy = ct_jinja_take(arena, length + 1);
    if (!copy) return NULL;
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void ct_jinja_arena_free(jinja_arena *arena) {
    while (arena->blocks) {
        jinja_block *next = arena->blocks->next;
        ct_free(arena->context, arena->blocks);
        arena->blocks = next;
    }
    arena->next = arena->end = NULL;
    arena->held = 0;
}
