/* test_narrow.c - states in 8 and 16 bits: the values of the dynamic map, rounding to the nearest, blocks
 * with a scale of their own, the bytes they take, small parameters, what must stay exact. */
#include "optimizer/parameters.h"

enum { COUNT = 5000 }; /* 19 blocks of 256 and one of 136 */

typedef struct fixture {
    ct_context *context;
    ct_scope scope;
    ct_parameter p;
    ct_optimizer *optimizer;
} fixture;

static void open_fixture(fixture *f, const char *method, const char *options) {
    static float zeros[COUNT];
    f->context = start_context(2);
    f->scope = ct_scope_open(f->context);
    f->p = make_parameter(f->context, "w", zeros, COUNT);
    f->optimizer = make_optimizer(f->context, method, options);
    ct_optimizer_add(f->optimizer, &f->p, &(ct_parameter_group){1, 0});
}

static void close_fixture(fixture *f) {
    ct_optimizer_destroy(f->optimizer);
    ct_scope_close(f->context, f->scope);
    end_tensors(f->context);
}

/* The 256 values of the map, by the definition: decade i of 7 has 2^i parts (twice as many without a sign).
 */
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void map_values(bool has_sign, double *values) {
    int count = 0;
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < (has_sign ? 1 : 2) << i; k++) {
            double width = 0.9 / ((has_sign ? 1 : 2) << i),
                   value = (0.1 + (k + 0.5) * width) / pow(10, 6 - i);
            values[count++] = value;
            if (has_sign) values[count++] = -value;
        }
    values[count++] = 0;
    values[count++] = 1;
    assert_int_equal(count, 256);
    qsort(values, 256, sizeof(double), by_value);
}

static double nearest(const double *values, double x) {
    double best = values[0];
    for (int i = 1; i < 256; i++)
        if (fabs(values[i] - x) < fabs(best - x)) best = values[i];
    return best;
}

/* Momentum 0 would keep nothing, so it is tiny: the buffer after a step is the gradient. The next step, with
 * a gradient of zero and rate 1 / momentum, shows the rounded buffer in the weight. */
static void rounds_to_the_nearest(void **state) {
    (void)state;
    double values[256];
    float g[COUNT];
    fixture f;
    map_values(true, values);
    open_fixture(&f, "sgd", "{\"momentum\": 0.5, \"state_bits\": 8}");
    for (int i = 0; i < COUNT; i++)
        g[i] = (float)(noise(i, 1) * pow(10, -(double)(i % 7)) * (i / 256 + 1));
    set_gradient(&f.p, g);
    ct_optimizer_step(f.optimizer, 0, 1);
    set_gradient(&f.p, (float[COUNT]){0});
    ct_optimizer_step(f.optimizer, 2, 1);
    for (int b = 0; b < COUNT; b += 256) {
        double most = 0;
        for (int i = b; i < b + 256 && i < COUNT; i++)
            most = fmax(most, fabs((double)g[i]));
        for (int i = b; i < b + 256 && i < COUNT; i++) {
            double kept = -(double)values_of(&f.p)[i] / most, given = (double)g[i] / most;
            double expected = nearest(values, given);
            /* In the middle between two values rounding may go either way. */
            if (fabs(kept - expected) > 1e-6 && fabs(fabs(kept - given) - fabs(expected - given)) > 1e-6)
                fail_msg("element %d: %.9g became %.9g, expected %.9g", i, given, kept, expected);
        }
    }
    close_fixture(&f);
}

/* Values of the map themselves come back as they are. */
static void known_codes(void **state) {
    (void)state;
    double values[256];
    float g[COUNT] = {0};
    fixture f;
    map_values(true, values);
    assert_near(values[254], 0.99296875, 1e-12);
    assert_near(values[128], 5.5e-7, 1e-12);
    open_fixture(&f, "sgd", "{\"momentum\": 0.5, \"state_bits\": 8}");
    for (int i = 0; i < 256; i++)
        g[i] = (float)values[i];
    set_gradient(&f.p, g);
    ct_optimizer_step(f.optimizer, 0, 1);
    const uint8_t *codes = ct_data(state_named(f.optimizer, "momentum_buffer.w"));
    const float *absmax = ct_data(state_named(f.optimizer, "momentum_buffer_absmax.w"));
    for (int i = 0; i < 256; i++)
        assert_int_equal(codes[i], i);
    assert_true(absmax[0] == 1 && absmax[1] == 0);
    assert_int_equal(codes[256], 127); /* the code of zero */
    close_fixture(&f);
}

/* A second moment that is far below its block's greatest is not rounded to zero. */
static void second_moments_stay_positive(void **state) {
    (void)state;
    float g[COUNT] = {0};
    fixture f;
    open_fixture(&f, "adamw", "{\"state_bits\": 8}");
    g[0] = 1000;
    g[1] = 1e-3f;
    set_gradient(&f.p, g);
    ct_optimizer_step(f.optimizer, 0.1, 1);
    const uint8_t *codes = ct_data(state_named(f.optimizer, "exp_avg_sq.w"));
    assert_true(codes[0] == 255 && codes[1] == 1 && codes[2] == 0);
    set_gradient(&f.p, (float[COUNT]){0});
    ct_optimizer_step(f.optimizer, 0.1, 1);
    assert_true(fabs((double)values_of(&f.p)[1]) < 0.21);
    close_fixture(&f);
}

static void bytes(void **state) {
    (void)state;
    static const struct {
        const char *method, *options;
        ct_dtype dtype;
    } kinds[] = {{"adamw", NULL, CT_F32},
                 {"adamw", "{\"state_bits\": 16}", CT_BF16},
                 {"adamw", "{\"state_bits\": 8}", CT_U8},
                 {"adamw8bit", NULL, CT_U8},
                 {"adamw8bit", "{\"state_bits\": 32}", CT_F32},
                 {"adamw8bit", "{\"state_min_size\": 5001}", CT_F32}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        fixture f;
        open_fixture(&f, kinds[i].method, kinds[i].options);
        assert_int_equal(ct_dtype_of(state_named(f.optimizer, "exp_avg.w")), kinds[i].dtype);
        assert_int_equal(ct_dtype_of(state_named(f.optimizer, "exp_avg_sq.w")), kinds[i].dtype);
        assert_true(has_state(f.optimizer, "exp_avg_sq_absmax.w") == (kinds[i].dtype == CT_U8));
        if (kinds[i].dtype == CT_U8)
            assert_int_equal(ct_count(state_named(f.optimizer, "exp_avg_absmax.w")), 20);
        close_fixture(&f);
    }
}

/* NaN is not hidden by rounding. */
static void not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY};
    for (int k = 0; k < 2; k++) {
        float g[COUNT] = {0};
        fixture f;
        open_fixture(&f, "sgd", "{\"momentum\": 0.5, \"state_bits\": 8}");
        g[300] = bad[k];
        g[301] = 1;
        set_gradient(&f.p, g);
        ct_optimizer_step(f.optimizer, 0, 1);
        set_gradient(&f.p, (float[COUNT]){0});
        ct_optimizer_step(f.optimizer, 1, 1);
        assert_true(!isfinite(values_of(&f.p)[300]));
        assert_true(isfinite(values_of(&f.p)[0]) && isfinite(values_of(&f.p)[512]));
        close_fixture(&f);
    }
}

/* ----------------------------------------------------------------------------- a state that must be exact */

static void copy_direction(const ct_optimizer_range *r) {
    for (int64_t i = 0; i < r->count; i++)
        r->update[i] = r->state[0][i] = r->gradient[i];
}
static const ct_state_decl exact_state[] = {{"counter", CT_LIKE_PARAMETER, CT_F32, CT_STATE_EXACT},
                                            {.name = NULL}};
static const ct_optimizer_method exact = {.method = {.abi = CT_METHOD_ABI,
                                                     .size = sizeof(ct_optimizer_method),
                                                     .name = "exact",
                                                     .title = "Exact",
                                                     .paper = {"none", "a test"},
                                                     .summary = "Keeps the gradient. A test."},
                                          .state = exact_state,
                                          .direction = copy_direction};
static const ct_state_decl half_state[] = {{"copy", CT_LIKE_PARAMETER, CT_BF16, CT_STATE_SIGNED},
                                           {.name = NULL}};
static const ct_optimizer_method half = {.method = {.abi = CT_METHOD_ABI,
                                                    .size = sizeof(ct_optimizer_method),
                                                    .name = "half",
                                                    .title = "Half",
                                                    .paper = {"none", "a test"},
                                                    .summary = "Keeps the gradient in bf16. A test."},
                                         .state = half_state,
                                         .direction = copy_direction};

static void declared_types(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "sgd", NULL);
    assert_int_equal(ct_method_register(f.context, "optimizer", &exact.method), CT_OK);
    assert_int_equal(ct_method_register(f.context, "optimizer", &half.method), CT_OK);
    assert_null(make_optimizer(f.context, "exact", "{\"state_bits\": 8}"));
    ASSERT_ERROR(f.context, CT_ERROR_UNSUPPORTED, "state_bits", "\"counter\"", "must be exact");
    ct_optimizer *optimizer = make_optimizer(f.context, "half", NULL);
    ct_optimizer_add(optimizer, &f.p, &(ct_parameter_group){1, 0});
    float g[COUNT] = {1.00390625f};
    set_gradient(&f.p, g);
    ct_optimizer_step(optimizer, 0, 1);
    ct_tensor *kept = state_named(optimizer, "copy.w");
    assert_int_equal(ct_dtype_of(kept), CT_BF16);
    assert_int_equal(*(const uint16_t *)ct_data(kept), 0x3f80); /* 1 + 2^-8: half way, to even */
    ct_optimizer_destroy(optimizer);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rounds_to_the_nearest),
                                       cmocka_unit_test(known_codes),
                                       cmocka_unit_test(second_moments_stay_positive),
                                       cmocka_unit_test(bytes),
                                       cmocka_unit_test(not_finite),
                                       cmocka_unit_test(declared_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
