/* plan_width.c - carat plan coordcheck: how far each layer moves, against the width. carat plan transfer: the
 * best learning rate, against the width. */
#include "cli/plan_width.h"
#include "cli/report.h"
#include <math.h>

typedef struct width_flags {
    const char *plot, *csv;
} width_flags;

const ct_option ct_cli_width_table[] = {
    CT_OPTION_STRING("plot", width_flags, plot, NULL,
                     "coordcheck, transfer: file for a picture, .svg or .png"),
    CT_OPTION_STRING("csv", width_flags, csv, NULL, "coordcheck, transfer: file for all values"),
    CT_OPTION_END};

/* The recipe and the options of a plan; NULL: `code` is set. */
static ct_value *prepare(ct_cli *cli, ct_width_options *options, width_flags *flags, int *code) {
    if (cli->positional_count != 2) {
        *code = ct_cli_usage(cli, "plan %s: expected one recipe", cli->positional[0]);
        return NULL;
    }
    if (ct_cli_options(cli, ct_width_table, options) != CT_OK ||
        ct_cli_options(cli, ct_cli_width_table, flags) != CT_OK) {
        *code = ct_cli_finish(cli);
        return NULL;
    }
    const char *plan = cli->positional[0];
    cli->positional[0] = cli->positional[1];
    cli->positional_count--;
    ct_value *recipe = ct_cli_recipe(cli);
    cli->positional[0] = plan;
    for (const ct_option *o = ct_width_table; recipe && o->type != CT_TYPE_END; o++)
        ct_value_remove(recipe, o->name);
    for (const ct_option *o = ct_cli_width_table; recipe && o->type != CT_TYPE_END; o++)
        ct_value_remove(recipe, o->name);
    if (!recipe) *code = ct_cli_finish(cli);
    return recipe;
}

static void put_number(ct_writer *writer, double value, const char *end) {
    if (isfinite(value))
        ct_writer_printf(writer, "%.9g%s", value, end);
    else
        ct_writer_printf(writer, "%s", end);
}

/* -------------------------------------------------------------------------------------- coordinate check */

static const char *const verdicts[] = {"every layer moves alike at every width",
                                       "some layers move less and less as the model becomes wider: a rate "
                                       "that suits a narrow model is too low for a wide one",
                                       "some layers are larger, or move more, the wider the model: a rate "
                                       "that suits a narrow model makes a wide one unstable",
                                       "some layers do not move at all", "training diverges at some width"};

static void print_coordinates(const ct_coordinates *r) {
    printf("Mean |change of activation| after %lld steps\n\n%-28s", (long long)r->steps, "layer");
    for (int w = 0; w < r->width_count; w++)
        printf(" %10lld", (long long)r->widths[w]);
    printf(" %8s %8s\n", "slope", "at start");
    for (int p = 0; p < r->point_count; p++) {
        const ct_coordinate_point *point = &r->points[p];
        printf("%-28s", point->name);
        for (int w = 0; w < r->width_count; w++)
            printf(" %10.4g", r->change[ct_coordinates_at(r, p, w) + (size_t)r->steps]);
        printf(" %8.2f %8.2f  %s\n", point->change_slope, point->size_slope, ct_growth_name(point->growth));
    }
    printf("\nSlopes are of logarithms against the logarithm of the width; \"at start\" is that of mean "
           "|activation|.\n"
           "Verdict: %s.\n",
           verdicts[r->growth]);
}

static ct_value *numbers(ct_context *context, const double *values, size_t count) {
    ct_value *list = ct_value_list(context);
    for (size_t i = 0; list && i < count; i++)
        ct_value_append(list,
                        isfinite(values[i]) ? ct_value_real(context, values[i]) : ct_value_null(context));
    return list;
}

static ct_value *widths_value(ct_context *context, const int64_t *widths, int count) {
    ct_value *list = ct_value_list(context);
    for (int w = 0; list && w < count; w++)
        ct_value_append(list, ct_value_int(context, widths[w]));
    return list;
}

/* size and change: [width][step]. */
static ct_value *coordinates_value(ct_context *context, const ct_coordinates *r) {
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    for (int p = 0; list && p < r->point_count; p++) {
        const ct_coordinate_point *point = &r->points[p];
        ct_value *entry = ct_value_map(context), *size = ct_value_list(context),
                 *change = ct_value_list(context);
        if (!entry || !size || !change) break;
        for (int w = 0; w < r->width_count; w++) {
            size_t at = ct_coordinates_at(r, p, w);
            ct_value_append(size, numbers(context, r->size + at, (size_t)r->steps + 1));
            ct_value_append(change, numbers(context, r->change + at, (size_t)r->steps + 1));
        }
        ct_cli_put_text(entry, "layer", point->name, context);
        ct_value_set(entry, "size", size);
        ct_value_set(entry, "change", change);
        ct_cli_put_real(entry, "slope", point->change_slope, context);
        ct_cli_put_real(entry, "slope_at_start", point->size_slope, context);
        ct_cli_put_text(entry, "verdict", ct_growth_name(point->growth), context);
        ct_value_append(list, entry);
    }
    if (!map || !list) return map;
    ct_value_set(map, "widths", widths_value(context, r->widths, r->width_count));
    ct_cli_put_int(map, "steps", r->steps, context);
    ct_cli_put_text(map, "verdict", ct_growth_name(r->growth), context);
    ct_value_set(map, "layers", list);
    return map;
}

static ct_status write_coordinates(ct_context *context, const ct_coordinates *r, const char *path) {
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    ct_writer_printf(writer, "layer,width,step,size,change\n");
    for (int p = 0; p < r->point_count; p++)
        for (int w = 0; w < r->width_count; w++)
            for (int64_t s = 0; s <= r->steps; s++) {
                size_t at = ct_coordinates_at(r, p, w) + (size_t)s;
                ct_writer_printf(writer, "%s,%lld,%lld,", r->points[p].name, (long long)r->widths[w],
                                 (long long)s);
                put_number(writer, r->size[at], ",");
                put_number(writer, r->change[at], "\n");
            }
    return ct_writer_commit(writer);
}

int ct_cli_coordcheck(ct_cli *cli) {
    ct_context *context = cli->context;
    ct_width_options options;
    width_flags flags;
    ct_coordinates result;
    int code = CT_EXIT_DONE;
    if (ct_value_get(cli->options, "rates"))
        return ct_cli_usage(cli, "plan coordcheck: rates belongs to plan transfer");
    ct_value *recipe = prepare(cli, &options, &flags, &code);
    if (!recipe) return code;
    if (ct_plan_coordinates(context, recipe, &options, &result) == CT_OK) {
        if (flags.plot) ct_coordinates_plot(context, &result, flags.plot);
        if (flags.csv) write_coordinates(context, &result, flags.csv);
        if (cli->json && !ct_failed(context))
            ct_cli_print_json(cli, coordinates_value(context, &result));
        else if (!ct_failed(context))
            print_coordinates(&result);
        ct_coordinates_free(context, &result);
    }
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}

/* ---------------------------------------------------------------------------------------------- transfer */

static void print_transfer(const ct_transfer *r) {
    printf("Loss, mean of the last tenth of the steps\n\n%-12s", "rate");
    for (int w = 0; w < r->width_count; w++)
        printf(" %10lld", (long long)r->widths[w]);
    printf("\n");
    for (int i = 0; i < r->rate_count; i++) {
        printf("%-12g", r->rates[i]);
        for (int w = 0; w < r->width_count; w++)
            printf(" %9.4f%c", r->loss[w][i], r->best[w] == i ? '*' : ' ');
        printf("\n");
    }
    if (r->shift < 0)
        printf("\nVerdict: at some width every rate diverges.\n");
    else
        printf("\nVerdict: the best rate (*) %s; it moves by %d of the grid's points.%s\n",
               r->shift <= 1 ? "transfers" : "does not transfer", r->shift,
               r->at_end ? " Some best rate is an end of the grid: widen it to be sure." : "");
}

static ct_value *transfer_value(ct_context *context, const ct_transfer *r) {
    ct_value *map = ct_value_map(context), *loss = ct_value_list(context), *best = ct_value_list(context);
    if (!map || !loss || !best) return map;
    for (int w = 0; w < r->width_count; w++) {
        ct_value_append(loss, numbers(context, r->loss[w], (size_t)r->rate_count));
        ct_value_append(best, r->best[w] < 0 ? ct_value_null(context)
                                             : ct_value_real(context, r->rates[r->best[w]]));
    }
    ct_value_set(map, "widths", widths_value(context, r->widths, r->width_count));
    ct_value_set(map, "rates", numbers(context, r->rates, (size_t)r->rate_count));
    ct_value_set(map, "loss", loss);
    ct_value_set(map, "best", best);
    ct_value_set(map, "shift", r->shift < 0 ? ct_value_null(context) : ct_value_int(context, r->shift));
    ct_value_set(map, "at_end", ct_value_bool(context, r->at_end));
    return map;
}

static ct_status write_transfer(ct_context *context, const ct_transfer *r, const char *path) {
    ct_writer *writer = ct_writer_open(context, path);
    if (!writer) return ct_context_status(context);
    ct_writer_printf(writer, "width,rate,loss\n");
    for (int w = 0; w < r->width_count; w++)
        for (int i = 0; i < r->rate_count; i++) {
            ct_writer_printf(writer, "%lld,%.9g,", (long long)r->widths[w], r->rates[i]);
            put_number(writer, r->loss[w][i], "\n");
        }
    return ct_writer_commit(writer);
}

int ct_cli_transfer(ct_cli *cli) {
    static const char *const others[] = {"steps", "rows", "tolerance", "points"};
    ct_context *context = cli->context;
    ct_width_options options;
    width_flags flags;
    ct_transfer result;
    int code = CT_EXIT_DONE;
    for (int i = 0; i < 4; i++)
        if (ct_value_get(cli->options, others[i]))
            return ct_cli_usage(cli, "plan transfer: %s belongs to plan coordcheck%s", others[i],
                                i ? "" : "; max_steps says how long the runs are");
    ct_value *recipe = prepare(cli, &options, &flags, &code);
    if (!recipe) return code;
    if (ct_plan_transfer(context, recipe, &options, &result) == CT_OK) {
        if (flags.plot) ct_transfer_plot(context, &result, flags.plot);
        if (flags.csv) write_transfer(context, &result, flags.csv);
        if (cli->json && !ct_failed(context))
            ct_cli_print_json(cli, transfer_value(context, &result));
        else if (!ct_failed(context))
            print_transfer(&result);
    }
    ct_value_free(recipe);
    return ct_cli_finish(cli);
}
