/* cosine.c - half a cosine from the full rate to min_ratio of it (Loshchilov & Hutter, equation 5, one period). */
#include <carat/schedule.h>
#include <math.h>

typedef struct cosine_options {
    double min_ratio;
} cosine_options;

static const ct_option options[] = {
    CT_OPTION_REAL("min_ratio", cosine_options, min_ratio, 0, 0, 1, "the last step's share of the full rate"),
    CT_OPTION_END};

static double cosine_factor(const ct_schedule_point *point) {
    double floor = ((const cosine_options *)point->options)->min_ratio;
    double progress = (double)point->step / (double)point->steps;
    return floor + (1 - floor) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
}

const ct_schedule_method ct_schedule_cosine = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_schedule_method), .name = "cosine", .title = "Cosine decay",
               .paper = {"arXiv:1608.03983", "Loshchilov & Hutter, ICLR 2017"},
               .summary = "Half a cosine from the full rate, after warmup, down to min_ratio of it.",
               .options = options, .options_size = sizeof(cosine_options)},
    .factor = cosine_factor};
