/* likelihood.c - log-probabilities of tokens under a language model: sliding-window perplexity and bits per byte, and
 * the likelihood of one continuation. */
#include <carat/evaluate.h>
#include "evaluate/likelihood.h"
#include <math.h>

const ct_option ct_perplexity_table[] = {
    CT_OPTION_INT("context", ct_perplexity_options, context, 0, 0, 1e9, "tokens a window; 0: the model's context"),
    CT_OPTION_INT("stride", ct_perplexity_options, stride, 0, 0, 1e9,
                  "how far the window moves; 0: its length. Smaller gives every token more context"),
    CT_OPTION_INT("batch", ct_perplexity_options, batch, 8, 1, 65536, "windows at a time; results are the same"),
    CT_OPTION_INT("max_tokens", ct_perplexity_options, max_tokens, 0, 0, 9e15, "of the text; 0: all"),
    CT_OPTION_BOOL("bf16", ct_perplexity_options, bf16, false, "activations in bf16"), CT_OPTION_END};

/* Log-probability of each target given what stands before it: rows of ids and targets [rows][length], target -100 where
 * none is asked for. out [rows * length], 0 there. */
ct_status ct_token_losses(ct_model *model, ct_run *run, const int32_t *ids, const int32_t *targets, int64_t rows,
                          int64_t length, float *out) {
    ct_context *context = ct_model_context(model);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(rows, length), ids);
    ct_tensor *wanted = ct_from_data(context, CT_I32, CT_DIMS(rows * length), targets);
    ct_tensor *logits = ct_model_forward(model, run, input);
    ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
    options.reduction = CT_LOSS_NONE;
    if (!ct_failed(context)) {
        logits = ct_reshape(logits, CT_DIMS(rows * length, ct_dim(logits, -1)));
        ct_tensor *losses = ct_cross_entropy(ct_cast(logits, CT_F32), wanted, &options);
        ct_read(losses, CT_F32, out);
    }
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------- perplexity */

typedef struct windows {
    int64_t length, stride, count; /* tokens a window, step, tokens of the text */
} windows;

/* Window w covers inputs [w stride, w stride + length); it predicts what no window before it has predicted. */
static int64_t window_count(const windows *w) {
    int64_t predicted = w->count - 1;
    if (predicted <= w->length) return 1;
    return 1 + (predicted - w->length + w->stride - 1) / w->stride;
}

static void fill_window(const windows *w, int64_t index, const int32_t *text, int32_t *ids, int32_t *targets) {
    int64_t start = index * w->stride;
    int64_t fresh = index ? (index - 1) * w->stride + w->length : 0; /* first input whose target is new */
    for (int64_t t = 0; t < w->length; t++) {
        int64_t at = start + t;
        bool inside = at + 1 < w->count;
        ids[t] = inside ? text[at] : 0;
        targets[t] = inside && at >= fresh ? text[at + 1] : -100;
    }
}

static ct_status run_windows(const ct_token_scorer *scorer, const windows *w, const int32_t *text, int64_t batch,
                             double *totals) {
    ct_context *context = scorer->context;
    int64_t all = window_count(w);
    if (batch > all) batch = all;
    if (batch < 1) batch = 1;
    size_t cells = (size_t)(batch * w->length);
    int32_t *ids = ct_alloc(context, cells * sizeof(*ids), CT_MEMORY_WORKSPACE);
    int32_t *targets = ct_alloc(context, cells * sizeof(*targets), CT_MEMORY_WORKSPACE);
    float *losses = ct_alloc(context, (size_t)scorer->scores * cells * sizeof(*losses), CT_MEMORY_WORKSPACE);
    for (int64_t first = 0; ids && targets && losses && first < all && !ct_failed(context); first += batch) {
        if (ct_stop_requested(context)) {
            ct_fail(context, CT_ERROR_INTERRUPTED, "evaluate: interrupted");
            break;
        }
        int64_t rows = all - first < batch ? all - first : batch, count = rows * w->length;
        for (int64_t r = 0; r < rows; r++)
            fill_window(w, first + r, text, ids + r * w->length, targets + r * w->length);
        if (scorer->score(scorer->user, ids, targets, rows, w->length, losses) != CT_OK) break;
        for (int s = 0; s < scorer->scores; s++)
            for (int64_t i = 0; i < count; i++) totals[s] += losses[s * count + i]; /* in the order of the text */
        ct_progress(context, "evaluate", (double)(first + rows), (double)all, "windows", "");
    }
    ct_progress_finish(context, "evaluate", (double)all, "windows", "");
    ct_free(context, ids);
    ct_free(context, targets);
    ct_free(context, losses);
    return ct_context_status(context);
}

static int64_t bytes_of(ct_tokenizer *tokenizer, const int32_t *ids, int64_t count) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t length = 0;
        ct_tokenizer_token(tokenizer, ids[i], &length);
        bytes += (int64_t)length;
    }
    return bytes;
}

static ct_status check_text(const ct_token_scorer *scorer, const int32_t *ids, int64_t count) {
    ct_context *context = scorer->context;
    int64_t vocabulary = scorer->vocabulary;
    if (!vocabulary) return ct_fail(context, CT_ERROR_UNSUPPORTED, "evaluate: this model is not a language model");
    if (count < 2)
        return ct_fail(context, CT_ERROR_ARGUMENT, "evaluate: the text has %lld tokens, expected at least 2",
                       (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "evaluate: id %d at position %lld is outside the model's vocabulary of %lld", (int)ids[i],
                           (long long)i, (long long)vocabulary);
    return CT_OK;
}

ct_status ct_score_text(const ct_token_scorer *scorer, const int32_t *ids, int64_t count,
                        const ct_perplexity_options *options, double *totals, int64_t *predicted) {
    ct_context *context = scorer->context;
    *predicted = 0;
    for (int s = 0; s < scorer->scores; s++)
        totals[s] = 0;
    if (options->max_tokens && options->max_tokens < count) count = options->max_tokens;
    if (check_text(scorer, ids, count) != CT_OK) return ct_context_status(context);
    int64_t limit = scorer->positions;
    windows w = {options->context, options->stride, count};
    if (!w.length) w.length = limit ? limit : 1024;
    if (limit && w.length > limit)
        return ct_fail(context, CT_ERROR_ARGUMENT, "evaluate: context %lld, the model has %lld positions",
                       (long long)w.length, (long long)limit);
    if (!w.stride) w.stride = w.length;
    if (w.length < 1 || w.stride < 1 || w.stride > w.length)
        return ct_fail(context, CT_ERROR_ARGUMENT, "evaluate: stride %lld, expected 1 to the window of %lld tokens",
                       (long long)w.stride, (long long)w.length);
    if (w.length > count - 1) w.length = count - 1; /* one window: the stride does not matter */
    *predicted = count - 1;
    return run_windows(scorer, &w, ids, options->batch, totals);
}

void ct_perplexity_fill(double total, int64_t predicted, ct_tokenizer *tokenizer, const int32_t *ids,
                        ct_perplexity *result) {
    result->tokens = predicted;
    result->bytes = tokenizer ? bytes_of(tokenizer, ids + 1, predicted) : 0;
    result->loss = total / (double)predicted;
    result->perplexity = exp(result->loss);
    result->bits_per_token = result->loss / log(2.0);
    result->bits_per_byte = result->bytes ? total / log(2.0) / (double)result->bytes : NAN;
}

typedef struct one_model {
    ct_model *model;
    ct_run *run;
} one_model;

static ct_status score_one(void *user, const int32_t *ids, const int32_t *targets, int64_t rows, int64_t length,
                           float *losses) {
    one_model *one = user;
    return ct_token_losses(one->model, one->run, ids, targets, rows, length, losses);
}

ct_status ct_evaluate_perplexity(ct_model *model, ct_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                 const ct_perplexity_options *options, ct_perplexity *result) {
    ct_context *context = ct_model_context(model);
    *result = (ct_perplexity){0};
    if (ct_failed(context) || ct_model_need_causal(model, "evaluate") != CT_OK) return ct_context_status(context);
    one_model one = {model, ct_run_create(context, &(ct_run_options){.compute = options->bf16 ? CT_BF16 : CT_F32})};
    ct_token_scorer scorer = {context,   ct_model_context_length(model), ct_model_vocabulary(model), 1,
                              score_one, &one};
    double total = 0, start = ct_seconds();
    int64_t predicted = 0;
    if (one.run && ct_score_text(&scorer, ids, count, options, &total, &predicted) == CT_OK) {
        result->seconds = ct_seconds() - start;
        ct_perplexity_fill(total, predicted, tokenizer, ids, result);
    }
    ct_run_destroy(one.run);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------- likelihood */

/* Only the last tokens that fit into the model's context are looked at, as evaluation harnesses do. */
ct_status ct_evaluate_likelihood(ct_model *model, const int32_t *prompt, int64_t prompt_count,
                                 const int32_t *continuation, int64_t continuation_count, double *logprob,
                                 bool *greedy) {
    ct_context *context = ct_model_context(model);
    *logprob = 0;
    if (greedy) *greedy = true;
    int64_t total = prompt_count + continuation_count, limit = ct_model_context_length(model);
    if (prompt_count < 1 || continuation_count < 1 || (limit && continuation_count > limit))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "likelihood: a prompt of %lld and a continuation of %lld tokens, expected 1 or more, and a "
                       "continuation within the model's %lld positions",
                       (long long)prompt_count, (long long)continuation_count, (long long)limit);
    int64_t length = total - 1, skipped = limit && length > limit ? length - limit : 0;
    ct_run *run = ct_run_create(context, NULL);
    int32_t *ids = ct_alloc(context, (size_t)total * sizeof(*ids), CT_MEMORY_OTHER);
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    if (run && ids) {
        for (int64_t i = 0; i < total; i++)
            ids[i] = i < prompt_count ? prompt[i] : continuation[i - prompt_count];
        ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(1, length - skipped), ids + skipped);
        ct_tensor *logits = ct_select(ct_cast(ct_model_forward(model, run, input), CT_F32), 0, 0);
        logits = ct_slice(logits, 0, prompt_count - 1 - skipped, length - skipped, 1);
        ct_tensor *wanted = ct_from_data(context, CT_I32, CT_DIMS(continuation_count), continuation);
        ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
        options.reduction = CT_LOSS_SUM;
        ct_item(ct_cross_entropy(ct_contiguous(logits), wanted, &options), logprob);
        *logprob = -*logprob;
        double different = 0;
        ct_tensor *best = ct_cast(ct_argmax(logits, -1, false), CT_I32);
        if (greedy && ct_item(ct_sum_all(ct_not_equal(best, wanted)), &different) == CT_OK) *greedy = different == 0;
    }
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    ct_free(context, ids);
    ct_run_destroy(run);
    return ct_context_status(context);
}
