/* embed.c - texts to vectors with an encoder. Texts are sorted by their number of tokens and run in batches
 * of equal length, so that nothing is computed for padding and no text's vector depends on what stands beside
 * it. */
#include "evaluate/embed.h"
#include <carat/format.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const pooling_names[] = {"folder", "mean", "cls", "max", NULL};
static const char *const normalize_names[] = {"folder", "yes", "no", NULL};

const ct_option ct_embed_table[] = {
    CT_OPTION_CHOICE("pooling", ct_embed_options, pooling, "folder", pooling_names,
                     "embed: over the tokens; folder: as 1_Pooling/config.json says, else mean"),
    CT_OPTION_CHOICE("normalize", ct_embed_options, normalize, "folder", normalize_names,
                     "embed: vectors of length 1; folder: as modules.json says, else no"),
    CT_OPTION_INT("max_seq_length", ct_embed_options, max_seq_length, 0, 0, 1e8,
                  "embed: tokens of a text, longer ones are cut; 0: the folder's"),
    CT_OPTION_INT("batch_tokens", ct_embed_options, batch_tokens, 2048, 1, 1e9,
                  "embed: tokens at a time; results do not depend on it"),
    CT_OPTION_END};

struct ct_embedder {
    ct_context *context;
    ct_embed_options options;
    ct_embed_plan plan;
    ct_model *model;
    ct_run *run;
    char *tokenizer_path;
    ct_tokenizer *tokenizer;   /* NULL until the first text */
    ct_ids before, after;      /* what the tokenizer's template puts around a text */
    int64_t width, max_length; /* tokens of a text; 0: no limit */
    int64_t tokens;
};

/* ------------------------------------------------------------------------------------------- opening */

/* Linear layers pack constant weights, as much memory again, where the budget has it. */
static bool can_pack(ct_context *context) {
    size_t budget = ct_memory_budget(context);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    return !budget || counts.current_total + counts.current[CT_MEMORY_WEIGHTS] < budget / 4 * 3;
}

/* The width is what a pass over one token gives. */
static ct_status measure_width(ct_embedder *e) {
    const int32_t id = 0;
    const int64_t end = 1;
    return ct_embed_ids(e, &id, &end, 1, NULL);
}

static ct_status open_model(ct_embedder *e, const char *folder, const char *tokenizer, bool bf16) {
    ct_context *context = e->context;
    if (ct_embed_plan_read(context, folder, &e->plan) != CT_OK) return ct_context_status(context);
    if (e->options.pooling == CT_POOL_FOLDER) e->options.pooling = (int)e->plan.pooling;
    if (e->options.normalize) e->plan.normalize = e->options.normalize == 1;
    e->model = ct_model_load(context, e->plan.model_folder, bf16 ? CT_BF16 : CT_DTYPES);
    if (!e->model) return ct_context_status(context);
    const ct_architecture *architecture = ct_model_architecture(e->model);
    if (!architecture->bidirectional)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: embed: a %s is no encoder", e->plan.model_folder,
                       architecture->model_type);
    int64_t positions = ct_model_context_length(e->model), asked = e->options.max_seq_length;
    if (asked && positions && asked > positions)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "max_seq_length: %lld is more than the model's %lld positions", (long long)asked,
                       (long long)positions);
    e->max_length = asked ? asked : e->plan.max_seq_length;
    if (!e->max_length || (positions && e->max_length > positions)) e->max_length = positions;
    e->tokenizer_path = ct_model_resolve(context, tokenizer ? tokenizer : e->plan.model_folder);
    ct_run_options how = {.compute = bf16 ? CT_BF16 : CT_F32, .constant_weights = can_pack(context)};
    e->run = ct_run_create(context, &how);
    if (!e->run || !e->tokenizer_path) return ct_context_status(context);
    return measure_width(e);
}

ct_embedder *ct_embedder_open(ct_context *context, const char *folder, const char *tokenizer,
                              const ct_embed_options *options, bool bf16) {
    if (ct_failed(context)) return NULL;
    ct_embedder *e = ct_alloc_zero(context, sizeof(*e), CT_MEMORY_OTHER);
    if (e) e->context = context;
    char *path = e ? ct_model_resolve(context, folder) : NULL;
    if (path) {
        ct_options_default(ct_embed_table, &e->options);
        if (options) e->options = *options;
        open_model(e, path, tokenizer, bf16);
    }
    ct_free(context, path);
    if (!ct_failed(context)) return e;
    ct_embedder_close(e);
    return NULL;
}

void ct_embedder_close(ct_embedder *e) {
    if (!e) return;
    ct_context *context = e->context;
    ct_ids_free(context, &e->before);
    ct_ids_free(context, &e->after);
    ct_tokenizer_destroy(e->tokenizer);
    ct_run_destroy(e->run);
    ct_model_destroy(e->model);
    ct_free(context, e->tokenizer_path);
    ct_embed_plan_free(context, &e->plan);
    ct_free(context, e);
}

int64_t ct_embedder_width(const ct_embedder *e) {
    return e->width;
}
ct_model *ct_embedder_model(const ct_embedder *e) {
    return e->model;
}
int64_t ct_embedder_tokens(const ct_embedder *e) {
    return e->tokens;
}

/* ------------------------------------------------------------------------------------------- pooling */

typedef struct pool_work {
    const float *hidden; /* [rows][time][width] */
    float *vectors;      /* [texts][width] */
    const int64_t *text; /* of each row */
    int64_t time, width;
    int pooling;
    bool normalize;
} pool_work;

static void pool_row(void *user, int64_t row, int worker) {
    (void)worker;
    const pool_work *w = user;
    const float *x = w->hidden + row * w->time * w->width;
    float *out = w->vectors + w->text[row] * w->width;
    memcpy(out, x, (size_t)w->width * sizeof(float));
    int64_t time = w->pooling == CT_POOL_CLS ? 1 : w->time;
    for (int64_t t = 1; t < time; t++)
        for (int64_t c = 0; c < w->width; c++) {
            float value = x[t * w->width + c];
            out[c] = w->pooling == CT_POOL_MEAN ? out[c] + value : value > out[c] ? value : out[c];
        }
    double square = 0;
    for (int64_t c = 0; c < w->width; c++) {
        if (w->pooling == CT_POOL_MEAN) out[c] /= (float)time;
        square += (double)out[c] * out[c];
    }
    float norm = (float)fmax(sqrt(square), 1e-12);
    for (int64_t c = 0; c < w->width && w->normalize; c++)
        out[c] /= norm;
}

/* ------------------------------------------------------------------------------------------- running */

typedef struct entry {
    int64_t text, begin, length;
} entry;

/* Longest first, so that the greatest need of memory comes at once. */
static int by_length(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return x->text < y->text ? -1 : x->text > y->text;
}

/* `rows` texts of equal length; vectors NULL: only the width is noted. */
static ct_status run_batch(ct_embedder *e, const int32_t *ids, const entry *entries, int64_t rows,
                           int64_t *text, float *vectors) {
    static const char *const wanted[] = {"hidden"};
    ct_context *context = e->context;
    int64_t time = entries[0].length;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *input = ct_empty(context, CT_I32, CT_DIMS(rows, time)), *hidden;
    int32_t *data = ct_data_mutable(input);
    for (int64_t r = 0; data && r < rows; r++) {
        memcpy(data + r * time, ids + entries[r].begin, (size_t)time * sizeof(*data));
        text[r] = entries[r].text;
    }
    if (ct_model_outputs(e->model, e->run, &input, 1, wanted, 1, &hidden) == CT_OK) {
        hidden = ct_contiguous(ct_cast(hidden, CT_F32));
        pool_work work = {ct_data(hidden),    vectors,          text, time, ct_dim(hidden, 2),
                          e->options.pooling, e->plan.normalize};
        e->width = work.width;
        if (!ct_failed(context) && vectors) ct_parallel_for(context, rows, pool_row, &work);
    }
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* A batch that memory has no room for is tried again at half its rows. */
static ct_status run_sorted(ct_embedder *e, const int32_t *ids, const entry *entries, int64_t count,
                            float *vectors) {
    ct_context *context = e->context;
    int64_t tokens = e->options.batch_tokens;
    int64_t *text = ct_alloc(context, (size_t)count * sizeof(*text), CT_MEMORY_WORKSPACE);
    for (int64_t done = 0; text && done < count && !ct_failed(context);) {
        int64_t length = entries[done].length, rows = 1;
        while (done + rows < count && entries[done + rows].length == length && (rows + 1) * length <= tokens)
            rows++;
        ct_try trial;
        char message[512];
        ct_try_begin(context, &trial);
        run_batch(e, ids, entries + done, rows, text, vectors);
        ct_status status = ct_try_end(context, &trial, message, sizeof(message));
        if (ct_stop_requested(context))
            ct_fail(context, CT_ERROR_INTERRUPTED, "embed: stopped after %lld of %lld texts", (long long)done,
                    (long long)count);
        if (status == CT_ERROR_MEMORY && rows > 1) {
            tokens = (rows + 1) / 2 * length;
            continue;
        }
        if (status != CT_OK) ct_fail(context, status, "%s", message);
        done += rows;
        if (vectors) ct_progress(context, "embed", (double)done, (double)count, "texts", "");
    }
    ct_free(context, text);
    return ct_context_status(context);
}

static ct_status check_ids(ct_embedder *e, const int32_t *ids, int64_t begin, int64_t end, int64_t text) {
    int64_t vocabulary = ct_model_vocabulary(e->model), positions = ct_model_context_length(e->model);
    if (end <= begin || (positions && end - begin > positions))
        return ct_fail(e->context, CT_ERROR_ARGUMENT, "embed: text %lld has %lld tokens, expected 1 to %lld",
                       (long long)text, (long long)(end - begin), (long long)positions);
    for (int64_t i = begin; i < end; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return ct_fail(e->context, CT_ERROR_ARGUMENT,
                           "embed: text %lld has id %d, the model's vocabulary %lld tokens", (long long)text,
                           (int)ids[i], (long long)vocabulary);
    return CT_OK;
}

ct_status ct_embed_ids(ct_embedder *e, const int32_t *ids, const int64_t *ends, int64_t count,
                       float *vectors) {
    ct_context *context = e->context;
    if (ct_failed(context) || count < 1) return ct_context_status(context);
    entry *entries = ct_alloc(context, (size_t)count * sizeof(*entries), CT_MEMORY_WORKSPACE);
    for (int64_t i = 0; entries && i < count && !ct_failed(context); i++) {
        int64_t begin = i ? ends[i - 1] : 0;
        entries[i] = (entry){i, begin, ends[i] - begin};
        check_ids(e, ids, begin, ends[i], i);
    }
    if (!ct_failed(context)) {
        bool mode = ct_grad_mode_set(context, false);
        qsort(entries, (size_t)count, sizeof(*entries), by_length);
        run_sorted(e, ids, entries, count, vectors);
        ct_grad_mode_set(context, mode);
        if (vectors) e->tokens += ends[count - 1];
    }
    ct_free(context, entries);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------------- texts */

/* What the template puts before and behind a text, found by looking for a text's own ids in what it becomes.
 */
static ct_status find_template(ct_embedder *e) {
    ct_context *context = e->context;
    ct_ids plain = {0}, whole = {0};
    bool found = false;
    if (ct_tokenizer_encode(e->tokenizer, "a", 1, CT_ENCODE_PLAIN, &plain) == CT_OK &&
        ct_tokenizer_encode(e->tokenizer, "a", 1, CT_ENCODE_TEMPLATE, &whole) == CT_OK)
        for (size_t at = 0; at + plain.count <= whole.count && !found; at++) {
            found = memcmp(whole.ids + at, plain.ids, plain.count * sizeof(int32_t)) == 0;
            for (size_t i = 0; found && i < whole.count; i++)
                if (i < at || i >= at + plain.count)
                    ct_ids_push(context, i < at ? &e->before : &e->after, whole.ids[i]);
        }
    if (!found && !ct_failed(context))
        ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: the tokenizer's template changes what it is put around",
                e->tokenizer_path);
    ct_ids_free(context, &plain);
    ct_ids_free(context, &whole);
    int64_t around = (int64_t)(e->before.count + e->after.count);
    if (!ct_failed(context) && e->max_length && around >= e->max_length)
        ct_fail(context, CT_ERROR_ARGUMENT,
                "max_seq_length: %lld tokens leave no room beside the template's %lld",
                (long long)e->max_length, (long long)around);
    return ct_context_status(context);
}

static ct_status open_tokenizer(ct_embedder *e) {
    if (e->tokenizer) return CT_OK;
    e->tokenizer = ct_tokenizer_load(e->context, e->tokenizer_path);
    if (!e->tokenizer) return ct_context_status(e->context);
    if (ct_tokenizer_size(e->tokenizer) > ct_model_vocabulary(e->model))
        ct_fail(e->context, CT_ERROR_FORMAT, "%s: the tokenizer has %d tokens, the model's vocabulary %lld",
                e->tokenizer_path, (int)ct_tokenizer_size(e->tokenizer),
                (long long)ct_model_vocabulary(e->model));
    else
        find_template(e);
    if (!ct_failed(e->context)) return CT_OK;
    ct_tokenizer_destroy(e->tokenizer);
    e->tokenizer = NULL;
    e->before.count = e->after.count = 0;
    return ct_context_status(e->context);
}

static ct_status append(ct_context *context, ct_ids *ids, const ct_ids *more) {
    for (size_t i = 0; i < more->count; i++)
        ct_ids_push(context, ids, more->ids[i]);
    return ct_context_status(context);
}

/* The ids of a text with the prompt before it, cut to what the model takes, with the template around. Special
 * tokens in a text are themselves, as sentence-transformers has it. */
static ct_status encode(ct_embedder *e, const ct_text *text, ct_bytes *joined, ct_ids *ids) {
    ct_context *context = e->context;
    const ct_text *whole = text;
    ct_text with_prompt;
    if (e->plan.prompt) {
        joined->length = 0;
        ct_bytes_append(context, joined, e->plan.prompt, strlen(e->plan.prompt));
        ct_bytes_append(context, joined, text->data, text->length);
        with_prompt = (ct_text){joined->data, joined->length};
        whole = &with_prompt;
    }
    append(context, ids, &e->before);
    size_t begin = ids->count, around = e->before.count + e->after.count;
    if (!ct_failed(context))
        ct_tokenizer_encode(e->tokenizer, whole->data, whole->length, CT_ENCODE_SPECIAL, ids);
    if (e->max_length && ids->count - begin > (size_t)e->max_length - around)
        ids->count = begin + (size_t)e->max_length - around;
    return append(context, ids, &e->after);
}

ct_status ct_embed_texts(ct_embedder *e, const ct_text *texts, int64_t count, float *vectors) {
    ct_context *context = e->context;
    if (ct_failed(context) || count < 1 || open_tokenizer(e) != CT_OK) return ct_context_status(context);
    ct_ids ids = {0};
    ct_bytes joined = {0};
    int64_t *ends = ct_alloc(context, (size_t)count * sizeof(*ends), CT_MEMORY_WORKSPACE);
    for (int64_t i = 0; ends && i < count && !ct_failed(context); i++) {
        encode(e, &texts[i], &joined, &ids);
        ends[i] = (int64_t)ids.count;
    }
    if (!ct_failed(context)) ct_embed_ids(e, ids.ids, ends, count, vectors);
    ct_free(context, ends);
    ct_ids_free(context, &ids);
    ct_bytes_free(context, &joined);
    return ct_context_status(context);
}
