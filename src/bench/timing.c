/* timing.c - medians over timings, and the bandwidth of the memory by a loop that hardly computes. */
#include "bench/bench.h"
#include "tensor/cpu/kernels.h"
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of a call of each pass, of as many calls as take options->seconds. */
static ct_status timing(const ct_bench_call *call, ct_bench_once once, void *user, int count,
                        double *seconds) {
    int64_t calls = 0;
    double begin = ct_seconds();
    memset(seconds, 0, (size_t)count * sizeof(double));
    do {
        if (ct_stop_requested(call->context))
            return ct_fail(call->context, CT_ERROR_INTERRUPTED, "stopped while measuring");
        if (once(user, seconds) != CT_OK) return ct_context_status(call->context);
        calls++;
    } while (ct_seconds() - begin < call->options->seconds);
    for (int p = 0; p < count; p++)
        seconds[p] /= (double)calls;
    return CT_OK;
}

ct_status ct_bench_time(const ct_bench_call *call, ct_bench_once once, void *user, int count,
                        ct_bench_measure *passes) {
    ct_context *context = call->context;
    size_t timings = (size_t)call->options->timings;
    double *table = ct_alloc_zero(context, timings * (size_t)count * sizeof(double), CT_MEMORY_OTHER);
    double first[CT_BENCH_PASSES] = {0}, seconds[CT_BENCH_PASSES];
    if (!table) return CT_ERROR_MEMORY;
    once(user, first); /* pages are touched and caches filled */
    for (size_t t = 0; t < timings && !ct_failed(context); t++) {
        if (timing(call, once, user, count, seconds) != CT_OK) break;
        for (int p = 0; p < count; p++)
            table[(size_t)p * timings + t] = seconds[p];
    }
    for (int p = 0; p < count && !ct_failed(context); p++) {
        double *of = table + (size_t)p * timings;
        qsort(of, timings, sizeof(*of), ascending);
        passes[p].least = of[0];
        passes[p].greatest = of[timings - 1];
        passes[p].median = (of[(timings - 1) / 2] + of[timings / 2]) / 2;
    }
    ct_free(context, table);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------------ bandwidth */

enum { PART = 1 << 14 }; /* elements of an index of the loop */

typedef struct arrays {
    ct_context *context;
    const float *x;
    float *y;
    int64_t count;
} arrays;

static void stream_part(void *user, int64_t index, int worker) {
    (void)worker;
    const arrays *a = user;
    int64_t at = index * PART, count = a->count - at < PART ? a->count - at : PART;
    ct_cpu_kernels()->f32.axpy(count, 1e-9f, a->x + at, a->y + at);
}

static ct_status stream_once(void *user, double *seconds) {
    arrays *a = user;
    double begin = ct_seconds();
    ct_parallel_for(a->context, (a->count + PART - 1) / PART, stream_part, a);
    seconds[0] += ct_seconds() - begin;
    return ct_context_status(a->context);
}

ct_status ct_bench_bandwidth(ct_context *context, const ct_bench_options *options, double *bandwidth) {
    int64_t count = options->stream / (int64_t)(2 * sizeof(float));
    size_t bytes = (size_t)count * sizeof(float);
    ct_bench_call call = {context, options, NULL};
    ct_bench_measure measure = {0};
    float *x = ct_alloc_zero(context, bytes, CT_MEMORY_OTHER),
          *y = ct_alloc_zero(context, bytes, CT_MEMORY_OTHER);
    if (x && y) {
        memset(x, 1, bytes); /* pages that were never written may all be one page of zeros */
        memset(y, 1, bytes);
        arrays a = {context, x, y, count};
        if (ct_bench_time(&call, stream_once, &a, 1, &measure) == CT_OK)
            *bandwidth = 3 * (double)bytes / measure.median;
    }
    ct_free(context, x);
    ct_free(context, y);
    return ct_context_status(context);
}
