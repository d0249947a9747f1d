/* bpe_pairs.c - BPE training's counts of pairs and its heap of candidates. */
#include "format/bpe_train.h"
#include <string.h>

static size_t slot_of(const ct_bpe_trainer *trainer, uint64_t pair) {
    uint64_t hash = pair * 0x9fb21c651e98df25u;
    size_t slot = (size_t)(hash ^ hash >> 32);
    for (;; slot++) {
        uint32_t place = trainer->slots[slot & (trainer->slot_count - 1)];
        if (!place || trainer->pairs[place - 1].pair == pair) return slot & (trainer->slot_count - 1);
    }
}

static ct_status grow_pairs(ct_bpe_trainer *trainer) {
    ct_context *context = trainer->context;
    size_t capacity = trainer->pair_capacity ? trainer->pair_capacity * 2 : 4096;
    if (capacity > UINT32_MAX / 2)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "tokenizer training: too many different pairs");
    ct_pair_count *pairs = ct_realloc(context, trainer->pairs, capacity * sizeof *pairs, CT_MEMORY_WORKSPACE);
    if (!pairs) return ct_context_status(context);
    trainer->pairs = pairs;
    uint32_t *slots = ct_alloc_zero(context, capacity * 2 * sizeof *slots, CT_MEMORY_WORKSPACE);
    if (!slots) return ct_context_status(context);
    ct_free(context, trainer->slots);
    trainer->slots = slots;
    trainer->slot_count = capacity * 2;
    trainer->pair_capacity = capacity;
    for (size_t i = 0; i < trainer->pair_count; i++)
        trainer->slots[slot_of(trainer, pairs[i].pair)] = (uint32_t)i + 1;
    return CT_OK;
}

ct_status ct_bpe_count_pair(ct_bpe_trainer *trainer, int32_t left, int32_t right, int64_t change,
                            int32_t word) {
    ct_context *context = trainer->context;
    if (trainer->pair_count == trainer->pair_capacity && grow_pairs(trainer) != CT_OK)
        return ct_context_status(context);
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = slot_of(trainer, pair);
    if (!trainer->slots[slot]) {
        trainer->pairs[trainer->pair_count++] = (ct_pair_count){.pair = pair};
        trainer->slots[slot] = (uint32_t)trainer->pair_count;
    }
    size_t place = trainer->slots[slot] - 1;
    ct_pair_count *entry = &trainer->pairs[place];
    entry->count += change;
    if (word < 0 || (entry->fresh.count && entry->fresh.ids[entry->fresh.count - 1] == word)) return CT_OK;
    if (!entry->fresh.count && ct_ids_push(context, &trainer->touched, (int32_t)place) != CT_OK)
        return ct_context_status(context);
    return ct_ids_push(context, &entry->fresh, word);
}

ct_status ct_bpe_count_all_pairs(ct_bpe_trainer *trainer) {
    for (size_t i = 0; i < trainer->word_count; i++) {
        const ct_training_word *word = &trainer->words[i];
        for (int32_t j = 0; j + 1 < word->length; j++) {
            ct_status status =
                ct_bpe_count_pair(trainer, word->symbols[j], word->symbols[j + 1], word->count, (int32_t)i);
            if (status != CT_OK) return status;
        }
    }
    return CT_OK;
}

/* ----------------------------------------------------------------------------------------------- the heap */

static bool is_before(const ct_pair_candidate *a, const ct_pair_candidate *b) {
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static ct_status push(ct_bpe_trainer *trainer, ct_pair_candidate candidate) {
    if (trainer->heap_count == trainer->heap_capacity) {
        size_t capacity = trainer->heap_capacity * 2 + 1024;
        ct_pair_candidate *larger =
            ct_realloc(trainer->context, trainer->heap, capacity * sizeof *larger, CT_MEMORY_WORKSPACE);
        if (!larger) return ct_context_status(trainer->context);
        trainer->heap = larger;
        trainer->heap_capacity = capacity;
    }
    size_t at = trainer->heap_count++;
    for (; at > 0 && is_before(&candidate, &trainer->heap[(at - 1) / 2]); at = (at - 1) / 2)
        trainer->heap[at] = trainer->heap[(at - 1) / 2];
    trainer->heap[at] = candidate;
    return CT_OK;
}

/* Puts a candidate in the place of the first and lets it sink. */
static void sink(ct_bpe_trainer *trainer, ct_pair_candidate candidate) {
    ct_pair_candidate *heap = trainer->heap;
    size_t at = 0, child;
    while ((child = 2 * at + 1) < trainer->heap_count) {
        if (child + 1 < trainer->heap_count && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &candidate)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = candidate;
}

ct_status ct_bpe_queue_fresh(ct_bpe_trainer *trainer) {
    for (size_t i = 0; i < trainer->touched.count; i++) {
        ct_pair_count *entry = &trainer->pairs[trainer->touched.ids[i]];
        ct_pair_candidate candidate = {entry->count, entry->pair, entry->fresh};
        if (entry->count > 0) {
            ct_status status = push(trainer, candidate);
            if (status != CT_OK) return status;
        } else {
            ct_ids_free(trainer->context, &entry->fresh);
        }
        memset(&entry->fresh, 0, sizeof entry->fresh);
    }
    trainer->touched.count = 0;
    return CT_OK;
}

bool ct_bpe_pop_pair(ct_bpe_trainer *trainer, ct_pair_candidate *best) {
    while (trainer->heap_count) {
        ct_pair_candidate top = trainer->heap[0];
        int64_t count = trainer->pairs[trainer->slots[slot_of(trainer, top.pair)] - 1].count;
        if (top.count != count) { /* it changed since it was queued */
            top.count = count;
            sink(trainer, top);
            continue;
        }
        *best = top;
        if (--trainer->heap_count) sink(trainer, trainer->heap[trainer->heap_count]);
        return true;
    }
    return false;
}

void ct_bpe_trainer_free(ct_bpe_trainer *trainer) {
    ct_context *context = trainer->context;
    for (size_t i = 0; i < trainer->pair_count; i++)
        ct_ids_free(context, &trainer->pairs[i].fresh);
    for (size_t i = 0; i < trainer->heap_count; i++)
        ct_ids_free(context, &trainer->heap[i].words);
    ct_names_free(context, &trainer->word_table);
    ct_free(context, trainer->words);
    ct_free(context, trainer->symbols);
    ct_free(context, trainer->pairs);
    ct_free(context, trainer->slots);
    ct_ids_free(context, &trainer->touched);
    ct_free(context, trainer->heap);
    ct_bytes_free(context, &trainer->spelling);
}
