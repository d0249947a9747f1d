/* values.c - lists and dictionaries, what is iterable and true, and trees of ct_value as values. */
#include "template/node.h"
#include <string.h>

enum { SMALL_DICT = 8, ROLE_LENGTH = 64 };

jinja_value ct_jinja_undefined(jinja_render *r, const char *format, ...) {
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    const char *copy = ct_jinja_copy(&r->arena, text, strlen(text));
    if (!copy) r->failed = true;
    return (jinja_value){.kind = JINJA_UNDEFINED, .text = copy ? copy : ""};
}

const char *ct_jinja_type(const jinja_value *v) {
    static const char *const names[] = {"Undefined",
                                        "Undefined",
                                        "NoneType",
                                        "bool",
                                        "int",
                                        "float",
                                        "str",
                                        "list",
                                        "tuple",
                                        "dict",
                                        "Namespace",
                                        "function",
                                        "builtin_function_or_method",
                                        "Macro",
                                        "LoopContext",
                                        "Cycler",
                                        "Joiner"};
    if (v->kind == JINJA_LIST && v->list->type) return v->list->type;
    if (v->kind == JINJA_STRING && v->safe) return "Markup";
    return names[v->kind];
}

bool ct_jinja_truth(const jinja_value *v) {
    switch (v->kind) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->truth;
    case JINJA_INT:
        return v->integer != 0;
    case JINJA_REAL:
        return v->real != 0;
    case JINJA_STRING:
        return v->length > 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return v->list->count > 0;
    case JINJA_DICT:
        return v->dict->count > 0;
    default:
        return true;
    }
}

/* --------------------------------------------------------------------------------------------- lists */

jinja_list *ct_jinja_list(jinja_render *r, size_t count) {
    jinja_list *list = NULL;
    if (count < UINT32_MAX / 32)
        list = ct_jinja_take(&r->arena, sizeof(*list) + count * sizeof(*list->items));
    else
        ct_jinja_fail(r, "a list of %zu items is too long", count);
    if (!list) {
        r->failed = true;
        return NULL;
    }
    if (!jinja_work(r, count)) return NULL;
    *list = (jinja_list){.count = (uint32_t)count, .items = (jinja_value *)(list + 1)};
    return list;
}

bool ct_jinja_list_push(jinja_render *r, jinja_list *list, uint32_t *capacity, const jinja_value *item) {
    if (list->count == *capacity) {
        uint32_t wider = *capacity ? *capacity * 2 : 8;
        const jinja_list *grown = ct_jinja_list(r, wider);
        if (!grown) return false;
        if (list->count) memcpy(grown->items, list->items, list->count * sizeof(*list->items));
        list->items = grown->items;
        *capacity = wider;
    }
    list->items[list->count++] = *item;
    return jinja_work(r, 1);
}

/* --------------------------------------------------------------------------------------- dictionaries */

jinja_dict *ct_jinja_dict(jinja_render *r, size_t capacity) {
    jinja_dict *dict = ct_jinja_take(&r->arena, sizeof(*dict));
    if (capacity > UINT32_MAX / 64) {
        ct_jinja_fail(r, "a dict of %zu items is too large", capacity);
        return NULL;
    }
    jinja_entry *entries = dict ? ct_jinja_take(&r->arena, (capacity + 1) * sizeof(*entries)) : NULL;
    if (!entries) {
        r->failed = true;
        return NULL;
    }
    *dict = (jinja_dict){.capacity = (uint32_t)capacity + 1, .entries = entries};
    return dict;
}

static uint64_t hash_text(const char *text, size_t length) {
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length, word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0x9fb21c651e98df25u;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, length);
    hash = (hash ^ word) * 0x9fb21c651e98df25u;
    return hash ^ hash >> 29;
}

static bool hash_of(jinja_render *r, const jinja_value *key, uint64_t *hash) {
    double real = 0;
    switch (key->kind) {
    case JINJA_STRING:
        *hash = hash_text(key->text, key->length);
        return true;
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_REAL: /* equal numbers of all types are one key */
        real = jinja_number(key) + 0.0;
        memcpy(hash, &real, sizeof(real));
        *hash *= 0x9fb21c651e98df25u;
        *hash ^= *hash >> 31;
        return true;
    case JINJA_TUPLE:
        *hash = key->list->count;
        if (!jinja_enter(r)) return false;
        for (uint32_t i = 0; i < key->list->count; i++) {
            uint64_t part = 0;
            if (!jinja_work(r, 1) || !hash_of(r, &key->list->items[i], &part)) return false;
            *hash = (*hash ^ part) * 0xd6e8feb86659fd93u;
        }
        r->depth--;
        return true;
    case JINJA_LIST:
    case JINJA_DICT:
        return ct_jinja_fail(r, "unhashable type: '%s'", ct_jinja_type(key));
    default:
        *hash = key->kind;
        return true;
    }
}

static bool key_equal(jinja_render *r, const jinja_value *a, const jinja_value *b) {
    bool equal = false;
    if (a->kind == JINJA_STRING && b->kind == JINJA_STRING) return ct_jinja_same(a, b);
    return ct_jinja_equal(r, a, b, &equal) && equal;
}

static bool build_table(jinja_render *r, jinja_dict *dict) {
    uint32_t buckets = 32;
    while (buckets < dict->count * 3)
        buckets *= 2;
    dict->table = ct_jinja_take(&r->arena, buckets * sizeof(*dict->table));
    if (!dict->table || !jinja_work(r, buckets / 8)) return !(r->failed = true);
    memset(dict->table, 0, buckets * sizeof(*dict->table));
    dict->buckets = buckets;
    for (uint32_t i = 0; i < dict->count; i++) {
        uint64_t slot = dict->entries[i].hash;
        while (dict->table[slot & (buckets - 1)])
            slot++;
        dict->table[slot & (buckets - 1)] = i + 1;
    }
    return true;
}

static jinja_entry *locate(jinja_render *r, const jinja_dict *dict, const jinja_value *key, uint64_t hash) {
    if (!dict->buckets) {
        for (uint32_t i = 0; i < dict->count; i++)
            if (dict->entries[i].hash == hash && key_equal(r, &dict->entries[i].key, key))
                return &dict->entries[i];
        return NULL;
    }
    for (uint64_t slot = hash;; slot++) {
        uint32_t at = dict->table[slot & (dict->buckets - 1)];
        if (!at) return NULL;
        jinja_entry *entry = &dict->entries[at - 1];
        if (entry->hash == hash && key_equal(r, &entry->key, key)) return entry;
        if (!jinja_work(r, 1)) return NULL;
    }
}

bool ct_jinja_dict_set(jinja_render *r, jinja_dict *dict, const jinja_value *key, const jinja_value *value) {
    uint64_t hash = 0;
    if (!jinja_work(r, 1) || !hash_of(r, key, &hash)) return false;
    jinja_entry *entry = locate(r, dict, key, hash);
    if (r->failed) return false;
    if (entry) {
        entry->value = *value;
        return true;
    }
    if (dict->count == dict->capacity) {
        uint32_t capacity = dict->capacity * 2 + 4;
        jinja_entry *entries = ct_jinja_take(&r->arena, capacity * sizeof(*entries));
        if (!entries) return !(r->failed = true);
        memcpy(entries, dict->entries, dict->count * sizeof(*entries));
        dict->entries = entries;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (jinja_entry){*key, *value, hash};
    if (dict->count <= SMALL_DICT) return true;
    if (dict->count * 2 > dict->buckets) return build_table(r, dict);
    while (dict->table[hash & (dict->buckets - 1)])
        hash++;
    dict->table[hash & (dict->buckets - 1)] = dict->count;
    return true;
}

const jinja_value *ct_jinja_dict_get(jinja_render *r, const jinja_dict *dict, const jinja_value *key) {
    uint64_t hash = 0;
    if (!hash_of(r, key, &hash)) return NULL;
    const jinja_entry *entry = locate(r, dict, key, hash);
    return entry ? &entry->value : NULL;
}

const jinja_value *ct_jinja_dict_find(jinja_render *r, const jinja_dict *dict, const char *text,
                                      size_t length) {
    if (!dict->buckets) {
        for (uint32_t i = 0; i < dict->count; i++) {
            const jinja_value *key = &dict->entries[i].key;
            if (key->kind == JINJA_STRING && key->length == length && memcmp(key->text, text, length) == 0)
                return &dict->entries[i].value;
        }
        return NULL;
    }
    const jinja_value key = jinja_text(text, length);
    return ct_jinja_dict_get(r, dict, &key);
}

/* ------------------------------------------------------------------------------------------ conversion */

/* Templates put roles into marks ("<|" + role + "|>"), so a role that is one plain word counts as theirs. */
static bool plain_role(const char *key, const ct_value *value) {
    size_t length = ct_value_string_length(value);
    const char *text = ct_value_as_string(value, "");
    if (ct_value_kind_of(value) != CT_VALUE_STRING || strcmp(key, "role") != 0 || !length ||
        length > ROLE_LENGTH)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

static bool convert_list(jinja_render *r, const ct_value *value, size_t limit, unsigned marks, int depth,
                         jinja_value *out) {
    size_t count = ct_value_count(value);
    if (limit && count > limit) count = limit;
    jinja_list *list = ct_jinja_list(r, count);
    if (!list) return false;
    for (size_t i = 0; i < count; i++)
        if (!ct_jinja_convert(r, ct_value_at(value, i), marks, depth + 1, &list->items[i])) return false;
    *out = (jinja_value){.kind = JINJA_LIST, .list = list};
    return true;
}

static bool convert_map(jinja_render *r, const ct_value *value, unsigned marks, int depth, jinja_value *out) {
    size_t count = ct_value_count(value);
    jinja_dict *dict = ct_jinja_dict(r, count);
    if (!dict) return false;
    for (size_t i = 0; i < count; i++) {
        const char *name = ct_value_key(value, i);
        const ct_value *item = ct_value_at(value, i);
        jinja_value key = jinja_text(name, strlen(name)), held;
        key.marks = (uint8_t)marks;
        if (!ct_jinja_convert(r, item, plain_role(name, item) ? 0 : marks, depth + 1, &held)) return false;
        /* keys of a map differ, so they need not be looked for */
        dict->entries[dict->count++] = (jinja_entry){key, held, hash_text(key.text, key.length)};
    }
    if (dict->count > SMALL_DICT && !build_table(r, dict)) return false;
    *out = (jinja_value){.kind = JINJA_DICT, .dict = dict};
    return jinja_work(r, count);
}

bool ct_jinja_convert(jinja_render *r, const ct_value *value, unsigned marks, int depth, jinja_value *out) {
    if (depth > 200) return ct_jinja_fail(r, "a variable is nested deeper than 200 levels");
    switch (ct_value_kind_of(value)) {
    case CT_VALUE_NULL:
        *out = JINJA_NOTHING;
        return true;
    case CT_VALUE_BOOL:
        *out = jinja_bool(ct_value_as_bool(value, false));
        return true;
    case CT_VALUE_INT:
        *out = jinja_int(ct_value_as_int(value, 0));
        return true;
    case CT_VALUE_REAL:
        *out = jinja_real(ct_value_as_real(value, 0));
        return true;
    case CT_VALUE_STRING:
        if (ct_value_string_length(value) > UINT32_MAX / 2)
            return ct_jinja_fail(r, "a variable holds a text of %zu bytes", ct_value_string_length(value));
        *out = jinja_text(ct_value_as_string(value, ""), ct_value_string_length(value));
        out->marks = (uint8_t)marks;
        return true;
    case CT_VALUE_LIST:
        return convert_list(r, value, 0, marks, depth, out);
    default:
        return convert_map(r, value, marks, depth, out);
    }
}

bool ct_jinja_convert_some(jinja_render *r, const ct_value *value, size_t limit, unsigned marks,
                           jinja_value *out) {
    if (ct_value_kind_of(value) == CT_VALUE_LIST) return convert_list(r, value, limit, marks, 0, out);
    return ct_jinja_convert(r, value, marks, 0, out);
}

/* ------------------------------------------------------------------------------------------- iteration */

static bool characters(jinja_render *r, const jinja_value *text, jinja_list **items) {
    size_t count = ct_jinja_characters(text->text, text->length), at = 0;
    jinja_list *list = ct_jinja_list(r, count);
    if (!list) return false;
    for (size_t i = 0; i < count; i++) {
        size_t end = at + 1;
        while (end < text->length && ((unsigned char)text->text[end] & 0xc0) == 0x80)
            end++;
        if (!ct_jinja_part(r, text, at, end, &list->items[i])) return false;
        at = end;
    }
    *items = list;
    return true;
}

bool ct_jinja_items(jinja_render *r, const jinja_value *v, jinja_list **items) {
    switch (v->kind) {
    case JINJA_LIST:
    case JINJA_TUPLE:
        *items = v->list;
        return true;
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
        return (*items = ct_jinja_list(r, 0)) != NULL;
    case JINJA_STRING:
        return characters(r, v, items);
    case JINJA_DICT:
        *items = ct_jinja_list(r, v->dict->count);
        for (uint32_t i = 0; *items && i < v->dict->count; i++)
            (*items)->items[i] = v->dict->entries[i].key;
        return *items != NULL;
    default:
        return ct_jinja_fail(r, "'%s' object is not iterable", ct_jinja_type(v));
    }
}
