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

/* Models that predict together, by the mean of their logits or of their probabilities (Kim et al., arXiv:2509.14786). */
typedef enum ct_ensemble_average { CT_AVERAGE_LOGITS, CT_AVERAGE_PROBABILITIES } ct_ensemble_average;
enum { CT_ENSEMBLE_MOST = 64 };
typedef struct ct_ensemble {
    ct_model *members[CT_ENSEMBLE_MOST];
    int count;
    ct_ensemble_average average;
    ct_tokenizer *tokenizer; /* that all have */
} ct_ensemble;
/* A manifest, {"carat_ensemble": 1, "average": "logits" or "probabilities", "members": [folder, ...]}, folders being
 * relative to its own; replaced atomically. Refused: fewer than one member or more than CT_ENSEMBLE_MOST, folders without
 * a model, tokenizers or vocabularies that differ. */
ct_status ct_ensemble_write(ct_context *context, const char *path, const char *const *folders, int count,
                            ct_ensemble_average average);
/* Loads what a manifest names, with the same checks. Free with ct_ensemble_free, also after an error. */
ct_status ct_ensemble_load(ct_context *context, const char *path, ct_dtype dtype, ct_ensemble *ensemble);
void ct_ensemble_free(ct_ensemble *ensemble);

typedef struct ct_ensemble_losses { /* nats a token */
    double logits, probabilities;   /* of the two averages */
    double members[CT_ENSEMBLE_MOST], mean; /* of each alone; `probabilities` is never more than their mean */
    int64_t tokens;
} ct_ensemble_losses;
/* Windows as in ct_evaluate_perplexity. All of one context and one vocabulary. */
ct_status ct_evaluate_ensemble(ct_model *const *members, int count, const int32_t *ids, int64_t token_count,
                               const ct_perplexity_options *options, ct_ensemble_losses *losses);

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

/* What each block of a transformer does on a batch of text: the reports of `carat evaluate layers` (P. Li et al.,
 * arXiv:2412.13795, section 2) and `carat evaluate growth` (J. Kim et al., arXiv:2502.02732, section 3). Entry 0 is the
 * stream before the first block; entry l + 1 belongs to block l and to the stream behind it. */
typedef struct ct_layer_report {
    double variance;      /* of a token's channels, mean over tokens */
    double largest;       /* |x| */
    double median;        /* of |x| */
    double gradient_norm; /* of all weights of the block, for the mean loss; entry 0: NAN */
    double distance;      /* arccos(cosine of a token before and behind the block) / pi, mean over tokens; entry 0: NAN */
    double skipped_loss;  /* mean loss when the block hands its input on; entry 0: NAN */
} ct_layer_report;
/* How many blocks a model has (0: it has no list of them). */
int64_t ct_evaluate_blocks(ct_model *model);
/* `ids` [rows][length + 1]: inputs and, moved by one, targets. `reports` has room for ct_evaluate_blocks + 1; *loss is the
 * mean loss, nats. `skip` false leaves skipped_loss NAN. The model is left as it was, its gradients are dropped. */
ct_status ct_evaluate_layers(ct_model *model, const int32_t *ids, int64_t rows, int64_t length, bool skip,
                             ct_layer_report *reports, double *loss);

/* Matrix entropy of order alpha > 0, nats, of z [..., rows, columns] (mean over leading axes): with p the eigenvalues of
 * z z^T over their sum, log(sum p^alpha) / (1 - alpha), for alpha 1 - sum p log p. 0 if all rows are multiples of one,
 * the logarithm of the rank at most. */
ct_status ct_matrix_entropy(ct_tensor *z, double alpha, double *entropy);
/* Of the stream before the first block (entry 0) and behind each: `reports` has room for ct_evaluate_blocks + 1. ids
 * [rows][length]. */
typedef struct ct_entropy_report {
    double sequence; /* of a sequence's [length, width], mean over rows */
    double batch;    /* of a position's [rows, width] around its mean, mean over positions; NAN for one row */
} ct_entropy_report;
ct_status ct_evaluate_entropy(ct_model *model, const int32_t *ids, int64_t rows, int64_t length, double alpha,
                              ct_entropy_report *reports);

#ifdef __cplusplus
}
#endif
#endif
