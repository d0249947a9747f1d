/* raw_check.c - what the tests of the raw operations share. See raw_check.h. */
#include "raw_check.h"

char checking[256];

void expect_fine(ct_context *context) {
    if (ct_failed(context)) fail_msg("%s: unexpected error: %s", checking, ct_context_message(context));
}

void expect_error(ct_context *context, ct_status status, const char *text) {
    if (ct_context_status(context) != status || !strstr(ct_context_message(context), text))
        fail_msg("%s: expected %s with \"%s\", found %s: %s", checking, ct_status_name(status), text,
                 ct_status_name(ct_context_status(context)), ct_context_message(context));
    ct_context_clear(context);
}

double *elements(const ct_tensor *t) {
    double *values = malloc((size_t)(t->count + 1) * sizeof *values);
    assert_non_null(values);
    if (ct_read(t, CT_F64, values) != CT_OK) fail_msg("read: %s", ct_context_message(t->context));
    return values;
}

double element(const ct_tensor *t, int64_t position) {
    double *values = elements(t), value = values[position];
    free(values);
    return value;
}

void expect_values(const ct_tensor *t, int ndim, const int64_t *shape, const double *expected,
                   double tolerance) {
    expect_fine(t->context);
    assert_int_equal(t->ndim, ndim);
    for (int i = 0; i < ndim; i++)
        assert_int_equal(t->shape[i], shape[i]);
    double *values = elements(t);
    for (int64_t i = 0; i < t->count; i++) {
        bool same = values[i] == expected[i] || (isnan(values[i]) && isnan(expected[i]));
        if (!same && !(fabs(values[i] - expected[i]) <= tolerance * fmax(1, fabs(expected[i]))))
            fail_msg("%s: element %lld is %.17g, expected %.17g", checking, (long long)i, values[i],
                     expected[i]);
    }
    free(values);
}

ct_tensor *sample(ct_context *context, ct_dtype dtype, int ndim, const int64_t *shape, uint64_t seed) {
    ct_tensor *t = ct_empty(context, dtype, ndim, shape);
    double *values = malloc((size_t)(t->count + 1) * sizeof *values);
    assert_non_null(values);
    bool real = ct_dtype_is_float(dtype);
    for (int64_t i = 0; i < t->count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int64_t draw = (int64_t)(seed >> 33) % 61;
        values[i] = real ? (double)(draw - 30) / 8 : dtype == CT_U8 ? (double)draw : (double)(draw - 30);
    }
    if (!ct_failed(context)) ct_write(t, CT_F64, values);
    free(values);
    return t;
}

ct_tensor *restride(ct_tensor *t, int kind) {
    int64_t shape[CT_MAX_DIMS], stride[CT_MAX_DIMS], offset = 0;
    int n = t->ndim;
    if (kind == 0 || n == 0 || t->count == 0) return t;
    for (int i = 0; i < n; i++)
        shape[i] = t->shape[kind == 1 ? n - 1 - i : i];
    if (kind == 2)
        for (int i = 0; i < n; i++)
            shape[i] = 2 * shape[i] + 1;
    ct_tensor *memory = ct_zeros(t->context, (ct_dtype)t->dtype, n, shape);
    for (int i = 0; i < n; i++) {
        stride[i] = memory->stride[kind == 1 ? n - 1 - i : i] * (kind == 2 ? 2 : 1);
        if (kind == 2) offset += memory->stride[i];
        if (kind == 3) {
            offset += (t->shape[i] - 1) * stride[i];
            stride[i] = -stride[i];
        }
    }
    ct_tensor *view = ct_view_strided(memory, n, t->shape, stride, offset);
    ct_copy_into(view, t);
    return view;
}

void expect_same_for_threads(make_function make) {
    static const int threads[] = {1, 2, 4};
    char *first = NULL;
    size_t bytes = 0;
    for (int i = 0; i < COUNT(threads); i++) {
        ct_context *context = ct_context_create(threads[i]);
        assert_non_null(context);
        ct_tensor *t = ct_raw_contiguous(make(context));
        expect_fine(context);
        size_t size = (size_t)t->count * ct_dtype_size((ct_dtype)t->dtype);
        if (i == 0) {
            first = malloc(size + 1);
            assert_non_null(first);
            memcpy(first, ct_data(t), size);
            bytes = size;
        } else {
            assert_int_equal(size, bytes);
            if (memcmp(first, ct_data(t), size) != 0) fail_msg("other bits with %d threads", threads[i]);
        }
        ct_context_destroy(context);
    }
    free(first);
}

void expect_survives_exhaustion(make_function make) {
    bool failed = true;
    for (int n = 1; failed; n++) {
        assert_true(n < 1000);
        ct_context *context = ct_context_create(2);
        assert_non_null(context);
        ct_memory_fail_at(context, n);
        ct_scope scope = ct_scope_open(context);
        assert_non_null(make(context));
        ct_memory_fail_at(context, 0);
        failed = ct_failed(context);
        if (failed) assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        ct_context_clear(context);
        ct_scope_close(context, scope);
        ct_tensor *after = ct_full(context, CT_F32, CT_DIMS(3), 2);
        assert_true(element(after, 2) == 2);
        ct_context_destroy(context);
    }
}
