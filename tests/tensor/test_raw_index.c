/* test_raw_index.c - gather, scatter, index_select, index_add, concat, flip, triangles. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static ct_tensor *random_index(ct_context *context, int ndim, const int64_t *shape, int64_t below,
                               ct_dtype dtype) {
    ct_random random = ct_random_make(3, (uint64_t)below);
    return ct_random_integer_tensor(context, dtype, ndim, shape, 0, below, &random);
}

/* Row-major position in `shape` of the element at a position of `index_shape`, with axis coordinate `at`. */
static int64_t position_with(int ndim, const int64_t *shape, const int64_t *index_shape, int64_t position,
                             int axis, int64_t at) {
    int64_t result = 0, step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        result += (i == axis ? at : position % index_shape[i]) * step;
        position /= index_shape[i];
        step *= shape[i];
    }
    return result;
}

static void test_gather_and_scatter(void **state) {
    ct_context *context = *state;
    const int64_t shape[3] = {6, 50, 9};
    for (int type = 0; type < CT_DTYPES; type++)
        for (int axis = 0; axis < 3; axis++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s, axis %d, strides %d", ct_dtype_name((ct_dtype)type), axis, kind);
                int64_t index_shape[3] = {5, 40, 9}; /* may be smaller along the other axes */
                index_shape[axis] = 20;
                ct_tensor *x = sample(context, (ct_dtype)type, 3, shape, 2);
                ct_tensor *index =
                    random_index(context, 3, index_shape, shape[axis], kind % 2 ? CT_I32 : CT_I64);
                ct_tensor *values = sample(context, (ct_dtype)type, 3, index_shape, 4);
                double *in = elements(x), *at = elements(index), *add = elements(values);
                double *gathered = elements(index), *put = elements(x), *sum = elements(x);
                for (int64_t i = 0; i < index->count; i++) {
                    int64_t place = position_with(3, shape, index_shape, i, axis, (int64_t)at[i]);
                    gathered[i] = in[place];
                    put[place] =
                        add[i]; /* the axis is not last in row-major order: repeats are met in order */
                    sum[place] += add[i];
                }
                if (type == CT_U8 || type == CT_I8)
                    for (int64_t i = 0; i < x->count; i++)
                        sum[i] = type == CT_U8 ? (uint8_t)(int)sum[i] : (int8_t)(uint8_t)(int)sum[i];
                index = restride(index, (kind + 1) % 4);
                values = restride(values, (kind + 2) % 4);
                expect_values(ct_raw_gather(restride(x, kind), axis - 3, index), 3, index_shape, gathered, 0);
                ct_tensor *target = restride(ct_raw_cast(x, (ct_dtype)type), kind);
                ct_raw_scatter(target, axis, index, values, false);
                expect_values(target, 3, shape, put, 0);
                target = restride(ct_raw_cast(x, (ct_dtype)type), kind);
                ct_raw_scatter(target, axis, index, values, true);
                expect_values(target, 3, shape, sum, type == CT_BF16 ? 4e-3 : type == CT_F16 ? 1e-3 : 0);
                free(in), free(at), free(add), free(gathered), free(put), free(sum);
                ct_scope_close(context, scope);
            }
    ct_tensor *logits = ct_arange(context, CT_F32, 6, 0, 1); /* [2, 3]: the loss's gather */
    logits = ct_view_strided(logits, 2, (const int64_t[]){2, 3}, (const int64_t[]){3, 1}, 0);
    ct_tensor *ids = ct_from_data(context, CT_I64, CT_DIMS(2, 1), (const int64_t[]){2, 0});
    EXPECT_VALUES(ct_raw_gather(logits, 1, ids), 0, {2 COMMA 1}, {2, 3});
}

static void test_half_sums_round_once(void **state) {
    ct_context *context = *state;
    ct_tensor *target = ct_full(context, CT_BF16, CT_DIMS(2), 256);
    ct_tensor *index = ct_zeros(context, CT_I64, CT_DIMS(4)),
              *ones = ct_full(context, CT_BF16, CT_DIMS(4), 1);
    ct_raw_scatter(target, 0, index, ones, true); /* one by one, 256 + 1 would round back to 256 each time */
    EXPECT_VALUES(target, 0, {2}, {260, 256});
    ct_raw_index_add(target, 0, index, ones);
    EXPECT_VALUES(target, 0, {2}, {264, 256});
}

static void test_select_and_add(void **state) {
    ct_context *context = *state;
    const int64_t shape[3] = {7, 30, 80};
    for (int type = 0; type < CT_DTYPES; type++)
        for (int axis = 0; axis < 3; axis++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s, axis %d, strides %d", ct_dtype_name((ct_dtype)type), axis, kind);
                int64_t result[3] = {7, 30, 80}, n = 41;
                result[axis] = n;
                ct_tensor *x = sample(context, (ct_dtype)type, 3, shape, 2);
                ct_tensor *index = random_index(context, 1, &n, shape[axis], kind % 2 ? CT_I64 : CT_I32);
                ct_tensor *values = sample(context, (ct_dtype)type, 3, result, 4);
                double *in = elements(x), *at = elements(index), *add = elements(values),
                       *selected = elements(values);
                double *sum = elements(x);
                int64_t inner = axis == 0 ? 2400 : axis == 1 ? 80 : 1;
                for (int64_t i = 0; i < values->count; i++) {
                    int64_t which = (int64_t)at[i / inner % n];
                    int64_t place = (i / inner / n * shape[axis] + which) * inner + i % inner;
                    selected[i] = in[place];
                    sum[place] += add[i];
                }
                if (type == CT_U8 || type == CT_I8)
                    for (int64_t i = 0; i < x->count; i++)
                        sum[i] = type == CT_U8 ? (uint8_t)(int)sum[i] : (int8_t)(uint8_t)(int)sum[i];
                expect_values(ct_raw_index_select(restride(x, kind), axis, restride(index, kind)), 3, result,
                              selected, 0);
                ct_tensor *target = restride(ct_raw_cast(x, (ct_dtype)type), kind);
                ct_raw_index_add(target, axis, index, restride(values, (kind + 1) % 4));
                expect_values(target, 3, shape, sum, type == CT_BF16 ? 4e-3 : type == CT_F16 ? 1e-3 : 0);
                free(in), free(at), free(add), free(selected), free(sum);
                ct_scope_close(context, scope);
            }
}

static void test_bad_indices(void **state) {
    ct_context *context = *state;
    int64_t n = 40000;
    ct_tensor *x = ct_zeros(context, CT_F32, CT_DIMS(65)), *index = ct_zeros(context, CT_I64, CT_DIMS(n));
    int64_t *at = ct_data_mutable(index);
    at[12] = 70;
    at[39000] = -1;
    ct_raw_gather(x, 0, index);
    expect_error(context, CT_ERROR_ARGUMENT, "gather: index 70 at position 12 is outside [0, 65)");
    at[12] = 64;
    ct_raw_index_select(x, 0, index);
    expect_error(context, CT_ERROR_ARGUMENT, "index_select: index -1 at position 39000 is outside [0, 65)");
    ct_tensor *values = ct_full(context, CT_F32, CT_DIMS(n), 1);
    ct_raw_scatter(x, 0, index, values, true);
    expect_error(context, CT_ERROR_ARGUMENT, "scatter_add: index -1 at position 39000");
    ct_raw_index_add(x, 0, index, values);
    expect_error(context, CT_ERROR_ARGUMENT, "index_add: index -1 at position 39000");
    for (int i = 0; i < 65; i++)
        assert_true(element(x, i) == 0); /* nothing was written */
    ct_raw_gather(x, 0, x);
    expect_error(context, CT_ERROR_TYPE, "gather: the index is f32, expected i64 or i32");
    ct_raw_gather(ct_zeros(context, CT_F32, CT_DIMS(2, 2)), 0, index);
    expect_error(context, CT_ERROR_SHAPE, "gather: an index i64[40000] does not fit f32[2, 2] along axis 0");
    ct_raw_index_select(x, 0, ct_zeros(context, CT_I64, CT_DIMS(1, 1)));
    expect_error(context, CT_ERROR_SHAPE,
                 "index_select: an index of one dimension is expected, found i64[1, 1]");
    ct_raw_index_add(x, 0, index, ct_zeros(context, CT_F32, CT_DIMS(3)));
    expect_error(context, CT_ERROR_SHAPE,
                 "index_add: values f32[3] do not fit 40000 indices along axis 0 of f32[65]");
    ct_raw_scatter(x, 0, index, ct_zeros(context, CT_F32, CT_DIMS(3)), false);
    expect_error(context, CT_ERROR_SHAPE, "scatter: an index");
    assert_int_equal(ct_raw_gather(x, 0, ct_zeros(context, CT_I64, CT_DIMS(0)))->count, 0);
    expect_fine(context);
}

static void test_concat(void **state) {
    ct_context *context = *state;
    ct_tensor *a = ct_full(context, CT_F32, CT_DIMS(2, 1), 1),
              *b = ct_full(context, CT_BF16, CT_DIMS(2, 2), 2);
    ct_tensor *none = ct_zeros(context, CT_F32, CT_DIMS(2, 0));
    ct_tensor *y = ct_raw_concat((ct_tensor *const[]){a, none, b}, 3, -1);
    assert_int_equal(y->dtype, CT_F32);
    EXPECT_VALUES(y, 0, {2 COMMA 3}, {1, 2, 2, 1, 2, 2});
    EXPECT_VALUES(ct_raw_concat((ct_tensor *const[]){a, a}, 2, 0), 0, {4 COMMA 1}, {1, 1, 1, 1});
    ct_raw_concat((ct_tensor *const[]){a, b}, 2, 0);
    expect_error(context, CT_ERROR_SHAPE,
                 "concat: part 1, bf16[2, 2], does not fit part 0, f32[2, 1], along axis 0");
    ct_tensor *large = ct_arange(context, CT_F32, 60000, 0, 1);
    large = ct_view_strided(large, 2, (const int64_t[]){300, 200}, (const int64_t[]){1, 300}, 0);
    ct_tensor *both = ct_raw_concat((ct_tensor *const[]){large, large}, 2, 1);
    expect_fine(context);
    for (int64_t r = 0; r < 300; r++)
        for (int64_t c = 0; c < 400; c++)
            assert_true(((const float *)ct_data(both))[r * 400 + c] == (float)(r + 300 * (c % 200)));
}

static void test_flip_and_triangles(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++) {
        ct_tensor *x = ct_arange(context, (ct_dtype)type, 6, 1, 1);
        x = ct_view_strided(x, 2, (const int64_t[]){2, 3}, (const int64_t[]){3, 1}, 0);
        EXPECT_VALUES(ct_raw_flip(x, 1), 0, {2 COMMA 3}, {4, 5, 6, 1, 2, 3});
        EXPECT_VALUES(ct_raw_flip(x, 2), 0, {2 COMMA 3}, {3, 2, 1, 6, 5, 4});
        EXPECT_VALUES(ct_raw_flip(x, 3), 0, {2 COMMA 3}, {6, 5, 4, 3, 2, 1});
        EXPECT_VALUES(ct_raw_flip(x, 0), 0, {2 COMMA 3}, {1, 2, 3, 4, 5, 6});
        EXPECT_VALUES(ct_raw_triangle(x, 0, false), 0, {2 COMMA 3}, {1, 0, 0, 4, 5, 0});
        EXPECT_VALUES(ct_raw_triangle(x, 1, false), 0, {2 COMMA 3}, {1, 2, 0, 4, 5, 6});
        EXPECT_VALUES(ct_raw_triangle(x, -5, false), 0, {2 COMMA 3}, {0, 0, 0, 0, 0, 0});
        EXPECT_VALUES(ct_raw_triangle(x, 0, true), 0, {2 COMMA 3}, {1, 2, 3, 0, 5, 6});
        EXPECT_VALUES(ct_raw_triangle(x, -1, true), 0, {2 COMMA 3}, {1, 2, 3, 4, 5, 6});
        EXPECT_VALUES(ct_raw_triangle(x, INT64_MAX, true), 0, {2 COMMA 3}, {0, 0, 0, 0, 0, 0});
        EXPECT_VALUES(ct_raw_triangle(restride(x, 1), 2, true), 0, {2 COMMA 3}, {0, 0, 3, 0, 0, 0});
    }
    ct_raw_flip(ct_zeros(context, CT_F32, CT_DIMS(2)), 2);
    expect_error(context, CT_ERROR_SHAPE, "flip: the axes (bits 0x2)");
    ct_raw_triangle(ct_zeros(context, CT_F32, CT_DIMS(2)), 0, true);
    expect_error(context, CT_ERROR_SHAPE, "triu: matrices are expected, found f32[2]");
}

static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *x = ct_empty(context, CT_BF16, CT_DIMS(1000, 64)),
              *ids = ct_empty(context, CT_I64, CT_DIMS(77));
    ct_tensor *y = ct_raw_index_select(x, 0, ids);
    assert_true(ct_device_of(y) == CT_META && y->shape[0] == 77 && y->shape[1] == 64);
    assert_int_equal(ct_raw_index_add(x, 0, ids, y), CT_OK);
    ct_tensor *index = ct_empty(context, CT_I32, CT_DIMS(1000, 3));
    ct_tensor *z = ct_raw_gather(x, 1, index);
    assert_true(z->shape[1] == 3 && z->dtype == CT_BF16);
    assert_int_equal(ct_raw_scatter(x, 1, index, z, true), CT_OK);
    assert_true(ct_raw_concat((ct_tensor *const[]){x, z}, 2, 1)->shape[1] == 67);
    assert_true(ct_raw_flip(x, 1)->count == 64000 && ct_raw_triangle(x, 0, true)->count == 64000);
    expect_fine(context);
}

static ct_tensor *make_indexed(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *table = ct_random_normal_tensor(context, CT_F32, CT_DIMS(500, 96), 0, 1, &random);
    ct_tensor *ids = ct_random_integer_tensor(context, CT_I64, CT_DIMS(3000), 0, 500, &random);
    ct_tensor *rows = ct_raw_index_select(table, 0, ids);
    ct_raw_index_add(table, 0, ids, rows);
    ct_tensor *narrow = ct_random_normal_tensor(context, CT_F32, CT_DIMS(500, 16), 0, 1, &random);
    ct_raw_index_add(narrow, 0, ids, ct_view_strided(rows, 2, (const int64_t[]){3000, 16}, rows->stride, 0));
    ct_tensor *index = ct_random_integer_tensor(context, CT_I64, CT_DIMS(500, 96), 0, 500, &random);
    ct_raw_scatter(table, 0, index, ct_raw_gather(table, 0, index), true);
    return ct_raw_concat((ct_tensor *const[]){table, narrow}, 2, 1);
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_indexed);
}
static ct_tensor *make_few(ct_context *context) {
    ct_tensor *x = ct_full(context, CT_BF16, CT_DIMS(3, 2), 0.5),
              *ids = ct_zeros(context, CT_I32, CT_DIMS(2));
    ct_tensor *y = ct_raw_index_select(x, 0, ids);
    ct_raw_index_add(x, 0, ids, y);
    ct_tensor *index = ct_zeros(context, CT_I32, CT_DIMS(3, 1));
    ct_raw_scatter(x, 1, index, ct_raw_gather(x, 1, index), true);
    return ct_raw_triangle(ct_raw_flip(ct_raw_concat((ct_tensor *const[]){x, y}, 2, 0), 1), 0, true);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gather_and_scatter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_sums_round_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_select_and_add, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_indices, setup, teardown),
        cmocka_unit_test_setup_teardown(test_concat, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flip_and_triangles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
