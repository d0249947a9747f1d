/* likelihood.h - inside evaluate: losses of single tokens. */
#ifndef CARAT_SRC_EVALUATE_LIKELIHOOD_H
#define CARAT_SRC_EVALUATE_LIKELIHOOD_H

#include <carat/model.h>

ct_status ct_token_losses(ct_model *model, ct_run *run, const int32_t *ids, const int32_t *targets, int64_t rows,
                          int64_t length, float *out);

#endif
