/* hash.h - 64-bit hashes that runs are compared by: FNV-1a (Fowler, Noll, Vo) over little-endian words of
 * eight bytes, the last one filled up with zeros, with a final mix (that of SplitMix64). Not against
 * tampering. */
#ifndef CARAT_SRC_TRAIN_HASH_H
#define CARAT_SRC_TRAIN_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CT_HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t ct_hash_word(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 29; /* a product carries differences upwards only */
}

static inline uint64_t ct_hash_bytes(uint64_t hash, const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint64_t word;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        hash = ct_hash_word(hash, word);
    }
    if (size) {
        word = 0;
        memcpy(&word, bytes, size);
        hash = ct_hash_word(hash, word);
    }
    return hash;
}

static inline uint64_t ct_hash_finish(uint64_t hash) {
    hash = (hash ^ hash >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
    return hash ^ hash >> 31;
}

#endif
