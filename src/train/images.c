/* images.c - steps and evaluations on images: a row of a step is an image, its target a class. Gradients of
 * what the rows share (positions, the class token, layers on rows of numbers) are no folds over the rows, so
 * the plan keeps per_device_train_batch_size of them together. */
#include "train/learner.h"

static ct_dtype compute_of(const ct_learner *learner) {
    return learner->options->bf16 ? CT_BF16 : CT_F32;
}

ct_tensor *ct_learner_draw_images(ct_learner *learner, const ct_dataset *data, int64_t index, int64_t count,
                                  ct_tensor **classes) {
    ct_context *context = learner->context;
    int64_t *rows = ct_alloc_zero(context, (size_t)count * sizeof(*rows), CT_MEMORY_OTHER);
    if (!rows) return NULL;
    for (int64_t i = 0; data && i < count; i++)
        rows[i] = ct_dataset_drawn(context, data, (uint64_t)learner->options->seed, index + i);
    ct_tensor *input = ct_images_batch(learner->model, data, rows, count, compute_of(learner), classes);
    ct_free(context, rows);
    return input;
}

static ct_status score(ct_learner *learner, const ct_dataset *data, const int64_t *rows, int64_t count,
                       double *loss, int64_t *right) {
    ct_context *context = learner->context;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *classes,
        *input = ct_images_batch(learner->model, data, rows, count, compute_of(learner), &classes);
    ct_run_reset(learner->evaluation);
    if (input)
        ct_images_score(ct_model_forward(learner->model, learner->evaluation, input), classes, loss, right);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_learner_evaluate_images(ct_learner *learner, const ct_dataset *data, int64_t most, int64_t *rows,
                                     double *loss) {
    ct_context *context = learner->context;
    int64_t whole = data ? ct_dataset_tokens(data) : learner->micro_batch, right = 0;
    int64_t wanted = most > 0 && most < whole ? most : whole;
    double sum = 0;
    ct_status status = CT_OK;
    for (int64_t first = 0; first < wanted && status == CT_OK; first += learner->micro_batch) {
        int64_t count = wanted - first < learner->micro_batch ? wanted - first : learner->micro_batch;
        if (ct_stop_requested(context)) return CT_ERROR_INTERRUPTED;
        for (int64_t i = 0; i < count; i++)
            rows[i] = (first + i) * whole / wanted;
        status = score(learner, data, rows, count, &sum, &right);
        if (data) ct_progress(context, "evaluate", (double)(first + count), (double)wanted, "images", NULL);
    }
    *loss = sum / (double)wanted;
    learner->accuracy = (double)right / (double)wanted;
    return status;
}
