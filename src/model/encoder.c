/* encoder.c - what encoders share: blocks of attention over the whole sequence and a perceptron (Devlin et
 * al., arXiv:1810.04805), the pooler, and how classes, tensors and architectures are named. */
#include "model/parts.h"
#include "nn/layers.h"
#include "nn/run.h"
#include <string.h>

/* ----------------------------------------------------------------------------------------- attention */

typedef struct attention_options {
    int64_t width, heads, head_dim;
    double attention_dropout, dropout, init_scale, branch_scale;
    bool qkv_bias;
} attention_options;

static const ct_option attention_table[] = {
    CT_OPTION_INT("width", attention_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("heads", attention_options, heads, 12, 1, 1e4, "heads"),
    CT_OPTION_INT("head_dim", attention_options, head_dim, 0, 0, 1e6, "channels of a head; 0: width / heads"),
    CT_OPTION_REAL("attention_dropout", attention_options, attention_dropout, 0, 0, 0.999,
                   "dropout on probabilities"),
    CT_OPTION_REAL("dropout", attention_options, dropout, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_REAL("init_scale", attention_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_REAL("branch_scale", attention_options, branch_scale, 0, 0, 10,
                   "deviation of those of values and dense; 0: init_scale"),
    CT_OPTION_BOOL("qkv_bias", attention_options, qkv_bias, true, "queries, keys and values have biases"),
    CT_OPTION_END};

enum { QUERY, KEY, VALUE, DENSE };

static int64_t channels(const attention_options *o) {
    return o->head_dim ? o->head_dim : o->width / o->heads;
}

static ct_status attention_build(ct_module *module) {
    static const char *const names[] = {"query", "key", "value", "dense"};
    const attention_options *o = ct_module_options(module);
    ct_context *context = module->context;
    if (!o->head_dim && o->width % o->heads)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "hidden_size %lld is not a multiple of num_attention_heads %lld", (long long)o->width,
                       (long long)o->heads);
    int64_t inner = o->heads * channels(o);
    for (int i = QUERY; i <= DENSE; i++) {
        double scale = i >= VALUE && o->branch_scale > 0 ? o->branch_scale : o->init_scale;
        ct_value *linear = i == DENSE ? ct_linear_options(context, inner, o->width, scale)
                                      : ct_linear_options(context, o->width, inner, scale);
        if (linear && i != DENSE) ct_value_set(linear, "bias", ct_value_bool(context, o->qkv_bias));
        ct_module_child_of_kind(module, names[i], "linear", linear);
    }
    return ct_context_status(context);
}

/* Which keys each query of a row sees, to broadcast to [batch, heads, queries, keys]; NULL: all. */
static ct_tensor *visible(ct_run *run, const ct_module *module, int64_t batch, int64_t time) {
    ct_tensor *padding = ct_run_padding(run), *mask = ct_run_segment_mask(run);
    if (!padding) return mask;
    if (ct_ndim(padding) != 2 || ct_dtype_of(padding) != CT_U8 || ct_dim(padding, 0) != batch ||
        ct_dim(padding, 1) != time) {
        char text[160];
        ct_fail(module->context, CT_ERROR_SHAPE, "%s: the padding mask is %s, expected u8 [%lld, %lld]",
                ct_module_path(module), ct_describe(padding, text, sizeof(text)), (long long)batch,
                (long long)time);
        return NULL;
    }
    padding = ct_reshape(padding, CT_DIMS(batch, 1, 1, time));
    return mask ? ct_mul(mask, padding) : padding;
}

static ct_tensor *split_heads(ct_tensor *x, const attention_options *o) {
    return ct_transpose(ct_reshape(x, CT_DIMS(ct_dim(x, 0), ct_dim(x, 1), o->heads, channels(o))), 1, 2);
}

static ct_tensor *attention_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_tensor *x = inputs[0], *part[3];
    if (!ct_module_expect_children(module, DENSE + 1) || ct_failed(module->context)) return x;
    const attention_options *o = ct_module_options(module);
    int64_t batch = ct_dim(x, 0), time = ct_dim(x, 1);
    for (int i = QUERY; i <= VALUE; i++)
        part[i] = split_heads(ct_forward1(run, module->children[i], x), o);
    ct_attention_options options = {.mask = visible(run, module, batch, time)};
    bool drops = ct_run_options_of(run)->training && o->attention_dropout > 0;
    ct_tensor *mixed = drops || ct_run_tapped(run, module, "probs")
                           ? ct_attention_explicit(run, module, part[QUERY], part[KEY], part[VALUE], &options,
                                                   o->attention_dropout)
                           : ct_attention(part[QUERY], part[KEY], part[VALUE], &options);
    mixed = ct_reshape(ct_transpose(mixed, 1, 2), CT_DIMS(batch, time, o->heads * channels(o)));
    mixed = ct_run_point(run, module, "mixed", mixed);
    return ct_run_dropout(run, ct_forward1(run, module->children[DENSE], mixed), o->dropout);
}

static const ct_module_kind attention_kind = {.name = "bert.attention",
                                              .summary = "self-attention over the whole sequence",
                                              .options = attention_table,
                                              .options_size = sizeof(attention_options),
                                              .build = attention_build,
                                              .forward = attention_forward};

/* ------------------------------------------------------------------------------------------- blocks */

static const ct_module_kind block_kind = {.name = "bert.block",
                                          .summary = "attention and a perceptron on a residual stream",
                                          .options = ct_block_table,
                                          .options_size = sizeof(ct_block_options),
                                          .forward = ct_block_forward};
static const ct_module_kind list_kind = {
    .name = "bert.blocks", .summary = "the blocks, one after the other", .forward = ct_block_list_forward};

/* Where norms stand behind the sum, values, dense and perceptron start with what the place asks. */
static void add_layer(ct_module *list, int64_t layer, const ct_encoder_plan *plan) {
    ct_context *context = list->context;
    ct_module *block = ct_block_add(list, "bert.block", layer, plan->layers, plan->norm);
    ct_value *attention = ct_option_ints(context, "width", plan->width, "heads", plan->heads, NULL);
    ct_value *mlp = ct_option_ints(context, "width", plan->width, "inner", plan->inner, NULL);
    if (!block || !attention || !mlp) {
        ct_value_free(attention);
        ct_value_free(mlp);
        return;
    }
    double shrink = ct_norm_choice_init(plan->norm, plan->layers);
    if (plan->head_dim) ct_value_set(attention, "head_dim", ct_value_int(context, plan->head_dim));
    if (!plan->qkv_bias) ct_value_set(attention, "qkv_bias", ct_value_bool(context, false));
    if (shrink < 1)
        ct_value_set(attention, "branch_scale", ct_value_real(context, plan->init_scale * shrink));
    ct_value_set(attention, "attention_dropout", ct_value_real(context, plan->attention_dropout));
    ct_value_set(attention, "dropout", ct_value_real(context, plan->dropout));
    ct_value_set(attention, "init_scale", ct_value_real(context, plan->init_scale));
    ct_value_set(mlp, "activation", ct_value_string(context, ct_perceptron_names[plan->activation]));
    ct_value_set(mlp, "dropout", ct_value_real(context, plan->dropout));
    ct_value_set(mlp, "init_scale", ct_value_real(context, plan->init_scale * shrink));
    char out[2][64]; /* of peri's norms behind the sublayers */
    snprintf(out[0], sizeof(out[0]), "%s_out", plan->attention_norm);
    snprintf(out[1], sizeof(out[1]), "%s_out", plan->mlp_norm);
    ct_block_add_sublayer(block, plan->norm, plan->width, plan->attention_norm, out[0], "attention",
                          "bert.attention", attention);
    ct_block_add_sublayer(block, plan->norm, plan->width, plan->mlp_norm, out[1], "mlp", "bert.mlp", mlp);
}

ct_status ct_encoder_add_layers(ct_module *root, const ct_encoder_plan *plan) {
    ct_context *context = root->context;
    ct_module *encoder = ct_module_child_of_kind(root, "encoder", "sequential", NULL);
    ct_module *list = encoder ? ct_module_child_of_kind(encoder, "layer", "bert.blocks", NULL) : NULL;
    for (int64_t i = 0; list && i < plan->layers && !ct_failed(context); i++)
        add_layer(list, i, plan);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- heads */

/* tanh(dense(the first token's hidden state)); its child is dense. [batch, time, width] -> [batch, width] */
static ct_tensor *pooler_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (module->child_count < 1 || ct_failed(module->context)) return inputs[0];
    return ct_tanh(ct_forward1(run, module->children[0], ct_select(inputs[0], 1, 0)));
}
static const ct_module_kind pooler_kind = {
    .name = "bert.pooler", .summary = "tanh of a linear map of the first token", .forward = pooler_forward};

void ct_encoder_add_pooler(ct_module *root, int64_t in, int64_t out, double init_scale) {
    ct_module *pooler = ct_module_child_of_kind(root, "pooler", "bert.pooler", NULL);
    if (pooler)
        ct_module_child_of_kind(pooler, "dense", "linear",
                                ct_linear_options(root->context, in, out, init_scale));
}

ct_status ct_encoder_labels(ct_context *context, int64_t labels, const ct_value *id2label, int64_t *count) {
    int64_t named = (int64_t)ct_value_count(id2label);
    *count = labels ? labels : named ? named : 2;
    if (!labels || !named || labels == named) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT, "config: num_labels is %lld, id2label names %lld classes",
                   (long long)labels, (long long)named);
}

/* -------------------------------------------------------------------------------------------- names */

static const char *class_of(const ct_value *config, const char *otherwise) {
    return ct_value_as_string(ct_value_at(ct_value_get(config, "architectures"), 0), otherwise);
}

ct_status ct_encoder_class(ct_context *context, const ct_value *config, const char *const *names,
                           int *index) {
    const char *asked = class_of(config, names[0]);
    char known[400] = "";
    int count = 0;
    while (names[count])
        count++;
    for (*index = 0; *index < count; ++*index) {
        if (strcmp(asked, names[*index]) == 0) return CT_OK;
        const char *between = *index == 0 ? "" : *index + 1 == count ? " or " : ", ";
        size_t used = strlen(known);
        snprintf(known + used, sizeof(known) - used, "%s%s", between, names[*index]);
    }
    const char *near = ct_nearest_name(asked, names, (size_t)count);
    return ct_fail(context, CT_ERROR_UNSUPPORTED, "config: architectures.0 is \"%s\", expected %s%s%s%s",
                   asked, known, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

char *ct_encoder_file_name(ct_context *context, const char *prefix, const char *path,
                           const char *const (*renames)[2], size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *at = strstr(path, renames[i][0]);
        if (at)
            return ct_format(context, "%s%.*s%s%s", prefix, (int)(at - path), path, renames[i][1],
                             at + strlen(renames[i][0]));
    }
    return ct_format(context, "%s%s", prefix, path);
}

ct_status ct_encoder_adapt(ct_context *context, ct_value *config, const ct_archive *file,
                           const char *class_name, const char *prefix) {
    char full[80];
    if (strcmp(class_of(config, class_name), class_name) != 0 || ct_value_get(config, "add_pooling_layer"))
        return CT_OK;
    snprintf(full, sizeof(full), "%spooler.dense.weight", prefix);
    if (ct_archive_find(file, full) || ct_archive_find(file, "pooler.dense.weight")) return CT_OK;
    return ct_value_set(config, "add_pooling_layer", ct_value_bool(context, false));
}

ct_status ct_encoder_register(ct_context *context) {
    const ct_module_kind *const kinds[] = {&attention_kind, &block_kind, &list_kind, &pooler_kind, NULL};
    ct_status status = ct_module_kinds_register(context, kinds);
    return status == CT_OK ? ct_perceptron_register(context) : status;
}
