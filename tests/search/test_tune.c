/* test_tune.c - tuning a recipe: the best of its neighbours, runs taken up again, a stop, refusals. */
#include "method/check.h"
#include <carat/search.h>
#include <carat/train.h>
#include <math.h>
#include <unistd.h>

static const char *const keys[] = {"learning_rate", "optimizer.epsilon"};

typedef struct place {
    char folder[64];
} place;

static ct_value *recipe_of(ct_context *context, const place *p, const char *more) {
    char text[1024];
    const char *source = getenv("CARAT_SOURCE");
    snprintf(text, sizeof(text),
             "{model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, "
             "attn_pdrop: 0}, "
             "context: 16, per_device_train_batch_size: 4, max_steps: 6, learning_rate: 4e-4, optimizer: "
             "{epsilon: 1e-8}, "
             "lr_scheduler_type: constant, save_steps: 3, eval_batches: 2, data: {train: %s/LICENSE}, "
             "output_dir: %s/runs%s}",
             source ? source : ".", p->folder, more);
    ct_value *recipe = ct_yaml_parse(context, text, strlen(text), "recipe");
    if (!recipe) fail_msg("%s", ct_context_message(context));
    return recipe;
}

static int64_t lines_of(const char *path) {
    int64_t lines = 0;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static void stop_after(void *user, const char *title, double done, double total, const char *unit,
                       const char *note, bool finished) {
    (void)total, (void)unit, (void)note;
    int *left = *(int **)user;
    ct_context *context = ((ct_context **)user)[1];
    if (!finished && strcmp(title, "train") == 0 && done == 4 && --*left == 0) ct_request_stop(context);
}

/* A small rate is made larger until it no longer helps; stopped in its third run, the same call ends as the
 * other. */
static void tuned(void **state) {
    (void)state;
    place p = {"/tmp/carat-tune-XXXXXX"}, q = {"/tmp/carat-tune-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    assert_non_null(mkdtemp(q.folder));
    char csv[128], other[128], *best = NULL;
    snprintf(csv, sizeof(csv), "%s/runs/tune.csv", p.folder);
    snprintf(other, sizeof(other), "%s/runs/tune.csv", q.folder);
    ct_descent_options options = {4, 40};
    ct_descent_result whole, again;
    ct_context *context = ct_context_create(2);
    ct_value *recipe = recipe_of(context, &p, "");
    if (ct_tune(context, recipe, keys, 1, &options, &whole, &best) != CT_OK)
        fail_msg("%s", ct_context_message(context));
    assert_true(whole.settled && whole.values[0] > 4e-4 && isfinite(whole.loss));
    assert_int_equal(lines_of(csv), 1 + whole.evaluations);
    assert_true(best && ct_folder_exists(best) && strstr(best, "learning_rate="));
    ct_free(context, best);
    ct_value_free(recipe);

    int left = 3;
    void *user[] = {&left, context};
    recipe = recipe_of(context, &q, "");
    ct_context_set_progress(context, stop_after, user);
    assert_int_equal(ct_tune(context, recipe, keys, 1, &options, &again, NULL), CT_ERROR_INTERRUPTED);
    assert_false(ct_failed(context));
    assert_int_equal(lines_of(other), 3);
    ct_context_set_progress(context, NULL, NULL);
    assert_int_equal(ct_tune(context, recipe, keys, 1, &options, &again, NULL), CT_OK);
    assert_true(again.loss == whole.loss && again.values[0] == whole.values[0]);
    ct_value_free(recipe);
    assert_int_equal(ct_folder_remove(context, p.folder), CT_OK);
    assert_int_equal(ct_folder_remove(context, q.folder), CT_OK);
    ct_context_destroy(context);
}

static void refused(void **state) {
    (void)state;
    place p = {"/tmp/carat-tune-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    ct_context *context = ct_context_create(1);
    static const char *const wrong[][2] = {
        {", weight_decay: 0", "tune: weight_decay: the recipe has no number above 0"},
        {", save_steps: -1", "save_steps is -1"},
        {", data: {train: x, validation_fraction: 0}", "holds no text out"},
        {", output_dir: ''", "expected the folder"}};
    static const char *const decay[] = {"weight_decay"}, *const twice[] = {"learning_rate", "learning_rate"};
    ct_descent_options options = {2, 4};
    ct_descent_result result;
    for (int k = 0; k < 4; k++) {
        ct_value *over = ct_yaml_parse(context, wrong[k][0] + 2, strlen(wrong[k][0]) - 2, "over");
        ct_value *recipe = recipe_of(context, &p, "");
        for (size_t i = 0; i < ct_value_count(over); i++)
            ct_value_set(recipe, ct_value_key(over, i), ct_value_copy(ct_value_at(over, i)));
        assert_int_equal(ct_tune(context, recipe, k ? keys : decay, 1, &options, &result, NULL),
                         CT_ERROR_ARGUMENT);
        ASSERT_ERROR(context, CT_ERROR_ARGUMENT, wrong[k][1], "");
        ct_value_free(recipe);
        ct_value_free(over);
    }
    ct_value *recipe = recipe_of(context, &p, "");
    assert_int_equal(ct_tune(context, recipe, twice, 2, &options, &result, NULL), CT_ERROR_ARGUMENT);
    ASSERT_ERROR(context, CT_ERROR_ARGUMENT, "learning_rate", "twice");
    ct_value_free(recipe);
    assert_int_equal(ct_folder_remove(context, p.folder), CT_OK);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tuned), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
