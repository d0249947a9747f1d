/* network.c - the driver for networks on rows of arrays: batches, steps, evaluation. */
#include "claim/parts.h"
#include <carat/autograd.h>
#include <carat/ops.h>
#include <carat/schedule.h>
#include <math.h>
#include <string.h>

struct ct_claim_learner {
    ct_claim_run *claim_run;
    ct_context *context;
    ct_claim_network how;
    ct_model *model;
    ct_optimizer *optimizer; /* made by the first step */
    ct_schedule *schedule;
    ct_run *training, *evaluation;
    int64_t step;
    uint64_t task; /* how many calls have trained: the order of rows starts anew in each */
    bool diverged;
};

/* ---------------------------------------------------------------------------------------------- life */

static void destroy(ct_context *context, void *object) {
    ct_claim_learner *learner = object;
    ct_run_destroy(learner->training);
    ct_run_destroy(learner->evaluation);
    ct_optimizer_destroy(learner->optimizer);
    ct_schedule_destroy(learner->schedule);
    ct_model_destroy(learner->model);
    ct_free(context, learner);
}

static ct_status check_settings(ct_context *context, const ct_claim_network *how) {
    if (!how->model) return ct_fail(context, CT_ERROR_ARGUMENT, "claim network: no model");
    if (how->steps < 1 || how->batch < 1)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "claim network: %lld steps of %lld rows, expected at least 1", (long long)how->steps,
                       (long long)how->batch);
    if (!(how->learning_rate >= 0) || how->max_grad_norm < 0 || how->weight_decay < 0)
        return ct_fail(context, CT_ERROR_ARGUMENT, "claim network: a rate, norm or decay is negative");
    return CT_OK;
}

static ct_status build(ct_claim_learner *learner) {
    ct_context *context = learner->context;
    const ct_claim_network *how = &learner->how;
    if (check_settings(context, how) != CT_OK ||
        !ct_method_find(context, "optimizer", how->optimizer ? how->optimizer : "adamw"))
        return ct_context_status(context);
    learner->model = ct_model_create(context, how->model);
    if (learner->model) ct_model_initialize(learner->model, how->seed);
    ct_run_options training = {.training = true, .compute = CT_F32}, evaluation = {.compute = CT_F32};
    learner->training = ct_run_create(context, &training);
    learner->evaluation = ct_run_create(context, &evaluation);
    learner->schedule = ct_schedule_create(context, how->schedule ? how->schedule : "constant",
                                           how->schedule_options, how->warmup_steps, how->steps);
    return ct_context_status(context);
}

ct_claim_learner *ct_claim_learner_create(ct_claim_run *run, const ct_claim_network *how) {
    ct_context *context = run->context;
    ct_claim_learner *learner =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*learner), CT_MEMORY_OTHER);
    if (!learner) return NULL;
    learner->claim_run = run;
    learner->context = context;
    learner->how = *how;
    ct_seed(context, how->seed);
    if (build(learner) == CT_OK) return ct_claim_keep(run, learner, destroy) == CT_OK ? learner : NULL;
    destroy(context, learner);
    return NULL;
}

void ct_claim_learner_free(ct_claim_learner *learner) {
    if (learner) ct_claim_let_go(learner->claim_run, learner);
}

ct_model *ct_claim_learner_model(const ct_claim_learner *learner) {
    return learner->model;
}
ct_run *ct_claim_learner_run(const ct_claim_learner *learner, bool training) {
    return training ? learner->training : learner->evaluation;
}

ct_optimizer *ct_claim_learner_optimizer(ct_claim_learner *learner) {
    ct_context *context = learner->context;
    const ct_claim_network *how = &learner->how;
    if (learner->optimizer || ct_failed(context)) return learner->optimizer;
    learner->optimizer =
        ct_optimizer_create(context, how->optimizer ? how->optimizer : "adamw", how->optimizer_options);
    if (learner->optimizer && how->links)
        ct_optimizer_add_links(context, learner->optimizer, how->links, "links");
    for (int64_t i = 0; learner->optimizer && i < ct_model_parameter_count(learner->model); i++) {
        ct_parameter *parameter = ct_model_parameter(learner->model, i);
        ct_parameter_group group = {1, parameter->no_decay ? 0 : how->weight_decay};
        if (!parameter->trainable) continue;
        if (ct_require_grad(parameter->tensor, true) != CT_OK ||
            ct_optimizer_add(learner->optimizer, parameter, &group) != CT_OK)
            break;
    }
    return ct_failed(context) ? NULL : learner->optimizer;
}

/* --------------------------------------------------------------------------------------------- batches */

static ct_status check_rows(ct_claim_learner *learner, const ct_tensor *inputs, const ct_tensor *targets,
                            int64_t least) {
    ct_context *context = learner->context;
    char a[96], b[96];
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_ndim(inputs) >= 1 && ct_ndim(targets) >= 1 && ct_dim(inputs, 0) == ct_dim(targets, 0) &&
        ct_dim(inputs, 0) >= least)
        return CT_OK;
    return ct_fail(context, CT_ERROR_SHAPE,
                   "claim network: inputs %s and targets %s, expected as many rows of each and at least %lld",
                   ct_describe(inputs, a, sizeof(a)), ct_describe(targets, b, sizeof(b)), (long long)least);
}

/* The rows of batch `index` of this call, i64 [batch]. */
static ct_tensor *batch_rows(ct_claim_learner *learner, int64_t rows, int64_t index) {
    int64_t batch = learner->how.batch, an_epoch = rows / batch;
    uint64_t order = ct_random_stream("claim order") + (learner->task << 32) + (uint64_t)(index / an_epoch);
    ct_tensor *chosen = ct_empty(learner->context, CT_I64, CT_DIMS(batch));
    int64_t *row = ct_data_mutable(chosen);
    for (int64_t i = 0; row && i < batch; i++)
        row[i] = ct_random_permuted(learner->how.seed, order, rows, index % an_epoch * batch + i);
    return chosen;
}

static ct_tensor *loss_of(ct_claim_learner *learner, ct_run *run, ct_tensor *outputs, ct_tensor *targets) {
    if (learner->how.loss) return learner->how.loss(learner->how.user, run, outputs, targets);
    if (!ct_dtype_is_float(ct_dtype_of(targets))) return ct_cross_entropy(outputs, targets, NULL);
    return ct_mean_all(ct_square(ct_sub(outputs, targets)));
}

/* ----------------------------------------------------------------------------------------------- steps */

/* Forward and backward for one batch; the loss as a number. */
static ct_status gradients_of(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t index,
                              double *value) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *rows = batch_rows(learner, ct_dim(inputs, 0), index);
    ct_run_reset(learner->training);
    ct_run_set_rows(learner->training, (uint64_t)learner->step, 0);
    ct_tensor *outputs =
        ct_model_forward(learner->model, learner->training, ct_index_select(inputs, 0, rows));
    ct_tensor *loss = loss_of(learner, learner->training, outputs, ct_index_select(targets, 0, rows));
    *value = NAN;
    if (!ct_failed(context) && ct_item(loss, value) == CT_OK && isfinite(*value))
        ct_backward(loss, NULL, CT_GRAD_DEFAULT);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status update(ct_claim_learner *learner, ct_claim_step *step) {
    const ct_claim_network *how = &learner->how;
    double scale = 1;
    if (ct_optimizer_gradient_norm(learner->optimizer, &step->gradient_norm) != CT_OK)
        return ct_context_status(learner->context);
    learner->diverged = !isfinite(step->gradient_norm);
    if (learner->diverged) return CT_OK;
    if (how->gradients) {
        ct_status status = how->gradients(how->user, step);
        if (status != CT_OK) return status;
    }
    if (how->max_grad_norm > 0 && step->gradient_norm > how->max_grad_norm)
        scale = how->max_grad_norm / (step->gradient_norm + 1e-6); /* as the trainer and torch do */
    return ct_optimizer_step(learner->optimizer, step->learning_rate, scale);
}

static ct_status one_step(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t index,
                          ct_claim_step *step) {
    const ct_claim_network *how = &learner->how;
    *step = (ct_claim_step){.step = learner->step + 1,
                            .gradient_norm = NAN,
                            .model = learner->model,
                            .optimizer = learner->optimizer};
    step->learning_rate = how->learning_rate * ct_schedule_factor(learner->schedule, learner->step);
    ct_status status = gradients_of(learner, inputs, targets, index, &step->loss);
    learner->diverged = status == CT_OK && !isfinite(step->loss);
    if (status == CT_OK && !learner->diverged) status = update(learner, step);
    ct_optimizer_clear_gradients(learner->optimizer);
    if (status != CT_OK || learner->diverged) return status;
    learner->step++;
    return how->after ? how->after(how->user, step) : CT_OK;
}

/* Sums of losses as ct_claim_progress reports them. */
typedef struct loss_account {
    int64_t from; /* the last tenth begins here */
    int64_t count;
    double sum;
} loss_account;

static void account(loss_account *a, ct_claim_progress *progress, int64_t index, double loss) {
    if (index == 0) progress->first_loss = loss;
    progress->last_loss = loss;
    progress->steps = index + 1;
    if (index < a->from) return;
    a->count++;
    a->sum += loss;
    progress->mean_loss = a->sum / (double)a->count;
}

ct_status ct_claim_learn(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t steps,
                         ct_claim_progress *progress) {
    ct_claim_progress unused;
    if (!progress) progress = &unused;
    *progress = (ct_claim_progress){0, NAN, NAN, NAN, learner->diverged};
    if (check_rows(learner, inputs, targets, learner->how.batch) != CT_OK ||
        !ct_claim_learner_optimizer(learner))
        return ct_context_status(learner->context);
    if (steps == 0) steps = learner->how.steps - learner->step;
    loss_account sums = {.from = steps - (steps + 9) / 10};
    learner->task++;
    for (int64_t i = 0; i < steps && !learner->diverged; i++) {
        ct_claim_step step;
        ct_status status = ct_claim_continue(learner->claim_run);
        if (status != CT_OK) return status;
        status = one_step(learner, inputs, targets, i, &step);
        if (!learner->diverged && !ct_failed(learner->context)) account(&sums, progress, i, step.loss);
        if (status == CT_ERROR_INTERRUPTED && !ct_failed(learner->context))
            break; /* the observer has enough */
        if (status != CT_OK) return status;
    }
    progress->diverged = learner->diverged;
    if (learner->diverged) progress->last_loss = progress->mean_loss = NAN;
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------ evaluation */

static ct_status evaluate_batch(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets,
                                double *loss, double *right) {
    ct_context *context = learner->context;
    ct_tensor *outputs = ct_model_forward(learner->model, learner->evaluation, inputs);
    ct_item(loss_of(learner, learner->evaluation, outputs, targets), loss);
    *right = NAN;
    if (ct_failed(context) || ct_dtype_is_float(ct_dtype_of(targets))) return ct_context_status(context);
    ct_tensor *guess = ct_reshape(ct_argmax(outputs, -1, false), ct_ndim(targets), ct_shape(targets));
    return ct_item(ct_sum_all(ct_cast(ct_equal(guess, ct_cast(targets, CT_I64)), CT_F64)), right);
}

ct_status ct_claim_evaluate(ct_claim_learner *learner, ct_tensor *inputs, ct_tensor *targets, int64_t batch,
                            double *loss, double *accuracy) {
    ct_context *context = learner->context;
    double losses = 0, rights = 0;
    if (check_rows(learner, inputs, targets, 1) != CT_OK) return ct_context_status(context);
    int64_t rows = ct_dim(inputs, 0);
    if (batch <= 0) batch = 1000;
    bool before = ct_grad_mode_set(context, false);
    ct_run_reset(learner->evaluation);
    for (int64_t at = 0; at < rows && !learner->diverged && !ct_failed(context); at += batch) {
        ct_scope scope = ct_scope_open(context);
        int64_t end = at + batch < rows ? at + batch : rows;
        double part = NAN, right = NAN;
        evaluate_batch(learner, ct_slice(inputs, 0, at, end, 1), ct_slice(targets, 0, at, end, 1), &part,
                       &right);
        losses += part * (double)(end - at);
        rights += right;
        ct_scope_close(context, scope);
    }
    ct_grad_mode_set(context, before);
    if (loss) *loss = learner->diverged ? NAN : losses / (double)rows;
    if (accuracy) *accuracy = learner->diverged ? NAN : rights / (double)ct_count(targets);
    return ct_context_status(context);
}
