/* lookup.c - attributes, subscripts and slices. `a.b` looks for an attribute first and `a['b']` for an item
 * first; each takes the other if there is none, and what is nowhere is undefined. */
#include "template/node.h"
#include <string.h>

#define MOST_STEP ((int64_t)1 << 40)

static bool method_of(jinja_render *r, const jinja_value *v, const char *name, size_t length,
                      jinja_value *out, bool *found) {
    bool refused = false;
    int id = v->kind == JINJA_STRING                  ? ct_jinja_text_method(name, length, &refused)
             : v->kind == JINJA_DICT                  ? ct_jinja_dict_method(name, length, &refused)
             : jinja_is_sequence(v) && !v->list->type ? ct_jinja_list_method(name, length, &refused)
                                                      : -1;
    *found = id >= 0;
    if (refused)
        return ct_jinja_fail(r, "the method %.*s of %s is not supported in chat templates", (int)length, name,
                             ct_jinja_type(v));
    if (id < 0) return true;
    jinja_method *method = ct_jinja_take(&r->arena, sizeof(*method));
    if (!method) return !(r->failed = true);
    *method = (jinja_method){*v, id};
    *out = (jinja_value){.kind = JINJA_METHOD, .method = method};
    return true;
}

static bool loop_item(const jinja_list *items, int64_t index, jinja_value *out, const char *missing) {
    *out = index >= 0 && index < items->count ? items->items[index]
                                              : (jinja_value){.kind = JINJA_UNDEFINED, .text = missing};
    return true;
}

/* -1 as an id of a METHOD of a loop: cycle; -2: changed. */
static bool loop_attribute(jinja_render *r, const jinja_value *v, const char *name, size_t length,
                           jinja_value *out, bool *found) {
    static const char *const names[] = {"index",    "index0", "revindex", "revindex0", "first",
                                        "last",     "length", "depth",    "depth0",    "previtem",
                                        "nextitem", "cycle",  "changed"};
    const jinja_loop *l = v->loop;
    int64_t index = l->index, count = l->items->count;
    size_t k = 0;
    while (k < 13 && (strlen(names[k]) != length || memcmp(names[k], name, length) != 0))
        k++;
    *found = k < 13;
    switch (k) {
    case 0:
        *out = jinja_int(index + 1);
        break;
    case 1:
        *out = jinja_int(index);
        break;
    case 2:
        *out = jinja_int(count - index);
        break;
    case 3:
        *out = jinja_int(count - index - 1);
        break;
    case 4:
        *out = jinja_bool(index == 0);
        break;
    case 5:
        *out = jinja_bool(index == count - 1);
        break;
    case 6:
        *out = jinja_int(count);
        break;
    case 7:
        *out = jinja_int(1);
        break; /* only recursive loops have depths */
    case 8:
        *out = jinja_int(0);
        break;
    case 9:
        return loop_item(l->items, index - 1, out, "there is no previous item");
    case 10:
        return loop_item(l->items, index + 1, out, "there is no next item");
    default:
        break;
    }
    if (k != 11 && k != 12) return true;
    jinja_method *method = ct_jinja_take(&r->arena, sizeof(*method));
    if (!method) return !(r->failed = true);
    *method = (jinja_method){*v, k == 11 ? -1 : -2};
    *out = (jinja_value){.kind = JINJA_METHOD, .method = method};
    return true;
}

/* "'dict object' has no attribute 'x'" */
static void missing(jinja_render *r, const jinja_value *v, const char *name, size_t length,
                    jinja_value *out) {
    const bool none = v->kind == JINJA_NONE;
    *out = ct_jinja_undefined(r, "'%s%s' has no attribute '%.*s'", none ? "None" : ct_jinja_type(v),
                              none ? "" : " object", (int)(length < 100 ? length : 100), name);
}

static bool undefined_base(jinja_render *r, const jinja_value *v) {
    return ct_jinja_fail(r, "%s", v->text ? v->text : "a variable is undefined");
}

bool ct_jinja_attribute(jinja_render *r, const jinja_value *v, const char *name, size_t length,
                        jinja_value *out) {
    bool found = false;
    if (v->kind == JINJA_DICT || v->kind == JINJA_NAMESPACE) {
        const jinja_value self = *v;
        if (!method_of(r, &self, name, length, out, &found)) return false;
        if (found) return true;
        const jinja_value *item = ct_jinja_dict_find(r, self.dict, name, length);
        if (item)
            *out = *item;
        else if (!r->failed)
            missing(r, &self, name, length, out);
        return !r->failed;
    }
    if (v->kind == JINJA_UNDEFINED || v->kind == JINJA_MISSING) return undefined_base(r, v);
    const jinja_value self = *v;
    if (self.kind == JINJA_LOOP) {
        if (!loop_attribute(r, &self, name, length, out, &found)) return false;
    } else if (!method_of(r, &self, name, length, out, &found)) {
        return false;
    }
    if (self.kind == JINJA_CYCLER && length == 7 && memcmp(name, "current", 7) == 0) {
        *out = self.cycler->items->items[self.cycler->at];
        return true;
    }
    if (self.kind == JINJA_CYCLER && length == 4 && memcmp(name, "next", 4) == 0) {
        *out = self;
        return true;
    }
    if (!found && length && name[0] == '_')
        *out = ct_jinja_undefined(r, "access to attribute '%.*s' of '%s' object is unsafe.",
                                  (int)(length < 100 ? length : 100), name, ct_jinja_type(&self));
    else if (!found)
        missing(r, &self, name, length, out);
    return !r->failed;
}

/* ---------------------------------------------------------------------------------------- subscripts */

static void no_element(jinja_render *r, const jinja_value *v, const jinja_value *key, jinja_value *out) {
    const bool none = v->kind == JINJA_NONE;
    const char *type = none ? "None" : ct_jinja_type(v), *object = none ? "" : " object";
    if (key->kind == JINJA_INT || key->kind == JINJA_BOOL)
        *out = ct_jinja_undefined(r, "%s%s has no element %lld", type, object, (long long)jinja_integer(key));
    else
        *out = ct_jinja_undefined(r, "%s%s has no element of that %s", type, object, ct_jinja_type(key));
}

static bool by_index(jinja_render *r, const jinja_value *v, const jinja_value *key, jinja_value *out) {
    const jinja_value self = *v;
    int64_t index = jinja_integer(key);
    bool text = self.kind == JINJA_STRING;
    int64_t count = text ? (int64_t)ct_jinja_characters(self.text, self.length) : self.list->count;
    if (index < 0) index += count;
    if (index < 0 || index >= count ||
        (self.kind != JINJA_STRING && self.list->type && strncmp(self.list->type, "dict_", 5) == 0)) {
        no_element(r, &self, key, out);
        return !r->failed;
    }
    if (!text) {
        *out = self.list->items[index];
        return true;
    }
    size_t start = ct_jinja_offset(self.text, self.length, (size_t)index);
    size_t end = start + ct_jinja_offset(self.text + start, self.length - start, 1);
    return jinja_work(r, self.length / 32) && ct_jinja_part(r, &self, start, end, out);
}

bool ct_jinja_subscript(jinja_render *r, const jinja_value *v, const jinja_value *key, jinja_value *out) {
    if (v->kind == JINJA_DICT) {
        const jinja_value self = *v;
        const bool hashed = !jinja_is_sequence(key) && key->kind != JINJA_DICT;
        const jinja_value *item = key->kind == JINJA_STRING
                                      ? ct_jinja_dict_find(r, self.dict, key->text, key->length)
                                  : hashed ? ct_jinja_dict_get(r, self.dict, key)
                                           : NULL;
        if (item)
            *out = *item;
        else if (key->kind == JINJA_STRING)
            return ct_jinja_attribute(r, &self, key->text, key->length, out);
        else
            no_element(r, &self, key, out);
        return !r->failed;
    }
    if (v->kind == JINJA_UNDEFINED || v->kind == JINJA_MISSING) return undefined_base(r, v);
    bool integral = key->kind == JINJA_INT || key->kind == JINJA_BOOL;
    if (integral && (v->kind == JINJA_STRING || jinja_is_sequence(v))) return by_index(r, v, key, out);
    if (key->kind == JINJA_STRING) return ct_jinja_attribute(r, v, key->text, key->length, out);
    const jinja_value self = *v;
    no_element(r, &self, key, out);
    return !r->failed;
}

/* -------------------------------------------------------------------------------------------- slices */

/* A bound of a slice as PySlice_AdjustIndices has it. */
static bool bound(jinja_render *r, const jinja_value *v, int64_t count, int64_t step, int64_t otherwise,
                  int64_t *out) {
    if (!v || v->kind == JINJA_NONE) {
        *out = otherwise;
        return true;
    }
    if (v->kind == JINJA_UNDEFINED) return undefined_base(r, v);
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return ct_jinja_fail(r, "slice indices must be integers or None, not %s", ct_jinja_type(v));
    int64_t index = jinja_integer(v);
    if (index < 0) {
        index += count;
        if (index < 0) index = step < 0 ? -1 : 0;
    } else if (index >= count) {
        index = step < 0 ? count - 1 : count;
    }
    *out = index;
    return true;
}

static bool slice_text(jinja_render *r, const jinja_value *text, int64_t start, int64_t stop, int64_t step,
                       int64_t count, jinja_value *out) {
    if (!jinja_work(r, text->length / 32)) return false;
    if (step == 1) {
        if (stop < start) stop = start;
        size_t from = ct_jinja_offset(text->text, text->length, (size_t)start);
        size_t to = from + ct_jinja_offset(text->text + from, text->length - from, (size_t)(stop - start));
        return ct_jinja_part(r, text, from, to, out);
    }
    uint32_t *at = ct_jinja_take(&r->arena, ((size_t)count + 1) * sizeof(*at));
    if (!at) return !(r->failed = true);
    size_t n = 0;
    for (uint32_t i = 0; i < text->length; i++)
        if (((unsigned char)text->text[i] & 0xc0) != 0x80) at[n++] = i;
    at[n] = text->length;
    jinja_capture capture = ct_jinja_begin(r);
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
        if (!jinja_work(r, 1) || !jinja_put_part(r, text, at[i], at[i + 1])) return false;
    }
    return ct_jinja_end(r, capture, out);
}

static bool slice_list(jinja_render *r, const jinja_value *v, int64_t start, int64_t stop, int64_t step,
                       jinja_value *out) {
    int64_t count = 0;
    if (step > 0 && start < stop) count = (stop - start - 1) / step + 1;
    if (step < 0 && start > stop) count = (start - stop - 1) / -step + 1;
    jinja_list *list = ct_jinja_list(r, (size_t)count);
    if (!list) return false;
    for (int64_t i = 0; i < count; i++)
        list->items[i] = v->list->items[start + i * step];
    *out = (jinja_value){.kind = v->kind, .list = list};
    return true;
}

bool ct_jinja_slice(jinja_render *r, const jinja_value *v, const jinja_value *start, const jinja_value *stop,
                    const jinja_value *step, jinja_value *out) {
    const jinja_value self = *v;
    bool text = self.kind == JINJA_STRING;
    if (self.kind == JINJA_UNDEFINED || self.kind == JINJA_MISSING) return undefined_base(r, &self);
    if (!text && !jinja_is_sequence(&self)) {
        *out = ct_jinja_undefined(r, "%s object has no element of that slice", ct_jinja_type(&self));
        return !r->failed;
    }
    int64_t count = text ? (int64_t)ct_jinja_characters(self.text, self.length) : self.list->count, by = 1,
            from, to;
    if (step && step->kind != JINJA_NONE) {
        if (step->kind != JINJA_INT && step->kind != JINJA_BOOL)
            return ct_jinja_fail(r, "slice indices must be integers or None, not %s", ct_jinja_type(step));
        by = jinja_integer(step);
        if (by == 0) return ct_jinja_fail(r, "slice step cannot be zero");
        if (by > MOST_STEP) by = MOST_STEP; /* beyond every sequence, and sums stay within 64 bits */
        if (by < -MOST_STEP) by = -MOST_STEP;
    }
    if (!bound(r, start, count, by, by < 0 ? count - 1 : 0, &from) ||
        !bound(r, stop, count, by, by < 0 ? -1 : count, &to))
        return false;
    return text ? slice_text(r, &self, from, to, by, count, out) : slice_list(r, &self, from, to, by, out);
}
