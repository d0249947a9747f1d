/* check.c - checks: what was measured, how it must stand to its bound, and by how much it does. */
#include "claim/parts.h"
#include <math.h>

#define CONFIDENCE 0.95

static const char *const relation_texts[] = {"<", "<=", ">=", ">", "within"};

const char *ct_relation_text(ct_relation relation) {
    return relation_texts[relation];
}

double ct_relation_margin(ct_relation relation, double measured, double bound) {
    switch (relation) {
    case CT_LESS:
    case CT_AT_MOST:
        return bound - measured;
    case CT_AT_LEAST:
    case CT_GREATER:
        return measured - bound;
    case CT_WITHIN:
        return bound - fabs(measured);
    }
    return NAN;
}

/* A comparison with NaN is false, so NaN never holds. */
static bool satisfies(ct_relation relation, double measured, double bound) {
    switch (relation) {
    case CT_LESS:
        return measured < bound;
    case CT_AT_MOST:
        return measured <= bound;
    case CT_AT_LEAST:
        return measured >= bound;
    case CT_GREATER:
        return measured > bound;
    case CT_WITHIN:
        return fabs(measured) <= bound;
    }
    return false;
}

static ct_value *check_value(ct_claim_run *run, const char *what, double measured, ct_relation relation,
                             double bound, bool holds) {
    ct_context *context = run->context;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_claim_put_text(map, "what", what, context);
    ct_claim_put_real(map, "measured", measured, context);
    ct_claim_put_text(map, "relation", ct_relation_text(relation), context);
    ct_claim_put_real(map, "bound", bound, context);
    ct_claim_put_real(map, "margin", ct_relation_margin(relation, measured, bound), context);
    ct_value_set(map, "holds", ct_value_bool(context, holds));
    return map;
}

static ct_status add(ct_claim_run *run, ct_value *check, bool holds) {
    if (!holds) run->failed_checks++;
    return ct_value_append(run->checks, check);
}

ct_status ct_claim_check(ct_claim_run *run, const char *what, double measured, ct_relation relation,
                         double bound) {
    if (ct_failed(run->context)) return ct_context_status(run->context);
    bool holds = satisfies(relation, measured, bound);
    return add(run, check_value(run, what, measured, relation, bound, holds), holds);
}

static ct_value *reals(ct_context *context, const double *values, int count) {
    ct_value *list = ct_value_list(context);
    for (int i = 0; list && i < count; i++)
        ct_value_append(list, ct_claim_real(context, values[i]));
    return list;
}

static ct_status needs_values(ct_claim_run *run, const char *what, int count) {
    if (ct_failed(run->context)) return ct_context_status(run->context);
    if (count >= 1) return CT_OK;
    return ct_fail(run->context, CT_ERROR_ARGUMENT, "check \"%s\": no values", what);
}

ct_status ct_claim_check_each(ct_claim_run *run, const char *what, const double *values, int count,
                              ct_relation relation, double bound) {
    if (needs_values(run, what, count) != CT_OK) return ct_context_status(run->context);
    double worst = values[0];
    for (int i = 1; i < count; i++) {
        double margin = ct_relation_margin(relation, values[i], bound);
        if (isnan(margin) || margin < ct_relation_margin(relation, worst, bound)) worst = values[i];
        if (isnan(margin)) break;
    }
    bool holds = satisfies(relation, worst, bound);
    ct_value *check = check_value(run, what, worst, relation, bound, holds);
    if (check) ct_claim_put_text(check, "judged_by", "each", run->context);
    if (check) ct_value_set(check, "values", reals(run->context, values, count));
    return add(run, check, holds);
}

static ct_value *interval_value(ct_context *context, const ct_claim_interval *interval) {
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_claim_put_int(map, "count", interval->count, context);
    ct_claim_put_real(map, "deviation", interval->deviation, context);
    ct_claim_put_real(map, "low", interval->low, context);
    ct_claim_put_real(map, "high", interval->high, context);
    ct_claim_put_real(map, "confidence", interval->confidence, context);
    return map;
}

/* Whether the whole interval is on one side of the bound: the seeds agree that it holds, or that it does not.
 */
static bool is_settled(const ct_claim_interval *interval, ct_relation relation, double bound) {
    bool low = satisfies(relation, interval->low, bound), high = satisfies(relation, interval->high, bound);
    if (isnan(interval->low) || low != high) return false;
    /* Both ends may be outside [-bound, bound] with the middle within. */
    return relation != CT_WITHIN || low || interval->low > bound || interval->high < -bound;
}

ct_status ct_claim_check_mean(ct_claim_run *run, const char *what, const double *values, int count,
                              ct_claim_rule rule, ct_relation relation, double bound) {
    ct_context *context = run->context;
    if (needs_values(run, what, count) != CT_OK) return ct_context_status(context);
    ct_claim_interval interval = ct_claim_interval_of(values, count, CONFIDENCE);
    bool holds = satisfies(relation, interval.mean, bound);
    if (rule == CT_BY_INTERVAL)
        holds = satisfies(relation, interval.low, bound) && satisfies(relation, interval.high, bound);
    ct_value *check = check_value(run, what, interval.mean, relation, bound, holds);
    if (check) {
        ct_claim_put_text(check, "judged_by", rule == CT_BY_INTERVAL ? "interval" : "mean", context);
        if (rule == CT_BY_INTERVAL) {
            double low = ct_relation_margin(relation, interval.low, bound);
            double high = ct_relation_margin(relation, interval.high, bound);
            ct_claim_put_real(check, "margin", low < high ? low : high, context);
        }
        ct_value_set(check, "interval", interval_value(context, &interval));
        ct_value_set(check, "settled", ct_value_bool(context, is_settled(&interval, relation, bound)));
        ct_value_set(check, "values", reals(context, values, count));
    }
    return add(run, check, holds);
}

ct_status ct_claim_check_paired(ct_claim_run *run, const char *what, const double *method,
                                const double *baseline, int count, ct_claim_rule rule, ct_relation relation,
                                double bound) {
    if (needs_values(run, what, count) != CT_OK) return ct_context_status(run->context);
    double *differences = ct_claim_memory(run, (size_t)count * sizeof(*differences));
    if (!differences) return ct_context_status(run->context);
    for (int i = 0; i < count; i++)
        differences[i] = method[i] - baseline[i];
    return ct_claim_check_mean(run, what, differences, count, rule, relation, bound);
}
