/* ops_reduce.c - sums, means, norms, extrema, log-sum-exp along axes; cumulative sums; sorting. */
#include "autograd/rules.h"
#include <math.h>

typedef struct reduction {
    unsigned axes;
    bool keep;
    double value; /* mean: 1 / n; variance: 2 / divisor; norm: the order */
} reduction;

/* A reduced value (or its gradient) with the reduced axes back as 1. */
static ct_tensor *with_axes(const ct_vjp *call, ct_tensor *reduced) {
    const reduction *r = call->attributes;
    if (r->keep) return reduced;
    const int64_t *shape = ct_operand_shape(call, 0);
    int ndim = ct_operand_ndim(call, 0);
    int64_t kept[CT_MAX_DIMS];
    for (int i = 0; i < ndim; i++)
        kept[i] = r->axes & 1u << i ? 1 : shape[i];
    return ct_reshape(reduced, ndim, kept);
}

static ct_tensor *spread(const ct_vjp *call, ct_tensor *reduced) {
    return ct_expand(with_axes(call, reduced), ct_operand_ndim(call, 0), ct_operand_shape(call, 0));
}

static int64_t reduced_count(const ct_tensor *x, unsigned axes) {
    int64_t n = 1;
    for (int i = 0; i < x->ndim; i++)
        if (axes & 1u << i) n *= x->shape[i];
    return n;
}

/* True if the operation can go on; else *inert is what to return. */
static bool begin(ct_tensor *x, int count, const int *axes, bool keep, const char *operation, reduction *r,
                  ct_tensor **inert) {
    r->keep = keep;
    r->value = 0;
    if (ct_axes_mask(x, count, axes, operation, &r->axes) && !ct_stop_op(x->context)) return true;
    int64_t shape[CT_MAX_DIMS];
    int ndim = ct_reduced_shape(x, r->axes, keep, shape);
    *inert = ct_inert(x->context, ct_dtype_of(x), ndim, shape);
    return false;
}

static ct_tensor *finish(ct_tensor *x, ct_tensor *y, const ct_rule *rule, const reduction *r, bool save_x,
                         bool save_y) {
    ct_node *node = ct_record(x->context, rule, &x, 1, &y, 1, r);
    if (node && save_x) ct_save_operand(node, 0, x);
    if (node && save_y) ct_save_output(node, 0, y);
    return y;
}

/* ------------------------------------------------------------------------------- sum, mean, variance */

static void sum_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = spread(call, call->output_gradients[0]);
}
static const ct_rule sum_rule = {"sum", sum_vjp, sizeof(reduction), NULL};

ct_tensor *ct_sum(ct_tensor *x, int count, const int *axes, bool keep) {
    reduction r;
    ct_tensor *y;
    if (!begin(x, count, axes, keep, "sum", &r, &y)) return y;
    return finish(x, ct_raw_reduce(CT_REDUCE_SUM_OP, x, r.axes, keep), &sum_rule, &r, false, false);
}

/* factor * reduction of x, rounded once; half types are summed in f32, where their sum cannot overflow. */
static ct_tensor *scaled_reduction(ct_reduce_op op, ct_tensor *x, const reduction *r, double factor) {
    ct_dtype dtype = ct_dtype_of(x), wide = ct_accumulation_dtype(dtype);
    ct_tensor *sum = ct_raw_reduce(op, wide == dtype ? x : ct_raw_cast(x, wide), r->axes, r->keep);
    ct_tensor *y = ct_raw_unary(CT_MUL_SCALAR, sum, factor, 0);
    return wide == dtype ? y : ct_raw_cast(y, dtype);
}

static bool floating(const ct_tensor *x, const char *operation) {
    if (ct_dtype_is_float(ct_dtype_of(x))) return true;
    ct_fail(x->context, CT_ERROR_TYPE, "%s: x is %s, expected a floating type", operation,
            ct_dtype_name(ct_dtype_of(x)));
    return false;
}

static void mean_vjp(const ct_vjp *call, ct_tensor **dx) {
    const reduction *r = call->attributes;
    dx[0] = spread(call, ct_mul_scalar(call->output_gradients[0], r->value));
}
static const ct_rule mean_rule = {"mean", mean_vjp, sizeof(reduction), NULL};

ct_tensor *ct_mean(ct_tensor *x, int count, const int *axes, bool keep) {
    reduction r;
    ct_tensor *y;
    floating(x, "mean");
    if (!begin(x, count, axes, keep, "mean", &r, &y)) return y;
    r.value = 1.0 / (double)reduced_count(x, r.axes);
    return finish(x, scaled_reduction(CT_REDUCE_SUM_OP, x, &r, r.value), &mean_rule, &r, false, false);
}

static int axes_list(unsigned mask, int ndim, int *axes) {
    int n = 0;
    for (int i = 0; i < ndim; i++)
        if (mask & 1u << i) axes[n++] = i;
    return n;
}

/* 2 (x - mean x) / (n - correction) */
static void variance_vjp(const ct_vjp *call, ct_tensor **dx) {
    const reduction *r = call->attributes;
    ct_tensor *x = ct_saved(call, 0);
    int axes[CT_MAX_DIMS], n = axes_list(r->axes, x->ndim, axes);
    ct_tensor *centred = n ? ct_sub(x, ct_mean(x, n, axes, true)) : ct_sub(x, x);
    dx[0] = ct_mul(centred, ct_mul_scalar(with_axes(call, call->output_gradients[0]), r->value));
}
static const ct_rule variance_rule = {"variance", variance_vjp, sizeof(reduction), NULL};

ct_tensor *ct_variance(ct_tensor *x, int count, const int *axes, bool keep, double correction) {
    reduction r;
    ct_tensor *y;
    floating(x, "variance");
    if (!begin(x, count, axes, keep, "variance", &r, &y)) return y;
    double n = (double)reduced_count(x, r.axes);
    ct_dtype dtype = ct_dtype_of(x), wide = ct_accumulation_dtype(dtype);
    ct_tensor *value = wide == dtype ? x : ct_raw_cast(x, wide);
    const reduction along = {r.axes, true, 0};
    ct_tensor *centred =
        ct_raw_binary(CT_SUB, value, scaled_reduction(CT_REDUCE_SUM_OP, value, &along, 1.0 / n));
    r.value = 2.0 / (n - correction);
    y = scaled_reduction(CT_REDUCE_SQUARES_OP, centred, &r, 1.0 / (n - correction));
    if (wide != dtype) y = ct_raw_cast(y, dtype);
    return finish(x, y, &variance_rule, &r, true, false);
}

ct_tensor *ct_sum_all(ct_tensor *x) {
    return ct_sum(x, 0, NULL, false);
}
ct_tensor *ct_mean_all(ct_tensor *x) {
    return ct_mean(x, 0, NULL, false);
}

/* --------------------------------------------------------------------------------------------- extrema */

static ct_tensor *zero_mask(ct_tensor *x) {
    return ct_raw_binary(CT_EQUAL, x, ct_constant(x, ct_dtype_of(x), 0));
}

/* g shared equally among the elements of x (or |x|) that equal the extremum y. */
static ct_tensor *shared_gradient(const ct_vjp *call, ct_tensor *x, ct_tensor *y, ct_tensor *g) {
    const reduction *r = call->attributes;
    ct_tensor *ties = ct_raw_cast(ct_raw_binary(CT_EQUAL, x, with_axes(call, y)), ct_dtype_of(g));
    ct_tensor *number = ct_raw_reduce(CT_REDUCE_SUM_OP, ties, r->axes, true);
    return ct_mul(ct_div(with_axes(call, g), number), ties);
}

static void extremum_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *x = ct_detach(ct_saved(call, 0)), *y = ct_detach(ct_saved(call, 1));
    dx[0] = shared_gradient(call, x, y, call->output_gradients[0]);
}
static const ct_rule max_rule = {"max", extremum_vjp, sizeof(reduction), NULL};
static const ct_rule min_rule = {"min", extremum_vjp, sizeof(reduction), NULL};

static ct_tensor *extremum(ct_tensor *x, int count, const int *axes, bool keep, ct_reduce_op op,
                           const ct_rule *rule) {
    reduction r;
    ct_tensor *y;
    if (!begin(x, count, axes, keep, rule->name, &r, &y)) return y;
    return finish(x, ct_raw_reduce(op, x, r.axes, keep), rule, &r, true, true);
}

ct_tensor *ct_max(ct_tensor *x, int count, const int *axes, bool keep) {
    return extremum(x, count, axes, keep, CT_REDUCE_MAX_OP, &max_rule);
}

ct_tensor *ct_min(ct_tensor *x, int count, const int *axes, bool keep) {
    return extremum(x, count, axes, keep, CT_REDUCE_MIN_OP, &min_rule);
}

static ct_tensor *position_of(ct_tensor *x, int axis, bool keep, bool minimum, const char *operation) {
    int normalised = ct_axis(x, axis, operation);
    int64_t shape[CT_MAX_DIMS];
    if (normalised < 0) return ct_inert(x->context, CT_I64, 0, NULL);
    if (!ct_stop_op(x->context)) return ct_raw_argmax(x, normalised, keep, minimum);
    int ndim = ct_reduced_shape(x, 1u << normalised, keep, shape);
    return ct_inert(x->context, CT_I64, ndim, shape);
}

ct_tensor *ct_argmax(ct_tensor *x, int axis, bool keep) {
    return position_of(x, axis, keep, false, "argmax");
}
ct_tensor *ct_argmin(ct_tensor *x, int axis, bool keep) {
    return position_of(x, axis, keep, true, "argmin");
}

/* ---------------------------------------------------------------------------------- norms, logsumexp */

/* Of y = (sum |x|^p)^(1/p): sign(x) (|x| / y)^(p-1), and 0 where y is 0. */
static void norm_vjp(const ct_vjp *call, ct_tensor **dx) {
    const reduction *r = call->attributes;
    ct_tensor *g = call->output_gradients[0], *x = ct_saved(call, 0);
    if (r->value == 1.0) {
        dx[0] = ct_mul(with_axes(call, g), ct_sign(ct_detach(x)));
        return;
    }
    ct_tensor *y = ct_saved(call, 1);
    if (isinf(r->value)) {
        ct_tensor *sign = ct_sign(ct_detach(x)), *size = ct_abs(ct_detach(x));
        dx[0] = ct_mul(shared_gradient(call, size, ct_detach(y), g), sign);
        return;
    }
    y = with_axes(call, y);
    ct_tensor *divisor = ct_masked_fill(y, zero_mask(y), 1.0);
    if (r->value == 2.0) {
        dx[0] = ct_mul(ct_div(with_axes(call, g), divisor), x);
        return;
    }
    ct_tensor *size = ct_masked_fill(ct_abs(x), zero_mask(x), 1.0); /* 0^(p-1) is infinite for p < 1 */
    ct_tensor *slope = ct_mul(ct_pow_scalar(ct_div(size, divisor), r->value - 1.0), ct_sign(ct_detach(x)));
    dx[0] = ct_mul(with_axes(call, g), slope);
}
static const ct_rule norm_rule = {"norm", norm_vjp, sizeof(reduction), NULL};

/* (sum |x|^p)^(1/p) in at least f32. */
static ct_tensor *norm_of(ct_tensor *x, const reduction *r) {
    if (isinf(r->value))
        return ct_raw_reduce(CT_REDUCE_MAX_OP, ct_raw_unary(CT_ABS, x, 0, 0), r->axes, r->keep);
    if (r->value == 2.0)
        return ct_raw_unary(CT_SQRT, ct_raw_reduce(CT_REDUCE_SQUARES_OP, x, r->axes, r->keep), 0, 0);
    ct_tensor *size = ct_raw_unary(CT_ABS, x, 0, 0);
    if (r->value == 1.0) return ct_raw_reduce(CT_REDUCE_SUM_OP, size, r->axes, r->keep);
    ct_tensor *powers = ct_raw_unary(CT_POW_SCALAR, size, r->value, 0);
    return ct_raw_unary(CT_POW_SCALAR, ct_raw_reduce(CT_REDUCE_SUM_OP, powers, r->axes, r->keep),
                        1.0 / r->value, 0);
}

ct_tensor *ct_norm(ct_tensor *x, double order, int count, const int *axes, bool keep) {
    reduction r;
    ct_tensor *y;
    floating(x, "norm");
    if (!(order > 0))
        ct_fail(x->context, CT_ERROR_ARGUMENT, "norm: order %g, expected a positive number or INFINITY",
                order);
    if (!begin(x, count, axes, keep, "norm", &r, &y)) return y;
    r.value = order;
    ct_dtype dtype = ct_dtype_of(x), wide = ct_accumulation_dtype(dtype);
    y = wide == dtype ? norm_of(x, &r) : ct_raw_cast(norm_of(ct_raw_cast(x, wide), &r), dtype);
    return finish(x, y, &norm_rule, &r, true, true);
}

/* softmax along the axes: e^(x - y); 0 where everything is -infinity. */
static void logsumexp_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *x = ct_saved(call, 0), *y = with_axes(call, ct_saved(call, 1));
    ct_tensor *nothing = ct_raw_binary(CT_EQUAL, y, ct_constant(y, ct_dtype_of(y), -INFINITY));
    ct_tensor *probability = ct_exp(ct_sub(x, ct_masked_fill(y, nothing, 0.0)));
    dx[0] = ct_mul(with_axes(call, call->output_gradients[0]), probability);
}
static const ct_rule logsumexp_rule = {"logsumexp", logsumexp_vjp, sizeof(reduction), NULL};

ct_tensor *ct_logsumexp(ct_tensor *x, int count, const int *axes, bool keep) {
    reduction r;
    ct_tensor *y;
    floating(x, "logsumexp");
    if (!begin(x, count, axes, keep, "logsumexp", &r, &y)) return y;
    return finish(x, ct_raw_reduce(CT_REDUCE_LOGSUMEXP_OP, x, r.axes, keep), &logsumexp_rule, &r, true, true);
}

/* ---------------------------------------------------------------------------------------------- cumsum */

typedef struct along {
    int axis;
    bool reverse;
} along;

static ct_tensor *cumsum(ct_tensor *x, int axis, bool reverse);
static void cumsum_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    dx[0] = cumsum(call->output_gradients[0], a->axis, !a->reverse);
}
static const ct_rule cumsum_rule = {"cumsum", cumsum_vjp, sizeof(along), NULL};

static ct_tensor *cumsum(ct_tensor *x, int axis, bool reverse) {
    if (ct_stop_op(x->context)) return ct_inert_like(x);
    ct_tensor *y = ct_raw_cumsum(x, axis, reverse);
    const along attributes = {axis, reverse};
    ct_record(x->context, &cumsum_rule, &x, 1, &y, 1, &attributes);
    return y;
}

ct_tensor *ct_cumsum(ct_tensor *x, int axis) {
    int normalised = ct_axis(x, axis, "cumsum");
    return normalised < 0 ? ct_inert_like(x) : cumsum(x, normalised, false);
}

/* --------------------------------------------------------------------------------------------- sorting */

/* The sorted values are a gather; their gradients go back to where they came from. */
static void picked_vjp(const ct_vjp *call, ct_tensor **dx) {
    const along *a = call->attributes;
    ct_tensor *g = call->output_gradients[0], *index = ct_saved(call, 0);
    dx[0] = ct_scatter(ct_zeros_of_operand(call, 0, g), a->axis, index, g);
}
static const ct_rule sort_rule = {"sort", picked_vjp, sizeof(along), NULL};
static const ct_rule topk_rule = {"topk", picked_vjp, sizeof(along), NULL};

static ct_tensor *picked(ct_tensor *x, int axis, ct_tensor *values, ct_tensor *index, const ct_rule *rule,
                         ct_tensor **indices) {
    const along attributes = {axis, false};
    ct_node *node = ct_record(x->context, rule, &x, 1, &values, 1, &attributes);
    if (node) ct_save_value(node, index);
    if (indices) *indices = index;
    return values;
}

static ct_tensor *inert_pick(ct_tensor *x, int ndim, const int64_t *shape, ct_tensor **indices) {
    if (indices) *indices = ct_inert(x->context, CT_I64, ndim, shape);
    return ct_inert(x->context, ct_dtype_of(x), ndim, shape);
}

ct_tensor *ct_sort(ct_tensor *x, int axis, bool descending, ct_tensor **indices) {
    int normalised = ct_axis(x, axis, "sort");
    if (ct_stop_op(x->context)) return inert_pick(x, x->ndim, x->shape, indices);
    ct_tensor *index = NULL, *values = ct_raw_sort(x, normalised, descending, &index);
    return picked(x, normalised, values, index, &sort_rule, indices);
}

ct_tensor *ct_topk(ct_tensor *x, int64_t k, int axis, bool largest, ct_tensor **indices) {
    int normalised = ct_axis(x, axis, "topk");
    int64_t shape[CT_MAX_DIMS];
    memcpy(shape, x->shape, sizeof(shape));
    if (normalised >= 0 && (k < 0 || k > x->shape[normalised]))
        ct_fail(x->context, CT_ERROR_ARGUMENT, "topk: k is %lld, axis %d has %lld elements", (long long)k,
                axis, (long long)x->shape[normalised]);
    else if (normalised >= 0)
        shape[normalised] = k;
    if (ct_stop_op(x->context)) return inert_pick(x, x->ndim, shape, indices);
    ct_tensor *index = NULL, *values = ct_raw_topk(x, k, normalised, largest, &index);
    return picked(x, normalised, values, index, &topk_rule, indices);
}
