/* bpe.c - byte-level byte-pair encoding (Sennrich et al., arXiv:1508.07909; Radford et al., 2019): in each
 * word the neighbouring pair of lowest rank is merged, of equal pairs the leftmost, until no pair has a rank.
 */
#include "format/byte_level.h"
#include "format/tokenizer_parts.h"
#include <string.h>

enum { SHORT_WORD = 64 }; /* up to here pairs are scanned, beyond it they are kept in a heap */
#define NO_RANK UINT32_MAX

ct_status ct_bpe_add_merge(ct_tokenizer *tokenizer, int32_t left, int32_t right, int32_t result) {
    ct_bpe *bpe = &tokenizer->bpe;
    if (bpe->merge_count == bpe->merge_capacity) {
        size_t capacity = bpe->merge_capacity * 2 + 1024;
        ct_merge *larger =
            ct_realloc(tokenizer->context, bpe->merges, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(tokenizer->context);
        bpe->merges = larger;
        bpe->merge_capacity = capacity;
    }
    bpe->merges[bpe->merge_count++] = (ct_merge){left, right, result};
    return CT_OK;
}

static inline size_t pair_slot(uint64_t pair) {
    uint64_t hash = pair * 0x9fb21c651e98df25u;
    return (size_t)(hash ^ hash >> 32);
}

static inline const ct_pair_entry *find_pair(const ct_bpe *bpe, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t slot = pair_slot(pair);; slot++) {
        const ct_pair_entry *entry = &bpe->pairs[slot & (bpe->pair_capacity - 1)];
        if (entry->rank == NO_RANK || entry->pair == pair) return entry; /* a free entry has no rank */
    }
}

ct_status ct_bpe_finish(ct_tokenizer *tokenizer) {
    ct_bpe *bpe = &tokenizer->bpe;
    for (int i = 0; i < 256; i++) {
        char symbol[4], byte = (char)i;
        bpe->byte_ids[i] = ct_names_get(&tokenizer->symbols, symbol, ct_bytes_spell(&byte, 1, symbol));
    }
    bpe->pair_capacity = 64;
    while (bpe->pair_capacity < bpe->merge_count * 2)
        bpe->pair_capacity *= 2;
    bpe->pairs = ct_alloc(tokenizer->context, bpe->pair_capacity * sizeof *bpe->pairs, CT_MEMORY_OTHER);
    if (!bpe->pairs) return ct_context_status(tokenizer->context);
    for (size_t i = 0; i < bpe->pair_capacity; i++)
        bpe->pairs[i] = (ct_pair_entry){0, NO_RANK, -1};
    for (size_t rank = 0; rank < bpe->merge_count; rank++) {
        const ct_merge *merge = &bpe->merges[rank];
        ct_pair_entry *entry = (ct_pair_entry *)(uintptr_t)find_pair(bpe, merge->left, merge->right);
        /* a pair that stands twice has its last rank, as in Hugging Face tokenizers */
        *entry = (ct_pair_entry){(uint64_t)(uint32_t)merge->left << 32 | (uint32_t)merge->right,
                                 (uint32_t)rank, merge->result};
    }
    return CT_OK;
}

/* -------------------------------------------------------------------------------------------- short words */

/* Merges in place by scanning for the lowest rank. */
static size_t merge_short(const ct_bpe *bpe, int32_t *ids, size_t count) {
    const ct_pair_entry *pairs[SHORT_WORD];
    for (size_t i = 0; i + 1 < count; i++)
        pairs[i] = find_pair(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (pairs[i]->rank < pairs[best]->rank) best = i;
        if (pairs[best]->rank == NO_RANK) break;
        ids[best] = pairs[best]->result;
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        if (best + 1 < count) memmove(pairs + best, pairs + best + 1, (count - best - 1) * sizeof *pairs);
        if (best > 0) pairs[best - 1] = find_pair(bpe, ids[best - 1], ids[best]);
        if (best + 1 < count) pairs[best] = find_pair(bpe, ids[best], ids[best + 1]);
    }
    return count;
}

/* --------------------------------------------------------------------------------------------- long words */

/* Entries are rank << 32 | place: the least is the pair to merge next. */
typedef struct pair_heap {
    uint64_t *entries;
    size_t count;
} pair_heap;

static void push(pair_heap *heap, uint64_t entry) {
    size_t at = heap->count++;
    for (; at > 0 && heap->entries[(at - 1) / 2] > entry; at = (at - 1) / 2)
        heap->entries[at] = heap->entries[(at - 1) / 2];
    heap->entries[at] = entry;
}

static uint64_t pop(pair_heap *heap) {
    uint64_t least = heap->entries[0], last = heap->entries[--heap->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && heap->entries[child + 1] < heap->entries[child]) child++;
        if (heap->entries[child] >= last) break;
        heap->entries[at] = heap->entries[child];
        at = child;
    }
    heap->entries[at] = last;
    return least;
}

static void push_pair(const ct_bpe *bpe, pair_heap *heap, const int32_t *ids, int32_t place, int32_t next) {
    const ct_pair_entry *pair = find_pair(bpe, ids[place], ids[next]);
    if (pair->rank != NO_RANK) push(heap, (uint64_t)pair->rank << 32 | (uint32_t)place);
}

/* Scratch of a word: before[count], after[count] and a heap that each merge adds at most two pairs to. */
static size_t long_word_bytes(size_t count) {
    return count * (2 * sizeof(int32_t) + 3 * sizeof(uint64_t));
}

/* Merges in place in O(n log n): a doubly linked list of symbols and a heap of pairs, some of them outdated.
 */
static size_t merge_long(const ct_bpe *bpe, int32_t *ids, size_t count, void *scratch) {
    pair_heap heap = {scratch, 0};
    int32_t *before = (int32_t *)(heap.entries + 3 * count), *after = before + count, size = (int32_t)count;
    for (int32_t i = 0; i < size; i++) {
        before[i] = i - 1;
        after[i] = i + 1 < size ? i + 1 : -1;
        if (i + 1 < size) push_pair(bpe, &heap, ids, i, i + 1);
    }
    while (heap.count) {
        uint64_t entry = pop(&heap);
        int32_t place = (int32_t)(uint32_t)entry, next = after[place];
        if (ids[place] < 0 || next < 0) continue; /* merged away, or now the last */
        const ct_pair_entry *pair = find_pair(bpe, ids[place], ids[next]);
        if (pair->rank != (uint32_t)(entry >> 32)) continue; /* another pair by now */
        ids[place] = pair->result;
        ids[next] = -1;
        after[place] = after[next];
        if (after[next] >= 0) before[after[next]] = place;
        if (before[place] >= 0) push_pair(bpe, &heap, ids, before[place], place);
        if (after[place] >= 0) push_pair(bpe, &heap, ids, place, after[place]);
    }
    size_t kept = 0;
    for (int32_t i = 0; i >= 0; i = after[i])
        ids[kept++] = ids[i];
    return kept;
}

/* -------------------------------------------------------------------------------------------- words ----- */

/* The ids of the bytes, before any merge. */
static size_t spell_bytes(const ct_tokenizer *tokenizer, const char *word, size_t length, int32_t *out,
                          ct_encode_problem *problem) {
    const ct_bpe *bpe = &tokenizer->bpe;
    size_t count = 0;
    bool unknown_before = false;
    for (size_t i = 0; i < length; i++) {
        int32_t id = bpe->byte_ids[(unsigned char)word[i]];
        bool unknown = id < 0;
        if (unknown && tokenizer->unknown < 0) {
            *problem = (ct_encode_problem){true, i, (unsigned char)word[i], true};
            return 0;
        }
        if (!(unknown && unknown_before && bpe->fuse_unknown))
            out[count++] = unknown ? tokenizer->unknown : id;
        unknown_before = unknown;
    }
    return count;
}

static int32_t whole_word(const ct_tokenizer *tokenizer, const char *word, size_t length) {
    char symbol[512];
    if (!tokenizer->bpe.by_bytes) return ct_names_get(&tokenizer->symbols, word, length);
    if (length > sizeof symbol / 2) return -1;
    return ct_names_get(&tokenizer->symbols, symbol, ct_bytes_spell(word, length, symbol));
}

static size_t encode_word(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                          int32_t *out, ct_encode_problem *problem) {
    const ct_bpe *bpe = &tokenizer->bpe;
    if (bpe->ignore_merges) {
        int32_t id = whole_word(tokenizer, word, length);
        if (id >= 0 && tokenizer->tokens[id].in_model) {
            *out = id;
            return 1;
        }
    }
    size_t count = bpe->by_bytes ? spell_bytes(tokenizer, word, length, out, problem)
                                 : ct_bpe_spell_characters(tokenizer, word, length, out, problem);
    return count <= SHORT_WORD ? merge_short(bpe, out, count) : merge_long(bpe, out, count, scratch);
}

/* Words have at most as many symbols as bytes. */
static size_t bpe_scratch(const ct_tokenizer *tokenizer, size_t length) {
    (void)tokenizer;
    return length > SHORT_WORD ? long_word_bytes(length) : 0;
}

const ct_tokenizer_method ct_tokenizer_method_bpe = {"bpe", encode_word, bpe_scratch, true};
