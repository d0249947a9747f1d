/* check.h - what the tests of base share: cmocka, a context with a clean-up check, a folder of their own. */
#ifndef CARAT_TESTS_BASE_CHECK_H
#define CARAT_TESTS_BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "carat/base.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

static inline ct_context *start_context(int threads) {
    ct_context *context = ct_context_create(threads);
    assert_non_null(context);
    return context;
}

/* Nothing may be left: what a test made it also freed. */
static inline void end_context(ct_context *context) {
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current_total, 0);
    ct_context_destroy(context);
}

static inline void assert_fails(ct_context *context, ct_status status, const char *message) {
    assert_int_equal(ct_context_status(context), status);
    assert_string_equal(ct_context_message(context), message);
    ct_context_clear(context);
}

static inline void assert_fails_with(ct_context *context, ct_status status, const char *part) {
    assert_int_equal(ct_context_status(context), status);
    if (!strstr(ct_context_message(context), part))
        fail_msg("\"%s\" not in \"%s\"", part, ct_context_message(context));
    ct_context_clear(context);
}

/* A fresh folder; the caller removes it with ct_folder_remove. */
static inline void make_folder(char *path, size_t size) {
    const char *base = getenv("TMPDIR");
    snprintf(path, size, "%s/carat-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

/* `work` again and again, the n-th allocation failing, until it succeeds, which takes more than `least`
 * allocations: each time it says that memory is out and leaves nothing behind. */
static inline void every_allocation_fails_once(bool (*work)(ct_context *context), int least) {
    ct_context *context = start_context(1);
    int n = 1;
    for (;; n++) {
        ct_memory_fail_at(context, n);
        bool good = work(context);
        ct_memory_counts counts;
        ct_memory_read(context, &counts);
        assert_int_equal(counts.current_total, 0);
        if (good) break;
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
    }
    assert_true(n > least);
    ct_memory_fail_at(context, 0);
    end_context(context);
}

#endif
