/* test_yaml.c - YAML: the core schema, anchors and their bounds, what is refused, and recipes written. */
#include "check.h"
#include <math.h>

static ct_value *parse(ct_context *context, const char *text) {
    return ct_yaml_parse(context, text, strlen(text), "r.yaml");
}

static void reads_a_recipe(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *value = parse(context, "# recipe\nmodel:\n  kind: gpt2\n  width: 384\nlearning_rate: "
                                     "1e-3\nstages:\n  - {steps: 10, name: 'a: b'}\n  - steps: 0x10\n"
                                     "text: |\n  two\n  lines\n\"quoted key\": \"\\u00e9\"\n");
    assert_non_null(value);
    char origin[64];
    assert_string_equal(ct_value_as_string(ct_value_get_path(value, "model.kind"), ""), "gpt2");
    assert_string_equal(ct_value_origin(ct_value_get_path(value, "model.width"), origin, sizeof origin),
                        "r.yaml:4");
    assert_int_equal(ct_value_as_int(ct_value_get_path(value, "model.width"), 0), 384);
    assert_int_equal(ct_value_kind_of(ct_value_get(value, "learning_rate")), CT_VALUE_REAL);
    assert_true(ct_value_as_real(ct_value_get(value, "learning_rate"), 0) == 1e-3);
    assert_string_equal(ct_value_as_string(ct_value_get_path(value, "stages.0.name"), ""), "a: b");
    assert_int_equal(ct_value_as_int(ct_value_get_path(value, "stages.1.steps"), 0), 16);
    assert_string_equal(ct_value_origin(ct_value_get_path(value, "stages.1.steps"), origin, sizeof origin),
                        "r.yaml:8");
    assert_string_equal(ct_value_as_string(ct_value_get(value, "text"), ""), "two\nlines\n");
    assert_string_equal(ct_value_as_string(ct_value_get(value, "quoted key"), ""), "\xc3\xa9");
    ct_value_free(value);
    end_context(context);
}

/* Examples 10.8 of the YAML 1.2 specification, and what other readers trip on. */
static void knows_the_core_schema(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ct_value_kind kind;
        double real;
    } cases[] = {{"null", CT_VALUE_NULL, 0},
                 {"~", CT_VALUE_NULL, 0},
                 {"", CT_VALUE_NULL, 0},
                 {"true", CT_VALUE_BOOL, 1},
                 {"FALSE", CT_VALUE_BOOL, 0},
                 {"yes", CT_VALUE_STRING, 0},
                 {"on", CT_VALUE_STRING, 0},
                 {"0", CT_VALUE_INT, 0},
                 {"0o7", CT_VALUE_INT, 7},
                 {"0x3A", CT_VALUE_INT, 58},
                 {"-19", CT_VALUE_INT, -19},
                 {"+12", CT_VALUE_INT, 12},
                 {"017", CT_VALUE_INT, 17},
                 {"0.", CT_VALUE_REAL, 0},
                 {"-0.0", CT_VALUE_REAL, 0},
                 {".5", CT_VALUE_REAL, 0.5},
                 {"+12e03", CT_VALUE_REAL, 12000},
                 {"-2E+05", CT_VALUE_REAL, -200000},
                 {"1e-3", CT_VALUE_REAL, 0.001},
                 {".inf", CT_VALUE_REAL, INFINITY},
                 {"-.Inf", CT_VALUE_REAL, -INFINITY},
                 {"1_000", CT_VALUE_STRING, 0},
                 {"1e", CT_VALUE_STRING, 0},
                 {".", CT_VALUE_STRING, 0},
                 {"0x", CT_VALUE_STRING, 0},
                 {"1.2.3", CT_VALUE_STRING, 0},
                 {"'12'", CT_VALUE_STRING, 0},
                 {"\"true\"", CT_VALUE_STRING, 0},
                 {"!!str 12", CT_VALUE_STRING, 0},
                 {"!!float 12", CT_VALUE_REAL, 12},
                 {"! 12", CT_VALUE_STRING, 0},
                 {"9223372036854775808", CT_VALUE_REAL, 9223372036854775808.0},
                 {"0x8000000000000000", CT_VALUE_REAL, 9223372036854775808.0}};
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ct_value *value = parse(context, cases[i].text);
        if (!value || ct_value_kind_of(value) != cases[i].kind)
            fail_msg("%s is %s", cases[i].text, ct_value_kind_name(ct_value_kind_of(value)));
        if (cases[i].kind == CT_VALUE_INT || cases[i].kind == CT_VALUE_REAL)
            assert_true(ct_value_as_real(value, NAN) == cases[i].real);
        if (cases[i].kind == CT_VALUE_BOOL)
            assert_int_equal(ct_value_as_bool(value, !cases[i].real), cases[i].real != 0);
        ct_value_free(value);
    }
    ct_value *nan = parse(context, ".nan");
    assert_true(isnan(ct_value_as_real(nan, 0)));
    ct_value_free(nan);
    end_context(context);
}

static void expands_aliases(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *value = parse(context, "a: &x {b: [1, 2]}\nc: *x\nd: [&y 5, *y]\n");
    assert_int_equal(ct_value_as_int(ct_value_get_path(value, "c.b.1"), 0), 2);
    assert_int_equal(ct_value_as_int(ct_value_get_path(value, "d.1"), 0), 5);
    ct_value_free(value);
    end_context(context);
}

static void refuses_with_the_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "r.yaml:3: the key \"a\" stands twice in one map (first at r.yaml:1)"},
        {"a: &x {b: 1}\nc:\n  <<: *x\n", "r.yaml:3: merge keys (<<) are not supported"},
        {"a: *nothing\n", "r.yaml:1: the alias *nothing has no anchor before it"},
        {"a: &x [1, *x]\n", "stands within its own anchor"},
        {"? [a]\n: 1\n", "a key must be a scalar"},
        {"a: &x b\n*x : 1\n", "a key may not be an alias"},
        {"a: !!binary aGk=\n", "the tag tag:yaml.org,2002:binary is not known"},
        {"a: !!int x\n", "is tagged an integer but is none"},
        {"a: !thing [1]\n", "the tag !thing is not known"},
        {"a: 1\n---\nb: 2\n", "a second document begins"},
        {"a: [1, 2\n", "r.yaml:"},
        {"a: b: c\n", "r.yaml:1: mapping values are not allowed"},
        {"\ta: 1\n", "r.yaml:1:"},
        {"a: \xff\n", "r.yaml: invalid"},
        {"\"a\\0b\": 1\n", "a key holds the character NUL"}};
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(parse(context, cases[i].text));
        ASSERT_ERROR(context, CT_ERROR_FORMAT, cases[i].part);
    }
    end_context(context);
}

/* "Billion laughs": nine lists of nine aliases would be 9^9 values. */
static void bounds_expansion_and_depth(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_bytes text = {0};
    static const char first[] = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    ct_bytes_append(context, &text, first, sizeof first - 1);
    for (int i = 1; i < 9; i++) {
        char line[200];
        int length =
            snprintf(line, sizeof line, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n",
                     i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        ct_bytes_append(context, &text, line, (size_t)length);
    }
    assert_null(ct_yaml_parse(context, text.data, text.length, "r.yaml"));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "r.yaml:", "aliases expand to more than 100000 values");
    text.length = 0;
    for (int i = 0; i <= CT_DEPTH_MAX; i++)
        ct_bytes_append(context, &text, "[", 1);
    assert_null(ct_yaml_parse(context, text.data, text.length, "r.yaml"));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "nested deeper than 200 levels");
    ct_bytes_free(context, &text);
    end_context(context);
}

static void writes_what_reads_back(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *value = parse(
        context,
        "model: {kind: gpt2, layers: [1, 2], empty: {}, none: []}\nstages: [{a: 1, b: {c: 2}}, [3, [4]]]\n"
        "strings: ['yes', '12', '', '1e-3', ' x', 'a: b', '#', '2024-01-01', 'null', plain/path.txt, "
        "\"l1\\nl2\\ttab\\u2028\\x7f\", '~']\n"
        "rate: 1e-3\nbig: 1e+30\n'odd key:': true\n");
    size_t length;
    char *text = ct_yaml_text(context, value, &length);
    static const char beginning[] =
        "model:\n  kind: gpt2\n  layers: [1, 2]\n  empty: {}\n  none: []\nstages:\n  - a: 1\n    b:\n      "
        "c: 2\n  - - 3\n    - [4]\nstrings: "
        "[\"yes\", \"12\", \"\", \"1e-3\", \" x\", \"a: b\", \"#\", \"2024-01-01\", \"null\", "
        "plain/path.txt, "
        "\"l1\\nl2\\ttab\\u2028\\u007f\", \"~\"]\nrate: 0.001\nbig: 1e+30\n\"odd key:\": true\n";
    assert_string_equal(text, beginning);
    ct_value *again = ct_yaml_parse(context, text, length, "again");
    assert_true(ct_value_equal(value, again));
    ct_value_free(again);
    ct_free(context, text);
    ct_value_free(value);
    value = ct_value_map(context);
    char key[1200];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    ct_value_set(value, key, ct_value_int(context, 1));
    assert_null(ct_yaml_text(context, value, NULL));
    ASSERT_ERROR(context, CT_ERROR_UNSUPPORTED, "too long for YAML");
    ct_value_free(value);
    end_context(context);
}

static void parse_and_write(ct_context *context, void *user) {
    (void)user;
    ct_value *value = parse(
        context, "a: &x {b: [1, 2.5], text: a text that is long enough to need memory of its own}\nc: *x\n");
    char *text = value ? ct_yaml_text(context, value, NULL) : NULL;
    ct_free(context, text);
    ct_value_free(value);
}

static void survives_no_memory(void **state) {
    (void)state;
    sweep_memory(parse_and_write, NULL, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_a_recipe),
                                       cmocka_unit_test(knows_the_core_schema),
                                       cmocka_unit_test(expands_aliases),
                                       cmocka_unit_test(refuses_with_the_line),
                                       cmocka_unit_test(bounds_expansion_and_depth),
                                       cmocka_unit_test(writes_what_reads_back),
                                       cmocka_unit_test(survives_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
