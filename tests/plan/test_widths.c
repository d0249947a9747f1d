/* test_widths.c - the coordinate check and the transfer of learning rates: values against passes and runs
 * made by hand, what muP, the standard parametrization and rates that are too high show, what is refused,
 * allocation failure. */
#include "reach/reach.h"
#include <carat/parametrization.h>
#include <carat/plan.h>
#include <carat/train.h>

static char folder[64], text_path[96];

static int make_text(void **state) {
    snprintf(folder, sizeof(folder), "/tmp/carat-widths-XXXXXX");
    if (!mkdtemp(folder) || start(state) != 0) return -1;
    snprintf(text_path, sizeof(text_path), "%s/text.txt", folder);
    char *text = malloc(6000);
    for (int i = 0; i < 6000; i++) /* words of a few letters, in an order that can be learnt */
        text[i] = (i * 7 + i / 11) % 6 == 0 ? ' ' : (char)('a' + (i * i / 5 + i) % 9);
    ct_status status = ct_file_write(context, text_path, text, 6000);
    free(text);
    return status == CT_OK ? finish(state) : -1;
}

static int remove_text(void **state) {
    (void)state;
    ct_context *own = ct_context_create(1);
    int result = ct_folder_remove(own, folder) == CT_OK ? 0 : -1;
    ct_context_destroy(own);
    return result;
}

static ct_value *yaml(const char *text) {
    ct_value *value = ct_yaml_parse(context, text, strlen(text), "test");
    assert_non_null(value);
    return value;
}

/* A recipe with keys of `more` added or in place of its own. */
static ct_value *recipe_with(const char *more) {
    char all[900];
    snprintf(
        all, sizeof(all),
        "{model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, "
        "attn_pdrop: 0,"
        " tie_word_embeddings: false}, tokenizer: {kind: characters}, data: {train: %s}, context: 16, "
        "max_steps: 4,"
        " per_device_train_batch_size: 4, learning_rate: 0.01, warmup_steps: 0, lr_scheduler_type: constant,"
        " optim: adam, max_grad_norm: 0, seed: 5}",
        text_path);
    ct_value *recipe = yaml(all), *over = yaml(more);
    for (size_t i = 0; i < ct_value_count(over); i++)
        ct_value_set_path(recipe, ct_value_key(over, i), ct_value_copy(ct_value_at(over, i)));
    ct_value_free(over);
    assert_ok();
    return recipe;
}

static ct_width_options options_of(const ct_value *given) {
    ct_width_options o;
    ct_options_default(ct_width_table, &o);
    assert_int_equal(ct_options_apply(context, ct_width_table, &o, given, "", NULL), CT_OK);
    return o;
}

static ct_growth check(const char *more, const char *how, ct_coordinates *r) {
    ct_value *recipe = recipe_with(more), *given = yaml(how);
    ct_width_options o = options_of(given);
    ct_plan_coordinates(context, recipe, &o, r);
    assert_ok();
    ct_value_free(recipe);
    ct_value_free(given);
    return r->growth;
}

static int named(const ct_coordinates *r, const char *name) {
    for (int p = 0; p < r->point_count; p++)
        if (strcmp(r->points[p].name, name) == 0) return p;
    fail_msg("there is no point %s", name);
    return -1;
}

/* ------------------------------------------------------------------------------------------- values */

/* Mean |logits| of a model made by hand from the same seed on the same rows. */
static double logits_by_hand(int64_t width) {
    ct_value *recipe = recipe_with("{}");
    ct_value *config = ct_value_copy(ct_value_get(recipe, "model"));
    size_t length;
    char *text = ct_file_read(context, text_path, 10000, &length);
    ct_tokenizer *tokenizer = ct_tokenizer_train_characters(context, text, length);
    assert_ok();
    size_t train_length = (size_t)((double)length * 0.9);
    ct_dataset *data = ct_dataset_from_text(context, tokenizer, text, train_length);
    ct_value_set(config, "vocab_size", ct_value_int(context, ct_tokenizer_size(tokenizer)));
    ct_value_set(config, "n_positions", ct_value_int(context, 16));
    ct_value_set(config, "n_embd", ct_value_int(context, width));
    ct_model *model = ct_model_create(context, config);
    ct_model_initialize(model, 5);
    ct_tensor *ids = ct_empty(context, CT_I32, CT_DIMS(3, 16));
    int32_t targets[16];
    for (int64_t i = 0; i < 3; i++)
        ct_dataset_row(context, data, 16, 5, i, (int32_t *)ct_data_mutable(ids) + 16 * i, targets);
    ct_run *run = ct_run_create(context, NULL);
    ct_grad_mode_set(context, false);
    double size = item(ct_mean_all(ct_abs(ct_model_forward(model, run, ids))));
    ct_grad_mode_set(context, true);
    ct_run_destroy(run);
    ct_model_destroy(model);
    ct_dataset_destroy(data);
    ct_tokenizer_destroy(tokenizer);
    ct_free(context, text);
    ct_value_free(config);
    ct_value_free(recipe);
    return size;
}

static void by_hand(void **state) {
    (void)state;
    ct_coordinates r;
    check("{}", "{widths: \"16, 32\", steps: 2, rows: 3}", &r);
    assert_int_equal(r.width_count, 2);
    assert_int_equal(r.point_count, 5); /* qkv, output of attention, two of the perceptron, the last layer */
    int p = named(&r, "lm_head");
    assert_int_equal(p, 4);
    for (int w = 0; w < 2; w++) {
        size_t at = ct_coordinates_at(&r, p, w);
        assert_near(r.size[at], logits_by_hand(r.widths[w]), 1e-6);
        assert_true(r.change[at] == 0 && r.change[at + 1] > 0 && r.change[at + 2] > r.change[at + 1]);
    }
    size_t a = ct_coordinates_at(&r, p, 0), b = ct_coordinates_at(&r, p, 1);
    assert_near(r.points[p].size_slope, log(r.size[b] / r.size[a]) / log(2), 1e-9);
    assert_near(r.points[p].change_slope, log(r.change[b + 2] / r.change[a + 2]) / log(2), 1e-9);
    ct_coordinates_free(context, &r);
}

/* Seeds are averaged, and are those of the recipe and the ones after it. */
static void seeds(void **state) {
    (void)state;
    ct_coordinates both, first, second;
    check("{}", "{widths: \"[16, 32]\", steps: 1, seeds: 2}", &both);
    check("{}", "{widths: \"[16, 32]\", steps: 1}", &first);
    check("{seed: 6}", "{widths: \"[16, 32]\", steps: 1}", &second);
    for (size_t i = 0; i < ct_coordinates_at(&both, both.point_count, 0); i++) {
        assert_near(both.change[i], (first.change[i] + second.change[i]) / 2, 1e-12);
        assert_near(both.size[i], (first.size[i] + second.size[i]) / 2, 1e-12);
    }
    ct_coordinates_free(context, &both);
    ct_coordinates_free(context, &first);
    ct_coordinates_free(context, &second);
}

/* ----------------------------------------------------------------------------------------- verdicts */

static void verdicts(void **state) {
    (void)state;
    ct_coordinates r;
    static const char how[] = "{widths: \"[16, 32, 64, 128]\", steps: 3, seeds: 2, tolerance: 0.3}";
    assert_int_equal(check("{param: {name: mup, base_width: 16}}", how, &r), CT_GROWTH_LEVEL);
    for (int p = 0; p < r.point_count; p++)
        assert_true(fabs(r.points[p].change_slope) < 0.3);
    ct_coordinates_free(context, &r);
    assert_int_equal(check("{param: {name: standard, base_width: 16}}", how, &r), CT_GROWTH_RISES);
    assert_true(r.points[named(&r, "lm_head")].change_slope > 0.5);
    ct_coordinates_free(context, &r);
    /* All rates divided by the width: less and less. */
    assert_int_equal(check("{param: {name: mup, base_width: 16, rate_exponent: 1}}", how, &r),
                     CT_GROWTH_FALLS);
    ct_coordinates_free(context, &r);
    assert_int_equal(check("{learning_rate: 0}", "{widths: \"[16, 32]\", steps: 1}", &r), CT_GROWTH_STILL);
    assert_true(isnan(r.points[0].change_slope) && isfinite(r.points[0].size_slope));
    ct_coordinates_free(context, &r);
    assert_int_equal(check("{learning_rate: 1000, weight_decay: 1000, optim: sgd}",
                           "{widths: \"[16, 32]\", steps: 9}", &r),
                     CT_GROWTH_DIVERGES);
    assert_string_equal(ct_growth_name(r.growth), "diverges");
    ct_coordinates_free(context, &r);
}

static void picture(void **state) {
    (void)state;
    ct_coordinates r;
    char path[128];
    size_t length;
    check("{}", "{widths: \"[16, 32]\", steps: 1}", &r);
    snprintf(path, sizeof(path), "%s/check.svg", folder);
    assert_int_equal(ct_coordinates_plot(context, &r, path), CT_OK);
    char *svg = ct_file_read(context, path, 1 << 20, &length);
    assert_true(strstr(svg, "h.0.attn.c_attn") && strstr(svg, "width"));
    ct_free(context, svg);
    ct_coordinates_free(context, &r);
}

/* ----------------------------------------------------------------------------------------- transfer */

static double last_loss(int64_t width, double rate) {
    char more[256];
    ct_train_report report;
    snprintf(more, sizeof(more),
             "{model.n_embd: %lld, learning_rate: %g, output_dir: %s/run, overwrite_output_dir: true,"
             " save_steps: -1, eval_batches: 1}",
             (long long)width, rate, folder);
    ct_value *recipe = recipe_with(more);
    assert_int_equal(ct_train(context, recipe, false, &report), CT_OK);
    ct_value_free(recipe);
    return report.last_loss;
}

static void transfer(void **state) {
    (void)state;
    ct_value *recipe = recipe_with("{}"), *given = yaml("{widths: \"[16, 32]\", rates: \"1e-4,3e-3,1e-2\"}");
    ct_width_options o = options_of(given);
    ct_transfer r;
    ct_plan_transfer(context, recipe, &o, &r);
    assert_ok();
    assert_int_equal(r.width_count, 2);
    assert_int_equal(r.rate_count, 3);
    for (int w = 0; w < 2; w++)
        for (int i = 0; i < 3; i++)
            assert_true(r.loss[w][i] == last_loss(r.widths[w], r.rates[i])); /* 4 steps: the last one's */
    for (int w = 0; w < 2; w++)
        for (int i = 0; i < 3; i++)
            assert_true(r.loss[w][r.best[w]] <= r.loss[w][i]);
    assert_int_equal(r.shift, abs(r.best[0] - r.best[1]));
    assert_true(r.at_end == (r.best[0] != 1 || r.best[1] != 1));
    char path[128];
    snprintf(path, sizeof(path), "%s/transfer.svg", folder);
    assert_int_equal(ct_transfer_plot(context, &r, path), CT_OK);
    ct_value_free(recipe);
    ct_value_free(given);
    recipe = recipe_with("{optim: sgd, weight_decay: 1000, max_steps: 12}"); /* all diverge */
    given = yaml("{widths: \"[16, 32]\", rates: \"500, 1000\"}");
    o = options_of(given);
    ct_plan_transfer(context, recipe, &o, &r);
    assert_ok();
    assert_true(r.best[0] == -1 && r.shift == -1 && isnan(r.loss[1][1]));
    ct_value_free(recipe);
    ct_value_free(given);
}

/* ---------------------------------------------------------------------------------------- bad input */

static void refused(bool coordinates, const char *more, const char *how, const char *message) {
    ct_value *recipe = recipe_with(more), *given = yaml(how);
    ct_width_options o = options_of(given);
    ct_coordinates c;
    ct_transfer t;
    ct_status status = coordinates ? ct_plan_coordinates(context, recipe, &o, &c)
                                   : ct_plan_transfer(context, recipe, &o, &t);
    if (status == CT_OK) fail_msg("not refused: %s with %s", more, how);
    if (!strstr(ct_context_message(context), message))
        fail_msg("\"%s\" does not say \"%s\"", ct_context_message(context), message);
    ct_context_clear(context);
    ct_value_free(recipe);
    ct_value_free(given);
}

static void bad_input(void **state) {
    (void)state;
    refused(true, "{}", "{}", "widths: expected at least two");
    refused(true, "{}", "{widths: \"16\"}", "widths: expected at least two");
    refused(true, "{}", "{widths: \"16,x\"}", "is no positive integer");
    refused(true, "{}", "{widths: \"[16, 24.5]\"}", "is no positive integer");
    refused(true, "{}", "{widths: \"[-16, 32]\"}", "entry 1 of");
    refused(true, "{}", "{widths: \"[32, 16]\"}", "widths: entry 2, 16, is not above");
    refused(true, "{}", "{widths: \"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]\"}",
            "widths: expected at most 16");
    refused(true, "{}", "{widths: \"[15, 32]\"}", "n_head");
    refused(true, "{model.n_inner: 40}", "{widths: \"[17, 32]\"}",
            "width 17: n_inner 40 does not scale with n_embd from 16");
    refused(true, "{model: {path: some/model}}", "{widths: \"[16, 32]\"}", "model.path");
    refused(true, "{model: gpt2}", "{widths: \"[16, 32]\"}", "model");
    refused(true, "{model.model_type: gpt3}", "{widths: \"[16, 32]\"}", "gpt3");
    refused(true, "{}", "{widths: \"[16, 32]\", points: \"*.nothing\"}",
            "no point of the model matches \"*.nothing\"");
    refused(true, "{param: {name: mup, base_width: 16}, model.tie_word_embeddings: true, model.norm: {name: layernorm, affine: false}}",
            "{widths: \"[16, 32]\"}", "tie_word_embeddings");
    refused(true, "{learning_rat: 1}", "{widths: \"[16, 32]\"}", "learning_rate");
    refused(false, "{}", "{widths: \"[16, 32]\"}", "rates: expected at least two");
    refused(false, "{}", "{widths: \"[16, 32]\", rates: \"1e-2, 1e-3\"}",
            "rates: entry 2, 0.001, is not above");
    refused(false, "{}", "{widths: \"[16, 32]\", rates: \"0, 1e-3\"}", "is no positive number");
}

/* Every budget below what is needed gives an error and leaves nothing behind. */
static void out_of_memory(void **state) {
    (void)state;
    ct_value *recipe = recipe_with("{}"), *given = yaml("{widths: \"[16, 32]\", steps: 1}");
    ct_width_options o = options_of(given);
    ct_coordinates r;
    ct_memory_counts counts;
    int failures = 0;
    ct_memory_read(context, &counts);
    for (size_t more = 4096; more < 64u << 20; more = more * 3 / 2) {
        ct_memory_trim(context);
        ct_memory_set_budget(context, counts.current_total + more);
        if (ct_plan_coordinates(context, recipe, &o, &r) == CT_OK) {
            ct_coordinates_free(context, &r);
            break;
        }
        assert_int_equal(ct_context_status(context), CT_ERROR_MEMORY);
        assert_true(!r.points && !r.size && !r.change);
        ct_context_clear(context);
        failures++;
    }
    ct_memory_set_budget(context, 0);
    assert_true(failures > 3);
    ct_value_free(recipe);
    ct_value_free(given);
}

int main(void) {
    const struct CMUnitTest tests[] = {reach_test(by_hand),      reach_test(seeds),    reach_test(verdicts),
                                       reach_test(picture),      reach_test(transfer), reach_test(bad_input),
                                       reach_test(out_of_memory)};
    return cmocka_run_group_tests(tests, make_text, remove_text);
}
