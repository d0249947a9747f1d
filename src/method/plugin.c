/* plugin.c - shared objects with methods of users: loaded, asked to register what they have, kept. */
#define _GNU_SOURCE
#include "method/registry.h"
#include <dlfcn.h>
#include <string.h>

void ct_plugins_close(ct_context *context, ct_method_room *room) {
    for (size_t i = room->plugin_count; i-- > 0;) {
        if (room->plugins[i].handle) dlclose(room->plugins[i].handle);
        ct_free(context, room->plugins[i].path);
    }
    ct_free(context, room->plugins);
}

/* What the loader says, without the path that it may begin with. */
static const char *loader_message(const char *path) {
    const char *text = dlerror();
    if (!text) return "the loader gives no reason";
    size_t length = strlen(path);
    if (strncmp(text, path, length) == 0 && text[length] == ':') text += length + 1;
    return text + strspn(text, " ");
}

/* A place in the room's list, so that nothing can fail once methods are registered. */
static ct_status make_place(ct_context *context, ct_method_room *room) {
    if (room->plugin_count < room->plugin_capacity) return CT_OK;
    size_t capacity = room->plugin_capacity ? 2 * room->plugin_capacity : 4;
    void *plugins = ct_realloc(context, room->plugins, capacity * sizeof(ct_plugin), CT_MEMORY_OTHER);
    if (!plugins) return CT_ERROR_MEMORY;
    room->plugins = plugins;
    room->plugin_capacity = capacity;
    return CT_OK;
}

/* The code stays mapped until the process ends (RTLD_NODELETE): tensors and modules that a context destroys
 * after its methods may still point into it. */
static void *open_object(ct_context *context, const char *path) {
    char *file = strchr(path, '/') ? ct_strdup(context, path) : ct_format(context, "./%s", path);
    if (!file) return NULL;
    void *handle = NULL;
    if (!ct_file_exists(file))
        ct_fail(context, CT_ERROR_NOT_FOUND, "plug-in %s: there is no such file", path);
    else if (!(handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)))
        ct_fail(context, CT_ERROR_FORMAT, "plug-in %s: cannot be loaded: %s", path, loader_message(file));
    ct_free(context, file);
    return handle;
}

/* Runs the plug-in's function; what it registered is forgotten if it fails. */
static ct_status run_plugin(ct_context *context, ct_method_room *room, ct_plugin_function function,
                            const char *path) {
    size_t before = room->count;
    room->loading = path;
    ct_status status = function(context);
    room->loading = NULL;
    if (ct_failed(context))
        status = ct_context_status(context);
    else if (status != CT_OK)
        ct_fail(context, status, "plug-in %s: carat_plugin failed (%s) and gave no reason", path,
                ct_status_name(status));
    if (status != CT_OK) room->count = before;
    return status;
}

static ct_status find_function(ct_context *context, void *handle, const char *path,
                               ct_plugin_function *function) {
    void *symbol = dlsym(handle, "carat_plugin");
    if (!symbol)
        return ct_fail(context, CT_ERROR_FORMAT, "plug-in %s: has no function carat_plugin(ct_context *)",
                       path);
    memcpy(function, &symbol, sizeof(symbol)); /* ISO C has no cast between the two kinds of pointers */
    return CT_OK;
}

ct_status ct_plugin_load(ct_context *context, const char *path) {
    if (ct_failed(context)) return ct_context_status(context);
    if (!path || !*path)
        return ct_fail(context, CT_ERROR_ARGUMENT, "plug-in: expected the path of a shared object");
    ct_method_room *room = ct_method_room_of(context);
    if (!room || make_place(context, room) != CT_OK) return ct_context_status(context);
    ct_plugin plugin = {.path = ct_strdup(context, path)};
    if (plugin.path) plugin.handle = open_object(context, path);
    if (plugin.handle && find_function(context, plugin.handle, path, &plugin.function) == CT_OK &&
        run_plugin(context, room, plugin.function, plugin.path) == CT_OK) {
        room->plugins[room->plugin_count++] = plugin;
        return CT_OK;
    }
    if (plugin.handle) dlclose(plugin.handle);
    ct_free(context, plugin.path);
    return ct_context_status(context);
}

/* The objects are mapped already and stay so; their functions run once more. */
ct_status ct_methods_adopt(ct_context *context, ct_context *from) {
    const ct_method_room *source = ct_method_room_present(from);
    if (ct_failed(context) || !source) return ct_context_status(context);
    ct_method_room *room = ct_method_room_of(context);
    for (size_t i = 0; room && i < source->plugin_count && !ct_failed(context); i++) {
        if (make_place(context, room) != CT_OK) break;
        ct_plugin plugin = {.path = ct_strdup(context, source->plugins[i].path),
                            .function = source->plugins[i].function};
        if (plugin.path && run_plugin(context, room, plugin.function, plugin.path) == CT_OK)
            room->plugins[room->plugin_count++] = plugin;
        else
            ct_free(context, plugin.path);
    }
    for (size_t i = 0; i < source->count && !ct_failed(context); i++)
        if (!source->methods[i].plugin)
            ct_method_register(context, source->methods[i].kind->name, source->methods[i].method);
    return ct_context_status(context);
}
