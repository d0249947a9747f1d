/* vit.c - vision transformers (Dosovitskiy et al., arXiv:2010.11929) with names and options of Hugging Face's
 * ViTForImageClassification and ViTModel: a pre-norm encoder over the patches of an image, a head on the
 * class token.
 *
 * images [batch, num_channels, image_size, image_size] -> logits [batch, num_labels]; ViTModel gives the
 * hidden states [batch, 1 + patches, hidden_size]. Points: embedded, hidden, pooled (ViTModel), logits. */
#include "model/vit.h"
#include "model/parts.h"
#include "nn/run.h"
#include <string.h>

typedef struct vit_options {
    int64_t hidden_size, num_hidden_layers, num_attention_heads, head_dim, intermediate_size, num_channels,
        num_labels, pooler_output_size, image_size, patch_size;
    int hidden_act, pooler_act;
    double hidden_dropout_prob, attention_probs_dropout_prob, layer_norm_eps, initializer_range;
    bool qkv_bias, add_pooling_layer;
    const ct_value *id2label, *norm;
} vit_options;

static const char *const pooler_names[] = {"tanh", NULL};

static const ct_option vit_table[] = {
    CT_OPTION_INT("image_size", vit_options, image_size, 224, 1, 1e6,
                  "pixels of an image's side, or [height, width]"),
    CT_OPTION_INT("patch_size", vit_options, patch_size, 16, 1, 1e6,
                  "pixels of a patch's side, or [height, width]"),
    CT_OPTION_INT("num_channels", vit_options, num_channels, 3, 1, 1e6, "colours"),
    CT_OPTION_INT("hidden_size", vit_options, hidden_size, 768, 1, 1e6, "width"),
    CT_OPTION_INT("num_hidden_layers", vit_options, num_hidden_layers, 12, 1, 1e4, "blocks"),
    CT_OPTION_INT("num_attention_heads", vit_options, num_attention_heads, 12, 1, 1e4, "attention heads"),
    CT_OPTION_INT("head_dim", vit_options, head_dim, 0, 0, 1e6,
                  "channels of a head; 0: hidden_size / num_attention_heads"),
    CT_OPTION_INT("intermediate_size", vit_options, intermediate_size, 3072, 1, 1e7,
                  "width of the perceptron"),
    CT_OPTION_CHOICE("hidden_act", vit_options, hidden_act, "gelu", ct_perceptron_names, "of the perceptron"),
    CT_OPTION_REAL("hidden_dropout_prob", vit_options, hidden_dropout_prob, 0, 0, 0.999,
                   "dropout on embeddings and on what blocks add"),
    CT_OPTION_REAL("attention_probs_dropout_prob", vit_options, attention_probs_dropout_prob, 0, 0, 0.999,
                   "dropout on attention probabilities"),
    CT_OPTION_REAL("layer_norm_eps", vit_options, layer_norm_eps, 1e-12, 0, 1, "of the layer norms"),
    CT_OPTION_REAL("initializer_range", vit_options, initializer_range, 0.02, 1e-9, 10,
                   "deviation of initial weights"),
    CT_OPTION_BOOL("qkv_bias", vit_options, qkv_bias, true, "queries, keys and values have biases"),
    CT_OPTION_INT("num_labels", vit_options, num_labels, 0, 0, 1e6,
                  "classes; 0: as many as id2label names, else 2"),
    CT_OPTION_VALUE("id2label", vit_options, id2label, "the names of the classes"),
    CT_OPTION_BOOL("add_pooling_layer", vit_options, add_pooling_layer, true,
                   "ViTModel: there is a pooler; a file without one says no"),
    CT_OPTION_INT("pooler_output_size", vit_options, pooler_output_size, 0, 0, 1e6,
                  "channels of the pooler; 0: hidden_size"),
    CT_OPTION_CHOICE("pooler_act", vit_options, pooler_act, "tanh", pooler_names, "of the pooler"),
    CT_OPTION_VALUE(
        "norm", vit_options, norm,
        "a norm's name, or {name, place: pre|post|mix|peri|deepnorm, alpha, peri, and its options}"),
    CT_OPTION_END};

/* -------------------------------------------------------------------------------------------- root */

/* Children: embeddings, encoder, layernorm, and classifier or pooler if there is one. */
static ct_tensor *root_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (!ct_module_expect_children(module, 3)) return inputs[0];
    ct_module *const *part = module->children;
    ct_module *pooler = ct_module_find(module, "pooler"), *classifier = ct_module_find(module, "classifier");
    ct_module *first = ct_module_find(module, "layernorm_embeddings");
    ct_tensor *x = ct_forward1(run, part[0], inputs[0]);
    if (ct_failed(module->context)) return inputs[0];
    if (first) x = ct_forward1(run, first, x);
    x = ct_forward1(run, part[1], ct_run_point(run, module, "embedded", x));
    x = ct_run_point(run, module, "hidden", ct_forward1(run, part[2], x));
    if (ct_failed(module->context)) return x;
    if (pooler && ct_run_tapped(run, module, "pooled"))
        ct_run_point(run, module, "pooled", ct_forward1(run, pooler, x));
    bool wanted = !ct_run_position_of(run)->points_only || ct_run_tapped(run, module, "logits");
    if (!classifier || !wanted) return x;
    return ct_run_point(run, module, "logits", ct_forward1(run, classifier, ct_select(x, 1, 0)));
}

static const ct_module_kind root_kind = {
    .name = "vit", .summary = "a vision transformer with its head", .forward = root_forward};

/* ---------------------------------------------------------------------------------------- building */

/* The option, or where the configuration has a list its two numbers: height and width. */
static ct_status read_size(ct_context *context, const ct_value *config, const char *key, int64_t both,
                           int64_t size[2]) {
    const ct_value *list = ct_value_get(config, key);
    size[0] = size[1] = both;
    if (ct_value_kind_of(list) != CT_VALUE_LIST) return CT_OK;
    size[1] = ct_value_count(list) == 2 ? ct_value_as_int(ct_value_at(list, 1), 0) : 0;
    if (size[1] >= 1 && size[1] <= 1000000) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT,
                   "config: %s: expected an integer from 1 to 1000000, or [height, width]", key);
}

static ct_status read_sizes(ct_context *context, const vit_options *o, const ct_value *config,
                            ct_vit_plan *plan) {
    if (read_size(context, config, "image_size", o->image_size, plan->image) != CT_OK ||
        read_size(context, config, "patch_size", o->patch_size, plan->patch) != CT_OK)
        return ct_context_status(context);
    for (int i = 0; i < 2; i++)
        if (plan->patch[i] > plan->image[i])
            return ct_fail(context, CT_ERROR_ARGUMENT, "config: patch_size %lld is more than image_size %lld",
                           (long long)plan->patch[i], (long long)plan->image[i]);
    return CT_OK;
}

enum { CLASSIFICATION, HIDDEN };

static void add_parts(ct_module *root, const vit_options *o, ct_vit_plan *sizes, const ct_norm_choice *norm) {
    sizes->channels = o->num_channels;
    sizes->width = o->hidden_size;
    sizes->dropout = o->hidden_dropout_prob;
    sizes->init_scale = o->initializer_range;
    ct_vit_add_embeddings(root, sizes);
    ct_encoder_add_layers(root, &(ct_encoder_plan){.width = o->hidden_size,
                                                   .layers = o->num_hidden_layers,
                                                   .heads = o->num_attention_heads,
                                                   .head_dim = o->head_dim,
                                                   .inner = o->intermediate_size,
                                                   .activation = o->hidden_act,
                                                   .dropout = o->hidden_dropout_prob,
                                                   .attention_dropout = o->attention_probs_dropout_prob,
                                                   .init_scale = o->initializer_range,
                                                   .qkv_bias = o->qkv_bias,
                                                   .norm = norm,
                                                   .attention_norm = "layernorm_before",
                                                   .mlp_norm = "layernorm_after"});
    ct_norm_choice_add(root, "layernorm", o->hidden_size, norm);
    if (norm->emb) ct_norm_choice_add(root, "layernorm_embeddings", o->hidden_size, norm);
}

static ct_module *vit_build(ct_context *context, const void *options, const ct_value *config) {
    static const char *const classes[] = {"ViTForImageClassification", "ViTModel", NULL};
    const vit_options *o = options;
    ct_vit_plan sizes = {{0}, {0}, 0, 0, 0, 0};
    ct_norm_choice norm;
    int64_t labels = 0;
    int class = CLASSIFICATION;
    if (ct_encoder_class(context, config, classes, &class) != CT_OK ||
        ct_encoder_labels(context, o->num_labels, o->id2label, &labels) != CT_OK ||
        read_sizes(context, o, config, &sizes) != CT_OK)
        return NULL;
    ct_module *root = ct_module_create(context, &root_kind, "", NULL);
    if (ct_norm_choice_read(context, o->norm, o->layer_norm_eps, &norm) == CT_OK && root)
        add_parts(root, o, &sizes, &norm);
    ct_norm_choice_free(&norm);
    int64_t pooled = o->pooler_output_size ? o->pooler_output_size : o->hidden_size;
    if (!ct_failed(context) && class == CLASSIFICATION)
        ct_module_child_of_kind(root, "classifier", "linear",
                                ct_linear_options(context, o->hidden_size, labels, o->initializer_range));
    if (!ct_failed(context) && class == HIDDEN && o->add_pooling_layer)
        ct_encoder_add_pooler(root, o->hidden_size, pooled, o->initializer_range);
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

ct_status ct_vit_register(ct_context *context) {
    ct_status status = ct_vit_embeddings_register(context);
    return status == CT_OK ? ct_module_kind_register(context, &root_kind) : status;
}

/* ------------------------------------------------------------------------------------- architecture */

static char *file_name(ct_context *context, const char *path) {
    static const char *const parts[][2] = {
        {"embeddings.projection.", "embeddings.patch_embeddings.projection."},
        {".attention.query.", ".attention.attention.query."},
        {".attention.key.", ".attention.attention.key."},
        {".attention.value.", ".attention.attention.value."},
        {".attention.dense.", ".attention.output.dense."},
        {".mlp.intermediate.", ".intermediate.dense."},
        {".mlp.output.", ".output.dense."}};
    if (strncmp(path, "classifier.", 11) == 0) return ct_strdup(context, path);
    return ct_encoder_file_name(context, "vit.", path, parts, sizeof(parts) / sizeof(parts[0]));
}

/* What other heads and training by masked patches leave in files, and the architecture asked for does not
 * run: kept. */
static bool is_buffer(const char *name) {
    static const char *const beginnings[] = {"embeddings.mask_token", "pooler.", "classifier.", "decoder."};
    if (strncmp(name, "vit.", 4) == 0) name += 4;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0) return true;
    return false;
}

static ct_status adapt(ct_context *context, ct_value *config, const ct_archive *file) {
    if (!ct_value_get(config, "architectures")) return CT_OK;
    return ct_encoder_adapt(context, config, file, "ViTModel", "vit.");
}

static void image_shape(const void *options, const ct_value *config, int64_t shape[3]) {
    const vit_options *o = options;
    const ct_value *list = ct_value_get(config, "image_size"); /* or a number; it was checked */
    shape[0] = o->num_channels;
    shape[1] = o->image_size;
    shape[2] = ct_value_as_int(ct_value_at(list, 1), o->image_size);
}

static int64_t layers(const void *options) {
    return ((const vit_options *)options)->num_hidden_layers;
}

static ct_status narrow(ct_context *context, const void *options, ct_value *config) {
    const vit_options *o = options;
    int64_t head_dim = o->head_dim ? o->head_dim : o->hidden_size / o->num_attention_heads;
    ct_value_set(config, "head_dim", ct_value_int(context, head_dim));
    return ct_value_set(config, "hidden_size", ct_value_int(context, o->hidden_size - 1));
}

#define LAYER "encoder.layer.*."
static const ct_stream_part stream[] = {
    {.module = "embeddings", .role = CT_STREAM_TABLE}, /* class token and positions */
    {.module = "embeddings.projection", .role = CT_STREAM_WRITER},
    {.module = LAYER "attention.query", .role = CT_STREAM_READER, .norm = LAYER "layernorm_before"},
    {.module = LAYER "attention.key", .role = CT_STREAM_READER, .norm = LAYER "layernorm_before"},
    {.module = LAYER "attention.value", .role = CT_STREAM_READER, .norm = LAYER "layernorm_before"},
    {.module = LAYER "attention.dense", .role = CT_STREAM_WRITER},
    {.module = LAYER "mlp.intermediate", .role = CT_STREAM_READER, .norm = LAYER "layernorm_after"},
    {.module = LAYER "mlp.output", .role = CT_STREAM_WRITER},
    {.module = "classifier", .role = CT_STREAM_READER, .norm = "layernorm", .optional = true},
    {.module = "pooler.dense", .role = CT_STREAM_READER, .norm = "layernorm", .optional = true},
    {.module = "layernorm", .role = CT_STREAM_OUTPUT, .norm = "classifier"},
    {.module = NULL}};

const ct_architecture ct_architecture_vit = {.model_type = "vit",
                                             .class_name = "ViTForImageClassification",
                                             .summary = "vision transformer",
                                             .options = vit_table,
                                             .options_size = sizeof(vit_options),
                                             .build = vit_build,
                                             .prefix = "vit.",
                                             .file_name = file_name,
                                             .is_buffer = is_buffer,
                                             .adapt = adapt,
                                             .layers = layers,
                                             .image_shape = image_shape,
                                             .bidirectional = true,
                                             .narrow = narrow,
                                             .stream = stream};
