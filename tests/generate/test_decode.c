/* test_decode.c - the filters and the draw against worked numbers. */
#include "generate/tiny.h"

static ct_context *context;

static ct_generate_options off(void) {
    return default_options(1, true);
}

/* Applies the filters and compares with what is expected; OUT stands for an excluded token. */
#define OUT (-INFINITY)
static void assert_filtered(const ct_generate_options *o, const float *logits, const int32_t *history,
                            size_t seen, const float *expected, int count) {
    float row[16];
    memcpy(row, logits, (size_t)count * sizeof(float));
    ct_filter_logits(row, count, o, history, seen, context);
    for (int i = 0; i < count; i++) {
        bool same = expected[i] == OUT ? row[i] == OUT : fabsf(row[i] - expected[i]) < 1e-6f;
        if (!same) fail_msg("token %d: %g, expected %g", i, (double)row[i], (double)expected[i]);
    }
}
#define FILTERED(o, logits, ...)                                                                             \
    assert_filtered(o, logits, NULL, 0, (const float[]){__VA_ARGS__},                                        \
                    (int)(sizeof((const float[]){__VA_ARGS__}) / 4))

static void nothing_by_default(void **state) {
    (void)state;
    ct_generate_options o = off();
    FILTERED(&o, ((const float[]){1, -2, 3}), 1, -2, 3);
}

static void repetition_penalty(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.repetition_penalty = 2;
    const float logits[] = {4, -4, 0, 6, -6};
    /* Positive logits of seen ids are halved, negative ones doubled, each once however often it was seen. */
    const int32_t history[] = {0, 1, 0, 2, 0, 1};
    assert_filtered(&o, logits, history, 6, (const float[]){2, -8, 0, 6, -6}, 5);
    /* Ids from elsewhere are nobody's. */
    assert_filtered(&o, logits, (const int32_t[]){-1, 7}, 2, (const float[]){4, -4, 0, 6, -6}, 5);
    o.repetition_penalty = 0.5; /* encourages */
    assert_filtered(&o, logits, history, 6, (const float[]){8, -2, 0, 6, -6}, 5);
    o.do_sample = false; /* it acts on greedy decoding too */
    o.repetition_penalty = 2;
    assert_filtered(&o, logits, (const int32_t[]){3}, 1, (const float[]){4, -4, 0, 3, -6}, 5);
}

static void temperature(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.temperature = 0.5;
    FILTERED(&o, ((const float[]){1, -2, 3}), 2, -4, 6);
    o.temperature = 4;
    FILTERED(&o, ((const float[]){1, -2, 3}), 0.25f, -0.5f, 0.75f);
}

static void top_k(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.top_k = 2;
    FILTERED(&o, ((const float[]){1, 3, 2, 0}), OUT, 3, 2, OUT);
    /* What ties with the k-th stays, as transformers has it. */
    FILTERED(&o, ((const float[]){1, 3, 2, 2}), OUT, 3, 2, 2);
    o.top_k = 1;
    FILTERED(&o, ((const float[]){1, 3, 3, 2}), OUT, 3, 3, OUT);
    o.top_k = 4;
    FILTERED(&o, ((const float[]){1, 3, 2, 0}), 1, 3, 2, 0);
    o.top_k = 100;
    FILTERED(&o, ((const float[]){1, 3, 2, 0}), 1, 3, 2, 0);
}

/* Logits whose probabilities are 0.4, 0.3, 0.2, 0.1 in another order. */
static const float tenths[] = {0.6931472f, 1.3862944f, 0, 1.0986123f};

static void top_p(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.top_p = 0.65;
    FILTERED(&o, tenths, OUT, tenths[1], OUT, tenths[3]);
    o.top_p = 0.75; /* the smallest set that has it: one more */
    FILTERED(&o, tenths, tenths[0], tenths[1], OUT, tenths[3]);
    o.top_p = 0.39;
    FILTERED(&o, tenths, OUT, tenths[1], OUT, OUT);
    o.top_p = 0.0; /* always one */
    FILTERED(&o, tenths, OUT, tenths[1], OUT, OUT);
    o.top_p = 0.95;
    FILTERED(&o, tenths, tenths[0], tenths[1], 0, tenths[3]);
    /* The smallest set also where all are equal: the lowest ids of ties. */
    o.top_p = 0.4;
    FILTERED(&o, ((const float[]){5, 5, 5, 5}), 5, 5, OUT, OUT);
    o.top_p = 0.39;
    FILTERED(&o, ((const float[]){0, 5, 5, 5, 5, 5}), OUT, 5, 5, OUT, OUT, OUT);
}

static void min_p(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.min_p = 0.45; /* of 0.4: 0.18 */
    FILTERED(&o, tenths, tenths[0], tenths[1], OUT, tenths[3]);
    o.min_p = 0.6; /* 0.24 */
    FILTERED(&o, tenths, OUT, tenths[1], OUT, tenths[3]);
    o.min_p = 1; /* only what is as likely as the likeliest */
    FILTERED(&o, tenths, OUT, tenths[1], OUT, OUT);
    FILTERED(&o, ((const float[]){2, 1, 2}), 2, OUT, 2);
}

/* Penalty before temperature before top-k before top-p before min-p: each of these has another result
 * otherwise. */
static void order_of_filters(void **state) {
    (void)state;
    ct_generate_options o = off();
    o.temperature = 0.5; /* probabilities become 16, 9, 4, 1 thirtieths */
    o.top_p = 0.55;      /* 16/30 is not enough */
    FILTERED(&o, tenths, OUT, 2 * tenths[1], OUT, 2 * tenths[3]);
    o = off();
    o.top_k = 3; /* 4, 3, 2 ninths */
    o.top_p = 0.75;
    FILTERED(&o, tenths, OUT, tenths[1], OUT, tenths[3]);
    o.repetition_penalty = 100; /* token 1 falls behind: 3, 2, 1 sixths and it */
    o.top_k = 2;
    o.top_p = 1;
    assert_filtered(&o, tenths, (const int32_t[]){1}, 1, (const float[]){tenths[0], OUT, OUT, tenths[3]}, 4);
    /* What ties with the k-th counts for top-p: a third each, one has not enough. */
    o = off();
    o.top_k = 2;
    o.top_p = 0.45;
    FILTERED(&o, ((const float[]){5, 5, 0, 5}), 5, 5, OUT, OUT);
    /* A temperature of 0 is greedy: nothing but the penalty acts. */
    o = off();
    o.temperature = 0;
    o.top_k = 1;
    FILTERED(&o, ((const float[]){1, 2}), 1, 2);
}

static void greedy(void **state) {
    (void)state;
    ct_generate_options o = off();
    ct_random random = ct_random_make(1, 2);
    o.do_sample = false;
    assert_int_equal(ct_draw_token((const float[]){1, 7, 7, 3}, 4, &o, &random), 1);
    assert_int_equal(ct_draw_token((const float[]){OUT, OUT, -9, OUT}, 4, &o, &random), 2);
    assert_int_equal(ct_draw_token((const float[]){4}, 1, &o, &random), 0);
    o.do_sample = true;
    o.temperature = 0;
    assert_int_equal(ct_draw_token((const float[]){1, 2, 7, 7}, 4, &o, &random), 2);
}

/* However cold: quotients beyond f32 would all be infinite, and the first of them be drawn. */
static void coldest(void **state) {
    (void)state;
    static const double temperatures[] = {1e-29, 1e-31, 1e-38, 1e-45, 1e-300};
    for (int i = 0; i < 5; i++) {
        ct_generate_options o = off();
        ct_random random = ct_random_make(1, 2);
        float logits[4] = {1, -3, 20, 0};
        o.temperature = temperatures[i];
        ct_filter_logits(logits, 4, &o, NULL, 0, context);
        assert_int_equal(ct_draw_token(logits, 4, &o, &random), 2);
    }
}

/* Draws follow the probabilities: a chi-squared test with 3 degrees of freedom (16.27 is the 0.1 % point);
 * the seed is fixed, so this passes always or never. */
static void draws_follow_probabilities(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    static const double expected[] = {0.2, 0.4, 0.1, 0.3};
    ct_generate_options o = off();
    int counts[5] = {0};
    for (int i = 0; i < DRAWS; i++) {
        ct_random random = ct_random_make(5, 77);
        random.offset = (uint64_t)i;
        counts[ct_draw_token((const float[]){tenths[0], tenths[1], tenths[2], tenths[3], OUT}, 5, &o,
                             &random)]++;
    }
    assert_int_equal(counts[4], 0);
    double chi = 0;
    for (int i = 0; i < 4; i++)
        chi += pow(counts[i] - DRAWS * expected[i], 2) / (DRAWS * expected[i]);
    if (!(chi < 16.27)) fail_msg("chi squared %g", chi);
    /* The same seed, stream and offset draw the same. */
    for (int i = 0; i < 20; i++) {
        ct_random a = ct_random_make((uint64_t)i, 1), b = ct_random_make((uint64_t)i, 1);
        assert_int_equal(ct_draw_token(tenths, 4, &o, &a), ct_draw_token(tenths, 4, &o, &b));
    }
}

static int enter(void **state) {
    (void)state;
    return (context = ct_context_create(1)) ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    end_tensors(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_by_default),
                                       cmocka_unit_test(repetition_penalty),
                                       cmocka_unit_test(temperature),
                                       cmocka_unit_test(top_k),
                                       cmocka_unit_test(top_p),
                                       cmocka_unit_test(min_p),
                                       cmocka_unit_test(order_of_filters),
                                       cmocka_unit_test(greedy),
                                       cmocka_unit_test(coldest),
                                       cmocka_unit_test(draws_follow_probabilities)};
    return cmocka_run_group_tests(tests, enter, leave);
}
