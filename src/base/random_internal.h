/* random_internal.h - internal: the draws as functions of (seed, stream, index).
 *
 * A block of Philox is four 32-bit words w0..w3. The upper two bits of the block number say what kind of draw
 * it serves, so that kinds which share a stream never share bits; index is below 2^61:
 *   words     block CT_RANDOM_WORDS + index / 4, word index % 4
 *   uniforms  block CT_RANDOM_UNIFORM + index / 2, words 0,1 (even index) or 2,3 (odd):
 *             ((second << 32 | first) >> 11) * 2^-53
 *   normals   block CT_RANDOM_NORMAL + index / 2, Box-Muller: with a and b the uniforms of words 0,1 and 2,3,
 *             sqrt(-2 log(1 - a)) times cos(2 pi b) (even index) or sin(2 pi b) (odd)
 *   integers and permutations: block CT_RANDOM_OTHER + ...
 * A 32-bit uniform of a kernel is its own affair; (word >> 8) * 2^-24 of the words is the usual one. */
#ifndef CARAT_BASE_RANDOM_INTERNAL_H
#define CARAT_BASE_RANDOM_INTERNAL_H

#include "carat/base.h"

#define CT_RANDOM_UNIFORM ((uint64_t)0 << 62)
#define CT_RANDOM_NORMAL ((uint64_t)1 << 62)
#define CT_RANDOM_WORDS ((uint64_t)2 << 62)
#define CT_RANDOM_OTHER ((uint64_t)3 << 62)

/* Philox 4x32-10: `counter` in, `counter` out. The inline form lets kernels vectorise over blocks. */
static inline void ct_philox(uint32_t key0, uint32_t key1, uint32_t counter[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
    counter[0] = c0, counter[1] = c1, counter[2] = c2, counter[3] = c3;
}

uint32_t ct_random_u32_at(uint64_t seed, uint64_t stream, uint64_t index);
double ct_random_uniform_at(uint64_t seed, uint64_t stream, uint64_t index);
double ct_random_normal_at(uint64_t seed, uint64_t stream, uint64_t index);
/* Both normals of pair `pair`: indices 2 pair and 2 pair + 1. */
void ct_random_normal_pair(uint64_t seed, uint64_t stream, uint64_t pair, double out[2]);

#endif
