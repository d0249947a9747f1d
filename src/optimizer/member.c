/* member.c - the methods that an optimizer is made of: found by name, their options read beside those that
 * all share. */
#include "optimizer/internal.h"
#include <string.h>

static const ct_state_decl no_state[] = {{NULL, CT_LIKE_PARAMETER, CT_F32, CT_STATE_SIGNED}};

/* Reads the keys of `table`, passing over those of `other`. */
static ct_status read_part(ct_context *context, const ct_option *table, const ct_option *other, void *target,
                           const ct_value *map, const char *path) {
    const char *skip[65];
    size_t count = 0;
    for (; other && other[count].type != CT_TYPE_END && count < 64; count++)
        skip[count] = other[count].name;
    skip[count] = NULL;
    return ct_options_apply(context, table, target, map, path, skip);
}

static const ct_option none[] = {CT_OPTION_END};

static ct_status read_options(ct_context *context, ct_member *member, const ct_option *shared,
                              const char *path) {
    const ct_method *method = member->method;
    const ct_option *table = method->options ? method->options : none;
    member->options = ct_alloc_zero(context, method->options_size + 1, CT_MEMORY_OTHER);
    if (!member->options || !member->value) return ct_context_status(context);
    ct_options_default(table, member->options);
    if (read_part(context, table, shared, member->options, member->value, path) != CT_OK)
        return ct_context_status(context);
    ct_status (*check)(ct_context *, const void *) =
        member->link ? member->link->check : member->optimizer->check;
    return check ? check(context, member->options) : CT_OK;
}

ct_status ct_member_make(ct_context *context, ct_member *member, const char *kind, const char *name,
                         const ct_value *options, const ct_option *shared, const char *path) {
    *member = (ct_member){.method = ct_failed(context) ? NULL : ct_method_find(context, kind, name)};
    if (!member->method) return ct_context_status(context);
    if (options && ct_value_kind_of(options) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: expected a map of the options of %s \"%s\"", path,
                       kind, name);
    const void *whole = member->method;
    if (strcmp(kind, "link") == 0) {
        member->link = whole;
        member->state = member->link->state;
        member->keeps = member->link->keeps;
        member->statistics = member->link->statistics;
    } else {
        member->optimizer = whole;
        member->state = member->optimizer->state;
        member->keeps = member->optimizer->keeps;
        member->statistics = member->optimizer->statistics;
    }
    if (!member->state) member->state = no_state;
    while (member->states < CT_MAX_STATES && member->state[member->states].name)
        member->states++;
    while (member->statistics && member->statistics[member->statistic_count])
        member->statistic_count++;
    member->value = options ? ct_value_copy(options) : ct_value_map(context);
    return read_options(context, member, shared, path);
}

void ct_member_free(ct_context *context, ct_member *member) {
    ct_free(context, member->options);
    ct_value_free(member->value);
    *member = (ct_member){0};
}
