/* test_likelihood.c - the likelihood of a continuation, and multiple choice from JSONL files. */
#include "generate/tiny.h"
#include <carat/evaluate.h>

static ct_context *context;
static ct_tokenizer *tokenizer;

static void direct_sum(void **state) {
    (void)state;
    ct_model *model = random_model(context);
    int32_t ids[20];
    for (int i = 0; i < 20; i++)
        ids[i] = (i * 53 + 7) % 256;
    float *logits = full_logits(model, ids, 20);
    for (int split = 1; split < 20; split += 3) {
        double expected = 0, logprob = 0;
        bool greedy = true;
        for (int i = split; i < 20; i++)
            expected += log_softmax(logits + (i - 1) * 256, 256, ids[i]);
        assert_int_equal(
            ct_evaluate_likelihood(model, ids, split, ids + split, 20 - split, &logprob, &greedy), CT_OK);
        if (!(fabs(logprob - expected) < 1e-5 * fabs(expected)))
            fail_msg("%g, expected %g", logprob, expected);
        assert_false(greedy);
    }
    free(logits);
    ct_model_destroy(model);
}

/* A continuation of what the model would say is greedy; one other token in it is not. */
static void greedy(void **state) {
    (void)state;
    unsigned char next[256];
    chain_of(next, "abcd");
    ct_model *model = chain_model(context, next, 1, 8);
    double logprob = 0;
    bool same = false;
    ct_ids a = ids_of(context, "dab"), right = ids_of(context, "cda"), wrong = ids_of(context, "cdb");
    assert_int_equal(ct_evaluate_likelihood(model, a.ids, 3, right.ids, 3, &logprob, &same), CT_OK);
    assert_true(same);
    assert_true(logprob < 0 && logprob > -1e-3);
    assert_int_equal(ct_evaluate_likelihood(model, a.ids, 3, wrong.ids, 3, &logprob, &same), CT_OK);
    assert_false(same);
    assert_true(logprob < -10);
    assert_int_equal(ct_evaluate_likelihood(model, a.ids, 3, right.ids, 3, &logprob, NULL), CT_OK);
    ct_ids_free(context, &a);
    ct_ids_free(context, &right);
    ct_ids_free(context, &wrong);
    ct_model_destroy(model);
}

/* Of a long prompt, the last tokens that fit are seen. */
static void long_prompts(void **state) {
    (void)state;
    ct_model *model = random_model(context);
    int32_t ids[50];
    for (int i = 0; i < 50; i++)
        ids[i] = (i * 91 + 3) % 256;
    double all = 0, last = 0;
    assert_int_equal(ct_evaluate_likelihood(model, ids, 45, ids + 45, 5, &all, NULL), CT_OK);
    /* 49 inputs, of which 32 fit: the first 17 are passed over. */
    assert_int_equal(ct_evaluate_likelihood(model, ids + 17, 28, ids + 45, 5, &last, NULL), CT_OK);
    assert_true(all == last);
    assert_int_equal(ct_evaluate_likelihood(model, ids, 10, ids + 10, 32, &all, NULL), CT_OK); /* just fits */
    assert_int_equal(ct_evaluate_likelihood(model, ids, 10, ids + 10, 33, &all, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "a continuation of 33 tokens", "32 positions");
    assert_int_equal(ct_evaluate_likelihood(model, ids, 0, ids, 3, &all, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "a prompt of 0");
    assert_int_equal(ct_evaluate_likelihood(model, ids, 3, ids, 0, &all, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "a continuation of 0 tokens");
    ids[1] = 256;
    ct_evaluate_likelihood(model, ids, 3, ids + 3, 3, &all, NULL);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "256");
    ct_evaluate_likelihood(model, ids + 2, 3, ids + 1, 1, &all, NULL);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "256");
    ct_model_destroy(model);
}

/* ------------------------------------------------------------------------------------------------ choices */

static char folder[64];

static ct_status choose(ct_model *model, const char *name, const char *text, int64_t limit,
                        ct_choice_result *result) {
    write_text(context, folder, name, text, strlen(text));
    char *path = ct_path_join(context, folder, name);
    ct_status status = ct_evaluate_choices(model, tokenizer, path, limit, result);
    ct_free(context, path);
    return status;
}

/* The model goes a b c d in a circle; every other step has a probability of about e^-8, so longer wrong
 * choices score less in sum. */
static void accuracy(void **state) {
    (void)state;
    unsigned char next[256];
    chain_of(next, "abcd");
    ct_model *model = chain_model(context, next, 0.5f, 32);
    ct_choice_result r;
    static const char two_of_four[] =
        "{\"prompt\": \"ab\", \"choices\": [\"cd\", \"dc\"], \"answer\": 0}\n"
        "{\"prompt\": \"ab\", \"choices\": [\"xx\", \"cd\"], \"answer\": 1}\n"
        "\n"
        "{\"prompt\": \"d\", \"choices\": [\"abc\", \"cba\"], \"answer\": 1}\n"
        "{\"prompt\": \"d\", \"choices\": [\"z\", \"abc\", \"y\"], \"answer\": 0, \"id\": 7}\n";
    assert_int_equal(choose(model, "a.jsonl", two_of_four, 0, &r), CT_OK);
    assert_int_equal(r.questions, 4);
    assert_true(r.accuracy == 0.5 && r.accuracy_per_byte == 0.5);
    assert_int_equal(choose(model, "a.jsonl", two_of_four, 2, &r), CT_OK);
    assert_int_equal(r.questions, 2);
    assert_true(r.accuracy == 1);
    /* "z" is one improbable step, "zabc" two of four: the sum prefers the short one, per byte the long one.
     */
    assert_int_equal(choose(model, "b.jsonl",
                            "{\"prompt\": \"d\", \"choices\": [\"z\", \"zabc\"], \"answer\": 0}\n", 0, &r),
                     CT_OK);
    assert_true(r.accuracy == 1 && r.accuracy_per_byte == 0);
    /* The first of equals. */
    assert_int_equal(
        choose(model, "c.jsonl", "{\"prompt\": \"d\", \"choices\": [\"x\", \"x\"], \"answer\": 0}\n", 0, &r),
        CT_OK);
    assert_true(r.accuracy == 1 && r.accuracy_per_byte == 1);
    ct_model_destroy(model);
}

static void bad_records(void **state) {
    (void)state;
    static const char good[] = "{\"prompt\": \"ab\", \"choices\": [\"cd\", \"dc\"], \"answer\": 0}\n\n";
    static const char *const bad[] = {
        "{\"choices\": [\"a\", \"b\"], \"answer\": 0}",
        "{\"prompt\": \"\", \"choices\": [\"a\", \"b\"], \"answer\": 0}",
        "{\"prompt\": \"a\", \"choices\": [\"a\"], \"answer\": 0}",
        "{\"prompt\": \"a\", \"choices\": \"ab\", \"answer\": 0}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", 1], \"answer\": 0}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", \"\"], \"answer\": 0}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"], \"answer\": 2}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"], \"answer\": -1}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"]}",
        "{\"prompt\": \"a\", \"choices\": [\"a\", \"b\"], \"answer\": \"0\"}",
        "[1]",
        "{\"prompt\": ",
    };
    unsigned char next[256] = {0};
    ct_model *model = chain_model(context, next, 1, 16);
    ct_choice_result r;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "%s%s\n", good, bad[i]);
        ct_status status = choose(model, "bad.jsonl", text, 0, &r);
        if (status != CT_ERROR_FORMAT) fail_msg("case %d: %s", (int)i, ct_context_message(context));
        ASSERT_ERROR(context, CT_ERROR_FORMAT, "bad.jsonl:3");
    }
    assert_int_equal(choose(model, "empty.jsonl", "\n", 0, &r), CT_ERROR_FORMAT);
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "empty.jsonl", "there is no question in it");
    ct_request_stop(context);
    assert_int_equal(choose(model, "good.jsonl", good, 0, &r), CT_ERROR_INTERRUPTED);
    ct_context_clear(context);
    ct_clear_stop(context);
    ct_model_destroy(model);
}

static int enter(void **state) {
    (void)state;
    context = start_context(1);
    make_folder(folder);
    tokenizer = ct_tokenizer_from_kind(context, "bytes");
    return tokenizer ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    ct_folder_remove(context, folder);
    ct_tokenizer_destroy(tokenizer);
    end_tensors(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(direct_sum), cmocka_unit_test(greedy),
                                       cmocka_unit_test(long_prompts), cmocka_unit_test(accuracy),
                                       cmocka_unit_test(bad_records)};
    return cmocka_run_group_tests(tests, enter, leave);
}
