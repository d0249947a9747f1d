/* gated.c - the module kind "gated_mlp": down(activation(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202).
 *
 * x [..., width] -> [..., width]. Points: act (behind the product). */
#include "nn/layers.h"

typedef struct gated_options {
    int64_t width, inner;
    int activation;
    bool bias;
    double init_scale, proj_scale;
} gated_options;

static const ct_option gated_table[] = {
    CT_OPTION_INT("width", gated_options, width, 768, 1, 1e6, "channels of the residual stream"),
    CT_OPTION_INT("inner", gated_options, inner, 2048, 1, 1e7, "channels inside"),
    CT_OPTION_CHOICE("activation", gated_options, activation, "silu", ct_activation_names, "of the gate"),
    CT_OPTION_BOOL("bias", gated_options, bias, false, "of all three layers"),
    CT_OPTION_REAL("init_scale", gated_options, init_scale, 0.02, 0, 10, "deviation of initial weights"),
    CT_OPTION_REAL("proj_scale", gated_options, proj_scale, 0, 0, 10, "that of down_proj; 0: init_scale"),
    CT_OPTION_END};

static ct_status gated_build(ct_module *module) {
    const gated_options *o = ct_module_options(module);
    double back = o->proj_scale > 0 ? o->proj_scale : o->init_scale;
    ct_module_add_linear(module, "gate_proj", o->width, o->inner, o->bias, o->init_scale);
    ct_module_add_linear(module, "up_proj", o->width, o->inner, o->bias, o->init_scale);
    ct_module_add_linear(module, "down_proj", o->inner, o->width, o->bias, back);
    return ct_context_status(module->context);
}

static ct_tensor *gated_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    const gated_options *o = ct_module_options(module);
    if (!ct_module_expect_children(module, 3)) return inputs[0];
    ct_tensor *gate = ct_forward_activated(run, module->children[0], inputs[0], (ct_activation)o->activation);
    ct_tensor *inner = ct_mul(gate, ct_forward1(run, module->children[1], inputs[0]));
    return ct_forward1(run, module->children[2], ct_run_point(run, module, "act", inner));
}

const ct_module_kind ct_gated_kind = {.name = "gated_mlp",
                                      .summary =
                                          "two linear layers, one of them gating the other, and one back",
                                      .options = gated_table,
                                      .options_size = sizeof(gated_options),
                                      .build = gated_build,
                                      .forward = gated_forward};
