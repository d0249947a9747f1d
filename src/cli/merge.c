/* merge.c - carat merge ensemble: models that predict together, as a manifest. */
#include "cli/report.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct merge_flags {
    const char *out;
    int average;
} merge_flags;

static const char *const averages[] = {"logits", "probabilities", NULL};
static const ct_option flags_table[] = {
    CT_OPTION_STRING("out", merge_flags, out, NULL,
                     "manifest to write; members in its folder or below are named relative to it"),
    CT_OPTION_CHOICE("average", merge_flags, average, "logits", averages, "what of the members is averaged"),
    CT_OPTION_END};

/* The folder that `path` will be in, without links. A new string. */
static char *folder_of(ct_context *context, const char *path) {
    char *text = ct_strdup(context, path), *end = text ? strrchr(text, '/') : NULL;
    char *real = NULL, *copy = NULL;
    if (!text) return NULL;
    if (end) end[end == text] = 0;
    real = realpath(end ? text : ".", NULL);
    if (real)
        copy = ct_strdup(context, real);
    else
        ct_fail(context, CT_ERROR_NOT_FOUND, "%s: there is no such folder to write %s to", end ? text : ".",
                path);
    free(real);
    ct_free(context, text);
    return copy;
}

/* How a manifest in folder `base` names a member: the rest of the path if it is below, else the whole. Other
 * names than folders are taken as they are. A new string. */
static char *name_from(ct_context *context, const char *base, const char *member) {
    char *real = ct_folder_exists(member) ? realpath(member, NULL) : NULL;
    size_t length = strlen(base);
    bool below = real && strncmp(real, base, length) == 0 && real[length] == '/' && real[length + 1];
    char *name = ct_strdup(context, below ? real + length + 1 : real ? real : member);
    free(real);
    return name;
}

static int run(ct_cli *cli) {
    ct_context *context = cli->context;
    merge_flags flags;
    char *names[CT_ENSEMBLE_MOST] = {NULL};
    int count = cli->positional_count - 1;
    if (strcmp(cli->positional[0], "ensemble") != 0)
        return ct_cli_usage(cli, "there is no merge \"%s\", expected: ensemble", cli->positional[0]);
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    if (!flags.out) return ct_cli_usage(cli, "merge ensemble: --out FILE.json is needed");
    if (count > CT_ENSEMBLE_MOST)
        return ct_cli_usage(cli, "merge ensemble: %d members, expected %d at most", count, CT_ENSEMBLE_MOST);
    char *base = folder_of(context, flags.out);
    for (int i = 0; base && i < count; i++)
        names[i] = name_from(context, base, cli->positional[1 + i]);
    if (!ct_failed(context) && ct_ensemble_write(context, flags.out, (const char *const *)names, count,
                                                 (ct_ensemble_average)flags.average) == CT_OK) {
        ct_cli_say(cli, "%d members by the mean of their %s, written to %s", count, averages[flags.average],
                   flags.out);
        if (cli->json) {
            ct_value *map = ct_value_map(context);
            ct_cli_put_int(map, "members", count, context);
            ct_cli_put_text(map, "average", averages[flags.average], context);
            ct_cli_put_text(map, "out", flags.out, context);
            ct_cli_print_json(cli, map);
        }
    }
    for (int i = 0; i < count; i++)
        ct_free(context, names[i]);
    ct_free(context, base);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {"carat merge ensemble out/tiny out/tiny --out out/ensemble.json",
                                       NULL};

const ct_verb ct_verb_merge = {
    .name = "merge",
    .arguments = "ensemble MODEL ... --out ENSEMBLE.json",
    .summary = "Put models together",
    .details = "ensemble: writes a manifest of models with the same tokenizer that predict together, by the "
               "mean of their\n"
               "logits or of their probabilities; carat evaluate takes it in place of a model.",
    .tables = {flags_table},
    .least = 2,
    .most = -1,
    .examples = examples,
    .run = run};
