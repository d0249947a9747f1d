/* plan.c - carat plan memory: what a recipe will need, by class, without running it. carat plan abc: what a
 * choice of width exponents does in the limit of infinite width. carat plan runs-judge: which of several runs
 * to stop. carat plan coordcheck and transfer are in plan_width.c. */
#include "cli/plan_width.h"
#include "cli/fit.h"
#include "cli/report.h"
#include <carat/plan.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------- plan abc */

typedef struct abc_flags {
    const char *a, *b;
    double c;
} abc_flags;

static const ct_option abc_table[] = {
    CT_OPTION_STRING(
        "a", abc_flags, a, NULL,
        "abc: multiplier exponents of the first, hidden and last matrix (without hidden ones: two numbers): "
        "-0.5/0/0.5"),
    CT_OPTION_STRING("b", abc_flags, b, NULL, "abc: exponents of the initial deviations: 0.5/0.5/0.5"),
    CT_OPTION_REAL("c", abc_flags, c, 0, -100, 100, "abc: exponent of SGD's learning rate"), CT_OPTION_END};

/* "x/y/z" or "x/z"; how many, 0 if it is neither. */
static int read_exponents(const char *text, double found[3]) {
    int count = 0;
    for (const char *at = text; at && count < 3;) {
        char *end;
        found[count++] = strtod(at, &end);
        if (end == at || (*end && *end != '/')) return 0;
        if (!*end) break;
        at = end + 1;
        if (count == 3) return 0;
    }
    if (count == 2) {
        found[2] = found[1];
        found[1] = 0;
    }
    return count >= 2 ? count : 0;
}

static void say_verdict(const ct_abc_verdict *v) {
    printf("%-18s %g\n%-18s %s\n", "r", v->r, "stable", v->stable ? "yes" : "no");
    if (!v->stable) printf("%-18s %s\n", "violated", v->violated);
    printf("%-18s %s\n%-18s %s\n%-18s %s\n", "nontrivial", v->nontrivial ? "yes" : "no", "feature learning",
           v->feature_learning ? "yes" : "no", "kernel regime", v->kernel_regime ? "yes" : "no");
}

static int run_abc(ct_cli *cli) {
    ct_context *context = cli->context;
    abc_flags flags;
    if (cli->positional_count != 1) return ct_cli_usage(cli, "plan abc: it takes no recipe");
    ct_abc exponents = {{0}, {0}, 0};
    if (ct_cli_options(cli, abc_table, &flags) != CT_OK) return ct_cli_finish(cli);
    int a = read_exponents(flags.a, exponents.a), b = read_exponents(flags.b, exponents.b);
    if (!a || a != b)
        return ct_cli_usage(
            cli, "plan abc: expected as many exponents in a as in b, three (first/hidden/last) or two "
                 "(first/last): a=-0.5/0/0.5 b=0.5/0.5/0.5 c=0");
    exponents.c = flags.c;
    ct_abc_verdict verdict = ct_abc_judge(&exponents, a == 3);
    if (!cli->json) {
        say_verdict(&verdict);
        return ct_cli_finish(cli);
    }
    ct_value *map = ct_value_map(context);
    ct_value_set(map, "r", ct_value_real(context, verdict.r));
    ct_value_set(map, "stable", ct_value_bool(context, verdict.stable));
    ct_value_set(map, "nontrivial", ct_value_bool(context, verdict.nontrivial));
    ct_value_set(map, "feature_learning", ct_value_bool(context, verdict.feature_learning));
    ct_value_set(map, "kernel_regime", ct_value_bool(context, verdict.kernel_regime));
    ct_value_set(map, "violated",
                 verdict.stable ? ct_value_null(context) : ct_value_string(context, verdict.violated));
    ct_cli_print_json(cli, map);
    return ct_cli_finish(cli);
}

/* ------------------------------------------------------------------------------------ plan runs-judge */

static void print_judgement(const ct_judgement *j) {
    printf("%-24s %12s %14s %5s %10s %5s\n", "run", "samples", "gradient norm", "rank", "loss", "rank");
    for (int i = 0; i < j->count; i++) {
        const ct_judged_run *r = &j->runs[i];
        printf("%-24s %12.0f %14.5g %5d %10.4f %5d%s\n", r->name, r->samples, r->gradient_norm, r->norm_rank, r->loss,
               r->loss_rank, r->stop ? "  stop" : "");
    }
    printf("\nAt %.0f samples. A run that is worst in both, highest gradient norm and lowest loss, is one to stop: a\n"
           "heuristic seen with models of 3 to 7 thousand million parameters (arXiv:2412.13337), no more.\n",
           j->at);
}

static ct_value *judgement_value(ct_context *context, const ct_judgement *j) {
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (int i = 0; list && i < j->count; i++) {
        const ct_judged_run *r = &j->runs[i];
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_text(entry, "run", r->name, context);
        ct_cli_put_real(entry, "samples", r->samples, context);
        ct_cli_put_real(entry, "grad_norm", r->gradient_norm, context);
        ct_cli_put_real(entry, "loss", r->loss, context);
        ct_cli_put_int(entry, "norm_rank", r->norm_rank, context);
        ct_cli_put_int(entry, "loss_rank", r->loss_rank, context);
        ct_value_set(entry, "stop", ct_value_bool(context, r->stop));
        ct_value_append(list, entry);
    }
    if (!map || !list) return map;
    ct_cli_put_real(map, "at", j->at, context);
    ct_value_set(map, "runs", list);
    return map;
}

static int run_judge(ct_cli *cli) {
    if (cli->positional_count != 2) return ct_cli_usage(cli, "plan runs-judge: expected one folder of runs");
    ct_judge_options options;
    ct_judgement judgement;
    if (ct_cli_options(cli, ct_judge_table, &options) == CT_OK &&
        ct_plan_judge_runs(cli->context, cli->positional[1], &options, &judgement) == CT_OK) {
        if (cli->json)
            ct_cli_print_json(cli, judgement_value(cli->context, &judgement));
        else
            print_judgement(&judgement);
        ct_judgement_free(cli->context, &judgement);
    }
    return ct_cli_finish(cli);
}

/* ---------------------------------------------------------------------------------------- plan memory */

static int run_memory(ct_cli *cli) {
    ct_context *context = cli->context;
    if (cli->positional_count != 2) return ct_cli_usage(cli, "plan memory: expected one recipe");
    ct_memory_plan plan;
    cli->positional[0] = cli->positional[1];
    cli->positional_count--;
    ct_value *recipe = ct_cli_recipe(cli);
    if (recipe && ct_train_plan(context, recipe, &plan) == CT_OK) {
        if (cli->json) {
            ct_cli_print_json(cli, ct_cli_memory_plan(context, &plan));
        } else {
            char text[32];
            for (int c = 0; c < CT_MEMORY_CLASSES; c++)
                printf("%-12s %12s\n", ct_memory_class_name((ct_memory_class)c),
                       ct_format_bytes(plan.at_peak[c], text, sizeof(text)));
            printf("%-12s %12s\n", "program", ct_format_bytes(plan.base, text, sizeof(text)));
            printf("%-12s %12s\n", "peak", ct_format_bytes(plan.peak, text, sizeof(text)));
            printf("\n%lld parameters, %.2f GFLOP a step, micro-batch %lld, %s\n", (long long)plan.parameters,
                   (double)plan.flops_per_step * 1e-9, (long long)plan.micro_batch,
                   plan.checkpoint_every ? "activations recomputed" : "activations kept");
        }
    }
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}

/* ------------------------------------------------------------------------------------------- the verb */

static const struct {
    const char *name;
    int (*run)(ct_cli *cli);
    const ct_option *tables[4];
} plans[] = {{"memory", run_memory, {ct_train_table}},
             {"coordcheck", ct_cli_coordcheck, {ct_train_table, ct_width_table, ct_cli_width_table}},
             {"transfer", ct_cli_transfer, {ct_train_table, ct_width_table, ct_cli_width_table}},
             {"runs-judge", run_judge, {ct_judge_table}},
             {"data-efficiency", ct_cli_data_efficiency, {ct_cli_efficiency_table, ct_cli_loss_table}},
             {"ensemble", ct_cli_plan_ensemble, {ct_cli_ensemble_table, ct_cli_loss_table}},
             {"abc", run_abc, {abc_table}}};

static bool belongs(const ct_option *const *tables, const char *name) {
    for (int i = 0; tables[i]; i++)
        if (ct_options_find(tables[i], name)) return true;
    return false;
}

/* Options of another plan are refused. */
static int check_options(ct_cli *cli, const ct_option *const *own) {
    for (size_t i = 0; i < ct_value_count(cli->options); i++) {
        const char *name = ct_value_key(cli->options, i);
        if (belongs(own, name) || ct_options_find(ct_cli_common(cli->verb), name)) continue;
        for (size_t p = 0; p < sizeof(plans) / sizeof(plans[0]); p++)
            if (belongs(plans[p].tables, name))
                return ct_cli_usage(cli, "plan %s: %s belongs to plan %s", cli->positional[0], name,
                                    plans[p].name);
    }
    return CT_EXIT_DONE;
}

static int run(ct_cli *cli) {
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
        if (strcmp(cli->positional[0], plans[i].name) == 0) {
            int code = check_options(cli, plans[i].tables);
            return code == CT_EXIT_DONE ? plans[i].run(cli) : code;
        }
    return ct_cli_usage(cli,
                        "there is no plan \"%s\", expected: memory, coordcheck, transfer, runs-judge, data-efficiency, ensemble or abc",
                        cli->positional[0]);
}

static const char *const examples[] = {
    "carat plan memory recipes/gpt-small.yaml",
    "carat plan memory recipes/gpt-small.yaml --memory 600M --json",
    "carat plan coordcheck recipes/gpt-tiny.yaml data.train=README.md param.name=mup param.base_width=32 "
    "model.tie_word_embeddings=false --widths 32,64,128 --plot check.svg",
    "carat plan transfer recipes/gpt-tiny.yaml data.train=README.md max_steps=10 --widths 32,64 --rates "
    "1e-3,4e-3",
    "carat plan runs-judge out/runs",
    "carat plan data-efficiency recipes/runs.csv --tokens 200000 --reached 3.45",
    "carat plan ensemble recipes/ensembles.csv --budget 60000",
    "carat plan abc a=-0.5/0/0.5 b=0.5/0.5/0.5 c=0",
    NULL};

const ct_verb ct_verb_plan = {
    .name = "plan",
    .arguments = "memory RECIPE.yaml [key=value ...] | coordcheck RECIPE.yaml widths=... | transfer "
                 "RECIPE.yaml widths=... "
                 "rates=... | runs-judge FOLDER | data-efficiency RUNS.csv | ensemble RUNS.csv --budget P | abc a=... b=... c=...",
    .summary = "Predict the memory a recipe needs, by class; check how it behaves as the model becomes "
               "wider; say which "
               "runs to stop early; judge width exponents",
    .details =
        "memory: one training step runs on the meta device, which counts bytes and computes nothing.\n"
        "coordcheck: trains a few steps at several widths and says for every layer whether its activations "
        "move by\n"
        "the same amount at each (they do under param.name=mup), less and less, or more and more.\n"
        "transfer: trains the recipe at several widths and learning rates and says whether the best rate "
        "stays.\n"
        "runs-judge: compares the early gradient norms and losses of fine-tuning runs on the same data.\n"
        "data-efficiency: how many times the data the baseline of RUNS.csv would need for the loss of a recipe.\n"
        "ensemble: of runs with sizes and numbers of members, what each way to spend a number of parameters gives.\n"
        "abc: classifies a parametrization of networks by their width (Yang & Hu, arXiv:2011.14522).",
    .tables = {ct_train_table, ct_width_table, ct_cli_width_table, ct_judge_table, ct_cli_efficiency_table,
               ct_cli_loss_table, ct_cli_ensemble_table, abc_table},
    .least = 1,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
