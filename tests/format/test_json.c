/* test_json.c - JSON: what is read, what is refused and how, what is written. */
#include "check.h"
#include <locale.h>
#include <math.h>

static ct_value *parse(ct_context *context, const char *text) {
    return ct_json_parse(context, text, strlen(text), "t.json");
}

static void reads_every_kind(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_value *value = parse(context, "{\"a\": [1, -2.5, 1e3, true, false, null],\n \"b\": {\"c\": "
                                     "\"x\\u00e9\\n\\ud83d\\ude00\\/\"}, \"\": \"\"}");
    assert_non_null(value);
    const ct_value *list = ct_value_get(value, "a");
    assert_int_equal(ct_value_count(list), 6);
    assert_int_equal(ct_value_kind_of(ct_value_at(list, 0)), CT_VALUE_INT);
    assert_int_equal(ct_value_as_int(ct_value_at(list, 0), 0), 1);
    assert_true(ct_value_as_real(ct_value_at(list, 1), 0) == -2.5);
    assert_int_equal(ct_value_kind_of(ct_value_at(list, 2)), CT_VALUE_REAL);
    assert_true(ct_value_as_real(ct_value_at(list, 2), 0) == 1000);
    assert_true(ct_value_as_bool(ct_value_at(list, 3), false));
    assert_false(ct_value_as_bool(ct_value_at(list, 4), true));
    assert_int_equal(ct_value_kind_of(ct_value_at(list, 5)), CT_VALUE_NULL);
    assert_string_equal(ct_value_as_string(ct_value_get_path(value, "b.c"), ""),
                        "x\xc3\xa9\n\xf0\x9f\x98\x80/");
    char origin[64];
    assert_string_equal(ct_value_origin(ct_value_get_path(value, "b.c"), origin, sizeof origin), "t.json:2");
    ct_value_free(value);
    end_context(context);
}

static void reads_numbers_exactly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ct_value_kind kind;
        double real;
    } cases[] = {{"9223372036854775807", CT_VALUE_INT, 9223372036854775807.0},
                 {"-9223372036854775808", CT_VALUE_INT, -9223372036854775808.0},
                 {"9223372036854775808", CT_VALUE_REAL, 9223372036854775808.0},
                 {"1000000000000000019884624838656", CT_VALUE_REAL, 1e30},
                 {"0.1", CT_VALUE_REAL, 0.1},
                 {"-0", CT_VALUE_REAL, 0},
                 {"5e-324", CT_VALUE_REAL, 5e-324},
                 {"1.7976931348623157E+308", CT_VALUE_REAL, 1.7976931348623157e308},
                 {"0.30000000000000004000000000000000000000000000000000000000000000000000000", CT_VALUE_REAL,
                  0.30000000000000004}};
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ct_value *value = parse(context, cases[i].text);
        assert_int_equal(ct_value_kind_of(value), cases[i].kind);
        assert_true(ct_value_as_real(value, NAN) == cases[i].real);
        ct_value_free(value);
    }
    ct_value *zero = parse(context, "-0");
    assert_true(signbit(ct_value_as_real(zero, 1)));
    ct_value_free(zero);
    ct_value *infinities = parse(context, "[NaN, Infinity, -Infinity]"); /* Mamba's config.json has one */
    assert_true(isnan(ct_value_as_real(ct_value_at(infinities, 0), 0)));
    assert_true(ct_value_as_real(ct_value_at(infinities, 2), 0) == -INFINITY);
    ct_value_free(infinities);
    end_context(context);
}

static void refuses_with_the_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "t.json:1: found the end of the text, expected a value"},
        {"{\"a\": 1,\n\"a\": 2}", "t.json:2: the key \"a\" stands twice in one map (first at t.json:1)"},
        {"[1, 2", "expected ',' or ']'"},
        {"[1 2]", "found '2', expected ',' or ']'"},
        {"[1,]", "found ']', expected a value"},
        {"{\"a\" 1}", "expected ':' after the key \"a\""},
        {"{a: 1}", "found 'a', expected a key in double quotes"},
        {"{\"a\":1,}", "expected a key"},
        {"[01]", "a number is malformed"},
        {"[1.]", "a number is malformed"},
        {"[-]", "a number is malformed"},
        {"[.5]", "found '.', expected a value"},
        {"[1e999]", "beyond what 64 bits hold"},
        {"\"abc", "a string does not end"},
        {"\"a\tb\"", "the control character 0x09"},
        {"\"\\x\"", "a backslash before what needs none"},
        {"\"\\u12g4\"", "four hexadecimal digits"},
        {"\"\\ud800\"", "first half of a surrogate pair"},
        {"\"\\ude00\"", "second half of a surrogate pair"},
        {"\"\xff\"", "not UTF-8 (byte 0xff)"},
        {"\"\xc0\xaf\"", "not UTF-8"},
        {"\"\xed\xa0\x80\"", "not UTF-8"},
        {"{} x", "found 'x' after the end of the document"},
        {"nul", "expected a value"},
        {"{\"a\\u0000b\": 1}", "a key holds the character NUL"}};
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(parse(context, cases[i].text));
        ASSERT_ERROR(context, CT_ERROR_FORMAT, "t.json:", cases[i].part);
    }
    end_context(context);
}

static void bounds_the_depth(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char text[2 * CT_DEPTH_MAX + 3];
    memset(text, '[', CT_DEPTH_MAX);
    memset(text + CT_DEPTH_MAX, ']', CT_DEPTH_MAX);
    ct_value *value = ct_json_parse(context, text, 2 * CT_DEPTH_MAX, NULL);
    assert_non_null(value);
    ct_value_free(value);
    memset(text, '[', CT_DEPTH_MAX + 1);
    assert_null(ct_json_parse(context, text, CT_DEPTH_MAX + 1, NULL));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "JSON text:1", "nested deeper than 200 levels");
    end_context(context);
}

static void assert_written(ct_context *context, const char *text, unsigned style, const char *expected) {
    ct_value *value = parse(context, text);
    size_t length;
    char *written = ct_json_text(context, value, style, &length);
    assert_non_null(written);
    assert_string_equal(written, expected);
    assert_int_equal(length, strlen(expected));
    ct_free(context, written);
    ct_value_free(value);
}

static void writes(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_written(context, "{\"a\" : [1, 2.0, \"x\"], \"b\":{}, \"c\":[], \"d\":null}", CT_JSON_COMPACT,
                   "{\"a\":[1,2.0,\"x\"],\"b\":{},\"c\":[],\"d\":null}");
    assert_written(context, "{\"a\":[1,true],\"b\":{}}", CT_JSON_PRETTY,
                   "{\n  \"a\": [\n    1,\n    true\n  ],\n  \"b\": {}\n}");
    assert_written(context, "[0.1, 1e30, 1e-05, 0.30000000000000004, 100000.0, -0.0]", 0,
                   "[0.1,1e+30,1e-05,0.30000000000000004,100000.0,-0.0]");
    assert_written(context, "\"q\\\"\\\\\\u0001\\n\xc3\xa9\xf0\x9f\x98\x80/\"", 0,
                   "\"q\\\"\\\\\\u0001\\n\xc3\xa9\xf0\x9f\x98\x80/\"");
    assert_written(context, "\"\xc3\xa9\xf0\x9f\x98\x80\"", CT_JSON_ASCII, "\"\\u00e9\\ud83d\\ude00\"");
    assert_written(context, "[NaN,Infinity,-Infinity]", 0, "[NaN,Infinity,-Infinity]");
    assert_written(context, "[NaN,-Infinity]", CT_JSON_STRICT, "[null,null]");
    ct_value *nul = ct_value_string_n(context, "a\0b", 3);
    char *text = ct_json_text(context, nul, 0, NULL);
    assert_string_equal(text, "\"a\\u0000b\"");
    ct_value *again = parse(context, text);
    assert_true(ct_value_equal(nul, again));
    ct_free(context, text);
    ct_value_free(again);
    ct_value_free(nul);
    ct_value *bad = ct_value_string_n(context, "ab\xff", 3);
    assert_null(ct_json_text(context, bad, 0, NULL));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "not UTF-8 (byte 0xff at 2)");
    ct_value_free(bad);
    end_context(context);
}

/* Random bit patterns of doubles come back to the same bits. */
static void round_trips_reals(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_random random = ct_random_make(7, 1);
    for (int i = 0; i < 5000; i++) {
        uint64_t bits = (uint64_t)ct_random_u32(&random) << 32 | ct_random_u32(&random), back;
        double real, read;
        memcpy(&real, &bits, 8);
        if (!isfinite(real)) continue;
        ct_value *value = ct_value_real(context, real);
        char *text = ct_json_text(context, value, 0, NULL);
        ct_value *again = parse(context, text);
        assert_int_equal(ct_value_kind_of(again), CT_VALUE_REAL);
        read = ct_value_as_real(again, 0);
        memcpy(&back, &read, 8);
        assert_true(back == bits);
        ct_free(context, text);
        ct_value_free(value);
        ct_value_free(again);
    }
    end_context(context);
}

static void ignores_the_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    bool found = false;
    for (int i = 0; i < 4 && !found; i++)
        found = setlocale(LC_ALL, names[i]) != NULL;
    if (!found) {
        print_message("SKIPPED: no locale with a decimal comma is installed\n");
        return;
    }
    ct_context *context = start_context(1);
    assert_written(context, "[1.5,2e-7]", 0, "[1.5,2e-07]");
    end_context(context);
    setlocale(LC_ALL, "C");
}

static void reads_lines(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    char folder[64];
    make_folder(folder);
    static const char text[] = "{\"text\": \"a\"}\n\n  \n{\"text\": \"b\"}\r\n[oops]\n";
    write_text(context, folder, "d.jsonl", text, sizeof text - 1);
    char *path = ct_path_join(context, folder, "d.jsonl");
    ct_jsonl *reader = ct_jsonl_open(context, path, 1000);
    ct_value *value = ct_jsonl_next(reader);
    assert_string_equal(ct_value_as_string(ct_value_get(value, "text"), ""), "a");
    assert_int_equal(ct_jsonl_number(reader), 1);
    ct_value_free(value);
    value = ct_jsonl_next(reader);
    assert_string_equal(ct_value_as_string(ct_value_get(value, "text"), ""), "b");
    assert_int_equal(ct_jsonl_number(reader), 4);
    ct_value_free(value);
    assert_null(ct_jsonl_next(reader));
    ASSERT_ERROR(context, CT_ERROR_FORMAT, "d.jsonl:5:", "expected a value");
    assert_null(ct_jsonl_next(reader));
    assert_false(ct_failed(context));
    ct_jsonl_close(reader);
    reader = ct_jsonl_open(context, path, 5);
    assert_null(ct_jsonl_next(reader));
    assert_true(ct_failed(context));
    ct_context_clear(context);
    ct_jsonl_close(reader);
    assert_null(ct_jsonl_open(context, "/nonexistent/x.jsonl", 5));
    ASSERT_ERROR(context, CT_ERROR_NOT_FOUND, "/nonexistent/x.jsonl");
    ct_free(context, path);
    ct_folder_remove(context, folder);
    end_context(context);
}

static void parse_and_write(ct_context *context, void *user) {
    (void)user;
    ct_value *value = parse(context, "{\"a\": [1, 2.5, \"\\u00e9 long enough to need memory of its own, "
                                     "outside the value\"], \"b\": {\"c\": null}}");
    char *text = value ? ct_json_text(context, value, CT_JSON_PRETTY, NULL) : NULL;
    ct_free(context, text);
    ct_value_free(value);
}

static void survives_no_memory(void **state) {
    (void)state;
    sweep_memory(parse_and_write, NULL, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_every_kind),
                                       cmocka_unit_test(reads_numbers_exactly),
                                       cmocka_unit_test(refuses_with_the_line),
                                       cmocka_unit_test(bounds_the_depth),
                                       cmocka_unit_test(writes),
                                       cmocka_unit_test(round_trips_reals),
                                       cmocka_unit_test(ignores_the_locale),
                                       cmocka_unit_test(reads_lines),
                                       cmocka_unit_test(survives_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
