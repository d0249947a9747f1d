/* embed_folder.c - the files by which sentence-transformers says how vectors are made: modules.json, and of
 * each module its configuration. What would change vectors and is not known here is refused by name. */
#include "evaluate/embed.h"
#include <carat/format.h>
#include <string.h>

/* folder/name as JSON; NULL without an error if there is no such file. */
static ct_value *read_json(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    ct_value *value = path && ct_file_exists(path) ? ct_json_read(context, path) : NULL;
    ct_free(context, path);
    return value;
}

/* Module folders lie within the model's: no way out of it. */
static bool stays_inside(const char *path) {
    return path[0] != '/' && strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0 && !strstr(path, "/..");
}

/* Exactly one way of pooling may be switched on. */
static ct_status read_pooling(ct_context *context, const char *folder, const char *path,
                              ct_embed_plan *plan) {
    static const struct {
        const char *key, *name;
        ct_pooling pooling; /* CT_POOL_FOLDER: not known here */
    } modes[] = {{"pooling_mode_mean_tokens", "mean", CT_POOL_MEAN},
                 {"pooling_mode_cls_token", "cls", CT_POOL_CLS},
                 {"pooling_mode_max_tokens", "max", CT_POOL_MAX},
                 {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", CT_POOL_FOLDER},
                 {"pooling_mode_weightedmean_tokens", "weightedmean", CT_POOL_FOLDER},
                 {"pooling_mode_lasttoken", "lasttoken", CT_POOL_FOLDER}};
    char *where = ct_path_join(context, folder, path);
    ct_value *config = where ? read_json(context, where, "config.json") : NULL;
    ct_free(context, where);
    if (!config)
        return ct_fail(context, CT_ERROR_NOT_FOUND, "%s/%s: there is no config.json of the pooling", folder,
                       path);
    const ct_value *named = ct_value_get(config, "pooling_mode");
    int on = 0, which = -1;
    for (int i = 0; i < (int)(sizeof(modes) / sizeof(modes[0])); i++) {
        bool asked = named ? strcmp(ct_value_as_string(named, ""), modes[i].name) == 0
                           : ct_value_as_bool(ct_value_get(config, modes[i].key), false);
        on += asked;
        if (asked) which = i;
    }
    if (on != 1)
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s/%s/config.json: %d known ways of pooling are switched on%s%s, expected one", folder, path,
                on, named ? ", pooling_mode is " : "", named ? ct_value_as_string(named, "no text") : "");
    else if (modes[which].pooling == CT_POOL_FOLDER)
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s/%s/config.json: %s is not known, expected mean, cls or max", folder, path,
                named ? modes[which].name : modes[which].key);
    else
        plan->pooling = modes[which].pooling;
    if (plan->prompt && !ct_value_as_bool(ct_value_get(config, "include_prompt"), true))
        ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "%s/%s/config.json: include_prompt is false: leaving a prompt out of the pooling is not known",
            folder, path);
    ct_value_free(config);
    return ct_context_status(context);
}

/* Newer folders leave the longest text to the tokenizer's own limit, which may be a huge number for none. */
static int64_t tokenizer_limit(ct_context *context, const char *folder) {
    ct_value *config = read_json(context, folder, "tokenizer_config.json");
    double limit = ct_value_as_real(ct_value_get(config, "model_max_length"), 0);
    ct_value_free(config);
    return limit >= 1 && limit < 1e9 ? (int64_t)limit : 0;
}

static ct_status read_transformer(ct_context *context, const char *folder, const char *path,
                                  ct_embed_plan *plan) {
    plan->model_folder = *path ? ct_path_join(context, folder, path) : ct_strdup(context, folder);
    if (!plan->model_folder) return ct_context_status(context);
    ct_value *config = read_json(context, plan->model_folder, "sentence_bert_config.json");
    const char *task = ct_value_as_string(ct_value_get(config, "transformer_task"), "feature-extraction");
    plan->max_seq_length = ct_value_as_int(ct_value_get(config, "max_seq_length"), 0);
    if (plan->max_seq_length < 0)
        ct_fail(context, CT_ERROR_FORMAT, "%s/sentence_bert_config.json: max_seq_length is %lld",
                plan->model_folder, (long long)plan->max_seq_length);
    if (ct_value_as_bool(ct_value_get(config, "do_lower_case"), false))
        ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "%s/sentence_bert_config.json: do_lower_case is true: lowering before the tokenizer is not known",
            plan->model_folder);
    if (strcmp(task, "feature-extraction") != 0)
        ct_fail(context, CT_ERROR_UNSUPPORTED,
                "%s/sentence_bert_config.json: transformer_task is \"%s\", expected feature-extraction",
                plan->model_folder, task);
    if (!plan->max_seq_length) plan->max_seq_length = tokenizer_limit(context, plan->model_folder);
    ct_value_free(config);
    return ct_context_status(context);
}

/* A prompt that every text gets, where the folder names one as its default. */
static ct_status read_prompt(ct_context *context, const char *folder, ct_embed_plan *plan) {
    ct_value *config = read_json(context, folder, "config_sentence_transformers.json");
    const char *name = ct_value_as_string(ct_value_get(config, "default_prompt_name"), NULL);
    const char *prompt =
        name ? ct_value_as_string(ct_value_get(ct_value_get(config, "prompts"), name), NULL) : NULL;
    if (name && !prompt)
        ct_fail(context, CT_ERROR_FORMAT,
                "%s/config_sentence_transformers.json: default_prompt_name is \"%s\", which prompts does not "
                "have",
                folder, name);
    if (prompt && *prompt) plan->prompt = ct_strdup(context, prompt);
    ct_value_free(config);
    return ct_context_status(context);
}

static ct_status read_module(ct_context *context, const char *folder, const ct_value *module, size_t index,
                             ct_embed_plan *plan) {
    static const char *const kinds[] = {"Transformer", "Pooling", "Normalize"};
    const char *type = ct_value_as_string(ct_value_get(module, "type"), "");
    const char *path = ct_value_as_string(ct_value_get(module, "path"), "");
    const char *kind = strrchr(type, '.') ? strrchr(type, '.') + 1 : type;
    if (index > 2 || strcmp(kind, kinds[index]) != 0)
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "%s/modules.json: module %zu is \"%s\", expected Transformer, Pooling and perhaps Normalize, in "
            "this order",
            folder, index, type);
    if (!stays_inside(path))
        return ct_fail(context, CT_ERROR_FORMAT, "%s/modules.json: the path \"%s\" leaves the folder", folder,
                       path);
    if (index == 0) return read_transformer(context, folder, path, plan);
    if (index == 1) return read_pooling(context, folder, path, plan);
    plan->normalize = true;
    return CT_OK;
}

ct_status ct_embed_plan_read(ct_context *context, const char *folder, ct_embed_plan *plan) {
    *plan = (ct_embed_plan){.pooling = CT_POOL_MEAN};
    ct_value *modules = read_json(context, folder, "modules.json");
    if (!modules)
        return ct_failed(context) ? ct_context_status(context) : read_transformer(context, folder, "", plan);
    size_t count = ct_value_count(modules);
    if (ct_value_kind_of(modules) != CT_VALUE_LIST || count < 2)
        ct_fail(context, CT_ERROR_FORMAT,
                "%s/modules.json: %zu modules, expected a list of a Transformer and a Pooling", folder,
                count);
    if (!ct_failed(context)) read_prompt(context, folder, plan);
    for (size_t i = 0; i < count && !ct_failed(context); i++)
        read_module(context, folder, ct_value_at(modules, i), i, plan);
    ct_value_free(modules);
    return ct_context_status(context);
}

void ct_embed_plan_free(ct_context *context, ct_embed_plan *plan) {
    ct_free(context, plan->model_folder);
    ct_free(context, plan->prompt);
    *plan = (ct_embed_plan){0};
}
