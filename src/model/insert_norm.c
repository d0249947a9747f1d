/* insert_norm.c - a configuration with a norm before every nonlinearity, as NaP wants it (Lyle et al.,
 * arXiv:2407.01800, section 4): linear, norm, activation, without the biases that the norms would take away.
 */
#include <carat/model.h>
#include <carat/norm.h>
#include <string.h>

static ct_status find_norm(void *user, ct_module *module) {
    bool *found = user;
    *found |= ct_is_norm(module) && strcmp(ct_norm_method_of(module)->method.name, "none") != 0;
    return CT_OK;
}

/* Whether what a configuration describes has norms; built without data. */
static ct_status has_norms(ct_context *context, const ct_value *config, bool *found) {
    ct_device device = ct_context_device(context);
    ct_context_set_device(context, CT_META);
    ct_model *model = ct_model_create(context, config);
    ct_context_set_device(context, device);
    *found = false;
    if (model) ct_module_visit(ct_model_root(model), find_norm, found);
    ct_model_destroy(model);
    return ct_context_status(context);
}

ct_status ct_model_insert_norms(ct_context *context, ct_value *config, const char *norm, bool *changed) {
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    *changed = false;
    if (strcmp(norm, "ln") != 0 && strcmp(norm, "rms") != 0)
        return ct_fail(context, CT_ERROR_ARGUMENT, "insert_norm: \"%s\", expected ln or rms", norm);
    const ct_architecture *architecture = ct_architecture_find(context, type);
    bool normed;
    if (!architecture || has_norms(context, config, &normed) != CT_OK) return ct_context_status(context);
    if (normed) return CT_OK;
    if (!ct_options_find(architecture->options, "insert_norm"))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "insert_norm: a %s has no place for norms before its activations; it is an mlp's key",
                       type);
    *changed = true;
    ct_value_remove(config, "norm");
    return ct_value_set(config, "insert_norm", ct_value_string(context, norm));
}
