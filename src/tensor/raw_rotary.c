/* raw_rotary.c - rotary positions (Su et al., arXiv:2104.09864), forward and, with the negative angles,
 * backward. Tasks are blocks of tokens; the heads of a token, which share its angles, are turned in one call.
 */
#include "tensor/raw_rows.h"

#define TOKEN_BLOCK 64

typedef struct rotary_work {
    ct_context *context;
    ct_dtype dtype, compute;
    int leading;                /* axes before [heads, time, channels] */
    int64_t shape[CT_MAX_DIMS]; /* of those */
    int64_t x_stride[CT_MAX_DIMS], y_stride[CT_MAX_DIMS];
    int64_t heads, time, channels, half; /* half: angles of a token */
    int64_t x_head, x_token, y_head, y_token;
    int64_t table; /* rows between the tables of two items of the first axis; 0: all share one */
    const void *cos, *sin;
    const void *x;
    void *y;
    bool interleaved, inverse;
    int64_t blocks;
} rotary_work;

/* `token`: a row of the tables. */
static void turn(const rotary_work *w, int64_t token, const void *x, int64_t x_stride, void *y,
                 int64_t y_stride) {
    const ct_kernels *kernels = ct_cpu_kernels();
    const void *cos = ct_at(w->cos, w->compute, token * w->half),
               *sin = ct_at(w->sin, w->compute, token * w->half);
    if (w->compute == CT_F64)
        kernels->f64.rotary(w->heads, w->channels, 2 * w->half, cos, sin, x, x_stride, y, y_stride,
                            w->interleaved, w->inverse);
    else
        kernels->f32.rotary(w->heads, w->channels, 2 * w->half, cos, sin, x, x_stride, y, y_stride,
                            w->interleaved, w->inverse);
}

static void rotary_task(void *user, int64_t index, int worker) {
    const rotary_work *w = user;
    const ct_kernels *kernels = ct_cpu_kernels();
    int64_t first = index % w->blocks * TOKEN_BLOCK, x_at = 0, y_at = 0, rows = 0;
    index /= w->blocks;
    for (int i = w->leading - 1; i >= 0; i--) {
        if (i == 0) rows = index % w->shape[i] * w->table;
        x_at += index % w->shape[i] * w->x_stride[i];
        y_at += index % w->shape[i] * w->y_stride[i];
        index /= w->shape[i];
    }
    for (int64_t t = first; t < ct_least(first + TOKEN_BLOCK, w->time); t++) {
        const void *x = ct_at(w->x, w->dtype, x_at + t * w->x_token);
        void *y = ct_at(w->y, w->dtype, y_at + t * w->y_token);
        if (w->dtype == w->compute) {
            turn(w, rows + t, x, w->x_head, y, w->y_head);
            continue;
        }
        float *wide = ct_scratch(w->context, worker);
        for (int64_t h = 0; h < w->heads; h++)
            kernels->convert(w->channels, w->dtype, ct_at(x, w->dtype, h * w->x_head), CT_F32,
                             wide + h * w->channels);
        turn(w, rows + t, wide, w->channels, wide, w->channels);
        for (int64_t h = 0; h < w->heads; h++)
            kernels->convert(w->channels, CT_F32, wide + h * w->channels, w->dtype,
                             ct_at(y, w->dtype, h * w->y_head));
    }
}

static bool rotary_check(const ct_tensor *x, const ct_tensor *cos, const ct_tensor *sin) {
    bool each = cos->ndim == 3 && x->ndim == 4 && cos->shape[0] == x->shape[0];
    bool fits = x->ndim >= 2 && (cos->ndim == 2 || each) && ct_same_shape(cos, sin);
    fits = fits && cos->shape[cos->ndim - 2] == x->shape[x->ndim - 2] && 2 * ct_last(cos) <= ct_last(x);
    if (!fits) {
        char tx[160], tc[160], ts[160];
        ct_fail(x->context, CT_ERROR_SHAPE,
                "rotary: x %s, cos %s and sin %s do not fit: expected [..., time, channels] and twice [time, "
                "channels/2], or [batch, time, channels/2] for x [batch, heads, time, channels]",
                ct_describe(x, tx, sizeof(tx)), ct_describe(cos, tc, sizeof(tc)),
                ct_describe(sin, ts, sizeof(ts)));
        return false;
    }
    return ct_require_float(x, "rotary", "x") && ct_require_float(cos, "rotary", "cos") &&
           ct_require_float(sin, "rotary", "sin");
}

static void work_make(rotary_work *w, const ct_tensor *x, const ct_tensor *y, int64_t half) {
    int n = x->ndim;
    w->context = x->context;
    w->dtype = (ct_dtype)x->dtype;
    w->compute = ct_compute_dtype(w->dtype);
    w->leading = n > 3 ? n - 3 : 0;
    for (int i = 0; i < w->leading; i++) {
        w->shape[i] = x->shape[i];
        w->x_stride[i] = x->stride[i];
        w->y_stride[i] = y->stride[i];
    }
    w->heads = n > 2 ? x->shape[n - 3] : 1;
    w->time = x->shape[n - 2];
    w->channels = x->shape[n - 1];
    w->half = half;
    w->x_head = n > 2 ? x->stride[n - 3] : 0;
    w->y_head = n > 2 ? y->stride[n - 3] : 0;
    w->x_token = x->stride[n - 2];
    w->y_token = y->stride[n - 2];
    w->blocks = ct_ceil_div(w->time, TOKEN_BLOCK);
}

ct_tensor *ct_raw_rotary(ct_tensor *x, ct_tensor *cos, ct_tensor *sin, bool interleaved, bool inverse) {
    ct_context *context = x->context;
    if (ct_stop_op(context) || !rotary_check(x, cos, sin))
        return ct_inert(context, (ct_dtype)x->dtype, x->ndim, x->shape);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *y = ct_empty_in_order_of(x, (ct_dtype)x->dtype, x->shape);
    if (x->stride[x->ndim - 1] != 1 && ct_last(x) > 1) x = ct_raw_contiguous(x);
    rotary_work w = {.interleaved = interleaved, .inverse = inverse};
    work_make(&w, x, y, ct_last(cos));
    w.table = cos->ndim == 3 ? cos->shape[1] : 0;
    cos = ct_in_dtype(cos, w.compute);
    sin = ct_in_dtype(sin, w.compute);
    if (w.dtype != w.compute) ct_scratch_reserve(context, (size_t)(w.heads * w.channels) * sizeof(float));
    if (!ct_failed(context) && !ct_is_meta(y) && y->count > 0) {
        w.x = ct_pointer(x);
        w.y = ct_pointer(y);
        w.cos = ct_pointer(cos);
        w.sin = ct_pointer(sin);
        int64_t count = ct_shape_count(w.leading, w.shape) * w.blocks;
        ct_parallel_for(context, count, rotary_task, &w);
    }
    return ct_scope_return(context, scope, y);
}
