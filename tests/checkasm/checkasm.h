/* checkasm.h - what the checks of checkasm share: inputs of one case, and a recorder of what a kernel wrote.
 */
#ifndef CARAT_TESTS_CHECKASM_H
#define CARAT_TESTS_CHECKASM_H

#include "tensor/cpu/kernels.h"

/* The inputs of one case: `n` elements to work on; the arrays hold `capacity` elements, the same for every
 * variant. */
typedef struct inputs {
    int64_t n, capacity;
    float *f32[4]; /* 0, 1: any values; 2: positive; 3: within [-1, 1] */
    double *f64[4];
    uint8_t *bytes; /* 0 and 1 and some others */
    uint16_t *halves;
    int64_t *indices; /* in [0, 16) */
    void *scratch;    /* 8 MiB */
} inputs;

/* What a kernel wrote, in its order. Without a buffer (when timing) nothing is kept. */
typedef struct recorder {
    char *data;
    size_t used, capacity;
    struct {
        char type; /* 'f', 'd', 'b' bytes */
        size_t count;
    } parts[64];
    int count;
} recorder;
void record_f32(recorder *out, const float *x, int64_t n);
void record_f64(recorder *out, const double *x, int64_t n);
void record_bytes(recorder *out, const void *x, int64_t n);

/* One check runs one kernel, in all its ways that `way` in [0, ways) numbers. `bytes`: memory traffic of an
 * element, for the timing. */
typedef struct check {
    const char *name;
    int ways;
    void (*run)(const ct_kernels *kernels, const inputs *in, int way, recorder *out);
    const char *const *way_names;
    int traffic;
} check;

extern const check checks_f32[], checks_f64[], checks_other[]; /* ended by a check without a name */

#endif
