/* test_schedule.c - learning-rate factors against worked numbers. */
#include "format/check.h"
#include <carat/schedule.h>
#include <math.h>

static ct_schedule *make(ct_context *context, const char *method, const char *options, int64_t warmup,
                         int64_t total) {
    ct_value *map = options ? ct_json_parse(context, options, strlen(options), "options") : NULL;
    ct_schedule *schedule = ct_schedule_create(context, method, map, warmup, total);
    ct_value_free(map);
    return schedule;
}

typedef struct row {
    const char *method, *options;
    int64_t warmup, total, step;
    double factor;
} row;

static const row rows[] = {
    /* Warmup: the first step already moves; its last step is at full rate. */
    {"constant", NULL, 4, 100, 0, 0.25},
    {"constant", NULL, 4, 100, 2, 0.75},
    {"constant", NULL, 4, 100, 3, 1},
    {"constant", NULL, 4, 100, 4, 1},
    {"constant", NULL, 0, 100, 0, 1},
    {"constant", NULL, 4, 100, 1000, 1},
    {"cosine", NULL, 4, 100, 1, 0.5},
    {"linear", NULL, 4, 100, 1, 0.5},
    {"warmup_stable_decay", NULL, 4, 100, 1, 0.5},
    /* Linear: (total - step) / (total - warmup). */
    {"linear", NULL, 0, 10, 0, 1},
    {"linear", NULL, 0, 10, 4, 0.6},
    {"linear", NULL, 0, 10, 9, 0.1},
    {"linear", NULL, 2, 10, 2, 1},
    {"linear", NULL, 2, 10, 6, 0.5},
    {"linear", NULL, 2, 10, 10, 0},
    {"linear", "{\"min_ratio\": 0.2}", 0, 10, 5, 0.6},
    {"linear", "{\"min_ratio\": 0.2}", 0, 10, 10, 0.2},
    {"linear", NULL, 0, 10, 25, 0}, /* beyond the end it stays */
    /* Step: one drop, at a share of the steps. */
    {"step", NULL, 0, 10, 5, 1},
    {"step", NULL, 0, 10, 6, 0.1},
    {"step", "{\"drop_at\": 0.5, \"gamma\": 0.2}", 2, 12, 6, 1},
    {"step", "{\"drop_at\": 0.5, \"gamma\": 0.2}", 2, 12, 7, 0.2},
    /* Cosine: 1/2 (1 + cos(pi t)). */
    {"cosine", NULL, 0, 100, 0, 1},
    {"cosine", NULL, 0, 100, 50, 0.5},
    {"cosine", NULL, 0, 100, 100, 0},
    {"cosine", NULL, 10, 130, 50, 0.75}, /* a third of the way: 1/2 (1 + 1/2) */
    {"cosine", NULL, 10, 130, 90, 0.25},
    {"cosine", "{\"min_ratio\": 0.1}", 0, 100, 50, 0.55},
    {"cosine", "{\"min_ratio\": 0.1}", 0, 100, 100, 0.1},
    {"cosine", "{\"min_ratio\": 0.1}", 0, 100, 500, 0.1},
    /* With restarts: 1/2 (1 + cos(pi (cycles t mod 1))), as transformers computes it. */
    {"cosine_with_restarts", NULL, 0, 100, 50, 0.5},
    {"cosine_with_restarts", "{\"num_cycles\": 2}", 0, 100, 25, 0.5},
    {"cosine_with_restarts", "{\"num_cycles\": 2}", 0, 100, 50, 1},
    {"cosine_with_restarts", "{\"num_cycles\": 2}", 0, 100, 75, 0.5},
    {"cosine_with_restarts", "{\"num_cycles\": 2}", 0, 100, 100, 0},
    {"cosine_with_restarts", "{\"num_cycles\": 3, \"min_ratio\": 0.2}", 10, 40, 15, 0.6},
    {"cosine_with_restarts", "{\"num_cycles\": 3, \"min_ratio\": 0.2}", 10, 40, 20, 1},
    {"cosine_with_restarts", "{\"num_cycles\": 3, \"min_ratio\": 0.2}", 10, 40, 40, 0.2},
    /* Warmup-stable-decay: full until the last tenth. */
    {"warmup_stable_decay", NULL, 0, 100, 0, 1},
    {"warmup_stable_decay", NULL, 0, 100, 90, 1},
    {"warmup_stable_decay", NULL, 0, 100, 95, 0.5},
    {"warmup_stable_decay", NULL, 0, 100, 99, 0.1},
    {"warmup_stable_decay", NULL, 20, 120, 115, 0.5},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.5}", 0, 100, 50, 1},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.5}", 0, 100, 75, 0.5},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.5, \"min_ratio\": 0.2}", 0, 100, 75, 0.6},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.4, \"decay_type\": \"cosine\"}", 0, 100, 80, 0.5},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.3, \"decay_type\": \"cosine\"}", 0, 100, 80, 0.75},
    {"warmup_stable_decay", "{\"decay_ratio\": 0.4, \"decay_type\": \"1-sqrt\"}", 0, 100, 70, 0.5},
    {"warmup_stable_decay", "{\"decay_ratio\": 0}", 0, 100, 99, 1},
    {"warmup_stable_decay", "{\"decay_ratio\": 1}", 0, 100, 25, 0.75},
};

static void worked_numbers(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const row *r = &rows[i];
        ct_schedule *schedule = make(context, r->method, r->options, r->warmup, r->total);
        if (!schedule) fail_msg("%s", ct_context_message(context));
        double factor = ct_schedule_factor(schedule, r->step);
        if (!(fabs(factor - r->factor) < 1e-12))
            fail_msg("row %d (%s %s, step %d): %.15g, expected %.15g", (int)i, r->method,
                     r->options ? r->options : "", (int)r->step, factor, r->factor);
        ct_schedule_destroy(schedule);
    }
    end_context(context);
}

/* Whatever the method: in [0, 1], rising in warmup, never rising after it. */
static void shapes(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int seen = 0;
    for (int k = 0; ct_schedule_methods[k]; k++, seen++) {
        for (int64_t total = 1; total <= 50; total += 7) {
            int64_t warmup = total / 3;
            ct_schedule *schedule = make(context, ct_schedule_methods[k]->method.name, NULL, warmup, total);
            double before = 0;
            for (int64_t step = 0; step < total + 5; step++) {
                double factor = ct_schedule_factor(schedule, step);
                assert_true(factor >= 0 && factor <= 1);
                if (step < warmup)
                    assert_true(factor > before);
                else if (step > warmup)
                    assert_true(factor <= before + 1e-12);
                before = factor;
            }
            ct_schedule_destroy(schedule);
        }
    }
    assert_true(seen >= 4);
    end_context(context);
}

static void refuses(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    assert_null(make(context, "cosin", NULL, 0, 10));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no schedule \"cosin\"", "did you mean \"cosine\"?");
    assert_null(make(context, "xyzzy", NULL, 0, 10));
    assert_null(strstr(ct_context_message(context), "did you mean"));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "there is no schedule \"xyzzy\"");
    assert_null(make(context, "cosine", "{\"min_ration\": 0.1}", 0, 10));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "lr_scheduler_kwargs.min_ration", "min_ratio");
    assert_null(make(context, "linear", "{\"min_ratio\": 2}", 0, 10));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "lr_scheduler_kwargs.min_ratio");
    assert_null(make(context, "linear", NULL, -1, 10));
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "warmup_steps", "-1");
    /* Warmup as long as the run, or longer, is no division by nothing. */
    ct_schedule *schedule = make(context, "cosine", NULL, 10, 10);
    assert_true(ct_schedule_factor(schedule, 9) == 1 && ct_schedule_factor(schedule, 10) == 1);
    ct_schedule_destroy(schedule);
    end_context(context);
}

static void create_one(ct_context *context, void *user) {
    (void)user;
    ct_schedule_destroy(make(context, "cosine", "{\"min_ratio\": 0.5}", 3, 10));
}

static void survives_failures(void **state) {
    (void)state;
    sweep_memory(create_one, NULL, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(worked_numbers), cmocka_unit_test(shapes),
                                       cmocka_unit_test(refuses), cmocka_unit_test(survives_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
