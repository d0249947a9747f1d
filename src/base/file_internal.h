/* file_internal.h - internal: the calls through which every read and write of a file goes, with fault
 * injection. */
#ifndef CARAT_BASE_FILE_INTERNAL_H
#define CARAT_BASE_FILE_INTERNAL_H

#include "carat/base.h"
#include <sys/types.h>

/* One system call, begun again when a signal interrupts it. `offset` -1: at the file's own position. Fewer
 * bytes than asked may come back; -1 with errno on failure. */
ssize_t ct_io_read(ct_context *context, int file, void *buffer, size_t size, off_t offset);
ssize_t ct_io_write(ct_context *context, int file, const void *buffer, size_t size, off_t offset);
int ct_io_sync(ct_context *context, int file);

/* "path: cannot read: Input/output error". The status follows from the number. */
ct_status ct_fail_errno(ct_context *context, const char *path, const char *what, int number);

/* A new string: the folder that holds `path`. */
char *ct_path_parent(ct_context *context, const char *path);
/* The begin of the temporary names that belong to a file called `name`: ".NAME.tmp-", then process, "-", number. */
int ct_temporary_prefix(const char *name, char *prefix, size_t size);
/* Removes temporary files of `path` whose process was killed before it could. */
void ct_remove_stale(const char *path);
/* Makes the names in a folder durable. */
ct_status ct_folder_sync(ct_context *context, const char *path);
/* How ct_path_replace does without the exchange call: the folder `to` goes aside, and comes back if `from`
 * cannot take its place. 0 or an error number. */
int ct_replace_aside(ct_context *context, const char *from, const char *to);

#endif
