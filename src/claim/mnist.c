/* mnist.c - MNIST for claims: the first images of its IDX files as f32 rows. */
#include "claim/parts.h"

static void drop(ct_context *context, void *object) {
    (void)context;
    ct_drop(object);
}

/* Pixels 0 .. 255 to [0, 1]; for side 14 means over 2 x 2. images u8 [n, 28, 28] -> f32 [rows, side * side].
 */
static ct_tensor *scaled(ct_context *context, const ct_tensor *images, int64_t rows, int side) {
    ct_tensor *result = ct_empty(context, CT_F32, CT_DIMS(rows, (int64_t)side * side));
    const uint8_t *in = ct_data(images);
    float *out = ct_data_mutable(result);
    int block = 28 / side;
    for (int64_t i = 0; in && out && i < rows * side * side; i++) {
        int64_t row = i / (side * side), y = i / side % side * block, x = i % side * block;
        int sum = 0;
        for (int dy = 0; dy < block; dy++)
            for (int dx = 0; dx < block; dx++)
                sum += in[(row * 28 + y + dy) * 28 + x + dx];
        out[i] = (float)sum / (255.0f * (float)(block * block));
    }
    return result;
}

static ct_status check(ct_claim_run *run, const ct_tensor *images, const ct_tensor *labels, int64_t rows,
                       int side) {
    ct_context *context = run->context;
    if (ct_failed(context)) return ct_context_status(context);
    if (side != 28 && side != 14)
        return ct_fail(context, CT_ERROR_ARGUMENT, "MNIST: side %d, expected 28 or 14", side);
    if (ct_dtype_of(images) != CT_U8 || ct_ndim(images) != 3 || ct_dim(images, 1) != 28 ||
        ct_dim(images, 2) != 28 || ct_dtype_of(labels) != CT_U8 || ct_ndim(labels) != 1 ||
        ct_dim(labels, 0) != ct_dim(images, 0))
        return ct_fail(context, CT_ERROR_FORMAT,
                       "MNIST: the files hold other shapes than images of 28 x 28 and labels");
    if (rows < 1 || rows > ct_dim(images, 0))
        return ct_fail(context, CT_ERROR_ARGUMENT, "MNIST: %lld rows asked for, there are %lld",
                       (long long)rows, (long long)ct_dim(images, 0));
    return CT_OK;
}

ct_status ct_claim_mnist(ct_claim_run *run, bool test, int64_t rows, int side, ct_tensor **images,
                         ct_tensor **labels) {
    ct_context *context = run->context;
    const char *image_path =
        ct_claim_data(run, test ? "mnist/t10k-images-idx3-ubyte.gz" : "mnist/train-images-idx3-ubyte.gz");
    const char *label_path =
        ct_claim_data(run, test ? "mnist/t10k-labels-idx1-ubyte.gz" : "mnist/train-labels-idx1-ubyte.gz");
    *images = *labels = NULL;
    if (!image_path || !label_path) return ct_context_status(context);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *all = ct_idx_read(context, image_path), *classes = ct_idx_read(context, label_path);
    if (check(run, all, classes, rows, side) == CT_OK) {
        *images = ct_hold(scaled(context, all, rows, side));
        *labels = ct_hold(ct_empty(context, CT_I32, CT_DIMS(rows)));
        int32_t *out = ct_data_mutable(*labels);
        const uint8_t *in = ct_data(classes);
        for (int64_t i = 0; in && out && i < rows; i++)
            out[i] = in[i];
    }
    ct_scope_close(context, scope);
    if (*images) ct_claim_keep(run, *images, drop);
    if (*labels) ct_claim_keep(run, *labels, drop);
    return ct_context_status(context);
}
