/* fuzz_file.h - an input as a file that is only in memory. */
#ifndef CARAT_TESTS_FUZZ_FILE_H
#define CARAT_TESTS_FUZZ_FILE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"
#include <sys/mman.h>
#include <unistd.h>

/* The path of a file with these bytes; one at a time. */
static inline const char *fuzz_file(const uint8_t *data, size_t size) {
    static int file = -1;
    static char path[64];
    if (file < 0) file = memfd_create("fuzz", 0);
    FUZZ_CHECK(file >= 0 && ftruncate(file, 0) == 0);
    for (size_t done = 0; done < size;) {
        ssize_t piece = pwrite(file, data + done, size - done, (off_t)done);
        FUZZ_CHECK(piece > 0);
        done += (size_t)piece;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return path;
}
#endif
