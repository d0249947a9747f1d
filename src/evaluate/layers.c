/* layers.c - what each block of a transformer does on a batch: its stream's size, its gradients, how far it
 * turns the stream, and what is lost without it. */
#include "nn/block.h"
#include "nn/run.h"
#include <carat/evaluate.h>
#include <math.h>

typedef struct study {
    ct_model *model;
    ct_context *context;
    ct_module *list;
    ct_run *run;
    ct_tensor *ids, *targets;
    ct_layer_report *reports;
    int64_t blocks;
    int64_t at;        /* the point that comes next: 0 is the list's input */
    ct_tensor *before; /* held: the stream at the point before */
    int64_t skip;      /* block to be skipped; -1: none */
} study;

static ct_status find_list(void *user, ct_module *module) {
    ct_module **list = user;
    if (!*list && ct_module_kind_of(module)->forward == ct_block_list_forward) *list = module;
    return CT_OK;
}

static ct_module *list_of(ct_model *model) {
    ct_module *list = NULL;
    ct_module_visit(ct_model_root(model), find_list, &list);
    return list;
}

int64_t ct_evaluate_blocks(ct_model *model) {
    ct_module *list = list_of(model);
    return list ? ct_module_child_count(list) : 0;
}

/* ----------------------------------------------------------------------------------------- the stream */

static const int channels = -1;

static double number(ct_tensor *x) {
    double value = NAN;
    ct_item(x, &value);
    return value;
}

/* The lower median: the smallest value that at least half are not above. */
static double median_of(ct_tensor *x) {
    int64_t count = ct_count(x);
    ct_tensor *sorted = ct_sort(ct_reshape(x, 1, &count), 0, false, NULL);
    return number(ct_select(sorted, 0, (count - 1) / 2));
}

static void measure_stream(study *s, ct_tensor *value) {
    ct_layer_report *r = &s->reports[s->at];
    bool mode = ct_grad_mode_set(s->context, false);
    ct_tensor *x = ct_cast(ct_detach(value), CT_F64), *size = ct_abs(x);
    r->variance = number(ct_mean_all(ct_variance(x, 1, &channels, false, 0)));
    r->largest = number(ct_max(size, 0, NULL, false));
    r->median = median_of(size);
    if (s->before) {
        ct_tensor *y = ct_cast(ct_detach(s->before), CT_F64);
        ct_tensor *dot = ct_sum(ct_mul(x, y), 1, &channels, false);
        ct_tensor *lengths = ct_mul(ct_norm(x, 2, 1, &channels, false), ct_norm(y, 2, 1, &channels, false));
        int64_t tokens = ct_count(dot);
        double *cosine = ct_alloc(s->context, 2 * (size_t)tokens * sizeof(double), CT_MEMORY_WORKSPACE),
               sum = 0;
        if (cosine && ct_read(dot, CT_F64, cosine) == CT_OK &&
            ct_read(lengths, CT_F64, cosine + tokens) == CT_OK)
            for (int64_t t = 0; t < tokens; t++)
                sum += acos(fmax(-1, fmin(1, cosine[t] / cosine[tokens + t]))) / acos(-1);
        ct_free(s->context, cosine);
        r->distance = sum / (double)tokens;
    }
    ct_grad_mode_set(s->context, mode);
}

static ct_tensor *look(void *user, ct_run *run, const char *point, ct_tensor *value) {
    (void)run, (void)point;
    study *s = user;
    if (s->skip < 0)
        measure_stream(s, value);
    else if (s->at == s->skip + 1)
        value = s->before;
    ct_hold(value);
    ct_drop(s->before);
    s->before = value;
    s->at++;
    return value;
}

/* --------------------------------------------------------------------------------------------- passes */

/* Mean loss of the batch. */
static ct_tensor *loss_of(study *s) {
    s->at = 0;
    ct_drop(s->before);
    s->before = NULL;
    ct_run_reset(s->run);
    ct_tensor *logits = ct_model_forward(s->model, s->run, s->ids);
    if (ct_failed(s->context)) return logits;
    ct_tensor *flat = ct_reshape(logits, CT_DIMS(ct_count(s->targets), ct_dim(logits, -1)));
    return ct_cross_entropy(ct_cast(flat, CT_F32), s->targets, NULL);
}

static bool below(const ct_module *module, const ct_module *above) {
    while (module && module != above)
        module = ct_module_parent(module);
    return module != NULL;
}

/* Gradients of all parameters; those that did not want one before do not afterwards. */
static void measure_gradients(study *s, double *loss) {
    int64_t count = ct_model_parameter_count(s->model);
    bool *wanted = ct_alloc_zero(s->context, (size_t)count * sizeof(bool), CT_MEMORY_WORKSPACE);
    for (int64_t i = 0; wanted && i < count; i++) {
        ct_parameter *p = ct_model_parameter(s->model, i);
        wanted[i] = ct_requires_grad(p->tensor);
        if (!p->buffer && ct_dtype_is_float(ct_dtype_of(p->tensor))) ct_require_grad(p->tensor, true);
    }
    ct_tensor *value = wanted ? loss_of(s) : NULL;
    if (value && !ct_failed(s->context) && ct_backward(value, NULL, CT_GRAD_DEFAULT) == CT_OK)
        *loss = number(value);
    for (int64_t b = 0; b < s->blocks && !ct_failed(s->context); b++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++) {
            ct_parameter *p = ct_model_parameter(s->model, i);
            ct_tensor *gradient = p->slot && below(p->slot->module, ct_module_child(s->list, (int)b))
                                      ? ct_gradient(p->tensor)
                                      : NULL;
            double norm = gradient ? number(ct_norm(gradient, 2, 0, NULL, false)) : 0;
            sum += norm * norm;
        }
        s->reports[b + 1].gradient_norm = sqrt(sum);
    }
    for (int64_t i = 0; wanted && i < count; i++) {
        ct_tensor *tensor = ct_model_parameter(s->model, i)->tensor;
        if (ct_requires_grad(tensor)) ct_gradient_set(tensor, NULL);
        if (!wanted[i]) ct_require_grad(tensor, false);
    }
    ct_free(s->context, wanted);
}

static void measure_skips(study *s) {
    bool mode = ct_grad_mode_set(s->context, false);
    for (s->skip = 0; s->skip < s->blocks && !ct_failed(s->context); s->skip++) {
        ct_scope scope = ct_scope_open(s->context);
        s->reports[s->skip + 1].skipped_loss = number(loss_of(s));
        ct_scope_close(s->context, scope);
        ct_progress(s->context, "layers", (double)s->skip + 1, (double)s->blocks, "layers", "");
    }
    ct_progress_finish(s->context, "layers", (double)s->blocks, "layers", "");
    ct_grad_mode_set(s->context, mode);
}

static ct_status prepare(study *s, const int32_t *ids, int64_t rows, int64_t length) {
    ct_context *context = s->context;
    if (s->list && ct_model_need_causal(s->model, "evaluate layers") != CT_OK)
        return ct_context_status(context);
    if (!s->list)
        return ct_fail(context, CT_ERROR_UNSUPPORTED,
                       "evaluate layers: a %s has no list of transformer blocks",
                       ct_model_architecture(s->model)->model_type);
    s->run = ct_run_create(context, NULL);
    s->ids = ct_empty(context, CT_I32, CT_DIMS(rows, length));
    s->targets = ct_empty(context, CT_I32, CT_DIMS(rows * length));
    int32_t *in = ct_data_mutable(s->ids), *out = ct_data_mutable(s->targets);
    if (!s->run || !in || !out) return ct_context_status(context);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t t = 0; t < length; t++) {
            in[r * length + t] = ids[r * (length + 1) + t];
            out[r * length + t] = ids[r * (length + 1) + t + 1];
        }
    char pattern[300];
    snprintf(pattern, sizeof(pattern), "%s.input", ct_module_path(s->list));
    ct_run_add_tap(s->run, pattern, look, s);
    for (int64_t b = 0; b < s->blocks; b++) {
        snprintf(pattern, sizeof(pattern), "%s.output", ct_module_path(ct_module_child(s->list, (int)b)));
        ct_run_add_tap(s->run, pattern, look, s);
        s->reports[b + 1] = (ct_layer_report){NAN, NAN, NAN, NAN, NAN, NAN};
    }
    s->reports[0] = (ct_layer_report){NAN, NAN, NAN, NAN, NAN, NAN};
    return ct_context_status(context);
}

void ct_variance_growth(const double *variance, int64_t count, double *slope, double *r2) {
    double n = (double)count, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    for (int64_t i = 0; i < count; i++) {
        y += variance[i] / n;
        x += (double)i / n;
    }
    for (int64_t i = 0; i < count; i++) {
        double u = (double)i - x, v = variance[i] - y;
        xx += u * u;
        xy += u * v;
        yy += v * v;
    }
    *slope = xx > 0 ? xy / xx : NAN;
    *r2 = xx > 0 && yy > 0 ? xy * xy / (xx * yy) : NAN;
}

ct_status ct_evaluate_layers(ct_model *model, const int32_t *ids, int64_t rows, int64_t length, bool skip,
                             ct_layer_report *reports, double *loss) {
    ct_context *context = ct_model_context(model);
    study s = {.model = model, .context = context, .list = list_of(model), .reports = reports, .skip = -1};
    s.blocks = s.list ? ct_module_child_count(s.list) : 0;
    ct_scope scope = ct_scope_open(context);
    if (prepare(&s, ids, rows, length) == CT_OK) measure_gradients(&s, loss);
    if (skip && !ct_failed(context)) measure_skips(&s);
    ct_drop(s.before);
    ct_run_destroy(s.run);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}
