/* inspect_folder.c - what lies in a model folder beside its weights: adapter, tokenizer, shards, weights in
 * other formats. */
#include "format/inspect_parts.h"
#include <string.h>
#include <sys/stat.h>

/* FOLDER/NAME as JSON; NULL without an error if it is not there. */
static ct_value *read_json(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    ct_value *value = path && ct_file_exists(path) ? ct_json_read(context, path) : NULL;
    ct_free(context, path);
    return value;
}

static void copy_key(const ct_value *from, const char *key, ct_value *to, const char *name) {
    const ct_value *value = ct_value_get(from, key);
    if (value && ct_value_kind_of(value) != CT_VALUE_NULL) ct_value_set(to, name, ct_value_copy(value));
}

/* --------------------------------------------------------------------------------------------- adapter */

ct_value *ct_inspect_adapter(ct_context *context, const char *folder) {
    static const char *const keys[][2] = {{"peft_type", "type"},
                                          {"r", "rank"},
                                          {"lora_alpha", "alpha"},
                                          {"lora_dropout", "dropout"},
                                          {"bias", "bias"},
                                          {"target_modules", "target_modules"},
                                          {"modules_to_save", "modules_to_save"},
                                          {"base_model_name_or_path", "base_model"},
                                          {"task_type", "task"},
                                          {"use_rslora", "rslora"},
                                          {"use_dora", "dora"}};
    ct_value *config = read_json(context, folder, "adapter_config.json");
    if (!config) return NULL;
    ct_value *map = ct_value_map(context);
    for (size_t i = 0; map && i < sizeof keys / sizeof keys[0]; i++)
        copy_key(config, keys[i][0], map, keys[i][1]);
    ct_value_free(config);
    return map;
}

/* ------------------------------------------------------------------------------------------- tokenizer */

/* Tokens of the vocabulary and added ones that are not in it. */
static int64_t count_tokens(const ct_value *model, const ct_value *added) {
    const ct_value *vocab = ct_value_get(model, "vocab");
    int64_t count = (int64_t)ct_value_count(vocab);
    for (size_t i = 0; i < ct_value_count(added); i++) {
        const char *content = ct_value_as_string(ct_value_get(ct_value_at(added, i), "content"), "");
        int64_t id = ct_value_as_int(ct_value_get(ct_value_at(added, i), "id"), -1);
        bool inside = ct_value_kind_of(vocab) == CT_VALUE_MAP ? ct_value_get(vocab, content) != NULL
                                                              : id < (int64_t)ct_value_count(vocab);
        count += !inside;
    }
    return count;
}

/* A special token is its text or a map with its content. */
static void put_special(ct_context *context, const ct_value *config, ct_value *map) {
    static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                        "sep_token", "cls_token", "mask_token"};
    ct_value *special = ct_value_map(context);
    for (size_t i = 0; special && i < sizeof roles / sizeof roles[0]; i++) {
        const ct_value *token = ct_value_get(config, roles[i]);
        if (ct_value_kind_of(token) == CT_VALUE_MAP) token = ct_value_get(token, "content");
        if (ct_value_kind_of(token) == CT_VALUE_STRING) ct_value_set(special, roles[i], ct_value_copy(token));
    }
    if (ct_value_count(special))
        ct_value_set(map, "special", special);
    else
        ct_value_free(special);
}

ct_value *ct_inspect_tokenizer(ct_context *context, const char *folder) {
    ct_value *file = read_json(context, folder, "tokenizer.json");
    ct_value *config = ct_failed(context) ? NULL : read_json(context, folder, "tokenizer_config.json");
    char *piece = ct_path_join(context, folder, "tokenizer.model"),
         *jinja = ct_path_join(context, folder, "chat_template.jinja");
    bool sentencepiece = piece && ct_file_exists(piece);
    ct_value *map = !ct_failed(context) && (file || config || sentencepiece) ? ct_value_map(context) : NULL;
    if (map && file) {
        const ct_value *model = ct_value_get(file, "model"), *added = ct_value_get(file, "added_tokens");
        copy_key(model, "type", map, "model");
        ct_value_set(map, "tokens", ct_value_int(context, count_tokens(model, added)));
        if (ct_value_get(model, "merges"))
            ct_value_set(map, "merges",
                         ct_value_int(context, (int64_t)ct_value_count(ct_value_get(model, "merges"))));
        ct_value_set(map, "added", ct_value_int(context, (int64_t)ct_value_count(added)));
        copy_key(ct_value_get(file, "normalizer"), "type", map, "normalizer");
        copy_key(ct_value_get(file, "pre_tokenizer"), "type", map, "pre_tokenizer");
    }
    if (map && !file && sentencepiece)
        ct_value_set(map, "model", ct_value_string(context, "SentencePiece (tokenizer.model)"));
    if (map && config) {
        copy_key(config, "tokenizer_class", map, "class");
        put_special(context, config, map);
    }
    if (map)
        ct_value_set(map, "chat_template",
                     ct_value_bool(context, (jinja && ct_file_exists(jinja)) ||
                                                ct_value_get(config, "chat_template")));
    ct_free(context, piece);
    ct_free(context, jinja);
    ct_value_free(file);
    ct_value_free(config);
    return map;
}

ct_value *ct_inspect_gguf_tokenizer(ct_context *context, const ct_value *metadata) {
    if (!ct_value_get(metadata, "tokenizer.ggml.model")) return NULL;
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    copy_key(metadata, "tokenizer.ggml.model", map, "model");
    copy_key(metadata, "tokenizer.ggml.pre", map, "pre_tokenizer");
    static const char *const lists[][2] = {{"tokenizer.ggml.tokens", "tokens"},
                                           {"tokenizer.ggml.merges", "merges"}};
    for (int i = 0; i < 2; i++) {
        const ct_value *list = ct_value_get(metadata, lists[i][0]);
        int64_t count = ct_value_kind_of(list) == CT_VALUE_MAP
                            ? ct_value_as_int(ct_value_get(list, "count"), 0)
                            : (int64_t)ct_value_count(list);
        if (count) ct_value_set(map, lists[i][1], ct_value_int(context, count));
    }
    ct_value_set(map, "chat_template",
                 ct_value_bool(context, ct_value_get(metadata, "tokenizer.chat_template") != NULL));
    return map;
}

/* ---------------------------------------------------------------------------------- shards, other weights */

/* Shards that the index names, each once, and of those the ones that are not there. */
static ct_status check_index(ct_context *context, const char *folder, const char *name) {
    ct_value *index = read_json(context, folder, name);
    const ct_value *weight_map = ct_value_get(index, "weight_map");
    ct_value *seen = index ? ct_value_map(context) : NULL;
    char missing[300] = "";
    int absent = 0;
    for (size_t i = 0; seen && i < ct_value_count(weight_map) && !ct_failed(context); i++) {
        const char *shard = ct_value_as_string(ct_value_at(weight_map, i), "");
        if (!*shard || strchr(shard, '/') || ct_value_get(seen, shard)) continue;
        ct_value_set(seen, shard, ct_value_bool(context, true));
        char *path = ct_path_join(context, folder, shard);
        size_t used = strlen(missing);
        if (path && !ct_file_exists(path) && absent++ < 4)
            snprintf(missing + used, sizeof missing - used, "%s%.60s", used ? ", " : "", shard);
        ct_free(context, path);
    }
    if (absent && !ct_failed(context))
        ct_fail(context, CT_ERROR_NOT_FOUND, "%s/%s: %d of %zu shards are missing: %s%s", folder, name,
                absent, ct_value_count(seen), missing, absent > 4 ? ", ..." : "");
    ct_value_free(seen);
    ct_value_free(index);
    return ct_context_status(context);
}

/* As weights are looked for: the index counts only where the whole file is not there. */
ct_status ct_inspect_shards(ct_context *context, const char *folder) {
    static const char *const names[][2] = {{"model.safetensors", "model.safetensors.index.json"},
                                           {"pytorch_model.bin", "pytorch_model.bin.index.json"}};
    for (int i = 0; i < 2 && !ct_failed(context); i++) {
        char *whole = ct_path_join(context, folder, names[i][0]),
             *index = ct_path_join(context, folder, names[i][1]);
        bool has_whole = whole && ct_file_exists(whole), has_index = index && ct_file_exists(index);
        ct_free(context, whole);
        ct_free(context, index);
        if (has_whole) break;
        if (has_index) return check_index(context, folder, names[i][1]);
    }
    return ct_context_status(context);
}

static void add_weights(ct_context *context, const char *folder, const ct_value *names, ct_value *list) {
    for (size_t i = 0; i < ct_value_count(names) && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(names, i), "");
        char *path = ct_path_join(context, folder, name);
        struct stat status;
        ct_value *map = path && stat(path, &status) == 0 ? ct_value_map(context) : NULL;
        if (map) {
            ct_value_set(map, "file", ct_value_string(context, name));
            ct_value_set(map, "bytes", ct_value_int(context, (int64_t)status.st_size));
            ct_value_append(list, map);
        }
        ct_free(context, path);
    }
}

ct_value *ct_inspect_weights(ct_context *context, const char *folder) {
    ct_model_folder *content = ct_model_folder_open(context, folder);
    ct_value *list = content ? ct_value_list(context) : NULL;
    if (list) {
        add_weights(context, folder, content->weight_files, list);
        add_weights(context, folder, content->other_weights, list);
    }
    ct_model_folder_close(context, content);
    return list;
}
