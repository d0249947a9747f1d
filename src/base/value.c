/* value.c - making, changing, copying and freeing values. Reading them is in value_read.c.
 *
 * Values are cells of slabs, so that the hundred thousand entries of a tokenizer's vocabulary cost 48 bytes
 * each. A slab goes back when its last cell does. Freeing a tree needs no recursion and no memory. */
#include "base/value.h"
#include <stdlib.h>
#include <string.h>

/* Under AddressSanitizer a slab is one value, so that uses after free are seen. */
#if defined(__SANITIZE_ADDRESS__)
#define SLAB_CELLS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_CELLS 1
#endif
#endif
#ifndef SLAB_CELLS
#define SLAB_CELLS 84
#endif

typedef struct ct_value_slab {
    ct_context *context;
    struct ct_value_slab *previous, *next; /* among those with free cells */
    ct_value *free_cells;                  /* linked by next_to_free */
    uint32_t used, touched;                /* cells in use; cells ever given out */
    ct_value cells[SLAB_CELLS];
} ct_value_slab;
_Static_assert(sizeof(ct_value) == 48, "vocabularies are large");

static ct_value_slab *slab_of(const ct_value *value) {
    const ct_value *first = value - value->cell;
    return (ct_value_slab *)((char *)first - offsetof(ct_value_slab, cells));
}

ct_context *ct_value_context(const ct_value *value) {
    return slab_of(value)->context;
}

static void link_slab(ct_context *context, ct_value_slab *slab) {
    slab->previous = NULL;
    slab->next = context->value_slabs;
    if (slab->next) slab->next->previous = slab;
    context->value_slabs = slab;
}

static void unlink_slab(ct_context *context, ct_value_slab *slab) {
    if (slab->next) slab->next->previous = slab->previous;
    if (slab->previous)
        slab->previous->next = slab->next;
    else
        context->value_slabs = slab->next;
}

static ct_value *new_value(ct_context *context, ct_value_kind kind) {
    ct_value_slab *slab = context->value_slabs;
    if (!slab) {
        slab = ct_alloc(context, sizeof *slab, CT_MEMORY_OTHER);
        if (!slab) return NULL;
        slab->context = context;
        slab->free_cells = NULL;
        slab->used = slab->touched = 0;
        link_slab(context, slab);
    }
    ct_value *value = slab->free_cells;
    size_t cell;
    if (value) {
        slab->free_cells = value->next_to_free;
        cell = value->cell;
    } else {
        cell = slab->touched++;
        value = &slab->cells[cell];
    }
    if (++slab->used == SLAB_CELLS) unlink_slab(context, slab);
    memset(value, 0, sizeof *value);
    value->cell = (uint8_t)cell;
    value->kind = (uint8_t)kind;
    return value;
}

static void give_cell_back(ct_value *value) {
    ct_value_slab *slab = slab_of(value);
    if (slab->used == SLAB_CELLS) link_slab(slab->context, slab);
    value->next_to_free = slab->free_cells;
    slab->free_cells = value;
    if (--slab->used == 0) {
        unlink_slab(slab->context, slab);
        ct_free(slab->context, slab);
    }
}

/* ------------------------------------------------------------------------------------------- origin ----- */

static void leave_origin(ct_context *context, ct_origin *origin) {
    if (!origin || --origin->users) return;
    if (origin->next) origin->next->previous = origin->previous;
    if (origin->previous)
        origin->previous->next = origin->next;
    else
        context->origins = origin->next;
    ct_free(context, origin);
}

static ct_origin *join_origin(ct_context *context, const char *name) {
    for (ct_origin *origin = context->origins; origin; origin = origin->next) {
        if (strcmp(origin->name, name) == 0) {
            origin->users++;
            return origin;
        }
    }
    size_t length = strlen(name);
    ct_origin *origin = ct_alloc(context, sizeof *origin + length + 1, CT_MEMORY_OTHER);
    if (!origin) return NULL;
    memcpy(origin->name, name, length + 1);
    origin->users = 1;
    origin->previous = NULL;
    origin->next = context->origins;
    if (origin->next) origin->next->previous = origin;
    context->origins = origin;
    return origin;
}

void ct_value_set_origin(ct_value *value, const char *name, int line) {
    if (!value) return;
    ct_context *context = ct_value_context(value);
    ct_origin *origin = name && *name ? join_origin(context, name) : NULL;
    leave_origin(context, value->origin);
    value->origin = origin;
    value->line = line;
}

/* ------------------------------------------------------------------------------------------- making ----- */

ct_value *ct_value_null(ct_context *context) {
    return new_value(context, CT_VALUE_NULL);
}

ct_value *ct_value_bool(ct_context *context, bool boolean) {
    ct_value *value = new_value(context, CT_VALUE_BOOL);
    if (value) value->boolean = boolean;
    return value;
}

ct_value *ct_value_int(ct_context *context, int64_t integer) {
    ct_value *value = new_value(context, CT_VALUE_INT);
    if (value) value->integer = integer;
    return value;
}

ct_value *ct_value_real(ct_context *context, double real) {
    ct_value *value = new_value(context, CT_VALUE_REAL);
    if (value) value->real = real;
    return value;
}

ct_value *ct_value_string_n(ct_context *context, const char *text, size_t length) {
    ct_value *value = new_value(context, CT_VALUE_STRING);
    if (!value) return NULL;
    char *bytes = value->text;
    if (length > CT_VALUE_INLINE) {
        bytes = length < SIZE_MAX ? ct_alloc(context, length + 1, CT_MEMORY_OTHER) : NULL;
        if (!bytes) {
            ct_fail(context, CT_ERROR_MEMORY, "a string of %zu bytes", length);
            give_cell_back(value);
            return NULL;
        }
        value->string.bytes = bytes;
        value->string.length = length;
        value->inline_length = CT_VALUE_OUTSIDE;
    } else {
        value->inline_length = (uint8_t)length;
    }
    if (length) memcpy(bytes, text, length);
    bytes[length] = 0;
    return value;
}

ct_value *ct_value_string(ct_context *context, const char *text) {
    return ct_value_string_n(context, text ? text : "", text ? strlen(text) : 0);
}

ct_value *ct_value_list(ct_context *context) {
    return new_value(context, CT_VALUE_LIST);
}

ct_value *ct_value_map(ct_context *context) {
    ct_value *value = new_value(context, CT_VALUE_MAP);
    if (!value) return NULL;
    value->map = ct_map_create(context);
    if (value->map) return value;
    give_cell_back(value);
    return NULL;
}

/* Children are pushed on the stack of what is still to be freed, which is threaded through the values. */
void ct_value_free(ct_value *value) {
    if (!value) return;
    ct_context *context = ct_value_context(value);
    leave_origin(context, value->origin);
    value->next_to_free = NULL;
    while (value) {
        ct_value *next = value->next_to_free;
        bool is_map = value->kind == CT_VALUE_MAP;
        size_t count = ct_value_count(value);
        for (size_t i = 0; i < count; i++) {
            ct_value *item = is_map ? value->map->entries[i].item : value->list.data[i];
            leave_origin(context, item->origin);
            item->next_to_free = next;
            next = item;
        }
        if (is_map)
            ct_map_destroy(context, value->map);
        else if (value->kind == CT_VALUE_LIST)
            ct_free(context, value->list.data);
        else if (value->kind == CT_VALUE_STRING && value->inline_length == CT_VALUE_OUTSIDE)
            ct_free(context, value->string.bytes);
        give_cell_back(value);
        value = next;
    }
}

/* ----------------------------------------------------------------------------------------- changing ----- */

/* What append and set do first. On refusal the item is freed. */
static ct_status check_insertion(ct_value *container, ct_value_kind kind, const char *call, ct_value *item) {
    if (!container && !item) return CT_ERROR_MEMORY; /* both makers failed and have recorded why */
    ct_context *context = ct_value_context(container ? container : item);
    ct_status status = CT_OK;
    if (!item)
        status = ct_failed(context) ? context->status
                                    : ct_fail(context, CT_ERROR_ARGUMENT, "%s: the item is NULL", call);
    else if (!container)
        status = ct_failed(context) ? context->status
                                    : ct_fail(context, CT_ERROR_ARGUMENT, "%s: the container is NULL", call);
    else if (container->kind != kind)
        status = ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected %s, found %s", call,
                         kind == CT_VALUE_LIST ? "a list" : "a map",
                         ct_value_kind_name((ct_value_kind)container->kind));
    else if (item->owned || item == container) /* freeing it here would free what somebody holds */
        return ct_fail(context, CT_ERROR_STATE, "%s: the item is already part of a tree", call);
    if (status) ct_value_free(item);
    return status;
}

ct_status ct_value_append(ct_value *list, ct_value *item) {
    ct_status status = check_insertion(list, CT_VALUE_LIST, "ct_value_append", item);
    if (status) return status;
    ct_context *context = ct_value_context(list);
    ct_items *items = &list->list;
    if (items->count == items->capacity) {
        size_t capacity = items->capacity ? items->capacity * 2 : 8;
        ct_value **data = ct_realloc(context, items->data, capacity * sizeof *data, CT_MEMORY_OTHER);
        if (!data) {
            ct_value_free(item);
            return CT_ERROR_MEMORY;
        }
        items->data = data;
        items->capacity = capacity;
    }
    items->data[items->count++] = item;
    item->owned = true;
    return CT_OK;
}

ct_status ct_value_set(ct_value *map, const char *key, ct_value *item) {
    ct_status status = check_insertion(map, CT_VALUE_MAP, "ct_value_set", item);
    if (status) return status;
    ct_context *context = ct_value_context(map);
    ptrdiff_t number = ct_map_find(context, map->map, key);
    if (number >= 0) {
        ct_value *old = map->map->entries[number].item;
        map->map->entries[number].item = item;
        item->owned = true;
        ct_value_free(old);
        return CT_OK;
    }
    if (!ct_map_add(context, map->map, key, item)) {
        ct_value_free(item);
        return context->status ? context->status : CT_ERROR_MEMORY;
    }
    item->owned = true;
    return CT_OK;
}

bool ct_value_remove(ct_value *map, const char *key) {
    if (!map || map->kind != CT_VALUE_MAP) return false;
    ct_context *context = ct_value_context(map);
    ptrdiff_t number = ct_map_find(context, map->map, key);
    if (number < 0) return false;
    ct_value_free(ct_map_take(context, map->map, (size_t)number));
    return true;
}

static bool list_index(const char *text, size_t *index) {
    if (*text < '0' || *text > '9' || strlen(text) > 9) return false;
    char *end;
    *index = strtoul(text, &end, 10);
    return !*end;
}

/* Sets `key` of a list ("0", or the count to append) or map. Takes ownership of `item`. */
static ct_status set_step(ct_value *container, const char *key, const char *path, ct_value *item) {
    if (container->kind == CT_VALUE_MAP) return ct_value_set(container, key, item);
    ct_context *context = ct_value_context(container);
    size_t index, count = ct_value_count(container);
    if (container->kind == CT_VALUE_LIST && list_index(key, &index) && index <= count && item) {
        if (index == count) return ct_value_append(container, item);
        ct_value *old = container->list.data[index];
        container->list.data[index] = item;
        item->owned = true;
        ct_value_free(old);
        return CT_OK;
    }
    ct_value_free(item);
    if (!item && ct_failed(context)) return context->status;
    if (container->kind == CT_VALUE_LIST)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: \"%s\" is not an index of a list of %zu items", path,
                       key, count);
    return ct_fail(context, CT_ERROR_ARGUMENT, "%s: \"%s\" cannot be set within %s", path, key,
                   ct_value_kind_name((ct_value_kind)container->kind));
}

static ct_value *step_of(const ct_value *container, const char *key) {
    size_t index;
    if (container->kind == CT_VALUE_LIST)
        return list_index(key, &index) ? ct_value_at(container, index) : NULL;
    return ct_value_get(container, key);
}

/* Walks all but the last key of `keys` (which is cut up), making maps where nothing is; *last is the last
 * key. */
static ct_value *walk_path(ct_value *map, char *keys, const char *path, char **last) {
    ct_context *context = ct_value_context(map);
    char *key = keys;
    for (char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = 0;
        ct_value *inner = step_of(map, key);
        if (!inner || inner->kind == CT_VALUE_NULL) {
            ct_value *made = ct_value_map(context);
            if (set_step(map, key, path, made)) return NULL;
            inner = made;
        }
        map = inner;
    }
    *last = key;
    return map;
}

ct_status ct_value_set_path(ct_value *map, const char *path, ct_value *item) {
    ct_status status = check_insertion(map, CT_VALUE_MAP, "ct_value_set_path", item);
    if (status) return status;
    ct_context *context = ct_value_context(map);
    if (!*path || *path == '.' || path[strlen(path) - 1] == '.' || strstr(path, "..")) {
        ct_value_free(item);
        return ct_fail(context, CT_ERROR_ARGUMENT, "\"%s\" is not a path of names joined by dots", path);
    }
    char *keys = ct_strdup(context, path), *last = NULL;
    ct_value *inner = keys ? walk_path(map, keys, path, &last) : NULL;
    if (inner)
        status = set_step(inner, last, path, item);
    else
        ct_value_free(item);
    ct_free(context, keys);
    if (!inner) return context->status ? context->status : CT_ERROR_MEMORY;
    return status;
}

ct_value *ct_value_get_path(const ct_value *map, const char *path) {
    char key[256];
    const ct_value *value = map;
    while (value) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key) return NULL;
        memcpy(key, path, length);
        key[length] = 0;
        value = step_of(value, key);
        if (!path[length]) break;
        path += length + 1;
    }
    return (ct_value *)value;
}

/* ------------------------------------------------------------------------------------------ copying ----- */

static ct_value *copy_tree(ct_context *context, const ct_value *value, int depth);

static bool copy_items(ct_context *context, ct_value *copy, const ct_value *value, int depth) {
    bool is_map = value->kind == CT_VALUE_MAP;
    for (size_t i = 0; i < ct_value_count(value); i++) {
        ct_value *item = copy_tree(context, ct_value_at(value, i), depth + 1);
        if (!item) return false;
        if (is_map ? ct_value_set(copy, ct_value_key(value, i), item) : ct_value_append(copy, item))
            return false;
    }
    return true;
}

static ct_value *copy_tree(ct_context *context, const ct_value *value, int depth) {
    ct_value *copy = NULL;
    if (depth > CT_VALUE_DEEPEST) {
        ct_fail(context, CT_ERROR_ARGUMENT, "a value nested deeper than %d", (int)CT_VALUE_DEEPEST);
        return NULL;
    }
    switch ((ct_value_kind)value->kind) {
    case CT_VALUE_NULL:
        copy = ct_value_null(context);
        break;
    case CT_VALUE_BOOL:
        copy = ct_value_bool(context, value->boolean);
        break;
    case CT_VALUE_INT:
        copy = ct_value_int(context, value->integer);
        break;
    case CT_VALUE_REAL:
        copy = ct_value_real(context, value->real);
        break;
    case CT_VALUE_STRING:
        copy = ct_value_string_n(context, ct_value_as_string(value, ""), ct_value_string_length(value));
        break;
    case CT_VALUE_LIST:
        copy = ct_value_list(context);
        break;
    case CT_VALUE_MAP:
        copy = ct_value_map(context);
        break;
    }
    if (!copy) return NULL;
    copy->origin = value->origin;
    if (copy->origin) copy->origin->users++;
    copy->line = value->line;
    if (copy_items(context, copy, value, depth)) return copy;
    ct_value_free(copy);
    return NULL;
}

ct_value *ct_value_copy(const ct_value *value) {
    return value ? copy_tree(ct_value_context(value), value, 0) : NULL;
}
