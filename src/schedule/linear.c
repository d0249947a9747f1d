/* linear.c - a straight line from the full rate to min_ratio of it. */
#include <carat/schedule.h>

typedef struct linear_options {
    double min_ratio;
} linear_options;

static const ct_option options[] = {
    CT_OPTION_REAL("min_ratio", linear_options, min_ratio, 0, 0, 1, "the last step's share of the full rate"),
    CT_OPTION_END};

static double linear_factor(const ct_schedule_point *point) {
    double floor = ((const linear_options *)point->options)->min_ratio;
    return floor + (1 - floor) * (1 - (double)point->step / (double)point->steps);
}

const ct_schedule_method ct_schedule_linear = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_schedule_method), .name = "linear", .title = "Linear decay",
               .paper = {"arXiv:1810.04805", "Devlin et al., 2018"},
               .summary = "A straight line from the full rate, after warmup, down to min_ratio of it.",
               .options = options, .options_size = sizeof(linear_options)},
    .factor = linear_factor};
