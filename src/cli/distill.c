/* distill.c - carat distill: students of other models. Each way to teach is a row of `ways`. */
#include "cli/report.h"
#include <carat/distill.h>
#include <math.h>
#include <string.h>

typedef struct distill_flags {
    const char *recipe;
    bool resume;
} distill_flags;

static const ct_option flags_table[] = {
    CT_OPTION_STRING("recipe", distill_flags, recipe, NULL,
                     "of the student; without it that of the teacher's first member"),
    CT_OPTION_BOOL("resume", distill_flags, resume, false, "go on from the newest checkpoint in output_dir"),
    CT_OPTION_END};

/* What was given of the keys of a recipe. */
static ct_value *overrides(ct_cli *cli) {
    ct_value *over = ct_value_map(cli->context);
    for (size_t i = 0; over && i < ct_value_count(cli->options); i++) {
        const char *key = ct_value_key(cli->options, i);
        if (ct_options_find(ct_train_table, key))
            ct_value_set(over, key, ct_value_copy(ct_value_at(cli->options, i)));
    }
    return over;
}

static void print_result(ct_cli *cli, const ct_distill_result *r, const char *folder) {
    ct_context *context = cli->context;
    if (cli->json) {
        ct_value *map = ct_cli_train_report(context, &r->training, folder);
        ct_cli_put_int(map, "members", r->members, context);
        ct_cli_put_real(map, "loss_student", r->student, context);
        ct_cli_put_real(map, "loss_teacher", r->teacher, context);
        ct_cli_put_real(map, "loss_member", r->member, context);
        ct_cli_put_real(map, "kept", r->kept, context);
        ct_cli_print_json(cli, map);
        return;
    }
    ct_cli_say(cli, "%s after %lld steps, %lld tokens, %.0f tokens/s",
               r->training.interrupted ? "Interrupted" : "Done", (long long)r->training.steps,
               (long long)r->training.tokens, r->training.tokens_per_second);
    if (isfinite(r->kept))
        ct_cli_say(cli,
                   "Held-out loss:   student %.5f, ensemble of %d %.5f, its members %.5f on average: the "
                   "student keeps "
                   "%.0f %% of the gain",
                   r->student, r->members, r->teacher, r->member, 100 * r->kept);
    else if (isfinite(r->student))
        ct_cli_say(cli, "Held-out loss:   student %.5f, teacher %.5f", r->student, r->teacher);
    ct_cli_say(cli, "Hash of weights: %016llx", (unsigned long long)r->training.weights_hash);
    if (r->training.interrupted)
        ct_cli_say(cli, "Checkpoint in %s; go on with --resume", folder);
    else
        ct_cli_say(cli, "The student, its curve and its report are in %s", folder);
}

static int run_ensemble(ct_cli *cli) {
    ct_context *context = cli->context;
    distill_flags flags;
    ct_distill_options options;
    ct_distill_result result;
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_distill_table, &options) != CT_OK)
        return ct_cli_finish(cli);
    ct_value *given = flags.recipe ? ct_document_read(context, flags.recipe) : NULL, *over = overrides(cli);
    ct_value *recipe =
        ct_failed(context) ? NULL : ct_distill_recipe(context, cli->positional[1], given, over, &options);
    if (recipe && ct_distill(context, recipe, flags.resume, &result) == CT_OK)
        print_result(cli, &result, ct_value_as_string(ct_value_get(recipe, "output_dir"), ""));
    ct_value_free(recipe);
    ct_value_free(over);
    ct_value_free(given);
    return ct_cli_finish(cli);
}

static const struct {
    const char *name;
    int (*run)(ct_cli *cli);
} ways[] = {{"ensemble", run_ensemble}};

static int run(ct_cli *cli) {
    const char *names[sizeof(ways) / sizeof(ways[0])];
    size_t count = sizeof(ways) / sizeof(ways[0]);
    for (size_t i = 0; i < count; i++) {
        names[i] = ways[i].name;
        if (strcmp(cli->positional[0], ways[i].name) != 0) continue;
        if (cli->positional_count != 2)
            return ct_cli_usage(cli, "distill %s: expected one teacher, a manifest or a model's folder",
                                ways[i].name);
        return ways[i].run(cli);
    }
    const char *near = ct_nearest_name(cli->positional[0], names, count);
    return ct_cli_usage(cli, "there is no distill \"%s\", expected: ensemble%s%s%s", cli->positional[0],
                        near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static const char *const examples[] = {
    "carat distill ensemble out/ensemble.json max_steps=10 -o out/student",
    "carat distill ensemble out/ensemble.json --recipe "
    "recipes/gpt-tiny.yaml data.train=README.md model.n_layer=1 "
    "max_steps=10 --alpha 0.1 --temperature 2 -o out/small-student --json",
    "carat distill ensemble out/tiny --self --alpha 0.3 --temperature 2 max_steps=10 -o out/again", NULL};

const ct_verb ct_verb_distill = {
    .name = "distill",
    .arguments = "ensemble TEACHER [key=value ...] -o STUDENT",
    .summary = "Train a student of other models",
    .details =
        "ensemble: TEACHER is a manifest (carat merge ensemble) or, with --self, one model. The student is "
        "of the size "
        "of\nits first member and trained by that member's recipe with another seed, unless --recipe FILE or "
        "key=value say\notherwise (model.n_layer=2). Its loss is alpha times the recipe's own, plus (1 - "
        "alpha) times the "
        "divergence\nof its probabilities from the teacher's. Ctrl-C writes a checkpoint and exits; --resume "
        "goes on.",
    .tables = {ct_train_table, ct_distill_table, flags_table},
    .least = 2,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
