/* options.c - option tables: defaults, reading a map into a struct with every check, writing it back. Help
 * and the wording of bounds are in options_text.c. */
#include "base/options_internal.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

enum { PATH_SIZE = 512, MOST_CANDIDATES = 256 };

int ct_option_choice(const ct_option *option, const char *text) {
    for (int i = 0; text && option->choices[i]; i++)
        if (strcmp(option->choices[i], text) == 0) return i;
    return -1;
}

static void store_default(const ct_option *option, void *field) {
    switch (option->type) {
    case CT_TYPE_BOOL:
        *(bool *)field = option->real_default != 0;
        break;
    case CT_TYPE_INT:
    case CT_TYPE_BYTES:
        *(int64_t *)field = ct_real_to_int(option->real_default);
        break;
    case CT_TYPE_REAL:
        *(double *)field = option->real_default;
        break;
    case CT_TYPE_STRING:
        *(const char **)field = option->text_default;
        break;
    case CT_TYPE_CHOICE: {
        int choice = ct_option_choice(option, option->text_default);
        *(int *)field = choice < 0 ? 0 : choice;
        break;
    }
    case CT_TYPE_VALUE:
        *(const ct_value **)field = NULL;
        break;
    case CT_TYPE_GROUP:
        ct_options_default(option->children, field);
        break;
    case CT_TYPE_END:
        break;
    }
}

void ct_options_default(const ct_option *table, void *target) {
    for (const ct_option *option = table; option->type != CT_TYPE_END; option++)
        store_default(option, (char *)target + option->offset);
}

static const ct_option *find_key(const ct_option *table, const char *name, size_t length) {
    for (const ct_option *option = table; option->type != CT_TYPE_END; option++) {
        const char *const spellings[2] = {option->name, option->alias};
        for (int i = 0; i < 2; i++)
            if (spellings[i] && strlen(spellings[i]) == length && memcmp(spellings[i], name, length) == 0)
                return option;
    }
    return NULL;
}

const ct_option *ct_options_find(const ct_option *table, const char *dotted_path) {
    for (;;) {
        size_t length = strcspn(dotted_path, ".");
        const ct_option *option = find_key(table, dotted_path, length);
        if (!option || !dotted_path[length]) return option;
        if (option->type != CT_TYPE_GROUP) return NULL;
        table = option->children;
        dotted_path += length + 1;
    }
}

/* ------------------------------------------------------------------------------------------ reading ----- */

/* One option's place, for messages. */
typedef struct place {
    ct_context *context;
    const ct_value *value;
    const ct_option *option;
    char path[PATH_SIZE]; /* "optimizer.beta1" */
} place;

static void join_path(char *out, size_t size, const char *path, const char *name) {
    int length = snprintf(out, size, "%s%s%s", path, *path ? "." : "", name);
    if (length >= (int)size) memcpy(out + size - 4, "...", 4);
}

/* "recipe.yaml:7: ", or "". */
static const char *origin_prefix(const ct_value *value, char *buffer, size_t size) {
    if (*ct_value_origin(value, buffer, size)) {
        size_t length = strlen(buffer);
        snprintf(buffer + length, size - length, ": ");
    }
    return buffer;
}

static ct_status wrong_type(const place *at) {
    char origin[PATH_SIZE], found[128], expected[256];
    return ct_fail(at->context, CT_ERROR_ARGUMENT, "%s%s: expected %s, found %s",
                   origin_prefix(at->value, origin, sizeof origin), at->path,
                   ct_option_expected(at->option, false, expected, sizeof expected),
                   ct_value_describe(at->value, found, sizeof found));
}

static ct_status out_of_range(const place *at, const char *found) {
    char origin[PATH_SIZE], expected[256];
    return ct_fail(at->context, CT_ERROR_ARGUMENT, "%s%s: %s is out of range, expected %s",
                   origin_prefix(at->value, origin, sizeof origin), at->path, found,
                   ct_option_expected(at->option, true, expected, sizeof expected));
}

/* An integer, also written as 1e3. */
static bool integer_of(const ct_value *value, int64_t *integer) {
    if (ct_value_kind_of(value) == CT_VALUE_INT) {
        *integer = ct_value_as_int(value, 0);
        return true;
    }
    if (ct_value_kind_of(value) != CT_VALUE_REAL) return false;
    double real = ct_value_as_real(value, 0);
    if (!(real >= -0x1p63 && real < 0x1p63) || real != floor(real)) return false;
    *integer = (int64_t)real;
    return true;
}

static ct_status apply_integer(const place *at, int64_t *field) {
    int64_t integer;
    bool is_bytes = at->option->type == CT_TYPE_BYTES;
    const char *text = is_bytes ? ct_value_as_string(at->value, NULL) : NULL;
    if (!(text ? ct_parse_bytes(text, &integer) : integer_of(at->value, &integer))) return wrong_type(at);
    if (!((double)integer >= at->option->minimum && (double)integer <= at->option->maximum)) {
        char found[64];
        snprintf(found, sizeof found, "%lld", (long long)integer);
        return out_of_range(at, found);
    }
    *field = integer;
    return CT_OK;
}

static ct_status apply_real(const place *at, double *field) {
    ct_value_kind kind = ct_value_kind_of(at->value);
    if (kind != CT_VALUE_REAL && kind != CT_VALUE_INT) return wrong_type(at);
    double real = ct_value_as_real(at->value, 0);
    if (!(real >= at->option->minimum && real <= at->option->maximum)) { /* NaN too */
        char found[CT_TEXT_REAL_SIZE];
        return out_of_range(at, ct_text_from_real(real, found));
    }
    *field = real;
    return CT_OK;
}

/* null: as if it were not given. */
static ct_status apply_string(const place *at, const char **field) {
    ct_value_kind kind = ct_value_kind_of(at->value);
    if (kind != CT_VALUE_STRING && kind != CT_VALUE_NULL) return wrong_type(at);
    const char *text = ct_value_as_string(at->value, at->option->text_default);
    if (kind == CT_VALUE_STRING && strlen(text) != ct_value_string_length(at->value)) {
        char origin[PATH_SIZE];
        return ct_fail(at->context, CT_ERROR_ARGUMENT, "%s%s: the string contains a NUL character",
                       origin_prefix(at->value, origin, sizeof origin), at->path);
    }
    *field = text;
    return CT_OK;
}

/* Choices may look like something else where they were read: 4, true, null. */
static const char *choice_text(const ct_value *value, char *buffer, size_t size) {
    switch (ct_value_kind_of(value)) {
    case CT_VALUE_STRING:
        return ct_value_as_string(value, NULL);
    case CT_VALUE_BOOL:
        return ct_value_as_bool(value, false) ? "true" : "false";
    case CT_VALUE_NULL:
        return "none";
    case CT_VALUE_INT:
        snprintf(buffer, size, "%lld", (long long)ct_value_as_int(value, 0));
        return buffer;
    case CT_VALUE_REAL:
        return ct_text_from_real(ct_value_as_real(value, 0), buffer);
    default:
        return NULL;
    }
}

static ct_status apply_choice(const place *at, int *field) {
    char buffer[CT_TEXT_REAL_SIZE], origin[PATH_SIZE], expected[512];
    const char *text = choice_text(at->value, buffer, sizeof buffer);
    if (!text) return wrong_type(at);
    int choice = ct_option_choice(at->option, text);
    if (choice >= 0) {
        *field = choice;
        return CT_OK;
    }
    size_t count = 0;
    while (at->option->choices[count])
        count++;
    const char *nearest = ct_nearest_name(text, at->option->choices, count);
    return ct_fail(at->context, CT_ERROR_ARGUMENT, "%s%s: \"%.100s\" is not a choice, expected %s%s%s%s",
                   origin_prefix(at->value, origin, sizeof origin), at->path, text,
                   ct_option_expected(at->option, true, expected, sizeof expected),
                   nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static ct_status apply_value(const place *at, const ct_value **field) {
    ct_value_kind kind = ct_value_kind_of(at->value);
    if (kind != CT_VALUE_LIST && kind != CT_VALUE_MAP && kind != CT_VALUE_NULL) return wrong_type(at);
    *field = kind == CT_VALUE_NULL ? NULL : at->value;
    return CT_OK;
}

static ct_status apply_one(const place *at, void *field) {
    switch (at->option->type) {
    case CT_TYPE_BOOL:
        if (ct_value_kind_of(at->value) != CT_VALUE_BOOL) return wrong_type(at);
        *(bool *)field = ct_value_as_bool(at->value, false);
        return CT_OK;
    case CT_TYPE_INT:
    case CT_TYPE_BYTES:
        return apply_integer(at, field);
    case CT_TYPE_REAL:
        return apply_real(at, field);
    case CT_TYPE_STRING:
        return apply_string(at, field);
    case CT_TYPE_CHOICE:
        return apply_choice(at, field);
    case CT_TYPE_VALUE:
        return apply_value(at, field);
    case CT_TYPE_GROUP:
        return ct_options_apply(at->context, at->option->children, field, at->value, at->path, NULL);
    case CT_TYPE_END:
        break;
    }
    return CT_OK;
}

/* The group below `table` that has an option `name`: its path into `out`. */
static bool find_in_groups(const ct_option *table, const char *name, const char *path, char *out,
                           size_t size) {
    for (const ct_option *option = table; option->type != CT_TYPE_END; option++) {
        if (option->type != CT_TYPE_GROUP) continue;
        char inner[PATH_SIZE];
        join_path(inner, sizeof inner, path, option->name);
        if (find_key(option->children, name, strlen(name))) {
            join_path(out, size, inner, name);
            return true;
        }
        if (find_in_groups(option->children, name, inner, out, size)) return true;
    }
    return false;
}

static ct_status unknown_option(ct_context *context, const ct_option *table, const ct_value *value,
                                const char *path, const char *key) {
    const char *names[MOST_CANDIDATES];
    size_t count = 0;
    for (const ct_option *option = table; option->type != CT_TYPE_END; option++) {
        if (count < MOST_CANDIDATES) names[count++] = option->name;
        if (count < MOST_CANDIDATES && option->alias) names[count++] = option->alias;
    }
    char origin[PATH_SIZE], full[PATH_SIZE], meant[PATH_SIZE];
    join_path(full, sizeof full, path, key);
    const char *nearest = ct_nearest_name(key, names, count);
    bool known = nearest != NULL;
    if (nearest)
        join_path(meant, sizeof meant, path, nearest);
    else
        known = find_in_groups(table, key, path, meant, sizeof meant);
    return ct_fail(context, CT_ERROR_ARGUMENT, "%sunknown option \"%s\"%s%s%s",
                   origin_prefix(value, origin, sizeof origin), full, known ? "; did you mean \"" : "",
                   known ? meant : "", known ? "\"?" : "");
}

static bool is_listed(const char *const *list, const char *name) {
    for (; list && *list; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

ct_status ct_options_apply(ct_context *context, const ct_option *table, void *target, const ct_value *map,
                           const char *path, const char *const *skip) {
    if (ct_failed(context)) return ct_context_status(context);
    if (ct_value_kind_of(map) == CT_VALUE_NULL) return CT_OK; /* a group without entries */
    char origin[PATH_SIZE], found[128];
    if (ct_value_kind_of(map) != CT_VALUE_MAP)
        return ct_fail(context, CT_ERROR_ARGUMENT, "%s%s%sexpected a map of options, found %s",
                       origin_prefix(map, origin, sizeof origin), path, *path ? ": " : "",
                       ct_value_describe(map, found, sizeof found));
    for (size_t i = 0; i < ct_value_count(map); i++) {
        const char *key = ct_value_key(map, i);
        if (is_listed(skip, key)) continue;
        place at = {.context = context, .value = ct_value_at(map, i)};
        at.option = find_key(table, key, strlen(key));
        if (!at.option) return unknown_option(context, table, at.value, path, key);
        join_path(at.path, sizeof at.path, path, key);
        if (strcmp(key, at.option->name) != 0 && ct_value_get(map, at.option->name))
            return ct_fail(context, CT_ERROR_ARGUMENT, "%s%s: given twice, also as \"%s\"",
                           origin_prefix(at.value, origin, sizeof origin), at.path, at.option->name);
        ct_status status = apply_one(&at, (char *)target + at.option->offset);
        if (status) return status;
    }
    return CT_OK;
}

/* ------------------------------------------------------------------------------------------ writing ----- */

static ct_value *value_of(ct_context *context, const ct_option *option, const void *field) {
    switch (option->type) {
    case CT_TYPE_BOOL:
        return ct_value_bool(context, *(const bool *)field);
    case CT_TYPE_INT:
    case CT_TYPE_BYTES:
        return ct_value_int(context, *(const int64_t *)field);
    case CT_TYPE_REAL:
        return ct_value_real(context, *(const double *)field);
    case CT_TYPE_STRING: {
        const char *text = *(const char *const *)field;
        return text ? ct_value_string(context, text) : ct_value_null(context);
    }
    case CT_TYPE_CHOICE:
        return ct_value_string(context, option->choices[*(const int *)field]);
    case CT_TYPE_VALUE: {
        const ct_value *value = *(const ct_value *const *)field;
        return value ? ct_value_copy(value) : ct_value_null(context);
    }
    case CT_TYPE_GROUP:
        return ct_options_to_value(context, option->children, field);
    case CT_TYPE_END:
        break;
    }
    return ct_value_null(context);
}

ct_value *ct_options_to_value(ct_context *context, const ct_option *table, const void *target) {
    ct_value *map = ct_value_map(context);
    for (const ct_option *option = table; map && option->type != CT_TYPE_END; option++) {
        ct_value *value = value_of(context, option, (const char *)target + option->offset);
        if (value && !ct_value_set(map, option->name, value)) continue;
        ct_value_free(map);
        return NULL;
    }
    return map;
}
