/* role.c - what a parameter is in its model: matrix, embedding, norm gain, output layer; and its view as a
 * matrix with a row for each output channel. */
#include "optimizer/internal.h"
#include <string.h>

static const char *const names[] = {"auto",   "matrix", "output",  "embedding", "gain",
                                    "offset", "bias",   "adapter", "other"};

const char *ct_role_name(ct_role role) {
    return (size_t)role < sizeof(names) / sizeof(names[0]) ? names[role] : "?";
}

static bool is_kind(const ct_module *module, const char *name) {
    return strcmp(ct_module_kind_of(module)->name, name) == 0;
}

static bool is_linear(const ct_module *module) {
    return is_kind(module, "linear") || is_kind(module, "conv1d");
}

/* Logits come from the last linear layer that stands directly in the model, not in one of its blocks. */
static bool is_output(const ct_module *module) {
    const ct_module *root = ct_module_parent(module), *last = NULL;
    if (!root || ct_module_parent(root)) return false;
    for (int i = 0; i < ct_module_child_count(root); i++)
        if (is_linear(ct_module_child(root, i))) last = ct_module_child(root, i);
    return module == last;
}

/* Norms are the modules whose weight is a vector. */
static ct_role role_of_vector(const ct_slot *slot) {
    const ct_slot *weight = ct_module_slot_named(slot->module, "weight");
    bool norm = weight && weight->ndim == 1;
    if (norm && weight == slot) return CT_ROLE_GAIN;
    if (strcmp(slot->name, "bias") != 0) return CT_ROLE_OTHER;
    return norm ? CT_ROLE_OFFSET : CT_ROLE_BIAS;
}

static ct_role role_of(const ct_parameter *parameter, int ndim) {
    const ct_slot *slot = parameter->slot;
    if (!slot || !slot->module) return ndim >= 2 ? CT_ROLE_MATRIX : CT_ROLE_OTHER;
    if (ndim < 2) return role_of_vector(slot);
    if (is_kind(slot->module, "embedding") || is_kind(slot->module, "vit.embeddings")) return CT_ROLE_EMBEDDING;
    return is_linear(slot->module) && is_output(slot->module) ? CT_ROLE_OUTPUT : CT_ROLE_MATRIX;
}

void ct_optimizer_describe(const ct_parameter *parameter, ct_role role, ct_optimizer_tensor *tensor) {
    const ct_tensor *weight = parameter->tensor;
    const ct_slot *slot = parameter->slot;
    *tensor = (ct_optimizer_tensor){.name = parameter->name,
                                    .module = slot ? slot->module : NULL,
                                    .ndim = ct_ndim(weight),
                                    .shape = ct_shape(weight),
                                    .count = ct_count(weight),
                                    .meta = ct_device_of(weight) == CT_META};
    tensor->role = role == CT_ROLE_AUTO ? role_of(parameter, tensor->ndim) : role;
    tensor->transposed = tensor->ndim == 2 && slot && slot->module && is_kind(slot->module, "conv1d");
    tensor->rows = tensor->ndim == 0 ? 1 : tensor->shape[tensor->transposed ? 1 : 0];
    tensor->columns = tensor->rows > 0 ? tensor->count / tensor->rows : 0;
}
