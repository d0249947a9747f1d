/* pass.c - passes of data through a model that stop at its linear layers: which there are and in which order
 * they run, what an initializer does at each, and how the outputs spread when all is done.
 *
 * One forward pass serves all layers: a tap holds the input of a layer and, when the output appears, lets the
 * method change the weight, computes the layer again and passes the new output on, so that what runs later
 * sees it. */
#include "initializer/initializer.h"
#include <carat/ops.h>
#include <math.h>
#include <string.h>

typedef enum pass_stage { LIST, VISIT, MEASURE } pass_stage;

typedef struct pass {
    ct_context *context;
    ct_module *root;
    const ct_initializer_choice *choice;
    pass_stage stage;
    ct_initializer_row *rows;
    const ct_tensor **weights; /* of the rows */
    int64_t count, capacity;
    bool *seen;       /* in this pass, by row */
    ct_tensor *input; /* of the layer that runs now, held */
} pass;

/* ------------------------------------------------------------------------------------------ statistics */

/* Mean and deviation over all entries, in f64, in the order of the entries. */
static ct_status measure(ct_context *context, const char *name, ct_tensor *output, double *mean,
                         double *deviation) {
    ct_tensor *whole = ct_contiguous(ct_cast(output, CT_F32));
    const float *x = ct_failed(context) ? NULL : ct_data(whole);
    int64_t count = ct_count(output);
    double sum = 0, squares = 0;
    *mean = *deviation = NAN;
    if (!x) return ct_context_status(context);
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    *mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *deviation = sqrt(squares / (double)count);
    if (isfinite(*deviation)) return CT_OK;
    return ct_fail(context, CT_ERROR_NUMERIC, "init: the outputs of the layer of \"%s\" are not finite",
                   name);
}

ct_status ct_initializer_again(ct_initializer_visit *visit) {
    const ct_initializer_layer *layer = visit->layer;
    visit->output = ct_linear(visit->input, layer->weight, layer->bias, layer->transposed, CT_ACT_NONE);
    if (ct_failed(visit->context)) return ct_context_status(visit->context);
    return measure(visit->context, layer->name, visit->output, &visit->mean, &visit->deviation);
}

/* ------------------------------------------------------------------------------------------------ taps */

/* The linear layer whose point this is: its name ends with ".`point`". */
static bool layer_of(pass *p, const char *name, const char *point, ct_initializer_layer *layer) {
    size_t length = strlen(name), tail = strlen(point) + 1;
    char path[512];
    if (length <= tail || length >= sizeof(path) || strcmp(name + length - tail + 1, point) != 0)
        return false;
    memcpy(path, name, length - tail);
    path[length - tail] = 0;
    ct_module *module = ct_module_find(p->root, path);
    return module && ct_initializer_describe(module, layer);
}

static int64_t row_of(const pass *p, const ct_tensor *weight) {
    for (int64_t i = 0; i < p->count; i++)
        if (p->weights[i] == weight) return i;
    return -1;
}

static ct_tensor *at_input(void *user, ct_run *run, const char *name, ct_tensor *value) {
    (void)run;
    pass *p = user;
    ct_initializer_layer layer;
    if (!layer_of(p, name, "in", &layer)) return value;
    ct_drop(p->input);
    p->input = ct_hold(value);
    return value;
}

static void list(pass *p, const ct_initializer_layer *layer) {
    if (row_of(p, layer->weight) >= 0) return;
    if (p->count == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 64;
        size_t many = (size_t)capacity;
        void *rows = ct_realloc(p->context, p->rows, many * sizeof(*p->rows), CT_MEMORY_OTHER);
        if (rows) p->rows = rows;
        void *weights = ct_realloc(p->context, p->weights, many * sizeof(*p->weights), CT_MEMORY_OTHER);
        if (weights) p->weights = weights;
        if (!rows || !weights) return;
        p->capacity = capacity;
    }
    p->weights[p->count] = layer->weight;
    p->rows[p->count++] = (ct_initializer_row){
        .name = layer->name, .in = layer->in, .out = layer->out, .before = NAN, .factor = 1, .after = NAN};
}

/* The output as it is to go on. */
static ct_tensor *first_use(pass *p, int64_t index, ct_initializer_layer *layer, ct_tensor *output) {
    const ct_initializer_method *method = p->choice->method;
    ct_initializer_row *row = &p->rows[index];
    ct_initializer_visit visit = {
        .context = p->context, .layer = layer, .row = row, .input = p->input, .output = output};
    layer->last = index + 1 == p->count;
    if (measure(p->context, layer->name, output, &visit.mean, &visit.deviation) != CT_OK) return output;
    if (p->stage == MEASURE) {
        row->after = visit.deviation;
        return output;
    }
    row->before = visit.deviation;
    if (layer->tied) {
        row->note = "tied";
        if (method->visit)
            ct_log_message(
                p->context, CT_LOG_WARNING,
                "%s: the weight of %s is \"%s\", which another layer has too: it is scaled once, here",
                method->method.name, ct_module_path(layer->module), layer->name);
    }
    if (method->visit) method->visit(p->choice->options, &visit);
    return visit.output;
}

static ct_tensor *at_output(void *user, ct_run *run, const char *name, ct_tensor *value) {
    (void)run;
    pass *p = user;
    ct_initializer_layer layer;
    if (!layer_of(p, name, "preactivation", &layer)) return value;
    if (p->stage == LIST) {
        list(p, &layer);
        return value;
    }
    int64_t index = row_of(p, layer.weight);
    if (index < 0 || p->seen[index]) return value;
    p->seen[index] = true;
    return first_use(p, index, &layer, value);
}

/* ---------------------------------------------------------------------------------------------- passes */

static ct_status forward(pass *p, ct_model *model, ct_tensor *inputs, pass_stage stage) {
    ct_context *context = p->context;
    ct_run *run = ct_failed(context) ? NULL : ct_run_create(context, &(ct_run_options){.compute = CT_F32});
    if (!run) return ct_context_status(context);
    p->stage = stage;
    if (p->seen) memset(p->seen, 0, (size_t)p->count * sizeof(bool));
    ct_run_add_tap(run, "*.in", at_input, p);
    ct_run_add_tap(run, "*.preactivation", at_output, p);
    ct_scope scope = ct_scope_open(context);
    if (!ct_failed(context)) ct_model_forward(model, run, inputs);
    ct_drop(p->input);
    p->input = NULL;
    ct_scope_close(context, scope);
    ct_run_destroy(run);
    return ct_context_status(context);
}

ct_status ct_initializer_pass(ct_model *model, const ct_initializer_choice *choice, ct_tensor *inputs,
                              ct_initializer_report *report) {
    ct_context *context = ct_model_context(model);
    pass p = {.context = context, .root = ct_model_root(model), .choice = choice};
    forward(&p, model, inputs, LIST);
    if (!ct_failed(context)) p.seen = ct_alloc_zero(context, (size_t)p.count + 1, CT_MEMORY_OTHER);
    if (p.seen) forward(&p, model, inputs, VISIT);
    if (p.seen) forward(&p, model, inputs, MEASURE);
    ct_free(context, p.weights);
    ct_free(context, p.seen);
    *report = (ct_initializer_report){p.rows, p.count};
    return ct_context_status(context);
}
