/* tokenizer_parts.h - the tokenizer from inside: its vocabulary, its added tokens, and the kinds' functions.
 */
#ifndef CARAT_FORMAT_TOKENIZER_PARTS_H
#define CARAT_FORMAT_TOKENIZER_PARTS_H

#include "carat/tokenizer.h"
#include "format/arena.h"
#include "format/name_table.h"
#include "format/tokenizer_steps.h"
#include "format/trie.h"

typedef struct ct_token {
    const char *symbol; /* its spelling; NULL: no token has this id */
    const char *bytes;  /* what it stands for */
    uint32_t symbol_length, length;
    bool in_model; /* in the model's vocabulary, not only an added token */
    bool special;
    uint32_t added; /* its place in the list of added tokens and 1; 0: it is not there */
} ct_token;

/* An added token is found in the text before the model sees it. */
typedef struct ct_added_token {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    const char *spelling; /* what is looked for, and what decoders see: its text, normalized if it is to be */
    uint32_t spelling_length;
} ct_added_token;

/* Added tokens to look for in one pass over the text. */
typedef struct ct_added_set {
    ct_name_table names; /* token text to its place in the list of added tokens */
    uint32_t *lengths;   /* the distinct lengths, largest first */
    size_t length_count;
    bool first[256]; /* bytes that a token begins with */
} ct_added_set;

typedef struct ct_merge {
    int32_t left, right, result;
} ct_merge;

typedef struct ct_pair_entry {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* UINT32_MAX: free */
    int32_t result;
} ct_pair_entry;

/* The last words and their ids, per worker: a word always gives the same ids, so this changes only the time.
 */
enum { CT_CACHE_WORDS = 8192, CT_CACHE_LENGTH = 22, CT_CACHE_IDS = 10 };
typedef struct ct_cached_word {
    uint8_t length, count; /* length 0: free */
    char word[CT_CACHE_LENGTH];
    int32_t ids[CT_CACHE_IDS];
} ct_cached_word;

typedef struct ct_bpe {
    ct_merge *merges; /* by rank */
    size_t merge_count, merge_capacity;
    ct_pair_entry *pairs;
    size_t pair_capacity;  /* a power of two */
    int32_t byte_ids[256]; /* of the byte-level alphabet; -1: the vocabulary lacks the byte */
    int32_t *code_ids; /* of the first CT_CODE_IDS characters, where words are cut into characters; or NULL */
    ct_text prefix, suffix; /* of characters within a word, of a word's last */
    bool fuse_unknown, ignore_merges, add_prefix_space, merges_as_text;
    bool by_bytes; /* words are bytes, spelled in the vocabulary by GPT-2's alphabet */
} ct_bpe;
enum { CT_CODE_IDS = 65536 };

/* What went wrong while a piece was encoded (tasks may not call into the context). */
typedef struct ct_encode_problem {
    bool found;
    size_t position; /* byte within the piece */
    uint32_t code;   /* a character, or a byte if `malformed` */
    bool malformed;
} ct_encode_problem;

typedef struct ct_encode_work {
    ct_cached_word *cache; /* CT_CACHE_WORDS of them, or NULL */
    void *scratch;         /* what scratch_size asked for */
} ct_encode_work;

typedef struct ct_tokenizer_method {
    const char *name;
    /* A word to ids; `out` has room for `length` of them. Returns how many. */
    size_t (*encode_word)(const ct_tokenizer *tokenizer, void *scratch, const char *word, size_t length,
                          int32_t *out, ct_encode_problem *problem);
    /* Bytes of scratch for a word of this length. */
    size_t (*scratch_size)(const ct_tokenizer *tokenizer, size_t length);
    bool wants_cache;
} ct_tokenizer_method;

extern const ct_tokenizer_method ct_tokenizer_method_bytes, ct_tokenizer_method_characters,
    ct_tokenizer_method_bpe, ct_tokenizer_method_wordlevel, ct_tokenizer_method_wordpiece,
    ct_tokenizer_method_unigram;
/* A word, through the cache. */
size_t ct_encode_cached(const ct_tokenizer *tokenizer, const ct_encode_work *work, const char *word,
                        size_t length, int32_t *out, ct_encode_problem *problem);

/* How a text is cut into words where no pre-tokenizers need to run: not at all, and it can be cut for the
 * workers anywhere, between characters, or nowhere; or before each U+2581 that does not follow another. */
extern const ct_scanner ct_scanner_bytes, ct_scanner_characters, ct_scanner_whole, ct_scanner_metaspace;

/* The model of a trained byte-level BPE, without its vocabulary and merges. */
#define CT_BPE_MODEL                                                                                         \
    "{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"              \
    "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false}"

enum { CT_ROLE_BOS, CT_ROLE_EOS, CT_ROLE_PAD, CT_ROLE_UNK, CT_ROLES };
extern const char *const ct_role_names[CT_ROLES];

struct ct_tokenizer {
    ct_context *context;
    const ct_tokenizer_method *kind;
    ct_token *tokens;
    int32_t size, capacity;
    ct_name_table symbols;
    ct_arena arena;
    ct_added_token *added;
    size_t added_count, added_capacity;
    ct_added_set plain_set, normalized_set; /* the second is looked for in what the first leaves */
    ct_ids prefix, suffix;                  /* the post-processor's template */
    int32_t roles[CT_ROLES];
    ct_steps *normalizer, *splitter, *decoder; /* of what `parts` says; NULL: none */
    const ct_scanner *scanner;                 /* cuts texts into words; NULL: the pre-tokenizers do */
    bool plain_decoder;                        /* decoding is putting the tokens' bytes together */
    int32_t unknown;                           /* id for what the vocabulary lacks; -1: that is an error */
    int32_t byte_tokens[256];                  /* "<0x00>" and so on, with byte_fallback */
    bool byte_fallback;
    ct_bpe bpe;
    ct_trie trie;   /* WordPiece, Unigram */
    double *scores; /* Unigram: by id */
    double unknown_score;
    bool hides_bytes;    /* Unigram: byte tokens are not found in texts */
    uint32_t word_root;  /* WordPiece: where in the trie the rest of a word begins */
    size_t longest_word; /* WordPiece: in characters */
    ct_cached_word *cache;
    int cache_workers;
    ct_bytes normal[2]; /* kept from text to text */
    ct_words words[2];
    int32_t *codes;
    size_t code_capacity;
    ct_value *parts;  /* version, truncation, padding, normalizer, pre_tokenizer, post_processor, decoder, as
                         they are in tokenizer.json */
    ct_value *model;  /* "model" without its vocabulary and merges */
    ct_value *config; /* tokenizer_config.json, or NULL */
    ct_value *special_map; /* special_tokens_map.json, or NULL */
};

/* An empty tokenizer of a kind. */
ct_tokenizer *ct_tokenizer_make(ct_context *context, const ct_tokenizer_method *kind);
/* Gives an id a token; `bytes` NULL: the symbol's own. Both are copied. Fails if id or symbol are taken. */
ct_status ct_tokenizer_put(ct_tokenizer *tokenizer, int32_t id, const char *symbol, size_t symbol_length,
                           const char *bytes, size_t length, bool in_model);
/* Puts a token of a byte-level vocabulary: its bytes are those it spells, else its own. */
ct_status ct_tokenizer_put_byte_level(ct_tokenizer *tokenizer, int32_t id, const char *symbol, size_t length);
/* Makes a token, which exists or is made with this id, one that is looked for in the text. */
ct_status ct_tokenizer_add(ct_tokenizer *tokenizer, const char *content, size_t length, ct_added_token added);
/* Prepares the search for added tokens; after the last ct_tokenizer_add. */
ct_status ct_tokenizer_finish_added(ct_tokenizer *tokenizer);
/* Sets a part of tokenizer.json from JSON text; "model" without vocabulary and merges. */
ct_status ct_tokenizer_set_part(ct_tokenizer *tokenizer, const char *name, const char *json);
/* tokenizer_pipeline.c: makes the steps that `parts` names and decides which way texts take; after the
 * vocabulary and before the added tokens. */
ct_status ct_tokenizer_read_steps(ct_tokenizer *tokenizer, const char *path);
ct_status ct_tokenizer_choose_way(ct_tokenizer *tokenizer, const char *path);
/* Whether it is BPE over bytes, by its pre-tokenizers: then its vocabulary is spelled in the alphabet of
 * bytes. */
bool ct_tokenizer_is_byte_level(const ct_tokenizer *tokenizer);

/* The next added token in text[from, length) that `flags` lets be seen: its place among the added tokens and
 * where it begins and ends (with the white space it takes). False if there is none. */
bool ct_added_next(const ct_tokenizer *tokenizer, const ct_added_set *set, const char *text, size_t length,
                   size_t from, unsigned flags, const ct_added_token **token, size_t *begin, size_t *end);
/* tokenizer_decode.c: gives tokens as their bytes what the decoders make of them behind another token. */
ct_status ct_tokenizer_spell_out(ct_tokenizer *tokenizer);
/* The id of "<0x0A>" and the like for each byte; whether all are there. */
bool ct_tokenizer_find_bytes(ct_tokenizer *tokenizer);

/* tokenizer_encode.c: what the normalizers make of a text; *result lives until the next call, or is the text.
 * *first becomes false if what stood at the beginning is gone; it may be NULL. */
ct_status ct_tokenizer_normalize(ct_tokenizer *tokenizer, ct_text text, ct_text *result, bool *first);

/* bpe.c: adds a merge of next rank; then, when all are there, finds the bytes' ids and the pairs. */
ct_status ct_bpe_add_merge(ct_tokenizer *tokenizer, int32_t left, int32_t right, int32_t result);
ct_status ct_bpe_finish(ct_tokenizer *tokenizer);
/* bpe_characters.c: the ids of a word's characters, before any merge; the table of characters for it. */
size_t ct_bpe_spell_characters(const ct_tokenizer *tokenizer, const char *word, size_t length, int32_t *out,
                               ct_encode_problem *problem);
ct_status ct_bpe_make_codes(ct_tokenizer *tokenizer);
/* Whether no merge joins something that does not end with U+2581 with something that holds one: then words
 * begin at each U+2581 that does not follow another. */
bool ct_bpe_splits_at_marks(const ct_tokenizer *tokenizer);

/* What these models need beside the vocabulary. */
bool ct_tokenizer_is_byte_token(const ct_tokenizer *tokenizer, int32_t id);
/* The trie of the model's tokens, those that `hidden` says left out (may be NULL). */
ct_status ct_tokenizer_make_trie(ct_tokenizer *tokenizer,
                                 bool (*hidden)(const ct_tokenizer *tokenizer, int32_t id));
/* When the special tokens are known: they are not found in texts. */
ct_status ct_unigram_make_trie(ct_tokenizer *tokenizer);
ct_status ct_wordpiece_finish(ct_tokenizer *tokenizer, const char *path);
ct_status ct_unigram_finish(ct_tokenizer *tokenizer, const char *path);

/* tokenizer_config.c: reads the files beside a tokenizer for roles. With `add`, tokens that have a role
 * become special added tokens (what transformers does where there is no tokenizer.json). */
ct_status ct_tokenizer_read_roles(ct_tokenizer *tokenizer, const char *folder, bool add);
/* Reads FOLDER/NAME as JSON if it is there; *value is NULL if not. */
ct_status ct_tokenizer_read_beside(ct_context *context, const char *folder, const char *name,
                                   ct_value **value);
#endif
