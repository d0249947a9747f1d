/* warmup_stable_decay.c - the full rate for most of the run, then a decay in its last part (Hu et al., section 4). */
#include <carat/schedule.h>
#include <math.h>

enum { DECAY_LINEAR, DECAY_COSINE, DECAY_ONE_MINUS_SQRT };
static const char *const decay_names[] = {"linear", "cosine", "1-sqrt", NULL};

typedef struct stable_options {
    double decay_ratio, min_ratio;
    int decay_type;
} stable_options;

static const ct_option options[] = {
    CT_OPTION_REAL("decay_ratio", stable_options, decay_ratio, 0.1, 0, 1, "share of the steps that decay takes"),
    CT_OPTION_REAL("min_ratio", stable_options, min_ratio, 0, 0, 1, "the last step's share of the full rate"),
    CT_OPTION_CHOICE("decay_type", stable_options, decay_type, "linear", decay_names, "form of the decay"),
    CT_OPTION_END};

static double stable_factor(const ct_schedule_point *point) {
    const stable_options *o = point->options;
    double decay = o->decay_ratio * (double)point->steps, begin = (double)point->steps - decay;
    if (decay <= 0 || (double)point->step <= begin) return 1;
    double progress = ((double)point->step - begin) / decay, left = 1 - progress;
    if (o->decay_type == DECAY_COSINE) left = 0.5 * (1 + cos(3.14159265358979323846 * progress));
    if (o->decay_type == DECAY_ONE_MINUS_SQRT) left = 1 - sqrt(progress);
    return o->min_ratio + (1 - o->min_ratio) * left;
}

const ct_schedule_method ct_schedule_warmup_stable_decay = {
    .method = {.abi = CT_METHOD_ABI, .size = sizeof(ct_schedule_method), .name = "warmup_stable_decay",
               .title = "Warmup-stable-decay", .paper = {"arXiv:2404.06395", "Hu et al., 2024"},
               .summary = "The full rate after warmup, and a decay in the last part of the run only, so that a run can "
                          "be lengthened without having planned its end.",
               .options = options, .options_size = sizeof(stable_options)},
    .factor = stable_factor};
