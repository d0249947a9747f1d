/* layer.c - a layer from outside the engine: a gated linear unit (Dauphin et al., arXiv:1612.08083),
 * y = (x A' + a) * sigmoid(x B' + b), with [A; B] in one weight. */
#include <carat.h>
#include <math.h>

typedef struct glu_options {
    int64_t in, out;
} glu_options;

static const ct_option glu_table[] = {CT_OPTION_INT("in", glu_options, in, 1, 1, 1e9, "input channels"),
                                      CT_OPTION_INT("out", glu_options, out, 1, 1, 1e9, "output channels"),
                                      CT_OPTION_END};

/* Declares the parameters. No tensor is made here: the model does that, on whatever device it is built. */
static ct_status glu_build(ct_module *module) {
    const glu_options *o = ct_module_options(module);
    const int64_t shape[2] = {2 * o->out, o->in};
    double bound = 1 / sqrt((double)o->in);
    ct_module_slot(module, "weight", 2, shape, (ct_slot_options){.fill = CT_FILL_UNIFORM, .scale = bound});
    ct_module_slot(module, "bias", 1, shape, (ct_slot_options){.fill = CT_FILL_ZEROS, .no_decay = true});
    return ct_context_status(ct_module_context(module));
}

/* x [batch, in] -> [batch, out]. Weights are asked of the run, never of the module: overlays may change them.
 */
static ct_tensor *glu_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const glu_options *o = ct_module_options(module);
    ct_tensor *weight = ct_run_weight(run, ct_module_slot_at(module, 0));
    ct_tensor *bias = ct_run_weight(run, ct_module_slot_at(module, 1));
    ct_tensor *both = ct_linear(inputs[0], weight, bias, false, CT_ACT_NONE), *half[2];
    if (ct_split(both, -1, 2, (const int64_t[]){o->out, o->out}, half) != CT_OK) return both;
    ct_tensor *gate =
        ct_run_point(run, module, "gate", ct_sigmoid(half[1])); /* taps can see and replace it */
    return ct_mul(half[0], gate);
}

static const ct_module_kind glu_kind = {.name = "glu",
                                        .summary = "gated linear unit",
                                        .options = glu_table,
                                        .options_size = sizeof(glu_options),
                                        .build = glu_build,
                                        .forward = glu_forward};

/* An mlp [4 -> 16 -> 3] whose hidden linear layer and activation have become one glu. */
static ct_model *mlp_with_glu(ct_context *context) {
    const char text[] = "{\"model_type\": \"mlp\", \"sizes\": [4, 16, 3]}";
    ct_value *config = ct_json_parse(context, text, sizeof(text) - 1, "config");
    ct_model *model = ct_model_create(context, config);
    ct_value_free(config);
    if (!model || ct_model_initialize(model, 1) != CT_OK) return model;
    if (ct_module_kind_register(context, &glu_kind) != CT_OK) return model;
    const char options[] = "{\"in\": 4, \"out\": 16}";
    ct_value *map = ct_json_parse(context, options, sizeof(options) - 1, "options");
    ct_module *root = ct_model_root(model); /* children 0 linear, 1 activation, 2 linear */
    ct_module_replace(ct_module_child(root, 0), ct_module_create(context, &glu_kind, "0", map));
    ct_module_remove(ct_module_child(root, 1));
    ct_value_free(map);
    ct_model_sync(model, 1); /* makes and fills the new parameters, notes the tree in the configuration */
    return model;
}
