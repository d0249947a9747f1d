/* test_tokenizer_golden.c - tokenizers of every pipeline that Hugging Face files use give the ids and texts
 * that the library `tokenizers` gives (tests/golden/make_tokenizers.py), whole and token by token, and are
 * saved as they were read. */
#include "check.h"
#include "format/utf8.h"

static int failures;

/* Prints what differs and goes on: one run shows all that is wrong. */
static void complain(const char *name, const char *what, const char *text, const char *found) {
    failures++;
    if (failures < 40) printf("%s: %s of \"%s\": found \"%s\"\n", name, what, text, found);
}

static char *ids_text(const ct_ids *ids, char *buffer, size_t size) {
    size_t length = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < ids->count && length + 16 < size; i++)
        length += (size_t)snprintf(buffer + length, size - length, "%d ", (int)ids->ids[i]);
    return buffer;
}

static void check_ids(ct_context *context, ct_tokenizer *tokenizer, const char *name, const ct_value *line,
                      const char *key, unsigned flags) {
    const ct_value *text = ct_value_get(line, "text"), *expected = ct_value_get(line, key);
    ct_ids ids = {0};
    char buffer[2000];
    ct_status status = ct_tokenizer_encode(tokenizer, ct_value_as_string(text, ""),
                                           ct_value_string_length(text), flags, &ids);
    bool same = status == CT_OK && ids.count == ct_value_count(expected);
    for (size_t i = 0; same && i < ids.count; i++)
        same = ids.ids[i] == ct_value_as_int(ct_value_at(expected, i), -1);
    if (!same) {
        complain(name, key, ct_value_as_string(text, ""), ids_text(&ids, buffer, sizeof buffer));
        char *wanted = ct_json_text(context, expected, CT_JSON_COMPACT, NULL);
        if (failures < 40) printf("    expected %s; %s\n", wanted ? wanted : "", ct_context_message(context));
        ct_free(context, wanted);
    }
    ct_context_clear(context);
    ct_ids_free(context, &ids);
}

/* Bytes that are no UTF-8 become U+FFFD, one for each longest beginning of a character. */
static void replace_invalid(ct_context *context, const ct_bytes *from, ct_bytes *to) {
    for (size_t at = 0; at < from->length;) {
        uint32_t code;
        size_t left = from->length - at, size = ct_utf8_decode(from->data + at, left, &code);
        if (size) {
            ct_bytes_append(context, to, from->data + at, size);
            at += size;
            continue;
        }
        size = 1;
        while (size < 3 && size < left && ct_utf8_incomplete(from->data + at, size + 1))
            size++;
        ct_bytes_append(context, to, "\xef\xbf\xbd", 3);
        at += size;
    }
    ct_bytes_append(context, to, "", 0);
}

static void stream_ids(ct_context *context, ct_tokenizer *tokenizer, const ct_ids *ids, unsigned flags,
                       ct_bytes *out) {
    ct_text_stream *stream = ct_text_stream_create(tokenizer, flags);
    const char *piece;
    size_t length;
    assert_non_null(stream);
    for (size_t i = 0; i <= ids->count; i++) {
        ct_status status = i < ids->count ? ct_text_stream_push(stream, ids->ids[i], &piece, &length)
                                          : ct_text_stream_finish(stream, &piece, &length);
        assert_int_equal(status, CT_OK);
        ct_bytes_append(context, out, piece, length);
    }
    ct_text_stream_destroy(stream);
}

static void check_text(ct_context *context, ct_tokenizer *tokenizer, const char *name, const ct_value *line,
                       const char *key, unsigned flags) {
    const ct_value *list = ct_value_get(line, "ids"), *expected = ct_value_get(line, key);
    ct_ids ids = {0};
    ct_bytes text = {0}, valid = {0}, streamed = {0};
    char buffer[2000];
    for (size_t i = 0; i < ct_value_count(list); i++)
        ct_ids_push(context, &ids, (int32_t)ct_value_as_int(ct_value_at(list, i), -1));
    assert_int_equal(ct_tokenizer_decode(tokenizer, ids.ids, ids.count, flags, &text), CT_OK);
    replace_invalid(context, &text, &valid);
    stream_ids(context, tokenizer, &ids, flags, &streamed);
    if (expected && (valid.length != ct_value_string_length(expected) ||
                     memcmp(valid.data, ct_value_as_string(expected, ""), valid.length) != 0)) {
        complain(name, key, ids_text(&ids, buffer, sizeof buffer), valid.data);
        if (failures < 40) printf("    expected \"%s\"\n", ct_value_as_string(expected, ""));
    }
    if (streamed.length != text.length || (text.length && memcmp(streamed.data, text.data, text.length) != 0))
        complain(name, "streaming", ids_text(&ids, buffer, sizeof buffer),
                 streamed.data ? streamed.data : "");
    ct_ids_free(context, &ids);
    ct_bytes_free(context, &text);
    ct_bytes_free(context, &valid);
    ct_bytes_free(context, &streamed);
}

static int check_lines(ct_context *context, ct_tokenizer *tokenizer, const char *name, const char *folder) {
    char *path = ct_path_join(context, folder, "golden.jsonl");
    ct_jsonl *golden = ct_jsonl_open(context, path, 1 << 20);
    int lines = 0;
    assert_non_null(golden);
    for (ct_value *line; (line = ct_jsonl_next(golden)); lines++, ct_value_free(line)) {
        if (ct_value_get(line, "text")) {
            check_ids(context, tokenizer, name, line, "ids", CT_ENCODE_SPECIAL);
            check_ids(context, tokenizer, name, line, "plain", CT_ENCODE_PLAIN);
            check_ids(context, tokenizer, name, line, "template", CT_ENCODE_SPECIAL | CT_ENCODE_TEMPLATE);
        }
        check_text(context, tokenizer, name, line, "decoded", CT_DECODE_PLAIN);
        check_text(context, tokenizer, name, line, "skipped", CT_DECODE_SKIP_SPECIAL);
    }
    ct_jsonl_close(golden);
    ct_free(context, path);
    if (ct_failed(context)) fail_msg("%s", ct_context_message(context));
    return lines;
}

/* The JSON of both files, which must say the same. */
static void check_saved(ct_context *context, const ct_tokenizer *tokenizer, const char *name,
                        const char *folder) {
    char saved[64];
    make_folder(saved);
    if (ct_tokenizer_save(tokenizer, saved) != CT_OK) fail_msg("%s", ct_context_message(context));
    char *paths[2] = {ct_path_join(context, folder, "tokenizer.json"),
                      ct_path_join(context, saved, "tokenizer.json")};
    ct_value *first = ct_json_read(context, paths[0]), *second = ct_json_read(context, paths[1]);
    if (!first || !ct_value_equal(first, second)) complain(name, "saving", folder, saved);
    for (int i = 0; i < 2; i++)
        ct_free(context, paths[i]);
    ct_value_free(first);
    ct_value_free(second);
    ct_folder_remove(context, saved);
}

static void is_exact(void **state) {
    ct_context *context = start_context(2);
    const char *source = getenv("CARAT_SOURCE");
    char *all = ct_path_join(context, source && *source ? source : "..", "tests/golden/tokenizers");
    ct_value *names = ct_folder_list(context, all);
    int lines = 0;
    (void)state;
    if (!names) fail_msg("%s", ct_context_message(context));
    for (size_t i = 0; i < ct_value_count(names); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        char *folder = ct_path_join(context, all, name);
        ct_tokenizer *tokenizer = ct_tokenizer_load(context, folder);
        if (!tokenizer) {
            complain(name, "loading", folder, ct_context_message(context));
            ct_context_clear(context);
        } else {
            lines += check_lines(context, tokenizer, name, folder);
            check_saved(context, tokenizer, name, folder);
        }
        ct_tokenizer_destroy(tokenizer);
        ct_free(context, folder);
    }
    printf("%zu tokenizers, %d lines\n", ct_value_count(names), lines);
    assert_true(ct_value_count(names) > 60 && lines > 5000);
    ct_value_free(names);
    ct_free(context, all);
    assert_int_equal(failures, 0);
    end_context(context);
}

/* sentencepiece writes unknown pieces in a way of its own. */
static bool has_unknown(const ct_tokenizer *tokenizer, const ct_value *ids) {
    for (size_t i = 0; i < ct_value_count(ids); i++)
        if (ct_value_as_int(ct_value_at(ids, i), -1) == ct_tokenizer_role(tokenizer, "unk")) return true;
    return false;
}

static int check_pieces(ct_context *context, ct_tokenizer *tokenizer, const char *name, const char *path) {
    ct_jsonl *golden = ct_jsonl_open(context, path, 1 << 20);
    int lines = 0;
    assert_non_null(golden);
    for (ct_value *line; (line = ct_jsonl_next(golden)); lines++, ct_value_free(line)) {
        /* once saved, Unigram finds byte tokens in texts, as `tokenizers` does */
        bool bytes = strstr(ct_value_as_string(ct_value_get(line, "text"), ""), "<0x");
        if (!bytes || strcmp(name, "saved") != 0)
            check_ids(context, tokenizer, name, line, "ids", CT_ENCODE_PLAIN);
        if (!has_unknown(tokenizer, ct_value_get(line, "ids")))
            check_text(context, tokenizer, name, line, "decoded", CT_DECODE_PLAIN);
    }
    ct_jsonl_close(golden);
    return lines;
}

/* SentencePiece's models give the ids that sentencepiece gives, also when they were saved as tokenizer.json.
 */
static void sentencepiece(void **state) {
    ct_context *context = start_context(2);
    const char *source = getenv("CARAT_SOURCE");
    char *all = ct_path_join(context, source && *source ? source : "..", "tests/golden/sentencepiece");
    ct_value *names = ct_folder_list(context, all);
    int lines = 0;
    (void)state;
    failures = 0;
    if (!names) fail_msg("%s", ct_context_message(context));
    for (size_t i = 0; i < ct_value_count(names); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        char *folder = ct_path_join(context, all, name),
             *golden = ct_path_join(context, folder, "golden.jsonl"), saved[64];
        make_folder(saved);
        ct_tokenizer *tokenizer = ct_tokenizer_load(context, folder);
        if (!tokenizer) fail_msg("%s", ct_context_message(context));
        lines += check_pieces(context, tokenizer, name, golden);
        if (ct_tokenizer_save(tokenizer, saved) != CT_OK) fail_msg("%s", ct_context_message(context));
        ct_tokenizer *again = ct_tokenizer_load(context, saved);
        if (!again) fail_msg("%s", ct_context_message(context));
        assert_true(ct_tokenizer_fingerprint(again) == ct_tokenizer_fingerprint(tokenizer));
        check_pieces(context, again, "saved", golden);
        ct_tokenizer_destroy(tokenizer);
        ct_tokenizer_destroy(again);
        ct_folder_remove(context, saved);
        ct_free(context, folder);
        ct_free(context, golden);
    }
    assert_true(ct_value_count(names) == 5 && lines > 250);
    ct_value_free(names);
    ct_free(context, all);
    assert_int_equal(failures, 0);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_exact), cmocka_unit_test(sentencepiece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
