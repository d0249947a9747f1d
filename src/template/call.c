/* call.c - calls: binding of arguments, macros, methods. */
#include "template/node.h"
#include <string.h>

/* ------------------------------------------------------------------------------------------- binding */

/* Which word of the signature a keyword is; -1: none. */
static int word_of(const char *signature, const jinja_value *name) {
    int at = 0;
    for (const char *s = signature; *s; at++) {
        size_t length = strcspn(s, " ");
        if (length == name->length && memcmp(s, name->text, length) == 0) return at;
        s += length;
        s += *s == ' ';
    }
    return -1;
}

static int words_in(const char *signature) {
    int count = *signature != '\0';
    for (const char *s = signature; *s; s++)
        count += *s == ' ';
    return count;
}

bool ct_jinja_bind(jinja_render *r, const char *what, const char *signature, int required,
                   const jinja_arguments *arguments, jinja_value *out) {
    int words = words_in(signature);
    for (int i = 0; i < words; i++)
        out[i] = (jinja_value){.kind = JINJA_MISSING};
    if (arguments->count > (uint32_t)words)
        return ct_jinja_fail(r, "%s takes at most %d argument%s (%u given)", what, words,
                             words == 1 ? "" : "s", arguments->count);
    for (uint32_t i = 0; i < arguments->count; i++)
        out[i] = arguments->values[i];
    for (uint32_t k = 0; k < arguments->named; k++) {
        const jinja_value *name = &arguments->names[k];
        int at = word_of(signature, name);
        if (at < 0)
            return ct_jinja_fail(r, "%s got an unexpected keyword argument '%.*s'", what, (int)name->length,
                                 name->text);
        if (out[at].kind != JINJA_MISSING)
            return ct_jinja_fail(r, "%s got multiple values for argument '%.*s'", what, (int)name->length,
                                 name->text);
        out[at] = arguments->values[arguments->count + k];
    }
    for (int i = 0; i < required; i++)
        if (out[i].kind == JINJA_MISSING)
            return ct_jinja_fail(r, "%s misses argument %d of \"%s\"", what, i + 1, signature);
    return true;
}

bool ct_jinja_integer_of(jinja_render *r, const char *what, const jinja_value *v, int64_t otherwise,
                         int64_t *out) {
    *out = otherwise;
    if (v->kind == JINJA_MISSING) return true;
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return ct_jinja_fail(r, "%s: '%s' object cannot be interpreted as an integer", what,
                             ct_jinja_type(v));
    *out = jinja_integer(v);
    return true;
}

/* --------------------------------------------------------------------------------------------- macros */

/* Keywords that name parameters go there; `caller` to its place; the others to kwargs. */
static bool bind_keywords(jinja_render *r, const jinja_function *f, const jinja_arguments *arguments,
                          jinja_value *slots) {
    jinja_dict *others = f->kwargs >= 0 ? ct_jinja_dict(r, arguments->named) : NULL;
    if (f->kwargs >= 0 && !others) return false;
    for (uint32_t k = 0; k < arguments->named; k++) {
        const jinja_value *name = &arguments->names[k], *value = &arguments->values[arguments->count + k];
        const jinja_node *parameter = f->parameters;
        uint32_t at = 0;
        while (parameter && !(parameter->name->length == name->length &&
                              memcmp(parameter->name->text, name->text, name->length) == 0)) {
            parameter = parameter->next;
            at++;
        }
        if (parameter && at < arguments->count)
            return ct_jinja_fail(r, "macro '%s' got multiple values for argument '%.*s'", f->name->text,
                                 (int)name->length, name->text);
        if (parameter)
            slots[parameter->places.list[0].slot] = *value;
        else if (f->caller >= 0 && ct_jinja_is(name, "caller"))
            slots[f->scope->first + (uint32_t)f->caller] = *value;
        else if (!others)
            return ct_jinja_fail(r, "macro '%s' takes no keyword argument '%.*s'", f->name->text,
                                 (int)name->length, name->text);
        else if (!ct_jinja_dict_set(r, others, name, value))
            return false;
    }
    if (others)
        slots[f->scope->first + (uint32_t)f->kwargs] = (jinja_value){.kind = JINJA_DICT, .dict = others};
    return true;
}

static bool bind_positional(jinja_render *r, const jinja_function *f, const jinja_arguments *arguments,
                            jinja_value *slots) {
    uint32_t at = 0;
    for (const jinja_node *n = f->parameters; n && at < arguments->count; n = n->next)
        slots[n->places.list[0].slot] = arguments->values[at++];
    uint32_t rest = arguments->count - at;
    if (rest && f->varargs < 0)
        return ct_jinja_fail(r, "macro '%s' takes not more than %u argument(s)", f->name->text,
                             f->parameter_count);
    if (f->varargs < 0) return true;
    jinja_list *list = ct_jinja_list(r, rest);
    if (!list) return false;
    if (rest) memcpy(list->items, arguments->values + at, rest * sizeof(*list->items));
    slots[f->scope->first + (uint32_t)f->varargs] = (jinja_value){.kind = JINJA_TUPLE, .list = list};
    return true;
}

/* Defaults are evaluated within the macro, in order, so that they see the parameters before them. */
static bool fill_defaults(jinja_render *r, const jinja_function *f) {
    for (const jinja_node *n = f->parameters; n; n = n->next) {
        jinja_value *slot = &r->frame->slots[n->places.list[0].slot], value;
        if (slot->kind != JINJA_MISSING) continue;
        if (n->a) {
            if (!ct_jinja_evaluate(r, n->a, &value)) return false;
        } else {
            value = ct_jinja_undefined(r, "parameter '%s' was not provided", n->name->text);
        }
        *slot = value;
    }
    if (f->caller >= 0 && r->frame->slots[f->scope->first + (uint32_t)f->caller].kind == JINJA_MISSING)
        r->frame->slots[f->scope->first + (uint32_t)f->caller] = ct_jinja_undefined(r, "No caller defined");
    return !r->failed;
}

bool ct_jinja_call_macro(jinja_render *r, const jinja_macro *macro, const jinja_arguments *arguments,
                         jinja_value *out) {
    const jinja_function *f = macro->function;
    jinja_frame *frame = ct_jinja_take(&r->arena, sizeof(*frame)), *before = r->frame;
    jinja_value *slots = ct_jinja_take(&r->arena, (f->slots + 1) * sizeof(*slots));
    if (!frame || !slots) return !(r->failed = true);
    if (!jinja_work(r, f->slots) || !jinja_enter(r)) return false;
    memset(slots, 0, f->slots * sizeof(*slots));
    if (!bind_positional(r, f, arguments, slots) || !bind_keywords(r, f, arguments, slots)) return false;
    *frame = (jinja_frame){macro->frame, slots};
    r->frame = frame;
    jinja_capture capture = ct_jinja_begin(r);
    bool fine =
        fill_defaults(r, f) && ct_jinja_run(r, f->body) != FLOW_FAILED && ct_jinja_end(r, capture, out);
    r->frame = before;
    r->depth--;
    return fine;
}

/* ---------------------------------------------------------------------------------------------- calls */

/* loop.cycle(...) and loop.changed(...). */
static bool call_loop(jinja_render *r, const jinja_method *method, const jinja_arguments *arguments,
                      jinja_value *out) {
    jinja_loop *loop = method->self.loop;
    bool same = false;
    if (arguments->named) return ct_jinja_fail(r, "methods of loop take no keyword arguments");
    if (method->id == -1) {
        if (!arguments->count) return ct_jinja_fail(r, "no items for cycling given");
        *out = arguments->values[loop->index % arguments->count];
        return true;
    }
    jinja_list *list = ct_jinja_list(r, arguments->count);
    if (!list) return false;
    if (arguments->count) memcpy(list->items, arguments->values, arguments->count * sizeof(*list->items));
    const jinja_value now = {.kind = JINJA_TUPLE, .list = list};
    if (loop->changed.kind == JINJA_TUPLE && !ct_jinja_equal(r, &loop->changed, &now, &same)) return false;
    loop->changed = now;
    *out = jinja_bool(!same);
    return true;
}

bool ct_jinja_call_method(jinja_render *r, const jinja_method *method, const jinja_arguments *arguments,
                          jinja_value *out) {
    switch (method->self.kind) {
    case JINJA_STRING:
        return ct_jinja_call_text(r, &method->self, method->id, arguments, out);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return ct_jinja_call_list(r, &method->self, method->id, arguments, out);
    case JINJA_LOOP:
        return call_loop(r, method, arguments, out);
    default:
        return ct_jinja_call_dict(r, &method->self, method->id, arguments, out);
    }
}

/* Cyclers give their items in turn; joiners nothing at first, then their separator. */
static bool call_cycler(jinja_render *r, const jinja_value *callee, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_cycler *c = callee->cycler;
    if (arguments->count || arguments->named)
        return ct_jinja_fail(r, "%s takes no arguments", ct_jinja_type(callee));
    if (callee->kind == JINJA_CYCLER) {
        *out = c->items->items[c->at];
        c->at = (c->at + 1) % c->items->count;
    } else {
        *out = c->at ? c->items->items[0] : jinja_text("", 0);
        c->at = 1;
    }
    return true;
}

bool ct_jinja_call(jinja_render *r, const jinja_value *callee, const jinja_arguments *arguments,
                   jinja_value *out) {
    switch (callee->kind) {
    case JINJA_MACRO:
        return ct_jinja_call_macro(r, callee->macro, arguments, out);
    case JINJA_METHOD:
        return ct_jinja_call_method(r, callee->method, arguments, out);
    case JINJA_FUNCTION:
        return ct_jinja_call_function(r, callee->function, arguments, out);
    case JINJA_CYCLER:
    case JINJA_JOINER:
        return call_cycler(r, callee, arguments, out);
    case JINJA_LOOP:
        return ct_jinja_fail(r, "calls of loop (recursive loops) are not supported");
    case JINJA_UNDEFINED:
        return ct_jinja_fail(r, "%s", callee->text);
    default:
        return ct_jinja_fail(r, "'%s' object is not callable", ct_jinja_type(callee));
    }
}
