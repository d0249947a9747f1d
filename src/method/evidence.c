/* evidence.c - what claims measured about a method, from the last recorded results. */
#include "method/describe.h"

ct_value *ct_method_claims(ct_context *context, const ct_kind *kind, const ct_method *method) {
    (void)kind, (void)method;
    return ct_value_list(context);
}

void ct_claims_text(ct_text *text, const ct_value *claims) {
    if (!ct_value_count(claims)) ct_text_printf(text, "Claim: none\n");
}

void ct_claims_markdown(ct_text *text, const ct_value *claims) {
    if (!ct_value_count(claims)) ct_text_printf(text, "None.\n");
}
