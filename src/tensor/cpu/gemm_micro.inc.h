/* gemm_micro.inc.h - the register-blocked product and the loops over a block of C that call it. See
 * gemm_vector.inc.h for the macros that choose type and vectors.
 *
 * The tile is CT_MR rows by CT_NV vectors of columns: K. Goto, R. van de Geijn, "Anatomy of high-performance
 * matrix multiplication", ACM Transactions on Mathematical Software 34(3), 2008. */

#define CT_NR (CT_NV * CT_VL)

/* `rows`, `vectors`, and for packed A also the strides are constants where this is inlined. */
static inline __attribute__((always_inline)) void
CT_N(micro)(const int rows, const int vectors, int64_t steps, const CT_T *restrict a, const int64_t a_row,
            const int64_t a_step, const CT_T *restrict b, int64_t b_step, CT_T *restrict c, int64_t c_row,
            CT_T alpha, CT_T beta) {
    CT_N(vec) sums[CT_MR][CT_NV];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * c_row, 1);
#pragma GCC unroll 16
        for (int j = 0; j < vectors; j++)
            sums[i][j] = (CT_N(vec)){0};
    }
#pragma GCC unroll 4
    for (int64_t p = 0; p < steps; p++) {
        CT_N(vec) y[CT_NV];
#pragma GCC unroll 16
        for (int j = 0; j < vectors; j++)
            y[j] = CT_N(load)(b + j * CT_VL);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            CT_N(vec) x = CT_SET1(a[i * a_row]);
#pragma GCC unroll 16
            for (int j = 0; j < vectors; j++)
                sums[i][j] = CT_FMA(x, y[j], sums[i][j]);
        }
        a += a_step;
        b += b_step;
    }
    CT_N(vec) scale = CT_SET1(alpha), keep = CT_SET1(beta);
    if (beta == 0) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
            for (int j = 0; j < vectors; j++)
                CT_N(store)(c + i * c_row + j * CT_VL, scale * sums[i][j]);
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int j = 0; j < vectors; j++) {
            CT_T *to = c + i * c_row + j * CT_VL;
            CT_N(store)(to, CT_FMA(scale, sums[i][j], keep * CT_N(load)(to)));
        }
}

typedef void (*CT_N(micro_function))(int64_t steps, const CT_T *a, int64_t a_row, int64_t a_step,
                                     const CT_T *b, int64_t b_step, CT_T *c, int64_t c_row, CT_T alpha,
                                     CT_T beta);

#define CT_MICRO(ROWS, VECTORS)                                                                              \
    static void CT_N(micro_packed_##ROWS##_##VECTORS)(int64_t steps, const CT_T *a, int64_t a_row,           \
                                                      int64_t a_step, const CT_T *b, int64_t b_step,         \
                                                      CT_T *c, int64_t c_row, CT_T alpha, CT_T beta) {       \
        (void)a_row, (void)a_step;                                                                           \
        CT_N(micro)(ROWS, VECTORS, steps, a, 1, CT_MR, b, b_step, c, c_row, alpha, beta);                    \
    }                                                                                                        \
    static void CT_N(micro_direct_##ROWS##_##VECTORS)(int64_t steps, const CT_T *a, int64_t a_row,           \
                                                      int64_t a_step, const CT_T *b, int64_t b_step,         \
                                                      CT_T *c, int64_t c_row, CT_T alpha, CT_T beta) {       \
        CT_N(micro)(ROWS, VECTORS, steps, a, a_row, a_step, b, b_step, c, c_row, alpha, beta);               \
    }
#define CT_MICRO_PAIR(ROWS) CT_MICRO(ROWS, 1) CT_MICRO(ROWS, 2)
CT_EACH_ROWS(CT_MICRO_PAIR)

#define CT_MICRO_PACKED_NAMES(ROWS) {CT_N(micro_packed_##ROWS##_1), CT_N(micro_packed_##ROWS##_2)},
#define CT_MICRO_DIRECT_NAMES(ROWS) {CT_N(micro_direct_##ROWS##_1), CT_N(micro_direct_##ROWS##_2)},
static const CT_N(micro_function) CT_N(micro_functions)[2][CT_MR][CT_NV] = {
    {CT_EACH_ROWS(CT_MICRO_DIRECT_NAMES)}, {CT_EACH_ROWS(CT_MICRO_PACKED_NAMES)}};
#undef CT_MICRO
#undef CT_MICRO_PAIR
#undef CT_MICRO_PACKED_NAMES
#undef CT_MICRO_DIRECT_NAMES

/* A tile whose columns are not whole vectors goes through a whole one. */
static void CT_N(edge)(CT_N(micro_function) micro, const ct_gemm_block *block, const CT_T *a, const CT_T *b,
                       CT_T *c, int64_t rows, int64_t cols) {
    CT_T tile[CT_MR * CT_NR] __attribute__((aligned(64))) = {0};
    if (block->beta != 0)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                tile[i * CT_NR + j] = c[i * block->c_row + j];
    micro(block->steps, a, block->a_row, block->a_step, b, CT_NR, tile, CT_NR, (CT_T)block->alpha,
          (CT_T)block->beta);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * block->c_row + j] = tile[i * CT_NR + j];
}

static void CT_N(block)(const ct_gemm_block *block) {
    const CT_T *a = block->a, *b = block->b;
    CT_T alpha = (CT_T)block->alpha, beta = (CT_T)block->beta;
    int64_t a_tile = block->a_packed ? CT_MR * block->steps : CT_MR * block->a_row;
    for (int64_t j = 0; j < block->cols; j += CT_NR, b += block->b_panel) {
        int64_t cols = block->cols - j < CT_NR ? block->cols - j : CT_NR;
        int64_t vectors = (cols + CT_VL - 1) / CT_VL, b_step = block->b_step;
        const CT_T *panel = b;
        if (cols < CT_NR) panel = block->b_last, b_step = CT_NR;
        for (int64_t i = 0; i < block->rows; i += CT_MR) {
            int64_t rows = block->rows - i < CT_MR ? block->rows - i : CT_MR;
            CT_N(micro_function) micro = CT_N(micro_functions)[block->a_packed][rows - 1][vectors - 1];
            const CT_T *a_panel = a + i / CT_MR * a_tile;
            CT_T *c = (CT_T *)block->c + i * block->c_row + j;
            if (cols == vectors * CT_VL)
                micro(block->steps, a_panel, block->a_row, block->a_step, panel, b_step, c, block->c_row,
                      alpha, beta);
            else
                CT_N(edge)(micro, block, a_panel, panel, c, rows, cols);
        }
    }
}
