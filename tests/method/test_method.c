/* test_method.c - the registry: kinds, methods by name, that every method is fully described, and methods
 * that a program registers. */
#include "format/check.h"
#include <carat/method.h>
#include <carat/optimizer.h>
#include <carat/schedule.h>

static void finds_kinds(void **state) {
    (void)state;
    assert_true(ct_kind_count() >= 2);
    assert_string_equal(ct_kind_find("optimizer")->name, "optimizer");
    assert_string_equal(ct_kind_find("schedule")->name, "schedule");
    assert_int_equal(ct_kind_find("optimizer")->method_size, sizeof(ct_optimizer_method));
    assert_int_equal(ct_kind_find("schedule")->method_size, sizeof(ct_schedule_method));
    assert_null(ct_kind_find("optimiser"));
    assert_null(ct_kind_find(NULL));
    assert_null(ct_kind_at(ct_kind_count()));
}

static void finds_methods(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_method *method = ct_method_find(context, "optimizer", "adamw");
    assert_string_equal(method->title, "AdamW");
    assert_ptr_equal(ct_method_kind(context, method), ct_kind_find("optimizer"));
    assert_non_null(ct_method_find(context, "schedule", "warmup_stable_decay"));
    assert_null(ct_method_find(context, "schedule", "adamw"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no schedule \"adamw\"");
    assert_null(ct_method_find(context, "optimizer", "sdg"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no optimizer \"sdg\"", "did you mean \"sgd\"?");
    assert_null(ct_method_find(context, "optimizr", "sgd"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no kind of method \"optimizr\"",
                 "did you mean \"optimizer\"?");
    end_context(context);
}

static void check_options(const ct_option *table, size_t base, size_t size) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        assert_true(o->name && *o->name && o->help && *o->help);
        assert_true(base + o->offset < size);
        if (o->type == CT_TYPE_GROUP) check_options(o->children, base + o->offset, size);
    }
}

/* In order of name, each once, with a paper, words and options that can be read. */
static void methods_are_described(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_kind *kind = ct_kind_at(k);
        assert_true(kind->summary && *kind->summary && kind->task && *kind->task && kind->methods[0]);
        for (size_t i = 0; kind->methods[i]; i++) {
            const ct_method *m = kind->methods[i];
            assert_int_equal(m->abi, CT_METHOD_ABI);
            assert_int_equal(m->size, kind->method_size);
            assert_true(m->name && *m->name && m->title && *m->title && m->summary && *m->summary);
            assert_true(!m->paper.id == !m->paper.citation); /* both, or there is no paper */
            assert_true(!m->paper.citation || *m->paper.citation);
            assert_true(m->summary[strlen(m->summary) - 1] == '.');
            if (i) assert_true(strcmp(kind->methods[i - 1]->name, m->name) < 0);
            check_options(m->options, 0, m->options_size);
            assert_ptr_equal(ct_method_at(context, kind, i), m);
            if (!m->unavailable) assert_ptr_equal(ct_method_find(context, kind->name, m->name), m);
            char *example = ct_method_example(context, m), *text = ct_method_to_text(context, m);
            assert_true(m->unavailable ||
                        (example && strncmp(example, "carat ", 6) == 0 && !strchr(example, '%')));
            assert_non_null(strstr(text, m->title));
            ct_free(context, example);
            ct_free(context, text);
        }
        assert_null(ct_method_at(context, kind, ct_method_count(context, kind)));
    }
    ct_context_destroy(context); /* which holds the results of claims, if there are any */
}

static void describes_options(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *map = ct_method_to_value(context, ct_method_find(context, "schedule", "warmup_stable_decay"));
    assert_string_equal(ct_value_as_string(ct_value_get(map, "kind"), ""), "schedule");
    assert_string_equal(ct_value_as_string(ct_value_get(map, "options_key"), ""), "lr_scheduler_kwargs");
    assert_true(ct_value_as_bool(ct_value_get(map, "available"), false));
    const ct_value *options = ct_value_get(map, "options"), *ratio = ct_value_get(options, "decay_ratio");
    assert_int_equal(ct_value_count(options), 3);
    assert_true(ct_value_as_real(ct_value_get(ratio, "default"), 0) == 0.1);
    assert_true(ct_value_as_real(ct_value_get(ratio, "maximum"), 0) == 1);
    const ct_value *choices = ct_value_get(ct_value_get(options, "decay_type"), "choices");
    assert_int_equal(ct_value_count(choices), 3);
    assert_string_equal(ct_value_as_string(ct_value_at(choices, 2), ""), "1-sqrt");
    ct_value_free(map);
    ct_context_destroy(context); /* which holds the results of claims, if there are any */
}

/* ----------------------------------------------------------------------------------- methods of a program */

typedef struct own_options {
    double rate;
    int form;
} own_options;
static const char *const forms[] = {"a", "b", NULL};
static const ct_option own_table[] = {CT_OPTION_REAL("rate", own_options, rate, 1, 0, 2, "a rate"),
                                      CT_OPTION_CHOICE("form", own_options, form, "b", forms, "a form"),
                                      CT_OPTION_END};

static double half(const ct_schedule_point *point) {
    (void)point;
    return 0.5;
}

static ct_schedule_method own(const char *name) {
    return (ct_schedule_method){.method = {.abi = CT_METHOD_ABI,
                                           .size = sizeof(ct_schedule_method),
                                           .name = name,
                                           .title = "Own",
                                           .paper = {"", "nobody, 2026"},
                                           .summary = "Half the rate.",
                                           .options = own_table,
                                           .options_size = sizeof(own_options)},
                                .factor = half};
}

static void registers(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_kind *kind = ct_kind_find("schedule");
    size_t before = ct_method_count(context, kind);
    ct_schedule_method one = own("halves"), two = own("halves2");
    assert_int_equal(ct_method_register(context, "schedule", &one.method), CT_OK);
    assert_int_equal(ct_method_register(context, "schedule", &two.method), CT_OK);
    assert_int_equal(ct_method_count(context, kind), before + 2);
    assert_ptr_equal(ct_method_at(context, kind, 0), &one.method);
    assert_ptr_equal(ct_method_at(context, kind, 1), &two.method);
    assert_ptr_equal(ct_method_at(context, kind, 2), kind->methods[0]);
    assert_ptr_equal(ct_method_find(context, "schedule", "halves"), &one.method);
    assert_ptr_equal(ct_method_kind(context, &two.method), kind);
    assert_null(ct_method_plugin(context, &one.method));
    assert_null(ct_method_find(context, "schedule", "halvs"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "did you mean \"halves\"?");
    /* It acts, in this context alone and in those that adopt from it. */
    ct_schedule *schedule = ct_schedule_create(context, "halves", NULL, 0, 10);
    assert_true(ct_schedule_factor(schedule, 3) == 0.5);
    ct_schedule_destroy(schedule);
    ct_context *other = start_context(1);
    assert_int_equal(ct_method_count(other, kind), before);
    assert_null(ct_method_find(other, "schedule", "halves"));
    ASSERT_ERROR(other, CT_ERROR_ARGUMENT, "there is no schedule \"halves\"");
    assert_int_equal(ct_methods_adopt(other, context), CT_OK);
    assert_ptr_equal(ct_method_find(other, "schedule", "halves"), &one.method);
    assert_int_equal(ct_methods_adopt(other, context), CT_ERROR_ARGUMENT); /* a second time */
    ASSERT_ERROR(other, CT_ERROR_ARGUMENT, "there is already a schedule \"halves\"");
    ct_context_destroy(other);
    ct_context_destroy(context);
}

static void refuse(ct_context *context, const char *kind, const ct_method *method, ct_status status,
                   const char *words) {
    assert_int_equal(ct_method_register(context, kind, method), status);
    ASSERT_ERROR(context, status, words);
}

static void refuses(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_schedule_method m = own("halves");
    m.method.abi = CT_METHOD_ABI + 1;
    refuse(context, "schedule", &m.method, CT_ERROR_UNSUPPORTED, "built for method ABI 2, this Carat has 1");
    m = own("halves");
    m.method.size += 8;
    refuse(context, "schedule", &m.method, CT_ERROR_UNSUPPORTED, "a struct of kind schedule has");
    refuse(context, "shedule", &m.method, CT_ERROR_ARGUMENT, "did you mean \"schedule\"?");
    refuse(context, "schedule", NULL, CT_ERROR_ARGUMENT, "no method is given");
    static const char *const bad_names[] = {"", "Halves", "two words", "a/b", NULL};
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        m = own(bad_names[i]);
        refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "a method's name is of a-z, 0-9 and _");
    }
    m = own("cosine");
    refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "there is already a schedule \"cosine\"");
    m = own("halves");
    m.method.title = NULL;
    refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "schedule \"halves\" has no title");
    m = own("halves");
    m.method.summary = "";
    refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "has no summary");
    m = own("halves");
    m.factor = NULL;
    refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "schedule \"halves\" has no factor");
    m = own("halves");
    m.method.options_size = 8;
    refuse(context, "schedule", &m.method, CT_ERROR_ARGUMENT, "option \"form\" has no help or lies outside");
    /* Nothing of these is left behind. */
    assert_ptr_equal(ct_method_at(context, ct_kind_find("schedule"), 0),
                     ct_kind_find("schedule")->methods[0]);
    assert_null(ct_method_find(context, "schedule", "halves"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no schedule \"halves\"");
    ct_context_destroy(context);
}

/* What cannot be used says why, and is still listed. */
static void unavailable(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_schedule_method m = own("halves");
    m.method.unavailable = "it needs a library that this build lacks";
    assert_int_equal(ct_method_register(context, "schedule", &m.method), CT_OK);
    assert_null(ct_method_find(context, "schedule", "halves"));
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED,
                 "schedule \"halves\" is not available: it needs a library that this build lacks");
    assert_ptr_equal(ct_method_at(context, ct_kind_find("schedule"), 0), &m.method);
    char *text = ct_method_to_text(context, &m.method);
    assert_non_null(strstr(text, "not available: it needs a library"));
    assert_null(strstr(text, "Example"));
    ct_free(context, text);
    ct_value *map = ct_method_to_value(context, &m.method);
    assert_false(ct_value_as_bool(ct_value_get(map, "available"), true));
    assert_int_equal(ct_value_kind_of(ct_value_get(map, "example")), CT_VALUE_NULL);
    ct_value_free(map);
    /* A method without a paper and without options. */
    ct_schedule_method bare = own("bare");
    bare.method.paper.id = bare.method.paper.citation = NULL;
    bare.method.options = NULL;
    assert_int_equal(ct_method_register(context, "schedule", &bare.method), CT_OK);
    text = ct_method_to_text(context, &bare.method);
    assert_memory_equal(text, "Own (schedule)\n\nHalf the rate.\n\nTask:  train\n", 45);
    ct_free(context, text);
    ct_context_destroy(context);
}

/* Every allocation of registering, adopting and describing fails once; of the many that read the claims' results, some. */
static void out_of_memory(void **state) {
    (void)state;
    int64_t n = 1;
    for (bool failed = true; failed && n < 1000000; n += n < 400 ? 1 : n / 8) {
        ct_context *context = start_context(1), *other = start_context(1);
        ct_schedule_method methods[20];
        char names[20][8];
        ct_memory_fail_at(context, n);
        for (int i = 0; i < 20; i++) {
            snprintf(names[i], sizeof(names[i]), "own%d", i);
            methods[i] = own(names[i]);
            ct_method_register(context, "schedule", &methods[i].method);
        }
        ct_value *map = ct_failed(context) ? NULL : ct_method_to_value(context, &methods[0].method);
        char *text = ct_failed(context) ? NULL : ct_method_to_text(context, &methods[0].method);
        failed = ct_failed(context);
        if (failed)
            assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        else
            assert_true(map && text);
        ct_memory_fail_at(context, 0);
        ct_context_clear(context);
        ct_memory_fail_at(other, n);
        ct_status status = ct_methods_adopt(other, context);
        assert_true(status == CT_OK || status == CT_ERROR_MEMORY);
        ct_memory_fail_at(other, 0);
        ct_value_free(map);
        ct_free(context, text);
        ct_context_destroy(other);
        ct_context_destroy(context);
    }
    assert_true(n > 20 && n < 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_kinds),
                                       cmocka_unit_test(finds_methods),
                                       cmocka_unit_test(methods_are_described),
                                       cmocka_unit_test(describes_options),
                                       cmocka_unit_test(registers),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(unavailable),
                                       cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
