/* filters_order.c - filters that sort, compare and gather: sort, unique, min, max, sum, groupby, dictsort. */
#include "template/filters.h"
#include <string.h>

/* Merges two runs that lie side by side; of equal keys the left one comes first, also when the order is
 * reversed. */
static bool merge(jinja_render *r, jinja_value *items, jinja_value *keys, jinja_value *spare, size_t left,
                  size_t count, bool reverse) {
    size_t i = 0, j = left, n = 0;
    jinja_value *spare_keys = spare + count;
    while (i < left && j < count) {
        int order;
        if (!ct_jinja_order(r, "<", &keys[j], &keys[i], &order)) return false;
        bool right = reverse ? order == 1 : order == -1;
        size_t from = right ? j++ : i++;
        spare[n] = items[from];
        spare_keys[n++] = keys[from];
    }
    for (; i < left; i++) {
        spare[n] = items[i];
        spare_keys[n++] = keys[i];
    }
    memcpy(items, spare, n * sizeof(*items)); /* what is left of the right run stands where it belongs */
    memcpy(keys, spare_keys, n * sizeof(*keys));
    return true;
}

bool ct_jinja_sort(jinja_render *r, jinja_value *items, jinja_value *keys, size_t count, bool reverse) {
    jinja_list *spare = ct_jinja_list(r, count * 2);
    if (!spare) return false;
    for (size_t width = 1; width < count; width *= 2)
        for (size_t at = 0; at + width < count; at += 2 * width) {
            size_t rest = count - at < 2 * width ? count - at : 2 * width;
            if (!merge(r, items + at, keys + at, spare->items, width, rest, reverse)) return false;
        }
    return true;
}

/* A copy of the items and their keys by an attribute, which may be several with commas between. */
static bool keyed(jinja_render *r, const jinja_value *v, const jinja_value *attribute, bool case_sensitive,
                  jinja_list **items, jinja_list **keys) {
    jinja_list *from;
    if (!ct_jinja_items(r, v, &from) || !(*items = ct_jinja_list(r, from->count)) ||
        !(*keys = ct_jinja_list(r, from->count)))
        return false;
    bool several = attribute->kind == JINJA_STRING && memchr(attribute->text, ',', attribute->length);
    size_t parts = 1;
    for (size_t i = 0; several && i < attribute->length; i++)
        parts += attribute->text[i] == ',';
    for (uint32_t i = 0; i < from->count; i++) {
        (*items)->items[i] = from->items[i];
        if (!several) {
            if (!ct_filter_key(r, &from->items[i], attribute, case_sensitive, &(*keys)->items[i]))
                return false;
            continue;
        }
        jinja_list *key = ct_jinja_list(r, parts);
        size_t at = 0;
        for (size_t k = 0; key && k < parts; k++) {
            const char *comma = memchr(attribute->text + at, ',', attribute->length - at);
            size_t end = comma ? (size_t)(comma - attribute->text) : attribute->length;
            const jinja_value part = jinja_text(attribute->text + at, end - at);
            if (!ct_filter_key(r, &from->items[i], &part, case_sensitive, &key->items[k])) return false;
            at = end + 1;
        }
        if (!key) return false;
        (*keys)->items[i] = (jinja_value){.kind = JINJA_LIST, .list = key};
    }
    return true;
}

CT_FILTER(sort) {
    jinja_value given[3];
    jinja_list *items, *keys;
    if (!ct_jinja_bind(r, "sort", "reverse case_sensitive attribute", 0, a, given) ||
        !keyed(r, v, &given[2], ct_jinja_truth(&given[1]), &items, &keys) ||
        !ct_jinja_sort(r, items->items, keys->items, items->count, ct_jinja_truth(&given[0])))
        return false;
    *out = (jinja_value){.kind = JINJA_LIST, .list = items};
    return true;
}

CT_FILTER(unique) {
    jinja_value given[2];
    jinja_list *items, *keys;
    jinja_dict *seen = ct_jinja_dict(r, 0);
    uint32_t count = 0;
    if (!seen || !ct_jinja_bind(r, "unique", "case_sensitive attribute", 0, a, given) ||
        !keyed(r, v, &given[1], ct_jinja_truth(&given[0]), &items, &keys))
        return false;
    for (uint32_t i = 0; i < items->count; i++) {
        uint32_t before = seen->count;
        if (!ct_jinja_dict_set(r, seen, &keys->items[i], &JINJA_NOTHING)) return false;
        if (seen->count > before) items->items[count++] = items->items[i];
    }
    items->count = count;
    items->type = "generator";
    *out = (jinja_value){.kind = JINJA_LIST, .list = items};
    return true;
}

static bool extreme(jinja_render *r, const jinja_value *v, const jinja_arguments *a, int wanted,
                    jinja_value *out) {
    jinja_value given[2];
    jinja_list *items, *keys;
    uint32_t best = 0;
    if (!ct_jinja_bind(r, wanted < 0 ? "min" : "max", "case_sensitive attribute", 0, a, given) ||
        !keyed(r, v, &given[1], ct_jinja_truth(&given[0]), &items, &keys))
        return false;
    for (uint32_t i = 1; i < items->count; i++) {
        int order;
        if (!ct_jinja_order(r, wanted < 0 ? "<" : ">", &keys->items[i], &keys->items[best], &order))
            return false;
        if (order == wanted) best = i;
    }
    *out = items->count
               ? items->items[best]
               : (jinja_value){.kind = JINJA_UNDEFINED, .text = "No aggregated item, sequence was empty."};
    return true;
}
CT_FILTER(min) {
    return extreme(r, v, a, -1, out);
}
CT_FILTER(max) {
    return extreme(r, v, a, 1, out);
}

CT_FILTER(sum) {
    jinja_value given[2], total, item;
    jinja_list *items;
    if (!ct_jinja_bind(r, "sum", "attribute start", 0, a, given) || !ct_jinja_items(r, v, &items))
        return false;
    total = given[1].kind == JINJA_MISSING ? jinja_int(0) : given[1];
    if (total.kind == JINJA_STRING)
        return ct_jinja_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (uint32_t i = 0; i < items->count; i++) {
        const jinja_value before = total;
        if (!ct_filter_value_at(r, &items->items[i], &given[0], NULL, &item) ||
            !ct_jinja_binary(r, JINJA_ADD, &before, &item, &total))
            return false;
    }
    *out = total;
    return true;
}

CT_FILTER(dictsort) {
    jinja_value given[3];
    if (!ct_jinja_bind(r, "dictsort", "case_sensitive by reverse", 0, a, given)) return false;
    bool by_value = ct_jinja_is(&given[1], "value");
    if (given[1].kind != JINJA_MISSING && !by_value && !ct_jinja_is(&given[1], "key"))
        return ct_jinja_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (v->kind != JINJA_DICT)
        return ct_jinja_fail(r, "dictsort: expected a dict, found %s", ct_jinja_type(v));
    const jinja_value self = *v, column = jinja_int(by_value);
    static const jinja_arguments none;
    bool refused;
    jinja_value pairs;
    jinja_list *items, *keys;
    if (!ct_jinja_call_dict(r, &self, ct_jinja_dict_method("items", 5, &refused), &none, &pairs))
        return false;
    pairs.list->type = NULL;
    if (!keyed(r, &pairs, &column, ct_jinja_truth(&given[0]), &items, &keys) ||
        !ct_jinja_sort(r, items->items, keys->items, items->count, ct_jinja_truth(&given[2])))
        return false;
    *out = (jinja_value){.kind = JINJA_LIST, .list = items};
    return true;
}

/* Pairs of a key and the items that have it, sorted by key. */
CT_FILTER(groupby) {
    jinja_value given[3], pair_key;
    jinja_list *from, *items, *keys, *groups = ct_jinja_list(r, 0), *members = NULL;
    uint32_t capacity = 0, held = 0;
    if (!groups || !ct_jinja_bind(r, "groupby", "attribute default case_sensitive", 1, a, given) ||
        !ct_jinja_items(r, v, &from) || !(items = ct_jinja_list(r, from->count)) ||
        !(keys = ct_jinja_list(r, from->count)))
        return false;
    bool exact = ct_jinja_truth(&given[2]);
    for (uint32_t i = 0; i < from->count; i++) {
        items->items[i] = from->items[i];
        if (!ct_filter_value_at(r, &from->items[i], &given[0], &given[1], &pair_key) ||
            !ct_filter_key(r, &pair_key, NULL, exact, &keys->items[i]))
            return false;
    }
    if (!ct_jinja_sort(r, items->items, keys->items, items->count, false)) return false;
    for (uint32_t i = 0; i < items->count; i++) {
        bool same = false;
        if (i && !ct_jinja_equal(r, &keys->items[i - 1], &keys->items[i], &same)) return false;
        if (!same) {
            jinja_list *pair = ct_jinja_list(r, 2);
            members = pair ? ct_jinja_list(r, 0) : NULL;
            if (!members || !ct_filter_value_at(r, &items->items[i], &given[0], &given[1], &pair->items[0]))
                return false;
            pair->items[1] = (jinja_value){.kind = JINJA_LIST, .list = members};
            held = 0;
            const jinja_value tuple = {.kind = JINJA_TUPLE, .list = pair};
            if (!ct_jinja_list_push(r, groups, &capacity, &tuple)) return false;
        }
        if (!ct_jinja_list_push(r, members, &held, &items->items[i])) return false;
    }
    *out = (jinja_value){.kind = JINJA_LIST, .list = groups};
    return true;
}
