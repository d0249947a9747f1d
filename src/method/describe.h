/* describe.h - internal: what text, values and pages about a method share. */
#ifndef CARAT_METHOD_DESCRIBE_H
#define CARAT_METHOD_DESCRIBE_H

#include <carat/method.h>

/* "train, stabilise": the method's, else the kind's. */
const char *ct_method_task(const ct_kind *kind, const ct_method *method);
/* Adds {type, default, minimum, maximum, choices, alias, help} of every option to `map`. */
void ct_options_describe(ct_context *context, const ct_option *table, const char *prefix, ct_value *map);
/* The last recorded results of claims about a method, a list that may be empty; in evidence.c. */
ct_value *ct_method_claims(ct_context *context, const ct_kind *kind, const ct_method *method);

/* A check of a claim in words: what was measured, its bound, margin and interval (free with ct_free). */
char *ct_claim_check_line(ct_context *context, const ct_value *check);

#endif
