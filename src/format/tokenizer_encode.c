/* tokenizer_encode.c - text to ids: the template, added tokens, normalization between them, words, and the
 * model's encoding of each word, for long texts by all workers. */
#include "format/tokenizer_parts.h"
#include <string.h>

/* Texts up to CHUNK bytes are encoded at once, longer ones in chunks, WAVE of them at a time so that the room
 * for the most ids that they could give stays bounded. */
enum { CHUNK = 65536, WAVE = 64 };

typedef struct encoder {
    ct_tokenizer *tokenizer;
    unsigned flags;
    ct_ids *ids;
} encoder;

/* What the workers encode: chunks of a text that a scanner cuts into words, or words that are there already.
 */

typedef struct wave {
    const ct_tokenizer *tokenizer;
    const char *text;
    const ct_word *words;    /* NULL: the scanner finds them */
    size_t starts[WAVE + 1]; /* where the chunks begin, and the end; places in the text, or among the words */
    size_t counts[WAVE];     /* ids of each */
    size_t offset;           /* of the wave's text in the piece, for messages */
    int32_t *out;            /* the ids of a chunk begin at the place of its text */
    bool scratch;            /* some word is long */
} wave;

static ct_status report(const ct_tokenizer *tokenizer, int64_t index, size_t position,
                        const ct_encode_problem *problem) {
    char what[64];
    if (problem->malformed)
        snprintf(what, sizeof what, "byte 0x%02x", problem->code);
    else if (problem->code >= 0x20 && problem->code < 0x7f)
        snprintf(what, sizeof what, "character '%c'", (char)problem->code);
    else
        snprintf(what, sizeof what, "character U+%04X", problem->code);
    ct_parallel_error(tokenizer->context, index, CT_ERROR_ARGUMENT,
                      "the text has the %s at byte %zu, which the tokenizer's vocabulary of %d lacks", what,
                      position, tokenizer->size);
    return CT_ERROR_ARGUMENT;
}

size_t ct_encode_cached(const ct_tokenizer *tokenizer, const ct_encode_work *work, const char *word,
                        size_t length, int32_t *out, ct_encode_problem *problem) {
    if (length > CT_CACHE_LENGTH || !work->cache)
        return tokenizer->kind->encode_word(tokenizer, work->scratch, word, length, out, problem);
    ct_cached_word *entry = &work->cache[ct_hash_bytes(word, length) % CT_CACHE_WORDS];
    if (entry->length == length && memcmp(entry->word, word, length) == 0) {
        for (size_t i = 0; i < entry->count; i++)
            out[i] = entry->ids[i];
        return entry->count;
    }
    size_t count = tokenizer->kind->encode_word(tokenizer, work->scratch, word, length, out, problem);
    if (problem->found || count > CT_CACHE_IDS) return count;
    entry->length = (uint8_t)length;
    entry->count = (uint8_t)count;
    memcpy(entry->word, word, length);
    memcpy(entry->ids, out, count * sizeof *out);
    return count;
}

static ct_encode_work work_of(const ct_tokenizer *tokenizer, bool scratch, int worker) {
    ct_encode_work work = {NULL, NULL};
    if (worker < tokenizer->cache_workers) work.cache = tokenizer->cache + (size_t)worker * CT_CACHE_WORDS;
    if (scratch) work.scratch = ct_scratch(tokenizer->context, worker);
    return work;
}

/* A cache for each worker, kept from call to call. */
static ct_status prepare_caches(ct_tokenizer *tokenizer, int workers) {
    if (!tokenizer->kind->wants_cache || tokenizer->cache_workers >= workers) return CT_OK;
    size_t words = (size_t)workers * CT_CACHE_WORDS;
    ct_cached_word *cache = ct_alloc_zero(tokenizer->context, words * sizeof *cache, CT_MEMORY_OTHER);
    if (!cache) return ct_context_status(tokenizer->context);
    ct_free(tokenizer->context, tokenizer->cache);
    tokenizer->cache = cache;
    tokenizer->cache_workers = workers;
    return CT_OK;
}

static size_t text_start(const wave *job, size_t place) {
    return job->words ? job->words[place].begin : place;
}

static void encode_chunk(void *user, int64_t index, int worker) {
    wave *job = user;
    const ct_tokenizer *tokenizer = job->tokenizer;
    ct_encode_problem problem = {0};
    ct_encode_work work = work_of(tokenizer, job->scratch, worker);
    size_t from = job->starts[index], to = job->starts[index + 1], count = 0, start = 0, end;
    int32_t *out = job->out + text_start(job, from) - text_start(job, job->starts[0]);
    if (job->words) {
        for (size_t i = from; i < to && !problem.found; i++) {
            start = job->words[i].begin;
            count += ct_encode_cached(tokenizer, &work, job->text + start, job->words[i].end - start,
                                      out + count, &problem);
        }
    } else {
        const char *text = job->text + from;
        size_t length = to - from;
        size_t (*word_end)(const char *, size_t, size_t) = tokenizer->scanner->word;
        for (size_t at = 0; at < length && !problem.found; at = end) {
            start = from + at;
            end = word_end(text, length, at);
            count += ct_encode_cached(tokenizer, &work, text + at, end - at, out + count, &problem);
        }
    }
    job->counts[index] = count;
    if (problem.found) report(tokenizer, index, job->offset + start + problem.position, &problem);
}

/* The longest word of text[0, length): long texts are measured, short ones taken for one word. */
static size_t longest_word(const ct_scanner *scanner, const char *text, size_t length) {
    size_t longest = 0;
    if (length <= 2 * CHUNK) return length;
    for (size_t start = 0, end; start < length; start = end) {
        end = scanner->word(text, length, start);
        if (end - start > longest) longest = end - start;
    }
    return longest;
}

/* Runs a wave of chunks and puts their ids behind each other. `size`: bytes of its text; `longest`: of a
 * word. */
static ct_status run_wave(encoder *state, wave *job, size_t chunks, size_t size, size_t longest) {
    ct_tokenizer *tokenizer = state->tokenizer;
    ct_context *context = tokenizer->context;
    size_t scratch = tokenizer->kind->scratch_size(tokenizer, longest);
    if (size > INT32_MAX)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "the text has %zu bytes without a place to cut it, at most 2^31 are possible", size);
    if (ct_ids_reserve(context, state->ids, size) != CT_OK ||
        prepare_caches(tokenizer, chunks > 1 ? ct_context_threads(context) : 1) != CT_OK ||
        (scratch && ct_scratch_reserve(context, scratch) != CT_OK))
        return ct_context_status(context);
    job->scratch = scratch > 0;
    job->out = state->ids->ids + state->ids->count;
    ct_parallel_for(context, (int64_t)chunks, encode_chunk, job);
    if (ct_failed(context)) return ct_context_status(context);
    size_t origin = text_start(job, job->starts[0]);
    for (size_t i = 0; i < chunks; i++) {
        memmove(state->ids->ids + state->ids->count, job->out + text_start(job, job->starts[i]) - origin,
                job->counts[i] * sizeof(int32_t));
        state->ids->count += job->counts[i];
    }
    return CT_OK;
}

/* A piece of text that a scanner cuts. `offset` is its place in the whole, for messages. */
static ct_status encode_scanned(encoder *state, const char *text, size_t length, size_t offset) {
    const ct_scanner *scanner = state->tokenizer->scanner;
    ct_status status = CT_OK;
    for (size_t done = 0; done < length && status == CT_OK;) {
        wave job = {.tokenizer = state->tokenizer, .text = text + done, .offset = offset + done};
        size_t chunks = 0, at = 0, left = length - done, longest = 0;
        while (at < left && chunks < WAVE) {
            size_t end = left - at > CHUNK ? scanner->cut(text + done, left, at + CHUNK) : left;
            size_t word = longest_word(scanner, text + done + at, end - at);
            if (word > longest) longest = word;
            job.starts[++chunks] = at = end;
        }
        status = run_wave(state, &job, chunks, at, longest);
        done += at;
    }
    return status;
}

/* Words that the pre-tokenizers made. */
static ct_status encode_words(encoder *state, const ct_words *words, size_t offset) {
    ct_status status = CT_OK;
    for (size_t done = 0; done < words->count && status == CT_OK;) {
        wave job = {
            .tokenizer = state->tokenizer, .text = words->text.data, .words = words->items, .offset = offset};
        size_t chunks = 0, at = done, longest = 0, begin = words->items[done].begin;
        job.starts[0] = done;
        while (at < words->count && chunks < WAVE) {
            size_t chunk = words->items[at].begin;
            for (; at < words->count && words->items[at].begin - chunk < CHUNK; at++)
                if (words->items[at].end - words->items[at].begin > longest)
                    longest = words->items[at].end - words->items[at].begin;
            job.starts[++chunks] = at;
        }
        status = run_wave(state, &job, chunks, words->items[at - 1].end - begin, longest);
        done = at;
    }
    return status;
}

/* ------------------------------------------------------------------------------------ the steps before it */

ct_status ct_tokenizer_normalize(ct_tokenizer *tokenizer, ct_text text, ct_text *result, bool *first) {
    ct_context *context = tokenizer->context;
    const ct_steps *steps = tokenizer->normalizer;
    int which = 0;
    *result = text;
    for (size_t i = 0; steps && i < steps->count; i++) {
        ct_bytes *buffer = &tokenizer->normal[which];
        buffer->length = 0;
        ct_normal normal = {.context = context,
                            .in = *result,
                            .out = *buffer,
                            .codes = &tokenizer->codes,
                            .code_capacity = &tokenizer->code_capacity};
        ct_status status = steps->items[i].kind->normalize(&steps->items[i], &normal);
        *buffer = normal.out;
        if (status != CT_OK) return status;
        if (normal.moved && first) *first = false;
        if (normal.kept) continue;
        *result = (ct_text){buffer->data ? buffer->data : "", buffer->length};
        which = !which;
    }
    return CT_OK;
}

/* As ByteLevel's add_prefix_space: each piece begins with a blank. */
static ct_status encode_prefixed(encoder *state, const char *text, size_t length, size_t offset) {
    if (!state->tokenizer->bpe.add_prefix_space || length == 0 || text[0] == ' ')
        return encode_scanned(state, text, length, offset);
    ct_context *context = state->tokenizer->context;
    char *copy = ct_alloc(context, length + 1, CT_MEMORY_WORKSPACE);
    if (!copy) return ct_context_status(context);
    copy[0] = ' ';
    memcpy(copy + 1, text, length);
    ct_status status = encode_scanned(state, copy, length + 1, offset ? offset - 1 : 0);
    ct_free(context, copy);
    return status;
}

/* A piece of normalized text without added tokens. */
static ct_status encode_piece(encoder *state, const char *text, size_t length, size_t offset, bool first) {
    ct_tokenizer *tokenizer = state->tokenizer;
    ct_context *context = tokenizer->context;
    const ct_steps *steps = tokenizer->splitter;
    if (tokenizer->scanner) return encode_prefixed(state, text, length, offset);
    ct_words *in = &tokenizer->words[0], *out = &tokenizer->words[1];
    in->text.length = in->count = 0;
    ct_status status = ct_bytes_append(context, &in->text, text, length);
    if (status == CT_OK) status = ct_words_push(context, in, 0, length, first);
    for (size_t i = 0; steps && i < steps->count && status == CT_OK; i++) {
        out->text.length = out->count = 0;
        status = steps->items[i].kind->split(context, &steps->items[i], in, out);
        ct_words *other = in;
        in = out;
        out = other;
    }
    return status == CT_OK ? encode_words(state, in, offset) : status;
}

static ct_status encode_normalized(encoder *state, ct_text text, size_t offset, bool first);

/* First the tokens of one set are taken out, then in what is between them, normalized, those of the second.
 */
static ct_status encode_between(encoder *state, ct_text text, size_t offset, bool second, bool first) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    const ct_added_set *set = second ? &tokenizer->normalized_set : &tokenizer->plain_set;
    const ct_added_token *token;
    size_t at = 0, begin, end;
    ct_status status = CT_OK;
    while (status == CT_OK && at < text.length) {
        bool found =
            ct_added_next(tokenizer, set, text.data, text.length, at, state->flags, &token, &begin, &end);
        if (!found) begin = end = text.length;
        if (begin > at) {
            ct_text piece = {text.data + at, begin - at};
            bool is_first = first && at == 0;
            status = second ? encode_piece(state, piece.data, piece.length, offset + at, is_first)
                            : encode_normalized(state, piece, offset + at, is_first);
        }
        if (found && status == CT_OK) status = ct_ids_push(tokenizer->context, state->ids, token->id);
        at = end;
    }
    return status;
}

static ct_status encode_normalized(encoder *state, ct_text text, size_t offset, bool first) {
    ct_text normal;
    ct_status status = ct_tokenizer_normalize(state->tokenizer, text, &normal, &first);
    return status == CT_OK ? encode_between(state, normal, offset, true, first) : status;
}

static ct_status append(ct_context *context, ct_ids *ids, const ct_ids *more) {
    ct_status status = CT_OK;
    for (size_t i = 0; i < more->count && status == CT_OK; i++)
        status = ct_ids_push(context, ids, more->ids[i]);
    return status;
}

ct_status ct_tokenizer_encode(ct_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                              ct_ids *ids) {
    ct_context *context = tokenizer->context;
    encoder state = {tokenizer, flags, ids};
    size_t before = ids->count;
    if (ct_failed(context)) return ct_context_status(context);
    ct_status status = flags & CT_ENCODE_TEMPLATE ? append(context, ids, &tokenizer->prefix) : CT_OK;
    if (status == CT_OK) status = encode_between(&state, (ct_text){text, length}, 0, false, true);
    if (status == CT_OK && flags & CT_ENCODE_TEMPLATE) status = append(context, ids, &tokenizer->suffix);
    if (status != CT_OK) ids->count = before;
    return status;
}
