/* kernels_elementwise.inc.h - unary, binary, comparison, gated and update kernels, for one element type.
 * Included by kernels_all.inc.h (macros there). The loops see whole vectors only; the drivers pass ends of
 * ranges through a padded buffer, so that an element has the same bits wherever it stands. */

#define CHUNK 1024 /* elements that are computed into the first cache before they are streamed out */

/* -------------------------------------------------------------------------------------------------- unary */

typedef void N(unary_loop)(int64_t vectors, const REAL *x, REAL *y, REAL p, REAL q);

#define UNARY(name, expression)                                                                              \
    static void N(unary_##name)(int64_t vectors, const REAL *x, REAL *y, REAL p, REAL q) {                   \
        const VT P = V(set)(p), Q = V(set)(q);                                                               \
        (void)P;                                                                                             \
        (void)Q;                                                                                             \
        for (int64_t i = 0; i < vectors; ++i) {                                                              \
            VT v = V(load)(x + i * LANES);                                                                   \
            V(store)(y + i * LANES, expression);                                                             \
        }                                                                                                    \
    }

#define ZERO V(zero)()
#define ONE V(set)(1)
UNARY(copy, v)
UNARY(neg, V(neg)(v))
UNARY(abs, V(abs)(v))
UNARY(exp, V(exp)(v))
UNARY(exp2, V(exp2)(v))
UNARY(expm1, V(expm1)(v))
UNARY(log, V(log)(v))
UNARY(log2, V(log2)(v))
UNARY(log1p, V(log1p)(v))
UNARY(tanh, V(tanh)(v))
UNARY(sigmoid, V(sigmoid)(v))
UNARY(relu, V(max)(ZERO, v))
UNARY(leaky_relu, V(select)(V(gt)(v, ZERO), v, V(mul)(P, v)))
UNARY(elu, V(select)(V(gt)(v, ZERO), v, V(mul)(P, V(expm1)(v))))
UNARY(gelu_erf, V(gelu_erf)(v))
UNARY(gelu_tanh, V(gelu_tanh)(v))
UNARY(silu, V(silu)(v))
UNARY(softplus, V(softplus)(v))
UNARY(sin, V(sin)(v))
UNARY(cos, V(cos)(v))
UNARY(erf, V(erf)(v))
UNARY(sqrt, V(sqrt)(v))
UNARY(rsqrt, V(div)(ONE, V(sqrt)(v)))
UNARY(reciprocal, V(div)(ONE, v))
UNARY(square, V(mul)(v, v))
UNARY(sign, V(select)(M(or)(V(eq)(v, ZERO), V(nan)(v)), v, V(sign_of)(ONE, v)))
UNARY(floor, V(floor)(v))
UNARY(ceil, V(ceil)(v))
UNARY(round, V(round)(v))
UNARY(trunc, V(trunc)(v))
UNARY(scale, V(fma)(P, v, Q))
UNARY(pow, V(pow)(v, P))
UNARY(clamp, V(min)(Q, V(max)(P, v)))
#undef UNARY

static N(unary_loop) *const N(unary_loops)[CT_UNARY_COUNT] = {
    [CT_UNARY_COPY] = N(unary_copy),
    [CT_UNARY_NEG] = N(unary_neg),
    [CT_UNARY_ABS] = N(unary_abs),
    [CT_UNARY_EXP] = N(unary_exp),
    [CT_UNARY_EXP2] = N(unary_exp2),
    [CT_UNARY_EXPM1] = N(unary_expm1),
    [CT_UNARY_LOG] = N(unary_log),
    [CT_UNARY_LOG2] = N(unary_log2),
    [CT_UNARY_LOG1P] = N(unary_log1p),
    [CT_UNARY_TANH] = N(unary_tanh),
    [CT_UNARY_SIGMOID] = N(unary_sigmoid),
    [CT_UNARY_RELU] = N(unary_relu),
    [CT_UNARY_LEAKY_RELU] = N(unary_leaky_relu),
    [CT_UNARY_ELU] = N(unary_elu),
    [CT_UNARY_GELU_ERF] = N(unary_gelu_erf),
    [CT_UNARY_GELU_TANH] = N(unary_gelu_tanh),
    [CT_UNARY_SILU] = N(unary_silu),
    [CT_UNARY_SOFTPLUS] = N(unary_softplus),
    [CT_UNARY_SIN] = N(unary_sin),
    [CT_UNARY_COS] = N(unary_cos),
    [CT_UNARY_ERF] = N(unary_erf),
    [CT_UNARY_SQRT] = N(unary_sqrt),
    [CT_UNARY_RSQRT] = N(unary_rsqrt),
    [CT_UNARY_RECIPROCAL] = N(unary_reciprocal),
    [CT_UNARY_SQUARE] = N(unary_square),
    [CT_UNARY_SIGN] = N(unary_sign),
    [CT_UNARY_FLOOR] = N(unary_floor),
    [CT_UNARY_CEIL] = N(unary_ceil),
    [CT_UNARY_ROUND] = N(unary_round),
    [CT_UNARY_TRUNC] = N(unary_trunc),
    [CT_UNARY_SCALE] = N(unary_scale),
    [CT_UNARY_POW] = N(unary_pow),
    [CT_UNARY_CLAMP] = N(unary_clamp),
};

/* Elements before y reaches the alignment of a non-temporal store (n if it never does). */
static int64_t N(until_aligned)(const REAL *y, int64_t n) {
    uintptr_t past = (uintptr_t)y % 64;
    if (past % sizeof(REAL) != 0) return n;
    int64_t head = past ? (int64_t)((64 - past) / sizeof(REAL)) : 0;
    return head < n ? head : n;
}

/* Copies whole vectors past the caches. y is aligned. */
static void N(stream_out)(int64_t vectors, const REAL *x, REAL *y) {
    for (int64_t i = 0; i < vectors; ++i)
        V(stream)(y + i * LANES, V(load)(x + i * LANES));
}

static void N(unary_range)(N(unary_loop) * loop, int64_t n, const REAL *x, REAL *y, REAL p, REAL q) {
    int64_t vectors = n / LANES, done = vectors * LANES;
    loop(vectors, x, y, p, q);
    if (done == n) return;
    REAL buffer[LANES];
    V(store)(buffer, V(load_part)(x + done, n - done));
    loop(1, buffer, buffer, p, q);
    V(store_part)(y + done, V(load)(buffer), n - done);
}

static void N(unary)(int op, int64_t n, const REAL *x, REAL *y, REAL p, REAL q) {
    N(unary_loop) *loop = N(unary_loops)[op & ~CT_KERNEL_STREAM];
    if (!(op & CT_KERNEL_STREAM)) {
        N(unary_range)(loop, n, x, y, p, q);
        return;
    }
    int64_t i = N(until_aligned)(y, n);
    N(unary_range)(loop, i, x, y, p, q);
    _Alignas(64) REAL buffer[CHUNK];
    for (; n - i >= LANES;) {
        int64_t vectors = n - i < CHUNK ? (n - i) / LANES : CHUNK / LANES;
        loop(vectors, x + i, buffer, p, q);
        N(stream_out)(vectors, buffer, y + i);
        i += vectors * LANES;
    }
    N(unary_range)(loop, n - i, x + i, y + i, p, q);
    simd_fence();
}

/* ---------------------------------------------------------------------------------------- unary gradients */

typedef void N(gradient_loop)(int64_t vectors, const REAL *s, const REAL *dy, REAL *dx, REAL p, REAL q);

#define GRADIENT(name, expression)                                                                           \
    static void N(gradient_##name)(int64_t vectors, const REAL *s, const REAL *dy, REAL *dx, REAL p,         \
                                   REAL q) {                                                                 \
        const VT P = V(set)(p), Q = V(set)(q);                                                               \
        (void)P;                                                                                             \
        (void)Q;                                                                                             \
        for (int64_t i = 0; i < vectors; ++i) {                                                              \
            VT v = V(load)(s + i * LANES), d = V(load)(dy + i * LANES);                                      \
            V(store)(dx + i * LANES, expression);                                                            \
        }                                                                                                    \
    }
GRADIENT(relu, V(keep)(V(gt)(v, ZERO), d))
GRADIENT(leaky_relu, V(select)(V(gt)(v, ZERO), d, V(mul)(P, d)))
GRADIENT(elu, V(select)(V(gt)(v, ZERO), d, V(mul)(d, V(mul)(P, V(exp)(v)))))
GRADIENT(gelu_erf, V(mul)(d, V(gelu_erf_slope)(v)))
GRADIENT(gelu_tanh, V(mul)(d, V(gelu_tanh_slope)(v)))
GRADIENT(silu, V(mul)(d, V(silu_slope)(v)))
GRADIENT(softplus, V(mul)(d, V(sigmoid)(v)))
GRADIENT(tanh, V(mul)(d, V(fnma)(v, v, ONE)))
GRADIENT(sigmoid, V(mul)(d, V(mul)(v, V(sub)(ONE, v))))
GRADIENT(clamp, V(keep)(M (and)(V(ge)(v, P), V(le)(v, Q)), d))
#undef GRADIENT

static N(gradient_loop) *const N(gradient_loops)[CT_GRADIENT_COUNT] = {
    [CT_GRADIENT_RELU] = N(gradient_relu),
    [CT_GRADIENT_LEAKY_RELU] = N(gradient_leaky_relu),
    [CT_GRADIENT_ELU] = N(gradient_elu),
    [CT_GRADIENT_GELU_ERF] = N(gradient_gelu_erf),
    [CT_GRADIENT_GELU_TANH] = N(gradient_gelu_tanh),
    [CT_GRADIENT_SILU] = N(gradient_silu),
    [CT_GRADIENT_SOFTPLUS] = N(gradient_softplus),
    [CT_GRADIENT_TANH] = N(gradient_tanh),
    [CT_GRADIENT_SIGMOID] = N(gradient_sigmoid),
    [CT_GRADIENT_CLAMP] = N(gradient_clamp),
};

static void N(unary_backward)(ct_unary_gradient op, int64_t n, const REAL *s, const REAL *dy, REAL *dx,
                              REAL p, REAL q) {
    N(gradient_loop) *loop = N(gradient_loops)[op];
    int64_t vectors = n / LANES, done = vectors * LANES;
    loop(vectors, s, dy, dx, p, q);
    if (done == n) return;
    REAL saved[LANES], gradient[LANES];
    V(store)(saved, V(load_part)(s + done, n - done));
    V(store)(gradient, V(load_part)(dy + done, n - done));
    loop(1, saved, gradient, gradient, p, q);
    V(store_part)(dx + done, V(load)(gradient), n - done);
}

/* ------------------------------------------------------------------------------------------------- binary */

/* Operands advance by `a_next`, `b_next` elements a vector: LANES, or 0 for a vector of one repeated value.
 */
typedef void N(binary_loop)(int64_t vectors, const REAL *a, int a_next, const REAL *b, int b_next, REAL *y);

#define BINARY(name, expression)                                                                             \
    static void N(binary_##name)(int64_t vectors, const REAL *a, int a_next, const REAL *b, int b_next,      \
                                 REAL *y) {                                                                  \
        for (int64_t i = 0; i < vectors; ++i, a += a_next, b += b_next) {                                    \
            VT u = V(load)(a), v = V(load)(b);                                                               \
            V(store)(y + i * LANES, expression);                                                             \
        }                                                                                                    \
    }
BINARY(add, V(add)(u, v))
BINARY(sub, V(sub)(u, v))
BINARY(mul, V(mul)(u, v))
BINARY(div, V(div)(u, v))
BINARY(pow, V(pow)(u, v))
BINARY(min, V(min_nan)(u, v))
BINARY(max, V(max_nan)(u, v))
#undef BINARY

static N(binary_loop) *const N(binary_loops)[CT_BINARY_COUNT] = {
    [CT_BINARY_ADD] = N(binary_add), [CT_BINARY_SUB] = N(binary_sub), [CT_BINARY_MUL] = N(binary_mul),
    [CT_BINARY_DIV] = N(binary_div), [CT_BINARY_POW] = N(binary_pow), [CT_BINARY_MIN] = N(binary_min),
    [CT_BINARY_MAX] = N(binary_max),
};

/* An operand of a loop over vectors: the array itself, or its first element repeated in `buffer`. */
static const REAL *N(operand)(const REAL *a, int step, int64_t n, REAL buffer[LANES], int *next) {
    *next = step ? LANES : 0;
    if (step) return a;
    V(store)(buffer, V(set)(n > 0 ? a[0] : 0));
    return buffer;
}
/* The last n elements of an operand, padded. */
static const REAL *N(operand_end)(const REAL *a, int next, int64_t done, int64_t n, REAL buffer[LANES]) {
    if (next == 0) return a;
    V(store)(buffer, V(load_part)(a + done, n));
    return buffer;
}

static void N(binary_range)(N(binary_loop) * loop, int64_t n, const REAL *a, int a_next, const REAL *b,
                            int b_next, REAL *y) {
    int64_t vectors = n / LANES, done = vectors * LANES;
    loop(vectors, a, a_next, b, b_next, y);
    if (done == n) return;
    REAL a_buffer[LANES], b_buffer[LANES];
    a = N(operand_end)(a, a_next, done, n - done, a_buffer);
    b = N(operand_end)(b, b_next, done, n - done, b_buffer);
    REAL result[LANES];
    loop(1, a, 0, b, 0, result);
    V(store_part)(y + done, V(load)(result), n - done);
}

static void N(binary)(int op, int64_t n, const REAL *a, int a_step, const REAL *b, int b_step, REAL *y) {
    N(binary_loop) *loop = N(binary_loops)[op & ~CT_KERNEL_STREAM];
    REAL a_value[LANES], b_value[LANES];
    int a_next, b_next;
    a = N(operand)(a, a_step, n, a_value, &a_next);
    b = N(operand)(b, b_step, n, b_value, &b_next);
    if (!(op & CT_KERNEL_STREAM)) {
        N(binary_range)(loop, n, a, a_next, b, b_next, y);
        return;
    }
    int64_t i = N(until_aligned)(y, n);
    int a_moves = a_next != 0, b_moves = b_next != 0;
    N(binary_range)(loop, i, a, a_next, b, b_next, y);
    _Alignas(64) REAL buffer[CHUNK];
    for (; n - i >= LANES;) {
        int64_t vectors = n - i < CHUNK ? (n - i) / LANES : CHUNK / LANES;
        loop(vectors, a + i * a_moves, a_next, b + i * b_moves, b_next, buffer);
        N(stream_out)(vectors, buffer, y + i);
        i += vectors * LANES;
    }
    N(binary_range)(loop, n - i, a + i * a_moves, a_next, b + i * b_moves, b_next, y + i);
    simd_fence();
}

/* ---------------------------------------------------------------------------------- comparison, selection */

#define COMPARE(name)                                                                                        \
    static void N(compare_##name)(int64_t vectors, const REAL *a, int a_next, const REAL *b, int b_next,     \
                                  uint8_t *y) {                                                              \
        for (int64_t i = 0; i < vectors; ++i, a += a_next, b += b_next)                                      \
            M(store_bytes)(y + i * LANES, V(name)(V(load)(a), V(load)(b)));                                  \
    }
COMPARE(eq)
COMPARE(ne)
COMPARE(lt)
COMPARE(le)
COMPARE(gt)
COMPARE(ge)
#undef COMPARE

static void N(compare)(ct_compare op, int64_t n, const REAL *a, int a_step, const REAL *b, int b_step,
                       uint8_t *y) {
    static void (*const loops[CT_COMPARE_COUNT])(int64_t, const REAL *, int, const REAL *, int, uint8_t *) = {
        [CT_COMPARE_EQ] = N(compare_eq), [CT_COMPARE_NE] = N(compare_ne), [CT_COMPARE_LT] = N(compare_lt),
        [CT_COMPARE_LE] = N(compare_le), [CT_COMPARE_GT] = N(compare_gt), [CT_COMPARE_GE] = N(compare_ge)};
    REAL a_value[LANES], b_value[LANES];
    int a_next, b_next;
    a = N(operand)(a, a_step, n, a_value, &a_next);
    b = N(operand)(b, b_step, n, b_value, &b_next);
    int64_t vectors = n / LANES, done = vectors * LANES;
    loops[op](vectors, a, a_next, b, b_next, y);
    if (done == n) return;
    REAL a_end[LANES], b_end[LANES];
    uint8_t result[LANES];
    loops[op](1, N(operand_end)(a, a_next, done, n - done, a_end), 0,
              N(operand_end)(b, b_next, done, n - done, b_end), 0, result);
    memcpy(y + done, result, (size_t)(n - done));
}

static void N(where)(int64_t n, const uint8_t *mask, const REAL *a, int a_step, const REAL *b, int b_step,
                     REAL *y) {
    REAL a_value[LANES], b_value[LANES];
    int a_next, b_next;
    a = N(operand)(a, a_step, n, a_value, &a_next);
    b = N(operand)(b, b_step, n, b_value, &b_next);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES, a += a_next, b += b_next)
        V(store)(y + i, V(select)(M(load_bytes)(mask + i), V(load)(a), V(load)(b)));
    if (i == n) return;
    REAL a_end[LANES], b_end[LANES];
    uint8_t bytes[LANES] = {0};
    memcpy(bytes, mask + i, (size_t)(n - i));
    a = N(operand_end)(a, a_next, 0, n - i, a_end);
    b = N(operand_end)(b, b_next, 0, n - i, b_end);
    V(store_part)(y + i, V(select)(M(load_bytes)(bytes), V(load)(a), V(load)(b)), n - i);
}

/* ------------------------------------------------------------------------------- updates, simple and wide */

/* A vector at the pointer, or the first `count` lanes of one at the end of a range. */
SIMD VT N(load_count)(const REAL *x, int64_t count) {
    return count >= LANES ? V(load)(x) : V(load_part)(x, count);
}
SIMD void N(store_count)(REAL *y, VT value, int64_t count) {
    if (count >= LANES)
        V(store)(y, value);
    else
        V(store_part)(y, value, count);
}

static void N(fill)(int64_t n, REAL value, REAL *y) {
    VT v = V(set)(value);
    for (int64_t i = 0; i < n; i += LANES)
        N(store_count)(y + i, v, n - i);
}

static void N(axpy)(int64_t n, REAL alpha, const REAL *x, REAL *y) {
    VT factor = V(set)(alpha);
    for (int64_t i = 0; i < n; i += LANES) {
        VT v = V(fma)(factor, N(load_count)(x + i, n - i), N(load_count)(y + i, n - i));
        N(store_count)(y + i, v, n - i);
    }
}

static void N(axpby)(int64_t n, REAL alpha, const REAL *x, REAL beta, REAL *y) {
    VT a = V(set)(alpha), b = V(set)(beta);
    for (int64_t i = 0; i < n; i += LANES) {
        VT v = V(fma)(a, N(load_count)(x + i, n - i), V(mul)(b, N(load_count)(y + i, n - i)));
        N(store_count)(y + i, v, n - i);
    }
}

static void N(addcmul)(int64_t n, REAL alpha, const REAL *a, const REAL *b, const REAL *c, REAL *y) {
    VT factor = V(set)(alpha);
    for (int64_t i = 0; i < n; i += LANES) {
        VT scaled = V(mul)(factor, N(load_count)(a + i, n - i));
        VT v = V(fma)(scaled, N(load_count)(b + i, n - i), N(load_count)(c + i, n - i));
        N(store_count)(y + i, v, n - i);
    }
}

static void N(lerp)(int64_t n, REAL weight, const REAL *a, const REAL *b, REAL *y) {
    VT w = V(set)(weight);
    for (int64_t i = 0; i < n; i += LANES) {
        VT u = N(load_count)(a + i, n - i), v = N(load_count)(b + i, n - i);
        N(store_count)(y + i, V(fma)(w, V(sub)(v, u), u), n - i);
    }
}

/* -------------------------------------------------------------------------------------------- gated units */

SIMD VT N(gate_value)(ct_gate op, VT x) {
    switch (op) {
    case CT_GATE_SILU:
        return V(silu)(x);
    case CT_GATE_GELU_ERF:
        return V(gelu_erf)(x);
    case CT_GATE_GELU_TANH:
        return V(gelu_tanh)(x);
    case CT_GATE_SIGMOID:
        return V(sigmoid)(x);
    default:
        return V(max)(ZERO, x);
    }
}
/* f(x), and f'(x) in *slope. */
SIMD VT N(gate_slope)(ct_gate op, VT x, VT *slope) {
    switch (op) {
    case CT_GATE_SILU: {
        VT g = V(sigmoid)(x);
        *slope = V(fma)(x, V(fnma)(g, g, g), g);
        return V(mul)(x, g);
    }
    case CT_GATE_GELU_ERF: {
        VT gauss, distribution = V(normal_distribution)(x, &gauss);
        *slope = V(fma)(V(mul)(x, V(set)((REAL)0.39894228040143267794)), gauss, distribution);
        return V(mul)(x, distribution);
    }
    case CT_GATE_GELU_TANH:
        *slope = V(gelu_tanh_slope)(x);
        return V(gelu_tanh)(x);
    case CT_GATE_SIGMOID: {
        VT g = V(sigmoid)(x);
        *slope = V(mul)(g, V(sub)(ONE, g));
        return g;
    }
    default:
        *slope = V(keep)(V(gt)(x, ZERO), ONE);
        return V(max)(ZERO, x);
    }
}

SIMD void N(gated_loop)(ct_gate op, int64_t n, const REAL *gate, const REAL *up, REAL *y) {
    for (int64_t i = 0; i < n; i += LANES) {
        VT g = N(load_count)(gate + i, n - i), u = N(load_count)(up + i, n - i);
        N(store_count)(y + i, V(mul)(N(gate_value)(op, g), u), n - i);
    }
}
SIMD void N(gated_backward_loop)(ct_gate op, int64_t n, const REAL *gate, const REAL *up, const REAL *dy,
                                 REAL *dgate, REAL *dup) {
    for (int64_t i = 0; i < n; i += LANES) {
        VT g = N(load_count)(gate + i, n - i), u = N(load_count)(up + i, n - i);
        VT d = N(load_count)(dy + i, n - i), slope, value = N(gate_slope)(op, g, &slope);
        N(store_count)(dgate + i, V(mul)(V(mul)(d, u), slope), n - i);
        N(store_count)(dup + i, V(mul)(d, value), n - i);
    }
}

static void N(gated)(ct_gate op, int64_t n, const REAL *gate, const REAL *up, REAL *y) {
    switch (op) {
    case CT_GATE_SILU:
        N(gated_loop)(CT_GATE_SILU, n, gate, up, y);
        break;
    case CT_GATE_GELU_ERF:
        N(gated_loop)(CT_GATE_GELU_ERF, n, gate, up, y);
        break;
    case CT_GATE_GELU_TANH:
        N(gated_loop)(CT_GATE_GELU_TANH, n, gate, up, y);
        break;
    case CT_GATE_SIGMOID:
        N(gated_loop)(CT_GATE_SIGMOID, n, gate, up, y);
        break;
    default:
        N(gated_loop)(CT_GATE_RELU, n, gate, up, y);
        break;
    }
}
static void N(gated_backward)(ct_gate op, int64_t n, const REAL *gate, const REAL *up, const REAL *dy,
                              REAL *dgate, REAL *dup) {
    switch (op) {
    case CT_GATE_SILU:
        N(gated_backward_loop)(CT_GATE_SILU, n, gate, up, dy, dgate, dup);
        break;
    case CT_GATE_GELU_ERF:
        N(gated_backward_loop)(CT_GATE_GELU_ERF, n, gate, up, dy, dgate, dup);
        break;
    case CT_GATE_GELU_TANH:
        N(gated_backward_loop)(CT_GATE_GELU_TANH, n, gate, up, dy, dgate, dup);
        break;
    case CT_GATE_SIGMOID:
        N(gated_backward_loop)(CT_GATE_SIGMOID, n, gate, up, dy, dgate, dup);
        break;
    default:
        N(gated_backward_loop)(CT_GATE_RELU, n, gate, up, dy, dgate, dup);
        break;
    }
}
#undef CHUNK
