/* load.c - models from Hugging Face folders. */
#include <carat/archive.h>
#include "model/model.h"
#include <carat/tokenizer.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 18 }; /* elements converted at a time */

ct_archive *ct_model_open_weights(ct_context *context, const char *folder) {
    ct_archive *file = ct_archive_open(context, folder);
    const char *format = file ? ct_archive_format_name(file) : "";
    if (!file || strcmp(format, "safetensors") == 0 || strcmp(format, "pytorch") == 0) return file;
    ct_fail(context, CT_ERROR_UNSUPPORTED,
            "%s: its weights are in a file of the format %s; `carat convert` makes a model folder of it",
            folder, format);
    ct_archive_close(file);
    return NULL;
}

/* The file that holds a tensor, NULL: the first, for messages. */
static const char *place_of(const ct_archive *file, const ct_archive_tensor *entry) {
    const char *path = ct_archive_file_path(file, entry && entry->file > 0 ? (size_t)entry->file : 0);
    return path ? path : ct_archive_path(file);
}

/* ---------------------------------------------------------------------------------- checking of names */

/* Names for a message, which shows the first of them; all are logged where it does not show all. */
typedef struct name_list {
    ct_context *context;
    const char *what; /* "missing" */
    char text[240];
    int count, shown;
    ct_bytes all;
} name_list;

static void list_name(name_list *list, const char *name) {
    size_t used = strlen(list->text), length = strlen(name);
    if (list->shown == list->count && list->count < 6 && used + length + 24 < sizeof(list->text)) {
        snprintf(list->text + used, sizeof(list->text) - used, "%s%s", used ? ", " : "", name);
        list->shown++;
    }
    if (list->count++) ct_bytes_append(list->context, &list->all, ", ", 2);
    ct_bytes_append(list->context, &list->all, name, length);
}

/* "a, b and 1 more". */
static const char *list_end(name_list *list) {
    size_t used = strlen(list->text);
    if (list->shown < list->count)
        snprintf(list->text + used, sizeof(list->text) - used, "%s%d more", used ? " and " : "",
                 list->count - list->shown);
    list->shown = list->count;
    return list->text;
}

static void log_list(const name_list *list, const char *path) {
    if (list->shown < list->count)
        ct_log_message(list->context, CT_LOG_WARNING, "%s: %s: %.*s", path, list->what, (int)list->all.length,
                       list->all.data);
}

/* The name under which a file has what it does not have as `name` ("ln.gamma" for "ln.weight"); `name`, taken
 * over, if there is none. */
static char *other_name(ct_context *context, ct_archive *file, const ct_slot *slot, char *name) {
    int stem = (int)(strlen(name) - strlen(slot->name));
    for (const char *const *alias = slot->options.aliases; alias && *alias; alias++) {
        char *other = ct_format(context, "%.*s%s", stem, name, *alias);
        if (!other || ct_archive_find(file, other)) {
            ct_free(context, name);
            return other;
        }
        ct_free(context, other);
    }
    return name;
}

/* Some files leave the architecture's prefix out: the first parameter tells which naming a file has. */
static ct_status choose_names(ct_model *model, ct_archive *file) {
    ct_context *context = model->context;
    model->bare_names = false;
    for (int64_t i = 0; i < model->count; i++) {
        const ct_slot *slot = model->parameters[i]->slot;
        char *full = ct_model_file_name(model, slot, false), *bare = ct_model_file_name(model, slot, true);
        bool made = full && bare;
        bool found_full = made && ct_archive_find(file, full),
             found_bare = made && ct_archive_find(file, bare);
        bool same = made && strcmp(full, bare) == 0;
        ct_free(context, full);
        ct_free(context, bare);
        if (!made) return ct_context_status(context);
        if (same || found_full == found_bare) continue;
        model->bare_names = found_bare;
        break;
    }
    for (int64_t i = 0; i < model->count; i++) {
        ct_parameter *parameter = model->parameters[i];
        char *name = ct_model_file_name(model, parameter->slot, model->bare_names);
        if (name && !ct_archive_find(file, name)) name = other_name(context, file, parameter->slot, name);
        if (!name) return ct_context_status(context);
        ct_free(context, parameter->name);
        parameter->name = name;
    }
    return CT_OK;
}

static bool is_kept(const ct_model *model, const char *name) {
    const ct_architecture *a = model->architecture;
    return a->is_buffer && a->is_buffer(name);
}

/* Parameters that only overlays use: ct_model_add_parameter made them, ct_model_save wrote them. */
static bool is_extra_parameter(const char *name) {
    return strncmp(name, "carat.", 6) == 0;
}

/* PyTorch's files name a tied weight once for each place: the same bytes as a parameter need no place of
 * their own. */
static bool is_tied_copy(const ct_model *model, const ct_archive *file, const ct_archive_tensor *entry) {
    const ct_archive_tensor *first = ct_archive_alias(file, entry);
    if (!first) first = entry;
    for (int64_t i = 0; i < model->count; i++) {
        const ct_archive_tensor *other = ct_archive_find(file, model->parameters[i]->name);
        if (other && other != entry && (other == first || ct_archive_alias(file, other) == first))
            return true;
    }
    return false;
}

/* The lists of what is wrong with a file. */
typedef struct mismatch {
    name_list missing, extra, shape;
} mismatch;

static bool shape_fits(const ct_archive_tensor *entry, const ct_slot *slot) {
    bool fits = entry->rank == slot->ndim;
    for (int i = 0; fits && i < entry->rank; i++)
        fits = entry->shape[i] == slot->shape[i];
    return fits;
}

static void list_shape(name_list *list, const ct_archive_tensor *entry, const ct_slot *slot) {
    char found[160] = "", expected[160] = "";
    for (int i = 0; i < entry->rank && strlen(found) < 120; i++)
        snprintf(found + strlen(found), 40, "%s%lld", i ? "," : "", (long long)entry->shape[i]);
    for (int i = 0; i < slot->ndim; i++)
        snprintf(expected + strlen(expected), 40, "%s%lld", i ? "," : "", (long long)slot->shape[i]);
    char *name = ct_format(list->context, "%s [%s], expected [%s]", entry->name, found, expected);
    if (name) list_name(list, name);
    ct_free(list->context, name);
}

static void compare_names(ct_model *model, ct_archive *file, mismatch *m) {
    for (int64_t i = 0; i < model->count; i++) {
        const ct_archive_tensor *entry = ct_archive_find(file, model->parameters[i]->name);
        if (!entry)
            list_name(&m->missing, model->parameters[i]->name);
        else if (!shape_fits(entry, model->parameters[i]->slot))
            list_shape(&m->shape, entry, model->parameters[i]->slot);
    }
    for (size_t i = 0; i < ct_archive_count(file); i++) {
        const char *name = ct_archive_at(file, i)->name;
        bool known = false;
        for (int64_t p = 0; p < model->count && !known; p++)
            known = strcmp(model->parameters[p]->name, name) == 0;
        if (known || is_extra_parameter(name) || is_tied_copy(model, file, ct_archive_at(file, i))) continue;
        if (is_kept(model, name))
            ct_value_append(model->kept, ct_value_string(model->context, name));
        else
            list_name(&m->extra, name);
    }
}

/* One message with all three kinds of fault. */
static ct_status report_mismatch(ct_model *model, const char *path, mismatch *m) {
    ct_context *context = model->context;
    int missing = m->missing.count, extra = m->extra.count, shape = m->shape.count;
    log_list(&m->missing, path);
    log_list(&m->extra, path);
    log_list(&m->shape, path);
    if (!extra && !shape)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: %d tensors are missing: %s", path, missing,
                       list_end(&m->missing));
    if (!missing && !shape)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: %d tensors that this model does not have: %s", path,
                       extra, list_end(&m->extra));
    if (!missing && !extra)
        return ct_fail(context, CT_ERROR_SHAPE, "%s: %d tensors have another shape: %s", path, shape,
                       list_end(&m->shape));
    if (!shape)
        return ct_fail(context, CT_ERROR_FORMAT,
                       "%s: %d tensors are missing (%s) and %d do not belong to this model (%s)", path,
                       missing, list_end(&m->missing), extra, list_end(&m->extra));
    return ct_fail(
        context, CT_ERROR_FORMAT,
        "%s: %d tensors are missing (%s), %d do not belong to this model (%s) and %d have another shape (%s)",
        path, missing, missing ? list_end(&m->missing) : "none", extra, extra ? list_end(&m->extra) : "none",
        shape, list_end(&m->shape));
}

static ct_status check_names(ct_model *model, ct_archive *file) {
    ct_context *context = model->context;
    mismatch m = {.missing = {.context = context, .what = "missing"},
                  .extra = {.context = context, .what = "not of this model"},
                  .shape = {.context = context, .what = "of another shape"}};
    model->kept = ct_value_list(context);
    compare_names(model, file, &m);
    if (!ct_failed(context) && m.missing.count + m.extra.count + m.shape.count)
        report_mismatch(model, place_of(file, NULL), &m);
    ct_bytes_free(context, &m.missing.all);
    ct_bytes_free(context, &m.extra.all);
    ct_bytes_free(context, &m.shape.all);
    return ct_context_status(context);
}

/* ---------------------------------------------------------------------------------- reading of weights */

/* Whether the engine can hold the tensor; *dtype is its type. */
static ct_status loadable(ct_context *context, const ct_archive *file, const ct_archive_tensor *entry,
                          ct_dtype *dtype) {
    if (!ct_element_is_plain(entry->type) || !ct_file_dtype_engine((ct_file_dtype)entry->type, dtype))
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" is of type %s, which can be copied but not loaded",
                       place_of(file, entry), entry->name, ct_element_name(entry->type));
    if (entry->rank > 8)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "%s: tensor \"%s\" has %d dimensions, at most 8 can be loaded", place_of(file, entry),
                       entry->name, entry->rank);
    return CT_OK;
}

/* Reads a tensor into `target` (contiguous, of any float type), converted piece by piece. */
static ct_status read_tensor(ct_model *model, ct_archive *file, const ct_archive_tensor *entry,
                             ct_dtype stored, ct_tensor *target) {
    ct_context *context = model->context;
    size_t size = ct_dtype_size(stored);
    int64_t count = ct_count(target);
    if (stored == ct_dtype_of(target))
        return ct_archive_read(file, entry, ct_data_mutable(target), 0, (size_t)count * size);
    ct_tensor *flat = ct_view_strided(target, 1, &count, (const int64_t[]){1}, 0);
    for (int64_t at = 0; at < count && !ct_failed(context); at += CHUNK) {
        ct_scope scope = ct_scope_open(context);
        int64_t n = count - at < CHUNK ? count - at : CHUNK;
        ct_tensor *piece = ct_empty(context, stored, 1, &n);
        ct_archive_read(file, entry, ct_data_mutable(piece), (uint64_t)at * size, (size_t)n * size);
        ct_copy_into(ct_view_strided(flat, 1, &n, (const int64_t[]){1}, at), piece);
        ct_scope_close(context, scope);
    }
    return ct_context_status(context);
}

/* A sum is finite if and only if every element is, unless the sum itself overflows: then the elements are
 * looked at. */
static ct_status check_finite(ct_model *model, ct_archive *file, const ct_archive_tensor *entry,
                              ct_tensor *tensor) {
    ct_context *context = model->context;
    double sum = 0;
    ct_scope scope = ct_scope_open(context);
    bool before = ct_grad_mode_set(context, false);
    ct_item(ct_sum_all(tensor), &sum);
    if (!isfinite(sum) && !ct_failed(context)) {
        double bad = 0; /* infinity converts to any float type, and |x| < infinity is false for NaN too */
        ct_tensor *infinity = ct_scalar(context, ct_dtype_of(tensor), INFINITY);
        ct_tensor *finite = ct_cast(ct_less(ct_abs(tensor), infinity), CT_I64);
        ct_item(ct_sum_all(finite), &bad);
        bad = (double)ct_count(tensor) - bad;
        if (bad > 0)
            ct_fail(context, CT_ERROR_NUMERIC, "%s: tensor \"%s\" holds %.0f values that are NaN or infinite",
                    place_of(file, entry), entry->name, bad);
    }
    ct_grad_mode_set(context, before);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status load_parameter(ct_model *model, ct_archive *file, ct_parameter *parameter, ct_dtype dtype) {
    ct_context *context = model->context;
    const ct_archive_tensor *entry = ct_archive_need(file, parameter->name);
    ct_dtype stored;
    if (!entry || loadable(model->context, file, entry, &stored) != CT_OK) return ct_context_status(context);
    bool counts = !ct_dtype_is_float(parameter->slot->options.dtype); /* a buffer that counts steps */
    if (counts ? stored != parameter->slot->options.dtype : !ct_dtype_is_float(stored))
        return ct_fail(context, CT_ERROR_TYPE, "%s: tensor \"%s\" is %s, expected %s", place_of(file, entry),
                       entry->name, ct_element_name(entry->type), counts ? "I64" : "F32, F64, BF16 or F16");
    if (dtype == CT_DTYPES || counts) dtype = stored;
    ct_scope scope = ct_scope_open(context);
    if (dtype != ct_dtype_of(parameter->tensor)) {
        ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_WEIGHTS);
        ct_drop(parameter->tensor);
        parameter->tensor = ct_hold(ct_empty(context, dtype, entry->rank, entry->shape));
        ct_context_set_memory_class(context, before);
    }
    if (ct_device_of(parameter->tensor) == CT_CPU &&
        read_tensor(model, file, entry, stored, parameter->tensor) == CT_OK && !counts)
        check_finite(model, file, entry, parameter->tensor);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

/* Its shape is the file's; what is no number of a float type (a mask, ids) keeps its type and is not trained.
 */
static ct_status load_extra(ct_model *model, ct_archive *file, const ct_archive_tensor *entry,
                            ct_dtype dtype) {
    ct_context *context = model->context;
    ct_dtype stored;
    if (loadable(model->context, file, entry, &stored) != CT_OK) return ct_context_status(context);
    bool is_float = ct_dtype_is_float(stored);
    if (dtype == CT_DTYPES || !is_float) dtype = stored;
    ct_scope scope = ct_scope_open(context);
    ct_memory_class before = ct_context_set_memory_class(context, CT_MEMORY_WEIGHTS);
    ct_tensor *tensor = ct_empty(context, dtype, entry->rank, entry->shape);
    ct_context_set_memory_class(context, before);
    ct_parameter *parameter = ct_failed(context) ? NULL : ct_model_add_parameter(model, entry->name, tensor);
    if (parameter) parameter->trainable = is_float;
    if (parameter && ct_device_of(tensor) == CT_CPU &&
        read_tensor(model, file, entry, stored, tensor) == CT_OK && is_float)
        check_finite(model, file, entry, tensor);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

static ct_status load_weights(ct_model *model, ct_archive *file, ct_dtype dtype) {
    ct_context *context = model->context;
    if (strcmp(ct_archive_format_name(file), "safetensors") == 0)
        model->metadata = ct_archive_metadata(file, 0);
    for (int64_t i = 0; i < model->count && !ct_failed(context); i++)
        load_parameter(model, file, model->parameters[i], dtype);
    for (size_t i = 0; i < ct_archive_count(file) && !ct_failed(context); i++) {
        const ct_archive_tensor *entry = ct_archive_at(file, i);
        if (is_extra_parameter(entry->name)) load_extra(model, file, entry, dtype);
    }
    return ct_context_status(context);
}

/* Before the model is built: what only the weights tell about it. */
static ct_status adapt_config(ct_context *context, ct_value *config, const char *path) {
    const char *type = ct_value_as_string(ct_value_get(config, "model_type"), "");
    for (size_t i = 0; i < ct_architecture_count(); i++) {
        const ct_architecture *a = ct_architecture_at(i);
        if (!a->adapt || strcmp(a->model_type, type) != 0) continue;
        ct_archive *file = ct_model_open_weights(context, path);
        if (file) a->adapt(context, config, file);
        ct_archive_close(file);
    }
    return ct_context_status(context);
}

/* Weights that record the place of their norms are refused by it; those of others, which record none and have
 * their norms where the family has them, by the names that they lack, and then by that place. `known`: the
 * configuration recorded one as it was read. */
static ct_status check_weights(ct_model *model, ct_archive *file, bool known) {
    ct_value *metadata = ct_archive_metadata(file, 0);
    const char *place = ct_value_as_string(ct_value_get(metadata, CT_NORM_PLACE_KEY), NULL);
    ct_status status = place ? ct_model_check_place(model, place, place_of(file, NULL)) : CT_OK;
    if (status == CT_OK) status = choose_names(model, file);
    if (status == CT_OK) status = check_names(model, file);
    if (status == CT_OK && !place && !known)
        status = ct_model_check_place(model, ct_model_own_place(model), place_of(file, NULL));
    ct_value_free(metadata);
    return ct_failed(model->context) ? ct_context_status(model->context) : status;
}

ct_model *ct_model_load(ct_context *context, const char *path, ct_dtype dtype) {
    if (ct_failed(context)) return NULL;
    ct_model_folder *folder = ct_model_folder_open(context, path);
    if (!folder) return NULL;
    ct_model *model = NULL;
    if (!folder->config)
        ct_fail(context, CT_ERROR_NOT_FOUND, "%s: there is no config.json, so it is not a model folder",
                path);
    else if (adapt_config(context, folder->config, folder->path) == CT_OK)
        model = ct_model_create(context, folder->config);
    if (model) model->folder = ct_strdup(context, folder->path);
    bool known = ct_value_get(folder->config, CT_NORM_PLACE_KEY) != NULL;
    ct_model_folder_close(context, folder);
    ct_archive *file = model ? ct_model_open_weights(context, model->folder) : NULL;
    if (file && check_weights(model, file, known) == CT_OK) load_weights(model, file, dtype);
    ct_archive_close(file);
    if (!ct_failed(context)) return model;
    ct_model_destroy(model);
    return NULL;
}
