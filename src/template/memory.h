/* memory.h - blocks of memory that grow and go together: one arena for a parsed template, one for each
 * rendering. */
#ifndef CARAT_TEMPLATE_MEMORY_H
#define CARAT_TEMPLATE_MEMORY_H

#include <carat/base.h>

typedef struct jinja_block jinja_block;
typedef struct jinja_arena {
    ct_context *context;
    jinja_block *blocks;
    char *next, *end;
    size_t held, most; /* bytes asked of the context, and how many may be */
} jinja_arena;

/* Aligned for everything a template is made of; NULL with an error when memory or `most` is used up. */
void *ct_jinja_grow(jinja_arena *arena, size_t size);
static inline void *ct_jinja_take(jinja_arena *arena, size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (size > (size_t)(arena->end - arena->next)) return ct_jinja_grow(arena, size);
    void *start = arena->next;
    arena->next += size;
    return start;
}
/* A copy with a NUL behind it. */
char *ct_jinja_copy(jinja_arena *arena, const char *text, size_t length);
void ct_jinja_arena_free(jinja_arena *arena);

#endif
