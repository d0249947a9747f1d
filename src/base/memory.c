/* memory.c - blocks from a cache of size classes, and the accounts of what is in use.
 *
 * A block is a 64-byte header and the caller's bytes. Freed small blocks go to the list of their size class and are
 * handed out again as they are; large ones come from segments (segments.c), where free neighbours are joined. The
 * system is asked only when nothing that is free will do.
 *
 * What is cached is bounded: real use plus cache stays under the budget, and under 1.25 times the most that was
 * ever in use plus 64 MiB, so that sizes that changed (another batch shape) do not pile up.
 *
 * Under AddressSanitizer nothing is cached and a block has exactly the bytes asked for, so that overruns and
 * uses after free are seen. */
#define _GNU_SOURCE
#include "base/context.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

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

static inline ct_block *block_of(void *pointer) {
    return (ct_block *)((char *)pointer - CT_BLOCK_HEADER);
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

/* ------------------------------------------------------------------------------------- small blocks ----- */

static ct_block *small_block(struct ct_memory *memory, size_t size) {
    void *bytes = NULL;
    if (posix_memalign(&bytes, 64, CT_BLOCK_HEADER + size) != 0) return NULL;
    ct_block *block = bytes;
    memory->counts.system_allocations++;
    block->large = false;
    block->all_previous = NULL;
    block->all_next = memory->small;
    if (memory->small) memory->small->all_previous = block;
    memory->small = block;
    return block;
}

static void release_small(struct ct_memory *memory, ct_block *block) {
    if (block->all_next) block->all_next->all_previous = block->all_previous;
    if (block->all_previous)
        block->all_previous->all_next = block->all_next;
    else
        memory->small = block->all_next;
    block->magic = 0;
    free(block);
}

static inline void cache_put(struct ct_memory *memory, ct_block *block) {
    ct_block **list = &memory->cache[block->size_class];
    block->magic = CT_CACHED_MAGIC;
    block->class_next = *list;
    *list = block;
    memory->counts.cached += block->rounded;
}

static inline ct_block *cache_take(struct ct_memory *memory, int size_class) {
    ct_block *block = memory->cache[size_class];
    if (!block) return NULL;
    memory->cache[size_class] = block->class_next;
    memory->counts.cached -= block->rounded;
    return block;
}

/* Gives cached memory back until at most `keep` bytes are cached. */
static void shrink_cache(struct ct_memory *memory, size_t keep) {
    ct_segments_trim(memory, keep);
    for (int i = CT_FIRST_LARGE_CLASS - 1; i >= 0 && memory->counts.cached > keep; i--)
        while (memory->cache[i] && memory->counts.cached > keep)
            release_small(memory, cache_take(memory, i));
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
    while (memory->small)
        release_small(memory, memory->small);
    ct_segments_destroy(memory);
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

/* The path that may reach the system, kept out of the fast one. */
static __attribute__((noinline)) ct_block *fresh_block(ct_context *context, size_t size, size_t rounded,
                                                       int size_class, bool *zeroed) {
    struct ct_memory *memory = &context->memory;
    if (!make_room(memory, rounded)) return exhausted(context, size, "the budget is used up");
    bool large = CACHE_BLOCKS && size_class >= CT_FIRST_LARGE_CLASS;
    ct_block *block = NULL;
    for (int attempt = 0; attempt < 2 && !block; attempt++) {
        if (attempt) { /* the system may have room once it has ours */
            shrink_cache(memory, 0);
            malloc_trim(0);
        }
        /* Looked for again: returning pages joins blocks. */
        block = large ? ct_segments_take(memory, ct_segments_find(memory, size_class), rounded, zeroed)
                      : small_block(memory, CACHE_BLOCKS ? rounded : size);
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
    ct_block *block = NULL;
    *zeroed = false;
    if (CACHE_BLOCKS && size_class < CT_FIRST_LARGE_CLASS) {
        block = cache_take(memory, size_class);
        if (!block) block = fresh_block(context, size, rounded, size_class, zeroed);
    } else {
        ct_block *found = CACHE_BLOCKS ? ct_segments_find(memory, size_class) : NULL;
        block = found && found->resident ? ct_segments_take(memory, found, rounded, zeroed)
                                                    : fresh_block(context, size, rounded, size_class, zeroed);
    }
    if (!block) return NULL;
    block->magic = CT_LIVE_MAGIC;
    block->rounded = rounded;
    block->size_class = (uint16_t)size_class;
    block->memory_class = (uint8_t)which;
    block->requested = size;
    count(memory, rounded, which);
    return ct_block_bytes(block);
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

static void give_large(struct ct_memory *memory, ct_block *block) {
    ct_segments_give(memory, block);
    size_t real = memory->counts.current_total - memory->virtual_bytes;
    if (memory->cache_limit && real + memory->counts.cached > memory->cache_limit)
        ct_segments_trim(memory, real < memory->cache_limit ? memory->cache_limit - real : 0);
}

static bool is_live(ct_context *context, void *pointer, const char *call) {
    if (block_of(pointer)->magic == CT_LIVE_MAGIC) return true;
    ct_fail(context, CT_ERROR_STATE, "%s: %p is %s", call, pointer,
            block_of(pointer)->magic == CT_CACHED_MAGIC ? "already free" : "not a block of ct_alloc");
    return false;
}

void ct_free(ct_context *context, void *pointer) {
    if (!pointer || !is_live(context, pointer, "ct_free")) return;
    ct_block *block = block_of(pointer);
    uncount(&context->memory, block->rounded, block->memory_class);
    if (!CACHE_BLOCKS)
        release_small(&context->memory, block);
    else if (block->large)
        give_large(&context->memory, block);
    else
        cache_put(&context->memory, block);
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
