/* claims_jobs.c - claims in processes of their own: `carat claims NAME --in-process` writes its result, one
 * line of JSON, into a pipe. */
#define _GNU_SOURCE
#include "cli/claims.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_JOBS = 64, WAIT_MILLISECONDS = 200, ARGUMENTS = 16, ARGUMENT = 512 };

extern char **environ;

typedef struct job {
    const ct_claim *claim; /* NULL: this place is free */
    pid_t process;
    int pipe;
    ct_bytes output;
} job;

typedef struct pool {
    const ct_claim_jobs *how;
    ct_context *context;
    job jobs[MOST_JOBS];
    size_t running, finished, total;
    bool stopping;
} pool;

/* --------------------------------------------------------------------------------------------- starting */

typedef struct arguments {
    char text[ARGUMENTS][ARGUMENT];
    char *list[ARGUMENTS + 1];
    int count;
} arguments;

static void add(arguments *a, const char *format, ...) CT_PRINTF(2, 3);
static void add(arguments *a, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(a->text[a->count], ARGUMENT, format, values);
    va_end(values);
    a->list[a->count] = a->text[a->count];
    a->list[++a->count] = NULL;
}

static void make_arguments(const pool *p, const ct_claim *claim, arguments *a) {
    const ct_claim_settings *s = p->how->settings;
    int threads = ct_context_threads(p->context) / p->how->jobs;
    a->count = 0;
    add(a, "carat");
    add(a, "claims");
    add(a, "--in-process");
    add(a, "--threads=%d", threads > 0 ? threads : 1);
    add(a, "--seeds=%lld", (long long)s->seeds);
    add(a, "--first-seed=%lld", (long long)s->first_seed);
    add(a, "--limit=%.17g", s->limit);
    if (s->data) add(a, "--data=%s", s->data);
    if (p->how->jobs > 1 || p->how->cli->quiet || p->how->cli->json) add(a, "--quiet");
    add(a, "--");
    add(a, "%s", claim->name);
}

void ct_claim_jobs_end_with_parent(void) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* A signal of the terminal goes to all processes of a group. Each claim has a group of its own, so that it is asked to stop
 * once, by this process, and can clean up; a second signal would end it at once. */
static ct_status spawn(const pool *p, job *j, int write_end) {
    arguments a;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    make_arguments(p, j->claim, &a);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ct_fail(p->context, CT_ERROR_MEMORY, "out of memory");
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ct_fail(p->context, CT_ERROR_MEMORY, "out of memory");
    }
    posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int code = posix_spawn(&j->process, "/proc/self/exe", &actions, &attributes, a.list, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (code == 0) return CT_OK;
    return ct_fail(p->context, CT_ERROR_IO, "claim %s: its process cannot be started: %s", j->claim->name,
                   strerror(code));
}

static ct_status start(pool *p, const ct_claim *claim) {
    int ends[2];
    job *j = p->jobs;
    while (j->claim)
        j++;
    if (p->how->settings->data && strlen(p->how->settings->data) > ARGUMENT - 16)
        return ct_fail(p->context, CT_ERROR_ARGUMENT, "data: the path is longer than %d bytes",
                       ARGUMENT - 16);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return ct_fail(p->context, CT_ERROR_IO, "claim %s: no pipe: %s", claim->name, strerror(errno));
    *j = (job){.claim = claim, .pipe = ends[0]};
    ct_status status = spawn(p, j, ends[1]);
    close(ends[1]);
    if (status == CT_OK) {
        p->running++;
        return CT_OK;
    }
    close(ends[0]);
    j->claim = NULL;
    return status;
}

/* --------------------------------------------------------------------------------------------- ending */

/* What is known of a process that left no result. */
static ct_value *no_result(pool *p, const ct_claim *claim, int code) {
    char message[160];
    if (WIFSIGNALED(code))
        snprintf(message, sizeof(message), "its process was ended by signal %d (%s)", WTERMSIG(code),
                 strsignal(WTERMSIG(code)));
    else
        snprintf(message, sizeof(message), "its process ended with code %d and no result", WEXITSTATUS(code));
    return ct_claim_failure(p->context, claim, message);
}

static void end(pool *p, job *j) {
    int code = 0;
    while (waitpid(j->process, &code, 0) < 0 && errno == EINTR) {
    }
    close(j->pipe);
    ct_value *result = NULL;
    bool whole = WIFEXITED(code) && WEXITSTATUS(code) == 0 && j->output.length > 0;
    if (whole && !ct_failed(p->context)) {
        ct_try trial;
        ct_try_begin(p->context, &trial);
        result = ct_json_parse(p->context, j->output.data, j->output.length, j->claim->name);
        ct_try_end(p->context, &trial, NULL, 0);
    }
    if (!result && !p->stopping && !ct_failed(p->context)) result = no_result(p, j->claim, code);
    ct_bytes_free(p->context, &j->output);
    j->claim = NULL;
    p->running--;
    p->finished++;
    if (result) p->how->done(p->how->user, result);
}

static void read_output(pool *p, job *j) {
    char buffer[1 << 14];
    ssize_t got = read(j->pipe, buffer, sizeof(buffer));
    if (got > 0)
        ct_bytes_append(p->context, &j->output, buffer, (size_t)got);
    else if (got == 0 || errno != EINTR)
        end(p, j);
}

static void tell_to_stop(pool *p) {
    if (p->stopping) return;
    p->stopping = true;
    for (int i = 0; i < MOST_JOBS; i++)
        if (p->jobs[i].claim) kill(p->jobs[i].process, SIGTERM);
}

static void show_progress(const pool *p) {
    char names[200] = "";
    if (p->how->jobs == 1) return; /* the claim itself shows how far it is */
    for (int i = 0; i < MOST_JOBS; i++) {
        size_t length = strlen(names);
        if (p->jobs[i].claim)
            snprintf(names + length, sizeof(names) - length, "%s%s", length ? ", " : "",
                     p->jobs[i].claim->name);
    }
    ct_progress(p->context, "claims", (double)p->finished, (double)p->total, "claims", names);
}

/* Waits a moment for output or the end of any process. */
static void wait_some(pool *p) {
    struct pollfd polled[MOST_JOBS];
    job *jobs[MOST_JOBS];
    nfds_t count = 0;
    for (int i = 0; i < MOST_JOBS; i++) {
        if (!p->jobs[i].claim) continue;
        jobs[count] = &p->jobs[i];
        polled[count++] = (struct pollfd){.fd = p->jobs[i].pipe, .events = POLLIN};
    }
    if (poll(polled, count, WAIT_MILLISECONDS) > 0)
        for (nfds_t i = 0; i < count; i++)
            if (polled[i].revents) read_output(p, jobs[i]);
    if (ct_stop_requested(p->context) || ct_failed(p->context)) tell_to_stop(p);
    show_progress(p);
}

ct_status ct_claim_jobs_run(const ct_claim_jobs *how, const ct_claim *const *claims, size_t count) {
    ct_context *context = how->cli->context;
    pool *p = ct_alloc_zero(context, sizeof(*p), CT_MEMORY_OTHER);
    if (!p) return CT_ERROR_MEMORY;
    *p = (pool){.how = how, .context = context, .total = count};
    size_t next = 0, most = how->jobs < MOST_JOBS ? (size_t)how->jobs : MOST_JOBS;
    while (p->running > 0 || (next < count && !p->stopping)) {
        while (p->running < most && next < count && !p->stopping && !ct_stop_requested(context))
            if (start(p, claims[next++]) != CT_OK) tell_to_stop(p);
        if (p->running == 0 && ct_stop_requested(context)) p->stopping = true;
        if (p->running > 0) wait_some(p);
    }
    if (how->jobs > 1) ct_progress_finish(context, "claims", (double)p->finished, "claims", NULL);
    bool stopped = p->stopping;
    ct_free(context, p);
    if (ct_failed(context)) return ct_context_status(context);
    return stopped ? CT_ERROR_INTERRUPTED : CT_OK;
}
