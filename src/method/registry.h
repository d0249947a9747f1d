/* registry.h - internal: the methods that were registered in a context, and the plug-ins that hold them. */
#ifndef CARAT_METHOD_REGISTRY_H
#define CARAT_METHOD_REGISTRY_H

#include <carat/method.h>

typedef struct ct_registered {
    const ct_kind *kind;
    const ct_method *method;
    const char *plugin; /* path, owned by the plug-in's entry; NULL: registered by the program */
} ct_registered;

typedef ct_status (*ct_plugin_function)(ct_context *context);

typedef struct ct_plugin {
    void *handle; /* NULL: opened by another context */
    ct_plugin_function function;
    char *path;
} ct_plugin;

/* The state of the method room in a context. */
typedef struct ct_method_room {
    ct_registered *methods;
    size_t count, capacity;
    ct_plugin *plugins;
    size_t plugin_count, plugin_capacity;
    ct_value *claims; /* last recorded results; NULL: not read, or there are none */
    const char *loading; /* path of the plug-in whose function runs now */
} ct_method_room;

/* NULL only if memory is exhausted, which is then the context's error. */
ct_method_room *ct_method_room_of(ct_context *context);
/* The same without making it: NULL if nothing was registered yet. */
ct_method_room *ct_method_room_present(const ct_context *context);
/* Forgets plug-ins; in plugin.c. */
void ct_plugins_close(ct_context *context, ct_method_room *room);

#endif
