/* regularizer.c - what all regularizers share: reading the list, attaching it to a model, watched points,
 * terms. */
#include "regularizer/regularizer.h"
#include "nn/block.h"
#include "nn/run.h"
#include <carat/norm.h>
#include <math.h>
#include <string.h>

static const ct_regularizer_method *method_of(const ct_chosen *item) {
    return (const ct_regularizer_method *)(const void *)item->method;
}

/* ----------------------------------------------------------------------------------------------- life */

static ct_status check_item(ct_context *context, const ct_chosen *item) {
    const ct_regularizer_method *method = method_of(item);
    if (method->derive && item->weight != 1)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: weight %g: it makes weights and adds nothing to the loss, so it has no weight",
                       item->where, item->weight);
    if (!method->derive && !method->term)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: the method has neither a term nor derived weights",
                       item->where);
    return method->check ? method->check(context, item->options) : CT_OK;
}

ct_regularizers *ct_regularizers_create(ct_context *context, const ct_value *value, const char *path) {
    ct_regularizers *all = ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*all), CT_MEMORY_OTHER);
    if (!all) return NULL;
    all->context = context;
    ct_chosen_read(context, &all->list, "regularizer", value, path);
    size_t count = all->list.count;
    if (count && !ct_failed(context))
        all->members = ct_alloc_zero(context, count * sizeof(*all->members), CT_MEMORY_OTHER);
    for (size_t i = 0; all->members && i < count && !ct_failed(context); i++) {
        const ct_chosen *item = &all->list.items[i];
        all->members[i].item = item;
        all->members[i].method = method_of(item);
        check_item(context, item);
    }
    if (!ct_failed(context)) return all;
    ct_regularizers_destroy(all);
    return NULL;
}

void ct_regularizers_destroy(ct_regularizers *all) {
    if (!all) return;
    ct_context *context = all->context;
    for (size_t i = 0; all->members && i < all->list.count; i++) {
        ct_regularizer_member *m = &all->members[i];
        for (int w = 0; w < m->watched_count; w++) {
            ct_drop(m->watched[w].value);
            ct_free(context, m->watched[w].point);
        }
        ct_free(context, m->watched);
        ct_free(context, m->own);
        ct_free(context, m->gains);
    }
    ct_free(context, all->members);
    ct_chosen_free(context, &all->list);
    ct_free(context, all);
}

size_t ct_regularizers_count(const ct_regularizers *all) {
    return all->list.count;
}
const ct_method *ct_regularizers_method_at(const ct_regularizers *all, size_t index) {
    return index < all->list.count ? all->list.items[index].method : NULL;
}

/* ----------------------------------------------------------------------------------------------- rows */

static bool is_active(const ct_regularizer_member *m) {
    return m->method->derive || m->item->weight > 0;
}

int64_t ct_regularizers_rows(const ct_regularizers *all, const char **who) {
    int64_t rows = CT_ROWS_ANY;
    if (who) *who = NULL;
    for (size_t i = 0; i < all->list.count && rows != CT_ROWS_WHOLE; i++) {
        const ct_regularizer_member *m = &all->members[i];
        int64_t asked = m->method->rows_together ? m->method->rows_together(m->item->options) : CT_ROWS_ANY;
        if (m->method->derive) asked = CT_ROWS_WHOLE;
        if (!is_active(m) || (asked != CT_ROWS_WHOLE && asked <= rows)) continue;
        /* Two numbers that are both asked for are rare; whole batches suit both. */
        rows = rows > 1 && asked != CT_ROWS_WHOLE && asked % rows ? CT_ROWS_WHOLE : asked;
        if (who) *who = m->item->where;
    }
    return rows;
}

ct_status ct_regularizers_check_rows(const ct_regularizers *all, int64_t batch) {
    for (size_t i = 0; i < all->list.count; i++) {
        const ct_regularizer_member *m = &all->members[i];
        if (is_active(m) && batch < m->method->least_rows)
            return ct_fail(all->context, CT_ERROR_ARGUMENT,
                           "%s needs at least %lld sequences per batch, found %lld", m->item->where,
                           (long long)m->method->least_rows, (long long)batch);
    }
    return CT_OK;
}

/* ---------------------------------------------------------------------------------------------- attach */

static ct_regularizer_member *member_of(ct_regularizer_setup *setup) {
    return setup->shared;
}

ct_status ct_regularizer_watch(ct_regularizer_setup *setup, const char *point) {
    ct_context *context = setup->context;
    ct_regularizer_member *m = member_of(setup);
    if (strchr(point, '*'))
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s: \"%s\" names several points, expected one",
                       setup->where, point);
    size_t size = (size_t)(m->watched_count + 1) * sizeof(*m->watched);
    ct_watched *watched = ct_realloc(context, m->watched, size, CT_MEMORY_OTHER);
    if (!watched) return CT_ERROR_MEMORY;
    m->watched = watched;
    char *copy = ct_strdup(context, point);
    if (!copy) return CT_ERROR_MEMORY;
    m->watched[m->watched_count++] = (ct_watched){copy, NULL};
    return CT_OK;
}

static ct_status find_list(void *user, ct_module *module) {
    ct_module **list = user;
    if (!*list && ct_module_kind_of(module)->forward == ct_block_list_forward) *list = module;
    return CT_OK;
}

ct_status ct_regularizer_watch_layer(ct_regularizer_setup *setup, int64_t layer) {
    ct_module *list = NULL;
    ct_module_visit(ct_model_root(setup->model), find_list, &list);
    int64_t count = list ? ct_module_child_count(list) : 0;
    if (count == 0)
        return ct_fail(setup->context, CT_ERROR_UNSUPPORTED, "%s: a %s has no list of transformer blocks",
                       setup->where, ct_model_architecture(setup->model)->model_type);
    if (layer < -count || layer >= count)
        return ct_fail(setup->context, CT_ERROR_ARGUMENT,
                       "%s.layer: %lld, expected %lld to %lld (the model has %lld layers; -1 is the last)",
                       setup->where, (long long)layer, (long long)-count, (long long)count - 1,
                       (long long)count);
    char point[400];
    ct_module *block = ct_module_child(list, (int)(layer < 0 ? layer + count : layer));
    snprintf(point, sizeof(point), "%s.output", ct_module_path(block));
    return ct_regularizer_watch(setup, point);
}

/* One that the model has already came with it from a checkpoint's folder. */
static ct_parameter *parameter_named(ct_model *model, const char *name, int ndim, const int64_t *shape) {
    ct_context *context = ct_model_context(model);
    ct_parameter *parameter = ct_model_find(model, name);
    if (!parameter) {
        ct_scope scope = ct_scope_open(context);
        parameter = ct_model_add_parameter(model, name, ct_zeros(context, CT_F32, ndim, shape));
        ct_scope_close(context, scope);
        if (parameter) parameter->no_decay = true;
        return parameter;
    }
    bool same = ct_ndim(parameter->tensor) == ndim;
    for (int i = 0; same && i < ndim; i++)
        same = ct_dim(parameter->tensor, i) == shape[i];
    char text[160];
    if (!same)
        ct_fail(context, CT_ERROR_SHAPE,
                "the model has a parameter %s %s already, of another shape than this run's", name,
                ct_describe(parameter->tensor, text, sizeof(text)));
    parameter->trainable = parameter->no_decay = true;
    return same ? parameter : NULL;
}

ct_status ct_regularizer_parameter(ct_regularizer_setup *setup, const char *name, int ndim,
                                   const int64_t *shape, double deviation) {
    ct_context *context = setup->context;
    ct_regularizer_member *m = member_of(setup);
    ct_own *own = ct_realloc(context, m->own, (size_t)(m->own_count + 1) * sizeof(*own), CT_MEMORY_OTHER);
    if (!own) return CT_ERROR_MEMORY;
    m->own = own;
    char *full = ct_format(context, "carat.%s.%s", m->item->method->name, name);
    bool loaded = full && ct_model_find(setup->model, full);
    ct_parameter *parameter = full ? parameter_named(setup->model, full, ndim, shape) : NULL;
    ct_free(context, full);
    if (!parameter) return ct_context_status(context);
    m->own[m->own_count++] = (ct_own){parameter, deviation, loaded};
    return CT_OK;
}

ct_status ct_regularizers_attach(ct_regularizers *all, ct_model *model) {
    all->model = model;
    for (size_t i = 0; i < all->list.count && !ct_failed(all->context); i++) {
        ct_regularizer_member *m = &all->members[i];
        ct_regularizer_setup setup = {all->context, m->item->options, m->item->where, model, m};
        if (m->method->setup && is_active(m)) m->method->setup(&setup);
        if (m->method->derive && !ct_failed(all->context)) ct_derived_attach(all, m);
    }
    return ct_context_status(all->context);
}

ct_status ct_regularizers_initialize(ct_regularizers *all, uint64_t seed) {
    for (size_t i = 0; i < all->list.count && !ct_failed(all->context); i++) {
        ct_regularizer_member *m = &all->members[i];
        for (int p = 0; p < m->own_count; p++) {
            ct_random random = ct_random_make(seed, ct_random_stream(m->own[p].parameter->name));
            if (!m->own[p].loaded)
                ct_fill_normal(m->own[p].parameter->tensor, 0, m->own[p].deviation, &random);
        }
        if (m->method->derive) ct_derived_initialize(all, m);
    }
    return ct_context_status(all->context);
}

bool ct_regularizers_adds_parameters(const ct_regularizers *all) {
    for (size_t i = 0; i < all->list.count; i++)
        if (all->members[i].own_count || all->members[i].gain_count) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------- collecting */

/* A segment that is computed again passes here too; its values are not the graph's. */
static ct_tensor *collect(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)point;
    ct_watched *watched = user;
    if (!watched->wanted || ct_run_position_of(run)->again) return value;
    ct_hold(value);
    ct_drop(watched->value);
    watched->value = value;
    return value;
}

ct_status ct_regularizers_install(ct_regularizers *all, ct_run *run, bool training,
                                  ct_regularizer_gain gain_of, void *user) {
    for (size_t i = 0; i < all->list.count && !ct_failed(all->context); i++) {
        ct_regularizer_member *m = &all->members[i];
        for (int w = 0; training && w < m->watched_count; w++)
            ct_run_add_tap(run, m->watched[w].point, collect, &m->watched[w]);
    }
    return ct_failed(all->context) ? ct_context_status(all->context)
                                   : ct_derived_install(all, run, gain_of, user);
}

static void forget(ct_regularizers *all, bool wanted) {
    for (size_t i = 0; i < all->list.count; i++)
        for (int w = 0; w < all->members[i].watched_count; w++) {
            ct_watched *watched = &all->members[i].watched[w];
            ct_drop(watched->value);
            watched->value = NULL;
            watched->wanted = wanted;
        }
}

void ct_regularizers_begin(ct_regularizers *all, ct_run *run) {
    forget(all, true);
    for (size_t i = 0; i < all->list.count; i++)
        for (int64_t g = 0; g < all->members[i].gain_count && !ct_failed(all->context); g++)
            ct_run_weight(run, all->members[i].gains[g].parameter->slot);
}
void ct_regularizers_end(ct_regularizers *all) {
    forget(all, false);
}

/* ----------------------------------------------------------------------------------------------- terms */

enum { MOST = 256 };

static bool gather(const ct_regularizer_member *m, ct_context *context, ct_tensor **values, ct_tensor **own) {
    if (m->watched_count > MOST || m->own_count > MOST) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: more than %d points", m->item->where, MOST);
        return false;
    }
    for (int w = 0; w < m->watched_count; w++) {
        values[w] = m->watched[w].value;
        if (values[w]) continue;
        ct_fail(context, CT_ERROR_ARGUMENT, "%s: the model has no point \"%s\"", m->item->where,
                m->watched[w].point);
        return false;
    }
    for (int p = 0; p < m->own_count; p++)
        own[p] = m->own[p].parameter->tensor;
    return true;
}

static ct_tensor *sum_of_terms(ct_regularizers *all, ct_run *run, uint64_t seed, double share,
                               bool of_batch) {
    ct_context *context = all->context;
    ct_tensor *values[MOST], *own[MOST], *sum = NULL;
    for (size_t i = 0; i < all->list.count && !ct_failed(context); i++) {
        const ct_regularizer_member *m = &all->members[i];
        bool reads = m->item->method->uses & CT_HOOK_ACTIVATIONS;
        if (!m->method->term || !is_active(m) || reads != of_batch || !gather(m, context, values, own))
            continue;
        ct_regularizer_call call = {context,
                                    m->item->options,
                                    m->item->where,
                                    all->model,
                                    run,
                                    values,
                                    m->watched_count,
                                    own,
                                    ct_run_padding(run),
                                    seed};
        ct_tensor *term = m->method->term(&call);
        if (!term || ct_failed(context)) continue;
        double factor = m->item->weight * share;
        if (factor != 1) term = ct_mul_scalar(term, factor);
        sum = sum ? ct_add(sum, term) : term;
    }
    return sum;
}

ct_tensor *ct_regularizers_batch_term(ct_regularizers *all, ct_run *run, uint64_t seed, double share) {
    return sum_of_terms(all, run, seed, share, true);
}
ct_tensor *ct_regularizers_weight_term(ct_regularizers *all, ct_run *run, uint64_t seed) {
    return sum_of_terms(all, run, seed, 1, false);
}

/* ------------------------------------------------------------------------------------------ for methods */

static bool is_kind(const ct_parameter *parameter, const char *kind) {
    return parameter->slot && strcmp(ct_module_kind_of(parameter->slot->module)->name, kind) == 0;
}

bool ct_regularizer_is_transposed(const ct_parameter *parameter) {
    return is_kind(parameter, "conv1d");
}
bool ct_regularizer_is_matrix(const ct_parameter *parameter) {
    return ct_ndim(parameter->tensor) == 2 && !parameter->buffer &&
           (is_kind(parameter, "conv1d") || is_kind(parameter, "linear"));
}
bool ct_regularizer_matches(const char *pattern, const char *name) {
    return ct_pattern_matches(pattern, name);
}
