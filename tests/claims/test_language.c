/* test_language.c - the driver for language models takes the very steps of ct_train. */
#include "run.h"
#include <carat/train.h>
#include <stdlib.h>

static char folder[256], text_path[300];

static void write_text(ct_context *context) {
    char text[8000];
    ct_random random = ct_random_make(1, 2);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 41 == 40 ? '\n' : (char)('a' + ct_random_integer(&random, 0, 3) * (1 + i % 5));
    make_folder(folder, sizeof(folder));
    snprintf(text_path, sizeof(text_path), "%s/text.txt", folder);
    assert_int_equal(ct_file_write(context, text_path, text, sizeof(text)), CT_OK);
}

#define RECIPE                                                                                               \
    "{model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, n_positions: 16}, tokenizer: {kind: "     \
    "characters},"                                                                                           \
    " data: {train: '%s'}, context: 16, max_steps: 6, per_device_train_batch_size: 3, learning_rate: 1e-2,"  \
    " lr_scheduler_type: cosine, warmup_steps: 2, logging_steps: 1, save_steps: -1, output_dir: '%s/out', "  \
    "seed: 9}"

static double last_loss, held_out;
static int64_t observed;

static ct_status after(void *user, const ct_claim_step *step) {
    (void)user;
    observed = step->step;
    assert_non_null(step->model);
    assert_true(isfinite(step->gradient_norm) && step->learning_rate > 0);
    return CT_OK;
}

static ct_status same_steps(ct_claim_run *run) {
    ct_claim_progress progress;
    const ct_value *recipe = ct_claim_yaml(run, RECIPE, text_path, folder);
    ct_claim_language *language = ct_claim_language_create(run, recipe, 9);
    if (!language) return ct_context_status(ct_claim_context(run));
    assert_true(ct_dataset_tokens(ct_claim_language_text(language, false)) > 7000);
    assert_true(ct_dataset_tokens(ct_claim_language_text(language, true)) > 500);
    ct_claim_language_learn(language, 4, after, NULL, &progress);
    assert_true(progress.steps == 4 && observed == 4);
    ct_claim_language_learn(language, 0, after, NULL, &progress);
    assert_true(progress.steps == 2 && observed == 6 && !progress.diverged);
    last_loss = progress.last_loss;
    return ct_claim_language_validate(language, 0, &held_out) == CT_OK
               ? ct_claim_check(run, "x", 1, CT_LESS, 2)
               : CT_ERROR_STATE;
}

static void test_same_as_train(void **state) {
    (void)state;
    ct_context *context = ct_context_create(2);
    write_text(context);
    char text[1024];
    snprintf(text, sizeof(text), RECIPE, text_path, folder);
    ct_value *recipe = ct_yaml_parse(context, text, strlen(text), "recipe");
    ct_train_report report;
    assert_int_equal(ct_train(context, recipe, false, &report), CT_OK);
    ct_value *result = perform(context, same_steps, 1);
    if (strcmp(verdict_of(result), "HOLDS") != 0)
        fail_msg("%s", ct_value_as_string(ct_value_get(result, "reason"), ""));
    assert_true(last_loss == report.last_loss); /* to the bit */
    assert_true(fabs(exp(held_out) - report.perplexity_after) < 1e-12 * report.perplexity_after);
    ct_value_free(result);
    ct_value_free(recipe);
    ct_folder_remove(context, folder);
    end_claims(context);
}

/* A rate that no weights survive is a finding and no error. */
static ct_status diverging(ct_claim_run *run) {
    ct_claim_progress progress;
    double loss = 0;
    const ct_value *recipe =
        ct_claim_yaml(run,
                      "{model: {n_embd: 16, n_layer: 1, n_head: 2}, data: {train: '%s'},"
                      " context: 16, max_steps: 60, learning_rate: 1000, max_grad_norm: 0,"
                      " optim: sgd, per_device_train_batch_size: 2}",
                      text_path);
    ct_claim_language *language = ct_claim_language_create(run, recipe, 1);
    if (!language) return ct_context_status(ct_claim_context(run));
    assert_int_equal(ct_claim_language_learn(language, 0, NULL, NULL, &progress), CT_OK);
    assert_true(progress.diverged && isnan(progress.last_loss) && progress.steps < 60);
    assert_int_equal(ct_claim_language_validate(language, 0, &loss), CT_OK);
    return ct_claim_check(run, "loss", loss, CT_LESS, 10);
}

static ct_status misspelt(ct_claim_run *run) {
    return ct_claim_language_create(
               run, ct_claim_yaml(run, "{data: {train: '%s'}, learning_rat: 1}", text_path), 1)
               ? CT_OK
               : ct_context_status(ct_claim_context(run));
}

static void test_divergence_and_bad_recipes(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    write_text(context);
    ct_value *result = perform(context, diverging, 1);
    if (strcmp(verdict_of(result), "DOES NOT HOLD") != 0)
        fail_msg("%s", ct_value_as_string(ct_value_get(result, "reason"), ""));
    ct_value_free(result);
    result = perform(context, misspelt, 1);
    assert_non_null(strstr(ct_value_as_string(ct_value_get(result, "reason"), ""), "learning_rate"));
    ct_value_free(result);
    ct_folder_remove(context, folder);
    end_claims(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_train),
                                       cmocka_unit_test(test_divergence_and_bad_recipes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
