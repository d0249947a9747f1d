/* reach_h_derived.c - a weight that is a function of other parameters: linear combinations of templates
 * (MixtureGrowth, arXiv:2311.04251), put in the places of two weights by an overlay. Gradients reach the
 * templates, the model is trained, and saved both ways: with its templates, and multiplied out. */
#include "reach.h"

enum { IN = 8, HIDDEN = 24, CLASSES = 4, SAMPLES = 128, TEMPLATES = 3 };

/* Both halves of 0.weight [HIDDEN, IN] combine the same templates [TEMPLATES, HIDDEN/2, IN] with coefficients
 * of their own [2, TEMPLATES]. */
static const char templates_name[] = "carat.0.weight.templates",
                  coefficients_name[] = "carat.0.weight.coefficients";

static ct_tensor *combine(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)run;
    ct_model *model = user;
    if (strcmp(slot->name, "weight") != 0 || strcmp(ct_module_path(slot->module), "0") != 0) return present;
    ct_tensor *templates = ct_model_find(model, templates_name)->tensor;
    ct_tensor *coefficients = ct_model_find(model, coefficients_name)->tensor;
    ct_tensor *flat = ct_reshape(templates, CT_DIMS(TEMPLATES, HIDDEN / 2 * IN));
    return ct_reshape(ct_matmul(coefficients, flat), CT_DIMS(HIDDEN, IN));
}

static ct_run *derived_run(ct_model *model) {
    ct_run *run = ct_run_create(context, NULL);
    const ct_overlay overlay = {combine, model};
    ct_run_push_overlay(run, &overlay);
    return run;
}

static ct_model *mlp(ct_dtype dtype) {
    ct_model *model = model_from("{\"model_type\":\"mlp\",\"sizes\":[8,24,4],\"activation\":\"relu\"}", 3);
    ct_random random = ct_random_make(6, 6);
    ct_model_add_parameter(
        model, templates_name,
        ct_random_normal_tensor(context, CT_F32, CT_DIMS(TEMPLATES, HIDDEN / 2, IN), 0, 0.4, &random));
    ct_model_add_parameter(model, coefficients_name,
                           ct_random_normal_tensor(context, CT_F32, CT_DIMS(2, TEMPLATES), 0, 1, &random));
    ct_model_cast(model, dtype);
    make_leaves(model);
    return model;
}

static void make_data(ct_dtype dtype, ct_tensor **x, ct_tensor **labels) {
    ct_random random = ct_random_make(2, ct_random_stream("clusters"));
    ct_tensor *centres = ct_random_normal_tensor(context, dtype, CT_DIMS(CLASSES, IN), 0, 1, &random);
    *labels = ct_random_integer_tensor(context, CT_I64, CT_DIMS(SAMPLES), 0, CLASSES, &random);
    *x = ct_add(ct_index_select(centres, 0, *labels),
                ct_random_normal_tensor(context, dtype, CT_DIMS(SAMPLES, IN), 0, 0.5, &random));
}

static ct_tensor *loss_of(ct_model *model, ct_run *run, ct_tensor *x, ct_tensor *labels) {
    ct_run_reset(run); /* weights are derived anew */
    return ct_cross_entropy(ct_model_forward(model, run, x), labels, NULL);
}

/* Central differences on templates and coefficients; the weight that is not in its place gets nothing. */
static void test_gradients(void **state) {
    (void)state;
    ct_model *model = mlp(CT_F64);
    ct_run *run = derived_run(model);
    ct_tensor *x, *labels;
    make_data(CT_F64, &x, &labels);
    ct_backward(loss_of(model, run, x, labels), NULL, CT_GRAD_DEFAULT);
    assert_ok();
    assert_null(ct_gradient(ct_model_find(model, "0.weight")->tensor));
    const char *const names[] = {templates_name, coefficients_name, "2.weight"};
    for (int which = 0; which < 3; which++) {
        ct_tensor *leaf = ct_model_find(model, names[which])->tensor;
        double *gradient = values(ct_gradient(leaf)), *data = ct_data_mutable(leaf), sum = 0;
        for (int64_t i = 0; i < ct_count(leaf); i += 1 + ct_count(leaf) / 12) {
            double present = data[i];
            data[i] = present + 1e-6;
            double above = item(loss_of(model, run, x, labels));
            data[i] = present - 1e-6;
            double below = item(loss_of(model, run, x, labels));
            data[i] = present;
            assert_near(gradient[i], (above - below) / 2e-6, 1e-7);
            sum += fabs(gradient[i]);
        }
        assert_true(sum > 1e-3);
        free(gradient);
    }
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void train(ct_model *model, ct_run *run, ct_tensor *x, ct_tensor *labels) {
    double first = 0, last = 0;
    for (int step = 0; step < 150; step++) {
        ct_scope scope = ct_scope_open(context);
        ct_tensor *loss = loss_of(model, run, x, labels);
        last = item(loss);
        if (step == 0) first = last;
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
        for (int64_t i = 0; i < ct_model_parameter_count(model); i++) {
            ct_tensor *leaf = ct_model_parameter(model, i)->tensor;
            if (!ct_gradient(leaf)) continue;
            ct_add_into(leaf, ct_gradient(leaf), -0.2);
            ct_gradient_set(leaf, NULL);
        }
        ct_scope_close(context, scope);
    }
    print_message("loss %.3f -> %.3f\n", first, last);
    assert_ok();
    assert_true(last < 0.3 * first);
}

static void check_reloaded(const char *folder, bool derived, ct_tensor *x, ct_tensor *expected) {
    ct_model *model = ct_model_load(context, folder, CT_DTYPES);
    assert_ok();
    ct_run *run = derived ? derived_run(model) : ct_run_create(context, NULL);
    assert_int_equal(ct_model_parameter_count(model), derived ? 6 : 4);
    assert_true(derived == (ct_model_find(model, templates_name) != NULL));
    if (derived) assert_true(ct_model_find(model, templates_name)->trainable);
    assert_same_bits(ct_model_forward(model, run, x), expected);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

static void test_trained_and_saved(void **state) {
    (void)state;
    ct_model *model = mlp(CT_F32);
    ct_run *run = derived_run(model);
    ct_tensor *x, *labels;
    make_data(CT_F32, &x, &labels);
    train(model, run, x, labels);
    ct_run_reset(run);
    ct_tensor *expected = ct_model_forward(model, run, x);
    char folder[] = "/tmp/carat-reach-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *with_templates = ct_path_join(context, folder, "templates"),
         *plain = ct_path_join(context, folder, "plain");
    assert_int_equal(ct_model_save(model, with_templates, CT_DTYPES), CT_OK);
    assert_int_equal(ct_model_save_resolved(model, run, plain), CT_OK);
    check_reloaded(with_templates, true, x, expected);
    check_reloaded(plain, false, x, expected);
    /* The folder with templates keeps the weight that was never in its place: without the overlay it is used.
     */
    ct_model *bare = ct_model_load(context, with_templates, CT_DTYPES);
    assert_same_bits(ct_model_find(bare, "0.weight")->tensor, ct_model_find(model, "0.weight")->tensor);
    ct_run *no_overlay = ct_run_create(context, NULL);
    assert_true(worst_difference(ct_model_forward(bare, no_overlay, x), expected) > 0.1);
    ct_run_destroy(no_overlay);
    ct_model_destroy(bare);
    ct_folder_remove(context, folder);
    ct_free(context, with_templates);
    ct_free(context, plain);
    ct_run_destroy(run);
    ct_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(test_gradients), reach_test(test_trained_and_saved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
