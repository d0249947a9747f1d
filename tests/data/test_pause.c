/* test_pause.c - pause tokens: the text, ids and loss mask of a record; vocabularies without them; records
 * that lack fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <carat/data.h>
#include <string.h>

static const ct_pause_options standard = {2, "question", "answer", "<pause>", "<pause_begin>", "<pause_end>"};

static ct_value *record_of(ct_context *context) {
    ct_value *record = ct_value_map(context);
    ct_value_set(record, "question", ct_value_string(context, "12*34="));
    ct_value_set(record, "answer", ct_value_string(context, "408"));
    ct_value_set(record, "id", ct_value_int(context, 7));
    return record;
}

static void text_only(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *record = record_of(context);
    assert_int_equal(ct_data_pause(context, NULL, &standard, record), CT_OK);
    assert_string_equal(ct_value_as_string(ct_value_get(record, "question"), ""),
                        "12*34=<pause_begin><pause><pause><pause_end>");
    assert_string_equal(ct_value_as_string(ct_value_get(record, "answer"), ""), "408");
    assert_int_equal(ct_value_as_int(ct_value_get(record, "id"), 0), 7);
    assert_null(ct_value_get(record, "ids"));
    ct_value_free(record);
    ct_context_destroy(context);
}

/* Ids: bytes of the question, the four tokens, bytes of the answer, which alone are targets. */
static void with_ids(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    static const char *const special[] = {"<pause>", "<pause_begin>", "<pause_end>", NULL};
    const ct_bpe_options options = {259, 2, special};
    const ct_text text = {"12", 2};
    ct_tokenizer *tokenizer = ct_bpe_train(context, &text, 1, &options);
    assert_non_null(tokenizer);
    ct_value *record = record_of(context);
    assert_int_equal(ct_data_pause(context, tokenizer, &standard, record), CT_OK);
    const ct_value *ids = ct_value_get(record, "ids"), *mask = ct_value_get(record, "loss_mask");
    assert_int_equal(ct_value_count(ids), 6 + 4 + 3);
    assert_int_equal(ct_value_count(mask), 6 + 4 + 3);
    static const int64_t expected[] = {1, 0, 0, 2};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ct_value_as_int(ct_value_at(ids, 6 + i), -1), expected[i]);
    for (size_t i = 0; i < 13; i++) {
        assert_int_equal(ct_value_as_int(ct_value_at(mask, i), -1), i >= 10);
        if (i < 6 || i >= 10) assert_true(ct_value_as_int(ct_value_at(ids, i), -1) > 2);
    }
    ct_value_free(record);
    ct_tokenizer_destroy(tokenizer);
    ct_context_destroy(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_tokenizer *bytes = ct_tokenizer_from_kind(context, "bytes");
    ct_value *record = record_of(context);
    assert_int_equal(ct_data_pause(context, bytes, &standard, record), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "no free token for <pause>"));
    ct_context_clear(context);
    ct_value_remove(record, "answer");
    assert_int_equal(ct_data_pause(context, NULL, &standard, record), CT_ERROR_FORMAT);
    assert_non_null(strstr(ct_context_message(context), "no text in field \"answer\""));
    ct_context_clear(context);
    ct_value_free(record);
    ct_tokenizer_destroy(bytes);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_only), cmocka_unit_test(with_ids),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
