/* test_rawnn_other.c - rotary positions, dropout, bf16 copies of weights. */
#include "rawnn.h"
#include "tensor/shadow.h"

static void rotary_against_loops(void **state) {
    (void)state;
    enum { BATCH = 2, HEADS = 3, TIME = 70, CHANNELS = 12, HALF = 5 }; /* two channels stay */
    static const double tolerances[] = {[CT_F32] = 1e-6, [CT_F64] = 1e-14, [CT_BF16] = 1e-2, [CT_F16] = 2e-3};
    static double expected[BATCH * HEADS * TIME * CHANNELS];
    ct_context *context = ct_context_create(2);
    ct_tensor *angles = make(context, CT_F64, SHAPE(TIME, HALF), 5, 3), *cos_t, *sin_t;
    double *angle = values(angles);
    cos_t = ct_empty(context, CT_F64, SHAPE(TIME, HALF)),
    sin_t = ct_empty(context, CT_F64, SHAPE(TIME, HALF));
    for (int i = 0; i < TIME * HALF; i++) {
        ((double *)ct_data_mutable(cos_t))[i] = cos(angle[i]);
        ((double *)ct_data_mutable(sin_t))[i] = sin(angle[i]);
    }
    for (ct_dtype dtype = CT_F32; dtype <= CT_F16; dtype++)
        for (int mode = 0; mode < 4; mode++) {
            bool interleaved = mode & 1, inverse = mode & 2;
            ct_tensor *x = make(context, dtype, SHAPE(BATCH, HEADS, TIME, CHANNELS), 1, 1);
            ct_tensor *y = ct_raw_rotary(x, cos_t, sin_t, interleaved, inverse);
            assert_fine(context);
            double *vx = values(x);
            memcpy(expected, vx, sizeof expected);
            for (int r = 0; r < BATCH * HEADS * TIME; r++)
                for (int i = 0; i < HALF; i++) {
                    int one = interleaved ? 2 * i : i, two = interleaved ? 2 * i + 1 : i + HALF;
                    double a = angle[r % TIME * HALF + i] * (inverse ? -1 : 1);
                    expected[r * CHANNELS + one] =
                        vx[r * CHANNELS + one] * cos(a) - vx[r * CHANNELS + two] * sin(a);
                    expected[r * CHANNELS + two] =
                        vx[r * CHANNELS + one] * sin(a) + vx[r * CHANNELS + two] * cos(a);
                }
            assert_values(y, expected, tolerances[dtype], "rotary");
            ct_tensor *strided = swapped(ct_raw_contiguous(swapped(x, 1, 2)), 1, 2);
            ct_tensor *same = ct_raw_rotary(strided, cos_t, sin_t, interleaved, inverse);
            assert_same_bits(same, y, "strided");
            assert_true(ct_is_contiguous(swapped(same, 1, 2)));
            ct_tensor *one = ct_view_strided(x, 2, x->shape + 2, x->stride + 2, x->stride[1]);
            ct_tensor *that = ct_view_strided(y, 2, y->shape + 2, y->stride + 2, y->stride[1]);
            assert_same_bits(ct_raw_rotary(one, cos_t, sin_t, interleaved, inverse), that, "one head");
            free(vx);
        }
    free(angle);
    ct_raw_rotary(make(context, CT_F32, SHAPE(3, 12), 1, 1), cos_t, sin_t, false, false);
    assert_error(context, CT_ERROR_SHAPE, "rotary: x f32[3, 12]");
    ct_context_destroy(context);
}

static void dropout_keeps_its_promise(void **state) {
    (void)state;
    enum { COUNT = 100003 };
    ct_context *one = ct_context_create(1), *four = ct_context_create(4);
    ct_tensor *x = ct_full(one, CT_F32, SHAPE(COUNT), 3), *y = ct_raw_dropout(x, 0.25, 7, 8, 9);
    double *found = values(y), kept = 0;
    for (int i = 0; i < COUNT; i++) {
        if (found[i] != 0) assert_near(found[i], 4, 1e-6, "kept", i);
        kept += found[i] != 0;
    }
    assert_true(fabs(kept / COUNT - 0.75) < 5 * sqrt(0.25 * 0.75 / COUNT));
    assert_same_bits(ct_raw_dropout(ct_full(four, CT_F32, SHAPE(COUNT), 3), 0.25, 7, 8, 9), y, "threads");
    /* Any part of it, from its own offset; and another type keeps the same elements. */
    ct_tensor *part = ct_raw_dropout(rows_of(x, 0, 33333, 40000), 0.25, 7, 8, 9 + 33333);
    assert_same_bits(part, rows_of(y, 0, 33333, 40000), "part");
    for (ct_dtype dtype = CT_F64; dtype <= CT_F16; dtype++) {
        double *other = values(ct_raw_dropout(ct_full(one, dtype, SHAPE(COUNT), 3), 0.25, 7, 8, 9));
        for (int i = 0; i < COUNT; i++)
            assert_near(other[i], found[i], 1e-6, "type", i);
        free(other);
    }
    free(found);
    assert_same_bits(ct_raw_dropout(x, 0, 1, 2, 3), x, "nothing dropped");
    assert_same_bits(ct_raw_dropout(x, 1, 1, 2, 3), ct_zeros(one, CT_F32, SHAPE(COUNT)), "all dropped");
    ct_raw_dropout(x, 1.5, 1, 2, 3);
    assert_error(one, CT_ERROR_ARGUMENT, "probability is 1.5");
    ct_raw_dropout(ct_zeros(one, CT_I64, SHAPE(3)), 0.5, 1, 2, 3);
    assert_error(one, CT_ERROR_TYPE, "dropout: x is i64[3]");
    ct_context_destroy(one);
    ct_context_destroy(four);
}

static void shadow_follows_the_weight(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *weight = make(context, CT_F32, SHAPE(300, 401), 1, 1);
    ct_tensor *first = ct_shadow_bf16(weight);
    assert_same_bits(first, ct_raw_cast(weight, CT_BF16), "copy");
    assert_ptr_equal(ct_shadow_bf16(weight)->storage, first->storage);
    ct_tensor *part = rows_of(swapped(weight, 0, 1), 0, 3, 7);
    assert_same_bits(ct_shadow_bf16(part), ct_raw_cast(part, CT_BF16), "part, transposed");
    assert_ptr_equal(ct_shadow_bf16(part)->storage, first->storage);
    /* Held: a change of the weight leaves the old copy as it was. */
    ct_tensor *before = ct_raw_contiguous(ct_raw_cast(weight, CT_BF16));
    assert_int_equal(ct_scale_into(weight, 2), CT_OK);
    assert_null(ct_shadow_bf16_target(weight));
    ct_tensor *second = ct_shadow_bf16(weight);
    assert_ptr_not_equal(second->storage, first->storage);
    assert_same_bits(first, before, "held copy");
    assert_same_bits(second, ct_raw_cast(weight, CT_BF16), "fresh copy");
    ct_hold(weight);
    ct_scope_close(context, scope);
    /* Not held: written in place, by an optimizer or here. */
    uint16_t *target = ct_shadow_bf16_target(weight);
    assert_non_null(target);
    float *w = ct_data_mutable(weight);
    for (int64_t i = 0; i < weight->count; i++) {
        w[i] = (float)i;
        target[i] = ct_f32_to_bf16(w[i]);
    }
    ct_shadow_bf16_written(weight);
    scope = ct_scope_open(context);
    assert_ptr_equal(ct_data(ct_shadow_bf16(weight)), target);
    assert_same_bits(ct_shadow_bf16(weight), ct_raw_cast(weight, CT_BF16), "written beside");
    ct_scope_close(context, scope);
    assert_int_equal(ct_scale_into(weight, 0.5), CT_OK);
    assert_same_bits(ct_shadow_bf16(weight), ct_raw_cast(weight, CT_BF16), "refreshed");
    ct_shadow_bf16(ct_zeros(context, CT_I32, SHAPE(3)));
    assert_error(context, CT_ERROR_TYPE, "i32[3], expected a stored f32 tensor");
    ct_drop(weight);
    ct_context_destroy(context);
}

static void some_work(ct_context *context) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *x = ct_empty(context, CT_BF16, SHAPE(2, 3, 4, 8)),
              *table = ct_empty(context, CT_F32, SHAPE(4, 4));
    if (ct_context_device(context) == CT_CPU && !ct_failed(context)) ct_fill(x, 0.5), ct_fill(table, 0.5);
    ct_tensor *y = ct_raw_rotary(swapped(x, 0, 1), table, table, true, false);
    y = ct_raw_dropout(y, 0.5, 1, 2, 3);
    ct_shadow_bf16(table);
    ct_hold(y);
    ct_scope_close(context, scope);
    ct_drop(y);
}

static void counts_and_failures(void **state) {
    (void)state;
    assert_meta_counts(some_work);
    assert_survives_allocation_failure(some_work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_against_loops),
        cmocka_unit_test(dropout_keeps_its_promise),
        cmocka_unit_test(shadow_follows_the_weight),
        cmocka_unit_test(counts_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
