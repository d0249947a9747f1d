/* parse_statement.c - statements: what stands between {% and %}. */
#include "template/node.h"
#include <string.h>

static bool end_of_block(jinja_parser *p) {
    if (ct_jinja_token(p)->kind == TOKEN_BLOCK_END) {
        p->at++;
        return true;
    }
    ct_jinja_unexpected(p, "end of statement block");
    return false;
}

/* ------------------------------------------------------------------------------------------ targets */

static jinja_node *simple_target(jinja_parser *p, bool members) {
    const jinja_token *t = ct_jinja_token(p);
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None", NULL};
    if (ct_jinja_skip_operator(p, "(")) {
        jinja_node *inner = ct_jinja_target(p, members);
        return inner && ct_jinja_expect_operator(p, ")") ? inner : NULL;
    }
    if (t->kind != TOKEN_NAME) return ct_jinja_unexpected(p, "a name to assign to");
    for (int i = 0; reserved[i]; i++)
        if (ct_jinja_is_name(p, reserved[i])) return ct_jinja_unexpected(p, "a name to assign to");
    p->at++;
    const jinja_name *name = ct_jinja_intern(p, t->text, t->length);
    if (members && ct_jinja_skip_operator(p, ".")) {
        const jinja_token *member = ct_jinja_token(p);
        if (member->kind != TOKEN_NAME) return ct_jinja_unexpected(p, "a name behind \".\"");
        p->at++;
        jinja_node *node = ct_jinja_node(p, NODE_MEMBER, t->line);
        if (!node) return NULL;
        node->a = ct_jinja_name_node(p, name, t->line);
        node->name = ct_jinja_intern(p, member->text, member->length);
        return node->a && node->name ? node : NULL;
    }
    if (!ct_jinja_declare(p, p->scope, name)) return NULL;
    return ct_jinja_name_node(p, name, t->line);
}

jinja_node *ct_jinja_target(jinja_parser *p, bool members) {
    uint32_t line = ct_jinja_token(p)->line;
    if (!ct_jinja_parse_enter(p)) return NULL;
    jinja_node *first = simple_target(p, members), *last = first;
    if (first && ct_jinja_is_operator(p, ",")) {
        jinja_node *tuple = ct_jinja_node(p, NODE_TUPLE, line);
        uint32_t count = 1;
        while (tuple && ct_jinja_skip_operator(p, ",")) {
            if (ct_jinja_token(p)->kind != TOKEN_NAME && !ct_jinja_is_operator(p, "(")) break;
            if (ct_jinja_is_name(p, "in")) break;
            last = last->next = simple_target(p, members);
            if (!last) break;
            count++;
        }
        if (tuple) tuple->a = first;
        if (tuple) tuple->count = count;
        first = last ? tuple : NULL;
    }
    p->depth--;
    return first;
}

/* ------------------------------------------------------------------------------------------ statements */

static jinja_node *parse_if(jinja_parser *p, uint32_t line) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last_end[] = {"endif", NULL};
    jinja_node *first = NULL, **link = &first;
    for (;;) {
        jinja_node *node = ct_jinja_node(p, NODE_IF, line);
        if (!node) return NULL;
        *link = node;
        node->a = ct_jinja_tuple(p, false, false);
        if (!node->a || !end_of_block(p)) return NULL;
        p->branches++;
        node->b = ct_jinja_statements(p, ends);
        p->branches--;
        if (p->failed) return NULL;
        line = ct_jinja_token(p)->line;
        if (ct_jinja_skip_name(p, "elif")) {
            link = &node->c;
            continue;
        }
        if (ct_jinja_skip_name(p, "else")) {
            if (!end_of_block(p)) return NULL;
            p->branches++;
            node->c = ct_jinja_statements(p, last_end);
            p->branches--;
        }
        if (p->failed) return NULL;
        p->at++; /* endif */
        return end_of_block(p) ? first : NULL;
    }
}

static jinja_node *parse_for(jinja_parser *p, uint32_t line) {
    static const char *const ends[] = {"else", "endfor", NULL};
    static const char *const last_end[] = {"endfor", NULL};
    jinja_node *node = ct_jinja_node(p, NODE_FOR, line);
    jinja_scope *outer = p->scope, *scope = node ? ct_jinja_open_scope(p) : NULL;
    const jinja_name *loop = scope ? ct_jinja_intern(p, "loop", 4) : NULL;
    if (!ct_jinja_declare(p, scope, loop)) return NULL;
    node->scope = scope;
    node->loop_slot = (uint32_t)ct_jinja_declared(p, scope, loop);
    node->a = ct_jinja_target(p, false);
    if (!node->a) return NULL;
    if (!ct_jinja_skip_name(p, "in")) return ct_jinja_unexpected(p, "\"in\"");
    p->scope = outer;
    node->b = ct_jinja_tuple(p, false, false);
    p->scope = scope;
    if (node->b && ct_jinja_skip_name(p, "if")) {
        node->d = ct_jinja_expression(p, true);
        if (!node->d) return NULL;
    }
    if (node->b && ct_jinja_is_name(p, "recursive"))
        return ct_jinja_refuse(p, line, "recursive loops are not supported");
    if (!node->b || !end_of_block(p)) return NULL;
    p->loops++;
    node->c = ct_jinja_statements(p, ends);
    p->loops--;
    p->scope = outer;
    if (p->failed) return NULL;
    if (ct_jinja_skip_name(p, "else")) {
        if (!end_of_block(p) || !ct_jinja_open_scope(p)) return NULL;
        node->e = ct_jinja_node(p, NODE_WITH, line);
        if (!node->e) return NULL;
        node->e->scope = p->scope;
        node->e->b = ct_jinja_statements(p, last_end);
        p->scope = outer;
    }
    if (p->failed) return NULL;
    p->at++; /* endfor */
    return end_of_block(p) ? node : NULL;
}

/* The body of a block with a scope of its own, up to and with its end. */
static jinja_node *scoped_body(jinja_parser *p, jinja_node *node, const char *end) {
    const char *ends[] = {end, NULL};
    jinja_scope *outer = p->scope;
    if (!end_of_block(p)) return NULL;
    node->scope = ct_jinja_open_scope(p);
    if (!node->scope) return NULL;
    node->b = ct_jinja_statements(p, ends);
    p->scope = outer;
    if (p->failed) return NULL;
    p->at++;
    return end_of_block(p) ? node : NULL;
}

static jinja_node *parse_set(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_SET, line);
    if (!node) return NULL;
    node->a = ct_jinja_target(p, true);
    if (!node->a) return NULL;
    if (ct_jinja_skip_operator(p, "=")) {
        node->b = ct_jinja_tuple(p, true, false);
        return node->b && end_of_block(p) ? node : NULL;
    }
    node->kind = NODE_SET_BLOCK;
    node->c = ct_jinja_filters(p, NULL, false);
    return p->failed ? NULL : scoped_body(p, node, "endset");
}

static bool parse_signature(jinja_parser *p, jinja_function *f) {
    jinja_node **last = &f->parameters;
    bool defaults = false;
    if (!ct_jinja_expect_operator(p, "(")) return false;
    while (!ct_jinja_is_operator(p, ")")) {
        if (f->parameters && !ct_jinja_expect_operator(p, ",")) return false;
        const jinja_token *t = ct_jinja_token(p);
        jinja_node *parameter =
            t->kind == TOKEN_NAME ? simple_target(p, false) : ct_jinja_unexpected(p, "a parameter");
        if (!parameter) return false;
        if (++f->parameter_count > 100) {
            ct_jinja_refuse(p, t->line, "more than 100 parameters");
            return false;
        }
        if (ct_jinja_skip_operator(p, "=")) {
            defaults = true;
            parameter->a = ct_jinja_expression(p, true);
            if (!parameter->a) return false;
        } else if (defaults) {
            ct_jinja_refuse(p, t->line, "non-default argument follows default argument");
            return false;
        }
        *last = parameter;
        last = &parameter->next;
    }
    p->at++;
    return true;
}

/* Names that a macro's body may use without declaring them; they are made only if it does. */
static bool implied(jinja_parser *p, jinja_function *f, const jinja_node *from) {
    static const char *const words[] = {"caller", "varargs", "kwargs"};
    int32_t *slots[] = {&f->caller, &f->varargs, &f->kwargs};
    for (int w = 0; w < 3; w++) {
        int64_t number = ct_jinja_name_number(p->parsed, words[w], strlen(words[w]));
        const jinja_name *name = number >= 0 ? p->parsed->names[number] : NULL;
        bool used = false;
        for (const jinja_node *n = from; name && n && !used; n = n->link)
            used = n->name == name;
        if (!used || ct_jinja_declared(p, f->scope, name) >= 0) continue;
        if (!ct_jinja_declare(p, f->scope, name)) return false;
        *slots[w] = (int32_t)ct_jinja_declared(p, f->scope, name);
    }
    return true;
}

/* Signature and body of a macro or call block. */
static jinja_function *parse_function(jinja_parser *p, const jinja_name *name, uint32_t line, bool signature,
                                      const char *end, jinja_node **call) {
    const char *ends[] = {end, NULL};
    jinja_scope *outer = p->scope;
    int loops = p->loops;
    jinja_node *before = p->last_name;
    jinja_function *f = ct_jinja_open_function(p, name, line);
    if (!f || (signature && !parse_signature(p, f))) return NULL;
    if (call) { /* the call itself stands outside the body */
        ct_jinja_close_function(p, outer);
        *call = ct_jinja_expression(p, true);
        if (!*call) return NULL;
        if ((*call)->kind != NODE_CALL) return ct_jinja_refuse(p, line, "expected a call in the call block");
        p->function = f;
        p->scope = f->scope;
    }
    if (!end_of_block(p)) return NULL;
    jinja_node *body_names = p->last_name;
    p->loops = 0;
    f->body = ct_jinja_statements(p, ends);
    p->loops = loops;
    if (p->failed) return NULL;
    jinja_node *from = call ? body_names : before;
    if (!implied(p, f, from ? from->link : p->first_name)) return NULL;
    ct_jinja_close_function(p, outer);
    p->at++;
    return end_of_block(p) ? f : NULL;
}

static jinja_node *parse_macro(jinja_parser *p, uint32_t line) {
    const jinja_token *t = ct_jinja_token(p);
    jinja_node *node = ct_jinja_node(p, NODE_MACRO, line);
    if (!node) return NULL;
    node->a = t->kind == TOKEN_NAME ? simple_target(p, false) : ct_jinja_unexpected(p, "the name of a macro");
    if (!node->a) return NULL;
    node->function = parse_function(p, node->a->name, line, true, "endmacro", NULL);
    return node->function ? node : NULL;
}

static jinja_node *parse_call_block(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_CALL_BLOCK, line);
    const jinja_name *name = node ? ct_jinja_intern(p, "caller", 6) : NULL;
    if (!name) return NULL;
    node->function = parse_function(p, name, line, ct_jinja_is_operator(p, "("), "endcall", &node->a);
    return node->function ? node : NULL;
}

static jinja_node *parse_with(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_WITH, line);
    jinja_scope *outer = p->scope, *scope = node ? ct_jinja_open_scope(p) : NULL;
    jinja_node **last = node ? &node->a : NULL;
    const char *const ends[] = {"endwith", NULL};
    if (!scope) return NULL;
    node->scope = scope;
    while (ct_jinja_token(p)->kind != TOKEN_BLOCK_END) {
        if (node->a && !ct_jinja_expect_operator(p, ",")) return NULL;
        jinja_node *set = ct_jinja_node(p, NODE_SET, ct_jinja_token(p)->line);
        if (!set) return NULL;
        set->a = simple_target(p, false);
        if (!set->a || !ct_jinja_expect_operator(p, "=")) return NULL;
        p->scope = outer; /* values are those outside */
        set->b = ct_jinja_expression(p, true);
        p->scope = scope;
        if (!set->b) return NULL;
        *last = set;
        last = &set->next;
    }
    if (!end_of_block(p)) return NULL;
    node->b = ct_jinja_statements(p, ends);
    p->scope = outer;
    if (p->failed) return NULL;
    p->at++;
    return end_of_block(p) ? node : NULL;
}

static jinja_node *parse_filter_block(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_FILTER_BLOCK, line);
    if (!node) return NULL;
    node->a = ct_jinja_filters(p, NULL, true);
    return node->a ? scoped_body(p, node, "endfilter") : NULL;
}

static jinja_node *parse_generation(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_GENERATION, line);
    p->parsed->generation = true;
    return node ? scoped_body(p, node, "endgeneration") : NULL;
}

static jinja_node *parse_jump(jinja_parser *p, jinja_node_kind kind, uint32_t line) {
    if (!p->loops)
        return ct_jinja_refuse(p, line, "'%s' outside of a loop", kind == NODE_BREAK ? "break" : "continue");
    jinja_node *node = ct_jinja_node(p, kind, line);
    return node && end_of_block(p) ? node : NULL;
}

static jinja_node *parse_print(jinja_parser *p, uint32_t line) {
    jinja_node *node = ct_jinja_node(p, NODE_OUTPUT, line);
    if (node) node->a = ct_jinja_tuple(p, true, false);
    return node && node->a && end_of_block(p) ? node : NULL;
}

static jinja_node *parse_statement(jinja_parser *p) {
    static const char *const refused[] = {"block",      "extends", "include", "import", "from",
                                          "autoescape", "do",      "trans",   "debug",  NULL};
    static const char *const known[] = {"if",     "for",    "set",        "macro", "call",     "with",
                                        "filter", "raw",    "generation", "break", "continue", "print",
                                        "endif",  "endfor", "elif",       "else"};
    const jinja_token *t = ct_jinja_token(p);
    if (t->kind != TOKEN_NAME) return ct_jinja_unexpected(p, "a tag's name");
    if (ct_jinja_skip_name(p, "if")) return parse_if(p, t->line);
    if (ct_jinja_skip_name(p, "for")) return parse_for(p, t->line);
    if (ct_jinja_skip_name(p, "set")) return parse_set(p, t->line);
    if (ct_jinja_skip_name(p, "macro")) return parse_macro(p, t->line);
    if (ct_jinja_skip_name(p, "call")) return parse_call_block(p, t->line);
    if (ct_jinja_skip_name(p, "with")) return parse_with(p, t->line);
    if (ct_jinja_skip_name(p, "filter")) return parse_filter_block(p, t->line);
    if (ct_jinja_skip_name(p, "generation")) return parse_generation(p, t->line);
    if (ct_jinja_skip_name(p, "print")) return parse_print(p, t->line);
    if (ct_jinja_skip_name(p, "break")) return parse_jump(p, NODE_BREAK, t->line);
    if (ct_jinja_skip_name(p, "continue")) return parse_jump(p, NODE_CONTINUE, t->line);
    for (int i = 0; refused[i]; i++)
        if (ct_jinja_is_name(p, refused[i]))
            return ct_jinja_refuse(p, t->line, "the statement '%s' is not supported in chat templates",
                                   refused[i]);
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)(t->length < 60 ? t->length : 60), t->text);
    const char *near = ct_nearest_name(name, known, sizeof(known) / sizeof(known[0]));
    return ct_jinja_refuse(p, t->line, "Encountered unknown tag '%s'.%s%s%s", name,
                           near ? " Did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* One of the words that end the statements stands behind the begin of a block. */
static bool ends_here(const jinja_parser *p, const char *const *ends) {
    const jinja_token *t = &p->tokens.items[p->at + 1];
    for (int i = 0; ends[i]; i++)
        if (t->kind == TOKEN_NAME && t->length == strlen(ends[i]) && memcmp(t->text, ends[i], t->length) == 0)
            return true;
    return false;
}

/* Up to one of `ends`, whose name is then the current token; without ends up to the end of the template. */
jinja_node *ct_jinja_statements(jinja_parser *p, const char *const *ends) {
    jinja_node *first = NULL, **last = &first;
    uint32_t line = ct_jinja_token(p)->line;
    if (!ct_jinja_parse_enter(p)) return NULL;
    while (!p->failed) {
        const jinja_token *t = ct_jinja_token(p);
        jinja_node *node = NULL;
        if (t->kind == TOKEN_END) {
            if (ends[0]) ct_jinja_refuse(p, line, "Unexpected end of template, expected '%s'", ends[0]);
            break;
        }
        if (t->kind == TOKEN_BLOCK_BEGIN && ends_here(p, ends)) {
            p->at++;
            break;
        }
        p->at++;
        if (t->kind == TOKEN_DATA) {
            node = ct_jinja_node(p, NODE_TEXT, t->line);
            if (node) node->value = jinja_text(t->text, t->length);
        } else if (t->kind == TOKEN_OUTPUT_BEGIN) {
            node = ct_jinja_node(p, NODE_OUTPUT, t->line);
            if (node) node->a = ct_jinja_tuple(p, true, false);
            if (node && node->a && ct_jinja_token(p)->kind != TOKEN_OUTPUT_END)
                ct_jinja_unexpected(p, "end of print statement");
            p->at++;
            if (node && !node->a) node = NULL;
        } else {
            node = parse_statement(p);
        }
        if (!node) break;
        *last = node;
        last = &node->next;
    }
    p->depth--;
    return p->failed ? NULL : first;
}
