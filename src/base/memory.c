/* memory.c - blocks from a cache of size classes, and the accounts of what is in use.
 *
 * A block is a 64-byte header and the caller's bytes. Freed blocks go to the list of their size class, newest
 * first, and are handed out again; the system sees an allocation only when the list is empty. Blocks of 1 MiB
 * and more are mappings of their own, so that giving them back really frees memory.
 *
 * The cache is bounded: real use plus cache stays under the budget, and under 1.25 times the most that was
 * ever in use plus 64 MiB, so that sizes that changed (another batch shape) do not pile up. The large blocks
 * that were freed longest ago go first.
 *
 * Under AddressSanitizer nothing is cached and a block has exactly the bytes asked for, so that overruns and
 * uses after free are seen. */
#define _GNU_SOURCE
#include "base/context.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define CACHE_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHE_BLOCKS 0
#endif
#endif
#ifndef CACHE_BLOCKS
#define CACHE_BLOCKS 1
#endif

#define LIVE_MAGIC 0xca2a711eu
#define CACHED_MAGIC 0xca2acac4u
#define HEADER 64
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_FROM ((size_t)4 << 20)

typedef struct ct_block {
    struct ct_block *all_previous, *all_next;
    struct ct_block *class_previous, *class_next; /* within the cache list of its size class */
    union {
        struct {
            struct ct_block *older, *newer; /* large and cached */
        };
        size_t requested; /* in use: the bytes asked for */
    };
    size_t rounded;
    uint32_t magic;
    uint16_t size_class;
    uint8_t memory_class;
    uint8_t mapped;
} ct_block;
_Static_assert(sizeof(ct_block) == HEADER, "the header keeps blocks 64-byte aligned");

static inline void *bytes_of(ct_block *block) {
    return (char *)block + HEADER;
}
static inline ct_block *block_of(void *pointer) {
    return (ct_block *)((char *)pointer - HEADER);
}

const char *ct_memory_class_name(ct_memory_class which) {
    static const char *const names[CT_MEMORY_CLASSES] = {"weights",     "gradients", "states",
                                                         "activations", "workspace", "other"};
    return (unsigned)which < CT_MEMORY_CLASSES ? names[which] : "unknown";
}

/* ------------------------------------------------------------------------------------- size classes ----- */

/* The class of `size` and in *rounded its bytes; -1 if too large. */
static inline int size_class_of(size_t size, size_t *rounded) {
    if (size <= 512) {
        size_t units = size ? (size + 63) / 64 : 1;
        *rounded = units * 64;
        return (int)units - 1;
    }
    int log2 = 63 - __builtin_clzll(size - 1); /* 2^log2 < size <= 2^(log2 + 1) */
    if (log2 >= CT_LIMIT_LOG2) return -1;
    bool large = log2 >= CT_LARGE_LOG2;
    int steps_log2 = large ? 4 : 3;
    size_t base = (size_t)1 << log2;
    int shift = log2 - steps_log2;
    size_t step = (size - base + ((size_t)1 << shift) - 1) >> shift; /* 1 to 8 or 16 */
    *rounded = base + (step << shift);
    int first = large ? CT_FIRST_LARGE_CLASS + (log2 - CT_LARGE_LOG2) * CT_LARGE_STEPS
                      : 8 + (log2 - CT_SMALL_LOG2) * CT_SMALL_STEPS;
    return first + (int)step - 1;
}

size_t ct_memory_rounded(size_t size) {
    size_t rounded;
    return size_class_of(size, &rounded) < 0 ? size : rounded;
}

/* ----------------------------------------------------------------------------------------- accounts ----- */

static inline void count(struct ct_memory *memory, size_t bytes, int which) {
    ct_memory_counts *counts = &memory->counts;
    counts->current[which] += bytes;
    counts->current_total += bytes;
    if (counts->current[which] > counts->peak[which]) counts->peak[which] = counts->current[which];
    if (counts->current_total > counts->peak_total) {
        counts->peak_total = counts->current_total;
        memcpy(counts->at_peak, counts->current, sizeof counts->at_peak);
    }
}

static inline void uncount(struct ct_memory *memory, size_t bytes, int which) {
    memory->counts.current[which] -= bytes;
    memory->counts.current_total -= bytes;
}

void ct_memory_count(ct_context *context, size_t rounded, ct_memory_class which) {
    context->memory.virtual_bytes += rounded;
    count(&context->memory, rounded, which);
}

void ct_memory_uncount(ct_context *context, size_t rounded, ct_memory_class which) {
    context->memory.virtual_bytes -= rounded;
    uncount(&context->memory, rounded, which);
}

void ct_memory_read(const ct_context *context, ct_memory_counts *counts) {
    *counts = context->memory.counts;
}

void ct_memory_reset_peak(ct_context *context) {
    ct_memory_counts *counts = &context->memory.counts;
    memcpy(counts->peak, counts->current, sizeof counts->peak);
    memcpy(counts->at_peak, counts->current, sizeof counts->at_peak);
    counts->peak_total = counts->current_total;
}

void ct_memory_fail_at(ct_context *context, int64_t n) {
    context->memory.fail_at = n > 0 ? n : 0;
}

/* --------------------------------------------------------------------------------------- the system ----- */

static size_t mapping_length(size_t rounded) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (HEADER + rounded + page - 1) / page * page;
}

/* A mapping of its own; large ones start on a huge page, so that the kernel can use huge pages throughout. */
static ct_block *map_block(size_t rounded) {
    size_t length = mapping_length(rounded);
    bool huge = rounded >= HUGE_FROM;
    size_t reserve = huge ? length + HUGE_PAGE : length;
    char *start = mmap(NULL, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    if (huge) {
        size_t before = (HUGE_PAGE - (uintptr_t)start % HUGE_PAGE) % HUGE_PAGE;
        if (before) munmap(start, before);
        start += before;
        if (reserve - before > length) munmap(start + length, reserve - before - length);
        madvise(start, length, MADV_HUGEPAGE); /* advice only: without it pages are small */
    }
    return (ct_block *)start;
}

static ct_block *system_block(struct ct_memory *memory, size_t size, size_t rounded, int size_class) {
    bool mapped = CACHE_BLOCKS && size_class >= CT_FIRST_LARGE_CLASS;
    ct_block *block = NULL;
    if (mapped) {
        block = map_block(rounded);
    } else {
        void *bytes = NULL;
        if (posix_memalign(&bytes, 64, HEADER + (CACHE_BLOCKS ? rounded : size)) == 0) block = bytes;
    }
    if (!block) return NULL;
    memory->counts.system_allocations++;
    block->mapped = mapped;
    block->rounded = rounded;
    block->size_class = (uint16_t)size_class;
    block->all_previous = NULL;
    block->all_next = memory->all;
    if (memory->all) memory->all->all_previous = block;
    memory->all = block;
    return block;
}

static void release_block(struct ct_memory *memory, ct_block *block) {
    if (block->all_next) block->all_next->all_previous = block->all_previous;
    if (block->all_previous)
        block->all_previous->all_next = block->all_next;
    else
        memory->all = block->all_next;
    block->magic = 0;
    if (block->mapped)
        munmap(block, mapping_length(block->rounded));
    else
        free(block);
}

/* -------------------------------------------------------------------------------------------- cache ----- */

static inline bool is_large(const ct_block *block) {
    return block->size_class >= CT_FIRST_LARGE_CLASS;
}

static inline void cache_put(struct ct_memory *memory, ct_block *block) {
    ct_block **list = &memory->cache[block->size_class];
    block->magic = CACHED_MAGIC;
    block->class_next = *list;
    if (is_large(block)) { /* only large blocks leave from the middle, so only they need a way back */
        block->class_previous = NULL;
        if (*list) (*list)->class_previous = block;
        block->newer = NULL;
        block->older = memory->newest;
        if (memory->newest)
            memory->newest->newer = block;
        else
            memory->oldest = block;
        memory->newest = block;
    }
    *list = block;
    memory->counts.cached += block->rounded;
}

static inline void cache_take(struct ct_memory *memory, ct_block *block) {
    ct_block **list = &memory->cache[block->size_class];
    if (*list == block)
        *list = block->class_next;
    else
        block->class_previous->class_next = block->class_next;
    if (is_large(block)) {
        if (block->class_next) block->class_next->class_previous = block->class_previous;
        if (block->older)
            block->older->newer = block->newer;
        else
            memory->oldest = block->newer;
        if (block->newer)
            block->newer->older = block->older;
        else
            memory->newest = block->older;
    }
    memory->counts.cached -= block->rounded;
}

/* Gives cached blocks back until at most `keep` bytes are cached. */
static void shrink_cache(struct ct_memory *memory, size_t keep) {
    while (memory->counts.cached > keep && memory->oldest) {
        ct_block *block = memory->oldest;
        cache_take(memory, block);
        release_block(memory, block);
    }
    for (int i = CT_FIRST_LARGE_CLASS - 1; i >= 0 && memory->counts.cached > keep; i--) {
        while (memory->cache[i] && memory->counts.cached > keep) {
            ct_block *block = memory->cache[i];
            cache_take(memory, block);
            release_block(memory, block);
        }
    }
}

/* Before `rounded` more bytes come from the system. False if the budget does not allow them. */
static bool make_room(struct ct_memory *memory, size_t rounded) {
    size_t real = memory->counts.current_total - memory->virtual_bytes;
    size_t high = real + rounded > memory->high_water ? real + rounded : memory->high_water;
    size_t most = high + high / 4 + ((size_t)64 << 20);
    if (memory->cache_limit && memory->cache_limit < most)
        most = memory->cache_limit > real + rounded ? memory->cache_limit : real + rounded;
    if (memory->budget && memory->budget < most) {
        if (real + rounded > memory->budget) return false;
        most = memory->budget;
    }
    if (real + memory->counts.cached + rounded > most)
        shrink_cache(memory, real + rounded < most ? most - real - rounded : 0);
    return true;
}

void ct_memory_trim(ct_context *context) {
    shrink_cache(&context->memory, 0);
    malloc_trim(0);
}

void ct_memory_set_budget(ct_context *context, size_t bytes) {
    struct ct_memory *memory = &context->memory;
    memory->budget = bytes;
    size_t real = memory->counts.current_total - memory->virtual_bytes;
    if (bytes && real + memory->counts.cached > bytes) shrink_cache(memory, real < bytes ? bytes - real : 0);
}

void ct_memory_set_cache_limit(ct_context *context, size_t bytes) {
    context->memory.cache_limit = bytes;
}

size_t ct_memory_budget(const ct_context *context) {
    return context->memory.budget;
}

void ct_memory_destroy(struct ct_memory *memory) {
    while (memory->all)
        release_block(memory, memory->all);
}

/* --------------------------------------------------------------------------------------- allocation ----- */

static void *exhausted(ct_context *context, size_t size, const char *why) {
    char asked[32], used[32], budget[48] = "";
    struct ct_memory *memory = &context->memory;
    size_t real = memory->counts.current_total - memory->virtual_bytes;
    if (memory->budget) {
        char limit[32];
        snprintf(budget, sizeof budget, ", budget %s", ct_format_bytes(memory->budget, limit, sizeof limit));
    }
    ct_fail(context, CT_ERROR_MEMORY, "out of memory (%s): %s asked for, %s in use%s", why,
            ct_format_bytes(size, asked, sizeof asked), ct_format_bytes(real, used, sizeof used), budget);
    return NULL;
}

static inline bool injected_failure(struct ct_memory *memory) {
    return memory->fail_at && --memory->fail_at == 0;
}

/* The path that reaches the system, kept out of the fast one. */
static __attribute__((noinline)) ct_block *fresh_block(ct_context *context, size_t size, size_t rounded,
                                                       int size_class) {
    struct ct_memory *memory = &context->memory;
    if (!make_room(memory, rounded)) return exhausted(context, size, "the budget is used up");
    ct_block *block = system_block(memory, size, rounded, size_class);
    if (!block) { /* the system may have room once it has ours */
        shrink_cache(memory, 0);
        malloc_trim(0);
        block = system_block(memory, size, rounded, size_class);
    }
    if (!block) return exhausted(context, size, "the system refused");
    size_t real = memory->counts.current_total - memory->virtual_bytes + rounded;
    if (real > memory->high_water) memory->high_water = real;
    return block;
}

/* *zeroed: the bytes are known to be zero. */
static inline void *allocate(ct_context *context, size_t size, int which, bool *zeroed) {
    struct ct_memory *memory = &context->memory;
    size_t rounded;
    int size_class = size_class_of(size, &rounded);
    if (size_class < 0) return exhausted(context, size, "larger than any block");
    ct_block *block = CACHE_BLOCKS ? memory->cache[size_class] : NULL;
    *zeroed = false;
    if (block) {
        cache_take(memory, block);
    } else {
        block = fresh_block(context, size, rounded, size_class);
        if (!block) return NULL;
        *zeroed = block->mapped;
    }
    block->magic = LIVE_MAGIC;
    block->memory_class = (uint8_t)which;
    block->requested = size;
    count(memory, rounded, which);
    return bytes_of(block);
}

void *ct_alloc(ct_context *context, size_t size, ct_memory_class which) {
    bool zeroed = false;
    if (injected_failure(&context->memory)) return exhausted(context, size, "a test asked for this");
    return allocate(context, size, which, &zeroed);
}

void *ct_alloc_zero(ct_context *context, size_t size, ct_memory_class which) {
    bool zeroed = false;
    if (injected_failure(&context->memory)) return exhausted(context, size, "a test asked for this");
    void *pointer = allocate(context, size, which, &zeroed);
    if (pointer && !zeroed) memset(pointer, 0, size);
    return pointer;
}

static bool is_live(ct_context *context, void *pointer, const char *call) {
    if (block_of(pointer)->magic == LIVE_MAGIC) return true;
    ct_fail(context, CT_ERROR_STATE, "%s: %p is %s", call, pointer,
            block_of(pointer)->magic == CACHED_MAGIC ? "already free" : "not a block of ct_alloc");
    return false;
}

void ct_free(ct_context *context, void *pointer) {
    if (!pointer || !is_live(context, pointer, "ct_free")) return;
    ct_block *block = block_of(pointer);
    uncount(&context->memory, block->rounded, block->memory_class);
    if (CACHE_BLOCKS)
        cache_put(&context->memory, block);
    else
        release_block(&context->memory, block);
}

void *ct_realloc(ct_context *context, void *pointer, size_t size, ct_memory_class which) {
    bool zeroed = false;
    if (injected_failure(&context->memory)) return exhausted(context, size, "a test asked for this");
    if (!pointer) return allocate(context, size, which, &zeroed);
    if (!is_live(context, pointer, "ct_realloc")) return NULL;
    ct_block *block = block_of(pointer);
    if (CACHE_BLOCKS && ct_memory_rounded(size) == block->rounded) {
        ct_memory_reclass(context, pointer, which);
        block->requested = size;
        return pointer;
    }
    void *moved = allocate(context, size, which, &zeroed);
    if (!moved) return NULL;
    memcpy(moved, pointer, size < block->requested ? size : block->requested);
    ct_free(context, pointer);
    return moved;
}

void ct_memory_reclass(ct_context *context, void *pointer, ct_memory_class which) {
    if (!pointer || !is_live(context, pointer, "ct_memory_reclass")) return;
    ct_block *block = block_of(pointer);
    if (block->memory_class == which) return;
    uncount(&context->memory, block->rounded, block->memory_class);
    block->memory_class = (uint8_t)which;
    count(&context->memory, block->rounded, which);
}
