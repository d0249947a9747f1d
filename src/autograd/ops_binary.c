/* ops_binary.c - elementwise operations of two and three operands, with broadcasting, and comparisons. */
#include "autograd/rules.h"

/* Which operands' values the rule was given, in this order. */
typedef struct kept {
    bool b, a;
} kept;

static ct_tensor *saved_b(const ct_vjp *call) {
    return ct_saved(call, 0);
}
static ct_tensor *saved_a(const ct_vjp *call) {
    return ct_saved(call, ((const kept *)call->attributes)->b ? 1 : 0);
}

static ct_tensor *binary(ct_tensor *a, ct_tensor *b, ct_binary_op op, const ct_rule *rule, kept keep) {
    ct_context *context = a->context;
    if (ct_stop_op(context)) return ct_inert_broadcast(a, b);
    ct_tensor *y = ct_raw_binary(op, a, b);
    ct_tensor *const operands[2] = {a, b};
    ct_node *node = ct_record(context, rule, operands, 2, &y, 1, &keep);
    if (!node) return y;
    if (keep.b) ct_save_operand(node, 1, b);
    if (keep.a) ct_save_operand(node, 0, a);
    return y;
}

#define BINARY_RULE(name) static const ct_rule name##_rule = {#name, name##_vjp, sizeof(kept), NULL};

/* ------------------------------------------------------------------------------------------ arithmetic */

static void add_vjp(const ct_vjp *call, ct_tensor **dx) {
    for (int i = 0; i < 2; i++)
        if (call->wanted[i]) dx[i] = ct_fold_to_operand(call, i, call->output_gradients[0]);
}
BINARY_RULE(add)

ct_tensor *ct_add(ct_tensor *a, ct_tensor *b) {
    return binary(a, b, CT_ADD, &add_rule, (kept){false, false});
}

static void sub_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0];
    if (call->wanted[0]) dx[0] = ct_sum_to_operand(call, 0, g);
    if (call->wanted[1]) dx[1] = ct_neg(ct_sum_to_operand(call, 1, g));
}
BINARY_RULE(sub)

ct_tensor *ct_sub(ct_tensor *a, ct_tensor *b) {
    return binary(a, b, CT_SUB, &sub_rule, (kept){false, false});
}

static void mul_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0];
    if (call->wanted[0]) dx[0] = ct_fold_to_operand(call, 0, ct_mul(g, saved_b(call)));
    if (call->wanted[1]) dx[1] = ct_fold_to_operand(call, 1, ct_mul(g, saved_a(call)));
}
BINARY_RULE(mul)

ct_tensor *ct_mul(ct_tensor *a, ct_tensor *b) {
    return binary(a, b, CT_MUL, &mul_rule, (kept){ct_requires_grad(a), ct_requires_grad(b)});
}

/* y = a / b: g / b and -g y / b. */
static void div_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *quotient = ct_div(call->output_gradients[0], ct_saved(call, 0));
    if (call->wanted[0]) dx[0] = ct_sum_to_operand(call, 0, quotient);
    if (call->wanted[1]) dx[1] = ct_neg(ct_sum_to_operand(call, 1, ct_mul(quotient, ct_saved(call, 1))));
}
BINARY_RULE(div)

ct_tensor *ct_div(ct_tensor *a, ct_tensor *b) {
    ct_tensor *y = binary(a, b, CT_DIV, &div_rule, (kept){true, false});
    if (y->node && ct_requires_grad(b)) ct_save_output(y->node, 0, y);
    return y;
}

/* a^b: g b a^(b-1) and g a^b log a. Where a is 0: the first is 0 for b = 0, the second is 0 for b >= 0. */
static void pow_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0], *b = ct_saved(call, 0), *a = ct_saved(call, 1);
    ct_tensor *zero = ct_constant(a, ct_dtype_of(a), 0), *one = ct_constant(a, ct_dtype_of(a), 1);
    ct_tensor *a_zero = ct_raw_binary(CT_EQUAL, a, zero);
    if (call->wanted[0]) {
        ct_tensor *both = ct_raw_binary(CT_MUL, a_zero, ct_raw_binary(CT_EQUAL, b, zero));
        ct_tensor *exponent = ct_where(ct_raw_cast(both, CT_U8), one, ct_add_scalar(b, -1.0));
        dx[0] = ct_sum_to_operand(call, 0, ct_mul(g, ct_mul(b, ct_pow(a, exponent))));
    }
    if (call->wanted[1]) {
        ct_tensor *both = ct_raw_binary(CT_MUL, a_zero, ct_raw_binary(CT_GREATER_EQUAL, b, zero));
        ct_tensor *logarithm = ct_log(ct_where(ct_raw_cast(both, CT_U8), one, a));
        dx[1] = ct_sum_to_operand(call, 1, ct_mul(g, ct_mul(ct_saved(call, 2), logarithm)));
    }
}
BINARY_RULE(pow)

ct_tensor *ct_pow(ct_tensor *a, ct_tensor *b) {
    ct_tensor *y = binary(a, b, CT_POW, &pow_rule, (kept){true, true});
    if (y->node && ct_requires_grad(b)) ct_save_output(y->node, 0, y);
    return y;
}

/* ------------------------------------------------------------------------------------ minimum, maximum */

/* 1 where the first operand is the result, 1/2 where both are, 0 elsewhere. */
static ct_tensor *share(ct_tensor *a, ct_tensor *b, ct_binary_op first, ct_dtype dtype) {
    ct_tensor *half = ct_constant(a, dtype, 0.5);
    return ct_raw_where(ct_raw_binary(CT_EQUAL, a, b), half, ct_raw_cast(ct_raw_binary(first, a, b), dtype));
}

static void extremum_vjp(const ct_vjp *call, ct_tensor **dx, ct_binary_op first) {
    ct_tensor *g = call->output_gradients[0], *b = ct_saved(call, 0), *a = ct_saved(call, 1);
    if (call->wanted[0]) dx[0] = ct_sum_to_operand(call, 0, ct_mul(g, share(a, b, first, ct_dtype_of(g))));
    if (call->wanted[1]) dx[1] = ct_sum_to_operand(call, 1, ct_mul(g, share(b, a, first, ct_dtype_of(g))));
}

static void minimum_vjp(const ct_vjp *call, ct_tensor **dx) {
    extremum_vjp(call, dx, CT_LESS);
}
static void maximum_vjp(const ct_vjp *call, ct_tensor **dx) {
    extremum_vjp(call, dx, CT_GREATER);
}
BINARY_RULE(minimum)
BINARY_RULE(maximum)

ct_tensor *ct_minimum(ct_tensor *a, ct_tensor *b) {
    return binary(a, b, CT_MINIMUM, &minimum_rule, (kept){true, true});
}

ct_tensor *ct_maximum(ct_tensor *a, ct_tensor *b) {
    return binary(a, b, CT_MAXIMUM, &maximum_rule, (kept){true, true});
}

/* ----------------------------------------------------------------------------------------------- choice */

static void where_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0], *mask = ct_saved(call, 0);
    if (call->wanted[0]) dx[0] = ct_sum_to_operand(call, 0, ct_keep_where(mask, g));
    if (call->wanted[1]) dx[1] = ct_sum_to_operand(call, 1, ct_drop_where(mask, g));
}
static const ct_rule where_rule = {"where", where_vjp, 0, NULL};

/* A mask is u8; false with an error if it is not. */
static bool is_mask(const ct_tensor *mask, const char *operation) {
    if (ct_dtype_of(mask) == CT_U8) return true;
    ct_fail(mask->context, CT_ERROR_TYPE, "%s: the mask is %s, expected u8", operation,
            ct_dtype_name(ct_dtype_of(mask)));
    return false;
}

/* The first two must fit each other, then their common shape the third: raw_where checks it all at once. */
ct_tensor *ct_where(ct_tensor *mask, ct_tensor *a, ct_tensor *b) {
    ct_context *context = a->context;
    if (ct_stop_op(context) || !is_mask(mask, "where")) return ct_inert_broadcast(a, b);
    ct_dtype dtype = ct_promote(ct_dtype_of(a), ct_dtype_of(b));
    ct_tensor *first = ct_dtype_of(a) == dtype ? a : ct_raw_cast(a, dtype);
    ct_tensor *second = ct_dtype_of(b) == dtype ? b : ct_raw_cast(b, dtype);
    ct_tensor *y = ct_raw_where(mask, first, second);
    ct_tensor *const operands[2] = {a, b};
    ct_node *node = ct_record(context, &where_rule, operands, 2, &y, 1, NULL);
    if (node) ct_save_value(node, mask);
    return y;
}

static void masked_fill_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_sum_to_operand(call, 0, ct_drop_where(ct_saved(call, 0), call->output_gradients[0]));
}
static const ct_rule masked_fill_rule = {"masked_fill", masked_fill_vjp, 0, NULL};

ct_tensor *ct_masked_fill(ct_tensor *x, ct_tensor *mask, double value) {
    ct_context *context = x->context;
    if (ct_stop_op(context) || !is_mask(mask, "masked_fill")) return ct_inert_like(x);
    ct_tensor *y = ct_raw_where(mask, ct_constant(x, ct_dtype_of(x), value), x);
    ct_node *node = ct_record(context, &masked_fill_rule, &x, 1, &y, 1, NULL);
    if (node) ct_save_value(node, mask);
    return y;
}

/* ------------------------------------------------------------------------------------------- comparison */

static ct_tensor *comparison(ct_tensor *a, ct_tensor *b, ct_binary_op op) {
    if (!ct_stop_op(a->context)) return ct_raw_binary(op, a, b);
    ct_tensor *shape = ct_inert_broadcast(a, b);
    return ct_inert(a->context, CT_U8, shape->ndim, shape->shape);
}

ct_tensor *ct_equal(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_EQUAL);
}
ct_tensor *ct_not_equal(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_NOT_EQUAL);
}
ct_tensor *ct_less(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_LESS);
}
ct_tensor *ct_less_equal(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_LESS_EQUAL);
}
ct_tensor *ct_greater(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_GREATER);
}
ct_tensor *ct_greater_equal(ct_tensor *a, ct_tensor *b) {
    return comparison(a, b, CT_GREATER_EQUAL);
}
