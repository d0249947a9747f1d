/* kernels_rotary.inc.h - rotary embedding and the gradient of a table lookup, for one element type. Included
 * by kernels_all.inc.h. */

static void N(rotate_pairs)(int64_t half, const REAL *cosine, const REAL *sine, REAL sign, const REAL *x,
                            REAL *y) {
    for (int64_t i = 0; i < half; ++i) {
        REAL a = x[2 * i], b = x[2 * i + 1], s = sign * sine[i];
        y[2 * i] = SCALAR_FMA(a, cosine[i], -(b * s));
        y[2 * i + 1] = SCALAR_FMA(b, cosine[i], a * s);
    }
}

static void N(rotate_halves)(int64_t half, const REAL *cosine, const REAL *sine, REAL sign, const REAL *x,
                             REAL *y) {
    const VT direction = V(set)(sign);
    for (int64_t i = 0; i < half; i += LANES) {
        VT a = N(load_count)(x + i, half - i), b = N(load_count)(x + half + i, half - i);
        VT c = N(load_count)(cosine + i, half - i), s = V(mul)(direction, N(load_count)(sine + i, half - i));
        N(store_count)(y + i, V(fma)(a, c, V(neg)(V(mul)(b, s))), half - i);
        N(store_count)(y + half + i, V(fma)(b, c, V(mul)(a, s)), half - i);
    }
}

static void N(rotary)(int64_t heads, int64_t dim, int64_t rotary_dim, const REAL *cosine, const REAL *sine,
                      const REAL *x, int64_t x_stride, REAL *y, int64_t y_stride, bool interleaved,
                      bool inverse) {
    REAL sign = inverse ? -1 : 1;
    for (int64_t h = 0; h < heads; ++h, x += x_stride, y += y_stride) {
        if (interleaved)
            N(rotate_pairs)(rotary_dim / 2, cosine, sine, sign, x, y);
        else
            N(rotate_halves)(rotary_dim / 2, cosine, sine, sign, x, y);
        if (x != y) memcpy(y + rotary_dim, x + rotary_dim, (size_t)(dim - rotary_dim) * sizeof(REAL));
    }
}

static void N(scatter_add_rows)(int64_t n, int64_t columns, const REAL *x, int64_t x_stride,
                                const int64_t *indices, REAL *table, int64_t table_stride, int64_t first,
                                int64_t last) {
    for (int64_t r = 0; r < n; ++r) {
        if (indices[r] < first || indices[r] >= last) continue;
        const REAL *source = x + r * x_stride;
        REAL *row = table + indices[r] * table_stride;
        for (int64_t i = 0; i < columns; i += LANES)
            N(store_count)
        (row + i, V(add)(N(load_count)(row + i, columns - i), N(load_count)(source + i, columns - i)),
         columns - i);
    }
}
