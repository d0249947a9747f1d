/* parallel.c - parallel-for over persistent workers, and their scratch.
 *
 * One loop at a time. Each thread has a range of the indices, the same share of every loop, so that what it
 * wrote in one loop is still in its cache in the next; who has finished its own takes from the others'. The
 * indices of a range are handed out through `left`, a counter that the caller sets and that everyone takes
 * from: who gets a positive value owns the indices it names. As long as an index that was taken is not
 * completed, the caller does not return, so the description of the loop holds still; a worker that wakes late
 * finds nothing left and touches nothing else. The caller therefore never waits for a worker that is asleep,
 * and more threads than CPUs do no harm.
 *
 * Workers wait for the next loop by spinning for a while (waking costs 15 us and more), then asleep on a
 * futex.
 *
 * Work that can wait (ct_parallel_later) lies in slots, each with such a counter. Workers without a loop take
 * from them, one index at a time; ct_parallel_finish does what is left. */
#define _GNU_SOURCE
#include "base/context.h"
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define LATER_KEPT ((size_t)2 << 20) /* bytes that work which can wait may keep in memory */
#define SPIN_SECONDS 200e-6
#define SPIN_SECONDS_CROWDED 3e-6 /* more threads than CPUs: the CPU is wanted elsewhere */

typedef struct range {
    _Alignas(64) _Atomic int64_t left; /* indices not yet taken; falls below 0 when all are */
    int64_t end;
} range;

enum { LATER_SLOTS = 16 };

typedef struct later_slot {
    _Alignas(64) _Atomic int64_t left; /* as in range */
    _Atomic int64_t completed;
    int64_t count;
    unsigned float_control;
    ct_task task;
    void (*release)(void *user);
    _Alignas(16) char user[CT_LATER_BYTES];
} later_slot;

typedef struct ct_pool {
    _Alignas(64) _Atomic int64_t completed;
    _Alignas(64) _Atomic uint32_t loops; /* futex: raised when a loop is there, or at the end */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t finished; /* futex: raised when the caller sleeps and a worker has completed indices */
    _Atomic uint32_t caller_sleeps;
    _Atomic uint32_t quit;
    /* The loop: written by the caller while nothing is left, read by who has taken an index. */
    _Alignas(64) ct_task task;
    void *user;
    unsigned float_control;
    _Atomic int later_count; /* slots in use */
    later_slot later[LATER_SLOTS];
    size_t later_kept; /* bytes that the work in them keeps in memory */
    /* Fixed for the life of the pool. */
    ct_context *context;
    double spin_seconds;
    int threads, started;
    pthread_t *handles;
    range ranges[];
} ct_pool;

/* What this thread is doing, so that nested loops run serially and errors get the outer index. */
static _Thread_local struct {
    ct_context *context;
    int worker;
    int64_t index;
} running;

static inline void spin_pause(void) {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Rounding mode and flushing of denormals are per thread; results must not depend on the thread. */
static inline unsigned float_control(void) {
#if defined(__SSE2__)
    return _mm_getcsr() & ~0x3fu; /* without the exception flags */
#else
    return 0;
#endif
}
static inline void set_float_control(unsigned wanted) {
#if defined(__SSE2__)
    if (float_control() != wanted) _mm_setcsr(wanted);
#else
    (void)wanted;
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *word, int most) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most, NULL, NULL, 0);
}

/* ------------------------------------------------------------------------------------------ workers ----- */

/* Takes indices of one range until none are left, several at once while there are many; returns how many. */
static int64_t run_range(ct_pool *pool, range *from, int worker) {
    int64_t done = 0;
    for (;;) {
        int64_t left = atomic_load_explicit(&from->left, memory_order_acquire);
        if (left <= 0) return done;
        int64_t batch = left / 8;
        batch = batch < 1 ? 1 : batch > 64 ? 64 : batch;
        left = atomic_fetch_sub_explicit(&from->left, batch, memory_order_acq_rel);
        if (left <= 0) return done;
        if (batch > left) batch = left;
        set_float_control(pool->float_control);
        int64_t first = from->end - left;
        running.context = pool->context;
        running.worker = worker;
        for (int64_t i = first; i < first + batch; i++) {
            running.index = i;
            pool->task(pool->user, i, worker);
        }
        running.context = NULL;
        done += batch;
    }
}

static int64_t run_share(ct_pool *pool, int worker) {
    int64_t done = 0;
    for (int i = 0; i < pool->threads; i++)
        done += run_range(pool, &pool->ranges[(worker + i) % pool->threads], worker);
    return done;
}

/* One index of the work that can wait; false if none is left. */
static bool run_later_index(ct_pool *pool, later_slot *slot, int worker) {
    if (atomic_load_explicit(&slot->left, memory_order_acquire) <= 0) return false;
    int64_t left = atomic_fetch_sub_explicit(&slot->left, 1, memory_order_acq_rel);
    if (left <= 0) return false;
    set_float_control(slot->float_control);
    running.context = pool->context;
    running.worker = worker;
    running.index = slot->count - left;
    slot->task(slot->user, running.index, worker);
    running.context = NULL;
    atomic_fetch_add_explicit(&slot->completed, 1, memory_order_release);
    return true;
}

static bool run_some_later(ct_pool *pool, int worker) {
    int count = atomic_load_explicit(&pool->later_count, memory_order_acquire);
    for (int i = 0; i < count; i++)
        if (run_later_index(pool, &pool->later[i], worker)) return true;
    return false;
}

/* Until another loop is there than the one `seen`, or the time is up. */
static bool spin_for_work(ct_pool *pool, uint32_t seen) {
    double end = 0;
    for (unsigned turn = 0;; turn++) {
        if (atomic_load_explicit(&pool->loops, memory_order_acquire) != seen) return true;
        spin_pause();
        if (turn % 32 == 31) {
            double now = ct_seconds();
            if (end == 0) end = now + pool->spin_seconds;
            if (now >= end) return false;
        }
    }
}

static void sleep_for_work(ct_pool *pool, uint32_t seen) {
    atomic_fetch_add(&pool->sleepers, 1);
    /* The caller raises `loops` before it reads `sleepers`; here it is the other way round, so that one of
     * the two notices the other. */
    if (atomic_load(&pool->loops) == seen) futex_wait(&pool->loops, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

typedef struct worker_start {
    ct_pool *pool;
    int worker;
} worker_start;

static void *worker_main(void *argument) {
    worker_start start = *(worker_start *)argument;
    free(argument);
    ct_pool *pool = start.pool;
    while (!atomic_load(&pool->quit)) {
        uint32_t seen = atomic_load(&pool->loops);
        int64_t done = run_share(pool, start.worker);
        if (done) {
            atomic_fetch_add(&pool->completed, done);
            if (atomic_load(&pool->caller_sleeps)) {
                atomic_fetch_add(&pool->finished, 1);
                futex_wake(&pool->finished, 1);
            }
        }
        if (run_some_later(pool, start.worker)) continue;
        if (!spin_for_work(pool, seen)) sleep_for_work(pool, seen);
    }
    return NULL;
}

static void wait_completed(ct_pool *pool, int64_t count) {
    double end = 0;
    for (unsigned turn = 0;; turn++) {
        if (atomic_load_explicit(&pool->completed, memory_order_acquire) == count) return;
        spin_pause();
        if (turn % 32 == 31) {
            double now = ct_seconds();
            if (end == 0) end = now + pool->spin_seconds;
            if (now >= end) break;
        }
    }
    atomic_store(&pool->caller_sleeps, 1);
    for (;;) {
        uint32_t seen = atomic_load(&pool->finished);
        if (atomic_load(&pool->completed) == count) break;
        futex_wait(&pool->finished, seen);
    }
    atomic_store(&pool->caller_sleeps, 0);
}

/* Workers that the system does not grant are done without. */
static void start_workers(ct_pool *pool) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's business, not the workers' */
    for (int i = 1; i < pool->threads; i++) {
        worker_start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (worker_start){pool, i};
        if (pthread_create(&pool->handles[pool->started], NULL, worker_main, start) != 0) {
            free(start);
            break;
        }
        pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static ct_pool *pool_of(ct_context *context) {
    if (context->pool) return context->pool;
    size_t ranges = sizeof(ct_pool) + (size_t)context->threads * sizeof(range);
    size_t size = (ranges + (size_t)context->threads * sizeof(pthread_t) + 63) / 64 * 64;
    ct_pool *pool = aligned_alloc(64, size);
    if (!pool) return NULL;
    memset(pool, 0, size);
    pool->handles = (pthread_t *)(void *)((char *)pool + ranges);
    pool->context = context;
    pool->threads = context->threads;
    pool->spin_seconds = pool->threads > ct_cpu_count() ? SPIN_SECONDS_CROWDED : SPIN_SECONDS;
    context->pool = pool;
    start_workers(pool);
    return pool;
}

void ct_parallel_destroy(ct_context *context) {
    ct_pool *pool = context->pool;
    if (pool) {
        ct_parallel_finish(context);
        atomic_store(&pool->quit, 1);
        atomic_fetch_add(&pool->loops, 1);
        futex_wake(&pool->loops, INT_MAX);
        for (int i = 0; i < pool->started; i++)
            pthread_join(pool->handles[i], NULL);
        free(pool);
        context->pool = NULL;
    }
    if (context->scratch)
        for (int i = 0; i < context->threads; i++)
            ct_free(context, context->scratch[i]);
    ct_free(context, context->scratch);
    context->scratch = NULL;
    context->scratch_bytes = 0;
}

/* -------------------------------------------------------------------------------------------- loops ----- */

static void run_serially(ct_context *context, int64_t count, ct_task task, void *user) {
    if (running.context == context) { /* nested: the outer index stays */
        for (int64_t i = 0; i < count; i++)
            task(user, i, running.worker);
        return;
    }
    ct_context *outer = running.context; /* a task of another context may run a loop of its own */
    int outer_worker = running.worker;
    int64_t outer_index = running.index;
    running.context = context;
    running.worker = 0;
    for (int64_t i = 0; i < count; i++) {
        running.index = i;
        task(user, i, 0);
    }
    running.context = outer;
    running.worker = outer_worker;
    running.index = outer_index;
}

static void wake_workers(ct_pool *pool, int64_t most) {
    atomic_fetch_add(&pool->loops, 1);
    uint32_t sleepers = atomic_load(&pool->sleepers);
    if (sleepers) futex_wake(&pool->loops, most < (int64_t)sleepers ? (int)most : (int)sleepers);
}

static void run_in_parallel(ct_pool *pool, int64_t count, ct_task task, void *user) {
    pool->task = task;
    pool->user = user;
    pool->float_control = float_control();
    atomic_store_explicit(&pool->completed, 0, memory_order_relaxed);
    for (int i = 0; i < pool->threads; i++)
        pool->ranges[i].end = count * (i + 1) / pool->threads;
    for (int i = 0; i < pool->threads; i++) {
        int64_t first = count * i / pool->threads;
        atomic_store_explicit(&pool->ranges[i].left, pool->ranges[i].end - first, memory_order_release);
    }
    wake_workers(pool, count - 1);
    int64_t done = run_share(pool, 0);
    atomic_fetch_add(&pool->completed, done);
    wait_completed(pool, count);
}

void ct_parallel_for(ct_context *context, int64_t count, ct_task task, void *user) {
    if (count <= 0) return;
    if (running.context == context) { /* a task may not look at the context's error state */
        run_serially(context, count, task, user);
        return;
    }
    if (context->status != CT_OK) return;
    ct_pool *pool = count > 1 && context->threads > 1 && !running.context ? pool_of(context) : NULL;
    if (pool && pool->started)
        run_in_parallel(pool, count, task, user);
    else
        run_serially(context, count, task, user);
    struct ct_task_error *error = &context->task_error;
    if (error->present) { /* every task is done: nobody else writes it */
        error->present = false;
        ct_fail(context, error->status, "%s", error->message);
    }
}

void ct_parallel_later(ct_context *context, int64_t count, ct_task task, const void *user, size_t bytes,
                       size_t kept, void (*release)(void *user)) {
    ct_pool *pool =
        context->threads > 1 && !running.context && context->status == CT_OK ? pool_of(context) : NULL;
    if (!pool || !pool->started || bytes > CT_LATER_BYTES) {
        void *same = (void *)(uintptr_t)user;
        ct_parallel_for(context, count, task, same);
        release(same);
        return;
    }
    if (atomic_load(&pool->later_count) == LATER_SLOTS || pool->later_kept + kept > LATER_KEPT)
        ct_parallel_finish(context);
    pool->later_kept += kept;
    int slots = atomic_load(&pool->later_count);
    later_slot *slot = &pool->later[slots];
    slot->count = count;
    slot->float_control = float_control();
    slot->task = task;
    slot->release = release;
    memcpy(slot->user, user, bytes);
    atomic_store(&slot->completed, 0);
    atomic_store_explicit(&slot->left, count, memory_order_release);
    atomic_store_explicit(&pool->later_count, slots + 1, memory_order_release);
    wake_workers(pool, count);
}

bool ct_parallel_pending(const ct_context *context) {
    return context->pool && atomic_load_explicit(&context->pool->later_count, memory_order_relaxed) > 0;
}

void ct_parallel_finish(ct_context *context) {
    ct_pool *pool = context->pool;
    if (!ct_parallel_pending(context) || running.context == context) return;
    int count = atomic_load(&pool->later_count);
    for (int i = 0; i < count; i++)
        while (run_later_index(pool, &pool->later[i], 0))
            continue;
    for (int i = 0; i < count; i++) {
        later_slot *slot = &pool->later[i];
        for (unsigned turn = 1; atomic_load_explicit(&slot->completed, memory_order_acquire) < slot->count;
             turn++)
            if (turn % 1024)
                spin_pause();
            else
                sched_yield();
    }
    atomic_store(&pool->later_count, 0);
    pool->later_kept = 0;
    for (int i = 0; i < count; i++)
        pool->later[i].release(pool->later[i].user);
}

void ct_parallel_error(ct_context *context, int64_t index, ct_status status, const char *format, ...) {
    if (status == CT_OK) return;
    struct ct_task_error *error = &context->task_error;
    if (running.context == context) index = running.index; /* in a nested loop: the outer one decides */
    pthread_mutex_lock(&error->lock);
    if (!error->present || index < error->index) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        error->present = true;
        error->index = index;
        error->status = status;
    }
    pthread_mutex_unlock(&error->lock);
}

/* ------------------------------------------------------------------------------------------ scratch ----- */

ct_status ct_scratch_reserve(ct_context *context, size_t bytes) {
    if (context->status != CT_OK) return context->status;
    if (bytes == 0) bytes = 1;
    if (context->scratch && context->scratch_bytes >= bytes) return CT_OK;
    ct_parallel_finish(context); /* what runs there uses the old bytes */
    size_t threads = (size_t)context->threads;
    if (!context->scratch)
        context->scratch = ct_alloc_zero(context, threads * sizeof(void *), CT_MEMORY_OTHER);
    if (!context->scratch) return CT_ERROR_MEMORY;
    context->scratch_bytes = 0;
    for (size_t i = 0; i < threads; i++) { /* the old bytes go first: their contents are not wanted */
        ct_free(context, context->scratch[i]);
        context->scratch[i] = NULL;
    }
    for (size_t i = 0; i < threads; i++) {
        context->scratch[i] = ct_alloc(context, bytes, CT_MEMORY_WORKSPACE);
        if (!context->scratch[i]) return CT_ERROR_MEMORY;
    }
    context->scratch_bytes = bytes;
    return CT_OK;
}

void *ct_scratch(ct_context *context, int worker) {
    return context->scratch[worker];
}
