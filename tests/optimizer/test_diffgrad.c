/* test_diffgrad.c - diffGrad: worked numbers, its relation to Adam, large changes, the fault of the published
 * runs. */
#include "optimizer/parameters.h"

typedef struct pair {
    ct_context *context;
    ct_scope scope;
    ct_parameter a, b;
    ct_optimizer *one, *other;
} pair;

/* The optimizers keep the addresses of `a` and `b`, so a pair is filled in where it stands. */
static void open_pair(pair *f, const char *method, const char *options, const char *other,
                      const char *other_options) {
    f->context = start_context(1);
    f->scope = ct_scope_open(f->context);
    f->a = make_parameter(f->context, "a", (const float[]){0, 0}, 2);
    f->b = make_parameter(f->context, "b", (const float[]){0, 0}, 2);
    f->one = make_optimizer(f->context, method, options);
    f->other = make_optimizer(f->context, other, other_options);
    ct_optimizer_add(f->one, &f->a, &(ct_parameter_group){1, 0});
    ct_optimizer_add(f->other, &f->b, &(ct_parameter_group){1, 0});
    ct_optimizer_record(f->one, true);
}

static void close_pair(pair *f) {
    ct_optimizer_destroy(f->one);
    ct_optimizer_destroy(f->other);
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

static void step(pair *f, float first, float second, double rate, double other_rate) {
    set_gradient(&f->a, (const float[]){first, second});
    set_gradient(&f->b, (const float[]){first, second});
    assert_int_equal(ct_optimizer_step(f->one, rate, 1), CT_OK);
    assert_int_equal(ct_optimizer_step(f->other, other_rate, 1), CT_OK);
}

static void worked_numbers(void **state) {
    (void)state;
    static const double xi[] = {0.73105858, 0.5, 0.95257413},
                        theta[] = {-0.07310583, -0.12310582, -0.11589966};
    static const float g[] = {1, 1, -2};
    pair f;
    open_pair(&f, "diffgrad", NULL, "adam", NULL);
    for (int s = 0; s < 3; s++) {
        step(&f, g[s], g[s], 0.1, 0.1);
        assert_near(statistic_named(f.one, 0, "xi_mean"), xi[s], 1e-6);
        assert_near(values_of(&f.a)[0], theta[s], 1e-6);
        assert_true(values_of(&f.a)[0] == values_of(&f.a)[1]);
    }
    close_pair(&f);
}

/* After the first step a constant gradient has xi = 1/2. Both parameters start their comparison at step two.
 */
static void constant_gradient(void **state) {
    (void)state;
    pair f;
    open_pair(&f, "diffgrad", NULL, "adam", NULL);
    step(&f, 0.3f, -7, 0.1, 0);
    double start[2] = {values_of(&f.a)[0], values_of(&f.a)[1]};
    for (int s = 0; s < 20; s++)
        step(&f, 0.3f, -7, 0.01, 0.005);
    for (int i = 0; i < 2; i++)
        assert_near(values_of(&f.a)[i] - start[i], values_of(&f.b)[i], 2e-6);
    /* Each step by itself, from 0, to the rounding of f32: a relative 1e-7 and what two formulas differ by.
     */
    for (int s = 0; s < 5; s++) {
        for (int i = 0; i < 2; i++) {
            ((float *)ct_data_mutable(f.a.tensor))[i] = 0;
            ((float *)ct_data_mutable(f.b.tensor))[i] = 0;
        }
        step(&f, 0.3f, -7, 0.01, 0.005);
        for (int i = 0; i < 2; i++)
            assert_true(fabs((double)(values_of(&f.a)[i] / values_of(&f.b)[i]) - 1) <= 5e-7);
    }
    close_pair(&f);
}

/* Changes above 50: xi is 1, without overflow, and the step is Adam's. */
static void huge_changes(void **state) {
    (void)state;
    pair f;
    open_pair(&f, "diffgrad", NULL, "adam", NULL);
    for (int s = 0; s < 10; s++) {
        float g = (s % 2 ? -1.0f : 1.0f) * (s == 4 ? 1e30f : 1000.0f);
        step(&f, s == 4 ? 3000 : g, s == 4 ? -9000 : g * 2, 0.1, 0.1);
        assert_true(statistic_named(f.one, 0, "xi_mean") == 1);
    }
    for (int i = 0; i < 2; i++)
        assert_near(values_of(&f.a)[i], values_of(&f.b)[i], 1e-5);
    step(&f, 3e18f, -3e18f, 0.1, 0.1);
    assert_true(isfinite(values_of(&f.a)[0]) && isfinite(values_of(&f.a)[1]));
    close_pair(&f);
}

/* The published fault: from step two on Adam at half the rate, whatever the gradients do. */
static void alias(void **state) {
    (void)state;
    pair f;
    open_pair(&f, "diffgrad", "{\"alias\": true}", "adam", NULL);
    step(&f, 1, -4, 0.1, 0);
    double start[2] = {values_of(&f.a)[0], values_of(&f.a)[1]};
    for (int s = 1; s < 8; s++) {
        step(&f, (float)noise(0, s), (float)noise(1, s), 0.1, 0.05);
        assert_true(statistic_named(f.one, 0, "xi_mean") == 0.5);
    }
    for (int i = 0; i < 2; i++)
        assert_near(values_of(&f.a)[i] - start[i], values_of(&f.b)[i], 1e-4);
    close_pair(&f);
}

/* raw: epsilon stands under the corrected root divided by sqrt(1 - beta2); corrected: beside it. */
static void epsilon_modes(void **state) {
    (void)state;
    static const char *const modes[] = {"{\"epsilon\": 0.1}",
                                        "{\"epsilon\": 0.1, \"eps_mode\": \"corrected\"}"};
    double xi = 1 / (1 + exp(-1.0)), root = sqrt(0.001);
    const double expected[] = {-0.1 * root / 0.1 * xi * 0.1 / (root + 0.1), -0.1 * xi / (1 + 0.1)};
    for (int i = 0; i < 2; i++) {
        pair f;
        open_pair(&f, "diffgrad", modes[i], "adam", NULL);
        step(&f, 1, 1, 0.1, 0.1);
        assert_near(values_of(&f.a)[0], expected[i], 1e-6);
        close_pair(&f);
    }
}

/* The last gradient that is kept includes the decay. */
static void decay_is_in_the_last_gradient(void **state) {
    (void)state;
    pair f;
    open_pair(&f, "diffgrad", NULL, "adam", NULL);
    ct_parameter p = make_parameter(f.context, "p", (const float[]){2}, 1);
    ct_optimizer_add(f.one, &p, &(ct_parameter_group){1, 0.5});
    set_gradient(&p, (const float[]){3});
    assert_int_equal(ct_optimizer_step(f.one, 0.1, 1), CT_OK);
    assert_near(*(const float *)ct_data(state_named(f.one, "previous_grad.p")), 4, 1e-7);
    close_pair(&f);
}

static void refuses(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"{\"beta1\": 1.0}", "optimizer.beta1"},
                                         {"{\"beta2\": -0.1}", "optimizer.beta2"},
                                         {"{\"epsilon\": 0}", "optimizer.epsilon"},
                                         {"{\"eps_mode\": \"rare\"}", "raw"}};
    ct_context *context = start_context(1);
    for (int i = 0; i < 4; i++) {
        assert_null(make_optimizer(context, "diffgrad", bad[i][0]));
        ASSERT_ERROR(context, CT_ERROR_ARGUMENT, bad[i][1]);
    }
    end_tensors(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_numbers), cmocka_unit_test(constant_gradient),
        cmocka_unit_test(huge_changes),   cmocka_unit_test(alias),
        cmocka_unit_test(epsilon_modes),  cmocka_unit_test(decay_is_in_the_last_gradient),
        cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
