/* test_ops_rules.c - what the gradient checks cannot see: values at kinks and ties, types, what is computed
 * and what is kept, views, errors, failing allocations, the meta device. */
#include "operands.h"
#include "ops_cases.h"
#include <stdio.h>

static ct_tensor *leaf(ct_tensor *t) {
    ct_require_grad(t, true);
    return t;
}

static void values_are(ct_tensor *t, const double *values, double tolerance, int line) {
    double found[64];
    if (ct_failed(context)) fail_msg("line %d: %s", line, ct_context_message(context));
    if (!t) fail_msg("line %d: no tensor", line);
    assert_int_equal(ct_read(t, CT_F64, found), CT_OK);
    for (int64_t i = 0; i < ct_count(t); i++)
        if (!(fabs(found[i] - values[i]) <= tolerance))
            fail_msg("line %d: element %ld is %.17g, expected %.17g", line, (long)i, found[i], values[i]);
}
#define EXPECT(t, ...) values_are(t, (const double[]){__VA_ARGS__}, 1e-12, __LINE__)

/* d sum(y) / d x */
static ct_tensor *gradient(ct_tensor *y, ct_tensor *x) {
    ct_tensor *g = NULL, *ones = ct_ones_like(y);
    ct_grad(&y, 1, &ones, &x, 1, &g, CT_GRAD_DEFAULT);
    return g;
}

static void test_kinks(void **state) {
    (void)state;
    ct_tensor *x = leaf(F64(CT_DIMS(3), -1, 0, 1)), *same = leaf(F64(CT_DIMS(3), -1, 5, 1));
    EXPECT(gradient(ct_abs(x), x), -1, 0, 1);
    EXPECT(gradient(ct_relu(x), x), 0, 0, 1);
    EXPECT(gradient(ct_sign(x), x), 0, 0, 0);
    EXPECT(gradient(ct_clamp(x, -1, 0.5), x), 1, 1, 0);
    EXPECT(gradient(ct_minimum(x, same), x), 0.5, 1, 0.5);
    EXPECT(gradient(ct_maximum(x, same), same), 0.5, 1, 0.5);
    EXPECT(gradient(ct_pow_scalar(x, 0), x), 0, 0, 0);
    EXPECT(gradient(ct_pow_scalar(x, 1), x), 1, 1, 1);
    EXPECT(gradient(ct_pow_scalar(x, 2), x), -2, 0, 2);
    EXPECT(gradient(ct_norm(x, 2, 0, NULL, false), x), -1 / sqrt(2), 0, 1 / sqrt(2));
    ct_tensor *zeros = leaf(F64(CT_DIMS(2), 0, 0));
    EXPECT(gradient(ct_norm(zeros, 2, 0, NULL, false), zeros), 0, 0);
    EXPECT(gradient(ct_norm(zeros, 3, 0, NULL, false), zeros), 0, 0);
    EXPECT(gradient(ct_norm(zeros, 1, 0, NULL, false), zeros), 0, 0);
    EXPECT(gradient(ct_norm(x, INFINITY, 0, NULL, false), x), -0.5, 0, 0.5);
    ct_tensor *ties = leaf(F64(CT_DIMS(2, 3), 2, 1, 2, 0, 3, 3));
    EXPECT(gradient(ct_max(ties, AXES(1), false), ties), 0.5, 0, 0.5, 0, 0.5, 0.5);
    EXPECT(gradient(ct_min(ties, 0, NULL, true), ties), 0, 0, 0, 1, 0, 0);
    ct_tensor *none = leaf(F64(CT_DIMS(2), -INFINITY, -INFINITY));
    EXPECT(gradient(ct_logsumexp(none, 0, NULL, false), none), 0, 0);
    EXPECT(gradient(ct_straight_through(ct_round(x), x), x), 1, 1, 1);
    EXPECT(gradient(ct_add(x, ct_detach(ct_square(x))), x), 1, 1, 1);
}

static void test_pow_at_zero(void **state) {
    (void)state;
    ct_tensor *a = leaf(F64(CT_DIMS(4), 0, 0, 0, 2)), *b = leaf(F64(CT_DIMS(4), 0, 1, 2, 3));
    EXPECT(gradient(ct_pow(a, b), a), 0, 1, 0, 12);
    EXPECT(gradient(ct_pow(a, b), b), 0, 0, 0, 8 * log(2));
}

static void test_scatter_keeps_last(void **state) {
    (void)state;
    ct_tensor *x = leaf(F64(CT_DIMS(3), 1, 2, 3)), *values = leaf(F64(CT_DIMS(3), 10, 20, 30));
    ct_tensor *index = I64(CT_DIMS(3), 1, 0, 1);
    EXPECT(gradient(ct_scatter(x, 0, index, values), x), 0, 0, 1);
    EXPECT(gradient(ct_scatter(x, 0, index, values), values), 0, 1, 1);
}

/* bf16 holds 8 bits: 1 + 1/256 is lost in it, not in f32. */
static void test_mixed_types(void **state) {
    (void)state;
    ct_tensor *f = leaf(ct_cast(F64(CT_DIMS(2), 1 + 1 / 1024.0, 3), CT_F32)),
              *f64 = leaf(F64(CT_DIMS(2), 5, 7));
    ct_tensor *b = leaf(ct_cast(F64(CT_DIMS(2), 2, 0.5), CT_BF16)),
              *h = leaf(ct_cast(F64(CT_DIMS(2), 4, 1), CT_F16));
    assert_int_equal(ct_dtype_of(ct_add(f, b)), CT_F32);
    assert_int_equal(ct_dtype_of(ct_mul(b, h)), CT_F32);
    assert_int_equal(ct_dtype_of(ct_mul(b, b)), CT_BF16);
    assert_int_equal(ct_dtype_of(ct_sub(h, f64)), CT_F64);
    assert_int_equal(ct_dtype_of(ct_mul(I64(CT_DIMS(2), 1, 2), b)), CT_BF16);
    EXPECT(ct_mul(f, b), 2 + 2 / 1024.0, 1.5);
    ct_tensor *g = gradient(ct_mul(f, b), b);
    assert_int_equal(ct_dtype_of(g), CT_BF16);
    EXPECT(g, 1, 3);
    g = gradient(ct_mul(b, f64), b);
    assert_int_equal(ct_dtype_of(g), CT_BF16);
    EXPECT(g, 5, 7);
    g = gradient(ct_where(ct_less(f64, ct_constant(f64, CT_F64, 6)), h, f), f);
    assert_int_equal(ct_dtype_of(g), CT_F32);
    EXPECT(g, 0, 1);
    g = gradient(ct_matmul(ct_unsqueeze(f, 0), ct_unsqueeze(b, 1)), f);
    assert_int_equal(ct_dtype_of(g), CT_F32);
    EXPECT(g, 2, 0.5);
}

static void test_mixed_linear(void **state) {
    (void)state;
    ct_tensor *x = leaf(ct_cast(F64(CT_DIMS(2, 2), 1, 2, -1, 3), CT_BF16));
    ct_tensor *w = leaf(ct_cast(F64(CT_DIMS(3, 2), 1, 0.5, 2, 1, 0, -1), CT_F32));
    ct_tensor *bias = leaf(ct_cast(F64(CT_DIMS(3), 1, 2, 3), CT_F32)),
              *y = ct_linear(x, w, bias, false, CT_ACT_NONE);
    assert_int_equal(ct_dtype_of(y), CT_BF16);
    EXPECT(y, 3, 6, 1, 1.5, 3, 0);
    ct_tensor *inputs[3] = {x, w, bias}, *g[3], *ones = ct_ones_like(y);
    assert_int_equal(ct_grad(&y, 1, &ones, inputs, 3, g, 0), CT_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ct_dtype_of(g[i]), ct_dtype_of(inputs[i]));
    EXPECT(g[0], 3, 0.5, 3, 0.5);
    EXPECT(g[1], 0, 5, 0, 5, 0, 5);
    EXPECT(g[2], 2, 2, 2);
    ct_tensor *half = leaf(ct_cast(ct_detach(w), CT_BF16)),
              *wide = ct_linear(ct_cast(x, CT_F32), half, NULL, false, CT_ACT_GELU);
    assert_int_equal(ct_dtype_of(wide), CT_F32);
    assert_int_equal(ct_dtype_of(gradient(wide, half)), CT_BF16);
    assert_int_equal(ct_dtype_of(ct_layer_norm(x, NULL, NULL, 1e-5)), CT_BF16);
    assert_int_equal(ct_dtype_of(ct_cross_entropy(x, I64(CT_DIMS(2), 0, 1), NULL)), CT_F32);
    assert_false(ct_failed(context));
}

/* Input gradients and weight gradients are each the work of one product. */
static void test_wanted_work(void **state) {
    (void)state;
    ct_random random = ct_random_make(1, 1);
    ct_tensor *source = leaf(ct_random_normal_tensor(context, CT_F32, CT_DIMS(8, 16), 0, 1, &random));
    ct_tensor *w = leaf(ct_random_normal_tensor(context, CT_F32, CT_DIMS(32, 16), 0, 1, &random));
    ct_tensor *turned = leaf(ct_random_normal_tensor(context, CT_F32, CT_DIMS(16, 32), 0, 1, &random));
    for (int which = 0; which < 2; which++) {
        ct_tensor *x = ct_mul_scalar(source, 2), *y = ct_linear(x, w, NULL, false, CT_ACT_GELU_TANH);
        if (which == 1) y = ct_matmul(x, turned);
        ct_tensor *loss = ct_sum_all(y);
        const uint64_t product = 2 * 8 * 16 * 32;
        ct_deferred *deferred = ct_deferred_create(context);
        ct_context_reset_flops(context);
        assert_int_equal(ct_backward_deferred(loss, NULL, deferred, 0), CT_OK);
        assert_int_equal(ct_context_flops(context), product);
        ct_context_reset_flops(context);
        for (int64_t i = 0; i < ct_deferred_count(deferred); i++)
            assert_int_equal(ct_deferred_run(deferred, i), CT_OK);
        assert_int_equal(ct_context_flops(context), product);
        ct_deferred_destroy(deferred);
        assert_non_null(ct_gradient(source));
        assert_non_null(ct_gradient(which ? turned : w));
    }
}

/* Bytes that are freed when x = 2 source goes out of sight while the result of linear is kept. */
static size_t freed_bytes(bool x_required, bool w_required, ct_activation activation) {
    ct_memory_counts before, after;
    ct_tensor *w = ct_zeros(context, CT_F32, CT_DIMS(64, 64)),
              *source = ct_zeros(context, CT_F32, CT_DIMS(128, 64));
    ct_require_grad(w, w_required);
    ct_require_grad(source, x_required);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_mul_scalar(source, 2), *y = ct_hold(ct_linear(x, w, NULL, false, activation));
    ct_memory_read(context, &before);
    ct_scope_close(context, scope);
    ct_memory_read(context, &after);
    ct_drop(y);
    return before.current[CT_MEMORY_ACTIVATIONS] - after.current[CT_MEMORY_ACTIVATIONS];
}

/* x is kept for a weight that is trained, not for a frozen one; the value before an activation takes its
 * place. */
static void test_what_is_kept(void **state) {
    (void)state;
    const size_t bytes = ct_memory_rounded(128 * 64 * 4);
    assert_int_equal(freed_bytes(false, false, CT_ACT_NONE), bytes);
    assert_int_equal(freed_bytes(false, true, CT_ACT_NONE), 0);
    assert_int_equal(freed_bytes(true, false, CT_ACT_NONE), bytes);
    assert_int_equal(freed_bytes(true, true, CT_ACT_GELU), 0);
    assert_int_equal(freed_bytes(true, false, CT_ACT_GELU), bytes);
}

static void test_stale_values(void **state) {
    (void)state;
    ct_tensor *x = leaf(F64(CT_DIMS(2), 1, 2)), *y = ct_square(x), *view = ct_slice(x, 0, 0, 1, 1);
    ct_fill(view, 5); /* a part of what was saved */
    ct_tensor *g, *ones = ct_ones_like(y);
    assert_int_equal(ct_grad(&y, 1, &ones, &x, 1, &g, 0), CT_ERROR_STATE);
    assert_non_null(strstr(ct_context_message(context), "square"));
    ct_context_clear(context);
    ct_tensor *e = ct_exp(x);
    ct_scale_into(e, 2); /* a result that was saved */
    assert_int_equal(ct_grad(&e, 1, &ones, &x, 1, &g, 0), CT_ERROR_STATE);
    ct_context_clear(context);
    ct_tensor *sum = ct_add_scalar(x, 1); /* nothing saved: allowed */
    ct_fill(x, 3);
    assert_int_equal(ct_grad(&sum, 1, &ones, &x, 1, &g, 0), CT_OK);
}

static void test_split_is_one_pass(void **state) {
    (void)state;
    ct_tensor *x = leaf(F64(CT_DIMS(1, 4), 1, 2, 3, 4)), *parts[3];
    ct_split(x, 1, 3, (int64_t[]){1, 2, 1}, parts);
    ct_tensor *y = ct_add(ct_sum_all(ct_mul_scalar(parts[1], 3)), ct_sum_all(parts[2]));
    EXPECT(gradient(y, x), 0, 3, 3, 1);
}

/* Twenty parts: more than a rule of outside operations may have. */
static void test_many_parts(void **state) {
    (void)state;
    ct_tensor *parts[20], *again[20];
    int64_t sizes[20];
    for (int i = 0; i < 20; i++) {
        parts[i] = leaf(ct_full_on(context, CT_CPU, CT_F64, CT_DIMS(1), i));
        sizes[i] = 1;
    }
    ct_tensor *whole = ct_square(ct_concat(parts, 20, 0));
    ct_split(whole, 0, 20, sizes, again);
    ct_tensor *y = ct_mul(again[3], again[19]), *g[20];
    assert_int_equal(ct_grad(&y, 1, (ct_tensor *[]){ct_ones_like(y)}, parts, 20, g, 0), CT_OK);
    EXPECT(g[3], 6 * 361);
    EXPECT(g[19], 38 * 9);
    EXPECT(g[5], 0);
}

/* ------------------------------------------------------------------------------------------------ errors */

#define FAILS(call, status, text)                                                                            \
    do {                                                                                                     \
        (void)(call);                                                                                        \
        assert_int_equal(ct_context_status(context), status);                                                \
        if (!strstr(ct_context_message(context), text))                                                      \
            fail_msg("line %d: \"%s\" lacks \"%s\"", __LINE__, ct_context_message(context), text);           \
        ct_context_clear(context);                                                                           \
    } while (0)

static void test_shape_errors(void **state) {
    (void)state;
    ct_tensor *x = ct_zeros(context, CT_F32, CT_DIMS(3, 4)), *y = ct_zeros(context, CT_F32, CT_DIMS(5, 6)),
              *parts[2];
    FAILS(ct_matmul(x, y), CT_ERROR_SHAPE, "matmul: f32[3, 4] and f32[5, 6] do not fit (4 against 5)");
    FAILS(ct_add(x, y), CT_ERROR_SHAPE, "f32[3, 4] and f32[5, 6]");
    FAILS(ct_sum(x, AXES(2), false), CT_ERROR_SHAPE, "sum: axis 2 does not exist in f32[3, 4]");
    FAILS(ct_max(x, AXES(1, -1), false), CT_ERROR_SHAPE, "max: axis -1 is given twice");
    FAILS(ct_reshape(x, CT_DIMS(5, -1)), CT_ERROR_SHAPE,
          "reshape: f32[3, 4] (12 elements) does not fit [5, -1]");
    FAILS(ct_reshape(x, CT_DIMS(-1, -1)), CT_ERROR_SHAPE, "reshape");
    FAILS(ct_permute(x, AXES(0, 0)), CT_ERROR_SHAPE, "permute");
    FAILS(ct_expand(x, CT_DIMS(3, 5)), CT_ERROR_SHAPE, "expand: f32[3, 4] cannot be expanded to f32[3, 5]");
    FAILS(ct_squeeze(x, 0), CT_ERROR_SHAPE, "squeeze");
    FAILS(ct_unsqueeze(x, 4), CT_ERROR_SHAPE, "unsqueeze");
    FAILS(ct_slice(x, 1, 1, 5, 1), CT_ERROR_SHAPE, "slice: 1 to 5 by 1 does not lie in axis 1 of f32[3, 4]");
    FAILS(ct_slice(x, 1, 1, 2, 0), CT_ERROR_SHAPE, "slice");
    FAILS(ct_select(x, 0, 3), CT_ERROR_SHAPE, "select: index 3");
    FAILS(ct_diagonal(x, 0, 1, 1), CT_ERROR_SHAPE, "diagonal");
    FAILS(ct_concat((ct_tensor *const[]){x, y}, 2, 0), CT_ERROR_SHAPE,
          "concat: f32[3, 4] and f32[5, 6] (part 1)");
    FAILS(ct_split(x, 1, 2, (int64_t[]){1, 2}, parts), CT_ERROR_SHAPE, "split: 2 parts of 3 in all");
    FAILS(ct_pad(x, (int64_t[]){-2, 0}, (int64_t[]){-2, 0}, 0), CT_ERROR_SHAPE, "pad");
    FAILS(ct_topk(x, 5, 1, true, NULL), CT_ERROR_ARGUMENT, "topk: k is 5");
    FAILS(ct_tril(ct_zeros(context, CT_F32, CT_DIMS(3)), 0), CT_ERROR_SHAPE, "tril");
    FAILS(ct_linear(x, y, NULL, false, CT_ACT_NONE), CT_ERROR_SHAPE, "linear");
    FAILS(ct_attention(x, x, x, NULL), CT_ERROR_SHAPE, "attention");
    FAILS(ct_attention_packed(x, 2, 2, NULL), CT_ERROR_SHAPE, "attention_packed");
    FAILS(ct_layer_norm(x, ct_zeros(context, CT_F32, CT_DIMS(3)), NULL, 0), CT_ERROR_SHAPE, "layer_norm");
    FAILS(ct_cholesky(x), CT_ERROR_SHAPE, "cholesky");
    FAILS(ct_solve(ct_zeros(context, CT_F32, CT_DIMS(3, 3)), y), CT_ERROR_SHAPE, "do not fit (3 against 5)");
    FAILS(ct_least_squares(x, x), CT_ERROR_SHAPE, "more columns than rows");
    FAILS(ct_cross_entropy(x, I64(CT_DIMS(2), 0, 1), NULL), CT_ERROR_SHAPE, "cross_entropy");
}

static void test_value_errors(void **state) {
    (void)state;
    ct_tensor *x = ct_zeros(context, CT_F32, CT_DIMS(3, 4)), *f = ct_zeros(context, CT_F64, CT_DIMS(3, 4));
    FAILS(ct_clamp(x, 1, 0), CT_ERROR_ARGUMENT, "clamp: low 1 is not at most high 0");
    FAILS(ct_norm(x, -1, 0, NULL, false), CT_ERROR_ARGUMENT, "norm: order -1");
    FAILS(ct_mean_all(I64(CT_DIMS(2), 1, 2)), CT_ERROR_TYPE, "mean");
    FAILS(ct_where(x, x, x), CT_ERROR_TYPE, "where: the mask is f32");
    FAILS(ct_gather(x, 0, f), CT_ERROR_TYPE, "gather: the index is f64");
    FAILS(ct_gather(x, 0, I64(CT_DIMS(1), 0)), CT_ERROR_SHAPE, "gather");
    FAILS(ct_gather(x, 0, I64(CT_DIMS(1, 1), 3)), CT_ERROR_ARGUMENT, "gather");
    FAILS(ct_index_select(x, 0, I64(CT_DIMS(2), 0, -1)), CT_ERROR_ARGUMENT, "-1");
    FAILS(ct_embedding(x, I64(CT_DIMS(2), 1, 3)), CT_ERROR_ARGUMENT, "embedding: id 3 at position 1");
    FAILS(ct_embedding(x, f), CT_ERROR_TYPE, "embedding");
    FAILS(ct_cross_entropy(x, I64(CT_DIMS(3), 0, 4, 1), NULL), CT_ERROR_ARGUMENT, "target 4 at position 1");
    FAILS(ct_dropout(x, 1.5, ct_default_random(context)), CT_ERROR_ARGUMENT, "dropout: probability is 1.5");
    FAILS(ct_solve(F64(CT_DIMS(2, 2), 1, 1, 1, 1), F64(CT_DIMS(2), 1, 1)), CT_ERROR_NUMERIC, "solve");
    FAILS(ct_least_squares(F64(CT_DIMS(2, 2), 1, 1, 1, 1), F64(CT_DIMS(2), 1, 1)), CT_ERROR_NUMERIC,
          "full column rank");
    FAILS(ct_cholesky(F64(CT_DIMS(2, 2), 1, 2, 2, 1)), CT_ERROR_NUMERIC, "cholesky");
    FAILS(ct_einsum("ij,jk", x, x), CT_ERROR_ARGUMENT, "expected two operands and a result");
    FAILS(ct_einsum("ii,jk->k", x, x), CT_ERROR_ARGUMENT, "a letter stands twice");
    FAILS(ct_einsum("ij,jk->iz", x, x), CT_ERROR_SHAPE, "'j' is 4 in one operand and 3 in the other");
    FAILS(ct_einsum("ij,ik->iz", x, x), CT_ERROR_ARGUMENT, "a letter that no operand has");
    FAILS(ct_einsum("i1,jk->i", x, x), CT_ERROR_ARGUMENT, "expected letters");
    FAILS(ct_rotary_tables(context, 0, 2, 3, 1e4, &f, &f), CT_ERROR_ARGUMENT, "channels 3");
    ct_tensor *q = ct_zeros(context, CT_F32, CT_DIMS(2, 1, 3, 4));
    FAILS(ct_attention(q, q, q, &(ct_attention_options){.softcap = -1}), CT_ERROR_ARGUMENT, "softcap is -1");
    FAILS(ct_rotary(q, ct_zeros(context, CT_F32, CT_DIMS(3, 3, 2)), ct_zeros(context, CT_F32, CT_DIMS(3, 3, 2)), false),
          CT_ERROR_SHAPE, "rotary");
    FAILS(ct_alibi_slopes(context, 0), CT_ERROR_ARGUMENT, "0 heads");
}

/* After a failure operations do nothing and give inert tensors of the shape they would have had. */
static void test_after_failure(void **state) {
    (void)state;
    ct_tensor *x = leaf(ct_zeros(context, CT_F32, CT_DIMS(2, 3))),
              *row = ct_zeros(context, CT_F64, CT_DIMS(3));
    ct_fail(context, CT_ERROR_ARGUMENT, "the first");
    ct_tensor *y = ct_add(x, row);
    assert_int_equal(ct_dtype_of(y), CT_F64);
    assert_int_equal(ct_dim(y, 0), 2);
    assert_null(ct_data(y));
    assert_false(ct_requires_grad(y));
    assert_int_equal(ct_ndim(ct_sum(x, AXES(0), false)), 1);
    assert_int_equal(ct_dim(ct_matmul(x, ct_transpose(x, 0, 1)), 1), 2);
    assert_int_equal(ct_dim(ct_linear(x, x, NULL, false, CT_ACT_NONE), 1), 2);
    assert_int_equal(ct_dim(ct_concat((ct_tensor *const[]){x, x}, 2, 0), 0), 4);
    assert_int_equal(ct_dim(ct_select(x, 0, 1), 0), 3);
    assert_string_equal(ct_context_message(context), "the first");
}

/* Every case with the n-th allocation failing: an error, no crash, and all is well afterwards. */
static void test_allocation_failure(void **state) {
    (void)state;
    for (int i = 0; ops_case_at(i); i++) {
        const ops_case *c = ops_case_at(i);
        for (int64_t n = 1; n < 4000; n += 1 + n / 6) {
            ct_scope scope = ct_scope_open(context);
            ct_tensor *inputs[OPS_CASE_INPUTS], *g[OPS_CASE_INPUTS];
            ops_case_inputs(context, c, CT_F32, false, inputs);
            ops_call call = {c, false};
            ct_memory_fail_at(context, n);
            ct_tensor *y = ops_case_call(&call, inputs), *sum = ct_sum_all(ct_square(y));
            ct_grad(&sum, 1, NULL, inputs, c->count, g, CT_GRAD_ALLOW_UNUSED | CT_GRAD_RECORD);
            ct_memory_fail_at(context, 0);
            bool failed = ct_failed(context);
            if (failed && ct_context_status(context) != CT_ERROR_MEMORY)
                fail_msg("%s (%s), allocation %ld: %s", c->operation, c->variant, (long)n,
                         ct_context_message(context));
            ct_context_clear(context);
            ct_scope_close(context, scope);
            if (!failed) break;
        }
    }
}

/* On meta each case has the shapes and types that it has on the cpu, forward and backward. */
static void test_meta(void **state) {
    (void)state;
    for (int i = 0; i < ops_cases_elementwise_count; i++) {
        const ops_case *c = ops_case_at(i);
        if (!strcmp(c->operation, "where") || !strcmp(c->operation, "masked_fill"))
            continue; /* masks on the cpu */
        ct_scope scope = ct_scope_open(context);
        ct_tensor *inputs[OPS_CASE_INPUTS], *twins[OPS_CASE_INPUTS], *g[OPS_CASE_INPUTS];
        ops_case_inputs(context, c, CT_F32, false, inputs);
        for (int j = 0; j < c->count; j++)
            twins[j] = leaf(ct_empty_on(context, CT_META, CT_F32, inputs[j]->ndim, inputs[j]->shape));
        ops_call call = {c, false};
        ct_tensor *y = ops_case_call(&call, inputs), *z = ops_case_call(&call, twins), *sum = ct_sum_all(z);
        assert_true(ct_same_shape(y, z));
        assert_int_equal(ct_dtype_of(y), ct_dtype_of(z));
        assert_null(ct_data(z));
        ct_grad(&sum, 1, NULL, twins, c->count, g, CT_GRAD_ALLOW_UNUSED);
        if (ct_failed(context)) fail_msg("%s: %s", c->operation, ct_context_message(context));
        for (int j = 0; j < c->count; j++)
            assert_true(ct_same_shape(g[j], twins[j]));
        ct_scope_close(context, scope);
    }
}

/* A whole layer on meta counts the same operations as on the cpu. */
static ct_tensor *layer(ct_tensor *x, ct_tensor *w, ct_tensor *head, ct_tensor *ids) {
    ct_tensor *h = ct_layer_norm(ct_embedding(x, ids), NULL, NULL, 1e-5);
    ct_attention_options causal = {.causal = true};
    h = ct_add(h, ct_attention_packed(ct_linear(h, w, NULL, true, CT_ACT_NONE), 2, 2, &causal));
    h = ct_dropout(ct_linear(h, head, NULL, false, CT_ACT_GELU), 0.1, ct_default_random(x->context));
    return ct_cross_entropy(h, ids, NULL);
}

static void test_meta_layer(void **state) {
    (void)state;
    uint64_t flops[2];
    for (int device = 0; device < 2; device++) {
        ct_context_set_device(context, device ? CT_META : CT_CPU);
        ct_tensor *x = leaf(ct_zeros(context, CT_F32, CT_DIMS(10, 8))),
                  *w = leaf(ct_zeros(context, CT_F32, CT_DIMS(8, 24)));
        ct_tensor *head = leaf(ct_zeros(context, CT_F32, CT_DIMS(10, 8))),
                  *ids = ct_zeros(context, CT_I64, CT_DIMS(2, 5));
        ct_context_reset_flops(context);
        ct_tensor *loss = layer(x, w, head, ids);
        ct_backward(loss, NULL, 0);
        if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
        assert_true(ct_same_shape(ct_gradient(w), w));
        flops[device] = ct_context_flops(context);
    }
    assert_true(flops[0] > 0);
    assert_int_equal(flops[0], flops[1]);
}

/* Many threads or one: the same bits, forward and backward. */
static void test_threads(void **state) {
    (void)state;
    float first[2][640];
    for (int threads = 1; threads <= 3; threads += 2) {
        ct_context *c = ct_context_create(threads);
        ct_random random = ct_random_make(4, 4);
        ct_tensor *x = leaf(ct_random_normal_tensor(c, CT_F32, CT_DIMS(80, 8), 0, 1, &random));
        ct_tensor *w = leaf(ct_random_normal_tensor(c, CT_F32, CT_DIMS(8, 24), 0, 1, &random));
        ct_tensor *head = leaf(ct_random_normal_tensor(c, CT_F32, CT_DIMS(80, 8), 0, 1, &random));
        ct_tensor *ids = ct_random_integer_tensor(c, CT_I64, CT_DIMS(2, 70), 0, 80, &random);
        ct_backward(layer(x, w, head, ids), NULL, 0);
        assert_int_equal(ct_read(ct_gradient(x), CT_F32, first[threads / 2]), CT_OK);
        ct_context_destroy(c);
    }
    assert_memory_equal(first[0], first[1], sizeof(first[0]));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_kinks),
        TEST(test_pow_at_zero),
        TEST(test_scatter_keeps_last),
        TEST(test_mixed_types),
        TEST(test_mixed_linear),
        TEST(test_wanted_work),
        TEST(test_what_is_kept),
        TEST(test_stale_values),
        TEST(test_split_is_one_pass),
        TEST(test_many_parts),
        TEST(test_shape_errors),
        TEST(test_value_errors),
        TEST(test_after_failure),
        TEST(test_allocation_failure),
        TEST(test_meta),
        TEST(test_meta_layer),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
