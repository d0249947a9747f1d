/* layers.c - the basic module kinds: linear, conv1d, embedding, activation, dropout, sequential. */
#include "nn/layers.h"
#include <math.h>
#include <string.h>

const char *const ct_activation_names[] = {"none", "relu", "gelu", "gelu_tanh", "silu", NULL};

ct_value *ct_option_ints(ct_context *context, ...) {
    ct_value *map = ct_value_map(context);
    va_list arguments;
    va_start(arguments, context);
    for (const char *name; map && (name = va_arg(arguments, const char *));)
        ct_value_set(map, name, ct_value_int(context, va_arg(arguments, int64_t)));
    va_end(arguments);
    return map;
}

void ct_module_add_linear(ct_module *module, const char *name, int64_t in, int64_t out, bool bias,
                          double init_scale) {
    ct_context *context = module->context;
    ct_value *map = ct_option_ints(context, "in", in, "out", out, NULL);
    if (map) ct_value_set(map, "bias", ct_value_bool(context, bias));
    if (map) ct_value_set(map, "init_scale", ct_value_real(context, init_scale));
    ct_module_child_of_kind(module, name, "linear", map);
}

ct_tensor *ct_activate(ct_tensor *x, ct_activation activation) {
    switch (activation) {
    case CT_ACT_RELU:
        return ct_relu(x);
    case CT_ACT_GELU:
        return ct_gelu(x);
    case CT_ACT_GELU_TANH:
        return ct_gelu_tanh(x);
    case CT_ACT_SILU:
        return ct_silu(x);
    case CT_ACT_NONE:
        break;
    }
    return x;
}

/* -------------------------------------------------------------------------------------------- linear */

typedef struct linear_options {
    int64_t in, out;
    bool bias;
    double init_scale; /* deviation of the initial weight; 0: uniform in +-1/sqrt(in), as torch.nn.Linear */
    int64_t tail;
    double tail_scale;
    const char *tied_to;
} linear_options;

static const ct_option linear_table[] = {
    CT_OPTION_INT("in", linear_options, in, 1, 1, 1e9, "input channels"),
    CT_OPTION_INT("out", linear_options, out, 1, 1, 1e9, "output channels"),
    CT_OPTION_BOOL("bias", linear_options, bias, true, "add a bias"),
    CT_OPTION_REAL("init_scale", linear_options, init_scale, 0, 0, 1e3,
                   "deviation of normal initial weights; 0: uniform in +-1/sqrt(in)"),
    CT_OPTION_INT(
        "tail", linear_options, tail, 0, 0, 1e9,
        "the last so many output channels start with other weights (the values of a fused q, k, v)"),
    CT_OPTION_REAL("tail_scale", linear_options, tail_scale, 1, 0, 1e3, "what those are multiplied by"),
    CT_OPTION_STRING("tied_to", linear_options, tied_to, NULL, "path of the weight that this one shares"),
    CT_OPTION_END};

static ct_status build_weights(ct_module *module, bool transposed) {
    const linear_options *o = ct_module_options(module);
    ct_slot_options weight = {.fan_in = o->in,
                              .fan_out = o->out,
                              .tied_to = o->tied_to,
                              .tail = o->tail < o->out ? o->tail : o->out,
                              .tail_scale = o->tail_scale,
                              .tail_axis = transposed ? 1 : 0};
    double bound = 1 / sqrt((double)o->in);
    weight.fill = o->init_scale > 0 ? CT_FILL_NORMAL : CT_FILL_UNIFORM;
    weight.scale = o->init_scale > 0 ? o->init_scale : bound;
    const int64_t shape[2] = {transposed ? o->in : o->out, transposed ? o->out : o->in};
    ct_module_slot(module, "weight", 2, shape, weight);
    ct_slot_options bias = {.no_decay = true, .fan_in = o->in, .fan_out = o->out};
    bias.fill = o->init_scale > 0 ? CT_FILL_ZEROS : CT_FILL_UNIFORM;
    bias.scale = bound;
    if (o->bias) ct_module_slot(module, "bias", 1, &o->out, bias);
    return ct_context_status(module->context);
}

static ct_status linear_build(ct_module *module) {
    return build_weights(module, false);
}
static ct_status conv1d_build(ct_module *module) {
    return build_weights(module, true);
}

static ct_tensor *linear_run(ct_run *run, ct_module *module, ct_tensor *x, ct_activation activation) {
    x = ct_run_point(run, module, "in", x);
    ct_tensor *weight = ct_run_weight(run, &module->slots[0]);
    ct_tensor *bias = module->slot_count > 1 ? ct_run_weight(run, &module->slots[1]) : NULL;
    bool transposed = module->kind->build == conv1d_build;
    if (ct_run_options_of(run)->constant_weights) ct_linear_pack(weight, transposed);
    if (!ct_run_tapped(run, module, "preactivation"))
        return ct_linear(x, weight, bias, transposed, activation);
    x = ct_run_point(run, module, "preactivation", ct_linear(x, weight, bias, transposed, CT_ACT_NONE));
    return ct_activate(x, activation);
}

static ct_tensor *linear_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    return linear_run(run, module, inputs[0], CT_ACT_NONE);
}

static const ct_module_kind linear_kind = {.name = "linear",
                                           .summary = "x weight^T + bias, weight [out, in]",
                                           .options = linear_table,
                                           .options_size = sizeof(linear_options),
                                           .build = linear_build,
                                           .forward = linear_forward};
static const ct_module_kind conv1d_kind = {.name = "conv1d",
                                           .summary =
                                               "x weight + bias, weight [in, out], as GPT-2's files store it",
                                           .options = linear_table,
                                           .options_size = sizeof(linear_options),
                                           .build = conv1d_build,
                                           .forward = linear_forward};

ct_tensor *ct_forward_activated(ct_run *run, ct_module *child, ct_tensor *x, ct_activation activation) {
    if (child->kind != &linear_kind && child->kind != &conv1d_kind)
        return ct_activate(ct_forward1(run, child, x), activation);
    ct_scope scope = ct_scope_open(child->context);
    return ct_scope_return(child->context, scope, linear_run(run, child, x, activation));
}

/* ----------------------------------------------------------------------------------------- embedding */

typedef struct embedding_options {
    int64_t rows, width;
    double init_scale;
} embedding_options;

static const ct_option embedding_table[] = {
    CT_OPTION_INT("rows", embedding_options, rows, 1, 1, 1e9, "how many vectors"),
    CT_OPTION_INT("width", embedding_options, width, 1, 1, 1e9, "channels of each"),
    CT_OPTION_REAL("init_scale", embedding_options, init_scale, 1, 0, 1e3,
                   "deviation of the initial weights"),
    CT_OPTION_END};

static ct_status embedding_build(ct_module *module) {
    const embedding_options *o = ct_module_options(module);
    ct_module_slot(module, "weight", 2, (const int64_t[]){o->rows, o->width},
                   (ct_slot_options){.fill = CT_FILL_NORMAL, .scale = o->init_scale});
    return ct_context_status(module->context);
}

static ct_tensor *embedding_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_tensor *x = ct_embedding(ct_run_weight(run, &module->slots[0]), inputs[0]);
    return ct_run_options_of(run)->compute == CT_BF16 ? ct_cast(x, CT_BF16) : x;
}

static const ct_module_kind embedding_kind = {.name = "embedding",
                                              .summary = "rows of a table by id",
                                              .options = embedding_table,
                                              .options_size = sizeof(embedding_options),
                                              .build = embedding_build,
                                              .forward = embedding_forward};

/* -------------------------------------------------------------------- activation, dropout, sequential */

/* Beyond ct_activation, which products can be fused with. */
enum { FUNCTION_TANH = CT_ACT_SILU + 1, FUNCTION_MAXOUT };
const char *const ct_function_names[] = {"none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "maxout", NULL};

typedef struct activation_options {
    int function;
} activation_options;

static const ct_option activation_table[] = {
    CT_OPTION_CHOICE("function", activation_options, function, "relu", ct_function_names,
                     "which; maxout: the greater of channels 2i and 2i + 1, half as many"),
    CT_OPTION_END};

/* Goodfellow et al., arXiv:1302.4389, with two pieces: [..., 2 width] -> [..., width]. */
static ct_tensor *maxout(ct_tensor *x) {
    int64_t shape[CT_MAX_DIMS];
    int ndim = ct_ndim(x), axis = ndim;
    if (ndim < 1 || ndim == CT_MAX_DIMS || ct_dim(x, ndim - 1) % 2) {
        ct_fail(ct_context_of(x), CT_ERROR_SHAPE, "maxout: expected an even number of channels");
        return x;
    }
    for (int i = 0; i < ndim; i++)
        shape[i] = ct_dim(x, i);
    shape[ndim - 1] /= 2;
    shape[ndim] = 2;
    return ct_max(ct_reshape(x, ndim + 1, shape), 1, &axis, false);
}

static ct_tensor *activation_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)run, (void)count;
    const activation_options *o = ct_module_options(module);
    if (o->function == FUNCTION_TANH) return ct_tanh(inputs[0]);
    if (o->function == FUNCTION_MAXOUT) return maxout(inputs[0]);
    return ct_activate(inputs[0], (ct_activation)o->function);
}

static const ct_module_kind activation_kind = {.name = "activation",
                                               .summary = "an elementwise function",
                                               .options = activation_table,
                                               .options_size = sizeof(activation_options),
                                               .forward = activation_forward};

typedef struct dropout_options {
    double probability;
} dropout_options;

static const ct_option dropout_table[] = {
    CT_OPTION_REAL("probability", dropout_options, probability, 0.1, 0, 0.999, "of an element to become 0"),
    CT_OPTION_END};

static ct_tensor *dropout_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    return ct_run_dropout(run, inputs[0], ((const dropout_options *)ct_module_options(module))->probability);
}

static const ct_module_kind dropout_kind = {.name = "dropout",
                                            .summary = "Srivastava et al., JMLR 2014; only in training",
                                            .options = dropout_table,
                                            .options_size = sizeof(dropout_options),
                                            .forward = dropout_forward};

ct_tensor *ct_give_to_scope(ct_context *context, ct_tensor *held) {
    ct_scope scope = ct_scope_open(context);
    ct_scope_return(context, scope, held);
    ct_drop(held);
    return held;
}

void ct_forward_into(ct_run *run, ct_module *child, ct_tensor **x) {
    ct_scope scope = ct_scope_open(child->context);
    ct_tensor *next = ct_hold(ct_forward1(run, child, *x));
    ct_scope_close(child->context, scope);
    ct_drop(*x);
    *x = next;
}

static ct_tensor *sequential_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    ct_tensor *x = ct_hold(inputs[0]);
    for (int i = 0; i < module->child_count; i++) {
        ct_forward_into(run, module->children[i], &x);
        ct_tensor *seen = ct_hold(ct_run_point(run, module->children[i], "output", x));
        ct_drop(x);
        x = seen;
    }
    return ct_give_to_scope(module->context, x);
}

static const ct_module_kind sequential_kind = {
    .name = "sequential", .summary = "its children, one after the other", .forward = sequential_forward};

const ct_module_kind *const ct_nn_kinds[] = {&linear_kind,
                                             &conv1d_kind,
                                             &embedding_kind,
                                             &ct_norm_kind,
                                             &ct_layer_norm_kind,
                                             &ct_rms_norm_kind,
                                             &ct_recurrent_kind,
                                             &dropout_kind,
                                             &activation_kind,
                                             &sequential_kind,
                                             &ct_attention_kind,
                                             &ct_gated_kind,
                                             NULL};

/* ------------------------------------------------------------------------------- attention in sight */

bool ct_attention_can_run(ct_run *run, ct_module *module, double dropout, bool *in_sight) {
    bool drops = ct_run_options_of(run)->training && dropout > 0;
    *in_sight = drops || ct_run_tapped(run, module, "probs");
    if (!ct_run_cache(run)) return true;
    if (*in_sight)
        ct_fail(module->context, CT_ERROR_UNSUPPORTED,
                "%s.probs: attention probabilities are %s only in a run without a key-value cache",
                ct_module_path(module), drops ? "dropped" : "tapped");
    else if (ct_run_segment_mask(run))
        ct_fail(module->context, CT_ERROR_UNSUPPORTED,
                "%s: several samples in a row and a key-value cache exclude each other",
                ct_module_path(module));
    else
        return true;
    return false;
}

ct_tensor *ct_attention_explicit(ct_run *run, ct_module *module, ct_tensor *q, ct_tensor *k, ct_tensor *v,
                                 const ct_attention_options *options, double dropout) {
    ct_context *context = ct_context_of(q);
    int64_t heads = ct_dim(q, 1), kv_heads = ct_dim(k, 1), queries = ct_dim(q, 2), keys = ct_dim(k, 2);
    double scale = options->scale > 0 ? options->scale : 1 / sqrt((double)ct_dim(q, 3));
    if (heads != kv_heads) { /* head h reads key head h / (heads / kv_heads) */
        int64_t group = heads / kv_heads, batch = ct_dim(k, 0), channels = ct_dim(k, 3), wide = ct_dim(v, 3);
        k = ct_reshape(ct_expand(ct_unsqueeze(k, 2), CT_DIMS(batch, kv_heads, group, keys, channels)),
                       CT_DIMS(batch, heads, keys, channels));
        v = ct_reshape(ct_expand(ct_unsqueeze(v, 2), CT_DIMS(batch, kv_heads, group, keys, wide)),
                       CT_DIMS(batch, heads, keys, wide));
    }
    ct_tensor *scores = ct_mul_scalar(ct_matmul(q, ct_transpose(k, 2, 3)), scale);
    if (options->softcap > 0)
        scores = ct_mul_scalar(ct_tanh(ct_mul_scalar(scores, 1 / options->softcap)), options->softcap);
    if (options->bias) scores = ct_add(scores, options->bias);
    if (options->causal || options->window > 0) {
        ct_tensor *row =
            ct_reshape(ct_arange(context, CT_I64, queries, (double)(keys - queries), 1), CT_DIMS(queries, 1));
        ct_tensor *column = ct_arange(context, CT_I64, keys, 0, 1), *distance = ct_sub(row, column);
        if (options->causal) scores = ct_masked_fill(scores, ct_greater(column, row), -INFINITY);
        if (options->window > 0) {
            ct_tensor *most = ct_full(context, CT_I64, 0, NULL, (double)options->window - 1);
            scores = ct_masked_fill(scores, ct_greater(ct_abs(distance), most), -INFINITY);
        }
    }
    if (options->mask) { /* with `causal` each query sees itself at least, so no row is without a key */
        ct_tensor *none = ct_full(context, CT_U8, 0, NULL, 0);
        scores = ct_masked_fill(scores, ct_equal(options->mask, none), -INFINITY);
    }
    ct_tensor *probabilities = ct_run_point(run, module, "probs", ct_softmax(scores, -1));
    return ct_matmul(ct_run_dropout(run, probabilities, dropout), v);
}
