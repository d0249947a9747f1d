/* mlp.c - the multilayer perceptron: linear layers of the given sizes with an activation between them, and a
 * norm before each activation where one is asked for. x [batch, sizes[0]] -> [batch, sizes[last]]. */
#include "model/model.h"
#include "nn/block.h"
#include "nn/layers.h"
#include <carat/norm.h>
#include <string.h>

typedef struct mlp_options {
    const ct_value *sizes;
    int activation;
    double dropout;
    bool bias;
    int insert_norm;
    const ct_value *norm;
} mlp_options;

/* The short names of Lyle et al., arXiv:2407.01800, section 4. */
static const char *const inserted[] = {"none", "ln", "rms", NULL};
static const char *const inserted_methods[] = {NULL, "layernorm", "rmsnorm"};

static const ct_option mlp_table[] = {
    CT_OPTION_VALUE("sizes", mlp_options, sizes, "list of channels, from the input to the output"),
    CT_OPTION_CHOICE("activation", mlp_options, activation, "relu", ct_function_names,
                     "between the layers; with maxout they have twice as many channels before it"),
    CT_OPTION_REAL("dropout", mlp_options, dropout, 0, 0, 0.999, "after each activation"),
    CT_OPTION_BOOL("bias", mlp_options, bias, true, "in the linear layers"),
    CT_OPTION_CHOICE("insert_norm", mlp_options, insert_norm, "none", inserted,
                     "linear, norm, activation: ln or rms in every hidden layer, whose bias is left out"),
    CT_OPTION_VALUE("norm", mlp_options, norm,
                    "the same with any norm: its name, or {name, and its options}"),
    CT_OPTION_END};

/* The norm of hidden layers; choice->asked is false if there is none. */
static ct_status read_norm(ct_context *context, const mlp_options *o, const ct_value *config,
                           ct_norm_choice *choice) {
    double epsilon = ct_norm_epsilon(config, 1e-5);
    if (ct_norm_choice_read(context, o->norm, epsilon, choice) != CT_OK) return ct_context_status(context);
    if (choice->place != CT_PLACE_PRE)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "mlp: norm.place: an mlp has no residual stream, its norms stand before "
                       "the activations");
    if (!o->insert_norm) return CT_OK;
    if (o->norm)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "mlp: both insert_norm and norm are given, expected one of them");
    choice->name = inserted_methods[o->insert_norm];
    choice->asked = true;
    return CT_OK;
}

static ct_module *add(ct_module *root, const char *kind, ct_value *options) {
    char name[16];
    snprintf(name, sizeof(name), "%d", ct_module_child_count(root));
    return ct_module_child_of_kind(root, name, kind, options);
}

static ct_module *mlp_build(ct_context *context, const void *options, const ct_value *config) {
    const mlp_options *o = options;
    ct_norm_choice norm;
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
    read_norm(context, o, config, &norm);
    ct_module *root = ct_module_create(context, ct_module_kind_find(context, "sequential"), "", NULL);
    for (size_t i = 0; root && i + 1 < count; i++) {
        int64_t out = ct_value_as_int(ct_value_at(o->sizes, i + 1), 0);
        bool last = i + 2 == count;
        if (!last && strcmp(ct_function_names[o->activation], "maxout") == 0) out *= 2;
        ct_value *linear =
            ct_option_ints(context, "in", ct_value_as_int(ct_value_at(o->sizes, i), 0), "out", out, NULL);
        if (linear) ct_value_set(linear, "bias", ct_value_bool(context, o->bias && (last || !norm.asked)));
        add(root, "linear", linear);
        if (last) break;
        if (norm.asked) {
            char name[16];
            snprintf(name, sizeof(name), "%d", ct_module_child_count(root));
            ct_norm_choice_add(root, name, out, &norm);
        }
        ct_value *function = ct_value_map(context);
        if (function)
            ct_value_set(function, "function", ct_value_string(context, ct_function_names[o->activation]));
        add(root, "activation", function);
        if (o->dropout <= 0) continue;
        ct_value *dropout = ct_value_map(context);
        if (dropout) ct_value_set(dropout, "probability", ct_value_real(context, o->dropout));
        add(root, "dropout", dropout);
    }
    ct_norm_choice_free(&norm);
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
