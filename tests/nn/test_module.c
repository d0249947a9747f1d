/* test_module.c - the module tree: building, paths, slots, surgery, its description as values, and errors
 * that name what is wrong. */
#include "reach/reach.h"

static ct_module *make(const char *kind, const char *name, const char *options) {
    ct_value *map = options ? ct_json_parse(context, options, strlen(options), "options") : NULL;
    const ct_module_kind *found = ct_module_kind_find(context, kind);
    ct_module *module = found ? ct_module_create(context, found, name, map) : NULL;
    ct_value_free(map);
    return module;
}

/* sequential: 0 linear(3, 4), 1 activation, 2 sequential (0 linear(4, 2), 1 layer_norm(2)), 3 dropout */
static ct_module *sample_tree(void) {
    ct_module *root = make("sequential", "", NULL);
    ct_module_add(root, make("linear", "0", "{\"in\":3,\"out\":4}"));
    ct_module_add(root, make("activation", "1", "{\"function\":\"silu\"}"));
    ct_module *inner = ct_module_add(root, make("sequential", "2", NULL));
    ct_module_add(inner, make("linear", "0", "{\"in\":4,\"out\":2,\"bias\":false}"));
    ct_module_add(inner, make("layer_norm", "1", "{\"width\":2}"));
    ct_module_add(root, make("dropout", "3", NULL));
    return root;
}

static void assert_failed_with(ct_status status, const char *part) {
    assert_int_equal(ct_context_status(context), status);
    if (!strstr(ct_context_message(context), part))
        fail_msg("\"%s\" not in \"%s\"", part, ct_context_message(context));
    ct_context_clear(context);
}

static void test_paths_and_slots(void **state) {
    (void)state;
    ct_module *root = sample_tree();
    assert_ok();
    assert_string_equal(ct_module_path(root), "");
    assert_ptr_equal(ct_module_find(root, ""), root);
    ct_module *norm = ct_module_find(root, "2.1");
    assert_non_null(norm);
    assert_string_equal(ct_module_path(norm), "2.1");
    assert_string_equal(ct_module_kind_of(norm)->name, "layer_norm");
    assert_ptr_equal(ct_module_parent(norm), ct_module_child(root, 2));
    assert_null(ct_module_find(root, "2.7"));
    assert_null(ct_module_find(root, "2.1.0"));
    assert_null(ct_module_find(root, "22"));
    assert_null(ct_module_child(root, 4));
    assert_null(ct_module_child(root, -1));
    ct_module *linear = ct_module_find(root, "0");
    assert_int_equal(ct_module_slot_count(linear), 2);
    ct_slot *weight = ct_module_slot_named(linear, "weight");
    assert_true(weight->ndim == 2 && weight->shape[0] == 4 && weight->shape[1] == 3);
    assert_true(weight->options.fan_in == 3 && weight->options.fan_out == 4 && !weight->options.no_decay);
    assert_true(ct_module_slot_named(linear, "bias")->options.no_decay);
    assert_null(ct_module_slot_named(linear, "gain"));
    assert_null(ct_module_slot_at(linear, 2));
    assert_int_equal(ct_module_slot_count(ct_module_find(root, "2.0")), 1); /* bias false */
    ct_module_destroy(root);
}

static ct_status note_path(void *user, ct_module *module) {
    char *seen = user;
    strcat(strcat(seen, ct_module_path(module)), ";");
    return strcmp(ct_module_path(module), "2.1") == 0 && seen[0] == '!' ? CT_ERROR_STATE : CT_OK;
}

static void test_visit(void **state) {
    (void)state;
    ct_module *root = sample_tree();
    char seen[64] = "";
    assert_int_equal(ct_module_visit(root, note_path, seen), CT_OK);
    assert_string_equal(seen, ";0;1;2;2.0;2.1;3;"); /* parents first */
    char stopped[64] = "!";
    assert_int_equal(ct_module_visit(root, note_path, stopped), CT_ERROR_STATE);
    assert_string_equal(stopped, "!;0;1;2;2.0;2.1;");
    ct_module_destroy(root);
}

static void test_surgery(void **state) {
    (void)state;
    ct_module *root = sample_tree(), *inner = ct_module_find(root, "2.1");
    assert_string_equal(ct_module_path(inner), "2.1"); /* a path that surgery must forget */
    assert_int_equal(ct_module_remove(ct_module_find(root, "1")), CT_OK);
    assert_int_equal(ct_module_child_count(root), 3);
    assert_string_equal(ct_module_path(inner), "1.1");
    assert_ptr_equal(ct_module_find(root, "1.1"), inner);
    assert_string_equal(ct_module_kind_of(ct_module_find(root, "2"))->name, "dropout");
    ct_module *replacement = make("linear", "whatever", "{\"in\":4,\"out\":9}");
    assert_int_equal(ct_module_replace(ct_module_find(root, "1.0"), replacement), CT_OK);
    assert_ptr_equal(ct_module_find(root, "1.0"), replacement);
    assert_string_equal(ct_module_path(replacement), "1.0");
    assert_true(ct_module_slot_named(replacement, "weight")->shape[0] == 9);
    assert_int_equal(ct_module_remove(root), CT_ERROR_ARGUMENT);
    assert_failed_with(CT_ERROR_ARGUMENT, "root");
    assert_int_equal(ct_module_replace(root, make("dropout", "x", NULL)), CT_ERROR_ARGUMENT);
    assert_failed_with(CT_ERROR_ARGUMENT, "root");
    ct_module_destroy(root);
}

/* Children whose names are no numbers keep them. */
static void test_remove_keeps_words(void **state) {
    (void)state;
    ct_module *root = make("sequential", "", NULL);
    const char *const names[] = {"0", "norm", "2"};
    for (int i = 0; i < 3; i++)
        ct_module_add(root, make("dropout", names[i], NULL));
    ct_module_remove(ct_module_child(root, 0));
    assert_string_equal(ct_module_name(ct_module_child(root, 0)), "norm");
    assert_string_equal(ct_module_name(ct_module_child(root, 1)), "1");
    ct_module_destroy(root);
}

static void test_values(void **state) {
    (void)state;
    ct_module *root = sample_tree();
    ct_value *tree = ct_module_to_value(root);
    assert_string_equal(ct_value_as_string(ct_value_get(tree, "kind"), ""), "sequential");
    assert_string_equal(ct_value_as_string(ct_value_get_path(tree, "children.1.options.function"), ""),
                        "silu");
    ct_module *again = ct_module_from_value(context, tree);
    assert_ok();
    ct_value *tree_again = ct_module_to_value(again);
    assert_true(ct_value_equal(tree, tree_again));
    char seen[64] = "";
    ct_module_visit(again, note_path, seen);
    assert_string_equal(seen, ";0;1;2;2.0;2.1;3;");
    assert_true(ct_module_slot_named(ct_module_find(again, "0"), "weight")->shape[1] == 3);
    ct_module_destroy(root);
    ct_module_destroy(again);
    ct_value_free(tree);
    ct_value_free(tree_again);
}

static void refused_tree(const char *json, ct_status status, const char *part) {
    ct_value *tree = ct_json_parse(context, json, strlen(json), "tree.json");
    assert_ok();
    assert_null(ct_module_from_value(context, tree));
    assert_failed_with(status, part);
    ct_value_free(tree);
}

static void test_bad_input(void **state) {
    (void)state;
    assert_null(make("linaer", "x", NULL));
    assert_failed_with(CT_ERROR_NOT_FOUND, "did you mean \"linear\"?");
    assert_null(make("linear", "x", "{\"in\":4,\"outt\":2}"));
    assert_failed_with(CT_ERROR_ARGUMENT, "out");
    assert_null(make("linear", "x", "{\"in\":0}"));
    assert_failed_with(CT_ERROR_ARGUMENT, "in");
    refused_tree("{\"name\":\"a\"}", CT_ERROR_FORMAT, "tree.json:1");
    refused_tree(
        "{\"kind\":\"sequential\",\"children\":[{\"kind\":\"linear\",\"options\":{\"in\":1,\"out\":2}},"
        "{\"kind\":\"drop_out\"}]}",
        CT_ERROR_NOT_FOUND, "\"dropout\"");
    refused_tree("[1]", CT_ERROR_FORMAT, "kind");
}

static ct_status many_slots(ct_module *module) {
    for (int i = 0; i < 9; i++)
        ct_module_slot(module, "weight", 0, NULL, (ct_slot_options){0});
    return ct_context_status(context);
}
static ct_status flat_slot(ct_module *module) {
    ct_module_slot(module, "weight", 2, (const int64_t[]){3, 0}, (ct_slot_options){0});
    return ct_context_status(context);
}
static ct_status two_children(ct_module *module) {
    const char text[] = "{\"in\":2,\"out\":2}";
    for (int i = 0; i < 2; i++)
        ct_module_child_of_kind(module, "down", "linear", ct_json_parse(context, text, strlen(text), NULL));
    return ct_context_status(context);
}
static ct_tensor *pass(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)run, (void)module, (void)count;
    return inputs[0];
}

static void test_kinds_from_outside(void **state) {
    (void)state;
    static const ct_module_kind many = {.name = "many", .build = many_slots, .forward = pass};
    static const ct_module_kind flat = {.name = "flat", .build = flat_slot, .forward = pass};
    static const ct_module_kind twins = {.name = "twins", .build = two_children, .forward = pass};
    static const ct_module_kind rival = {.name = "linear", .forward = pass};
    assert_int_equal(ct_module_kind_register(context, &many), CT_OK);
    assert_int_equal(ct_module_kind_register(context, &many), CT_OK); /* twice is once */
    assert_int_equal(ct_module_kind_register(context, &flat), CT_OK);
    assert_int_equal(ct_module_kind_register(context, &twins), CT_OK);
    assert_int_equal(ct_module_kind_register(context, &rival), CT_ERROR_ARGUMENT);
    assert_failed_with(CT_ERROR_ARGUMENT, "\"linear\" is registered already");
    assert_null(make("many", "x", NULL));
    assert_failed_with(CT_ERROR_UNSUPPORTED, "more than 8 parameter slots");
    assert_null(make("flat", "x", NULL));
    assert_failed_with(CT_ERROR_SHAPE, "axis 1");
    ct_module *twin = make("twins", "x", NULL); /* the second declaration finds the first */
    assert_int_equal(ct_module_child_count(twin), 1);
    ct_module_destroy(twin);
}

/* Every allocation of building, describing and building again fails once; nothing is left. */
static void test_allocation_failure(void **state) {
    (void)state;
    ct_module_destroy(sample_tree()); /* what a context makes once is made now */
    ct_memory_counts before, after;
    ct_memory_read(context, &before);
    int64_t failed = 0;
    for (int64_t n = 1;; n++) {
        ct_memory_fail_at(context, n);
        ct_module *root = make("sequential", "", NULL);
        if (root) ct_module_add(root, make("linear", "0", "{\"in\":3,\"out\":4}"));
        ct_value *tree = root ? ct_module_to_value(root) : NULL;
        ct_module *again = tree ? ct_module_from_value(context, tree) : NULL;
        if (again && ct_module_child_count(again) == 1) ct_module_path(ct_module_child(again, 0));
        if (again && ct_module_child_count(again) == 1) ct_module_remove(ct_module_child(again, 0));
        ct_memory_fail_at(context, 0);
        ct_module_destroy(root);
        ct_module_destroy(again);
        ct_value_free(tree);
        ct_memory_read(context, &after);
        assert_true(after.current_total == before.current_total);
        if (!ct_failed(context)) break;
        failed++;
        assert_failed_with(CT_ERROR_MEMORY, "");
    }
    assert_true(failed > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        reach_test(test_paths_and_slots),
        reach_test(test_visit),
        reach_test(test_surgery),
        reach_test(test_remove_keeps_words),
        reach_test(test_values),
        reach_test(test_bad_input),
        reach_test(test_kinds_from_outside),
        reach_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
