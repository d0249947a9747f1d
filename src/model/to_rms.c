/* to_rms.c - rewriting a pre-norm model with LayerNorm to RMSNorm or CRMSNorm (Jiang et al.,
 * arXiv:2305.14858).
 *
 * LayerNorm is RMSNorm of a vector less its mean. The stream is a sum of what tables and writers give; with
 *     W' = P W, b' = P b, rows of tables less their mean (P = I - 11'/d)
 * its mean is 0 everywhere and RMSNorm sees what LayerNorm saw, with the same epsilon. CRMSNorm then needs
 * only the first d - 1 channels: writers lose the last, readers take W''[:, :d-1] = W[:, :d-1] - W[:, d-1].
 * Padded, the last channel stays, as 0.
 */
#include "model/model.h"
#include "nn/block.h"
#include <carat/norm.h>
#include <math.h>
#include <string.h>

typedef struct rewrite {
    ct_context *context;
    ct_model *model; /* the copy */
    const ct_rms_options *options;
    bool fold;
} rewrite;

/* ------------------------------------------------------------------------------------- configuration */

static ct_status check_norm(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    ct_model *model = user;
    if (role == CT_STREAM_OUTPUT) norm = module;
    if (!norm) return CT_OK;
    const ct_norm_method *method = ct_norm_method_of(norm);
    const char *name = method ? method->method.name : ct_module_kind_of(norm)->name;
    if (method && (strcmp(name, "layernorm") == 0 || strcmp(name, "rmsnorm") == 0)) return CT_OK;
    return ct_fail(model->context, CT_ERROR_UNSUPPORTED, "%s is \"%s\"; the rewrite needs layernorm",
                   ct_module_path(norm), name);
}

/* RMSNorm of a stream that is not centred is another function than RMSNorm of the centred one. */
static ct_status check_centred(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    (void)norm;
    ct_model *model = user;
    double mean = 0, size = 0;
    if (role == CT_STREAM_READER || role == CT_STREAM_OUTPUT) return CT_OK;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        int axis = ct_stream_axis(role, slot);
        ct_scope scope = ct_scope_open(model->context);
        ct_tensor *weight = ct_cast(ct_detach(slot->parameter->tensor), CT_F64);
        ct_item(ct_max(ct_abs(ct_mean(weight, 1, &axis, true)), 0, NULL, false), &mean);
        ct_item(ct_max(ct_abs(weight), 0, NULL, false), &size);
        ct_scope_close(model->context, scope);
        if (ct_failed(model->context)) return ct_context_status(model->context);
        if (mean > 1e-5 * size)
            return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                           "the model has rmsnorm already, and its stream is not centred (%s.%s has a mean "
                           "of %g): there is "
                           "no layernorm to rewrite",
                           ct_module_path(module), slot->name, mean);
    }
    return CT_OK;
}

/* Whether any reader's norm is an rmsnorm already: what a family has without being asked counts too. */
static ct_status find_rms(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    (void)module;
    const ct_norm_method *method = role == CT_STREAM_READER ? ct_norm_method_of(norm) : NULL;
    if (method && strcmp(method->method.name, "rmsnorm") == 0) *(bool *)user = true;
    return CT_OK;
}

/* Of configurations that leave it out. */
static double family_epsilon(const ct_architecture *architecture) {
    static const char *const keys[] = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const ct_option *own = ct_options_find(architecture->options, keys[i]);
        if (own) return own->real_default;
    }
    return 1e-5;
}

static bool has_rms(ct_model *model, double *eps) {
    bool found = false;
    const ct_value *norm = ct_value_get(model->known, "norm");
    const ct_value *given =
        ct_value_get(norm, "eps") ? ct_value_get(norm, "eps") : ct_value_get(norm, "epsilon");
    *eps = ct_value_as_real(given, ct_norm_epsilon(model->config, family_epsilon(model->architecture)));
    ct_stream_visit(model, find_rms, &found);
    return found;
}

static void set_where_known(ct_model *source, ct_value *config, const char *key, bool value) {
    if (ct_options_find(source->architecture->options, key))
        ct_value_set(config, key, ct_value_bool(source->context, value));
}

static ct_value *new_config(ct_model *source, const rewrite *r) {
    ct_context *context = r->context;
    ct_value *config = ct_value_copy(source->config), *norm = ct_value_map(context);
    double eps = 1e-5;
    has_rms(source, &eps);
    if (!config || !norm) {
        ct_value_free(config);
        ct_value_free(norm);
        return NULL;
    }
    ct_value_set(norm, "name", ct_value_string(context, r->options->compress ? "crmsnorm" : "rmsnorm"));
    ct_value_set(norm, "eps", ct_value_real(context, eps));
    if (r->options->compress)
        ct_value_set(norm, "pad", ct_value_bool(context, !r->options->unpadded));
    else
        ct_value_set(norm, r->fold ? "affine" : "bias", ct_value_bool(context, !r->fold));
    ct_value_set(config, "norm", norm);
    set_where_known(source, config, "tie_word_embeddings", false);
    if (r->fold) set_where_known(source, config, "lm_head_bias", true);
    if (r->fold) set_where_known(source, config, "qkv_bias", true);
    ct_value_remove(config, "carat"); /* a changed tree was checked to be the family's */
    if (r->options->compress && r->options->unpadded)
        source->architecture->narrow(context, source->options, config);
    return config;
}

/* ------------------------------------------------------------------------------------------- weights */

static ct_tensor *named(ct_model *model, const ct_module *module, const char *slot) {
    char path[400];
    snprintf(path, sizeof(path), "%s.%s", ct_module_path(module), slot);
    ct_module *here = ct_module_find(model->root, ct_module_path(module));
    ct_slot *found = here ? ct_module_slot_named(here, slot) : NULL;
    return found && found->parameter ? found->parameter->tensor : NULL;
}

/* In f64, rounded once. */
static ct_tensor *wide(ct_tensor *tensor) {
    return tensor ? ct_cast(ct_detach(tensor), CT_F64) : NULL;
}

/* Without the last channel, or with 0 there. */
static ct_tensor *compressed(const rewrite *r, ct_tensor *weight, int axis) {
    int64_t d = ct_dim(weight, axis);
    int64_t before[CT_MAX_DIMS] = {0}, after[CT_MAX_DIMS] = {0};
    ct_tensor *kept = ct_slice(weight, axis, 0, d - 1, 1);
    if (r->options->unpadded) return kept;
    after[axis] = 1;
    return ct_pad(kept, before, after, 0);
}

/* Writers and tables of the source, projected. */
static ct_status write_projected(rewrite *r, ct_stream_role role, ct_module *module) {
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        int axis = ct_stream_axis(role, slot);
        ct_tensor *weight = ct_stream_project(wide(slot->parameter->tensor), axis);
        if (r->options->compress) weight = compressed(r, weight, axis);
        ct_copy_into(named(r->model, module, slot->name), weight);
    }
    return ct_context_status(r->context);
}

/* Gain and bias as they are. */
static void write_norm(rewrite *r, ct_module *norm) {
    for (int i = 0; i < ct_module_slot_count(norm); i++) {
        ct_slot *slot = ct_module_slot_at(norm, i);
        ct_tensor *target = named(r->model, norm, slot->name);
        if (target) ct_copy_into(target, wide(slot->parameter->tensor));
    }
}

/* W diag(g) and b + W b_norm; then for crmsnorm the last input's column taken from the others. */
static ct_status write_reader(rewrite *r, ct_module *module, ct_module *norm) {
    ct_slot *gain_slot = ct_module_slot_named(norm, "weight"),
            *shift_slot = ct_module_slot_named(norm, "bias");
    ct_tensor *gain = gain_slot ? wide(gain_slot->parameter->tensor) : NULL;
    ct_tensor *shift = shift_slot ? wide(shift_slot->parameter->tensor) : NULL;
    ct_slot *bias_slot = ct_module_slot_named(module, "bias");
    ct_tensor *weight = wide(ct_module_slot_at(module, 0)->parameter->tensor);
    ct_tensor *bias = bias_slot ? wide(bias_slot->parameter->tensor) : NULL;
    bool in_first = strcmp(ct_module_kind_of(module)->name, "linear") != 0;
    int64_t d = ct_dim(weight, in_first ? 0 : 1);
    if (r->fold) {
        ct_tensor *added = !shift ? NULL : in_first ? ct_matmul(shift, weight) : ct_matmul(weight, shift);
        bias = bias && added ? ct_add(bias, added) : added ? added : bias;
        if (gain) weight = ct_mul(weight, in_first ? ct_reshape(gain, CT_DIMS(d, 1)) : gain);
    } else
        write_norm(r, norm);
    if (r->options->compress) {
        int axis = in_first ? 0 : 1;
        weight = compressed(r, ct_sub(weight, ct_slice(weight, axis, d - 1, d, 1)), axis);
    }
    ct_copy_into(named(r->model, module, "weight"), weight);
    ct_tensor *target = named(r->model, module, "bias");
    if (bias && !target)
        return ct_fail(r->context, CT_ERROR_UNSUPPORTED,
                       "%s has no bias for what its norm adds: rewrite without fold", ct_module_path(module));
    if (bias) ct_copy_into(target, bias);
    return ct_context_status(r->context);
}

static ct_status write_part(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    rewrite *r = user;
    ct_scope scope = ct_scope_open(r->context);
    if (role == CT_STREAM_READER)
        write_reader(r, module, norm);
    else if (role == CT_STREAM_OUTPUT)
        write_norm(r, module);
    else
        write_projected(r, role, module);
    ct_scope_close(r->context, scope);
    return ct_context_status(r->context);
}

/* --------------------------------------------------------------------------------------------- making */

static ct_status find_output(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    (void)norm;
    if (role == CT_STREAM_OUTPUT) *(ct_module **)user = module;
    return CT_OK;
}

/* Gains and biases can go only where something reads the norm, and all channels are needed where nothing
 * does. */
static ct_status check_output(ct_model *source, const ct_rms_options *options) {
    ct_module *output = NULL;
    ct_stream_visit(source, find_output, &output);
    if (output && (options->fold || options->compress))
        return ct_fail(
            source->context, CT_ERROR_UNSUPPORTED,
            "the model gives what %s makes of the stream: nothing behind it can take in its gain; rewrite to "
            "rmsnorm without fold",
            ct_module_path(output));
    if (options->compress && options->unpadded && !source->architecture->narrow)
        return ct_fail(source->context, CT_ERROR_UNSUPPORTED, "the stream of a %s cannot be made narrower",
                       source->architecture->model_type);
    return ct_context_status(source->context);
}

static ct_status check(ct_model *source, const ct_rms_options *options) {
    ct_context *context = source->context;
    double eps;
    if (ct_stream_visit(source, check_norm, source) != CT_OK || check_output(source, options) != CT_OK)
        return ct_context_status(context);
    if (has_rms(source, &eps) && ct_stream_visit(source, check_centred, source) != CT_OK)
        return ct_context_status(context);
    if (ct_model_is_tied(source) && !options->untie)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "the head is tied to the token embeddings, which write to the stream and have to be "
                       "centred, while the "
                       "head has to stay as it is: untie them (two matrices are stored)");
    return CT_OK;
}

void ct_model_keep(ct_model *source, ct_model *model) {
    ct_context *context = source->context;
    model->folder = ct_strdup(context, source->folder);
    model->kept = ct_value_list(context);
    for (size_t i = 0; model->kept && i < ct_value_count(source->kept); i++) {
        const ct_value *name = ct_value_at(source->kept, i);
        if (!ct_model_find(model, ct_value_as_string(name, "")))
            ct_value_append(model->kept, ct_value_copy(name));
    }
}

ct_model *ct_model_to_rms(ct_model *source, const ct_rms_options *options) {
    ct_context *context = source->context;
    if (ct_failed(context) || check(source, options) != CT_OK) return NULL;
    rewrite r = {context, NULL, options, options->fold || options->compress};
    bool before = ct_grad_mode_set(context, false);
    ct_value *config = new_config(source, &r);
    if (config) r.model = ct_model_create(context, config);
    ct_value_free(config);
    if (r.model && source->count) {
        ct_model_initialize(r.model, 0); /* gains 1, biases 0 */
        if (ct_dtype_of(source->parameters[0]->tensor) != CT_F32)
            ct_model_cast(r.model, ct_dtype_of(source->parameters[0]->tensor));
        if (source->folder) ct_model_keep(source, r.model);
        ct_stream_visit(source, write_part, &r);
    }
    ct_grad_mode_set(context, before);
    if (!ct_failed(context)) return r.model;
    ct_model_destroy(r.model);
    return NULL;
}
