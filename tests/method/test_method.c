/* test_method.c - the registry: kinds, methods by name, and that every method is fully described. */
#include "format/check.h"
#include <carat/method.h>
#include <carat/optimizer.h>
#include <carat/schedule.h>

static void finds_kinds(void **state) {
    (void)state;
    assert_true(ct_kind_count() >= 2);
    assert_string_equal(ct_kind_find("optimizer")->name, "optimizer");
    assert_string_equal(ct_kind_find("schedule")->name, "schedule");
    assert_null(ct_kind_find("optimiser"));
    assert_null(ct_kind_at(ct_kind_count()));
}

static void finds_methods(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_method *method = ct_method_find(context, "optimizer", "adamw");
    assert_string_equal(method->title, "AdamW");
    assert_ptr_equal(method, &ct_optimizer_methods[0]->method);
    assert_non_null(ct_method_find(context, "schedule", "warmup_stable_decay"));
    assert_null(ct_method_find(context, "schedule", "adamw"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no schedule \"adamw\"");
    assert_null(ct_method_find(context, "optimizer", "sdg"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no optimizer \"sdg\"", "did you mean \"sgd\"?");
    assert_null(ct_method_find(context, "optimizr", "sgd"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no kind of method \"optimizr\"");
    end_context(context);
}

/* In order of name, each once, with a paper, words and options that can be read. */
static void methods_are_described(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_kind *kind = ct_kind_at(k);
        assert_true(kind->summary && *kind->summary && kind->methods[0]);
        for (int i = 0; kind->methods[i]; i++) {
            const ct_method *m = kind->methods[i];
            assert_int_equal(m->abi, CT_METHOD_ABI);
            assert_true(m->size > sizeof(ct_method));
            assert_true(m->title && *m->title && m->summary && *m->summary && m->options);
            assert_true(m->paper.id && m->paper.citation && *m->paper.citation);
            if (i) assert_true(strcmp(kind->methods[i - 1]->name, m->name) < 0);
            for (const ct_option *o = m->options; o->type != CT_TYPE_END; o++) {
                assert_true(o->help && *o->help);
                assert_true(o->offset < m->options_size);
            }
            assert_ptr_equal(ct_method_find(context, kind->name, m->name), m);
        }
    }
    end_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_kinds), cmocka_unit_test(finds_methods),
                                       cmocka_unit_test(methods_are_described)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
