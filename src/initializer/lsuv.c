/* lsuv.c - LSUV, layer-sequential unit-variance initialisation (Mishkin & Matas): orthonormal weights, then
 * layer after layer, in the order in which they run on a batch of data, each weight is divided by the
 * deviation of its outputs until that is `target`. What the layer's input, activation and bias do to the
 * scale is thereby measured and needs no formula.
 *
 * With a bias of 0 one division is exact; more attempts are those of biases and rounding. */
#include <carat/initializer.h>
#include <math.h>

typedef struct lsuv_options {
    double target, tol;
    int64_t max, batch;
    int measure;
    bool ortho, fix_mean, skip_normed, last;
} lsuv_options;

enum { BY_STD, BY_VAR };
static const char *const measures[] = {"std", "var", NULL};

static const ct_option options[] = {
    CT_OPTION_REAL("target", lsuv_options, target, 1, 1e-6, 1e6, "deviation of every layer's outputs"),
    CT_OPTION_REAL("tol", lsuv_options, tol, 0.1, 0, 1e6, "a layer further from the target is corrected"),
    CT_OPTION_INT("max", lsuv_options, max, 10, 1, 1000, "attempts for a layer"),
    CT_OPTION_CHOICE("measure", lsuv_options, measure, "std", measures,
                     "what is compared: std, as the authors' code does; var, as the paper says"),
    CT_OPTION_BOOL("fix_mean", lsuv_options, fix_mean, false,
                   "corrections also move the bias, so that the mean output becomes 0"),
    CT_OPTION_BOOL("ortho", lsuv_options, ortho, true,
                   "begin with orthonormal weights and no biases; false: rescale the weights that are there"),
    CT_OPTION_BOOL("skip_normed", lsuv_options, skip_normed, false,
                   "leave layers alone whose outputs a norm rescales anyway"),
    CT_OPTION_BOOL("last", lsuv_options, last, true, "also scale the output layer"),
    CT_OPTION_INT("batch", lsuv_options, batch, 0, 0, 1e6,
                  "rows of data to look at; 0: those of a training step"),
    CT_OPTION_END};

static ct_status lsuv_check(ct_context *context, const void *given) {
    const lsuv_options *o = given;
    if (o->batch != 1) return CT_OK;
    return ct_fail(context, CT_ERROR_ARGUMENT,
                   "lsuv.batch: it is 1, expected at least 2 rows, or 0 for those of a step");
}

static bool lsuv_fills(const void *given) {
    return ((const lsuv_options *)given)->ortho;
}

static int64_t lsuv_rows(const void *given) {
    return ((const lsuv_options *)given)->batch;
}

static ct_status lsuv_fill(const void *given, const ct_initializer_layer *layer, ct_tensor *weight,
                           ct_random *random) {
    (void)given, (void)layer;
    return ct_fill_orthonormal(weight, random);
}

/* Algorithm 1: |Var(B) - 1| >= tol, or the same of the deviation. */
static bool is_off(const lsuv_options *o, double deviation) {
    if (o->measure == BY_VAR) return fabs(deviation * deviation - o->target * o->target) > o->tol;
    return fabs(deviation - o->target) > o->tol;
}

/* Every bias - shift. */
static ct_status shift_bias(const ct_initializer_visit *visit, double shift) {
    const ct_initializer_layer *layer = visit->layer;
    float *bias = layer->bias ? ct_data_mutable(layer->bias) : NULL;
    for (int64_t i = 0; bias && i < layer->out; i++)
        bias[i] = (float)((double)bias[i] - shift);
    if (!bias && !ct_failed(visit->context)) visit->row->note = "no bias to move the mean with";
    return ct_context_status(visit->context);
}

static ct_status lsuv_visit(const void *given, ct_initializer_visit *visit) {
    const lsuv_options *o = given;
    ct_initializer_row *row = visit->row;
    if ((o->skip_normed && visit->layer->normed) || (!o->last && visit->layer->last)) {
        row->note = "skipped";
        return CT_OK;
    }
    while (is_off(o, visit->deviation) && row->attempts < o->max) {
        if (visit->deviation < 1e-8) {
            row->note = "dead input";
            ct_log_message(
                visit->context, CT_LOG_WARNING,
                "lsuv: the outputs of the layer of \"%s\" do not vary (deviation %.3g): it is not scaled",
                visit->layer->name, visit->deviation);
            return CT_OK;
        }
        double factor = o->target / (visit->deviation + 1e-8);
        if (ct_scale_into(visit->layer->weight, factor) != CT_OK) break;
        if (o->fix_mean && shift_bias(visit, visit->mean * factor) != CT_OK) break;
        row->attempts++;
        row->factor *= factor;
        if (ct_initializer_again(visit) != CT_OK) break;
    }
    if (!ct_failed(visit->context) && is_off(o, visit->deviation))
        ct_log_message(visit->context, CT_LOG_WARNING,
                       "lsuv: \"%s\" is at %.4g after %lld attempts, the target is %.4g", visit->layer->name,
                       visit->deviation, (long long)row->attempts, o->target);
    return ct_context_status(visit->context);
}

const ct_initializer_method ct_initializer_lsuv = {
    .method =
        {.abi = CT_METHOD_ABI,
         .size = sizeof(ct_initializer_method),
         .name = "lsuv",
         .title = "LSUV: layer-sequential unit variance",
         .paper = {"arXiv:1511.06422", "Mishkin & Matas, ICLR 2016"},
         .summary =
             "Orthonormal weights, each scaled on one batch of data until its layer's outputs have unit "
             "variance. For deep networks without norms, and activations that no formula covers.",
         .options = options,
         .options_size = sizeof(lsuv_options),
         .task = "train, stabilise",
         .uses = CT_HOOK_ACTIVATIONS},
    .check = lsuv_check,
    .fills = lsuv_fills,
    .fill = lsuv_fill,
    .rows = lsuv_rows,
    .visit = lsuv_visit};
