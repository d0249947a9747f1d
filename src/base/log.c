/* log.c - messages through the context's sink; the clock and the process's memory. */
#define _GNU_SOURCE
#include "base/context.h"
#include "base/progress_internal.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void ct_context_set_log(ct_context *context, ct_log_sink sink, void *user, ct_log_level most) {
    context->log_sink = sink;
    context->log_user = user;
    context->log_most = most;
}

void ct_log_message(ct_context *context, ct_log_level level, const char *format, ...) {
    char small[1024], *message = small;
    if (!context->log_sink || level > context->log_most) return;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(small, sizeof small, format, arguments);
    if (length >= (int)sizeof small) {
        char *large =
            malloc((size_t)length + 1); /* not from the context: logging must not change its accounts */
        if (large) {
            vsnprintf(large, (size_t)length + 1, format, again);
            message = large;
        }
    }
    va_end(arguments);
    va_end(again);
    if (length >= 0) context->log_sink(context->log_user, level, message);
    if (message != small) free(message);
}

void ct_log_to_stderr(void *user, ct_log_level level, const char *message) {
    (void)user;
    static const char *const prefixes[] = {"error: ", "warning: ", "", "debug: "};
    const char *prefix = (unsigned)level <= CT_LOG_DEBUG ? prefixes[level] : "";
    const char *clear = ct_progress_on_terminal() && isatty(STDERR_FILENO) ? "\r\033[K" : "";
    fprintf(stderr, "%s%s%s\n", clear, prefix, message);
}

double ct_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A line "Name:   123 kB" of /proc/self/status, in bytes. */
static size_t process_memory(const char *name) {
    FILE *file = fopen("/proc/self/status", "re");
    if (!file) return 0;
    char line[256];
    size_t bytes = 0, length = strlen(name);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            bytes = (size_t)strtoull(line + length + 1, NULL, 10) * 1024;
            break;
        }
    }
    fclose(file);
    return bytes;
}

size_t ct_peak_resident(void) {
    return process_memory("VmHWM");
}
size_t ct_anonymous_resident(void) {
    return process_memory("RssAnon");
}
