/* test_distill.c - recipes of students from a member or given, refusals, a student trained and compared with
 * its teacher, allocations. */
#include "method/check.h"
#include <carat/distill.h>
#include <carat/evaluate.h>
#include <math.h>
#include <unistd.h>

static char folder[256];

static const char *at(const char *name) {
    static char buffers[8][512];
    static int next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, 512, "%s/%s", folder, name);
    return buffer;
}

static ct_value *yaml(ct_context *context, const char *text) {
    ct_value *value = ct_yaml_parse(context, text, strlen(text), "test");
    if (!value) fail_msg("%s", ct_context_message(context));
    return value;
}

static void train_member(ct_context *context, const char *name, int seed) {
    char text[1024];
    const char *source = getenv("CARAT_SOURCE");
    snprintf(text, sizeof(text),
             "{model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, vocab_size: 260}, data: {train: "
             "%s/LICENSE}, "
             "context: 16, per_device_train_batch_size: 4, max_steps: 10, learning_rate: 0.01, seed: %d, "
             "memory: 2G, "
             "threads: 1, output_dir: %s, label_smoothing_factor: 0.1}",
             source ? source : ".", seed, at(name));
    ct_value *recipe = yaml(context, text);
    ct_train_report report;
    if (ct_train(context, recipe, false, &report) != CT_OK) fail_msg("%s", ct_context_message(context));
    ct_value_free(recipe);
}

static int start(void **state) {
    (void)state;
    static const char *const members[] = {"a", "b"};
    snprintf(folder, sizeof(folder), "/tmp/carat-distill-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    ct_context *context = start_context(1);
    train_member(context, "a", 5);
    train_member(context, "b", 11);
    assert_int_equal(ct_ensemble_write(context, at("both.json"), members, 2, CT_AVERAGE_PROBABILITIES),
                     CT_OK);
    end_tensors(context);
    return 0;
}

static int end(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    int result = ct_folder_remove(context, folder) == CT_OK ? 0 : -1;
    end_tensors(context);
    return result;
}

static ct_distill_options standard(void) {
    ct_distill_options o;
    ct_options_default(ct_distill_table, &o);
    return o;
}

static void assert_json(ct_context *context, const ct_value *recipe, const char *path, const char *expected) {
    const ct_value *value = ct_value_get_path(recipe, path);
    char *text = value ? ct_json_text(context, value, CT_JSON_COMPACT, NULL) : ct_strdup(context, "absent");
    if (strcmp(text, expected) != 0) fail_msg("%s is %s, expected %s", path, text, expected);
    ct_free(context, text);
}

/* The members' recipe, but for what is another run's; the model of the same size, its classes too. */
static void derived(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_distill_options o = standard();
    ct_value *recipe = ct_distill_recipe(context, at("both.json"), NULL, NULL, &o);
    assert_non_null(recipe);
    assert_json(context, recipe, "seed", "12");
    assert_json(context, recipe, "model.vocab_size", "260");
    assert_json(context, recipe, "model.n_embd", "16");
    assert_json(context, recipe, "max_steps", "10");
    assert_json(context, recipe, "context", "16");
    assert_json(context, recipe, "output_dir", "absent");
    assert_json(context, recipe, "memory", "absent");
    assert_json(context, recipe, "tokenizer", "absent");
    assert_json(context, recipe, "teacher.average", "\"as_is\"");
    assert_json(context, recipe, "objective",
                "[{\"name\":\"distill_kl\",\"weight\":1.0,\"temperature\":1.0}]");
    ct_value_free(recipe);
    o = (ct_distill_options){0.25, 4, CT_TEACHER_LOGITS, false};
    ct_value *over = yaml(context, "{seed: 3, output_dir: x, model: {n_layer: 2}, tokenizer: {kind: bytes}, "
                                   "objective: [{name: focal, weight: 2}, z_loss]}");
    recipe = ct_distill_recipe(context, at("both.json"), NULL, over, &o);
    assert_non_null(recipe);
    assert_json(context, recipe, "seed", "3");
    assert_json(context, recipe, "model.n_layer", "2");
    assert_json(context, recipe, "model.n_embd", "16");
    assert_json(context, recipe, "tokenizer.kind", "\"bytes\"");
    assert_json(context, recipe, "teacher.average", "\"logits\"");
    assert_json(context, recipe, "objective",
                "[{\"name\":\"focal\",\"weight\":0.5},{\"name\":\"z_loss\",\"weight\":0.25},"
                "{\"name\":\"distill_kl\",\"weight\":0.75,\"temperature\":4.0}]");
    ct_value_free(recipe);
    ct_value_free(over);
    end_tensors(context);
}

static void given(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    ct_distill_options o = standard();
    o.alpha = 0.5;
    ct_value *own = yaml(
        context, "{data: {train: text.txt}, tokenizer: {kind: bpe}, objective: {name: focal, gamma: 1}}");
    ct_value *recipe = ct_distill_recipe(context, at("both.json"), own, NULL, &o);
    assert_non_null(recipe);
    assert_json(context, recipe, "model.model_type", "\"gpt2\""); /* of the teacher's size */
    assert_json(context, recipe, "model.n_positions", "16");
    assert_json(context, recipe, "model.torch_dtype", "absent");
    assert_json(context, recipe, "tokenizer", "absent");
    assert_json(context, recipe, "seed", "absent");
    assert_json(context, recipe, "objective.0", "{\"name\":\"focal\",\"gamma\":1,\"weight\":0.5}");
    ct_value_free(recipe);
    ct_value_free(own);
    own = yaml(context, "{model: {model_type: llama, hidden_size: 8}}");
    recipe = ct_distill_recipe(context, at("both.json"), own, NULL, &o);
    assert_non_null(recipe);
    assert_json(context, recipe, "model", "{\"model_type\":\"llama\",\"hidden_size\":8,\"vocab_size\":260}");
    assert_json(context, recipe, "objective.0", "{\"name\":\"cross_entropy\",\"weight\":0.5}");
    ct_value_free(recipe);
    ct_value_free(own);
    end_tensors(context);
}

static void refuse(ct_context *context, const char *teacher, const char *text, bool self, const char *words) {
    ct_distill_options o = standard();
    o.self = self;
    ct_value *own = text ? yaml(context, text) : NULL;
    assert_null(ct_distill_recipe(context, teacher, own, NULL, &o));
    if (!strstr(ct_context_message(context), words))
        fail_msg("\"%s\" not in \"%s\"", words, ct_context_message(context));
    ct_context_clear(context);
    ct_value_free(own);
}

static void refused(void **state) {
    (void)state;
    ct_context *context = start_context(1);
    static const char *const one[] = {"a"};
    assert_int_equal(ct_ensemble_write(context, at("one.json"), one, 1, CT_AVERAGE_LOGITS), CT_OK);
    refuse(context, at("a"), NULL, false, "self-distillation (--self)");
    refuse(context, at("one.json"), NULL, false, "self-distillation (--self)");
    refuse(context, at("both.json"), NULL, true, "is an ensemble of 2, expected one model");
    refuse(context, at("none.json"), NULL, false, "none.json");
    refuse(context, at("none"), "{seed: 1}", true, "none");
    refuse(context, at("both.json"), "{objective: [distill_kl]}", false, "learns from a teacher already");
    refuse(context, at("both.json"), "{objective: [focl]}", false, "focal");
    refuse(context, at("both.json"), "{teacher: {path: x}}", false, "carat distill sets it");
    assert_int_equal(unlink(at("a/recipe.yaml")), 0);
    refuse(context, at("both.json"), NULL, false, "there is no recipe.yaml");
    ct_value *config = ct_json_read(context, at("b/config.json"));
    assert_non_null(config);
    assert_int_equal(ct_value_set_path(config, "carat.tree", ct_value_map(context)), CT_OK);
    assert_int_equal(ct_json_write(context, at("b/config.json"), config, CT_JSON_PRETTY), CT_OK);
    ct_value_free(config);
    refuse(context, at("b"), "{seed: 1}", true, "its layers were changed");
    end_tensors(context);
}

static void runs(void **state) {
    (void)state;
    ct_context *context = start_context(2);
    ct_distill_options o = standard();
    ct_value *over = ct_value_map(context);
    ct_value_set(over, "output_dir", ct_value_string(context, at("student")));
    ct_value_set(over, "max_steps", ct_value_int(context, 30));
    ct_value_set(over, "label_smoothing_factor", ct_value_int(context, 0));
    ct_value *recipe = ct_distill_recipe(context, at("both.json"), NULL, over, &o);
    assert_non_null(recipe);
    ct_distill_result r;
    if (ct_distill(context, recipe, false, &r) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_int_equal(r.members, 2);
    assert_int_equal(r.training.steps, 30);
    assert_true(r.training.last_loss < r.training.first_loss);
    /* Measured as the trainer does, window for window. */
    if (!(fabs(r.student - log(r.training.perplexity_after)) < 1e-9))
        fail_msg("%.12g, the trainer says %.12g", r.student, log(r.training.perplexity_after));
    assert_true(r.teacher < r.member);
    assert_true(fabs(r.kept - (r.member - r.student) / (r.member - r.teacher)) < 1e-12);
    ct_value_free(recipe);
    /* Of itself: the teacher is the mean of its members, and there is no gain to keep. */
    o.self = true;
    ct_value_set(over, "output_dir", ct_value_string(context, at("again")));
    recipe = ct_distill_recipe(context, at("student"), NULL, over, &o);
    assert_non_null(recipe);
    assert_json(context, recipe, "objective",
                "[{\"name\":\"distill_kl\",\"weight\":1.0,\"temperature\":1.0}]");
    assert_json(context, recipe, "seed", "13");
    ct_value_set(recipe, "context", ct_value_int(context, 8));
    ct_value_set_path(recipe, "data.validation_fraction", ct_value_real(context, 0));
    assert_int_equal(ct_distill(context, recipe, false, &r), CT_OK);
    assert_true(isnan(r.student) && isnan(r.teacher) && isnan(r.kept)); /* no text was held out */
    ct_value_free(recipe);
    ct_value_free(over);
    end_tensors(context);
}

static void make_recipe(ct_context *context, void *user) {
    ct_distill_options o = standard();
    o.alpha = 0.5;
    ct_value_free(ct_distill_recipe(context, user, NULL, NULL, &o));
}

static void allocations(void **state) {
    (void)state;
    char manifest[512];
    snprintf(manifest, sizeof(manifest), "%s", at("both.json"));
    sweep_tensors(make_recipe, manifest, 7, 100000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(derived, start, end),
                                       cmocka_unit_test_setup_teardown(given, start, end),
                                       cmocka_unit_test_setup_teardown(refused, start, end),
                                       cmocka_unit_test_setup_teardown(runs, start, end),
                                       cmocka_unit_test_setup_teardown(allocations, start, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
