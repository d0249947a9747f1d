/* affine.h - inside norm: the options and tensors of a gain and a bias, which most norms end with. */
#ifndef CARAT_SRC_NORM_AFFINE_H
#define CARAT_SRC_NORM_AFFINE_H

#include <carat/norm.h>

/* The first member of a method's options, so that the entries below fit every method. */
typedef struct ct_norm_affine {
    double eps;
    bool affine, bias;
} ct_norm_affine;

#define CT_NORM_EPS(default_)                                                                                \
    {                                                                                                        \
        .type = CT_TYPE_REAL, .name = "eps", .offset = offsetof(ct_norm_affine, eps),                        \
        .real_default = (default_), .maximum = 1, .help = "added to the mean square, inside the root",       \
        .alias = "epsilon"                                                                                   \
    }
#define CT_NORM_AFFINE(default_)                                                                             \
    CT_OPTION_BOOL("affine", ct_norm_affine, affine, default_,                                               \
                   "multiply by a gain; without it there is no bias either")
/* Of norms over the batch. One process has all rows, so they need not be exchanged: they are put together. */
#define CT_NORM_SYNC(struct_)                                                                                \
    CT_OPTION_BOOL("sync", struct_, sync, false,                                                             \
                   "statistics over all rows of an optimizer step: its micro-batches become one; otherwise " \
                   "over each per_device_train_batch_size rows, a forward pass each")
#define CT_NORM_BIAS(default_, help_) CT_OPTION_BOOL("bias", ct_norm_affine, bias, default_, help_)

/* {"weight", "bias", {NULL}}, and which of the first two are there. */
extern const ct_norm_tensor ct_norm_gain_and_bias[];
bool ct_norm_affine_present(const void *options, int index);

/* y weight + bias in `dtype`; either vector may be NULL. */
ct_tensor *ct_norm_apply_affine(ct_tensor *y, ct_tensor *weight, ct_tensor *bias, ct_dtype dtype);

#endif
