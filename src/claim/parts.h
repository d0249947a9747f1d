/* parts.h - inside claim: a run, and the result that grows in it. */
#ifndef CARAT_SRC_CLAIM_PARTS_H
#define CARAT_SRC_CLAIM_PARTS_H

#include <carat/claim.h>

/* What a run frees at its end, the latest first. */
typedef struct ct_claim_resource {
    void *object;
    void (*release)(ct_context *context, void *object);
} ct_claim_resource;

struct ct_claim_run {
    ct_context *context;
    const ct_claim *claim;
    ct_claim_settings settings;
    int seeds;
    double started, deadline;         /* ct_seconds; deadline INFINITY: none */
    double trials_done, trials_total; /* of comparisons, for the progress line */
    char *folder; /* ct_claim_folder; a resource */
    char saying[160];
    char build[17]; /* of the program that began it: its files may be replaced meanwhile */
    ct_value *checks, *tables, *plots, *notes; /* lists */
    int failed_checks;
    ct_claim_resource *resources;
    size_t resource_count, resource_capacity;
};

/* Takes `object` over, also on failure. */
ct_status ct_claim_keep(ct_claim_run *run, void *object, void (*release)(ct_context *context, void *object));
/* Frees an object before the end of the run; no effect on one that it does not keep. */
void ct_claim_let_go(ct_claim_run *run, void *object);

/* Maps. A number that is NaN or infinite is null, as it will be in JSON. */
void ct_claim_put_text(ct_value *map, const char *key, const char *text, ct_context *context);
void ct_claim_put_real(ct_value *map, const char *key, double value, ct_context *context);
void ct_claim_put_int(ct_value *map, const char *key, int64_t value, ct_context *context);
ct_value *ct_claim_real(ct_context *context, double value);

/* The folder of the data: settings, environment, source tree. A new string. */
char *ct_claim_data_folder(ct_context *context, const ct_claim_settings *settings);

/* Text that grows (ct_bytes), made like printf. */
ct_status ct_claim_print(ct_context *context, ct_bytes *text, const char *format, ...) CT_PRINTF(3, 4);
/* A number as it is shown: `digits` decimals, or -1 for four significant digits; "-" for what is no number.
 */
const char *ct_claim_number(double value, int digits, char buffer[40]);
/* "<=" and so on. */
const char *ct_relation_text(ct_relation relation);
/* Margin of a check as claim.h defines it. */
double ct_relation_margin(ct_relation relation, double measured, double bound);

#endif
