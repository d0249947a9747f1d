/* parse_expression.c - expressions, with the precedences that Jinja's own parser has. */
#include "template/node.h"
#include <string.h>

static jinja_node *parse_unary(jinja_parser *p, bool with_filters);

static jinja_node *make(jinja_parser *p, jinja_node_kind kind, uint32_t line, jinja_node *a, jinja_node *b) {
    jinja_node *node = a ? ct_jinja_node(p, kind, line) : NULL;
    if (!node) return NULL;
    node->a = a;
    node->b = b;
    return node;
}

static jinja_node *constant(jinja_parser *p, jinja_value value, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_CONSTANT, line);
    if (node) node->value = value;
    return node;
}

/* ------------------------------------------------------------------------------------------ primaries */

/* Items up to `end`, a comma behind the last one is allowed. */
static jinja_node *parse_list(jinja_parser *p, const char *end) {
    uint32_t line = ct_jinja_token(p)->line;
    jinja_node *node = ct_jinja_node(p, NODE_LIST, line);
    jinja_node **last = node ? &node->a : NULL;
    while (node && !ct_jinja_is_operator(p, end)) {
        if (node->count && !ct_jinja_expect_operator(p, ",")) return NULL;
        if (ct_jinja_is_operator(p, end)) break;
        jinja_node *item = ct_jinja_expression(p, true);
        if (!item) return NULL;
        *last = item;
        last = &item->next;
        node->count++;
    }
    return node && ct_jinja_expect_operator(p, end) ? node : NULL;
}

static jinja_node *parse_dict(jinja_parser *p) {
    jinja_node *node = ct_jinja_node(p, NODE_DICT, ct_jinja_token(p)->line);
    jinja_node **last = node ? &node->a : NULL;
    while (node && !ct_jinja_is_operator(p, "}")) {
        if (node->count && !ct_jinja_expect_operator(p, ",")) return NULL;
        if (ct_jinja_is_operator(p, "}")) break;
        jinja_node *key = ct_jinja_expression(p, true);
        if (!key || !ct_jinja_expect_operator(p, ":")) return NULL;
        jinja_node *value = ct_jinja_expression(p, true);
        jinja_node *pair = value ? make(p, NODE_PAIR, key->line, key, value) : NULL;
        if (!pair) return NULL;
        *last = pair;
        last = &pair->next;
        node->count++;
    }
    return node && ct_jinja_expect_operator(p, "}") ? node : NULL;
}

static jinja_node *parse_strings(jinja_parser *p) {
    const jinja_token *t = ct_jinja_token(p);
    uint32_t line = t->line;
    size_t length = 0, first = p->at;
    while (ct_jinja_token(p)->kind == TOKEN_STRING)
        length += p->tokens.items[p->at++].length;
    char *text = ct_jinja_take(&p->parsed->arena, length + 1);
    if (!text) {
        p->failed = true;
        return NULL;
    }
    length = 0;
    for (size_t i = first; i < p->at; i++) {
        memcpy(text + length, p->tokens.items[i].text, p->tokens.items[i].length);
        length += p->tokens.items[i].length;
    }
    text[length] = '\0';
    return constant(p, jinja_text(text, length), line);
}

static jinja_node *parse_word(jinja_parser *p) {
    const jinja_token *t = ct_jinja_token(p);
    uint32_t line = t->line;
    if (ct_jinja_skip_name(p, "true") || ct_jinja_skip_name(p, "True"))
        return constant(p, jinja_bool(true), line);
    if (ct_jinja_skip_name(p, "false") || ct_jinja_skip_name(p, "False"))
        return constant(p, jinja_bool(false), line);
    if (ct_jinja_skip_name(p, "none") || ct_jinja_skip_name(p, "None"))
        return constant(p, JINJA_NOTHING, line);
    p->at++;
    return ct_jinja_name_node(p, ct_jinja_intern(p, t->text, t->length), line);
}

static jinja_node *parse_primary(jinja_parser *p) {
    const jinja_token *t = ct_jinja_token(p);
    switch (t->kind) {
    case TOKEN_NAME:
        return parse_word(p);
    case TOKEN_STRING:
        return parse_strings(p);
    case TOKEN_INTEGER:
        p->at++;
        return constant(p, jinja_int(t->integer), t->line);
    case TOKEN_REAL:
        p->at++;
        return constant(p, jinja_real(t->real), t->line);
    default:
        break;
    }
    if (ct_jinja_skip_operator(p, "(")) {
        jinja_node *inner = ct_jinja_tuple(p, true, true);
        return inner && ct_jinja_expect_operator(p, ")") ? inner : NULL;
    }
    if (ct_jinja_skip_operator(p, "[")) return parse_list(p, "]");
    if (ct_jinja_skip_operator(p, "{")) return parse_dict(p);
    return ct_jinja_unexpected(p, "an expression");
}

/* --------------------------------------------------------------------------- what stands behind them */

static jinja_node *parse_subscript_item(jinja_parser *p) {
    uint32_t line = ct_jinja_token(p)->line;
    jinja_node *part[3] = {NULL, NULL, NULL};
    int at = 0;
    if (!ct_jinja_is_operator(p, ":")) {
        part[0] = ct_jinja_expression(p, true);
        if (!part[0] || !ct_jinja_is_operator(p, ":")) return part[0];
    }
    while (at < 2 && ct_jinja_skip_operator(p, ":")) {
        at++;
        if (ct_jinja_is_operator(p, ":") || ct_jinja_is_operator(p, "]") || ct_jinja_is_operator(p, ","))
            continue;
        part[at] = ct_jinja_expression(p, true);
        if (!part[at]) return NULL;
    }
    jinja_node *slice = ct_jinja_node(p, NODE_SLICE, line);
    if (!slice) return NULL;
    slice->b = part[0];
    slice->c = part[1];
    slice->d = part[2];
    return slice;
}

static jinja_node *parse_subscript(jinja_parser *p, jinja_node *value) {
    uint32_t line = ct_jinja_token(p)->line;
    if (ct_jinja_skip_operator(p, ".")) {
        const jinja_token *t = ct_jinja_token(p);
        p->at++;
        if (t->kind == TOKEN_INTEGER)
            return make(p, NODE_ITEM, line, value, constant(p, jinja_int(t->integer), line));
        if (t->kind != TOKEN_NAME) {
            p->at--;
            return ct_jinja_unexpected(p, "a name or number behind \".\"");
        }
        jinja_node *node = make(p, NODE_ATTRIBUTE, line, value, NULL);
        if (node) node->name = ct_jinja_intern(p, t->text, t->length);
        return node && node->name ? node : NULL;
    }
    p->at++; /* [ */
    jinja_node *item = parse_subscript_item(p);
    if (!item) return NULL;
    if (ct_jinja_is_operator(p, ",")) {
        if (item->kind == NODE_SLICE) return ct_jinja_unexpected(p, "\"]\" behind a slice");
        jinja_node *tuple = make(p, NODE_TUPLE, line, item, NULL);
        jinja_node *last = item;
        for (uint32_t count = 1; tuple && ct_jinja_skip_operator(p, ","); tuple->count = ++count) {
            last = last->next = ct_jinja_expression(p, true);
            if (!last) return NULL;
        }
        item = tuple;
    }
    if (!item || !ct_jinja_expect_operator(p, "]")) return NULL;
    if (item->kind == NODE_SLICE && !item->a) {
        item->a = value;
        return item;
    }
    return make(p, NODE_ITEM, line, value, item);
}

static bool is_keyword(const jinja_parser *p) {
    const jinja_token *t = &p->tokens.items[p->at];
    return t->kind == TOKEN_NAME && t[1].kind == TOKEN_OPERATOR && t[1].length == 1 && t[1].text[0] == '=';
}

static bool name_keywords(jinja_parser *p, jinja_node *call) {
    if (!call->named) return true;
    jinja_value *names = ct_jinja_take(&p->parsed->arena, call->named * sizeof(*names));
    if (!names) return !(p->failed = true);
    uint32_t k = 0;
    for (const jinja_node *n = call->b; n; n = n->next) {
        if (n->kind != NODE_KEYWORD) continue;
        for (uint32_t i = 0; i < k; i++)
            if (names[i].text == n->name->text) {
                ct_jinja_refuse(p, n->line, "the keyword argument \"%s\" is given twice", n->name->text);
                return false;
            }
        names[k++] = jinja_text(n->name->text, n->name->length);
    }
    call->keyword_names = names;
    return true;
}

bool ct_jinja_call_arguments(jinja_parser *p, jinja_node *call) {
    jinja_node **last = &call->b;
    p->at++; /* ( */
    while (!ct_jinja_is_operator(p, ")")) {
        if (call->b && !ct_jinja_expect_operator(p, ",")) return false;
        if (ct_jinja_is_operator(p, ")")) break;
        const jinja_token *t = ct_jinja_token(p);
        if (ct_jinja_is_operator(p, "*") || ct_jinja_is_operator(p, "**")) {
            ct_jinja_refuse(p, t->line, "arguments with * or ** are not supported");
            return false;
        }
        bool keyword = is_keyword(p);
        if (!keyword && call->named) {
            ct_jinja_refuse(p, t->line, "a positional argument behind a keyword argument");
            return false;
        }
        p->at += keyword ? 2 : 0;
        jinja_node *value = ct_jinja_expression(p, true);
        if (value && keyword) {
            value = make(p, NODE_KEYWORD, t->line, value, NULL);
            if (value) value->name = ct_jinja_intern(p, t->text, t->length);
        }
        if (!value || p->failed) return false;
        *last = value;
        last = &value->next;
        if (keyword)
            call->named++;
        else
            call->count++;
        if (call->count + call->named > 250) {
            ct_jinja_refuse(p, t->line, "more than 250 arguments");
            return false;
        }
    }
    p->at++;
    return name_keywords(p, call);
}

static jinja_node *parse_call(jinja_parser *p, jinja_node *callee) {
    jinja_node *call = make(p, NODE_CALL, ct_jinja_token(p)->line, callee, NULL);
    return call && ct_jinja_call_arguments(p, call) ? call : NULL;
}

static jinja_node *parse_postfix(jinja_parser *p, jinja_node *node) {
    while (node) {
        if (ct_jinja_is_operator(p, ".") || ct_jinja_is_operator(p, "["))
            node = parse_subscript(p, node);
        else if (ct_jinja_is_operator(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* A name of a filter or test, which may have dots. */
static size_t dotted(jinja_parser *p, char *buffer, size_t size) {
    size_t length = 0;
    do {
        const jinja_token *t = ct_jinja_token(p);
        if (t->kind != TOKEN_NAME) {
            ct_jinja_unexpected(p, "a name");
            return 0;
        }
        int n =
            snprintf(buffer + length, size - length, "%s%.*s", length ? "." : "", (int)t->length, t->text);
        if (n < 0 || (size_t)n >= size - length) {
            ct_jinja_refuse(p, t->line, "a name of more than %zu characters", size - 1);
            return 0;
        }
        length += (size_t)n;
        p->at++;
    } while (ct_jinja_skip_operator(p, "."));
    return length;
}

jinja_node *ct_jinja_filters(jinja_parser *p, jinja_node *input, bool begun) {
    while (begun || ct_jinja_is_operator(p, "|")) {
        char name[96];
        p->at += !begun;
        uint32_t line = ct_jinja_token(p)->line;
        size_t length = dotted(p, name, sizeof(name));
        jinja_node *node = length ? ct_jinja_node(p, NODE_FILTER, line) : NULL;
        if (!node) return NULL;
        node->a = input;
        node->filter = ct_jinja_filter_find(name, length);
        if (!node->filter && p->branches) {
            node->name = ct_jinja_intern(p, name, length);
        } else if (!node->filter) {
            const char *near = ct_jinja_filter_nearest(name);
            return ct_jinja_refuse(p, line, "No filter named '%s'.%s%s%s", name,
                                   near ? " Did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
        if (ct_jinja_is_operator(p, "(") && !ct_jinja_call_arguments(p, node)) return NULL;
        input = node;
        begun = false;
    }
    return input;
}

static bool begins_argument(const jinja_parser *p) {
    const jinja_token *t = &p->tokens.items[p->at];
    if (t->kind == TOKEN_STRING || t->kind == TOKEN_INTEGER || t->kind == TOKEN_REAL) return true;
    if (t->kind == TOKEN_NAME)
        return !ct_jinja_is_name(p, "else") && !ct_jinja_is_name(p, "or") && !ct_jinja_is_name(p, "and");
    return ct_jinja_is_operator(p, "(") || ct_jinja_is_operator(p, "[") || ct_jinja_is_operator(p, "{");
}

static jinja_node *parse_test(jinja_parser *p, jinja_node *value) {
    char name[96];
    p->at++; /* is */
    bool negated = ct_jinja_skip_name(p, "not");
    uint32_t line = ct_jinja_token(p)->line;
    size_t length = dotted(p, name, sizeof(name));
    jinja_node *node = length ? make(p, NODE_TEST, line, value, NULL) : NULL;
    if (!node) return NULL;
    node->negated = negated;
    node->test = ct_jinja_test_find(name, length);
    if (!node->test && p->branches) {
        node->name = ct_jinja_intern(p, name, length);
    } else if (!node->test) {
        const char *near = ct_jinja_test_nearest(name);
        return ct_jinja_refuse(p, line, "No test named '%s'.%s%s%s", name, near ? " Did you mean '" : "",
                               near ? near : "", near ? "'?" : "");
    }
    if (ct_jinja_is_operator(p, "(")) return ct_jinja_call_arguments(p, node) ? node : NULL;
    if (!begins_argument(p)) return node;
    if (ct_jinja_is_name(p, "is")) return ct_jinja_refuse(p, line, "You cannot chain multiple tests with is");
    if (ct_jinja_is_name(p, "if") || ct_jinja_is_name(p, "in") || ct_jinja_is_name(p, "not") ||
        ct_jinja_is_name(p, "recursive"))
        return node; /* words that cannot begin an argument */
    node->b = parse_postfix(p, parse_primary(p));
    node->count = 1;
    return node->b ? node : NULL;
}

static jinja_node *parse_filters(jinja_parser *p, jinja_node *node) {
    while (node) {
        if (ct_jinja_is_operator(p, "|"))
            node = ct_jinja_filters(p, node, false);
        else if (ct_jinja_is_name(p, "is"))
            node = parse_test(p, node);
        else if (ct_jinja_is_operator(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* ------------------------------------------------------------------------------------------ operators */

static jinja_node *parse_unary(jinja_parser *p, bool with_filters) {
    uint32_t line = ct_jinja_token(p)->line;
    jinja_node *node;
    if (!ct_jinja_parse_enter(p)) return NULL;
    if (ct_jinja_is_operator(p, "-") || ct_jinja_is_operator(p, "+")) {
        jinja_operator op = ct_jinja_is_operator(p, "-") ? JINJA_NEGATIVE : JINJA_POSITIVE;
        p->at++;
        node = make(p, NODE_UNARY, line, parse_unary(p, false), NULL);
        if (node) node->op = (uint8_t)op;
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters(p, node);
    p->depth--;
    return node;
}

typedef struct level {
    const char *spelling[5];
    jinja_operator op[5];
} level;

static jinja_node *parse_power(jinja_parser *p) {
    jinja_node *left = parse_unary(p, true);
    while (left && ct_jinja_is_operator(p, "**")) {
        uint32_t line = ct_jinja_token(p)->line;
        p->at++;
        jinja_node *right = parse_unary(p, true);
        left = right ? make(p, NODE_BINARY, line, left, right) : NULL;
        if (left) left->op = JINJA_POWER;
    }
    return left;
}

static jinja_node *parse_level(jinja_parser *p, const level *l, jinja_node *(*inner)(jinja_parser *)) {
    jinja_node *left = inner(p);
    while (left && ct_jinja_token(p)->kind == TOKEN_OPERATOR) {
        int k = 0;
        while (l->spelling[k] && !ct_jinja_is_operator(p, l->spelling[k]))
            k++;
        if (!l->spelling[k]) break;
        uint32_t line = ct_jinja_token(p)->line;
        p->at++;
        jinja_node *right = inner(p);
        left = right ? make(p, NODE_BINARY, line, left, right) : NULL;
        if (left) left->op = (uint8_t)l->op[k];
    }
    return left;
}

static jinja_node *parse_product(jinja_parser *p) {
    static const level products = {{"*", "/", "//", "%", NULL},
                                   {JINJA_MULTIPLY, JINJA_DIVIDE, JINJA_FLOOR, JINJA_MODULO}};
    return parse_level(p, &products, parse_power);
}

static jinja_node *parse_concat(jinja_parser *p) {
    uint32_t line = ct_jinja_token(p)->line;
    jinja_node *first = parse_product(p), *last = first;
    if (!first || !ct_jinja_is_operator(p, "~")) return first;
    jinja_node *node = make(p, NODE_CONCAT, line, first, NULL);
    while (node && ct_jinja_skip_operator(p, "~")) {
        last = last->next = parse_product(p);
        if (!last) return NULL;
    }
    return node;
}

static jinja_node *parse_sum(jinja_parser *p) {
    static const level sums = {{"+", "-", NULL}, {JINJA_ADD, JINJA_SUBTRACT}};
    return parse_level(p, &sums, parse_concat);
}

static int comparison(jinja_parser *p) {
    static const char *const spelling[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int k = 0; k < 6; k++)
        if (ct_jinja_skip_operator(p, spelling[k])) return JINJA_EQUAL + k;
    if (ct_jinja_skip_name(p, "in")) return JINJA_IN;
    const jinja_token *t = ct_jinja_token(p);
    if (ct_jinja_is_name(p, "not") && t[1].kind == TOKEN_NAME && t[1].length == 2 &&
        memcmp(t[1].text, "in", 2) == 0) {
        p->at += 2;
        return JINJA_NOT_IN;
    }
    return -1;
}

static jinja_node *parse_compare(jinja_parser *p) {
    uint32_t line = ct_jinja_token(p)->line;
    jinja_node *first = parse_sum(p), *node = NULL, **last = NULL;
    for (int op; first && (op = comparison(p)) >= 0;) {
        jinja_node *operand = make(p, NODE_OPERAND, line, parse_sum(p), NULL);
        if (!node) node = make(p, NODE_COMPARE, line, first, NULL);
        if (!operand || !node) return NULL;
        if (!last) last = &node->b;
        operand->op = (uint8_t)op;
        *last = operand;
        last = &operand->next;
    }
    return node ? node : first;
}

static jinja_node *parse_not(jinja_parser *p) {
    uint32_t line = ct_jinja_token(p)->line;
    if (!ct_jinja_skip_name(p, "not")) return parse_compare(p);
    if (!ct_jinja_parse_enter(p)) return NULL;
    jinja_node *inner = parse_not(p);
    p->depth--;
    return make(p, NODE_NOT, line, inner, NULL);
}

static jinja_node *parse_and(jinja_parser *p) {
    jinja_node *left = parse_not(p);
    while (left && ct_jinja_is_name(p, "and")) {
        uint32_t line = ct_jinja_token(p)->line;
        p->at++;
        jinja_node *right = parse_not(p);
        left = right ? make(p, NODE_AND, line, left, right) : NULL;
    }
    return left;
}

static jinja_node *parse_or(jinja_parser *p) {
    jinja_node *left = parse_and(p);
    while (left && ct_jinja_is_name(p, "or")) {
        uint32_t line = ct_jinja_token(p)->line;
        p->at++;
        jinja_node *right = parse_and(p);
        left = right ? make(p, NODE_OR, line, left, right) : NULL;
    }
    return left;
}

jinja_node *ct_jinja_expression(jinja_parser *p, bool conditions) {
    if (!ct_jinja_parse_enter(p)) return NULL;
    jinja_node *value = parse_or(p);
    while (value && conditions && ct_jinja_is_name(p, "if")) {
        uint32_t line = ct_jinja_token(p)->line;
        p->at++;
        jinja_node *test = parse_or(p);
        jinja_node *node = test ? make(p, NODE_CONDITION, line, value, test) : NULL;
        if (node && ct_jinja_skip_name(p, "else")) {
            node->c = ct_jinja_expression(p, true);
            if (!node->c) node = NULL;
        }
        value = node;
    }
    p->depth--;
    return value;
}

static bool tuple_ends(const jinja_parser *p) {
    const jinja_token *t = &p->tokens.items[p->at];
    return t->kind == TOKEN_OUTPUT_END || t->kind == TOKEN_BLOCK_END || ct_jinja_is_operator(p, ")") ||
           ct_jinja_is_name(p, "in") || ct_jinja_is_name(p, "recursive");
}

jinja_node *ct_jinja_tuple(jinja_parser *p, bool conditions, bool parentheses) {
    uint32_t line = ct_jinja_token(p)->line, count = 0;
    jinja_node *first = NULL, **last = &first;
    bool tuple = false;
    for (;;) {
        if (count && !ct_jinja_expect_operator(p, ",")) return NULL;
        if (tuple_ends(p)) break;
        jinja_node *item = ct_jinja_expression(p, conditions);
        if (!item) return NULL;
        *last = item;
        last = &item->next;
        count++;
        if (!ct_jinja_is_operator(p, ",")) break;
        tuple = true;
    }
    if (!tuple && first) return first;
    if (!tuple && !parentheses) return ct_jinja_unexpected(p, "an expression");
    jinja_node *node = ct_jinja_node(p, NODE_TUPLE, line);
    if (node) node->a = first;
    if (node) node->count = count;
    return node;
}
