/* test_ensemble.c - members against size: a surface whose curves are known, what is measured, fitted,
 * extrapolated and unknown, limits with intervals, refusals, allocations. */
#include "method/check.h"
#include <carat/plan.h>
#include <math.h>

enum { MOST = 128 };

typedef struct table {
    double size[MOST], members[MOST], loss[MOST];
    int count;
} table;

/* Limits 2 + 4 / sqrt(N), and 0.5 / K^0.8 above them: power laws along both axes. */
static double surface(double size, double members) {
    return 2 + 4 / sqrt(size) + 0.5 * pow(members, -0.8);
}

static void add(table *t, double size, double members, double loss) {
    assert_true(t->count < MOST);
    t->size[t->count] = size;
    t->members[t->count] = members;
    t->loss[t->count++] = loss;
}

static ct_fit_options standard(void) {
    ct_fit_options o;
    ct_options_default(ct_fit_table, &o);
    return o;
}

static ct_status plan(ct_context *context, const table *t, double budget, const ct_fit_options *o,
                      ct_ensemble_plan *p) {
    return ct_plan_ensemble(context, t->size, t->members, t->loss, t->count, budget, o, p);
}

static table exact(int sizes, int members) {
    table t = {.count = 0};
    for (int k = members; k >= 1; k--)
        for (int n = 0; n < sizes; n++)
            add(&t, 100 << n, k, surface(100 << n, k));
    return t;
}

static void assert_close(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance)) fail_msg("%.9g, expected %.9g", found, expected);
}

static void known_surface(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_fit_options o = standard();
    ct_ensemble_plan p;
    table t = exact(4, 5);
    assert_int_equal(plan(context, &t, 1601, &o, &p), CT_OK);
    static const struct {
        double size, members;
        ct_ensemble_source source;
        bool extrapolated;
    } expected[] = {{100, 16, CT_LOSS_OVER_MEMBERS, true}, {200, 8, CT_LOSS_OVER_MEMBERS, true},
                    {320, 5, CT_LOSS_OVER_SIZES, false},   {400, 4, CT_LOSS_OF_RUNS, false},
                    {533, 3, CT_LOSS_OVER_SIZES, false},   {800, 2, CT_LOSS_OF_RUNS, false},
                    {1601, 1, CT_LOSS_OVER_SIZES, true}};
    assert_int_equal(p.choice_count, 7);
    int best = 0;
    for (int i = 0; i < 7; i++) {
        const ct_ensemble_choice *c = &p.choices[i];
        assert_true(c->size == expected[i].size && c->members == expected[i].members);
        assert_int_equal(c->source, expected[i].source);
        assert_int_equal(c->extrapolated, expected[i].extrapolated);
        assert_close(c->loss, surface(c->size, c->members), 2e-4);
        if (surface(c->size, c->members) < surface(p.choices[best].size, p.choices[best].members)) best = i;
    }
    assert_int_equal(p.best, best);
    assert_int_equal(p.size_count, 4);
    for (int n = 0; n < 4; n++) {
        assert_true(p.sizes[n].fitted && p.sizes[n].size == 100 << n);
        assert_close(p.sizes[n].fit.e, 2 + 4 / sqrt(100 << n), 2e-4);
        assert_close(p.sizes[n].fit.alpha, 0.8, 2e-3);
    }
    assert_true(p.joint_fitted && isnan(p.joint.low) && !p.joint.uncertain);
    assert_close(p.joint.e, 2, 1e-3);
    assert_close(p.joint.alpha, 0.5, 1e-3);
    ct_ensemble_plan_free(context, &p);
    end_context(context);
}

/* Three sizes have no joint limit; a size with one run has only that. */
static void too_few(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_fit_options o = standard();
    ct_ensemble_plan p;
    table t = exact(3, 4);
    add(&t, 1000, 1, 2.2);
    add(&t, 1000, 1, 2.4);
    assert_int_equal(plan(context, &t, 2000, &o, &p), CT_OK);
    assert_false(p.joint_fitted);
    assert_string_equal(p.why, "3 sizes with a settled limit over their members, expected 4 at least");
    assert_true(!p.sizes[3].fitted && strstr(p.sizes[3].why, "4 different x"));
    const ct_ensemble_choice *last = &p.choices[p.choice_count - 1], *unknown = NULL;
    assert_true(last->size == 2000 && last->members == 1 &&
                last->source == CT_LOSS_OVER_SIZES); /* four sizes at K = 1 */
    for (int i = 0; i < p.choice_count; i++)
        if (p.choices[i].size == 1000) unknown = &p.choices[i];
    assert_true(unknown && unknown->members == 2 && unknown->source == CT_LOSS_UNKNOWN &&
                isnan(unknown->loss));
    assert_true(p.best >= 0 && !isnan(p.choices[p.best].loss));
    ct_ensemble_plan_free(context, &p);
    assert_int_equal(plan(context, &t, 1000, &o, &p), CT_OK); /* now it is the run itself: its mean */
    last = &p.choices[p.choice_count - 1];
    assert_true(last->size == 1000 && last->members == 1 && last->source == CT_LOSS_OF_RUNS);
    assert_close(last->loss, 2.3, 1e-12);
    ct_ensemble_plan_free(context, &p);
    assert_int_equal(plan(context, &t, 150, &o, &p),
                     CT_OK); /* one member of the least size, and K = 1 between sizes */
    assert_true(p.choice_count == 2 && p.choices[0].size == 100 && p.choices[1].size == 150);
    ct_ensemble_plan_free(context, &p);
    end_context(context);
}

static void intervals(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_fit_options o = standard();
    ct_ensemble_plan p, again;
    for (int level = 0; level < 2; level++) {
        ct_random random = ct_random_make(4, 1);
        table t = {.count = 0};
        for (int n = 0; n < 4; n++)
            for (int k = 1; k <= 6; k++)
                for (int seed = 0; seed < 4; seed++)
                    add(&t, 100 << 2 * n, k,
                        surface(100 << 2 * n, k) * exp((level ? 0.02 : 2e-4) * ct_random_normal(&random)));
        o.resamples = 40;
        assert_int_equal(plan(context, &t, 5000, &o, &p), CT_OK);
        if (level == 0) {
            assert_true(p.joint_fitted && p.joint.low <= p.joint.high && !p.joint.uncertain);
            assert_close(p.joint.e, 2, 0.05);
            assert_true(p.joint.low < 2.02 && p.joint.high > 1.98);
            assert_int_equal(plan(context, &t, 5000, &o, &again), CT_OK);
            assert_true(memcmp(&p.joint, &again.joint, sizeof(p.joint)) == 0);
            ct_ensemble_plan_free(context, &again);
        } else { /* noise as large as what members gain */
            assert_true(!p.joint_fitted && strstr(p.why, "sizes with a settled limit"));
            int open = 0;
            for (int i = 0; i < p.size_count; i++)
                open += p.sizes[i].fitted && p.sizes[i].fit.uncertain;
            assert_true(open > 0);
        }
        ct_ensemble_plan_free(context, &p);
    }
    end_context(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_fit_options o = standard();
    ct_ensemble_plan p;
    table t = exact(4, 4);
    assert_int_equal(plan(context, &t, 99, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "a budget of 99 parameters", "has 100");
    assert_int_equal(plan(context, &t, NAN, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "budget of nan", "");
    t.members[2] = 1.5;
    assert_int_equal(plan(context, &t, 1000, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "run 3 has", "1.5 members");
    t.members[2] = 1;
    t.loss[0] = INFINITY;
    assert_int_equal(plan(context, &t, 1000, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "run 1 has", "positive loss");
    t.count = 0;
    assert_int_equal(plan(context, &t, 1000, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "0 runs", "");
    assert_null(p.sizes);
    double many[600], ones[600];
    for (int i = 0; i < 600; i++) {
        many[i] = i + 1;
        ones[i] = 1;
    }
    assert_int_equal(ct_plan_ensemble(context, many, ones, ones, 600, 1e6, &o, &p), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "more than 256", "");
    end_context(context);
}

static void plan_once(ct_context *context, void *user) {
    ct_fit_options o = standard();
    ct_ensemble_plan p;
    o.resamples = 2;
    plan(context, user, 1600, &o, &p);
    ct_ensemble_plan_free(context, &p);
}

static void allocations(void **state) {
    (void)state;
    table t = exact(4, 4);
    add(&t, 100, 1, surface(100, 1) * 1.001);
    sweep_tensors(plan_once, &t, 3, 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_surface), cmocka_unit_test(too_few),
                                       cmocka_unit_test(intervals), cmocka_unit_test(refused),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
