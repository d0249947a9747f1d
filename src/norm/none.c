/* none.c - no normalisation: what a model with its norms taken out has in their places. */
#include <carat/norm.h>

static const ct_norm_tensor tensors[] = {{NULL, CT_NORM_ONE, CT_FILL_ZEROS, false, CT_F32}};

static ct_tensor *forward(const ct_norm_call *call, ct_tensor *x) {
    (void)call;
    return x;
}

const ct_norm_method ct_norm_none = {
    .method = {.abi = CT_METHOD_ABI,
               .size = sizeof(ct_norm_method),
               .name = "none",
               .title = "No norm",
               .summary =
                   "Hands its input on: for networks without normalisation, and where a norm has been folded "
                   "into the layer behind it."},
    .tensors = tensors,
    .forward = forward};
