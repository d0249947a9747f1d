/* ops_norm.c - layer norm (Ba et al., arXiv:1607.06450) and root-mean-square norm (Zhang & Sennrich,
 * arXiv:1910.07467) over the last axis. */
#include "autograd/rules.h"

typedef struct norm_attributes {
    double epsilon;
    int8_t weight, statistics, bias; /* where they were saved (-1: there is none); the first statistic */
} norm_attributes;

static const int last_axis = -1;

static ct_tensor *row_mean(ct_tensor *x) {
    return ct_mean(x, 1, &last_axis, true);
}

static ct_tensor *in_f32(ct_tensor *x) {
    return ct_cast(x, ct_accumulation_dtype(ct_dtype_of(x)));
}

/* With n the normalised rows and h = g weight:
 *     dx = rstd (h - mean(h) - n mean(h n)) (without mean(h) for root mean square), dweight = sum g n, dbias
 * = sum g. Written from x, so that it can be differentiated. */
static void composite_vjp(const ct_vjp *call, ct_tensor **dx, bool centred) {
    const norm_attributes *a = call->attributes;
    ct_tensor *g = in_f32(call->output_gradients[0]), *x = in_f32(ct_saved(call, 0));
    ct_tensor *weight = a->weight >= 0 ? ct_saved(call, a->weight) : NULL;
    ct_tensor *rows = centred ? ct_sub(x, row_mean(x)) : x;
    ct_tensor *rstd = ct_rsqrt(ct_add_scalar(row_mean(ct_square(rows)), a->epsilon));
    ct_tensor *normalised = ct_mul(rows, rstd);
    if (call->wanted[0]) {
        ct_tensor *h = weight ? ct_mul(g, weight) : g;
        ct_tensor *flat = ct_sub(h, ct_mul(normalised, row_mean(ct_mul(h, normalised))));
        dx[0] = ct_mul(rstd, centred ? ct_sub(flat, row_mean(h)) : flat);
    }
    if (call->wanted[1]) dx[1] = ct_sum_to_operand(call, 1, ct_mul(g, normalised));
    if (centred && call->wanted[2]) dx[2] = ct_sum_to_operand(call, 2, g);
}

/* What reaches x by other ways, if the kernel can add it to dx. */
static ct_tensor *other_ways(const ct_vjp *call, ct_tensor *x) {
    ct_tensor *other = call->wanted[0] ? ct_pending_gradient(call) : NULL;
    return other && ct_raw_norm_adds(x, other) ? ct_take_pending(call) : NULL;
}

/* No parameter, or one that may wait. */
static bool waits(const ct_vjp *call, int operand) {
    return !call->wanted[operand] || ct_may_wait(call, operand);
}

static void layer_norm_vjp(const ct_vjp *call, ct_tensor **dx) {
    const norm_attributes *a = call->attributes;
    if (call->recording) {
        composite_vjp(call, dx, true);
        return;
    }
    ct_tensor *weight = a->weight >= 0 ? ct_saved(call, a->weight) : NULL;
    dx[1] = call->accumulate[1];
    dx[2] = call->accumulate[2];
    ct_tensor *x = ct_saved(call, 0);
    ct_raw_layer_norm_backward(x, weight, ct_saved(call, a->statistics), ct_saved(call, a->statistics + 1),
                               call->output_gradients[0], other_ways(call, x),
                               waits(call, 1) && waits(call, 2), call->wanted[0] ? &dx[0] : NULL,
                               call->wanted[1] ? &dx[1] : NULL, call->wanted[2] ? &dx[2] : NULL);
}

static bool norm_can_repeat(const void *attributes) {
    (void)attributes;
    return true;
}

/* The bias, if any, was saved last. */
static ct_tensor *layer_norm_repeat(const ct_vjp *call) {
    const norm_attributes *a = call->attributes;
    ct_tensor *weight = a->weight >= 0 ? ct_saved(call, a->weight) : NULL;
    ct_tensor *bias = a->bias >= 0 ? ct_saved(call, a->bias) : NULL;
    return ct_raw_layer_norm(ct_saved(call, 0), weight, bias, a->epsilon, NULL, NULL);
}
static const ct_rule layer_norm_rule = {"layer_norm", layer_norm_vjp,  sizeof(norm_attributes),
                                        NULL,         norm_can_repeat, layer_norm_repeat};

static void rms_norm_vjp(const ct_vjp *call, ct_tensor **dx) {
    const norm_attributes *a = call->attributes;
    if (call->recording) {
        composite_vjp(call, dx, false);
        return;
    }
    ct_tensor *weight = a->weight >= 0 ? ct_saved(call, a->weight) : NULL;
    dx[1] = call->accumulate[1];
    ct_tensor *x = ct_saved(call, 0);
    ct_raw_rms_norm_backward(x, weight, ct_saved(call, a->statistics), call->output_gradients[0],
                             other_ways(call, x), waits(call, 1), call->wanted[0] ? &dx[0] : NULL,
                             call->wanted[1] ? &dx[1] : NULL);
}

static ct_tensor *rms_norm_repeat(const ct_vjp *call) {
    const norm_attributes *a = call->attributes;
    ct_tensor *weight = a->weight >= 0 ? ct_saved(call, a->weight) : NULL;
    return ct_raw_rms_norm(ct_saved(call, 0), weight, a->epsilon, NULL);
}
static const ct_rule rms_norm_rule = {"rms_norm", rms_norm_vjp,    sizeof(norm_attributes),
                                      NULL,       norm_can_repeat, rms_norm_repeat};

static void norm_record(const ct_rule *rule, ct_tensor *const *operands, int count, ct_tensor *y,
                        ct_tensor *mean, ct_tensor *rstd, double epsilon) {
    ct_tensor *x = operands[0], *weight = operands[1];
    ct_tensor *bias = count > 2 ? operands[2] : NULL;
    int8_t statistics = weight ? 2 : 1;
    const norm_attributes attributes = {epsilon, weight ? 1 : -1, statistics,
                                        bias ? (int8_t)(statistics + 2) : -1};
    ct_node *node = ct_record(x->context, rule, operands, count, &y, 1, &attributes);
    if (!node) return;
    ct_save_operand(node, 0, x);
    if (weight) ct_save_operand(node, 1, weight);
    if (mean) ct_save_value(node, mean);
    ct_save_value(node, rstd);
    if (bias) ct_save_operand(node, 2, bias);
}

ct_tensor *ct_layer_norm(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, double epsilon) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return ct_inert_like(x);
    bool records = ct_differentiates(x) || ct_differentiates(weight) || ct_differentiates(bias);
    if (!records) return ct_raw_layer_norm(x, weight, bias, epsilon, NULL, NULL);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *mean = NULL, *rstd = NULL, *y = ct_raw_layer_norm(x, weight, bias, epsilon, &mean, &rstd);
    ct_tensor *const operands[3] = {x, weight, bias};
    norm_record(&layer_norm_rule, operands, 3, y, mean, rstd, epsilon);
    return ct_scope_return(context, scope, y);
}

ct_tensor *ct_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return ct_inert_like(x);
    if (!ct_differentiates(x) && !ct_differentiates(weight)) return ct_raw_rms_norm(x, weight, epsilon, NULL);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *rstd = NULL, *y = ct_raw_rms_norm(x, weight, epsilon, &rstd);
    ct_tensor *const operands[2] = {x, weight};
    norm_record(&rms_norm_rule, operands, 2, y, NULL, rstd, epsilon);
    return ct_scope_return(context, scope, y);
}
