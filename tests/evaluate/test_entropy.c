/* test_entropy.c - matrix entropy: orthonormal rows, one direction, a worked spectrum, orders; layers of a
 * model. */
#include "reach/reach.h"
#include <carat/evaluate.h>

static double entropy(ct_tensor *z, double alpha) {
    double value = NAN;
    assert_int_equal(ct_matrix_entropy(z, alpha, &value), CT_OK);
    return value;
}

static void test_values(void **state) {
    (void)state;
    ct_tensor *one = ct_from_data(context, CT_F64, CT_DIMS(3, 2), (const double[]){1, 2, -2, -4, 3, 6});
    for (int i = 0; i < 3; i++) {
        double alpha = (const double[]){1, 2, .5}[i];
        assert_near(entropy(ct_eye(context, CT_F32, 7), alpha), log(7), 1e-12);
        assert_near(entropy(ct_slice(ct_eye(context, CT_F64, 7), 0, 0, 4, 1), alpha), log(4), 1e-12);
        assert_true(entropy(one, alpha) < 1e-6);
    }
    /* Eigenvalues 9, 1 and 0: p = .9, .1. */
    ct_tensor *z = ct_from_data(context, CT_F64, CT_DIMS(2, 3), (const double[]){0, 3, 0, 1, 0, 0});
    assert_near(entropy(z, 1), -.9 * log(.9) - .1 * log(.1), 1e-12);
    assert_near(entropy(z, 2), -log(.82), 1e-12);
    assert_near(entropy(ct_transpose(z, 0, 1), 2), -log(.82), 1e-12);
    ct_tensor *both[] = {z, ct_from_data(context, CT_F64, CT_DIMS(2, 3), (const double[]){1, 0, 0, 0, 1, 0})};
    assert_near(entropy(ct_stack(both, 2, 0), 2), (-log(.82) + log(2)) / 2, 1e-12);
    assert_near(entropy(ct_zeros(context, CT_F32, CT_DIMS(2, 2)), 1), 0, 0);
    double value;
    assert_int_equal(ct_matrix_entropy(z, 0, &value), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
}

static void test_layers(void **state) {
    (void)state;
    ct_model *model =
        model_from("{\"model_type\":\"gpt2\",\"vocab_size\":17,\"n_positions\":8,\"n_embd\":16,\"n_layer\":2,"
                   "\"n_head\":2,\"initializer_range\":0.2}",
                   3);
    int32_t ids[3 * 8];
    for (int i = 0; i < 24; i++)
        ids[i] = i * i % 17;
    ct_entropy_report r[3], same[3];
    assert_int_equal(ct_evaluate_entropy(model, ids, 3, 8, 1, r), CT_OK);
    /* The embeddings, by hand. */
    ct_tensor *table = ct_model_find(model, "wte.weight")->tensor,
              *places = ct_model_find(model, "wpe.weight")->tensor;
    ct_tensor *x = ct_add(ct_embedding(table, ct_from_data(context, CT_I32, CT_DIMS(3, 8), ids)), places);
    assert_near(r[0].sequence, entropy(x, 1), 1e-6);
    for (int l = 0; l < 3; l++)
        assert_true(r[l].sequence > 0 && r[l].sequence <= log(8) && r[l].batch > 0 &&
                    r[l].batch <= log(2) + 1e-9);
    for (int i = 8; i < 24; i++)
        ids[i] = ids[i - 8]; /* rows alike: nothing is left around their mean */
    assert_int_equal(ct_evaluate_entropy(model, ids, 3, 8, 1, same), CT_OK);
    assert_true(same[2].batch < .7 && same[0].batch <= r[0].batch);
    assert_int_equal(ct_evaluate_entropy(model, ids, 1, 8, 1, same), CT_OK);
    assert_true(isnan(same[1].batch));
    ct_model_destroy(model);
    model = model_from("{\"model_type\":\"mlp\",\"sizes\":[2,3]}", 3);
    assert_int_equal(ct_evaluate_entropy(model, ids, 1, 8, 1, same), CT_ERROR_UNSUPPORTED);
    ct_context_clear(context);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_values), reach_test(test_layers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
