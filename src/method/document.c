/* document.c - docs/methods: a page for every method that is built in, and an index by task and by kind. */
#include "method/describe.h"
#include "base/options_internal.h"
#include "base/text.h"
#include <string.h>

/* The first line of every page: only files with it are ever removed. */
static const char mark[] = "<!-- Written by `make docs` from the source. Changes belong there. -->\n";

/* Text in a cell of a table. */
static void cell(ct_text *text, const char *words) {
    for (; *words; words++) {
        if (*words == '|') ct_text_append(text, "\\", 1);
        ct_text_append(text, *words == '\n' ? " " : words, 1);
    }
}

/* ------------------------------------------------------------------------------------------ a page ----- */

static void option_rows(ct_text *text, const ct_option *table, const char *prefix) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        char name[256], type[512], preset[128], range[128];
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", o->name);
        if (o->type == CT_TYPE_GROUP) {
            option_rows(text, o->children, name);
            continue;
        }
        ct_text_printf(text, "| `%s`%s%s%s | ", name, o->alias ? " (`" : "", o->alias ? o->alias : "",
                       o->alias ? "`)" : "");
        cell(text, ct_option_type_text(o, type, sizeof(type)));
        ct_text_printf(text, " | %s | ", ct_option_default_text(o, preset, sizeof(preset)));
        ct_text_printf(text, "%s | ", ct_option_range_text(o, range, sizeof(range)));
        cell(text, o->help ? o->help : "");
        ct_text_printf(text, " |\n");
    }
}

static void option_table(ct_text *text, const ct_option *table, const char *heading) {
    if (!table || table->type == CT_TYPE_END) return;
    ct_text_printf(text, "\n## %s\n\n| option | type | default | range | meaning |\n|---|---|---|---|---|\n",
                   heading);
    option_rows(text, table, "");
}

static void hook_lines(ct_text *text, unsigned uses) {
    const ct_hook_description *hook;
    for (size_t i = 0; (hook = ct_hook_at(i)); i++)
        if (uses & (unsigned)hook->hook) ct_text_printf(text, "- %s: %s\n", hook->name, hook->meaning);
    if (!uses) ct_text_printf(text, "None.\n");
}

/* Addresses and "arXiv:1711.05101" as links. */
static void paper_line(ct_text *text, const ct_method *method) {
    const char *id = method->paper.id ? method->paper.id : "";
    const char *citation = method->paper.citation ? method->paper.citation : "";
    if (!*id && !*citation) return;
    ct_text_printf(text, "\nPaper: %s%s", citation, *id && *citation ? ", " : "");
    if (strncmp(id, "arXiv:", 6) == 0)
        ct_text_printf(text, "[%s](https://arxiv.org/abs/%s)", id, id + 6);
    else if (strncmp(id, "http", 4) == 0)
        ct_text_printf(text, "<%s>", id);
    else
        ct_text_printf(text, "%s", id);
    ct_text_printf(text, "\n");
}

static const char *string(const ct_value *map, const char *key) {
    return ct_value_as_string(ct_value_get(map, key), "");
}

static void claim_lines(ct_text *text, const ct_value *claims) {
    if (!ct_value_count(claims)) ct_text_printf(text, "None recorded.\n");
    for (size_t i = 0; i < ct_value_count(claims); i++) {
        const ct_value *claim = ct_value_at(claims, i), *checks = ct_value_get(claim, "checks");
        ct_text_printf(text, "%s`%s`: %s\n\n", i ? "\n" : "", string(claim, "name"), string(claim, "claim"));
        if (*string(claim, "reported"))
            ct_text_printf(text, "The paper reports: %s\n\n", string(claim, "reported"));
        ct_text_printf(text, "**%s**", string(claim, "verdict"));
        if (*string(claim, "reason"))
            ct_text_printf(text, ": %s", string(claim, "reason"));
        else
            ct_text_printf(text, " (%zu seeds)", ct_value_count(ct_value_get(claim, "seeds")));
        ct_text_printf(text, "\n%s", ct_value_count(checks) ? "\n" : "");
        for (size_t c = 0; c < ct_value_count(checks); c++) {
            char *line = ct_claim_check_line(text->context, ct_value_at(checks, c));
            bool holds = ct_value_as_bool(ct_value_get(ct_value_at(checks, c), "holds"), false);
            ct_text_printf(text, "- %s: %s\n", holds ? "holds" : "does not hold", line ? line : "");
            ct_free(text->context, line);
        }
    }
}

static char *page_of(ct_context *context, const ct_kind *kind, const ct_method *method) {
    ct_text text = ct_text_start(context);
    ct_text_printf(&text, "%s# %s\n\n", mark, method->title);
    ct_text_printf(&text, "`%s`, a method of the kind [%s](../README.md#by-kind): %s. Task: %s.\n\n",
                   method->name, kind->name, kind->summary, ct_method_task(kind, method));
    ct_text_printf(&text, "%s\n", method->summary);
    paper_line(&text, method);
    if (method->unavailable) ct_text_printf(&text, "\n**Not available: %s**\n", method->unavailable);
    char heading[128];
    snprintf(heading, sizeof(heading), "Options%s%s%s", kind->key ? " (in a recipe under `" : "",
             kind->key ? kind->key : "", kind->key ? "`)" : "");
    option_table(&text, method->options, heading);
    snprintf(heading, sizeof(heading), "Options of every %s", kind->name);
    option_table(&text, kind->shared_options, heading);
    ct_text_printf(&text, "\n## Hooks\n\n");
    hook_lines(&text, method->uses | kind->uses);
    for (const ct_method_conflict *c = method->conflicts; c && c->with; c++)
        ct_text_printf(&text, "- not with `%s`: %s\n", c->with, c->why);
    ct_text_printf(&text, "\n## Claim\n\n");
    ct_value *claims = ct_method_claims(context, kind, method);
    claim_lines(&text, claims);
    ct_value_free(claims);
    char *example = ct_method_example(context, method);
    if (example) ct_text_printf(&text, "\n## Example\n\n```sh\n%s\n```\n", example);
    ct_free(context, example);
    return ct_text_take(&text);
}

/* ---------------------------------------------------------------------------------------- the index ----- */

static void index_line(ct_text *text, const ct_kind *kind, const ct_method *method) {
    ct_text_printf(text, "- [%s](%s/%s.md) (`%s`): %s%s\n", method->title, kind->name, method->name,
                   method->name, method->summary, method->unavailable ? " *Not available.*" : "");
}

/* Whether `word` is one of the words of "train, stabilise". */
static bool has_word(const char *task, const char *word, size_t length) {
    for (;;) {
        task += strspn(task, ", ");
        if (!*task) return false;
        size_t size = strcspn(task, ",");
        if (size == length && strncmp(task, word, length) == 0) return true;
        task += size;
    }
}

/* Every task that a built-in method has, once, sorted; as keys of a map. */
static ct_value *task_words(ct_context *context) {
    ct_value *list = ct_value_list(context);
    for (size_t k = 0; k < ct_kind_count(); k++)
        for (size_t i = 0; ct_kind_at(k)->methods[i]; i++) {
            const char *task = ct_method_task(ct_kind_at(k), ct_kind_at(k)->methods[i]);
            while (*(task += strspn(task, ", "))) {
                size_t length = strcspn(task, ",");
                ct_value_append(list, ct_value_string_n(context, task, length));
                task += length;
            }
        }
    return list;
}

/* The least word greater than `after` (NULL: the least of all); NULL at the end. */
static const char *next_word(const ct_value *words, const char *after) {
    const char *next = NULL;
    for (size_t i = 0; i < ct_value_count(words); i++) {
        const char *word = ct_value_as_string(ct_value_at(words, i), "");
        if ((!after || strcmp(word, after) > 0) && (!next || strcmp(word, next) < 0)) next = word;
    }
    return next;
}

static char *index_of(ct_context *context) {
    ct_text text = ct_text_start(context);
    ct_text_printf(&text,
                   "%s# Methods\n\nEvery method that is built in, by task and by kind. `carat show NAME` "
                   "says the same as "
                   "its page.\n\n## By task\n",
                   mark);
    ct_value *words = task_words(context);
    for (const char *word = NULL; (word = next_word(words, word));) {
        ct_text_printf(&text, "\n### %s\n\n", word);
        for (size_t k = 0; k < ct_kind_count(); k++)
            for (size_t i = 0; ct_kind_at(k)->methods[i]; i++)
                if (has_word(ct_method_task(ct_kind_at(k), ct_kind_at(k)->methods[i]), word, strlen(word)))
                    index_line(&text, ct_kind_at(k), ct_kind_at(k)->methods[i]);
    }
    ct_value_free(words);
    ct_text_printf(&text, "\n## By kind\n");
    for (size_t k = 0; k < ct_kind_count(); k++) {
        ct_text_printf(&text, "\n### %s: %s\n\n", ct_kind_at(k)->name, ct_kind_at(k)->summary);
        for (size_t i = 0; ct_kind_at(k)->methods[i]; i++)
            index_line(&text, ct_kind_at(k), ct_kind_at(k)->methods[i]);
    }
    return ct_text_take(&text);
}

/* ------------------------------------------------------------------------------------------ writing ----- */

/* Takes `text` over. */
static ct_status write_page(ct_context *context, const char *folder, const char *name, char *text) {
    char *path = text ? ct_path_join(context, folder, name) : NULL;
    if (path) ct_file_write(context, path, text, strlen(text));
    ct_free(context, path);
    ct_free(context, text);
    return ct_context_status(context);
}

static bool is_built_in(const ct_kind *kind, const char *file) {
    for (size_t i = 0; kind->methods[i]; i++) {
        size_t length = strlen(kind->methods[i]->name);
        if (strncmp(file, kind->methods[i]->name, length) == 0 && strcmp(file + length, ".md") == 0)
            return true;
    }
    return false;
}

/* Removes a page that this program wrote; any other file is left alone. */
static void remove_page(ct_context *context, const char *folder, const char *name) {
    char *path = ct_path_join(context, folder, name);
    size_t length = 0;
    char *text = path && ct_file_exists(path) ? ct_file_read(context, path, 16 << 20, &length) : NULL;
    if (text && strncmp(text, mark, sizeof(mark) - 1) == 0) ct_file_remove(context, path);
    ct_free(context, text);
    ct_free(context, path);
}

static ct_status document_kind(ct_context *context, const char *folder, const ct_kind *kind) {
    char *inner = ct_path_join(context, folder, kind->name);
    if (inner && ct_folder_make(context, inner) == CT_OK) {
        for (size_t i = 0; kind->methods[i] && !ct_failed(context); i++) {
            char name[128];
            snprintf(name, sizeof(name), "%s.md", kind->methods[i]->name);
            write_page(context, inner, name, page_of(context, kind, kind->methods[i]));
        }
        ct_value *files = ct_failed(context) ? NULL : ct_folder_list(context, inner);
        for (size_t i = 0; i < ct_value_count(files); i++) {
            const char *file = ct_value_as_string(ct_value_at(files, i), "");
            if (!is_built_in(kind, file)) remove_page(context, inner, file);
        }
        ct_value_free(files);
    }
    ct_free(context, inner);
    return ct_context_status(context);
}

ct_status ct_methods_document(ct_context *context, const char *folder) {
    if (ct_failed(context) || ct_folder_make(context, folder) != CT_OK) return ct_context_status(context);
    for (size_t k = 0; k < ct_kind_count(); k++)
        if (document_kind(context, folder, ct_kind_at(k)) != CT_OK) return ct_context_status(context);
    return write_page(context, folder, "README.md", index_of(context));
}
