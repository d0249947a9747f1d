/* test_compose.c - which methods can be used together, and plug-ins that cannot be loaded. */
#include "format/check.h"
#include <carat/link.h>
#include <carat/method.h>
#include <carat/optimizer.h>
#include <carat/schedule.h>
#include <stdlib.h>
#include <unistd.h>

static ct_method using(const char *name, unsigned hooks) {
    return (ct_method){.abi = CT_METHOD_ABI, .name = name, .title = name, .uses = hooks};
}

static void allowed(ct_context *context, const ct_method *a, const ct_method *b) {
    const ct_method *pair[] = {a, b};
    assert_int_equal(ct_methods_compose(context, pair, 2), CT_OK);
    assert_false(ct_failed(context));
}

/* In either order. */
static void refused(ct_context *context, const ct_method *a, const ct_method *b, const char *why) {
    const ct_method *pairs[2][2] = {{a, b}, {b, a}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ct_methods_compose(context, pairs[i], 2), CT_ERROR_UNSUPPORTED);
        ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, a->name, b->name, "cannot be used together", why);
    }
}

static void hooks_are_described(void **state) {
    (void)state;
    unsigned all = 0;
    size_t count = 0;
    for (const ct_hook_description *hook; (hook = ct_hook_at(count)); count++) {
        assert_true(hook->name && *hook->name && hook->meaning && *hook->meaning);
        assert_false(all & (unsigned)hook->hook); /* one bit each */
        assert_int_equal((unsigned)hook->hook & ((unsigned)hook->hook - 1), 0);
        all |= (unsigned)hook->hook;
    }
    assert_int_equal(all, (1u << count) - 1);
}

static void shared_and_alone(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_hook_description *hook;
    for (size_t i = 0; (hook = ct_hook_at(i)); i++) {
        ct_method a = using("one", (unsigned)hook->hook), b = using("two", (unsigned)hook->hook);
        if (hook->alone)
            refused(context, &a, &b, hook->alone);
        else
            allowed(context, &a, &b);
        ct_method c = using("other", hook->hook == CT_HOOK_GRADIENT ? CT_HOOK_UPDATE : CT_HOOK_GRADIENT);
        allowed(context, &a, &c);
    }
    ct_method first = using("distils", CT_HOOK_TARGETS),
              second = using("averages", CT_HOOK_TARGETS | CT_HOOK_LOSS_TERM);
    refused(context, &first, &second, "a batch has one set of targets");
    ct_method projects = using("sphere", CT_HOOK_PROJECTION),
              derives = using("lowrank", CT_HOOK_DERIVED_WEIGHT);
    refused(context, &projects, &derives, "not the weights that are made from them");
    end_context(context);
}

static void kinds_of_which_a_run_has_one(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const ct_method *adamw = ct_method_find(context, "optimizer", "adamw"),
                    *sgd = ct_method_find(context, "optimizer", "sgd"),
                    *cosine = ct_method_find(context, "schedule", "cosine"),
                    *linear = ct_method_find(context, "schedule", "linear");
    allowed(context, adamw, cosine);
    refused(context, adamw, sgd, "a step has one direction");
    refused(context, cosine, linear, "a step has one learning rate");
    assert_true(ct_method_uses(context, adamw) & CT_HOOK_DIRECTION);
    /* The pair that does not fit is found among many; none and one always fit. */
    ct_method term = using("term", CT_HOOK_LOSS_TERM);
    const ct_method *many[] = {&term, adamw, cosine, &term, sgd};
    assert_int_equal(ct_methods_compose(context, many, 4), CT_OK);
    assert_int_equal(ct_methods_compose(context, many, 5), CT_ERROR_UNSUPPORTED);
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "optimizer \"adamw\" and optimizer \"sgd\"");
    assert_int_equal(ct_methods_compose(context, NULL, 0), CT_OK);
    assert_int_equal(ct_methods_compose(context, many, 1), CT_OK);
    end_context(context);
}

static void declared_conflicts(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const ct_method_conflict conflicts[] = {
        {"schedule", "it needs no schedule"}, {"optimizer/sgd", "it needs a second moment"}, {NULL, NULL}};
    ct_method own = using("own", CT_HOOK_UPDATE);
    own.conflicts = conflicts;
    refused(context, &own, ct_method_find(context, "schedule", "cosine"), "it needs no schedule");
    refused(context, &own, ct_method_find(context, "optimizer", "sgd"), "it needs a second moment");
    allowed(context, &own, ct_method_find(context, "optimizer", "adamw"));
    end_context(context);
}

static void same(const char *name, const char *what, bool has, bool says) {
    if (has != says) fail_msg("%s: it has %s%s, its hooks say otherwise", name, has ? "" : "no ", what);
}

/* What methods say that they use is what they have. */
static void hooks_are_true(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (size_t i = 0; ct_optimizer_methods[i]; i++) {
        const ct_optimizer_method *m = ct_optimizer_methods[i];
        unsigned uses = ct_method_uses(context, &m->method);
        same(m->method.name, "the whole tensor", m->scope == CT_WHOLE_TENSOR, uses & CT_HOOK_WHOLE_TENSOR);
        same(m->method.name, "a direction", true, uses & CT_HOOK_DIRECTION);
        same(m->method.name, "a projection", false, uses & CT_HOOK_PROJECTION);
    }
    for (size_t i = 0; ct_link_methods[i]; i++) {
        const ct_link_method *m = ct_link_methods[i];
        unsigned uses = ct_method_uses(context, &m->method);
        same(m->method.name, "gradient", m->gradient != NULL, uses & CT_HOOK_GRADIENT);
        same(m->method.name, "update", m->update != NULL, uses & CT_HOOK_UPDATE);
        same(m->method.name, "a direction", false, uses & CT_HOOK_DIRECTION);
        assert_true(m->gradient || m->update || m->after);
        assert_true(!(uses & CT_HOOK_PROJECTION) || m->after); /* `after` may also only watch */
    }
    end_context(context);
}

/* --------------------------------------------------------------------------------------- plug-ins ----- */

static void plugins_that_cannot_be_loaded(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_int_equal(ct_plugin_load(context, "/nowhere/mine.so"), CT_ERROR_NOT_FOUND);
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "plug-in /nowhere/mine.so: there is no such file");
    assert_int_equal(ct_plugin_load(context, "mine.so"), CT_ERROR_NOT_FOUND);
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "plug-in mine.so: there is no such file");
    assert_int_equal(ct_plugin_load(context, ""), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "expected the path of a shared object");
    assert_int_equal(ct_plugin_load(context, NULL), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    /* A text is no shared object, an empty file neither. */
    char path[] = "/tmp/carat-plugin-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(ct_plugin_load(context, path), CT_ERROR_FORMAT);
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "plug-in /tmp/carat-plugin-", "cannot be loaded");
    assert_int_equal(write(file, "#!/bin/sh\n", 10), 10);
    assert_int_equal(ct_plugin_load(context, path), CT_ERROR_FORMAT);
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "cannot be loaded");
    close(file);
    unlink(path);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hooks_are_described),
                                       cmocka_unit_test(shared_and_alone),
                                       cmocka_unit_test(kinds_of_which_a_run_has_one),
                                       cmocka_unit_test(declared_conflicts),
                                       cmocka_unit_test(hooks_are_true),
                                       cmocka_unit_test(plugins_that_cannot_be_loaded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
