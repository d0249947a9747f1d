/* step.c - one optimizer step, cut into micro-batches, and the evaluation of a text.
 *
 * The loss of a step is the mean over the targets of all its rows, so each micro-batch is divided by the
 * number of targets of the whole step. Nothing here depends on how the step is cut: losses are summed row by
 * row in f64, the gradients of parameters sequence by sequence (see ct_linear), each use of a tied parameter
 * on its own. Terms of regularizers that read activations join the loss of the batch that they were computed
 * in; those of weights have a backward pass of their own behind the last batch. */
#include "train/learner.h"
#include "train/recipe.h"
#include <math.h>

/* A micro-batch. Without samples only input and targets. */
typedef struct batch {
    ct_tensor *input, *targets; /* i32 [rows, length]; of images as ct_images_batch has them */
    ct_tensor *segments;      /* i32 [rows, length] if rows are packed, else NULL */
    ct_tensor *text;          /* u8 [rows, length], 0 in padding, or NULL */
    ct_tensor *weights;       /* f32 [rows * length] of the losses */
} batch;

/* What all rows of a step are together. */
typedef struct survey {
    int64_t length; /* all rows of a step are padded to it, so that nothing depends on how the step is cut */
    int64_t tokens, targets, samples;
} survey;

enum { LENGTH_STEP = 16 }; /* padded lengths are multiples of it */

static bool has_samples(const ct_learner *learner, const ct_dataset *data) {
    return data ? ct_dataset_has_samples(data) : learner->options->task == CT_TASK_SFT;
}

static void add_row(const ct_learner *learner, const ct_dataset *data, int64_t row, survey *s) {
    ct_row_counts counts = ct_dataset_row_counts(data, row);
    int64_t length = (counts.tokens + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
    if (length > learner->row_length) length = learner->row_length;
    if (length > s->length) s->length = length;
    s->tokens += counts.tokens;
    s->targets += counts.targets;
    s->samples += counts.samples;
}

static ct_status look_over(ct_learner *learner, const ct_dataset *data, int64_t step, survey *s) {
    int64_t places = learner->rows * learner->row_length;
    *s = (survey){learner->row_length, places, places, learner->rows};
    if (!ct_dataset_has_samples(data)) return CT_OK;
    *s = (survey){0, 0, 0, 0};
    for (int64_t r = 0; r < learner->rows; r++) {
        int64_t row = ct_dataset_drawn(learner->context, data, (uint64_t)learner->options->seed,
                                       step * learner->rows + r);
        if (row < 0) return ct_context_status(learner->context);
        add_row(learner, data, row, s);
    }
    return CT_OK;
}

static void make_batch(ct_learner *learner, const ct_dataset *data, int64_t rows, int64_t length, batch *b) {
    ct_context *context = learner->context;
    *b = (batch){.input = ct_empty(context, CT_I32, CT_DIMS(rows, length)),
                 .targets = ct_empty(context, CT_I32, CT_DIMS(rows, length))};
    if (!has_samples(learner, data)) return;
    if (learner->options->packing) b->segments = ct_empty(context, CT_I32, CT_DIMS(rows, length));
    b->text = ct_empty(context, CT_U8, CT_DIMS(rows, length));
    b->weights = ct_empty(context, CT_F32, CT_DIMS(rows * length));
}

/* Row `row` of samples into place `i`. `segments` holds a row. Of a token's weight: 1 / all targets of the step, or
 * 1 / (samples of the step x targets of its sample). */
static ct_status fill_samples(ct_learner *learner, const ct_dataset *data, int64_t row, int64_t i, const survey *s,
                              int32_t *segments, batch *b) {
    int64_t length = ct_dim(b->input, 1), at = i * length;
    float *weights = (float *)ct_data_mutable(b->weights) + at;
    uint8_t *text = (uint8_t *)ct_data_mutable(b->text) + at;
    int32_t *number = b->segments ? (int32_t *)ct_data_mutable(b->segments) + at : segments;
    if (ct_dataset_fill_row(learner->context, data, row, length, (int32_t *)ct_data_mutable(b->input) + at,
                            (int32_t *)ct_data_mutable(b->targets) + at, number, weights) != CT_OK)
        return ct_context_status(learner->context);
    bool by_sample = learner->options->loss_normalization == CT_BY_SAMPLE;
    float token = (float)(1 / (double)s->targets), sample = (float)(1 / (double)s->samples);
    for (int64_t t = 0; t < length; t++) {
        text[t] = number[t] >= 0;
        weights[t] = by_sample ? weights[t] * sample : weights[t] > 0 ? token : 0;
    }
    return CT_OK;
}

/* Rows index ... index + count - 1 as training draws them; on meta their values do not matter. */
static ct_status fill_rows(ct_learner *learner, const ct_dataset *data, int64_t index, int64_t count,
                           const survey *s, batch *b) {
    ct_context *context = learner->context;
    int32_t *in = ct_data_mutable(b->input), *out = ct_data_mutable(b->targets);
    if (!data || !in || !out || ct_failed(context)) return ct_context_status(context);
    uint64_t seed = (uint64_t)learner->options->seed;
    int64_t length = s->length;
    bool samples = has_samples(learner, data);
    int32_t *segments =
        samples ? ct_alloc(context, (size_t)length * sizeof(*segments), CT_MEMORY_WORKSPACE) : NULL;
    for (int64_t i = 0; i < count && !ct_failed(context); i++) {
        if (samples)
            fill_samples(learner, data, ct_dataset_drawn(context, data, seed, index + i), i, s, segments, b);
        else
            ct_dataset_row(context, data, length, seed, index + i, in + i * length, out + i * length);
    }
    ct_free(context, segments);
    return ct_context_status(context);
}

/* The losses of each row times its factor: rows first ... of the step. */
static void add_noise(ct_learner *learner, int64_t step, int64_t first, double weight, batch *b) {
    int64_t rows = ct_dim(b->targets, 0), length = ct_count(b->targets) / rows;
    if (!(learner->options->gradient_noise > 0)) return;
    if (!b->weights) b->weights = ct_full(learner->context, CT_F32, CT_DIMS(rows * length), weight);
    float *weights = ct_failed(learner->context) ? NULL : ct_data_mutable(b->weights);
    for (int64_t r = 0; weights && r < rows; r++) {
        float factor = (float)ct_gradient_noise(learner->options, step * learner->rows + first + r);
        for (int64_t t = 0; t < length; t++)
            weights[r * length + t] *= factor;
    }
}

/* What of a batch the model has to know beside the ids; NULL: nothing. */
static void tell_run(ct_run *run, const batch *b) {
    ct_run_set_segments(run, b ? b->segments : NULL);
    ct_run_set_padding(run, b ? b->text : NULL);
}

/* Losses of all targets, [count * length], each times `weight` or those of the batch: of the objective in training.
 * Logits and activations are gone when it returns, but for what the graph saved. */
static ct_tensor *forward(ct_learner *learner, ct_run *run, const batch *b, double weight) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    int64_t count = ct_count(b->targets);
    ct_tensor *weights = b->weights;
    if (!weights && weight != 1) weights = ct_full(context, CT_F32, 1, &count, weight);
    /* Before the student, so that the teacher's activations and the student's are never there together. */
    ct_tensor *teacher = run == learner->run && learner->teacher
                             ? ct_teacher_outputs(learner->teacher, b->input, b->segments, b->text)
                             : NULL;
    ct_tensor *logits = ct_model_forward(learner->model, run, b->input);
    if (run == learner->run)
        return ct_scope_return(context, scope,
                               ct_objective_losses_taught(learner->objective, logits, b->targets, teacher, weights,
                                                          CT_LABEL_NONE));
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    how.ignore_index = CT_LABEL_NONE;
    how.weights = weights;
    return ct_scope_return(context, scope, ct_cross_entropy(logits, b->targets, &how));
}

/* Sums of the losses of each row, in order of position. */
static void read_losses(const ct_tensor *losses, int64_t rows, int64_t length, double *row_losses) {
    const float *loss = ct_data(losses);
    for (int64_t r = 0; r < rows; r++) {
        row_losses[r] = 0;
        for (int64_t t = 0; loss && t < length; t++)
            row_losses[r] += (double)loss[r * length + t];
    }
}

/* For what regularizers draw in a step. */
static uint64_t draws_of(const ct_learner *learner, int64_t step, int64_t first) {
    return (uint64_t)learner->options->seed ^
           ((uint64_t)(step * learner->rows + first) * 0x9E3779B97F4A7C15u);
}

/* A gradient of one for every loss, without memory of its own, and for the term beside them. */
static void backward(ct_learner *learner, ct_tensor *losses, ct_tensor *term, ct_step_result *result) {
    ct_context *context = learner->context;
    double value = 0;
    if (!term) {
        ct_tensor *ones = ct_expand(ct_full(context, CT_F32, 0, NULL, 1), 1, ct_shape(losses));
        ct_backward(losses, ones, CT_GRAD_DEFAULT);
        return;
    }
    if (ct_context_device(context) == CT_CPU) ct_item(term, &value);
    result->regularization += value;
    ct_backward(losses ? ct_add(ct_sum_all(losses), term) : term, NULL, CT_GRAD_DEFAULT);
}

/* Forward and backward for rows first ... first + count - 1 of the step; gradients are added to the leaves.
 */
static ct_status micro_batch(ct_learner *learner, const ct_dataset *data, int64_t step, int64_t first,
                             int64_t count, const survey *s, ct_step_result *result) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    batch b = {0};
    double weight = (double)(float)(1 / (double)s->targets);
    int64_t index = step * learner->rows + first;
    if (learner->options->task == CT_TASK_IMAGES) {
        b.input = ct_learner_draw_images(learner, data, index, count, &b.targets);
    } else {
        make_batch(learner, data, count, s->length, &b);
        fill_rows(learner, data, index, count, s, &b);
    }
    if (ct_failed(context)) {
        ct_scope_close(context, scope);
        return ct_context_status(context);
    }
    add_noise(learner, step, first, weight, &b);
    ct_run_reset(learner->run);
    ct_run_set_rows(learner->run, (uint64_t)step, first);
    if (!ct_failed(context)) tell_run(learner->run, &b);
    ct_regularizers_begin(learner->regularizers, learner->run);
    ct_tensor *losses = forward(learner, learner->run, &b, weight);
    ct_tensor *term = ct_failed(context) ? NULL
                                         : ct_regularizers_batch_term(learner->regularizers, learner->run,
                                                                      draws_of(learner, step, first),
                                                                      (double)count / (double)learner->rows);
    ct_regularizers_end(learner->regularizers);
    if (!ct_failed(context)) {
        read_losses(losses, count, s->length, learner->row_losses + first);
        backward(learner, losses, term, result);
    }
    tell_run(learner->run, NULL);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* Terms of weights alone: once a step, so that the order of sums does not depend on how it was cut. */
static ct_status weight_terms(ct_learner *learner, int64_t step, ct_step_result *result) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    ct_run_reset(learner->run); /* the graphs of derived weights are gone */
    ct_tensor *term =
        ct_regularizers_weight_term(learner->regularizers, learner->run, draws_of(learner, step, 0));
    if (term && !ct_failed(context)) backward(learner, NULL, term, result);
    ct_run_reset(learner->run);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static void clear_gradients(ct_learner *learner) {
    for (int64_t i = 0; i < ct_model_parameter_count(learner->model); i++) {
        ct_tensor *weight = ct_model_parameter(learner->model, i)->tensor;
        if (ct_gradient(weight)) ct_gradient_set(weight, NULL);
    }
}

/* average += (1 - decay) (weight - average). The first steps count more, as in
 * tf.train.ExponentialMovingAverage, so that the initial weights are soon forgotten. */
static ct_status update_average(ct_learner *learner, int64_t step) {
    double most = (1 + (double)step) / (10 + (double)step), decay = learner->options->ema_decay;
    if (decay > most) decay = most;
    for (int64_t i = 0; learner->average && i < ct_model_parameter_count(learner->model); i++) {
        const ct_parameter *parameter = ct_model_parameter(learner->model, i);
        if (parameter->buffer) { /* running statistics are averages already */
            ct_copy_into(learner->average[i], parameter->tensor);
            continue;
        }
        ct_scale_into(learner->average[i], decay);
        ct_add_into(learner->average[i], parameter->tensor, 1 - decay);
    }
    return ct_context_status(learner->context);
}

static ct_status not_finite(ct_learner *learner, int64_t step, double learning_rate,
                            const ct_step_result *result) {
    const char *what = !isfinite(result->loss)             ? "loss"
                       : !isfinite(result->regularization) ? "regularization"
                                                           : "norm of the gradients";
    double value = !isfinite(result->loss)             ? result->loss
                   : !isfinite(result->regularization) ? result->regularization
                                                       : result->gradient_norm;
    return ct_fail(
        learner->context, CT_ERROR_NUMERIC,
        "step %lld: the %s is %f (learning rate %g); the weights were left as they were before this step",
        (long long)step + 1, what, value, learning_rate);
}

static ct_status update(ct_learner *learner, int64_t step, double learning_rate, ct_step_result *result) {
    ct_context *context = learner->context;
    double most = learner->options->max_grad_norm, scale = 1;
    bool real = ct_context_device(context) == CT_CPU;
    if (ct_optimizer_gradient_norm(learner->optimizer, &result->gradient_norm) != CT_OK)
        return ct_context_status(context);
    if (real &&
        !(isfinite(result->loss) && isfinite(result->regularization) && isfinite(result->gradient_norm)))
        return not_finite(learner, step, learning_rate, result);
    if (most > 0 && result->gradient_norm > most)
        scale = most / (result->gradient_norm + 1e-6); /* as torch does */
    if (ct_optimizer_step(learner->optimizer, learning_rate, scale) != CT_OK ||
        ct_learner_centre_weights(learner) != CT_OK)
        return ct_context_status(context);
    return update_average(learner, step);
}

/* Just before the first update of a phase, so that an interrupted step has changed nothing. */
static ct_status begin_phase(ct_learner *learner, const ct_dataset *data, int64_t step) {
    bool resets = learner->options->phase_optimizer == CT_PHASE_RESET && step > 0;
    if (!resets || ct_dataset_phase(data, step) == ct_dataset_phase(data, step - 1)) return CT_OK;
    ct_log_message(learner->context, CT_LOG_INFO, "Phase %d begins at step %lld: the optimizer is reset",
                   ct_dataset_phase(data, step) + 1, (long long)step);
    return ct_optimizer_reset(learner->optimizer);
}

/* Statistics of batches that have run cannot be taken back: such a step goes on to its end. */
static bool keeps_statistics(const ct_learner *learner) {
    for (int64_t i = 0; i < ct_model_parameter_count(learner->model); i++)
        if (ct_model_parameter(learner->model, i)->buffer) return true;
    return false;
}

ct_status ct_learner_step(ct_learner *learner, const ct_dataset *data, int64_t step, double learning_rate,
                          ct_step_result *result) {
    ct_context *context = learner->context;
    survey s;
    double sum = 0;
    ct_status status = look_over(learner, data, step, &s);
    *result = (ct_step_result){.tokens = s.tokens, .targets = s.targets, .samples = s.samples};
    for (int64_t first = 0; first < learner->rows && status == CT_OK; first += learner->micro_batch) {
        int64_t left = learner->rows - first;
        if (ct_stop_requested(context) && (first == 0 || !keeps_statistics(learner))) {
            clear_gradients(learner);
            return CT_ERROR_INTERRUPTED;
        }
        status = micro_batch(learner, data, step, first,
                             left < learner->micro_batch ? left : learner->micro_batch, &s, result);
    }
    for (int64_t r = 0; r < learner->rows; r++)
        sum += learner->row_losses[r];
    bool by_sample = has_samples(learner, data) && learner->options->loss_normalization == CT_BY_SAMPLE;
    double weight = (double)(float)(1 / (double)s.targets);
    result->loss = by_sample ? sum : sum / (weight * (double)s.targets); /* the weight's rounding is taken out again */
    if (status == CT_OK) status = weight_terms(learner, step, result);
    if (status == CT_OK) status = begin_phase(learner, data, step);
    if (status == CT_OK) status = update(learner, step, learning_rate, result);
    clear_gradients(learner);
    return status;
}

/* ----------------------------------------------------------------------------------------- evaluation */

/* Adds the losses of `rows` rows of `length` tokens that begin at starts[i]. */
static ct_status evaluate_rows(ct_learner *learner, const ct_dataset *data, const int64_t *starts,
                               int64_t rows, int64_t length, double *sum) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    batch b;
    make_batch(learner, data, rows, length, &b);
    int32_t *in = ct_data_mutable(b.input), *out = ct_data_mutable(b.targets);
    for (int64_t r = 0; data && in && out && r < rows; r++)
        for (int64_t t = 0; t < length; t++) {
            in[r * length + t] = ct_dataset_token(data, starts[r] + t);
            out[r * length + t] = ct_dataset_token(data, starts[r] + t + 1);
        }
    ct_run_reset(learner->evaluation);
    if (!ct_failed(context)) tell_run(learner->evaluation, &b);
    ct_tensor *losses = forward(learner, learner->evaluation, &b, 1);
    tell_run(learner->evaluation, NULL);
    const float *loss = ct_failed(context) ? NULL : ct_data(losses);
    for (int64_t i = 0; loss && i < rows * length; i++)
        *sum += (double)loss[i];
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status evaluate_text(ct_learner *learner, const ct_dataset *data, int64_t most_rows,
                               int64_t *starts, double *loss) {
    ct_context *context = learner->context;
    int64_t length = learner->row_length, targets = ct_dataset_tokens(data) - 1, whole = targets / length;
    int64_t rows = most_rows > 0 && most_rows < whole ? most_rows : whole, counted = rows * length;
    double sum = 0;
    ct_status status = CT_OK;
    for (int64_t first = 0; first < rows && status == CT_OK; first += learner->micro_batch) {
        int64_t count = rows - first < learner->micro_batch ? rows - first : learner->micro_batch;
        if (ct_stop_requested(context)) return CT_ERROR_INTERRUPTED;
        for (int64_t i = 0; i < count; i++)
            starts[i] = (first + i) * whole / rows * length;
        status = evaluate_rows(learner, data, starts, count, length, &sum);
        ct_progress(context, "evaluate", (double)(first + count), (double)rows, "rows", NULL);
    }
    if (status == CT_OK && rows == whole && targets > counted) { /* what is left is a shorter row */
        status = evaluate_rows(learner, data, &counted, 1, targets - counted, &sum);
        counted = targets;
    }
    *loss = sum / (double)counted;
    return status;
}

/* The same of rows[0 ... count) of samples; all weights are 1. */
static ct_status evaluate_samples_at(ct_learner *learner, const ct_dataset *data, const int64_t *rows, int64_t count,
                                     double *sum, int64_t *targets) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    survey s = {0, 0, 0, 0};
    batch b;
    for (int64_t i = 0; i < count; i++)
        add_row(learner, data, rows[i], &s);
    make_batch(learner, data, count, s.length, &b);
    int32_t *segments = ct_alloc(context, (size_t)s.length * sizeof(*segments), CT_MEMORY_WORKSPACE);
    for (int64_t i = 0; i < count && !ct_failed(context); i++)
        fill_samples(learner, data, rows[i], i, &s, segments, &b);
    ct_free(context, segments);
    b.weights = NULL;
    ct_run_reset(learner->evaluation);
    if (!ct_failed(context)) tell_run(learner->evaluation, &b);
    ct_tensor *losses = forward(learner, learner->evaluation, &b, 1);
    tell_run(learner->evaluation, NULL);
    const float *loss = ct_failed(context) ? NULL : ct_data(losses);
    for (int64_t i = 0; loss && i < count * s.length; i++)
        *sum += (double)loss[i];
    *targets += s.targets;
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status evaluate_samples(ct_learner *learner, const ct_dataset *data, int64_t most_rows, int64_t *rows,
                                  double *loss) {
    ct_context *context = learner->context;
    int64_t whole = ct_dataset_rows(data, learner->row_length), targets = 0;
    int64_t wanted = most_rows > 0 && most_rows < whole ? most_rows : whole;
    double sum = 0;
    ct_status status = CT_OK;
    for (int64_t first = 0; first < wanted && status == CT_OK; first += learner->micro_batch) {
        int64_t count = wanted - first < learner->micro_batch ? wanted - first : learner->micro_batch;
        if (ct_stop_requested(context)) return CT_ERROR_INTERRUPTED;
        for (int64_t i = 0; i < count; i++)
            rows[i] = (first + i) * whole / wanted;
        status = evaluate_samples_at(learner, data, rows, count, &sum, &targets);
        ct_progress(context, "evaluate", (double)(first + count), (double)wanted, "rows", NULL);
    }
    *loss = sum / (double)targets;
    return status;
}

ct_status ct_learner_evaluate(ct_learner *learner, const ct_dataset *data, int64_t most_rows, double *loss) {
    ct_context *context = learner->context;
    if (ct_failed(context)) return ct_context_status(context);
    int64_t *starts = ct_alloc_zero(context, (size_t)learner->micro_batch * sizeof(*starts), CT_MEMORY_OTHER);
    if (!starts) return CT_ERROR_MEMORY;
    bool before = ct_grad_mode_set(context, false);
    ct_status status =
        learner->options->task == CT_TASK_IMAGES ? ct_learner_evaluate_images(learner, data, most_rows, starts, loss)
        : ct_dataset_has_samples(data) ? evaluate_samples(learner, data, most_rows, starts, loss)
        : data                       ? evaluate_text(learner, data, most_rows, starts, loss)
                                     : evaluate_rows(learner, NULL, starts, learner->micro_batch, learner->row_length, loss);
    ct_grad_mode_set(context, before);
    ct_free(context, starts);
    return status;
}
