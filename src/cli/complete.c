/* complete.c - `carat complete WORD...`: what the last word can become, a line each. The shell's completion
 * (tools/completion.bash) asks this, so that it knows the verbs, options and methods of the command itself.
 * Nothing printed: the shell completes names of files. */
#include "cli/cli.h"
#include <string.h>

/* Options whose value is the name of a method although they are not called like its kind. */
static const char *const method_options[][2] = {{"optim", "optimizer"}, {"lr_scheduler_type", "schedule"}};

typedef struct completion {
    ct_context *context;
    const ct_verb *verb;
    const char *word;   /* what the candidates begin with */
    const char *before; /* what is printed before each: "optim=" */
} completion;

static void offer(const completion *c, const char *candidate, const char *after) {
    if (strncmp(candidate, c->word, strlen(c->word)) == 0) printf("%s%s%s\n", c->before, candidate, after);
}

static void offer_methods(const completion *c, const ct_kind *kind) {
    const ct_method *method;
    for (size_t i = 0; (method = ct_method_at(c->context, kind, i)); i++)
        if (!method->unavailable) offer(c, method->name, "");
}

/* -------------------------------------------------------------------------------------------- options */

static const ct_option *find_option(const ct_verb *verb, const char *name) {
    for (int i = 0; verb->tables[i]; i++) {
        const ct_option *found = ct_options_find(verb->tables[i], name);
        if (found) return found;
    }
    return ct_options_find(ct_cli_common(verb), name);
}

static void offer_table(const completion *c, const ct_option *table, const char *prefix, const char *after) {
    for (const ct_option *o = table; o && o->type != CT_TYPE_END; o++) {
        char name[256];
        snprintf(name, sizeof(name), "%s%s", prefix, o->name);
        if (o->type == CT_TYPE_GROUP) {
            strncat(name, ".", sizeof(name) - strlen(name) - 1);
            offer_table(c, o->children, name, after);
            continue;
        }
        offer(c, name, after);
        if (!o->alias) continue;
        snprintf(name, sizeof(name), "%s%s", prefix, o->alias);
        offer(c, name, after);
    }
}

static void offer_options(const completion *c, const char *prefix, const char *after) {
    for (int i = 0; c->verb->tables[i]; i++)
        offer_table(c, c->verb->tables[i], prefix, after);
    offer_table(c, ct_cli_common(c->verb), prefix, after);
}

/* `name` without its dashes; it may have `-` for `_`. */
static void offer_values(const completion *c, const char *name) {
    char plain[256];
    snprintf(plain, sizeof(plain), "%s", name + strspn(name, "-"));
    for (char *at = plain; *at; at++)
        if (*at == '-') *at = '_';
    for (size_t k = 0; k < ct_kind_count(); k++) {
        char key[128]; /* "model.norm.name" */
        snprintf(key, sizeof(key), "%s.name", ct_kind_at(k)->key ? ct_kind_at(k)->key : "");
        if (strcmp(plain, key) == 0) offer_methods(c, ct_kind_at(k));
    }
    const ct_option *option = find_option(c->verb, plain);
    if (!option) return;
    for (int i = 0; option->type == CT_TYPE_CHOICE && option->choices[i]; i++)
        offer(c, option->choices[i], "");
    if (option->type == CT_TYPE_BOOL) {
        offer(c, "true", "");
        offer(c, "false", "");
    }
    if (option->type != CT_TYPE_STRING) return;
    const ct_kind *kind = ct_kind_find(option->name);
    for (size_t i = 0; i < sizeof(method_options) / sizeof(method_options[0]); i++)
        if (strcmp(method_options[i][0], option->name) == 0) kind = ct_kind_find(method_options[i][1]);
    if (kind) offer_methods(c, kind);
}

/* ---------------------------------------------------------------------------------------------- words */

static void offer_show(const completion *c, int count, char **words) {
    const ct_kind *kind = count > 2 ? ct_kind_find(words[count - 2]) : NULL;
    if (kind) {
        offer_methods(c, kind);
        return;
    }
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_method *method;
        char name[160];
        offer(c, ct_kind_at(k)->name, "");
        for (size_t i = 0; (method = ct_method_at(c->context, ct_kind_at(k), i)); i++) {
            snprintf(name, sizeof(name), "%s/%s", ct_kind_at(k)->name, method->name);
            if (strchr(c->word, '/'))
                offer(c, name, "");
            else
                offer(c, method->name, "");
        }
    }
    for (size_t i = 0; i < ct_architecture_count(); i++)
        offer(c, ct_architecture_at(i)->model_type, "");
}

/* The benchmark, then any of its methods. */
static void offer_bench(const completion *c, int count, char **words) {
    for (size_t i = 0; ct_benchmarks[i]; i++)
        if (count == 2)
            offer(c, ct_benchmarks[i]->name, "");
        else if (strcmp(words[1], ct_benchmarks[i]->name) == 0)
            offer_methods(c, ct_kind_find(ct_benchmarks[i]->kind));
}

static void complete_verb(completion *c) {
    for (int i = 0; ct_verbs[i]; i++)
        offer(c, ct_verbs[i]->name, "");
    offer(c, "--help", "");
    offer(c, "--version", "");
}

/* `words` begin with the verb. A shell may give "name=value" as one word or as three. */
static void complete_words(completion *c, int count, char **words) {
    static char name[256];
    const char *equals = strchr(c->word, '=');
    if (count > 2 && strcmp(c->word, "=") == 0) {
        c->word = "";
        offer_values(c, words[count - 2]);
    } else if (count > 3 && strcmp(words[count - 2], "=") == 0) {
        offer_values(c, words[count - 3]);
    } else if (equals) {
        static char before[264];
        snprintf(name, sizeof(name), "%.*s", (int)(equals - c->word), c->word);
        snprintf(before, sizeof(before), "%s=", name);
        c->before = before;
        c->word = equals + 1;
        offer_values(c, name);
    } else if (strncmp(c->word, "--", 2) == 0) {
        c->word += 2;
        c->before = "--";
        offer_options(c, "", "");
    } else if (count > 2 && strncmp(words[count - 2], "--", 2) == 0) {
        const ct_option *option = find_option(c->verb, words[count - 2] + 2);
        if (option && option->type != CT_TYPE_BOOL) offer_values(c, words[count - 2]);
    } else if (c->verb == &ct_verb_show) {
        offer_show(c, count, words);
    } else if (c->verb == &ct_verb_bench) {
        offer_bench(c, count, words);
    } else if (*c->word && c->verb->methods) {
        offer_options(c, "", "=");
    }
}

int ct_cli_complete(int count, char **words) {
    if (count > 0 && strcmp(words[0], "--") == 0) count--, words++;
    ct_context *context = ct_context_create(1);
    if (!context) return CT_EXIT_FAILED;
    completion c = {.context = context, .word = count > 0 ? words[count - 1] : "", .before = ""};
    if (count <= 1)
        complete_verb(&c);
    else if ((c.verb = ct_cli_verb(words[0])))
        complete_words(&c, count, words);
    ct_context_destroy(context);
    return ct_cli_flush();
}
