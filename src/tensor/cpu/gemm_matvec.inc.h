/* gemm_matvec.inc.h - few rows of A against all of B, limited by how fast B arrives. Sums are per block of k,
 * as in the register-blocked kernels. See gemm_vector.inc.h for the macros. */

#define CT_DEPTH (CT_IS_F32 ? CT_GEMM_BLOCK_F32 : CT_GEMM_BLOCK_F64)

/* c = alpha * sum + beta * c */
static inline __attribute__((always_inline)) void CT_N(matvec_add)(CT_T *c, CT_N(vec) sum, CT_T alpha,
                                                                   CT_T beta) {
    CT_N(vec) result = CT_SET1(alpha) * sum;
    if (beta != 0) result = CT_FMA(CT_SET1(alpha), sum, CT_SET1(beta) * CT_N(load)(c));
    CT_N(store)(c, result);
}

static inline __attribute__((always_inline)) CT_T CT_N(matvec_add_one)(CT_T c, CT_T sum, CT_T alpha,
                                                                       CT_T beta) {
    return beta == 0 ? alpha * sum : CT_SCALAR_FMA(alpha, sum, beta * c);
}

/* Element p of B, and a vector from there. */
static inline __attribute__((always_inline)) CT_T CT_N(element)(const int narrow, const void *b, int64_t p) {
#if CT_IS_F32
    if (narrow) return ct_bf16_to_f32(((const uint16_t *)b)[p]);
#endif
    (void)narrow;
    return ((const CT_T *)b)[p];
}

static inline __attribute__((always_inline)) CT_N(vec)
    CT_N(elements)(const int narrow, const void *b, int64_t p) {
#if CT_IS_F32
    if (narrow) return CT_N(load_bf16)((const uint16_t *)b + p);
#endif
    (void)narrow;
    return CT_N(load)((const CT_T *)b + p);
}

static inline __attribute__((always_inline)) void CT_N(prefetch)(const void *b, int64_t offset) {
    __builtin_prefetch((const char *)((uintptr_t)b + (uintptr_t)offset), 0, 3);
}

/* ---------------------------------------------------------------------------- B contiguous along its rows */

/* `together` steps of k added to the sums, along whole rows of B: long runs of memory, one after the other.
 */
static inline __attribute__((always_inline)) void CT_N(matvec_steps)(const int rows, const int together,
                                                                     const int narrow,
                                                                     const ct_gemm_matvec *matvec,
                                                                     int64_t step, CT_T *sums) {
    const int64_t size = narrow ? 2 : (int64_t)sizeof(CT_T), line = 64 / size;
    int64_t cols = matvec->cols, at = step * matvec->b_stride, stride = matvec->b_stride, j = 0;
    const CT_T *x = (const CT_T *)matvec->x + step;
    CT_N(vec) factors[CT_GEMM_MATVEC_ROWS][8];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < together; p++)
            factors[r][p] = CT_SET1(x[r * matvec->x_row + p]);
    for (; j + CT_VL <= cols; j += CT_VL) {
        CT_N(vec) sum[CT_GEMM_MATVEC_ROWS];
        if (j % line == 0) /* the steps that come next */
#pragma GCC unroll 8
            for (int p = 0; p < together; p++)
                CT_N(prefetch)(matvec->b, (at + (p + together) * stride + j) * size);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            sum[r] = CT_N(load)(sums + r * cols + j);
#pragma GCC unroll 8
        for (int p = 0; p < together; p++) {
            CT_N(vec) y = CT_N(elements)(narrow, matvec->b, at + p * stride + j);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                sum[r] = CT_FMA(factors[r][p], y, sum[r]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            CT_N(store)(sums + r * cols + j, sum[r]);
    }
    for (; j < cols; j++)
        for (int r = 0; r < rows; r++)
            for (int p = 0; p < together; p++)
                sums[r * cols + j] =
                    CT_SCALAR_FMA(x[r * matvec->x_row + p],
                                  CT_N(element)(narrow, matvec->b, at + p * stride + j), sums[r * cols + j]);
}

static inline __attribute__((always_inline)) void CT_N(matvec_columns_of)(const int rows, const int narrow,
                                                                          const ct_gemm_matvec *matvec) {
    const int together = rows == 1 ? 8 : rows == 2 ? 4 : 2;
    CT_T *sums = matvec->sums, alpha = (CT_T)matvec->alpha, beta = (CT_T)matvec->beta;
    int64_t cols = matvec->cols;
    for (int64_t p = 0; p < matvec->steps; beta = 1) {
        int64_t end = p + CT_DEPTH < matvec->steps ? p + CT_DEPTH : matvec->steps;
        memset(sums, 0, (size_t)(rows * cols) * sizeof *sums);
        for (; p + together <= end; p += together)
            CT_N(matvec_steps)(rows, together, narrow, matvec, p, sums);
        for (; p < end; p++)
            CT_N(matvec_steps)(rows, 1, narrow, matvec, p, sums);
        for (int r = 0; r < rows; r++) {
            CT_T *c = (CT_T *)matvec->c + r * matvec->c_row, *s = sums + r * cols;
            int64_t j = 0;
            for (; j + CT_VL <= cols; j += CT_VL)
                CT_N(matvec_add)(c + j, CT_N(load)(s + j), alpha, beta);
            for (; j < cols; j++)
                c[j] = CT_N(matvec_add_one)(c[j], s[j], alpha, beta);
        }
    }
}

/* ------------------------------------------------------------------------- B contiguous along its columns */

/* A few steps of some columns are transposed into a buffer in the first-level cache, then the sums go along
 * it. Units are elements of CT_T or pairs of 16-bit ones. */
#define CT_UNITS 64

/* Units [0, units) of `groups` vectors of columns, to buffer[unit][groups * CT_VL]. `next` will be wanted
 * after. */
static inline __attribute__((always_inline)) void CT_N(matvec_turn)(const int groups, const char *b,
                                                                    int64_t stride, int64_t units,
                                                                    const char *next, CT_T *buffer) {
    const int64_t size = (int64_t)sizeof(CT_T), line = 64 / size;
    int64_t whole = units / CT_VL * CT_VL;
    for (int g = 0; g < groups; g++) {
        const char *group = b + g * CT_VL * stride;
        for (int64_t u = 0; u < whole; u += CT_VL) {
            CT_N(vec) square[CT_VL];
#pragma GCC unroll 16
            for (int l = 0; l < CT_VL; l++)
                square[l] = CT_N(load_bytes)(group + l * stride + u * size);
            if (u % line == 0)
#pragma GCC unroll 16
                for (int l = 0; l < CT_VL; l++)
                    CT_N(prefetch)(next, (g * CT_VL + l) * stride + u * size);
            CT_TRANSPOSE(square, CT_N(vec));
#pragma GCC unroll 16
            for (int l = 0; l < CT_VL; l++)
                CT_N(store)(buffer + ((u + l) * groups + g) * CT_VL, square[l]);
        }
        for (int64_t u = whole; u < units; u++)
            for (int l = 0; l < CT_VL; l++)
                memcpy(buffer + (u * groups + g) * CT_VL + l, group + l * stride + u * size, sizeof(CT_T));
    }
}

/* sum = sum + x * buffer, `steps` steps of k. */
static inline __attribute__((always_inline)) void CT_N(matvec_sum)(const int rows, const int groups,
                                                                   const int narrow, int64_t steps,
                                                                   const CT_T *x, int64_t x_row,
                                                                   const CT_T *buffer, CT_N(vec) * sum) {
    int64_t p = 0;
#if CT_IS_F32
    if (narrow)
        for (; p + 2 <= steps; p += 2) {
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                CT_N(bits) pair = (CT_N(bits))CT_N(load)(buffer + (p / 2 * groups + g) * CT_VL);
                CT_N(vec) first = (CT_N(vec))(pair << 16), second = (CT_N(vec))(pair & 0xffff0000u);
#pragma GCC unroll 4
                for (int r = 0; r < rows; r++) {
                    CT_N(vec) before = CT_FMA(CT_SET1(x[r * x_row + p]), first, sum[r * groups + g]);
                    sum[r * groups + g] = CT_FMA(CT_SET1(x[r * x_row + p + 1]), second, before);
                }
            }
        }
#endif
    for (; p < steps; p++)
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            CT_N(vec) y = CT_N(load)(buffer + ((narrow ? p / 2 : p) * groups + g) * CT_VL);
#if CT_IS_F32
            if (narrow) y = (CT_N(vec))((CT_N(bits))y << 16); /* an odd last step */
#endif
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                sum[r * groups + g] = CT_FMA(CT_SET1(x[r * x_row + p]), y, sum[r * groups + g]);
        }
}

/* `groups` vectors of columns from `col`; those before `skip` are left as they are. */
static inline __attribute__((always_inline)) void CT_N(matvec_group)(const int rows, const int groups,
                                                                     const int narrow,
                                                                     const ct_gemm_matvec *matvec,
                                                                     int64_t col, int64_t skip) {
    const int per_unit = narrow ? 2 : 1, together = CT_UNITS * per_unit;
    const int64_t size = narrow ? 2 : (int64_t)sizeof(CT_T), stride = matvec->b_stride * size;
    CT_T buffer[CT_UNITS * 4 * CT_VL] __attribute__((aligned(64)));
    CT_T alpha = (CT_T)matvec->alpha, beta = (CT_T)matvec->beta;
    const CT_T *x = matvec->x;
    const char *b = (const char *)matvec->b + col * stride;
    for (int64_t p = 0; p < matvec->steps; beta = 1) {
        int64_t end = p + CT_DEPTH < matvec->steps ? p + CT_DEPTH : matvec->steps;
        CT_N(vec) sum[4 * CT_GEMM_MATVEC_ROWS];
#pragma GCC unroll 16
        for (int i = 0; i < groups * rows; i++)
            sum[i] = (CT_N(vec)){0};
        for (; p < end; p += together) {
            int64_t steps = end - p < together ? end - p : together;
            bool row_ends = p + steps >= matvec->steps;
            const char *next = (const char *)((uintptr_t)b + (uintptr_t)(row_ends ? groups * CT_VL * stride
                                                                                  : (p + steps) * size));
            CT_N(matvec_turn)(groups, b + p * size, stride, steps / per_unit, next, buffer);
            if (steps % per_unit)
                for (int l = 0; l < groups * CT_VL; l++)
                    memcpy(buffer + steps / per_unit * groups * CT_VL + l,
                           b + l * stride + (p + steps - 1) * size, 2);
            CT_N(matvec_sum)(rows, groups, narrow, steps, x + p, matvec->x_row, buffer, sum);
        }
        p = end;
        for (int r = 0; r < rows; r++) {
            CT_T *c = (CT_T *)matvec->c + r * matvec->c_row + col;
            if (skip)
                for (int l = (int)skip; l < CT_VL; l++)
                    c[l] = CT_N(matvec_add_one)(c[l], sum[r * groups][l], alpha, beta);
            else
#pragma GCC unroll 4
                for (int g = 0; g < groups; g++)
                    CT_N(matvec_add)(c + g * CT_VL, sum[r * groups + g], alpha, beta);
        }
    }
}

/* Fewer columns than a vector holds. */
static void CT_N(matvec_narrow)(const int narrow, const ct_gemm_matvec *matvec) {
    for (int64_t r = 0; r < matvec->rows; r++)
        for (int64_t j = 0; j < matvec->cols; j++) {
            const CT_T *x = (const CT_T *)matvec->x + r * matvec->x_row;
            CT_T *c = (CT_T *)matvec->c + r * matvec->c_row + j, beta = (CT_T)matvec->beta;
            for (int64_t p = 0; p < matvec->steps; beta = 1) {
                int64_t end = p + CT_DEPTH < matvec->steps ? p + CT_DEPTH : matvec->steps;
                CT_T sum = 0;
                for (; p < end; p++)
                    sum =
                        CT_SCALAR_FMA(x[p], CT_N(element)(narrow, matvec->b, j * matvec->b_stride + p), sum);
                *c = CT_N(matvec_add_one)(*c, sum, (CT_T)matvec->alpha, beta);
            }
        }
}

static inline __attribute__((always_inline)) void CT_N(matvec_rows_of)(const int rows, const int narrow,
                                                                       const ct_gemm_matvec *matvec) {
    const int groups = rows <= 2 ? 4 : 2;
    int64_t cols = matvec->cols, j = 0;
    for (; j + groups * CT_VL <= cols; j += groups * CT_VL)
        CT_N(matvec_group)(rows, groups, narrow, matvec, j, 0);
    for (; j + CT_VL <= cols; j += CT_VL)
        CT_N(matvec_group)(rows, 1, narrow, matvec, j, 0);
    if (j < cols && cols >= CT_VL)
        CT_N(matvec_group)(rows, 1, narrow, matvec, cols - CT_VL, j - (cols - CT_VL));
    else if (j < cols)
        CT_N(matvec_narrow)(narrow, matvec);
}

/* ------------------------------------------------------------------------------------- B in panels ----- */

/* result[rows][panels * CT_NV]: one block of k, `steps` deep, of panels of nr columns; `b` is the first of them. */
static inline __attribute__((always_inline)) void
CT_N(matvec_block)(const int rows, const int panels, const int narrow, const CT_T *x, int64_t x_row,
                   const CT_T *b, int64_t steps, CT_N(vec) * result) {
    enum { MOST = 4 * CT_NV };
    const int vectors = panels * CT_NV;
    int64_t panel = (narrow ? (steps + 1) / 2 : steps) * CT_NR, p = 0;
    CT_N(vec) sum[MOST]; /* in registers: every index is a constant */
#pragma GCC unroll 32
    for (int i = 0; i < rows * vectors; i++)
        sum[i] = (CT_N(vec)){0};
#if CT_IS_F32
    if (narrow)
        for (; p < steps - 1; p += 2, b += CT_NR)
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++) {
                const CT_T *at = b + v / CT_NV * panel + v % CT_NV * CT_VL;
                if (v % CT_NV * CT_VL * sizeof(CT_T) % 64 == 0)
                    CT_N(prefetch)(at, panels * panel * (int64_t)sizeof(CT_T)); /* of the panels that come next */
                CT_N(bits) pair = (CT_N(bits))CT_N(load)(at);
                CT_N(vec) first = (CT_N(vec))(pair << 16), second = (CT_N(vec))(pair & 0xffff0000u);
#pragma GCC unroll 4
                for (int r = 0; r < rows; r++) {
                    sum[r * vectors + v] = CT_FMA(CT_SET1(x[r * x_row + p]), first, sum[r * vectors + v]);
                    sum[r * vectors + v] = CT_FMA(CT_SET1(x[r * x_row + p + 1]), second, sum[r * vectors + v]);
                }
            }
#endif
    for (; p < steps; p++, b += CT_NR)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) {
            CT_N(vec) y = CT_N(load)(b + v / CT_NV * panel + v % CT_NV * CT_VL);
#if CT_IS_F32
            if (narrow) y = (CT_N(vec))((CT_N(bits))y << 16); /* an odd last step */
#endif
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++)
                sum[r * vectors + v] = CT_FMA(CT_SET1(x[r * x_row + p]), y, sum[r * vectors + v]);
        }
#pragma GCC unroll 32
    for (int i = 0; i < rows * vectors; i++)
        result[i] = sum[i];
}

#if CT_IS_F32
/* The same of Q8_0 panels: each factor is made as a whole element would be, scale times byte, then multiplied. */
static inline __attribute__((always_inline)) void CT_N(matvec_block_q8_0)(const int rows, const int panels, const CT_T *x,
                                                                          int64_t x_row, const char *b, int64_t steps,
                                                                          CT_N(vec) * result) {
    enum { MOST = 4 * CT_NV };
    const int vectors = panels * CT_NV;
    int64_t panel = steps / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES * CT_NR;
    CT_N(vec) sum[MOST], scale[MOST];
#pragma GCC unroll 32
    for (int i = 0; i < rows * vectors; i++)
        sum[i] = (CT_N(vec)){0};
    for (int64_t p = 0; p < steps; p += CT_GEMM_Q8_STEPS, b += CT_GEMM_Q8_BYTES * CT_NR) {
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++)
            scale[v] = CT_HALF_LOAD((const uint16_t *)(const void *)(b + v / CT_NV * panel) + v % CT_NV * CT_VL) *
                       (CT_T)0x1p-24;
        const char *q = b + 2 * CT_NR;
        for (int u = 0; u < CT_GEMM_Q8_STEPS; u += 4, q += 4 * CT_NR)
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++) {
                const char *at = q + v / CT_NV * panel + v % CT_NV * CT_VL * 4;
                CT_N(bits) unit = (CT_N(bits))CT_N(load_bytes)(at);
                if (v % CT_NV * CT_VL * 4 % 64 == 0) CT_N(prefetch)(at, panels * panel); /* of the panels that come next */
#pragma GCC unroll 4
                for (int s = 0; s < 4; s++) {
                    CT_N(vec) y = scale[v] * CT_N(byte)(unit, s);
#pragma GCC unroll 4
                    for (int r = 0; r < rows; r++)
                        sum[r * vectors + v] = CT_FMA(CT_SET1(x[r * x_row + p + u + s]), y, sum[r * vectors + v]);
                }
            }
    }
#pragma GCC unroll 32
    for (int i = 0; i < rows * vectors; i++)
        result[i] = sum[i];
}
#endif

static inline __attribute__((always_inline)) void CT_N(matvec_block_of)(const int rows, const int panels,
                                                                        const ct_gemm_form form, const CT_T *x,
                                                                        int64_t x_row, const char *b, int64_t steps,
                                                                        CT_N(vec) * result) {
#if CT_IS_F32
    if (form == CT_GEMM_Q8_0) {
        CT_N(matvec_block_q8_0)(rows, panels, x, x_row, b, steps, result);
        return;
    }
#endif
    CT_N(matvec_block)(rows, panels, form == CT_GEMM_PAIRS, x, x_row, (const CT_T *)(const void *)b, steps, result);
}

static inline __attribute__((always_inline)) int64_t CT_N(panel_column_bytes)(const ct_gemm_form form, int64_t steps) {
    if (form == CT_GEMM_Q8_0) return steps / CT_GEMM_Q8_STEPS * CT_GEMM_Q8_BYTES;
    return form == CT_GEMM_PAIRS ? (steps + 1) / 2 * 4 : steps * (int64_t)sizeof(CT_T);
}

static inline __attribute__((always_inline)) void CT_N(matvec_panels_of)(const int rows, const ct_gemm_form form,
                                                                         const ct_gemm_matvec *matvec) {
    /* Panels whose sums, and scales, fit in the registers. */
    const int together = form == CT_GEMM_Q8_0 ? rows <= 2 ? 2 : 1 : 4 / rows;
    CT_T alpha = (CT_T)matvec->alpha, beta = (CT_T)matvec->beta;
    const char *block = matvec->b;
    for (int64_t p = 0; p < matvec->steps; beta = 1) {
        int64_t steps = matvec->steps - p < CT_DEPTH ? matvec->steps - p : CT_DEPTH;
        int64_t column = CT_N(panel_column_bytes)(form, steps);
        for (int64_t j = 0; j < matvec->cols;) {
            CT_N(vec) sum[4 * CT_NV];
            const char *b = block + (matvec->col + j) * column;
            int panels = matvec->cols - j > (together - 1) * CT_NR ? together : 1;
            if (panels == together)
                CT_N(matvec_block_of)(rows, together, form, (const CT_T *)matvec->x + p, matvec->x_row, b, steps, sum);
            else
                CT_N(matvec_block_of)(rows, 1, form, (const CT_T *)matvec->x + p, matvec->x_row, b, steps, sum);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < panels * CT_NV; v++) {
                    CT_T *c = (CT_T *)matvec->c + r * matvec->c_row + j + v * CT_VL;
                    CT_N(vec) s = sum[r * panels * CT_NV + v];
                    int64_t left = matvec->cols - j - v * CT_VL;
                    if (left >= CT_VL)
                        CT_N(matvec_add)(c, s, alpha, beta);
                    else
                        for (int64_t l = 0; l < left; l++)
                            c[l] = CT_N(matvec_add_one)(c[l], s[l], alpha, beta);
                }
            j += panels * CT_NR;
        }
        block += matvec->padded * column;
        p += steps;
    }
}

#define CT_MATVEC(kind, narrow)                                                                              \
    switch (matvec->rows) {                                                                                  \
    case 1:                                                                                                  \
        CT_N(kind)(1, narrow, matvec);                                                                       \
        break;                                                                                               \
    case 2:                                                                                                  \
        CT_N(kind)(2, narrow, matvec);                                                                       \
        break;                                                                                               \
    case 3:                                                                                                  \
        CT_N(kind)(3, narrow, matvec);                                                                       \
        break;                                                                                               \
    default:                                                                                                 \
        CT_N(kind)(4, narrow, matvec);                                                                       \
        break;                                                                                               \
    }

static void CT_N(matvec_columns)(const ct_gemm_matvec *matvec) {
#if CT_IS_F32
    if (matvec->b_dtype == CT_BF16) {
        CT_MATVEC(matvec_columns_of, 1)
        return;
    }
#endif
    CT_MATVEC(matvec_columns_of, 0)
}

static void CT_N(matvec_rows)(const ct_gemm_matvec *matvec) {
#if CT_IS_F32
    if (matvec->b_dtype == CT_BF16) {
        CT_MATVEC(matvec_rows_of, 1)
        return;
    }
#endif
    CT_MATVEC(matvec_rows_of, 0)
}

static void CT_N(matvec_panels)(const ct_gemm_matvec *matvec) {
#if CT_IS_F32
    if (matvec->form == CT_GEMM_Q8_0) {
        CT_MATVEC(matvec_panels_of, CT_GEMM_Q8_0)
        return;
    }
    if (matvec->form == CT_GEMM_PAIRS) {
        CT_MATVEC(matvec_panels_of, CT_GEMM_PAIRS)
        return;
    }
#endif
    CT_MATVEC(matvec_panels_of, CT_GEMM_WHOLE)
}
#undef CT_MATVEC
#undef CT_UNITS
#undef CT_DEPTH
