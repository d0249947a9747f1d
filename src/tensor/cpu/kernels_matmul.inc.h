/* kernels_matmul.inc.h - the small matrix products inside the attention kernels. Included by
 * kernels_all.inc.h.
 *
 * c[i, j] = init + sum over k of a[i, k] b[k, j], one chain of fused multiply-adds for each element in the
 * order of k, so that the bits do not depend on how rows and columns are tiled. a[i * a_row + k * a_column],
 * rows of b contiguous and padded to whole vectors. */

#if defined(CT_SIMD_AVX512)
#define TILE_ROWS 8
#define TILE_VECTORS 2
#elif defined(CT_SIMD_AVX2)
#define TILE_ROWS 6
#define TILE_VECTORS 1
#else
#define TILE_ROWS 4
#define TILE_VECTORS 1
#endif
#define REST_ROWS 2
#define REST_VECTORS 2
#define ROW_VECTORS 4 /* vectors side by side where there is only one row */

typedef enum product_mode {
    PRODUCT_SET,     /* init 0 */
    PRODUCT_ADD,     /* init c */
    PRODUCT_RESCALE, /* init c * factor[i] */
} product_mode;

typedef struct product {
    int64_t m, n, k; /* n a multiple of VF_LANES */
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    const float *factor;
} product;

SIMD void product_tile(const product *p, product_mode mode, int rows, int vectors, int64_t i, int64_t j) {
    vf sums[8][4];
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; ++r) {
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; ++v) {
            const float *c = p->c + (i + r) * p->c_row + j + v * VF_LANES;
            if (mode == PRODUCT_SET)
                sums[r][v] = vf_zero();
            else if (mode == PRODUCT_ADD)
                sums[r][v] = vf_load(c);
            else
                sums[r][v] = vf_mul(vf_load(c), vf_set(p->factor[i + r]));
        }
    }
    const float *a = p->a + i * p->a_row, *b = p->b + j;
    const int64_t a_row = p->a_row, a_column = p->a_column, b_row = p->b_row;
    for (int64_t k = p->k; k > 0; --k, a += a_column, b += b_row) {
        vf right[4];
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; ++v) right[v] = vf_load(b + v * VF_LANES);
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; ++r) {
            vf left = vf_set(a[r * a_row]);
            _Pragma("GCC unroll 4") for (int v = 0; v < vectors; ++v) sums[r][v] =
                vf_fma(left, right[v], sums[r][v]);
        }
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; ++r) {
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; ++v)
            vf_store(p->c + (i + r) * p->c_row + j + v * VF_LANES, sums[r][v]);
    }
}

/* `rows` rows from i, `vectors` vectors of columns at a time. */
SIMD void product_rows(const product *p, product_mode mode, int rows, int vectors, int64_t i) {
    int64_t j = 0;
    for (; j + vectors * VF_LANES <= p->n; j += vectors * VF_LANES)
        product_tile(p, mode, rows, vectors, i, j);
    for (; j < p->n; j += VF_LANES)
        product_tile(p, mode, rows, 1, i, j);
}

SIMD void product_run(const product *p, product_mode mode) {
    int64_t i = 0;
    for (; i + TILE_ROWS <= p->m; i += TILE_ROWS)
        product_rows(p, mode, TILE_ROWS, TILE_VECTORS, i);
    for (; i + REST_ROWS <= p->m; i += REST_ROWS)
        product_rows(p, mode, REST_ROWS, REST_VECTORS, i);
    for (; i < p->m; ++i)
        product_rows(p, mode, 1, ROW_VECTORS, i);
}
static void product_set(const product *p) {
    product_run(p, PRODUCT_SET);
}
static void product_add(const product *p) {
    product_run(p, PRODUCT_ADD);
}
static void product_rescale(const product *p) {
    product_run(p, PRODUCT_RESCALE);
}
