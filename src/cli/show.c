/* show.c - carat show: kinds, methods, architectures; one of them with its options. */
#include "cli/report.h"
#include <string.h>

static ct_value *method_value(ct_context *context, const ct_kind *kind, const ct_method *method) {
    ct_value *map = ct_value_map(context);
    if (!map) return NULL;
    ct_cli_put_text(map, "kind", kind->name, context);
    ct_cli_put_text(map, "name", method->name, context);
    ct_cli_put_text(map, "title", method->title, context);
    ct_cli_put_text(map, "paper", method->paper.id, context);
    ct_cli_put_text(map, "citation", method->paper.citation, context);
    ct_cli_put_text(map, "summary", method->summary, context);
    char *defaults = ct_alloc_zero(context, method->options_size + 1, CT_MEMORY_OTHER);
    if (defaults) {
        ct_options_default(method->options, defaults);
        ct_value_set(map, "options", ct_options_to_value(context, method->options, defaults));
    }
    ct_free(context, defaults);
    return map;
}

static void print_method(ct_cli *cli, const ct_kind *kind, const ct_method *method) {
    if (cli->json) {
        ct_cli_print_json(cli, method_value(cli->context, kind, method));
        return;
    }
    printf("%s (%s)\n%s%s%s\n\n%s\n", method->title, kind->name, method->paper.id, *method->paper.id ? ", " : "",
           method->paper.citation, method->summary);
    char *text = ct_options_help(cli->context, method->options, "");
    if (text && *text) printf("\nOptions:\n%s", text);
    ct_free(cli->context, text);
}

static void print_kinds(ct_cli *cli) {
    ct_context *context = cli->context;
    ct_value *map = ct_value_map(context);
    for (size_t k = 0; map && k < ct_kind_count(); k++) {
        ct_value *list = ct_value_list(context);
        for (int i = 0; list && ct_kind_at(k)->methods[i]; i++)
            ct_value_append(list, ct_value_string(context, ct_kind_at(k)->methods[i]->name));
        ct_value_set(map, ct_kind_at(k)->name, list);
    }
    ct_value *models = ct_value_list(context);
    for (size_t i = 0; models && i < ct_architecture_count(); i++)
        ct_value_append(models, ct_value_string(context, ct_architecture_at(i)->model_type));
    ct_value_set(map, "architecture", models);
    if (cli->json) {
        ct_cli_print_json(cli, map);
        return;
    }
    for (size_t k = 0; k < ct_value_count(map); k++) {
        printf("%-14s", ct_value_key(map, k));
        for (size_t i = 0; i < ct_value_count(ct_value_at(map, k)); i++)
            printf(" %s", ct_value_as_string(ct_value_at(ct_value_at(map, k), i), ""));
        putchar('\n');
    }
    ct_value_free(map);
}

static void print_kind(ct_cli *cli, const ct_kind *kind) {
    if (cli->json) {
        ct_value *list = ct_value_list(cli->context);
        for (int i = 0; list && kind->methods[i]; i++)
            ct_value_append(list, method_value(cli->context, kind, kind->methods[i]));
        ct_cli_print_json(cli, list);
        return;
    }
    for (int i = 0; kind->methods[i]; i++) printf("%-22s %s\n", kind->methods[i]->name, kind->methods[i]->summary);
}

static void print_architecture(ct_cli *cli, const ct_architecture *a) {
    char *text = ct_options_help(cli->context, a->options, "model.");
    if (!cli->json) {
        printf("%s (architecture)\n%s\n\nOptions, as in config.json and under \"model\" in a recipe:\n%s", a->model_type,
               a->summary, text ? text : "");
    } else {
        ct_value *map = ct_value_map(cli->context);
        ct_cli_put_text(map, "kind", "architecture", cli->context);
        ct_cli_put_text(map, "name", a->model_type, cli->context);
        ct_cli_put_text(map, "summary", a->summary, cli->context);
        ct_cli_print_json(cli, map);
    }
    ct_free(cli->context, text);
}

static bool show_method(ct_cli *cli, const char *name) {
    for (size_t k = 0; k < ct_kind_count(); k++)
        for (int i = 0; ct_kind_at(k)->methods[i]; i++)
            if (strcmp(ct_kind_at(k)->methods[i]->name, name) == 0) {
                print_method(cli, ct_kind_at(k), ct_kind_at(k)->methods[i]);
                return true;
            }
    for (size_t i = 0; i < ct_architecture_count(); i++)
        if (strcmp(ct_architecture_at(i)->model_type, name) == 0) {
            print_architecture(cli, ct_architecture_at(i));
            return true;
        }
    return false;
}

static int not_found(ct_cli *cli, const char *name) {
    const char *names[512];
    size_t count = 0;
    for (size_t k = 0; k < ct_kind_count(); k++) {
        names[count++] = ct_kind_at(k)->name;
        for (int i = 0; ct_kind_at(k)->methods[i] && count < 500; i++) names[count++] = ct_kind_at(k)->methods[i]->name;
    }
    for (size_t i = 0; i < ct_architecture_count() && count < 512; i++) names[count++] = ct_architecture_at(i)->model_type;
    const char *near = ct_nearest_name(name, names, count);
    if (near) return ct_cli_usage(cli, "there is no kind, method or architecture \"%s\"; did you mean \"%s\"?", name, near);
    return ct_cli_usage(cli, "there is no kind, method or architecture \"%s\"", name);
}

static int run(ct_cli *cli) {
    if (!cli->positional_count) {
        print_kinds(cli);
        return ct_cli_finish(cli);
    }
    const ct_kind *kind = ct_kind_find(cli->positional[0]);
    if (kind) print_kind(cli, kind);
    else if (!show_method(cli, cli->positional[0])) return not_found(cli, cli->positional[0]);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {"carat show", "carat show optimizer", "carat show adamw", NULL};

const ct_verb ct_verb_show = {.name = "show",
                              .arguments = "[KIND | METHOD | ARCHITECTURE]",
                              .summary = "List kinds, methods and architectures, or explain one",
                              .least = 0,
                              .most = 1,
                              .examples = examples,
                              .run = run};
