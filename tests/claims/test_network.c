/* test_network.c - the driver for networks: steps against arithmetic, schedules, clipping, divergence,
 * evaluation. */
#include "run.h"
#include <carat/autograd.h>
#include <carat/ops.h>

static ct_context *context;

/* A linear model y = w x without bias, x = 1 and 2, target 0: loss = mean of (w x)^2. */
static ct_claim_network linear(ct_claim_run *run) {
    return (ct_claim_network){.model = ct_claim_yaml(run, "{model_type: mlp, sizes: [1, 1], bias: false}"),
                              .optimizer = "sgd",
                              .learning_rate = 0.1,
                              .steps = 4,
                              .batch = 2,
                              .seed = 3};
}

static ct_tensor *column(int64_t rows, const float *values) {
    return ct_from_data(context, CT_F32, CT_DIMS(rows, 1), values);
}

static double weight_of(ct_claim_learner *learner) {
    double value = NAN;
    ct_item(ct_reshape(ct_model_parameter(ct_claim_learner_model(learner), 0)->tensor, 0, NULL), &value);
    return value;
}

static void set_weight(ct_claim_learner *learner, double value) {
    ct_fill(ct_model_parameter(ct_claim_learner_model(learner), 0)->tensor, value);
}

typedef struct seen {
    int64_t steps;
    double rates[16], norms[16], losses[16];
    int gradients;
    bool stop;
} seen;

static ct_status after(void *user, const ct_claim_step *step) {
    seen *s = user;
    s->rates[step->step - 1] = step->learning_rate;
    s->norms[step->step - 1] = step->gradient_norm;
    s->losses[step->step - 1] = step->loss;
    s->steps = step->step;
    return s->stop ? CT_ERROR_INTERRUPTED : CT_OK;
}
static ct_status gradients(void *user, const ct_claim_step *step) {
    seen *s = user;
    double value = NAN;
    s->gradients++;
    ct_item(ct_reshape(ct_gradient(ct_model_parameter(step->model, 0)->tensor), 0, NULL), &value);
    assert_true(fabs(fabs(value) - step->gradient_norm) < 1e-6 * step->gradient_norm);
    return CT_OK;
}

/* d loss / d w = 2 w (1 + 4) / 2 = 5 w, so each step at rate r takes w to w (1 - 5 r). */
static ct_status steps(ct_claim_run *run) {
    const float x[] = {1, 2}, y[] = {0, 0};
    ct_claim_network how = linear(run);
    seen s = {0};
    ct_claim_progress progress;
    how.after = after, how.gradients = gradients, how.user = &s;
    how.schedule = "linear", how.warmup_steps = 2;
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    set_weight(learner, 1);
    assert_int_equal(ct_claim_learn(learner, column(2, x), column(2, y), 0, &progress), CT_OK);
    assert_true(s.steps == 4 && s.gradients == 4 && progress.steps == 4 && !progress.diverged);
    double w = 1;
    const double rates[] = {0.05, 0.1, 0.1, 0.05}; /* half and whole, then linear to 0 */
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(s.rates[i] - rates[i]) < 1e-12);
        assert_true(fabs(s.losses[i] - 2.5 * w * w) < 1e-6);
        assert_true(fabs(s.norms[i] - 5 * w) < 1e-5);
        w *= 1 - 5 * rates[i];
    }
    assert_true(fabs(weight_of(learner) - w) < 1e-6);
    assert_true(progress.first_loss == s.losses[0] && progress.last_loss == s.losses[3] &&
                progress.mean_loss == s.losses[3]);
    double loss, accuracy;
    ct_claim_evaluate(learner, column(2, x), column(2, y), 1, &loss, &accuracy);
    assert_true(fabs(loss - 2.5 * w * w) < 1e-6 && isnan(accuracy));
    return ct_claim_check(run, "w", w, CT_GREATER, 0);
}

/* Clipping to norm 0.5: the step is 0.1 * 0.5 wherever the gradient is larger. Decay applies to the weight.
 */
static ct_status clipped(ct_claim_run *run) {
    const float x[] = {1, 2}, y[] = {0, 0};
    ct_claim_network how = linear(run);
    how.max_grad_norm = 0.5, how.steps = 1;
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    set_weight(learner, 1);
    ct_claim_learn(learner, column(2, x), column(2, y), 0, NULL);
    assert_true(fabs(weight_of(learner) - 0.95) < 1e-6);
    how.max_grad_norm = 0, how.optimizer = "adamw", how.weight_decay = 0.5;
    how.optimizer_options = ct_claim_yaml(run, "{epsilon: 0}");
    ct_claim_learner *other = ct_claim_learner_create(run, &how);
    set_weight(other, 1);
    ct_claim_learn(other, column(2, x), column(2, y), 0, NULL);
    assert_true(fabs(weight_of(other) - (1 - 0.1 * 0.5 - 0.1)) < 1e-6); /* Adam's first step is the rate */
    ct_claim_learner_free(learner);
    return ct_claim_check(run, "ok", 1, CT_GREATER, 0);
}

/* At rate 10 the weight grows by 49 a step, beyond f32 after some twenty. */
static ct_status diverging(ct_claim_run *run) {
    const float x[] = {1, 2}, y[] = {0, 0};
    ct_claim_network how = linear(run);
    ct_claim_progress progress;
    double loss = 0, accuracy = 0;
    how.learning_rate = 10, how.steps = 200;
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    assert_int_equal(ct_claim_learn(learner, column(2, x), column(2, y), 0, &progress), CT_OK);
    assert_true(progress.diverged && progress.steps > 5 && progress.steps < 60);
    assert_true(isnan(progress.last_loss) && isnan(progress.mean_loss) && isfinite(progress.first_loss));
    assert_int_equal(ct_claim_evaluate(learner, column(2, x), column(2, y), 0, &loss, &accuracy), CT_OK);
    assert_true(isnan(loss) && isnan(accuracy));
    assert_int_equal(ct_claim_learn(learner, column(2, x), column(2, y), 5, &progress), CT_OK);
    assert_true(progress.diverged && progress.steps == 0);
    return ct_claim_check(run, "loss", loss, CT_LESS, 1);
}

/* Two classes that a line separates; batches of 16 of 50 rows. */
static ct_status classify(ct_claim_run *run) {
    float x[100];
    int32_t labels[50];
    ct_random random = ct_random_make(5, 6);
    for (int i = 0; i < 50; i++) {
        labels[i] = i % 2;
        x[2 * i] = (float)(ct_random_normal(&random) + (i % 2 ? 3 : -3));
        x[2 * i + 1] = (float)ct_random_normal(&random);
    }
    ct_tensor *inputs = ct_from_data(context, CT_F32, CT_DIMS(50, 2), x);
    ct_tensor *targets = ct_from_data(context, CT_I32, CT_DIMS(50), labels);
    ct_claim_network how = {.model = ct_claim_yaml(run, "{model_type: mlp, sizes: [2, 8, 2]}"),
                            .learning_rate = 0.02,
                            .steps = 40,
                            .batch = 16,
                            .seed = ct_claim_seed(run, 0)};
    double loss[2], accuracy, pieces;
    for (int again = 0; again < 2; again++) {
        ct_claim_learner *learner = ct_claim_learner_create(run, &how);
        ct_claim_learn(learner, inputs, targets, 0, NULL);
        ct_claim_evaluate(learner, inputs, targets, 0, &loss[again], &accuracy);
        ct_claim_evaluate(learner, inputs, targets, 7, &pieces, NULL);
        assert_true(fabs(pieces - loss[again]) < 1e-6);
        assert_true(accuracy > 0.95);
        ct_claim_learner_free(learner);
    }
    assert_true(loss[0] == loss[1]);
    how.seed++;
    ct_claim_learner *other = ct_claim_learner_create(run, &how);
    ct_claim_learn(other, inputs, targets, 0, NULL);
    ct_claim_evaluate(other, inputs, targets, 0, &loss[1], NULL);
    assert_true(loss[0] != loss[1]);
    return ct_claim_check(run, "accuracy", accuracy, CT_GREATER, 0.95);
}

static ct_status stopped_by_observer(ct_claim_run *run) {
    const float x[] = {1, 2}, y[] = {0, 0};
    ct_claim_network how = linear(run);
    seen s = {.stop = true};
    ct_claim_progress progress;
    how.after = after, how.user = &s;
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    assert_int_equal(ct_claim_learn(learner, column(2, x), column(2, y), 0, &progress), CT_OK);
    assert_true(progress.steps == 1 && s.steps == 1);
    return ct_claim_check(run, "ok", 1, CT_GREATER, 0);
}

/* Every row of a pass is taken once: with batch 1 and rate 0 the losses of four steps are those of the rows.
 */
static ct_status order(ct_claim_run *run) {
    const float x[] = {1, 2, 3, 4}, y[] = {0, 0, 0, 0};
    ct_claim_network how = linear(run);
    seen s = {0};
    how.after = after, how.user = &s, how.batch = 1, how.steps = 8, how.learning_rate = 0;
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    set_weight(learner, 1);
    ct_claim_learn(learner, column(4, x), column(4, y), 0, NULL);
    bool other_order = false;
    for (int epoch = 0; epoch < 2; epoch++) {
        double product = 1;
        for (int i = 0; i < 4; i++)
            product *= s.losses[4 * epoch + i];
        assert_true(product == 1.0 * 4 * 9 * 16);
    }
    for (int i = 0; i < 4; i++)
        other_order = other_order || s.losses[i] != s.losses[4 + i];
    assert_true(other_order);
    return ct_claim_check(run, "ok", 1, CT_GREATER, 0);
}

static void holds(ct_status (*function)(ct_claim_run *run), const char *verdict) {
    context = ct_context_create(2);
    ct_scope scope = ct_scope_open(context);
    ct_value *result = perform(context, function, 1);
    assert_non_null(result);
    if (strcmp(verdict_of(result), verdict) != 0)
        fail_msg("%s: %s", verdict_of(result), ct_value_as_string(ct_value_get(result, "reason"), ""));
    ct_value_free(result);
    ct_scope_close(context, scope);
    end_claims(context);
}

static void test_steps(void **state) {
    (void)state;
    holds(steps, "HOLDS");
}
static void test_clipping_and_decay(void **state) {
    (void)state;
    holds(clipped, "HOLDS");
}
static void test_divergence(void **state) {
    (void)state;
    holds(diverging, "DOES NOT HOLD");
}
static void test_classifier(void **state) {
    (void)state;
    holds(classify, "HOLDS");
}
static void test_observer(void **state) {
    (void)state;
    holds(stopped_by_observer, "HOLDS");
}
static void test_order(void **state) {
    (void)state;
    holds(order, "HOLDS");
}

/* ------------------------------------------------------------------------------------------ bad input */

static ct_claim_network bad;
static ct_status bad_network(ct_claim_run *run) {
    bad.model = ct_claim_yaml(run, "{model_type: mlp, sizes: [1, 1]}");
    ct_claim_learner *learner = ct_claim_learner_create(run, &bad);
    const float x[] = {1, 2, 3};
    if (learner) ct_claim_learn(learner, column(3, x), column(2, x), 0, NULL);
    return ct_context_status(context);
}
static void refused(const char *reason) {
    context = ct_context_create(1);
    ct_scope scope = ct_scope_open(context);
    ct_value *result = perform(context, bad_network, 1);
    const char *found = ct_value_as_string(ct_value_get(result, "reason"), "");
    if (!strstr(found, reason)) fail_msg("\"%s\" not in \"%s\"", reason, found);
    ct_value_free(result);
    ct_scope_close(context, scope);
    end_claims(context);
}
static void test_bad_input(void **state) {
    (void)state;
    bad = (ct_claim_network){.steps = 1};
    refused("1 steps of 0 rows");
    bad = (ct_claim_network){.steps = 1, .batch = 1, .learning_rate = -1};
    refused("a rate, norm or decay is negative");
    bad = (ct_claim_network){.steps = 1, .batch = 1, .schedule = "cosin"};
    refused("cosine");
    bad = (ct_claim_network){.steps = 1, .batch = 1, .optimizer = "adanw"};
    refused("adamw");
    bad = (ct_claim_network){.steps = 1, .batch = 1};
    refused("as many rows of each");
}

/* Memory that ends anywhere is an error of the claim, and none of it stays behind. */
static ct_status short_training(ct_claim_run *run) {
    const float x[] = {1, 2}, y[] = {0, 0};
    double loss = NAN;
    ct_claim_network how = linear(run);
    ct_claim_learner *learner = ct_claim_learner_create(run, &how);
    if (!learner) return ct_context_status(context);
    ct_status status = ct_claim_learn(learner, column(2, x), column(2, y), 2, NULL);
    if (status == CT_OK) status = ct_claim_evaluate(learner, column(2, x), column(2, y), 0, &loss, NULL);
    return status == CT_OK ? ct_claim_check(run, "loss", loss, CT_LESS, 1e9) : status;
}

static void test_no_memory(void **state) {
    (void)state;
    context = ct_context_create(1);
    ct_scope scope = ct_scope_open(context);
    ct_value_free(perform(context, short_training, 1));
    size_t before = bytes_in_use(context);
    int failed = 0;
    bool reached_the_end = false;
    for (int64_t n = 1; n < 20000 && !reached_the_end; n++) {
        ct_memory_fail_at(context, n);
        ct_value *result = perform_once(context, short_training, 1);
        ct_memory_fail_at(context, 0);
        reached_the_end = result && strcmp(verdict_of(result), "HOLDS") == 0;
        if (!reached_the_end) failed++;
        ct_value_free(result);
        ct_context_clear(context);
        assert_int_equal(bytes_in_use(context), before);
    }
    assert_true(reached_the_end && failed > 100);
    ct_scope_close(context, scope);
    end_claims(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),      cmocka_unit_test(test_clipping_and_decay),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_classifier),
        cmocka_unit_test(test_observer),   cmocka_unit_test(test_order),
        cmocka_unit_test(test_bad_input),  cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
