/* inspect.c - carat inspect: what a model folder or safetensors file holds, from headers alone. */
#include "cli/report.h"
#include <string.h>

static void shape_text(const ct_safetensors_tensor *t, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < t->rank && used + 24 < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(text + used, size - used, "]");
}

static ct_value *tensor_value(ct_context *context, const ct_safetensors_tensor *t) {
    ct_value *map = ct_value_map(context), *shape = ct_value_list(context);
    if (!map) return NULL;
    for (int i = 0; shape && i < t->rank; i++) ct_value_append(shape, ct_value_int(context, t->shape[i]));
    ct_cli_put_text(map, "name", t->name, context);
    ct_cli_put_text(map, "dtype", ct_file_dtype_name(t->dtype), context);
    ct_value_set(map, "shape", shape);
    ct_cli_put_int(map, "bytes", (int64_t)t->size, context);
    return map;
}

static void print_json(ct_cli *cli, const ct_safetensors *file, const ct_value *config, int64_t elements,
                       int64_t bytes) {
    ct_context *context = cli->context;
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (size_t i = 0; list && i < ct_safetensors_count(file); i++)
        ct_value_append(list, tensor_value(context, ct_safetensors_at(file, i)));
    if (config) ct_value_set(map, "config", ct_value_copy(config));
    ct_value_set(map, "metadata", ct_value_copy(ct_safetensors_metadata(file)));
    ct_cli_put_int(map, "tensors", (int64_t)ct_safetensors_count(file), context);
    ct_cli_put_int(map, "elements", elements, context);
    ct_cli_put_int(map, "bytes", bytes, context);
    ct_value_set(map, "list", list);
    ct_cli_print_json(cli, map);
}

static void print_text(const ct_safetensors *file, const ct_value *config, int64_t elements, int64_t bytes) {
    char text[256];
    if (config)
        printf("architecture  %s\n", ct_value_as_string(ct_value_get(config, "model_type"), "unknown"));
    for (size_t i = 0; i < ct_safetensors_count(file); i++) {
        const ct_safetensors_tensor *t = ct_safetensors_at(file, i);
        shape_text(t, text, sizeof(text));
        printf("%-48s %-5s %s\n", t->name, ct_file_dtype_name(t->dtype), text);
    }
    const ct_value *metadata = ct_safetensors_metadata(file);
    for (size_t i = 0; i < ct_value_count(metadata); i++)
        printf("metadata      %s: %s\n", ct_value_key(metadata, i),
               ct_value_as_string(ct_value_at(metadata, i), ""));
    printf("%zu tensors, %lld elements, %s\n", ct_safetensors_count(file), (long long)elements,
           ct_format_bytes((uint64_t)bytes, text, sizeof(text)));
}

static int run(ct_cli *cli) {
    ct_context *context = cli->context;
    char *path = ct_model_resolve(context, cli->positional[0]);
    ct_safetensors *file = path ? ct_safetensors_open(context, path) : NULL;
    ct_value *config = NULL;
    if (file && ct_folder_exists(path)) {
        char *name = ct_path_join(context, path, "config.json");
        if (name && ct_file_exists(name)) config = ct_json_read(context, name);
        ct_free(context, name);
    }
    if (file && !ct_failed(context)) {
        int64_t elements = 0, bytes = 0;
        for (size_t i = 0; i < ct_safetensors_count(file); i++) {
            elements += ct_safetensors_at(file, i)->count;
            bytes += (int64_t)ct_safetensors_at(file, i)->size;
        }
        if (cli->json) print_json(cli, file, config, elements, bytes);
        else print_text(file, config, elements, bytes);
    }
    ct_value_free(config);
    ct_safetensors_close(file);
    ct_free(context, path);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {"carat inspect out/tiny", "carat inspect out/tiny/model.safetensors --json",
                                       NULL};

const ct_verb ct_verb_inspect = {.name = "inspect",
                                 .arguments = "FILE | FOLDER",
                                 .summary = "List the tensors of a safetensors file or model folder",
                                 .least = 1,
                                 .most = 1,
                                 .examples = examples,
                                 .run = run};
