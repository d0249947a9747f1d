/* raw_elementwise.c - unary and binary functions, comparisons, and selection by a mask, element by element.
 *
 * f32 and f64 go through the kernel table; bf16 and f16 are converted to f32 in tiles and rounded once;
 * integers are computed in 64 bits and wrap when they are stored. */
#include "tensor/raw.h"
#include "tensor/iterate.h"
#include "tensor/raw_copy.h"
#include <math.h>

/* Results of at least this many bytes are written past the caches. */
#define STREAM_BYTES ((int64_t)32 << 20)

/* ----------------------------------------------------------------------------------------------- integers */

static inline int64_t wrap_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static inline int64_t wrap_sub(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static inline int64_t wrap_mul(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

typedef struct integer_unary {
    ct_unary_op op;
    int64_t p, q;
} integer_unary;

#define FOR_X(value)                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        int64_t v = x[i];                                                                                    \
        y[i] = (value);                                                                                      \
    }                                                                                                        \
    break

static void integer_unary_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                               void *out) {
    (void)steps;
    const integer_unary *unary = user;
    const int64_t *x = inputs[0];
    int64_t *y = out, p = unary->p, q = unary->q;
    switch (unary->op) {
    case CT_NEG:
        FOR_X(wrap_sub(0, v));
    case CT_ABS:
        FOR_X(v < 0 ? wrap_sub(0, v) : v);
    case CT_RELU:
        FOR_X(v > 0 ? v : 0);
    case CT_SQUARE:
        FOR_X(wrap_mul(v, v));
    case CT_SIGN:
        FOR_X((v > 0) - (v < 0));
    case CT_CLAMP:
        FOR_X((v < p ? p : v) > q ? q : (v < p ? p : v));
    case CT_ADD_SCALAR:
        FOR_X(wrap_add(v, p));
    case CT_MUL_SCALAR:
        FOR_X(wrap_mul(v, p));
    default: /* floor, ceil, round: the value itself */
        FOR_X(v);
    }
}

#define FOR_AB(type, value)                                                                                  \
    {                                                                                                        \
        type *y = out;                                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            int64_t u = a[i * step_a], v = b[i * step_b];                                                    \
            y[i] = (type)(value);                                                                            \
        }                                                                                                    \
    }                                                                                                        \
    break

static void integer_binary_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                                void *out) {
    ct_binary_op op = *(const ct_binary_op *)user;
    const int64_t *a = inputs[0], *b = inputs[1];
    int64_t step_a = steps[0], step_b = steps[1];
    switch (op) {
    case CT_ADD:
        FOR_AB(int64_t, wrap_add(u, v));
    case CT_SUB:
        FOR_AB(int64_t, wrap_sub(u, v));
    case CT_MUL:
        FOR_AB(int64_t, wrap_mul(u, v));
    case CT_MINIMUM:
        FOR_AB(int64_t, u < v ? u : v);
    case CT_MAXIMUM:
        FOR_AB(int64_t, u > v ? u : v);
    case CT_EQUAL:
        FOR_AB(uint8_t, u == v);
    case CT_NOT_EQUAL:
        FOR_AB(uint8_t, u != v);
    case CT_LESS:
        FOR_AB(uint8_t, u < v);
    case CT_LESS_EQUAL:
        FOR_AB(uint8_t, u <= v);
    case CT_GREATER:
        FOR_AB(uint8_t, u > v);
    case CT_GREATER_EQUAL:
        FOR_AB(uint8_t, u >= v);
    default: /* CT_RELU_BACKWARD */
        FOR_AB(int64_t, v > 0 ? u : 0);
    }
}

/* -------------------------------------------------------------------------------------------- unary ----- */

typedef struct unary_entry {
    ct_unary kernel;
    const char *name;
    bool integer; /* defined for integers */
} unary_entry;

static const unary_entry unary_table[CT_UNARY_OPS] = {
    [CT_NEG] = {CT_UNARY_NEG, "neg", true},
    [CT_ABS] = {CT_UNARY_ABS, "abs", true},
    [CT_EXP] = {CT_UNARY_EXP, "exp", false},
    [CT_LOG] = {CT_UNARY_LOG, "log", false},
    [CT_LOG1P] = {CT_UNARY_LOG1P, "log1p", false},
    [CT_EXPM1] = {CT_UNARY_EXPM1, "expm1", false},
    [CT_TANH] = {CT_UNARY_TANH, "tanh", false},
    [CT_SIGMOID] = {CT_UNARY_SIGMOID, "sigmoid", false},
    [CT_RELU] = {CT_UNARY_RELU, "relu", true},
    [CT_LEAKY_RELU] = {CT_UNARY_LEAKY_RELU, "leaky_relu", false},
    [CT_GELU_ERF] = {CT_UNARY_GELU_ERF, "gelu", false},
    [CT_GELU_TANH] = {CT_UNARY_GELU_TANH, "gelu_tanh", false},
    [CT_SILU] = {CT_UNARY_SILU, "silu", false},
    [CT_SOFTPLUS] = {CT_UNARY_SOFTPLUS, "softplus", false},
    [CT_SIN] = {CT_UNARY_SIN, "sin", false},
    [CT_COS] = {CT_UNARY_COS, "cos", false},
    [CT_ERF] = {CT_UNARY_ERF, "erf", false},
    [CT_SQRT] = {CT_UNARY_SQRT, "sqrt", false},
    [CT_RSQRT] = {CT_UNARY_RSQRT, "rsqrt", false},
    [CT_RECIPROCAL] = {CT_UNARY_RECIPROCAL, "reciprocal", false},
    [CT_SQUARE] = {CT_UNARY_SQUARE, "square", true},
    [CT_SIGN] = {CT_UNARY_SIGN, "sign", true},
    [CT_FLOOR] = {CT_UNARY_FLOOR, "floor", true},
    [CT_CEIL] = {CT_UNARY_CEIL, "ceil", true},
    [CT_ROUND] = {CT_UNARY_ROUND, "round", true},
    [CT_CLAMP] = {CT_UNARY_CLAMP, "clamp", true},
    [CT_ADD_SCALAR] = {CT_UNARY_SCALE, "add_scalar", true},
    [CT_MUL_SCALAR] = {CT_UNARY_SCALE, "mul_scalar", true},
    [CT_POW_SCALAR] = {CT_UNARY_POW, "pow_scalar", false},
};

typedef struct real_unary {
    int kernel;
    double p, q;
    const void *x; /* contiguous form */
    void *y;
} real_unary;

/* The kernel and parameters of a function of f32 or f64. */
static real_unary real_unary_of(ct_unary_op op, double p0, double p1) {
    real_unary unary = {.kernel = (int)unary_table[op].kernel, .p = p0, .q = p1};
    if (op == CT_ADD_SCALAR) {
        unary.p = 1;
        unary.q = p0;
    } else if (op == CT_MUL_SCALAR) {
        unary.q = -0.0; /* what changes no product, not even -0 */
    } else if (op == CT_POW_SCALAR && p0 == 2) {
        unary.kernel = CT_UNARY_SQUARE;
    } else if (op == CT_POW_SCALAR && p0 == -1) {
        unary.kernel = CT_UNARY_RECIPROCAL;
    } else if (op == CT_POW_SCALAR && p0 == 1) {
        unary.kernel = CT_UNARY_COPY;
    }
    return unary;
}

static void unary_f32_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)steps;
    const real_unary *unary = user;
    ct_cpu_kernels()->f32.unary(unary->kernel, n, inputs[0], out, (float)unary->p, (float)unary->q);
}
static void unary_f64_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)steps;
    const real_unary *unary = user;
    ct_cpu_kernels()->f64.unary(unary->kernel, n, inputs[0], out, unary->p, unary->q);
}
static void unary_f32_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const real_unary *unary = user;
    ct_cpu_kernels()->f32.unary(unary->kernel, last - first, (const float *)unary->x + first,
                                (float *)unary->y + first, (float)unary->p, (float)unary->q);
}
static void unary_f64_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const real_unary *unary = user;
    ct_cpu_kernels()->f64.unary(unary->kernel, last - first, (const double *)unary->x + first,
                                (double *)unary->y + first, unary->p, unary->q);
}

/* A real parameter of an integer operation: clamps round inwards, other values have to be integers. */
static bool integer_parameter(ct_context *context, ct_unary_op op, double value, bool upper, int64_t *out) {
    if (op == CT_CLAMP) value = upper ? floor(value) : ceil(value);
    if (isnan(value) || (op != CT_CLAMP && (value != floor(value) || fabs(value) >= 0x1p63))) {
        ct_fail(context, CT_ERROR_TYPE, "%s: %g is not a value for an integer tensor", unary_table[op].name,
                value);
        return false;
    }
    *out = value >= 0x1p63 ? INT64_MAX : value < -0x1p63 ? INT64_MIN : (int64_t)value;
    return true;
}

static void run_unary(ct_context *context, ct_loop *loop, ct_tensor *x, ct_tensor *y) {
    loop->count = x->count;
    loop->inputs = 1;
    loop->expand[0] = true;
    loop->load[0] = loop->store = ct_compute_type((ct_dtype)x->dtype);
    ct_operand_broadcast(&loop->input[0], x, x->ndim, x->shape);
    ct_operand_broadcast(&loop->output, y, y->ndim, y->shape);
    ct_loop_run(context, loop);
}

static void real_unary_run(ct_context *context, ct_unary_op op, ct_tensor *x, ct_tensor *y, double p0,
                           double p1) {
    real_unary unary = real_unary_of(op, p0, p1);
    bool single = x->dtype == CT_F32;
    if ((single || x->dtype == CT_F64) && ct_dense(x)) {
        unary.x = ct_pointer(x);
        unary.y = ct_pointer(y);
        if (x->count * (int64_t)ct_dtype_size((ct_dtype)x->dtype) >= STREAM_BYTES)
            unary.kernel |= CT_KERNEL_STREAM;
        ct_parallel_ranges(context, x->count, CT_CHUNK, single ? unary_f32_range : unary_f64_range, &unary);
        return;
    }
    ct_loop loop;
    loop.user = &unary;
    loop.body = x->dtype == CT_F64 ? unary_f64_body : unary_f32_body;
    run_unary(context, &loop, x, y);
}

ct_tensor *ct_raw_unary(ct_unary_op op, ct_tensor *x, double p0, double p1) {
    ct_context *context = x->context;
    ct_dtype dtype = (ct_dtype)x->dtype;
    if (!ct_operands_ready(unary_table[op].name, 1, (const ct_tensor *const[]){x}))
        return ct_inert(context, dtype, x->ndim, x->shape);
    bool integer = !ct_dtype_is_float(dtype);
    integer_unary parameters = {op, 0, 0};
    if (integer && !unary_table[op].integer) {
        ct_fail(context, CT_ERROR_TYPE, "%s: a floating-point tensor is expected, found %s",
                unary_table[op].name, ct_dtype_name(dtype));
        return ct_inert(context, dtype, x->ndim, x->shape);
    }
    if (integer && (op == CT_CLAMP || op == CT_ADD_SCALAR || op == CT_MUL_SCALAR) &&
        (!integer_parameter(context, op, p0, false, &parameters.p) ||
         (op == CT_CLAMP && !integer_parameter(context, op, p1, true, &parameters.q))))
        return ct_inert(context, dtype, x->ndim, x->shape);
    if (ct_strides_across(x)) {
        ct_scope scope = ct_scope_open(context);
        return ct_scope_return(context, scope, ct_raw_unary(op, ct_raw_contiguous(x), p0, p1));
    }
    ct_tensor *y = ct_empty_on(context, ct_is_meta(x) ? CT_META : CT_CPU, dtype, x->ndim, x->shape);
    if (ct_is_meta(y)) return y; /* meta, or no memory */
    if (!integer) {
        real_unary_run(context, op, x, y, p0, p1);
    } else {
        ct_loop loop;
        loop.user = &parameters;
        loop.body = integer_unary_body;
        run_unary(context, &loop, x, y);
    }
    return y;
}

/* ------------------------------------------------------------------------------------------------- binary */

typedef enum binary_kind { ARITHMETIC, COMPARISON, GRADIENT } binary_kind;
typedef struct binary_entry {
    binary_kind kind;
    int kernel;
    const char *name;
    bool integer;
} binary_entry;

static const binary_entry binary_table[CT_BINARY_OPS] = {
    [CT_ADD] = {ARITHMETIC, CT_BINARY_ADD, "add", true},
    [CT_SUB] = {ARITHMETIC, CT_BINARY_SUB, "sub", true},
    [CT_MUL] = {ARITHMETIC, CT_BINARY_MUL, "mul", true},
    [CT_DIV] = {ARITHMETIC, CT_BINARY_DIV, "div", false},
    [CT_POW] = {ARITHMETIC, CT_BINARY_POW, "pow", false},
    [CT_MINIMUM] = {ARITHMETIC, CT_BINARY_MIN, "minimum", true},
    [CT_MAXIMUM] = {ARITHMETIC, CT_BINARY_MAX, "maximum", true},
    [CT_EQUAL] = {COMPARISON, CT_COMPARE_EQ, "equal", true},
    [CT_NOT_EQUAL] = {COMPARISON, CT_COMPARE_NE, "not_equal", true},
    [CT_LESS] = {COMPARISON, CT_COMPARE_LT, "less", true},
    [CT_LESS_EQUAL] = {COMPARISON, CT_COMPARE_LE, "less_equal", true},
    [CT_GREATER] = {COMPARISON, CT_COMPARE_GT, "greater", true},
    [CT_GREATER_EQUAL] = {COMPARISON, CT_COMPARE_GE, "greater_equal", true},
    [CT_RELU_BACKWARD] = {GRADIENT, CT_GRADIENT_RELU, "relu_backward", true},
    [CT_GELU_ERF_BACKWARD] = {GRADIENT, CT_GRADIENT_GELU_ERF, "gelu_backward", false},
    [CT_GELU_TANH_BACKWARD] = {GRADIENT, CT_GRADIENT_GELU_TANH, "gelu_tanh_backward", false},
    [CT_SILU_BACKWARD] = {GRADIENT, CT_GRADIENT_SILU, "silu_backward", false},
    [CT_TANH_BACKWARD] = {GRADIENT, CT_GRADIENT_TANH, "tanh_backward", false},
    [CT_SIGMOID_BACKWARD] = {GRADIENT, CT_GRADIENT_SIGMOID, "sigmoid_backward", false},
};

typedef struct real_binary {
    binary_kind kind;
    int kernel;
    const char *a, *b; /* contiguous form: steps 0 or 1 */
    int steps[2];
    char *y;
    int size; /* of an element of a and b */
    int result_size;
    ct_loop_body body;
} real_binary;

static void binary_f32_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                            void *out) {
    const real_binary *binary = user;
    const ct_kernels_f32 *kernels = &ct_cpu_kernels()->f32;
    if (binary->kind == ARITHMETIC)
        kernels->binary(binary->kernel, n, inputs[0], steps[0], inputs[1], steps[1], out);
    else if (binary->kind == COMPARISON)
        kernels->compare((ct_compare)binary->kernel, n, inputs[0], steps[0], inputs[1], steps[1], out);
    else
        kernels->unary_backward((ct_unary_gradient)binary->kernel, n, inputs[1], inputs[0], out, 0, 0);
}
static void binary_f64_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                            void *out) {
    const real_binary *binary = user;
    const ct_kernels_f64 *kernels = &ct_cpu_kernels()->f64;
    if (binary->kind == ARITHMETIC)
        kernels->binary(binary->kernel, n, inputs[0], steps[0], inputs[1], steps[1], out);
    else if (binary->kind == COMPARISON)
        kernels->compare((ct_compare)binary->kernel, n, inputs[0], steps[0], inputs[1], steps[1], out);
    else
        kernels->unary_backward((ct_unary_gradient)binary->kernel, n, inputs[1], inputs[0], out, 0, 0);
}
static void binary_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const real_binary *binary = user;
    const void *inputs[2] = {binary->a + binary->steps[0] * first * binary->size,
                             binary->b + binary->steps[1] * first * binary->size};
    binary->body(binary, last - first, inputs, binary->steps, binary->y + first * binary->result_size);
}

/* Whether `t` can be read along a result of the given shape as a plain array (step 1) or as one value (step
 * 0). */
static bool plain_operand(const ct_tensor *t, const ct_tensor *result, int *step) {
    *step = t->count == result->count;
    if (t->count == 1 && result->count != 1) return true;
    return *step && ct_dense(t);
}

static bool binary_plain(real_binary *binary, const ct_tensor *a, const ct_tensor *b, const ct_tensor *y) {
    if (a->dtype != b->dtype || (a->dtype != CT_F32 && a->dtype != CT_F64)) return false;
    if (!plain_operand(a, y, &binary->steps[0]) || !plain_operand(b, y, &binary->steps[1])) return false;
    if (binary->kind == GRADIENT && (binary->steps[0] == 0 || binary->steps[1] == 0)) return false;
    binary->a = ct_pointer(a);
    binary->b = ct_pointer(b);
    binary->y = ct_pointer(y);
    binary->size = (int)ct_dtype_size((ct_dtype)a->dtype);
    binary->result_size = (int)ct_dtype_size((ct_dtype)y->dtype);
    if (binary->kind == ARITHMETIC && y->count * binary->size >= STREAM_BYTES)
        binary->kernel |= CT_KERNEL_STREAM;
    return true;
}

/* One operand of the result's shape and the other the same for all rows, or one value for each row: the
 * second is seen as [rows, columns] of steps (0, 1) or (s, 0). Short rows are joined: the repeated operand is
 * laid out several times. */
typedef struct row_binary {
    real_binary binary;
    int small; /* which operand is repeated */
    int64_t columns, row_step, column_step, joined;
    _Alignas(64) double tile[CT_TILE];
} row_binary;

static void row_range(void *user, int64_t first, int64_t last, int worker) {
    (void)worker;
    const row_binary *work = user;
    const real_binary *binary = &work->binary;
    const char *wide = work->small ? binary->a : binary->b, *small = work->small ? binary->b : binary->a;
    int steps[2] = {1, 1};
    steps[work->small] = work->column_step != 0;
    for (int64_t row = first; row < last; row += work->joined) {
        int64_t rows = last - row < work->joined ? last - row : work->joined, at = row * work->columns;
        const void *inputs[2];
        inputs[!work->small] = wide + at * binary->size;
        inputs[work->small] =
            work->joined > 1 ? (const char *)work->tile : small + row * work->row_step * binary->size;
        binary->body(binary, rows * work->columns, inputs, steps, binary->y + at * binary->result_size);
    }
}

static bool binary_rows(ct_context *context, const real_binary *binary, ct_tensor *a, ct_tensor *b,
                        ct_tensor *y) {
    if (a->dtype != b->dtype || (a->dtype != CT_F32 && a->dtype != CT_F64) || binary->kind == GRADIENT)
        return false;
    row_binary work; /* the tile is filled as far as it is used */
    work.binary = *binary;
    work.small = a->count == y->count && ct_dense(a);
    if (!work.small && !(b->count == y->count && ct_dense(b))) return false;
    ct_operand repeated;
    ct_operand_broadcast(&repeated, work.small ? b : a, y->ndim, y->shape);
    if (repeated.ndim != 2 || repeated.shape[1] > CT_CHUNK) return false;
    work.columns = repeated.shape[1];
    work.row_step = repeated.stride[0];
    work.column_step = repeated.stride[1];
    bool row = work.row_step == 0 && work.column_step == 1, column = work.column_step == 0;
    if (!row && !column) return false;
    work.binary.a = ct_pointer(a);
    work.binary.b = ct_pointer(b);
    work.binary.y = ct_pointer(y);
    work.binary.size = (int)ct_dtype_size((ct_dtype)a->dtype);
    work.binary.result_size = (int)ct_dtype_size((ct_dtype)y->dtype);
    if (binary->kind == ARITHMETIC && work.columns >= 256 && y->count * work.binary.size >= STREAM_BYTES)
        work.binary.kernel |= CT_KERNEL_STREAM;
    work.joined = row && work.columns <= CT_TILE / 4 ? CT_TILE / work.columns : 1;
    if (work.joined > repeated.shape[0]) work.joined = repeated.shape[0];
    for (int64_t i = 0; work.joined > 1 && i < work.joined; i++)
        memcpy((char *)work.tile + i * work.columns * repeated.size, repeated.data,
               (size_t)(work.columns * repeated.size));
    ct_parallel_ranges(context, repeated.shape[0], CT_CHUNK / work.columns, row_range, &work);
    return true;
}

static void binary_run(ct_context *context, ct_binary_op op, ct_dtype promoted, ct_tensor *a, ct_tensor *b,
                       ct_tensor *y) {
    const binary_entry *entry = &binary_table[op];
    ct_dtype compute = ct_compute_type(promoted);
    real_binary binary = {.kind = entry->kind, .kernel = entry->kernel};
    binary.body = compute == CT_F64 ? binary_f64_body : binary_f32_body;
    if (binary_plain(&binary, a, b, y)) {
        ct_parallel_ranges(context, y->count, CT_CHUNK, binary_range, &binary);
        return;
    }
    if (binary_rows(context, &binary, a, b, y)) return;
    ct_loop loop;
    loop.body = compute == CT_I64 ? integer_binary_body : binary.body;
    loop.user = compute == CT_I64 ? (const void *)&op : &binary;
    loop.count = y->count;
    loop.inputs = 2;
    loop.load[0] = loop.load[1] = compute;
    loop.store = entry->kind == COMPARISON ? CT_U8 : compute;
    loop.expand[0] = loop.expand[1] = entry->kind == GRADIENT;
    ct_operand_broadcast(&loop.input[0], a, y->ndim, y->shape);
    ct_operand_broadcast(&loop.input[1], b, y->ndim, y->shape);
    ct_operand_broadcast(&loop.output, y, y->ndim, y->shape);
    ct_loop_run(context, &loop);
}

/* Operands that stride across memory are copied first. */
static ct_tensor *binary_of_copies(ct_binary_op op, ct_tensor *a, ct_tensor *b) {
    ct_scope scope = ct_scope_open(a->context);
    ct_tensor *left = ct_strides_across(a) ? ct_raw_contiguous(a) : a;
    ct_tensor *right = a == b ? left : ct_strides_across(b) ? ct_raw_contiguous(b) : b;
    return ct_scope_return(a->context, scope, ct_raw_binary(op, left, right));
}

ct_tensor *ct_raw_binary(ct_binary_op op, ct_tensor *a, ct_tensor *b) {
    const binary_entry *entry = &binary_table[op];
    ct_context *context = a->context;
    ct_dtype promoted = ct_promote((ct_dtype)a->dtype, (ct_dtype)b->dtype);
    ct_dtype result = entry->kind == COMPARISON ? CT_U8 : promoted;
    if (!ct_operands_ready(entry->name, 2, (const ct_tensor *const[]){a, b}))
        return ct_inert(context, result, a->ndim, a->shape);
    if (ct_strides_across(a) || ct_strides_across(b)) return binary_of_copies(op, a, b);
    int ndim = a->ndim;
    int64_t broadcast[CT_MAX_DIMS];
    const int64_t *shape = a->shape;
    if (!ct_shape_equal(a, b)) {
        if (!ct_broadcast_shape(a, b, entry->name, &ndim, broadcast))
            return ct_inert(context, result, a->ndim, a->shape);
        shape = broadcast;
    }
    if (!entry->integer && !ct_dtype_is_float(promoted)) {
        ct_fail(context, CT_ERROR_TYPE, "%s: floating-point tensors are expected, found %s and %s",
                entry->name, ct_dtype_name((ct_dtype)a->dtype), ct_dtype_name((ct_dtype)b->dtype));
        return ct_inert(context, result, ndim, shape);
    }
    ct_tensor *y = ct_empty_on(context, ct_is_meta(a) ? CT_META : CT_CPU, result, ndim, shape);
    if (!ct_is_meta(y)) binary_run(context, op, promoted, a, b, y);
    return y;
}

/* -------------------------------------------------------------------------------------------------- where */

static void where_f32_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)user;
    ct_cpu_kernels()->f32.where(n, inputs[0], inputs[1], steps[1], inputs[2], steps[2], out);
}
static void where_f64_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                           void *out) {
    (void)user;
    ct_cpu_kernels()->f64.where(n, inputs[0], inputs[1], steps[1], inputs[2], steps[2], out);
}
static void where_integer_body(const void *user, int64_t n, const void *const *inputs, const int *steps,
                               void *out) {
    (void)user;
    const uint8_t *mask = inputs[0];
    const int64_t *a = inputs[1], *b = inputs[2];
    int64_t *y = out;
    for (int64_t i = 0; i < n; i++)
        y[i] = mask[i] ? a[i * steps[1]] : b[i * steps[2]];
}

ct_tensor *ct_raw_where(ct_tensor *mask, ct_tensor *a, ct_tensor *b) {
    ct_context *context = mask->context;
    ct_dtype dtype = ct_promote((ct_dtype)a->dtype, (ct_dtype)b->dtype), compute = ct_compute_type(dtype);
    if (!ct_operands_ready("where", 3, (const ct_tensor *const[]){mask, a, b}))
        return ct_inert(context, dtype, a->ndim, a->shape);
    if (mask->dtype != CT_U8) {
        ct_fail(context, CT_ERROR_TYPE, "where: the mask is %s, expected u8",
                ct_dtype_name((ct_dtype)mask->dtype));
        return ct_inert(context, dtype, a->ndim, a->shape);
    }
    ct_tensor both = {.context = context};
    int ndim, values_ndim;
    int64_t shape[CT_MAX_DIMS];
    if (!ct_broadcast_shape(a, b, "where", &values_ndim, both.shape))
        return ct_inert(context, dtype, a->ndim, a->shape);
    both.ndim = (uint8_t)values_ndim;
    both.dtype = (uint8_t)dtype;
    if (!ct_broadcast_shape(mask, &both, "where", &ndim, shape))
        return ct_inert(context, dtype, both.ndim, both.shape);
    ct_tensor *y = ct_empty_on(context, ct_is_meta(a) ? CT_META : CT_CPU, dtype, ndim, shape);
    if (ct_is_meta(y)) return y;
    ct_loop loop;
    loop.body = compute == CT_F64 ? where_f64_body : compute == CT_F32 ? where_f32_body : where_integer_body;
    loop.user = NULL;
    loop.count = y->count;
    loop.inputs = 3;
    loop.load[0] = CT_U8;
    loop.load[1] = loop.load[2] = loop.store = compute;
    loop.expand[0] = true;
    loop.expand[1] = loop.expand[2] = false;
    ct_operand_broadcast(&loop.input[0], mask, ndim, shape);
    ct_operand_broadcast(&loop.input[1], a, ndim, shape);
    ct_operand_broadcast(&loop.input[2], b, ndim, shape);
    ct_operand_broadcast(&loop.output, y, ndim, shape);
    ct_loop_run(context, &loop);
    return y;
}
