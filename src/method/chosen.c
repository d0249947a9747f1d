/* chosen.c - reading methods that a recipe lists, each with its options and a weight. */
#include "method/chosen.h"

typedef struct shared_options {
    double weight;
} shared_options;

const ct_option ct_chosen_options[] = {
    CT_OPTION_REAL("weight", shared_options, weight, 1, 0, 1e9, "what it is multiplied by in the loss"),
    CT_OPTION_END};

static const ct_option no_options[] = {CT_OPTION_END};

static ct_status read_options(ct_context *context, ct_chosen *item, const char *path) {
    const ct_option *table = item->method->options ? item->method->options : no_options;
    const char *mine[65], *const shared[] = {"weight", NULL};
    size_t count = 0;
    for (; table[count].type != CT_TYPE_END && count < 64; count++)
        mine[count] = table[count].name;
    mine[count] = NULL;
    shared_options given;
    item->options = ct_alloc_zero(context, item->method->options_size + 1, CT_MEMORY_OTHER);
    if (!item->options || !item->given) return ct_context_status(context);
    ct_options_default(ct_chosen_options, &given);
    ct_options_default(table, item->options);
    if (ct_options_apply(context, table, item->options, item->given, path, shared) == CT_OK &&
        ct_options_apply(context, ct_chosen_options, &given, item->given, path, mine) == CT_OK)
        item->weight = given.weight;
    return ct_context_status(context);
}

static ct_status read_item(ct_context *context, ct_chosen *item, const char *kind, const ct_value *value,
                           const char *path) {
    bool map = ct_value_kind_of(value) == CT_VALUE_MAP;
    const char *name = ct_value_as_string(map ? ct_value_get(value, "name") : value, NULL);
    if (!name)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: expected the name of a method of kind %s, or {name: ..., its options}", path,
                       kind);
    item->method = ct_method_find(context, kind, name);
    if (!item->method) return ct_context_status(context);
    snprintf(item->where, sizeof(item->where), "%s (%s)", path, name);
    item->given = map ? ct_value_copy(value) : ct_value_map(context);
    if (item->given) ct_value_remove(item->given, "name");
    return read_options(context, item, path);
}

ct_status ct_chosen_read(ct_context *context, ct_chosen_list *list, const char *kind, const ct_value *value,
                         const char *path) {
    *list = (ct_chosen_list){NULL, 0};
    if (ct_failed(context) || ct_value_kind_of(value) == CT_VALUE_NULL) return ct_context_status(context);
    bool many = ct_value_kind_of(value) == CT_VALUE_LIST;
    size_t count = many ? ct_value_count(value) : 1;
    if (count == 0) return CT_OK;
    list->items = ct_alloc_zero(context, count * sizeof(ct_chosen), CT_MEMORY_OTHER);
    if (!list->items) return CT_ERROR_MEMORY;
    for (; list->count < count && !ct_failed(context); list->count++) {
        char where[64];
        if (many)
            snprintf(where, sizeof(where), "%s.%zu", path, list->count);
        else
            snprintf(where, sizeof(where), "%s", path);
        read_item(context, &list->items[list->count], kind, many ? ct_value_at(value, list->count) : value,
                  where);
    }
    return ct_context_status(context);
}

void ct_chosen_free(ct_context *context, ct_chosen_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        ct_free(context, list->items[i].options);
        ct_value_free(list->items[i].given);
    }
    ct_free(context, list->items);
    *list = (ct_chosen_list){NULL, 0};
}
