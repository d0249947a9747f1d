/* test_statistics.c - Student's t against tabulated values, and intervals by hand. */
#include "run.h"

static void near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("%.17g, expected %.17g", found, expected);
}

/* Closed forms: one degree is Cauchy's, two have sqrt, four a cubic root; the others by the finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4.
 */
static void test_quantiles(void **state) {
    (void)state;
    near(ct_student_quantile(0.975, 1), tan(M_PI * 0.475), 1e-12);
    near(ct_student_quantile(0.9999, 1), tan(M_PI * 0.4999), 1e-9);
    for (double p = 0.55; p < 1; p += 0.1)
        near(ct_student_quantile(p, 2), (2 * p - 1) * sqrt(2 / (4 * p * (1 - p))), 1e-12);
    for (double p = 0.55; p < 1; p += 0.1) {
        double a = 4 * p * (1 - p), q = cos(acos(sqrt(a)) / 3) / sqrt(a);
        near(ct_student_quantile(p, 4), 2 * sqrt(q - 1), 1e-11);
    }
    near(ct_student_quantile(0.975, 3), 3.182446305284263, 1e-12);
    near(ct_student_quantile(0.975, 5), 2.570581835636197, 1e-12);
    near(ct_student_quantile(0.975, 10), 2.228138851986273, 1e-12);
    near(ct_student_quantile(0.95, 30), 1.697260886593957, 1e-12);
    near(ct_student_quantile(0.975, 1e6), 1.9599663, 1e-6);
}

static void test_symmetry_and_edges(void **state) {
    (void)state;
    near(ct_student_quantile(0.025, 7), -ct_student_quantile(0.975, 7), 1e-12);
    assert_true(ct_student_quantile(0.5, 7) == 0);
    assert_true(isnan(ct_student_quantile(0, 7)) && isnan(ct_student_quantile(1, 7)));
    assert_true(isnan(ct_student_quantile(NAN, 7)) && isnan(ct_student_quantile(0.9, 0)));
    assert_true(isnan(ct_student_quantile(0.9, NAN)));
}

/* 1, 2, 3, 4: mean 2.5, deviation sqrt(5/3), half width 3.182446 * sqrt(5/3) / 2. */
static void test_interval(void **state) {
    (void)state;
    const double values[] = {1, 2, 3, 4};
    ct_claim_interval i = ct_claim_interval_of(values, 4, 0.95);
    near(i.mean, 2.5, 1e-15);
    near(i.deviation, sqrt(5.0 / 3), 1e-15);
    near(i.high - i.mean, 3.182446305284263 * sqrt(5.0 / 3) / 2, 1e-12);
    near(i.mean - i.low, i.high - i.mean, 1e-12);
    i = ct_claim_interval_of(values, 4, 0.5); /* the t of 0.75 with 3 degrees is 0.7648923 */
    near(i.high - i.mean, 0.764892328404345 * sqrt(5.0 / 3) / 2, 1e-10);
}

static void test_interval_of_little(void **state) {
    (void)state;
    const double one[] = {7}, equal[] = {0.1, 0.1, 0.1}, broken[] = {1, NAN, 3}, infinite[] = {1, INFINITY};
    ct_claim_interval i = ct_claim_interval_of(one, 1, 0.95);
    assert_true(i.mean == 7 && isnan(i.low) && isnan(i.high) && isnan(i.deviation));
    i = ct_claim_interval_of(equal, 3, 0.95);
    near(i.low, 0.1, 1e-12);
    near(i.high, 0.1, 1e-12);
    assert_true(isnan(ct_claim_interval_of(broken, 3, 0.95).mean));
    assert_true(isnan(ct_claim_interval_of(infinite, 2, 0.95).mean));
    assert_true(isnan(ct_claim_interval_of(one, 0, 0.95).mean));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_symmetry_and_edges),
        cmocka_unit_test(test_interval), cmocka_unit_test(test_interval_of_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
