/* plan.c - carat plan memory: what a recipe will need, by class, without running it. */
#include "cli/report.h"
#include <string.h>

static int run(ct_cli *cli) {
    ct_context *context = cli->context;
    if (strcmp(cli->positional[0], "memory") != 0)
        return ct_cli_usage(cli, "there is no plan \"%s\", expected: memory", cli->positional[0]);
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
                                       "carat plan memory recipes/gpt-small.yaml --memory 600M --json", NULL};

const ct_verb ct_verb_plan = {
    .name = "plan",
    .arguments = "memory RECIPE.yaml [key=value ...]",
    .summary = "Predict the memory a recipe needs, by class",
    .details = "One training step runs on the meta device, which counts bytes and computes nothing.",
    .tables = {ct_train_table},
    .least = 2,
    .most = 2,
    .methods = true,
    .examples = examples,
    .run = run};
