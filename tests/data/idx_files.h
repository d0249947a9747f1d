/* idx_files.h - small IDX files for tests: images whose class can be seen, and their classes. */
#ifndef CARAT_TESTS_DATA_IDX_FILES_H
#define CARAT_TESTS_DATA_IDX_FILES_H

#include <carat/data.h>
#include <stdlib.h>
#include <string.h>

/* u8 of these axes. */
static inline void write_idx(ct_context *context, const char *path, int axes, const int64_t *shape,
                             const uint8_t *data) {
    size_t count = 1, at = 4;
    for (int i = 0; i < axes; i++)
        count *= (size_t)shape[i];
    unsigned char *bytes = calloc(1, count + 64);
    bytes[2] = 8;
    bytes[3] = (unsigned char)axes;
    for (int i = 0; i < axes; i++)
        for (int b = 3; b >= 0; b--)
            bytes[at++] = (unsigned char)((uint64_t)shape[i] >> (8 * b));
    if (count) memcpy(bytes + at, data, count);
    ct_file_write(context, path, bytes, at + count);
    free(bytes);
}

/* Images of size x size: class c of `classes` is bright in columns c, c + classes, ... and all have noise. */
static inline void write_images(ct_context *context, const char *images, const char *labels, int64_t count,
                                int64_t size, int classes, uint64_t seed) {
    ct_random random = ct_random_make(seed, 1);
    uint8_t *pixels = calloc(1, (size_t)(count * size * size)), *class = calloc(1, (size_t)count + 1);
    for (int64_t i = 0; i < count; i++) {
        class[i] = (uint8_t)ct_random_integer(&random, 0, classes);
        for (int64_t p = 0; p < size * size; p++)
            pixels[i * size * size + p] =
                (uint8_t)((p % size % classes == class[i] ? 160 : 0) + ct_random_integer(&random, 0, 60));
    }
    write_idx(context, images, 3, (const int64_t[]){count, size, size}, pixels);
    write_idx(context, labels, 1, &count, class);
    free(pixels);
    free(class);
}

#endif
