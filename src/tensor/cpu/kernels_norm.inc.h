/* kernels_norm.inc.h - layer norm and root-mean-square norm, forward and backward, for one element type.
 * Included by kernels_all.inc.h. A row is read from memory once; its further passes find it in the cache. */

/* z = x + residual, into sum; or nothing to do. Returns the row to normalise. */
static const REAL *N(norm_input)(int64_t n, const REAL *x, const REAL *residual, REAL *sum, REAL *y) {
    if (!residual) {
        if (sum && sum != x) memcpy(sum, x, (size_t)n * sizeof(REAL));
        return x;
    }
    REAL *z = sum ? sum : y;
    for (int64_t i = 0; i < n; i += LANES)
        N(store_count)(z + i, V(add)(N(load_count)(x + i, n - i), N(load_count)(residual + i, n - i)), n - i);
    return z;
}

/* y = (z - mean) rstd gamma + beta. The row after z is asked for meanwhile. */
SIMD void N(norm_affine)(int64_t n, const REAL *z, REAL mean, REAL rstd, const REAL *gamma, const REAL *beta,
                         REAL *y) {
    const VT m = V(set)(mean), s = V(set)(rstd);
    for (int64_t i = 0; i < n; i += LANES) {
        VT v = V(mul)(V(sub)(N(load_count)(z + i, n - i), m), s);
        __builtin_prefetch(z + n + i, 0, 3);
        __builtin_prefetch(y + n + i, 1, 3);
        if (gamma && beta)
            v = V(fma)(v, N(load_count)(gamma + i, n - i), N(load_count)(beta + i, n - i));
        else if (gamma)
            v = V(mul)(v, N(load_count)(gamma + i, n - i));
        else if (beta)
            v = V(add)(v, N(load_count)(beta + i, n - i));
        N(store_count)(y + i, v, n - i);
    }
}

static void N(layer_norm)(int64_t rows, int64_t n, const REAL *x, const REAL *residual, REAL *sum,
                          const REAL *gamma, const REAL *beta, double epsilon, REAL *y, REAL *mean,
                          REAL *rstd) {
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
        const REAL *z = N(norm_input)(n, x, residual, sum, y);
        if (residual) residual += n;
        if (sum) sum += n;
        REAL row_mean = (REAL)(N(row_sum)(n, z, 0, false) / (double)n);
        double variance = N(row_sum)(n, z, row_mean, true) / (double)n;
        REAL row_rstd = (REAL)(1.0 / sqrt(variance + epsilon));
        if (mean) mean[r] = row_mean;
        if (rstd) rstd[r] = row_rstd;
        N(norm_affine)(n, z, row_mean, row_rstd, gamma, beta, y);
    }
}

static void N(rms_norm)(int64_t rows, int64_t n, const REAL *x, const REAL *residual, REAL *sum,
                        const REAL *gamma, REAL gamma_offset, double epsilon, REAL *y, REAL *rstd) {
    const VT offset = V(set)(gamma_offset);
    for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
        const REAL *z = N(norm_input)(n, x, residual, sum, y);
        if (residual) residual += n;
        if (sum) sum += n;
        REAL row_rstd = (REAL)(1.0 / sqrt(N(row_sum)(n, z, 0, true) / (double)n + epsilon));
        if (rstd) rstd[r] = row_rstd;
        const VT s = V(set)(row_rstd);
        for (int64_t i = 0; i < n; i += LANES) {
            VT v = V(mul)(N(load_count)(z + i, n - i), s);
            __builtin_prefetch(z + n + i, 0, 3);
            __builtin_prefetch(y + n + i, 1, 3);
            if (gamma) v = V(mul)(v, V(add)(N(load_count)(gamma + i, n - i), offset));
            N(store_count)(y + i, v, n - i);
        }
    }
}

/* The two sums of a row's backward pass, of w = dy (gamma + offset) and of w h, h = (z - mean) rstd; adds dy
 * h and dy to the gradients of gain and bias. */
SIMD void N(norm_sums)(int64_t n, const REAL *z, const REAL *gamma, REAL offset, REAL mean, REAL rstd,
                       const REAL *dy, REAL *dgamma, REAL *dbeta, double *sum_w, double *sum_wh) {
    const VT m = V(set)(mean), s = V(set)(rstd), more = V(set)(offset);
    ct_reduce_counter w_counter, wh_counter;
    w_counter.count = wh_counter.count = 0;
    for (int64_t block = 0; block < n; block += CT_REDUCE_BLOCK) {
        int64_t end = n - block < CT_REDUCE_BLOCK ? n : block + CT_REDUCE_BLOCK;
        VT w_sum = ZERO, wh_sum = ZERO;
        for (int64_t i = block; i < end; i += LANES) {
            VT d = N(load_count)(dy + i, end - i);
            VT h = V(mul)(V(sub)(N(load_count)(z + i, end - i), m), s);
            VT w = gamma ? V(mul)(d, V(add)(N(load_count)(gamma + i, end - i), more)) : d;
            if (dgamma) N(store_count)(dgamma + i, V(fma)(d, h, N(load_count)(dgamma + i, end - i)), end - i);
            if (dbeta) N(store_count)(dbeta + i, V(add)(d, N(load_count)(dbeta + i, end - i)), end - i);
            w_sum = V(add)(w_sum, w);
            wh_sum = V(fma)(w, h, wh_sum);
        }
        ct_reduce_counter_add(&w_counter, CT_REDUCE_SUM, (double)V(sum)(w_sum));
        ct_reduce_counter_add(&wh_counter, CT_REDUCE_SUM, (double)V(sum)(wh_sum));
    }
    *sum_w = ct_reduce_counter_total(&w_counter, CT_REDUCE_SUM);
    *sum_wh = ct_reduce_counter_total(&wh_counter, CT_REDUCE_SUM);
}

/* dx = rstd (w - mean_w - h mean_wh) [+ dsum]. The rows after z and dy are asked for meanwhile. */
SIMD void N(norm_slope)(int64_t n, const REAL *z, const REAL *gamma, REAL offset, REAL mean, REAL rstd,
                        const REAL *dy, const REAL *dsum, REAL mean_w, REAL mean_wh, REAL *dx) {
    const VT m = V(set)(mean), s = V(set)(rstd), more = V(set)(offset), a = V(set)(mean_w),
             b = V(set)(mean_wh);
    for (int64_t i = 0; i < n; i += LANES) {
        VT w = N(load_count)(dy + i, n - i);
        VT h = V(mul)(V(sub)(N(load_count)(z + i, n - i), m), s);
        if (gamma) w = V(mul)(w, V(add)(N(load_count)(gamma + i, n - i), more));
        VT inner = V(fnma)(h, b, V(sub)(w, a));
        __builtin_prefetch(z + n + i, 0, 3);
        __builtin_prefetch(dy + n + i, 0, 3);
        __builtin_prefetch(dx + n + i, 1, 3);
        VT v = dsum ? V(fma)(s, inner, N(load_count)(dsum + i, n - i)) : V(mul)(s, inner);
        N(store_count)(dx + i, v, n - i);
    }
}

static void N(layer_norm_backward)(int64_t rows, int64_t n, const REAL *z, const REAL *gamma,
                                   const REAL *mean, const REAL *rstd, const REAL *dy, const REAL *dsum,
                                   REAL *dx, REAL *dgamma, REAL *dbeta) {
    if (dgamma) N(fill)(n, 0, dgamma);
    if (dbeta) N(fill)(n, 0, dbeta);
    for (int64_t r = 0; r < rows; ++r, z += n, dy += n) {
        double sum_w, sum_wh;
        N(norm_sums)(n, z, gamma, 0, mean[r], rstd[r], dy, dgamma, dbeta, &sum_w, &sum_wh);
        if (dx) N(norm_slope)
        (n, z, gamma, 0, mean[r], rstd[r], dy, dsum ? dsum + r * n : NULL, (REAL)(sum_w / (double)n),
         (REAL)(sum_wh / (double)n), dx + r * n);
    }
}

static void N(rms_norm_backward)(int64_t rows, int64_t n, const REAL *z, const REAL *gamma, REAL gamma_offset,
                                 const REAL *rstd, const REAL *dy, const REAL *dsum, REAL *dx, REAL *dgamma) {
    if (dgamma) N(fill)(n, 0, dgamma);
    for (int64_t r = 0; r < rows; ++r, z += n, dy += n) {
        double sum_w, sum_wh;
        N(norm_sums)(n, z, gamma, gamma_offset, 0, rstd[r], dy, dgamma, NULL, &sum_w, &sum_wh);
        if (dx) N(norm_slope)
        (n, z, gamma, gamma_offset, 0, rstd[r], dy, dsum ? dsum + r * n : NULL, 0, (REAL)(sum_wh / (double)n),
         dx + r * n);
    }
}
