/* describe.c - one method as a value for tools and as text for people: `carat show` and docs/methods say the
 * same because both are made here. */
#include "method/describe.h"
#include "base/options_internal.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

static ct_value *text_or_null(ct_context *context, const char *text) {
    return text ? ct_value_string(context, text) : ct_value_null(context);
}

const char *ct_method_task(const ct_kind *kind, const ct_method *method) {
    return method->task ? method->task : kind && kind->task ? kind->task : "";
}

/* The kind's command with the name in place of every %s. */
char *ct_method_example(ct_context *context, const ct_method *method) {
    const ct_kind *kind = ct_method_kind(context, method);
    if (method->example) return ct_strdup(context, method->example);
    if (!kind || !kind->example || method->unavailable) return NULL;
    ct_text text = ct_text_start(context);
    const char *from = kind->example;
    for (const char *mark; (mark = strstr(from, "%s")); from = mark + 2) {
        ct_text_append(&text, from, (size_t)(mark - from));
        ct_text_append(&text, method->name, strlen(method->name));
    }
    ct_text_append(&text, from, strlen(from));
    return ct_text_take(&text);
}

/* ----------------------------------------------------------------------------------------- values ----- */

static const char *type_name(ct_option_type type) {
    static const char *const names[] = {"",       "bool",  "integer", "real", "string",
                                        "choice", "bytes", "value",   "group"};
    return names[type];
}

static ct_value *default_of(ct_context *context, const ct_option *o) {
    switch (o->type) {
    case CT_TYPE_BOOL:
        return ct_value_bool(context, o->real_default != 0);
    case CT_TYPE_INT:
    case CT_TYPE_BYTES:
        return ct_value_int(context, ct_real_to_int(o->real_default));
    case CT_TYPE_REAL:
        return ct_value_real(context, o->real_default);
    case CT_TYPE_STRING:
    case CT_TYPE_CHOICE:
        return text_or_null(context, o->text_default);
    default:
        return ct_value_null(context);
    }
}

static ct_value *option_to_value(ct_context *context, const ct_option *o) {
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "type", ct_value_string(context, type_name(o->type)));
    ct_value_set(map, "default", default_of(context, o));
    if (o->type == CT_TYPE_INT || o->type == CT_TYPE_REAL || o->type == CT_TYPE_BYTES) {
        ct_value_set(map, "minimum", ct_value_real(context, o->minimum));
        ct_value_set(map, "maximum", ct_value_real(context, o->maximum));
    }
    if (o->type == CT_TYPE_CHOICE) {
        ct_value *list = ct_value_list(context);
        for (int i = 0; o->choices[i]; i++)
            ct_value_append(list, ct_value_string(context, o->choices[i]));
        ct_value_set(map, "choices", list);
    }
    if (o->alias) ct_value_set(map, "alias", ct_value_string(context, o->alias));
    ct_value_set(map, "help", ct_value_string(context, o->help ? o->help : ""));
    return map;
}

/* Options of groups stand under their dotted names. */
void ct_options_describe(ct_context *context, const ct_option *table, const char *prefix, ct_value *map) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        char name[256];
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", o->name);
        if (o->type == CT_TYPE_GROUP)
            ct_options_describe(context, o->children, name, map);
        else
            ct_value_set(map, name, option_to_value(context, o));
    }
}

static ct_value *hooks_to_value(ct_context *context, unsigned uses) {
    ct_value *list = ct_value_list(context);
    const ct_hook_description *hook;
    for (size_t i = 0; (hook = ct_hook_at(i)); i++)
        if (uses & (unsigned)hook->hook) ct_value_append(list, ct_value_string(context, hook->name));
    return list;
}

static ct_value *conflicts_to_value(ct_context *context, const ct_method *method) {
    ct_value *map = ct_value_map(context);
    for (const ct_method_conflict *c = method->conflicts; c && c->with; c++)
        ct_value_set(map, c->with, ct_value_string(context, c->why));
    return map;
}

ct_value *ct_method_to_value(ct_context *context, const ct_method *method) {
    const ct_kind *kind = ct_method_kind(context, method);
    ct_value *map = ct_value_map(context), *options = ct_value_map(context);
    ct_value_set(map, "kind", text_or_null(context, kind ? kind->name : NULL));
    ct_value_set(map, "name", ct_value_string(context, method->name));
    ct_value_set(map, "title", ct_value_string(context, method->title));
    ct_value_set(map, "paper", text_or_null(context, method->paper.id));
    ct_value_set(map, "citation", text_or_null(context, method->paper.citation));
    ct_value_set(map, "summary", ct_value_string(context, method->summary));
    ct_value_set(map, "task", ct_value_string(context, ct_method_task(kind, method)));
    ct_value_set(map, "available", ct_value_bool(context, !method->unavailable));
    if (method->unavailable) ct_value_set(map, "unavailable", ct_value_string(context, method->unavailable));
    ct_value_set(map, "plugin", text_or_null(context, ct_method_plugin(context, method)));
    ct_options_describe(context, method->options, "", options);
    ct_value_set(map, "options", options);
    if (kind && kind->shared_options) {
        ct_value *shared = ct_value_map(context);
        ct_options_describe(context, kind->shared_options, "", shared);
        ct_value_set(map, "shared_options", shared);
    }
    ct_value_set(map, "options_key", text_or_null(context, kind ? kind->key : NULL));
    ct_value_set(map, "uses", hooks_to_value(context, method->uses | (kind ? kind->uses : 0)));
    ct_value_set(map, "conflicts", conflicts_to_value(context, method));
    ct_value_set(map, "claims", ct_method_claims(context, kind, method));
    char *example = ct_method_example(context, method);
    ct_value_set(map, "example", text_or_null(context, example));
    ct_free(context, example);
    if (!ct_failed(context)) return map;
    ct_value_free(map);
    return NULL;
}

/* ------------------------------------------------------------------------------------------- text ----- */

/* "(default 0.9; range 0..1; also b1)", or nothing. */
static void option_notes(ct_text *text, const ct_option *o) {
    char preset[128], range[128];
    const char *between = " (";
    if (*ct_option_default_text(o, preset, sizeof(preset))) {
        ct_text_printf(text, "%sdefault %s", between, preset);
        between = "; ";
    }
    if (*ct_option_range_text(o, range, sizeof(range))) {
        ct_text_printf(text, "%srange %s", between, range);
        between = "; ";
    }
    if (o->alias) {
        ct_text_printf(text, "%salso %s", between, o->alias);
        between = "; ";
    }
    if (*between == ';') ct_text_printf(text, ")");
}

static void option_lines(ct_text *text, const ct_option *table, const char *prefix) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        char name[256], type[512], left[800];
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", o->name);
        if (o->type == CT_TYPE_GROUP) {
            option_lines(text, o->children, name);
            continue;
        }
        snprintf(left, sizeof(left), "%s %s", name, ct_option_type_text(o, type, sizeof(type)));
        ct_text_printf(text, "  %-30s %s", left, o->help ? o->help : "");
        option_notes(text, o);
        ct_text_printf(text, "\n");
    }
}

static const char *string(const ct_value *map, const char *key) {
    return ct_value_as_string(ct_value_get(map, key), "");
}

/* "accuracy, A - B, points: 0.43 (at least 0.3, margin 0.13, 95 % interval 0.4 to 0.46)". */
char *ct_claim_check_line(ct_context *context, const ct_value *check) {
    ct_text text = ct_text_start(context);
    const ct_value *interval = ct_value_get(check, "interval"), *low = ct_value_get(interval, "low");
    ct_text_printf(&text, "%s: %.4g (%s %.4g, margin %.4g", string(check, "what"),
                   ct_value_as_real(ct_value_get(check, "measured"), NAN), string(check, "relation"),
                   ct_value_as_real(ct_value_get(check, "bound"), NAN),
                   ct_value_as_real(ct_value_get(check, "margin"), NAN));
    if (low && ct_value_kind_of(low) != CT_VALUE_NULL)
        ct_text_printf(&text, ", %.0f %% interval %.4g to %.4g",
                       100 * ct_value_as_real(ct_value_get(interval, "confidence"), NAN),
                       ct_value_as_real(low, NAN), ct_value_as_real(ct_value_get(interval, "high"), NAN));
    ct_text_printf(&text, ")");
    return ct_text_take(&text);
}

static void claim_lines(ct_text *text, const ct_value *claims) {
    if (!ct_value_count(claims)) ct_text_printf(text, "Claim: none recorded\n");
    for (size_t i = 0; i < ct_value_count(claims); i++) {
        const ct_value *claim = ct_value_at(claims, i), *checks = ct_value_get(claim, "checks");
        ct_text_printf(text, "\nClaim %s: %s\n", string(claim, "name"), string(claim, "claim"));
        if (*string(claim, "reported")) ct_text_printf(text, "  reported: %s\n", string(claim, "reported"));
        ct_text_printf(text, "  %s", string(claim, "verdict"));
        if (*string(claim, "reason"))
            ct_text_printf(text, ": %s", string(claim, "reason"));
        else
            ct_text_printf(text, ", %zu seeds", ct_value_count(ct_value_get(claim, "seeds")));
        ct_text_printf(text, "\n");
        for (size_t c = 0; c < ct_value_count(checks); c++) {
            char *line = ct_claim_check_line(text->context, ct_value_at(checks, c));
            bool holds = ct_value_as_bool(ct_value_get(ct_value_at(checks, c), "holds"), false);
            ct_text_printf(text, "  %s %s\n", holds ? "holds:" : "DOES NOT HOLD:", line ? line : "");
            ct_free(text->context, line);
        }
    }
}

static void hook_words(ct_text *text, unsigned uses) {
    const ct_hook_description *hook;
    const char *between = "";
    for (size_t i = 0; (hook = ct_hook_at(i)); i++)
        if (uses & (unsigned)hook->hook) {
            ct_text_printf(text, "%s%s (%s)", between, hook->name, hook->meaning);
            between = ", ";
        }
    if (!*between) ct_text_printf(text, "none");
}

/* "arXiv:1711.05101, Loshchilov & Hutter, ICLR 2019", as much of it as there is. */
static void paper_line(ct_text *text, const ct_method *method) {
    const char *id = method->paper.id ? method->paper.id : "";
    const char *citation = method->paper.citation ? method->paper.citation : "";
    if (*id || *citation) ct_text_printf(text, "%s%s%s\n", id, *id && *citation ? ", " : "", citation);
}

char *ct_method_to_text(ct_context *context, const ct_method *method) {
    const ct_kind *kind = ct_method_kind(context, method);
    const char *plugin = ct_method_plugin(context, method);
    ct_text text = ct_text_start(context);
    ct_text_printf(&text, "%s (%s%s%s)\n", method->title, kind ? kind->name : "method",
                   plugin ? ", from plug-in " : "", plugin ? plugin : "");
    paper_line(&text, method);
    ct_text_printf(&text, "\n%s\n", method->summary);
    if (method->unavailable) ct_text_printf(&text, "\nnot available: %s\n", method->unavailable);
    if (method->options && method->options->type != CT_TYPE_END) {
        ct_text_printf(&text, "\nOptions%s%s%s:\n", kind && kind->key ? " (in a recipe under \"" : "",
                       kind && kind->key ? kind->key : "", kind && kind->key ? "\")" : "");
        option_lines(&text, method->options, "");
    }
    if (kind && kind->shared_options) {
        ct_text_printf(&text, "\nOptions of every %s:\n", kind->name);
        option_lines(&text, kind->shared_options, "");
    }
    ct_text_printf(&text, "\nTask:  %s\nHooks: ", ct_method_task(kind, method));
    hook_words(&text, method->uses | (kind ? kind->uses : 0));
    ct_text_printf(&text, "\n");
    for (const ct_method_conflict *c = method->conflicts; c && c->with; c++)
        ct_text_printf(&text, "Not with %s: %s\n", c->with, c->why);
    ct_value *claims = ct_method_claims(context, kind, method);
    claim_lines(&text, claims);
    ct_value_free(claims);
    char *example = ct_method_example(context, method);
    if (example) ct_text_printf(&text, "\nExample:\n  %s\n", example);
    ct_free(context, example);
    if (!ct_failed(context)) return ct_text_take(&text);
    ct_text_drop(&text);
    return NULL;
}
