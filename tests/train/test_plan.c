/* test_plan.c - predicted memory against measured, over recipes of several kinds, and budgets kept. */
#include "runs.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

/* Small and larger models, all ways of spending memory. One step each is the peak. */
static const char *const recipes[] = {
    "{max_steps: 2, save_steps: -1}",
    "{max_steps: 2, model.n_embd: 128, model.n_layer: 4, context: 64, per_device_train_batch_size: 16, "
    "ema_decay: 0.9}",
    "{max_steps: 2, model.n_embd: 192, model.n_layer: 3, context: 64, per_device_train_batch_size: 8, bf16: "
    "true}",
    "{max_steps: 2, tokenizer: {kind: bpe, vocab_size: 1200}, model.n_embd: 64, context: 64, "
    "per_device_train_batch_size: 24, model.tie_word_embeddings: false}",
    "{max_steps: 2, model.n_embd: 96, model.n_layer: 6, context: 128, per_device_train_batch_size: 6, "
    "gradient_accumulation_steps: 2, gradient_checkpointing: 2, model.resid_pdrop: 0.1, model.attn_pdrop: "
    "0.1}",
    "{max_steps: 2, context: 64, per_device_train_batch_size: 8, model: {model_type: llama, hidden_size: 96, "
    "intermediate_size: 256, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2}}",
    "{max_steps: 2, context: 64, per_device_train_batch_size: 8, bf16: true, gradient_checkpointing: 1, "
    "model: "
    "{model_type: gemma2, hidden_size: 96, intermediate_size: 256, num_hidden_layers: 3, "
    "num_attention_heads: 4, "
    "num_key_value_heads: 2, head_dim: 32, sliding_window: 16}}",
    "{max_steps: 2, optim: sgd, model.n_embd: 256, model.n_layer: 2, context: 64, memory: 40M}",
};
enum { RECIPES = sizeof(recipes) / sizeof(recipes[0]) };

static double ratio(size_t a, size_t b) {
    return (double)a / (double)b;
}

static void prediction(void **state) {
    const place *p = *state;
    for (int i = 0; i < RECIPES; i++) {
        char output[16];
        snprintf(output, sizeof(output), "p%d", i);
        outcome o = run_recipe(p, output, recipes[i], false, 2);
        assert_done(&o);
        const ct_memory_plan *plan = &o.report.plan;
        double engine = ratio(o.report.measured_peak - plan->base, plan->peak - plan->base);
        double all = ratio(o.report.measured_peak, plan->peak),
               resident = ratio(o.report.peak_anonymous, plan->peak);
        print_message(
            "recipe %d: predicted %.1f MiB (program %.1f), measured / predicted %.3f (engine alone %.3f), "
            "anonymous resident %.3f\n",
            i, (double)plan->peak / 1048576, (double)plan->base / 1048576, all, engine, resident);
        assert_true(all > 0.9 && all < 1.1);
        if (!UNDER_ASAN) assert_true(engine > 0.85 && engine < 1.15);
        size_t sum = plan->base;
        for (int c = 0; c < CT_MEMORY_CLASSES; c++)
            sum += plan->at_peak[c];
        assert_true(sum == plan->peak);
    }
}

/* weights, gradients and states: 4, 4 and 8 bytes a parameter with AdamW; flops about 6 a parameter and
 * token. */
static void classes(void **state) {
    const place *p = *state;
    ct_context *context = ct_context_create(1);
    ct_value *recipe = recipe_of(context, p, NULL,
                                 "{model.n_embd: 256, model.n_layer: 4, gradient_accumulation_steps: "
                                 "2, context: 32, model.tie_word_embeddings: false}");
    ct_memory_plan plan;
    if (ct_train_plan(context, recipe, &plan) != CT_OK) fail_msg("%s", ct_context_message(context));
    int64_t width = 256, block = 12 * width * width + 13 * width;
    assert_int_equal(plan.parameters, 256 * width + 32 * width + 4 * block + 2 * width + 256 * width);
    double bytes = 4 * (double)plan.parameters;
    assert_true(fabs(ratio(plan.at_peak[CT_MEMORY_WEIGHTS], 1) / bytes - 1) < 0.1);
    assert_true(fabs(ratio(plan.at_peak[CT_MEMORY_STATES], 1) / (2 * bytes) - 1) < 0.1);
    double products = (double)(plan.parameters - 288 * width), tokens = 8 * 32;
    assert_true(fabs((double)plan.flops_per_step / (6 * products * tokens) - 1) < 0.1);
    assert_int_equal(plan.micro_batch, 4);
    ct_value_free(recipe);
    ct_context_destroy(context);
}

/* The budget named in a refusal is enough, and one less is not. */
static void smallest_budget(void **state) {
    const place *p = *state;
    if (UNDER_ASAN) skip(); /* blocks are not rounded there, and resident memory says nothing */
    /* Rows so long that recomputation saves more than the rounding to MiB hides. */
    static const char base[] =
        "max_steps: 1, model.n_embd: 128, model.n_layer: 4, context: 192, model.n_positions: 192";
    char more[256];
    snprintf(more, sizeof(more), "{%s, memory: 2M}", base);
    outcome o = run_recipe(p, "refused", more, false, 2);
    assert_refused(&o, CT_ERROR_MEMORY, "needs at least ");
    assert_non_null(strstr(o.message, "micro-batch 1"));
    long long least = atoll(strstr(o.message, "needs at least ") + strlen("needs at least "));
    assert_true(least > 10 && least < 60);
    snprintf(more, sizeof(more), "{%s, memory: %lldM}", base,
             least + 1); /* the heap may differ by a few pages */
    o = run_recipe(p, "enough", more, false, 2);
    assert_done(&o);
    assert_true(o.report.plan.checkpoint_every > 0);
    assert_true(o.report.measured_peak <= (size_t)(least + 1) << 20);
    /* Resident memory also holds the heap of small blocks, stacks and libraries: a few MiB, whatever the
     * budget. */
    assert_true(o.report.peak_anonymous <= (size_t)(least + 10) << 20);
    snprintf(more, sizeof(more), "{%s, memory: %lldM}", base, least - 2);
    o = run_recipe(p, "too-small", more, false, 2);
    assert_refused(&o, CT_ERROR_MEMORY, "needs at least ");
    snprintf(more, sizeof(more), "{%s, memory: %lldM, gradient_checkpointing: 4}", base, least + 1);
    o = run_recipe(p, "fixed", more, false, 2);
    assert_refused(&o, CT_ERROR_MEMORY, "recomputed 4 at a time");
}

/* More memory is never used worse: rows at a time grow, recomputation goes first. */
static void budgets_in_order(void **state) {
    const place *p = *state;
    ct_context *context = ct_context_create(2);
    int64_t rows = 0;
    bool plain = false;
    for (int megabytes = 24; megabytes < 90; megabytes += 4) {
        char more[256];
        snprintf(more, sizeof(more),
                 "{model.n_embd: 128, model.n_layer: 4, context: 64, per_device_train_batch_size: 16, "
                 "memory: %dM}",
                 megabytes);
        ct_value *recipe = recipe_of(context, p, NULL, more);
        ct_memory_plan plan;
        ct_status status = ct_train_plan(context, recipe, &plan);
        ct_value_free(recipe);
        if (status == CT_ERROR_MEMORY && rows == 0) {
            ct_context_clear(context);
            continue;
        }
        assert_int_equal(status, CT_OK);
        assert_true(plan.peak <= (size_t)megabytes << 20);
        if (plain) assert_int_equal(plan.checkpoint_every, 0);
        if (!plain && plan.checkpoint_every == 0) rows = 0; /* fewer rows, but nothing computed twice */
        plain = plan.checkpoint_every == 0;
        assert_true(plan.micro_batch >= rows);
        rows = plan.micro_batch;
    }
    assert_true(plain);
    assert_int_equal(rows, 16);
    ct_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prediction),
        cmocka_unit_test(classes),
        cmocka_unit_test(smallest_budget),
        cmocka_unit_test(budgets_in_order),
    };
    return cmocka_run_group_tests(tests, start_runs, end_runs);
}
