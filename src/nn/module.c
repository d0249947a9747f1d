/* module.c - the module tree: making it, walking it, surgery, and its description as values. */
#include "nn/module.h"
#include "base/context.h"
#include <string.h>

/* --------------------------------------------------------------------------------------------- kinds */

typedef struct kind_list {
    const ct_module_kind **kinds; /* registered from outside nn */
    size_t count, capacity;
} kind_list;

static void kinds_destroy(ct_context *context, void *state) {
    kind_list *list = state;
    context->room[CT_ROOM_NN] = NULL;
    ct_free(context, list->kinds);
    ct_free(context, list);
}

static kind_list *kinds_of(ct_context *context) {
    kind_list *list = context->room[CT_ROOM_NN];
    if (list) return list;
    list = ct_alloc_zero(context, sizeof(*list), CT_MEMORY_OTHER);
    if (!list) return NULL;
    context->room[CT_ROOM_NN] = list;
    context->room_destroy[CT_ROOM_NN] = kinds_destroy;
    return list;
}

static const ct_module_kind *kind_lookup(ct_context *context, const char *name) {
    for (int i = 0; ct_nn_kinds[i]; i++)
        if (strcmp(ct_nn_kinds[i]->name, name) == 0) return ct_nn_kinds[i];
    const kind_list *list = kinds_of(context);
    for (size_t i = 0; list && i < list->count; i++)
        if (strcmp(list->kinds[i]->name, name) == 0) return list->kinds[i];
    return NULL;
}

const ct_module_kind *ct_module_kind_find(ct_context *context, const char *name) {
    const ct_module_kind *kind = kind_lookup(context, name);
    if (kind || ct_failed(context)) return kind;
    const char *names[128];
    size_t count = 0;
    for (; ct_nn_kinds[count] && count < 64; count++)
        names[count] = ct_nn_kinds[count]->name;
    const kind_list *list = kinds_of(context);
    for (size_t i = 0; list && i < list->count && count < 128; i++)
        names[count++] = list->kinds[i]->name;
    const char *near = ct_nearest_name(name, names, count);
    ct_fail(context, CT_ERROR_NOT_FOUND, "there is no module kind \"%s\"%s%s%s", name,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

ct_status ct_module_kind_register(ct_context *context, const ct_module_kind *kind) {
    const ct_module_kind *known = kind_lookup(context, kind->name);
    if (known == kind) return CT_OK;
    if (known)
        return ct_fail(context, CT_ERROR_ARGUMENT, "a module kind \"%s\" is registered already", kind->name);
    kind_list *list = kinds_of(context);
    if (!list) return CT_ERROR_MEMORY;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        void *kinds = ct_realloc(context, list->kinds, capacity * sizeof(*list->kinds), CT_MEMORY_OTHER);
        if (!kinds) return CT_ERROR_MEMORY;
        list->kinds = kinds;
        list->capacity = capacity;
    }
    list->kinds[list->count++] = kind;
    return CT_OK;
}

ct_status ct_module_kinds_register(ct_context *context, const ct_module_kind *const *kinds) {
    ct_status status = CT_OK;
    for (; *kinds && status == CT_OK; kinds++)
        status = ct_module_kind_register(context, *kinds);
    return status;
}

/* ------------------------------------------------------------------------------------ making modules */

static ct_module *module_new(ct_context *context, const ct_module_kind *kind, const char *name,
                             const ct_value *options) {
    ct_module *module = ct_alloc_zero(context, sizeof(*module), CT_MEMORY_OTHER);
    if (!module) return NULL;
    module->context = context;
    module->kind = kind;
    module->name = ct_strdup(context, name);
    module->options = ct_alloc_zero(context, kind->options_size ? kind->options_size : 1, CT_MEMORY_OTHER);
    module->options_value = options ? ct_value_copy(options) : ct_value_map(context);
    bool made = module->name && module->options && module->options_value;
    if (made && kind->options) {
        ct_options_default(kind->options, module->options);
        made = ct_options_apply(context, kind->options, module->options, module->options_value, kind->name,
                                NULL) == CT_OK;
    }
    if (made) return module;
    ct_module_destroy(module);
    return NULL;
}

ct_module *ct_module_create(ct_context *context, const ct_module_kind *kind, const char *name,
                            const ct_value *options) {
    if (ct_failed(context) || !kind) return NULL;
    ct_module *module = module_new(context, kind, name, options);
    if (module && (!kind->build || kind->build(module) == CT_OK) && !ct_failed(context)) return module;
    ct_module_destroy(module);
    return NULL;
}

void ct_module_destroy(ct_module *module) {
    if (!module) return;
    ct_context *context = module->context;
    if (module->state_release) module->state_release(module);
    for (int i = 0; i < module->child_count; i++)
        ct_module_destroy(module->children[i]);
    ct_value_free(module->options_value);
    ct_free(context, module->children);
    ct_free(context, module->options);
    ct_free(context, module->name);
    ct_free(context, module->path);
    ct_free(context, module);
}

ct_module *ct_module_add(ct_module *parent, ct_module *child) {
    if (!child) return NULL;
    ct_context *context = parent->context;
    if (parent->child_count == parent->child_capacity) {
        int capacity = parent->child_capacity ? 2 * parent->child_capacity : 4;
        void *children = ct_realloc(context, parent->children, (size_t)capacity * sizeof(*parent->children),
                                    CT_MEMORY_OTHER);
        if (!children) {
            ct_module_destroy(child);
            return NULL;
        }
        parent->children = children;
        parent->child_capacity = capacity;
    }
    child->parent = parent;
    parent->children[parent->child_count++] = child;
    ct_module_forget_paths(child);
    return child;
}

ct_module *ct_module_child_of_kind(ct_module *parent, const char *name, const char *kind, ct_value *options) {
    for (int i = 0; i < parent->child_count; i++)
        if (strcmp(parent->children[i]->name, name) == 0) {
            ct_value_free(options);
            return parent->children[i];
        }
    const ct_module_kind *found = ct_module_kind_find(parent->context, kind);
    ct_module *child = found ? ct_module_create(parent->context, found, name, options) : NULL;
    ct_value_free(options);
    return ct_module_add(parent, child);
}

ct_slot *ct_module_slot(ct_module *module, const char *name, int ndim, const int64_t *shape,
                        ct_slot_options options) {
    if (module->slot_count == CT_MAX_SLOTS) {
        ct_fail(module->context, CT_ERROR_UNSUPPORTED, "%s: more than %d parameter slots", module->kind->name,
                CT_MAX_SLOTS);
        return NULL;
    }
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 1) {
            ct_fail(module->context, CT_ERROR_SHAPE,
                    "%s \"%s\": axis %d of slot \"%s\" would have %lld elements", module->kind->name,
                    ct_module_path(module), i, name, (long long)shape[i]);
            return NULL;
        }
    ct_slot *slot = &module->slots[module->slot_count++];
    *slot = (ct_slot){.name = name, .module = module, .ndim = ndim, .options = options};
    for (int i = 0; i < ndim; i++) slot->shape[i] = shape[i];
    if (!slot->options.fan_in) slot->options.fan_in = ndim ? shape[ndim - 1] : 1;
    if (!slot->options.fan_out) slot->options.fan_out = ndim ? shape[0] : 1;
    return slot;
}

/* -------------------------------------------------------------------------------------------- asking */

const char *ct_module_name(const ct_module *module) {
    return module->name;
}
const ct_module_kind *ct_module_kind_of(const ct_module *module) {
    return module->kind;
}
const void *ct_module_options(const ct_module *module) {
    return module->options;
}
const ct_value *ct_module_options_value(const ct_module *module) {
    return module->options_value;
}
ct_module *ct_module_parent(const ct_module *module) {
    return module->parent;
}
ct_context *ct_module_context(const ct_module *module) {
    return module->context;
}
int ct_module_child_count(const ct_module *module) {
    return module->child_count;
}
int ct_module_slot_count(const ct_module *module) {
    return module->slot_count;
}

ct_module *ct_module_child(const ct_module *module, int index) {
    return index >= 0 && index < module->child_count ? module->children[index] : NULL;
}

ct_slot *ct_module_slot_at(ct_module *module, int index) {
    return index >= 0 && index < module->slot_count ? &module->slots[index] : NULL;
}

ct_slot *ct_module_slot_named(ct_module *module, const char *name) {
    for (int i = 0; i < module->slot_count; i++)
        if (strcmp(module->slots[i].name, name) == 0) return &module->slots[i];
    return NULL;
}

ct_module *ct_module_find(ct_module *module, const char *path) {
    while (module && *path) {
        size_t length = strcspn(path, ".");
        ct_module *found = NULL;
        for (int i = 0; i < module->child_count && !found; i++) {
            ct_module *child = module->children[i];
            if (strlen(child->name) == length && memcmp(child->name, path, length) == 0) found = child;
        }
        module = found;
        path += length;
        if (*path == '.') path++;
    }
    return module;
}

const char *ct_module_path(const ct_module *module) {
    if (!module->parent) return "";
    if (module->path) return module->path;
    const char *above = ct_module_path(module->parent);
    char *path = ct_format(module->context, "%s%s%s", above, *above ? "." : "", module->name);
    ((ct_module *)module)->path = path; /* a cache: the module is the same */
    return path ? path : module->name;
}

void ct_module_forget_paths(ct_module *module) {
    ct_free(module->context, module->path);
    module->path = NULL;
    for (int i = 0; i < module->child_count; i++)
        ct_module_forget_paths(module->children[i]);
}

ct_status ct_module_visit(ct_module *module, ct_module_visitor visit, void *user) {
    ct_status status = visit(user, module);
    for (int i = 0; i < module->child_count && status == CT_OK; i++)
        status = ct_module_visit(module->children[i], visit, user);
    return status;
}

/* ------------------------------------------------------------------------------------------- surgery */

static int child_index(const ct_module *module) {
    const ct_module *parent = module->parent;
    for (int i = 0; i < parent->child_count; i++)
        if (parent->children[i] == module) return i;
    return -1;
}

ct_status ct_module_replace(ct_module *module, ct_module *replacement) {
    ct_context *context = module->context;
    if (!replacement) return ct_context_status(context);
    if (!module->parent) {
        ct_module_destroy(replacement);
        return ct_fail(context, CT_ERROR_ARGUMENT, "replace: the root of a model cannot be replaced");
    }
    char *name = ct_strdup(context, module->name);
    if (!name) {
        ct_module_destroy(replacement);
        return CT_ERROR_MEMORY;
    }
    ct_module *parent = module->parent;
    parent->children[child_index(module)] = replacement;
    ct_free(context, replacement->name);
    replacement->name = name;
    replacement->parent = parent;
    ct_module_forget_paths(replacement);
    ct_module_destroy(module);
    return CT_OK;
}

static bool is_number(const char *text) {
    return *text && text[strspn(text, "0123456789")] == 0;
}

ct_status ct_module_remove(ct_module *module) {
    ct_context *context = module->context;
    ct_module *parent = module->parent;
    if (!parent) return ct_fail(context, CT_ERROR_ARGUMENT, "remove: the root of a model cannot be removed");
    int index = child_index(module), behind = parent->child_count - index - 1;
    char **names = ct_alloc_zero(context, (size_t)behind * sizeof(*names), CT_MEMORY_OTHER);
    bool made = names != NULL;
    for (int i = 0; i < behind && made; i++)
        if (is_number(parent->children[index + 1 + i]->name)) {
            names[i] = ct_format(context, "%d", index + i);
            made = names[i] != NULL;
        }
    for (int i = 0; i < behind && made; i++) { /* from here on nothing can fail */
        ct_module *moved = parent->children[index + 1 + i];
        parent->children[index + i] = moved;
        if (!names[i]) continue;
        ct_free(context, moved->name);
        moved->name = names[i];
        ct_module_forget_paths(moved);
    }
    for (int i = 0; names && i < behind && !made; i++)
        ct_free(context, names[i]);
    ct_free(context, names);
    if (!made) return ct_context_status(context);
    parent->child_count--;
    ct_module_destroy(module);
    return CT_OK;
}

/* ---------------------------------------------------------------------------------------- as values */

ct_value *ct_module_to_value(const ct_module *module) {
    ct_context *context = module->context;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_value_set(map, "kind", ct_value_string(context, module->kind->name));
    ct_value_set(map, "name", ct_value_string(context, module->name));
    if (ct_value_count(module->options_value))
        ct_value_set(map, "options", ct_value_copy(module->options_value));
    if (module->child_count) {
        ct_value *children = ct_value_list(context);
        for (int i = 0; i < module->child_count && children; i++)
            ct_value_append(children, ct_module_to_value(module->children[i]));
        ct_value_set(map, "children", children);
    }
    if (!ct_failed(context)) return map;
    ct_value_free(map);
    return NULL;
}

ct_module *ct_module_from_value(ct_context *context, const ct_value *tree) {
    char origin[256];
    const char *kind_name = ct_value_as_string(ct_value_get(tree, "kind"), NULL);
    if (!kind_name) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: a module needs a \"kind\"",
                ct_value_origin(tree, origin, sizeof(origin)));
        return NULL;
    }
    const ct_module_kind *kind = ct_module_kind_find(context, kind_name);
    if (!kind) return NULL;
    ct_module *module = module_new(context, kind, ct_value_as_string(ct_value_get(tree, "name"), ""),
                                   ct_value_get(tree, "options"));
    if (!module) return NULL;
    const ct_value *children = ct_value_get(tree, "children");
    for (size_t i = 0; i < ct_value_count(children); i++)
        if (!ct_module_add(module, ct_module_from_value(context, ct_value_at(children, i)))) break;
    if (!ct_failed(context) && kind->build) kind->build(module);
    if (!ct_failed(context)) return module;
    ct_module_destroy(module);
    return NULL;
}

bool ct_module_expect_children(const ct_module *module, int count) {
    if (module->child_count >= count) return true;
    ct_fail(module->context, CT_ERROR_STATE, "%s \"%s\": it has %d children, expected %d", module->kind->name,
            ct_module_path(module), module->child_count, count);
    return false;
}
