/* run.h - inside nn and the rooms below: where in the work a run is, for dropout that does not depend on how
 * the batch is cut into micro-batches. */
#ifndef CARAT_SRC_NN_RUN_H
#define CARAT_SRC_NN_RUN_H

#include "nn/module.h"

typedef struct ct_run_position {
    uint64_t step;
    int64_t first_row; /* of this micro-batch in the whole batch */
    int64_t dropouts;  /* calls of dropout since the forward pass began */
    bool again;        /* a segment is computed a second time: running statistics are left alone */
    bool last_only;    /* language models: only the last position's logits are wanted */
    bool points_only;  /* what a root returns is not looked at: heads that are not tapped may be left out */
} ct_run_position;

/* Read and put back by code that repeats a part of the forward pass (checkpointing). */
ct_run_position *ct_run_position_of(ct_run *run);
bool ct_pattern_matches(const char *pattern, const char *text);

#endif
