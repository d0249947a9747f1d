/* plan.h - planning: what to run, what to stop, and what changes with a model's width. */
#ifndef CARAT_PLAN_H
#define CARAT_PLAN_H

#include <carat/fit.h>

#ifdef __cplusplus
extern "C" {
#endif

/* runs-judge: of fine-tuning runs that go on at the same time, which to stop early. From Pareja et al.,
 * arXiv:2412.13337: of runs on the same data, a lower gradient norm and a HIGHER loss early on (as large
 * batches and low rates give) went with the better model at the end. A heuristic, seen with models of 3 to 7
 * thousand million parameters. */
typedef struct ct_judged_run {
    char *name;               /* of the folder */
    double samples;           /* seen at the last line that counts */
    double gradient_norm;     /* smoothed */
    double loss;              /* smoothed */
    int norm_rank, loss_rank; /* from 1, the best: lowest norm, highest loss */
    bool stop;                /* the worst in both */
} ct_judged_run;
typedef struct ct_judgement {
    double at; /* samples up to which the logs count */
    int count;
    ct_judged_run *runs; /* by name */
} ct_judgement;

typedef struct ct_judge_options {
    double fraction; /* of all samples of a run, where their number is known (max_steps, or a finished run) */
    int64_t at;      /* the same as a number of samples; 0: by fraction */
    double smoothing; /* of the exponential average over logged steps: value = smoothing value + (1 -
                         smoothing) new */
} ct_judge_options;
extern const ct_option ct_judge_table[];

/* Judges the runs in the folders below `folder` that hold train.jsonl and recipe.yaml. At least two; of the
 * same data, task and loss_normalization, else CT_ERROR_ARGUMENT names the runs that differ. Free with
 * ct_judgement_free. */
ct_status ct_plan_judge_runs(ct_context *context, const char *folder, const ct_judge_options *options,
                             ct_judgement *judgement);
void ct_judgement_free(ct_context *context, ct_judgement *judgement);

/* ----------------------------------------------------------------------------------- what a width changes */

/* Both take a recipe of training (train.h) whose model is given by its keys, and train it at several widths
 * (see ct_width_set), with the recipe's parametrization if it has one. Widths and rates are text,
 * "64,128,256": at least two, ascending. */
enum { CT_PLAN_WIDTHS = 16, CT_PLAN_RATES = 32 };

typedef struct ct_width_options {
    const char *widths, *rates; /* rates: of ct_plan_transfer */
    int64_t seeds;
    /* of the coordinate check: */
    int64_t steps, rows;
    double tolerance;   /* slopes of at most this size count as level */
    const char *points; /* pattern of the points that are looked at */
} ct_width_options;
extern const ct_option ct_width_table[];

/* The coordinate check (Yang & Hu, arXiv:2011.14522; Yang et al., arXiv:2203.03466, appendix D.1): how large
 * the activations of every layer are, and how far they have moved, at each of the first steps. */
typedef enum ct_growth {
    CT_GROWTH_LEVEL,   /* the same at every width */
    CT_GROWTH_FALLS,   /* moves less and less */
    CT_GROWTH_RISES,   /* is larger, or moves more, the wider the model */
    CT_GROWTH_STILL,   /* does not move at all at some width */
    CT_GROWTH_DIVERGES /* values that are not finite */
} ct_growth;
const char *ct_growth_name(ct_growth growth); /* "level" */

typedef struct ct_coordinate_point {
    char *name;
    double size_slope;   /* of log mean |x| against log width before the first step; NAN where it is 0 */
    double change_slope; /* of log mean |change since then| after the last step */
    ct_growth growth;
} ct_coordinate_point;
typedef struct ct_coordinates {
    int width_count, point_count;
    int64_t widths[CT_PLAN_WIDTHS], steps;
    ct_coordinate_point *points; /* in the order in which they run */
    double *size,
        *change;      /* [point][width][step 0 ... steps]: mean |x|, mean |x - x before the first step| */
    ct_growth growth; /* of the whole: the worst, in the order of ct_growth */
} ct_coordinates;

/* Steps are taken at the recipe's learning_rate, without its schedule; what is looked at are the first `rows`
 * rows of the text. Means over seeds recipe.seed, recipe.seed + 1, ... Free with ct_coordinates_free. */
ct_status ct_plan_coordinates(ct_context *context, const ct_value *recipe, const ct_width_options *options,
                              ct_coordinates *result);
/* Of size or change: where [point][width][0] is. */
size_t ct_coordinates_at(const ct_coordinates *result, int point, int width);
/* One line a point: mean |change| after the last step against the width. */
ct_status ct_coordinates_plot(ct_context *context, const ct_coordinates *result, const char *path);
void ct_coordinates_free(ct_context *context, ct_coordinates *result);

/* Whether the best learning rate of a narrow model is that of a wide one: the whole recipe at each width and
 * rate. */
typedef struct ct_transfer {
    int width_count, rate_count;
    int64_t widths[CT_PLAN_WIDTHS];
    double rates[CT_PLAN_RATES];
    double loss[CT_PLAN_WIDTHS]
               [CT_PLAN_RATES]; /* mean of the last tenth of the steps; NAN where it diverged */
    int best[CT_PLAN_WIDTHS];   /* index of the rate with the least loss; -1: all diverged */
    int shift;                  /* greatest difference of these indices; -1: not known */
    bool at_end;                /* some best rate is the first or last of the grid */
} ct_transfer;
ct_status ct_plan_transfer(ct_context *context, const ct_value *recipe, const ct_width_options *options,
                           ct_transfer *result);
/* One line a width: loss against rate. */
ct_status ct_transfer_plot(ct_context *context, const ct_transfer *result, const char *path);

/* ------------------------------------------------------------------------ members against size ----- */

/* How to spend a number of parameters: members x the size of one, of models trained on the same data (Kim et al.,
 * arXiv:2509.14786). For each size the losses of ensembles fall as A / K^beta + E with the members K; where K was run at
 * several sizes they fall as A / N^alpha + E with the size N. Limits as there: first of the members, then of the size. */
typedef enum ct_ensemble_source {
    CT_LOSS_UNKNOWN,
    CT_LOSS_OF_RUNS,      /* mean of the runs with this size and these members */
    CT_LOSS_OVER_MEMBERS, /* by the curve of this size */
    CT_LOSS_OVER_SIZES    /* by the curve of these members */
} ct_ensemble_source;

typedef struct ct_ensemble_choice {
    double size, members; /* whole numbers; size * members is at most the budget */
    double loss;          /* NAN: not known */
    ct_ensemble_source source;
    bool extrapolated; /* beyond the runs that the curve goes through */
} ct_ensemble_choice;

typedef struct ct_ensemble_size {
    double size;
    bool fitted;
    ct_asymptote fit; /* over members, if fitted */
    char why[160];    /* why not, else "" */
} ct_ensemble_size;

typedef struct ct_ensemble_plan {
    int size_count, choice_count, best; /* best: index of the choice with the least loss; -1: none is known */
    ct_ensemble_size *sizes;            /* ascending */
    ct_ensemble_choice *choices;        /* by size, ascending */
    /* The limits of the sizes that are fitted and not uncertain, over the size: `joint.e` is the loss at best, infinitely many members of
     * infinite size. Its interval is of runs drawn anew at each size and number of members. */
    bool joint_fitted;
    ct_asymptote joint;
    char why[160]; /* why not */
} ct_ensemble_plan;
enum { CT_ENSEMBLE_SIZES = 256 }; /* different sizes, and different numbers of members, at most */

/* `count` runs (size, members, loss) and the budget in parameters. A curve takes CT_FIT_SIZES different points at least;
 * without, a size has only the choices that were run. Refused: no runs, numbers that are not positive and finite, members
 * and sizes that are not whole, a budget below the least size. Free with ct_ensemble_plan_free. */
ct_status ct_plan_ensemble(ct_context *context, const double *sizes, const double *members, const double *losses,
                           int64_t count, double budget, const ct_fit_options *options, ct_ensemble_plan *plan);
void ct_ensemble_plan_free(ct_context *context, ct_ensemble_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
