/* The graph and the backward pass: results in the middle, several passes, sinks, deferred gradients, hooks on saved
 * values, checkpointing, repeated values, custom operations, failures. Rules are tested in test_ops_*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <carat/autograd.h>
#include <carat/ops.h>
#include <math.h>
#include <string.h>

static int set_up(void **state) {
    *state = ct_context_create(2);
    return *state ? 0 : -1;
}

static int tear_down(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static ct_tensor *leaf(ct_context *c, int ndim, const int64_t *shape, const double *data) {
    ct_tensor *t = ct_from_data(c, CT_F64, ndim, shape, data);
    ct_require_grad(t, true);
    return t;
}

static ct_tensor *random_leaf(ct_context *c, ct_dtype dtype, int ndim, const int64_t *shape, uint64_t seed) {
    ct_random random = ct_random_make(seed, 1);
    ct_tensor *t = ct_random_normal_tensor(c, dtype, ndim, shape, 0, 0.5, &random);
    ct_require_grad(t, true);
    return t;
}

static double item(ct_tensor *t) {
    double value = NAN;
    assert_int_equal(ct_item(t, &value), CT_OK);
    return value;
}

/* z = (x y + x)^2 with x = 2, y = 3: z = 64, dz/dx = 2 * 8 * 4 = 64, dz/dy = 2 * 8 * 2 = 32, d(xy)/dz = 16. */
static void test_values_and_middle(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 0, NULL, (double[]){2}), *y = leaf(c, 0, NULL, (double[]){3});
    ct_tensor *product = ct_mul(x, y), *z = ct_square(ct_add(product, x));
    ct_tensor *gradients[3];
    assert_int_equal(ct_grad(&z, 1, NULL, (ct_tensor *[]){x, y, product}, 3, gradients, CT_GRAD_KEEP_GRAPH), CT_OK);
    assert_float_equal(item(gradients[0]), 64, 1e-12);
    assert_float_equal(item(gradients[1]), 32, 1e-12);
    assert_float_equal(item(gradients[2]), 16, 1e-12);
    assert_null(ct_gradient(x)); /* ct_grad accumulates nothing */
    assert_int_equal(ct_backward(z, NULL, CT_GRAD_KEEP_GRAPH), CT_OK);
    assert_int_equal(ct_backward(z, NULL, 0), CT_OK);
    assert_float_equal(item(ct_gradient(x)), 128, 1e-12);
    assert_int_equal(ct_backward(z, NULL, 0), CT_ERROR_STATE); /* the graph is gone */
    assert_non_null(strstr(ct_context_message(c), "freed"));
}

/* f = x^3: f' = 3 x^2, f'' = 6 x, f''' = 6. */
static void test_third_order(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 0, NULL, (double[]){1.5}), *value = ct_mul(x, ct_mul(x, x));
    const double expected[3] = {3 * 2.25, 9, 6};
    for (int order = 0; order < 3; order++) {
        ct_tensor *gradient;
        assert_int_equal(ct_grad(&value, 1, NULL, &x, 1, &gradient, CT_GRAD_RECORD), CT_OK);
        assert_float_equal(item(gradient), expected[order], 1e-12);
        value = gradient;
    }
}

static void test_unused_and_shapes(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 1, (int64_t[]){2}, (double[]){1, 2}), *other = leaf(c, 0, NULL, (double[]){1});
    ct_tensor *y = ct_mul_scalar(x, 3), *gradients[2];
    ct_tensor *ones = ct_ones_like(y);
    assert_int_equal(ct_grad(&y, 1, &ones, (ct_tensor *[]){x, other}, 2, gradients,
                             CT_GRAD_ALLOW_UNUSED | CT_GRAD_KEEP_GRAPH), CT_OK);
    assert_non_null(gradients[0]);
    assert_null(gradients[1]);
    ct_try trial;
    ct_try_begin(c, &trial);
    assert_int_equal(ct_grad(&y, 1, NULL, &x, 1, gradients, CT_GRAD_KEEP_GRAPH), CT_ERROR_SHAPE);
    assert_int_equal(ct_try_end(c, &trial, NULL, 0), CT_ERROR_SHAPE);
    ct_try_begin(c, &trial);
    assert_int_equal(ct_grad(&y, 1, &ones, &other, 1, gradients, CT_GRAD_KEEP_GRAPH), CT_ERROR_ARGUMENT);
    ct_try_end(c, &trial, NULL, 0);
    ct_try_begin(c, &trial);
    assert_int_equal(ct_require_grad(y, true), CT_ERROR_STATE); /* not a leaf */
    ct_try_end(c, &trial, NULL, 0);
    assert_false(ct_failed(c));
}

/* A chain much longer than the stack could unwind by recursion. */
static void test_long_chain(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 0, NULL, (double[]){1}), *y = x;
    ct_hold(x);
    for (int i = 0; i < 200000; i++) {
        ct_scope scope = ct_scope_open(c);
        y = ct_scope_return(c, scope, ct_add_scalar(y, 1e-6));
    }
    assert_int_equal(ct_backward(y, NULL, 0), CT_OK);
    assert_float_equal(item(ct_gradient(x)), 1, 0);
    ct_drop(x);
}

static void test_stale_value(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 1, (int64_t[]){2}, (double[]){1, 2}), *y = ct_sum_all(ct_square(x));
    ct_fill(x, 5);
    assert_int_equal(ct_backward(y, NULL, 0), CT_ERROR_STATE);
    assert_non_null(strstr(ct_context_message(c), "changed in place"));
}

/* ------------------------------------------------------------------------------- sinks and deferral */

typedef struct counted {
    int calls;
    double sum;
} counted;

static ct_status count_sink(void *user, ct_tensor *alias, ct_tensor *gradient) {
    counted *seen = user;
    double value = 0;
    seen->calls++;
    ct_item(ct_sum_all(gradient), &value);
    seen->sum += value;
    return ct_same_shape(alias, gradient) ? CT_OK : CT_ERROR_SHAPE;
}

/* A leaf used twice is served once, with the sum; without a sink both uses are added when the gradient is asked for. */
static void test_sink_and_uses(void **state) {
    ct_context *c = *state;
    ct_tensor *w = leaf(c, 1, (int64_t[]){3}, (double[]){1, 2, 3});
    for (int with_sink = 0; with_sink < 2; with_sink++) {
        counted seen = {0, 0};
        ct_set_gradient_sink(w, with_sink ? count_sink : NULL, &seen);
        for (int pass = 0; pass < 2; pass++) {
            ct_tensor *y = ct_add(ct_sum_all(ct_square(w)), ct_sum_all(ct_mul_scalar(w, 10)));
            assert_int_equal(ct_backward(y, NULL, 0), CT_OK);
        }
        if (with_sink) {
            assert_int_equal(seen.calls, 2);
            assert_float_equal(seen.sum, 2 * (12 + 30), 1e-12);
            assert_null(ct_gradient(w));
        } else {
            assert_float_equal(item(ct_sum_all(ct_gradient(w))), 2 * (12 + 30), 1e-12);
            ct_gradient_set(w, NULL);
        }
    }
}

/* Blocks x + norm(x) W that share their parameters: residual gradients that the norm adds itself, more uses of a leaf
 * than it keeps sums for, gradients that are finished late. Against the recorded pass, whose rules are written with
 * single operations. */
static void test_residual_and_late_gradients(void **state) {
    ct_context *c = *state;
    enum { BLOCKS = 6 };
    ct_tensor *x = random_leaf(c, CT_F64, 3, (int64_t[]){4, 64, 32}, 1);
    ct_tensor *parameters[4] = {random_leaf(c, CT_F64, 2, (int64_t[]){32, 32}, 2),
                                random_leaf(c, CT_F64, 1, (int64_t[]){32}, 3),
                                random_leaf(c, CT_F64, 1, (int64_t[]){32}, 4), x};
    ct_tensor *y = x;
    for (int i = 0; i < BLOCKS; i++) {
        ct_tensor *normed = i % 2 ? ct_layer_norm(y, parameters[1], parameters[2], 1e-5)
                                  : ct_rms_norm(y, parameters[1], 1e-5);
        y = ct_add(y, ct_linear(normed, parameters[0], parameters[2], false, CT_ACT_NONE));
    }
    ct_tensor *loss = ct_sum(ct_square(y), 0, NULL, false), *expected[4];
    assert_int_equal(ct_grad(&loss, 1, NULL, parameters, 4, expected, CT_GRAD_RECORD), CT_OK);
    assert_int_equal(ct_backward(loss, NULL, CT_GRAD_KEEP_GRAPH), CT_OK);
    assert_int_equal(ct_backward(loss, NULL, 0), CT_OK);
    for (int p = 0; p < 4; p++) {
        const double *want = ct_data(expected[p]), *got = ct_data(ct_contiguous(ct_gradient(parameters[p])));
        int64_t count = p == 3 ? 4 * 64 * 32 : p == 0 ? 32 * 32 : 32;
        for (int64_t i = 0; i < count; i++)
            assert_true(fabs(got[i] - 2 * want[i]) <= 1e-10 * (1 + fabs(want[i])));
    }
}

/* The gradients of three layers, wide enough that products pack their operands, many times on one and on four threads:
 * the same bits, whichever thread finished what when. */
static void test_late_gradients_bits(void **state) {
    (void)state;
    enum { LAYERS = 3, TURNS = 400 };
    static float expected[LAYERS][512 * 96];
    for (int threads = 1; threads <= 4; threads += 3) {
        ct_context *c = ct_context_create(threads);
        ct_tensor *x = random_leaf(c, CT_F32, 3, (int64_t[]){2, 12, 96}, 1), *weight[LAYERS];
        for (int i = 0; i < LAYERS; i++)
            weight[i] = random_leaf(c, CT_F32, 2, (int64_t[]){i % 2 ? 96 : 512, i % 2 ? 512 : 96}, 2 + (uint64_t)i);
        for (int turn = 0; turn < (threads > 1 ? TURNS : 1); turn++) {
            ct_scope scope = ct_scope_open(c);
            ct_tensor *y = x;
            for (int i = 0; i < LAYERS; i++) {
                y = ct_linear(y, weight[i], NULL, false, CT_ACT_GELU_TANH);
                ct_gradient_set(weight[i], NULL);
            }
            ct_gradient_set(x, NULL);
            assert_int_equal(ct_backward(ct_sum(ct_square(y), 0, NULL, false), NULL, 0), CT_OK);
            for (int i = 0; i < LAYERS; i++) {
                const void *got = ct_data(ct_gradient(weight[i]));
                if (threads == 1) memcpy(expected[i], got, sizeof expected[i]);
                assert_memory_equal(expected[i], got, sizeof expected[i]);
            }
            ct_scope_close(c, scope);
        }
        ct_context_destroy(c);
    }
}

static void test_deferred_in_any_order(void **state) {
    ct_context *c = *state;
    ct_tensor *x = random_leaf(c, CT_F32, 2, (int64_t[]){5, 8}, 1), *weights[3];
    float expected[3][64], found[64];
    for (int i = 0; i < 3; i++) weights[i] = random_leaf(c, CT_F32, 2, (int64_t[]){8, 8}, 2 + (uint64_t)i);
    for (int deferred = 0; deferred < 2; deferred++) {
        ct_tensor *h = x;
        for (int i = 0; i < 3; i++) h = ct_linear(h, weights[i], NULL, false, CT_ACT_GELU);
        ct_tensor *loss = ct_sum_all(ct_square(h));
        if (!deferred) {
            assert_int_equal(ct_backward(loss, NULL, 0), CT_OK);
            for (int i = 0; i < 3; i++) {
                ct_read(ct_gradient(weights[i]), CT_F32, expected[i]);
                ct_gradient_set(weights[i], NULL);
            }
            continue;
        }
        ct_deferred *queue = ct_deferred_create(c);
        assert_int_equal(ct_backward_deferred(loss, NULL, queue, 0), CT_OK);
        assert_int_equal(ct_deferred_count(queue), 3); /* the first also has x, a leaf */
        assert_null(ct_gradient(weights[1]));
        for (int64_t i = 2; i >= 0; i--) assert_int_equal(ct_deferred_run(queue, i), CT_OK);
        for (int i = 0; i < 3; i++) {
            ct_read(ct_gradient(weights[i]), CT_F32, found);
            assert_memory_equal(found, expected[i], sizeof(found));
        }
        assert_int_equal(ct_deferred_run(queue, 0), CT_ERROR_ARGUMENT);
        ct_deferred_destroy(queue);
    }
}

/* ------------------------------------------------------------------------------ hooks, checkpointing */

typedef struct shelf {
    ct_context *context;
    int packed, unpacked, released;
} shelf;

static void *shelf_pack(void *user, ct_tensor *value, bool is_leaf) {
    (void)is_leaf;
    ((shelf *)user)->packed++;
    return ct_hold(value);
}
static ct_tensor *shelf_unpack(void *user, void *token) {
    ((shelf *)user)->unpacked++;
    return ct_alias(token);
}
static void shelf_release(void *user, void *token) {
    ((shelf *)user)->released++;
    ct_drop(token);
}

static void test_saved_hooks(void **state) {
    ct_context *c = *state;
    shelf s = {c, 0, 0, 0};
    ct_tensor *x = leaf(c, 0, NULL, (double[]){2});
    ct_saved_hooks_push(c, &(ct_saved_hooks){shelf_pack, shelf_unpack, shelf_release, &s});
    ct_tensor *y = ct_mul(ct_exp(x), x);
    ct_saved_hooks_pop(c);
    assert_true(s.packed >= 3);
    assert_int_equal(ct_backward(y, NULL, 0), CT_OK);
    assert_float_equal(item(ct_gradient(x)), 3 * exp(2), 1e-12);
    assert_true(s.unpacked >= 3);
    assert_int_equal(s.released, s.packed);
}

typedef struct layers {
    ct_tensor *weights[4];
    int runs;
} layers;

static ct_tensor *run_layers(void *user, ct_tensor *const *inputs, int count) {
    layers *l = user;
    ct_tensor *x = inputs[0];
    assert_int_equal(count, 1);
    l->runs++;
    for (int i = 0; i < 4; i++) {
        x = ct_layer_norm(ct_linear(x, l->weights[i], NULL, false, CT_ACT_GELU_TANH), NULL, NULL, 1e-5);
        x = ct_dropout(x, 0.2, ct_default_random(ct_context_of(x)));
    }
    return x;
}

/* The same bits with and without recomputation, dropout included, with less memory held between the passes. */
static void test_checkpoint(void **state) {
    ct_context *c = *state;
    layers l = {{NULL}, 0};
    float expected[5][32 * 32], found[32 * 32];
    size_t held[2];
    for (int i = 0; i < 4; i++) l.weights[i] = random_leaf(c, CT_F32, 2, (int64_t[]){32, 32}, 10 + (uint64_t)i);
    ct_tensor *x = random_leaf(c, CT_F32, 2, (int64_t[]){32, 32}, 9);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        ct_scope scope = ct_scope_open(c);
        ct_seed(c, 77);
        ct_memory_counts counts;
        ct_tensor *y = checkpoint ? ct_checkpoint(c, run_layers, &l, NULL, &x, 1) : run_layers(&l, &x, 1);
        ct_scope_return(c, scope, y);
        ct_memory_read(c, &counts);
        held[checkpoint] = counts.current[CT_MEMORY_ACTIVATIONS];
        assert_int_equal(ct_backward(ct_sum_all(ct_square(y)), NULL, 0), CT_OK);
        for (int i = 0; i < 5; i++) {
            ct_tensor *of = i < 4 ? l.weights[i] : x;
            ct_read(ct_gradient(of), CT_F32, checkpoint ? found : expected[i]);
            if (checkpoint) assert_memory_equal(found, expected[i], sizeof(found));
            ct_gradient_set(of, NULL);
        }
    }
    assert_int_equal(l.runs, 3);
    assert_true(held[1] + 8 * 32 * 32 * sizeof(float) < held[0]);
}

static void test_checkpoint_second_order(void **state) {
    ct_context *c = *state;
    layers l = {{NULL}, 0};
    double expected[64], found[64];
    for (int i = 0; i < 4; i++) l.weights[i] = random_leaf(c, CT_F64, 2, (int64_t[]){8, 8}, 20 + (uint64_t)i);
    ct_tensor *x = random_leaf(c, CT_F64, 2, (int64_t[]){8, 8}, 19);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        ct_seed(c, 5);
        ct_tensor *y = checkpoint ? ct_checkpoint(c, run_layers, &l, NULL, &x, 1) : run_layers(&l, &x, 1);
        ct_tensor *sum = ct_sum_all(ct_square(y)), *first, *second;
        assert_int_equal(ct_grad(&sum, 1, NULL, &x, 1, &first, CT_GRAD_RECORD), CT_OK);
        ct_tensor *norm = ct_sum_all(ct_square(first));
        assert_int_equal(ct_grad(&norm, 1, NULL, &l.weights[1], 1, &second, 0), CT_OK);
        ct_read(second, CT_F64, checkpoint ? found : expected);
    }
    for (int i = 0; i < 64; i++) assert_float_equal(found[i], expected[i], 1e-9);
}

/* A large layer norm result is made again for the next layer's weight gradient: fewer bytes held, the same bits. */
static void test_repeated_values(void **state) {
    ct_context *c = *state;
    int64_t rows = 1024, width = 512;
    ct_tensor *x = random_leaf(c, CT_F32, 2, (int64_t[]){rows, width}, 3);
    ct_tensor *w = random_leaf(c, CT_F32, 2, (int64_t[]){8, width}, 4);
    ct_memory_counts before, after;
    ct_scope scope = ct_scope_open(c);
    ct_memory_read(c, &before);
    ct_tensor *normed = ct_layer_norm(x, NULL, NULL, 1e-5), *y = ct_linear(normed, w, NULL, false, CT_ACT_NONE);
    ct_tensor *kept = ct_hold(ct_alias(normed));
    ct_scope_return(c, scope, y);
    ct_tensor *g = ct_ones_like(y);
    ct_backward(y, g, 0);
    ct_tensor *direct = ct_matmul(ct_transpose(g, 0, 1), kept);
    assert_int_equal(ct_count(direct), 8 * width);
    assert_memory_equal(ct_data(ct_gradient(w)), ct_data(ct_contiguous(direct)), (size_t)(8 * width) * 4);
    ct_drop(kept);
    ct_scope inner = ct_scope_open(c);
    y = ct_linear(ct_layer_norm(x, NULL, NULL, 1e-5), w, NULL, false, CT_ACT_NONE);
    ct_memory_read(c, &before);
    ct_scope_return(c, inner, y);
    ct_memory_read(c, &after);
    assert_true(after.current_total + (size_t)(rows * width) * 4 <= before.current_total);
}

/* --------------------------------------------------------------------------------- custom operations */

/* y = x^3 from outside the engine. */
static void cube_vjp(const ct_vjp *call, ct_tensor **gradients) {
    ct_tensor *x = ct_saved(call, 0);
    gradients[0] = ct_mul(call->output_gradients[0], ct_mul_scalar(ct_square(x), 3));
}
static const ct_rule cube_rule = {.name = "cube", .vjp = cube_vjp};

static ct_tensor *cube(void *user, ct_tensor *const *inputs) {
    (void)user;
    ct_tensor *x = inputs[0];
    ct_context *c = ct_context_of(x);
    bool before = ct_grad_mode_set(c, false);
    ct_tensor *y = ct_mul(x, ct_square(x));
    ct_grad_mode_set(c, before);
    ct_node *node = ct_record(c, &cube_rule, &x, 1, &y, 1, NULL);
    if (node) ct_save_operand(node, 0, x);
    return y;
}

static void wrong_vjp(const ct_vjp *call, ct_tensor **gradients) {
    gradients[0] = ct_mul_scalar(call->output_gradients[0], 1.001);
}
static const ct_rule wrong_rule = {.name = "wrong", .vjp = wrong_vjp};

static ct_tensor *wrong(void *user, ct_tensor *const *inputs) {
    (void)user;
    ct_tensor *x = inputs[0], *y = ct_clone(ct_detach(x));
    ct_record(ct_context_of(x), &wrong_rule, &x, 1, &y, 1, NULL);
    return y;
}

static void test_custom_operation(void **state) {
    ct_context *c = *state;
    ct_tensor *x = random_leaf(c, CT_F64, 1, (int64_t[]){5}, 30);
    double worst = 1;
    for (int second = 0; second < 2; second++) {
        assert_int_equal(ct_gradient_check(c, cube, NULL, &x, 1, 1e-5, second, &worst), CT_OK);
        assert_true(worst < 1e-6);
    }
    assert_int_equal(ct_gradient_check(c, wrong, NULL, &x, 1, 1e-5, false, &worst), CT_OK);
    assert_true(worst > 5e-4); /* the check sees an error of a thousandth */
}

static void test_no_grad_records_nothing(void **state) {
    ct_context *c = *state;
    ct_tensor *x = leaf(c, 0, NULL, (double[]){2});
    bool before = ct_grad_mode_set(c, false);
    assert_false(ct_requires_grad(ct_square(x)));
    ct_grad_mode_set(c, before);
    assert_true(ct_requires_grad(ct_square(x)));
    assert_false(ct_requires_grad(ct_detach(ct_square(x))));
}

/* Every allocation of a training step fails once: an error each time, nothing lost, and the step works afterwards. */
static void test_allocation_failures(void **state) {
    ct_context *c = *state;
    ct_tensor *x = random_leaf(c, CT_F32, 2, (int64_t[]){4, 8}, 1), *w = random_leaf(c, CT_F32, 2, (int64_t[]){8, 8}, 2);
    int failures = 0;
    for (int64_t n = 1; n < 400; n++) {
        ct_try trial;
        ct_try_begin(c, &trial);
        ct_memory_fail_at(c, n);
        ct_tensor *y = ct_sum_all(ct_softmax(ct_linear(x, w, NULL, false, CT_ACT_SILU), -1));
        if (!ct_failed(c)) ct_backward(y, NULL, 0);
        ct_memory_fail_at(c, 0);
        bool failed = ct_try_end(c, &trial, NULL, 0) != CT_OK;
        failures += failed;
        ct_gradient_set(w, NULL);
        ct_gradient_set(x, NULL);
        if (!failed) break;
    }
    assert_true(failures > 10 && failures < 399);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values_and_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_third_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unused_and_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sink_and_uses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_residual_and_late_gradients, set_up, tear_down),
        cmocka_unit_test(test_late_gradients_bits),
        cmocka_unit_test_setup_teardown(test_deferred_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_saved_hooks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checkpoint_second_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repeated_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_custom_operation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_grad_records_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_allocation_failures, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
