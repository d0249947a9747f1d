/* tokenizer_decoders.c - the decoders: tokens pass through them one after the other and become text. Each
 * works token by token and keeps what it cannot decide yet, so that whole texts and streams take the same
 * way. After Fuse or ByteLevel everything is one token that comes in pieces. Bytes that make no UTF-8 come
 * out as they are. */
#define _GNU_SOURCE /* memmem */
#include "format/byte_level.h"
#include "format/tokenizer_steps.h"
#include "format/utf8.h"
#include <string.h>

/* ------------------------------------------------------------------------------------ from stage to stage */

/* Gives a piece of a token to the stage after `stage`. */
static ct_status emit(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    size_t next = stage + 1;
    if (next == decoding->count) return ct_bytes_append(decoding->context, decoding->out, text, length);
    ct_decoder_state *state = &decoding->stages[next];
    if (!state->open) state->tokens++;
    state->open = !ends;
    return state->step->kind->decode(decoding, next, text, length, ends);
}

/* Collects the pieces of a token; true with the whole of it when its last has come. */
static bool whole(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends,
                  ct_text *token) {
    ct_bytes *held = &decoding->stages[stage].held;
    *token = (ct_text){text, length};
    if (ends && held->length == 0) return true;
    if (ct_bytes_append(decoding->context, held, text, length) != CT_OK || !ends) return false;
    *token = (ct_text){held->data, held->length};
    held->length = 0; /* the bytes stay until the next append */
    return true;
}

ct_status ct_decoding_begin(ct_decoding *decoding, ct_context *context, const ct_steps *steps,
                            ct_bytes *out) {
    decoding->context = context;
    decoding->out = out;
    decoding->count = steps->count;
    decoding->tokens = 0;
    for (size_t i = 0; i < steps->count; i++)
        decoding->stages[i] = (ct_decoder_state){.step = &steps->items[i]};
    return ct_context_status(context);
}

ct_status ct_decoding_push(ct_decoding *decoding, const char *token, size_t length) {
    ct_status status = CT_OK;
    if (decoding->count == 0 && decoding->tokens++)
        status = ct_bytes_append(decoding->context, decoding->out, " ", 1);
    return status == CT_OK ? emit(decoding, (size_t)-1, token, length, true) : status;
}

ct_status ct_decoding_finish(ct_decoding *decoding) {
    ct_status status = ct_context_status(decoding->context);
    for (size_t i = 0; i < decoding->count && status == CT_OK; i++)
        if (decoding->stages[i].step->kind->finish)
            status = decoding->stages[i].step->kind->finish(decoding, i);
    return status;
}

void ct_decoding_free(ct_decoding *decoding) {
    for (size_t i = 0; i < decoding->count; i++) {
        ct_bytes_free(decoding->context, &decoding->stages[i].held);
        ct_bytes_free(decoding->context, &decoding->stages[i].before);
    }
    decoding->count = 0;
}

/* The one token that Fuse and ByteLevel make ends. */
static ct_status finish_fused(ct_decoding *decoding, size_t stage) {
    return emit(decoding, stage, "", 0, true);
}

/* ------------------------------------------------------------------------------------------------- fusing */

static ct_status fuse(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    (void)ends;
    return emit(decoding, stage, text, length, false);
}

/* A token whose characters all stand for bytes becomes these bytes, another stays. */
static ct_status byte_level(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    ct_bytes *before = &decoding->stages[stage].before;
    size_t count;
    before->length = 0;
    ct_status status = ct_bytes_append(decoding->context, before, token.data, token.length);
    if (status != CT_OK) return status;
    bool spelled = ct_bytes_unspell(token.data, token.length, before->data, &count);
    return emit(decoding, stage, spelled ? before->data : token.data, spelled ? count : token.length, false);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0x0A>": its byte, else -1. */
static int byte_of(ct_text token) {
    if (token.length != 6 || memcmp(token.data, "<0x", 3) != 0 || token.data[5] != '>') return -1;
    int high = hex_digit(token.data[3]), low = hex_digit(token.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Bytes in a row make one token. */
static ct_status end_bytes(ct_decoding *decoding, size_t stage) {
    ct_decoder_state *state = &decoding->stages[stage];
    bool running = state->has_before;
    state->has_before = false;
    return running ? emit(decoding, stage, "", 0, true) : CT_OK;
}

static ct_status byte_fallback(ct_decoding *decoding, size_t stage, const char *text, size_t length,
                               bool ends) {
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    int byte = byte_of(token);
    if (byte >= 0) {
        char value = (char)byte;
        decoding->stages[stage].has_before = true;
        return emit(decoding, stage, &value, 1, false);
    }
    ct_status status = end_bytes(decoding, stage);
    return status == CT_OK ? emit(decoding, stage, token.data, token.length, true) : status;
}

/* ----------------------------------------------------------------------------------------- token by token */

/* In the first token the marks vanish, in the others they are blanks. */
static ct_status metaspace(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    const ct_decoder_state *state = &decoding->stages[stage];
    const ct_step *step = state->step;
    bool vanish = state->tokens == 1 && step->prepend != CT_PREPEND_NEVER;
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    ct_status status = CT_OK;
    for (size_t at = 0; at < token.length && status == CT_OK;) {
        const char *mark =
            memmem(token.data + at, token.length - at, step->content.data, step->content.length);
        size_t end = mark ? (size_t)(mark - token.data) : token.length;
        status = emit(decoding, stage, token.data + at, end - at, false);
        if (status == CT_OK && mark && !vanish) status = emit(decoding, stage, " ", 1, false);
        at = mark ? end + step->content.length : end;
    }
    return status == CT_OK ? emit(decoding, stage, "", 0, true) : status;
}

static ct_status replace(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    const ct_step *step = decoding->stages[stage].step;
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    ct_regex_scan scan = {0};
    size_t last = 0;
    ct_status status = CT_OK;
    while (status == CT_OK && ct_regex_next(step->regex, token.data, token.length, &scan)) {
        status = emit(decoding, stage, token.data + last, scan.begin - last, false);
        if (status == CT_OK) status = emit(decoding, stage, step->content.data, step->content.length, false);
        last = scan.end;
    }
    if (ct_failed(decoding->context)) return ct_context_status(decoding->context);
    return status == CT_OK ? emit(decoding, stage, token.data + last, token.length - last, true) : status;
}

static ct_status read_replace(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_pattern(context, part, where, step);
    return status == CT_OK ? ct_step_text(context, part, where, "content", &step->content) : status;
}

/* Takes away up to `start` characters at the beginning and `stop` at the end. What may be the end is held
 * back. */
static ct_status strip(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    ct_decoder_state *state = &decoding->stages[stage];
    const ct_step *step = state->step;
    ct_text mark = step->content;
    ct_status status = ct_bytes_append(decoding->context, &state->held, text, length);
    size_t at = 0, end;
    if (status != CT_OK) return status;
    while (!state->started && state->stripped < step->start && state->held.length - at >= mark.length &&
           memcmp(state->held.data + at, mark.data, mark.length) == 0) {
        at += mark.length;
        state->stripped++;
    }
    end = state->held.length;
    state->started |= state->stripped == step->start || end - at >= mark.length;
    if (!ends && !state->started) end = at; /* the beginning of the mark, perhaps */
    for (size_t i = 0; i < step->stop && end - at >= mark.length &&
                       memcmp(state->held.data + end - mark.length, mark.data, mark.length) == 0;
         i++)
        end -= mark.length;
    if (!ends && end == state->held.length) /* a mark that is not complete yet stays as well */
        for (size_t size = mark.length - 1; step->stop && size > 0; size--)
            if (end - at >= size && memcmp(state->held.data + end - size, mark.data, size) == 0) {
                end -= size;
                break;
            }
    status = emit(decoding, stage, state->held.data + at, end - at, ends);
    if (status != CT_OK) return status;
    state->held.length = ends ? 0 : state->held.length - end;
    memmove(state->held.data, state->held.data + end, state->held.length);
    if (ends) state->started = false, state->stripped = 0;
    return CT_OK;
}

static ct_status read_strip(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_character(context, part, where, "content", &step->content);
    int64_t start = ct_value_as_int(ct_value_get(part, "start"), -1),
            stop = ct_value_as_int(ct_value_get(part, "stop"), -1);
    if (status != CT_OK) return status;
    if (start < 0 || stop < 0 || start > INT32_MAX || stop > INT32_MAX)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: \"start\" and \"stop\" are counts of characters",
                       where);
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return CT_OK;
}

/* ----------------------------------------------------------------------------- WordPiece, CTC, BPEDecoder */

/* Replaces every `from` in the token, in place: `to` is not longer. */
static void shorten(ct_bytes *token, const char *from, const char *to) {
    size_t from_length = strlen(from), to_length = strlen(to), kept = 0;
    for (size_t at = 0; at < token->length;) {
        if (token->length - at >= from_length && memcmp(token->data + at, from, from_length) == 0) {
            memcpy(token->data + kept, to, to_length);
            kept += to_length;
            at += from_length;
        } else {
            token->data[kept++] = token->data[at++];
        }
    }
    token->length = kept;
}

/* The blanks that English does not have, as WordPiece's decoder knows them. */
static void clean_up(ct_bytes *token) {
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        shorten(token, pairs[i][0], pairs[i][1]);
}

static ct_status word_piece(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    ct_decoder_state *state = &decoding->stages[stage];
    const ct_step *step = state->step;
    ct_text token, prefix = step->content;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    ct_bytes *shown = &state->before;
    shown->length = 0;
    ct_status status = CT_OK;
    if (state->tokens > 1) {
        if (token.length >= prefix.length && memcmp(token.data, prefix.data, prefix.length) == 0)
            token = (ct_text){token.data + prefix.length, token.length - prefix.length};
        else
            status = ct_bytes_append(decoding->context, shown, " ", 1);
    }
    if (status == CT_OK) status = ct_bytes_append(decoding->context, shown, token.data, token.length);
    if (status != CT_OK) return status;
    if (step->cleanup) clean_up(shown);
    return emit(decoding, stage, shown->data, shown->length, true);
}

static ct_status read_word_piece(ct_context *context, const ct_value *part, const char *where,
                                 ct_step *step) {
    ct_status status = ct_step_text(context, part, where, "prefix", &step->content);
    return status == CT_OK ? ct_step_bool(context, part, where, "cleanup", true, &step->cleanup) : status;
}

/* A token that is the one before is passed over; the padding token vanishes. */
static ct_status ctc(ct_decoding *decoding, size_t stage, const char *text, size_t length, bool ends) {
    ct_decoder_state *state = &decoding->stages[stage];
    const ct_step *step = state->step;
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    if (state->has_before && state->before.length == token.length &&
        memcmp(state->before.data, token.data, token.length) == 0)
        return CT_OK;
    state->before.length = 0;
    state->has_before = true;
    ct_bytes shown = {0};
    ct_status status = ct_bytes_append(decoding->context, &state->before, token.data, token.length);
    if (status == CT_OK) status = ct_bytes_append(decoding->context, &shown, token.data, token.length);
    if (status == CT_OK) {
        if (step->pattern.length) shorten(&shown, step->pattern.data, "");
        if (step->cleanup) clean_up(&shown);
        if (step->cleanup && step->content.length) shorten(&shown, step->content.data, " ");
        if (shown.length) status = emit(decoding, stage, shown.data, shown.length, true);
    }
    ct_bytes_free(decoding->context, &shown);
    return status;
}

static ct_status read_ctc(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    ct_status status = ct_step_text(context, part, where, "pad_token", &step->pattern);
    if (status == CT_OK) status = ct_step_text(context, part, where, "word_delimiter_token", &step->content);
    return status == CT_OK ? ct_step_bool(context, part, where, "cleanup", true, &step->cleanup) : status;
}

/* The token that is kept back, its suffix replaced: by a blank, or by nothing in the last token. */
static ct_status emit_suffixed(ct_decoding *decoding, size_t stage, const char *replacement) {
    ct_decoder_state *state = &decoding->stages[stage];
    ct_text suffix = state->step->content;
    ct_status status = CT_OK;
    size_t at = 0;
    while (status == CT_OK && at < state->before.length) {
        const char *found = suffix.length ? memmem(state->before.data + at, state->before.length - at,
                                                   suffix.data, suffix.length)
                                          : NULL;
        size_t end = found ? (size_t)(found - state->before.data) : state->before.length;
        status = emit(decoding, stage, state->before.data + at, end - at, false);
        if (status == CT_OK && found) status = emit(decoding, stage, replacement, strlen(replacement), false);
        at = found ? end + suffix.length : end;
    }
    return status == CT_OK ? emit(decoding, stage, "", 0, true) : status;
}

static ct_status bpe_decoder(ct_decoding *decoding, size_t stage, const char *text, size_t length,
                             bool ends) {
    ct_decoder_state *state = &decoding->stages[stage];
    ct_text token;
    if (!whole(decoding, stage, text, length, ends, &token)) return ct_context_status(decoding->context);
    ct_status status = state->has_before ? emit_suffixed(decoding, stage, " ") : CT_OK;
    state->has_before = true;
    state->before.length = 0;
    return status == CT_OK ? ct_bytes_append(decoding->context, &state->before, token.data, token.length)
                           : status;
}

static ct_status finish_bpe_decoder(ct_decoding *decoding, size_t stage) {
    return decoding->stages[stage].has_before ? emit_suffixed(decoding, stage, "") : CT_OK;
}

static ct_status read_bpe_decoder(ct_context *context, const ct_value *part, const char *where,
                                  ct_step *step) {
    return ct_step_text(context, part, where, "suffix", &step->content);
}

/* ---------------------------------------------------------------------------------------------- the table */

#define KIND(name_, keys_, read_, decode_, finish_)                                                          \
    &(const ct_step_kind) {                                                                                  \
        .name = name_, .keys = keys_, .read = read_, .decode = decode_, .finish = finish_                    \
    }
static const ct_step_kind *const kinds[] = {
    KIND("ByteLevel", "add_prefix_space trim_offsets use_regex", NULL, byte_level, finish_fused),
    KIND("WordPiece", "prefix cleanup", read_word_piece, word_piece, NULL),
    KIND("Metaspace", "replacement prepend_scheme split add_prefix_space str_rep", ct_step_metaspace,
         metaspace, NULL),
    KIND("Replace", "pattern content", read_replace, replace, NULL),
    KIND("ByteFallback", "", NULL, byte_fallback, end_bytes),
    KIND("Fuse", "", NULL, fuse, finish_fused),
    KIND("Strip", "content start stop", read_strip, strip, NULL),
    KIND("CTC", "pad_token word_delimiter_token cleanup", read_ctc, ctc, NULL),
    KIND("BPEDecoder", "suffix", read_bpe_decoder, bpe_decoder, finish_bpe_decoder),
    NULL};
const ct_step_table ct_decoders = {"decoder", "decoders", kinds};
