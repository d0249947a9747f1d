/* links.c - the links of an optimizer's chain that act between steps, and putting links into it. */
#include "optimizer/internal.h"
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------ adding */

static ct_status compose(ct_optimizer *optimizer) {
    const ct_method *methods[1 + CT_MAX_LINKS];
    for (int m = 0; m < optimizer->member_count; m++)
        methods[m] = optimizer->members[m].method;
    return ct_methods_compose(optimizer->context, methods, (size_t)optimizer->member_count);
}

static ct_status add(ct_optimizer *optimizer, const char *link, const ct_value *options, const char *path) {
    ct_context *context = optimizer->context;
    if (ct_failed(context)) return ct_context_status(context);
    if (optimizer->count > 0)
        return ct_fail(context, CT_ERROR_STATE, "%s: links are put in before the first parameter", path);
    if (optimizer->member_count > CT_MAX_LINKS)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: more than %d links", path, CT_MAX_LINKS);
    for (int m = 1; m < optimizer->member_count; m++)
        if (strcmp(optimizer->members[m].method->name, link) == 0)
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s: \"%s\" is in the list twice", path, link);
    ct_member *member =
        &optimizer->members[optimizer->member_count++]; /* freed with the optimizer, also on failure */
    if (ct_member_make(context, member, "link", link, options, NULL, path) != CT_OK)
        return ct_context_status(context);
    member->first_statistic = optimizer->statistic_count;
    optimizer->statistic_count += member->statistic_count;
    return compose(optimizer);
}

ct_status ct_optimizer_add_link(ct_optimizer *optimizer, const char *link, const ct_value *options) {
    return add(optimizer, link, options, link);
}

static ct_status add_listed(ct_context *context, ct_optimizer *optimizer, const ct_value *item,
                            const char *path) {
    bool map = ct_value_kind_of(item) == CT_VALUE_MAP;
    const char *name = ct_value_as_string(map ? ct_value_get(item, "name") : item, NULL);
    if (!name)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: expected the name of a link, or {name: ..., its options}", path);
    ct_value *options = map ? ct_value_copy(item) : NULL;
    if (map && !options) return CT_ERROR_MEMORY;
    if (map) ct_value_remove(options, "name");
    if (optimizer) {
        add(optimizer, name, options, path);
    } else {
        ct_member member;
        ct_member_make(context, &member, "link", name, options, NULL, path);
        ct_member_free(context, &member);
    }
    ct_value_free(options);
    return ct_context_status(context);
}

ct_status ct_optimizer_add_links(ct_context *context, ct_optimizer *optimizer, const ct_value *list,
                                 const char *path) {
    if (list && ct_value_kind_of(list) != CT_VALUE_NULL && ct_value_kind_of(list) != CT_VALUE_LIST)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected a list of links", path);
    for (size_t i = 0; i < ct_value_count(list); i++) {
        char where[64];
        snprintf(where, sizeof(where), "%s.%zu", path, i);
        if (add_listed(context, optimizer, ct_value_at(list, i), where) != CT_OK) break;
    }
    return ct_context_status(context);
}

/* ----------------------------------------------------------------------------------- between steps */

static void describe(const ct_optimizer *optimizer, const ct_entry *e, int m, bool started,
                     double learning_rate, ct_link_parameter *p) {
    *p = (ct_link_parameter){.tensor = e->tensor,
                             .stepped = started && ct_entry_takes_part(e),
                             .step = ct_entry_steps(e),
                             .learning_rate = ct_entry_rate(e, learning_rate),
                             .weight_decay = ct_entry_decay(e),
                             .weight = ct_data_mutable(e->parameter->tensor),
                             .mask = e->mask ? ct_data(e->mask) : NULL};
    for (int s = 0; s < optimizer->members[m].states; s++)
        p->state[s] = ct_stored_values(&e->state[m][s]);
    if (started && optimizer->record && e->statistics)
        p->statistics = e->statistics + optimizer->members[m].first_statistic;
}

/* States of links with `begin` or `after` are seen whole there, so they are not stored in fewer bits. */
static ct_status call(ct_optimizer *optimizer, int m, bool started, double learning_rate) {
    ct_context *context = optimizer->context;
    const ct_member *link = &optimizer->members[m];
    ct_link_parameter *list =
        ct_alloc_zero(context, (size_t)optimizer->count * sizeof(*list), CT_MEMORY_WORKSPACE);
    int64_t count = 0;
    if (!list) return CT_ERROR_MEMORY;
    for (int64_t i = 0; i < optimizer->count; i++) {
        const ct_entry *e = &optimizer->entries[i];
        if (!e->parameter->trainable || e->tensor.meta || (!started && ct_entry_steps(e) > 0)) continue;
        describe(optimizer, e, m, started, learning_rate, &list[count++]);
    }
    if (count && started)
        link->link->after(context, link->options, optimizer->steps, list, count);
    else if (count)
        link->link->begin(context, link->options, list, count);
    ct_free(context, list);
    return ct_context_status(context);
}

/* `begin` comes once: before the optimizer's first step, when all weights are the initial ones. */
ct_status ct_links_begin(ct_optimizer *optimizer) {
    for (int m = 1; m < optimizer->member_count && optimizer->steps == 0; m++)
        if (optimizer->members[m].link->begin && call(optimizer, m, false, 0) != CT_OK) break;
    return ct_context_status(optimizer->context);
}

ct_status ct_links_after(ct_optimizer *optimizer, double learning_rate) {
    for (int m = 1; m < optimizer->member_count; m++)
        if (optimizer->members[m].link->after && call(optimizer, m, true, learning_rate) != CT_OK) break;
    return ct_context_status(optimizer->context);
}
