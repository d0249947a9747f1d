/* check.h - what the tests of format share: cmocka, contexts that must end empty, folders, expected messages,
 * and sweeps in which every allocation or file call fails once. */
#ifndef CARAT_TESTS_FORMAT_CHECK_H
#define CARAT_TESTS_FORMAT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "carat/format.h"
#include "carat/tokenizer.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline ct_context *start_context(int threads) {
    ct_context *context = ct_context_create(threads);
    assert_non_null(context);
    return context;
}

/* Whatever was made was also freed, but for the list of the workers' scratch, which the context keeps. */
static inline void end_context(ct_context *context) {
    ct_memory_counts counts;
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    assert_int_equal(ct_scratch_reserve(context, 1), CT_OK);
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_OTHER], ct_memory_rounded(sizeof(void *)));
    ct_context_destroy(context);
}

/* The context holds this error, and its message has all parts (NULL-terminated). */
static inline void assert_error(ct_context *context, ct_status status, const char *const *parts) {
    const char *message = ct_context_message(context);
    if (ct_context_status(context) != status)
        fail_msg("status %s, expected %s: \"%s\"", ct_status_name(ct_context_status(context)),
                 ct_status_name(status), message);
    for (; *parts; parts++)
        if (!strstr(message, *parts)) fail_msg("\"%s\" is not in \"%s\"", *parts, message);
    ct_context_clear(context);
}
#define ASSERT_ERROR(context, status, ...)                                                                   \
    assert_error(context, status, (const char *const[]){__VA_ARGS__, NULL})

static inline void make_folder(char path[64]) {
    strcpy(path, "/tmp/carat-format-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static inline void write_text(ct_context *context, const char *folder, const char *name, const char *text,
                              size_t length) {
    char *path = ct_path_join(context, folder, name);
    assert_int_equal(ct_file_write(context, path, text, length), CT_OK);
    ct_free(context, path);
}

/* Where shared data lie, NULL (and a line that says so) if they are not there. */
static inline const char *shared_path(const char *name, char buffer[512]) {
    const char *shared = getenv("CARAT_SHARED");
    snprintf(buffer, 512, "%s/%s", shared && *shared ? shared : "../shared", name);
    if (access(buffer, R_OK) == 0) return buffer;
    printf("SKIPPED: %s is not there (CARAT_SHARED names the folder of shared data)\n", buffer);
    return NULL;
}

/* Runs `work` again and again, the n-th allocation failing, until none fails: each time it must report that
 * memory is out and leave nothing behind. */
typedef void (*sweep_work)(ct_context *context, void *user);
static inline void sweep_memory(sweep_work work, void *user, int64_t most) {
    int64_t n = 1;
    for (; n <= most; n++) {
        ct_context *context = start_context(1);
        ct_memory_fail_at(context, n);
        work(context, user);
        ct_memory_fail_at(context, 0);
        bool failed = ct_failed(context);
        if (failed && ct_context_status(context) != CT_ERROR_MEMORY)
            fail_msg("allocation %d: %s", (int)n, ct_context_message(context));
        ct_context_clear(context);
        end_context(context);
        if (!failed) break;
    }
    assert_true(n > 1 && n <= most);
}

/* The same for calls on files: kind 'e' fails with EIO, 'f' finds the disk full; with 's' the call handles
 * fewer bytes than asked, which must be noticed and made good. */
static inline void sweep_files(sweep_work work, void *user, char kind, int64_t most) {
    int64_t n = 1;
    for (; n <= most; n++) {
        ct_context *context = start_context(1);
        ct_file_fail_at(context, n, kind);
        work(context, user);
        ct_file_fail_at(context, 0, kind);
        bool failed = ct_failed(context);
        if (failed && (kind == 's' || ct_context_status(context) != CT_ERROR_IO))
            fail_msg("file call %d: %s", (int)n, ct_context_message(context));
        ct_context_clear(context);
        end_context(context);
        if (!failed && kind != 's') break;
    }
    assert_true(kind == 's' || (n > 1 && n <= most));
}
#endif
