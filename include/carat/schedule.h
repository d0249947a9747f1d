/* schedule.h - learning-rate schedules: a factor in [0, 1] for every step. All have warmup. */
#ifndef CARAT_SCHEDULE_H
#define CARAT_SCHEDULE_H

#include <carat/method.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_schedule_point {
    const void *options;
    int64_t step;         /* from 0, after warmup: 0 is the first step at full rate */
    int64_t steps;        /* how many steps after warmup there are */
} ct_schedule_point;

/* Method names are Hugging Face's where it has one: constant, linear, cosine, cosine_with_restarts; step and
 * warmup_stable_decay. `factor` of step 0 ... steps - 1 is in [0, 1]. */
typedef struct ct_schedule_method {
    ct_method method;
    double (*factor)(const ct_schedule_point *point);
} ct_schedule_method;

extern const ct_schedule_method *const ct_schedule_methods[]; /* NULL-terminated, by name */

typedef struct ct_schedule ct_schedule;
/* `options` is the method's map or NULL. NULL on error; free with ct_schedule_destroy. */
ct_schedule *ct_schedule_create(ct_context *context, const char *method, const ct_value *options,
                                int64_t warmup_steps, int64_t total_steps);
void ct_schedule_destroy(ct_schedule *schedule);
/* What the learning rate is multiplied by at step 0, 1, ...: (step + 1) / warmup_steps while warming up, so that the first step already moves. */
double ct_schedule_factor(const ct_schedule *schedule, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
