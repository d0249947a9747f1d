/* test_adamp.c - AdamP and SGDP: the worked numbers, the two views and the one decision, equality with AdamW
 * and SGD when nothing is projected, the mechanism on the scale-invariant Rosenbrock function. */
#include "optimizer/parameters.h"

typedef struct fixture {
    ct_context *context;
    ct_scope scope;
    ct_parameter p;
    ct_optimizer *optimizer;
} fixture;

/* The optimizer keeps the address of `p`, so a fixture is filled in where it stands. */
static void open_fixture(fixture *f, const char *method, const char *options, double decay, int64_t rows,
                         int64_t columns, const float *w) {
    f->context = start_context(2);
    f->scope = ct_scope_open(f->context);
    f->p = make_shaped(f->context, "w", CT_DIMS(rows, columns), w);
    f->optimizer = make_optimizer(f->context, method, options);
    ct_optimizer_add(f->optimizer, &f->p, &(ct_parameter_group){1, decay});
    ct_optimizer_record(f->optimizer, true);
}

static void close_fixture(fixture *f) {
    ct_optimizer_destroy(f->optimizer);
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

static void step(fixture *f, const float *g, double rate) {
    set_gradient(&f->p, g);
    assert_int_equal(ct_optimizer_step(f->optimizer, rate, 1), CT_OK);
}

static const float w0[4] = {3, 4, 0, 2}, at_right_angles[4] = {4, -3, 1, 0};

/* Rows at right angles to their gradients; a projection of g instead of q, or before the moments, fails step
 * two. */
static void two_steps(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "adamp", NULL, 0.01, 2, 2, w0);
    step(&f, at_right_angles, 0.1);
    assert_all_near(&f.p, (const double[]){2.8877, 4.0836, -0.1, 1.9998}, 1e-6);
    assert_true(statistic_named(f.optimizer, 0, "mode") == 1);
    assert_near(statistic_named(f.optimizer, 0, "threshold"), 0.1 / sqrt(2), 1e-12);
    step(&f, at_right_angles, 0.1);
    assert_all_near(&f.p, (const double[]){2.77360569, 4.16366873, -0.19974057, 1.99461199}, 1e-6);
    close_fixture(&f);
}

static void no_projection(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "adamp", NULL, 0.01, 2, 2, w0);
    step(&f, (const float[]){1, 0, 0, 1}, 0.1);
    assert_all_near(&f.p, (const double[]){2.897, 3.996, 0, 1.898}, 1e-6);
    assert_true(statistic_named(f.optimizer, 0, "mode") == 0);
    assert_near(statistic_named(f.optimizer, 0, "max_cos"), 1, 1e-6); /* of rows .6 and 1 */
    close_fixture(&f);
}

static void whole_tensor(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "adamp", NULL, 0.01, 2, 2, (const float[]){1, 0, 0, 1});
    step(&f, (const float[]){1, 1, 1, -1}, 0.1);
    assert_all_near(&f.p, (const double[]){0.8999, -0.1, -0.1, 1.0999}, 1e-6);
    assert_true(statistic_named(f.optimizer, 0, "mode") == 2);
    assert_near(statistic_named(f.optimizer, 0, "threshold"), 0.05, 1e-12);
    assert_near(statistic_named(f.optimizer, 0, "max_cos"), 0, 1e-7);
    static const char *const words[] = {"none", "rows", "whole"};
    for (int i = 0; i < ct_optimizer_statistic_count(f.optimizer); i++) {
        bool mode = strcmp(ct_optimizer_statistic_name(f.optimizer, i), "mode") == 0;
        assert_true(ct_optimizer_statistic_is_word(f.optimizer, i) == mode);
        for (int v = 0; mode && v < 3; v++)
            assert_string_equal(ct_optimizer_statistic_word(f.optimizer, i, v), words[v]);
        assert_null(ct_optimizer_statistic_word(f.optimizer, i, 3));
        assert_null(ct_optimizer_statistic_word(f.optimizer, i, NAN));
    }
    close_fixture(&f);
}

/* What a step moved has no part along the rows (decay is off). */
static void moves_at_right_angles(void **state) {
    const char *method = *state;
    enum { ROWS = 7, COLUMNS = 300 };
    static float w[ROWS * COLUMNS], g[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        w[i] = (float)noise(i, 0);
    fixture f;
    open_fixture(&f, method, *method == 's' ? "{\"momentum\": 0.9}" : NULL, 0, ROWS, COLUMNS, w);
    for (int s = 1; s <= 3; s++) {
        memcpy(w, values_of(&f.p), sizeof(w));
        for (int r = 0; r < ROWS; r++) {
            double along = 0, square = 0;
            for (int c = 0; c < COLUMNS; c++) {
                double x = w[r * COLUMNS + c], y = noise(r * COLUMNS + c, s);
                along += x * y;
                square += x * x;
            }
            for (int c = 0; c < COLUMNS; c++)
                g[r * COLUMNS + c] = (float)(noise(r * COLUMNS + c, s) - along / square * w[r * COLUMNS + c]);
        }
        step(&f, g, 1e-3);
        assert_true(statistic_named(f.optimizer, 0, "mode") == 1);
        for (int r = 0; r < ROWS; r++) {
            double along = 0, square = 0;
            for (int c = 0; c < COLUMNS; c++) {
                double x = w[r * COLUMNS + c];
                along += x * ((double)values_of(&f.p)[r * COLUMNS + c] - x);
                square += x * x;
            }
            assert_true(fabs(along) < 1e-6 * square);
        }
    }
    close_fixture(&f);
}

enum { COUNT = 6000 };

/* delta 0: bit for bit AdamW, with decay; and SGD without (SGD's decay goes through the gradient, SGDP's does
 * not). */
static void without_delta(void **state) {
    const char *const *pair = *state;
    static float w[COUNT], left[COUNT];
    for (int i = 0; i < COUNT; i++)
        w[i] = (float)noise(i, 0);
    for (int side = 0; side < 2; side++) {
        fixture f;
        open_fixture(&f, pair[side], pair[2 + side], *pair[4] == 'd' ? 0.1 : 0, 60, 100, w);
        for (int s = 1; s <= 4; s++) {
            set_noise(&f.p, s);
            assert_int_equal(ct_optimizer_step(f.optimizer, 0.01, 1), CT_OK);
        }
        if (side == 0)
            memcpy(left, values_of(&f.p), sizeof(left));
        else
            assert_memory_equal(left, values_of(&f.p), sizeof(left));
        assert_memory_not_equal(w, values_of(&f.p), sizeof(w));
        close_fixture(&f);
    }
}

/* With decay: SGD without, on weights that were decayed before its step. */
static void sgdp_decoupled(void **state) {
    (void)state;
    static float w[COUNT], mine[COUNT];
    for (int i = 0; i < COUNT; i++)
        w[i] = (float)noise(i, 0);
    for (int side = 0; side < 2; side++) {
        fixture f;
        open_fixture(&f, side ? "sgd" : "sgdp",
                     side ? "{\"momentum\": 0.75}" : "{\"momentum\": 0.75, \"delta\": 0}", side ? 0 : 0.1, 60,
                     100, w);
        for (int s = 1; s <= 4; s++) {
            float *values = ct_data_mutable(f.p.tensor), keep = (float)(1 - 0.01 * 0.1 / (1 - 0.75));
            for (int i = 0; side && i < COUNT; i++)
                values[i] *= keep;
            set_noise(&f.p, s);
            assert_int_equal(ct_optimizer_step(f.optimizer, 0.01, 1), CT_OK);
        }
        if (side == 0)
            memcpy(mine, values_of(&f.p), sizeof(mine));
        else
            assert_memory_equal(mine, values_of(&f.p), sizeof(mine));
        close_fixture(&f);
    }
}

/* SGDP's decay is that of the weights, over 1 - momentum; a tenth of it where it projects. */
static void sgdp_decay(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgdp", "{\"momentum\": 0.9, \"dampening\": 0.5}", 0.01, 2, 2, w0);
    step(&f, at_right_angles, 0.1);
    double keep = 1 - 0.1 * 0.01 * 0.1 / (1 - 0.9);
    assert_all_near(&f.p, (const double[]){3 * keep - 0.1 * 2, 4 * keep + 0.1 * 1.5, -0.1 * 0.5, 2 * keep},
                    1e-6);
    step(&f, (const float[]){1, 0, 0, 1}, 0.1); /* not projected: b = .9 b + .5 g, decay at full strength */
    double full = 1 - 0.1 * 0.01 / (1 - 0.9);
    assert_all_near(&f.p,
                    (const double[]){(3 * keep - 0.2) * full - 0.1 * (0.9 * 2 + 0.5),
                                     (4 * keep + 0.15) * full + 0.1 * 0.9 * 1.5,
                                     -0.05 * full - 0.1 * 0.9 * 0.5, 2 * keep * full - 0.1 * 0.5},
                    1e-6);
    close_fixture(&f);
}

/* Vectors are never projected. */
static void vectors(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "adamp", NULL, 0, 2, 2, w0);
    ct_parameter bias = make_parameter(f.context, "bias", (const float[]){3, 4}, 2);
    ct_optimizer_add(f.optimizer, &bias, &(ct_parameter_group){1, 0});
    set_gradient(&bias, (const float[]){4, -3});
    assert_int_equal(ct_optimizer_step(f.optimizer, 0.1, 1), CT_OK);
    assert_near(values_of(&bias)[0], 2.9, 1e-6);
    assert_near(values_of(&bias)[1], 4.1, 1e-6);
    assert_true(statistic_named(f.optimizer, 1, "mode") == 0);
    close_fixture(&f);
}

/* h(w) = (1 - x)^2 + 5 (y - x^2)^2 with x = w0 / w2, y = w1 / w2 does not depend on the scale of w. */
static double rosenbrock(const float *w, float *g) {
    double x = (double)w[0] / (double)w[2], y = (double)w[1] / (double)w[2];
    double dx = -2 * (1 - x) - 20 * x * (y - x * x), dy = 10 * (y - x * x);
    if (g) {
        g[0] = (float)(dx / (double)w[2]);
        g[1] = (float)(dy / (double)w[2]);
        g[2] = (float)(-(dx * x + dy * y) / (double)w[2]);
    }
    return (1 - x) * (1 - x) + 5 * (y - x * x) * (y - x * x);
}

static double descend(const char *method, const char *options, double *growth) {
    const float w[3] = {-0.6f, 0.8f, 0.6f};
    fixture f;
    open_fixture(&f, method, options, 0, 1, 3, w);
    double before = sqrt(0.36 + 0.64 + 0.36);
    for (int s = 0; s < 400; s++) {
        float g[3];
        rosenbrock(values_of(&f.p), g);
        step(&f, g, 1e-3);
    }
    *growth = statistic_named(f.optimizer, 0, "norm") / before;
    double loss = rosenbrock(values_of(&f.p), NULL);
    close_fixture(&f);
    return loss;
}

static void slower_growth(void **state) {
    (void)state;
    double growth, momentum_growth, projected_growth;
    double plain = descend("sgd", NULL, &growth);
    double momentum = descend("sgd", "{\"momentum\": 0.9}", &momentum_growth);
    double projected = descend("sgdp", "{\"momentum\": 0.9, \"delta\": 1e6}", &projected_growth);
    assert_near(plain, 1.237, 1e-3);
    assert_near(growth, 1.001, 1e-3);
    assert_near(momentum, 1.243e-3, 0.01);
    assert_near(momentum_growth, 1.280, 1e-3);
    assert_true(projected < 0.01 * momentum);
    assert_near(projected_growth, 1.016, 1e-3);
    assert_true(projected_growth - 1 < 0.1 * (momentum_growth - 1));
}

static void nesterov(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "adamp", "{\"nesterov\": true}", 0, 2, 2, w0);
    step(&f, (const float[]){1, 0, 0, 1}, 0.1);
    /* q = (beta1 m + (1 - beta1) g) / (1 - beta1) / |g| = (0.09 + 0.1) / 0.1. */
    assert_all_near(&f.p, (const double[]){3 - 0.19, 4, 0, 2 - 0.19}, 1e-6);
    close_fixture(&f);
}

/* Weights [in, out]: the same step as of the transposed weight [out, in]. */
static void transposed(void **state) {
    (void)state;
    enum { IN = 40, OUT = 70 };
    static float w[IN * OUT], turned[IN * OUT], g[IN * OUT], turned_g[IN * OUT];
    for (int i = 0; i < IN * OUT; i++) {
        w[i] = (float)noise(i, 0);
        turned[i % IN * OUT + i / IN] = w[i];
    }
    fixture f;
    open_fixture(&f, "adamp", "{\"delta\": 1e6}", 0.1, OUT, IN, w);
    ct_module *module = ct_module_create(f.context, ct_module_kind_find(f.context, "conv1d"), "c_fc", NULL);
    ct_slot slot = {.name = "weight", .module = module, .ndim = 2, .shape = {IN, OUT}};
    ct_parameter p = make_shaped(f.context, "c_fc.weight", CT_DIMS(IN, OUT), turned);
    p.slot = &slot;
    ct_optimizer_add(f.optimizer, &p, &(ct_parameter_group){1, 0.1});
    for (int s = 1; s <= 2; s++) {
        for (int i = 0; i < IN * OUT; i++) {
            g[i] = (float)noise(i, s);
            turned_g[i % IN * OUT + i / IN] = g[i];
        }
        set_gradient(&p, turned_g);
        step(&f, g, 0.01);
        assert_true(statistic_named(f.optimizer, 0, "mode") == 1 &&
                    statistic_named(f.optimizer, 1, "mode") == 1);
    }
    for (int i = 0; i < IN * OUT; i++)
        assert_true(values_of(&p)[i % IN * OUT + i / IN] == values_of(&f.p)[i]);
    ct_module_destroy(module);
    close_fixture(&f);
}

static void refuses(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"{\"beta1\": 1.0}", "optimizer.beta1"},
                                         {"{\"delta\": -0.1}", "optimizer.delta"},
                                         {"{\"wd_ratio\": 1.5}", "optimizer.wd_ratio"},
                                         {"{\"epsilon\": 0}", "optimizer.epsilon"}};
    ct_context *context = start_context(1);
    for (int i = 0; i < 4; i++) {
        assert_null(make_optimizer(context, "adamp", bad[i][0]));
        ASSERT_ERROR(context, CT_ERROR_ARGUMENT, bad[i][1]);
    }
    assert_null(make_optimizer(context, "sgdp", "{\"nesterov\": true}"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "optimizer.nesterov", "momentum above 0");
    end_tensors(context);
}

int main(void) {
    static const char *const adam_pair[] = {"adamw", "adamp", NULL, "{\"delta\": 0}", "decays"};
    static const char *const sgd_pair[] = {"sgd", "sgdp", "{\"momentum\": 0.9, \"nesterov\": true}",
                                           "{\"momentum\": 0.9, \"nesterov\": true, \"delta\": 0}", ""};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_steps),
        cmocka_unit_test(no_projection),
        cmocka_unit_test(whole_tensor),
        {"adamp moves at right angles", moves_at_right_angles, NULL, NULL, (void *)(uintptr_t) "adamp"},
        {"sgdp moves at right angles", moves_at_right_angles, NULL, NULL, (void *)(uintptr_t) "sgdp"},
        {"adamp without delta", without_delta, NULL, NULL, (void *)(uintptr_t)adam_pair},
        {"sgdp without delta", without_delta, NULL, NULL, (void *)(uintptr_t)sgd_pair},
        cmocka_unit_test(sgdp_decay),
        cmocka_unit_test(sgdp_decoupled),
        cmocka_unit_test(vectors),
        cmocka_unit_test(slower_growth),
        cmocka_unit_test(nesterov),
        cmocka_unit_test(transposed),
        cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
