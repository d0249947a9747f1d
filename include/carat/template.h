/* template.h - the Jinja template language as Hugging Face chat templates use it: parse once, render often.
 *
 * What is rendered is equal, byte for byte, to Jinja2 in the sandbox that transformers sets up (trim_blocks,
 * lstrip_blocks, loop controls, `generation` blocks, tojson without escapes of HTML). docs/templates.md lists
 * the language. Statements, filters and tests that are not known are refused when the template is parsed,
 * with name and line. Conversations are in chat.h. */
#ifndef CARAT_TEMPLATE_H
#define CARAT_TEMPLATE_H

#include "base.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_template ct_template;

/* `name` begins messages ("chat_template.jinja:12: ..."). The text must be UTF-8 and is copied. NULL on
 * error. */
ct_template *ct_template_parse(ct_context *context, const char *text, size_t length, const char *name);
void ct_template_destroy(ct_template *parsed); /* NULL is allowed */
/* Whether the template has the name of a variable anywhere ("tools"), and whether it has `generation` blocks.
 */
bool ct_template_mentions(const ct_template *parsed, const char *name);
bool ct_template_has_generation(const ct_template *parsed);
/* The template's text as it was given. */
const char *ct_template_text(const ct_template *parsed, size_t *length);

/* What stands in a range of the rendered text. A sum of: */
typedef enum ct_template_mark {
    CT_TEMPLATE_CONTENT =
        1, /* came from `variables`: somebody said it; it must never become a special token */
    CT_TEMPLATE_GENERATED = 2 /* written within {% generation %} ... {% endgeneration %} */
} ct_template_mark;
typedef struct ct_template_span {
    size_t start, end; /* bytes of the text */
    unsigned marks;
} ct_template_span;

typedef struct ct_template_variable {
    const char *name;
    const ct_value *value; /* NULL: none */
    size_t limit;          /* of a list only the first items; 0: all */
} ct_template_variable;

typedef struct ct_template_options {
    const ct_value *trusted; /* map: variables whose texts are the template's own (bos_token); may be NULL */
    const ct_value *variables; /* map: the others; every text in them is content, but for a "role" that is one
                                * plain word: templates make special tokens of it. */
    const ct_template_variable *more; /* as in `variables`; of equal names the later counts */
    size_t more_count;
    int64_t now;        /* seconds since 1970 that strftime_now shows, in local time; 0: the clock */
    int64_t max_steps;  /* 0: 50 million; evaluations and bytes moved */
    int64_t max_output; /* bytes; 0: 256 MiB */
    int64_t max_memory; /* bytes besides the output; 0: 256 MiB */
} ct_template_options;

typedef struct ct_template_output { /* start with {0}; a rendering replaces what is there and reuses its
                                       memory */
    ct_bytes text;
    ct_template_span *spans; /* ascending, not empty, not overlapping; bytes in none are the template's own */
    size_t span_count, span_capacity;
} ct_template_output;
void ct_template_output_free(ct_context *context, ct_template_output *output);

/* What the template refuses itself (raise_exception) is CT_ERROR_FORMAT with its message behind name and
 * line. The values must not change meanwhile. */
ct_status ct_template_render(const ct_template *parsed, const ct_template_options *options,
                             ct_template_output *output);

#ifdef __cplusplus
}
#endif
#endif
