/* test_gemm_errors.c - the matrix multiply given bad input, a failed context or no memory; the names of
 * instruction sets and the cap on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa.h"

static void assert_refused(ct_context *context, ct_status status, ct_status wanted, const char *message) {
    assert_int_equal(status, wanted);
    assert_string_equal(ct_context_message(context), message);
    ct_context_clear(context);
}

static void test_bad_input(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    float data[64] = {0};
    ct_gemm_operand x = {.data = data, .dtype = CT_F32, .row_stride = 4, .col_stride = 1}, bad = x,
                    none = {0};
    ct_gemm_output out = {data + 32, CT_F32, 4, 1}, whole = out;
    ct_gemm_batch batch = {.rank = 7};
    bad.dtype = CT_I32, whole.dtype = CT_I64;
    assert_refused(context, ct_gemm(context, CT_BF16, 4, 4, 4, 1, &x, &x, 0, &out, NULL), CT_ERROR_TYPE,
                   "matrix multiply: computes in bf16, expected f32 or f64");
    assert_refused(context, ct_gemm(context, CT_F32, 4, -1, 4, 1, &x, &x, 0, &out, NULL), CT_ERROR_SHAPE,
                   "matrix multiply: [4, 4] by [4, -1], expected no negative");
    assert_refused(context, ct_gemm(context, CT_F32, 4, 4, 4, 1, &x, &bad, 0, &out, NULL), CT_ERROR_TYPE,
                   "matrix multiply: B is i32, expected f32, f64, bf16, f16, i8 or u8");
    assert_refused(context, ct_gemm(context, CT_F32, 4, 4, 4, 1, &none, &x, 0, &out, NULL), CT_ERROR_ARGUMENT,
                   "matrix multiply: A has 0 of data, tile and packed, expected one");
    assert_refused(context, ct_gemm(context, CT_F32, 4, 4, 4, 1, &x, &x, 0, &whole, NULL), CT_ERROR_TYPE,
                   "matrix multiply: C is i64, expected f32, f64, bf16 or f16");
    assert_refused(context, ct_gemm_batched(context, CT_F32, &batch, 4, 4, 4, 1, &x, &x, 0, &out, NULL),
                   CT_ERROR_SHAPE, "matrix multiply: batch of rank 7, expected 0 to 6");
    ct_gemm_packed *packed = ct_gemm_prepack(context, CT_F32, 4, 4, &x);
    assert_non_null(packed);
    ct_gemm_operand y = {.packed = packed};
    assert_refused(context, ct_gemm(context, CT_F32, 4, 5, 4, 1, &x, &y, 0, &out, NULL), CT_ERROR_SHAPE,
                   "matrix multiply: B was packed as [4, 4], expected [4, 5]");
    assert_refused(context, ct_gemm(context, CT_F64, 4, 4, 4, 1, &x, &y, 0, &out, NULL), CT_ERROR_TYPE,
                   "matrix multiply: B was packed for f32, expected f64");
    assert_refused(context, ct_gemm(context, CT_F32, 4, 4, 4, 1, &y, &x, 0, &out, NULL), CT_ERROR_ARGUMENT,
                   "matrix multiply: A is packed, only B may be");
    ct_gemm_packed_free(packed);
    ct_gemm_packed_free(NULL);
    /* A failed context does nothing. */
    data[32] = 5;
    ct_fail(context, CT_ERROR_STATE, "earlier");
    assert_int_equal(ct_gemm(context, CT_F32, 4, 4, 4, 1, &x, &x, 0, &out, NULL), CT_ERROR_STATE);
    assert_null(ct_gemm_prepack(context, CT_F32, 4, 4, &x));
    assert_true(data[32] == 5);
    ct_context_destroy(context);
}

/* Whichever allocation fails, the call says so and nothing of B stays allocated. */
static void test_no_memory(void **state) {
    (void)state;
    enum { SIZE = 96 };
    static float a[SIZE * SIZE], b[SIZE * SIZE];
    static uint16_t c[SIZE * SIZE];
    for (int i = 0; i < SIZE * SIZE; i++)
        a[i] = b[i] = 1;
    ct_gemm_operand x = {.data = a, .dtype = CT_F32, .row_stride = SIZE, .col_stride = 1};
    ct_gemm_operand y = {.data = b, .dtype = CT_F32, .row_stride = 1, .col_stride = SIZE};
    ct_gemm_output out = {c, CT_BF16, SIZE, 1};
    int failures = 0;
    for (int64_t n = 1;; n++) {
        ct_context *context = ct_context_create(1);
        assert_non_null(context);
        ct_memory_fail_at(context, n);
        ct_gemm_packed *packed = ct_gemm_prepack(context, CT_F32, SIZE, SIZE, &y);
        ct_status status = ct_gemm(context, CT_F32, SIZE, SIZE, SIZE, 1, &x, &y, 0, &out, NULL);
        if (status != CT_OK) assert_int_equal(status, CT_ERROR_MEMORY), failures++;
        ct_gemm_packed_free(packed);
        ct_memory_counts counts;
        ct_memory_read(context, &counts);
        assert_int_equal(counts.current[CT_MEMORY_WEIGHTS], 0);
        ct_context_destroy(context);
        if (status == CT_OK) break;
    }
    assert_true(failures >= 3);
    assert_int_equal(c[SIZE * SIZE - 1], 0x42c0); /* 96 */
}

static void test_isa_names(void **state) {
    (void)state;
    assert_string_equal(ct_isa_name(CT_ISA_AVX2), "avx2");
    ct_cpu_set_isa_cap(CT_ISA_PLAIN);
    assert_int_equal(ct_cpu_isa(), CT_ISA_PLAIN);
    ct_cpu_set_isa_cap(CT_ISA_AVX512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_isa_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
