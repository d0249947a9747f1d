/* kernels_real.inc.h - the part of the kernel table that exists for f32 and for f64. Included twice by
 * kernels.h with CT_KERNEL_REAL the element type and CT_KERNEL_TABLE the name of the table. */

typedef struct CT_KERNEL_TABLE {
    /* ---------------------------------------------------------------------------------- elementwise, in
     * place */

    /* y = f(x; p, q). `op` may have CT_KERNEL_STREAM or-ed in. */
    void (*unary)(int op, int64_t n, const CT_KERNEL_REAL *x, CT_KERNEL_REAL *y, CT_KERNEL_REAL p,
                  CT_KERNEL_REAL q);
    /* dx = dy f'(s; p, q); dx may be dy or s. */
    void (*unary_backward)(ct_unary_gradient op, int64_t n, const CT_KERNEL_REAL *s, const CT_KERNEL_REAL *dy,
                           CT_KERNEL_REAL *dx, CT_KERNEL_REAL p, CT_KERNEL_REAL q);
    /* y[i] = f(a[i * a_step], b[i * b_step]), steps 0 or 1. `op` may have CT_KERNEL_STREAM or-ed in. */
    void (*binary)(int op, int64_t n, const CT_KERNEL_REAL *a, int a_step, const CT_KERNEL_REAL *b,
                   int b_step, CT_KERNEL_REAL *y);
    /* The same, result 0 or 1; comparisons with NaN are false except NE. Not in place. */
    void (*compare)(ct_compare op, int64_t n, const CT_KERNEL_REAL *a, int a_step, const CT_KERNEL_REAL *b,
                    int b_step, uint8_t *y);
    /* y[i] = mask[i] ? a[i * a_step] : b[i * b_step]; steps 0 or 1. */
    void (*where)(int64_t n, const uint8_t *mask, const CT_KERNEL_REAL *a, int a_step,
                  const CT_KERNEL_REAL *b, int b_step, CT_KERNEL_REAL *y);
    void (*fill)(int64_t n, CT_KERNEL_REAL value, CT_KERNEL_REAL *y);
    /* y += alpha x (one fused multiply-add). */
    void (*axpy)(int64_t n, CT_KERNEL_REAL alpha, const CT_KERNEL_REAL *x, CT_KERNEL_REAL *y);
    /* y = fma(alpha, x, beta * y). */
    void (*axpby)(int64_t n, CT_KERNEL_REAL alpha, const CT_KERNEL_REAL *x, CT_KERNEL_REAL beta,
                  CT_KERNEL_REAL *y);
    /* y = fma(alpha * a, b, c), elementwise. */
    void (*addcmul)(int64_t n, CT_KERNEL_REAL alpha, const CT_KERNEL_REAL *a, const CT_KERNEL_REAL *b,
                    const CT_KERNEL_REAL *c, CT_KERNEL_REAL *y);
    /* y = fma(weight, b - a, a). */
    void (*lerp)(int64_t n, CT_KERNEL_REAL weight, const CT_KERNEL_REAL *a, const CT_KERNEL_REAL *b,
                 CT_KERNEL_REAL *y);
    /* y = f(gate) * up. */
    void (*gated)(ct_gate op, int64_t n, const CT_KERNEL_REAL *gate, const CT_KERNEL_REAL *up,
                  CT_KERNEL_REAL *y);
    /* dgate = dy up f'(gate), dup = dy f(gate); the outputs may be gate and up themselves, or dy one of them.
     */
    void (*gated_backward)(ct_gate op, int64_t n, const CT_KERNEL_REAL *gate, const CT_KERNEL_REAL *up,
                           const CT_KERNEL_REAL *dy, CT_KERNEL_REAL *dgate, CT_KERNEL_REAL *dup);

    /* ----------------------------------------------------------------------------------------------
     * reductions */

    /* One block, n <= CT_REDUCE_BLOCK. */
    double (*reduce_block)(ct_reduce op, int64_t n, const CT_KERNEL_REAL *x, CT_KERNEL_REAL shift);
    /* A row of any length: blocks from its first element, combined as ct_reduce_combine does. */
    double (*reduce)(ct_reduce op, int64_t n, const CT_KERNEL_REAL *x, CT_KERNEL_REAL shift);
    /* Sum of x y over one block, and over a row of any length; partials combine with CT_REDUCE_SUM. */
    double (*dot_block)(int64_t n, const CT_KERNEL_REAL *x, const CT_KERNEL_REAL *y);
    double (*dot)(int64_t n, const CT_KERNEL_REAL *x, const CT_KERNEL_REAL *y);
    /* Index of the first greatest (least) element; the first NaN counts as such. -1 of none. Ranges combine:
     * a later range wins only if its value is strictly greater (less), or is NaN and the earlier is not. */
    int64_t (*argmax)(int64_t n, const CT_KERNEL_REAL *x);
    int64_t (*argmin)(int64_t n, const CT_KERNEL_REAL *x);
    /* Over rows: y[c] (+)= reduction over r of x[r * stride + c], r in order 0 .. rows-1 (SUM_SQUARES in the
     * element type here, shift 0). `accumulate`: y takes part as the value before row 0. Cut columns
     * anywhere, rows only at fixed multiples (CT_COLUMN_ROWS), the partial rows combined by a second call
     * with op SUM (MAX, MIN). */
    void (*column_reduce)(ct_reduce op, int64_t rows, int64_t columns, const CT_KERNEL_REAL *x,
                          int64_t stride, CT_KERNEL_REAL *y, bool accumulate);

    /* ------------------------------------------------------------------------- soft maximum and cross
     * entropy */

    /* rows rows of n; strides in elements between rows; in place. A row of -inf only, or with NaN or +inf, is
     * NaN (as in PyTorch). Rows longer than CT_SOFTMAX_LONG have the bits of softmax_part, _combine, _write
     * below. */
    void (*softmax)(int64_t rows, int64_t n, const CT_KERNEL_REAL *x, int64_t x_stride, CT_KERNEL_REAL *y,
                    int64_t y_stride);
    void (*log_softmax)(int64_t rows, int64_t n, const CT_KERNEL_REAL *x, int64_t x_stride, CT_KERNEL_REAL *y,
                        int64_t y_stride);
    /* lse[r] = logarithm of the sum of exponentials of row r. */
    void (*logsumexp)(int64_t rows, int64_t n, const CT_KERNEL_REAL *x, int64_t x_stride,
                      CT_KERNEL_REAL *lse);
    /* For one row longer than CT_SOFTMAX_LONG on many threads: one part per block of CT_REDUCE_BLOCK elements
     * (n <= that), parts combined in order, then any range written: y = exp(x - max) / sum, or x - max -
     * log(sum). `stream`: non-temporal stores. The same bits as `softmax`, `log_softmax` of the whole row. */
    void (*softmax_part)(int64_t n, const CT_KERNEL_REAL *x, ct_softmax_part *part);
    void (*softmax_combine)(int64_t count, const ct_softmax_part *parts, ct_softmax_part *total);
    void (*softmax_write)(int64_t n, const CT_KERNEL_REAL *x, const ct_softmax_part *total, CT_KERNEL_REAL *y,
                          bool stream);
    void (*log_softmax_write)(int64_t n, const CT_KERNEL_REAL *x, const ct_softmax_part *total,
                              CT_KERNEL_REAL *y, bool stream);
    /* dx = y (dy - sum(y dy)); dx may be dy or y. */
    void (*softmax_backward)(int64_t rows, int64_t n, const CT_KERNEL_REAL *y, int64_t y_stride,
                             const CT_KERNEL_REAL *dy, int64_t dy_stride, CT_KERNEL_REAL *dx,
                             int64_t dx_stride);
    /* dx = dy - exp(y) sum(dy). */
    void (*log_softmax_backward)(int64_t rows, int64_t n, const CT_KERNEL_REAL *y, int64_t y_stride,
                                 const CT_KERNEL_REAL *dy, int64_t dy_stride, CT_KERNEL_REAL *dx,
                                 int64_t dx_stride);
    /* Cross entropy with label smoothing eps, per row r with target t = targets[r]:
     *   loss = lse - (1 - eps) x[t] - eps mean(x);  dlogits = scale[r] (softmax(x) - (1 - eps) onehot(t) -
     * eps / n). Rows with t == ignore have loss 0, dlogits 0 (lse still set). logits (and dlogits) are of
     * `dtype`: the table's own type, or CT_BF16 with the f32 table; all arithmetic in the table's type. Any
     * of loss, lse, dlogits may be NULL. scale_step 0: scale[0] for all rows; 1: scale[r]. dlogits may be
     * logits. `known_lse`: lse is an input (the backward pass after a forward pass). Returns the first row
     * whose target is neither in [0, n) nor ignore, else -1; nothing is written from that row on. */
    int64_t (*cross_entropy)(int64_t rows, int64_t n, ct_dtype dtype, const void *logits,
                             int64_t logits_stride, const int64_t *targets, int64_t ignore,
                             CT_KERNEL_REAL smoothing, CT_KERNEL_REAL *loss, CT_KERNEL_REAL *lse,
                             bool known_lse, const CT_KERNEL_REAL *scale, int scale_step, void *dlogits,
                             int64_t dlogits_stride);

    /* ---------------------------------------------------------------------------------------------------
     * norms */

    /* Rows of n, contiguous (row stride n) in all arrays. Input z = x, or x + residual if residual is not
     * NULL; then `sum` (if not NULL) receives z; sum may be x or residual. y = (z - mean) rstd gamma + beta;
     * gamma, beta may be NULL (1, 0). mean, rstd: [rows], may be NULL. rstd = 1 / sqrt(var + epsilon), var
     * the biased variance. y may be x if residual is NULL. */
    void (*layer_norm)(int64_t rows, int64_t n, const CT_KERNEL_REAL *x, const CT_KERNEL_REAL *residual,
                       CT_KERNEL_REAL *sum, const CT_KERNEL_REAL *gamma, const CT_KERNEL_REAL *beta,
                       double epsilon, CT_KERNEL_REAL *y, CT_KERNEL_REAL *mean, CT_KERNEL_REAL *rstd);
    /* z: the normalised input (x, or the saved sum). dx = rstd (w - mean(w) - h mean(w h)) [+ dsum], w = dy
     * gamma, h = (z - mean) rstd; dsum (may be NULL): gradient that reaches z by the residual path. dx may be
     * dy or dsum, or NULL. dgamma, dbeta: [n], overwritten with the sums over these rows in order (NULL: not
     * wanted); call with at most CT_COLUMN_ROWS rows from a multiple of it and combine by column_reduce. */
    void (*layer_norm_backward)(int64_t rows, int64_t n, const CT_KERNEL_REAL *z, const CT_KERNEL_REAL *gamma,
                                const CT_KERNEL_REAL *mean, const CT_KERNEL_REAL *rstd,
                                const CT_KERNEL_REAL *dy, const CT_KERNEL_REAL *dsum, CT_KERNEL_REAL *dx,
                                CT_KERNEL_REAL *dgamma, CT_KERNEL_REAL *dbeta);
    /* y = z rstd (gamma + gamma_offset), rstd = 1 / sqrt(mean(z^2) + epsilon); gamma_offset 1 for Gemma, else
     * 0. */
    void (*rms_norm)(int64_t rows, int64_t n, const CT_KERNEL_REAL *x, const CT_KERNEL_REAL *residual,
                     CT_KERNEL_REAL *sum, const CT_KERNEL_REAL *gamma, CT_KERNEL_REAL gamma_offset,
                     double epsilon, CT_KERNEL_REAL *y, CT_KERNEL_REAL *rstd);
    /* dx = rstd (w - h mean(w h)) [+ dsum], h = z rstd, w = dy (gamma + gamma_offset). */
    void (*rms_norm_backward)(int64_t rows, int64_t n, const CT_KERNEL_REAL *z, const CT_KERNEL_REAL *gamma,
                              CT_KERNEL_REAL gamma_offset, const CT_KERNEL_REAL *rstd,
                              const CT_KERNEL_REAL *dy, const CT_KERNEL_REAL *dsum, CT_KERNEL_REAL *dx,
                              CT_KERNEL_REAL *dgamma);

    /* ----------------------------------------------------------------------------------------------
     * optimizers */

    /* `shadow` (NULL: none): bf16 copy of the new w. */
    void (*adamw)(int64_t n, CT_KERNEL_REAL *w, const CT_KERNEL_REAL *g, CT_KERNEL_REAL *m, CT_KERNEL_REAL *v,
                  const ct_adamw *options, uint16_t *shadow);
    void (*sgd)(int64_t n, CT_KERNEL_REAL *w, const CT_KERNEL_REAL *g, CT_KERNEL_REAL *m,
                const ct_sgd *options, uint16_t *shadow);

    /* --------------------------------------------------------------------------------------------------
     * random */

    /* low + (high - low) u. */
    void (*random_uniform)(int64_t n, CT_KERNEL_REAL *y, double low, double high, ct_random_range random);
    /* mean + deviation z. */
    void (*random_normal)(int64_t n, CT_KERNEL_REAL *y, double mean, double deviation,
                          ct_random_range random);
    /* y += alpha z, z as random_normal(0, 1) draws it. */
    void (*random_perturb)(int64_t n, CT_KERNEL_REAL *y, double alpha, ct_random_range random);
    /* y = u >= probability ? x / (1 - probability) : 0, u the f32 uniforms of the range also for f64. Forward
     * and backward are the same call with the same range. In place. probability in [0, 1). */
    void (*dropout)(int64_t n, const CT_KERNEL_REAL *x, CT_KERNEL_REAL *y, double probability,
                    ct_random_range random);

    /* --------------------------------------------------------------------------------------------------
     * layout */

    /* Rotary embedding (Su et al. 2021, arXiv:2104.09864) of `heads` vectors of one token: vectors of `dim`
     * elements x_stride apart; the first rotary_dim (even) elements are turned by the angles of cosine, sine
     * [rotary_dim / 2], the rest copied. interleaved: pairs (2i, 2i + 1), else (i, i + rotary_dim / 2).
     * inverse: by the negative angles (the gradient). In place. */
    void (*rotary)(int64_t heads, int64_t dim, int64_t rotary_dim, const CT_KERNEL_REAL *cosine,
                   const CT_KERNEL_REAL *sine, const CT_KERNEL_REAL *x, int64_t x_stride, CT_KERNEL_REAL *y,
                   int64_t y_stride, bool interleaved, bool inverse);
    /* table[indices[i] * table_stride + c] += x[i * x_stride + c] for c < columns, i in order, only where
     * first <= indices[i] < last (others are skipped): cut by table rows or by columns, never by i. The
     * gradient of gather_rows. */
    void (*scatter_add_rows)(int64_t n, int64_t columns, const CT_KERNEL_REAL *x, int64_t x_stride,
                             const int64_t *indices, CT_KERNEL_REAL *table, int64_t table_stride,
                             int64_t first, int64_t last);
} CT_KERNEL_TABLE;
