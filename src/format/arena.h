/* arena.h - many small texts that live and go together. */
#ifndef CARAT_FORMAT_ARENA_H
#define CARAT_FORMAT_ARENA_H

#include "carat/base.h"

typedef struct ct_arena_block ct_arena_block;
typedef struct ct_arena { /* start with {0} */
    ct_arena_block *blocks;
} ct_arena;

/* A copy of the text with a NUL after it, which does not move; NULL without memory. */
char *ct_arena_copy(ct_context *context, ct_arena *arena, const char *text, size_t length);
void ct_arena_free(ct_context *context, ct_arena *arena);
#endif
