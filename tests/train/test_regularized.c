/* test_regularized.c - objectives and regularizers in the trainer: nothing added changes no bit; cuts,
 * recomputation and threads do not either; resuming; derived weights in the finished model; what is refused.
 */
#include "runs.h"

#define SHORT "max_steps: 6, save_steps: 3, learning_rate: 0.003, optim: adamw"

static outcome done(const place *p, const char *name, const char *more, int threads) {
    outcome o = run_recipe(p, name, more, false, threads);
    assert_done(&o);
    return o;
}

static void assert_other(const outcome *a, const outcome *b) {
    assert_true(a->report.weights_hash != b->report.weights_hash);
}

/* Weight 0, both coefficients 0, and the default written out: the same bits as without. */
static void nothing_added(void **state) {
    const place *p = *state;
    outcome plain = done(p, "plain", "{" SHORT "}", 2);
    outcome zero =
        done(p, "zero", "{" SHORT ", regularizers: [{name: seq_vcr, weight: 0}, {name: l2, weight: 0}]}", 2);
    outcome none = done(p, "none", "{" SHORT ", regularizers: [{name: seq_vcr, var: 0, cov: 0}]}", 2);
    outcome written = done(p, "written", "{" SHORT ", objective: [cross_entropy]}", 2);
    assert_same_run(&plain, &zero);
    assert_same_run(&plain, &none);
    assert_same_run(&plain, &written);
    outcome smooth = done(p, "smooth", "{" SHORT ", label_smoothing_factor: 0.1}", 2);
    outcome same = done(p, "same", "{" SHORT ", objective: {name: cross_entropy, label_smoothing: 0.1}}", 2);
    assert_int_equal(smooth.report.weights_hash, same.report.weights_hash);
    outcome focal =
        done(p, "focal", "{" SHORT ", objective: [{name: focal}, {name: z_loss, weight: 0.5}]}", 2);
    outcome vcr = done(p, "vcr", "{" SHORT ", regularizers: [seq_vcr]}", 2);
    assert_other(&plain, &focal);
    assert_other(&plain, &vcr);
}

/* The same bits for every way to do the same work. */
static void same_bits(void **state) {
    const place *p = *state;
    const char *vcr =
        "{" SHORT ", regularizers: [{name: seq_vcr, layers: [0, -1], proj: 8, positions: 5}, weight_norm]}";
    outcome a = done(p, "a", vcr, 2), b = done(p, "b", vcr, 1);
    assert_same_run(&a, &b);
    outcome c = done(p, "c",
                     "{" SHORT ", gradient_checkpointing: 1, regularizers: [{name: seq_vcr, layers: [0, -1], "
                     "proj: 8, positions: 5}, weight_norm]}",
                     2);
    assert_same_run(&a, &c);
    /* Terms of weights do not mind how a step is cut. */
    outcome whole = done(
        p, "whole", "{" SHORT ", regularizers: [{name: l2, weight: 0.01}, {name: l1, weight: 0.001}]}", 2);
    outcome cut = done(p, "cut",
                       "{" SHORT ", per_device_train_batch_size: 1, gradient_accumulation_steps: 4, "
                       "regularizers: [{name: l2, weight: 0.01}, {name: l1, weight: 0.001}]}",
                       2);
    assert_int_equal(whole.report.weights_hash, cut.report.weights_hash);
}

static void resumed(void **state) {
    const place *p = *state;
    const char *more =
        "{" SHORT ", ema_decay: 0.9, regularizers: [{name: seq_vcr, proj: 8}, weight_norm, {name: "
        "orthogonal, weight: 0.001}]}";
    outcome whole = done(p, "whole", more, 2);
    outcome first = run_until(p, "parts", more, false, 3);
    assert_true(first.report.interrupted);
    outcome rest = run_recipe(p, "parts", more, true, 2);
    assert_done(&rest);
    assert_int_equal(whole.report.weights_hash, rest.report.weights_hash);
    assert_int_equal(whole.report.loss_hash, rest.report.loss_hash);
}

/* The model that is left has plain weights, which give the loss that training measured. */
static void plain_in_the_end(void **state) {
    const place *p = *state;
    outcome o = done(p, "derived", "{" SHORT ", regularizers: [weight_norm, {name: seq_vcr, proj: 4}]}", 2);
    ct_context *context = ct_context_create(2);
    ct_model *model = ct_model_load(context, at(p, "derived"), CT_F32);
    if (!model) fail_msg("%s", ct_context_message(context));
    for (int64_t i = 0; i < ct_model_parameter_count(model); i++)
        assert_true(strncmp(ct_model_parameter(model, i)->name, "carat.", 6) != 0);
    ct_model_destroy(model);
    ct_context_destroy(context);
    context = ct_context_create(2);
    ct_value *recipe = recipe_of(context, p, "again", "{max_steps: 1, learning_rate: 0}");
    ct_value *from = ct_value_map(context);
    ct_value_set(from, "path", ct_value_string(context, at(p, "derived")));
    ct_value_set(recipe, "model", from);
    ct_train_report again;
    if (ct_train(context, recipe, false, &again) != CT_OK) fail_msg("%s", ct_context_message(context));
    assert_true(fabs(again.bits_per_byte_before - o.report.bits_per_byte_after) < 1e-5);
    assert_true(fabs(o.report.bits_per_byte_before - o.report.bits_per_byte_after) > 1e-3);
    ct_value_free(recipe);
    ct_context_destroy(context);
}

static void refused(void **state) {
    const place *p = *state;
    outcome o =
        run_recipe(p, "r", "{" SHORT ", per_device_train_batch_size: 1, regularizers: [seq_vcr]}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "needs at least 2 sequences per batch, found 1");
    o = run_recipe(p, "r", "{" SHORT ", regularizers: [{name: seq_vcr, layer: 2}]}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "layer: 2, expected -2 to 1");
    o = run_recipe(p, "r", "{" SHORT ", regularizers: [weight_norm], optimizer_links: [nap]}", false, 2);
    assert_refused(&o, CT_ERROR_UNSUPPORTED, "not the weights that are made from them");
    o = run_recipe(p, "r", "{" SHORT ", objective: [focl]}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "focal");
    o = run_recipe(p, "r", "{" SHORT ", objective: [mse], label_smoothing_factor: 0.1}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "label_smoothing_factor");
    /* A budget in which the batch does not fit in one piece, and would in four. */
    o = run_recipe(p, "r",
                   "{" SHORT ", memory: 8M, per_device_train_batch_size: 64, regularizers: [seq_vcr]}", false,
                   2);
    assert_refused(&o, CT_ERROR_MEMORY, "micro-batch 64, which regularizers.0 (seq_vcr) keeps together");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_added, start_runs, end_runs),
        cmocka_unit_test_setup_teardown(same_bits, start_runs, end_runs),
        cmocka_unit_test_setup_teardown(resumed, start_runs, end_runs),
        cmocka_unit_test_setup_teardown(plain_in_the_end, start_runs, end_runs),
        cmocka_unit_test_setup_teardown(refused, start_runs, end_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
