/* segments.c - internal: where large blocks lie.
 *
 * A segment is a long range of addresses of which only the part below `top` has ever been used. Blocks stand
 * in it side by side. A request takes the first free block of the smallest class that surely fits (two-level
 * segregated fit, Masmano et al., ECRTS 2004), in constant time, and leaves the rest free; a block that is
 * freed is joined with free neighbours. So sizes that changed (another batch shape, another layer) reuse the
 * same pages, and the system neither clears nor maps memory again in the middle of a run.
 *
 * Trimming returns pages, not addresses. A free block is real memory or not as a whole: one whose pages were
 * returned is joined only with its like, so that the count of cached bytes is exact. */
#define _GNU_SOURCE
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RESERVE ((size_t)1 << 40)         /* addresses, not memory */
#define SMALL_RESERVE ((size_t)256 << 20) /* where addresses are limited (ulimit -v) */
#define COMMIT ((size_t)16 << 20)         /* made accessible at a time */
#define HUGE_FROM ((size_t)32 << 20)      /* small programs stay with small pages, which waste less */

/* Bytes between a block and the next one, so that blocks of like size do not lie 64 bytes apart modulo the
 * page: a loop that reads one and writes the other would then wait at each load for a store whose address has
 * the same low bits (one in eight of the time of a softmax on Zen 3). */
#define STAGGER ((size_t)640)

typedef struct ct_segment {
    struct ct_segment *next;
    char *start;      /* of the mapping */
    size_t length;    /* reserved */
    size_t committed; /* readable and writable */
    size_t top;       /* used so far: the end of the last block */
    ct_block *last;   /* the block that ends at top, NULL: none yet */
} ct_segment;

/* ------------------------------------------------------------------------------------------ lists of free */

static size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* The largest large class whose blocks fit in `extent` bytes; CT_CLASS_NONE if none does. */
static int class_within(size_t extent) {
    if (extent <= (size_t)1 << CT_LARGE_LOG2) return CT_CLASS_NONE;
    int log2 = 63 - __builtin_clzll(extent);
    int sixteenth = (int)((extent - ((size_t)1 << log2)) >> (log2 - 4)); /* 0 to 15 */
    int index = (log2 - CT_LARGE_LOG2) * CT_LARGE_STEPS + sixteenth - 1;
    if (index >= CT_LARGE_CLASSES) index = CT_LARGE_CLASSES - 1;
    return index < 0 ? CT_CLASS_NONE : CT_FIRST_LARGE_CLASS + index;
}

static void list_insert(struct ct_memory *memory, ct_block *block) {
    int which = class_within(block->extent);
    block->size_class = (uint16_t)which;
    block->magic = CT_CACHED_MAGIC;
    memory->counts.cached += block->resident;
    if (which == CT_CLASS_NONE) return;
    ct_block **list = &memory->cache[which];
    block->class_previous = NULL;
    block->class_next = *list;
    if (*list) (*list)->class_previous = block;
    *list = block;
    memory->filled[(which - CT_FIRST_LARGE_CLASS) / 64] |= 1ull << (which - CT_FIRST_LARGE_CLASS) % 64;
}

static void list_remove(struct ct_memory *memory, ct_block *block) {
    int which = block->size_class;
    memory->counts.cached -= block->resident;
    if (which == CT_CLASS_NONE) return;
    if (block->class_previous)
        block->class_previous->class_next = block->class_next;
    else
        memory->cache[which] = block->class_next;
    if (block->class_next) block->class_next->class_previous = block->class_previous;
    if (!memory->cache[which])
        memory->filled[(which - CT_FIRST_LARGE_CLASS) / 64] &= ~(1ull << (which - CT_FIRST_LARGE_CLASS) % 64);
}

ct_block *ct_segments_find(const struct ct_memory *memory, int size_class) {
    int index = size_class - CT_FIRST_LARGE_CLASS;
    size_t word = (size_t)index / 64;
    uint64_t bits = memory->filled[word] & (~0ull << index % 64);
    while (!bits) {
        if (++word >= sizeof memory->filled / sizeof *memory->filled) return NULL;
        bits = memory->filled[word];
    }
    return memory->cache[CT_FIRST_LARGE_CLASS + (int)word * 64 + __builtin_ctzll(bits)];
}

/* ----------------------------------------------------------------------------------------------- segments */

static ct_block *block_after(const ct_block *block) {
    char *end = (char *)block + CT_BLOCK_HEADER + block->extent;
    return end < block->segment->start + block->segment->top ? (ct_block *)end : NULL;
}

static ct_segment *new_segment(struct ct_memory *memory, size_t bytes) {
    size_t length = bytes > RESERVE / 2 ? bytes * 2 : RESERVE;
    void *start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        length = (bytes + SMALL_RESERVE - 1) / SMALL_RESERVE * SMALL_RESERVE;
        start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    if (start == MAP_FAILED) return NULL;
    ct_segment *segment = calloc(1, sizeof *segment);
    if (!segment) {
        munmap(start, length);
        return NULL;
    }
    segment->start = start;
    segment->length = length;
    segment->next = memory->segments;
    memory->segments = segment;
    memory->counts.system_allocations++;
    return segment;
}

/* Makes the first `end` bytes of the segment accessible. */
static bool commit(struct ct_memory *memory, ct_segment *segment, size_t end) {
    if (end <= segment->committed) return true;
    size_t committed = (end + COMMIT - 1) / COMMIT * COMMIT;
    if (committed > segment->length) committed = segment->length;
    char *from = segment->start + segment->committed;
    if (mprotect(from, committed - segment->committed, PROT_READ | PROT_WRITE) != 0) return false;
    size_t huge = segment->committed > HUGE_FROM ? segment->committed : HUGE_FROM;
    if (committed > huge) /* advice only: without it pages are small */
        madvise(segment->start + huge, committed - huge, MADV_HUGEPAGE);
    segment->committed = committed;
    memory->counts.system_allocations++;
    return true;
}

/* `rounded` bytes at the top of a segment; a free block that ends there is used up first. */
static ct_block *extend(struct ct_memory *memory, size_t rounded, bool *zeroed) {
    size_t extent = rounded + STAGGER, bytes = CT_BLOCK_HEADER + extent;
    ct_segment *segment = memory->segments;
    if (!segment || segment->length - segment->top < bytes) segment = new_segment(memory, bytes);
    if (!segment) return NULL;
    ct_block *last = segment->last;
    if (last && last->magic == CT_CACHED_MAGIC) {
        size_t end = (size_t)((char *)last - segment->start) + bytes;
        if (!commit(memory, segment, end)) return NULL;
        list_remove(memory, last);
        last->extent = extent;
        segment->top = end;
        *zeroed = false;
        return last;
    }
    if (!commit(memory, segment, segment->top + bytes)) return NULL;
    ct_block *block = (ct_block *)(segment->start + segment->top);
    block->before = last;
    block->segment = segment;
    block->extent = extent;
    segment->last = block;
    segment->top += bytes;
    *zeroed = true;
    return block;
}

/* Leaves `rounded` bytes of a block that is in no list and makes the rest a free block. */
static void split(struct ct_memory *memory, ct_block *block, size_t rounded, bool resident) {
    size_t extent = rounded + STAGGER;
    if (block->extent < extent + 2 * CT_BLOCK_HEADER) return;
    ct_block *after = block_after(block);
    ct_block *rest = (ct_block *)((char *)block + CT_BLOCK_HEADER + extent);
    rest->extent = block->extent - extent - CT_BLOCK_HEADER;
    rest->before = block;
    rest->segment = block->segment;
    rest->large = true;
    rest->resident = resident ? rest->extent : 0;
    block->extent = extent;
    if (after)
        after->before = rest;
    else
        block->segment->last = rest;
    list_insert(memory, rest);
}

ct_block *ct_segments_take(struct ct_memory *memory, ct_block *found, size_t rounded, bool *zeroed) {
    ct_block *block = found;
    *zeroed = false;
    if (block) {
        bool resident = block->resident > 0;
        list_remove(memory, block);
        split(memory, block, rounded, resident);
    } else {
        block = extend(memory, rounded, zeroed);
        if (!block) return NULL;
    }
    block->large = true;
    block->rounded = rounded;
    return block;
}

static bool can_join(const ct_block *block, const ct_block *neighbour) {
    return neighbour && neighbour->magic == CT_CACHED_MAGIC && !block->resident == !neighbour->resident;
}

/* Joins `block` with `after`; both are free and in no list. */
static void join(ct_block *block, ct_block *after) {
    block->extent += CT_BLOCK_HEADER + after->extent;
    if (block->resident) block->resident = block->extent;
    after->magic = 0;
    ct_block *beyond = block_after(block);
    if (beyond)
        beyond->before = block;
    else
        block->segment->last = block;
}

/* Joins `block`, which is in no list, with its free neighbours and puts it into its list. */
static void put_free(struct ct_memory *memory, ct_block *block) {
    ct_block *after = block_after(block), *before = block->before;
    if (can_join(block, after)) {
        list_remove(memory, after);
        join(block, after);
    }
    if (can_join(block, before)) {
        list_remove(memory, before);
        join(before, block);
        block = before;
    }
    list_insert(memory, block);
}

void ct_segments_give(struct ct_memory *memory, ct_block *block) {
    block->resident = block->extent;
    put_free(memory, block);
}

static void release_pages(struct ct_memory *memory, ct_block *block) {
    uintptr_t page = page_size();
    uintptr_t from = ((uintptr_t)ct_block_bytes(block) + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)ct_block_bytes(block) + block->extent) / page * page;
    list_remove(memory, block);
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
    block->resident = 0;
    put_free(memory, block);
}

static ct_block *resident_block(const struct ct_memory *memory, int size_class) {
    ct_block *block = memory->cache[size_class];
    while (block && !block->resident)
        block = block->class_next;
    return block;
}

void ct_segments_trim(struct ct_memory *memory, size_t keep) {
    for (int i = CT_SIZE_CLASSES - 1; i >= CT_FIRST_LARGE_CLASS; i--) {
        ct_block *block;
        while (memory->counts.cached > keep && (block = resident_block(memory, i)))
            release_pages(memory, block);
    }
}

void ct_segments_destroy(struct ct_memory *memory) {
    while (memory->segments) {
        ct_segment *segment = memory->segments;
        memory->segments = segment->next;
        munmap(segment->start, segment->length);
        free(segment);
    }
}
