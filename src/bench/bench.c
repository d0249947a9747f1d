/* bench.c - the benchmarks by name, and running one over the methods of its kind. */
#include "bench/bench.h"
#include "tensor/cpu/isa.h"
#include <string.h>

const ct_benchmark *const ct_benchmarks[] = {&ct_benchmark_norm, &ct_benchmark_optimizer, NULL};

const ct_option ct_bench_table[] = {
    CT_OPTION_INT("timings", ct_bench_options, timings, 7, CT_BENCH_TIMINGS, 1001,
                  "of each method; their median is reported"),
    CT_OPTION_REAL("seconds", ct_bench_options, seconds, 0.1, 0, 3600,
                   "that a timing takes at least, of as many calls as it needs"),
    CT_OPTION_BYTES("stream", ct_bench_options, stream, 256 << 20, 1 << 16, 4LL << 30,
                    "size of the arrays on which the memory is measured; several times the last cache"),
    CT_OPTION_END};

const ct_benchmark *ct_benchmark_find(ct_context *context, const char *name) {
    const char *names[16], *near;
    char list[256] = "";
    size_t count = 0;
    for (; ct_benchmarks[count] && count < 16; count++) {
        if (strcmp(ct_benchmarks[count]->name, name) == 0) return ct_benchmarks[count];
        names[count] = ct_benchmarks[count]->name;
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", count ? ", " : "", names[count]);
    }
    near = ct_nearest_name(name, names, count);
    ct_fail(context, CT_ERROR_ARGUMENT, "there is no benchmark \"%s\", expected one of: %s%s%s%s", name, list,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

/* What a method that was not asked for by name refuses is told in its row; being stopped or out of memory
 * ends all. */
static ct_status measure_one(const ct_benchmark *benchmark, const ct_bench_call *call, ct_bench_row *row,
                             bool named) {
    if (named) return benchmark->measure(call, row);
    ct_try trial;
    ct_try_begin(call->context, &trial);
    if (row->method->unavailable)
        ct_fail(call->context, CT_ERROR_UNSUPPORTED, "%s", row->method->unavailable);
    else
        benchmark->measure(call, row);
    ct_status status = ct_try_end(call->context, &trial, row->refused, sizeof(row->refused));
    if (status == CT_ERROR_INTERRUPTED || status == CT_ERROR_MEMORY)
        return ct_fail(call->context, status, "%s", row->refused);
    return CT_OK;
}

static ct_status find_methods(ct_context *context, const ct_benchmark *benchmark, const char *const *names,
                              int count, ct_bench_report *report) {
    const ct_kind *kind = ct_kind_find(benchmark->kind);
    report->count = count ? count : (int)ct_method_count(context, kind);
    report->rows = ct_alloc_zero(context, (size_t)report->count * sizeof(ct_bench_row), CT_MEMORY_OTHER);
    for (int i = 0; report->rows && i < report->count; i++) {
        ct_bench_row *row = &report->rows[i];
        row->method =
            count ? ct_method_find(context, kind->name, names[i]) : ct_method_at(context, kind, (size_t)i);
        if (!row->method) break;
    }
    return ct_context_status(context);
}

ct_status ct_bench_run(ct_context *context, const ct_benchmark *benchmark, const ct_bench_options *options,
                       const void *setting, const char *const *methods, int count, ct_bench_report *report) {
    ct_bench_call call = {context, options, setting};
    *report = (ct_bench_report){.isa = ct_isa_name(ct_cpu_isa()), .threads = ct_context_threads(context)};
    if (options->timings < CT_BENCH_TIMINGS)
        return ct_fail(context, CT_ERROR_ARGUMENT, "timings %lld, expected at least %d",
                       (long long)options->timings, CT_BENCH_TIMINGS);
    if (find_methods(context, benchmark, methods, count, report) == CT_OK &&
        ct_bench_bandwidth(context, options, &report->bandwidth) == CT_OK)
        for (int i = 0; i < report->count && !ct_failed(context); i++) {
            const char *name = report->rows[i].method->name;
            ct_progress(context, "bench", i, report->count, benchmark->kind, name);
            measure_one(benchmark, &call, &report->rows[i], count > 0);
        }
    if (ct_failed(context)) {
        ct_bench_free(context, report);
        return ct_context_status(context);
    }
    ct_progress_finish(context, "bench", report->count, benchmark->kind, "");
    return CT_OK;
}

void ct_bench_free(ct_context *context, ct_bench_report *report) {
    ct_free(context, report->rows);
    *report = (ct_bench_report){0};
}
