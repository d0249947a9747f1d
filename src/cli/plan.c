/* plan.c - carat plan: what a recipe will need, by class, without running it; which of several runs to stop. */
#include "cli/report.h"
#include <carat/plan.h>
#include <string.h>

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

static int run(ct_cli *cli) {
    ct_context *context = cli->context;
    if (strcmp(cli->positional[0], "runs-judge") == 0) return run_judge(cli);
    if (strcmp(cli->positional[0], "memory") != 0)
        return ct_cli_usage(cli, "there is no plan \"%s\", expected: memory or runs-judge", cli->positional[0]);
    ct_memory_plan plan;
    for (int i = 1; i < cli->positional_count; i++) cli->positional[i - 1] = cli->positional[i];
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

static const char *const examples[] = {"carat plan memory recipes/gpt-small.yaml",
                                       "carat plan memory recipes/gpt-small.yaml --memory 600M --json",
                                       "carat plan runs-judge out/runs", NULL};

const ct_verb ct_verb_plan = {
    .name = "plan",
    .arguments = "memory RECIPE.yaml [key=value ...] | runs-judge FOLDER",
    .summary = "Predict the memory a recipe needs, by class; say which runs to stop early",
    .details = "memory: one training step runs on the meta device, which counts bytes and computes nothing.\n"
               "runs-judge: compares the early gradient norms and losses of fine-tuning runs on the same data.",
    .tables = {ct_train_table, ct_judge_table},
    .least = 2,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
