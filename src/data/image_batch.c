/* image_batch.c - images as input of a model, and what its answers are worth. */
#include "data/image_set.h"
#include <carat/autograd.h>

ct_status ct_images_take(const ct_model *model, const char *name) {
    ct_context *context = ct_model_context(model);
    int64_t shape[3];
    if (!ct_model_image_shape(model, shape) && ct_model_features(model) == 0)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: a %s does not take images; vit and mlp do", name,
                       ct_model_architecture(model)->model_type);
    if (ct_model_classes(model) == 0)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: the model has no head of classes", name);
    return CT_OK;
}

ct_status ct_images_fit(const ct_model *model, const ct_dataset *images, const char *name) {
    ct_context *context = ct_model_context(model);
    if (ct_images_take(model, name) != CT_OK) return ct_context_status(context);
    const int64_t *found = ct_image_set_shape(ct_dataset_images(images)),
                  pixels = found[0] * found[1] * found[2];
    int64_t shape[3], features = ct_model_features(model), classes = ct_model_classes(model);
    bool whole = ct_model_image_shape(model, shape);
    if (whole && (found[0] != shape[0] || found[1] != shape[1] || found[2] != shape[2]))
        return ct_fail(
            context, CT_ERROR_SHAPE,
            "%s: images of %lld x %lld pixels in %lld channels, the model takes %lld x %lld in %lld "
            "(image_size, num_channels)",
            name, (long long)found[1], (long long)found[2], (long long)found[0], (long long)shape[1],
            (long long)shape[2], (long long)shape[0]);
    if (!whole && features != pixels)
        return ct_fail(context, CT_ERROR_SHAPE,
                       "%s: images of %lld pixels, the model takes %lld numbers (sizes)", name,
                       (long long)pixels, (long long)features);
    int32_t largest = ct_dataset_largest(images);
    if (largest < classes) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT,
                   "%s: there is an image of class %d, the model has %lld classes (%s)", name, (int)largest,
                   (long long)classes, whole ? "num_labels" : "the last of sizes");
}

/* Byte / 255 of images rows[0 ... count). */
static void fill(const ct_image_set *set, const int64_t *rows, int64_t count, float *out, int32_t *classes) {
    const int64_t *shape = ct_image_set_shape(set), pixels = shape[0] * shape[1] * shape[2];
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *in = ct_image_set_pixels(set, rows[i]);
        for (int64_t p = 0; p < pixels; p++)
            out[i * pixels + p] = (float)in[p] / 255;
        classes[i] = ct_image_set_class(set, rows[i]);
    }
}

ct_tensor *ct_images_batch(const ct_model *model, const ct_dataset *images, const int64_t *rows,
                           int64_t count, ct_dtype compute, ct_tensor **classes) {
    ct_context *context = ct_model_context(model);
    int64_t shape[3];
    bool whole = ct_model_image_shape(model, shape);
    ct_tensor *input = whole ? ct_empty(context, CT_F32, CT_DIMS(count, shape[0], shape[1], shape[2]))
                             : ct_empty(context, CT_F32, CT_DIMS(count, ct_model_features(model)));
    *classes = ct_empty(context, CT_I32, CT_DIMS(count));
    if (ct_failed(context)) return NULL;
    float *out = ct_data_mutable(input);
    int32_t *class = ct_data_mutable(*classes);
    if (images && out && class) fill(ct_dataset_images(images), rows, count, out, class);
    return compute == CT_BF16 ? ct_cast(input, CT_BF16) : input;
}

ct_status ct_images_score(ct_tensor *logits, ct_tensor *classes, double *loss, int64_t *right) {
    ct_context *context = ct_context_of(logits);
    ct_scope scope = ct_scope_open(context);
    ct_cross_entropy_options how = CT_CROSS_ENTROPY_DEFAULT;
    how.reduction = CT_LOSS_NONE;
    ct_tensor *losses = ct_cross_entropy(logits, classes, &how), *best = ct_argmax(logits, -1, false);
    const float *value = ct_failed(context) ? NULL : ct_data(losses);
    const int64_t *found = value ? ct_data(best) : NULL;
    const int32_t *class = found ? ct_data(classes) : NULL;
    for (int64_t i = 0; class && i < ct_count(classes); i++) {
        *loss += (double)value[i];
        *right += found[i] == class[i];
    }
    ct_scope_close(context, scope);
    return ct_context_status(context);
}
