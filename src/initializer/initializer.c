/* initializer.c - what all initializers share: choosing one, and filling the weights of a model's linear
 * layers. */
#include "initializer/initializer.h"
#include <carat/ops.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- choosing */

void ct_initializer_choice_free(ct_context *context, ct_initializer_choice *choice) {
    ct_free(context, choice->options);
    ct_value_free(choice->value);
    *choice = (ct_initializer_choice){0};
}

ct_status ct_initializer_choose(ct_context *context, const ct_value *value, const char *path,
                                ct_initializer_choice *choice) {
    *choice = (ct_initializer_choice){0};
    if (ct_failed(context)) return ct_context_status(context);
    bool map = ct_value_kind_of(value) == CT_VALUE_MAP;
    const char *name = ct_value_as_string(map ? ct_value_get(value, "name") : value, NULL);
    if (!name)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: expected the name of an initializer, or {name: lsuv, its options}", path);
    const ct_method *method = ct_method_find(context, "initializer", name);
    if (!method) return ct_context_status(context);
    choice->method = (const ct_initializer_method *)(const void *)method;
    choice->value = map ? ct_value_copy(value) : ct_value_map(context);
    choice->options = ct_alloc_zero(context, method->options_size + 1, CT_MEMORY_OTHER);
    if (!choice->value || !choice->options) return ct_context_status(context);
    ct_value_remove(choice->value, "name");
    static const ct_option none[] = {CT_OPTION_END};
    const ct_option *table = method->options ? method->options : none;
    ct_options_default(table, choice->options);
    if (ct_options_apply(context, table, choice->options, choice->value, path, NULL) == CT_OK &&
        choice->method->check)
        choice->method->check(context, choice->options);
    return ct_context_status(context);
}

ct_status ct_initializer_check(ct_context *context, const ct_value *value, const char *path, int64_t *rows) {
    ct_initializer_choice choice;
    if (rows) *rows = -1;
    if (ct_initializer_choose(context, value, path, &choice) == CT_OK && rows && choice.method->rows)
        *rows = choice.method->rows(choice.options);
    ct_initializer_choice_free(context, &choice);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- layers */

static bool is_kind(const ct_module *module, const char *name) {
    return module && strcmp(ct_module_kind_of(module)->name, name) == 0;
}

static bool is_norm(const ct_module *module) {
    return is_kind(module, "norm") || is_kind(module, "layer_norm") || is_kind(module, "rms_norm");
}

static bool norm_behind(const ct_module *module) {
    const ct_module *parent = ct_module_parent(module);
    if (!is_kind(parent, "sequential")) return false;
    for (int i = 0; i + 1 < ct_module_child_count(parent); i++)
        if (ct_module_child(parent, i) == module) return is_norm(ct_module_child(parent, i + 1));
    return false;
}

bool ct_initializer_describe(ct_module *module, ct_initializer_layer *layer) {
    bool transposed = is_kind(module, "conv1d");
    if (!transposed && !is_kind(module, "linear")) return false;
    const ct_slot *weight = ct_module_slot_named(module, "weight"),
                  *bias = ct_module_slot_named(module, "bias");
    if (!weight || !weight->parameter || weight->ndim != 2) return false;
    *layer = (ct_initializer_layer){.module = module,
                                    .weight = weight->parameter->tensor,
                                    .bias = bias && bias->parameter ? bias->parameter->tensor : NULL,
                                    .name = weight->parameter->name,
                                    .in = weight->shape[transposed ? 0 : 1],
                                    .out = weight->shape[transposed ? 1 : 0],
                                    .transposed = transposed,
                                    .tied = weight->parameter->slot != weight,
                                    .normed = norm_behind(module)};
    return true;
}

/* -------------------------------------------------------------------------------------------- filling */

ct_status ct_fill_orthonormal(ct_tensor *weight, ct_random *random) {
    ct_context *context = ct_context_of(weight);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *normal = ct_empty(context, CT_F64, 2, ct_shape(weight)), *u = NULL, *s = NULL, *vh = NULL;
    bool rows = ct_dim(weight, 0) <= ct_dim(weight, 1); /* then V^T has the shape of the weight, else U */
    if (!ct_failed(context)) ct_fill_normal(normal, 0, 1, random);
    if (!ct_failed(context) && ct_svd(normal, &u, &s, &vh) == CT_OK) ct_copy_into(weight, rows ? vh : u);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

typedef struct filling {
    const ct_initializer_choice *choice;
    uint64_t seed;
    int64_t layers;
} filling;

static ct_status fill_layer(void *user, ct_module *module) {
    filling *f = user;
    ct_initializer_layer layer;
    if (!ct_initializer_describe(module, &layer)) return CT_OK;
    f->layers++;
    const ct_initializer_method *method = f->choice->method;
    if (!method->fill || layer.tied || (method->fills && !method->fills(f->choice->options))) return CT_OK;
    ct_context *context = ct_module_context(module);
    ct_random random = ct_random_make(f->seed, ct_random_stream(layer.name));
    ct_scope scope = ct_scope_open(context);
    ct_tensor *fresh = ct_empty(context, CT_F32, CT_DIMS(layer.out, layer.in));
    if (!ct_failed(context)) method->fill(f->choice->options, &layer, fresh, &random);
    if (!ct_failed(context)) ct_copy_into(layer.weight, layer.transposed ? ct_transpose(fresh, 0, 1) : fresh);
    if (!ct_failed(context) && layer.bias) ct_fill(layer.bias, 0);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status initialize(ct_model *model, const ct_initializer_choice *choice, ct_tensor *inputs,
                            uint64_t seed, ct_initializer_report *report) {
    ct_context *context = ct_model_context(model);
    const ct_initializer_method *method = choice->method;
    filling f = {.choice = choice, .seed = seed};
    if (method->rows && (!inputs || ct_ndim(inputs) < 1 || ct_dim(inputs, 0) < 2))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s: it measures a batch of data: found %lld rows, expected at least 2",
                       method->method.name, inputs && ct_ndim(inputs) ? (long long)ct_dim(inputs, 0) : 0LL);
    if (ct_module_visit(ct_model_root(model), fill_layer, &f) != CT_OK) return ct_context_status(context);
    if (f.layers == 0)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: nothing to initialise, the model has no linear layer", method->method.name);
    return inputs ? ct_initializer_pass(model, choice, inputs, report) : CT_OK;
}

ct_status ct_initialize(ct_model *model, const ct_value *value, ct_tensor *inputs, uint64_t seed,
                        ct_initializer_report *report) {
    ct_context *context = ct_model_context(model);
    ct_initializer_report own = {0};
    ct_initializer_choice choice;
    if (report) *report = own;
    bool before = ct_grad_mode_set(context, false);
    if (ct_initializer_choose(context, value, "init", &choice) == CT_OK)
        initialize(model, &choice, inputs, seed, &own);
    ct_grad_mode_set(context, before);
    ct_initializer_choice_free(context, &choice);
    if (report && !ct_failed(context))
        *report = own;
    else
        ct_initializer_report_free(context, &own);
    return ct_context_status(context);
}

/* --------------------------------------------------------------------------------------------- report */

void ct_initializer_report_free(ct_context *context, ct_initializer_report *report) {
    ct_free(context, report->rows);
    *report = (ct_initializer_report){0};
}

char *ct_initializer_report_text(ct_context *context, const ct_initializer_report *report) {
    char *text = ct_format(context, "%-40s %7s %11s %8s %11s  %s\n", "layer", "fan-in", "std before",
                           "attempts", "std after", "note");
    for (int64_t i = 0; text && i < report->count; i++) {
        const ct_initializer_row *r = &report->rows[i];
        char *longer = ct_format(context, "%s%-40s %7lld %11.4g %8d %11.4g  %s\n", text, r->name,
                                 (long long)r->in, r->before, r->attempts, r->after, r->note ? r->note : "");
        ct_free(context, text);
        text = longer;
    }
    return text;
}

static ct_value *number(ct_context *context, double value) {
    return isfinite(value) ? ct_value_real(context, value) : ct_value_null(context);
}

ct_value *ct_initializer_report_to_value(ct_context *context, const ct_initializer_report *report) {
    ct_value *list = ct_value_list(context);
    for (int64_t i = 0; list && i < report->count && !ct_failed(context); i++) {
        const ct_initializer_row *r = &report->rows[i];
        ct_value *map = ct_value_map(context);
        ct_value_append(list, map);
        if (ct_failed(context)) break;
        ct_value_set(map, "name", ct_value_string(context, r->name));
        ct_value_set(map, "in", ct_value_int(context, r->in));
        ct_value_set(map, "out", ct_value_int(context, r->out));
        ct_value_set(map, "before", number(context, r->before));
        ct_value_set(map, "attempts", ct_value_int(context, r->attempts));
        ct_value_set(map, "factor", number(context, r->factor));
        ct_value_set(map, "after", number(context, r->after));
        ct_value_set(map, "note", r->note ? ct_value_string(context, r->note) : ct_value_null(context));
    }
    if (!ct_failed(context)) return list;
    ct_value_free(list);
    return NULL;
}
