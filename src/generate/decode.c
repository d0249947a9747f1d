/* decode.c - from logits to a token: repetition penalty, temperature, top-k, top-p, min-p, greedy and drawn. */
#include <carat/generate.h>
#include <math.h>
#include <stdlib.h>

const ct_option ct_generate_table[] = {
    CT_OPTION_INT("max_new_tokens", ct_generate_options, max_new_tokens, 200, 0, 1e9, "tokens to add"),
    CT_OPTION_BOOL("do_sample", ct_generate_options, do_sample, true, "draw; false: always the likeliest token"),
    CT_OPTION_REAL("temperature", ct_generate_options, temperature, 1.0, 0, 100, "divides the logits; 0 is greedy"),
    CT_OPTION_INT("top_k", ct_generate_options, top_k, 0, 0, 1e9, "keep the k likeliest tokens; 0: off"),
    CT_OPTION_REAL("top_p", ct_generate_options, top_p, 1.0, 0, 1, "keep the likeliest that together have p; 1: off"),
    CT_OPTION_REAL("min_p", ct_generate_options, min_p, 0, 0, 1, "drop tokens below this share of the likeliest"),
    CT_OPTION_REAL("repetition_penalty", ct_generate_options, repetition_penalty, 1.0, 0.01, 100,
                   "against tokens that stand in the text already; 1: off"),
    CT_OPTION_INT("seed", ct_generate_options, seed, 0, 0, 9e15, "of the draws"),
    CT_OPTION_INT("logprobs", ct_generate_options, logprobs, 0, 0, 1000,
                  "report each token's log-probability and this many alternatives"),
    CT_OPTION_VALUE("stop_strings", ct_generate_options, stop_strings, "list of texts that end the generation"),
    CT_OPTION_BOOL("ignore_eos", ct_generate_options, ignore_eos, false, "go on after the end-of-text token"),
    CT_OPTION_END};

/* Each id of the history counts once: positive logits are divided, negative ones multiplied. */
static void penalise(float *logits, int64_t vocabulary, double penalty, const int32_t *history, size_t count,
                     ct_context *context) {
    unsigned char *seen = ct_alloc_zero(context, (size_t)vocabulary, CT_MEMORY_WORKSPACE);
    for (size_t i = 0; seen && i < count; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= vocabulary || seen[id]) continue;
        seen[id] = 1;
        logits[id] = logits[id] > 0 ? logits[id] / (float)penalty : logits[id] * (float)penalty;
    }
    ct_free(context, seen);
}

static int falling(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The logits that count, largest first; how many. */
static int64_t sorted_copy(const float *logits, int64_t vocabulary, float *sorted) {
    int64_t count = 0;
    for (int64_t i = 0; i < vocabulary; i++)
        if (logits[i] > -INFINITY) sorted[count++] = logits[i];
    qsort(sorted, (size_t)count, sizeof(float), falling);
    return count;
}

static void keep_from(float *logits, int64_t vocabulary, float threshold) {
    for (int64_t i = 0; i < vocabulary; i++)
        if (logits[i] < threshold) logits[i] = -INFINITY;
}

/* Excludes all but `count` of the likeliest; of ties at the end, the lowest ids stay. */
static void keep_count(float *logits, int64_t vocabulary, const float *sorted, int64_t count) {
    int64_t ties = 0; /* how many of those that equal the last one may stay */
    while (ties < count && sorted[count - 1 - ties] == sorted[count - 1]) ties++;
    for (int64_t i = 0; i < vocabulary; i++) {
        bool tie = logits[i] == sorted[count - 1];
        if (logits[i] < sorted[count - 1] || (tie && ties == 0)) logits[i] = -INFINITY;
        else if (tie) ties--;
    }
}

/* Top-k keeps all that tie with the k-th, as transformers does; top-p the smallest set that has p, never empty. */
static void keep_top(float *logits, int64_t vocabulary, const ct_generate_options *o, float *sorted) {
    int64_t count = sorted_copy(logits, vocabulary, sorted);
    if (o->top_k > 0 && o->top_k < count) {
        int64_t all = count;
        count = o->top_k;
        while (count < all && sorted[count] == sorted[count - 1]) count++;
        keep_from(logits, vocabulary, sorted[count - 1]);
    }
    if (o->top_p >= 1 || count == 0) return;
    double sum = 0, taken = 0;
    for (int64_t i = 0; i < count; i++) sum += exp((double)sorted[i] - sorted[0]);
    int64_t last = 0;
    while (last < count - 1 && (taken += exp((double)sorted[last] - sorted[0])) < o->top_p * sum) last++;
    keep_count(logits, vocabulary, sorted, last + 1);
}

static float largest(const float *logits, int64_t vocabulary) {
    float most = -INFINITY;
    for (int64_t i = 0; i < vocabulary; i++) most = logits[i] > most ? logits[i] : most;
    return most;
}

/* Colder than this, logits divided by the temperature are beyond f32; at it the likeliest token has all the
 * probability already. */
#define COLDEST 1e-30

static bool is_greedy(const ct_generate_options *o) { return !o->do_sample || o->temperature < COLDEST; }

void ct_filter_logits(float *logits, int64_t vocabulary, const ct_generate_options *o, const int32_t *history,
                      size_t history_count, ct_context *context) {
    if (o->repetition_penalty != 1) penalise(logits, vocabulary, o->repetition_penalty, history, history_count, context);
    if (is_greedy(o)) return;
    if (o->temperature != 1)
        for (int64_t i = 0; i < vocabulary; i++) logits[i] /= (float)o->temperature;
    if (o->top_k > 0 || o->top_p < 1) {
        float *sorted = ct_alloc(context, (size_t)vocabulary * sizeof(float), CT_MEMORY_WORKSPACE);
        if (sorted) keep_top(logits, vocabulary, o, sorted);
        ct_free(context, sorted);
    }
    if (o->min_p > 0) keep_from(logits, vocabulary, largest(logits, vocabulary) + (float)log(o->min_p));
}

int32_t ct_draw_token(const float *logits, int64_t vocabulary, const ct_generate_options *o, ct_random *random) {
    float most = largest(logits, vocabulary);
    int64_t likeliest = 0;
    while (likeliest < vocabulary - 1 && logits[likeliest] != most) likeliest++;
    if (is_greedy(o)) return (int32_t)likeliest;
    double sum = 0, running = 0;
    for (int64_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - most);
    double at = ct_random_uniform(random) * sum;
    for (int64_t i = 0; i < vocabulary; i++) {
        running += exp((double)logits[i] - most);
        if (at < running) return (int32_t)i;
    }
    return (int32_t)likeliest;
}
