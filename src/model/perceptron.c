/* perceptron.c - the perceptron of a transformer block: two linear layers with an activation between. One
 * code for the names and layouts of GPT-2 (conv1d, weights [in, out]) and of the encoders (linear). */
#include "model/parts.h"
#include "nn/layers.h"
#include "nn/run.h"

const char *const ct_perceptron_names[] = {
    "gelu",  "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_accurate", "relu", "silu",
    "swish", NULL};
static const ct_activation activations[] = {CT_ACT_GELU,      CT_ACT_GELU_TANH, CT_ACT_GELU_TANH,
                                            CT_ACT_GELU_TANH, CT_ACT_GELU,      CT_ACT_GELU_TANH,
                                            CT_ACT_RELU,      CT_ACT_SILU,      CT_ACT_SILU};

ct_value *ct_linear_options(ct_context *context, int64_t in, int64_t out, double scale) {
    ct_value *map = ct_option_ints(context, "in", in, "out", out, NULL);
    if (map) ct_value_set(map, "init_scale", ct_value_real(context, scale));
    return map;
}

ct_tensor *ct_perceptron_activate(ct_run *run, ct_module *linear, ct_tensor *x, int activation) {
    return ct_forward_activated(run, linear, x, activations[activation]);
}

typedef struct perceptron_options {
    int64_t width, inner;
    int activation;
    double dropout, init_scale, output_scale;
} perceptron_options;

/* The aliases are what trees of GPT-2 that were changed and saved have. */
#define REAL_ALIAS(field_, default_, maximum_, help_, alias_)                                                \
    {                                                                                                        \
        .type = CT_TYPE_REAL, .name = #field_, .offset = offsetof(perceptron_options, field_),               \
        .real_default = (default_), .maximum = (maximum_), .help = (help_), .alias = (alias_)                \
    }

#define PERCEPTRON_OPTIONS(activation_)                                                                      \
    CT_OPTION_INT("width", perceptron_options, width, 768, 1, 1e6, "channels of the residual stream"),       \
        CT_OPTION_INT("inner", perceptron_options, inner, 3072, 1, 1e7, "channels inside"),                  \
        CT_OPTION_CHOICE("activation", perceptron_options, activation, activation_, ct_perceptron_names,     \
                         "inside"),                                                                          \
        REAL_ALIAS(dropout, 0, 0.999, "dropout on the result", "resid_pdrop"),                               \
        CT_OPTION_REAL("init_scale", perceptron_options, init_scale, 0.02, 0, 10,                            \
                       "deviation of initial weights"),                                                      \
        REAL_ALIAS(output_scale, 0, 10, "deviation of the second layer's; 0: init_scale", "proj_scale"),     \
        CT_OPTION_END
static const ct_option gpt2_table[] = {PERCEPTRON_OPTIONS("gelu_new")};
static const ct_option encoder_table[] = {PERCEPTRON_OPTIONS("gelu")};

static ct_status add_layers(ct_module *module, const char *kind, const char *first, const char *second) {
    const perceptron_options *o = ct_module_options(module);
    ct_context *context = module->context;
    double output = o->output_scale > 0 ? o->output_scale : o->init_scale;
    ct_module_child_of_kind(module, first, kind,
                            ct_linear_options(context, o->width, o->inner, o->init_scale));
    ct_module_child_of_kind(module, second, kind, ct_linear_options(context, o->inner, o->width, output));
    return ct_context_status(context);
}

static ct_status conv1d_build(ct_module *module) {
    return add_layers(module, "conv1d", "c_fc", "c_proj");
}
static ct_status linear_build(ct_module *module) {
    return add_layers(module, "linear", "intermediate", "output");
}

static ct_tensor *perceptron_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    if (!ct_module_expect_children(module, 2)) return inputs[0];
    const perceptron_options *o = ct_module_options(module);
    ct_tensor *inner = ct_perceptron_activate(run, module->children[0], inputs[0], o->activation);
    inner = ct_run_point(run, module, "act", inner);
    return ct_run_dropout(run, ct_forward1(run, module->children[1], inner), o->dropout);
}

#define PERCEPTRON(name_, table_, build_)                                                                    \
    {                                                                                                        \
        .name = (name_), .summary = "two linear layers with an activation between", .options = table_,       \
        .options_size = sizeof(perceptron_options), .build = (build_), .forward = perceptron_forward         \
    }
static const ct_module_kind gpt2_kind = PERCEPTRON("gpt2.mlp", gpt2_table, conv1d_build);
static const ct_module_kind encoder_kind = PERCEPTRON("bert.mlp", encoder_table, linear_build);

ct_status ct_perceptron_register(ct_context *context) {
    ct_status status = ct_module_kind_register(context, &gpt2_kind);
    return status == CT_OK ? ct_module_kind_register(context, &encoder_kind) : status;
}
