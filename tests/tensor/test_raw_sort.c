/* test_raw_sort.c - sorting and the k greatest or least along an axis. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static void test_worked(void **state) {
    ct_context *context = *state;
    ct_tensor *x = ct_from_data(context, CT_F32, CT_DIMS(8),
                                (const float[]){3, NAN, -0.0f, 0, -INFINITY, INFINITY, 3, -1}),
              *index;
    ct_tensor *y = ct_raw_sort(x, 0, false, &index);
    EXPECT_VALUES(y, 0, {8}, {-INFINITY, -1, 0, 0, 3, 3, INFINITY, NAN});
    EXPECT_VALUES(index, 0, {8}, {4, 7, 2, 3, 0, 6, 5, 1}); /* -0 and 0 are equal: as they stood */
    y = ct_raw_sort(x, -1, true, &index);
    EXPECT_VALUES(y, 0, {8}, {INFINITY, 3, 3, 0, 0, -1, -INFINITY, NAN});
    EXPECT_VALUES(index, 0, {8}, {5, 0, 6, 2, 3, 7, 4, 1});
    y = ct_raw_topk(x, 3, 0, true, &index);
    EXPECT_VALUES(y, 0, {3}, {INFINITY, 3, 3});
    EXPECT_VALUES(index, 0, {3}, {5, 0, 6});
    y = ct_raw_topk(x, 1, 0, false, &index);
    EXPECT_VALUES(y, 0, {1}, {-INFINITY});
    assert_int_equal(ct_raw_topk(x, 0, 0, true, &index)->count, 0);
    const int64_t wide[] = {INT64_MAX, INT64_MIN, 0, -1};
    y = ct_raw_sort(ct_from_data(context, CT_I64, CT_DIMS(4), wide), 0, false, &index);
    EXPECT_VALUES(index, 0, {4}, {1, 3, 2, 0});
    assert_true(((const int64_t *)ct_data(y))[0] == INT64_MIN);
    ct_raw_topk(x, 9, 0, true, &index);
    expect_error(context, CT_ERROR_ARGUMENT, "topk: k is 9, but axis 0 has 8 elements");
    ct_raw_sort(x, 1, true, &index);
    expect_error(context, CT_ERROR_SHAPE, "sort: axis 1 does not exist in f32[8]");
}

/* Each line sorted and stable, the indices a permutation that gives the values; top k the head of the sorted
 * line. */
static void check_lines(ct_tensor *x, ct_tensor *y, ct_tensor *index, int axis, int64_t kept,
                        bool descending) {
    int64_t inner = 1, length = x->shape[axis];
    for (int i = axis + 1; i < x->ndim; i++)
        inner *= x->shape[i];
    double *in = elements(x), *out = elements(y), *at = elements(index);
    char *seen = malloc((size_t)length);
    assert_non_null(seen);
    for (int64_t line = 0; line < x->count / length; line++) {
        int64_t from = line / inner * length * inner + line % inner,
                to = line / inner * kept * inner + line % inner;
        memset(seen, 0, (size_t)length);
        for (int64_t i = 0; i < kept; i++) {
            double value = out[to + i * inner];
            int64_t place = (int64_t)at[to + i * inner];
            if (place < 0 || place >= length || seen[place]++) fail_msg("%s: places", checking);
            if (in[from + place * inner] != value) fail_msg("%s: values", checking);
            if (i == 0) continue;
            double before = out[to + (i - 1) * inner];
            if (descending ? before < value : before > value) fail_msg("%s: order", checking);
            if (before == value && at[to + (i - 1) * inner] > (double)place)
                fail_msg("%s: not stable", checking);
        }
        double last = out[to + (kept - 1) * inner]; /* nothing left out goes before the last one kept */
        int64_t last_place = (int64_t)at[to + (kept - 1) * inner];
        for (int64_t i = 0; i < length; i++) {
            double value = in[from + i * inner];
            if (seen[i]) continue;
            if ((descending ? value > last : value < last) || (value == last && i < last_place))
                fail_msg("%s: left out", checking);
        }
    }
    free(in), free(out), free(at), free(seen);
}

static void test_lines(void **state) {
    ct_context *context = *state;
    static const int64_t shapes[][3] = {{3, 7, 5}, {2, 1500, 3}, {1, 33, 40}, {20, 2, 100}};
    for (int s = 0; s < COUNT(shapes); s++)
        for (int type = 0; type < CT_DTYPES; type++)
            for (int axis = 0; axis < 3; axis++)
                for (int kind = 0; kind < RESTRIDE_KINDS; kind++)
                    for (int descending = 0; descending < 2; descending++) {
                        ct_scope scope = ct_scope_open(context);
                        CHECKING("shape %d, %s, axis %d, strides %d", s, ct_dtype_name((ct_dtype)type), axis,
                                 kind);
                        ct_tensor *x = sample(context, (ct_dtype)type, 3, shapes[s], 6), *index;
                        ct_tensor *y = ct_raw_sort(restride(x, kind), axis, descending, &index);
                        expect_fine(context);
                        assert_true(index->dtype == CT_I64 && y->dtype == type);
                        check_lines(x, y, index, axis, shapes[s][axis], descending);
                        for (int64_t k = 1; k <= shapes[s][axis]; k = 3 * k + 1) {
                            y = ct_raw_topk(restride(x, kind), k, axis, descending, &index);
                            expect_fine(context);
                            check_lines(x, y, index, axis, k, descending);
                        }
                        ct_scope_close(context, scope);
                    }
}

static ct_tensor *make_sorted(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(40, 3000), 0, 1, &random), *index, *top;
    ct_tensor *y = ct_raw_sort(x, 1, true, &index), *z = ct_raw_topk(x, 50, 1, false, &top);
    return ct_raw_concat((ct_tensor *const[]){y, index, z, top}, 4, 1);
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_sorted);
}
static ct_tensor *make_few(ct_context *context) {
    ct_tensor *x = ct_full(context, CT_BF16, CT_DIMS(3, 90), 0.5), *index;
    ct_raw_topk(x, 4, 1, true, &index);
    return ct_raw_sort(x, 0, false, &index);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}
static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *x = ct_empty(context, CT_F16, CT_DIMS(100000, 50000)), *index;
    ct_tensor *y = ct_raw_topk(x, 7, 1, true, &index);
    assert_true(y->shape[1] == 7 && index->shape[0] == 100000 && index->dtype == CT_I64 && !ct_data(y));
    assert_true(ct_raw_sort(x, 0, true, &index)->count == x->count && index->count == x->count);
    expect_fine(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_worked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
