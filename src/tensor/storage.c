/* storage.c - reference-counted storage, and the tensor room's state in a context: the pool of handles that scopes
 * release, the device, the accounting class, the count of operations. */
#include "base/context.h"
#include "tensor/shadow.h"
#include "tensor/tensor.h"
#include <string.h>

static void *scope_mark(ct_context *context) {
    return (void *)(uintptr_t)ct_scope_open(context);
}

static void scope_unwind(ct_context *context, void *mark) {
    ct_scope_close(context, (ct_scope)(uintptr_t)mark);
}

static void room_destroy(ct_context *context, void *state) {
    ct_tensor_room *room = state;
    ct_scope_close(context, 0);
    ct_free(context, room->pool);
    context->room[CT_ROOM_TENSOR] = NULL;
    ct_free(context, room);
}

ct_tensor_room *ct_tensor_room_of(ct_context *context) {
    if (!context) return NULL;
    ct_tensor_room *room = context->room[CT_ROOM_TENSOR];
    if (room) return room;
    room = ct_alloc_zero(context, sizeof(*room), CT_MEMORY_OTHER);
    if (!room) return NULL;
    room->device = CT_CPU;
    room->memory_class = CT_MEMORY_ACTIVATIONS;
    room->inert.context = context;
    room->inert.references = INT64_MAX / 2; /* never freed */
    room->inert.count = 1;
    context->room[CT_ROOM_TENSOR] = room;
    context->room_destroy[CT_ROOM_TENSOR] = room_destroy;
    context->scope_mark = scope_mark;
    context->scope_unwind = scope_unwind;
    return room;
}

ct_status ct_context_set_device(ct_context *context, ct_device device) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (!room) return CT_ERROR_MEMORY;
    room->device = device;
    return CT_OK;
}

ct_device ct_context_device(const ct_context *context) {
    const ct_tensor_room *room = context->room[CT_ROOM_TENSOR];
    return room ? room->device : CT_CPU;
}

uint64_t ct_context_flops(const ct_context *context) {
    const ct_tensor_room *room = context->room[CT_ROOM_TENSOR];
    return room ? room->flops : 0;
}

void ct_context_reset_flops(ct_context *context) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (room) room->flops = 0;
}

void ct_count_flops(ct_context *context, uint64_t flops) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (room) room->flops += flops;
}

ct_memory_class ct_context_set_memory_class(ct_context *context, ct_memory_class which) {
    ct_tensor_room *room = ct_tensor_room_of(context);
    if (!room) return which;
    ct_memory_class before = room->memory_class;
    room->memory_class = which;
    return before;
}

ct_storage *ct_storage_create(ct_context *context, size_t bytes, ct_device device, ct_memory_class which) {
    ct_storage *storage = ct_alloc_zero(context, sizeof(*storage), CT_MEMORY_OTHER);
    if (!storage) return NULL;
    storage->references = 1;
    storage->context = context;
    storage->device = device;
    storage->memory_class = which;
    if (device == CT_META) {
        storage->bytes = ct_memory_rounded(bytes);
        ct_memory_count(context, storage->bytes, which);
        return storage;
    }
    storage->data = ct_alloc(context, bytes, which);
    if (!storage->data) {
        ct_free(context, storage);
        return NULL;
    }
    storage->bytes = ct_memory_rounded(bytes);
    return storage;
}

void ct_storage_release(ct_storage *storage) {
    if (!storage || --storage->references > 0) return;
    if (storage->shadow) ct_shadow_release(storage);
    if (storage->release)
        storage->release(storage->user);
    else if (storage->device == CT_META)
        ct_memory_uncount(storage->context, storage->bytes, storage->memory_class);
    else if (storage->bytes)
        ct_free(storage->context, storage->data);
    ct_free(storage->context, storage);
}

void ct_tensor_reclass(ct_tensor *tensor, ct_memory_class which) {
    ct_storage *storage = tensor->storage;
    if (!storage || storage->memory_class == which || storage->release) return;
    if (storage->device == CT_META) {
        ct_memory_uncount(storage->context, storage->bytes, storage->memory_class);
        ct_memory_count(storage->context, storage->bytes, which);
    } else if (storage->bytes) {
        ct_memory_reclass(storage->context, storage->data, which);
    }
    storage->memory_class = which;
}
