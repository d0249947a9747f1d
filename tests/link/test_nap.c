/* test_nap.c - NaP: projection to the initial norm, scale invariance, resuming with the stored norms, the
 * equivalence that the method rests on, gains and offsets of norms, what is excluded or refused, warnings. */
#include "optimizer/parameters.h"
#include <carat/model.h>
#include <carat/ops.h>

static void sum_log(void *user, ct_log_level level, const char *message) {
    char *text = user;
    if (level == CT_LOG_WARNING) snprintf(text + strlen(text), 1024 - strlen(text), "%s\n", message);
}

typedef struct fixture {
    ct_context *context;
    ct_scope scope;
    ct_optimizer *optimizer;
    char warnings[1024];
} fixture;

static void open_fixture(fixture *f, const char *method, const char *options) {
    memset(f, 0, sizeof(*f));
    f->context = start_context(2);
    ct_context_set_log(f->context, sum_log, f->warnings, CT_LOG_WARNING);
    f->scope = ct_scope_open(f->context);
    f->optimizer = make_optimizer(f->context, method, NULL);
    assert_int_equal(add_link(f->optimizer, f->context, "nap", options), CT_OK);
}

static void close_fixture(fixture *f) {
    ct_optimizer_destroy(f->optimizer);
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

/* [3, 4] has norm 5; a step to [6, 8] is projected back. A zero matrix is excluded, with a warning. */
static void to_the_initial_norm(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgd", NULL);
    ct_parameter p = make_shaped(f.context, "w", CT_DIMS(1, 2), (const float[]){3, 4});
    ct_parameter zero = make_shaped(f.context, "zero", CT_DIMS(1, 2), (const float[]){0, 0});
    ct_parameter bias = make_parameter(f.context, "bias", (const float[]){1}, 1);
    ct_optimizer_add(f.optimizer, &p, &(ct_parameter_group){1, 0.1});
    ct_optimizer_add(f.optimizer, &zero, &(ct_parameter_group){1, 0});
    ct_optimizer_add(f.optimizer, &bias, &(ct_parameter_group){1, 0});
    ct_optimizer_record(f.optimizer, true);
    set_gradient(&p, (const float[]){-3 - 0.3f, -4 - 0.4f});
    set_gradient(&zero, (const float[]){0, 0});
    set_gradient(&bias, (const float[]){-1});
    assert_int_equal(ct_optimizer_step(f.optimizer, 1, 1), CT_OK);
    assert_all_near(&p, (const double[]){3, 4}, 1e-6);
    assert_near(statistic_named(f.optimizer, 0, "norm_ratio"), 2, 1e-6); /* before the projection */
    assert_near(statistic_named(f.optimizer, 0, "relative_update"), 1, 1e-6);
    assert_true(isnan(statistic_named(f.optimizer, 2, "norm_ratio")) && values_of(&bias)[0] == 2);
    assert_true(values_of(&zero)[0] == 0 && values_of(&zero)[1] == 0);
    assert_non_null(strstr(f.warnings, "\"zero\" is all zero"));
    assert_non_null(strstr(f.warnings, "weight decay has no effect"));
    set_gradient(&zero, (const float[]){-1, 0});
    ct_optimizer_step(f.optimizer, 1, 1); /* it is free to move: not frozen at norm 0 */
    assert_true(values_of(&zero)[0] == 1);
    close_fixture(&f);
}

static void every_second_step(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgd", "{\"every\": 2}");
    ct_parameter p = make_shaped(f.context, "w", CT_DIMS(1, 1), (const float[]){2});
    ct_optimizer_add(f.optimizer, &p, &(ct_parameter_group){1, 0});
    set_gradient(&p, (const float[]){-1});
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_true(values_of(&p)[0] == 3);
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_near(values_of(&p)[0], 2, 1e-6);
    close_fixture(&f);
}

/* Frozen elements stay; the others take up what is missing to the norm. */
static void masked(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgd", NULL);
    ct_parameter p = make_shaped(f.context, "w", CT_DIMS(1, 2), (const float[]){3, 4});
    ct_optimizer_add(f.optimizer, &p, &(ct_parameter_group){1, 0});
    ct_optimizer_set_mask(f.optimizer, &p,
                          ct_from_data(f.context, CT_U8, CT_DIMS(1, 2), (const uint8_t[]){0, 1}));
    set_gradient(&p, (const float[]){-5, -5});
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_true(values_of(&p)[0] == 3);
    assert_near(values_of(&p)[1], 4, 1e-6);
    close_fixture(&f);
}

/* A restored run has the norms of the beginning, not those of the moment. */
static void resumes_with_stored_norms(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgd", "{\"every\": 2}");
    ct_parameter p = make_shaped(f.context, "w", CT_DIMS(1, 2), (const float[]){6, 8}); /* as it was left */
    ct_optimizer_add(f.optimizer, &p, &(ct_parameter_group){1, 0});
    ct_fill(state_named(f.optimizer, "nap.rho.w"), 5);
    ct_fill(state_named(f.optimizer, "step.w"), 1);
    ct_optimizer_set_steps(f.optimizer, 1);
    set_gradient(&p, (const float[]){0, 0});
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_all_near(&p, (const double[]){3, 4}, 1e-6);
    close_fixture(&f);
}

/* ------------------------------------------------------------------------------------------ norm layers */

typedef struct norm_layer {
    ct_module *module;
    ct_parameter gain, offset;
} norm_layer;

static void make_norm(fixture *f, norm_layer *n, const float *gain, const float *offset) {
    ct_value *options = ct_value_map(f->context);
    ct_value_set(options, "width", ct_value_int(f->context, 2));
    n->module = ct_module_create(f->context, ct_module_kind_find(f->context, "layer_norm"), "ln", options);
    ct_value_free(options);
    n->gain = make_parameter(f->context, "ln.weight", gain, 2);
    n->offset = make_parameter(f->context, "ln.bias", offset, 2);
    if (ct_module_slot_count(n->module) == 0) ct_module_kind_of(n->module)->build(n->module);
    n->gain.slot = ct_module_slot_named(n->module, "weight");
    n->offset.slot = ct_module_slot_named(n->module, "bias");
    assert_non_null(n->gain.slot);
    assert_non_null(n->offset.slot);
}

/* d = 2: (g, b) = ([1, 1], [0, 0]) has norm sqrt 2; ([2, 0], [0, 2]) comes back as ([1, 0], [0, 1]). */
static void gain_and_offset(void **state) {
    (void)state;
    fixture f;
    norm_layer n;
    open_fixture(&f, "sgd", NULL);
    make_norm(&f, &n, (const float[]){1, 1}, (const float[]){0, 0});
    ct_optimizer_add(f.optimizer, &n.gain, &(ct_parameter_group){1, 0});
    ct_optimizer_add(f.optimizer, &n.offset, &(ct_parameter_group){1, 0});
    set_gradient(&n.gain, (const float[]){-1, 1});
    set_gradient(&n.offset, (const float[]){0, -2});
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_all_near(&n.gain, (const double[]){1, 0}, 1e-6);
    assert_all_near(&n.offset, (const double[]){0, 1}, 1e-6);
    ct_optimizer_destroy(f.optimizer);
    f.optimizer = NULL;
    ct_module_destroy(n.module);
    close_fixture(&f);
}

/* decay: g = g - rate lambda (g - 1), b = b - rate lambda b, after the step. */
static void pulled(void **state) {
    (void)state;
    fixture f;
    norm_layer n;
    open_fixture(&f, "sgd", "{\"norm_params\": \"decay\", \"lambda\": 0.5}");
    make_norm(&f, &n, (const float[]){1, 3}, (const float[]){0, 2});
    ct_optimizer_add(f.optimizer, &n.gain, &(ct_parameter_group){1, 0});
    ct_optimizer_add(f.optimizer, &n.offset, &(ct_parameter_group){1, 0});
    set_gradient(&n.gain, (const float[]){0, 0});
    set_gradient(&n.offset, (const float[]){10, 0});
    ct_optimizer_step(f.optimizer, 0.1, 1);
    assert_all_near(&n.gain, (const double[]){1, 3 - 0.05 * 2}, 1e-6);
    assert_all_near(&n.offset, (const double[]){-1 + 0.05, 2 - 0.05 * 2}, 1e-6);
    ct_optimizer_destroy(f.optimizer);
    f.optimizer = NULL;
    ct_module_destroy(n.module);
    close_fixture(&f);
}

static void refuses(void **state) {
    (void)state;
    fixture f;
    norm_layer n;
    open_fixture(&f, "sgd", "{\"norm_params\": \"drop\", \"exclude\": [\"*.skip\"]}");
    make_norm(&f, &n, (const float[]){1, 1}, (const float[]){0, 0});
    assert_int_equal(ct_optimizer_add(f.optimizer, &n.gain, &(ct_parameter_group){1, 0}),
                     CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(f.context, CT_ERROR_UNSUPPORTED, "nap.norm_params", "ln.weight", "when a model is built");
    ct_optimizer_destroy(f.optimizer);
    ct_module_destroy(n.module);
    f.optimizer = make_optimizer(f.context, "sgd", NULL);
    assert_int_equal(add_link(f.optimizer, f.context, "nap", "{\"exclude\": \"lm_head\"}"),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(f.context, CT_ERROR_ARGUMENT, "nap.exclude");
    ct_optimizer_destroy(f.optimizer);
    f.optimizer = make_optimizer(f.context, "sgd", NULL);
    assert_int_equal(add_link(f.optimizer, f.context, "nap", "{\"exclude\": [\"*.skip\"]}"), CT_OK);
    ct_parameter lora = make_shaped(f.context, "lora_A", CT_DIMS(1, 2), (const float[]){3, 4});
    ct_parameter skip = make_shaped(f.context, "a.skip", CT_DIMS(1, 2), (const float[]){3, 4});
    assert_int_equal(ct_optimizer_add_as(f.optimizer, &lora, &(ct_parameter_group){1, 0}, CT_ROLE_ADAPTER),
                     CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(f.context, CT_ERROR_UNSUPPORTED, "lora_A", "low-rank");
    ct_optimizer_destroy(f.optimizer);
    f.optimizer = make_optimizer(f.context, "sgd", NULL);
    add_link(f.optimizer, f.context, "nap", "{\"exclude\": [\"*.skip\"]}");
    ct_optimizer_add(f.optimizer, &skip, &(ct_parameter_group){1, 0});
    set_gradient(&skip, (const float[]){-3, -4});
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_all_near(&skip, (const double[]){6, 8}, 0);
    close_fixture(&f);
}

/* ------------------------------------------------------------------------------- what the method rests on */

enum { IN = 6, WIDTH = 8, OUT = 3, ROWS = 10 };

/* x -> norm(x W1') -> relu -> norm(. W2') -> relu -> . W3', norms without gain over the channels. */
static ct_tensor *network(ct_context *context, ct_tensor *x, ct_tensor *const *w) {
    ct_tensor *ones = ct_full(context, CT_F32, CT_DIMS(WIDTH), 1);
    for (int layer = 0; layer < 2; layer++)
        x = ct_relu(ct_layer_norm(ct_linear(x, w[layer], NULL, false, CT_ACT_NONE), ones, NULL, 0));
    return ct_linear(x, w[2], NULL, false, CT_ACT_NONE);
}

static void make_weights(ct_context *context, ct_tensor **w) {
    ct_random random = ct_random_make(2, 2);
    w[0] = ct_random_normal_tensor(context, CT_F32, CT_DIMS(WIDTH, IN), 0, 1, &random);
    w[1] = ct_random_normal_tensor(context, CT_F32, CT_DIMS(WIDTH, WIDTH), 0, 1, &random);
    w[2] = ct_random_normal_tensor(context, CT_F32, CT_DIMS(OUT, WIDTH), 0, 1, &random);
}

static double greatest_difference(const ct_tensor *a, const ct_tensor *b) {
    double most = 0;
    const float *x = ct_data(a), *y = ct_data(b);
    for (int64_t i = 0; i < ct_count(a); i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    return most;
}

static void function_is_unchanged(void **state) {
    (void)state;
    fixture f;
    ct_tensor *w[3];
    ct_parameter p[2];
    open_fixture(&f, "sgd", NULL);
    make_weights(f.context, w);
    ct_random random = ct_random_make(4, 4);
    ct_tensor *x = ct_random_normal_tensor(f.context, CT_F32, CT_DIMS(ROWS, IN), 0, 1, &random);
    for (int i = 0; i < 2; i++) {
        ct_require_grad(w[i], true);
        p[i] =
            (ct_parameter){.name = (char *)(uintptr_t)(i ? "w2" : "w1"), .tensor = w[i], .trainable = true};
        ct_optimizer_add(f.optimizer, &p[i], &(ct_parameter_group){1, 0});
        ct_gradient_set(w[i], ct_zeros_like(w[i]));
    }
    ct_optimizer_step(f.optimizer, 1, 1); /* the norms are recorded */
    ct_scale_into(w[0], 7);
    ct_scale_into(w[1], 0.2);
    ct_tensor *before = ct_clone(network(f.context, x, w));
    ct_optimizer_step(f.optimizer, 1, 1);
    assert_true(greatest_difference(before, network(f.context, x, w)) < 1e-5);
    close_fixture(&f);
}

/* SGD with rate eta, and SGD from weights twice as large with rate 4 eta: the same functions. */
static void twice_as_large(void **state) {
    (void)state;
    fixture f[2];
    ct_tensor *w[2][3], *output[2];
    ct_parameter p[2][2];
    for (int side = 0; side < 2; side++) {
        open_fixture(&f[side], "sgd", NULL);
        make_weights(f[side].context, w[side]);
        for (int i = 0; i < 2; i++) {
            if (side) ct_scale_into(w[side][i], 2);
            ct_require_grad(w[side][i], true);
            p[side][i] = (ct_parameter){
                .name = (char *)(uintptr_t)(i ? "w2" : "w1"), .tensor = w[side][i], .trainable = true};
            ct_optimizer_add(f[side].optimizer, &p[side][i], &(ct_parameter_group){1, 0});
        }
    }
    for (int step = 0; step < 10; step++) {
        for (int side = 0; side < 2; side++) {
            ct_random random = ct_random_make(4, (uint64_t)step);
            ct_context *context = f[side].context;
            ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, IN), 0, 1, &random);
            output[side] = network(context, x, w[side]);
            ct_backward(ct_mean_all(ct_square(ct_add_scalar(output[side], -1))), NULL, CT_GRAD_DEFAULT);
            assert_int_equal(ct_optimizer_step(f[side].optimizer, side ? 0.4 : 0.1, 1), CT_OK);
            ct_optimizer_clear_gradients(f[side].optimizer);
        }
        assert_true(greatest_difference(output[0], output[1]) < 1e-4);
    }
    close_fixture(&f[0]);
    close_fixture(&f[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(to_the_initial_norm),
                                       cmocka_unit_test(every_second_step),
                                       cmocka_unit_test(masked),
                                       cmocka_unit_test(resumes_with_stored_norms),
                                       cmocka_unit_test(gain_and_offset),
                                       cmocka_unit_test(pulled),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(function_is_unchanged),
                                       cmocka_unit_test(twice_as_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
