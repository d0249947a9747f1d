/* run.c - statements: what they write, set and repeat. */
#include "template/node.h"
#include <string.h>

/* What a scope declares is forgotten when it is entered; names fall back to the scopes around. */
static void clear(jinja_render *r, const jinja_scope *scope) {
    if (scope->count) memset(r->frame->slots + scope->first, 0, scope->count * sizeof(*r->frame->slots));
}

/* ------------------------------------------------------------------------------------------ assignment */

static bool assign_tuple(jinja_render *r, const jinja_node *target, const jinja_value *value) {
    jinja_list *items;
    uint32_t i = 0;
    if (value->kind != JINJA_LIST && value->kind != JINJA_TUPLE && value->kind != JINJA_STRING &&
        value->kind != JINJA_DICT)
        return ct_jinja_fail(r, "cannot unpack non-iterable %s object", ct_jinja_type(value));
    if (!ct_jinja_items(r, value, &items)) return false;
    if (items->count < target->count)
        return ct_jinja_fail(r, "not enough values to unpack (expected %u, got %u)", target->count,
                             items->count);
    if (items->count > target->count)
        return ct_jinja_fail(r, "too many values to unpack (expected %u)", target->count);
    for (const jinja_node *n = target->a; n; n = n->next)
        if (!ct_jinja_assign(r, n, &items->items[i++])) return false;
    return true;
}

static bool assign_member(jinja_render *r, const jinja_node *target, const jinja_value *value) {
    jinja_value space;
    if (!ct_jinja_evaluate(r, target->a, &space)) return false;
    r->line = target->line;
    if (space.kind != JINJA_NAMESPACE)
        return ct_jinja_fail(r, "cannot assign attribute on non-namespace object");
    if (target->name->text[0] == '_')
        return ct_jinja_fail(
            r,
            "Chat templates cannot store underscore-prefixed attributes on a namespace, but got "
            "'%s'. Please rename the attribute.",
            target->name->text);
    const jinja_value key = jinja_text(target->name->text, target->name->length);
    return ct_jinja_dict_set(r, space.dict, &key, value);
}

bool ct_jinja_assign(jinja_render *r, const jinja_node *target, const jinja_value *value) {
    if (target->kind == NODE_TUPLE) return assign_tuple(r, target, value);
    if (target->kind == NODE_MEMBER) return assign_member(r, target, value);
    r->frame->slots[target->places.list[0].slot] = *value;
    return true;
}

/* ---------------------------------------------------------------------------------------------- loops */

static bool filtered(jinja_render *r, const jinja_node *node, jinja_list **items) {
    jinja_list *kept = ct_jinja_list(r, 0);
    uint32_t capacity = 0;
    if (!kept) return false;
    for (uint32_t i = 0; i < (*items)->count; i++) {
        jinja_value holds;
        clear(r, node->scope);
        if (!ct_jinja_assign(r, node->a, &(*items)->items[i]) || !ct_jinja_evaluate(r, node->d, &holds))
            return false;
        if (ct_jinja_truth(&holds) && !ct_jinja_list_push(r, kept, &capacity, &(*items)->items[i]))
            return false;
    }
    *items = kept;
    return true;
}

static jinja_flow repeat(jinja_render *r, const jinja_node *node, jinja_list *items) {
    jinja_loop *loop = ct_jinja_take(&r->arena, sizeof(*loop));
    uint32_t slot = node->scope->first + node->loop_slot;
    if (!loop) {
        r->failed = true;
        return FLOW_FAILED;
    }
    *loop = (jinja_loop){.items = items};
    for (uint32_t i = 0; i < items->count; i++) {
        clear(r, node->scope);
        loop->index = i;
        r->frame->slots[slot] = (jinja_value){.kind = JINJA_LOOP, .loop = loop};
        if (!jinja_work(r, 1) || !ct_jinja_assign(r, node->a, &items->items[i])) return FLOW_FAILED;
        jinja_flow flow = ct_jinja_run(r, node->c);
        if (flow == FLOW_FAILED) return flow;
        if (flow == FLOW_BREAK) break;
    }
    return FLOW_ON;
}

static jinja_flow run_for(jinja_render *r, const jinja_node *node) {
    jinja_value over;
    jinja_list *items;
    if (!ct_jinja_evaluate(r, node->b, &over)) return FLOW_FAILED;
    r->line = node->line;
    if (!ct_jinja_items(r, &over, &items)) return FLOW_FAILED;
    if (node->d && !filtered(r, node, &items)) return FLOW_FAILED;
    if (!items->count) return node->e ? ct_jinja_run(r, node->e) : FLOW_ON;
    jinja_flow flow = repeat(r, node, items);
    clear(r, node->scope);
    return flow;
}

/* --------------------------------------------------------------------------------------------- blocks */

static jinja_flow run_if(jinja_render *r, const jinja_node *node) {
    for (;;) {
        jinja_value holds;
        if (!ct_jinja_evaluate(r, node->a, &holds)) return FLOW_FAILED;
        if (ct_jinja_truth(&holds)) return ct_jinja_run(r, node->b);
        const jinja_node *other = node->c;
        if (!other) return FLOW_ON;
        if (other->kind != NODE_IF || other->next) return ct_jinja_run(r, other);
        node = other;
    }
}

static bool run_with(jinja_render *r, const jinja_node *node, jinja_flow *flow) {
    uint32_t count = 0, i = 0;
    for (const jinja_node *n = node->a; n; n = n->next)
        count++;
    jinja_list *values = ct_jinja_list(r, count);
    if (!values) return false;
    for (const jinja_node *n = node->a; n; n = n->next)
        if (!ct_jinja_evaluate(r, n->b, &values->items[i++])) return false;
    clear(r, node->scope);
    i = 0;
    for (const jinja_node *n = node->a; n; n = n->next)
        if (!ct_jinja_assign(r, n->a, &values->items[i++])) return false;
    *flow = ct_jinja_run(r, node->b);
    return *flow != FLOW_FAILED;
}

/* The body of a block as a string. */
static bool run_captured(jinja_render *r, const jinja_node *node, jinja_value *text, jinja_flow *flow) {
    jinja_capture capture = ct_jinja_begin(r);
    clear(r, node->scope);
    *flow = ct_jinja_run(r, node->b);
    return *flow != FLOW_FAILED && ct_jinja_end(r, capture, text);
}

static bool run_block(jinja_render *r, const jinja_node *node, jinja_flow *flow) {
    jinja_value text, result;
    jinja_capture from;
    switch (node->kind) {
    case NODE_SET_BLOCK:
        if (!run_captured(r, node, &text, flow)) return false;
        if (node->c && !ct_jinja_apply_filter(r, node->c, &text, &text)) return false;
        return ct_jinja_assign(r, node->a, &text);
    case NODE_FILTER_BLOCK:
        return run_captured(r, node, &text, flow) && ct_jinja_apply_filter(r, node->a, &text, &result) &&
               ct_jinja_put_string(r, &result);
    default: /* NODE_GENERATION */
        from = ct_jinja_begin(r);
        clear(r, node->scope);
        *flow = ct_jinja_run(r, node->b);
        if (*flow == FLOW_FAILED || !ct_jinja_mark(r, from, CT_TEMPLATE_GENERATED)) return false;
        r->span_floor = from.floor;
        return true;
    }
}

static bool define(jinja_render *r, const jinja_function *function, jinja_value *out) {
    jinja_macro *macro = ct_jinja_take(&r->arena, sizeof(*macro));
    if (!macro) return !(r->failed = true);
    *macro = (jinja_macro){function, r->frame};
    *out = (jinja_value){.kind = JINJA_MACRO, .macro = macro};
    return true;
}

/* {% call(a) f(b) %}...{% endcall %}: f gets the body as the keyword argument `caller`. */
static bool run_call_block(jinja_render *r, const jinja_node *node) {
    jinja_value callee, result;
    jinja_arguments arguments;
    if (!ct_jinja_evaluate(r, node->a->a, &callee) || !ct_jinja_gather(r, node->a, &arguments)) return false;
    uint32_t given = arguments.count + arguments.named;
    jinja_value *values = ct_jinja_take(&r->arena, (given + 1) * sizeof(*values));
    jinja_value *names = ct_jinja_take(&r->arena, (arguments.named + 1) * sizeof(*names));
    if (!values || !names) return !(r->failed = true);
    if (given) memcpy(values, arguments.values, given * sizeof(*values));
    if (arguments.named) memcpy(names, arguments.names, arguments.named * sizeof(*names));
    names[arguments.named] = jinja_text("caller", 6);
    if (!define(r, node->function, &values[given])) return false;
    r->line = node->line;
    const jinja_arguments all = {values, arguments.count, arguments.named + 1, names};
    return ct_jinja_call(r, &callee, &all, &result) && ct_jinja_put_string(r, &result);
}

static bool run_one(jinja_render *r, const jinja_node *node, jinja_flow *flow) {
    jinja_value value;
    switch (node->kind) {
    case NODE_TEXT:
        return ct_jinja_put(r, node->value.text, node->value.length, 0);
    case NODE_OUTPUT:
        return ct_jinja_evaluate(r, node->a, &value) && ct_jinja_put_string(r, &value);
    case NODE_IF:
        *flow = run_if(r, node);
        return *flow != FLOW_FAILED;
    case NODE_FOR:
        *flow = run_for(r, node);
        return *flow != FLOW_FAILED;
    case NODE_SET:
        if (!ct_jinja_evaluate(r, node->b, &value)) return false;
        r->line = node->line;
        return ct_jinja_assign(r, node->a, &value);
    case NODE_MACRO:
        return define(r, node->function, &value) && ct_jinja_assign(r, node->a, &value);
    case NODE_CALL_BLOCK:
        return run_call_block(r, node);
    case NODE_WITH:
        return run_with(r, node, flow);
    case NODE_BREAK:
        *flow = FLOW_BREAK;
        return true;
    case NODE_CONTINUE:
        *flow = FLOW_CONTINUE;
        return true;
    default:
        return run_block(r, node, flow);
    }
}

jinja_flow ct_jinja_run(jinja_render *r, const jinja_node *node) {
    jinja_flow flow = FLOW_ON;
    if (!jinja_enter(r)) return FLOW_FAILED;
    for (; node && flow == FLOW_ON; node = node->next) {
        r->line = node->line;
        if (!jinja_work(r, 1) || !run_one(r, node, &flow)) {
            flow = FLOW_FAILED;
            break;
        }
    }
    r->depth--;
    return flow;
}
