/* test_model.c - docs/adding-a-model.md works: the architecture of docs/examples/model.c, put into the table
 * as the document says, trains by a recipe, is saved, loaded, generates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../docs/examples/model.c"
/* What the document adds to the table in src/model/model.c, of which this program has a copy of its own. */
#define ct_architecture_mlp ct_architecture_mlp, &ct_architecture_bigram
#include "../../src/model/model.c"
#undef ct_architecture_mlp

#include <carat/generate.h>
#include <carat/train.h>

static char folder[] = "/tmp/carat-model-XXXXXX";
static ct_context *context;

static int enter(void **state) {
    (void)state;
    context = ct_context_create(2);
    return context && mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    int failed = chdir("/") != 0 || ct_folder_remove(context, folder) != CT_OK;
    ct_context_destroy(context);
    return failed;
}

#define assert_ok()                                                                                          \
    do {                                                                                                     \
        if (ct_failed(context)) fail_msg("%s", ct_context_message(context));                                 \
    } while (0)

/* "abcabcabc...": a model that sees one token can know the next one. */
static void write_text(void) {
    char text[3001];
    for (int i = 0; i < 3000; i++)
        text[i] = "abc"[i % 3];
    ct_file_write(context, "text.txt", text, 3000);
    assert_ok();
}

static void test_trains_by_a_recipe(void **state) {
    (void)state;
    static const char recipe_text[] = "model: {model_type: bigram, n_embd: 8, n_inner: 16}\n"
                                      "tokenizer: {kind: characters}\n"
                                      "data: {train: text.txt}\n"
                                      "context: 16\nmax_steps: 120\nlearning_rate: 0.03\noutput_dir: out\n";
    write_text();
    ct_train_report report;
    ct_value *recipe = ct_yaml_parse(context, recipe_text, sizeof(recipe_text) - 1, "recipe");
    ct_train(context, recipe, false, &report);
    ct_value_free(recipe);
    assert_ok();
    assert_true(report.first_loss > 0.9);
    assert_true(report.perplexity_after < 1.05);
}

static void test_loads_and_generates(void **state) {
    (void)state;
    ct_model *model = ct_model_load(context, "out", CT_DTYPES);
    ct_tokenizer *tokenizer = ct_tokenizer_load(context, "out");
    assert_ok();
    assert_non_null(ct_model_find(model, "wte.weight"));
    ct_ids prompt = {0};
    ct_generate_options options;
    ct_generation result = {0};
    ct_generate_report report;
    ct_options_default(ct_generate_table, &options);
    options.do_sample = false;
    options.max_new_tokens = 7;
    ct_tokenizer_encode(tokenizer, "cab", 3, CT_ENCODE_PLAIN, &prompt);
    ct_generate(model, tokenizer, &prompt, 1, &options, NULL, NULL, &result, &report);
    assert_ok();
    assert_string_equal(result.text.data, "cabcabc");
    ct_generation_free(context, &result);
    ct_ids_free(context, &prompt);
    ct_tokenizer_destroy(tokenizer);
    ct_model_destroy(model);
}

static void test_misspelt_key_is_refused(void **state) {
    (void)state;
    static const char recipe_text[] = "model: {model_type: bigram, n_inne: 16}\ndata: {train: text.txt}\n"
                                      "context: 16\nmax_steps: 1\noutput_dir: other\n";
    ct_memory_plan plan;
    ct_value *recipe = ct_yaml_parse(context, recipe_text, sizeof(recipe_text) - 1, "recipe");
    assert_int_equal(ct_train_plan(context, recipe, &plan), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "n_inner"));
    ct_context_clear(context);
    ct_value_free(recipe);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trains_by_a_recipe),
                                       cmocka_unit_test(test_loads_and_generates),
                                       cmocka_unit_test(test_misspelt_key_is_refused)};
    return cmocka_run_group_tests(tests, enter, leave);
}
