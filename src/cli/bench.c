/* bench.c - carat bench: how fast methods run on this machine, beside its memory. */
#include "cli/report.h"
#include <string.h>

static const struct {
    const char *name;
    const ct_option *table;
} settings[] = {{"norm", ct_bench_norm_table}, {"optimizer", ct_bench_optimizer_table}};

/* Options of another benchmark are refused. */
static int check_options(ct_cli *cli, const ct_benchmark *benchmark) {
    for (size_t i = 0; i < ct_value_count(cli->options); i++) {
        const char *name = ct_value_key(cli->options, i);
        if (ct_options_find(benchmark->table, name)) continue;
        for (size_t s = 0; s < sizeof(settings) / sizeof(settings[0]); s++)
            if (ct_options_find(settings[s].table, name))
                return ct_cli_usage(cli, "bench %s: %s belongs to bench %s", benchmark->name, name,
                                    settings[s].name);
    }
    return CT_EXIT_DONE;
}

static void print_rows(const ct_benchmark *benchmark, const ct_bench_report *report) {
    printf("%s, %s, %d thread%s; memory moves %.2f GB/s\n\n", benchmark->name, report->isa, report->threads,
           report->threads == 1 ? "" : "s", report->bandwidth * 1e-9);
    printf("%-14s %-9s %10s %12s %9s %10s   M%s/s\n", "method", "pass", "ms", "least", "GB/s", "of memory",
           benchmark->element);
    for (int i = 0; i < report->count; i++) {
        const ct_bench_row *row = &report->rows[i];
        for (int p = 0; p < row->count && !*row->refused; p++) {
            const ct_bench_measure *m = &row->passes[p];
            double rate = m->bytes / m->median;
            printf("%-14s %-9s %10.4f %12.4f %9.2f %8.0f %%   %.1f\n", p ? "" : row->method->name, m->pass,
                   m->median * 1e3, m->least * 1e3, rate * 1e-9, 100 * rate / report->bandwidth,
                   m->elements / m->median * 1e-6);
        }
    }
    for (int i = 0; i < report->count; i++)
        if (*report->rows[i].refused)
            printf("%s%s: left out: %s\n", i ? "" : "\n", report->rows[i].method->name,
                   report->rows[i].refused);
}

static ct_value *passes_value(ct_context *context, const ct_bench_row *row, double bandwidth) {
    ct_value *list = ct_value_list(context);
    for (int p = 0; list && p < row->count; p++) {
        const ct_bench_measure *m = &row->passes[p];
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_text(entry, "pass", m->pass, context);
        ct_cli_put_real(entry, "seconds", m->median, context);
        ct_cli_put_real(entry, "seconds_least", m->least, context);
        ct_cli_put_real(entry, "seconds_greatest", m->greatest, context);
        ct_cli_put_real(entry, "bytes", m->bytes, context);
        ct_cli_put_real(entry, "gb_per_s", m->bytes / m->median * 1e-9, context);
        ct_cli_put_real(entry, "of_memory", m->bytes / m->median / bandwidth, context);
        ct_cli_put_real(entry, "elements_per_s", m->elements / m->median, context);
        ct_value_append(list, entry);
    }
    return list;
}

static ct_value *report_value(ct_context *context, const ct_benchmark *benchmark,
                              const ct_bench_report *report, const void *setting,
                              const ct_bench_options *options) {
    ct_value *map = ct_value_map(context), *methods = ct_value_list(context);
    if (!map || !methods) return map;
    ct_cli_put_text(map, "benchmark", benchmark->name, context);
    ct_cli_put_text(map, "isa", report->isa, context);
    ct_cli_put_int(map, "threads", report->threads, context);
    ct_cli_put_int(map, "timings", options->timings, context);
    ct_value_set(map, "setting", ct_options_to_value(context, benchmark->table, setting));
    ct_cli_put_real(map, "memory_gb_per_s", report->bandwidth * 1e-9, context);
    for (int i = 0; i < report->count; i++) {
        const ct_bench_row *row = &report->rows[i];
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_text(entry, "method", row->method->name, context);
        if (*row->refused)
            ct_cli_put_text(entry, "refused", row->refused, context);
        else
            ct_value_set(entry, "passes", passes_value(context, row, report->bandwidth));
        ct_value_append(methods, entry);
    }
    ct_value_set(map, "methods", methods);
    return map;
}

static int measure(ct_cli *cli, const ct_benchmark *benchmark, void *setting) {
    ct_bench_options options;
    ct_bench_report report;
    if (ct_cli_options(cli, ct_bench_table, &options) == CT_OK &&
        ct_cli_options(cli, benchmark->table, setting) == CT_OK &&
        ct_bench_run(cli->context, benchmark, &options, setting, cli->positional + 1,
                     cli->positional_count - 1, &report) == CT_OK) {
        if (cli->json)
            ct_cli_print_json(cli, report_value(cli->context, benchmark, &report, setting, &options));
        else
            print_rows(benchmark, &report);
        ct_bench_free(cli->context, &report);
    }
    return ct_cli_finish(cli);
}

static int run(ct_cli *cli) {
    const ct_benchmark *benchmark = ct_benchmark_find(cli->context, cli->positional[0]);
    if (!benchmark) return ct_cli_finish(cli);
    int code = check_options(cli, benchmark);
    if (code != CT_EXIT_DONE) return code;
    void *setting = ct_alloc_zero(cli->context, benchmark->setting_size, CT_MEMORY_OTHER);
    if (setting)
        code = measure(cli, benchmark, setting);
    else
        code = ct_cli_finish(cli);
    ct_free(cli->context, setting);
    return code;
}

static const char *const examples[] = {
    "carat bench norm layernorm rmsnorm --rows 1024 --columns 512 --stream 32M",
    "carat bench norm --dtype bf16 --rows 1024 --columns 512 --stream 32M --json",
    "carat bench optimizer adamw --width 256 --stream 32M --threads 1", NULL};

const ct_verb ct_verb_bench = {.name = "bench",
                               .arguments = "norm [METHOD ...] | optimizer [METHOD ...]",
                               .summary = "Measure how fast methods run on this machine, beside its memory",
                               .details = "norm: forward and backward passes of norms in training. "
                                          "optimizer: steps of optimizers. Without METHOD all of\n"
                                          "the kind. Times are medians over --timings. GB/s counts what a "
                                          "call must at least read and write; the last\n"
                                          "column but one compares it with a loop over --stream bytes that "
                                          "only moves memory (y = y + a x): above 100 % the\n"
                                          "arrays of the method stay in the caches.",
                               .tables = {ct_bench_table, ct_bench_norm_table, ct_bench_optimizer_table},
                               .least = 1,
                               .most = -1,
                               .methods = true,
                               .examples = examples,
                               .run = run};
