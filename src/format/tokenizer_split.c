/* tokenizer_split.c - the pre-tokenizers: they cut a text into the words that the model sees. */
#include "format/byte_level.h"
#include "format/tokenizer_steps.h"
#include "format/utf8.h"
#include <string.h>

/* --------------------------------------------------------------------------------- matches and behaviours */

/* Pieces of one word as they come, matches and what lies between, are put together by behaviour. */
typedef struct joiner {
    ct_context *context;
    ct_words *out;
    ct_behavior behavior;
    bool first, open, was_match;
    size_t origin, begin, end; /* the piece that is held back */
} joiner;

static ct_status release(joiner *state) {
    if (!state->open) return CT_OK;
    state->open = false;
    return ct_words_push(state->context, state->out, state->begin, state->end,
                         state->first && state->begin == state->origin);
}

static bool joins(const joiner *state, bool is_match) {
    switch (state->behavior) {
    case CT_CONTIGUOUS:
        return is_match == state->was_match;
    case CT_MERGED_WITH_PREVIOUS:
        return is_match && !state->was_match;
    case CT_MERGED_WITH_NEXT:
        return !is_match && state->was_match;
    default:
        return false;
    }
}

static ct_status add_piece(joiner *state, size_t begin, size_t end, bool is_match) {
    if (begin == end && !is_match) return CT_OK;
    bool joined = state->open && joins(state, is_match);
    if (joined) {
        state->end = end;
    } else {
        ct_status status = release(state);
        if (status != CT_OK) return status;
        state->open = state->behavior != CT_REMOVED || !is_match;
        state->begin = begin;
        state->end = end;
    }
    state->was_match = is_match;
    return CT_OK;
}

/* In a run of matches the last goes with what follows and the others stand alone, so MergedWithNext holds
 * one. */
static joiner begin_joiner(ct_context *context, const ct_step *step, const ct_word *word, ct_words *out) {
    return (joiner){.context = context,
                    .out = out,
                    .behavior = step->behavior,
                    .first = word->first,
                    .origin = word->begin};
}

/* The text stays as it is. */
static ct_status keep_text(ct_context *context, const ct_words *in, ct_words *out) {
    return ct_bytes_append(context, &out->text, in->text.data ? in->text.data : "", in->text.length);
}

static ct_status split_by_regex(ct_context *context, const ct_step *step, const ct_words *in,
                                const ct_word *word, ct_words *out) {
    const char *text = in->text.data + word->begin;
    size_t length = word->end - word->begin, last = 0;
    ct_regex_scan scan = {0};
    joiner state = begin_joiner(context, step, word, out);
    ct_status status = CT_OK;
    while (status == CT_OK && ct_regex_next(step->regex, text, length, &scan)) {
        status = add_piece(&state, word->begin + last, word->begin + scan.begin, step->invert);
        if (status == CT_OK)
            status = add_piece(&state, word->begin + scan.begin, word->begin + scan.end, !step->invert);
        last = scan.end;
    }
    if (ct_failed(context)) return ct_context_status(context);
    if (status == CT_OK && last < length)
        status = add_piece(&state, word->begin + last, word->end, step->invert);
    return status == CT_OK ? release(&state) : status;
}

static ct_status split(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out) {
    ct_status status = keep_text(context, in, out);
    for (size_t i = 0; i < in->count && status == CT_OK; i++)
        status = split_by_regex(context, step, in, &in->items[i], out);
    return status;
}

static const char *const behaviors[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};

static ct_status read_split(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    int behavior;
    ct_status status = ct_step_pattern(context, part, where, step);
    if (status == CT_OK) status = ct_step_choice(context, part, where, "behavior", behaviors, -1, &behavior);
    if (status == CT_OK) status = ct_step_bool(context, part, where, "invert", false, &step->invert);
    step->behavior = (ct_behavior)behavior;
    return status;
}

/* ------------------------------------------------------------------------------------------ by characters */

typedef bool (*code_test)(uint32_t code);

/* Each character that passes is a match. A stray byte passes no test. */
static ct_status split_by_codes(ct_context *context, const ct_step *step, code_test test, const ct_words *in,
                                ct_words *out) {
    ct_status status = keep_text(context, in, out);
    for (size_t i = 0; i < in->count && status == CT_OK; i++) {
        const ct_word *word = &in->items[i];
        joiner state = begin_joiner(context, step, word, out);
        size_t last = word->begin, size;
        for (size_t at = last; at < word->end && status == CT_OK; at += size) {
            uint32_t code;
            size = ct_utf8_decode(in->text.data + at, word->end - at, &code);
            if (!size || !test(code)) {
                size = size ? size : 1;
                continue;
            }
            status = add_piece(&state, last, at, false);
            if (status == CT_OK) status = add_piece(&state, at, at + size, true);
            last = at + size;
        }
        if (status == CT_OK) status = add_piece(&state, last, word->end, false);
        if (status == CT_OK) status = release(&state);
    }
    return status;
}

static ct_status split_at_spaces(ct_context *context, const ct_step *step, const ct_words *in,
                                 ct_words *out) {
    ct_step removed = *step;
    removed.behavior = CT_REMOVED;
    return split_by_codes(context, &removed, ct_is_white_space, in, out);
}

static ct_status split_at_punctuation(ct_context *context, const ct_step *step, const ct_words *in,
                                      ct_words *out) {
    return split_by_codes(context, step, ct_is_punctuation, in, out);
}

static ct_status read_punctuation(ct_context *context, const ct_value *part, const char *where,
                                  ct_step *step) {
    int behavior;
    ct_status status = ct_step_choice(context, part, where, "behavior", behaviors, CT_ISOLATED, &behavior);
    step->behavior = (ct_behavior)behavior;
    return status;
}

static ct_status split_at_digits(ct_context *context, const ct_step *step, const ct_words *in,
                                 ct_words *out) {
    return split_by_codes(context, step, ct_is_numeric, in, out);
}

static ct_status read_digits(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    bool single;
    ct_status status = ct_step_bool(context, part, where, "individual_digits", false, &single);
    step->behavior = single ? CT_ISOLATED : CT_CONTIGUOUS;
    return status;
}

/* What BERT does in two passes: white space goes, each punctuation character stands alone. */
static ct_status bert(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out) {
    ct_status status = keep_text(context, in, out);
    (void)step;
    for (size_t i = 0; i < in->count && status == CT_OK; i++) {
        const ct_word *word = &in->items[i];
        size_t last = word->begin, size;
        for (size_t at = last; at < word->end && status == CT_OK; at += size) {
            uint32_t code = 'a';
            size = ct_utf8_decode(in->text.data + at, word->end - at, &code);
            if (!size) size = 1;
            bool space = ct_is_white_space(code);
            if (!space && !ct_is_punctuation(code)) continue;
            status = ct_words_push(context, out, last, at, word->first && last == word->begin);
            if (status == CT_OK && !space)
                status = ct_words_push(context, out, at, at + size, word->first && at == word->begin);
            last = at + size;
        }
        if (status == CT_OK)
            status = ct_words_push(context, out, last, word->end, word->first && last == word->begin);
    }
    return status;
}

/* \w+|[^\w\s]+, what lies between is dropped. */
static ct_status whitespace(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out) {
    enum { SPACE, WORD, OTHER };
    ct_status status = keep_text(context, in, out);
    (void)step;
    for (size_t i = 0; i < in->count && status == CT_OK; i++) {
        const ct_word *word = &in->items[i];
        size_t begin = word->begin, size;
        int before = SPACE;
        for (size_t at = begin; at < word->end && status == CT_OK; at += size) {
            uint32_t code = '?';
            size = ct_utf8_decode(in->text.data + at, word->end - at, &code);
            if (!size) size = 1;
            int class = ct_is_white_space(code) ? SPACE : ct_is_word_character(code) ? WORD : OTHER;
            if (class == before) continue;
            if (before != SPACE)
                status = ct_words_push(context, out, begin, at, word->first && begin == word->begin);
            before = class;
            begin = at;
        }
        if (status == CT_OK && before != SPACE)
            status = ct_words_push(context, out, begin, word->end, word->first && begin == word->begin);
    }
    return status;
}

/* ----------------------------------------------------------------------------- those that change the text */

static ct_status put(ct_context *context, ct_words *out, const char *data, size_t length) {
    return ct_bytes_append(context, &out->text, data, length);
}

/* ByteLevel: a blank before, GPT-2's pattern, bytes spelled in its alphabet. */
static ct_status byte_level(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out) {
    ct_bytes word_text = {0};
    ct_status status = CT_OK;
    char spelled[8];
    for (size_t i = 0; i < in->count && status == CT_OK; i++) {
        const ct_word *word = &in->items[i];
        word_text.length = 0;
        if (step->prefix_space && in->text.data[word->begin] != ' ')
            status = ct_bytes_append(context, &word_text, " ", 1);
        if (status == CT_OK)
            status =
                ct_bytes_append(context, &word_text, in->text.data + word->begin, word->end - word->begin);
        for (size_t at = 0, end; at < word_text.length && status == CT_OK; at = end) {
            size_t begin = out->text.length;
            end = step->split ? ct_gpt2_word(word_text.data, word_text.length, at) : word_text.length;
            if (step->raw) status = put(context, out, word_text.data + at, end - at);
            for (size_t j = at; j < end && status == CT_OK && !step->raw; j++)
                status = put(context, out, spelled, ct_bytes_spell(word_text.data + j, 1, spelled));
            if (status == CT_OK)
                status = ct_words_push(context, out, begin, out->text.length, word->first && at == 0);
        }
    }
    ct_bytes_free(context, &word_text);
    return status;
}

static ct_status read_byte_level(ct_context *context, const ct_value *part, const char *where,
                                 ct_step *step) {
    bool trim;
    ct_status status = ct_step_bool(context, part, where, "add_prefix_space", true, &step->prefix_space);
    if (status == CT_OK) status = ct_step_bool(context, part, where, "use_regex", true, &step->split);
    return status == CT_OK ? ct_step_bool(context, part, where, "trim_offsets", true, &trim) : status;
}

/* Metaspace: blanks become the replacement, one is put before, and each begins a word. */
static ct_status metaspace(ct_context *context, const ct_step *step, const ct_words *in, ct_words *out) {
    const char *mark = step->content.data;
    size_t mark_length = step->content.length;
    ct_status status = CT_OK;
    for (size_t i = 0; i < in->count && status == CT_OK; i++) {
        const ct_word *word = &in->items[i];
        const char *text = in->text.data + word->begin;
        size_t length = word->end - word->begin, begin = out->text.length, origin = begin;
        bool marked = text[0] == ' ' || (length >= mark_length && memcmp(text, mark, mark_length) == 0);
        if (!marked &&
            (step->prepend == CT_PREPEND_ALWAYS || (step->prepend == CT_PREPEND_FIRST && word->first)))
            status = put(context, out, mark, mark_length);
        for (size_t at = 0, size; at < length && status == CT_OK; at += size) {
            bool literal = length - at >= mark_length && memcmp(text + at, mark, mark_length) == 0;
            size = literal ? mark_length : 1;
            if ((literal || text[at] == ' ') && step->split) {
                status = ct_words_push(context, out, begin, out->text.length, word->first && begin == origin);
                begin = out->text.length;
            }
            if (status == CT_OK && (literal || text[at] == ' '))
                status = put(context, out, mark, mark_length);
            else if (status == CT_OK)
                status = put(context, out, text + at, 1);
        }
        if (status == CT_OK)
            status = ct_words_push(context, out, begin, out->text.length, word->first && begin == origin);
    }
    return status;
}

static const char *const schemes[] = {"always", "first", "never", NULL};

ct_status ct_step_metaspace(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    int prepend;
    bool prefix;
    ct_status status = ct_step_character(context, part, where, "replacement", &step->content);
    if (status == CT_OK)
        status = ct_step_choice(context, part, where, "prepend_scheme", schemes, CT_PREPEND_ALWAYS, &prepend);
    if (status == CT_OK) status = ct_step_bool(context, part, where, "split", true, &step->split);
    if (status == CT_OK) status = ct_step_bool(context, part, where, "add_prefix_space", true, &prefix);
    if (status != CT_OK) return status;
    step->prepend = (ct_prepend)prepend;
    if (prefix) return CT_OK;
    if (ct_value_get(part, "prepend_scheme") && prepend != CT_PREPEND_NEVER)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: add_prefix_space is false, but prepend_scheme is \"%s\"", where,
                       schemes[prepend]);
    step->prepend = CT_PREPEND_NEVER;
    return CT_OK;
}

/* ---------------------------------------------------------------------------------------------- the table */

#define KIND(name_, keys_, read_, function_)                                                                 \
    &(const ct_step_kind) {                                                                                  \
        .name = name_, .keys = keys_, .read = read_, .split = function_                                      \
    }
static const ct_step_kind *const kinds[] = {
    KIND("Split", "pattern behavior invert", read_split, split),
    KIND("ByteLevel", "add_prefix_space trim_offsets use_regex", read_byte_level, byte_level),
    KIND("Metaspace", "replacement prepend_scheme split add_prefix_space str_rep", ct_step_metaspace,
         metaspace),
    KIND("Whitespace", "", NULL, whitespace),
    KIND("WhitespaceSplit", "", NULL, split_at_spaces),
    KIND("BertPreTokenizer", "", NULL, bert),
    KIND("Punctuation", "behavior", read_punctuation, split_at_punctuation),
    KIND("Digits", "individual_digits", read_digits, split_at_digits),
    NULL};
const ct_step_table ct_pre_tokenizers = {"pre-tokenizer", "pretokenizers", kinds};
