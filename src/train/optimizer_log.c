/* optimizer_log.c - optimizer.csv: what the optimizer tells of each tensor at logged steps. A row is
 *     step,tensor,norm,relative_update,... (ct_optimizer_statistic_name)
 * and the row of the tensor "*" has the means over all tensors, weighted by their elements, but none of what
 * is a word. Cells are empty where there is nothing to tell. After a resume, rows of steps that are done
 * again are dropped first. */
#include "train/state.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *path_of(const ct_trainer *trainer) {
    return ct_path_join(trainer->context, trainer->options.output_dir, "optimizer.csv");
}

static ct_status write_header(ct_writer *writer, const ct_optimizer *optimizer) {
    ct_writer_printf(writer, "step,tensor");
    for (int i = 0; i < ct_optimizer_statistic_count(optimizer); i++)
        ct_writer_printf(writer, ",%s", ct_optimizer_statistic_name(optimizer, i));
    return ct_writer_printf(writer, "\n");
}

/* Rows of the steps before the one to go on with. */
static ct_status keep_rows(ct_context *context, ct_writer *writer, const char *path, int64_t steps) {
    ct_lines *lines = ct_lines_open(context, path, 1 << 16);
    for (const char *line; lines && (line = ct_lines_next(lines, NULL));) {
        if (ct_lines_number(lines) == 1 || strtoll(line, NULL, 10) > steps) continue;
        if (ct_writer_printf(writer, "%s\n", line) != CT_OK) break;
    }
    ct_lines_close(lines);
    return ct_context_status(context);
}

ct_status ct_optimizer_log_open(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_optimizer *optimizer = trainer->learner->optimizer;
    if (!trainer->options.log_optimizer) return CT_OK;
    if (ct_optimizer_record(trainer->learner->optimizer, true) != CT_OK) return ct_context_status(context);
    char *path = path_of(trainer);
    ct_writer *writer = path ? ct_writer_open(context, path) : NULL;
    if (writer) {
        write_header(writer, optimizer);
        if (trainer->resumed && ct_file_exists(path)) keep_rows(context, writer, path, trainer->state.step);
        if (ct_failed(context))
            ct_writer_abandon(writer);
        else
            ct_writer_commit(writer);
    }
    ct_free(context, path);
    return ct_context_status(context);
}

static void put_row(FILE *file, int64_t step, const char *tensor, const ct_optimizer *optimizer,
                    const double *values, int count) {
    fprintf(file, "%lld,%s", (long long)step, tensor);
    for (int i = 0; i < count; i++) {
        const char *word = ct_optimizer_statistic_word(optimizer, i, values[i]);
        if (ct_optimizer_statistic_is_word(optimizer, i))
            fprintf(file, ",%s", word ? word : "");
        else if (isnan(values[i]))
            fputc(',', file);
        else
            fprintf(file, ",%.9g", values[i]);
    }
    fputc('\n', file);
}

static void put_rows(FILE *file, int64_t step, const ct_optimizer *optimizer, double *sums, double *weights,
                     double *values, int columns) {
    for (int64_t p = 0; p < ct_optimizer_parameter_count(optimizer); p++) {
        const ct_parameter *parameter = ct_optimizer_parameter(optimizer, p);
        double elements = (double)ct_count(parameter->tensor);
        for (int i = 0; i < columns; i++) {
            values[i] = ct_optimizer_statistic(optimizer, p, i);
            if (!isnan(values[i])) {
                sums[i] += elements * values[i];
                weights[i] += elements;
            }
        }
        put_row(file, step, parameter->name, optimizer, values, columns);
    }
    for (int i = 0; i < columns; i++)
        values[i] =
            weights[i] > 0 && !ct_optimizer_statistic_is_word(optimizer, i) ? sums[i] / weights[i] : NAN;
    put_row(file, step, "*", optimizer, values, columns);
}

ct_status ct_optimizer_log_step(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_optimizer *optimizer = trainer->learner->optimizer;
    if (!trainer->options.log_optimizer) return CT_OK;
    int columns = ct_optimizer_statistic_count(optimizer);
    double *sums = ct_alloc_zero(context, 3 * (size_t)columns * sizeof(double), CT_MEMORY_OTHER);
    char *path = path_of(trainer);
    FILE *file = sums && path ? fopen(path, "ae") : NULL;
    if (file)
        put_rows(file, trainer->state.step, optimizer, sums, sums + columns, sums + 2 * columns, columns);
    if (sums && path && (!file || ferror(file) | fclose(file)))
        ct_fail(context, CT_ERROR_IO, "%s: it cannot be written (%s)", path, strerror(errno));
    ct_free(context, path);
    ct_free(context, sums);
    return ct_context_status(context);
}
