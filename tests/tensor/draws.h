/* draws.h - the tests' own random numbers, independent of the library's. */
#ifndef CARAT_TESTS_TENSOR_DRAWS_H
#define CARAT_TESTS_TENSOR_DRAWS_H

#include <stdint.h>

/* In [0, 1) (xorshift; Marsaglia 2003). */
static inline double uniform(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}
/* Nearly normal: the sum of six less its mean. */
static inline double normal(void) {
    return uniform() + uniform() + uniform() + uniform() + uniform() + uniform() - 3;
}

#endif
