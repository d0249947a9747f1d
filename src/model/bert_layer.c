/* bert_layer.c - the blocks of BERT-style encoders (Devlin et al., arXiv:1810.04805): attention over the
 * whole sequence, a perceptron, a norm behind each residual sum. */
#include "model/bert.h"
#include "nn/block.h"
#include "nn/layers.h"
#include "nn/run.h"
#include <math.h>
#include <string.h>

const char *const ct_bert_activation_names[] = {
    "gelu",  "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_accurate", "relu", "silu",
    "swish", NULL};
static const ct_activation activations[] = {CT_ACT_GELU,      CT_ACT_GELU_TANH, CT_ACT_GELU_TANH,
                                            CT_ACT_GELU_TANH, CT_ACT_GELU,      CT_ACT_GELU_TANH,
                                            CT_ACT_RELU,      CT_ACT_SILU,      CT_ACT_SILU};

ct_value *ct_bert_linear(ct_context *context, int64_t in, int64_t out, double scale) {
    ct_value *map = ct_option_ints(context, "in", in, "out", out, NULL);
    if (map) ct_value_set(map, "init_scale", ct_value_real(context, scale));
    return map;
}

ct_tensor *ct_bert_activate(ct_run *run, ct_module *linear, ct_tensor *x, int activation) {
    return ct_forward_activated(run, linear, x, activations[activation]);
}

/* Trees from files and surgery may lack what the code of a kind runs. */
static bool has_children(const ct_module *module, int count) {
    if (module->child_count >= count) return true;
    ct_fail(module->context, CT_ERROR_STATE, "%s \"%s\": it has %d children, expected %d", module->kind->name,
            ct_module_path(module), module->child_count, count);
    return false;
}

/* ----------------------------------------------------------------------------------------- attention */

typedef struct attention_options {
    int64_t width, heads;
    double attention_dropout, dropout, init_scale;
} attention_options;

static const ct_option attention_table[] = {
    CT_OPTION_INT("width", attention_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("heads", attention_options, heads, 12, 1, 1e4, "heads"),
    CT_OPTION_REAL("attention_dropout", attention_options, attention_dropout, 0, 0, 0.999,
                   "dropout on probabilities"),
    CT_OPTION_REAL("dropout", attention_options, dropout, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_REAL("init_scale", attention_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_END};

enum { QUERY, KEY, VALUE, DENSE };

static ct_status attention_build(ct_module *module) {
    static const char *const names[] = {"query", "key", "value", "dense"};
    const attention_options *o = ct_module_options(module);
    if (o->width % o->heads)
        return ct_fail(module->context, CT_ERROR_ARGUMENT,
                       "bert: hidden_size %lld is not a multiple of num_attention_heads %lld",
                       (long long)o->width, (long long)o->heads);
    for (int i = QUERY; i <= DENSE; i++)
        ct_module_child_of_kind(module, names[i], "linear",
                                ct_bert_linear(module->context, o->width, o->width, o->init_scale));
    return ct_context_status(module->context);
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
    return ct_transpose(ct_reshape(x, CT_DIMS(ct_dim(x, 0), ct_dim(x, 1), o->heads, o->width / o->heads)), 1,
                        2);
}

static ct_tensor *attention_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_tensor *x = inputs[0], *part[3];
    if (!has_children(module, DENSE + 1) || ct_failed(module->context)) return x;
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
    mixed = ct_reshape(ct_transpose(mixed, 1, 2), CT_DIMS(batch, time, o->width));
    mixed = ct_run_point(run, module, "mixed", mixed);
    return ct_run_dropout(run, ct_forward1(run, module->children[DENSE], mixed), o->dropout);
}

static const ct_module_kind attention_kind = {.name = "bert.attention",
                                              .summary = "self-attention over the whole sequence",
                                              .options = attention_table,
                                              .options_size = sizeof(attention_options),
                                              .build = attention_build,
                                              .forward = attention_forward};

/* -------------------------------------------------------------------------------------- perceptron */

typedef struct perceptron_options {
    int64_t width, inner;
    int activation;
    double dropout, init_scale;
} perceptron_options;

static const ct_option perceptron_table[] = {
    CT_OPTION_INT("width", perceptron_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("inner", perceptron_options, inner, 3072, 1, 1e7, "channels inside"),
    CT_OPTION_CHOICE("activation", perceptron_options, activation, "gelu", ct_bert_activation_names,
                     "inside"),
    CT_OPTION_REAL("dropout", perceptron_options, dropout, 0, 0, 0.999, "dropout on the result"),
    CT_OPTION_REAL("init_scale", perceptron_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_END};

static ct_status perceptron_build(ct_module *module) {
    const perceptron_options *o = ct_module_options(module);
    ct_context *context = module->context;
    ct_module_child_of_kind(module, "intermediate", "linear",
                            ct_bert_linear(context, o->width, o->inner, o->init_scale));
    ct_module_child_of_kind(module, "output", "linear",
                            ct_bert_linear(context, o->inner, o->width, o->init_scale));
    return ct_context_status(context);
}

static ct_tensor *perceptron_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (!has_children(module, 2)) return inputs[0];
    const perceptron_options *o = ct_module_options(module);
    ct_tensor *inner = ct_bert_activate(run, module->children[0], inputs[0], o->activation);
    inner = ct_run_point(run, module, "act", inner);
    return ct_run_dropout(run, ct_forward1(run, module->children[1], inner), o->dropout);
}

static const ct_module_kind perceptron_kind = {.name = "bert.mlp",
                                               .summary = "two linear layers with an activation between",
                                               .options = perceptron_table,
                                               .options_size = sizeof(perceptron_options),
                                               .build = perceptron_build,
                                               .forward = perceptron_forward};

/* ------------------------------------------------------------------------------------------- blocks */

static const ct_module_kind block_kind = {.name = "bert.block",
                                          .summary = "attention and a perceptron on a residual stream",
                                          .options = ct_block_table,
                                          .options_size = sizeof(ct_block_options),
                                          .forward = ct_block_forward};
static const ct_module_kind list_kind = {
    .name = "bert.blocks", .summary = "the blocks, one after the other", .forward = ct_block_list_forward};

static void add_layer(ct_module *list, int64_t layer, const ct_bert_options *o, const ct_norm_choice *norm) {
    ct_context *context = list->context;
    ct_module *block = ct_block_add(list, "bert.block", layer, o->num_hidden_layers, norm);
    ct_value *attention =
        ct_option_ints(context, "width", o->hidden_size, "heads", o->num_attention_heads, NULL);
    ct_value *mlp = ct_option_ints(context, "width", o->hidden_size, "inner", o->intermediate_size, NULL);
    if (!block || !attention || !mlp) {
        ct_value_free(attention);
        ct_value_free(mlp);
        return;
    }
    ct_value_set(attention, "attention_dropout", ct_value_real(context, o->attention_probs_dropout_prob));
    ct_value_set(attention, "dropout", ct_value_real(context, o->hidden_dropout_prob));
    ct_value_set(attention, "init_scale", ct_value_real(context, o->initializer_range));
    ct_value_set(mlp, "activation", ct_value_string(context, ct_bert_activation_names[o->hidden_act]));
    ct_value_set(mlp, "dropout", ct_value_real(context, o->hidden_dropout_prob));
    ct_value_set(mlp, "init_scale", ct_value_real(context, o->initializer_range));
    ct_block_add_sublayer(block, norm, o->hidden_size, "attention_norm", NULL, "attention", "bert.attention",
                          attention);
    ct_block_add_sublayer(block, norm, o->hidden_size, "mlp_norm", NULL, "mlp", "bert.mlp", mlp);
}

ct_status ct_bert_add_layers(ct_module *root, const ct_bert_options *o) {
    ct_context *context = root->context;
    ct_module *encoder = ct_module_child_of_kind(root, "encoder", "sequential", NULL);
    ct_module *list = encoder ? ct_module_child_of_kind(encoder, "layer", "bert.blocks", NULL) : NULL;
    ct_value *asked = ct_value_map(context);
    if (asked) {
        ct_value_set(asked, "name", ct_value_string(context, "layernorm"));
        ct_value_set(asked, "place", ct_value_string(context, "post"));
    }
    if (!list || ct_failed(context)) {
        ct_value_free(asked);
        return ct_context_status(context);
    }
    ct_norm_choice norm;
    ct_norm_choice_read(context, asked, o->layer_norm_eps, &norm);
    for (int64_t i = 0; i < o->num_hidden_layers && !ct_failed(context); i++)
        add_layer(list, i, o, &norm);
    ct_norm_choice_free(&norm);
    ct_value_free(asked);
    return ct_context_status(context);
}

ct_status ct_bert_layer_register(ct_context *context) {
    const ct_module_kind *const kinds[] = {&attention_kind, &perceptron_kind, &block_kind, &list_kind};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (ct_module_kind_register(context, kinds[i]) != CT_OK) return ct_context_status(context);
    return CT_OK;
}
