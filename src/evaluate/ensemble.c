/* ensemble.c - models that predict together: manifests, and losses of the mean of logits and of
 * probabilities.
 *
 * -log of a mean of probabilities is convex in them, so the loss of that average is at most the mean of the
 * members' losses; for the mean of logits (a geometric mean, normalised again) the same holds as log-sum-exp
 * is convex. */
#include "evaluate/likelihood.h"
#include <carat/format.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- manifests */

static const char *const averages[] = {"logits", "probabilities"};

/* A folder as the manifest at `path` means it. A new string. */
static char *resolve(ct_context *context, const char *path, const char *folder) {
    const char *end = strrchr(path, '/');
    if (*folder == '/' || !end) return ct_strdup(context, folder);
    char *base = ct_strdup(context, path);
    if (!base) return NULL;
    base[end - path] = 0;
    char *whole = ct_path_join(context, *base ? base : "/", folder);
    ct_free(context, base);
    return whole;
}

/* Of the first member, that the others are compared with. */
typedef struct common {
    const char *folder;
    uint64_t fingerprint;
    int64_t vocabulary;
} common;

static ct_status compare(ct_context *context, common *first, const char *folder,
                         const ct_tokenizer *tokenizer, int64_t vocabulary) {
    uint64_t fingerprint = ct_tokenizer_fingerprint(tokenizer);
    if (!first->folder) {
        *first = (common){folder, fingerprint, vocabulary};
        return CT_OK;
    }
    if (first->fingerprint != fingerprint)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ensemble: the tokenizers of %s and %s differ",
                       first->folder, folder);
    if (first->vocabulary != vocabulary)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ensemble: %s has a vocabulary of %lld, %s of %lld",
                       first->folder, (long long)first->vocabulary, folder, (long long)vocabulary);
    return CT_OK;
}

static ct_status check_count(ct_context *context, const char *path, size_t count) {
    if (count >= 1 && count <= CT_ENSEMBLE_MOST) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s: %zu members, expected 1 to %d", path, count,
                   CT_ENSEMBLE_MOST);
}

/* Loads member number ensemble->count, or only looks at it. */
static ct_status add_member(ct_context *context, const char *folder, ct_dtype dtype, common *first,
                            ct_ensemble *ensemble) {
    ct_model *model = ct_model_load(context, folder, dtype);
    char *path = model ? ct_model_resolve(context, folder) : NULL;
    ct_tokenizer *tokenizer = path ? ct_tokenizer_load(context, path) : NULL;
    ct_free(context, path);
    if (tokenizer && ct_model_need_causal(model, folder) == CT_OK)
        compare(context, first, folder, tokenizer, ct_model_vocabulary(model));
    if (ct_failed(context)) {
        ct_tokenizer_destroy(tokenizer);
        ct_model_destroy(model);
        return ct_context_status(context);
    }
    ensemble->members[ensemble->count++] = model;
    if (ensemble->tokenizer)
        ct_tokenizer_destroy(tokenizer);
    else
        ensemble->tokenizer = tokenizer;
    return CT_OK;
}

void ct_ensemble_free(ct_ensemble *ensemble) {
    for (int i = 0; i < ensemble->count; i++)
        ct_model_destroy(ensemble->members[i]);
    ct_tokenizer_destroy(ensemble->tokenizer);
    *ensemble = (ct_ensemble){{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
}

ct_status ct_ensemble_write(ct_context *context, const char *path, const char *const *folders, int count,
                            ct_ensemble_average average) {
    ct_ensemble loaded = {{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
    common first = {NULL, 0, 0};
    if (ct_failed(context) || check_count(context, path, (size_t)(count < 0 ? 0 : count)) != CT_OK)
        return ct_context_status(context);
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (int i = 0; i < count && !ct_failed(context); i++) {
        char *folder = resolve(context, path, folders[i]);
        if (folder) add_member(context, folder, CT_DTYPES, &first, &loaded);
        first.folder = folders[0];
        ct_free(context, folder);
        for (; loaded.count > 0; loaded.count--) /* one at a time is enough */
            ct_model_destroy(loaded.members[loaded.count - 1]);
        if (!ct_failed(context)) ct_value_append(list, ct_value_string(context, folders[i]));
    }
    ct_ensemble_free(&loaded);
    if (map && list && !ct_failed(context)) {
        ct_value_set(map, "carat_ensemble", ct_value_int(context, 1));
        ct_value_set(map, "average", ct_value_string(context, averages[average]));
        ct_value_set(map, "members", list);
        ct_json_write(context, path, map, CT_JSON_PRETTY);
    } else {
        ct_value_free(list);
    }
    ct_value_free(map);
    return ct_context_status(context);
}

static ct_status read_average(ct_context *context, const char *path, const ct_value *manifest,
                              ct_ensemble *ensemble) {
    const char *name = ct_value_as_string(ct_value_get(manifest, "average"), averages[0]);
    if (ct_value_as_int(ct_value_get(manifest, "carat_ensemble"), 0) != 1)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: expected \"carat_ensemble\": 1, the manifest of an ensemble", path);
    for (int i = 0; i < 2; i++)
        if (strcmp(name, averages[i]) == 0) {
            ensemble->average = (ct_ensemble_average)i;
            return CT_OK;
        }
    return ct_fail(context, CT_ERROR_FORMAT, "%s: average \"%.40s\", expected logits or probabilities", path,
                   name);
}

ct_status ct_ensemble_load(ct_context *context, const char *path, ct_dtype dtype, ct_ensemble *ensemble) {
    *ensemble = (ct_ensemble){{NULL}, 0, CT_AVERAGE_LOGITS, NULL};
    ct_value *manifest = ct_failed(context) ? NULL : ct_json_read(context, path);
    const ct_value *list = ct_value_get(manifest, "members");
    common first = {NULL, 0, 0};
    char *folders[CT_ENSEMBLE_MOST] = {NULL};
    size_t count = ct_value_count(list);
    if (manifest && read_average(context, path, manifest, ensemble) == CT_OK) {
        if (ct_value_kind_of(list) != CT_VALUE_LIST)
            ct_fail(context, CT_ERROR_FORMAT, "%s: expected \"members\", a list of folders", path);
        else
            check_count(context, path, count);
    }
    for (size_t i = 0; manifest && i < count && !ct_failed(context); i++) {
        const char *folder = ct_value_as_string(ct_value_at(list, i), NULL);
        if (!folder)
            ct_fail(context, CT_ERROR_FORMAT, "%s: members.%zu: expected the folder of a model", path, i);
        else if ((folders[i] = resolve(context, path, folder)))
            add_member(context, folders[i], dtype, &first, ensemble);
    }
    for (size_t i = 0; i < CT_ENSEMBLE_MOST; i++)
        ct_free(context, folders[i]);
    ct_value_free(manifest);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------------------- losses */

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
        ct_tensor *logits = ct_cast(ct_model_forward(all->models[m], all->runs[m], input), CT_F32);
        logits = ct_reshape(logits, CT_DIMS(count, ct_dim(logits, -1)));
        ct_read(ct_cross_entropy(logits, wanted, &how), CT_F32, losses + (FIRST_MEMBER + m) * count);
        sum = sum ? ct_add(sum, logits) : logits;
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
    if (ct_failed(context) || check_count(context, "ensemble", (size_t)(count < 0 ? 0 : count)) != CT_OK ||
        check_members(models, count, &positions) != CT_OK)
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
