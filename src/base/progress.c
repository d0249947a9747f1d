/* progress.c - reports of long work: the sink of a context, and the ready sink that draws a line. */
#define _GNU_SOURCE
#include "base/progress_internal.h"
#include "base/context.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

void ct_context_set_progress(ct_context *context, ct_progress_sink sink, void *user) {
    context->progress_sink = sink;
    context->progress_user = user;
}

void ct_progress(ct_context *context, const char *title, double done, double total, const char *unit,
                 const char *note) {
    if (context->progress_sink)
        context->progress_sink(context->progress_user, title, done, total, unit, note, false);
}

void ct_progress_finish(ct_context *context, const char *title, double done, const char *unit,
                        const char *note) {
    if (context->progress_sink)
        context->progress_sink(context->progress_user, title, done, done, unit, note, true);
}

/* --------------------------------------------------------------------------------------------- text ----- */

static bool is_bytes(const char *unit) {
    return unit && strcmp(unit, "bytes") == 0;
}

static void count_text(const ct_progress_state *state, char *buffer, size_t size) {
    char done[32], total[32];
    if (is_bytes(state->unit)) {
        ct_format_bytes((uint64_t)fmax(state->done, 0), done, sizeof done);
        ct_format_bytes((uint64_t)fmax(state->total, 0), total, sizeof total);
    } else {
        snprintf(done, sizeof done, "%.0f", state->done);
        snprintf(total, sizeof total, "%.0f", state->total);
    }
    bool unit = state->unit && *state->unit && !is_bytes(state->unit);
    bool show_total = state->total > 0 && !(state->finished && state->done == state->total);
    snprintf(buffer, size, "%s%s%s%s%s", done, show_total ? "/" : "", show_total ? total : "",
             unit ? " " : "", unit ? state->unit : "");
}

/* Three digits: 12.3, 0.045, 1234. */
static void rate_text(const ct_progress_state *state, char *buffer, size_t size) {
    char bytes[32];
    buffer[0] = 0;
    double rate = state->rate;
    if (!(rate > 0) || !isfinite(rate)) return;
    if (is_bytes(state->unit)) {
        snprintf(buffer, size, "%s/s", ct_format_bytes((uint64_t)rate, bytes, sizeof bytes));
        return;
    }
    int decimals = rate >= 99.95 ? 0 : rate >= 9.995 ? 1 : rate >= 0.9995 ? 2 : 3;
    const char *unit = state->unit && *state->unit ? state->unit : "";
    snprintf(buffer, size, "%.*f%s%s/s", decimals, rate, *unit ? " " : "", unit);
}

static void time_text(const char *prefix, double seconds, char *buffer, size_t size) {
    buffer[0] = 0;
    if (!(seconds >= 0) || seconds > 1e9) return;
    long long whole = (long long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(buffer, size, "%s%lld:%02lld:%02lld", prefix, whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(buffer, size, "%s%lld:%02lld", prefix, whole / 60, whole % 60);
}

/* Adds `part` after `separator` if it is not empty and the whole stays within `columns` (0: no limit). */
static void add_part(char *buffer, size_t size, int columns, const char *separator, const char *part) {
    size_t length = strlen(buffer), more = strlen(separator) + strlen(part);
    if (!*part || length + more >= size || (columns > 0 && length + more > (size_t)columns)) return;
    snprintf(buffer + length, size - length, "%s%s", separator, part);
}

static void bar_text(double fraction, char *buffer, size_t size) {
    enum { CELLS = 12 };
    int filled = (int)(fraction * CELLS + 0.5);
    char cells[CELLS + 1];
    for (int i = 0; i < CELLS; i++)
        cells[i] = i < filled ? '=' : i == filled ? '>' : ' ';
    cells[CELLS] = 0;
    snprintf(buffer, size, "[%s]", cells);
}

void ct_progress_text(const ct_progress_state *state, int columns, char *buffer, size_t size) {
    char count[96], rate[96], eta[48], percent[16] = "", bar[32] = "";
    bool live = columns > 0;
    const char *separator = live ? "  " : ", ";
    count_text(state, count, sizeof count);
    rate_text(state, rate, sizeof rate);
    if (state->finished)
        time_text(live ? "" : "in ", state->elapsed, eta, sizeof eta);
    else
        time_text("ETA ",
                  state->total > 0 && state->rate > 0 ? (state->total - state->done) / state->rate : -1, eta,
                  sizeof eta);
    if (live && state->total > 0) {
        double fraction = fmin(fmax(state->done / state->total, 0), 1);
        snprintf(percent, sizeof percent, "%3.0f%%", floor(fraction * 100));
        bar_text(fraction, bar, sizeof bar);
    }
    snprintf(buffer, live && (size_t)columns + 1 < size ? (size_t)columns + 1 : size, "%s", state->title);
    /* On a narrow terminal the bar goes first, then what does not fit any more from the right. */
    size_t others = strlen(buffer) + strlen(percent) + strlen(count) + strlen(rate) + strlen(eta) + 8;
    if (state->note) others += strlen(state->note) + 2;
    if (live && others + strlen(bar) > (size_t)columns) bar[0] = 0;
    add_part(buffer, size, columns, " ", percent);
    add_part(buffer, size, columns, " ", bar);
    add_part(buffer, size, columns, live ? " " : ": ", count);
    add_part(buffer, size, columns, separator, rate);
    add_part(buffer, size, columns, separator, eta);
    add_part(buffer, size, columns, separator, state->note ? state->note : "");
}

/* --------------------------------------------------------------------------------------------- line ----- */

/* One kind of work. Works interrupt each other (evaluation comes in the middle of training) and go on. */
typedef struct progress_work {
    char title[128]; /* empty: free */
    double first_time, first_done; /* when this title was first seen: work done before does not count */
    /* The rate follows the last seconds, not the average since the start. */
    double mark_time, mark_done, rate;
} progress_work;

struct ct_progress_line {
    FILE *stream;
    double interval, last_shown;
    bool terminal, drawn;
    progress_work works[4];
    progress_work *shown; /* whose line is the present one, or NULL */
};

static atomic_int lines_on_terminal;
bool ct_progress_on_terminal(void) {
    return atomic_load(&lines_on_terminal) > 0;
}

ct_progress_line *ct_progress_line_create(FILE *stream, double interval) {
    ct_progress_line *line = calloc(1, sizeof *line);
    if (!line) return NULL;
    line->stream = stream;
    line->interval = interval;
    int descriptor = fileno(stream);
    const char *kind = getenv("TERM");
    line->terminal = descriptor >= 0 && isatty(descriptor) && !(kind && strcmp(kind, "dumb") == 0);
    return line;
}

static void set_drawn(ct_progress_line *line, bool drawn) {
    if (line->drawn != drawn) atomic_fetch_add(&lines_on_terminal, drawn ? 1 : -1);
    line->drawn = drawn;
}

/* Leaves what is drawn and goes to a new line. */
static void leave_line(ct_progress_line *line) {
    if (!line->drawn) return;
    fputc('\n', line->stream);
    fflush(line->stream);
    set_drawn(line, false);
}

void ct_progress_line_destroy(ct_progress_line *line) {
    if (!line) return;
    leave_line(line);
    free(line);
}

static int terminal_columns(FILE *stream) {
    struct winsize window;
    if (ioctl(fileno(stream), TIOCGWINSZ, &window) == 0 && window.ws_col > 1) return window.ws_col - 1;
    return 79;
}

static progress_work *work_of(ct_progress_line *line, const char *title) {
    int count = sizeof line->works / sizeof line->works[0];
    progress_work *oldest = &line->works[0];
    for (int i = 0; i < count; i++)
        if (line->works[i].title[0] && strncmp(line->works[i].title, title, sizeof oldest->title - 1) == 0)
            return &line->works[i];
    for (int i = 0; i < count; i++) {
        if (!line->works[i].title[0]) return &line->works[i];
        if (line->works[i].first_time < oldest->first_time) oldest = &line->works[i];
    }
    oldest->title[0] = 0;
    return oldest;
}

/* The work goes on, or begins, on a line of its own. */
static void show_work(ct_progress_line *line, progress_work *work, const char *title, double done, double now) {
    leave_line(line);
    line->shown = work;
    line->last_shown = line->terminal ? now - REDRAW_SECONDS : now;
    work->mark_time = now;
    work->mark_done = done;
    if (work->title[0]) return;
    snprintf(work->title, sizeof work->title, "%s", title);
    work->first_time = now;
    work->first_done = done;
    work->rate = 0;
}

/* Over windows of half a second, each weighing as much as all before it. */
static void update_rate(progress_work *work, double done, double now) {
    double seconds = now - work->mark_time;
    if (seconds < 0.5 || done <= work->mark_done) return;
    double rate = (done - work->mark_done) / seconds;
    work->rate = work->rate > 0 ? 0.5 * work->rate + 0.5 * rate : rate;
    work->mark_time = now;
    work->mark_done = done;
}

void ct_progress_line_sink(void *user, const char *title, double done, double total, const char *unit,
                           const char *note, bool finished) {
    ct_progress_line *line = user;
    double now = ct_seconds();
    progress_work *work = work_of(line, title);
    if (line->shown != work || !work->title[0]) show_work(line, work, title, done, now);
    update_rate(work, done, now);
    double since = now - line->last_shown;
    if (!finished && since < (line->terminal ? REDRAW_SECONDS : line->interval)) return;
    line->last_shown = now;
    double elapsed = now - work->first_time;
    double average = elapsed > 0 ? (done - work->first_done) / elapsed : 0;
    ct_progress_state state = {title, unit, note, done, total, 0, elapsed, finished};
    state.rate = finished || work->rate <= 0 ? average : work->rate;
    char text[512];
    ct_progress_text(&state, line->terminal ? terminal_columns(line->stream) : 0, text, sizeof text);
    if (line->terminal) {
        fprintf(line->stream, "\r%s\033[K", text);
        set_drawn(line, true);
    } else {
        fprintf(line->stream, "%s\n", text);
    }
    if (finished) {
        leave_line(line);
        work->title[0] = 0;
        line->shown = NULL;
    }
    fflush(line->stream);
}
