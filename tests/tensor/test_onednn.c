/* test_onednn.c - bf16 products through oneDNN: the error bound of summation for every storage order, equal
 * bits for any number of threads and for rows in any company, batches, bias and activation. Skipped on
 * processors without AVX-512 BF16. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tensor/cpu/kernels.h"
#include "tensor/onednn.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 1;

/* A bf16 number in [-1, 1). */
static uint16_t draw(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return ct_f32_to_bf16((float)((double)(seed >> 40) / (1 << 23) - 1));
}

typedef struct product {
    int64_t m, n, k, entries;
    uint16_t *a, *b;
    ct_gemm_operand left, right;
} product;

/* How the factors are stored. A_WIDE, A_APART: rows of A are parts of longer, of much longer ones. */
enum { A_COLUMNS = 1, B_COLUMNS = 2, A_WIDE = 4, A_APART = 8 };

static product make(int64_t entries, int64_t m, int64_t n, int64_t k, int storage) {
    product p = {.m = m, .n = n, .k = k, .entries = entries};
    int64_t row = storage & A_WIDE ? k + 24 : storage & A_APART ? 5 * k : k;
    p.a = malloc((size_t)(entries * m * row) * 2);
    p.b = malloc((size_t)(entries * k * n) * 2);
    assert_true(p.a && p.b);
    for (int64_t i = 0; i < entries * m * row; i++)
        p.a[i] = draw();
    for (int64_t i = 0; i < entries * k * n; i++)
        p.b[i] = draw();
    p.left = (ct_gemm_operand){.data = p.a, .dtype = CT_BF16, .row_stride = row, .col_stride = 1};
    p.right = (ct_gemm_operand){.data = p.b, .dtype = CT_BF16, .row_stride = n, .col_stride = 1};
    if (storage & A_COLUMNS) p.left.row_stride = 1, p.left.col_stride = m;
    if (storage & B_COLUMNS) p.right.row_stride = 1, p.right.col_stride = k;
    return p;
}

static void release(product *p) {
    free(p->a), free(p->b);
}

/* Element (i, j) of an entry in f64, and the sum of absolute values. */
static double exact(const product *p, int64_t entry, int64_t i, int64_t j, double *size) {
    const uint16_t *a = p->a + entry * p->m * p->k, *b = p->b + entry * p->k * p->n;
    double sum = 0;
    *size = 0;
    for (int64_t l = 0; l < p->k; l++) {
        double term = (double)ct_bf16_to_f32(a[i * p->left.row_stride + l * p->left.col_stride]) *
                      ct_bf16_to_f32(b[l * p->right.row_stride + j * p->right.col_stride]);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* C as f32, [entries, m, n]. */
static float *run(const product *p, int threads) {
    ct_context *context = ct_context_create(threads);
    float *c = malloc((size_t)(p->entries * p->m * p->n) * sizeof *c);
    assert_true(context && c);
    ct_gemm_output out = {c, CT_F32, p->n, 1};
    ct_gemm_batch batch = {.rank = 1,
                           .shape = {p->entries},
                           .a_stride = {p->m * p->k},
                           .b_stride = {p->k * p->n},
                           .c_stride = {p->m * p->n}};
    assert_true(ct_onednn_takes(context, p->m, p->n, p->k, &p->left, &p->right, NULL));
    assert_int_equal(ct_onednn_matmul(context, p->entries > 1 ? &batch : NULL, p->m, p->n, p->k, &p->left,
                                      &p->right, &out, NULL),
                     CT_OK);
    assert_string_equal(ct_context_message(context), "");
    ct_context_destroy(context);
    return c;
}

/* |error| <= k u sum |a b|, with a term for each rounding of a sum: Higham, Accuracy and Stability of
 * Numerical Algorithms, ch. 3. The products of two bf16 numbers are exact in f32. */
static void check_bound(const product *p, const float *c) {
    for (int64_t e = 0; e < p->entries; e++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                double size, sum = exact(p, e, i, j, &size), found = c[(e * p->m + i) * p->n + j];
                if (!(fabs(found - sum) <= 1.01 * (double)p->k * FLT_EPSILON / 2 * size))
                    fail_msg("%d x %d x %d, entry %d, [%d, %d]: %.9g, expected %.9g", (int)p->m, (int)p->n,
                             (int)p->k, (int)e, (int)i, (int)j, found, sum);
            }
}

/* Whole tiles, last tiles of every height, odd k; all four storage orders. */
static void test_products(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{16, 16, 16},  {17, 33, 35},   {40, 96, 64},  {65, 20, 129},
                                        {300, 17, 48}, {256, 256, 32}, {130, 270, 31}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int storage = 0; storage < 4; storage++) {
            product p = make(1, shapes[s][0], shapes[s][1], shapes[s][2], storage);
            float *c = run(&p, 1);
            check_bound(&p, c);
            free(c);
            release(&p);
        }
}

static void test_batches(void **state) {
    (void)state;
    for (int storage = 0; storage < 4; storage++) {
        product p = make(3, 37, 24, 40, storage);
        float *c = run(&p, 2);
        check_bound(&p, c);
        free(c);
        release(&p);
    }
}

static void test_threads(void **state) {
    (void)state;
    product p = make(2, 290, 300, 70, B_COLUMNS);
    float *one = run(&p, 1), *three = run(&p, 3);
    assert_memory_equal(one, three, (size_t)(p.entries * p.m * p.n) * sizeof *one);
    free(one), free(three);
    release(&p);
}

/* Whether `rows` rows from `first` on, multiplied alone, have the bits that they have in the whole product.
 */
static bool same_alone(const product *p, const float *whole, int64_t first, int64_t rows) {
    product part = *p;
    part.m = rows;
    part.left.data = p->a + first * p->left.row_stride;
    float *found = run(&part, 1);
    bool same = memcmp(found, whole + first * p->n, (size_t)(rows * p->n) * sizeof *found) == 0;
    free(found);
    return same;
}

/* A row of a product has the same bits among any number of others, from CT_ONEDNN_ROWS on, where A is stored
 * by rows. The shapes are such that oneDNN takes different implementations. */
static void test_rows(void **state) {
    (void)state;
    static const int64_t parts[][2] = {{0, 16}, {3, 17}, {100, 32}, {90, 64}, {1, 129}, {20, 256}, {0, 280}};
    static const int64_t sizes[][2] = {{48, 200}, {272, 336}, {30, 31}, {17, 48}, {16, 900}};
    static const int storages[] = {A_WIDE, A_APART, 0, B_COLUMNS, A_WIDE | B_COLUMNS};
    int differing = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int t = 0; t < 5; t++) {
            product p = make(1, 300, sizes[s][0], sizes[s][1], storages[t]);
            float *whole = run(&p, 1);
            for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                if (same_alone(&p, whole, parts[i][0], parts[i][1])) continue;
                differing++;
                print_error("n %d, k %d, storage %d: %d rows from %d on differ alone\n", (int)p.n, (int)p.k,
                            storages[t], (int)parts[i][1], (int)parts[i][0]);
            }
            free(whole);
            release(&p);
        }
    assert_int_equal(differing, 0);
}

static void double_it(const void *user, void *values, int64_t count) {
    (void)user;
    float *x = values;
    for (int64_t i = 0; i < count; i++)
        x[i] *= 2;
}

/* Bias, the value before the activation, the activation, rounding to bf16 and a result stored by columns:
 * from the plain product, to the bit. */
static void test_epilogue(void **state) {
    (void)state;
    product p = make(1, 270, 40, 50, 0);
    float *plain = run(&p, 1), bias[40];
    uint16_t *c = malloc((size_t)(p.m * p.n) * 2), *before = malloc((size_t)(p.m * p.n) * 2);
    ct_context *context = ct_context_create(2);
    assert_true(c && before && context);
    for (int j = 0; j < 40; j++)
        bias[j] = ct_bf16_to_f32(draw());
    ct_gemm_output out = {c, CT_BF16, 1, p.m};
    ct_gemm_epilogue e = {
        .bias_n = bias, .activation = double_it, .preactivation = {before, CT_BF16, p.n, 1}};
    assert_true(ct_onednn_takes(context, p.m, p.n, p.k, &p.left, &p.right, &e));
    assert_int_equal(ct_onednn_matmul(context, NULL, p.m, p.n, p.k, &p.left, &p.right, &out, &e), CT_OK);
    for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
            float value = plain[i * p.n + j] + bias[j];
            assert_int_equal(before[i * p.n + j], ct_f32_to_bf16(value));
            assert_int_equal(c[i + j * p.m], ct_f32_to_bf16(2 * value));
        }
    /* What it leaves to ct_gemm. */
    e.bias_m = bias;
    assert_false(ct_onednn_takes(context, p.m, p.n, p.k, &p.left, &p.right, &e));
    assert_false(ct_onednn_takes(context, CT_ONEDNN_ROWS - 1, p.n, p.k, &p.left, &p.right, NULL));
    ct_context_destroy(context);
    free(plain), free(c), free(before);
    release(&p);
}

int main(void) {
    ct_context *context = ct_context_create(1);
    bool present = context && ct_onednn_has_bf16(context);
    ct_context_destroy(context);
    if (!present) {
        printf("skipped: no AVX-512 BF16, or no oneDNN\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_batches),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_epilogue),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ct_onednn_release();
    return failed;
}
