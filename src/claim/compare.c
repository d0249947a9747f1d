/* compare.c - paired runs: every arm gets the same tuning runs on the same grid, then the same seeds. */
#include "claim/parts.h"
#include <math.h>

/* Tuning seeds lie beyond all that are measured. */
#define TUNING_SEED UINT64_C(1000000007)

typedef struct comparison {
    ct_claim_run *run;
    const ct_claim_comparison *how;
    ct_claim_outcome *outcome;
} comparison;

static ct_status one_trial(const comparison *c, int arm, int point, uint64_t seed, int seed_index,
                           double *score, double *value) {
    const ct_claim_comparison *how = c->how;
    ct_claim_run *run = c->run;
    ct_claim_trial trial = {run,  how->user, arm, point, how->grid_count ? how->grid[point] : NAN,
                            seed, seed_index};
    ct_status status = ct_claim_continue(run);
    if (status != CT_OK) return status;
    if (seed_index < 0)
        ct_claim_say(run, "%s, %s %g", how->arms[arm], how->setting, trial.setting);
    else
        ct_claim_say(run, "%s, seed %llu", how->arms[arm], (unsigned long long)seed);
    *score = *value = NAN;
    ct_scope scope = ct_scope_open(run->context);
    status = how->trial(&trial, score, value);
    ct_scope_close(run->context, scope);
    c->outcome->trials[arm]++;
    run->trials_done++;
    return status == CT_OK ? ct_context_status(run->context) : status;
}

/* NaN is the worst of all; of equal scores the first stays. */
static bool better(const ct_claim_comparison *how, double score, double than) {
    if (isnan(score)) return false;
    if (isnan(than)) return true;
    return how->lower_is_better ? score < than : score > than;
}

static ct_status tune(const comparison *c, int arm) {
    const ct_claim_comparison *how = c->how;
    ct_claim_outcome *outcome = c->outcome;
    int seeds = how->tuning_seeds > 0 ? how->tuning_seeds : 1, best = 0;
    for (int p = 0; p < how->grid_count; p++) {
        double sum = 0;
        for (int s = 0; s < seeds; s++) {
            double score, value;
            uint64_t seed = TUNING_SEED + ct_claim_seed(c->run, s);
            ct_status status = one_trial(c, arm, p, seed, -1, &score, &value);
            if (status != CT_OK) return status;
            sum += score;
        }
        outcome->score[arm][p] = sum / seeds;
        if (better(how, outcome->score[arm][p], outcome->score[arm][best])) best = p;
    }
    outcome->point[arm] = best;
    outcome->setting[arm] = how->grid[best];
    if (isnan(outcome->score[arm][best]))
        ct_claim_note(c->run, "%s: every %s of the grid diverged.", how->arms[arm], how->setting);
    else if (how->grid_count > 1 && (best == 0 || best == how->grid_count - 1))
        ct_claim_note(c->run, "%s: the best %s, %g, is an end of the grid.", how->arms[arm], how->setting,
                      how->grid[best]);
    return CT_OK;
}

static ct_status measure(const comparison *c, int arm) {
    ct_claim_outcome *outcome = c->outcome;
    double sum = 0;
    for (int s = 0; s < outcome->seeds; s++) {
        double score;
        ct_status status = one_trial(c, arm, outcome->point[arm], ct_claim_seed(c->run, s), s, &score,
                                     &outcome->value[arm][s]);
        if (status != CT_OK) return status;
        sum += outcome->value[arm][s];
    }
    outcome->mean[arm] = sum / outcome->seeds;
    return CT_OK;
}

/* -------------------------------------------------------------------------------------------- tables */

static void measured_table(const comparison *c) {
    const ct_claim_comparison *how = c->how;
    const ct_claim_outcome *outcome = c->outcome;
    const ct_claim_column columns[] = {{how->measure, how->unit, how->digits},
                                       {"deviation", NULL, how->digits + 1},
                                       {"95 % from", NULL, how->digits},
                                       {"to", NULL, how->digits},
                                       {how->setting, NULL, -1}};
    int table = ct_claim_table(c->run, how->measure, columns, how->setting ? 5 : 4);
    for (int a = 0; table >= 0 && a < outcome->arms; a++) {
        ct_claim_interval i = ct_claim_interval_of(outcome->value[a], outcome->seeds, 0.95);
        double values[] = {outcome->mean[a], i.deviation, i.low, i.high, outcome->setting[a]};
        double paper[] = {how->paper[a], NAN, NAN, NAN, NAN};
        bool reported = how->paper[a] != 0 && !isnan(how->paper[a]);
        ct_claim_row(c->run, table, how->arms[a], values, reported ? paper : NULL);
    }
}

enum { MOST_POINTS = 32 };

static void tuning_table(const comparison *c) {
    const ct_claim_comparison *how = c->how;
    ct_claim_column columns[MOST_POINTS];
    char names[MOST_POINTS][32], title[160];
    for (int p = 0; p < how->grid_count; p++) {
        snprintf(names[p], sizeof(names[p]), "%g", how->grid[p]);
        columns[p] = (ct_claim_column){names[p], NULL, how->digits};
    }
    snprintf(title, sizeof(title), "Tuning: score of each %s", how->setting);
    int table = ct_claim_table(c->run, title, columns, how->grid_count);
    for (int a = 0; table >= 0 && a < c->outcome->arms; a++)
        ct_claim_row(c->run, table, how->arms[a], c->outcome->score[a], NULL);
}

/* ------------------------------------------------------------------------------------------- comparing */

static ct_status prepare(comparison *c) {
    const ct_claim_comparison *how = c->how;
    ct_claim_outcome *outcome = c->outcome;
    ct_context *context = c->run->context;
    *outcome = (ct_claim_outcome){.seeds = c->run->seeds};
    while (outcome->arms < CT_CLAIM_ARMS && how->arms[outcome->arms])
        outcome->arms++;
    if (outcome->arms == 0 || !how->trial || !how->measure)
        return ct_fail(context, CT_ERROR_ARGUMENT, "ct_claim_compare: expected arms, a measure and a trial");
    if (how->grid_count < 0 || how->grid_count > MOST_POINTS ||
        (how->grid_count > 0) != (how->setting != NULL) || (how->grid_count > 0 && !how->grid))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "ct_claim_compare: a grid has a setting's name and 1 to %d points, found %d",
                       MOST_POINTS, how->grid_count);
    for (int a = 0; a < outcome->arms; a++) {
        outcome->setting[a] = outcome->mean[a] = NAN;
        outcome->value[a] = ct_claim_memory(c->run, (size_t)outcome->seeds * sizeof(double));
        if (how->grid_count)
            outcome->score[a] = ct_claim_memory(c->run, (size_t)how->grid_count * sizeof(double));
    }
    int tuning = how->grid_count * (how->tuning_seeds > 0 ? how->tuning_seeds : 1);
    c->run->trials_total += (double)outcome->arms * (tuning + outcome->seeds);
    return ct_context_status(context);
}

ct_status ct_claim_compare(ct_claim_run *run, const ct_claim_comparison *how, ct_claim_outcome *outcome) {
    comparison c = {run, how, outcome};
    ct_status status = ct_claim_continue(run);
    if (status == CT_OK) status = prepare(&c);
    for (int a = 0; status == CT_OK && a < outcome->arms; a++) {
        if (how->grid_count) status = tune(&c, a);
        if (status == CT_OK) status = measure(&c, a);
    }
    if (status != CT_OK) return status;
    if (how->grid_count && how->tuning_table) tuning_table(&c);
    measured_table(&c);
    return ct_context_status(run->context);
}
