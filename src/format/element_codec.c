/* element_codec.c - elements of files to f32 and back. The block types are GGML's, defined by ggml-common.h
 * and ggml-quants.c of ggml-org/llama.cpp: d is the scale of a block as f16, blocks stand one after the
 * other.
 *
 * The loops are compiled for several instruction sets and picked at run time; the arithmetic has one order
 * and no contraction, so all give the same bits. */
#include "carat/archive.h"
#include "tensor/cpu/kernels.h"
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&                       \
    !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define FOR_EACH_CPU                                                                                         \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define FOR_EACH_CPU
#endif

#define INLINED static inline __attribute__((always_inline)) /* into each clone */
#define PIECE 1024                                           /* elements that are converted at a time */

static float half_at(const unsigned char *bytes) {
    uint16_t half;
    float value;
    memcpy(&half, bytes, 2);
    ct_cpu_kernels()->convert(1, CT_F16, &half, CT_F32, &value);
    return value;
}
static void half_to(float value, unsigned char *bytes) {
    uint16_t half;
    ct_cpu_kernels()->convert(1, CT_F32, &value, CT_F16, &half);
    memcpy(bytes, &half, 2);
}

/* ---------------------------------------------------------------------------------------- decoding blocks */

/* {d, q[32]}: x = d q */
INLINED void decode_q8_0(const unsigned char *block, float d, float *x) {
    const int8_t *q = (const int8_t *)(block + 2);
    for (int i = 0; i < 32; i++)
        x[i] = (float)q[i] * d;
}

/* {d, 16 bytes}: element i in the low half of byte i, element i + 16 in the high half; x = d (q - 8) */
INLINED void decode_q4_0(const unsigned char *block, float d, float *x) {
    for (int i = 0; i < 16; i++) {
        x[i] = (float)((block[2 + i] & 15) - 8) * d;
        x[i + 16] = (float)((block[2 + i] >> 4) - 8) * d;
    }
}

/* {d, dmin, 12 bytes of 6-bit scales and minima of 8 groups of 32, 128 bytes}: x = d scale q - dmin minimum
 */
INLINED void decode_q4_k(const unsigned char *block, float d, float least, float *x) {
    const unsigned char *packed = block + 4, *q = block + 16;
    for (int group = 0; group < 8; group++) {
        int scale, minimum;
        if (group < 4) {
            scale = packed[group] & 63;
            minimum = packed[group + 4] & 63;
        } else { /* their upper two bits are those left over in the first eight bytes */
            scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
            minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
        }
        float factor = d * (float)scale, offset = least * (float)minimum;
        const unsigned char *bytes = q + group / 2 * 32; /* two groups share 32 bytes: low and high halves */
        int shift = group % 2 * 4;
        for (int i = 0; i < 32; i++)
            x[group * 32 + i] = factor * (float)(bytes[i] >> shift & 15) - offset;
    }
}

/* {128 bytes of low 4 bits, 64 of high 2 bits, 16 signed scales, d}: x = d scale (q - 32) */
INLINED void decode_q6_k(const unsigned char *block, float d, float *x) {
    for (int half = 0; half < 2; half++) {
        const unsigned char *low = block + half * 64, *high = block + 128 + half * 32;
        const int8_t *scales = (const int8_t *)(block + 192 + half * 8);
        for (int group = 0; group < 4; group++) { /* 32 elements with one scale for each 16 */
            const unsigned char *bytes = low + group % 2 * 32;
            int shift = group / 2 * 4, high_shift = group * 2;
            float first = d * (float)scales[group * 2], second = d * (float)scales[group * 2 + 1];
            for (int i = 0; i < 32; i++) {
                int q = (bytes[i] >> shift & 15) | (high[i] >> high_shift & 3) << 4;
                x[half * 128 + group * 32 + i] = (i < 16 ? first : second) * (float)(q - 32);
            }
        }
    }
}

FOR_EACH_CPU static void decode_blocks(ct_element type, const unsigned char *from, float *to,
                                       int64_t blocks) {
    const ct_element_info *info = ct_element_describe(type);
    for (int64_t i = 0; i < blocks; i++, from += info->bytes, to += info->block) {
        switch (type) {
        case CT_ELEMENT_Q8_0:
            decode_q8_0(from, half_at(from), to);
            break;
        case CT_ELEMENT_Q4_0:
            decode_q4_0(from, half_at(from), to);
            break;
        case CT_ELEMENT_Q4_K:
            decode_q4_k(from, half_at(from), half_at(from + 2), to);
            break;
        default: /* Q6_K */
            decode_q6_k(from, half_at(from + 208), to);
            break;
        }
    }
}

/* ----------------------------------------------------------------------------- decoding small types ----- */

/* Sign, 4 bits of exponent with bias 7, 3 of mantissa; no infinities, all ones is NaN (arXiv:2209.05433). */
static float f8_e4m3(unsigned char bits) {
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    float size = exponent == 15 && mantissa == 7 ? NAN
                 : exponent                      ? ldexpf(1.0f + (float)mantissa / 8, exponent - 7)
                                                 : ldexpf((float)mantissa / 8, -6);
    return bits & 128 ? -size : size;
}

static float small_value(ct_element type, const unsigned char *from) {
    unsigned char half[2] = {0, from[0]};
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    uint64_t u64;
    switch ((ct_file_dtype)type) {
    case CT_FILE_F8_E4M3:
        return f8_e4m3(from[0]);
    case CT_FILE_F8_E5M2: /* the upper byte of an f16 */
        return half_at(half);
    case CT_FILE_F8_E8M0:
        return from[0] == 255 ? NAN : ldexpf(1.0f, from[0] - 127);
    case CT_FILE_I16:
        memcpy(&i16, from, 2);
        return (float)i16;
    case CT_FILE_U16:
        memcpy(&u16, from, 2);
        return (float)u16;
    case CT_FILE_U32:
        memcpy(&u32, from, 4);
        return (float)u32;
    default: /* U64 */
        memcpy(&u64, from, 8);
        return (float)u64;
    }
}

bool ct_element_decode(ct_element type, const void *from, float *to, int64_t count) {
    const ct_element_info *info = ct_element_describe(type);
    ct_dtype engine;
    if (!info->decodes || count % info->block) return false;
    if (!ct_element_is_plain(type)) {
        decode_blocks(type, from, to, count / info->block);
    } else if (ct_file_dtype_engine((ct_file_dtype)type, &engine)) {
        if ((uintptr_t)from % (uintptr_t)info->bytes == 0) {
            ct_cpu_kernels()->convert(count, engine, from, CT_F32, to);
            return true;
        }
        uint64_t piece[PIECE]; /* elements where they may be read as such */
        for (int64_t i = 0; i < count; i += PIECE) {
            int64_t length = count - i < PIECE ? count - i : PIECE;
            memcpy(piece, (const char *)from + i * info->bytes, (size_t)(length * info->bytes));
            ct_cpu_kernels()->convert(length, engine, piece, CT_F32, to + i);
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            to[i] = small_value(type, (const unsigned char *)from + i * info->bytes);
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------- encoding */

/* The largest |x|; not finite if any x is not: as integers, the bits of NaN are above those of infinity. */
INLINED float largest(const float *x) {
    int32_t most = 0;
    for (int i = 0; i < 32; i++) {
        int32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float value;
    memcpy(&value, &most, 4);
    return value;
}

/* q = round(x / d), halves away from zero; t - trunc(t) is exact, t + 0.5 would not be. */
INLINED void encode_q8_0(const float *x, float inverse, int8_t *q) {
    for (int i = 0; i < 32; i++) {
        float t = x[i] * inverse;
        int32_t whole = (int32_t)t;
        float rest = t - (float)whole;
        q[i] = (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
}

INLINED void encode_q4_0(const float *x, float inverse, unsigned char *q) {
    for (int i = 0; i < 16; i++) {
        int32_t low = (int32_t)(x[i] * inverse + 8.5f), high = (int32_t)(x[i + 16] * inverse + 8.5f);
        low = low > 15 ? 15 : low;
        high = high > 15 ? 15 : high;
        q[i] = (unsigned char)(low | high << 4);
    }
}

/* 1 / d where that is finite: a block whose scale is 0 or below the least normal number becomes zeros. */
static float inverse_of(float d) {
    float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    return isfinite(inverse) ? inverse : 0.0f;
}

FOR_EACH_CPU static bool encode_blocks(ct_element type, const float *x, unsigned char *to, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++, x += 32) {
        float most = largest(x), d;
        if (!isfinite(most)) return false;
        if (type == CT_ELEMENT_Q8_0) {
            d = most / 127.0f;
            half_to(d, to);
            encode_q8_0(x, inverse_of(d), (int8_t *)(to + 2));
            to += 34;
        } else { /* the value farthest from zero, with its sign, becomes -8 */
            int farthest = 0;
            while (fabsf(x[farthest]) != most)
                farthest++;
            d = x[farthest] / -8.0f;
            half_to(d, to);
            encode_q4_0(x, inverse_of(d), to + 2);
            to += 18;
        }
    }
    return true;
}

bool ct_element_encode(ct_element type, const float *from, void *to, int64_t count) {
    const ct_element_info *info = ct_element_describe(type);
    ct_dtype engine;
    if (!info->encodes || count % info->block) return false;
    if (!ct_element_is_plain(type)) return encode_blocks(type, from, to, count / info->block);
    if (!ct_file_dtype_engine((ct_file_dtype)type, &engine)) return false;
    if ((uintptr_t)to % (uintptr_t)info->bytes == 0) {
        ct_cpu_kernels()->convert(count, CT_F32, from, engine, to);
        return true;
    }
    uint64_t piece[PIECE];
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t length = count - i < PIECE ? count - i : PIECE;
        ct_cpu_kernels()->convert(length, CT_F32, from + i, engine, piece);
        memcpy((char *)to + i * info->bytes, piece, (size_t)(length * info->bytes));
    }
    return true;
}
