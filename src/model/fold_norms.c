/* fold_norms.c - norms with running statistics as part of the linear layers beside them. In evaluation such a
 * norm is y = scale x + shift with two vectors, so that what reads it is W y + b = (W diag(scale)) x + (b + W
 * shift), also where several layers read it (queries, keys and values). In an mlp the norm stands behind its
 * layer, before the activation, and y = (diag(scale) W) x + (scale b + shift). */
#include "model/model.h"
#include "nn/block.h"
#include <carat/norm.h>
#include <string.h>

typedef struct folding {
    ct_context *context;
    ct_model *source, *model; /* the copy */
    bool shifts;              /* some norm has a shift that is not 0 */
    bool found;               /* some norm can be folded */
} folding;

static ct_tensor *wide(ct_tensor *tensor) {
    return ct_cast(ct_detach(tensor), CT_F64);
}

/* The tensor of a module of the copy; NULL: it has none. */
static ct_tensor *tensor_of(ct_module *module, const char *slot) {
    ct_slot *found = module ? ct_module_slot_named(module, slot) : NULL;
    return found && found->parameter ? found->parameter->tensor : NULL;
}

static bool is_none(const ct_module *norm) {
    const ct_norm_method *method = ct_norm_method_of(norm);
    return method && strcmp(method->method.name, "none") == 0;
}

/* ---------------------------------------------------------------------------------------------- looking */

static ct_status look(folding *f, ct_module *norm) {
    ct_tensor *scale = NULL, *shift = NULL;
    double most = 0;
    if (is_none(norm)) return CT_OK;
    ct_scope scope = ct_scope_open(f->context);
    if (ct_norm_affine_of(norm, &scale, &shift) == CT_OK) {
        ct_item(ct_max(ct_abs(shift), 0, NULL, false), &most);
        f->shifts |= most != 0;
        f->found = true;
    }
    ct_scope_close(f->context, scope);
    return ct_context_status(f->context);
}

static ct_status look_part(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    folding *f = user;
    if (role == CT_STREAM_OUTPUT)
        return ct_fail(
            f->context, CT_ERROR_UNSUPPORTED,
            "the model gives what %s makes of the stream: there is no layer behind it to fold it into",
            ct_module_path(module));
    return role == CT_STREAM_READER ? look(f, norm) : CT_OK;
}

static bool is_mlp(const ct_model *model) {
    return ct_model_features(model) > 0 && strcmp(model->architecture->model_type, "mlp") == 0;
}

static bool is_linear(const ct_module *module) {
    return module && strcmp(ct_module_kind_of(module)->name, "linear") == 0;
}

/* Every norm of an mlp stands right behind a linear layer. */
static ct_status look_layers(folding *f) {
    ct_module *root = f->source->root, *before = NULL;
    for (int i = 0; i < ct_module_child_count(root) && !ct_failed(f->context); i++) {
        ct_module *child = ct_module_child(root, i);
        if (ct_is_norm(child) && !is_linear(before))
            return ct_fail(f->context, CT_ERROR_UNSUPPORTED, "%s does not stand behind a linear layer",
                           ct_module_path(child));
        if (ct_is_norm(child)) look(f, child);
        before = child;
    }
    return ct_context_status(f->context);
}

static ct_status check(folding *f, bool untie) {
    ct_model *source = f->source;
    if ((is_mlp(source) ? look_layers(f) : ct_stream_visit(source, look_part, f)) != CT_OK)
        return ct_context_status(f->context);
    if (!f->found)
        return ct_fail(f->context, CT_ERROR_UNSUPPORTED, "the model has no norm that could be folded");
    if (ct_model_is_tied(source) && !untie)
        return ct_fail(f->context, CT_ERROR_UNSUPPORTED,
                       "the head is tied to the token embeddings, which have to stay as they are, while the "
                       "head takes in "
                       "the norm before it: untie them (two matrices are stored)");
    return CT_OK;
}

/* ---------------------------------------------------------------------------------------- configuration */

static void set_where_known(const folding *f, ct_value *config, const char *key, bool value) {
    if (ct_options_find(f->source->architecture->options, key))
        ct_value_set(config, key, ct_value_bool(f->context, value));
}

static ct_value *new_config(const folding *f) {
    ct_context *context = f->context;
    ct_value *config = ct_value_copy(f->source->config), *norm = ct_value_map(context);
    if (!config || !norm) {
        ct_value_free(config);
        ct_value_free(norm);
        return NULL;
    }
    ct_value_remove(config, "carat"); /* the copy is the family's own tree */
    ct_value_remove(config, "insert_norm");
    if (is_mlp(f->source)) {
        ct_value_free(norm);
        ct_value_remove(config, "norm");
        if (f->shifts) set_where_known(f, config, "bias", true);
        return config;
    }
    ct_value_set(norm, "name", ct_value_string(context, "none"));
    ct_value_set(config, "norm", norm);
    set_where_known(f, config, "tie_word_embeddings", false);
    if (f->shifts) set_where_known(f, config, "lm_head_bias", true);
    if (f->shifts) set_where_known(f, config, "qkv_bias", true);
    return config;
}

/* --------------------------------------------------------------------------------------------- weights */

static ct_status no_bias(const folding *f, const ct_module *module, const ct_module *norm) {
    return ct_fail(f->context, CT_ERROR_UNSUPPORTED, "%s has no bias that could take in what %s adds",
                   ct_module_path(module), ct_module_path(norm));
}

/* `module` of the source, which reads `norm`, into its place in the copy. */
static ct_status fold_reader(folding *f, ct_module *module, ct_module *norm) {
    ct_module *to = ct_module_find(f->model->root, ct_module_path(module));
    ct_tensor *weight = wide(tensor_of(module, "weight")), *bias = tensor_of(module, "bias"), *scale, *shift;
    ct_tensor *target = tensor_of(to, "weight"), *target_bias = tensor_of(to, "bias");
    bool in_first = !is_linear(module);
    if (ct_norm_affine_of(norm, &scale, &shift) != CT_OK) return ct_context_status(f->context);
    scale = wide(scale);
    shift = wide(shift);
    ct_tensor *added = in_first ? ct_matmul(shift, weight) : ct_matmul(weight, shift);
    if (in_first) scale = ct_reshape(scale, CT_DIMS(ct_count(scale), 1));
    if (!target_bias && (bias || f->shifts)) {
        double most = 0;
        ct_item(ct_max(ct_abs(shift), 0, NULL, false), &most);
        if (bias || most != 0) return no_bias(f, module, norm);
    }
    ct_copy_into(target, ct_mul(weight, scale));
    if (target_bias) ct_copy_into(target_bias, bias ? ct_add(wide(bias), added) : added);
    return ct_context_status(f->context);
}

static ct_status fold_part(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    folding *f = user;
    ct_scope scope = ct_scope_open(f->context);
    if (role == CT_STREAM_READER && !is_none(norm)) fold_reader(f, module, norm);
    ct_scope_close(f->context, scope);
    return ct_context_status(f->context);
}

static ct_module *next_linear(ct_module *root, int *at) {
    while (*at < ct_module_child_count(root)) {
        ct_module *child = ct_module_child(root, (*at)++);
        if (is_linear(child)) return child;
    }
    return NULL;
}

/* Linear layers of an mlp in their order, each with the norm behind it, if there is one. */
static ct_status fold_layers(folding *f) {
    ct_module *root = f->source->root, *layer, *to;
    for (int at = 0, there = 0; (layer = next_linear(root, &at)) && !ct_failed(f->context);) {
        ct_module *norm = at < ct_module_child_count(root) ? ct_module_child(root, at) : NULL;
        to = next_linear(f->model->root, &there);
        ct_scope scope = ct_scope_open(f->context);
        ct_tensor *weight = wide(tensor_of(layer, "weight")), *own = tensor_of(layer, "bias"), *scale = NULL,
                  *shift;
        ct_tensor *bias = own ? wide(own) : NULL, *target_bias = tensor_of(to, "bias");
        if (norm && ct_is_norm(norm) && !is_none(norm) && ct_norm_affine_of(norm, &scale, &shift) == CT_OK) {
            scale = wide(scale);
            weight = ct_mul(weight, ct_reshape(scale, CT_DIMS(ct_count(scale), 1)));
            bias = bias ? ct_add(ct_mul(bias, scale), wide(shift)) : wide(shift);
        }
        ct_copy_into(tensor_of(to, "weight"), weight);
        if (target_bias && !bias) ct_fill(target_bias, 0);
        if (target_bias && bias) ct_copy_into(target_bias, bias);
        ct_scope_close(f->context, scope);
    }
    return ct_context_status(f->context);
}

/* What the copy has under the same name is the same; norms are gone. */
static void copy_rest(folding *f) {
    for (int64_t i = 0; i < f->source->count && !ct_failed(f->context); i++) {
        const ct_parameter *own = f->source->parameters[i];
        ct_parameter *there = ct_model_find(f->model, own->name);
        if (there && ct_same_shape(there->tensor, own->tensor)) ct_copy_into(there->tensor, own->tensor);
    }
}

static ct_status fill(folding *f) {
    ct_model *source = f->source;
    ct_model_initialize(f->model, 0); /* biases 0 */
    if (ct_dtype_of(source->parameters[0]->tensor) != CT_F32)
        ct_model_cast(f->model, ct_dtype_of(source->parameters[0]->tensor));
    if (source->folder) ct_model_keep(source, f->model);
    if (is_mlp(source)) return fold_layers(f);
    copy_rest(f);
    return ct_stream_visit(source, fold_part, f);
}

ct_model *ct_model_fold_norms(ct_model *source, bool untie) {
    folding f = {source->context, source, NULL, false, false};
    if (ct_failed(f.context)) return NULL;
    bool before = ct_grad_mode_set(f.context, false);
    if (check(&f, untie) == CT_OK) {
        ct_value *config = new_config(&f);
        if (config) f.model = ct_model_create(f.context, config);
        ct_value_free(config);
        if (f.model && source->count) fill(&f);
    }
    ct_grad_mode_set(f.context, before);
    if (!ct_failed(f.context)) return f.model;
    ct_model_destroy(f.model);
    return NULL;
}
