/* optimizer.c - the benchmark "optimizer": steps over the matrices of blocks of a transformer with fixed
 * gradients. A step reads weights, gradients and states and writes weights and states. */
#include "bench/bench.h"
#include <carat/optimizer.h>

typedef struct optimizer_setting {
    int64_t width, blocks;
} optimizer_setting;

const ct_option ct_bench_optimizer_table[] = {
    CT_OPTION_INT("width", optimizer_setting, width, 768, 1, 65536,
                  "optimizer: of the blocks, which have 12 width^2 parameters each"),
    CT_OPTION_INT("blocks", optimizer_setting, blocks, 1, 1, 64, "optimizer: how many"), CT_OPTION_END};

enum { MATRICES = 4, MOST = 64 * MATRICES };

typedef struct work {
    ct_context *context;
    ct_optimizer *optimizer;
    ct_parameter parameters[MOST];
    int count;
} work;

static char parameter_name[] = "weight";

static ct_status add(work *w, int64_t rows, int64_t columns) {
    ct_context *context = w->context;
    ct_random random = ct_random_make(1, (uint64_t)w->count);
    ct_parameter *p = &w->parameters[w->count++];
    ct_tensor *weight = ct_random_normal_tensor(context, CT_F32, CT_DIMS(rows, columns), 0, 0.02, &random);
    ct_tensor *gradient = ct_random_normal_tensor(context, CT_F32, CT_DIMS(rows, columns), 0, 1e-3, &random);
    if (ct_failed(context)) return ct_context_status(context);
    ct_require_grad(weight, true);
    ct_gradient_set(weight, gradient);
    *p = (ct_parameter){.name = parameter_name, .tensor = weight, .trainable = true};
    return ct_optimizer_add_as(w->optimizer, p, &(ct_parameter_group){1, 0.1}, CT_ROLE_MATRIX);
}

static ct_status add_blocks(work *w, const optimizer_setting *setting) {
    int64_t d = setting->width;
    const int64_t shapes[MATRICES][2] = {{3 * d, d}, {d, d}, {4 * d, d}, {d, 4 * d}};
    for (int64_t b = 0; b < setting->blocks; b++)
        for (int i = 0; i < MATRICES; i++)
            if (add(w, shapes[i][0], shapes[i][1]) != CT_OK) return ct_context_status(w->context);
    return CT_OK;
}

static ct_status once(void *user, double *seconds) {
    work *w = user;
    double begin = ct_seconds();
    ct_optimizer_step(w->optimizer, 1e-4, 1);
    seconds[0] += ct_seconds() - begin;
    return ct_context_status(w->context);
}

/* Bytes that a step reads and writes at least. */
static double traffic(const work *w, double parameters) {
    double bytes = parameters * 3 * sizeof(float); /* weight in and out, gradient in */
    for (int64_t i = 0; i < ct_optimizer_state_count(w->optimizer); i++) {
        char name[256];
        const ct_tensor *state = ct_optimizer_state_at(w->optimizer, i, name, sizeof(name));
        bytes += 2 * (double)ct_count(state) * (double)ct_dtype_size(ct_dtype_of(state));
    }
    return bytes;
}

static ct_status measure(const ct_bench_call *call, ct_bench_row *row) {
    ct_context *context = call->context;
    const optimizer_setting *setting = call->setting;
    double parameters = 12.0 * (double)(setting->width * setting->width) * (double)setting->blocks;
    ct_scope scope = ct_scope_open(context);
    work *w = ct_alloc_zero(context, sizeof(*w), CT_MEMORY_OTHER);
    if (w) {
        w->context = context;
        w->optimizer = ct_optimizer_create(context, row->method->name, NULL);
    }
    if (w && w->optimizer && add_blocks(w, setting) == CT_OK) {
        row->count = 1;
        row->passes[0] =
            (ct_bench_measure){.pass = "step", .elements = parameters, .bytes = traffic(w, parameters)};
        ct_bench_time(call, once, w, 1, row->passes);
    }
    if (w) ct_optimizer_destroy(w->optimizer);
    ct_free(context, w);
    ct_scope_close(context, scope);
    return ct_context_status(context);
}

const ct_benchmark ct_benchmark_optimizer = {.name = "optimizer",
                                             .summary = "steps of optimizers, links and clipping left out",
                                             .kind = "optimizer",
                                             .element = "parameters",
                                             .table = ct_bench_optimizer_table,
                                             .setting_size = sizeof(optimizer_setting),
                                             .measure = measure};
