/* bpe_train.h - the state of BPE training: words, pairs, and the heap of candidates. */
#ifndef CARAT_FORMAT_BPE_TRAIN_H
#define CARAT_FORMAT_BPE_TRAIN_H

#include "format/tokenizer_parts.h"

typedef struct ct_training_word {
    const char *text; /* in the caller's text */
    int32_t *symbols;
    int32_t length; /* symbols left */
    int64_t count;
} ct_training_word;

/* A pair and its count over all words. `fresh` are the words in which it appeared since it was last queued.
 */
typedef struct ct_pair_count {
    uint64_t pair; /* left << 32 | right */
    int64_t count;
    ct_ids fresh;
} ct_pair_count;

/* A queued pair: its count when it was queued and the words to look at. */
typedef struct ct_pair_candidate {
    int64_t count;
    uint64_t pair;
    ct_ids words;
} ct_pair_candidate;

typedef struct ct_bpe_trainer {
    ct_context *context;
    ct_tokenizer *tokenizer;
    ct_name_table word_table;
    ct_training_word *words;
    size_t word_count, word_capacity;
    int32_t *symbols; /* of all words */
    size_t symbol_count;
    ct_pair_count *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *slots; /* hash table of places in `pairs`, plus one */
    size_t slot_count;
    ct_ids touched; /* pairs with fresh words */
    ct_pair_candidate *heap;
    size_t heap_count, heap_capacity;
    ct_bytes spelling;
} ct_bpe_trainer;

/* Adds `change` to a pair's count; `word` >= 0 notes that the pair is new there. */
ct_status ct_bpe_count_pair(ct_bpe_trainer *trainer, int32_t left, int32_t right, int64_t change,
                            int32_t word);
/* Counts the pairs of all words. */
ct_status ct_bpe_count_all_pairs(ct_bpe_trainer *trainer);
/* Queues the pairs with fresh words. */
ct_status ct_bpe_queue_fresh(ct_bpe_trainer *trainer);
/* Takes the pair of the highest count, of equal ones the lowest; its words become the caller's. */
bool ct_bpe_pop_pair(ct_bpe_trainer *trainer, ct_pair_candidate *best);
void ct_bpe_trainer_free(ct_bpe_trainer *trainer);
#endif
