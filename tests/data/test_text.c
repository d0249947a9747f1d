/* test_text.c - the text of files, JSONL records and folders. */
#include "method/check.h"
#include <carat/data.h>

static void assert_text(ct_context *context, const char *folder, const char *name, const char *field,
                        const char *expected, size_t length) {
    ct_bytes text = {0};
    char *path = ct_path_join(context, folder, name);
    if (ct_text_read(context, path, field, &text) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_int_equal(text.length, length);
    if (length) assert_memory_equal(text.data, expected, length);
    ct_bytes_free(context, &text);
    ct_free(context, path);
}

static void assert_refused(ct_context *context, const char *folder, const char *name, const char *field,
                           ct_status status, const char *part) {
    ct_bytes text = {0};
    char *path = ct_path_join(context, folder, name);
    assert_int_equal(ct_text_read(context, path, field, &text), status);
    ASSERT_ERROR(context, status, part, name);
    ct_bytes_free(context, &text);
    ct_free(context, path);
}

static void put(ct_context *context, const char *folder, const char *name, const char *text) {
    write_text(context, folder, name, text, strlen(text));
}

static void files(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    write_text(context, folder, "any.bin", "a\0b\xff\n", 5);
    assert_text(context, folder, "any.bin", NULL, "a\0b\xff\n", 5); /* bytes as they are */
    put(context, folder, "empty.txt", "");
    assert_text(context, folder, "empty.txt", NULL, "", 0);
    size_t large = (2 << 20) + 3; /* read in pieces */
    char *text = malloc(large);
    assert_non_null(text);
    for (size_t i = 0; i < large; i++)
        text[i] = (char)('a' + i * 7 / 3 % 26);
    write_text(context, folder, "large.txt", text, large);
    assert_text(context, folder, "large.txt", NULL, text, large);
    free(text);
    assert_refused(context, folder, "absent.txt", NULL, CT_ERROR_NOT_FOUND, "absent.txt");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void records(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    put(context, folder, "a.jsonl",
        "{\"text\": \"one\", \"other\": \"eins\"}\n\n{\"text\": \"tw\\u00f6\", \"other\": \"\"}\n");
    assert_text(context, folder, "a.jsonl", "text", "one\ntw\xc3\xb6\n", 9);
    assert_text(context, folder, "a.jsonl", NULL, "one\ntw\xc3\xb6\n", 9);
    assert_text(context, folder, "a.jsonl", "other", "eins\n\n", 6);
    assert_refused(context, folder, "a.jsonl", "words", CT_ERROR_FORMAT,
                   "a.jsonl:1: the record has no text in field \"words\"");
    put(context, folder, "b.jsonl", "{\"text\": \"one\"}\n{\"text\": 2}\n");
    assert_refused(context, folder, "b.jsonl", "text", CT_ERROR_FORMAT, "b.jsonl:2: the record has no text");
    put(context, folder, "c.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \n");
    assert_refused(context, folder, "c.jsonl", "text", CT_ERROR_FORMAT, "c.jsonl:3");
    put(context, folder, "d.jsonl", "[\"text\"]\n");
    assert_refused(context, folder, "d.jsonl", "text", CT_ERROR_FORMAT, "d.jsonl:1");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void folders(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    put(context, folder, "b.txt", "second ");
    put(context, folder, "a.md", "first ");
    put(context, folder, "c.c", "not a text");
    put(context, folder, "txt", "nor this");
    put(context, folder, "d.txt", "third");
    assert_text(context, folder, "", NULL, "first second third", 18);
    ct_folder_remove(context, folder);
    make_folder(folder);
    assert_refused(context, folder, "", NULL, CT_ERROR_NOT_FOUND, "the folder holds no .txt, .md");
    ct_folder_remove(context, folder);
    end_context(context);
}

static void read_all(ct_context *context, void *user) {
    ct_bytes text = {0};
    ct_text_read(context, user, "text", &text);
    ct_bytes_free(context, &text);
}

static void survives_failures(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    put(context, folder, "a.txt", "first");
    put(context, folder, "b.jsonl", "{\"text\": \"second\"}\n");
    sweep_memory(read_all, folder, 500);
    sweep_files(read_all, folder, 'e', 50);
    sweep_files(read_all, folder, 's', 5);
    ct_folder_remove(context, folder);
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(files), cmocka_unit_test(records),
                                       cmocka_unit_test(folders), cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
