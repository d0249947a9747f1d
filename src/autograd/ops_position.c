/* ops_position.c - positions for attention: rotary embedding (Su et al., arXiv:2104.09864) and the slopes of
 * linear biases (Press et al., arXiv:2108.12409). */
#include "autograd/rules.h"
#include <math.h>

/* ------------------------------------------------------------------------------------------------ rotary */

typedef struct turning {
    bool interleaved, inverse;
} turning;

static ct_tensor *turned(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, const turning *t);

/* The transpose of a rotation is the inverse one. Saved: cos, sin. */
static void rotary_vjp(const ct_vjp *call, ct_tensor **dx) {
    turning back = *(const turning *)call->attributes;
    back.inverse = !back.inverse;
    dx[0] = turned(call->output_gradients[0], ct_saved(call, 0), ct_saved(call, 1), &back);
}
static const ct_rule rotary_rule = {"rotary", rotary_vjp, sizeof(turning), NULL};

static ct_tensor *turned(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, const turning *t) {
    ct_tensor *y = ct_raw_rotary(x, cos, sin, t->interleaved, t->inverse);
    ct_node *node = ct_record(x->context, &rotary_rule, &x, 1, &y, 1, t);
    if (!node) return y;
    ct_save_value(node, cos);
    ct_save_value(node, sin);
    return y;
}

/* (a cos - b sin, a sin + b cos) from differentiable operations, for learned tables. */
static ct_tensor *composed_rotary(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, bool interleaved) {
    int64_t half = ct_dim(cos, -1), channels = ct_dim(x, -1), step = interleaved ? 2 : 1;
    int64_t second = interleaved ? 1 : half, last = interleaved ? 2 * half : half;
    if (ct_failed(x->context) || 2 * half > channels || half == 0)
        return ct_raw_rotary(x, cos, sin, interleaved, false);
    if (cos->ndim == 3) { /* [batch, time, half] beside [batch, heads, time, half] */
        cos = ct_unsqueeze(cos, 1);
        sin = ct_unsqueeze(sin, 1);
    }
    ct_tensor *a = ct_slice(x, -1, 0, interleaved ? last - 1 : last, step);
    ct_tensor *b = ct_slice(x, -1, second, 2 * half, step);
    ct_tensor *parts[3] = {ct_sub(ct_mul(a, cos), ct_mul(b, sin)), ct_add(ct_mul(a, sin), ct_mul(b, cos)),
                           NULL};
    if (interleaved) {
        int64_t shape[CT_MAX_DIMS];
        memcpy(shape, x->shape, sizeof(shape));
        shape[x->ndim - 1] = 2 * half;
        parts[0] = ct_reshape(ct_stack(parts, 2, -1), x->ndim, shape);
    }
    int count = interleaved ? 1 : 2;
    if (channels > 2 * half) parts[count++] = ct_slice(x, -1, 2 * half, channels, 1);
    return ct_cast(ct_concat(parts, count, -1), ct_dtype_of(x));
}

ct_tensor *ct_rotary(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, bool interleaved) {
    ct_context *context = x->context;
    if (ct_stop_op(context)) return ct_inert_like(x);
    if (ct_differentiates(cos) || ct_differentiates(sin)) {
        ct_scope scope = ct_scope_open(context);
        return ct_scope_return(context, scope, composed_rotary(x, cos, sin, interleaved));
    }
    const turning t = {interleaved, false};
    return turned(x, cos, sin, &t);
}

ct_status ct_rotary_tables(ct_context *context, int64_t first, int64_t time, int64_t channels, double base,
                           ct_tensor **cosines, ct_tensor **sines) {
    const int64_t shape[2] = {time < 0 ? 0 : time, channels < 0 ? 0 : channels / 2};
    if (time < 0 || channels < 0 || channels % 2 || !(base > 0))
        ct_fail(context, CT_ERROR_ARGUMENT,
                "rotary_tables: time %lld, channels %lld, base %g: expected channels even and base positive",
                (long long)time, (long long)channels, base);
    *cosines = ct_empty(context, CT_F32, 2, shape);
    *sines = ct_empty(context, CT_F32, 2, shape);
    float *c = ct_pointer(*cosines), *s = ct_pointer(*sines);
    if (ct_failed(context) || !c || !s) return ct_context_status(context);
    for (int64_t i = 0; i < shape[1]; i++) {
        double frequency = pow(base, -2.0 * (double)i / (double)channels);
        for (int64_t t = 0; t < time; t++) {
            double angle = (double)(first + t) * frequency;
            c[t * shape[1] + i] = (float)cos(angle);
            s[t * shape[1] + i] = (float)sin(angle);
        }
    }
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------------- ALiBi */

/* For n a power of two, 2^(-8/n), 2^(-16/n), ...; else those of the power below, then every other one of the
 * power above. */
ct_tensor *ct_alibi_slopes(ct_context *context, int64_t heads) {
    if (heads < 1)
        ct_fail(context, CT_ERROR_ARGUMENT, "alibi_slopes: %lld heads, expected at least 1",
                (long long)heads);
    const int64_t count = heads < 1 ? 0 : heads;
    ct_tensor *slopes = ct_empty(context, CT_F32, 1, &count);
    float *data = ct_pointer(slopes);
    if (ct_failed(context) || !data) return slopes;
    int64_t power = 1;
    while (power <= heads / 2)
        power *= 2;
    for (int64_t h = 0; h < heads; h++) {
        double step = h < power ? 8.0 / (double)power : 4.0 / (double)power;
        double index = h < power ? (double)(h + 1) : (double)(2 * (h - power) + 1);
        data[h] = (float)exp2(-step * index);
    }
    return slopes;
}
