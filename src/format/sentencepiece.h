/* sentencepiece.h - what a SentencePiece model file (tokenizer.model) says. */
#ifndef CARAT_FORMAT_SENTENCEPIECE_H
#define CARAT_FORMAT_SENTENCEPIECE_H

#include "format/tokenizer_file.h"

typedef enum ct_piece_type {
    CT_PIECE_NORMAL = 1,
    CT_PIECE_UNKNOWN,
    CT_PIECE_CONTROL,
    CT_PIECE_USER_DEFINED,
    CT_PIECE_UNUSED,
    CT_PIECE_BYTE
} ct_piece_type;

typedef struct ct_sentencepiece {
    uint8_t *types; /* of the pieces, which are in the file's vocabulary */
    size_t type_capacity;
    int64_t model_type; /* 1: Unigram, 2: BPE */
    int64_t unk, bos, eos;
    bool byte_fallback, dummy_prefix, remove_spaces, escape_spaces, suffix_spaces;
    ct_text charsmap; /* borrowed from the file's bytes */
} ct_sentencepiece;

/* sentencepiece.c: reads the messages; pieces go into the vocabulary of `file`. */
ct_status ct_sentencepiece_read(ct_tokenizer_file *file, ct_sentencepiece *model, const char *data,
                                size_t size);
/* sentencepiece_parts.c: sets what tokenizer.json would say, by the model and tokenizer_config.json (may be
 * NULL); for BPE also the merges. */
ct_status ct_sentencepiece_set_parts(ct_tokenizer_file *file, const ct_sentencepiece *model,
                                     const ct_value *config);
ct_status ct_sentencepiece_make_merges(ct_tokenizer_file *file, const ct_sentencepiece *model);
#endif
