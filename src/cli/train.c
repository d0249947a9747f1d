/* train.c - carat train: a run described by a recipe; carat train init: the model it would begin with; carat
 * train rewrite: a recipe with norms inserted. */
#include "cli/cli.h"
#include "cli/report.h"
#include "cli/tune.h"
#include <math.h>
#include <string.h>

typedef struct train_flags {
    bool resume;
    const char *insert_norm;
} train_flags;

static const ct_option flags_table[] = {
    CT_OPTION_BOOL("resume", train_flags, resume, false, "go on from the newest checkpoint in output_dir"),
    CT_OPTION_STRING("insert_norm", train_flags, insert_norm, NULL,
                     "rewrite: the norm before every nonlinearity, ln or rms"),
    CT_OPTION_END};

/* The recipe with what was given on the command line over it. */
ct_value *ct_cli_recipe(ct_cli *cli) {
    ct_context *context = cli->context;
    ct_value *recipe =
        cli->positional_count ? ct_document_read(context, cli->positional[0]) : ct_value_map(context);
    if (recipe && ct_value_kind_of(recipe) != CT_VALUE_MAP) {
        ct_fail(context, CT_ERROR_FORMAT, "%s: a recipe is a map of keys", cli->positional[0]);
        ct_value_free(recipe);
        return NULL;
    }
    if (!recipe) return NULL;
    ct_cli_overlay(recipe, cli->options);
    for (const ct_option *o = flags_table; o->type != CT_TYPE_END; o++)
        ct_value_remove(recipe, o->name);
    static const char *const common[] = {"json", "quiet", "verbose", "help", "plugin", NULL};
    for (int i = 0; common[i]; i++)
        ct_value_remove(recipe, common[i]);
    return recipe;
}

/* Maps are merged key by key, everything else is replaced. */
void ct_cli_overlay(ct_value *target, const ct_value *over) {
    for (size_t i = 0; i < ct_value_count(over); i++) {
        const char *key = ct_value_key(over, i);
        ct_value *value = ct_value_at(over, i), *present = ct_value_get(target, key);
        if (ct_value_kind_of(value) == CT_VALUE_MAP && ct_value_kind_of(present) == CT_VALUE_MAP)
            ct_cli_overlay(present, value);
        else
            ct_value_set(target, key, ct_value_copy(value));
    }
}

static void say_report(ct_cli *cli, const ct_train_report *r, bool images, const char *folder) {
    char predicted[32], measured[32];
    const char *what = images ? "images" : "tokens";
    ct_cli_say(cli, "%s after %lld steps, %lld %s, %.0f %s/s", r->interrupted ? "Interrupted" : "Done",
               (long long)r->steps, (long long)r->tokens, what, r->tokens_per_second, what);
    if (isfinite(r->accuracy_before))
        ct_cli_say(cli, "Held-out images: before  loss %.4f, accuracy %.4f", log(r->perplexity_before),
                   r->accuracy_before);
    if (isfinite(r->accuracy_after))
        ct_cli_say(cli, "                 after   loss %.4f, accuracy %.4f", log(r->perplexity_after),
                   r->accuracy_after);
    if (isfinite(r->bits_per_byte_before))
        ct_cli_say(cli, "Held-out text:   before  %.3f bits per byte, perplexity %.2f",
                   r->bits_per_byte_before, r->perplexity_before);
    if (isfinite(r->bits_per_byte_after))
        ct_cli_say(cli, "                 after   %.3f bits per byte, perplexity %.2f",
                   r->bits_per_byte_after, r->perplexity_after);
    ct_cli_say(cli, "Memory at peak:  predicted %s, measured %s (micro-batch %lld%s)",
               ct_format_bytes(r->plan.peak, predicted, sizeof(predicted)),
               ct_format_bytes(r->measured_peak, measured, sizeof(measured)), (long long)r->plan.micro_batch,
               r->plan.checkpoint_every ? ", activations recomputed" : "");
    ct_cli_say(cli, "Hash of weights: %016llx", (unsigned long long)r->weights_hash);
    if (r->interrupted)
        ct_cli_say(cli, "Checkpoint in %s; go on with --resume", folder);
    else
        ct_cli_say(cli, "Model, curve and report are in %s", folder);
}

/* carat train rewrite: the recipe, or configuration, with norms before every nonlinearity, into another file.
 */
static int rewrite(ct_cli *cli, const train_flags *flags) {
    ct_context *context = cli->context;
    const char *from = cli->positional[1],
               *to = ct_value_as_string(ct_value_get(cli->options, "output_dir"), NULL);
    if (!flags->insert_norm || !to)
        return ct_cli_usage(cli, "rewrite: expected --insert_norm ln or rms, and --out FILE");
    for (size_t i = 0; i < ct_value_count(cli->options); i++) {
        const char *name = ct_value_key(cli->options, i);
        if (strcmp(name, "resume") == 0 ||
            (ct_options_find(ct_train_table, name) && strcmp(name, "output_dir") != 0))
            return ct_cli_usage(cli, "rewrite: %s has no effect, only --insert_norm and --out have", name);
    }
    ct_value *document = ct_document_read(context, from), *model = ct_value_get(document, "model");
    const char *dot = strrchr(to, '.');
    bool changed = false, json = dot && strcmp(dot, ".json") == 0;
    if (!model) model = document;
    if (document && !ct_value_get(model, "model_type"))
        ct_fail(context, CT_ERROR_FORMAT,
                "%s: there is no model.model_type, as a recipe has, and no model_type", from);
    else if (document && ct_model_insert_norms(context, model, flags->insert_norm, &changed) == CT_OK &&
             (json ? ct_json_write(context, to, document, CT_JSON_PRETTY | CT_JSON_STRICT)
                   : ct_yaml_write(context, to, document)) == CT_OK)
        ct_cli_say(cli,
                   changed ? "%s: norms (%s) stand before every nonlinearity now"
                           : "%s: the model normalises already and keeps its own norms (not %s)",
                   to, flags->insert_norm);
    ct_value_free(document);
    return ct_cli_finish(cli);
}

/* carat train init: the model with which the recipe's run would begin. */
static int init(ct_cli *cli, const train_flags *flags) {
    if (cli->positional_count < 2) return ct_cli_usage(cli, "init: expected a recipe");
    if (flags->resume || flags->insert_norm)
        return ct_cli_usage(cli,
                            "init: there is nothing to resume or rewrite; it takes the keys of a recipe");
    cli->positional[0] = cli->positional[1];
    cli->positional_count--;
    ct_value *recipe = ct_cli_recipe(cli), *report = NULL;
    if (recipe && ct_train_init(cli->context, recipe, &report) == CT_OK) {
        ct_cli_say(cli, "Initial weights, after 0 steps, are in %s",
                   ct_value_as_string(ct_value_get(report, "output_dir"), ""));
        if (cli->json)
            ct_cli_print_json(cli, report);
        else
            ct_value_free(report);
    }
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}

static int run(ct_cli *cli) {
    train_flags flags;
    ct_train_report report = {0};
    if (strcmp(cli->positional[0], "tune") == 0) return ct_cli_tune(cli);
    static const ct_option *const of_tune[] = {ct_cli_tune_table, ct_descent_table};
    for (int t = 0; t < 2; t++)
        for (const ct_option *o = of_tune[t]; o->type != CT_TYPE_END; o++)
            if (ct_value_get(cli->options, o->name))
                return ct_cli_usage(cli, "%s belongs to carat train tune", o->name);
    if (ct_cli_options(cli, flags_table, &flags) != CT_OK) return ct_cli_finish(cli);
    if (strcmp(cli->positional[0], "init") == 0) return init(cli, &flags);
    if (cli->positional_count == 2) {
        if (strcmp(cli->positional[0], "rewrite") == 0) return rewrite(cli, &flags);
        return ct_cli_usage(cli, "unexpected argument \"%s\"", cli->positional[1]);
    }
    if (flags.insert_norm)
        return ct_cli_usage(cli,
                            "insert_norm is for carat train rewrite; in a recipe it is model.insert_norm");
    ct_value *recipe = ct_cli_recipe(cli);
    if (!recipe) return ct_cli_finish(cli);
    if (ct_train(cli->context, recipe, flags.resume, &report) == CT_OK) {
        const char *folder = ct_value_as_string(ct_value_get(recipe, "output_dir"), "");
        if (cli->json)
            ct_cli_print_json(cli, ct_cli_train_report(cli->context, &report, folder));
        else
            say_report(cli, &report, strcmp(ct_value_as_string(ct_value_get(recipe, "task"), ""), "images") == 0, folder);
    }
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat train recipes/gpt-small.yaml max_steps=5 --memory 600M --out out/small",
    "carat train recipes/gpt-tiny.yaml max_steps=20 learning_rate=1e-3 out=out/tiny --json",
    "carat train recipes/gpt-tiny.yaml max_steps=40 learning_rate=1e-3 out=out/tiny --resume",
    "carat train init recipes/gpt-tiny.yaml init.name=lsuv out=out/lsuv",
    "carat train tune recipes/gpt-tiny.yaml max_steps=10 out=out/tune --params learning_rate,weight_decay "
    "--evaluations 4",
    NULL};

const ct_verb ct_verb_train = {
    .name = "train",
    .arguments =
        "[tune|init] RECIPE.yaml [key=value ...] | rewrite RECIPE.yaml --insert_norm ln|rms --out FILE",
    .summary = "Train a language model, or one that classifies images, by a recipe",
    .details = "key=value overrides the recipe; dotted keys reach into maps (model.n_layer=6). Ctrl-C writes "
               "a checkpoint\n"
               "and exits; --resume goes on to the same bits that an uninterrupted run would have reached. "
               "rewrite: a recipe or\n"
               "configuration with a norm before every nonlinearity, as optimizer_links=[nap] wants it.\n"
               "init: writes the model that the run would begin with, after the recipe's initializer "
               "(init.name=lsuv), and trains nothing.\n"
               "tune: changes one of the keys --params at a time by a factor as long as the held-out loss "
               "falls; runs are\n"
               "kept below output_dir, so that the same command goes on after a stop.",
    .tables = {ct_train_table, flags_table, ct_cli_tune_table, ct_descent_table},
    .least = 1,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
