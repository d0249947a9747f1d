/* mlp.c - the multilayer perceptron: linear layers of the given sizes with an activation between them.
 * x [batch, sizes[0]] -> [batch, sizes[last]]. */
#include "model/model.h"
#include "nn/layers.h"

typedef struct mlp_options {
    const ct_value *sizes;
    int activation;
    double dropout;
    bool bias;
} mlp_options;

static const ct_option mlp_table[] = {
    CT_OPTION_VALUE("sizes", mlp_options, sizes, "list of channels, from the input to the output"),
    CT_OPTION_CHOICE("activation", mlp_options, activation, "relu", ct_activation_names,
                     "between the layers"),
    CT_OPTION_REAL("dropout", mlp_options, dropout, 0, 0, 0.999, "after each activation"),
    CT_OPTION_BOOL("bias", mlp_options, bias, true, "in the linear layers"), CT_OPTION_END};

static ct_module *add(ct_module *root, const char *kind, ct_value *options) {
    char name[16];
    snprintf(name, sizeof(name), "%d", ct_module_child_count(root));
    return ct_module_child_of_kind(root, name, kind, options);
}

static ct_module *mlp_build(ct_context *context, const void *options, const ct_value *config) {
    (void)config;
    const mlp_options *o = options;
    size_t count = ct_value_count(o->sizes);
    if (count < 2) {
        ct_fail(context, CT_ERROR_ARGUMENT, "mlp: \"sizes\" has %zu entries, expected at least 2", count);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        const ct_value *size = ct_value_at(o->sizes, i);
        int64_t channels = ct_value_kind_of(size) == CT_VALUE_INT ? ct_value_as_int(size, 0) : 0;
        if (channels >= 1 && channels <= 1000000000) continue;
        ct_fail(context, CT_ERROR_ARGUMENT, "mlp: sizes.%zu is not an integer from 1 to 1000000000", i);
        return NULL;
    }
    ct_module *root = ct_module_create(context, ct_module_kind_find(context, "sequential"), "", NULL);
    for (size_t i = 0; root && i + 1 < count; i++) {
        ct_value *linear = ct_option_ints(context, "in", ct_value_as_int(ct_value_at(o->sizes, i), 0), "out",
                                          ct_value_as_int(ct_value_at(o->sizes, i + 1), 0), NULL);
        if (linear) ct_value_set(linear, "bias", ct_value_bool(context, o->bias));
        add(root, "linear", linear);
        if (i + 2 == count) break;
        ct_value *function = ct_value_map(context);
        if (function)
            ct_value_set(function, "function", ct_value_string(context, ct_activation_names[o->activation]));
        add(root, "activation", function);
        if (o->dropout <= 0) continue;
        ct_value *dropout = ct_value_map(context);
        if (dropout) ct_value_set(dropout, "probability", ct_value_real(context, o->dropout));
        add(root, "dropout", dropout);
    }
    if (!ct_failed(context)) return root;
    ct_module_destroy(root);
    return NULL;
}

const ct_architecture ct_architecture_mlp = {.model_type = "mlp",
                                             .class_name = "CaratMLP",
                                             .summary = "multilayer perceptron",
                                             .options = mlp_table,
                                             .options_size = sizeof(mlp_options),
                                             .build = mlp_build};
