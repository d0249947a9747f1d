/* gemm_pack.inc.h - packs panels of `width` neighbours: element (i, p) of a panel goes to p * width + i, i
 * the row of A or the column of B, p the step of k. See gemm_vector.inc.h for the macros. */

/* The view's stride between neighbours is `across`, between steps `along`. */

static inline __attribute__((always_inline)) void CT_N(pack_any)(const int width, const CT_T *from,
                                                                 int64_t across, int64_t along, int64_t valid,
                                                                 int64_t steps, CT_T *out) {
    for (int64_t p = 0; p < steps; p++)
        for (int i = 0; i < width; i++)
            out[p * width + i] = i < valid ? from[p * along + i * across] : 0;
}

/* Neighbours lie side by side: `panels` whole panels at once, so that lines of memory are read whole. Vectors
 * that reach past a panel's step are put right by the next step; the last step is copied by elements. */
static inline __attribute__((always_inline)) void CT_N(pack_across)(const int width, const CT_T *from,
                                                                    int64_t along, int64_t panels,
                                                                    int64_t steps, CT_T *out) {
    int64_t whole = width % CT_VL == 0 ? steps : steps - 1;
    for (int64_t p = 0; p < whole; p++) {
        const CT_T *row = from + p * along;
        CT_T *to = out + p * width;
        for (int64_t q = 0; q < panels; q++, row += width, to += width * steps)
#pragma GCC unroll 16
            for (int i = 0; i < width; i += CT_VL)
                CT_N(store)(to + i, CT_N(load)(row + i));
    }
    for (int64_t p = whole; p < steps; p++)
        for (int64_t q = 0; q < panels; q++)
            for (int i = 0; i < width; i++)
                out[q * width * steps + p * width + i] = from[p * along + q * width + i];
}

/* Steps lie side by side: squares are transposed in registers. */
static inline __attribute__((always_inline)) void
CT_N(pack_along)(const int width, const CT_T *from, int64_t across, int64_t valid, int64_t steps, CT_T *out) {
    enum { BLOCKS = 2 };
    int64_t p = 0;
    for (; p + CT_VL <= steps; p += CT_VL) {
        const CT_T *column = from + p;
        CT_T *to = out + p * width;
        if (width % CT_VL == 0 || width < CT_VL) {
#pragma GCC unroll 2
            for (int i = 0; i < width; i += CT_VL) {
                CT_N(vec) square[CT_VL];
#pragma GCC unroll 16
                for (int l = 0; l < CT_VL; l++)
                    square[l] = i + l < width && i + l < valid ? CT_N(load)(column + (i + l) * across)
                                                               : (CT_N(vec)){0};
                CT_TRANSPOSE(square, CT_N(vec));
#pragma GCC unroll 16
                for (int l = 0; l < CT_VL; l++)
                    CT_N(store)(to + l * width + i, square[l]);
            }
        } else {
            CT_N(vec) square[BLOCKS][CT_VL];
#pragma GCC unroll 2
            for (int block = 0; block < BLOCKS; block++) {
#pragma GCC unroll 16
                for (int l = 0; l < CT_VL; l++) {
                    int i = block * CT_VL + l;
                    square[block][l] =
                        i < width && i < valid ? CT_N(load)(column + i * across) : (CT_N(vec)){0};
                }
                CT_TRANSPOSE(square[block], CT_N(vec));
            }
#pragma GCC unroll 16
            for (int l = 0; l < CT_VL; l++)
#pragma GCC unroll 2
                for (int block = 0; block < BLOCKS; block++)
                    CT_N(store)(to + l * width + block * CT_VL, square[block][l]);
        }
    }
    CT_N(pack_any)(width, from + p, across, 1, valid, steps - p, out + p * width);
}

static inline __attribute__((always_inline)) void CT_N(pack)(const int panel, const CT_T *from,
                                                             int64_t across, int64_t along, int64_t width,
                                                             int64_t steps, CT_T *out) {
    enum { TOGETHER = 8 };
    int64_t done = 0;
    int reach = (panel + CT_VL - 1) / CT_VL * CT_VL - panel; /* elements read past a panel */
    if (across == 1 && steps > 0)
        while (done + panel + reach <= width) {
            int64_t panels = (width - reach - done) / panel;
            if (panels > TOGETHER) panels = TOGETHER;
            CT_N(pack_across)(panel, from + done, along, panels, steps, out + done * steps);
            done += panels * panel;
        }
    for (; done < width; done += panel) {
        int64_t valid = width - done < panel ? width - done : panel;
        const CT_T *first = from + done * across;
        if (along == 1 && valid == panel)
            CT_N(pack_along)(panel, first, across, panel, steps, out + done * steps);
        else if (along == 1)
            CT_N(pack_along)(panel, first, across, valid, steps, out + done * steps);
        else
            CT_N(pack_any)(panel, first, across, along, valid, steps, out + done * steps);
    }
}

#if CT_IS_F32
static void CT_N(pair)(const void *panel, int64_t steps, void *pairs) {
    const CT_BITS *from = panel;
    CT_BITS *to = pairs;
    for (int64_t p = 0; p < steps; p += 2, from += 2 * CT_NR, to += CT_NR)
        for (int i = 0; i < CT_NR; i++)
            to[i] = from[i] >> 16 | (p + 1 < steps ? from[CT_NR + i] & 0xffff0000u : 0);
}

static void CT_N(unpair)(const void *pairs, int64_t steps, void *panel) {
    const CT_BITS *from = pairs;
    CT_BITS *to = panel;
    for (int64_t p = 0; p < steps; p += 2, from += CT_NR, to += 2 * CT_NR)
        for (int i = 0; i < CT_NR; i++) {
            to[i] = from[i] << 16;
            if (p + 1 < steps) to[CT_NR + i] = from[i] & 0xffff0000u;
        }
}

/* The product of scale and byte is exact in f32: 11 and 7 bits. */
static void CT_N(unpack_q8_0)(const char *from, int64_t steps, CT_T *to) {
    for (int64_t p = 0; p < steps; p += CT_GEMM_Q8_STEPS, from += CT_GEMM_Q8_BYTES * CT_NR) {
        CT_N(vec) scale[CT_NV];
        for (int v = 0; v < CT_NV; v++)
            scale[v] = CT_HALF_LOAD((const uint16_t *)(const void *)from + v * CT_VL) * (CT_T)0x1p-24;
        const CT_T *units = (const CT_T *)(const void *)(from + 2 * CT_NR);
        for (int s = 0; s < CT_GEMM_Q8_STEPS; s += 4, units += CT_NR, to += 4 * CT_NR)
            for (int v = 0; v < CT_NV; v++) {
                CT_N(bits) unit = (CT_N(bits))CT_N(load)(units + v * CT_VL);
                CT_T *column = to + v * CT_VL;
                CT_N(store)(column, scale[v] * CT_N(byte)(unit, 0));
                CT_N(store)(column + CT_NR, scale[v] * CT_N(byte)(unit, 1));
                CT_N(store)(column + 2 * CT_NR, scale[v] * CT_N(byte)(unit, 2));
                CT_N(store)(column + 3 * CT_NR, scale[v] * CT_N(byte)(unit, 3));
            }
    }
}

static void CT_N(unpack)(ct_gemm_form form, const void *from, int64_t steps, void *panel) {
    if (form == CT_GEMM_Q8_0)
        CT_N(unpack_q8_0)(from, steps, panel);
    else
        CT_N(unpair)(from, steps, panel);
}
#endif

static void CT_N(pack_a)(const ct_gemm_view *a, int64_t width, int64_t steps, void *out) {
    CT_N(pack)(CT_MR, a->data, a->row_stride, a->col_stride, width, steps, out);
}

static void CT_N(pack_b)(const ct_gemm_view *b, int64_t width, int64_t steps, void *out) {
    CT_N(pack)(CT_NR, b->data, b->col_stride, b->row_stride, width, steps, out);
}
