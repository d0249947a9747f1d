/* test_dataset.c - training rows as functions of (seed, index): coverage, shifts, both storages, parts. */
#include "method/check.h"
#include <carat/data.h>

static ct_dataset *counting(ct_context *context, int64_t count, int32_t first) {
    int32_t *ids = malloc((size_t)count * sizeof(*ids));
    assert_non_null(ids);
    for (int64_t i = 0; i < count; i++)
        ids[i] = first + (int32_t)i;
    ct_dataset *dataset = ct_dataset_from_ids(context, ids, (size_t)count);
    free(ids);
    assert_non_null(dataset);
    return dataset;
}

/* Of a text that counts, a row is told by its first token. */
static int64_t start_of(ct_context *context, const ct_dataset *dataset, int64_t length, uint64_t seed,
                        int64_t index, int32_t first) {
    int32_t ids[64], targets[64];
    assert_int_equal(ct_dataset_row(context, dataset, length, seed, index, ids, targets), CT_OK);
    for (int64_t t = 0; t < length; t++) {
        assert_int_equal(ids[t], ids[0] + t); /* in order, and the targets one further */
        assert_int_equal(targets[t], ids[t] + 1);
    }
    assert_true(ids[0] >= first && targets[length - 1] < first + ct_dataset_tokens(dataset));
    return ids[0] - first;
}

/* Rows of an epoch start at one shift apart from multiples of the length, each once, none beyond the end. */
static void covers_every_window_once(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (int64_t count = 9; count < 90; count += 8)
        for (int64_t length = 1; length <= 8; length++) {
            ct_dataset *dataset = counting(context, count, 100);
            int64_t rows = ct_dataset_rows(dataset, length), all = (count - 1) / length;
            assert_int_equal(rows, all > 1 ? all - 1 : 1);
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                int seen[128] = {0};
                int64_t least = INT64_MAX;
                for (int64_t r = 0; r < rows; r++) {
                    int64_t start = start_of(context, dataset, length, 3, epoch * rows + r, 100);
                    least = start < least ? start : least;
                    seen[start]++;
                }
                for (int64_t r = 0; r < rows; r++)
                    assert_int_equal(seen[least + r * length], 1);
            }
            ct_dataset_destroy(dataset);
        }
    end_context(context);
}

static void shifts_and_order_change_with_the_epoch(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *dataset = counting(context, 1000, 0);
    int64_t rows = ct_dataset_rows(dataset, 10), shifts = 0, same = 0, in_order = 0;
    int seen[20] = {0};
    for (int64_t epoch = 0; epoch < 50; epoch++) {
        int64_t shift = start_of(context, dataset, 10, 7, epoch * rows, 0) % 10;
        shifts += !seen[shift]++;
        for (int64_t r = 0; r < rows; r++) {
            int64_t here = start_of(context, dataset, 10, 7, epoch * rows + r, 0) / 10;
            int64_t first = start_of(context, dataset, 10, 7, r, 0) / 10;
            if (epoch) same += here == first;
            in_order += here == r;
        }
    }
    assert_true(shifts >= 8);           /* of 10, in 50 draws */
    assert_true(same < 49 * rows / 10); /* another order each time: about one in `rows` by chance */
    assert_true(in_order < 50 * rows / 10);
    ct_dataset_destroy(dataset);
    end_context(context);
}

static void functions_of_seed_and_index(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_dataset *dataset = counting(context, 500, 0), *again = counting(context, 500, 0);
    int64_t differ = 0;
    for (int64_t i = 99; i >= 0; i--) {
        int64_t start = start_of(context, dataset, 16, 1, i, 0);
        assert_int_equal(start_of(context, again, 16, 1, i, 0),
                         start); /* in whatever order they are asked for */
        differ += start_of(context, dataset, 16, 2, i, 0) != start;
    }
    assert_true(differ > 80);
    ct_dataset_destroy(dataset);
    ct_dataset_destroy(again);
    end_context(context);
}

static void both_storages(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (int32_t most = 65534; most <= 65536; most++) {
        ct_dataset *dataset = counting(context, 101, most - 100);
        assert_int_equal(ct_dataset_largest(dataset), most);
        assert_int_equal(ct_dataset_tokens(dataset), 101);
        for (int i = 0; i <= 100; i++)
            assert_int_equal(ct_dataset_token(dataset, i), most - 100 + i);
        ct_memory_counts counts;
        ct_memory_read(context, &counts);
        start_of(context, dataset, 20, 0, 5, most - 100);
        ct_dataset *part = ct_dataset_part(dataset, 50, 90);
        assert_int_equal(ct_dataset_tokens(part), 40);
        assert_int_equal(ct_dataset_token(part, 0), most - 50);
        assert_int_equal(ct_dataset_token(part, 39), most - 11);
        for (int i = 0; i < 6; i++)
            start_of(context, part, 20, 0, i, most - 50);
        ct_dataset_destroy(part);
        ct_dataset_destroy(dataset);
    }
    /* Ids that fit are kept in 2 bytes. */
    ct_memory_counts narrow, wide;
    ct_dataset *dataset = counting(context, 60000, 0);
    ct_memory_read(context, &narrow);
    ct_dataset_destroy(dataset);
    dataset = counting(context, 60000, 10000);
    ct_memory_read(context, &wide);
    ct_dataset_destroy(dataset);
    assert_true(narrow.current_total < 140000 && wide.current_total > 230000);
    end_context(context);
}

static void from_text(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    ct_dataset *dataset = ct_dataset_from_text(context, tokenizer, "a\xc3\xa9\0z", 5);
    assert_int_equal(ct_dataset_tokens(dataset), 5);
    assert_int_equal(ct_dataset_bytes(dataset), 5);
    assert_int_equal(ct_dataset_token(dataset, 2), 0xa9);
    assert_int_equal(ct_dataset_largest(dataset), 0xc3);
    ct_dataset_destroy(dataset);
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

static void refuses(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int32_t row[16];
    ct_dataset *dataset = counting(context, 8, 0);
    assert_int_equal(ct_dataset_rows(dataset, 8), 0);
    assert_int_equal(ct_dataset_rows(dataset, 7), 1);
    assert_int_equal(ct_dataset_row(context, dataset, 7, 0, 0, row, row + 8), CT_OK);
    assert_int_equal(ct_dataset_row(context, dataset, 8, 0, 0, row, row + 8), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT,
                 "the text has 8 tokens, a row of 8 tokens and its targets needs 9");
    assert_null(ct_dataset_part(dataset, 3, 9));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "part [3, 9) of 8 tokens");
    assert_null(ct_dataset_part(dataset, -1, 2));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "part [-1, 2)");
    assert_null(ct_dataset_part(dataset, 5, 4));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "part [5, 4)");
    ct_dataset_destroy(dataset);
    assert_null(ct_dataset_from_ids(context, (const int32_t[]){1, 2, -3}, 3));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "the id at position 2 is -3");
    dataset = ct_dataset_from_ids(context, NULL, 0);
    assert_int_equal(ct_dataset_rows(dataset, 1), 0);
    ct_dataset_destroy(dataset);
    end_context(context);
}

static void make_one(ct_context *context, void *user) {
    (void)user;
    ct_tokenizer *tokenizer = ct_tokenizer_from_kind(context, "bytes");
    ct_dataset *dataset = tokenizer ? ct_dataset_from_text(context, tokenizer, "abcdefgh", 8) : NULL;
    if (dataset) ct_dataset_destroy(ct_dataset_part(dataset, 1, 4));
    ct_dataset_destroy(dataset);
    ct_tokenizer_destroy(tokenizer);
}

static void survives_failures(void **state) {
    (void)state;
    sweep_memory(make_one, NULL, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(covers_every_window_once),
                                       cmocka_unit_test(shifts_and_order_change_with_the_epoch),
                                       cmocka_unit_test(functions_of_seed_and_index),
                                       cmocka_unit_test(both_storages),
                                       cmocka_unit_test(from_text),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
