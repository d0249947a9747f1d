/* raw_matmul.c - products of matrices: [..., m, k] x [..., k, n], and the linear layer with its bias and
 * activation fused. Strides are passed on as they are; nothing is copied but an x of ct_raw_linear whose
 * leading axes do not fold into rows. */
#include "tensor/matmul_operand.h"
#include "tensor/raw_rows.h"
#include "tensor/shadow.h"

/* ------------------------------------------------------------------------------------------------- matmul */

typedef struct product {
    int64_t m, n, k;
    int64_t a_row;              /* stride between the rows of A */
    int leading;                /* leading axes of the result */
    int64_t shape[CT_MAX_DIMS]; /* of the result */
} product;

static bool product_make(product *p, const ct_tensor *a, const ct_tensor *b) {
    char ta[160], tb[160];
    if (a->ndim < 2 || b->ndim < 2 || a->shape[a->ndim - 1] != b->shape[b->ndim - 2]) {
        ct_fail(a->context, CT_ERROR_SHAPE,
                "matmul: %s and %s do not fit: expected [..., m, k] and [..., k, n] with one k",
                ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)));
        return false;
    }
    p->m = a->shape[a->ndim - 2];
    p->a_row = a->stride[a->ndim - 2];
    p->k = a->shape[a->ndim - 1];
    p->n = b->shape[b->ndim - 1];
    p->leading = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;
    for (int i = 0; i < p->leading; i++) {
        int ia = a->ndim - 2 - p->leading + i, ib = b->ndim - 2 - p->leading + i;
        int64_t da = ia >= 0 ? a->shape[ia] : 1, db = ib >= 0 ? b->shape[ib] : 1;
        if (da != db && da != 1 && db != 1) {
            ct_fail(a->context, CT_ERROR_SHAPE,
                    "matmul: the leading axes of %s and %s do not broadcast (%lld against %lld)",
                    ct_describe(a, ta, sizeof(ta)), ct_describe(b, tb, sizeof(tb)), (long long)da,
                    (long long)db);
            return false;
        }
        p->shape[i] = da == 1 ? db : da;
    }
    p->shape[p->leading] = p->m;
    p->shape[p->leading + 1] = p->n;
    return true;
}

/* Stride of operand `t` along leading axis `axis` of the result; 0 where it is broadcast. */
static int64_t leading_stride(const ct_tensor *t, const product *p, int axis) {
    int i = t->ndim - 2 - p->leading + axis;
    return i < 0 || t->shape[i] == 1 ? 0 : t->stride[i];
}

/* The leading axes as a batch. Innermost axes that B does not have and whose step in A is that of m more rows
 * become rows: fewer and larger products, with the same bits. */
static void batch_make(ct_gemm_batch *batch, product *p, const ct_tensor *a, const ct_tensor *b, bool fold) {
    int64_t c_step = p->m * p->n;
    int axes = p->leading;
    for (; fold && axes > 0; axes--) {
        int64_t size = p->shape[axes - 1], step = leading_stride(a, p, axes - 1);
        if (size == 1) continue;
        if (leading_stride(b, p, axes - 1) != 0 || (p->m != 1 && step != p->a_row * p->m)) break;
        if (p->m == 1) p->a_row = step;
        p->m *= size;
        c_step *= size;
    }
    *batch = (ct_gemm_batch){.rank = axes};
    for (int i = axes - 1; i >= 0; i--) {
        batch->shape[i] = p->shape[i];
        batch->a_stride[i] = leading_stride(a, p, i);
        batch->b_stride[i] = leading_stride(b, p, i);
        batch->c_stride[i] = c_step;
        c_step *= p->shape[i];
    }
}

ct_tensor *ct_raw_matmul(ct_tensor *a, ct_tensor *b, ct_dtype out) {
    ct_context *context = a->context;
    product p;
    if (ct_stop_op(context) || !product_make(&p, a, b)) return ct_inert(context, out, 0, NULL);
    bool wide = a->dtype == CT_F64 || b->dtype == CT_F64 || out == CT_F64;
    ct_dtype compute = wide ? CT_F64 : CT_F32;
    ct_matmul_factor fa, fb;
    if (!ct_matmul_factor_make(&fa, a, compute, "matmul") ||
        !ct_matmul_factor_make(&fb, b, compute, "matmul"))
        return ct_inert(context, out, p.leading + 2, p.shape);
    if (!ct_dtype_is_float(out)) {
        ct_fail(context, CT_ERROR_TYPE, "matmul: a result of type %s was asked for, expected a float type",
                ct_dtype_name(out));
        return ct_inert(context, out, p.leading + 2, p.shape);
    }
    ct_tensor *c = ct_empty_on(context, ct_device_of(a), out, p.leading + 2, p.shape);
    if (!c->storage) return c;
    ct_count_flops(context, 2 * (uint64_t)c->count * (uint64_t)p.k);
    ct_gemm_batch batch;
    batch_make(&batch, &p, a, b, !fa.generated);
    ct_matmul_use_packed(&fb, b, p.m, compute);
    fa.operand.row_stride = p.a_row;
    ct_gemm_output output = {ct_pointer(c), out, p.n, 1};
    if (c->count)
        ct_matmul_run(context, ct_is_meta(c), compute, &batch, p.m, p.n, p.k, &fa.operand, &fb.operand,
                      &output, NULL);
    return c;
}

/* ------------------------------------------------------------------------------------------------- linear */

static void apply_activation(const void *user, void *values, int64_t count) {
    const ct_kernels *kernels = ct_cpu_kernels();
    kernels->f32.unary(*(const int *)user, count, values, values, 0, 0);
}

static void apply_activation_wide(const void *user, void *values, int64_t count) {
    const ct_kernels *kernels = ct_cpu_kernels();
    kernels->f64.unary(*(const int *)user, count, values, values, 0, 0);
}

static int activation_kernel(ct_activation activation) {
    switch (activation) {
    case CT_ACT_RELU:
        return CT_UNARY_RELU;
    case CT_ACT_GELU:
        return CT_UNARY_GELU_ERF;
    case CT_ACT_GELU_TANH:
        return CT_UNARY_GELU_TANH;
    case CT_ACT_SILU:
        return CT_UNARY_SILU;
    default:
        return -1;
    }
}

static bool linear_check(const ct_tensor *x, const ct_tensor *weight, const ct_tensor *bias, bool transposed,
                         ct_activation activation) {
    char tx[160], tw[160];
    int in_axis = transposed ? 0 : 1;
    if (x->ndim < 1 || weight->ndim != 2 || ct_last(x) != weight->shape[in_axis]) {
        ct_fail(x->context, CT_ERROR_SHAPE,
                "linear: x %s and weight %s do not fit: expected [..., in] and %s",
                ct_describe(x, tx, sizeof(tx)), ct_describe(weight, tw, sizeof(tw)),
                transposed ? "[in, out]" : "[out, in]");
        return false;
    }
    int64_t out = weight->shape[1 - in_axis];
    if (bias && (bias->ndim != 1 || bias->shape[0] != out)) {
        ct_fail(x->context, CT_ERROR_SHAPE, "linear: bias %s does not fit weight %s: expected [%lld]",
                ct_describe(bias, tx, sizeof(tx)), ct_describe(weight, tw, sizeof(tw)), (long long)out);
        return false;
    }
    if (activation != CT_ACT_NONE && activation_kernel(activation) < 0) {
        ct_fail(x->context, CT_ERROR_ARGUMENT, "linear: activation %d does not exist", (int)activation);
        return false;
    }
    return ct_require_float(x, "linear", "x") && ct_require_float(weight, "linear", "weight") &&
           (!bias || ct_require_float(bias, "linear", "bias"));
}

/* The leading axes of x as rows one stride apart; false if they are not. */
static bool rows_fold(const ct_tensor *x, int64_t *row_stride) {
    int64_t stride = 0, rows = 1;
    for (int i = x->ndim - 2; i >= 0; i--) {
        if (x->shape[i] == 1) continue;
        if (rows == 1)
            stride = x->stride[i];
        else if (x->stride[i] != stride * rows)
            return false;
        rows *= x->shape[i];
    }
    *row_stride = rows == 1 ? ct_last(x) : stride;
    return true;
}

/* x as [rows, in]; x itself, seen so, or a copy. */
static ct_tensor *as_rows(ct_tensor *x) {
    int64_t shape[2] = {ct_row_count(x), ct_last(x)}, stride[2] = {0, x->stride[x->ndim - 1]};
    if (!rows_fold(x, &stride[0])) {
        x = ct_raw_contiguous(x);
        stride[0] = shape[1];
        stride[1] = 1;
    }
    return ct_view_strided(x, 2, shape, stride, 0);
}

/* The weight as the factor [in, out]. */
static ct_tensor *turned_weight(ct_tensor *weight, bool transposed) {
    if (transposed) return weight;
    int64_t shape[2] = {weight->shape[1], weight->shape[0]}, stride[2] = {weight->stride[1], weight->stride[0]};
    return ct_view_strided(weight, 2, shape, stride, 0);
}

ct_status ct_linear_pack(ct_tensor *weight, bool transposed) {
    ct_context *context = weight->context;
    if (ct_stop_op(context)) return ct_context_status(context);
    if (weight->ndim != 2) return ct_shadow_pack(weight); /* its error */
    ct_scope scope = ct_scope_open(context);
    ct_tensor *turned = turned_weight(weight, transposed);
    if (!ct_failed(context)) ct_shadow_pack(turned);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static void linear_run(ct_tensor *rows, ct_tensor *weight, ct_tensor *bias, bool transposed, int kernel,
                       ct_dtype compute, ct_tensor *y, ct_tensor *before) {
    ct_matmul_factor fx, fw;
    ct_tensor *turned = turned_weight(weight, transposed);
    if (bias) bias = ct_in_dtype(bias, compute);
    if (ct_failed(y->context) || !ct_matmul_factor_make(&fx, rows, compute, "linear") ||
        !ct_matmul_factor_make(&fw, turned, compute, "linear"))
        return;
    ct_matmul_use_packed(&fw, turned, rows->shape[0], compute);
    int64_t m = rows->shape[0], n = turned->shape[1], k = rows->shape[1];
    ct_gemm_epilogue epilogue = {.bias_n = bias ? ct_pointer(bias) : NULL, .activation_user = &kernel};
    if (kernel >= 0) epilogue.activation = compute == CT_F64 ? apply_activation_wide : apply_activation;
    if (before) epilogue.preactivation = (ct_gemm_output){ct_pointer(before), (ct_dtype)before->dtype, n, 1};
    ct_gemm_output output = {ct_pointer(y), (ct_dtype)y->dtype, n, 1};
    ct_matmul_run(y->context, ct_is_meta(y), compute, NULL, m, n, k, &fx.operand, &fw.operand, &output,
                  &epilogue);
}

ct_tensor *ct_raw_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, bool transposed,
                         ct_activation activation, ct_tensor **preactivation) {
    ct_context *context = x->context;
    /* A generated weight has no copy of x's type. */
    bool generated = weight->storage && weight->storage->tile;
    ct_dtype out = generated ? (ct_dtype)x->dtype : ct_promote((ct_dtype)x->dtype, (ct_dtype)weight->dtype);
    if (preactivation) *preactivation = NULL;
    if (ct_stop_op(context) || !linear_check(x, weight, bias, transposed, activation))
        return ct_inert(context, out, 0, NULL);
    ct_scope scope = ct_scope_open(context);
    int64_t shape[CT_MAX_DIMS];
    for (int i = 0; i < x->ndim - 1; i++)
        shape[i] = x->shape[i];
    shape[x->ndim - 1] = weight->shape[transposed ? 1 : 0];
    ct_tensor *results[2] = {ct_empty_on(context, ct_device_of(x), out, x->ndim, shape), NULL};
    if (preactivation && activation != CT_ACT_NONE)
        results[1] = ct_empty_on(context, ct_device_of(x), out, x->ndim, shape);
    ct_tensor *rows = as_rows(x);
    if (!ct_failed(context)) {
        ct_count_flops(context, 2 * (uint64_t)results[0]->count * (uint64_t)ct_last(x));
        if (results[0]->count)
            linear_run(rows, weight, bias, transposed, activation_kernel(activation), ct_compute_dtype(out),
                       results[0], results[1]);
    }
    ct_scope_return_many(context, scope, results, 2);
    if (preactivation) *preactivation = results[1];
    return results[0];
}
