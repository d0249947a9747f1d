/* registry.c - the kinds, and finding a method by name. The tables themselves are generated from the folders. */
#include <carat/method.h>
#include <carat/optimizer.h>
#include <carat/schedule.h>
#include <string.h>

/* Every kind's struct begins with its ct_method, so a table of the kind is a table of methods. */
static const ct_kind kinds[] = {
    {"optimizer", "how gradients change parameters", (const ct_method *const *)(const void *)ct_optimizer_methods},
    {"schedule", "the learning rate over the steps", (const ct_method *const *)(const void *)ct_schedule_methods},
};

size_t ct_kind_count(void) { return sizeof(kinds) / sizeof(kinds[0]); }
const ct_kind *ct_kind_at(size_t index) { return index < ct_kind_count() ? &kinds[index] : NULL; }

const ct_kind *ct_kind_find(const char *name) {
    for (size_t i = 0; i < ct_kind_count(); i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

const ct_method *ct_method_find(ct_context *context, const char *kind_name, const char *name) {
    const ct_kind *kind = ct_kind_find(kind_name);
    if (!kind) {
        ct_fail(context, CT_ERROR_ARGUMENT, "there is no kind of method \"%s\"", kind_name);
        return NULL;
    }
    const char *names[512];
    size_t count = 0;
    for (; kind->methods[count] && count < 512; count++) {
        names[count] = kind->methods[count]->name;
        if (strcmp(names[count], name) == 0) return kind->methods[count];
    }
    const char *near = ct_nearest_name(name, names, count);
    ct_fail(context, CT_ERROR_ARGUMENT, "there is no %s \"%s\"%s%s%s", kind_name, name, near ? "; did you mean \"" : "",
            near ? near : "", near ? "\"?" : "");
    return NULL;
}
