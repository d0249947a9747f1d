/* test_mlp.c - the multilayer perceptron against worked numbers, its tree, its gradients, configurations that
 * cannot be. */
#include "model/check.h"

static void test_tree(void **state) {
    (void)state;
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[5,7,6,2],\"dropout\":0.5}", 1);
    static const char *const kinds[] = {"linear",     "activation", "dropout", "linear",
                                        "activation", "dropout",    "linear"};
    ct_module *root = ct_model_root(model);
    assert_int_equal(ct_module_child_count(root), 7);
    for (int i = 0; i < 7; i++)
        assert_string_equal(ct_module_kind_of(ct_module_child(root, i))->name, kinds[i]);
    static const char *const names[] = {"0.weight", "0.bias", "3.weight", "3.bias", "6.weight", "6.bias"};
    assert_int_equal(ct_model_parameter_count(model), 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(ct_model_parameter(model, i)->name, names[i]);
        assert_int_equal(ct_model_parameter(model, i)->no_decay, i % 2);
        assert_ptr_equal(ct_model_find(model, names[i]), ct_model_parameter(model, i));
    }
    assert_int_equal(ct_model_elements(model, false), 5 * 7 + 7 + 7 * 6 + 6 + 6 * 2 + 2);
    ct_model_parameter(model, 0)->trainable = false;
    assert_int_equal(ct_model_elements(model, true), 7 + 7 * 6 + 6 + 6 * 2 + 2);
    assert_int_equal(ct_model_context_length(model), 0);
    assert_int_equal(ct_model_vocabulary(model), 0);
    assert_int_equal(ct_model_layers(model), 0);
    assert_null(ct_model_parameter(model, 6));
    assert_null(ct_model_find(model, "1.weight"));
    assert_null(ct_model_find(model, ""));
    ct_model_destroy(model);
}

/* x = (1, -2): hidden = relu((1*1 + 2*-2 + 0.5, 3*1 + -1*-2 - 1)) = (0, 4); y = 5*0 + 6*4 + 0.25. */
static void test_numbers(void **state) {
    (void)state;
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[2,2,1]}", 1);
    static const double numbers[4][4] = {{1, 2, 3, -1}, {0.5, -1}, {5, 6}, {0.25}};
    for (int i = 0; i < 4; i++)
        ct_write(ct_model_parameter(model, i)->tensor, CT_F64, numbers[i]);
    make_leaves(model);
    ct_run *run = ct_run_create(context, NULL);
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(1, 2), (const float[]){1, -2});
    ct_tensor *y = ct_model_forward(model, run, x);
    assert_near(item(y), 24.25, 0);
    ct_backward(ct_sum_all(y), NULL, CT_GRAD_DEFAULT);
    static const double gradients[4][4] = {{0, 0, 6, -12}, {0, 6}, {0, 4}, {1}};
    for (int i = 0; i < 4; i++) {
        ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
        double *found = values(ct_gradient(leaf));
        for (int64_t j = 0; j < ct_count(leaf); j++)
            assert_near(found[j], gradients[i][j], 0);
        free(found);
    }
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void test_bad_configurations(void **state) {
    (void)state;
    config_refused("{\"model_type\":\"mlp\"}", CT_ERROR_ARGUMENT, "\"sizes\" has 0 entries, expected at least 2");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[3]}", CT_ERROR_ARGUMENT, "\"sizes\" has 1 entries");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":7}", CT_ERROR_ARGUMENT, "sizes");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[3,0]}", CT_ERROR_ARGUMENT, "sizes.1");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[3,-4,5]}", CT_ERROR_ARGUMENT, "sizes.1");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[\"a\",4]}", CT_ERROR_ARGUMENT, "sizes.0");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[2.5,4]}", CT_ERROR_ARGUMENT, "sizes.0");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[9223372036854775807,4]}", CT_ERROR_ARGUMENT, "sizes.0");
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[2,2],\"activation\":\"rleu\"}", CT_ERROR_ARGUMENT, "relu");
    config_refused("{\"model_type\":\"mpl\",\"sizes\":[2,2]}", CT_ERROR_UNSUPPORTED, "did you mean \"mlp\"?");
}

/* Sizes that no machine has: an error, not an overflow. */
static void test_too_large(void **state) {
    (void)state;
    config_refused("{\"model_type\":\"mlp\",\"sizes\":[1000000000,1000000000]}", CT_ERROR_MEMORY, "");
}

static void test_extra_parameters(void **state) {
    (void)state;
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[2,2]}", 1);
    ct_tensor *tensor = ct_zeros(context, CT_F32, CT_DIMS(3));
    ct_parameter *extra = ct_model_add_parameter(model, "scale", tensor);
    assert_string_equal(extra->name, "carat.scale");
    assert_null(extra->slot);
    assert_true(extra->trainable);
    assert_ptr_equal(ct_model_find(model, "carat.scale"), extra);
    assert_null(ct_model_add_parameter(model, "carat.scale", tensor));
    assert_failed_with(CT_ERROR_ARGUMENT, "\"carat.scale\" exists already");
    assert_null(ct_model_add_parameter(model, "scale", tensor)); /* would get the same name */
    assert_failed_with(CT_ERROR_ARGUMENT, "\"carat.scale\" exists already");
    assert_int_equal(ct_model_parameter_count(model), 3);
    assert_int_equal(ct_model_elements(model, true), 6 + 3);
    ct_model_sync(model, 1); /* surgery elsewhere leaves it */
    assert_ptr_equal(ct_model_find(model, "carat.scale"), extra);
    ct_model_cast(model, CT_BF16);
    assert_int_equal(ct_dtype_of(extra->tensor), CT_BF16);
    assert_ok();
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_tree),      reach_test(test_numbers),          reach_test(test_bad_configurations),
        reach_test(test_too_large), reach_test(test_extra_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
