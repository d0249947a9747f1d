/* memory.h - internal: the state of a context's allocator (see memory.c). */
#ifndef CARAT_BASE_MEMORY_H
#define CARAT_BASE_MEMORY_H

#include "carat/base.h"

/* Size classes: 8 of 64-byte steps up to 512 bytes, then 8 steps a power of two up to 1 MiB, then 16 steps.
 */
enum {
    CT_SMALL_STEPS = 8,
    CT_LARGE_STEPS = 16,
    CT_SMALL_LOG2 = 9,  /* 512 bytes */
    CT_LARGE_LOG2 = 20, /* 1 MiB */
    CT_LIMIT_LOG2 = 46, /* sizes above 64 TiB are refused */
    CT_FIRST_LARGE_CLASS = 8 + (CT_LARGE_LOG2 - CT_SMALL_LOG2) * CT_SMALL_STEPS,
    CT_SIZE_CLASSES = CT_FIRST_LARGE_CLASS + (CT_LIMIT_LOG2 - CT_LARGE_LOG2) * CT_LARGE_STEPS
};

struct ct_block;

struct ct_memory {
    ct_memory_counts counts;
    size_t virtual_bytes; /* part of counts.current_total that ct_memory_count added: not real memory */
    size_t high_water;    /* most real bytes ever in use; bounds the cache */
    size_t budget;
    size_t cache_limit; /* 0: none */
    int64_t fail_at;
    struct ct_block *all;             /* every block got from the system and not yet given back */
    struct ct_block *oldest, *newest; /* large cached blocks by the time they were freed */
    struct ct_block *cache[CT_SIZE_CLASSES];
};

/* Gives every block, in use or cached, back to the system. */
void ct_memory_destroy(struct ct_memory *memory);

#endif
