/* memory.h - internal: the state of a context's allocator (see memory.c). */
#ifndef CARAT_BASE_MEMORY_H
#define CARAT_BASE_MEMORY_H

#include "carat/base.h"

/* Size classes: 8 of 64-byte steps up to 512 bytes, then 8 steps a power of two up to 64 KiB, then 16 steps. */
enum {
    CT_SMALL_STEPS = 8,
    CT_LARGE_STEPS = 16,
    CT_SMALL_LOG2 = 9,  /* 512 bytes */
    CT_LARGE_LOG2 = 16, /* 64 KiB */
    CT_LIMIT_LOG2 = 46, /* sizes above 64 TiB are refused */
    CT_FIRST_LARGE_CLASS = 8 + (CT_LARGE_LOG2 - CT_SMALL_LOG2) * CT_SMALL_STEPS,
    CT_LARGE_CLASSES = (CT_LIMIT_LOG2 - CT_LARGE_LOG2) * CT_LARGE_STEPS,
    CT_SIZE_CLASSES = CT_FIRST_LARGE_CLASS + CT_LARGE_CLASSES,
    CT_CLASS_NONE = 0xffff /* of a free piece too small for any large class */
};

#define CT_LIVE_MAGIC 0xca2a711eu
#define CT_CACHED_MAGIC 0xca2acac4u
#define CT_BLOCK_HEADER 64

struct ct_segment;

/* What stands before the bytes of every block. Small blocks come from the C library one by one; large ones lie side
 * by side in segments, so that free neighbours become one block again. */
typedef struct ct_block {
    union {
        struct {
            struct ct_block *all_previous, *all_next; /* small: the list of all */
        };
        struct {
            struct ct_block *before; /* large: the neighbour at the lower address, NULL for the first */
            struct ct_segment *segment;
        };
    };
    struct ct_block *class_previous, *class_next; /* free: within the list of its size class */
    union {
        size_t requested; /* in use: the bytes asked for */
        size_t resident;  /* large and free: how much of it is real memory, all of extent or nothing */
    };
    size_t rounded; /* bytes that are counted: those of the size class */
    size_t extent;  /* large: bytes up to the next block's header */
    uint32_t magic;
    uint16_t size_class; /* large and free: the largest class that fits in extent */
    uint8_t memory_class;
    uint8_t large;
} ct_block;
_Static_assert(sizeof(ct_block) == CT_BLOCK_HEADER, "the header keeps blocks 64-byte aligned");

static inline void *ct_block_bytes(ct_block *block) { return (char *)block + CT_BLOCK_HEADER; }

struct ct_memory {
    ct_memory_counts counts; /* cached: bytes of free blocks that are real memory */
    size_t virtual_bytes;    /* part of counts.current_total that ct_memory_count added: not real memory */
    size_t high_water;       /* most real bytes ever in use; bounds the cache */
    size_t budget;
    size_t cache_limit; /* 0: none */
    int64_t fail_at;
    struct ct_block *small; /* every small block, in use or cached */
    struct ct_segment *segments;
    uint64_t filled[(CT_LARGE_CLASSES + 63) / 64]; /* large classes whose list is not empty */
    struct ct_block *cache[CT_SIZE_CLASSES];
};

/* A free block of at least `rounded` bytes, left in its list, or NULL. */
ct_block *ct_segments_find(const struct ct_memory *memory, int size_class);
/* Takes `rounded` bytes from the free block `found`, or if that is NULL from memory never used before. NULL if the
 * system refuses. *zeroed: the bytes are zero. */
ct_block *ct_segments_take(struct ct_memory *memory, ct_block *found, size_t rounded, bool *zeroed);
void ct_segments_give(struct ct_memory *memory, ct_block *block);
/* Gives pages of free blocks back to the system until at most `keep` bytes are cached. */
void ct_segments_trim(struct ct_memory *memory, size_t keep);

/* Gives every block, in use or cached, back to the system. */
void ct_memory_destroy(struct ct_memory *memory);
void ct_segments_destroy(struct ct_memory *memory);

#endif
