/* generate.h - text from a language model: decoders, key-value cache, batches of prompts, streaming. */
#ifndef CARAT_GENERATE_H
#define CARAT_GENERATE_H

#include <carat/model.h>
#include <carat/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Defaults by ct_options_default(ct_generate_table, &options). Keys are those of Hugging Face's generation_config.json. Filters act in the order: repetition penalty, temperature,
 * top-k, top-p, min-p. */
typedef struct ct_generate_options {
    int64_t max_new_tokens;
    bool do_sample; /* false: greedy, the lowest id of ties */
    double temperature;        /* divides the logits; below 1e-30 greedy */
    int64_t top_k;             /* 0: off */
    double top_p;              /* 1: off (Holtzman et al., arXiv:1904.09751) */
    double min_p;              /* 0: off (Nguyen et al., arXiv:2407.01082) */
    double repetition_penalty; /* 1: off (Keskar et al., arXiv:1909.05858) */
    int64_t seed;              /* prompt i of a batch draws from stream i: its text does not depend on the others */
    int64_t logprobs;          /* > 0: report the log-probability of each token, and this many alternatives */
    const ct_value *stop_strings; /* list of strings; NULL: none */
    bool ignore_eos;
} ct_generate_options;
extern const ct_option ct_generate_table[];

typedef enum ct_finish { CT_FINISH_LENGTH, CT_FINISH_EOS, CT_FINISH_STOP, CT_FINISH_CONTEXT, CT_FINISH_INTERRUPTED } ct_finish;
const char *ct_finish_name(ct_finish finish);

/* What became of one prompt; free with ct_generation_free. */
typedef struct ct_generation {
    ct_ids ids;          /* new tokens, without eos and what a stop string cut off */
    ct_bytes text;       /* their text */
    float *logprobs;     /* [ids.count] if asked for, nats, of the unfiltered distribution, else NULL */
    int32_t *top_ids;    /* [ids.count][options.logprobs], the likeliest first; -1 beyond the vocabulary */
    float *top_logprobs; /* the same shape */
    ct_finish finish;
    int64_t prompt_tokens;
} ct_generation;
void ct_generation_free(ct_context *context, ct_generation *generation);

typedef struct ct_generate_report {
    double prompt_seconds, decode_seconds, first_token_seconds;
    int64_t prompt_tokens, new_tokens; /* over all prompts */
} ct_generate_report;

/* Called with whole characters of prompt `index` as they come. Return false to stop. */
typedef bool (*ct_generate_stream)(void *user, int64_t index, const char *text, size_t length);

/* A text ends with the tokenizer's eos or any of the model's configuration (eos_token_id, an id or a list).
 * Prompts as ids (an empty prompt is the bos token, or eos; it is an error where the tokenizer names neither). results[count]
 * is zeroed by the caller and filled, and to be freed also after an error. stream and report may be NULL. A prompt as long as
 * the model's context or longer is an error. On a stop request (ct_request_stop) what is not finished ends as
 * CT_FINISH_INTERRUPTED, and the call is CT_OK. */
ct_status ct_generate(ct_model *model, ct_tokenizer *tokenizer, const ct_ids *prompts, int64_t count,
                      const ct_generate_options *options, ct_generate_stream stream, void *user,
                      ct_generation *results, ct_generate_report *report);

/* The filters on one row of logits [vocabulary], in place (excluded tokens become -infinity), and the draw. `history`
 * holds the ids so far. Probabilities are those after the filters. */
void ct_filter_logits(float *logits, int64_t vocabulary, const ct_generate_options *options, const int32_t *history,
                      size_t history_count, ct_context *context);
int32_t ct_draw_token(const float *logits, int64_t vocabulary, const ct_generate_options *options, ct_random *random);

#ifdef __cplusplus
}
#endif
#endif
