/* parser.c - what expressions and statements share: tokens, nodes, names; and ct_template_parse. */
#include "template/node.h"
#include <string.h>

enum { PARSE_DEPTH = 200, LARGEST_TEMPLATE = 16 << 20 };

void *ct_jinja_refuse(jinja_parser *p, uint32_t line, const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    p->failed = true;
    ct_fail(p->context, CT_ERROR_FORMAT, "%s:%u: %s", p->parsed->label, (unsigned)line, text);
    return NULL;
}

/* -------------------------------------------------------------------------------------------- names */

/* FNV-1a. */
static uint32_t hash_of(const char *text, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

int64_t ct_jinja_name_number(const ct_template *t, const char *text, size_t length) {
    if (!t->name_buckets) return -1;
    for (uint32_t slot = hash_of(text, length);; slot++) {
        uint32_t number = t->name_table[slot & (t->name_buckets - 1)];
        if (!number) return -1;
        const jinja_name *name = t->names[number - 1];
        if (name->length == length && memcmp(name->text, text, length) == 0) return name->number;
    }
}

static bool grow_names(jinja_parser *p) {
    ct_template *t = p->parsed;
    uint32_t buckets = t->name_buckets ? t->name_buckets * 2 : 64;
    uint32_t *table = ct_jinja_take(&t->arena, buckets * sizeof(*table));
    const jinja_name **names = ct_jinja_take(&t->arena, buckets * sizeof(*names));
    if (!table || !names) return !(p->failed = true);
    memset(table, 0, buckets * sizeof(*table));
    for (uint32_t i = 0; i < t->name_count; i++) {
        uint32_t slot = hash_of(t->names[i]->text, t->names[i]->length);
        while (table[slot & (buckets - 1)])
            slot++;
        table[slot & (buckets - 1)] = i + 1;
        names[i] = t->names[i];
    }
    t->name_table = table;
    t->names = names;
    t->name_buckets = buckets;
    return true;
}

const jinja_name *ct_jinja_intern(jinja_parser *p, const char *text, size_t length) {
    ct_template *t = p->parsed;
    int64_t number = ct_jinja_name_number(t, text, length);
    if (number >= 0) return t->names[number];
    if (t->name_count * 2 >= t->name_buckets && !grow_names(p)) return NULL;
    jinja_name *name = ct_jinja_take(&t->arena, sizeof(*name));
    char *copy = name ? ct_jinja_copy(&t->arena, text, length) : NULL;
    if (!copy) {
        p->failed = true;
        return NULL;
    }
    *name = (jinja_name){copy, (uint32_t)length, t->name_count};
    uint32_t slot = hash_of(text, length);
    while (t->name_table[slot & (t->name_buckets - 1)])
        slot++;
    t->name_table[slot & (t->name_buckets - 1)] = t->name_count + 1;
    t->names[t->name_count++] = name;
    return name;
}

/* -------------------------------------------------------------------------------------------- nodes */

jinja_node *ct_jinja_node(jinja_parser *p, jinja_node_kind kind, uint32_t line) {
    jinja_node *node = ct_jinja_take(&p->parsed->arena, sizeof(*node));
    if (!node) {
        p->failed = true;
        return NULL;
    }
    memset(node, 0, sizeof(*node));
    node->kind = (uint8_t)kind;
    node->line = line;
    return node;
}

jinja_node *ct_jinja_name_node(jinja_parser *p, const jinja_name *name, uint32_t line) {
    jinja_node *node = name ? ct_jinja_node(p, NODE_NAME, line) : NULL;
    if (!node) return NULL;
    node->name = name;
    node->scope = p->scope;
    if (p->last_name)
        p->last_name->link = node;
    else
        p->first_name = node;
    p->last_name = node;
    return node;
}

bool ct_jinja_parse_enter(jinja_parser *p) {
    if (++p->depth <= PARSE_DEPTH) return true;
    p->depth--;
    ct_jinja_refuse(p, ct_jinja_token(p)->line, "nested deeper than %d levels", PARSE_DEPTH);
    return false;
}

/* -------------------------------------------------------------------------------------------- tokens */

jinja_token *ct_jinja_token(jinja_parser *p) {
    return &p->tokens.items[p->at];
}

static bool spelled(const jinja_token *t, jinja_token_kind kind, const char *text) {
    return t->kind == kind && t->length == strlen(text) && memcmp(t->text, text, t->length) == 0;
}

bool ct_jinja_is_operator(const jinja_parser *p, const char *text) {
    return spelled(&p->tokens.items[p->at], TOKEN_OPERATOR, text);
}

bool ct_jinja_is_name(const jinja_parser *p, const char *text) {
    return spelled(&p->tokens.items[p->at], TOKEN_NAME, text);
}

bool ct_jinja_skip_operator(jinja_parser *p, const char *text) {
    bool there = ct_jinja_is_operator(p, text);
    p->at += there;
    return there;
}

bool ct_jinja_skip_name(jinja_parser *p, const char *text) {
    bool there = ct_jinja_is_name(p, text);
    p->at += there;
    return there;
}

void *ct_jinja_unexpected(jinja_parser *p, const char *expected) {
    static const char *const shown[] = {"text", "{{", "end of print statement", "{%",
                                        "end of statement block"};
    const jinja_token *t = ct_jinja_token(p);
    if (t->kind == TOKEN_END)
        return ct_jinja_refuse(p, t->line, "unexpected end of template, expected %s", expected);
    if (t->kind <= TOKEN_BLOCK_END)
        return ct_jinja_refuse(p, t->line, "unexpected %s, expected %s", shown[t->kind], expected);
    return ct_jinja_refuse(p, t->line, "unexpected \"%.*s\", expected %s",
                           (int)(t->length < 60 ? t->length : 60), t->text, expected);
}

bool ct_jinja_expect_operator(jinja_parser *p, const char *text) {
    char quoted[8];
    if (ct_jinja_skip_operator(p, text)) return true;
    snprintf(quoted, sizeof(quoted), "\"%s\"", text);
    ct_jinja_unexpected(p, quoted);
    return false;
}

/* -------------------------------------------------------------------------------------------- whole */

static bool parse_all(jinja_parser *p, const char *text, size_t length) {
    static const char *const none[] = {NULL};
    ct_template *t = p->parsed;
    size_t good = ct_utf8_check(text, length);
    if (good < length) {
        ct_fail(p->context, CT_ERROR_FORMAT, "%s: the template is not UTF-8 (byte 0x%02x at %zu)", t->label,
                (unsigned char)text[good], good);
        return false;
    }
    t->source = ct_jinja_copy(&t->arena, text, length);
    t->source_length = length;
    if (!t->source || !ct_jinja_tokenize(p, text, length)) return false;
    t->main = ct_jinja_open_function(p, NULL, 1);
    if (!t->main) return false;
    t->main->body = ct_jinja_statements(p, none);
    ct_jinja_close_function(p, NULL);
    if (p->failed || !ct_jinja_resolve(p)) return false;
    t->functions = ct_jinja_take(&t->arena, (t->name_count + 1) * sizeof(*t->functions));
    if (!t->functions) return false;
    for (uint32_t i = 0; i < t->name_count; i++)
        t->functions[i] = (int16_t)ct_jinja_function_find(t->names[i]->text, t->names[i]->length);
    return true;
}

ct_template *ct_template_parse(ct_context *context, const char *text, size_t length, const char *name) {
    if (ct_failed(context)) return NULL;
    if (length > LARGEST_TEMPLATE) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: a template of %zu bytes, expected at most %d",
                name ? name : "template", length, LARGEST_TEMPLATE);
        return NULL;
    }
    ct_template *parsed = ct_alloc_zero(context, sizeof(*parsed), CT_MEMORY_OTHER);
    if (!parsed) return NULL;
    parsed->context = context;
    parsed->arena = (jinja_arena){.context = context, .most = SIZE_MAX / 2};
    jinja_parser p = {.context = context, .parsed = parsed};
    const char *label = name ? name : "template";
    parsed->label = ct_jinja_copy(&parsed->arena, label, strlen(label));
    bool fine = parsed->label && parse_all(&p, text, length);
    ct_free(context, p.tokens.items);
    ct_free(context, p.keys);
    ct_free(context, p.values);
    if (fine) return parsed;
    ct_template_destroy(parsed);
    return NULL;
}

void ct_template_destroy(ct_template *parsed) {
    if (!parsed) return;
    ct_jinja_arena_free(&parsed->arena);
    ct_free(parsed->context, parsed);
}

bool ct_template_mentions(const ct_template *parsed, const char *name) {
    return ct_jinja_name_number(parsed, name, strlen(name)) >= 0;
}

bool ct_template_has_generation(const ct_template *parsed) {
    return parsed->generation;
}

const char *ct_template_text(const ct_template *parsed, size_t *length) {
    if (length) *length = parsed->source_length;
    return parsed->source;
}
