/* chat_open.c - where a model's chat templates and special tokens are found. */
#include "base/ending.h"
#include "template/builtin.h"
#include "template/chat.h"
#include <carat/format.h>
#include <string.h>

enum { LARGEST = 16 << 20 };

size_t ct_chat_template_count(void) {
    return ct_jinja_builtin_count;
}
const char *ct_chat_template_name(size_t index) {
    return index < ct_jinja_builtin_count ? ct_jinja_builtins[index].name : NULL;
}

/* ------------------------------------------------------------------------------------------ templates */

static ct_status add_text(ct_chat *chat, const char *name, const char *text, size_t length,
                          const char *label) {
    ct_context *context = chat->context;
    if (chat->count == chat->capacity) {
        size_t capacity = chat->capacity ? chat->capacity * 2 : 4;
        ct_template **templates =
            ct_realloc(context, chat->templates, capacity * sizeof(*templates), CT_MEMORY_OTHER);
        if (templates) chat->templates = templates;
        char **names =
            templates ? ct_realloc(context, chat->names, capacity * sizeof(*names), CT_MEMORY_OTHER) : NULL;
        if (!names) return CT_ERROR_MEMORY;
        chat->names = names;
        chat->capacity = capacity;
    }
    ct_template *parsed = ct_template_parse(context, text, length, label);
    char *copy = parsed ? ct_strdup(context, name) : NULL;
    if (!copy) {
        ct_template_destroy(parsed);
        return ct_context_status(context);
    }
    chat->templates[chat->count] = parsed;
    chat->names[chat->count++] = copy;
    return CT_OK;
}

static ct_status add_file(ct_chat *chat, const char *name, const char *path) {
    size_t length = 0;
    char *text = ct_file_read(chat->context, path, LARGEST, &length);
    if (text) add_text(chat, name, text, length, path);
    ct_free(chat->context, text);
    return ct_context_status(chat->context);
}

/* "chat_template" of a tokenizer_config.json: a text, or a list of {"name", "template"}. */
static ct_status add_configured(ct_chat *chat, const ct_value *config, const char *path) {
    const ct_value *given = ct_value_get(config, "chat_template");
    char label[400];
    snprintf(label, sizeof(label), "%.360s: chat_template", path);
    if (ct_value_kind_of(given) == CT_VALUE_STRING)
        return add_text(chat, "default", ct_value_as_string(given, ""), ct_value_string_length(given), label);
    if (ct_value_kind_of(given) != CT_VALUE_LIST)
        return ct_fail(chat->context, CT_ERROR_FORMAT,
                       "%s: is %s, expected a text or a list of named templates", label,
                       ct_value_kind_name(ct_value_kind_of(given)));
    for (size_t i = 0; i < ct_value_count(given); i++) {
        const ct_value *entry = ct_value_at(given, i), *text = ct_value_get(entry, "template");
        const char *name = ct_value_as_string(ct_value_get(entry, "name"), NULL);
        if (!name || ct_value_kind_of(text) != CT_VALUE_STRING)
            return ct_fail(chat->context, CT_ERROR_FORMAT,
                           "%s[%zu]: expected texts in \"name\" and \"template\"", label, i);
        snprintf(label, sizeof(label), "%.300s: chat_template %.60s", path, name);
        if (add_text(chat, name, ct_value_as_string(text, ""), ct_value_string_length(text), label) != CT_OK)
            return ct_context_status(chat->context);
    }
    return CT_OK;
}

static ct_status add_folder_files(ct_chat *chat, const char *folder) {
    ct_context *context = chat->context;
    char *path = ct_path_join(context, folder, "additional_chat_templates");
    ct_value *files = path && ct_folder_exists(path) ? ct_folder_list(context, path) : NULL;
    for (size_t i = 0; i < ct_value_count(files) && !ct_failed(context); i++) {
        const char *name = ct_value_as_string(ct_value_at(files, i), "");
        if (!ct_ends_with(name, ".jinja")) continue;
        char *file = ct_path_join(context, path, name);
        char *plain = file ? ct_format(context, "%.*s", (int)(strlen(name) - 6), name) : NULL;
        if (plain) add_file(chat, plain, file);
        ct_free(context, plain);
        ct_free(context, file);
    }
    ct_value_free(files);
    ct_free(context, path);
    return ct_context_status(context);
}

/* ------------------------------------------------------------------------------------- special tokens */

ct_status ct_chat_set_token(ct_chat *chat, const char *name, const char *text) {
    return ct_value_set(chat->tokens, name, ct_value_string(chat->context, text));
}

/* The entries "..._token", each a text or {"content": text}, that are not there yet. */
static ct_status take_tokens(ct_chat *chat, const ct_value *map) {
    for (size_t i = 0; i < ct_value_count(map) && ct_value_kind_of(map) == CT_VALUE_MAP; i++) {
        const char *key = ct_value_key(map, i);
        const ct_value *value = ct_value_at(map, i);
        if (ct_value_kind_of(value) == CT_VALUE_MAP) value = ct_value_get(value, "content");
        if (!ct_ends_with(key, "_token") || ct_value_kind_of(value) != CT_VALUE_STRING ||
            ct_value_get(chat->tokens, key))
            continue;
        if (ct_value_set(chat->tokens, key, ct_value_copy(value)) != CT_OK)
            return ct_context_status(chat->context);
    }
    return CT_OK;
}

/* A JSON file of the folder; NULL also if there is none. */
static ct_value *read_beside(ct_context *context, const char *folder, const char *name, char **path) {
    *path = ct_path_join(context, folder, name);
    return *path && ct_file_exists(*path) ? ct_json_read(context, *path) : NULL;
}

static ct_status read_folder(ct_chat *chat, const char *folder, bool templates) {
    ct_context *context = chat->context;
    char *config_path, *map_path, *own = ct_path_join(context, folder, "chat_template.jinja");
    ct_value *config = read_beside(context, folder, "tokenizer_config.json", &config_path);
    ct_value *map = read_beside(context, folder, "special_tokens_map.json", &map_path);
    if (!ct_failed(context)) take_tokens(chat, config);
    if (!ct_failed(context)) take_tokens(chat, map);
    if (!ct_failed(context) && templates) {
        if (ct_file_exists(own))
            add_file(chat, "default", own);
        else if (ct_value_get(config, "chat_template"))
            add_configured(chat, config, config_path);
        if (!ct_failed(context)) add_folder_files(chat, folder);
    }
    ct_value_free(config);
    ct_value_free(map);
    ct_free(context, config_path);
    ct_free(context, map_path);
    ct_free(context, own);
    return ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------- opening */

static ct_status add_named(ct_chat *chat, const char *name) {
    ct_context *context = chat->context;
    const char *names[16] = {"model"};
    size_t count = 1;
    char list[200] = "";
    for (size_t i = 0; i < ct_jinja_builtin_count; i++) {
        const jinja_builtin *b = &ct_jinja_builtins[i];
        if (strcmp(b->name, name) == 0) return add_text(chat, "default", b->text, strlen(b->text), b->name);
        names[count++] = b->name;
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s, ", b->name);
    }
    if (ct_file_exists(name) && ct_ends_with(name, ".json")) {
        ct_value *config = ct_json_read(context, name);
        if (config) add_configured(chat, config, name);
        ct_value_free(config);
        return ct_context_status(context);
    }
    if (ct_file_exists(name)) return add_file(chat, "default", name);
    const char *near = ct_nearest_name(name, names, count);
    return ct_fail(context, CT_ERROR_NOT_FOUND,
                   "chat_template: there is no \"%s\", expected %smodel or the name of a file%s%s%s", name,
                   list, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* The folder that a file lies in; folders are their own. */
static char *folder_of(ct_context *context, const char *path) {
    const char *slash = strrchr(path, '/');
    if (ct_folder_exists(path)) return ct_strdup(context, path);
    return slash ? ct_format(context, "%.*s", (int)(slash - path), path) : ct_strdup(context, ".");
}

ct_chat *ct_chat_open(ct_context *context, const char *name, const char *path) {
    bool own = !name || strcmp(name, "model") == 0;
    if (ct_failed(context)) return NULL;
    ct_chat *chat = ct_alloc_zero(context, sizeof(*chat), CT_MEMORY_OTHER);
    if (!chat) return NULL;
    chat->context = context;
    chat->tokens = ct_value_map(context);
    for (int i = 0; i < 2; i++)
        chat->truth[i] = ct_value_bool(context, i);
    char *folder = path && !ct_failed(context) ? folder_of(context, path) : NULL;
    if (folder) read_folder(chat, folder, own);
    if (!ct_failed(context) && !own) add_named(chat, name);
    if (!ct_failed(context) && !chat->count)
        ct_fail(context, CT_ERROR_NOT_FOUND,
                "%s: there is no chat template (chat_template.jinja, or \"chat_template\" in "
                "tokenizer_config.json)",
                folder ? folder : "chat_template");
    ct_free(context, folder);
    if (!ct_failed(context)) return chat;
    ct_chat_close(chat);
    return NULL;
}

void ct_chat_close(ct_chat *chat) {
    if (!chat) return;
    for (size_t i = 0; i < chat->count; i++) {
        ct_template_destroy(chat->templates[i]);
        ct_free(chat->context, chat->names[i]);
    }
    ct_free(chat->context, chat->templates);
    ct_free(chat->context, chat->names);
    ct_value_free(chat->tokens);
    ct_value_free(chat->truth[0]);
    ct_value_free(chat->truth[1]);
    ct_free(chat->context, chat);
}

bool ct_chat_exists(ct_context *context, const char *path) {
    ct_try trial;
    ct_try_begin(context, &trial);
    ct_chat *chat = ct_chat_open(context, NULL, path);
    ct_chat_close(chat);
    return ct_try_end(context, &trial, NULL, 0) != CT_ERROR_NOT_FOUND;
}

const char *ct_chat_name(const ct_chat *chat, size_t index) {
    return index < chat->count ? chat->names[index] : NULL;
}
