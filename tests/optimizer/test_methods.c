/* test_methods.c - each everyday optimizer against numbers that PyTorch 2 gave for the same three steps, and
 * against the equations of its paper worked step by step in f64. */
#include "optimizer/parameters.h"

enum { STEPS = 3 };
static const float start[6] = {0.5f, -1.0f, 0.25f, 2.0f, 0.125f, -0.75f};
static const float slope[6] = {1.0f, -0.5f, 0.25f, -2.0f, 0.75f, 3.0f};

/* slope, then -slope / 4 + 1/8, then slope + 1/4. */
static double gradient_at(int i, int step) {
    return (double)slope[i] * (step % 2 == 0 ? 1 : -0.25) + 0.125 * step;
}

static void set_step_gradient(ct_parameter *p, int step) {
    float g[6];
    for (int i = 0; i < 6; i++)
        g[i] = (float)gradient_at(i, step);
    set_gradient(p, g);
}

typedef struct known {
    const char *method, *options;
    double rate, decay;
    int64_t rows; /* 0: a vector of three */
    double tolerance, expected[6];
} known;

/* torch.optim.X(lr=rate, weight_decay=decay, ...), version 2.15. Its Muon multiplies in bf16. */
static const known cases[] = {
    {"adam",
     NULL,
     0.1,
     0.01,
     2,
     1e-6,
     {0.264686525, -0.824365973, -0.0195994899, 2.20557213, -0.11485149, -0.973196983}},
    {"adam",
     "{\"beta1\": 0.8, \"beta2\": 0.9, \"amsgrad\": true}",
     0.1,
     0,
     2,
     1e-6,
     {0.270135969, -0.834534347, -0.0172661617, 2.20350337, -0.109750673, -0.969154835}},
    {"adamw",
     NULL,
     0.1,
     0.05,
     2,
     1e-6,
     {0.259055704, -0.81468159, -0.0215646252, 2.1764214, -0.115362935, -0.961187899}},
    {"adagrad",
     "{\"lr_decay\": 0.1, \"initial_accumulator_value\": 0.5}",
     0.1,
     0.01,
     2,
     1e-6,
     {0.367724448, -0.942689717, 0.162366152, 2.11898303, -0.000329043716, -0.888838589}},
    {"rmsprop",
     NULL,
     0.1,
     0.01,
     2,
     2e-6,
     {-1.15002692, -0.0300471485, -1.85039854, 3.32507133, -1.57896507, -2.26879644}},
    {"rmsprop",
     "{\"alpha\": 0.9, \"momentum\": 0.5, \"centered\": true}",
     0.1,
     0,
     2,
     2e-6,
     {-0.298231483, -0.49570632, -0.781897426, 2.66078448, -0.701685607, -1.48924088}},
    {"sgd",
     "{\"momentum\": 0.9, \"nesterov\": true}",
     0.1,
     0.01,
     2,
     1e-6,
     {-0.050558567, -0.840689242, 0.0503585786, 2.83302212, -0.306242615, -2.22093701}},
    {"adafactor",
     NULL,
     0.1,
     0.05,
     2,
     1e-6,
     {0.234667629, -0.893235743, 0.168447912, 2.08218694, -0.0360491574, -0.891748965}},
    {"adafactor", NULL, 0.9, 0, 0, 1e-6, {-0.307192683, -0.404980361, -0.704111695}},
    {"muon",
     NULL,
     0.1,
     0.1,
     2,
     3e-3,
     {0.233378261, -0.924812853, 0.110899247, 2.03393531, 0.0678622946, -0.917629182}},
    {"muon",
     "{\"nesterov\": false, \"adjust\": \"match_rms_adamw\"}",
     0.1,
     0,
     2,
     3e-3,
     {0.414885938, -0.975203276, 0.198444426, 2.03342295, 0.108423732, -0.81901145}},
};

static ct_parameter start_parameter(ct_context *context, int64_t rows) {
    return rows ? make_shaped(context, "w", CT_DIMS(rows, 6 / rows), start)
                : make_parameter(context, "w", start, 3);
}

static void as_torch(void **state) {
    const known *k = *state;
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = start_parameter(context, k->rows);
    ct_optimizer *optimizer = make_optimizer(context, k->method, k->options);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, k->decay});
    for (int step = 0; step < STEPS; step++) {
        set_step_gradient(&p, step);
        assert_int_equal(ct_optimizer_step(optimizer, k->rate, 1), CT_OK);
    }
    assert_all_near(&p, k->expected, k->tolerance);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* Runs three steps of a method on the 2 x 3 matrix. */
static void run(const char *method, const char *options, double rate, double decay, const double *expected) {
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = start_parameter(context, 2);
    ct_optimizer *optimizer = make_optimizer(context, method, options);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, decay});
    for (int step = 0; step < STEPS; step++) {
        set_step_gradient(&p, step);
        assert_int_equal(ct_optimizer_step(optimizer, rate, 1), CT_OK);
    }
    assert_all_near(&p, expected, 2e-6);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void lion(void **state) {
    (void)state;
    double w[6], m[6] = {0};
    for (int i = 0; i < 6; i++)
        w[i] = (double)start[i];
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < 6; i++) {
            double g = gradient_at(i, step), mixed = 0.9 * m[i] + 0.1 * g;
            w[i] = w[i] * (1 - 0.1 * 0.05) - 0.1 * ((mixed > 0) - (mixed < 0));
            m[i] = 0.99 * m[i] + 0.01 * g;
        }
    run("lion", NULL, 0.1, 0.05, w);
}

/* Algorithm 2 with the bias corrections of its authors' code. */
static void lamb(void **state) {
    (void)state;
    double w[6], m[6] = {0}, v[6] = {0}, r[6];
    for (int i = 0; i < 6; i++)
        w[i] = (double)start[i];
    for (int step = 0; step < STEPS; step++) {
        double weights = 0, ratios = 0;
        for (int i = 0; i < 6; i++) {
            double g = gradient_at(i, step);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            r[i] = m[i] / (1 - pow(0.9, step + 1)) / (sqrt(v[i] / (1 - pow(0.999, step + 1))) + 1e-6) +
                   0.05 * w[i];
            weights += w[i] * w[i];
            ratios += r[i] * r[i];
        }
        for (int i = 0; i < 6; i++)
            w[i] -= 0.1 * sqrt(weights / ratios) * r[i];
    }
    run("lamb", NULL, 0.1, 0.05, w);
}

/* Without decay the ratio is 1 (biases, norms): then LAMB is Adam with its own epsilon. */
static void lamb_without_decay(void **state) {
    (void)state;
    double w[6], m[6] = {0}, v[6] = {0};
    for (int i = 0; i < 6; i++)
        w[i] = (double)start[i];
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < 6; i++) {
            double g = gradient_at(i, step);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            w[i] -= 0.1 * m[i] / (1 - pow(0.9, step + 1)) / (sqrt(v[i] / (1 - pow(0.999, step + 1))) + 1e-6);
        }
    run("lamb", NULL, 0.1, 0, w);
}

/* ------------------------------------------------------------------------------------------------ Muon */

/* Five steps of X = a X + b A X + c A A X, A = X X', in f64, for [2, 3]. */
static void orthogonalize(double x[2][3]) {
    double norm = 0;
    for (int i = 0; i < 6; i++)
        norm += x[i / 3][i % 3] * x[i / 3][i % 3];
    norm = sqrt(norm) + 1e-7;
    for (int i = 0; i < 6; i++)
        x[i / 3][i % 3] /= norm;
    for (int step = 0; step < 5; step++) {
        double a[2][2] = {{0}}, p[2][2], y[2][3];
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                for (int k = 0; k < 3; k++)
                    a[i][j] += x[i][k] * x[j][k];
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                p[i][j] = -4.7750 * a[i][j] + 2.0315 * (a[i][0] * a[0][j] + a[i][1] * a[1][j]);
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3; k++)
                y[i][k] = 3.4445 * x[i][k] + p[i][0] * x[0][k] + p[i][1] * x[1][k];
        memcpy(x, y, sizeof(y));
    }
}

/* The same update for a matrix and its transpose, but for the factor sqrt(out / in) of a tall one. */
static void muon_by_hand(void **state) {
    bool tall = *state != NULL;
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    double w[6], b[6] = {0};
    float turned[6];
    for (int i = 0; i < 6; i++) {
        w[i] = (double)start[i];
        turned[i % 3 * 2 + i / 3] = start[i];
    }
    ct_parameter p = tall ? make_shaped(context, "w", CT_DIMS(3, 2), turned) : start_parameter(context, 2);
    ct_optimizer *optimizer = make_optimizer(context, "muon", "{\"precision\": \"f32\"}");
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0.1});
    for (int step = 0; step < STEPS; step++) {
        double x[2][3];
        float g[6];
        for (int i = 0; i < 6; i++) {
            g[tall ? i % 3 * 2 + i / 3 : i] = (float)gradient_at(i, step);
            b[i] = 0.95 * b[i] + 0.05 * gradient_at(i, step);
            x[i / 3][i % 3] = 0.05 * gradient_at(i, step) + 0.95 * b[i];
        }
        orthogonalize(x);
        for (int i = 0; i < 6; i++)
            w[i] = w[i] * (1 - 0.02 * 0.1) - 0.02 * (tall ? sqrt(1.5) : 1) * x[i / 3][i % 3];
        set_gradient(&p, g);
        assert_int_equal(ct_optimizer_step(optimizer, 0.02, 1), CT_OK);
    }
    for (int i = 0; i < 6; i++)
        assert_near(values_of(&p)[tall ? i % 3 * 2 + i / 3 : i], w[i], 1e-5);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* What is no hidden matrix goes with AdamW at 0.015 of the rate. */
static void muon_leaves_the_rest_to_adamw(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter bias = make_parameter(context, "bias", (const float[]){1, 1}, 2);
    ct_parameter table = make_shaped(context, "wte", CT_DIMS(1, 2), (const float[]){1, 1});
    ct_optimizer *optimizer = make_optimizer(context, "muon", NULL);
    ct_optimizer_add(optimizer, &bias, &(ct_parameter_group){1, 0.5});
    ct_optimizer_add_as(optimizer, &table, &(ct_parameter_group){1, 0}, CT_ROLE_EMBEDDING);
    assert_true(has_state(optimizer, "exp_avg.bias") && has_state(optimizer, "exp_avg_sq.wte"));
    assert_false(has_state(optimizer, "momentum_buffer.bias") || has_state(optimizer, "momentum_buffer.wte"));
    set_gradient(&bias, (const float[]){3, -5});
    set_gradient(&table, (const float[]){-3, 5});
    assert_int_equal(ct_optimizer_step(optimizer, 0.02, 1), CT_OK);
    assert_near(values_of(&bias)[0], 1 - 3e-4 * 0.5 - 3e-4, 1e-7);
    assert_near(values_of(&bias)[1], 1 - 3e-4 * 0.5 + 3e-4, 1e-7);
    assert_near(values_of(&table)[0], 1 + 3e-4, 1e-7);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* bf16 products give nearly the same, and singular values land near 1. */
static void muon_in_bf16(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    float zero[64 * 48] = {0};
    ct_parameter a = make_shaped(context, "a", CT_DIMS(48, 64), zero),
                 b = make_shaped(context, "b", CT_DIMS(48, 64), zero);
    ct_optimizer *exact = make_optimizer(context, "muon", "{\"precision\": \"f32\"}");
    ct_optimizer *half = make_optimizer(context, "muon", "{\"precision\": \"bf16\"}");
    ct_optimizer_add(exact, &a, &(ct_parameter_group){1, 0});
    ct_optimizer_add(half, &b, &(ct_parameter_group){1, 0});
    set_noise(&a, 1);
    set_noise(&b, 1);
    assert_int_equal(ct_optimizer_step(exact, 1, 1), CT_OK);
    assert_int_equal(ct_optimizer_step(half, 1, 1), CT_OK);
    double squares = 0, difference = 0;
    for (int i = 0; i < 48 * 64; i++) {
        double x = values_of(&a)[i], y = values_of(&b)[i];
        squares += x * x;
        difference += (x - y) * (x - y);
    }
    assert_true(squares > 0.5 * 48 && squares < 1.3 * 48); /* 48 singular values between 0.7 and 1.2 */
    assert_true(difference > 0 && sqrt(difference / squares) < 0.05);
    ct_optimizer_destroy(exact);
    ct_optimizer_destroy(half);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* ------------------------------------------------------------------------------------------- Adafactor */

static void adafactor_states(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = make_shaped(context, "conv", CT_DIMS(1, 2, 3), start);
    ct_parameter q = start_parameter(context, 2);
    ct_optimizer *optimizer = make_optimizer(context, "adafactor", NULL);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
    ct_optimizer_add(optimizer, &q, &(ct_parameter_group){1, 0});
    assert_false(has_state(optimizer, "variance.conv"));
    set_step_gradient(&p, 0);
    set_step_gradient(&q, 0);
    assert_int_equal(ct_optimizer_step(optimizer, 0.1, 1), CT_OK);
    ct_tensor *row = state_named(optimizer, "row_var.conv"), *column = state_named(optimizer, "col_var.conv");
    assert_true(ct_ndim(row) == 2 && ct_dim(row, 1) == 2 && ct_ndim(column) == 2 && ct_dim(column, 1) == 3);
    const float *r = ct_data(row), *c = ct_data(column);
    assert_near(r[0], (1 + 0.25 + 0.0625) / 3, 1e-6); /* 1 - beta2 is 1 in the first step */
    assert_near(c[2], (0.0625 + 9) / 2, 1e-6);
    assert_memory_equal(values_of(&p), values_of(&q), 6 * sizeof(float)); /* a batch of one matrix */
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

#define CASE(n)                                                                                              \
    { "as_torch " #n, as_torch, NULL, NULL, (void *)(uintptr_t)&cases[n] }

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(0),
        CASE(1),
        CASE(2),
        CASE(3),
        CASE(4),
        CASE(5),
        CASE(6),
        CASE(7),
        CASE(8),
        CASE(9),
        CASE(10),
        cmocka_unit_test(lion),
        cmocka_unit_test(lamb),
        cmocka_unit_test(lamb_without_decay),
        cmocka_unit_test(muon_by_hand),
        {"muon of a tall matrix", muon_by_hand, NULL, NULL, (void *)(uintptr_t)cases},
        cmocka_unit_test(muon_leaves_the_rest_to_adamw),
        cmocka_unit_test(muon_in_bf16),
        cmocka_unit_test(adafactor_states)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
