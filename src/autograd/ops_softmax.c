/* ops_softmax.c - softmax and log softmax along an axis; cross entropy. */
#include "autograd/rules.h"
#include <math.h>

/* ---------------------------------------------------------------------------------------------- softmax */

static const int last_axis = -1;

/* y (g - sum(g y)) */
static void softmax_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0], *y = ct_saved(call, 0);
    if (call->recording)
        dx[0] = ct_mul(y, ct_sub(g, ct_sum(ct_mul(g, y), 1, &last_axis, true)));
    else
        dx[0] = ct_raw_softmax_backward(y, g, false);
}
static const ct_rule softmax_rule = {"softmax", softmax_vjp, 0, NULL};

/* g - e^y sum(g) */
static void log_softmax_vjp(const ct_vjp *call, ct_tensor **dx) {
    ct_tensor *g = call->output_gradients[0], *y = ct_saved(call, 0);
    if (call->recording)
        dx[0] = ct_sub(g, ct_mul(ct_exp(y), ct_sum(g, 1, &last_axis, true)));
    else
        dx[0] = ct_raw_softmax_backward(y, g, true);
}
static const ct_rule log_softmax_rule = {"log_softmax", log_softmax_vjp, 0, NULL};

/* The kernel works along the last axis: another one is moved there, and back, by views. */
static ct_tensor *softmax_along(ct_tensor *x, int axis, const ct_rule *rule) {
    ct_context *context = x->context;
    int at = ct_axis(x, axis, rule->name);
    if (at >= 0 && !ct_dtype_is_float(ct_dtype_of(x)))
        ct_fail(context, CT_ERROR_TYPE, "%s: x is %s, expected a floating type", rule->name,
                ct_dtype_name(ct_dtype_of(x)));
    if (ct_stop_op(context)) return ct_inert_like(x);
    if (at != x->ndim - 1) return ct_transpose(softmax_along(ct_transpose(x, at, -1), -1, rule), at, -1);
    ct_tensor *y = ct_raw_softmax(x, rule == &log_softmax_rule);
    ct_node *node = ct_record(context, rule, &x, 1, &y, 1, NULL);
    if (node) ct_save_output(node, 0, y);
    return y;
}

ct_tensor *ct_softmax(ct_tensor *x, int axis) {
    return softmax_along(x, axis, &softmax_rule);
}
ct_tensor *ct_log_softmax(ct_tensor *x, int axis) {
    return softmax_along(x, axis, &log_softmax_rule);
}

/* --------------------------------------------------------------------------- cross entropy: preparation */

/* With t' = (1 - epsilon) t + epsilon / n, row by row: loss = c (lse(x) sum(t') - sum(t' x)), and its
 * gradient is D = c (p sum(t') - t'), p = softmax(x). c is the row's weight, divided by the sum of weights
 * for a mean. */
typedef struct entropy {
    double label_smoothing;
    int64_t ignore_index;
    int reduction;
} entropy;

typedef struct entropy_task {
    entropy how;
    ct_tensor *logits, *targets; /* without a graph, [rows, classes] and [rows] or [rows, classes] */
    ct_tensor *scale;            /* c: [rows] or NULL (all 1) */
    bool soft;
} entropy_task;

static bool ignored(const ct_tensor *ids, int64_t row, int64_t ignore_index) {
    const void *data = ct_pointer(ids);
    if (!data) return false;
    int64_t at = row * ids->stride[0];
    int64_t id = ct_dtype_of(ids) == CT_I64 ? ((const int64_t *)data)[at] : ((const int32_t *)data)[at];
    return id == ignore_index;
}

/* c of each row, 0 for ignored ones: in f32, or f64 for f64 logits. */
static ct_tensor *row_scales(const entropy_task *t, ct_tensor *weights) {
    ct_context *context = t->logits->context;
    int64_t rows = t->logits->shape[0];
    ct_tensor *scale = ct_empty_on(context, ct_device_of(t->logits), CT_F64, 1, &rows);
    double *c = ct_pointer(scale), total = 0;
    if (ct_failed(context)) return scale;
    if (c && weights) ct_read(weights, CT_F64, c);
    for (int64_t r = 0; c && r < rows; r++) {
        if (!weights) c[r] = 1;
        if (!t->soft && ignored(t->targets, r, t->how.ignore_index)) c[r] = 0;
        total += c[r];
    }
    if (t->how.reduction == CT_LOSS_MEAN)
        for (int64_t r = 0; c && r < rows; r++)
            c[r] = total != 0 ? c[r] / total : 0;
    ct_dtype dtype = ct_dtype_of(t->logits) == CT_F64 ? CT_F64 : CT_F32;
    return dtype == CT_F64 ? scale : ct_raw_cast(scale, dtype);
}

/* Views of the operands as rows; false with an error if they do not fit. */
static bool entropy_prepare(entropy_task *t, ct_tensor *logits, ct_tensor *targets, ct_tensor *weights) {
    ct_context *context = logits->context;
    t->soft = ct_dtype_is_float(ct_dtype_of(targets));
    bool fits = logits->ndim >= 1 && targets->ndim == logits->ndim - (t->soft ? 0 : 1);
    for (int i = 0; fits && i < targets->ndim; i++)
        fits = targets->shape[i] == logits->shape[i];
    int64_t rows = 1;
    for (int i = 0; i + 1 < logits->ndim; i++)
        rows *= logits->shape[i];
    char a[160], b[160];
    if (!fits) {
        ct_fail(context, CT_ERROR_SHAPE,
                "cross_entropy: logits %s and targets %s do not fit: expected [..., classes] with ids [...] "
                "or soft "
                "targets [..., classes]",
                ct_describe(logits, a, sizeof(a)), ct_describe(targets, b, sizeof(b)));
        return false;
    }
    if (weights && weights->count != rows) {
        ct_fail(context, CT_ERROR_SHAPE,
                "cross_entropy: weights %s do not fit logits %s: expected %lld, one a row",
                ct_describe(weights, a, sizeof(a)), ct_describe(logits, b, sizeof(b)), (long long)rows);
        return false;
    }
    t->logits = ct_rows(ct_alias(logits));
    ct_tensor *plain = ct_alias(targets);
    t->targets = t->soft ? ct_rows(plain) : ct_reshape(plain, 1, &rows);
    bool all_ones = !weights && t->how.reduction != CT_LOSS_MEAN;
    t->scale = all_ones ? NULL : row_scales(t, weights);
    return !ct_failed(context);
}

/* t' as a dense tensor of the type that losses have. */
static ct_tensor *smoothed_targets(const entropy_task *t, ct_tensor *targets) {
    ct_context *context = t->logits->context;
    ct_dtype dtype = ct_dtype_of(t->logits) == CT_F64 ? CT_F64 : CT_F32;
    int64_t rows = t->logits->shape[0], classes = t->logits->shape[1];
    if (!t->soft) {
        ct_tensor *ids = ct_raw_cast(targets, CT_I64);
        int64_t *id = ct_pointer(ids);
        for (int64_t r = 0; id && r < rows; r++)
            if (id[r] == t->how.ignore_index) id[r] = 0; /* its row counts for nothing anyhow */
        targets = ct_full_on(context, ct_device_of(t->logits), dtype, 2, t->logits->shape, 0.0);
        const int64_t column[2] = {rows, 1};
        if (!ct_failed(context))
            ct_raw_scatter(targets, 1, ct_fresh_shape(ids, 2, column),
                           ct_full_on(context, ct_device_of(t->logits), dtype, 2, column, 1.0), false);
    }
    targets = ct_cast(targets, dtype);
    double epsilon = t->how.label_smoothing;
    if (epsilon == 0) return targets;
    return ct_add_scalar(ct_mul_scalar(targets, 1 - epsilon), epsilon / (double)classes);
}

static ct_tensor *as_column(ct_tensor *rows) {
    return ct_unsqueeze(rows, 1);
}

/* ---------------------------------------------------------------------- cross entropy: second derivatives */

/* p from the saved D: D = c (p s - t') with s = sum(t'), so p = (D / c + t') / s. The operand stands for the
 * logits in the graph but holds D, so that the logits themselves need not be kept. Rows with c s = 0 get p =
 * 0: whatever is made of them is multiplied by c. */
static void probabilities_vjp(const ct_vjp *call, ct_tensor **dx) {
    softmax_vjp(call, dx);
}
static const ct_rule probabilities_rule = {"cross_entropy_probabilities", probabilities_vjp, 0, NULL};

static ct_tensor *safe_quotient(ct_tensor *x, ct_tensor *divisor) {
    ct_tensor *zero = ct_constant(divisor, ct_dtype_of(divisor), 0),
              *none = ct_raw_binary(CT_EQUAL, divisor, zero);
    ct_tensor *one = ct_constant(divisor, ct_dtype_of(divisor), 1);
    ct_tensor *quotient = ct_raw_binary(CT_DIV, x, ct_raw_where(none, one, divisor));
    return ct_raw_where(none, ct_constant(x, ct_dtype_of(quotient), 0), quotient);
}

static ct_tensor *probabilities(ct_tensor *logits_holding_d, ct_tensor *scale, ct_tensor *targets) {
    ct_dtype dtype = ct_dtype_of(targets);
    ct_tensor *sum = ct_raw_reduce(CT_REDUCE_SUM_OP, targets, 1u << 1, true);
    ct_tensor *d = ct_raw_cast(logits_holding_d, dtype);
    if (scale) d = safe_quotient(d, scale);
    ct_tensor *p = safe_quotient(ct_raw_binary(CT_ADD, d, targets), sum);
    if (scale) {
        ct_tensor *none = ct_raw_binary(CT_EQUAL, scale, ct_constant(scale, dtype, 0));
        p = ct_raw_where(none, ct_constant(p, dtype, 0), p);
    }
    ct_node *node = ct_record(p->context, &probabilities_rule, &logits_holding_d, 1, &p, 1, NULL);
    if (node) ct_save_output(node, 0, p);
    return p;
}

/* -------------------------------------------------------------------------------- cross entropy: the rule */

/* Saved: D (as if it were the logits), targets, scale. */
static ct_tensor *recorded_gradient(const ct_vjp *call, ct_tensor *saved, ct_tensor *upstream) {
    entropy_task t = {.how = *(const entropy *)call->attributes};
    t.logits = saved;
    t.targets = ct_saved(call, 1);
    t.scale = ct_saved(call, 2);
    t.soft = ct_dtype_is_float(ct_dtype_of(t.targets));
    ct_tensor *flat = ct_rows(saved);
    t.logits = flat;
    /* D says 0 of ignored rows, but not that its slope is 0 too. */
    if (!t.scale && !t.soft) t.scale = row_scales(&t, NULL);
    ct_tensor *scale = t.scale ? as_column(t.scale) : NULL;
    ct_tensor *targets = smoothed_targets(&t, t.targets);
    ct_tensor *sum = ct_raw_reduce(CT_REDUCE_SUM_OP, targets, 1u << 1, true);
    ct_tensor *d = ct_sub(ct_mul(probabilities(flat, scale, targets), sum), targets);
    if (scale) d = ct_mul(d, scale);
    return ct_reshape_to_operand(call, 0, ct_mul(d, upstream));
}

/* Whether g is the one that ct_backward starts from: then D is the gradient as it is. */
static bool is_one(const ct_tensor *g) {
    const void *data = ct_pointer(g);
    if (g->count != 1) return false;
    if (!data) return true; /* meta: the usual case */
    if (ct_dtype_of(g) == CT_F64) return *(const double *)data == 1;
    return ct_dtype_of(g) == CT_F32 && *(const float *)data == 1;
}

static void cross_entropy_vjp(const ct_vjp *call, ct_tensor **dx) {
    const entropy *how = call->attributes;
    ct_tensor *g = call->output_gradients[0], *d = ct_saved(call, 0);
    bool rows = how->reduction == CT_LOSS_NONE;
    if (call->recording) {
        dx[0] = recorded_gradient(call, d, rows ? as_column(g) : g);
        return;
    }
    if (!rows && is_one(g)) {
        dx[0] = d;
        return;
    }
    ct_tensor *flat = ct_rows(d);
    ct_tensor *scaled = ct_raw_binary(CT_MUL, flat, rows ? as_column(g) : g);
    dx[0] = ct_reshape_to_operand(call, 0, scaled);
}
static const ct_rule cross_entropy_rule = {"cross_entropy", cross_entropy_vjp, sizeof(entropy), NULL};

/* Where soft targets or weights ask for gradients too, the loss is composed of differentiable operations. */
static ct_tensor *composed(const entropy_task *t, ct_tensor *logits, ct_tensor *targets, ct_tensor *weights) {
    ct_dtype dtype = ct_dtype_of(logits) == CT_F64 ? CT_F64 : CT_F32;
    ct_tensor *logarithm = ct_log_softmax(ct_cast(ct_rows(logits), dtype), -1);
    ct_tensor *wanted = smoothed_targets(t, t->soft ? ct_rows(targets) : t->targets);
    ct_tensor *losses = ct_neg(ct_sum(ct_mul(wanted, logarithm), 1, &last_axis, false));
    ct_tensor *counts = t->scale;
    if (weights) {
        int64_t rows = t->logits->shape[0];
        counts = ct_cast(ct_reshape(weights, 1, &rows), dtype);
        if (!t->soft) {
            ct_tensor *id = ct_constant(t->targets, CT_I64, (double)t->how.ignore_index);
            counts = ct_masked_fill(counts, ct_raw_binary(CT_EQUAL, t->targets, id), 0.0);
        }
        if (t->how.reduction == CT_LOSS_MEAN) {
            ct_tensor *total = ct_sum_all(counts), *zero = ct_constant(total, dtype, 0);
            counts = ct_div(counts, ct_masked_fill(total, ct_raw_binary(CT_EQUAL, total, zero), 1.0));
        }
    }
    if (counts) losses = ct_mul(losses, counts);
    return t->how.reduction == CT_LOSS_NONE ? losses : ct_sum_all(losses);
}

static ct_tensor *fused(const entropy_task *t, ct_tensor *logits) {
    ct_context *context = logits->context;
    ct_tensor *d = NULL;
    ct_tensor *losses = ct_raw_cross_entropy(t->logits, t->targets, t->scale, t->how.label_smoothing,
                                             t->how.ignore_index, ct_differentiates(logits) ? &d : NULL);
    if (t->how.reduction != CT_LOSS_NONE) losses = ct_raw_reduce(CT_REDUCE_SUM_OP, losses, 1, false);
    ct_node *node = ct_record(context, &cross_entropy_rule, &logits, 1, &losses, 1, &t->how);
    if (!node) return losses;
    if (logits->ndim != 2) d = ct_fresh_shape(d, logits->ndim, logits->shape);
    ct_save_operand(node, 0, d); /* in the place of the logits: see probabilities */
    ct_save_value(node, t->targets);
    ct_save_value(node, t->scale);
    return losses;
}

ct_tensor *ct_cross_entropy(ct_tensor *logits, ct_tensor *targets, const ct_cross_entropy_options *options) {
    static const ct_cross_entropy_options usual = CT_CROSS_ENTROPY_DEFAULT;
    if (!options) options = &usual;
    ct_context *context = logits->context;
    ct_dtype dtype = ct_dtype_of(logits) == CT_F64 ? CT_F64 : CT_F32;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *weights = options->weights, *loss = NULL;
    entropy_task t = {.how = {options->label_smoothing, options->ignore_index, (int)options->reduction}};
    if (!ct_stop_op(context) && entropy_prepare(&t, logits, targets, weights))
        loss = ct_differentiates(targets) || ct_differentiates(weights)
                   ? composed(&t, logits, targets, weights)
                   : fused(&t, logits);
    if (!loss) {
        int64_t rows = 1;
        for (int i = 0; i + 1 < logits->ndim; i++)
            rows *= logits->shape[i];
        loss = ct_inert(context, dtype, options->reduction == CT_LOSS_NONE ? 1 : 0, &rows);
    }
    return ct_scope_return(context, scope, loss);
}
