/* test_blocks.c - weights in Q8_0 blocks: the values GGML's definition gives, and the bits of the same weight
 * written out in f32, for every number of rows, on every instruction set. */
#include "raw_check.h"
#include "tensor/cpu/isa.h"
#include <carat/autograd.h>
#include <carat/ops.h>

#define BLOCK 34

/* Blocks of a weight [rows, columns], scales a power of two times 1 + part / 1024, so also values that need
 * all 11 bits. */
static unsigned char *blocks_make(int64_t rows, int64_t columns, uint64_t seed) {
    unsigned char *blocks = malloc((size_t)(rows * columns / 32 * BLOCK) + 1);
    for (int64_t i = 0; i < rows * columns / 32; i++)
        for (int64_t b = 0; b < BLOCK; b++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            blocks[i * BLOCK + b] = (unsigned char)(seed >> 40);
            if (b == 1)
                blocks[i * BLOCK + b] =
                    (unsigned char)(0x20 | (seed >> 40 & 0x8f)); /* small scales, both signs */
        }
    return blocks;
}

static float half(const unsigned char *bytes) {
    int bits = bytes[0] | bytes[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return (float)(bits & 0x8000 ? -value : value);
}

static float *written_out(const unsigned char *blocks, int64_t count) {
    float *values = malloc((size_t)count * sizeof *values + 1);
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *block = blocks + i / 32 * BLOCK;
        values[i] = half(block) * (float)(signed char)block[2 + i % 32];
    }
    return values;
}

static void expect_same(ct_tensor *a, ct_tensor *b) {
    expect_fine(ct_context_of(a));
    assert_true(ct_same_shape(a, b));
    assert_memory_equal(ct_data(a), ct_data(b), (size_t)ct_count(a) * ct_dtype_size(ct_dtype_of(a)));
}

/* One block by hand: scale 0.5 (0x3800), q = -128, -1, 0, 1, 127. */
static void test_values(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    unsigned char block[BLOCK] = {0x00, 0x38, 0x80, 0xff, 0x00, 0x01, 0x7f}, back[BLOCK];
    ct_tensor *weight = ct_from_q8_0(context, 1, 32, block);
    float values[32];
    assert_int_equal(ct_read(weight, CT_F32, values), CT_OK);
    const float expected[6] = {-64, -0.5f, 0, 0.5f, 63.5f, 0};
    for (int i = 0; i < 6; i++)
        assert_true(values[i] == expected[i]);
    assert_true(ct_read_q8_0(weight, 0, 1, back));
    assert_memory_equal(back, block, BLOCK);
    assert_false(ct_read_q8_0(weight, 0, 2, back));
    assert_false(ct_read_q8_0(ct_zeros(context, CT_F32, CT_DIMS(1, 32)), 0, 1, back));
    ct_context_destroy(context);
}

static void compare(int64_t rows, int64_t columns) {
    static const int64_t batches[] = {1, 2, 3, 4, 5, 17, 100, 200};
    ct_context *context = ct_context_create(2);
    CHECKING("weight [%d, %d], %s", (int)rows, (int)columns, ct_isa_name(ct_cpu_isa()));
    unsigned char *blocks = blocks_make(rows, columns, (uint64_t)(rows * 1000 + columns));
    unsigned char *back = malloc((size_t)(rows * columns / 32 * BLOCK) + 1);
    float *values = written_out(blocks, rows * columns);
    ct_tensor *narrow = ct_from_q8_0(context, rows, columns, blocks);
    ct_tensor *whole = ct_from_data(context, CT_F32, CT_DIMS(rows, columns), values);
    ct_tensor *bias = ct_arange(context, CT_F32, rows, 0, 0.25);
    ct_random random = ct_random_make(3, 1);
    assert_true(ct_read_q8_0(narrow, 0, rows, back));
    assert_memory_equal(back, blocks, (size_t)(rows * columns / 32 * BLOCK));
    for (int i = 0; i < COUNT(batches); i++) {
        ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(batches[i], columns), 0, 1, &random);
        expect_same(ct_linear(x, narrow, bias, false, CT_ACT_SILU),
                    ct_linear(x, whole, bias, false, CT_ACT_SILU));
        expect_same(ct_matmul(x, ct_transpose(narrow, 0, 1)), ct_matmul(x, ct_transpose(whole, 0, 1)));
        ct_tensor *narrow_x = ct_cast(x, CT_BF16);
        expect_same(ct_linear(narrow_x, narrow, NULL, false, CT_ACT_NONE),
                    ct_cast(ct_linear(ct_cast(narrow_x, CT_F32), whole, NULL, false, CT_ACT_NONE), CT_BF16));
        ct_tensor *g = ct_random_normal_tensor(context, CT_F32, CT_DIMS(batches[i], rows), 0, 1, &random);
        expect_same(ct_matmul(g, narrow),
                    ct_matmul(g, whole)); /* the other way, as a backward pass needs it */
    }
    const int32_t ids[4] = {(int32_t)rows - 1, 0, (int32_t)rows / 2, 0};
    ct_tensor *list = ct_from_data(context, CT_I32, CT_DIMS(2, 2), ids);
    expect_same(ct_embedding(narrow, list), ct_embedding(whole, list));
    ct_context_destroy(context);
    free(blocks);
    free(back);
    free(values);
}

static void test_bits(void **state) {
    (void)state;
    ct_cpu_set_isa_cap(CT_ISA_AVX512);
    for (int isa = (int)ct_cpu_isa(); isa >= CT_ISA_PLAIN; isa--) {
        ct_cpu_set_isa_cap((ct_isa)isa);
        compare(1, 32);
        compare(37, 96);
        compare(130, 416); /* more than one block of k */
        compare(515, 800);
    }
    ct_cpu_set_isa_cap(CT_ISA_AVX512);
}

static ct_tensor *product(ct_context *context) {
    unsigned char *blocks = blocks_make(515, 800, 5);
    ct_random random = ct_random_make(4, 1);
    ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(3, 800), 0, 1, &random);
    ct_tensor *y = ct_linear(x, ct_from_q8_0(context, 515, 800, blocks), NULL, false, CT_ACT_NONE);
    free(blocks);
    return y;
}

static void test_threads(void **state) {
    (void)state;
    expect_same_for_threads(product);
}

static void test_exhaustion(void **state) {
    (void)state;
    expect_survives_exhaustion(product);
}

/* A quarter of the memory of f32, on both devices; gradients reach x through it. */
static void test_memory_and_gradient(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    unsigned char *blocks = blocks_make(256, 512, 6);
    ct_memory_counts before, after;
    ct_memory_read(context, &before);
    ct_tensor *weight = ct_from_q8_0(context, 256, 512, blocks);
    ct_memory_read(context, &after);
    size_t bytes = after.current_total - before.current_total;
    assert_in_range(bytes, 256 * 512 / 32 * BLOCK, 256 * 512 * 4 / 3); /* sizes are rounded up */
    ct_context_set_device(context, CT_META);
    ct_memory_read(context, &before);
    ct_tensor *counted = ct_from_q8_0(context, 256, 512, NULL);
    ct_memory_read(context, &after);
    assert_in_range(after.current_total - before.current_total, 256 * 512 / 32 * BLOCK,
                    256 * 512 / 32 * BLOCK + 4096);
    assert_int_equal(ct_dim(counted, 1), 512);
    ct_context_set_device(context, CT_CPU);
    float *values = written_out(blocks, 256 * 512);
    ct_tensor *whole = ct_from_data(context, CT_F32, CT_DIMS(256, 512), values), *gradients[2];
    for (int i = 0; i < 2; i++) {
        ct_random random = ct_random_make(4, 1);
        ct_tensor *x = ct_random_normal_tensor(context, CT_F32, CT_DIMS(5, 512), 0, 1, &random);
        ct_require_grad(x, true);
        ct_tensor *y = ct_linear(x, i ? whole : weight, NULL, false, CT_ACT_NONE), *ones = ct_ones_like(y);
        ct_grad(&y, 1, &ones, &x, 1, &gradients[i], CT_GRAD_DEFAULT);
    }
    expect_same(gradients[0], gradients[1]);
    free(blocks);
    free(values);
    ct_context_destroy(context);
}

static void test_bad(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    ct_from_q8_0(context, 2, 48, "");
    expect_error(context, CT_ERROR_ARGUMENT, "multiple of 32");
    ct_from_q8_0(context, -1, 32, "");
    expect_error(context, CT_ERROR_ARGUMENT, "negative");
    ct_from_q8_0(context, INT64_MAX / 64, 1024, "");
    expect_error(context, CT_ERROR_ARGUMENT, "too large");
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_exhaustion),
        cmocka_unit_test(test_memory_and_gradient),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
