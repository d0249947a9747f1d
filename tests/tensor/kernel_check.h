/* kernel_check.h - what the tests of kernels share: cmocka, the kernels under test, operands, closeness. */
#ifndef CARAT_TESTS_TENSOR_KERNEL_CHECK_H
#define CARAT_TESTS_TENSOR_KERNEL_CHECK_H

#include "draws.h"
#include "tensor/cpu/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const ct_kernels *k;

/* n draws of deviation about 1.4; test_free() them. */
static inline float *floats(int64_t n) {
    float *x = test_malloc((size_t)(n + 1) * sizeof(float));
    for (int64_t i = 0; i < n; ++i)
        x[i] = (float)(2 * normal());
    return x;
}
static inline double *doubles(int64_t n) {
    double *x = test_malloc((size_t)(n + 1) * sizeof(double));
    for (int64_t i = 0; i < n; ++i)
        x[i] = 2 * normal();
    return x;
}
#define NEAR(got, want, tolerance)                                                                           \
    do {                                                                                                     \
        double got_ = (got), want_ = (want);                                                                 \
        if (!(fabs(got_ - want_) <= (tolerance) * (1 + fabs(want_))))                                        \
            fail_msg("line %d: got %.17g, expected %.17g", __LINE__, got_, want_);                           \
    } while (0)

#endif
