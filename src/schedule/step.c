/* step.c - the full rate until a share of the run, then a fraction of it: the regime of image classifiers.
 * The share is of updates, so that a run with larger batches and as many updates drops at the same one
 * (Hoffer et al., section 5). */
#include <carat/schedule.h>

typedef struct step_options {
    double drop_at, gamma;
} step_options;

static const ct_option options[] = {
    CT_OPTION_REAL("drop_at", step_options, drop_at, 0.6, 0, 1,
                   "share of the steps after warmup before the drop"),
    CT_OPTION_REAL("gamma", step_options, gamma, 0.1, 0, 1, "share of the full rate after it"),
    CT_OPTION_END};

static double step_factor(const ct_schedule_point *point) {
    const step_options *o = point->options;
    return (double)point->step < o->drop_at * (double)point->steps ? 1 : o->gamma;
}

const ct_schedule_method ct_schedule_step = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_schedule_method),
         .name = "step",
         .title = "One drop",
         .paper = {"arXiv:1512.03385", "He, Zhang, Ren & Sun, CVPR 2016"},
         .summary =
             "The full rate, and from a share of the run on a tenth of it. What large-batch regimes are "
             "stated in.",
         .options = options,
         .options_size = sizeof(step_options)},
    .factor = step_factor};
