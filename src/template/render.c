/* render.c - one rendering from its variables to its text, and the bounds that it keeps. */
#include "template/node.h"
#include <string.h>

enum { DEFAULT_STEPS = 50000000, DEFAULT_BYTES = 256 << 20 };

bool ct_jinja_fail(jinja_render *r, const char *format, ...) {
    char text[2000];
    va_list arguments;
    r->failed = true;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ct_fail(r->context, CT_ERROR_FORMAT, "%s:%u: %s", r->parsed->label, (unsigned)r->line, text);
    return false;
}

bool ct_jinja_out_of_steps(jinja_render *r) {
    int64_t most = r->options->max_steps > 0 ? r->options->max_steps : DEFAULT_STEPS;
    return ct_jinja_fail(r, "the template does not end: more than %lld steps", (long long)most);
}

bool ct_jinja_too_deep(jinja_render *r) {
    r->depth--;
    return ct_jinja_fail(r, "evaluation or values nested deeper than %d levels (a macro that calls itself?)",
                         JINJA_DEPTH);
}

/* ----------------------------------------------------------------------------------------- variables */

static bool set_globals(jinja_render *r, const ct_value *map, unsigned marks) {
    const ct_template *t = r->parsed;
    for (size_t i = 0; i < ct_value_count(map); i++) {
        const char *key = ct_value_key(map, i);
        int64_t number = key ? ct_jinja_name_number(t, key, strlen(key)) : -1;
        if (number >= 0 && !ct_jinja_convert(r, ct_value_at(map, i), marks, 0, &r->globals[number]))
            return false;
    }
    return true;
}

static bool set_variable(jinja_render *r, const ct_template_variable *v) {
    int64_t number = ct_jinja_name_number(r->parsed, v->name, strlen(v->name));
    if (number < 0) return true;
    return ct_jinja_convert_some(r, v->value, v->limit, CT_TEMPLATE_CONTENT, &r->globals[number]);
}

static bool set_up(jinja_render *r) {
    const ct_template *t = r->parsed;
    r->globals = ct_jinja_take(&r->arena, (t->name_count + 1) * sizeof(*r->globals));
    r->frame = ct_jinja_take(&r->arena, sizeof(*r->frame));
    jinja_value *slots = ct_jinja_take(&r->arena, (t->main->slots + 1) * sizeof(*slots));
    if (!r->globals || !r->frame || !slots) return !(r->failed = true);
    for (uint32_t i = 0; i < t->name_count; i++)
        r->globals[i] = t->functions[i] < 0
                            ? (jinja_value){.kind = JINJA_MISSING}
                            : (jinja_value){.kind = JINJA_FUNCTION, .function = t->functions[i]};
    memset(slots, 0, t->main->slots * sizeof(*slots));
    *r->frame = (jinja_frame){NULL, slots};
    if (!set_globals(r, r->options->trusted, 0) ||
        !set_globals(r, r->options->variables, CT_TEMPLATE_CONTENT))
        return false;
    for (size_t i = 0; i < r->options->more_count; i++)
        if (!set_variable(r, &r->options->more[i])) return false;
    return true;
}

void ct_template_output_free(ct_context *context, ct_template_output *output) {
    ct_bytes_free(context, &output->text);
    ct_free(context, output->spans);
    *output = (ct_template_output){0};
}

ct_status ct_template_render(const ct_template *parsed, const ct_template_options *options,
                             ct_template_output *output) {
    ct_context *context = parsed->context;
    const ct_template_options none = {0};
    if (ct_failed(context)) return ct_context_status(context);
    if (!options) options = &none;
    jinja_render r = {.context = context, .parsed = parsed, .options = options, .out = output, .line = 1};
    r.steps = options->max_steps > 0 ? (uint64_t)options->max_steps : DEFAULT_STEPS;
    r.most_output = options->max_output > 0 ? (size_t)options->max_output : DEFAULT_BYTES;
    if (r.most_output > UINT32_MAX / 2)
        r.most_output = UINT32_MAX / 2; /* lengths of strings are 32 bits wide */
    r.arena = (jinja_arena){.context = context,
                            .most = options->max_memory > 0 ? (size_t)options->max_memory : DEFAULT_BYTES};
    output->text.length = 0;
    output->span_count = 0;
    if (set_up(&r)) ct_jinja_run(&r, parsed->main->body);
    if (!ct_failed(context)) ct_bytes_append(context, &output->text, "", 0);
    ct_jinja_arena_free(&r.arena);
    if (ct_failed(context)) {
        output->text.length = 0;
        output->span_count = 0;
    }
    return ct_context_status(context);
}
