/* writer.c - writing a file so that its path holds either what it held before or all of the new bytes: they
 * go to a temporary name in the same folder, are made durable, and then take the path over. */
#define _GNU_SOURCE
#include "base/context.h"
#include "base/file_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)1 << 20)

struct ct_writer {
    ct_context *context;
    int descriptor;
    char *path, *temporary; /* temporary NULL: a device or pipe, written to directly */
    char *buffer;
    size_t buffered;
    uint64_t flushed; /* bytes of the sequential part already in the file */
    ct_status status;
    char message[512];
};

/* The first error stays with the writer, and reaches the context at once. */
static ct_status hold_error(ct_writer *writer, const char *what, int number) {
    char buffer[128];
    if (writer->status) return writer->status;
    snprintf(writer->message, sizeof writer->message, "%s: %s: %s", writer->path, what,
             strerror_r(number, buffer, sizeof buffer));
    writer->status = CT_ERROR_IO;
    return ct_fail(writer->context, writer->status, "%s", writer->message);
}

/* Names of running writers differ by the counter, those of other processes by the process number. */
static char *temporary_name(ct_context *context, const char *path) {
    static atomic_uint counter;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char prefix[256];
    ct_temporary_prefix(name, prefix, sizeof(prefix));
    return ct_format(context, "%.*s%s%ld-%u", (int)(name - path), path, prefix, (long)getpid(),
                     atomic_fetch_add(&counter, 1));
}

/* Names for what is already open: nothing may be put in their place, even when a regular file is behind them.
 */
static bool names_descriptor(const char *path) {
    return strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/fd/", 8) == 0 ||
           strcmp(path, "/dev/stdout") == 0 || strcmp(path, "/dev/stderr") == 0;
}

/* Opens writer->descriptor: the path itself where it is a device or pipe, else a new file beside it. */
static bool open_output(ct_writer *writer) {
    struct stat info;
    ct_context *context = writer->context;
    if (!*writer->path || writer->path[strlen(writer->path) - 1] == '/') {
        ct_fail(context, CT_ERROR_ARGUMENT, "\"%s\": expected the path of a file", writer->path);
        return false;
    }
    bool named = names_descriptor(writer->path);
    if (stat(writer->path, &info) == 0 && (named || !S_ISREG(info.st_mode))) {
        if (!S_ISCHR(info.st_mode) && !S_ISFIFO(info.st_mode) && !S_ISREG(info.st_mode)) {
            ct_fail(context, CT_ERROR_ARGUMENT, "%s: is %s, expected a file", writer->path,
                    S_ISDIR(info.st_mode) ? "a folder" : "a special file");
            return false;
        }
        writer->descriptor = open(writer->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    } else {
        ct_remove_stale(writer->path);
        for (int attempt = 0; attempt < 100;
             attempt++) { /* left over by a killed process of the same number */
            ct_free(context, writer->temporary);
            writer->temporary = temporary_name(context, writer->path);
            if (!writer->temporary) return false;
            writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (writer->descriptor >= 0 || errno != EEXIST) break;
        }
        if (writer->descriptor >= 0) flock(writer->descriptor, LOCK_EX | LOCK_NB); /* for ct_remove_stale */
    }
    if (writer->descriptor < 0) ct_fail_errno(context, writer->path, "cannot create", errno);
    return writer->descriptor >= 0;
}

static void free_writer(ct_writer *writer) {
    ct_context *context = writer->context;
    if (writer->descriptor >= 0) close(writer->descriptor);
    ct_free(context, writer->path);
    ct_free(context, writer->temporary);
    ct_free(context, writer->buffer);
    ct_free(context, writer);
}

ct_writer *ct_writer_open(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    ct_writer *writer = ct_alloc_zero(context, sizeof *writer, CT_MEMORY_OTHER);
    if (!writer) return NULL;
    writer->context = context;
    writer->descriptor = -1;
    writer->path = ct_strdup(context, path);
    writer->buffer = writer->path ? ct_alloc(context, BUFFER_SIZE, CT_MEMORY_WORKSPACE) : NULL;
    if (writer->buffer && open_output(writer)) return writer;
    free_writer(writer);
    return NULL;
}

static ct_status write_all(ct_writer *writer, const char *data, size_t size, off_t offset) {
    for (size_t done = 0; done < size;) {
        ssize_t wrote = ct_io_write(writer->context, writer->descriptor, data + done, size - done,
                                    offset < 0 ? -1 : offset + (off_t)done);
        if (wrote <= 0) return hold_error(writer, "cannot write", wrote < 0 ? errno : EIO);
        done += (size_t)wrote;
    }
    return CT_OK;
}

/* Devices and pipes have no offsets. */
static ct_status write_sequential(ct_writer *writer, const void *data, size_t size) {
    ct_status status = write_all(writer, data, size, writer->temporary ? (off_t)writer->flushed : -1);
    if (!status) writer->flushed += size;
    return status;
}

static ct_status flush(ct_writer *writer) {
    size_t size = writer->buffered;
    writer->buffered = 0;
    return size ? write_sequential(writer, writer->buffer, size) : writer->status;
}

ct_status ct_writer_write(ct_writer *writer, const void *data, size_t size) {
    if (writer->status) return writer->status;
    if (size > BUFFER_SIZE - writer->buffered && flush(writer)) return writer->status;
    if (size >= BUFFER_SIZE) return write_sequential(writer, data, size);
    if (size) memcpy(writer->buffer + writer->buffered, data, size);
    writer->buffered += size;
    return CT_OK;
}

ct_status ct_writer_pwrite(ct_writer *writer, const void *data, size_t size, uint64_t offset) {
    if (writer->status) return writer->status;
    if (!writer->temporary) return hold_error(writer, "cannot write at an offset", ESPIPE);
    if (offset > INT64_MAX || size > INT64_MAX - offset) return hold_error(writer, "cannot write", EFBIG);
    if (flush(writer)) return writer->status; /* in the order of the calls, should they overlap */
    return write_all(writer, data, size, (off_t)offset);
}

int ct_writer_pwrite_task(ct_writer *writer, const void *data, size_t size, uint64_t offset) {
    if (!writer->temporary) return ESPIPE;
    if (offset > INT64_MAX || size > INT64_MAX - offset) return EFBIG;
    for (size_t done = 0; done < size;) {
        ssize_t wrote = ct_io_write(writer->context, writer->descriptor, (const char *)data + done, size - done,
                                    (off_t)(offset + done));
        if (wrote <= 0) return wrote < 0 ? errno : EIO;
        done += (size_t)wrote;
    }
#ifdef SYNC_FILE_RANGE_WRITE
    /* The disk begins now, not at commit's fsync; an error will show there. */
    if (size >= 65536) sync_file_range(writer->descriptor, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
#endif
    return 0;
}

ct_status ct_writer_flush(ct_writer *writer) {
    return writer->status ? writer->status : flush(writer);
}

const char *ct_writer_path(const ct_writer *writer) {
    return writer->path;
}

ct_status ct_writer_printf(ct_writer *writer, const char *format, ...) {
    char small[512];
    va_list arguments, again;
    if (writer->status) return writer->status;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    ct_status status = CT_OK;
    if (length < 0) {
        status = hold_error(writer, "cannot format", errno);
    } else if ((size_t)length < sizeof small) {
        status = ct_writer_write(writer, small, (size_t)length);
    } else {
        char *large = ct_alloc(writer->context, (size_t)length + 1, CT_MEMORY_WORKSPACE);
        if (large) {
            vsnprintf(large, (size_t)length + 1, format, again);
            status = ct_writer_write(writer, large, (size_t)length);
            ct_free(writer->context, large);
        } else {
            status = hold_error(writer, "cannot format", ENOMEM);
        }
    }
    va_end(again);
    return status;
}

void ct_writer_abandon(ct_writer *writer) {
    if (!writer) return;
    if (writer->temporary && writer->descriptor >= 0) unlink(writer->temporary);
    free_writer(writer);
}

/* fsync, close, rename; the folder is left to the caller. */
static ct_status take_over(ct_writer *writer) {
    if (flush(writer)) return writer->status;
    if (writer->temporary && ct_io_sync(writer->context, writer->descriptor) != 0)
        return hold_error(writer, "cannot write", errno);
    int descriptor = writer->descriptor;
    if (writer->temporary && rename(writer->temporary, writer->path) != 0)
        return hold_error(writer, "cannot replace", errno);
    writer->descriptor = -1;
    if (close(descriptor) != 0 && errno != EINTR) return hold_error(writer, "cannot write", errno);
    return CT_OK;
}

ct_status ct_writer_commit(ct_writer *writer) {
    if (!writer) return CT_ERROR_MEMORY; /* opening failed and has recorded why */
    ct_context *context = writer->context;
    /* Whatever failed since may have fed this file: it must not replace a good one. */
    ct_status status = ct_failed(context) ? ct_context_status(context) : take_over(writer);
    if (writer->status) status = ct_fail(context, writer->status, "%s", writer->message);
    if (!status && writer->temporary) {
        char *folder = ct_path_parent(context, writer->path);
        status = folder ? ct_folder_sync(context, folder) : CT_ERROR_MEMORY;
        ct_free(context, folder);
    }
    ct_writer_abandon(writer); /* after success nothing is left to remove */
    return status;
}

ct_status ct_file_write(ct_context *context, const char *path, const void *data, size_t size) {
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    ct_writer_write(writer, data, size);
    return ct_writer_commit(writer);
}
