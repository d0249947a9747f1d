/* cosine_with_restarts.c - several half cosines one after the other, each from the full rate (Loshchilov &
 * Hutter, equation 5, with periods of one length), as transformers' schedule of that name has them: for tasks
 * that change. */
#include <carat/schedule.h>
#include <math.h>

typedef struct restarts_options {
    int64_t num_cycles;
    double min_ratio;
} restarts_options;

static const ct_option options[] = {CT_OPTION_INT("num_cycles", restarts_options, num_cycles, 1, 1, 1e9,
                                                  "how often the rate begins anew at its full size"),
                                    CT_OPTION_REAL("min_ratio", restarts_options, min_ratio, 0, 0, 1,
                                                   "where each cycle ends, as a share of the full rate"),
                                    CT_OPTION_END};

static double restarts_factor(const ct_schedule_point *point) {
    const restarts_options *o = point->options;
    if (point->step >= point->steps) return o->min_ratio;
    double cycles = (double)o->num_cycles * (double)point->step / (double)point->steps;
    double progress = cycles - floor(cycles);
    return o->min_ratio + (1 - o->min_ratio) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
}

const ct_schedule_method ct_schedule_cosine_with_restarts = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_schedule_method),
         .name = "cosine_with_restarts",
         .title = "Cosine decay with restarts",
         .paper = {"arXiv:1608.03983", "Loshchilov & Hutter, ICLR 2017"},
         .summary =
             "Cosine decay that begins anew num_cycles times, after warmup: a cyclic rate for data or tasks "
             "that change.",
         .options = options,
         .options_size = sizeof(restarts_options)},
    .factor = restarts_factor};
