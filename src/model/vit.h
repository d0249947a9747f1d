/* vit.h - inside the model room: what vit.c (the whole model) asks of vit_embeddings.c (images to the
 * stream). */
#ifndef CARAT_SRC_MODEL_VIT_H
#define CARAT_SRC_MODEL_VIT_H

#include "model/model.h"
#include "nn/layers.h"

typedef struct ct_vit_plan {
    int64_t image[2], patch[2]; /* pixels, height and width */
    int64_t channels, width;    /* of pixels; of the stream */
    double dropout, init_scale;
} ct_vit_plan;

/* "embeddings" with its child "projection": [batch, channels, height, width] -> [batch, 1 + patches, width].
 */
void ct_vit_add_embeddings(ct_module *root, const ct_vit_plan *plan);
ct_status ct_vit_embeddings_register(ct_context *context);

#endif
