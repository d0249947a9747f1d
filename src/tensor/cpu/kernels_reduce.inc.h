/* kernels_reduce.inc.h - reductions of rows and over rows, for one element type. Included by
 * kernels_all.inc.h.
 *
 * A block of at most CT_REDUCE_BLOCK elements is cut into vectors; vector j goes to accumulator j % 4; the
 * four are joined as (0 + 1) + (2 + 3), then the lanes by halving. What lies beyond the end counts as the
 * neutral element. */

#define BLOCK_LOOP(neutral, prepare, take)                                                                   \
    VT a0 = neutral, a1 = a0, a2 = a0, a3 = a0;                                                              \
    int64_t i = 0;                                                                                           \
    for (; i + 4 * LANES <= n; i += 4 * LANES) {                                                             \
        VT v0 = V(load)(x + i), v1 = V(load)(x + i + LANES);                                                 \
        VT v2 = V(load)(x + i + 2 * LANES), v3 = V(load)(x + i + 3 * LANES);                                 \
        a0 = take(a0, prepare(v0));                                                                          \
        a1 = take(a1, prepare(v1));                                                                          \
        a2 = take(a2, prepare(v2));                                                                          \
        a3 = take(a3, prepare(v3));                                                                          \
    }                                                                                                        \
    for (int j = 0; i < n; i += LANES, ++j) {                                                                \
        VT v = prepare(N(load_count)(x + i, n - i));                                                         \
        if (n - i < LANES) v = V(select)(M(first)(n - i), v, neutral);                                       \
        if (j == 0)                                                                                          \
            a0 = take(a0, v);                                                                                \
        else if (j == 1)                                                                                     \
            a1 = take(a1, v);                                                                                \
        else if (j == 2)                                                                                     \
            a2 = take(a2, v);                                                                                \
        else                                                                                                 \
            a3 = take(a3, v);                                                                                \
    }

#define PREPARE_PLAIN(v) (v)
#define PREPARE_SHIFT(v) V(sub)(v, mean)
#define PREPARE_ABS(v) V(abs)(V(sub)(v, mean))
#define TAKE_SUM(a, v) V(add)(a, v)
#define TAKE_SQUARE(a, v) V(fma)(v, v, a)

static REAL N(block_sum)(int64_t n, const REAL *x, REAL shift) {
    const VT mean = V(set)(shift);
    BLOCK_LOOP(ZERO, PREPARE_SHIFT, TAKE_SUM)
    return V(sum)(V(add)(V(add)(a0, a1), V(add)(a2, a3)));
}
static REAL N(block_sum_abs)(int64_t n, const REAL *x, REAL shift) {
    const VT mean = V(set)(shift);
    BLOCK_LOOP(ZERO, PREPARE_ABS, TAKE_SUM)
    return V(sum)(V(add)(V(add)(a0, a1), V(add)(a2, a3)));
}
/* Squares summed in the element type, for rows of a norm. */
static REAL N(block_squares)(int64_t n, const REAL *x, REAL shift) {
    const VT mean = V(set)(shift);
    BLOCK_LOOP(ZERO, PREPARE_SHIFT, TAKE_SQUARE)
    return V(sum)(V(add)(V(add)(a0, a1), V(add)(a2, a3)));
}
/* The highest element, NaN passed over. */
static REAL N(block_highest)(int64_t n, const REAL *x) {
#define TAKE_HIGHEST(a, v) V(max)(v, a)
    BLOCK_LOOP(V(set)((REAL)-INFINITY), PREPARE_PLAIN, TAKE_HIGHEST)
#undef TAKE_HIGHEST
    return V(highest)(V(max)(V(max)(a0, a1), V(max)(a2, a3)));
}

/* The extreme lane, NaN if there is one. */
static REAL N(lanes_max)(VT v) {
    REAL lanes[LANES];
    V(store)(lanes, v);
    REAL best = lanes[0];
    for (int i = 1; i < LANES; ++i)
        if (best == best && !(lanes[i] <= best)) best = lanes[i];
    return best;
}
static REAL N(lanes_min)(VT v) {
    REAL lanes[LANES];
    V(store)(lanes, v);
    REAL best = lanes[0];
    for (int i = 1; i < LANES; ++i)
        if (best == best && !(lanes[i] >= best)) best = lanes[i];
    return best;
}
static REAL N(block_max)(int64_t n, const REAL *x) {
    BLOCK_LOOP(V(set)((REAL)-INFINITY), PREPARE_PLAIN, V(max_nan))
    return N(lanes_max)(V(max_nan)(V(max_nan)(a0, a1), V(max_nan)(a2, a3)));
}
static REAL N(block_min)(int64_t n, const REAL *x) {
    BLOCK_LOOP(V(set)((REAL)INFINITY), PREPARE_PLAIN, V(min_nan))
    return N(lanes_min)(V(min_nan)(V(min_nan)(a0, a1), V(min_nan)(a2, a3)));
}

/* Adds to a pair of f64 vectors (the second unused for f64) the squares, the products, of f64 conversions. */
typedef struct N(wide) {
    vd a, b;
} N(wide);

static double N(block_squares_wide)(int64_t n, const REAL *x, REAL shift) {
    const VT mean = V(set)(shift);
    N(wide) sums[2] = {{vd_zero(), vd_zero()}, {vd_zero(), vd_zero()}};
    int64_t i = 0;
    for (int j = 0; i < n; i += LANES, j ^= 1) {
        VT v = V(sub)(N(load_count)(x + i, n - i), mean);
        if (n - i < LANES) v = V(keep)(M(first)(n - i), v);
        WIDE_FMA(sums[j], v, v);
    }
    return vd_sum(vd_add(vd_add(sums[0].a, sums[0].b), vd_add(sums[1].a, sums[1].b)));
}

static double N(dot_block)(int64_t n, const REAL *x, const REAL *y) {
    N(wide) sums[2] = {{vd_zero(), vd_zero()}, {vd_zero(), vd_zero()}};
    int64_t i = 0;
    for (int j = 0; i < n; i += LANES, j ^= 1) {
        VT u = N(load_count)(x + i, n - i), v = N(load_count)(y + i, n - i);
        WIDE_FMA(sums[j], u, v);
    }
    return vd_sum(vd_add(vd_add(sums[0].a, sums[0].b), vd_add(sums[1].a, sums[1].b)));
}

static double N(reduce_block)(ct_reduce op, int64_t n, const REAL *x, REAL shift) {
    switch (op) {
    case CT_REDUCE_SUM:
        return (double)N(block_sum)(n, x, shift);
    case CT_REDUCE_SUM_ABS:
        return (double)N(block_sum_abs)(n, x, shift);
    case CT_REDUCE_SUM_SQUARES:
        return N(block_squares_wide)(n, x, shift);
    case CT_REDUCE_MAX:
        return (double)N(block_max)(n, x);
    default:
        return (double)N(block_min)(n, x);
    }
}

static double N(reduce)(ct_reduce op, int64_t n, const REAL *x, REAL shift) {
    if (n <= CT_REDUCE_BLOCK) return N(reduce_block)(op, n, x, shift);
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        ct_reduce_counter_add(&counter, op, N(reduce_block)(op, length, x + i, shift));
    }
    return ct_reduce_counter_total(&counter, op);
}

static double N(dot)(int64_t n, const REAL *x, const REAL *y) {
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM, N(dot_block)(length, x + i, y + i));
    }
    return ct_reduce_counter_total(&counter, CT_REDUCE_SUM);
}

/* Sum, or sum of squares about `shift`, of a row in the element type, blocks combined in f64: rows of norms.
 */
static double N(row_sum)(int64_t n, const REAL *x, REAL shift, bool squares) {
    if (n <= CT_REDUCE_BLOCK)
        return (double)(squares ? N(block_squares)(n, x, shift) : N(block_sum)(n, x, shift));
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        REAL part = squares ? N(block_squares)(length, x + i, shift) : N(block_sum)(length, x + i, shift);
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM, (double)part);
    }
    return ct_reduce_counter_total(&counter, CT_REDUCE_SUM);
}

static REAL N(block_dot)(int64_t n, const REAL *x, const REAL *y) {
    VT a0 = ZERO, a1 = ZERO;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a0 = V(fma)(V(load)(x + i), V(load)(y + i), a0);
        a1 = V(fma)(V(load)(x + i + LANES), V(load)(y + i + LANES), a1);
    }
    for (int j = 0; i < n; i += LANES, ++j) {
        VT u = N(load_count)(x + i, n - i), v = N(load_count)(y + i, n - i);
        if (j == 0)
            a0 = V(fma)(u, v, a0);
        else
            a1 = V(fma)(u, v, a1);
    }
    return V(sum)(V(add)(a0, a1));
}
/* The dot product of two rows in the element type, blocks combined in f64. */
static double N(row_dot)(int64_t n, const REAL *x, const REAL *y) {
    if (n <= CT_REDUCE_BLOCK) return (double)N(block_dot)(n, x, y);
    ct_reduce_counter counter;
    counter.count = 0;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        ct_reduce_counter_add(&counter, CT_REDUCE_SUM, (double)N(block_dot)(length, x + i, y + i));
    }
    return ct_reduce_counter_total(&counter, CT_REDUCE_SUM);
}
static bool N(row_has_nan)(int64_t n, const REAL *x) {
    for (int64_t i = 0; i < n; ++i)
        if (x[i] != x[i]) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------- argmax */

/* Blocks are compared by their extremes; only the winning block is searched for the position. */
static int64_t N(arg_extreme)(int64_t n, const REAL *x, bool greatest) {
    if (n <= 0) return -1;
    REAL best = 0;
    int64_t best_block = -1;
    for (int64_t i = 0; i < n; i += CT_REDUCE_BLOCK) {
        int64_t length = n - i < CT_REDUCE_BLOCK ? n - i : CT_REDUCE_BLOCK;
        REAL value = greatest ? N(block_max)(length, x + i) : N(block_min)(length, x + i);
        bool wins = best_block < 0 || value != value || (greatest ? value > best : value < best);
        if (!wins) continue;
        best = value;
        best_block = i;
        if (value != value) break;
    }
    int64_t i = best_block;
    if (best != best)
        while (x[i] == x[i])
            ++i;
    else
        while (x[i] != best)
            ++i;
    return i;
}
static int64_t N(argmax)(int64_t n, const REAL *x) {
    return N(arg_extreme)(n, x, true);
}
static int64_t N(argmin)(int64_t n, const REAL *x) {
    return N(arg_extreme)(n, x, false);
}

/* ------------------------------------------------------------------------------------------ over the rows */

#define COLUMNS_AT_ONCE 2048 /* a strip of y that stays in the first cache */

#define COLUMN_LOOP(name, take)                                                                              \
    static void N(column_##name)(int64_t rows, int64_t n, const REAL *x, int64_t stride, REAL *y) {          \
        int64_t r = 0;                                                                                       \
        for (; r + 4 <= rows; r += 4, x += 4 * stride)                                                       \
            for (int64_t i = 0; i < n; i += LANES) {                                                         \
                VT v = N(load_count)(y + i, n - i);                                                          \
                v = take(v, N(load_count)(x + i, n - i));                                                    \
                v = take(v, N(load_count)(x + stride + i, n - i));                                           \
                v = take(v, N(load_count)(x + 2 * stride + i, n - i));                                       \
                v = take(v, N(load_count)(x + 3 * stride + i, n - i));                                       \
                N(store_count)(y + i, v, n - i);                                                             \
            }                                                                                                \
        for (; r < rows; ++r, x += stride)                                                                   \
            for (int64_t i = 0; i < n; i += LANES) {                                                         \
                VT v = take(N(load_count)(y + i, n - i), N(load_count)(x + i, n - i));                       \
                N(store_count)(y + i, v, n - i);                                                             \
            }                                                                                                \
    }
#define TAKE_ABS(a, v) V(add)(a, V(abs)(v))
COLUMN_LOOP(sum, TAKE_SUM)
COLUMN_LOOP(sum_abs, TAKE_ABS)
COLUMN_LOOP(squares, TAKE_SQUARE)
COLUMN_LOOP(max, V(max_nan))
COLUMN_LOOP(min, V(min_nan))
#undef COLUMN_LOOP

static void N(column_reduce)(ct_reduce op, int64_t rows, int64_t columns, const REAL *x, int64_t stride,
                             REAL *y, bool accumulate) {
    for (int64_t c = 0; c < columns; c += COLUMNS_AT_ONCE) {
        int64_t n = columns - c < COLUMNS_AT_ONCE ? columns - c : COLUMNS_AT_ONCE;
        if (!accumulate) {
            REAL neutral = op == CT_REDUCE_MAX ? (REAL)-INFINITY : op == CT_REDUCE_MIN ? (REAL)INFINITY : 0;
            N(fill)(n, neutral, y + c);
        }
        switch (op) {
        case CT_REDUCE_SUM:
            N(column_sum)(rows, n, x + c, stride, y + c);
            break;
        case CT_REDUCE_SUM_ABS:
            N(column_sum_abs)(rows, n, x + c, stride, y + c);
            break;
        case CT_REDUCE_SUM_SQUARES:
            N(column_squares)(rows, n, x + c, stride, y + c);
            break;
        case CT_REDUCE_MAX:
            N(column_max)(rows, n, x + c, stride, y + c);
            break;
        default:
            N(column_min)(rows, n, x + c, stride, y + c);
            break;
        }
    }
}
#undef COLUMNS_AT_ONCE
#undef PREPARE_PLAIN
#undef PREPARE_SHIFT
#undef PREPARE_ABS
#undef TAKE_SUM
#undef TAKE_SQUARE
#undef TAKE_ABS
