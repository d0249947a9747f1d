/* descent.c - coordinate descent on powers of a factor (search.h). Points are kept as whole exponents, so
 * that the same point is known again exactly. */
#include <carat/search.h>
#include <math.h>
#include <string.h>

enum { MOST = 100000 };

const ct_option ct_descent_table[] = {
    CT_OPTION_REAL("factor", ct_descent_options, factor, 2, 1.0001, 1e6,
                   "by which one setting at a time is changed"),
    CT_OPTION_INT("evaluations", ct_descent_options, evaluations, 60, 1, MOST, "runs at most"),
    CT_OPTION_END};

typedef struct point {
    int exponent[CT_DESCENT_COORDINATES];
    double loss;
} point;

typedef struct descent {
    ct_context *context;
    const double *start;
    int count;
    const ct_descent_options *options;
    ct_descent_loss loss;
    void *user;
    point *known;
    int64_t known_count;
    bool used_up;
} descent;

static void values_of(const descent *d, const int *exponent, double *values) {
    for (int i = 0; i < d->count; i++)
        values[i] = d->start[i] * pow(d->options->factor, exponent[i]);
}

/* Evaluates a point unless it is known. */
static ct_status look(descent *d, point *p) {
    for (int64_t i = 0; i < d->known_count; i++)
        if (memcmp(d->known[i].exponent, p->exponent, sizeof(p->exponent)) == 0) {
            p->loss = d->known[i].loss;
            return CT_OK;
        }
    double values[CT_DESCENT_COORDINATES];
    p->loss = INFINITY;
    d->used_up = d->known_count == d->options->evaluations;
    if (d->used_up) return CT_OK;
    values_of(d, p->exponent, values);
    ct_status status = d->loss(d->user, values, &p->loss);
    if (isnan(p->loss)) p->loss = INFINITY;
    d->known[d->known_count++] = *p;
    return status;
}

/* Goes on in one direction of one coordinate while the loss falls. */
static ct_status walk(descent *d, point *best, int coordinate, int direction, bool *moved) {
    while (!d->used_up) {
        point next = *best;
        next.exponent[coordinate] += direction;
        ct_status status = look(d, &next);
        if (status != CT_OK) return status;
        if (!(next.loss < best->loss)) return CT_OK;
        *best = next;
        *moved = true;
    }
    return CT_OK;
}

static ct_status search(descent *d, point *best, bool *settled) {
    ct_status status = look(d, best);
    for (bool moved = true; moved && status == CT_OK && !d->used_up;) {
        moved = false;
        for (int c = 0; c < d->count && status == CT_OK; c++) {
            status = walk(d, best, c, 1, &moved);
            if (status == CT_OK) status = walk(d, best, c, -1, &moved);
        }
        *settled = !moved && !d->used_up;
    }
    return status;
}

ct_status ct_descend(ct_context *context, const double *start, int count, const ct_descent_options *options,
                     ct_descent_loss loss, void *user, ct_descent_result *result) {
    *result = (ct_descent_result){.loss = NAN};
    if (ct_failed(context)) return ct_context_status(context);
    if (count < 1 || count > CT_DESCENT_COORDINATES)
        return ct_fail(context, CT_ERROR_ARGUMENT, "search: %d settings, expected 1 to %d", count,
                       CT_DESCENT_COORDINATES);
    for (int i = 0; i < count; i++)
        if (!(start[i] > 0 && isfinite(start[i])))
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "search: setting %d starts at %g, expected a positive number", i, start[i]);
    descent d = {context, start, count, options, loss, user, NULL, 0, false};
    point best = {{0}, INFINITY};
    d.known = ct_alloc_zero(context, (size_t)options->evaluations * sizeof(point), CT_MEMORY_OTHER);
    ct_status status = d.known ? search(&d, &best, &result->settled) : CT_ERROR_MEMORY;
    values_of(&d, best.exponent, result->values);
    result->loss = best.loss;
    result->evaluations = d.known_count;
    ct_free(context, d.known);
    return status;
}
