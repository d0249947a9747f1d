/* ensemble.c - losses of models that predict together (ensemble.h), by the mean of logits and of
 * probabilities.
 *
 * -log of a mean of probabilities is convex in them, so the loss of that average is at most the mean of the
 * members' losses; for the mean of logits (a geometric mean, normalised again) the same holds as log-sum-exp
 * is convex. */
#include "evaluate/likelihood.h"
#include <carat/evaluate.h>
#include <math.h>

enum { BY_LOGITS, BY_PROBABILITIES, FIRST_MEMBER };

typedef struct members {
    ct_model *const *models;
    ct_run *runs[CT_ENSEMBLE_MOST];
    int count;
} members;

/* -log of the mean of exp(-loss), from member losses of one token. */
static float mean_probability(const float *losses, int count, int64_t stride) {
    double least = INFINITY, sum = 0;
    for (int m = 0; m < count; m++)
        least = fmin(least, (double)losses[m * stride]);
    for (int m = 0; m < count; m++)
        sum += exp(least - (double)losses[m * stride]);
    return (float)(least - log(sum / count));
}

static ct_status score(void *user, const int32_t *ids, const int32_t *targets, int64_t rows, int64_t length,
                       float *losses) {
    members *all = user;
    ct_context *context = ct_model_context(all->models[0]);
    int64_t count = rows * length;
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_tensor *input = ct_from_data(context, CT_I32, CT_DIMS(rows, length), ids), *sum = NULL;
    ct_tensor *wanted = ct_from_data(context, CT_I32, CT_DIMS(count), targets);
    for (int m = 0; m < all->count && !ct_failed(context); m++) {
        ct_scope member = ct_scope_open(context);
        ct_tensor *logits = ct_cast(ct_model_forward(all->models[m], all->runs[m], input), CT_F32);
        logits = ct_reshape(logits, CT_DIMS(count, ct_dim(logits, -1)));
        ct_read(ct_cross_entropy(logits, wanted, &how), CT_F32, losses + (FIRST_MEMBER + m) * count);
        if (m == 0) {
            sum = ct_scope_return(context, member, logits);
            continue;
        }
        ct_add_into(sum, logits, 1); /* in place: one sum, not one for each member */
        ct_scope_close(context, member);
    }
    if (!ct_failed(context))
        ct_read(ct_cross_entropy(ct_mul_scalar(sum, 1.0 / all->count), wanted, &how), CT_F32, losses);
    for (int64_t i = 0; i < count && !ct_failed(context); i++)
        losses[BY_PROBABILITIES * count + i] =
            mean_probability(losses + FIRST_MEMBER * count + i, all->count, count);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status check_members(ct_model *const *models, int count, int64_t *positions) {
    ct_context *context = ct_model_context(models[0]);
    int64_t vocabulary = ct_model_vocabulary(models[0]);
    *positions = 0;
    for (int m = 0; m < count; m++) {
        int64_t here = ct_model_context_length(models[m]);
        if (ct_model_vocabulary(models[m]) != vocabulary)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "ensemble: member %d has a vocabulary of %lld, member 0 of %lld", m,
                           (long long)ct_model_vocabulary(models[m]), (long long)vocabulary);
        if (here && (!*positions || here < *positions)) *positions = here;
    }
    return CT_OK;
}

ct_status ct_evaluate_ensemble(ct_model *const *models, int count, const int32_t *ids, int64_t token_count,
                               const ct_perplexity_options *options, ct_ensemble_losses *losses) {
    ct_context *context = ct_model_context(models[0]);
    members all = {models, {NULL}, count};
    double totals[FIRST_MEMBER + CT_ENSEMBLE_MOST] = {0};
    int64_t positions = 0;
    *losses = (ct_ensemble_losses){0};
    if (ct_failed(context)) return ct_context_status(context);
    if (count < 1 || count > CT_ENSEMBLE_MOST)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ensemble: %d members, expected 1 to %d", count, CT_ENSEMBLE_MOST);
    if (check_members(models, count, &positions) != CT_OK)
        return ct_context_status(context);
    for (int m = 0; m < count && !ct_failed(context); m++)
        all.runs[m] = ct_run_create(context, &(ct_run_options){.compute = options->bf16 ? CT_BF16 : CT_F32});
    ct_token_scorer scorer = {context, positions, ct_model_vocabulary(models[0]), FIRST_MEMBER + count,
                              score,   &all};
    if (!ct_failed(context) &&
        ct_score_text(&scorer, ids, token_count, options, totals, &losses->tokens) == CT_OK) {
        double tokens = (double)losses->tokens;
        losses->logits = totals[BY_LOGITS] / tokens;
        losses->probabilities = totals[BY_PROBABILITIES] / tokens;
        for (int m = 0; m < count; m++) {
            losses->members[m] = totals[FIRST_MEMBER + m] / tokens;
            losses->mean += losses->members[m] / count;
        }
    }
    for (int m = 0; m < count; m++)
        ct_run_destroy(all.runs[m]);
    return ct_context_status(context);
}
