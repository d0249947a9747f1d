/* tune.c - carat train tune: numbers of a recipe found by coordinate descent. */
#include "cli/tune.h"
#include "cli/report.h"
#include <string.h>

typedef struct tune_flags {
    const char *params;
} tune_flags;
const ct_option ct_cli_tune_table[] = {
    CT_OPTION_STRING("params", tune_flags, params, NULL,
                     "tune: keys of the recipe, learning_rate,num_train_epochs,weight_decay (or "
                     "lr,epochs,wd); its values are "
                     "the start"),
    CT_OPTION_END};

static void print_result(ct_cli *cli, const char *const *keys, int count, const ct_descent_result *result,
                         const char *best) {
    ct_context *context = cli->context;
    if (!cli->json) {
        for (int i = 0; i < count; i++)
            printf("%-24s %.6g\n", keys[i], result->values[i]);
        printf("held-out loss %.5f in %s, after %lld runs%s\n", result->loss, best,
               (long long)result->evaluations,
               result->settled ? "; no single change improves it"
                               : "; more runs (--evaluations) may find better");
        return;
    }
    ct_value *map = ct_value_map(context), *values = ct_value_map(context);
    for (int i = 0; values && i < count; i++)
        ct_cli_put_real(values, keys[i], result->values[i], context);
    if (map && values) ct_value_set(map, "values", values);
    ct_cli_put_real(map, "loss", result->loss, context);
    ct_cli_put_int(map, "runs", result->evaluations, context);
    ct_value_set(map, "settled", ct_value_bool(context, result->settled));
    ct_cli_put_text(map, "best", best, context);
    ct_cli_print_json(cli, map);
}

/* Takes the options of the search out of the recipe that the command line made. */
static ct_value *recipe_of(ct_cli *cli) {
    for (int i = 1; i < cli->positional_count; i++)
        cli->positional[i - 1] = cli->positional[i];
    cli->positional_count--;
    ct_value *recipe = ct_cli_recipe(cli);
    for (const ct_option *o = ct_descent_table; recipe && o->type != CT_TYPE_END; o++)
        ct_value_remove(recipe, o->name);
    if (recipe) ct_value_remove(recipe, "params");
    return recipe;
}

/* What papers and people call these keys. */
static const char *whole_name(const char *key) {
    static const char *const names[][2] = {
        {"lr", "learning_rate"}, {"epochs", "num_train_epochs"}, {"wd", "weight_decay"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(key, names[i][0]) == 0) return names[i][1];
    return key;
}

int ct_cli_tune(ct_cli *cli) {
    ct_context *context = cli->context;
    tune_flags flags;
    ct_descent_options options;
    ct_descent_result result;
    const char *keys[CT_DESCENT_COORDINATES];
    int count = 0;
    if (ct_cli_options(cli, ct_cli_tune_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_descent_table, &options) != CT_OK)
        return ct_cli_finish(cli);
    if (cli->positional_count != 2 || !flags.params)
        return ct_cli_usage(cli, "train tune: expected a recipe and --params KEY,KEY");
    char *names = ct_strdup(context, flags.params), *rest = names, *best = NULL;
    for (char *key; rest && (key = strsep(&rest, ","));) {
        if (count == CT_DESCENT_COORDINATES) {
            ct_free(context, names);
            return ct_cli_usage(cli, "train tune: more than %d keys", CT_DESCENT_COORDINATES);
        }
        keys[count++] = whole_name(key);
    }
    ct_value *recipe = names ? recipe_of(cli) : NULL;
    ct_status status =
        recipe ? ct_tune(context, recipe, keys, count, &options, &result, &best) : ct_context_status(context);
    if (status == CT_OK) print_result(cli, keys, count, &result, best);
    if (status == CT_ERROR_INTERRUPTED && !ct_failed(context))
        ct_cli_say(cli, "Interrupted; the same command goes on from here");
    ct_free(context, best);
    ct_free(context, names);
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}
