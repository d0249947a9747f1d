/* tests.c - what stands behind `is`. */
#include "template/value.h"
#include <string.h>

#define TEST(name)                                                                                           \
    static bool name(jinja_render *r, const jinja_value *v, const jinja_arguments *a, bool *holds)
/* A test without arguments. */
#define PLAIN(name, condition)                                                                               \
    TEST(name) {                                                                                             \
        *holds = condition;                                                                                  \
        return ct_jinja_bind(r, #name, "", 0, a, NULL);                                                      \
    }

PLAIN(defined, v->kind != JINJA_UNDEFINED)
PLAIN(undefined, v->kind == JINJA_UNDEFINED)
PLAIN(none, v->kind == JINJA_NONE)
PLAIN(boolean, v->kind == JINJA_BOOL)
PLAIN(is_true, v->kind == JINJA_BOOL && v->truth)
PLAIN(is_false, v->kind == JINJA_BOOL && !v->truth)
PLAIN(integer, v->kind == JINJA_INT)
PLAIN(real, v->kind == JINJA_REAL)
PLAIN(number, jinja_is_number(v))
PLAIN(string, v->kind == JINJA_STRING)
PLAIN(mapping, v->kind == JINJA_DICT)
PLAIN(escaped, v->kind == JINJA_STRING && v->safe)
PLAIN(iterable, v->kind == JINJA_STRING || v->kind == JINJA_DICT || jinja_is_sequence(v) ||
                    v->kind == JINJA_UNDEFINED || v->kind == JINJA_LOOP)
PLAIN(callable, v->kind == JINJA_MACRO || v->kind == JINJA_FUNCTION || v->kind == JINJA_METHOD ||
                    v->kind == JINJA_LOOP || v->kind == JINJA_CYCLER || v->kind == JINJA_JOINER)

/* Has a length and items by index; generators and views of dictionaries have not. */
TEST(sequence) {
    bool list = jinja_is_sequence(v) && (!v->list->type || strcmp(v->list->type, "range") == 0);
    *holds = list || v->kind == JINJA_STRING || v->kind == JINJA_DICT;
    return ct_jinja_bind(r, "sequence", "", 0, a, NULL);
}

static bool by_case(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_class which,
                    bool *holds) {
    jinja_value text;
    if (!ct_jinja_bind(r, "upper", "", 0, a, NULL) || !ct_jinja_string(r, v, &text)) return false;
    *holds = ct_jinja_class_of(&text, which);
    return jinja_work(r, text.length / 8);
}
TEST(upper) {
    return by_case(r, v, a, JINJA_IS_UPPER, holds);
}
TEST(lower) {
    return by_case(r, v, a, JINJA_IS_LOWER, holds);
}

/* v % by == rest */
static bool remainder_is(jinja_render *r, const jinja_value *v, const jinja_value *by, int64_t rest,
                         bool *holds) {
    jinja_value result;
    const jinja_value wanted = jinja_int(rest);
    return ct_jinja_binary(r, JINJA_MODULO, v, by, &result) && ct_jinja_equal(r, &result, &wanted, holds);
}
TEST(odd) {
    const jinja_value two = jinja_int(2);
    return ct_jinja_bind(r, "odd", "", 0, a, NULL) && remainder_is(r, v, &two, 1, holds);
}
TEST(even) {
    const jinja_value two = jinja_int(2);
    return ct_jinja_bind(r, "even", "", 0, a, NULL) && remainder_is(r, v, &two, 0, holds);
}
TEST(divisibleby) {
    jinja_value by;
    return ct_jinja_bind(r, "divisibleby", "num", 1, a, &by) && remainder_is(r, v, &by, 0, holds);
}

static bool compared(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_operator op,
                     bool *holds) {
    jinja_value other;
    return ct_jinja_bind(r, "a comparison", "other", 1, a, &other) &&
           ct_jinja_compare(r, op, v, &other, holds);
}
TEST(equal) {
    return compared(r, v, a, JINJA_EQUAL, holds);
}
TEST(unequal) {
    return compared(r, v, a, JINJA_NOT_EQUAL, holds);
}
TEST(less) {
    return compared(r, v, a, JINJA_LESS, holds);
}
TEST(less_equal) {
    return compared(r, v, a, JINJA_LESS_EQUAL, holds);
}
TEST(greater) {
    return compared(r, v, a, JINJA_GREATER, holds);
}
TEST(greater_equal) {
    return compared(r, v, a, JINJA_GREATER_EQUAL, holds);
}
TEST(in) {
    return compared(r, v, a, JINJA_IN, holds);
}

/* `is` of Python: the same object. Small values are equal ones of the same type. */
TEST(sameas) {
    jinja_value other;
    if (!ct_jinja_bind(r, "sameas", "other", 1, a, &other)) return false;
    *holds = false;
    if (v->kind != other.kind) return true;
    if (v->kind <= JINJA_STRING) return ct_jinja_equal(r, v, &other, holds);
    *holds = v->dict == other.dict;
    return true;
}

TEST(filter) {
    *holds = v->kind == JINJA_STRING && ct_jinja_filter_find(v->text, v->length) != NULL;
    return ct_jinja_bind(r, "filter", "", 0, a, NULL);
}
TEST(test) {
    *holds = v->kind == JINJA_STRING && ct_jinja_test_find(v->text, v->length) != NULL;
    return ct_jinja_bind(r, "test", "", 0, a, NULL);
}

static const jinja_test tests[] = {{"boolean", boolean},
                                   {"callable", callable},
                                   {"defined", defined},
                                   {"divisibleby", divisibleby},
                                   {"eq", equal},
                                   {"equalto", equal},
                                   {"escaped", escaped},
                                   {"even", even},
                                   {"false", is_false},
                                   {"filter", filter},
                                   {"float", real},
                                   {"ge", greater_equal},
                                   {"greaterthan", greater},
                                   {"gt", greater},
                                   {"in", in},
                                   {"integer", integer},
                                   {"iterable", iterable},
                                   {"le", less_equal},
                                   {"lessthan", less},
                                   {"lower", lower},
                                   {"lt", less},
                                   {"mapping", mapping},
                                   {"ne", unequal},
                                   {"none", none},
                                   {"number", number},
                                   {"odd", odd},
                                   {"sameas", sameas},
                                   {"sequence", sequence},
                                   {"string", string},
                                   {"test", test},
                                   {"true", is_true},
                                   {"undefined", undefined},
                                   {"upper", upper},
                                   {"==", equal},
                                   {"!=", unequal},
                                   {"<", less},
                                   {"<=", less_equal},
                                   {">", greater},
                                   {">=", greater_equal}};
enum { TESTS = sizeof(tests) / sizeof(tests[0]) };

const jinja_test *ct_jinja_test_find(const char *name, size_t length) {
    for (int i = 0; i < TESTS; i++)
        if (strlen(tests[i].name) == length && memcmp(tests[i].name, name, length) == 0) return &tests[i];
    return NULL;
}

const char *ct_jinja_test_nearest(const char *name) {
    const char *names[TESTS];
    for (int i = 0; i < TESTS; i++)
        names[i] = tests[i].name;
    return ct_nearest_name(name, names, TESTS);
}
