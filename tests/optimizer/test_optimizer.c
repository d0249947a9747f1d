/* test_optimizer.c - AdamW and SGD against worked numbers and against plain loops over torch's formulas in
 * f64; the chain, groups, states, the gradient norm. */
#include "optimizer/parameters.h"
#include <carat/ops.h>

static void adamw_by_hand(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = make_parameter(context, "w", (const float[]){1.0f, -2.0f}, 2);
    ct_optimizer *optimizer = make_optimizer(context, "adamw", NULL);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1.0, 0.1});
    set_gradient(&p, (const float[]){0.5f, -3.0f});
    assert_int_equal(ct_optimizer_step(optimizer, 0.01, 1.0), CT_OK);
    /* In the first step the corrected moments are g and g^2: the update is the sign of g.
     * w = w (1 - 0.01 * 0.1) - 0.01 sign(g). */
    assert_near(values_of(&p)[0], 0.999 - 0.01, 1e-6);
    assert_near(values_of(&p)[1], -1.998 + 0.01, 1e-6);
    set_gradient(&p, (const float[]){-0.5f, 0.0f});
    assert_int_equal(ct_optimizer_step(optimizer, 0.01, 1.0), CT_OK);
    /* Second step: m = 0.9 * 0.05 - 0.05 = -0.005, corrected by 1 - 0.81; v = 0.25 corrected: update
     * -0.0263158/0.5. */
    assert_near(values_of(&p)[0], 0.989 * 0.999 + 0.01 * (0.005 / 0.19) / 0.5, 1e-6);
    /* m = 0.9 * -0.3 / 0.19; v = 0.999 * 0.009 / (1 - 0.999^2). */
    assert_near(values_of(&p)[1], -1.988 * 0.999 + 0.01 * (0.27 / 0.19) / sqrt(0.999 * 0.009 / 0.001999),
                1e-6);
    assert_int_equal(ct_optimizer_steps(optimizer), 2);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void sgd_by_hand(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = make_parameter(context, "w", (const float[]){2.0f}, 1);
    ct_optimizer *optimizer = make_optimizer(context, "sgd", "{\"momentum\": 0.5, \"dampening\": 0.25}");
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1.0, 0.5});
    set_gradient(&p, (const float[]){1.0f});
    ct_optimizer_step(optimizer, 0.1, 1.0);
    assert_near(values_of(&p)[0], 1.8, 1e-6); /* g = 1 + 0.5 * 2 = 2 = m */
    set_gradient(&p, (const float[]){1.0f});
    ct_optimizer_step(optimizer, 0.1, 1.0);
    assert_near(values_of(&p)[0], 1.8 - 0.1 * (0.5 * 2 + 0.75 * 1.9), 1e-6);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* ------------------------------------------------------------------------------------- ten steps in f64 */

enum { COUNT = 5000, STEPS = 10 }; /* more than a tile, not a multiple of anything */

typedef struct settings {
    const char *method, *options;
    double momentum, dampening;
    bool nesterov;
    double decay, scale;
} settings;

typedef struct numbers {
    double w[COUNT], m[COUNT], v[COUNT];
} numbers;

/* torch.optim.AdamW, the double loop. */
static void adamw_loop(numbers *n, int step, double rate, double decay, double scale) {
    for (int i = 0; i < COUNT; i++) {
        double g = (double)(float)noise(i, step) * scale;
        n->w[i] *= 1 - rate * decay;
        n->m[i] = 0.9 * n->m[i] + 0.1 * g;
        n->v[i] = 0.999 * n->v[i] + 0.001 * g * g;
        double m = n->m[i] / (1 - pow(0.9, step)), v = n->v[i] / (1 - pow(0.999, step));
        n->w[i] -= rate * m / (sqrt(v) + 1e-8);
    }
}

/* torch.optim.SGD, the double loop. */
static void sgd_loop(numbers *n, int step, double rate, const settings *s) {
    for (int i = 0; i < COUNT; i++) {
        double g = (double)(float)noise(i, step) * s->scale + s->decay * n->w[i];
        if (s->momentum != 0) {
            n->m[i] = step == 1 ? g : s->momentum * n->m[i] + (1 - s->dampening) * g;
            g = s->nesterov ? g + s->momentum * n->m[i] : n->m[i];
        }
        n->w[i] -= rate * g;
    }
}

static void start_values(numbers *n, float *w) {
    memset(n, 0, sizeof(*n));
    for (int i = 0; i < COUNT; i++)
        n->w[i] = w[i] = (float)noise(i, 0);
}

static const settings cases[] = {
    {.method = "adamw", .decay = 0.1, .scale = 1},
    {.method = "adamw", .decay = 0, .scale = 0.25},
    {.method = "sgd", .decay = 0, .scale = 1},
    {.method = "sgd", .decay = 0.1, .scale = 0.5},
    {.method = "sgd", .options = "{\"dampening\": 0.5}", .dampening = 0.5, .scale = 1},
    {.method = "sgd", .options = "{\"momentum\": 0.9}", .momentum = 0.9, .decay = 0.01, .scale = 1},
    {.method = "sgd",
     .options = "{\"momentum\": 0.9, \"dampening\": 0.3}",
     .momentum = 0.9,
     .dampening = 0.3,
     .scale = 1},
    {.method = "sgd",
     .options = "{\"momentum\": 0.8, \"nesterov\": true}",
     .momentum = 0.8,
     .nesterov = true,
     .decay = 0.05,
     .scale = 2},
};

static void like_torch(void **state) {
    const settings *s = *state;
    static numbers n;
    static float w[COUNT];
    ct_context *context = start_context(2);
    ct_scope scope = ct_scope_open(context);
    start_values(&n, w);
    ct_parameter p = make_parameter(context, "w", w, COUNT);
    ct_optimizer *optimizer = make_optimizer(context, s->method, s->options);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){2.0, s->decay});
    for (int step = 1; step <= STEPS; step++) {
        double rate = 0.01 / step;
        set_noise(&p, step);
        assert_int_equal(ct_optimizer_step(optimizer, rate / 2, s->scale), CT_OK); /* the group doubles it */
        if (*s->method == 'a')
            adamw_loop(&n, step, rate, s->decay, s->scale);
        else
            sgd_loop(&n, step, rate, s);
    }
    for (int i = 0; i < COUNT; i++) {
        double error = fabs(values_of(&p)[i] - n.w[i]);
        if (!(error < 2e-6)) fail_msg("element %d: %.9g, expected %.9g", i, values_of(&p)[i], n.w[i]);
    }
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

/* ------------------------------------------------------------------------------- fused, tiles, threads */

/* The links of the chain one by one, as the header describes them, against what a step does (fused). */
static void fused_equals_the_links(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    static numbers n;
    static float w[COUNT], m[COUNT], v[COUNT], g[COUNT], update[COUNT];
    start_values(&n, w);
    memset(m, 0, sizeof(m));
    memset(v, 0, sizeof(v));
    ct_parameter p = make_parameter(context, "w", w, COUNT);
    ct_optimizer *optimizer = make_optimizer(context, "adamw", NULL);
    const ct_optimizer_method *method = ct_optimizer_method_of(optimizer);
    const ct_measures measured = {.decay_scale = 1};
    assert_non_null(method->fused);
    double options[3] = {0.9, 0.999, 1e-8};
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1.0, 0.1});
    for (int step = 1; step <= 5; step++) {
        set_noise(&p, step);
        for (int i = 0; i < COUNT; i++)
            g[i] = 0.5f * (float)noise(i, step);
        ct_optimizer_range range = {.options = options,
                                    .step = step,
                                    .learning_rate = 0.01,
                                    .count = COUNT,
                                    .weight = w,
                                    .gradient = g,
                                    .state = {m, v},
                                    .update = update,
                                    .measured = &measured};
        method->direction(&range);
        for (int i = 0; i < COUNT; i++)
            w[i] = w[i] * (float)(1 - 0.01 * 0.1) - 0.01f * update[i];
        assert_int_equal(ct_optimizer_step(optimizer, 0.01, 0.5), CT_OK);
    }
    char name[64];
    const float *first = ct_data(ct_optimizer_state_at(optimizer, 1, name, sizeof(name)));
    const float *second = ct_data(ct_optimizer_state_at(optimizer, 2, name, sizeof(name)));
    for (int i = 0; i < COUNT; i++) {
        if (!(fabs(values_of(&p)[i] - w[i]) < 5e-7)) fail_msg("weight %.9g and %.9g", values_of(&p)[i], w[i]);
        if (!(fabs(first[i] - m[i]) < 1e-6)) fail_msg("first moment %.9g and %.9g", first[i], m[i]);
        if (!(fabs(second[i] - v[i]) <= 1e-6 * v[i]))
            fail_msg("second moment %.9g and %.9g", second[i], v[i]);
    }
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

enum { LARGE = 200001 }; /* several tasks */

static void run_large(int threads, const char *method, const char *options, float *out, double *norm) {
    ct_context *context = start_context(threads);
    ct_scope scope = ct_scope_open(context);
    float *w = malloc(LARGE * sizeof(float));
    assert_non_null(w);
    for (int i = 0; i < LARGE; i++)
        w[i] = (float)noise(i, 0);
    ct_parameter p = make_parameter(context, "w", w, LARGE);
    ct_optimizer *optimizer = make_optimizer(context, method, options);
    ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1.0, 0.1});
    for (int step = 1; step <= 2; step++) {
        set_noise(&p, step);
        ct_optimizer_gradient_norm(optimizer, norm);
        assert_int_equal(ct_optimizer_step(optimizer, 0.01, 1.0), CT_OK);
    }
    memcpy(out, values_of(&p), LARGE * sizeof(float));
    free(w);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void same_bits_for_any_threads(void **state) {
    (void)state;
    static float one[LARGE], other[LARGE];
    static const char *const methods[][2] = {{"adamw", NULL},
                                             {"sgd", "{\"momentum\": 0.9, \"nesterov\": true}"}};
    for (int k = 0; k < 2; k++) {
        double norm = 0, norm_other = 0;
        run_large(1, methods[k][0], methods[k][1], one, &norm);
        assert_true(one[LARGE - 1] != (float)noise(LARGE - 1, 0)); /* the last element moved too */
        for (int threads = 2; threads <= 4; threads += 2) {
            run_large(threads, methods[k][0], methods[k][1], other, &norm_other);
            assert_memory_equal(one, other, sizeof(one));
            assert_true(norm == norm_other);
        }
    }
}

/* ----------------------------------------------------------------------------------------------- states */

static void names_and_states(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter a = make_parameter(context, "h.0.weight", (const float[]){1, 2}, 2);
    ct_parameter b = make_parameter(context, "h.0.bias", (const float[]){3}, 1);
    ct_optimizer *optimizer = make_optimizer(context, "adamw", NULL);
    ct_optimizer_add(optimizer, &a, &(ct_parameter_group){1, 0});
    ct_optimizer_add(optimizer, &b, &(ct_parameter_group){1, 0});
    static const char *const names[] = {"step.h.0.weight", "exp_avg.h.0.weight", "exp_avg_sq.h.0.weight",
                                        "step.h.0.bias",   "exp_avg.h.0.bias",   "exp_avg_sq.h.0.bias"};
    assert_int_equal(ct_optimizer_state_count(optimizer), 6);
    char name[64];
    for (int i = 0; i < 6; i++) {
        ct_tensor *tensor = ct_optimizer_state_at(optimizer, i, name, sizeof(name));
        assert_string_equal(name, names[i]);
        assert_int_equal(ct_count(tensor), i == 1 || i == 2 ? 2 : 1);
        double first;
        ct_item(ct_select(ct_reshape(tensor, 1, (const int64_t[]){-1}), 0, 0), &first);
        assert_true(first == 0);
    }
    assert_null(ct_optimizer_state_at(optimizer, 6, name, sizeof(name)));
    assert_null(ct_optimizer_state_at(optimizer, -1, name, sizeof(name)));
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    assert_true(counts.current[CT_MEMORY_STATES] >= 4 * 64);
    /* The state of a run that has made 999 steps: from zero moments, update = 0.1 g / (1 - 0.9^1000) / ... */
    ct_optimizer_set_steps(optimizer, 999);
    ct_fill(ct_optimizer_state_at(optimizer, 0, name, sizeof(name)), 999);
    set_gradient(&a, (const float[]){2, 2});
    ct_optimizer_step(optimizer, 0.1, 1);
    assert_int_equal(ct_optimizer_steps(optimizer), 1000);
    double second = sqrt(0.001 * 4 / (1 - pow(0.999, 1000)));
    assert_near(values_of(&a)[0], 1 - 0.1 * (0.2 / (1 - pow(0.9, 1000))) / second, 1e-6);
    assert_near(*(const float *)ct_data(ct_optimizer_state_at(optimizer, 1, name, sizeof(name))), 0.2, 1e-6);
    /* Each parameter has a count of its own: this one makes its first step. */
    set_gradient(&b, (const float[]){-7});
    ct_optimizer_clear_gradients(optimizer);
    set_gradient(&b, (const float[]){-7});
    ct_optimizer_step(optimizer, 0.1, 1);
    assert_near(values_of(&b)[0], 3.1, 1e-6);
    assert_int_equal(*(const int64_t *)ct_data(ct_optimizer_state_at(optimizer, 0, name, sizeof(name))),
                     1000);
    assert_int_equal(*(const int64_t *)ct_data(ct_optimizer_state_at(optimizer, 3, name, sizeof(name))), 1);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void sgd_state(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter a = make_parameter(context, "w", (const float[]){1, 2}, 2);
    ct_optimizer *optimizer = make_optimizer(context, "sgd", "{\"momentum\": 0.5}");
    ct_optimizer_add(optimizer, &a, &(ct_parameter_group){1, 0});
    char name[64];
    assert_int_equal(ct_optimizer_state_count(optimizer), 2);
    ct_tensor *buffer = ct_optimizer_state_at(optimizer, 1, name, sizeof(name));
    assert_string_equal(name, "momentum_buffer.w");
    set_gradient(&a, (const float[]){3, -4});
    ct_optimizer_step(optimizer, 0.1, 2.0);
    assert_true(((const float *)ct_data(buffer))[1] == -8);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void leaves_alone(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter moves = make_parameter(context, "a", (const float[]){1}, 1);
    ct_parameter frozen = make_parameter(context, "b", (const float[]){1}, 1);
    ct_parameter absent = make_parameter(context, "c", (const float[]){1}, 1);
    frozen.trainable = false;
    ct_optimizer *optimizer = make_optimizer(context, "adamw", NULL);
    ct_optimizer_add(optimizer, &moves, &(ct_parameter_group){1, 0.5});
    ct_optimizer_add(optimizer, &frozen, &(ct_parameter_group){1, 0.5});
    ct_optimizer_add(optimizer, &absent, &(ct_parameter_group){1, 0.5});
    set_gradient(&moves, (const float[]){3});
    set_gradient(&frozen, (const float[]){4});
    uint64_t version = ct_version(moves.tensor), still = ct_version(frozen.tensor);
    double norm = 0;
    assert_int_equal(ct_optimizer_gradient_norm(optimizer, &norm), CT_OK);
    assert_near(norm, 3, 1e-12); /* what is not trained does not count */
    assert_int_equal(ct_optimizer_step(optimizer, 0.1, 1), CT_OK);
    assert_near(values_of(&moves)[0], 0.95 - 0.1, 1e-6);
    assert_true(values_of(&frozen)[0] == 1 && values_of(&absent)[0] == 1);
    assert_true(ct_version(moves.tensor) > version);
    assert_true(ct_version(frozen.tensor) == still);
    assert_int_equal(ct_optimizer_clear_gradients(optimizer), CT_OK);
    assert_null(ct_gradient(moves.tensor));
    ct_optimizer_gradient_norm(optimizer, &norm);
    assert_true(norm == 0);
    ct_optimizer_step(optimizer, 0.1, 1);
    assert_near(values_of(&moves)[0], 0.85, 1e-6);
    /* It has taken part in one step so far: its own second step comes now, not the third. */
    set_gradient(&moves, (const float[]){3});
    ct_optimizer_step(optimizer, 0.1, 1);
    assert_near(values_of(&moves)[0], 0.85 * 0.95 - 0.1, 1e-6);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void groups_have_rates_and_decays(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    ct_parameter a = make_parameter(context, "a", (const float[]){1}, 1);
    ct_parameter b = make_parameter(context, "b", (const float[]){1}, 1);
    ct_optimizer *optimizer = make_optimizer(context, "adamw", NULL);
    ct_optimizer_add(optimizer, &a, &(ct_parameter_group){1, 0.2});
    ct_optimizer_add(optimizer, &b, &(ct_parameter_group){0.5, 0});
    set_gradient(&a, (const float[]){1});
    set_gradient(&b, (const float[]){1});
    ct_optimizer_step(optimizer, 0.1, 1);
    assert_near(values_of(&a)[0], 0.98 - 0.1, 1e-6);
    assert_near(values_of(&b)[0], 1 - 0.05, 1e-6);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void refuses(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_scope scope = ct_scope_open(context);
    assert_null(make_optimizer(context, "lyon", NULL));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no optimizer \"lyon\"", "did you mean \"lion\"?");
    assert_null(make_optimizer(context, "adamw", "{\"beta3\": 0.9}"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "optimizer.beta3", "beta");
    assert_null(make_optimizer(context, "adamw", "{\"beta1\": 1.5}"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "optimizer.beta1", "1.5");
    static const char *const nesterov[] = {"{\"nesterov\": true}",
                                           "{\"nesterov\": true, \"momentum\": 0.9, \"dampening\": 0.1}"};
    for (int i = 0; i < 2; i++) {
        assert_null(make_optimizer(context, "sgd", nesterov[i]));
        ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "optimizer.nesterov",
                     "needs momentum above 0 and no dampening");
    }
    ct_optimizer *optimizer = make_optimizer(context, "sgd", NULL);
    ct_tensor *half = ct_zeros(context, CT_BF16, CT_DIMS(2));
    ct_parameter p = {.name = (char *)(uintptr_t) "half", .tensor = half, .trainable = true};
    assert_int_equal(ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0}), CT_ERROR_TYPE);
    ASSERT_ERROR(context, CT_ERROR_TYPE, "\"half\"", "bf16", "expected contiguous f32");
    assert_int_equal(ct_optimizer_state_count(optimizer), 0);
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
    end_tensors(context);
}

static void work_of_a_step(ct_context *context, void *user) {
    (void)user;
    ct_scope scope = ct_scope_open(context);
    ct_parameter p = make_parameter(context, "w", (const float[]){1, 2}, 2);
    ct_optimizer *optimizer = make_optimizer(context, "adamw", "{\"beta1\": 0.8}");
    double norm;
    if (optimizer) {
        ct_optimizer_add(optimizer, &p, &(ct_parameter_group){1, 0});
        set_gradient(&p, (const float[]){1, 2});
        ct_optimizer_gradient_norm(optimizer, &norm);
        ct_optimizer_step(optimizer, 0.1, 1);
    }
    ct_optimizer_destroy(optimizer);
    ct_scope_close(context, scope);
}

static void survives_failures(void **state) {
    (void)state;
    sweep_tensors(work_of_a_step, NULL, 1, 200);
}

#define CASE(n)                                                                                              \
    { "like_torch " #n, like_torch, NULL, NULL, (void *)(uintptr_t)&cases[n] }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(adamw_by_hand),
                                       cmocka_unit_test(sgd_by_hand),
                                       CASE(0),
                                       CASE(1),
                                       CASE(2),
                                       CASE(3),
                                       CASE(4),
                                       CASE(5),
                                       CASE(6),
                                       CASE(7),
                                       cmocka_unit_test(fused_equals_the_links),
                                       cmocka_unit_test(same_bits_for_any_threads),
                                       cmocka_unit_test(names_and_states),
                                       cmocka_unit_test(sgd_state),
                                       cmocka_unit_test(leaves_alone),
                                       cmocka_unit_test(groups_have_rates_and_decays),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
