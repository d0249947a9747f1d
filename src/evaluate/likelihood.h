/* likelihood.h - inside evaluate: losses of single tokens, and of a text in windows. */
#ifndef CARAT_SRC_EVALUATE_LIKELIHOOD_H
#define CARAT_SRC_EVALUATE_LIKELIHOOD_H

#include <carat/evaluate.h>

ct_status ct_token_losses(ct_model *model, ct_run *run, const int32_t *ids, const int32_t *targets, int64_t rows,
                          int64_t length, float *out);

/* What gives every token of rows [rows][length] one or more losses, [scores][rows * length]; 0 where the target is -100. */
typedef struct ct_token_scorer {
    ct_context *context;
    int64_t positions, vocabulary; /* positions 0: no limit */
    int scores;
    ct_status (*score)(void *user, const int32_t *ids, const int32_t *targets, int64_t rows, int64_t length,
                       float *losses);
    void *user;
} ct_token_scorer;
/* Runs over a text in windows: the sum of each score over the `predicted` tokens. */
ct_status ct_score_text(const ct_token_scorer *scorer, const int32_t *ids, int64_t count,
                        const ct_perplexity_options *options, double *totals, int64_t *predicted);
/* What follows from a sum of losses; bytes are 0 without a tokenizer. */
void ct_perplexity_fill(double total, int64_t predicted, ct_tokenizer *tokenizer, const int32_t *ids,
                        ct_perplexity *result);

#endif
