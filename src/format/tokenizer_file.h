/* tokenizer_file.h - what tokenizer.json, or vocab.json and merges.txt, say, before a tokenizer is made of
 * it. */
#ifndef CARAT_FORMAT_TOKENIZER_FILE_H
#define CARAT_FORMAT_TOKENIZER_FILE_H

#include "format/tokenizer_parts.h"

typedef struct ct_vocabulary_entry {
    const char *symbol;
    size_t length;
    int64_t id;
    double score; /* Unigram */
} ct_vocabulary_entry;

typedef struct ct_merge_entry {
    const char *left, *right;
    size_t left_length, right_length;
} ct_merge_entry;

typedef struct ct_tokenizer_file {
    bool
        hides_bytes; /* Unigram: "<0x0A>" in a text is text, as SentencePiece has it and tokenizer.json not */
    ct_context *context;
    const char *path;                       /* for messages */
    ct_value *parts;                        /* the small parts of tokenizer.json by name */
    ct_value *model;                        /* the model's plain values */
    bool has_model, merges_as_text, scored; /* scored: the vocabulary is a list with scores */
    ct_arena arena;
    ct_vocabulary_entry *vocabulary;
    size_t vocabulary_count, vocabulary_capacity;
    ct_merge_entry *merges;
    size_t merge_count, merge_capacity;
} ct_tokenizer_file;

void ct_tokenizer_file_free(ct_tokenizer_file *file);
/* tokenizer_json.c */
ct_status ct_tokenizer_file_parse(ct_tokenizer_file *file, const char *text, size_t length);
ct_status ct_tokenizer_file_parse_vocabulary(ct_tokenizer_file *file, const char *text, size_t length);
ct_status ct_tokenizer_file_parse_merges(ct_tokenizer_file *file, const char *text, size_t length);
/* tokenizer_vocab.c: vocab.txt, and what tokenizer.json would say of it and of tokenizer_config.json. */
ct_status ct_tokenizer_file_parse_lines(ct_tokenizer_file *file, const char *text, size_t length);
ct_status ct_tokenizer_file_set_bert_parts(ct_tokenizer_file *file, const char *folder);
/* Adds a token, whose text must live as long as the file; false without memory. */
bool ct_tokenizer_file_add(ct_tokenizer_file *file, const char *symbol, size_t length, int64_t id,
                           double score);
bool ct_tokenizer_file_add_merge(ct_tokenizer_file *file, ct_merge_entry entry);
/* tokenizer_build.c: a tokenizer of it, NULL on error. */
ct_tokenizer *ct_tokenizer_build(ct_tokenizer_file *file);
/* tokenizer_template.c: what the post-processor puts around a text. */
ct_status ct_tokenizer_read_template(ct_tokenizer *tokenizer, const char *path);
/* Reads "added_tokens" as in tokenizer.json: a list of maps with id, content and flags. */
ct_status ct_tokenizer_build_added(ct_tokenizer *tokenizer, const char *path, const ct_value *list);
#endif
