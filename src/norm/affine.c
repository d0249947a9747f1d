/* affine.c - the gain and the bias that most norms end with. */
#include "norm/affine.h"

const ct_norm_tensor ct_norm_gain_and_bias[] = {{"weight", CT_NORM_PER_CHANNEL, CT_FILL_ONES, false, CT_F32},
                                                {"bias", CT_NORM_PER_CHANNEL, CT_FILL_ZEROS, false, CT_F32},
                                                {NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

bool ct_norm_affine_present(const void *options, int index) {
    const ct_norm_affine *o = options;
    return index > 1 || (o->affine && (index == 0 || o->bias));
}

ct_tensor *ct_norm_apply_affine(ct_tensor *y, ct_tensor *weight, ct_tensor *bias, ct_dtype dtype) {
    if (weight) y = ct_mul(y, weight);
    if (bias) y = ct_add(y, bias);
    return ct_dtype_of(y) == dtype ? y : ct_cast(y, dtype);
}
