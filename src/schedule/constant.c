/* constant.c - the full rate after warmup. */
#include <carat/schedule.h>

static const ct_option options[] = {CT_OPTION_END};

static double constant_factor(const ct_schedule_point *point) {
    (void)point;
    return 1;
}

const ct_schedule_method ct_schedule_constant = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_schedule_method), .name = "constant", .title = "Constant rate",
               .paper = {"", "Robbins & Monro, 1951"}, .summary = "The full learning rate after warmup.",
               .options = options},
    .factor = constant_factor};
