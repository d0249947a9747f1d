/* tokenizer_steps.h - the steps of a tokenizer's pipeline: normalizers change a text, pre-tokenizers cut it
 * into words, decoders turn tokens back into text. Each kind of step stands in a table: name, known keys,
 * reading, doing. */
#ifndef CARAT_FORMAT_TOKENIZER_STEPS_H
#define CARAT_FORMAT_TOKENIZER_STEPS_H

#include "carat/tokenizer.h"
#include "format/regex.h"

enum { CT_STEPS_MOST = 64 };

typedef enum ct_behavior { /* of Split: what becomes of a match */
                           CT_REMOVED,
                           CT_ISOLATED,
                           CT_MERGED_WITH_PREVIOUS,
                           CT_MERGED_WITH_NEXT,
                           CT_CONTIGUOUS
} ct_behavior;
typedef enum ct_prepend { CT_PREPEND_ALWAYS, CT_PREPEND_FIRST, CT_PREPEND_NEVER } ct_prepend;

typedef struct ct_step_kind ct_step_kind;
typedef struct ct_charsmap ct_charsmap;
typedef struct ct_step { /* each kind uses what it needs */
    const ct_step_kind *kind;
    ct_text pattern, content; /* borrowed from the tokenizer's parts */
    ct_regex *regex;
    ct_charsmap *charsmap;
    ct_behavior behavior;
    ct_prepend prepend;
    bool invert, split, left, right, prefix_space, lowercase, accents, clean, chinese, cleanup;
    bool raw; /* ByteLevel: the model works on bytes, they need no spelling */
    size_t start, stop;
} ct_step;

typedef struct ct_steps {
    ct_step items[CT_STEPS_MOST];
    size_t count;
} ct_steps;

/* Words of a text. */
typedef struct ct_word {
    size_t begin, end;
    bool first; /* begins where the whole text began */
} ct_word;
typedef struct ct_words {
    ct_bytes text;
    ct_word *items;
    size_t count, capacity;
} ct_words;
void ct_words_free(ct_context *context, ct_words *words);
ct_status ct_words_push(ct_context *context, ct_words *words, size_t begin, size_t end, bool first);

/* What a normalizer works on. */
typedef struct ct_normal {
    ct_context *context;
    ct_text in;
    ct_bytes out;    /* empty at first */
    bool kept;       /* set: the text is the same, `out` is not used */
    bool moved;      /* set: what stood at the beginning is gone */
    int32_t **codes; /* a buffer of code points that is kept from call to call */
    size_t *code_capacity;
} ct_normal;

/* A token, or a piece of one, on its way through the decoders. */
typedef struct ct_decoding ct_decoding;
typedef struct ct_decoder_state {
    const ct_step *step;
    size_t tokens;   /* begun so far */
    bool open;       /* a token was begun in the stage after and not ended */
    bool has_before; /* `before` holds a token */
    bool started;    /* Strip: past the part to strip */
    size_t stripped; /* Strip: characters so far */
    ct_bytes held;   /* pieces of a token that is not complete */
    ct_bytes before; /* BPEDecoder, CTC: the token before */
} ct_decoder_state;
struct ct_decoding {
    ct_context *context;
    ct_bytes *out;
    size_t count, tokens; /* without any decoder, blanks stand between the tokens */
    ct_decoder_state stages[CT_STEPS_MOST];
};

struct ct_step_kind {
    const char *name, *keys; /* keys beside "type", with blanks between them */
    /* Reads and checks; NULL: there is nothing to read. `where` is for messages. */
    ct_status (*read)(ct_context *context, const ct_value *part, const char *where, ct_step *step);
    /* one of these, by the table that the kind stands in */
    ct_status (*normalize)(const ct_step *step, ct_normal *text);
    ct_status (*split)(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out);
    /* A piece of a token; `ends` with its last. */
    ct_status (*decode)(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends);
    ct_status (*finish)(ct_decoding *decoding, size_t stage); /* no more tokens; may be NULL */
};

typedef struct ct_step_table {
    const char *what;                 /* "normalizer" */
    const char *list_key;             /* "normalizers": where a Sequence keeps its steps */
    const ct_step_kind *const *kinds; /* NULL-terminated */
} ct_step_table;
extern const ct_step_table ct_normalizers, ct_pre_tokenizers, ct_decoders;

/* Reads a part of tokenizer.json, flattening Sequences. `part` must live as long as the steps. Unknown kinds,
 * keys and values are refused by name. */
ct_status ct_steps_read(ct_context *context, const ct_step_table *table, const ct_value *part,
                        const char *path, ct_steps *steps);
void ct_steps_free(ct_context *context, ct_steps *steps);

/* Keys of a part: present and of this type, or the default; else an error that names the key. */
ct_status ct_step_bool(ct_context *context, const ct_value *part, const char *where, const char *key,
                       bool otherwise, bool *value);
ct_status ct_step_text(ct_context *context, const ct_value *part, const char *where, const char *key,
                       ct_text *value);
/* {"String": "a"} or {"Regex": "a+"} at "pattern". */
ct_status ct_step_pattern(ct_context *context, const ct_value *part, const char *where, ct_step *step);
ct_status ct_step_choice(ct_context *context, const ct_value *part, const char *where, const char *key,
                         const char *const *choices, int otherwise, int *value);
/* One character. */
ct_status ct_step_character(ct_context *context, const ct_value *part, const char *where, const char *key,
                            ct_text *value);

/* Decoding: begin, a token after the other, finish. `out` receives the text. */
ct_status ct_decoding_begin(ct_decoding *decoding, ct_context *context, const ct_steps *steps, ct_bytes *out);
ct_status ct_decoding_push(ct_decoding *decoding, const char *token, size_t length);
ct_status ct_decoding_finish(ct_decoding *decoding);
void ct_decoding_free(ct_decoding *decoding);

/* tokenizer_split.c: the keys of Metaspace, which is a pre-tokenizer and a decoder. */
ct_status ct_step_metaspace(ct_context *context, const ct_value *part, const char *where, ct_step *step);

/* tokenizer_charsmap.c: SentencePiece's compiled normalization rules, from base64. */
ct_charsmap *ct_charsmap_read(ct_context *context, const char *base64, size_t length, const char *where);
void ct_charsmap_free(ct_context *context, ct_charsmap *map);
ct_status ct_charsmap_apply(const ct_charsmap *map, ct_normal *text);
#endif
