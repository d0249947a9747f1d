/* embed.h - inside evaluate: what a folder says about making vectors of texts. */
#ifndef CARAT_SRC_EVALUATE_EMBED_H
#define CARAT_SRC_EVALUATE_EMBED_H

#include <carat/evaluate.h>

typedef struct ct_embed_plan {
    char *model_folder; /* within the folder: the Transformer's */
    char *prompt;       /* put before each text; NULL: none */
    ct_pooling pooling;
    bool normalize;
    int64_t max_seq_length; /* 0: the folder does not say */
} ct_embed_plan;

/* `folder` is a path. */
ct_status ct_embed_plan_read(ct_context *context, const char *folder, ct_embed_plan *plan);
void ct_embed_plan_free(ct_context *context, ct_embed_plan *plan);

#endif
