/* image_set.h - inside data: images with classes, in memory. */
#ifndef CARAT_SRC_DATA_IMAGE_SET_H
#define CARAT_SRC_DATA_IMAGE_SET_H

#include <carat/data.h>

typedef struct ct_image_set ct_image_set;

ct_image_set *ct_image_set_read(ct_context *context, const char *images,
                                const char *labels); /* NULL on error */
/* Images [from, to) of another, which must outlive it. */
ct_image_set *ct_image_set_part(ct_context *context, const ct_image_set *whole, int64_t from, int64_t to);
void ct_image_set_destroy(ct_context *context, ct_image_set *set); /* NULL is allowed */
int64_t ct_image_set_count(const ct_image_set *set);
int32_t ct_image_set_largest(const ct_image_set *set); /* class */
/* The image that is row `index` of training, over epochs. */
int64_t ct_image_set_drawn(const ct_image_set *set, uint64_t seed, int64_t index);
const int64_t *ct_image_set_shape(const ct_image_set *set); /* channels, height, width */
const uint8_t *ct_image_set_pixels(const ct_image_set *set, int64_t image);
int32_t ct_image_set_class(const ct_image_set *set, int64_t image);

/* Of a dataset that has images. */
const ct_image_set *ct_dataset_images(const ct_dataset *dataset);

#endif
