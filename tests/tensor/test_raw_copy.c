/* test_raw_copy.c - copies between all strides and types, overlap, and target += alpha source. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static ct_tensor *permuted(ct_tensor *t, const int *order) {
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS];
    for (int i = 0; i < t->ndim; i++) {
        shape[i] = t->shape[order[i]];
        stride[i] = t->stride[order[i]];
    }
    return ct_view_strided(t, t->ndim, shape, stride, 0);
}

/* Position in the memory of t of the element at a row-major position of the view. */
static int64_t place(const ct_tensor *view, int64_t position) {
    int64_t at = view->offset;
    for (int i = view->ndim - 1; i >= 0; i--) {
        at += position % view->shape[i] * view->stride[i];
        position /= view->shape[i];
    }
    return at;
}

static void test_permutations(void **state) {
    ct_context *context = *state;
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const int64_t shapes[][3] = {{3, 5, 7}, {70, 4, 65}, {2, 530, 67}, {130, 1, 90}, {2, 3, 2}};
    static const ct_dtype types[] = {CT_U8, CT_BF16, CT_F32, CT_I64};
    for (int o = 0; o < COUNT(orders); o++)
        for (int s = 0; s < COUNT(shapes); s++)
            for (int type = 0; type < COUNT(types); type++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("order %d, shape %d, %s", o, s, ct_dtype_name(types[type]));
                int64_t count = shapes[s][0] * shapes[s][1] * shapes[s][2];
                ct_tensor *line = ct_arange(context, CT_I64, count, 0, 1);
                ct_tensor *x = ct_view_strided(
                    line, 3, shapes[s], (const int64_t[]){shapes[s][1] * shapes[s][2], shapes[s][2], 1}, 0);
                x = ct_raw_cast(x, types[type]);
                ct_tensor *view = permuted(x, orders[o]), *y = ct_raw_contiguous(view);
                ct_tensor *back = ct_zeros_like(x);
                ct_raw_copy(permuted(back, orders[o]), y); /* into a permuted target */
                double *from = elements(line), *got = elements(y), *returned = elements(back);
                int64_t range = types[type] == CT_U8 ? 256 : 0;
                for (int64_t i = 0; i < count; i++) {
                    double expected = from[place(view, i)];
                    if (range) expected = (double)((int64_t)expected % range);
                    if (types[type] == CT_BF16) expected = ct_bf16_to_f32(ct_f32_to_bf16((float)expected));
                    if (got[i] != expected) fail_msg("%s: element %lld", checking, (long long)i);
                }
                double *original = elements(x);
                assert_memory_equal(original, returned, (size_t)count * sizeof(double));
                free(original);
                free(from);
                free(got);
                free(returned);
                ct_scope_close(context, scope);
            }
}

static void test_strides(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++)
        for (int from = 0; from < RESTRIDE_KINDS; from++)
            for (int to = 0; to < RESTRIDE_KINDS; to++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s, strides %d to %d", ct_dtype_name((ct_dtype)type), from, to);
                ct_tensor *x = sample(context, (ct_dtype)type, CT_DIMS(3, 40, 70), 1);
                ct_tensor *target = restride(ct_zeros_like(x), to);
                ct_raw_copy(target, restride(x, from));
                double *expected = elements(x);
                expect_values(target, 3, x->shape, expected, 0);
                free(expected);
                ct_scope_close(context, scope);
            }
}

static void test_conversions(void **state) {
    ct_context *context = *state;
    ct_tensor *x =
        ct_from_data(context, CT_F32, CT_DIMS(5), (const float[]){-2.5f, 1e10f, NAN, 1.00390625f, 255.9f});
    EXPECT_VALUES(ct_raw_cast(x, CT_I32), 0, {5}, {-2, INT32_MAX, 0, 1, 255});
    EXPECT_VALUES(ct_raw_cast(x, CT_U8), 0, {5}, {0, 255, 0, 1, 255});
    EXPECT_VALUES(ct_raw_cast(x, CT_BF16), 0, {5}, {-2.5, 9999220736.0, NAN, 1, 256}); /* ties to even */
    EXPECT_VALUES(ct_raw_cast(x, CT_F16), 0, {5}, {-2.5, INFINITY, NAN, 1.00390625, 255.875});
    for (int from = 0; from < CT_DTYPES; from++)
        for (int to = 0; to < CT_DTYPES; to++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s to %s, strides %d", ct_dtype_name((ct_dtype)from), ct_dtype_name((ct_dtype)to),
                         kind);
                ct_tensor *a = sample(context, (ct_dtype)from, CT_DIMS(9, 130), 3);
                if (from == CT_U8) a = ct_raw_unary(CT_CLAMP, a, 0, 60);
                if (to == CT_U8 && from != CT_U8) a = ct_raw_unary(CT_ABS, a, 0, 0);
                ct_tensor *y = ct_raw_cast(restride(a, kind), (ct_dtype)to);
                double *expected = elements(a);
                if (!ct_dtype_is_float((ct_dtype)to))
                    for (int64_t i = 0; i < a->count; i++)
                        expected[i] = trunc(expected[i]);
                assert_int_equal(y->dtype, to);
                expect_values(y, 2, a->shape, expected, 0);
                free(expected);
                ct_scope_close(context, scope);
            }
}

static void test_broadcast_and_bad_targets(void **state) {
    ct_context *context = *state;
    ct_tensor *y = ct_zeros(context, CT_F32, CT_DIMS(2, 3));
    ct_raw_copy(y, ct_arange(context, CT_I32, 3, 1, 1));
    EXPECT_VALUES(y, 0, {2 COMMA 3}, {1, 2, 3, 1, 2, 3});
    ct_raw_copy(y, ct_from_data(context, CT_F32, CT_DIMS(2, 1), (const float[]){5, 6}));
    EXPECT_VALUES(y, 0, {2 COMMA 3}, {5, 5, 5, 6, 6, 6});
    ct_raw_copy(y, ct_zeros(context, CT_F32, CT_DIMS(2, 2)));
    expect_error(context, CT_ERROR_SHAPE, "copy: f32[2, 2] does not broadcast to the target, f32[2, 3]");
    ct_raw_copy(ct_zeros(context, CT_F32, CT_DIMS(3)), y);
    expect_error(context, CT_ERROR_SHAPE, "copy: f32[2, 3] does not broadcast");
    ct_tensor *repeated = ct_view_strided(y, 2, (const int64_t[]){4, 3}, (const int64_t[]){0, 1}, 0);
    ct_raw_copy(repeated, ct_scalar(context, CT_F32, 1));
    expect_error(context, CT_ERROR_ARGUMENT, "copy: the target repeats the same elements along axis 0");
}

static void test_overlap(void **state) {
    ct_context *context = *state;
    int64_t n = 100000;
    ct_tensor *x = ct_arange(context, CT_F32, n + 1, 0, 1);
    ct_tensor *head = ct_view_strided(x, 1, &n, (const int64_t[]){1}, 0);
    ct_tensor *tail = ct_view_strided(x, 1, &n, (const int64_t[]){1}, 1);
    ct_raw_copy(tail, head); /* shift by one */
    expect_fine(context);
    const float *values = ct_data(x);
    assert_true(values[0] == 0);
    for (int64_t i = 1; i <= n; i++)
        assert_true(values[i] == (float)(i - 1));
    ct_tensor *square = ct_from_data(context, CT_F32, CT_DIMS(2, 2), (const float[]){1, 2, 3, 4});
    ct_raw_copy(square, ct_view_strided(square, 2, (const int64_t[]){2, 2}, (const int64_t[]){1, 2}, 0));
    EXPECT_VALUES(square, 0, {2 COMMA 2}, {1, 3, 2, 4});
    ct_raw_axpy(square, ct_view_strided(square, 2, (const int64_t[]){2, 2}, (const int64_t[]){1, 2}, 0), 10);
    EXPECT_VALUES(square, 0, {2 COMMA 2}, {11, 23, 32, 44});
    ct_raw_axpy(square, square, 1); /* itself needs no copy */
    EXPECT_VALUES(square, 0, {2 COMMA 2}, {22, 46, 64, 88});
}

static void test_axpy(void **state) {
    ct_context *context = *state;
    for (int target = 0; target < CT_DTYPES; target++)
        for (int source = 0; source < CT_DTYPES; source++)
            for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
                if (!ct_dtype_is_float((ct_dtype)target) && ct_dtype_is_float((ct_dtype)source)) continue;
                ct_scope scope = ct_scope_open(context);
                CHECKING("%s += %s, strides %d", ct_dtype_name((ct_dtype)target),
                         ct_dtype_name((ct_dtype)source), kind);
                ct_tensor *y = restride(ct_full(context, (ct_dtype)target, CT_DIMS(7, 75), 60), kind);
                ct_tensor *x = restride(sample(context, (ct_dtype)source, CT_DIMS(1, 75), 9), (kind + 1) % 4);
                double *add = elements(x), *expected = elements(y);
                for (int i = 0; i < 7 * 75; i++)
                    expected[i] += 2 * add[i % 75];
                ct_raw_axpy(y, x, 2);
                if (target == CT_I8)
                    for (int i = 0; i < 7 * 75; i++)
                        expected[i] = (int8_t)(uint8_t)(int)expected[i];
                expect_values(y, 2, y->shape, expected, target == CT_BF16 ? 4e-3 : 0);
                free(add);
                free(expected);
                ct_scope_close(context, scope);
            }
    ct_tensor *whole = ct_zeros(context, CT_I32, CT_DIMS(2));
    ct_raw_axpy(whole, whole, 0.5);
    expect_error(context, CT_ERROR_TYPE, "add_into: 0.5 is not a factor for an integer tensor");
    ct_raw_axpy(whole, ct_zeros(context, CT_F32, CT_DIMS(2)), 1);
    expect_error(context, CT_ERROR_TYPE, "add_into: the target is i32");
}

static void test_meta(void **state) {
    ct_context *context = *state;
    ct_context_set_device(context, CT_META);
    ct_tensor *x = ct_empty(context, CT_F32, CT_DIMS(4, 5));
    ct_tensor *turned = ct_view_strided(x, 2, (const int64_t[]){5, 4}, (const int64_t[]){1, 5}, 0);
    ct_tensor *y = ct_raw_contiguous(turned);
    assert_true(y != turned && ct_is_contiguous(y) && ct_device_of(y) == CT_META);
    assert_int_equal(ct_raw_cast(y, CT_BF16)->dtype, CT_BF16);
    assert_int_equal(ct_raw_copy(y, turned), CT_OK);
    assert_int_equal(ct_raw_copy(y, x), CT_ERROR_SHAPE);
    ct_context_clear(context);
}

static ct_tensor *make_copies(ct_context *context) {
    ct_random random = ct_random_make(3, 4);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(30, 40, 90), 0, 1, &random);
    ct_tensor *y = ct_raw_contiguous(permuted(x, (const int[]){2, 0, 1}));
    ct_raw_axpy(y, ct_raw_cast(permuted(x, (const int[]){2, 0, 1}), CT_BF16), 0.3);
    return y;
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_copies);
}
static ct_tensor *make_overlapping(ct_context *context) {
    ct_tensor *x = ct_full(context, CT_F32, CT_DIMS(4, 4), 1);
    ct_tensor *turned = ct_view_strided(x, 2, (const int64_t[]){4, 4}, (const int64_t[]){1, 4}, 0);
    ct_raw_copy(x, turned);
    return ct_raw_cast(ct_raw_contiguous(turned), CT_F64);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_overlapping);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_permutations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conversions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broadcast_and_bad_targets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_axpy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meta, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
