/* kernels_layout.inc.h - kernels that move bytes: lookup of rows, transposition, strided copies. Included by
 * kernels_all.inc.h. */

static int64_t gather_rows(int64_t n, int64_t row_bytes, const void *table, int64_t table_rows,
                           const int64_t *indices, void *y) {
    for (int64_t i = 0; i < n; ++i) {
        if (indices[i] < 0 || indices[i] >= table_rows) return i;
        memcpy((char *)y + i * row_bytes, (const char *)table + indices[i] * row_bytes, (size_t)row_bytes);
    }
    return -1;
}

/* Tiles small enough that the lines of x and of y that they touch stay in the first cache. */
#define TILE 16
#define TRANSPOSE(type)                                                                                      \
    static void transpose_##type(int64_t rows, int64_t columns, const type *x, int64_t x_stride, type *y,    \
                                 int64_t y_stride) {                                                         \
        for (int64_t c0 = 0; c0 < columns; c0 += TILE) {                                                     \
            int64_t c1 = c0 + TILE < columns ? c0 + TILE : columns;                                          \
            for (int64_t r0 = 0; r0 < rows; r0 += TILE) {                                                    \
                int64_t r1 = r0 + TILE < rows ? r0 + TILE : rows;                                            \
                for (int64_t c = c0; c < c1; ++c)                                                            \
                    for (int64_t r = r0; r < r1; ++r)                                                        \
                        y[c * y_stride + r] = x[r * x_stride + c];                                           \
            }                                                                                                \
        }                                                                                                    \
    }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint64_t)
#undef TRANSPOSE
#undef TILE

static void transpose(int element_size, int64_t rows, int64_t columns, const void *x, int64_t x_stride,
                      void *y, int64_t y_stride) {
    switch (element_size) {
    case 1:
        transpose_uint8_t(rows, columns, x, x_stride, y, y_stride);
        break;
    case 2:
        transpose_uint16_t(rows, columns, x, x_stride, y, y_stride);
        break;
    case 4:
        simd_transpose(rows, columns, x, x_stride, y, y_stride);
        break;
    default:
        transpose_uint64_t(rows, columns, x, x_stride, y, y_stride);
        break;
    }
}

#define COPY_STRIDED(type)                                                                                   \
    static void copy_strided_##type(int64_t n, const type *x, int64_t x_step, type *y, int64_t y_step) {     \
        if (y_step == 1 && x_step == 0)                                                                      \
            for (int64_t i = 0; i < n; ++i)                                                                  \
                y[i] = x[0];                                                                                 \
        else                                                                                                 \
            for (int64_t i = 0; i < n; ++i)                                                                  \
                y[i * y_step] = x[i * x_step];                                                               \
    }
COPY_STRIDED(uint8_t)
COPY_STRIDED(uint16_t)
COPY_STRIDED(uint32_t)
COPY_STRIDED(uint64_t)
#undef COPY_STRIDED

static void copy_strided(int element_size, int64_t n, const void *x, int64_t x_step, void *y,
                         int64_t y_step) {
    if (x_step == 1 && y_step == 1) {
        memmove(y, x, (size_t)n * (size_t)element_size);
        return;
    }
    switch (element_size) {
    case 1:
        copy_strided_uint8_t(n, x, x_step, y, y_step);
        break;
    case 2:
        copy_strided_uint16_t(n, x, x_step, y, y_step);
        break;
    case 4:
        copy_strided_uint32_t(n, x, x_step, y, y_step);
        break;
    default:
        copy_strided_uint64_t(n, x, x_step, y, y_step);
        break;
    }
}
