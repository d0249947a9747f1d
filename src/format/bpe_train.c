/* bpe_train.c - trains byte-level BPE (Sennrich et al., arXiv:1508.07909, algorithm 1) incrementally: words
 * with their counts, counts of neighbouring pairs, and a heap of pairs that remember which words may hold
 * them. Order of merges: the highest count, then the lowest ids; the same vocabulary as Hugging Face
 * tokenizers trains. */
#include "format/bpe_train.h"
#include "carat/format.h"
#include "format/byte_level.h"
#include "format/pretokenize.h"
#include <string.h>

/* ----------------------------------------------------------------------------------------- counting words */

static ct_status add_word(ct_bpe_trainer *trainer, const char *text, size_t length) {
    ct_context *context = trainer->context;
    int32_t index = ct_names_get(&trainer->word_table, text, length);
    if (index >= 0) {
        trainer->words[index].count++;
        return CT_OK;
    }
    if (length > INT32_MAX || trainer->word_count == INT32_MAX)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "tokenizer training: too many or too long words");
    if (trainer->word_count == trainer->word_capacity) {
        size_t capacity = trainer->word_capacity * 2 + 1024;
        ct_training_word *larger =
            ct_realloc(context, trainer->words, capacity * sizeof *larger, CT_MEMORY_WORKSPACE);
        if (!larger) return ct_context_status(context);
        trainer->words = larger;
        trainer->word_capacity = capacity;
    }
    trainer->words[trainer->word_count] =
        (ct_training_word){.text = text, .length = (int32_t)length, .count = 1};
    trainer->symbol_count += length;
    return ct_names_put(context, &trainer->word_table, text, length, (int32_t)trainer->word_count++);
}

static ct_status count_words(ct_bpe_trainer *trainer, const ct_text *texts, size_t count) {
    ct_context *context = trainer->context;
    double total = 0, done = 0;
    size_t seen = 0;
    for (size_t i = 0; i < count; i++)
        total += (double)texts[i].length;
    for (size_t i = 0; i < count; i++) {
        for (size_t start = 0, end; start < texts[i].length; start = end) {
            end = ct_gpt2_word(texts[i].data, texts[i].length, start);
            ct_status status = add_word(trainer, texts[i].data + start, end - start);
            if (status != CT_OK) return status;
            if (++seen % 65536) continue;
            if (ct_stop_requested(context))
                return ct_fail(context, CT_ERROR_INTERRUPTED, "tokenizer training was interrupted");
            ct_progress(context, "counting words", done + (double)end, total, "bytes", "");
        }
        done += (double)texts[i].length;
    }
    ct_progress_finish(context, "counting words", done, "bytes", "");
    return CT_OK;
}

/* Words become rows of ids in one array; words of one symbol have no pairs and are left out later. */
static ct_status spell_words(ct_bpe_trainer *trainer) {
    trainer->symbols =
        ct_alloc(trainer->context, trainer->symbol_count * sizeof *trainer->symbols, CT_MEMORY_WORKSPACE);
    if (!trainer->symbols) return ct_context_status(trainer->context);
    int32_t *next = trainer->symbols;
    for (size_t i = 0; i < trainer->word_count; i++) {
        ct_training_word *word = &trainer->words[i];
        word->symbols = next;
        for (int32_t j = 0; j < word->length; j++)
            *next++ = trainer->tokenizer->bpe.byte_ids[(unsigned char)word->text[j]];
    }
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------------ merging */

/* Replaces left, right by `result` in a word and counts the pairs that go and come. */
static ct_status merge_word(ct_bpe_trainer *trainer, int32_t index, const ct_merge *merge) {
    ct_training_word *word = &trainer->words[index];
    int32_t *symbols = word->symbols, kept = 0;
    for (int32_t i = 0; i < word->length; i++) {
        if (symbols[i] != merge->left || i + 1 >= word->length || symbols[i + 1] != merge->right) {
            symbols[kept++] = symbols[i];
            continue;
        }
        ct_status status = CT_OK;
        if (kept > 0) {
            status = ct_bpe_count_pair(trainer, symbols[kept - 1], merge->left, -word->count, -1);
            if (status == CT_OK)
                status = ct_bpe_count_pair(trainer, symbols[kept - 1], merge->result, word->count, index);
        }
        if (status == CT_OK && i + 2 < word->length) {
            status = ct_bpe_count_pair(trainer, merge->right, symbols[i + 2], -word->count, -1);
            if (status == CT_OK)
                status = ct_bpe_count_pair(trainer, merge->result, symbols[i + 2], word->count, index);
        }
        if (status != CT_OK) return status;
        symbols[kept++] = merge->result;
        i++;
    }
    word->length = kept;
    return CT_OK;
}

/* The token that a merge makes: one that has this spelling already, or a new one. */
static ct_status make_token(ct_bpe_trainer *trainer, ct_merge *merge) {
    ct_tokenizer *tokenizer = trainer->tokenizer;
    const ct_token *left = &tokenizer->tokens[merge->left], *right = &tokenizer->tokens[merge->right];
    trainer->spelling.length = 0;
    ct_status status =
        ct_bytes_append(trainer->context, &trainer->spelling, left->symbol, left->symbol_length);
    if (status == CT_OK)
        status = ct_bytes_append(trainer->context, &trainer->spelling, right->symbol, right->symbol_length);
    if (status != CT_OK) return status;
    merge->result = ct_names_get(&tokenizer->symbols, trainer->spelling.data, trainer->spelling.length);
    if (merge->result < 0) {
        merge->result = tokenizer->size;
        status = ct_tokenizer_put_byte_level(tokenizer, merge->result, trainer->spelling.data,
                                             trainer->spelling.length);
    }
    return status == CT_OK ? ct_bpe_add_merge(tokenizer, merge->left, merge->right, merge->result) : status;
}

static ct_status merge_pair(ct_bpe_trainer *trainer, const ct_pair_candidate *candidate) {
    ct_merge merge = {(int32_t)(candidate->pair >> 32), (int32_t)(uint32_t)candidate->pair, -1};
    ct_status status = make_token(trainer, &merge);
    for (size_t i = 0; i < candidate->words.count && status == CT_OK; i++)
        status = merge_word(trainer, candidate->words.ids[i], &merge);
    return status == CT_OK ? ct_bpe_queue_fresh(trainer) : status;
}

static ct_status merge_all(ct_bpe_trainer *trainer, const ct_bpe_options *options) {
    ct_context *context = trainer->context;
    ct_tokenizer *tokenizer = trainer->tokenizer;
    ct_status status = ct_bpe_count_all_pairs(trainer);
    if (status == CT_OK) status = ct_bpe_queue_fresh(trainer);
    ct_pair_candidate best;
    while (status == CT_OK && tokenizer->size < options->vocab_size && ct_bpe_pop_pair(trainer, &best)) {
        if (best.count < options->min_frequency || best.count < 1) {
            ct_ids_free(context, &best.words);
            break;
        }
        status = ct_stop_requested(context)
                     ? ct_fail(context, CT_ERROR_INTERRUPTED, "tokenizer training was interrupted")
                     : merge_pair(trainer, &best);
        ct_ids_free(context, &best.words);
        if (tokenizer->size % 64 == 0)
            ct_progress(context, "training tokenizer", tokenizer->size, (double)options->vocab_size, "tokens",
                        "");
    }
    if (status == CT_OK) ct_progress_finish(context, "training tokenizer", tokenizer->size, "tokens", "");
    return status;
}

/* -------------------------------------------------------------------------------------------------- whole */

/* Special tokens, then the bytes in the order of the code points that stand for them. */
static ct_status begin_vocabulary(ct_tokenizer *tokenizer, const char *const *special_tokens) {
    ct_status status = CT_OK;
    for (; status == CT_OK && special_tokens && *special_tokens; special_tokens++) {
        const char *token = *special_tokens;
        int32_t id = tokenizer->size;
        if (ct_tokenizer_find(tokenizer, token) >= 0)
            return ct_fail(tokenizer->context, CT_ERROR_ARGUMENT, "the special token \"%s\" is given twice",
                           token);
        status = ct_tokenizer_put(tokenizer, id, token, strlen(token), NULL, 0, true);
        if (status == CT_OK)
            status = ct_tokenizer_add(tokenizer, token, strlen(token),
                                      (ct_added_token){.id = id, .special = true});
    }
    for (uint32_t code = 0; code < 324 && status == CT_OK; code++) {
        int value = ct_symbol_byte(code);
        char byte = (char)value, symbol[4];
        if (value < 0) continue;
        size_t length = ct_bytes_spell(&byte, 1, symbol);
        if (ct_names_get(&tokenizer->symbols, symbol, length) >= 0)
            return ct_fail(tokenizer->context, CT_ERROR_ARGUMENT,
                           "the special token \"%.*s\" is the symbol of a byte", (int)length, symbol);
        status = ct_tokenizer_put_byte_level(tokenizer, tokenizer->size, symbol, length);
    }
    return status;
}

static ct_status check_options(ct_context *context, const ct_bpe_options *options) {
    int64_t least = 256;
    for (const char *const *token = options->special_tokens; token && *token; token++)
        least++;
    if (options->vocab_size < least || options->vocab_size > 1 << 24)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "vocab_size %lld: expected %lld (256 bytes and the special tokens) to %d",
                       (long long)options->vocab_size, (long long)least, 1 << 24);
    if (options->min_frequency < 1)
        return ct_fail(context, CT_ERROR_ARGUMENT, "min_frequency %lld: expected at least 1",
                       (long long)options->min_frequency);
    return CT_OK;
}

static ct_status set_parts(ct_tokenizer *tokenizer) {
    static const char *const names[] = {"pre_tokenizer", "post_processor", "decoder", "model"};
    static const char *const texts[] = {
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}",
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false,\"use_regex\":true}",
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}",
        CT_BPE_MODEL};
    ct_status status = CT_OK;
    tokenizer->bpe.by_bytes = true;
    tokenizer->scanner = &ct_scanner_gpt2;
    tokenizer->plain_decoder = true;
    for (int i = 0; i < 4 && status == CT_OK; i++)
        status = ct_tokenizer_set_part(tokenizer, names[i], texts[i]);
    return status;
}

/* The bytes' ids are wanted for training, the table of pairs only after it: both come from ct_bpe_finish. */
static ct_status finish(ct_tokenizer *tokenizer) {
    ct_free(tokenizer->context, tokenizer->bpe.pairs);
    tokenizer->bpe.pairs = NULL;
    ct_status status = ct_bpe_finish(tokenizer);
    return status == CT_OK ? ct_tokenizer_finish_added(tokenizer) : status;
}

ct_tokenizer *ct_bpe_train(ct_context *context, const ct_text *texts, size_t count,
                           const ct_bpe_options *options) {
    if (ct_failed(context) || check_options(context, options) != CT_OK) return NULL;
    ct_bpe_trainer trainer = {.context = context,
                              .tokenizer = ct_tokenizer_make(context, &ct_tokenizer_method_bpe)};
    if (!trainer.tokenizer) return NULL;
    ct_status status = set_parts(trainer.tokenizer);
    if (status == CT_OK) status = begin_vocabulary(trainer.tokenizer, options->special_tokens);
    if (status == CT_OK) status = finish(trainer.tokenizer);
    if (status == CT_OK) status = count_words(&trainer, texts, count);
    if (status == CT_OK) status = spell_words(&trainer);
    if (status == CT_OK) status = merge_all(&trainer, options);
    ct_bpe_trainer_free(&trainer);
    if (status == CT_OK) status = finish(trainer.tokenizer);
    if (status == CT_OK) return trainer.tokenizer;
    ct_tokenizer_destroy(trainer.tokenizer);
    return NULL;
}
