/* test_check.c - which measured values hold, which verdict follows, and what stops a claim. */
#include "run.h"
#include <stdlib.h>

typedef struct example {
    ct_relation relation;
    double measured, bound;
    bool holds;
    double margin;
} example;

static const example examples[] = {
    {CT_LESS, 1, 2, true, 1},          {CT_LESS, 2, 2, false, 0},       {CT_AT_MOST, 2, 2, true, 0},
    {CT_AT_MOST, 3, 2, false, -1},     {CT_AT_LEAST, 2, 2, true, 0},    {CT_AT_LEAST, 1, 2, false, -1},
    {CT_GREATER, 2, 2, false, 0},      {CT_GREATER, 5, 2, true, 3},     {CT_WITHIN, -0.5, 1, true, 0.5},
    {CT_WITHIN, -1.5, 1, false, -0.5}, {CT_WITHIN, 1, 1, true, 0},      {CT_LESS, NAN, 2, false, NAN},
    {CT_AT_LEAST, NAN, 2, false, NAN}, {CT_WITHIN, NAN, 2, false, NAN}, {CT_GREATER, 2, NAN, false, NAN},
    {CT_LESS, INFINITY, 2, false, NAN}};
static size_t example_index;

static ct_status one_example(ct_claim_run *run) {
    const example *e = &examples[example_index];
    return ct_claim_check(run, "measure", e->measured, e->relation, e->bound);
}

static void test_relations(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    for (example_index = 0; example_index < sizeof(examples) / sizeof(examples[0]); example_index++) {
        const example *e = &examples[example_index];
        ct_value *result = perform(context, one_example, 1);
        assert_non_null(result);
        assert_string_equal(verdict_of(result), e->holds ? "HOLDS" : "DOES NOT HOLD");
        assert_int_equal(ct_value_as_bool(ct_value_get(check_at(result, 0), "holds"), !e->holds), e->holds);
        double margin = number(check_at(result, 0), "margin");
        if (isnan(e->margin))
            assert_true(isnan(margin)); /* what is no number is null */
        else
            assert_true(margin == e->margin);
        ct_value_free(result);
    }
    end_claims(context);
}

/* One that does not hold among some that do decides. */
static ct_status mixed(ct_claim_run *run) {
    const double each[] = {3, 1, 2}, hole[] = {3, NAN, 2};
    ct_claim_check(run, "good", 1, CT_LESS, 2);
    ct_claim_check_each(run, "each", each, 3, CT_AT_LEAST, 1.5);
    ct_claim_check_each(run, "hole", hole, 3, CT_AT_LEAST, 0);
    ct_claim_check_each(run, "fine", each, 3, CT_AT_LEAST, 1);
    return CT_OK;
}

static void test_each(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *result = perform(context, mixed, 1);
    assert_string_equal(verdict_of(result), "DOES NOT HOLD");
    const bool expected[] = {true, false, false, true};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ct_value_as_bool(ct_value_get(check_at(result, i), "holds"), !expected[i]),
                         expected[i]);
    assert_true(number(check_at(result, 1), "measured") == 1); /* the worst */
    assert_true(isnan(number(check_at(result, 2), "measured")));
    ct_value_free(result);
    end_claims(context);
}

/* Differences 1, 2, 3, 4 less than 0.2 .. 4.8 (t of 3 degrees): 2.5 +- 2.0542. */
static ct_status paired(ct_claim_run *run) {
    const double method[] = {2, 4, 6, 8}, baseline[] = {1, 2, 3, 4}, one[] = {3};
    ct_claim_check_paired(run, "mean", method, baseline, 4, CT_BY_MEAN, CT_AT_LEAST, 1);
    ct_claim_check_paired(run, "interval", method, baseline, 4, CT_BY_INTERVAL, CT_AT_LEAST, 1);
    ct_claim_check_paired(run, "interval holds", method, baseline, 4, CT_BY_INTERVAL, CT_AT_LEAST, 0.4);
    ct_claim_check_mean(run, "one by mean", one, 1, CT_BY_MEAN, CT_GREATER, 1);
    ct_claim_check_mean(run, "one by interval", one, 1, CT_BY_INTERVAL, CT_GREATER, 1);
    ct_claim_check_paired(run, "within", method, baseline, 4, CT_BY_MEAN, CT_WITHIN, 0.1);
    return CT_OK;
}

static void test_paired(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *result = perform(context, paired, 4);
    const bool holds[] = {true, false, true, true, false, false},
               settled[] = {false, false, true, false, false, true};
    for (size_t i = 0; i < 6; i++) {
        const ct_value *check = check_at(result, i);
        assert_int_equal(ct_value_as_bool(ct_value_get(check, "holds"), !holds[i]), holds[i]);
        assert_int_equal(ct_value_as_bool(ct_value_get(check, "settled"), !settled[i]), settled[i]);
    }
    assert_true(number(check_at(result, 0), "measured") == 2.5 &&
                number(check_at(result, 0), "margin") == 1.5);
    double half = ct_student_quantile(0.975, 3) * sqrt(5.0 / 3) / 2;
    assert_true(fabs(number(check_at(result, 1), "margin") - (1.5 - half)) < 1e-12);
    assert_true(fabs(number(check_at(result, 1), "interval.high") - (2.5 + half)) < 1e-12);
    assert_int_equal(ct_value_count(ct_value_get(check_at(result, 0), "values")), 4);
    ct_value_free(result);
    end_claims(context);
}

/* ------------------------------------------------------------------------------------------- failures */

static ct_status no_check(ct_claim_run *run) {
    ct_claim_note(run, "nothing");
    return CT_OK;
}
static ct_status with_error(ct_claim_run *run) {
    ct_claim_check(run, "good", 1, CT_LESS, 2);
    return ct_fail(ct_claim_context(run), CT_ERROR_SHAPE, "shapes differ");
}
static ct_status bad_yaml(ct_claim_run *run) {
    ct_claim_yaml(run, "{a: [}");
    ct_claim_check(run, "good", 1, CT_LESS, 2); /* does nothing on a failed context */
    return CT_OK;
}
static ct_status nameless(ct_claim_run *run) {
    ct_claim_check(run, "good", 1, CT_LESS, 2);
    return CT_ERROR_TYPE;
}
static ct_status no_values(ct_claim_run *run) {
    return ct_claim_check_mean(run, "empty", NULL, 0, CT_BY_MEAN, CT_LESS, 1);
}
static ct_status no_table(ct_claim_run *run) {
    return ct_claim_row(run, 3, "row", NULL, NULL);
}

static void expect_failure(ct_status (*function)(ct_claim_run *run), const char *reason) {
    ct_context *context = ct_context_create(1);
    ct_value *result = perform(context, function, 1);
    assert_false(ct_failed(context));
    assert_string_equal(verdict_of(result), "FAILED");
    const char *found = ct_value_as_string(ct_value_get(result, "reason"), "");
    if (!strstr(found, reason)) fail_msg("\"%s\" not in \"%s\"", reason, found);
    ct_value_free(result);
    end_claims(context);
}

static void test_failures(void **state) {
    (void)state;
    expect_failure(no_check, "it checks nothing");
    expect_failure(with_error, "shapes differ");
    expect_failure(bad_yaml, "test:1");
    expect_failure(nameless, ct_status_name(CT_ERROR_TYPE));
    expect_failure(no_values, "check \"empty\": no values");
    expect_failure(no_table, "there is no table 3");
}

static char made[256];

static ct_status keeps_files(ct_claim_run *run) {
    const char *folder = ct_claim_folder(run);
    char path[300];
    assert_non_null(folder);
    assert_true(folder == ct_claim_folder(run));
    assert_true(ct_folder_exists(folder));
    snprintf(made, sizeof(made), "%s", folder);
    snprintf(path, sizeof(path), "%s/file", folder);
    assert_int_equal(ct_file_write(ct_claim_context(run), path, "x", 1), CT_OK);
    return ct_claim_seeds(run) == 1 ? CT_OK : ct_fail(ct_claim_context(run), CT_ERROR_STATE, "it fails");
}

/* What a claim writes goes with it, whether it fails or not. */
static void test_folder(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    for (int seeds = 1; seeds <= 2; seeds++) {
        made[0] = 0;
        ct_value_free(perform(context, keeps_files, seeds));
        assert_true(made[0] && !ct_folder_exists(made));
    }
    end_claims(context);
}

static void test_missing_data(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    static const char *const data[] = {"no/such.file", NULL};
    const ct_claim claim = {
        .abi = CT_CLAIM_ABI, .name = "needy", .sentence = "S.", .seeds = 1, .data = data, .run = with_error};
    const ct_claim_settings settings = {.data = "/nowhere", .first_seed = 1};
    ct_value *result = ct_claim_perform(context, &claim, &settings);
    assert_string_equal(verdict_of(result), "SKIPPED");
    assert_non_null(
        strstr(ct_value_as_string(ct_value_get(result, "reason"), ""), "no/such.file in /nowhere"));
    ct_value *list = ct_value_list(context);
    ct_value_append(list, result);
    ct_value *summary = ct_claim_summary(context, list);
    assert_true(number(summary, "counts.skipped") == 1 && number(summary, "counts.holds") == 0);
    ct_value_free(summary);
    end_claims(context);
}

static void test_other_abi(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    const ct_claim claim = {.abi = CT_CLAIM_ABI + 1, .name = "old", .sentence = "S.", .run = with_error};
    const ct_claim_settings settings = {.first_seed = 1};
    ct_value *result = ct_claim_perform(context, &claim, &settings);
    assert_string_equal(verdict_of(result), "FAILED");
    ct_value_free(result);
    end_claims(context);
}

static ct_status endless(ct_claim_run *run) {
    ct_status status = CT_OK;
    while (status == CT_OK)
        status = ct_claim_continue(run);
    return status;
}

static void test_limit_and_stop(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    const ct_claim claim = {
        .abi = CT_CLAIM_ABI, .name = "endless", .sentence = "S.", .seeds = 1, .run = endless};
    const ct_claim_settings settings = {.first_seed = 1, .limit = 0.001};
    ct_value *result = ct_claim_perform(context, &claim, &settings);
    assert_string_equal(verdict_of(result), "FAILED");
    assert_non_null(strstr(ct_value_as_string(ct_value_get(result, "reason"), ""), "0.001 minutes"));
    ct_value_free(result);
    ct_request_stop(context);
    assert_null(ct_claim_perform(context, &claim, &settings));
    assert_false(ct_failed(context));
    ct_clear_stop(context);
    end_claims(context);
}

/* Memory that ends anywhere gives a result that says so, or no result and the error. */
static void test_no_memory(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    int failed = 0, missing = 0;
    for (int64_t n = 1; n < 400; n++) {
        ct_memory_fail_at(context, n);
        ct_value *result = perform_once(context, paired, 4);
        ct_memory_fail_at(context, 0);
        if (!result) {
            assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
            ct_context_clear(context);
            missing++;
        } else if (strcmp(verdict_of(result), "FAILED") == 0) {
            failed++;
        } else {
            assert_string_equal(verdict_of(result), "DOES NOT HOLD");
            assert_int_equal(ct_value_count(ct_value_get(result, "checks")), 6);
        }
        ct_value_free(result);
    }
    assert_true(failed > 20 && missing > 5);
    end_claims(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relations),      cmocka_unit_test(test_each),
        cmocka_unit_test(test_paired),         cmocka_unit_test(test_failures), cmocka_unit_test(test_folder),
        cmocka_unit_test(test_missing_data),   cmocka_unit_test(test_other_abi),
        cmocka_unit_test(test_limit_and_stop), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
