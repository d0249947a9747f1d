/* kernels_softmax.inc.h - soft maximum, its logarithm and their gradients, for one element type. Included by
 * kernels_all.inc.h.
 *
 * Rows up to CT_SOFTMAX_LONG are read for the maximum, then exponentiated once. Longer rows are read twice in
 * all (Milakov and Gimelshein 2018, arXiv:1805.02867, block by block): once for the maximum and sum of each
 * block, exp(x - block maximum), once to write. */

/* What is subtracted before exp: the maximum, but 0 where that is -inf, so that -inf gives 0 and NaN stays.
 */
SIMD REAL N(safe_shift)(REAL highest) {
    return highest == (REAL)-INFINITY ? 0 : highest;
}

/* Sum of exp(x - shift) over a block; the exponentials are written to e unless it is NULL. */
SIMD REAL N(block_exponentials)(int64_t n, const REAL *x, REAL shift, REAL *e) {
    const VT m = V(set)(shift);
    VT a0 = ZERO, a1 = ZERO;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        VT v0 = V(exp_negative)(V(sub)(V(load)(x + i), m));
        VT v1 = V(exp_negative)(V(sub)(V(load)(x + i + LANES), m));
        if (e) {
            V(store)(e + i, v0);
            V(store)(e + i + LANES, v1);
        }
        a0 = V(add)(a0, v0);
        a1 = V(add)(a1, v1);
    }
    for (int j = 0; i < n; i += LANES, ++j) {
        VT v = V(exp_negative)(V(sub)(N(load_count)(x + i, n - i), m));
        if (n - i < LANES) v = V(keep)(M(first)(n - i), v);
        if (e) N(store_count)(e + i, v, n - i);
        if (j == 0)
            a0 = V(add)(a0, v);
        else
            a1 = V(add)(a1, v);
    }
    return V(sum)(V(add)(a0, a1));
}
static REAL N(block_exponential_sum)(int64_t n, const REAL *x, REAL shift) {
    return N(block_exponentials)(n, x, shift, NULL);
}
static REAL N(block_exponential_write)(int64_t n, const REAL *x, REAL shift, REAL *e) {
    return N(block_exponentials)(n, x, shift, e);
}

/* Maximum of a row, NaN passed over. */
static REAL N(row_highest)(int64_t n, const REAL *x) {
    REAL highest = (REAL)-INFINITY;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        REAL value = N(block_highest)(n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK, x + i);
        highest = value > highest ? value : highest;
    }
    return highest;
}

/* Up to this maximum, x log2(e) - m log2(e) is as exact as x - m: its error is that of x - m, and the
 * rounding of m log2(e) is made good in the sums. */
#define SOFTMAX_SCALED 1024
/* What a sum of 2^(x log2(e) - offset) is divided by to become one of e^(x - m). */
static double N(offset_error)(REAL offset, REAL m) {
    double value[VD_LANES];
    vd_store(value, vd_exp2(vd_set(fma((double)m, (double)V(exp_offset)(1), -(double)offset))));
    return value[0];
}

/* Sum of exp(x - offset / log2(e)) and maximum of a block in one pass. */
static REAL N(block_guessed)(int64_t n, const REAL *x, REAL offset, REAL *highest) {
    enum { AHEAD = 8192 / sizeof(REAL) }; /* the hardware fetches too little ahead */
    const V(exp_scaled) f = V(exp_scaled_by)(offset, 1);
    VT a0 = ZERO, a1 = ZERO, top = V(set)((REAL)-INFINITY), power;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        __builtin_prefetch(x + i + AHEAD, 0, 3);
        __builtin_prefetch(x + i + AHEAD + LANES, 0, 3);
        VT v0 = V(load)(x + i), v1 = V(load)(x + i + LANES);
        top = V(max)(v0, V(max)(v1, top));
        v0 = V(exp_scaled_parts)(v0, &f, &power);
        a0 = V(fma)(v0, power, a0);
        v1 = V(exp_scaled_parts)(v1, &f, &power);
        a1 = V(fma)(v1, power, a1);
    }
    *highest = N(block_highest)(n - i, x + i);
    for (; i < n; i += LANES) {
        int count = n - i < LANES ? (int)(n - i) : LANES;
        VT v = V(exp_scaled_parts)(N(load_count)(x + i, n - i), &f, &power);
        a0 = V(add)(a0, V(keep)(M(first)(count), V(mul)(v, power)));
    }
    REAL most = V(highest)(top);
    *highest = most > *highest ? most : *highest;
    return V(sum)(V(add)(a0, a1));
}

/* A block is read once if the maximum of its first elements is close to that of all: exp(x - guess) is then
 * as good as exp(x - max), and is brought to it afterwards. */
static void N(softmax_part)(int64_t n, const REAL *x, ct_softmax_part *part) {
    REAL guess = N(block_highest)(n < 64 ? n : 64, x), highest;
    if (guess > -SOFTMAX_SCALED && guess < SOFTMAX_SCALED) {
        REAL offset = V(exp_offset)(guess), sum = N(block_guessed)(n, x, offset, &highest);
        part->max = (double)highest;
        if (highest - guess <= 8) {
            part->sum = (double)sum / N(offset_error)(offset, highest);
            return;
        }
    } else {
        highest = N(block_highest)(n, x);
        part->max = (double)highest;
    }
    part->sum = (double)N(block_exponential_sum)(n, x, N(safe_shift)(highest));
}

/* One group of parts, relative to their common maximum. */
static ct_softmax_part N(softmax_join)(int count, const ct_softmax_part *parts) {
    double highest = -INFINITY;
    for (int i = 0; i < count; ++i)
        highest = parts[i].max > highest ? parts[i].max : highest;
    double shift = highest == -INFINITY ? 0 : highest;
    vd sum = vd_zero();
    for (int i = 0; i < count; i += VD_LANES) {
        double exponents[VD_LANES] = {0}, sums[VD_LANES] = {0};
        for (int j = 0; j < VD_LANES && i + j < count; ++j) {
            exponents[j] = parts[i + j].max - shift;
            sums[j] = parts[i + j].sum;
        }
        sum = vd_fma(vd_load(sums), vd_exp_negative(vd_load(exponents)), sum);
    }
    return (ct_softmax_part){highest, vd_sum(sum)};
}

/* Parts as they come, joined in groups, groups of groups, ... */
enum { N(JOIN) = 128, N(JOIN_LEVELS) = 5 };
typedef struct N(softmax_joiner) {
    int count[N(JOIN_LEVELS)];
    ct_softmax_part parts[N(JOIN_LEVELS)][N(JOIN)];
} N(softmax_joiner);

static void N(joiner_add)(N(softmax_joiner) * joiner, int level, ct_softmax_part part) {
    for (;; ++level) {
        joiner->parts[level][joiner->count[level]++] = part;
        if (joiner->count[level] < N(JOIN) || level == N(JOIN_LEVELS) - 1) return;
        part = N(softmax_join)(N(JOIN), joiner->parts[level]);
        joiner->count[level] = 0;
    }
}
static ct_softmax_part N(joiner_total)(N(softmax_joiner) * joiner) {
    for (int level = 0; level < N(JOIN_LEVELS) - 1; ++level)
        if (joiner->count[level])
            N(joiner_add)(joiner, level + 1, N(softmax_join)(joiner->count[level], joiner->parts[level]));
    return N(softmax_join)(joiner->count[N(JOIN_LEVELS) - 1], joiner->parts[N(JOIN_LEVELS) - 1]);
}

static void N(softmax_combine)(int64_t count, const ct_softmax_part *parts, ct_softmax_part *total) {
    N(softmax_joiner) joiner;
    memset(joiner.count, 0, sizeof joiner.count);
    for (int64_t i = 0; i < count; ++i)
        N(joiner_add)(&joiner, 0, parts[i]);
    *total = N(joiner_total)(&joiner);
}

static void N(softmax_total_long)(int64_t n, const REAL *x, ct_softmax_part *total) {
    N(softmax_joiner) joiner;
    memset(joiner.count, 0, sizeof joiner.count);
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        ct_softmax_part part;
        N(softmax_part)(n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK, x + i, &part);
        N(joiner_add)(&joiner, 0, part);
    }
    *total = N(joiner_total)(&joiner);
}

/* Maximum and sum of exponentials of a whole row; a short row's exponentials go to e unless it is NULL. */
static void N(softmax_total)(int64_t n, const REAL *x, ct_softmax_part *total, REAL *e) {
    if (n > CT_SOFTMAX_LONG) {
        N(softmax_total_long)(n, x, total);
        return;
    }
    REAL highest = N(row_highest)(n, x), shift = N(safe_shift)(highest);
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        REAL part = e ? N(block_exponential_write)(length, x + i, shift, e + i)
                      : N(block_exponential_sum)(length, x + i, shift);
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM, (double)part);
    }
    total->max = (double)highest;
    total->sum = ct_reduce_counter_total(&counter, CT_REDUCE_SUM);
}

/* ------------------------------------------------------------------------------------------------ writing */

SIMD VT N(softmax_value)(VT x, VT m, VT factor) {
    return V(mul)(V(exp_negative)(V(sub)(x, m)), factor);
}
SIMD VT N(log_softmax_value)(VT x, VT m, VT log_sum) {
    return V(sub)(V(sub)(x, m), log_sum);
}

#define WRITE_ROW(name, value)                                                                               \
    static void N(name)(int64_t n, const REAL *x, REAL highest, REAL other, REAL *y, bool stream) {          \
        const VT m = V(set)(highest), second = V(set)(other);                                                \
        int64_t i = stream ? N(until_aligned)(y, n) : 0;                                                     \
        for (int64_t j = 0; j < i; j += LANES)                                                               \
            N(store_count)(y + j, value(N(load_count)(x + j, i - j), m, second), i - j);                     \
        if (stream)                                                                                          \
            for (; i + LANES <= n; i += LANES)                                                               \
                V(stream)(y + i, value(V(load)(x + i), m, second));                                          \
        else                                                                                                 \
            for (; i + LANES <= n; i += LANES)                                                               \
                V(store)(y + i, value(V(load)(x + i), m, second));                                           \
        if (i < n) V(store_part)(y + i, value(V(load_part)(x + i, n - i), m, second), n - i);                \
        if (stream) simd_fence();                                                                            \
    }
WRITE_ROW(write_softmax, N(softmax_value))
WRITE_ROW(write_log_softmax, N(log_softmax_value))
#undef WRITE_ROW

/* Whole vectors past the caches. */
static int64_t N(softmax_stream)(int64_t i, int64_t n, const REAL *x, const V(exp_scaled) * f, REAL *y) {
    enum { AHEAD = 8192 / sizeof(REAL) };
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        __builtin_prefetch(x + i + AHEAD, 0, 3);
        __builtin_prefetch(x + i + AHEAD + LANES, 0, 3);
        VT power, v = V(exp_scaled_parts)(V(load)(x + i), f, &power);
        V(stream)(y + i, V(mul)(v, power));
        v = V(exp_scaled_parts)(V(load)(x + i + LANES), f, &power);
        V(stream)(y + i + LANES, V(mul)(v, power));
    }
    simd_fence();
    return i;
}
static void N(softmax_write_scaled)(int64_t n, const REAL *x, V(exp_scaled) f, REAL *y, bool stream) {
    VT power;
    int64_t i = stream ? N(until_aligned)(y, n) : 0;
    for (int64_t j = 0; j < i; j += LANES) {
        VT v = V(exp_scaled_parts)(N(load_count)(x + j, i - j), &f, &power);
        N(store_count)(y + j, V(mul)(v, power), i - j);
    }
    if (stream) i = N(softmax_stream)(i, n, x, &f, y);
    for (; i < n; i += LANES) {
        VT v = V(exp_scaled_parts)(N(load_count)(x + i, n - i), &f, &power);
        N(store_count)(y + i, V(mul)(v, power), n - i);
    }
}

static void N(softmax_write)(int64_t n, const REAL *x, const ct_softmax_part *total, REAL *y, bool stream) {
    if (fabs(total->max) < SOFTMAX_SCALED) {
        REAL highest = (REAL)total->max, offset = V(exp_offset)(highest);
        double factor = 1 / (total->sum * N(offset_error)(offset, highest));
        N(softmax_write_scaled)(n, x, V(exp_scaled_by)(offset, factor), y, stream);
        return;
    }
    N(write_softmax)(n, x, (REAL)total->max, (REAL)(1.0 / total->sum), y, stream);
}
static double N(log_of)(double x) {
    double lanes[VD_LANES];
    vd_store(lanes, vd_log(vd_set(x)));
    return lanes[0];
}
static void N(log_softmax_write)(int64_t n, const REAL *x, const ct_softmax_part *total, REAL *y,
                                 bool stream) {
    N(write_log_softmax)(n, x, (REAL)total->max, (REAL)N(log_of)(total->sum), y, stream);
}

/* Rows whose bytes exceed this are written past the caches. */
#define STREAM_BYTES (INT64_C(16) << 20)

static void N(softmax)(int64_t rows, int64_t n, const REAL *x, int64_t x_stride, REAL *y, int64_t y_stride) {
    for (int64_t r = 0; r < rows; ++r, x += x_stride, y += y_stride) {
        ct_softmax_part total;
        if (n > CT_SOFTMAX_LONG) {
            N(softmax_total)(n, x, &total, NULL);
            N(softmax_write)(n, x, &total, y, n * (int64_t)sizeof(REAL) > STREAM_BYTES);
            continue;
        }
        N(softmax_total)(n, x, &total, y);
        if (total.max == -INFINITY) {
            N(fill)(n, (REAL)NAN, y);
            continue;
        }
        VT factor = V(set)((REAL)(1.0 / total.sum));
        for (int64_t i = 0; i < n; i += LANES) {
            __builtin_prefetch(x + x_stride + i, 0, 3); /* the next row, meanwhile */
            N(store_count)(y + i, V(mul)(N(load_count)(y + i, n - i), factor), n - i);
        }
    }
}

static void N(log_softmax)(int64_t rows, int64_t n, const REAL *x, int64_t x_stride, REAL *y,
                           int64_t y_stride) {
    for (int64_t r = 0; r < rows; ++r, x += x_stride, y += y_stride) {
        ct_softmax_part total;
        N(softmax_total)(n, x, &total, NULL);
        N(log_softmax_write)(n, x, &total, y, n * (int64_t)sizeof(REAL) > STREAM_BYTES);
    }
}

static void N(logsumexp)(int64_t rows, int64_t n, const REAL *x, int64_t x_stride, REAL *lse) {
    for (int64_t r = 0; r < rows; ++r, x += x_stride) {
        ct_softmax_part total;
        N(softmax_total)(n, x, &total, NULL);
        bool endless = total.max == INFINITY && !N(row_has_nan)(n, x);
        lse[r] = (REAL)(endless ? INFINITY : total.max + N(log_of)(total.sum));
    }
}

/* ---------------------------------------------------------------------------------------------- gradients */

static void N(softmax_backward)(int64_t rows, int64_t n, const REAL *y, int64_t y_stride, const REAL *dy,
                                int64_t dy_stride, REAL *dx, int64_t dx_stride) {
    for (int64_t r = 0; r < rows; ++r, y += y_stride, dy += dy_stride, dx += dx_stride) {
        VT dot = V(set)((REAL)N(row_dot)(n, y, dy));
        for (int64_t i = 0; i < n; i += LANES) {
            VT v = V(mul)(N(load_count)(y + i, n - i), V(sub)(N(load_count)(dy + i, n - i), dot));
            N(store_count)(dx + i, v, n - i);
        }
    }
}

static void N(log_softmax_backward)(int64_t rows, int64_t n, const REAL *y, int64_t y_stride, const REAL *dy,
                                    int64_t dy_stride, REAL *dx, int64_t dx_stride) {
    for (int64_t r = 0; r < rows; ++r, y += y_stride, dy += dy_stride, dx += dx_stride) {
        VT sum = V(set)((REAL)N(row_sum)(n, dy, 0, false));
        for (int64_t i = 0; i < n; i += LANES) {
            VT p = V(exp)(N(load_count)(y + i, n - i));
            N(store_count)(dx + i, V(fnma)(p, sum, N(load_count)(dy + i, n - i)), n - i);
        }
    }
}
