/* evaluate.h - how good a language model is: perplexity, bits per byte, multiple choice by likelihood. */
#ifndef CARAT_EVALUATE_H
#define CARAT_EVALUATE_H

#include <carat/model.h>
#include <carat/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_perplexity_options {
    int64_t context;    /* window in tokens; 0: the model's */
    int64_t stride;     /* how far windows move; 0: the window's length. Each token is predicted once, with as much
                           context as its window gives (Baevski & Auli style sliding window) */
    int64_t batch;      /* windows at a time; results do not depend on it */
    int64_t max_tokens; /* of the text; 0: all */
    bool bf16;
} ct_perplexity_options;
extern const ct_option ct_perplexity_table[];

typedef struct ct_perplexity {
    double loss;          /* mean negative log-likelihood a token, nats */
    double perplexity;    /* exp(loss) */
    double bits_per_byte; /* total nats / ln 2 / bytes of the text that the predicted tokens stand for */
    double bits_per_token;
    int64_t tokens; /* predicted */
    int64_t bytes;
    double seconds;
} ct_perplexity;
/* The first token of the text is not predicted (nothing stands before it). At least 2 tokens. */
ct_status ct_evaluate_perplexity(ct_model *model, ct_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                 const ct_perplexity_options *options, ct_perplexity *result);

/* Sum of the log-probabilities of `continuation` after `prompt`, and whether greedy decoding gives it. */
ct_status ct_evaluate_likelihood(ct_model *model, const int32_t *prompt, int64_t prompt_count,
                                 const int32_t *continuation, int64_t continuation_count, double *logprob, bool *greedy);

/* JSONL with {"prompt": text, "choices": [text, ...], "answer": index}: a choice's score is its log-probability, or
 * that per byte (acc_norm, as lm-evaluation-harness has it). */
typedef struct ct_choice_result {
    int64_t questions;
    double accuracy, accuracy_per_byte;
} ct_choice_result;
ct_status ct_evaluate_choices(ct_model *model, ct_tokenizer *tokenizer, const char *path, int64_t limit,
                              ct_choice_result *result);

#ifdef __cplusplus
}
#endif
#endif
