/* evaluate.h - how good a language model is: perplexity, bits per byte, multiple choice by likelihood. */
#ifndef CARAT_EVALUATE_H
#define CARAT_EVALUATE_H

#include <carat/data.h>
#include <carat/ensemble.h>
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

/* Models that predict together: ensemble.h. */
typedef struct ct_ensemble_losses { /* nats a token */
    double logits, probabilities;   /* of the two averages */
    double members[CT_ENSEMBLE_MOST], mean; /* of each alone; `probabilities` is never more than their mean */
    int64_t tokens;
} ct_ensemble_losses;
/* Windows as in ct_evaluate_perplexity. All of one context and one vocabulary. */
ct_status ct_evaluate_ensemble(ct_model *const *members, int count, const int32_t *ids, int64_t token_count,
                               const ct_perplexity_options *options, ct_ensemble_losses *losses);

/* Sum of the log-probabilities (nats) of `continuation` after `prompt`, and whether greedy decoding gives it. */
ct_status ct_evaluate_likelihood(ct_model *model, const int32_t *prompt, int64_t prompt_count,
                                 const int32_t *continuation, int64_t continuation_count, double *logprob, bool *greedy);

/* JSONL with {"prompt": text, "choices": [text, ...], "answer": index}: a choice's score is its log-probability, or
 * that per byte (acc_norm, as lm-evaluation-harness has it). `limit` questions at most; 0: all. */
typedef struct ct_choice_result {
    int64_t questions;
    double accuracy, accuracy_per_byte;
} ct_choice_result;
ct_status ct_evaluate_choices(ct_model *model, ct_tokenizer *tokenizer, const char *path, int64_t limit,
                              ct_choice_result *result);

/* Images with classes (ct_dataset_from_images): the first `limit` of them (0: all), `batch` at a time, which changes nothing. */
typedef struct ct_image_options {
    int64_t batch, limit;
    bool bf16;
} ct_image_options;
typedef struct ct_image_result {
    double loss;     /* mean cross-entropy, nats */
    double accuracy; /* share of images whose largest logit is at their class */
    int64_t images;
    double seconds;
} ct_image_result;
ct_status ct_evaluate_images(ct_model *model, const ct_dataset *images, const ct_image_options *options,
                             ct_image_result *result);

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
/* The straight line through the variances behind blocks 0 ... count - 1, and how well it fits (R^2); NAN for fewer than
 * two, r2 also where all are alike. At the start of training the slope is about 2 in a peri-LN model, whose sublayers
 * each add a variance of 1 (J. Kim et al., section 3); it is 0 with post-norm and depends on the weights with pre-norm. */
void ct_variance_growth(const double *variance, int64_t count, double *slope, double *r2);

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

/* How far the weights of a training run's checkpoints are from where they began, which grows with the logarithm of the
 * updates while the rate is high (Hoffer, Hubara & Soudry, arXiv:1705.08741, section 3). */
typedef struct ct_distance {
    int64_t count, tensors;
    int64_t *steps;    /* [count] of the checkpoints, ascending */
    char **names;      /* [tensors] */
    double *of_tensor; /* [tensors][count] Euclidean distances */
    double *whole;     /* [count] of all tensors together */
    /* distance = a + b log(step), by least squares over the checkpoints from fit_first to fit_last, where the logged rate is at
     * least half of its highest and has not yet fallen to half of the line before; NAN with fewer than three. */
    double a, b, r2;
    int64_t fit_first, fit_last, fit_count;
    int64_t drops[16]; /* logged steps at which the rate was at most half of that of the line before */
    int drop_count;
} ct_distance;
/* Of the checkpoints in a run's folder. The first weights are made anew as the run made them, from its recipe and seed; for
 * that the texts are read only if the recipe has an initializer. Free with ct_distance_free. */
ct_status ct_evaluate_distance(ct_context *context, const char *folder, ct_distance *result);
/* Distance against the logarithm of steps, with the fit. */
ct_status ct_distance_plot(ct_context *context, const ct_distance *result, const char *path);
void ct_distance_free(ct_context *context, ct_distance *result);

/* --------------------------------------------------------------------------------- texts as vectors ----- */

/* An encoder with what makes one vector of its hidden states: a sentence-transformers folder (modules.json names a
 * Transformer, a Pooling and perhaps a Normalize; others are refused by name), or any folder of an encoder, whose vectors
 * are means over the tokens unless the options say otherwise. */
typedef enum ct_pooling { CT_POOL_FOLDER, CT_POOL_MEAN, CT_POOL_CLS, CT_POOL_MAX } ct_pooling;
typedef struct ct_embed_options {
    int pooling;            /* ct_pooling */
    int normalize;          /* to length 1: 0 as the folder says, 1 yes, 2 no */
    int64_t max_seq_length; /* tokens of a text, [CLS] and [SEP] among them; longer ones are cut. 0: the folder's */
    int64_t batch_tokens;   /* at a time, of texts of equal length: results do not depend on it. Fewer if memory asks */
} ct_embed_options;
extern const ct_option ct_embed_table[];

typedef struct ct_embedder ct_embedder;
/* `tokenizer`: folder or file, NULL: the model's folder; read when the first text comes. options may be NULL. */
ct_embedder *ct_embedder_open(ct_context *context, const char *folder, const char *tokenizer,
                              const ct_embed_options *options, bool bf16);
void ct_embedder_close(ct_embedder *embedder);
int64_t ct_embedder_width(const ct_embedder *embedder);
ct_model *ct_embedder_model(const ct_embedder *embedder);
/* Of the texts embedded so far. */
int64_t ct_embedder_tokens(const ct_embedder *embedder);
/* vectors [count][width]. Special tokens in a text are themselves, as sentence-transformers has it. A text's vector has
 * the same bits whatever stands beside it, whatever the batches, threads and memory. */
ct_status ct_embed_texts(ct_embedder *embedder, const ct_text *texts, int64_t count, float *vectors);
/* The same for ids that begin at ids + ends[i - 1] and end before ids + ends[i] (ends[-1] is 0), as they are. */
ct_status ct_embed_ids(ct_embedder *embedder, const int32_t *ids, const int64_t *ends, int64_t count, float *vectors);

/* The `most` vectors of [count][width] with the greatest cosine to `query`, greatest first, the earlier of equal ones
 * first; a vector of zeros has cosine 0. Returns how many there are: most, or count if that is less; -1 on failure. */
typedef struct ct_neighbour {
    int64_t index;
    double cosine;
} ct_neighbour;
int64_t ct_nearest_vectors(ct_context *context, const float *vectors, int64_t count, int64_t width, const float *query,
                           int64_t most, ct_neighbour *found);

#ifdef __cplusplus
}
#endif
#endif
