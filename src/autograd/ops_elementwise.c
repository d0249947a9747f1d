/* ops_elementwise.c - operations of one operand, element by element, conversion and copies. Operations of two
 * or three operands are in ops_binary.c. */
#include "autograd/rules.h"
#include <math.h>

typedef struct parameters {
    double p0, p1;
} parameters;
typedef enum keep { KEEP_NOTHING, KEEP_OPERAND, KEEP_OUTPUT } keep;

static ct_tensor *unary(ct_tensor *x, ct_unary_op op, const ct_rule *rule, keep what, double p0, double p1) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return ct_inert_like(x);
    ct_tensor *y = ct_raw_unary(op, x, p0, p1);
    const parameters attributes = {p0, p1};
    ct_node *node = ct_record(context, rule, &x, 1, &y, 1, &attributes);
    if (!node) return y;
    if (what == KEEP_OPERAND)
        ct_save_operand(node, 0, x);
    else if (what == KEEP_OUTPUT)
        ct_save_output(node, 0, y);
    return y;
}

/* A rule whose gradient is `expression` of the gradient g, the saved value s (operand x or output y) and p.
 */
#define RULE(name, saves, expression)                                                                        \
    static void name##_vjp(const ct_vjp *call, ct_tensor **dx) {                                             \
        ct_tensor *g = call->output_gradients[0], *s = saves ? ct_saved(call, 0) : NULL;                     \
        const parameters *p = call->attributes;                                                              \
        (void)s, (void)p;                                                                                    \
        dx[0] = expression;                                                                                  \
    }                                                                                                        \
    static const ct_rule name##_rule = {#name, name##_vjp, sizeof(parameters), NULL};

#define UNARY(name, op, keep)                                                                                \
    ct_tensor *ct_##name(ct_tensor *x) {                                                                     \
        return unary(x, op, &name##_rule, keep, 0, 0);                                                       \
    }

/* --------------------------------------------------------------------------------------- simple gradients */

RULE(neg, 0, ct_neg(g))
RULE(exp, 1, ct_mul(g, s))
RULE(log, 1, ct_div(g, s))
RULE(log1p, 1, ct_div(g, ct_add_scalar(s, 1.0)))
RULE(expm1, 1, ct_mul(g, ct_add_scalar(s, 1.0)))
RULE(softplus, 1, ct_mul(g, ct_sigmoid(s)))
RULE(sin, 1, ct_mul(g, ct_cos(s)))
RULE(cos, 1, ct_neg(ct_mul(g, ct_sin(s))))
RULE(erf, 1,
     ct_mul(g, ct_mul_scalar(ct_exp(ct_neg(ct_square(s))), 1.1283791670955126))) /* 2/sqrt(pi) e^-x^2 */
RULE(sqrt, 1, ct_mul_scalar(ct_div(g, s), 0.5))
RULE(rsqrt, 1, ct_mul_scalar(ct_mul(g, ct_mul(s, ct_square(s))), -0.5))
RULE(reciprocal, 1, ct_neg(ct_mul(g, ct_square(s))))
RULE(square, 1, ct_mul(g, ct_mul_scalar(s, 2.0)))
RULE(abs, 1, ct_mul(g, ct_sign(s)))
RULE(add_scalar, 0, g)
RULE(mul_scalar, 0, ct_mul_scalar(g, p->p0))
RULE(flat, 0, ct_zeros_of_operand(call, 0, g)) /* steps: the gradient is 0 */

UNARY(neg, CT_NEG, KEEP_NOTHING)
UNARY(exp, CT_EXP, KEEP_OUTPUT)
UNARY(log, CT_LOG, KEEP_OPERAND)
UNARY(log1p, CT_LOG1P, KEEP_OPERAND)
UNARY(expm1, CT_EXPM1, KEEP_OUTPUT)
UNARY(softplus, CT_SOFTPLUS, KEEP_OPERAND)
UNARY(sin, CT_SIN, KEEP_OPERAND)
UNARY(cos, CT_COS, KEEP_OPERAND)
UNARY(erf, CT_ERF, KEEP_OPERAND)
UNARY(sqrt, CT_SQRT, KEEP_OUTPUT)
UNARY(rsqrt, CT_RSQRT, KEEP_OUTPUT)
UNARY(reciprocal, CT_RECIPROCAL, KEEP_OUTPUT)
UNARY(square, CT_SQUARE, KEEP_OPERAND)
UNARY(abs, CT_ABS, KEEP_OPERAND)

ct_tensor *ct_sign(ct_tensor *x) {
    return unary(x, CT_SIGN, &flat_rule, KEEP_NOTHING, 0, 0);
}
ct_tensor *ct_floor(ct_tensor *x) {
    return unary(x, CT_FLOOR, &flat_rule, KEEP_NOTHING, 0, 0);
}
ct_tensor *ct_round(ct_tensor *x) {
    return unary(x, CT_ROUND, &flat_rule, KEEP_NOTHING, 0, 0);
}

ct_tensor *ct_add_scalar(ct_tensor *x, double value) {
    return unary(x, CT_ADD_SCALAR, &add_scalar_rule, KEEP_NOTHING, value, 0);
}

ct_tensor *ct_mul_scalar(ct_tensor *x, double value) {
    return unary(x, CT_MUL_SCALAR, &mul_scalar_rule, KEEP_NOTHING, value, 0);
}

/* p x^(p-1); 0 for p = 0, also where x is 0. */
static ct_tensor *power_gradient(const ct_vjp *call, ct_tensor *g, ct_tensor *x, double exponent) {
    if (exponent == 0.0) return ct_zeros_of_operand(call, 0, g);
    if (exponent == 1.0) return g;
    ct_tensor *slope = exponent == 2.0 ? x : ct_pow_scalar(x, exponent - 1.0);
    return ct_mul(g, ct_mul_scalar(slope, exponent));
}
RULE(pow_scalar, 1, power_gradient(call, g, s, p->p0))

ct_tensor *ct_pow_scalar(ct_tensor *x, double exponent) {
    return unary(x, CT_POW_SCALAR, &pow_scalar_rule, KEEP_OPERAND, exponent, 0);
}

/* ----------------------------------------------------------------------------------------- activations */

static ct_tensor *positive(ct_tensor *x) {
    return ct_raw_binary(CT_GREATER, x, ct_constant(x, ct_dtype_of(x), 0));
}

/* Phi(x) + x phi(x) with the standard normal distribution and its density. */
static ct_tensor *gelu_slope(ct_tensor *x) {
    ct_tensor *distribution =
        ct_mul_scalar(ct_add_scalar(ct_erf(ct_mul_scalar(x, 0.7071067811865476)), 1.0), 0.5);
    ct_tensor *density = ct_mul_scalar(ct_exp(ct_mul_scalar(ct_square(x), -0.5)), 0.3989422804014327);
    return ct_add(distribution, ct_mul(x, density));
}

/* With u = c (x + a x^3), t = tanh u: 0.5 (1 + t) + 0.5 x (1 - t^2) c (1 + 3 a x^2). */
static ct_tensor *gelu_tanh_slope(ct_tensor *x) {
    const double c = 0.7978845608028654, a = 0.044715;
    ct_tensor *square = ct_square(x);
    ct_tensor *t = ct_tanh(ct_mul_scalar(ct_mul(x, ct_add_scalar(ct_mul_scalar(square, a), 1.0)), c));
    ct_tensor *inner = ct_mul_scalar(ct_add_scalar(ct_mul_scalar(square, 3.0 * a), 1.0), 0.5 * c);
    ct_tensor *sech = ct_add_scalar(ct_neg(ct_square(t)), 1.0);
    ct_tensor *half = ct_mul_scalar(ct_add_scalar(t, 1.0), 0.5);
    return ct_add(half, ct_mul(x, ct_mul(sech, inner)));
}

/* s (1 + x (1 - s)) with s = sigmoid(x). */
static ct_tensor *silu_slope(ct_tensor *x) {
    ct_tensor *s = ct_sigmoid(x);
    return ct_mul(s, ct_add_scalar(ct_mul(x, ct_add_scalar(ct_neg(s), 1.0)), 1.0));
}

ct_tensor *ct_activation_backward(ct_activation activation, ct_tensor *g, ct_tensor *p) {
    switch (activation) {
    case CT_ACT_RELU:
        return ct_keep_where(positive(p), g);
    case CT_ACT_GELU:
        return ct_mul(g, gelu_slope(p));
    case CT_ACT_GELU_TANH:
        return ct_mul(g, gelu_tanh_slope(p));
    case CT_ACT_SILU:
        return ct_mul(g, silu_slope(p));
    case CT_ACT_NONE:
        break;
    }
    return g;
}

#define FUSED(op, otherwise) (call->recording ? (otherwise) : ct_raw_binary(op, g, s))

RULE(relu, 1, FUSED(CT_RELU_BACKWARD, ct_activation_backward(CT_ACT_RELU, g, s)))
RULE(gelu, 1, FUSED(CT_GELU_ERF_BACKWARD, ct_activation_backward(CT_ACT_GELU, g, s)))
RULE(gelu_tanh, 1, FUSED(CT_GELU_TANH_BACKWARD, ct_activation_backward(CT_ACT_GELU_TANH, g, s)))
RULE(silu, 1, FUSED(CT_SILU_BACKWARD, ct_activation_backward(CT_ACT_SILU, g, s)))
RULE(tanh, 1, FUSED(CT_TANH_BACKWARD, ct_mul(g, ct_add_scalar(ct_neg(ct_square(s)), 1.0))))
RULE(sigmoid, 1, FUSED(CT_SIGMOID_BACKWARD, ct_mul(g, ct_mul(s, ct_add_scalar(ct_neg(s), 1.0)))))
RULE(leaky_relu, 1, ct_where(positive(s), g, ct_mul_scalar(g, p->p0)))

UNARY(relu, CT_RELU, KEEP_OUTPUT)
UNARY(gelu, CT_GELU_ERF, KEEP_OPERAND)
UNARY(gelu_tanh, CT_GELU_TANH, KEEP_OPERAND)
UNARY(silu, CT_SILU, KEEP_OPERAND)
UNARY(tanh, CT_TANH, KEEP_OUTPUT)
UNARY(sigmoid, CT_SIGMOID, KEEP_OUTPUT)

ct_tensor *ct_leaky_relu(ct_tensor *x, double negative_slope) {
    return unary(x, CT_LEAKY_RELU, &leaky_relu_rule, KEEP_OPERAND, negative_slope, 0);
}

/* Inside, ends included, is where clamping changed nothing. */
RULE(clamp, 1, ct_keep_where(ct_raw_binary(CT_EQUAL, s, ct_raw_unary(CT_CLAMP, s, p->p0, p->p1)), g))

ct_tensor *ct_clamp(ct_tensor *x, double low, double high) {
    if (!(low <= high)) {
        ct_fail(x->context, CT_ERROR_ARGUMENT, "clamp: low %g is not at most high %g", low, high);
        return ct_inert_like(x);
    }
    return unary(x, CT_CLAMP, &clamp_rule, KEEP_OPERAND, low, high);
}

/* -------------------------------------------------------------------------------- conversion and copies */

RULE(cast, 0, ct_cast(g, ct_operand_dtype(call, 0)))
RULE(identity, 0, g)

ct_tensor *ct_cast(ct_tensor *x, ct_dtype dtype) {
    if (ct_stop_op(x->context)) return ct_inert(x->context, dtype, x->ndim, x->shape);
    if (dtype == ct_dtype_of(x)) return x;
    ct_tensor *y = ct_raw_cast(x, dtype);
    const parameters none = {0, 0};
    if (ct_dtype_is_float(dtype)) ct_record(x->context, &cast_rule, &x, 1, &y, 1, &none);
    return y;
}

ct_tensor *ct_detach(ct_tensor *x) {
    return ct_stop_op(x->context) ? ct_inert_like(x) : ct_alias(x);
}

ct_tensor *ct_straight_through(ct_tensor *value, ct_tensor *x) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return ct_inert_like(value);
    if (!ct_same_shape(value, x)) {
        char a[160], b[160];
        ct_fail(context, CT_ERROR_SHAPE, "straight_through: value %s and x %s have different shapes",
                ct_describe(value, a, sizeof(a)), ct_describe(x, b, sizeof(b)));
        return ct_inert_like(value);
    }
    ct_tensor *y = ct_alias(value);
    const parameters none = {0, 0};
    ct_record(context, &identity_rule, &x, 1, &y, 1, &none);
    return y;
}

ct_tensor *ct_clone(ct_tensor *x) {
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    ct_tensor *y = ct_raw_cast(x, ct_dtype_of(x));
    const parameters none = {0, 0};
    ct_record(x->context, &identity_rule, &x, 1, &y, 1, &none);
    return y;
}

ct_tensor *ct_contiguous(ct_tensor *x) {
    return ct_is_contiguous(x) ? x : ct_clone(x);
}
