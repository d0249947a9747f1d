/* reach_e_generated.c - a weight that is made tile by tile while matmul packs it, never whole in memory:
 * Sparse MeZO's on-the-fly form (card weights/263, arXiv:2402.15751). W + c eps m(W) z(seed) stands in for W
 * in the two forward passes; W itself is not touched, the mask m = |W| <= h is not stored, and z is made
 * again from its seed. */
#include "reach.h"

typedef struct perturbed {
    const float *weight; /* [rows, columns] */
    int64_t columns;
    float shift, threshold; /* c * eps; |w| above the threshold is left alone */
    uint64_t seed;
} perturbed;

/* Rademacher draws: bit `column % 128` of the counter block of its 128 columns. */
static void tile(const void *user, int64_t row, int64_t column, int64_t rows, int64_t columns, float *out,
                 int64_t pitch) {
    const perturbed *p = user;
    for (int64_t i = 0; i < rows; i++) {
        uint32_t bits[4] = {0};
        int64_t block = -1;
        for (int64_t j = 0; j < columns; j++) {
            int64_t at = column + j;
            if (at / 128 != block) {
                block = at / 128;
                ct_random_block(p->seed, (uint64_t)(row + i), (uint64_t)block, bits);
            }
            float w = p->weight[(row + i) * p->columns + at];
            float z = bits[at % 128 / 32] >> (at % 32) & 1 ? 1.0f : -1.0f;
            out[i * pitch + j] = fabsf(w) <= p->threshold ? w + p->shift * z : w;
        }
    }
}

static size_t peak_during(ct_memory_counts *counts, size_t present) {
    ct_memory_read(context, counts);
    return counts->peak_total - present;
}

static size_t present_bytes(void) {
    ct_memory_counts counts;
    ct_memory_reset_peak(context);
    ct_memory_read(context, &counts);
    return counts.current_total;
}

/* y = x W^T through the generated weight and through a stored copy of it: same bits of the result and of the
 * input's gradient, for ct_linear, ct_matmul and a transposed view; and the bytes counted. */
static void test_bits_and_bytes(void **state) {
    (void)state;
    enum { ROWS = 4096, COLUMNS = 2048, BATCH = 16 };
    ct_random random = ct_random_make(31, 1);
    ct_tensor *base = ct_random_normal_tensor(context, CT_F32, CT_DIMS(ROWS, COLUMNS), 0, 0.05, &random);
    perturbed p = {ct_data(base), COLUMNS, 1e-2f, 0.03f, 77};
    ct_tensor *x = normal_leaf(CT_F32, CT_DIMS(BATCH, COLUMNS), 1, &random);
    ct_tensor *back = ct_random_normal_tensor(context, CT_F32, CT_DIMS(BATCH, ROWS), 0, 1, &random);
    ct_tensor *generated = ct_from_tiles(context, ROWS, COLUMNS, tile, &p, NULL);
    ct_tensor *results[3], *gradients[3], *stored_results[3], *stored_gradients[3];
    size_t weight_bytes = (size_t)ROWS * COLUMNS * sizeof(float), present = present_bytes();
    for (int way = 0; way < 3; way++) {
        ct_tensor *y = way == 0   ? ct_linear(x, generated, NULL, false, CT_ACT_NONE)
                       : way == 1 ? ct_matmul(x, ct_transpose(generated, 0, 1))
                                  : ct_linear(x, ct_transpose(generated, 0, 1), NULL, true, CT_ACT_NONE);
        ct_grad(&y, 1, &back, &x, 1, &gradients[way], CT_GRAD_DEFAULT);
        results[way] = y;
    }
    assert_ok();
    ct_memory_counts counts;
    size_t peak = peak_during(&counts, present);
    print_message("weight of %zu bytes, peak while it was multiplied with %zu\n", weight_bytes, peak);
    assert_true(peak < weight_bytes / 4);
    ct_tensor *stored = ct_empty(context, CT_F32, CT_DIMS(ROWS, COLUMNS));
    tile(&p, 0, 0, ROWS, COLUMNS, ct_data_mutable(stored), COLUMNS);
    for (int way = 0; way < 3; way++) {
        ct_tensor *y = way == 0   ? ct_linear(x, stored, NULL, false, CT_ACT_NONE)
                       : way == 1 ? ct_matmul(x, ct_transpose(stored, 0, 1))
                                  : ct_linear(x, ct_transpose(stored, 0, 1), NULL, true, CT_ACT_NONE);
        ct_grad(&y, 1, &back, &x, 1, &stored_gradients[way], CT_GRAD_DEFAULT);
        stored_results[way] = y;
    }
    for (int way = 0; way < 3; way++) {
        assert_same_bits(results[way], stored_results[way]);
        assert_same_bits(gradients[way], stored_gradients[way]);
    }
    /* The perturbation did something, and the numbers are a matrix product: one element by hand. */
    ct_tensor *plain = ct_linear(x, base, NULL, false, CT_ACT_NONE);
    assert_true(worst_difference(plain, results[0]) > 1e-3);
    double sum = 0, *xs = values(x), *ws = values(stored), *ys = values(results[0]);
    for (int64_t k = 0; k < COLUMNS; k++)
        sum += xs[3 * COLUMNS + k] * ws[1000 * COLUMNS + k];
    assert_near(ys[3 * ROWS + 1000], sum, 1e-5);
    free(xs);
    free(ws);
    free(ys);
    ct_drop(x);
}

/* ----------------------------------------------------------------------------- training without gradients */

enum { IN = 16, HIDDEN = 48, CLASSES = 4, SAMPLES = 64 };

typedef struct network {
    ct_tensor *w[2]; /* [HIDDEN, IN], [CLASSES, HIDDEN] */
    float threshold[2];
    ct_tensor *x, *labels;
} network;

static double network_loss(const network *n, uint64_t seed, float shift, bool stored) {
    ct_scope scope = ct_scope_open(context);
    perturbed p[2];
    ct_tensor *w[2];
    for (int i = 0; i < 2; i++) {
        int64_t rows = ct_dim(n->w[i], 0), columns = ct_dim(n->w[i], 1);
        p[i] = (perturbed){ct_data(n->w[i]), columns, shift, n->threshold[i], seed + 1000000 * (uint64_t)i};
        if (stored) {
            w[i] = ct_empty_like(n->w[i]);
            tile(&p[i], 0, 0, rows, columns, ct_data_mutable(w[i]), columns);
        } else {
            w[i] = ct_from_tiles(context, rows, columns, tile, &p[i], NULL);
        }
    }
    ct_tensor *hidden = ct_linear(n->x, w[0], NULL, false, CT_ACT_RELU);
    double loss = item(ct_cross_entropy(ct_linear(hidden, w[1], NULL, false, CT_ACT_NONE), n->labels, NULL));
    ct_scope_close(context, scope);
    return loss;
}

/* theta <- theta - rate pg m z, row by row. */
static void update(network *n, uint64_t seed, float change) {
    for (int i = 0; i < 2; i++) {
        int64_t rows = ct_dim(n->w[i], 0), columns = ct_dim(n->w[i], 1);
        float *data = ct_data_mutable(n->w[i]);
        perturbed p = {data, columns, change, n->threshold[i], seed + 1000000 * (uint64_t)i};
        for (int64_t row = 0; row < rows; row++)
            tile(&p, row, 0, 1, columns, data + row * columns, columns);
    }
}

static void test_training(void **state) {
    (void)state;
    ct_grad_mode_set(context, false);
    ct_random random = ct_random_make(12, 3);
    network n = {.threshold = {0.5f, 0.3f}};
    n.w[0] = ct_random_normal_tensor(context, CT_F32, CT_DIMS(HIDDEN, IN), 0, 0.35, &random);
    n.w[1] = ct_random_normal_tensor(context, CT_F32, CT_DIMS(CLASSES, HIDDEN), 0, 0.2, &random);
    ct_tensor *centres = ct_random_normal_tensor(context, CT_F32, CT_DIMS(CLASSES, IN), 0, 1, &random);
    n.labels = ct_random_integer_tensor(context, CT_I64, CT_DIMS(SAMPLES), 0, CLASSES, &random);
    n.x = ct_add(ct_index_select(centres, 0, n.labels),
                 ct_random_normal_tensor(context, CT_F32, CT_DIMS(SAMPLES, IN), 0, 0.5, &random));
    ct_tensor *before = ct_clone(n.w[0]);
    const float eps = 1e-3f, rate = 1e-3f;
    double first = network_loss(&n, 0, 0, false);
    for (uint64_t seed = 0; seed < 800; seed++) {
        double above = network_loss(&n, seed, eps, false), below = network_loss(&n, seed, -eps, false);
        if (seed % 100 == 0) { /* the stored form gives the same bits */
            assert_true(above == network_loss(&n, seed, eps, true));
            assert_true(below == network_loss(&n, seed, -eps, true));
        }
        update(&n, seed, (float)(-rate * (above - below) / (2 * eps)));
    }
    double last = network_loss(&n, 0, 0, false);
    print_message("loss %.3f -> %.3f\n", first, last);
    assert_true(last < 0.5 * first);
    /* What stood above the threshold from the start has never been touched. */
    double *w = values(n.w[0]), *w0 = values(before);
    int held = 0, moved = 0;
    for (int i = 0; i < HIDDEN * IN; i++) {
        if (fabs(w0[i]) > 0.5) assert_true(w[i] == w0[i]);
        held += fabs(w0[i]) > 0.5;
        moved += w[i] != w0[i];
    }
    assert_true(held > 50 && moved > 400);
    free(w);
    free(w0);
}

/* Whoever needs the numbers themselves reads them; anything but a product is an error. */
static void test_refusals(void **state) {
    (void)state;
    float numbers[6] = {1, 2, 3, 4, 5, 6}, copy[6];
    perturbed p = {numbers, 3, 0, 0, 0};
    ct_tensor *generated = ct_from_tiles(context, 2, 3, tile, &p, NULL);
    assert_int_equal(ct_read(generated, CT_F32, copy), CT_OK);
    assert_memory_equal(copy, numbers, sizeof(numbers));
    ct_add(generated, generated);
    assert_true(ct_failed(context) && strstr(ct_context_message(context), "generated"));
    ct_context_clear(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_bits_and_bytes),
        reach_test(test_training),
        reach_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
