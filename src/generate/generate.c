/* generate.c - the loop of generation: prompts into the cache one by one, then all unfinished sequences a token at a
 * time. What a sequence becomes depends on its prompt, the options and its number alone. */
#include <carat/generate.h>
#include <math.h>
#include <string.h>

#define PACKING_PAYS 16 /* tokens */

typedef struct sequence {
    int64_t index; /* of the prompt */
    ct_generation *result;
    ct_ids history;          /* prompt and new tokens */
    ct_text_stream *decoder;
    int64_t most;            /* new tokens that it can have */
    size_t *ends;            /* [most] bytes of text up to the end of each, also those of an unfinished character */
    size_t shown;            /* bytes given to the stream callback */
    bool done;
} sequence;

typedef struct generator {
    ct_context *context;
    ct_model *model;
    ct_tokenizer *tokenizer;
    const ct_generate_options *options;
    ct_generate_stream stream;
    void *user;
    ct_run *run;
    ct_kv_cache *cache;
    sequence *sequences;
    int64_t count, context_length, vocabulary;
    int32_t eos; /* the tokenizer's; -1: none */
    ct_ids ends; /* those of the model's configuration: chat models have several */
    size_t longest_stop;
    double started;
    ct_generate_report *report;
} generator;

const char *ct_finish_name(ct_finish finish) {
    static const char *const names[] = {"length", "eos", "stop", "context", "interrupted"};
    return names[finish];
}

void ct_generation_free(ct_context *context, ct_generation *generation) {
    ct_ids_free(context, &generation->ids);
    ct_bytes_free(context, &generation->text);
    ct_free(context, generation->logprobs);
    ct_free(context, generation->top_ids);
    ct_free(context, generation->top_logprobs);
    memset(generation, 0, sizeof(*generation));
}

/* -------------------------------------------------------------------------------------- log-probabilities */

static double log_sum(const float *logits, int64_t vocabulary) {
    float most = logits[0];
    double sum = 0;
    for (int64_t i = 1; i < vocabulary; i++) most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - most);
    return most + log(sum);
}

/* The token's log-probability and the likeliest alternatives, kept sorted by insertion. */
static void note_logprobs(generator *g, ct_generation *result, const float *logits, int32_t token) {
    int64_t n = g->options->logprobs, at = (int64_t)result->ids.count;
    if (!result->logprobs) return;
    double total = log_sum(logits, g->vocabulary);
    result->logprobs[at] = (float)(logits[token] - total);
    int32_t *ids = result->top_ids + at * n;
    float *values = result->top_logprobs + at * n;
    int64_t held = 0;
    for (int64_t i = g->vocabulary; i < n; i++) { /* more asked for than there are */
        ids[i] = -1;
        values[i] = -INFINITY;
    }
    for (int64_t i = 0; i < g->vocabulary; i++) {
        float value = (float)(logits[i] - total);
        int64_t place = held;
        while (place > 0 && values[place - 1] < value) place--;
        if (place >= n) continue;
        int64_t moved = (held < n ? held : n - 1) - place;
        memmove(ids + place + 1, ids + place, (size_t)moved * sizeof(*ids));
        memmove(values + place + 1, values + place, (size_t)moved * sizeof(*values));
        ids[place] = (int32_t)i;
        values[place] = value;
        if (held < n) held++;
    }
}

static ct_status reserve_logprobs(generator *g, ct_generation *result, size_t tokens) {
    size_t n = (size_t)g->options->logprobs;
    if (!n || !tokens) return CT_OK;
    result->logprobs = ct_alloc(g->context, tokens * sizeof(float), CT_MEMORY_OTHER);
    result->top_ids = ct_alloc(g->context, tokens * n * sizeof(int32_t), CT_MEMORY_OTHER);
    result->top_logprobs = ct_alloc(g->context, tokens * n * sizeof(float), CT_MEMORY_OTHER);
    return ct_context_status(g->context);
}

/* ---------------------------------------------------------------------------------------- text and stops */

/* Where the earliest stop string begins in the text, looking only where one can have become complete. */
static bool find_stop(const generator *g, const ct_bytes *text, size_t from, size_t *at) {
    bool found = false;
    for (size_t s = 0; s < ct_value_count(g->options->stop_strings); s++) {
        const ct_value *stop = ct_value_at(g->options->stop_strings, s);
        const char *bytes = ct_value_as_string(stop, "");
        size_t length = ct_value_string_length(stop);
        for (size_t i = from; length && i + length <= text->length; i++)
            if (memcmp(text->data + i, bytes, length) == 0 && (!found || i < *at)) {
                *at = i;
                found = true;
                break;
            }
    }
    return found;
}

static void finish(sequence *s, ct_finish how) {
    s->done = true;
    s->result->finish = how;
}

/* Gives the callback what no stop string can take back any more; everything at the end. */
static void show(generator *g, sequence *s) {
    ct_bytes *text = &s->result->text;
    size_t held_back = !s->done && g->longest_stop ? g->longest_stop - 1 : 0;
    size_t sure = text->length > held_back ? text->length - held_back : 0;
    while (sure > 0 && sure < text->length && ((unsigned char)text->data[sure] & 0xC0) == 0x80) sure--;
    if (!g->stream || sure <= s->shown) return;
    bool go_on = g->stream(g->user, s->index, text->data + s->shown, sure - s->shown);
    s->shown = sure;
    if (!go_on && !s->done) finish(s, CT_FINISH_INTERRUPTED);
}

static void cut_at(sequence *s, size_t at) {
    s->result->text.length = at;
    s->result->text.data[at] = 0;
    while (s->result->ids.count && s->ends[s->result->ids.count - 1] > at) s->result->ids.count--;
    finish(s, CT_FINISH_STOP);
}

static void append_text(generator *g, sequence *s, int32_t token) {
    ct_bytes *text = &s->result->text;
    size_t before = text->length, count = s->result->ids.count, length = 0, bytes = 0, at = 0;
    const char *piece = NULL;
    if (ct_text_stream_push(s->decoder, token, &piece, &length) != CT_OK) return;
    if (length && ct_bytes_append(g->context, text, piece, length) != CT_OK) return;
    if (!ct_tokenizer_is_special(g->tokenizer, token)) ct_tokenizer_token(g->tokenizer, token, &bytes);
    s->ends[count - 1] = (count > 1 ? s->ends[count - 2] : 0) + bytes;
    size_t from = before > g->longest_stop ? before - g->longest_stop : 0;
    if (g->longest_stop && find_stop(g, text, from, &at)) cut_at(s, at);
}

static bool is_end(const generator *g, int32_t token) {
    bool end = token == g->eos;
    for (size_t i = 0; i < g->ends.count && !end; i++) end = token == g->ends.ids[i];
    return end;
}

/* config.json's eos_token_id: an id or a list of them. */
static ct_status read_ends(generator *g) {
    const ct_value *given = ct_value_get(ct_model_config(g->model), "eos_token_id");
    bool list = ct_value_kind_of(given) == CT_VALUE_LIST;
    size_t count = list ? ct_value_count(given) : given != NULL;
    for (size_t i = 0; i < count; i++) {
        int64_t id = ct_value_as_int(list ? ct_value_at(given, i) : given, -1);
        if (id >= 0 && id < g->vocabulary && ct_ids_push(g->context, &g->ends, (int32_t)id) != CT_OK) break;
    }
    return ct_context_status(g->context);
}

/* Filters the row, draws a token, and sees whether the sequence goes on. */
static void take_token(generator *g, sequence *s, float *logits) {
    const ct_generate_options *o = g->options;
    ct_generation *result = s->result;
    ct_random random = ct_random_make((uint64_t)o->seed, ct_random_stream("generate") + (uint64_t)s->index);
    random.offset = result->ids.count;
    float *filtered = ct_alloc(g->context, (size_t)g->vocabulary * sizeof(float), CT_MEMORY_WORKSPACE);
    if (!filtered) return;
    memcpy(filtered, logits, (size_t)g->vocabulary * sizeof(float));
    for (int64_t i = 0; i < g->vocabulary; i++) {
        if (isnan(filtered[i])) ct_fail(g->context, CT_ERROR_NUMERIC, "generate: the model's logits are NaN");
        if (i >= ct_tokenizer_size(g->tokenizer)) filtered[i] = -INFINITY; /* a padded vocabulary: it has no text */
    }
    ct_filter_logits(filtered, g->vocabulary, o, s->history.ids, s->history.count, g->context);
    int32_t token = ct_draw_token(filtered, g->vocabulary, o, &random);
    ct_free(g->context, filtered);
    if (ct_failed(g->context)) return;
    if (is_end(g, token) && !o->ignore_eos) {
        finish(s, CT_FINISH_EOS);
    } else {
        note_logprobs(g, result, logits, token);
        if (ct_ids_push(g->context, &result->ids, token) != CT_OK) return;
        if (ct_ids_push(g->context, &s->history, token) != CT_OK) return;
        append_text(g, s, token);
        g->report->new_tokens++;
        if (!s->done && (int64_t)result->ids.count >= o->max_new_tokens) finish(s, CT_FINISH_LENGTH);
        if (!s->done && (int64_t)s->history.count >= g->context_length) finish(s, CT_FINISH_CONTEXT);
    }
    if (s->done && s->result->finish != CT_FINISH_STOP) {
        const char *rest = NULL;
        size_t length = 0;
        if (ct_text_stream_finish(s->decoder, &rest, &length) == CT_OK && length)
            ct_bytes_append(g->context, &result->text, rest, length);
    }
    show(g, s);
}

/* --------------------------------------------------------------------------------------------- the loop */

/* ids [rows][time] through the model; logits of the last position of each row, f32 [rows][vocabulary], or NULL. */
static float *last_logits(generator *g, const int32_t *ids, int64_t rows, int64_t time, const int64_t *cache_rows) {
    ct_tensor *input = ct_from_data(g->context, CT_I32, CT_DIMS(rows, time), ids);
    ct_kv_cache_select(g->cache, cache_rows, rows);
    ct_tensor *logits = ct_model_forward_last(g->model, g->run, input);
    if (ct_failed(g->context)) return NULL;
    logits = ct_contiguous(ct_cast(logits, CT_F32));
    return ct_failed(g->context) ? NULL : ct_data_mutable(logits);
}

static ct_status run_prompts(generator *g) {
    for (int64_t i = 0; i < g->count && !ct_failed(g->context); i++) {
        sequence *s = &g->sequences[i];
        if (ct_stop_requested(g->context)) {
            finish(s, CT_FINISH_INTERRUPTED);
            continue;
        }
        ct_scope scope = ct_scope_open(g->context);
        float *logits = last_logits(g, s->history.ids, 1, (int64_t)s->history.count, &i);
        if (logits && g->options->max_new_tokens > 0) take_token(g, s, logits);
        else finish(s, CT_FINISH_LENGTH);
        if (i == 0) g->report->first_token_seconds = ct_seconds() - g->started;
        ct_scope_close(g->context, scope);
    }
    return ct_context_status(g->context);
}

static ct_status run_tokens(generator *g) {
    ct_context *context = g->context;
    int64_t *rows = ct_alloc(context, (size_t)g->count * sizeof(*rows), CT_MEMORY_OTHER);
    int32_t *ids = ct_alloc(context, (size_t)g->count * sizeof(*ids), CT_MEMORY_OTHER);
    while (rows && ids && !ct_failed(context)) {
        int64_t active = 0;
        for (int64_t i = 0; i < g->count; i++) {
            sequence *s = &g->sequences[i];
            if (s->done) continue;
            if (ct_stop_requested(context)) {
                finish(s, CT_FINISH_INTERRUPTED);
                continue;
            }
            rows[active] = i;
            ids[active++] = s->history.ids[s->history.count - 1];
        }
        if (!active) break;
        ct_scope scope = ct_scope_open(context);
        float *logits = last_logits(g, ids, active, 1, rows);
        for (int64_t a = 0; logits && a < active; a++)
            take_token(g, &g->sequences[rows[a]], logits + a * g->vocabulary);
        ct_scope_close(context, scope);
    }
    ct_free(context, rows);
    ct_free(context, ids);
    return ct_context_status(context);
}

static ct_status check_prompt(const generator *g, const ct_ids *prompt, int64_t index) {
    if ((int64_t)prompt->count >= g->context_length)
        return ct_fail(g->context, CT_ERROR_ARGUMENT,
                       "prompt %lld has %zu tokens, the model's context holds %lld and at least one must be free",
                       (long long)index, prompt->count, (long long)g->context_length);
    for (size_t i = 0; i < prompt->count; i++)
        if (prompt->ids[i] < 0 || prompt->ids[i] >= g->vocabulary)
            return ct_fail(g->context, CT_ERROR_ARGUMENT, "prompt %lld: id %d is outside the model's vocabulary of %lld",
                           (long long)index, (int)prompt->ids[i], (long long)g->vocabulary);
    return CT_OK;
}

static ct_status begin_sequence(generator *g, const ct_ids *prompt, int64_t index, ct_generation *result) {
    ct_context *context = g->context;
    sequence *s = &g->sequences[index];
    *s = (sequence){.index = index, .result = result};
    if (check_prompt(g, prompt, index) != CT_OK) return ct_context_status(context);
    for (size_t i = 0; i < prompt->count; i++) ct_ids_push(context, &s->history, prompt->ids[i]);
    if (!prompt->count) {
        int32_t bos = ct_tokenizer_role(g->tokenizer, "bos");
        if (bos < 0) bos = g->eos;
        if (bos < 0)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "prompt %lld is empty and the tokenizer names no token to begin with", (long long)index);
        ct_ids_push(context, &s->history, bos);
    }
    result->prompt_tokens = (int64_t)s->history.count;
    g->report->prompt_tokens += result->prompt_tokens;
    s->decoder = ct_text_stream_create(g->tokenizer, CT_DECODE_SKIP_SPECIAL);
    s->most = g->context_length - result->prompt_tokens;
    if (s->most > g->options->max_new_tokens) s->most = g->options->max_new_tokens;
    s->ends = ct_alloc(context, (size_t)s->most * sizeof(size_t), CT_MEMORY_OTHER);
    return reserve_logprobs(g, result, (size_t)s->most);
}

static void end_sequences(generator *g) {
    for (int64_t i = 0; g->sequences && i < g->count; i++) {
        ct_ids_free(g->context, &g->sequences[i].history);
        ct_text_stream_destroy(g->sequences[i].decoder);
        ct_free(g->context, g->sequences[i].ends);
    }
    ct_free(g->context, g->sequences);
}

static int64_t cache_capacity(const generator *g, const ct_ids *prompts) {
    int64_t longest = 1;
    for (int64_t i = 0; i < g->count; i++)
        if ((int64_t)prompts[i].count > longest) longest = (int64_t)prompts[i].count;
    int64_t wanted = longest + g->options->max_new_tokens;
    return wanted < g->context_length ? wanted : g->context_length;
}

static ct_status check_stops(generator *g) {
    const ct_value *stops = g->options->stop_strings;
    bool texts = ct_value_kind_of(stops) == CT_VALUE_NULL || ct_value_kind_of(stops) == CT_VALUE_LIST;
    for (size_t i = 0; i < ct_value_count(stops); i++) {
        size_t length = ct_value_string_length(ct_value_at(stops, i));
        if (length == 0) texts = false;
        if (length > g->longest_stop) g->longest_stop = length;
    }
    if (texts) return CT_OK;
    return ct_fail(g->context, CT_ERROR_ARGUMENT, "stop_strings: expected a list of texts, none of them empty");
}

/* Packed weights make tokens faster; the packing must pay and its copy find room. */
static bool worth_packing(const generator *g) {
    size_t budget = ct_memory_budget(g->context);
    ct_memory_counts counts;
    ct_memory_read(g->context, &counts);
    return g->options->max_new_tokens >= PACKING_PAYS &&
           (!budget || counts.current_total + counts.current[CT_MEMORY_WEIGHTS] < budget / 4 * 3);
}

static ct_status set_up(generator *g, const ct_ids *prompts, ct_generation *results) {
    ct_context *context = g->context;
    g->vocabulary = ct_model_vocabulary(g->model);
    g->context_length = ct_model_context_length(g->model);
    if (!g->context_length) g->context_length = INT64_MAX / 2;
    if (ct_model_need_causal(g->model, "generate") != CT_OK) return ct_context_status(context);
    if (ct_tokenizer_size(g->tokenizer) > g->vocabulary)
        return ct_fail(context, CT_ERROR_ARGUMENT, "the tokenizer has %d tokens, the model's vocabulary %lld",
                       (int)ct_tokenizer_size(g->tokenizer), (long long)g->vocabulary);
    g->eos = ct_tokenizer_role(g->tokenizer, "eos");
    if (read_ends(g) != CT_OK || check_stops(g) != CT_OK) return ct_context_status(context);
    g->sequences = ct_alloc_zero(context, (size_t)g->count * sizeof(sequence), CT_MEMORY_OTHER);
    if (!g->sequences) return CT_ERROR_MEMORY;
    for (int64_t i = 0; i < g->count; i++)
        if (begin_sequence(g, &prompts[i], i, &results[i]) != CT_OK) return ct_context_status(context);
    g->run = ct_run_create(context, &(ct_run_options){.compute = CT_F32, .constant_weights = worth_packing(g)});
    g->cache = ct_kv_cache_create(context, ct_model_layers(g->model), g->count, cache_capacity(g, prompts));
    if (g->run && g->cache) ct_run_set_cache(g->run, g->cache);
    return ct_context_status(context);
}

ct_status ct_generate(ct_model *model, ct_tokenizer *tokenizer, const ct_ids *prompts, int64_t count,
                      const ct_generate_options *options, ct_generate_stream stream, void *user,
                      ct_generation *results, ct_generate_report *report) {
    ct_context *context = ct_model_context(model);
    ct_generate_report unused;
    if (ct_failed(context) || count < 1) return ct_context_status(context);
    generator g = {.context = context, .model = model, .tokenizer = tokenizer, .options = options, .stream = stream,
                   .user = user, .count = count, .report = report ? report : &unused};
    *g.report = (ct_generate_report){0};
    g.started = ct_seconds();
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    if (set_up(&g, prompts, results) == CT_OK && run_prompts(&g) == CT_OK) {
        double decoding = ct_seconds();
        g.report->prompt_seconds = decoding - g.started;
        run_tokens(&g);
        g.report->decode_seconds = ct_seconds() - decoding;
    }
    ct_grad_mode_set(context, before);
    ct_kv_cache_destroy(g.cache);
    ct_run_destroy(g.run);
    end_sequences(&g);
    ct_ids_free(context, &g.ends);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}
