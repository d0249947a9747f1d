/* test_descent.c - coordinate descent: bowls, each point once, a limit, NaN, errors. */
#include "method/check.h"
#include <carat/search.h>
#include <math.h>

typedef struct bowl {
    double seen[256][3];
    int count;
    double bottom[3];
    bool fails, twisted;
} bowl;

static double square(double x) {
    return x * x;
}

static ct_status loss_of(void *user, const double *values, double *loss) {
    bowl *b = user;
    for (int i = 0; i < b->count; i++)
        assert_false(memcmp(b->seen[i], values, sizeof(b->seen[i])) == 0); /* each once */
    assert_true(b->count < 256);
    memcpy(b->seen[b->count++], values, sizeof(b->seen[0]));
    double d[3];
    for (int i = 0; i < 3; i++)
        d[i] = log2(values[i] / b->bottom[i]);
    *loss = square(d[0]) + 3 * square(d[1]) + .5 * square(d[2]) + (b->twisted ? 1.5 * d[0] * d[1] : 0);
    if (b->twisted && values[0] > 100) *loss = NAN;
    return b->fails && b->count == 4 ? CT_ERROR_INTERRUPTED : CT_OK;
}

static void separable(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_descent_result r;
    bowl b = {.bottom = {8, 0.25, 3.2}};
    const double start[] = {1, 1, 0.1};
    assert_int_equal(ct_descend(context, start, 3, &(ct_descent_options){2, 200}, loss_of, &b, &r), CT_OK);
    assert_true(r.settled && r.loss < 1e-20);
    assert_true(r.values[0] == 8 && r.values[1] == 0.25 && fabs(r.values[2] - 3.2) < 1e-12);
    assert_int_equal(r.evaluations, b.count);
    end_context(context);
}

/* Of a bowl with a bottom between the points and coordinates that depend on each other: no factor of 2
 * improves. */
static void local_optimum(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_descent_result r;
    bowl b = {.bottom = {11, 0.3, 1.7}, .twisted = true};
    const double start[] = {1, 1, 1};
    assert_int_equal(ct_descend(context, start, 3, &(ct_descent_options){2, 200}, loss_of, &b, &r), CT_OK);
    assert_true(r.settled);
    for (int i = 0; i < 6; i++) {
        bowl other = {.bottom = {11, 0.3, 1.7}, .twisted = true};
        double values[3], loss;
        memcpy(values, r.values, sizeof(values));
        values[i / 2] *= i % 2 ? 2 : 0.5;
        assert_int_equal(loss_of(&other, values, &loss), CT_OK);
        assert_true(!(loss < r.loss));
    }
    end_context(context);
}

static void limits(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_descent_result r;
    bowl b = {.bottom = {1024, 1, 1}};
    const double start[] = {1, 1, 1}, wrong[] = {1, 0, 1};
    assert_int_equal(ct_descend(context, start, 3, &(ct_descent_options){2, 5}, loss_of, &b, &r), CT_OK);
    assert_false(r.settled);
    assert_int_equal(r.evaluations, 5);
    assert_true(r.values[0] == 16);
    bowl stops = {.bottom = {8, 1, 1}, .fails = true};
    assert_int_equal(ct_descend(context, start, 3, &(ct_descent_options){2, 99}, loss_of, &stops, &r),
                     CT_ERROR_INTERRUPTED);
    assert_int_equal(ct_descend(context, wrong, 3, &(ct_descent_options){2, 99}, loss_of, &b, &r),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "setting 1 starts at 0", "positive");
    assert_int_equal(ct_descend(context, start, 9, &(ct_descent_options){2, 99}, loss_of, &b, &r),
                     CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "9 settings", "1 to 8");
    ct_memory_fail_at(context, 1);
    assert_int_equal(ct_descend(context, start, 3, &(ct_descent_options){2, 99}, loss_of, &b, &r),
                     CT_ERROR_MEMORY);
    ct_memory_fail_at(context, 0);
    ct_context_clear(context);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(separable), cmocka_unit_test(local_optimum),
                                       cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
