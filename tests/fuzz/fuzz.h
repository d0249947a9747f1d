/* fuzz.h - what a fuzz target gives: libFuzzer's function, and for the plain driver (fuzz_main.c) seeds and
 * words. */
#ifndef CARAT_TESTS_FUZZ_H
#define CARAT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fuzz_seed {
    const char *data;
    size_t size;
} fuzz_seed;
#define FUZZ_SEED(text)                                                                                      \
    { text, sizeof(text) - 1 }

extern const fuzz_seed fuzz_seeds[];   /* ends with {NULL, 0} */
extern const char *const fuzz_words[]; /* pieces of the format to put in; ends with NULL */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)
#endif
