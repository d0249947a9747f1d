/* stale.c - temporary files that a killed process left beside a path. A writer's temporary name holds its
 * process number, and the writer keeps a lock on the file: one whose process is gone and whose lock is free
 * belongs to nobody. The lock is what tells in folders that several machines share, where numbers say
 * nothing. */
#define _GNU_SOURCE
#include "base/file_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int ct_temporary_prefix(const char *name, char *prefix, size_t size) {
    return snprintf(prefix, size, ".%.200s.tmp-", name);
}

/* "123-4" behind the prefix: the process, or 0. */
static long process_of(const char *text) {
    char *end;
    if (*text < '1' || *text > '9') return 0;
    errno = 0;
    long process = strtol(text, &end, 10);
    if (errno || *end != '-') return 0;
    const char *digits = end + 1;
    size_t count = strspn(digits, "0123456789");
    return count > 0 && !digits[count] ? process : 0;
}

static void remove_if_dead(int folder, const char *name, long process) {
    struct stat info;
    if (process == (long)getpid() || kill((pid_t)process, 0) == 0 || errno != ESRCH) return;
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return;
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && flock(file, LOCK_EX | LOCK_NB) == 0)
        unlinkat(folder, name, 0);
    close(file);
}

/* What cannot be looked at or removed stays: it is no reason not to write. */
void ct_remove_stale(const char *path) {
    char prefix[256], folder[4096];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = slash ? (size_t)(slash - path) + 1 : 1;
    if (length >= sizeof(folder)) return;
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    size_t start = (size_t)ct_temporary_prefix(name, prefix, sizeof(prefix));
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strncmp(entry->d_name, prefix, start) != 0) continue;
        long process = process_of(entry->d_name + start);
        if (process > 0) remove_if_dead(dirfd(directory), entry->d_name, process);
    }
    if (directory) closedir(directory);
}
