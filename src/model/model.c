/* model.c - models: built from a configuration, their parameters collected from the tree, filled, asked. */
#include "model/model.h"
#include "nn/module.h"
#include "nn/run.h"
#include <math.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- architectures */

static const ct_architecture *const architectures[] = {
    &ct_architecture_gpt2,  &ct_architecture_mlp,   &ct_architecture_llama,  &ct_architecture_mistral,
    &ct_architecture_qwen2, &ct_architecture_qwen3, &ct_architecture_gemma2, &ct_architecture_bert,
    &ct_architecture_rnn,   &ct_architecture_vit};

size_t ct_architecture_count(void) {
    return sizeof(architectures) / sizeof(architectures[0]);
}
const ct_architecture *ct_architecture_at(size_t index) {
    return architectures[index];
}

const ct_architecture *ct_architecture_find(ct_context *context, const char *model_type) {
    const char *names[sizeof(architectures) / sizeof(architectures[0])];
    for (size_t i = 0; i < ct_architecture_count(); i++) {
        names[i] = architectures[i]->model_type;
        if (model_type && strcmp(names[i], model_type) == 0) return architectures[i];
    }
    const char *near = model_type ? ct_nearest_name(model_type, names, ct_architecture_count()) : NULL;
    char known[400] = "";
    for (size_t i = 0; i < ct_architecture_count(); i++)
        snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i ? ", " : "", names[i]);
    ct_fail(context, CT_ERROR_UNSUPPORTED,
            "model_type \"%s\" is not one of this build's architectures (%s)%s%s%s",
            model_type ? model_type : "", known, near ? "; did you mean \"" : "", near ? near : "",
            near ? "\"?" : "");
    return NULL;
}

ct_status ct_model_register_kinds(ct_context *context) {
    ct_status status = ct_gpt2_register(context);
    if (status == CT_OK) status = ct_decoder_register(context);
    if (status == CT_OK) status = ct_bert_register(context);
    if (status == CT_OK) status = ct_vit_register(context);
    return status == CT_OK ? ct_rnn_register(context) : status;
}

/* ------------------------------------------------------------------------------------------ building */

/* "rmsnorm" is short for {"name": "rmsnorm"} where a method and its options are expected. */
ct_value *ct_architecture_spell_out(ct_context *context, const ct_architecture *architecture,
                                    const ct_value *config) {
    ct_value *result = ct_value_map(context);
    for (size_t i = 0; result && i < ct_value_count(config); i++) {
        const char *key = ct_value_key(config, i);
        const ct_value *value = ct_value_at(config, i);
        const ct_option *option = ct_options_find(architecture->options, key);
        bool is_short = option && option->type == CT_TYPE_VALUE && ct_value_kind_of(value) == CT_VALUE_STRING;
        ct_value *map = is_short ? ct_value_map(context) : NULL;
        if (map) ct_value_set(map, "name", ct_value_copy(value));
        ct_value_set(result, key, is_short ? map : ct_value_copy(value));
    }
    return result;
}

/* Chat models name several tokens that end a text, models of images may have height and width: the first is the
 * option's value, the others `build` finds in the configuration. */
static bool may_be_list(const char *key, const ct_value *value) {
    static const char *const keys[] = {"eos_token_id", "image_size", "patch_size"};
    bool found = false, list = ct_value_kind_of(value) == CT_VALUE_LIST && ct_value_count(value) > 0;
    for (size_t i = 0; list && i < sizeof(keys) / sizeof(keys[0]); i++)
        found |= strcmp(key, keys[i]) == 0;
    return found;
}

/* Keys of config.json that every file has or that belong to other programs are kept without being looked at:
 * only the architecture's own options are checked. */
static ct_status read_options(ct_model *model) {
    ct_context *context = model->context;
    const ct_option *table = model->architecture->options;
    ct_options_default(table, model->options);
    ct_value *all = ct_architecture_spell_out(context, model->architecture, model->config);
    ct_value *known = ct_value_map(context);
    for (size_t i = 0; known && i < ct_value_count(all); i++) {
        const char *key = ct_value_key(all, i);
        const ct_value *value = ct_value_at(all, i);
        bool absent = ct_value_kind_of(value) == CT_VALUE_NULL;
        if (may_be_list(key, value)) value = ct_value_at(value, 0);
        if (ct_options_find(table, key) && !absent) ct_value_set(known, key, ct_value_copy(value));
    }
    ct_value_free(all);
    model->known = known;
    if (!known || ct_failed(context)) return ct_context_status(context);
    return ct_options_apply(context, table, model->options, known, "config", NULL);
}

/* Modules with an option "layer" keep keys and values: it is their place in the cache, 0, 1, ... in the order
 * of the tree, also after surgery. */
static const ct_option *layer_option(const ct_module *module) {
    const ct_option *option = module->kind->options ? ct_options_find(module->kind->options, "layer") : NULL;
    return option && option->type == CT_TYPE_INT ? option : NULL;
}

static ct_status number_layer(void *user, ct_module *module) {
    int64_t *next = user;
    const ct_option *option = layer_option(module);
    if (!option) return CT_OK;
    *(int64_t *)((char *)module->options + option->offset) = *next;
    return ct_value_set(module->options_value, "layer", ct_value_int(module->context, (*next)++));
}

static ct_status count_layer(void *user, ct_module *module) {
    *(int64_t *)user += layer_option(module) != NULL;
    return CT_OK;
}

static ct_status number_layers(ct_model *model) {
    int64_t next = 0;
    return ct_module_visit(model->root, number_layer, &next);
}

static ct_module *build_tree(ct_model *model) {
    const ct_value *tree = ct_value_get_path(model->config, "carat.tree");
    if (tree) return ct_module_from_value(model->context, tree);
    return model->architecture->build(model->context, model->options, model->config);
}

ct_model *ct_model_create(ct_context *context, const ct_value *config) {
    if (ct_failed(context) || ct_model_register_kinds(context) != CT_OK) return NULL;
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), NULL);
    if (!type) {
        ct_fail(context, CT_ERROR_FORMAT, "the model's configuration has no \"model_type\"");
        return NULL;
    }
    const ct_architecture *architecture = ct_architecture_find(context, type);
    ct_model *model = architecture ? ct_alloc_zero(context, sizeof(*model), CT_MEMORY_OTHER) : NULL;
    if (!model) return NULL;
    model->context = context;
    model->architecture = architecture;
    model->config = ct_value_copy(config);
    model->options = ct_alloc_zero(context, architecture->options_size, CT_MEMORY_OTHER);
    if (model->config && model->options && read_options(model) == CT_OK) {
        if (ct_model_check_place(model, NULL, "config") == CT_OK) model->root = build_tree(model);
        if (model->root && number_layers(model) == CT_OK) ct_model_collect(model);
    }
    if (!ct_failed(context)) return model;
    ct_model_destroy(model);
    return NULL;
}

static void parameter_free(ct_context *context, ct_parameter *parameter) {
    if (!parameter) return;
    ct_drop(parameter->tensor);
    ct_free(context, parameter->name);
    ct_free(context, parameter);
}

void ct_model_destroy(ct_model *model) {
    if (!model) return;
    ct_context *context = model->context;
    for (int64_t i = 0; i < model->count; i++)
        parameter_free(context, model->parameters[i]);
    ct_module_destroy(model->root);
    ct_free(context, model->parameters);
    ct_free(context, model->options);
    ct_free(context, model->folder);
    ct_value_free(model->config);
    ct_value_free(model->known);
    ct_value_free(model->kept);
    ct_value_free(model->metadata);
    ct_free(context, model);
}

/* -------------------------------------------------------------------------------------- parameters */

char *ct_model_file_name(const ct_model *model, const ct_slot *slot, bool bare) {
    const ct_architecture *a = model->architecture;
    const char *path = ct_module_path(slot->module);
    char *full = ct_format(model->context, "%s%s%s", path, *path ? "." : "", slot->name);
    if (!full) return NULL;
    const char *prefix = a->prefix ? a->prefix : "";
    char *name =
        a->file_name ? a->file_name(model->context, full) : ct_format(model->context, "%s%s", prefix, full);
    ct_free(model->context, full);
    size_t length = strlen(prefix);
    if (name && bare && strncmp(name, prefix, length) == 0)
        memmove(name, name + length, strlen(name + length) + 1);
    return name;
}

static ct_status parameter_append(ct_model *model, ct_parameter *parameter) {
    ct_context *context = model->context;
    if (model->count == model->capacity) {
        int64_t capacity = model->capacity ? 2 * model->capacity : 64;
        void *list =
            ct_realloc(context, model->parameters, (size_t)capacity * sizeof(parameter), CT_MEMORY_OTHER);
        if (!list) {
            parameter_free(context, parameter);
            return CT_ERROR_MEMORY;
        }
        model->parameters = list;
        model->capacity = capacity;
    }
    model->parameters[model->count++] = parameter;
    return CT_OK;
}

static ct_parameter *parameter_make(ct_context *context, char *name, ct_tensor *tensor) {
    ct_parameter *parameter = name ? ct_alloc_zero(context, sizeof(*parameter), CT_MEMORY_OTHER) : NULL;
    if (!parameter) {
        ct_free(context, name);
        return NULL;
    }
    parameter->name = name;
    parameter->tensor = ct_hold(tensor);
    parameter->trainable = true;
    return parameter;
}

static ct_status slot_parameter(ct_model *model, ct_slot *slot) {
    ct_context *context = model->context;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_WEIGHTS);
    ct_tensor *tensor = ct_empty(context, slot->options.dtype, slot->ndim, slot->shape);
    ct_context_set_memory_class(context, before);
    ct_parameter *parameter =
        ct_failed(context)
            ? NULL
            : parameter_make(context, ct_model_file_name(model, slot, model->bare_names), tensor);
    ct_scope_close(context, scope);
    if (!parameter) return ct_context_status(context);
    parameter->slot = slot;
    parameter->no_decay = slot->options.no_decay;
    parameter->buffer = slot->options.buffer;
    parameter->trainable = !slot->options.buffer;
    ct_status status = parameter_append(model, parameter);
    if (status == CT_OK) slot->parameter = parameter;
    return status;
}

static ct_slot *slot_by_path(ct_model *model, const char *path) {
    const char *dot = strrchr(path, '.');
    char module_path[512];
    snprintf(module_path, sizeof(module_path), "%.*s", dot ? (int)(dot - path) : 0, path);
    ct_module *module = ct_module_find(model->root, module_path);
    return module ? ct_module_slot_named(module, dot ? dot + 1 : path) : NULL;
}

static ct_status make_missing(void *user, ct_module *module) {
    ct_model *model = user;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->parameter && !slot->options.tied_to && slot_parameter(model, slot) != CT_OK)
            return ct_context_status(model->context);
    }
    return CT_OK;
}

static ct_status tie_missing(void *user, ct_module *module) {
    ct_model *model = user;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->options.tied_to) continue;
        ct_slot *source = slot_by_path(model, slot->options.tied_to);
        slot->parameter = NULL;
        bool fits = source && source->parameter && source->ndim == slot->ndim &&
                    memcmp(source->shape, slot->shape, (size_t)slot->ndim * sizeof(int64_t)) == 0;
        if (!fits)
            return ct_fail(model->context, CT_ERROR_SHAPE, "%s.%s is tied to \"%s\", which %s",
                           ct_module_path(module), slot->name, slot->options.tied_to,
                           source ? "has another shape" : "does not exist");
        slot->parameter = source->parameter;
    }
    return CT_OK;
}

typedef struct ordered {
    ct_parameter **list;
    int64_t count;
} ordered;

static ct_status list_parameters(void *user, ct_module *module) {
    ordered *o = user;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (slot->parameter && slot->parameter->slot == slot) o->list[o->count++] = slot->parameter;
    }
    return CT_OK;
}

/* In the order of the tree, then those that no slot has. */
static ct_status order_parameters(ct_model *model) {
    size_t size = (size_t)model->count * sizeof(ct_parameter *);
    ordered o = {ct_alloc(model->context, size, CT_MEMORY_OTHER), 0};
    if (!o.list) return CT_ERROR_MEMORY;
    ct_module_visit(model->root, list_parameters, &o);
    for (int64_t i = 0; i < model->count; i++)
        if (!model->parameters[i]->slot) o.list[o.count++] = model->parameters[i];
    memcpy(model->parameters, o.list, size);
    ct_free(model->context, o.list);
    return CT_OK;
}

ct_status ct_model_collect(ct_model *model) {
    ct_status status = ct_module_visit(model->root, make_missing, model);
    return status == CT_OK ? ct_module_visit(model->root, tie_missing, model) : status;
}

static ct_status mark_slots(void *user, ct_module *module) {
    (void)user;
    for (int i = 0; i < ct_module_slot_count(module); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->options.tied_to && slot->parameter) slot->parameter->slot = slot;
    }
    return CT_OK;
}

/* After surgery modules are gone whose slots parameters point at: what no slot claims any more is dropped. */
ct_status ct_model_sync(ct_model *model, uint64_t seed) {
    ct_context *context = model->context;
    if (ct_failed(context)) return ct_context_status(context);
    for (int64_t i = 0; i < model->count; i++)
        if (strncmp(model->parameters[i]->name, "carat.", 6) != 0) model->parameters[i]->slot = NULL;
    ct_module_visit(model->root, mark_slots, NULL);
    int64_t kept = 0;
    for (int64_t i = 0; i < model->count; i++) {
        ct_parameter *parameter = model->parameters[i];
        bool extra = strncmp(parameter->name, "carat.", 6) == 0;
        if (!parameter->slot && !extra) {
            parameter_free(context, parameter);
            continue;
        }
        if (!extra) { /* numbered children may have moved */
            char *name = ct_model_file_name(model, parameter->slot, model->bare_names);
            if (name) ct_free(context, parameter->name);
            if (name) parameter->name = name;
        }
        model->parameters[kept++] = parameter;
    }
    model->count = kept;
    if (ct_model_collect(model) != CT_OK || number_layers(model) != CT_OK) return ct_context_status(context);
    for (int64_t i = kept; i < model->count; i++)
        ct_parameter_fill(model->parameters[i], seed);
    if (order_parameters(model) != CT_OK) return ct_context_status(context);
    ct_value_set_path(model->config, "carat.tree", ct_module_to_value(model->root));
    return ct_context_status(context);
}

static ct_status fill(ct_tensor *tensor, const ct_slot_options *o, ct_random *random) {
    switch (o->fill) {
    case CT_FILL_ZEROS:
        return ct_fill(tensor, 0);
    case CT_FILL_ONES:
        return ct_fill(tensor, 1);
    case CT_FILL_NORMAL:
        return ct_fill_normal(tensor, 0, o->scale, random);
    case CT_FILL_UNIFORM:
        return ct_fill_uniform(tensor, -o->scale, o->scale, random);
    }
    return CT_ERROR_ARGUMENT;
}

ct_status ct_parameter_fill(ct_parameter *parameter, uint64_t seed) {
    ct_random random = ct_random_make(seed, ct_random_stream(parameter->name));
    const ct_slot_options *o = &parameter->slot->options;
    ct_tensor *tensor = parameter->tensor;
    if (fill(tensor, o, &random) != CT_OK || o->tail == 0) return ct_context_status(ct_context_of(tensor));
    ct_scope scope = ct_scope_open(ct_context_of(tensor));
    int64_t shape[CT_MAX_DIMS], first = ct_dim(tensor, o->tail_axis) - o->tail;
    for (int i = 0; i < ct_ndim(tensor); i++)
        shape[i] = i == o->tail_axis ? o->tail : ct_dim(tensor, i);
    ct_scale_into(ct_view_strided(tensor, ct_ndim(tensor), shape, ct_strides(tensor),
                                  first * ct_strides(tensor)[o->tail_axis]),
                  o->tail_scale);
    ct_scope_close(ct_context_of(tensor), scope);
    return ct_context_status(ct_context_of(tensor));
}

ct_status ct_model_initialize(ct_model *model, uint64_t seed) {
    for (int64_t i = 0; i < model->count; i++)
        if (model->parameters[i]->slot) ct_parameter_fill(model->parameters[i], seed);
    return ct_context_status(model->context);
}

ct_parameter *ct_model_add_parameter(ct_model *model, const char *name, ct_tensor *tensor) {
    ct_context *context = model->context;
    char *full = ct_format(context, "%s%s", strncmp(name, "carat.", 6) ? "carat." : "", name);
    if (!full || ct_failed(context) || ct_model_find(model, full)) {
        ct_fail(context, CT_ERROR_ARGUMENT, "a parameter \"%s\" exists already", full ? full : name);
        ct_free(context, full);
        return NULL;
    }
    ct_parameter *parameter = parameter_make(context, full, tensor);
    if (!parameter || parameter_append(model, parameter) != CT_OK) return NULL;
    ct_tensor_reclass(tensor, CT_MEMORY_WEIGHTS);
    return parameter;
}

ct_status ct_model_cast(ct_model *model, ct_dtype dtype) {
    ct_context *context = model->context;
    for (int64_t i = 0; i < model->count && !ct_failed(context); i++) {
        ct_parameter *parameter = model->parameters[i];
        if (ct_dtype_of(parameter->tensor) == dtype || !ct_dtype_is_float(ct_dtype_of(parameter->tensor)))
            continue;
        ct_scope scope = ct_scope_open(context);
        ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_WEIGHTS);
        ct_tensor *cast = ct_empty(context, dtype, ct_ndim(parameter->tensor), ct_shape(parameter->tensor));
        ct_context_set_memory_class(context, before);
        if (ct_copy_into(cast, parameter->tensor) == CT_OK) {
            ct_drop(parameter->tensor);
            parameter->tensor = ct_hold(cast);
        }
        ct_scope_close(context, scope);
    }
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------- asking, running */

ct_context *ct_model_context(const ct_model *model) {
    return model->context;
}
const ct_architecture *ct_model_architecture(const ct_model *model) {
    return model->architecture;
}
const void *ct_model_options(const ct_model *model) {
    return model->options;
}
const ct_value *ct_model_config(const ct_model *model) {
    return model->config;
}
ct_value *ct_model_config_edit(ct_model *model) {
    return model->config;
}
ct_module *ct_model_root(const ct_model *model) {
    return model->root;
}
int64_t ct_model_parameter_count(const ct_model *model) {
    return model->count;
}

static int64_t asked(const ct_model *model, int64_t (*function)(const void *)) {
    return function ? function(model->options) : 0;
}
int64_t ct_model_context_length(const ct_model *model) {
    return asked(model, model->architecture->context_length);
}
int64_t ct_model_vocabulary(const ct_model *model) {
    return asked(model, model->architecture->vocabulary);
}
int64_t ct_model_layers(const ct_model *model) {
    int64_t count = 0;
    ct_module_visit(model->root, count_layer, &count);
    return count ? count : asked(model, model->architecture->layers);
}

ct_parameter *ct_model_parameter(ct_model *model, int64_t index) {
    return index >= 0 && index < model->count ? model->parameters[index] : NULL;
}

typedef struct search {
    const ct_model *model;
    const char *name;
    ct_parameter *found;
} search;

static ct_status search_tied(void *user, ct_module *module) {
    search *s = user;
    for (int i = 0; i < ct_module_slot_count(module) && !s->found; i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->options.tied_to) continue;
        char *name = ct_model_file_name(s->model, slot, s->model->bare_names);
        if (!name) return ct_context_status(s->model->context);
        if (strcmp(name, s->name) == 0) s->found = slot->parameter;
        ct_free(s->model->context, name);
    }
    return CT_OK;
}

/* A tied slot's file name is no parameter's. */
ct_parameter *ct_model_find(ct_model *model, const char *name) {
    for (int64_t i = 0; i < model->count; i++)
        if (strcmp(model->parameters[i]->name, name) == 0) return model->parameters[i];
    ct_slot *slot = slot_by_path(model, name);
    if (slot) return slot->parameter;
    search s = {model, name, NULL};
    ct_module_visit(model->root, search_tied, &s);
    return s.found;
}

bool ct_model_image_shape(const ct_model *model, int64_t shape[3]) {
    if (!model->architecture->image_shape) return false;
    model->architecture->image_shape(model->options, model->config, shape);
    return true;
}

/* Axis `axis` of the weight [out, in] of the first or the last linear layer in the root; 0: there is none. */
static int64_t linear_size(const ct_model *model, bool last, int axis) {
    int64_t size = 0;
    for (int i = 0; i < ct_module_child_count(model->root); i++) {
        ct_module *child = ct_module_child(model->root, i);
        const ct_slot *weight = strcmp(child->kind->name, "linear") == 0 ? ct_module_slot_named(child, "weight") : NULL;
        if (weight && weight->ndim == 2 && (last || size == 0)) size = weight->shape[axis];
    }
    return size;
}

int64_t ct_model_features(const ct_model *model) {
    bool other = ct_model_vocabulary(model) > 0 || model->architecture->image_shape;
    return other ? 0 : linear_size(model, false, 1);
}

int64_t ct_model_classes(const ct_model *model) {
    return linear_size(model, true, 0);
}

int64_t ct_model_elements(const ct_model *model, bool trainable_only) {
    int64_t total = 0;
    for (int64_t i = 0; i < model->count; i++)
        if (model->parameters[i]->trainable || (!trainable_only && !model->parameters[i]->buffer))
            total += ct_count(model->parameters[i]->tensor);
    return total;
}

ct_status ct_model_need_causal(const ct_model *model, const char *who) {
    const ct_architecture *a = model->architecture;
    if (a->bidirectional)
        return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                       "%s: a %s is an encoder whose positions see all others: it predicts no next token",
                       who, a->model_type);
    if (ct_model_vocabulary(model) < 1)
        return ct_fail(model->context, CT_ERROR_UNSUPPORTED, "%s: a %s is not a language model", who,
                       a->model_type);
    return CT_OK;
}

ct_tensor *ct_model_forward(ct_model *model, ct_run *run, ct_tensor *input) {
    return ct_forward1(run, model->root, input);
}

ct_tensor *ct_model_forward_last(ct_model *model, ct_run *run, ct_tensor *ids) {
    ct_run_position_of(run)->last_only = true;
    ct_tensor *logits = ct_forward1(run, model->root, ids);
    ct_run_position_of(run)->last_only = false;
    /* Roots may save the work; those that gave all positions ("sequential") are cut here. */
    int64_t time = ct_ndim(logits) == 3 ? ct_dim(logits, 1) : 1;
    return time > 1 ? ct_slice(logits, 1, time - 1, time, 1) : logits;
}
