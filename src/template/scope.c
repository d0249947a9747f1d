/* scope.c - where a name's value stands: scopes are found while a template is parsed, names afterwards,
 * because a variable may be used in front of the statement that sets it. */
#include "template/node.h"
#include <string.h>

static uint64_t key_of(const jinja_scope *scope, const jinja_name *name) {
    return (uint64_t)scope->number << 32 | name->number | 1ull << 31;
}

static uint64_t mix(uint64_t key) {
    key = (key ^ key >> 29) * 0xbf58476d1ce4e5b9u;
    return key ^ key >> 32;
}

int64_t ct_jinja_declared(const jinja_parser *p, const jinja_scope *scope, const jinja_name *name) {
    uint64_t key = key_of(scope, name);
    if (!p->buckets) return -1;
    for (uint64_t slot = mix(key);; slot++) {
        uint64_t found = p->keys[slot & (p->buckets - 1)];
        if (!found) return -1;
        if (found == key) return p->values[slot & (p->buckets - 1)];
    }
}

static bool grow(jinja_parser *p) {
    uint32_t buckets = p->buckets ? p->buckets * 2 : 64;
    uint64_t *keys = ct_alloc_zero(p->context, buckets * sizeof(*keys), CT_MEMORY_OTHER);
    uint32_t *values = keys ? ct_alloc(p->context, buckets * sizeof(*values), CT_MEMORY_OTHER) : NULL;
    if (!values) {
        ct_free(p->context, keys);
        return !(p->failed = true);
    }
    for (uint32_t i = 0; i < p->buckets; i++) {
        if (!p->keys[i]) continue;
        uint64_t slot = mix(p->keys[i]);
        while (keys[slot & (buckets - 1)])
            slot++;
        keys[slot & (buckets - 1)] = p->keys[i];
        values[slot & (buckets - 1)] = p->values[i];
    }
    ct_free(p->context, p->keys);
    ct_free(p->context, p->values);
    p->keys = keys;
    p->values = values;
    p->buckets = buckets;
    return true;
}

bool ct_jinja_declare(jinja_parser *p, jinja_scope *scope, const jinja_name *name) {
    if (!name) return false;
    if (ct_jinja_declared(p, scope, name) >= 0) return true;
    if (p->declared * 2 >= p->buckets && !grow(p)) return false;
    uint64_t key = key_of(scope, name), slot = mix(key);
    while (p->keys[slot & (p->buckets - 1)])
        slot++;
    p->keys[slot & (p->buckets - 1)] = key;
    p->values[slot & (p->buckets - 1)] = scope->count++;
    p->declared++;
    return true;
}

jinja_scope *ct_jinja_open_scope(jinja_parser *p) {
    jinja_scope *scope = ct_jinja_take(&p->parsed->arena, sizeof(*scope));
    if (!scope) {
        p->failed = true;
        return NULL;
    }
    *scope = (jinja_scope){.outer = p->scope, .function = p->function, .number = ++p->scopes};
    if (p->last_scope)
        p->last_scope->next = scope;
    else
        p->first_scope = scope;
    p->last_scope = p->scope = scope;
    return scope;
}

jinja_function *ct_jinja_open_function(jinja_parser *p, const jinja_name *name, uint32_t line) {
    jinja_function *made = ct_jinja_take(&p->parsed->arena, sizeof(*made));
    if (!made) {
        p->failed = true;
        return NULL;
    }
    *made = (jinja_function){
        .name = name, .outer = p->function, .line = line, .caller = -1, .varargs = -1, .kwargs = -1};
    p->function = made;
    made->scope = ct_jinja_open_scope(p);
    return made->scope ? made : NULL;
}

void ct_jinja_close_function(jinja_parser *p, jinja_scope *outer) {
    p->function = p->function->outer;
    p->scope = outer;
}

/* Finds the scopes around a name that declare it. */
static bool resolve_name(jinja_parser *p, jinja_node *node) {
    jinja_place found[CT_TEMPLATE_BRACKETS * 2 + 8];
    uint32_t count = 0, up = 0;
    for (const jinja_scope *s = node->scope; s; s = s->outer) {
        int64_t slot = ct_jinja_declared(p, s, node->name);
        if (slot >= 0 && count < sizeof(found) / sizeof(found[0]))
            found[count++] = (jinja_place){up, s->first + (uint32_t)slot};
        if (s->outer && s->outer->function != s->function) up++;
    }
    node->places.count = count;
    if (!count) return true;
    node->places.list = ct_jinja_take(&p->parsed->arena, count * sizeof(*found));
    if (!node->places.list) return !(p->failed = true);
    memcpy(node->places.list, found, count * sizeof(*found));
    return true;
}

bool ct_jinja_resolve(jinja_parser *p) {
    for (jinja_scope *s = p->first_scope; s; s = s->next) {
        s->first = s->function->slots;
        s->function->slots += s->count;
    }
    for (jinja_node *node = p->first_name; node; node = node->link)
        if (!resolve_name(p, node)) return false;
    return true;
}
