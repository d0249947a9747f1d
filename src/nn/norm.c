/* norm.c - the module kind "norm": a method of the kind `norm` (norm.h) as a layer. "layer_norm" and
 * "rms_norm" are the same with a fixed method. */
#include "nn/layers.h"
#include "nn/run.h"
#include <carat/norm.h>
#include <string.h>

typedef struct norm_options {
    const char *norm;
    int64_t width, axes;
    const ct_value *options;
} norm_options;

static const ct_option norm_table[] = {
    CT_OPTION_STRING("norm", norm_options, norm, "layernorm", "method (carat show norm)"),
    CT_OPTION_INT("width", norm_options, width, 1, 1, 1e9, "channels that are normalised together"),
    CT_OPTION_INT("axes", norm_options, axes, 1, 1, CT_MAX_DIMS - 1, "last axes that these channels are"),
    CT_OPTION_VALUE("options", norm_options, options, "of the method"), CT_OPTION_END};

/* The kinds with a fixed method: their table is older than the method's. */
typedef struct preset_options {
    int64_t width;
    double epsilon;
    bool bias;
} preset_options;

static const ct_option preset_table[] = {
    CT_OPTION_INT("width", preset_options, width, 1, 1, 1e9, "channels that are normalised together"),
    CT_OPTION_REAL("epsilon", preset_options, epsilon, 1e-5, 0, 1, "added to the variance"),
    CT_OPTION_BOOL("bias", preset_options, bias, true, "layer_norm: add a bias"), CT_OPTION_END};

typedef struct norm_state {
    const ct_norm_method *method;
    ct_value *given; /* strings in options are borrowed from it; NULL: none */
    void *options;
    int64_t width, axes;
    int slot[CT_NORM_TENSORS]; /* where each declared tensor is; -1: it is not there */
    bool told;
} norm_state;

static void state_release(ct_module *module) {
    norm_state *state = module->state;
    ct_value_free(state->given);
    ct_free(module->context, state->options);
    ct_free(module->context, state);
    module->state = NULL;
}

/* ---------------------------------------------------------------------------------------------- building */

static ct_status read_options(ct_module *module, norm_state *state) {
    ct_context *context = module->context;
    const ct_method *method = &state->method->method;
    size_t size = method->options_size;
    char where[80];
    snprintf(where, sizeof(where), "norm %s", method->name);
    state->options = ct_alloc_zero(context, size ? size : 1, CT_MEMORY_OTHER);
    if (!state->options) return CT_ERROR_MEMORY;
    if (!method->options) {
        if (!ct_value_count(state->given)) return CT_OK;
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s has no options, found \"%s\"", where,
                       ct_value_key(state->given, 0));
    }
    ct_options_default(method->options, state->options);
    if (!state->given) return CT_OK;
    return ct_options_apply(context, method->options, state->options, state->given, where, NULL);
}

/* What other files call a gain and a bias. */
static const char *const gain_names[] = {"gamma", "scale", NULL}, *const bias_names[] = {"beta", NULL};

static void declare_slots(ct_module *module, norm_state *state) {
    const ct_norm_method *method = state->method;
    for (int i = 0; i < CT_NORM_TENSORS; i++)
        state->slot[i] = -1;
    for (int i = 0; method->tensors[i].name && i < CT_NORM_TENSORS; i++) {
        const ct_norm_tensor *tensor = &method->tensors[i];
        if (method->present && !method->present(state->options, i)) continue;
        ct_slot_options options = {.fill = tensor->fill,
                                   .no_decay = true,
                                   .buffer = tensor->buffer,
                                   .dtype = tensor->buffer ? tensor->dtype : CT_F32};
        if (strcmp(tensor->name, "weight") == 0) options.aliases = gain_names;
        if (strcmp(tensor->name, "bias") == 0) options.aliases = bias_names;
        state->slot[i] = module->slot_count;
        ct_module_slot(module, tensor->name, tensor->shape == CT_NORM_PER_CHANNEL, &state->width, options);
    }
}

/* `given` is taken over. */
static ct_status build(ct_module *module, const char *name, int64_t width, int64_t axes, ct_value *given) {
    ct_context *context = module->context;
    norm_state *state = ct_alloc_zero(context, sizeof(*state), CT_MEMORY_OTHER);
    if (!state) {
        ct_value_free(given);
        return CT_ERROR_MEMORY;
    }
    module->state = state;
    module->state_release = state_release;
    state->given = given;
    state->width = width;
    state->axes = axes;
    state->method = (const ct_norm_method *)(const void *)ct_method_find(context, "norm", name);
    if (!state->method || read_options(module, state) != CT_OK) return ct_context_status(context);
    const ct_norm_method *method = state->method;
    if (method->check && method->check(context, state->options, width) != CT_OK)
        return ct_context_status(context);
    declare_slots(module, state);
    return ct_context_status(context);
}

static ct_status norm_build(ct_module *module) {
    const norm_options *o = ct_module_options(module);
    if (o->options && ct_value_kind_of(o->options) != CT_VALUE_MAP)
        return ct_fail(module->context, CT_ERROR_ARGUMENT, "norm \"%s\": options: expected a map, found %s",
                       ct_module_path(module), ct_value_kind_name(ct_value_kind_of(o->options)));
    return build(module, o->norm, o->width, o->axes, o->options ? ct_value_copy(o->options) : NULL);
}

static ct_status preset_build(ct_module *module) {
    const preset_options *o = ct_module_options(module);
    bool centred = module->kind == &ct_layer_norm_kind;
    ct_value *given = ct_value_map(module->context);
    if (given) ct_value_set(given, "eps", ct_value_real(module->context, o->epsilon));
    if (given && centred) ct_value_set(given, "bias", ct_value_bool(module->context, o->bias));
    return build(module, centred ? "layernorm" : "rmsnorm", o->width, 1, given);
}

ct_module *ct_norm_add(ct_module *parent, const char *name, const char *method, int64_t width,
                       const ct_value *options) {
    ct_context *context = parent->context;
    ct_value *map = ct_option_ints(context, "width", width, NULL);
    if (map) ct_value_set(map, "norm", ct_value_string(context, method));
    if (map && ct_value_count(options)) ct_value_set(map, "options", ct_value_copy(options));
    return ct_module_child_of_kind(parent, name, "norm", map);
}

/* --------------------------------------------------------------------------------------------- computing */

static void resolve_tensors(ct_run *run, ct_module *module, const norm_state *state, bool training,
                            ct_tensor **tensors) {
    for (int i = 0; i < CT_NORM_TENSORS; i++) {
        tensors[i] = NULL;
        if (state->slot[i] < 0) continue;
        const ct_slot *slot = &module->slots[state->slot[i]];
        /* Buffers have no gradient, and what changes them changes what the model keeps. */
        if (slot->options.buffer && training)
            tensors[i] = slot->parameter ? ct_alias(slot->parameter->tensor) : NULL;
        else
            tensors[i] = ct_run_weight(run, slot);
    }
}

static bool mask_fits(const ct_tensor *mask, const ct_tensor *x) {
    bool fits = ct_ndim(mask) == ct_ndim(x) - 1 && ct_dtype_of(mask) == CT_U8;
    for (int i = 0; fits && i < ct_ndim(mask); i++)
        fits = ct_shape(mask)[i] == ct_shape(x)[i];
    return fits;
}

/* x with its last `axes` axes as one; NULL and an error where they are not `width` channels. */
static ct_tensor *channels_last(const ct_module *module, const norm_state *state, ct_tensor *x) {
    int64_t together = 1, ndim = ct_ndim(x);
    for (int64_t i = 0; i < state->axes && i < ndim; i++)
        together *= ct_shape(x)[ndim - 1 - i];
    if (ndim < state->axes || together != state->width) {
        const char *path = ct_module_path(module);
        ct_fail(module->context, CT_ERROR_SHAPE, "%s%s%s: expected last dim %lld, got %lld", path,
                *path ? ": " : "", state->method->method.name, (long long)state->width,
                (long long)(ndim ? together : 0));
        return NULL;
    }
    if (state->axes == 1) return x;
    int64_t shape[CT_MAX_DIMS];
    for (int64_t i = 0; i < ndim - state->axes; i++)
        shape[i] = ct_shape(x)[i];
    shape[ndim - state->axes] = together;
    return ct_reshape(x, (int)(ndim - state->axes + 1), shape);
}

static ct_tensor *norm_forward(ct_run *run, ct_module *module, ct_tensor *const *inputs, int count) {
    (void)count;
    norm_state *state = module->state;
    ct_context *context = module->context;
    bool training = ct_run_options_of(run)->training;
    if (ct_failed(context)) return inputs[0];
    ct_tensor *x = channels_last(module, state, inputs[0]), *tensors[CT_NORM_TENSORS];
    if (!x) return inputs[0];
    ct_tensor *mask = training && state->method->rows_together ? ct_run_padding(run) : NULL;
    if (mask && !mask_fits(mask, x)) {
        char found[160], expected[160];
        ct_fail(context, CT_ERROR_SHAPE,
                "%s: the padding mask is %s, expected u8 of the shape of %s without its last axis",
                ct_module_path(module), ct_describe(mask, found, sizeof(found)),
                ct_describe(x, expected, sizeof(expected)));
        return inputs[0];
    }
    resolve_tensors(run, module, state, training, tensors);
    ct_norm_call call = {.context = context,
                         .options = state->options,
                         .where = ct_module_path(module),
                         .width = state->width,
                         .tensors = tensors,
                         .mask = mask,
                         .training = training,
                         .update = training && !ct_run_position_of(run)->again,
                         .told = &state->told};
    ct_tensor *y = state->method->forward(&call, x);
    return state->axes == 1 ? y : ct_reshape(y, ct_ndim(inputs[0]), ct_shape(inputs[0]));
}

const ct_module_kind ct_norm_kind = {.name = "norm",
                                     .summary = "a method of the kind norm, by name",
                                     .options = norm_table,
                                     .options_size = sizeof(norm_options),
                                     .build = norm_build,
                                     .forward = norm_forward};
const ct_module_kind ct_layer_norm_kind = {.name = "layer_norm",
                                           .summary = "the norm \"layernorm\" (Ba et al., arXiv:1607.06450)",
                                           .options = preset_table,
                                           .options_size = sizeof(preset_options),
                                           .build = preset_build,
                                           .forward = norm_forward};
const ct_module_kind ct_rms_norm_kind = {.name = "rms_norm",
                                         .summary =
                                             "the norm \"rmsnorm\" (Zhang & Sennrich, arXiv:1910.07467)",
                                         .options = preset_table,
                                         .options_size = sizeof(preset_options),
                                         .build = preset_build,
                                         .forward = norm_forward};

/* ------------------------------------------------------------------------------------------------ asking */

static const norm_state *state_of(const ct_module *module) {
    return module && module->kind->forward == norm_forward ? module->state : NULL;
}

bool ct_is_norm(const ct_module *module) {
    return state_of(module) != NULL;
}
const ct_norm_method *ct_norm_method_of(const ct_module *module) {
    return state_of(module) ? state_of(module)->method : NULL;
}
const void *ct_norm_options_of(const ct_module *module) {
    return state_of(module) ? state_of(module)->options : NULL;
}
int64_t ct_norm_width(const ct_module *module) {
    return state_of(module) ? state_of(module)->width : 0;
}

static int64_t common_multiple(int64_t a, int64_t b) {
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

static ct_status gather_needs(void *user, ct_module *module) {
    ct_norm_needs *needs = user;
    const norm_state *state = state_of(module);
    if (module->kind == &ct_recurrent_kind && needs->rows >= CT_ROWS_ANY) {
        needs->rows = CT_ROWS_WHOLE;
        needs->who = ct_module_path(module);
    }
    if (!state || !state->method->rows_together) return CT_OK;
    int64_t rows = state->method->rows_together(state->options), before = needs->rows;
    if (state->method->reads_what_it_changes) needs->recompute = false;
    if (rows == CT_ROWS_STEP || before == CT_ROWS_STEP)
        needs->rows = CT_ROWS_STEP;
    else if (rows == CT_ROWS_WHOLE || before == CT_ROWS_WHOLE)
        needs->rows = CT_ROWS_WHOLE;
    else if (rows > 0)
        needs->rows = before > 0 ? common_multiple(before, rows) : rows;
    if (needs->rows != before || !needs->who) needs->who = ct_module_path(module);
    return CT_OK;
}

ct_norm_needs ct_norm_needs_of(ct_module *module) {
    ct_norm_needs needs = {CT_ROWS_ANY, true, NULL};
    ct_module_visit(module, gather_needs, &needs);
    return needs;
}

double ct_norm_epsilon(const ct_value *config, double otherwise) {
    static const char *const names[] = {"layer_norm_epsilon", "layer_norm_eps", "norm_eps", "norm_epsilon",
                                        "rms_norm_eps"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (ct_value_get(config, names[i]))
            return ct_value_as_real(ct_value_get(config, names[i]), otherwise);
    return otherwise;
}

/* ----------------------------------------------------------------------------------------------- folding */

static ct_status fold_refuse(const ct_module *norm, const ct_module *linear, const char *why) {
    return ct_fail(norm->context, CT_ERROR_UNSUPPORTED, "%s cannot be folded into %s: %s",
                   ct_module_path(norm), ct_module_path(linear), why);
}

static ct_status fold_check(const ct_module *norm, const ct_module *linear, bool *in_first) {
    const norm_state *state = state_of(norm);
    if (!state) return fold_refuse(norm, linear, "it is not a norm");
    if (!state->method->affine)
        return fold_refuse(norm, linear, "in evaluation it depends on the token, not only on the channel");
    *in_first = strcmp(linear->kind->name, "conv1d") == 0;
    if (!*in_first && strcmp(linear->kind->name, "linear") != 0)
        return fold_refuse(norm, linear, "that is neither linear nor conv1d");
    const ct_slot *weight = &linear->slots[0];
    if (!weight->parameter || weight->options.tied_to || weight->parameter->slot != weight)
        return fold_refuse(norm, linear, "its weight is shared");
    if (weight->shape[*in_first ? 0 : 1] != state->width)
        return fold_refuse(norm, linear, "the widths differ");
    return CT_OK;
}

static bool any_not_zero(ct_tensor *shift) {
    double sum = 0;
    ct_item(ct_sum_all(ct_abs(shift)), &sum);
    return sum != 0;
}

/* W' = W diag(scale), b' = b + W shift; the weight is [in, out] for conv1d, else [out, in]. */
static ct_status fold_into(const ct_module *norm, ct_module *linear, bool in_first, ct_tensor *scale,
                           ct_tensor *shift) {
    ct_tensor *weight = linear->slots[0].parameter->tensor;
    ct_parameter *bias = linear->slot_count > 1 ? linear->slots[1].parameter : NULL;
    if (!bias && any_not_zero(shift))
        return fold_refuse(norm, linear, "it shifts, and that layer has no bias");
    int64_t width = ct_count(scale);
    ct_tensor *columns = in_first ? ct_reshape(scale, CT_DIMS(width, 1)) : scale;
    ct_tensor *added =
        in_first ? ct_matmul(shift, ct_cast(weight, CT_F32)) : ct_matmul(ct_cast(weight, CT_F32), shift);
    ct_tensor *scaled = ct_mul(weight, columns);
    if (ct_failed(norm->context)) return ct_context_status(norm->context);
    if (bias) ct_add_into(bias->tensor, added, 1);
    return ct_copy_into(weight, scaled);
}

ct_status ct_norm_affine_of(ct_module *norm, ct_tensor **scale, ct_tensor **shift) {
    norm_state *state = state_of(norm) ? norm->state : NULL;
    ct_tensor *tensors[CT_NORM_TENSORS] = {0};
    if (!state || !state->method->affine)
        return ct_fail(norm->context, CT_ERROR_UNSUPPORTED,
                       "%s (%s) cannot be folded: in evaluation it depends on the token, not only on the channel",
                       ct_module_path(norm), state ? state->method->method.name : norm->kind->name);
    ct_norm_call call = {norm->context, state->options, ct_module_path(norm), state->width, tensors, NULL,
                         false,         false,          &state->told};
    for (int i = 0; i < CT_NORM_TENSORS; i++) {
        const ct_slot *slot = state->slot[i] < 0 ? NULL : &norm->slots[state->slot[i]];
        if (slot && slot->parameter) tensors[i] = slot->parameter->tensor;
    }
    return state->method->affine(&call, scale, shift);
}

ct_status ct_norm_fold(ct_module *norm, ct_module *linear) {
    ct_context *context = norm->context;
    bool in_first = false, before = ct_grad_mode(context);
    if (fold_check(norm, linear, &in_first) != CT_OK) return ct_context_status(context);
    const norm_state *state = norm->state;
    ct_tensor *scale = NULL, *shift = NULL;
    ct_scope scope = ct_scope_open(context);
    ct_grad_mode_set(context, false);
    if (ct_norm_affine_of(norm, &scale, &shift) == CT_OK) fold_into(norm, linear, in_first, scale, shift);
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    if (ct_failed(context)) return ct_context_status(context);
    ct_value *map = ct_option_ints(context, "width", state->width, "axes", state->axes, NULL);
    if (map) ct_value_set(map, "norm", ct_value_string(context, "none"));
    ct_module *none = ct_module_create(context, &ct_norm_kind, norm->name, map);
    ct_value_free(map);
    return ct_module_replace(norm, none);
}
