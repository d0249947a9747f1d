/* layers.c - carat evaluate layers MODEL TEXT and carat evaluate growth MODEL TEXT: a line of CSV for each
 * block of a transformer. */
#include "cli/layers.h"
#include "cli/report.h"
#include <math.h>
#include <string.h>

/* 65504 is the largest f16; an eighth of it leaves room for what comes after. */
static const double half_limit = 65504.0 / 8, massive = 100;

static void put(double value, const char *end) {
    if (isfinite(value))
        printf("%.6g%s", value, end);
    else
        printf("%s", end);
}

static void print_csv(const ct_layer_report *r, int64_t blocks, bool growth, double loss) {
    printf(growth ? "layer,variance,largest,median,largest_over_median,massive,gradient_norm,beyond_f16\n"
                  : "layer,variance,distance,gradient_norm,skipped_loss,loss_change\n");
    for (int64_t i = growth ? 0 : 1; i <= blocks; i++) {
        printf("%lld,", (long long)i - 1);
        put(r[i].variance, ",");
        if (growth) {
            double ratio = r[i].largest / r[i].median;
            put(r[i].largest, ",");
            put(r[i].median, ",");
            put(ratio, ",");
            printf("%d,", ratio > massive);
            put(r[i].gradient_norm, ",");
            printf("%d\n", r[i].largest > half_limit);
        } else {
            put(r[i].distance, ",");
            put(r[i].gradient_norm, ",");
            put(r[i].skipped_loss, ",");
            put(r[i].skipped_loss - loss, "\n");
        }
    }
}

/* Of a whole report. */
typedef struct summary {
    double loss, effectiveness; /* least over most gradient norm of a block */
    double slope, r2;           /* of the line through the variances behind the blocks */
} summary;

static ct_value *as_value(ct_context *context, const ct_layer_report *r, int64_t blocks, const summary *s) {
    ct_value *map = ct_value_map(context), *list = ct_value_list(context);
    ct_cli_put_real(map, "loss", s->loss, context);
    ct_cli_put_real(map, "effectiveness", s->effectiveness, context);
    ct_cli_put_real(map, "variance_slope", s->slope, context);
    ct_cli_put_real(map, "variance_r2", s->r2, context);
    for (int64_t i = 0; list && i <= blocks; i++) {
        ct_value *layer = ct_value_map(context);
        ct_cli_put_int(layer, "layer", i - 1, context);
        ct_cli_put_real(layer, "variance", r[i].variance, context);
        ct_cli_put_real(layer, "largest", r[i].largest, context);
        ct_cli_put_real(layer, "median", r[i].median, context);
        ct_cli_put_real(layer, "gradient_norm", r[i].gradient_norm, context);
        ct_cli_put_real(layer, "distance", r[i].distance, context);
        ct_cli_put_real(layer, "skipped_loss", r[i].skipped_loss, context);
        ct_value_append(list, layer);
    }
    if (map) ct_value_set(map, "layers", list);
    return map;
}

static ct_status summarize(ct_context *context, const ct_layer_report *r, int64_t blocks, summary *s) {
    double least = INFINITY, most = 0,
           *variance = ct_alloc(context, (size_t)blocks * sizeof(double), CT_MEMORY_OTHER);
    if (!variance) return CT_ERROR_MEMORY;
    for (int64_t i = 0; i < blocks; i++) {
        least = fmin(least, r[i + 1].gradient_norm);
        most = fmax(most, r[i + 1].gradient_norm);
        variance[i] = r[i + 1].variance;
    }
    s->effectiveness = least / most;
    ct_variance_growth(variance, blocks, &s->slope, &s->r2);
    ct_free(context, variance);
    return CT_OK;
}

static void report(ct_cli *cli, ct_model *model, const int32_t *ids, int64_t rows, int64_t length,
                   bool growth) {
    ct_context *context = cli->context;
    int64_t blocks = ct_evaluate_blocks(model);
    ct_layer_report *r = ct_alloc_zero(context, (size_t)(blocks + 1) * sizeof(*r), CT_MEMORY_OTHER);
    summary s = {NAN, NAN, NAN, NAN};
    if (r && ct_evaluate_layers(model, ids, rows, length, !growth, r, &s.loss) == CT_OK &&
        summarize(context, r, blocks, &s) == CT_OK) {
        if (cli->json)
            ct_cli_print_json(cli, as_value(context, r, blocks, &s));
        else
            print_csv(r, blocks, growth, s.loss);
        if (!cli->json && !cli->quiet)
            fprintf(stderr, "loss %.4f, effectiveness (least over most gradient norm) %.3f\n", s.loss,
                    s.effectiveness);
        if (!cli->json && !cli->quiet && growth && isfinite(s.slope))
            fprintf(stderr,
                    "variance grows by %.3g a layer (line fit, R^2 %.3f); a peri model begins with about 2\n",
                    s.slope, s.r2);
    }
    ct_free(context, r);
}

static void report_entropy(ct_cli *cli, ct_model *model, const int32_t *ids, int64_t rows, int64_t length,
                           double alpha) {
    ct_context *context = cli->context;
    int64_t blocks = ct_evaluate_blocks(model);
    size_t count = (size_t)(rows * length);
    ct_entropy_report *r = ct_alloc_zero(context, (size_t)(blocks + 1) * sizeof(*r), CT_MEMORY_OTHER);
    int32_t *inputs = ct_alloc(context, count * sizeof(int32_t), CT_MEMORY_OTHER);
    for (int64_t i = 0; inputs && i < rows; i++) /* rows are those of the other reports, with their targets */
        memcpy(inputs + i * length, ids + i * (length + 1), (size_t)length * sizeof(int32_t));
    if (r && inputs && ct_evaluate_entropy(model, inputs, rows, length, alpha, r) == CT_OK) {
        ct_value *list = cli->json ? ct_value_list(context) : NULL;
        if (!cli->json) printf("layer,entropy,batch_entropy\n");
        for (int64_t i = 0; i <= blocks; i++) {
            if (!cli->json) {
                printf("%lld,", (long long)i - 1);
                put(r[i].sequence, ",");
                put(r[i].batch, "\n");
                continue;
            }
            ct_value *layer = ct_value_map(context);
            ct_cli_put_int(layer, "layer", i - 1, context);
            ct_cli_put_real(layer, "entropy", r[i].sequence, context);
            ct_cli_put_real(layer, "batch_entropy", r[i].batch, context);
            ct_value_append(list, layer);
        }
        ct_value *map = cli->json ? ct_value_map(context) : NULL;
        if (map) ct_value_set(map, "layers", list);
        if (map) ct_cli_print_json(cli, map);
    }
    ct_free(context, inputs);
    ct_free(context, r);
}

/* The text's first rows to one of the two reports; alpha 0: the one on blocks. */
static void with_rows(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path,
                      const char *field, const ct_perplexity_options *options, bool growth, double alpha) {
    ct_context *context = cli->context;
    ct_bytes text = {0};
    ct_ids ids = {0};
    int64_t length = options->context ? options->context : ct_model_context_length(model),
            rows = options->batch;
    if (ct_text_read(context, path, field, &text) == CT_OK &&
        ct_tokenizer_encode(tokenizer, text.data ? text.data : "", text.length, CT_ENCODE_PLAIN, &ids) ==
            CT_OK) {
        int64_t count = (int64_t)ids.count;
        if (options->max_tokens && count > options->max_tokens) count = options->max_tokens;
        if (length < 1 || length > count - 1) length = count - 1;
        if (length > 0 && rows > count / (length + 1)) rows = count / (length + 1);
        if (length < 1)
            ct_fail(context, CT_ERROR_ARGUMENT, "%s: %lld tokens, expected at least 2", path,
                    (long long)count);
        else
            alpha > 0 ? report_entropy(cli, model, ids.ids, rows, length, alpha)
                      : report(cli, model, ids.ids, rows, length, growth);
    }
    ct_bytes_free(context, &text);
    ct_ids_free(context, &ids);
}

void ct_cli_layers(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path, const char *field,
                   const ct_perplexity_options *options, bool growth) {
    with_rows(cli, model, tokenizer, path, field, options, growth, 0);
}

void ct_cli_entropy(ct_cli *cli, ct_model *model, ct_tokenizer *tokenizer, const char *path,
                    const char *field, const ct_perplexity_options *options, double alpha) {
    with_rows(cli, model, tokenizer, path, field, options, false, alpha);
}
