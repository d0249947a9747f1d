/* vit_embeddings.c - how an image becomes the stream of a vision transformer (Dosovitskiy et al.,
 * arXiv:2010.11929, equation 1): a class token and the projected patches, with learned positions. Patches do
 * not overlap, so that the convolution of the files, weight [width, channels, p, p] with stride p, is a
 * linear map of rearranged pixels. */
#include "model/vit.h"
#include "nn/run.h"

/* -------------------------------------------------------------------------------------------- patches */

typedef struct patches_options {
    int64_t channels, height, width, out; /* of a patch */
    double init_scale;
} patches_options;

static const ct_option patches_table[] = {
    CT_OPTION_INT("channels", patches_options, channels, 3, 1, 1e6, "colours"),
    CT_OPTION_INT("height", patches_options, height, 16, 1, 1e6, "pixels of a patch"),
    CT_OPTION_INT("width", patches_options, width, 16, 1, 1e6, "pixels of a patch"),
    CT_OPTION_INT("out", patches_options, out, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_REAL("init_scale", patches_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_END};

static ct_status patches_build(ct_module *module) {
    const patches_options *o = ct_module_options(module);
    const int64_t shape[] = {o->out, o->channels, o->height, o->width};
    int64_t in = o->channels * o->height * o->width;
    ct_module_slot(
        module, "weight", 4, shape,
        (ct_slot_options){.fill = CT_FILL_NORMAL, .scale = o->init_scale, .fan_in = in, .fan_out = o->out});
    ct_module_slot(module, "bias", 1, &o->out, (ct_slot_options){.fill = CT_FILL_ZEROS, .no_decay = true});
    return ct_context_status(module->context);
}

/* [batch, channels, H, W] -> [batch, patches, channels * p * p], patches row by row; what is left of the last
 * rows and columns below a patch is not seen, as the convolution does not see it. */
static ct_tensor *rearrange(ct_tensor *x, const patches_options *o) {
    int64_t batch = ct_dim(x, 0), rows = ct_dim(x, 2) / o->height, columns = ct_dim(x, 3) / o->width;
    static const int order[] = {0, 2, 4, 1, 3, 5};
    x = ct_slice(ct_slice(x, 2, 0, rows * o->height, 1), 3, 0, columns * o->width, 1);
    x = ct_reshape(x, CT_DIMS(batch, o->channels, rows, o->height, columns, o->width));
    return ct_reshape(ct_permute(x, 6, order),
                      CT_DIMS(batch, rows * columns, o->channels * o->height * o->width));
}

static ct_tensor *patches_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const patches_options *o = ct_module_options(module);
    ct_tensor *x = inputs[0], *weight = ct_run_weight(run, &module->slots[0]),
              *bias = ct_run_weight(run, &module->slots[1]);
    if (ct_failed(module->context)) return x;
    bool narrow = ct_run_options_of(run)->compute == CT_BF16;
    x = ct_cast(x, narrow ? CT_BF16 : ct_dtype_of(weight) == CT_F64 ? CT_F64 : ct_dtype_of(x));
    int64_t shape[] = {o->out, o->channels * o->height * o->width};
    return ct_linear(rearrange(x, o), ct_reshape(weight, 2, shape), bias, false, CT_ACT_NONE);
}

static const ct_module_kind patches_kind = {.name = "vit.patches",
                                            .summary = "a linear map of each patch of an image",
                                            .options = patches_table,
                                            .options_size = sizeof(patches_options),
                                            .build = patches_build,
                                            .forward = patches_forward};

/* ----------------------------------------------------------------------------------------- embeddings */

typedef struct embeddings_options {
    int64_t channels, height, width, patches, out; /* of an image */
    double dropout, init_scale;
} embeddings_options;

static const ct_option embeddings_table[] = {
    CT_OPTION_INT("channels", embeddings_options, channels, 3, 1, 1e6, "colours"),
    CT_OPTION_INT("height", embeddings_options, height, 224, 1, 1e6, "pixels of an image"),
    CT_OPTION_INT("width", embeddings_options, width, 224, 1, 1e6, "pixels of an image"),
    CT_OPTION_INT("patches", embeddings_options, patches, 196, 1, 1e9, "patches of an image"),
    CT_OPTION_INT("out", embeddings_options, out, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_REAL("dropout", embeddings_options, dropout, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_REAL("init_scale", embeddings_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_END};

enum { CLASS, POSITIONS };

static ct_status embeddings_build(ct_module *module) {
    const embeddings_options *o = ct_module_options(module);
    ct_slot_options slot = {.fill = CT_FILL_NORMAL, .scale = o->init_scale};
    const int64_t class_shape[] = {1, 1, o->out}, position_shape[] = {1, o->patches + 1, o->out};
    ct_module_slot(module, "cls_token", 3, class_shape, slot);
    ct_module_slot(module, "position_embeddings", 3, position_shape, slot);
    return ct_context_status(module->context);
}

static bool input_fits(const ct_module *module, const ct_tensor *x) {
    const embeddings_options *o = ct_module_options(module);
    char text[160];
    bool numbers = ct_dtype_of(x) == CT_F32 || ct_dtype_of(x) == CT_F64 || ct_dtype_of(x) == CT_BF16 ||
                   ct_dtype_of(x) == CT_F16;
    if (ct_ndim(x) == 4 && numbers && ct_dim(x, 1) == o->channels && ct_dim(x, 2) == o->height &&
        ct_dim(x, 3) == o->width)
        return true;
    ct_fail(module->context, CT_ERROR_SHAPE,
            "vit: input %s, expected floating-point images [batch, %lld, %lld, %lld]",
            ct_describe(x, text, sizeof(text)), (long long)o->channels, (long long)o->height,
            (long long)o->width);
    return false;
}

/* Its child gives the patches. */
static ct_tensor *embeddings_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (!ct_module_expect_children(module, 1) || ct_failed(module->context) || !input_fits(module, inputs[0]))
        return inputs[0];
    const embeddings_options *o = ct_module_options(module);
    ct_tensor *patches = ct_forward1(run, module->children[0], inputs[0]);
    if (ct_failed(module->context)) return inputs[0];
    ct_tensor *class = ct_cast(ct_run_weight(run, &module->slots[CLASS]), ct_dtype_of(patches));
    ct_tensor *parts[] = {ct_expand(class, CT_DIMS(ct_dim(patches, 0), 1, o->out)), patches};
    ct_tensor *x = ct_add(ct_concat(parts, 2, 1), ct_run_weight(run, &module->slots[POSITIONS]));
    return ct_run_dropout(run, ct_cast(x, ct_dtype_of(patches)), o->dropout);
}

static const ct_module_kind embeddings_kind = {.name = "vit.embeddings",
                                               .summary = "class token, patches and positions",
                                               .options = embeddings_table,
                                               .options_size = sizeof(embeddings_options),
                                               .build = embeddings_build,
                                               .forward = embeddings_forward};

void ct_vit_add_embeddings(ct_module *root, const ct_vit_plan *plan) {
    ct_context *context = root->context;
    int64_t patches = plan->image[0] / plan->patch[0] * (plan->image[1] / plan->patch[1]);
    ct_value *map = ct_option_ints(context, "channels", plan->channels, "height", plan->image[0], "width",
                                   plan->image[1], "patches", patches, "out", plan->width, NULL);
    if (map) ct_value_set(map, "dropout", ct_value_real(context, plan->dropout));
    if (map) ct_value_set(map, "init_scale", ct_value_real(context, plan->init_scale));
    ct_module *embeddings = ct_module_child_of_kind(root, "embeddings", "vit.embeddings", map);
    if (!embeddings) return;
    map = ct_option_ints(context, "channels", plan->channels, "height", plan->patch[0], "width",
                         plan->patch[1], "out", plan->width, NULL);
    if (map) ct_value_set(map, "init_scale", ct_value_real(context, plan->init_scale));
    ct_module_child_of_kind(embeddings, "projection", "vit.patches", map);
}

ct_status ct_vit_embeddings_register(ct_context *context) {
    ct_status status = ct_module_kind_register(context, &patches_kind);
    return status == CT_OK ? ct_module_kind_register(context, &embeddings_kind) : status;
}
