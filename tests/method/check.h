/* check.h - what the tests of optimizers, data, generation and evaluation share: the ending of contexts that
 * had tensors, and sweeps in which every allocation fails once. */
#ifndef CARAT_TESTS_METHOD_CHECK_H
#define CARAT_TESTS_METHOD_CHECK_H

#include "format/check.h"
#include <carat/tensor.h>

/* No tensor is left; of the rest, only tables and scratch that a context keeps for itself. */
static inline void end_tensors(ct_context *context) {
    static const ct_memory_class empty[] = {CT_MEMORY_WEIGHTS, CT_MEMORY_GRADIENTS, CT_MEMORY_STATES,
                                            CT_MEMORY_ACTIVATIONS};
    ct_memory_counts counts;
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    ct_memory_read(context, &counts);
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        if (counts.current[empty[i]])
            fail_msg("%zu bytes of %s are left", counts.current[empty[i]], ct_memory_class_name(empty[i]));
    if (counts.current[CT_MEMORY_OTHER] > 16384)
        fail_msg("%zu bytes are left", counts.current[CT_MEMORY_OTHER]);
    ct_context_destroy(context);
}

/* `work` again and again, the n-th allocation failing, until none fails: each time it says that memory is
 * out, and leaves nothing behind. `step` > 1 passes over some. */
static inline void sweep_tensors(sweep_work work, void *user, int64_t step, int64_t most) {
    int64_t n = 1;
    for (; n <= most; n += step) {
        ct_context *context = start_context(1);
        ct_memory_fail_at(context, n);
        work(context, user);
        ct_memory_fail_at(context, 0);
        bool failed = ct_failed(context);
        if (failed && ct_context_status(context) != CT_ERROR_MEMORY)
            fail_msg("allocation %d: %s", (int)n, ct_context_message(context));
        ct_context_clear(context);
        end_tensors(context);
        if (!failed) break;
    }
    assert_true(n > 1 && n <= most);
}

#endif
