/* test_random.c - Philox against the published vectors, the draws against their definitions and
 * distributions. */
#include "base/fmath.h"
#include "base/random_internal.h"
#include "check.h"
#include <math.h>

/* From kat_vectors of Random123 (philox4x32, 10 rounds): counter, key, result. */
static const uint32_t vectors[3][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
                                         0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822,
                                         0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};

static uint64_t join(uint32_t low, uint32_t high) {
    return (uint64_t)high << 32 | low;
}

static void known_answers(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        const uint32_t *v = vectors[i];
        uint32_t out[4];
        ct_random_block(join(v[4], v[5]), join(v[2], v[3]), join(v[0], v[1]), out);
        assert_memory_equal(out, v + 6, 16);
    }
    assert_true(ct_random_stream("") == 0xcbf29ce484222325u); /* FNV-1a, published values */
    assert_true(ct_random_stream("a") == 0xaf63dc4c8601ec8cu);
    assert_true(ct_random_stream("foobar") == 0x85944171f73967e8u);
}

static void draws_follow_their_definition(void **state) {
    (void)state;
    /* Block 0 of seed 0, stream 0 is the first vector: the first two uniforms by hand. */
    assert_true(ct_random_uniform_at(0, 0, 0) == (double)(0xe169c58d6627e8d5u >> 11) / 9007199254740992.0);
    assert_true(ct_random_uniform_at(0, 0, 1) == (double)(0x9b00dbd8bc57ac4cu >> 11) / 9007199254740992.0);
    for (uint64_t index = 0; index < 1000; index++) {
        uint32_t words[4];
        ct_random_block(7, 9, CT_RANDOM_NORMAL + index / 2, words);
        double a = (double)(join(words[0], words[1]) >> 11) / 9007199254740992.0;
        double b = (double)(join(words[2], words[3]) >> 11) / 9007199254740992.0;
        double radius = sqrt(-2 * log(1 - a)), angle = 2 * M_PI * b;
        double expected = radius * (index % 2 ? sin(angle) : cos(angle));
        assert_true(fabs(ct_random_normal_at(7, 9, index) - expected) < 2e-14);
        ct_random_block(7, 9, CT_RANDOM_WORDS + index / 4, words);
        assert_int_equal(ct_random_u32_at(7, 9, index), words[index % 4]);
    }
}

static void streams_can_be_entered_anywhere(void **state) {
    (void)state;
    ct_random all = ct_random_make(123, ct_random_stream("dropout"));
    for (uint64_t i = 0; i < 100; i++) {
        ct_random part = ct_random_make(123, ct_random_stream("dropout"));
        part.offset = i;
        ct_random again = part;
        double uniform = ct_random_uniform(&part), normal = ct_random_normal(&again);
        assert_int_equal(all.offset, i);
        assert_int_equal(part.offset, i + 1);
        assert_true(normal == ct_random_normal_at(123, all.stream, i));
        assert_true(uniform == ct_random_uniform(&all));
    }
}

static void own_functions_are_accurate(void **state) {
    (void)state;
    double worst_log = 0, worst_turn = 0;
    for (int i = 1; i <= 200000; i++) {
        double u = ct_random_uniform_at(1, 2, (uint64_t)i), x = i % 2 ? 1 - u : ldexp(1 - u, -(i % 53));
        double log_error = fabs(ct_fmath_log(x) - log(x)) / fmax(fabs(log(x)), 1e-300), sine, cosine;
        if (x != 1) worst_log = fmax(worst_log, log_error);
        ct_fmath_sincos_turn(u, &sine, &cosine);
        long double angle = 2 * 3.14159265358979323846264338327950288L * (long double)u;
        worst_turn = fmax(worst_turn, (double)fabsl((long double)sine - sinl(angle)));
        worst_turn = fmax(worst_turn, (double)fabsl((long double)cosine - cosl(angle)));
    }
    assert_true(worst_log < 1e-15);
    assert_true(worst_turn < 5e-16);
    assert_true(ct_fmath_log(1) == 0);
    double sine, cosine;
    const double quarters[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
    for (int q = 0; q < 4; q++) {
        ct_fmath_sincos_turn(0.25 * q, &sine, &cosine);
        assert_true(sine == quarters[q][0] && cosine == quarters[q][1]);
    }
}

/* The same bits from every compiler and at every optimisation level. */
static void bits_are_fixed(void **state) {
    (void)state;
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < 10000; i++) {
        double value = ct_random_normal_at(42, 0, i);
        uint64_t bits;
        memcpy(&bits, &value, 8);
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    if (hash != 0xdb68d33b89f59490u) fail_msg("found 0x%llx", (unsigned long long)hash);
}

static void distributions(void **state) {
    (void)state;
    enum { N = 400000, BINS = 64 };
    double sum = 0, square = 0, cube = 0, fourth = 0, chi = 0, product = 0, last = 0;
    int bins[BINS] = {0}, beyond = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = ct_random_uniform_at(3, 4, i), z = ct_random_normal_at(3, 4, i);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
        sum += z, square += z * z, cube += z * z * z, fourth += z * z * z * z;
        product += z * last;
        last = z;
        beyond += fabs(z) > 2;
    }
    for (int i = 0; i < BINS; i++)
        chi += (bins[i] - N / (double)BINS) * (bins[i] - N / (double)BINS) / (N / (double)BINS);
    assert_true(chi > 25 && chi < 120); /* 63 degrees of freedom: mean 63, deviation 11 */
    double unit = 1 / sqrt(N);          /* all bounds are five deviations of the estimate */
    assert_true(fabs(sum / N) < 5 * unit);
    assert_true(fabs(square / N - 1) < 5 * sqrt(2) * unit);
    assert_true(fabs(cube / N) < 5 * sqrt(15) * unit);
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96) * unit);
    assert_true(fabs(product / N) < 5 * unit);
    assert_true(fabs(beyond / (double)N - 0.0455003) < 5 * sqrt(0.0455) * unit); /* P(|z| > 2) */
}

static void integers(void **state) {
    (void)state;
    ct_random random = ct_random_make(5, 6);
    int bins[7] = {0};
    double chi = 0;
    for (int i = 0; i < 70000; i++) {
        int64_t draw = ct_random_integer(&random, -3, 4);
        assert_true(draw >= -3 && draw < 4);
        bins[draw + 3]++;
    }
    for (int i = 0; i < 7; i++)
        chi += (bins[i] - 10000.0) * (bins[i] - 10000.0) / 10000;
    assert_true(chi < 35); /* 6 degrees of freedom */
    assert_int_equal(random.offset, 70000);
    assert_int_equal(ct_random_integer(&random, 8, 8), 8);
    assert_int_equal(ct_random_integer(&random, 8, 9), 8);
    for (int i = 0; i < 100; i++)
        assert_true(ct_random_integer(&random, INT64_MIN, INT64_MAX) < INT64_MAX);
}

static void permutations_are_permutations(void **state) {
    (void)state;
    const int64_t more[] = {100, 127, 128, 129, 1000, 4096, 4097, 65537, (1 << 20) + 7};
    int sizes = 70 + (int)(sizeof more / sizeof *more);
    for (int s = 0; s < sizes; s++) {
        int64_t count = s < 70 ? s + 1 : more[s - 70];
        unsigned char *seen = calloc((size_t)count, 1);
        for (int64_t i = 0; i < count; i++) {
            int64_t j = ct_random_permuted(11, (uint64_t)s, count, i);
            assert_true(j >= 0 && j < count && !seen[j]);
            seen[j] = 1;
        }
        free(seen);
    }
    assert_int_equal(ct_random_permuted(1, 1, 10, 10), -1);
    assert_int_equal(ct_random_permuted(1, 1, 10, -1), -1);
    assert_int_equal(ct_random_permuted(1, 1, 0, 0), -1);
    for (int64_t i = 0; i < 50; i++) { /* of a range larger than any table */
        int64_t j = ct_random_permuted(1, 1, (int64_t)1 << 61, i);
        assert_true(j >= 0 && j < (int64_t)1 << 61);
    }
}

static void permutations_are_uniform(void **state) {
    (void)state;
    int by_order[6] = {0}, first[10] = {0}, pair = 0;
    double chi = 0;
    for (uint64_t seed = 0; seed < 12000; seed++) { /* the six orders of three */
        int64_t a = ct_random_permuted(seed, 1, 3, 0), b = ct_random_permuted(seed, 1, 3, 1);
        by_order[a * 2 + (b > (a == 0 ? 1 : 0))]++;
    }
    for (int i = 0; i < 6; i++)
        chi += (by_order[i] - 2000.0) * (by_order[i] - 2000.0) / 2000;
    assert_true(chi < 30); /* 5 degrees of freedom */
    for (uint64_t seed = 0; seed < 20000; seed++) {
        int64_t a = ct_random_permuted(seed, 2, 1000, 0), b = ct_random_permuted(seed, 2, 1000, 1);
        first[a / 100]++;
        pair += a < b;
    }
    chi = 0;
    for (int i = 0; i < 10; i++)
        chi += (first[i] - 2000.0) * (first[i] - 2000.0) / 2000;
    assert_true(chi < 40); /* 9 degrees of freedom */
    assert_true(abs(pair - 10000) < 5 * 71);
    int fixed = 0; /* within one permutation: about one fixed point is expected */
    for (int64_t i = 0; i < 100000; i++)
        fixed += ct_random_permuted(77, 3, 100000, i) == i;
    assert_true(fixed < 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(draws_follow_their_definition),
        cmocka_unit_test(streams_can_be_entered_anywhere),
        cmocka_unit_test(own_functions_are_accurate),
        cmocka_unit_test(bits_are_fixed),
        cmocka_unit_test(distributions),
        cmocka_unit_test(integers),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(permutations_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
