/* ensemble.h - models that predict together, by the mean of their logits or of their probabilities (Kim et
 * al., arXiv:2509.14786): manifests, and what they predict. */
#ifndef CARAT_ENSEMBLE_H
#define CARAT_ENSEMBLE_H

#include <carat/model.h>
#include <carat/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ct_ensemble_average { CT_AVERAGE_LOGITS, CT_AVERAGE_PROBABILITIES } ct_ensemble_average;
enum { CT_ENSEMBLE_MOST = 64 };
typedef struct ct_ensemble {
    ct_model *members[CT_ENSEMBLE_MOST];
    int count;
    ct_ensemble_average average;
    ct_tokenizer *tokenizer; /* that all have */
} ct_ensemble;

/* A manifest, {"carat_ensemble": 1, "average": "logits" or "probabilities", "members": [folder, ...]},
 * folders being relative to its own; replaced atomically. Refused: fewer than one member or more than
 * CT_ENSEMBLE_MOST, folders without a model, tokenizers or vocabularies that differ. */
ct_status ct_ensemble_write(ct_context *context, const char *path, const char *const *folders, int count,
                            ct_ensemble_average average);
/* Loads what a manifest names, with the same checks. The folder of a model is an ensemble of one. Free with
 * ct_ensemble_free, also after an error. */
ct_status ct_ensemble_load(ct_context *context, const char *path, ct_dtype dtype, ct_ensemble *ensemble);
void ct_ensemble_free(ct_ensemble *ensemble);
/* The members' folders as they can be opened from here, a new list of strings, without loading any; NULL on
 * error. `average` may be NULL. */
ct_value *ct_ensemble_folders(ct_context *context, const char *path, ct_ensemble_average *average);

/* What the members predict together for ids [rows, length]: f32 [rows, length, vocabulary] without a graph,
 * of which softmax makes the average's probabilities (the mean of logits, or the logarithm of the mean of
 * probabilities). runs[i] is of member i. Members lie in memory one after the other: besides the result one
 * member's logits. A row has the same bits whatever stands beside it. */
ct_tensor *ct_ensemble_outputs(const ct_ensemble *ensemble, ct_run *const *runs, ct_tensor *ids);

#ifdef __cplusplus
}
#endif
#endif
