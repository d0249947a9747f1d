/* kernels_cross_entropy.inc.h - cross entropy of rows of logits, forward and backward, for one element type.
 * Included by kernels_all.inc.h. Rows are worked on in blocks of CT_REDUCE_BLOCK; bf16 blocks are converted
 * into a buffer. */

typedef struct N(logits) {
    const void *row;
    bool bf16;
    int64_t n;
    _Alignas(64) REAL buffer[CT_REDUCE_BLOCK];
} N(logits);

/* The block that starts at element i, `*length` elements. */
static const REAL *N(logits_block)(N(logits) * logits, int64_t i, int64_t *length) {
    *length = logits->n - i < CT_REDUCE_BLOCK ? logits->n - i : CT_REDUCE_BLOCK;
    if (!logits->bf16) return (const REAL *)logits->row + i;
    const uint16_t *source = (const uint16_t *)logits->row + i;
    for (int64_t j = 0; j < *length; ++j)
        logits->buffer[j] = (REAL)ct_bf16_to_f32(source[j]);
    return logits->buffer;
}

static double N(logits_lse)(N(logits) * logits) {
    REAL highest = (REAL)-INFINITY;
    int64_t length;
    for (int64_t i = 0; i < logits->n; i += CT_REDUCE_BLOCK) {
        const REAL *x = N(logits_block)(logits, i, &length);
        REAL value = N(block_highest)(length, x);
        highest = value > highest ? value : highest;
    }
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < logits->n; i += CT_REDUCE_BLOCK) {
        const REAL *x = N(logits_block)(logits, i, &length);
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM,
                              (double)N(block_exponential_sum)(length, x, N(safe_shift)(highest)));
    }
    return (double)highest + N(log_of)(ct_reduce_counter_total(&counter, CT_REDUCE_SUM));
}

static double N(logits_sum)(N(logits) * logits) {
    ct_reduce_counter counter;
    counter.count = 0;
    int64_t length;
    for (int64_t i = 0; i < logits->n; i += CT_REDUCE_BLOCK) {
        const REAL *x = N(logits_block)(logits, i, &length);
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM, (double)N(block_sum)(length, x, 0));
    }
    return ct_reduce_counter_total(&counter, CT_REDUCE_SUM);
}

/* scale (e^(x - lse) - share) for a block, into y. */
static void N(logits_slope)(int64_t n, const REAL *x, REAL lse, REAL share, REAL scale, REAL *y) {
    const VT shift = V(set)(lse), part = V(set)(share), factor = V(set)(scale);
    for (int64_t i = 0; i < n; i += LANES) {
        VT p = V(exp_negative)(V(sub)(N(load_count)(x + i, n - i), shift));
        N(store_count)(y + i, V(mul)(factor, V(sub)(p, part)), n - i);
    }
}

static void N(logits_gradient)(N(logits) * logits, int64_t target, REAL lse, REAL smoothing, REAL scale,
                               void *output) {
    REAL share = smoothing / (REAL)logits->n;
    for (int64_t i = 0, length; i < logits->n; i += CT_REDUCE_BLOCK) {
        const REAL *x = N(logits_block)(logits, i, &length);
        REAL *y = logits->bf16 ? logits->buffer : (REAL *)output + i;
        N(logits_slope)(length, x, lse, share, scale, y);
        if (target >= i && target < i + length) y[target - i] = y[target - i] - scale * (1 - smoothing);
        if (!logits->bf16) continue;
        uint16_t *narrow = (uint16_t *)output + i;
        for (int64_t j = 0; j < length; ++j)
            narrow[j] = ct_f32_to_bf16((float)y[j]);
    }
}

static void N(logits_zero)(const N(logits) * logits, void *output) {
    memset(output, 0, (size_t)logits->n * (logits->bf16 ? sizeof(uint16_t) : sizeof(REAL)));
}

static int64_t N(cross_entropy)(int64_t rows, int64_t n, ct_dtype dtype, const void *logits_base,
                                int64_t logits_stride, const int64_t *targets, int64_t ignore, REAL smoothing,
                                REAL *loss, REAL *lse, bool known_lse, const REAL *scale, int scale_step,
                                void *dlogits, int64_t dlogits_stride) {
    N(logits) logits;
    logits.bf16 = dtype == CT_BF16;
    logits.n = n;
    size_t size = logits.bf16 ? sizeof(uint16_t) : sizeof(REAL);
    for (int64_t r = 0; r < rows; ++r) {
        int64_t target = targets[r];
        logits.row = (const char *)logits_base + (size_t)(r * logits_stride) * size;
        void *output = dlogits ? (char *)dlogits + (size_t)(r * dlogits_stride) * size : NULL;
        bool ignored = target == ignore;
        if (!ignored && (target < 0 || target >= n)) return r;
        double row_lse = known_lse ? (double)lse[r] : ignored && !lse ? 0 : N(logits_lse)(&logits);
        if (lse && !known_lse) lse[r] = (REAL)row_lse;
        if (ignored) {
            if (loss) loss[r] = 0;
            if (output) N(logits_zero)(&logits, output);
            continue;
        }
        if (loss) {
            double x = logits.bf16 ? (double)ct_bf16_to_f32(((const uint16_t *)logits.row)[target])
                                   : (double)((const REAL *)logits.row)[target];
            double value = row_lse - (1 - (double)smoothing) * x;
            if (smoothing != 0) value -= (double)smoothing * N(logits_sum)(&logits) / (double)n;
            loss[r] = (REAL)value;
        }
        if (output)
            N(logits_gradient)(&logits, target, (REAL)row_lse, smoothing, scale[r * scale_step], output);
    }
    return -1;
}
