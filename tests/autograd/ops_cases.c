/* ops_cases.c - the machinery of the table of cases, and its elementwise part. */
#include "ops_cases.h"

const ops_case *ops_case_at(int i) {
    if (i < ops_cases_elementwise_count) return &ops_cases_elementwise[i];
    i -= ops_cases_elementwise_count;
    if (i < ops_cases_shape_count) return &ops_cases_shape[i];
    i -= ops_cases_shape_count;
    return i < ops_cases_network_count ? &ops_cases_network[i] : NULL;
}

static void reversed_order(int ndim, int *order) {
    for (int i = 0; i < ndim; i++)
        order[i] = ndim - 1 - i;
}

void ops_case_inputs(ct_context *context, const ops_case *c, ct_dtype dtype, bool reversed,
                     ct_tensor **inputs) {
    ct_random random = ct_random_make(7, ct_random_stream(c->operation));
    for (int i = 0; i < c->count; i++) {
        const ops_input *in = &c->inputs[i];
        int64_t shape[4];
        for (int j = 0; j < in->ndim; j++)
            shape[j] = reversed ? in->shape[in->ndim - 1 - j] : in->shape[j];
        inputs[i] = ct_empty(context, dtype, in->ndim, shape);
        double values[256];
        for (int64_t j = 0; j < ct_count(inputs[i]); j++) {
            values[j] = in->low + (in->high - in->low) * ct_random_uniform(&random);
            if (in->both && ct_random_u32(&random) & 1) values[j] = -values[j];
        }
        ct_write(inputs[i], CT_F64, values);
        ct_require_grad(inputs[i], true);
    }
}

ct_tensor *ops_case_call(void *user, ct_tensor *const *inputs) {
    const ops_call *call = user;
    ct_tensor *x[OPS_CASE_INPUTS];
    for (int i = 0; i < call->c->count; i++) {
        int order[CT_MAX_DIMS];
        reversed_order(ct_ndim(inputs[i]), order);
        x[i] = call->reversed ? ct_permute(inputs[i], ct_ndim(inputs[i]), order) : inputs[i];
    }
    return call->c->function(NULL, x);
}

ct_tensor *ops_ids(ct_tensor *like, int ndim, const int64_t *shape, const int64_t *values) {
    return ct_from_data(ct_context_of(like), CT_I64, ndim, shape, values);
}

ct_tensor *ops_mask(ct_tensor *like, int ndim, const int64_t *shape, const uint8_t *values) {
    return ct_from_data(ct_context_of(like), CT_U8, ndim, shape, values);
}

/* ------------------------------------------------------------------------------------------ elementwise */

#define UNARY(name) OPS_FUNCTION(f_##name, ct_##name(x[0]))
#define BINARY(name) OPS_FUNCTION(f_##name, ct_##name(x[0], x[1]))
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(pow)
BINARY(minimum)
BINARY(maximum)
UNARY(neg)
UNARY(exp)
UNARY(log)
UNARY(log1p)
UNARY(expm1)
UNARY(tanh)
UNARY(sigmoid)
UNARY(relu)
UNARY(gelu)
UNARY(gelu_tanh)
UNARY(silu)
UNARY(softplus)
UNARY(sin)
UNARY(cos)
UNARY(erf)
UNARY(sqrt)
UNARY(rsqrt)
UNARY(reciprocal)
UNARY(square)
UNARY(abs)
UNARY(sign)
UNARY(floor)
UNARY(round)
UNARY(clone)
OPS_FUNCTION(f_add_scalar, ct_mul(ct_add_scalar(x[0], 0.75), x[0]))
OPS_FUNCTION(f_mul_scalar, ct_mul(ct_mul_scalar(x[0], -2.5), x[0]))
OPS_FUNCTION(f_pow_scalar, ct_pow_scalar(x[0], 2.7))
OPS_FUNCTION(f_pow_cube, ct_pow_scalar(x[0], 3))
OPS_FUNCTION(f_pow_square, ct_pow_scalar(x[0], 2))
OPS_FUNCTION(f_pow_one, ct_pow_scalar(x[0], 1))
OPS_FUNCTION(f_pow_zero, ct_pow_scalar(x[0], 0))
OPS_FUNCTION(f_pow_negative, ct_pow_scalar(x[0], -1.5))
OPS_FUNCTION(f_leaky_relu, ct_leaky_relu(x[0], 0.1))
OPS_FUNCTION(f_clamp, ct_square(ct_clamp(x[0], -0.6, 0.6)))
OPS_FUNCTION(f_cast, ct_cast(ct_square(x[0]), CT_F64))
OPS_FUNCTION(f_contiguous, ct_square(ct_contiguous(ct_transpose(x[0], 0, 1))))
OPS_FUNCTION(f_where, ct_where(ops_mask(x[0], CT_DIMS(2, 3), (uint8_t[]){1, 0, 1, 0, 0, 1}), ct_square(x[0]),
                               ct_exp(x[1])))
OPS_FUNCTION(f_masked_fill,
             ct_masked_fill(ct_square(x[0]), ops_mask(x[0], CT_DIMS(2, 1, 3), (uint8_t[]){1, 0, 1, 0, 0, 1}),
                            4.0))

/* A [2, 3] operand (or another), magnitudes in [low, high). */
#define ANY(low, high)                                                                                       \
    { 2, {2, 3}, low, high, true }
#define POSITIVE(low, high)                                                                                  \
    { 2, {2, 3}, low, high, false }
#define ONE(name, input)                                                                                     \
    { #name, "", f_##name, {input }, 1, 0 }
#define TWO(name, variant, first, ...)                                                                       \
    { #name, variant, f_##name, {first, __VA_ARGS__ }, 2, 0 }
#define ROW                                                                                                  \
    { 1, {3}, 0.4, 1.4, true }
#define COLUMN                                                                                               \
    { 3, {2, 2, 1}, 0.4, 1.4, true }
#define POSITIVE_COLUMN                                                                                      \
    { 3, {2, 2, 1}, 0.4, 1.4, false }

const ops_case ops_cases_elementwise[] = {
    TWO(add, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(add, "row", ANY(0.1, 2), ROW),
    TWO(sub, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(sub, "column", ROW, COLUMN),
    TWO(mul, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(mul, "row and column", ANY(0.1, 2), COLUMN),
    TWO(mul, "column and row", COLUMN, ANY(0.1, 2)),
    TWO(div, "", ANY(0.1, 2), ANY(0.5, 2)),
    TWO(div, "row", ANY(0.1, 2), ROW),
    TWO(div, "column", ROW, COLUMN),
    TWO(pow, "", POSITIVE(0.5, 2), ANY(0.5, 2)),
    TWO(pow, "row", POSITIVE(0.5, 2), ROW),
    TWO(pow, "column", POSITIVE_COLUMN, ROW),
    TWO(minimum, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(minimum, "row", ANY(0.1, 2), ROW),
    TWO(maximum, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(maximum, "column", ROW, COLUMN),
    ONE(add_scalar, ANY(0.1, 2)),
    ONE(mul_scalar, ANY(0.1, 2)),
    ONE(pow_scalar, POSITIVE(0.3, 2)),
    {"pow_scalar", "cube", f_pow_cube, {ANY(0.1, 2)}, 1, 0},
    {"pow_scalar", "square", f_pow_square, {ANY(0.1, 2)}, 1, 0},
    {"pow_scalar", "one", f_pow_one, {ANY(0.1, 2)}, 1, 0},
    {"pow_scalar", "zero", f_pow_zero, {ANY(0.1, 2)}, 1, 0},
    {"pow_scalar", "negative", f_pow_negative, {POSITIVE(0.5, 2)}, 1, 0},
    ONE(neg, ANY(0.1, 2)),
    ONE(exp, ANY(0.1, 2)),
    ONE(log, POSITIVE(0.3, 2)),
    ONE(log1p, ANY(0.1, 0.7)),
    ONE(expm1, ANY(0.1, 2)),
    ONE(tanh, ANY(0.1, 2)),
    ONE(sigmoid, ANY(0.1, 2)),
    ONE(relu, ANY(0.1, 2)),
    ONE(leaky_relu, ANY(0.1, 2)),
    ONE(gelu, ANY(0.1, 2)),
    ONE(gelu_tanh, ANY(0.1, 2)),
    ONE(silu, ANY(0.1, 2)),
    ONE(softplus, ANY(0.1, 2)),
    ONE(sin, ANY(0.1, 2)),
    ONE(cos, ANY(0.1, 2)),
    ONE(erf, ANY(0.1, 1.5)),
    ONE(sqrt, POSITIVE(0.3, 2)),
    ONE(rsqrt, POSITIVE(0.3, 2)),
    ONE(reciprocal, ANY(0.4, 2)),
    ONE(square, ANY(0.1, 2)),
    ONE(abs, ANY(0.1, 2)),
    ONE(sign, ANY(0.1, 2)),
    ONE(floor, ANY(0.1, 0.9)),
    ONE(round, ANY(0.1, 0.4)),
    ONE(clamp, ANY(0.1, 0.5)),
    {"clamp", "outside", f_clamp, {ANY(0.7, 2)}, 1, 0},
    TWO(where, "", ANY(0.1, 2), ANY(0.1, 2)),
    TWO(where, "column", ANY(0.1, 2), COLUMN),
    ONE(masked_fill, ANY(0.1, 2)),
    ONE(cast, ANY(0.1, 2)),
    ONE(clone, ANY(0.1, 2)),
    ONE(contiguous, ANY(0.1, 2)),
};
const int ops_cases_elementwise_count = (int)(sizeof(ops_cases_elementwise) / sizeof(*ops_cases_elementwise));
