/* norm.c - the benchmark "norm": a training pass of a norm over [rows, columns], forward and backward.
 * Forward reads x and writes y, backward reads x and the gradient of y and writes that of x; gains, biases
 * and statistics count for nothing. */
#include "bench/bench.h"
#include <carat/autograd.h>
#include <carat/norm.h>
#include <string.h>

typedef struct norm_setting {
    int64_t rows, columns;
    int dtype;
} norm_setting;

static const char *const dtypes[] = {"f32", "bf16", "f16", NULL};
static const ct_dtype types[] = {CT_F32, CT_BF16, CT_F16};

const ct_option ct_bench_norm_table[] = {
    CT_OPTION_INT("rows", norm_setting, rows, 8192, 1, 1 << 30, "norm: tokens"),
    CT_OPTION_INT("columns", norm_setting, columns, 1024, 1, 1 << 24, "norm: channels of each"),
    CT_OPTION_CHOICE("dtype", norm_setting, dtype, "f32", dtypes, "norm: of the activations; gains are f32"),
    CT_OPTION_END};

enum { MOST = CT_NORM_TENSORS + 1 };
static const int64_t MOST_ELEMENTS = (int64_t)1 << 31;

typedef struct work {
    ct_context *context;
    const ct_norm_method *method;
    ct_norm_call call;
    ct_tensor *tensors[CT_NORM_TENSORS];
    ct_tensor *x, *gradient, *inputs[MOST]; /* inputs: x and what is trained */
    int inputs_count;
    bool told;
} work;

static void make_tensors(work *w, int64_t columns) {
    for (int i = 0; w->method->tensors[i].name; i++) {
        const ct_norm_tensor *t = &w->method->tensors[i];
        if (w->method->present && !w->method->present(w->call.options, i)) continue;
        w->tensors[i] = ct_full(w->context, t->buffer ? t->dtype : CT_F32, t->shape == CT_NORM_PER_CHANNEL,
                                &columns, t->fill == CT_FILL_ONES);
        if (!t->buffer) w->inputs[w->inputs_count++] = w->tensors[i];
    }
    for (int i = 0; i < w->inputs_count; i++)
        ct_require_grad(w->inputs[i], true);
}

/* Results are dropped before the next call. */
static ct_status once(void *user, double *seconds) {
    work *w = user;
    ct_scope scope = ct_scope_open(w->context);
    ct_tensor *gradients[MOST];
    double begin = ct_seconds();
    ct_tensor *y = w->method->forward(&w->call, w->x);
    double middle = ct_seconds();
    if (y == w->x)
        ct_fail(w->context, CT_ERROR_UNSUPPORTED, "%s computes nothing that could be measured",
                w->method->method.name);
    ct_grad(&y, 1, &w->gradient, w->inputs, w->inputs_count, gradients, CT_GRAD_DEFAULT);
    seconds[0] += middle - begin;
    seconds[1] += ct_seconds() - middle;
    ct_scope_close(w->context, scope);
    return ct_context_status(w->context);
}

static ct_status prepare(work *w, const norm_setting *setting) {
    const ct_norm_method *method = w->method;
    ct_random random = ct_random_make(1, ct_random_stream("bench norm"));
    w->call = (ct_norm_call){.context = w->context,
                             .options = w->call.options,
                             .where = method->method.name,
                             .width = setting->columns,
                             .tensors = w->tensors,
                             .training = true,
                             .update = true,
                             .told = &w->told};
    if (method->check && method->check(w->context, w->call.options, setting->columns) != CT_OK)
        return ct_context_status(w->context);
    w->x = ct_random_normal_tensor(w->context, types[setting->dtype],
                                   CT_DIMS(setting->rows, setting->columns), 0, 1, &random);
    w->gradient = ct_random_normal_tensor(w->context, types[setting->dtype],
                                          CT_DIMS(setting->rows, setting->columns), 0, 1, &random);
    w->inputs[w->inputs_count++] = w->x;
    make_tensors(w, setting->columns);
    return ct_context_status(w->context);
}

static ct_status measure(const ct_bench_call *call, ct_bench_row *row) {
    ct_context *context = call->context;
    const norm_setting *setting = call->setting;
    work w = {.context = context, .method = (const ct_norm_method *)(const void *)row->method};
    const ct_method *method = row->method;
    if (setting->rows > MOST_ELEMENTS / setting->columns)
        return ct_fail(context, CT_ERROR_ARGUMENT, "rows %lld, columns %lld: expected at most %lld elements",
                       (long long)setting->rows, (long long)setting->columns, (long long)MOST_ELEMENTS);
    void *options = ct_alloc_zero(context, method->options_size + 1, CT_MEMORY_OTHER);
    if (!options) return CT_ERROR_MEMORY;
    if (method->options) ct_options_default(method->options, options);
    w.call.options = options;
    double elements = (double)setting->rows * (double)setting->columns;
    double size = (double)ct_dtype_size(types[setting->dtype]);
    row->count = 2;
    row->passes[0] =
        (ct_bench_measure){.pass = "forward", .elements = elements, .bytes = 2 * elements * size};
    row->passes[1] =
        (ct_bench_measure){.pass = "backward", .elements = elements, .bytes = 3 * elements * size};
    ct_scope scope = ct_scope_open(context);
    if (prepare(&w, setting) == CT_OK) ct_bench_time(call, once, &w, 2, row->passes);
    ct_scope_close(context, scope);
    ct_free(context, options);
    return ct_context_status(context);
}

const ct_benchmark ct_benchmark_norm = {.name = "norm",
                                        .summary = "forward and backward passes of norms in training",
                                        .kind = "norm",
                                        .element = "elements",
                                        .table = ct_bench_norm_table,
                                        .setting_size = sizeof(norm_setting),
                                        .measure = measure};
