/* convert.c - what to write from what was opened: plans, the output's place, the report. */
#include "carat/convert.h"
#include "convert/family.h"
#include "convert/sink.h"
#include "convert/vocabulary.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

typedef enum target { TO_SAFETENSORS, TO_GGUF, TO_NPZ } target;
static const char *const target_names[] = {"safetensors", "gguf", "npz"};

typedef struct conversion {
    ct_context *context;
    const ct_convert_options *options;
    char *input;        /* resolved */
    const char *output; /* as named */
    char *partial;      /* the folder that becomes the output, NULL for files */
    target to;
    bool folder;
    ct_element wanted; /* CT_ELEMENTS: as they are */
    ct_plan plan;
    const char *from;
    const ct_family *family; /* NULL: names stay */
    ct_model_folder *model;  /* the input's folder, NULL if it is a file */
    ct_value *config;        /* config.json made from GGUF */
    ct_value *copied;
} conversion;

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcasecmp(text + length - size, end) == 0;
}

/* ------------------------------------------------------------------------------------------------ options */

static ct_status read_options(conversion *work) {
    const char *to = work->options->to, *dtype = work->options->dtype;
    ct_context *context = work->context;
    work->folder = !ends_with(work->output, ".gguf") && !ends_with(work->output, ".npz") &&
                   !ends_with(work->output, ".safetensors");
    work->to = ends_with(work->output, ".gguf")  ? TO_GGUF
               : ends_with(work->output, ".npz") ? TO_NPZ
                                                 : TO_SAFETENSORS;
    if (to) {
        int found = -1;
        for (int i = 0; i < 3; i++)
            if (strcmp(to, target_names[i]) == 0) found = i;
        if (found < 0)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "to: \"%s\" is not written, expected safetensors, gguf or npz", to);
        if (!work->folder && (int)work->to != found)
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s: the name ends as that of another format than %s",
                           work->output, to);
        work->to = (target)found;
        if (work->to != TO_SAFETENSORS) work->folder = false;
    }
    work->wanted = CT_ELEMENTS;
    if (!dtype) return CT_OK;
    if (!ct_element_parse(dtype, &work->wanted) || !ct_element_describe(work->wanted)->encodes)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "dtype: \"%s\" is not written, expected f32, f16, bf16, f64, q8_0 or q4_0", dtype);
    bool plain = ct_element_is_plain(work->wanted);
    if (!plain && work->to != TO_GGUF)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "dtype: %s has no place in %s; blocks are written to GGUF only", dtype,
                       target_names[work->to]);
    if (work->to == TO_NPZ && (int)work->wanted == CT_FILE_BF16)
        return ct_fail(context, CT_ERROR_ARGUMENT, "dtype: npz has no bf16");
    if (work->to == TO_GGUF && (int)work->wanted == CT_FILE_F64)
        return ct_fail(context, CT_ERROR_ARGUMENT, "dtype: llama.cpp reads no f64");
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------------ opening */

static ct_status open_input(conversion *work, const char *input) {
    ct_context *context = work->context;
    work->input = ct_model_resolve(context, input);
    ct_archive *archive = work->input ? ct_archive_open(context, work->input) : NULL;
    if (!archive) return ct_context_status(context);
    work->from = ct_archive_format_name(archive);
    ct_status status = ct_plan_begin(&work->plan, archive);
    if (!status && ct_folder_exists(work->input)) {
        work->model = ct_model_folder_open(context, work->input);
        if (!work->model) return ct_context_status(context);
    }
    return status;
}

static ct_status same_place(conversion *work) {
    if (strcmp(work->input, work->output) != 0) return CT_OK;
    return ct_fail(work->context, CT_ERROR_ARGUMENT,
                   "the result needs a place of its own, found \"%s\" twice", work->output);
}

/* -------------------------------------------------------------------------------------------------- plans */

/* Names and shapes stay. Tied weights of PyTorch's files are written once; safetensors' __metadata__ says so.
 */
static ct_status plan_plain(conversion *work) {
    ct_plan *plan = &work->plan;
    for (size_t i = 0; i < ct_archive_count(plan->archive); i++) {
        const ct_archive_tensor *source = ct_archive_at(plan->archive, i);
        if (ct_archive_alias(plan->archive, source) && work->to == TO_SAFETENSORS) {
            if (ct_plan_drop(plan, source->name)) break;
            continue;
        }
        ct_plan_tensor *tensor = ct_plan_add(plan, source->name, source);
        if (!tensor) break;
        tensor->type = work->to == TO_GGUF
                           ? ct_gguf_tensor_type(source->name, source, source->shape, work->wanted)
                           : ct_plan_type(source->type, work->wanted, false);
        if (work->to == TO_NPZ && (int)tensor->type == CT_FILE_BF16) tensor->type = (ct_element)CT_FILE_F32;
    }
    return ct_context_status(work->context);
}

/* The type of most bytes among the matrices. */
static ct_element main_type(const ct_plan *plan) {
    uint64_t bytes[CT_ELEMENTS] = {0}, size;
    int best = CT_FILE_F32;
    for (size_t i = 0; i < plan->count; i++) {
        const ct_plan_tensor *tensor = &plan->tensors[i];
        if (tensor->rank > 1 && ct_element_tensor_size(tensor->type, tensor->rank, tensor->shape, &size))
            bytes[tensor->type] += size;
    }
    for (int i = 0; i < CT_ELEMENTS; i++)
        if (bytes[i] > bytes[best]) best = i;
    return (ct_element)best;
}

static ct_status make_plan(conversion *work) {
    ct_plan *plan = &work->plan;
    ct_context *context = work->context;
    const ct_gguf *gguf = ct_gguf_of(plan->archive);
    if (work->to == TO_GGUF && !gguf) {
        if (!work->model || !work->model->config)
            return ct_fail(context, CT_ERROR_ARGUMENT,
                           "%s: GGUF is made from a model folder with a config.json, or from GGUF",
                           work->input);
        work->family = ct_family_of_config(context, work->input, work->model->config);
        if (!work->family || ct_plan_to_gguf(plan, work->family, work->model->config, work->wanted) ||
            ct_rope_factors(plan, work->family, work->model->config))
            return ct_context_status(context);
    } else if (gguf && work->folder) {
        work->family = ct_family_of_gguf(context, work->input, gguf);
        if (!work->family || ct_plan_from_gguf(plan, work->family, gguf, work->wanted))
            return ct_context_status(context);
        work->config = ct_settings_from_gguf(context, plan->archive, work->family, main_type(plan));
        if (!work->config) return ct_context_status(context);
    } else if (plan_plain(work)) {
        return ct_context_status(context);
    }
    return ct_plan_check(plan);
}

/* ---------------------------------------------------------------------------------------------- GGUF keys */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static ct_status no_tokenizer(conversion *work, ct_gguf_writer *writer) {
    ct_log_message(work->context, CT_LOG_WARNING,
                   "%s: has no tokenizer.json; the GGUF file has no vocabulary", work->input);
    return ct_gguf_set_string(writer, "tokenizer.ggml.model", "none", 4);
}

static ct_status put_vocabulary(conversion *work, ct_gguf_writer *writer) {
    ct_context *context = work->context;
    char *path = ct_path_join(context, work->input, "tokenizer.json");
    if (!path) return ct_context_status(context);
    bool there = ct_file_exists(path);
    ct_free(context, path);
    if (!there) return no_tokenizer(work, writer);
    size_t size = 0;
    for (size_t i = 0; i < work->plan.count; i++)
        if (strcmp(work->plan.tensors[i].name, "token_embd.weight") == 0 && work->plan.tensors[i].rank == 2)
            size = (size_t)work->plan.tensors[i].shape[0];
    ct_vocabulary vocabulary = {0};
    ct_status status = ct_vocabulary_read(context, work->input, &vocabulary);
    if (!status) status = ct_vocabulary_to_gguf(&vocabulary, work->input, work->model->config, size, writer);
    ct_vocabulary_free(&vocabulary);
    ct_memory_trim(context);
    return status;
}

/* GGUF to GGUF: everything but the file's type and its alignment, which is the writer's. */
static ct_status copy_keys(conversion *work, const ct_gguf *gguf, ct_gguf_writer *writer) {
    ct_status status = CT_OK;
    for (size_t i = 0; !status && i < ct_gguf_count(gguf); i++) {
        const ct_gguf_entry *entry = ct_gguf_at(gguf, i);
        bool own = strcmp(entry->key, "general.alignment") == 0 ||
                   (work->wanted != CT_ELEMENTS && strcmp(entry->key, "general.file_type") == 0);
        if (!own) status = ct_gguf_copy_entry(writer, entry);
    }
    static const struct {
        int type, number;
    } kinds[] = {
        {CT_FILE_F32, 0}, {CT_FILE_F16, 1}, {CT_FILE_BF16, 32}, {CT_ELEMENT_Q8_0, 7}, {CT_ELEMENT_Q4_0, 2}};
    for (size_t i = 0; !status && work->wanted != CT_ELEMENTS && i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == (int)work->wanted)
            status = ct_gguf_set_u32(writer, "general.file_type", (uint32_t)kinds[i].number);
    return status;
}

/* How a sentence-transformers folder makes one vector of a text: llama.cpp's numbers 1 (mean), 2 (cls), 3
 * (last). */
static ct_status put_pooling(conversion *work, ct_gguf_writer *writer) {
    static const char *const keys[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token",
                                       "pooling_mode_lasttoken"};
    static const char *const modes[] = {"mean", "cls", "lasttoken"};
    ct_context *context = work->context;
    char *path = ct_path_join(context, work->input, "1_Pooling/config.json");
    ct_value *pooling = path && ct_file_exists(path) ? ct_json_read(context, path) : NULL;
    const char *mode = ct_value_as_string(ct_value_get(pooling, "pooling_mode"), "");
    for (uint32_t i = 0; pooling && i < 3; i++) {
        if (!ct_value_as_bool(ct_value_get(pooling, keys[i]), false) && strcmp(mode, modes[i]) != 0) continue;
        ct_gguf_set_u32(writer, "bert.pooling_type", i + 1);
        break;
    }
    ct_value_free(pooling);
    ct_free(context, path);
    return ct_context_status(context);
}

static ct_status put_keys(conversion *work, ct_gguf_writer *writer) {
    const ct_gguf *gguf = ct_gguf_of(work->plan.archive);
    if (gguf) return copy_keys(work, gguf, writer);
    ct_status status = ct_settings_to_gguf(&work->plan, work->family, work->model->config, writer,
                                           base_name(work->input), main_type(&work->plan));
    if (!status && strcmp(work->family->architecture, "bert") == 0) status = put_pooling(work, writer);
    return status ? status : put_vocabulary(work, writer);
}

/* ------------------------------------------------------------------------------------------------- output */

static void set_metadata(conversion *work, ct_safetensors_writer *writer) {
    ct_plan *plan = &work->plan;
    ct_value *metadata = ct_gguf_of(plan->archive) ? NULL : ct_archive_metadata(plan->archive, 0);
    for (size_t i = 0; i < ct_value_count(metadata); i++)
        if (ct_value_kind_of(ct_value_at(metadata, i)) == CT_VALUE_STRING)
            ct_safetensors_set_metadata(writer, ct_value_key(metadata, i),
                                        ct_value_as_string(ct_value_at(metadata, i), ""));
    ct_value_free(metadata);
    for (size_t i = 0; i < ct_archive_count(plan->archive); i++) {
        const ct_archive_tensor *tensor = ct_archive_at(plan->archive, i);
        const ct_archive_tensor *alias = ct_archive_alias(plan->archive, tensor);
        if (alias) ct_safetensors_set_metadata(writer, tensor->name, alias->name);
    }
}

static ct_status open_sink(conversion *work, ct_sink *sink) {
    ct_context *context = work->context;
    if (work->to == TO_GGUF) {
        sink->gguf = ct_gguf_create(context, work->output);
        if (sink->gguf) put_keys(work, sink->gguf);
    } else if (work->to == TO_NPZ) {
        sink->npz = ct_npz_create(context, work->output);
    } else if (work->folder) {
        work->partial = ct_format(context, "%s.partial", work->output);
        if (!work->partial || ct_folder_remove(context, work->partial) ||
            ct_folder_make(context, work->partial))
            return ct_context_status(context);
        sink->safetensors =
            ct_safetensors_create_folder(context, work->partial, work->options->max_shard_size);
    } else {
        sink->safetensors = ct_safetensors_create(context, work->output);
    }
    if (sink->safetensors) set_metadata(work, sink->safetensors);
    return ct_context_status(context);
}

/* What a model folder has beside its weights. */
static ct_status put_side_files(conversion *work) {
    ct_context *context = work->context;
    const ct_gguf *gguf = ct_gguf_of(work->plan.archive);
    if (work->model && !gguf)
        return ct_model_folder_copy(context, work->model, work->partial, NULL, work->copied);
    if (!gguf) return CT_OK;
    char *path = ct_path_join(context, work->partial, "config.json");
    if (path) ct_json_write(context, path, work->config, CT_JSON_PRETTY);
    ct_free(context, path);
    return ct_failed(context) ? ct_context_status(context)
                              : ct_vocabulary_from_gguf(context, gguf, work->partial);
}

static ct_status write_output(conversion *work) {
    ct_sink sink = {0};
    ct_status status = open_sink(work, &sink);
    if (!status) status = ct_sink_declare(&sink, &work->plan);
    if (!status) status = ct_stream(&work->plan, &sink, work->options->memory);
    if (!status)
        status = ct_sink_commit(&sink);
    else
        ct_sink_abandon(&sink);
    if (!status && work->partial) status = put_side_files(work);
    if (!status && work->partial) status = ct_path_replace(work->context, work->partial, work->output);
    if (status && work->partial) { /* nothing half done stays; the error is that of above */
        ct_try trial;
        ct_try_begin(work->context, &trial);
        ct_folder_remove(work->context, work->partial);
        ct_try_end(work->context, &trial, NULL, 0);
    }
    return status;
}

static ct_value *make_report(conversion *work) {
    ct_context *context = work->context;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_value_set(map, "from", ct_value_string(context, work->from));
    ct_value_set(map, "to", ct_value_string(context, target_names[work->to]));
    if (work->family) ct_value_set(map, "architecture", ct_value_string(context, work->family->model_type));
    ct_value_set(map, "tensors", ct_value_int(context, (int64_t)work->plan.count));
    ct_value_set(map, "bytes", ct_value_int(context, (int64_t)ct_plan_bytes(&work->plan)));
    ct_value_set(map, "types", ct_plan_types(&work->plan));
    ct_value_set(map, "dropped", ct_value_copy(work->plan.dropped));
    ct_value_set(map, "copied", ct_value_copy(work->copied));
    return map;
}

ct_status ct_convert(ct_context *context, const char *input, const char *output,
                     const ct_convert_options *options, ct_value **report) {
    if (ct_failed(context)) return ct_context_status(context);
    conversion work = {
        .context = context, .options = options, .output = output, .plan = {.context = context}};
    size_t budget = ct_memory_budget(context);
    if (options->memory) ct_memory_set_budget(context, (size_t)options->memory);
    work.copied = ct_value_list(context);
    ct_status status = work.copied ? read_options(&work) : ct_context_status(context);
    if (!status) status = open_input(&work, input);
    if (!status) status = same_place(&work);
    if (!status) status = make_plan(&work);
    if (!status) status = write_output(&work);
    if (!status && report) *report = make_report(&work);
    ct_value_free(work.copied);
    ct_value_free(work.config);
    ct_model_folder_close(context, work.model);
    ct_plan_end(&work.plan);
    ct_free(context, work.input);
    ct_free(context, work.partial);
    ct_memory_set_budget(context, budget);
    return ct_context_status(context);
}
