/* derived.c - weights that a method makes of a parameter of the model and one of its own, through overlays.
 */
#include "regularizer/regularizer.h"

static ct_status add_gain(ct_regularizers *all, ct_regularizer_member *m, ct_parameter *parameter) {
    ct_context *context = all->context;
    int64_t shape[CT_MAX_DIMS];
    int ndim = m->method->gain_shape(m->item->options, parameter, shape);
    ct_gain *gains =
        ct_realloc(context, m->gains, (size_t)(m->gain_count + 1) * sizeof(*gains), CT_MEMORY_OTHER);
    if (!gains) return CT_ERROR_MEMORY;
    m->gains = gains;
    char *name = ct_format(context, "carat.%s.%s", m->item->method->name, parameter->name);
    ct_parameter *gain = name ? ct_model_find(all->model, name) : NULL;
    bool loaded = gain != NULL;
    if (name && !gain) {
        ct_scope scope = ct_scope_open(context);
        gain = ct_model_add_parameter(all->model, name, ct_zeros(context, CT_F32, ndim, shape));
        ct_scope_close(context, scope);
    }
    ct_free(context, name);
    if (!gain) return ct_context_status(context);
    gain->trainable = gain->no_decay = true;
    m->gains[m->gain_count++] = (ct_gain){parameter, gain, loaded};
    return CT_OK;
}

/* Two derivations of one weight would each need to know of the other. */
static ct_status check_alone(const ct_regularizers *all, const ct_regularizer_member *m,
                             const ct_parameter *parameter) {
    for (const ct_regularizer_member *other = all->members; other < m; other++)
        for (int64_t i = 0; i < other->gain_count; i++)
            if (other->gains[i].parameter == parameter)
                return ct_fail(all->context, CT_ERROR_UNSUPPORTED, "%s: %s is made by %s already",
                               m->item->where, parameter->name, other->item->where);
    return CT_OK;
}

ct_status ct_derived_attach(ct_regularizers *all, ct_regularizer_member *m) {
    int64_t count = ct_model_parameter_count(all->model); /* those added below come behind */
    for (int64_t i = 0; i < count && !ct_failed(all->context); i++) {
        ct_parameter *parameter = ct_model_parameter(all->model, i);
        if (!m->method->derives(m->item->options, parameter)) continue;
        if (check_alone(all, m, parameter) == CT_OK) add_gain(all, m, parameter);
    }
    if (!m->gain_count && !ct_failed(all->context))
        return ct_fail(all->context, CT_ERROR_UNSUPPORTED, "%s: the model has no weight that it applies to",
                       m->item->where);
    return ct_context_status(all->context);
}

ct_status ct_derived_initialize(ct_regularizers *all, ct_regularizer_member *m) {
    bool mode = ct_grad_mode_set(all->context, false);
    for (int64_t i = 0; i < m->gain_count && !ct_failed(all->context); i++) {
        ct_scope scope = ct_scope_open(all->context);
        const ct_gain *g = &m->gains[i];
        if (!g->loaded)
            ct_copy_into(g->gain->tensor,
                         m->method->first_gain(m->item->options, g->parameter, g->parameter->tensor));
        ct_scope_close(all->context, scope);
    }
    ct_grad_mode_set(all->context, mode);
    return ct_context_status(all->context);
}

static ct_tensor *resolve(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)run;
    const ct_derived_run *how = user;
    const ct_regularizers *all = how->all;
    for (size_t i = 0; i < all->list.count; i++) {
        const ct_regularizer_member *m = &all->members[i];
        for (int64_t g = 0; g < m->gain_count; g++) {
            if (m->gains[g].parameter != slot->parameter) continue;
            ct_parameter *gain = m->gains[g].gain;
            return m->method->derive(m->item->options, m->gains[g].parameter, present,
                                     how->gain_of ? how->gain_of(how->user, gain) : gain->tensor);
        }
    }
    return present;
}

ct_status ct_derived_install(ct_regularizers *all, ct_run *run, ct_regularizer_gain gain_of, void *user) {
    bool any = false;
    for (size_t i = 0; i < all->list.count; i++)
        any = any || all->members[i].gain_count > 0;
    if (!any) return CT_OK;
    ct_derived_run *how = &all->runs[gain_of != NULL];
    *how = (ct_derived_run){all, gain_of, user};
    return ct_run_push_overlay(run, &(ct_overlay){resolve, how});
}
