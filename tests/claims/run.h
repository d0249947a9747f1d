/* run.h - what the tests of claims share: a context, and a claim around a function. */
#ifndef CARAT_TESTS_CLAIMS_RUN_H
#define CARAT_TESTS_CLAIMS_RUN_H

#include "base/check.h"
#include <carat/claim.h>
#include <math.h>

/* The context; what it keeps for itself (scopes, caches) it had after the first claim already: see perform. */
static inline void end_claims(ct_context *context) { ct_context_destroy(context); }

static inline size_t bytes_in_use(ct_context *context) {
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    return counts.current_total;
}

static inline ct_value *perform_once(ct_context *context, ct_status (*function)(ct_claim_run *run), int seeds) {
    const ct_claim claim = {
        .abi = CT_CLAIM_ABI, .name = "test", .sentence = "A sentence.", .seeds = seeds, .run = function};
    const ct_claim_settings settings = {.first_seed = 1};
    return ct_claim_perform(context, &claim, &settings);
}

/* Performs `function` as a claim; the caller frees the result. A second time leaves no memory behind. */
static inline ct_value *perform(ct_context *context, ct_status (*function)(ct_claim_run *run), int seeds) {
    ct_value_free(perform_once(context, function, seeds));
    assert_false(ct_failed(context));
    size_t before = bytes_in_use(context);
    ct_value_free(perform_once(context, function, seeds));
    assert_int_equal(bytes_in_use(context), before);
    return perform_once(context, function, seeds);
}

static inline const char *verdict_of(const ct_value *result) {
    return ct_value_as_string(ct_value_get(result, "verdict"), "none");
}

static inline const ct_value *check_at(const ct_value *result, size_t index) {
    return ct_value_at(ct_value_get(result, "checks"), index);
}

static inline double number(const ct_value *map, const char *path) {
    return ct_value_as_real(ct_value_get_path(map, path), NAN);
}
#endif
