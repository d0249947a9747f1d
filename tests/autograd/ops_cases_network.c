/* ops_cases_network.c - cases: products, linear algebra, softmax, losses, norms, attention, positions. */
#include "autograd/rules.h"
#include "ops_cases.h"

OPS_FUNCTION(f_matmul, ct_matmul(x[0], x[1]))
#define LINEAR(name, bias, transposed, activation)                                                           \
    OPS_FUNCTION(f_linear_##name, ct_linear(x[0], x[1], bias, transposed, activation))
LINEAR(plain, NULL, false, CT_ACT_NONE)
LINEAR(bias, x[2], false, CT_ACT_NONE)
LINEAR(transposed, x[2], true, CT_ACT_NONE)
LINEAR(relu, x[2], false, CT_ACT_RELU)
LINEAR(gelu, x[2], true, CT_ACT_GELU)
LINEAR(gelu_tanh, x[2], false, CT_ACT_GELU_TANH)
LINEAR(silu, x[2], true, CT_ACT_SILU)
OPS_FUNCTION(f_einsum, ct_einsum("bij,bjk->bik", x[0], x[1]))
OPS_FUNCTION(f_einsum_outer, ct_einsum("i,jk->kij", x[0], x[1]))
OPS_FUNCTION(f_einsum_sum, ct_einsum("ijk,lj->l", x[0], x[1]))

/* ------------------------------------------------------------------------------------- linear algebra */

/* Symmetric positive from any square matrix. */
static ct_tensor *positive(ct_tensor *x) {
    ct_tensor *eye = ct_eye(ct_context_of(x), ct_dtype_of(x), ct_dim(x, -1));
    return ct_add(ct_matmul(x, ct_transposed(x)), ct_mul_scalar(eye, 0.5));
}
static ct_tensor *dominant(ct_tensor *x) {
    ct_tensor *eye = ct_eye(ct_context_of(x), ct_dtype_of(x), ct_dim(x, -1));
    return ct_add(x, ct_mul_scalar(eye, 3.0));
}

static ct_tensor *f_qr(void *user, ct_tensor *const *x) {
    (void)user;
    ct_tensor *q, *r;
    ct_qr(x[0], &q, &r);
    return ct_matmul(ct_square(q), ct_exp(ct_mul_scalar(r, 0.5)));
}
OPS_FUNCTION(f_cholesky, ct_square(ct_cholesky(positive(x[0]))))
static ct_tensor *f_svd(void *user, ct_tensor *const *x) {
    (void)user;
    ct_tensor *u, *s, *vh;
    ct_svd(x[0], &u, &s, &vh);
    return ct_matmul(ct_mul(ct_square(u), ct_unsqueeze(ct_square(s), -2)), ct_square(vh)); /* no signs */
}
static ct_tensor *f_svd_values(void *user, ct_tensor *const *x) {
    (void)user;
    ct_tensor *u, *s, *vh;
    ct_svd(x[0], &u, &s, &vh);
    return ct_log(s);
}
static ct_tensor *f_eigh(void *user, ct_tensor *const *x) {
    (void)user;
    ct_tensor *values, *vectors;
    ct_eigh(ct_add(x[0], ct_transposed(x[0])), &values, &vectors);
    return ct_mul(ct_square(vectors), ct_unsqueeze(values, -2));
}
OPS_FUNCTION(f_solve, ct_solve(dominant(x[0]), x[1]))
OPS_FUNCTION(f_triangular, ct_solve_triangular(dominant(x[0]), x[1], false, false))
OPS_FUNCTION(f_triangular_upper, ct_solve_triangular(x[0], x[1], true, true))
OPS_FUNCTION(f_least_squares, ct_least_squares(x[0], x[1]))

/* ----------------------------------------------------------------------------------- network operations */

OPS_FUNCTION(f_softmax, ct_softmax(x[0], -1))
OPS_FUNCTION(f_softmax_middle, ct_softmax(x[0], 1))
OPS_FUNCTION(f_log_softmax, ct_log_softmax(x[0], -1))
OPS_FUNCTION(f_log_softmax_first, ct_log_softmax(x[0], 0))

static ct_tensor *ids_entropy(ct_tensor *const *x, double smoothing, int reduction, bool weighted) {
    ct_tensor *ids = ops_ids(x[0], CT_DIMS(2, 3), (int64_t[]){0, 3, -7, 2, 1, 3});
    ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
    options.label_smoothing = smoothing;
    options.ignore_index = -7;
    options.reduction = reduction;
    double weights[6] = {0.5, 2.0, 1.0, 0.25, 0.0, 1.5};
    if (weighted) options.weights = ct_from_data(ct_context_of(x[0]), CT_F64, CT_DIMS(6), weights);
    ct_tensor *loss = ct_cross_entropy(x[0], ids, &options);
    return ct_mul(loss, ct_add_scalar(loss, 0.5)); /* upstream gradients other than 1 */
}
OPS_FUNCTION(f_entropy, ct_cross_entropy(ct_reshape(x[0], CT_DIMS(6, 4)),
                                         ops_ids(x[0], CT_DIMS(6), (int64_t[]){0, 3, -100, 2, 1, 3}), NULL))
OPS_FUNCTION(f_entropy_smooth, ids_entropy(x, 0.2, CT_LOSS_MEAN, false))
OPS_FUNCTION(f_entropy_weights, ids_entropy(x, 0.1, CT_LOSS_MEAN, true))
OPS_FUNCTION(f_entropy_sum, ids_entropy(x, 0.0, CT_LOSS_SUM, true))
OPS_FUNCTION(f_entropy_rows, ids_entropy(x, 0.0, CT_LOSS_NONE, false))
OPS_FUNCTION(f_entropy_rows_smooth, ids_entropy(x, 0.2, CT_LOSS_NONE, false))
OPS_FUNCTION(f_entropy_sum_smooth, ids_entropy(x, 0.2, CT_LOSS_SUM, false))

static ct_tensor *f_entropy_soft(void *user, ct_tensor *const *x) {
    (void)user;
    double targets[24];
    for (int i = 0; i < 24; i++)
        targets[i] = (i % 5 + 1) * 0.1; /* rows need not sum to one */
    ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
    options.label_smoothing = 0.1;
    ct_tensor *soft = ct_from_data(ct_context_of(x[0]), CT_F64, CT_DIMS(2, 3, 4), targets);
    return ct_cross_entropy(x[0], soft, &options);
}

/* Gradients to the soft targets and to the weights of the rows as well. */
static ct_tensor *f_entropy_learned(void *user, ct_tensor *const *x) {
    (void)user;
    ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
    options.label_smoothing = 0.1;
    options.weights = ct_abs(x[2]);
    return ct_cross_entropy(x[0], x[1], &options);
}
static ct_tensor *f_entropy_learned_weights(void *user, ct_tensor *const *x) {
    (void)user;
    ct_cross_entropy_options options = CT_CROSS_ENTROPY_DEFAULT;
    options.weights = ct_abs(x[1]);
    return ct_cross_entropy(x[0], ops_ids(x[0], CT_DIMS(2, 3), (int64_t[]){0, 3, -100, 2, 1, 3}), &options);
}

OPS_FUNCTION(f_embedding,
             ct_square(ct_embedding(x[0], ops_ids(x[0], CT_DIMS(2, 3), (int64_t[]){0, 2, 2, 1, 0, 2}))))
static ct_tensor *f_dropout(void *user, ct_tensor *const *x) {
    (void)user;
    ct_random random = ct_random_make(3, 5);
    random.offset = 11;
    return ct_dropout(ct_square(x[0]), 0.4, &random);
}
OPS_FUNCTION(f_layer_norm, ct_layer_norm(x[0], x[1], x[2], 1e-3))
OPS_FUNCTION(f_layer_norm_weight, ct_layer_norm(x[0], x[1], NULL, 1e-3))
OPS_FUNCTION(f_layer_norm_bias, ct_layer_norm(x[0], NULL, x[1], 1e-3))
OPS_FUNCTION(f_layer_norm_plain, ct_layer_norm(x[0], NULL, NULL, 1e-3))
OPS_FUNCTION(f_rms_norm, ct_rms_norm(x[0], x[1], 1e-3))
OPS_FUNCTION(f_rms_norm_plain, ct_rms_norm(x[0], NULL, 1e-3))

/* -------------------------------------------------------------------------------------------- attention */

#define ATTENTION(name, ...)                                                                                 \
    OPS_FUNCTION(f_attention_##name, ct_attention(x[0], x[1], x[2], &(ct_attention_options){__VA_ARGS__}))
OPS_FUNCTION(f_attention, ct_attention(x[0], x[1], x[2], NULL))
ATTENTION(causal, .causal = true)
ATTENTION(window, .causal = true, .window = 2, .scale = 0.7)
ATTENTION(alibi, .causal = true, .alibi_slopes = ct_alibi_slopes(ct_context_of(x[0]), 2))
ATTENTION(softcap, .causal = true, .softcap = 0.6)
/* The second query of the first item sees nothing. */
ATTENTION(mask, .mask = ops_mask(x[0], CT_DIMS(2, 1, 2, 3), (uint8_t[]){1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1}))
ATTENTION(bias, .bias = x[3])
ATTENTION(fixed_bias, .causal = true,
          .bias = ct_from_data(ct_context_of(x[0]), CT_F32, CT_DIMS(2, 3),
                               (float[]){0.5f, -1, 2, 0, 1, -0.5f}))
OPS_FUNCTION(f_attention_slopes,
             ct_attention(x[0], x[1], x[2], &(ct_attention_options){.alibi_slopes = x[3]}))
OPS_FUNCTION(f_packed, ct_attention_packed(x[0], 2, 2, &(ct_attention_options){.causal = true}))
OPS_FUNCTION(f_packed_softcap,
             ct_attention_packed(x[0], 2, 2, &(ct_attention_options){.softcap = 0.8, .window = 2}))
OPS_FUNCTION(f_packed_grouped, ct_attention_packed(x[0], 2, 1, NULL))

static ct_tensor *turned(ct_tensor *x, int64_t channels, bool interleaved) {
    ct_tensor *cosines, *sines;
    ct_rotary_tables(ct_context_of(x), 3, ct_dim(x, -2), channels, 100.0, &cosines, &sines);
    return ct_square(ct_rotary(x, cosines, sines, interleaved));
}
OPS_FUNCTION(f_rotary, turned(x[0], 4, false))
OPS_FUNCTION(f_rotary_fixed_pairs, turned(x[0], 2, true))
/* Each row of the batch at positions of its own. */
static ct_tensor *turned_each(ct_tensor *x) {
    ct_tensor *c[2], *s[2];
    for (int i = 0; i < 2; i++)
        ct_rotary_tables(ct_context_of(x), 1 + 4 * i, ct_dim(x, -2), 4, 100.0, &c[i], &s[i]);
    return ct_square(ct_rotary(x, ct_stack(c, 2, 0), ct_stack(s, 2, 0), false));
}
OPS_FUNCTION(f_rotary_each, turned_each(x[0]))
OPS_FUNCTION(f_rotary_learned, ct_square(ct_rotary(x[0], x[1], x[2], false)))
OPS_FUNCTION(f_rotary_pairs, ct_square(ct_rotary(x[0], x[1], x[2], true)))

/* ------------------------------------------------------------------------------------------------ table */

#define T1(a)                                                                                                \
    { 1, {a}, 0.2, 1.2, true }
#define T2(a, b)                                                                                             \
    { 2, {a, b}, 0.2, 1.2, true }
#define T3(a, b, c)                                                                                          \
    { 3, {a, b, c}, 0.2, 1.2, true }
#define T4(a, b, c, d)                                                                                       \
    { 4, {a, b, c, d}, 0.2, 1.2, true }
#define QKV(heads) T4(2, heads, 2, 2), T4(2, 1, 3, 2), T4(2, 1, 3, 1)

const ops_case ops_cases_network[] = {
    {"matmul", "", f_matmul, {T2(2, 3), T2(3, 4)}, 2, 0},
    {"matmul", "batch by matrix", f_matmul, {T3(2, 2, 3), T2(3, 2)}, 2, 0},
    {"matmul", "matrix by batch", f_matmul, {T2(2, 3), T3(2, 3, 2)}, 2, 0},
    {"matmul", "broadcast batches", f_matmul, {T4(1, 2, 2, 3), T3(1, 3, 2)}, 2, 0},
    {"matmul", "broadcast batches", f_matmul, {T4(2, 1, 1, 3), T3(2, 3, 2)}, 2, 0},
    {"matmul", "vector by matrix", f_matmul, {T1(3), T2(3, 2)}, 2, 0},
    {"matmul", "batch by vector", f_matmul, {T3(2, 2, 3), T1(3)}, 2, 0},
    {"matmul", "vectors", f_matmul, {T1(3), T1(3)}, 2, 0},
    {"linear", "plain", f_linear_plain, {T2(3, 2), T2(4, 2)}, 2, 0},
    {"linear", "bias", f_linear_bias, {T3(2, 2, 3), T2(2, 3), T1(2)}, 3, 0},
    {"linear", "one row", f_linear_bias, {T1(3), T2(2, 3), T1(2)}, 3, 0},
    {"linear", "transposed", f_linear_transposed, {T3(2, 2, 3), T2(3, 2), T1(2)}, 3, 0},
    {"linear", "relu", f_linear_relu, {T2(3, 2), T2(3, 2), T1(3)}, 3, 0},
    {"linear", "gelu", f_linear_gelu, {T2(3, 2), T2(2, 3), T1(3)}, 3, 0},
    {"linear", "gelu_tanh", f_linear_gelu_tanh, {T3(2, 1, 2), T2(3, 2), T1(3)}, 3, 0},
    {"linear", "silu", f_linear_silu, {T1(2), T2(2, 3), T1(3)}, 3, 0},
    {"einsum", "batched", f_einsum, {T3(2, 2, 3), T3(2, 3, 2)}, 2, 0},
    {"einsum", "outer", f_einsum_outer, {T1(2), T2(3, 2)}, 2, 0},
    {"einsum", "summed", f_einsum_sum, {T3(2, 3, 2), T2(4, 3)}, 2, 0},
    {"qr", "tall", f_qr, {T2(4, 3)}, 1, 1e-5},
    {"qr", "square, batched", f_qr, {T3(2, 3, 3)}, 1, 1e-5},
    {"qr", "wide", f_qr, {T2(2, 4)}, 1, 1e-5},
    {"cholesky", "", f_cholesky, {T2(3, 3)}, 1, 0},
    {"cholesky", "batched", f_cholesky, {T3(2, 2, 2)}, 1, 0},
    {"svd", "tall", f_svd, {T2(4, 2)}, 1, 1e-5},
    {"svd", "wide, batched", f_svd, {T3(2, 2, 3)}, 1, 1e-5},
    {"svd", "values", f_svd_values, {T2(3, 3)}, 1, 1e-5},
    {"eigh", "", f_eigh, {T2(3, 3)}, 1, 1e-5},
    {"eigh", "batched", f_eigh, {T3(2, 2, 2)}, 1, 1e-5},
    {"solve", "", f_solve, {T2(3, 3), T2(3, 2)}, 2, 0},
    {"solve", "vector", f_solve, {T2(3, 3), T1(3)}, 2, 0},
    {"solve", "broadcast", f_solve, {T2(2, 2), T3(2, 2, 2)}, 2, 0},
    {"solve_triangular", "", f_triangular, {T2(3, 3), T2(3, 2)}, 2, 0},
    {"solve_triangular", "upper, unit", f_triangular_upper, {T3(2, 2, 2), T3(1, 2, 2)}, 2, 0},
    {"least_squares", "", f_least_squares, {T2(4, 2), T2(4, 2)}, 2, 1e-5},
    {"least_squares", "vector", f_least_squares, {T2(3, 2), T1(3)}, 2, 1e-5},
    {"softmax", "", f_softmax, {T2(2, 4)}, 1, 0},
    {"softmax", "middle", f_softmax_middle, {T3(2, 3, 2)}, 1, 0},
    {"log_softmax", "", f_log_softmax, {T2(2, 4)}, 1, 0},
    {"log_softmax", "first", f_log_softmax_first, {T2(3, 2)}, 1, 0},
    {"cross_entropy", "", f_entropy, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "smoothing", f_entropy_smooth, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "weights", f_entropy_weights, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "sum", f_entropy_sum, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "rows", f_entropy_rows, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "rows, smoothing", f_entropy_rows_smooth, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "sum, smoothing", f_entropy_sum_smooth, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "soft", f_entropy_soft, {T3(2, 3, 4)}, 1, 0},
    {"cross_entropy", "learned targets", f_entropy_learned, {T2(2, 3), T2(2, 3), T1(2)}, 3, 0},
    {"cross_entropy", "learned weights", f_entropy_learned_weights, {T3(2, 3, 4), T1(6)}, 2, 0},
    {"embedding", "", f_embedding, {T2(4, 2)}, 1, 0},
    {"dropout", "", f_dropout, {T3(2, 3, 2)}, 1, 0},
    {"layer_norm", "", f_layer_norm, {T3(2, 2, 3), T1(3), T1(3)}, 3, 0},
    {"layer_norm", "weight", f_layer_norm_weight, {T2(2, 4), T1(4)}, 2, 0},
    {"layer_norm", "bias", f_layer_norm_bias, {T2(2, 4), T1(4)}, 2, 0},
    {"layer_norm", "plain", f_layer_norm_plain, {T2(2, 4)}, 1, 0},
    {"rms_norm", "", f_rms_norm, {T3(2, 2, 3), T1(3)}, 2, 0},
    {"rms_norm", "plain", f_rms_norm_plain, {T2(2, 4)}, 1, 0},
    {"attention", "", f_attention, {QKV(1)}, 3, 0},
    {"attention", "grouped", f_attention, {QKV(2)}, 3, 0},
    {"attention", "causal", f_attention_causal, {QKV(2)}, 3, 0},
    {"attention", "window", f_attention_window, {QKV(1)}, 3, 0},
    {"attention", "alibi", f_attention_alibi, {QKV(2)}, 3, 0},
    {"attention", "soft cap", f_attention_softcap, {QKV(2)}, 3, 0},
    {"attention", "mask", f_attention_mask, {QKV(2)}, 3, 0},
    {"attention", "fixed bias", f_attention_fixed_bias, {QKV(1)}, 3, 0},
    {"attention", "learned bias", f_attention_bias, {QKV(2), T3(2, 2, 3)}, 4, 0},
    {"attention", "learned slopes", f_attention_slopes, {QKV(2), T1(2)}, 4, 0},
    {"attention_packed", "", f_packed, {T3(2, 3, 6)}, 1, 0},
    {"attention_packed", "soft cap", f_packed_softcap, {T3(1, 3, 6)}, 1, 0},
    {"attention_packed", "grouped", f_packed_grouped, {T3(1, 3, 8)}, 1, 0},
    {"rotary", "", f_rotary, {T4(1, 2, 2, 4)}, 1, 0},
    {"rotary", "pairs, in part", f_rotary_fixed_pairs, {T3(2, 2, 4)}, 1, 0},
    {"rotary", "each row", f_rotary_each, {T4(2, 2, 2, 4)}, 1, 0},
    {"rotary", "learned, each row", f_rotary_learned, {T4(2, 2, 2, 4), T3(2, 2, 2), T3(2, 2, 2)}, 3, 0},
    {"rotary", "learned", f_rotary_learned, {T3(2, 2, 4), T2(2, 2), T2(2, 2)}, 3, 0},
    {"rotary", "learned, in part", f_rotary_learned, {T3(2, 2, 5), T2(2, 1), T2(2, 1)}, 3, 0},
    {"rotary", "learned, pairs", f_rotary_pairs, {T3(2, 2, 5), T2(2, 2), T2(2, 2)}, 3, 0},
};
const int ops_cases_network_count = (int)(sizeof(ops_cases_network) / sizeof(*ops_cases_network));
