/* save.c - models to Hugging Face folders: config.json, model.safetensors, and the side files of the folder
 * that the model came from. */
#include "model/model.h"
#include <string.h>

enum { CHUNK = 1 << 18 }; /* elements converted at a time */

static const char *const written_here[] = {"config.json", NULL};

/* What a parameter is written as: itself, or what the overlays of a run make of it. */
static ct_tensor *value_of(ct_parameter *parameter, ct_run *run) {
    if (!run || !parameter->slot) return parameter->tensor;
    return ct_run_weight(run, parameter->slot);
}

static bool is_extra(const ct_parameter *parameter) {
    return strncmp(parameter->name, "carat.", 6) == 0;
}

/* A weight whose elements are made when they are read. */
static ct_status write_generated(ct_context *context, ct_safetensors_writer *writer, ct_tensor *tensor, ct_dtype dtype) {
    int64_t rows = ct_dim(tensor, 0), columns = ct_dim(tensor, 1), at_once = CHUNK / (columns ? columns : 1) + 1;
    size_t row_bytes = (size_t)columns * ct_dtype_size(dtype);
    char *buffer = ct_alloc(context, (size_t)at_once * row_bytes + 1, CT_MEMORY_WORKSPACE);
    for (int64_t at = 0; buffer && at < rows && !ct_failed(context); at += at_once) {
        ct_scope scope = ct_scope_open(context);
        int64_t count = rows - at < at_once ? rows - at : at_once;
        ct_tensor *piece =
            ct_view_strided(tensor, 2, (const int64_t[]){count, columns}, ct_strides(tensor), at * ct_strides(tensor)[0]);
        if (ct_read(piece, dtype, buffer) == CT_OK) ct_safetensors_write(writer, buffer, (size_t)count * row_bytes);
        ct_scope_close(context, scope);
    }
    ct_free(context, buffer);
    return ct_context_status(context);
}

static ct_status write_tensor(ct_context *context, ct_safetensors_writer *writer, ct_tensor *tensor,
                              ct_dtype dtype) {
    size_t size = ct_dtype_size(dtype);
    if (ct_ndim(tensor) == 2 && ct_count(tensor) > 0 && !ct_data(tensor) && ct_device_of(tensor) == CT_CPU)
        return write_generated(context, writer, tensor, dtype);
    ct_tensor *whole = ct_contiguous(tensor);
    int64_t count = ct_count(whole);
    if (ct_dtype_of(whole) == dtype)
        return ct_safetensors_write(writer, ct_data(whole), (size_t)count * size);
    ct_tensor *flat = ct_view_strided(whole, 1, &count, (const int64_t[]){1}, 0);
    for (int64_t at = 0; at < count && !ct_failed(context); at += CHUNK) {
        ct_scope scope = ct_scope_open(context);
        int64_t n = count - at < CHUNK ? count - at : CHUNK;
        ct_tensor *piece = ct_empty(context, dtype, 1, &n);
        ct_copy_into(piece, ct_view_strided(flat, 1, &n, (const int64_t[]){1}, at));
        ct_safetensors_write(writer, ct_data(piece), (size_t)n * size);
        ct_scope_close(context, scope);
    }
    return ct_context_status(context);
}

static ct_dtype written_type(ct_tensor *tensor, ct_dtype dtype) {
    return dtype == CT_DTYPES || !ct_dtype_is_float(ct_dtype_of(tensor)) ? ct_dtype_of(tensor) : dtype;
}

static void put_tensor(ct_model *model, ct_safetensors_writer *writer, const char *name, ct_tensor *value,
                       ct_dtype dtype, bool declare) {
    ct_dtype type = written_type(value, dtype);
    if (declare)
        ct_safetensors_declare(writer, name, ct_file_dtype_of(type), ct_ndim(value), ct_shape(value));
    else
        write_tensor(model->context, writer, value, type);
}

/* Tensors of the source that are no parameters are copied as bytes; but a second copy of a tied weight is
 * written as what the weight is now. */
static ct_status copy_kept(ct_model *model, ct_run *run, ct_safetensors_writer *writer, ct_archive *source,
                           ct_dtype dtype, bool declare) {
    ct_context *context = model->context;
    enum { PIECE = 1 << 20 };
    char *buffer = ct_alloc(context, PIECE, CT_MEMORY_WORKSPACE);
    for (size_t i = 0; buffer && source && i < ct_value_count(model->kept) && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(model->kept, i), "");
        ct_parameter *tied = ct_model_find(model, name);
        if (tied) {
            ct_scope scope = ct_scope_open(context);
            put_tensor(model, writer, name, value_of(tied, run), dtype, declare);
            ct_scope_close(context, scope);
            continue;
        }
        const ct_archive_tensor *entry = ct_archive_need(source, name);
        if (!entry) break;
        if (declare)
            ct_safetensors_declare(writer, name, (ct_file_dtype)entry->type, entry->rank, entry->shape);
        for (uint64_t at = 0; !declare && at < entry->size && !ct_failed(context); at += PIECE) {
            size_t n = entry->size - at < PIECE ? (size_t)(entry->size - at) : PIECE;
            if (ct_archive_read(source, entry, buffer, at, n) == CT_OK)
                ct_safetensors_write(writer, buffer, n);
        }
    }
    ct_free(context, buffer);
    return ct_context_status(context);
}

static ct_status write_weights(ct_model *model, ct_run *run, ct_safetensors_writer *writer,
                               ct_archive *source, ct_dtype dtype) {
    ct_context *context = model->context;
    for (size_t i = 0; i < ct_value_count(model->metadata); i++)
        if (strcmp(ct_value_key(model->metadata, i), CT_NORM_PLACE_KEY) != 0)
            ct_safetensors_set_metadata(writer, ct_value_key(model->metadata, i),
                                        ct_value_as_string(ct_value_at(model->metadata, i), ""));
    const char *place = ct_value_as_string(ct_value_get(model->config, CT_NORM_PLACE_KEY), NULL);
    if (place) ct_safetensors_set_metadata(writer, CT_NORM_PLACE_KEY, place);
    for (int pass = 0; pass < 2; pass++) {
        bool declare = pass == 0;
        for (int64_t i = 0; i < model->count && !ct_failed(context); i++) {
            ct_parameter *parameter = model->parameters[i];
            if (run && is_extra(parameter)) continue;
            ct_scope scope = ct_scope_open(context);
            put_tensor(model, writer, parameter->name, value_of(parameter, run), dtype, declare);
            ct_scope_close(context, scope);
        }
        copy_kept(model, run, writer, source, dtype, declare);
    }
    return ct_context_status(context);
}

/* A tied weight is stored once: overlays that make two weights of it cannot be saved as one. */
static ct_status check_tied(void *user, ct_module *module) {
    ct_run *run = user;
    ct_context *context = ct_module_context(module);
    for (int i = 0; i < ct_module_slot_count(module) && !ct_failed(context); i++) {
        ct_slot *slot = ct_module_slot_at(module, i);
        if (!slot->parameter || slot->parameter->slot == slot) continue;
        ct_scope scope = ct_scope_open(context);
        ct_tensor *here = ct_contiguous(ct_run_weight(run, slot));
        ct_tensor *there = ct_contiguous(ct_run_weight(run, slot->parameter->slot));
        bool same =
            ct_dtype_of(here) == ct_dtype_of(there) && ct_same_shape(here, there) && !ct_failed(context);
        size_t size = (size_t)ct_count(here) * ct_dtype_size(ct_dtype_of(here));
        if (same) same = memcmp(ct_data(here), ct_data(there), size) == 0;
        if (!same)
            ct_fail(context, CT_ERROR_UNSUPPORTED,
                    "%s.%s is tied to \"%s\", but the overlays of this run make it another "
                    "weight: untie them to save both",
                    ct_module_path(module), slot->name, slot->parameter->name);
        ct_scope_close(context, scope);
    }
    return ct_context_status(context);
}

static const char *type_name(ct_dtype dtype) {
    static const char *const names[CT_DTYPES] = {"float32", "float64", "bfloat16", "float16"};
    return names[dtype] ? names[dtype] : "float32";
}

static ct_status write_config(ct_model *model, const char *folder, ct_dtype dtype) {
    ct_context *context = model->context;
    ct_value *config = ct_value_copy(model->config);
    char *path = ct_path_join(context, folder, "config.json");
    if (config && path) {
        const ct_architecture *a = model->architecture;
        /* What a loaded configuration leaves out is left out again unless it would be read as something else.
         */
        bool loaded = model->folder != NULL;
        if (!loaded && !ct_value_get(config, "architectures")) {
            ct_value *list = ct_value_list(context);
            if (list) ct_value_append(list, ct_value_string(context, a->class_name));
            ct_value_set(config, "architectures", list);
        }
        ct_dtype type = model->count ? written_type(model->parameters[0]->tensor, dtype) : CT_F32;
        const char *key = ct_value_get(config, "dtype") ? "dtype" : "torch_dtype";
        const char *present = ct_value_as_string(ct_value_get(config, key), loaded ? type_name(CT_F32) : "");
        if (strcmp(present, type_name(type)) != 0)
            ct_value_set(config, key, ct_value_string(context, type_name(type)));
        ct_json_write(context, path, config, CT_JSON_PRETTY);
    }
    ct_free(context, path);
    ct_value_free(config);
    return ct_context_status(context);
}

static ct_status copy_side_files(ct_model *model, const char *folder) {
    if (!model->folder || strcmp(model->folder, folder) == 0) return CT_OK;
    ct_model_folder *source = ct_model_folder_open(model->context, model->folder);
    if (source) ct_model_folder_copy(model->context, source, folder, written_here, NULL);
    ct_model_folder_close(model->context, source);
    return ct_context_status(model->context);
}

static ct_status save(ct_model *model, ct_run *run, const char *folder, ct_dtype dtype) {
    ct_context *context = model->context;
    if (ct_failed(context) || ct_folder_make(context, folder) != CT_OK) return ct_context_status(context);
    bool needs_source = ct_value_count(model->kept) > 0;
    ct_archive *source = needs_source ? ct_model_open_weights(context, model->folder) : NULL;
    ct_safetensors_writer *writer =
        ct_failed(context) ? NULL : ct_safetensors_create_folder(context, folder, 0);
    bool before = ct_grad_mode_set(context, false);
    if (writer && run) ct_module_visit(model->root, check_tied, run);
    if (writer) {
        if (write_weights(model, run, writer, source, dtype) == CT_OK)
            ct_safetensors_commit(writer);
        else
            ct_safetensors_abandon(writer);
    }
    ct_grad_mode_set(context, before);
    ct_archive_close(source);
    if (!ct_failed(context)) write_config(model, folder, dtype);
    return ct_failed(context) ? ct_context_status(context) : copy_side_files(model, folder);
}

ct_status ct_model_save(ct_model *model, const char *folder, ct_dtype dtype) {
    return save(model, NULL, folder, dtype);
}

ct_status ct_model_save_resolved(ct_model *model, ct_run *run, const char *folder) {
    return save(model, run, folder, CT_DTYPES);
}
