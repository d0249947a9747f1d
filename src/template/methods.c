/* methods.c - methods of lists, tuples and dictionaries. What would change them is refused, as in the
 * sandbox. */
#include "template/value.h"
#include <string.h>

static int index_of(const char *const *names, const char *name, size_t length) {
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) return i;
    return -1;
}

static const char *const list_methods[] = {"index",  "count", "copy",   "append",  "clear", "extend",
                                           "insert", "pop",   "remove", "reverse", "sort",  NULL};
static const char *const dict_methods[] = {"items",  "keys",  "values",     "get",     "copy", "pop",
                                           "update", "clear", "setdefault", "popitem", NULL};
enum { LIST_CHANGES = 3, DICT_CHANGES = 5 };

int ct_jinja_list_method(const char *name, size_t length, bool *refused) {
    *refused = false;
    return index_of(list_methods, name, length);
}

int ct_jinja_dict_method(const char *name, size_t length, bool *refused) {
    *refused = length == 8 && memcmp(name, "fromkeys", 8) == 0;
    return index_of(dict_methods, name, length);
}

static bool unsafe(jinja_render *r, const char *name, const jinja_value *self) {
    return ct_jinja_fail(r, "access to attribute '%s' of '%s' object is unsafe.", name, ct_jinja_type(self));
}

bool ct_jinja_call_list(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_value given[3];
    const jinja_list *list = self->list;
    int64_t found = 0, start = 0, stop = list->count;
    bool equal = false;
    if (id >= LIST_CHANGES) return unsafe(r, list_methods[id], self);
    if (id == 2) {
        *out = *self;
        return ct_jinja_bind(r, "copy", "", 0, arguments, given);
    }
    if (!ct_jinja_bind(r, list_methods[id], id == 0 ? "value start stop" : "value", 1, arguments, given))
        return false;
    if (id == 0 && (!ct_jinja_integer_of(r, "index", &given[1], 0, &start) ||
                    !ct_jinja_integer_of(r, "index", &given[2], list->count, &stop)))
        return false;
    if (start < 0) start = start + list->count < 0 ? 0 : start + list->count;
    if (stop < 0) stop += list->count;
    for (int64_t i = start; i < stop && i < list->count; i++) {
        if (!ct_jinja_equal(r, &list->items[i], &given[0], &equal)) return false;
        found += equal;
        if (id == 0 && equal) {
            *out = jinja_int(i);
            return true;
        }
    }
    if (id == 0) return ct_jinja_fail(r, "the value is not in the %s", ct_jinja_type(self));
    *out = jinja_int(found);
    return true;
}

/* items, keys or values, as the views of Python. */
static bool view(jinja_render *r, const jinja_dict *dict, int id, jinja_value *out) {
    static const char *const types[] = {"dict_items", "dict_keys", "dict_values"};
    jinja_list *list = ct_jinja_list(r, dict->count);
    if (!list) return false;
    for (uint32_t i = 0; i < dict->count; i++) {
        const jinja_entry *entry = &dict->entries[i];
        if (id > 0) {
            list->items[i] = id == 1 ? entry->key : entry->value;
            continue;
        }
        jinja_list *pair = ct_jinja_list(r, 2);
        if (!pair) return false;
        pair->items[0] = entry->key;
        pair->items[1] = entry->value;
        list->items[i] = (jinja_value){.kind = JINJA_TUPLE, .list = pair};
    }
    list->type = types[id];
    *out = (jinja_value){.kind = JINJA_LIST, .list = list};
    return true;
}

bool ct_jinja_call_dict(jinja_render *r, const jinja_value *self, int id, const jinja_arguments *arguments,
                        jinja_value *out) {
    jinja_value given[2];
    if (id >= DICT_CHANGES) return unsafe(r, dict_methods[id], self);
    if (!ct_jinja_bind(r, dict_methods[id], id == 3 ? "key default" : "", id == 3, arguments, given))
        return false;
    if (id < 3) return view(r, self->dict, id, out);
    if (id == 4) {
        *out = *self;
        return true;
    }
    const jinja_value *found = ct_jinja_dict_get(r, self->dict, &given[0]);
    if (r->failed) return false;
    *out = found ? *found : given[1].kind == JINJA_MISSING ? JINJA_NOTHING : given[1];
    return true;
}
