/* claims.h - inside cli: running claims in processes of their own. */
#ifndef CARAT_SRC_CLI_CLAIMS_H
#define CARAT_SRC_CLI_CLAIMS_H

#include "cli/cli.h"
#include <carat/claim.h>

typedef struct ct_claim_jobs {
    ct_cli *cli;
    const ct_claim_settings *settings;
    int jobs; /* processes at once */
    /* Takes a result over as soon as it is there; `user` is the caller's. */
    void (*done)(void *user, ct_value *result);
    void *user;
} ct_claim_jobs;

/* Runs the claims, each in a process of its own with its share of the threads: one that crashes fails alone.
 * Returns CT_ERROR_INTERRUPTED, without recording it, after a stop request; results that were there by then
 * were delivered. */
ct_status ct_claim_jobs_run(const ct_claim_jobs *how, const ct_claim *const *claims, size_t count);
/* This process, which one of the above started, is asked to stop when that one is gone. */
void ct_claim_jobs_end_with_parent(void);

#endif
