/* test_create.c - tensors from values, memory, functions and random numbers; reading, writing, changes in
 * place. */
#include "raw_check.h"

static int setup(void **state) {
    *state = ct_context_create(2);
    return *state == NULL;
}
static int teardown(void **state) {
    ct_context_destroy(*state);
    return 0;
}

static void test_values(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++) {
        CHECKING("%s", ct_dtype_name((ct_dtype)type));
        EXPECT_VALUES(ct_zeros(context, (ct_dtype)type, CT_DIMS(2, 2)), 0, {2 COMMA 2}, {0, 0, 0, 0});
        ct_tensor *t = ct_full(context, (ct_dtype)type, CT_DIMS(3), 7);
        assert_int_equal(t->dtype, type);
        EXPECT_VALUES(t, 0, {3}, {7, 7, 7});
        EXPECT_VALUES(ct_ones_like(t), 0, {3}, {1, 1, 1});
        EXPECT_VALUES(ct_zeros_like(t), 0, {3}, {0, 0, 0});
        EXPECT_VALUES(ct_arange(context, (ct_dtype)type, 4, 2, 3), 0, {4}, {2, 5, 8, 11});
        EXPECT_VALUES(ct_eye(context, (ct_dtype)type, 2), 0, {2 COMMA 2}, {1, 0, 0, 1});
        expect_values(ct_scalar(context, (ct_dtype)type, 3), 0, NULL, (const double[]){3}, 0);
        assert_int_equal(ct_count(ct_eye(context, (ct_dtype)type, 0)), 0);
    }
    EXPECT_VALUES(ct_arange(context, CT_F64, 3, 0.5, -0.25), 0, {3}, {0.5, 0.25, 0});
    EXPECT_VALUES(ct_full(context, CT_F32, CT_DIMS(2), INFINITY), 0, {2}, {INFINITY, INFINITY});
    assert_true(signbit(element(ct_full(context, CT_F64, CT_DIMS(2), -0.0), 1)));
    int64_t n = 100003; /* in several pieces */
    ct_tensor *line = ct_arange(context, CT_I64, n, -5, 2);
    const int64_t *values = ct_data(line);
    for (int64_t i = 0; i < n; i++)
        assert_true(values[i] == -5 + 2 * i);
    ct_empty(context, CT_F32, CT_DIMS(-1));
    assert_true(ct_failed(context));
    ct_context_clear(context);
    ct_from_data(context, CT_F32, CT_DIMS(2), NULL);
    expect_error(context, CT_ERROR_ARGUMENT, "from_data: no data was given for 2 elements");
}

static void count_release(void *user) {
    ++*(int *)user;
}

static void test_memory_of_the_caller(void **state) {
    ct_context *context = *state;
    int released = 0;
    float data[6] = {1, 2, 3, 4, 5, 6};
    ct_scope scope = ct_scope_open(context);
    ct_tensor *t = ct_from_memory(context, CT_F32, CT_DIMS(2, 3), data, count_release, &released);
    ct_tensor *row = ct_view_strided(t, 1, (const int64_t[]){3}, (const int64_t[]){1}, 3);
    data[4] = 50;
    EXPECT_VALUES(row, 0, {3}, {4, 50, 6});
    ct_fill(row, -1);
    assert_true(data[2] == 3 && data[3] == -1 && data[5] == -1);
    assert_int_equal(released, 0);
    ct_scope_close(context, scope);
    assert_int_equal(released, 1);
    ct_from_memory(context, CT_F32, CT_DIMS(2), NULL, count_release, &released);
    expect_error(context, CT_ERROR_ARGUMENT, "from_memory: no memory was given");
    assert_int_equal(released, 2); /* what was given is released also on failure */
    ct_memory_fail_at(context, 1);
    ct_from_memory(context, CT_F32, CT_DIMS(2, 3), data, count_release, &released);
    expect_error(context, CT_ERROR_MEMORY, "");
    assert_int_equal(released, 3);
    ct_context_set_device(context, CT_META);
    assert_null(ct_data(ct_from_memory(context, CT_F32, CT_DIMS(2, 3), data, NULL, NULL)));
    expect_fine(context);
}

/* Element [r, c] is 100 r + c. */
static void tile(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, float *out,
                 int64_t pitch) {
    (void)user;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            out[r * pitch + c] = (float)(100 * (row + r) + column + c);
}

static void test_tiles(void **state) {
    ct_context *context = *state;
    int released = 0;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *t = ct_from_tiles(context, 3, 4, tile, &released, count_release);
    EXPECT_VALUES(t, 0, {3 COMMA 4}, {0, 1, 2, 3, 100, 101, 102, 103, 200, 201, 202, 203});
    ct_tensor *turned = ct_view_strided(t, 2, (const int64_t[]){4, 3}, (const int64_t[]){1, 4}, 0);
    EXPECT_VALUES(turned, 0, {4 COMMA 3}, {0, 100, 200, 1, 101, 201, 2, 102, 202, 3, 103, 203});
    ct_tensor *long_rows = ct_from_tiles(context, 3, 2500, tile, NULL, NULL);
    assert_true(element(long_rows, 2500 + 2400) == 100 + 2400);
    ct_fill(t, 0);
    expect_error(context, CT_ERROR_UNSUPPORTED, "fill: operand 0 is a generated weight");
    ct_scope_close(context, scope);
    assert_int_equal(released, 1);
    ct_from_tiles(context, 3, 4, NULL, NULL, NULL);
    expect_error(context, CT_ERROR_ARGUMENT, "from_tiles: no tile function for a weight [3, 4]");
}

static void test_read_and_write(void **state) {
    ct_context *context = *state;
    for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
        ct_tensor *t = restride(sample(context, CT_F32, CT_DIMS(4, 30), 5), kind);
        int32_t whole[120], back[120];
        for (int i = 0; i < 120; i++)
            whole[i] = 3 * i - 100;
        uint64_t version = ct_version(t);
        assert_int_equal(ct_write(t, CT_I32, whole), CT_OK);
        assert_true(ct_version(t) > version);
        assert_int_equal(ct_read(t, CT_I32, back), CT_OK);
        assert_memory_equal(whole, back, sizeof whole);
    }
    double value = 0;
    assert_int_equal(ct_item(ct_full(context, CT_I64, CT_DIMS(1, 1), -12), &value), CT_OK);
    assert_true(value == -12);
    assert_int_equal(ct_item(ct_zeros(context, CT_F32, CT_DIMS(2)), &value), CT_ERROR_SHAPE);
    expect_error(context, CT_ERROR_SHAPE, "item: one element is expected, found f32[2]");
    ct_context_set_device(context, CT_META);
    assert_int_equal(ct_item(ct_scalar(context, CT_F32, 1), &value), CT_ERROR_STATE);
    expect_error(context, CT_ERROR_STATE, "read: the tensor is on the meta device");
    ct_read(ct_inert(context, CT_F32, 0, NULL), CT_F32, &value);
    expect_error(context, CT_ERROR_STATE, "read: the tensor holds no data");
}

static void test_in_place(void **state) {
    ct_context *context = *state;
    for (int type = 0; type < CT_DTYPES; type++)
        for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
            ct_scope scope = ct_scope_open(context);
            CHECKING("%s, strides %d", ct_dtype_name((ct_dtype)type), kind);
            ct_tensor *t = restride(sample(context, (ct_dtype)type, CT_DIMS(5, 70), 8), kind);
            double *expected = elements(t);
            uint64_t version = ct_version(t);
            ct_scale_into(t, 2);
            for (int i = 0; i < 350; i++)
                expected[i] *= 2;
            expect_values(t, 2, t->shape, expected, 0);
            ct_copy_into(t, ct_scalar(context, CT_F64, 9));
            for (int i = 0; i < 350; i++)
                expected[i] = 9;
            expect_values(t, 2, t->shape, expected, 0);
            ct_add_into(t, ct_scalar(context, CT_U8, 5), 3);
            ct_fill(restride(ct_zeros_like(t), kind), 1);
            for (int i = 0; i < 350; i++)
                expected[i] = 24;
            expect_values(t, 2, t->shape, expected, 0);
            ct_fill(t, -4);
            for (int i = 0; i < 350; i++)
                expected[i] = type == CT_U8 ? 0 : -4;
            if (type != CT_U8) expect_values(t, 2, t->shape, expected, 0);
            assert_true(ct_version(t) >= version + 4);
            free(expected);
            ct_scope_close(context, scope);
        }
    ct_scale_into(ct_zeros(context, CT_I8, CT_DIMS(2)), 0.1);
    expect_error(context, CT_ERROR_TYPE, "scale_into: 0.1 is not a factor for an integer tensor");
}

/* ------------------------------------------------------------------------------------------------- random */

static void moments(const ct_tensor *t, double *mean, double *variance) {
    double *values = elements(t), sum = 0, squares = 0;
    for (int64_t i = 0; i < t->count; i++)
        sum += values[i];
    *mean = sum / (double)t->count;
    for (int64_t i = 0; i < t->count; i++)
        squares += (values[i] - *mean) * (values[i] - *mean);
    *variance = squares / (double)t->count;
    free(values);
}

static void test_random_moments(void **state) {
    ct_context *context = *state;
    static const ct_dtype types[] = {CT_F32, CT_F64, CT_BF16, CT_F16};
    for (int type = 0; type < COUNT(types); type++) {
        ct_random random = ct_random_make(42, 7);
        double mean, variance;
        ct_tensor *u = ct_random_uniform_tensor(context, types[type], CT_DIMS(200, 500), -1, 3, &random);
        assert_int_equal(random.offset, 100000);
        moments(u, &mean, &variance); /* mean 1, variance 16/12; standard errors 0.0037 and 0.0043 */
        assert_true(fabs(mean - 1) < 0.02 && fabs(variance - 16.0 / 12) < 0.02);
        ct_tensor *n = ct_random_normal_tensor(context, types[type], CT_DIMS(100000), 2, 0.5, &random);
        moments(n, &mean, &variance); /* standard errors 0.0016 and 0.0011 */
        assert_true(fabs(mean - 2) < 0.008 && fabs(variance - 0.25) < 0.006);
        assert_int_equal(random.offset, 200000);
    }
    ct_random random = ct_random_make(1, 1);
    double mean, variance;
    ct_tensor *b = ct_random_bernoulli_tensor(context, CT_DIMS(100000), 0.3, &random);
    assert_int_equal(b->dtype, CT_U8);
    moments(b, &mean, &variance);
    assert_true(fabs(mean - 0.3) < 0.008);
    moments(ct_random_bernoulli_tensor(context, CT_DIMS(1000), 1, &random), &mean, &variance);
    assert_true(mean == 1);
    ct_tensor *whole = ct_random_integer_tensor(context, CT_I32, CT_DIMS(50000), -3, 4, &random);
    double *values = elements(whole), count[7] = {0};
    for (int i = 0; i < 50000; i++) {
        assert_true(values[i] >= -3 && values[i] <= 3);
        count[(int)values[i] + 3]++;
    }
    for (int i = 0; i < 7; i++)
        assert_true(fabs(count[i] - 50000.0 / 7) < 400); /* 5 standard deviations */
    free(values);
}

static void test_random_positions(void **state) {
    ct_context *context = *state;
    ct_random whole = ct_random_make(5, 6), parts = whole;
    ct_tensor *all = ct_random_normal_tensor(context, CT_F32, CT_DIMS(70001), 0, 1, &whole);
    ct_tensor *first = ct_random_normal_tensor(context, CT_F32, CT_DIMS(33333), 0, 1, &parts);
    ct_tensor *second = ct_random_normal_tensor(context, CT_F32, CT_DIMS(36668), 0, 1, &parts);
    assert_memory_equal(ct_data(all), ct_data(first), 33333 * 4);
    assert_memory_equal((const float *)ct_data(all) + 33333, ct_data(second), 36668 * 4);
    for (int kind = 0; kind < RESTRIDE_KINDS;
         kind++) { /* the row-major position counts, not the place in memory */
        ct_random again = ct_random_make(5, 6);
        ct_tensor *t = restride(ct_zeros(context, CT_F32, CT_DIMS(7, 10, 143)), kind);
        ct_fill_normal(t, 0, 1, &again);
        assert_memory_equal(ct_data(ct_raw_contiguous(t)), ct_data(all), 10010 * 4);
        again = ct_random_make(5, 6);
        ct_tensor *half = restride(ct_zeros(context, CT_BF16, CT_DIMS(10010)), kind);
        ct_fill_normal(half, 0, 1, &again);
        const uint16_t *bits = ct_data(ct_raw_contiguous(half));
        for (int i = 0; i < 10010; i++)
            assert_true(bits[i] == ct_f32_to_bf16(((const float *)ct_data(all))[i]));
    }
    ct_random integers = ct_random_make(5, 6), one = integers;
    ct_tensor *draws = ct_random_integer_tensor(context, CT_I64, CT_DIMS(5000), -10, 1000, &integers);
    for (int i = 0; i < 5000; i++)
        assert_true(((const int64_t *)ct_data(draws))[i] == ct_random_integer(&one, -10, 1000));
}

static void test_permutation(void **state) {
    ct_context *context = *state;
    ct_random random = ct_random_make(9, 1);
    ct_tensor *p = ct_random_permutation_tensor(context, 5000, &random);
    ct_tensor *q = ct_random_permutation_tensor(context, 5000, &random);
    assert_int_equal(random.offset, 10000);
    char seen[2][5000] = {{0}};
    const int64_t *a = ct_data(p), *b = ct_data(q);
    int same = 0;
    for (int i = 0; i < 5000; i++) {
        assert_true(a[i] >= 0 && a[i] < 5000 && b[i] >= 0 && b[i] < 5000);
        assert_false(seen[0][a[i]]++ || seen[1][b[i]]++);
        same += a[i] == b[i];
    }
    assert_true(same < 20); /* another permutation: one fixed point is expected */
    assert_true(a[17] == ct_random_permuted(9, 1, 5000, 17));
}

static void test_perturb(void **state) {
    ct_context *context = *state;
    static const ct_dtype types[] = {CT_F32, CT_F64, CT_BF16};
    for (int type = 0; type < COUNT(types); type++)
        for (int kind = 0; kind < RESTRIDE_KINDS; kind++) {
            ct_scope scope = ct_scope_open(context);
            CHECKING("%s, strides %d", ct_dtype_name(types[type]), kind);
            ct_tensor *x = restride(sample(context, types[type], CT_DIMS(90, 700), 3), kind);
            double *expected = elements(x);
            ct_random random = ct_random_make(11, 12), same = random;
            ct_dtype wide = types[type] == CT_F64 ? CT_F64 : CT_F32;
            double *noise = elements(ct_random_normal_tensor(context, wide, CT_DIMS(90, 700), 0, 1, &same));
            for (int i = 0; i < 63000; i++)
                expected[i] += 0.01 * noise[i];
            ct_memory_counts before, after;
            ct_memory_read(context, &before);
            ct_memory_reset_peak(context);
            assert_int_equal(ct_perturb(x, 0.01, &random), CT_OK);
            ct_memory_read(context, &after);
            assert_true(after.peak_total == before.current_total); /* no buffer for the noise */
            assert_true(random.offset == same.offset);
            expect_values(x, 2, x->shape, expected, types[type] == CT_BF16 ? 5e-3 : 3e-7);
            free(expected);
            free(noise);
            ct_scope_close(context, scope);
        }
}

static void test_random_bad_input(void **state) {
    ct_context *context = *state;
    ct_random random = ct_random_make(1, 1);
    ct_random_normal_tensor(context, CT_I32, CT_DIMS(2), 0, 1, &random);
    expect_error(context, CT_ERROR_TYPE, "random_normal: a floating-point type is expected, found i32");
    ct_random_uniform_tensor(context, CT_F32, CT_DIMS(2), 0, NAN, &random);
    expect_error(context, CT_ERROR_ARGUMENT, "random_uniform: parameters 0 and nan have to be finite");
    ct_random_integer_tensor(context, CT_I32, CT_DIMS(2), 4, 4, &random);
    expect_error(context, CT_ERROR_ARGUMENT, "random_integer: low 4 is not below high 4");
    ct_random_bernoulli_tensor(context, CT_DIMS(2), 1.5, &random);
    expect_error(context, CT_ERROR_ARGUMENT, "random_bernoulli: probability 1.5 is not in [0, 1]");
    ct_random_permutation_tensor(context, 3, NULL);
    expect_error(context, CT_ERROR_ARGUMENT, "random_permutation: no random generator was given");
    assert_int_equal(random.offset, 0);
    ct_context_set_device(context, CT_META);
    assert_null(ct_data(ct_random_normal_tensor(context, CT_F32, CT_DIMS(1000000, 1000000), 0, 1, &random)));
    expect_fine(context);
    assert_true(random.offset == (uint64_t)1000000 * 1000000);
}

static ct_tensor *make_random(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *t = ct_random_normal_tensor(context, CT_BF16, CT_DIMS(300, 700), 0, 1, &random);
    ct_tensor *turned = ct_view_strided(t, 2, (const int64_t[]){700, 300}, (const int64_t[]){1, 700}, 0);
    ct_perturb(turned, 0.5, &random);
    ct_scale_into(turned, 1.5);
    ct_add_into(turned, ct_random_uniform_tensor(context, CT_F32, CT_DIMS(300), 0, 1, &random), 2);
    return t;
}
static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(make_random);
}

static ct_tensor *make_few(ct_context *context) {
    ct_random random = ct_random_make(1, 2);
    ct_tensor *t = ct_random_integer_tensor(context, CT_I32, CT_DIMS(8), 0, 9, &random);
    ct_copy_into(t, ct_from_data(context, CT_F32, CT_DIMS(1), (const float[]){3}));
    ct_eye(context, CT_F16, 3);
    ct_random_permutation_tensor(context, 10, &random);
    ct_from_tiles(context, 2, 2, tile, NULL, NULL);
    return ct_random_normal_tensor(context, CT_BF16, CT_DIMS(3), 0, 1, &random);
}
static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(make_few);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_of_the_caller, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tiles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_and_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_moments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_positions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permutation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_perturb, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_bad_input, setup, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
