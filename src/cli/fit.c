/* fit.c - carat fit asymptote: the loss that is left when x grows without bound; carat plan data-efficiency:
 * how much more data a baseline would need for a loss. */
#include "cli/fit.h"
#include "cli/report.h"
#include <math.h>
#include <string.h>

typedef struct fit_flags {
    const char *x, *loss;
} fit_flags;
static const ct_option flags_table[] = {
    CT_OPTION_STRING("x", fit_flags, x, "x", "column of what grows: parameters, members, tokens"),
    CT_OPTION_STRING("loss", fit_flags, loss, "loss", "column of the losses"), CT_OPTION_END};

/* The fit to two columns of a file. */
static bool fit_file(ct_cli *cli, const char *path, const char *x_column, const char *loss_column,
                     const ct_fit_options *options, ct_asymptote *fit, double *largest) {
    ct_context *context = cli->context;
    double *x, *loss;
    int64_t count;
    if (ct_fit_read(context, path, x_column, loss_column, &x, &loss, &count) != CT_OK) return false;
    *largest = 0;
    for (int64_t i = 0; i < count; i++)
        if (x[i] > *largest) *largest = x[i];
    ct_status status = ct_fit_asymptote(context, x, loss, count, options, fit);
    ct_free(context, x);
    ct_free(context, loss);
    return status == CT_OK;
}

static void put_fit(ct_value *map, const ct_asymptote *fit, ct_context *context) {
    ct_cli_put_real(map, "a", fit->a, context);
    ct_cli_put_real(map, "alpha", fit->alpha, context);
    ct_cli_put_real(map, "e", fit->e, context);
    ct_cli_put_real(map, "e_low", fit->low, context);
    ct_cli_put_real(map, "e_high", fit->high, context);
    ct_cli_put_real(map, "alpha_low", fit->alpha_low, context);
    ct_cli_put_real(map, "alpha_high", fit->alpha_high, context);
    ct_cli_put_real(map, "residual", fit->residual, context);
    ct_cli_put_real(map, "gain", fit->gain, context);
    ct_cli_put_int(map, "sizes", fit->sizes, context);
    ct_cli_put_int(map, "runs", fit->runs, context);
    ct_value_set(map, "uncertain", ct_value_bool(context, fit->uncertain));
}

static void say_fit(const ct_asymptote *fit) {
    printf("loss = %.5g / x^%.4f + %.5f, of %d runs at %d sizes (root mean square of log errors %.2g)\n",
           fit->a, fit->alpha, fit->e, fit->runs, fit->sizes, fit->residual);
    if (isnan(fit->low))
        printf("asymptote %.5f, without an interval: no size has several runs\n", fit->e);
    else
        printf("asymptote %.5f, 95 %% of resampled fits %.5f to %.5f; exponent %.4f to %.4f\n", fit->e,
               fit->low, fit->high, fit->alpha_low, fit->alpha_high);
    bool wide = fit->high - fit->low > fit->gain;
    printf("%.5f below the best mean loss%s\n", fit->gain,
           !fit->uncertain ? ""
           : wide          ? "; the interval is wider than that, so the asymptote is not settled"
                  : "; that is nearly all of it: the losses do not level off yet, and it is not settled");
}

static int run(ct_cli *cli) {
    fit_flags flags;
    ct_fit_options options;
    ct_asymptote fit;
    double largest;
    if (strcmp(cli->positional[0], "asymptote") != 0)
        return ct_cli_usage(cli, "there is no fit \"%s\", expected: asymptote", cli->positional[0]);
    if (ct_cli_options(cli, flags_table, &flags) == CT_OK &&
        ct_cli_options(cli, ct_fit_table, &options) == CT_OK &&
        fit_file(cli, cli->positional[1], flags.x, flags.loss, &options, &fit, &largest)) {
        if (cli->json) {
            ct_value *map = ct_value_map(cli->context);
            if (map) put_fit(map, &fit, cli->context);
            ct_cli_print_json(cli, map);
        } else {
            say_fit(&fit);
        }
    }
    return ct_cli_finish(cli);
}

/* ------------------------------------------------------------------------------------- data efficiency */

typedef struct efficiency_flags {
    double tokens, reached;
    const char *x;
} efficiency_flags;
const ct_option ct_cli_loss_table[] = {
    CT_OPTION_STRING("loss", ct_cli_column, loss, "loss", "data-efficiency, ensemble: the column of losses"),
    CT_OPTION_END};

const ct_option ct_cli_efficiency_table[] = {
    CT_OPTION_REAL("tokens", efficiency_flags, tokens, 0, 0, 1e18,
                   "data-efficiency: that the recipe was given"),
    CT_OPTION_REAL("reached", efficiency_flags, reached, 0, 0, 1e6, "data-efficiency: the recipe's loss"),
    CT_OPTION_STRING("x", efficiency_flags, x, "tokens", "data-efficiency: the baseline's column of tokens"),
    CT_OPTION_END};

int ct_cli_data_efficiency(ct_cli *cli) {
    ct_context *context = cli->context;
    efficiency_flags flags;
    ct_cli_column column;
    ct_fit_options options;
    ct_asymptote fit;
    double largest;
    if (cli->positional_count != 2)
        return ct_cli_usage(cli, "plan data-efficiency: expected one file of the baseline's runs");
    ct_options_default(ct_fit_table, &options);
    if (ct_cli_options(cli, ct_cli_efficiency_table, &flags) != CT_OK ||
        ct_cli_options(cli, ct_cli_loss_table, &column) != CT_OK)
        return ct_cli_finish(cli);
    if (!(flags.tokens > 0 && flags.reached > 0))
        return ct_cli_usage(cli,
                            "plan data-efficiency: --tokens D and --reached LOSS are needed, of the recipe");
    if (!fit_file(cli, cli->positional[1], flags.x, column.loss, &options, &fit, &largest))
        return ct_cli_finish(cli);
    double needed = ct_asymptote_inverse(&fit, flags.reached), efficiency = needed / flags.tokens;
    if (cli->json) {
        ct_value *map = ct_value_map(context);
        if (map) {
            put_fit(map, &fit, context);
            ct_cli_put_real(map, "tokens_needed", isinf(needed) ? NAN : needed, context);
            ct_cli_put_real(map, "efficiency", isinf(needed) ? NAN : efficiency, context);
            ct_value_set(map, "beyond_asymptote", ct_value_bool(context, isinf(needed)));
            ct_value_set(map, "extrapolated", ct_value_bool(context, needed > largest));
        }
        ct_cli_print_json(cli, map);
        return ct_cli_finish(cli);
    }
    say_fit(&fit);
    if (isinf(needed))
        printf("No amount of data gives the baseline a loss of %g: its asymptote is above that\n",
               flags.reached);
    else
        printf("The baseline needs %.4g tokens for a loss of %g: data efficiency %.3f%s\n", needed,
               flags.reached, efficiency,
               needed > largest ? " (beyond its largest run: an extrapolation)" : "");
    return ct_cli_finish(cli);
}

static const char *const examples[] = {
    "carat fit asymptote recipes/runs.csv --x tokens",
    "carat fit asymptote recipes/runs.csv --x tokens --resamples 50 --json", NULL};

const ct_verb ct_verb_fit = {
    .name = "fit",
    .arguments = "asymptote RUNS.csv",
    .summary = "Fit curves to measured losses",
    .details =
        "asymptote: loss = A / x^alpha + E through runs of four sizes at least, by least Huber loss of "
        "log(loss);\nwith several runs at a size also an interval of E.",
    .tables = {flags_table, ct_fit_table},
    .least = 2,
    .most = 2,
    .examples = examples,
    .run = run};
