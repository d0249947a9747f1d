/* results.c - results of several claims: the summary, and where the last recorded one is found. */
#include "claim/parts.h"
#include "carat_paths.h"
#include <stdlib.h>
#include <string.h>

ct_claim_verdict ct_claim_result_verdict(const ct_value *result) {
    const char *name = ct_value_as_string(ct_value_get(result, "verdict"), "");
    for (int v = CT_CLAIM_HOLDS; v < CT_CLAIM_FAILED; v++)
        if (strcmp(name, ct_claim_verdict_name((ct_claim_verdict)v)) == 0) return (ct_claim_verdict)v;
    return CT_CLAIM_FAILED;
}

ct_value *ct_claim_summary(ct_context *context, ct_value *list) {
    static const char *const keys[] = {"holds", "does_not_hold", "skipped", "failed"};
    int64_t counts[4] = {0};
    ct_value *map = ct_value_map(context), *count = map ? ct_value_map(context) : NULL;
    for (size_t i = 0; i < ct_value_count(list); i++)
        counts[ct_claim_result_verdict(ct_value_at(list, i))]++;
    for (int i = 0; count && i < 4; i++)
        ct_claim_put_int(count, keys[i], counts[i], context);
    if (map) ct_claim_put_text(map, "carat", CT_VERSION, context);
    if (map) ct_value_set(map, "counts", count);
    if (!map)
        ct_value_free(list);
    else
        ct_value_set(map, "claims", list);
    if (!ct_failed(context)) return map;
    ct_value_free(map);
    return NULL;
}

ct_value *ct_claim_last_results(ct_context *context) {
    const char *places[] = {getenv("CARAT_CLAIMS"), CARAT_SOURCE_ROOT "/claims/results.json",
                            CARAT_DATADIR "/carat/claims.json"};
    if (ct_failed(context)) return NULL;
    if (places[0] && *places[0])
        return ct_json_read(context, places[0]); /* asked for: an error if it is not there */
    for (int i = 1; i < 3; i++)
        if (ct_file_exists(places[i])) return ct_json_read(context, places[i]);
    return NULL;
}

const ct_value *ct_claim_result_named(const ct_value *summary, const char *name) {
    const ct_value *list = ct_value_get(summary, "claims");
    for (size_t i = 0; i < ct_value_count(list); i++) {
        const ct_value *result = ct_value_at(list, i);
        if (strcmp(ct_value_as_string(ct_value_get(result, "name"), ""), name) == 0) return result;
    }
    return NULL;
}

/* "optimizer/adamp" is `kind`, a slash, `method`. */
static bool is_about(const char *text, const char *kind, const char *method) {
    size_t length = strlen(kind);
    return strncmp(text, kind, length) == 0 && text[length] == '/' && strcmp(text + length + 1, method) == 0;
}

const ct_value *ct_claim_result_for(const ct_value *summary, const char *kind, const char *method,
                                    size_t *at) {
    const ct_value *list = ct_value_get(summary, "claims");
    while (*at < ct_value_count(list)) {
        const ct_value *result = ct_value_at(list, (*at)++), *methods = ct_value_get(result, "methods");
        for (size_t m = 0; m < ct_value_count(methods); m++)
            if (is_about(ct_value_as_string(ct_value_at(methods, m), ""), kind, method)) return result;
    }
    return NULL;
}
