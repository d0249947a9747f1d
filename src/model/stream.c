/* stream.c - what touches the residual stream of a transformer, and keeping the mean of that stream at 0. */
#include "model/model.h"
#include "nn/block.h"
#include "nn/run.h"
#include <carat/norm.h>
#include <string.h>

static ct_module *block_list(ct_module *module) {
    if (ct_module_kind_of(module)->forward == ct_block_list_forward) return module;
    for (int i = 0; i < ct_module_child_count(module); i++) {
        ct_module *found = block_list(ct_module_child(module, i));
        if (found) return found;
    }
    return NULL;
}

/* The module of a pattern in block `block`; NULL if it is not there. */
static ct_module *resolve(ct_model *model, const char *pattern, int block) {
    char path[300];
    const char *star = strchr(pattern, '*');
    if (star)
        snprintf(path, sizeof(path), "%.*s%d%s", (int)(star - pattern), pattern, block, star + 1);
    else
        snprintf(path, sizeof(path), "%s", pattern);
    return ct_module_find(model->root, path);
}

static bool described(const ct_stream_part *parts, const char *path) {
    for (; parts->module; parts++)
        if (ct_pattern_matches(parts->module, path) || (parts->norm && ct_pattern_matches(parts->norm, path)))
            return true;
    return false;
}

/* Modules with parameters that nobody described may read or write the stream. */
static ct_status check_known(void *user, ct_module *module) {
    const ct_model *model = user;
    const char *path = ct_module_path(module);
    if (ct_module_slot_count(module) == 0 || described(model->architecture->stream, path)) return CT_OK;
    return ct_fail(
        model->context, CT_ERROR_UNSUPPORTED,
        "the raw stream may be read by \"%s\" (%s): the rewrite needs every read to go through a norm", path,
        ct_module_kind_of(module)->name);
}

static ct_status check_places(ct_model *model, ct_module *list) {
    for (int i = 0; i < ct_module_child_count(list); i++) {
        ct_module *block = ct_module_child(list, i);
        const ct_block_options *o = ct_module_options(block);
        bool is_block = ct_module_kind_of(block)->forward == ct_block_forward;
        if (is_block && o->place == CT_PLACE_PRE) continue;
        return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                       "%s normalises after the residual sum (%s \"%s\"); the rewrite needs pre-norm",
                       model->folder ? model->folder : "the model", is_block ? "block" : "module",
                       ct_module_path(block));
    }
    return CT_OK;
}

static ct_status visit_part(ct_model *model, const ct_stream_part *part, int block, ct_stream_visitor visit,
                            void *user) {
    ct_module *module = resolve(model, part->module, block);
    ct_module *norm = part->norm ? resolve(model, part->norm, block) : NULL;
    if (part->optional && !module) return CT_OK;
    if (part->role == CT_STREAM_OUTPUT && module && norm) return CT_OK;
    bool alone = part->role == CT_STREAM_OUTPUT;
    const char *missing = !module ? part->module : part->norm && !norm && !alone ? part->norm : NULL;
    if (missing)
        return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                       "the model has no \"%s\" in block %d: it was changed", missing, block);
    return visit(user, part->role, module, norm);
}

ct_status ct_stream_visit(ct_model *model, ct_stream_visitor visit, void *user) {
    const ct_stream_part *parts = model->architecture->stream;
    ct_module *list = block_list(model->root);
    ct_status status = list ? check_places(model, list) : CT_OK;
    if (status == CT_OK && (!list || !parts))
        return ct_fail(model->context, CT_ERROR_UNSUPPORTED, "a %s has no residual stream that is described",
                       model->architecture->model_type);
    if (status == CT_OK) status = ct_module_visit(model->root, check_known, model);
    for (; status == CT_OK && parts->module; parts++) {
        int count = strchr(parts->module, '*') ? ct_module_child_count(list) : 1;
        for (int b = 0; b < count && status == CT_OK; b++)
            status = visit_part(model, parts, b, visit, user);
    }
    return status;
}

static ct_status find_tied(void *user, ct_module *module) {
    for (int i = 0; i < ct_module_slot_count(module); i++)
        if (ct_module_slot_at(module, i)->options.tied_to) *(bool *)user = true;
    return CT_OK;
}

bool ct_model_is_tied(const ct_model *model) {
    bool tied = false;
    ct_module_visit(model->root, find_tied, &tied);
    return tied;
}

/* -------------------------------------------------------------------------------------------- centring */

/* Which axis of a slot are the channels of the stream: the last of tables, biases and conv1d weights [in,
 * out], the first of other weights [out, in ...]. */
int ct_stream_axis(ct_stream_role role, const ct_slot *slot) {
    bool in_first = strcmp(ct_module_kind_of(slot->module)->name, "conv1d") == 0;
    return role == CT_STREAM_TABLE || in_first ? slot->ndim - 1 : 0;
}

static bool writes(ct_stream_role role) {
    return role == CT_STREAM_TABLE || role == CT_STREAM_WRITER;
}

ct_tensor *ct_stream_project(ct_tensor *weight, int axis) {
    return ct_sub(weight, ct_mean(weight, 1, &axis, true));
}

typedef struct asked {
    const ct_slot *slot;
    int axis; /* -1: not a writer's */
} asked;

static ct_status ask(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    (void)norm;
    asked *a = user;
    if (module == a->slot->module && writes(role)) a->axis = ct_stream_axis(role, a->slot);
    return CT_OK;
}

static ct_tensor *centred(void *user, ct_run *run, const ct_slot *slot, ct_tensor *present) {
    (void)run;
    asked a = {slot, -1};
    if (!present || ct_stream_visit(user, ask, &a) != CT_OK || a.axis < 0) return present;
    return ct_stream_project(present, a.axis);
}

/* On another norm the mean is no part of the function, or is all of it. */
static ct_status need_rms(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    const ct_model *model = user;
    if (writes(role)) return CT_OK;
    if (role == CT_STREAM_OUTPUT) norm = module;
    const ct_norm_method *method = ct_norm_method_of(norm);
    if (method && strcmp(method->method.name, "rmsnorm") == 0) return CT_OK;
    return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                   "%s is \"%s\": a stream is kept centred for rmsnorm alone", ct_module_path(norm),
                   method ? method->method.name : ct_module_kind_of(norm)->name);
}

static ct_status check_rms(ct_model *model) {
    if (ct_stream_visit(model, need_rms, model) != CT_OK || !ct_model_is_tied(model))
        return ct_context_status(model->context);
    return ct_fail(model->context, CT_ERROR_UNSUPPORTED,
                   "the head is tied to a table that has to be centred, while the head has to stay as it is: set "
                   "tie_word_embeddings: false");
}

ct_status ct_stream_centre(ct_model *model, ct_run *run) {
    ct_status status = check_rms(model);
    return status == CT_OK ? ct_run_push_overlay(run, &(ct_overlay){centred, model}) : status;
}

static ct_status centre_weights(void *user, ct_stream_role role, ct_module *module, ct_module *norm) {
    (void)norm;
    const ct_model *model = user;
    for (int i = 0; writes(role) && i < ct_module_slot_count(module); i++) {
        const ct_slot *slot = ct_module_slot_at(module, i);
        ct_scope scope = ct_scope_open(model->context);
        ct_tensor *weight = slot->parameter->tensor;
        ct_copy_into(weight, ct_stream_project(ct_detach(weight), ct_stream_axis(role, slot)));
        ct_scope_close(model->context, scope);
    }
    return ct_context_status(model->context);
}

ct_status ct_stream_centre_weights(ct_model *model) {
    bool before = ct_grad_mode_set(model->context, false);
    if (check_rms(model) == CT_OK) ct_stream_visit(model, centre_weights, model);
    ct_grad_mode_set(model->context, before);
    return ct_context_status(model->context);
}
