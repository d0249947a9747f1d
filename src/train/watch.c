/* watch.c - growth.csv: the size of a transformer's residual stream behind each block, every so many steps of
 * a run, as carat evaluate growth has it (J. Kim et al., arXiv:2502.02732): what breaks bf16 training is seen
 * before it does. A run may end itself when a variance passes a limit. After a resume, rows of steps that are
 * done again are dropped first. */
#include "train/state.h"
#include <carat/evaluate.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 4 };
static const double half_limit = 65504.0 / 8, massive = 100; /* as carat evaluate growth */

static char *path_of(const ct_trainer *trainer) {
    return ct_path_join(trainer->context, trainer->options.output_dir, "growth.csv");
}

int64_t ct_watch_every(const char *watch) {
    static const char start[] = "growth:";
    if (!watch || strncmp(watch, start, sizeof(start) - 1) != 0) return 0;
    const char *digits = watch + sizeof(start) - 1;
    size_t count = strspn(digits, "0123456789");
    return count > 0 && count < 13 && !digits[count] ? strtoll(digits, NULL, 10) : 0;
}

static ct_status check(const ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_learner *learner = trainer->learner;
    if (ct_evaluate_blocks(learner->model) == 0)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "watch: a %s has no list of transformer blocks",
                       ct_model_architecture(learner->model)->model_type);
    if (ct_dataset_has_samples(trainer->corpus.train))
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "watch: it looks at rows of text, the task is sft");
    if ((learner->parametrization && ct_parametrization_multiplies(learner->parametrization)) ||
        ct_regularizers_adds_parameters(learner->regularizers))
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "watch: it looks at weights as they are, without the multipliers of param and without those that "
            "regularizers make");
    return CT_OK;
}

/* Rows of the steps before the one to go on with. */
static void keep_rows(ct_context *context, ct_writer *writer, const char *path, int64_t steps) {
    ct_lines *lines = ct_lines_open(context, path, 1 << 16);
    for (const char *line; lines && (line = ct_lines_next(lines, NULL));) {
        if (ct_lines_number(lines) == 1 || strtoll(line, NULL, 10) > steps) continue;
        if (ct_writer_printf(writer, "%s\n", line) != CT_OK) break;
    }
    ct_lines_close(lines);
}

ct_status ct_watch_open(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    if (!trainer->options.watch) return CT_OK;
    if (check(trainer) != CT_OK) return ct_context_status(context);
    char *path = path_of(trainer);
    ct_writer *writer = path ? ct_writer_open(context, path) : NULL;
    if (writer) {
        ct_writer_printf(
            writer,
            "step,layer,variance,largest,median,largest_over_median,massive,gradient_norm,beyond_f16\n");
        if (trainer->resumed && ct_file_exists(path)) keep_rows(context, writer, path, trainer->state.step);
        if (ct_failed(context))
            ct_writer_abandon(writer);
        else
            ct_writer_commit(writer);
    }
    ct_free(context, path);
    return ct_context_status(context);
}

/* The rows with which training began, inputs and targets as one: [rows][length + 1]. */
static ct_status first_rows(const ct_trainer *trainer, int64_t rows, int32_t *ids) {
    int64_t length = trainer->learner->row_length;
    int32_t *targets = ct_alloc(trainer->context, (size_t)length * sizeof(*targets), CT_MEMORY_WORKSPACE);
    for (int64_t i = 0; targets && i < rows; i++) {
        int32_t *row = ids + i * (length + 1);
        if (ct_dataset_row(trainer->context, trainer->corpus.train, length, (uint64_t)trainer->options.seed,
                           i, row, targets) != CT_OK)
            break;
        row[length] = targets[length - 1];
    }
    ct_free(trainer->context, targets);
    return ct_context_status(trainer->context);
}

static void put(FILE *file, double value, char end) {
    if (isfinite(value)) fprintf(file, "%.6g", value);
    fputc(end, file);
}

static ct_status write_rows(const ct_trainer *trainer, const ct_layer_report *r, int64_t blocks) {
    ct_context *context = trainer->context;
    char *path = path_of(trainer);
    FILE *file = path ? fopen(path, "ae") : NULL;
    for (int64_t i = 0; file && i <= blocks; i++) {
        double ratio = r[i].largest / r[i].median;
        fprintf(file, "%lld,%lld,", (long long)trainer->state.step, (long long)i - 1);
        put(file, r[i].variance, ',');
        put(file, r[i].largest, ',');
        put(file, r[i].median, ',');
        put(file, ratio, ',');
        fprintf(file, "%d,", ratio > massive);
        put(file, r[i].gradient_norm, ',');
        fprintf(file, "%d\n", r[i].largest > half_limit);
    }
    if (path && (!file || ferror(file) | fclose(file)))
        ct_fail(context, CT_ERROR_IO, "%s: it cannot be written (%s)", path, strerror(errno));
    ct_free(context, path);
    return ct_context_status(context);
}

static void judge(ct_trainer *trainer, const ct_layer_report *r, int64_t blocks) {
    double limit = trainer->options.growth.limit;
    for (int64_t i = 0; limit > 0 && i <= blocks; i++) {
        if (r[i].variance <= limit) continue;
        ct_log_message(trainer->context, CT_LOG_WARNING,
                       "step %lld: the variance of the stream behind layer %lld is %.4g, above growth.limit "
                       "%g; the run ends "
                       "here",
                       (long long)trainer->state.step, (long long)i - 1, r[i].variance, limit);
        trainer->stopped_early = true;
        return;
    }
}

ct_status ct_watch_step(ct_trainer *trainer) {
    ct_context *context = trainer->context;
    const ct_learner *learner = trainer->learner;
    int64_t every = ct_watch_every(trainer->options.watch);
    if (every == 0 || trainer->state.step % every) return CT_OK;
    int64_t blocks = ct_evaluate_blocks(learner->model), length = learner->row_length;
    int64_t rows = trainer->options.memory > 0 ? 1 : learner->rows < MOST_ROWS ? learner->rows : MOST_ROWS;
    ct_layer_report *r = ct_alloc_zero(context, (size_t)(blocks + 1) * sizeof(*r), CT_MEMORY_OTHER);
    int32_t *ids = ct_alloc(context, (size_t)(rows * (length + 1)) * sizeof(*ids), CT_MEMORY_WORKSPACE);
    double loss;
    if (r && ids && first_rows(trainer, rows, ids) == CT_OK &&
        ct_evaluate_layers(learner->model, ids, rows, length, false, r, &loss) == CT_OK &&
        write_rows(trainer, r, blocks) == CT_OK)
        judge(trainer, r, blocks);
    ct_free(context, ids);
    ct_free(context, r);
    return ct_context_status(context);
}
