/* test_document.c - docs/methods as the library writes it: every method has its page, failures of the disk
 * and of memory are reported. */
#include "format/check.h"
#include <carat/method.h>
#include <stdlib.h>

static char folder[] = "/tmp/carat-document-XXXXXX";

static int enter(void **state) {
    (void)state;
    unsetenv("CARAT_CLAIMS");
    return mkdtemp(folder) ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    int failed = ct_folder_remove(context, folder) != CT_OK;
    ct_context_destroy(context);
    return failed;
}

static char *page(ct_context *context, const char *kind, const char *name) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s%s%s.md", folder, kind, *kind ? "/" : "", name);
    char *text = ct_file_read(context, path, 1 << 20, NULL);
    if (!text) fail_msg("%s", ct_context_message(context));
    return text;
}

static void every_method_has_its_page(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    assert_int_equal(ct_methods_document(context, folder), CT_OK);
    char *index = page(context, "", "README");
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_kind *kind = ct_kind_at(k);
        for (size_t i = 0; kind->methods[i]; i++) {
            const ct_method *m = kind->methods[i];
            char *text = page(context, kind->name, m->name), *example = ct_method_example(context, m),
                 link[256];
            assert_non_null(strstr(text, m->title));
            assert_non_null(strstr(text, m->summary));
            assert_true(!m->paper.citation || strstr(text, m->paper.citation));
            assert_true(!example || strstr(text, example));
            for (const ct_option *o = m->options; o && o->type != CT_TYPE_END; o++) {
                char cell[128];
                snprintf(cell, sizeof(cell), "| `%s", o->name);
                if (o->type != CT_TYPE_GROUP) assert_non_null(strstr(text, cell));
            }
            /* Twice in the index: by task and by kind. */
            snprintf(link, sizeof(link), "](%s/%s.md)", kind->name, m->name);
            const char *first = strstr(index, link);
            assert_true(first && strstr(first + 1, link));
            ct_free(context, text);
            ct_free(context, example);
        }
    }
    ct_free(context, index);
    ct_context_destroy(context);
}

static void disk_failures(void **state) {
    (void)state;
    for (int64_t n = 1; n <= 3; n++) {
        ct_context *context = ct_context_create(1);
        ct_file_fail_at(context, n, 'f');
        assert_int_equal(ct_methods_document(context, folder), CT_ERROR_IO);
        const char *message = ct_context_message(context); /* names the page, or the claims' results that it quotes */
        assert_true(strstr(message, folder) || strstr(message, "results.json"));
        ct_context_destroy(context);
    }
    ct_context *context = ct_context_create(1);
    assert_int_not_equal(ct_methods_document(context, "/proc/nowhere"), CT_OK);
    assert_non_null(strstr(ct_context_message(context), "/proc/nowhere"));
    ct_context_destroy(context);
}

static void out_of_memory(void **state) {
    (void)state;
    int64_t n = 1;
    for (bool failed = true; failed && n < 100000; n += 23) {
        ct_context *context = ct_context_create(1);
        ct_memory_fail_at(context, n);
        ct_status status = ct_methods_document(context, folder);
        failed = status != CT_OK;
        if (failed) assert_int_equal(status, CT_ERROR_MEMORY);
        ct_context_destroy(context);
    }
    assert_true(n > 100 && n < 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_has_its_page),
                                       cmocka_unit_test(disk_failures), cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests(tests, enter, leave);
}
