/* context.c - life of a context, its sticky first error, trials and the stop request. */
#define _GNU_SOURCE
#include "base/context.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { MOST_THREADS = 1024 };

int ct_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds, or no such call */
    return online > 0 ? (int)online : 1;
}

static int wanted_threads(int threads) {
    int count = threads > 0 ? threads : ct_cpu_count();
    return count < MOST_THREADS ? count : MOST_THREADS;
}

ct_context *ct_context_create(int threads) {
    size_t size = (sizeof(ct_context) + 63) / 64 * 64;
    ct_context *context = aligned_alloc(64, size);
    if (!context) return NULL;
    memset(context, 0, size);
    if (pthread_mutex_init(&context->task_error.lock, NULL) != 0) {
        free(context);
        return NULL;
    }
    context->threads = wanted_threads(threads);
    if (getrandom(&context->hash_seed, sizeof context->hash_seed, GRND_NONBLOCK) < 0)
        context->hash_seed = (uint64_t)(uintptr_t)context ^ (uint64_t)(ct_seconds() * 1e9);
    return context;
}

void ct_context_destroy(ct_context *context) {
    if (!context) return;
    for (int i = CT_ROOMS - 1; i >= 0; i--)
        if (context->room_destroy[i]) context->room_destroy[i](context, context->room[i]);
    ct_parallel_destroy(context);
    ct_memory_destroy(&context->memory);
    pthread_mutex_destroy(&context->task_error.lock);
    free(context);
}

int ct_context_threads(const ct_context *context) {
    return context->threads;
}

ct_status ct_context_set_threads(ct_context *context, int threads) {
    if (threads < 0 || threads > MOST_THREADS)
        return ct_fail(context, CT_ERROR_ARGUMENT, "threads: %d is out of range, expected 0 to %d", threads,
                       (int)MOST_THREADS);
    int wanted = wanted_threads(threads);
    if (wanted == context->threads) return CT_OK;
    size_t scratch = context->scratch_bytes;
    ct_parallel_destroy(context);
    context->threads = wanted;
    return scratch ? ct_scratch_reserve(context, scratch) : CT_OK;
}

/* ------------------------------------------------------------------------------------------- errors ----- */

ct_status ct_fail_v(ct_context *context, ct_status status, const char *format, va_list arguments) {
    if (!context || status == CT_OK || context->status != CT_OK) return status;
    vsnprintf(context->message, sizeof context->message, format, arguments);
    context->status = status;
    return status;
}

ct_status ct_fail(ct_context *context, ct_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ct_fail_v(context, status, format, arguments);
    va_end(arguments);
    return status;
}

bool ct_failed(const ct_context *context) {
    return context->status != CT_OK;
}
ct_status ct_context_status(const ct_context *context) {
    return context->status;
}
const char *ct_context_message(const ct_context *context) {
    return context->message;
}

void ct_context_clear(ct_context *context) {
    context->status = CT_OK;
    context->message[0] = 0;
}

const char *ct_status_name(ct_status status) {
    switch (status) {
    case CT_OK:
        return "ok";
    case CT_ERROR_ARGUMENT:
        return "argument";
    case CT_ERROR_SHAPE:
        return "shape";
    case CT_ERROR_TYPE:
        return "type";
    case CT_ERROR_MEMORY:
        return "memory";
    case CT_ERROR_IO:
        return "input/output";
    case CT_ERROR_FORMAT:
        return "format";
    case CT_ERROR_NOT_FOUND:
        return "not found";
    case CT_ERROR_UNSUPPORTED:
        return "unsupported";
    case CT_ERROR_STATE:
        return "state";
    case CT_ERROR_NUMERIC:
        return "numeric";
    case CT_ERROR_INTERRUPTED:
        return "interrupted";
    }
    return "unknown";
}

/* ------------------------------------------------------------------------------------------- trials ----- */

void ct_try_begin(ct_context *context, ct_try *trial) {
    trial->saved_status = context->status;
    trial->saved_flags = context->flags;
    size_t length = strnlen(context->message, sizeof trial->saved_message - 1);
    memcpy(trial->saved_message, context->message, length);
    trial->saved_message[length] = 0;
    trial->scope = context->scope_mark ? context->scope_mark(context) : NULL;
    ct_context_clear(context);
}

ct_status ct_try_end(ct_context *context, ct_try *trial, char *message, size_t message_size) {
    if (context->scope_unwind) context->scope_unwind(context, trial->scope);
    ct_status status = context->status;
    if (message && message_size) snprintf(message, message_size, "%s", context->message);
    context->status = trial->saved_status;
    context->flags = trial->saved_flags;
    snprintf(context->message, sizeof context->message, "%s", trial->saved_message);
    return status;
}

/* --------------------------------------------------------------------------------------------- stop ----- */

void ct_request_stop(ct_context *context) {
    atomic_store_explicit(&context->stop, 1, memory_order_relaxed);
}

bool ct_stop_requested(const ct_context *context) {
    return atomic_load_explicit(&context->stop, memory_order_relaxed) != 0;
}

void ct_clear_stop(ct_context *context) {
    atomic_store_explicit(&context->stop, 0, memory_order_relaxed);
}
