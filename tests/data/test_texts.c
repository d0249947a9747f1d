/* test_texts.c - texts one by one from lines, tables and records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <carat/data.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ct_context *context;
static char folder[64];

static int start(void **state) {
    (void)state;
    context = ct_context_create(1);
    strcpy(folder, "/tmp/carat-test-texts-XXXXXX");
    return context && mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state) {
    (void)state;
    ct_folder_remove(context, folder);
    ct_context_destroy(context);
    return 0;
}

/* The texts joined by "|". */
static void expect(const char *name, const char *content, const char *field, const char *joined) {
    char *path = ct_path_join(context, folder, name), found[200] = "";
    ct_file_write(context, path, content, strlen(content));
    ct_texts texts = {0};
    assert_int_equal(ct_texts_read(context, path, field, &texts), CT_OK);
    for (int64_t i = 0; i < texts.count; i++) {
        ct_text text = ct_texts_at(&texts, i);
        strncat(found, text.data, text.length);
        strcat(found, "|");
    }
    assert_string_equal(found, joined);
    ct_texts_free(context, &texts);
    ct_free(context, path);
}

static void refuse(const char *name, const char *content, const char *field, ct_status status,
                   const char *words) {
    char *path = ct_path_join(context, folder, name);
    ct_file_write(context, path, content, strlen(content));
    ct_texts texts = {0};
    assert_int_equal(ct_texts_read(context, path, field, &texts), status);
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
    ct_texts_free(context, &texts);
    ct_free(context, path);
}

static void test_read(void **state) {
    (void)state;
    expect("a.txt", "one\r\n\ntwo\tthree\nlast", NULL, "one||two\tthree|last|");
    expect("empty.txt", "", NULL, "");
    expect("a.tsv", "one\t1\ntwo\t0\n", NULL, "one|two|");
    expect("a.tsv", "one\t1\ntwo\t0\r\n", "2", "1|0|");
    expect("named.tsv", "label\tsentence\n1\tgood\n0\t\n", "sentence", "good||");
    expect("a.jsonl", "{\"text\":\"a\\nb\"}\n\n{\"text\":\"c\"}\n", NULL, "a\nb|c|");
    expect("a.jsonl", "{\"q\":\"x\"}\n", "q", "x|");
}

static void test_refused(void **state) {
    (void)state;
    refuse("b.tsv", "one\t1\ntwo\n", "2", CT_ERROR_FORMAT, "b.tsv:2: the line has no column 2");
    refuse("b.tsv", "label\ttext\n", "sentence", CT_ERROR_NOT_FOUND, "no column is named \"sentence\"");
    refuse("b.tsv", "one\n", "0", CT_ERROR_NOT_FOUND, "no column is named \"0\"");
    refuse("b.jsonl", "{\"text\":\"a\"}\n{\"text\":1}\n", NULL, CT_ERROR_FORMAT,
           "b.jsonl:2: the record has no text");
    ct_texts texts = {0};
    assert_int_equal(ct_texts_read(context, "/nowhere/at/all", NULL, &texts), CT_ERROR_NOT_FOUND);
    ct_context_clear(context);
}

static void test_memory(void **state) {
    (void)state;
    char *path = ct_path_join(context, folder, "m.txt");
    ct_file_write(context, path, "a\nb\nc\n", 6);
    int failed = 0;
    for (int64_t n = 1; n < 40; n++) {
        ct_texts texts = {0};
        ct_memory_fail_at(context, n);
        ct_status status = ct_texts_read(context, path, NULL, &texts);
        ct_memory_fail_at(context, 0);
        failed += status != CT_OK;
        assert_true(status == CT_ERROR_MEMORY || (status == CT_OK && texts.count == 3));
        ct_context_clear(context);
        ct_texts_free(context, &texts);
    }
    assert_true(failed >= 3);
    ct_free(context, path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_read, start, finish),
                                       cmocka_unit_test_setup_teardown(test_refused, start, finish),
                                       cmocka_unit_test_setup_teardown(test_memory, start, finish)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
