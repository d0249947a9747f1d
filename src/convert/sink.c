/* sink.c - the writers of safetensors, GGUF and npz behind one set of calls. */
#include "convert/sink.h"
#include "format/archive_sink.h"

ct_status ct_sink_declare(ct_sink *sink, const ct_plan *plan) {
    ct_status status = ct_context_status(plan->context);
    for (size_t i = 0; i < plan->count && !status; i++) {
        const ct_plan_tensor *tensor = &plan->tensors[i];
        if (sink->safetensors)
            status = ct_safetensors_declare(sink->safetensors, tensor->name, (ct_file_dtype)tensor->type,
                                            tensor->rank, tensor->shape);
        else if (sink->gguf)
            status = ct_gguf_declare(sink->gguf, tensor->name, tensor->type, tensor->rank, tensor->shape);
    }
    return status;
}

ct_status ct_sink_begin(ct_sink *sink, const ct_plan_tensor *tensor, ct_writer **file, uint64_t *offset) {
    *file = NULL;
    if (sink->safetensors) return ct_safetensors_place(sink->safetensors, file, offset);
    if (sink->gguf) return ct_gguf_place(sink->gguf, file, offset);
    return ct_npz_begin(sink->npz, tensor->name, (ct_file_dtype)tensor->type, tensor->rank, tensor->shape);
}

ct_status ct_sink_write(ct_sink *sink, const void *data, size_t size) {
    return ct_npz_write(sink->npz, data, size); /* the others give a file to write to */
}

ct_status ct_sink_commit(ct_sink *sink) {
    ct_sink taken = *sink;
    *sink = (ct_sink){0};
    if (taken.safetensors) return ct_safetensors_commit(taken.safetensors);
    return taken.gguf ? ct_gguf_commit(taken.gguf) : ct_npz_commit(taken.npz);
}

void ct_sink_abandon(ct_sink *sink) {
    ct_safetensors_abandon(sink->safetensors);
    ct_gguf_abandon(sink->gguf);
    ct_npz_abandon(sink->npz);
    *sink = (ct_sink){0};
}
