/* tokenizer_pipeline.c - makes the steps that tokenizer.json names, and finds the ways that need none of
 * them: byte-level BPE over a pattern that is scanned by hand, and tokenizers without pre-tokenizers. */
#include "format/tokenizer_parts.h"
#include <string.h>

static size_t whole_word(const char *text, size_t length, size_t start) {
    (void)text, (void)start;
    return length;
}

static size_t cut_anywhere(const char *text, size_t length, size_t from) {
    (void)text;
    return from < length ? from : length;
}

static size_t cut_characters(const char *text, size_t length, size_t from) {
    while (from < length && ((unsigned char)text[from] & 0xc0) == 0x80)
        from++;
    return from < length ? from : length;
}

static size_t cut_nowhere(const char *text, size_t length, size_t from) {
    (void)text, (void)from;
    return length;
}

const ct_scanner ct_scanner_bytes = {"bytes", "", whole_word, cut_anywhere},
                 ct_scanner_characters = {"characters", "", whole_word, cut_characters},
                 ct_scanner_whole = {"whole", "", whole_word, cut_nowhere};

static ct_status read_part(ct_tokenizer *tokenizer, const ct_step_table *table, const char *name,
                           const char *path, ct_steps **steps) {
    const ct_value *part = ct_value_get(tokenizer->parts, name);
    *steps = NULL;
    if (ct_value_kind_of(part) == CT_VALUE_NULL) return CT_OK;
    *steps = ct_alloc_zero(tokenizer->context, sizeof **steps, CT_MEMORY_OTHER);
    return *steps ? ct_steps_read(tokenizer->context, table, part, path, *steps)
                  : ct_context_status(tokenizer->context);
}

ct_status ct_tokenizer_read_steps(ct_tokenizer *tokenizer, const char *path) {
    ct_status status = read_part(tokenizer, &ct_normalizers, "normalizer", path, &tokenizer->normalizer);
    if (status == CT_OK)
        status = read_part(tokenizer, &ct_pre_tokenizers, "pre_tokenizer", path, &tokenizer->splitter);
    if (status == CT_OK) status = read_part(tokenizer, &ct_decoders, "decoder", path, &tokenizer->decoder);
    return status;
}

static bool is_kind(const ct_step *step, const char *name) {
    return strcmp(step->kind->name, name) == 0;
}

static bool is_only(const ct_steps *steps, const char *name) {
    return steps && steps->count == 1 && is_kind(&steps->items[0], name);
}

/* Split whose matches follow each other without gaps and each become a word. */
static bool is_scanned(const ct_step *step) {
    bool kept =
        (step->behavior == CT_ISOLATED && !step->invert) || (step->behavior == CT_REMOVED && step->invert);
    return is_kind(step, "Split") && kept && ct_regex_scanner(step->regex);
}

/* BPE over bytes: ByteLevel is the last pre-tokenizer and the only one of its kind. */
bool ct_tokenizer_is_byte_level(const ct_tokenizer *tokenizer) {
    const ct_steps *steps = tokenizer->splitter;
    if (tokenizer->kind != &ct_tokenizer_method_bpe || !steps || !steps->count) return false;
    for (size_t i = 0; i < steps->count; i++)
        if (is_kind(&steps->items[i], "ByteLevel") != (i + 1 == steps->count)) return false;
    for (size_t i = 0; tokenizer->normalizer && i < tokenizer->normalizer->count; i++)
        if (is_kind(&tokenizer->normalizer->items[i], "ByteLevel")) return false;
    const ct_bpe *bpe = &tokenizer->bpe;
    return bpe->prefix.length == 0 && bpe->suffix.length == 0;
}

static void choose_byte_level(ct_tokenizer *tokenizer) {
    ct_steps *steps = tokenizer->splitter;
    ct_step *last = &steps->items[steps->count - 1];
    last->raw = true;
    if (steps->count == 1) {
        tokenizer->scanner = last->split ? &ct_scanner_gpt2 : &ct_scanner_whole;
        tokenizer->bpe.add_prefix_space = last->prefix_space;
    } else if (steps->count == 2 && is_scanned(&steps->items[0]) && !last->split && !last->prefix_space) {
        tokenizer->scanner = ct_regex_scanner(steps->items[0].regex);
    }
    tokenizer->plain_decoder = is_only(tokenizer->decoder, "ByteLevel");
}

/* Split into single characters, as this library writes its own character tokenizers. */
static bool is_by_character(const ct_tokenizer *tokenizer) {
    const ct_steps *steps = tokenizer->splitter;
    if (!is_only(steps, "Split") || tokenizer->normalizer) return false;
    const ct_step *step = &steps->items[0];
    return step->pattern.length == 6 && memcmp(step->pattern.data, "[\\s\\S]", 6) == 0 &&
           step->behavior == CT_ISOLATED && !step->invert && is_only(tokenizer->decoder, "Fuse");
}

ct_status ct_tokenizer_choose_way(ct_tokenizer *tokenizer, const char *path) {
    tokenizer->scanner = NULL;
    if (tokenizer->bpe.by_bytes) {
        if (tokenizer->byte_fallback)
            for (int i = 0; i < 256; i++)
                if (tokenizer->bpe.byte_ids[i] < 0)
                    return ct_fail(
                        tokenizer->context, CT_ERROR_UNSUPPORTED,
                        "%s: byte_fallback with a ByteLevel pre-tokenizer is not supported where the "
                        "vocabulary lacks a byte",
                        path);
        choose_byte_level(tokenizer);
    } else if (tokenizer->kind == &ct_tokenizer_method_wordlevel && is_by_character(tokenizer)) {
        tokenizer->kind = &ct_tokenizer_method_characters;
        tokenizer->scanner = &ct_scanner_characters;
        tokenizer->plain_decoder = true;
    } else if (!tokenizer->splitter) {
        bool marks = tokenizer->kind == &ct_tokenizer_method_bpe && ct_bpe_splits_at_marks(tokenizer);
        tokenizer->scanner = marks ? &ct_scanner_metaspace : &ct_scanner_whole;
    }
    return CT_OK;
}
