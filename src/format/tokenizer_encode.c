/* tokenizer_encode.c - text to ids: the template, added tokens, and between them the kind's own encoding, for
 * long texts by all workers. */
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

typedef struct wave {
    const ct_tokenizer *tokenizer;
    const char *text;
    size_t starts[WAVE + 1]; /* where the chunks begin, and the end */
    size_t counts[WAVE];     /* ids of each */
    size_t offset;           /* of the wave's text in the piece, for messages */
    int32_t *out;            /* the ids of a chunk begin at the place of its text */
    bool scratch;            /* some word is long */
} wave;

static ct_status report(const ct_tokenizer *tokenizer, int64_t index, size_t position,
                        const ct_encode_problem *problem) {
    ct_context *context = tokenizer->context;
    char what[64];
    if (problem->malformed)
        snprintf(what, sizeof what, "byte 0x%02x", problem->code);
    else if (problem->code >= 0x20 && problem->code < 0x7f)
        snprintf(what, sizeof what, "character '%c'", (char)problem->code);
    else
        snprintf(what, sizeof what, "character U+%04X", problem->code);
    static const char format[] =
        "the text has the %s at byte %zu, which the tokenizer's vocabulary of %d lacks";
    if (index < 0) return ct_fail(context, CT_ERROR_ARGUMENT, format, what, position, tokenizer->size);
    ct_parallel_error(context, index, CT_ERROR_ARGUMENT, format, what, position, tokenizer->size);
    return CT_ERROR_ARGUMENT;
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

static void encode_chunk(void *user, int64_t index, int worker) {
    wave *job = user;
    ct_encode_problem problem = {0};
    ct_encode_work work = work_of(job->tokenizer, job->scratch, worker);
    size_t start = job->starts[index];
    job->counts[index] = job->tokenizer->kind->encode(
        job->tokenizer, &work, job->text + start, job->starts[index + 1] - start, job->out + start, &problem);
    if (problem.found) report(job->tokenizer, index, job->offset + start + problem.position, &problem);
}

/* Cuts the next chunks off text[from, length) into a wave, and the scratch that they need. */
static size_t cut_wave(const ct_tokenizer *tokenizer, const char *text, size_t length, wave *job,
                       size_t *scratch) {
    size_t chunks = 0, at = 0;
    *scratch = 0;
    job->starts[0] = 0;
    while (at < length && chunks < WAVE) {
        size_t end = length - at > CHUNK ? tokenizer->kind->cut(tokenizer, text, length, at + CHUNK) : length;
        size_t needed = tokenizer->kind->scratch_size(tokenizer, text + at, end - at);
        if (needed > *scratch) *scratch = needed;
        job->starts[++chunks] = end;
        at = end;
    }
    return chunks;
}

/* A piece of text without added tokens. `offset` is its place in the whole, for messages. */
static ct_status encode_piece(encoder *state, const char *text, size_t length, size_t offset) {
    ct_tokenizer *tokenizer = state->tokenizer;
    ct_context *context = tokenizer->context;
    for (size_t done = 0; done < length;) {
        size_t scratch;
        wave job = {.tokenizer = tokenizer, .text = text + done, .offset = offset + done};
        size_t chunks = cut_wave(tokenizer, text + done, length - done, &job, &scratch);
        size_t size = job.starts[chunks];
        if (size > INT32_MAX)
            return ct_fail(context, CT_ERROR_UNSUPPORTED,
                           "the text has %zu bytes without a place to cut it, at most 2^31 are possible",
                           size);
        if (ct_ids_reserve(context, state->ids, size) != CT_OK ||
            prepare_caches(tokenizer, chunks > 1 ? ct_context_threads(context) : 1) != CT_OK ||
            (scratch && ct_scratch_reserve(context, scratch) != CT_OK))
            return ct_context_status(context);
        job.scratch = scratch > 0;
        job.out = state->ids->ids + state->ids->count;
        ct_parallel_for(context, (int64_t)chunks, encode_chunk, &job);
        if (ct_failed(context)) return ct_context_status(context);
        for (size_t i = 0; i < chunks; i++) {
            memmove(state->ids->ids + state->ids->count, job.out + job.starts[i],
                    job.counts[i] * sizeof(int32_t));
            state->ids->count += job.counts[i];
        }
        done += size;
    }
    return CT_OK;
}

/* As ByteLevel's add_prefix_space: each piece begins with a blank. */
static ct_status encode_prefixed(encoder *state, const char *text, size_t length, size_t offset) {
    if (!state->tokenizer->bpe.add_prefix_space || length == 0 || text[0] == ' ')
        return encode_piece(state, text, length, offset);
    ct_context *context = state->tokenizer->context;
    char *copy = ct_alloc(context, length + 1, CT_MEMORY_WORKSPACE);
    if (!copy) return ct_context_status(context);
    copy[0] = ' ';
    memcpy(copy + 1, text, length);
    ct_status status = encode_piece(state, copy, length + 1, offset ? offset - 1 : 0);
    ct_free(context, copy);
    return status;
}

/* First the tokens of one set are taken out, then in what is between them those of the second. */
static ct_status encode_between(encoder *state, const char *text, size_t length, size_t offset, bool second) {
    const ct_tokenizer *tokenizer = state->tokenizer;
    const ct_added_set *set = second ? &tokenizer->normalized_set : &tokenizer->plain_set;
    const ct_added_token *token;
    size_t at = 0, begin, end;
    ct_status status = CT_OK;
    while (status == CT_OK && at < length) {
        bool found = ct_added_next(tokenizer, set, text, length, at, state->flags, &token, &begin, &end);
        if (!found) begin = end = length;
        if (begin > at) {
            if (second)
                status = encode_prefixed(state, text + at, begin - at, offset + at);
            else
                status = encode_between(state, text + at, begin - at, offset + at, true);
        }
        if (found && status == CT_OK) status = ct_ids_push(tokenizer->context, state->ids, token->id);
        at = end;
    }
    return status;
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
    if (status == CT_OK) status = encode_between(&state, text, length, 0, false);
    if (status == CT_OK && flags & CT_ENCODE_TEMPLATE) status = append(context, ids, &tokenizer->suffix);
    if (status != CT_OK) ids->count = before;
    return status;
}
