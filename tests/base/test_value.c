/* test_value.c - trees of values: making, order, lookup, paths, copies, origins, words, failures. */
#include "check.h"
#include <math.h>

static void scalars(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *values[] = {ct_value_null(context),           ct_value_bool(context, true),
                          ct_value_int(context, -5),        ct_value_real(context, 2.5),
                          ct_value_string(context, "text"), ct_value_string_n(context, "a\0b", 3)};
    for (int i = 0; i < 4; i++)
        assert_int_equal(ct_value_kind_of(values[i]), i);
    assert_true(ct_value_as_bool(values[1], false));
    assert_true(ct_value_as_bool(values[2], true)); /* another kind: the default */
    assert_int_equal(ct_value_as_int(values[2], 0), -5);
    assert_int_equal(ct_value_as_int(values[3], 9), 9);
    assert_true(ct_value_as_real(values[2], 0) == -5);
    assert_true(ct_value_as_real(values[3], 0) == 2.5);
    assert_string_equal(ct_value_as_string(values[4], ""), "text");
    assert_null(ct_value_as_string(values[2], NULL));
    assert_int_equal(ct_value_string_length(values[5]), 3);
    assert_memory_equal(ct_value_as_string(values[5], ""), "a\0b", 4);
    assert_int_equal(ct_value_kind_of(NULL), CT_VALUE_NULL);
    assert_int_equal(ct_value_as_int(NULL, 7), 7);
    assert_null(ct_value_get(values[4], "x"));
    for (int i = 0; i < 6; i++)
        ct_value_free(values[i]);
    ct_value_free(NULL);
    end_context(context);
}

static void strings_of_every_length(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char text[100];
    for (size_t length = 0; length < sizeof text; length++) { /* across the border of inline strings */
        memset(text, 'a' + (int)(length % 26), sizeof text);
        ct_value *value = ct_value_string_n(context, text, length), *copy = ct_value_copy(value);
        assert_int_equal(ct_value_string_length(value), length);
        assert_int_equal(strlen(ct_value_as_string(value, NULL)), length);
        assert_memory_equal(ct_value_as_string(copy, ""), text, length);
        assert_true(ct_value_equal(value, copy));
        ct_value_free(value);
        ct_value_free(copy);
    }
    end_context(context);
}

/* Against a plain array as the model: insertions, replacements, removals, through the border of the index. */
static void maps_keep_order(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    enum { KEYS = 300 };
    int model[KEYS], count = 0;
    ct_value *map = ct_value_map(context);
    ct_random random = ct_random_make(1, 1);
    for (int step = 0; step < 6000; step++) {
        int key = (int)ct_random_integer(&random, 0, step < 3000 ? 40 : KEYS), place = -1;
        char name[64];
        snprintf(name, sizeof name, "key %*d", key % 40, key);
        for (int i = 0; i < count; i++)
            if (model[i] == key) place = i;
        if (ct_random_uniform(&random) < 0.6) {
            assert_int_equal(ct_value_set(map, name, ct_value_int(context, key)), CT_OK);
            if (place < 0) model[count++] = key;
        } else {
            assert_int_equal(ct_value_remove(map, name), place >= 0);
            if (place >= 0) {
                count--;
                memmove(model + place, model + place + 1, (size_t)(count - place) * sizeof *model);
            }
        }
        assert_int_equal(ct_value_count(map), count);
        if (step % 50) continue;
        for (int i = 0; i < count; i++) {
            snprintf(name, sizeof name, "key %*d", model[i] % 40, model[i]);
            assert_string_equal(ct_value_key(map, (size_t)i), name);
            assert_ptr_equal(ct_value_get(map, name), ct_value_at(map, (size_t)i));
            assert_int_equal(ct_value_as_int(ct_value_at(map, (size_t)i), -1), model[i]);
        }
    }
    assert_null(ct_value_key(map, (size_t)count));
    assert_null(ct_value_at(map, (size_t)count));
    assert_null(ct_value_get(map, "no such key"));
    ct_value_free(map);
    end_context(context);
}

static void vocabularies_are_compact_and_quick(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    enum { TOKENS = 100000 };
    ct_value *map = ct_value_map(context);
    char name[32];
    double start = ct_seconds();
    for (int i = 0; i < TOKENS; i++) {
        snprintf(name, sizeof name, "token%d", i);
        ct_value_set(map, name, ct_value_int(context, i));
    }
    for (int i = 0; i < TOKENS; i++) {
        snprintf(name, sizeof name, "token%d", i);
        assert_int_equal(ct_value_as_int(ct_value_get(map, name), -1), i);
    }
    assert_true(ct_seconds() - start < 10); /* a search through the list would take minutes */
    ct_memory_counts counts;
    ct_memory_read(context, &counts);
    if (!UNDER_ASAN) assert_true(counts.current_total < (size_t)TOKENS * 160);
    ct_value_free(map);
    end_context(context);
}

static void lists(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *list = ct_value_list(context);
    for (int i = 0; i < 100; i++)
        assert_int_equal(ct_value_append(list, ct_value_int(context, i * i)), CT_OK);
    assert_int_equal(ct_value_count(list), 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(ct_value_as_int(ct_value_at(list, i), -1), i * i);
    assert_null(ct_value_at(list, 100));
    assert_null(ct_value_key(list, 0));
    ct_value_free(list);
    end_context(context);
}

static void paths(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    assert_int_equal(ct_value_set_path(map, "optimizer.beta1", ct_value_real(context, 0.9)), CT_OK);
    assert_int_equal(ct_value_set_path(map, "optimizer.inner.eps", ct_value_real(context, 1e-8)), CT_OK);
    ct_value_set(map, "stages", list);
    assert_int_equal(ct_value_set_path(map, "stages.0.width", ct_value_int(context, 64)), CT_OK);
    assert_int_equal(ct_value_set_path(map, "stages.1", ct_value_int(context, 3)), CT_OK);
    assert_int_equal(ct_value_set_path(map, "stages.1", ct_value_int(context, 4)), CT_OK);
    assert_true(ct_value_as_real(ct_value_get_path(map, "optimizer.beta1"), 0) == 0.9);
    assert_int_equal(ct_value_as_int(ct_value_get_path(map, "stages.0.width"), 0), 64);
    assert_int_equal(ct_value_as_int(ct_value_get_path(map, "stages.1"), 0), 4);
    assert_null(ct_value_get_path(map, "stages.2"));
    assert_null(ct_value_get_path(map, "optimizer.beta1.x"));
    ct_value_set_path(map, "stages.5", ct_value_null(context));
    assert_fails(context, CT_ERROR_ARGUMENT, "stages.5: \"5\" is not an index of a list of 2 items");
    ct_value_set_path(map, "optimizer.beta1.x.y", ct_value_null(context));
    assert_fails(context, CT_ERROR_ARGUMENT, "optimizer.beta1.x.y: \"x\" cannot be set within a number");
    const char *const wrong[] = {"", ".a", "a.", "a..b"};
    for (int i = 0; i < 4; i++) {
        ct_value_set_path(map, wrong[i], ct_value_null(context));
        assert_fails_with(context, CT_ERROR_ARGUMENT, "is not a path of names joined by dots");
    }
    ct_value_free(map);
    end_context(context);
}

static void misuse_is_refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *map = ct_value_map(context), *list = ct_value_list(context), *item = ct_value_int(context, 1);
    assert_int_equal(ct_value_append(map, ct_value_int(context, 1)), CT_ERROR_ARGUMENT);
    assert_fails(context, CT_ERROR_ARGUMENT, "ct_value_append: expected a list, found a map");
    assert_int_equal(ct_value_set(list, "k", ct_value_int(context, 1)), CT_ERROR_ARGUMENT);
    assert_fails(context, CT_ERROR_ARGUMENT, "ct_value_set: expected a map, found a list");
    ct_value_append(list, NULL);
    assert_fails(context, CT_ERROR_ARGUMENT, "ct_value_append: the item is NULL");
    ct_value_append(NULL, ct_value_int(context, 1));
    assert_fails(context, CT_ERROR_ARGUMENT, "ct_value_append: the container is NULL");
    ct_value_append(list, item);
    assert_int_equal(ct_value_set(map, "k", item), CT_ERROR_STATE);
    ct_context_clear(context);
    assert_int_equal(ct_value_append(list, list), CT_ERROR_STATE);
    ct_context_clear(context);
    ct_fail(context, CT_ERROR_IO, "earlier"); /* what made the item NULL */
    assert_int_equal(ct_value_append(list, NULL), CT_ERROR_IO);
    ct_context_clear(context);
    ct_value_free(map);
    ct_value_free(list);
    end_context(context);
}

static void equality(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *a = ct_value_map(context), *b = ct_value_map(context);
    ct_value_set(a, "x", ct_value_int(context, 1));
    ct_value_set(a, "y", ct_value_parse_scalar(context, "[1,2.5,z]"));
    ct_value_set(b, "y", ct_value_parse_scalar(context, "[1,2.5,z]"));
    assert_false(ct_value_equal(a, b));
    ct_value_set(b, "x", ct_value_int(context, 1));
    assert_true(ct_value_equal(a, b)); /* in another order */
    ct_value_set(b, "x", ct_value_real(context, 1));
    assert_false(ct_value_equal(a, b)); /* another kind */
    ct_value_set(b, "x", ct_value_int(context, 1));
    ct_value_append(ct_value_get(b, "y"), ct_value_null(context));
    assert_false(ct_value_equal(a, b));
    assert_true(ct_value_equal(NULL, NULL));
    assert_false(ct_value_equal(a, NULL));
    ct_value_free(a);
    ct_value_free(b);
    end_context(context);
}

static void origins(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char buffer[64], cut[8], name[16] = "recipe.yaml";
    ct_value *a = ct_value_int(context, 1), *b = ct_value_int(context, 2);
    assert_string_equal(ct_value_origin(a, buffer, sizeof buffer), "");
    assert_string_equal(ct_value_origin(NULL, buffer, sizeof buffer), "");
    ct_value_set_origin(a, name, 7);
    ct_value_set_origin(b, name, 0);
    name[0] = 'X'; /* the name was copied */
    ct_value *copy = ct_value_copy(a);
    ct_value_free(a);
    assert_string_equal(ct_value_origin(copy, buffer, sizeof buffer), "recipe.yaml:7");
    assert_string_equal(ct_value_origin(copy, cut, sizeof cut), "recipe.");
    assert_string_equal(ct_value_origin(b, buffer, sizeof buffer), "recipe.yaml");
    ct_value_set_origin(b, "command line", 0);
    assert_string_equal(ct_value_origin(b, buffer, sizeof buffer), "command line");
    ct_value_free(b);
    ct_value_free(copy);
    end_context(context);
}

static void words(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    const struct {
        const char *text;
        ct_value_kind kind;
        int64_t integer;
        double real;
        const char *string;
    } cases[] = {
        {"true", CT_VALUE_BOOL, 0, 0, NULL},
        {"false", CT_VALUE_BOOL, 0, 0, NULL},
        {"null", CT_VALUE_NULL, 0, 0, NULL},
        {"~", CT_VALUE_NULL, 0, 0, NULL},
        {"42", CT_VALUE_INT, 42, 42, NULL},
        {"-7", CT_VALUE_INT, -7, -7, NULL},
        {"+3", CT_VALUE_INT, 3, 3, NULL},
        {"9223372036854775807", CT_VALUE_INT, INT64_MAX, 0x1p63, NULL},
        {"9223372036854775808", CT_VALUE_REAL, 0, 0x1p63, NULL}, /* beyond int64 */
        {"1e-4", CT_VALUE_REAL, 0, 1e-4, NULL},
        {".5", CT_VALUE_REAL, 0, 0.5, NULL},
        {"3.", CT_VALUE_REAL, 0, 3, NULL},
        {"-.inf", CT_VALUE_REAL, 0, -INFINITY, NULL},
        {"inf", CT_VALUE_STRING, 0, 0, "inf"},
        {"nan", CT_VALUE_STRING, 0, 0, "nan"},
        {"0x10", CT_VALUE_STRING, 0, 0, "0x10"},
        {"1e", CT_VALUE_STRING, 0, 0, "1e"},
        {"-", CT_VALUE_STRING, 0, 0, "-"},
        {".", CT_VALUE_STRING, 0, 0, "."},
        {"1.2.3", CT_VALUE_STRING, 0, 0, "1.2.3"},
        {"600M", CT_VALUE_STRING, 0, 0, "600M"},
        {"True", CT_VALUE_STRING, 0, 0, "True"},
        {" 1", CT_VALUE_STRING, 0, 0, " 1"},
        {"", CT_VALUE_STRING, 0, 0, ""},
        {"'12'", CT_VALUE_STRING, 0, 0, "12"},
        {"\"a b\"", CT_VALUE_STRING, 0, 0, "a b"},
        {"[abc", CT_VALUE_STRING, 0, 0, "[abc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ct_value *value = ct_value_parse_scalar(context, cases[i].text);
        if (ct_value_kind_of(value) != cases[i].kind) fail_msg("%s", cases[i].text);
        if (cases[i].kind == CT_VALUE_INT) assert_true(ct_value_as_int(value, 99) == cases[i].integer);
        if (cases[i].kind == CT_VALUE_REAL) assert_true(ct_value_as_real(value, 99) == cases[i].real);
        if (cases[i].string) assert_string_equal(ct_value_as_string(value, NULL), cases[i].string);
        if (cases[i].kind == CT_VALUE_BOOL)
            assert_int_equal(ct_value_as_bool(value, cases[i].text[0] != 't'), cases[i].text[0] == 't');
        ct_value_free(value);
    }
    ct_value *list = ct_value_parse_scalar(context, "[1, 0.9,'a,b' , true,word]");
    assert_int_equal(ct_value_count(list), 5);
    assert_int_equal(ct_value_as_int(ct_value_at(list, 0), 0), 1);
    assert_true(ct_value_as_real(ct_value_at(list, 1), 0) == 0.9);
    assert_string_equal(ct_value_as_string(ct_value_at(list, 2), ""), "a,b");
    assert_string_equal(ct_value_as_string(ct_value_at(list, 4), ""), "word");
    ct_value_free(list);
    list = ct_value_parse_scalar(context, "[ ]");
    assert_int_equal(ct_value_kind_of(list), CT_VALUE_LIST);
    assert_int_equal(ct_value_count(list), 0);
    ct_value_free(list);
    const char *const wrong[] = {"[1,,2]", "[1,]", "[,1]", "[[1],2]"};
    for (int i = 0; i < 4; i++) {
        assert_null(ct_value_parse_scalar(context, wrong[i]));
        assert_fails_with(context, CT_ERROR_ARGUMENT, i < 3 ? "an empty item" : "a list within a list");
    }
    end_context(context);
}

/* Whatever is typed gives a value or an error, and nothing is read beyond its end. */
static void any_words(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_random random = ct_random_make(1, 2);
    static const char letters[] = "[]',\" 1.e-+tn~x";
    for (int i = 0; i < 50000; i++) {
        size_t length = (size_t)ct_random_integer(&random, 0, 12);
        char *word = malloc(length + 1); /* exactly so long, for AddressSanitizer */
        for (size_t k = 0; k < length; k++)
            word[k] = letters[ct_random_integer(&random, 0, sizeof letters - 1)];
        word[length] = 0;
        if (i % 2 && length > 1) word[0] = '[', word[length - 1] = ']';
        ct_value *value = ct_value_parse_scalar(context, word);
        assert_int_equal(value == NULL, ct_failed(context));
        ct_value_free(value);
        ct_context_clear(context);
        free(word);
    }
    end_context(context);
}

/* A tree as deep as an attacker likes is freed without recursion; copying stops with an error. */
static void deep_trees(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *tree = ct_value_int(context, 1);
    for (int depth = 0; depth < 300000; depth++) {
        ct_value *outer = depth % 2 ? ct_value_list(context) : ct_value_map(context);
        if (depth % 2)
            ct_value_append(outer, tree);
        else
            ct_value_set(outer, "k", tree);
        tree = outer;
        if (depth == 500) {
            ct_value *copy = ct_value_copy(tree);
            assert_true(ct_value_equal(tree, copy));
            ct_value_free(copy);
        }
    }
    assert_null(ct_value_copy(tree));
    assert_fails(context, CT_ERROR_ARGUMENT, "a value nested deeper than 4096");
    ct_value_free(tree);
    end_context(context);
}

static bool build_and_copy(ct_context *context) {
    ct_value *map = ct_value_map(context);
    char key[32];
    for (int i = 0; i < 40 && !ct_failed(context); i++) {
        snprintf(key, sizeof key, "name %d", i);
        ct_value_set(map, key, ct_value_string(context, "a string that does not fit within the value"));
        ct_value_set_origin(ct_value_get(map, key), "file.json", i);
    }
    if (map && !ct_failed(context))
        ct_value_set(map, "list", ct_value_parse_scalar(context, "[1,2,3,4,5,6,7,8,9,10]"));
    if (map && !ct_failed(context)) ct_value_set_path(map, "a.b.c", ct_value_int(context, 1));
    ct_value *copy = ct_failed(context) ? NULL : ct_value_copy(map);
    bool good = copy && !ct_failed(context) && ct_value_equal(copy, map);
    ct_value_free(copy);
    ct_value_free(map);
    return good;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    every_allocation_fails_once(build_and_copy, 90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(strings_of_every_length),
        cmocka_unit_test(maps_keep_order),
        cmocka_unit_test(vocabularies_are_compact_and_quick),
        cmocka_unit_test(lists),
        cmocka_unit_test(paths),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(equality),
        cmocka_unit_test(origins),
        cmocka_unit_test(words),
        cmocka_unit_test(any_words),
        cmocka_unit_test(deep_trees),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
