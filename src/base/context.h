/* context.h - internal: what a context holds. Rooms above base keep their own state in a slot of `room` and
 * register how it is destroyed; they reach the other fields only where a comment says so. */
#ifndef CARAT_BASE_CONTEXT_H
#define CARAT_BASE_CONTEXT_H

#include "base/memory.h"
#include "carat/base.h"
#include <pthread.h>
#include <stdatomic.h>

typedef enum ct_room {
    CT_ROOM_TENSOR,
    CT_ROOM_AUTOGRAD,
    CT_ROOM_FORMAT,
    CT_ROOM_NN,
    CT_ROOM_MODEL,
    CT_ROOM_METHOD,
    CT_ROOM_TRAIN,
    CT_ROOM_OTHER,
    CT_ROOMS
} ct_room;

struct ct_pool;
struct ct_origin;

/* The error of the lowest index that the tasks of the present loop have reported. */
struct ct_task_error {
    pthread_mutex_t lock;
    bool present;
    int64_t index;
    ct_status status;
    char message[1024];
};

struct ct_context {
    ct_status status;
    char message[1024];
    int flags; /* for the rooms above (recording on or off, ...); saved and put back by a trial */

    /* The tensor room's present scope, and how a trial notes it and closes what was opened since. */
    void *scope;
    void *(*scope_mark)(ct_context *context);
    void (*scope_unwind)(ct_context *context, void *mark);

    /* State of the upper rooms; destroyed in reverse order, before anything of base. */
    void *room[CT_ROOMS];
    void (*room_destroy[CT_ROOMS])(ct_context *context, void *state);

    atomic_int stop;

    /* parallel.c */
    int threads;
    struct ct_pool *pool; /* NULL until the first loop that needs workers */
    struct ct_task_error task_error;
    void **scratch; /* [threads] */
    size_t scratch_bytes;

    /* log.c, progress.c */
    ct_log_sink log_sink;
    void *log_user;
    ct_log_level log_most;
    ct_progress_sink progress_sink;
    void *progress_user;

    /* file.c: fault injection for tests */
    int64_t file_fail_at;
    char file_fail_kind;

    /* value.c */
    uint64_t hash_seed; /* against made-up keys that all collide */
    struct ct_origin *origins;
    struct ct_value_slab *value_slabs; /* those with free cells */

    struct ct_memory memory;
};

/* CPUs that this process may run on. */
int ct_cpu_count(void);
/* Work that can wait: calls task for every index, on workers that have no loop to run, at the latest before
 * ct_parallel_finish returns. It fills the time in which the caller's thread is alone between loops. `user`, at most
 * CT_LATER_BYTES, is copied; `release` gets the copy on the caller's thread when all indices are done. Until then what
 * the tasks read and write must stay (`kept` bytes that would otherwise go; when much is kept, all is finished), and
 * nobody else may touch it. Tasks use their worker's scratch as in a loop and
 * may not report errors. With one thread all is done at once. */
enum { CT_LATER_BYTES = 192 };
void ct_parallel_later(ct_context *context, int64_t count, ct_task task, const void *user, size_t bytes,
                       size_t kept, void (*release)(void *user));
bool ct_parallel_pending(const ct_context *context);
void ct_parallel_finish(ct_context *context);
/* Stops the workers and frees the scratch. */
void ct_parallel_destroy(ct_context *context);

#endif
