/* test_phases.c - fine-tuning in phases: what is learnt when, the optimizer at the border, resuming across
 * it, refusals. */
#include "runs.h"

static void write_samples(const place *p) {
    static const char *const names[] = {"first.jsonl", "second.jsonl", "both.jsonl"};
    for (int k = 0; k < 3; k++) {
        FILE *file = fopen(at(p, names[k]), "wb");
        assert_non_null(file);
        for (int i = 0; i < 16; i++)
            if (k == 2 || i / 8 == k)
                fprintf(file, "{\"prompt\":\"say %d:\",\"completion\":\"%.*s\"}\n", i, i % 8 + 1,
                        i < 8 ? "abcdefgh" : "stuvwxyz");
        assert_int_equal(fclose(file), 0);
    }
}

static const char common[] = "task: sft, context: 32, save_steps: %d, per_device_train_batch_size: 4, %s";

static outcome phases(const place *p, const char *output, int save_steps, const char *more, int64_t stop,
                      bool resume) {
    char text[1024], head[512];
    snprintf(head, sizeof(head), common, save_steps, more);
    snprintf(text, sizeof(text), "{data.train: null, data.validation_fraction: 0, phases: [%s, %s], %s}",
             at(p, "first.jsonl"), at(p, "second.jsonl"), head);
    return stop >= 0 ? run_until(p, output, text, resume, stop) : run_recipe(p, output, text, resume, 2);
}

/* The first phase is a run on the first file: the same losses to the last bit, as rows depend on the seed
 * alone. */
static void first_phase_is_a_run(void **state) {
    const place *p = *state;
    write_samples(p);
    char text[512], head[256];
    snprintf(head, sizeof(head), common, -1, "lr_scheduler_type: constant, max_steps: 5");
    snprintf(text, sizeof(text), "{data.validation_fraction: 0, data.train: %s, %s}", at(p, "first.jsonl"),
             head);
    outcome alone = run_recipe(p, "alone", text, false, 2);
    outcome both = phases(p, "both", -1, "lr_scheduler_type: constant, max_steps: 10", 5, false);
    assert_done(&alone);
    assert_true(both.report.interrupted);
    assert_int_equal(both.report.steps, 5);
    assert_true(alone.report.loss_hash == both.report.loss_hash);
    assert_true(alone.report.weights_hash == both.report.weights_hash);
}

static void optimizer_at_the_border(void **state) {
    const place *p = *state;
    static const char *const kinds[] = {"phase_optimizer: keep, max_steps: 10",
                                        "phase_optimizer: reset, max_steps: 10",
                                        "phase_replay: 0.5, max_steps: 10"};
    static const char *const until[] = {"phase_optimizer: keep, max_steps: 10",
                                        "phase_optimizer: reset, max_steps: 10"};
    outcome runs[3], border[2];
    write_samples(p);
    for (int k = 0; k < 3; k++) {
        runs[k] = phases(p, k == 0 ? "keep" : k == 1 ? "reset" : "replay", -1, kinds[k], -1, false);
        assert_done(&runs[k]);
    }
    for (int k = 0; k < 2; k++) {
        border[k] = phases(p, k ? "border-1" : "border-0", -1, until[k], 5, false);
        assert_int_equal(border[k].report.steps, 5);
    }
    assert_true(border[0].report.weights_hash == border[1].report.weights_hash);
    assert_true(runs[0].report.weights_hash != runs[1].report.weights_hash);
    assert_true(runs[0].report.weights_hash != runs[2].report.weights_hash);
}

static void resumed(void **state) {
    const place *p = *state;
    write_samples(p);
    static const char *const kinds[] = {"phase_optimizer: reset, phase_replay: 0.3, max_steps: 9",
                                        "packing: true, phase_optimizer: keep, num_train_epochs: 4"};
    for (int k = 0; k < 2; k++) {
        char name[4][32];
        outcome whole = phases(p, k ? "whole-1" : "whole-0", 2, kinds[k], -1, false);
        assert_done(&whole);
        for (int stop = 3; stop <= 5 && k == 0; stop++) { /* before, at and behind the border */
            snprintf(name[stop - 3], sizeof(name[0]), "stop-%d", stop);
            outcome part = phases(p, name[stop - 3], 2, kinds[k], stop, false);
            assert_true(part.report.interrupted);
            outcome rest = phases(p, name[stop - 3], 2, kinds[k], -1, true);
            assert_same_run(&whole, &rest);
        }
    }
}

static void refused(void **state) {
    const place *p = *state;
    write_samples(p);
    outcome o = run_recipe(p, "r", "{phases: [a.jsonl, b.jsonl]}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "phases: it is an option of task: sft");
    o = run_recipe(p, "r", "{task: sft, context: 32, phases: [a.jsonl, b.jsonl]}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "phases: data.train is given too");
    o = run_recipe(p, "r", "{task: sft, context: 32, data.train: null, phases: [a.jsonl]}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "phases: expected a list of 2 to 64");
    o = run_recipe(p, "r", "{task: sft, context: 32, phase_replay: 0.5}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "phase_replay: there are no phases");
    o = run_recipe(p, "r", "{task: sft, context: 32, phase_optimizer: reset}", false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "phase_optimizer: there are no phases");
    o = phases(p, "r", -1, "max_steps: 1", -1, false);
    assert_refused(&o, CT_ERROR_ARGUMENT, "1 steps for 2 phases");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_phase_is_a_run),
                                       cmocka_unit_test(optimizer_at_the_border), cmocka_unit_test(resumed),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
