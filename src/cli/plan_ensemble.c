/* plan_ensemble.c - carat plan ensemble: how to spend a number of parameters, on members or on size. */
#include "cli/fit.h"
#include "cli/report.h"
#include <carat/plan.h>
#include <math.h>

typedef struct ensemble_flags {
    double budget;
    const char *size, *members;
} ensemble_flags;
const ct_option ct_cli_ensemble_table[] = {CT_OPTION_REAL("budget", ensemble_flags, budget, 0, 0, 1e18,
                                                          "ensemble: parameters of all members together"),
                                           CT_OPTION_STRING("size", ensemble_flags, size, "parameters",
                                                            "ensemble: the column of a member's parameters"),
                                           CT_OPTION_STRING("members", ensemble_flags, members, "members",
                                                            "ensemble: the column of the number of members"),
                                           CT_OPTION_END};

static const char *const sources[] = {"unknown", "runs", "fit over members", "fit over sizes"};

static void print_sizes(const ct_ensemble_plan *p) {
    printf("%14s %12s %26s\n", "size", "limit", "members without bound");
    for (int i = 0; i < p->size_count; i++) {
        const ct_ensemble_size *s = &p->sizes[i];
        if (!s->fitted)
            printf("%14.0f %12s %s\n", s->size, "-", s->why);
        else if (isnan(s->fit.low))
            printf("%14.0f %12.5f %26s%s\n", s->size, s->fit.e, "one run each",
                   s->fit.uncertain ? "  not settled" : "");
        else
            printf("%14.0f %12.5f %12.5f to %10.5f%s\n", s->size, s->fit.e, s->fit.low, s->fit.high,
                   s->fit.uncertain ? "  not settled" : "");
    }
    if (!p->joint_fitted) {
        printf("No limit of the sizes: %s\n", p->why);
        return;
    }
    printf("Limit of the sizes: %.5f", p->joint.e);
    if (!isnan(p->joint.low)) printf(", 95 %% of resampled fits %.5f to %.5f", p->joint.low, p->joint.high);
    printf("%s\n", p->joint.uncertain ? "; not settled" : "");
}

static void print_choices(const ct_ensemble_plan *p) {
    printf("%14s %8s %12s  %s\n", "size", "members", "loss", "by");
    for (int i = 0; i < p->choice_count; i++) {
        const ct_ensemble_choice *c = &p->choices[i];
        char loss[32] = "-";
        if (!isnan(c->loss)) snprintf(loss, sizeof(loss), "%.5f", c->loss);
        printf("%14.0f %8.0f %12s  %s%s%s\n", c->size, c->members, loss, sources[c->source],
               c->extrapolated ? ", extrapolated" : "", i == p->best ? "  <- least" : "");
    }
    putchar('\n');
}

static void put_limit(ct_value *map, const ct_asymptote *fit, bool fitted, const char *why,
                      ct_context *context) {
    ct_cli_put_real(map, "limit", fitted ? fit->e : NAN, context);
    ct_cli_put_real(map, "limit_low", fitted ? fit->low : NAN, context);
    ct_cli_put_real(map, "limit_high", fitted ? fit->high : NAN, context);
    ct_cli_put_real(map, "a", fitted ? fit->a : NAN, context);
    ct_cli_put_real(map, "exponent", fitted ? fit->alpha : NAN, context);
    ct_value_set(map, "uncertain", ct_value_bool(context, fitted && fit->uncertain));
    if (!fitted) ct_cli_put_text(map, "why", why, context);
}

static ct_value *choices_value(ct_context *context, const ct_ensemble_plan *p) {
    ct_value *list = ct_value_list(context);
    for (int i = 0; list && i < p->choice_count; i++) {
        const ct_ensemble_choice *c = &p->choices[i];
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_real(entry, "size", c->size, context);
        ct_cli_put_real(entry, "members", c->members, context);
        ct_cli_put_real(entry, "loss", c->loss, context);
        ct_cli_put_text(entry, "by", sources[c->source], context);
        ct_value_set(entry, "extrapolated", ct_value_bool(context, c->extrapolated));
        ct_value_set(entry, "best", ct_value_bool(context, i == p->best));
        ct_value_append(list, entry);
    }
    return list;
}

static ct_value *plan_value(ct_context *context, const ct_ensemble_plan *p) {
    ct_value *map = ct_value_map(context), *list = ct_value_list(context), *joint = ct_value_map(context);
    for (int i = 0; list && i < p->size_count; i++) {
        ct_value *entry = ct_value_map(context);
        if (!entry) break;
        ct_cli_put_real(entry, "size", p->sizes[i].size, context);
        put_limit(entry, &p->sizes[i].fit, p->sizes[i].fitted, p->sizes[i].why, context);
        ct_value_append(list, entry);
    }
    if (!map || !list || !joint) return map;
    put_limit(joint, &p->joint, p->joint_fitted, p->why, context);
    ct_value_set(map, "choices", choices_value(context, p));
    ct_value_set(map, "sizes", list);
    ct_value_set(map, "joint", joint);
    return map;
}

int ct_cli_plan_ensemble(ct_cli *cli) {
    ct_context *context = cli->context;
    ensemble_flags flags;
    ct_cli_column column;
    ct_fit_options options;
    ct_ensemble_plan plan;
    double *values[3] = {NULL, NULL, NULL};
    int64_t count = 0;
    if (cli->positional_count != 2) return ct_cli_usage(cli, "plan ensemble: expected one file of runs");
    ct_options_default(ct_fit_table, &options);
    if (ct_cli_options(cli, ct_cli_ensemble_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_cli_loss_table, &column) != CT_OK)
        return ct_cli_finish(cli);
    const char *const columns[] = {flags.size, flags.members, column.loss};
    if (!(flags.budget > 0)) return ct_cli_usage(cli, "plan ensemble: --budget PARAMETERS is needed");
    if (ct_fit_read_columns(context, cli->positional[1], columns, 3, values, &count) == CT_OK &&
        ct_plan_ensemble(context, values[0], values[1], values[2], count, flags.budget, &options, &plan) ==
            CT_OK) {
        if (cli->json) {
            ct_cli_print_json(cli, plan_value(context, &plan));
        } else {
            print_choices(&plan);
            print_sizes(&plan);
        }
        ct_ensemble_plan_free(context, &plan);
    }
    for (int k = 0; k < 3; k++)
        ct_free(context, values[k]);
    return ct_cli_finish(cli);
}
