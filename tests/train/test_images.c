/* test_images.c - training on images: it learns, resumes and threads give the same bits, what is saved gives
 * the reported loss and accuracy, a budget keeps batches whole, bad recipes. */
#include "data/idx_files.h"
#include "train/runs.h"
#include <carat/evaluate.h>

static ct_value *images_recipe(ct_context *context, const place *p, const char *model, const char *output,
                               const char *more) {
    char *text =
        ct_format(context,
                  "task: images\nmodel: %s\ndata: {train: %s, train_labels: %s, validation_fraction: 0.2}\n"
                  "per_device_train_batch_size: 8\ngradient_accumulation_steps: 2\nmax_steps: 40\n"
                  "learning_rate: 0.01\nlr_scheduler_type: constant\nsave_steps: 15\nlogging_steps: 10\n"
                  "output_dir: %s\n",
                  model, at(p, "images"), at(p, "labels"), at(p, output));
    ct_value *recipe = ct_yaml_parse(context, text, strlen(text), "recipe");
    ct_free(context, text);
    assert_non_null(recipe);
    ct_value *over = ct_yaml_parse(context, more, strlen(more), "more");
    for (size_t i = 0; i < ct_value_count(over); i++)
        ct_value_set_path(recipe, ct_value_key(over, i), ct_value_copy(ct_value_at(over, i)));
    ct_value_free(over);
    return recipe;
}

#define MLP "{model_type: mlp, sizes: [64, 16, 4]}"
#define VIT                                                                                                  \
    "{model_type: vit, image_size: 8, patch_size: 4, num_channels: 1, num_labels: 4, hidden_size: 16, "      \
    "num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16, hidden_dropout_prob: 0.1}"

static outcome run_images(const place *p, const char *model, const char *output, const char *more,
                          bool resume, int threads) {
    outcome o = {0};
    ct_context *context = ct_context_create(threads);
    ct_value *recipe = images_recipe(context, p, model, output, more);
    o.status = ct_train(context, recipe, resume, &o.report);
    snprintf(o.message, sizeof(o.message), "%s", ct_context_message(context));
    ct_context_clear(context);
    ct_value_free(recipe);
    ct_context_destroy(context);
    return o;
}

static int set_up(void **state) {
    if (start_runs(state) != 0) return -1;
    ct_context *context = ct_context_create(1);
    write_images(context, at(*state, "images"), at(*state, "labels"), 250, 8, 4, 3);
    ct_context_destroy(context);
    return 0;
}

/* The model in a folder on the held-out part, which is the end. */
static ct_image_result judge(const place *p, const char *output, int64_t batch) {
    ct_context *context = ct_context_create(2);
    ct_model *model = ct_model_load(context, at(p, output), CT_DTYPES);
    ct_dataset *all = ct_dataset_from_images(context, at(p, "images"), at(p, "labels"));
    ct_dataset *held_out = all ? ct_dataset_part(all, 200, 250) : NULL;
    ct_image_result r = {0};
    if (!held_out || ct_evaluate_images(model, held_out, &(ct_image_options){batch, 0, false}, &r) != CT_OK)
        fail_msg("%s", ct_context_message(context));
    assert_int_equal(r.images, 50);
    ct_dataset_destroy(held_out);
    ct_dataset_destroy(all);
    ct_model_destroy(model);
    ct_context_destroy(context);
    return r;
}

static void learns(void **state) {
    const place *p = *state;
    static const char *const models[] = {MLP, VIT};
    for (int i = 0; i < 2; i++) {
        const char *output = i ? "vit" : "mlp";
        outcome o = run_images(p, models[i], output, "{}", false, 2);
        assert_done(&o);
        assert_int_equal(o.report.steps, 40);
        assert_int_equal(o.report.tokens, 640);
        assert_true(o.report.accuracy_before < 0.6 && o.report.accuracy_after > 0.9);
        assert_true(isnan(o.report.bits_per_byte_after));
        for (int batch = 1; batch <= 50; batch += 7) {
            ct_image_result r = judge(p, output, batch);
            assert_true(r.accuracy == o.report.accuracy_after && exp(r.loss) == o.report.perplexity_after);
        }
    }
    ct_context *context = ct_context_create(1);
    ct_value *report = read_document(context, at(p, "vit/report.json"));
    assert_int_equal(ct_value_as_int(ct_value_get(report, "training_images"), 0), 200);
    assert_int_equal(ct_value_as_int(ct_value_get(report, "validation_images"), 0), 50);
    assert_null(ct_value_get(report, "tokenizer"));
    ct_value_free(report);
    ct_value *reader = read_document(context, at(p, "vit/preprocessor_config.json"));
    assert_string_equal(ct_value_as_string(ct_value_get(reader, "image_processor_type"), ""),
                        "ViTImageProcessor");
    ct_value_free(reader);
    ct_context_destroy(context);
}

/* With dropout and a moving average, over an end of an epoch. */
static void resumes(void **state) {
    const place *p = *state;
    static const char *const models[] = {MLP, VIT};
    for (int i = 0; i < 2; i++) {
        char whole[16], parts[16];
        snprintf(whole, sizeof(whole), "whole%d", i);
        snprintf(parts, sizeof(parts), "parts%d", i);
        outcome a = run_images(p, models[i], whole, "ema_decay: 0.9", false, 1);
        outcome b = run_images(p, models[i], parts, "ema_decay: 0.9\nmax_steps: 17", false, 3);
        assert_done(&b);
        b = run_images(p, models[i], parts, "ema_decay: 0.9", true, 2);
        assert_true(b.report.resumed);
        assert_same_run(&a, &b);
        assert_true(a.report.accuracy_before == b.report.accuracy_before);
        assert_true(a.report.accuracy_after == b.report.accuracy_after);
    }
    ct_context *context = ct_context_create(1); /* other images under the same names */
    write_images(context, at(p, "images"), at(p, "labels"), 250, 8, 4, 4);
    outcome o = run_images(p, MLP, "whole0", "ema_decay: 0.9\nmax_steps: 50", true, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "it cannot be resumed with other images");
    write_images(context, at(p, "images"), at(p, "labels"), 250, 8, 4, 3);
    ct_context_destroy(context);
}

/* The rows of a batch stay together: segments of layers are recomputed instead, to the same bits. */
static void budget(void **state) {
    const place *p = *state;
    outcome plain = run_images(p, VIT, "plain", "max_steps: 4", false, 1);
    assert_int_equal(plain.report.plan.micro_batch, 8);
    outcome again = run_images(p, VIT, "again", "max_steps: 4\ngradient_checkpointing: 1", false, 1);
    assert_int_equal(again.report.plan.micro_batch, 8);
    assert_same_run(&plain, &again);
    outcome o = run_images(p, VIT, "small", "max_steps: 4\nmemory: 1M", false, 1);
    assert_refused(&o, CT_ERROR_MEMORY, "micro-batch 8, which task: images keeps together");
}

static void other_parts(void **state) {
    const place *p = *state;
    static const char *const more[] = {
        "init: {name: lsuv, batch: 16}", "bf16: true", "label_smoothing_factor: 0.1\ngradient_noise: 0.2",
        "objective: [{name: focal, gamma: 2}]\nregularizers: [{name: l2, weight: 0.001}]",
        "param: {name: mup, base_width: 8}\noptim: sgd"};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        outcome o = run_images(p, MLP, "part", more[i], false, 1);
        if (o.status != CT_OK) fail_msg("%s: %s", more[i], o.message);
        assert_true(o.report.last_loss < o.report.first_loss &&
                    o.report.accuracy_after > o.report.accuracy_before);
        ct_context *context = ct_context_create(1);
        assert_int_equal(ct_folder_remove(context, at(p, "part")), CT_OK);
        ct_context_destroy(context);
    }
}

static void refused(void **state) {
    const place *p = *state;
    static const struct {
        const char *model, *more, *words;
    } cases[] = {
        {MLP, "tokenizer: {kind: bytes}", "tokenizer.kind: it is about text, the task is images"},
        {MLP, "context: 8", "context: it is about text"},
        {MLP, "watch: growth:5", "watch: it is about text"},
        {MLP, "packing: true", "packing: it is an option of task: sft"},
        {MLP, "data.validation: x", "data.validation_labels: expected both"},
        {MLP, "data.validation_labels: x", "data.validation: expected both"},
        {MLP, "data.train_labels: null", "data.train_labels: expected an IDX file"},
        {MLP, "task: text", "data.train_labels: it names the classes of images"},
        {MLP, "model.sizes: [64, 3]", "class 3, the model has 3 classes"},
        {VIT, "model.image_size: 9", "images of 8 x 8 pixels in 1 channels, the model takes 9 x 9 in 1"},
        {VIT, "teacher: {path: x}", "teacher.path"},
        {"{model_type: gpt2, vocab_size: 9, n_embd: 8, n_head: 1}", "{}", "a gpt2 does not take images"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ct_context *context = ct_context_create(1);
        ct_value *recipe = images_recipe(context, p, cases[i].model, "none", cases[i].more);
        ct_train_report report;
        assert_int_not_equal(ct_train(context, recipe, false, &report), CT_OK);
        if (!strstr(ct_context_message(context), cases[i].words))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].words, ct_context_message(context));
        ct_value_free(recipe);
        ct_context_destroy(context);
    }
    assert_false(ct_folder_exists(at(p, "none")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(learns, set_up, end_runs),
                                       cmocka_unit_test_setup_teardown(resumes, set_up, end_runs),
                                       cmocka_unit_test_setup_teardown(budget, set_up, end_runs),
                                       cmocka_unit_test_setup_teardown(other_parts, set_up, end_runs),
                                       cmocka_unit_test_setup_teardown(refused, set_up, end_runs)};
    return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
