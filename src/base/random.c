/* random.c - counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011), and what is drawn from it. The map from index to words is in
 * random_internal.h. */
#include "base/random_internal.h"
#include "base/fmath.h"
#include <math.h>

ct_random ct_random_make(uint64_t seed, uint64_t stream) {
    return (ct_random){seed, stream, 0};
}

uint64_t ct_random_stream(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = (hash ^ *c) * 0x100000001b3u;
    return hash;
}

void ct_random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
    out[0] = (uint32_t)block;
    out[1] = (uint32_t)(block >> 32);
    out[2] = (uint32_t)stream;
    out[3] = (uint32_t)(stream >> 32);
    ct_philox((uint32_t)seed, (uint32_t)(seed >> 32), out);
}

static double unit(uint32_t first, uint32_t second) {
    return (double)(((uint64_t)second << 32 | first) >> 11) * 0x1p-53;
}

uint32_t ct_random_u32_at(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t words[4];
    ct_random_block(seed, stream, CT_RANDOM_WORDS + index / 4, words);
    return words[index % 4];
}

double ct_random_uniform_at(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t words[4];
    ct_random_block(seed, stream, CT_RANDOM_UNIFORM + index / 2, words);
    return index % 2 ? unit(words[2], words[3]) : unit(words[0], words[1]);
}

void ct_random_normal_pair(uint64_t seed, uint64_t stream, uint64_t pair, double out[2]) {
    uint32_t words[4];
    ct_random_block(seed, stream, CT_RANDOM_NORMAL + pair, words);
    double radius = sqrt(-2 * ct_fmath_log(1 - unit(words[0], words[1]))), sine, cosine;
    ct_fmath_sincos_turn(unit(words[2], words[3]), &sine, &cosine);
    out[0] = radius * cosine;
    out[1] = radius * sine;
}

double ct_random_normal_at(uint64_t seed, uint64_t stream, uint64_t index) {
    double pair[2];
    ct_random_normal_pair(seed, stream, index / 2, pair);
    return pair[index % 2];
}

uint32_t ct_random_u32(ct_random *random) {
    return ct_random_u32_at(random->seed, random->stream, random->offset++);
}

double ct_random_uniform(ct_random *random) {
    return ct_random_uniform_at(random->seed, random->stream, random->offset++);
}

double ct_random_normal(ct_random *random) {
    return ct_random_normal_at(random->seed, random->stream, random->offset++);
}

int64_t ct_random_integer(ct_random *random, int64_t low, int64_t high) {
    uint32_t words[4];
    ct_random_block(random->seed, random->stream, CT_RANDOM_OTHER + random->offset++, words);
    if (high <= low) return low;
    uint64_t range = (uint64_t)high - (uint64_t)low, draw = (uint64_t)words[1] << 32 | words[0];
    uint64_t part = (uint64_t)((unsigned __int128)draw * range >> 64);
    return (int64_t)((uint64_t)low + part);
}

/* A Feistel network on [0, 2^bits), halves of bits/2 and bits - bits/2; values that fall outside [0, count)
 * are sent through again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): since the
 * network is a permutation, so is what remains. bits is the least that suffices, so less than two turns are
 * needed on average. */
int64_t ct_random_permuted(uint64_t seed, uint64_t stream, int64_t count, int64_t index) {
    enum { ROUNDS = 8 };
    if (index < 0 || index >= count) return -1;
    if (count == 1) return 0;
    int bits = 64 - __builtin_clzll((uint64_t)count - 1);
    if (bits < 2) bits = 2;
    int width[2] = {bits / 2, bits - bits / 2}; /* of the part that changes, by round parity */
    uint64_t value = (uint64_t)index;
    do {
        for (uint64_t round = 0; round < ROUNDS; round++) {
            /* value = [upper | lower]; the upper part is masked by a function of the lower, then they swap.
             */
            int upper_bits = width[round % 2], lower_bits = bits - upper_bits;
            uint64_t upper = value >> lower_bits, lower = value & (((uint64_t)1 << lower_bits) - 1);
            uint32_t words[4];
            ct_random_block(seed, stream, CT_RANDOM_OTHER + ((uint64_t)1 << 61) + (round << 40) + lower,
                            words);
            upper = (upper ^ words[0]) & (((uint64_t)1 << upper_bits) - 1);
            value = lower << upper_bits | upper;
        }
    } while (value >= (uint64_t)count);
    return (int64_t)value;
}
