/* test_compare.c - arms are tuned equally: same grid, same number of runs, seeds apart from those measured.
 */
#include "run.h"

enum { MOST = 20 };
static struct call {
    int arm, point;
    uint64_t seed;
    int seed_index;
} calls[MOST];
static int call_count;
static bool with_holes;

static const double grid[] = {1, 2, 3};

/* Arm 0 is best at point 1, arm 1 at point 2; lower is better. */
static ct_status trial(const ct_claim_trial *t, double *score, double *value) {
    static const double scores[2][3] = {{5, 3, 4}, {9, 8, 7}};
    if (call_count == MOST) call_count = 0; /* performed anew */
    calls[call_count++] = (struct call){t->arm, t->point, t->seed, t->seed_index};
    assert_true(t->setting == grid[t->point]);
    *score = scores[t->arm][t->point];
    if (with_holes && t->point == 1) *score = NAN;
    *value = 100 * t->arm + 10 * t->point + (double)t->seed;
    return CT_OK;
}

static ct_claim_outcome outcome;
static double values[2][8], scores_found[2][3]; /* copies: the outcome's are of the run */

static void copy_outcome(void) {
    for (int a = 0; a < 2; a++) {
        memcpy(values[a], outcome.value[a], (size_t)outcome.seeds * sizeof(double));
        if (outcome.score[a]) memcpy(scores_found[a], outcome.score[a], sizeof(scores_found[a]));
    }
}

static ct_status compare(ct_claim_run *run) {
    const ct_claim_comparison how = {.measure = "loss",
                                     .unit = "nats",
                                     .digits = 2,
                                     .lower_is_better = true,
                                     .arms = {"plain", "method"},
                                     .paper = {0.5, NAN},
                                     .setting = "rate",
                                     .grid = grid,
                                     .grid_count = 3,
                                     .tuning_seeds = 2,
                                     .tuning_table = true,
                                     .trial = trial};
    ct_status status = ct_claim_compare(run, &how, &outcome);
    if (status != CT_OK) return status;
    copy_outcome();
    return ct_claim_check_paired(run, "method - plain", outcome.value[1], outcome.value[0], outcome.seeds,
                                 CT_BY_INTERVAL, CT_GREATER, 0);
}

static void test_fairness(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    call_count = 0;
    with_holes = false;
    ct_value *result = perform(context, compare, 4);
    assert_string_equal(verdict_of(result), "HOLDS");
    assert_int_equal(call_count, 2 * (3 * 2 + 4));
    assert_true(outcome.trials[0] == 10 && outcome.trials[1] == 10);
    int half = call_count / 2;
    for (int i = 0; i < half; i++) { /* both arms: the same seeds in the same order */
        assert_int_equal(calls[i].arm, 0);
        assert_int_equal(calls[half + i].arm, 1);
        assert_true(calls[i].seed == calls[half + i].seed);
        bool tuning = i < 6;
        assert_int_equal(calls[i].seed_index, tuning ? -1 : i - 6);
        if (!tuning) assert_true(calls[i].seed == (uint64_t)(i - 5));
        for (int m = 6; tuning && m < half; m++)
            assert_true(calls[i].seed != calls[m].seed);
    }
    assert_int_equal(outcome.point[0], 1);
    assert_int_equal(outcome.point[1], 2);
    assert_true(outcome.setting[1] == 3 && scores_found[0][0] == 5);
    assert_true(values[1][2] == 100 + 20 + 3);
    ct_value_free(result);
    end_claims(context);
}

static void test_tables_and_notes(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    call_count = 0;
    with_holes = false;
    ct_value *result = perform(context, compare, 4);
    const ct_value *notes = ct_value_get(result, "notes");
    assert_int_equal(ct_value_count(notes), 1); /* arm 1 only: its best point is the grid's last */
    assert_string_equal(ct_value_as_string(ct_value_at(notes, 0), ""),
                        "method: the best rate, 3, is an end of the grid.");
    assert_true(number(result, "tables.0.rows.1.values.2") != number(result, "tables.0.rows.0.values.2"));
    const ct_value *row =
        ct_value_at(ct_value_get(ct_value_at(ct_value_get(result, "tables"), 1), "rows"), 0);
    assert_true(ct_value_as_real(ct_value_at(ct_value_get(row, "values"), 0), 0) == 10 + 2.5);
    assert_true(ct_value_as_real(ct_value_at(ct_value_get(row, "paper"), 0), 0) == 0.5);
    assert_true(ct_value_as_real(ct_value_at(ct_value_get(row, "values"), 4), 0) == 2);
    ct_value_free(result);
    end_claims(context);
}

/* A point that diverged is the worst, wherever it stands. */
static void test_divergence(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    call_count = 0;
    with_holes = true;
    ct_value *result = perform(context, compare, 2);
    assert_int_equal(outcome.point[0], 2);
    assert_true(isnan(scores_found[0][1]));
    ct_value_free(result);
    end_claims(context);
}

static ct_status no_grid_trial(const ct_claim_trial *t, double *score, double *value) {
    assert_true(isnan(t->setting));
    *score = *value = t->arm == 0 ? 1 : NAN;
    return CT_OK;
}
static ct_status without_grid(ct_claim_run *run) {
    const ct_claim_comparison how = {
        .measure = "accuracy", .arms = {"plain", "broken"}, .trial = no_grid_trial};
    ct_status status = ct_claim_compare(run, &how, &outcome);
    if (status != CT_OK) return status;
    copy_outcome();
    return ct_claim_check_paired(run, "broken - plain", outcome.value[1], outcome.value[0], outcome.seeds,
                                 CT_BY_MEAN, CT_WITHIN, 1e9);
}
static void test_without_grid(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *result = perform(context, without_grid, 3);
    assert_string_equal(verdict_of(result), "DOES NOT HOLD"); /* NaN holds for no bound */
    assert_true(outcome.trials[0] == 3 && outcome.trials[1] == 3);
    ct_value_free(result);
    end_claims(context);
}

static ct_status grid_without_name(ct_claim_run *run) {
    const ct_claim_comparison how = {
        .measure = "a", .arms = {"x"}, .grid = grid, .grid_count = 3, .trial = trial};
    return ct_claim_compare(run, &how, &outcome);
}
static ct_status too_many_points(ct_claim_run *run) {
    const ct_claim_comparison how = {
        .measure = "a", .arms = {"x"}, .setting = "s", .grid = grid, .grid_count = 33, .trial = trial};
    return ct_claim_compare(run, &how, &outcome);
}
static void test_bad_comparisons(void **state) {
    (void)state;
    ct_status (*const functions[])(ct_claim_run *) = {grid_without_name, too_many_points};
    for (int i = 0; i < 2; i++) {
        ct_context *context = ct_context_create(1);
        ct_value *result = perform(context, functions[i], 1);
        assert_string_equal(verdict_of(result), "FAILED");
        assert_non_null(
            strstr(ct_value_as_string(ct_value_get(result, "reason"), ""), "a grid has a setting's name"));
        ct_value_free(result);
        end_claims(context);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fairness),
                                       cmocka_unit_test(test_tables_and_notes),
                                       cmocka_unit_test(test_divergence), cmocka_unit_test(test_without_grid),
                                       cmocka_unit_test(test_bad_comparisons)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
