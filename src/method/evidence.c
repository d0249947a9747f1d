/* evidence.c - what claims measured about a method, from the last recorded results (claim.h). */
#include "method/describe.h"
#include "method/registry.h"
#include <carat/claim.h>

/* Read once for a context: pages of all methods look into the same file. */
static const ct_value *last_results(ct_context *context) {
    ct_method_room *room = ct_method_room_present(context);
    if (room && room->claims) return room->claims;
    ct_value *results = ct_claim_last_results(context);
    room = results ? ct_method_room_of(context) : NULL;
    if (room) return room->claims = results;
    ct_value_free(results);
    return NULL;
}

/* Without tables and plots, which `carat claims` and its page show. */
static ct_value *without_plots(ct_context *context, const ct_value *result) {
    static const char *const keys[] = {"name",  "verdict", "reason", "claim", "reported",
                                       "paper", "card",    "seeds",  "checks"};
    ct_value *map = ct_value_map(context);
    for (size_t i = 0; map && i < sizeof(keys) / sizeof(keys[0]); i++) {
        const ct_value *value = ct_value_get(result, keys[i]);
        if (value) ct_value_set(map, keys[i], ct_value_copy(value));
    }
    return map;
}

ct_value *ct_method_claims(ct_context *context, const ct_kind *kind, const ct_method *method) {
    ct_value *list = ct_value_list(context);
    const ct_value *summary = kind ? last_results(context) : NULL, *result;
    size_t at = 0;
    while (list && summary && (result = ct_claim_result_for(summary, kind->name, method->name, &at)))
        ct_value_append(list, without_plots(context, result));
    return list;
}
