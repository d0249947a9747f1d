/* show.c - carat show: kinds, methods, architectures; one of them with all there is to know; pages made from
 * the same. */
#include "cli/report.h"
#include <string.h>

typedef struct show_flags {
    const char *markdown, *man;
} show_flags;

static const ct_option flags_table[] = {
    CT_OPTION_STRING("markdown", show_flags, markdown, NULL,
                     "folder to write a page for every method and an index into"),
    CT_OPTION_STRING("man", show_flags, man, NULL, "folder to write the manual pages of the command into"),
    CT_OPTION_END};

enum { MOST_NAMES = 1024 };

/* ------------------------------------------------------------------------------------------ values */

static ct_value *methods_value(ct_context *context, const ct_kind *kind) {
    ct_value *list = ct_value_list(context);
    const ct_method *method;
    for (size_t i = 0; list && (method = ct_method_at(context, kind, i)); i++)
        ct_value_append(list, ct_method_to_value(context, method));
    return list;
}

static ct_value *kind_value(ct_context *context, const ct_kind *kind) {
    ct_value *map = ct_value_map(context);
    ct_cli_put_text(map, "name", kind->name, context);
    ct_cli_put_text(map, "summary", kind->summary, context);
    ct_value_set(map, "many", ct_value_bool(context, kind->many));
    ct_value_set(map, "methods", methods_value(context, kind));
    return map;
}

static ct_value *architecture_value(ct_context *context, const ct_architecture *a) {
    ct_value *map = ct_value_map(context);
    ct_cli_put_text(map, "kind", "architecture", context);
    ct_cli_put_text(map, "name", a->model_type, context);
    ct_cli_put_text(map, "summary", a->summary, context);
    char *defaults = ct_alloc_zero(context, a->options_size + 1, CT_MEMORY_OTHER);
    if (defaults) {
        ct_options_default(a->options, defaults);
        ct_value_set(map, "options", ct_options_to_value(context, a->options, defaults));
    }
    ct_free(context, defaults);
    return map;
}

static ct_value *everything(ct_context *context) {
    ct_value *map = ct_value_map(context), *kinds = ct_value_list(context), *models = ct_value_list(context);
    ct_cli_put_text(map, "carat", CT_VERSION, context);
    for (size_t k = 0; kinds && k < ct_kind_count(); k++)
        ct_value_append(kinds, kind_value(context, ct_kind_at(k)));
    for (size_t i = 0; models && i < ct_architecture_count(); i++)
        ct_value_append(models, architecture_value(context, ct_architecture_at(i)));
    ct_value_set(map, "kinds", kinds);
    ct_value_set(map, "architectures", models);
    return map;
}

/* -------------------------------------------------------------------------------------------- words */

static void print_kinds(ct_cli *cli) {
    ct_context *context = cli->context;
    if (cli->json) {
        ct_cli_print_json(cli, everything(context));
        return;
    }
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_method *method;
        printf("%s: %s\n ", ct_kind_at(k)->name, ct_kind_at(k)->summary);
        for (size_t i = 0; (method = ct_method_at(context, ct_kind_at(k), i)); i++)
            printf(" %s", method->name);
        printf("\n");
    }
    printf("architecture: the models that can be built and loaded\n ");
    for (size_t i = 0; i < ct_architecture_count(); i++)
        printf(" %s", ct_architecture_at(i)->model_type);
    printf("\n\ncarat show KIND says what each method is for, carat show METHOD everything about one.\n");
}

static void print_kind(ct_cli *cli, const ct_kind *kind) {
    if (cli->json) {
        ct_cli_print_json(cli, methods_value(cli->context, kind));
        return;
    }
    const ct_method *method;
    for (size_t i = 0; (method = ct_method_at(cli->context, kind, i)); i++) {
        printf("%-22s %s\n", method->name, method->summary);
        if (method->unavailable) printf("%-22s not available: %s\n", "", method->unavailable);
    }
}

static void print_method(ct_cli *cli, const ct_method *method) {
    if (cli->json) {
        ct_cli_print_json(cli, ct_method_to_value(cli->context, method));
        return;
    }
    char *text = ct_method_to_text(cli->context, method);
    if (text) printf("%s", text);
    ct_free(cli->context, text);
}

static void print_architecture(ct_cli *cli, const ct_architecture *a) {
    if (cli->json) {
        ct_cli_print_json(cli, architecture_value(cli->context, a));
        return;
    }
    char *text = ct_options_help(cli->context, a->options, "model.");
    printf("%s (architecture)\n%s\n\nOptions, as in config.json and under \"model\" in a recipe:\n%s",
           a->model_type, a->summary, text ? text : "");
    ct_free(cli->context, text);
}

/* ---------------------------------------------------------------------------------------- finding */

static const ct_method *find_in(ct_cli *cli, const ct_kind *kind, const char *name) {
    const ct_method *method;
    for (size_t i = 0; (method = ct_method_at(cli->context, kind, i)); i++)
        if (strcmp(method->name, name) == 0) return method;
    return NULL;
}

static size_t names_of(ct_cli *cli, const ct_kind *kind, const char **names, size_t count) {
    const ct_method *method;
    for (size_t i = 0; count < MOST_NAMES && (method = ct_method_at(cli->context, kind, i)); i++)
        names[count++] = method->name;
    return count;
}

static int not_found(ct_cli *cli, const char *name) {
    const char *names[MOST_NAMES];
    size_t count = 0;
    for (size_t k = 0; k < ct_kind_count(); k++)
        names[count++] = ct_kind_at(k)->name;
    for (size_t i = 0; i < ct_architecture_count(); i++)
        names[count++] = ct_architecture_at(i)->model_type;
    for (size_t k = 0; k < ct_kind_count(); k++)
        count = names_of(cli, ct_kind_at(k), names, count);
    const char *near = ct_nearest_name(name, names, count);
    if (near)
        return ct_cli_usage(cli, "there is no kind, method or architecture \"%s\"; did you mean \"%s\"?",
                            name, near);
    return ct_cli_usage(cli, "there is no kind, method or architecture \"%s\"", name);
}

/* A method of a given kind: `carat show KIND NAME`, `carat show KIND/NAME`. */
static int show_of_kind(ct_cli *cli, const char *kind_name, const char *name) {
    const char *names[MOST_NAMES];
    size_t count = 0;
    const ct_kind *kind = ct_kind_find(kind_name);
    if (!kind) {
        for (; count < ct_kind_count(); count++)
            names[count] = ct_kind_at(count)->name;
        const char *near = ct_nearest_name(kind_name, names, count);
        return ct_cli_usage(cli, "there is no kind \"%s\"%s%s%s", kind_name, near ? "; did you mean \"" : "",
                            near ? near : "", near ? "\"?" : "");
    }
    const ct_method *method = find_in(cli, kind, name);
    if (method) {
        print_method(cli, method);
        return ct_cli_finish(cli);
    }
    const char *near = ct_nearest_name(name, names, names_of(cli, kind, names, 0));
    return ct_cli_usage(cli, "there is no %s \"%s\"%s%s%s", kind->name, name, near ? "; did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

/* A name alone: a method, if it is one of one kind only, or an architecture. */
static int show_name(ct_cli *cli, const char *name) {
    const ct_method *found = NULL;
    char where[512] = "";
    int count = 0;
    for (size_t k = 0; k < ct_kind_count(); k++) {
        const ct_method *method = find_in(cli, ct_kind_at(k), name);
        if (!method) continue;
        found = method;
        size_t length = strlen(where);
        snprintf(where + length, sizeof(where) - length, "%s%s/%s", count++ ? ", " : "", ct_kind_at(k)->name,
                 name);
    }
    if (count > 1)
        return ct_cli_usage(cli, "\"%s\" is more than one method: %s; say which of them", name, where);
    for (size_t i = 0; i < ct_architecture_count(); i++) {
        if (strcmp(ct_architecture_at(i)->model_type, name) != 0) continue;
        if (found)
            return ct_cli_usage(cli, "\"%s\" is an architecture and a method: say %s for the method", name,
                                where);
        print_architecture(cli, ct_architecture_at(i));
        return ct_cli_finish(cli);
    }
    if (!found) return not_found(cli, name);
    print_method(cli, found);
    return ct_cli_finish(cli);
}

static int write_pages(ct_cli *cli, const show_flags *flags) {
    if (cli->positional_count)
        return ct_cli_usage(cli, "--markdown and --man write all pages, not one of \"%s\"",
                            cli->positional[0]);
    if (flags->markdown && ct_methods_document(cli->context, flags->markdown) == CT_OK)
        ct_cli_say(cli, "Pages of all methods are in %s", flags->markdown);
    if (flags->man && !ct_failed(cli->context) && ct_cli_write_manual(cli->context, flags->man) == CT_OK)
        ct_cli_say(cli, "Manual pages are in %s", flags->man);
    return ct_cli_finish(cli);
}

static int run(ct_cli *cli) {
    show_flags flags;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    if (flags.markdown || flags.man) return write_pages(cli, &flags);
    if (!cli->positional_count) {
        print_kinds(cli);
        return ct_cli_finish(cli);
    }
    const char *name = cli->positional[0], *slash = strchr(name, '/');
    if (cli->positional_count == 2) return show_of_kind(cli, name, cli->positional[1]);
    if (slash) {
        char kind[64];
        snprintf(kind, sizeof(kind), "%.*s", (int)(slash - name), name);
        return show_of_kind(cli, kind, slash + 1);
    }
    const ct_kind *kind = ct_kind_find(name);
    if (!kind) return show_name(cli, name);
    print_kind(cli, kind);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {"carat show",
                                       "carat show optimizer",
                                       "carat show adamw",
                                       "carat show schedule/cosine",
                                       "carat show --json",
                                       "carat show --markdown out/methods",
                                       NULL};

const ct_verb ct_verb_show = {
    .name = "show",
    .arguments = "[KIND | METHOD | KIND METHOD | ARCHITECTURE]",
    .summary = "List kinds, methods and architectures, or explain one",
    .details = "A method has its paper, what it is for, its options, the hooks of a training step that it "
               "uses, its claim and\n"
               "an example. A name that two kinds have is given as KIND METHOD or KIND/METHOD.",
    .tables = {flags_table},
    .least = 0,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
