/* stored.c - how states are stored: f32, bf16, or 8 bits in blocks.
 *
 * 8 bits: a block of 256 elements is divided by its greatest magnitude and each quotient rounded to the
 * nearest of 256 values, the dynamic map of Dettmers et al., "8-bit Optimizers via Block-wise Quantization"
 * (arXiv:2110.02861, section 1.3): 7 decades, of which the highest, (0.1, 1), has 64 values (128 without a
 * sign), the next half as many, and so on, and 0 and 1. Each value is the middle of one of the equal parts of
 * its decade. One departure: a positive element of a state that is never negative is not rounded to 0, since
 * a second moment of 0 under a first moment that is not would make a step of m / epsilon. */
#include "optimizer/internal.h"
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- the map */

enum {
    CODES = 256,
    LOWEST = -32,
    BUCKETS = 128
}; /* buckets: powers of two from 2^LOWEST to 1, in 128 parts */

typedef struct dynamic_map {
    float value[CODES];                        /* ascending */
    float middle[CODES];                       /* between code i and i + 1; infinity after the last */
    uint8_t zero;                              /* the code of 0 */
    uint8_t lowest[2][(1 - LOWEST) * BUCKETS]; /* lowest code of a bucket; of positive, of negative values */
} dynamic_map;

static dynamic_map maps[2]; /* signed, not negative */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int lower_code(const dynamic_map *map, float x) {
    int code = 0;
    while (x > map->middle[code])
        code++;
    return code;
}

static float bucket_start(int bucket) {
    return ldexpf(1.0f + (float)(bucket % BUCKETS) / BUCKETS, LOWEST + bucket / BUCKETS);
}

static void make_map(dynamic_map *map, bool has_sign) {
    int count = 0;
    for (int decade = 0; decade < 7; decade++) {
        int parts = 1 << (decade + !has_sign);
        for (int i = 0; i < parts; i++) {
            double value = (0.1 + 0.9 * (i + 0.5) / parts) * pow(10, decade - 6);
            map->value[count++] = (float)value;
            if (has_sign) map->value[count++] = (float)-value;
        }
    }
    map->value[count++] = 0;
    map->value[count++] = 1;
    qsort(map->value, CODES, sizeof(float), by_value);
    for (int i = 0; i < CODES; i++)
        map->middle[i] = i + 1 < CODES ? (map->value[i] + map->value[i + 1]) / 2 : INFINITY;
    while (map->value[map->zero] < 0)
        map->zero++;
    for (int b = 0; b < (1 - LOWEST) * BUCKETS; b++) {
        float start = bucket_start(b);
        map->lowest[0][b] = (uint8_t)lower_code(map, start);
        map->lowest[1][b] = (uint8_t)lower_code(map, -bucket_start(b + 1));
    }
}

static void make_maps(void) {
    make_map(&maps[0], true);
    make_map(&maps[1], false);
}

static const dynamic_map *map_of(const ct_state_decl *decl) {
    pthread_once(&made, make_maps);
    return &maps[decl->values == CT_STATE_NONNEGATIVE];
}

/* The nearest code of x in [-1, 1]. No bucket has more than one middle in it, so one comparison is left.
 * Values below the lowest bucket are like those in it: 0. Without branches, as signs cannot be predicted. */
static inline uint8_t code_of(const dynamic_map *map, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int bucket = (int)((bits & 0x7fffffff) >> 16) - ((127 + LOWEST) << 7);
    int code = map->lowest[bits >> 31][bucket > 0 ? bucket : 0];
    return (uint8_t)(code + (x > map->middle[code]));
}

CT_ELEMENT_LOOPS static void read_block(const dynamic_map *map, const uint8_t *codes, float greatest,
                                        int64_t count, float *values) {
    for (int64_t i = 0; i < count; i++)
        values[i] = map->value[codes[i]] * greatest;
}

/* The greatest magnitude, by the bits: NaN is the greatest of all. */
CT_ELEMENT_LOOPS static float greatest_of(const float *values, int64_t count) {
    typedef uint32_t __attribute__((may_alias)) word;
    const word *bits = (const void *)values;
    uint32_t most = 0;
    float greatest;
    for (int64_t i = 0; i < count; i++) {
        uint32_t magnitude = bits[i] & 0x7fffffff;
        most = magnitude > most ? magnitude : most;
    }
    memcpy(&greatest, &most, sizeof(greatest));
    return greatest;
}

/* A block with a value that is not finite becomes NaN as a whole: nothing is hidden. */
static float write_block(const dynamic_map *map, const float *values, int64_t count, uint8_t *codes) {
    float greatest = greatest_of(values, count), inverse = 1 / greatest;
    if (!(greatest > 0x1p-100f) || !isfinite(greatest)) {
        memset(codes, map->zero, (size_t)count);
        return isfinite(greatest) ? 0 : NAN;
    }
    bool keeps_positive = map->zero == 0;
    for (int64_t i = 0; i < count; i++) {
        float x = values[i] * inverse; /* at most 1 + 2^-23: still in the last bucket */
        uint8_t code = code_of(map, x);
        codes[i] = (uint8_t)(code + (keeps_positive & (code == 0) & (x > 0)));
    }
    return greatest;
}

/* ---------------------------------------------------------------------------------------- the states */

static ct_tensor *make_values(ct_context *context, ct_dtype dtype, const ct_state_decl *decl,
                              const ct_tensor *weight) {
    int ndim = ct_ndim(weight), axis = decl->shape == CT_ROWS ? ndim - 1 : ndim - 2, kept = 0;
    int64_t shape[CT_MAX_DIMS];
    if (decl->shape == CT_LIKE_PARAMETER) return ct_zeros(context, dtype, ndim, ct_shape(weight));
    for (int i = 0; i < ndim && decl->shape != CT_ONE_PER_PARAMETER; i++)
        if (i != axis) shape[kept++] = ct_shape(weight)[i];
    return ct_zeros(context, dtype, kept, shape);
}

void ct_stored_clear(const ct_stored *stored, const ct_state_decl *decl) {
    if (stored->values) ct_fill(stored->values, stored->absmax ? map_of(decl)->zero : 0);
    if (stored->absmax) ct_fill(stored->absmax, 0);
}

ct_status ct_stored_make(ct_context *context, ct_stored *stored, const ct_state_decl *decl,
                         const ct_tensor *weight, int64_t bits) {
    ct_dtype dtype = decl->dtype;
    if (decl->shape == CT_LIKE_PARAMETER && bits == 16 && dtype == CT_F32) dtype = CT_BF16;
    if (decl->shape == CT_LIKE_PARAMETER && bits == 8) dtype = CT_U8;
    stored->values = ct_hold(make_values(context, dtype, decl, weight));
    if (dtype != CT_U8) return ct_context_status(context);
    int64_t blocks = (ct_count(weight) + CT_STATE_BLOCK - 1) / CT_STATE_BLOCK;
    stored->absmax = ct_hold(ct_zeros(context, CT_F32, 1, &blocks));
    ct_stored_clear(stored, decl);
    return ct_context_status(context);
}

void ct_stored_drop(ct_stored *stored) {
    ct_drop(stored->values);
    ct_drop(stored->absmax);
    *stored = (ct_stored){NULL, NULL};
}

bool ct_stored_narrow(const ct_stored *stored) {
    return stored->values && ct_dtype_of(stored->values) != CT_F32;
}

float *ct_stored_values(const ct_stored *stored) {
    if (!stored->values || ct_stored_narrow(stored)) return NULL;
    return (float *)(uintptr_t)ct_data(stored->values);
}

void ct_stored_read(const ct_stored *stored, const ct_state_decl *decl, int64_t offset, int64_t count,
                    float *values) {
    ct_dtype dtype = ct_dtype_of(stored->values);
    const char *data = ct_data(stored->values);
    if (!stored->absmax) {
        ct_cpu_kernels()->convert(count, dtype, data + (size_t)offset * ct_dtype_size(dtype), CT_F32, values);
        return;
    }
    const dynamic_map *map = map_of(decl);
    const float *absmax = ct_data(stored->absmax);
    for (int64_t at = 0; at < count; at += CT_STATE_BLOCK)
        read_block(map, (const uint8_t *)data + offset + at, absmax[(offset + at) / CT_STATE_BLOCK],
                   count - at < CT_STATE_BLOCK ? count - at : CT_STATE_BLOCK, values + at);
}

void ct_stored_write(const ct_stored *stored, const ct_state_decl *decl, int64_t offset, int64_t count,
                     const float *values) {
    ct_dtype dtype = ct_dtype_of(stored->values);
    char *data = (char *)(uintptr_t)ct_data(stored->values);
    if (!stored->absmax) {
        ct_cpu_kernels()->convert(count, CT_F32, values, dtype, data + (size_t)offset * ct_dtype_size(dtype));
        return;
    }
    const dynamic_map *map = map_of(decl);
    float *absmax = (float *)(uintptr_t)ct_data(stored->absmax);
    for (int64_t at = 0; at < count; at += CT_STATE_BLOCK)
        absmax[(offset + at) / CT_STATE_BLOCK] =
            write_block(map, values + at, count - at < CT_STATE_BLOCK ? count - at : CT_STATE_BLOCK,
                        (uint8_t *)data + offset + at);
}
