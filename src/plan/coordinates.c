/* coordinates.c - the coordinate check: how large activations are, and how far they move in the first steps,
 * at several widths of one recipe (plan.h). */
#include "plan/widths.h"
#include <carat/plot.h>
#include <math.h>
#include <string.h>

static const char *const growth_names[] = {"level", "falls", "rises", "still", "diverges"};
const char *ct_growth_name(ct_growth growth) {
    return growth_names[growth];
}

size_t ct_coordinates_at(const ct_coordinates *r, int point, int width) {
    return ((size_t)point * (size_t)r->width_count + (size_t)width) * (size_t)(r->steps + 1);
}

/* ----------------------------------------------------------------------------------------------- looking */

typedef struct looker {
    ct_context *context;
    ct_coordinates *result;
    ct_tensor **start; /* [points], held: before the first step */
    int capacity, at;  /* the point that comes next */
    int width;         /* index */
    int64_t step, seeds;
    bool naming; /* the first pass of all: points are counted and named */
} looker;

static bool grow(looker *l) {
    ct_coordinates *r = l->result;
    if (r->point_count < l->capacity) return true;
    int capacity = l->capacity ? 2 * l->capacity : 32;
    ct_coordinate_point *points =
        ct_realloc(l->context, r->points, (size_t)capacity * sizeof(*points), CT_MEMORY_OTHER);
    if (!points) return false;
    r->points = points;
    ct_tensor **start =
        ct_realloc(l->context, l->start, (size_t)capacity * sizeof(ct_tensor *), CT_MEMORY_OTHER);
    if (!start) return false;
    l->start = start;
    l->capacity = capacity;
    return true;
}

/* "h.0.mlp.c_fc.preactivation" is h.0.mlp.c_fc. */
static void add_name(looker *l, const char *point) {
    static const char ending[] = ".preactivation";
    size_t length = strlen(point), cut = sizeof(ending) - 1;
    if (length > cut && strcmp(point + length - cut, ending) == 0) length -= cut;
    if (!grow(l)) return;
    ct_coordinates *r = l->result;
    l->start[r->point_count] = NULL;
    r->points[r->point_count] =
        (ct_coordinate_point){.name = ct_format(l->context, "%.*s", (int)length, point)};
    if (r->points[r->point_count].name) r->point_count++;
}

static double mean_size(ct_tensor *x) {
    double value = NAN;
    ct_item(ct_mean_all(ct_abs(ct_cast(x, CT_F32))), &value);
    return value;
}

static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run;
    looker *l = user;
    ct_coordinates *r = l->result;
    if (l->naming) {
        add_name(l, point);
        return value;
    }
    int at = l->at++;
    if (at >= r->point_count) return value;
    size_t entry = ct_coordinates_at(r, at, l->width) + (size_t)l->step;
    if (l->step == 0) {
        ct_drop(l->start[at]);
        l->start[at] = ct_hold(value);
    }
    r->size[entry] += mean_size(value) / (double)l->seeds;
    if (l->step > 0) r->change[entry] += mean_size(ct_sub(value, l->start[at])) / (double)l->seeds;
    return value;
}

static ct_status pass(looker *l, ct_width_study *study, ct_tensor *ids) {
    ct_context *context = l->context;
    ct_scope scope = ct_scope_open(context);
    bool mode = ct_grad_mode_set(context, false);
    l->at = 0;
    ct_run_reset(study->learner->evaluation);
    ct_model_forward(study->learner->model, study->learner->evaluation, ids);
    ct_grad_mode_set(context, mode);
    ct_scope_close(context, scope);
    if (!ct_failed(context) && !l->naming && l->at != l->result->point_count)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "coordcheck: width %lld has %d points, the first one %d",
                       (long long)l->result->widths[l->width], l->at, l->result->point_count);
    return ct_context_status(context);
}

static void look_at_nothing(looker *l) {
    for (int p = 0; p < l->result->point_count; p++) {
        size_t entry = ct_coordinates_at(l->result, p, l->width) + (size_t)l->step;
        l->result->size[entry] = l->result->change[entry] = NAN;
    }
}

/* ----------------------------------------------------------------------------------------------- running */

static ct_status allocate(looker *l, const ct_width_options *o) {
    ct_coordinates *r = l->result;
    if (r->point_count == 0)
        return ct_fail(l->context, CT_ERROR_NOT_FOUND, "coordcheck: no point of the model matches \"%s\"",
                       o->points);
    size_t count = ct_coordinates_at(r, r->point_count, 0);
    r->size = ct_alloc_zero(l->context, count * sizeof(double), CT_MEMORY_OTHER);
    r->change = r->size ? ct_alloc_zero(l->context, count * sizeof(double), CT_MEMORY_OTHER) : NULL;
    return r->change ? CT_OK : CT_ERROR_MEMORY;
}

static ct_status one(looker *l, ct_width_study *study, const ct_width_options *o, int64_t seed) {
    ct_context *context = l->context;
    if (ct_width_study_open(study, l->result->widths[l->width], seed, NAN) != CT_OK ||
        ct_run_add_tap(study->learner->evaluation, o->points, look, l) != CT_OK)
        return ct_context_status(context);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *ids = ct_learner_first_rows(study->learner, study->corpus.train, o->rows);
    ct_status status = ct_context_status(context);
    l->naming = !l->result->size;
    if (l->naming && status == CT_OK) status = pass(l, study, ids);
    if (l->naming && status == CT_OK) status = allocate(l, o);
    l->naming = false;
    for (l->step = 0; l->step <= o->steps && status == CT_OK; l->step++) {
        double loss;
        if (l->step > 0)
            status = ct_width_study_step(study, l->step - 1, study->options.learning_rate, &loss);
        if (status != CT_OK) break;
        if (study->diverged)
            look_at_nothing(l);
        else
            status = pass(l, study, ids);
    }
    ct_scope_close(context, scope);
    return status;
}

/* ----------------------------------------------------------------------------------------------- judging */

static void judge(ct_coordinates *r, int p, double tolerance) {
    double x[CT_PLAN_WIDTHS], size[CT_PLAN_WIDTHS], change[CT_PLAN_WIDTHS];
    ct_coordinate_point *point = &r->points[p];
    bool finite = true, moves = true;
    for (int w = 0; w < r->width_count; w++) {
        size_t at = ct_coordinates_at(r, p, w);
        x[w] = (double)r->widths[w];
        size[w] = r->size[at];
        change[w] = r->change[at + (size_t)r->steps];
        finite &= isfinite(size[w]) && isfinite(change[w]);
        moves &= change[w] > 0;
    }
    point->size_slope = ct_plan_slope(x, size, r->width_count);
    point->change_slope = ct_plan_slope(x, change, r->width_count);
    point->growth = !finite                                                            ? CT_GROWTH_DIVERGES
                    : !moves                                                           ? CT_GROWTH_STILL
                    : point->change_slope > tolerance || point->size_slope > tolerance ? CT_GROWTH_RISES
                    : point->change_slope < -tolerance                                 ? CT_GROWTH_FALLS
                                                                                       : CT_GROWTH_LEVEL;
    if (point->growth > r->growth) r->growth = point->growth;
}

ct_status ct_plan_coordinates(ct_context *context, const ct_value *recipe, const ct_width_options *o,
                              ct_coordinates *r) {
    double widths[CT_PLAN_WIDTHS];
    looker l = {.context = context, .result = r, .seeds = o->seeds};
    ct_width_study study = {.context = context, .recipe = recipe};
    *r = (ct_coordinates){.steps = o->steps};
    ct_status status = ct_failed(context) ? ct_context_status(context)
                                          : ct_plan_numbers(context, o->widths, "widths", true,
                                                            CT_PLAN_WIDTHS, widths, &r->width_count);
    for (int w = 0; w < r->width_count; w++)
        r->widths[w] = (int64_t)widths[w];
    for (l.width = 0; l.width < r->width_count && status == CT_OK; l.width++)
        for (int64_t seed = 0; seed < o->seeds && status == CT_OK; seed++) {
            status = one(&l, &study, o, seed);
            ct_progress(context, "coordcheck", (double)(l.width * o->seeds + seed + 1),
                        (double)(r->width_count * o->seeds), "runs", "");
        }
    if (status == CT_OK)
        ct_progress_finish(context, "coordcheck", (double)(r->width_count * o->seeds), "runs", "");
    for (int p = 0; p < r->point_count; p++) {
        ct_drop(l.start[p]);
        if (status == CT_OK) judge(r, p, o->tolerance);
    }
    ct_free(context, l.start);
    ct_width_study_free(&study);
    if (status != CT_OK) ct_coordinates_free(context, r);
    return status;
}

void ct_coordinates_free(ct_context *context, ct_coordinates *r) {
    for (int p = 0; p < r->point_count; p++)
        ct_free(context, r->points[p].name);
    ct_free(context, r->points);
    ct_free(context, r->size);
    ct_free(context, r->change);
    *r = (ct_coordinates){0};
}

ct_status ct_coordinates_plot(ct_context *context, const ct_coordinates *r, const char *path) {
    ct_plot *plot = ct_plot_create(context);
    char label[96];
    double x[CT_PLAN_WIDTHS], y[CT_PLAN_WIDTHS];
    if (!plot) return ct_context_status(context);
    snprintf(label, sizeof(label), "mean |change of activation| after %lld steps", (long long)r->steps);
    ct_plot_title(plot, "Coordinate check");
    ct_plot_label(plot, CT_PLOT_X, "width", true);
    ct_plot_label(plot, CT_PLOT_Y, label, true);
    for (int p = 0; p < r->point_count && p < CT_PLOT_SERIES; p++) {
        for (int w = 0; w < r->width_count; w++) {
            x[w] = (double)r->widths[w];
            y[w] = r->change[ct_coordinates_at(r, p, w) + (size_t)r->steps];
        }
        ct_plot_series(plot, r->points[p].name, x, y, (size_t)r->width_count);
    }
    ct_status status = ct_failed(context) ? ct_context_status(context) : ct_plot_write(plot, path);
    ct_plot_destroy(plot);
    return status;
}
