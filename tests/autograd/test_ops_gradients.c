/* test_ops_gradients.c - every differentiable operation against central differences, first and second order,
 * in f64, with contiguous and with odd strides; fused against composed gradients in f64 and f32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ops_cases.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Operations that have no gradient, or none that central differences could confirm: tested elsewhere. */
static const char *const without_gradient[] = {
    "equal",         "not_equal",     "less",       "less_equal", "greater",
    "greater_equal", "argmax",        "argmin",     "detach",     "straight_through",
    "alibi_slopes",  "rotary_tables", "linear_pack"};

static bool has_case(const char *operation) {
    for (int i = 0; ops_case_at(i); i++)
        if (!strcmp(ops_case_at(i)->operation, operation)) return true;
    for (size_t i = 0; i < sizeof(without_gradient) / sizeof(*without_gradient); i++)
        if (!strcmp(without_gradient[i], operation)) return true;
    return false;
}

/* Every function that ops.h declares is in the table or in the list above. */
static void test_no_operation_forgotten(void **state) {
    (void)state;
    const char *source = getenv("CARAT_SOURCE");
    char path[1024], line[512], operation[128];
    snprintf(path, sizeof(path), "%s/include/carat/ops.h", source ? source : ".");
    FILE *file = fopen(path, "r");
    if (!file) skip();
    int found = 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "ct_tensor *ct_%127[a-z0-9_](", operation) != 1 &&
            sscanf(line, "ct_status ct_%127[a-z0-9_](", operation) != 1)
            continue;
        found++;
        if (!has_case(operation)) fail_msg("ct_%s has no gradient check", operation);
    }
    fclose(file);
    assert_true(found > 100);
}

static void assert_fine(ct_context *context, const ops_case *c) {
    if (ct_failed(context)) fail_msg("%s %s: %s", c->operation, c->variant, ct_context_message(context));
}

/* `function` of each case against central differences; `tolerance` 0: the case's own. */
static void check_all(ct_tensor *(*function)(void *, ct_tensor *const *), bool second, bool reversed,
                      double step, double tolerance) {
    ct_context *context = ct_context_create(1);
    int failures = 0;
    for (int i = 0; ops_case_at(i); i++) {
        const ops_case *c = ops_case_at(i);
        ct_scope scope = ct_scope_open(context);
        ct_tensor *inputs[OPS_CASE_INPUTS];
        double worst = NAN, most = tolerance > 0 ? tolerance : c->tolerance ? c->tolerance : 1e-6;
        ops_case_inputs(context, c, CT_F64, reversed, inputs);
        ops_call call = {c, reversed};
        ct_gradient_check(context, function, &call, inputs, c->count, step, second, &worst);
        if (ct_failed(context) || !(worst < most)) {
            print_message("%s (%s): relative difference %g %s\n", c->operation, c->variant, worst,
                          ct_context_message(context));
            failures++;
        }
        ct_context_clear(context);
        ct_scope_close(context, scope);
    }
    ct_context_destroy(context);
    assert_int_equal(failures, 0);
}

static void check(bool second, bool reversed) {
    check_all(ops_case_call, second, reversed, 1e-5, 0);
}

static void test_first_order(void **state) {
    (void)state;
    check(false, false);
}
static void test_first_order_strided(void **state) {
    (void)state;
    check(false, true);
}
static void test_second_order(void **state) {
    (void)state;
    check(true, false);
}
static void test_second_order_strided(void **state) {
    (void)state;
    check(true, true);
}

/* The squared gradient of the sum of squares of f: its second derivatives are fourth ones of f. */
static ct_tensor *squared_gradient(void *user, ct_tensor *const *inputs) {
    const ops_call *call = user;
    ct_tensor *y = ct_sum_all(ct_square(ops_case_call(user, inputs))), *g[OPS_CASE_INPUTS], *sum = NULL;
    ct_grad(&y, 1, NULL, inputs, call->c->count, g, CT_GRAD_RECORD | CT_GRAD_ALLOW_UNUSED);
    for (int i = 0; i < call->c->count; i++)
        if (g[i]) sum = sum ? ct_add(sum, ct_sum_all(ct_square(g[i]))) : ct_sum_all(ct_square(g[i]));
    return sum ? sum : ct_scalar(ct_context_of(y), CT_F64, 0);
}

/* Rules that rebuild values for the recorded pass (cross entropy, linear, norms, attention) must go on to
 * higher orders; so must all the others. */
static void test_third_order(void **state) {
    (void)state;
    check_all(squared_gradient, true, false, 1e-6, 1e-4);
}

/* Gradients of sum(f(inputs) * w) with fixed w. */
static void gradients_of(const ops_case *c, ct_tensor *const *inputs, int flags, ct_tensor **gradients) {
    ops_call call = {c, false};
    ct_tensor *y = ops_case_call(&call, inputs);
    ct_random random = ct_random_make(9, 9);
    ct_tensor *w = ct_random_uniform_tensor(ct_context_of(y), ct_dtype_of(y), ct_ndim(y), ct_shape(y), 0.5,
                                            1.5, &random);
    ct_grad(&y, 1, &w, inputs, c->count, gradients, flags | CT_GRAD_ALLOW_UNUSED);
}

static double largest_difference(ct_tensor *a, ct_tensor *b) {
    double x[256] = {0}, y[256] = {0}, worst = 0, scale = 1e-3;
    if (!a || !b) return a == b ? 0 : INFINITY;
    ct_read(a, CT_F64, x);
    ct_read(b, CT_F64, y);
    for (int64_t i = 0; i < ct_count(a); i++)
        scale = fmax(scale, fabs(x[i]));
    for (int64_t i = 0; i < ct_count(a); i++)
        worst = fmax(worst, fabs(x[i] - y[i]) / scale);
    for (int64_t i = 0; i < ct_count(a); i++)
        if (isnan(x[i]) || isnan(y[i])) worst = INFINITY;
    return worst;
}

static bool is_linear_algebra(const ops_case *c) {
    static const char *const names[] = {"qr",    "cholesky",         "svd",          "eigh",
                                        "solve", "solve_triangular", "least_squares"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(c->operation, names[i])) return true;
    return false;
}

/* The rule as it runs in training against the rule as it runs when it is recorded. */
static void fused_against_composed(ct_dtype dtype, double tolerance) {
    ct_context *context = ct_context_create(1);
    int failures = 0;
    for (int i = 0; ops_case_at(i); i++) {
        const ops_case *c = ops_case_at(i);
        if (dtype == CT_BF16 && is_linear_algebra(c)) continue;
        ct_scope scope = ct_scope_open(context);
        ct_tensor *inputs[OPS_CASE_INPUTS], *fused[OPS_CASE_INPUTS], *composed[OPS_CASE_INPUTS];
        ops_case_inputs(context, c, dtype, false, inputs);
        gradients_of(c, inputs, CT_GRAD_DEFAULT, fused);
        gradients_of(c, inputs, CT_GRAD_RECORD, composed);
        assert_fine(context, c);
        for (int j = 0; j < c->count; j++) {
            double difference = largest_difference(fused[j], composed[j]);
            if (fused[j]) assert_int_equal(ct_dtype_of(fused[j]), dtype);
            if (difference <= tolerance) continue;
            print_message("%s (%s), operand %d: fused and composed differ by %g\n", c->operation, c->variant,
                          j, difference);
            failures++;
        }
        ct_scope_close(context, scope);
    }
    ct_context_destroy(context);
    assert_int_equal(failures, 0);
}

static void test_fused_f64(void **state) {
    (void)state;
    fused_against_composed(CT_F64, 1e-12);
}
static void test_fused_f32(void **state) {
    (void)state;
    fused_against_composed(CT_F32, 2e-5);
}
/* The composed form rounds after every step: agreement to some of bf16's 8 bits. */
static void test_fused_bf16(void **state) {
    (void)state;
    fused_against_composed(CT_BF16, 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_operation_forgotten),
        cmocka_unit_test(test_first_order),
        cmocka_unit_test(test_first_order_strided),
        cmocka_unit_test(test_second_order),
        cmocka_unit_test(test_second_order_strided),
        cmocka_unit_test(test_third_order),
        cmocka_unit_test(test_fused_f64),
        cmocka_unit_test(test_fused_f32),
        cmocka_unit_test(test_fused_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
