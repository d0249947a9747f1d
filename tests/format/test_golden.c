/* test_golden.c - GPT-2's own tokenizer: the ids that another implementation gives, on every golden line. */
#include "check.h"

static void is_exact(void **state) {
    ct_context *context = start_context(2);
    char path[512];
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, *state);
    if (!tokenizer) fail_msg("%s", ct_context_message(context));
    assert_int_equal(ct_tokenizer_size(tokenizer), 50257);
    assert_int_equal(ct_tokenizer_role(tokenizer, "eos"), 50256);
    ct_jsonl *golden = ct_jsonl_open(context, shared_path("data/tokenizer/gpt2/golden.jsonl", path), 1 << 20);
    int lines = 0;
    for (ct_value *line; (line = ct_jsonl_next(golden)); lines++, ct_value_free(line)) {
        const ct_value *text = ct_value_get(line, "text"), *expected = ct_value_get(line, "ids");
        ct_ids ids = {0};
        ct_bytes back = {0};
        assert_int_equal(ct_tokenizer_encode(tokenizer, ct_value_as_string(text, ""),
                                             ct_value_string_length(text), 0, &ids),
                         CT_OK);
        assert_int_equal(ids.count, ct_value_count(expected));
        for (size_t i = 0; i < ids.count; i++)
            assert_int_equal(ids.ids[i], ct_value_as_int(ct_value_at(expected, i), -1));
        assert_int_equal(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &back), CT_OK);
        assert_int_equal(back.length, ct_value_string_length(text));
        assert_memory_equal(back.data, ct_value_as_string(text, ""), back.length);
        ct_ids_free(context, &ids);
        ct_bytes_free(context, &back);
    }
    assert_int_equal(lines, 30);
    ct_jsonl_close(golden);
    ct_tokenizer_destroy(tokenizer);
    end_context(context);
}

/* Saved as tokenizer.json it gives the same ids. */
static void survives_saving(void **state) {
    ct_context *context = start_context(2);
    char folder[64];
    make_folder(folder);
    ct_tokenizer *first = ct_tokenizer_load(context, *state);
    assert_int_equal(ct_tokenizer_save(first, folder), CT_OK);
    ct_tokenizer *second = ct_tokenizer_load(context, folder);
    if (!second) fail_msg("%s", ct_context_message(context));
    assert_true(ct_tokenizer_fingerprint(first) == ct_tokenizer_fingerprint(second));
    static const char text[] = "It's we'll \xe6\x97\xa5\xe6\x9c\xac<|endoftext|>  1234";
    for (unsigned flags = 0; flags < 2; flags++) {
        ct_ids a = {0}, b = {0};
        ct_tokenizer_encode(first, text, sizeof text - 1, flags, &a);
        ct_tokenizer_encode(second, text, sizeof text - 1, flags, &b);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.ids, b.ids, a.count * sizeof *a.ids);
        ct_ids_free(context, &a);
        ct_ids_free(context, &b);
    }
    ct_tokenizer_destroy(first);
    ct_tokenizer_destroy(second);
    ct_folder_remove(context, folder);
    end_context(context);
}

int main(void) {
    char path[512];
    const char *folder = shared_path("data/tokenizer/gpt2", path);
    if (!folder) return 77;
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(is_exact, path),
                                       cmocka_unit_test_prestate(survives_saving, path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
