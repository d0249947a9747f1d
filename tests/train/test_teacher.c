/* test_teacher.c - students in the trainer: a student that is its teacher learns nothing, a teacher of weight
 * 0 changes no bit, cuts, recomputation, threads and budgets do not either, both averages, packed samples,
 * resuming, refusals. */
#include "runs.h"
#include <carat/ensemble.h>

#define SHORT "max_steps: 6, save_steps: 3, learning_rate: 0.003"

/* "{SHORT, teacher.path: FOLDER/name, objective: [distill_kl], more}" in one of a few buffers. */
static const char *taught_by(const place *p, const char *name, const char *more) {
    static char buffers[8][2048];
    static int next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, 2048, "{" SHORT ", teacher.path: %s, objective: [distill_kl]%s%s}", at(p, name),
             *more ? ", " : "", more);
    return buffer;
}

static outcome done(const place *p, const char *name, const char *more, int threads) {
    outcome o = run_recipe(p, name, more, false, threads);
    assert_done(&o);
    return o;
}

static int start(void **state) {
    if (start_runs(state) != 0) return -1;
    const place *p = *state;
    static const char *const members[] = {"a", "b"};
    outcome a = done(p, "a", "{" SHORT "}", 2), b = done(p, "b", "{" SHORT ", seed: 8}", 2);
    assert_true(a.report.weights_hash != b.report.weights_hash);
    ct_context *context = ct_context_create(1);
    for (int k = 0; k < 2; k++)
        assert_int_equal(ct_ensemble_write(context, at(p, k ? "probabilities.json" : "both.json"), members, 2,
                                           (ct_ensemble_average)k),
                         CT_OK);
    ct_context_destroy(context);
    return 0;
}

/* KL is 0 to the bit; the gradients are but for rounding, which Adam would make large. */
static void itself(void **state) {
    const place *p = *state;
    char own[600];
    snprintf(own, sizeof(own), "optim: sgd, model: {path: %s}", at(p, "a"));
    outcome o = done(p, "same", taught_by(p, "a", own), 2);
    assert_true(o.report.first_loss == 0 && o.report.last_loss < 1e-9);
    /* Packed samples: segments and padding reach the teacher too. */
    const char *source = getenv("CARAT_SOURCE");
    char samples[1400];
    snprintf(samples, sizeof(samples), "%s, data.train: %s/recipes/dialogues.jsonl, task: sft, packing: true",
             own, source ? source : ".");
    o = done(p, "packed", taught_by(p, "a", samples), 2);
    assert_true(o.report.first_loss == 0);
    outcome other = done(p, "other", taught_by(p, "b", samples), 2);
    assert_true(other.report.first_loss > 1e-4);
}

static void weight_zero(void **state) {
    const place *p = *state;
    char more[1024];
    outcome plain = done(p, "plain", "{" SHORT "}", 2);
    snprintf(more, sizeof(more),
             "{" SHORT ", teacher.path: %s, objective: [cross_entropy, {name: distill_kl, weight: 0}]}",
             at(p, "b"));
    outcome zero = done(p, "zero", more, 2);
    assert_same_run(&plain, &zero);
    snprintf(more, sizeof(more),
             "{" SHORT
             ", teacher.path: %s, objective: [{name: cross_entropy, weight: 0.5}, {name: distill_kl, "
             "weight: 0.5}]}",
             at(p, "b"));
    outcome half = done(p, "half", more, 2);
    assert_true(half.report.weights_hash != plain.report.weights_hash);
}

static void same_bits(void **state) {
    const place *p = *state;
    outcome a = done(p, "s2", taught_by(p, "both.json", "seed: 9"), 2);
    outcome b = done(p, "s1", taught_by(p, "both.json", "seed: 9"), 1);
    assert_same_run(&a, &b);
    outcome c = done(p, "s3", taught_by(p, "both.json", "seed: 9, gradient_checkpointing: 1"), 2);
    assert_same_run(&a, &c);
    outcome d = done(
        p, "s4",
        taught_by(p, "both.json", "seed: 9, per_device_train_batch_size: 1, gradient_accumulation_steps: 4"),
        2);
    assert_int_equal(a.report.weights_hash, d.report.weights_hash);
    outcome mean = done(p, "s5", taught_by(p, "probabilities.json", "seed: 9"), 2);
    assert_true(mean.report.weights_hash != a.report.weights_hash);
    outcome asked = done(p, "s6", taught_by(p, "probabilities.json", "seed: 9, teacher.average: logits"), 2);
    assert_same_run(&a, &asked);
    outcome smaller =
        done(p, "s7", taught_by(p, "both.json", "seed: 9, model.n_layer: 1, model.n_embd: 16"), 2);
    assert_true(smaller.report.last_loss < smaller.report.first_loss);
}

/* The plan counts the teacher, and a budget is kept with the same bits. */
static void memory(void **state) {
    const place *p = *state;
    const char *big = "per_device_train_batch_size: 48, context: 32";
    char plain_text[256];
    snprintf(plain_text, sizeof(plain_text), "{" SHORT ", %s}", big);
    outcome plain = done(p, "m0", plain_text, 2), with = done(p, "m1", taught_by(p, "both.json", big), 2);
    size_t teacher = 2 * (size_t)plain.report.plan.parameters * sizeof(float);
    size_t grown = with.report.plan.at_peak[CT_MEMORY_WEIGHTS] - plain.report.plan.at_peak[CT_MEMORY_WEIGHTS];
    assert_true(grown >= teacher && grown < teacher + teacher / 8);
    size_t inside = with.report.plan.peak - with.report.plan.base, least = inside - inside / 3;
    double engine = (double)(with.report.measured_peak - with.report.plan.base) / (double)inside;
    assert_true(engine > 0.85 && engine < 1.15);
    char budget[256];
    snprintf(budget, sizeof(budget), "%s, memory: %zu", big, with.report.plan.base + least);
    outcome tight = done(p, "m2", taught_by(p, "both.json", budget), 2);
    assert_true(tight.report.plan.micro_batch < 48 &&
                tight.report.plan.peak <= with.report.plan.base + least);
    assert_int_equal(tight.report.weights_hash, with.report.weights_hash);
}

static void resumed(void **state) {
    const place *p = *state;
    outcome whole = done(p, "whole", taught_by(p, "both.json", "ema_decay: 0.9"), 2);
    outcome first = run_until(p, "parts", taught_by(p, "both.json", "ema_decay: 0.9"), false, 3);
    assert_true(first.status == CT_OK && first.report.interrupted);
    outcome other = run_recipe(p, "parts", taught_by(p, "a", "ema_decay: 0.9"), true, 2);
    assert_refused(&other, CT_ERROR_ARGUMENT, "another teacher");
    other = run_recipe(p, "parts",
                       taught_by(p, "both.json", "ema_decay: 0.9, teacher.average: probabilities"), true, 2);
    assert_refused(&other, CT_ERROR_ARGUMENT, "teacher.average");
    outcome rest = run_recipe(p, "parts", taught_by(p, "both.json", "ema_decay: 0.9"), true, 2);
    assert_done(&rest);
    assert_int_equal(whole.report.weights_hash, rest.report.weights_hash);
    assert_int_equal(whole.report.loss_hash, rest.report.loss_hash);
}

static void refused(void **state) {
    const place *p = *state;
    outcome o = run_recipe(p, "r", "{" SHORT ", objective: [distill_kl]}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "teacher.path: expected a model's folder");
    char more[600];
    snprintf(more, sizeof(more), "{" SHORT ", teacher.path: %s}", at(p, "a"));
    o = run_recipe(p, "r", more, false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "no objective of the recipe learns from a teacher");
    o = run_recipe(p, "r", "{" SHORT ", teacher.average: logits}", false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "there is no teacher.path");
    o = run_recipe(p, "r", taught_by(p, "a", "tokenizer.kind: characters"), false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "has other tokens (256) than the student's");
    o = run_recipe(p, "r", taught_by(p, "a", "model.vocab_size: 300"), false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "has a vocabulary of 256, the student of 300");
    o = run_recipe(p, "r", taught_by(p, "a", "context: 64"), false, 2);
    assert_refused(&o, CT_ERROR_ARGUMENT, "has 32 positions, rows of 64 tokens");
    o = run_recipe(p, "r", taught_by(p, "none.json", ""), false, 2);
    assert_true(o.status != CT_OK);
    snprintf(more, sizeof(more), "{" SHORT ", teacher.path: %s, objective: [distill_kl, distill_kl]}",
             at(p, "a"));
    o = run_recipe(p, "r", more, false, 2);
    assert_refused(&o, CT_ERROR_UNSUPPORTED, "a batch has one set of targets");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(itself, start, end_runs),
                                       cmocka_unit_test_setup_teardown(weight_zero, start, end_runs),
                                       cmocka_unit_test_setup_teardown(same_bits, start, end_runs),
                                       cmocka_unit_test_setup_teardown(memory, start, end_runs),
                                       cmocka_unit_test_setup_teardown(resumed, start, end_runs),
                                       cmocka_unit_test_setup_teardown(refused, start, end_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
