/* torch_names.c - the tree of dictionaries and lists of a PyTorch checkpoint as a flat list of named tensors,
 * and the rest of it as metadata. A pickle is a graph: what is used twice stands once in it, so that a small
 * file can spell out a huge tree, and a list may hold itself. Depth, visits and bytes are therefore bounded.
 */
#include "format/torch_zip.h"
#include <string.h>

enum { VISITS = 1 << 21, NAME_LIMIT = 4096 };
#define TEXT_LIMIT ((uint64_t)64 << 20)

typedef struct walk {
    ct_archive *archive;
    const ct_pickle *pickle;
    ct_bytes name; /* the path so far */
    int depth;
    size_t visits;
    uint64_t bytes; /* of texts that were copied */
} walk;

static bool refuse(walk *w, const char *what) {
    ct_fail(w->archive->context, CT_ERROR_FORMAT, "%s: below \"%.200s\" %s", w->pickle->where,
            w->name.data ? w->name.data : "", what);
    return false;
}

/* The path with one more part; *before is what to cut it back to. */
static bool enter(walk *w, const char *part, size_t length, size_t *before) {
    *before = w->name.length;
    if (memchr(part, 0, length)) return refuse(w, "a key holds the character NUL");
    if (length > NAME_LIMIT || w->name.length + length + 1 > NAME_LIMIT)
        return refuse(w, "names are longer than 4096 bytes");
    if (++w->depth > CT_DEPTH_MAX) return refuse(w, "containers are nested without end");
    if (w->depth > 1 && ct_bytes_append(w->archive->context, &w->name, ".", 1) != CT_OK) return false;
    return ct_bytes_append(w->archive->context, &w->name, part, length) == CT_OK;
}

static void leave(walk *w, size_t before) {
    w->depth--;
    w->name.length = before;
    if (w->name.data) w->name.data[before] = '\0';
}

static ct_value *note(walk *w, const char *format, ...) CT_PRINTF(2, 3);
static ct_value *note(walk *w, const char *format, ...) {
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return ct_value_string(w->archive->context, text);
}

static ct_value *visit(walk *w, const ct_pickle_node *node);

/* Text or integer keys as text, in `small` where they are made. NULL with an error for others. */
static const char *key_text(walk *w, const ct_pickle_node *key, char small[24], size_t *length) {
    if (key->kind == CT_PICKLE_TEXT) {
        *length = key->as.text.length;
        return key->as.text.data;
    }
    if (key->kind == CT_PICKLE_INT) {
        *length = (size_t)snprintf(small, 24, "%lld", (long long)key->as.integer);
        return small;
    }
    char what[80];
    snprintf(what, sizeof what, "a key is of type %s, expected str or int", ct_pickle_kind_name(key));
    refuse(w, what);
    return NULL;
}

/* One item of a dictionary or list: its value, if it has one, under its key into `map`. */
static bool visit_item(walk *w, ct_value *map, const char *key, size_t length, const ct_pickle_node *item,
                       bool *tensors) {
    size_t before;
    if (!enter(w, key, length, &before)) return false;
    char *copy = NULL;
    ct_value *value = visit(w, item);
    bool good = !ct_failed(w->archive->context);
    if (good && value) {
        copy = ct_alloc(w->archive->context, length + 1, CT_MEMORY_WORKSPACE);
        if (copy) {
            memcpy(copy, key, length);
            copy[length] = '\0';
            good = ct_value_set(map, copy, value) == CT_OK; /* takes the value over */
        } else {
            ct_value_free(value);
            good = false;
        }
        ct_free(w->archive->context, copy);
    } else {
        ct_value_free(value);
        *tensors = true;
    }
    leave(w, before);
    return good;
}

static ct_value *visit_dict(walk *w, const ct_pickle_node *node) {
    ct_value *map = ct_value_map(w->archive->context);
    bool tensors = false, good = map != NULL;
    for (size_t i = 0; good && i + 1 < node->as.list.count; i += 2) {
        char small[24];
        size_t length = 0;
        const char *key = key_text(w, node->as.list.items[i], small, &length);
        good = key && visit_item(w, map, key, length, node->as.list.items[i + 1], &tensors);
    }
    if (good && (!tensors || ct_value_count(map))) return map;
    ct_value_free(map); /* nothing but tensors */
    return NULL;
}

/* Whether a list holds no container or tensor, so that it stays a list. */
static bool is_flat(const ct_pickle_node *node) {
    for (size_t i = 0; i < node->as.list.count; i++) {
        ct_pickle_kind kind = node->as.list.items[i]->kind;
        if (kind == CT_PICKLE_TENSOR || kind == CT_PICKLE_LIST || kind == CT_PICKLE_TUPLE ||
            kind == CT_PICKLE_DICT)
            return false;
    }
    return true;
}

/* Lists of plain values stay lists; others become maps by index, because tensors leave gaps. */
static ct_value *visit_list(walk *w, const ct_pickle_node *node) {
    bool flat = is_flat(node), tensors = false;
    ct_value *value = flat ? ct_value_list(w->archive->context) : ct_value_map(w->archive->context);
    bool good = value != NULL;
    for (size_t i = 0; good && i < node->as.list.count; i++) {
        const ct_pickle_node *item = node->as.list.items[i];
        char key[24];
        size_t length = (size_t)snprintf(key, sizeof key, "%zu", i);
        good = flat ? ct_value_append(value, visit(w, item)) == CT_OK
                    : visit_item(w, value, key, length, item, &tensors);
    }
    if (good && (!tensors || ct_value_count(value))) return value;
    ct_value_free(value);
    return NULL;
}

static ct_value *visit_text(walk *w, const ct_pickle_node *node) {
    w->bytes += node->as.text.length;
    if (w->bytes <= TEXT_LIMIT)
        return ct_value_string_n(w->archive->context, node->as.text.data, node->as.text.length);
    refuse(w, "texts have more than 64 MiB in all");
    return NULL;
}

/* The value of a node, or NULL: it was a tensor (or an error). */
static ct_value *visit(walk *w, const ct_pickle_node *node) {
    ct_context *context = w->archive->context;
    if (++w->visits > VISITS) {
        refuse(w, "the tree has more than 2 million values");
        return NULL;
    }
    switch (node->kind) {
    case CT_PICKLE_NONE:
    case CT_PICKLE_MARK:
        return ct_value_null(context);
    case CT_PICKLE_BOOL:
        return ct_value_bool(context, node->as.truth);
    case CT_PICKLE_INT:
        return ct_value_int(context, node->as.integer);
    case CT_PICKLE_LONG:
        return note(w, "<integer beyond 64 bits>");
    case CT_PICKLE_REAL:
        return ct_value_real(context, node->as.real);
    case CT_PICKLE_TEXT:
        return visit_text(w, node);
    case CT_PICKLE_BYTES:
        return note(w, "<%zu bytes>", node->as.text.length);
    case CT_PICKLE_LIST:
    case CT_PICKLE_TUPLE:
        return visit_list(w, node);
    case CT_PICKLE_DICT:
        return visit_dict(w, node);
    case CT_PICKLE_DTYPE:
        return note(w, "torch.%s", node->as.function.name);
    case CT_PICKLE_FUNCTION:
        return note(w, "<%s>", node->as.function.name);
    case CT_PICKLE_STORAGE:
        return note(w, "<storage %.100s>", node->as.storage.key);
    case CT_PICKLE_TENSOR:
        break;
    }
    w->bytes += w->name.length;
    if (w->bytes > TEXT_LIMIT)
        refuse(w, "names have more than 64 MiB in all");
    else if (w->depth)
        ct_torch_add(w->archive, w->name.data ? w->name.data : "", w->name.length, node->as.tensor);
    else
        ct_torch_add(w->archive, "tensor", 6, node->as.tensor); /* the file is one tensor */
    return NULL;
}

ct_status ct_torch_flatten(ct_archive *archive, const ct_pickle *pickle) {
    ct_torch *torch = archive->state;
    walk w = {.archive = archive, .pickle = pickle};
    ct_value *value = visit(&w, pickle->root);
    ct_bytes_free(archive->context, &w.name);
    if (ct_failed(archive->context)) {
        ct_value_free(value);
        return ct_context_status(archive->context);
    }
    for (size_t i = 0; i < ct_value_count(value) && ct_value_kind_of(value) == CT_VALUE_MAP; i++)
        ct_value_set(torch->metadata, ct_value_key(value, i), ct_value_copy(ct_value_at(value, i)));
    if (value && ct_value_kind_of(value) != CT_VALUE_MAP)
        ct_value_set(torch->metadata, "value", ct_value_copy(value));
    ct_value_free(value);
    return ct_context_status(archive->context);
}
