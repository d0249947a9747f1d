/* checks_real.inc.h - the checks of kernels that exist for f32 and f64. REAL, K(kernels) the part of the
 * table, X(in, i) input array i, RECORD the recorder, NAME the suffix. */

static REAL *NAME(room)(const inputs *in, int which) {
    return (REAL *)in->scratch + which * (in->capacity + 64);
}
static REAL *NAME(copy)(const inputs *in, int which, const REAL *x) {
    REAL *y = NAME(room)(in, which);
    memcpy(y, x, (size_t)in->n * sizeof(REAL));
    return y;
}

static void NAME(run_unary)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    REAL p = way == CT_UNARY_POW ? (REAL)2.5 : (REAL)-0.75;
    K(kernels).unary(way, in->n, X(in, 0), y, p, (REAL)1.25);
    RECORD(out, y, in->n);
    if (!out->data) return;
    y = NAME(copy)(in, 1, X(in, 2)); /* positive values, streamed, in place, unaligned */
    K(kernels).unary(way | CT_KERNEL_STREAM, in->n, y, y, p, (REAL)1.25);
    RECORD(out, y, in->n);
    if (in->n > 3) {
        K(kernels).unary(way | CT_KERNEL_STREAM, in->n - 1, X(in, 0) + 1, y + 1, p, (REAL)1.25);
        RECORD(out, y, in->n);
    }
}
static void NAME(run_unary_backward)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *dx = NAME(room)(in, 0);
    K(kernels).unary_backward((ct_unary_gradient)way, in->n, X(in, 0), X(in, 1), dx, (REAL)-0.5, (REAL)0.75);
    RECORD(out, dx, in->n);
}
static void NAME(run_binary)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    for (int steps = 3; steps >= 0; --steps) {
        K(kernels).binary(way | (steps & 1 ? CT_KERNEL_STREAM : 0), in->n, X(in, 0), steps & 1, X(in, 1),
                          steps >> 1, y);
        RECORD(out, y, in->n);
        if (!out->data) return;
    }
}
static void NAME(run_compare)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    uint8_t *y = in->scratch;
    for (int steps = 3; steps >= 0; --steps) {
        K(kernels).compare((ct_compare)way, in->n, X(in, 0), steps & 1, X(in, 1), steps >> 1, y);
        record_bytes(out, y, in->n);
        if (!out->data) return;
    }
}
static void NAME(run_where)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    K(kernels).where(in->n, in->bytes, X(in, 0), way & 1, X(in, 1), way >> 1, y);
    RECORD(out, y, in->n);
}
static void NAME(run_update)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(copy)(in, 0, X(in, 1));
    switch (way) {
    case 0:
        K(kernels).fill(in->n, (REAL)1.5, y);
        break;
    case 1:
        K(kernels).axpy(in->n, (REAL)0.3, X(in, 0), y);
        break;
    case 2:
        K(kernels).axpby(in->n, (REAL)0.3, X(in, 0), (REAL)0.7, y);
        break;
    case 3:
        K(kernels).addcmul(in->n, (REAL)0.3, X(in, 0), X(in, 2), y, y);
        break;
    default:
        K(kernels).lerp(in->n, (REAL)0.3, X(in, 0), X(in, 2), y);
        break;
    }
    RECORD(out, y, in->n);
}
static void NAME(run_gated)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0), *dgate = NAME(room)(in, 1), *dup = NAME(room)(in, 2);
    K(kernels).gated((ct_gate)way, in->n, X(in, 0), X(in, 1), y);
    RECORD(out, y, in->n);
    K(kernels).gated_backward((ct_gate)way, in->n, X(in, 0), X(in, 1), X(in, 2), dgate, dup);
    RECORD(out, dgate, in->n);
    RECORD(out, dup, in->n);
}
static void NAME(run_reduce)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    double results[3] = {K(kernels).reduce((ct_reduce)way, in->n, X(in, 0), (REAL)0.25),
                         K(kernels).reduce((ct_reduce)way, in->n, X(in, 2), 0), 0};
    if (in->n <= CT_REDUCE_BLOCK) results[2] = K(kernels).reduce_block((ct_reduce)way, in->n, X(in, 1), 0);
    record_f64(out, results, 3);
}
static void NAME(run_dot)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    double results[2] = {K(kernels).dot(in->n, X(in, 0), X(in, 1)),
                         K(kernels).dot(in->n, X(in, 2), X(in, 3))};
    (void)way;
    record_f64(out, results, 2);
}
static void NAME(run_argmax)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int64_t index = way ? K(kernels).argmin(in->n, X(in, 0)) : K(kernels).argmax(in->n, X(in, 0));
    record_bytes(out, &index, sizeof index);
    index = way ? K(kernels).argmin(in->n, X(in, 3)) : K(kernels).argmax(in->n, X(in, 3));
    record_bytes(out, &index, sizeof index);
}
static void NAME(run_column_reduce)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    int64_t rows = in->n < 7 ? in->n : 7, columns = rows ? in->n / rows : 0;
    memcpy(y, X(in, 1), (size_t)columns * sizeof(REAL));
    K(kernels).column_reduce((ct_reduce)way, rows, columns, X(in, 0), columns, y, true);
    RECORD(out, y, columns);
    K(kernels).column_reduce((ct_reduce)way, rows, columns, X(in, 3), columns, y, false);
    RECORD(out, y, columns);
}
static void NAME(run_softmax)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    if (in->n == 0) return;
    int64_t rows = in->n >= 60 && in->n < 4000 ? 3 : 1, n = in->n / rows;
    switch (way) {
    case 0:
        K(kernels).softmax(rows, n, X(in, 0), n, y, n);
        break;
    case 1:
        K(kernels).log_softmax(rows, n, X(in, 3), n, y, n);
        break;
    case 2:
        K(kernels).softmax_backward(rows, n, X(in, 2), n, X(in, 1), n, y, n);
        break;
    case 3:
        K(kernels).log_softmax_backward(rows, n, X(in, 3), n, X(in, 1), n, y, n);
        break;
    case 4:
        K(kernels).logsumexp(rows, n, X(in, 0), n, y);
        break;
    default:
        K(kernels).softmax(rows, n, X(in, 3), n, y, n);
        break;
    }
    RECORD(out, y, way == 4 ? rows : rows * n);
}
static void NAME(run_softmax_part)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    enum { most = 1000 };
    ct_softmax_part parts[most], total;
    int64_t count = 0;
    for (int64_t i = 0; i < in->n && count < most; i += CT_REDUCE_BLOCK / 64, ++count) {
        int64_t length = in->n - i < CT_REDUCE_BLOCK / 64 ? in->n - i : CT_REDUCE_BLOCK / 64;
        K(kernels).softmax_part(length, X(in, way ? 3 : 0) + i, &parts[count]);
    }
    K(kernels).softmax_combine(count, parts, &total);
    record_f64(out, &total.max, 1);
    record_f64(out, &total.sum, 1);
    REAL *y = NAME(room)(in, 0);
    K(kernels).softmax_write(in->n, X(in, 0), &total, y, way);
    RECORD(out, y, in->n);
    K(kernels).log_softmax_write(in->n, X(in, 0), &total, y, !way);
    RECORD(out, y, in->n);
}
static void NAME(run_cross_entropy)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    if (in->n < 17) return;
    REAL loss[3], lse[3], scale[3] = {(REAL)0.5, (REAL)-1, (REAL)2}, *dlogits = NAME(room)(in, 0);
    int64_t rows = in->n >= 51 ? 3 : 1, n = in->n / rows;
    ct_dtype dtype = sizeof(REAL) == 4 ? CT_F32 : CT_F64;
    const void *logits = X(in, way ? 3 : 0);
    if (way == 2 && sizeof(REAL) == 4) {
        dtype = CT_BF16;
        logits = in->halves;
    }
    K(kernels).cross_entropy(rows, n, dtype, logits, n, in->indices, 3, way ? (REAL)0.1 : 0, loss, lse, false,
                             scale, 1, dlogits, n);
    RECORD(out, loss, rows);
    RECORD(out, lse, rows);
    if (dtype == CT_BF16) { /* as f32, where any NaN equals any */
        float *wide = (float *)NAME(room)(in, 1);
        for (int64_t i = 0; i < rows * n; ++i)
            wide[i] = ct_bf16_to_f32(((const uint16_t *)dlogits)[i]);
        record_f32(out, wide, rows * n);
    } else {
        RECORD(out, dlogits, rows * n);
    }
}
static void NAME(run_norm)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    if (in->n == 0) return;
    int64_t rows = in->n >= 60 && in->n < 4000 ? 3 : in->n > 100000 ? in->n / 768 : 1, n = in->n / rows;
    if (n > 20000) n = 20000;
    REAL *y = NAME(room)(in, 0), *sum = NAME(room)(in, 1);
    REAL *mean = NAME(room)(in, 2), *rstd = mean + rows, *dgamma = mean + 2 * rows, *dbeta = dgamma + n;
    const REAL *gamma = way & 1 ? X(in, 1) : NULL, *beta = way & 1 ? X(in, 2) : NULL;
    if (way < 2)
        K(kernels).layer_norm(rows, n, X(in, 0), way ? X(in, 3) : NULL, way ? sum : NULL, gamma, beta, 1e-5,
                              y, mean, rstd);
    else
        K(kernels).rms_norm(rows, n, X(in, 0), way & 1 ? X(in, 3) : NULL, way & 1 ? sum : NULL, gamma, 1,
                            1e-5, y, rstd);
    RECORD(out, y, rows * n);
    RECORD(out, rstd, rows);
    if (way & 1) RECORD(out, sum, rows * n);
    if (!out->data) return;
    const REAL *z = way & 1 ? sum : X(in, 0);
    if (way < 2)
        K(kernels).layer_norm_backward(rows, n, z, gamma, mean, rstd, X(in, 3), beta ? X(in, 2) : NULL, y,
                                       dgamma, dbeta);
    else
        K(kernels).rms_norm_backward(rows, n, z, gamma, 0, rstd, X(in, 3), NULL, y, dgamma);
    RECORD(out, y, rows * n);
    RECORD(out, dgamma, way < 2 ? 2 * n : n);
}
static void NAME(run_norm_backward)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int64_t n = in->n < 768 ? in->n : 768, rows = n ? in->n / n : 0;
    if (rows == 0) return;
    REAL *dx = NAME(room)(in, 0), *dgamma = NAME(room)(in, 1);
    (void)way;
    K(kernels).layer_norm_backward(rows, n, X(in, 0), X(in, 3), X(in, 1), X(in, 2), X(in, 3), NULL, dx,
                                   dgamma, dgamma + n);
    RECORD(out, dx, rows * n);
    RECORD(out, dgamma, 2 * n);
}
static void NAME(run_optimizer)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *w = NAME(room)(in, 0), *m = NAME(room)(in, 1), *v = NAME(room)(in, 2);
    uint16_t *shadow = (uint16_t *)NAME(room)(in, 3);
    if (out->data) {
        NAME(copy)(in, 0, X(in, 0));
        NAME(copy)(in, 1, X(in, 3));
        NAME(copy)(in, 2, X(in, 2));
    }
    ct_adamw adamw = {.learning_rate = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.95,
                      .epsilon = 1e-8,
                      .weight_decay = 0.1,
                      .bias_correction1 = 0.3,
                      .bias_correction2 = 0.2,
                      .gradient_scale = 0.5,
                      .coupled = way == 1};
    ct_sgd sgd = {.learning_rate = 0.1,
                  .momentum = way == 2 ? 0 : 0.9,
                  .dampening = 0.1,
                  .weight_decay = 0.01,
                  .gradient_scale = 2,
                  .nesterov = way == 4,
                  .first = way == 3,
                  .maximize = way == 5};
    if (way < 2)
        K(kernels).adamw(in->n, w, X(in, 1), m, v, &adamw, out->data ? shadow : NULL);
    else
        K(kernels).sgd(in->n, w, X(in, 1), m, &sgd, out->data ? shadow : NULL);
    RECORD(out, w, in->n);
    RECORD(out, m, in->n);
    if (way < 2) RECORD(out, v, in->n);
    record_bytes(out, shadow, in->n * 2);
}
static void NAME(run_random)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    REAL *y = NAME(room)(in, 0);
    ct_random_range range = {0x123456789abcdefu, 0xfedcba987654321u,
                             (uint64_t)in->n * 0x12345677u + (uint64_t)way};
    switch (way) {
    case 0:
        K(kernels).random_uniform(in->n, y, -1.5, 2.5, range);
        break;
    case 1:
        K(kernels).random_normal(in->n, y, 0.5, 2, range);
        break;
    case 2:
        NAME(copy)(in, 0, X(in, 0));
        K(kernels).random_perturb(in->n, y, 0.1, range);
        break;
    default:
        K(kernels).dropout(in->n, X(in, 0), y, 0.3, range);
        break;
    }
    RECORD(out, y, in->n);
}
static void NAME(run_rotary)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int64_t heads = 3, dim = in->n / 3, rotary = dim / 4 * 2 + (way > 3 ? dim / 4 * 2 : 0);
    REAL *y = NAME(room)(in, 0);
    K(kernels).rotary(heads, dim, rotary, X(in, 3), X(in, 2), X(in, 0), dim, y, dim, way & 1, way >> 1 & 1);
    RECORD(out, y, heads * dim);
}
static void NAME(run_scatter_add_rows)(const ct_kernels *kernels, const inputs *in, int way, recorder *out) {
    int64_t columns = in->n / 20;
    REAL *table = NAME(copy)(in, 0, X(in, 1));
    (void)way;
    K(kernels).scatter_add_rows(20, columns, X(in, 0), columns, in->indices, table, columns, 2, 15);
    RECORD(out, table, 16 * columns);
}

const check NAME(checks)[] = {
    {"unary", CT_UNARY_COUNT, NAME(run_unary), unary_names, 2},
    {"unary_backward", CT_GRADIENT_COUNT, NAME(run_unary_backward), gradient_names, 3},
    {"binary", CT_BINARY_COUNT, NAME(run_binary), binary_names, 3},
    {"compare", CT_COMPARE_COUNT, NAME(run_compare), NULL, 2},
    {"where", 4, NAME(run_where), NULL, 3},
    {"update", 5, NAME(run_update), update_names, 5},
    {"gated", CT_GATE_COUNT, NAME(run_gated), gate_names, 8},
    {"reduce", CT_REDUCE_COUNT, NAME(run_reduce), reduce_names, 2},
    {"dot", 1, NAME(run_dot), NULL, 4},
    {"argmax", 2, NAME(run_argmax), NULL, 2},
    {"column_reduce", CT_REDUCE_COUNT, NAME(run_column_reduce), reduce_names, 2},
    {"softmax", 6, NAME(run_softmax), softmax_names, 2},
    {"softmax_part", 2, NAME(run_softmax_part), NULL, 5},
    {"cross_entropy", 3, NAME(run_cross_entropy), NULL, 2},
    {"norm", 4, NAME(run_norm), norm_names, 2},
    {"norm_backward", 1, NAME(run_norm_backward), NULL, 3},
    {"optimizer", 6, NAME(run_optimizer), optimizer_names, 7},
    {"random", 4, NAME(run_random), random_names, 1},
    {"rotary", 6, NAME(run_rotary), NULL, 2},
    {"scatter_add_rows", 1, NAME(run_scatter_add_rows), NULL, 3},
    {0},
};
