/* plan.c - the list of tensors that a conversion writes. */
#include "convert/plan.h"
#include <string.h>

ct_status ct_plan_begin(ct_plan *plan, ct_archive *archive) {
    plan->archive = archive;
    plan->dropped = ct_value_list(plan->context);
    return ct_context_status(plan->context);
}

void ct_plan_end(ct_plan *plan) {
    ct_free(plan->context, plan->tensors);
    ct_arena_free(plan->context, &plan->texts);
    ct_value_free(plan->dropped);
    ct_archive_close(plan->archive);
}

/* A block of the arena's that is aligned for numbers. */
static void *keep(ct_plan *plan, const void *data, size_t size) {
    char *room = ct_alloc(plan->context, size + 8, CT_MEMORY_OTHER);
    if (!room) return NULL;
    memset(room, 0, size + 8);
    if (size) memcpy(room, data, size);
    char *copy = ct_arena_copy(plan->context, &plan->texts, room, size + 8);
    if (copy) {
        char *aligned = copy + (8 - (uintptr_t)copy % 8) % 8;
        if (size) memmove(aligned, copy, size);
        copy = aligned;
    }
    ct_free(plan->context, room);
    return copy;
}

static ct_plan_tensor *new_tensor(ct_plan *plan, const char *name) {
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity * 2 + 64;
        ct_plan_tensor *larger =
            ct_realloc(plan->context, plan->tensors, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return NULL;
        plan->tensors = larger;
        plan->capacity = capacity;
    }
    ct_plan_tensor *tensor = &plan->tensors[plan->count];
    *tensor =
        (ct_plan_tensor){.name = ct_arena_copy(plan->context, &plan->texts, name, strlen(name)), .heads = 1};
    if (!tensor->name) return NULL;
    plan->count++;
    return tensor;
}

ct_plan_tensor *ct_plan_add(ct_plan *plan, const char *name, const ct_archive_tensor *source) {
    ct_plan_tensor *tensor = new_tensor(plan, name);
    if (!tensor) return NULL;
    tensor->type = source->type;
    tensor->rank = source->rank;
    tensor->shape = source->shape;
    tensor->count = source->count;
    tensor->source = source;
    return tensor;
}

ct_status ct_plan_add_values(ct_plan *plan, const char *name, const float *values, int64_t count) {
    ct_plan_tensor *tensor = new_tensor(plan, name);
    if (!tensor) return ct_context_status(plan->context);
    tensor->type = (ct_element)CT_FILE_F32;
    tensor->rank = 1;
    tensor->count = count;
    tensor->shape = keep(plan, &count, sizeof count);
    tensor->values = keep(plan, values, (size_t)count * sizeof *values);
    return ct_context_status(plan->context);
}

ct_status ct_plan_transpose(ct_plan *plan, ct_plan_tensor *tensor) {
    if (tensor->rank != 2)
        return ct_fail(plan->context, CT_ERROR_SHAPE,
                       "%s: tensor \"%s\" has %d dimensions, expected a matrix",
                       ct_archive_path(plan->archive), tensor->source->name, tensor->rank);
    const int64_t swapped[2] = {tensor->shape[1], tensor->shape[0]};
    tensor->shape = keep(plan, swapped, sizeof swapped);
    tensor->order = CT_ORDER_TRANSPOSED;
    return ct_context_status(plan->context);
}

ct_status ct_plan_drop(ct_plan *plan, const char *name) {
    return ct_value_append(plan->dropped, ct_value_string(plan->context, name));
}

static bool is_real(ct_element type) {
    switch ((int)type) {
    case CT_FILE_F64:
    case CT_FILE_F32:
    case CT_FILE_F16:
    case CT_FILE_BF16:
    case CT_FILE_F8_E4M3:
    case CT_FILE_F8_E5M2:
        return true;
    default:
        return !ct_element_is_plain(type);
    }
}

ct_element ct_plan_type(ct_element type, ct_element wanted, bool blocks_allowed) {
    if (!is_real(type)) return type;
    if (wanted != CT_ELEMENTS) return wanted;
    return ct_element_is_plain(type) || blocks_allowed ? type : (ct_element)CT_FILE_F32;
}

ct_status ct_plan_check(const ct_plan *plan) {
    for (size_t i = 0; i < plan->count; i++) {
        const ct_plan_tensor *tensor = &plan->tensors[i];
        if (!tensor->source || (tensor->source->type == tensor->type && tensor->add == 0 &&
                                (tensor->order != CT_ORDER_TRANSPOSED || ct_element_is_plain(tensor->type))))
            continue;
        if (!ct_element_describe(tensor->source->type)->decodes)
            return ct_fail(plan->context, CT_ERROR_UNSUPPORTED,
                           "%s: tensor \"%s\" is of type %s, which can be copied but not converted",
                           ct_archive_path(plan->archive), tensor->source->name,
                           ct_element_name(tensor->source->type));
        if (!ct_element_describe(tensor->type)->encodes)
            return ct_fail(
                plan->context, CT_ERROR_UNSUPPORTED, "%s: tensor \"%s\": elements are not written as %s",
                ct_archive_path(plan->archive), tensor->source->name, ct_element_name(tensor->type));
    }
    return CT_OK;
}

ct_value *ct_plan_types(const ct_plan *plan) {
    ct_value *map = ct_value_map(plan->context);
    for (int type = 0; map && type < CT_ELEMENTS; type++) {
        int64_t count = 0;
        for (size_t i = 0; i < plan->count; i++)
            count += (int)plan->tensors[i].type == type;
        if (count) ct_value_set(map, ct_element_name((ct_element)type), ct_value_int(plan->context, count));
    }
    return map;
}

uint64_t ct_plan_bytes(const ct_plan *plan) {
    uint64_t total = 0, size;
    for (size_t i = 0; i < plan->count; i++)
        if (ct_element_tensor_size(plan->tensors[i].type, plan->tensors[i].rank, plan->tensors[i].shape,
                                   &size))
            total += size;
    return total;
}
