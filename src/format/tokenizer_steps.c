/* tokenizer_steps.c - reads the steps of tokenizer.json by the tables of their kinds. */
#include "format/tokenizer_steps.h"
#include "format/utf8.h"
#include <string.h>

void ct_words_free(ct_context *context, ct_words *words) {
    ct_bytes_free(context, &words->text);
    ct_free(context, words->items);
    memset(words, 0, sizeof *words);
}

ct_status ct_words_push(ct_context *context, ct_words *words, size_t begin, size_t end, bool first) {
    if (begin == end) return CT_OK;
    if (words->count == words->capacity) {
        size_t capacity = words->capacity * 2 + 64;
        if (capacity > SIZE_MAX / sizeof(ct_word) / 4)
            return ct_fail(context, CT_ERROR_MEMORY, "%zu words do not fit into memory", capacity);
        ct_word *larger = ct_realloc(context, words->items, capacity * sizeof *larger, CT_MEMORY_OTHER);
        if (!larger) return ct_context_status(context);
        words->items = larger;
        words->capacity = capacity;
    }
    words->items[words->count++] = (ct_word){begin, end, first};
    return CT_OK;
}

/* ----------------------------------------------------------------------------------------------- the keys */

static ct_status wrong(ct_context *context, const char *where, const char *key, const char *expected,
                       const ct_value *found) {
    return ct_fail(context, CT_ERROR_FORMAT, "%s: \"%s\" is %s, expected %s", where, key,
                   ct_value_kind_name(ct_value_kind_of(found)), expected);
}

ct_status ct_step_bool(ct_context *context, const ct_value *part, const char *where, const char *key,
                       bool otherwise, bool *value) {
    const ct_value *item = ct_value_get(part, key);
    *value = ct_value_as_bool(item, otherwise);
    if (ct_value_kind_of(item) == CT_VALUE_BOOL || ct_value_kind_of(item) == CT_VALUE_NULL) return CT_OK;
    return wrong(context, where, key, "true or false", item);
}

ct_status ct_step_text(ct_context *context, const ct_value *part, const char *where, const char *key,
                       ct_text *value) {
    const ct_value *item = ct_value_get(part, key);
    if (ct_value_kind_of(item) != CT_VALUE_STRING) return wrong(context, where, key, "a string", item);
    *value = (ct_text){ct_value_as_string(item, ""), ct_value_string_length(item)};
    return CT_OK;
}

ct_status ct_step_character(ct_context *context, const ct_value *part, const char *where, const char *key,
                            ct_text *value) {
    uint32_t code;
    ct_status status = ct_step_text(context, part, where, key, value);
    if (status != CT_OK) return status;
    if (value->length && ct_utf8_decode(value->data, value->length, &code) == value->length) return CT_OK;
    return ct_fail(context, CT_ERROR_FORMAT, "%s: \"%s\" is \"%.60s\", expected one character", where, key,
                   value->data);
}

ct_status ct_step_choice(ct_context *context, const ct_value *part, const char *where, const char *key,
                         const char *const *choices, int otherwise, int *value) {
    const ct_value *item = ct_value_get(part, key);
    *value = otherwise;
    if (!item && otherwise >= 0) return CT_OK;
    if (ct_value_kind_of(item) != CT_VALUE_STRING) return wrong(context, where, key, "a string", item);
    for (*value = 0; choices[*value]; ++*value)
        if (strcmp(choices[*value], ct_value_as_string(item, "")) == 0) return CT_OK;
    return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: the %s \"%.80s\" is not known", where, key,
                   ct_value_as_string(item, ""));
}

ct_status ct_step_pattern(ct_context *context, const ct_value *part, const char *where, ct_step *step) {
    const ct_value *pattern = ct_value_get(part, "pattern");
    bool literal = ct_value_get(pattern, "String") != NULL;
    if (ct_value_kind_of(pattern) != CT_VALUE_MAP || ct_value_count(pattern) != 1)
        return wrong(context, where, "pattern", "{\"String\": ...} or {\"Regex\": ...}", pattern);
    ct_status status = ct_step_text(context, pattern, where, literal ? "String" : "Regex", &step->pattern);
    if (status != CT_OK) return status;
    step->regex = literal ? ct_regex_literal(context, step->pattern.data, step->pattern.length)
                          : ct_regex_create(context, step->pattern.data, step->pattern.length, where, true);
    return step->regex ? CT_OK : ct_context_status(context);
}

/* -------------------------------------------------------------------------------------------------- steps */

/* Whether `key` is one of the words of `keys`. */
static bool is_listed(const char *keys, const char *key) {
    size_t length = strlen(key);
    for (const char *at = keys; (at = strstr(at, key)); at += length) {
        bool begins = at == keys || at[-1] == ' ', ends = at[length] == '\0' || at[length] == ' ';
        if (length && begins && ends) return true;
    }
    return false;
}

static ct_status check_keys(ct_context *context, const ct_value *part, const char *where, const char *keys) {
    for (size_t i = 0; i < ct_value_count(part); i++) {
        const char *key = ct_value_key(part, i);
        if (strcmp(key, "type") != 0 && !is_listed(keys, key))
            return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: the key \"%.80s\" is not known", where, key);
    }
    return CT_OK;
}

static ct_status read_step(ct_context *context, const ct_step_table *table, const ct_value *part,
                           const char *path, ct_steps *steps);

static ct_status read_sequence(ct_context *context, const ct_step_table *table, const ct_value *part,
                               const char *path, ct_steps *steps) {
    const ct_value *list = ct_value_get(part, table->list_key);
    if (ct_value_kind_of(list) != CT_VALUE_LIST)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: the %s Sequence has no list \"%s\"", path, table->what,
                       table->list_key);
    for (size_t i = 0; i < ct_value_count(list); i++) {
        ct_status status = read_step(context, table, ct_value_at(list, i), path, steps);
        if (status != CT_OK) return status;
    }
    return CT_OK;
}

static ct_status read_step(ct_context *context, const ct_step_table *table, const ct_value *part,
                           const char *path, ct_steps *steps) {
    const char *type = ct_value_as_string(ct_value_get(part, "type"), NULL);
    char where[256];
    if (!type)
        return ct_fail(context, CT_ERROR_FORMAT, "%s: a %s is a map with a \"type\", found %s", path,
                       table->what, ct_value_kind_name(ct_value_kind_of(part)));
    if (strcmp(type, "Sequence") == 0) return read_sequence(context, table, part, path, steps);
    const ct_step_kind *const *kind = table->kinds;
    while (*kind && strcmp((*kind)->name, type) != 0)
        kind++;
    if (!*kind)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: the %s \"%.160s\" is not supported", path,
                       table->what, type);
    if (steps->count == CT_STEPS_MOST)
        return ct_fail(context, CT_ERROR_UNSUPPORTED, "%s: more than %d %ss are not supported", path,
                       CT_STEPS_MOST, table->what);
    snprintf(where, sizeof where, "%.160s: %s %s", path, table->what, type);
    ct_step *step = &steps->items[steps->count++];
    *step = (ct_step){.kind = *kind};
    ct_status status = check_keys(context, part, where, (*kind)->keys);
    return status == CT_OK && (*kind)->read ? (*kind)->read(context, part, where, step) : status;
}

ct_status ct_steps_read(ct_context *context, const ct_step_table *table, const ct_value *part,
                        const char *path, ct_steps *steps) {
    steps->count = 0;
    if (ct_value_kind_of(part) == CT_VALUE_NULL) return CT_OK;
    return read_step(context, table, part, path, steps);
}

void ct_steps_free(ct_context *context, ct_steps *steps) {
    for (size_t i = 0; i < steps->count; i++) {
        ct_regex_destroy(steps->items[i].regex);
        ct_charsmap_free(context, steps->items[i].charsmap);
    }
    steps->count = 0;
}
