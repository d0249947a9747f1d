/* test_examples.c - the programs of docs/examples do what the documents say. docs/examples/model.c is run by
 * test_model.c, the quotations in the documents are compared by tests/cli/docs.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#define main first_main
#include "../../docs/examples/first.c"
#undef main
#include "../../docs/examples/chat.c"
#include "../../docs/examples/layer.c"
#include "../../docs/examples/operation.c"

/* A folder of its own as the working directory: the examples write to out/. */
static char folder[] = "/tmp/carat-examples-XXXXXX";

static int enter(void **state) {
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    int failed = chdir("/") != 0 || ct_folder_remove(context, folder) != CT_OK;
    ct_context_destroy(context);
    return failed;
}

/* The network has learnt exclusive or, and the saved folder says so too. */
static void test_first(void **state) {
    (void)state;
    assert_int_equal(first_main(), 0);
    ct_context *context = ct_context_create(1);
    ct_scope scope = ct_scope_open(context);
    ct_model *model = ct_model_load(context, "out/xor", CT_DTYPES);
    ct_run *run = ct_run_create(context, &(ct_run_options){0});
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(4, 2), (const float[]){0, 0, 0, 1, 1, 0, 1, 1});
    double y[4] = {-1, -1, -1, -1};
    ct_read(ct_model_forward(model, run, x), CT_F64, y);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    for (int i = 0; i < 4; i++)
        assert_true(fabs(y[i] - (i == 1 || i == 2)) < 0.1);
    ct_run_destroy(run);
    ct_model_destroy(model);
    ct_scope_close(context, scope);
    ct_context_destroy(context);
}

static void test_chat(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_template_output output = {0};
    assert_int_equal(write_question(context, "Why?", &output), CT_OK);
    assert_string_equal(output.text.data, "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(output.span_count, 1);
    assert_memory_equal(output.text.data + output.spans[0].start, "Why?", 4);
    ct_template_output_free(context, &output);
    ct_context_destroy(context);
}

static void test_operation(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    double first = cube_root_check(context, 1), second = cube_root_check(context, 2);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    assert_true(first < 1e-6);
    assert_true(second < 1e-5);
    /* f32, a strided operand, and d cbrt(8)/dx = 1/12. */
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(2, 2), (const float[]){8, 27, -1, 64});
    ct_require_grad(x, true);
    double y[4], g[4];
    ct_tensor *root = cube_root(ct_transpose(x, 0, 1));
    ct_read(root, CT_F64, y);
    ct_backward(ct_sum_all(root), NULL, CT_GRAD_DEFAULT);
    ct_read(ct_gradient(x), CT_F64, g);
    assert_false(ct_failed(context));
    const double expected[4] = {2, -1, 3, 4};
    for (int i = 0; i < 4; i++)
        assert_true(fabs(y[i] - expected[i]) < 1e-6);
    assert_true(fabs(g[0] - 1.0 / 12) < 1e-7 && fabs(g[3] - 1.0 / 48) < 1e-7);
    /* The meta device: a shape and no data. Another type: an error that names it. */
    ct_context_set_device(context, CT_META);
    ct_tensor *shape = cube_root(ct_empty(context, CT_F32, CT_DIMS(5, 7)));
    assert_true(!ct_failed(context) && ct_dim(shape, 1) == 7 && !ct_data(shape));
    cube_root(ct_empty(context, CT_I32, CT_DIMS(3)));
    assert_int_equal(ct_context_status(context), CT_ERROR_TYPE);
    assert_non_null(strstr(ct_context_message(context), "i32[3]"));
    ct_scope_close(context, scope);
    ct_context_destroy(context);
}

static ct_tensor *close_gates(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    ++*(int *)user;
    return ct_zeros_like(value);
}

static void test_layer(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_scope scope = ct_scope_open(context);
    ct_model *model = mlp_with_glu(context);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    ct_parameter *weight = ct_model_find(model, "0.weight");
    assert_true(weight && ct_dim(weight->tensor, 0) == 32 && ct_dim(weight->tensor, 1) == 4);
    assert_int_equal(ct_model_elements(model, true), 32 * 4 + 32 + 3 * 16 + 3);
    ct_run *run = ct_run_create(context, &(ct_run_options){0});
    ct_random random = ct_random_make(1, 1);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(5, 4), 0, 1, &random);
    /* Row by row against the equation. */
    double in[20], w[128], b[32], w2[48], b2[3], out[15];
    ct_read(x, CT_F64, in);
    ct_read(weight->tensor, CT_F64, w);
    ct_read(ct_model_find(model, "0.bias")->tensor, CT_F64, b);
    ct_read(ct_model_find(model, "1.weight")->tensor, CT_F64, w2);
    ct_read(ct_model_find(model, "1.bias")->tensor, CT_F64, b2);
    ct_read(ct_model_forward(model, run, x), CT_F64, out);
    assert_false(ct_failed(context));
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < 3; c++) {
            double y = b2[c];
            for (int h = 0; h < 16; h++) {
                double value = b[h], gate = b[16 + h];
                for (int k = 0; k < 4; k++) {
                    value += in[r * 4 + k] * w[h * 4 + k];
                    gate += in[r * 4 + k] * w[(16 + h) * 4 + k];
                }
                y += w2[c * 16 + h] * value / (1 + exp(-gate));
            }
            assert_true(fabs(out[r * 3 + c] - y) < 1e-5);
        }
    /* The tap sees the gate; with gates closed only the last bias is left. */
    int seen = 0;
    ct_run_add_tap(run, "*.gate", close_gates, &seen);
    double closed[15];
    ct_read(ct_model_forward(model, run, x), CT_F64, closed);
    assert_int_equal(seen, 1);
    for (int i = 0; i < 15; i++)
        assert_true(fabs(closed[i] - b2[i % 3]) < 1e-7);
    ct_run_clear_taps(run);
    /* Saved and loaded again, the changed tree gives the same bits. */
    ct_model_save(model, "out/glu", CT_F32);
    ct_model *again = ct_model_load(context, "out/glu", CT_DTYPES);
    double same[15];
    ct_read(ct_model_forward(again, run, x), CT_F64, same);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    assert_memory_equal(out, same, sizeof(out));
    ct_run_destroy(run);
    ct_model_destroy(again);
    ct_model_destroy(model);
    ct_scope_close(context, scope);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first), cmocka_unit_test(test_operation), cmocka_unit_test(test_chat),
                                       cmocka_unit_test(test_layer)};
    return cmocka_run_group_tests(tests, enter, leave);
}
