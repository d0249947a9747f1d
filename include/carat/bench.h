/* bench.h - how fast methods run on this machine, beside what its memory allows.
 *
 * A benchmark measures the methods of one kind: calls of a method are timed several times, and its bytes are
 * what a call must at least read and write, so that bytes a second can be put beside those of a loop that
 * only moves memory. There is one file for each benchmark in src/bench/. */
#ifndef CARAT_BENCH_H
#define CARAT_BENCH_H

#include <carat/method.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CT_BENCH_PASSES = 2, CT_BENCH_TIMINGS = 5 };

typedef struct ct_bench_options {
    int64_t timings; /* at least CT_BENCH_TIMINGS; medians are reported */
    double seconds;  /* that a timing takes at least; it has one call at least */
    int64_t stream;  /* bytes of the arrays of the loop that measures the memory */
} ct_bench_options;
extern const ct_option ct_bench_table[];

/* One pass of one method ("forward"): seconds of a call, of which `median` is what rates are made from. */
typedef struct ct_bench_measure {
    const char *pass;
    double elements, bytes; /* that a call works on; that it must read and write at least */
    double median, least, greatest;
} ct_bench_measure;

typedef struct ct_bench_row {
    const ct_method *method;
    int count;
    ct_bench_measure passes[CT_BENCH_PASSES];
    char refused[256]; /* why it could not be measured; "": it was */
} ct_bench_row;

typedef struct ct_bench_report {
    const char *isa; /* of the kernels: "avx512" */
    int threads;
    double bandwidth; /* bytes a second that a loop reads and writes */
    int count;
    ct_bench_row *rows;
} ct_bench_report;

typedef struct ct_bench_call {
    ct_context *context;
    const ct_bench_options *options;
    const void *setting; /* the benchmark's own options */
} ct_bench_call;

typedef struct ct_benchmark {
    const char *name;    /* "norm" */
    const char *summary; /* "forward and backward passes of norms" */
    const char *kind;    /* of its methods */
    const char *element; /* what is counted: "elements", "parameters" */
    const ct_option *table;
    size_t setting_size;
    /* Fills the passes of a row, whose method is given. */
    ct_status (*measure)(const ct_bench_call *call, ct_bench_row *row);
} ct_benchmark;

extern const ct_benchmark *const ct_benchmarks[];                         /* NULL-terminated */
extern const ct_option ct_bench_norm_table[], ct_bench_optimizer_table[]; /* their own options */
/* NULL and an error that names the nearest. */
const ct_benchmark *ct_benchmark_find(ct_context *context, const char *name);

/* Measures the methods that are named, or (count 0) all of the kind that can run with this setting: of these,
 * one that cannot has the reason in its row. A named one that cannot is an error. Free with ct_bench_free. */
ct_status ct_bench_run(ct_context *context, const ct_benchmark *benchmark, const ct_bench_options *options,
                       const void *setting, const char *const *methods, int count, ct_bench_report *report);
void ct_bench_free(ct_context *context, ct_bench_report *report);

/* ------------------------------------------------------------------------------- for a benchmark's file
 * ----- */

/* One call of what is measured; adds the seconds of each pass to seconds[pass]. */
typedef ct_status (*ct_bench_once)(void *user, double *seconds);
/* Times `once`: one call that does not count, then options->timings times as many as last options->seconds.
 * Fills median, least and greatest of `count` passes. Stops with CT_ERROR_INTERRUPTED when asked to. */
ct_status ct_bench_time(const ct_bench_call *call, ct_bench_once once, void *user, int count,
                        ct_bench_measure *passes);
/* Bytes a second of y = y + a x over two arrays of options->stream bytes together, on all threads: x is read,
 * y read and written. */
ct_status ct_bench_bandwidth(ct_context *context, const ct_bench_options *options, double *bandwidth);

#ifdef __cplusplus
}
#endif
#endif
