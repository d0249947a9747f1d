/* test_recipe.c - recipes that cannot be run: each is refused with one message that names the key. */
#include "runs.h"
#include <unistd.h>

typedef struct refusal {
    const char *more;
    ct_status status;
    const char *part;
} refusal;

static const refusal refusals[] = {
    {"learning_rte: 1e-3", CT_ERROR_ARGUMENT, "did you mean \"learning_rate\"?"},
    {"model.n_layers: 3", CT_ERROR_ARGUMENT, "did you mean \"model.n_layer\"?"},
    {"data.trian: x", CT_ERROR_ARGUMENT, "did you mean \"data.train\"?"},
    {"tokenizer.vocabsize: 300", CT_ERROR_ARGUMENT, "vocab_size"},
    {"optimizer: {beta3: 0.5}", CT_ERROR_ARGUMENT, "optimizer.beta3"},
    {"lr_scheduler_kwargs: {min_ration: 0.5}", CT_ERROR_ARGUMENT,
     "did you mean \"lr_scheduler_kwargs.min_ratio\"?"},
    {"optim: adamww", CT_ERROR_ARGUMENT, "did you mean \"adamw\"?"},
    {"lr_scheduler_type: cosin", CT_ERROR_ARGUMENT, "did you mean \"cosine\"?"},
    {"model.model_type: gpt3", CT_ERROR_UNSUPPORTED, "gpt2"},
    {"learning_rate: fast", CT_ERROR_ARGUMENT, "learning_rate: expected"},
    {"bf16: 1", CT_ERROR_ARGUMENT, "bf16: expected"},
    {"max_steps: 1.5", CT_ERROR_ARGUMENT, "max_steps: expected"},
    {"model: 7", CT_ERROR_ARGUMENT, "model: expected"},
    {"model: {n_layer: 2}", CT_ERROR_ARGUMENT, "model.model_type"},
    {"optimizer: [1]", CT_ERROR_ARGUMENT, "optimizer: expected"},
    {"learning_rate: -1", CT_ERROR_ARGUMENT, "learning_rate: -1 is out of range"},
    {"per_device_train_batch_size: 0", CT_ERROR_ARGUMENT, "per_device_train_batch_size: 0 is out of range"},
    {"model.n_embd: 0", CT_ERROR_ARGUMENT, "model.n_embd: 0 is out of range"},
    {"model.n_head: 3", CT_ERROR_ARGUMENT, "n_embd 32 is not a multiple of n_head 3"},
    {"optimizer: {beta1: 2}", CT_ERROR_ARGUMENT, "optimizer.beta1: 2 is out of range"},
    {"data.validation_fraction: 1", CT_ERROR_ARGUMENT, "data.validation_fraction: 1 is out of range"},
    {"memory: much", CT_ERROR_ARGUMENT, "memory: expected"},
    {"parameter_groups: {pattern: x}", CT_ERROR_ARGUMENT, "parameter_groups: expected a list"},
    {"parameter_groups: [{weight_decay: 1}]", CT_ERROR_ARGUMENT, "parameter_groups.0.pattern"},
    {"parameter_groups: [{pattern: \"*\", weight_decy: 1}]", CT_ERROR_ARGUMENT,
     "did you mean \"parameter_groups.0.weight_decay\"?"},
    {"parameter_groups: [{pattern: \"*.wth.*\"}]", CT_ERROR_ARGUMENT, "matches no parameter"},
    {"tokenizer.kind: byts", CT_ERROR_ARGUMENT, "did you mean \"bytes\"?"},
    {"tokenizer.kind: ./nowhere/tokenizer.json", CT_ERROR_NOT_FOUND, "nowhere"},
    {"data.train: ./nowhere.txt", CT_ERROR_NOT_FOUND, "nowhere.txt"},
    {"data.validation: ./nowhere.txt", CT_ERROR_NOT_FOUND, "nowhere.txt"},
    {"data.train: null", CT_ERROR_ARGUMENT, "data.train: expected"},
    {"output_dir: null", CT_ERROR_ARGUMENT, "output_dir: expected"},
    {"model.vocab_size: 100", CT_ERROR_ARGUMENT, "vocabulary mismatch between model and tokenizer"},
    {"context: 100000", CT_ERROR_ARGUMENT, "the text of"},
    {"{model.n_positions: 16}", CT_ERROR_ARGUMENT, "context: 32 is more than the model's 16 positions"},
    {"{max_steps: 0, num_train_epochs: 0}", CT_ERROR_ARGUMENT, "num_train_epochs"},
    {"early_stopping_patience: 2", CT_ERROR_ARGUMENT, "early_stopping_patience"},
    {"{data.validation_fraction: 0, eval_steps: 5}", CT_ERROR_ARGUMENT, "eval_steps"},
    {"model: {path: ./nowhere}", CT_ERROR_NOT_FOUND, "nowhere"},
    {"model: {path: ./nowhere, n_layer: 2}", CT_ERROR_ARGUMENT, "no other keys"},
    {"memory: 1M", CT_ERROR_MEMORY, "needs at least"},
};

static void refused(void **state) {
    const place *p = *state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const refusal *r = &refusals[i];
        outcome o = run_recipe(p, "refused", r->more, false, 1);
        bool made = ct_folder_exists(at(p, "refused"));
        if (o.status == r->status && strstr(o.message, r->part) && !made) continue;
        print_error("%s\nexpected %s with \"%s\"\nfound %s: \"%s\"%s\n", r->more, ct_status_name(r->status),
                    r->part, ct_status_name(o.status), o.message, made ? ", and the folder was made" : "");
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void short_and_empty_text(void **state) {
    const place *p = *state;
    append_text(at(p, "short.txt"), "thirty-two bytes and a few more.....");
    append_text(at(p, "empty.txt"), "");
    char more[700];
    snprintf(more, sizeof(more), "{data.train: %s, data.validation_fraction: 0}", at(p, "short.txt"));
    outcome o = run_recipe(p, "short", more, false, 1);
    assert_done(&o); /* 36 tokens: one row of 32 and its targets */
    snprintf(more, sizeof(more), "{data.train: %s, data.validation_fraction: 0, context: 36}",
             at(p, "short.txt"));
    o = run_recipe(p, "shorter", more, false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT,
                   "36 tokens to learn from, a row of context 36 and its targets needs 37");
    snprintf(more, sizeof(more), "data.train: %s", at(p, "empty.txt"));
    o = run_recipe(p, "empty", more, false, 1);
    assert_refused(&o, CT_ERROR_FORMAT, "holds no text");
    append_text(at(p, "records.jsonl"),
                "{\"text\": \"some text that is long enough for two rows of sixteen\"}\n{\"txt\": 1}\n");
    snprintf(more, sizeof(more), "{data.train: %s, context: 16}", at(p, "records.jsonl"));
    o = run_recipe(p, "records", more, false, 1);
    assert_refused(&o, CT_ERROR_FORMAT, "records.jsonl:2");
}

static void a_recipe_is_a_map(void **state) {
    (void)state;
    ct_context *context = ct_context_create(1);
    ct_value *list = ct_value_list(context);
    ct_train_report report;
    ct_memory_plan plan;
    assert_int_equal(ct_train(context, list, false, &report), CT_ERROR_ARGUMENT);
    ct_context_clear(context);
    assert_int_equal(ct_train_plan(context, list, &plan), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "a recipe is a map"));
    ct_value_free(list);
    ct_context_destroy(context);
}

/* The message says where in the file the key stands. */
static void origin_is_named(void **state) {
    const place *p = *state;
    append_text(at(p, "wrong.yaml"), "model: {model_type: gpt2}\nseed: 1\n\nlerning_rate: 1\n");
    ct_context *context = ct_context_create(1);
    ct_value *recipe = read_document(context, at(p, "wrong.yaml"));
    ct_train_report report;
    assert_int_equal(ct_train(context, recipe, false, &report), CT_ERROR_ARGUMENT);
    assert_non_null(strstr(ct_context_message(context), "wrong.yaml:4"));
    ct_value_free(recipe);
    ct_context_destroy(context);
}

/* A model folder and another tokenizer than the one in it. */
static void tokenizer_of_another_model(void **state) {
    const place *p = *state;
    outcome o = run_recipe(p, "first", "{max_steps: 1, save_steps: -1}", false, 1);
    assert_done(&o);
    char more[700];
    snprintf(more, sizeof(more), "{model: {path: %s}, tokenizer.kind: characters, max_steps: 1}",
             at(p, "first"));
    o = run_recipe(p, "second", more, false, 1);
    assert_refused(&o, CT_ERROR_ARGUMENT, "vocabulary mismatch between model and tokenizer");
    snprintf(more, sizeof(more), "{model: {path: %s}, tokenizer: {}, max_steps: 1, learning_rate: 0}",
             at(p, "first"));
    outcome same = run_recipe(p, "third", more, false, 1);
    assert_done(&same);
}

/* Whichever allocation fails: an error, nothing left, nothing written over. */
static void allocation_failures(void **state) {
    const place *p = *state;
    int64_t n = 1;
    for (int64_t step = 1;; n += step, step += step / 8 + 1) {
        ct_context *context = ct_context_create(1);
        ct_value *recipe = recipe_of(context, p, "failing", "{max_steps: 1, overwrite_output_dir: true}");
        ct_memory_counts before, after;
        ct_memory_read(context, &before);
        ct_train_report report;
        ct_memory_fail_at(context, n);
        ct_status status = ct_train(context, recipe, false, &report);
        ct_memory_fail_at(context, 0);
        if (status != CT_OK && status != CT_ERROR_MEMORY)
            fail_msg("allocation %lld: %s: %s", (long long)n, ct_status_name(status),
                     ct_context_message(context));
        ct_context_clear(context);
        ct_memory_read(context, &after);
        ct_value_free(recipe);
        ct_context_destroy(context);
        if (status == CT_OK) break; /* it had fewer allocations */
    }
    assert_true(n > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(short_and_empty_text),
        cmocka_unit_test(a_recipe_is_a_map),
        cmocka_unit_test(origin_is_named),
        cmocka_unit_test(tokenizer_of_another_model),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
