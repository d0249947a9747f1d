/* test_runs_judge.c - which runs are suggested for stopping, and what cannot be judged. */
#include "method/check.h"
#include <carat/plan.h>
#include <unistd.h>

static char root[64];

static int start(void **state) {
    (void)state;
    snprintf(root, sizeof(root), "/tmp/carat-judge-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    int result = ct_folder_remove(context, root) == CT_OK ? 0 : -1;
    ct_context_destroy(context);
    return result;
}

/* 100 steps of 10 samples; norm and loss fall slowly from what is given. After step 15 (150 samples) they
 * change places by `later`. */
static void make_run(ct_context *context, const char *name, double norm, double loss, double later,
                     const char *recipe) {
    char folder[128], path[192], text[256], *all = calloc(1, 20000);
    snprintf(folder, sizeof(folder), "%s/%s", root, name);
    assert_int_equal(ct_folder_make(context, folder), CT_OK);
    for (int step = 1; step <= 100; step++) {
        double shift = step > 15 ? later : 0;
        snprintf(text, sizeof(text), "{\"step\":%d,\"loss\":%.6f,\"grad_norm\":%.6f,\"samples\":%d}\n", step,
                 loss - 0.001 * step - shift, norm - 0.001 * step + shift, 10 * step);
        strcat(all, text);
        if (step == 7) strcat(all, "{\"step\":7,\"eval_loss\":3}\n");
    }
    snprintf(path, sizeof(path), "%s/train.jsonl", folder);
    assert_int_equal(ct_file_write(context, path, all, strlen(all)), CT_OK);
    snprintf(path, sizeof(path), "%s/recipe.yaml", folder);
    assert_int_equal(ct_file_write(context, path, recipe, strlen(recipe)), CT_OK);
    free(all);
}

static const char recipe[] = "{task: sft, data: {train: a.jsonl}, loss_normalization: token, max_steps: 100, "
                             "per_device_train_batch_size: 5, gradient_accumulation_steps: 2}";

static const ct_judge_options standard = {0.15, 0, 0.9};

static void judged(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_judgement j;
    make_run(context, "A", 1, 3, 5, recipe); /* lower norm, higher loss early, the reverse later */
    make_run(context, "B", 2, 2, 0, recipe);
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_OK);
    assert_int_equal(j.count, 2);
    assert_true(j.at == 150);
    assert_string_equal(j.runs[0].name, "A");
    assert_string_equal(j.runs[1].name, "B");
    assert_false(j.runs[0].stop);
    assert_true(j.runs[1].stop);
    assert_true(j.runs[0].samples == 150);
    assert_true(j.runs[0].gradient_norm > 0.985 && j.runs[0].gradient_norm < 1);
    ct_judgement_free(context, &j);
    const ct_judge_options late = {0.15, 1000, 0}; /* without smoothing, at the end: the other way round */
    assert_int_equal(ct_plan_judge_runs(context, root, &late, &j), CT_OK);
    assert_true(j.runs[0].stop);
    assert_false(j.runs[1].stop);
    assert_true(j.runs[0].loss < -2.09 && j.runs[0].loss > -2.11);
    ct_judgement_free(context, &j);
    make_run(context, "C", 3, 2.5, 0, recipe); /* worst in one only: nobody is worst in both */
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_OK);
    assert_int_equal(j.count, 3);
    for (int i = 0; i < 3; i++)
        assert_false(j.runs[i].stop);
    assert_int_equal(j.runs[2].norm_rank, 3);
    assert_int_equal(j.runs[2].loss_rank, 2);
    ct_judgement_free(context, &j);
    end_tensors(context);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_judgement j;
    make_run(context, "A", 1, 3, 0, recipe);
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "1 of its folders hold a train.jsonl"));
    ct_context_clear(context);
    make_run(context, "B", 1, 3, 0, recipe);
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_OK); /* equal runs: none is worse */
    assert_false(j.runs[0].stop || j.runs[1].stop);
    ct_judgement_free(context, &j);
    make_run(context, "C", 1, 3, 0, "{task: sft, data: {train: a.jsonl}, loss_normalization: sample}");
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "runs A and C differ in loss_normalization"));
    ct_context_clear(context);
    make_run(context, "C", 1, 3, 0, "{task: sft, data: {train: a.jsonl}, loss_normalization: token}");
    assert_int_equal(ct_plan_judge_runs(context, root, &standard, &j), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "run C: how many samples"));
    ct_context_clear(context);
    end_tensors(context);
}

static void judge_once(ct_context *context, void *user) {
    (void)user;
    ct_judgement j;
    if (ct_plan_judge_runs(context, root, &standard, &j) == CT_OK) ct_judgement_free(context, &j);
}

static void allocations(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    make_run(context, "A", 1, 3, 0, recipe);
    make_run(context, "B", 1, 3, 0, recipe);
    end_tensors(context);
    sweep_tensors(judge_once, NULL, 7, 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(judged, start, end),
                                       cmocka_unit_test_setup_teardown(refused, start, end),
                                       cmocka_unit_test_setup_teardown(allocations, start, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
