/* test_perplexity.c - losses against sums of -log softmax in f64: sliding windows, batches, bits per byte. */
#include "generate/tiny.h"
#include <carat/evaluate.h>

enum { LENGTH = 40 };

static ct_context *context;
static ct_model *model; /* random, 32 positions */
static ct_tokenizer *tokenizer;
static int32_t text[LENGTH];

static ct_perplexity_options options_of(int64_t length, int64_t stride, int64_t batch) {
    ct_perplexity_options o;
    ct_options_default(ct_perplexity_table, &o);
    o.context = length;
    o.stride = stride;
    o.batch = batch;
    return o;
}

static ct_perplexity measure(const int32_t *ids, int64_t count, const ct_perplexity_options *o) {
    ct_perplexity result;
    if (ct_evaluate_perplexity(model, tokenizer, ids, count, o, &result) != CT_OK)
        fail_msg("%s", ct_context_message(context));
    return result;
}

/* Nats of target `at` in a window that begins at `start`. */
static double nats(int64_t start, int64_t at) {
    float *logits = full_logits(model, text + start, at - start);
    double value = -log_softmax(logits + (at - 1 - start) * 256, 256, text[at]);
    free(logits);
    return value;
}

/* By the definition: windows of `length` inputs move by `stride`; each target belongs to the first window
 * that has it. */
static double by_definition(int64_t count, int64_t length, int64_t stride) {
    double total = 0;
    for (int64_t at = 1; at < count; at++) {
        int64_t start = 0;
        while (start + length < at)
            start += stride;
        total += nats(start, at);
    }
    return total / (double)(count - 1);
}

static void assert_close(double value, double expected, double tolerance, const char *what) {
    if (!(fabs(value - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.10g, expected %.10g", what, value, expected);
}

static void one_window_is_a_direct_sum(void **state) {
    (void)state;
    ct_perplexity_options o = options_of(0, 0, 8);
    ct_perplexity r = measure(text, 30, &o);
    double total = 0;
    for (int i = 1; i < 30; i++)
        total += nats(0, i);
    assert_int_equal(r.tokens, 29);
    assert_int_equal(r.bytes, 29);
    assert_close(r.loss, total / 29, 1e-6, "loss");
    assert_close(r.perplexity, exp(total / 29), 1e-5, "perplexity");
    assert_close(r.bits_per_token, total / 29 / log(2), 1e-6, "bits per token");
    assert_close(r.bits_per_byte, total / 29 / log(2), 1e-6, "bits per byte");
    assert_true(r.seconds >= 0);
}

static void every_stride(void **state) {
    (void)state;
    for (int64_t length = 1; length <= 9; length += 2)
        for (int64_t stride = 1; stride <= length; stride++) {
            ct_perplexity_options o = options_of(length, stride, 3);
            ct_perplexity r = measure(text, 20, &o);
            char what[64];
            snprintf(what, sizeof(what), "window %d, stride %d", (int)length, (int)stride);
            assert_int_equal(r.tokens, 19);
            assert_int_equal(r.bytes, 19);
            assert_close(r.loss, by_definition(20, length, stride), 1e-6, what);
        }
}

/* A model that gives every token the same probability shows whether each is counted once, whatever the
 * windows. */
static void every_token_once(void **state) {
    (void)state;
    unsigned char next[256] = {0};
    ct_model *random = model;
    model = chain_model(context, next, 0, 32);
    for (int64_t count = 2; count <= LENGTH; count++)
        for (int64_t length = 1; length <= 32; length += 5)
            for (int64_t stride = 1; stride <= length; stride += 3) {
                ct_perplexity_options o = options_of(length, stride, 4);
                ct_perplexity r = measure(text, count, &o);
                assert_close(r.loss, log(256), 1e-6, "uniform");
                assert_close(r.bits_per_byte, 8, 1e-6, "uniform bits");
            }
    ct_model_destroy(model);
    model = random;
}

static void batches_do_not_matter(void **state) {
    (void)state;
    ct_perplexity_options o = options_of(8, 3, 1);
    ct_perplexity first = measure(text, LENGTH, &o);
    for (int64_t batch = 2; batch <= 64; batch++) {
        o.batch = batch;
        assert_true(measure(text, LENGTH, &o).loss == first.loss); /* to the bit */
    }
    ct_context_set_threads(context, 4);
    assert_true(measure(text, LENGTH, &o).loss == first.loss);
    ct_context_set_threads(context, 1);
    o.batch = 0;
    assert_true(measure(text, LENGTH, &o).loss == first.loss);
}

/* Texts shorter than the window and than the stride; max_tokens. */
static void short_texts(void **state) {
    (void)state;
    for (int64_t count = 2; count <= 6; count++) {
        ct_perplexity_options o = options_of(32, 16, 8);
        assert_close(measure(text, count, &o).loss, by_definition(count, 32, 16), 1e-6, "short");
    }
    ct_perplexity_options o = options_of(0, 0, 8);
    o.max_tokens = 11;
    ct_perplexity r = measure(text, LENGTH, &o);
    assert_int_equal(r.tokens, 10);
    assert_close(r.loss, by_definition(11, 32, 32), 1e-6, "max_tokens");
    o.max_tokens = 1000;
    assert_int_equal(measure(text, LENGTH, &o).tokens, LENGTH - 1);
}

/* Tokens of several bytes: bits per byte count the bytes of the predicted tokens. */
static void bytes_of_tokens(void **state) {
    (void)state;
    static const char words[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    ct_tokenizer *bytes = tokenizer;
    tokenizer = ct_tokenizer_train_characters(context, words, sizeof(words) - 1);
    ct_ids ids = {0};
    ct_tokenizer_encode(tokenizer, words, sizeof(words) - 1, CT_ENCODE_PLAIN, &ids);
    assert_int_equal(ids.count, 4);
    ct_perplexity_options o = options_of(0, 0, 8);
    ct_perplexity r = measure(ids.ids, 4, &o);
    assert_int_equal(r.tokens, 3);
    assert_int_equal(r.bytes, 2 + 3 + 4);
    assert_close(r.bits_per_byte, r.loss * 3 / log(2) / 9, 1e-9, "bits per byte");
    ct_ids_free(context, &ids);
    ct_tokenizer_destroy(tokenizer);
    tokenizer = bytes;
}

/* Not the same numbers, but near them. */
static void bf16(void **state) {
    (void)state;
    ct_perplexity_options o = options_of(0, 0, 8);
    double exact = measure(text, LENGTH, &o).loss;
    o.bf16 = true;
    double rounded = measure(text, LENGTH, &o).loss;
    assert_true(rounded != exact);
    assert_close(rounded, exact, 0.05, "bf16");
}

static void assert_refused(const int32_t *ids, int64_t count, ct_perplexity_options o, ct_status status,
                           const char *part) {
    ct_perplexity result;
    assert_int_equal(ct_evaluate_perplexity(model, tokenizer, ids, count, &o, &result), status);
    ASSERT_ERROR(context, status, part);
}

static void refuses(void **state) {
    (void)state;
    ct_perplexity_options o = options_of(0, 0, 8);
    assert_refused(text, 1, o, CT_ERROR_ARGUMENT, "the text has 1 tokens, expected at least 2");
    assert_refused(text, 0, o, CT_ERROR_ARGUMENT, "the text has 0 tokens");
    assert_refused((const int32_t[]){1, 2, 256}, 3, o, CT_ERROR_ARGUMENT,
                   "id 256 at position 2 is outside the model's vocabulary of 256");
    assert_refused((const int32_t[]){1, -1}, 2, o, CT_ERROR_ARGUMENT, "id -1 at position 1");
    assert_refused(text, LENGTH, options_of(33, 0, 8), CT_ERROR_ARGUMENT,
                   "context 33, the model has 32 positions");
    assert_refused(text, LENGTH, options_of(8, 9, 8), CT_ERROR_ARGUMENT, "stride 9");
    assert_refused(text, LENGTH, options_of(8, -1, 8), CT_ERROR_ARGUMENT, "stride -1");
    assert_refused(text, LENGTH, options_of(-3, 0, 8), CT_ERROR_ARGUMENT, "-3");
    ct_request_stop(context);
    assert_refused(text, LENGTH, o, CT_ERROR_INTERRUPTED, "interrupted");
    ct_clear_stop(context);
}

static int enter(void **state) {
    (void)state;
    context = start_context(1);
    model = random_model(context);
    tokenizer = ct_tokenizer_from_kind(context, "bytes");
    for (int i = 0; i < LENGTH; i++)
        text[i] = (i * i * 37 + i * 11 + 5) % 256;
    return ct_failed(context) ? -1 : 0;
}

static int leave(void **state) {
    (void)state;
    ct_tokenizer_destroy(tokenizer);
    ct_model_destroy(model);
    end_tensors(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_window_is_a_direct_sum),
                                       cmocka_unit_test(every_stride),
                                       cmocka_unit_test(every_token_once),
                                       cmocka_unit_test(batches_do_not_matter),
                                       cmocka_unit_test(short_texts),
                                       cmocka_unit_test(bytes_of_tokens),
                                       cmocka_unit_test(bf16),
                                       cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, enter, leave);
}
