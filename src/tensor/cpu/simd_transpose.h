/* simd_transpose.h - transposition of blocks of 32-bit words from memory to memory, 8 by 8 in AVX registers.
 * Words are moved, not computed with. */
#ifndef CARAT_TENSOR_CPU_SIMD_TRANSPOSE_H
#define CARAT_TENSOR_CPU_SIMD_TRANSPOSE_H

#include "tensor/cpu/simd.h"

#ifdef __AVX2__
/* Rows r and r + 4 share a register, so that the lanes need not be crossed afterwards. */
SIMD __m256 simd_half_rows(const float *low, const float *high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
/* Four columns of 8 rows. */
SIMD void simd_transpose_8x4(const float *x, int64_t x_stride, float *y, int64_t y_stride) {
    __m256 r0 = simd_half_rows(x, x + 4 * x_stride), r1 = simd_half_rows(x + x_stride, x + 5 * x_stride);
    __m256 r2 = simd_half_rows(x + 2 * x_stride, x + 6 * x_stride);
    __m256 r3 = simd_half_rows(x + 3 * x_stride, x + 7 * x_stride);
    __m256 t0 = _mm256_unpacklo_ps(r0, r1), t1 = _mm256_unpackhi_ps(r0, r1);
    __m256 t2 = _mm256_unpacklo_ps(r2, r3), t3 = _mm256_unpackhi_ps(r2, r3);
    _mm256_storeu_ps(y, _mm256_shuffle_ps(t0, t2, 0x44));
    _mm256_storeu_ps(y + y_stride, _mm256_shuffle_ps(t0, t2, 0xee));
    _mm256_storeu_ps(y + 2 * y_stride, _mm256_shuffle_ps(t1, t3, 0x44));
    _mm256_storeu_ps(y + 3 * y_stride, _mm256_shuffle_ps(t1, t3, 0xee));
}
SIMD void simd_transpose_8x8(const float *x, int64_t x_stride, float *y, int64_t y_stride) {
    simd_transpose_8x4(x, x_stride, y, y_stride);
    simd_transpose_8x4(x + 4, x_stride, y + 4 * y_stride, y_stride);
}
#else
SIMD void simd_transpose_8x8(const float *x, int64_t x_stride, float *y, int64_t y_stride) {
    for (int c = 0; c < 8; ++c)
        for (int r = 0; r < 8; ++r)
            memcpy(y + c * y_stride + r, x + r * x_stride + c, sizeof(float));
}
#endif

/* y[c * y_stride + r] = x[r * x_stride + c] */
__attribute__((unused)) static void simd_transpose(int64_t rows, int64_t columns, const float *x,
                                                   int64_t x_stride, float *y, int64_t y_stride) {
    int64_t full_rows = rows & ~INT64_C(7), full_columns = columns & ~INT64_C(7);
    for (int64_t r0 = 0; r0 < full_rows; r0 += 64) { /* 64 rows: their lines stay in the first cache */
        int64_t r1 = r0 + 64 < full_rows ? r0 + 64 : full_rows;
        for (int64_t c = 0; c < full_columns; c += 8)
            for (int64_t r = r0; r < r1; r += 8)
                simd_transpose_8x8(x + r * x_stride + c, x_stride, y + c * y_stride + r, y_stride);
    }
    for (int64_t c = full_columns; c < columns; ++c)
        for (int64_t r = 0; r < full_rows; ++r)
            memcpy(y + c * y_stride + r, x + r * x_stride + c, sizeof(float));
    for (int64_t r = full_rows; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
            memcpy(y + c * y_stride + r, x + r * x_stride + c, sizeof(float));
}

#endif
