/* registry.c - the kinds, and finding a method by name: those registered in the context, then those built in,
 * whose tables the build generates (tools/method-table.sh). */
#include "method/registry.h"
#include "base/context.h"
#include "method/chosen.h"
#include <string.h>

#define CT_KIND(name, many, hooks, task, key, shared, needs, summary, example)                               \
    extern const ct_method *const ct_##name##_method_list[];
#include "method/kinds.inc.h"
#undef CT_KIND

#define CT_NEEDS(kind, function) .needed = offsetof(ct_##kind##_method, function), .needed_name = #function
#define CT_NEEDS_NOTHING .needed = 0
#define CT_KIND(name_, many_, hooks_, task_, key_, shared_, needs_, summary_, example_)                      \
    {.name = #name_,                                                                                         \
     .summary = summary_,                                                                                    \
     .task = task_,                                                                                          \
     .key = key_,                                                                                            \
     .shared_options = shared_,                                                                              \
     .example = example_,                                                                                    \
     .uses = hooks_,                                                                                         \
     .many = many_,                                                                                          \
     .method_size = sizeof(ct_##name_##_method),                                                             \
     .methods = ct_##name_##_method_list,                                                                    \
     needs_},
static const ct_kind kinds[] = {
#include "method/kinds.inc.h"
};
#undef CT_KIND

size_t ct_kind_count(void) {
    return sizeof(kinds) / sizeof(kinds[0]);
}
const ct_kind *ct_kind_at(size_t index) {
    return index < ct_kind_count() ? &kinds[index] : NULL;
}

const ct_kind *ct_kind_find(const char *name) {
    for (size_t i = 0; name && i < ct_kind_count(); i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------- room ----- */

static void room_destroy(ct_context *context, void *state) {
    ct_method_room *room = state;
    context->room[CT_ROOM_METHOD] = NULL;
    ct_plugins_close(context, room);
    ct_value_free(room->claims);
    ct_free(context, room->methods);
    ct_free(context, room);
}

ct_method_room *ct_method_room_present(const ct_context *context) {
    return context->room[CT_ROOM_METHOD];
}

ct_method_room *ct_method_room_of(ct_context *context) {
    ct_method_room *room = context->room[CT_ROOM_METHOD];
    if (room) return room;
    room = ct_alloc_zero(context, sizeof(*room), CT_MEMORY_OTHER);
    if (!room) return NULL;
    context->room[CT_ROOM_METHOD] = room;
    context->room_destroy[CT_ROOM_METHOD] = room_destroy;
    return room;
}

/* -------------------------------------------------------------------------------------- finding ----- */

static size_t built_in_count(const ct_kind *kind) {
    size_t count = 0;
    while (kind->methods[count])
        count++;
    return count;
}

size_t ct_method_count(ct_context *context, const ct_kind *kind) {
    const ct_method_room *room = ct_method_room_present(context);
    size_t count = built_in_count(kind);
    for (size_t i = 0; room && i < room->count; i++)
        count += room->methods[i].kind == kind;
    return count;
}

const ct_method *ct_method_at(ct_context *context, const ct_kind *kind, size_t index) {
    const ct_method_room *room = ct_method_room_present(context);
    for (size_t i = 0; room && i < room->count; i++)
        if (room->methods[i].kind == kind && index-- == 0) return room->methods[i].method;
    return index < built_in_count(kind) ? kind->methods[index] : NULL;
}

static const ct_method *lookup(ct_context *context, const ct_kind *kind, const char *name) {
    const ct_method *method;
    for (size_t i = 0; (method = ct_method_at(context, kind, i)); i++)
        if (strcmp(method->name, name) == 0) return method;
    return NULL;
}

static void unknown_kind(ct_context *context, const char *name) {
    enum { MOST = 64 };
    const char *names[MOST];
    size_t count = 0;
    for (; count < ct_kind_count() && count < MOST; count++)
        names[count] = kinds[count].name;
    const char *near = ct_nearest_name(name, names, count);
    ct_fail(context, CT_ERROR_ARGUMENT, "there is no kind of method \"%s\"%s%s%s", name,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static void unknown_method(ct_context *context, const ct_kind *kind, const char *name) {
    enum { MOST = 1024 };
    const char *names[MOST];
    size_t count = 0;
    for (const ct_method *m; count < MOST && (m = ct_method_at(context, kind, count)); count++)
        names[count] = m->name;
    const char *near = ct_nearest_name(name, names, count);
    ct_fail(context, CT_ERROR_ARGUMENT, "there is no %s \"%s\"%s%s%s", kind->name, name,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

const ct_method *ct_method_find(ct_context *context, const char *kind_name, const char *name) {
    const ct_kind *kind = ct_kind_find(kind_name);
    if (!kind) {
        unknown_kind(context, kind_name);
        return NULL;
    }
    const ct_method *method = lookup(context, kind, name);
    if (!method) {
        unknown_method(context, kind, name);
    } else if (method->unavailable) {
        ct_fail(context, CT_ERROR_UNSUPPORTED, "%s \"%s\" is not available: %s", kind->name, name,
                method->unavailable);
        return NULL;
    }
    return method;
}

const ct_kind *ct_method_kind(ct_context *context, const ct_method *method) {
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_method *known;
        for (size_t i = 0; (known = ct_method_at(context, &kinds[k], i)); i++)
            if (known == method) return &kinds[k];
    }
    return NULL;
}

unsigned ct_method_uses(ct_context *context, const ct_method *method) {
    const ct_kind *kind = ct_method_kind(context, method);
    return method->uses | (kind ? kind->uses : 0);
}

const char *ct_method_plugin(ct_context *context, const ct_method *method) {
    const ct_method_room *room = ct_method_room_present(context);
    for (size_t i = 0; room && i < room->count; i++)
        if (room->methods[i].method == method) return room->methods[i].plugin;
    return NULL;
}

/* ---------------------------------------------------------------------------------- registering ----- */

/* "plug-in mine.so: ", or "" for a method that the program itself registers. */
static const char *source_prefix(const ct_method_room *room, char *buffer, size_t size) {
    buffer[0] = 0;
    if (room->loading) snprintf(buffer, size, "plug-in %s: ", room->loading);
    return buffer;
}

static bool is_name(const char *name) {
    return name && *name && strlen(name) < 64 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static size_t option_size(ct_option_type type) {
    switch (type) {
    case CT_TYPE_BOOL:
        return sizeof(bool);
    case CT_TYPE_CHOICE:
        return sizeof(int);
    case CT_TYPE_GROUP:
        return 0; /* its options are looked at one by one */
    default:
        return sizeof(int64_t);
    }
}

/* The first option that is not within `size` bytes or not described; NULL if all are. */
static const ct_option *bad_option(const ct_option *table, size_t base, size_t size) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        if (!o->name || !*o->name || !o->help || base + o->offset + option_size(o->type) > size) return o;
        if (o->type == CT_TYPE_CHOICE && !(o->choices && o->choices[0])) return o;
        const ct_option *inner =
            o->type == CT_TYPE_GROUP ? bad_option(o->children, base + o->offset, size) : NULL;
        if (inner) return inner;
    }
    return NULL;
}

/* Layout first: nothing else of a method that was compiled for another layout can be read. */
static ct_status check_layout(ct_context *context, const ct_kind *kind, const ct_method *method,
                              const char *source) {
    if (method->abi != CT_METHOD_ABI)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%sbuilt for method ABI %d, this Carat has %d", source,
                       method->abi, CT_METHOD_ABI);
    if (method->size != kind->method_size)
        return ct_fail(
            context, CT_ERROR_UNSUPPORTED,
            "%sa struct of kind %s has %zu bytes, this Carat's has %zu; compile it with the headers of this "
            "Carat and set .size",
            source, kind->name, method->size, kind->method_size);
    return CT_OK;
}

static bool has_function(const ct_kind *kind, const ct_method *method) {
    void (*function)(void) = NULL;
    if (kind->needed == 0) return true;
    memcpy(&function, (const char *)method + kind->needed, sizeof(function));
    return function != NULL;
}

static ct_status check_words(ct_context *context, const ct_kind *kind, const ct_method *method,
                             const char *source) {
    if (!is_name(method->name))
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s%s: a method's name is of a-z, 0-9 and _, found \"%.64s\"", source, kind->name,
                       method->name ? method->name : "");
    const char *missing = !method->title || !*method->title       ? "title"
                          : !method->summary || !*method->summary ? "summary"
                          : !has_function(kind, method)           ? kind->needed_name
                                                                  : NULL;
    if (missing)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s%s \"%s\" has no %s", source, kind->name, method->name,
                       missing);
    const ct_option *bad = bad_option(method->options, 0, method->options_size);
    if (bad)
        return ct_fail(context, CT_ERROR_ARGUMENT,
                       "%s%s \"%s\": option \"%s\" has no help or lies outside the options_size of %zu bytes",
                       source, kind->name, method->name, bad->name ? bad->name : "", method->options_size);
    return CT_OK;
}

static ct_status check_free(ct_context *context, const ct_kind *kind, const ct_method *method,
                            const char *source) {
    const ct_method *other = lookup(context, kind, method->name);
    if (!other) return CT_OK;
    const char *plugin = ct_method_plugin(context, other);
    return ct_fail(context, CT_ERROR_ARGUMENT, "%sthere is already %s %s \"%s\"%s%s", source,
                   strchr("aeiou", kind->name[0]) ? "an" : "a", kind->name, method->name,
                   plugin ? ", from plug-in " : "", plugin ? plugin : "");
}

ct_status ct_method_register(ct_context *context, const char *kind_name, const ct_method *method) {
    if (ct_failed(context)) return ct_context_status(context);
    ct_method_room *room = ct_method_room_of(context);
    if (!room) return CT_ERROR_MEMORY;
    char source[512];
    source_prefix(room, source, sizeof(source));
    const ct_kind *kind = ct_kind_find(kind_name);
    if (!method) return ct_fail(context, CT_ERROR_ARGUMENT, "%sno method is given to be registered", source);
    if (!kind) {
        unknown_kind(context, kind_name ? kind_name : "");
        return ct_context_status(context);
    }
    ct_status status = check_layout(context, kind, method, source);
    if (status == CT_OK) status = check_words(context, kind, method, source);
    if (status == CT_OK) status = check_free(context, kind, method, source);
    if (status != CT_OK) return status;
    if (room->count == room->capacity) {
        size_t capacity = room->capacity ? 2 * room->capacity : 16;
        void *methods = ct_realloc(context, room->methods, capacity * sizeof(ct_registered), CT_MEMORY_OTHER);
        if (!methods) return CT_ERROR_MEMORY;
        room->methods = methods;
        room->capacity = capacity;
    }
    room->methods[room->count++] = (ct_registered){kind, method, room->loading};
    return CT_OK;
}
