/* evaluate.c - the values of expressions. */
#include "template/node.h"
#include <string.h>

static bool lookup(jinja_render *r, const jinja_node *node, jinja_value *out) {
    for (uint32_t i = 0; i < node->places.count; i++) {
        const jinja_frame *frame = r->frame;
        for (uint32_t up = node->places.list[i].up; up > 0; up--)
            frame = frame->outer;
        const jinja_value *v = &frame->slots[node->places.list[i].slot];
        if (v->kind != JINJA_MISSING) {
            *out = *v;
            return true;
        }
    }
    *out = r->globals[node->name->number];
    if (out->kind != JINJA_MISSING) return true;
    r->line = node->line;
    *out = ct_jinja_undefined(r, "'%s' is undefined", node->name->text);
    return !r->failed;
}

bool ct_jinja_gather(jinja_render *r, const jinja_node *node, jinja_arguments *arguments) {
    uint32_t total = node->count + node->named, i = 0;
    *arguments = (jinja_arguments){.count = node->count, .named = node->named, .names = node->keyword_names};
    if (!total) return true;
    jinja_value *values = ct_jinja_take(&r->arena, total * sizeof(*values));
    if (!values) return !(r->failed = true);
    for (const jinja_node *n = node->b; n; n = n->next)
        if (!ct_jinja_evaluate(r, n->kind == NODE_KEYWORD ? n->a : n, &values[i++])) return false;
    arguments->values = values;
    return true;
}

bool ct_jinja_apply_filter(jinja_render *r, const jinja_node *node, const jinja_value *input,
                           jinja_value *out) {
    jinja_arguments arguments;
    jinja_value inner = *input;
    if (!jinja_enter(r)) return false;
    if (node->a && !(node->a->kind == NODE_FILTER ? ct_jinja_apply_filter(r, node->a, input, &inner)
                                                  : ct_jinja_evaluate(r, node->a, &inner)))
        return false;
    if (!ct_jinja_gather(r, node, &arguments)) return false;
    r->line = node->line;
    bool fine = node->filter ? node->filter->run(r, &inner, &arguments, out)
                             : ct_jinja_fail(r, "No filter named '%s' found.", node->name->text);
    r->depth--;
    return fine;
}

/* ------------------------------------------------------------------------------------------ containers */

static bool make_list(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_list *list = ct_jinja_list(r, node->count);
    uint32_t i = 0;
    if (!list) return false;
    for (const jinja_node *n = node->a; n; n = n->next)
        if (!ct_jinja_evaluate(r, n, &list->items[i++])) return false;
    *out = (jinja_value){.kind = node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE, .list = list};
    return true;
}

static bool make_dict(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_dict *dict = ct_jinja_dict(r, node->count);
    if (!dict) return false;
    for (const jinja_node *n = node->a; n; n = n->next) {
        jinja_value key, value;
        if (!ct_jinja_evaluate(r, n->a, &key) || !ct_jinja_evaluate(r, n->b, &value) ||
            !ct_jinja_dict_set(r, dict, &key, &value))
            return false;
    }
    *out = (jinja_value){.kind = JINJA_DICT, .dict = dict};
    return true;
}

static bool concatenate(jinja_render *r, const jinja_node *node, jinja_value *out) {
    uint32_t count = 0, i = 0;
    for (const jinja_node *n = node->a; n; n = n->next)
        count++;
    jinja_list *parts = ct_jinja_list(r, count);
    if (!parts) return false;
    for (const jinja_node *n = node->a; n; n = n->next)
        if (!ct_jinja_evaluate(r, n, &parts->items[i++])) return false;
    jinja_capture capture = ct_jinja_begin(r);
    for (i = 0; i < count; i++)
        if (!ct_jinja_put_string(r, &parts->items[i])) return false;
    return ct_jinja_end(r, capture, out);
}

/* ------------------------------------------------------------------------------------------- operators */

static bool compare(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value left, right;
    bool holds = true;
    if (!ct_jinja_evaluate(r, node->a, &left)) return false;
    for (const jinja_node *n = node->b; n && holds; n = n->next) {
        if (!ct_jinja_evaluate(r, n->a, &right)) return false;
        r->line = node->line;
        if (!ct_jinja_compare(r, n->op, &left, &right, &holds)) return false;
        left = right;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool test(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value value;
    jinja_arguments arguments;
    bool holds = false;
    if (!ct_jinja_evaluate(r, node->a, &value) || !ct_jinja_gather(r, node, &arguments)) return false;
    r->line = node->line;
    if (!node->test) return ct_jinja_fail(r, "No test named '%s' found.", node->name->text);
    if (!node->test->run(r, &value, &arguments, &holds)) return false;
    *out = jinja_bool(holds != node->negated);
    return true;
}

static bool slice(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value value, bounds[3];
    const jinja_node *parts[] = {node->b, node->c, node->d};
    if (!node->a) return ct_jinja_fail(r, "a slice stands where only an index can");
    if (!ct_jinja_evaluate(r, node->a, &value)) return false;
    for (int i = 0; i < 3; i++)
        if (parts[i] && !ct_jinja_evaluate(r, parts[i], &bounds[i])) return false;
    r->line = node->line;
    return ct_jinja_slice(r, &value, parts[0] ? &bounds[0] : NULL, parts[1] ? &bounds[1] : NULL,
                          parts[2] ? &bounds[2] : NULL, out);
}

static bool call(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value callee;
    jinja_arguments arguments;
    if (!ct_jinja_evaluate(r, node->a, &callee) || !ct_jinja_gather(r, node, &arguments)) return false;
    r->line = node->line;
    return ct_jinja_call(r, &callee, &arguments, out);
}

/* Both sides of an operator, a subscript or a dictionary's pair. */
static bool both(jinja_render *r, const jinja_node *node, jinja_value *a, jinja_value *b) {
    if (!ct_jinja_evaluate(r, node->a, a) || !ct_jinja_evaluate(r, node->b, b)) return false;
    r->line = node->line;
    return true;
}

static bool condition(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value holds;
    if (!ct_jinja_evaluate(r, node->b, &holds)) return false;
    if (ct_jinja_truth(&holds)) return ct_jinja_evaluate(r, node->a, out);
    if (node->c) return ct_jinja_evaluate(r, node->c, out);
    *out =
        (jinja_value){.kind = JINJA_UNDEFINED,
                      .text = "the inline if-expression evaluated to false and no else section was defined."};
    return true;
}

static bool evaluate(jinja_render *r, const jinja_node *node, jinja_value *out) {
    jinja_value a, b;
    switch (node->kind) {
    case NODE_CONSTANT:
        *out = node->value;
        return true;
    case NODE_NAME:
        return lookup(r, node, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return make_list(r, node, out);
    case NODE_DICT:
        return make_dict(r, node, out);
    case NODE_ATTRIBUTE:
        if (!ct_jinja_evaluate(r, node->a, &a)) return false;
        r->line = node->line;
        return ct_jinja_attribute(r, &a, node->name->text, node->name->length, out);
    case NODE_ITEM:
        return both(r, node, &a, &b) && ct_jinja_subscript(r, &a, &b, out);
    case NODE_SLICE:
        return slice(r, node, out);
    case NODE_CALL:
        return call(r, node, out);
    case NODE_FILTER:
        return ct_jinja_apply_filter(r, node, &JINJA_NOTHING, out);
    case NODE_TEST:
        return test(r, node, out);
    case NODE_BINARY:
        return both(r, node, &a, &b) && ct_jinja_binary(r, node->op, &a, &b, out);
    case NODE_UNARY:
        return ct_jinja_evaluate(r, node->a, &a) && ct_jinja_unary(r, node->op, &a, out);
    case NODE_NOT:
        if (!ct_jinja_evaluate(r, node->a, &a)) return false;
        *out = jinja_bool(!ct_jinja_truth(&a));
        return true;
    case NODE_COMPARE:
        return compare(r, node, out);
    case NODE_AND:
    case NODE_OR:
        if (!ct_jinja_evaluate(r, node->a, &a)) return false;
        if (ct_jinja_truth(&a) == (node->kind == NODE_AND)) return ct_jinja_evaluate(r, node->b, out);
        *out = a;
        return true;
    case NODE_CONCAT:
        return concatenate(r, node, out);
    case NODE_CONDITION:
        return condition(r, node, out);
    default:
        return ct_jinja_fail(r, "this cannot be evaluated");
    }
}

bool ct_jinja_evaluate(jinja_render *r, const jinja_node *node, jinja_value *out) {
    if (node->kind == NODE_CONSTANT) {
        *out = node->value;
        return true;
    }
    if (!jinja_work(r, 1) || !jinja_enter(r)) return false;
    bool fine = evaluate(r, node, out);
    r->depth--;
    return fine;
}
