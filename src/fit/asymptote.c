/* asymptote.c - loss = A / x^alpha + E through measured losses, with an interval of E from resampled runs.
 *
 * Parameters are p = (log A', log alpha, log E), A' being A at the geometric mean of x, so that all are
 * positive and their errors little correlated. With s the share of the first term in the fitted loss, the
 * residual r = log(fitted) - log(measured) has the slopes dr/dp = (s, -s alpha log(x / mean), 1 - s).
 * Levenberg-Marquardt steps with Huber's weights min(1, delta / |r|) lower the sum of Huber losses, from
 * starts spread over alpha and E; the best end counts. */
#include <carat/fit.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMETERS = 3, ITERATIONS = 400, MOST_RESAMPLES = 100000 };

const ct_option ct_fit_table[] = {
    CT_OPTION_REAL("delta", ct_fit_options, delta, 1e-3, 1e-9, 1e9,
                   "where the Huber loss of log(loss) becomes linear"),
    CT_OPTION_INT("resamples", ct_fit_options, resamples, 200, 0, MOST_RESAMPLES,
                  "fits to runs drawn anew at each x, for the interval of the asymptote; 0: none"),
    CT_OPTION_INT("seed", ct_fit_options, seed, 1, 0, 9e15, "of the resampling"), CT_OPTION_END};

#define FLOOR                                                                                                \
    0.01 /* share of the least loss: losses with an asymptote below it have not begun to level off */

typedef struct points {
    const double *log_x, *log_loss; /* log x less its mean */
    int64_t count;
    double delta;
} points;

static double huber(double r, double delta) {
    double size = fabs(r);
    return size <= delta ? r * r / 2 : delta * (size - delta / 2);
}

static double fitted(const double *p, double log_x, double *share) {
    double first = exp(p[0] - exp(p[1]) * log_x), whole = first + exp(p[2]);
    *share = first / whole;
    return log(whole);
}

static double cost_of(const points *data, const double *p) {
    double sum = 0, share;
    for (int64_t i = 0; i < data->count; i++)
        sum += huber(fitted(p, data->log_x[i], &share) - data->log_loss[i], data->delta);
    return sum;
}

/* Weighted normal equations at p: n = J^T W J, g = J^T W r. */
static void normal_equations(const points *data, const double *p, double n[PARAMETERS][PARAMETERS],
                             double *g) {
    memset(n, 0, sizeof(double[PARAMETERS][PARAMETERS]));
    memset(g, 0, sizeof(double[PARAMETERS]));
    for (int64_t i = 0; i < data->count; i++) {
        double s, r = fitted(p, data->log_x[i], &s) - data->log_loss[i];
        double weight = fabs(r) <= data->delta ? 1 : data->delta / fabs(r);
        const double slope[PARAMETERS] = {s, -s * exp(p[1]) * data->log_x[i], 1 - s};
        for (int j = 0; j < PARAMETERS; j++) {
            g[j] += weight * slope[j] * r;
            for (int k = 0; k < PARAMETERS; k++)
                n[j][k] += weight * slope[j] * slope[k];
        }
    }
}

/* Solves n d = g by elimination with pivots; false if it is singular. */
static bool solve(double n[PARAMETERS][PARAMETERS], double *g, double *d) {
    for (int c = 0; c < PARAMETERS; c++) {
        int best = c;
        for (int r = c + 1; r < PARAMETERS; r++)
            if (fabs(n[r][c]) > fabs(n[best][c])) best = r;
        if (!(fabs(n[best][c]) > 1e-300)) return false;
        for (int k = 0; k < PARAMETERS; k++) {
            double swap = n[c][k];
            n[c][k] = n[best][k];
            n[best][k] = swap;
        }
        double swap = g[c];
        g[c] = g[best];
        g[best] = swap;
        for (int r = c + 1; r < PARAMETERS; r++) {
            double factor = n[r][c] / n[c][c];
            for (int k = c; k < PARAMETERS; k++)
                n[r][k] -= factor * n[c][k];
            g[r] -= factor * g[c];
        }
    }
    for (int r = PARAMETERS - 1; r >= 0; r--) {
        d[r] = g[r];
        for (int k = r + 1; k < PARAMETERS; k++)
            d[r] -= n[r][k] * d[k];
        d[r] /= n[r][r];
    }
    return true;
}

/* One step with less or more damping until the cost falls; false: it falls no further. */
static bool improve(const points *data, double *p, double *cost, double *damping) {
    double n[PARAMETERS][PARAMETERS], g[PARAMETERS];
    normal_equations(data, p, n, g);
    for (int attempt = 0; attempt < 40; attempt++) {
        double m[PARAMETERS][PARAMETERS], h[PARAMETERS], d[PARAMETERS], next[PARAMETERS];
        memcpy(m, n, sizeof(m));
        memcpy(h, g, sizeof(h));
        for (int j = 0; j < PARAMETERS; j++)
            m[j][j] += *damping * (n[j][j] + 1e-12);
        if (solve(m, h, d)) {
            for (int j = 0; j < PARAMETERS; j++)
                next[j] = p[j] - d[j];
            double now = cost_of(data, next);
            if (isfinite(now) && now < *cost) {
                memcpy(p, next, sizeof(next));
                *cost = now;
                *damping = fmax(*damping / 5, 1e-15);
                return true;
            }
        }
        *damping = fmin(*damping * 4, 1e15);
    }
    return false;
}

/* The least of all starts. `highest` and `lowest` are measured losses. */
static double fit_points(const points *data, double lowest, double highest, double *best) {
    static const double shares[] = {0.3, 0.7, 0.9, 0.99}, exponents[] = {0.05, 0.15, 0.4, 0.8, 1.6};
    double least = INFINITY, first = data->log_x[0];
    for (int64_t i = 0; i < data->count; i++)
        first = fmin(first, data->log_x[i]);
    for (int s = 0; s < 4; s++)
        for (int k = 0; k < 5; k++) {
            double e = shares[s] * lowest, damping = 1e-3;
            double p[PARAMETERS] = {log(highest - e) + exponents[k] * first, log(exponents[k]), log(e)};
            double cost = cost_of(data, p);
            for (int i = 0; i < ITERATIONS && cost > 1e-30 && improve(data, p, &cost, &damping); i++) {
            }
            if (cost < least) {
                least = cost;
                memcpy(best, p, PARAMETERS * sizeof(double));
            }
        }
    return least;
}

/* ------------------------------------------------------------------------------------------------ runs */

typedef struct run {
    double x, loss;
} run;

static int by_x(const void *a, const void *b) {
    const run *r = a, *s = b;
    if (r->x != s->x) return r->x < s->x ? -1 : 1;
    return (r->loss > s->loss) - (r->loss < s->loss);
}

typedef struct work {
    ct_context *context;
    run *runs;                       /* sorted by x */
    int64_t *first;                  /* [sizes + 1] where each x begins */
    double *log_x, *log_loss, *ends; /* ends: e, then alpha, of resampled fits */
    int64_t count, sizes;
    double middle; /* mean of log x */
} work;

static double mean_of_size(const work *w, int64_t size) {
    double sum = 0;
    for (int64_t i = w->first[size]; i < w->first[size + 1]; i++)
        sum += w->runs[i].loss;
    return sum / (double)(w->first[size + 1] - w->first[size]);
}

static ct_status sort_runs(work *w, const double *x, const double *loss) {
    for (int64_t i = 0; i < w->count; i++) {
        if (!(x[i] > 0 && loss[i] > 0 && isfinite(x[i]) && isfinite(loss[i])))
            return ct_fail(w->context, CT_ERROR_ARGUMENT,
                           "fit: run %lld is x = %g, loss = %g, expected positive finite numbers",
                           (long long)i, x[i], loss[i]);
        w->runs[i] = (run){x[i], loss[i]};
    }
    qsort(w->runs, (size_t)w->count, sizeof(run), by_x);
    for (int64_t i = 0; i < w->count; i++) {
        if (i == 0 || w->runs[i].x != w->runs[i - 1].x) w->first[w->sizes++] = i;
        w->first[w->sizes] = i + 1;
        w->middle += log(w->runs[i].x) / (double)w->count;
    }
    if (w->sizes < CT_FIT_SIZES)
        return ct_fail(
            w->context, CT_ERROR_ARGUMENT,
            "fit: %lld different x, expected %d at least: an asymptote through fewer means nothing",
            (long long)w->sizes, CT_FIT_SIZES);
    double from = mean_of_size(w, 0), to = mean_of_size(w, w->sizes - 1);
    if (!(to < from))
        return ct_fail(w->context, CT_ERROR_ARGUMENT,
                       "fit: the loss does not fall from the lowest x (%g) to the highest (%g)", from, to);
    return CT_OK;
}

static double fit_runs(const work *w, const ct_fit_options *options, double *p) {
    points data = {w->log_x, w->log_loss, w->count, options->delta};
    double lowest = INFINITY, highest = 0;
    for (int64_t i = 0; i < w->count; i++) {
        lowest = fmin(lowest, exp(w->log_loss[i]));
        highest = fmax(highest, exp(w->log_loss[i]));
    }
    return fit_points(&data, lowest, highest, p);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Position `share` of sorted values, between neighbours by their distance. */
static double percentile(const double *sorted, int64_t count, double share) {
    double at = share * (double)(count - 1);
    int64_t below = (int64_t)at;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* Fits to as many runs of each x, drawn from them with repetition. */
static void resample(work *w, const ct_fit_options *options, ct_asymptote *result) {
    int64_t count = options->resamples;
    ct_random random = ct_random_make((uint64_t)options->seed, ct_random_stream("fit.resample"));
    for (int64_t n = 0; n < count; n++) {
        double p[PARAMETERS] = {0};
        for (int64_t s = 0; s < w->sizes; s++)
            for (int64_t i = w->first[s]; i < w->first[s + 1]; i++)
                w->log_loss[i] = log(w->runs[ct_random_integer(&random, w->first[s], w->first[s + 1])].loss);
        fit_runs(w, options, p);
        w->ends[n] = exp(p[2]);
        w->ends[count + n] = exp(p[1]);
    }
    qsort(w->ends, (size_t)count, sizeof(double), ascending);
    qsort(w->ends + count, (size_t)count, sizeof(double), ascending);
    result->low = percentile(w->ends, count, 0.025);
    result->high = percentile(w->ends, count, 0.975);
    result->alpha_low = percentile(w->ends + count, count, 0.025);
    result->alpha_high = percentile(w->ends + count, count, 0.975);
    result->uncertain = result->uncertain || result->high - result->low > result->gain;
}

static bool make_work(work *w, int64_t resamples) {
    size_t count = (size_t)w->count;
    w->runs = ct_alloc_zero(w->context, count * sizeof(run), CT_MEMORY_WORKSPACE);
    w->first = ct_alloc_zero(w->context, (count + 1) * sizeof(int64_t), CT_MEMORY_WORKSPACE);
    w->log_x = ct_alloc_zero(w->context, count * sizeof(double), CT_MEMORY_WORKSPACE);
    w->log_loss = ct_alloc_zero(w->context, count * sizeof(double), CT_MEMORY_WORKSPACE);
    w->ends = ct_alloc_zero(w->context, (2 * (size_t)resamples + 1) * sizeof(double), CT_MEMORY_WORKSPACE);
    return w->runs && w->first && w->log_x && w->log_loss && w->ends;
}

static void fit_all(work *w, const ct_fit_options *options, ct_asymptote *result) {
    double p[PARAMETERS] = {0}, sum = 0, lowest = INFINITY;
    for (int64_t i = 0; i < w->count; i++) {
        w->log_x[i] = log(w->runs[i].x) - w->middle;
        w->log_loss[i] = log(w->runs[i].loss);
    }
    fit_runs(w, options, p);
    *result = (ct_asymptote){.alpha = exp(p[1]),
                             .e = exp(p[2]),
                             .low = NAN,
                             .high = NAN,
                             .alpha_low = NAN,
                             .alpha_high = NAN,
                             .sizes = (int)w->sizes,
                             .runs = (int)w->count};
    result->a = exp(p[0] + result->alpha * w->middle);
    for (int64_t i = 0; i < w->count; i++) {
        double r = log(ct_asymptote_at(result, w->runs[i].x)) - w->log_loss[i];
        sum += r * r;
    }
    result->residual = sqrt(sum / (double)w->count);
    for (int64_t s = 0; s < w->sizes; s++)
        lowest = fmin(lowest, mean_of_size(w, s));
    result->gain = lowest - result->e;
    result->uncertain = result->e < FLOOR * lowest;
    if (w->count > w->sizes && options->resamples > 1) resample(w, options, result);
}

ct_status ct_fit_asymptote(ct_context *context, const double *x, const double *loss, int64_t count,
                           const ct_fit_options *options, ct_asymptote *result) {
    *result = (ct_asymptote){0};
    if (ct_failed(context)) return ct_context_status(context);
    if (count < CT_FIT_SIZES)
        return ct_fail(context, CT_ERROR_ARGUMENT, "fit: %lld runs, expected %d different x at least",
                       (long long)count, CT_FIT_SIZES);
    work w = {.context = context, .count = count};
    if (make_work(&w, options->resamples) && sort_runs(&w, x, loss) == CT_OK) fit_all(&w, options, result);
    ct_free(context, w.runs);
    ct_free(context, w.first);
    ct_free(context, w.log_x);
    ct_free(context, w.log_loss);
    ct_free(context, w.ends);
    return ct_context_status(context);
}

double ct_asymptote_at(const ct_asymptote *fit, double x) {
    return fit->a * pow(x, -fit->alpha) + fit->e;
}

double ct_asymptote_inverse(const ct_asymptote *fit, double loss) {
    return loss <= fit->e ? INFINITY : pow(fit->a / (loss - fit->e), 1 / fit->alpha);
}
