/* base.h - what every room of Carat stands on: context and errors, memory accounting, parallel-for, random
 * numbers, options, values (the tree that JSON and YAML become), files, log and progress.
 *
 * Conventions of the whole library:
 *  - Every object belongs to one ct_context. A context is used by one thread at a time; the library's own
 *    workers are inside ct_parallel_for.
 *  - Calls that act return ct_status. Calls that build values return the value; on failure they record the
 *    error in the context and return NULL (tensors: an inert tensor), and later calls on a failed context do
 *    nothing, so code is checked once at the end. The first error is kept ("sticky").
 *  - No call aborts, exits, or prints except through the log sink and the progress sink of the context.
 *  - "bytes" are bytes, strings are UTF-8 and NUL-terminated unless a length is given. */
#ifndef CARAT_BASE_H
#define CARAT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CT_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define CT_PRINTF(format_index, first_argument)
#endif

#define CT_VERSION_MAJOR 0
#define CT_VERSION_MINOR 1
#define CT_VERSION_PATCH 0
#define CT_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------------- errors ----- */

typedef enum ct_status {
    CT_OK = 0,
    CT_ERROR_ARGUMENT,    /* a value that the caller gave is not acceptable */
    CT_ERROR_SHAPE,       /* shapes, ranks or axes do not fit */
    CT_ERROR_TYPE,        /* element types do not fit */
    CT_ERROR_MEMORY,      /* the system or the budget has no more */
    CT_ERROR_IO,          /* the operating system refused or cut short a read or write */
    CT_ERROR_FORMAT,      /* a file is not what it says it is */
    CT_ERROR_NOT_FOUND,   /* a file, tensor, method or option of that name does not exist */
    CT_ERROR_UNSUPPORTED, /* understood, but not available in this build or combination */
    CT_ERROR_STATE,       /* called in the wrong order; a stale saved value; a freed graph */
    CT_ERROR_NUMERIC,     /* NaN or infinity where none may be, a singular matrix */
    CT_ERROR_INTERRUPTED, /* Ctrl-C or a stop request */
} ct_status;

typedef struct ct_context ct_context;

/* A context with `threads` workers (0: the CPUs this process may use). NULL only if memory is exhausted. */
ct_context *ct_context_create(int threads);
/* Frees everything the context still owns. Tensors and files of it are invalid afterwards. NULL is allowed. */
void ct_context_destroy(ct_context *context);
int ct_context_threads(const ct_context *context);
/* Changes the number of workers; results do not depend on it. */
ct_status ct_context_set_threads(ct_context *context, int threads);

/* Records an error if the context holds none yet; always returns `status`. The message says what, where,
 * which value and which was expected: "weights.safetensors: tensor \"h.0\" is I8, expected F32". */
ct_status ct_fail(ct_context *context, ct_status status, const char *format, ...) CT_PRINTF(3, 4);
ct_status ct_fail_v(ct_context *context, ct_status status, const char *format, va_list arguments);
bool ct_failed(const ct_context *context);
ct_status ct_context_status(const ct_context *context);
/* The first error's text, "" if there is none. Valid until the context's next error or clear. */
const char *ct_context_message(const ct_context *context);
void ct_context_clear(ct_context *context);
const char *ct_status_name(ct_status status);

/* A trial isolates what may fail: ct_try_begin saves and clears the error state and notes the open scopes;
 * ct_try_end closes scopes opened since, puts the earlier state back, and returns how the trial went, its
 * message copied to `message` (may be NULL). Trials nest. */
typedef struct ct_try {
    ct_status saved_status;
    char saved_message[512];
    void *scope;
    int saved_flags;
} ct_try;
void ct_try_begin(ct_context *context, ct_try *trial);
ct_status ct_try_end(ct_context *context, ct_try *trial, char *message, size_t message_size);

/* Asks running work to stop at the next safe point (async-signal-safe). Long calls poll ct_stop_requested and
 * return CT_ERROR_INTERRUPTED or finish early as documented. */
void ct_request_stop(ct_context *context);
bool ct_stop_requested(const ct_context *context);
void ct_clear_stop(ct_context *context);

/* ------------------------------------------------------------------------------------------- memory ----- */

typedef enum ct_memory_class {
    CT_MEMORY_WEIGHTS,
    CT_MEMORY_GRADIENTS,
    CT_MEMORY_STATES,
    CT_MEMORY_ACTIVATIONS,
    CT_MEMORY_WORKSPACE, /* packing buffers, worker scratch, file buffers */
    CT_MEMORY_OTHER,     /* handles, graph nodes, host-side tables */
    CT_MEMORY_CLASSES
} ct_memory_class;
const char *ct_memory_class_name(ct_memory_class which);

/* Zero-initialised only where said. All blocks are 64-byte aligned and come from a cache of size classes, so a
 * hot loop that allocates the same sizes does not reach the system. On exhaustion (system or budget) the error
 * is recorded and NULL returned. `size` 0 gives a valid unique pointer. */
void *ct_alloc(ct_context *context, size_t size, ct_memory_class which);
void *ct_alloc_zero(ct_context *context, size_t size, ct_memory_class which);
/* `pointer` from ct_alloc of the same context, or NULL. */
void ct_free(ct_context *context, void *pointer);
void *ct_realloc(ct_context *context, void *pointer, size_t size, ct_memory_class which);
char *ct_strdup(ct_context *context, const char *text);
/* Formats into a new string (free with ct_free). */
char *ct_format(ct_context *context, const char *format, ...) CT_PRINTF(2, 3);
/* Moves a block's bytes to another class in the accounts (a parameter's storage becomes a weight). */
void ct_memory_reclass(ct_context *context, void *pointer, ct_memory_class which);

typedef struct ct_memory_counts {
    size_t current[CT_MEMORY_CLASSES]; /* bytes in use, by class, as rounded up to the size class */
    size_t peak[CT_MEMORY_CLASSES];    /* of each class by itself */
    size_t current_total, peak_total;  /* peak_total: of the sum */
    size_t at_peak[CT_MEMORY_CLASSES]; /* the classes at the moment of peak_total */
    size_t cached;                     /* free blocks kept for reuse, not in current */
    uint64_t system_allocations;       /* how often the system was asked */
} ct_memory_counts;
void ct_memory_read(const ct_context *context, ct_memory_counts *counts);
void ct_memory_reset_peak(ct_context *context);
/* Upper limit for current_total + cached; 0 means none. Over it, the cache is trimmed, then allocation fails. */
void ct_memory_set_budget(ct_context *context, size_t bytes);
size_t ct_memory_budget(const ct_context *context);
/* The cache gives back what would lift current_total + cached over `bytes`; unlike the budget this never makes an
 * allocation fail. 0: the allocator's own measure (a quarter more than the most ever used). */
void ct_memory_set_cache_limit(ct_context *context, size_t bytes);
/* Gives cached blocks back to the system. */
void ct_memory_trim(ct_context *context);
/* What a block of `size` bytes is counted as (its size class). The meta device uses the same function. */
size_t ct_memory_rounded(size_t size);
/* Counts bytes without allocating (the meta device). */
void ct_memory_count(ct_context *context, size_t rounded, ct_memory_class which);
void ct_memory_uncount(ct_context *context, size_t rounded, ct_memory_class which);
/* Tests: the n-th allocation from now fails (n >= 1; 0 switches off). Counts every ct_alloc and ct_realloc. */
void ct_memory_fail_at(ct_context *context, int64_t n);

/* ------------------------------------------------------------------------------------- parallel-for ----- */

/* Calls task(user, index, worker) for every index in [0, count), on the context's workers and the calling
 * thread, in any order and possibly at once; returns when all are done. `worker` is in [0, threads). How work
 * is cut into indices must depend on shapes only, never on the number of threads: then results do not either.
 * Nested calls run serially on the calling worker. Tasks must not call into the context, except
 * ct_parallel_error. */
typedef void (*ct_task)(void *user, int64_t index, int worker);
void ct_parallel_for(ct_context *context, int64_t count, ct_task task, void *user);
/* From a task: reports an error; after the loop the context holds that of the lowest index. */
void ct_parallel_error(ct_context *context, int64_t index, ct_status status, const char *format, ...)
    CT_PRINTF(4, 5);
/* Per-worker scratch of at least `bytes` (grows, reused, 64-byte aligned, uninitialised; counted as workspace).
 * ct_scratch_reserve makes it for all workers before a loop and fails cleanly; ct_scratch only returns it. */
ct_status ct_scratch_reserve(ct_context *context, size_t bytes);
void *ct_scratch(ct_context *context, int worker);

/* ----------------------------------------------------------------------------------- random numbers ----- */

/* Counter based: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Every
 * draw is a function of (seed, stream, index) and of nothing else. Element i of a fill uses index `offset + i`,
 * so that any part of a stream can be made again by itself, on any thread, in any order. */
typedef struct ct_random {
    uint64_t seed;
    uint64_t stream; /* one per purpose: ct_random_stream("dropout") etc. */
    uint64_t offset; /* next unused index; fills advance it */
} ct_random;
ct_random ct_random_make(uint64_t seed, uint64_t stream);
/* A stream number from a name (FNV-1a of the text). */
uint64_t ct_random_stream(const char *name);
/* The four 32-bit words of counter block `block`. */
void ct_random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);
uint32_t ct_random_u32(ct_random *random);
double ct_random_uniform(ct_random *random);                        /* [0, 1), 53 bits */
double ct_random_normal(ct_random *random);                         /* mean 0, variance 1 */
int64_t ct_random_integer(ct_random *random, int64_t low, int64_t high); /* [low, high), unbiased enough: 64-bit
                                                                       multiply-shift */
/* Element `index` of the pseudo-random permutation of [0, count) that (seed, stream) names, without a table
 * (cycle-walking Feistel network over Philox): a shuffle that can be resumed anywhere. */
int64_t ct_random_permuted(uint64_t seed, uint64_t stream, int64_t count, int64_t index);

/* ------------------------------------------------------------------------------------------- values ----- */

/* A tree of values: what JSON, YAML, recipes and options are read into and written from. Maps keep the order of
 * insertion. Strings may hold NUL bytes (length is kept). Each value knows where it came from, for messages. */
typedef enum ct_value_kind {
    CT_VALUE_NULL,
    CT_VALUE_BOOL,
    CT_VALUE_INT,
    CT_VALUE_REAL,
    CT_VALUE_STRING,
    CT_VALUE_LIST,
    CT_VALUE_MAP
} ct_value_kind;
typedef struct ct_value ct_value;

ct_value *ct_value_null(ct_context *context);
ct_value *ct_value_bool(ct_context *context, bool value);
ct_value *ct_value_int(ct_context *context, int64_t value);
ct_value *ct_value_real(ct_context *context, double value);
ct_value *ct_value_string(ct_context *context, const char *text);
ct_value *ct_value_string_n(ct_context *context, const char *text, size_t length);
ct_value *ct_value_list(ct_context *context);
ct_value *ct_value_map(ct_context *context);
void ct_value_free(ct_value *value); /* the whole tree; NULL is allowed */
ct_value *ct_value_copy(const ct_value *value);
bool ct_value_equal(const ct_value *a, const ct_value *b);
/* Takes ownership of `item` (also on failure, when it is freed). A NULL item reports the failure already held. */
ct_status ct_value_append(ct_value *list, ct_value *item);
ct_status ct_value_set(ct_value *map, const char *key, ct_value *item); /* replaces */
bool ct_value_remove(ct_value *map, const char *key);
/* Sets a dotted path ("optimizer.beta1", "stages.0.width"), making maps on the way. */
ct_status ct_value_set_path(ct_value *map, const char *path, ct_value *item);

ct_value_kind ct_value_kind_of(const ct_value *value); /* NULL counts as CT_VALUE_NULL */
const char *ct_value_kind_name(ct_value_kind kind);
size_t ct_value_count(const ct_value *value); /* items of a list or map, else 0 */
ct_value *ct_value_at(const ct_value *value, size_t index);          /* list item or map value; NULL beyond */
const char *ct_value_key(const ct_value *map, size_t index);
ct_value *ct_value_get(const ct_value *map, const char *key);        /* NULL if absent or not a map */
ct_value *ct_value_get_path(const ct_value *map, const char *path);
/* Reading with a default where the value is absent (NULL) or of another kind; int converts to real. */
bool ct_value_as_bool(const ct_value *value, bool otherwise);
int64_t ct_value_as_int(const ct_value *value, int64_t otherwise);
double ct_value_as_real(const ct_value *value, double otherwise);
const char *ct_value_as_string(const ct_value *value, const char *otherwise);
size_t ct_value_string_length(const ct_value *value);
/* "recipe.yaml:12", or "" if unknown. Shared by reference: `name` is copied once per call. */
void ct_value_set_origin(ct_value *value, const char *name, int line);
const char *ct_value_origin(const ct_value *value, char *buffer, size_t size);
/* One scalar from command-line text: true/false, integers, reals, null, else a string; [a,b] a list of scalars. */
ct_value *ct_value_parse_scalar(ct_context *context, const char *text);

/* ------------------------------------------------------------------------------------------ options ----- */

/* The only description of a parameter. From a table come command-line flags, YAML keys, range checks, help,
 * `carat show` and the manual pages. Values are stored into a plain struct by offset. */
typedef enum ct_option_type {
    CT_TYPE_END,
    CT_TYPE_BOOL,   /* bool */
    CT_TYPE_INT,    /* int64_t */
    CT_TYPE_REAL,   /* double */
    CT_TYPE_STRING, /* const char * owned by the options struct's holder (ct_options_release) ; may be NULL */
    CT_TYPE_CHOICE, /* int: index into choices */
    CT_TYPE_BYTES,  /* int64_t: "600M", "2G", "1.5GiB" (powers of 1024), or plain bytes */
    CT_TYPE_VALUE,  /* const ct_value *: a list or map kept as it is (borrowed from the tree) */
    CT_TYPE_GROUP   /* nested struct with its own table */
} ct_option_type;

typedef struct ct_option {
    ct_option_type type;
    const char *name; /* the field's standard name */
    size_t offset;
    double real_default, minimum, maximum; /* also for INT and BYTES, exact up to 2^53 */
    const char *text_default;              /* STRING and CHOICE */
    const char *const *choices;            /* CHOICE: NULL-terminated */
    const struct ct_option *children;      /* GROUP */
    const char *help;
    const char *alias; /* a second accepted name, or NULL */
} ct_option;

#define CT_OPTION_BOOL(name_, struct_, field_, default_, help_)                                                   \
    {CT_TYPE_BOOL, name_, offsetof(struct_, field_), (default_) ? 1.0 : 0.0, 0, 1, NULL, NULL, NULL, help_, NULL}
#define CT_OPTION_INT(name_, struct_, field_, default_, min_, max_, help_)                                       \
    {CT_TYPE_INT, name_, offsetof(struct_, field_), (double)(default_), (double)(min_), (double)(max_), NULL, NULL, NULL, help_, NULL}
#define CT_OPTION_REAL(name_, struct_, field_, default_, min_, max_, help_)                                      \
    {CT_TYPE_REAL, name_, offsetof(struct_, field_), default_, min_, max_, NULL, NULL, NULL, help_, NULL}
#define CT_OPTION_STRING(name_, struct_, field_, default_, help_)                                                \
    {CT_TYPE_STRING, name_, offsetof(struct_, field_), 0, 0, 0, default_, NULL, NULL, help_, NULL}
#define CT_OPTION_CHOICE(name_, struct_, field_, default_, choices_, help_)                                      \
    {CT_TYPE_CHOICE, name_, offsetof(struct_, field_), 0, 0, 0, default_, choices_, NULL, help_, NULL}
#define CT_OPTION_BYTES(name_, struct_, field_, default_, min_, max_, help_)                                     \
    {CT_TYPE_BYTES, name_, offsetof(struct_, field_), (double)(default_), (double)(min_), (double)(max_), NULL, NULL, NULL, help_, NULL}
#define CT_OPTION_VALUE(name_, struct_, field_, help_)                                                           \
    {CT_TYPE_VALUE, name_, offsetof(struct_, field_), 0, 0, 0, NULL, NULL, NULL, help_, NULL}
#define CT_OPTION_GROUP(name_, struct_, field_, children_, help_)                                                \
    {CT_TYPE_GROUP, name_, offsetof(struct_, field_), 0, 0, 0, NULL, NULL, children_, help_, NULL}
#define CT_OPTION_END {CT_TYPE_END, NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL}

/* Fills `target` with the defaults of the table (groups too). STRING defaults are the table's own text. */
void ct_options_default(const ct_option *table, void *target);
/* Applies a map over the defaults already in `target`; null gives a STRING its default. Unknown keys, wrong types and
 * values out of range are errors that name the key's full path, its origin, what was found, what is expected, and for
 * unknown keys the nearest known one. `path` is the prefix for messages ("" at the top, "optimizer" below). Keys listed
 * in `skip` (NULL-terminated, may be NULL) are passed over. Strings are borrowed from the tree, which must live as long
 * as `target`. */
ct_status ct_options_apply(ct_context *context, const ct_option *table, void *target, const ct_value *map,
                           const char *path, const char *const *skip);
/* The reverse: a new map with every option's present value, for reports and checkpoints. */
ct_value *ct_options_to_value(ct_context *context, const ct_option *table, const void *target);
const ct_option *ct_options_find(const ct_option *table, const char *dotted_path);
/* Appends help text (one line an option: name, type, default, range, help) to a new string. */
char *ct_options_help(ct_context *context, const ct_option *table, const char *prefix);
/* The candidate nearest to `name` by edit distance, or NULL if none is near enough to suggest. */
const char *ct_nearest_name(const char *name, const char *const *candidates, size_t count);
/* "1.5G" to bytes; false if it is not a size. */
bool ct_parse_bytes(const char *text, int64_t *bytes);
/* "1.50 GiB" into buffer. */
const char *ct_format_bytes(uint64_t bytes, char *buffer, size_t size);

/* --------------------------------------------------------------------------------------------- files ----- */

/* Whole small files (configurations). Fails over `limit` bytes. The result has a NUL after its last byte. */
char *ct_file_read(ct_context *context, const char *path, size_t limit, size_t *length);

/* Random access through pread. Every call that meets fewer bytes than asked is an error that names the file and
 * the offset (a file that shrinks while it is read is noticed here). */
typedef struct ct_file ct_file;
ct_file *ct_file_open(ct_context *context, const char *path);
void ct_file_close(ct_file *file);
uint64_t ct_file_size(const ct_file *file); /* when opened */
const char *ct_file_path(const ct_file *file);
ct_status ct_file_pread(ct_file *file, void *buffer, size_t size, uint64_t offset);
/* The same for tasks of ct_parallel_for, on any thread: records nothing in the context. 0, an errno number, or -1 if the
 * file ends before. */
int ct_file_pread_task(ct_file *file, void *buffer, size_t size, uint64_t offset);
/* Maps the whole file read-only for as long as it is open; NULL with an error if it cannot be. */
const void *ct_file_map(ct_file *file);
/* Line reader with a bounded buffer: returns the next line without its newline (NUL added), NULL at the end or
 * on error (ct_failed tells). A line longer than `limit` is an error. *length may be NULL. */
typedef struct ct_lines ct_lines;
ct_lines *ct_lines_open(ct_context *context, const char *path, size_t limit);
char *ct_lines_next(ct_lines *lines, size_t *length);
int64_t ct_lines_number(const ct_lines *lines); /* of the last line returned, from 1 */
void ct_lines_close(ct_lines *lines);

/* Atomic replacement: bytes go to a temporary name in the same folder; ct_writer_commit flushes, fsyncs, renames
 * over `path` and fsyncs the folder; ct_writer_abandon (or a failed commit) removes the temporary file and leaves
 * what existed untouched. Both free the writer. Errors are sticky in the writer and reported by commit. */
typedef struct ct_writer ct_writer;
ct_writer *ct_writer_open(ct_context *context, const char *path);
ct_status ct_writer_write(ct_writer *writer, const void *data, size_t size);
ct_status ct_writer_pwrite(ct_writer *writer, const void *data, size_t size, uint64_t offset);
/* ct_writer_pwrite for tasks of ct_parallel_for, on any thread and at once for ranges that do not overlap; nothing may
 * be buffered (ct_writer_flush before). Records nothing: 0 or an errno number. */
int ct_writer_pwrite_task(ct_writer *writer, const void *data, size_t size, uint64_t offset);
ct_status ct_writer_flush(ct_writer *writer);
const char *ct_writer_path(const ct_writer *writer);
ct_status ct_writer_printf(ct_writer *writer, const char *format, ...) CT_PRINTF(2, 3);
ct_status ct_writer_commit(ct_writer *writer);
void ct_writer_abandon(ct_writer *writer);
ct_status ct_file_write(ct_context *context, const char *path, const void *data, size_t size); /* all at once */

bool ct_file_exists(const char *path);
bool ct_folder_exists(const char *path);
ct_status ct_folder_make(ct_context *context, const char *path); /* like mkdir -p */
/* Names in a folder (no "." and ".."), sorted by bytes, as a list of strings. */
ct_value *ct_folder_list(ct_context *context, const char *path);
ct_status ct_file_remove(ct_context *context, const char *path);   /* absent is CT_OK */
ct_status ct_folder_remove(ct_context *context, const char *path); /* with its contents; absent is CT_OK */
/* Renames `from` (file or folder, finished and fsynced) to `to`, replacing a folder atomically where the system
 * can (renameat2 exchange), else by a rename aside. */
ct_status ct_path_replace(ct_context *context, const char *from, const char *to);
char *ct_path_join(ct_context *context, const char *folder, const char *name);
/* Tests: the n-th read or write call on files from now is short (kind 's'), fails with EIO ('e') or finds the
 * disk full ('f'). 0 switches off. */
void ct_file_fail_at(ct_context *context, int64_t n, char kind);

/* ---------------------------------------------------------------------------------- log and progress ----- */

typedef enum ct_log_level { CT_LOG_ERROR, CT_LOG_WARNING, CT_LOG_INFO, CT_LOG_DEBUG } ct_log_level;
typedef void (*ct_log_sink)(void *user, ct_log_level level, const char *message);
/* Without a sink nothing is shown. ct_log_to_stderr is a ready sink (user ignored). */
void ct_context_set_log(ct_context *context, ct_log_sink sink, void *user, ct_log_level most);
void ct_log_message(ct_context *context, ct_log_level level, const char *format, ...) CT_PRINTF(3, 4);
void ct_log_to_stderr(void *user, ct_log_level level, const char *message);

/* Long work reports through the context; the command shows a live line on a terminal, plain lines elsewhere.
 * `done` of `total` units (total 0: unknown); `note` is short text such as "loss 2.31". */
typedef void (*ct_progress_sink)(void *user, const char *title, double done, double total, const char *unit,
                                 const char *note, bool finished);
void ct_context_set_progress(ct_context *context, ct_progress_sink sink, void *user);
void ct_progress(ct_context *context, const char *title, double done, double total, const char *unit,
                 const char *note);
void ct_progress_finish(ct_context *context, const char *title, double done, const char *unit, const char *note);
/* A ready sink: rate, ETA and note, redrawn on a terminal at most ten times a second, else a line every
 * `interval` seconds. `user` is a ct_progress_line made by ct_progress_line_create. */
typedef struct ct_progress_line ct_progress_line;
ct_progress_line *ct_progress_line_create(FILE *stream, double interval);
void ct_progress_line_destroy(ct_progress_line *line);
void ct_progress_line_sink(void *user, const char *title, double done, double total, const char *unit,
                           const char *note, bool finished);

double ct_seconds(void); /* monotonic clock */
size_t ct_peak_resident(void);      /* VmHWM, bytes; 0 if unknown */
size_t ct_anonymous_resident(void); /* RssAnon now, bytes; 0 if unknown */

#ifdef __cplusplus
}
#endif
#endif
