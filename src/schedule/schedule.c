/* schedule.c - what all schedules share: warmup, and the method's factor after it. */
#include <carat/schedule.h>

struct ct_schedule {
    ct_context *context;
    const ct_schedule_method *method;
    ct_value *options_value;
    void *options;
    int64_t warmup, total;
};

ct_schedule *ct_schedule_create(ct_context *context, const char *method, const ct_value *options,
                                int64_t warmup_steps, int64_t total_steps) {
    const ct_method *found = ct_failed(context) ? NULL : ct_method_find(context, "schedule", method);
    ct_schedule *schedule = found ? ct_alloc_zero(context, sizeof(*schedule), CT_MEMORY_OTHER) : NULL;
    if (!schedule) return NULL;
    schedule->context = context;
    schedule->method = (const ct_schedule_method *)(const void *)found;
    schedule->warmup = warmup_steps;
    schedule->total = total_steps;
    schedule->options = ct_alloc_zero(context, found->options_size + 1, CT_MEMORY_OTHER);
    schedule->options_value = options ? ct_value_copy(options) : ct_value_map(context);
    if (schedule->options && schedule->options_value && found->options) {
        ct_options_default(found->options, schedule->options);
        ct_options_apply(context, found->options, schedule->options, schedule->options_value, "lr_scheduler_kwargs",
                         NULL);
    }
    if (!ct_failed(context) && warmup_steps < 0)
        ct_fail(context, CT_ERROR_ARGUMENT, "warmup_steps: %lld is negative", (long long)warmup_steps);
    if (!ct_failed(context)) return schedule;
    ct_schedule_destroy(schedule);
    return NULL;
}

void ct_schedule_destroy(ct_schedule *schedule) {
    if (!schedule) return;
    ct_free(schedule->context, schedule->options);
    ct_value_free(schedule->options_value);
    ct_free(schedule->context, schedule);
}

double ct_schedule_factor(const ct_schedule *schedule, int64_t step) {
    if (step < schedule->warmup) return (double)(step + 1) / (double)schedule->warmup;
    ct_schedule_point point = {schedule->options, step - schedule->warmup, schedule->total - schedule->warmup};
    if (point.steps < 1) point.steps = 1;
    if (point.step > point.steps) point.step = point.steps;
    return schedule->method->factor(&point);
}
