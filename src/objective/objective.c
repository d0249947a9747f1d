/* objective.c - what all objectives share: batches checked and made flat, weights, sums of several. */
#include "method/chosen.h"
#include <carat/objective.h>

struct ct_objective {
    ct_context *context;
    ct_chosen_list list;
};

/* --------------------------------------------------------------------------------------- for methods */

ct_tensor *ct_objective_outputs(const ct_objective_call *call) {
    return ct_dtype_of(call->outputs) == CT_F64 ? call->outputs : ct_cast(call->outputs, CT_F32);
}

static ct_dtype real_type(const ct_objective_call *call) {
    return ct_dtype_of(call->outputs) == CT_F64 ? CT_F64 : CT_F32;
}

ct_tensor *ct_objective_one_hot(const ct_objective_call *call) {
    if (!call->ids) return ct_cast(call->targets, real_type(call));
    ct_tensor *classes = ct_arange(call->context, ct_dtype_of(call->targets), ct_dim(call->outputs, 1), 0, 1);
    return ct_cast(ct_equal(ct_unsqueeze(call->targets, 1), classes), real_type(call));
}

ct_tensor *ct_objective_at_class(const ct_objective_call *call, ct_tensor *x) {
    static const int last = 1;
    ct_tensor *here = ct_objective_one_hot(call), *none = ct_zeros_like(here);
    /* Not a product: an infinity elsewhere must not become NaN. */
    return ct_sum(ct_where(ct_greater(here, none), x, none), 1, &last, false);
}

/* -------------------------------------------------------------------------------------------- batches */

static ct_status check_ids(const ct_objective_call *call) {
    int64_t count = ct_count(call->targets), classes = ct_dim(call->outputs, 1);
    bool narrow = ct_dtype_of(call->targets) == CT_I32;
    ct_tensor *flat = ct_contiguous(call->targets);
    const void *data = ct_data(flat);
    for (int64_t i = 0; data && i < count; i++) {
        int64_t id = narrow ? ((const int32_t *)data)[i] : ((const int64_t *)data)[i];
        if (id == call->ignore || (id >= 0 && id < classes)) continue;
        return ct_fail(call->context, CT_ERROR_ARGUMENT,
                       "%s: target %lld of sample %lld is no class, expected 0 to %lld (or %lld: ignored)",
                       call->where, (long long)id, (long long)i, (long long)classes - 1,
                       (long long)call->ignore);
    }
    return ct_context_status(call->context);
}

static ct_status check_shapes(const ct_objective_call *call, ct_tensor *outputs, ct_tensor *targets,
                              int64_t samples) {
    char found[160], against[160];
    int64_t expected = call->ids ? samples : ct_count(outputs);
    bool rank = ct_ndim(targets) == ct_ndim(outputs) - call->ids || (call->ids && ct_ndim(targets) == 1);
    if (ct_ndim(outputs) < 2 || ct_count(targets) != expected || !rank ||
        (call->weights && ct_count(call->weights) != samples))
        return ct_fail(call->context, CT_ERROR_SHAPE,
                       "%s: targets %s for outputs %s: expected ids [...] or values [..., outputs], and "
                       "weights [samples]",
                       call->where, ct_describe(targets, found, sizeof(found)),
                       ct_describe(outputs, against, sizeof(against)));
    return CT_OK;
}

/* Losses of samples that are ignored are left out by selection, so that a NaN there does no harm. */
static ct_tensor *weighed(const ct_objective_call *call, ct_tensor *losses) {
    if (call->ids) {
        int64_t id = call->ignore;
        ct_tensor *ignored =
            ct_equal(call->targets, ct_scalar(call->context, ct_dtype_of(call->targets), (double)id));
        losses = ct_masked_fill(losses, ignored, 0);
    }
    return call->weights ? ct_mul(losses, ct_reshape(call->weights, 1, (const int64_t[]){-1})) : losses;
}

/* The teacher's outputs beside `outputs` [samples, classes], or NULL with an error. */
static ct_tensor *taught(const ct_objective_call *call, ct_tensor *outputs, ct_tensor *teacher) {
    char found[160], expected[160];
    if (!teacher) {
        ct_fail(call->context, CT_ERROR_ARGUMENT, "%s: it learns from a teacher's outputs, and there is no teacher",
                call->where);
        return NULL;
    }
    if (ct_dtype_is_float(ct_dtype_of(teacher)) && ct_count(teacher) == ct_count(outputs) &&
        ct_dim(teacher, -1) == ct_dim(outputs, -1))
        return ct_cast(ct_reshape(teacher, 2, ct_shape(call->outputs)), real_type(call));
    ct_fail(call->context, CT_ERROR_SHAPE, "%s: the teacher gives %s, expected %s", call->where,
            ct_describe(teacher, found, sizeof(found)), ct_describe(outputs, expected, sizeof(expected)));
    return NULL;
}

static ct_tensor *one(const ct_chosen *item, ct_tensor *outputs, ct_tensor *targets, ct_tensor *teacher,
                      ct_tensor *weights, int64_t ignore) {
    const ct_objective_method *method = (const ct_objective_method *)(const void *)item->method;
    ct_context *context = ct_context_of(outputs);
    int64_t classes = ct_dim(outputs, -1), samples = classes ? ct_count(outputs) / classes : 0;
    bool ids = !ct_dtype_is_float(ct_dtype_of(targets));
    ct_objective_call call = {context, item->options, item->where, outputs, targets, ids, weights, ignore, NULL};
    ct_tensor *nothing = ct_zeros(context, CT_F32, 1, &samples);
    if (check_shapes(&call, outputs, targets, samples) != CT_OK) return nothing;
    if (!(method->targets & (ids ? CT_TARGETS_IDS : CT_TARGETS_VALUES))) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: it takes %s, and the targets are %s", item->where,
                ids ? "a value for each output" : "class ids", ids ? "class ids" : "values");
        return nothing;
    }
    call.outputs = ct_reshape(outputs, CT_DIMS(samples, classes));
    call.targets = ids ? ct_reshape(targets, 1, &samples) : ct_reshape(targets, CT_DIMS(samples, classes));
    if (ids && !method->weighs && check_ids(&call) != CT_OK) return nothing;
    if (method->teacher && !(call.teacher = taught(&call, outputs, teacher))) return nothing;
    ct_tensor *losses = method->losses(&call);
    if (!method->weighs) losses = weighed(&call, losses);
    return item->weight == 1 ? losses : ct_mul_scalar(losses, item->weight);
}

ct_tensor *ct_objective_losses_taught(const ct_objective *objective, ct_tensor *outputs, ct_tensor *targets,
                                      ct_tensor *teacher, ct_tensor *weights, int64_t ignore) {
    ct_context *context = objective->context;
    ct_scope scope = ct_scope_open(context);
    ct_tensor *sum = NULL;
    for (size_t i = 0; i < objective->list.count; i++) {
        ct_tensor *losses = one(&objective->list.items[i], outputs, targets, teacher, weights, ignore);
        sum = sum ? ct_add(sum, losses) : losses;
    }
    return ct_scope_return(context, scope, sum);
}

ct_tensor *ct_objective_losses(const ct_objective *objective, ct_tensor *outputs, ct_tensor *targets,
                               ct_tensor *weights, int64_t ignore) {
    return ct_objective_losses_taught(objective, outputs, targets, NULL, weights, ignore);
}

/* ----------------------------------------------------------------------------------------------- life */

/* The recipe's label smoothing goes to every method that has the option and was not given it. */
static ct_status spread_smoothing(ct_objective *objective, double label_smoothing, const char *path) {
    bool taken = false;
    for (size_t i = 0; i < objective->list.count && label_smoothing > 0; i++) {
        ct_chosen *item = &objective->list.items[i];
        const ct_option *option =
            item->method->options ? ct_options_find(item->method->options, "label_smoothing") : NULL;
        if (!option) continue;
        taken = true;
        if (!ct_value_get(item->given, "label_smoothing"))
            *(double *)(void *)((char *)item->options + option->offset) = label_smoothing;
    }
    if (taken || !(label_smoothing > 0)) return CT_OK;
    return ct_fail(objective->context, CT_ERROR_ARGUMENT,
                   "label_smoothing_factor: %s \"%s\" has no label smoothing", path,
                   objective->list.items[0].method->name);
}

static ct_status check_methods(const ct_objective *objective) {
    for (size_t i = 0; i < objective->list.count; i++) {
        const ct_chosen *item = &objective->list.items[i];
        const ct_objective_method *method = (const ct_objective_method *)(const void *)item->method;
        if (method->check && method->check(objective->context, item->options) != CT_OK) break;
    }
    return ct_context_status(objective->context);
}

ct_objective *ct_objective_create(ct_context *context, const ct_value *value, double label_smoothing,
                                  const char *path) {
    ct_objective *objective =
        ct_failed(context) ? NULL : ct_alloc_zero(context, sizeof(*objective), CT_MEMORY_OTHER);
    if (!objective) return NULL;
    objective->context = context;
    bool given = ct_value_kind_of(value) != CT_VALUE_NULL &&
                 (ct_value_kind_of(value) != CT_VALUE_LIST || ct_value_count(value) > 0);
    ct_value *standard = given ? NULL : ct_value_string(context, "cross_entropy");
    if (ct_chosen_read(context, &objective->list, "objective", given ? value : standard, path) == CT_OK &&
        spread_smoothing(objective, label_smoothing, path) == CT_OK)
        check_methods(objective);
    ct_value_free(standard);
    if (!ct_failed(context)) return objective;
    ct_objective_destroy(objective);
    return NULL;
}

void ct_objective_destroy(ct_objective *objective) {
    if (!objective) return;
    ct_chosen_free(objective->context, &objective->list);
    ct_free(objective->context, objective);
}

size_t ct_objective_count(const ct_objective *objective) {
    return objective->list.count;
}
const ct_method *ct_objective_method_at(const ct_objective *objective, size_t index) {
    return index < objective->list.count ? objective->list.items[index].method : NULL;
}

const ct_method *ct_objective_taught(const ct_objective *objective) {
    for (size_t i = 0; i < objective->list.count; i++) {
        const ct_method *method = objective->list.items[i].method;
        if (((const ct_objective_method *)(const void *)method)->teacher) return method;
    }
    return NULL;
}
