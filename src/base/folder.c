/* folder.c - paths and folders: making, listing, removing, replacing. */
#define _GNU_SOURCE
#include "base/context.h"
#include "base/file_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST_FOLDER = 200 };

bool ct_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool ct_folder_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* An absolute `name` stands for itself. */
char *ct_path_join(ct_context *context, const char *folder, const char *name) {
    size_t length = strlen(folder);
    if (!length || name[0] == '/') return ct_strdup(context, name);
    return ct_format(context, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}

char *ct_path_parent(ct_context *context, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    while (length && path[length - 1] != '/')
        length--;
    if (!length) return ct_strdup(context, ".");
    while (length > 1 && path[length - 1] == '/')
        length--;
    return ct_format(context, "%.*s", (int)length, path);
}

ct_status ct_folder_sync(ct_context *context, const char *path) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return CT_OK; /* a folder that may be written but not read: nothing to sync it by */
    int result = fsync(folder), number = errno;
    close(folder);
    if (result == 0 || number == EINVAL || number == ENOTSUP) return CT_OK;
    return ct_fail_errno(context, path, "cannot make the folder's entries durable", number);
}

ct_status ct_folder_make(ct_context *context, const char *path) {
    if (!*path) return ct_fail(context, CT_ERROR_ARGUMENT, "\"\": expected the path of a folder");
    char *prefix = ct_strdup(context, path);
    if (!prefix) return CT_ERROR_MEMORY;
    ct_status status = CT_OK;
    for (char *c = prefix + 1;; c++) {
        if (*c && *c != '/') continue;
        char ending = *c;
        *c = 0;
        int number = mkdir(prefix, 0777) == 0 ? 0 : errno;
        if (number && !ct_folder_exists(prefix)) {
            if (number == EEXIST) number = ENOTDIR; /* a file is in its place */
            status = ct_fail_errno(context, prefix, "cannot make the folder", number);
        }
        *c = ending;
        if (status || !ending) break;
    }
    ct_free(context, prefix);
    return status;
}

/* ------------------------------------------------------------------------------------------ listing ----- */

static int by_bytes(const void *a, const void *b) {
    return strcmp(ct_value_as_string(*(ct_value *const *)a, ""),
                  ct_value_as_string(*(ct_value *const *)b, ""));
}

static ct_status read_names(ct_context *context, const char *path, DIR *folder, ct_value ***names,
                            size_t *count) {
    size_t capacity = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) return errno ? ct_fail_errno(context, path, "cannot read the folder", errno) : CT_OK;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 32;
            ct_value **more = ct_realloc(context, *names, capacity * sizeof *more, CT_MEMORY_OTHER);
            if (!more) return CT_ERROR_MEMORY;
            *names = more;
        }
        ct_value *name = ct_value_string(context, entry->d_name);
        if (!name) return CT_ERROR_MEMORY;
        (*names)[(*count)++] = name;
    }
}

ct_value *ct_folder_list(ct_context *context, const char *path) {
    if (ct_failed(context)) return NULL;
    DIR *folder = opendir(path);
    if (!folder) {
        ct_fail_errno(context, path, "cannot open the folder", errno);
        return NULL;
    }
    ct_value **names = NULL;
    size_t count = 0, taken = 0;
    ct_status status = read_names(context, path, folder, &names, &count);
    closedir(folder);
    ct_value *list = status ? NULL : ct_value_list(context);
    if (list && count) qsort(names, count, sizeof *names, by_bytes);
    while (list && taken < count) {
        if (ct_value_append(list, names[taken++])) { /* which has freed the name */
            ct_value_free(list);
            list = NULL;
        }
    }
    while (taken < count)
        ct_value_free(names[taken++]);
    ct_free(context, names);
    return list;
}

/* ----------------------------------------------------------------------------------------- removing ----- */

ct_status ct_file_remove(ct_context *context, const char *path) {
    if (unlink(path) == 0 || errno == ENOENT) return CT_OK;
    return ct_fail_errno(context, path, "cannot remove", errno);
}

/* Removes `name` of the open folder `parent`; links are removed, not followed. 0 or an error number. */
static int remove_tree(int parent, const char *name, int depth) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return errno;
    if (depth > DEEPEST_FOLDER) return ELOOP;
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) return errno;
    DIR *folder = fdopendir(descriptor);
    if (!folder) {
        close(descriptor);
        return ENOMEM;
    }
    int number = 0;
    for (struct dirent *entry; !number && (errno = 0, entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            number = remove_tree(descriptor, entry->d_name, depth + 1);
    if (!number) number = errno;
    closedir(folder);
    if (!number && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) number = errno;
    return number;
}

ct_status ct_folder_remove(ct_context *context, const char *path) {
    int number = remove_tree(AT_FDCWD, path, 0);
    return number ? ct_fail_errno(context, path, "cannot remove the folder", number) : CT_OK;
}

/* ---------------------------------------------------------------------------------------- replacing ----- */

/* Without the exchange call: the old folder goes aside, and comes back if the new one cannot take its place.
 */
int ct_replace_aside(ct_context *context, const char *from, const char *to) {
    size_t length = strlen(to);
    while (length > 1 && to[length - 1] == '/')
        length--;
    char *aside = ct_format(context, "%.*s.old-%ld", (int)length, to, (long)getpid());
    if (!aside) return ENOMEM;
    int number = 0;
    if (rename(to, aside) != 0) {
        number = errno;
    } else if (rename(from, to) != 0) {
        number = errno;
        rename(aside, to);
    } else {
        remove_tree(AT_FDCWD, aside, 0); /* the replacement is done; what stays of the old one does no harm */
    }
    ct_free(context, aside);
    return number;
}

static int replace_folder(ct_context *context, const char *from, const char *to) {
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) {
        remove_tree(AT_FDCWD, from, 0);
        return 0;
    }
    if (errno != ENOSYS && errno != EINVAL && errno != ENOTSUP) return errno;
#endif
    return ct_replace_aside(context, from, to);
}

ct_status ct_path_replace(ct_context *context, const char *from, const char *to) {
    if (ct_failed(context)) return ct_context_status(context);
    struct stat source, target;
    if (lstat(from, &source) != 0) return ct_fail_errno(context, from, "cannot rename", errno);
    bool exists = lstat(to, &target) == 0;
    if (exists && source.st_dev == target.st_dev && source.st_ino == target.st_ino) return CT_OK;
    if (exists && S_ISDIR(source.st_mode) != S_ISDIR(target.st_mode))
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: is %s, cannot be replaced by %s %s", to,
                       S_ISDIR(target.st_mode) ? "a folder" : "a file",
                       S_ISDIR(source.st_mode) ? "the folder" : "the file", from);
    int number = 0;
    if (exists && S_ISDIR(source.st_mode))
        number = replace_folder(context, from, to);
    else if (rename(from, to) != 0)
        number = errno;
    if (number) return ct_fail_errno(context, to, "cannot replace", number);
    char *folder = ct_path_parent(context, to);
    ct_status status = folder ? ct_folder_sync(context, folder) : CT_ERROR_MEMORY;
    ct_free(context, folder);
    return status;
}
