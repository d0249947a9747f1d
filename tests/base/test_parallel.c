/* test_parallel.c - every index once, workers within bounds and by themselves, errors of the lowest index. */
#define _GNU_SOURCE
#include "base/context.h"
#include "check.h"
#include <fenv.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct tally {
    ct_context *context;
    atomic_int *seen;
    atomic_int busy[64];
    atomic_int wrong;
    int threads;
} tally;

static void tally_task(void *user, int64_t index, int worker) {
    tally *all = user;
    if (worker < 0 || worker >= all->threads) {
        atomic_fetch_add(&all->wrong, 1);
        return;
    }
    if (atomic_exchange(&all->busy[worker], 1))
        atomic_fetch_add(&all->wrong, 1); /* two tasks as one worker */
    atomic_fetch_add(&all->seen[index], 1);
    atomic_store(&all->busy[worker], 0);
}

static void every_index_once(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 2, 3, 7, 64, 1000, 20011};
    for (int threads = 1; threads <= 8; threads++) {
        ct_context *context = start_context(threads);
        assert_int_equal(ct_context_threads(context), threads);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            for (int round = 0; round < 5; round++) {
                tally all = {.context = context, .threads = threads};
                all.seen = calloc((size_t)counts[c] + 1, sizeof *all.seen);
                ct_parallel_for(context, counts[c], tally_task, &all);
                assert_int_equal(all.wrong, 0);
                for (int64_t i = 0; i < counts[c]; i++)
                    assert_int_equal(all.seen[i], 1);
                free(all.seen);
            }
        }
        end_context(context);
    }
}

static void add_index(void *user, int64_t index, int worker) {
    (void)worker;
    atomic_fetch_add((atomic_llong *)user, index);
}

/* Many short loops, with pauses that send the workers to sleep in between. */
static void many_short_loops(void **state) {
    (void)state;
    ct_context *context = start_context(4);
    for (int round = 0; round < 3000; round++) {
        atomic_llong sum = 0;
        ct_parallel_for(context, 50, add_index, &sum);
        assert_int_equal(sum, 1225);
        if (round % 500 == 0) usleep(1500);
    }
    end_context(context);
}

typedef struct nested {
    ct_context *context;
    atomic_int inner_runs, wrong;
    int outer_worker[64];
} nested;

static _Thread_local int64_t inner_next;
static void inner_task(void *user, int64_t index, int worker) {
    nested *all = user;
    if (index != inner_next++) atomic_fetch_add(&all->wrong, 1); /* serially, in order */
    (void)worker;
    atomic_fetch_add(&all->inner_runs, 1);
}
static void outer_task(void *user, int64_t index, int worker) {
    nested *all = user;
    (void)index, (void)worker;
    inner_next = 0;
    ct_parallel_for(all->context, 10, inner_task, all);
    if (inner_next != 10) atomic_fetch_add(&all->wrong, 1);
}

static void nested_loops_are_serial(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        ct_context *context = start_context(threads);
        nested all = {.context = context};
        ct_parallel_for(context, 30, outer_task, &all);
        assert_int_equal(all.inner_runs, 300);
        assert_int_equal(all.wrong, 0);
        end_context(context);
    }
}

static void failing_task(void *user, int64_t index, int worker) {
    (void)worker;
    if (index >= 37 && index % 3 == 1) ct_parallel_error(user, index, CT_ERROR_NUMERIC, "row %d", (int)index);
    if (index == 90) ct_parallel_error(user, index, CT_ERROR_SHAPE, "ninety");
}
static void failing_outer(void *user, int64_t index, int worker) {
    (void)worker;
    if (index == 5 || index == 9) { /* the inner loop's index 37 is the outer 5's error */
        ct_parallel_for(user, 100, failing_task, user);
        ct_parallel_error(user, index, CT_ERROR_IO, "second of its index");
    }
    if (index == 7) ct_parallel_error(user, index, CT_ERROR_IO, "outer seven");
}

static void lowest_index_reports(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        ct_context *context = start_context(threads);
        for (int round = 0; round < 20; round++) {
            ct_parallel_for(context, 200, failing_task, context);
            assert_fails(context, CT_ERROR_NUMERIC, "row 37");
            ct_parallel_for(context, 20, failing_outer, context);
            assert_fails(context, CT_ERROR_NUMERIC, "row 37");
        }
        atomic_llong sum = 0;
        ct_fail(context, CT_ERROR_IO, "earlier");
        ct_parallel_for(context, 20, add_index, &sum); /* a failed context does nothing */
        assert_int_equal(sum, 0);
        ct_context_clear(context);
        ct_parallel_for(context, 20, add_index, &sum);
        assert_int_equal(sum, 190);
        end_context(context);
    }
}

static void scratch_task(void *user, int64_t index, int worker) {
    ct_context *context = user;
    unsigned char *bytes = ct_scratch(context, worker);
    memset(bytes, (int)index, 5000);
    for (int i = 0; i < 5000; i++)
        if (bytes[i] != (unsigned char)index)
            ct_parallel_error(context, index, CT_ERROR_STATE, "shared scratch");
}

static void scratch(void **state) {
    (void)state;
    ct_context *context = start_context(3);
    assert_int_equal(ct_scratch_reserve(context, 100), CT_OK);
    assert_int_equal(ct_scratch_reserve(context, 5000), CT_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal((uintptr_t)ct_scratch(context, i) % 64, 0);
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_WORKSPACE], 3 * 5120);
    ct_parallel_for(context, 500, scratch_task, context);
    assert_false(ct_failed(context));
    assert_int_equal(ct_context_set_threads(context, 5), CT_OK); /* the scratch follows */
    ct_memory_read(context, &counts);
    assert_int_equal(counts.current[CT_MEMORY_WORKSPACE], 5 * 5120);
    ct_parallel_for(context, 500, scratch_task, context);
    assert_false(ct_failed(context));
    for (int n = 1; n <= 5; n++) {
        ct_memory_fail_at(context, n);
        assert_int_equal(ct_scratch_reserve(context, 100000), CT_ERROR_MEMORY);
        ct_context_clear(context);
    }
    assert_int_equal(ct_scratch_reserve(context, 5000), CT_OK); /* usable again after a failure */
    ct_parallel_for(context, 500, scratch_task, context);
    assert_false(ct_failed(context));
    ct_context_destroy(context);
}

static void sum_task(void *user, int64_t index, int worker) {
    (void)worker;
    double sum = 0, *out = user;
    for (int k = 0; k < 1000; k++)
        sum += 1.0 / (1 + k + (double)index);
    out[index] = sum;
}

static void threads_can_change(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    double expected[300], found[300];
    ct_parallel_for(context, 300, sum_task, expected);
    for (int threads = 2; threads <= 6; threads++) {
        assert_int_equal(ct_context_set_threads(context, threads), CT_OK);
        assert_int_equal(ct_context_threads(context), threads);
        memset(found, 0, sizeof found);
        ct_parallel_for(context, 300, sum_task, found);
        assert_memory_equal(found, expected, sizeof found);
    }
    assert_int_equal(ct_context_set_threads(context, -1), CT_ERROR_ARGUMENT);
    assert_fails(context, CT_ERROR_ARGUMENT, "threads: -1 is out of range, expected 0 to 1024");
    assert_int_equal(ct_context_set_threads(context, 0), CT_OK);
    assert_true(ct_context_threads(context) >= 1);
    end_context(context);
}

typedef struct thread_check {
    atomic_int wrong_mask, wrong_rounding, by_worker[4];
} thread_check;
static void thread_task(void *user, int64_t index, int worker) {
    thread_check *check = user;
    (void)index;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    if (worker && !sigismember(&mask, SIGINT)) atomic_fetch_add(&check->wrong_mask, 1);
    volatile double one = 1, three = 3;
    if (one / three != 0x1.5555555555556p-2) atomic_fetch_add(&check->wrong_rounding, 1); /* rounded upward */
    atomic_fetch_add(&check->by_worker[worker], 1);
    usleep(200);
}

static void workers_are_like_the_caller(void **state) {
    (void)state;
    ct_context *context = start_context(4);
    thread_check check = {0};
    atomic_llong sum = 0;
    ct_parallel_for(context, 50, add_index, &sum); /* the workers start under another rounding mode */
    fesetround(FE_UPWARD);
    ct_parallel_for(context, 40, thread_task, &check);
    fesetround(FE_TONEAREST);
    assert_int_equal(check.wrong_mask, 0);
    assert_int_equal(check.wrong_rounding, 0);
    int taking_part = 0;
    for (int i = 0; i < 4; i++)
        taking_part += check.by_worker[i] > 0;
    assert_true(taking_part >= 2); /* forty tasks that sleep: the caller does not do them all */
    end_context(context);
}

/* Work that can wait: 64 numbers for each piece of it, checked when it is released. */
typedef struct waiting {
    ct_context *context;
    atomic_int *seen, *released;
    int64_t count;
} waiting;

static void waiting_task(void *user, int64_t index, int worker) {
    waiting *w = user;
    memset(ct_scratch(w->context, worker), worker, 4096);
    atomic_fetch_add(&w->seen[index], 1);
}

static void waiting_release(void *user) {
    waiting *w = user;
    for (int64_t i = 0; i < w->count; i++)
        assert_int_equal(w->seen[i], 1);
    atomic_fetch_add(w->released, 1);
    free(w->seen);
}

static void later(ct_context *context, int64_t count, atomic_int *released) {
    waiting w = {context, calloc((size_t)count + 1, sizeof(atomic_int)), released, count};
    ct_parallel_later(context, count, waiting_task, &w, sizeof w, (size_t)count << 16, waiting_release);
}

/* More pieces of work than there are slots, between loops, while the scratch grows; whatever is left when the
 * context goes. */
static void later_all_is_done_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        ct_context *context = start_context(threads);
        atomic_int released = 0;
        int sent = 0;
        assert_int_equal(ct_scratch_reserve(context, 4096), CT_OK);
        for (int round = 0; round < 400; round++) {
            atomic_llong sum = 0;
            for (int i = 0; i <= round % 25; i++, sent++)
                later(context, (round + i) % 9, &released);
            ct_parallel_for(context, 20, add_index, &sum);
            assert_int_equal(sum, 20 * 19 / 2);
            if (round % 50 == 0)
                assert_int_equal(ct_scratch_reserve(context, (size_t)8192 + (size_t)round * 64), CT_OK);
            if (round % 3) continue;
            ct_parallel_finish(context);
            assert_int_equal(released, sent);
            assert_false(ct_parallel_pending(context));
        }
        later(context, 5, &released);
        ct_context_destroy(context);
        assert_int_equal(released, sent + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_once),
        cmocka_unit_test(many_short_loops),
        cmocka_unit_test(nested_loops_are_serial),
        cmocka_unit_test(lowest_index_reports),
        cmocka_unit_test(scratch),
        cmocka_unit_test(threads_can_change),
        cmocka_unit_test(workers_are_like_the_caller),
        cmocka_unit_test(later_all_is_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
