/* graph.c - recording operations: nodes, edges, saved values; leaves; gradient mode; the life of nodes. */
#include "autograd/graph.h"
#include <string.h>

enum { GRADIENTS_OFF = 1 };

static void room_destroy(ct_context *context, void *state) {
    context->room[CT_ROOM_AUTOGRAD] = NULL;
    ct_free(context, state);
}

ct_autograd *ct_autograd_of(ct_context *context) {
    ct_autograd *room = context->room[CT_ROOM_AUTOGRAD];
    if (room) return room;
    ct_tensor_room *tensors = ct_tensor_room_of(context);
    room = tensors ? ct_alloc_zero(context, sizeof(*room), CT_MEMORY_OTHER) : NULL;
    if (!room) return NULL;
    room->random = ct_random_make(0, ct_random_stream("default"));
    tensors->node_release = ct_node_release;
    context->room[CT_ROOM_AUTOGRAD] = room;
    context->room_destroy[CT_ROOM_AUTOGRAD] = room_destroy;
    return room;
}

bool ct_grad_mode(const ct_context *context) { return !(context->flags & GRADIENTS_OFF); }

bool ct_grad_mode_set(ct_context *context, bool on) {
    bool before = ct_grad_mode(context);
    context->flags = on ? context->flags & ~GRADIENTS_OFF : context->flags | GRADIENTS_OFF;
    return before;
}

/* Made once for a context that never got its room: draws then still work, the failure is already recorded. */
ct_random *ct_default_random(ct_context *context) {
    static _Thread_local ct_random last_resort;
    ct_autograd *room = ct_autograd_of(context);
    return room ? &room->random : &last_resort;
}

void ct_seed(ct_context *context, uint64_t seed) {
    *ct_default_random(context) = ct_random_make(seed, ct_random_stream("default"));
}

/* ---------------------------------------------------------------------------------------------- leaves */

static void leaf_vjp(const ct_vjp *call, ct_tensor **input_gradients) {
    (void)call, (void)input_gradients; /* leaves have no operands */
}
const ct_rule ct_leaf_rule = {.name = "leaf", .vjp = leaf_vjp};

static ct_node *leaf_create(ct_tensor *tensor) {
    ct_context *context = tensor->context;
    ct_autograd *room = ct_autograd_of(context);
    ct_node *node = room ? ct_alloc_zero(context, sizeof(*node), CT_MEMORY_OTHER) : NULL;
    ct_leaf *leaf = node ? ct_alloc_zero(context, sizeof(*leaf), CT_MEMORY_OTHER) : NULL;
    if (!leaf) {
        ct_free(context, node);
        return NULL;
    }
    node->references = 1;
    node->sequence = ++room->sequence;
    node->context = context;
    node->rule = &ct_leaf_rule;
    node->output_count = 1;
    node->leaf = leaf;
    ct_scope scope = ct_scope_open(context);
    leaf->alias = ct_hold(ct_alias(tensor));
    ct_scope_close(context, scope);
    return node;
}

ct_status ct_require_grad(ct_tensor *tensor, bool required) {
    ct_context *context = tensor->context;
    if (ct_failed(context)) return ct_context_status(context);
    if (tensor->node && !tensor->node->leaf)
        return ct_fail(context, CT_ERROR_STATE, "require_grad: the result of %s is not a leaf; detach it first",
                       tensor->node->rule->name);
    if (!required) {
        if (tensor->node) ct_node_release(tensor->node);
        tensor->node = NULL;
        return CT_OK;
    }
    if (!ct_dtype_is_float(ct_dtype_of(tensor)))
        return ct_fail(context, CT_ERROR_TYPE, "require_grad: a tensor of %s has no gradient",
                       ct_dtype_name(ct_dtype_of(tensor)));
    if (!tensor->node) tensor->node = leaf_create(tensor);
    return tensor->node ? CT_OK : CT_ERROR_MEMORY;
}

bool ct_requires_grad(const ct_tensor *tensor) { return tensor->node != NULL; }
bool ct_has_node(const ct_tensor *tensor) { return tensor->node && !tensor->node->leaf; }

ct_tensor *ct_gradient(const ct_tensor *tensor) {
    if (!tensor->node || !tensor->node->leaf) return NULL;
    ct_leaf *leaf = tensor->node->leaf;
    ct_parallel_finish(tensor->context); /* asked for by a sink, say, while the pass runs */
    for (int use = 1; use < CT_LEAF_USES && leaf->gradient[use]; use++) {
        ct_add_into(leaf->gradient[0], leaf->gradient[use], 1.0);
        ct_drop(leaf->gradient[use]);
        leaf->gradient[use] = NULL;
    }
    return leaf->gradient[0];
}

static void leaf_clear(ct_leaf *leaf) {
    for (int use = 0; use < CT_LEAF_USES; use++) {
        ct_drop(leaf->gradient[use]);
        leaf->gradient[use] = NULL;
    }
}

static ct_leaf *leaf_of(ct_tensor *tensor, const char *call) {
    if (tensor->node && tensor->node->leaf) return tensor->node->leaf;
    ct_fail(tensor->context, CT_ERROR_STATE, "%s: the tensor is not a leaf that requires a gradient", call);
    return NULL;
}

ct_status ct_gradient_set(ct_tensor *tensor, ct_tensor *gradient) {
    ct_leaf *leaf = leaf_of(tensor, "gradient_set");
    if (!leaf) return ct_context_status(tensor->context);
    if (gradient && !ct_same_shape(tensor, gradient))
        return ct_fail(tensor->context, CT_ERROR_SHAPE, "gradient_set: the gradient has another shape than the leaf");
    ct_hold(gradient);
    leaf_clear(leaf);
    leaf->gradient[0] = gradient;
    return CT_OK;
}

ct_status ct_set_gradient_sink(ct_tensor *tensor, ct_gradient_sink sink, void *user) {
    ct_leaf *leaf = leaf_of(tensor, "set_gradient_sink");
    if (!leaf) return ct_context_status(tensor->context);
    leaf->sink = sink;
    leaf->user = user;
    return CT_OK;
}

/* A gradient that nobody else sees (its one handle is the pass's, its storage has one user) becomes the leaf's own. */
static bool exclusive(const ct_tensor *t) {
    return t->references == 1 && !t->node && t->storage && t->storage->references == 1 && !t->storage->release &&
           ct_is_contiguous(t);
}

ct_status ct_leaf_accumulate(ct_node *node, int use, ct_tensor *gradient) {
    ct_context *context = node->context;
    ct_tensor **sum = &node->leaf->gradient[use];
    if (*sum == gradient) return ct_context_status(context); /* the rule has added to it */
    if (*sum || !exclusive(gradient)) ct_parallel_finish(context);
    if (*sum) return ct_add_into(*sum, gradient, 1.0);
    ct_scope scope = ct_scope_open(context);
    if (!exclusive(gradient)) {
        ct_tensor *copy = ct_empty_like(gradient);
        ct_copy_into(copy, gradient);
        gradient = copy;
    }
    if (!ct_failed(context)) {
        *sum = ct_hold(gradient);
        ct_tensor_reclass(gradient, CT_MEMORY_GRADIENTS);
    }
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

ct_status ct_leaf_deliver(ct_node *node, ct_tensor *gradient) {
    ct_leaf *leaf = node->leaf;
    ct_context *context = node->context;
    if (!leaf->sink) return ct_leaf_accumulate(node, 0, gradient);
    if (exclusive(gradient)) ct_tensor_reclass(gradient, CT_MEMORY_GRADIENTS);
    ct_status status = leaf->sink(leaf->user, leaf->alias, gradient);
    if (status != CT_OK && !ct_failed(context))
        return ct_fail(context, status, "a gradient sink failed: %s", ct_status_name(status));
    return ct_failed(context) ? ct_context_status(context) : status;
}

/* ------------------------------------------------------------------------------------------- recording */

static void node_set_operands(ct_node *node, ct_tensor *const *operands, int count) {
    for (int i = 0; i < count; i++) {
        ct_operand *operand = &node->operands[i];
        const ct_tensor *t = operands[i];
        memset(operand, 0, offsetof(ct_operand, shape));
        if (!t) continue;
        operand->node = t->node;
        operand->output = t->output;
        operand->dtype = t->dtype;
        operand->ndim = t->ndim;
        memcpy(operand->shape, t->shape, (size_t)t->ndim * sizeof(int64_t));
        if (t->node) t->node->references++;
    }
}

ct_node *ct_record(ct_context *context, const ct_rule *rule, ct_tensor *const *operands, int operand_count,
                   ct_tensor *const *outputs, int output_count, const void *attributes) {
    if (!ct_grad_mode(context) || ct_failed(context)) return NULL;
    bool any = false;
    for (int i = 0; i < operand_count && !any; i++) any = operands[i] && operands[i]->node;
    if (!any) return NULL;
    ct_autograd *room = ct_autograd_of(context);
    size_t head = sizeof(ct_node) + (size_t)operand_count * sizeof(ct_operand);
    ct_node *node = room ? ct_alloc(context, head + rule->attribute_size, CT_MEMORY_OTHER) : NULL;
    if (!node) return NULL;
    memset(node, 0, offsetof(ct_node, saved));
    node->references = output_count;
    node->sequence = ++room->sequence;
    node->context = context;
    node->rule = rule;
    node->operand_count = operand_count;
    node->output_count = output_count;
    node->attributes = (char *)node + head;
    if (rule->attribute_size) memcpy(node->attributes, attributes, rule->attribute_size);
    node_set_operands(node, operands, operand_count);
    for (int j = 0; j < output_count; j++) {
        outputs[j]->node = node;
        outputs[j]->output = j;
    }
    return node;
}

enum { REPEAT_BYTES = 1 << 20 }; /* smaller values are cheaper kept than made again */

static bool is_repeated(const ct_node *node, const ct_tensor *value, ct_saved_kind kind, int index) {
    if (kind != CT_SAVED_OPERAND || !node->operands[index].node || node->operands[index].output != 0) return false;
    const ct_node *producer = node->operands[index].node;
    if (value->node != producer || value->count * (int64_t)ct_dtype_size(ct_dtype_of(value)) < REPEAT_BYTES) return false;
    return producer->rule->can_repeat && producer->rule->can_repeat(producer->attributes);
}

static void save(ct_node *node, ct_tensor *value, ct_saved_kind kind, int index) {
    if (!node) return;
    ct_context *context = node->context;
    if (node->saved_count == CT_MAX_SAVED) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "%s saves more than %d values", node->rule->name, CT_MAX_SAVED);
        return;
    }
    ct_autograd *room = ct_autograd_of(context);
    ct_saved_slot *slot = &node->saved[node->saved_count++];
    memset(slot, 0, sizeof(*slot));
    slot->kind = (uint8_t)kind;
    slot->index = index;
    if (!value) return;
    slot->repeated = is_repeated(node, value, kind, index);
    if (slot->repeated) return;
    slot->version = ct_version(value);
    ct_scope scope = ct_scope_open(context);
    ct_tensor *alias = ct_alias(value);
    if (room->hook_count) {
        slot->hooks = room->hooks[room->hook_count - 1];
        bool is_leaf = value->node && value->node->leaf;
        slot->token = slot->hooks.pack(slot->hooks.user, alias, is_leaf);
    } else {
        slot->alias = ct_hold(alias);
    }
    ct_scope_close(context, scope);
}

void ct_save_operand(ct_node *node, int operand, ct_tensor *value) { save(node, value, CT_SAVED_OPERAND, operand); }
void ct_save_output(ct_node *node, int output, ct_tensor *value) { save(node, value, CT_SAVED_OUTPUT, output); }
void ct_save_value(ct_node *node, ct_tensor *value) { save(node, value, CT_SAVED_VALUE, 0); }

/* The same region as `value`, connected to the graph at (node, output). */
static ct_tensor *connected(ct_tensor *value, ct_node *node, int output) {
    ct_tensor *alias = ct_alias(value);
    if (!node || !alias->storage) return alias;
    node->references++;
    alias->node = node;
    alias->output = output;
    return alias;
}

/* The producer's own backward pass comes later, so its saved values are still there. */
static ct_tensor *repeat(ct_node *producer) {
    ct_context *context = producer->context;
    if (producer->freed) {
        ct_fail(context, CT_ERROR_STATE, "%s: its saved values were freed by an earlier backward pass",
                producer->rule->name);
        return ct_inert(context, CT_F32, 0, NULL);
    }
    bool before = ct_grad_mode_set(context, false);
    ct_vjp call = {context, producer, producer->attributes, NULL, NULL, false, NULL};
    ct_tensor *value = producer->rule->repeat(&call);
    ct_grad_mode_set(context, before);
    return value;
}

ct_tensor *ct_saved(const ct_vjp *call, int position) {
    ct_node *node = call->node;
    ct_context *context = call->context;
    if (position < 0 || position >= node->saved_count) {
        ct_fail(context, CT_ERROR_ARGUMENT, "%s: saved value %d was asked for, there are %d", node->rule->name,
                position, node->saved_count);
        return ct_inert(context, CT_F32, 0, NULL);
    }
    ct_saved_slot *slot = &node->saved[position];
    ct_tensor *value = slot->alias;
    if (slot->repeated) {
        value = repeat(node->operands[slot->index].node);
    } else if (slot->hooks.unpack) {
        value = slot->hooks.unpack(slot->hooks.user, slot->token);
        if (!value) return ct_inert(context, CT_F32, 0, NULL);
    } else if (!value) {
        return NULL; /* an absent operand was saved as such */
    } else if (ct_version(value) != slot->version) {
        ct_fail(context, CT_ERROR_STATE,
                "%s: a value that the backward pass needs was changed in place (version %llu, saved at %llu)",
                node->rule->name, (unsigned long long)ct_version(value), (unsigned long long)slot->version);
        return value;
    }
    if (!call->recording || slot->kind == CT_SAVED_VALUE) return value;
    if (slot->kind == CT_SAVED_OUTPUT) return connected(value, node, slot->index);
    const ct_operand *operand = &node->operands[slot->index];
    return connected(value, operand->node, operand->output);
}

int ct_operand_ndim(const ct_vjp *call, int operand) { return call->node->operands[operand].ndim; }
const int64_t *ct_operand_shape(const ct_vjp *call, int operand) { return call->node->operands[operand].shape; }
ct_dtype ct_operand_dtype(const ct_vjp *call, int operand) {
    return (ct_dtype)call->node->operands[operand].dtype;
}

/* --------------------------------------------------------------------------------------- life of nodes */

void ct_node_free_saved(ct_node *node) {
    if (node->freed) return;
    node->freed = true;
    for (int i = 0; i < node->saved_count; i++) {
        ct_saved_slot *slot = &node->saved[i];
        ct_drop(slot->alias);
        if (slot->hooks.release) slot->hooks.release(slot->hooks.user, slot->token);
        slot->alias = NULL;
        slot->token = NULL;
    }
}

static void node_free(ct_node *node) {
    ct_node_free_saved(node);
    for (int i = 0; i < node->operand_count; i++)
        if (node->operands[i].node) ct_node_release(node->operands[i].node);
    if (node->leaf) {
        ct_drop(node->leaf->alias);
        leaf_clear(node->leaf);
        ct_free(node->context, node->leaf);
    }
    if (node->rule->release) node->rule->release(node->attributes);
    ct_free(node->context, node);
}

/* A long chain of nodes must not be freed by recursion: nodes freed while one is being freed wait in a list. */
void ct_node_release(ct_node *node) {
    if (--node->references > 0) return;
    ct_autograd *room = node->context->room[CT_ROOM_AUTOGRAD];
    if (!room) return; /* the context is going, and all its memory with it */
    node->next = room->doomed;
    room->doomed = node;
    if (room->freeing) return;
    room->freeing = true;
    while (room->doomed) {
        ct_node *doomed = room->doomed;
        room->doomed = doomed->next;
        node_free(doomed);
    }
    room->freeing = false;
}
