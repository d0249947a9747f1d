/* images.c - loss and accuracy of a model on images with classes. */
#include <carat/evaluate.h>

static ct_status evaluate_batch(ct_model *model, ct_run *run, const ct_dataset *images, int64_t first,
                                int64_t count, int64_t *rows, double *loss, int64_t *right) {
    ct_context *context = ct_model_context(model);
    ct_scope scope = ct_scope_open(context);
    for (int64_t i = 0; i < count; i++)
        rows[i] = first + i;
    ct_tensor *classes,
        *input = ct_images_batch(model, images, rows, count, ct_run_options_of(run)->compute, &classes);
    if (input) ct_images_score(ct_model_forward(model, run, input), classes, loss, right);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_evaluate_images(ct_model *model, const ct_dataset *images, const ct_image_options *options,
                             ct_image_result *result) {
    ct_context *context = ct_model_context(model);
    if (ct_images_fit(model, images, "evaluate") != CT_OK) return ct_context_status(context);
    int64_t all = ct_dataset_tokens(images), right = 0;
    int64_t count = options->limit > 0 && options->limit < all ? options->limit : all;
    double loss = 0, begin = ct_seconds();
    bool before = ct_grad_mode_set(context, false);
    ct_run *run = ct_run_create(context, &(ct_run_options){.compute = options->bf16 ? CT_BF16 : CT_F32});
    int64_t *rows = ct_alloc(context, (size_t)options->batch * sizeof(*rows), CT_MEMORY_OTHER);
    for (int64_t first = 0; run && rows && first < count && !ct_failed(context); first += options->batch) {
        int64_t some = count - first < options->batch ? count - first : options->batch;
        if (ct_stop_requested(context))
            ct_fail(context, CT_ERROR_INTERRUPTED, "stopped after %lld of %lld images", (long long)first,
                    (long long)count);
        else
            evaluate_batch(model, run, images, first, some, rows, &loss, &right);
        ct_progress(context, "evaluate", (double)(first + some), (double)count, "images", NULL);
    }
    ct_free(context, rows);
    ct_run_destroy(run);
    ct_grad_mode_set(context, before);
    *result =
        (ct_image_result){loss / (double)count, (double)right / (double)count, count, ct_seconds() - begin};
    return ct_context_status(context);
}
