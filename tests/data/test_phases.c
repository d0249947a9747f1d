/* test_phases.c - datasets of samples one after the other: how long each phase lasts, which rows it draws,
 * replay, refusals, failing allocations. */
#include "method/check.h"
#include <carat/data.h>

enum { MOST = 64 };

/* `count` samples of two tokens {first + i, first + i}: the first token of a row tells which it is. */
static ct_dataset *samples(ct_context *context, int count, int32_t first) {
    ct_sample_list list = {0};
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < 2; t++) {
            ct_ids_push(context, &list.ids, first + i);
            ct_ids_push(context, &list.labels, first + i);
        }
        ct_ids_push(context, &list.lengths, 2);
    }
    ct_dataset *dataset =
        ct_dataset_from_samples(context, &list, 0, count, &(ct_row_options){4, false, false});
    ct_sample_list_free(context, &list);
    return dataset;
}

static ct_dataset *phased(ct_context *context, double replay) {
    ct_dataset *parts[] = {samples(context, 8, 100), samples(context, 4, 200), samples(context, 4, 300)};
    return ct_dataset_phased(context, parts, 3, replay);
}

static int32_t drawn(ct_context *context, const ct_dataset *dataset, int64_t index) {
    int32_t ids[4], targets[4];
    assert_int_equal(ct_dataset_row(context, dataset, 4, 9, index, ids, targets), CT_OK);
    assert_int_equal(targets[0], ids[0]);
    assert_int_equal(targets[1], CT_LABEL_NONE);
    return ids[0];
}

static void shares(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *all = phased(context, 0);
    assert_non_null(all);
    assert_true(ct_dataset_has_samples(all));
    assert_int_equal(ct_dataset_rows(all, 4), 16);
    assert_int_equal(ct_dataset_tokens(all), 32);
    assert_int_equal(ct_dataset_largest(all), 303);
    assert_int_equal(ct_dataset_token(all, 16), 200);
    assert_int_equal(ct_dataset_row_counts(all, 15).targets, 1);
    /* 16 steps of 2 rows: 8, 4 and 4 steps, two epochs of each. */
    assert_int_equal(ct_dataset_arrange(context, all, 16, 2), CT_OK);
    assert_int_equal(ct_dataset_phase(all, 7), 0);
    assert_int_equal(ct_dataset_phase(all, 8), 1);
    assert_int_equal(ct_dataset_phase(all, 12), 2);
    int seen[400] = {0};
    for (int64_t i = 31; i >= 0; i--) {
        int32_t id = drawn(context, all, i);
        assert_int_equal(id / 100, i < 16 ? 1 : i < 24 ? 2 : 3);
        seen[id]++;
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(seen[100 + i], 2);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(seen[200 + i], 2);
        assert_int_equal(seen[300 + i], 2);
    }
    /* However few steps, each phase has one. */
    assert_int_equal(ct_dataset_arrange(context, all, 3, 2), CT_OK);
    for (int p = 0; p < 3; p++)
        assert_int_equal(ct_dataset_phase(all, p), p);
    assert_int_equal(ct_dataset_arrange(context, all, 2, 2), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "2 steps for 3 phases", "one each");
    ct_dataset_destroy(all);
    end_context(context);
}

/* A quarter of the rows of a later phase is of those before it, each of them in turn. */
static void replay(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *all = phased(context, 0.25);
    assert_int_equal(ct_dataset_arrange(context, all, 64, 4), CT_OK); /* 32, 16, 16 steps */
    int earlier[2] = {0, 0}, seen[400] = {0};
    for (int64_t i = 128; i < 256; i++) {
        int32_t id = drawn(context, all, i);
        int phase = i < 192 ? 1 : 2;
        bool is_earlier = id / 100 < phase + 1;
        assert_true(id / 100 <= phase + 1);
        earlier[phase - 1] += is_earlier;
        if (phase == 1 && is_earlier) seen[id]++;
    }
    assert_int_equal(earlier[0], 16);
    assert_int_equal(earlier[1], 16);
    for (int i = 0; i < 8; i++)
        assert_int_equal(seen[100 + i], 2);
    ct_dataset_destroy(all);
    end_context(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *parts[] = {samples(context, 2, 1),
                           ct_dataset_from_ids(context, (const int32_t[]){1, 2, 3}, 3)};
    assert_null(ct_dataset_phased(context, parts, 2, 0));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "phase 1", "stream of text");
    ct_dataset *all = phased(context, 0);
    assert_null(ct_dataset_part(all, 0, 2));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "samples", "stream of tokens");
    ct_dataset_destroy(all);
    end_context(context);
}

static void allocations(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    bool failed = true;
    for (int n = 1; failed && n < MOST; n++) {
        ct_dataset *parts[] = {samples(context, 2, 1), samples(context, 3, 10)};
        ct_memory_fail_at(context, n);
        ct_dataset *all = ct_dataset_phased(context, parts, 2, 0.5);
        ct_memory_fail_at(context, 0);
        failed = ct_failed(context);
        assert_true((all == NULL) == failed);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_dataset_destroy(all);
    }
    assert_false(failed);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares), cmocka_unit_test(replay),
                                       cmocka_unit_test(refused), cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
