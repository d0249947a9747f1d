/* test_language.c - the template language against what Jinja2 made of hundreds of small templates
 * (tests/golden/make_expressions.py), bounds, marks of content, memory that runs out. */
#include <carat/format.h>
#include <carat/template.h>
#include <limits.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static ct_value *json(ct_context *context, const char *text) {
    ct_value *value = ct_json_parse(context, text, strlen(text), "test");
    assert_non_null(value);
    return value;
}

/* Renders with variables as content; the status, and the message when it failed. */
static ct_status render(ct_context *context, const char *text, const ct_value *variables,
                        ct_template_output *output, char *message, size_t size) {
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_template *parsed = ct_template_parse(context, text, strlen(text), "t");
    if (parsed) ct_template_render(parsed, &(ct_template_options){.variables = variables}, output);
    ct_template_destroy(parsed);
    return ct_try_end(context, &trial, message, size);
}

static void as_jinja_has_it(void **state) {
    (void)state;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/tests/golden/templates/expressions.jsonl", getenv("CARAT_SOURCE"));
    ct_context *context = ct_context_create(1);
    ct_jsonl *file = ct_jsonl_open(context, path, 1 << 20);
    assert_non_null(file);
    ct_value *head = ct_jsonl_next(file);
    const ct_value *variables = ct_value_get(head, "variables");
    ct_template_output output = {0};
    int count = 0, wrong = 0;
    for (ct_value *record; (record = ct_jsonl_next(file)); count++) {
        const char *text = ct_value_as_string(ct_value_get(record, "template"), "");
        const ct_value *expected = ct_value_get(record, "output"), *error = ct_value_get(record, "error");
        char message[512];
        ct_status status = render(context, text, variables, &output, message, sizeof(message));
        bool right =
            expected ? status == CT_OK && output.text.length == ct_value_string_length(expected) &&
                           memcmp(output.text.data, ct_value_as_string(expected, ""), output.text.length) == 0
                     : status == CT_ERROR_FORMAT && strncmp(message, "t:", 2) == 0 &&
                           strstr(message, ct_value_as_string(error, "")) != NULL;
        if (!right) {
            print_message("%s\n  expected %s\n  found    %s\n", text,
                          expected ? ct_value_as_string(expected, "") : "an error",
                          status == CT_OK ? output.text.data : message);
            wrong++;
        }
        ct_value_free(record);
    }
    assert_false(ct_failed(context));
    assert_true(count > 700);
    assert_int_equal(wrong, 0);
    ct_template_output_free(context, &output);
    ct_value_free(head);
    ct_jsonl_close(file);
    ct_context_destroy(context);
}

static void refused(ct_context *context, const char *text, const char *expected) {
    char message[512];
    ct_template_output output = {0};
    assert_int_not_equal(render(context, text, NULL, &output, message, sizeof(message)), CT_OK);
    if (!strstr(message, expected)) print_message("%s: %s\n", text, message);
    assert_non_null(strstr(message, expected));
    ct_template_output_free(context, &output);
}

static void names_what_it_refuses(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    refused(context, "a\n{{ x|uper }}", "t:2: No filter named 'uper'. Did you mean 'upper'?");
    refused(context, "{{ x is defind }}", "t:1: No test named 'defind'. Did you mean 'defined'?");
    refused(context, "{% if true %}\n{{ x|uper }}{% endif %}", "t:2: No filter named 'uper' found.");
    refused(context, "{% if true %}{{ x is odder }}{% endif %}", "t:1: No test named 'odder' found.");
    refused(context, "\n\n{% include 'x' %}", "t:3: the statement 'include' is not supported");
    refused(context, "{% fro x in y %}", "Encountered unknown tag 'fro'. Did you mean 'for'?");
    refused(context, "{% for x in y recursive %}{% endfor %}", "recursive loops are not supported");
    refused(context, "{{ f(*x) }}", "arguments with * or ** are not supported");
    refused(context, "{% if x %}\n{% for a in b %}", "t:2: Unexpected end of template, expected 'else'");
    refused(context, "{{ 99999999999999999999 }}", "is beyond 64 bits");
    refused(context, "{{ 9223372036854775807 + 1 }}", "an integer beyond 64 bits");
    refused(context, "{{ 'a'.translate({}) }}", "the method translate of str is not supported");
    refused(context, "{{ x\n\n.y }}", "t:3: 'x' is undefined");
    refused(context, "\xff", "not UTF-8");
    ct_context_destroy(context);
}

/* ------------------------------------------------------------------------------------------- bounds */

static char *repeated(const char *begin, const char *middle, int times, const char *end) {
    size_t size = strlen(begin) + strlen(middle) * (size_t)times + strlen(end) + 1;
    char *text = malloc(size), *at = text;
    assert_non_null(text);
    at = stpcpy(at, begin);
    for (int i = 0; i < times; i++)
        at = stpcpy(at, middle);
    stpcpy(at, end);
    return text;
}

static void ends(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    refused(context, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper");
    refused(context, "{% set l = range(100000) %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
            "does not end");
    refused(context, "{% for a in range(100000) %}{% set b = range(100000) %}{% endfor %}",
            "bytes of memory");
    refused(context, "{{ range(100001) }}", "Range too big");
    refused(context,
            "{% set ns = namespace(a='aaaaaaaaaaaaaaaa') %}{% for i in range(100) %}{% set ns.a = ns.a + "
            "ns.a %}{% endfor %}",
            "bytes of memory");
    refused(
        context,
        "{% set ns = namespace(a=[1]) %}{% for i in range(100) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
        "");
    refused(context,
            "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ "
            "ns.a }}",
            "nested deeper");
    refused(context, "{{ 'x' * 99999999999 }}", "does not end");
    refused(context, "{{ 2 ** 99 }}", "beyond 64 bits");
    static const char *const openers[] = {"(",          "[",  "-",  "not ",
                                          "{% if x %}", "x[", "f(", "{% for x in y %}"};
    for (size_t i = 0; i < sizeof(openers) / sizeof(openers[0]); i++) {
        char *text = repeated(openers[i][0] == '{' ? "" : "{{ ", openers[i], 100000, "x }}");
        refused(context, text, "deeper than");
        free(text);
    }
    char *chain = repeated("{{ x", ".x", 100000, " }}"),
         *filters = repeated("{{ x", "|string", 100000, " }}");
    refused(context, chain, "nested deeper");
    refused(context, filters, "nested deeper");
    free(chain);
    free(filters);
    char *sum = repeated("{{ 1", " + 1", 900, " }}"); /* long, not deep beyond the bound */
    ct_template_output output = {0};
    assert_int_equal(render(context, sum, NULL, &output, NULL, 0), CT_OK);
    assert_string_equal(output.text.data, "901");
    free(sum);
    ct_template_output_free(context, &output);
    ct_context_destroy(context);
}

/* -------------------------------------------------------------------------------------------- marks */

/* The rendered text with content in [] and what generation blocks wrote in <>. */
static void spans(ct_context *context, const char *text, const char *variables, const char *expected) {
    ct_value *given = json(context, variables), *trusted = json(context, "{\"bos\": \"<s>\"}");
    ct_template_output output = {0};
    char shown[1024];
    size_t n = 0, at = 0;
    ct_template *parsed = ct_template_parse(context, text, strlen(text), "t");
    assert_non_null(parsed);
    ct_template_options options = {.trusted = trusted, .variables = given};
    assert_int_equal(ct_template_render(parsed, &options, &output), CT_OK);
    for (size_t i = 0; i <= output.span_count; i++) {
        const ct_template_span *s = i < output.span_count ? &output.spans[i] : NULL;
        size_t end = s ? s->start : output.text.length;
        assert_true(at <= end && (!s || (s->start < s->end && s->end <= output.text.length && s->marks)));
        n += (size_t)snprintf(shown + n, sizeof(shown) - n, "%.*s", (int)(end - at), output.text.data + at);
        if (!s) break;
        bool said = s->marks & CT_TEMPLATE_CONTENT, made = s->marks & CT_TEMPLATE_GENERATED;
        n += (size_t)snprintf(shown + n, sizeof(shown) - n, "%s%s%.*s%s%s", made ? "<" : "", said ? "[" : "",
                              (int)(s->end - s->start), output.text.data + s->start, said ? "]" : "",
                              made ? ">" : "");
        at = s->end;
    }
    assert_string_equal(shown, expected);
    ct_template_output_free(context, &output);
    ct_template_destroy(parsed);
    ct_value_free(given);
    ct_value_free(trusted);
}

static void content_stays_content(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    const char *m = "{\"m\": {\"role\": \"user\", \"content\": \" Hi <x> \"}, \"l\": [\"a\", \"b\"], "
                    "\"bad\": {\"role\": \"<|x|>\"}}";
    spans(context, "a{{ m.content }}b", m, "a[ Hi <x> ]b");
    spans(context, "{{ bos + '<' + m.content.strip() + '>' }}", m, "<s><[Hi <x>]>");
    spans(context, "{{ ('<' + m.content + '>')|trim }}", m, "<[ Hi <x> ]>");
    spans(context, "{{ '(' ~ m.content|trim ~ ')' }}", m, "([Hi <x>])");
    spans(context, "{% set a = '<' + m.content|trim + '>' %}{{ a[1:4] }}{{ a[-1] }}{{ a|upper }}", m,
          "[Hi ]>[<HI <X>>]");
    spans(context, "{{ l|join(', ') }}{{ l }}", m, "[a], [b]['[a]', '[b]']");
    spans(context, "{{ 'x y z'.replace('y', m.content|trim) }}", m, "x [Hi <x>] z");
    spans(context, "{{ m|tojson }}", m, "[{\"role\": \"user\", \"content\": \" Hi <x> \"}]");
    spans(context, "{{ {'a': 1}|tojson }}", m, "{\"a\": 1}");
    spans(context, "{% set t %}<{{ m.content|trim }}>{% endset %}{{ t }}{{ t.split('H')[1] }}", m,
          "<[Hi <x>]>[i <x>]>");
    spans(context, "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(m.content|trim) }}{{ f('y') }}", m,
          "<[Hi <x>]><y>");
    spans(context, "{% filter upper %}a{% endfilter %}{% filter trim %} {{ l[0] }}b {% endfilter %}", m,
          "A[a]b");
    spans(context, "{{ '%s-%s' % (l[0], 1) }}{{ '{}+{}'.format(l[0], 'z') }}", m, "[a]-1[a]+z");
    spans(context, "{{ '<|' + m.role + '|>' }}{{ '<|' + bad.role + '|>' }}", m, "<|user|><|[<|x|>]|>");
    spans(context, "{% generation %}x{{ l[0] }}y{% endgeneration %}z{{ l[1] }}", m, "<x><[a]><y>z[b]");
    spans(context, "{% set g %}{% generation %}x{% endgeneration %}q{% endset %}{{ g }}{{ g }}", m,
          "<x>q<x>q");
    spans(context, "{% for k, v in m.items() %}{{ k }}{{ v|trim }}{% endfor %}", m,
          "[role]user[contentHi <x>]");
    spans(context, "{{ l[0] ~ l[1] }}{{ l[0]|e }}{{ l|map('upper')|join }}", m, "[abaAB]");
    spans(context, "{{ '<b>'|e }}{{ m.content|trim|e }}", m, "&lt;b&gt;[Hi &lt;x&gt;]");
    ct_context_destroy(context);
}

static void time_and_reuse(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    const char *text = "{{ strftime_now('%d %b %Y %f%z|') }}{{ n }}";
    ct_template *parsed = ct_template_parse(context, text, strlen(text), "t");
    ct_template_output output = {0};
    setenv("TZ", "UTC", 1);
    for (int i = 0; i < 3; i++) {
        ct_value *variables = json(context, i ? "{\"n\": 5}" : "{\"n\": \"long enough to be cut\"}");
        ct_template_options options = {.variables = variables, .now = 1721908800 + 86400 * i};
        assert_int_equal(ct_template_render(parsed, &options, &output), CT_OK);
        assert_string_equal(output.text.data, i == 0   ? "25 Jul 2024 000000|long enough to be cut"
                                              : i == 1 ? "26 Jul 2024 000000|5"
                                                       : "27 Jul 2024 000000|5");
        assert_int_equal(output.span_count, i == 0);
        ct_value_free(variables);
    }
    ct_template_options tight = {.max_output = 10};
    assert_int_equal(ct_template_render(parsed, &tight, &output), CT_ERROR_FORMAT);
    assert_non_null(strstr(ct_context_message(context), "longer than 10 bytes"));
    assert_int_equal(output.text.length, 0);
    ct_template_output_free(context, &output);
    ct_template_destroy(parsed);
    ct_context_destroy(context);
}

static void memory_runs_out(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *variables = json(context, "{\"l\": [1, 2, {\"a\": \"text\"}], \"s\": \"words and words\"}");
    const char *text =
        "{% macro f(x) %}<{{ x }}>{% endmacro %}{% for i in l %}{% generation %}{{ f(i) }}{% endgeneration %}"
        "{{ s|replace('words', i|string)|upper }}{% endfor %}{{ l|tojson(indent=2) }}{{ "
        "range(3000)|join(',') }}";
    int failures = 0;
    for (int64_t n = 1;; n++) {
        ct_template_output output = {0};
        ct_memory_fail_at(context, n);
        ct_template *parsed = ct_template_parse(context, text, strlen(text), "t");
        ct_status status =
            parsed ? ct_template_render(parsed, &(ct_template_options){.variables = variables}, &output)
                   : ct_context_status(context);
        ct_memory_fail_at(context, 0);
        ct_template_destroy(parsed);
        ct_template_output_free(context, &output);
        if (status == CT_OK) break;
        assert_int_equal(status, CT_ERROR_MEMORY);
        ct_context_clear(context);
        failures++;
    }
    assert_true(failures > 8);
    ct_value_free(variables);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_jinja_has_it),
        cmocka_unit_test(names_what_it_refuses),
        cmocka_unit_test(ends),
        cmocka_unit_test(content_stays_content),
        cmocka_unit_test(time_and_reuse),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
