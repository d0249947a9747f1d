/* fuzz_template.c - any text as a template, with variables as JSON behind a NUL or fixed ones: it ends within
 * its bounds, twice with the same result; the spans are in order; and a character that only the variables
 * have is content wherever it comes out. */
#define _GNU_SOURCE /* memmem */
#include "fuzz.h"
#include "carat/format.h"
#include "carat/template.h"
#include <string.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{% for m in messages %}<|{{ m.role }}|>{{ m['content']|trim }}{% if not loop.last %}\n{% "
              "endif %}{% endfor %}"),
    FUZZ_SEED("{%- set ns = namespace(a=1) -%}{% macro f(x, y=2) %}{{ x ~ y }}{{ caller() }}{% endmacro %}"
              "{% call f(1) %}{% generation %}{{ n }}{% endgeneration %}{% endcall %}"),
    FUZZ_SEED("{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join(', ')|upper }}"
              "{{ s[1:-1:2] }}{{ '%5s' % s }}{{ '{:>5}'.format(s) }}{{ s.split('a')|tojson(indent=2) }}"),
    FUZZ_SEED("{% filter upper %}{% set x %}{{ s|replace('a', n) }}{% endset %}{{ x }}{% endfilter %}{# c "
              "#}{% raw %}{{{% endraw %}"),
    FUZZ_SEED("{{ s.title()|e }}{{ [1, {'a': s}, (2.5, none)] }}{{ range(3)|list|sort(reverse=true) }}{{ 7 "
              "// 2 ** 3 % 4 }}\0"
              "{\"s\": \"xy\", \"messages\": [{\"role\": \"user\"}], \"n\": 5}"),
    {NULL, 0}};
const char *const fuzz_words[] = {"{{ ",
                                  " }}",
                                  "{% ",
                                  " %}",
                                  "{%- ",
                                  " -%}",
                                  "{# ",
                                  " #}",
                                  "{% if s %}",
                                  "{% else %}",
                                  "{% endif %}",
                                  "{% for x in l %}",
                                  "{% endfor %}",
                                  "{% set x = ",
                                  "{% endset %}",
                                  "{% macro f(a) %}",
                                  "{% endmacro %}",
                                  "f(",
                                  "|join",
                                  "|tojson",
                                  "|map('upper')",
                                  "|replace('a','b')",
                                  ".split()",
                                  ".items()",
                                  "[::-1]",
                                  "[1:]",
                                  " in ",
                                  " is ",
                                  "not ",
                                  " and ",
                                  " ~ ",
                                  " + ",
                                  " * 9",
                                  "messages",
                                  "m.content",
                                  "loop.index",
                                  "s",
                                  "l",
                                  "d",
                                  "n",
                                  "'a'",
                                  "\"",
                                  "1",
                                  "2.5",
                                  "none",
                                  "(",
                                  ")",
                                  "[",
                                  "]",
                                  "{",
                                  "}",
                                  ",",
                                  ":",
                                  "{% generation %}",
                                  "{% endgeneration %}",
                                  "{% break %}",
                                  "|trim",
                                  "|indent",
                                  "\n",
                                  "  ",
                                  NULL};

/* U+10FFFD, which nothing makes of anything else. */
static const char sentinel[] = "\xf4\x8f\xbf\xbd";
static const char fixed[] =
    "{\"s\": \"a\xf4\x8f\xbf\xbd b\", \"n\": 3, \"l\": [1, \"\xf4\x8f\xbf\xbd\", null, 2.5, true], \"d\": "
    "{\"k\": \"v\xf4\x8f\xbf\xbd\", "
    "\"\xf4\x8f\xbf\xbd\": [1]}, \"messages\": [{\"role\": \"user\", \"content\": \" \xf4\x8f\xbf\xbd<|x|> "
    "\"}, "
    "{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"\xf4\x8f\xbf\xbd\"}]}]}";

static void check_spans(const ct_template_output *out, bool content) {
    size_t at = 0;
    for (size_t i = 0; i < out->span_count; i++) {
        const ct_template_span *s = &out->spans[i];
        FUZZ_CHECK(s->start >= at && s->start < s->end && s->end <= out->text.length && s->marks &&
                   s->marks < 4);
        at = s->end;
    }
    size_t span = 0;
    for (size_t i = 0; content && i + 4 <= out->text.length; i++) {
        if (memcmp(out->text.data + i, sentinel, 4) != 0) continue;
        while (span < out->span_count && out->spans[span].end <= i)
            span++;
        FUZZ_CHECK(span < out->span_count && out->spans[span].start <= i &&
                   out->spans[span].marks & CT_TEMPLATE_CONTENT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ct_context *context;
    const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
    size_t length = end ? (size_t)(end - text) : size;
    if (!context) context = ct_context_create(1);
    ct_value *given = end ? ct_json_parse(context, end + 1, size - length - 1, "fuzz") : NULL;
    ct_context_clear(context);
    if (!given) given = ct_json_parse(context, fixed, sizeof(fixed) - 1, "fixed");
    ct_template *parsed = ct_template_parse(context, text, length, "fuzz");
    FUZZ_CHECK(!parsed == ct_failed(context));
    const ct_template_options options = {
        .variables = given, .now = 1, .max_steps = 20000, .max_output = 1 << 16, .max_memory = 4 << 20};
    ct_template_output first = {0}, second = {0};
    if (parsed) {
        ct_status status = ct_template_render(parsed, &options, &first);
        FUZZ_CHECK((status == CT_OK) == !ct_failed(context) && first.text.length <= 1 << 16);
        check_spans(&first, !memchr(text, '\\', length) && !memmem(text, length, sentinel, 4));
        ct_context_clear(context);
        FUZZ_CHECK(ct_template_render(parsed, &options, &second) == status);
        FUZZ_CHECK(first.text.length == second.text.length && first.span_count == second.span_count);
        FUZZ_CHECK(!first.text.length || memcmp(first.text.data, second.text.data, first.text.length) == 0);
    }
    ct_context_clear(context);
    ct_template_output_free(context, &first);
    ct_template_output_free(context, &second);
    ct_template_destroy(parsed);
    ct_value_free(given);
    return 0;
}
