/* raw_parameter_gradient.c - gradients of a linear layer's weight and bias, formed sequence by sequence. */
#include "tensor/onednn.h"
#include "tensor/raw_rows.h"

/* A tensor [sequences, time, channels] of what has leading axes [sequences, ...]; fewer than three axes are one
 * sequence. Strides as they are where the axes allow it, else a copy. */
static ct_tensor *as_sequences(ct_tensor *t) {
    int64_t channels = ct_last(t), sequences = t->ndim > 2 ? t->shape[0] : 1;
    int64_t time = sequences > 0 && channels > 0 ? t->count / (sequences * channels) : 0;
    bool plain = t->ndim == 3 || (t->ndim == 2 && ct_is_contiguous(t));
    if (t->ndim == 3) return t;
    if (!plain) t = ct_raw_contiguous(t);
    const int64_t shape[3] = {sequences, time, channels}, stride[3] = {time * channels, channels, 1};
    return ct_view_strided(t, 3, shape, stride, 0);
}

/* The factors of a^T b for one sequence; a [sequences, time, rows], b [sequences, time, columns]. */
static void factors(const ct_tensor *a, const ct_tensor *b, int64_t sequence, ct_gemm_operand *left,
                    ct_gemm_operand *right) {
    *left = (ct_gemm_operand){.dtype = (ct_dtype)a->dtype, .row_stride = a->stride[2], .col_stride = a->stride[1]};
    *right = (ct_gemm_operand){.dtype = (ct_dtype)b->dtype, .row_stride = b->stride[1], .col_stride = b->stride[2]};
    left->data = ct_at(ct_pointer(a), left->dtype, sequence * a->stride[0]);
    right->data = ct_at(ct_pointer(b), right->dtype, sequence * b->stride[0]);
}

/* Types below f32 keep their products whole (their sums would be rounded once a sequence), and so does oneDNN. */
static bool is_whole(const ct_tensor *a, const ct_tensor *b, ct_dtype out) {
    if (out != CT_F32 && out != CT_F64) return true;
    ct_gemm_operand left, right;
    if (ct_is_meta(a) || a->ndim < 2 || b->ndim < 2) return false;
    int64_t time = ct_row_count(a);
    left = (ct_gemm_operand){ct_pointer(a), (ct_dtype)a->dtype, 1, ct_last(a), NULL, NULL, NULL};
    right = (ct_gemm_operand){ct_pointer(b), (ct_dtype)b->dtype, ct_last(b), 1, NULL, NULL, NULL};
    return ct_onednn_takes(a->context, ct_last(a), ct_last(b), time, &left, &right, NULL);
}

static ct_tensor *target(ct_tensor *like, int64_t rows, int64_t columns, ct_dtype out, ct_tensor *into) {
    if (into) return into;
    return ct_empty_on(like->context, ct_device_of(like), out, 2, (const int64_t[]){rows, columns});
}

static ct_tensor *whole_gradient(ct_tensor *a, ct_tensor *b, ct_dtype out, ct_tensor *into) {
    const int64_t flat_a[2] = {ct_row_count(a), ct_last(a)}, flat_b[2] = {ct_row_count(b), ct_last(b)};
    const int64_t turned_shape[2] = {flat_a[1], flat_a[0]}, turned_stride[2] = {1, flat_a[1]};
    const int64_t stride_b[2] = {flat_b[1], 1};
    ct_tensor *left = ct_view_strided(ct_raw_contiguous(a), 2, turned_shape, turned_stride, 0);
    ct_tensor *right = ct_view_strided(ct_raw_contiguous(b), 2, flat_b, stride_b, 0);
    ct_tensor *whole = ct_raw_matmul(left, right, out);
    if (!into) return whole;
    ct_raw_axpy(into, whole, 1);
    return into;
}

ct_tensor *ct_raw_weight_gradient(ct_tensor *x, ct_tensor *gradient, bool transposed, ct_dtype out, ct_tensor *into) {
    ct_context *context = x->context;
    ct_tensor *a = transposed ? x : gradient, *b = transposed ? gradient : x;
    if (ct_stop_op(context)) return into ? into : ct_inert(context, out, 0, NULL); /* operands may be inert */
    const int64_t shape[2] = {ct_last(a), ct_last(b)};
    ct_scope scope = ct_scope_open(context);
    ct_tensor *c = NULL;
    if (is_whole(a, b, out)) {
        c = whole_gradient(a, b, out, into);
    } else {
        c = target(x, shape[0], shape[1], out, into);
        a = as_sequences(a);
        b = as_sequences(b);
        ct_count_flops(context, 2 * (uint64_t)x->count * (uint64_t)ct_last(gradient));
        ct_dtype compute = out == CT_F64 || a->dtype == CT_F64 || b->dtype == CT_F64 ? CT_F64 : CT_F32;
        ct_gemm_output output = {ct_pointer(c), (ct_dtype)c->dtype, shape[1], 1};
        for (int64_t s = 0; !ct_is_meta(c) && s < a->shape[0] && !ct_failed(context); s++) {
            ct_gemm_operand left, right;
            factors(a, b, s, &left, &right);
            ct_gemm(context, compute, shape[0], shape[1], a->shape[1], 1, &left, &right, s == 0 && !into ? 0 : 1,
                    &output, NULL);
        }
        if (!a->shape[0] && !into) c = ct_raw_unary(CT_MUL_SCALAR, c, 0, 0);
    }
    return into ? (ct_scope_close(context, scope), into) : ct_scope_return(context, scope, c);
}

ct_tensor *ct_raw_bias_gradient(ct_tensor *gradient, ct_dtype out, ct_tensor *into) {
    ct_context *context = gradient->context;
    if (ct_stop_op(context)) return into ? into : ct_inert(context, out, 0, NULL);
    int64_t channels = ct_last(gradient);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *parts = ct_raw_reduce(CT_REDUCE_SUM_OP, as_sequences(gradient), 1u << 1, false);
    ct_tensor *sum = into ? into : ct_empty_on(context, ct_device_of(gradient), out, 1, &channels);
    int64_t sequences = parts->ndim == 2 ? parts->shape[0] : 0, one = 1;
    for (int64_t s = 0; s < sequences && !ct_failed(context); s++) {
        ct_tensor *part = ct_view_strided(parts, 1, &channels, &one, s * channels);
        if (s == 0 && !into) ct_raw_copy(sum, part);
        else ct_raw_axpy(sum, part, 1);
    }
    return into ? (ct_scope_close(context, scope), into) : ct_scope_return(context, scope, sum);
}
