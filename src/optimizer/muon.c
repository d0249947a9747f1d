/* muon.c - Muon (Keller Jordan et al., 2024): momentum whose update for hidden matrices is made orthogonal by
 * five steps of a Newton-Schulz iteration. Everything else (embeddings, output layer, vectors) is stepped by
 * AdamW. */
#include "optimizer/moments.h"
#include "tensor/cpu/kernels.h"
#include <carat/ops.h>
#include <math.h>
#include <string.h>

typedef struct muon_options {
    double momentum, epsilon, adamw_rate, beta1, beta2, adamw_epsilon;
    int64_t ns_steps;
    int adjust, precision;
    bool nesterov;
} muon_options;

enum { ORIGINAL, MATCH_RMS };
enum { AUTO, F32, BF16 };
static const char *const adjustments[] = {"original", "match_rms_adamw", NULL};
static const char *const precisions[] = {"auto", "f32", "bf16", NULL};
static const ct_option options[] = {
    CT_OPTION_REAL("momentum", muon_options, momentum, 0.95, 0, 0.999999, "of the matrices' gradients"),
    CT_OPTION_BOOL("nesterov", muon_options, nesterov, true, "look ahead by one momentum step"),
    CT_OPTION_INT("ns_steps", muon_options, ns_steps, 5, 1, 100, "steps of the Newton-Schulz iteration"),
    CT_OPTION_REAL("epsilon", muon_options, epsilon, 1e-7, 0, 1, "added to the norm of a matrix"),
    CT_OPTION_CHOICE(
        "adjust", muon_options, adjust, "original", adjustments,
        "factor of the rate of a matrix [out, in]: original: sqrt(max(1, out / in)); match_rms_adamw: "
        "0.2 sqrt(max(out, in)), with which rates of AdamW can be kept (set adamw_rate to 1)"),
    CT_OPTION_CHOICE("precision", muon_options, precision, "auto", precisions,
                     "of the iteration's products; auto: bf16 where the processor is faster at it"),
    CT_OPTION_REAL(
        "adamw_rate", muon_options, adamw_rate, 0.015, 0, 1e6,
        "rate of AdamW's parameters as a multiple of learning_rate (the reference has 3e-4 beside 0.02)"),
    CT_OPTION_REAL("beta1", muon_options, beta1, 0.9, 0, 0.999999, "AdamW's, of the first moment"),
    CT_OPTION_REAL("beta2", muon_options, beta2, 0.95, 0, 0.9999999, "AdamW's, of the second moment"),
    CT_OPTION_REAL("adamw_epsilon", muon_options, adamw_epsilon, 1e-10, 0, 1, "AdamW's"),
    CT_OPTION_END};

enum { FIRST, SECOND, BUFFER };
static const ct_state_decl state[] = {{"exp_avg", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {"exp_avg_sq", CT_LIKE_PARAMETER, CT_F32, CT_STATE_NONNEGATIVE},
                                      {"momentum_buffer", CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED},
                                      {NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

static bool is_hidden_matrix(const ct_optimizer_tensor *t) {
    return t->role == CT_ROLE_MATRIX && t->ndim >= 2;
}

static bool muon_keeps(const void *given, const ct_optimizer_tensor *tensor, int index) {
    (void)given;
    return is_hidden_matrix(tensor) == (index == BUFFER);
}

/* b = b + (1 - momentum) (g - b);  u = b, or g + momentum (b - g) (Nesterov). */
CT_ELEMENT_LOOPS static void momentum(const ct_optimizer_range *r, int64_t at, int64_t count) {
    const muon_options *o = r->options;
    float factor = (float)o->momentum, rest = (float)(1 - o->momentum);
    float *restrict b = r->state[BUFFER] + at, *restrict u = r->update + at;
    const float *restrict g = r->gradient + at;
    for (int64_t i = 0; i < count; i++) {
        b[i] = b[i] + rest * (g[i] - b[i]);
        u[i] = o->nesterov ? g[i] + factor * (b[i] - g[i]) : b[i];
    }
}

enum { PIECE = 1 << 16 };
static int64_t piece(const ct_optimizer_range *r, int64_t index) {
    int64_t left = r->count - index * PIECE;
    return left < PIECE ? left : PIECE;
}

static void momentum_task(void *user, int64_t index, int worker) {
    (void)worker;
    momentum(user, index * PIECE, piece(user, index));
}

static void adamw_task(void *user, int64_t index, int worker) {
    (void)worker;
    const ct_optimizer_range *whole = user;
    const muon_options *o = whole->options;
    int64_t at = index * PIECE, count = piece(whole, index);
    ct_optimizer_range r = *whole;
    r.count = count;
    r.gradient += at;
    r.update += at;
    r.state[FIRST] += at;
    r.state[SECOND] += at;
    ct_moments_direction(&r, &(ct_moments){o->beta1, o->beta2, o->adamw_epsilon, false, false});
    ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, count, r.update, r.update, (float)o->adamw_rate, 0);
}

/* X = a X + (b A + c A A) X with A = X X': singular values between 0 and 1 go to about 1. The coefficients
 * are those of the reference, chosen for a steep slope at 0. x [rows <= columns]. */
static ct_tensor *newton_schulz(ct_tensor *x, int64_t steps) {
    static const double a = 3.4445, b = -4.7750, c = 2.0315;
    ct_context *context = ct_context_of(x);
    for (int64_t i = 0; i < steps && !ct_failed(context); i++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *square = ct_matmul(x, ct_transpose(x, 0, 1));
        ct_tensor *polynomial = ct_matmul(square, square);
        ct_scale_into(polynomial, c);
        ct_add_into(polynomial, square, b);
        ct_tensor *next = ct_matmul(polynomial, x);
        ct_add_into(next, x, a);
        x = ct_scope_return(context, scope, next);
    }
    return x;
}

/* The matrix in the order of rows and columns in which the iteration is cheaper, of norm 1. On meta `values`
 * is NULL. */
static ct_tensor *normalized(const ct_optimizer_range *r, int64_t rows, int64_t columns, ct_dtype dtype) {
    const muon_options *o = r->options;
    bool turned = rows > columns, meta = r->tensor->meta;
    ct_tensor *view = meta
                          ? ct_empty(r->context, CT_F32, CT_DIMS(rows, columns))
                          : ct_from_memory(r->context, CT_F32, CT_DIMS(rows, columns), r->update, NULL, NULL);
    double squares = meta ? 1 : ct_cpu_kernels()->f32.reduce(CT_REDUCE_SUM_SQUARES, r->count, r->update, 0);
    ct_tensor *x = ct_clone(turned ? ct_transpose(view, 0, 1) : view);
    ct_scale_into(x, 1 / (sqrt(squares) + o->epsilon));
    return dtype == CT_F32 ? x : ct_cast(x, dtype);
}

static ct_dtype precision(const muon_options *o) {
    if (o->precision != AUTO) return o->precision == BF16 ? CT_BF16 : CT_F32;
#if defined(__GNUC__) && defined(__x86_64__) && CARAT_HAVE_ONEDNN
    if (__builtin_cpu_supports("avx512bf16")) return CT_BF16;
#endif
    return CT_F32;
}

static double adjustment(const muon_options *o, const ct_optimizer_tensor *t) {
    double out = (double)t->rows, in = (double)t->columns;
    return o->adjust == MATCH_RMS ? 0.2 * sqrt(fmax(out, in)) : sqrt(fmax(1, out / in));
}

/* A convolution's weight is the matrix [out, in * height * width]. */
static void orthogonalize(const ct_optimizer_range *r) {
    const muon_options *o = r->options;
    const ct_optimizer_tensor *t = r->tensor;
    int64_t rows = t->shape[0], columns = rows > 0 ? t->count / rows : 0;
    ct_scope scope = ct_scope_open(r->context);
    ct_memory_class before = ct_context_set_memory_class(r->context, CT_MEMORY_WORKSPACE);
    ct_tensor *x = newton_schulz(normalized(r, rows, columns, precision(o)), o->ns_steps);
    if (rows > columns) x = ct_transpose(x, 0, 1);
    if (!t->meta && !ct_failed(r->context)) {
        ct_read(x, CT_F32, r->update);
        ct_cpu_kernels()->f32.unary(CT_UNARY_SCALE, r->count, r->update, r->update, (float)adjustment(o, t),
                                    0);
    }
    ct_context_set_memory_class(r->context, before);
    ct_scope_close(r->context, scope);
}

static void muon_direction(const ct_optimizer_range *r) {
    bool matrix = is_hidden_matrix(r->tensor);
    int64_t pieces = (r->count + PIECE - 1) / PIECE;
    if (!r->tensor->meta)
        ct_parallel_for(r->context, pieces, matrix ? momentum_task : adamw_task, (void *)(uintptr_t)r);
    if (matrix && r->count > 0) orthogonalize(r);
}

/* Decay is multiplied by the rate of the parameter. */
static bool muon_decide(const ct_optimizer_range *whole, int pass, ct_measures *measured) {
    const muon_options *o = whole->options;
    (void)pass;
    if (!is_hidden_matrix(whole->tensor)) measured->decay_scale = o->adamw_rate;
    return false;
}

const ct_optimizer_method ct_optimizer_muon = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_optimizer_method),
               .name = "muon",
               .title = "Muon",
               .paper = {"https://kellerjordan.github.io/posts/muon/", "Jordan et al., 2024"},
               .summary = "Momentum made orthogonal, so that a step moves all directions of a hidden matrix "
                          "alike; AdamW for "
                          "embeddings, output layer and vectors. Learns faster per step than AdamW.",
               .options = options,
               .options_size = sizeof(muon_options),
               .uses = CT_HOOK_WHOLE_TENSOR},
    .state = state,
    .scope = CT_WHOLE_TENSOR,
    .on_meta = true,
    .keeps = muon_keeps,
    .decide = muon_decide,
    .direction = muon_direction};
