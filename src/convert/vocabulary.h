/* vocabulary.h - internal: a tokenizer between tokenizer.json and the keys of GGUF. */
#ifndef CARAT_CONVERT_VOCABULARY_H
#define CARAT_CONVERT_VOCABULARY_H

#include "carat/gguf.h"
#include "format/arena.h"
#include "format/name_table.h"

typedef enum ct_vocabulary_kind {                       /* tokenizer.ggml.model */
                                  CT_VOCABULARY_BYTES,  /* "gpt2": BPE over bytes, with merges */
                                  CT_VOCABULARY_PIECES, /* "llama": SentencePiece's BPE, with scores */
                                  CT_VOCABULARY_WORDS   /* "bert": WordPiece */
} ct_vocabulary_kind;

enum { /* llama.cpp's token types */
       CT_TOKEN_NORMAL = 1,
       CT_TOKEN_UNKNOWN,
       CT_TOKEN_CONTROL,
       CT_TOKEN_USER_DEFINED,
       CT_TOKEN_UNUSED,
       CT_TOKEN_BYTE
};

typedef struct ct_vocabulary_token {
    const char *text; /* NULL: none of this number */
    uint32_t length;
    float score;
    int type;
} ct_vocabulary_token;

typedef struct ct_vocabulary_merge {
    const char *left, *right; /* NUL-terminated */
} ct_vocabulary_merge;

typedef enum ct_vocabulary_special {
    CT_BOS,
    CT_EOS,
    CT_UNK,
    CT_SEP,
    CT_PAD,
    CT_CLS,
    CT_MASK,
    CT_SPECIALS
} ct_vocabulary_special;
extern const char *const ct_vocabulary_special_names[CT_SPECIALS]; /* "bos", ... */

typedef struct ct_vocabulary {
    ct_context *context;
    const char *path; /* of tokenizer.json, for messages; borrowed */
    ct_vocabulary_kind kind;
    char model_type[24]; /* "BPE" */
    ct_vocabulary_token *tokens;
    size_t count, capacity;
    ct_vocabulary_merge *merges;
    size_t merge_count, merge_capacity;
    ct_name_table names; /* text to number */
    ct_arena texts;
    bool ignore_merges, byte_fallback;
    ct_value *rest;   /* the other parts of tokenizer.json: normalizer, pre_tokenizer, ... */
    ct_value *config; /* tokenizer_config.json; NULL if there is none */
} ct_vocabulary;

/* Reads FOLDER/tokenizer.json and tokenizer_config.json. Starts with {0}; free it also after an error. */
ct_status ct_vocabulary_read(ct_context *context, const char *folder, ct_vocabulary *vocabulary);
void ct_vocabulary_free(ct_vocabulary *vocabulary);
ct_status ct_vocabulary_set(ct_vocabulary *vocabulary, const char *text, size_t length, int64_t number,
                            int type);
/* llama.cpp's name for the pre-tokenizer of a byte-level BPE; an unknown one is an error that shows it. */
const char *ct_pretokenizer_name(ct_vocabulary *vocabulary);
/* The reverse: the pre_tokenizer of tokenizer.json; *ignore_merges as llama.cpp has it for the name. NULL on
 * error. */
ct_value *ct_pretokenizer_of(ct_context *context, const char *name, size_t length, bool *ignore_merges);
/* Writes all keys tokenizer.*; the vocabulary is filled up to `size` tokens. `config`: config.json. */
ct_status ct_vocabulary_to_gguf(ct_vocabulary *vocabulary, const char *folder, const ct_value *config,
                                size_t size, ct_gguf_writer *writer);
/* Writes FOLDER/tokenizer.json and tokenizer_config.json from GGUF's keys; nothing if there is no vocabulary.
 */
ct_status ct_vocabulary_from_gguf(ct_context *context, const ct_gguf *gguf, const char *folder);

#endif
