/* log.c - train.jsonl: a line for every logged step and evaluation, and the curve drawn from them.
 *
 * Lines are appended as they come, so that a run can be watched, and are made durable before a checkpoint
 * that counts them. A resumed run cuts off what came after its checkpoint. The file is locked while a run
 * writes it. */
#define _GNU_SOURCE
#include "base/file_internal.h"
#include "train/state.h"
#include <carat/plot.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_LIMIT = 1 << 20 };

ct_status ct_log_open(ct_context *context, const char *folder, ct_train_log *log) {
    *log = (ct_train_log){.context = context, .file = -1};
    log->path = ct_path_join(context, folder, "train.jsonl");
    if (!log->path) return CT_ERROR_MEMORY;
    log->file = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->file < 0) return ct_fail_errno(context, log->path, "cannot write", errno);
    if (flock(log->file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return ct_fail(context, CT_ERROR_STATE, "%s: another run is writing to this folder", folder);
    return CT_OK;
}

void ct_log_close(ct_train_log *log) {
    if (log->path && log->file >= 0) close(log->file);
    if (!log->context) return;
    ct_free(log->context, log->path);
    ct_free(log->context, log->training.points);
    ct_free(log->context, log->evaluation.points);
    *log = (ct_train_log){.file = -1};
}

/* ---------------------------------------------------------------------------------------------- curves */

static ct_status curve_add(ct_context *context, ct_curve *curve, double step, double loss) {
    if (curve->count == curve->capacity) {
        size_t capacity = curve->capacity ? 2 * curve->capacity : 256;
        void *points = ct_realloc(context, curve->points, capacity * sizeof(ct_curve_point), CT_MEMORY_OTHER);
        if (!points) return CT_ERROR_MEMORY;
        curve->points = points;
        curve->capacity = capacity;
    }
    curve->points[curve->count++] = (ct_curve_point){step, loss};
    return CT_OK;
}

static ct_status note_line(ct_train_log *log, const ct_value *line) {
    double step = ct_value_as_real(ct_value_get(line, "step"), 0);
    const ct_value *loss = ct_value_get(line, "loss"), *held_out = ct_value_get(line, "eval_loss");
    if (loss) return curve_add(log->context, &log->training, step, ct_value_as_real(loss, 0));
    if (held_out) return curve_add(log->context, &log->evaluation, step, ct_value_as_real(held_out, 0));
    return CT_OK;
}

ct_status ct_log_go_on(ct_train_log *log, int64_t bytes) {
    ct_context *context = log->context;
    struct stat info;
    log->training.count = log->evaluation.count = 0;
    if (fstat(log->file, &info) != 0) return ct_fail_errno(context, log->path, "cannot read", errno);
    if (info.st_size < bytes) {
        ct_log_message(context, CT_LOG_WARNING, "%s: lines of before the checkpoint are missing", log->path);
        bytes = info.st_size;
    }
    if (ftruncate(log->file, bytes) != 0)
        return ct_fail_errno(context, log->path, "cannot cut off lines", errno);
    if (bytes == 0) return CT_OK;
    ct_jsonl *reader = ct_jsonl_open(context, log->path, LINE_LIMIT);
    for (ct_value *line; reader && !ct_failed(context) && (line = ct_jsonl_next(reader)); ct_value_free(line))
        note_line(log, line);
    ct_jsonl_close(reader);
    return ct_context_status(context);
}

ct_status ct_log_append(ct_train_log *log, ct_value *line) {
    ct_context *context = log->context;
    size_t length = 0;
    char *text = line ? ct_json_text(context, line, CT_JSON_COMPACT | CT_JSON_STRICT, &length) : NULL;
    if (text) {
        text[length] = '\n'; /* in the place of the final NUL */
        for (size_t done = 0; done < length + 1;) {
            ssize_t wrote = ct_io_write(context, log->file, text + done, length + 1 - done, -1);
            if (wrote <= 0) {
                ct_fail_errno(context, log->path, "cannot write", wrote < 0 ? errno : EIO);
                break;
            }
            done += (size_t)wrote;
        }
        note_line(log, line);
    }
    ct_free(context, text);
    ct_value_free(line);
    return ct_context_status(context);
}

ct_status ct_log_sync(ct_train_log *log, int64_t *bytes) {
    struct stat info;
    if (ct_io_sync(log->context, log->file) != 0 || fstat(log->file, &info) != 0)
        return ct_fail_errno(log->context, log->path, "cannot make durable", errno);
    *bytes = info.st_size;
    return CT_OK;
}

/* --------------------------------------------------------------------------------------------- picture */

/* A centred mean over about a fiftieth of the curve shows the trend; the values themselves stay visible
 * behind it. */
static void smooth(const double *y, size_t count, double *out) {
    size_t reach = count / 100;
    for (size_t i = 0; i < count; i++) {
        size_t near = i < reach ? i : reach;
        if (count - 1 - i < near) near = count - 1 - i;
        double sum = 0;
        for (size_t j = i - near; j <= i + near; j++)
            sum += y[j];
        out[i] = sum / (double)(2 * near + 1);
    }
}

static ct_status add_curve(ct_context *context, ct_plot *plot, const ct_curve *curve, const char *name,
                           bool raw) {
    size_t n = curve->count;
    double *values = n ? ct_alloc(context, 3 * n * sizeof(double), CT_MEMORY_OTHER) : NULL;
    if (!values) return ct_context_status(context);
    double *x = values, *y = values + n, *smoothed = values + 2 * n;
    for (size_t i = 0; i < n; i++) {
        x[i] = curve->points[i].step;
        y[i] = curve->points[i].loss;
    }
    smooth(y, n, smoothed);
    if (raw && n >= 100) ct_plot_shadow(plot, x, y, n);
    ct_plot_series(plot, name, x, raw ? smoothed : y, n);
    ct_free(context, values);
    return ct_context_status(context);
}

ct_status ct_log_draw(const ct_train_log *log, const char *folder) {
    ct_context *context = log->context;
    if (log->training.count + log->evaluation.count == 0) return ct_context_status(context);
    ct_plot *plot = ct_plot_create(context);
    if (!plot) return ct_context_status(context);
    ct_plot_title(plot, "Loss");
    ct_plot_label(plot, CT_PLOT_X, "step", false);
    ct_plot_label(plot, CT_PLOT_Y, "nats a token", false);
    add_curve(context, plot, &log->training, "training", true);
    add_curve(context, plot, &log->evaluation, "held-out text", false);
    static const char *const names[] = {"loss.svg", "loss.png"};
    for (int i = 0; i < (ct_plot_has_png() ? 2 : 1) && !ct_failed(context); i++) {
        char *path = ct_path_join(context, folder, names[i]);
        if (path) ct_plot_write(plot, path);
        ct_free(context, path);
    }
    ct_plot_destroy(plot);
    return ct_context_status(context);
}
