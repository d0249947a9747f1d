/* tokenizer.h - text to token ids and back: plain bytes, plain characters, and what tokenizer.json files
 * describe: BPE (over bytes or characters), WordPiece, Unigram and word lists, with their normalizers,
 * pre-tokenizers, post-processors and decoders; and the training of characters and byte-level BPE. Folders
 * written here load in Hugging Face tokenizers and transformers, and the other way round; unknown parts are
 * refused by name. */
#ifndef CARAT_TOKENIZER_H
#define CARAT_TOKENIZER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Growing arrays. Start with {0}; memory is from ct_alloc of the context given when they grow. */
typedef struct ct_ids {
    int32_t *ids;
    size_t count, capacity;
} ct_ids;
void ct_ids_free(ct_context *context, ct_ids *ids);
ct_status ct_ids_reserve(ct_context *context, ct_ids *ids, size_t extra); /* room for `extra` more */
ct_status ct_ids_push(ct_context *context, ct_ids *ids, int32_t id);

typedef struct ct_bytes {
    char *data; /* a NUL stands after the last byte once something was appended */
    size_t length, capacity;
} ct_bytes;
void ct_bytes_free(ct_context *context, ct_bytes *bytes);
ct_status ct_bytes_append(ct_context *context, ct_bytes *bytes, const void *data, size_t length);

typedef struct ct_tokenizer ct_tokenizer;

/* From a file tokenizer.json, tokenizer.model (SentencePiece) or vocab.txt, or a folder with tokenizer.json,
 * vocab.json + merges.txt, tokenizer.model or vocab.txt (BERT), the first that is there;
 * tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json beside it name the
 * bos, eos and pad tokens. */
ct_tokenizer *ct_tokenizer_load(ct_context *context, const char *path);
/* From the text of a tokenizer.json; `name` is for messages. Roles (bos, eos, ...) are set with
 * ct_tokenizer_set_role. */
ct_tokenizer *ct_tokenizer_parse(ct_context *context, const char *json, size_t length, const char *name);
/* "bytes": 256 ids, each the value of its byte. */
ct_tokenizer *ct_tokenizer_from_kind(ct_context *context, const char *kind);
/* The distinct code points of a UTF-8 text, in order; a character that is not among them is an error in
 * encode. */
ct_tokenizer *ct_tokenizer_train_characters(ct_context *context, const char *text, size_t length);
void ct_tokenizer_destroy(ct_tokenizer *tokenizer); /* NULL is allowed */

/* Byte-level BPE training (Sennrich et al., arXiv:1508.07909; the byte alphabet of GPT-2): the ids are the
 * special tokens, the 256 byte symbols, then one token per merge of the most frequent pair, of equal counts
 * the pair with the lowest ids. The same result as ByteLevelBPETokenizer.train_from_iterator of Hugging Face
 * tokenizers. Each text is split by GPT-2's pattern on its own; pairs seen less than min_frequency times are
 * not merged. */
typedef struct ct_bpe_options {
    int64_t vocab_size;                /* 256 + special tokens at least */
    int64_t min_frequency;             /* at least 1; usual: 2 */
    const char *const *special_tokens; /* NULL-terminated, may be NULL */
} ct_bpe_options;
typedef struct ct_text {
    const char *data;
    size_t length;
} ct_text;
ct_tokenizer *ct_bpe_train(ct_context *context, const ct_text *texts, size_t count,
                           const ct_bpe_options *options);

/* tokenizer.json, tokenizer_config.json, special_tokens_map.json and, for BPE, vocab.json and merges.txt. */
ct_status ct_tokenizer_save(const ct_tokenizer *tokenizer, const char *folder);

const char *ct_tokenizer_kind(const ct_tokenizer *tokenizer); /* "bytes", "characters", "bpe",
                                                                 "wordpiece", "unigram", "wordlevel" */
int32_t ct_tokenizer_size(const ct_tokenizer *tokenizer);     /* ids are below it */
/* A token's bytes ("" and *length 0 for an id without a token); its spelling in the vocabulary ("\u0120the";
 * NULL for an id without a token); the id of a spelling, -1 if there is none. Pointers live as long as the
 * tokenizer. */
const char *ct_tokenizer_token(const ct_tokenizer *tokenizer, int32_t id, size_t *length);
const char *ct_tokenizer_symbol(const ct_tokenizer *tokenizer, int32_t id);
int32_t ct_tokenizer_find(const ct_tokenizer *tokenizer, const char *symbol);
bool ct_tokenizer_is_special(const ct_tokenizer *tokenizer, int32_t id);
/* Role: "bos", "eos", "pad", "unk"; -1 if the files name none. */
int32_t ct_tokenizer_role(const ct_tokenizer *tokenizer, const char *role);
/* Gives a role to a token of the vocabulary, which becomes special; saved with the folder. */
ct_status ct_tokenizer_set_role(ct_tokenizer *tokenizer, const char *role, const char *symbol);
/* A number of the vocabulary (spellings and ids): to see whether a model and a tokenizer belong together. */
uint64_t ct_tokenizer_fingerprint(const ct_tokenizer *tokenizer);

/* What a tokenizer is made of, for those that write it in another form (GGUF). Pointers live as long as it.
 */
typedef enum ct_token_type {
    CT_TOKEN_IS_NONE, /* no token has this id */
    CT_TOKEN_IS_NORMAL,
    CT_TOKEN_IS_UNKNOWN,      /* what the model gives for what it does not know */
    CT_TOKEN_IS_CONTROL,      /* special: bos, [CLS], <|im_end|> */
    CT_TOKEN_IS_USER_DEFINED, /* added, found in any text */
    CT_TOKEN_IS_BYTE          /* "<0x0A>" of a byte fallback */
} ct_token_type;
ct_token_type ct_tokenizer_token_type(const ct_tokenizer *tokenizer, int32_t id);
/* BPE's merges by rank; false beyond the last. */
size_t ct_tokenizer_merges(const ct_tokenizer *tokenizer);
bool ct_tokenizer_merge(const ct_tokenizer *tokenizer, size_t index, int32_t *left, int32_t *right,
                        int32_t *result);
/* Scores of all ct_tokenizer_size ids: Unigram's own; of BPE -1 - the rank of the first merge that makes the
 * token (SentencePiece's order), 0 for what no merge makes. */
void ct_tokenizer_scores(const ct_tokenizer *tokenizer, float *scores);
/* A part of tokenizer.json ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", ...) as
 * it was read; "model" is without vocabulary and merges. NULL if there is none. */
const ct_value *ct_tokenizer_part(const ct_tokenizer *tokenizer, const char *name);
/* The regular expression (or text) of the first Split, or GPT-2's where ByteLevel uses it; NULL without one.
 */
const char *ct_tokenizer_pattern(const ct_tokenizer *tokenizer);
bool ct_tokenizer_has_byte_fallback(const ct_tokenizer *tokenizer);
/* Whether spellings are GPT-2's alphabet for bytes. */
bool ct_tokenizer_is_byte_spelled(const ct_tokenizer *tokenizer);
/* The ids that CT_ENCODE_TEMPLATE puts before (or after) a text. */
const int32_t *ct_tokenizer_template(const ct_tokenizer *tokenizer, bool after, size_t *count);

typedef enum ct_encode_flags {
    CT_ENCODE_PLAIN = 0,   /* "<|endoftext|>" in the text is text like any other */
    CT_ENCODE_SPECIAL = 1, /* special tokens in the text become their ids (for trusted text: templates) */
    CT_ENCODE_TEMPLATE = 2 /* puts what the tokenizer's post-processor adds around the text (bos, eos) */
} ct_encode_flags;
/* Appends the ids of the text to `ids`. Any bytes are allowed for bytes and byte-level BPE; elsewhere bytes
 * that are not UTF-8 are unknown characters, which become the unknown token or byte tokens, or are an error
 * that names them. Long texts are encoded by all workers of the context, cut only where the ids cannot
 * change. */
ct_status ct_tokenizer_encode(ct_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                              ct_ids *ids);

typedef enum ct_decode_flags {
    CT_DECODE_PLAIN = 0,
    CT_DECODE_SKIP_SPECIAL = 1 /* special tokens give no text */
} ct_decode_flags;
/* Appends the text of the ids; an id beyond the vocabulary is CT_ERROR_ARGUMENT. */
ct_status ct_tokenizer_decode(const ct_tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags,
                              ct_bytes *text);

/* Decoding token by token: gives only whole UTF-8 characters and keeps the rest for the next token (bytes
 * that cannot become a character are given as they are). *text lives until the next call.
 * ct_text_stream_finish gives what is left. */
typedef struct ct_text_stream ct_text_stream;
ct_text_stream *ct_text_stream_create(const ct_tokenizer *tokenizer, unsigned flags);
ct_status ct_text_stream_push(ct_text_stream *stream, int32_t id, const char **text, size_t *length);
ct_status ct_text_stream_finish(ct_text_stream *stream, const char **text, size_t *length);
void ct_text_stream_destroy(ct_text_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
