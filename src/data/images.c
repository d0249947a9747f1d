/* images.c - images of IDX files as input of a network. */
#include <carat/data.h>

/* u8 [n, height, width] or [n, channels, height, width]. */
static bool fits(const ct_tensor *all, const int64_t shape[3]) {
    int axes = ct_ndim(all);
    if (ct_dtype_of(all) != CT_U8 || (axes != 4 && !(axes == 3 && shape[0] == 1)) || ct_dim(all, 0) < 1)
        return false;
    for (int i = 1; i < axes; i++)
        if (ct_dim(all, i) != shape[i + 3 - axes]) return false;
    return true;
}

ct_tensor *ct_images_read(ct_context *context, const char *path, const int64_t shape[3], int64_t most) {
    ct_scope scope = ct_scope_open(context);
    ct_tensor *all = ct_idx_read(context, path), *images;
    char text[160];
    if (all && !fits(all, shape))
        ct_fail(context, CT_ERROR_SHAPE, "%s: %s, expected u8 images of %lld x %lld pixels in %lld channels",
                path, ct_describe(all, text, sizeof(text)), (long long)shape[1], (long long)shape[2],
                (long long)shape[0]);
    if (all && !ct_failed(context)) {
        int64_t count = ct_dim(all, 0) < most ? ct_dim(all, 0) : most;
        images = ct_empty(context, CT_F32, CT_DIMS(count, shape[0], shape[1], shape[2]));
        const uint8_t *in = ct_data(all);
        float *out = ct_data_mutable(images);
        for (int64_t i = 0; in && out && i < ct_count(images); i++)
            out[i] = (float)in[i] / 255;
        ct_scope_return(context, scope, images);
        return images;
    }
    ct_scope_close(context, scope);
    return NULL;
}
