/* distance.c - carat evaluate distance RUN: CSV of how far each tensor is from where it began, and the fit.
 */
#include "cli/distance.h"
#include "cli/report.h"
#include <math.h>

static void print_csv(const ct_distance *r) {
    printf("tensor,step,distance\n");
    for (int64_t i = 0; i < r->count; i++)
        printf("all,%lld,%.9g\n", (long long)r->steps[i], r->whole[i]);
    for (int64_t t = 0; t < r->tensors; t++)
        for (int64_t i = 0; i < r->count; i++)
            printf("%s,%lld,%.9g\n", r->names[t], (long long)r->steps[i], r->of_tensor[t * r->count + i]);
}

static void say_fit(const ct_distance *r) {
    if (isfinite(r->b))
        fprintf(stderr,
                "distance = %.4g + %.4g log(step), R^2 %.4f, over %lld checkpoints from step %lld to %lld\n",
                r->a, r->b, r->r2, (long long)r->fit_count, (long long)r->fit_first, (long long)r->fit_last);
    else
        fprintf(stderr, "no fit: %lld checkpoints at a high rate, it needs 3\n", (long long)r->fit_count);
    for (int i = 0; i < r->drop_count; i++)
        fprintf(stderr, "the learning rate drops at step %lld\n", (long long)r->drops[i]);
}

static ct_value *distances(ct_context *context, const double *values, int64_t count) {
    ct_value *list = ct_value_list(context);
    for (int64_t i = 0; list && i < count; i++)
        ct_value_append(list, ct_value_real(context, values[i]));
    return list;
}

static ct_value *integers(ct_context *context, const int64_t *values, int64_t count) {
    ct_value *list = ct_value_list(context);
    for (int64_t i = 0; list && i < count; i++)
        ct_value_append(list, ct_value_int(context, values[i]));
    return list;
}

static ct_value *as_value(ct_context *context, const ct_distance *r) {
    ct_value *map = ct_value_map(context), *tensors = ct_value_map(context), *line = ct_value_map(context);
    for (int64_t t = 0; tensors && t < r->tensors; t++)
        ct_value_set(tensors, r->names[t], distances(context, r->of_tensor + t * r->count, r->count));
    if (!map || !tensors || !line) return map;
    ct_cli_put_real(line, "a", r->a, context);
    ct_cli_put_real(line, "b", r->b, context);
    ct_cli_put_real(line, "r2", r->r2, context);
    ct_cli_put_int(line, "checkpoints", r->fit_count, context);
    ct_cli_put_int(line, "first", r->fit_first, context);
    ct_cli_put_int(line, "last", r->fit_last, context);
    ct_value_set(map, "steps", integers(context, r->steps, r->count));
    ct_value_set(map, "distance", distances(context, r->whole, r->count));
    ct_value_set(map, "fit", line);
    ct_value_set(map, "drops", integers(context, r->drops, r->drop_count));
    ct_value_set(map, "tensors", tensors);
    return map;
}

void ct_cli_distance(ct_cli *cli, const char *folder, const char *plot) {
    ct_context *context = cli->context;
    ct_distance result;
    if (ct_evaluate_distance(context, folder, &result) != CT_OK) return;
    if (plot) ct_distance_plot(context, &result, plot);
    if (!ct_failed(context) && cli->json)
        ct_cli_print_json(cli, as_value(context, &result));
    else if (!ct_failed(context)) {
        print_csv(&result);
        if (!cli->quiet) say_fit(&result);
    }
    ct_distance_free(context, &result);
}
