/* image_set.c - images with classes from two IDX files, as they are in the files: a byte a pixel. */
#include "data/image_set.h"

struct ct_image_set {
    int64_t count, shape[3];
    const uint8_t *pixels; /* [count, shape] */
    int32_t *classes;      /* [count] */
    ct_tensor *held;       /* the pixels' tensor; NULL: the set is a part of another */
};

/* Whole numbers from 0, as they are stored. */
static ct_status read_classes(ct_context *context, const char *path, const ct_tensor *labels,
                              ct_image_set *set) {
    ct_dtype type = ct_dtype_of(labels);
    char text[160];
    if ((type != CT_U8 && type != CT_I8 && type != CT_I32) || ct_ndim(labels) != 1)
        return ct_fail(context, CT_ERROR_SHAPE, "%s: %s, expected one class of each image, whole numbers",
                       path, ct_describe(labels, text, sizeof(text)));
    if (ct_dim(labels, 0) != set->count)
        return ct_fail(context, CT_ERROR_SHAPE, "%s: %lld classes, there are %lld images", path,
                       (long long)ct_dim(labels, 0), (long long)set->count);
    set->classes = ct_alloc(context, (size_t)set->count * sizeof(*set->classes), CT_MEMORY_OTHER);
    if (!set->classes) return CT_ERROR_MEMORY;
    const void *data = ct_data(labels);
    for (int64_t i = 0; i < set->count; i++) {
        int32_t class = type == CT_U8   ? ((const uint8_t *)data)[i]
                        : type == CT_I8 ? ((const int8_t *)data)[i]
                                        : ((const int32_t *)data)[i];
        if (class < 0)
            return ct_fail(context, CT_ERROR_FORMAT, "%s: image %lld has class %d, classes begin with 0",
                           path, (long long)i, (int)class);
        set->classes[i] = class;
    }
    return CT_OK;
}

static ct_status take_images(ct_context *context, const char *path, ct_tensor *images, ct_image_set *set) {
    int axes = ct_ndim(images);
    char text[160];
    if (ct_dtype_of(images) != CT_U8 || axes < 3 || axes > 4 || ct_count(images) < 1)
        return ct_fail(context, CT_ERROR_SHAPE,
                       "%s: %s, expected u8 images [n, height, width] or [n, channels, height, width]", path,
                       ct_describe(images, text, sizeof(text)));
    set->count = ct_dim(images, 0);
    set->shape[0] = axes == 4 ? ct_dim(images, 1) : 1;
    set->shape[1] = ct_dim(images, axes - 2);
    set->shape[2] = ct_dim(images, axes - 1);
    set->pixels = ct_data(images);
    set->held = ct_hold(images);
    return CT_OK;
}

ct_image_set *ct_image_set_read(ct_context *context, const char *images, const char *labels) {
    ct_image_set *set = ct_alloc_zero(context, sizeof(*set), CT_MEMORY_OTHER);
    if (!set) return NULL;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_OTHER);
    ct_tensor *pixels = ct_idx_read(context, images), *classes = pixels ? ct_idx_read(context, labels) : NULL;
    if (classes && take_images(context, images, pixels, set) == CT_OK)
        read_classes(context, labels, classes, set);
    ct_context_set_memory_class(context, before);
    ct_scope_close(context, scope);
    if (!ct_failed(context)) return set;
    ct_image_set_destroy(context, set);
    return NULL;
}

ct_image_set *ct_image_set_part(ct_context *context, const ct_image_set *whole, int64_t from, int64_t to) {
    ct_image_set *part = ct_alloc_zero(context, sizeof(*part), CT_MEMORY_OTHER);
    if (!part) return NULL;
    *part = *whole;
    part->count = to - from;
    part->pixels = ct_image_set_pixels(whole, from);
    part->classes = whole->classes + from;
    part->held = NULL;
    return part;
}

void ct_image_set_destroy(ct_context *context, ct_image_set *set) {
    if (!set) return;
    if (set->held) ct_free(context, set->classes);
    ct_drop(set->held);
    ct_free(context, set);
}

int64_t ct_image_set_count(const ct_image_set *set) {
    return set->count;
}

int32_t ct_image_set_largest(const ct_image_set *set) {
    int32_t largest = 0;
    for (int64_t i = 0; i < set->count; i++)
        if (set->classes[i] > largest) largest = set->classes[i];
    return largest;
}

int64_t ct_image_set_drawn(const ct_image_set *set, uint64_t seed, int64_t index) {
    uint64_t order = ct_random_stream("data order") + (uint64_t)(index / set->count) * 2; /* one an epoch */
    return ct_random_permuted(seed, order, set->count, index % set->count);
}

const int64_t *ct_image_set_shape(const ct_image_set *set) {
    return set->shape;
}

const uint8_t *ct_image_set_pixels(const ct_image_set *set, int64_t image) {
    return set->pixels + image * set->shape[0] * set->shape[1] * set->shape[2];
}

int32_t ct_image_set_class(const ct_image_set *set, int64_t image) {
    return set->classes[image];
}
