/* file.c - reading: whole files, random access, lines. Every byte comes through ct_io_read. */
#define _GNU_SOURCE
#include "base/context.h"
#include "base/file_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_A_CALL ((size_t)1 << 30)

void ct_file_fail_at(ct_context *context, int64_t n, char kind) {
    context->file_fail_at = n > 0 ? n : 0;
    context->file_fail_kind = kind;
}

/* Whether this call is the one to fail: errno is set, or *size made short. */
static bool injected_fault(ct_context *context, size_t *size) {
    if (!context->file_fail_at || --context->file_fail_at) return false;
    if (context->file_fail_kind == 's') {
        *size = (*size + 1) / 2;
        return false;
    }
    errno = context->file_fail_kind == 'f' ? ENOSPC : EIO;
    return true;
}

ssize_t ct_io_read(ct_context *context, int file, void *buffer, size_t size, off_t offset) {
    ssize_t got;
    if (size > MOST_A_CALL) size = MOST_A_CALL;
    if (injected_fault(context, &size)) return -1;
    do
        got = offset < 0 ? read(file, buffer, size) : pread(file, buffer, size, offset);
    while (got < 0 && errno == EINTR);
    return got;
}

ssize_t ct_io_write(ct_context *context, int file, const void *buffer, size_t size, off_t offset) {
    ssize_t done;
    if (size > MOST_A_CALL) size = MOST_A_CALL;
    if (injected_fault(context, &size)) return -1;
    do
        done = offset < 0 ? write(file, buffer, size) : pwrite(file, buffer, size, offset);
    while (done < 0 && errno == EINTR);
    return done;
}

int ct_io_sync(ct_context *context, int file) {
    size_t unused = 0;
    if (injected_fault(context, &unused)) return -1;
    return fsync(file);
}

ct_status ct_fail_errno(ct_context *context, const char *path, const char *what, int number) {
    char buffer[128];
    ct_status status = number == ENOENT || number == ENOTDIR ? CT_ERROR_NOT_FOUND
                       : number == ENOMEM                    ? CT_ERROR_MEMORY
                                                             : CT_ERROR_IO;
    return ct_fail(context, status, "%s: %s: %s", path, what, strerror_r(number, buffer, sizeof buffer));
}

/* Opens for reading and refuses folders, which would only fail later and less clearly. */
static int open_to_read(ct_context *context, const char *path, struct stat *info) {
    int file;
    do
        file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    while (file < 0 && errno == EINTR);
    if (file < 0 || fstat(file, info) != 0) {
        ct_fail_errno(context, path, "cannot open", errno);
        if (file >= 0) close(file);
        return -1;
    }
    if (S_ISDIR(info->st_mode)) {
        ct_fail(context, CT_ERROR_ARGUMENT, "%s: is a folder, expected a file", path);
        close(file);
        return -1;
    }
    return file;
}

/* -------------------------------------------------------------------------------------- whole files ----- */

static ct_status too_long(ct_context *context, const char *path, size_t limit) {
    char text[32];
    return ct_fail(context, CT_ERROR_FORMAT, "%s: is larger than %s (%zu bytes), the most expected here",
                   path, ct_format_bytes(limit, text, sizeof text), limit);
}

/* Reads to the end; the size is only a hint, so that pipes work too. */
static char *read_all(ct_context *context, int file, const char *path, size_t hint, size_t limit,
                      size_t *length) {
    size_t capacity = hint + 2, used = 0; /* one byte more than expected, so that the end is seen at once */
    char *data = ct_alloc(context, capacity, CT_MEMORY_WORKSPACE);
    while (data) {
        ssize_t got = ct_io_read(context, file, data + used, capacity - 1 - used, -1);
        if (got < 0)
            ct_fail_errno(context, path, "cannot read", errno);
        else if (got > 0 && (used += (size_t)got) > limit)
            too_long(context, path, limit);
        if (got < 0 || used > limit) {
            ct_free(context, data);
            return NULL;
        }
        if (got == 0) break;
        if (used < capacity - 1) continue;
        capacity *= 2;
        char *larger = ct_realloc(context, data, capacity, CT_MEMORY_WORKSPACE);
        if (!larger) ct_free(context, data);
        data = larger;
    }
    if (data) {
        data[used] = 0;
        *length = used;
    }
    return data;
}

char *ct_file_read(ct_context *context, const char *path, size_t limit, size_t *length) {
    if (ct_failed(context)) return NULL;
    struct stat info;
    size_t read = 0;
    int file = open_to_read(context, path, &info);
    if (file < 0) return NULL;
    size_t hint = S_ISREG(info.st_mode) ? (size_t)info.st_size : 4096;
    char *data = NULL;
    if (S_ISREG(info.st_mode) && hint > limit)
        too_long(context, path, limit);
    else
        data = read_all(context, file, path, hint, limit, &read);
    close(file);
    if (data && length) *length = read;
    return data;
}

/* ------------------------------------------------------------------------------------ random access ----- */

struct ct_file {
    ct_context *context;
    int descriptor;
    uint64_t size;
    void *map;
    char path[];
};

ct_file *ct_file_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    struct stat info;
    int descriptor = open_to_read(context, path, &info);
    if (descriptor < 0) return NULL;
    size_t length = strlen(path);
    ct_file *file = NULL;
    if (!S_ISREG(info.st_mode))
        ct_fail(context, CT_ERROR_ARGUMENT, "%s: is not a regular file, which random access needs", path);
    else
        file = ct_alloc_zero(context, sizeof *file + length + 1, CT_MEMORY_OTHER);
    if (!file) {
        close(descriptor);
        return NULL;
    }
    file->context = context;
    file->descriptor = descriptor;
    file->size = (uint64_t)info.st_size;
    memcpy(file->path, path, length + 1);
    return file;
}

void ct_file_close(ct_file *file) {
    if (!file) return;
    if (file->map && file->size) munmap(file->map, file->size);
    close(file->descriptor);
    ct_free(file->context, file);
}

uint64_t ct_file_size(const ct_file *file) {
    return file->size;
}
const char *ct_file_path(const ct_file *file) {
    return file->path;
}

static ct_status cut_short(ct_file *file, size_t size, uint64_t offset, size_t got) {
    return ct_fail(file->context, CT_ERROR_IO,
                   "%s: expected %zu bytes at offset %llu, found %zu (the file had %llu bytes when opened)",
                   file->path, size, (unsigned long long)offset, got, (unsigned long long)file->size);
}

ct_status ct_file_pread(ct_file *file, void *buffer, size_t size, uint64_t offset) {
    if (ct_failed(file->context)) return ct_context_status(file->context);
    if (offset > file->size || size > file->size - offset)
        return cut_short(file, size, offset, offset < file->size ? (size_t)(file->size - offset) : 0);
    for (size_t done = 0; done < size;) {
        ssize_t got = ct_io_read(file->context, file->descriptor, (char *)buffer + done, size - done,
                                 (off_t)(offset + done));
        if (got < 0) {
            char what[64];
            snprintf(what, sizeof what, "cannot read at offset %llu", (unsigned long long)(offset + done));
            return ct_fail_errno(file->context, file->path, what, errno);
        }
        if (got == 0) return cut_short(file, size, offset, done);
        done += (size_t)got;
    }
    return CT_OK;
}

int ct_file_pread_task(ct_file *file, void *buffer, size_t size, uint64_t offset) {
    if (offset > file->size || size > file->size - offset) return -1;
    for (size_t done = 0; done < size;) {
        ssize_t got = ct_io_read(file->context, file->descriptor, (char *)buffer + done, size - done,
                                 (off_t)(offset + done));
        if (got < 0) return errno;
        if (got == 0) return -1;
        done += (size_t)got;
    }
    return 0;
}

const void *ct_file_map(ct_file *file) {
    static const char nothing[64];
    if (ct_failed(file->context)) return NULL;
    if (!file->map && file->size == 0) file->map = (void *)nothing; /* the system maps no empty files */
    if (!file->map) {
        void *map = mmap(NULL, file->size, PROT_READ, MAP_SHARED, file->descriptor, 0);
        if (map == MAP_FAILED) {
            ct_fail_errno(file->context, file->path, "cannot map", errno);
            return NULL;
        }
        file->map = map;
    }
    return file->map;
}

/* -------------------------------------------------------------------------------------------- lines ----- */

struct ct_lines {
    ct_context *context;
    int descriptor;
    bool ended;
    size_t limit;
    char *buffer;
    size_t capacity, start, end; /* unread bytes are buffer[start, end) */
    int64_t number;
    char path[];
};

ct_lines *ct_lines_open(ct_context *context, const char *path, size_t limit) {
    if (ct_failed(context)) return NULL;
    struct stat info;
    int descriptor = open_to_read(context, path, &info);
    if (descriptor < 0) return NULL;
    if (limit > SIZE_MAX / 4) limit = SIZE_MAX / 4;
    size_t length = strlen(path);
    ct_lines *lines = ct_alloc_zero(context, sizeof *lines + length + 1, CT_MEMORY_OTHER);
    size_t capacity = limit < ((size_t)1 << 16) ? limit + 3 : (size_t)1 << 16;
    char *buffer = lines ? ct_alloc(context, capacity, CT_MEMORY_WORKSPACE) : NULL;
    if (!buffer) {
        ct_free(context, lines);
        close(descriptor);
        return NULL;
    }
    lines->context = context;
    lines->descriptor = descriptor;
    lines->limit = limit;
    lines->buffer = buffer;
    lines->capacity = capacity;
    memcpy(lines->path, path, length + 1);
    return lines;
}

void ct_lines_close(ct_lines *lines) {
    if (!lines) return;
    close(lines->descriptor);
    ct_free(lines->context, lines->buffer);
    ct_free(lines->context, lines);
}

int64_t ct_lines_number(const ct_lines *lines) {
    return lines->number;
}

/* Brings in more bytes behind those that are unread. False on failure. */
static bool more_bytes(ct_lines *lines) {
    if (lines->start) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    if (lines->end + 1 >= lines->capacity) { /* a byte stays free for the NUL of an unended last line */
        size_t capacity = lines->capacity * 2;
        if (capacity > lines->limit + 3) capacity = lines->limit + 3; /* the line, CR LF, NUL */
        char *buffer = ct_realloc(lines->context, lines->buffer, capacity, CT_MEMORY_WORKSPACE);
        if (!buffer) return false;
        lines->buffer = buffer;
        lines->capacity = capacity;
    }
    ssize_t got = ct_io_read(lines->context, lines->descriptor, lines->buffer + lines->end,
                             lines->capacity - 1 - lines->end, -1);
    if (got < 0) {
        ct_fail_errno(lines->context, lines->path, "cannot read", errno);
        return false;
    }
    if (got == 0) lines->ended = true;
    lines->end += (size_t)got;
    return true;
}

char *ct_lines_next(ct_lines *lines, size_t *length) {
    if (ct_failed(lines->context)) return NULL;
    size_t searched = 0;
    for (;;) {
        char *line = lines->buffer + lines->start;
        size_t present = lines->end - lines->start;
        char *newline = present > searched ? memchr(line + searched, '\n', present - searched) : NULL;
        size_t size = newline ? (size_t)(newline - line) : present;
        if (newline || (lines->ended && present)) {
            lines->start += size + (newline != NULL);
            if (newline && size && line[size - 1] == '\r') size--;
        }
        if (size > lines->limit + (newline == NULL && !lines->ended)) { /* an undecided CR may still go */
            ct_fail(lines->context, CT_ERROR_FORMAT, "%s:%lld: a line of more than %zu bytes", lines->path,
                    (long long)lines->number + 1, lines->limit);
            return NULL;
        }
        if (newline || (lines->ended && present)) {
            line[size] = 0;
            lines->number++;
            if (length) *length = size;
            return line;
        }
        if (lines->ended) return NULL;
        searched = present;
        if (!more_bytes(lines)) return NULL;
    }
}
