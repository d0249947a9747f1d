/* ops_shared.c - what the operations share (rules.h): gradients of broadcasting, constants, axes, view
 * strides. */
#include "autograd/rules.h"

ct_tensor *ct_inert_broadcast(const ct_tensor *a, const ct_tensor *b) {
    int ndim;
    int64_t shape[CT_MAX_DIMS];
    ct_dtype dtype = ct_promote(ct_dtype_of(a), ct_dtype_of(b));
    if (!ct_broadcast_shape(a, b, "broadcast", &ndim, shape))
        return ct_inert(a->context, dtype, a->ndim, a->shape);
    return ct_inert(a->context, dtype, ndim, shape);
}

/* ------------------------------------------------------------------------------------------- constants */

ct_tensor *ct_full_on(ct_context *context, ct_device device, ct_dtype dtype, int ndim, const int64_t *shape,
                      double value) {
    ct_tensor *t = ct_empty_on(context, device, dtype, ndim, shape);
    ct_fill(t, value);
    return t;
}

ct_tensor *ct_constant(const ct_tensor *like, ct_dtype dtype, double value) {
    return ct_full_on(like->context, ct_device_of(like), dtype, 0, NULL, value);
}

ct_tensor *ct_zeros_of_operand(const ct_vjp *call, int operand, const ct_tensor *like) {
    return ct_full_on(call->context, ct_device_of(like), ct_operand_dtype(call, operand),
                      ct_operand_ndim(call, operand), ct_operand_shape(call, operand), 0.0);
}

/* ------------------------------------------------------------------------- the gradient of broadcasting */

static void sum_to_vjp(const ct_vjp *call, ct_tensor **dx) {
    dx[0] = ct_expand(call->output_gradients[0], ct_operand_ndim(call, 0), ct_operand_shape(call, 0));
}
static const ct_rule sum_to_rule = {"sum_to", sum_to_vjp, 0, NULL};

ct_tensor *ct_sum_to(ct_tensor *x, int ndim, const int64_t *shape) {
    if (x->ndim == ndim && memcmp(x->shape, shape, (size_t)ndim * sizeof(*shape)) == 0) return x;
    if (ct_stop_op(x->context)) return ct_inert(x->context, ct_dtype_of(x), ndim, shape);
    ct_tensor *y = ct_raw_sum_to(x, ndim, shape);
    ct_record(x->context, &sum_to_rule, &x, 1, &y, 1, NULL);
    return y;
}

ct_tensor *ct_sum_to_operand(const ct_vjp *call, int operand, ct_tensor *gradient) {
    return ct_sum_to(gradient, ct_operand_ndim(call, operand), ct_operand_shape(call, operand));
}

ct_tensor *ct_fold_to_operand(const ct_vjp *call, int operand, ct_tensor *gradient) {
    int64_t channels = gradient->ndim ? gradient->shape[gradient->ndim - 1] : 0;
    bool vector = ct_operand_ndim(call, operand) == 1 && ct_operand_shape(call, operand)[0] == channels;
    if (call->recording || !vector || gradient->ndim < 3) return ct_sum_to_operand(call, operand, gradient);
    return ct_raw_bias_gradient(gradient, ct_operand_dtype(call, operand), call->accumulate[operand],
                                ct_may_wait(call, operand));
}

ct_tensor *ct_keep_where(ct_tensor *mask, ct_tensor *g) {
    return ct_where(mask, g, ct_constant(g, ct_dtype_of(g), 0.0));
}

ct_tensor *ct_drop_where(ct_tensor *mask, ct_tensor *g) {
    return ct_where(mask, ct_constant(g, ct_dtype_of(g), 0.0), g);
}

ct_tensor *ct_reshape_to_operand(const ct_vjp *call, int operand, ct_tensor *x) {
    return ct_reshape(x, ct_operand_ndim(call, operand), ct_operand_shape(call, operand));
}

ct_tensor *ct_transposed(ct_tensor *x) {
    return ct_transpose(x, -2, -1);
}

ct_tensor *ct_rows(ct_tensor *x) {
    if (x->ndim == 2) return x;
    int64_t shape[2] = {1, x->ndim ? x->shape[x->ndim - 1] : 1};
    for (int i = 0; i + 1 < x->ndim; i++)
        shape[0] *= x->shape[i];
    return ct_reshape(x, 2, shape);
}

/* ------------------------------------------------------------------------------------------------ shapes */

bool ct_axes_mask(const ct_tensor *x, int count, const int *axes, const char *operation, unsigned *mask) {
    *mask = (1u << x->ndim) - 1;
    if (count == 0) return true;
    *mask = 0;
    for (int i = 0; i < count; i++) {
        int axis = ct_axis(x, axes[i], operation);
        if (axis < 0) return false;
        if (*mask & 1u << axis) {
            ct_fail(x->context, CT_ERROR_SHAPE, "%s: axis %d is given twice", operation, axes[i]);
            return false;
        }
        *mask |= 1u << axis;
    }
    return true;
}

int ct_reduced_shape(const ct_tensor *x, unsigned axes, bool keep, int64_t *shape) {
    int n = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (!(axes & 1u << i))
            shape[n++] = x->shape[i];
        else if (keep)
            shape[n++] = 1;
    }
    return n;
}

/* Axes of x that lie one after the other in memory form a run; the target's axes must divide the runs evenly.
 */
bool ct_view_strides(int ndim, const int64_t *shape, const int64_t *stride, int target_ndim,
                     const int64_t *target_shape, int64_t *target_stride) {
    int at = target_ndim - 1;
    int64_t run = 1, step = 1; /* elements in the run that ends at axis i, and the stride of its last axis */
    bool open = false;
    for (int i = 0; i < target_ndim; i++)
        target_stride[i] = 1;
    for (int i = ndim - 1; i >= -1; i--) {
        if (i >= 0 && shape[i] == 1) continue;
        bool joins = i >= 0 && open && stride[i] == run * step;
        if (i >= 0 && (joins || !open)) {
            if (!open) step = stride[i];
            open = true;
            run *= shape[i];
            continue;
        }
        if (!open) break; /* a single element */
        for (int64_t taken = 1; taken < run; at--) {
            if (at < 0) return false;
            target_stride[at] = step * taken;
            taken *= target_shape[at];
            if (run % taken) return false;
        }
        if (i < 0) break;
        run = shape[i];
        step = stride[i];
    }
    while (at >= 0 && target_shape[at] == 1)
        at--;
    return at < 0;
}
