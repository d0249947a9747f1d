/* ending.h - inside the library: how a name or path ends. */
#ifndef CARAT_SRC_BASE_ENDING_H
#define CARAT_SRC_BASE_ENDING_H

#include <stdbool.h>
#include <string.h>

/* `end` may be all of `text`. */
static inline bool ct_ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && memcmp(text + length - size, end, size) == 0;
}

#endif
