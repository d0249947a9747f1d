/* ensemble.c - members against size: a budget of parameters spent on one large model or on several small ones
 * (plan.h). */
#include <carat/plan.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 1000000 };

typedef struct run {
    double size, members, loss;
} run;

typedef struct work {
    ct_context *context;
    const ct_fit_options *options;
    run *runs; /* by size, then members, then loss */
    int64_t count;
    double *x, *loss, *drawn; /* [count] scratch */
    double budget;
    double levels[CT_ENSEMBLE_SIZES]; /* numbers of members, ascending */
    ct_asymptote over_sizes[CT_ENSEMBLE_SIZES];
    bool fitted[CT_ENSEMBLE_SIZES]; /* whether the level has a curve */
    int level_count;
    ct_ensemble_plan *plan;
} work;

static int in_order(const void *a, const void *b) {
    const run *r = a, *s = b;
    if (r->size != s->size) return r->size < s->size ? -1 : 1;
    if (r->members != s->members) return r->members < s->members ? -1 : 1;
    return (r->loss > s->loss) - (r->loss < s->loss);
}

/* ----------------------------------------------------------------------------------------------- reading */

static bool whole(double value) {
    return value >= 1 && value < 9e15 && value == floor(value);
}

static ct_status take_runs(work *w, const double *sizes, const double *members, const double *losses) {
    for (int64_t i = 0; i < w->count; i++) {
        if (!(whole(sizes[i]) && whole(members[i]) && losses[i] > 0 && isfinite(losses[i])))
            return ct_fail(w->context, CT_ERROR_ARGUMENT,
                           "plan ensemble: run %lld has %g parameters, %g members, loss %g; expected whole "
                           "numbers from 1 on "
                           "and a positive loss",
                           (long long)i + 1, sizes[i], members[i], losses[i]);
        w->runs[i] = (run){sizes[i], members[i], losses[i]};
    }
    qsort(w->runs, (size_t)w->count, sizeof(run), in_order);
    return CT_OK;
}

/* Adds a value to a sorted list without repetition; false: it is full. */
static bool add_level(double *levels, int *count, double value) {
    int at = 0;
    while (at < *count && levels[at] < value)
        at++;
    if (at < *count && levels[at] == value) return true;
    if (*count == CT_ENSEMBLE_SIZES) return false;
    memmove(levels + at + 1, levels + at, (size_t)(*count - at) * sizeof(double));
    levels[at] = value;
    (*count)++;
    return true;
}

static ct_status find_levels(work *w) {
    ct_ensemble_plan *plan = w->plan;
    double sizes[CT_ENSEMBLE_SIZES];
    for (int64_t i = 0; i < w->count; i++)
        if (!add_level(sizes, &plan->size_count, w->runs[i].size) ||
            !add_level(w->levels, &w->level_count, w->runs[i].members))
            return ct_fail(w->context, CT_ERROR_ARGUMENT,
                           "plan ensemble: more than %d different sizes or numbers of members",
                           CT_ENSEMBLE_SIZES);
    if (w->budget < sizes[0])
        return ct_fail(
            w->context, CT_ERROR_ARGUMENT,
            "plan ensemble: a budget of %.0f parameters, and the smallest model of the runs has %.0f",
            w->budget, sizes[0]);
    plan->sizes = ct_alloc_zero(w->context, (size_t)plan->size_count * sizeof(*plan->sizes), CT_MEMORY_OTHER);
    plan->choices = ct_alloc_zero(
        w->context, (size_t)(plan->size_count + w->level_count) * sizeof(*plan->choices), CT_MEMORY_OTHER);
    for (int i = 0; plan->sizes && i < plan->size_count; i++)
        plan->sizes[i].size = sizes[i];
    return ct_context_status(w->context);
}

/* ------------------------------------------------------------------------------------------------ curves */

/* A curve through w->x and w->loss; false, with the reason in `why`, if there is none. Other errors stay. */
static bool fit(work *w, int64_t count, int64_t resamples, ct_asymptote *result, char why[160]) {
    ct_fit_options options = *w->options;
    ct_try trial;
    char message[512];
    options.resamples = resamples;
    ct_try_begin(w->context, &trial);
    ct_fit_asymptote(w->context, w->x, w->loss, count, &options, result);
    ct_status status = ct_try_end(w->context, &trial, message, sizeof(message));
    if (status == CT_ERROR_ARGUMENT)
        snprintf(why, 160, "%.159s", message);
    else if (status != CT_OK)
        ct_fail(w->context, status, "%s", message);
    return status == CT_OK;
}

/* Runs of a size, or of a number of members, into the scratch. */
static int64_t gather(work *w, double size, double members) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const run *r = &w->runs[i];
        if ((size > 0 && r->size != size) || (members > 0 && r->members != members)) continue;
        w->x[n] = size > 0 ? r->members : r->size;
        w->loss[n++] = r->loss;
    }
    return n;
}

static ct_status fit_curves(work *w) {
    char why[160];
    for (int i = 0; i < w->plan->size_count && !ct_failed(w->context); i++) {
        ct_ensemble_size *size = &w->plan->sizes[i];
        size->fitted = fit(w, gather(w, size->size, 0), w->options->resamples, &size->fit, size->why);
    }
    for (int k = 0; k < w->level_count && !ct_failed(w->context); k++)
        w->fitted[k] = fit(w, gather(w, 0, w->levels[k]), 0, &w->over_sizes[k], why);
    return ct_context_status(w->context);
}

/* A limit that is not settled says nothing of the limits of others. */
static bool settled(const ct_ensemble_size *size) {
    return size->fitted && !size->fit.uncertain;
}

/* The limits of the settled sizes into the scratch. */
static int64_t gather_limits(work *w, const double *limits) {
    int64_t n = 0;
    for (int i = 0; i < w->plan->size_count; i++) {
        if (!settled(&w->plan->sizes[i])) continue;
        w->x[n] = w->plan->sizes[i].size;
        w->loss[n++] = limits ? limits[i] : w->plan->sizes[i].fit.e;
    }
    return n;
}

/* A limit of each size from runs drawn anew where several have the same size and members; false: no curve
 * goes through them. */
static bool draw_limits(work *w, ct_random *random, double *limits) {
    char why[160];
    for (int i = 0; i < w->plan->size_count; i++) {
        const ct_ensemble_size *size = &w->plan->sizes[i];
        if (!settled(size)) continue;
        int64_t n = gather(w, size->size, 0);
        ct_asymptote drawn;
        memcpy(w->drawn, w->loss, (size_t)n * sizeof(double));
        for (int64_t from = 0, to; from < n; from = to) {
            for (to = from + 1; to < n && w->x[to] == w->x[from];)
                to++;
            for (int64_t j = from; j < to; j++)
                w->loss[j] = w->drawn[ct_random_integer(random, from, to)];
        }
        if (!fit(w, n, 0, &drawn, why)) return false;
        limits[i] = drawn.e;
    }
    return true;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool has_repeats(const work *w) {
    for (int64_t i = 1; i < w->count; i++)
        if (w->runs[i].size == w->runs[i - 1].size && w->runs[i].members == w->runs[i - 1].members)
            return true;
    return false;
}

/* Percentiles 2.5 and 97.5 of the joint limit; none if most drawings have no curve. */
static ct_status joint_interval(work *w, double least) {
    ct_asymptote *joint = &w->plan->joint, drawn;
    int64_t wanted = w->options->resamples, found = 0;
    double limits[CT_ENSEMBLE_SIZES];
    char why[160];
    ct_random random = ct_random_make((uint64_t)w->options->seed, ct_random_stream("plan.ensemble"));
    double *ends = ct_alloc(w->context, (size_t)wanted * sizeof(double), CT_MEMORY_WORKSPACE);
    for (int64_t n = 0; ends && n < wanted && !ct_failed(w->context); n++)
        if (draw_limits(w, &random, limits) && fit(w, gather_limits(w, limits), 0, &drawn, why))
            ends[found++] = drawn.e;
    if (ends && 2 * found > wanted && found > 1) {
        qsort(ends, (size_t)found, sizeof(double), ascending);
        joint->low = ends[(int64_t)(0.025 * (double)(found - 1))];
        joint->high = ends[(int64_t)ceil(0.975 * (double)(found - 1))];
        joint->gain = least - joint->e;
        joint->uncertain = joint->uncertain || joint->high - joint->low > joint->gain;
    }
    ct_free(w->context, ends);
    return ct_context_status(w->context);
}

static ct_status fit_joint(work *w) {
    ct_ensemble_plan *plan = w->plan;
    int64_t n = gather_limits(w, NULL);
    double least = INFINITY;
    for (int64_t i = 0; i < w->count; i++)
        least = fmin(least, w->runs[i].loss);
    plan->joint_fitted = fit(w, n, 0, &plan->joint, plan->why);
    if (!plan->joint_fitted && n < CT_FIT_SIZES && !ct_failed(w->context))
        snprintf(plan->why, sizeof(plan->why),
                 "%lld sizes with a settled limit over their members, expected %d at least", (long long)n,
                 CT_FIT_SIZES);
    if (!plan->joint_fitted) return ct_context_status(w->context);
    plan->joint.gain = least - plan->joint.e;
    return w->options->resamples > 1 && has_repeats(w) ? joint_interval(w, least)
                                                       : ct_context_status(w->context);
}

/* ----------------------------------------------------------------------------------------------- choices */

/* Mean of the runs with this size and these members; NAN: there are none. */
static double measured(const work *w, double size, double members) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < w->count; i++)
        if (w->runs[i].size == size && w->runs[i].members == members) {
            sum += w->runs[i].loss;
            n++;
        }
    return n ? sum / (double)n : NAN;
}

/* Whether x lies beyond the runs of a size (x: members) or of a number of members (x: size). */
static bool beyond(work *w, double size, double members, double x) {
    int64_t n = gather(w, size, members);
    double low = INFINITY, high = 0;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, w->x[i]);
        high = fmax(high, w->x[i]);
    }
    return x < low || x > high;
}

static const ct_ensemble_size *size_of(const work *w, double size) {
    for (int i = 0; i < w->plan->size_count; i++)
        if (w->plan->sizes[i].size == size) return &w->plan->sizes[i];
    return NULL;
}

static int level_of(const work *w, double members) {
    for (int k = 0; k < w->level_count; k++)
        if (w->levels[k] == members) return k;
    return -1;
}

static void add_choice(work *w, double size, double members) {
    ct_ensemble_choice choice = {size, members, measured(w, size, members), CT_LOSS_OF_RUNS, false};
    const ct_ensemble_size *known = size_of(w, size);
    int level = level_of(w, members);
    if (isnan(choice.loss) && known && known->fitted) {
        choice.loss = ct_asymptote_at(&known->fit, members);
        choice.source = CT_LOSS_OVER_MEMBERS;
        choice.extrapolated = beyond(w, size, 0, members);
    } else if (isnan(choice.loss) && level >= 0 && w->fitted[level]) {
        choice.loss = ct_asymptote_at(&w->over_sizes[level], size);
        choice.source = CT_LOSS_OVER_SIZES;
        choice.extrapolated = beyond(w, 0, members, size);
    } else if (isnan(choice.loss)) {
        choice.source = CT_LOSS_UNKNOWN;
    }
    w->plan->choices[w->plan->choice_count++] = choice;
}

static int by_size(const void *a, const void *b) {
    const ct_ensemble_choice *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->members > y->members) - (x->members < y->members);
}

/* As many members as the budget has of each size that was run; and of each number of members with a curve the
 * size that the budget has for it. */
static void choose(work *w) {
    ct_ensemble_plan *plan = w->plan;
    for (int i = 0; i < plan->size_count; i++)
        if (plan->sizes[i].size <= w->budget)
            add_choice(w, plan->sizes[i].size, floor(w->budget / plan->sizes[i].size));
    for (int k = 0; k < w->level_count; k++) {
        double size = floor(w->budget / w->levels[k]);
        if (w->fitted[k] && size >= 1 && !size_of(w, size)) add_choice(w, size, w->levels[k]);
    }
    qsort(plan->choices, (size_t)plan->choice_count, sizeof(*plan->choices), by_size);
    for (int i = 0; i < plan->choice_count; i++)
        if (!isnan(plan->choices[i].loss) &&
            (plan->best < 0 || plan->choices[i].loss < plan->choices[plan->best].loss))
            plan->best = i;
}

ct_status ct_plan_ensemble(ct_context *context, const double *sizes, const double *members,
                           const double *losses, int64_t count, double budget, const ct_fit_options *options,
                           ct_ensemble_plan *plan) {
    *plan = (ct_ensemble_plan){.best = -1};
    if (ct_failed(context)) return ct_context_status(context);
    if (count < 1 || count > MOST_RUNS)
        return ct_fail(context, CT_ERROR_ARGUMENT, "plan ensemble: %lld runs, expected 1 to %d",
                       (long long)count, MOST_RUNS);
    if (!(budget > 0 && isfinite(budget)))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "plan ensemble: a budget of %g parameters, expected a positive number", budget);
    work *w = ct_alloc_zero(context, sizeof(*w), CT_MEMORY_WORKSPACE);
    double *scratch =
        w ? ct_alloc_zero(context, 3 * (size_t)count * sizeof(double), CT_MEMORY_WORKSPACE) : NULL;
    run *runs = scratch ? ct_alloc_zero(context, (size_t)count * sizeof(run), CT_MEMORY_WORKSPACE) : NULL;
    if (runs) {
        *w = (work){.context = context,
                    .options = options,
                    .runs = runs,
                    .count = count,
                    .budget = budget,
                    .plan = plan};
        w->x = scratch;
        w->loss = scratch + count;
        w->drawn = scratch + 2 * count;
        if (take_runs(w, sizes, members, losses) == CT_OK && find_levels(w) == CT_OK &&
            fit_curves(w) == CT_OK && fit_joint(w) == CT_OK)
            choose(w);
    }
    ct_free(context, runs);
    ct_free(context, scratch);
    ct_free(context, w);
    if (ct_failed(context)) ct_ensemble_plan_free(context, plan);
    return ct_context_status(context);
}

void ct_ensemble_plan_free(ct_context *context, ct_ensemble_plan *plan) {
    ct_free(context, plan->sizes);
    ct_free(context, plan->choices);
    *plan = (ct_ensemble_plan){.best = -1};
}
