/* filters_list.c - filters that take lists apart and choose from them. */
#include "template/filters.h"
#include <string.h>

bool ct_filter_value_at(jinja_render *r, const jinja_value *v, const jinja_value *attribute,
                        const jinja_value *default_value, jinja_value *out) {
    *out = *v;
    if (!attribute || attribute->kind == JINJA_MISSING || attribute->kind == JINJA_NONE) return true;
    if (attribute->kind != JINJA_STRING) {
        const jinja_value base = *v;
        return ct_jinja_subscript(r, &base, attribute, out);
    }
    for (size_t at = 0; at <= attribute->length;) {
        const char *part = attribute->text + at, *dot = memchr(part, '.', attribute->length - at);
        size_t length = dot ? (size_t)(dot - part) : attribute->length - at;
        jinja_value key = jinja_text(part, length);
        const jinja_value base = *out;
        if (length && length < 10 && strspn(part, "0123456789") >= length) {
            key = jinja_int(0);
            for (size_t i = 0; i < length; i++)
                key.integer = key.integer * 10 + (part[i] - '0');
        }
        if (!jinja_work(r, 1) || !ct_jinja_subscript(r, &base, &key, out)) return false;
        if (out->kind == JINJA_UNDEFINED && default_value && default_value->kind != JINJA_MISSING)
            *out = *default_value;
        at += length + 1;
    }
    return true;
}

bool ct_filter_key(jinja_render *r, const jinja_value *v, const jinja_value *attribute, bool case_sensitive,
                   jinja_value *out) {
    if (!ct_filter_value_at(r, v, attribute, NULL, out)) return false;
    const jinja_value found = *out;
    return case_sensitive || found.kind != JINJA_STRING || ct_jinja_case(r, &found, JINJA_LOWER, out);
}

static jinja_value as_list(jinja_list *list) {
    return (jinja_value){.kind = JINJA_LIST, .list = list};
}

/* ------------------------------------------------------------------------------------- whole lists */

CT_FILTER(length) {
    if (!ct_jinja_bind(r, "length", "", 0, a, NULL)) return false;
    switch (v->kind) {
    case JINJA_UNDEFINED:
        *out = jinja_int(0);
        return true;
    case JINJA_STRING:
        *out = jinja_int((int64_t)ct_jinja_characters(v->text, v->length));
        return jinja_work(r, v->length / 32);
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = jinja_int(v->list->count);
        return true;
    case JINJA_DICT:
        *out = jinja_int(v->dict->count);
        return true;
    case JINJA_LOOP:
        *out = jinja_int(v->loop->items->count);
        return true;
    default:
        return ct_jinja_fail(r, "object of type '%s' has no len()", ct_jinja_type(v));
    }
}

static bool edge(jinja_render *r, const jinja_value *v, bool last, jinja_value *out) {
    jinja_list *items;
    if (!ct_jinja_items(r, v, &items)) return false;
    if (items->count)
        *out = items->items[last ? items->count - 1 : 0];
    else
        *out = (jinja_value){.kind = JINJA_UNDEFINED,
                             .text = last ? "No last item, sequence was empty."
                                          : "No first item, sequence was empty."};
    return true;
}
CT_FILTER(first) {
    return ct_jinja_bind(r, "first", "", 0, a, NULL) && edge(r, v, false, out);
}
CT_FILTER(last) {
    return ct_jinja_bind(r, "last", "", 0, a, NULL) && edge(r, v, true, out);
}

CT_FILTER(list) {
    jinja_list *items, *copy;
    if (!ct_jinja_bind(r, "list", "", 0, a, NULL) || !ct_jinja_items(r, v, &items)) return false;
    copy = ct_jinja_list(r, items->count);
    if (!copy) return false;
    if (items->count) memcpy(copy->items, items->items, items->count * sizeof(*items->items));
    *out = as_list(copy);
    return true;
}

CT_FILTER(reverse) {
    jinja_list *items, *turned;
    const jinja_value self = *v;
    if (!ct_jinja_bind(r, "reverse", "", 0, a, NULL) || !ct_jinja_items(r, &self, &items)) return false;
    turned = ct_jinja_list(r, items->count);
    if (!turned) return false;
    for (uint32_t i = 0; i < items->count; i++)
        turned->items[i] = items->items[items->count - 1 - i];
    *out = as_list(turned);
    if (self.kind != JINJA_STRING) return true;
    jinja_capture capture = ct_jinja_begin(r);
    for (uint32_t i = 0; i < turned->count; i++)
        if (!jinja_put_text(r, &turned->items[i])) return false;
    return ct_jinja_end(r, capture, out);
}

CT_FILTER(join) {
    jinja_value given[2], separator, item;
    jinja_list *items;
    if (!ct_jinja_bind(r, "join", "d attribute", 0, a, given) || !ct_jinja_items(r, v, &items)) return false;
    if (given[0].kind == JINJA_MISSING)
        separator = jinja_text("", 0);
    else if (!ct_jinja_string(r, &given[0], &separator))
        return false;
    jinja_capture capture = ct_jinja_begin(r);
    for (uint32_t i = 0; i < items->count; i++)
        if (!jinja_work(r, 1) || (i && !jinja_put_text(r, &separator)) ||
            !ct_filter_value_at(r, &items->items[i], &given[1], NULL, &item) ||
            !ct_jinja_put_string(r, &item))
            return false;
    return ct_jinja_end(r, capture, out);
}

CT_FILTER(items) {
    static const jinja_arguments none;
    bool refused;
    if (!ct_jinja_bind(r, "items", "", 0, a, NULL)) return false;
    if (v->kind == JINJA_UNDEFINED) {
        jinja_list *list = ct_jinja_list(r, 0);
        *out = as_list(list);
        return list != NULL;
    }
    if (v->kind != JINJA_DICT) return ct_jinja_fail(r, "Can only get item pairs from a mapping.");
    const jinja_value self = *v;
    if (!ct_jinja_call_dict(r, &self, ct_jinja_dict_method("items", 5, &refused), &none, out)) return false;
    return true;
}

CT_FILTER(attr) {
    jinja_value name;
    if (!ct_jinja_bind(r, "attr", "name", 1, a, &name)) return false;
    if (name.kind != JINJA_STRING) return ct_jinja_fail(r, "attr: attribute name must be string");
    const jinja_value self = *v;
    if (self.kind == JINJA_DICT && ct_jinja_dict_find(r, self.dict, name.text, name.length)) {
        bool refused;
        if (ct_jinja_dict_method(name.text, name.length, &refused) <
            0) { /* items of a mapping are no attributes */
            *out = ct_jinja_undefined(r, "'dict object' has no attribute '%.*s'",
                                      (int)(name.length < 100 ? name.length : 100), name.text);
            return !r->failed;
        }
    }
    return ct_jinja_attribute(r, &self, name.text, name.length, out);
}

/* ------------------------------------------------------------------------------- map, select, reject */

/* These give nothing for what is false, also for what cannot be iterated over (none). */
static bool items_if_any(jinja_render *r, const jinja_value *v, jinja_list **items) {
    if (ct_jinja_truth(v)) return ct_jinja_items(r, v, items);
    return (*items = ct_jinja_list(r, 0)) != NULL;
}

CT_FILTER(map) {
    jinja_value attribute = {.kind = JINJA_MISSING}, standard = {.kind = JINJA_MISSING};
    const jinja_filter *filter = NULL;
    jinja_list *items, *result;
    if (!a->count) {
        if (!ct_jinja_bind(r, "map", "attribute default", 1, a, (jinja_value[2]){0}) && r->failed)
            return false;
        for (uint32_t k = 0; k < a->named; k++)
            *(ct_jinja_is(&a->names[k], "default") ? &standard : &attribute) = a->values[k];
    } else {
        const jinja_value *name = &a->values[0];
        filter = name->kind == JINJA_STRING ? ct_jinja_filter_find(name->text, name->length) : NULL;
        if (!filter)
            return ct_jinja_fail(r, "No filter named '%.*s'.",
                                 name->kind == JINJA_STRING ? (int)name->length : 1,
                                 name->kind == JINJA_STRING ? name->text : "?");
    }
    if (!items_if_any(r, v, &items) || !(result = ct_jinja_list(r, items->count)) || !jinja_enter(r))
        return false;
    const jinja_arguments rest = {a->count ? a->values + 1 : NULL, a->count ? a->count - 1 : 0,
                                  filter ? a->named : 0, a->names};
    for (uint32_t i = 0; i < items->count; i++) {
        bool fine = filter
                        ? filter->run(r, &items->items[i], &rest, &result->items[i])
                        : ct_filter_value_at(r, &items->items[i], &attribute, &standard, &result->items[i]);
        if (!fine || !jinja_work(r, 1)) return false;
    }
    r->depth--;
    result->type = "generator";
    *out = as_list(result);
    return true;
}

/* `attributes`: the first argument names what of each item is tested. */
static bool choose(jinja_render *r, const jinja_value *v, const jinja_arguments *a, bool attributes,
                   bool rejects, jinja_value *out) {
    uint32_t used = attributes;
    const jinja_test *test = NULL;
    jinja_list *items, *kept = ct_jinja_list(r, 0);
    uint32_t capacity = 0;
    if (attributes && !a->count) return ct_jinja_fail(r, "Missing parameter for attribute name");
    if (a->count > used) {
        const jinja_value *name = &a->values[used++];
        test = name->kind == JINJA_STRING ? ct_jinja_test_find(name->text, name->length) : NULL;
        if (!test)
            return ct_jinja_fail(r, "No test named '%.*s'.",
                                 name->kind == JINJA_STRING ? (int)name->length : 1,
                                 name->kind == JINJA_STRING ? name->text : "?");
    }
    if (!kept || !items_if_any(r, v, &items) || !jinja_enter(r)) return false;
    const jinja_arguments rest = {a->count ? a->values + used : NULL, a->count - used, a->named, a->names};
    for (uint32_t i = 0; i < items->count; i++) {
        jinja_value value;
        bool holds;
        if (!jinja_work(r, 1) ||
            !ct_filter_value_at(r, &items->items[i], attributes ? &a->values[0] : NULL, NULL, &value))
            return false;
        if (!test)
            holds = ct_jinja_truth(&value);
        else if (!test->run(r, &value, &rest, &holds))
            return false;
        if (holds != rejects && !ct_jinja_list_push(r, kept, &capacity, &items->items[i])) return false;
    }
    r->depth--;
    kept->type = "generator";
    *out = as_list(kept);
    return true;
}
CT_FILTER(select) {
    return choose(r, v, a, false, false, out);
}
CT_FILTER(reject) {
    return choose(r, v, a, false, true, out);
}
CT_FILTER(selectattr) {
    return choose(r, v, a, true, false, out);
}
CT_FILTER(rejectattr) {
    return choose(r, v, a, true, true, out);
}

/* ------------------------------------------------------------------------------------- batch and slice */

static bool take(jinja_render *r, const jinja_list *from, size_t start, size_t end, size_t width,
                 const jinja_value *fill, jinja_value *out) {
    jinja_list *list = ct_jinja_list(r, width > end - start ? width : end - start);
    if (!list) return false;
    for (size_t i = 0; i < list->count; i++)
        list->items[i] = start + i < end ? from->items[start + i] : *fill;
    *out = as_list(list);
    return true;
}

CT_FILTER(batch) {
    jinja_value given[2];
    jinja_list *items, *result;
    int64_t width;
    if (!ct_jinja_bind(r, "batch", "linecount fill_with", 1, a, given) ||
        !ct_jinja_integer_of(r, "batch", &given[0], 0, &width) || !ct_jinja_items(r, v, &items))
        return false;
    if (width < 1) return ct_jinja_fail(r, "batch: linecount is %lld, expected at least 1", (long long)width);
    size_t count = (items->count + (uint64_t)width - 1) / (uint64_t)width;
    bool fill = given[1].kind != JINJA_MISSING && given[1].kind != JINJA_NONE;
    if (!(result = ct_jinja_list(r, count))) return false;
    for (size_t i = 0; i < count; i++) {
        size_t start = i * (size_t)width,
               end = items->count - start < (uint64_t)width ? items->count : start + (size_t)width;
        if (!take(r, items, start, end, fill ? (size_t)width : 0, &given[1], &result->items[i])) return false;
    }
    result->type = "generator";
    *out = as_list(result);
    return true;
}

CT_FILTER(slice) {
    jinja_value given[2];
    jinja_list *items, *result;
    int64_t slices;
    if (!ct_jinja_bind(r, "slice", "slices fill_with", 1, a, given) ||
        !ct_jinja_integer_of(r, "slice", &given[0], 0, &slices) || !ct_jinja_items(r, v, &items))
        return false;
    if (slices < 1 || slices > 1000000)
        return ct_jinja_fail(r, "slice: slices is %lld, expected 1 to 1000000", (long long)slices);
    size_t each = items->count / (size_t)slices, extra = items->count % (size_t)slices, at = 0;
    bool fill = given[1].kind != JINJA_MISSING && given[1].kind != JINJA_NONE;
    if (!(result = ct_jinja_list(r, (size_t)slices))) return false;
    for (size_t i = 0; i < (size_t)slices; i++) {
        size_t end = at + each + (i < extra);
        if (!take(r, items, at, end, fill && i >= extra ? each + 1 : 0, &given[1], &result->items[i]))
            return false;
        at = end;
    }
    result->type = "generator";
    *out = as_list(result);
    return true;
}
